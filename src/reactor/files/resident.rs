//! Reads that the loop may do itself: of files that are open, and of bytes that are in memory, so
//! that no disk is waited for.
//!
//! The page cache is asked with `RWF_NOWAIT`, which fails where a plain read would sleep. A tmpfs
//! does not know that flag and does not need it: its pages are memory, and one that was swapped out
//! costs the loop no more than a page of its own heap would.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::{Errno, ReadWriteFlags};

use crate::disk::job::Storage;
use crate::id::PieceIndex;
use crate::wire::frame::Frame;

use super::{Access, Files, read_span, total_len, zero};

/// The most frames that one call fills: what one write to a peer takes, with room to spare.
const MAX_RESIDENT_FRAMES: usize = 64;

/// How long a file that is open is used before a look: few calls, and nobody serves or fills a file
/// that is gone for longer.
const LOOK_INTERVAL_S: u64 = 5;

/// `TMPFS_MAGIC` of Linux.
const TMPFS: i128 = 0x0102_1994;

impl Files {
    /// Fills the payloads of `frames`, end to end, from `begin` on in `piece`, if that can be done
    /// without waiting, and tells whether it was; up to 64 of them.
    ///
    /// If not, for whatever reason, the payloads are arbitrary: [`Files::read_run`] waits, and says
    /// what is the matter. Opens nothing, allocates nothing for a run that is all in one file.
    /// Panics if the run is not within the piece: a caller's bug.
    pub fn read_resident(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        frames: &mut [Frame],
    ) -> bool {
        if frames.len() > MAX_RESIDENT_FRAMES {
            return false;
        }
        let len = total_len(frames);
        let mut all: [IoSliceMut<'_>; MAX_RESIDENT_FRAMES] =
            std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let payloads = frames.iter_mut().map(Frame::payload_mut);
        let mut used = 0;
        for payload in payloads.filter(|payload| !payload.is_empty()) {
            all[used] = IoSliceMut::new(payload);
            used += 1;
        }
        let mut ranges = &mut all[..used];
        for span in storage.spans(piece, begin, len) {
            let moved = if span.pad {
                read_span(ranges, span, |ranges, _| Ok(zero(ranges)))
            } else {
                let open = self.lock().hit((storage.torrent, span.file), Access::Read);
                // A look may have to wait.
                let Some(file) = open.filter(|file| !file.is_look_due()) else { return false };
                read_span(ranges, span, |ranges, at| file.read_resident(ranges, at))
            };
            let Ok(rest) = moved else { return false };
            ranges = rest;
        }
        true
    }
}

/// A file that is open, and what is known of reading it without waiting.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    /// Whether all of it is memory.
    is_memory: bool,
    /// Whether its file system was found not to know reads that do not wait.
    always_waits: AtomicBool,
    /// When the system was asked last whether it is still the file that the path names, in seconds
    /// since it was opened.
    looked_at_s: AtomicU64,
    opened_at: Instant,
    /// Held while it is written to. The system lets one write to a file at a time, and makes the
    /// others spin for it; who waits here sleeps, and leaves the processor to the loop.
    writing: Mutex<()>,
}

impl OpenFile {
    /// Takes in a file; asks what file system it is on, which may have to be waited for.
    pub(super) fn new(file: File) -> Self {
        let is_memory =
            rustix::fs::fstatfs(&file).is_ok_and(|system| i128::from(system.f_type) == TMPFS);
        Self {
            file,
            is_memory,
            always_waits: AtomicBool::new(false),
            looked_at_s: AtomicU64::new(0),
            opened_at: Instant::now(),
            writing: Mutex::new(()),
        }
    }

    /// Tells whether the system is to be asked again whether it is still the file that the path
    /// names.
    pub(super) fn is_look_due(&self) -> bool {
        let now_s = self.opened_at.elapsed().as_secs();
        now_s - self.looked_at_s.load(Ordering::Relaxed).min(now_s) >= LOOK_INTERVAL_S
    }

    /// Lets it seem to have been open for long.
    #[cfg(test)]
    pub(super) fn age(&mut self) {
        self.looked_at_s = AtomicU64::new(0);
        self.opened_at = Instant::now()
            .checked_sub(std::time::Duration::from_secs(2 * LOOK_INTERVAL_S))
            .expect("the machine has been up for longer");
    }

    /// Notes that it was.
    pub(super) fn looked(&self) {
        self.looked_at_s.store(self.opened_at.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Returns the file itself.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Waits until no other thread writes to it; who means to write keeps what is returned.
    pub(super) fn turn_to_write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is in memory at `offset`: 0 at the end of the file, and an error if nothing is.
    fn read_resident(&self, ranges: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize, Errno> {
        if self.is_memory {
            return rustix::io::preadv(&self.file, ranges, offset);
        }
        if self.always_waits.load(Ordering::Relaxed) {
            return Err(Errno::OPNOTSUPP);
        }
        let read = rustix::io::preadv2(&self.file, ranges, offset, ReadWriteFlags::NOWAIT);
        if matches!(read, Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) {
            self.always_waits.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::super::tests::{frames, pattern, payload, storage};
    use super::*;

    /// Memory as a file system, on every Linux.
    const MEMORY: &str = "/dev/shm";

    fn read(files: &Files, storage: &Storage, begin: u32, len: usize) -> Option<Vec<u8>> {
        let mut run = frames(&vec![0; len]);
        files.read_resident(storage, PieceIndex(0), begin, &mut run).then(|| payload(&run))
    }

    /// Makes a torrent of two files with pad bytes between them, all of it written and open.
    fn written(root: &Path, bytes: &[u8]) -> (Files, Storage) {
        let lens = [("a", 20_000), (".pad/5", 5), ("b", 20_000)];
        let (files, storage) = (Files::new(8), storage(root, &lens));
        files.write_run(&storage, PieceIndex(0), 0, &frames(bytes)).unwrap();
        (files, storage)
    }

    #[test]
    fn what_is_open_and_in_memory_is_read_at_once() {
        let mut bytes = pattern(40_005);
        bytes[20_000..20_005].fill(0);
        for (root, is_memory) in [(TempDir::new_in(MEMORY), true), (TempDir::new(), false)] {
            let root = root.unwrap();
            let (files, storage) = written(root.path(), &bytes);
            for (begin, len) in [(0, 40_005), (0, 16_384), (19_000, 16_000), (40_004, 1)] {
                let expected = bytes[begin as usize..][..len].to_vec();
                match read(&files, &storage, begin, len) {
                    Some(read) => assert_eq!(read, expected),
                    // A file system may have reasons to wait; memory has none.
                    None => assert!(!is_memory),
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_not_open_or_too_short_is_left_to_those_who_may_wait() {
        let root = TempDir::new_in(MEMORY).unwrap();
        let (files, storage) = written(root.path(), &pattern(40_005));
        let fresh = Files::new(8);
        assert_eq!(read(&fresh, &storage, 0, 100), None);
        fresh.read_into(&storage, PieceIndex(0), 0, &mut [0]).unwrap();
        assert!(read(&fresh, &storage, 0, 20_000).is_some(), "one of the files is open by now");
        assert_eq!(read(&fresh, &storage, 0, 20_006), None);
        std::fs::File::options()
            .write(true)
            .open(root.path().join("b"))
            .unwrap()
            .set_len(10)
            .unwrap();
        assert!(read(&files, &storage, 20_005, 10).is_some());
        assert_eq!(read(&files, &storage, 20_005, 11), None);
        assert_eq!(read(&files, &storage, 20_015, 1), None);
    }

    #[test]
    fn a_file_system_without_such_reads_is_asked_only_once() {
        let file = OpenFile::new(File::open("/proc/self/status").unwrap());
        let read = |file: &OpenFile| {
            let mut out = [0; 16];
            file.read_resident(&mut [IoSliceMut::new(&mut out)], 0)
        };
        assert_eq!(read(&file), Err(Errno::OPNOTSUPP));
        assert!(file.always_waits.load(Ordering::Relaxed));
        assert_eq!(read(&file), Err(Errno::OPNOTSUPP));
    }

    #[test]
    fn more_frames_than_one_call_takes_are_left_to_those_who_may_wait() {
        let root = TempDir::new_in(MEMORY).unwrap();
        let (files, storage) = written(root.path(), &pattern(40_005));
        let run = |count| -> Vec<Frame> { (0..count).map(|_| Frame::holding(&[0])).collect() };
        let at = PieceIndex(0);
        assert!(files.read_resident(&storage, at, 0, &mut run(MAX_RESIDENT_FRAMES)));
        assert!(!files.read_resident(&storage, at, 0, &mut run(MAX_RESIDENT_FRAMES + 1)));
    }
}
