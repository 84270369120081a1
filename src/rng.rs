//! The session's one seeded generator.
//!
//! Only breaks ties (which of equally rare pieces, which optimistic peer); secrets come from the
//! driver as [`crate::session::io::Seeds`]. The same seed gives the same run, which is what makes a
//! simulated swarm replayable.

/// A seeded pseudo-random generator; predictable to whoever sees its output, so never used for
/// secrets.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// Returns the generator for `seed`; equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Returns 64 uniformly random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Returns a uniform number in `0..bound`, and 0 for a `bound` of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.usize(..bound) }
    }

    /// Returns a uniform number in `0..bound`, and 0 for a `bound` of 0.
    pub fn below_u32(&mut self, bound: u32) -> u32 {
        if bound == 0 { 0 } else { self.0.u32(..bound) }
    }

    /// Returns a uniform number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Brings `items` into a uniformly random order. O(items).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    /// Returns an independent generator whose sequence follows from this one's state.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }
}
