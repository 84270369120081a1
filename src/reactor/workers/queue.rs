//! What the disk threads are to do next, and which of it belongs together.
//!
//! Pure but for the stamp that each job has; [`super::Workers`] has it under a lock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::disk::job::{Append, Job, Read, Verify};
use crate::disk::sha1_lanes::MAX_LANES;
use crate::disk::state::{Restore, Save, Spill, Sync};
use crate::id::TorrentId;

/// The most jobs that a thread takes at a time: as many as can be hashed side by side.
pub(super) const MAX_BATCH: usize = MAX_LANES;

/// The most bytes that a thread takes to be hashed at a time, if that is more than one job: for a
/// few milliseconds, in which a read that comes has to wait.
const MAX_BATCH_BYTES: u64 = 16 << 20;

/// Places that a class keeps when it is empty: more than it needs, but for when ten thousand
/// torrents are added.
const MAX_SPARE: usize = 1024;

/// When the threads are to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Stop {
    #[default]
    Never,
    /// When everything that writes has been done.
    AfterWrites,
    /// After the job that each is at.
    AtOnce,
}

/// A job and when it was submitted.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The jobs by [`class`]; lower classes first, first come, first served in each.
    classes: [VecDeque<Queued>; 3],
    /// Closes of torrents, to be done once nothing of theirs is unfinished.
    closing: Vec<Queued>,
    /// Jobs of each torrent that are queued or being done. An entry stays, at 0, until its torrent
    /// is closed: a job would have to make it anew otherwise.
    unfinished: BTreeMap<TorrentId, usize>,
    pub(super) stop: Stop,
    /// Threads that have not ended.
    pub(super) living: usize,
    /// Threads that wait for a job.
    pub(super) idle: usize,
}

impl Queue {
    pub(super) fn push(&mut self, queued: Queued) {
        if let Job::Close { .. } = queued.job {
            self.closing.push(queued);
        } else {
            *self.unfinished.entry(torrent_of(&queued.job)).or_default() += 1;
            self.classes[class(&queued.job)].push_back(queued);
        }
    }

    /// Moves what a thread is to do next into `batch`, and tells whether there was anything: one
    /// job, or several in a row that are hashed side by side.
    ///
    /// Nobody waits for more to come. Of what is there a thread takes its share, so that no other
    /// is without work while it is busy.
    pub(super) fn take(&mut self, batch: &mut Vec<Queued>) -> bool {
        let unfinished = &self.unfinished;
        let closable =
            |close: &Queued| unfinished.get(&torrent_of(&close.job)).is_none_or(|jobs| *jobs == 0);
        if let Some(at) = self.closing.iter().position(closable) {
            let close = self.closing.swap_remove(at);
            self.unfinished.remove(&torrent_of(&close.job));
            batch.push(close);
            return true;
        }
        let Some(jobs) = self.classes.iter_mut().find(|jobs| !jobs.is_empty()) else {
            return false;
        };
        let share = jobs.len().div_ceil(self.living.max(1)).min(MAX_BATCH);
        let mut bytes = 0;
        let fits = |next: &Queued, bytes: u64| {
            hashes(&next.job) && bytes + len_of(&next.job) <= MAX_BATCH_BYTES
        };
        while let Some(next) = jobs.pop_front() {
            bytes += len_of(&next.job);
            let alone = !hashes(&next.job);
            batch.push(next);
            let more = jobs.front().is_some_and(|next| fits(next, bytes));
            if alone || !more || batch.len() == share {
                break;
            }
        }
        if jobs.is_empty() {
            jobs.shrink_to(MAX_SPARE);
        }
        true
    }

    /// Returns the next read, which goes before the rest of a batch.
    pub(super) fn take_read(&mut self) -> Option<Queued> {
        self.classes[READS].pop_front()
    }

    /// Notes that a job of `torrent` that was taken is done.
    pub(super) fn finished(&mut self, torrent: TorrentId) {
        if let Some(count) = self.unfinished.get_mut(&torrent) {
            *count -= 1;
        }
    }

    /// Tells whether every job that was pushed is done or dropped.
    #[cfg(test)]
    pub(super) fn is_finished(&self) -> bool {
        self.unfinished.values().all(|jobs| *jobs == 0)
    }

    /// Takes out the jobs that will not be done and returns them, to be dropped without the lock.
    /// Closes stay: they cost nothing.
    pub(super) fn stop(&mut self, stop: Stop) -> Vec<Queued> {
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

const READS: usize = 0;

pub(super) const fn class(job: &Job) -> usize {
    match job {
        Job::Read(_) => READS,
        Job::Verify(_) | Job::Append(_) | Job::Assemble(_) => 1,
        // What keeps state is alone in its pool, and its order matters.
        Job::Stat { .. }
        | Job::Check { .. }
        | Job::Carry { .. }
        | Job::Finish { .. }
        | Job::Space { .. }
        | Job::Load { .. }
        | Job::Sync(_)
        | Job::Save(_)
        | Job::Spill(_)
        | Job::Restore(_)
        | Job::LetGo { .. }
        | Job::Close { .. } => 2,
    }
}

const fn writes(job: &Job) -> bool {
    matches!(
        job,
        Job::Verify(_)
            | Job::Append(_)
            | Job::Carry { .. }
            | Job::Finish { .. }
            | Job::Sync(_)
            | Job::Save(_)
            | Job::Spill(_)
    )
}

pub(super) fn torrent_of(job: &Job) -> TorrentId {
    match job {
        Job::Verify(Verify { storage, .. })
        | Job::Sync(Sync { storage, .. })
        | Job::Save(Save { storage, .. })
        | Job::Spill(Spill { storage, .. })
        | Job::Restore(Restore { storage, .. })
        | Job::Load { storage }
        | Job::Append(Append { storage, .. })
        | Job::Read(Read { storage, .. })
        | Job::Stat { storage }
        | Job::Check { storage, .. }
        | Job::Carry { storage, .. }
        | Job::Finish { storage, .. }
        | Job::Space { storage, .. }
        | Job::LetGo { storage } => storage.torrent,
        Job::Assemble(job) => job.torrent,
        Job::Close { torrent } => *torrent,
    }
}

/// Tells whether a job hashes what it has in memory, so that it can be done beside others.
pub(super) const fn hashes(job: &Job) -> bool {
    matches!(job, Job::Verify(_) | Job::Append(_))
}

/// Returns how many bytes a job has in memory.
fn len_of(job: &Job) -> u64 {
    let (Job::Verify(Verify { frames, .. }) | Job::Append(Append { frames, .. })) = job else {
        return 0;
    };
    frames.iter().map(|frame| u64::from(frame.len())).sum()
}
