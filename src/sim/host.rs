//! One host of the simulation: a session with its disk, or an actor; and what a driver keeps for
//! it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::actor::Actor;
use super::disk::{DiskOptions, SimDisk};
use super::net::{LinkOptions, Side, StreamId};
use super::source::Source;
use super::{HostId, PEER_PORT, TRACKER_PORT};
use crate::dht::DhtConfig;
use crate::disk::job::Outcome;
use crate::disk::selection::Selection;
use crate::id::{ConnId, TorrentId};
use crate::proto::lsd;
use crate::session::Session;
use crate::session::config::Config;
use crate::session::io::{Event, Listener, Mode, ResolveId, Route, Seeds};
use crate::subnet::Subnet;
use crate::time::Instant;
use crate::tracker_server::ServerConfig;

/// What a host is made from.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HostOptions {
    /// Its session's settings; the listening port is set by the simulation.
    pub config: Config,
    /// Its line.
    pub link: LinkOptions,
    /// Its disk.
    pub disk: DiskOptions,
    /// Whether its address is an IPv6 one.
    pub ipv6: bool,
    /// Makes its session serve as a tracker, on [`super::TRACKER_PORT`] over HTTP and UDP.
    pub tracker: Option<ServerConfig>,
    /// How it takes part in the DHT; `None` if it does not.
    pub dht: Option<DhtConfig>,
    /// The number of the local network that it is attached to, on which it announces its torrents
    /// and hears of others' (BEP 14); `None` if it is on none and does not. Networks reach each
    /// other, but for what is announced.
    pub lan: Option<u8>,
    /// Whether it can be dialled by peers.
    pub listens: bool,
}

/// How a torrent is added to a host.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct AddOptions {
    /// What to do with it.
    pub mode: Mode,
    /// Ask for pieces in order.
    pub sequential: bool,
    /// Which files are wanted.
    pub selection: Selection,
    /// Stop at once if what is missing does not fit on the disk.
    pub check_space: bool,
    /// Stop once its files were looked at.
    pub stopped: bool,
    /// Ask the torrent's trackers.
    pub use_trackers: bool,
    /// Keep its state on the host's disk, and begin with what is there.
    pub resume: bool,
    /// Hosts to dial from the start.
    pub peers: Vec<HostId>,
}

impl Default for AddOptions {
    /// A download that knows nobody but its trackers.
    fn default() -> Self {
        let mode = Mode::Download { overwrite: false };
        let selection = Selection::all();
        Self {
            mode,
            sequential: false,
            selection,
            check_space: true,
            stopped: false,
            use_trackers: true,
            resume: false,
            peers: Vec::new(),
        }
    }
}

impl AddOptions {
    /// Returns a download that dials `peers` and asks no tracker.
    pub fn from_peers(peers: &[HostId]) -> Self {
        Self { use_trackers: false, peers: peers.to_vec(), ..Self::default() }
    }

    /// Returns a seed that dials nobody and asks no tracker.
    pub fn seed() -> Self {
        Self { mode: Mode::Seed, use_trackers: false, ..Self::default() }
    }
}

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub ip: IpAddr,
    pub options: HostOptions,
    /// `None` while it is down, and for an actor.
    pub session: Option<Box<Session>>,
    pub actor: Option<Box<dyn Actor>>,
    pub seeds: Seeds,
    /// How often it was started; what was under way for an earlier life is lost.
    pub life: u32,
    pub disk: SimDisk,
    pub root: PathBuf,
    /// By [`TorrentId`], of this life.
    pub torrents: Vec<(Arc<Source>, AddOptions)>,
    pub log: Vec<(Instant, Event)>,
    pub driver: Driver,
    /// The ports of its session's datagram sockets, by [`crate::session::io::SocketId`].
    pub sockets: Vec<u16>,
    next_port: u16,
}

/// What a driver keeps for a session.
#[derive(Debug, Default)]
pub(super) struct Driver {
    pub conns: BTreeMap<ConnId, (StreamId, Side)>,
    /// What came since the last turn.
    pub inbox: VecDeque<Input>,
    /// Connections that may be read.
    pub ready: BTreeSet<ConnId>,
    /// Connections that may be written again after a short write.
    pub writable: BTreeSet<ConnId>,
    /// When the next turn is due, whatever happens.
    pub timer: Option<Instant>,
    /// Whether something has happened that makes a turn.
    pub woken: bool,
    pub turns: u64,
    /// Turns at the present instant.
    pub turns_now: u32,
    pub last_turn: Instant,
    /// What an actor has given to be sent and the window has not taken.
    pub backlog: BTreeMap<StreamId, VecDeque<u8>>,
}

/// An input of a turn's third step.
#[derive(Debug)]
pub(super) enum Input {
    Accept(StreamId),
    Connected(StreamId),
    Refused(StreamId),
    Disk(Outcome),
    Datagram(Route, Vec<u8>),
    Resolved(ResolveId, Result<Vec<SocketAddr>, ErrorKind>),
    /// The application adds a torrent whose metadata it was told.
    GoOn(TorrentId),
}

/// The first port of those from which a host dials.
const FIRST_EPHEMERAL_PORT: u16 = 49_152;

impl Host {
    pub(super) fn new(id: HostId, options: HostOptions, seeds: Seeds) -> Self {
        let number = u16::try_from(id.0 + 1).expect("fewer than 2^16 hosts");
        let [high, low] = number.to_be_bytes();
        let lan = options.lan.map_or(0, |lan| lan.checked_add(1).expect("fewer than 255 networks"));
        let ip = if options.ipv6 {
            Ipv6Addr::new(0x2001, 0xdb8, lan.into(), 0, 0, 0, 0, number).into()
        } else {
            Ipv4Addr::new(10, lan, high, low).into()
        };
        Self {
            ip,
            disk: SimDisk::new(options.disk),
            options,
            session: None,
            actor: None,
            seeds,
            life: 0,
            root: PathBuf::from(format!("/host-{}", id.0)),
            torrents: Vec::new(),
            log: Vec::new(),
            driver: Driver::default(),
            sockets: Vec::new(),
            next_port: FIRST_EPHEMERAL_PORT,
        }
    }

    /// Returns the address at which peers reach it.
    pub(super) const fn peer_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, PEER_PORT)
    }

    /// Returns the network that it is attached to.
    fn subnet(&self) -> Subnet {
        Subnet::new(self.ip, if self.ip.is_ipv4() { 16 } else { 48 })
    }

    /// Tells whether what it sends to a group comes to `other`: to itself, too.
    pub(super) fn shares_lan(&self, other: &Self) -> bool {
        self.options.lan.is_some() && self.subnet().contains(other.ip)
    }

    /// Returns the address from which it dials next.
    pub(super) fn dial_addr(&mut self) -> SocketAddr {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        SocketAddr::new(self.ip, port)
    }

    /// Begins a new life at `now`, with an empty session.
    pub(super) fn boot(&mut self, now: Instant) {
        let mut config = self.options.config.clone();
        config.listen_port = PEER_PORT;
        let mut session = Session::new(config, self.seeds, now);
        self.sockets.clear();
        let socket = session.add_socket(Listener::Peers, self.peer_addr());
        self.sockets.push(PEER_PORT);
        debug_assert_eq!(usize::from(socket.0) + 1, self.sockets.len(), "named in order");
        if let Some(tracker) = &self.options.tracker {
            session.serve_tracker(tracker.clone());
            let socket = session.add_socket(Listener::Tracker, (self.ip, TRACKER_PORT).into());
            self.sockets.push(TRACKER_PORT);
            debug_assert_eq!(usize::from(socket.0) + 1, self.sockets.len(), "named in order");
        }
        if let Some(dht) = &self.options.dht {
            session.use_dht(dht.clone(), Vec::new());
        }
        if self.options.lan.is_some() {
            let socket = session.add_socket(Listener::Lsd, lsd::group(self.ip.is_ipv4()));
            self.sockets.push(lsd::PORT);
            debug_assert_eq!(usize::from(socket.0) + 1, self.sockets.len(), "named in order");
            session.use_lsd(now);
            session.set_networks(vec![self.subnet()]);
        }
        self.session = Some(Box::new(session));
        self.life += 1;
        self.torrents.clear();
        let turns = self.driver.turns;
        self.driver = Driver { turns, woken: true, ..Driver::default() };
    }

    /// Returns what a torrent of this life is made of, and how it was added.
    pub(super) fn torrent(&self, torrent: TorrentId) -> Option<&(Arc<Source>, AddOptions)> {
        self.torrents.get(torrent.0 as usize)
    }
}
