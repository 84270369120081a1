//! Every limit and default of the engine in one place, each with its unit and its reason.

use std::net::IpAddr;
use std::sync::Arc;

use crate::filter::IpFilter;
use crate::rate::RateLimits;
use crate::time::Duration;

/// The settings of a session. Start from [`Config::default`] and change what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The port that announces name, and on which the driver listens; 0 while nothing listens.
    pub listen_port: u16,
    /// The port that announces name instead, where that one is forwarded to us; 0 for the one that
    /// is listened on.
    pub announce_port: u16,
    /// The address that announces name, where that one is forwarded to us; `None` for the one that
    /// a tracker sees.
    pub announce_ip: Option<IpAddr>,
    /// The most established peers of one torrent.
    pub max_peers: usize,
    /// The most connections of the whole session, trackers and handshakes included, but not the
    /// clients of the embedded tracker; the driver lowers it to fit the process's file limit.
    pub max_conns: usize,
    /// The most clients that are connected to the embedded tracker at one time, besides
    /// [`Config::max_conns`]; the driver lowers it, too. A request takes milliseconds: more of them
    /// are silent ones.
    pub max_tracker_conns: usize,
    /// The most clients that are connected to the embedded tracker from one address; loopback and
    /// private ranges are exempt.
    pub max_tracker_conns_per_addr: usize,
    /// The most dials under way at one time. Libtorrent's half-open limits were of this order; more
    /// of them only wait.
    pub max_half_open: usize,
    /// The most new dials a second (libtorrent `connection_speed` 30; a loopback or LAN swarm wants
    /// more).
    pub dial_rate_per_s: u32,
    /// The most incoming connections that have not finished their handshake (security.md 2.2, row
    /// 21).
    pub max_pending_handshakes: usize,
    /// The most connections from one address; loopback and private ranges are exempt (they hide
    /// many hosts).
    pub max_conns_per_addr: usize,
    /// Peers unchoked at one time per torrent, the optimistic one included (libtorrent: 8).
    pub unchoke_slots: usize,
    /// Whether fewer are unchoked while a limit on uploads leaves too little for each of so many:
    /// see [`crate::choker::slots_for_rate`].
    pub slots_follow_limit: bool,
    /// The most requests that a peer may have queued with us; more are rejected or dropped
    /// (libtorrent: 2000).
    pub max_queued_requests: usize,
    /// The most requests that we have outstanding with one peer, if it does not say what it takes
    /// (libtorrent and qBittorrent assume 250 of a client that does not send `reqq`).
    pub max_outstanding_requests: usize,
    /// How fast payload may flow in all.
    pub limits: RateLimits,
    /// Payload memory in bytes: the frame pool's bound.
    pub pool_bytes: u64,
    /// How long opening a stream may take (libtorrent `peer_connect_timeout`: 15 s).
    pub connect_timeout: Duration,
    /// How long a handshake may take in all, not a byte (libtorrent: 10 s).
    pub handshake_timeout: Duration,
    /// How long a peer may leave a request unanswered before it is snubbed (libtorrent
    /// `request_timeout` 60 s; BEP 3 speaks of "over a minute" for anti-snubbing; a faster peer is
    /// snubbed earlier, see `peer::pipeline`).
    pub request_timeout: Duration,
    /// How long a peer may be silent before it is closed (BEP 3: "generally 2 minutes").
    pub idle_timeout: Duration,
    /// How long we may be silent before a keep-alive is sent. Under [`Config::idle_timeout`] of
    /// everybody.
    pub keep_alive_interval: Duration,
    /// The most announces under way at one time; the rest wait in line, those that are due longest
    /// first. The driver lowers it to fit the process's file limit (libtorrent
    /// `max_concurrent_http_announces`: 50).
    pub max_announces: usize,
    /// How long a whole announce exchange may take, name lookup and redirects apart.
    pub tracker_timeout: Duration,
    /// The longest time that payload which was written waits to be brought to the disk itself and
    /// claimed (security.md 3.4: 5 s). Of torrents whose state is kept.
    pub sync_interval: Duration,
    /// The most payload of a torrent that waits so, in bytes (security.md 3.4: 64 MiB): what a
    /// power cut costs at most beyond what is on its way there.
    pub max_unsynced_bytes: u64,
    /// Whether peers are exchanged with peers, but for private torrents (BEP 11).
    pub pex: bool,
    /// How many peers an announce asks for.
    pub num_want: u32,
    /// The first bytes of our peer ids (BEP 20).
    pub peer_id_prefix: [u8; 8],
    /// The most records of the trace (48 bytes each, taken at once): what happened last, for a look
    /// back. 0 for no trace, which costs nothing.
    pub trace_records: usize,
    /// Addresses of peers that are neither dialled nor let in; `None` for none. Trackers are asked
    /// wherever they are, as by other clients: the user has chosen them.
    pub blocklist: Option<Arc<IpFilter>>,
    /// Announce URLs that the user has named, for whichever torrents have them: they may lead
    /// anywhere, while others that lead to this machine must have the path of a tracker
    /// ([`net_policy`](crate::net_policy::net_policy)).
    pub user_trackers: Vec<String>,
    /// Addresses that all traffic of the driver leaves from and comes to, the first of each family,
    /// trackers and the look-up of names included; empty for any. An unspecified one allows every
    /// address of its family. The driver keeps to the interface that has the address as well, and
    /// does not speak a family that is missing here.
    pub bind: Vec<IpAddr>,
    /// The interface that all traffic of the driver leaves and comes by, as the above; `None` for
    /// any. When it goes, traffic ends.
    pub bind_interface: Option<String>,
    /// The differentiated services code point (RFC 2474) that the driver marks packets to peers
    /// and trackers with, 0 to 63. Lower effort (RFC 8622) lets everything else on a line that is
    /// full go first.
    pub dscp: u8,
}

/// The code point of traffic that gives way to all other (RFC 8622).
pub const DSCP_LOWER_EFFORT: u8 = 1;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen_port: 0,
            announce_port: 0,
            announce_ip: None,
            max_peers: 200,
            max_conns: 4_000,
            max_tracker_conns: 2_000,
            max_tracker_conns_per_addr: 64,
            max_half_open: 100,
            dial_rate_per_s: 100,
            max_pending_handshakes: 512,
            max_conns_per_addr: 3,
            unchoke_slots: 8,
            slots_follow_limit: true,
            max_queued_requests: 2_000,
            max_outstanding_requests: 250,
            limits: RateLimits::default(),
            pool_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(140),
            keep_alive_interval: Duration::from_secs(100),
            max_announces: 64,
            tracker_timeout: Duration::from_secs(30),
            sync_interval: Duration::from_secs(5),
            max_unsynced_bytes: 64 << 20,
            pex: true,
            num_want: 80,
            peer_id_prefix: *b"-SL0100-",
            trace_records: 0,
            blocklist: None,
            user_trackers: Vec::new(),
            bind: Vec::new(),
            bind_interface: None,
            dscp: DSCP_LOWER_EFFORT,
        }
    }
}

impl Config {
    /// Returns the port that announces name, 0 while nothing listens, and the address.
    pub(super) const fn announced(&self) -> (u16, Option<IpAddr>) {
        let port = if self.announce_port == 0 { self.listen_port } else { self.announce_port };
        (port, self.announce_ip)
    }
}
