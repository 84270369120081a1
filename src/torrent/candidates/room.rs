//! How many addresses each source may fill, and which of them go for better ones.
//!
//! Whoever names many can make them up: so each source has few of which nobody knows yet whether
//! there is anybody, none fills the list alone but trackers and the user, and whom nobody could
//! reach goes first.

use std::cmp::Reverse;
use std::net::SocketAddr;

use super::{Candidate, Candidates, Source, State};

/// The most addresses remembered for one torrent, and the most that its trackers name (a swarm
/// takes hours to dial through them).
pub const MAX_CANDIDATES: usize = 2_000;
/// The most that a magnet link names: as many as one link has room for, and those of another that
/// is added for the same torrent.
const MAX_LINK: usize = 128;
/// The most addresses that the DHT named (security.md, row 40): trackers must find room for theirs.
const MAX_DHT: usize = MAX_CANDIDATES / 2;
/// The most that have announced themselves on the local network: there are few clients on one, and
/// whoever makes them up there takes nobody's place.
const MAX_LSD: usize = MAX_CANDIDATES / 8;
/// The most contacts of one peer of which nobody knows whether there is anybody (security.md 2.2,
/// row 25), and the most of all peers: trackers must find room for theirs.
const MAX_UNTRIED_PEX: usize = 100;
const MAX_PEX: usize = MAX_CANDIDATES / 2;

/// How many addresses a source may have in the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bound {
    /// Of those with which there was never a connection, by this one source.
    untried: usize,
    /// Of all, by all sources of its kind.
    all: usize,
}

impl Source {
    const fn bound(self) -> Bound {
        let (untried, all) = match self {
            Self::User | Self::Tracker(_) => (MAX_CANDIDATES, MAX_CANDIDATES),
            Self::Link => (MAX_LINK, MAX_LINK),
            Self::Dht => (MAX_DHT, MAX_DHT),
            Self::Pex(_) => (MAX_UNTRIED_PEX, MAX_PEX),
            Self::Lsd => (MAX_LSD, MAX_LSD),
        };
        Bound { untried, all }
    }

    /// Returns how much it is believed: what it names takes the place of what was named by one that
    /// is believed less.
    const fn trust(self) -> u8 {
        match self {
            Self::User => 5,
            Self::Link => 4,
            Self::Tracker(_) => 3,
            Self::Lsd => 2,
            Self::Dht => 1,
            Self::Pex(_) => 0,
        }
    }
}

/// What is lost with an address, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Class {
    /// It is not going to be dialled.
    Gone,
    /// Nobody could be reached there last time.
    Failed,
    /// Nobody knows.
    Untried,
    /// There was a connection.
    Worked,
}

impl Candidate {
    const fn class(&self) -> Class {
        match self.state {
            State::Never | State::Useless | State::Blocked => Class::Gone,
            _ if self.failures > 0 => Class::Failed,
            _ if self.worked => Class::Worked,
            _ => Class::Untried,
        }
    }

    /// Tells whether it waits to be dialled and nobody has ever reached it.
    const fn is_unproven(&self) -> bool {
        !self.worked && matches!(self.state, State::Resting(_) | State::Ready(_))
    }
}

impl Candidates {
    /// Returns how many of `wanted` more addresses of a source are remembered, having forgotten
    /// worse ones for them. O(addresses remembered).
    pub(super) fn make_room(&mut self, wanted: usize, source: Source) -> usize {
        let bound = source.bound();
        let is_kin = |other: Source| other.trust() == source.trust();
        let (mut unproven, mut kin) = (0, 0);
        for known in self.known.values() {
            kin += usize::from(is_kin(known.source));
            unproven += usize::from(known.source == source && known.is_unproven());
        }
        let gone = self.forget_worst((unproven + wanted).saturating_sub(bound.untried), |known| {
            known.source == source && known.is_unproven() && known.class() == Class::Failed
        });
        let wanted = wanted.min(bound.untried.saturating_sub(unproven - gone));
        let kin = kin - gone;
        let gone = self.forget_worst((kin + wanted).saturating_sub(bound.all), |known| {
            is_kin(known.source) && known.class() <= Class::Failed
        });
        let wanted = wanted.min(bound.all.saturating_sub(kin - gone));
        let over = (self.known.len() + wanted).saturating_sub(MAX_CANDIDATES);
        self.forget_worst(over, |known| {
            known.class() <= Class::Failed || known.source.trust() < source.trust()
        });
        wanted.min(MAX_CANDIDATES.saturating_sub(self.known.len()))
    }

    /// Forgets up to `most` addresses that are not in use and `may_go`, the worst first: of a class
    /// those with the most failures, then by who has named them, then by priority (BEP 40). Returns
    /// how many.
    fn forget_worst(&mut self, most: usize, may_go: impl Fn(&Candidate) -> bool) -> usize {
        if most == 0 {
            return 0;
        }
        let us = self.us;
        let worth = |(addr, known): (&SocketAddr, &Candidate)| {
            let may_go = known.state != State::InUse && may_go(known);
            let failures = Reverse(known.failures);
            let by = (known.class(), failures, known.source.trust(), us.priority(*addr));
            may_go.then_some((by, *addr))
        };
        let mut worst: Vec<_> = self.known.iter().filter_map(worth).collect();
        worst.sort_unstable();
        worst.truncate(most);
        for (_, addr) in &worst {
            match self.known.remove(addr).map(|known| known.state) {
                Some(State::Resting(at)) => _ = self.resting.remove(&(at, *addr)),
                Some(State::Ready(rank)) => _ = self.ready.remove(&(rank, *addr)),
                _ => {}
            }
        }
        worst.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::net_policy::Reach;
    use crate::time::Instant;
    use crate::torrent::candidates::Fate;

    const TRACKER: Source = Source::Tracker(Reach::Private);

    fn pex(last: u8) -> Source {
        Source::Pex(IpAddr::from([10, 9, 9, last]))
    }

    /// Returns so many addresses that no other call for another `net` returns.
    fn addrs(net: u8, count: usize) -> Vec<SocketAddr> {
        let addr = |at: usize| {
            let [.., high, low] = at.to_be_bytes();
            SocketAddr::from(([10, net, high, low], 6881))
        };
        (0..count).map(addr).collect()
    }

    fn at(s: u64) -> Instant {
        Instant::from_secs(s)
    }

    /// Returns how many addresses are remembered that a source named.
    fn count(known: &Candidates, source: Source) -> usize {
        known.known.values().filter(|known| known.source == source).count()
    }

    /// Lets every address that may be dialled be dialled, and end so.
    fn end_all(known: &mut Candidates, fate: Fate, now: Instant) {
        let all: Vec<SocketAddr> = std::iter::from_fn(|| known.next(now)).collect();
        for addr in all {
            known.ended(addr, fate, now);
        }
    }

    fn check(known: &Candidates) {
        assert!(known.known.len() <= MAX_CANDIDATES);
        let waiting = known.known.values();
        let waiting = waiting.filter(|k| matches!(k.state, State::Resting(_) | State::Ready(_)));
        assert_eq!(waiting.count(), known.resting());
    }

    #[test]
    fn each_source_fills_what_it_may_and_no_more() {
        for (source, untried) in [
            (Source::User, 2_000),
            (TRACKER, 2_000),
            (Source::Link, 128),
            (Source::Dht, 1_000),
            (Source::Lsd, 250),
            (pex(1), 100),
        ] {
            let mut known = Candidates::default();
            known.add_all(addrs(1, 3_000), source, at(0));
            assert_eq!(count(&known, source), untried, "{source:?}");
            known.add_all(addrs(2, 10), source, at(0));
            assert_eq!(known.resting(), untried, "{source:?} one after the other");
            check(&known);
        }
    }

    #[test]
    fn one_at_a_time_are_no_more_than_all_at_once() {
        let mut known = Candidates::default();
        for addr in addrs(1, 3_000) {
            known.add(addr, pex(1), at(0));
        }
        assert_eq!(count(&known, pex(1)), 100);
    }

    #[test]
    fn all_peers_together_fill_half_of_it() {
        let mut known = Candidates::default();
        for peer in 1..=20 {
            known.add_all(addrs(peer, 500), pex(peer), at(0));
        }
        assert_eq!(known.resting(), MAX_PEX);
        assert_eq!((count(&known, pex(1)), count(&known, pex(11))), (100, 0));
        check(&known);
    }

    #[test]
    fn a_source_gets_room_for_others_by_those_that_worked_and_those_that_failed() {
        let mut known = Candidates::default();
        known.add_all(addrs(1, 100), pex(1), at(0));
        end_all(&mut known, Fate::Worked, at(0));
        known.add_all(addrs(2, 200), pex(1), at(0));
        assert_eq!(known.resting(), 200, "somebody is at the first hundred");
        end_all(&mut known, Fate::Failed, at(0));
        known.add_all(addrs(3, 60), pex(1), at(0));
        assert_eq!(known.resting(), 200);
        let fresh: Vec<SocketAddr> = std::iter::from_fn(|| known.next(at(0))).collect();
        assert_eq!(fresh.len(), 60, "in the place of those that failed");
        check(&known);
    }

    #[test]
    fn what_trackers_name_takes_the_place_of_what_peers_and_the_dht_did() {
        let mut known = Candidates::default();
        known.add_all(addrs(100, 1_000), Source::Dht, at(0));
        for peer in 1..=10 {
            known.add_all(addrs(peer, 100), pex(peer), at(0));
        }
        assert_eq!(known.resting(), MAX_CANDIDATES);
        known.add_all(addrs(101, 50), TRACKER, at(0));
        assert_eq!((count(&known, TRACKER), count(&known, Source::Dht)), (50, 1_000));
        known.add_all(addrs(102, 1_950), TRACKER, at(0));
        assert_eq!(count(&known, TRACKER), MAX_CANDIDATES);
        known.add_all(addrs(103, 10), Source::Dht, at(0));
        assert_eq!(count(&known, Source::Dht), 0, "nobody knows that they are better");
        known.add_all(addrs(104, 3), Source::User, at(0));
        assert_eq!((count(&known, Source::User), known.resting()), (3, MAX_CANDIDATES));
        // Whom nobody reached goes for anybody.
        end_all(&mut known, Fate::Failed, at(0));
        known.add_all(addrs(103, 10), Source::Dht, at(1));
        assert_eq!(count(&known, Source::Dht), 10);
        check(&known);
    }

    #[test]
    fn an_address_that_is_in_use_is_never_forgotten() {
        let mut known = Candidates::default();
        known.add_all(addrs(1, 100), pex(1), at(0));
        let used: Vec<SocketAddr> = std::iter::from_fn(|| known.next(at(0))).collect();
        known.add_all(addrs(2, 2_000), TRACKER, at(0));
        assert_eq!((count(&known, pex(1)), count(&known, TRACKER)), (100, 1_900));
        known.ended(used[0], Fate::Worked, at(0));
        check(&known);
    }
}
