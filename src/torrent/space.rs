//! A disk that is full: nothing is asked for any more, what is here is served, and the download
//! goes on by itself.
//!
//! ```text
//! a write fails ──► look ──► hear ──► try ──► a piece is written: over
//!      ▲             ▲         │       │
//!      │             └─ no room ┘      │
//!      └───────────────────────────────┘
//! ```
//!
//! Looking means a [`Job::Space`], which sets the room of one piece apart: so nothing is downloaded
//! only to be thrown away while the disk stays full.

use std::sync::Arc;

use crate::disk::job::{DiskError, DiskErrorKind, Job, Space};
use crate::id::PieceIndex;
use crate::time::{Duration, Instant};

use super::phase::{DiskFull, Mode, StopReason, TorrentEvent};
use super::verify::After;
use super::{Ctx, End, Stage, Torrent};

/// How much must be free before the download goes on, if that is more than two pieces: 64 MiB, so
/// that it does not stop again at once.
const MIN_FREE: u64 = 64 << 20;

/// How often is looked for space: a person who has freed some notices a longer wait.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// After this time a piece is tried with less space than [`MIN_FREE`], and again when that failed:
/// it may be all that there ever is, or the figure may not tell of a quota.
const TRY_INTERVAL: Duration = Duration::from_secs(60);

/// What a torrent knows of its disk since that was full.
#[derive(Debug)]
pub(super) struct Shortage {
    /// The first operation that failed.
    error: DiskError,
    /// The piece that could not be written; `None` for the last touches to the files.
    piece: Option<PieceIndex>,
    free: Option<u64>,
    /// Whether the application has heard of it: with the figures of the first look.
    is_told: bool,
    step: Step,
    /// Whether something was tried and failed since the disk was found full: then figures alone are
    /// not believed any more.
    was_tried: bool,
    /// When something is written whatever the figures say, if there is room for it.
    try_at: Instant,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// To look for space at this time.
    Look(Instant),
    /// To hear what a look found.
    Hear,
    /// To write something: all is as usual until that fails or not.
    Try,
}

impl Torrent {
    /// Tells whether the disk is full, so that nothing is asked for.
    pub(super) fn is_short_of_space(&self) -> bool {
        self.trouble.shortage.as_ref().is_some_and(|shortage| shortage.step != Step::Try)
    }

    /// Returns what is known of a disk that is full.
    pub(super) fn disk_full(&self, now: Instant) -> Option<DiskFull> {
        let shortage =
            self.trouble.shortage.as_ref().filter(|shortage| shortage.step != Step::Try)?;
        let (wanted, have) = self.wanted_bytes();
        Some(DiskFull {
            error: shortage.error.clone(),
            free: shortage.free,
            needed: wanted - have,
            retry_in: shortage.try_at.saturating_since(now),
        })
    }

    /// Returns when [`Torrent::look_for_space`] is due.
    pub fn next_look(&self) -> Option<Instant> {
        match self.trouble.shortage.as_ref()?.step {
            Step::Look(at) => Some(at),
            Step::Hear | Step::Try => None,
        }
    }

    /// Looks whether there is space again, if that is due.
    pub fn look_for_space(&mut self, ctx: &mut Ctx<'_>) {
        if self.next_look().is_none_or(|at| at > ctx.now) {
            return;
        }
        let Some(shortage) = &mut self.trouble.shortage else { return };
        shortage.step = Step::Hear;
        // The first look is for the figures: what has just failed is not tried again at once.
        let reserve = shortage.piece.filter(|_| shortage.is_told);
        let (storage, wanted) = (Arc::clone(&self.storage), Vec::new());
        self.jobs.submit(Job::Space { storage, wanted, reserve }, ctx);
    }

    /// Asks whether what is missing fits on the disk, before any of it is asked for; returns false
    /// if there is nothing to ask, or it was asked before.
    pub(super) fn asks_for_room(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let asks = std::mem::take(&mut self.trouble.asks_for_room);
        if !asks || !matches!(self.mode, Mode::Download { .. }) || self.have().is_full() {
            return false;
        }
        let files = self.storage.layout.files().iter().enumerate();
        let wanted = files.filter(|(at, file)| !file.pad && self.selection.wants(*at));
        let wanted = wanted.map(|(at, _)| at).collect();
        let storage = Arc::clone(&self.storage);
        self.jobs.submit(Job::Space { storage, wanted, reserve: None }, ctx);
        true
    }

    /// Takes in whether there is room, in a place where something can be made. Who cannot tell is
    /// not in the way: a disk that turns out to be full is waited for.
    fn on_room(&mut self, space: Result<Space, DiskError>, ctx: &mut Ctx<'_>) -> After {
        match space {
            Ok(Space { free: Some(free), lacking: needed }) if free < needed => {
                self.stop(Some(StopReason::NoSpace { free, needed }), ctx);
                After::Stopped
            }
            Err(error) if error.kind != DiskErrorKind::Full => self.on_disk_error(error, ctx),
            _ => self.check_on(ctx),
        }
    }

    /// Takes in that `piece`, or the last touches, could not be written for want of space.
    pub(super) fn on_full(
        &mut self,
        piece: Option<PieceIndex>,
        error: DiskError,
        ctx: &mut Ctx<'_>,
    ) -> After {
        if self.is_short_of_space() || !matches!(self.stage, Stage::Active { .. }) {
            return After::Nothing;
        }
        let was_tried = self.trouble.shortage.is_some();
        // What is half received is given up: others may have a use for its credit meanwhile.
        let idle: Vec<PieceIndex> = self.pieces.idle().collect();
        for piece in idle {
            self.close_piece(piece, ctx);
        }
        self.trouble.shortage = Some(Box::new(Shortage {
            error,
            piece,
            free: None,
            is_told: false,
            step: Step::Look(ctx.now),
            was_tried,
            try_at: ctx.now + TRY_INTERVAL,
        }));
        self.look_for_space(ctx);
        After::LookAgain
    }

    /// Takes in what a look for space found.
    pub(super) fn on_space(&mut self, space: Result<Space, DiskError>, ctx: &mut Ctx<'_>) -> After {
        let piece_len = u64::from(self.geometry.piece_len());
        let Some(shortage) = self.trouble.shortage.as_mut().filter(|it| it.step == Step::Hear)
        else {
            // Whoever asks for room is not short of it yet.
            let asks = matches!(self.stage, Stage::Checking(_));
            return if asks { self.on_room(space, ctx) } else { After::Nothing };
        };
        let mut room = shortage.is_told;
        match space {
            Ok(space) => shortage.free = space.free,
            Err(error) if error.kind == DiskErrorKind::Full => room = false,
            Err(error) => return self.on_disk_error(error, ctx),
        }
        let plenty = shortage.free.is_some_and(|free| free >= MIN_FREE.max(2 * piece_len));
        let is_time = shortage.try_at <= ctx.now;
        if is_time && !room {
            shortage.try_at = ctx.now + TRY_INTERVAL;
        }
        if room && (is_time || plenty && !shortage.was_tried) {
            return self.try_again(ctx);
        }
        let next = ctx.now + LOOK_INTERVAL;
        shortage.step = Step::Look(next.min(shortage.try_at));
        if !std::mem::replace(&mut shortage.is_told, true) {
            ctx.events.push(TorrentEvent::Phase(self.phase(ctx.now)));
        }
        After::Nothing
    }

    /// Goes on as if nothing had happened; what is written next tells whether that is so.
    fn try_again(&mut self, ctx: &mut Ctx<'_>) -> After {
        if let Some(shortage) = &mut self.trouble.shortage {
            shortage.step = Step::Try;
        }
        if matches!(self.stage, Stage::Active { end: End::Finishing, .. }) {
            self.finish(ctx);
        }
        ctx.events.push(TorrentEvent::Phase(self.phase(ctx.now)));
        After::LookAgain
    }

    /// Takes in that something was written: if that was the try, the disk is not full any more.
    pub(super) fn was_written(&mut self) {
        if self.trouble.shortage.as_ref().is_some_and(|shortage| shortage.step == Step::Try) {
            self.trouble.shortage = None;
        }
    }
}
