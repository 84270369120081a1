//! The embedded tracker: swarms of peers, and who of them hears of whom (BEP 3, 7, 15, 23, 48).
//!
//! HTTP and UDP share its swarms. **Invariant:** it knows no socket; [`HttpServerConn`] is one
//! connection over a stream that somebody else owns, and a datagram is answered where it came from.
//! Nothing here is shared with [`crate::tracker`], the client's side, but the codecs. Go on with
//! [`Swarms::announce`].

mod gate;
mod http;
mod swarm;
mod swarms;
mod udp;

use std::collections::BTreeSet;

use bytes::Bytes;

use self::gate::Gate;
pub use self::http::{HttpServerConn, Sent};
pub use self::swarms::{AnnounceError, DEFAULT_NUM_WANT, Hears, MAX_NUM_WANT, Swarms};
use crate::id::InfoHash;
use crate::time::{Duration, Instant};

/// The most torrents that are tracked by default; one without peers takes some 200 bytes.
pub const MAX_TORRENTS: usize = 10_000;
/// The most peers that are listed for one torrent by default: as many as the largest swarms have.
pub const MAX_PEERS_PER_TORRENT: usize = 100_000;
/// The most peers that are listed in all by default: some 100 bytes each, so 50 MB
/// (`cargo bench --bench announces` says how many).
pub const MAX_PEERS_LISTED: usize = 500_000;
/// The most peers that are listed for one address by default, or for one IPv6 network of 64 bits: a
/// fiftieth of all, and a seed box with a hundred clients of a hundred torrents.
pub const MAX_PEERS_PER_ADDR: usize = 10_000;
/// The requests that one address may make a second by default. Thousands of clients behind one
/// address that announce each half hour need a few.
pub const RATE_PER_ADDR: u32 = 100;
/// The requests that one address may make at once by default: a client that starts with many
/// torrents announces them all.
pub const BURST_PER_ADDR: u32 = 1_000;

/// What a tracker asks of its clients, and how much it keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// The most peers that are listed for one address, or one IPv6 network of 64 bits.
    pub max_peers_per_addr: usize,
    /// Requests a second of one address; 0 for any number. The loopback address has no limit.
    pub rate_per_addr: u32,
    /// Requests of one address at once, after a pause.
    pub burst_per_addr: u32,
    /// Whether the address that an announce names counts, whoever names it. That of an announce
    /// from the loopback address always does.
    pub trust_ip: bool,
    /// The torrents that are tracked; `None` for any.
    pub allowed: Option<BTreeSet<InfoHash>>,
    /// What else is served over HTTP.
    pub files: Vec<ServedFile>,
}

/// A file that is served over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedFile {
    /// The path, with its slash and without escapes.
    pub path: String,
    /// Its media type.
    pub media_type: &'static str,
    /// What is in it.
    pub body: Bytes,
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
            max_peers_per_addr: MAX_PEERS_PER_ADDR,
            rate_per_addr: RATE_PER_ADDR,
            burst_per_addr: BURST_PER_ADDR,
            trust_ip: false,
            allowed: None,
            files: Vec::new(),
        }
    }
}

/// The embedded tracker.
#[derive(Debug)]
pub struct TrackerServer {
    swarms: Swarms,
    gate: Gate,
    files: Vec<ServedFile>,
    counters: ServerCounters,
}

/// What the embedded tracker has done since it started. Every count only grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ServerCounters {
    /// Announces over HTTP.
    pub announces_http: u64,
    /// Announces over UDP with a good connection id.
    pub announces_udp: u64,
    /// Scrapes over either.
    pub scrapes: u64,
    /// Connection ids given out.
    pub connects: u64,
    /// Peers that were listed as missing something and came to miss nothing, whatever event they
    /// told it by.
    pub finished: u64,
    /// Files sent.
    pub files: u64,
    /// Requests that were answered with a refusal.
    pub refused: u64,
    /// Datagrams that got no answer: they were no requests, or their address sends too many.
    pub dropped: u64,
}

/// The embedded tracker at one time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Torrents that it tracks.
    pub torrents: usize,
    /// Peers that it lists.
    pub peers: usize,
    /// Those of them that have everything.
    pub seeds: usize,
    /// What it has done.
    pub counters: ServerCounters,
}

impl TrackerServer {
    /// Returns a tracker without torrents. Connection ids derive from `secret`, which nobody else
    /// may know.
    pub fn new(mut config: ServerConfig, secret: [u8; 32]) -> Self {
        Self {
            gate: Gate::new(secret, config.rate_per_addr, config.burst_per_addr),
            files: std::mem::take(&mut config.files),
            swarms: Swarms::new(config),
            counters: ServerCounters::default(),
        }
    }

    /// Returns how it stands. O(torrents).
    pub fn status(&self) -> ServerStatus {
        let (swarms, mut counters) = (&self.swarms, self.counters);
        counters.finished = swarms.finished();
        ServerStatus {
            torrents: swarms.torrents(),
            peers: swarms.peers(),
            seeds: swarms.seeds(),
            counters,
        }
    }

    /// Serves these files instead of those before.
    pub fn serve_files(&mut self, files: Vec<ServedFile>) {
        self.files = files;
    }

    /// Drops what is stale; returns after which time that is to be done again, if there is anything
    /// left that may become so. O(peers listed).
    pub fn expire(&mut self, now: Instant) -> Option<Duration> {
        self.swarms.expire(now);
        self.sweep_after()
    }

    /// Returns after which time [`TrackerServer::expire`] is due; `None` while nothing is listed.
    pub fn sweep_after(&self) -> Option<Duration> {
        (self.swarms.torrents() > 0).then(|| self.swarms.expiry())
    }
}
