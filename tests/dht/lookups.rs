//! What the node asks others: coming in, searching, announcing, keeping its table.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use swarmloop::dht::{
    ALPHA, DhtEvent, Family, K, MAX_ATTEMPTS, MAX_IDLE_QUERIES_PER_MIN, MAX_QUERIES,
    SEARCH_INTERVAL, secure,
};
use swarmloop::id::NodeId;
use swarmloop::proto::compact::NodeInfo;
use swarmloop::proto::krpc::{AnnouncedPort, Body, Method, Want};
use swarmloop::time::{Duration, Instant};

use crate::common::{Answers, Fake, LATENCY, OURS, TORRENT, World, addr};

const MINUTE: Duration = Duration::from_secs(60);

/// Who was asked for peers or nodes, and how often.
fn asked(world: &World, method: &str) -> BTreeMap<SocketAddr, usize> {
    let count = |fake: &Fake| fake.asked.iter().filter(|(name, _)| name == method).count();
    let fakes = world.fakes.iter().map(|(addr, fake)| (*addr, count(fake)));
    fakes.filter(|(_, count)| *count > 0).collect()
}

fn searched(world: &World) -> Vec<(usize, usize)> {
    let searched = world.events.iter().filter_map(|event| match event {
        DhtEvent::Searched { peers, stored_by, .. } => Some((*peers, *stored_by)),
        _ => None,
    });
    searched.collect()
}

#[test]
fn who_knows_nobody_asks_for_names_with_growing_pauses() {
    let mut world = World::new(|config| {
        config.bootstrap = vec![("router.example".to_owned(), 6881)];
    });
    let begun = world.now;
    let mut times = Vec::new();
    while world.now < begun + MINUTE * 120 {
        let before = world.now;
        world.run(Duration::from_secs(1));
        let wished = |event: &DhtEvent| matches!(event, DhtEvent::Resolve { .. });
        if world.events.drain(..).any(|event| wished(&event)) {
            times.push(before);
        }
    }
    assert!(world.log.is_empty(), "nobody is known");
    let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!((3..=7).contains(&pauses[0]), "{pauses:?}");
    assert!((7..=14).contains(&pauses[1]) && (14..=26).contains(&pauses[2]), "{pauses:?}");
    assert!(pauses[7..].iter().all(|pause| (449..=751).contains(pause)), "{pauses:?}");
    assert_ne!(pauses[8], pauses[9], "not all nodes that started together at once");
}

#[test]
fn one_address_is_enough_to_come_in() {
    let mut world = World::new(|_| {});
    world.add_fakes(40);
    world.run(Duration::from_secs(1));
    world.dht.add_nodes([World::fake_addr(3)], world.now);
    world.run(Duration::from_secs(5));
    assert!(world.dht.is_joined(Family::V4));
    let joined = |event: &DhtEvent| matches!(event, DhtEvent::Joined { family: Family::V4, .. });
    assert_eq!(world.events.iter().filter(|event| joined(event)).count(), 1);
    world.run(MINUTE);
    assert!(world.nodes() >= 20, "{}", world.nodes());
}

#[test]
fn a_first_address_that_is_dead_does_not_keep_us_out() {
    let mut world = World::new(|_| {});
    world.add_fakes(20);
    let dead = ["81.0.0.1:1", "82.0.0.1:1"].map(addr);
    world.dht.add_nodes(dead, world.now);
    world.run(Duration::from_secs(2));
    assert!(!world.dht.is_joined(Family::V4));
    world.dht.add_nodes([World::fake_addr(3)], world.now);
    world.run(Duration::from_secs(1));
    let is_asked = !world.fakes[&World::fake_addr(3)].asked.is_empty();
    assert!(is_asked, "at once, although the others have not failed yet");
    world.run(Duration::from_secs(9));
    assert!(world.dht.is_joined(Family::V4));
}

#[test]
fn a_saved_table_brings_us_in_without_names() {
    let world = World::joined(40);
    let saved = world.dht.save(world.now);
    let id = world.dht.id(Family::V4);
    let mut again = World::with(&saved, |config| {
        config.bootstrap = vec![("router.example".to_owned(), 6881)];
    });
    again.fakes = world.fakes;
    again.run(Duration::from_secs(5));
    assert!(again.dht.is_joined(Family::V4));
    assert_eq!(again.dht.id(Family::V4), id, "we are where we were");
    assert!(!again.events.iter().any(|event| matches!(event, DhtEvent::Resolve { .. })));
}

#[test]
fn a_network_that_is_gone_is_come_back_to() {
    let mut world = World::joined(20);
    let nodes = world.nodes();
    world.fakes.values_mut().for_each(|fake| fake.answers = Answers::Never);
    world.dht.search(TORRENT, None, world.now);
    world.run(MINUTE * 60);
    assert!(!world.dht.is_joined(Family::V4));
    world.fakes.values_mut().for_each(|fake| fake.answers = Answers::Yes);
    world.run(MINUTE * 14);
    assert!(world.dht.is_joined(Family::V4), "nobody had to tell us where the others are");
    assert!(world.nodes() >= nodes / 2);
}

#[test]
fn a_search_finds_the_peers_that_the_closest_nodes_know() {
    let mut world = World::joined(60);
    let target = NodeId::from(TORRENT);
    let closest = world.closest(target, addr(OURS));
    let peers = ["70.0.0.1:1", "70.0.0.2:2", "70.0.0.3:3"].map(addr);
    for (node, peer) in closest.iter().zip([0, 0, 1, 2].map(|n| peers[n])) {
        world.fakes.get_mut(&node.addr).unwrap().values = vec![peer, peers[0]];
    }
    world.dht.search(TORRENT, None, world.now);
    world.run(Duration::from_secs(5));
    let told = world.events.iter().filter_map(|event| match event {
        DhtEvent::Peers { info_hash: TORRENT, peers } => Some(peers.clone()),
        _ => None,
    });
    let mut told = told.collect::<Vec<_>>().concat();
    told.sort_unstable();
    assert_eq!(told, peers, "each once");
    assert_eq!(searched(&world), [(3, 0)]);
    let asked = asked(&world, "get_peers");
    assert!(closest.iter().all(|node| asked.get(&node.addr) == Some(&1)), "{asked:?}");
    assert!(asked.len() < 30, "{} nodes asked", asked.len());
}

#[test]
fn a_search_with_a_port_has_the_closest_store_us_each_with_its_token() {
    let mut world = World::joined(60);
    for (n, fake) in world.fakes.values_mut().enumerate() {
        fake.token = format!("token {n}").into_bytes();
    }
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(6881)), world.now);
    world.run(Duration::from_secs(5));
    assert_eq!(searched(&world), [(0, K)]);
    let closest = world.closest(TORRENT.into(), addr(OURS));
    assert_eq!(asked(&world, "announce_peer").len(), K);
    for node in closest {
        let fake = &world.fakes[&node.addr];
        let token = fake.asked.iter().find(|(name, _)| name == "announce_peer").map(|(_, t)| t);
        assert_eq!(token, Some(&fake.token), "{node:?}");
    }
}

#[test]
fn a_node_without_a_token_or_that_refuses_does_not_store_us() {
    let mut world = World::joined(60);
    let closest = world.closest(TORRENT.into(), addr(OURS));
    world.fakes.get_mut(&closest[0].addr).unwrap().token.clear();
    world.fakes.get_mut(&closest[1].addr).unwrap().answers = Answers::Refuses;
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(6881)), world.now);
    world.run(Duration::from_secs(9));
    let told = asked(&world, "announce_peer");
    assert!(!told.contains_key(&closest[0].addr) && !told.contains_key(&closest[1].addr));
    assert_eq!(searched(&world), [(0, K - 1)], "one more than asked takes the refuser's place");
}

#[test]
fn no_more_than_three_are_asked_at_once_while_they_answer_in_time() {
    let mut world = World::joined(60);
    world.dht.search(TORRENT, None, world.now);
    let begun = world.now;
    world.run(Duration::from_secs(5));
    let mut at_once: BTreeMap<Instant, usize> = BTreeMap::new();
    world.log.iter().for_each(|(at, _)| *at_once.entry(*at).or_default() += 1);
    assert_eq!(at_once[&begun], ALPHA);
    assert!(at_once.values().all(|count| *count <= ALPHA), "{at_once:?}");
}

#[test]
fn nodes_that_do_not_answer_cost_a_lookup_little_and_are_asked_thrice() {
    let mut world = World::joined(60);
    let closest = world.closest(TORRENT.into(), addr(OURS));
    for node in &closest[..5] {
        world.fakes.get_mut(&node.addr).unwrap().answers = Answers::Never;
    }
    world.dht.search(TORRENT, None, world.now);
    world.run(Duration::from_secs(20));
    let asked = asked(&world, "get_peers");
    for node in &closest[..5] {
        assert_eq!(asked.get(&node.addr), Some(&MAX_ATTEMPTS.into()), "{node:?}");
    }
    let stats = world.events.iter().find_map(|event| match event {
        DhtEvent::Searched { stats, .. } => Some(*stats),
        _ => None,
    });
    let elapsed = stats.expect("it has ended").elapsed;
    assert!(elapsed < Duration::from_secs(9), "{elapsed:?}: one after the other would be 60 s");
}

#[test]
fn a_lost_datagram_hides_nobody() {
    let mut world = World::joined(60);
    let closest = world.closest(TORRENT.into(), addr(OURS));
    let nearest = closest[0].addr;
    world.fakes.get_mut(&nearest).unwrap().answers = Answers::Never;
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(1)), world.now);
    while !asked(&world, "get_peers").contains_key(&nearest) {
        world.run(Duration::from_millis(10));
    }
    world.fakes.get_mut(&nearest).unwrap().answers = Answers::Yes;
    world.run(Duration::from_secs(10));
    assert!(asked(&world, "announce_peer").contains_key(&nearest));
}

#[test]
fn nobody_is_missed_because_the_others_name_those_who_are_gone() {
    let mut world = World::new(|_| {});
    world.add_fakes(250);
    world.join();
    let closest = world.closest(TORRENT.into(), addr(OURS));
    for node in &closest[1..4] {
        world.fakes.get_mut(&node.addr).unwrap().answers = Answers::Never;
    }
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(6881)), world.now);
    world.run(Duration::from_secs(20));
    let told = asked(&world, "announce_peer");
    world.fakes.retain(|_, fake| fake.answers != Answers::Never);
    let there = world.closest(TORRENT.into(), addr(OURS));
    let missed = there.iter().filter(|node| !told.contains_key(&node.addr)).count();
    assert_eq!(missed, 0, "whom nobody names when asked for the torrent itself");
}

#[test]
fn an_answer_that_takes_long_is_still_taken() {
    let mut world = World::joined(60);
    let closest = world.closest(TORRENT.into(), addr(OURS));
    let slow = closest[0].addr;
    world.fakes.get_mut(&slow).unwrap().answers = Answers::Late(Duration::from_millis(2_500));
    world.fakes.get_mut(&slow).unwrap().values = vec![addr("70.0.0.1:1")];
    world.dht.search(TORRENT, None, world.now);
    world.run(Duration::from_secs(10));
    assert_eq!(searched(&world), [(1, 0)]);
}

#[test]
fn who_makes_up_closer_and_closer_nodes_is_asked_a_bounded_number_of_times() {
    let mut world = World::new(|_| {});
    // Each names eight that are closer still, in neighbourhoods of their own, with good ids or bad.
    let mut layer: Vec<NodeInfo> = Vec::new();
    for depth in (0..60_u8).rev() {
        let named = std::mem::take(&mut layer);
        for n in 0..8 {
            let addr = SocketAddr::from(([100 + depth, n, 0, 1], 6881));
            let mut id = TORRENT.0;
            id[usize::from(depth / 8)] ^= 0x80 >> (depth % 8);
            id[19] = n;
            let id = NodeId(id);
            layer.push(NodeInfo { id, addr });
            let mut fake = Fake::new(id);
            fake.names = Some(named.clone());
            world.fakes.insert(addr, fake);
        }
    }
    world.dht.add_nodes([layer[0].addr], world.now);
    world.run(MINUTE);
    world.fakes.values_mut().for_each(|fake| fake.asked.clear());
    world.dht.search(TORRENT, None, world.now);
    world.run(MINUTE / 2);
    let queries: usize = asked(&world, "get_peers").values().sum();
    assert!(queries <= MAX_QUERIES, "{queries}");
    assert!(!searched(&world).is_empty());
}

#[test]
fn made_up_ids_around_a_torrent_are_not_all_that_stores_us() {
    let mut world = World::joined(60);
    // Sixteen at the torrent itself, whose ids do not follow from their addresses.
    let mut liars = Vec::new();
    for n in 0..16 {
        let addr = SocketAddr::from(([120, n, 0, 1], 6881));
        let mut id = TORRENT.0;
        id[19] ^= n;
        let id = NodeId(id);
        assert!(!secure::is_valid_at(id, addr.ip()));
        liars.push(NodeInfo { id, addr });
    }
    for liar in liars.clone() {
        let mut fake = Fake::new(liar.id);
        fake.names = Some(liars.clone());
        world.fakes.insert(liar.addr, fake);
    }
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(6881)), world.now);
    world.run(Duration::from_secs(20));
    let told = asked(&world, "announce_peer");
    let lied = told.keys().filter(|addr| addr.ip().to_string().starts_with("120.")).count();
    assert!(lied <= K / 2, "{lied} of {}", told.len());
    assert!(told.len() - lied >= 4, "{told:?}");
}

#[test]
fn nobody_outside_has_us_knock_inside() {
    let mut world = World::joined(20);
    let inside = ["192.168.1.1:80", "127.0.0.1:22", "10.0.0.1:53", "169.254.169.254:80"];
    let nobody = ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1"];
    let named: Vec<SocketAddr> = inside.iter().chain(&nobody).map(|text| addr(text)).collect();
    for fake in world.fakes.values_mut() {
        fake.values = named.clone();
        let node = |addr: &SocketAddr| NodeInfo { id: NodeId(TORRENT.0), addr: *addr };
        fake.names = Some(named.iter().map(node).collect());
    }
    world.dht.search(TORRENT, None, world.now);
    world.run(MINUTE);
    assert!(world.log.iter().all(|(_, to)| !named.contains(to)), "{:?}", world.log);
    assert_eq!(searched(&world).first(), Some(&(0, 0)));
}

#[test]
fn a_private_network_is_a_dht_as_any_other() {
    let mut world = World::new(|_| {});
    let nodes: Vec<SocketAddr> =
        (1..20).map(|n| SocketAddr::from(([127, 0, 0, n], 6881))).collect();
    for node in &nodes {
        let id = crate::common::any_id(&mut world.rng);
        world.fakes.insert(*node, Fake::new(id));
    }
    world.join();
    assert!(world.nodes() >= 15, "{}: their addresses are all alike", world.nodes());
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(1)), world.now);
    world.run(Duration::from_secs(9));
    assert_eq!(searched(&world), [(0, K)]);
}

#[test]
fn a_search_is_repeated_sooner_if_nobody_was_found() {
    let mut world = World::joined(30);
    world.dht.search(TORRENT, None, world.now);
    let begun = world.now;
    let mut times = Vec::new();
    while world.now < begun + MINUTE * 90 {
        world.events.clear();
        world.run(Duration::from_secs(1));
        if !searched(&world).is_empty() {
            times.push(world.now);
        }
        if times.len() == 6 {
            let some = addr("70.0.0.1:1");
            world.fakes.values_mut().for_each(|fake| fake.values = vec![some]);
        }
    }
    let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    for (pause, minutes) in pauses.iter().zip([1, 2, 4, 8, 15, 15]) {
        let (least, most) = (minutes * 60 * 9 / 10, minutes * 60 * 11 / 10 + 3);
        assert!((least..=most).contains(pause), "{pauses:?}");
    }
    assert!(SEARCH_INTERVAL == MINUTE * 15);
}

#[test]
fn a_search_can_be_hastened_but_not_below_a_minute() {
    let mut world = World::joined(30);
    let some = addr("70.0.0.1:1");
    world.fakes.values_mut().for_each(|fake| fake.values = vec![some]);
    world.dht.search(TORRENT, None, world.now);
    world.run(Duration::from_secs(5));
    for _ in 0..50 {
        world.dht.hasten(TORRENT, world.now);
        world.run(Duration::from_secs(1));
    }
    assert_eq!(searched(&world).len(), 1);
    world.run(Duration::from_secs(15));
    assert_eq!(searched(&world).len(), 2);
    world.run(MINUTE * 10);
    assert_eq!(searched(&world).len(), 2);
}

#[test]
fn a_torrent_that_is_forgotten_is_not_asked_for_any_more() {
    let mut world = World::joined(30);
    world.dht.search(TORRENT, Some(AnnouncedPort::Implied(1)), world.now);
    world.run(LATENCY / 2);
    assert_eq!(asked(&world, "get_peers").len(), ALPHA);
    world.dht.forget(TORRENT);
    world.run(MINUTE * 60);
    assert_eq!(asked(&world, "get_peers").len(), ALPHA);
    assert!(searched(&world).is_empty() && asked(&world, "announce_peer").is_empty());
    let status = world.dht.status(world.now);
    assert_eq!((status.searches, status.lookups), (0, 0));
}

/// In a DHT of a few nodes nobody else may be told.
#[test]
fn who_has_announced_to_us_what_we_search_for_is_found() {
    let mut world = World::joined(5);
    let announce = |world: &mut World, from: &str| {
        let (from, id) = (addr(from), crate::common::any_id(&mut world.rng));
        let get = Method::GetPeers { info_hash: TORRENT, want: Want::default() };
        let token = world.ask(from, id, get)[0].reply().token.expect("a token").to_vec();
        let port = AnnouncedPort::Implied(0);
        world.ask(from, id, Method::AnnouncePeer { info_hash: TORRENT, port, token: &token });
    };
    let told = |world: &mut World| -> Vec<SocketAddr> {
        let peers = world.events.iter().filter_map(|event| match event {
            DhtEvent::Peers { info_hash: TORRENT, peers } => Some(peers.clone()),
            _ => None,
        });
        let told = peers.collect::<Vec<_>>().concat();
        world.events.retain(|event| !matches!(event, DhtEvent::Peers { .. }));
        told
    };
    announce(&mut world, "55.1.2.3:4000");
    assert_eq!(told(&mut world), [], "nobody searches");
    world.dht.search(TORRENT, None, world.now);
    world.run(Duration::from_millis(10));
    assert_eq!(told(&mut world), [addr("55.1.2.3:4000")], "before");
    announce(&mut world, "55.1.2.3:4000");
    announce(&mut world, "56.1.2.3:4000");
    assert_eq!(told(&mut world), [addr("56.1.2.3:4000")], "in the round, each once");
    world.run(Duration::from_secs(9));
    assert_eq!(searched(&world), [(2, 0)]);
    announce(&mut world, "57.1.2.3:4000");
    assert_eq!(told(&mut world), [addr("57.1.2.3:4000")], "between two rounds");
    world.dht.forget(TORRENT);
    announce(&mut world, "58.1.2.3:4000");
    assert_eq!(told(&mut world), []);
}

#[test]
fn thousands_of_searches_take_turns_and_keep_to_the_pace() {
    let mut world = World::joined(30);
    let torrents = 2_000_u32;
    for n in 0..torrents {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        world.dht.search(swarmloop::id::InfoHash(hash), None, world.now);
    }
    let begun = world.now;
    world.run(Duration::from_secs(10));
    assert!(world.log.len() <= 100 * 11, "{} in ten seconds", world.log.len());
    assert!(world.log.len() >= 900, "{}: they do not wait for nothing", world.log.len());
    while searched(&world).len() < 2_000 && world.now < begun + MINUTE * 30 {
        world.run(MINUTE);
    }
    assert!(searched(&world).len() >= 2_000, "everybody's turn comes");
}

#[test]
fn an_idle_node_sends_few_datagrams() {
    let mut world = World::joined(200);
    world.run(MINUTE * 15);
    world.log.clear();
    world.run(MINUTE * 60);
    let per_minute = world.log.len() as f64 / 60.0;
    assert!(per_minute <= MAX_IDLE_QUERIES_PER_MIN.into(), "{per_minute} a minute");
    assert!(world.log.len() > 60, "the table is kept");
    let size = world.dht.status(world.now).sides[0].table;
    assert!(size.good * 10 >= size.nodes * 8, "{size:?}");
}

#[test]
fn the_others_tell_us_where_we_are_and_our_id_follows() {
    let mut world = World::new(|_| {});
    world.add_fakes(60);
    for fake in world.fakes.values_mut() {
        fake.sees = Some(addr(OURS));
    }
    // A minority lies.
    for n in 0..10 {
        world.fakes.get_mut(&World::fake_addr(n)).unwrap().sees = Some(addr("6.6.6.6:6"));
    }
    let before = world.dht.id(Family::V4).unwrap();
    world.dht.add_nodes([World::fake_addr(3)], world.now);
    world.run(MINUTE * 2);
    let side = &world.dht.status(world.now).sides[0];
    assert_eq!(side.external, Some(addr(OURS).ip()));
    assert_ne!(side.id, before);
    assert!(secure::is_valid_at(side.id, addr(OURS).ip()));
    assert!(world.events.contains(&DhtEvent::ExternalAddress(addr(OURS).ip())));
    assert!(side.table.nodes >= 20, "{:?}: the nodes have stayed", side.table);
    let id = side.id;
    world.run(MINUTE * 60);
    assert_eq!(world.dht.id(Family::V4), Some(id), "it does not change again");
}

#[test]
fn an_address_told_by_the_owner_counts_at_once() {
    let mut world = World::new(|_| {});
    world.dht.set_external(addr("192.168.1.2:1").ip(), world.now);
    assert_eq!(world.dht.status(world.now).sides[0].external, None, "nobody is seen there");
    world.dht.set_external(addr(OURS).ip(), world.now);
    let id = world.dht.id(Family::V4).unwrap();
    assert!(secure::is_valid_at(id, addr(OURS).ip()));
}

#[test]
fn ipv6_is_a_dht_of_its_own_and_found_through_the_other() {
    let mut world = World::new(|config| config.v6 = true);
    world.add_fakes(20);
    let mut six = Vec::new();
    for n in 0..20_u16 {
        let addr = SocketAddr::from(([0x2001, 0xdb8, n, 0, 0, 0, 0, 1], 6881));
        let id = secure::id_at(Some(addr.ip()), &mut world.rng);
        world.fakes.insert(addr, Fake::new(id));
        six.push(NodeInfo { id, addr });
    }
    // A node of ours of both families names those that are wanted; the scripted ones name their
    // own, so the first hint comes from the owner.
    world.dht.add_nodes([World::fake_addr(1), six[0].addr], world.now);
    world.run(MINUTE * 2);
    assert!(world.dht.is_joined(Family::V4) && world.dht.is_joined(Family::V6));
    let status = world.dht.status(world.now);
    assert_ne!(status.sides[0].id, status.sides[1].id);
    assert!(status.sides.iter().all(|side| side.table.nodes >= 10), "{status:?}");
    world.dht.search(TORRENT, Some(AnnouncedPort::Explicit(1)), world.now);
    world.run(Duration::from_secs(9));
    assert_eq!(searched(&world), [(0, K), (0, K)]);
    let target = NodeId([9; 20]);
    let want = Want { v4: true, v6: true };
    let find = Method::FindNode { target, want };
    let answer = world.ask(six[3].addr, six[3].id, find).remove(0);
    let reply = answer.reply();
    assert!(reply.nodes6.is_some_and(|nodes| nodes.len() == K));
    assert!(reply.nodes.is_some_and(|nodes| nodes.len() == K));
}

#[test]
fn nodes_of_the_other_family_are_asked_for_while_we_know_none() {
    let mut world = World::new(|config| config.v6 = true);
    let stranger = addr("81.1.1.1:1");
    world.dht.add_nodes([stranger], world.now);
    world.run(Duration::from_millis(10));
    let said = world.heard(stranger).remove(0);
    let Body::Query { method: Method::FindNode { want, .. }, .. } = said.message().body else {
        panic!("a query for nodes")
    };
    assert!(want.v4 && want.v6);
}
