//! Exchanges with trackers over UDP: connects, announces and scrapes, told apart by their
//! transactions (BEP 15, BEP 41).
//!
//! Decides what is sent when, and which answers count. One [`UdpTrackers`] serves all torrents of a
//! session, because a connection id belongs to a tracker's address and not to a torrent: whoever
//! asks while somebody else connects waits for the same answer. **Invariant:** it knows no socket
//! and no torrent, and it never gives up: how long an exchange may take is its owner's to bound
//! ([`UdpTrackers::give_up`]). Only an answer from the very address that was asked counts.
//!
//! ```text
//!            no id, or too old            connected
//!  announce ──────────────────▶ Connecting ─────────▶ Asking ──answered, refused──▶ (gone)
//!      \──────────id known──────────────────────────▶  │  ▲
//!                        ▲                             │  │ again after 15 * 2^n s
//!                        └──id too old, or refused─────┴──┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use sha1::{Digest, Sha1};

use crate::id::InfoHash;
use crate::proto::compact::{PEER4_LEN, PEER6_LEN, parse_peers4, parse_peers6};
use crate::proto::tracker_http::{
    AnnounceReply, Failure, MAX_INTERVAL, MIN_INTERVAL, Retry, foreign_text,
};
use crate::proto::tracker_serve::SwarmCounts;
use crate::proto::tracker_udp::{
    Reply, UdpAnnounce, parse_reply, write_announce, write_connect, write_scrape,
};
use crate::time::{Duration, Instant};

/// How long a connection id is used after it was received (BEP 15: "a client can use a connection
/// ID until one minute after it has received it").
pub const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// How long an answer is waited for before the first repetition; twice as long before each further
/// one (BEP 15: 15 * 2 ^ n seconds).
pub const FIRST_REPEAT: Duration = Duration::from_secs(15);
/// The most that the wait is doubled (BEP 15: "n starts at 0 and is increased up to 8").
const MAX_DOUBLINGS: u32 = 8;
/// The most bytes of a URL's path and query that go along with an announce (BEP 41): with them it
/// still passes every path in one piece. Real ones have a passkey of some forty digits.
pub const MAX_TARGET_LEN: usize = 1_024;
/// Addresses of trackers beyond which those are forgotten whose connection id is too old and whom
/// nobody asks.
const MAX_IDLE_LINKS: usize = 64;

/// The exchanges of a session with trackers over UDP.
#[derive(Debug)]
pub struct UdpTrackers {
    secret: [u8; 32],
    /// How many transaction ids were drawn.
    drawn: u64,
    /// By the tracker's address.
    links: BTreeMap<SocketAddr, Link>,
    asks: BTreeMap<AskId, Ask>,
    outbox: VecDeque<UdpTransmit>,
    news: VecDeque<(AskId, UdpProgress)>,
    /// Nothing is due before this.
    wake_at: Option<Instant>,
}

/// An announce or a scrape under way; also its transaction id, which nobody who does not see our
/// datagrams can guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AskId(u32);

/// What is asked of a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UdpAsk {
    /// Announces.
    Announce {
        /// What it says.
        announce: UdpAnnounce,
        /// Path and query of the announce URL, at most [`MAX_TARGET_LEN`] bytes; may be empty.
        url_data: Vec<u8>,
    },
    /// Asks how swarms stand: at least one, at most
    /// [`MAX_SCRAPE_ASKED`](crate::proto::tracker_udp::MAX_SCRAPE_ASKED); the rest is not
    /// asked for.
    Scrape(Vec<InfoHash>),
}

/// What became of an exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UdpProgress {
    /// The tracker is there: it has given us a connection id, and the question leaves. Told once.
    Reached,
    /// It took the announce. The exchange is over.
    Announced(AnnounceReply),
    /// How the swarms stand, in the order in which they were asked for; fewer if it says less. The
    /// exchange is over.
    Scraped(Vec<SwarmCounts>),
    /// It refused. The exchange is over.
    Refused(Failure),
}

/// A datagram that is to be sent; [`UdpTrackers::write`] writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpTransmit {
    /// Where to.
    pub to: SocketAddr,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Connect { transaction: u32 },
    Ask { ask: AskId, connection: u64 },
}

/// What is known of a tracker's address.
#[derive(Debug, Default)]
struct Link {
    /// The last connection id, and when it came.
    connection: Option<(u64, Instant)>,
    /// The connect under way. Invariant: there is one while an [`Ask`] to this address is
    /// [`Step::Connecting`], and only then.
    connecting: Option<Connecting>,
}

#[derive(Debug)]
struct Connecting {
    transaction: u32,
    repeat: Repeat,
}

#[derive(Debug)]
struct Ask {
    to: SocketAddr,
    what: UdpAsk,
    step: Step,
    is_reached: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// It waits for the connection id of its address.
    Connecting,
    /// It was sent with this id. One that was `borrowed` was there before this exchange: the
    /// tracker may have forgotten it.
    Asking { connection: u64, borrowed: bool, repeat: Repeat },
}

/// When something is sent again.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    doublings: u32,
    at: Instant,
}

impl UdpTrackers {
    /// Returns no exchanges. Transaction ids follow from `secret`.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            drawn: 0,
            links: BTreeMap::new(),
            asks: BTreeMap::new(),
            outbox: VecDeque::new(),
            news: VecDeque::new(),
            wake_at: None,
        }
    }

    /// Begins to ask the tracker at `to`. It is under way until [`UdpTrackers::poll`] tells its
    /// end, or [`UdpTrackers::give_up`]. If it [is reached](UdpTrackers::is_reached) at once, this
    /// is not told any more.
    pub fn ask(&mut self, to: SocketAddr, what: UdpAsk, now: Instant) -> AskId {
        if self.links.len() >= MAX_IDLE_LINKS {
            self.links.retain(|_, link| link.connecting.is_some() || link.usable(now).is_some());
        }
        let id = loop {
            let id = AskId(self.draw());
            if !self.asks.contains_key(&id) {
                break id;
            }
        };
        self.asks.insert(id, Ask { to, what, step: Step::Connecting, is_reached: false });
        self.send(id, Repeat::first(now), true, now);
        id
    }

    /// Forgets an exchange; an answer that comes later means nothing.
    pub fn give_up(&mut self, id: AskId) {
        if let Some(ask) = self.asks.remove(&id) {
            self.news.retain(|(of, _)| *of != id);
            self.end_idle_connect(ask.to);
        }
    }

    /// Tells whether the tracker has been reached: it has sent something in this exchange, or a
    /// minute ago in another.
    pub fn is_reached(&self, id: AskId) -> bool {
        self.asks.get(&id).is_some_and(|ask| ask.is_reached)
    }

    /// Takes in a datagram of `from`. Tells whether it was an answer to something; anybody can send
    /// others, and they change nothing.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        let Ok(reply) = parse_reply(datagram) else { return false };
        match reply {
            Reply::Connected { transaction, connection } => {
                self.connected(from, transaction, connection, now)
            }
            Reply::Announced { transaction, interval, leechers, seeders, peers } => {
                let is_asked = |ask: &Ask| matches!(ask.what, UdpAsk::Announce { .. });
                self.answered(from, transaction, is_asked, || {
                    UdpProgress::Announced(AnnounceReply {
                        interval: interval.clamp(MIN_INTERVAL, MAX_INTERVAL),
                        complete: Some(seeders),
                        incomplete: Some(leechers),
                        peers: compact_peers(peers, from),
                        ..AnnounceReply::default()
                    })
                })
            }
            Reply::Scraped { transaction, swarms } => {
                let is_asked = |ask: &Ask| matches!(ask.what, UdpAsk::Scrape(_));
                let most = match self.asks.get(&AskId(transaction)).map(|ask| &ask.what) {
                    Some(UdpAsk::Scrape(hashes)) => hashes.len(),
                    _ => 0,
                };
                self.answered(from, transaction, is_asked, || {
                    UdpProgress::Scraped(swarms.iter().take(most).collect())
                })
            }
            Reply::Failed { transaction, message } => {
                let reason = foreign_text(message);
                self.refused(from, transaction, Failure { reason, retry: Retry::Unsaid }, now)
            }
        }
    }

    /// Sends again what has waited long enough for its answer.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake_at.is_none_or(|at| at > now) {
            return;
        }
        for (to, link) in &mut self.links {
            if let Some(Connecting { transaction, repeat }) = &mut link.connecting
                && repeat.at <= now
            {
                *repeat = repeat.next(now);
                let what = What::Connect { transaction: *transaction };
                self.outbox.push_back(UdpTransmit { to: *to, what });
            }
        }
        let is_due =
            |ask: &Ask| matches!(ask.step, Step::Asking { repeat, .. } if repeat.at <= now);
        let due = self.asks.iter().filter(|(_, ask)| is_due(ask)).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            let Some(ask) = self.asks.get(&id) else { continue };
            let Step::Asking { connection, borrowed, repeat } = ask.step else { continue };
            if borrowed {
                // A tracker that was started anew may say nothing to an id that it does not know.
                self.disown(ask.to, connection);
            }
            self.send(id, repeat.next(now), false, now);
        }
        let connects = self.links.values().filter_map(|link| link.connecting.as_ref());
        let repeats = connects.map(|connecting| connecting.repeat.at);
        let asks = self.asks.values().filter_map(|ask| match ask.step {
            Step::Asking { repeat, .. } => Some(repeat.at),
            Step::Connecting => None,
        });
        self.wake_at = repeats.chain(asks).min();
    }

    /// Returns when [`UdpTrackers::handle_timeout`] is due; may be too early once what was due then
    /// has been answered.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Returns the next news of an exchange.
    pub fn poll(&mut self) -> Option<(AskId, UdpProgress)> {
        self.news.pop_front()
    }

    /// Returns the next datagram that is to be sent.
    pub fn poll_transmit(&mut self) -> Option<UdpTransmit> {
        self.outbox.pop_front()
    }

    /// Appends a datagram to `out`; nothing if its exchange was given up meanwhile.
    pub fn write(&self, transmit: UdpTransmit, out: &mut Vec<u8>) {
        match transmit.what {
            What::Connect { transaction } => write_connect(out, transaction),
            What::Ask { ask, connection } => match self.asks.get(&ask).map(|ask| &ask.what) {
                Some(UdpAsk::Announce { announce, url_data }) => {
                    write_announce(out, connection, ask.0, announce, url_data);
                }
                Some(UdpAsk::Scrape(hashes)) => write_scrape(out, connection, ask.0, hashes),
                None => {}
            },
        }
    }

    /// Sends a question, if there is a connection id that may be used; else sees to it that there
    /// will be one. Without an answer, `repeat` says when it is sent again.
    fn send(&mut self, id: AskId, repeat: Repeat, borrowed: bool, now: Instant) {
        let Some(ask) = self.asks.get_mut(&id) else { return };
        let to = ask.to;
        let link = self.links.entry(to).or_default();
        if let Some(connection) = link.usable(now) {
            ask.step = Step::Asking { connection, borrowed, repeat };
            self.outbox.push_back(UdpTransmit { to, what: What::Ask { ask: id, connection } });
            ask.is_reached = true;
        } else {
            ask.step = Step::Connecting;
            if let Some(connecting) = &mut link.connecting {
                // Whoever joins in waits no longer than alone: else a tracker that was down would
                // be asked ever less often while there is always somebody who asks.
                connecting.repeat = connecting.repeat.or_sooner(repeat);
            } else {
                let transaction = self.draw();
                let connecting = Some(Connecting { transaction, repeat });
                self.links.entry(to).or_default().connecting = connecting;
                self.outbox.push_back(UdpTransmit { to, what: What::Connect { transaction } });
            }
        }
        self.wake_at = self.wake_at.into_iter().chain([repeat.at]).min();
    }

    /// Takes in a connection id: all who wait for it ask.
    fn connected(
        &mut self,
        from: SocketAddr,
        transaction: u32,
        connection: u64,
        now: Instant,
    ) -> bool {
        let Some(link) = self.links.get_mut(&from) else { return false };
        if link.connecting.as_ref().is_none_or(|asked| asked.transaction != transaction) {
            return false;
        }
        *link = Link { connection: Some((connection, now)), connecting: None };
        for id in self.connecting_to(from) {
            if !self.is_reached(id) {
                self.news.push_back((id, UdpProgress::Reached));
            }
            self.send(id, Repeat::first(now), false, now);
        }
        true
    }

    /// Ends the exchange with this transaction, if it is with `from` and about what was answered.
    fn answered(
        &mut self,
        from: SocketAddr,
        transaction: u32,
        is_asked: impl FnOnce(&Ask) -> bool,
        progress: impl FnOnce() -> UdpProgress,
    ) -> bool {
        let id = AskId(transaction);
        let Some(ask) = self.asks.get(&id) else { return false };
        // Before it was sent nobody can know its transaction, but guess it.
        if ask.to != from || !ask.is_reached || !is_asked(ask) {
            return false;
        }
        self.end(id, progress());
        true
    }

    /// Takes in that `from` refused a question or a connect.
    fn refused(
        &mut self,
        from: SocketAddr,
        transaction: u32,
        failure: Failure,
        now: Instant,
    ) -> bool {
        let id = AskId(transaction);
        if let Some(ask) = self.asks.get(&id).filter(|ask| ask.to == from && ask.is_reached) {
            match ask.step {
                // It may mean the connection id, which is older than this exchange: with a new one
                // it is asked again, once.
                Step::Asking { connection, borrowed: true, .. } => {
                    self.disown(from, connection);
                    self.send(id, Repeat::first(now), false, now);
                }
                _ => self.end(id, UdpProgress::Refused(failure)),
            }
            return true;
        }
        let connecting = self.links.get(&from).and_then(|link| link.connecting.as_ref());
        if connecting.is_none_or(|connecting| connecting.transaction != transaction) {
            return false;
        }
        for id in self.connecting_to(from) {
            self.end(id, UdpProgress::Refused(failure.clone()));
        }
        true
    }

    fn end(&mut self, id: AskId, progress: UdpProgress) {
        if let Some(ask) = self.asks.remove(&id) {
            self.news.push_back((id, progress));
            self.end_idle_connect(ask.to);
        }
    }

    /// Stops connecting to an address that nobody wants to ask any more.
    fn end_idle_connect(&mut self, to: SocketAddr) {
        if self.connecting_to(to).is_empty()
            && let Some(link) = self.links.get_mut(&to)
        {
            link.connecting = None;
        }
    }

    /// Forgets a connection id that does not seem to be good any more.
    fn disown(&mut self, to: SocketAddr, connection: u64) {
        if let Some(link) = self.links.get_mut(&to)
            && link.connection.is_some_and(|(known, _)| known == connection)
        {
            link.connection = None;
        }
    }

    /// Returns who waits for the connection id of an address.
    fn connecting_to(&self, to: SocketAddr) -> Vec<AskId> {
        let waits = |ask: &Ask| ask.to == to && matches!(ask.step, Step::Connecting);
        self.asks.iter().filter(|(_, ask)| waits(ask)).map(|(id, _)| *id).collect()
    }

    fn draw(&mut self) -> u32 {
        self.drawn += 1;
        let mut hash = Sha1::new();
        hash.update(self.secret);
        hash.update(b"udp tracker transaction");
        hash.update(self.drawn.to_be_bytes());
        let [a, b, c, d, ..] = <[u8; 20]>::from(hash.finalize());
        u32::from_be_bytes([a, b, c, d])
    }
}

impl Link {
    /// Returns the connection id, if it is not too old.
    fn usable(&self, now: Instant) -> Option<u64> {
        let (connection, since) = self.connection?;
        (now < since + CONNECTION_LIFE).then_some(connection)
    }
}

impl Repeat {
    fn first(now: Instant) -> Self {
        Self { doublings: 0, at: now + FIRST_REPEAT }
    }

    /// Returns whichever is due first.
    fn or_sooner(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    fn next(self, now: Instant) -> Self {
        let doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        Self { doublings, at: now + FIRST_REPEAT * (1 << doublings) }
    }
}

/// Reads the peers of an answer, which are of the family of the socket and not of any field; what
/// comes behind the last whole one is ignored (BEP 15: packets may be longer).
fn compact_peers(peers: &[u8], from: SocketAddr) -> Vec<SocketAddr> {
    let stride = if from.is_ipv4() { PEER4_LEN } else { PEER6_LEN };
    let whole = &peers[..peers.len() / stride * stride];
    let parsed = if from.is_ipv4() { parse_peers4(whole) } else { parse_peers6(whole) };
    parsed.unwrap_or_default()
}
