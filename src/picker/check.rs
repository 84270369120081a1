//! What must hold within the picker, for tests.

use super::Picker;

impl Picker {
    /// Asserts the invariants that are written on the fields. O(pieces + blocks of open pieces);
    /// for tests.
    pub fn check_invariants(&self) {
        self.open.check_invariants();
        assert_eq!(self.have.count(), self.have_count);
        assert!(self.have_count + self.given_up <= self.geometry.pieces());
        assert_eq!(self.wanted.count(), self.missing);
        assert_eq!(self.suspects.count(), self.suspect_count);
        self.levels.check_invariants(&self.wanted);
        for piece in 0..self.geometry.pieces() {
            let open = self.open.find(piece).is_some();
            let wanted = self.wanted.contains(piece);
            assert_eq!(self.fresh.contains(piece), wanted && !open, "piece {piece}");
            if self.have.contains(piece) {
                assert!(!open && !wanted && !self.suspects.contains(piece), "piece {piece}");
            }
        }
        self.fresh.check_invariants(&self.availability);
    }
}
