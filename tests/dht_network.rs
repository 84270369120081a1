//! A DHT of our own nodes in virtual time: latency, loss and churn, from one seed.
//!
//! Nodes come with nothing but the address of another one, see by the others' votes where they are,
//! take ids that follow from it, leave without a word and are replaced. A trial is a lookup of a
//! random id by a random node; it is good if there is no node, of those that have been in the DHT
//! for a minute and still are, that is closer to the id than what was found and was not found.
//!
//! The short form runs with every `cargo test`; the long one, 2,000 nodes and 10,000 trials, with
//!
//! ```text
//! cargo test --release --test dht_network -- --ignored --nocapture
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a test may panic and report, and its numbers are small"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};

use swarmloop::dht::{Dht, DhtConfig, DhtEvent, Family, K, LookupId, LookupStats};
use swarmloop::id::NodeId;
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};

/// How a network is.
#[derive(Clone, Copy)]
struct Shape {
    nodes: usize,
    trials: usize,
    /// Of 1,000 datagrams, how many are lost.
    loss_per_mille: usize,
    /// How long a node stays on average, exponentially distributed.
    stay: Duration,
    /// Between two trials.
    pause: Duration,
}

const LATENCY_MS: std::ops::Range<u64> = 10..150;
/// How many come a second while the network grows.
const ARRIVALS_PER_S: u64 = 20;
/// From the last arrival of the growth to the first trial.
const SETTLING: Duration = Duration::from_secs(600);
/// How long a node must have been in the DHT to be missed.
const SETTLED: Duration = Duration::from_secs(60);

struct Host {
    dht: Dht,
    addr: SocketAddr,
    came_at: Instant,
    /// The earliest wake-up in the agenda.
    wakes_at: Option<Instant>,
}

enum What {
    Deliver { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Wake(SocketAddr),
    Leave(SocketAddr),
    Arrive,
    Trial,
}

struct Entry(Instant, u64, What);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Trial {
    target: NodeId,
    started_at: Instant,
}

#[derive(Default)]
struct Outcome {
    good: usize,
    bad: usize,
    /// Trials whose node left in the middle.
    lost: usize,
    hops: f64,
    queries: f64,
    seconds: f64,
    slowest: Duration,
    /// Datagrams a minute and node over the time of the trials, those of the trials included.
    datagrams_per_min: f64,
}

struct Network {
    shape: Shape,
    rng: Rng,
    now: Instant,
    agenda: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    hosts: BTreeMap<SocketAddr, Host>,
    /// Those of `hosts`, to choose from.
    addrs: Vec<SocketAddr>,
    arrivals: u32,
    trials: BTreeMap<(SocketAddr, LookupId), Trial>,
    trials_begun: usize,
    datagrams: u64,
    outcome: Outcome,
}

impl Network {
    fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            rng: Rng::new(seed),
            now: Instant::ZERO,
            agenda: BinaryHeap::new(),
            sequence: 0,
            hosts: BTreeMap::new(),
            addrs: Vec::new(),
            arrivals: 0,
            trials: BTreeMap::new(),
            trials_begun: 0,
            datagrams: 0,
            outcome: Outcome::default(),
        }
    }

    fn at(&mut self, at: Instant, what: What) {
        self.sequence += 1;
        self.agenda.push(Reverse(Entry(at, self.sequence, what)));
    }

    /// Grows, settles, and makes its trials.
    fn run(mut self) -> Outcome {
        for n in 0..self.shape.nodes {
            let at = Instant::from_millis(n as u64 * 1_000 / ARRIVALS_PER_S);
            self.at(at, What::Arrive);
        }
        let grown = Instant::from_millis(self.shape.nodes as u64 * 1_000 / ARRIVALS_PER_S);
        self.run_until(grown + SETTLING);
        // From here on, nodes leave, each for another that comes.
        for addr in self.addrs.clone() {
            let at = self.now + self.stay();
            self.at(at, What::Leave(addr));
        }
        let (begun, before) = (self.now, self.datagrams);
        let pause = self.shape.pause;
        let trials = self.shape.trials as u32;
        (0..trials).for_each(|n| self.at(begun + pause * n, What::Trial));
        self.run_until(begun + pause * trials + Duration::from_secs(30));
        assert!(self.trials.is_empty(), "{} lookups have not ended", self.trials.len());
        let minutes = (self.now - begun).as_secs_f64() / 60.0;
        let datagrams = (self.datagrams - before) as f64;
        let mut outcome = self.outcome;
        outcome.datagrams_per_min = datagrams / minutes / self.shape.nodes as f64;
        let ended = (outcome.good + outcome.bad) as f64;
        outcome.hops /= ended;
        outcome.queries /= ended;
        outcome.seconds /= ended;
        outcome
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(Reverse(Entry(at, ..))) = self.agenda.peek()
            && *at <= end
        {
            let Some(Reverse(Entry(at, _, what))) = self.agenda.pop() else { break };
            self.now = at;
            self.act(what);
        }
        self.now = end;
    }

    fn act(&mut self, what: What) {
        let now = self.now;
        match what {
            What::Deliver { to, from, bytes } => {
                if let Some(host) = self.hosts.get_mut(&to) {
                    host.dht.handle_datagram(from, &bytes, now);
                    self.settle(to);
                }
            }
            What::Wake(addr) => {
                let Some(host) = self.hosts.get_mut(&addr) else { return };
                if host.wakes_at == Some(now) {
                    host.wakes_at = None;
                    host.dht.handle_timeout(now);
                    self.settle(addr);
                }
            }
            What::Arrive => self.arrive(),
            What::Leave(addr) => {
                self.hosts.remove(&addr);
                self.addrs.retain(|other| *other != addr);
                let before = self.trials.len();
                self.trials.retain(|(host, _), _| *host != addr);
                self.outcome.lost += before - self.trials.len();
                self.arrive();
                let newest = *self.addrs.last().unwrap();
                let at = now + self.stay();
                self.at(at, What::Leave(newest));
            }
            What::Trial => self.begin_trial(),
        }
    }

    /// A node comes, which knows one other.
    fn arrive(&mut self) {
        // Each in a neighbourhood of its own, on the internet.
        let [_, a, b, c] = self.arrivals.to_be_bytes();
        self.arrivals += 1;
        let addr = SocketAddr::from((Ipv4Addr::new(20 + a, b, c, 1), 6881));
        let config = DhtConfig::default();
        let mut secret = [0; 32];
        self.rng.fill(&mut secret);
        let mut dht = Dht::new(config, b"", secret, self.rng.fork(), self.now);
        if !self.addrs.is_empty() {
            let known = self.addrs[self.rng.below(self.addrs.len())];
            dht.add_nodes([known], self.now);
        }
        let came_at = self.now;
        self.hosts.insert(addr, Host { dht, addr, came_at, wakes_at: None });
        self.addrs.push(addr);
        self.settle(addr);
    }

    fn stay(&mut self) -> Duration {
        self.shape.stay.mul_f64(-(1.0 - self.rng.unit()).ln())
    }

    fn begin_trial(&mut self) {
        let now = self.now;
        let addr = loop {
            let addr = self.addrs[self.rng.below(self.addrs.len())];
            let host = &self.hosts[&addr];
            if host.dht.is_joined(Family::V4) && host.came_at + SETTLED <= now {
                break addr;
            }
        };
        let mut target = [0; 20];
        self.rng.fill(&mut target);
        let target = NodeId(target);
        let host = self.hosts.get_mut(&addr).unwrap();
        let lookup = host.dht.find_node(target, Family::V4, now).unwrap();
        self.trials.insert((addr, lookup), Trial { target, started_at: now });
        self.trials_begun += 1;
        self.settle(addr);
    }

    /// Takes out what a node has to say.
    fn settle(&mut self, addr: SocketAddr) {
        let now = self.now;
        let mut found = Vec::new();
        let mut sent = Vec::new();
        let Some(host) = self.hosts.get_mut(&addr) else { return };
        // Until both queues are empty: a lookup may end in the call in which it begins.
        while let Some((to, bytes)) = host.dht.poll_datagram() {
            sent.push((to, bytes.to_vec()));
        }
        while let Some(event) = host.dht.poll_event() {
            if let DhtEvent::Found { lookup, nodes, stats, .. } = event {
                found.push((lookup, nodes.iter().map(|node| node.id).collect::<Vec<_>>(), stats));
            }
        }
        let from = host.addr;
        let wake = host.dht.poll_timeout();
        if let Some(at) = wake
            && host.wakes_at.is_none_or(|before| at < before)
        {
            host.wakes_at = Some(at.max(now));
            self.at(at.max(now), What::Wake(addr));
        }
        for (to, bytes) in sent {
            self.datagrams += 1;
            if self.rng.below(1_000) >= self.shape.loss_per_mille {
                let span = LATENCY_MS.end - LATENCY_MS.start;
                let ms = LATENCY_MS.start as f64 + self.rng.unit() * span as f64;
                let at = now + Duration::from_secs_f64(ms / 1_000.0);
                self.at(at, What::Deliver { to, from, bytes });
            }
        }
        for (lookup, nodes, stats) in found {
            self.end_trial(addr, lookup, &nodes, stats);
        }
    }

    fn end_trial(
        &mut self,
        addr: SocketAddr,
        lookup: LookupId,
        found: &[NodeId],
        stats: LookupStats,
    ) {
        let Some(trial) = self.trials.remove(&(addr, lookup)) else { return };
        let furthest = found.iter().map(|id| id.distance(trial.target)).max();
        let missed = self.hosts.values().any(|host| {
            let id = host.dht.id(Family::V4).unwrap();
            host.addr != addr
                && host.came_at + SETTLED <= trial.started_at
                && Some(id.distance(trial.target)) < furthest
                && !found.contains(&id)
        });
        if found.len() == K && !missed {
            self.outcome.good += 1;
        } else {
            self.outcome.bad += 1;
        }
        self.outcome.hops += f64::from(stats.hops);
        self.outcome.queries += stats.queries as f64;
        self.outcome.seconds += stats.elapsed.as_secs_f64();
        self.outcome.slowest = self.outcome.slowest.max(stats.elapsed);
    }
}

fn report(shape: Shape, seed: u64) -> Outcome {
    let outcome = Network::new(shape, seed).run();
    let log2 = (shape.nodes as f64).log2();
    println!(
        "{:5} nodes, log2 {log2:4.1}: {} of {} lookups found the {K} closest, {:.2} hops, \
         {:.1} queries, {:.2} s (slowest {:.1} s); {:.1} datagrams a minute and node; {} lost",
        shape.nodes,
        outcome.good,
        outcome.good + outcome.bad,
        outcome.hops,
        outcome.queries,
        outcome.seconds,
        outcome.slowest.as_secs_f64(),
        outcome.datagrams_per_min,
        outcome.lost,
    );
    outcome
}

/// One datagram in fifty is lost, and a node stays for an hour.
const SHAPE: Shape = Shape {
    nodes: 300,
    trials: 500,
    loss_per_mille: 20,
    stay: Duration::from_secs(3_600),
    pause: Duration::from_millis(500),
};

fn hold(shape: Shape, outcome: &Outcome) {
    let ended = outcome.good + outcome.bad;
    assert_eq!(ended + outcome.lost, shape.trials);
    assert!(outcome.bad * 100 <= ended, "{} of {ended} lookups missed a node", outcome.bad);
    let log2 = (shape.nodes as f64).log2();
    assert!(outcome.hops <= 1.0 + log2 / 2.0, "{} hops", outcome.hops);
    assert!(outcome.queries <= 8.0 + 2.0 * log2, "{} queries", outcome.queries);
}

#[test]
fn lookups_in_a_network_with_churn_and_loss_find_the_closest() {
    hold(SHAPE, &report(SHAPE, 1));
}

#[test]
#[ignore = "minutes, even when optimised"]
fn ten_thousand_lookups_among_two_thousand_nodes_find_the_closest() {
    let long = Shape { nodes: 2_000, trials: 10_000, pause: Duration::from_millis(360), ..SHAPE };
    hold(long, &report(long, 2));
    for nodes in [125, 250, 500, 1_000] {
        let shape = Shape { nodes, trials: 1_000, ..long };
        hold(shape, &report(shape, 3));
    }
}
