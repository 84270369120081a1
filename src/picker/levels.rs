//! Which wanted pieces come before which, whatever their availability.
//!
//! Without priorities there is one level, and nothing is kept: a torrent whose files are all alike
//! pays for none of this.

use crate::bitfield::Bitfield;
use crate::disk::selection::LEVELS;

/// The wanted pieces by level, the most urgent first; nothing if all are on one.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Invariant: disjoint; together they are the wanted pieces.
    sets: Option<Box<[Bitfield; LEVELS]>>,
}

impl Levels {
    /// Keeps `sets` if they tell any pieces apart.
    pub(super) fn new(sets: [Bitfield; LEVELS]) -> Self {
        let used = sets.iter().filter(|set| !set.is_empty()).count();
        Self { sets: (used > 1).then(|| Box::new(sets)) }
    }

    /// Returns the level of a wanted piece, 0 for the most urgent.
    pub(super) fn of(&self, piece: u32) -> usize {
        let Some(sets) = &self.sets else { return 0 };
        sets.iter().take_while(|set| !set.contains(piece)).count()
    }

    /// Tells whether all wanted pieces are on one level.
    pub(super) const fn are_one(&self) -> bool {
        self.sets.is_none()
    }

    /// Returns the sets in which to look for a piece, one after the other, if there are several;
    /// `backwards` begins with the least urgent.
    pub(super) fn search(&self, backwards: bool) -> impl Iterator<Item = &Bitfield> {
        let sets = self.sets.as_deref().map_or(&[][..], |sets| &sets[..]);
        let at = move |nth| if backwards { sets.len() - 1 - nth } else { nth };
        (0..sets.len()).map(move |nth| &sets[at(nth)]).filter(|set| !set.is_empty())
    }

    /// Puts a piece that has become wanted before all others.
    pub(super) fn insert_first(&mut self, piece: u32) {
        if let Some([first, ..]) = self.sets.as_deref_mut() {
            first.insert(piece);
        }
    }

    /// Takes out a piece that is not wanted any more.
    pub(super) fn remove(&mut self, piece: u32) {
        for set in self.sets.iter_mut().flat_map(|sets| sets.iter_mut()) {
            set.remove(piece);
        }
    }

    /// Asserts that the sets are what they should be, for tests. O(pieces).
    pub(super) fn check_invariants(&self, wanted: &Bitfield) {
        let Some(sets) = &self.sets else { return };
        assert_eq!(sets.iter().map(Bitfield::count).sum::<u32>(), wanted.count());
        assert!(sets.iter().flat_map(Bitfield::ones).all(|piece| wanted.contains(piece)));
    }
}
