//! Who is told of a piece that came, and when.

use swarmloop::proto::message::Message;
use swarmloop::time::Duration;

use crate::common::{FAST, Remote, Said, Setup, World};

/// More peers than are told of a piece as soon as it is there.
const MANY: usize = 70;

fn join(world: &mut World) -> Remote {
    let remote = world.join(FAST);
    world.say(remote, &[Message::HaveNone]);
    world.hear(remote);
    remote
}

/// Lets the seed deliver what is asked of it once, and returns the pieces that came by it.
fn deliver(world: &mut World, seed: Remote) -> Vec<u32> {
    let before = world.events.len();
    let asked = world.asked(seed);
    world.give(seed, &asked);
    let came = world.events[before..].iter().filter_map(|event| match event {
        swarmloop::session::io::Event::PieceVerified { piece, .. } => Some(piece.0),
        _ => None,
    });
    came.collect()
}

fn told(world: &mut World, remote: Remote) -> Vec<u32> {
    let said = world.hear(remote).into_iter();
    said.filter_map(|said| match said {
        Said::Message(Message::Have(piece)) => Some(piece.0),
        _ => None,
    })
    .collect()
}

#[test]
fn in_a_small_swarm_everybody_is_told_at_once() {
    let mut world = World::leech();
    let peers: Vec<Remote> = (0..5).map(|_| join(&mut world)).collect();
    let seed = world.join_seed();
    let came = deliver(&mut world, seed);
    assert!(!came.is_empty());
    for peer in peers {
        assert_eq!(told(&mut world, peer), came);
    }
    assert!(told(&mut world, seed).is_empty(), "a seed lacks nothing");
}

#[test]
fn in_a_large_swarm_those_who_wait_are_told_at_once_and_all_others_soon() {
    let mut world = World::leech();
    let waiting = world.join_leech(FAST);
    world.hear(waiting);
    let peers: Vec<Remote> = (0..MANY).map(|_| join(&mut world)).collect();
    let seed = world.join_seed();
    let came = deliver(&mut world, seed);
    assert!(!came.is_empty());
    assert_eq!(told(&mut world, waiting), came, "it may request, and had nothing to");
    let early: usize = peers.iter().map(|peer| told(&mut world, *peer).len()).sum();
    assert_eq!(early, 0, "nothing was due to the others");
    world.advance(Duration::from_millis(500));
    let first: Vec<usize> = peers.iter().map(|peer| told(&mut world, *peer).len()).collect();
    let halfway = first.iter().filter(|haves| **haves > 0).count();
    assert!((MANY / 3..MANY).contains(&halfway), "{halfway} after half the time");
    world.advance(Duration::from_millis(600));
    for (peer, before) in peers.into_iter().zip(first) {
        assert_eq!(before + told(&mut world, peer).len(), came.len(), "each is told once");
    }
    assert!(world.session.poll_timeout() > Some(world.now + Duration::from_secs(1)), "it rests");
}

#[test]
fn whoever_is_spoken_to_anyhow_is_told_with_it() {
    let mut world = World::leech();
    let peers: Vec<Remote> = (0..MANY).map(|_| join(&mut world)).collect();
    let seed = world.join_seed();
    let came = deliver(&mut world, seed);
    assert!(!came.is_empty());
    world.say(peers[9], &[Message::Interested]);
    assert_eq!(told(&mut world, peers[9]), came);
}

#[test]
fn whoever_joins_during_a_round_takes_nobodys_turn_in_it() {
    let mut world = Setup::default().pieces(40).build();
    let peers: Vec<Remote> = (0..MANY).map(|_| join(&mut world)).collect();
    let seed = world.join_seed();
    assert!(!deliver(&mut world, seed).is_empty());
    world.advance(Duration::from_millis(500));
    for peer in &peers {
        told(&mut world, *peer);
    }
    // A round begins amid the peers, and those who join now stand before the first of them.
    let came = deliver(&mut world, seed);
    let last = *came.last().expect("a piece");
    let newcomers: Vec<Remote> = (0..40).map(|_| join(&mut world)).collect();
    world.advance(Duration::from_secs(2));
    for (at, peer) in peers.into_iter().enumerate() {
        assert!(told(&mut world, peer).contains(&last), "peer {at}");
    }
    for newcomer in newcomers {
        assert_eq!(told(&mut world, newcomer), [0; 0], "it was told as it joined");
    }
}

#[test]
fn a_part_of_a_round_that_is_due_is_told_though_a_piece_comes_in_the_same_turn() {
    let mut world = Setup::default().pieces(40).build();
    let peers: Vec<Remote> = (0..MANY).map(|_| join(&mut world)).collect();
    let seed = world.join_seed();
    assert!(!deliver(&mut world, seed).is_empty());
    world.disk.held = true;
    assert!(deliver(&mut world, seed).is_empty());
    world.now += Duration::from_millis(60);
    let before = world.events.len();
    world.disk.held = false;
    world.turn();
    assert!(world.events.len() > before, "pieces came");
    let told = peers.iter().filter(|peer| !told(&mut world, **peer).is_empty()).count();
    assert!((1..MANY / 2).contains(&told), "{told} of {MANY}");
}
