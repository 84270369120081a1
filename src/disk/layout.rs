//! Which bytes of a torrent are in which file (BEP 3 `files`, BEP 47 pad files).
//!
//! A torrent is one run of bytes: its files end to end in metainfo order, cut into pieces of equal
//! length. This module turns "so many bytes of that piece" into ranges of files and back.
//!
//! **Invariant:** nothing here knows what a file is besides its length; [`crate::reactor`] opens
//! them.

use std::ops::Range;
use std::path::PathBuf;

use crate::id::PieceIndex;

/// One file of a torrent, as the metainfo names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Path relative to the download folder, of plain names only.
    pub path: PathBuf,
    /// Bytes in the file; may be 0.
    pub len: u64,
    /// A pad file (BEP 47): its bytes are zeros that are hashed but are never on disk.
    pub pad: bool,
}

/// The files of a torrent and where they lie in its run of bytes. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Invariant: each file's offset is the end of the file before it, the first is at 0.
    files: Vec<LayoutFile>,
    /// Invariant: not 0.
    piece_len: u32,
    piece_count: u32,
    total_len: u64,
    payload_len: u64,
}

/// One file of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutFile {
    /// Path relative to the download folder, of plain names only.
    pub path: PathBuf,
    /// Bytes in the file; may be 0.
    pub len: u64,
    /// Bytes from the start of the torrent to the start of the file.
    pub offset: u64,
    /// A pad file (BEP 47): never on disk, reads as zeros.
    pub pad: bool,
}

/// A part of a run of bytes that lies in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file's index in [`Layout::files`].
    pub file: usize,
    /// Bytes from the start of the file to the start of the part.
    pub offset: u64,
    /// Bytes in the part; at least 1.
    pub len: u64,
    /// Whether the file is a pad file, so that the part is zeros and not on disk.
    pub pad: bool,
}

impl Layout {
    /// Lays `files` end to end and cuts them into pieces of `piece_len` bytes.
    ///
    /// Panics if `piece_len` is 0, the lengths sum to more than 2^64 bytes or the pieces cannot be
    /// counted in 32 bits: the metainfo parser refuses such torrents, so it is a caller's bug.
    pub fn new(files: impl IntoIterator<Item = FileSpec>, piece_len: u32) -> Self {
        assert!(piece_len > 0, "a piece has at least one byte");
        let mut total_len = 0u64;
        let mut payload_len = 0u64;
        let place = |FileSpec { path, len, pad }| {
            let offset = total_len;
            total_len = total_len.checked_add(len).expect("the metainfo's lengths have a sum");
            payload_len += if pad { 0 } else { len };
            LayoutFile { path, len, offset, pad }
        };
        let files = files.into_iter().map(place).collect();
        let piece_count = u32::try_from(total_len.div_ceil(u64::from(piece_len)))
            .expect("the metainfo's pieces are counted in 32 bits");
        Self { files, piece_len, piece_count, total_len, payload_len }
    }

    /// Returns the files in metainfo order, pad files and files without bytes included.
    pub fn files(&self) -> &[LayoutFile] {
        &self.files
    }

    /// Returns the bytes of the torrent, pad files included: what the pieces hold.
    pub const fn total_len(&self) -> u64 {
        self.total_len
    }

    /// Returns the bytes of the torrent without pad files: what is on disk when it is complete.
    pub const fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Returns how many pieces there are; 0 if no file has a byte.
    pub const fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Returns the bytes in `piece`: the same for all but the last, which may be shorter.
    ///
    /// Panics if the torrent has no such piece: a caller's bug.
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        assert!(piece.0 < self.piece_count, "no piece {} of {}", piece.0, self.piece_count);
        let rest = self.total_len - self.start_of(piece);
        u32::try_from(rest).map_or(self.piece_len, |rest| rest.min(self.piece_len))
    }

    /// Returns the parts of the `len` bytes from `begin` on in `piece`, in order and without gaps.
    ///
    /// Files without bytes are skipped; a `len` of 0 gives no part. O(log files) to the first part.
    /// Panics if the run is not within the piece: a caller's bug, for what a peer asks for is
    /// checked where it is parsed.
    pub fn spans(
        &self,
        piece: PieceIndex,
        begin: u32,
        len: u32,
    ) -> impl Iterator<Item = Span> + use<'_> {
        let within = begin.checked_add(len).is_some_and(|end| end <= self.piece_len(piece));
        assert!(within, "{begin}+{len} is not within piece {}", piece.0);
        let start = self.start_of(piece) + u64::from(begin);
        let end = start + u64::from(len);
        let first = self.files.partition_point(|file| file.end() <= start);
        let touched = self.files[first..].iter().take_while(move |file| file.offset < end);
        touched.zip(first..).filter_map(move |(file, index)| {
            let from = file.offset.max(start);
            let len = file.end().min(end) - from;
            let offset = from - file.offset;
            (len > 0).then_some(Span { file: index, offset, len, pad: file.pad })
        })
    }

    /// Returns the pieces that hold bytes of the file with index `file`; empty if it has none.
    ///
    /// Panics if the torrent has no such file: a caller's bug.
    pub fn pieces_of_file(&self, file: usize) -> Range<u32> {
        let file = &self.files[file];
        self.pieces_of_range(file.offset, file.len)
    }

    /// Returns the pieces that hold the `len` bytes from `start` on in the torrent; empty if `len`
    /// is 0. The range must be within the torrent.
    pub fn pieces_of_range(&self, start: u64, len: u64) -> Range<u32> {
        let piece_len = u64::from(self.piece_len);
        let number = |piece: u64| u32::try_from(piece).expect("at most the piece count");
        let first = number(start / piece_len);
        if len == 0 { first..first } else { first..number((start + len).div_ceil(piece_len)) }
    }

    fn start_of(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_len)
    }
}

impl LayoutFile {
    /// Cannot overflow: [`Layout::new`] has added the same numbers.
    const fn end(&self) -> u64 {
        self.offset + self.len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(files: &[(u64, bool)], piece_len: u32) -> Layout {
        let spec = |(index, &(len, pad)): (usize, &(u64, bool))| {
            let path = PathBuf::from(index.to_string());
            FileSpec { path, len, pad }
        };
        Layout::new(files.iter().enumerate().map(spec), piece_len)
    }

    fn spans(layout: &Layout, piece: u32, begin: u32, len: u32) -> Vec<(usize, u64, u64, bool)> {
        let parts = layout.spans(PieceIndex(piece), begin, len);
        parts.map(|span| (span.file, span.offset, span.len, span.pad)).collect()
    }

    #[test]
    fn a_run_is_cut_where_files_end() {
        let layout = layout(&[(5, false), (0, false), (3, true), (0, false), (12, false)], 8);
        assert_eq!((layout.total_len(), layout.payload_len()), (20, 17));
        assert_eq!(layout.piece_count(), 3);
        assert_eq!([0, 1, 2].map(|piece| layout.piece_len(PieceIndex(piece))), [8, 8, 4]);
        assert_eq!(spans(&layout, 0, 0, 8), [(0, 0, 5, false), (2, 0, 3, true)]);
        assert_eq!(spans(&layout, 0, 4, 2), [(0, 4, 1, false), (2, 0, 1, true)]);
        assert_eq!(spans(&layout, 1, 0, 8), [(4, 0, 8, false)]);
        assert_eq!(spans(&layout, 2, 1, 3), [(4, 9, 3, false)]);
        assert_eq!(spans(&layout, 2, 4, 0), []);
    }

    #[test]
    fn files_without_bytes_belong_to_no_piece() {
        let layout = layout(&[(0, false), (9, false), (0, false), (8, false), (0, false)], 8);
        let pieces: Vec<_> = (0..5).map(|file| layout.pieces_of_file(file)).collect();
        assert_eq!(pieces, [0..0, 0..2, 1..1, 1..3, 2..2]);
    }

    #[test]
    fn a_torrent_without_bytes_has_no_pieces() {
        let layout = layout(&[(0, false), (0, true)], 16);
        assert_eq!((layout.piece_count(), layout.total_len()), (0, 0));
        assert_eq!(layout.pieces_of_file(1), 0..0);
    }

    #[test]
    fn offsets_beyond_32_bits_keep_their_upper_half() {
        let layout = layout(&[(5 << 30, false), (3, false)], 1 << 31);
        assert_eq!(layout.piece_len(PieceIndex(1)), 1 << 31);
        assert_eq!(layout.piece_len(PieceIndex(2)), (1 << 30) + 3);
        assert_eq!(
            spans(&layout, 2, (1 << 30) - 1, 4),
            [(0, (5 << 30) - 1, 1, false), (1, 0, 3, false)]
        );
    }

    #[test]
    #[should_panic(expected = "not within piece 2")]
    fn a_run_beyond_the_short_last_piece_is_refused() {
        drop(layout(&[(20, false)], 8).spans(PieceIndex(2), 3, 2));
    }

    #[test]
    #[should_panic(expected = "not within piece 0")]
    fn a_run_whose_end_overflows_is_refused() {
        drop(layout(&[(20, false)], 8).spans(PieceIndex(0), 1, u32::MAX));
    }

    proptest! {
        #[test]
        fn spans_are_the_byte_map(
            files in prop::collection::vec((0u64..30, any::<bool>()), 1..12),
            piece_len in 1u32..40,
            pick in any::<[prop::sample::Index; 3]>(),
        ) {
            let layout = layout(&files, piece_len);
            let map: Vec<(usize, u64)> = (0..files.len())
                .flat_map(|file| (0..files[file].0).map(move |offset| (file, offset)))
                .collect();
            let piece_at = |byte: usize| u32::try_from(byte).unwrap() / piece_len;
            for file in 0..files.len() {
                let bytes = || (0..map.len()).filter(|&byte| map[byte].0 == file);
                let (first, last) = (bytes().map(piece_at).min(), bytes().map(piece_at).max());
                let range = layout.pieces_of_file(file);
                prop_assert_eq!((!range.is_empty()).then_some(range.start), first);
                prop_assert_eq!((!range.is_empty()).then(|| range.end - 1), last);
            }
            let sum: u32 = (0..layout.piece_count()).map(|p| layout.piece_len(PieceIndex(p))).sum();
            prop_assert_eq!(sum as usize, map.len());
            prop_assume!(!map.is_empty());

            let piece = u32::try_from(pick[0].index(layout.piece_count() as usize)).unwrap();
            let in_piece = layout.piece_len(PieceIndex(piece));
            let begin = u32::try_from(pick[1].index(in_piece as usize)).unwrap();
            let len = u32::try_from(pick[2].index((in_piece - begin) as usize + 1)).unwrap();
            let start = (piece * piece_len + begin) as usize;
            let spans: Vec<Span> = layout.spans(PieceIndex(piece), begin, len).collect();
            let bytes: Vec<(usize, u64)> = spans
                .iter()
                .flat_map(|span| (0..span.len).map(|at| (span.file, span.offset + at)))
                .collect();
            prop_assert_eq!(&bytes[..], &map[start..start + len as usize]);
            prop_assert!(spans.iter().all(|span| span.len > 0 && span.pad == files[span.file].1));
            prop_assert!(spans.windows(2).all(|pair| pair[0].file < pair[1].file));
        }
    }
}
