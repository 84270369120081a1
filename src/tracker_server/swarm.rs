//! One torrent's peers as the tracker lists them.
//!
//! Decides which of them an announce is answered with: any, with equal chances, but never the one
//! that asks.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::id::PeerId;
use crate::proto::tracker_serve::SwarmCounts;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// A torrent's peers.
#[derive(Default, Debug)]
pub(super) struct Swarm {
    /// Sorted by address, each once.
    peers: Vec<Listed>,
    /// How many of them are seeds.
    seeds: usize,
    /// How many downloads came to their end.
    downloaded: u32,
    /// No peer was heard of before this.
    oldest: Instant,
}

/// A peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    /// Where it says it listens.
    pub(super) addr: SocketAddr,
    /// What it calls itself. Foreign bytes.
    pub(super) id: PeerId,
    /// When it announced last.
    pub(super) heard: Instant,
    /// Whether it had everything then.
    pub(super) seed: bool,
}

impl Swarm {
    /// Returns the number of peers.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Returns how the swarm stands.
    pub(super) fn counts(&self) -> SwarmCounts {
        SwarmCounts {
            complete: self.seeds,
            downloaded: self.downloaded,
            incomplete: self.peers.len() - self.seeds,
        }
    }

    /// Lists `peer`, or what is new of it, if that makes no more than `max` peers. O(peers).
    ///
    /// `completed` counts a download, but not twice for a peer that is a seed already.
    pub(super) fn list(&mut self, peer: Listed, completed: bool, max: usize) {
        let was_seed = match self.find(peer.addr) {
            Ok(index) => std::mem::replace(&mut self.peers[index], peer).seed,
            Err(index) if self.peers.len() < max => {
                if self.peers.is_empty() {
                    self.oldest = peer.heard;
                }
                self.peers.insert(index, peer);
                false
            }
            Err(_) => return,
        };
        self.seeds = self.seeds - usize::from(was_seed) + usize::from(peer.seed);
        if completed && !was_seed {
            self.downloaded = self.downloaded.saturating_add(1);
        }
        self.check_invariants();
    }

    /// Forgets the peer at `addr`, if it is listed. O(peers).
    pub(super) fn remove(&mut self, addr: SocketAddr) {
        if let Ok(index) = self.find(addr) {
            let peer = self.peers.remove(index);
            self.seeds -= usize::from(peer.seed);
        }
        self.check_invariants();
    }

    /// Forgets those who have been silent for `expiry`. O(peers) if there may be one, which is
    /// seldom.
    pub(super) fn expire(&mut self, expiry: Duration, now: Instant) {
        if self.oldest + expiry > now {
            return;
        }
        self.peers.retain(|peer| peer.heard + expiry > now);
        self.peers.shrink_to(self.peers.len() * 2);
        self.seeds = self.peers.iter().filter(|peer| peer.seed).count();
        self.oldest = self.peers.iter().map(|peer| peer.heard).min().unwrap_or(now);
        self.check_invariants();
    }

    /// Returns up to `want` peers, every choice being equally likely, without the one that asks:
    /// neither its address nor, should it be listed with one of the other family too, its id.
    /// O(`want` log `want`).
    pub(super) fn pick(
        &self,
        asker: &Listed,
        want: usize,
        rng: &mut Rng,
    ) -> Vec<(PeerId, SocketAddr)> {
        // The asker's place is left out by counting past it.
        let (others, skip) = match self.find(asker.addr) {
            Ok(index) => (self.peers.len() - 1, index),
            Err(_) => (self.peers.len(), self.peers.len()),
        };
        sample(others, want, rng)
            .into_iter()
            .map(|index| &self.peers[index + usize::from(index >= skip)])
            .filter(|peer| peer.id != asker.id)
            .map(|peer| (peer.id, peer.addr))
            .collect()
    }

    fn find(&self, addr: SocketAddr) -> Result<usize, usize> {
        self.peers.binary_search_by(|peer| peer.addr.cmp(&addr))
    }

    fn check_invariants(&self) {
        debug_assert!(self.seeds <= self.peers.len());
        debug_assert!(self.peers.is_sorted_by(|a, b| a.addr < b.addr));
    }
}

/// Returns `count` different numbers below `bound`, or all if there are no more, every set being
/// equally likely. O(`count` log `count`), whatever `bound` (Floyd's algorithm).
fn sample(bound: usize, count: usize, rng: &mut Rng) -> BTreeSet<usize> {
    let mut chosen = BTreeSet::new();
    for last in bound.saturating_sub(count)..bound {
        let any = rng.below(last + 1);
        if !chosen.insert(any) {
            chosen.insert(last);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sample_has_the_right_size_and_stays_below_its_bound(
            bound in 0usize..300,
            count in 0usize..300,
            seed: u64,
        ) {
            let chosen = sample(bound, count, &mut Rng::new(seed));
            prop_assert_eq!(chosen.len(), bound.min(count));
            prop_assert!(chosen.iter().all(|&index| index < bound));
        }
    }

    #[test]
    fn every_peer_is_picked_about_as_often() {
        let mut rng = Rng::new(5);
        let mut times = [0u32; 10];
        for _ in 0..10_000 {
            for index in sample(times.len(), 3, &mut rng) {
                times[index] += 1;
            }
        }
        // 3000 expected, standard deviation 46.
        assert!(times.iter().all(|times| (2_750..3_250).contains(times)), "{times:?}");
    }
}
