//! What the session measures of itself: in virtual time each value is known beforehand.

use swarmloop::disk::job::Times;
use swarmloop::id::BLOCK_LEN;
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::session::io::Listener;
use swarmloop::stats::{Histogram, Metric};
use swarmloop::time::Duration;

use crate::common::{FAST, PLAIN, Said, Setup, World, peer_id};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Asserts that exactly these values were recorded, in whatever order.
#[track_caller]
fn assert_recorded(world: &World, metric: Metric, values: &[Duration]) {
    let mut expected = Histogram::default();
    for value in values {
        expected.record(u64::try_from(value.as_nanos()).expect("a short time"));
    }
    let recorded = world.session.histograms().of(metric);
    let summary = |of: &Histogram| (of.count(), of.min(), of.max());
    assert_eq!(summary(recorded), summary(&expected), "{metric:?}: count, least, most");
    assert!(*recorded == expected, "{metric:?}: a value between is another");
}

#[test]
fn a_handshake_is_measured_from_the_open_stream_to_its_last_byte_whoever_dialled() {
    let mut world = Setup { peers: vec![("10.0.9.1".into(), 6881)], ..Setup::default() }.build();
    world.advance(ms(5_000));
    let dialled = world.answer_dial();
    let accepted = world.accept();
    world.advance(ms(200));
    let handshake = encode(FAST, world.info_hash, peer_id(1));
    world.send(dialled, &handshake[..60]);
    world.advance(ms(100));
    world.send(dialled, &handshake[60..]);
    world.advance(ms(700));
    world.send(accepted, &encode(FAST, world.info_hash, peer_id(2)));
    assert_recorded(&world, Metric::Handshake, &[ms(300), ms(1_000)]);
}

#[test]
fn a_handshake_that_makes_no_peer_is_not_measured() {
    let mut world = World::leech();
    // Who has our own id is heard out by the end that accepted it, read after read.
    let ourselves = world.accept();
    world.send(ourselves, &encode(FAST, world.info_hash, peer_id(1))[..48]);
    let Some(Said::Handshake(_, _, ours)) = world.hear(ourselves).pop() else {
        panic!("it is told who we are");
    };
    world.send(ourselves, &ours.0);
    world.send(ourselves, &[0; 4]);
    let first = world.accept();
    world.send(first, &encode(FAST, world.info_hash, peer_id(1)));
    let twin = world.accept();
    world.send(twin, &encode(FAST, world.info_hash, peer_id(1)));
    assert!(world.is_open(first) && !world.is_open(twin));
    assert_eq!(world.session.counters().established, 1);
    assert_recorded(&world, Metric::Handshake, &[ms(0)]);
}

#[test]
fn a_request_is_measured_to_the_head_and_to_the_end_of_its_answer() {
    let mut world = Setup::have([1]).pieces(2).build();
    let seed = world.join_seed();
    let asked = world.asked(seed);
    assert_eq!(asked.len(), 4);
    world.advance(ms(40));
    let bytes = world.piece_of(asked[0]);
    world.send(seed, &bytes[..5_000]);
    world.advance(ms(60));
    world.send(seed, &bytes[5_000..]);
    world.give(seed, &asked[1..3]);
    assert_recorded(&world, Metric::RequestToFirstByte, &[ms(40), ms(100), ms(100)]);
    assert_recorded(&world, Metric::RequestToBlock, &[ms(100), ms(100), ms(100)]);
}

#[test]
fn a_request_that_was_given_up_is_not_measured() {
    let mut world = Setup::have([1]).pieces(2).build();
    let plain = world.join(PLAIN);
    world.send(plain, &crate::common::bitfield(&[0b1100_0000]));
    world.say(plain, &[Message::Unchoke]);
    let asked = world.asked(plain);
    world.advance(ms(10));
    world.say(plain, &[Message::Choke]);
    world.give(plain, &asked[..1]);
    assert_eq!(world.status().downloaded, u64::from(BLOCK_LEN));
    assert_recorded(&world, Metric::RequestToFirstByte, &[]);
    assert_recorded(&world, Metric::RequestToBlock, &[]);
}

#[test]
fn a_choke_is_measured_while_we_are_interested() {
    let mut world = World::leech();
    let remote = world.join(FAST);
    world.say(remote, &[Message::HaveNone]);
    world.advance(ms(1_000));
    world.say(remote, &[Message::Unchoke, Message::Choke]);
    assert_recorded(&world, Metric::ChokeToUnchoke, &[]);
    world.advance(ms(1_000));
    world.say(remote, &[Message::Have(swarmloop::id::PieceIndex(3))]);
    world.advance(ms(2_000));
    world.say(remote, &[Message::Unchoke]);
    world.advance(ms(500));
    world.say(remote, &[Message::Choke]);
    world.advance(ms(5_000));
    world.say(remote, &[Message::Unchoke]);
    assert_recorded(&world, Metric::ChokeToUnchoke, &[ms(2_000), ms(5_000)]);
}

#[test]
fn a_piece_is_measured_from_its_last_block_to_its_hash_and_if_it_was_right_its_write() {
    let mut world = Setup::default().pieces(2).build();
    let seed = world.join_seed();
    world.asked(seed);
    let times = |queued, hash, write| Times {
        queued: ms(queued),
        hash_took: ms(hash),
        write_took: ms(write),
    };
    let last = world.blocks_of(1);
    world.disk.times = times(3, 4, 5);
    world.give(seed, &last);
    let first = world.blocks_of(0);
    world.disk.times = times(1, 1, 0);
    world.give(seed, &first[1..]);
    world.advance(ms(30));
    world.give_spoiled(seed, first[0]);
    assert_eq!(world.status().corrupt_pieces, 1);
    assert_recorded(&world, Metric::BlockToHashed, &[ms(7), ms(2)]);
    assert_recorded(&world, Metric::BlockToWritten, &[ms(12)]);
}

#[test]
fn the_last_block_of_a_streamed_piece_waits_for_the_run_before_it() {
    let setup = Setup::have([1]).pieces(2).piece_blocks(64);
    let mut world = setup.config(|config| config.pool_bytes = 32 * u64::from(BLOCK_LEN)).build();
    world.disk.times = Times { queued: ms(1), hash_took: ms(2), write_took: ms(4) };
    world.disk.held = true;
    let seed = world.join_seed();
    let mut given = 0;
    while given < 64 {
        let asked = world.asked(seed);
        if asked.is_empty() {
            world.run_disk(1);
        }
        given += asked.len();
        world.give(seed, &asked);
    }
    world.advance(ms(70));
    while world.status().pieces_have < 2 {
        world.run_disk(1);
    }
    assert_recorded(&world, Metric::BlockToHashed, &[ms(73)]);
    assert_recorded(&world, Metric::BlockToWritten, &[ms(77)]);
}

#[test]
fn an_announce_is_measured_from_its_lookup_to_its_answer_through_redirects_or_its_failure() {
    let trackers = vec![vec!["http://one.example/announce".to_owned()]];
    let mut world = Setup { trackers, ..Setup::default() }.build();
    world.advance(ms(30));
    world.resolve(&["198.51.100.1"]);
    let stream = world.answer_dial();
    world.advance(ms(100));
    world.send(stream, b"HTTP/1.1 302 Found\r\nLocation: http://two.example/announce\r\n\r\n");
    world.resolve(&["198.51.100.2"]);
    let stream = world.answer_dial();
    world.advance(ms(200));
    let body = b"d8:intervali1800e5:peers0:e";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    world.send(stream, &[head.as_bytes(), body].concat());
    assert_recorded(&world, Metric::Announce, &[ms(330)]);

    let trackers = vec![vec!["http://gone.example/announce".to_owned()]];
    let mut world = Setup { trackers, ..Setup::default() }.build();
    world.advance(ms(50));
    world.resolve(&[]);
    assert_recorded(&world, Metric::Announce, &[ms(50)]);
}

#[test]
fn a_timer_is_measured_from_its_deadline_to_the_turn_that_looked_at_it() {
    let mut world = World::leech();
    world.take();
    let stranger = world.accept();
    world.settle();
    // The driver sleeps past the ten seconds that a handshake may take.
    world.now += ms(10_500);
    world.settle();
    assert!(world.closed_with(stranger).is_some());
    assert_recorded(&world, Metric::TimerLateness, &[ms(500)]);
}

#[test]
fn an_interval_has_what_was_recorded_in_it_and_counts_from_the_start() {
    let mut world = World::leech();
    world.advance(ms(1_000));
    let first = world.take();
    assert_eq!((first.start, first.length), (swarmloop::time::Instant::ZERO, ms(1_000)));
    world.join_seed();
    world.advance(ms(250));
    let second = world.take();
    assert_eq!((second.start, second.length), (first.start + ms(1_000), ms(250)));
    assert_eq!(second.histograms.of(Metric::Handshake).count(), 1);
    assert_eq!((first.counters.established, second.counters.established), (0, 1));
    assert!(world.session.histograms().is_empty());
    assert_eq!(world.take().counters, second.counters);
}

#[test]
fn bytes_blocks_and_connections_are_counted() {
    let mut world = Setup::have([1]).pieces(2).build();
    let seed = world.join_seed();
    let asked = world.asked(seed);
    world.give(seed, &asked);
    let leech = world.join_leech(FAST);
    world.say(leech, &[Message::Request(world.block(0, 0))]);
    let stranger = world.accept();
    world.hang_up(stranger);
    let counters = *world.session.counters();
    let block = u64::from(BLOCK_LEN);
    assert_eq!((counters.payload_received, counters.blocks_received), (4 * block, 4));
    assert_eq!((counters.payload_sent, counters.blocks_sent), (block, 1));
    assert_eq!((counters.pieces_verified, counters.pieces_corrupt, counters.wasted), (1, 0, 0));
    assert_eq!((counters.accepted, counters.established, counters.failed), (3, 2, 1));
    // Twice a handshake; `have all`, `unchoke` and four heads of blocks from the one, `have none`,
    // `interested` and a request from the other.
    assert_eq!(counters.protocol().0, 2 * 68 + 5 + 5 + 4 * 13 + 5 + 5 + 17);
    assert!(counters.protocol().1 > 2 * 68, "{counters:?}");
}

#[test]
fn only_streams_from_peers_count_as_refused() {
    let mut world = Setup::seed().config(|config| config.max_pending_handshakes = 1).build();
    world.accept();
    let addr = world.next_addr();
    // There is no tracker here whose client that could be.
    assert!(world.session.handle_accepted(Listener::Tracker, addr, world.now).is_none());
    assert!(world.knock(addr).is_none());
    let counters = world.session.counters();
    assert_eq!((counters.accepted, counters.refused), (1, 1));
}
