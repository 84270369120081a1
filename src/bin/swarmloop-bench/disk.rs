//! `disk`: what the engine's disk pool moves: hash and write, read, check.
//!
//! The pool is the one that a client has, and it is asked as a session asks it. All pieces are
//! alike, so that they can be handed over again and again without being made.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use swarmloop::disk::hash;
use swarmloop::disk::job::{DiskError, Job, Outcome, Read, Storage, Verdict, Verify};
use swarmloop::disk::layout::{FileSpec, Layout};
use swarmloop::id::{BLOCK_LEN, ConnId, InfoHash, PieceIndex, TorrentId};
use swarmloop::reactor::workers::Workers;
use swarmloop::rng::Rng;
use swarmloop::stats::Histogram;
use swarmloop::wire::frame::Frame;

use crate::args;
use crate::failure::{Exit, Failure};
use crate::grid::Grid;
use crate::hash::frames;
use crate::report::{Figure, Report, float};
use crate::scratch::Scratch;
use crate::subject;
use crate::units::GIB;

/// Arguments of `disk`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiskArgs {
    /// Bytes to write, to read and to check
    #[arg(short, long, value_name = "SIZE", default_value = "1G", value_parser = args::size)]
    size: u64,
    /// Bytes of a piece
    #[arg(short, long, value_name = "SIZE", default_value = "1M", value_parser = args::size)]
    piece_len: u64,
    /// Threads of the pool; may be a list
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_THREADS))]
    threads: Vec<u32>,
    /// Jobs that are queued at one time
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_JOBS))]
    jobs: u32,
    /// Folder for the file [default: /dev/shm, else the folder for temporary files]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// The most threads: more than a pool ever has.
const MAX_THREADS: i64 = 64;

/// The most jobs at one time; each has a piece in memory.
const MAX_JOBS: i64 = 1_024;

/// The longest piece: a row of them has to fit into memory.
const MAX_PIECE_LEN: u64 = 64 << 20;

/// Bytes of a read: a run of blocks, as a peer that reads ahead is served.
const READ_LEN: u64 = 256 << 10;

/// Bytes of a check job: as many as a session asks for at a time.
const CHECK_LEN: u64 = 32 << 20;

/// What the pool is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    /// Hash a piece, compare, write it into a new file.
    Write,
    /// Read runs of blocks, one after the other.
    Read,
    /// Read and hash pieces.
    Check,
}

/// Measures the three operations with every number of threads.
pub(crate) fn run(args: &DiskArgs) -> Result<Report, Failure> {
    if args.piece_len > MAX_PIECE_LEN || args.piece_len > args.size {
        return Err(Failure::usage("a piece is at most 64M and at most the size"));
    }
    // Whole pieces only: they are alike.
    let size = args.size - args.size % args.piece_len;
    let scratch = Scratch::new(args.dir.as_deref());
    let scratch = scratch.map_err(|error| Failure::io("make a folder for the file", &error))?;
    let columns = &["gib_per_s", "cpu_s_per_gib", "p50_us", "p99_us", "max_us"];
    let mut grid = Grid::new(&["operation", "threads"], columns);
    for &threads in &args.threads {
        let storage = Arc::new(storage(&scratch, size, args.piece_len));
        let mut pool = Pool::start(threads, storage, args)?;
        for operation in [Operation::Write, Operation::Read, Operation::Check] {
            let measured = pool.measure(operation).map_err(|error| failed(&error))?;
            let labels = vec![operation.name().to_owned(), threads.to_string()];
            grid.row(labels, measured.figures(size));
        }
        pool.end(&scratch)?;
    }
    let mut report = Report::new("disk");
    report.setting("size", Figure::Bytes(size));
    report.setting("piece", Figure::Bytes(args.piece_len));
    report.setting("jobs", Figure::Count(args.jobs.into()));
    report.table(grid.to_string(), grid.fields());
    Ok(report)
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Write => "hash and write",
            Self::Read => "read",
            Self::Check => "check",
        }
    }
}

/// Describes one file of pieces that are all alike.
fn storage(scratch: &Scratch, size: u64, piece_len: u64) -> Storage {
    let hash = hash::piece(&piece(piece_len));
    let pieces = usize::try_from(size / piece_len).expect("metainfo of it would be in memory");
    let file = FileSpec { path: "disk.bin".into(), len: size, pad: false };
    Storage {
        torrent: TorrentId(0),
        info_hash: InfoHash([0; 20]),
        root: scratch.path().to_owned(),
        layout: Arc::new(Layout::new(
            [file],
            u32::try_from(piece_len).expect("at most MAX_PIECE_LEN"),
        )),
        parts: None,
        hashes: hash.repeat(pieces).into(),
        writable: true,
        rules: swarmloop::disk::job::Rules::default(),
        state: None,
    }
}

/// Returns the piece that all pieces are like.
fn piece(piece_len: u64) -> Vec<Frame> {
    frames(piece_len, &mut Rng::new(1))
}

/// A disk pool, and what it is asked about.
struct Pool {
    workers: Workers,
    woken: mpsc::Receiver<()>,
    storage: Arc<Storage>,
    /// Rows of frames for the jobs that are out: whole pieces.
    rows: Vec<Vec<Frame>>,
    /// The most jobs that are out.
    jobs: usize,
}

/// What one operation took.
#[derive(Debug)]
struct Measured {
    wall: Duration,
    cpu: Duration,
    /// From handing a job over to having its outcome, in nanoseconds.
    latency: Histogram,
}

impl Pool {
    fn start(threads: u32, storage: Arc<Storage>, args: &DiskArgs) -> Result<Self, Failure> {
        let (wake, woken) = mpsc::channel();
        let threads = usize::try_from(threads).expect("at most MAX_THREADS");
        let jobs = usize::try_from(args.jobs).expect("at most MAX_JOBS");
        let wake = move || {
            // Nobody listens any more when the pool ends.
            let _ = wake.send(());
        };
        let workers = Workers::start(threads, wake, 1);
        let workers = workers.map_err(|error| Failure::io("start the disk pool", &error))?;
        let rows = (0..jobs).map(|_| piece(args.piece_len)).collect();
        Ok(Self { workers, woken, storage, rows, jobs })
    }

    /// Lets the pool do one operation on all of the file.
    fn measure(&mut self, operation: Operation) -> Result<Measured, DiskError> {
        let todo = self.todo(operation);
        let mut out: Vec<((u32, u32), Instant)> = Vec::with_capacity(self.jobs);
        let mut latency = Histogram::default();
        let mut outcomes = Vec::new();
        let cpu = || subject::usage(std::process::id()).unwrap_or_default().cpu;
        let (began, used) = (Instant::now(), cpu());
        let mut todo = todo.into_iter().peekable();
        while todo.peek().is_some() || !out.is_empty() {
            while out.len() < self.jobs
                && let Some(at) = todo.next()
            {
                out.push((at, Instant::now()));
                let job = self.job(operation, at);
                self.workers.submit(job);
            }
            self.workers.drain(&mut outcomes);
            if outcomes.is_empty() && self.workers.rest() {
                // The pool lives as long as this does, so there is always another call.
                let _ = self.woken.recv();
            }
            for outcome in outcomes.drain(..) {
                let at = self.conclude(outcome)?;
                let index = out.iter().position(|(job, _)| *job == at).expect("it was asked for");
                let took = out.swap_remove(index).1.elapsed();
                latency.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            }
        }
        Ok(Measured { wall: began.elapsed(), cpu: cpu().saturating_sub(used), latency })
    }

    /// Returns piece and offset of every job of an operation.
    fn todo(&self, operation: Operation) -> Vec<(u32, u32)> {
        let pieces = self.storage.hashes.len() / 20;
        let pieces = 0..u32::try_from(pieces).expect("pieces are counted in 32 bits");
        let piece_len = self.storage.layout.piece_len(PieceIndex(0));
        match operation {
            Operation::Write => pieces.map(|piece| (piece, 0)).collect(),
            Operation::Check => {
                pieces.step_by(per_check(piece_len)).map(|piece| (piece, 0)).collect()
            }
            Operation::Read => {
                let offsets = || (0..piece_len).step_by(usize::try_from(READ_LEN).expect("small"));
                pieces.flat_map(|piece| offsets().map(move |begin| (piece, begin))).collect()
            }
        }
    }

    fn job(&mut self, operation: Operation, (piece, begin): (u32, u32)) -> Job {
        let storage = Arc::clone(&self.storage);
        let piece_len = storage.layout.piece_len(PieceIndex(0));
        let first = PieceIndex(piece);
        match operation {
            Operation::Write => {
                let frames = self.rows.pop().expect("as many as jobs");
                Job::Verify(Verify { storage, piece: first, frames, block_hashes: false })
            }
            Operation::Check => {
                let pieces = u32::try_from(storage.hashes.len() / 20).expect("a piece number");
                let per_job = u32::try_from(per_check(piece_len)).expect("small");
                Job::Check { storage, first, count: per_job.min(pieces - piece) }
            }
            Operation::Read => {
                let len = u64::from(piece_len - begin).min(READ_LEN);
                let mut frames = self.rows.pop().expect("as many as jobs");
                set_lens(&mut frames, len);
                let conn = ConnId { index: 0, generation: 0 };
                Job::Read(Read { storage, conn, piece: first, begin, frames })
            }
        }
    }

    /// Takes the frames back and returns which job it was.
    fn conclude(&mut self, outcome: Outcome) -> Result<(u32, u32), DiskError> {
        match outcome {
            Outcome::Verify { piece, frames, verdict, .. } => {
                self.rows.push(frames);
                let good = matches!(verdict?, Verdict::Good { .. });
                assert!(good, "all pieces are alike");
                Ok((piece.0, 0))
            }
            Outcome::Read { piece, begin, frames, result, .. } => {
                self.rows.push(frames);
                result.map(|()| (piece.0, begin))
            }
            Outcome::Check { first, checked, .. } => {
                assert!(checked?.good.into_iter().all(|good| good), "it has been written");
                Ok((first.0, 0))
            }
            _ => unreachable!("nothing else was asked for"),
        }
    }

    /// Ends the pool and removes the file.
    fn end(self, scratch: &Scratch) -> Result<(), Failure> {
        self.workers.shutdown(Duration::from_secs(10));
        let removed = fs::remove_file(scratch.path().join("disk.bin"));
        removed.map_err(|error| Failure::io("remove the file", &error))
    }
}

impl Measured {
    fn figures(&self, size: u64) -> Vec<f64> {
        let gib = float(size) / GIB;
        let us = |quantile| float(self.latency.value_at(quantile)) / 1e3;
        let cpu = self.cpu.as_secs_f64() / gib;
        vec![gib / self.wall.as_secs_f64(), cpu, us(0.5), us(0.99), us(1.0)]
    }
}

/// Makes a row of frames one for `len` bytes.
fn set_lens(frames: &mut Vec<Frame>, len: u64) {
    let block_len = u64::from(BLOCK_LEN);
    let blocks = usize::try_from(len.div_ceil(block_len)).expect("a run of blocks");
    frames.resize_with(blocks, Frame::unpooled);
    let mut left = len;
    for frame in frames {
        let taken = left.min(block_len);
        frame.set_len(u32::try_from(taken).expect("at most a block"));
        left -= taken;
    }
}

fn per_check(piece_len: u32) -> usize {
    usize::try_from((CHECK_LEN / u64::from(piece_len)).max(1)).expect("small")
}

fn failed(error: &DiskError) -> Failure {
    Failure { exit: Exit::Failed, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_moved_once_by_each_operation() {
        let (size, piece_len) = (5 * (300 << 10), 300 << 10);
        let args = DiskArgs { size: size + 7, piece_len, threads: vec![1, 2], jobs: 3, dir: None };
        let report = run(&args).expect("measured").to_json();
        assert_eq!(report["settings"]["size_bytes"], size);
        let rows = report["rows"].as_array().expect("rows");
        let names: Vec<&str> = rows.iter().filter_map(|row| row["operation"].as_str()).collect();
        assert_eq!(names, ["hash and write", "read", "check"].repeat(2));
        assert!(rows.iter().all(|row| row["gib_per_s"].as_f64().is_some_and(|rate| rate > 0.0)));
    }

    #[test]
    fn a_piece_that_is_longer_than_everything_is_refused() {
        let args = DiskArgs { size: 9, piece_len: 10, threads: vec![1], jobs: 1, dir: None };
        assert!(run(&args).is_err());
    }
}
