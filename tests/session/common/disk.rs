//! A disk in memory that does jobs as the workers would, and fails when it is told to.

use std::collections::VecDeque;

use sha1::{Digest, Sha1};
use swarmloop::disk::hash;
use swarmloop::disk::job::{
    Append, Appended, Checked, DiskError, DiskErrorKind, DiskOp, Folders, Job, OnDisk, Outcome,
    Read, Space, Times, Verdict, Verify,
};
use swarmloop::disk::metadata;
use swarmloop::id::PieceIndex;

/// An in-memory disk.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Disk {
    pub(crate) bytes: Vec<u8>,
    exists: bool,
    pub(crate) jobs: VecDeque<Job>,
    /// Jobs wait for [`World::run_disk`].
    pub(crate) held: bool,
    pub(crate) fails_reads: bool,
    pub(crate) fails_writes: bool,
    /// What a look for space finds.
    pub(crate) free: Option<u64>,
    pub(crate) lacking: u64,
    /// Whether space can be set apart that cannot be written to.
    pub(crate) reserves: bool,
    /// How reads and writes fail that do.
    pub(crate) kind: DiskErrorKind,
    /// Where the time of a job that hashes and writes goes, if anybody asks.
    pub(crate) times: Times,
    /// Blocks of each read job, as they were asked for.
    pub(crate) reads: Vec<(PieceIndex, u32, usize)>,
    /// Pieces that were hashed to find out whether they are right.
    pub(crate) checked: u32,
}

impl Disk {
    pub(crate) fn new(bytes: Vec<u8>, exists: bool) -> Self {
        Self {
            bytes,
            exists,
            jobs: VecDeque::new(),
            held: false,
            fails_reads: false,
            fails_writes: false,
            free: None,
            lacking: 0,
            reserves: false,
            kind: DiskErrorKind::Other,
            times: Times::default(),
            reads: Vec::new(),
            checked: 0,
        }
    }

    /// Does a job as the workers would.
    pub(crate) fn run(&mut self, job: Job) -> Option<Outcome> {
        Some(match job {
            Job::Stat { storage } => {
                let there = OnDisk { len: self.bytes.len() as u64, ..OnDisk::default() };
                let files = Ok(vec![self.exists.then_some(there)]);
                Outcome::Stat { torrent: storage.torrent, files, folders: Folders::default() }
            }
            Job::Check { storage, first, count } => {
                self.checked += count;
                let piece_len = storage.layout.piece_len(PieceIndex(0)) as usize;
                let good = (first.0..first.0 + count).map(|piece| {
                    let at = piece as usize * piece_len;
                    let end = (at + piece_len).min(self.bytes.len());
                    let hash: [u8; 20] = Sha1::digest(&self.bytes[at..end]).into();
                    hash == storage.expected(PieceIndex(piece))
                });
                let checked = Checked { good: good.collect(), ..Checked::default() };
                Outcome::Check { torrent: storage.torrent, first, checked: Ok(checked) }
            }
            Job::Verify(job) => self.verify(job),
            Job::Append(job) => self.append(job),
            Job::Read(job) => self.read(job),
            Job::Carry { storage, .. } => {
                Outcome::Carry { torrent: storage.torrent, result: Ok(()) }
            }
            Job::Finish { storage, .. } => {
                Outcome::Finish { torrent: storage.torrent, result: Ok(()) }
            }
            Job::Assemble(job) => Outcome::Assembled(metadata::assemble(&job)),
            Job::Space { storage, reserve, .. } => {
                let fails = self.fails_writes && !self.reserves && reserve.is_some();
                let found = Space { free: self.free, lacking: self.lacking };
                let space = if fails { Err(self.error(DiskOp::Reserve)) } else { Ok(found) };
                Outcome::Space { torrent: storage.torrent, space }
            }
            Job::Load { .. } | Job::Sync(_) | Job::Save(_) | Job::Spill(_) | Job::Restore(_) => {
                panic!("no state is kept")
            }
            Job::LetGo { storage } => Outcome::LetGo { torrent: storage.torrent },
            Job::Close { .. } => return None,
        })
    }

    fn verify(&mut self, job: Verify) -> Outcome {
        let Verify { storage, piece, frames, block_hashes } = job;
        let verdict = if hash::piece(&frames) != storage.expected(piece) {
            Ok(Verdict::Corrupt { block_hashes: hash::blocks(&frames) })
        } else if self.fails_writes {
            Err(self.error(DiskOp::Write))
        } else {
            let mut at = piece.0 as usize * storage.layout.piece_len(PieceIndex(0)) as usize;
            for frame in &frames {
                self.bytes[at..][..frame.payload().len()].copy_from_slice(frame.payload());
                at += frame.payload().len();
            }
            let hashes = if block_hashes { hash::blocks(&frames) } else { Vec::new() };
            Ok(Verdict::Good { block_hashes: hashes })
        };
        let torrent = storage.torrent;
        Outcome::Verify { torrent, piece, frames, verdict, times: self.times }
    }

    fn append(&mut self, job: Append) -> Outcome {
        let Append { storage, piece, begin, frames, mut midstate, last } = job;
        let torrent = storage.torrent;
        if self.fails_writes {
            let result = Err(self.error(DiskOp::Write));
            let times = self.times;
            return Outcome::Append { torrent, piece, begin, frames, result, times };
        }
        hash::update(&mut midstate, &frames);
        let mut at = piece.0 as usize * storage.layout.piece_len(PieceIndex(0)) as usize;
        at += begin as usize;
        for frame in &frames {
            self.bytes[at..][..frame.payload().len()].copy_from_slice(frame.payload());
            at += frame.payload().len();
        }
        let appended = match last {
            false => Appended::Partial(midstate),
            true if hash::finish(*midstate) == storage.expected(piece) => Appended::Good,
            true => Appended::Corrupt,
        };
        let result = Ok((appended, hash::blocks(&frames)));
        Outcome::Append { torrent, piece, begin, frames, result, times: self.times }
    }

    fn read(&mut self, job: Read) -> Outcome {
        let Read { storage, conn, piece, begin, mut frames } = job;
        let result = if self.fails_reads { Err(self.error(DiskOp::Read)) } else { Ok(()) };
        let mut at = piece.0 as usize * storage.layout.piece_len(PieceIndex(0)) as usize;
        at += begin as usize;
        for frame in frames.iter_mut().filter(|_| result.is_ok()) {
            let len = frame.payload().len();
            frame.payload_mut().copy_from_slice(&self.bytes[at..at + len]);
            at += len;
        }
        Outcome::Read { torrent: storage.torrent, conn, piece, begin, frames, result }
    }

    fn error(&self, op: DiskOp) -> DiskError {
        let message = "it is broken".to_owned();
        DiskError { op, path: "file".into(), kind: self.kind, message }
    }
}
