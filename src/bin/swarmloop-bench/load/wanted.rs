//! Which blocks to ask for next: one list for all connections.

use std::collections::VecDeque;

use swarmloop::bitfield::Bitfield;
use swarmloop::geometry::Geometry;
use swarmloop::id::{Block, PieceIndex};
use swarmloop::rng::Rng;

/// In which order pieces are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Order {
    /// As downloaders do.
    Random,
    /// From the first to the last, as far as the client has them.
    Sequential,
}

/// The pieces that the client has, and which of them are to be asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    geometry: Geometry,
    order: Order,
    /// What the client has said to have.
    known: Bitfield,
    known_count: u32,
    /// Pieces of this round that no connection has taken yet.
    fresh: VecDeque<PieceIndex>,
    /// Blocks that were asked for on a connection that then failed.
    again: Vec<Block>,
    /// Whether a new round begins when all pieces have been asked for.
    endless: bool,
}

/// Where a connection is in the piece that it has taken.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Cursor(Option<(PieceIndex, u32)>);

impl Cursor {
    /// Tells whether there is more to ask for in the connection's piece.
    pub(crate) const fn is_in_piece(self) -> bool {
        self.0.is_some()
    }
}

impl Wanted {
    pub(crate) fn new(geometry: Geometry, order: Order, endless: bool) -> Self {
        let known = Bitfield::new(geometry.pieces());
        let fresh = VecDeque::with_capacity(known.words().len());
        Self { geometry, order, known, known_count: 0, fresh, again: Vec::new(), endless }
    }

    /// The client has a piece; out of range is its fault, and `false`.
    pub(crate) fn learn(&mut self, piece: PieceIndex) -> bool {
        if piece.0 >= self.geometry.pieces() {
            return false;
        }
        if self.known.insert(piece.0) {
            self.known_count += 1;
            self.fresh.push_back(piece);
        }
        true
    }

    /// The client has every piece.
    pub(crate) fn learn_all(&mut self) {
        for piece in 0..self.geometry.pieces() {
            self.learn(PieceIndex(piece));
        }
    }

    /// Returns how many pieces the client has said to have.
    pub(crate) const fn known_count(&self) -> u32 {
        self.known_count
    }

    /// Tells whether there is something for a connection that has no piece.
    pub(crate) fn has_more(&self) -> bool {
        !self.again.is_empty() || !self.fresh.is_empty() || (self.endless && self.known_count > 0)
    }

    /// Returns the next block for a connection, `None` if there is nothing to ask for.
    pub(crate) fn next(&mut self, cursor: &mut Cursor, rng: &mut Rng) -> Option<Block> {
        let (piece, slot) = match cursor.0 {
            Some(at) => at,
            None => match self.again.pop() {
                Some(block) => return Some(block),
                None => (self.take_piece(rng)?, 0),
            },
        };
        let block = self.geometry.block(piece, slot);
        let next = slot + 1;
        cursor.0 = (next < self.geometry.blocks_of(piece)).then_some((piece, next));
        Some(block)
    }

    fn take_piece(&mut self, rng: &mut Rng) -> Option<PieceIndex> {
        if self.fresh.is_empty() && self.endless {
            let known = (0..self.geometry.pieces()).filter(|&piece| self.known.contains(piece));
            self.fresh.extend(known.map(PieceIndex));
        }
        match self.order {
            Order::Sequential => self.fresh.pop_front(),
            Order::Random => self.fresh.swap_remove_back(rng.below(self.fresh.len())),
        }
    }

    /// Takes back what a connection had asked for and what it had left of its piece.
    pub(crate) fn give_back(&mut self, cursor: Cursor, asked: impl Iterator<Item = Block>) {
        self.again.extend(asked);
        if let Some((piece, from)) = cursor.0 {
            let slots = from..self.geometry.blocks_of(piece);
            self.again.extend(slots.map(|slot| self.geometry.block(piece, slot)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pieces of two blocks, the last one shorter.
    fn geometry() -> Geometry {
        Geometry::new(2 * 32_768 + 20_000, 32_768)
    }

    fn drain(wanted: &mut Wanted, most: usize) -> Vec<(u32, u32)> {
        let (mut cursor, mut rng) = (Cursor::default(), Rng::new(1));
        let blocks = std::iter::from_fn(|| wanted.next(&mut cursor, &mut rng));
        blocks.take(most).map(|block| (block.piece.0, block.slot())).collect()
    }

    #[test]
    fn every_block_of_what_the_client_has_is_asked_for_once() {
        let mut wanted = Wanted::new(geometry(), Order::Sequential, false);
        assert!(wanted.learn(PieceIndex(2)) && wanted.learn(PieceIndex(2)));
        assert!(!wanted.learn(PieceIndex(3)));
        assert_eq!(drain(&mut wanted, 99), [(2, 0), (2, 1)]);
        wanted.learn_all();
        assert_eq!(wanted.known_count(), 3);
        assert_eq!(drain(&mut wanted, 99), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    }

    #[test]
    fn random_order_has_the_same_blocks() {
        let mut wanted = Wanted::new(geometry(), Order::Random, false);
        wanted.learn_all();
        let mut blocks = drain(&mut wanted, 99);
        blocks.sort_unstable();
        assert_eq!(blocks, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
    }

    #[test]
    fn an_endless_list_begins_again() {
        let mut wanted = Wanted::new(geometry(), Order::Sequential, true);
        assert_eq!(drain(&mut wanted, 99), [], "the client has nothing");
        wanted.learn_all();
        assert_eq!(drain(&mut wanted, 13).last(), Some(&(0, 0)));
    }

    #[test]
    fn what_a_broken_connection_owed_is_asked_for_again() {
        let mut wanted = Wanted::new(geometry(), Order::Sequential, false);
        wanted.learn(PieceIndex(0));
        let (mut cursor, mut rng) = (Cursor::default(), Rng::new(1));
        let asked = wanted.next(&mut cursor, &mut rng).expect("a block");
        assert_eq!(drain(&mut wanted, 99), [], "the piece is taken");
        wanted.give_back(cursor, [asked].into_iter());
        let mut blocks = drain(&mut wanted, 99);
        blocks.sort_unstable();
        assert_eq!(blocks, [(0, 0), (0, 1)]);
    }
}
