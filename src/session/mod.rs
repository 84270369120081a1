//! The session: a value that holds all protocol state and decides everything.
//!
//! It is told events and `now`, and answers with bytes, actions, events and one next deadline;
//! [`io`] is the contract. This file only routes. Who does what: `streams` bytes of each kind of
//! connection, `turn` the decisions at the end of a turn, `torrents` the life of torrents and
//! the disk's answers, `magnets` torrents of which only the hash is known, `announces` trackers,
//! `questions` what is asked of them and of others for no torrent, `dial` new connections,
//! `blocklist` those that are not wanted, `turnover` peers that make room for others, `clients`
//! those of the embedded tracker, `datagrams` what comes and goes without a connection,
//! `udp_trackers` those who are asked so, `dht` the node of the DHT, `lsd` the local network.
//!
//! **Invariant:** nothing in here touches a socket, file, clock, thread, environment variable or
//! the system's entropy.

mod announces;
mod blocklist;
mod clients;
pub mod config;
mod conns;
mod datagrams;
mod dht;
mod dial;
mod displace;
mod entry;
mod gate;
pub mod io;
mod looks;
mod lsd;
mod magnets;
mod questions;
mod report;
mod slots;
pub mod status;
mod streams;
mod tell;
mod throttle;
mod tops;
mod torrents;
pub mod trace;
mod turn;
mod turnover;
mod twins;
mod udp_trackers;
mod vantage;
pub mod wheel;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::disk::job::{Job, Outcome};
use crate::id::{Block, ConnId, InfoHash, TorrentId};
use crate::net_policy::Reach;
use crate::peer::PeerLimits;
use crate::peer::error::{CloseReason, PeerError};
use crate::rate::TokenBucket;
use crate::rng::Rng;
use crate::stats::{Metric, Stats};
use crate::time::Instant;
use crate::torrent::phase::TorrentEvent;
use crate::torrent::{Ctx, Lines};
use crate::tracker_server::TrackerServer;
use crate::wire::frame::FramePool;
use crate::wire::scratch::{Scratch, Shape};
use crate::wire::slices::{RecvSlices, SendSlices};

use config::Config;
use conns::{Conns, Kind};
use datagrams::Datagrams;
use dht::DhtClient;
use entry::Entry;
use io::{Action, Closed, Event, Listener, QuestionId, ResolveId, Seeds};
use lsd::LsdClient;
use questions::Questions;
use throttle::{Throttle, Way, clip};
use tops::Tops;
use trace::Trace;
use udp_trackers::UdpClient;
use vantage::Seen;
use wheel::Wheel;

pub use magnets::NewMagnet;
pub use questions::Question;
pub use torrents::{AddTorrentError, NewTorrent};

/// The engine as a value: see the module and [`io`].
#[derive(Debug)]
pub struct Session {
    config: Config,
    seeds: Seeds,
    conns: Conns,
    /// By [`TorrentId`]; a torrent that was removed leaves a gap.
    torrents: Vec<Option<Box<Entry>>>,
    by_hash: BTreeMap<InfoHash, TorrentId>,
    tops: Tops,
    work: Work,
    wheel: Wheel<WheelKey>,
    dials: TokenBucket,
    /// The time of the earliest [`WheelKey::Dials`] in the wheel.
    dials_at: Option<Instant>,
    /// Torrents that wait for a place or a token to dial, each once ([`Entry::turn`]).
    dial_line: VecDeque<TorrentId>,
    /// When a peer may make way next, of whatever torrent, while all connections are taken.
    displaces_at: Instant,
    /// Dials and handshakes of ours that are under way. Invariant: the sum over the torrents.
    half_open: usize,
    /// Torrents whose announces are due and wait for a place, with the time since when.
    announce_line: BTreeSet<(Instant, TorrentId)>,
    /// Announces under way. Invariant: the torrents that have one.
    announces: usize,
    /// Torrents that wait to be looked at, each once ([`Entry::in_look_line`]).
    look_line: VecDeque<TorrentId>,
    /// Torrents that are being looked at. Invariant: those of [`Entry::is_looked_at`].
    looked_at: usize,
    /// Torrents that a graceful stop waits for. Invariant: those of [`Entry::restless`].
    restless: usize,
    /// The limits on payload; `None` while there is none.
    throttle: Option<Box<Throttle>>,
    /// The embedded tracker; `None` while it is off.
    tracker_server: Option<Box<TrackerServer>>,
    /// Whether a [`WheelKey::TrackerSweep`] is in the wheel.
    sweeps_tracker: bool,
    datagrams: Datagrams,
    udp: UdpClient,
    questions: Questions,
    /// `None` if the DHT is not used.
    dht: Option<Box<DhtClient>>,
    /// `None` if peers are not looked for on the local network.
    lsd: Option<Box<LsdClient>>,
    /// Where others see us.
    seen: Seen,
    /// What each lookup under way is for, and the host and port that it asks for.
    lookups: BTreeMap<ResolveId, (LookupFor, String, u16)>,
    next_lookup: u32,
    queues: Queues,
    /// Bytes behind the current payload land here; shared by all connections, empty between calls.
    scratch: Scratch,
    /// Credit for open pieces that was left over when all who wanted some had been tried; more than
    /// that has come free since.
    credit_left: u32,
    /// Torrents whose peers are to be ranked ([`Entry::rechoke_at`]): those that share a limit on
    /// uploads.
    rechoking: usize,
    /// Disk jobs that have not been answered.
    jobs_out: usize,
    shutting_down: bool,
    /// What happened last; `None` if the configuration does not ask for it.
    trace: Option<Trace>,
    /// The phase of the turn, to hold drivers to the contract.
    stage: TurnStage,
}

/// What torrents are lent.
#[derive(Debug)]
struct Work {
    pool: FramePool,
    rng: Rng,
    jobs: VecDeque<Job>,
    news: Vec<TorrentEvent>,
    cancels: Vec<(ConnId, Block)>,
    lines: Lines,
    limits: PeerLimits,
    stats: Stats,
}

/// What waits for the end of the turn or for the driver.
#[derive(Debug, Default)]
struct Queues {
    /// Connections to be looked at, each once ([`conns::Conn::dirty`]).
    dirty: Vec<ConnId>,
    /// Torrents to be looked at, each once ([`Entry::touched`]).
    touched: Vec<TorrentId>,
    /// Peers that are to be told of a piece. Empty between calls.
    told: Vec<ConnId>,
    /// Connections that wait for the credit of an upload, first come, first served.
    upload_waiters: VecDeque<ConnId>,
    /// Connections with something to send, each once ([`conns::Conn::queued`]).
    writable: VecDeque<ConnId>,
    /// Connections that may be read again after having been parked.
    readable: VecDeque<ConnId>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

/// Whose deadline an entry of the wheel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WheelKey {
    Conn(ConnId),
    Torrent(TorrentId),
    /// The next token for dials.
    Dials,
    /// Stale peers of the embedded tracker.
    TrackerSweep,
    /// What was asked in datagrams and is to be asked again.
    UdpTrackers,
    /// A question of the application's.
    Question(QuestionId),
    /// What the node of the DHT has to do next.
    Dht,
    /// The next announcement on the local network.
    Lsd,
}

/// What a name lookup is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LookupFor {
    Announce(TorrentId),
    /// A question of the application's.
    Question(QuestionId),
    /// A peer that the user named.
    UserPeer(TorrentId),
    /// A peer that a magnet link named.
    LinkPeer(TorrentId),
    /// A peer that a tracker, whose address reaches so far, named by its host name.
    TrackerPeer(TorrentId, Reach),
    /// A node of the DHT.
    DhtNode,
}

/// Where a driver is in its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TurnStage {
    /// Inputs may come.
    Inputs,
    /// `end_turn` has decided: writes are due and queues are to be drained.
    Drained,
}

/// The most dials that may be made at once after a pause, in seconds' worth of the rate.
const DIAL_BURST_S: u32 = 1;

/// Places that a queue keeps when it is empty: more than a turn needs, but for the one in which ten
/// thousand torrents are added.
const MAX_SPARE: usize = 1024;

impl Work {
    fn ctx(&mut self, now: Instant) -> Ctx<'_> {
        Ctx {
            pool: &mut self.pool,
            rng: &mut self.rng,
            jobs: &mut self.jobs,
            events: &mut self.news,
            cancels: &mut self.cancels,
            lines: &mut self.lines,
            limits: &self.limits,
            stats: &mut self.stats,
            now,
        }
    }
}

impl Session {
    /// Returns a session without torrents. `now` is the time of the first turn.
    pub fn new(config: Config, seeds: Seeds, now: Instant) -> Self {
        let limits = PeerLimits {
            max_queued_requests: config.max_queued_requests,
            request_timeout: config.request_timeout,
            idle_timeout: config.idle_timeout,
            keep_alive_interval: config.keep_alive_interval,
        };
        let burst = config.dial_rate_per_s.saturating_mul(DIAL_BURST_S);
        let limits_in_all = config.limits;
        let mut session = Self {
            dials: TokenBucket::new(config.dial_rate_per_s, burst, now),
            work: Work {
                pool: FramePool::new(config.pool_bytes),
                rng: Rng::new(seeds.rng),
                jobs: VecDeque::new(),
                news: Vec::new(),
                cancels: Vec::new(),
                lines: Lines::default(),
                limits,
                stats: Stats::new(now),
            },
            dials_at: None,
            dial_line: VecDeque::new(),
            displaces_at: Instant::ZERO,
            half_open: 0,
            announce_line: BTreeSet::new(),
            announces: 0,
            look_line: VecDeque::new(),
            looked_at: 0,
            restless: 0,
            trace: (config.trace_records > 0).then(|| Trace::new(config.trace_records)),
            seen: Seen::at_first(&config, &seeds),
            config,
            seeds,
            conns: Conns::default(),
            torrents: Vec::new(),
            by_hash: BTreeMap::new(),
            tops: Tops::default(),
            wheel: Wheel::new(),
            throttle: None,
            tracker_server: None,
            sweeps_tracker: false,
            datagrams: Datagrams::new(),
            udp: UdpClient::new(seeds.secret),
            questions: Questions::default(),
            dht: None,
            lsd: None,
            lookups: BTreeMap::new(),
            next_lookup: 0,
            queues: Queues::default(),
            scratch: Scratch::new(),
            credit_left: 0,
            rechoking: 0,
            jobs_out: 0,
            shutting_down: false,
            stage: TurnStage::Inputs,
        };
        session.apply_limits(None, limits_in_all, now);
        session
    }

    /// Tells whether nothing is under way that a graceful stop waits for: no disk job, no announce,
    /// and nothing that a turn has yet to look at. O(1).
    pub fn is_idle(&self) -> bool {
        let is_looked_at = self.queues.touched.is_empty() && self.work.jobs.is_empty();
        is_looked_at && self.jobs_out == 0 && self.restless == 0
    }

    /// Takes in a stream that was accepted. `None` if it is not wanted: close it.
    pub fn handle_accepted(
        &mut self,
        listener: Listener,
        addr: SocketAddr,
        now: Instant,
    ) -> Option<ConnId> {
        self.input();
        self.accept(listener, addr, now)
    }

    /// Takes in that a stream asked for by [`Action::Connect`] is open.
    pub fn handle_connected(&mut self, conn: ConnId, now: Instant) {
        self.input();
        self.on_connected(conn, now);
    }

    /// Takes in that a stream ended or could not be opened. Its name is stale from now on.
    pub fn handle_closed(&mut self, conn: ConnId, closed: Closed, now: Instant) {
        self.input();
        if self.tracker_stream_ended(conn, closed, now) {
            return;
        }
        let reason = match closed {
            Closed::Eof => CloseReason::Remote,
            Closed::Failed(kind) => CloseReason::Io(kind),
            Closed::Tls(_) => CloseReason::Io(std::io::ErrorKind::InvalidData),
        };
        self.forget(conn, &reason.into(), now);
    }

    /// Takes in what a disk job came to.
    pub fn handle_disk(&mut self, outcome: Outcome, now: Instant) {
        self.input();
        self.on_disk(outcome, now);
    }

    /// Takes in the addresses of a host name, or why there are none.
    pub fn handle_resolved(
        &mut self,
        id: ResolveId,
        addrs: Result<Vec<SocketAddr>, std::io::ErrorKind>,
        now: Instant,
    ) {
        self.input();
        self.on_resolved(id, addrs, now);
    }

    /// Looks at every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.input();
        while let Some((at, key)) = self.wheel.expire(now) {
            self.work.stats.histograms.record_since(Metric::TimerLateness, at, now);
            match key {
                WheelKey::Conn(conn) => self.conn_timeout(conn, at, now),
                WheelKey::Torrent(torrent) => self.torrent_timeout(torrent, at, now),
                WheelKey::Dials => {
                    self.dials_at = None;
                    self.call_next(now);
                }
                WheelKey::TrackerSweep => self.sweep_tracker(now),
                WheelKey::UdpTrackers => self.ask_again_by_datagram(at, now),
                WheelKey::Question(question) => self.question_timeout(question, now),
                WheelKey::Dht => self.dht_timeout(at, now),
                WheelKey::Lsd => self.lsd_timeout(at, now),
            }
        }
    }

    /// Decides what follows from the turn's inputs. After it, the queues are drained: see [`io`].
    pub fn end_turn(&mut self, now: Instant) {
        self.work.stats.counters.turns += 1;
        self.decide(now);
        self.stage = TurnStage::Drained;
    }

    /// Returns where the next bytes of a stream go; `None` while it is parked, or if the name is
    /// stale.
    pub fn recv_slices(&mut self, id: ConnId) -> Option<RecvSlices<'_>> {
        let conn = self.conns.find_mut(id)?;
        match &mut conn.kind {
            Kind::Dialling(_) => None,
            Kind::Peer { torrent, peer } => {
                let mut most = usize::MAX;
                if let Some(throttle) = &mut self.throttle {
                    let payload = clip(throttle.allowance(Way::Down, id, *torrent));
                    most = peer.message_room().saturating_add(payload);
                    if most == 0 && !std::mem::replace(&mut conn.waits_down, true) {
                        throttle.wait(Way::Down, id, *torrent);
                    }
                }
                if most > 0 { peer.recv_slices(&mut self.scratch, most) } else { None }
            }
            // While its answer is on its way; the end of its half is not heard of either.
            Kind::Client(stream) if stream.conn.is_answering() => None,
            Kind::Handshaking(_) | Kind::Tracker(_) | Kind::Client(_) => {
                Some(self.scratch.slices(&mut [], Shape::PLAIN, usize::MAX))
            }
        }
    }

    /// Takes in that `n` bytes were put where [`Session::recv_slices`] said. `n` is not zero: that
    /// is `handle_closed`.
    pub fn recv_advance(&mut self, conn: ConnId, n: usize, now: Instant) {
        self.input();
        let counters = &mut self.work.stats.counters;
        counters.reads += 1;
        counters.received += n as u64;
        let result = self.on_received(conn, n, now);
        self.note_wire(conn, now);
        if let Err(error) = result {
            self.close(conn, &error, now);
        }
    }

    /// Returns what a stream sends next; empty if there is nothing, if it has to wait for a limit
    /// ([`Session::poll_writable`] names it again), or if the name is stale.
    pub fn send_slices(&mut self, id: ConnId) -> SendSlices<'_> {
        let Some(conn) = self.conns.find_mut(id) else { return SendSlices::empty() };
        match &mut conn.kind {
            Kind::Dialling(_) => SendSlices::empty(),
            Kind::Handshaking(stranger) => SendSlices::one(stranger.state.unsent()),
            Kind::Peer { torrent, peer } => {
                let mut payload = usize::MAX;
                if let Some(throttle) = &mut self.throttle {
                    payload = clip(throttle.allowance(Way::Up, id, *torrent));
                    if payload == 0
                        && peer.sends_block_next()
                        && !std::mem::replace(&mut conn.waits_up, true)
                    {
                        throttle.wait(Way::Up, id, *torrent);
                    }
                }
                peer.send_slices(payload)
            }
            Kind::Tracker(stream) => SendSlices::one(&stream.exchange.request()[stream.sent..]),
            Kind::Client(stream) => {
                let mut slices = SendSlices::empty();
                stream.conn.unsent().into_iter().for_each(|part| slices.push(part));
                slices
            }
        }
    }

    /// Takes in that `n` bytes of [`Session::send_slices`] were written.
    pub fn send_advance(&mut self, conn: ConnId, n: usize, now: Instant) {
        let counters = &mut self.work.stats.counters;
        counters.writes += 1;
        counters.sent += n as u64;
        self.on_sent(conn, n, now);
    }

    /// Returns the next connection with something to send, each at most once a turn.
    pub fn poll_writable(&mut self) -> Option<ConnId> {
        while let Some(id) = self.queues.writable.pop_front() {
            if let Some(conn) = self.conns.find_mut(id) {
                conn.queued = false;
                return Some(id);
            }
        }
        None
    }

    /// Returns the next connection that was parked and may be read again, without a new event from
    /// its socket.
    pub fn poll_readable(&mut self) -> Option<ConnId> {
        self.queues.readable.pop_front()
    }

    /// Returns the next thing that the driver is to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.queues.actions.pop_front();
        if action.is_none() {
            self.queues.actions.shrink_to(MAX_SPARE);
        }
        action
    }

    /// Returns the next thing that the application may want to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.queues.events.pop_front();
        if event.is_none() {
            self.queues.events.shrink_to(MAX_SPARE);
        }
        event
    }

    /// Returns when [`Session::handle_timeout`] and a turn are due; `None` if only an input can
    /// change anything.
    ///
    /// Debug builds panic if a turn's inputs were not followed by [`Session::end_turn`]: the
    /// driver's bug.
    pub fn poll_timeout(&self) -> Option<Instant> {
        debug_assert_eq!(self.stage, TurnStage::Drained, "inputs, then end_turn, then sleep");
        debug_assert!(self.datagrams.is_empty(), "datagrams are drained, too");
        if self.has_unfinished_work() {
            return Some(Instant::ZERO);
        }
        let due = self.wheel.next();
        match &self.throttle {
            None => due,
            Some(throttle) => due.into_iter().chain(throttle.next()).chain(self.read_due()).min(),
        }
    }

    fn input(&mut self) {
        self.stage = TurnStage::Inputs;
    }

    fn entry(&self, id: TorrentId) -> Option<&Entry> {
        self.torrents.get(id.0 as usize)?.as_deref()
    }

    fn entry_mut(&mut self, id: TorrentId) -> Option<&mut Entry> {
        self.torrents.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Marks a connection to be looked at when the turn ends.
    fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.find_mut(id)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.queues.dirty.push(id);
        }
    }

    /// Marks a torrent to be looked at when the turn ends.
    fn touch(&mut self, id: TorrentId) {
        if let Some(entry) = self.entry_mut(id)
            && !std::mem::replace(&mut entry.touched, true)
        {
            self.queues.touched.push(id);
        }
    }

    /// Closes a connection of our own accord: the driver is told.
    fn close(&mut self, id: ConnId, error: &PeerError, now: Instant) {
        if self.conns.find(id).is_some() {
            self.queues.actions.push_back(Action::Close { conn: id });
            self.forget(id, error, now);
        }
    }
}
