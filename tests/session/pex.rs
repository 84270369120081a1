//! Peer exchange (BEP 11): who is told of whom, when, and whom we believe.

use std::net::SocketAddr;

use swarmloop::proto::extended::{self, Extension, Handshake, MAX_PEX_LEN};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::proto::ut_pex::{Exchange, Flags, MAX_CONTACTS};
use swarmloop::torrent::candidates::MAX_CANDIDATES;

use crate::common::{EXTENDED, Remote, Said, Setup, World, peer_id};

/// The id under which the remotes of these tests hear `ut_pex`.
const THEIR_ID: u8 = 1;

/// A remote connects, says that it listens on a port, and that it hears of peers.
fn join(world: &mut World, port: u16) -> Remote {
    let remote = world.join(EXTENDED);
    world.send(remote, &hello(port));
    remote
}

fn hello(port: u16) -> Vec<u8> {
    let mut hello = Vec::new();
    extended::message(0, &mut hello, |out| {
        out.extend(format!("d1:md6:ut_pexi{THEIR_ID}ee1:pi{port}ee").into_bytes());
    });
    hello
}

/// Returns what a remote was told of others, a message each.
fn told(world: &mut World, remote: Remote) -> Vec<Exchange> {
    let heard = world.hear(remote).into_iter();
    heard
        .filter_map(|said| match said {
            Said::Extended(THEIR_ID, body) => Some(Exchange::decode(&body).expect("ours is right")),
            _ => None,
        })
        .collect()
}

/// Returns a message that tells of contacts.
fn tell(contacts: &[&str]) -> Vec<u8> {
    let added = contacts.iter().map(|addr| (addr.parse().expect("an address"), Flags(0)));
    let exchange = Exchange { added: added.collect(), dropped: Vec::new() };
    let mut out = Vec::new();
    exchange.encode(Extension::Pex.id(), &mut out);
    out
}

fn dialled(world: &mut World) -> Vec<SocketAddr> {
    world.settle();
    let mut dialled: Vec<SocketAddr> = world.dials.iter().map(|(_, addr)| *addr).collect();
    dialled.sort_unstable();
    dialled
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn peers_are_told_of_each_other_once_a_minute_at_most() {
    let mut world = World::leech();
    let (one, two) = (join(&mut world, 1_001), join(&mut world, 1_002));
    let first = told(&mut world, two);
    assert_eq!(first.len(), 1, "who comes is told at once");
    assert_eq!(first[0].added, [(addr("10.0.0.1:1001"), Flags(0))]);
    world.advance_s(10);
    assert_eq!(told(&mut world, one)[0].added, [(addr("10.0.0.2:1002"), Flags(0))]);
    let three = join(&mut world, 1_003);
    world.hang_up(two);
    world.advance_s(40);
    assert_eq!(told(&mut world, one), []);
    world.advance_s(30);
    let news = told(&mut world, one);
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].added, [(addr("10.0.0.3:1003"), Flags(0))]);
    assert_eq!(news[0].dropped, [addr("10.0.0.2:1002")]);
    assert!(world.is_open(three));
}

#[test]
fn when_all_is_told_nobody_is_woken() {
    let mut world = World::leech();
    let (one, two) = (join(&mut world, 1_001), join(&mut world, 1_002));
    world.advance_s(70);
    for remote in [one, two] {
        world.say(remote, &[Message::KeepAlive]);
    }
    let next = world.session.poll_timeout().expect("keep-alives");
    assert!(next > world.now + std::time::Duration::from_secs(20), "{next:?} at {:?}", world.now);
}

#[test]
fn who_does_not_listen_is_no_contact() {
    let mut world = World::leech();
    let silent = world.join(EXTENDED);
    let one = join(&mut world, 1_001);
    world.advance_s(120);
    assert_eq!(told(&mut world, one), []);
    assert!(world.is_open(silent));
}

#[test]
fn whoever_names_one_port_after_the_other_is_told_of_at_the_first() {
    let mut world = World::leech();
    let (one, mover) = (join(&mut world, 1_001), join(&mut world, 1_002));
    let others: Vec<u8> = (2_000..2_600).flat_map(hello).collect();
    world.send(mover, &others);
    world.advance_s(70);
    let told = told(&mut world, one);
    let added: Vec<SocketAddr> = told.iter().flat_map(|it| &it.added).map(|it| it.0).collect();
    assert_eq!(added, [addr("10.0.0.2:1002")]);
    assert!(told.iter().all(|it| it.dropped.is_empty()));
    assert!(world.is_open(mover));
}

#[test]
fn contacts_are_dialled_if_they_may_be() {
    let mut world = World::leech();
    let one = join(&mut world, 1_001);
    let contacts =
        ["10.0.0.77:6881", "127.0.0.1:6881", "224.0.0.1:5", "10.0.0.78:25", "[ff02::1]:9"];
    world.send(one, &tell(&contacts));
    assert_eq!(dialled(&mut world), [addr("10.0.0.77:6881")]);
}

/// Security.md 2.2, row 25: nobody sends us nearer than it is itself.
#[test]
fn a_peer_out_in_the_internet_names_nobody_in_our_networks() {
    let mut world = World::leech();
    let outside = world.knock(addr("203.0.113.9:5000")).expect("welcome");
    let handshake = encode(EXTENDED, world.info_hash, peer_id(77));
    world.send(outside, &handshake);
    let near = ["127.0.0.1:6881", "10.0.0.9:6881", "192.168.1.1:80", "169.254.169.254:80"];
    let nearer = ["[::1]:6881", "[fd00::1]:6881", "[fe80::1]:6881", "[::ffff:10.0.0.9]:6881"];
    let far = ["198.51.100.7:6881", "[2001:db8::7]:6881", "198.51.100.7:22"];
    world.send(outside, &tell(&[&near[..], &nearer, &far].concat()));
    assert_eq!(dialled(&mut world), [addr("198.51.100.7:6881"), addr("[2001:db8::7]:6881")]);
}

#[test]
fn exchanges_that_come_too_often_are_passed_over_and_then_end_it() {
    let mut world = World::leech();
    let one = join(&mut world, 1_001);
    world.send(one, &tell(&["10.0.0.70:6001"]));
    world.send(one, &tell(&["10.0.0.71:6002"]));
    assert_eq!(dialled(&mut world), [addr("10.0.0.70:6001")]);
    world.advance_s(60);
    world.send(one, &tell(&["10.0.0.72:6002"]));
    assert!(dialled(&mut world).contains(&addr("10.0.0.72:6002")));
    world.send(one, &tell(&["10.0.0.73:6002"]));
    assert!(world.is_open(one));
    world.send(one, &tell(&["10.0.0.74:6002"]));
    let text = "misbehaved: sent peer exchanges too often";
    assert_eq!(world.closed_with(one).as_deref(), Some(text));
}

#[test]
fn of_one_peer_no_more_than_a_hundred_are_believed_at_a_time() {
    let mut world = Setup::default().config(|config| config.max_half_open = 1).build();
    let one = join(&mut world, 1_001);
    for round in 0..4 {
        let contacts: Vec<String> =
            (0..50).map(|at| format!("10.1.{round}.{}:6881", at + 1)).collect();
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        world.send(one, &tell(&contacts));
        world.say(one, &[Message::KeepAlive]);
        world.advance_s(50);
    }
    assert!(world.status().known <= 101, "{}", world.status().known);
}

#[test]
fn a_private_torrent_has_no_exchange() {
    let mut world = Setup { private: true, ..Setup::default() }.build();
    let (_, said) = world.joined(EXTENDED);
    let hello = said.iter().find_map(|said| match said {
        Said::Extended(0, body) => Handshake::decode(body).ok(),
        _ => None,
    });
    let ids = hello.expect("we introduce ourselves").ids;
    assert!(ids.contains(&(Extension::Pex, 0)));
    let (one, two) = (join(&mut world, 1_001), join(&mut world, 1_002));
    world.send(one, &tell(&["10.0.0.77:6881"]));
    world.advance_s(130);
    assert_eq!((told(&mut world, one), told(&mut world, two)), (vec![], vec![]));
    assert_eq!(dialled(&mut world), []);
}

#[test]
fn who_was_named_by_a_peer_leaves_when_the_torrent_turns_out_to_be_private() {
    let mut world = Setup { magnet: Some(Vec::new()), private: true, ..Setup::default() }.build();
    let one = join(&mut world, 1_001);
    world.send(one, &tell(&["10.0.0.77:6881"]));
    let named = world.answer_dial();
    let handshake = encode(EXTENDED, world.info_hash, peer_id(200));
    world.send(named, &handshake);
    let info = world.metainfo.info.clone();
    let mut hello = Vec::new();
    extended::message(0, &mut hello, |out| {
        let body = format!("d1:md11:ut_metadatai2ee13:metadata_sizei{}ee", info.len());
        out.extend(body.into_bytes());
    });
    world.send(one, &hello);
    let mut data = Vec::new();
    swarmloop::proto::ut_metadata::encode_data(Extension::Metadata.id(), 0, &info, &mut data);
    world.send(one, &data);
    assert_eq!(world.closed_with(named).as_deref(), Some("closed: the torrent is private"));
    assert!(world.is_open(one));
}

#[test]
fn a_bomb_of_contacts_is_refused_before_it_is_read() {
    let mut world = World::leech();
    let one = join(&mut world, 1_001);
    world.send(one, &[0, 9, 0x27, 0xc0, 20, Extension::Pex.id()]);
    let text = "invalid bytes: message: message 20 too long (600000 > 131072)";
    assert_eq!(world.closed_with(one).as_deref(), Some(text));
    let two = join(&mut world, 1_002);
    let mut odd = Vec::new();
    extended::message(Extension::Pex.id(), &mut odd, |out| {
        out.extend_from_slice(b"d5:added7:1234567e");
    });
    world.send(two, &odd);
    let text = "invalid bytes: extended message: added of 7 bytes";
    assert_eq!(world.closed_with(two).as_deref(), Some(text));
}

/// Security.md 2.2, row 25: as many contacts as 8 KiB hold, and one byte more.
#[test]
fn of_a_message_fifty_contacts_are_taken_and_no_message_is_longer_than_8_kib() {
    // As many contacts as there is room for, 1,300.
    let told = |padding: usize| {
        let contact = |high: u8| (1..=50_u8).flat_map(move |low| [10, 1, high, low, 0x1a, 0xe1]);
        let added: Vec<u8> = (0..26).flat_map(contact).collect();
        let mut out = Vec::new();
        extended::message(Extension::Pex.id(), &mut out, |out| {
            out.extend_from_slice(format!("d5:added{}:", added.len()).as_bytes());
            out.extend_from_slice(&added);
            out.extend_from_slice(format!("1:x{padding}:{}e", "y".repeat(padding)).as_bytes());
        });
        out
    };
    let len = |bytes: &[u8]| bytes.len() - 6;
    let mut world = World::leech();
    let one = join(&mut world, 1_001);
    let padding = MAX_PEX_LEN as usize - len(&told(100)) + 100;
    let longest = told(padding);
    assert_eq!(len(&longest), MAX_PEX_LEN as usize);
    world.send(one, &longest);
    assert!(world.is_open(one), "{:?}", world.closed_with(one));
    assert_eq!(dialled(&mut world).len(), MAX_CONTACTS);
    let two = join(&mut world, 1_002);
    world.send(two, &told(padding + 1));
    let closed = world.closed_with(two).expect("closed");
    assert!(closed.contains("too long (8195 > 8194)"), "{closed}");
    assert_eq!(dialled(&mut world).len(), MAX_CONTACTS);
}

/// Security.md 5.6, row 33: a hundred thousand addresses, by as many peers as it takes.
#[test]
fn however_many_peers_tell_of_others_half_of_the_room_is_for_trackers() {
    let mut world = Setup::default().config(|config| config.max_half_open = 1).build();
    for teller in 0..60_u8 {
        let one = join(&mut world, 1_001);
        for round in 0..3_u8 {
            let contacts: Vec<String> =
                (1..=50).map(|n| format!("10.{teller}.{round}.{n}:6881")).collect();
            world.send(one, &tell(&contacts.iter().map(String::as_str).collect::<Vec<_>>()));
            world.advance_s(46);
        }
        world.hang_up(one);
    }
    let known = world.status().known + world.dials.len();
    assert!((900..=MAX_CANDIDATES / 2 + 1).contains(&known), "{known}");
}
