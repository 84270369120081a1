//! When there is no place for candidates, peers of no use make room for them, a few at a time.

use std::collections::VecDeque;

use swarmloop::proto::extended::{self, Extension};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::proto::ut_pex::{Exchange, Flags};

use crate::common::{EXTENDED, FAST, PLAIN, Remote, Setup, World, peer_id};

const MADE_ROOM: &str = "closed: made room for others";

/// A leech with places for `places` peers that knows one candidate, whom it could not reach yet.
fn world(places: usize) -> World {
    let peers = vec![("10.9.9.9".to_owned(), 6881)];
    let setup = Setup { peers, ..Setup::default() };
    let mut world = setup.config(|config| config.max_peers = places).build();
    world.fail_dial();
    world
}

fn said_farewell(world: &World, remotes: &[Remote]) -> usize {
    let farewell = |remote: &&Remote| world.closed_with(**remote).as_deref() == Some(MADE_ROOM);
    remotes.iter().filter(farewell).count()
}

#[test]
fn of_a_full_house_of_idlers_one_makes_room_after_a_minute() {
    let mut world = world(5);
    let idlers: Vec<Remote> = (0..5).map(|_| world.join_leech(FAST)).collect();
    world.advance_s(55);
    assert_eq!(world.dials.len(), 0, "no place");
    world.advance_s(10);
    assert_eq!(said_farewell(&world, &idlers), 1, "nobody serves, so it takes a minute");
    assert_eq!(world.dials.len(), 1, "and the place is the candidate's at once");
    let seed = world.answer_dial();
    assert!(world.is_open(seed));
}

#[test]
fn whoever_serves_stays() {
    let mut world = world(3);
    let seed = world.join_seed();
    let idlers = [world.join_leech(FAST), world.join_leech(FAST)];
    let mut asked = VecDeque::new();
    for passed_s in (20..=340).step_by(20) {
        // A block every twenty seconds, so that it is not snubbed.
        asked.extend(world.asked(seed));
        let block = asked.pop_front().expect("a request");
        world.give(seed, &[block]);
        for idler in idlers.iter().filter(|idler| world.is_open(**idler)).collect::<Vec<_>>() {
            world.say(*idler, &[Message::KeepAlive]);
        }
        world.advance_s(20);
        let gone = usize::from(passed_s > 300);
        assert_eq!(said_farewell(&world, &idlers), gone, "after {passed_s} s");
    }
    assert!(world.is_open(seed));
}

#[test]
fn nobody_goes_while_there_is_room_or_nobody_to_make_it_for() {
    let mut roomy = world(7);
    let idlers: Vec<Remote> = (0..5).map(|_| roomy.join_leech(FAST)).collect();
    while !roomy.dials.is_empty() {
        roomy.fail_dial();
    }
    roomy.advance_s(3);
    assert_eq!(said_farewell(&roomy, &idlers), 0);
    let mut lonely = Setup::default().config(|config| config.max_peers = 5).build();
    let idlers: Vec<Remote> = (0..5).map(|_| lonely.join_leech(FAST)).collect();
    for _ in 0..10 {
        lonely.advance_s(60);
        for idler in &idlers {
            lonely.say(*idler, &[Message::KeepAlive]);
        }
    }
    assert_eq!(said_farewell(&lonely, &idlers), 0);
}

#[test]
fn of_many_idlers_four_in_a_hundred_make_room_and_no_more_than_are_waited_for() {
    for (candidates, gone) in [(20, 4), (2, 2)] {
        let peers = (1..=candidates).map(|host| (format!("10.9.9.{host}"), 6881)).collect();
        let setup = Setup { peers, ..Setup::default() };
        let mut world = setup.config(|config| config.max_peers = 100).build();
        while !world.dials.is_empty() {
            world.fail_dial();
        }
        let idlers: Vec<Remote> = (0..100).map(|_| world.join_leech(PLAIN)).collect();
        world.advance_s(70);
        assert_eq!(said_farewell(&world, &idlers), gone);
    }
}

#[test]
fn whom_the_user_has_named_stays_although_it_idles() {
    let peers = vec![("10.9.9.8".to_owned(), 6881), ("10.9.9.9".to_owned(), 6881)];
    let setup = Setup { peers, ..Setup::default() }.config(|config| config.max_peers = 1);
    let mut world = setup.build();
    let named = world.answer_dial();
    let hello = encode(FAST, world.info_hash, peer_id(9));
    world.send(named, &hello);
    world.advance_s(70);
    assert!(world.is_open(named) && world.dials.is_empty());
}

#[test]
fn a_seed_lets_go_of_who_wants_nothing() {
    let peers = vec![("10.9.9.9".to_owned(), 6881)];
    let setup = Setup { peers, ..Setup::seed() };
    let mut world = setup.config(|config| config.max_peers = 2).build();
    world.fail_dial();
    let (idle, eager) = (world.join(FAST), world.join_leech(FAST));
    for _ in 0..6 {
        world.advance_s(60);
        for remote in [idle, eager] {
            world.say(remote, &[Message::KeepAlive]);
        }
    }
    assert_eq!((said_farewell(&world, &[idle]), said_farewell(&world, &[eager])), (1, 0));
}

#[test]
fn while_metadata_is_looked_for_those_make_room_who_have_none() {
    let mut world = Setup { magnet: Some(Vec::new()), ..Setup::default() }
        .config(|config| config.max_peers = 3)
        .build();
    let offer = |len: usize| {
        let mut out = Vec::new();
        extended::message(0, &mut out, |out| {
            let body = format!("d1:md11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei{len}ee");
            out.extend(body.into_bytes());
        });
        out
    };
    let source = world.join(EXTENDED);
    let len = world.metainfo.info.len();
    world.send(source, &offer(len));
    let idlers = [world.join(EXTENDED), world.join(FAST)];
    let mut contact = Vec::new();
    let added = vec![("10.9.9.9:6881".parse().expect("an address"), Flags(0))];
    Exchange { added, dropped: Vec::new() }.encode(Extension::Pex.id(), &mut contact);
    world.send(source, &contact);
    world.advance_s(59);
    assert_eq!(said_farewell(&world, &idlers), 0, "they may get it yet");
    world.advance_s(10);
    assert_eq!(said_farewell(&world, &idlers), 1, "there is one candidate");
    assert_eq!(world.dials.len(), 1);
    assert!(world.is_open(source));
}
