//! One node of ours in virtual time, and scripted ones around it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use swarmloop::dht::{Dht, DhtConfig, DhtCounters, DhtEvent, Family, K, secure};
use swarmloop::id::{InfoHash, NodeId};
use swarmloop::proto::compact::{CompactNodes4, CompactNodes6, NodeInfo, write_node};
use swarmloop::proto::krpc::{self, Body, Message, Method, Refusal, Reply};
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};

/// How long an answer of a scripted node takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(50);

/// Our node's address, as the others see it.
pub(crate) const OURS: &str = "99.1.2.3:6881";

/// A scripted node.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) id: NodeId,
    /// The token that it gives; none if it is empty.
    pub(crate) token: Vec<u8>,
    pub(crate) values: Vec<SocketAddr>,
    /// Whom it names; the [`K`] closest of all scripted nodes if this is `None`.
    pub(crate) names: Option<Vec<NodeInfo>>,
    pub(crate) answers: Answers,
    /// Where it says that it sees us.
    pub(crate) sees: Option<SocketAddr>,
    /// What it was asked: method, and token if there was one.
    pub(crate) asked: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    Yes,
    Never,
    /// After so long.
    Late(Duration),
    /// With an error.
    Refuses,
}

impl Fake {
    pub(crate) fn new(id: NodeId) -> Self {
        Self {
            id,
            token: b"token".to_vec(),
            values: Vec::new(),
            names: None,
            answers: Answers::Yes,
            sees: None,
            asked: Vec::new(),
        }
    }
}

/// A message as a test keeps it.
pub(crate) struct Said(pub Vec<u8>);

impl Said {
    pub(crate) fn message(&self) -> Message<'_> {
        krpc::parse(&self.0).expect("what we send can be read")
    }

    pub(crate) fn reply(&self) -> Reply<'_> {
        match self.message().body {
            Body::Reply(reply) => reply,
            other => panic!("{other:?} is no reply"),
        }
    }

    pub(crate) fn refusal(&self) -> Refusal<'_> {
        match self.message().body {
            Body::Error(refusal) => refusal,
            other => panic!("{other:?} is no error"),
        }
    }
}

/// When an answer comes, its number, from whom, and its bytes.
type Answer = (Instant, u64, SocketAddr, Vec<u8>);

pub(crate) struct World {
    pub(crate) dht: Dht,
    pub(crate) now: Instant,
    pub(crate) fakes: BTreeMap<SocketAddr, Fake>,
    /// What was sent to those who are not scripted, or are not to be answered.
    pub(crate) sent: Vec<(SocketAddr, Said)>,
    /// When what was sent to whom, in all.
    pub(crate) log: Vec<(Instant, SocketAddr)>,
    pub(crate) events: Vec<DhtEvent>,
    pub(crate) rng: Rng,
    /// Answers under way, soonest first.
    under_way: BinaryHeap<Reverse<Answer>>,
    sequence: u64,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A torrent of which nothing is known.
pub(crate) const TORRENT: InfoHash = InfoHash([0x5a; 20]);

impl World {
    pub(crate) fn new(config: impl FnOnce(&mut DhtConfig)) -> Self {
        Self::with(b"", config)
    }

    pub(crate) fn with(saved: &[u8], configure: impl FnOnce(&mut DhtConfig)) -> Self {
        let mut config = DhtConfig::default();
        config.v6 = false;
        configure(&mut config);
        let now = Instant::from_secs(1_000);
        Self {
            dht: Dht::new(config, saved, [7; 32], Rng::new(1), now),
            now,
            fakes: BTreeMap::new(),
            sent: Vec::new(),
            log: Vec::new(),
            events: Vec::new(),
            rng: Rng::new(2),
            under_way: BinaryHeap::new(),
            sequence: 0,
        }
    }

    /// A node that has joined a DHT of `count` scripted nodes.
    pub(crate) fn joined(count: u8) -> Self {
        let mut world = Self::new(|_| {});
        world.add_fakes(count);
        world.join();
        world
    }

    /// A node of the internet, each in a neighbourhood of its own.
    pub(crate) fn fake_addr(n: u8) -> SocketAddr {
        SocketAddr::from(([80, n, 0, 1], 6881))
    }

    /// Adds a scripted node with an id that is good for its address.
    pub(crate) fn add_fake(&mut self, n: u8) -> SocketAddr {
        let addr = Self::fake_addr(n);
        let id = secure::id_at(Some(addr.ip()), &mut self.rng);
        self.fakes.insert(addr, Fake::new(id));
        addr
    }

    /// Adds so many of them.
    pub(crate) fn add_fakes(&mut self, count: u8) {
        (0..count).for_each(|n| {
            self.add_fake(n);
        });
    }

    /// Tells our node of one of the others, and waits until it has come into the DHT and is quiet.
    pub(crate) fn join(&mut self) {
        let first = *self.fakes.keys().next().expect("somebody");
        self.dht.add_nodes([first], self.now);
        self.run(Duration::from_secs(120));
        assert!(self.dht.is_joined(Family::of(first)));
        self.events.clear();
        self.log.clear();
        self.sent.clear();
        self.fakes.values_mut().for_each(|fake| fake.asked.clear());
    }

    pub(crate) fn counters(&self) -> DhtCounters {
        self.dht.status(self.now).counters
    }

    /// Lets time pass, with everything that happens in it.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut idle = 0;
        loop {
            self.drain();
            let answer = self.under_way.peek().map(|entry| entry.0.0);
            let timeout = self.dht.poll_timeout();
            let next = [answer, timeout].into_iter().flatten().min().filter(|at| *at <= end);
            let Some(at) = next else { break };
            idle = if at > self.now { 0 } else { idle + 1 };
            assert!(idle < 1_000, "the node wants to be woken again and again");
            self.now = self.now.max(at);
            if timeout.is_some_and(|at| at <= self.now) {
                self.dht.handle_timeout(self.now);
            }
            while self.under_way.peek().is_some_and(|entry| entry.0.0 <= self.now) {
                let (_, _, from, bytes) = self.under_way.pop().expect("there is one").0;
                self.dht.handle_datagram(from, &bytes, self.now);
            }
        }
        self.now = end;
        self.drain();
    }

    /// Sends our node a message and returns what it answers to the sender at once.
    pub(crate) fn tell(&mut self, from: SocketAddr, message: &Message<'_>) -> Vec<Said> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.tell_bytes(from, &bytes)
    }

    pub(crate) fn tell_bytes(&mut self, from: SocketAddr, bytes: &[u8]) -> Vec<Said> {
        self.drain();
        self.dht.handle_datagram(from, bytes, self.now);
        self.drain();
        let is_answer = |(to, said): &mut (SocketAddr, Said)| {
            *to == from && !matches!(said.message().body, Body::Query { .. })
        };
        self.sent.extract_if(.., is_answer).map(|(_, said)| said).collect()
    }

    /// Asks our node something, as `from` with the id `id`.
    pub(crate) fn ask(&mut self, from: SocketAddr, id: NodeId, method: Method<'_>) -> Vec<Said> {
        self.tell(from, &query(id, method))
    }

    /// What our node has said to `to` and nobody has heard yet.
    pub(crate) fn heard(&mut self, to: SocketAddr) -> Vec<Said> {
        self.drain();
        let (heard, rest) = self.sent.drain(..).partition(|(addr, _)| *addr == to);
        self.sent = rest;
        let heard: Vec<(SocketAddr, Said)> = heard;
        heard.into_iter().map(|(_, said)| said).collect()
    }

    /// Takes in what the node says; scripted ones begin to answer.
    pub(crate) fn drain(&mut self) {
        let mut sent = Vec::new();
        while let Some((to, bytes)) = self.dht.poll_datagram() {
            assert!(bytes.len() <= krpc::MAX_REPLY_LEN, "{} bytes", bytes.len());
            sent.push((to, bytes.to_vec()));
        }
        while let Some(event) = self.dht.poll_event() {
            self.events.push(event);
        }
        for (to, bytes) in sent {
            self.log.push((self.now, to));
            if !self.answer(to, &bytes) {
                self.sent.push((to, Said(bytes)));
            }
        }
    }

    /// Has a scripted node answer; tells whether it is one, and this a query.
    fn answer(&mut self, to: SocketAddr, bytes: &[u8]) -> bool {
        let message = krpc::parse(bytes).expect("what we send can be read");
        let Body::Query { method, .. } = message.body else { return false };
        let closest = match method {
            Method::FindNode { target, .. } => self.closest(target, to),
            Method::GetPeers { info_hash, .. } => self.closest(info_hash.into(), to),
            _ => Vec::new(),
        };
        let Some(fake) = self.fakes.get_mut(&to) else { return false };
        let token = match method {
            Method::AnnouncePeer { token, .. } => token.to_vec(),
            _ => Vec::new(),
        };
        fake.asked.push((String::from_utf8_lossy(method.name()).into_owned(), token));
        let latency = match fake.answers {
            Answers::Yes | Answers::Refuses => LATENCY,
            Answers::Late(latency) => latency,
            Answers::Never => return true,
        };
        let named = fake.names.clone().unwrap_or(closest);
        let mut nodes = Vec::new();
        for node in &named {
            write_node(&mut nodes, node);
        }
        let get_peers = matches!(method, Method::GetPeers { .. });
        let reply = Reply {
            nodes: CompactNodes4::parse(&nodes).ok().filter(|_| to.is_ipv4()),
            nodes6: CompactNodes6::parse(&nodes).ok().filter(|_| to.is_ipv6()),
            values: if get_peers { fake.values.clone() } else { Vec::new() },
            token: Some(&fake.token[..]).filter(|token| get_peers && !token.is_empty()),
            ..Reply::empty(fake.id)
        };
        let body = match fake.answers {
            Answers::Refuses => Body::Error(Refusal { code: 202, words: b"no" }),
            _ => Body::Reply(reply),
        };
        let transaction = message.transaction;
        let seen_at = fake.sees;
        let message = Message { transaction, version: None, seen_at, read_only: false, body };
        let mut out = Vec::new();
        message.write(&mut out);
        self.sequence += 1;
        let entry = (self.now + latency, self.sequence, to, out);
        self.under_way.push(Reverse(entry));
        true
    }

    /// The scripted nodes closest to `target`, but for `besides`.
    pub(crate) fn closest(&self, target: NodeId, besides: SocketAddr) -> Vec<NodeInfo> {
        let others = self
            .fakes
            .iter()
            .filter(|(addr, _)| **addr != besides && addr.is_ipv4() == besides.is_ipv4());
        let mut nodes: Vec<_> =
            others.map(|(addr, fake)| NodeInfo { id: fake.id, addr: *addr }).collect();
        nodes.sort_by_key(|node| node.id.distance(target));
        nodes.truncate(K);
        nodes
    }

    /// How many nodes are in the table.
    pub(crate) fn nodes(&self) -> usize {
        self.dht.status(self.now).sides[0].table.nodes
    }
}

pub(crate) fn query(id: NodeId, method: Method<'_>) -> Message<'_> {
    let body = Body::Query { id, method };
    Message { transaction: b"tt", version: None, seen_at: None, read_only: false, body }
}

/// An id that is good nowhere on the internet, but for one in two million addresses.
pub(crate) fn any_id(rng: &mut Rng) -> NodeId {
    secure::id_at(None, rng)
}
