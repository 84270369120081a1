//! `Client`: the engine on a thread of its own; commands in, events out.
//!
//! The five-minute API. A command is answered by the loop between two turns; an application that is
//! slow to take its events never holds the loop up. To drive the loop yourself, see
//! [`crate::reactor::Reactor`].

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use mio::Waker;

use crate::disk::job::DiskError;
pub use crate::disk::selection::{FilePriority, Selection};
use crate::filter::IpFilter;
use crate::id::TorrentId;
pub use crate::rate::RateLimits;
/// What a client is started with: the same as a [`Reactor`], which it drives.
pub use crate::reactor::ReactorConfig as ClientConfig;
use crate::reactor::egress::EgressError;
use crate::reactor::{Reactor, ReactorError};
pub use crate::session::NewMagnet as AddMagnet;
pub use crate::session::NewTorrent as AddTorrent;
pub use crate::session::Question;
use crate::session::io::{Event, Listener, QuestionId};
use crate::session::status::{PeerStatus, TorrentStatus};
use crate::session::trace::Trace;
use crate::session::{AddTorrentError, Session};
use crate::stats::{Histograms, Interval};
use crate::time::{Duration, Instant};
pub use crate::torrent::phase::Mode;
pub use crate::torrent::unsynced::Unsynced;
use crate::tracker::TrackerError;
use crate::tracker_server::{ServedFile, ServerStatus};

/// The client could not start, a command was refused, or the loop has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A listening socket could not be opened: the port is taken, or the address is not ours.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Traffic cannot be bound to the address or interface that was asked for.
    #[error("cannot bind traffic: {0}")]
    Bind(EgressError),
    /// The system refused something that the loop needs.
    #[error("cannot start the event loop: {0}")]
    Io(#[from] std::io::Error),
    /// The torrent is in the session already.
    #[error("this torrent is already being worked on")]
    Duplicate,
    /// Another torrent has a file at this path, and one of the two would write to it.
    #[error("another torrent has the file {}", crate::text::Escaped(&.0.to_string_lossy()))]
    PathTaken(std::path::PathBuf),
    /// A question cannot be asked.
    #[error(transparent)]
    Question(#[from] TrackerError),
    /// The loop has ended, or there is no such torrent.
    #[error("the event loop has ended")]
    Ended,
}

/// How a client ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// Whether everything was done before the deadline.
    pub is_graceful: bool,
    /// What the disk was too slow to take: nothing claims it, the next run hashes it.
    pub unsynced: Unsynced,
    /// Why what is known of torrents could not be saved while stopping.
    pub state_errors: Vec<DiskError>,
    /// What is known of the DHT, for the next run's
    /// [`dht_saved`](crate::reactor::ReactorConfig::dht_saved); empty if nothing is.
    pub dht: Vec<u8>,
    /// Why payload could not be brought to the disk while stopping: it may be lost, and nothing
    /// claims it.
    pub sync_errors: Vec<DiskError>,
}

/// Makes a graceful stop shorter while it goes on; made by [`Client::hurry`].
#[derive(Clone, Debug)]
pub struct Hurry {
    is_asked: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Hurry {
    /// Has [`Client::stop`], under way or to come, wait for the disk alone: trackers are not told
    /// that we leave. Of no effect on a client that has ended. Returns at once.
    pub fn skip_announces(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
        // Who cannot be woken looks at the flag when the deadline passes.
        let _ = self.waker.wake();
    }
}

/// The engine on a thread of its own. Dropping it ends the thread without waiting for it.
pub struct Client {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    is_hurried: Arc<AtomicBool>,
    events: mpsc::Receiver<Event>,
    listen_addrs: Vec<SocketAddr>,
    tracker_addrs: Vec<SocketAddr>,
    tracker_udp_addrs: Vec<SocketAddr>,
    trace_records: usize,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Add(Box<AddTorrent>, mpsc::Sender<Result<TorrentId, AddTorrentError>>),
    AddMagnet(AddMagnet, mpsc::Sender<Result<TorrentId, AddTorrentError>>),
    Remove(TorrentId),
    Stop(TorrentId),
    Start(TorrentId),
    Reannounce,
    SetBlocklist(Option<Arc<IpFilter>>),
    Question(Question, mpsc::Sender<Result<QuestionId, TrackerError>>),
    Statuses(Box<[TorrentId]>, mpsc::Sender<Vec<TorrentStatus>>),
    SetLimits(Option<TorrentId>, RateLimits),
    Select(TorrentId, Selection),
    Peers(TorrentId, mpsc::Sender<Vec<PeerStatus>>),
    ServeFiles(Vec<ServedFile>, mpsc::Sender<()>),
    TrackerStatus(mpsc::Sender<Option<ServerStatus>>),
    TakeHistograms(Box<Histograms>, mpsc::Sender<Interval>),
    TakeTrace(Trace, mpsc::Sender<Option<Trace>>),
    Shutdown(Duration, Arc<AtomicBool>, mpsc::Sender<Stopped>),
}

impl Client {
    /// Opens the listening sockets and starts the loop.
    ///
    /// # Errors
    /// [`ClientError::Listen`]: the user's fault; [`ClientError::Io`]: the system's.
    pub fn start(config: ClientConfig) -> Result<Self, ClientError> {
        let trace_records = config.session.trace_records;
        let reactor = Reactor::new(config)?;
        let waker = reactor.waker();
        let listen_addrs = reactor.listen_addrs(Listener::Peers);
        let tracker_addrs = reactor.listen_addrs(Listener::Tracker);
        let tracker_udp_addrs = reactor.socket_addrs(Listener::Tracker);
        let (commands, inbox) = mpsc::channel();
        let (outbox, events) = mpsc::sync_channel(MAX_EVENTS);
        let outbox = Outbox { to: outbox, held: VecDeque::new() };
        let thread = std::thread::Builder::new().name("swarmloop".to_owned());
        let thread = thread.spawn(move || run(reactor, &inbox, outbox))?;
        let thread = Some(thread);
        Ok(Self {
            commands,
            waker,
            is_hurried: Arc::default(),
            events,
            listen_addrs,
            tracker_addrs,
            tracker_udp_addrs,
            trace_records,
            thread,
        })
    }

    /// Returns the addresses on which the client listens for peers, ports resolved.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen_addrs
    }

    /// Returns the addresses on which the client answers announces over HTTP, ports resolved.
    pub fn tracker_addrs(&self) -> &[SocketAddr] {
        &self.tracker_addrs
    }

    /// Returns the addresses on which the client answers announces over UDP, ports resolved.
    pub fn tracker_udp_addrs(&self) -> &[SocketAddr] {
        &self.tracker_udp_addrs
    }

    /// Has the embedded tracker serve these files over HTTP, instead of those before: whoever asks
    /// after this has returned gets them.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn serve_files(&self, files: Vec<ServedFile>) -> Result<(), ClientError> {
        self.ask(|reply| Command::ServeFiles(files, reply))
    }

    /// Returns how the embedded tracker stands; `None` if there is none.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn tracker_status(&self) -> Result<Option<ServerStatus>, ClientError> {
        self.ask(Command::TrackerStatus)
    }

    /// Adds a torrent and starts it.
    ///
    /// # Errors
    /// [`ClientError::Duplicate`] and [`ClientError::PathTaken`]: the caller's fault.
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn add_torrent(&self, torrent: AddTorrent) -> Result<TorrentId, ClientError> {
        self.ask(|reply| Command::Add(Box::new(torrent), reply))?.map_err(ClientError::from)
    }

    /// Adds a torrent of which only the info-hash is known: its metadata is fetched from peers.
    /// When [`Event::Metadata`] tells it, add the torrent with it; it keeps its name and its peers.
    ///
    /// # Errors
    /// As [`Client::add_torrent`].
    pub fn add_magnet(&self, magnet: AddMagnet) -> Result<TorrentId, ClientError> {
        self.ask(|reply| Command::AddMagnet(magnet, reply))?.map_err(ClientError::from)
    }

    /// Stops a torrent and takes it out: its trackers are told, its files closed. Returns at once.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn remove_torrent(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.send(Command::Remove(torrent))
    }

    /// Stops a torrent, which stays there: its connections are closed, its trackers told, its state
    /// saved and its files let go. Returns at once; [`Event::Phase`] says when it has stopped.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn stop_torrent(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.send(Command::Stop(torrent))
    }

    /// Starts a torrent that has stopped, on request or by itself. Its files are looked at as if it
    /// were added now, so they are hashed if its state is not [kept](AddTorrent::resume). Returns
    /// at once.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn start_torrent(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.send(Command::Start(torrent))
    }

    /// Limits from now on how fast payload flows in all; 0 for no limit. Returns at once.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn set_limits(&self, limits: RateLimits) -> Result<(), ClientError> {
        self.send(Command::SetLimits(None, limits))
    }

    /// Limits from now on how fast a torrent's payload flows, beside the limit in all. Returns at
    /// once; nothing happens if there is no such torrent.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn set_torrent_limits(
        &self,
        torrent: TorrentId,
        limits: RateLimits,
    ) -> Result<(), ClientError> {
        self.send(Command::SetLimits(Some(torrent), limits))
    }

    /// Wants other files of a torrent from now on, or the same in another order. Returns at once;
    /// when everything that is wanted is there, [`Event::Complete`] says so again.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn set_selection(
        &self,
        torrent: TorrentId,
        selection: Selection,
    ) -> Result<(), ClientError> {
        self.send(Command::Select(torrent, selection))
    }

    /// Neither dials nor lets in from now on the peers that a filter blocks, in the place of the
    /// one before; connections to them are closed. Returns at once.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn set_blocklist(&self, blocklist: Option<Arc<IpFilter>>) -> Result<(), ClientError> {
        self.send(Command::SetBlocklist(blocklist))
    }

    /// Asks the trackers of all torrents again, each as soon as it lets itself be asked. Returns at
    /// once.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn reannounce(&self) -> Result<(), ClientError> {
        self.send(Command::Reannounce)
    }

    /// Asks something of the network that is no torrent's; [`Event::Answered`] says what it came
    /// to.
    ///
    /// # Errors
    /// [`ClientError::Question`]: it cannot be asked, which is the caller's fault.
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn question(&self, question: Question) -> Result<QuestionId, ClientError> {
        Ok(self.ask(|reply| Command::Question(question, reply))??)
    }

    /// Returns the events, in order. They wait for as long as it takes; but when tens of thousands
    /// do, those about single peers are left out, which strangers can make at will.
    pub fn events(&self) -> &mpsc::Receiver<Event> {
        &self.events
    }

    /// Returns how a torrent stands.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended, or there is no such torrent.
    pub fn status(&self, torrent: TorrentId) -> Result<TorrentStatus, ClientError> {
        self.statuses(&[torrent])?.pop().ok_or(ClientError::Ended)
    }

    /// Returns how several torrents stand, in one question to the loop; those that there are not
    /// are left out. The loop answers between two turns: ask for hundreds at a time, not for
    /// thousands.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn statuses(&self, torrents: &[TorrentId]) -> Result<Vec<TorrentStatus>, ClientError> {
        self.ask(|reply| Command::Statuses(torrents.into(), reply))
    }

    /// Returns a torrent's established peers, the busiest first.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerStatus>, ClientError> {
        self.ask(|reply| Command::Peers(torrent, reply))
    }

    /// Returns what the engine has measured of itself since this was last called, or since the
    /// start; times are since then, too. Allocates, but on the caller's thread: the loop only swaps
    /// what it records into.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn take_histograms(&self) -> Result<Interval, ClientError> {
        self.ask(|reply| Command::TakeHistograms(Box::default(), reply))
    }

    /// Returns what happened since this was last called, or since the start, as far as the
    /// [configuration](crate::session::config::Config::trace_records) holds it; `None` if that is
    /// 0.
    ///
    /// # Errors
    /// [`ClientError::Ended`]: the loop has ended.
    pub fn take_trace(&self) -> Result<Option<Trace>, ClientError> {
        self.ask(|reply| Command::TakeTrace(Trace::new(self.trace_records), reply))
    }

    /// Stops gracefully: no new requests, pieces in hand are verified and written, `stopped` goes
    /// to trackers that last answered. Returns true when all of that is done, false if `deadline`
    /// passed first.
    pub fn shutdown(self, deadline: Duration) -> bool {
        self.stop(deadline).is_graceful
    }

    /// Stops like [`Client::shutdown`], and tells what was left.
    pub fn stop(mut self, deadline: Duration) -> Stopped {
        let is_hurried = Arc::clone(&self.is_hurried);
        let shutdown = |reply| Command::Shutdown(deadline, is_hurried, reply);
        let mut stopped = self.ask(shutdown).unwrap_or_default();
        for event in self.events.try_iter() {
            match event {
                Event::StateFailed { error, .. } => stopped.state_errors.push(error),
                Event::SyncFailed { error, .. } => stopped.sync_errors.push(error),
                _ => {}
            }
        }
        if let Some(thread) = self.thread.take().filter(|_| stopped.is_graceful) {
            // The loop has answered last thing; a panic of its own has been printed.
            let _ = thread.join();
        }
        stopped
    }

    /// Returns what makes a later [`Client::stop`] shorter while it goes on, from another thread.
    pub fn hurry(&self) -> Hurry {
        Hurry { is_asked: Arc::clone(&self.is_hurried), waker: Arc::clone(&self.waker) }
    }

    fn send(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).map_err(|_| ClientError::Ended)?;
        self.waker.wake()?;
        Ok(())
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, ClientError> {
        let (reply, answer) = mpsc::channel();
        self.send(command(reply))?;
        answer.recv().map_err(|_| ClientError::Ended)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The loop sees that nobody can command it any more when it is woken.
        let (nobody, _) = mpsc::channel();
        self.commands = nobody;
        let _ = self.waker.wake();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("listen_addrs", &self.listen_addrs).finish_non_exhaustive()
    }
}

impl From<AddTorrentError> for ClientError {
    fn from(error: AddTorrentError) -> Self {
        match error {
            AddTorrentError::Duplicate => Self::Duplicate,
            AddTorrentError::PathTaken(path) => Self::PathTaken(path),
            AddTorrentError::ShuttingDown => Self::Ended,
        }
    }
}

impl From<ReactorError> for ClientError {
    fn from(error: ReactorError) -> Self {
        match error {
            ReactorError::Listen { addr, source } => Self::Listen { addr, source },
            ReactorError::Bind(error) => Self::Bind(error),
            ReactorError::Io(error) => Self::Io(error),
        }
    }
}

/// The most events that wait for the application; beyond it, only those are kept that no stranger
/// can make.
const MAX_EVENTS: usize = 16 * 1024;

/// How often events that found no room are offered again.
const HELD_EVENTS_RETRY: Duration = Duration::from_millis(100);

/// The application's events.
struct Outbox {
    to: mpsc::SyncSender<Event>,
    /// What found no room and must not be lost: bounded by the torrents' pieces and phases.
    held: VecDeque<Event>,
}

impl Outbox {
    /// Passes the loop's events on, as far as there is room.
    fn take_from(&mut self, reactor: &mut Reactor) {
        while let Some(event) = reactor.poll_event() {
            self.held.push_back(event);
        }
        while let Some(event) = self.held.pop_front() {
            // An application that has dropped its receiver does not want to know.
            if let Err(mpsc::TrySendError::Full(event)) = self.to.try_send(event) {
                self.held.push_front(event);
                self.held.retain(|event| {
                    !matches!(event, Event::PeerConnected { .. } | Event::PeerClosed { .. })
                });
                return;
            }
        }
    }
}

/// The loop's thread: turns, and commands between them, until it is told to stop or nobody is left
/// to tell it.
fn run(mut reactor: Reactor, inbox: &mpsc::Receiver<Command>, mut outbox: Outbox) {
    loop {
        match inbox.try_recv() {
            Ok(Command::Shutdown(deadline, is_hurried, reply)) => {
                let stopped = wind_down(reactor, &mut outbox, deadline, &is_hurried);
                let _ = reply.send(stopped);
                return;
            }
            Ok(command) => obey(&mut reactor, command),
            Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) => {
                // An application that was slow to take its events may have made room.
                let patience = (!outbox.held.is_empty()).then_some(HELD_EVENTS_RETRY);
                if reactor.turn(patience).is_err() {
                    return;
                }
            }
        }
        outbox.take_from(&mut reactor);
    }
}

fn on_session(reactor: &mut Reactor, act: impl FnOnce(&mut Session, Instant)) {
    let (session, now) = reactor.session_mut();
    act(session, now);
}

fn obey(reactor: &mut Reactor, command: Command) {
    // Whoever asked may have gone; then nobody misses the answer.
    match command {
        Command::Add(torrent, reply) => {
            let (session, now) = reactor.session_mut();
            let _ = reply.send(session.add_torrent(*torrent, now));
        }
        Command::AddMagnet(magnet, reply) => {
            let (session, now) = reactor.session_mut();
            let _ = reply.send(session.add_magnet(magnet, now));
        }
        Command::Remove(torrent) => on_session(reactor, |it, now| it.remove_torrent(torrent, now)),
        Command::Stop(torrent) => on_session(reactor, |it, now| it.stop_torrent(torrent, now)),
        Command::Start(torrent) => on_session(reactor, |it, now| it.start_torrent(torrent, now)),
        Command::Reannounce => on_session(reactor, Session::reannounce),
        Command::SetBlocklist(blocklist) => {
            on_session(reactor, |it, now| it.set_blocklist(blocklist, now));
        }
        Command::Question(question, reply) => {
            let (session, now) = reactor.session_mut();
            let _ = reply.send(session.ask_question(question, now));
        }
        Command::SetLimits(torrent, limits) => {
            let (session, now) = reactor.session_mut();
            match torrent {
                Some(torrent) => session.set_torrent_limits(torrent, limits, now),
                None => session.set_limits(limits, now),
            }
        }
        Command::Select(torrent, selection) => {
            let (session, now) = reactor.session_mut();
            session.set_selection(torrent, selection, now);
        }
        Command::Statuses(torrents, reply) => {
            let (session, now) = reactor.session();
            let statuses = torrents.iter().filter_map(|torrent| session.torrent(*torrent, now));
            let _ = reply.send(statuses.collect());
        }
        Command::Peers(torrent, reply) => {
            let (session, now) = reactor.session();
            let _ = reply.send(session.peers(torrent, now));
        }
        Command::ServeFiles(files, reply) => {
            reactor.session_mut().0.serve_files(files);
            let _ = reply.send(());
        }
        Command::TrackerStatus(reply) => {
            let _ = reply.send(reactor.session().0.tracker());
        }
        Command::TakeTrace(spare, reply) => {
            let _ = reply.send(reactor.take_trace(spare));
        }
        Command::TakeHistograms(spare, reply) => {
            let _ = reply.send(reactor.take_histograms(spare));
        }
        Command::Shutdown(..) => {}
    }
}

/// Ends the session in order, for as long as `deadline`.
fn wind_down(
    mut reactor: Reactor,
    outbox: &mut Outbox,
    deadline: Duration,
    is_hurried: &AtomicBool,
) -> Stopped {
    let (session, now) = reactor.session_mut();
    session.shutdown(now);
    let until = now + deadline;
    loop {
        if is_hurried.swap(false, Ordering::Relaxed) {
            reactor.session_mut().0.skip_announces();
        }
        let (session, now) = reactor.session();
        let idle = session.is_idle();
        if idle || now >= until {
            // What the last turn decided (closes, for one) is carried out by one more.
            let turned = reactor.turn(Some(Duration::ZERO)).is_ok();
            outbox.take_from(&mut reactor);
            let (session, now) = reactor.session();
            let (unsynced, dht) = (session.unsynced(), session.save_dht(now));
            let is_graceful = reactor.finish(rest(until, now)) && idle && turned;
            return Stopped { is_graceful, unsynced, dht, ..Stopped::default() };
        }
        if reactor.turn(Some(rest(until, now))).is_err() {
            return Stopped::default();
        }
        outbox.take_from(&mut reactor);
    }
}

fn rest(until: Instant, now: Instant) -> Duration {
    until.saturating_since(now).max(Duration::from_millis(1))
}
