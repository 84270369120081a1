//! The sizes of a torrent: how many bytes each piece and block has (BEP 3).

use crate::id::{BLOCK_LEN, Block, PieceIndex};

/// How a torrent's bytes are cut into pieces and blocks. All checks of ranges from outside go
/// through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    pieces: u32,
    piece_len: u32,
    last_piece_len: u32,
}

impl Geometry {
    /// The geometry of a torrent of which only the info-hash is known (BEP 9): no pieces.
    pub const UNKNOWN: Self = Self { pieces: 0, piece_len: 0, last_piece_len: 0 };

    /// Tells whether the sizes are known.
    pub const fn is_known(&self) -> bool {
        self.pieces > 0
    }

    /// Returns the geometry of `total_len` bytes in pieces of `piece_len` bytes.
    ///
    /// Panics if there are no bytes, or more than 2^32 - 1 pieces: whoever parsed the metainfo has
    /// refused both.
    pub fn new(total_len: u64, piece_len: u32) -> Self {
        assert!(total_len > 0 && piece_len > 0, "a torrent has bytes");
        let pieces = total_len.div_ceil(u64::from(piece_len));
        let before_last = (pieces - 1) * u64::from(piece_len);
        Self {
            pieces: u32::try_from(pieces).expect("the piece count was checked"),
            piece_len,
            last_piece_len: u32::try_from(total_len - before_last).expect("at most piece_len"),
        }
    }

    /// Returns the number of pieces.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Returns the piece with this number if the torrent has it.
    pub const fn piece(&self, index: u32) -> Option<PieceIndex> {
        if index < self.pieces { Some(PieceIndex(index)) } else { None }
    }

    /// Returns the bytes of every piece but the last.
    pub const fn piece_len(&self) -> u32 {
        self.piece_len
    }

    /// Returns the bytes of `piece`.
    pub const fn len_of(&self, piece: PieceIndex) -> u32 {
        if piece.0 + 1 == self.pieces { self.last_piece_len } else { self.piece_len }
    }

    /// Returns the blocks of `piece`.
    pub const fn blocks_of(&self, piece: PieceIndex) -> u32 {
        self.len_of(piece).div_ceil(BLOCK_LEN)
    }

    /// Returns the block at position `slot` of `piece`, which must have it.
    pub fn block(&self, piece: PieceIndex, slot: u32) -> Block {
        let begin = slot * BLOCK_LEN;
        debug_assert!(begin < self.len_of(piece));
        Block { piece, begin, len: BLOCK_LEN.min(self.len_of(piece) - begin) }
    }

    /// Tells whether `block` is one that this engine asks for: in the torrent, on the 16 KiB grid,
    /// of its full length.
    pub fn is_block(&self, block: Block) -> bool {
        block.begin.is_multiple_of(BLOCK_LEN)
            && self.contains(block)
            && self.block(block.piece, block.slot()) == block
    }

    /// Returns all bytes of the torrent.
    pub fn total_len(&self) -> u64 {
        let before_last = u64::from(self.pieces.saturating_sub(1)) * u64::from(self.piece_len);
        before_last + u64::from(self.last_piece_len)
    }

    /// Tells whether the range is not empty and lies within one piece of the torrent.
    pub fn contains(&self, block: Block) -> bool {
        block.piece.0 < self.pieces
            && block.len > 0
            && block.begin.checked_add(block.len).is_some_and(|end| end <= self.len_of(block.piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_its_last_block_are_shorter() {
        let torrent = Geometry::new(2 * 32_768 + 20_000, 32_768);
        assert_eq!((torrent.pieces(), torrent.total_len()), (3, 85_536));
        assert_eq!([0, 1, 2].map(|i| torrent.len_of(PieceIndex(i))), [32_768, 32_768, 20_000]);
        assert_eq!(torrent.blocks_of(PieceIndex(2)), 2);
        assert_eq!(torrent.block(PieceIndex(2), 1).len, 3_616);
        assert_eq!(Geometry::new(32_768, 32_768).len_of(PieceIndex(0)), 32_768);
    }

    #[test]
    fn ranges_beyond_a_piece_are_told() {
        let torrent = Geometry::new(85_536, 32_768);
        let block = |piece, begin, len| Block { piece: PieceIndex(piece), begin, len };
        for (range, inside) in [
            (block(0, 0, 1), true),
            (block(0, 32_767, 1), true),
            (block(2, 16_384, 3_616), true),
            (block(0, 0, 0), false),
            (block(0, 32_768, 1), false),
            (block(2, 16_384, 3_617), false),
            (block(3, 0, 1), false),
            (block(0, u32::MAX, 2), false),
            (block(u32::MAX, 0, 1), false),
        ] {
            assert_eq!(torrent.contains(range), inside, "{range:?}");
        }
    }
}
