//! What the node answers to others: results, tokens, stored peers, refusals.

use std::net::SocketAddr;

use swarmloop::dht::{K, MAX_PEERS_PER_TORRENT, STORED_FOR};
use swarmloop::id::{InfoHash, NodeId};
use swarmloop::proto::compact::CompactNodes;
use swarmloop::proto::krpc::{
    AnnouncedPort, METHOD_UNKNOWN, Method, PROTOCOL_ERROR, Refusal, Want,
};
use swarmloop::time::Duration;

use crate::common::{Said, TORRENT, World, addr, any_id, query};

const ASKER: &str = "55.1.2.3:4000";
const ANY: Want = Want { v4: false, v6: false };

fn get_peers(world: &mut World, from: SocketAddr) -> Said {
    let id = any_id(&mut world.rng);
    let get_peers = Method::GetPeers { info_hash: TORRENT, want: ANY };
    let mut answers = world.ask(from, id, get_peers);
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn announce(world: &mut World, from: SocketAddr, token: &[u8], port: AnnouncedPort) -> Said {
    let id = any_id(&mut world.rng);
    let announce = Method::AnnouncePeer { info_hash: TORRENT, port, token };
    let mut answers = world.ask(from, id, announce);
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn token(world: &mut World, from: SocketAddr) -> Vec<u8> {
    get_peers(world, from).reply().token.expect("a token").to_vec()
}

#[test]
fn a_ping_is_answered_with_our_id_and_where_we_see_the_asker() {
    let mut world = World::joined(5);
    let id = any_id(&mut world.rng);
    let answers = world.ask(addr(ASKER), id, Method::Ping);
    let message = answers[0].message();
    assert_eq!((message.transaction, message.seen_at), (&b"tt"[..], Some(addr(ASKER))));
    assert_eq!(message.version, Some(&b"SL\x01\x00"[..]));
    assert_eq!(Some(answers[0].reply().id), world.dht.id(swarmloop::dht::Family::V4));
}

#[test]
fn find_node_names_the_closest_nodes_that_have_answered() {
    let mut world = World::joined(30);
    let asked = any_id(&mut world.rng);
    let target = world.fakes[&World::fake_addr(17)].id;
    let answers = world.ask(addr(ASKER), asked, Method::FindNode { target, want: ANY });
    let reply = answers[0].reply();
    let nodes: Vec<_> = reply.nodes.expect("nodes").iter().collect();
    assert_eq!(nodes.len(), K);
    assert!(nodes.is_sorted_by_key(|node| node.id.distance(target)));
    assert!(nodes.iter().all(|node| world.fakes[&node.addr].id == node.id));
    assert_eq!((reply.nodes6, reply.token, reply.values.len()), (None, None, 0));
}

#[test]
fn who_has_only_asked_is_not_named_to_others_until_he_has_answered() {
    let mut world = World::joined(3);
    let newcomer = world.add_fake(100);
    let id = world.fakes[&newcomer].id;
    world.ask(newcomer, id, Method::Ping);
    let find = Method::FindNode { target: id, want: ANY };
    let names = |world: &mut World| {
        let asker = any_id(&mut world.rng);
        let answer = world.ask(addr(ASKER), asker, find).remove(0);
        answer.reply().nodes.expect("nodes").iter().any(|node| node.addr == newcomer)
    };
    assert!(!names(&mut world));
    world.run(Duration::from_secs(3));
    assert!(names(&mut world), "it was asked and has answered");
}

#[test]
fn a_peer_is_stored_with_a_token_and_found_by_others_until_it_expires() {
    let mut world = World::joined(5);
    assert_eq!(get_peers(&mut world, addr(ASKER)).reply().values, []);
    let token = token(&mut world, addr(ASKER));
    let port = AnnouncedPort::Explicit(7_000);
    assert_eq!(announce(&mut world, addr(ASKER), &token, port).reply().token, None);
    let other = addr("66.1.2.3:1");
    assert_eq!(get_peers(&mut world, other).reply().values, [addr("55.1.2.3:7000")]);
    assert_eq!(world.dht.status(world.now).stored_peers, 1);
    world.run(STORED_FOR + Duration::from_secs(61));
    assert_eq!(get_peers(&mut world, other).reply().values, []);
    assert_eq!(world.dht.status(world.now).stored_torrents, 0);
}

#[test]
fn an_implied_port_is_the_one_that_the_announce_came_from() {
    let mut world = World::joined(5);
    let token = token(&mut world, addr(ASKER));
    announce(&mut world, addr(ASKER), &token, AnnouncedPort::Implied(1));
    assert_eq!(get_peers(&mut world, addr("66.1.2.3:1")).reply().values, [addr(ASKER)]);
}

#[test]
fn a_token_that_was_not_given_to_the_address_a_short_while_ago_is_refused() {
    let mut world = World::joined(5);
    let good = token(&mut world, addr(ASKER));
    let port = AnnouncedPort::Explicit(7_000);
    let refusal = Refusal { code: PROTOCOL_ERROR, words: b"bad token" };
    let other = addr("55.1.2.4:4000");
    assert_eq!(announce(&mut world, other, &good, port).refusal(), refusal, "another address");
    assert_eq!(announce(&mut world, addr(ASKER), b"", port).refusal(), refusal);
    assert_eq!(announce(&mut world, addr(ASKER), &[0; 8], port).refusal(), refusal);
    world.run(Duration::from_secs(5 * 60));
    let same_ip = addr("55.1.2.3:9");
    announce(&mut world, same_ip, &good, port).reply();
    world.run(Duration::from_secs(5 * 60));
    assert_eq!(announce(&mut world, addr(ASKER), &good, port).refusal(), refusal, "too old");
    assert_eq!(world.dht.status(world.now).stored_peers, 1);
}

#[test]
fn an_answer_with_many_peers_has_room_for_nodes_too() {
    let mut world = World::joined(30);
    // Each from an address of its own.
    for n in 0..MAX_PEERS_PER_TORRENT {
        let from = SocketAddr::from(([60, 1, u8::try_from(n).expect("small"), 1], 6881));
        let token = token(&mut world, from);
        announce(&mut world, from, &token, AnnouncedPort::Implied(0));
        world.run(Duration::from_millis(100));
    }
    // Who is not known to receive there gets little, who is gets much.
    let stranger = get_peers(&mut world, addr("66.1.2.3:1"));
    let known = get_peers(&mut world, World::fake_addr(1));
    let counts = |said: &Said| {
        let reply = said.reply();
        (reply.values.len(), reply.nodes.map_or(0, CompactNodes::len))
    };
    let (few, nodes) = counts(&stranger);
    assert!((5..40).contains(&few) && nodes >= 3, "{few} peers, {nodes} nodes");
    let (many, nodes) = counts(&known);
    assert!((60..=100).contains(&many) && nodes == K, "{many} peers, {nodes} nodes");
}

#[test]
fn samples_of_what_is_stored_are_given() {
    let mut world = World::joined(5);
    let asker = any_id(&mut world.rng);
    let sample = Method::SampleInfohashes { target: NodeId(TORRENT.0), want: ANY };
    let answer = world.ask(addr(ASKER), asker, sample).remove(0);
    let none = answer.reply().samples.expect("samples");
    assert_eq!((none.num, none.hashes.len()), (0, 0));
    world.run(Duration::from_secs(601));
    let token = token(&mut world, addr(ASKER));
    announce(&mut world, addr(ASKER), &token, AnnouncedPort::Implied(0));
    let answer = world.ask(addr(ASKER), asker, sample).remove(0);
    let reply = answer.reply();
    let samples = reply.samples.expect("samples");
    assert_eq!((samples.num, samples.hashes), (1, &[TORRENT.0][..]));
    assert_eq!(samples.interval, Duration::from_secs(600));
    assert!(reply.nodes.expect("nodes").len() >= 4, "others have others");
}

#[test]
fn what_nobody_knows_is_refused_or_answered_with_nodes() {
    let mut world = World::joined(10);
    let asker = any_id(&mut world.rng);
    let target = Some(NodeId([3; 20]));
    let unknown = |target| Method::Unknown { name: b"vote", target, want: ANY };
    let answer = world.ask(addr(ASKER), asker, unknown(target)).remove(0);
    assert_eq!(answer.reply().nodes.map(CompactNodes::len), Some(K));
    let answer = world.ask(addr(ASKER), asker, unknown(None)).remove(0);
    let refusal = Refusal { code: METHOD_UNKNOWN, words: b"method unknown" };
    assert_eq!(answer.refusal(), refusal);
    let text = b"d1:ad2:id20:abcdefghij0123456789e1:q9:get_peers1:t1:x1:y1:qe";
    let answer = world.tell_bytes(addr(ASKER), text).remove(0);
    assert_eq!(answer.refusal(), Refusal { code: PROTOCOL_ERROR, words: b"bad arguments" });
    assert_eq!(answer.message().transaction, b"x");
}

#[test]
fn noise_gets_no_answer() {
    let mut world = World::joined(5);
    for noise in [&b""[..], b"d", b"de", b"\x00\x01", b"d1:t1:a1:y1:qe1", b"d1:q4:ping1:y1:qe"] {
        assert_eq!(world.tell_bytes(addr(ASKER), noise).len(), 0);
    }
    let before = world.counters();
    assert_eq!(before.malformed, 6);
    let from_nobody = addr("55.1.2.3:0");
    let ping = query(NodeId([1; 20]), Method::Ping);
    assert_eq!(world.tell(from_nobody, &ping).len(), 0, "nobody can receive at port 0");
}

#[test]
fn a_read_only_node_answers_nothing_and_says_so_when_it_asks() {
    let mut world = World::new(|config| config.read_only = true);
    world.add_fakes(20);
    world.join();
    let id = any_id(&mut world.rng);
    assert_eq!(world.ask(addr(ASKER), id, Method::Ping).len(), 0);
    assert_eq!(world.tell_bytes(addr(ASKER), b"d1:ade1:q4:ping1:t1:a1:y1:qe").len(), 0);
    let stranger = addr("81.1.1.1:1");
    world.dht.add_nodes([stranger], world.now);
    world.run(Duration::from_secs(5));
    let asked = world.heard(stranger);
    assert!(!asked.is_empty() && asked.iter().all(|said| said.message().read_only));
}

#[test]
fn a_read_only_asker_is_answered_and_not_taken_for_a_node() {
    let mut world = World::joined(3);
    let asker = world.add_fake(100);
    let id = world.fakes[&asker].id;
    let mut ping = query(id, Method::Ping);
    ping.read_only = true;
    assert_eq!(world.tell(asker, &ping).len(), 1);
    world.run(Duration::from_secs(30));
    assert!(world.fakes[&asker].asked.is_empty(), "BEP 43");
}

#[test]
fn other_torrents_have_other_peers() {
    let mut world = World::joined(5);
    let token = token(&mut world, addr(ASKER));
    let id = any_id(&mut world.rng);
    let port = AnnouncedPort::Explicit(7_000);
    let other = Method::AnnouncePeer { info_hash: InfoHash([1; 20]), port, token: &token };
    let answer = world.ask(addr(ASKER), id, other).remove(0);
    assert_eq!(answer.refusal().code, PROTOCOL_ERROR, "the token was for the other torrent");
}
