//! Hashes a whole torrent on disk, on several threads, with progress; a signal ends it.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use swarmloop::disk::job::{DiskError, DiskErrorKind, Storage};
use swarmloop::id::PieceIndex;
use swarmloop::reactor::files::Files;
use swarmloop::reactor::{hashing, limits};

use super::exit::{Exit, Failure};
use super::signals::{Notice, Signals};
use super::ui::{Ui, Work};

/// The SHA-1 of a piece as it is on disk; `None` if a part of it is not there.
pub(crate) type PieceHash = Option<[u8; 20]>;

/// Bytes that a thread takes at a time, unless a piece has more: long enough that its pieces are
/// hashed side by side, short enough that no thread is left alone with much at the end.
const BATCH_BYTES: u64 = 64 << 20;

/// Time between two looks at signals and at how far the threads are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why hashing ended early.
pub(crate) enum Halt {
    /// A signal came; what the process exits with.
    Interrupted(Exit),
    /// A thread did not start.
    Thread(std::io::Error),
    /// Something could not be read.
    Disk(DiskError),
}

impl Halt {
    /// Returns what it comes to: an exit code, or a failure to tell of. Nothing was written then.
    pub(crate) fn conclude(self) -> Result<Exit, Failure> {
        match self {
            Self::Interrupted(exit) => Ok(exit),
            Self::Thread(error) => Err(Failure::io("start a thread", &error)),
            Self::Disk(error) => {
                let exit = match error.kind {
                    DiskErrorKind::Permission | DiskErrorKind::InTheWay => Exit::Disk,
                    _ => Exit::Failed,
                };
                Err(Failure::new(exit, "disk", error.to_string()))
            }
        }
    }
}

/// Hashes the pieces of `storage` that are `wanted` with `jobs` threads (by default one a
/// processor) and returns the hashes of all pieces in order. `name` is what progress calls it; safe
/// to print.
pub(crate) fn hash_all(
    storage: &Storage,
    wanted: impl Fn(PieceIndex) -> bool + Sync,
    jobs: Option<NonZeroUsize>,
    name: &str,
    signals: &Signals,
    ui: &mut Ui,
) -> Result<Vec<PieceHash>, Halt> {
    let pieces = storage.layout.piece_count();
    let piece_len = storage.layout.files().first().map_or(1, |_| storage.layout.piece_len(FIRST));
    let batch = u32::try_from(BATCH_BYTES / u64::from(piece_len)).unwrap_or(u32::MAX).max(1);
    let shared = Shared {
        files: Files::new(limits::raise_fd_limit().files),
        storage,
        wanted: &wanted,
        batch,
        next: AtomicU32::new(0),
        done: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    };
    let wanted = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, usize::from);
    let useful = usize::try_from(pieces.div_ceil(batch)).unwrap_or(usize::MAX).max(1);
    let since = Instant::now();
    let want = storage.layout.total_len();
    let mut hashes = vec![None; usize::try_from(pieces).expect("usize has at least 32 bits")];
    thread::scope(|scope| {
        let (sender, batches) = mpsc::channel();
        for _ in 0..wanted.min(useful) {
            let (shared, sender) = (&shared, sender.clone());
            let thread = thread::Builder::new().name("hash".to_owned());
            let started = thread.spawn_scoped(scope, move || shared.run(&sender));
            if let Err(error) = started {
                shared.stopped.store(true, Ordering::Relaxed);
                return Err(Halt::Thread(error));
            }
        }
        drop(sender);
        let result = loop {
            match batches.recv_timeout(LOOK_INTERVAL) {
                Ok(Ok((first, batch))) => {
                    hashes[first..first + batch.len()].copy_from_slice(&batch);
                }
                Ok(Err(error)) => break Err(Halt::Disk(error)),
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let have = shared.done.load(Ordering::Relaxed);
            let work = Work { state: "hashing", name, have, want, since };
            match signals.take() {
                Some(Notice::Stop(exit)) => break Err(Halt::Interrupted(exit)),
                Some(Notice::Status) => ui.tell_work(&work, Instant::now()),
                Some(Notice::GoOn) => ui.go_on(),
                Some(Notice::Renew) | None => ui.draw_work(&work, Instant::now()),
            }
        };
        shared.stopped.store(true, Ordering::Relaxed);
        ui.end_progress();
        result
    })?;
    Ok(hashes)
}

const FIRST: PieceIndex = PieceIndex(0);

/// A run of pieces: the number of the first, and their hashes; or why there are none.
type Batch = Result<(usize, Vec<PieceHash>), DiskError>;

/// What the threads share.
struct Shared<'a> {
    files: Files,
    storage: &'a Storage,
    wanted: &'a (dyn Fn(PieceIndex) -> bool + Sync),
    /// Pieces that a thread takes at a time.
    batch: u32,
    /// The first piece that nobody has taken.
    next: AtomicU32,
    /// Bytes that are done with.
    done: AtomicU64,
    stopped: AtomicBool,
}

impl Shared<'_> {
    /// Hashes one batch after the other.
    fn run(&self, batches: &Sender<Batch>) {
        let mut buffer = Vec::new();
        while let Some((first, count)) = self.take() {
            let hashed = self.batch(first, count, &mut buffer);
            let failed = hashed.is_err();
            let first = usize::try_from(first).expect("usize has at least 32 bits");
            let sent = batches.send(hashed.map(|hashes| (first, hashes)));
            if sent.is_err() || failed {
                return;
            }
        }
    }

    /// Hashes what is wanted of a batch, in runs of pieces that are.
    fn batch(
        &self,
        first: u32,
        count: u32,
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<PieceHash>, DiskError> {
        let mut hashes = Vec::new();
        let pieces: Vec<PieceIndex> = (first..first + count).map(PieceIndex).collect();
        for run in pieces.chunk_by(|a, b| (self.wanted)(*a) == (self.wanted)(*b)) {
            let Some(&piece) = run.first() else { continue };
            if !(self.wanted)(piece) {
                let len = |piece: &PieceIndex| u64::from(self.storage.layout.piece_len(*piece));
                self.done.fetch_add(run.iter().map(len).sum(), Ordering::Relaxed);
                hashes.resize(hashes.len() + run.len(), None);
                continue;
            }
            let step = |bytes| {
                self.done.fetch_add(bytes, Ordering::Relaxed);
                let stopped = self.stopped.load(Ordering::Relaxed);
                if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let count = u32::try_from(run.len()).expect("a batch is counted in 32 bits");
            let (files, storage) = (&self.files, self.storage);
            let done = hashing::pieces(files, storage, piece, count, buffer, step, |_, e| Err(e));
            hashes.extend(done?);
        }
        Ok(hashes)
    }

    /// Takes the next pieces: the first and how many.
    fn take(&self) -> Option<(u32, u32)> {
        let pieces = self.storage.layout.piece_count();
        let take = |next: u32| (next < pieces).then(|| next.saturating_add(self.batch).min(pieces));
        let first = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let taken = !self.stopped.load(Ordering::Relaxed);
        taken.then(|| (first, self.batch.min(pieces - first)))
    }
}
