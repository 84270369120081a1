//! The picker's rules one by one, and the picker against a model.

mod model;
mod rules;

use super::*;
use crate::id::BLOCK_LEN;

const A: ConnId = ConnId { index: 0, generation: 0 };
const B: ConnId = ConnId { index: 1, generation: 0 };
const C: ConnId = ConnId { index: 2, generation: 0 };
const D: ConnId = ConnId { index: 3, generation: 0 };

fn bits(pieces: u32, set: &[u32]) -> Bitfield {
    let mut bits = Bitfield::new(pieces);
    for piece in set {
        bits.insert(*piece);
    }
    bits
}

/// A picker with what a test calls it with.
struct Bench {
    picker: Picker,
    rng: Rng,
    cancels: Vec<(ConnId, Block)>,
}

impl Bench {
    /// An empty torrent of `pieces` pieces of `blocks` blocks.
    fn new(pieces: u32, blocks: u32) -> Self {
        Self::with(pieces, blocks, &[])
    }

    /// Of which the pieces in `have` are verified.
    fn with(pieces: u32, blocks: u32, have: &[u32]) -> Self {
        let piece_len = blocks * BLOCK_LEN;
        let total_len = u64::from(pieces) * u64::from(piece_len);
        let geometry = Geometry::new(total_len, piece_len);
        let picker = Picker::new(geometry, bits(pieces, have));
        Self { picker, rng: Rng::new(1), cancels: Vec::new() }
    }

    /// Past the random start: pieces 0 to 3 are verified.
    fn started(pieces: u32, blocks: u32) -> Self {
        Self::with(pieces, blocks, &[0, 1, 2, 3])
    }

    fn sequential(mut self) -> Self {
        self.picker.set_order(Order::Sequential);
        self
    }

    fn seeds(mut self, count: u32) -> Self {
        (0..count).for_each(|_| self.picker.remote_joined(Pieces::All));
        self
    }

    /// Picks and returns the blocks as (piece, slot).
    fn pick(&mut self, ask: Ask<'_>) -> Vec<(u32, u32)> {
        self.pick_as(ask).0
    }

    fn pick_as(&mut self, ask: Ask<'_>) -> (Vec<(u32, u32)>, Picked) {
        let mut out = Vec::new();
        let picked = self.picker.pick(&ask, &mut self.rng, &mut out);
        self.picker.check_invariants();
        assert!(out.len() <= ask.room && picked.opened <= ask.credit);
        assert_eq!(picked.stop == Stop::Full, out.len() == ask.room);
        assert!(out.iter().all(|block| self.picker.geometry.is_block(*block)));
        (out.iter().map(|block| (block.piece.0, block.slot())).collect(), picked)
    }

    fn block(&self, (piece, slot): (u32, u32)) -> Block {
        self.picker.geometry.block(PieceIndex(piece), slot)
    }

    fn receive(&mut self, block: (u32, u32), owner: ConnId) -> Result<Progress, PickError> {
        let block = self.block(block);
        let progress = self.picker.received(block, owner, &mut self.cancels);
        self.picker.check_invariants();
        progress
    }

    /// Receives blocks that are neither late nor the last of their piece.
    fn receive_all(&mut self, blocks: &[(u32, u32)], owner: ConnId) {
        for block in blocks {
            assert_eq!(self.receive(*block, owner), Ok(Progress::Partial), "{block:?}");
        }
    }

    fn release(&mut self, block: (u32, u32), owner: ConnId) {
        self.picker.release(self.block(block), owner);
        self.picker.check_invariants();
    }

    fn cancels(&mut self) -> Vec<(ConnId, (u32, u32))> {
        let cancels = self.cancels.drain(..);
        cancels.map(|(owner, block)| (owner, (block.piece.0, block.slot()))).collect()
    }

    /// Has `owner`, a seed, send all of one new piece; returns which.
    fn fetch_one(&mut self, owner: ConnId) -> u32 {
        let blocks = self.picker.geometry.blocks_of(PieceIndex(0));
        let blocks = self.pick(Ask { room: blocks as usize, ..ask(owner) });
        let (last, others) = blocks.split_last().expect("a piece has blocks");
        self.receive_all(others, owner);
        assert_eq!(self.receive(*last, owner), Ok(Progress::Complete));
        last.0
    }
}

/// A seed that has room for any number of blocks, and credit too.
fn ask(owner: ConnId) -> Ask<'static> {
    Ask {
        owner,
        pieces: Pieces::All,
        only: None,
        room: 1_000,
        endgame_room: 0,
        credit: 1_000_000,
        slow: false,
    }
}

fn ask_for(owner: ConnId, pieces: &Bitfield) -> Ask<'_> {
    Ask { pieces: Pieces::Some(pieces), ..ask(owner) }
}
