//! Who spoiled a piece: copies that failed their hash are remembered block by block, and the first
//! good copy tells.
//!
//! A copy that one peer sent alone condemns it at once. A copy of several makes all of them
//! suspects: once a good copy is here, each block of theirs that differs from it names its sender
//! (libtorrent calls this smart ban).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::id::PieceIndex;

/// The most pieces whose bad copies are remembered, and the most copies of each: a bound on what
/// attackers can make us remember (20 bytes a block). The oldest piece number is forgotten.
const MAX_PIECES: usize = 64;
const MAX_COPIES: usize = 4;

/// Who is named for blocks that an earlier process has left on disk: their senders are forgotten.
pub const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The bad copies of one torrent.
#[derive(Debug, Default)]
pub struct Blame {
    copies: BTreeMap<PieceIndex, Vec<BadCopy>>,
}

/// Sender and SHA-1 of every block of one bad copy.
type BadCopy = Vec<(SocketAddr, [u8; 20])>;

impl Blame {
    /// Remembers a bad copy: who sent each block, and its SHA-1.
    pub fn remember(&mut self, piece: PieceIndex, copy: BadCopy) {
        let copies = self.copies.entry(piece).or_default();
        if copies.len() < MAX_COPIES {
            copies.push(copy);
        }
        if self.copies.len() > MAX_PIECES {
            self.copies.pop_first();
        }
    }

    /// Tells whether bad copies of `piece` are remembered, so that the good one's block hashes are
    /// of use.
    pub fn is_suspicious(&self, piece: PieceIndex) -> bool {
        self.copies.contains_key(&piece)
    }

    /// Compares the good copy with all bad ones, forgets those, and returns who had sent a
    /// differing block, each once.
    pub fn settle(&mut self, piece: PieceIndex, good: &[[u8; 20]]) -> Vec<SocketAddr> {
        let copies = self.copies.remove(&piece).unwrap_or_default();
        let mut guilty: Vec<SocketAddr> = copies
            .iter()
            .flat_map(|copy| copy.iter().zip(good))
            .filter(|((_, bad), good)| bad != *good)
            .map(|((sender, _), _)| *sender)
            .collect();
        guilty.sort_unstable();
        guilty.dedup();
        guilty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1))
    }

    #[test]
    fn the_good_copy_names_only_those_whose_blocks_differ() {
        let (mut blame, piece) = (Blame::default(), PieceIndex(4));
        blame.remember(piece, vec![(addr(1), [1; 20]), (addr(2), [9; 20]), (addr(1), [3; 20])]);
        blame.remember(piece, vec![(addr(3), [8; 20]), (addr(2), [9; 20]), (addr(4), [3; 20])]);
        assert!(blame.is_suspicious(piece));
        assert_eq!(blame.settle(piece, &[[1; 20], [2; 20], [3; 20]]), [addr(2), addr(3)]);
        assert!(!blame.is_suspicious(piece));
        assert!(blame.settle(piece, &[[1; 20]]).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut blame = Blame::default();
        for index in 0..200 {
            for _ in 0..10 {
                blame.remember(PieceIndex(index), vec![(addr(1), [0; 20])]);
            }
        }
        assert_eq!(blame.copies.len(), MAX_PIECES);
        assert!(blame.copies.values().all(|copies| copies.len() == MAX_COPIES));
    }
}
