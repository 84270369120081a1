//! How many connected remotes have each piece.
//!
//! A flat array of counters and one offset for all of them. Both count modulo 2^16 and only their
//! sum has a meaning, so a remote may join as one representation and leave as another: a dense set
//! adds one to the offset and takes it from the pieces that it lacks, which is the same sum as
//! adding one to each piece that it has.

use super::Pieces;

/// Pieces under one word of a bitfield.
const WORD_PIECES: usize = u64::BITS as usize;

/// Words that one step of a search looks at. Long enough to find the least of a step without a
/// branch a piece, short enough that an early end saves much.
pub(super) const STEP_WORDS: usize = 8;

/// Pieces under the words of a step.
pub(super) const STEP_PIECES: u32 = 512;

const _: () = assert!(STEP_PIECES as usize == STEP_WORDS * WORD_PIECES);

/// Counters that are handled at once: a byte of a bitfield, a 128-bit register of `u16`.
const LANES: usize = 8;

/// For each byte of a bitfield the lanes that it sets, as masks (BEP 3: the first piece is the
/// highest bit). 4 KiB; without wider registers than the baseline has, looking a mask up is ten
/// times as fast as making it.
static MASKS: [[u16; LANES]; 256] = {
    let mut masks = [[0; LANES]; 256];
    let mut byte = 0;
    while byte < masks.len() {
        let mut lane = 0;
        while lane < LANES {
            if byte & (0x80 >> lane) != 0 {
                masks[byte][lane] = u16::MAX;
            }
            lane += 1;
        }
        byte += 1;
    }
    masks
};

/// The number of connected remotes that have each piece; exact for up to 65 535 remotes.
#[derive(Debug)]
pub(super) struct Availability {
    /// One row a bitfield word. Invariant: `row[i] + base` (modulo 2^16) is the availability of the
    /// row's piece `i`; counters beyond the last piece mean nothing.
    rows: Box<[[u16; WORD_PIECES]]>,
    /// Added to every counter: the seeds, and the remotes that joined as what they lack.
    base: u16,
}

impl Availability {
    /// Returns the counts of a torrent of `pieces` pieces without remotes.
    pub(super) fn new(pieces: u32) -> Self {
        let rows = vec![[0; WORD_PIECES]; (pieces as usize).div_ceil(WORD_PIECES)];
        Self { rows: rows.into_boxed_slice(), base: 0 }
    }

    /// Returns how many remotes have `piece`.
    pub(super) fn of(&self, piece: u32) -> u16 {
        let piece = piece as usize;
        self.rows[piece / WORD_PIECES][piece % WORD_PIECES].wrapping_add(self.base)
    }

    /// Counts one more remote that has `piece`. O(1).
    pub(super) fn has(&mut self, piece: u32) {
        let piece = piece as usize;
        let count = &mut self.rows[piece / WORD_PIECES][piece % WORD_PIECES];
        *count = count.wrapping_add(1);
    }

    /// Counts a remote that has `pieces`. O(1) for a seed; O(the smaller of pieces had and lacked,
    /// in words).
    pub(super) fn join(&mut self, pieces: Pieces<'_>) {
        self.add(pieces, 1);
    }

    /// Takes a remote that has `pieces` out of the counts; costs as [`Availability::join`].
    pub(super) fn leave(&mut self, pieces: Pieces<'_>) {
        self.add(pieces, 1_u16.wrapping_neg());
    }

    fn add(&mut self, pieces: Pieces<'_>, one: u16) {
        match pieces {
            Pieces::All => self.base = self.base.wrapping_add(one),
            Pieces::Some(bits) if bits.count() > bits.len() / 2 => {
                self.base = self.base.wrapping_add(one);
                self.add_words(bits.words().iter().map(|word| !word), one.wrapping_neg());
            }
            Pieces::Some(bits) => self.add_words(bits.words().iter().copied(), one),
        }
    }

    /// Adds `one` to the counters whose bits are set. Written so that the compiler makes vector
    /// code of a row.
    fn add_words(&mut self, words: impl Iterator<Item = u64>, one: u16) {
        for (row, word) in self.rows.iter_mut().zip(words) {
            if word == 0 {
                continue;
            }
            let groups = row.as_chunks_mut::<LANES>().0;
            for (counts, byte) in groups.iter_mut().zip(word.to_be_bytes()) {
                for (count, mask) in counts.iter_mut().zip(&MASKS[usize::from(byte)]) {
                    *count = count.wrapping_add(mask & one);
                }
            }
        }
    }

    /// Returns how many steps of [`STEP_WORDS`] words the torrent has.
    pub(super) fn steps(&self) -> usize {
        self.rows.len().div_ceil(STEP_WORDS)
    }

    /// Returns the least `availability ^ flip` among the pieces of one step that are set in `mask`,
    /// which gives the words of a bitfield by position. `flip` of [`u16::MAX`] turns "least" into
    /// "most". `None` if no bit is set.
    pub(super) fn least(&self, step: usize, flip: u16, mask: impl Fn(usize) -> u64) -> Option<u16> {
        let first = step * STEP_WORDS;
        let mut lanes = [u16::MAX; LANES];
        let mut any = 0;
        for (row, at) in self.rows.iter().skip(first).take(STEP_WORDS).zip(first..) {
            let word = mask(at);
            if word == 0 {
                continue;
            }
            any |= word;
            for (counts, byte) in row.as_chunks::<LANES>().0.iter().zip(word.to_be_bytes()) {
                let masks = &MASKS[usize::from(byte)];
                for ((least, count), mask) in lanes.iter_mut().zip(counts).zip(masks) {
                    let key = (count.wrapping_add(self.base) ^ flip) | !mask;
                    *least = (*least).min(key);
                }
            }
        }
        if any == 0 { None } else { lanes.into_iter().min() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitfield::Bitfield;
    use proptest::prelude::*;

    fn bits(flags: &[bool]) -> Bitfield {
        let mut bits = Bitfield::new(u32::try_from(flags.len()).expect("few"));
        for (index, _) in (0..).zip(flags).filter(|(_, flag)| **flag) {
            bits.insert(index);
        }
        bits
    }

    fn counts(availability: &Availability, pieces: u32) -> Vec<u16> {
        (0..pieces).map(|piece| availability.of(piece)).collect()
    }

    #[test]
    fn a_seed_and_a_full_bitfield_count_the_same() {
        let full = Bitfield::full(100);
        for (joins, leaves) in [
            (Pieces::All, Pieces::Some(&full)),
            (Pieces::Some(&full), Pieces::All),
            (Pieces::All, Pieces::All),
        ] {
            let mut availability = Availability::new(100);
            availability.join(joins);
            assert_eq!(counts(&availability, 100), [1; 100]);
            availability.leave(leaves);
            assert_eq!(counts(&availability, 100), [0; 100]);
        }
    }

    #[test]
    fn a_remote_that_grew_from_nothing_to_a_seed_leaves_no_trace() {
        let mut availability = Availability::new(130);
        let mut held = Bitfield::new(130);
        availability.join(Pieces::Some(&held));
        for piece in 0..130 {
            held.insert(piece);
            availability.has(piece);
        }
        assert_eq!(counts(&availability, 130), [1; 130]);
        availability.leave(Pieces::All);
        assert_eq!(counts(&availability, 130), [0; 130]);
    }

    proptest! {
        #[test]
        fn is_the_sum_of_the_remotes(
            remotes in prop::collection::vec(prop::collection::vec(any::<bool>(), 150), 0..12),
            haves in prop::collection::vec((0..12_usize, 0..150_u32), 0..200),
            flip in any::<bool>(),
        ) {
            let mut availability = Availability::new(150);
            let mut held: Vec<Bitfield> = remotes.iter().map(|flags| bits(flags)).collect();
            for bits in &held {
                availability.join(Pieces::Some(bits));
            }
            for (remote, piece) in haves {
                if held.get_mut(remote).is_some_and(|bits| bits.insert(piece)) {
                    availability.has(piece);
                }
            }
            while let Some(last) = held.last() {
                for piece in 0..150 {
                    let sum = held.iter().filter(|bits| bits.contains(piece)).count();
                    prop_assert_eq!(usize::from(availability.of(piece)), sum);
                }
                let flip = if flip { u16::MAX } else { 0 };
                let least = last.ones().map(|piece| availability.of(piece) ^ flip).min();
                prop_assert_eq!(availability.least(0, flip, |at| last.words()[at]), least);
                availability.leave(Pieces::Some(last));
                held.pop();
            }
            prop_assert_eq!(counts(&availability, 150), [0; 150]);
        }
    }
}
