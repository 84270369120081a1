//! A node of the DHT (BEP 5), over IPv4 and IPv6 (BEP 32), with ids that follow from addresses
//! (BEP 42), read-only if it is told so (BEP 43), and answering `sample_infohashes` (BEP 51).
//!
//! A value that is told datagrams, wishes and the time, and answers with datagrams, events and one
//! next deadline. Each address family is a DHT of its own with an id and a `table` of its own;
//! they share who is asked (`calls`), what is looked for (`lookup`), what others have announced
//! (`store`) and the limits on what is answered (`answer`).
//!
//! What a node with nothing to do costs: it looks for its own id each 10 minutes, and refreshes
//! each bucket in which nothing happens each 15, a lookup of 17 to 25 queries each time among 125
//! to 2,000 nodes (`tests/dht_network.rs`); `tests/dht` holds it to [`MAX_IDLE_QUERIES_PER_MIN`].
//! An empty table is filled again with [pauses](MAX_JOIN_PAUSE) that double.
//!
//! **Invariant:** nothing here knows a socket, a name server or a torrent; names are resolved by
//! the owner ([`DhtEvent::Resolve`]), and what it keeps between two runs is bytes ([`Dht::save`]).
//! Go on with [`Dht::handle_datagram`] in `answer.rs` and `network.rs`.

mod answer;
mod bucket;
mod calls;
mod lookup;
mod network;
mod saved;
mod search;
pub mod secure;
mod side;
mod store;
mod table;
mod tokens;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::id::{InfoHash, NodeId};
use crate::proto::compact::NodeInfo;
use crate::rate::TokenBucket;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::outbox::Outbox;

use answer::Limiter;
use calls::Calls;
use lookup::Lookup;
use search::Search;
use side::Side;
use store::Store;
use tokens::Tokens;

pub use answer::MAX_AMPLIFICATION;
pub use bucket::{GOOD_FOR, K, MAX_SPARE};
pub use lookup::{ALPHA, LookupId, LookupStats, MAX_ATTEMPTS, MAX_QUERIES};
pub use saved::{MAX_SAVED_LEN, MAX_SAVED_NODES};
pub use search::{MAX_SEARCHES_AT_ONCE, SEARCH_INTERVAL};
pub use side::{MAX_HINTS, MAX_JOIN_PAUSE};
pub use store::{
    MAX_PEERS_PER_TORRENT, MAX_SAMPLES, MAX_STORED_PEERS, MAX_STORED_TORRENTS, SAMPLE_INTERVAL,
    STORED_FOR,
};
pub use table::TableSize;

/// Bytes a second that are sent in answers (libtorrent, `dht_upload_rate_limit`: 8,000).
pub const ANSWER_BYTES_PER_S: u32 = 8_000;
/// Queries of one address that are answered a second.
pub const ANSWERS_PER_ADDR: u32 = 5;
/// Queries of one address that are answered at once after a pause (libtorrent blocks who sends 50
/// in 10 seconds).
pub const ANSWER_BURST_PER_ADDR: u32 = 50;
/// Queries that are sent a second: some thirty lookups' worth every ten seconds.
pub const QUERIES_PER_S: u32 = 100;
/// Queries a minute, on average, that a node sends which searches for nothing and whose table has
/// settled.
pub const MAX_IDLE_QUERIES_PER_MIN: u32 = 15;
/// Bytes of datagrams that wait within a turn; the owner takes them all at the end of each.
const MAX_WAITING_LEN: usize = 256 << 10;

/// What a node of the DHT is like.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DhtConfig {
    /// Whether there is a socket for IPv4.
    pub v4: bool,
    /// Whether there is a socket for IPv6.
    pub v6: bool,
    /// Whether it answers no queries and says so (BEP 43): behind a NAT that nobody gets through,
    /// or on a metered line.
    pub read_only: bool,
    /// Hosts and ports to begin with, for when nobody else is known.
    pub bootstrap: Vec<(String, u16)>,
    /// What it calls its client (`v`): two letters and a version.
    pub version: [u8; 4],
    /// Bytes a second that it sends in answers, at least 1.
    pub answer_bytes_per_s: u32,
    /// Queries of one address that it answers a second; 0 for any number. The loopback address has
    /// no limit.
    pub answers_per_addr: u32,
    /// Queries that it sends a second, at least 1.
    pub queries_per_s: u32,
}

impl Default for DhtConfig {
    /// Both families, and nobody to begin with.
    fn default() -> Self {
        Self {
            v4: true,
            v6: true,
            read_only: false,
            bootstrap: Vec::new(),
            version: *b"SL\x01\x00",
            answer_bytes_per_s: ANSWER_BYTES_PER_S,
            answers_per_addr: ANSWERS_PER_ADDR,
            queries_per_s: QUERIES_PER_S,
        }
    }
}

/// An address family: a DHT of its own (BEP 32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the family of an address; IPv4 in IPv6 counts as IPv6: see
    /// [`to_canonical`](IpAddr::to_canonical).
    pub const fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Returns its place in [`Family::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// What the owner hears from its node.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DhtEvent {
    /// Peers of a torrent that is searched for; new ones within this lookup. Their addresses are of
    /// the family that was asked, may be dialled as far as can be told from them, and may lie.
    Peers {
        /// Which torrent.
        info_hash: InfoHash,
        /// At least one.
        peers: Vec<SocketAddr>,
    },
    /// One round of a search has ended; the next follows by itself.
    Searched {
        /// Which torrent.
        info_hash: InfoHash,
        /// Where.
        family: Family,
        /// Peers found.
        peers: usize,
        /// Nodes that have stored us; 0 if they were not asked to.
        stored_by: usize,
        /// What the lookup took.
        stats: LookupStats,
    },
    /// A lookup by [`Dht::find_node`] has ended.
    Found {
        /// Which one.
        lookup: LookupId,
        /// The closest nodes that have answered, closest first, at most [`K`].
        nodes: Vec<NodeInfo>,
        /// What it took.
        stats: LookupStats,
    },
    /// The node has come into the DHT: searches begin.
    Joined {
        /// Where.
        family: Family,
        /// Nodes in the table.
        nodes: usize,
    },
    /// Nodes are needed, and this host might know some: [`Dht::add_nodes`] with its addresses, of
    /// all families.
    Resolve {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Most nodes see us at this address, which is not the one before.
    ExternalAddress(IpAddr),
}

/// What a node has done since it was made. Every count only grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct DhtCounters {
    /// Datagrams that came and are no message of the DHT.
    pub malformed: u64,
    /// Queries that came.
    pub queries_in: u64,
    /// Queries that got no answer because of a limit.
    pub queries_dropped: u64,
    /// Answers that came to queries of ours.
    pub replies_in: u64,
    /// Refusals that came to queries of ours.
    pub errors_in: u64,
    /// Answers that came too late, or to nothing that was asked: some of them are forged.
    pub unexpected: u64,
    /// Queries sent.
    pub queries_out: u64,
    /// Answers sent, refusals among them.
    pub answers_out: u64,
    /// Bytes of these answers.
    pub answer_bytes_out: u64,
    /// Queries of ours that were not answered.
    pub timeouts: u64,
    /// Lookups that ended.
    pub lookups: u64,
}

/// How a node stands in one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SideStatus {
    /// Which family.
    pub family: Family,
    /// Our id there.
    pub id: NodeId,
    /// Where the others see us, if enough of them have said so.
    pub external: Option<IpAddr>,
    /// Whether it has come into the DHT.
    pub is_joined: bool,
    /// Its routing table.
    pub table: TableSize,
}

/// How a node stands.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DhtStatus {
    /// By family.
    pub sides: Vec<SideStatus>,
    /// Torrents that are searched for.
    pub searches: usize,
    /// Lookups under way.
    pub lookups: usize,
    /// Torrents of which others have announced peers to us.
    pub stored_torrents: usize,
    /// The peers that they have announced.
    pub stored_peers: usize,
    /// What it has done.
    pub counters: DhtCounters,
}

/// A node of the DHT, as a value.
#[derive(Debug)]
pub struct Dht {
    config: DhtConfig,
    rng: Rng,
    /// By family, V4 first; `None` where there is no socket.
    sides: [Option<Side>; 2],
    calls: Calls,
    lookups: BTreeMap<LookupId, Lookup>,
    next_lookup: u32,
    searches: BTreeMap<InfoHash, Search>,
    store: Store,
    /// When the store is to be looked through; `None` while it is empty.
    expire_at: Option<Instant>,
    tokens: Tokens,
    limiter: Limiter,
    /// Queries that may be sent.
    pace: TokenBucket,
    /// When lookups go on that had to wait for [`Dht::pace`] or for room among the calls.
    paced_until: Option<Instant>,
    outbox: Outbox<SocketAddr>,
    events: VecDeque<DhtEvent>,
    counters: DhtCounters,
}

/// How often the store is looked through.
const EXPIRE_EACH: Duration = Duration::from_secs(60);

impl Dht {
    /// Returns a node that has not begun to come into the DHT: [`Dht::poll_timeout`] is due at
    /// once.
    ///
    /// `saved` is what [`Dht::save`] gave in an earlier run, or nothing; what cannot be read of it
    /// is left out. `secret`, which nobody else may know, makes tokens and transaction ids.
    pub fn new(config: DhtConfig, saved: &[u8], secret: [u8; 32], rng: Rng, now: Instant) -> Self {
        let mut rng = rng;
        let saved = saved::read(saved);
        let mut side = |family, is_on: bool| {
            let (id, nodes) = saved.side(family);
            let id = id.unwrap_or_else(|| secure::id_at(None, &mut rng));
            is_on.then(|| Side::new(family, id, nodes, now))
        };
        let sides = [side(Family::V4, config.v4), side(Family::V6, config.v6)];
        Self {
            sides,
            calls: Calls::new(secret),
            lookups: BTreeMap::new(),
            next_lookup: 0,
            searches: BTreeMap::new(),
            store: Store::default(),
            expire_at: None,
            tokens: Tokens::new(secret),
            limiter: Limiter::new(&config, secret, now),
            pace: TokenBucket::new(config.queries_per_s.max(1), config.queries_per_s.max(1), now),
            paced_until: None,
            outbox: Outbox::new(MAX_WAITING_LEN),
            events: VecDeque::new(),
            counters: DhtCounters::default(),
            config,
            rng,
        }
    }

    /// Looks for the nodes closest to `target`; ends with [`DhtEvent::Found`]. `None` if there is
    /// no socket for that family.
    pub fn find_node(&mut self, target: NodeId, family: Family, now: Instant) -> Option<LookupId> {
        self.side(family)?;
        Some(self.start(family, target, lookup::Aim::FindNode, now))
    }

    /// Adds addresses where nodes of the DHT may be: what [`DhtEvent::Resolve`] asked for, the
    /// `nodes` of a `.torrent` (BEP 5), the `port` message of a peer. They are asked when there is
    /// a use for them; at most [`MAX_HINTS`] wait. Takes effect at the next
    /// [`Dht::handle_timeout`].
    pub fn add_nodes(&mut self, addrs: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        for addr in addrs {
            let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            if lookup::may_name(addr.ip(), addr)
                && let Some(side) = self.side_mut(Family::of(addr))
            {
                side.hint(addr, now);
            }
        }
    }

    /// Takes in that the internet sees us at `ip`, from a source that the owner trusts.
    pub fn set_external(&mut self, ip: IpAddr, now: Instant) {
        let ip = ip.to_canonical();
        let family = Family::of(SocketAddr::new(ip, 0));
        if !crate::proto::url::is_local(ip) {
            self.move_to(family, ip, now);
        }
    }

    /// Returns where the others see us; `None` while too few of them have said so, and nobody
    /// [else](Dht::set_external).
    pub fn external(&self, family: Family) -> Option<IpAddr> {
        self.side(family)?.external
    }

    /// Takes in that `now` has come: what is overdue, due or may go on again.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_calls(now);
        if self.paced_until.is_some_and(|until| now >= until) {
            self.paced_until = None;
            let waiting: Vec<LookupId> = self.lookups.keys().copied().collect();
            for id in waiting {
                self.advance(id, now);
            }
        }
        for family in Family::ALL {
            self.keep_up(family, now);
        }
        if self.expire_at.is_some_and(|at| now >= at) {
            self.store.expire(now);
            self.expire_at = (self.store.len().0 > 0).then(|| now + EXPIRE_EACH);
        }
    }

    /// Returns when [`Dht::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sides = self.sides.iter().flatten().filter_map(Side::next_at).min();
        [self.calls.next_at(), self.paced_until, self.expire_at, sides].into_iter().flatten().min()
    }

    /// Takes a datagram that is to be sent; its bytes are lent until the next call.
    pub fn poll_datagram(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.outbox.poll()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<DhtEvent> {
        self.events.pop_front()
    }

    /// Returns our id in a family; `None` if there is no socket for it.
    pub fn id(&self, family: Family) -> Option<NodeId> {
        self.side(family).map(|side| side.table.own())
    }

    /// Tells whether the node has come into the DHT of a family.
    pub fn is_joined(&self, family: Family) -> bool {
        self.side(family).is_some_and(|side| side.phase == side::Phase::Joined)
    }

    /// Returns how the node stands. O(nodes).
    pub fn status(&self, now: Instant) -> DhtStatus {
        let (stored_torrents, stored_peers) = self.store.len();
        DhtStatus {
            sides: self.sides.iter().flatten().map(|side| side.status(now)).collect(),
            searches: self.searches.len(),
            lookups: self.lookups.len(),
            stored_torrents,
            stored_peers,
            counters: self.counters,
        }
    }

    /// Returns what to give to [`Dht::new`] in the next run: ids and nodes.
    pub fn save(&self, now: Instant) -> Vec<u8> {
        saved::write(self.sides.iter().flatten().map(|side| side.saved(now)))
    }

    fn side(&self, family: Family) -> Option<&Side> {
        self.sides[family.index()].as_ref()
    }

    fn side_mut(&mut self, family: Family) -> Option<&mut Side> {
        self.sides[family.index()].as_mut()
    }
}
