//! A torrent of which nothing is missing: its tables are let go, for there may be thousands.

use super::Picker;
use super::availability::Availability;
use super::fresh::Fresh;
use super::levels::Levels;
use super::partial::Partial;
use crate::bitfield::Bitfield;

impl Picker {
    /// Lets go of what only a download needs, if every piece is verified: all but one bit a piece.
    ///
    /// From now on nobody is to be told to it: [`Picker::remote_joined`] and its kind are for
    /// torrents that miss something.
    pub fn rest(&mut self) {
        if !self.is_complete() || self.missing > 0 || self.open.len() > 0 {
            return;
        }
        self.wanted = Bitfield::default();
        self.suspects = Bitfield::default();
        self.suspect_count = 0;
        self.levels = Levels::default();
        self.fresh = Fresh::new(Bitfield::default());
        self.availability = Availability::new(0);
        (self.open, self.races) = (Partial::default(), Vec::new());
    }

    /// Tells whether its tables were let go.
    pub(super) const fn is_at_rest(&self) -> bool {
        self.wanted.len() < self.have.len()
    }

    /// Makes the tables anew, for a piece that is missing again. Of remotes nothing is known.
    pub(super) fn take_up(&mut self) {
        if self.is_at_rest() {
            let none = Bitfield::new(self.geometry.pieces());
            self.availability = Availability::new(self.geometry.pieces());
            self.fresh = Fresh::new(none.clone());
            self.suspects = none.clone();
            self.wanted = none;
        }
    }
}
