//! The embedded tracker: swarms of peers, and who of them hears of whom (BEP 3, 7, 23, 48).
//!
//! Decides which peers are listed, for how long, and which of them an announce is answered with.
//! **Invariant:** it knows no socket; [`HttpServerConn`] is one connection over a stream that
//! somebody else owns. Nothing here is shared with [`crate::tracker`], the client's side, but the
//! codec. Go on with [`Swarms::announce`].

mod http;
mod swarm;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use self::http::{HttpServerConn, Served};
use self::swarm::{Listed, Swarm};
use crate::id::{InfoHash, PeerId};
use crate::proto::tracker_http::{AnnounceEvent, MIN_INTERVAL};
use crate::proto::tracker_serve::{AnnounceAnswer, AnnounceRequest, PeerForm, SwarmCounts};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// The most torrents that are tracked by default; one without peers takes some 100 bytes.
pub const MAX_TORRENTS: usize = 10_000;
/// The most peers that are listed for one torrent by default: beyond, nobody has a connection left
/// for another.
pub const MAX_PEERS_PER_TORRENT: usize = 2_000;
/// The most peers that are listed in all by default: 64 bytes each, so some 32 MB.
pub const MAX_PEERS_LISTED: usize = 500_000;
/// The most peers that one announce is answered with, whatever it asks for.
pub const MAX_NUM_WANT: usize = 200;
/// The peers that an announce without `numwant` is answered with (BEP 3: "typically defaults to
/// 50").
pub const DEFAULT_NUM_WANT: usize = 50;

/// How soon everything is looked through again for stale peers after that did not make enough room.
/// Bounds what an announce to a full tracker costs.
const SWEEP_GAP: Duration = Duration::from_secs(30);

/// What a tracker asks of its clients, and how much it keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Until a client's next regular announce; whole seconds. A peer that is silent for twice as
    /// long is dropped.
    pub interval: Duration,
    /// How soon a client may ask for more peers; whole seconds.
    pub min_interval: Duration,
    /// The most torrents that are tracked.
    pub max_torrents: usize,
    /// The most peers that are listed for one torrent.
    pub max_peers_per_torrent: usize,
    /// The most peers that are listed in all.
    pub max_peers_listed: usize,
}

impl Default for ServerConfig {
    /// Half an hour, as most public trackers, and a minute for those who look for more peers.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30 * 60),
            min_interval: Duration::from_secs(60),
            max_torrents: MAX_TORRENTS,
            max_peers_per_torrent: MAX_PEERS_PER_TORRENT,
            max_peers_listed: MAX_PEERS_LISTED,
        }
    }
}

/// All swarms of a tracker.
#[derive(Debug)]
pub struct Swarms {
    config: ServerConfig,
    torrents: BTreeMap<InfoHash, Swarm>,
    /// Peers in all swarms.
    listed: usize,
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
}

impl Swarms {
    /// Returns a tracker without torrents; the first announce of one adds it.
    pub fn new(config: ServerConfig) -> Self {
        Self { config, torrents: BTreeMap::new(), listed: 0, next_sweep: Instant::ZERO }
    }

    /// Takes an announce from `from` and answers it with up to `numwant` others, chosen at random
    /// (BEP 3).
    ///
    /// The peer is listed under the address that the announce came from and the port that it names;
    /// its `ip` counts only if it came from the loopback address. With port 0, or if the torrent
    /// has no room, it is answered but not listed. O(peers of the torrent) to list it, O(`numwant`
    /// log `numwant`) to answer.
    ///
    /// # Errors
    /// [`AnnounceError::Full`]; the tracker is unchanged.
    pub fn announce(
        &mut self,
        request: &AnnounceRequest,
        from: SocketAddr,
        rng: &mut Rng,
        now: Instant,
    ) -> Result<AnnounceAnswer, AnnounceError> {
        let from = from.ip().to_canonical();
        let ip = request.ip.filter(|_| from.is_loopback()).unwrap_or(from).to_canonical();
        let peer = Listed {
            addr: (ip, request.port).into(),
            id: request.peer_id,
            heard: now,
            seed: request.left == Some(0),
        };
        let stopped = request.event == AnnounceEvent::Stopped;
        let lists = !stopped && request.port != 0;
        if !self.torrents.contains_key(&request.info_hash) {
            if !lists {
                return Ok(self.answer(request, SwarmCounts::default(), Vec::new()));
            }
            self.make_room(now)?;
        }
        let expiry = self.expiry();
        let room = self.config.max_peers_listed.saturating_sub(self.listed);
        let swarm = self.torrents.entry(request.info_hash).or_default();
        let before = swarm.len();
        swarm.expire(expiry, now);
        if stopped {
            swarm.remove(peer.addr);
        } else if lists {
            let completed = request.event == AnnounceEvent::Completed;
            let max = self.config.max_peers_per_torrent.min(before + room);
            swarm.list(peer, completed, max);
        }
        let want = match request.num_want {
            _ if stopped => 0,
            None => DEFAULT_NUM_WANT,
            Some(want) => usize::try_from(want).unwrap_or(MAX_NUM_WANT).min(MAX_NUM_WANT),
        };
        let (counts, peers) = (swarm.counts(), swarm.pick(&peer, want, rng));
        self.listed = self.listed - before + swarm.len();
        Ok(self.answer(request, counts, peers))
    }

    /// Returns how those of `torrents` stand that are tracked, in the order of their info-hashes,
    /// each once (BEP 48).
    pub fn scrape(&mut self, torrents: &[InfoHash], now: Instant) -> Vec<(InfoHash, SwarmCounts)> {
        let mut torrents = torrents.to_vec();
        torrents.sort_unstable();
        torrents.dedup();
        let expiry = self.expiry();
        let mut files = Vec::new();
        for torrent in torrents {
            if let Some(swarm) = self.torrents.get_mut(&torrent) {
                let before = swarm.len();
                swarm.expire(expiry, now);
                self.listed = self.listed - before + swarm.len();
                files.push((torrent, swarm.counts()));
            }
        }
        files
    }

    /// Drops stale peers, and torrents that have no peers left. O(peers listed).
    ///
    /// An announce does so for its own torrent, and for all when there is no room; an owner that
    /// lives long may call it now and then to give the memory back sooner.
    pub fn expire(&mut self, now: Instant) {
        let expiry = self.expiry();
        self.torrents.retain(|_, swarm| {
            swarm.expire(expiry, now);
            swarm.len() != 0
        });
        self.listed = self.torrents.values().map(Swarm::len).sum();
    }

    /// Returns the number of torrents, those without peers included.
    pub fn torrents(&self) -> usize {
        self.torrents.len()
    }

    /// Returns the number of peers listed in all.
    pub fn peers(&self) -> usize {
        self.listed
    }

    fn answer(
        &self,
        request: &AnnounceRequest,
        counts: SwarmCounts,
        peers: Vec<(PeerId, SocketAddr)>,
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

    /// Returns how long a peer may be silent. Clients do not announce more often than every
    /// [`MIN_INTERVAL`], however short an interval they are told.
    fn expiry(&self) -> Duration {
        self.config.interval.max(MIN_INTERVAL).saturating_mul(2)
    }
}
