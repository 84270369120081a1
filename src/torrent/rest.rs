//! Stopped and started: how a torrent comes to rest, what it holds then, and how it goes on.
//!
//! ```text
//!  runs ──stop──► what is with the disk is done, its state saved ──► files let go ──► rests
//!    ▲                                    │                                            │
//!    └────── looked at like a new one ◄───┴───────────────── start ────────────────────┘
//! ```
//!
//! A torrent that rests holds what tells what it is and has: its layout, one bit a piece, what was
//! counted, bans. It has no tables a piece, no open file and no deadline. Starting it is adding it
//! anew: its state is loaded and its files are looked at, for nobody has watched them meanwhile; if
//! no state is kept, they are hashed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::job::Job;
use crate::id::PieceIndex;

use super::blame::Blame;
use super::phase::{StopReason, TorrentEvent};
use super::pieces::OpenPiece;
use super::selecting::Carrying;
use super::{Ctx, Stage, Torrent};

/// Jobs of a torrent whose outcomes have not come.
#[derive(Debug, Default)]
pub(super) struct Jobs(u32);

impl Jobs {
    /// Asks for a job.
    pub(super) fn submit(&mut self, job: Job, ctx: &mut Ctx<'_>) {
        self.0 += 1;
        ctx.jobs.push_back(job);
    }

    /// Waits for those of the same torrent before its metadata was here, too.
    pub(super) const fn take_over(&mut self, before: &Self) {
        self.0 += before.0;
    }
}

/// Whether a torrent is to rest, and how far it is.
#[derive(Debug)]
pub(super) struct Rest {
    /// Whether it is to be stopped, or stay so.
    is_wanted: bool,
    /// Whether it has let its files go since it stopped.
    has_let_go: bool,
    /// Whether it waits to be looked at: it is new, or was started.
    waits: bool,
}

impl Rest {
    /// Returns that of a torrent that is to stop once its files were looked at, or to run.
    pub(super) const fn new(is_wanted: bool) -> Self {
        Self { is_wanted, has_let_go: false, waits: true }
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    pub(super) const fn waits(&self) -> bool {
        self.waits
    }
}

impl Torrent {
    /// Stops the torrent: nothing is asked for or served any more. The session closes its
    /// connections. Pieces that the disk is working on are finished and counted.
    pub fn stop(&mut self, reason: Option<StopReason>, ctx: &mut Ctx<'_>) {
        self.rest.is_wanted = true;
        if matches!(self.stage, Stage::Stopped { .. }) {
            self.rest.waits = false;
            return;
        }
        self.close_idle(reason.is_none() && self.keep.is_some(), ctx);
        if !self.keep.as_ref().is_some_and(|keep| keep.is_restoring())
            && let Some(restored) = self.restoring.take()
        {
            restored.give(ctx.pool);
        }
        if let (Stage::Checking(_), Some(keep)) = (&self.stage, &mut self.keep) {
            keep.give_up();
        }
        if matches!(self.carrying, Some(Carrying::Waiting)) {
            self.carrying = None;
        }
        let have = self.have().clone();
        self.stage = Stage::Stopped { reason, have };
        (self.trouble.shortage, self.trouble.recheck) = (None, None);
        ctx.events.push(TorrentEvent::Phase(self.phase(ctx.now)));
    }

    /// Stops the torrent, but not before it is known what there is of it.
    pub fn stop_when_known(&mut self, ctx: &mut Ctx<'_>) {
        match &self.stage {
            Stage::Checking(check) if !check.is_begun() => self.rest.is_wanted = true,
            Stage::Stopped { .. } if self.rest.waits => self.rest.is_wanted = true,
            _ => self.stop(None, ctx),
        }
    }

    /// Has a torrent that was stopped go on, as soon as what is under way for it is done:
    /// [`Torrent::come_to_rest`] sees to it.
    pub const fn start_again(&mut self) {
        self.rest.is_wanted = false;
        self.rest.waits = matches!(self.stage, Stage::Stopped { .. });
    }

    /// Tells whether the torrent has stopped and is not to go on.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.stage, Stage::Stopped { .. }) && !self.rest.waits
    }

    /// Tells whether it is to be looked at and nothing else is under way for it.
    pub fn is_ready_to_begin(&self) -> bool {
        self.rest.waits && self.is_still()
    }

    /// Tells whether it is being looked at: nothing is known of it yet.
    pub fn is_looked_at(&self) -> bool {
        matches!(&self.stage, Stage::Checking(check) if !check.is_begun())
    }

    /// Tells whether it has stopped and nothing is under way for it.
    fn is_still(&self) -> bool {
        let has_stopped = matches!(self.stage, Stage::Stopped { .. });
        has_stopped && self.jobs.0 == 0 && self.is_settled() && self.peers.is_empty()
    }

    /// Takes in that the outcome of a job has come. Returns whether it was the last that a stopped
    /// torrent was waiting for.
    pub const fn job_done(&mut self) -> bool {
        self.jobs.0 = self.jobs.0.saturating_sub(1);
        self.jobs.0 == 0 && matches!(self.stage, Stage::Stopped { .. })
    }

    /// Begins to look at the files, like those of a new torrent. It [is
    /// ready](Torrent::is_ready_to_begin) for it.
    pub fn begin(&mut self, ctx: &mut Ctx<'_>) {
        self.shed();
        (self.rest.waits, self.rest.has_let_go) = (false, false);
        self.look(ctx);
    }

    /// Lets go of everything that a torrent which rests has no use for, once nothing is under way
    /// for it; to be called at the end of a turn in which something has happened to it.
    pub fn come_to_rest(&mut self, ctx: &mut Ctx<'_>) {
        if self.rest.waits || !self.is_still() {
            return;
        }
        if !std::mem::replace(&mut self.rest.has_let_go, true) {
            self.shed();
            self.jobs.submit(Job::LetGo { storage: Arc::clone(&self.storage) }, ctx);
        }
    }

    /// Drops what is of use only while the torrent runs.
    fn shed(&mut self) {
        self.kept = self.keep.take().map(|keep| Box::new(keep.rest())).or(self.kept.take());
        self.candidates.rest();
        self.forget_contacts();
        self.trouble.forget();
        self.pieces.shrink();
        self.blame = Blame::default();
        self.completed = Vec::new();
        self.made = Bitfield::default();
        self.hungry = VecDeque::new();
        self.picked = Vec::new();
        self.scratch = Bitfield::default();
    }

    /// Closes the open pieces that no job has, but for those with blocks if these are to be put
    /// aside. Nobody is asked for anything any more.
    pub(super) fn close_idle(&mut self, keep_blocks: bool, ctx: &mut Ctx<'_>) {
        let doomed = |open: &&OpenPiece| !(keep_blocks && open.is_worth_keeping());
        let idle: BTreeSet<PieceIndex> = self.pieces.idle().collect();
        let open = self.pieces.iter().filter(|open| idle.contains(&open.piece));
        let doomed: Vec<PieceIndex> = open.filter(doomed).map(|open| open.piece).collect();
        for piece in doomed {
            self.close_piece(piece, ctx);
        }
        self.hungry.clear();
        self.stirred = 0;
    }
}
