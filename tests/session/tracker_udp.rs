//! Announces over UDP as a session makes them: from which socket, with what patience, and what
//! follows; and over both families of a tracker's addresses.

use std::net::SocketAddr;

use swarmloop::proto::tracker_http::AnnounceEvent::{self, Completed, Periodic, Started, Stopped};
use swarmloop::proto::tracker_serve::SwarmCounts;
use swarmloop::proto::tracker_udp::{
    Request, UdpAnnounce, parse_request, write_announced, write_connected, write_failed,
};
use swarmloop::session::io::Mode;
use swarmloop::time::Duration;

use crate::common::{Setup, World};
use crate::tracker::{reports, world};

const ONE: &str = "udp://one.example:6969/announce?pass=1";
const TWO: &str = "udp://two.example:6969";
const V4: &str = "198.51.100.1";
const V6: &str = "2001:db8::1";

/// Takes the oldest datagram, which must go to this address: what it says.
fn sent(world: &mut World, to: &str) -> (SocketAddr, Vec<u8>) {
    let (route, bytes) = world.datagrams.pop_front().expect("a datagram");
    let to: SocketAddr = SocketAddr::new(to.parse().expect("an address"), 6969);
    assert_eq!(route.remote, to);
    assert_eq!(route.socket.0, u16::from(to.is_ipv6()), "the socket of its family");
    (to, bytes)
}

/// The tracker answers a connect.
fn connect(world: &mut World, to: &str) {
    let (to, bytes) = sent(world, to);
    let Ok(Request::Connect { transaction }) = parse_request(&bytes) else { panic!("{bytes:?}") };
    let mut out = Vec::new();
    write_connected(&mut out, transaction, 77);
    world.datagram(to, &out);
}

/// Takes an announce off the wire.
fn announce(world: &mut World, to: &str) -> (SocketAddr, u32, UdpAnnounce, Vec<u8>) {
    let (to, bytes) = sent(world, to);
    match parse_request(&bytes) {
        Ok(Request::Announce { connection: 77, transaction, announce, options }) => {
            (to, transaction, announce, options.url_data().expect("whole options"))
        }
        other => panic!("{other:?}"),
    }
}

fn answer(world: &mut World, to: SocketAddr, transaction: u32, peers: &[&str]) {
    let mut out = Vec::new();
    let peers = peers.iter().map(|peer| peer.parse().expect("an address"));
    let interval = Duration::from_secs(1_800);
    write_announced(&mut out, transaction, interval, SwarmCounts::default(), peers, to);
    world.datagram(to, &out);
}

/// The tracker is asked, whether for a connection id first or not, and answers with these peers.
fn announced(world: &mut World, to: &str, peers: &[&str]) -> AnnounceEvent {
    if world.datagrams.front().expect("a datagram").1.len() == 16 {
        connect(world, to);
    }
    let (to, transaction, announce, _) = announce(world, to);
    answer(world, to, transaction, peers);
    announce.event
}

#[test]
fn a_download_is_announced_as_started_completed_and_stopped() {
    let mut world = world(&[&[ONE]]);
    assert_eq!((world.lookups[0].1.as_str(), world.lookups[0].2), ("one.example", 6969));
    world.resolve(&[V4]);
    connect(&mut world, V4);
    let (to, transaction, said, target) = announce(&mut world, V4);
    assert_eq!(target, b"/announce?pass=1");
    assert_eq!((said.info_hash, said.event), (world.info_hash, Started));
    assert_eq!((said.left, said.num_want), (world.content.len() as u64, Some(80)));
    let key = said.key;
    answer(&mut world, to, transaction, &["203.0.113.7:6881"]);
    assert_eq!(world.dials[0].1, "203.0.113.7:6881".parse().expect("an address"));
    world.dials.clear();

    let seed = world.join_seed();
    world.serve(seed);
    assert!(world.disk_is_right());
    // Within the minute of the connection id.
    world.resolve(&[V4]);
    let (to, transaction, said, _) = announce(&mut world, V4);
    assert_eq!((said.event, said.left, said.key), (Completed, 0, key));
    answer(&mut world, to, transaction, &[]);

    world.advance_s(100);
    world.session.shutdown(world.now);
    world.settle();
    world.resolve(&[V4]);
    assert_eq!(announced(&mut world, V4, &[]), Stopped);
    assert!(world.session.is_idle());
    let expected = ["Started 1", "Completed 0", "Stopped 0"].map(|what| format!("{ONE} {what}"));
    assert_eq!(reports(&world), expected);
    world.advance_s(10_000);
    assert!(world.datagrams.is_empty());
    assert_eq!(world.session.poll_timeout(), None, "no wake-ups");
}

/// BEP 15 has no number for what BEP 21 has a word for.
#[test]
fn a_partial_seed_announces_as_anybody_does() {
    let trackers = vec![vec![ONE.to_owned()]];
    let mut world = Setup { mode: Mode::Seed, trackers, ..Setup::have([0, 1]) }.build();
    for event in [Started, Periodic, Periodic] {
        world.resolve(&[V4]);
        assert_eq!(announced(&mut world, V4, &[]), event);
        world.advance_s(1_801);
    }
}

#[test]
fn a_silent_tracker_is_asked_again_and_then_left_for_the_next() {
    // One that has somebody behind it is waited for as long as a dial; the last one longer.
    let mut world = world(&[&[ONE], &[TWO]]);
    world.resolve(&[V4]);
    sent(&mut world, V4);
    world.advance(Duration::from_millis(14_900));
    assert!(reports(&world).is_empty());
    world.advance_s(1);
    assert_eq!(reports(&world), [format!("{ONE} Started timed out")]);
    world.datagrams.clear();
    world.resolve(&["198.51.100.2"]);
    sent(&mut world, "198.51.100.2");
    world.advance_s(16);
    connect(&mut world, "198.51.100.2");
    // Reached, it has its whole time; the first is due again meanwhile and has to wait.
    world.advance_s(29);
    let (to, transaction, ..) = announce(&mut world, "198.51.100.2");
    answer(&mut world, to, transaction, &[]);
    assert_eq!(reports(&world)[1], format!("{TWO} Started 0"));
}

#[test]
fn an_announce_that_is_lost_is_sent_again_with_the_same_transaction() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4]);
    connect(&mut world, V4);
    let (_, first, ..) = announce(&mut world, V4);
    world.advance_s(16);
    let (to, second, ..) = announce(&mut world, V4);
    assert_eq!(first, second);
    answer(&mut world, to, second, &[]);
    assert_eq!(reports(&world), [format!("{ONE} Started 0")]);
}

#[test]
fn what_was_not_answered_in_time_has_failed_and_is_not_heard_later() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4]);
    connect(&mut world, V4);
    let (to, transaction, ..) = announce(&mut world, V4);
    world.advance(Duration::from_millis(30_100));
    assert_eq!(reports(&world), [format!("{ONE} Started timed out")]);
    answer(&mut world, to, transaction, &["203.0.113.7:6881"]);
    assert!(world.dials.is_empty());
}

#[test]
fn every_address_of_a_tracker_is_tried_before_it_has_failed() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4, "198.51.100.2"]);
    sent(&mut world, V4);
    world.advance_s(16);
    world.datagrams.retain(|(route, _)| route.remote.ip().to_string() != V4);
    assert_eq!(announced(&mut world, "198.51.100.2", &[]), Started);
    assert_eq!(reports(&world), [format!("{ONE} Started 0")]);
}

#[test]
fn a_refusal_is_passed_on_in_its_words() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4]);
    connect(&mut world, V4);
    let (to, transaction, ..) = announce(&mut world, V4);
    let mut out = Vec::new();
    write_failed(&mut out, transaction, "\x1b[31mgo");
    world.datagram(to, &out);
    assert_eq!(reports(&world), [format!("{ONE} Started refused: \\x1b[31mgo")]);
}

#[test]
fn a_forged_answer_from_elsewhere_changes_nothing() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4]);
    connect(&mut world, V4);
    let (_, transaction, ..) = announce(&mut world, V4);
    let forger = "203.0.113.9:6969".parse().expect("an address");
    answer(&mut world, forger, transaction, &["203.0.113.6:6881"]);
    assert!(world.dials.is_empty() && reports(&world).is_empty());
}

#[test]
fn both_families_of_a_tracker_hear_the_same() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V6, V4]);
    connect(&mut world, V6);
    let (to, transaction, over_v6, _) = announce(&mut world, V6);
    answer(&mut world, to, transaction, &["[2001:db8::7]:6881"]);
    assert_eq!(reports(&world), [format!("{ONE} Started 1")], "it does not wait for the other");
    connect(&mut world, V4);
    let (to, transaction, over_v4, _) = announce(&mut world, V4);
    assert_eq!(over_v4, over_v6, "the same key, the same event");
    answer(&mut world, to, transaction, &["203.0.113.7:6881"]);
    let dialled: Vec<String> = world.dials.iter().map(|(_, addr)| addr.to_string()).collect();
    assert_eq!(dialled.len(), 2, "{dialled:?}");
    assert_eq!(reports(&world).len(), 1, "one announce, one report");

    world.advance_s(200);
    world.session.shutdown(world.now);
    world.settle();
    world.resolve(&[V6, V4]);
    assert_eq!(announced(&mut world, V6, &[]), Stopped);
    assert!(!world.session.is_idle());
    assert_eq!(announced(&mut world, V4, &[]), Stopped);
    assert!(world.session.is_idle());
}

#[test]
fn an_address_to_be_announced_is_told_over_its_own_family() {
    let trackers = vec![vec![ONE.to_owned()]];
    let setup = Setup { trackers, ..Setup::default() };
    let mut world = setup.config(|config| config.announce_ip = "203.0.113.9".parse().ok()).build();
    world.resolve(&[V4, V6]);
    for (to, told) in [(V4, "203.0.113.9".parse().ok()), (V6, None)] {
        connect(&mut world, to);
        let (to, transaction, said, _) = announce(&mut world, to);
        assert_eq!(said.ip, told);
        answer(&mut world, to, transaction, &[]);
    }
}

#[test]
fn a_family_that_does_not_answer_does_no_harm() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4, V6]);
    assert_eq!(announced(&mut world, V4, &[]), Started);
    sent(&mut world, V6);
    // What has to be said meanwhile waits no longer than a dial takes.
    let seed = world.join_seed();
    world.serve(seed);
    assert!(world.lookups.is_empty());
    world.advance_s(15);
    world.resolve(&[V4, V6]);
    assert_eq!(announced(&mut world, V4, &[]), Completed);
    world.session.shutdown(world.now);
    world.settle();
    world.resolve(&[V4]);
    assert_eq!(world.datagrams.pop_front().map(|(route, _)| route.socket.0), Some(1), "given up");
    assert_eq!(announced(&mut world, V4, &[]), Stopped);
    assert!(world.session.is_idle());
    let expected = ["Started 0", "Completed 0", "Stopped 0"].map(|what| format!("{ONE} {what}"));
    assert_eq!(reports(&world), expected);
}

/// A way that leads nowhere is not waited for at the end.
#[test]
fn only_the_family_that_has_answered_hears_that_we_have_stopped() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&[V4, V6]);
    assert_eq!(announced(&mut world, V4, &[]), Started);
    sent(&mut world, V6);
    world.advance_s(16);
    world.datagrams.clear();
    world.session.shutdown(world.now);
    world.settle();
    world.resolve(&[V4, V6]);
    assert_eq!(announced(&mut world, V4, &[]), Stopped);
    assert!(world.session.is_idle() && world.datagrams.is_empty());
}

#[test]
fn over_http_both_families_are_told_too() {
    let mut world = world(&[&["http://one.example/announce"]]);
    world.resolve(&[V4, "198.51.100.2", V6]);
    let body = b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers0:e";
    for expected in [V4, V6] {
        let (_, addr) = world.dials[0];
        assert_eq!(addr.ip().to_string(), expected);
        let stream = world.answer_dial();
        assert!(world.text(stream).contains("event=started"));
        world.send(stream, body);
        world.hang_up(stream);
    }
    assert!(world.dials.is_empty());
    assert_eq!(reports(&world).len(), 1);
    assert!(world.session.torrent(world.torrent, world.now).is_some());
}

#[test]
fn a_tracker_on_this_machine_needs_no_path_and_a_path_that_is_too_long_is_not_cut() {
    let long = format!("udp://one.example:6969/{}", "a".repeat(1_024));
    let mut world = Setup {
        trackers: vec![vec!["udp://127.0.0.1:6969".to_owned()], vec![long.clone()]],
        ..Setup::default()
    }
    .build();
    world.resolve(&["127.0.0.1"]);
    connect(&mut world, "127.0.0.1");
    let (to, transaction, _, target) = announce(&mut world, "127.0.0.1");
    assert_eq!(target, b"");
    let mut out = Vec::new();
    write_failed(&mut out, transaction, "no");
    world.datagram(to, &out);
    world.resolve(&[V4]);
    assert!(world.datagrams.is_empty());
    let error = format!("{long} Started the url is longer than 1024 bytes");
    assert_eq!(reports(&world)[1], error);
}
