//! What a disk thread does with a job, or with several that are hashed side by side.
//!
//! **Invariant:** a panic of a job becomes its error, and the frames that were in it come back.

use std::any::Any;
use std::array::from_fn;
use std::borrow::Cow;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::queue::{MAX_BATCH, Queued, hashes};
use crate::disk::hash::{self, Midstate};
use crate::disk::job::{
    Append, Assemble, Assembled, Checked, DiskError, DiskErrorKind, DiskOp, Job, MetadataFault,
    Outcome, Read, Space, Storage, Times, Verdict, Verify,
};
use crate::disk::metadata;
use crate::disk::state::{Restore, Spill, StateOutcome, Sync};
use crate::disk::verdict;
use crate::id::{PieceIndex, TorrentId};
use crate::reactor::files::Files;
use crate::reactor::files::known::folders;
use crate::reactor::{hashing, state};
use crate::time::Duration;
use crate::wire::frame::Frame;

/// What a batch was hashed to.
pub(super) struct Hashed {
    /// Of each of its jobs in order; or why there is none.
    midstates: Result<[Midstate; MAX_BATCH], Cow<'static, str>>,
    started: Instant,
    ended: Instant,
}

/// Hashes what the jobs of a batch have in memory, side by side. Jobs that have nothing to hash are
/// alone in their batch.
pub(super) fn hash(batch: &[Queued]) -> Hashed {
    let started = Instant::now();
    if !batch.first().is_some_and(|first| hashes(&first.job)) {
        return Hashed { midstates: Err("nothing was hashed".into()), started, ended: started };
    }
    let midstates = caught(|| {
        let mut streams: [_; MAX_BATCH] = from_fn(|at| {
            let (midstate, frames) = match batch.get(at).map(|queued| &queued.job) {
                Some(Job::Verify(job)) => (Midstate::default(), &job.frames[..]),
                Some(Job::Append(job)) => ((*job.midstate).clone(), &job.frames[..]),
                _ => (Midstate::default(), &[][..]),
            };
            (midstate, frames.iter().map(Frame::payload))
        });
        hash::update_each(&mut streams[..batch.len()]);
        streams.map(|(midstate, _)| midstate)
    });
    Hashed { midstates: midstates.map_err(Cow::Owned), started, ended: Instant::now() }
}

impl Hashed {
    fn midstate(&self, at: usize, storage: &Storage) -> Result<Midstate, DiskError> {
        match &self.midstates {
            Ok(midstates) => Ok(midstates[at].clone()),
            Err(why) => Err(panicked(DiskOp::Write, storage, why.to_string())),
        }
    }

    /// Returns the times of a job that has just been done.
    fn times(&self, since: Instant, wrote: bool) -> Times {
        Times {
            queued: self.started.duration_since(since),
            hash_took: self.ended.duration_since(self.started),
            write_took: if wrote { self.ended.elapsed() } else { Duration::ZERO },
        }
    }
}

/// Does a job, the `at`th of a batch that was `hashed`; `None` is the outcome of a close. `buffer`
/// is the thread's room for checks.
pub(super) fn run(
    files: &Files,
    queued: Queued,
    (hashed, at): (&Hashed, usize),
    buffer: &mut Vec<u8>,
) -> Option<Outcome> {
    Some(match queued.job {
        Job::Verify(job) => {
            let write = || files.write_run(&job.storage, job.piece, 0, &job.frames);
            let verdict = hashed.midstate(at, &job.storage).and_then(|midstate| {
                let judge = || verdict::verify(&job, hash::finish(midstate), write);
                guarded(DiskOp::Write, &job.storage, judge)
            });
            let times = hashed.times(queued.since, !matches!(verdict, Ok(Verdict::Corrupt { .. })));
            let Verify { storage, piece, frames, .. } = job;
            Outcome::Verify { torrent: storage.torrent, piece, frames, verdict, times }
        }
        Job::Append(mut job) => {
            let storage = Arc::clone(&job.storage);
            let write =
                |job: &Append| files.write_run(&job.storage, job.piece, job.begin, &job.frames);
            let result = hashed.midstate(at, &storage).and_then(|midstate| {
                *job.midstate = midstate;
                guarded(DiskOp::Write, &storage, || verdict::append(&mut job, write))
            });
            let (torrent, times) = (storage.torrent, hashed.times(queued.since, true));
            let Append { piece, begin, frames, .. } = job;
            Outcome::Append { torrent, piece, begin, frames, result, times }
        }
        Job::Read(Read { storage, conn, piece, begin, mut frames }) => {
            let read = || files.read_run(&storage, piece, begin, &mut frames);
            let result = guarded(DiskOp::Read, &storage, read);
            Outcome::Read { torrent: storage.torrent, conn, piece, begin, frames, result }
        }
        Job::Stat { storage } => {
            let files = guarded(DiskOp::Stat, &storage, || files.look_at(&storage));
            Outcome::Stat { torrent: storage.torrent, files, folders: folders(&storage) }
        }
        Job::Check { storage, first, count } => {
            let check = || check(files, &storage, first, count, buffer);
            let checked = guarded(DiskOp::Read, &storage, check);
            Outcome::Check { torrent: storage.torrent, first, checked }
        }
        Job::Carry { storage, files: carried } => {
            let carry =
                || carried.iter().try_for_each(|(f, pieces)| files.carry(&storage, *f, pieces));
            let result = guarded(DiskOp::Write, &storage, carry);
            Outcome::Carry { torrent: storage.torrent, result }
        }
        Job::Finish { storage, cut, selection } => {
            let finish = || files.finish(&storage, &selection, cut);
            let result = guarded(DiskOp::SetLength, &storage, finish);
            Outcome::Finish { torrent: storage.torrent, result }
        }
        Job::Space { storage, wanted, reserve } => {
            let look = || look_for_space(files, &storage, &wanted, reserve);
            let space = guarded(DiskOp::Reserve, &storage, look);
            Outcome::Space { torrent: storage.torrent, space }
        }
        Job::LetGo { storage } => let_go(files, storage.torrent),
        Job::Assemble(job) => Outcome::Assembled(assemble(&job)),
        Job::Close { torrent } => {
            files.close(torrent);
            return None;
        }
        job => Outcome::State(run_state(files, job)?),
    })
}

/// Looks how much space there is, and whether something can be made where it is needed.
fn look_for_space(
    files: &Files,
    storage: &Storage,
    wanted: &[usize],
    reserve: Option<PieceIndex>,
) -> Result<Space, DiskError> {
    let space = files.space(storage, wanted, reserve)?;
    // What does not fit is told of first, and nothing is touched for it.
    if space.lacking > 0 && space.fits() {
        Files::try_to_make(storage, wanted)?;
    }
    Ok(space)
}

/// Closes the files of a torrent that rests.
fn let_go(files: &Files, torrent: TorrentId) -> Outcome {
    files.close(torrent);
    Outcome::LetGo { torrent }
}

/// Puts metadata together.
fn assemble(job: &Assemble) -> Assembled {
    caught(|| metadata::assemble(job)).unwrap_or_else(|message| Assembled {
        torrent: job.torrent,
        result: Err(MetadataFault::Panicked(message)),
        block_hashes: Vec::new(),
    })
}

/// Does one of the jobs that keep a torrent's state; `None` for any other.
fn run_state(files: &Files, job: Job) -> Option<StateOutcome> {
    Some(match job {
        Job::Load { storage } => {
            let load = || storage.state.as_deref().map_or(Ok(None), state::load);
            let result = guarded(DiskOp::Read, &storage, load);
            StateOutcome::Loaded { torrent: storage.torrent, result }
        }
        Job::Sync(job) => {
            let result = guarded(DiskOp::Sync, &job.storage, || files.sync(&job));
            let Sync { storage, pieces, .. } = job;
            StateOutcome::Synced { torrent: storage.torrent, pieces, result }
        }
        Job::Save(job) => {
            let path = job.storage.state.as_deref();
            let save = || path.map_or(Ok(()), |path| state::save(path, &job));
            let result = guarded(DiskOp::Write, &job.storage, save);
            StateOutcome::Saved { torrent: job.storage.torrent, result }
        }
        Job::Spill(job) => {
            let path = job.storage.state.as_deref();
            let spill = || path.map_or(Ok(()), |path| state::put_aside(path, &job));
            let result = guarded(DiskOp::Write, &job.storage, spill);
            let Spill { storage, blocks, frames, .. } = job;
            StateOutcome::Spilled { torrent: storage.torrent, blocks, frames, result }
        }
        Job::Restore(mut job) => {
            let path = job.storage.state.clone();
            let restore = || path.is_some_and(|path| state::restore(&path, &mut job));
            let is_whole = caught(restore).unwrap_or(false);
            let Restore { storage, blocks, frames, .. } = job;
            StateOutcome::Restored { torrent: storage.torrent, blocks, frames, is_whole }
        }
        _ => return None,
    })
}

/// Does a part of a job and makes an error of a panic, so that the frames that `doing` borrows go
/// home and the thread lives on. Nothing that a job leaves half done is looked at afterwards.
fn guarded<T>(
    op: DiskOp,
    storage: &Storage,
    doing: impl FnOnce() -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    caught(doing).unwrap_or_else(|message| Err(panicked(op, storage, message)))
}

fn panicked(op: DiskOp, storage: &Storage, message: String) -> DiskError {
    DiskError { op, path: storage.root.clone(), kind: DiskErrorKind::Panicked, message }
}

/// Returns what `doing` returns, or what it panicked with.
fn caught<T>(doing: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(doing)).map_err(|panic| panic_message(&*panic))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the job panicked: {}", text.unwrap_or("without a word"))
}

/// Tells of each of `count` pieces from `first` on whether its bytes are on disk and right. One
/// that cannot be read takes no other with it.
fn check(
    files: &Files,
    storage: &Storage,
    first: PieceIndex,
    count: u32,
    buffer: &mut Vec<u8>,
) -> Result<Checked, DiskError> {
    let go_on = |_| ControlFlow::Continue(());
    let mut unreadable: Option<(Vec<PieceIndex>, DiskError)> = None;
    let leave_out = |piece, error: DiskError| {
        if !error.kind.is_of_one_place() {
            return Err(error);
        }
        unreadable.get_or_insert_with(|| (Vec::new(), error)).0.push(piece);
        Ok(())
    };
    let hashes = hashing::pieces(files, storage, first, count, buffer, go_on, leave_out)?;
    let expected = (first.0..).map(|piece| storage.expected(PieceIndex(piece)));
    let good = hashes.iter().zip(expected).map(|(hash, right)| *hash == Some(right)).collect();
    Ok(Checked { good, unreadable })
}
