//! The files of torrents: opened below the download folder, kept open for a while, read and
//! written by position.
//!
//! One [`Files`] is shared by all disk threads; its lock is held for table look-ups only, never
//! over a system call. Folders are walked name by name; where anything may be written, with
//! `O_NOFOLLOW`, so that no symlink below the download folder is ever followed, whoever put it
//! there and whenever (the folder itself may be one). Files come into being with their first byte
//! and grow as pieces arrive, so that the holes between pieces cost no space; nothing is ever
//! truncated on opening.
//!
//! **Invariant:** this module does not know what a piece's bytes mean; [`super::workers`] does.

mod cache;
pub(super) mod fault;
pub(super) mod known;
mod mark;
pub(super) mod open;
mod parts;
mod resident;
mod run;
mod space;
pub(super) mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp, OnDisk, Storage};
use crate::disk::selection::Selection;
use crate::id::{PieceIndex, TorrentId};
use crate::wire::frame::Frame;

use cache::{Access, Cache, Key};
use fault::{failed, gone};
use known::Known;
use open::on_disk;
use resident::OpenFile;
use run::{read_span, write_span, zero};
use sync::again;

/// The most frames that are written in one call, 4 MiB: more would make it no cheaper a byte, and
/// the list of them is on the stack.
const WRITE_FRAMES: usize = 256;

/// Folders by torrent.
type Named = BTreeMap<TorrentId, BTreeSet<PathBuf>>;

/// The cache of open files, and all that is done with files.
///
/// Every error is of the user's machine. An operation that failed may have been done in part.
#[derive(Debug)]
pub struct Files {
    cache: Mutex<Cache>,
    /// Held while a parts file is looked for and made, so that it is made once.
    making_parts: Mutex<()>,
    /// The folders of each torrent, relative to its download folder, in which nothing was made
    /// since they were synced.
    named: Mutex<Named>,
    /// What was there when it was looked at.
    known: Mutex<Known>,
    /// Held while a file is opened that may be made.
    opening: Mutex<()>,
}

impl Files {
    /// Returns a cache that keeps at most `capacity` files open, and at least one; those that an
    /// operation is using when they are evicted stay open until it ends. What the process can spare
    /// is [`FdBudget::files`](super::limits::FdBudget::files).
    pub const fn new(capacity: usize) -> Self {
        Self {
            cache: Mutex::new(Cache::new(capacity)),
            making_parts: Mutex::new(()),
            named: Mutex::new(BTreeMap::new()),
            known: Mutex::new(BTreeMap::new()),
            opening: Mutex::new(()),
        }
    }

    /// Writes the payloads of `frames`, end to end, from `begin` on in `piece`: one call for each
    /// file that the run touches and each 4 MiB, unless the system takes less at a time.
    ///
    /// Folders and files are created as needed; bytes of pad files (BEP 47) are skipped. Panics if
    /// the run is not within the piece: a caller's bug.
    ///
    /// # Errors
    ///
    /// Any kind but [`DiskErrorKind::Missing`]; a storage that is not writable is
    /// [`DiskErrorKind::ReadOnly`], and its disk is not touched.
    pub fn write_run(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        frames: &[Frame],
    ) -> Result<(), DiskError> {
        let mut begin = begin;
        for frames in frames.chunks(WRITE_FRAMES) {
            self.write_frames(storage, piece, begin, frames)?;
            begin += total_len(frames);
        }
        Ok(())
    }

    /// Writes at most [`WRITE_FRAMES`] frames. Allocates nothing, if the system takes all at once.
    fn write_frames(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        frames: &[Frame],
    ) -> Result<(), DiskError> {
        let mut all = [IoSlice::new(&[]); WRITE_FRAMES];
        let payloads = frames.iter().map(Frame::payload).filter(|payload| !payload.is_empty());
        let mut used = 0;
        for (range, payload) in all.iter_mut().zip(payloads) {
            *range = IoSlice::new(payload);
            used += 1;
        }
        let mut ranges = &mut all[..used];
        for span in storage.spans(piece, begin, total_len(frames)) {
            if span.pad {
                IoSlice::advance_slices(&mut ranges, to_usize(span.len));
                continue;
            }
            let file = self.open(storage, span.file, Access::Write)?;
            let _turn = file.turn_to_write();
            ranges = write_span(ranges, span, |ranges, at| rustix::io::pwritev(&*file, ranges, at))
                .map_err(|halt| halt.into_error(DiskOp::Write, storage.path_of(span.file)))?;
        }
        Ok(())
    }

    /// Fills the payloads of `frames`, end to end, from `begin` on in `piece`: one call for each
    /// file that the run touches, unless the system gives less at a time.
    ///
    /// Bytes of pad files (BEP 47) are zeros. Nothing is created. Panics if the run is not within
    /// the piece: a caller's bug.
    ///
    /// # Errors
    ///
    /// A file that is not there or ends before the run does is [`DiskErrorKind::Missing`]. After an
    /// error the payloads are arbitrary.
    pub fn read_run(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        frames: &mut [Frame],
    ) -> Result<(), DiskError> {
        let len = total_len(frames);
        let payloads = frames.iter_mut().map(Frame::payload_mut);
        let payloads = payloads.filter(|payload| !payload.is_empty());
        let mut ranges: Vec<IoSliceMut<'_>> = payloads.map(IoSliceMut::new).collect();
        self.read(storage, piece, begin, len, &mut ranges)
    }

    /// Fills `out` from `begin` on in `piece`; in all else like [`Files::read_run`].
    ///
    /// # Errors
    ///
    /// As of [`Files::read_run`].
    pub fn read_into(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        out: &mut [u8],
    ) -> Result<(), DiskError> {
        let len = u32::try_from(out.len()).expect("a run is within a piece");
        self.read(storage, piece, begin, len, &mut [IoSliceMut::new(out)])
    }

    fn read(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        len: u32,
        mut ranges: &mut [IoSliceMut<'_>],
    ) -> Result<(), DiskError> {
        for span in storage.spans(piece, begin, len) {
            let moved = if span.pad {
                read_span(ranges, span, |ranges, _| Ok(zero(ranges)))
            } else {
                let file = self.open(storage, span.file, Access::Read)?;
                read_span(ranges, span, |ranges, at| rustix::io::preadv(&*file, ranges, at))
            };
            let path = || storage.path_of(span.file);
            ranges = moved.map_err(|halt| halt.into_error(DiskOp::Read, path()))?;
        }
        Ok(())
    }

    /// Returns what there is of each file of the layout, and last of the parts file: `None` for
    /// those that do not exist and for pad files.
    ///
    /// Opens no file but the parts file and creates nothing. Does not use the cache: O(files)
    /// system calls.
    ///
    /// # Errors
    ///
    /// A symlink, a folder or a device in a file's place is [`DiskErrorKind::InTheWay`].
    pub fn stat(storage: &Storage) -> Result<Vec<Option<OnDisk>>, DiskError> {
        (0..=storage.parts_index()).map(|index| Self::look(storage, index)).collect()
    }

    /// Returns what there is of one file, or of the parts file.
    fn look(storage: &Storage, index: usize) -> Result<Option<OnDisk>, DiskError> {
        let Some(file) = storage.layout.files().get(index) else { return parts::stat(storage) };
        let there = if file.pad { None } else { on_disk(storage, file)? };
        Ok(there.map(|there| OnDisk { ours: mark::is_on(storage, file), ..there }))
    }

    /// Of the files that `selection` wants, makes those that hold no bytes and do not exist, with
    /// their folders; if `cut`, sets the length of those that are longer than they should be.
    /// Removes the parts file if nothing is in it any more.
    ///
    /// Touches nothing else, and no file at all of a storage that is not writable.
    ///
    /// # Errors
    ///
    /// [`DiskErrorKind::Missing`] for a file of a torrent that was looked at and has lost bytes
    /// since; those of [`Files::stat`] and of making and cutting files; the first one ends it.
    pub fn finish(
        &self,
        storage: &Storage,
        selection: &Selection,
        cut: bool,
    ) -> Result<(), DiskError> {
        if !storage.writable {
            return Ok(());
        }
        self.check_root(storage)?;
        if storage.parts.is_none() {
            self.remove_parts(storage)?;
        }
        let files = storage.layout.files().iter().enumerate();
        for (index, file) in files.filter(|(at, file)| !file.pad && selection.wants(*at)) {
            let there = on_disk(storage, file)?;
            let is_apart = storage.parts.as_ref().is_some_and(|parts| parts.holds(index));
            let is_short = there.is_none_or(|there| there.len < file.len) && file.len > 0;
            if is_short && !is_apart && self.known().contains_key(&storage.torrent) {
                return Err(gone(storage.path_of(index)));
            }
            if there.is_none() && file.len == 0 {
                self.open_known(storage, index, Access::Write)?;
            } else if cut && there.is_some_and(|there| there.len > file.len) {
                let open = self.open(storage, index, Access::Write)?;
                again(|| rustix::fs::ftruncate(&*open, file.len))
                    .map_err(|errno| failed(DiskOp::SetLength, storage.path_of(index), errno))?;
            }
            mark::take_off(storage, file);
        }
        Ok(())
    }

    /// Closes the cached files of `torrent`; those that an operation is using when it ends.
    pub fn close(&self, torrent: TorrentId) {
        self.named().remove(&torrent);
        self.known().remove(&torrent);
        let closed = self.lock().remove(torrent);
        // Closing can block (network file systems write back then), so the lock is gone by now.
        drop(closed);
    }

    fn open(
        &self,
        storage: &Storage,
        index: usize,
        access: Access,
    ) -> Result<Arc<OpenFile>, DiskError> {
        if access == Access::Write && !storage.writable {
            let message = "the torrent is only served".to_owned();
            let (op, path) = (DiskOp::Write, storage.path_of(index));
            return Err(DiskError { op, path, kind: DiskErrorKind::ReadOnly, message });
        }
        let key = (storage.torrent, index);
        if index >= storage.layout.files().len() {
            return self.open_parts(storage, access);
        }
        let open = self.lock().hit(key, access);
        if let Some(file) = open {
            let still = self.look_again(storage, index, &file);
            if still.is_err() {
                let closed = self.lock().remove_one(key);
                drop(closed);
            }
            return still.map(|()| file);
        }
        // Two threads may open the same file at one time. Both handles are good, one is kept.
        let file = self.open_known(storage, index, access)?;
        Ok(self.keep(key, file, access))
    }

    /// Keeps a file open for the next one who asks for it.
    fn keep(&self, key: Key, file: File, access: Access) -> Arc<OpenFile> {
        let file = Arc::new(OpenFile::new(file));
        let evicted = self.lock().insert(key, Arc::clone(&file), access);
        drop(evicted);
        file
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // No panic can leave the table half changed, so a poisoned lock is as good as any.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total_len(frames: &[Frame]) -> u32 {
    let sum = frames.iter().try_fold(0u32, |sum, frame| sum.checked_add(frame.len()));
    sum.expect("a run is within a piece")
}

/// The numbers are lengths of memory that is at hand, so only a 16-bit machine would clamp.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
