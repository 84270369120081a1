//! What the disk answers: pieces become ours, or somebody is to blame, or the torrent stops.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::disk::job::{Appended, DiskError, DiskErrorKind, Job, Outcome, Times, Verdict};
use crate::id::PieceIndex;
use crate::peer::error::Misbehaviour;
use crate::stats::Metric;
use crate::wire::frame::{self, Frame};

use super::blame::NOBODY;
use super::phase::{Mode, StopReason, TorrentEvent};
use super::pieces::OpenPiece;
use super::{Ctx, End, Stage, Torrent, same_host};

/// What the session has to do after an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Nothing more.
    Nothing,
    /// Pieces came: peers are to be told.
    TellPeers,
    /// What we want has changed: every peer's interest is to be looked at again.
    LookAgain,
    /// The torrent is no longer active and is going to be again: its connections are to be closed.
    Restarted,
    /// The torrent has become active: peers can be let in and dialled.
    Started,
    /// Everything is here: peers that are seeds are of no use any more, trackers are to be told.
    Completed,
    /// The torrent has stopped: its connections are to be closed.
    Stopped,
    /// The metadata is here and right; the application was told, and decides what to do with it.
    Known,
    /// The metadata was wrong: peers are to be asked for it again.
    AskAgain,
}

impl Torrent {
    /// Takes in what a job of this torrent came to. (`Read` is the peer's, not the torrent's.)
    pub fn on_outcome(&mut self, outcome: Outcome, ctx: &mut Ctx<'_>) -> After {
        let is_of_blocks = matches!(outcome, Outcome::Verify { .. } | Outcome::Append { .. });
        let after = self.judge(outcome, ctx);
        // A second check waits for the blocks that were with the disk when it began.
        if is_of_blocks && matches!(self.stage, Stage::Checking(_)) {
            return self.check_on(ctx);
        }
        self.carry_if_due(ctx);
        after
    }

    fn judge(&mut self, outcome: Outcome, ctx: &mut Ctx<'_>) -> After {
        match outcome {
            Outcome::Verify { piece, frames, verdict, times, .. } => {
                ctx.pool.hand_back(frame::count(&frames), times.to_written());
                ctx.pool.give_row(frames);
                if let Ok(verdict) = &verdict {
                    let written = matches!(verdict, Verdict::Good { .. });
                    self.measure_job(piece, times, written, ctx);
                }
                match verdict {
                    Ok(Verdict::Good { block_hashes }) => self.on_good(piece, &block_hashes, ctx),
                    Ok(Verdict::Corrupt { block_hashes }) => {
                        self.on_corrupt(piece, &block_hashes, ctx)
                    }
                    Err(error) => self.on_failed(piece, error, ctx),
                }
            }
            Outcome::Append { piece, frames, result, times, .. } => {
                ctx.pool.hand_back(frame::count(&frames), times.to_written());
                if let Ok((verdict @ (Appended::Good | Appended::Corrupt), _)) = &result {
                    self.measure_job(piece, times, matches!(verdict, Appended::Good), ctx);
                }
                self.on_append(piece, frames, result, ctx)
            }
            Outcome::Stat { files, folders, .. } => self.on_stat(files, folders, ctx),
            Outcome::Check { first, checked, .. } => self.on_check(first, checked, ctx),
            Outcome::Carry { result, .. } => self.on_carry(result, ctx),
            Outcome::Finish { result, .. } => self.on_finish(result, ctx),
            Outcome::Space { space, .. } => self.on_space(space, ctx),
            Outcome::State(outcome) => self.on_state(outcome, ctx),
            Outcome::Assembled(done) => self.on_assembled(done, ctx),
            Outcome::Read { .. } | Outcome::LetGo { .. } => After::Nothing,
        }
    }

    /// Records how long the job took that has judged a piece, and wrote it if it was right.
    fn measure_job(&mut self, piece: PieceIndex, times: Times, written: bool, ctx: &mut Ctx<'_>) {
        let Some(open) = self.pieces.find(piece) else { return };
        let (held_back, histograms) = (open.held_back(), &mut ctx.stats.histograms);
        histograms.record_duration(Metric::BlockToHashed, held_back + times.to_hashed());
        if written {
            histograms.record_duration(Metric::BlockToWritten, held_back + times.to_written());
        }
    }

    fn on_good(&mut self, piece: PieceIndex, hashes: &[[u8; 20]], ctx: &mut Ctx<'_>) -> After {
        if let Some(closed) = self.drop_row(piece, ctx.pool) {
            self.pieces.recycle(closed);
        }
        self.was_written();
        self.note_made(piece);
        for addr in self.blame.settle(piece, hashes) {
            self.ban(addr, Misbehaviour::CorruptBlock, ctx);
        }
        self.completed.push(piece);
        ctx.stats.counters.pieces_verified += 1;
        ctx.events.push(TorrentEvent::PieceVerified(piece));
        self.stir(ctx.lines);
        if let Some(keep) = &mut self.keep {
            keep.wrote(piece, self.geometry.len_of(piece), ctx.now);
        }
        let (picker, end) = match &mut self.stage {
            Stage::Active { picker, end } => (picker, end),
            Stage::Stopped { have, .. } => {
                have.insert(piece.0);
                return After::Nothing;
            }
            Stage::Checking(_) | Stage::Metadata(_) => {
                self.check_found(piece);
                return After::Nothing;
            }
        };
        picker.verified(piece);
        if picker.missing() > 0 || *end != End::Downloading || self.carrying.is_some() {
            return After::TellPeers;
        }
        *end = End::Finishing;
        self.finish(ctx);
        After::TellPeers
    }

    /// Makes the last touches to the files.
    pub(super) fn finish(&mut self, ctx: &mut Ctx<'_>) {
        let cut = matches!(self.mode, Mode::Download { overwrite: true });
        let (storage, selection) = (Arc::clone(&self.storage), self.selection.clone());
        self.jobs.submit(Job::Finish { storage, cut, selection }, ctx);
        self.finishing += 1;
    }

    fn on_finish(&mut self, result: Result<(), DiskError>, ctx: &mut Ctx<'_>) -> After {
        self.finishing -= 1;
        match result {
            Ok(()) => self.was_written(),
            Err(error) if error.kind == DiskErrorKind::Full => {
                return self.on_full(None, error, ctx);
            }
            Err(error) => return self.on_disk_error(error, ctx),
        }
        // Other files may be wanted since, and be missing something or be seen to by another job.
        let Stage::Active { end: end @ End::Finishing, picker } = &mut self.stage else {
            return After::Nothing;
        };
        if self.finishing > 0 {
            return After::Nothing;
        }
        *end = End::Seeding;
        picker.rest();
        if let Some(keep) = &mut self.keep {
            keep.touched_files();
        }
        ctx.events.push(TorrentEvent::Phase(self.phase(ctx.now)));
        ctx.events.push(TorrentEvent::Complete(!self.completed.is_empty()));
        After::Completed
    }

    fn on_corrupt(&mut self, piece: PieceIndex, hashes: &[[u8; 20]], ctx: &mut Ctx<'_>) -> After {
        let Some(open) = self.pieces.find(piece) else { return After::Nothing };
        let senders: Vec<SocketAddr> = (0..).map_while(|slot| open.sender_of(slot)).collect();
        let Some(open) = self.drop_row(piece, ctx.pool) else { return After::Nothing };
        self.wasted(self.geometry.len_of(piece), ctx);
        self.totals.corrupt_pieces += 1;
        ctx.stats.counters.pieces_corrupt += 1;
        ctx.events.push(TorrentEvent::PieceCorrupt(piece, open.contributors.len()));
        self.blame_for(&open, senders, hashes, ctx);
        if let Stage::Active { picker, .. } = &mut self.stage {
            picker.corrupt(piece);
        }
        self.stir(ctx.lines);
        After::LookAgain
    }

    /// A copy of one host's condemns it; one of several is remembered until a good one tells who it
    /// was.
    /// `senders` sent its blocks, in order.
    fn blame_for(
        &mut self,
        open: &OpenPiece,
        senders: Vec<SocketAddr>,
        hashes: &[[u8; 20]],
        ctx: &mut Ctx<'_>,
    ) {
        let Some(first) = open.contributors.first() else { return };
        if open.contributors.iter().all(|addr| same_host(*addr, *first)) {
            self.ban(*first, Misbehaviour::CorruptPiece, ctx);
            return;
        }
        let copy = senders.into_iter().zip(hashes.iter().copied()).collect();
        self.blame.remember(open.piece, copy);
    }

    pub(super) fn ban(&mut self, addr: SocketAddr, why: Misbehaviour, ctx: &mut Ctx<'_>) {
        if addr == NOBODY {
            return;
        }
        self.candidates.ban(addr.ip());
        ctx.events.push(TorrentEvent::Ban(addr, why.into()));
    }

    fn on_failed(&mut self, piece: PieceIndex, error: DiskError, ctx: &mut Ctx<'_>) -> After {
        self.may_have_made(piece);
        // Of a piece that leaves in runs, blocks may be on their way still.
        self.close_piece(piece, ctx);
        if error.kind == DiskErrorKind::Full {
            return self.on_full(Some(piece), error, ctx);
        }
        self.on_disk_error(error, ctx)
    }

    /// Takes in that the disk failed: the torrent stops, what was verified is kept.
    pub fn on_disk_error(&mut self, error: DiskError, ctx: &mut Ctx<'_>) -> After {
        if matches!(self.stage, Stage::Stopped { .. }) {
            return After::Nothing;
        }
        ctx.events.push(TorrentEvent::Disk(error));
        self.stop(Some(StopReason::Disk), ctx);
        After::Stopped
    }

    fn on_append(
        &mut self,
        piece: PieceIndex,
        mut frames: Vec<Frame>,
        result: Result<(Appended, Vec<[u8; 20]>), DiskError>,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let blocks = frame::count(&frames);
        ctx.pool.give_all(&mut frames);
        let (appended, run_hashes) = match result {
            Ok(done) => done,
            Err(error) => return self.on_failed(piece, error, ctx),
        };
        self.may_have_made(piece);
        let goes_on = matches!(self.stage, Stage::Active { .. }) && !self.is_short_of_space();
        if !goes_on && matches!(appended, Appended::Partial(_)) {
            self.close_piece(piece, ctx);
            return After::Nothing;
        }
        let Some(open) = self.pieces.find(piece) else { return After::Nothing };
        match appended {
            Appended::Partial(midstate) => {
                open.run_done(Some(midstate), run_hashes);
                if let Stage::Active { picker, .. } = &mut self.stage {
                    picker.flushed(piece, blocks);
                }
                if self.is_wanted(piece) {
                    self.piece_grew(piece, false, ctx);
                } else {
                    self.close_piece(piece, ctx);
                }
                self.stir(ctx.lines);
                After::Nothing
            }
            verdict => {
                open.run_done(None, run_hashes);
                let hashes = open.take_block_hashes();
                if matches!(verdict, Appended::Good) {
                    self.on_good(piece, &hashes, ctx)
                } else {
                    self.on_corrupt(piece, &hashes, ctx)
                }
            }
        }
    }
}
