//! The second driver of the same [`Session`]: whole swarms in virtual time, from one seed.
//!
//! ```text
//!  earliest of { poll_timeout of each host, agenda } ──▶ now ──▶ deliver ──▶ one turn a host
//! ```
//!
//! A [`Sim`] has hosts (sessions, or [`Actor`]s that speak raw bytes), streams (`net`) and
//! datagrams between them, and a disk each (`disk`). It drives sessions in exactly the order of
//! [`crate::session::io`], in random batches, with reads and writes cut anywhere. After every turn
//! what sessions claim is compared with what is so (`check`). Faults are options or calls.
//!
//! **Invariant:** no thread, socket, file or clock is touched; the same seed and the same calls
//! give the same run, which [`Sim::trace_hash`] tells.

mod actor;
mod agenda;
mod check;
mod datagrams;
mod disk;
mod faults;
mod files;
mod host;
mod net;
mod source;
mod state;
mod turn;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::disk::selection::Selection;
use crate::id::TorrentId;
use crate::rng::Rng;
use crate::session::io::{Event, Phase, Resume, Seeds};
use crate::session::status::{PeerStatus, TorrentStatus};
use crate::session::{NewMagnet, NewTorrent, Session};
use crate::time::{Duration, Instant};

pub use actor::{Actor, ActorIo};
pub use disk::{DiskOptions, SimDisk};
pub use host::{AddOptions, HostOptions};
pub use net::{LinkOptions, StreamId};
pub use source::{Source, SourceFile};

use agenda::{Agenda, Happening};
use check::Trace;
use host::{Host, Input};
use net::{End, Net, Side};

/// The port on which every host that listens takes peers.
pub const PEER_PORT: u16 = 6881;
/// The port on which hosts with a tracker serve it.
pub const TRACKER_PORT: u16 = 6969;

/// The most turns that a host may have at one instant: beyond it, it is a busy loop.
const MAX_TURNS_AT_ONCE: u32 = 10_000;

/// A host of a simulation, by its number: 0 is the first that was added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub usize);

/// What a simulation is made from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SimOptions {
    /// Decides everything that is random.
    pub seed: u64,
    /// After how many turns of a host its session's invariants are checked; 1 is after each.
    pub check_every: u64,
    /// The mean time between two resets of some stream; `None` for none.
    pub reset_every: Option<Duration>,
    /// The mean time between two pauses of some stream; `None` for none.
    pub stall_every: Option<Duration>,
    /// How long such a pause is.
    pub stall_for: Duration,
}

impl SimOptions {
    /// Returns options without faults.
    pub const fn new(seed: u64) -> Self {
        let stall_for = Duration::from_secs(5);
        Self { seed, check_every: 1, reset_every: None, stall_every: None, stall_for }
    }
}

/// A simulated world.
#[derive(Debug)]
pub struct Sim {
    options: SimOptions,
    rng: Rng,
    agenda: Agenda,
    net: Net,
    hosts: Vec<Host>,
    by_ip: BTreeMap<IpAddr, HostId>,
    /// What name lookups answer.
    names: BTreeMap<String, IpAddr>,
    trace: Trace,
}

impl Sim {
    /// Returns a world without hosts.
    pub fn new(options: SimOptions) -> Self {
        let mut sim = Self {
            options,
            rng: Rng::new(options.seed),
            agenda: Agenda::default(),
            net: Net::default(),
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            names: BTreeMap::new(),
            trace: Trace::default(),
        };
        sim.plan_faults();
        sim
    }

    /// Adds a host that runs a session, without torrents.
    pub fn add_host(&mut self, options: HostOptions) -> HostId {
        let id = self.add(options);
        self.hosts[id.0].boot(self.agenda.now());
        id
    }

    /// Adds a host that is `actor`.
    pub fn add_actor(&mut self, actor: Box<dyn Actor>, link: LinkOptions) -> HostId {
        let id = self.add(HostOptions { link, listens: true, ..HostOptions::default() });
        self.hosts[id.0].actor = Some(actor);
        self.with_actor(id, |actor, io| actor.started(io));
        id
    }

    fn add(&mut self, options: HostOptions) -> HostId {
        let id = HostId(self.hosts.len());
        let mut secret = [0; 32];
        self.rng.fill(&mut secret);
        let seeds = Seeds { rng: self.rng.bits(), secret };
        self.net.add_line(options.link);
        let host = Host::new(id, options, seeds);
        self.by_ip.insert(host.ip, id);
        self.hosts.push(host);
        id
    }

    /// Makes a host name that lookups answer with `host`'s address. Any other name is unknown.
    pub fn name(&mut self, name: &str, host: HostId) {
        self.names.insert(name.to_owned(), self.hosts[host.0].ip);
    }

    /// Adds a torrent to a host. Panics if it has it already or is down: a caller's bug.
    pub fn add_torrent(
        &mut self,
        host: HostId,
        source: &Arc<Source>,
        options: AddOptions,
    ) -> TorrentId {
        let new = self.new_torrent(host, source, &options);
        let (at, now) = (&mut self.hosts[host.0], self.agenda.now());
        let session = at.session.as_mut().expect("the host is up");
        let id = session.add_torrent(new, now).expect("the host does not have it");
        at.torrents.push((Arc::clone(source), options));
        at.driver.woken = true;
        id
    }

    /// Adds a torrent to a host by its info-hash alone; the host goes on with it as soon as its
    /// metadata is there. Panics as [`Sim::add_torrent`].
    pub fn add_magnet(
        &mut self,
        host: HostId,
        source: &Arc<Source>,
        options: AddOptions,
    ) -> TorrentId {
        let new = self.new_torrent(host, source, &options);
        let magnet = NewMagnet {
            info_hash: source.metainfo.info_hash,
            trackers: if new.use_trackers { source.metainfo.trackers.clone() } else { Vec::new() },
            link_peers: Vec::new(),
            peers: new.peers,
        };
        let (at, now) = (&mut self.hosts[host.0], self.agenda.now());
        let session = at.session.as_mut().expect("the host is up");
        let id = session.add_magnet(magnet, now).expect("the host does not have it");
        at.torrents.push((Arc::clone(source), options));
        at.driver.woken = true;
        id
    }

    /// Returns what a host adds for a torrent.
    fn new_torrent(&self, host: HostId, source: &Source, options: &AddOptions) -> NewTorrent {
        let peers = options.peers.iter().map(|peer| self.hosts[peer.0].peer_addr());
        let resume = options.resume.then(|| {
            let name = format!("state/{}.resume", source.metainfo.info_hash);
            let now_s = self.agenda.now().as_micros() / 1_000_000;
            Resume { file: self.hosts[host.0].root.join(name), check: false, now_s }
        });
        NewTorrent {
            sequential: options.sequential,
            check_space: options.check_space,
            stopped: options.stopped,
            selection: options.selection.clone(),
            use_trackers: options.use_trackers,
            resume,
            peers: peers.map(|addr| (addr.ip().to_string(), addr.port())).collect(),
            ..NewTorrent::new(
                source.metainfo.clone(),
                self.hosts[host.0].root.clone(),
                options.mode,
            )
        }
    }

    /// Wants other files of a host's torrent from now on. Panics if the host is down or does not
    /// have it: a caller's bug.
    pub fn set_selection(&mut self, host: HostId, torrent: TorrentId, selection: Selection) {
        let (_, options) = &mut self.hosts[host.0].torrents[torrent.0 as usize];
        options.selection = selection.clone();
        self.command(host, |session, now| session.set_selection(torrent, selection, now));
    }

    /// Puts all files of a torrent on a host's disk.
    pub fn put_files(&mut self, host: HostId, source: &Source) {
        let Host { disk, root, .. } = &mut self.hosts[host.0];
        source.files().for_each(|(path, bytes)| disk.put(root.join(path), bytes.to_vec()));
    }

    /// Adds a host that has all of `source` and seeds it to whoever comes.
    pub fn add_seed(&mut self, options: HostOptions, source: &Arc<Source>) -> HostId {
        let host = self.add_host(HostOptions { listens: true, ..options });
        self.put_files(host, source);
        self.add_torrent(host, source, AddOptions::seed());
        host
    }

    /// Returns the virtual time.
    pub fn now(&self) -> Instant {
        self.agenda.now()
    }

    /// Returns a host's address.
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].ip
    }

    /// Returns a host's disk.
    pub fn disk(&self, host: HostId) -> &SimDisk {
        &self.hosts[host.0].disk
    }

    /// Returns a host's disk, to be meddled with.
    pub fn disk_mut(&mut self, host: HostId) -> &mut SimDisk {
        &mut self.hosts[host.0].disk
    }

    /// Returns where a host's torrents are on its disk.
    pub fn root(&self, host: HostId) -> &std::path::Path {
        &self.hosts[host.0].root
    }

    /// Returns what a host's next life begins with; its disk and its line have their own.
    pub fn options_mut(&mut self, host: HostId) -> &mut HostOptions {
        &mut self.hosts[host.0].options
    }

    /// Returns the options of a host's line, to be changed from now on.
    pub fn link_mut(&mut self, host: HostId) -> &mut LinkOptions {
        self.net.link_mut(host)
    }

    /// Returns a host's session; `None` while it is down, and for actors.
    pub fn session(&self, host: HostId) -> Option<&Session> {
        self.hosts[host.0].session.as_deref()
    }

    /// Does something to a host's session from outside, as an application does; a turn follows.
    /// Panics if the host is down: a caller's bug.
    pub fn command<T>(
        &mut self,
        host: HostId,
        command: impl FnOnce(&mut Session, Instant) -> T,
    ) -> T {
        let (at, now) = (&mut self.hosts[host.0], self.agenda.now());
        at.driver.woken = true;
        command(at.session.as_mut().expect("the host is up"), now)
    }

    /// Returns how a host's torrent stands.
    pub fn torrent(&self, host: HostId, torrent: TorrentId) -> Option<TorrentStatus> {
        self.session(host)?.torrent(torrent, self.now())
    }

    /// Returns the peers of a host's torrent.
    pub fn peers(&self, host: HostId, torrent: TorrentId) -> Vec<PeerStatus> {
        self.session(host).map_or_else(Vec::new, |session| session.peers(torrent, self.now()))
    }

    /// Returns everything that a host's sessions have told, of all of its lives.
    pub fn events(&self, host: HostId) -> impl Iterator<Item = &Event> {
        self.hosts[host.0].log.iter().map(|(_, event)| event)
    }

    /// Returns how many turns a host has had.
    pub fn turns(&self, host: HostId) -> u64 {
        self.hosts[host.0].driver.turns
    }

    /// Tells whether a host is up and every piece of every torrent of it is verified; if some files
    /// of a torrent are not wanted, whether nothing is missing of those that are.
    pub fn is_complete(&self, host: HostId) -> bool {
        let at = &self.hosts[host.0];
        let complete = |(torrent, (_, options)): (u32, &(_, AddOptions))| {
            let is_done = |t: TorrentStatus| {
                let has_some = !options.selection.wants_all() && t.phase == Phase::PartialSeeding;
                has_some || (t.pieces > 0 && t.pieces_have == t.pieces)
            };
            self.torrent(host, TorrentId(torrent)).is_some_and(is_done)
        };
        at.session.is_some() && (0..).zip(&at.torrents).all(complete)
    }

    /// Returns the fingerprint of everything that has happened.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Lets the world go on for `span` of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now() + span;
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.agenda.advance(until);
    }

    /// Lets the world go on until `done`. Panics with the state of everything if that takes more
    /// than `limit`: the swarm is stuck.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let until = self.now() + limit;
        while !done(self) {
            let stuck = self.next_at().is_none_or(|at| at > until);
            assert!(!stuck, "not done after {limit:?}\n{}", self.dump());
            self.step();
        }
    }

    /// Lets the world go on until each of `hosts` is complete. Panics as [`Sim::run_until`].
    pub fn run_until_complete(&mut self, hosts: &[HostId], limit: Duration) {
        self.run_until(limit, |sim| hosts.iter().all(|host| sim.is_complete(*host)));
    }

    /// Returns when something happens next.
    fn next_at(&self) -> Option<Instant> {
        let now = self.now();
        let due = |host: &Host| {
            if host.driver.woken { Some(now) } else { host.driver.timer.map(|at| at.max(now)) }
        };
        let hosts = self.hosts.iter().filter(|host| host.session.is_some()).filter_map(due);
        hosts.chain(self.agenda.next_at()).min()
    }

    /// Goes to the next time at which something happens, and lets it happen.
    fn step(&mut self) {
        let Some(now) = self.next_at() else { return };
        self.agenda.advance(now);
        while let Some(happening) = self.agenda.pop() {
            self.happen(happening);
        }
        for id in (0..self.hosts.len()).map(HostId) {
            let driver = &self.hosts[id.0].driver;
            if driver.woken || driver.timer.is_some_and(|at| at <= now) {
                self.turn(id);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Accept(stream) if self.net.is_alive(stream) => self.on_dialled(stream),
            Happening::Connected(stream) if self.net.is_alive(stream) => {
                self.tell_dialler(stream, Input::Connected(stream));
            }
            Happening::Refused(stream) if self.net.is_alive(stream) => {
                self.tell_dialler(stream, Input::Refused(stream));
            }
            Happening::Arrived(stream, side) => self.on_arrived(stream, side),
            Happening::Taken(stream, side, n) if self.net.is_alive(stream) => {
                if self.net.taken(stream, side, n) {
                    self.on_writable(stream, side);
                }
            }
            Happening::Disk { host, life, job, took } => {
                self.on_disk_done(host, life, job, took);
            }
            Happening::Resolved { host, life, id, addrs } if self.hosts[host.0].life == life => {
                self.tell(host, Input::Resolved(id, addrs));
            }
            Happening::Datagram(host, flying) => self.on_datagram(host, flying),
            Happening::ActorWoken(host) => self.with_actor(host, |actor, io| actor.woken(io)),
            Happening::RandomReset => self.reset_some_stream(),
            Happening::RandomStall => self.stall_some_stream(),
            // Lost with a dead host.
            Happening::Accept(_)
            | Happening::Connected(_)
            | Happening::Refused(_)
            | Happening::Taken(..)
            | Happening::Resolved { .. } => {}
        }
    }

    fn tell(&mut self, host: HostId, input: Input) {
        let driver = &mut self.hosts[host.0].driver;
        driver.inbox.push_back(input);
        driver.woken = true;
    }

    /// Opens a stream from a host to an address: whoever is there hears of it after a latency, and
    /// the dialler after two.
    fn dial(&mut self, from: HostId, conn: Option<crate::id::ConnId>, to: SocketAddr) -> StreamId {
        let local = self.hosts[from.0].dial_addr();
        let target = self.by_ip.get(&to.ip().to_canonical()).copied();
        let here = End { host: from, addr: local, conn, open: true };
        // Where nobody is, packets vanish: the dialler's patience decides.
        let there = End { host: target.unwrap_or(from), addr: to, conn: None, open: true };
        let stream = self.net.dial(here, there);
        let Some(target) = target else { return stream };
        let out = self.net.latency(from, target);
        let back = self.net.latency(target, from);
        if self.listens(target, to.port()) {
            self.agenda.enter_in(out, Happening::Accept(stream));
            self.agenda.enter_in(out + back, Happening::Connected(stream));
        } else {
            self.agenda.enter_in(out + back, Happening::Refused(stream));
        }
        stream
    }

    fn listens(&self, host: HostId, port: u16) -> bool {
        let at = &self.hosts[host.0];
        let up = at.session.is_some() || at.actor.is_some();
        let peers = port == PEER_PORT && at.options.listens;
        up && (peers || port == TRACKER_PORT && at.options.tracker.is_some())
    }

    fn on_dialled(&mut self, stream: StreamId) {
        let Some(there) = self.net.end(stream, Side::Acceptor).copied() else { return };
        let dialler = self.net.end(stream, Side::Dialler).filter(|end| end.open);
        let Some(from) = dialler.map(|end| end.addr) else { return };
        let at = &self.hosts[there.host.0];
        if at.actor.is_some() {
            self.with_actor(there.host, |actor, io| actor.opened(stream, from, io));
        } else if at.session.is_some() {
            self.tell(there.host, Input::Accept(stream));
        } else {
            // It went down while the dial was on its way.
            self.net.close(stream, Side::Acceptor, &mut self.agenda);
        }
    }

    fn tell_dialler(&mut self, stream: StreamId, input: Input) {
        let Some(here) = self.net.end(stream, Side::Dialler).filter(|end| end.open).copied() else {
            return;
        };
        let Some(there) = self.net.end(stream, Side::Acceptor).map(|end| end.addr) else { return };
        if self.hosts[here.host.0].actor.is_none() {
            self.tell(here.host, input);
        } else if let Input::Connected(_) = input {
            self.with_actor(here.host, |actor, io| actor.opened(stream, there, io));
        } else {
            self.net.close(stream, Side::Dialler, &mut self.agenda);
            self.with_actor(here.host, |actor, io| actor.closed(stream, io));
        }
    }

    /// Answers a lookup: an address, a name that was made known, or nothing.
    fn resolve(&mut self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ErrorKind> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal = bare.parse().ok();
        let ip = literal.or_else(|| self.names.get(host).copied());
        ip.map(|ip| vec![SocketAddr::new(ip, port)]).ok_or(ErrorKind::NotFound)
    }
}
