//! What is to be said of each file, given what is on disk and which pieces are right.
//!
//! **Invariant:** nothing here touches a file.

use std::ops::Range;

use swarmloop::disk::layout::{Layout, LayoutFile};
use swarmloop::id::PieceIndex;

use crate::cli::size::Size;
use crate::cli::stall::count;

/// What is where a file belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OnDisk {
    /// Nothing.
    Nothing,
    /// A file of so many bytes.
    File(u64),
    /// Something that is no file.
    Other,
}

/// What is known of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    Right,
    Wrong,
    /// Some of its bytes are not there.
    Missing,
}

/// How a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Ok,
    Wrong,
    Missing,
    Short,
    Long,
    Unknown,
    Blocked,
}

impl State {
    /// Returns the word for people and programs.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "wrong",
            Self::Missing => "missing",
            Self::Short => "short",
            Self::Long => "long",
            Self::Unknown => "unknown",
            Self::Blocked => "blocked",
        }
    }
}

/// What was found out about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Judgement {
    pub(super) state: State,
    /// Bytes that it should have.
    pub(super) len: u64,
    /// Bytes that are there.
    pub(super) on_disk: u64,
    /// Its pieces, and how many of them are right and wrong; the others are missing.
    pub(super) pieces: u32,
    pub(super) right: u32,
    pub(super) wrong: u32,
}

impl Judgement {
    /// Judges the file with this index, given all pieces.
    pub(super) fn of(layout: &Layout, index: usize, there: OnDisk, pieces: &[Piece]) -> Self {
        let len = layout.files()[index].len;
        let Range { start, end } = layout.pieces_of_file(index);
        let its = (start..end).filter_map(|piece| pieces.get(usize::try_from(piece).ok()?));
        let number = |wanted: Piece| its.clone().filter(|piece| **piece == wanted).count();
        let number = |wanted| u32::try_from(number(wanted)).unwrap_or(u32::MAX);
        let (right, wrong) = (number(Piece::Right), number(Piece::Wrong));
        let (state, on_disk) = match there {
            OnDisk::Nothing => (State::Missing, 0),
            OnDisk::Other => (State::Blocked, 0),
            OnDisk::File(on_disk) if on_disk < len => (State::Short, on_disk),
            OnDisk::File(on_disk) if on_disk > len => (State::Long, on_disk),
            OnDisk::File(on_disk) if wrong > 0 => (State::Wrong, on_disk),
            OnDisk::File(on_disk) if right < end - start => (State::Unknown, on_disk),
            OnDisk::File(on_disk) => (State::Ok, on_disk),
        };
        Self { state, len, on_disk, pieces: end - start, right, wrong }
    }

    /// Tells whether only the bytes behind its end are too much.
    pub(super) const fn is_right_but_long(&self) -> bool {
        matches!(self.state, State::Long) && self.right == self.pieces
    }

    /// Tells whether it holds bytes and none of them is known to be right, which is what `get` does
    /// not write over. Of a file that is long enough, pieces that were not hashed may be.
    pub(super) const fn is_foreign(&self) -> bool {
        let nothing_unknown = matches!(self.state, State::Short) || self.wrong == self.pieces;
        self.on_disk > 0 && self.right == 0 && nothing_unknown
    }

    /// Returns what is to be said behind the path, if there is something.
    pub(super) fn detail(&self) -> Option<String> {
        let pieces = count(self.pieces as usize, "piece", "pieces");
        match self.state {
            State::Ok | State::Missing => None,
            State::Wrong => Some(format!("{} of {pieces}", self.wrong)),
            State::Short => Some(format!("{} of {}", Size(self.on_disk), Size(self.len))),
            State::Long => {
                let more = Size(self.on_disk - self.len);
                let wrong = format!(", {} of {pieces} wrong", self.wrong);
                let wrong = if self.wrong > 0 { wrong } else { String::new() };
                Some(format!("{more} more than {}{wrong}", Size(self.len)))
            }
            State::Unknown => {
                let missing = self.pieces - self.right;
                Some(format!("{missing} of {pieces} shared with what is not there"))
            }
            State::Blocked => Some("not a regular file".to_owned()),
        }
    }
}

/// Tells whether it is worth hashing a piece: what it has of files that are there is there, and it
/// has some. What it has of others may be in the parts file.
pub(super) fn is_there(layout: &Layout, piece: PieceIndex, on_disk: &[OnDisk]) -> bool {
    let mut some = false;
    let mut spans = layout.spans(piece, 0, layout.piece_len(piece)).filter(|span| !span.pad);
    let all = spans.all(|span| match on_disk.get(span.file) {
        Some(OnDisk::File(len)) => {
            some = true;
            *len >= span.offset + span.len
        }
        Some(OnDisk::Nothing) => true,
        _ => false,
    });
    all && some
}

/// Tells whether a piece has bytes of files that are not there. If it is not right, nothing is said
/// against those that are.
pub(super) fn is_shared_with_missing(
    layout: &Layout,
    piece: PieceIndex,
    on_disk: &[OnDisk],
) -> bool {
    let mut spans = layout.spans(piece, 0, layout.piece_len(piece));
    spans.any(|span| !span.pad && on_disk.get(span.file) == Some(&OnDisk::Nothing))
}

/// Returns the files that are on disk when all is there, with their indices.
pub(super) fn real_files(layout: &Layout) -> impl Iterator<Item = (usize, &LayoutFile)> {
    layout.files().iter().enumerate().filter(|(_, file)| !file.pad)
}

#[cfg(test)]
mod tests {
    use swarmloop::disk::layout::FileSpec;

    use super::*;

    /// Pieces of 10 bytes: 0 = a; 1 = a, b; 2 = b, pad; 3 = c.
    fn layout() -> Layout {
        let files = [("a", 15, false), ("b", 10, false), ("pad", 5, true), ("c", 10, false)];
        let files = files.into_iter().chain([("empty", 0, false)]);
        let spec = |(path, len, pad): (&str, _, _)| FileSpec { path: path.into(), len, pad };
        Layout::new(files.map(spec), 10)
    }

    #[test]
    fn each_file_is_judged_by_its_length_and_its_pieces() {
        use OnDisk::{File, Nothing, Other};
        use Piece::{Missing, Right, Wrong};

        let layout = layout();
        for (there, pieces, states, details) in [
            (
                [File(15), File(10), Nothing, File(10), File(0)],
                [Right, Right, Right, Right],
                [State::Ok, State::Ok, State::Ok, State::Ok],
                [None, None, None, None],
            ),
            (
                [File(15), File(10), Nothing, File(12), Nothing],
                [Right, Wrong, Right, Right],
                [State::Wrong, State::Wrong, State::Long, State::Missing],
                [Some("1 of 2 pieces"), Some("1 of 2 pieces"), Some("2 B more than 10 B"), None],
            ),
            (
                [File(15), Nothing, Nothing, File(11), Other],
                [Right, Missing, Missing, Wrong],
                [State::Unknown, State::Missing, State::Long, State::Blocked],
                [
                    Some("1 of 2 pieces shared with what is not there"),
                    None,
                    Some("1 B more than 10 B, 1 of 1 piece wrong"),
                    Some("not a regular file"),
                ],
            ),
            (
                [File(3), File(10), Nothing, File(10), File(1)],
                [Missing, Missing, Right, Right],
                [State::Short, State::Unknown, State::Ok, State::Long],
                [
                    Some("3 B of 15 B"),
                    Some("1 of 2 pieces shared with what is not there"),
                    None,
                    Some("1 B more than 0 B"),
                ],
            ),
        ] {
            let judged: Vec<_> = real_files(&layout)
                .map(|(index, _)| Judgement::of(&layout, index, there[index], &pieces))
                .collect();
            let found: Vec<_> = judged.iter().map(|judged| judged.state).collect();
            assert_eq!(found, states);
            let said: Vec<_> = judged.iter().map(Judgement::detail).collect();
            assert_eq!(said, details.map(|detail| detail.map(str::to_owned)));
        }
    }

    #[test]
    fn foreign_is_what_has_no_right_piece() {
        use OnDisk::File;
        use Piece::{Missing, Right, Wrong};

        let layout = layout();
        for (index, there, pieces, is_foreign) in [
            (0, File(15), [Wrong, Wrong, Right, Right], true),
            (0, File(15), [Wrong, Right, Right, Right], false),
            (0, File(15), [Wrong, Missing, Right, Right], false),
            (0, File(7), [Missing, Missing, Right, Right], true),
            (0, File(0), [Missing, Missing, Right, Right], false),
            (3, File(99), [Right, Right, Right, Wrong], true),
            (3, File(99), [Right, Right, Right, Right], false),
        ] {
            let judged = Judgement::of(&layout, index, there, &pieces);
            assert_eq!(judged.is_foreign(), is_foreign, "{judged:?}");
        }
        let long = Judgement::of(&layout, 3, File(99), &[Wrong, Wrong, Wrong, Right]);
        assert!(long.is_right_but_long());
    }

    #[test]
    fn a_piece_is_hashed_if_its_files_are_there_or_may_be_in_the_parts_file() {
        use OnDisk::{File, Nothing, Other};

        let layout = layout();
        for (there, pieces) in [
            ([File(15), File(10), Nothing, File(10)], [true, true, true, true]),
            ([File(14), File(5), Nothing, File(11)], [true, false, false, true]),
            ([Nothing, Other, Nothing, Nothing], [false, false, false, false]),
            ([File(15), Nothing, Nothing, Nothing], [true, true, false, false]),
        ] {
            let found: Vec<bool> =
                (0..4).map(|piece| is_there(&layout, PieceIndex(piece), &there)).collect();
            assert_eq!(found, pieces);
        }
    }
}
