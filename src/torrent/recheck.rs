//! A file of a seed that somebody has changed: it is hashed again while all else is served.
//!
//! ```text
//! a read finds it changed ──► its pieces are not served ──► hashed one job at a time
//!                                                                │
//!         what is wrong is lost, what is right is served again ◄─┘
//! ```
//!
//! **Invariant:** a piece that waits to be hashed stays among those that we have, for it was
//! verified and may be right; but no byte of it is sent meanwhile.

use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::job::{Checked, DiskError, DiskErrorKind, Job};
use crate::id::PieceIndex;

use super::checking::{pieces_a_job, ranges};
use super::phase::TorrentEvent;
use super::verify::After;
use super::{Ctx, Stage, Torrent};

/// The files that are hashed again.
#[derive(Debug)]
pub(super) struct Recheck {
    /// Pieces that were not hashed yet.
    pending: Bitfield,
    /// What is to be hashed after the job that is under way, as ranges, last first.
    todo: Vec<(u32, u32)>,
    /// How many pieces the job that is under way hashes.
    out: u32,
    /// Pieces that are wrong, and why the first file is hashed.
    lost: Vec<PieceIndex>,
    error: DiskError,
}

impl Torrent {
    /// Tells whether a piece may be sent to a peer.
    pub(super) fn serves(&self, piece: PieceIndex) -> bool {
        self.have().contains(piece.0) && !self.is_withdrawn(piece)
    }

    /// Tells whether a piece is not served because it is to be hashed again.
    pub(super) fn is_withdrawn(&self, piece: PieceIndex) -> bool {
        self.trouble.recheck.as_ref().is_some_and(|recheck| recheck.pending.contains(piece.0))
    }

    /// Has the file hashed again that a read of `piece` found changed.
    pub(super) fn check_file_again(
        &mut self,
        piece: PieceIndex,
        error: DiskError,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let Some(pieces) = self.pieces_lost_to(piece, &error) else {
            return self.on_disk_error(error, ctx);
        };
        let pieces: Vec<u32> = pieces
            .filter(|piece| self.have().contains(*piece) && !self.is_withdrawn(PieceIndex(*piece)))
            .collect();
        let all = self.geometry.pieces();
        let recheck = self.trouble.recheck.get_or_insert_with(|| {
            let pending = Bitfield::new(all);
            Box::new(Recheck { pending, todo: Vec::new(), out: 0, lost: Vec::new(), error })
        });
        for piece in &pieces {
            recheck.pending.insert(*piece);
        }
        let jobs = ranges(&pieces, pieces_a_job(self.geometry.piece_len()));
        recheck.todo.splice(..0, jobs);
        self.recheck_on(ctx)
    }

    /// Takes in what was found of pieces that were hashed again.
    pub(super) fn on_checked_again(
        &mut self,
        first: PieceIndex,
        checked: Result<Checked, DiskError>,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let Some(recheck) = &mut self.trouble.recheck else { return After::Nothing };
        let out = std::mem::take(&mut recheck.out);
        let pieces = first.0..first.0 + out;
        let Checked { good, unreadable } = match checked {
            Ok(checked) => checked,
            // Something else is where the file was.
            Err(error) if error.kind == DiskErrorKind::InTheWay => Checked::default(),
            Err(error) => return self.on_disk_error(error, ctx),
        };
        for piece in pieces.clone() {
            recheck.pending.remove(piece);
        }
        let is_good = good.into_iter().chain(std::iter::repeat(false));
        let wrong = pieces.zip(is_good).filter(|(_, good)| !good).map(|(piece, _)| piece);
        let mut wrong: Vec<u32> = wrong.collect();
        // Whoever changes it again while it is hashed is still at it.
        let changed = unreadable.filter(|(_, error)| error.kind == DiskErrorKind::Changed);
        if let Some((pieces, error)) = changed
            && let Some(first) = pieces.first()
        {
            wrong.extend(self.pieces_lost_to(*first, &error).into_iter().flatten());
        }
        self.give_up(&wrong);
        self.recheck_on(ctx)
    }

    /// Offers pieces no more.
    fn give_up(&mut self, pieces: &[u32]) {
        let Stage::Active { picker, .. } = &mut self.stage else { return };
        let Some(recheck) = &mut self.trouble.recheck else { return };
        let lost = pieces.iter().map(|piece| PieceIndex(*piece));
        recheck.lost.extend(lost.filter(|piece| picker.lost(*piece, false)));
    }

    /// Gives out the next job, or ends it when there are none: what is lost is told.
    fn recheck_on(&mut self, ctx: &mut Ctx<'_>) -> After {
        let Some(recheck) = &mut self.trouble.recheck else { return After::Nothing };
        if recheck.out > 0 {
            return After::Nothing;
        }
        if let Some((first, count)) = recheck.todo.pop() {
            recheck.out = count;
            let (storage, first) = (Arc::clone(&self.storage), PieceIndex(first));
            self.jobs.submit(Job::Check { storage, first, count }, ctx);
            return After::Nothing;
        }
        let Some(recheck) = self.trouble.recheck.take() else { return After::Nothing };
        if let Some(keep) = &mut self.keep {
            keep.lost(&recheck.lost);
            // What is right is to be believed of the file as it is now.
            keep.touched_files();
        }
        if !recheck.lost.is_empty() {
            ctx.events.push(TorrentEvent::Lost(recheck.lost, recheck.error));
        }
        After::Nothing
    }
}
