//! The disk pool: a few threads that hash, write and read so that the loop never waits for a disk.
//!
//! ```text
//! loop:    submit ──► reads    ─┐                                    ┌─► wake, if the first
//!                     verifies ─┼─► worker: hash, compare, files ──► outcomes ──► drain
//!                     checks   ─┘
//! ```
//!
//! Reads go first, for a peer waits for each of them; then what was received; then everything that
//! looks at a whole torrent. A read of bytes in memory does not come here at all: the loop does it
//! itself ([`Workers::read_resident`]). Within a class it is first come, first served. A job is not
//! interrupted for one of a higher class, so whoever submits checks keeps them short.
//!
//! **Invariant:** a job decides nothing that a peer or torrent could see other than through its
//! [`Outcome`], and every job but a close has exactly one.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::files::Files;
use crate::disk::hash::{self, Midstate};
use crate::disk::job::{
    Append, Appended, DiskError, DiskErrorKind, DiskOp, Job, Outcome, Read, Storage, Times,
    Verdict, Verify,
};
use crate::disk::verdict;
use crate::id::{PieceIndex, TorrentId};
use crate::time::Duration;

/// Bytes that a check reads and hashes at a time: long enough that the system reads ahead, short
/// enough to stay in the second-level cache on the way from the copy to the hash.
const CHECK_CHUNK_LEN: u32 = 1 << 20;

/// The disk pool. Dropping it abandons what is queued: its threads end by themselves after the job
/// that each of them is at. See [`Workers::shutdown`] for the other way.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Jobs whose outcomes have not been drained.
    pending: usize,
}

impl Workers {
    /// Starts `threads` threads, at least one, that share a cache of `open_files` files.
    ///
    /// `wake` is called on a worker when an outcome is there that no earlier call has told of: at
    /// most once between two calls of [`Workers::drain`]. It must return soon.
    ///
    /// # Errors
    ///
    /// The system has no thread to give; those that had started end.
    pub fn start(
        threads: usize,
        wake: impl Fn() + Send + Sync + 'static,
        open_files: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            changed: Condvar::new(),
            outcomes: Mutex::new(Vec::new()),
            wake: Wake(Box::new(wake)),
            files: Files::new(open_files),
        });
        let mut workers = Self { shared, threads: Vec::new(), pending: 0 };
        for index in 0..threads.max(1) {
            let living = Living::new(&workers.shared);
            let thread = std::thread::Builder::new().name(format!("swarmloop-disk-{index}"));
            workers.threads.push(thread.spawn(move || work(&living.0))?);
        }
        Ok(workers)
    }

    /// Queues a job. Never blocks; how much is queued is bounded by the session's frames.
    ///
    /// A [`Job::Close`] waits for the jobs of its torrent that were submitted before it.
    pub fn submit(&mut self, job: Job) {
        self.pending += usize::from(!matches!(job, Job::Close { .. }));
        let since = Instant::now();
        self.shared.queue().push(Queued { job, since });
        self.shared.changed.notify_one();
    }

    /// Does a read on the caller's thread if nothing has to be waited for: the files are open and
    /// the bytes in memory.
    ///
    /// # Errors
    ///
    /// The job, which is to be submitted: its payloads are arbitrary.
    pub fn read_resident(&self, mut job: Read) -> Result<Outcome, Read> {
        let Read { storage, piece, begin, frames, .. } = &mut job;
        if !self.shared.files.read_resident(storage, *piece, *begin, frames) {
            return Err(job);
        }
        let Read { storage, conn, piece, begin, frames } = job;
        Ok(Outcome::Read { torrent: storage.torrent, conn, piece, begin, frames, result: Ok(()) })
    }

    /// Appends the outcomes that are there to `out`, in the order in which the jobs ended.
    pub fn drain(&mut self, out: &mut Vec<Outcome>) {
        let before = out.len();
        out.append(&mut self.shared.outcomes());
        self.pending -= out.len() - before;
    }

    /// Returns how many jobs were submitted whose outcomes have not been drained; closes are not
    /// counted.
    pub const fn pending(&self) -> usize {
        self.pending
    }

    /// Ends the pool: what is to be written is written, everything else that is queued is dropped.
    ///
    /// Returns whether all threads had ended before `deadline` had passed. If not, they still write
    /// what was queued while the process lives, but nobody waits for them.
    pub fn shutdown(mut self, deadline: Duration) -> bool {
        self.stop(Stop::AfterWrites, deadline)
    }

    fn stop(&mut self, stop: Stop, deadline: Duration) -> bool {
        let dropped = self.shared.queue().stop(stop);
        self.pending -= dropped.len();
        self.shared.changed.notify_all();
        let queue = self.shared.queue();
        let wait =
            self.shared.changed.wait_timeout_while(queue, deadline, |queue| queue.living > 0);
        let (queue, _) = wait.unwrap_or_else(PoisonError::into_inner);
        let ended = queue.living == 0;
        drop(queue);
        // A thread that has said good-bye has nothing left to do, so this does not block; the
        // handles of others are dropped, which detaches them.
        for thread in self.threads.drain(..).filter(|_| ended) {
            // An error is a panic outside of a job, which the thread's panic message has told of.
            let _ = thread.join();
        }
        ended
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A shutdown has let go of the threads already; what they still write is not to be dropped.
        if !self.threads.is_empty() {
            let dropped = self.shared.queue().stop(Stop::AtOnce);
            self.shared.changed.notify_all();
            drop(dropped);
        }
    }
}

/// What the loop and the threads share. The two locks are never held together or over a job.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// A job, a stop or the end of a thread.
    changed: Condvar,
    /// What came of jobs, since the last drain.
    outcomes: Mutex<Vec<Outcome>>,
    wake: Wake,
    files: Files,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done under the locks panics half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcomes(&self) -> MutexGuard<'_, Vec<Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job; `None` if there will be no more.
    fn next(&self) -> Option<Queued> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            if queue.stop != Stop::Never {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn publish(&self, outcome: Outcome) {
        let mut outcomes = self.outcomes();
        outcomes.push(outcome);
        // An outcome that was here already has woken the loop, which has not drained since.
        let first = outcomes.len() == 1;
        drop(outcomes);
        if first {
            (self.wake.0)();
        }
    }
}

/// Tells the loop that there are outcomes.
struct Wake(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

/// When the threads are to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum Stop {
    #[default]
    Never,
    /// When everything that writes has been done.
    AfterWrites,
    /// After the job that each is at.
    AtOnce,
}

/// A job and when it was submitted.
#[derive(Debug)]
struct Queued {
    job: Job,
    since: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    /// The jobs by [`class`]; lower classes first, first come, first served in each.
    classes: [VecDeque<Queued>; 3],
    /// Closes of torrents, to be done once nothing of theirs is unfinished.
    closing: Vec<Queued>,
    /// Jobs of each torrent that are queued or being done. Invariant: no entry is 0.
    unfinished: BTreeMap<TorrentId, usize>,
    stop: Stop,
    /// Threads that have not ended.
    living: usize,
}

impl Queue {
    fn push(&mut self, queued: Queued) {
        if let Job::Close { .. } = queued.job {
            self.closing.push(queued);
        } else {
            *self.unfinished.entry(torrent_of(&queued.job)).or_default() += 1;
            self.classes[class(&queued.job)].push_back(queued);
        }
    }

    fn pop(&mut self) -> Option<Queued> {
        let closable = |close: &Queued| !self.unfinished.contains_key(&torrent_of(&close.job));
        if let Some(at) = self.closing.iter().position(closable) {
            return Some(self.closing.swap_remove(at));
        }
        self.classes.iter_mut().find_map(VecDeque::pop_front)
    }

    fn finished(&mut self, torrent: TorrentId) {
        if let Some(count) = self.unfinished.get_mut(&torrent) {
            *count -= 1;
            if *count == 0 {
                self.unfinished.remove(&torrent);
            }
        }
    }

    /// Takes out the jobs that will not be done and returns them, to be dropped without the lock.
    /// Closes stay: they cost nothing.
    fn stop(&mut self, stop: Stop) -> Vec<Queued> {
        self.stop = self.stop.max(stop);
        let keep = |queued: &Queued| stop == Stop::AfterWrites && writes(&queued.job);
        let queued = self.classes.iter_mut().flat_map(std::mem::take);
        let (kept, dropped): (Vec<Queued>, Vec<Queued>) = queued.partition(keep);
        for queued in kept {
            self.classes[class(&queued.job)].push_back(queued);
        }
        for queued in &dropped {
            self.finished(torrent_of(&queued.job));
        }
        dropped
    }
}

const fn class(job: &Job) -> usize {
    match job {
        Job::Read(_) => 0,
        Job::Verify(_) | Job::Append(_) => 1,
        Job::Stat { .. } | Job::Check { .. } | Job::Finish { .. } | Job::Close { .. } => 2,
    }
}

const fn writes(job: &Job) -> bool {
    matches!(job, Job::Verify(_) | Job::Append(_) | Job::Finish { .. })
}

fn torrent_of(job: &Job) -> TorrentId {
    match job {
        Job::Verify(Verify { storage, .. })
        | Job::Append(Append { storage, .. })
        | Job::Read(Read { storage, .. })
        | Job::Stat { storage }
        | Job::Check { storage, .. }
        | Job::Finish { storage, .. } => storage.torrent,
        Job::Close { torrent } => *torrent,
    }
}

/// Counts a thread as living from before it starts until it has ended, however it ends.
struct Living(Arc<Shared>);

impl Living {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.queue().living += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.queue().living -= 1;
        self.0.changed.notify_all();
    }
}

/// The life of one thread.
fn work(shared: &Shared) {
    let mut chunk = Vec::new();
    while let Some(queued) = shared.next() {
        let torrent = torrent_of(&queued.job);
        if let Some(outcome) = run(&shared.files, queued, &mut chunk) {
            shared.queue().finished(torrent);
            shared.publish(outcome);
        }
    }
}

/// Does one job. `chunk` is the thread's buffer for checks.
fn run(files: &Files, queued: Queued, chunk: &mut Vec<u8>) -> Option<Outcome> {
    let watch = Stopwatch::start(queued.since);
    Some(match queued.job {
        Job::Verify(job) => {
            let verdict = guarded(DiskOp::Write, &job.storage, || verify(files, &job, &watch));
            let Verify { storage, piece, frames, .. } = job;
            let (torrent, times) = (storage.torrent, watch.stop());
            Outcome::Verify { torrent, piece, frames, verdict, times }
        }
        Job::Append(mut job) => {
            let storage = Arc::clone(&job.storage);
            let result = guarded(DiskOp::Write, &storage, || append(files, &mut job, &watch));
            let Append { piece, begin, frames, .. } = job;
            let (torrent, times) = (storage.torrent, watch.stop());
            Outcome::Append { torrent, piece, begin, frames, result, times }
        }
        Job::Read(Read { storage, conn, piece, begin, mut frames }) => {
            let read = || files.read_run(&storage, piece, begin, &mut frames);
            let result = guarded(DiskOp::Read, &storage, read);
            Outcome::Read { torrent: storage.torrent, conn, piece, begin, frames, result }
        }
        Job::Stat { storage } => {
            let files = guarded(DiskOp::Stat, &storage, || Files::stat(&storage));
            Outcome::Stat { torrent: storage.torrent, files }
        }
        Job::Check { storage, first, count } => {
            let pieces = (first.0..first.0.saturating_add(count)).map(PieceIndex);
            let check = || pieces.map(|piece| is_good(files, &storage, piece, chunk)).collect();
            let good = guarded(DiskOp::Read, &storage, check);
            Outcome::Check { torrent: storage.torrent, first, good }
        }
        Job::Finish { storage, cut } => {
            let result = guarded(DiskOp::SetLength, &storage, || files.finish(&storage, cut));
            Outcome::Finish { torrent: storage.torrent, result }
        }
        Job::Close { torrent } => {
            files.close(torrent);
            return None;
        }
    })
}

/// Takes the times of one job.
#[derive(Debug)]
struct Stopwatch {
    submitted: Instant,
    started: Instant,
    hashed: Cell<Option<Instant>>,
}

impl Stopwatch {
    fn start(submitted: Instant) -> Self {
        Self { submitted, started: Instant::now(), hashed: Cell::new(None) }
    }

    fn hashed(&self) {
        self.hashed.set(Some(Instant::now()));
    }

    fn stop(&self) -> Times {
        let end = Instant::now();
        let hashed = self.hashed.get().unwrap_or(end);
        Times {
            queued: self.started.duration_since(self.submitted),
            hash_took: hashed.duration_since(self.started),
            write_took: end.duration_since(hashed),
        }
    }
}

/// Does a part of a job and makes an error of a panic, so that the frames that `doing` borrows go
/// home and the thread lives on. Nothing that a job leaves half done is looked at afterwards.
fn guarded<T>(
    op: DiskOp,
    storage: &Storage,
    doing: impl FnOnce() -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    catch_unwind(AssertUnwindSafe(doing)).unwrap_or_else(|panic| {
        let (path, kind) = (storage.root.clone(), DiskErrorKind::Panicked);
        Err(DiskError { op, path, kind, message: panic_message(&*panic) })
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the job panicked: {}", text.unwrap_or("without a word"))
}

fn verify(files: &Files, job: &Verify, watch: &Stopwatch) -> Result<Verdict, DiskError> {
    verdict::verify(job, || {
        watch.hashed();
        files.write_run(&job.storage, job.piece, 0, &job.frames)
    })
}

fn append(
    files: &Files,
    job: &mut Append,
    watch: &Stopwatch,
) -> Result<(Appended, Vec<[u8; 20]>), DiskError> {
    verdict::append(job, |job| {
        watch.hashed();
        files.write_run(&job.storage, job.piece, job.begin, &job.frames)
    })
}

/// Tells whether the bytes of `piece` are on disk and right. `chunk` is scratch space.
fn is_good(
    files: &Files,
    storage: &Storage,
    piece: PieceIndex,
    chunk: &mut Vec<u8>,
) -> Result<bool, DiskError> {
    chunk.resize(CHECK_CHUNK_LEN as usize, 0);
    let mut midstate = Midstate::default();
    let len = storage.layout.piece_len(piece);
    let mut begin = 0;
    while begin < len {
        let taken = CHECK_CHUNK_LEN.min(len - begin);
        let part = &mut chunk[..taken as usize];
        match files.read_into(storage, piece, begin, part) {
            Ok(()) => hash::update_bytes(&mut midstate, part),
            Err(error) if error.kind == DiskErrorKind::Missing => return Ok(false),
            Err(error) => return Err(error),
        }
        begin += taken;
    }
    Ok(hash::finish(midstate) == storage.expected(piece))
}

#[cfg(test)]
mod tests;
