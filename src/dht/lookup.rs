//! One iterative lookup: asking ever closer nodes until the closest have answered (BEP 5; the
//! "node lookup" of the Kademlia paper, section 2.3).
//!
//! Up to [`ALPHA`] queries are under way at once. One that takes longer than usual gives its place
//! to another without being given up, so that a dead node costs a lookup little time; the closest
//! nodes are asked up to [`MAX_ATTEMPTS`] times, because one lost datagram must not hide one of
//! them. Those behind who are silent are passed over meanwhile, and may still answer.
//!
//! ```text
//!         next           stalled         expired after the last attempt
//!  Fresh ------> Asked ----------> Stalled ---------------------> Failed
//!                  ^ \--answered-/   / \--answered--> Answered
//!                  \------next------/
//! ```
//!
//! **Invariant:** a lookup sends nothing and knows no table; it says whom to ask and is told what
//! came of it. Who makes up closer and closer nodes is bounded by [`MAX_QUERIES`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::bucket::{K, group, host};
use super::{Family, secure};
use crate::id::{InfoHash, NodeId};
use crate::net_policy::{NamedBy, Purpose, Reach, net_policy};
use crate::proto::compact::NodeInfo;
use crate::proto::krpc::{AnnouncedPort, Method, Want};
use crate::time::{Duration, Instant};

/// Queries of one lookup that are under way at once and have not stalled (Kademlia's α).
pub const ALPHA: usize = 3;
/// How many of the closest must have answered before a lookup ends. More than the [`K`] that are
/// wanted: each names only so many of those that it knows, so that the furthest of them would be
/// missed now and then.
const MUST_ANSWER: usize = K + K / 4;
/// Times that one node is asked by a lookup: with one datagram in ten lost, one node in some 150 is
/// still missed, with one in fifty one in 15,000.
pub const MAX_ATTEMPTS: u8 = 3;
/// Times for those beyond the [`K`] that are wanted, who only have to name who is closer.
const ATTEMPTS_BEHIND: u8 = 2;
/// Nodes that are asked for those around once the closest have answered: without it one lookup in a
/// hundred misses somebody among nodes that come and go (`tests/dht_network.rs`).
const MAX_AROUND: usize = K / 2;
/// Queries of one lookup in all: a few times what one in a DHT of millions takes.
pub const MAX_QUERIES: usize = 128;
/// Nodes that one lookup remembers: more than it asks of those that do not fail.
const MAX_CANDIDATES: usize = 96;
/// Nodes taken from one reply: twice what BEP 5 lets one have.
const MAX_NODES_PER_REPLY: usize = 2 * K;
/// Peers that one lookup passes on: what one torrent has use for.
const MAX_PEERS: usize = 1_000;
/// Bytes of a token that is sent back: clients have 4 to 20.
const MAX_TOKEN_LEN: usize = 64;
/// Of these, how many may have an id that does not follow from their address (BEP 42):
/// who makes up ids around a torrent must not be all that a lookup finds there.
const MAX_INSECURE: usize = K / 2;

/// A lookup within one [`Dht`](super::Dht). Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(pub u32);

/// What a lookup is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// To come into the DHT, or to find those around us anew.
    Join,
    /// To refresh a bucket.
    Refresh,
    /// To find the nodes closest to an id, for the owner.
    FindNode,
    /// To find the peers of a torrent, and, with a port, to be stored as one.
    FindPeers { info_hash: InfoHash, announce: Option<AnnouncedPort> },
}

impl Aim {
    /// Returns what is asked for it.
    pub(super) const fn method(self, target: NodeId, want: Want) -> Method<'static> {
        match self {
            Self::FindPeers { info_hash, .. } => Method::GetPeers { info_hash, want },
            Self::Join | Self::Refresh | Self::FindNode => Method::FindNode { target, want },
        }
    }
}

/// What a lookup took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct LookupStats {
    /// Queries sent, those of an announce not among them.
    pub queries: usize,
    /// Nodes that answered.
    pub answers: usize,
    /// How many nodes it took, one named by the other, to get to the furthest of the closest; 1 if
    /// all were known at the start.
    pub hops: u32,
    /// From the start to the end, the announce not included.
    pub elapsed: Duration,
}

/// One lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) target: NodeId,
    /// Our own id: others name us as well.
    own: NodeId,
    pub(super) family: Family,
    pub(super) aim: Aim,
    /// By distance, those last whose id is not known; at most [`MAX_CANDIDATES`]. No two that have
    /// not failed have one [`group`], and no two one address.
    candidates: Vec<Candidate>,
    /// How many are [`State::Asked`].
    in_flight: usize,
    /// How many were asked for those around; at most [`MAX_AROUND`].
    around: usize,
    /// Peers passed on; at most [`MAX_PEERS`].
    peers: BTreeSet<SocketAddr>,
    started_at: Instant,
    pub(super) stats: LookupStats,
    /// Once the closest have been asked to store us: how many have not said, and how many have.
    pub(super) announced: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Candidate {
    /// `None` until it answers, of one that was given without.
    id: Option<NodeId>,
    addr: SocketAddr,
    distance: [u8; 20],
    state: State,
    /// Times that it was asked.
    attempts: u8,
    /// How many of these queries have not expired.
    waiting: u8,
    hops: u32,
    is_secure: bool,
    around: Around,
    token: Option<Box<[u8]>>,
}

impl Candidate {
    /// Tells whether it was asked as often as anybody is, and has let the time go by in which most
    /// answer.
    fn is_silent(&self) -> bool {
        self.state == State::Stalled && self.attempts >= MAX_ATTEMPTS
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Fresh,
    Asked,
    Stalled,
    Answered,
    Failed,
}

/// Whether somebody was asked for those around.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Around {
    Unasked,
    Asked,
    /// It has answered, or takes long.
    Over,
}

/// What a lookup wants done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A query to this node.
    Ask(SocketAddr),
    /// A query to this node for those closest to another id.
    AskAround(SocketAddr, NodeId),
    /// Nothing until something comes of what was asked.
    Wait,
    /// Nothing any more.
    Done,
}

impl Lookup {
    pub(super) fn new(target: NodeId, own: NodeId, family: Family, aim: Aim, now: Instant) -> Self {
        Self {
            target,
            own,
            family,
            aim,
            candidates: Vec::new(),
            in_flight: 0,
            around: 0,
            peers: BTreeSet::new(),
            started_at: now,
            stats: LookupStats::default(),
            announced: None,
        }
    }

    /// Adds a node to begin with.
    pub(super) fn begin_with(&mut self, id: Option<NodeId>, addr: SocketAddr) {
        self.add(id, addr, 0);
    }

    /// Says what to do next; to be asked again after each [`Step::Ask`] that was
    /// [carried out](Lookup::asked), and after everything that it is told. O(candidates).
    pub(super) fn next(&self) -> Step {
        let (mut fresh, mut again, mut is_open) = (None, None, false);
        let (wanted, behind) =
            if self.is_heard() { (MUST_ANSWER, ATTEMPTS_BEHIND) } else { (MAX_CANDIDATES, 1) };
        for (rank, candidate) in self.closest(wanted).enumerate() {
            let attempts = if rank < K { MAX_ATTEMPTS } else { behind };
            match candidate.state {
                State::Fresh => fresh = fresh.or(Some(candidate.addr)),
                State::Stalled if candidate.attempts < attempts => {
                    again = again.or(Some(candidate.addr));
                }
                State::Asked => is_open = true,
                _ => {}
            }
        }
        let to_ask = fresh.or(again).filter(|_| self.stats.queries < MAX_QUERIES);
        match to_ask {
            Some(addr) if self.in_flight < ALPHA => Step::Ask(addr),
            Some(_) => Step::Wait,
            None if is_open => Step::Wait,
            None => self.around().unwrap_or_else(|| self.last_step()),
        }
    }

    /// Returns the query that is still to be sent once the closest have answered, if there is one.
    ///
    /// All of them name the same [`K`], among them those who are gone or go by another id by now,
    /// and in their places somebody is missing: at the far end, who differs from the target in the
    /// same bit as the furthest that is named, or in the one before. So some are asked for those
    /// there.
    fn around(&self) -> Option<Step> {
        let waiting = self.candidates.iter().filter(|node| node.around == Around::Asked).count();
        let may = self.around < MAX_AROUND && waiting < ALPHA && self.stats.queries < MAX_QUERIES;
        let named = self.candidates.iter().filter_map(|node| node.id).take(K);
        let furthest = named.last().filter(|_| may)?;
        let bit = self.target.shared_bits(furthest).saturating_sub(self.around % 2);
        let other_side = self.target.with_flipped(bit)?;
        let mut answered = self.candidates.iter().filter(|node| node.state == State::Answered);
        let next = answered.find(|node| node.around == Around::Unasked)?;
        Some(Step::AskAround(next.addr, other_side))
    }

    fn last_step(&self) -> Step {
        // Who has not answered in time may yet, before it is taken for gone; and so may all who
        // are not asked again because that was enough.
        let is_spent = self.stats.queries >= MAX_QUERIES || !self.is_heard();
        let may_answer = |node: &Candidate| {
            node.is_silent() || (is_spent && node.state == State::Stalled && node.waiting > 0)
        };
        let is_open = |node: &Candidate| may_answer(node) || node.around == Around::Asked;
        if self.candidates.iter().any(is_open) { Step::Wait } else { Step::Done }
    }

    /// Tells whether anybody has answered. While nobody does, it is rather we who are not heard, or
    /// all we know is old: each is asked once, the closest again, and nobody takes the place of who
    /// is silent.
    fn is_heard(&self) -> bool {
        self.stats.answers > 0
    }

    /// Returns the `count` closest that have not failed, of whom at most [`MAX_INSECURE`] have ids
    /// that do not follow from their addresses; more of these only if there are no others.
    fn closest(&self, count: usize) -> impl Iterator<Item = &Candidate> {
        let trusted = move || self.ranked().filter(|(is_trusted, _)| *is_trusted).take(count);
        let others = self.ranked().filter(|(is_trusted, _)| !is_trusted);
        trusted().chain(others.take(count - trusted().count())).map(|(_, candidate)| candidate)
    }

    /// Returns those that have not failed and are not silent, closest first, each with whether it
    /// counts.
    fn ranked(&self) -> impl Iterator<Item = (bool, &Candidate)> {
        let mut insecure = 0;
        let is_heard = self.is_heard();
        let is_gone =
            move |node: &&Candidate| is_heard && (node.state == State::Failed || node.is_silent());
        let alive = self.candidates.iter().filter(move |node| !is_gone(node));
        alive.map(move |candidate| {
            insecure += usize::from(!candidate.is_secure);
            (candidate.is_secure || insecure <= MAX_INSECURE, candidate)
        })
    }

    /// Records that the node at `addr` was sent a query.
    pub(super) fn asked(&mut self, addr: SocketAddr) {
        self.stats.queries += 1;
        self.in_flight += 1;
        let candidate = self.candidates.iter_mut().find(|candidate| candidate.addr == addr);
        let candidate = candidate.expect("only those are asked whom `next` has named");
        candidate.state = State::Asked;
        candidate.attempts += 1;
        candidate.waiting += 1;
    }

    /// Records that the node at `addr` was asked for those around.
    pub(super) fn asked_around(&mut self, addr: SocketAddr) {
        self.stats.queries += 1;
        self.around += 1;
        let asked = self.candidates.iter_mut().filter(|candidate| candidate.addr == addr);
        asked.for_each(|candidate| candidate.around = Around::Asked);
    }

    /// Records what the node at `addr` has said of those around; nothing if it takes long or
    /// refuses.
    pub(super) fn told_around(&mut self, addr: SocketAddr, nodes: impl Iterator<Item = NodeInfo>) {
        let Some(asked) = self.candidates.iter_mut().find(|node| node.addr == addr) else { return };
        asked.around = Around::Over;
        let hops = asked.hops;
        self.add_named(addr, nodes, hops + 1);
    }

    /// Records that a query to `addr` takes long.
    pub(super) fn stalled(&mut self, addr: SocketAddr) {
        self.leave(addr, State::Stalled);
    }

    /// Records that a query to `addr` was not answered, or was refused.
    pub(super) fn failed(&mut self, addr: SocketAddr) {
        let is_heard = self.is_heard();
        let Some(candidate) = self.candidates.iter_mut().find(|node| node.addr == addr) else {
            return;
        };
        candidate.waiting = candidate.waiting.saturating_sub(1);
        if candidate.is_silent() && (is_heard || candidate.waiting == 0) {
            candidate.state = State::Failed;
        }
    }

    /// Records that the node at `addr` has refused a query, and will the next time.
    pub(super) fn refused(&mut self, addr: SocketAddr) {
        self.leave(addr, State::Failed);
    }

    /// Records an answer of the node at `addr`, which calls itself `id` now, and names `nodes`.
    pub(super) fn answered(
        &mut self,
        addr: SocketAddr,
        id: NodeId,
        token: Option<&[u8]>,
        nodes: impl Iterator<Item = NodeInfo>,
    ) {
        let Some(at) = self.candidates.iter().position(|node| node.addr == addr) else { return };
        if matches!(self.candidates[at].state, State::Answered | State::Failed) {
            return;
        }
        self.leave(addr, State::Answered);
        self.stats.answers += 1;
        let mut candidate = self.candidates.remove(at);
        let hops = candidate.hops;
        candidate.token = token.filter(|token| token.len() <= MAX_TOKEN_LEN).map(Into::into);
        if candidate.id != Some(id) {
            candidate.id = Some(id);
            candidate.distance = id.distance(self.target);
            candidate.is_secure = secure::is_valid_at(id, addr.ip());
            // Who has this id at another address and has answered has it; and ours is ours.
            let others = |other: &Candidate| other.id == Some(id) && other.state == State::Answered;
            if id == self.own || self.candidates.iter().any(others) {
                candidate.state = State::Failed;
            }
        }
        self.insert(candidate);
        self.add_named(addr, nodes, hops + 1);
    }

    /// Adds the nodes that the one at `teller` names, as far as it is to be believed.
    fn add_named(&mut self, teller: SocketAddr, nodes: impl Iterator<Item = NodeInfo>, hops: u32) {
        let credible = nodes.filter(|node| may_name(teller.ip(), node.addr));
        for node in credible.take(MAX_NODES_PER_REPLY) {
            self.add(Some(node.id), node.addr, hops);
        }
    }

    /// Returns those of `peers`, named by the node at `teller`, that are new and may be dialled.
    pub(super) fn new_peers(&mut self, teller: IpAddr, peers: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut new = Vec::new();
        for peer in peers.iter().filter(|peer| may_name(teller, **peer)) {
            if self.peers.len() < MAX_PEERS && self.peers.insert(*peer) {
                new.push(*peer);
            }
        }
        new
    }

    /// Returns how many peers were found.
    pub(super) fn peers_found(&self) -> usize {
        self.peers.len()
    }

    /// Ends the lookup: returns the [`K`] closest that have answered, closest first.
    pub(super) fn end(&mut self, now: Instant) -> Vec<NodeInfo> {
        self.stats.elapsed = now - self.started_at;
        let answered = self.candidates.iter().filter(|node| node.state == State::Answered).take(K);
        self.stats.hops = answered.clone().map(|node| node.hops + 1).max().unwrap_or(0);
        answered.filter_map(|node| Some(NodeInfo { id: node.id?, addr: node.addr })).collect()
    }

    /// Returns who is to store us, with the token of each: those on whose answers the lookup ended.
    pub(super) fn stores(&self) -> Vec<(SocketAddr, Box<[u8]>)> {
        let answered = self.closest(K).filter(|node| node.state == State::Answered);
        answered.filter_map(|node| Some((node.addr, node.token.clone()?))).collect()
    }

    /// Takes a node out of flight.
    fn leave(&mut self, addr: SocketAddr, to: State) {
        let Some(candidate) = self.candidates.iter_mut().find(|node| node.addr == addr) else {
            return;
        };
        if candidate.state == State::Asked {
            self.in_flight -= 1;
        }
        // What comes of an earlier query to it changes neither.
        if !matches!(candidate.state, State::Answered | State::Failed) {
            candidate.state = to;
        }
    }

    fn add(&mut self, id: Option<NodeId>, addr: SocketAddr, hops: u32) {
        if id == Some(self.own) {
            return;
        }
        let is_secure = id.is_some_and(|id| secure::is_valid_at(id, addr.ip()));
        let distance = id.map_or([0xff; 20], |id| id.distance(self.target));
        for at in 0..self.candidates.len() {
            let other = &self.candidates[at];
            let is_same = host(other.addr) == host(addr) || (id.is_some() && other.id == id);
            let is_near = is_same || group(other.addr) == group(addr);
            if other.addr == addr || (is_near && other.state != State::Failed) {
                // Nobody can keep a neighbour out by making up an id for an address near his.
                let gives_way = is_secure && !other.is_secure && other.state == State::Fresh;
                if other.addr == addr || !gives_way {
                    return;
                }
                self.candidates.remove(at);
                break;
            }
        }
        let state = State::Fresh;
        self.insert(Candidate {
            id,
            addr,
            distance,
            state,
            attempts: 0,
            waiting: 0,
            hops,
            is_secure,
            around: Around::Unasked,
            token: None,
        });
    }

    /// Puts a candidate into its place; the furthest that is of no use any more makes way.
    fn insert(&mut self, candidate: Candidate) {
        let key = |node: &Candidate| (node.id.is_none(), node.distance);
        let at = self.candidates.partition_point(|other| key(other) <= key(&candidate));
        self.candidates.insert(at, candidate);
        if self.candidates.len() > MAX_CANDIDATES {
            let idle = |node: &Candidate| matches!(node.state, State::Fresh | State::Failed);
            let at = self.candidates.iter().rposition(idle).unwrap_or(MAX_CANDIDATES);
            self.candidates.remove(at);
        }
        debug_assert!(self.candidates.len() <= MAX_CANDIDATES);
    }
}

/// Tells whether a node at `teller` is to be believed that there is somebody at `named`, so that we
/// send something there.
///
/// Addresses that nobody can have are not; those that the internet does not route only if the
/// teller is himself at one: nobody outside has us knock at doors inside (security.md, row 33).
pub(super) fn may_name(teller: IpAddr, named: SocketAddr) -> bool {
    net_policy(named, NamedBy::Remote(Reach::of(teller)), Purpose::Node).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_refused_is_not_asked_again_when_another_query_to_him_stalls() {
        let (target, own) = (NodeId([1; 20]), NodeId([2; 20]));
        let mut lookup = Lookup::new(target, own, Family::V4, Aim::FindNode, Instant::ZERO);
        let addr = SocketAddr::from(([11, 0, 0, 1], 6881));
        lookup.begin_with(Some(NodeId([3; 20])), addr);
        for _ in 0..2 {
            assert_eq!(lookup.next(), Step::Ask(addr));
            lookup.asked(addr);
            assert_eq!(lookup.next(), Step::Wait);
            if lookup.stats.queries < 2 {
                lookup.stalled(addr);
            }
        }
        lookup.refused(addr);
        lookup.stalled(addr);
        assert_eq!(lookup.next(), Step::Done);
    }
}
