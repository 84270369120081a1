//! How many may connect: pending handshakes, connections of one address, peers of one torrent,
//! dials at a time.

use std::net::SocketAddr;

use swarmloop::proto::handshake::encode;
use swarmloop::session::io::Listener;
use swarmloop::time::Duration;
use swarmloop::tracker_server::ServerConfig;

use crate::common::{FAST, Remote, Setup, World, peer_id};

fn public(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], port))
}

fn numbered(number: usize) -> SocketAddr {
    let [.., third, fourth] = number.to_be_bytes();
    SocketAddr::from(([198, 18, third, fourth], 6881))
}

#[test]
fn a_storm_of_mute_strangers_fills_the_pending_handshakes_and_no_more() {
    let mut world = World::seed();
    let kept = (0..2_000).filter(|number| world.knock(numbered(*number)).is_some()).count();
    assert_eq!(kept, 512);
    world.settle();
    assert!(world.knock(numbered(2_000)).is_none());
    // An honest peer gets in once the mute ones have had their ten seconds.
    world.advance_s(11);
    let honest = world.join_leech(FAST);
    assert!(world.is_open(honest));
}

#[test]
fn a_handshake_that_is_done_is_not_pending_any_more() {
    let mut world = Setup::seed().config(|config| config.max_pending_handshakes = 1).build();
    for number in 0..5 {
        let stranger = world.knock(numbered(number)).expect("nobody is pending");
        assert!(world.knock(numbered(100)).is_none());
        let id = peer_id(u8::try_from(number).expect("small"));
        world.send(stranger, &encode(FAST, world.info_hash, id));
    }
    assert_eq!(world.status().peers, 5);
}

#[test]
fn an_address_has_three_connections_and_gets_its_place_back() {
    let mut world = World::seed();
    let first = world.knock(public(1, 1)).expect("welcome");
    assert!(world.knock(public(1, 2)).is_some() && world.knock(public(1, 3)).is_some());
    assert!(world.knock(public(1, 4)).is_none());
    assert!(world.knock(public(2, 4)).is_some());
    world.hang_up(first);
    assert!(world.knock(public(1, 5)).is_some());
}

#[test]
fn addresses_that_hide_many_hosts_are_exempt() {
    for ip in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd00::1", "::ffff:127.0.0.1"] {
        let mut world = World::seed();
        let ip = ip.parse().expect("an address");
        let kept = (1..=20).filter(|port| world.knock(SocketAddr::new(ip, *port)).is_some());
        assert_eq!(kept.count(), 20, "{ip}");
    }
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_the_same_address() {
    let mut world = World::seed();
    let mapped = |port| SocketAddr::new("::ffff:203.0.113.1".parse().expect("an address"), port);
    assert!((1..=3).all(|port| world.knock(mapped(port)).is_some()));
    assert!(world.knock(public(1, 9)).is_none());
}

#[test]
fn a_full_torrent_tells_strangers_before_they_have_said_who_they_are() {
    let mut world = Setup::seed().config(|config| config.max_peers = 2).build();
    let peers = [world.join(FAST), world.join(FAST)];
    let stranger = world.accept();
    world.send(stranger, &encode(FAST, world.info_hash, peer_id(1))[..48]);
    assert_eq!(world.closed_with(stranger).as_deref(), Some("closed: too many connections"));
    world.hang_up(peers[0]);
    let next = world.join(FAST);
    assert!(world.is_open(next));
}

#[test]
fn strangers_that_hold_their_peer_ids_back_together_do_not_overfill_a_torrent() {
    let mut world = Setup::seed().config(|config| config.max_peers = 2).build();
    let strangers: Vec<Remote> = (0..5).map(|_| world.accept()).collect();
    let handshake = |world: &World, n: u8| encode(FAST, world.info_hash, peer_id(n));
    for (n, stranger) in (1..).zip(&strangers) {
        let bytes = handshake(&world, n);
        world.send(*stranger, &bytes[..48]);
    }
    for (n, stranger) in (1..).zip(&strangers) {
        let bytes = handshake(&world, n);
        world.send(*stranger, &bytes[48..]);
    }
    assert_eq!(world.status().peers, 2);
}

#[test]
fn a_session_keeps_to_its_connections_in_all() {
    let mut world = Setup::seed().config(|config| config.max_conns = 4).build();
    let kept: Vec<Remote> = (0..10).filter_map(|number| world.knock(numbered(number))).collect();
    assert_eq!(kept.len(), 4);
    world.hang_up(kept[1]);
    assert!(world.knock(numbered(11)).is_some());
}

#[test]
fn nobody_is_accepted_for_a_tracker_that_is_not_there() {
    let mut world = World::seed();
    let addr = world.next_addr();
    assert!(world.session.handle_accepted(Listener::Tracker, addr, world.now).is_none());
}

#[test]
fn dials_keep_to_the_half_open_limit_and_to_their_rate() {
    let peers = (1..=60).map(|last| (format!("10.9.9.{last}"), 6881)).collect();
    let setup = Setup { peers, ..Setup::default() }.config(|config| {
        config.max_half_open = 20;
        config.dial_rate_per_s = 5;
    });
    let mut world = setup.build();
    assert_eq!(world.dials.len(), 5, "a second's worth at once");
    // A timer may be late by its tick of a millisecond, once for each dial.
    world.advance(Duration::from_millis(1_010));
    assert_eq!(world.dials.len(), 10);
    world.advance_s(9);
    assert_eq!((world.dials.len(), world.status().half_open), (20, 20));
    for _ in 0..5 {
        world.fail_dial();
    }
    world.advance_s(1);
    assert_eq!(world.dials.len(), 20);
}

#[test]
fn dials_and_peers_together_keep_to_the_peers_of_a_torrent() {
    let peers = (1..=60).map(|last| (format!("10.9.9.{last}"), 6881)).collect();
    let setup = Setup { peers, ..Setup::default() }.config(|config| config.max_peers = 7);
    let mut world = setup.build();
    assert_eq!(world.dials.len(), 7);
    for n in 0..4 {
        let remote = world.answer_dial();
        world.send(remote, &encode(FAST, world.info_hash, peer_id(n)));
    }
    assert_eq!((world.status().peers, world.dials.len()), (4, 3));
    let strangers: Vec<Remote> = (0..5).map(|_| world.accept()).collect();
    for (n, stranger) in (50..).zip(strangers) {
        world.send(stranger, &encode(FAST, world.info_hash, peer_id(n)));
    }
    assert_eq!(world.status().peers, 7);
}

#[test]
fn silent_clients_of_the_embedded_tracker_take_no_room_from_peers() {
    let setup = Setup::default().config(|config| {
        config.max_conns = 40;
        config.max_tracker_conns = 10;
    });
    let mut world = setup.build();
    world.session.serve_tracker(ServerConfig::default());
    let addr = World::addr_of(9);
    let mut knock = || world.session.handle_accepted(Listener::Tracker, addr, world.now);
    assert_eq!((0..100).filter_map(|_| knock()).count(), 10);
    let mut dial = || world.session.handle_accepted(Listener::Peers, addr, world.now);
    assert_eq!((0..100).filter_map(|_| dial()).count(), 40, "as many as without a tracker");
    world.advance_s(11);
    let again = world.session.handle_accepted(Listener::Tracker, addr, world.now);
    assert!(again.is_some(), "they have timed out");
}

#[test]
fn one_address_does_not_take_all_places_at_the_embedded_tracker() {
    let setup = Setup::default().config(|config| config.max_tracker_conns_per_addr = 3);
    let mut world = setup.build();
    world.session.serve_tracker(ServerConfig::default());
    let mut knock = |from: &str| {
        let from = from.parse().expect("an address");
        (0..9)
            .filter_map(|_| world.session.handle_accepted(Listener::Tracker, from, world.now))
            .count()
    };
    assert_eq!(knock("11.0.0.1:1"), 3);
    assert_eq!(knock("11.0.0.2:1"), 3);
    assert_eq!(knock("192.168.0.1:1"), 9, "a private address hides many hosts");
}
