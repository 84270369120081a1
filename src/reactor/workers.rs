//! The disk pool: a few threads that hash, write and read so that the loop never waits for a disk.
//!
//! ```text
//! loop:    submit ──► reads    ─┐                                    ┌─► wake, if the loop waits
//!                     verifies ─┼─► worker: hash, compare, files ──► outcomes ──► drain
//!                     checks   ─┘
//! ```
//!
//! Reads go first, for a peer waits for each of them; then what was received; then everything that
//! looks at a whole torrent. A read of bytes in memory does not come here at all: the loop does it
//! itself ([`Workers::read_resident`]). Within a class it is first come, first served. A job is not
//! interrupted for one of a higher class, so whoever submits checks keeps them short.
//!
//! A thread takes several pieces at a time if more are queued than there are threads, and hashes
//! them side by side ([`crate::disk::sha1_lanes`]); nothing waits for others to come. So a piece is
//! judged at once while there is little to do, and the more there is to do, the less each takes.
//!
//! **Invariant:** a job decides nothing that a peer or torrent could see other than through its
//! [`Outcome`], and every job but a close has exactly one.

mod queue;
mod run;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::files::Files;
use crate::disk::job::{Job, Outcome, Read};
use crate::time::Duration;

use queue::{MAX_BATCH, Queue, Queued, Stop, torrent_of};
use run::Hashed;

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
    /// `wake` is called on a worker, once after each [`Workers::rest`] that returned `true`, when
    /// an outcome is there. It must return soon.
    ///
    /// # Errors
    ///
    /// The system has no thread to give; those that had started end.
    pub fn start(
        threads: usize,
        wake: impl Fn() + Send + Sync + 'static,
        open_files: usize,
    ) -> io::Result<Self> {
        let files = Arc::new(Files::new(open_files));
        Self::spawn("swarmloop-disk", threads.max(1), wake, files)
    }

    /// Starts another pool, of `threads`, on the same open files: for jobs that may wait for a disk
    /// as long as they like, and that nobody is to wait for.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn start_beside(
        &self,
        threads: usize,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::spawn("swarmloop-sync", threads.max(1), wake, Arc::clone(&self.shared.files))
    }

    fn spawn(
        name: &str,
        threads: usize,
        wake: impl Fn() + Send + Sync + 'static,
        files: Arc<Files>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            changed: Condvar::new(),
            outcomes: Mutex::new(Outcomes { list: Vec::new(), resting: false }),
            wake: Wake(Box::new(wake)),
            files,
        });
        let mut workers = Self { shared, threads: Vec::new(), pending: 0 };
        for index in 0..threads {
            let living = Living::new(&workers.shared);
            let thread = std::thread::Builder::new().name(format!("{name}-{index}"));
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
        let mut queue = self.shared.queue();
        queue.push(Queued { job, since });
        // A thread that is busy looks at the queue before it waits; to tell it is a system call.
        let idle = queue.idle > 0;
        drop(queue);
        if idle {
            self.shared.changed.notify_one();
        }
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
        let mut outcomes = self.shared.outcomes();
        outcomes.resting = false;
        out.append(&mut outcomes.list);
        drop(outcomes);
        self.pending -= out.len() - before;
    }

    /// Asks to be woken by the next outcome, for the loop is about to wait. Returns `false` if
    /// there is one already: it is to be drained, not waited for, and nobody will wake the loop.
    ///
    /// A loop that is at work drains before it waits again, so it need not be told of outcomes.
    #[must_use]
    pub fn rest(&mut self) -> bool {
        let mut outcomes = self.shared.outcomes();
        outcomes.resting = outcomes.list.is_empty();
        outcomes.resting
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
    outcomes: Mutex<Outcomes>,
    wake: Wake,
    files: Arc<Files>,
}

#[derive(Debug)]
struct Outcomes {
    /// What came of jobs, since the last drain.
    list: Vec<Outcome>,
    /// Whether the loop waits and is to be woken.
    resting: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done under the locks panics half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next jobs and moves them into `batch`; `false` if there will be no more.
    fn next(&self, batch: &mut Vec<Queued>) -> bool {
        let mut queue = self.queue();
        loop {
            if queue.take(batch) {
                return true;
            }
            if queue.stop != Stop::Never {
                return false;
            }
            queue.idle += 1;
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    /// Returns a read that has come while a thread is at a batch.
    fn next_read(&self) -> Option<Queued> {
        self.queue().take_read()
    }

    fn publish(&self, outcome: Outcome) {
        let mut outcomes = self.outcomes();
        outcomes.list.push(outcome);
        let resting = std::mem::take(&mut outcomes.resting);
        drop(outcomes);
        if resting {
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
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut buffer = Vec::new();
    while shared.next(&mut batch) {
        let hashed = run::hash(&batch);
        let several = batch.len() > 1;
        for (at, queued) in batch.drain(..).enumerate() {
            // What follows waits for the disk, and a peer waits for each read.
            while several && let Some(read) = shared.next_read() {
                finish(shared, read, (&hashed, at), &mut buffer);
            }
            if at > 0 && shared.queue().stop == Stop::AtOnce {
                shared.queue().finished(torrent_of(&queued.job));
            } else {
                finish(shared, queued, (&hashed, at), &mut buffer);
            }
        }
    }
}

/// Does a job and tells what came of it.
fn finish(shared: &Shared, queued: Queued, hashed: (&Hashed, usize), buffer: &mut Vec<u8>) {
    let torrent = torrent_of(&queued.job);
    if let Some(outcome) = run::run(&shared.files, queued, hashed, buffer) {
        shared.queue().finished(torrent);
        shared.publish(outcome);
    }
}

#[cfg(test)]
mod tests;
