//! What is counted of a torrent: how its peers stand, and what it has moved.

use crate::peer::Standing;
use crate::rate::RateEstimator;
use crate::time::Instant;

/// How many peers stand how, so that nobody has to ask ten thousand of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Peers that have every piece.
    pub seeds: usize,
    /// Peers that have something we want.
    pub interesting: usize,
    /// Peers that answer our requests.
    pub unchoked_by: usize,
}

impl Counts {
    /// Counts a peer no more as it stood, but as it stands now.
    pub(super) fn change(&mut self, was: Standing, now: Standing) {
        let count = |sum: &mut usize, was: bool, now: bool| {
            *sum = *sum + usize::from(now) - usize::from(was);
        };
        count(&mut self.seeds, was.is_seed, now.is_seed);
        count(&mut self.interesting, was.is_interesting, now.is_interesting);
        count(&mut self.unchoked_by, was.unchokes_us, now.unchokes_us);
    }
}

/// What a torrent has moved.
#[derive(Debug)]
pub struct Totals {
    /// Payload received, good or not, in bytes.
    pub downloaded: u64,
    /// Payload sent, in bytes.
    pub uploaded: u64,
    /// Payload received that was of no use, in bytes.
    pub wasted: u64,
    /// Pieces that failed their hash.
    pub corrupt_pieces: u64,
    /// Payload received a second.
    pub down: RateEstimator,
    /// Payload sent a second.
    pub up: RateEstimator,
}

impl Totals {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            downloaded: 0,
            uploaded: 0,
            wasted: 0,
            corrupt_pieces: 0,
            down: RateEstimator::new(now),
            up: RateEstimator::new(now),
        }
    }

    /// Records payload that a peer was sent.
    pub fn sent(&mut self, bytes: u64, now: Instant) {
        self.uploaded += bytes;
        self.up.add(bytes, now);
    }
}
