//! The DHT as a session takes part in it (BEP 5): who is asked, what is dialled, what peers are
//! told, and what comes of floods and forgeries.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use swarmloop::dht::{
    ANSWER_BYTES_PER_S, DhtConfig, Family, MAX_IDLE_QUERIES_PER_MIN, MAX_SAVED_LEN, secure,
};
use swarmloop::id::NodeId;
use swarmloop::proto::handshake::{Reserved, encode};
use swarmloop::proto::krpc::{self, AnnouncedPort, Body, MAX_REPLY_LEN, Message, Method, Reply};
use swarmloop::proto::message::Message as PeerMessage;
use swarmloop::rng::Rng;
use swarmloop::session::io::{Event, Mode};

use crate::common::{Said, Setup, World};

/// The extension protocol, the fast extension and a node of the DHT offered.
const DHT: Reserved = Reserved([0, 0, 0, 0, 0, 0x10, 0, 5]);
const HOST: &str = "router.example";
const NODE: &str = "198.51.100.9:6881";
const PEER: &str = "203.0.113.5:7000";
/// A second of the answers' rate, what may be sent at once before, and the last one.
const MOST_ANSWERED: usize = ANSWER_BYTES_PER_S as usize + (16 << 10) + MAX_REPLY_LEN;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn setup() -> Setup {
    let mut dht = DhtConfig::default();
    dht.bootstrap = vec![(HOST.to_owned(), 6881)];
    Setup { dht: Some(dht), ..Setup::default() }.config(|config| config.listen_port = 6881)
}

/// The only node of a DHT.
struct Node {
    addr: SocketAddr,
    id: NodeId,
    /// What it names as peers.
    values: Vec<SocketAddr>,
    /// The names of what it was asked, and what it was told to store.
    asked: Vec<String>,
    stored: Vec<AnnouncedPort>,
}

impl Node {
    fn new() -> Self {
        let addr = addr(NODE);
        let id = secure::id_at(Some(addr.ip()), &mut Rng::new(5));
        Self { addr, id, values: vec![self::addr(PEER)], asked: Vec::new(), stored: Vec::new() }
    }

    /// Answers everything that was sent, until nothing is.
    fn serve(&mut self, world: &mut World) {
        while let Some((route, bytes)) = world.datagrams.pop_front() {
            assert_eq!((route.remote, route.socket.0), (self.addr, 0), "nobody else is known");
            let Some(answer) = self.answer(&bytes) else { continue };
            world.datagram(self.addr, &answer);
        }
    }

    /// Returns what it says to a message; nothing to an answer.
    fn answer(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let message = krpc::parse(bytes).expect("ours is right");
        let Body::Query { method, .. } = message.body else { return None };
        self.asked.push(String::from_utf8_lossy(method.name()).into_owned());
        if let Method::AnnouncePeer { port, token, .. } = method {
            assert_eq!(token, b"token");
            self.stored.push(port);
        }
        let is_search = matches!(method, Method::GetPeers { .. });
        let reply = Reply {
            values: if is_search { self.values.clone() } else { Vec::new() },
            token: is_search.then_some(b"token"),
            ..Reply::empty(self.id)
        };
        Some(written(message.transaction, reply))
    }

    fn was_asked(&self, method: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == method).count()
    }
}

fn written(transaction: &[u8], reply: Reply<'_>) -> Vec<u8> {
    let body = Body::Reply(reply);
    let message = Message { transaction, version: None, seen_at: None, read_only: false, body };
    let mut out = Vec::new();
    message.write(&mut out);
    out
}

/// Lets `s` seconds pass, in which the node answers.
fn pass(world: &mut World, node: &mut Node, s: u64) {
    for _ in 0..s {
        world.advance_s(1);
        node.serve(world);
    }
}

/// A world that has come into the DHT of one node.
fn joined(setup: Setup) -> (World, Node) {
    let mut world = setup.build();
    let mut node = Node::new();
    world.advance_s(1);
    assert_eq!(world.lookups.front().map(|(_, host, _)| host.as_str()), Some(HOST));
    world.resolve(&["198.51.100.9"]);
    pass(&mut world, &mut node, 5);
    let joined = |event: &Event| matches!(event, Event::DhtJoined { family: Family::V4, nodes: 1 });
    assert!(world.events.iter().any(joined), "{:?}", world.events);
    (world, node)
}

#[test]
fn a_torrent_without_trackers_is_announced_and_its_peers_are_dialled() {
    let (world, node) = joined(setup());
    assert_eq!(world.dials.iter().map(|(_, addr)| *addr).collect::<Vec<_>>(), [addr(PEER)]);
    assert_eq!(node.stored, [AnnouncedPort::Explicit(6881)]);
    assert_eq!(node.was_asked("get_peers"), 1);
    let dht = world.session.torrent(world.torrent, world.now).and_then(|it| it.dht);
    assert_eq!(dht.map(|dht| (dht.nodes, dht.is_joined)), Some((1, true)));
}

#[test]
fn who_listens_nowhere_looks_for_peers_and_is_not_announced() {
    let (world, node) = joined(setup().config(|config| config.listen_port = 0));
    assert_eq!((node.was_asked("get_peers"), node.stored.len()), (1, 0));
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_magnet_is_looked_for_before_anything_else_is_known_of_it() {
    let (world, node) = joined(Setup { magnet: Some(Vec::new()), ..setup() });
    assert_eq!((node.was_asked("get_peers"), world.dials.len()), (1, 1));
}

#[test]
fn a_private_torrent_has_no_part_in_it() {
    let mut world = Setup { private: true, ..setup() }.build();
    let remote = world.accept();
    let id = crate::common::peer_id(9);
    let hello = encode(DHT, world.info_hash, id);
    world.send(remote, &hello);
    world.say(remote, &[PeerMessage::HaveNone, PeerMessage::Port(4_000)]);
    world.advance_s(3_000);
    let said = world.hear(remote);
    assert!(matches!(said.first(), Some(Said::Handshake(offered, ..)) if !offered.dht()));
    let ports = said.iter().filter(|it| matches!(it, Said::Message(PeerMessage::Port(_))));
    assert_eq!(ports.count(), 0);
    assert!(world.lookups.is_empty() && world.datagrams.is_empty());
    assert!(world.session.dht(world.now).is_none());
}

#[test]
fn the_search_goes_on_and_ends_with_the_torrent() {
    let (mut world, mut node) = joined(setup());
    pass(&mut world, &mut node, 40 * 60);
    let searches = node.was_asked("get_peers");
    assert!((3..=4).contains(&searches), "{searches} in 40 minutes");
    world.session.remove_torrent(world.torrent, world.now);
    world.settle();
    assert!(world.session.dht(world.now).is_none());
    world.datagrams.clear();
    world.advance_s(3_600);
    assert!(world.datagrams.is_empty());
    assert_eq!(world.session.poll_timeout(), None, "no wake-ups");
    let saved = world.session.save_dht(world.now);
    assert!(saved.len() > 26 && saved.len() <= MAX_SAVED_LEN);
}

#[test]
fn a_node_with_one_torrent_sends_few_queries() {
    let (mut world, mut node) = joined(setup());
    pass(&mut world, &mut node, 15 * 60);
    node.asked.clear();
    pass(&mut world, &mut node, 60 * 60);
    let most = MAX_IDLE_QUERIES_PER_MIN as usize * 60;
    assert!(node.asked.len() <= most, "{} queries in an hour", node.asked.len());
}

#[test]
fn a_stopped_torrent_is_not_looked_for_until_it_starts_again() {
    let (mut world, mut node) = joined(setup());
    world.session.stop_torrent(world.torrent, world.now);
    world.settle();
    pass(&mut world, &mut node, 3_600);
    assert_eq!(node.was_asked("get_peers"), 1);
    world.session.start_torrent(world.torrent, world.now);
    world.settle();
    pass(&mut world, &mut node, 10);
    assert_eq!(node.was_asked("get_peers"), 2, "whom it knew is kept: no name was looked up");
}

#[test]
fn peers_are_told_the_port_of_our_node_and_theirs_is_asked() {
    let mut world = Setup { dht: Some(DhtConfig::default()), ..setup() }.build();
    let (remote, said) = world.joined(DHT);
    assert!(said.contains(&Said::Message(PeerMessage::Port(6881))), "{said:?}");
    world.say(remote, &[PeerMessage::HaveNone, PeerMessage::Port(0)]);
    world.advance_s(1);
    assert!(world.datagrams.is_empty(), "nobody is at port 0");
    let (other, _) = world.joined(DHT);
    world.say(other, &[PeerMessage::HaveNone, PeerMessage::Port(4_000)]);
    world.advance_s(1);
    let asked = |world: &World| -> Vec<String> {
        world.datagrams.iter().map(|(route, _)| route.remote.to_string()).collect()
    };
    assert_eq!(asked(&world), ["10.0.0.2:4000"]);
    // Once: who goes on naming ports has us knock nowhere.
    for port in 5_000..5_100 {
        world.say(other, &[PeerMessage::Port(port)]);
    }
    world.advance_s(10);
    assert!(asked(&world).iter().all(|to| to == "10.0.0.2:4000"));
    assert!(world.is_open(other));
}

#[test]
fn who_looks_for_metadata_names_his_node_before_he_can_say_that_he_has_nothing() {
    let mut world = Setup { have: vec![0], ..setup() }.build();
    let leech = world.join(DHT);
    world.say(leech, &[PeerMessage::Port(4_000), PeerMessage::HaveNone, PeerMessage::Interested]);
    assert!(world.is_open(leech), "{:?}", world.closed_with(leech));
}

#[test]
fn who_offers_no_node_is_told_of_none() {
    let mut world = setup().build();
    let (remote, said) = world.joined(crate::common::FAST);
    assert!(!said.contains(&Said::Message(PeerMessage::Port(6881))));
    world.say(remote, &[PeerMessage::HaveNone, PeerMessage::Port(4_000)]);
    world.advance_s(1);
    assert!(world.datagrams.is_empty());
}

/// Security.md 5.6, row 43.
#[test]
fn forged_answers_name_no_peers() {
    let (mut world, mut node) = joined(setup());
    world.dials.clear();
    node.values = vec![addr("203.0.113.6:1")];
    let mut rng = Rng::new(3);
    let forged = Reply { values: vec![addr("203.0.113.66:1")], ..Reply::empty(node.id) };
    // Until the next search is on its way, and its answer.
    let (mut is_searched, mut dialled) = (false, BTreeSet::new());
    for _ in 0..20 * 60 {
        world.advance_s(1);
        dialled.extend(world.dials.iter().map(|(_, addr)| *addr));
        while let Some((_, bytes)) = world.datagrams.pop_front() {
            let right = krpc::parse(&bytes).expect("ours is right").transaction.to_vec();
            // From another address with the right id; from the right one with wrong ones.
            world.datagram(addr("198.51.100.10:6881"), &written(&right, forged.clone()));
            for _ in 0..1_000 {
                let mut guess = [0; 4];
                rng.fill(&mut guess);
                world.datagram(node.addr, &written(&guess, forged.clone()));
            }
            let Some(answer) = node.answer(&bytes) else { continue };
            is_searched |= node.asked.last().is_some_and(|asked| asked == "get_peers");
            world.datagram(node.addr, &answer);
        }
    }
    assert!(is_searched);
    assert_eq!(dialled, [addr(PEER), addr("203.0.113.6:1")].into());
}

/// Security.md 5.6, row 42.
#[test]
fn a_flood_of_queries_is_answered_at_the_rate_of_the_limit() {
    let (mut world, _) = joined(setup());
    world.advance_s(10);
    world.datagrams.clear();
    let mut rng = Rng::new(4);
    let mut answered = 0;
    for _ in 0..20_000 {
        let mut bytes = [0; 4];
        rng.fill(&mut bytes);
        let from = SocketAddr::from(([50 + bytes[0] % 40, bytes[1], bytes[2], bytes[3]], 6881));
        let method = Method::GetPeers { info_hash: world.info_hash, want: krpc::Want::default() };
        let (id, mut query) = (secure::id_at(None, &mut rng), Vec::new());
        let body = Body::Query { id, method };
        let message =
            Message { transaction: b"aa", version: None, seen_at: None, read_only: false, body };
        message.write(&mut query);
        world.datagram(from, &query);
        for (route, bytes) in world.datagrams.drain(..) {
            answered += usize::from(route.remote == from) * bytes.len();
        }
    }
    assert!((1_000..=MOST_ANSWERED).contains(&answered), "{answered} bytes of answers");
}

/// Security.md, row 40: what the DHT names leaves room for what trackers name.
#[test]
fn addresses_in_plenty_are_taken_up_to_a_limit() {
    let (mut world, mut node) = joined(Setup { mode: Mode::Seed, ..setup() });
    for round in 0..60_u8 {
        let peer = |n: u8| SocketAddr::from(([203, 1, round, n], 6881));
        node.values = (0..90).map(peer).collect();
        world.session.reannounce(world.now);
        pass(&mut world, &mut node, 70);
    }
    let status = world.session.torrent(world.torrent, world.now).expect("it is there");
    assert!(node.was_asked("get_peers") >= 30);
    assert!(status.known <= 1_000, "{} known", status.known);
}

#[test]
fn a_saved_table_is_begun_with() {
    let (mut world, mut node) = joined(setup());
    pass(&mut world, &mut node, 60);
    let id = |world: &World| world.session.dht(world.now).expect("a node").sides[0].id;
    let (before, dht_saved) = (id(&world), world.session.save_dht(world.now));
    // The next run names nobody to begin with.
    let dht = Some(DhtConfig::default());
    let mut again = Setup { dht, dht_saved: dht_saved.clone(), ..setup() }.build();
    pass(&mut again, &mut node, 5);
    let joined = |event: &Event| matches!(event, Event::DhtJoined { family: Family::V4, .. });
    assert!(again.events.iter().any(joined), "{:?}", again.events);
    assert_eq!(id(&again), before, "it is who it was");
    // What is damaged is no worse than nothing, and a run without torrents keeps what it was given.
    let dht = Some(DhtConfig::default());
    let damaged = dht_saved[..dht_saved.len() - 1].to_vec();
    let mut blank = Setup { dht, dht_saved: damaged.clone(), private: true, ..setup() }.build();
    blank.advance_s(60);
    assert!(blank.datagrams.is_empty());
    assert_eq!(blank.session.save_dht(blank.now), damaged);
}

#[test]
fn the_nodes_that_a_torrent_names_are_asked() {
    let dht_nodes = vec![(addr(NODE).ip().to_string(), 6881), ("node.example".to_owned(), 7)];
    let dht = Some(DhtConfig::default());
    let mut world = Setup { dht, dht_nodes, ..setup() }.build();
    let mut node = Node::new();
    pass(&mut world, &mut node, 5);
    assert!(node.was_asked("get_peers") == 1, "{:?}", node.asked);
    let names: Vec<_> =
        world.lookups.iter().map(|(_, host, port)| (host.as_str(), *port)).collect();
    assert_eq!(names, [("node.example", 7)]);
}

/// BEP 27, from the instant on at which the metadata is here.
#[test]
fn a_magnet_that_turns_out_to_be_private_leaves_the_dht_and_those_it_has_named() {
    let magnet = Some(Vec::new());
    let (mut world, mut node) = joined(Setup { magnet, private: true, padding: 100, ..setup() });
    let named = world.answer_dial();
    let handshake = encode(DHT, world.info_hash, crate::common::peer_id(200));
    world.send(named, &handshake);
    let len = crate::magnet::len_of(&world);
    let seed = crate::magnet::join(&mut world, len);
    assert!(world.is_open(named));
    world.lookups.clear();
    crate::magnet::serve(&mut world, seed, false);
    assert_eq!(world.closed_with(named).as_deref(), Some("closed: the torrent is private"));
    assert!(world.is_open(seed));
    // Whatever is still under way, from nodes or from peers.
    node.serve(&mut world);
    world.say(seed, &[PeerMessage::Port(4_000)]);
    world.advance_s(3_600);
    assert!(world.session.dht(world.now).is_none() && world.datagrams.is_empty());
    assert!(world.dials.is_empty(), "{:?}", world.dials);
    assert!(world.lookups.is_empty(), "{:?}", world.lookups);
}
