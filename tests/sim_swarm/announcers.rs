//! Clients of the embedded tracker over UDP, on lines that lose, double and reorder datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::tracker_http::AnnounceEvent;
use swarmloop::proto::tracker_udp::{
    Reply, UdpAnnounce, parse_reply, write_announce, write_connect,
};
use swarmloop::session::Session;
use swarmloop::sim::{
    Actor, ActorIo, HostId, LinkOptions, Sim, SimOptions, StreamId, TRACKER_PORT,
};

use swarmloop::time::Instant;

use super::{HOUR, MINUTE, tracker};

/// A client that asks again after 15 s (BEP 15) until it is answered, and keeps to the interval.
#[derive(Debug)]
struct Announcer {
    tracker: SocketAddr,
    number: u32,
    /// How many announces it wants answered; then it leaves.
    wants: u32,
    answered: u32,
    connection: Option<u64>,
    transaction: u32,
    /// When it asks next, should nothing come; earlier wakes mean nothing any more.
    next: Instant,
}

impl Announcer {
    fn new(tracker: SocketAddr, number: u32, wants: u32) -> Self {
        Self {
            tracker,
            number,
            wants,
            answered: 0,
            connection: None,
            transaction: 0,
            next: Instant::ZERO,
        }
    }

    fn ask(&mut self, io: &mut ActorIo) {
        self.transaction += 1;
        let mut out = Vec::new();
        match self.connection {
            None => write_connect(&mut out, self.transaction),
            Some(connection) => {
                let mut id = [b'.'; 20];
                id[..4].copy_from_slice(&self.number.to_be_bytes());
                let event = match self.answered {
                    0 => AnnounceEvent::Started,
                    n if n == self.wants => AnnounceEvent::Stopped,
                    _ => AnnounceEvent::Periodic,
                };
                let announce = UdpAnnounce {
                    info_hash: InfoHash([7; 20]),
                    peer_id: PeerId(id),
                    downloaded: 0,
                    left: u64::from(self.number % 2),
                    uploaded: 0,
                    event,
                    ip: None,
                    key: self.number,
                    num_want: None,
                    port: 6881,
                };
                write_announce(&mut out, connection, self.transaction, &announce, b"");
            }
        }
        io.send_datagram(7_000, self.tracker, out);
        self.sleep(Duration::from_secs(15), io);
    }

    fn sleep(&mut self, span: Duration, io: &mut ActorIo) {
        self.next = io.now + span;
        io.wake_at(self.next);
    }
}

impl Actor for Announcer {
    fn started(&mut self, io: &mut ActorIo) {
        self.ask(io);
    }

    fn opened(&mut self, _stream: StreamId, _remote: SocketAddr, _io: &mut ActorIo) {}

    fn received(&mut self, _stream: StreamId, _bytes: &[u8], _io: &mut ActorIo) {}

    fn closed(&mut self, _stream: StreamId, _io: &mut ActorIo) {}

    fn datagram(&mut self, port: u16, from: SocketAddr, bytes: &[u8], io: &mut ActorIo) {
        assert_eq!((port, from), (7_000, self.tracker));
        match parse_reply(bytes).expect("a tracker's answer") {
            Reply::Connected { transaction, connection } if transaction == self.transaction => {
                self.connection = Some(connection);
                self.ask(io);
            }
            Reply::Announced { transaction, .. } if transaction == self.transaction => {
                self.answered += 1;
                self.connection = None;
                self.transaction += 1;
                self.sleep(MINUTE * 30, io);
            }
            // Its id had become too old while answers were lost.
            Reply::Failed { transaction, .. } if transaction == self.transaction => {
                self.connection = None;
                self.ask(io);
            }
            // An answer that came twice, or too late.
            _ => {}
        }
    }

    fn woken(&mut self, io: &mut ActorIo) {
        if io.now >= self.next && self.answered <= self.wants {
            self.ask(io);
        }
    }
}

fn run(seed: u64, announces: u32) -> (Sim, HostId) {
    let mut sim = Sim::new(SimOptions::new(seed));
    let mut bad = LinkOptions::default();
    bad.lost_datagrams_per_mille = 200;
    bad.doubled_datagrams_per_mille = 100;
    bad.datagram_jitter = Duration::from_millis(300);
    let mut options = tracker();
    options.link = bad;
    let host = sim.add_host(options);
    let addr = SocketAddr::new(sim.ip(host), TRACKER_PORT);
    for number in 0..50 {
        sim.add_actor(Box::new(Announcer::new(addr, number, announces)), bad);
    }
    (sim, host)
}

#[test]
fn announces_by_udp_get_through_lines_that_lose_every_fifth_datagram() {
    for seed in 1..=5 {
        let (mut sim, host) = run(seed, 1_000);
        let status = |sim: &Sim| sim.session(host).and_then(Session::tracker).expect("it is up");
        sim.run_until(MINUTE * 10, |sim| status(sim).peers == 50);
        assert_eq!((status(&sim).torrents, status(&sim).seeds), (1, 25));
        // Two intervals without a word, and a client is gone: these keep on announcing.
        sim.run_for(HOUR * 5);
        assert_eq!(status(&sim).peers, 50);
        let counters = status(&sim).counters;
        assert!(counters.announces_udp > 50 * 9, "{counters:?}");
        assert_eq!(counters.dropped, 0, "nobody asks too often");
    }
}

#[test]
fn a_tracker_whose_clients_have_left_forgets_them_and_sleeps() {
    let (mut sim, host) = run(9, 2);
    sim.run_for(HOUR * 24);
    let status = sim.session(host).and_then(Session::tracker).expect("it is up");
    assert_eq!((status.torrents, status.peers), (0, 0));
    let turns = sim.turns(host);
    sim.run_for(HOUR * 24);
    assert_eq!(sim.turns(host), turns, "an idle session makes no wake-ups");
}

#[test]
fn the_same_seed_loses_the_same_datagrams() {
    let hash = |seed| {
        let (mut sim, _) = run(seed, 3);
        sim.run_for(HOUR * 3);
        sim.trace_hash()
    };
    assert_eq!(hash(4), hash(4));
    assert_ne!(hash(4), hash(5));
}
