//! One bucket of the routing table: up to [`K`] nodes that have answered us, and some more that
//! would take the place of one.
//!
//! ```text
//!                answers             silent for 15 min           silent twice when asked
//!  (heard of) -----------> good <------------------> questionable -------------> bad
//! ```
//!
//! **Invariant:** who is in the bucket proper has answered a query of ours from that address. Who
//! has only been heard of waits among the spare ones, is never named to others, and is asked before
//! he comes in.

use std::net::SocketAddr;

use crate::id::NodeId;
use crate::proto::addr::neighbourhood;
use crate::proto::compact::NodeInfo;
use crate::proto::url::is_local;
use crate::time::{Duration, Instant};

use super::secure;

/// Nodes in a bucket, and how many a lookup ends with (BEP 5, "K is currently 8").
pub const K: usize = 8;
/// Nodes that wait for a place in one bucket.
pub const MAX_SPARE: usize = 8;
/// For how long a node is good that has answered or asked (BEP 5).
pub const GOOD_FOR: Duration = Duration::from_secs(15 * 60);
/// Queries in a row that a bad node has not answered (BEP 5: "multiple").
const BAD_AFTER: u8 = 2;
/// How long a node that was asked for the table's sake is left alone: longer than a query waits.
const CHECK_PAUSE: Duration = Duration::from_secs(10);

/// A node that we know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) info: NodeInfo,
    /// Whether it has ever answered us.
    has_answered: bool,
    /// When it answered or asked us last.
    heard_at: Instant,
    /// Queries in a row that it has not answered.
    failures: u8,
    /// Whether its id follows from its address (BEP 42).
    is_secure: bool,
    /// Whether somebody at its address has called himself something else since it answered: its id
    /// may have changed, or somebody may want us to think so.
    is_doubted: bool,
    /// When it was last asked for the table's sake.
    checked_at: Option<Instant>,
}

/// What a node is worth (BEP 5, "Routing Table").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Standing {
    /// Answers, and was heard of a short while ago.
    Good,
    /// Has answered, and may be gone.
    Questionable,
    /// Does not answer.
    Bad,
}

impl Node {
    /// Returns a node that was heard of at `now` and has answered or not.
    pub(super) fn new(info: NodeInfo, has_answered: bool, now: Instant) -> Self {
        let is_secure = secure::is_valid_at(info.id, info.addr.ip());
        Self {
            info,
            has_answered,
            heard_at: now,
            failures: 0,
            is_secure,
            is_doubted: false,
            checked_at: None,
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.failures {
            BAD_AFTER.. => Standing::Bad,
            0 if self.has_answered && now - self.heard_at < GOOD_FOR => Standing::Good,
            _ => Standing::Questionable,
        }
    }

    /// Tells whether it cannot be in a table together with this one: it is of the same host, or has
    /// the same id.
    pub(super) fn clashes(&self, info: &NodeInfo) -> bool {
        host(self.info.addr) == host(info.addr) || self.info.id == info.id
    }

    pub(super) const fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Tells whether one more query without an answer makes it bad.
    const fn has_just_failed(&self) -> bool {
        self.failures > 0 && self.failures < BAD_AFTER
    }

    fn may_be_checked(&self, now: Instant) -> bool {
        self.checked_at.is_none_or(|at| now >= at + CHECK_PAUSE)
    }
}

/// Returns what only one node in a table may have: an IP address, or, of those that the internet
/// does not route and many hosts or tests may share, an address with its port.
pub(super) fn host(addr: SocketAddr) -> SocketAddr {
    let port = if is_local(addr.ip()) { addr.port() } else { 0 };
    SocketAddr::new(addr.ip(), port)
}

/// Returns what only one node in a bucket or lookup may have: a neighbourhood of IP addresses, with
/// the same exception.
pub(super) fn group(addr: SocketAddr) -> SocketAddr {
    if is_local(addr.ip()) { addr } else { SocketAddr::new(neighbourhood(addr.ip()), 0) }
}

/// Up to [`K`] nodes, and some that wait for a place.
#[derive(Debug)]
pub(super) struct Bucket {
    /// At most [`K`], no two of one [`group`].
    pub(super) live: Vec<Node>,
    /// At most [`MAX_SPARE`], oldest first, no two of one [`group`].
    pub(super) spare: Vec<Node>,
    /// When it is to be refreshed: [`GOOD_FOR`] after a node came in or answered last (BEP 5, "last
    /// changed").
    pub(super) refresh_at: Instant,
}

/// What came of offering a node to a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offer {
    /// It is in.
    Taken,
    /// It may come in later, or not.
    Refused,
    /// There is no room.
    Full,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { live: Vec::new(), spare: Vec::new(), refresh_at: now + GOOD_FOR }
    }

    /// Takes a node that has answered, if there is room or a bad one.
    pub(super) fn offer(&mut self, node: Node, now: Instant) -> Offer {
        let is_near = |other: &Node| group(other.info.addr) == group(node.info.addr);
        self.spare.retain(|other| !is_near(other));
        let is_bad = |other: &Node| other.standing(now) == Standing::Bad;
        if let Some(near) = self.live.iter_mut().find(|other| is_near(other)) {
            if !is_bad(near) {
                return Offer::Refused;
            }
            *near = node;
        } else if self.live.len() < K {
            self.live.push(node);
        } else if let Some(bad) = self.live.iter_mut().find(|other| is_bad(other)) {
            *bad = node;
        } else {
            return Offer::Full;
        }
        self.refresh_at = now + GOOD_FOR;
        Offer::Taken
    }

    /// Finds a node that has answered a place in a full bucket that is not split: that of one whose
    /// id does not follow from its address, if its own does (BEP 42), or among the spare ones.
    pub(super) fn press(&mut self, node: Node) {
        let mut spare = node;
        if node.is_secure
            && let Some(insecure) = self.live.iter_mut().find(|other| !other.is_secure)
        {
            spare = std::mem::replace(insecure, node);
        }
        self.keep(spare);
    }

    /// Puts a node among the spare ones. One that has answered takes the place of the oldest, one
    /// that has not that of the oldest that has not.
    pub(super) fn keep(&mut self, node: Node) -> bool {
        let nodes = || self.live.iter().chain(&self.spare);
        if nodes().any(|other| group(other.info.addr) == group(node.info.addr)) {
            return false;
        }
        if self.spare.len() >= MAX_SPARE {
            let oldest = |other: &Node| node.has_answered || !other.has_answered;
            let Some(at) = self.spare.iter().position(oldest) else { return false };
            self.spare.remove(at);
        }
        self.spare.push(node);
        true
    }

    /// Records that a node of the bucket has answered or, if not `answers`, asked. Tells whether it
    /// is one of the bucket proper.
    pub(super) fn heard(&mut self, info: &NodeInfo, answers: bool, now: Instant) -> bool {
        let Some(node) = self.live.iter_mut().find(|node| node.info == *info) else { return false };
        node.heard_at = now;
        if answers {
            (node.failures, node.is_doubted) = (0, false);
            self.refresh_at = now + GOOD_FOR;
        }
        true
    }

    /// Records that somebody at `addr` calls himself `id`; tells whether that is not what the node
    /// there has said.
    pub(super) fn doubt(&mut self, info: &NodeInfo) -> bool {
        let Some(node) = self.live.iter_mut().find(|node| node.info.addr == info.addr) else {
            return false;
        };
        node.is_doubted |= node.info.id != info.id;
        node.is_doubted
    }

    /// Records that the node at `addr` has not answered. A spare one is forgotten; one that is bad
    /// makes way for one that has answered.
    pub(super) fn failed(&mut self, addr: SocketAddr, now: Instant) {
        self.spare.retain(|node| node.info.addr != addr);
        let Some(at) = self.live.iter().position(|node| node.info.addr == addr) else { return };
        let node = &mut self.live[at];
        node.failures = node.failures.saturating_add(1);
        if node.standing(now) == Standing::Bad
            && let Some(newest) = self.spare.iter().rposition(|node| node.has_answered)
        {
            self.live[at] = self.spare.remove(newest);
            self.refresh_at = now + GOOD_FOR;
        }
    }

    /// Forgets the nodes, spare ones too, of a host or with an id.
    pub(super) fn forget(&mut self, info: &NodeInfo) {
        self.live.retain(|node| !node.clashes(info));
        self.spare.retain(|node| !node.clashes(info));
    }

    /// Returns whom to ask for the bucket's sake, if anybody: who may have another id by now or be
    /// gone, a spare one that there is a place for, or who may have to make way for one.
    /// `may_split`: the bucket has room however full it is.
    pub(super) fn next_check(&mut self, may_split: bool, now: Instant) -> Option<NodeInfo> {
        let is_bad = |node: &Node| node.standing(now) == Standing::Bad;
        let has_place = may_split || self.live.len() < K || self.live.iter().any(is_bad);
        let unsure = |node: &Node| node.is_doubted || node.has_just_failed();
        let unsure = self.live.iter().position(|node| unsure(node) && node.may_be_checked(now));
        let node = if let Some(at) = unsure {
            self.live.get_mut(at)
        } else if has_place {
            self.spare.iter_mut().rev().find(|node| node.may_be_checked(now))
        } else if self.spare.is_empty() {
            None
        } else {
            let questionable = self.live.iter_mut().filter(|node| {
                node.standing(now) == Standing::Questionable && node.may_be_checked(now)
            });
            questionable.min_by_key(|node| node.heard_at)
        }?;
        node.checked_at = Some(now);
        Some(node.info)
    }

    /// Returns the nodes that are not known to be gone, and of each whether it has answered the
    /// last time it was asked.
    pub(super) fn usable(&self, now: Instant) -> impl Iterator<Item = (NodeInfo, bool)> + '_ {
        let usable = move |node: &&Node| node.standing(now) < Standing::Bad;
        self.live.iter().filter(usable).map(|node| (node.info, node.failures == 0))
    }

    /// Moves the nodes out for which `belongs` is false.
    pub(super) fn split(&mut self, belongs: impl Fn(NodeId) -> bool) -> Self {
        let mut other = Self { live: Vec::new(), spare: Vec::new(), refresh_at: self.refresh_at };
        for (from, to) in [(&mut self.live, &mut other.live), (&mut self.spare, &mut other.spare)] {
            to.extend(from.extract_if(.., |node| !belongs(node.info.id)));
        }
        other
    }
}
