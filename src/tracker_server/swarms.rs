//! All swarms of a tracker: which announces are taken, and what each is answered.
//!
//! Decides which peers are listed, for how long, and which of them an announce hears of. HTTP and
//! UDP share it. **Invariant:** what it holds is bounded by its configuration, in all and for each
//! torrent and address; who keeps to the interval is never put out by who comes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::ServerConfig;
use super::swarm::{Announced, Families, Listing, Swarm};
use crate::id::InfoHash;
use crate::proto::addr::network;
use crate::proto::tracker_http::{AnnounceEvent, MIN_INTERVAL};
use crate::proto::tracker_serve::{AnnounceAnswer, AnnounceRequest, PeerForm, SwarmCounts};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// The most peers that one announce is answered with, whatever it asks for.
pub const MAX_NUM_WANT: usize = 200;
/// The peers that an announce without `numwant` is answered with (BEP 3: "typically defaults to
/// 50").
pub const DEFAULT_NUM_WANT: usize = 50;

/// How soon everything is looked through again for stale peers after that did not make enough room.
/// Bounds what an announce to a full tracker costs.
const SWEEP_GAP: Duration = Duration::from_secs(30);

/// All swarms of a tracker.
#[derive(Debug)]
pub struct Swarms {
    config: ServerConfig,
    torrents: BTreeMap<InfoHash, Swarm>,
    /// Peers in all swarms.
    listed: usize,
    /// How many of them each address has, or each IPv6 network of 64 bits. Invariant: no entry is
    /// zero, and the sum is `listed`.
    by_network: BTreeMap<IpAddr, u32>,
    /// Peers that came to miss nothing.
    finished: u64,
    /// No sweep for room comes sooner.
    next_sweep: Instant,
}

/// Why an announce is not taken. Nobody's fault; the text is for the client's user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// [`ServerConfig::max_torrents`] or [`ServerConfig::max_peers_listed`], and nothing stale
    /// among them.
    #[error("this tracker is full")]
    Full,
    /// [`ServerConfig::allowed`] does not have the torrent.
    #[error("this tracker does not track this torrent")]
    NotAllowed,
}

/// Of whom an announce hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hears {
    /// Of peers of both families (BEP 7).
    Both,
    /// Of so many peers at most, of the family that the announce came from (BEP 15).
    Own {
        /// The most peers.
        at_most: usize,
    },
}

impl Swarms {
    /// Returns a tracker without torrents; the first announce of one adds it.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config,
            torrents: BTreeMap::new(),
            listed: 0,
            by_network: BTreeMap::new(),
            finished: 0,
            next_sweep: Instant::ZERO,
        }
    }

    /// Takes an announce from `from` and answers it with up to `numwant` others, chosen at random
    /// (BEP 3).
    ///
    /// The peer is listed under the address that the announce came from and the port that it names;
    /// its `ip` counts only if it came from the loopback address, or the configuration trusts
    /// everybody. With port 0, or if the torrent or the address has no room, it is answered but not
    /// listed. O(log peers of the torrent) if it is listed, else O(peers of the torrent), of four
    /// bytes each.
    ///
    /// # Errors
    /// [`AnnounceError`]; the tracker is unchanged.
    pub fn announce(
        &mut self,
        request: &AnnounceRequest,
        from: SocketAddr,
        hears: Hears,
        rng: &mut Rng,
        now: Instant,
    ) -> Result<AnnounceAnswer, AnnounceError> {
        if !self.allows(&request.info_hash) {
            return Err(AnnounceError::NotAllowed);
        }
        let from = from.ip().to_canonical();
        let trusted = from.is_loopback() || self.config.trust_ip;
        let ip = request.ip.filter(|_| trusted).unwrap_or(from).to_canonical();
        let peer = Announced {
            addr: (ip, request.port).into(),
            id: request.peer_id,
            heard: now,
            seed: request.left == Some(0),
        };
        let stops = request.event == AnnounceEvent::Stopped;
        let lists = !stops && request.port != 0;
        if !self.torrents.contains_key(&request.info_hash) {
            if !lists {
                return Ok(self.answer(request, SwarmCounts::default(), Vec::new()));
            }
            self.make_room(now)?;
            self.torrents.insert(request.info_hash, Swarm::default());
        }
        self.expire_one(request.info_hash, now);
        let swarm = self.torrents.get(&request.info_hash);
        let finished = peer.seed && swarm.is_some_and(|swarm| swarm.misses_something(peer.addr));
        self.finished += u64::from(finished);
        if stops {
            self.unlist(request.info_hash, peer.addr);
        } else if lists {
            let completed = request.event == AnnounceEvent::Completed;
            self.list(request.info_hash, peer, completed, rng, now);
        }
        let (most, families) = match hears {
            Hears::Both => (MAX_NUM_WANT, Families::Both),
            Hears::Own { at_most } => (MAX_NUM_WANT.min(at_most), Families::Of(from)),
        };
        let want = match request.num_want {
            _ if stops => 0,
            None => DEFAULT_NUM_WANT.min(most),
            Some(want) => usize::try_from(want).unwrap_or(most).min(most),
        };
        let mut peers = Vec::new();
        let Some(swarm) = self.torrents.get(&request.info_hash) else {
            return Ok(self.answer(request, SwarmCounts::default(), peers));
        };
        swarm.pick(&peer, families, want, rng, &mut peers);
        Ok(self.answer(request, swarm.counts(), peers))
    }

    /// Returns how `torrent` stands; `None` if it is not tracked (BEP 48).
    pub fn scrape(&mut self, torrent: InfoHash, now: Instant) -> Option<SwarmCounts> {
        self.expire_one(torrent, now);
        self.torrents.get(&torrent).map(Swarm::counts)
    }

    /// Drops stale peers, and torrents that have no peers left. O(peers listed).
    ///
    /// An announce does so for its own torrent, and for all when there is no room; the owner calls
    /// it now and then to give the memory back sooner.
    pub fn expire(&mut self, now: Instant) {
        let expiry = self.expiry();
        let Self { torrents, listed, by_network, .. } = self;
        torrents.retain(|_, swarm| {
            swarm.expire(expiry, &mut |ip| forget(listed, by_network, ip), now);
            swarm.len() != 0
        });
    }

    /// Returns the number of torrents, those without peers included.
    pub fn torrents(&self) -> usize {
        self.torrents.len()
    }

    /// Returns the number of peers listed in all.
    pub fn peers(&self) -> usize {
        self.listed
    }

    /// Returns the number of seeds listed in all. O(torrents).
    pub fn seeds(&self) -> usize {
        self.torrents.values().map(|swarm| swarm.counts().complete).sum()
    }

    /// Returns how many peers were listed as missing something and came to miss nothing.
    pub const fn finished(&self) -> u64 {
        self.finished
    }

    /// Returns how long a peer may be silent. Clients do not announce more often than every
    /// [`MIN_INTERVAL`], however short an interval they are told.
    pub fn expiry(&self) -> Duration {
        self.config.interval.max(MIN_INTERVAL).saturating_mul(2)
    }

    /// Asserts what must hold between the parts, for tests. O(peers listed).
    pub fn check_invariants(&self) {
        let swarms: usize = self.torrents.values().map(Swarm::len).sum();
        let networks: usize = self.by_network.values().map(|count| crate::id::index(*count)).sum();
        assert_eq!((swarms, networks), (self.listed, self.listed), "peers listed");
        assert!(self.by_network.values().all(|count| *count > 0));
    }

    fn allows(&self, torrent: &InfoHash) -> bool {
        self.config.allowed.as_ref().is_none_or(|allowed| allowed.contains(torrent))
    }

    /// Lists a peer, or what is new of it, if there is room.
    fn list(
        &mut self,
        torrent: InfoHash,
        peer: Announced,
        completed: bool,
        rng: &mut Rng,
        now: Instant,
    ) {
        let overdue = now.as_micros().saturating_sub(micros(self.overdue_after()));
        let Self { config, torrents, listed, by_network, .. } = self;
        let Some(swarm) = torrents.get_mut(&torrent) else { return };
        if swarm.knows(peer.addr) {
            return swarm.refresh(peer, completed);
        }
        let network = network(peer.addr.ip());
        let of_network = by_network.get(&network).map_or(0, |count| crate::id::index(*count));
        if of_network >= config.max_peers_per_addr {
            return;
        }
        let has_room =
            *listed < config.max_peers_listed && swarm.len() < config.max_peers_per_torrent;
        match swarm.list(peer, completed, has_room, Instant::from_micros(overdue), rng) {
            Listing::NoRoom => return,
            Listing::Added => {}
            Listing::Replaced(gone) => forget(listed, by_network, gone),
        }
        *listed += 1;
        *by_network.entry(network).or_default() += 1;
    }

    fn unlist(&mut self, torrent: InfoHash, addr: SocketAddr) {
        let Self { torrents, listed, by_network, .. } = self;
        if torrents.get_mut(&torrent).is_some_and(|swarm| swarm.remove(addr)) {
            forget(listed, by_network, addr.ip());
        }
    }

    fn expire_one(&mut self, torrent: InfoHash, now: Instant) {
        let expiry = self.expiry();
        let Self { torrents, listed, by_network, .. } = self;
        if let Some(swarm) = torrents.get_mut(&torrent) {
            swarm.expire(expiry, &mut |ip| forget(listed, by_network, ip), now);
        }
    }

    fn answer(
        &self,
        request: &AnnounceRequest,
        counts: SwarmCounts,
        peers: Vec<(crate::id::PeerId, SocketAddr)>,
    ) -> AnnounceAnswer {
        AnnounceAnswer {
            interval: self.config.interval,
            min_interval: self.config.min_interval,
            counts,
            peers,
            form: match (request.compact, request.no_peer_id) {
                (true, _) => PeerForm::Compact,
                (false, true) => PeerForm::WithoutIds,
                (false, false) => PeerForm::WithIds,
            },
        }
    }

    /// Makes room for one more torrent with a peer.
    fn make_room(&mut self, now: Instant) -> Result<(), AnnounceError> {
        if self.is_full() && now >= self.next_sweep {
            self.expire(now);
            self.next_sweep = now + SWEEP_GAP;
        }
        if self.is_full() { Err(AnnounceError::Full) } else { Ok(()) }
    }

    fn is_full(&self) -> bool {
        let ServerConfig { max_torrents, max_peers_listed, .. } = self.config;
        self.torrents.len() >= max_torrents || self.listed >= max_peers_listed
    }

    /// Returns after which silence a peer may be put out by another: it has missed an announce, and
    /// half of an interval's grace.
    fn overdue_after(&self) -> Duration {
        self.expiry().mul_f64(0.75)
    }
}

/// Takes in that a peer at `ip` is not listed any more.
fn forget(listed: &mut usize, by_network: &mut BTreeMap<IpAddr, u32>, ip: IpAddr) {
    *listed -= 1;
    if let std::collections::btree_map::Entry::Occupied(mut count) = by_network.entry(network(ip)) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
