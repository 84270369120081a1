//! Which piece to open next: the wanted pieces that are not open, and the search among them.
//!
//! **Invariant:** nothing here knows blocks or owners. A search looks at words of bitfields, 64
//! pieces at a time, and at the counters of the pieces that are left; it ends as soon as no rarer
//! piece can exist.

use super::Pieces;
use super::availability::{Availability, STEP_PIECES, STEP_WORDS};
use crate::bitfield::Bitfield;
use crate::rng::Rng;

/// Blind guesses at one of the rarest pieces before they are counted. Early in a download most of
/// a step is equally rare, and one or two do.
const MAX_PROBES: u32 = 4;

/// By what rule a piece is chosen among those that a remote has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// One of the rarest, at random (Cohen 2003, "rarest first").
    Rarest,
    /// One of the most common, at random: for peers that are too slow to be trusted with a rare
    /// piece.
    Commonest,
    /// Any, at random (Cohen 2003, "random first piece": a common piece comes sooner from several
    /// peers, and then there is something to give).
    Random,
    /// The one with the lowest number.
    First,
    /// The one with the highest number.
    Last,
}

/// The wanted pieces that are not open.
#[derive(Debug)]
pub(super) struct Fresh {
    bits: Bitfield,
    /// Invariant: no fresh piece has a lower availability, so that a search may end where it finds
    /// this.
    floor: u16,
    available: Available,
}

/// Whether some remote has some fresh piece; remembered, as peers without work ask for it again and
/// again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Available {
    /// To be searched for.
    Unknown,
    /// This one, unless it was opened or its remotes left since.
    Piece(u32),
    /// None, until a remote joins or has a new piece or a piece becomes fresh.
    Nothing,
}

impl Fresh {
    /// Returns the set that starts with the pieces in `bits`.
    pub(super) const fn new(bits: Bitfield) -> Self {
        Self { bits, floor: 0, available: Available::Unknown }
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        self.bits.contains(piece)
    }

    /// Makes `piece` fresh (again).
    pub(super) fn insert(&mut self, piece: u32, availability: &Availability) {
        self.bits.insert(piece);
        self.floor = self.floor.min(availability.of(piece));
        self.available = Available::Unknown;
    }

    /// Takes out `piece`, which is opened or no longer wanted.
    pub(super) fn remove(&mut self, piece: u32) {
        self.bits.remove(piece);
    }

    /// Notes that one more remote has `piece`.
    pub(super) fn remote_has(&mut self, piece: u32) {
        if self.contains(piece) {
            self.available = Available::Piece(piece);
        }
    }

    /// Notes that a remote joined: every count stays or rises.
    pub(super) fn remote_joined(&mut self) {
        if self.available == Available::Nothing {
            self.available = Available::Unknown;
        }
    }

    /// Notes that a remote left: every count stays or falls by one.
    pub(super) fn remote_left(&mut self) {
        self.floor = self.floor.saturating_sub(1);
    }

    /// Tells whether some remote has some fresh piece. O(1) while nothing changed, else O(pieces).
    pub(super) fn is_available(&self, availability: &Availability) -> bool {
        matches!(self.look_up(availability), Available::Piece(_))
    }

    /// Does as [`Fresh::is_available`] and remembers the answer.
    pub(super) fn check_available(&mut self, availability: &Availability) -> bool {
        self.available = self.look_up(availability);
        matches!(self.available, Available::Piece(_))
    }

    fn look_up(&self, availability: &Availability) -> Available {
        match self.available {
            Available::Nothing => return Available::Nothing,
            Available::Piece(piece) if self.contains(piece) && availability.of(piece) > 0 => {
                return self.available;
            }
            Available::Piece(_) | Available::Unknown => {}
        }
        let all = Candidates { fresh: self.bits.words(), remote: None, within: None };
        let search = Search { flip: u16::MAX, enough: !1, start: 0 };
        let found = search.run(availability, all);
        found
            .and_then(|step| search.ties(availability, all, step).next())
            .filter(|piece| availability.of(*piece) > 0)
            .map_or(Available::Nothing, Available::Piece)
    }

    /// Chooses one of the fresh pieces that the remote has, and that are in `within` if it is
    /// given.
    ///
    /// O(pieces / 64) but for the search by rarity, which looks at the count of every candidate
    /// unless it meets one that is known to be as rare as any.
    pub(super) fn choose(
        &mut self,
        rule: Rule,
        remote: Pieces<'_>,
        within: Option<&Bitfield>,
        availability: &Availability,
        rng: &mut Rng,
    ) -> Option<u32> {
        let candidates = Candidates {
            fresh: self.bits.words(),
            remote: remote.words(),
            within: within.map(Bitfield::words),
        };
        let (flip, enough) = match rule {
            Rule::First => return candidates.pieces(0..candidates.len()).next(),
            Rule::Last => return candidates.last(),
            Rule::Random => return candidates.nth(rng.below(candidates.count())),
            Rule::Rarest => (0, self.floor),
            Rule::Commonest => (u16::MAX, 0),
        };
        let search = Search { flip, enough, start: rng.below(availability.steps()) };
        let step = search.run(availability, candidates)?;
        let chosen = search.tie(availability, candidates, step, rng);
        if candidates.is_all_fresh() && rule == Rule::Rarest {
            self.floor = step.key;
        }
        chosen
    }

    /// Asserts the invariants that are written on the fields. O(pieces).
    pub(super) fn check_invariants(&self, availability: &Availability) {
        let counts = || self.bits.ones().map(|piece| availability.of(piece));
        assert!(counts().all(|count| count >= self.floor), "below {}", self.floor);
        if self.available == Available::Nothing {
            assert!(counts().all(|count| count == 0), "a fresh piece is available");
        }
    }
}

/// The pieces that a search is among: an intersection of bitfields that is never written down.
#[derive(Clone, Copy)]
struct Candidates<'a> {
    fresh: &'a [u64],
    remote: Option<&'a [u64]>,
    within: Option<&'a [u64]>,
}

impl<'a> Candidates<'a> {
    const fn len(self) -> usize {
        self.fresh.len()
    }

    const fn is_all_fresh(self) -> bool {
        self.remote.is_none() && self.within.is_none()
    }

    fn word(self, at: usize) -> u64 {
        let remote = self.remote.map_or(u64::MAX, |words| words[at]);
        let within = self.within.map_or(u64::MAX, |words| words[at]);
        self.fresh[at] & remote & within
    }

    fn contains(self, piece: u32) -> bool {
        let at = (piece / u64::BITS) as usize;
        at < self.len() && self.word(at) << (piece % u64::BITS) >> (u64::BITS - 1) != 0
    }

    fn count(self) -> usize {
        (0..self.len()).map(|at| self.word(at).count_ones() as usize).sum()
    }

    /// Returns the pieces under some of the words, in rising order.
    fn pieces(self, words: std::ops::Range<usize>) -> impl Iterator<Item = u32> + 'a {
        let end = words.end.min(self.len());
        (words.start..end).flat_map(move |at| ones(at, self.word(at)))
    }

    fn nth(self, mut n: usize) -> Option<u32> {
        for at in 0..self.len() {
            let word = self.word(at);
            let here = word.count_ones() as usize;
            if n < here {
                return ones(at, word).nth(n);
            }
            n -= here;
        }
        None
    }

    fn last(self) -> Option<u32> {
        let at = (0..self.len()).rev().find(|at| self.word(*at) != 0)?;
        ones(at, self.word(at)).last()
    }
}

/// Returns the pieces that are set in word `at`, in rising order.
fn ones(at: usize, mut word: u64) -> impl Iterator<Item = u32> {
    let first = u32::try_from(at).expect("a piece number has 32 bits") * u64::BITS;
    std::iter::from_fn(move || {
        let bit = word.leading_zeros();
        word &= !(1_u64 << 63).checked_shr(bit)?;
        Some(first + bit)
    })
}

/// A search for the least `availability ^ flip`, from step `start` round to where it began.
#[derive(Clone, Copy)]
struct Search {
    flip: u16,
    /// A key at which the search ends: none is known to be less.
    enough: u16,
    start: usize,
}

/// Where a search ended: the step with the least key.
#[derive(Clone, Copy)]
struct Step {
    key: u16,
    at: usize,
}

impl Search {
    fn run(self, availability: &Availability, candidates: Candidates<'_>) -> Option<Step> {
        let mut best: Option<Step> = None;
        for at in (self.start..availability.steps()).chain(0..self.start) {
            let least = availability.least(at, self.flip, |word| candidates.word(word));
            let Some(key) = least else { continue };
            if best.is_none_or(|best| key < best.key) {
                best = Some(Step { key, at });
                if key <= self.enough {
                    break;
                }
            }
        }
        best
    }

    /// Returns one of the candidates of the step that have its key, all equally likely.
    fn tie(
        self,
        availability: &Availability,
        candidates: Candidates<'_>,
        step: Step,
        rng: &mut Rng,
    ) -> Option<u32> {
        let first = u32::try_from(step.at * STEP_WORDS).ok()? * u64::BITS;
        for _ in 0..MAX_PROBES {
            let piece = first + rng.below_u32(STEP_PIECES);
            if candidates.contains(piece) && availability.of(piece) ^ self.flip == step.key {
                return Some(piece);
            }
        }
        let count = self.ties(availability, candidates, step).count();
        self.ties(availability, candidates, step).nth(rng.below(count))
    }

    /// Returns the candidates of the step that have its key.
    fn ties<'a>(
        self,
        availability: &'a Availability,
        candidates: Candidates<'a>,
        step: Step,
    ) -> impl Iterator<Item = u32> + 'a {
        let first = step.at * STEP_WORDS;
        candidates
            .pieces(first..first + STEP_WORDS)
            .filter(move |piece| availability.of(*piece) ^ self.flip == step.key)
    }
}
