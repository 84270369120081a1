//! Which pieces are wanted, and a change of mind about it.

use crate::bitfield::Bitfield;
use crate::disk::selection::LEVELS;

use super::Picker;
use super::levels::Levels;

impl Picker {
    /// Sets which pieces are to be downloaded, and which of them before which: disjoint sets, the
    /// most urgent first. Pieces that are verified may be in them. O(pieces).
    ///
    /// Open pieces stay open; those that are not wanted any more are the caller's to
    /// [`Picker::close`], unless they are being verified. Of a torrent that [is
    /// complete](Picker::is_complete) nothing is wanted, whatever is said here. Panics if a set is
    /// over another number of pieces: a bug of the caller.
    pub fn set_wanted(&mut self, mut levels: [Bitfield; LEVELS]) {
        if self.is_complete() {
            return;
        }
        let mut wanted = Bitfield::new(self.geometry.pieces());
        for level in &mut levels {
            assert_eq!(level.len(), self.geometry.pieces(), "a bitfield of another torrent");
            self.have.ones().for_each(|piece| _ = level.remove(piece));
            level.ones().for_each(|piece| _ = wanted.insert(piece));
        }
        let open: Vec<u32> = self.open.iter().map(|(_, open)| open.piece()).collect();
        for piece in self.wanted.ones().filter(|piece| !wanted.contains(*piece)) {
            self.fresh.remove(piece, &mut self.availability);
        }
        for piece in wanted.ones().filter(|piece| !self.wanted.contains(*piece)) {
            if open.binary_search(&piece).is_err() {
                self.fresh.insert(piece, &mut self.availability);
            }
        }
        self.missing = wanted.count();
        self.wanted = wanted;
        self.levels = Levels::new(levels);
    }
}
