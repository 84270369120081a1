//! What outlives the process: pieces are claimed once they are durable, and the record that claims
//! them is saved where a kill at any time leaves one that is whole.
//!
//! ```text
//!  verified ──▶ written ──sync──▶ claimed ──save──▶ on disk
//!                  ▲                 a stop: sync, spill open pieces, save as clean
//!                  └── a failed sync: hashed again, from the disk
//! ```
//!
//! One job at a time is under way for a torrent. While nothing is moved there is no deadline.
//! **Invariant:** a piece is in the record's claims only if a sync that began after its write has
//! succeeded, and was so before this process if nothing has changed since.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::job::{DiskError, Folders, Job, OnDisk, Storage};
use crate::disk::slots::Slot;
use crate::disk::spill::MAX_SPILL_BLOCKS;
use crate::disk::state::{Loaded, Looked, Restore, Save, Spill, StateOutcome, Sync};
use crate::id::{Block, PieceIndex};
use crate::time::{Duration, Instant};
use crate::wire::frame::Frame;

use super::phase::TorrentEvent;
use super::resume::Record;
use super::verify::After;
use super::{Ctx, End, Stage, Torrent, Totals};

/// Where a torrent's state is kept from one process to the next, and how far it is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The state file; its folder is made if need be. One of its own for each torrent and folder.
    pub file: PathBuf,
    /// Whether to hash everything, whatever the state says.
    pub check: bool,
    /// What the clock on the wall says, in seconds since 1970.
    pub now_s: u64,
}

/// When written payload is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncLimits {
    /// The longest time that it waits.
    pub interval: Duration,
    /// The most of it that waits, in bytes.
    pub bytes: u64,
}

/// What the keeping of a torrent's state begins with, and what is left of it while it rests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Whether everything is to be hashed, whatever the record says.
    check: bool,
    limits: SyncLimits,
    /// When it was added, by both clocks.
    added_at: (Instant, u64),
    /// What was moved before this process, once that is known.
    before: Option<(u64, u64)>,
}

impl Kept {
    /// Returns what the keeping of a torrent that is added begins with.
    pub(super) const fn new(resume: &Resume, limits: SyncLimits, now: Instant) -> Self {
        Self { check: resume.check, limits, added_at: (now, resume.now_s), before: None }
    }
}

/// The longest time that a record falls behind what was sent and received, if nothing else is to be
/// saved: what a kill costs of a ratio (Transmission saves its statistics every 6 minutes).
const TOTALS_INTERVAL: Duration = Duration::from_secs(300);

/// How long after a failed save the next is tried.
const SAVE_AGAIN: Duration = Duration::from_secs(60);

/// The keeping of one torrent's state.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Keep {
    /// The record as it would be saved now, but for what is only known then.
    pub(super) record: Record,
    /// Whether everything is hashed, whatever the record says.
    check: bool,
    limits: SyncLimits,
    added_at: (Instant, u64),
    /// What was moved before this process, once that is known.
    before: Option<(u64, u64)>,
    /// Slot and generation of the newest record on disk; generation 0 if there is none.
    newest: (Slot, u64),
    /// What the newest record on disk says; `None` if there is none.
    on_disk: Option<Said>,
    /// Whether claims have changed since.
    is_stale: bool,
    /// Pieces that were written since the last sync began, or found by a check; and the bytes of
    /// the former.
    written: Vec<PieceIndex>,
    written_bytes: u64,
    /// When they are to be synced.
    sync_at: Option<Instant>,
    /// Pieces that a sync is under way for, and the bytes of those that were written.
    syncing: Vec<PieceIndex>,
    syncing_bytes: u64,
    /// Whether files have changed otherwise than by pieces.
    look_at_all: bool,
    /// When a save that failed is tried again.
    save_at: Option<Instant>,
    /// When a record is saved for the sake of what was sent and received alone.
    totals_at: Instant,
    /// Whether the application knows that saving fails.
    is_failure_told: bool,
    /// Whether blocks were put aside for the record that is saved next.
    is_spilled: bool,
    /// Syncs that have failed since the last one that succeeded.
    failed_syncs: u32,
    work: Work,
}

/// What of a record is compared to know whether it is out of date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    clean: bool,
    downloaded: u64,
    uploaded: u64,
}

/// The job that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Loading,
    Restoring,
    Idle,
    Syncing,
    Spilling,
    Saving(Said),
    /// The torrent has stopped and everything that could be saved is.
    Done,
}

impl Keep {
    /// Returns the keeping of a torrent whose state is being loaded.
    pub(super) fn new(kept: Kept, pieces: u32, files: usize) -> Self {
        let Kept { check, limits, added_at, before } = kept;
        let (downloaded, uploaded) = before.unwrap_or_default();
        let added = added_at.1;
        let empty = Record::empty(pieces, files);
        Self {
            record: Record { added_at: added, downloaded, uploaded, ..empty },
            check,
            limits,
            added_at,
            before,
            newest: (Slot::Second, 0),
            on_disk: None,
            is_stale: false,
            written: Vec::new(),
            written_bytes: 0,
            sync_at: None,
            syncing: Vec::new(),
            syncing_bytes: 0,
            look_at_all: false,
            save_at: None,
            totals_at: added_at.0 + TOTALS_INTERVAL,
            is_failure_told: false,
            is_spilled: false,
            failed_syncs: 0,
            work: Work::Loading,
        }
    }

    /// Returns what is left while the torrent rests: the rest is on disk.
    pub(super) fn rest(&self) -> Kept {
        let before = Some((self.record.downloaded, self.record.uploaded));
        Kept { check: self.check, limits: self.limits, added_at: self.added_at, before }
    }

    /// Notes a piece that was written. Pieces of which nobody knows when they were, because they
    /// were found, have no more time than others.
    pub(super) fn wrote(&mut self, piece: PieceIndex, len: u32, now: Instant) {
        self.written.push(piece);
        self.written_bytes += u64::from(len);
        self.sync_at.get_or_insert(now + self.limits.interval);
    }

    /// Notes pieces that were found to be there no more.
    pub(super) fn lost(&mut self, pieces: &[PieceIndex]) {
        for piece in pieces {
            self.is_stale |= self.record.claimed.remove(piece.0);
            self.record.recent.remove(piece.0);
        }
        self.written.retain(|piece| !pieces.contains(piece));
        if self.written.is_empty() {
            (self.written_bytes, self.sync_at) = (0, None);
        }
    }

    /// Claims the pieces that a sync was for, but for those that were lost and have come once more
    /// since it began: what is durable of them is not what is there.
    fn claim(&mut self, mut pieces: Vec<PieceIndex>) {
        let again: BTreeSet<PieceIndex> = self.written.iter().copied().collect();
        pieces.retain(|piece| !again.contains(piece));
        self.is_stale |= !pieces.is_empty();
        if self.record.recent.is_empty() && !pieces.is_empty() {
            self.record.recent = Bitfield::new(self.record.claimed.len());
        }
        for piece in pieces {
            self.record.claimed.insert(piece.0);
            self.record.recent.insert(piece.0);
        }
    }

    /// Notes which folders the torrent is in.
    pub(super) fn is_in(&mut self, folders: Folders) {
        // Without a record on disk there is none that would be wrong.
        self.is_stale |= self.on_disk.is_some() && self.record.folders != folders;
        self.record.folders = folders;
    }

    /// Notes that files were changed otherwise than by writing pieces.
    pub(super) const fn touched_files(&mut self) {
        self.look_at_all = true;
    }

    /// Returns when the next job is due, if that is a matter of time.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.work != Work::Idle {
            return None;
        }
        [self.sync_at, self.save_at].into_iter().flatten().min()
    }

    /// Returns the pieces that are verified and not known to be durable, those first that are being
    /// synced.
    pub(super) fn unsynced(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.syncing.iter().chain(&self.written).copied()
    }

    /// Tells whether the state is being written or still to be.
    pub(super) fn is_saving(&self) -> bool {
        self.is_stale || matches!(self.work, Work::Saving(_) | Work::Spilling)
    }

    /// Tells whether blocks are being read that were put aside.
    pub(super) fn is_restoring(&self) -> bool {
        self.work == Work::Restoring
    }

    /// Returns the job that reads blocks which were put aside for the newest record.
    pub(super) const fn restore(
        &mut self,
        storage: Arc<Storage>,
        blocks: Vec<Block>,
        frames: Vec<Frame>,
    ) -> Job {
        self.work = Work::Restoring;
        Job::Restore(Restore { storage, generation: self.newest.1, blocks, frames })
    }

    /// Notes that the torrent has stopped before anything was known that could be saved.
    pub(super) fn give_up(&mut self) {
        if self.work == Work::Idle {
            self.work = Work::Done;
        }
    }

    /// Takes in the record that was loaded; returns it with the time of its saving if it is to be
    /// believed.
    fn take_in(&mut self, record: Record, loaded: &Loaded) -> Option<(Record, i64)> {
        self.newest = (loaded.slot, loaded.generation);
        let (downloaded, uploaded) = (record.downloaded, record.uploaded);
        self.on_disk = Some(Said { clean: record.clean, downloaded, uploaded });
        let before = self.before.unwrap_or((downloaded, uploaded));
        (self.record.downloaded, self.record.uploaded) = before;
        if record.added_at != 0 {
            self.record.added_at = record.added_at;
        }
        self.record.completed_at = record.completed_at;
        self.record.claimed.clone_from(&record.claimed);
        self.record.folders = record.folders;
        (!self.check).then_some((record, loaded.saved_ns))
    }

    /// Returns payload received and sent over the torrent's life, of which `totals` are this
    /// session's.
    const fn life_totals(&self, totals: &Totals) -> (u64, u64) {
        let (downloaded, uploaded) = (self.record.downloaded, self.record.uploaded);
        (downloaded + totals.downloaded, uploaded + totals.uploaded)
    }

    fn takes_time(&self, now: Instant) -> bool {
        self.written_bytes < self.limits.bytes && self.sync_at.is_some_and(|at| at > now)
    }
}

impl Torrent {
    /// Does what is due for the torrent's state; to be called whenever something has happened to
    /// it, at the end of a turn.
    pub fn keep_state(&mut self, ctx: &mut Ctx<'_>) {
        let Some(mut keep) = self.keep.take() else { return };
        if let Some(job) = self.next_state_job(&mut keep, ctx.now) {
            self.jobs.submit(job, ctx);
        }
        self.keep = Some(keep);
    }

    /// Returns when the torrent's state is due to be looked after.
    pub fn state_timeout(&self) -> Option<Instant> {
        // Before and after, it is looked after whenever a job is done.
        let keep = self.keep.as_ref().filter(|_| self.is_active())?;
        let life = keep.life_totals(&self.totals);
        let on_disk = keep.on_disk.filter(|_| keep.work == Work::Idle);
        let behind = on_disk.filter(|said| (said.downloaded, said.uploaded) != life);
        let totals_at = behind.map(|_| keep.save_at.unwrap_or(keep.totals_at));
        keep.next_timeout().into_iter().chain(totals_at).min()
    }

    /// Returns payload received and payload sent over the torrent's life, in bytes: in earlier
    /// sessions, as far as its state was kept and is loaded, and in this one.
    pub fn life_totals(&self) -> (u64, u64) {
        if let Some(keep) = &self.keep {
            return keep.life_totals(&self.totals);
        }
        let (down, up) = self.kept.as_ref().and_then(|kept| kept.before).unwrap_or_default();
        (down + self.totals.downloaded, up + self.totals.uploaded)
    }

    /// Tells whether a torrent that was stopped has nothing under way and nothing left to save.
    pub fn is_settled(&self) -> bool {
        let kept = self.keep.as_ref().is_none_or(|keep| keep.work == Work::Done);
        self.pieces.is_empty() && kept
    }

    fn next_state_job(&mut self, keep: &mut Keep, now: Instant) -> Option<Job> {
        let is_with_disk = self.pieces.idle().count() < self.pieces.len()
            || self.carrying.is_some()
            || self.finishing > 0;
        let stopped = match &self.stage {
            Stage::Stopped { .. } if is_with_disk => return None,
            Stage::Stopped { .. } => true,
            Stage::Checking(_) | Stage::Metadata(_) => return None,
            Stage::Active { .. } => false,
        };
        if keep.work != Work::Idle {
            return None;
        }
        // Nothing is written any more, so nothing is waited for.
        let at_rest = stopped || matches!(self.stage, Stage::Active { end: End::Seeding, .. });
        let unsynced = !keep.written.is_empty() || (keep.look_at_all && at_rest);
        if unsynced && (at_rest || !keep.takes_time(now)) {
            return Some(self.sync(keep));
        }
        if stopped && !self.pieces.is_empty() {
            return Some(self.spill(keep));
        }
        let clean = at_rest && keep.written.is_empty() && keep.failed_syncs == 0;
        let (downloaded, uploaded) = keep.life_totals(&self.totals);
        let said = Said { clean, downloaded, uploaded };
        let differs = match keep.on_disk {
            // Before anything is written, so that there is room for it on a disk that fills up.
            None if self.is_downloading() => true,
            // Without a record nothing is claimed, so nothing is to be taken back.
            None => stopped && keep.record.claimed.count() > 0,
            Some(before) if stopped => before != said,
            Some(before) => before.clean != said.clean || (before != said && keep.totals_at <= now),
        };
        if !(keep.is_stale || differs) {
            if stopped {
                keep.work = Work::Done;
            }
            return None;
        }
        if keep.save_at.is_some_and(|at| at > now) && !stopped {
            return None;
        }
        Some(self.save(keep, said, now))
    }

    fn sync(&self, keep: &mut Keep) -> Job {
        keep.work = Work::Syncing;
        keep.sync_at = None;
        keep.syncing_bytes = std::mem::take(&mut keep.written_bytes);
        keep.syncing.clone_from(&keep.written);
        Job::Sync(Sync {
            storage: Arc::clone(&self.storage),
            pieces: std::mem::take(&mut keep.written),
            look_at_all: std::mem::take(&mut keep.look_at_all),
        })
    }

    fn spill(&mut self, keep: &mut Keep) -> Job {
        keep.work = Work::Spilling;
        let (mut blocks, mut frames) = (Vec::new(), Vec::new());
        self.pieces.take_blocks(&self.geometry, MAX_SPILL_BLOCKS, &mut blocks, &mut frames);
        let generation = keep.newest.1 + 1;
        Job::Spill(Spill { storage: Arc::clone(&self.storage), generation, blocks, frames })
    }

    fn save(&self, keep: &mut Keep, said: Said, now: Instant) -> Job {
        keep.work = Work::Saving(said);
        (keep.is_stale, keep.save_at) = (false, None);
        keep.totals_at = now + TOTALS_INTERVAL;
        if keep.record.completed_at == 0 && self.have().is_full() {
            let (at, wall) = keep.added_at;
            keep.record.completed_at = wall + (now - at).as_secs();
        }
        let mut record = keep.record.clone();
        (record.clean, record.downloaded, record.uploaded) =
            (said.clean, said.downloaded, said.uploaded);
        if said.clean {
            record.recent = Bitfield::default();
        }
        let (slot, generation) = (keep.newest.0.other(), keep.newest.1 + 1);
        let record = record.encode(self.info_hash);
        let has_blocks = std::mem::take(&mut keep.is_spilled);
        Job::Save(Save { storage: Arc::clone(&self.storage), slot, generation, record, has_blocks })
    }

    /// Takes in what a job for the torrent's state came to.
    pub(super) fn on_state(&mut self, outcome: StateOutcome, ctx: &mut Ctx<'_>) -> After {
        let Some(keep) = &mut self.keep else { return After::Nothing };
        let said = if let Work::Saving(said) = keep.work { Some(said) } else { None };
        keep.work = match (keep.work, &self.stage) {
            // Nothing is known that could be saved.
            (Work::Loading | Work::Restoring, Stage::Stopped { .. }) => Work::Done,
            _ => Work::Idle,
        };
        match outcome {
            StateOutcome::Loaded { result, .. } => self.on_loaded(result, ctx),
            StateOutcome::Synced { pieces, result, .. } => self.on_synced(pieces, result, ctx),
            StateOutcome::Spilled { frames, result, .. } => self.on_spilled(frames, result, ctx),
            StateOutcome::Restored { blocks, frames, is_whole, .. } => {
                self.on_restored(blocks, frames, is_whole, ctx)
            }
            StateOutcome::Saved { result, .. } => self.on_saved(said, result, ctx),
        }
    }

    fn on_loaded(&mut self, result: Result<Option<Loaded>, DiskError>, ctx: &mut Ctx<'_>) -> After {
        let (info_hash, files) = (self.info_hash, self.storage.parts_index() + 1);
        let loaded = result.unwrap_or_else(|error| {
            self.tell_state_error(error, ctx);
            None
        });
        let (Some(keep), Stage::Checking(check)) = (&mut self.keep, &mut self.stage) else {
            return After::Nothing;
        };
        check.is_loaded = true;
        if let Some(mut loaded) = loaded {
            keep.newest = (loaded.slot, loaded.generation);
            let pieces = self.geometry.pieces();
            if let Some(record) = Record::decode(&loaded.record, info_hash, pieces, files) {
                check.spilled = std::mem::take(&mut loaded.blocks);
                check.record = keep.take_in(record, &loaded);
            }
        }
        self.begin_check(ctx)
    }

    fn on_synced(
        &mut self,
        mut pieces: Vec<PieceIndex>,
        result: Result<Looked, DiskError>,
        ctx: &mut Ctx<'_>,
    ) -> After {
        // One that was written may have been found to be unreadable since.
        pieces.retain(|piece| self.have().contains(piece.0));
        let Some(keep) = &mut self.keep else { return After::Nothing };
        let bytes = std::mem::take(&mut keep.syncing_bytes);
        keep.syncing.clear();
        let looked = match result {
            Ok(looked) => looked,
            Err(error) => return self.on_sync_failed(pieces, error, bytes, ctx),
        };
        keep.failed_syncs = 0;
        keep.claim(pieces);
        keep.is_in(looked.folders);
        for (index, there) in looked.files {
            let Some(was) = keep.record.files.get_mut(index) else { continue };
            if index < self.storage.parts_index() && is_gone(*was, there) {
                continue;
            }
            let was_ours = was.is_some_and(|was| was.ours);
            let there = there.map(|there| OnDisk { ours: there.ours || was_ours, ..there });
            keep.is_stale |= *was != there;
            *was = there;
        }
        After::Nothing
    }

    /// What the system could not write may be lost although it was told to be written: everything
    /// since the last good sync is hashed again, from the disk. If that fails once more the torrent
    /// stops.
    fn on_sync_failed(
        &mut self,
        mut lost: Vec<PieceIndex>,
        error: DiskError,
        bytes: u64,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let Some(keep) = &mut self.keep else { return After::Nothing };
        let bytes = bytes + std::mem::take(&mut keep.written_bytes);
        lost.append(&mut keep.written);
        (keep.sync_at, keep.failed_syncs) = (None, keep.failed_syncs + 1);
        let is_first = keep.failed_syncs == 1;
        if !self.is_active() {
            ctx.events.push(TorrentEvent::SyncFailed(error, bytes));
            return After::Nothing;
        }
        if !is_first {
            return self.on_disk_error(error, ctx);
        }
        let Some(keep) = &mut self.keep else { return After::Nothing };
        ctx.events.push(TorrentEvent::SyncFailed(error, bytes));
        if lost.is_empty() {
            keep.look_at_all = true;
            return After::Nothing;
        }
        self.check_again(&lost, ctx)
    }

    fn on_spilled(
        &mut self,
        mut frames: Vec<Frame>,
        result: Result<(), DiskError>,
        ctx: &mut Ctx<'_>,
    ) -> After {
        ctx.pool.give_all(&mut frames);
        let rows: Vec<PieceIndex> = self.pieces.iter().map(|open| open.piece).collect();
        for piece in rows {
            self.drop_row(piece, ctx.pool);
        }
        // The blocks belong to the record that is saved next. Those that could not be put aside are
        // asked for again; of pieces nothing is lost.
        if let (Ok(()), Some(keep)) = (result, &mut self.keep) {
            (keep.is_stale, keep.is_spilled) = (true, true);
        }
        After::Nothing
    }

    fn on_saved(
        &mut self,
        said: Option<Said>,
        result: Result<(), DiskError>,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let stopped = matches!(self.stage, Stage::Stopped { .. });
        let (Some(keep), Some(said)) = (&mut self.keep, said) else { return After::Nothing };
        match result {
            Ok(()) => {
                keep.newest = (keep.newest.0.other(), keep.newest.1 + 1);
                keep.on_disk = Some(said);
                keep.is_failure_told = false;
                if said.clean {
                    keep.record.recent = Bitfield::default();
                }
            }
            Err(error) => {
                keep.is_stale = true;
                keep.save_at = Some(ctx.now + SAVE_AGAIN);
                if stopped {
                    keep.work = Work::Done;
                }
                self.tell_state_error(error, ctx);
            }
        }
        After::Nothing
    }

    /// Tells the application that the next process will have to do without what this one knows,
    /// once until saving works again.
    fn tell_state_error(&mut self, error: DiskError, ctx: &mut Ctx<'_>) {
        let Some(keep) = &mut self.keep else { return };
        if !std::mem::replace(&mut keep.is_failure_told, true) {
            ctx.events.push(TorrentEvent::StateFailed(error));
        }
    }

    /// Ends a check: what was believed stays claimed, what was found is claimed when it is durable.
    pub(super) fn keep_checked(&mut self, trusted: Bitfield, have: &Bitfield) {
        let Some(keep) = &mut self.keep else { return };
        let found = have.ones().filter(|piece| !trusted.contains(*piece)).map(PieceIndex);
        // Whoever wanted everything hashed has had it.
        keep.check = false;
        keep.written = found.collect();
        keep.sync_at = keep.sync_at.or((!keep.written.is_empty()).then_some(Instant::ZERO));
        // What is claimed on disk and is not there any more is taken back.
        keep.is_stale |= keep.on_disk.is_some() && keep.record.claimed != trusted;
        keep.record.claimed = trusted;
    }
}

/// Tells whether a file that pieces were claimed of is not there any more, or another is in its
/// place: the record then says what was there, so that the next process hashes what is.
fn is_gone(was: Option<OnDisk>, there: Option<OnDisk>) -> bool {
    was.is_some_and(|was| there.is_none_or(|there| !there.is_same_file(&was)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_took_the_place_of_another_is_not_taken_for_it() {
        let file = |inode, len| Some(OnDisk { len, inode, ..OnDisk::default() });
        assert!(is_gone(file(7, 100), file(8, 100)) && is_gone(file(7, 100), None));
        assert!(!is_gone(file(7, 100), file(7, 200)) && !is_gone(None, file(8, 1)));
    }

    #[test]
    fn nothing_is_due_for_pieces_that_were_lost_before_they_were_synced() {
        let resume = Resume { file: PathBuf::new(), check: false, now_s: 0 };
        let limits = SyncLimits { interval: Duration::from_secs(5), bytes: 1000 };
        let mut keep = Keep::new(Kept::new(&resume, limits, Instant::ZERO), 9, 2);
        keep.work = Work::Idle;
        let pieces = [PieceIndex(3), PieceIndex(4)];
        for piece in pieces {
            keep.wrote(piece, 100, Instant::ZERO);
        }
        keep.lost(&pieces[..1]);
        assert_eq!(keep.next_timeout(), Some(Instant::from_secs(5)));
        keep.lost(&pieces[1..]);
        assert_eq!((keep.next_timeout(), keep.unsynced().count()), (None, 0));
    }

    #[test]
    fn a_piece_that_came_again_while_it_was_synced_is_not_claimed_by_that_sync() {
        let resume = Resume { file: PathBuf::new(), check: false, now_s: 0 };
        let limits = SyncLimits { interval: Duration::from_secs(5), bytes: 1000 };
        let mut keep = Keep::new(Kept::new(&resume, limits, Instant::ZERO), 9, 2);
        let pieces = [PieceIndex(3), PieceIndex(4)];
        for piece in pieces {
            keep.wrote(piece, 100, Instant::ZERO);
        }
        let syncing = std::mem::take(&mut keep.written);
        keep.lost(&pieces[..1]);
        keep.wrote(pieces[0], 100, Instant::from_secs(1));
        keep.claim(syncing);
        assert_eq!(keep.record.claimed.ones().collect::<Vec<_>>(), [4]);
        let syncing = std::mem::take(&mut keep.written);
        keep.claim(syncing);
        assert_eq!(keep.record.claimed.count(), 2);
    }
}
