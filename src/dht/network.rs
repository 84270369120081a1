//! What a node asks others, and what it makes of the answers: lookups that go on, the table that is
//! kept, the address at which we are seen.
//!
//! **Invariant:** whatever comes is first laid to a query of ours ([`super::calls`]); nothing is
//! believed from who was not asked.

use std::net::{IpAddr, SocketAddr};

use super::calls::{Overdue, Purpose};
use super::lookup::{Aim, Lookup, LookupId, Step, may_name};
use super::side::{Phase, REFRESH_GAP};
use super::{Dht, DhtEvent, Family, K, secure};
use crate::id::NodeId;
use crate::proto::compact::{CompactNodes, NodeInfo};
use crate::proto::krpc::{self, Body, KrpcError, Message, Method, Refusal, Reply, Want};
use crate::time::{Duration, Instant};

/// How long a lookup waits that finds [`super::calls::MAX_CALLS`] queries under way.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

impl Dht {
    /// Takes in a datagram that came from `from`. Never panics on remote input.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let family = Family::of(from);
        if self.side(family).is_none() || from.port() == 0 {
            return;
        }
        match krpc::parse(datagram) {
            Ok(message) => match message.body {
                Body::Query { id, method } => {
                    let node = NodeInfo { id, addr: from };
                    self.answer(node, method, &message, datagram.len(), now);
                }
                Body::Reply(ref reply) => self.handle_reply(from, reply, &message, now),
                Body::Error(_) => self.handle_error(from, message.transaction, now),
            },
            Err(KrpcError::Argument { transaction, .. }) => {
                self.counters.queries_in += 1;
                let code = krpc::PROTOCOL_ERROR;
                let refusal = Refusal { code, words: b"bad arguments" };
                self.refuse(from, transaction, refusal, datagram.len(), now);
            }
            Err(_) => self.counters.malformed += 1,
        }
    }

    fn handle_reply(
        &mut self,
        from: SocketAddr,
        reply: &Reply<'_>,
        message: &Message<'_>,
        now: Instant,
    ) {
        let Some(call) = self.calls.close(message.transaction, from, now) else {
            self.counters.unexpected += 1;
            return;
        };
        self.counters.replies_in += 1;
        let family = Family::of(from);
        let Some(side) = self.side_mut(family) else { return };
        side.table.answered(NodeInfo { id: reply.id, addr: from }, now);
        if let Some(ours) = message.seen_at
            && let Some(ip) = side.votes.cast(from.ip(), ours.ip())
            && Family::of(SocketAddr::new(ip, 0)) == family
        {
            self.move_to(family, ip, now);
        }
        self.take_hints(from.ip(), family, reply, now);
        match call.purpose {
            Purpose::Check => {}
            Purpose::Lookup(id) => self.look_on(id, from, reply, now),
            Purpose::Around(id) => self.told_around(id, from, Some(reply), now),
            Purpose::Announce(id) => self.announced(id, true, now),
        }
    }

    /// Goes on with a lookup that an answer is for.
    fn look_on(&mut self, id: LookupId, from: SocketAddr, reply: &Reply<'_>, now: Instant) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let family = lookup.family;
        lookup.answered(from, reply.id, reply.token, nodes(reply, family));
        if let Aim::FindPeers { info_hash, .. } = lookup.aim {
            let peers = lookup.new_peers(from.ip(), &reply.values);
            if !peers.is_empty() {
                self.events.push_back(DhtEvent::Peers { info_hash, peers });
            }
        }
        self.advance(id, now);
    }

    /// Goes on with a lookup that has asked for those around; without a reply if there is none in
    /// time.
    fn told_around(
        &mut self,
        id: LookupId,
        from: SocketAddr,
        reply: Option<&Reply<'_>>,
        now: Instant,
    ) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let family = lookup.family;
        lookup.told_around(from, reply.into_iter().flat_map(|reply| nodes(reply, family)));
        self.advance(id, now);
    }

    /// Remembers nodes of the other family, if we know none there.
    fn take_hints(&mut self, teller: IpAddr, family: Family, reply: &Reply<'_>, now: Instant) {
        let other = family.other();
        if !self.wants_nodes(other) {
            return;
        }
        let named = nodes(reply, other).map(|node| node.addr).take(K);
        let credible: Vec<_> = named.filter(|addr| may_name(teller, *addr)).collect();
        self.add_nodes(credible, now);
    }

    fn wants_nodes(&self, family: Family) -> bool {
        self.side(family).is_some_and(|side| matches!(side.phase, Phase::Out { .. }))
    }

    fn handle_error(&mut self, from: SocketAddr, transaction: &[u8], now: Instant) {
        let Some(call) = self.calls.close(transaction, from, now) else {
            self.counters.unexpected += 1;
            return;
        };
        self.counters.errors_in += 1;
        if let Some(side) = self.side_mut(Family::of(from)) {
            // It is there, but of no more use than if it were not.
            side.table.failed(from, now);
        }
        match call.purpose {
            Purpose::Check => {}
            Purpose::Lookup(id) => {
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    lookup.refused(from);
                    self.advance(id, now);
                }
            }
            Purpose::Around(id) => self.told_around(id, from, None, now),
            Purpose::Announce(id) => self.announced(id, false, now),
        }
    }

    /// Takes in what was not answered in time.
    pub(super) fn expire_calls(&mut self, now: Instant) {
        while let Some(overdue) = self.calls.poll(now) {
            let (call, is_over) = match overdue {
                Overdue::Stalled(call) => (call, false),
                Overdue::Expired(call) => (call, true),
            };
            if is_over {
                self.counters.timeouts += 1;
                if let Some(side) = self.side_mut(Family::of(call.to)) {
                    side.table.failed(call.to, now);
                    side.want_check(now);
                }
            }
            match call.purpose {
                Purpose::Lookup(id) => {
                    if let Some(lookup) = self.lookups.get_mut(&id) {
                        if is_over {
                            lookup.failed(call.to);
                        } else {
                            lookup.stalled(call.to);
                        }
                        self.advance(id, now);
                    }
                }
                Purpose::Around(id) if !is_over => self.told_around(id, call.to, None, now),
                Purpose::Announce(id) if is_over => self.announced(id, false, now),
                Purpose::Around(_) | Purpose::Announce(_) | Purpose::Check => {}
            }
        }
    }

    /// Begins a lookup among the closest nodes that we know, and sends its first queries.
    pub(super) fn start(
        &mut self,
        family: Family,
        target: NodeId,
        aim: Aim,
        now: Instant,
    ) -> LookupId {
        let id = self.begin(family, target, aim, now);
        self.advance(id, now);
        id
    }

    /// Begins a lookup among the closest nodes that we know; [`Dht::advance`] is to follow.
    pub(super) fn begin(
        &mut self,
        family: Family,
        target: NodeId,
        aim: Aim,
        now: Instant,
    ) -> LookupId {
        let id = LookupId(self.next_lookup);
        let Some(side) = self.side(family) else { return id };
        let mut lookup = Lookup::new(target, side.table.own(), family, aim, now);
        for node in side.table.closest(target, K, now) {
            lookup.begin_with(Some(node.id), node.addr);
        }
        self.next_lookup = self.next_lookup.wrapping_add(1);
        self.lookups.insert(id, lookup);
        id
    }

    /// Does what a lookup wants done.
    pub(super) fn advance(&mut self, id: LookupId, now: Instant) {
        loop {
            let Some(lookup) = self.lookups.get_mut(&id) else { return };
            if lookup.announced.is_some() {
                return;
            }
            let (to, around) = match lookup.next() {
                Step::Wait => return,
                Step::Done => return self.end_lookup(id, now),
                Step::Ask(to) => (to, None),
                Step::AskAround(to, target) => (to, Some(target)),
            };
            if !(self.calls.has_room() && self.pace.take(now)) {
                let room_at = now + ROOM_PAUSE;
                let pace_at = self.pace.ready_at(now);
                let at = if self.calls.has_room() { pace_at } else { room_at };
                self.paced_until = Some(self.paced_until.map_or(at, |until| until.min(at)));
                return;
            }
            let want = self.want(Family::of(to));
            let Some(lookup) = self.lookups.get_mut(&id) else { return };
            let (purpose, method) = if let Some(target) = around {
                lookup.asked_around(to);
                (Purpose::Around(id), Method::FindNode { target, want })
            } else {
                lookup.asked(to);
                (Purpose::Lookup(id), lookup.aim.method(lookup.target, want))
            };
            self.query(to, purpose, method, now);
        }
    }

    /// Returns of which families nodes are asked for, over `family`: of the other one as well while
    /// we know nobody there (BEP 32).
    fn want(&self, family: Family) -> Want {
        let other = family.other();
        let both = self.wants_nodes(other);
        Want { v4: both, v6: both }
    }

    /// Sends a query.
    fn query(&mut self, to: SocketAddr, purpose: Purpose, method: Method<'_>, now: Instant) {
        let Some(id) = self.side(Family::of(to)).map(|side| side.table.own()) else { return };
        let transaction = self.calls.open(to, purpose, now);
        let message = Message {
            transaction: &transaction,
            version: Some(&self.config.version),
            seen_at: None,
            read_only: self.config.read_only,
            body: Body::Query { id, method },
        };
        self.counters.queries_out += 1;
        self.outbox.push(to, |out| message.write(out));
    }

    /// Ends a lookup whose closest nodes have answered.
    fn end_lookup(&mut self, id: LookupId, now: Instant) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let nodes = lookup.end(now);
        let (family, aim, stats) = (lookup.family, lookup.aim, lookup.stats);
        self.counters.lookups += 1;
        if let Aim::FindPeers { info_hash, announce } = aim {
            let stores = announce.map_or(Vec::new(), |_| lookup.stores());
            lookup.announced = announce.map(|_| (stores.len(), 0));
            let Some(port) = announce.filter(|_| !stores.is_empty()) else {
                return self.end_search(id, info_hash, now);
            };
            for (to, token) in stores {
                let method = Method::AnnouncePeer { info_hash, port, token: &token };
                if self.calls.has_room() {
                    self.query(to, Purpose::Announce(id), method, now);
                } else {
                    self.announced(id, false, now);
                }
            }
            return;
        }
        self.lookups.remove(&id);
        self.calls.release(id);
        match aim {
            Aim::Join => self.end_join(family, now),
            Aim::FindNode => {
                self.events.push_back(DhtEvent::Found { lookup: id, nodes, stats });
            }
            Aim::Refresh => {
                if let Some(side) = self.side_mut(family) {
                    side.refreshing = None;
                    side.refresh_after = now + REFRESH_GAP;
                    side.want_check(now);
                }
            }
            Aim::FindPeers { .. } => {}
        }
    }

    /// Records what has come of having a node store us.
    fn announced(&mut self, id: LookupId, is_stored: bool, now: Instant) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let Some((waiting, stored)) = &mut lookup.announced else { return };
        *waiting -= 1;
        *stored += usize::from(is_stored);
        if *waiting == 0
            && let Aim::FindPeers { info_hash, .. } = lookup.aim
        {
            self.end_search(id, info_hash, now);
        }
    }

    /// Does what is due in one family.
    pub(super) fn keep_up(&mut self, family: Family, now: Instant) {
        let Some(side) = self.side_mut(family) else { return };
        match side.phase {
            Phase::Out { retry_at } if now >= retry_at => self.join(family, now),
            Phase::Out { .. } => {}
            Phase::Joining(id) => {
                let hints: Vec<_> = side.hints.drain(..).collect();
                if let Some(lookup) = self.lookups.get_mut(&id).filter(|_| !hints.is_empty()) {
                    for addr in hints {
                        lookup.begin_with(None, addr);
                    }
                    self.advance(id, now);
                }
            }
            Phase::Joined if !side.table.has_nodes(now) => self.join(family, now),
            Phase::Joined => {
                self.refresh(family, now);
                self.check(family, now);
                self.begin_searches(family, now);
            }
        }
    }

    /// Tries to come into the DHT of a family.
    fn join(&mut self, family: Family, now: Instant) {
        let Self { sides, rng, events, config, .. } = self;
        let Some(side) = &mut sides[family.index()] else { return };
        let begin_with = side.begin_with(now);
        if begin_with.len() < K || side.failures > 0 {
            events.extend(
                config
                    .bootstrap
                    .iter()
                    .map(|(host, port)| DhtEvent::Resolve { host: host.clone(), port: *port }),
            );
        }
        if begin_with.is_empty() {
            return side.stay_out(rng, now);
        }
        let own = side.table.own();
        let id = self.begin(family, own, Aim::Join, now);
        if let Some(side) = self.side_mut(family) {
            side.joining(id, now);
        }
        if let Some(lookup) = self.lookups.get_mut(&id) {
            for (id, addr) in begin_with {
                lookup.begin_with(id, addr);
            }
        }
        self.advance(id, now);
    }

    /// Takes in that the attempt to come in has ended.
    fn end_join(&mut self, family: Family, now: Instant) {
        let Self { sides, rng, events, .. } = self;
        let Some(side) = &mut sides[family.index()] else { return };
        if !side.table.has_nodes(now) {
            return side.stay_out(rng, now);
        }
        side.phase = Phase::Joined;
        side.failures = 0;
        side.settle(now);
        let nodes = side.table.size(now).nodes;
        events.push_back(DhtEvent::Joined { family, nodes });
        self.keep_up(family, now);
    }

    /// Refreshes a bucket, if one is due and none is under way.
    fn refresh(&mut self, family: Family, now: Instant) {
        let Self { sides, rng, .. } = self;
        let Some(side) = &mut sides[family.index()] else { return };
        let Some(target) = side.next_refresh(rng, now) else { return };
        let id = self.begin(family, target, Aim::Refresh, now);
        if let Some(side) = self.side_mut(family) {
            side.refreshing = Some(id);
        }
        self.advance(id, now);
    }

    /// Asks a node for the table's sake, if one is to be asked.
    fn check(&mut self, family: Family, now: Instant) {
        let has_room = self.calls.has_room();
        let Some(side) = self.side_mut(family) else { return };
        if let Some(addr) = side.next_check(has_room, now) {
            self.query(addr, Purpose::Check, Method::Ping, now);
        }
    }

    /// Takes in that the internet sees us at `ip`, and takes an id that follows from it (BEP 42).
    pub(super) fn move_to(&mut self, family: Family, ip: IpAddr, now: Instant) {
        let Self { sides, rng, events, .. } = self;
        let Some(side) = &mut sides[family.index()] else { return };
        if side.external != Some(ip) {
            side.external = Some(ip);
            events.push_back(DhtEvent::ExternalAddress(ip));
        }
        if !secure::is_valid_at(side.table.own(), ip) && side.may_move(now) {
            side.table.rebase(secure::id_at(Some(ip), rng), now);
            side.settle(now);
        }
    }
}

/// Returns the nodes of one family that a reply names.
fn nodes(reply: &Reply<'_>, family: Family) -> impl Iterator<Item = NodeInfo> {
    let nodes4 = reply.nodes.filter(|_| family == Family::V4);
    let nodes6 = reply.nodes6.filter(|_| family == Family::V6);
    let nodes4 = nodes4.into_iter().flat_map(CompactNodes::iter);
    nodes4.chain(nodes6.into_iter().flat_map(CompactNodes::iter))
}
