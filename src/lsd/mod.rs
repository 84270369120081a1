//! Local service discovery (BEP 14): which torrents are announced to the local network when, and
//! what is believed of what others announce there.
//!
//! ```text
//!  add ──▶ as soon as may be, then every 5 minutes ──▶ poll: up to 24 torrents, once a minute
//!  a datagram ──▶ from an attached network, 10 a second, not our own ──▶ who has which torrents
//! ```
//!
//! **Invariant:** it announces what it was given and looks for nothing else: whoever owns it gives
//! it no private torrent (BEP 27). While it has none, it has no deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::id::InfoHash;
use crate::proto::lsd::{MAX_HASHES, cookie_text, parse, write};
use crate::rate::TokenBucket;
use crate::subnet::Subnet;
use crate::time::{Duration, Instant};

/// How often each torrent is announced (BEP 14), while there are no more than [`MAX_HASHES`] for
/// each minute of it; of more, each in its turn.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The least time between two announcements (BEP 14: "no more than 1 announce per minute").
pub const ANNOUNCE_PAUSE: Duration = Duration::from_secs(60);
/// How long the first torrent waits for others that are added with it.
pub const GATHER_FOR: Duration = Duration::from_millis(100);
/// The most announcements of others that are looked at in a second (security.md 2.4, row 43; as
/// Transmission). Several hundred clients make less.
pub const MAX_HEARD_PER_S: u32 = 10;

/// A session's part in local service discovery.
#[derive(Debug)]
pub struct Lsd {
    /// Where we take peers; 0 for nowhere, and then nothing is announced.
    port: u16,
    /// What our own announcements are known by when they come back.
    cookie: u32,
    /// Where announcements are believed to come from.
    networks: Vec<Subnet>,
    /// When each torrent is announced next: [`Instant::ZERO`] for as soon as may be.
    torrents: BTreeMap<InfoHash, Instant>,
    /// Invariant: the same, by time.
    due: BTreeSet<(Instant, InfoHash)>,
    /// When the next announcement may leave.
    free_at: Instant,
    heard: TokenBucket,
}

/// What a datagram is to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Somebody has these of our torrents, and takes peers there. Never empty.
    Peer(SocketAddr, Vec<InfoHash>),
    /// Nothing that matters: no announcement, our own, or of torrents that we do not have.
    Nothing,
    /// It was not looked at: it is from no network that we are attached to, or too many come.
    Dropped,
}

impl Lsd {
    /// Announces nothing yet, and hears nobody until it is told of [networks](Lsd::set_networks).
    ///
    /// `port` is where we take peers, 0 for nowhere; `cookie` is what no other client has.
    pub fn new(port: u16, cookie: u32, now: Instant) -> Self {
        Self {
            port,
            cookie,
            networks: Vec::new(),
            torrents: BTreeMap::new(),
            due: BTreeSet::new(),
            free_at: now,
            heard: TokenBucket::new(MAX_HEARD_PER_S, MAX_HEARD_PER_S, now),
        }
    }

    /// Takes in which networks this machine is attached to: of what comes from elsewhere nothing is
    /// believed, however it got here.
    pub fn set_networks(&mut self, networks: Vec<Subnet>) {
        self.networks = networks;
    }

    /// Announces a torrent from now on; of no effect on one that is.
    pub fn add(&mut self, torrent: InfoHash, now: Instant) {
        if self.torrents.contains_key(&torrent) {
            return;
        }
        // What is new comes before what is announced again.
        self.torrents.insert(torrent, Instant::ZERO);
        self.due.insert((Instant::ZERO, torrent));
        self.free_at = self.free_at.max(now + GATHER_FOR);
    }

    /// Announces a torrent no more.
    pub fn remove(&mut self, torrent: InfoHash) {
        if let Some(at) = self.torrents.remove(&torrent) {
            self.due.remove(&(at, torrent));
        }
    }

    /// Announces a torrent, if it is announced at all, as soon as may be.
    pub fn hasten(&mut self, torrent: InfoHash) {
        if let Some(at) = self.torrents.get_mut(&torrent) {
            self.due.remove(&(*at, torrent));
            self.due.insert((Instant::ZERO, torrent));
            *at = Instant::ZERO;
        }
    }

    /// Returns when [`Lsd::poll`] has something; `None` while nothing is to be announced.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.due.first().filter(|_| self.port != 0);
        first.map(|(at, _)| (*at).max(self.free_at))
    }

    /// Takes the torrents that are to be announced now: at most [`MAX_HASHES`], empty if none is
    /// due. They are to be [written](Lsd::write) for each group.
    pub fn poll(&mut self, now: Instant) -> Vec<InfoHash> {
        let mut torrents = Vec::new();
        if self.port == 0 || self.free_at > now {
            return torrents;
        }
        while torrents.len() < MAX_HASHES
            && let Some((at, torrent)) = self.due.first().copied().filter(|(at, _)| *at <= now)
        {
            let next = now + ANNOUNCE_INTERVAL;
            self.due.remove(&(at, torrent));
            self.due.insert((next, torrent));
            self.torrents.insert(torrent, next);
            torrents.push(torrent);
        }
        if !torrents.is_empty() {
            self.free_at = now + ANNOUNCE_PAUSE;
        }
        torrents
    }

    /// Appends the announcement of `torrents` to the group of a family to `out`.
    pub fn write(&self, is_ipv4: bool, torrents: &[InfoHash], out: &mut Vec<u8>) {
        write(out, is_ipv4, self.port, torrents, self.cookie);
    }

    /// Takes in a datagram that came to a group. What strangers send costs no more than the
    /// networks are asked, and [`MAX_HEARD_PER_S`] looks in a second.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Heard {
        let ip = from.ip().to_canonical();
        if !self.networks.iter().any(|network| network.contains(ip)) || !self.heard.take(now) {
            return Heard::Dropped;
        }
        let Some(announcement) = parse(datagram) else { return Heard::Nothing };
        if announcement.cookie == cookie_text(self.cookie).as_bytes() {
            return Heard::Nothing;
        }
        let mut hashes = announcement.hashes;
        hashes.retain(|hash| self.torrents.contains_key(hash));
        if hashes.is_empty() {
            return Heard::Nothing;
        }
        Heard::Peer(SocketAddr::new(ip, announcement.port), hashes)
    }
}

#[cfg(test)]
mod tests;
