//! One torrent's peers as the tracker lists them.
//!
//! Decides which of them an announce is answered with: any, with equal chances, but never the one
//! that asks. And who gives way when there is no room: somebody who is overdue, never one who
//! announces as he should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::id::{PeerId, index};
use crate::proto::tracker_serve::SwarmCounts;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// A torrent's peers.
#[derive(Default, Debug)]
pub(super) struct Swarm {
    v4: Table,
    v6: Table,
    /// How many downloads came to their end.
    downloaded: u32,
}

/// Of which family the peers of an answer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Families {
    /// Both (BEP 7).
    Both,
    /// That of this address (BEP 15).
    Of(IpAddr),
}

/// A peer that announces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// Where it says it listens.
    pub(super) addr: SocketAddr,
    /// What it calls itself. Foreign bytes.
    pub(super) id: PeerId,
    /// When it announced.
    pub(super) heard: Instant,
    /// Whether it has everything.
    pub(super) seed: bool,
}

/// What became of a peer that was to be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listing {
    /// It has a place of its own.
    Added,
    /// It has the place of one that was overdue, which is not listed any more.
    Replaced(IpAddr),
    /// There was no room.
    NoRoom,
}

/// How many peers are looked at for one that is overdue. With a tenth of them overdue, a newcomer
/// finds one in more than half of his announces.
const CANDIDATES: usize = 8;
/// A swarm is not looked through for stale peers more often than in this part of the time that they
/// are kept; it bounds what a swarm of many stale ones costs, and how much too long one is listed.
const EXPIRY_PARTS: u32 = 32;

impl Swarm {
    /// Returns the number of peers.
    pub(super) fn len(&self) -> usize {
        self.v4.peers.len() + self.v6.peers.len()
    }

    /// Returns how the swarm stands.
    pub(super) fn counts(&self) -> SwarmCounts {
        let complete = self.v4.seeds + self.v6.seeds;
        SwarmCounts { complete, downloaded: self.downloaded, incomplete: self.len() - complete }
    }

    /// Tells whether a peer is listed at `addr`. O(log peers).
    pub(super) fn knows(&self, addr: SocketAddr) -> bool {
        self.table(addr.ip()).find(key(addr)).is_ok()
    }

    /// Tells whether a peer is listed at `addr` that misses something. O(log peers).
    pub(super) fn misses_something(&self, addr: SocketAddr) -> bool {
        let table = self.table(addr.ip());
        let found = table.find(key(addr));
        found.is_ok_and(|place| !table.peers[index(table.by_key[place])].seed)
    }

    /// Takes in what is new of a peer that is listed. O(log peers).
    pub(super) fn refresh(&mut self, peer: Announced, completed: bool) {
        let table = self.table_mut(peer.addr.ip());
        let Ok(place) = table.find(key(peer.addr)) else { return };
        let at = table.by_key[place];
        let was_seed = table.replace(at, Listed::from(peer)).seed;
        self.count_download(completed, was_seed);
    }

    /// Lists a peer that is not: in a place of its own if `has_room`, else in that of one that was
    /// not heard of since `overdue`. O(peers), of four bytes each.
    pub(super) fn list(
        &mut self,
        peer: Announced,
        completed: bool,
        has_room: bool,
        overdue: Instant,
        rng: &mut Rng,
    ) -> Listing {
        let table = self.table_mut(peer.addr.ip());
        let listing = if has_room {
            Listing::Added
        } else {
            let Some(stalest) = table.stalest_of_some(rng) else { return Listing::NoRoom };
            if table.peers[index(stalest)].heard >= overdue {
                return Listing::NoRoom;
            }
            Listing::Replaced(table.remove_at(stalest).addr().ip())
        };
        table.insert(Listed::from(peer));
        self.count_download(completed, false);
        listing
    }

    /// Forgets the peer at `addr`; tells whether it was listed. O(peers), of four bytes each.
    pub(super) fn remove(&mut self, addr: SocketAddr) -> bool {
        let table = self.table_mut(addr.ip());
        let found = table.find(key(addr)).map(|place| table.by_key[place]);
        found.map(|at| table.remove_at(at)).is_ok()
    }

    /// Forgets those who have been silent for `expiry`, and tells `gone` of each. O(peers) if there
    /// may be one, which is seldom.
    pub(super) fn expire(&mut self, expiry: Duration, gone: &mut impl FnMut(IpAddr), now: Instant) {
        self.v4.expire(expiry, gone, now);
        self.v6.expire(expiry, gone, now);
    }

    /// Appends up to `want` peers to `out`, every choice being equally likely, without the one that
    /// asks: neither its address nor, should it be listed with one of the other family too, its id.
    /// O(`want`²), of four bytes each.
    pub(super) fn pick(
        &self,
        asker: &Announced,
        families: Families,
        want: usize,
        rng: &mut Rng,
        out: &mut Vec<(PeerId, SocketAddr)>,
    ) {
        let tables = match families {
            Families::Both => [Some(&self.v4), Some(&self.v6)],
            Families::Of(ip) => [Some(self.table(ip)), None],
        };
        let tables = || tables.into_iter().flatten();
        let total = tables().map(|table| table.peers.len()).sum();
        let peer_at = |mut at: usize| {
            tables().find_map(|table| {
                let found = table.peers.get(at);
                at = at.wrapping_sub(table.peers.len());
                found
            })
        };
        // The asker's place is left out by counting past it.
        let mut before = 0;
        let place = tables().find_map(|table| {
            let found =
                table.find(key(asker.addr)).map(|place| before + index(table.by_key[place]));
            before += table.peers.len();
            found.ok()
        });
        let skip = place.unwrap_or(total);
        let chosen = sample(total - usize::from(place.is_some()), want, rng);
        let others = chosen
            .into_iter()
            .filter_map(|at| peer_at(at + usize::from(at >= skip)))
            .filter(|peer| peer.id != asker.id);
        out.extend(others.map(|peer| (peer.id, peer.addr())));
    }

    fn count_download(&mut self, completed: bool, was_seed: bool) {
        if completed && !was_seed {
            self.downloaded = self.downloaded.saturating_add(1);
        }
    }

    const fn table(&self, ip: IpAddr) -> &Table {
        if ip.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    const fn table_mut(&mut self, ip: IpAddr) -> &mut Table {
        if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

/// The peers of one family.
#[derive(Default, Debug)]
struct Table {
    /// In no order, so that any of them is found by a number.
    peers: Vec<Listed>,
    /// Their places in `peers`, in the order of their keys. Invariant: each once.
    by_key: Vec<u32>,
    /// How many of them are seeds.
    seeds: usize,
    /// Before this, nobody need be looked at for having been silent too long.
    expire_at: Instant,
}

/// Address and port, in the order in which they are compared: an IPv4 address as its IPv6 mapping.
type Key = [u8; 18];

/// A peer.
#[derive(Clone, Copy, Debug)]
struct Listed {
    key: Key,
    seed: bool,
    id: PeerId,
    heard: Instant,
}

impl From<Announced> for Listed {
    fn from(peer: Announced) -> Self {
        Self { key: key(peer.addr), seed: peer.seed, id: peer.id, heard: peer.heard }
    }
}

impl Listed {
    fn addr(&self) -> SocketAddr {
        let [ip @ .., high, low] = self.key;
        let ip = IpAddr::V6(Ipv6Addr::from(ip)).to_canonical();
        SocketAddr::new(ip, u16::from_be_bytes([high, low]))
    }
}

impl Table {
    fn find(&self, key: Key) -> Result<usize, usize> {
        self.by_key.binary_search_by(|at| self.peers[index(*at)].key.cmp(&key))
    }

    fn replace(&mut self, at: u32, peer: Listed) -> Listed {
        let before = std::mem::replace(&mut self.peers[index(at)], peer);
        self.seeds = self.seeds - usize::from(before.seed) + usize::from(peer.seed);
        before
    }

    fn insert(&mut self, peer: Listed) {
        let Err(place) = self.find(peer.key) else { return };
        if self.peers.is_empty() {
            self.expire_at = Instant::ZERO;
        }
        let at = u32::try_from(self.peers.len()).expect("a tracker lists fewer than 2^32 peers");
        self.by_key.insert(place, at);
        self.seeds += usize::from(peer.seed);
        self.peers.push(peer);
        self.check_invariants();
    }

    fn remove_at(&mut self, at: u32) -> Listed {
        let last = u32::try_from(self.peers.len() - 1).expect("fewer than 2^32");
        let place = self.find(self.peers[index(at)].key).expect("every peer has its place");
        // The last one moves into the gap.
        let moved = self.find(self.peers[index(last)].key).expect("every peer has its place");
        self.by_key[moved] = at;
        self.by_key.remove(place);
        let peer = self.peers.swap_remove(index(at));
        self.seeds -= usize::from(peer.seed);
        self.check_invariants();
        peer
    }

    /// Returns the one of a few, chosen at random, that was silent for longest.
    fn stalest_of_some(&self, rng: &mut Rng) -> Option<u32> {
        let some = sample(self.peers.len(), CANDIDATES, rng);
        let stalest = some.into_iter().min_by_key(|at| self.peers[*at].heard)?;
        u32::try_from(stalest).ok()
    }

    fn expire(&mut self, expiry: Duration, gone: &mut impl FnMut(IpAddr), now: Instant) {
        if now < self.expire_at {
            return;
        }
        let before = self.peers.len();
        self.peers.retain(|peer| {
            let stays = peer.heard + expiry > now;
            if !stays {
                gone(peer.addr().ip());
            }
            stays
        });
        let stalest = self.peers.iter().map(|peer| peer.heard).min().unwrap_or(now);
        self.expire_at = (stalest + expiry).max(now + expiry / EXPIRY_PARTS);
        if self.peers.len() == before {
            return;
        }
        self.peers.shrink_to(self.peers.len() * 2);
        self.seeds = self.peers.iter().filter(|peer| peer.seed).count();
        self.by_key.clear();
        self.by_key.extend((0..).take(self.peers.len()));
        self.by_key.sort_unstable_by_key(|at| self.peers[index(*at)].key);
        self.by_key.shrink_to(self.peers.len() * 2);
        self.check_invariants();
    }

    fn check_invariants(&self) {
        debug_assert!(self.seeds <= self.peers.len());
        debug_assert_eq!(self.by_key.len(), self.peers.len());
    }
}

fn key(addr: SocketAddr) -> Key {
    let ip = match addr.ip() {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4),
        IpAddr::V6(v6) => v6,
    };
    let mut key = [0; 18];
    key[..16].copy_from_slice(&ip.octets());
    key[16..].copy_from_slice(&addr.port().to_be_bytes());
    key
}

/// Returns `count` different numbers below `bound` in no order, or all if there are no more, every
/// set being equally likely. O(`count`²), whatever `bound` (Floyd's algorithm; for the few hundred
/// of an answer, looking along a short row beats any tree).
fn sample(bound: usize, count: usize, rng: &mut Rng) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(bound.min(count));
    for last in bound.saturating_sub(count)..bound {
        let any = rng.below(last + 1);
        chosen.push(if chosen.contains(&any) { last } else { any });
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
            let mut chosen = sample(bound, count, &mut Rng::new(seed));
            prop_assert_eq!(chosen.len(), bound.min(count));
            prop_assert!(chosen.iter().all(|&index| index < bound));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), bound.min(count), "each once");
        }

        #[test]
        fn a_table_finds_whom_it_lists(
            steps in prop::collection::vec((0u8..3, 0u8..40, 0u64..50), 1..200),
        ) {
            let mut table = Table::default();
            let mut model = std::collections::BTreeMap::new();
            let mut now = Instant::ZERO;
            let expiry = Duration::from_secs(100);
            for (step, host, pause) in steps {
                now += Duration::from_secs(pause);
                let addr = SocketAddr::from(([11, 0, 0, host], u16::from(host % 3)));
                let heard = now;
                let peer = Announced { addr, id: PeerId([host; 20]), heard, seed: host % 2 == 0 };
                match (step, table.find(key(addr))) {
                    (0, Ok(place)) => {
                        table.replace(table.by_key[place], Listed::from(peer));
                        model.insert(addr, peer);
                    }
                    (0, Err(_)) => {
                        table.insert(Listed::from(peer));
                        model.insert(addr, peer);
                    }
                    (1, found) => {
                        prop_assert_eq!(found.is_ok(), model.remove(&addr).is_some());
                        if let Ok(place) = found {
                            prop_assert_eq!(table.remove_at(table.by_key[place]).addr(), addr);
                        }
                    }
                    _ => {
                        table.expire_at = Instant::ZERO;
                        let mut gone = Vec::new();
                        table.expire(expiry, &mut |ip| gone.push(ip), now);
                        let before = model.len();
                        model.retain(|_, peer| peer.heard + expiry > now);
                        prop_assert_eq!(gone.len(), before - model.len());
                    }
                }
                let sorted = table.by_key.iter().map(|at| table.peers[index(*at)].addr());
                prop_assert!(sorted.eq(model.keys().copied()));
                prop_assert_eq!(table.seeds, model.values().filter(|peer| peer.seed).count());
            }
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

    #[test]
    fn a_listed_peer_is_small() {
        assert_eq!(size_of::<Listed>(), 48);
    }
}
