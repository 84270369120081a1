//! Many torrents that announce at once: how many streams there are at a time, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::*;
use swarmloop::sim::{Actor, ActorIo, LinkOptions, StreamId};

const TORRENTS: usize = 200;
const LIMIT: usize = 8;

/// What a tracker has seen.
#[derive(Debug, Default)]
struct Seen {
    open: usize,
    most_open: usize,
    /// The event of each announce, in the order in which they came.
    events: Vec<String>,
    /// Which torrents they were of.
    hashes: Vec<String>,
}

/// A tracker that takes its time.
#[derive(Debug)]
struct Slow {
    takes: Duration,
    seen: Arc<Mutex<Seen>>,
    requests: BTreeMap<StreamId, Vec<u8>>,
    answers: BTreeSet<(swarmloop::time::Instant, StreamId)>,
}

impl Actor for Slow {
    fn opened(&mut self, stream: StreamId, _remote: SocketAddr, _io: &mut ActorIo) {
        self.requests.insert(stream, Vec::new());
        let mut seen = self.seen.lock().unwrap();
        seen.open += 1;
        seen.most_open = seen.most_open.max(seen.open);
    }

    fn received(&mut self, stream: StreamId, bytes: &[u8], io: &mut ActorIo) {
        let request = self.requests.get_mut(&stream).unwrap();
        request.extend(bytes);
        if !request.ends_with(b"\r\n\r\n") {
            return;
        }
        let text = String::from_utf8_lossy(request).into_owned();
        let value = |key: &str| {
            let rest = text.split_once(key).map_or("", |(_, rest)| rest);
            rest.split(['&', ' ']).next().unwrap().to_owned()
        };
        let mut seen = self.seen.lock().unwrap();
        seen.events.push(value("event="));
        seen.hashes.push(value("info_hash="));
        self.answers.insert((io.now + self.takes, stream));
        io.wake_at(io.now + self.takes);
    }

    fn closed(&mut self, stream: StreamId, _io: &mut ActorIo) {
        if self.requests.remove(&stream).is_some() {
            self.seen.lock().unwrap().open -= 1;
        }
    }

    fn woken(&mut self, io: &mut ActorIo) {
        while let Some((at, stream)) = self.answers.first().copied()
            && at <= io.now
        {
            self.answers.pop_first();
            let body = "d8:intervali1800e5:peers0:e";
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            io.send(stream, answer.into_bytes());
        }
    }
}

fn many_torrents(seed: u64, takes: Duration) -> (Sim, HostId, Arc<Mutex<Seen>>) {
    let mut sim = Sim::new(SimOptions::new(seed));
    let tally = Arc::new(Mutex::new(Seen::default()));
    let (requests, answers) = (BTreeMap::new(), BTreeSet::new());
    let slow = Slow { takes, seen: Arc::clone(&tally), requests, answers };
    sim.add_actor(Box::new(slow), LinkOptions::default());
    let mut options = peer();
    options.config.max_announces = LIMIT;
    let host = sim.add_host(options);
    for n in 0..TORRENTS {
        let url = Some("http://10.0.0.1:6881/announce");
        let source = Arc::new(Source::single(seed + n as u64, 1_000, 16 << 10, url));
        let add = AddOptions { use_trackers: true, ..AddOptions::seed() };
        sim.add_torrent(host, &source, add);
    }
    (sim, host, tally)
}

#[test]
fn torrents_that_start_together_announce_a_few_at_a_time_and_each_gets_its_turn() {
    let (mut sim, host, seen) = many_torrents(1, Duration::from_secs(1));
    sim.run_until(10 * MINUTE, |_| seen.lock().unwrap().events.len() == TORRENTS);
    sim.run_for(MINUTE);
    {
        let seen = seen.lock().unwrap();
        assert_eq!((seen.most_open, seen.open), (LIMIT, 0));
        assert!(seen.events.iter().all(|event| event == "started"), "{:?}", seen.events);
        let hashes: BTreeSet<_> = seen.hashes.iter().collect();
        assert_eq!(hashes.len(), TORRENTS, "each has announced once");
    }
    // The next time they are due one after the other, and come in the same order.
    sim.run_for(Duration::from_secs(40 * 60));
    let seen = seen.lock().unwrap();
    assert_eq!((seen.events.len(), seen.most_open), (2 * TORRENTS, LIMIT));
    let (first, second) = seen.hashes.split_at(TORRENTS);
    let place = |hash: &String| first.iter().position(|other| other == hash).unwrap();
    let moved = second.iter().enumerate().map(|(at, hash)| place(hash).abs_diff(at));
    assert!(moved.max().unwrap() <= LIMIT, "whoever was first is due first");
    assert!(sim.session(host).is_some());
}

#[test]
fn torrents_that_end_together_say_so_a_few_at_a_time() {
    let (mut sim, host, seen) = many_torrents(2, Duration::from_millis(100));
    sim.run_until(10 * MINUTE, |_| seen.lock().unwrap().events.len() == TORRENTS);
    sim.run_for(MINUTE);
    sim.command(host, Session::shutdown);
    assert!(!sim.session(host).unwrap().is_idle());
    sim.run_until(MINUTE, |sim| sim.session(host).unwrap().is_idle());
    let seen = seen.lock().unwrap();
    assert_eq!((seen.events.len(), seen.most_open), (2 * TORRENTS, LIMIT));
    assert!(seen.events[TORRENTS..].iter().all(|event| event == "stopped"));
}

#[test]
fn one_that_is_stopped_while_it_waits_leaves_the_line() {
    let (mut sim, host, seen) = many_torrents(3, Duration::from_secs(20));
    sim.run_until(MINUTE, |_| seen.lock().unwrap().events.len() == LIMIT);
    for n in 0..TORRENTS {
        let torrent = TorrentId(u32::try_from(n).unwrap());
        sim.command(host, |session, now| session.stop_torrent(torrent, now));
    }
    sim.run_for(HOUR);
    let seen = seen.lock().unwrap();
    assert_eq!((seen.events.len(), seen.open), (LIMIT, 0), "no tracker knew of the others");
    assert!(sim.session(host).unwrap().is_idle());
}

#[test]
fn a_tracker_that_is_dead_does_not_keep_the_places_of_others_for_good() {
    let mut sim = Sim::new(SimOptions::new(4));
    let tracking = sim.add_host(tracker());
    let mut options = peer();
    options.config.max_announces = 2;
    let host = sim.add_host(options);
    for n in 0..20 {
        // Nobody is at the one address; the other answers.
        let dead = "http://10.0.99.99:6969/announce";
        let url = if n < 18 { dead } else { TRACKER_URL };
        let source = Arc::new(Source::single(n, 1_000, 16 << 10, Some(url)));
        let add = AddOptions { use_trackers: true, ..AddOptions::seed() };
        sim.add_torrent(host, &source, add);
    }
    let listed = |sim: &Sim| sim.session(tracking).and_then(Session::tracker).unwrap().peers;
    // Nine times two that take 30 s to be given up.
    sim.run_until(6 * MINUTE, |sim| listed(sim) == 2);
}
