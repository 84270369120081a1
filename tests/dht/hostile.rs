//! Floods, forgeries and noise, each against its stated limit (security.md, rows 38 to 41 and 5.6,
//! rows 42 and 43).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use swarmloop::dht::{
    ANSWER_BURST_PER_ADDR, ANSWER_BYTES_PER_S, ANSWERS_PER_ADDR, DhtEvent, Family, K,
    MAX_AMPLIFICATION, MAX_HINTS, MAX_SAVED_LEN, MAX_SPARE, MAX_STORED_PEERS, MAX_STORED_TORRENTS,
    secure,
};
use swarmloop::id::{InfoHash, NodeId};
use swarmloop::proto::krpc::{
    AnnouncedPort, Body, MAX_REPLY_LEN, MAX_TRANSACTION_LEN, Message, Method, Reply, Want,
};
use swarmloop::rng::Rng;
use swarmloop::time::Duration;

use crate::common::{Answers, TORRENT, World, addr, any_id, query};

const ANY: Want = Want { v4: false, v6: false };
const BOTH: Want = Want { v4: true, v6: true };

fn len(message: &Message<'_>) -> usize {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    bytes.len()
}

#[test]
fn no_answer_to_who_has_proven_nothing_is_longer_than_four_times_his_query() {
    let mut world = World::new(|config| config.v6 = true);
    world.add_fakes(60);
    world.join();
    // Peers in plenty.
    for n in 0..100 {
        let from = SocketAddr::from(([60, 1, n, 1], 6881));
        let id = any_id(&mut world.rng);
        let said = world.ask(from, id, Method::GetPeers { info_hash: TORRENT, want: ANY });
        let token = said[0].reply().token.unwrap().to_vec();
        let port = AnnouncedPort::Implied(0);
        world.ask(from, id, Method::AnnouncePeer { info_hash: TORRENT, port, token: &token });
        world.run(Duration::from_millis(200));
    }
    let long = [7; MAX_TRANSACTION_LEN];
    let target = NodeId(TORRENT.0);
    for (n, method) in [
        Method::Ping,
        Method::FindNode { target, want: BOTH },
        Method::GetPeers { info_hash: TORRENT, want: BOTH },
        Method::SampleInfohashes { target, want: BOTH },
        Method::Unknown { name: b"x", target: Some(target), want: BOTH },
        Method::Unknown { name: b"x", target: None, want: BOTH },
        Method::AnnouncePeer {
            info_hash: TORRENT,
            port: AnnouncedPort::Explicit(1),
            token: b"wrong",
        },
    ]
    .into_iter()
    .enumerate()
    {
        for transaction in [&b""[..], b"aa", &long] {
            let from = SocketAddr::from(([66, n as u8, transaction.len() as u8, 1], 1));
            let query = Message { transaction, ..query(NodeId([1; 20]), method) };
            let said = world.tell(from, &query).remove(0);
            let (asked, answered) = (len(&query), said.0.len());
            assert!(
                answered <= MAX_AMPLIFICATION * asked,
                "{method:?}: {answered} bytes for {asked}"
            );
            // Two nodes in the table never answer with more than passes every path.
            let said = world.tell(World::fake_addr(2), &query).remove(0);
            assert!(said.0.len() <= MAX_REPLY_LEN);
            world.run(Duration::from_secs(2));
        }
    }
}

#[test]
fn a_query_that_is_shorter_than_any_is_not_refused_at_length() {
    let mut world = World::new(|config| config.v6 = true);
    let mut refused = 0;
    for (n, text) in ["d1:t0:1:y1:qe", "d1:q4:ping1:t0:1:y1:qe", "d1:ade1:q4:ping1:t2:aa1:y1:qe"]
        .into_iter()
        .enumerate()
    {
        for from in [
            SocketAddr::from(([66, n as u8, 0, 1], 1)),
            SocketAddr::from(([0x2001, n as u16, 0, 0, 0, 0, 0, 1], 1)),
        ] {
            for said in world.tell_bytes(from, text.as_bytes()) {
                let (asked, answered) = (text.len(), said.0.len());
                assert!(answered <= MAX_AMPLIFICATION * asked, "{answered} bytes for {asked}");
                refused += 1;
            }
        }
    }
    assert_eq!((refused, world.counters().queries_dropped), (4, 2));
}

#[test]
fn one_address_gets_a_burst_and_then_a_few_answers_a_second() {
    let mut world = World::joined(5);
    let flooder = |n: u16| SocketAddr::from(([66, 0, 0, 1], n));
    let mut answers = 0;
    for ms in 0..10_000_u16 {
        let id = NodeId([1; 20]);
        answers += world.ask(flooder(1 + ms % 1_000), id, Method::Ping).len();
        world.run(Duration::from_millis(1));
    }
    let most = (ANSWER_BURST_PER_ADDR + 10 * ANSWERS_PER_ADDR) as usize;
    assert!(answers <= most, "{answers} answers to 10,000 queries");
    assert!(answers >= most - 5);
    let dropped = world.counters().queries_dropped;
    assert_eq!(dropped as usize, 10_000 - answers);
    let other = addr("67.0.0.1:1");
    assert_eq!(world.ask(other, NodeId([2; 20]), Method::Ping).len(), 1, "others are answered");
}

/// Security.md 5.6, row 42: 50,000 datagrams a second from as many addresses.
#[test]
fn a_flood_from_everywhere_gets_no_more_than_the_rate() {
    let mut world = World::joined(30);
    let before = world.counters();
    let mut rng = Rng::new(7);
    let seconds = 1;
    let mut pings = 0;
    for _ in 0..seconds * 1_000 {
        for _ in 0..50 {
            let mut ip = [0; 4];
            rng.fill(&mut ip);
            let from = SocketAddr::from(([50 + ip[0] % 40, ip[1], ip[2], ip[3]], 6881));
            let id = any_id(&mut rng);
            let target = any_id(&mut rng);
            let mut bytes = Vec::new();
            query(id, Method::FindNode { target, want: ANY }).write(&mut bytes);
            world.dht.handle_datagram(from, &bytes, world.now);
        }
        world.run(Duration::from_millis(1));
        let asked = |said: &crate::common::Said| matches!(said.message().body, Body::Query { .. });
        pings += world.sent.drain(..).filter(|(_, said)| asked(said)).count();
    }
    let after = world.counters();
    let bytes = after.answer_bytes_out - before.answer_bytes_out;
    let most = 16 * 1_024 + u64::from(ANSWER_BYTES_PER_S) * seconds + MAX_REPLY_LEN as u64;
    assert!(bytes <= most, "{bytes} bytes in {seconds} s");
    assert_eq!(after.queries_in - before.queries_in, seconds * 50_000);
    assert!(pings as u64 <= seconds + 1, "{pings} strangers were asked in {seconds} s");
    let table = world.dht.status(world.now).sides[0].table;
    assert!(table.spare <= table.buckets * MAX_SPARE && table.nodes <= table.buckets * K);
    world.dht.search(TORRENT, None, world.now);
    world.run(Duration::from_secs(5));
    let ended = |event: &DhtEvent| matches!(event, DhtEvent::Searched { .. });
    assert!(world.events.iter().any(ended), "our own lookups go on");
}

/// Security.md 5.6, row 43: answers from who was not asked, or not that.
#[test]
fn an_answer_counts_only_from_the_one_who_was_asked() {
    let mut world = World::joined(5);
    let asked = addr("81.1.1.1:1");
    world.dht.add_nodes([asked], world.now);
    world.run(Duration::from_secs(2));
    let said = world.heard(asked).remove(0);
    let transaction = said.message().transaction.to_vec();
    let id = secure::id_at(Some(asked.ip()), &mut world.rng);
    let before = (world.nodes(), world.counters());
    let reply = |transaction: &[u8]| {
        let mut bytes = Vec::new();
        let body = Body::Reply(Reply::empty(id));
        let message = Message { transaction, version: None, seen_at: None, read_only: false, body };
        message.write(&mut bytes);
        bytes
    };
    world.tell_bytes(addr("81.1.1.2:1"), &reply(&transaction));
    world.tell_bytes(addr("81.1.1.1:2"), &reply(&transaction));
    for guess in 0..5_000_u32 {
        let guess = guess.to_be_bytes();
        if guess[..] != transaction[..] {
            world.tell_bytes(asked, &reply(&guess));
        }
    }
    world.tell_bytes(asked, &reply(&transaction[..3]));
    world.tell_bytes(asked, &reply(b""));
    assert_eq!(world.nodes(), before.0);
    assert_eq!(world.counters().unexpected - before.1.unexpected, 5_004);
    world.tell_bytes(asked, &reply(&transaction));
    assert_eq!(world.nodes(), before.0 + 1, "the one who was asked is believed");
    world.tell_bytes(asked, &reply(&transaction));
    assert_eq!(world.counters().unexpected - before.1.unexpected, 5_005, "but once");
}

#[test]
fn an_answer_after_the_time_is_up_counts_for_nothing() {
    let mut world = World::joined(20);
    let late = world.add_fake(100);
    world.fakes.get_mut(&late).unwrap().answers = Answers::Late(Duration::from_secs(5));
    let nodes = world.nodes();
    world.dht.add_nodes([late], world.now);
    world.run(Duration::from_secs(20));
    assert_eq!((world.nodes(), world.counters().unexpected), (nodes, 1));
}

#[test]
fn whoever_asks_from_made_up_addresses_has_us_ask_one_of_them_a_second() {
    let mut world = World::joined(2);
    let mut rng = Rng::new(3);
    for _ in 0..30_000 {
        let mut ip = [0; 2];
        rng.fill(&mut ip);
        let from = SocketAddr::from(([130, ip[0], ip[1], 1], 6881));
        let id = secure::id_at(Some(from.ip()), &mut rng);
        let mut bytes = Vec::new();
        query(id, Method::Ping).write(&mut bytes);
        world.dht.handle_datagram(from, &bytes, world.now);
        world.run(Duration::from_millis(1));
    }
    let mut asked: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for (to, said) in &world.sent {
        if matches!(said.message().body, Body::Query { .. }) {
            *asked.entry(*to).or_default() += 1;
        }
    }
    assert!(asked.values().sum::<usize>() <= 31, "{asked:?} in 30 s");
}

#[test]
fn hints_are_bounded_and_asked_one_a_second() {
    let mut world = World::joined(10);
    let hints =
        (0..10_000_u32).map(|n| SocketAddr::from((n.wrapping_add(0x6400_0000).to_be_bytes(), 1)));
    world.dht.add_nodes(hints, world.now);
    world.run(Duration::from_secs(300));
    let strangers = world.sent.len();
    assert!(strangers <= MAX_HINTS, "{strangers}");
    assert!(strangers >= MAX_HINTS - 5);
    let mut at: Vec<_> =
        world.log.iter().filter(|(_, to)| to.port() == 1).map(|(at, _)| *at).collect();
    at.dedup();
    assert_eq!(at.len(), strangers, "never two at once");
}

#[test]
fn what_is_stored_is_bounded_whoever_announces() {
    let mut world = World::new(|config| {
        config.answer_bytes_per_s = 1 << 30;
        config.answers_per_addr = 0;
    });
    world.add_fakes(5);
    world.join();
    let announce = |world: &mut World, from: SocketAddr, n: u32| {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let info_hash = InfoHash(hash);
        let id = NodeId([1; 20]);
        let said = world.ask(from, id, Method::GetPeers { info_hash, want: ANY });
        let token = said[0].reply().token.unwrap().to_vec();
        let port = AnnouncedPort::Explicit(1);
        world.ask(from, id, Method::AnnouncePeer { info_hash, port, token: &token });
    };
    for n in 0..50 {
        announce(&mut world, SocketAddr::from(([60, 1, n, 1], 6881)), n.into());
    }
    for n in 0..4_000 {
        announce(&mut world, addr("61.0.0.1:1"), 1_000 + n);
    }
    let status = world.dht.status(world.now);
    assert_eq!(status.stored_torrents, MAX_STORED_TORRENTS);
    assert!(status.stored_peers <= MAX_STORED_PEERS);
    for n in 0..50_u32 {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let get = Method::GetPeers { info_hash: InfoHash(hash), want: ANY };
        let said = world.ask(addr("66.1.1.1:1"), NodeId([1; 20]), get);
        assert_eq!(said[0].reply().values.len(), 1, "torrent {n} of somebody honest is gone");
    }
}

#[test]
fn a_hostile_table_of_an_earlier_run_is_survived() {
    let mut rng = Rng::new(5);
    let world = World::joined(60);
    let good = world.dht.save(world.now);
    for round in 0..300 {
        let mut bytes = good.clone();
        match round % 3 {
            0 => bytes.truncate(rng.below(good.len())),
            1 => (0..=rng.below(20)).for_each(|_| {
                let at = rng.below(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
            }),
            _ => {
                bytes.resize(MAX_SAVED_LEN * 2, 0);
                rng.fill(&mut bytes);
            }
        }
        let mut again = World::with(&bytes, |_| {});
        again.run(Duration::from_secs(60));
        assert!(again.log.len() <= 150, "{} datagrams", again.log.len());
        let nobody =
            |to: &SocketAddr| to.port() == 0 || to.ip().is_unspecified() || to.ip().is_multicast();
        assert!(!again.log.iter().any(|(_, to)| nobody(to)));
    }
}

/// A walk of random datagrams, wishes and pauses: nothing panics, and every limit holds.
#[test]
fn random_walks_keep_every_limit() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(|config| config.v6 = seed % 2 == 0);
        world.add_fakes(30);
        world.dht.add_nodes([World::fake_addr(0)], world.now);
        let mut last: Vec<u8> = Vec::new();
        for _ in 0..300 {
            let from = match rng.below(3) {
                0 => World::fake_addr(rng.below(30) as u8),
                1 => SocketAddr::from(([90, rng.below(200) as u8, 0, 1], 1 + rng.below(3) as u16)),
                _ => SocketAddr::from(([0x2001, rng.below(9) as u16, 0, 0, 0, 0, 0, 1], 5)),
            };
            let id = any_id(&mut rng);
            let info_hash = InfoHash([rng.below(20) as u8; 20]);
            let target = NodeId(info_hash.0);
            let want = [ANY, BOTH][rng.below(2)];
            let method = match rng.below(5) {
                0 => Method::Ping,
                1 => Method::FindNode { target, want },
                2 => Method::GetPeers { info_hash, want },
                3 => Method::SampleInfohashes { target, want },
                _ => {
                    let port = AnnouncedPort::Implied(1);
                    Method::AnnouncePeer { info_hash, port, token: b"12345678" }
                }
            };
            match rng.below(9) {
                0..=3 => drop(world.tell(from, &query(id, method))),
                4 if !last.is_empty() => {
                    let at = rng.below(last.len());
                    last[at] ^= 1 << rng.below(8);
                    let bytes = last.clone();
                    world.tell_bytes(from, &bytes);
                }
                4 => {}
                5 => world.dht.search(info_hash, Some(AnnouncedPort::Explicit(1)), world.now),
                6 => world.dht.forget(info_hash),
                7 => world.dht.add_nodes([from], world.now),
                _ => world.run(Duration::from_millis([1, 300, 5_000, 900_000][rng.below(4)])),
            }
            if let Some((_, said)) = world.sent.last() {
                last.clone_from(&said.0);
            }
            world.sent.clear();
            let status = world.dht.status(world.now);
            for side in &status.sides {
                assert!(side.table.nodes <= side.table.buckets * K, "seed {seed}");
                assert!(side.table.spare <= side.table.buckets * MAX_SPARE, "seed {seed}");
            }
            assert!(status.lookups <= 2 * 10, "seed {seed}: {} lookups", status.lookups);
        }
        (0..20).for_each(|n| world.dht.forget(InfoHash([n; 20])));
        world.run(Duration::from_secs(7_200));
        let status = world.dht.status(world.now);
        assert_eq!((status.searches, status.stored_peers), (0, 0), "seed {seed}");
        assert!(world.dht.is_joined(Family::V4), "seed {seed}");
    }
}
