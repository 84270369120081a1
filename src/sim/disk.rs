//! A host's files in memory: every kind of job with the same outcomes as the disk pool's, and
//! faults on demand.
//!
//! **Invariant:** a job is done when its outcome is told, not when it is submitted, so a claim
//! that comes before the write is found out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::disk::hash::{self, Midstate};
use crate::disk::job::{
    Append, Appended, DiskError, DiskErrorKind, DiskOp, Job, OnDisk, Outcome, Read, Space, Storage,
    Times, Verdict, Verify,
};
use crate::disk::selection::Selection;
use crate::disk::verdict;
use crate::id::PieceIndex;
use crate::rng::Rng;
use crate::time::Duration;
use crate::wire::frame::Frame;

/// How a disk behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DiskOptions {
    /// The least and the most that a job takes; how long it is, is random, so outcomes overtake
    /// each other.
    pub latency: (Duration, Duration),
    /// Which write fails (counted from 0, a run each), and how.
    pub fail_write: Option<(u64, DiskErrorKind)>,
    /// Which read for a peer fails (counted from 0), and how.
    pub fail_read: Option<(u64, DiskErrorKind)>,
    /// Whether every write fails.
    pub read_only: bool,
    /// The bytes that fit on it; a write that needs more fails with [`DiskErrorKind::Full`].
    pub capacity: u64,
}

impl Default for DiskOptions {
    /// A disk that takes up to 20 ms and never fails.
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(50), Duration::from_millis(20)),
            fail_write: None,
            fail_read: None,
            read_only: false,
            capacity: u64::MAX,
        }
    }
}

/// The files of one host by their full path.
#[derive(Debug, Default)]
pub struct SimDisk {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Files that were made by writing to them.
    made: BTreeSet<PathBuf>,
    options: DiskOptions,
    writes: u64,
    reads: u64,
}

impl SimDisk {
    pub(super) fn new(options: DiskOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Returns the bytes of a file.
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Puts a file there, whatever there was.
    pub fn put(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.made.remove(&path);
        self.files.insert(path, bytes);
    }

    /// Returns how many runs were written.
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Returns how many runs were read for peers.
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// Changes how the disk behaves from now on.
    pub const fn set_options(&mut self, options: DiskOptions) {
        self.options = options;
    }

    pub(super) fn latency(&self, rng: &mut Rng) -> Duration {
        let (least, most) = self.options.latency;
        let spread = most.saturating_sub(least);
        least + spread.mul_f64(rng.unit())
    }

    /// Does a job that took so long. `None` for a close, which has no outcome.
    pub(super) fn run(&mut self, job: Job, took: Duration) -> Option<Outcome> {
        Some(match job {
            Job::Verify(job) => {
                let verdict = self.verify(&job);
                let Verify { storage, piece, frames, .. } = job;
                let times = times(took, !matches!(verdict, Ok(Verdict::Corrupt { .. })));
                Outcome::Verify { torrent: storage.torrent, piece, frames, verdict, times }
            }
            Job::Append(mut job) => {
                let result = self.append(&mut job);
                let Append { storage, piece, begin, frames, .. } = job;
                let (torrent, times) = (storage.torrent, times(took, true));
                Outcome::Append { torrent, piece, begin, frames, result, times }
            }
            Job::Read(Read { storage, conn, piece, begin, mut frames }) => {
                let result = self.read_run(&storage, piece, begin, &mut frames);
                Outcome::Read { torrent: storage.torrent, conn, piece, begin, frames, result }
            }
            Job::Stat { storage } => {
                let look = |path: &Path| {
                    let len = self.file(path)?.len() as u64;
                    Some(OnDisk { len, ours: self.made.contains(path) })
                };
                let files = storage.layout.files().iter();
                let files = files
                    .map(|f| if f.pad { None } else { look(&storage.root.join(&f.path)) })
                    .chain(std::iter::once(look(&storage.path_of(storage.parts_index()))));
                Outcome::Stat { torrent: storage.torrent, files: Ok(files.collect()) }
            }
            Job::Check { storage, first, count } => {
                let pieces = (first.0..first.0 + count).map(PieceIndex);
                let good = pieces.map(|piece| self.is_good(&storage, piece)).collect();
                Outcome::Check { torrent: storage.torrent, first, good: Ok(good) }
            }
            Job::Carry { storage, files } => {
                for (file, pieces) in files {
                    self.carry(&storage, file, &pieces);
                }
                Outcome::Carry { torrent: storage.torrent, result: Ok(()) }
            }
            Job::Finish { storage, cut, selection } => {
                self.finish(&storage, &selection, cut);
                Outcome::Finish { torrent: storage.torrent, result: Ok(()) }
            }
            Job::Space { storage, wanted, reserve } => {
                let room = reserve.map_or(Ok(()), |piece| {
                    self.has_room(&storage, piece, 0, storage.layout.piece_len(piece))
                });
                let free = Some(self.options.capacity.saturating_sub(self.used()));
                let lacking = wanted.iter().map(|index| {
                    let file = &storage.layout.files()[*index];
                    let there = self.file(&storage.root.join(&file.path)).map_or(0, <[u8]>::len);
                    file.len.saturating_sub(there as u64)
                });
                let lacking = lacking.sum();
                let space = room.map(|()| Space { free, lacking });
                Outcome::Space { torrent: storage.torrent, space }
            }
            Job::Close { .. } => return None,
        })
    }

    /// Does as much of a job as a crash in the middle of it would: a part of what it writes.
    pub(super) fn tear(&mut self, job: Job, rng: &mut Rng) {
        let (storage, piece, begin, frames) = match job {
            Job::Verify(Verify { storage, piece, frames, .. }) => {
                if hash::piece(&frames) != storage.expected(piece) {
                    return;
                }
                (storage, piece, 0, frames)
            }
            Job::Append(Append { storage, piece, begin, frames, .. }) => {
                (storage, piece, begin, frames)
            }
            _ => return,
        };
        let mut bytes = payload(&frames);
        bytes.truncate(rng.below(bytes.len() + 1));
        self.put_run(&storage, piece, begin, &bytes);
    }

    /// Returns the bytes of a run, or what is missing.
    fn bytes_of(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        len: u32,
    ) -> Result<Vec<u8>, DiskError> {
        let mut out = Vec::with_capacity(len as usize);
        for span in storage.spans(piece, begin, len) {
            let from = to_usize(span.offset);
            let until = from + to_usize(span.len);
            if span.pad {
                out.resize(out.len() + to_usize(span.len), 0);
                continue;
            }
            let path = storage.path_of(span.file);
            match self.files.get(&path).and_then(|file| file.get(from..until)) {
                Some(part) => out.extend_from_slice(part),
                None => return Err(failed(DiskOp::Read, path, DiskErrorKind::Missing)),
            }
        }
        Ok(out)
    }

    fn put_run(&mut self, storage: &Storage, piece: PieceIndex, begin: u32, mut bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("a run is within a piece");
        for span in storage.spans(piece, begin, len) {
            let (part, rest) = bytes.split_at(to_usize(span.len));
            bytes = rest;
            if !span.pad {
                let path = storage.path_of(span.file);
                if !self.files.contains_key(&path) {
                    self.made.insert(path.clone());
                }
                let file = self.files.entry(path).or_default();
                let (from, until) = (to_usize(span.offset), to_usize(span.offset + span.len));
                file.resize(file.len().max(until), 0);
                file[from..until].copy_from_slice(part);
            }
        }
    }

    /// Returns the bytes that all files take: a hole costs as much as what will be in it.
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.len() as u64).sum()
    }

    /// Tells whether a run can be written, as far as the disk's size goes.
    fn has_room(
        &self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        len: u32,
    ) -> Result<(), DiskError> {
        let spans = storage.layout.spans(piece, begin, len).filter(|span| !span.pad);
        let growth = spans.map(|span| {
            let path = storage.root.join(&storage.layout.files()[span.file].path);
            let there = self.files.get(&path).map_or(0, |file| file.len() as u64);
            (span.offset + span.len).saturating_sub(there)
        });
        if self.used().saturating_add(growth.sum()) > self.options.capacity {
            return Err(failed(DiskOp::Write, storage.root.clone(), DiskErrorKind::Full));
        }
        Ok(())
    }

    fn write_run(
        &mut self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        frames: &[Frame],
    ) -> Result<(), DiskError> {
        let nth = self.writes;
        self.writes += 1;
        let read_only = self.options.read_only || !storage.writable;
        let kind = match self.options.fail_write {
            _ if read_only => Some(DiskErrorKind::ReadOnly),
            Some((fails, kind)) if fails == nth => Some(kind),
            _ => None,
        };
        if let Some(kind) = kind {
            return Err(failed(DiskOp::Write, storage.root.clone(), kind));
        }
        let bytes = payload(frames);
        let len = u32::try_from(bytes.len()).expect("a run is within a piece");
        self.has_room(storage, piece, begin, len)?;
        self.put_run(storage, piece, begin, &bytes);
        Ok(())
    }

    fn read_run(
        &mut self,
        storage: &Storage,
        piece: PieceIndex,
        begin: u32,
        frames: &mut [Frame],
    ) -> Result<(), DiskError> {
        let nth = self.reads;
        self.reads += 1;
        if let Some((_, kind)) = self.options.fail_read.filter(|(fails, _)| *fails == nth) {
            return Err(failed(DiskOp::Read, storage.root.clone(), kind));
        }
        let len = frames.iter().map(Frame::len).sum();
        let bytes = self.bytes_of(storage, piece, begin, len)?;
        let mut rest = &bytes[..];
        for frame in frames {
            let (part, behind) = rest.split_at(frame.payload().len());
            frame.payload_mut().copy_from_slice(part);
            rest = behind;
        }
        Ok(())
    }

    fn verify(&mut self, job: &Verify) -> Result<Verdict, DiskError> {
        verdict::verify(job, hash::piece(&job.frames), || {
            self.write_run(&job.storage, job.piece, 0, &job.frames)
        })
    }

    fn append(&mut self, job: &mut Append) -> Result<(Appended, Vec<[u8; 20]>), DiskError> {
        hash::update(&mut job.midstate, &job.frames);
        verdict::append(job, |job| self.write_run(&job.storage, job.piece, job.begin, &job.frames))
    }

    fn is_good(&self, storage: &Storage, piece: PieceIndex) -> bool {
        let Ok(bytes) = self.bytes_of(storage, piece, 0, storage.layout.piece_len(piece)) else {
            return false;
        };
        let mut midstate = Midstate::default();
        hash::update_bytes(&mut midstate, &bytes);
        hash::finish(midstate) == storage.expected(piece)
    }

    /// Creates a file with what the parts file has of it. Seen by others as one step.
    fn carry(&mut self, storage: &Storage, file: usize, pieces: &[PieceIndex]) {
        for piece in pieces {
            let len = storage.layout.piece_len(*piece);
            let to = storage.layout.spans(*piece, 0, len);
            for (to, from) in to.zip(storage.spans(*piece, 0, len)) {
                if to.file != file || from.file != storage.parts_index() {
                    continue;
                }
                let parts = &self.files[&storage.path_of(from.file)];
                let part = parts[to_usize(from.offset)..to_usize(from.offset + from.len)].to_vec();
                let path = storage.path_of(file);
                self.made.insert(path.clone());
                let bytes = self.files.entry(path).or_default();
                let (begin, end) = (to_usize(to.offset), to_usize(to.offset + to.len));
                bytes.resize(bytes.len().max(end), 0);
                bytes[begin..end].copy_from_slice(&part);
            }
        }
    }

    fn finish(&mut self, storage: &Storage, selection: &Selection, cut: bool) {
        if !storage.writable {
            return;
        }
        if storage.parts.is_none() {
            self.files.remove(&storage.path_of(storage.parts_index()));
        }
        let files = storage.layout.files().iter().enumerate();
        for (_, spec) in files.filter(|(at, file)| !file.pad && selection.wants(*at)) {
            let path = storage.root.join(&spec.path);
            if spec.len == 0 {
                self.files.entry(path.clone()).or_default();
            }
            if cut && let Some(file) = self.files.get_mut(&path) {
                file.truncate(to_usize(spec.len));
            }
            self.made.remove(&path);
        }
    }
}

/// Parts the time of a job: a simulated disk has no queue, and hashes as long as it writes.
fn times(took: Duration, writes: bool) -> Times {
    let write_took = if writes { took / 2 } else { Duration::ZERO };
    Times { queued: Duration::ZERO, hash_took: took.saturating_sub(write_took), write_took }
}

fn payload(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frames.iter().map(|frame| frame.payload().len()).sum());
    for frame in frames {
        bytes.extend_from_slice(frame.payload());
    }
    bytes
}

fn failed(op: DiskOp, path: PathBuf, kind: DiskErrorKind) -> DiskError {
    DiskError { op, path, kind, message: format!("simulated: {kind:?}") }
}

/// Simulated files fit into memory.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("a simulated file is small")
}
