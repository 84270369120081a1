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

mod mark;
mod resident;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp, OnDisk, Storage};
use crate::disk::layout::{LayoutFile, Span};
use crate::id::{PieceIndex, TorrentId};
use crate::wire::frame::Frame;

use resident::OpenFile;

/// The most byte ranges in one `preadv` or `pwritev`: `IOV_MAX` of Linux. That is 16 MiB of blocks.
const MAX_IOV: usize = 1024;

/// The most frames that are written in one call, 4 MiB: more would make it no cheaper a byte, and
/// the list of them is on the stack.
const WRITE_FRAMES: usize = 256;

/// Opens folders for nothing but walking through them, so search permission is enough.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens files. Without `NONBLOCK` a named pipe in the way would block the thread for good; on
/// regular files it means nothing.
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// The cache of open files, and all that is done with files.
///
/// Every error is of the user's machine. An operation that failed may have been done in part.
#[derive(Debug)]
pub struct Files {
    cache: Mutex<Cache>,
}

impl Files {
    /// Returns a cache that keeps at most `capacity` files open, and at least one; those that an
    /// operation is using when they are evicted stay open until it ends. What the process can spare
    /// is [`FdBudget::files`](super::limits::FdBudget::files).
    pub const fn new(capacity: usize) -> Self {
        Self { cache: Mutex::new(Cache::new(capacity)) }
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
        for span in storage.layout.spans(piece, begin, total_len(frames)) {
            if span.pad {
                IoSlice::advance_slices(&mut ranges, to_usize(span.len));
                continue;
            }
            let file = self.open(storage, span.file, Access::Write)?;
            let _turn = file.turn_to_write();
            ranges = write_span(ranges, span, |ranges, at| rustix::io::pwritev(&*file, ranges, at))
                .map_err(|halt| halt.into_error(DiskOp::Write, path_of(storage, span.file)))?;
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
        for span in storage.layout.spans(piece, begin, len) {
            let moved = if span.pad {
                read_span(ranges, span, |ranges, _| Ok(zero(ranges)))
            } else {
                let file = self.open(storage, span.file, Access::Read)?;
                read_span(ranges, span, |ranges, at| rustix::io::preadv(&*file, ranges, at))
            };
            let path = || path_of(storage, span.file);
            ranges = moved.map_err(|halt| halt.into_error(DiskOp::Read, path()))?;
        }
        Ok(())
    }

    /// Returns the length in bytes of each file of the layout: `None` for those that do not exist
    /// and for pad files.
    ///
    /// Opens no file and creates nothing. Does not use the cache: O(files) system calls.
    ///
    /// # Errors
    ///
    /// A symlink, a folder or a device in a file's place is [`DiskErrorKind::InTheWay`].
    pub fn stat(storage: &Storage) -> Result<Vec<Option<OnDisk>>, DiskError> {
        let look = |file: &LayoutFile| {
            let len = if file.pad { None } else { len_on_disk(storage, file)? };
            Ok(len.map(|len| OnDisk { len, ours: mark::is_on(storage, file) }))
        };
        storage.layout.files().iter().map(look).collect()
    }

    /// Makes the files that hold no bytes and do not exist, with their folders; if `cut`, sets the
    /// length of files that are longer than they should be.
    ///
    /// Touches nothing else: not files that are too short or not there, and no file at all of a
    /// storage that is not writable.
    ///
    /// # Errors
    ///
    /// Those of [`Files::stat`] and of making and cutting files; the first one ends it.
    pub fn finish(&self, storage: &Storage, cut: bool) -> Result<(), DiskError> {
        if !storage.writable {
            return Ok(());
        }
        let files = storage.layout.files().iter().enumerate();
        for (index, file) in files.filter(|(_, file)| !file.pad) {
            let on_disk = len_on_disk(storage, file)?;
            if on_disk.is_none() && file.len == 0 {
                open_below(storage, file, Access::Write)?;
            } else if cut && on_disk.is_some_and(|len| len > file.len) {
                let open = self.open(storage, index, Access::Write)?;
                rustix::fs::ftruncate(&*open, file.len)
                    .map_err(|errno| failed(DiskOp::SetLength, path_of(storage, index), errno))?;
            }
            mark::take_off(storage, file);
        }
        Ok(())
    }

    /// Closes the cached files of `torrent`; those that an operation is using when it ends.
    pub fn close(&self, torrent: TorrentId) {
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
            let (op, path) = (DiskOp::Write, path_of(storage, index));
            return Err(DiskError { op, path, kind: DiskErrorKind::ReadOnly, message });
        }
        let key = (storage.torrent, index);
        if let Some(file) = self.lock().hit(key, access) {
            return Ok(file);
        }
        // Two threads may open the same file at one time. Both handles are good, one is kept.
        let file = open_below(storage, &storage.layout.files()[index], access)?;
        let file = Arc::new(OpenFile::new(file));
        let evicted = self.lock().insert(key, Arc::clone(&file), access);
        drop(evicted);
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // No panic can leave the table half changed, so a poisoned lock is as good as any.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file is opened for. Ordered: a file opened for writing can be read, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Access {
    Read,
    Write,
}

/// A torrent and the index of one of its files.
type Key = (TorrentId, usize);

/// Least recently used files first out.
#[derive(Debug)]
struct Cache {
    capacity: usize,
    entries: BTreeMap<Key, Entry>,
    /// The entries by their last use. Invariant: exactly one for each entry.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    file: Arc<OpenFile>,
    access: Access,
    last_use: u64,
}

impl Cache {
    const fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// Returns the file if it is open for at least `access`.
    fn hit(&mut self, key: Key, access: Access) -> Option<Arc<OpenFile>> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.access >= access)?;
        self.by_use.remove(&entry.last_use);
        self.uses += 1;
        entry.last_use = self.uses;
        self.by_use.insert(self.uses, key);
        Some(Arc::clone(&entry.file))
    }

    /// Keeps `file` and returns what is no longer kept, to be closed without the lock.
    fn insert(&mut self, key: Key, file: Arc<OpenFile>, access: Access) -> [Option<Entry>; 2] {
        self.uses += 1;
        let replaced = self.entries.insert(key, Entry { file, access, last_use: self.uses });
        if let Some(entry) = &replaced {
            self.by_use.remove(&entry.last_use);
        }
        self.by_use.insert(self.uses, key);
        let full = self.entries.len() > self.capacity.max(1);
        let oldest = if full { self.by_use.pop_first() } else { None };
        [replaced, oldest.and_then(|(_, key)| self.entries.remove(&key))]
    }

    fn remove(&mut self, torrent: TorrentId) -> Vec<Entry> {
        let range = (torrent, 0)..=(torrent, usize::MAX);
        let keys: Vec<Key> = self.entries.range(range).map(|(&key, _)| key).collect();
        let closed: Vec<Entry> = keys.iter().filter_map(|key| self.entries.remove(key)).collect();
        for entry in &closed {
            self.by_use.remove(&entry.last_use);
        }
        closed
    }
}

/// Opens a file of a torrent; for [`Access::Write`], makes it and its folders if need be.
fn open_below(storage: &Storage, file: &LayoutFile, access: Access) -> Result<File, DiskError> {
    let path = storage.root.join(&file.path);
    let (folder, name) = open_parent(storage, file, access)?;
    let open = |flags| {
        let flags = FILE | flags | links(storage);
        rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666))
    };
    let opened = match access {
        Access::Read => open(OFlags::RDONLY),
        Access::Write => match open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            Ok(made) => {
                mark::put_on(storage, &made);
                Ok(made)
            }
            Err(Errno::EXIST) => open(OFlags::RDWR),
            Err(errno) => Err(errno),
        },
    };
    let opened = opened.map_err(|errno| failed(DiskOp::Open, path.clone(), errno))?;
    let stat =
        rustix::fs::fstat(&opened).map_err(|errno| failed(DiskOp::Stat, path.clone(), errno))?;
    regular_len(&stat, path)?;
    Ok(File::from(opened))
}

/// Returns the file's length, `None` if it or a folder on the way to it is not there.
fn len_on_disk(storage: &Storage, file: &LayoutFile) -> Result<Option<u64>, DiskError> {
    let (folder, name) = match open_parent(storage, file, Access::Read) {
        Ok(found) => found,
        Err(error) if error.kind == DiskErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = storage.root.join(&file.path);
    let links = if storage.writable { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    match rustix::fs::statat(&folder, name, links) {
        Ok(stat) => regular_len(&stat, path).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(DiskOp::Stat, path, errno)),
    }
}

/// Returns a regular file's length; everything else is in the way.
fn regular_len(stat: &Stat, path: PathBuf) -> Result<u64, DiskError> {
    if FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(u64::try_from(stat.st_size).unwrap_or(0));
    }
    let message = "not a regular file".to_owned();
    Err(DiskError { op: DiskOp::Open, path, kind: DiskErrorKind::InTheWay, message })
}

/// Opens the folder that a file is in and returns it with the file's name.
fn open_parent<'a>(
    storage: &Storage,
    file: &'a LayoutFile,
    access: Access,
) -> Result<(OwnedFd, &'a OsStr), DiskError> {
    let mut folder = open_root(&storage.root, access)?;
    let mut path = storage.root.clone();
    let mut names = file.path.components();
    let name = plain_name(names.next_back(), &file.path)?;
    for component in names {
        let step = plain_name(Some(component), &file.path)?;
        path.push(step);
        folder = open_folder(&folder, step, &path, FOLDER | links(storage), access)?;
    }
    Ok((folder, name))
}

/// Lets through only a name that stays below the folder it is looked up in. The metainfo parser
/// refuses all others; this is the second lock on that door.
fn plain_name<'a>(component: Option<Component<'a>>, path: &Path) -> Result<&'a OsStr, DiskError> {
    if let Some(Component::Normal(name)) = component {
        return Ok(name);
    }
    let message = "not a path of plain names".to_owned();
    let (op, path) = (DiskOp::Open, path.to_owned());
    Err(DiskError { op, path, kind: DiskErrorKind::Other, message })
}

/// Opens the download folder, through symlinks if the user has made it one.
fn open_root(root: &Path, access: Access) -> Result<OwnedFd, DiskError> {
    let open = || rustix::fs::openat(CWD, root, FOLDER, Mode::empty());
    let opened = match open() {
        Err(Errno::NOENT) if access == Access::Write => {
            std::fs::create_dir_all(root).map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                failed(DiskOp::CreateFolder, root.to_owned(), errno)
            })?;
            open()
        }
        opened => opened,
    };
    opened.map_err(|errno| failed(DiskOp::Open, root.to_owned(), errno))
}

/// Says what becomes of symlinks below the download folder: a torrent that may write follows none;
/// a pure seed may be kept together by links, for it can neither be led astray nor serve a byte
/// that the torrent's hashes do not promise.
fn links(storage: &Storage) -> OFlags {
    if storage.writable { OFlags::NOFOLLOW } else { OFlags::empty() }
}

/// Opens one folder in another.
fn open_folder(
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
    flags: OFlags,
    access: Access,
) -> Result<OwnedFd, DiskError> {
    let open = || rustix::fs::openat(parent, name, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::NOENT) if access == Access::Write => {
            match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
                // Another thread was faster.
                Ok(()) | Err(Errno::EXIST) => open(),
                Err(errno) => return Err(failed(DiskOp::CreateFolder, path.to_owned(), errno)),
            }
        }
        opened => opened,
    };
    opened.map_err(|errno| failed(DiskOp::Open, path.to_owned(), errno))
}

fn path_of(storage: &Storage, index: usize) -> PathBuf {
    storage.root.join(&storage.layout.files()[index].path)
}

fn failed(op: DiskOp, path: PathBuf, errno: Errno) -> DiskError {
    let message = match errno {
        // The system's words for these are about loops and folders, not about what is the matter.
        Errno::LOOP => "a symlink is in the way".to_owned(),
        Errno::NOTDIR => "a symlink or a file is where a folder belongs".to_owned(),
        errno => std::io::Error::from(errno).to_string(),
    };
    DiskError { op, path, kind: kind_of(errno), message }
}

/// Sorts the system's errors by what a torrent can do about them.
const fn kind_of(errno: Errno) -> DiskErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => DiskErrorKind::Full,
        Errno::ACCESS | Errno::PERM => DiskErrorKind::Permission,
        Errno::ROFS => DiskErrorKind::ReadOnly,
        Errno::NOENT => DiskErrorKind::Missing,
        // ENXIO is what opening a socket, or a pipe that nobody reads, gives.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => DiskErrorKind::InTheWay,
        _ => DiskErrorKind::Other,
    }
}

/// Why bytes stopped moving.
#[derive(PartialEq, Eq, Debug)]
enum Halt {
    /// A call moved nothing, which for a read means the end of the file.
    Nothing {
        /// Bytes from the start of the file to where it happened.
        offset: u64,
    },
    /// A call failed.
    Failed(Errno),
}

impl Halt {
    fn into_error(self, op: DiskOp, path: PathBuf) -> DiskError {
        let (kind, message) = match self {
            Self::Failed(errno) => return failed(op, path, errno),
            Self::Nothing { offset } if op == DiskOp::Read => {
                (DiskErrorKind::Missing, format!("the file ends before byte {offset}"))
            }
            Self::Nothing { .. } => (DiskErrorKind::Other, "nothing was written".to_owned()),
        };
        DiskError { op, path, kind, message }
    }
}

/// Writes the first `span.len` bytes of `ranges` and returns what comes after them.
fn write_span<'r, 'b>(
    mut ranges: &'r mut [IoSlice<'b>],
    span: Span,
    mut pwritev: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize, Errno>,
) -> Result<&'r mut [IoSlice<'b>], Halt> {
    in_full(span, |offset, left| {
        // All that is left, as a rule: then there is nothing to cut.
        let moved = if ranges.len() <= MAX_IOV && ranges_len(ranges) == left {
            pwritev(ranges, offset)?
        } else {
            pwritev(&head(ranges, left), offset)?
        };
        IoSlice::advance_slices(&mut ranges, moved);
        Ok(moved)
    })?;
    Ok(ranges)
}

/// Fills the first `span.len` bytes of `ranges` and returns what comes after them.
fn read_span<'r, 'b>(
    mut ranges: &'r mut [IoSliceMut<'b>],
    span: Span,
    mut preadv: impl FnMut(&mut [IoSliceMut<'_>], u64) -> Result<usize, Errno>,
) -> Result<&'r mut [IoSliceMut<'b>], Halt> {
    in_full(span, |offset, left| {
        // All that is left, as a rule: then there is nothing to cut.
        let moved = if ranges.len() <= MAX_IOV && ranges_len(ranges) == left {
            preadv(ranges, offset)?
        } else {
            preadv(&mut head_mut(ranges, left), offset)?
        };
        IoSliceMut::advance_slices(&mut ranges, moved);
        Ok(moved)
    })?;
    Ok(ranges)
}

/// Repeats `step` until all of `span` has been moved: a call may be interrupted, and it may move
/// less than it was asked for.
fn in_full(span: Span, mut step: impl FnMut(u64, u64) -> Result<usize, Errno>) -> Result<(), Halt> {
    let mut done = 0;
    while done < span.len {
        let offset = span.offset + done;
        match step(offset, span.len - done) {
            Ok(0) => return Err(Halt::Nothing { offset }),
            Ok(moved) => done += moved as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Halt::Failed(errno)),
        }
    }
    Ok(())
}

/// Returns the first `limit` bytes of `ranges`, or as much as one call may name.
fn head<'a>(ranges: &'a [IoSlice<'_>], limit: u64) -> Vec<IoSlice<'a>> {
    let mut left = to_usize(limit);
    let cut = ranges.iter().take(MAX_IOV).map_while(|range| {
        let taken = range.len().min(left);
        left -= taken;
        (taken > 0).then(|| IoSlice::new(&range[..taken]))
    });
    cut.collect()
}

/// Like [`head`], for reading.
fn head_mut<'a>(ranges: &'a mut [IoSliceMut<'_>], limit: u64) -> Vec<IoSliceMut<'a>> {
    let mut left = to_usize(limit);
    let cut = ranges.iter_mut().take(MAX_IOV).map_while(|range| {
        let taken = range.len().min(left);
        left -= taken;
        (taken > 0).then(|| IoSliceMut::new(&mut range[..taken]))
    });
    cut.collect()
}

fn ranges_len<R: std::ops::Deref<Target = [u8]>>(ranges: &[R]) -> u64 {
    ranges.iter().map(|range| range.len() as u64).sum()
}

/// Reads what a pad file holds.
fn zero(ranges: &mut [IoSliceMut<'_>]) -> usize {
    ranges.iter_mut().map(|range| (range.fill(0), range.len()).1).sum()
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
