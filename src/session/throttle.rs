//! Limits on payload, of the whole session and of single torrents: what each connection may move
//! now, and who is let through when.
//!
//! Only payload is counted, and metadata that is sent (BEP 9), of which there may be megabytes;
//! other messages pass, but for those that stand behind a payload in their own stream. What is
//! received is held back by not reading it. What is sent is held back twice: blocks are read from
//! disk no faster than the limit, first come, first served ([`Throttle::reads`]), and what was read
//! leaves to the byte. Without a limit there is no [`Throttle`], and nothing is paid.

use std::collections::BTreeMap;

use crate::id::{BLOCK_LEN, ConnId, TorrentId};
use crate::rate::{ByteBucket, RateLimits};
use crate::time::Instant;

use super::Session;
use super::conns::{Conn, Kind};
use super::gate::Gate;
use super::slots::slots;

/// The limits that there are.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    all: Gates,
    /// The torrents that have limits of their own.
    torrents: BTreeMap<TorrentId, Gates>,
    /// Torrents with somebody in a line of theirs, each once.
    waiting: Vec<TorrentId>,
    /// When the first of those whose next read from disk waits for a limit can have it; `None` if
    /// none does. Set anew in each turn.
    pub reads_at: Option<Instant>,
}

/// The limits of a session or of a torrent.
#[derive(Debug, Default)]
struct Gates {
    down: Option<Gate>,
    up: Option<Gate>,
    /// How much may be read from disk to be sent: as much as `up` lets through.
    reads: Option<ByteBucket>,
}

/// Which way payload flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Down,
    Up,
}

/// Who is let through.
#[derive(Debug, Default)]
pub(super) struct Released {
    pub down: Vec<ConnId>,
    pub up: Vec<ConnId>,
}

impl Throttle {
    /// Returns how many bytes of payload a connection may move now.
    pub(super) fn allowance(&self, way: Way, conn: ConnId, torrent: TorrentId) -> u64 {
        let own = self.torrents.get(&torrent).and_then(|gates| gates.of(way));
        let gates = [self.all.of(way), own];
        gates.into_iter().flatten().map(|gate| gate.allowance(conn)).min().unwrap_or(u64::MAX)
    }

    /// Puts a connection that may move nothing into the line where it has to wait.
    pub(super) fn wait(&mut self, way: Way, conn: ConnId, torrent: TorrentId) {
        let own = self.torrents.get_mut(&torrent).and_then(|gates| gates.of_mut(way));
        if let Some(gate) = own.filter(|gate| gate.allowance(conn) == 0) {
            gate.wait(conn);
            if !self.waiting.contains(&torrent) {
                self.waiting.push(torrent);
            }
        } else if let Some(gate) = self.all.of_mut(way) {
            gate.wait(conn);
        }
    }

    /// Records that a connection has moved payload.
    pub(super) fn spend(
        &mut self,
        way: Way,
        (conn, torrent): (ConnId, TorrentId),
        bytes: u64,
        now: Instant,
    ) {
        let own = self.torrents.get_mut(&torrent).and_then(|gates| gates.of_mut(way));
        for gate in [self.all.of_mut(way), own].into_iter().flatten() {
            gate.spend(conn, bytes, now);
        }
    }

    /// Forgets a connection, which stands in lines or not.
    fn forget(&mut self, conn: &Conn, torrent: TorrentId) {
        let own = self.torrents.get_mut(&torrent);
        for gates in [Some(&mut self.all), own].into_iter().flatten() {
            for (gate, waits) in
                [(&mut gates.down, conn.waits_down), (&mut gates.up, conn.waits_up)]
            {
                if let Some(gate) = gate {
                    gate.forget(conn.id, waits);
                }
            }
        }
    }

    /// Returns how many blocks of a torrent may be read from disk now to be sent, at least one;
    /// `None` if none may. A block is not parted: what it has more than there is, is a debt.
    pub(super) fn reads(&mut self, torrent: TorrentId, now: Instant) -> Option<usize> {
        let own = self.torrents.get_mut(&torrent).and_then(|gates| gates.reads.as_mut());
        let mut bytes = u64::MAX;
        for bucket in [self.all.reads.as_mut(), own].into_iter().flatten() {
            bytes = bytes.min(readable(bucket, &mut self.reads_at, now)?);
        }
        Some(clip(bytes.div_ceil(u64::from(BLOCK_LEN))))
    }

    /// Tells whether no reads of any torrent are allowed now.
    pub(super) fn is_reading_held(&mut self, now: Instant) -> bool {
        let bucket = self.all.reads.as_mut();
        bucket.is_some_and(|bucket| readable(bucket, &mut self.reads_at, now).is_none())
    }

    /// Records that so many bytes of a torrent are read from disk to be sent.
    pub(super) fn read(&mut self, torrent: TorrentId, bytes: u64) {
        let own = self.torrents.get_mut(&torrent).and_then(|gates| gates.reads.as_mut());
        for bucket in [self.all.reads.as_mut(), own].into_iter().flatten() {
            bucket.spend(bytes);
        }
    }

    /// Takes back that so many bytes of a torrent were read from disk: they are not sent any more.
    /// Kept as a debt, they would hold up reads for good, and what is sent would come in bursts.
    pub(super) fn unread(&mut self, torrent: TorrentId, bytes: u64) {
        let own = self.torrents.get_mut(&torrent).and_then(|gates| gates.reads.as_mut());
        for bucket in [self.all.reads.as_mut(), own].into_iter().flatten() {
            bucket.give_back(bytes);
        }
    }

    /// Returns who is let through now.
    fn release(&mut self, now: Instant) -> Released {
        let mut released = Released::default();
        self.all.release(&mut released, now);
        let torrents = &mut self.torrents;
        self.waiting.retain(|torrent| {
            let Some(gates) = torrents.get_mut(torrent) else { return false };
            gates.release(&mut released, now);
            gates.next().is_some()
        });
        released
    }

    /// Returns when somebody is to be let through next, reads apart; `None` while nobody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        let gates = self.waiting.iter().filter_map(|torrent| self.torrents.get(torrent));
        gates.chain([&self.all]).filter_map(Gates::next).min()
    }

    /// Sets the limits of the session, or of a torrent of it. Returns who waited for a limit that
    /// is not there any more.
    fn set(&mut self, torrent: Option<TorrentId>, limits: RateLimits, now: Instant) -> Released {
        let gates = match torrent {
            Some(torrent) => self.torrents.entry(torrent).or_default(),
            None => &mut self.all,
        };
        let released = gates.set(limits, now);
        self.torrents.retain(|_, gates| gates.limit_something());
        released
    }

    /// Tells whether there is any limit.
    fn limits_something(&self) -> bool {
        self.all.limit_something() || !self.torrents.is_empty()
    }
}

impl Gates {
    const fn of(&self, way: Way) -> Option<&Gate> {
        match way {
            Way::Down => self.down.as_ref(),
            Way::Up => self.up.as_ref(),
        }
    }

    const fn of_mut(&mut self, way: Way) -> Option<&mut Gate> {
        match way {
            Way::Down => self.down.as_mut(),
            Way::Up => self.up.as_mut(),
        }
    }

    const fn limit_something(&self) -> bool {
        self.down.is_some() || self.up.is_some()
    }

    fn release(&mut self, released: &mut Released, now: Instant) {
        if let Some(gate) = &mut self.down {
            gate.release(&mut released.down, now);
        }
        if let Some(gate) = &mut self.up {
            gate.release(&mut released.up, now);
        }
    }

    fn next(&self) -> Option<Instant> {
        [&self.down, &self.up].into_iter().flatten().filter_map(Gate::next).min()
    }

    fn set(&mut self, limits: RateLimits, now: Instant) -> Released {
        let mut released = Released::default();
        for (gate, bytes_per_s, freed) in [
            (&mut self.down, limits.down, &mut released.down),
            (&mut self.up, limits.up, &mut released.up),
        ] {
            match gate {
                _ if bytes_per_s == 0 => freed.extend(gate.take().into_iter().flat_map(Gate::open)),
                Some(gate) => gate.set_rate(bytes_per_s, now),
                None => *gate = Some(Gate::new(bytes_per_s, now)),
            }
        }
        match &mut self.reads {
            _ if limits.up == 0 => self.reads = None,
            Some(bucket) => bucket.set_rate(limits.up, now),
            None => self.reads = Some(ByteBucket::new(limits.up, u64::from(BLOCK_LEN), now)),
        }
        released
    }
}

impl Session {
    /// Limits how fast the session moves payload from now on, in all; 0 for no limit.
    pub fn set_limits(&mut self, limits: RateLimits, now: Instant) {
        self.input();
        self.config.limits = limits;
        self.apply_limits(None, limits, now);
        for entry in self.torrents.iter_mut().flatten() {
            entry.torrent.down_limit = lower(limits.down, entry.limits.down);
            entry.torrent.unchoke_slots = slots(&self.config, entry.limits.up, self.rechoking);
        }
    }

    /// Limits how fast a torrent moves payload from now on, beside the limit in all; 0 for no
    /// limit. Nothing happens if there is no such torrent.
    pub fn set_torrent_limits(&mut self, torrent: TorrentId, limits: RateLimits, now: Instant) {
        self.input();
        let in_all = self.config.limits.down;
        let Some(entry) = self.entry_mut(torrent) else { return };
        entry.limits = limits;
        entry.torrent.down_limit = lower(in_all, limits.down);
        self.update_slots(torrent);
        self.apply_limits(Some(torrent), limits, now);
    }

    pub(super) fn apply_limits(
        &mut self,
        torrent: Option<TorrentId>,
        limits: RateLimits,
        now: Instant,
    ) {
        if self.throttle.is_none() && limits == RateLimits::default() {
            return;
        }
        let throttle = self.throttle.get_or_insert_default();
        let released = throttle.set(torrent, limits, now);
        if !throttle.limits_something() {
            self.throttle = None;
        }
        self.let_through(released, now);
    }

    /// Lets those go on who have waited long enough for a limit.
    pub(super) fn release_throttled(&mut self, now: Instant) {
        let Some(throttle) = &mut self.throttle else { return };
        throttle.reads_at = None;
        let released = throttle.release(now);
        self.let_through(released, now);
    }

    fn let_through(&mut self, released: Released, now: Instant) {
        for id in released.down {
            let Some(conn) = self.conns.find_mut(id) else { continue };
            conn.waits_down = false;
            if let Some((_, peer)) = conn.as_peer() {
                peer.was_kept_from_sending(&self.work.limits, now);
            }
            self.queues.readable.push_back(id);
        }
        for id in released.up {
            let Some(conn) = self.conns.find_mut(id) else { continue };
            conn.waits_up = false;
            if !std::mem::replace(&mut conn.queued, true) {
                self.queues.writable.push_back(id);
            }
        }
    }

    /// Tells a peer whose time is up that it was us who kept it waiting, if that is so.
    pub(super) fn excuse(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        let (down, up) = (conn.waits_down, conn.waits_up);
        let Some((_, peer)) = conn.as_peer() else { return };
        if down {
            peer.was_kept_from_sending(&self.work.limits, now);
        }
        if up {
            peer.was_kept_from_reading(&self.work.limits, now);
        }
    }

    /// Takes a connection that ended out of the lines.
    pub(super) fn forget_throttled(&mut self, conn: &Conn) {
        if let (Some(throttle), Kind::Peer { torrent, peer }) = (&mut self.throttle, &conn.kind) {
            throttle.forget(conn, *torrent);
            throttle.unread(*torrent, peer.payload_to_send() as u64);
        }
    }

    /// Asserts that whoever waits stands in exactly one line a way, and that nobody else does.
    pub(super) fn check_throttle(&self) {
        let gates = self.throttle.iter().flat_map(|throttle| {
            throttle.torrents.values().chain([&throttle.all]).map(|gates| [&gates.down, &gates.up])
        });
        let mut lines = [Vec::new(), Vec::new()];
        for gates in gates {
            for (gate, line) in gates.into_iter().zip(&mut lines) {
                line.extend(gate.iter().flat_map(Gate::line));
            }
        }
        let waits: [fn(&&Conn) -> bool; 2] = [|conn| conn.waits_down, |conn| conn.waits_up];
        for (mut line, waits) in lines.into_iter().zip(waits) {
            let mut marked: Vec<ConnId> =
                self.conns.iter().filter(waits).map(|conn| conn.id).collect();
            line.sort_unstable();
            marked.sort_unstable();
            assert_eq!(line, marked, "who waits for a limit");
        }
    }
}

/// Returns how many bytes may be read; if none may, `at` becomes the time of the next ones if that
/// is earlier.
fn readable(bucket: &mut ByteBucket, at: &mut Option<Instant>, now: Instant) -> Option<u64> {
    bucket.fill(now);
    if bucket.available() > 0 {
        return Some(bucket.available());
    }
    let ready = bucket.ready_at(bucket.quantum());
    *at = Some(at.map_or(ready, |at| at.min(ready)));
    None
}

/// Returns the lower of two limits of which 0 is none; `u64::MAX` if there is neither.
pub(super) fn lower(one: u64, other: u64) -> u64 {
    let limits = [one, other].into_iter().filter(|limit| *limit > 0);
    limits.min().unwrap_or(u64::MAX)
}

/// Returns a number of bytes as the length of something in memory.
pub(super) fn clip(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
