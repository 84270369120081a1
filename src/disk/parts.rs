//! Where the bytes of files are that are not wanted: in one hidden file beside the others.
//!
//! A piece that a wanted file shares with others can only be had, checked and served as a whole.
//! What belongs to files that are not wanted goes into a slot of the parts file, so that no file is
//! created for it. Every piece with bytes of several files has a slot of its own, whatever is
//! wanted: what is there is found again when other files are. Slots are in the order of the pieces,
//! and what belongs to wanted files stays a hole in them.
//!
//! ```text
//! 0         4096              4096 + piece length
//! | header  | slot of piece 3 | slot of piece 7 | ...
//! ```
//!
//! **Invariant:** a file that is on disk has its bytes in itself. So nothing has to be written down
//! about which file is where: it moves when it is created.

use std::path::{Path, PathBuf};

use super::job::Storage;
use super::layout::{Layout, Span};
use crate::id::PieceIndex;

/// Bytes of the parts file before its first slot, so that slots begin with a page.
pub const HEADER_LEN: u64 = 4096;

/// How a parts file begins; the info-hash of its torrent follows.
pub const PARTS_MAGIC: [u8; 24] = *b"swarmloop parts file 1\r\n";

/// The files that are in the parts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// By index in [`Layout::files`]. Invariant: at least one is.
    files: Box<[bool]>,
    /// The pieces with bytes of several files, in rising order.
    shared: Box<[u32]>,
}

impl Parts {
    /// Returns the parts file that holds the bytes of `files`, by index in [`Layout::files`];
    /// `None` if there are none. O(files).
    pub fn new(layout: &Layout, files: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut held = vec![false; layout.files().len()].into_boxed_slice();
        let mut any = false;
        for file in files {
            held[file] = true;
            any = true;
        }
        any.then(|| Self { files: held, shared: shared_pieces(layout) })
    }

    /// Tells whether the bytes of the file with index `file` are here.
    pub fn holds(&self, file: usize) -> bool {
        self.files.get(file).copied().unwrap_or(false)
    }

    /// Returns the files whose bytes are here.
    pub fn files(&self) -> impl Iterator<Item = usize> + '_ {
        (0..).zip(&self.files).filter(|(_, held)| **held).map(|(file, _)| file)
    }

    /// Returns where a part of `piece` is: here if it is of a file that is, else where it was.
    pub fn place(&self, layout: &Layout, piece: PieceIndex, span: Span) -> Span {
        if span.pad || !self.holds(span.file) {
            return span;
        }
        // A piece of one file has no slot: it is asked for only if its file is wanted.
        let Ok(slot) = self.shared.binary_search(&piece.0) else { return span };
        let piece_len = u64::from(layout.piece_len(PieceIndex(0)));
        let in_torrent = layout.files()[span.file].offset + span.offset;
        let in_piece = in_torrent - u64::from(piece.0) * piece_len;
        let offset = HEADER_LEN + slot as u64 * piece_len + in_piece;
        Span { file: layout.files().len(), offset, ..span }
    }
}

/// Returns the pieces with bytes of several files, pad files not counted, in rising order.
fn shared_pieces(layout: &Layout) -> Box<[u32]> {
    let mut shared: Vec<u32> = Vec::new();
    let mut last_of_previous = None;
    for (index, _) in layout.files().iter().enumerate().filter(|(_, file)| !file.pad) {
        let pieces = layout.pieces_of_file(index);
        if pieces.is_empty() {
            continue;
        }
        if last_of_previous == Some(pieces.start) && shared.last() != Some(&pieces.start) {
            shared.push(pieces.start);
        }
        last_of_previous = Some(pieces.end - 1);
    }
    shared.into_boxed_slice()
}

impl Storage {
    /// Returns where the `len` bytes from `begin` on in `piece` are, in order and without gaps: as
    /// [`Layout::spans`], but for what is in the parts file, whose index is that of the file after
    /// the last.
    pub fn spans(
        &self,
        piece: PieceIndex,
        begin: u32,
        len: u32,
    ) -> impl Iterator<Item = Span> + use<'_> {
        let place = move |span| match &self.parts {
            None => span,
            Some(parts) => parts.place(&self.layout, piece, span),
        };
        self.layout.spans(piece, begin, len).map(place)
    }

    /// Returns the index that spans of the parts file have.
    pub fn parts_index(&self) -> usize {
        self.layout.files().len()
    }

    /// Returns the full path of the file with index `file`; of the parts file, the one that it has
    /// as a rule.
    pub fn path_of(&self, file: usize) -> PathBuf {
        match self.layout.files().get(file) {
            Some(file) => self.root.join(&file.path),
            None => self.root.join(&self.parts_names()[0]),
        }
    }

    /// Returns the names that the parts file may have in the download folder: after the torrent,
    /// and after its info-hash if another file has the first.
    pub fn parts_names(&self) -> [PathBuf; 2] {
        let top = self.layout.files().first().and_then(|file| file.path.iter().next());
        let hidden = |name: &Path| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(".parts");
            PathBuf::from(hidden)
        };
        let hash = PathBuf::from(self.info_hash.to_string());
        [hidden(top.map_or(&hash, Path::new)), hidden(&hash)]
    }

    /// Returns the same storage with other files in the parts file.
    #[must_use]
    pub fn with_parts(&self, parts: Option<Parts>) -> Self {
        Self {
            torrent: self.torrent,
            info_hash: self.info_hash,
            root: self.root.clone(),
            layout: std::sync::Arc::clone(&self.layout),
            hashes: self.hashes.clone(),
            writable: self.writable,
            rules: self.rules,
            state: self.state.clone(),
            parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::layout::FileSpec;
    use crate::id::{InfoHash, TorrentId};

    fn storage(files: &[(u64, bool)], piece_len: u32, held: &[usize]) -> Storage {
        let spec = |(index, &(len, pad)): (usize, &(u64, bool))| FileSpec {
            path: PathBuf::from("top").join(index.to_string()),
            len,
            pad,
        };
        let layout = Layout::new(files.iter().enumerate().map(spec), piece_len);
        Storage {
            torrent: TorrentId(0),
            info_hash: InfoHash([7; 20]),
            root: "root".into(),
            parts: Parts::new(&layout, held.iter().copied()),
            hashes: bytes::Bytes::new(),
            layout: Arc::new(layout),
            writable: true,
            rules: crate::disk::job::Rules::default(),
            state: None,
        }
    }

    fn spans(storage: &Storage, piece: u32) -> Vec<(usize, u64, u64)> {
        let piece = PieceIndex(piece);
        let len = storage.layout.piece_len(piece);
        storage.spans(piece, 0, len).map(|span| (span.file, span.offset, span.len)).collect()
    }

    #[test]
    fn what_is_in_the_parts_file_has_a_slot_a_piece_that_files_share() {
        // Pieces: 0 of a; 1 of a and b; 2 of b; 3 of b, c and d; 4 of d.
        let files = [(15, false), (16, false), (2, false), (17, false)];
        let some = storage(&files, 10, &[1, 2]);
        let slot = |nth: u64| HEADER_LEN + nth * 10;
        assert_eq!(spans(&some, 0), [(0, 0, 10)]);
        assert_eq!(spans(&some, 1), [(0, 10, 5), (4, slot(0) + 5, 5)]);
        assert_eq!(spans(&some, 2), [(1, 5, 10)], "of one file only");
        assert_eq!(spans(&some, 3), [(4, slot(1), 1), (4, slot(1) + 1, 2), (3, 0, 7)]);
        assert_eq!(spans(&storage(&files, 10, &[3]), 3)[2], (4, slot(1) + 3, 7));
        assert_eq!(spans(&storage(&files, 10, &[]), 3), [(1, 15, 1), (2, 0, 2), (3, 0, 7)]);
    }

    #[test]
    fn pad_bytes_share_no_piece_and_are_in_no_slot() {
        let padded = storage(&[(5, false), (5, true), (10, false)], 10, &[0, 2]);
        assert_eq!(spans(&padded, 0), [(0, 0, 5), (1, 0, 5)]);
        let shared = storage(&[(5, false), (2, true), (10, false)], 10, &[0]);
        assert_eq!(spans(&shared, 0), [(3, HEADER_LEN, 5), (1, 0, 2), (2, 0, 3)]);
    }

    #[test]
    fn it_is_named_after_the_torrent_or_its_hash() {
        let storage = storage(&[(5, false), (6, false)], 10, &[1]);
        assert_eq!(storage.path_of(2), Path::new("root/.top.parts"));
        assert_eq!(storage.path_of(1), Path::new("root/top/1"));
        let hash = format!(".{}.parts", InfoHash([7; 20]));
        assert_eq!(storage.parts_names()[1], Path::new(&hash));
    }

    proptest! {
        /// Wherever a byte of a piece that may be asked for goes, it is the only one to go there,
        /// and its place depends on nothing but whether its own file is held.
        #[test]
        fn no_two_bytes_share_a_place(
            files in prop::collection::vec((0u64..30, any::<bool>(), any::<bool>()), 1..12),
            piece_len in 1u32..40,
        ) {
            let lens: Vec<_> = files.iter().map(|(len, pad, _)| (*len, *pad)).collect();
            let held: Vec<usize> = (0..files.len()).filter(|at| files[*at].2).collect();
            let everything: Vec<usize> = (0..files.len()).collect();
            let some = storage(&lens, piece_len, &held);
            let all = storage(&lens, piece_len, &everything);
            let mut places = BTreeMap::new();
            for piece in 0..some.layout.piece_count() {
                let index = PieceIndex(piece);
                let len = some.layout.piece_len(index);
                let spans = some.spans(index, 0, len).zip(all.spans(index, 0, len));
                let mut sum = 0;
                for ((here, there), plain) in spans.zip(some.layout.spans(index, 0, len)) {
                    sum += here.len;
                    prop_assert_eq!(here, if files[plain.file].2 { there } else { plain });
                    for at in here.offset..here.offset + here.len {
                        prop_assert_eq!(places.insert((here.file, at), piece), None);
                    }
                }
                prop_assert_eq!(sum, u64::from(len));
            }
        }
    }
}
