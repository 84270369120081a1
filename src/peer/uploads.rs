//! What one peer has asked of us: a bounded queue of blocks, taken out in runs that one disk read
//! can serve.

use std::collections::VecDeque;

use crate::id::{BLOCK_LEN, Block};

/// The requests of one peer that wait to be read from disk.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Invariant: at most the limit given to [`Uploads::push`].
    waiting: VecDeque<Block>,
    /// Blocks that are being read from disk.
    reading: usize,
}

/// The most blocks of one run: 256 KiB a read, where the cost of a call no longer shows.
pub const MAX_RUN_BLOCKS: usize = 16;
/// The most blocks of one peer that are being read at one time: two runs, so that one is read while
/// the other is sent.
pub const MAX_READING: usize = 2 * MAX_RUN_BLOCKS;

impl Uploads {
    /// Appends a request if fewer than `limit` wait, and tells whether it did. Each request is
    /// answered, also one that is made twice (BEP 6).
    pub fn push(&mut self, block: Block, limit: usize) -> bool {
        debug_assert!(block.len <= BLOCK_LEN);
        if self.waiting.len() >= limit {
            return false;
        }
        self.waiting.push_back(block);
        true
    }

    /// Takes a waiting request back and tells whether it was there.
    pub fn cancel(&mut self, block: Block) -> bool {
        let at = self.waiting.iter().position(|waiting| *waiting == block);
        at.is_some_and(|at| self.waiting.remove(at).is_some())
    }

    /// Takes the next run out, consecutive blocks of one piece that are one disk read: the oldest
    /// request and those right behind it that continue it, `max_blocks` at most. Each is handed to
    /// `taken`, in order. Returns the first; `None` if nothing waits or [`MAX_READING`] blocks are
    /// being read.
    pub fn next_run(&mut self, max_blocks: usize, mut taken: impl FnMut(Block)) -> Option<Block> {
        let room = MAX_READING.saturating_sub(self.reading).min(max_blocks).min(MAX_RUN_BLOCKS);
        if room == 0 {
            return None;
        }
        let first = *self.waiting.front()?;
        let (mut blocks, mut end) = (0, first.begin);
        while blocks < room
            && let Some(next) = self.waiting.front()
            && (next.piece, next.begin) == (first.piece, end)
        {
            end += next.len;
            blocks += 1;
            taken(*next);
            self.waiting.pop_front();
        }
        self.reading += blocks;
        Some(first)
    }

    /// Records that `blocks` blocks came back from disk.
    pub fn read_done(&mut self, blocks: usize) {
        debug_assert!(blocks <= self.reading);
        self.reading -= blocks;
    }

    /// Drops the waiting requests that `keep` does not want and appends them to `dropped`, oldest
    /// first.
    pub fn retain(&mut self, keep: impl Fn(Block) -> bool, dropped: &mut Vec<Block>) {
        self.waiting.retain(|block| {
            let stays = keep(*block);
            if !stays {
                dropped.push(*block);
            }
            stays
        });
    }

    /// Returns how many blocks are being read.
    pub const fn reading(&self) -> usize {
        self.reading
    }

    /// Returns how many requests wait or are being read.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.reading
    }

    /// Tells whether no request waits (some may be being read).
    pub fn none_waiting(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tells whether no request waits or is being read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PieceIndex;

    fn block(piece: u32, slot: u32) -> Block {
        Block { piece: PieceIndex(piece), begin: slot * BLOCK_LEN, len: BLOCK_LEN }
    }

    /// Takes a run out and returns its first block and how many it has.
    fn next(uploads: &mut Uploads, max_blocks: usize) -> Option<(Block, usize)> {
        let mut taken = Vec::new();
        let first = uploads.next_run(max_blocks, |block| taken.push(block))?;
        assert_eq!(taken[0], first);
        assert!(taken.windows(2).all(|pair| pair[0].begin + pair[0].len == pair[1].begin));
        Some((first, taken.len()))
    }

    #[test]
    fn consecutive_requests_become_one_run() {
        let mut uploads = Uploads::default();
        for b in [block(1, 0), block(1, 1), block(1, 3), block(2, 4)] {
            assert!(uploads.push(b, 10));
        }
        let mut runs = Vec::new();
        while let Some((first, blocks)) = next(&mut uploads, usize::MAX) {
            runs.push((first.piece.0, first.begin / BLOCK_LEN, blocks));
        }
        assert_eq!(runs, [(1, 0, 2), (1, 3, 1), (2, 4, 1)]);
        assert_eq!((uploads.len(), uploads.none_waiting()), (4, true));
    }

    #[test]
    fn a_run_and_what_is_being_read_are_bounded() {
        let mut uploads = Uploads::default();
        (0..64).for_each(|slot| assert!(uploads.push(block(0, slot), 100)));
        let mut blocks = |max_blocks| next(&mut uploads, max_blocks).map(|(_, blocks)| blocks);
        assert_eq!(blocks(3), Some(3));
        assert_eq!(blocks(99), Some(MAX_RUN_BLOCKS));
        assert_eq!(blocks(99), Some(13));
        assert_eq!(blocks(99), None);
        uploads.read_done(16);
        assert_eq!(next(&mut uploads, 99).map(|(_, blocks)| blocks), Some(16));
    }

    #[test]
    fn the_queue_has_its_limit_and_cancels_are_exact() {
        let mut uploads = Uploads::default();
        assert!(uploads.push(block(0, 0), 2) && uploads.push(block(0, 1), 2));
        assert!(!uploads.push(block(0, 2), 2));
        assert!(uploads.cancel(block(0, 0)) && !uploads.cancel(block(0, 0)));
        let mut dropped = Vec::new();
        uploads.retain(|_| false, &mut dropped);
        assert_eq!(dropped, [block(0, 1)]);
        assert!(uploads.is_empty());
    }
}
