//! One address family's part of a node: its id, its table, and what keeps both in order.
//!
//! ```text
//!         somebody to ask            the table has nodes
//!  Out --------------------> Joining --------------------> Joined
//!   ^  (else: after a pause)    |                            |
//!   \---------- nobody answers -/                            |
//!   \---------------------------- all nodes are gone --------/
//! ```
//!
//! **Invariant:** a side sends nothing; [`Dht`](super::Dht) does what is due.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::lookup::LookupId;
use super::search::MAX_SEARCHES_AT_ONCE;
use super::secure::Votes;
use super::table::Table;
use super::{Family, SideStatus};
use crate::id::{InfoHash, NodeId};
use crate::proto::compact::NodeInfo;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Addresses that wait to be asked whether there is a node: those of some torrents' peers.
pub const MAX_HINTS: usize = 64;
/// The pause after the first attempt to come into the DHT that fails; it doubles with each further
/// one.
const FIRST_JOIN_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause, a quarter more or less.
pub const MAX_JOIN_PAUSE: Duration = Duration::from_secs(10 * 60);
/// The least time between two attempts, however many addresses come in; it doubles as well.
const JOIN_GAP: Duration = Duration::from_secs(1);
/// The least time between two nodes that are asked for the table's sake, and so the most that
/// somebody can make us send by querying us from made-up addresses: one query a second.
pub(super) const CHECK_GAP: Duration = Duration::from_secs(1);
/// How often at most we look for our own id, so that those who have come near know us and we them
/// (libtorrent: each 10 minutes).
const MAX_SELF_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How soon we do so after having come in or moved; twice as long each further time: until then the
/// others around us, who have come at the same time as we, may not know each other.
const FIRST_SELF_INTERVAL: Duration = Duration::from_secs(15);
/// The least time between the end of a refresh and the next.
pub(super) const REFRESH_GAP: Duration = Duration::from_secs(5);
/// The least time between two changes of our id: whoever votes us back and forth gains little.
const MOVE_GAP: Duration = Duration::from_secs(10 * 60);

/// One address family's part of a node.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) family: Family,
    pub(super) table: Table,
    pub(super) votes: Votes,
    pub(super) external: Option<IpAddr>,
    moved_at: Option<Instant>,
    /// Nodes of an earlier run.
    pub(super) saved: Vec<NodeInfo>,
    /// Addresses to be asked, oldest first; at most [`MAX_HINTS`].
    pub(super) hints: VecDeque<SocketAddr>,
    pub(super) phase: Phase,
    /// Attempts to come in that have failed in a row.
    pub(super) failures: u32,
    tried_at: Option<Instant>,
    /// The lookup that refreshes a bucket, if one is under way.
    pub(super) refreshing: Option<LookupId>,
    pub(super) refresh_after: Instant,
    /// When we look for our own id next, and after which time again.
    self_at: Instant,
    self_interval: Duration,
    /// When the next node may be asked for the table's sake; `None` while nobody is to be.
    pub(super) check_at: Option<Instant>,
    checked_at: Option<Instant>,
    /// Searches that wait, by the time at which they are due.
    pub(super) due: BTreeSet<(Instant, InfoHash)>,
    /// Searches under way; at most [`MAX_SEARCHES_AT_ONCE`].
    pub(super) searching: usize,
}

/// Whether a side is in the DHT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Not, and tries at this time.
    Out { retry_at: Instant },
    /// Not yet.
    Joining(LookupId),
    /// It is.
    Joined,
}

impl Side {
    pub(super) fn new(family: Family, id: NodeId, saved: &[NodeInfo], now: Instant) -> Self {
        Self {
            family,
            table: Table::new(id, now),
            votes: Votes::default(),
            external: None,
            moved_at: None,
            saved: saved.to_vec(),
            hints: VecDeque::new(),
            phase: Phase::Out { retry_at: now },
            failures: 0,
            tried_at: None,
            refreshing: None,
            refresh_after: now,
            self_at: now,
            self_interval: FIRST_SELF_INTERVAL,
            check_at: None,
            checked_at: None,
            due: BTreeSet::new(),
            searching: 0,
        }
    }

    /// Returns when something is due that no query's time brings up.
    pub(super) fn next_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Out { retry_at } => Some(retry_at),
            Phase::Joining(_) => (!self.hints.is_empty()).then_some(Instant::ZERO),
            Phase::Joined => {
                let due_at = self.table.refresh_at().min(self.self_at);
                let refresh = || due_at.max(self.refresh_after);
                let refresh = self.refreshing.is_none().then(refresh);
                let search = self.due.first().map(|(at, _)| *at);
                let search = search.filter(|_| self.searching < MAX_SEARCHES_AT_ONCE);
                [refresh, self.check_at, search].into_iter().flatten().min()
            }
        }
    }

    /// Takes an address at which there may be a node; the oldest makes way.
    pub(super) fn hint(&mut self, addr: SocketAddr, now: Instant) {
        if self.hints.contains(&addr) {
            return;
        }
        if self.hints.len() >= MAX_HINTS {
            self.hints.pop_front();
        }
        self.hints.push_back(addr);
        if let Phase::Out { retry_at } = &mut self.phase {
            let pause = doubled(JOIN_GAP, self.failures);
            let soonest = self.tried_at.map_or(now, |at| now.max(at + pause));
            *retry_at = (*retry_at).min(soonest);
        }
        self.want_check(now);
    }

    /// Returns whom to ask to come into the DHT, with what is known of his id.
    pub(super) fn begin_with(&mut self, now: Instant) -> Vec<(Option<NodeId>, SocketAddr)> {
        let known = self.table.all(now).into_iter().chain(self.saved.iter().copied());
        let mut all: Vec<_> = known.map(|node| (Some(node.id), node.addr)).collect();
        all.extend(self.hints.drain(..).map(|addr| (None, addr)));
        all
    }

    /// Records that a lookup to come in has begun, at `now`.
    pub(super) fn joining(&mut self, lookup: LookupId, now: Instant) {
        self.phase = Phase::Joining(lookup);
        self.tried_at = Some(now);
    }

    /// Records that an attempt to come in has failed: the next one follows after a pause.
    pub(super) fn stay_out(&mut self, rng: &mut Rng, now: Instant) {
        let pause = doubled(FIRST_JOIN_PAUSE, self.failures).mul_f64(0.75 + rng.unit() / 2.0);
        self.failures += 1;
        self.phase = Phase::Out { retry_at: now + pause };
    }

    /// Records that we stand where few know us yet: buckets are filled, and we make ourselves
    /// known.
    pub(super) fn settle(&mut self, now: Instant) {
        self.table.refresh_unfilled(now);
        (self.self_at, self.self_interval) = (now, FIRST_SELF_INTERVAL);
    }

    /// Returns what to look for next for the table's sake, if it is time for anything.
    pub(super) fn next_refresh(&mut self, rng: &mut Rng, now: Instant) -> Option<NodeId> {
        if self.refreshing.is_some() || now < self.refresh_after {
            return None;
        }
        if now >= self.self_at {
            self.self_at = now + self.self_interval;
            self.self_interval = (self.self_interval * 2).min(MAX_SELF_INTERVAL);
            return Some(self.table.own());
        }
        self.table.refresh(rng, now)
    }

    /// Records that somebody may be worth asking for the table's sake.
    pub(super) fn want_check(&mut self, now: Instant) {
        let soonest = self.checked_at.map_or(now, |at| now.max(at + CHECK_GAP));
        self.check_at = Some(self.check_at.map_or(soonest, |at| at.min(soonest)));
    }

    /// Returns whom to ask for the table's sake now, if it is time and there is anybody. Later if
    /// there is no room for one more query.
    pub(super) fn next_check(&mut self, has_room: bool, now: Instant) -> Option<SocketAddr> {
        self.check_at.filter(|at| now >= *at)?;
        self.checked_at = Some(now);
        self.check_at = Some(now + CHECK_GAP);
        if !has_room {
            return None;
        }
        while let Some(hint) = self.hints.pop_front() {
            if !self.table.is_proven(hint, now) {
                return Some(hint);
            }
        }
        let addr = self.table.next_check(now).map(|node| node.addr);
        if addr.is_none() {
            self.check_at = None;
        }
        addr
    }

    /// Tells whether our id may be changed now, and takes it that it is.
    pub(super) fn may_move(&mut self, now: Instant) -> bool {
        let may = self.moved_at.is_none_or(|at| now >= at + MOVE_GAP);
        if may {
            self.moved_at = Some(now);
        }
        may
    }

    pub(super) fn status(&self, now: Instant) -> SideStatus {
        SideStatus {
            family: self.family,
            id: self.table.own(),
            external: self.external,
            is_joined: self.phase == Phase::Joined,
            table: self.table.size(now),
        }
    }

    /// Returns what is kept for the next run: the nodes of an earlier one stay while there are few
    /// others.
    pub(super) fn saved(&self, now: Instant) -> (Family, NodeId, Vec<NodeInfo>) {
        let mut nodes = self.table.all(now);
        for node in &self.saved {
            if !nodes.iter().any(|other| other.addr == node.addr) {
                nodes.push(*node);
            }
        }
        (self.family, self.table.own(), nodes)
    }
}

/// Returns `first`, doubled as often as something has failed, up to [`MAX_JOIN_PAUSE`].
fn doubled(first: Duration, failures: u32) -> Duration {
    (first * 2_u32.saturating_pow(failures.min(16))).min(MAX_JOIN_PAUSE)
}
