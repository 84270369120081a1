//! What a disk that is slow, or hangs, has not taken yet when nobody waits for it any more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Torrent;

/// Payload that may not be on the disk although it was received and is right.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Unsynced {
    /// Its pieces: those that are being written, and if state is kept, those that are written and
    /// not known to be durable.
    pub pieces: u32,
    /// Their bytes.
    pub bytes: u64,
    /// How many files they are of, each torrent's own.
    pub files: usize,
    /// The file that the disk is at, or one that it is still to come to.
    pub file: Option<PathBuf>,
    /// A file with a torrent's state that is not written yet.
    pub state: Option<PathBuf>,
}

impl Unsynced {
    /// Adds what there is of another torrent.
    pub fn add(&mut self, other: Self) {
        self.pieces = self.pieces.saturating_add(other.pieces);
        self.bytes += other.bytes;
        self.files += other.files;
        self.file = self.file.take().or(other.file);
        self.state = self.state.take().or(other.state);
    }
}

impl Torrent {
    /// Returns what may not be on the disk yet. O(pieces that are not).
    pub fn unsynced(&self) -> Unsynced {
        let synced_next = self.keep.iter().flat_map(|keep| keep.unsynced());
        let written_next = self.pieces.iter().filter(|open| open.is_in_job());
        let mut left = Unsynced::default();
        let mut files = BTreeSet::new();
        for piece in written_next.map(|open| open.piece).chain(synced_next) {
            let len = self.geometry.len_of(piece);
            let spans = self.storage.spans(piece, 0, len).filter(|span| !span.pad);
            for span in spans {
                left.file.get_or_insert_with(|| self.storage.path_of(span.file));
                files.insert(span.file);
            }
            left.pieces += 1;
            left.bytes += u64::from(len);
        }
        left.files = files.len();
        let is_saving = self.keep.as_ref().is_some_and(|keep| keep.is_saving());
        left.state = self.storage.state.clone().filter(|_| is_saving);
        left
    }
}
