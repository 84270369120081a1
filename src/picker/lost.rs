//! Pieces that were verified and are not there any more.

use crate::id::PieceIndex;

use super::Picker;

impl Picker {
    /// Records that a piece is not on disk any more, or cannot be read; `again` if it is to be
    /// downloaded once more, before all others: peers were told that it is here. Returns whether
    /// it was verified; nothing changes if not.
    ///
    /// A torrent that [is complete](Picker::is_complete) stays so if the piece is not wanted again:
    /// nobody asks any more how rare its pieces are.
    pub fn lost(&mut self, piece: PieceIndex, again: bool) -> bool {
        let was_complete = self.is_complete();
        if !self.have.remove(piece.0) {
            return false;
        }
        self.have_count -= 1;
        if !again {
            self.given_up += u32::from(was_complete);
            return true;
        }
        self.take_up();
        self.missing += u32::from(self.wanted.insert(piece.0));
        self.levels.insert_first(piece.0);
        self.fresh.insert(piece.0, &mut self.availability);
        true
    }
}
