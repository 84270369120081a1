//! Blocks of open pieces that the last process has put aside: read into frames once it is known
//! what is here, and put back to where they were.
//!
//! They are within the bounds of the frame pool like blocks that come from peers: a piece for which
//! there is no credit is asked for again.

use std::sync::Arc;

use crate::id::{Block, ConnId, PieceIndex};
use crate::picker::Progress;
use crate::wire::frame::{Frame, FramePool, Share};

use super::phase::Mode;
use super::verify::After;
use super::{Ctx, Stage, Torrent, piece_window};

/// Blocks that are back in frames. Invariant: the credit of all blocks of their pieces is held.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// In rising order.
    blocks: Vec<(Block, Frame)>,
    /// Their pieces, with the credit of each.
    pieces: Vec<(PieceIndex, u32)>,
}

impl Restored {
    /// Returns the credit that it holds.
    pub(super) fn credit(&self) -> u32 {
        self.pieces.iter().map(|(_, credit)| credit).sum()
    }

    /// Gives everything back.
    pub(super) fn give(self, pool: &mut FramePool) {
        pool.release(Share::Pieces, self.credit());
        self.blocks.into_iter().for_each(|(_, frame)| pool.give(frame));
    }
}

impl Torrent {
    /// Has blocks read that were put aside, as far as there is credit for their pieces; returns
    /// false if there are none.
    pub(super) fn asks_for_blocks(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Stage::Checking(check) = &mut self.stage else { return false };
        let spilled = std::mem::take(&mut check.spilled);
        if spilled.is_empty() || !matches!(self.mode, Mode::Download { .. }) {
            return false;
        }
        let (mut blocks, mut frames) = (Vec::<Block>::new(), Vec::new());
        let mut restored = Restored::default();
        for block in spilled {
            let is_in_order = blocks.last().is_none_or(|last| *last < block);
            if !is_in_order || !self.geometry.is_block(block) {
                continue;
            }
            let is_of_last = restored.pieces.last().is_some_and(|(last, _)| *last == block.piece);
            if !is_of_last {
                let Some(credit) = self.credit_for(block.piece, ctx.pool) else { continue };
                restored.pieces.push((block.piece, credit));
            }
            blocks.push(block);
            frames.push(ctx.pool.take(block.len));
        }
        let Some(keep) = self.keep.as_mut().filter(|_| !blocks.is_empty()) else { return false };
        self.restoring = Some(Box::new(restored));
        let job = keep.restore(Arc::clone(&self.storage), blocks, frames);
        self.jobs.submit(job, ctx);
        true
    }

    /// Reserves the credit of all blocks of a piece; `None` if it is here, too long to be kept, or
    /// there is not as much.
    fn credit_for(&self, piece: PieceIndex, pool: &mut FramePool) -> Option<u32> {
        let blocks = self.geometry.blocks_of(piece);
        let is_meant =
            !self.have().contains(piece.0) && blocks <= piece_window(&self.geometry, pool);
        let mut is_reserved = is_meant && pool.reserve(Share::Pieces, blocks);
        while is_meant && !is_reserved && pool.went_short() {
            is_reserved = pool.reserve(Share::Pieces, blocks);
        }
        is_reserved.then_some(blocks)
    }

    /// Takes in the blocks that were read.
    pub(super) fn on_restored(
        &mut self,
        blocks: Vec<Block>,
        frames: Vec<Frame>,
        is_whole: bool,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let mut restored = self.restoring.take().unwrap_or_default();
        restored.blocks = blocks.into_iter().zip(frames).collect();
        if is_whole && let Stage::Checking(_) = self.stage {
            self.restoring = Some(restored);
        } else {
            restored.give(ctx.pool);
        }
        self.check_on(ctx)
    }

    /// Puts the blocks back to where they were.
    pub(super) fn restore(&mut self, ctx: &mut Ctx<'_>) {
        let Some(restored) = self.restoring.take() else { return };
        let Restored { blocks, pieces } = *restored;
        for (piece, credit) in pieces {
            let Stage::Active { picker, .. } = &mut self.stage else { return };
            if picker.is_openable(piece) {
                picker.reopen(piece);
                self.pieces.open(piece, credit, credit);
            } else {
                ctx.pool.release(Share::Pieces, credit);
            }
        }
        for (block, frame) in blocks {
            let Stage::Active { picker, .. } = &mut self.stage else { return };
            let (Some(open), Ok(progress)) =
                (self.pieces.find(block.piece), picker.received(block, FROM_DISK, ctx.cancels))
            else {
                ctx.pool.give(frame);
                continue;
            };
            open.fill(block, frame, super::blame::NOBODY);
            self.piece_grew(block.piece, progress == Progress::Complete, ctx);
        }
    }
}

/// Who has sent the blocks that were found on disk: no connection has this name.
const FROM_DISK: ConnId = ConnId { index: u32::MAX, generation: u32::MAX };
