//! Pieces of which blocks are here before anybody is asked: an earlier process has left them.

use super::Picker;
use crate::id::PieceIndex;

impl Picker {
    /// Tells whether `piece` is wanted and not open.
    pub fn is_openable(&self, piece: PieceIndex) -> bool {
        self.is_wanted(piece) && self.open.find(piece.0).is_none()
    }

    /// Opens a piece of which blocks are here already, to be told by [`Picker::received`]; the
    /// caller holds the credit of all its blocks.
    ///
    /// Panics unless it [is openable](Self::is_openable): a bug of the caller.
    pub fn reopen(&mut self, piece: PieceIndex) {
        assert!(self.is_openable(piece), "piece {} is open or not wanted", piece.0);
        self.open(piece.0, self.geometry.blocks_of(piece));
    }
}
