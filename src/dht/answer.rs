//! What a node answers to others, and how much of it.
//!
//! Decides what an answer has room for. **Invariant:** whoever has not proven that he receives at
//! his address is answered with at most [`MAX_AMPLIFICATION`] times what he has sent, and all
//! answers together take no more than a fixed rate: nobody is flooded through us.

use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

use super::side::Phase;
use super::store::MAX_SAMPLES;
use super::{ANSWER_BURST_PER_ADDR, Dht, DhtConfig, EXPIRE_EACH, Family, K};
use crate::id::{InfoHash, NodeId};
use crate::proto::addr::network;
use crate::proto::compact::{
    CompactNodes4, CompactNodes6, NODE4_LEN, NODE6_LEN, NodeInfo, write_node,
};
use crate::proto::krpc::{
    AnnouncedPort, Body, MAX_REPLY_LEN, METHOD_UNKNOWN, Message, Method, PROTOCOL_ERROR, Refusal,
    Reply, Samples, Want, value_len,
};
use crate::rate::{ByteBucket, KeyedBuckets};
use crate::time::{Duration, Instant};

/// How many times longer than his query an answer may be to who has not proven his address
/// (security.md, row 38).
pub const MAX_AMPLIFICATION: usize = 4;
/// Peers in one answer (libtorrent, `dht_max_peers_reply`: 100).
const MAX_VALUES_OUT: usize = 100;
/// Bytes of answers that may be sent at once after a pause.
const ANSWER_BURST_LEN: u64 = 16 << 10;
/// Buckets of queries, of 8 bytes each: an address shares one with every 2,048th other.
const BUCKETS: usize = 2_048;
/// Bytes of an info-hash in a sample.
const HASH_LEN: usize = 20;
/// Bytes that a list or string of the results needs for its key, its length and its end.
const LIST_OVERHEAD: usize = "6:nodes6000:".len();

/// How much is answered.
#[derive(Debug)]
pub(super) struct Limiter {
    secret: [u8; 32],
    queries: KeyedBuckets,
    bytes: ByteBucket,
}

impl Limiter {
    pub(super) fn new(config: &DhtConfig, secret: [u8; 32], now: Instant) -> Self {
        let rate = config.answer_bytes_per_s.into();
        Self {
            secret,
            queries: KeyedBuckets::new(BUCKETS, config.answers_per_addr, ANSWER_BURST_PER_ADDR),
            bytes: ByteBucket::full(rate, ANSWER_BURST_LEN, now),
        }
    }

    /// Tells whether a query from this address may be answered. The loopback address is this
    /// machine's own and has no limit of its own.
    fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        self.bytes.fill(now);
        let key = || {
            let ip = match network(ip) {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let mut hash = Sha1::new();
            hash.update(self.secret);
            hash.update(b"dht answers");
            hash.update(ip.octets());
            let hash: [u8; 20] = hash.finalize().into();
            u64::from_be_bytes(*hash.first_chunk().expect("a hash has 20 bytes"))
        };
        self.bytes.available() > 0 && (ip.is_loopback() || self.queries.take(key(), now))
    }
}

impl Dht {
    /// Answers a query, and takes in that who sent it is there.
    pub(super) fn answer(
        &mut self,
        from: NodeInfo,
        method: Method<'_>,
        query: &Message<'_>,
        query_len: usize,
        now: Instant,
    ) {
        self.counters.queries_in += 1;
        let family = Family::of(from.addr);
        if let Some(side) = self.side_mut(family)
            && !query.read_only
        {
            if let Phase::Out { .. } = side.phase {
                side.hint(from.addr, now);
            } else if side.table.heard(from, now) {
                side.want_check(now);
            }
        }
        if self.config.read_only {
            return;
        }
        if !self.limiter.admits(from.addr.ip(), now) {
            self.counters.queries_dropped += 1;
            return;
        }
        let transaction = query.transaction;
        match method {
            Method::AnnouncePeer { info_hash, port, token } => {
                let ip = from.addr.ip();
                if !self.tokens.knows(token, ip, info_hash, now) {
                    let refusal = Refusal { code: PROTOCOL_ERROR, words: b"bad token" };
                    return self.send_error(from.addr, transaction, refusal, query_len, now);
                }
                let port = match port {
                    AnnouncedPort::Implied(_) => from.addr.port(),
                    AnnouncedPort::Explicit(port) => port,
                };
                let peer = SocketAddr::new(ip, port);
                self.store.add(info_hash, peer, now);
                self.announced_to_us(info_hash, peer);
                self.expire_at.get_or_insert(now + EXPIRE_EACH);
                self.reply(from.addr, transaction, &Asked::default(), query_len, now);
            }
            Method::Unknown { target: None, .. } => {
                let refusal = Refusal { code: METHOD_UNKNOWN, words: b"method unknown" };
                self.send_error(from.addr, transaction, refusal, query_len, now);
            }
            _ => self.reply(from.addr, transaction, &Asked::by(&method), query_len, now),
        }
    }

    /// Refuses a query that could not be read.
    pub(super) fn refuse(
        &mut self,
        to: SocketAddr,
        transaction: &[u8],
        refusal: Refusal<'_>,
        query_len: usize,
        now: Instant,
    ) {
        if self.config.read_only {
            return;
        }
        if !self.limiter.admits(to.ip(), now) {
            self.counters.queries_dropped += 1;
            return;
        }
        self.send_error(to, transaction, refusal, query_len, now);
    }

    /// Sends a refusal, unless it is longer than what may be sent for the query: a garbled one may
    /// be of a few bytes.
    fn send_error(
        &mut self,
        to: SocketAddr,
        transaction: &[u8],
        refusal: Refusal<'_>,
        query_len: usize,
        now: Instant,
    ) {
        let mut written = Vec::new();
        answer(&self.config.version, to, transaction, Body::Error(refusal)).write(&mut written);
        if written.len() > self.most(to, query_len, now) {
            self.counters.queries_dropped += 1;
            return;
        }
        self.put(to, |out| out.extend_from_slice(&written));
    }

    /// Returns the most bytes with which a query of so many bytes may be answered.
    fn most(&self, to: SocketAddr, query_len: usize, now: Instant) -> usize {
        let is_proven = self.side(Family::of(to)).is_some_and(|it| it.table.is_proven(to, now));
        let most = if is_proven { MAX_REPLY_LEN } else { MAX_AMPLIFICATION * query_len };
        most.min(MAX_REPLY_LEN)
    }

    fn send(&mut self, to: SocketAddr, transaction: &[u8], body: Body<'_>) {
        let version = self.config.version;
        let message = answer(&version, to, transaction, body);
        self.put(to, |out| message.write(out));
    }

    /// Queues what `write` writes, and counts it.
    fn put(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let len = self.outbox.push(to, write);
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.limiter.bytes.spend(len);
        self.counters.answers_out += 1;
        self.counters.answer_bytes_out += len;
    }

    /// Replies with as much of what was asked for as there is room for.
    fn reply(
        &mut self,
        to: SocketAddr,
        transaction: &[u8],
        asked: &Asked,
        query_len: usize,
        now: Instant,
    ) {
        let family = Family::of(to);
        let Some(side) = self.side(family) else { return };
        let most = self.most(to, query_len, now);
        let id = side.table.own();
        let token = asked.peers_of.map(|torrent| self.tokens.issue(to.ip(), torrent, now));
        let token = token.as_ref().map(|token| &token[..]);
        let num = u32::try_from(self.store.len().0).unwrap_or(u32::MAX);
        let (mut hashes, interval) = self.hashes(asked, now);
        let samples = |hashes| asked.samples.then_some(Samples { interval, num, hashes });

        let bare = Reply { token, samples: samples(&[]), ..Reply::empty(id) };
        let mut written = Vec::new();
        answer(&self.config.version, to, transaction, Body::Reply(bare)).write(&mut written);
        let mut room = Room(most.saturating_sub(written.len()));
        hashes.truncate(room.fit(room.0 / 2, HASH_LEN));
        room.take(hashes.len(), HASH_LEN);
        let values = self.values(asked, to, &mut room);
        let mut nodes = [None, None];
        let other = family.other();
        for family in [family, other] {
            if asked.wants(family, to) {
                nodes[family.index()] = self.nodes(asked, family, &mut room, now);
            }
        }
        let body = Body::Reply(Reply {
            id,
            nodes: nodes[0].as_deref().and_then(|nodes| CompactNodes4::parse(nodes).ok()),
            nodes6: nodes[1].as_deref().and_then(|nodes| CompactNodes6::parse(nodes).ok()),
            values,
            token,
            samples: samples(&hashes),
        });
        self.send(to, transaction, body);
    }

    /// Returns the info-hashes that are given as samples, and for how much longer.
    fn hashes(&mut self, asked: &Asked, now: Instant) -> (Vec<[u8; 20]>, Duration) {
        if !asked.samples {
            return (Vec::new(), Duration::ZERO);
        }
        let (hashes, interval) = self.store.samples(&mut self.rng, now);
        (hashes.iter().copied().take(MAX_SAMPLES).collect(), interval)
    }

    /// Returns peers of the torrent that was asked for. They are what is wanted; but without nodes
    /// nobody gets to the others who have some, so half of the room is left if it is scarce.
    fn values(&mut self, asked: &Asked, to: SocketAddr, room: &mut Room) -> Vec<SocketAddr> {
        let Some(torrent) = asked.peers_of else { return Vec::new() };
        let each = value_len(to.is_ipv4());
        let nodes_len = LIST_OVERHEAD + K * if to.is_ipv4() { NODE4_LEN } else { NODE6_LEN };
        let share = (room.0 / 2).max(room.0.saturating_sub(nodes_len));
        let count = room.fit(share, each).min(MAX_VALUES_OUT);
        let values = self.store.peers(torrent, to.is_ipv4(), count, &mut self.rng);
        room.take(values.len(), each);
        values
    }

    /// Returns the closest nodes of a family that there is room for, compact.
    fn nodes(
        &self,
        asked: &Asked,
        family: Family,
        room: &mut Room,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let each = if family == Family::V4 { NODE4_LEN } else { NODE6_LEN };
        let target = asked.closest_to?;
        let count = room.fit(room.0, each).min(K);
        let nodes = self.side(family)?.table.closest(target, count, now);
        room.take(nodes.len(), each);
        let mut compact = Vec::with_capacity(nodes.len() * each);
        for node in &nodes {
            write_node(&mut compact, node);
        }
        Some(compact)
    }
}

/// Returns an answer, which says where its addressee is seen (BEP 42).
const fn answer<'a>(
    version: &'a [u8; 4],
    to: SocketAddr,
    transaction: &'a [u8],
    body: Body<'a>,
) -> Message<'a> {
    Message { transaction, version: Some(version), seen_at: Some(to), read_only: false, body }
}

/// What a query asks for.
#[derive(Clone, Copy, Default, Debug)]
struct Asked {
    closest_to: Option<NodeId>,
    want: Want,
    peers_of: Option<InfoHash>,
    samples: bool,
}

impl Asked {
    fn by(method: &Method<'_>) -> Self {
        match *method {
            Method::Ping | Method::AnnouncePeer { .. } => Self::default(),
            Method::FindNode { target, want } => {
                Self { closest_to: Some(target), want, ..Self::default() }
            }
            Method::Unknown { target, want, .. } => {
                Self { closest_to: target, want, ..Self::default() }
            }
            Method::GetPeers { info_hash, want } => Self {
                closest_to: Some(info_hash.into()),
                want,
                peers_of: Some(info_hash),
                samples: false,
            },
            Method::SampleInfohashes { target, want } => {
                Self { closest_to: Some(target), want, samples: true, ..Self::default() }
            }
        }
    }

    /// Tells whether nodes of this family are wanted by who asks from `addr` (BEP 32).
    fn wants(&self, family: Family, addr: SocketAddr) -> bool {
        match (self.want, family) {
            (Want { v4: false, v6: false }, _) => family == Family::of(addr),
            (want, Family::V4) => want.v4,
            (want, Family::V6) => want.v6,
        }
    }
}

/// Bytes that an answer may still take.
#[derive(Clone, Copy, Debug)]
struct Room(usize);

impl Room {
    /// Returns how many items of `each` bytes fit into `share` of it, with their list.
    fn fit(self, share: usize, each: usize) -> usize {
        share.min(self.0).saturating_sub(LIST_OVERHEAD) / each
    }

    /// Takes what a list of `count` items needs.
    fn take(&mut self, count: usize, each: usize) {
        self.0 = self.0.saturating_sub(LIST_OVERHEAD + count * each);
    }
}
