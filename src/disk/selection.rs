//! Which files of a torrent are wanted, and how urgently; and so which pieces.
//!
//! A piece is wanted as urgently as the most urgent file that has bytes in it.

use std::sync::Arc;

use super::layout::Layout;
use crate::bitfield::Bitfield;
use crate::id::PieceIndex;

/// How many kinds of wanted pieces there are: those at the ends of files, if they come first, and
/// one for each [`FilePriority`] but [`FilePriority::Skip`].
pub const LEVELS: usize = 4;

/// How much of each end of a file [`Selection::with_ends_first`] means, in bytes, rounded up to
/// pieces: what players and archivers look for before anything else (aria2 `head=1M,tail=1M`).
const END_LEN: u64 = 1 << 20;

/// How urgently a file is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum FilePriority {
    /// Not at all: it is not created.
    Skip,
    /// When there is nothing else to ask for.
    Low,
    /// As all files are by default.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// The wanted files of one torrent. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// By index in [`Layout::files`]; `None` if all are [`FilePriority::Normal`].
    files: Option<Arc<[FilePriority]>>,
    ends_first: bool,
}

impl Selection {
    /// Returns the selection of every file, none before another.
    pub const fn all() -> Self {
        Self { files: None, ends_first: false }
    }

    /// Returns the selection with these priorities, in the order of [`Layout::files`], pad files
    /// included (theirs mean nothing). Files that are not named are [`FilePriority::Normal`].
    pub fn new(files: impl IntoIterator<Item = FilePriority>) -> Self {
        let files: Arc<[FilePriority]> = files.into_iter().collect();
        let is_plain = files.iter().all(|priority| *priority == FilePriority::Normal);
        Self { files: (!is_plain).then_some(files), ends_first: false }
    }

    /// Returns the same selection in which the first and the last MiB of each wanted file come, or
    /// do not come, before everything else.
    #[must_use]
    pub fn with_ends_first(self, ends_first: bool) -> Self {
        Self { ends_first, ..self }
    }

    /// Tells whether the ends of wanted files come before everything else.
    pub const fn ends_first(&self) -> bool {
        self.ends_first
    }

    /// Returns how urgently the file with index `file` is wanted.
    pub fn of(&self, file: usize) -> FilePriority {
        let files = self.files.as_deref().unwrap_or_default();
        files.get(file).copied().unwrap_or_default()
    }

    /// Tells whether the file with index `file` is wanted.
    pub fn wants(&self, file: usize) -> bool {
        self.of(file) != FilePriority::Skip
    }

    /// Tells whether every file is wanted.
    pub fn wants_all(&self) -> bool {
        self.files.as_deref().unwrap_or_default().iter().all(|one| *one != FilePriority::Skip)
    }

    /// Returns the payload of the wanted files in bytes, pad files not counted. O(files).
    pub fn wanted_len(&self, layout: &Layout) -> u64 {
        let files = layout.files().iter().enumerate();
        let wanted = files.filter(|(index, file)| !file.pad && self.wants(*index));
        wanted.map(|(_, file)| file.len).sum()
    }

    /// Returns how much of `piece` is payload of wanted files, in bytes. O(files in the piece).
    ///
    /// Panics if the torrent has no such piece: a caller's bug.
    pub fn wanted_len_of(&self, layout: &Layout, piece: PieceIndex) -> u64 {
        let spans = layout.spans(piece, 0, layout.piece_len(piece));
        spans.filter(|span| !span.pad && self.wants(span.file)).map(|span| span.len).sum()
    }

    /// Returns the pieces that are wanted, in disjoint sets, the most urgent first; `None` if that
    /// is every piece, none before another. O(pieces + files).
    ///
    /// Pieces of nothing but pad bytes are wanted if all files are, as they cost nothing then.
    pub fn pieces(&self, layout: &Layout) -> Option<[Bitfield; LEVELS]> {
        if self.files.is_none() && !self.ends_first {
            return None;
        }
        let rest = if self.wants_all() { FilePriority::Normal } else { FilePriority::Skip };
        // 0 for what is not wanted; a higher number is more urgent.
        let mut urgency: Vec<u8> = vec![0; layout.piece_count() as usize];
        let mut raise = |pieces: std::ops::Range<u32>, to: u8| {
            for piece in &mut urgency[pieces.start as usize..pieces.end as usize] {
                *piece = to.max(*piece);
            }
        };
        for (index, file) in layout.files().iter().enumerate().filter(|(_, file)| !file.pad) {
            let pieces = layout.pieces_of_file(index);
            raise(pieces.clone(), self.of(index) as u8);
            if self.ends_first && self.wants(index) && !pieces.is_empty() {
                let end = END_LEN.min(file.len);
                raise(layout.pieces_of_range(file.offset, end), ENDS);
                raise(layout.pieces_of_range(file.offset + file.len - end, end), ENDS);
            }
        }
        let mut levels = [(); LEVELS].map(|()| Bitfield::new(layout.piece_count()));
        for (piece, urgency) in (0..).zip(urgency) {
            let urgency = if urgency == 0 && is_pad(layout, piece) { rest as u8 } else { urgency };
            if let Some(level) = ENDS.checked_sub(urgency).map(usize::from)
                && level < LEVELS
            {
                levels[level].insert(piece);
            }
        }
        Some(levels)
    }
}

/// The urgency of the ends of files.
const ENDS: u8 = FilePriority::High as u8 + 1;

const _: () = assert!(ENDS as usize == LEVELS);

/// Tells whether a piece is nothing but pad bytes.
fn is_pad(layout: &Layout, piece: u32) -> bool {
    let piece = PieceIndex(piece);
    layout.spans(piece, 0, layout.piece_len(piece)).all(|span| span.pad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::FilePriority::{High, Low, Normal, Skip};
    use super::*;
    use crate::disk::layout::FileSpec;

    fn layout(files: &[(u64, bool)], piece_len: u32) -> Layout {
        let spec = |(index, &(len, pad)): (usize, &(u64, bool))| FileSpec {
            path: index.to_string().into(),
            len,
            pad,
        };
        Layout::new(files.iter().enumerate().map(spec), piece_len)
    }

    fn levels(selection: &Selection, layout: &Layout) -> [Vec<u32>; LEVELS] {
        selection.pieces(layout).expect("not plain").map(|level| level.ones().collect())
    }

    #[test]
    fn all_files_alike_is_the_plain_selection() {
        let plain = Selection::new([Normal; 3]);
        assert_eq!(plain, Selection::all());
        assert!(plain.wants_all() && plain.wants(7));
        assert!(plain.pieces(&layout(&[(5, false)], 2)).is_none());
    }

    #[test]
    fn a_piece_is_as_urgent_as_its_most_urgent_file() {
        // Pieces: 0 of a; 1 of a and b; 2 of b; 3 of b, c and d; 4 of d.
        let layout = layout(&[(15, false), (16, false), (2, false), (17, false)], 10);
        let selection = Selection::new([Low, Skip, High, Normal]);
        assert_eq!(levels(&selection, &layout), [vec![], vec![3], vec![4], vec![0, 1]]);
        assert_eq!(selection.wanted_len(&layout), 34);
        let wanted = [0, 1, 2, 3, 4].map(|p| selection.wanted_len_of(&layout, PieceIndex(p)));
        assert_eq!(wanted, [10, 5, 0, 9, 10]);
        assert!(!selection.wants_all());
    }

    #[test]
    fn both_ends_of_wanted_files_can_come_first() {
        let mib = 1 << 20;
        let layout = layout(&[(5 * mib, false), (5 * mib, false), (100, false)], 1 << 20);
        let ends = Selection::new([Normal, Skip, Low]).with_ends_first(true);
        assert_eq!(levels(&ends, &layout), [vec![0, 4, 10], vec![], vec![1, 2, 3], vec![]]);
    }

    #[test]
    fn pad_bytes_are_wanted_only_with_everything() {
        // Piece 1 is nothing but pad bytes.
        let layout = layout(&[(5, false), (15, true), (10, false)], 10);
        let low_and_high = Selection::new([Low, Normal, High]);
        assert_eq!(levels(&low_and_high, &layout), [vec![], vec![2], vec![1], vec![0]]);
        let first = Selection::new([Normal, Normal, Skip]);
        assert_eq!(levels(&first, &layout), [vec![], vec![], vec![0], vec![]]);
        assert_eq!(first.wanted_len(&layout), 5);
    }

    proptest! {
        #[test]
        fn pieces_are_those_of_wanted_files(
            files in prop::collection::vec((0u64..30, 0_usize..4), 1..12),
            piece_len in 1u32..40,
        ) {
            let priority = |at: usize| [Skip, Low, Normal, High][at];
            let files: Vec<_> = files.iter().map(|(len, at)| (*len, priority(*at))).collect();
            let specs: Vec<_> = files.iter().map(|(len, _)| (*len, false)).collect();
            let layout = layout(&specs, piece_len);
            let selection = Selection::new(files.iter().map(|(_, priority)| *priority));
            let levels = selection.pieces(&layout);
            for piece in 0..layout.piece_count() {
                let index = PieceIndex(piece);
                let spans = layout.spans(index, 0, layout.piece_len(index));
                let expected = spans.map(|span| files[span.file].1).max().unwrap();
                let at = |level: usize| {
                    levels.as_ref().is_some_and(|all| all[level].contains(piece))
                };
                let found = match [at(0), at(1), at(2), at(3)] {
                    [false, false, false, false] if levels.is_none() => Normal,
                    [false, false, false, false] => Skip,
                    [false, true, false, false] => High,
                    [false, false, true, false] => Normal,
                    [false, false, false, true] => Low,
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(found, expected);
            }
            let sum: u64 = (0..layout.piece_count())
                .map(|piece| selection.wanted_len_of(&layout, PieceIndex(piece)))
                .sum();
            prop_assert_eq!(sum, selection.wanted_len(&layout));
        }
    }
}
