//! When every place is taken, somebody who has proven nothing makes way for a peer that comes; and
//! no more of them than a named rate.

use std::collections::VecDeque;
use std::net::SocketAddr;

use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::proto::priority::canonical_priority;

use crate::common::{FAST, Remote, Setup, World, peer_id};

const DISPLACED: &str = "closed: made way for a peer that came";
const TOO_MANY: &str = "closed: too many connections";

fn displaced(world: &World, remotes: &[Remote]) -> usize {
    let is = |remote: &&Remote| world.closed_with(**remote).as_deref() == Some(DISPLACED);
    remotes.iter().filter(is).count()
}

/// Lets a stranger come and say who it is.
fn come(world: &mut World, addr: SocketAddr, n: u8) -> Remote {
    let stranger = world.knock(addr).expect("there is room for handshakes");
    let bytes = encode(FAST, world.info_hash, peer_id(n));
    world.send(stranger, &bytes);
    stranger
}

fn public(last: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], 6881))
}

/// A leech with three places, taken by peers that have nothing.
fn full_of_idlers() -> (World, [Remote; 3]) {
    let mut world = Setup::default().config(|config| config.max_peers = 3).build();
    let idlers = [(); 3].map(|()| world.join_leech(FAST));
    (world, idlers)
}

#[test]
fn one_that_has_proven_nothing_in_a_minute_makes_way_and_the_next_ten_seconds_later() {
    let (mut world, idlers) = full_of_idlers();
    world.advance_s(59);
    let early = come(&mut world, public(1), 1);
    assert_eq!(world.closed_with(early).as_deref(), Some(TOO_MANY), "they have just come");
    world.advance_s(2);
    let first = come(&mut world, public(2), 2);
    assert!(world.is_open(first));
    assert_eq!((displaced(&world, &idlers), world.status().peers), (1, 3));
    world.advance_s(9);
    let second = come(&mut world, public(3), 3);
    assert_eq!(world.closed_with(second).as_deref(), Some(TOO_MANY));
    world.advance_s(2);
    let third = come(&mut world, public(4), 4);
    assert!(world.is_open(first) && world.is_open(third), "who came stays for its time");
    assert_eq!((displaced(&world, &idlers), world.status().peers), (2, 3));
}

#[test]
fn a_flood_changes_no_more_than_the_rate_allows_and_none_of_use() {
    let mut world = Setup::default().config(|config| config.max_peers = 5).build();
    let seed = world.join_seed();
    let idlers = [(); 4].map(|()| world.join_leech(FAST));
    let (mut came, mut asked) = (0_u8, VecDeque::new());
    for second in 0..120 {
        asked.extend(world.asked(seed));
        if second % 20 == 19 {
            // Seldom enough that its rate is nothing at times, and it is not snubbed.
            let block = asked.pop_front().expect("a request");
            world.give(seed, &[block]);
        }
        for _ in 0..2 {
            came += 1;
            come(&mut world, public(came), came);
        }
        world.advance_s(1);
    }
    assert!(world.is_open(seed), "it serves");
    // From the sixtieth second on, one each ten seconds, until all idlers are gone.
    assert_eq!((displaced(&world, &idlers), world.status().peers), (4, 5));
    let gone = world.events.iter().filter(|event| format!("{event:?}").contains("Displaced"));
    assert!((4..=6).contains(&gone.count()));
}

#[test]
fn whom_we_feed_and_whom_the_user_has_named_stays() {
    let mut world = Setup::seed().config(|config| config.max_peers = 2).build();
    let fed = [(); 2].map(|()| world.join_leech(FAST));
    for remote in fed {
        let block = world.block(0, 0);
        world.say(remote, &[Message::Request(block)]);
        assert_eq!(world.given(remote), [block]);
    }
    world.advance_s(100);
    let late = come(&mut world, public(1), 1);
    assert_eq!(world.closed_with(late).as_deref(), Some(TOO_MANY));
    let peers = vec![("10.9.9.9".to_owned(), 6881)];
    let setup = Setup { peers, ..Setup::default() };
    let mut world = setup.config(|config| config.max_peers = 1).build();
    let named = world.answer_dial();
    world.send(named, &encode(FAST, world.info_hash, peer_id(2)));
    world.advance_s(100);
    let late = come(&mut world, public(1), 1);
    assert_eq!(world.closed_with(late).as_deref(), Some(TOO_MANY));
    assert!(world.is_open(named));
}

#[test]
fn who_may_be_as_good_makes_way_for_a_higher_priority_alone() {
    let us = SocketAddr::from(([198, 51, 100, 1], 6881));
    let mut world = Setup::seed()
        .config(|config| {
            config.max_peers = 1;
            config.announce_ip = Some(us.ip());
            config.listen_port = us.port();
        })
        .build();
    let addr_of = |last: &u8| SocketAddr::from(([203, *last, 113, 7], 6881));
    let mut hosts: Vec<u8> = (0..100).collect();
    hosts.sort_by_key(|last| canonical_priority(us, addr_of(last)));
    let eager = come(&mut world, addr_of(&hosts[50]), 50);
    world.say(eager, &[Message::Interested]);
    world.advance_s(61);
    let lower = come(&mut world, addr_of(&hosts[20]), 20);
    assert_eq!(world.closed_with(lower).as_deref(), Some(TOO_MANY));
    assert!(world.is_open(eager), "it wants something, and has asked for nothing yet");
    world.advance_s(1);
    let higher = come(&mut world, addr_of(&hosts[80]), 80);
    assert!(world.is_open(higher));
    assert_eq!(displaced(&world, &[eager]), 1);
}

#[test]
fn a_session_with_no_connection_left_lets_one_in_for_one_of_no_use() {
    let mut world = Setup::default().config(|config| config.max_conns = 3).build();
    let idlers = [(); 3].map(|()| world.join_leech(FAST));
    assert!(world.knock(public(1)).is_none());
    world.advance_s(61);
    assert!(world.knock(public(2)).is_some());
    assert!(world.knock(public(3)).is_none(), "once in ten seconds");
    world.settle();
    assert_eq!(displaced(&world, &idlers), 1);
    world.advance_s(11);
    assert!(world.knock(public(4)).is_some());
    // One that wants what we have may be as good as whoever comes.
    let mut world = Setup::seed().config(|config| config.max_conns = 3).build();
    let eager = [(); 3].map(|()| world.join_leech(FAST));
    world.advance_s(61);
    assert!(world.knock(public(1)).is_none());
    assert_eq!(displaced(&world, &eager), 0);
}
