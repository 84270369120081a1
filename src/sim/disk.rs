//! A host's files in memory: every kind of job with the same outcomes as the disk pool's, and
//! faults on demand.
//!
//! **Invariant:** a job is done when its outcome is told, not when it is submitted, so a claim
//! that comes before the write is found out.

use std::path::{Path, PathBuf};

use crate::disk::hash::{self, Midstate};
use crate::disk::job::{
    Append, Appended, Checked, DiskError, DiskErrorKind, DiskOp, FolderId, Folders, Job, OnDisk,
    Outcome, Read, Space, Storage, Times, Verdict, Verify,
};
use crate::disk::metadata;
use crate::disk::selection::Selection;
use crate::disk::verdict;
use crate::id::PieceIndex;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::frame::Frame;

use super::files::Files;

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
    /// Which pieces that are checked cannot be read (counted from 0, the end not included).
    pub fail_checks: (u64, u64),
    /// Whether every write fails.
    pub read_only: bool,
    /// The bytes that fit on it; a write that needs more fails with [`DiskErrorKind::Full`].
    pub capacity: u64,
    /// Whether files keep the mark of what they were made for.
    pub marks: bool,
    /// Which syncs of payload fail (counted from 0), and lose what they were to carry over.
    pub fail_syncs: (u64, u64),
}

impl Default for DiskOptions {
    /// A disk that takes up to 20 ms and never fails.
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(50), Duration::from_millis(20)),
            fail_write: None,
            fail_read: None,
            fail_checks: (0, 0),
            read_only: false,
            capacity: u64::MAX,
            marks: true,
            fail_syncs: (0, 0),
        }
    }
}

/// The files of one host by their full path.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    pub(super) files: Files,
    /// The time at which things are done.
    pub(super) now: Instant,
    options: DiskOptions,
    writes: u64,
    reads: u64,
    checks: u64,
    syncs: u64,
    /// How often another folder was put in the place of the download folder.
    replaced: u64,
}

impl SimDisk {
    pub(super) fn new(options: DiskOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Returns the bytes of a file.
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path)
    }

    /// Returns the bytes of a file that a power cut would leave at least; `None` if it would not
    /// leave its name.
    pub fn durable_file(&self, path: &Path) -> Option<&[u8]> {
        self.files.durable(path)
    }

    /// Puts a file there, whatever there was.
    pub fn put(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.files.put(path, bytes, self.now);
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &Path) {
        self.files.take_away(path);
    }

    /// Puts another folder in the place of the download folder, with all that is in it.
    pub const fn replace_folder(&mut self) {
        self.replaced += 1;
    }

    pub(super) fn folders(&self) -> Folders {
        let root = FolderId { device: 1, inode: 2 + self.replaced };
        Folders { root: Some(root), own: None }
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

    /// Counts a sync and tells whether it fails.
    pub(super) const fn next_sync_fails(&mut self) -> bool {
        let nth = self.syncs;
        self.syncs += 1;
        let (from, until) = self.options.fail_syncs;
        from <= nth && nth < until
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
                let files = storage.layout.files().iter();
                let look = |path: &Path| {
                    let there = self.files.look(path)?;
                    Some(OnDisk { ours: there.ours && self.options.marks, ..there })
                };
                let files = files
                    .map(|f| if f.pad { None } else { look(&storage.root.join(&f.path)) })
                    .chain(std::iter::once(look(&storage.path_of(storage.parts_index()))));
                let (torrent, files, folders) =
                    (storage.torrent, Ok(files.collect()), self.folders());
                Outcome::Stat { torrent, files, folders }
            }
            Job::Check { storage, first, count } => {
                let checked = Ok(self.check(&storage, first, count));
                Outcome::Check { torrent: storage.torrent, first, checked }
            }
            Job::Carry { storage, files } => {
                let mut files = files.into_iter();
                let result = files.try_for_each(|(f, pieces)| self.carry(&storage, f, &pieces));
                Outcome::Carry { torrent: storage.torrent, result }
            }
            Job::Finish { storage, cut, selection } => {
                self.finish(&storage, &selection, cut);
                Outcome::Finish { torrent: storage.torrent, result: Ok(()) }
            }
            Job::Assemble(job) => Outcome::Assembled(metadata::assemble(&job)),
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
            Job::Load { storage } => Outcome::State(self.load(&storage)),
            Job::Sync(job) => Outcome::State(self.sync(job)),
            Job::Save(job) => Outcome::State(self.save(&job)),
            Job::Spill(job) => Outcome::State(self.spill(job)),
            Job::Restore(job) => Outcome::State(self.restore(job)),
            Job::LetGo { storage } => Outcome::LetGo { torrent: storage.torrent },
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
            Job::Sync(job) => return self.tear_sync(&job, rng),
            Job::Save(job) => return self.tear_save(&job, rng),
            Job::Spill(job) => return self.tear_spill(&job, rng),
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
        let file = |path: &Path| self.files.get(path);
        collect(storage, (piece, begin, len), file)
            .map_err(|path| failed(DiskOp::Read, path, DiskErrorKind::Missing))
    }

    /// Tells whether a piece is right in what a power cut would leave.
    pub(super) fn is_durable(&self, storage: &Storage, piece: PieceIndex) -> bool {
        let run = (piece, 0, storage.layout.piece_len(piece));
        let bytes = collect(storage, run, |path| self.files.durable(path));
        bytes.is_ok_and(|bytes| hash_of(&bytes) == storage.expected(piece))
    }

    fn put_run(&mut self, storage: &Storage, piece: PieceIndex, begin: u32, mut bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("a run is within a piece");
        for span in storage.spans(piece, begin, len) {
            let (part, rest) = bytes.split_at(to_usize(span.len));
            bytes = rest;
            if !span.pad {
                let path = storage.path_of(span.file);
                self.files.write(&path, to_usize(span.offset), part, self.now);
            }
        }
    }

    /// Returns the bytes that all files take: a hole costs as much as what will be in it.
    fn used(&self) -> u64 {
        self.files.len()
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
            let file = storage.spans(piece, begin, 1).next().map_or(0, |span| span.file);
            return Err(failed(DiskOp::Read, storage.path_of(file), kind));
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
        hash_of(&bytes) == storage.expected(piece)
    }

    fn check(&mut self, storage: &Storage, first: PieceIndex, count: u32) -> Checked {
        let (from, until) = self.options.fail_checks;
        let mut checked = Checked::default();
        for piece in (first.0..first.0 + count).map(PieceIndex) {
            let nth = self.checks;
            self.checks += 1;
            let is_readable = !(from..until).contains(&nth);
            checked.good.push(is_readable && self.is_good(storage, piece));
            if !is_readable {
                let file = storage.spans(piece, 0, 1).next().map_or(0, |span| span.file);
                let path = storage.path_of(file);
                let error = || failed(DiskOp::Read, path, DiskErrorKind::Other);
                checked.unreadable.get_or_insert_with(|| (Vec::new(), error())).0.push(piece);
            }
        }
        checked
    }

    /// Creates a file with what the parts file has of it. Seen by others as one step.
    fn carry(
        &mut self,
        storage: &Storage,
        file: usize,
        pieces: &[PieceIndex],
    ) -> Result<(), DiskError> {
        if self.file(&storage.path_of(file)).is_some() && !pieces.is_empty() {
            return Err(failed(DiskOp::Open, storage.path_of(file), DiskErrorKind::InTheWay));
        }
        for piece in pieces {
            let len = storage.layout.piece_len(*piece);
            let to = storage.layout.spans(*piece, 0, len);
            for (to, from) in to.zip(storage.spans(*piece, 0, len)) {
                if to.file != file || from.file != storage.parts_index() {
                    continue;
                }
                let parts = self.files.get(&storage.path_of(from.file)).expect("it is there");
                let part = parts[to_usize(from.offset)..to_usize(from.offset + from.len)].to_vec();
                self.files.write(&storage.path_of(file), to_usize(to.offset), &part, self.now);
            }
        }
        self.files.sync(&storage.path_of(file));
        self.files.sync_folder_of(&storage.path_of(file));
        Ok(())
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
                self.files.touch(&path, self.now);
            }
            if cut {
                self.files.cut(&path, to_usize(spec.len), self.now);
            }
            self.files.finish(&path);
        }
    }
}

/// Returns the bytes of a run (piece, begin, length) out of files, or which of them lacks some.
fn collect<'a>(
    storage: &Storage,
    (piece, begin, len): (PieceIndex, u32, u32),
    file: impl Fn(&Path) -> Option<&'a [u8]>,
) -> Result<Vec<u8>, PathBuf> {
    let mut out = Vec::with_capacity(len as usize);
    for span in storage.spans(piece, begin, len) {
        let from = to_usize(span.offset);
        let until = from + to_usize(span.len);
        if span.pad {
            out.resize(out.len() + to_usize(span.len), 0);
            continue;
        }
        let path = storage.path_of(span.file);
        match file(&path).and_then(|file| file.get(from..until)) {
            Some(part) => out.extend_from_slice(part),
            None => return Err(path),
        }
    }
    Ok(out)
}

fn hash_of(bytes: &[u8]) -> [u8; 20] {
    let mut midstate = Midstate::default();
    hash::update_bytes(&mut midstate, bytes);
    hash::finish(midstate)
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

pub(super) fn failed(op: DiskOp, path: PathBuf, kind: DiskErrorKind) -> DiskError {
    DiskError { op, path, kind, message: format!("simulated: {kind:?}") }
}

/// Simulated files fit into memory.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("a simulated file is small")
}
