//! Which piece to open next: the wanted pieces that are not open, and the search among them.
//!
//! **Invariant:** nothing here knows blocks or owners. A search looks at words of bitfields, 64
//! pieces at a time, and at the counters of the steps that can have the rarest piece; it ends as
//! soon as no rarer one can exist.

use super::Pieces;
use super::availability::{Availability, SPARSE_BITS, STEP_PIECES, STEP_WORDS, StepWords};
use crate::bitfield::Bitfield;
use crate::rng::Rng;

/// Blind guesses at one of the rarest pieces before they are counted. Early in a download most of
/// a step is equally rare, and one or two do.
const MAX_PROBES: u32 = 4;

/// Up to how many copies the rarest pieces are told apart exactly. Of more, an eighth more or less
/// says nothing about which piece may be lost, and to find it out is a look at every count: a
/// remote that is not a seed makes its own pieces commoner by one than those that it lacks.
const EXACT_COPIES: i32 = 8;

/// The fewest copies of a piece that is chosen: a remote that has it counts.
const MIN_COPIES: i32 = 1;

/// Steps with a piece that a search for a common one looks at: a slow peer need not have the most
/// common of all, just none of the rare ones. 4096 pieces.
const MAX_COMMON_STEPS: usize = 8;

/// By what rule a piece is chosen among those that a remote has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// One of the rarest, at random (Cohen 2003, "rarest first").
    Rarest,
    /// One of the most common of some thousand, at random: for peers that are too slow to be
    /// trusted with a rare piece.
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
        Self { bits, available: Available::Unknown }
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        self.bits.contains(piece)
    }

    /// Makes `piece` fresh (again).
    pub(super) fn insert(&mut self, piece: u32, availability: &mut Availability) {
        self.bits.insert(piece);
        availability.watch(piece);
        self.available = Available::Unknown;
    }

    /// Takes out `piece`, which is opened or no longer wanted.
    pub(super) fn remove(&mut self, piece: u32, availability: &mut Availability) {
        self.bits.remove(piece);
        availability.unwatch(piece);
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
        let all = Candidates { fresh: self.bits.words(), remote: None, within: None, set: None };
        (0..availability.steps())
            .find_map(|at| {
                let count = availability.most(at, &all.step(at)).filter(|count| *count > 0)?;
                all.ties(availability, Step { count, at }).next()
            })
            .map_or(Available::Nothing, Available::Piece)
    }

    /// Chooses one of the fresh pieces that the remote has, and that are in `within` if it is
    /// given.
    ///
    /// O(pieces / 64) at most for the rules that look at no count. The search for the rarest reads
    /// the floors of all steps once or twice and the counts of a few steps; of more if counts have
    /// changed everywhere since the last search, or if the remote has none of the rare pieces.
    pub(super) fn choose(
        &self,
        rule: Rule,
        remote: Pieces<'_>,
        within: Option<&Bitfield>,
        availability: &mut Availability,
        rng: &mut Rng,
    ) -> Option<u32> {
        let candidates = Candidates {
            fresh: self.bits.words(),
            remote: remote.words(),
            within: within.map(Bitfield::words),
            set: remote.count(),
        };
        if candidates.set == Some(0) {
            return None;
        }
        let step = match rule {
            Rule::First => return candidates.pieces(0..candidates.len()).next(),
            Rule::Last => return candidates.last(),
            Rule::Random => return candidates.nth(rng.below(candidates.count())),
            Rule::Rarest => rarest(candidates, availability, rng.below(availability.steps())),
            Rule::Commonest => common(candidates, availability, rng.below(availability.steps())),
        };
        candidates.tie(availability, step?, rng)
    }

    /// Asserts the invariants that are written on the fields. O(pieces).
    pub(super) fn check_invariants(&self, availability: &Availability) {
        let counts = || self.bits.ones().map(|piece| availability.of(piece));
        for piece in self.bits.ones() {
            let (count, step) = (availability.of(piece), (piece / STEP_PIECES) as usize);
            assert!(availability.floor(step) <= count.into(), "piece {piece} below the floor");
        }
        for step in (0..availability.steps()).filter(|step| !availability.is_stale(*step)) {
            let fresh = step_words(self.bits.words(), step);
            let least = availability.least(step, &fresh, false);
            assert!(least.is_none_or(|least| availability.floor(step) == i32::from(least)));
        }
        if self.available == Available::Nothing {
            assert!(counts().all(|count| count == 0), "a fresh piece is available");
        }
    }
}

/// Where a search ended: a step, and the count of those of its pieces to choose from.
#[derive(Clone, Copy)]
struct Step {
    count: u16,
    at: usize,
}

/// Returns a step with the least count of all candidates.
///
/// Looks at the steps whose floor is the least, from `start` round, then at those with the next
/// floor, until a candidate is as rare as what is left could be, see [`EXACT_COPIES`]. Where a
/// floor turns out to be stale it is raised.
fn rarest(
    candidates: Candidates<'_>,
    availability: &mut Availability,
    start: usize,
) -> Option<Step> {
    let is_sparse = candidates.is_sparse();
    let mut best: Option<Step> = None;
    let is_enough = |best: Step, level| i32::from(best.count) <= level + level / EXACT_COPIES;
    let least = (0..availability.steps()).map(|at| availability.floor(at)).min()?;
    let mut level = least.max(MIN_COPIES);
    loop {
        let mut next_level = i32::MAX;
        for at in (start..availability.steps()).chain(0..start) {
            if availability.floor(at).max(MIN_COPIES) == level {
                let least = availability.least(at, &candidates.step(at), is_sparse);
                if let Some(count) = least
                    && best.is_none_or(|best| count < best.count)
                {
                    let found = Step { count, at };
                    best = Some(found);
                    if is_enough(found, level) {
                        return best;
                    }
                }
                if availability.is_stale(at) {
                    let fresh = step_words(candidates.fresh, at);
                    availability.set_floor(at, availability.least(at, &fresh, false));
                }
            }
            let floor = availability.floor(at);
            if floor > level {
                next_level = next_level.min(floor);
            }
        }
        if next_level == i32::MAX || best.is_some_and(|best| is_enough(best, next_level)) {
            return best;
        }
        level = next_level;
    }
}

/// Returns the step with the greatest count of the first few that have a candidate, from `start`
/// round.
fn common(candidates: Candidates<'_>, availability: &Availability, start: usize) -> Option<Step> {
    (start..availability.steps())
        .chain(0..start)
        .filter_map(|at| {
            let count = availability.most(at, &candidates.step(at))?;
            Some(Step { count, at })
        })
        .take(MAX_COMMON_STEPS)
        .max_by_key(|step| step.count)
}

/// The pieces that a search is among: an intersection of bitfields that is never written down.
#[derive(Clone, Copy)]
struct Candidates<'a> {
    fresh: &'a [u64],
    remote: Option<&'a [u64]>,
    within: Option<&'a [u64]>,
    /// The pieces that the remote has; `None` for a seed.
    set: Option<u32>,
}

impl<'a> Candidates<'a> {
    const fn len(self) -> usize {
        self.fresh.len()
    }

    /// Tells whether there are so few that they are looked at one by one.
    fn is_sparse(self) -> bool {
        self.set.is_some_and(|set| set as usize <= self.len() * SPARSE_BITS)
    }

    fn word(self, at: usize) -> u64 {
        let remote = self.remote.map_or(u64::MAX, |words| words[at]);
        let within = self.within.map_or(u64::MAX, |words| words[at]);
        self.fresh[at] & remote & within
    }

    /// Returns the words of a step; zeros beyond the last.
    fn step(self, at: usize) -> StepWords {
        let mut words = step_words(self.fresh, at);
        for others in [self.remote, self.within].into_iter().flatten() {
            for (word, other) in words.iter_mut().zip(&others[at * STEP_WORDS..]) {
                *word &= other;
            }
        }
        words
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

    /// Returns one of the candidates of the step that have its count, all equally likely.
    fn tie(self, availability: &Availability, step: Step, rng: &mut Rng) -> Option<u32> {
        let first = u32::try_from(step.at).ok()? * STEP_PIECES;
        for _ in 0..MAX_PROBES {
            let piece = first + rng.below_u32(STEP_PIECES);
            if self.contains(piece) && availability.of(piece) == step.count {
                return Some(piece);
            }
        }
        let mut ties = [0; STEP_WORDS];
        for (ties, at) in ties.iter_mut().zip(self.words_of(step)) {
            *ties = match self.word(at) {
                0 => 0,
                word => availability.matches(at, word, step.count),
            };
        }
        let mut n = rng.below(ties.iter().sum());
        for (ties, at) in ties.into_iter().zip(self.words_of(step)) {
            if n < ties {
                let is_tie = |piece: &u32| availability.of(*piece) == step.count;
                return ones(at, self.word(at)).filter(is_tie).nth(n);
            }
            n -= ties;
        }
        None
    }

    /// Returns the candidates of the step that have its count, in rising order.
    fn ties(self, availability: &'a Availability, step: Step) -> impl Iterator<Item = u32> + 'a {
        self.pieces(self.words_of(step)).filter(move |piece| availability.of(*piece) == step.count)
    }

    fn words_of(self, step: Step) -> std::ops::Range<usize> {
        let first = step.at * STEP_WORDS;
        first..(first + STEP_WORDS).min(self.len())
    }
}

/// Returns the words of a bitfield that are in a step; zeros beyond the last.
fn step_words(words: &[u64], step: usize) -> StepWords {
    let words = &words[step * STEP_WORDS..];
    words.first_chunk().copied().unwrap_or_else(|| {
        let mut last = [0; STEP_WORDS];
        last[..words.len()].copy_from_slice(words);
        last
    })
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
