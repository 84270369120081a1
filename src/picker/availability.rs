//! How many connected remotes have each piece.
//!
//! A flat array of counters and one offset for all of them. Both count modulo 2^16 and only their
//! sum has a meaning, so a remote may join as one representation and leave as another: a dense set
//! adds one to the offset and takes it from the pieces that it lacks, which is the same sum as
//! adding one to each piece that it has.
//!
//! Above the counters is a summary: for each step of 512 pieces a floor, below which none of the
//! pieces that somebody looks for is. A search for the rarest reads the floors, and the counters of
//! the few steps that can have it. Changes never search: they lower floors, or leave them too low,
//! and a search that comes by raises them again.

use super::Pieces;

/// Pieces under one word of a bitfield.
const WORD_PIECES: usize = u64::BITS as usize;

/// Words that one step of a search looks at. Long enough to find the least of a step without a
/// branch a piece, short enough that an early end saves much.
pub(super) const STEP_WORDS: usize = 8;

/// Pieces under the words of a step.
pub(super) const STEP_PIECES: u32 = 512;

const _: () = assert!(STEP_PIECES as usize == STEP_WORDS * WORD_PIECES);

/// Which pieces of a step are meant.
pub(super) type StepWords = [u64; STEP_WORDS];

/// Bits a word on average up to which a set is handled bit by bit.
pub(super) const SPARSE_BITS: usize = 2;

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

/// What is known of the counts in one step without looking at them.
#[derive(Clone, Copy, Debug)]
struct Floor {
    /// Invariant: with `base` added (modulo 2^32), not above the count of any fresh piece.
    least: i32,
    /// Whether it may be too low, as counts have risen or pieces gone since it was found.
    is_stale: bool,
}

/// The floor of a step without fresh pieces: above all counts.
const NO_PIECE: i32 = 1 << 16;

/// The number of connected remotes that have each piece; exact for up to 65 535 remotes.
#[derive(Debug)]
pub(super) struct Availability {
    /// One row a bitfield word. Invariant: `row[i] + base` (modulo 2^16) is the availability of the
    /// row's piece `i`; counters beyond the last piece mean nothing.
    rows: Box<[[u16; WORD_PIECES]]>,
    /// One for each step.
    floors: Box<[Floor]>,
    /// Added to every counter and floor: the seeds, and the remotes that joined as what they lack.
    base: i32,
}

impl Availability {
    /// Returns the counts of a torrent of `pieces` pieces without remotes.
    pub(super) fn new(pieces: u32) -> Self {
        let rows = vec![[0; WORD_PIECES]; (pieces as usize).div_ceil(WORD_PIECES)];
        let floors = vec![Floor { least: 0, is_stale: true }; rows.len().div_ceil(STEP_WORDS)];
        Self { rows: rows.into_boxed_slice(), floors: floors.into_boxed_slice(), base: 0 }
    }

    /// Returns how many remotes have `piece`.
    pub(super) fn of(&self, piece: u32) -> u16 {
        let piece = piece as usize;
        self.rows[piece / WORD_PIECES][piece % WORD_PIECES].wrapping_add(self.base16())
    }

    /// Counts one more remote that has `piece`. O(1).
    pub(super) fn has(&mut self, piece: u32) {
        let piece = piece as usize;
        let count = &mut self.rows[piece / WORD_PIECES][piece % WORD_PIECES];
        *count = count.wrapping_add(1);
        self.floors[piece / WORD_PIECES / STEP_WORDS].is_stale = true;
    }

    /// Counts a remote that has `pieces`. O(1) for a seed; O(the smaller of pieces had and lacked,
    /// in words).
    pub(super) fn join(&mut self, pieces: Pieces<'_>) {
        self.add(pieces, 1);
    }

    /// Takes a remote that has `pieces` out of the counts; costs as [`Availability::join`].
    pub(super) fn leave(&mut self, pieces: Pieces<'_>) {
        self.add(pieces, -1);
    }

    fn add(&mut self, pieces: Pieces<'_>, one: i16) {
        let Pieces::Some(bits) = pieces else {
            self.base = self.base.wrapping_add(one.into());
            return;
        };
        if bits.count() <= bits.len() / 2 {
            self.add_words(bits.count(), bits.words(), 0, one);
        } else {
            self.base = self.base.wrapping_add(one.into());
            self.add_words(bits.len() - bits.count(), bits.words(), u64::MAX, -one);
        }
    }

    /// Adds `one` to the counters whose bits differ from those of `flip`: `set` in all. Steps
    /// without any are passed over at once.
    fn add_words(&mut self, set: u32, words: &[u64], flip: u64, one: i16) {
        let is_sparse = set as usize <= self.rows.len() * SPARSE_BITS;
        let steps = self.rows.chunks_mut(STEP_WORDS).zip(&mut self.floors);
        for ((rows, floor), words) in steps.zip(words.chunks(STEP_WORDS)) {
            if words.iter().fold(0, |any, word| any | (word ^ flip)) == 0 {
                continue;
            }
            floor.is_stale = true;
            floor.least = floor.least.wrapping_add(one.min(0).into());
            for (row, word) in rows.iter_mut().zip(words) {
                match (word ^ flip, one) {
                    (0, _) => {}
                    (word, _) if is_sparse => add_bits(row, word, one.cast_unsigned()),
                    // A mask is -1 modulo 2^16.
                    (word, 1) => change_row(row, word, u16::wrapping_sub),
                    (word, _) => change_row(row, word, u16::wrapping_add),
                }
            }
        }
    }

    /// Returns how many steps of [`STEP_WORDS`] words the torrent has.
    pub(super) const fn steps(&self) -> usize {
        self.floors.len()
    }

    /// Returns a number that is not above the count of any fresh piece of the step.
    pub(super) fn floor(&self, step: usize) -> i32 {
        self.floors[step].least.wrapping_add(self.base)
    }

    /// Tells whether the floor of a step may be too low.
    pub(super) fn is_stale(&self, step: usize) -> bool {
        self.floors[step].is_stale
    }

    /// Sets the floor of a step to the least count of its fresh pieces; `None` if it has none.
    pub(super) fn set_floor(&mut self, step: usize, least: Option<u16>) {
        let least = least.map_or(NO_PIECE, i32::from).wrapping_sub(self.base);
        self.floors[step] = Floor { least, is_stale: false };
    }

    /// Notes that `piece` is fresh (again).
    pub(super) fn watch(&mut self, piece: u32) {
        let count = i32::from(self.of(piece));
        let step = step_of(piece);
        if count < self.floor(step) {
            self.floors[step].least = count.wrapping_sub(self.base);
        }
    }

    /// Notes that `piece` is no longer fresh.
    pub(super) fn unwatch(&mut self, piece: u32) {
        self.floors[step_of(piece)].is_stale = true;
    }

    /// Returns the least count among the pieces of one step that are set in `words`; `None` if no
    /// bit is set. `is_sparse` says that few are.
    pub(super) fn least(&self, step: usize, words: &StepWords, is_sparse: bool) -> Option<u16> {
        let base = self.base16();
        self.extreme(step, words, is_sparse, |count| count.wrapping_add(base))
    }

    /// Returns the greatest count among the pieces of one step that are set in `words`; `None` if
    /// no bit is set.
    pub(super) fn most(&self, step: usize, words: &StepWords) -> Option<u16> {
        let base = self.base16();
        self.extreme(step, words, false, |count| !count.wrapping_add(base)).map(|least| !least)
    }

    /// Returns the least key of the counters of one step that are set in `words`.
    #[inline]
    fn extreme(
        &self,
        step: usize,
        words: &StepWords,
        is_sparse: bool,
        key: impl Fn(u16) -> u16,
    ) -> Option<u16> {
        if *words == [0; STEP_WORDS] {
            return None;
        }
        let mut lanes = [u16::MAX; LANES];
        let rows = &self.rows[step * STEP_WORDS..];
        for (row, word) in rows.iter().zip(words).filter(|(_, word)| **word != 0) {
            if is_sparse {
                for bit in bits(*word) {
                    lanes[0] = lanes[0].min(key(row[bit]));
                }
                continue;
            }
            for (counts, byte) in row.as_chunks::<LANES>().0.iter().zip((!word).to_be_bytes()) {
                let (counts, others) = (*counts, MASKS[usize::from(byte)]);
                for lane in 0..LANES {
                    lanes[lane] = lanes[lane].min(key(counts[lane]) | others[lane]);
                }
            }
        }
        lanes.into_iter().min()
    }

    /// Returns how many pieces of row `at` that are set in `word` have this count.
    pub(super) fn matches(&self, at: usize, word: u64, count: u16) -> usize {
        let wanted = count.wrapping_sub(self.base16());
        let mut matches = [0_u16; LANES];
        for (counts, byte) in self.rows[at].as_chunks::<LANES>().0.iter().zip(word.to_be_bytes()) {
            let (counts, masks) = (*counts, MASKS[usize::from(byte)]);
            for lane in 0..LANES {
                let equal = if counts[lane] == wanted { u16::MAX } else { 0 };
                matches[lane] = matches[lane].wrapping_sub(equal & masks[lane]);
            }
        }
        matches.iter().map(|lane| usize::from(*lane)).sum()
    }

    /// What a counter lacks to its count, modulo 2^16.
    const fn base16(&self) -> u16 {
        let [low, high, ..] = self.base.to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// Returns the step that `piece` is in.
const fn step_of(piece: u32) -> usize {
    (piece / STEP_PIECES) as usize
}

/// Changes the counters of a row whose bits are set, by masks that are 0 for all others. Written so
/// that the compiler makes vector code of it: whole groups by value, which cannot overlap.
#[inline]
fn change_row(row: &mut [u16; WORD_PIECES], word: u64, change: impl Fn(u16, u16) -> u16) {
    for (group, byte) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(word.to_be_bytes()) {
        let (mut counts, masks) = (*group, MASKS[usize::from(byte)]);
        for lane in 0..LANES {
            counts[lane] = change(counts[lane], masks[lane]);
        }
        *group = counts;
    }
}

/// Adds `one` to the counters of a row whose bits are set, a bit at a time.
fn add_bits(row: &mut [u16; WORD_PIECES], word: u64, one: u16) {
    for bit in bits(word) {
        row[bit] = row[bit].wrapping_add(one);
    }
}

/// Returns the set bits of a word, the highest (the first piece) first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.leading_zeros();
        word &= !(1_u64 << 63).checked_shr(bit)?;
        Some(bit as usize)
    })
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
                let counts = || last.ones().map(|piece| availability.of(piece));
                let word = |at: usize| last.words().get(at).copied().unwrap_or(0);
                let words = std::array::from_fn(word);
                prop_assert_eq!(availability.least(0, &words, false), counts().min());
                prop_assert_eq!(availability.least(0, &words, true), counts().min());
                prop_assert_eq!(availability.most(0, &words), counts().max());
                for (at, count) in [0, 1, 2].into_iter().zip(counts().take(3)) {
                    let same = (0..150).filter(|piece| {
                        let is_set = last.contains(*piece) && *piece as usize / 64 == at;
                        is_set && availability.of(*piece) == count
                    });
                    prop_assert_eq!(availability.matches(at, word(at), count), same.count());
                }
                availability.leave(Pieces::Some(last));
                held.pop();
            }
            prop_assert_eq!(counts(&availability, 150), [0; 150]);
        }
    }
}
