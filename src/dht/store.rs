//! The peers that others have announced to us, of torrents near our id (BEP 5, "`announce_peer`").
//!
//! Everything is bounded, and what has to go is taken from whoever has the most here: an address
//! that announces thousands of torrents or ports loses its own first. **Invariant:** whoever calls
//! [`Store::add`] has seen that the address is the announcer's own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::id::InfoHash;
use crate::proto::addr::network;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Torrents that peers are stored of (libtorrent stores 2,000).
pub const MAX_STORED_TORRENTS: usize = 1_000;
/// Peers stored of one torrent: several answers full.
pub const MAX_PEERS_PER_TORRENT: usize = 200;
/// Peers stored in all, of some 60 bytes each: a tenth of what the two limits above would allow.
pub const MAX_STORED_PEERS: usize = 20_000;
/// Ports of one address that are stored of one torrent: a few clients behind one router.
const MAX_PORTS_PER_ADDR: usize = 4;
/// How long an announce counts: clients repeat theirs each 15 minutes, and one may get lost.
pub const STORED_FOR: Duration = Duration::from_secs(30 * 60);
/// How long the same samples are given (BEP 51), so that nobody can ask for all by asking often.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Info-hashes in one answer (de facto: libtorrent): with nodes it still passes every path.
pub const MAX_SAMPLES: usize = 20;

/// The peers that have announced.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// No list is empty.
    torrents: BTreeMap<InfoHash, Vec<Stored>>,
    /// How many peers each network has in all lists together.
    by_network: BTreeMap<IpAddr, usize>,
    peers: usize,
    /// Info-hashes that are given as samples until then.
    samples: Vec<[u8; 20]>,
    samples_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    addr: SocketAddr,
    at: Instant,
}

impl Store {
    /// Stores a peer, or that it is still one.
    pub(super) fn add(&mut self, torrent: InfoHash, addr: SocketAddr, now: Instant) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if let Some(stored) = self.torrents.get_mut(&torrent)
            && let Some(at) = stored.iter().position(|stored| stored.addr == addr)
        {
            stored[at].at = now;
            return;
        }
        self.make_room(torrent, addr);
        self.torrents.entry(torrent).or_default().push(Stored { addr, at: now });
        *self.by_network.entry(network(addr.ip())).or_default() += 1;
        self.peers += 1;
        self.check_invariants();
    }

    /// Returns at most `count` peers of a torrent of one family, chosen at random.
    pub(super) fn peers(
        &self,
        torrent: InfoHash,
        is_v4: bool,
        count: usize,
        rng: &mut Rng,
    ) -> Vec<SocketAddr> {
        let stored = self.torrents.get(&torrent).map_or(&[][..], Vec::as_slice);
        let addrs = stored.iter().map(|stored| stored.addr);
        let mut addrs: Vec<_> = addrs.filter(|addr| addr.is_ipv4() == is_v4).collect();
        rng.shuffle(&mut addrs);
        addrs.truncate(count);
        addrs
    }

    /// Returns the info-hashes that are samples now, and for how much longer (BEP 51).
    pub(super) fn samples(&mut self, rng: &mut Rng, now: Instant) -> (&[[u8; 20]], Duration) {
        if now >= self.samples_until {
            let mut hashes: Vec<_> = self.torrents.keys().map(|hash| hash.0).collect();
            rng.shuffle(&mut hashes);
            hashes.truncate(MAX_SAMPLES);
            (self.samples, self.samples_until) = (hashes, now + SAMPLE_INTERVAL);
        }
        (&self.samples, self.samples_until - now)
    }

    /// Forgets who has not announced for [`STORED_FOR`]. O(peers).
    pub(super) fn expire(&mut self, now: Instant) {
        let Self { torrents, by_network, peers, .. } = self;
        torrents.retain(|_, stored| {
            stored.retain(|stored| {
                let stays = stored.at + STORED_FOR > now;
                if !stays {
                    *peers -= 1;
                    uncount(by_network, stored.addr);
                }
                stays
            });
            !stored.is_empty()
        });
        self.check_invariants();
    }

    /// Returns how many torrents and peers are stored.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.torrents.len(), self.peers)
    }

    /// Sees to it that one more peer can be stored.
    fn make_room(&mut self, torrent: InfoHash, addr: SocketAddr) {
        let stored = self.torrents.get(&torrent).map_or(&[][..], Vec::as_slice);
        let is_new = stored.is_empty();
        let own = |stored: &&Stored| network(stored.addr.ip()) == network(addr.ip());
        if stored.iter().filter(own).count() >= MAX_PORTS_PER_ADDR {
            let stalest = stored.iter().filter(own).min_by_key(|stored| stored.at);
            let stalest = stalest.expect("there are some").addr;
            self.remove(torrent, stalest);
        } else if stored.len() >= MAX_PEERS_PER_TORRENT {
            let worth = |stored: &&Stored| (std::cmp::Reverse(self.share(stored.addr)), stored.at);
            let least = stored.iter().min_by_key(worth).expect("it is full").addr;
            self.remove(torrent, least);
        } else if is_new && self.torrents.len() >= MAX_STORED_TORRENTS {
            self.remove_torrent();
        } else if self.peers >= MAX_STORED_PEERS {
            self.remove_peer();
        }
    }

    /// Forgets the torrent that is announced least: by those who announce the most, then by few,
    /// then long ago. O(peers).
    fn remove_torrent(&mut self) {
        let worth = |stored: &Vec<Stored>| {
            let shares = stored.iter().map(|stored| self.share(stored.addr));
            let newest = stored.iter().map(|stored| stored.at).max();
            (std::cmp::Reverse(shares.min()), stored.len(), newest)
        };
        let least = self.torrents.iter().min_by_key(|(_, stored)| worth(stored));
        let Some((torrent, stored)) = least.map(|(torrent, stored)| (*torrent, stored.clone()))
        else {
            return;
        };
        for peer in stored {
            self.remove(torrent, peer.addr);
        }
    }

    /// Forgets the stalest peer of whoever has the most. O(peers).
    fn remove_peer(&mut self) {
        let Some((most, _)) = self.by_network.iter().max_by_key(|(_, count)| **count) else {
            return;
        };
        let all = self.torrents.iter().flat_map(|(torrent, stored)| {
            stored.iter().map(move |stored| (stored.at, *torrent, stored.addr))
        });
        let stalest = all.filter(|(.., addr)| network(addr.ip()) == *most).min();
        if let Some((_, torrent, addr)) = stalest {
            self.remove(torrent, addr);
        }
    }

    fn remove(&mut self, torrent: InfoHash, addr: SocketAddr) {
        let Some(stored) = self.torrents.get_mut(&torrent) else { return };
        let Some(at) = stored.iter().position(|stored| stored.addr == addr) else { return };
        stored.swap_remove(at);
        if stored.is_empty() {
            self.torrents.remove(&torrent);
        }
        self.peers -= 1;
        uncount(&mut self.by_network, addr);
    }

    /// Returns how many peers the network of an address has here.
    fn share(&self, addr: SocketAddr) -> usize {
        self.by_network.get(&network(addr.ip())).copied().unwrap_or(0)
    }

    fn check_invariants(&self) {
        debug_assert!(self.torrents.len() <= MAX_STORED_TORRENTS);
        debug_assert!(self.peers <= MAX_STORED_PEERS && self.by_network.len() <= self.peers);
    }
}

fn uncount(by_network: &mut BTreeMap<IpAddr, usize>, addr: SocketAddr) {
    if let std::collections::btree_map::Entry::Occupied(mut count) =
        by_network.entry(network(addr.ip()))
    {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn at(s: u64) -> Instant {
        Instant::from_secs(s)
    }

    fn torrent(n: u32) -> InfoHash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        InfoHash(hash)
    }

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::from(((n + 0x0b00_0000).to_be_bytes(), 6881))
    }

    fn all(store: &Store, torrent: InfoHash) -> BTreeSet<SocketAddr> {
        let mut rng = Rng::new(1);
        let both = [true, false].map(|is_v4| store.peers(torrent, is_v4, usize::MAX, &mut rng));
        both.concat().into_iter().collect()
    }

    #[test]
    fn peers_are_stored_for_half_an_hour_after_their_last_announce() {
        let mut store = Store::default();
        store.add(torrent(1), peer(1), at(0));
        store.add(torrent(1), peer(2), at(0));
        store.add(torrent(1), peer(1), at(600));
        store.expire(at(0) + STORED_FOR);
        assert_eq!(all(&store, torrent(1)), [peer(1)].into());
        store.expire(at(600) + STORED_FOR);
        assert_eq!((store.len(), store.by_network.len()), ((0, 0), 0));
    }

    #[test]
    fn an_answer_has_peers_of_its_family_only_and_not_always_the_same() {
        let mut store = Store::default();
        let v6: SocketAddr = "[2001:db8::1]:1".parse().expect("one");
        store.add(torrent(1), v6, at(0));
        (0..100).for_each(|n| store.add(torrent(1), peer(n), at(0)));
        let mut rng = Rng::new(1);
        assert_eq!(store.peers(torrent(1), false, 5, &mut rng), [v6]);
        let seen: BTreeSet<_> =
            (0..100).flat_map(|_| store.peers(torrent(1), true, 10, &mut rng)).collect();
        assert_eq!(seen.len(), 100, "everybody's turn comes");
        assert!(store.peers(torrent(2), true, 5, &mut rng).is_empty());
    }

    #[test]
    fn one_address_has_few_ports_of_a_torrent() {
        let mut store = Store::default();
        for port in 1..1_000 {
            store.add(torrent(1), SocketAddr::new(peer(1).ip(), port), at(port.into()));
        }
        let ports: Vec<u16> = all(&store, torrent(1)).iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [996, 997, 998, 999]);
    }

    #[test]
    fn a_full_torrent_loses_those_first_who_have_the_most() {
        let mut store = Store::default();
        store.add(torrent(9), peer(50), at(0));
        (0..200).for_each(|n| store.add(torrent(1), peer(n), at(u64::from(n))));
        store.add(torrent(1), peer(500), at(500));
        let stored = all(&store, torrent(1));
        assert_eq!(stored.len(), MAX_PEERS_PER_TORRENT);
        assert!(stored.contains(&peer(500)) && stored.contains(&peer(0)));
        assert!(!stored.contains(&peer(50)), "it has another torrent");
        store.add(torrent(1), peer(501), at(501));
        assert!(!all(&store, torrent(1)).contains(&peer(0)), "else the stalest");
    }

    #[test]
    fn an_address_that_announces_everything_crowds_out_nobody_but_itself() {
        let mut store = Store::default();
        (0..100).for_each(|n| store.add(torrent(n), peer(n), at(0)));
        (1_000..9_000).for_each(|n| store.add(torrent(n), peer(7_777), at(1)));
        assert_eq!(store.len(), (MAX_STORED_TORRENTS, MAX_STORED_TORRENTS));
        assert!((0..100).all(|n| all(&store, torrent(n)).contains(&peer(n))), "honest ones stay");
    }

    #[test]
    fn the_total_is_bounded_and_the_heaviest_pays() {
        let mut store = Store::default();
        let heavy = SocketAddr::new(peer(1).ip(), 1);
        (0..500).for_each(|n| store.add(torrent(n), heavy, at(0)));
        let mut next = 1_000;
        for n in 0..500 {
            (0..40).for_each(|_| {
                next += 1;
                store.add(torrent(n), peer(next), at(1));
            });
        }
        assert_eq!(store.len().1, MAX_STORED_PEERS);
        assert_eq!(store.share(heavy), 1, "it had more than each of the others");
    }

    #[test]
    fn samples_stay_the_same_for_a_while() {
        let mut store = Store::default();
        (0..500).for_each(|n| store.add(torrent(n), peer(n), at(0)));
        let mut rng = Rng::new(1);
        let (first, interval) = store.samples(&mut rng, at(10));
        let first = first.to_vec();
        assert_eq!((first.len(), interval), (MAX_SAMPLES, SAMPLE_INTERVAL));
        let (again, left) = store.samples(&mut rng, at(20));
        assert_eq!((again, left + (at(20) - at(10))), (&first[..], SAMPLE_INTERVAL));
        assert_ne!(store.samples(&mut rng, at(10) + SAMPLE_INTERVAL).0, first);
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_what_is_stored(
            steps in prop::collection::vec((0u8..9, 0u32..30, 0u32..300, 0u64..100), 1..600),
        ) {
            let (mut store, mut now) = (Store::default(), at(0));
            for (step, hash, host, pause) in steps {
                now += Duration::from_secs(pause);
                match step {
                    0 => store.expire(now),
                    1 => store.remove_torrent(),
                    2 => store.remove_peer(),
                    _ => store.add(torrent(hash), peer(host / 3), now),
                }
                let stored = || store.torrents.values().flatten();
                prop_assert_eq!(stored().count(), store.peers);
                prop_assert_eq!(store.by_network.values().sum::<usize>(), store.peers);
                prop_assert!(store.torrents.values().all(|stored| !stored.is_empty()));
            }
        }
    }
}
