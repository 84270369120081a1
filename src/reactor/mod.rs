//! The reactor: sockets, threads, clock and entropy around one [`Session`].
//!
//! It decides nothing; it moves bytes and keeps to the order of [`crate::session::io`].
//! [`Reactor::turn`] is the whole loop on one page. mio is edge-triggered, so "ready" is our own
//! flag: an event sets it, only `WouldBlock` or a short read clears it, and a stream that was
//! stopped by its budget stays in the ready queue and needs no new event.

pub mod clock;
mod config;
mod conn;
pub mod egress;
pub mod files;
pub mod hashing;
mod interfaces;
mod lan;
pub mod limits;
pub mod net;
pub mod resolver;
pub mod state;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
pub mod tls;
mod udp;
pub mod workers;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::disk::job::{Job, Outcome, Read};
use crate::id::ConnId;
use crate::session::Session;
use crate::session::config::Config;
use crate::session::io::{Action, Closed, Event, Listener};
use crate::session::trace::Trace;
use crate::stats::{Histograms, Interval, Metric};
use crate::time::{Duration, Instant};

use clock::Clock;
pub use config::{ReactorConfig, ReactorError};
use conn::{Flow, Streams};
use egress::Egress;
use limits::{FdBudget, raise_fd_limit};
use resolver::{Resolved, Resolver};
use tls::Tls;
use udp::Sockets;
use workers::Workers;

/// One event loop around one session. Not `Sync`: it belongs to one thread; [`crate::client`] gives
/// it one of its own.
///
/// Or drive it from a loop of your own; whatever else that does between two turns, peers wait for:
///
/// ```no_run
/// use std::time::Duration;
///
/// use swarmloop::proto::metainfo::Metainfo;
/// use swarmloop::reactor::{Reactor, ReactorConfig};
/// use swarmloop::session::NewTorrent;
/// use swarmloop::session::io::Event;
/// use swarmloop::torrent::phase::Mode;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reactor = Reactor::new(ReactorConfig {
///     listen: vec!["0.0.0.0:6881".parse()?],
///     ..ReactorConfig::default()
/// })?;
/// let metainfo = Metainfo::parse(&std::fs::read("debian.torrent")?.into())?;
/// let mode = Mode::Download { overwrite: false };
/// let (session, now) = reactor.session_mut();
/// let torrent = session.add_torrent(NewTorrent::new(metainfo, "downloads".into(), mode), now)?;
/// 'turns: loop {
///     // Waits for the network and the disk, or for as long as the rest of the program allows.
///     reactor.turn(Some(Duration::from_millis(100)))?;
///     while let Some(event) = reactor.poll_event() {
///         if let Event::Complete { .. } = event {
///             break 'turns;
///         }
///     }
///     let (session, now) = reactor.session();
///     if let Some(status) = session.torrent(torrent, now) {
///         println!("{} of {} bytes", status.have, status.size);
///     }
/// }
/// // The end in order: `stopped` goes to the trackers, pieces in hand to the disk.
/// let (session, now) = reactor.session_mut();
/// session.shutdown(now);
/// while !reactor.session().0.is_idle() {
///     reactor.turn(Some(Duration::from_secs(1)))?;
/// }
/// reactor.finish(Duration::from_secs(3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reactor {
    session: Session,
    clock: Clock,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    listeners: Vec<Listening>,
    sockets: Sockets,
    streams: Streams,
    /// Streams that may have bytes for us, each once, in the order in which they are read.
    ready: VecDeque<ConnId>,
    /// Streams that can take bytes again.
    unblocked: Vec<ConnId>,
    /// Streams that broke after the turn had decided; reported first thing in the next.
    broken: Vec<(ConnId, io::ErrorKind)>,
    workers: Workers,
    /// What syncs payload, keeps state and looks for space, beside the workers: nobody waits.
    keeper: Workers,
    /// [`READ_BUDGET`], which a test makes smaller.
    read_budget: usize,
    resolver: Resolver,
    outcomes: Vec<Outcome>,
    resolved: Vec<Resolved>,
    /// Whether the session was told something outside a turn.
    has_input: bool,
    /// When the last poll ended, since the clock's start; `None` before the first.
    woken_at: Option<Duration>,
}

/// A listening socket.
#[derive(Debug)]
struct Listening {
    socket: TcpListener,
    addr: SocketAddr,
    purpose: Listener,
    /// Whether somebody may be waiting to be accepted.
    ready: bool,
    /// Until when nothing is accepted because the process is out of descriptors or memory.
    paused_until: Option<Instant>,
}

/// Events taken from the system at a time; more wait for the next turn.
const EVENTS: usize = 1024;
/// The most connections accepted from one listener in a turn, so that a storm of dials does not
/// stop the rest.
const ACCEPTS_PER_TURN: usize = 128;
/// How long a listener rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Threads that sync and keep state. They wait for the disk and not for a processor, several syncs
/// at a time cost a journal little more than one, and one slow disk does not hold up the others.
const KEEPERS: usize = 4;
/// A loop that comes back this much later than it should was stopped; work never takes as long.
const STOPPED: Duration = Duration::from_secs(1);
/// How often somebody is taken to become ready while the loop is busy: each millisecond, which is
/// as fine as a poll can wait. So a turn of less counts as one wait, as long as the turn, and a
/// stall of 50 ms as fifty waits of 1 to 50 ms.
const LAG_INTERVAL: Duration = Duration::from_millis(1);
/// Bytes that one turn may read for peers on the loop's own thread: about a millisecond with their
/// sending, and what comes in meanwhile waits no longer. Beyond it a loop has more to do than one
/// thread can, and the workers may as well help.
const READ_BUDGET: usize = 2 * 1024 * 1024;
const WAKER: Token = Token(usize::MAX);
/// Listener `i` has the token `FIRST_LISTENER - i`; no connection's slot number comes near.
const FIRST_LISTENER: usize = usize::MAX - 1;

impl Reactor {
    /// Opens the listening sockets and starts the threads.
    ///
    /// # Errors
    /// [`ReactorError`]: the user's fault (an address that cannot be listened on), or the system's.
    pub fn new(config: ReactorConfig) -> Result<Self, ReactorError> {
        let egress = Egress::of(&config.session)?;
        let FdBudget { conns, files } = raise_fd_limit();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (mut listeners, dscp) = (Vec::new(), config.session.dscp);
        let peers = config.listen.iter().map(|addr| (*addr, Listener::Peers));
        let trackers = config.tracker_listen.iter().map(|addr| (*addr, Listener::Tracker));
        for (addr, purpose) in peers.chain(trackers) {
            let token = Token(FIRST_LISTENER - listeners.len());
            listeners.push(Listening::open(addr, purpose, &egress, dscp, &poll, token)?);
        }
        let wake = || {
            let waker = Arc::clone(&waker);
            move || drop(waker.wake())
        };
        let workers = Workers::start(config.workers, wake(), files)?;
        let keeper = workers.start_beside(KEEPERS, wake())?;
        let resolver = Resolver::new(wake(), &egress);
        let tls = Tls::new(config.ca_certificates, wake());
        let clock = Clock::start();
        let mut session_config = config.session;
        let serves_http = !config.tracker_listen.is_empty();
        divide_conns(&mut session_config, conns, serves_http);
        let ours = listeners.iter().find(|listening| listening.purpose == Listener::Peers);
        session_config.listen_port = ours.map_or(0, |listening| listening.addr.port());
        let mut session = Session::new(session_config, clock::seeds()?, clock.now());
        if serves_http || !config.tracker_udp.is_empty() {
            session.serve_tracker(config.tracker);
        }
        let mut sockets = Sockets::default();
        let heard_at = addrs_of(&listeners, Listener::Peers);
        sockets.open_for_peers(&heard_at, &egress, &mut session, poll.registry());
        if config.lsd {
            sockets.open_for_lan(&heard_at, &egress, &mut session, poll.registry());
            session.use_lsd(clock.now());
            sockets.look_around(&mut session);
        }
        if let Some(dht) = config.dht {
            session.use_dht(dht, config.dht_saved);
        }
        for addr in config.tracker_udp {
            let addr = with_port_of_http(addr, &listeners);
            sockets
                .open(addr, Listener::Tracker, &egress, &mut session, poll.registry())
                .map_err(|source| ReactorError::Listen { addr, source })?;
        }
        Ok(Self {
            session,
            clock,
            poll,
            events: Events::with_capacity(EVENTS),
            waker,
            listeners,
            sockets,
            streams: Streams::new(egress, dscp, tls),
            ready: VecDeque::new(),
            unblocked: Vec::new(),
            broken: Vec::new(),
            workers,
            keeper,
            read_budget: READ_BUDGET,
            resolver,
            outcomes: Vec::new(),
            resolved: Vec::new(),
            has_input: true,
            woken_at: None,
        })
    }

    /// Waits until something happens, for `at_most` if given, and does one turn.
    ///
    /// # Errors
    /// The poll itself failed, which is a bug or the end of the system's patience; the reactor is
    /// of no use any more.
    pub fn turn(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        let before = self.clock.elapsed();
        self.measure_turn(before);
        let before = self.leave_out(before, self.woken_at.unwrap_or(before));
        let mut timeout = self.timeout(at_most, Instant::ZERO + before);
        if timeout != Some(Duration::ZERO) && !(self.workers.rest() && self.keeper.rest()) {
            timeout = Some(Duration::ZERO);
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let woken_at = self.clock.elapsed();
        let woken_at = match timeout {
            Some(timeout) => self.leave_out(woken_at, before + timeout),
            None => woken_at,
        };
        self.woken_at = Some(woken_at);
        let now = Instant::ZERO + woken_at;
        self.has_input = false;
        self.take_completions(now);
        self.take_events(now);
        self.accept(now);
        self.read_ready(now);
        self.sockets.read(&mut self.session, now);
        self.session.handle_timeout(now);
        let mut read_budget = self.read_budget;
        loop {
            self.session.end_turn(now);
            self.write_all(now);
            // What a peer asked for and is in memory leaves in the turn in which it was asked for.
            if !self.act(&mut read_budget, now) {
                break;
            }
        }
        self.sockets.write(&mut self.session);
        while let Some(conn) = self.session.poll_readable() {
            self.streams.enqueue(conn, &mut self.ready);
        }
        Ok(())
    }

    /// Lends the session for questions, with the time now.
    pub fn session(&self) -> (&Session, Instant) {
        (&self.session, self.clock.now())
    }

    /// Lends the session for commands, with the time now. The next turn acts on what it was told.
    pub fn session_mut(&mut self) -> (&mut Session, Instant) {
        self.has_input = true;
        (&mut self.session, self.clock.now())
    }

    /// Ends the interval of measuring that began when this was last called, or with the reactor:
    /// see [`Session::take_histograms`]. Provokes no turn.
    pub fn take_histograms(&mut self, spare: Box<Histograms>) -> Interval {
        self.session.take_histograms(spare, self.clock.now())
    }

    /// Takes out what happened since this was last called: see [`Session::take_trace`]. Provokes no
    /// turn.
    pub fn take_trace(&mut self, spare: Trace) -> Option<Trace> {
        self.session.take_trace(spare)
    }

    /// Returns the next thing that the application may want to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.session.poll_event()
    }

    /// Returns what ends a wait in [`Reactor::turn`] from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Returns where this reactor listens for `purpose`, ports resolved.
    pub fn listen_addrs(&self, purpose: Listener) -> Vec<SocketAddr> {
        addrs_of(&self.listeners, purpose)
    }

    /// Returns where this reactor takes datagrams for `purpose`, ports resolved.
    pub fn socket_addrs(&self, purpose: Listener) -> Vec<SocketAddr> {
        self.sockets.addrs(purpose)
    }

    /// Ends the disk threads, letting them write what is queued, for as long as `at_most`. Returns
    /// whether they had ended.
    pub fn finish(self, at_most: Duration) -> bool {
        let until = std::time::Instant::now() + at_most;
        let written = self.workers.shutdown(at_most);
        self.keeper.shutdown(until.saturating_duration_since(std::time::Instant::now())) && written
    }

    /// Returns how long the poll may wait: not at all while something is left over from the last
    /// turn.
    fn timeout(&self, at_most: Option<Duration>, now: Instant) -> Option<Duration> {
        let accepting = |l: &Listening| l.ready && l.paused_until.is_none();
        let leftover = self.has_input
            || !self.ready.is_empty()
            || !self.unblocked.is_empty()
            || !self.broken.is_empty()
            || self.sockets.is_readable()
            || self.listeners.iter().any(accepting);
        if leftover {
            return Some(Duration::ZERO);
        }
        let paused = self.listeners.iter().filter_map(|listening| listening.paused_until).min();
        let due = self.session.poll_timeout().into_iter().chain(paused).min();
        let wait = due.map(|at| at.saturating_since(now));
        wait.into_iter().chain(at_most).min()
    }

    /// Takes a `now` that is much later than `expected` for the end of a stop (SIGTSTP, a
    /// debugger), in which no time has passed for the session. Returns the time that it is then.
    fn leave_out(&mut self, now: Duration, expected: Duration) -> Duration {
        let late = now.saturating_sub(expected);
        if late < STOPPED {
            return now;
        }
        self.clock.skip(late);
        expected
    }

    /// Records how long the loop was busy from the end of the last poll to `before`, the start of
    /// the next, whatever it was busy with: turns, commands and the application's questions.
    fn measure_turn(&mut self, before: Duration) {
        let Some(woken_at) = self.woken_at else { return };
        let busy = before.saturating_sub(woken_at);
        let histograms = &mut self.session.stats_mut().histograms;
        histograms.record_duration(Metric::LoopBusy, busy);
        histograms.record_stall(Metric::LoopLag, busy, LAG_INTERVAL);
    }

    fn take_completions(&mut self, now: Instant) {
        self.workers.drain(&mut self.outcomes);
        self.keeper.drain(&mut self.outcomes);
        for outcome in self.outcomes.drain(..) {
            self.session.handle_disk(outcome, now);
        }
        self.resolver.drain(&mut self.resolved);
        for (id, addrs) in self.resolved.drain(..) {
            let addrs = addrs.map_err(|error| error.kind());
            self.session.handle_resolved(id, addrs, now);
        }
        for (conn, kind) in self.broken.drain(..) {
            self.session.handle_closed(conn, Closed::Failed(kind), now);
        }
    }

    /// Notes what the system says is ready. Streams that have just been opened are reported.
    fn take_events(&mut self, now: Instant) {
        let mut count = 0;
        for event in &self.events {
            count += 1;
            let token = event.token();
            if token == WAKER {
                continue;
            }
            if let Some(listening) = self.listeners.get_mut(FIRST_LISTENER - token.0) {
                listening.ready = true;
                continue;
            }
            if self.sockets.on_event(event) {
                continue;
            }
            match self.streams.on_event(event, &mut self.ready, &mut self.unblocked) {
                Flow::Nothing => {}
                Flow::Connected(conn) => self.session.handle_connected(conn, now),
                Flow::Broken(conn, kind) => {
                    self.session.handle_closed(conn, Closed::Failed(kind), now);
                }
            }
        }
        self.session.stats_mut().histograms.record(Metric::EventsPerTurn, count);
    }

    fn accept(&mut self, now: Instant) {
        for listening in &mut self.listeners {
            if listening.paused_until.is_some_and(|until| until <= now) {
                listening.paused_until = None;
            }
            let may_accept = listening.ready && listening.paused_until.is_none();
            for _ in 0..if may_accept { ACCEPTS_PER_TURN } else { 0 } {
                let (stream, addr) = match net::accept(&listening.socket) {
                    Ok(accepted) => accepted,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listening.ready = false;
                        break;
                    }
                    Err(error) if net::fault(&error) == net::Fault::Local => {
                        listening.paused_until = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                    // That one has gone again; the next may be there.
                    Err(_) => continue,
                };
                // Dropping the stream closes it.
                let Some(conn) = self.session.handle_accepted(listening.purpose, addr, now) else {
                    continue;
                };
                match self.streams.add(conn, stream, self.poll.registry(), false) {
                    // Whoever dials speaks first, and has spoken if there is a crowd.
                    Ok(()) => self.streams.expect_bytes(conn, &mut self.ready),
                    Err(error) => self.broken.push((conn, error.kind())),
                }
            }
        }
    }

    /// Reads each ready stream once around, up to its budget.
    fn read_ready(&mut self, now: Instant) {
        self.streams.tls.begin_turn();
        for _ in 0..self.ready.len() {
            let Some(conn) = self.ready.pop_front() else { return };
            if self.streams.read(conn, &mut self.session, now) {
                self.ready.push_back(conn);
            }
        }
    }

    /// Writes to every stream that has something to send and can take it.
    fn write_all(&mut self, now: Instant) {
        for conn in std::mem::take(&mut self.unblocked) {
            self.write(conn, now);
        }
        while let Some(conn) = self.session.poll_writable() {
            self.write(conn, now);
        }
    }

    fn write(&mut self, conn: ConnId, now: Instant) {
        match self.streams.write(conn, &mut self.session, now) {
            Ok(false) => {}
            Ok(true) => self.unblocked.push(conn),
            Err(error) => self.broken.push((conn, error.kind())),
        }
    }

    /// Does what the session wants done. Returns whether that has told the session something.
    fn act(&mut self, read_budget: &mut usize, now: Instant) -> bool {
        let mut told = false;
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Connect { conn, addr, tls } => {
                    if let Some(name) = tls {
                        self.streams.dial_secured(conn, addr, name);
                    } else if let Err(error) = self.streams.dial(conn, addr, self.poll.registry()) {
                        self.broken.push((conn, error.kind()));
                    }
                }
                Action::Close { conn } => self.streams.close(conn),
                Action::Disk(Job::Read(job)) => told |= self.read(job, read_budget, now),
                Action::Disk(Job::Close { torrent }) => {
                    self.keeper.submit(Job::Close { torrent });
                    self.workers.submit(Job::Close { torrent });
                }
                Action::Disk(job) if job.may_wait_long() => self.keeper.submit(job),
                Action::Disk(job) => self.workers.submit(job),
                Action::Resolve { id, host, port } => self.resolver.resolve(id, &host, port),
            }
        }
        self.streams.dial_waiting(self.poll.registry(), &mut self.broken);
        told
    }

    /// Reads for a peer: here and now if nothing has to be waited for and the budget is not used
    /// up, else in the workers, which run beside the loop. Returns whether the session was told.
    fn read(&mut self, read: Read, budget: &mut usize, now: Instant) -> bool {
        if *budget == 0 {
            self.workers.submit(Job::Read(read));
            return false;
        }
        let len: usize = read.frames.iter().map(|frame| frame.len() as usize).sum();
        match self.workers.read_resident(read) {
            Ok(outcome) => {
                *budget = budget.saturating_sub(len);
                self.session.handle_disk(outcome, now);
                true
            }
            Err(read) => {
                self.workers.submit(Job::Read(read));
                false
            }
        }
    }
}

/// Lowers the limits on connections to what the process may open. Clients of the embedded tracker
/// have descriptors of their own, at most a quarter: else one kind could lock the other out.
fn divide_conns(config: &mut Config, conns: usize, serves_http: bool) {
    config.max_tracker_conns =
        if serves_http { config.max_tracker_conns.min((conns / 4).max(1)) } else { 0 };
    let rest = conns.saturating_sub(config.max_tracker_conns).max(1);
    config.max_conns = config.max_conns.min(rest);
    // However many torrents there are, peers are to have most of what there is.
    config.max_announces = config.max_announces.min((rest / 8).max(1));
}

fn addrs_of(listeners: &[Listening], purpose: Listener) -> Vec<SocketAddr> {
    let wanted = listeners.iter().filter(|listening| listening.purpose == purpose);
    wanted.map(|listening| listening.addr).collect()
}

/// Returns an address for UDP with the port that HTTP has on it, if any port will do.
fn with_port_of_http(addr: SocketAddr, listeners: &[Listening]) -> SocketAddr {
    let http = listeners.iter().find(|listening| {
        listening.purpose == Listener::Tracker && listening.addr.ip() == addr.ip()
    });
    match http {
        Some(http) if addr.port() == 0 => http.addr,
        _ => addr,
    }
}

impl Listening {
    fn open(
        addr: SocketAddr,
        purpose: Listener,
        egress: &Egress,
        dscp: u8,
        poll: &Poll,
        token: Token,
    ) -> Result<Self, ReactorError> {
        let opened = net::listen(addr, egress).and_then(|mut socket| {
            poll.registry().register(&mut socket, token, Interest::READABLE)?;
            let addr = socket.local_addr()?;
            if purpose == Listener::Peers {
                net::mark(&socket, addr, dscp);
                net::end_as_held(&socket, addr.is_ipv4(), egress)?;
            }
            Ok(Self { socket, addr, purpose, ready: false, paused_until: None })
        });
        opened.map_err(|source| ReactorError::Listen { addr, source })
    }
}

#[cfg(test)]
mod tests;
