//! Peers that misbehave on purpose, by the catalogue of security.md 5.6, and honest ones that look
//! like them.

use swarmloop::id::{BLOCK_LEN, PieceIndex};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::rng::Rng;

use crate::common::{FAST, PLAIN, Remote, Setup, World, bitfield, peer_id};

const FLOOD: &str = "misbehaved: flooded with useless messages";

/// Sends `messages` over and over, `per_s` of them a second, and returns after how many seconds
/// the session has had enough; at most a minute.
fn flooded(world: &mut World, remote: Remote, messages: &[Message], per_s: usize) -> Option<u64> {
    for second in 0..60 {
        let batch: Vec<Message> = messages.iter().copied().cycle().take(per_s).collect();
        world.say(remote, &batch);
        if !world.is_open(remote) {
            assert_eq!(world.closed_with(remote).as_deref(), Some(FLOOD));
            assert!(world.is_banned(remote));
            return Some(second);
        }
        world.advance_s(1);
    }
    None
}

#[test]
fn floods_of_useless_messages_are_banned_within_seconds() {
    let have = Message::Have(PieceIndex(3));
    let cancel = Message::Cancel(World::seed().block(0, 0));
    let cases: [(&str, &[Message]); 7] = [
        ("keep-alives", &[Message::KeepAlive]),
        ("choke flap", &[Message::Choke, Message::Unchoke]),
        ("chokes", &[Message::Choke]),
        ("interest flap", &[Message::Interested, Message::NotInterested]),
        ("repeated interest", &[Message::Interested]),
        ("repeated have", &[have]),
        ("cancels of nothing", &[cancel]),
    ];
    for (name, messages) in cases {
        let mut world = World::leech();
        let remote = world.join(FAST);
        let gave_up = flooded(&mut world, remote, messages, 1_000);
        assert!(gave_up.is_some_and(|second| second <= 5), "{name}: {gave_up:?}");
    }
}

#[test]
fn the_same_messages_at_a_human_pace_are_forgiven() {
    let have = Message::Have(PieceIndex(3));
    let flips = [Message::Choke, Message::Unchoke, Message::Interested, Message::NotInterested];
    for messages in [&[Message::KeepAlive][..], &flips, &[have]] {
        let mut world = World::leech();
        let remote = world.join(FAST);
        assert_eq!(flooded(&mut world, remote, messages, 10), None);
    }
}

#[test]
fn a_flood_of_honest_haves_is_no_flood() {
    let mut world = Setup::default().pieces(20_000).piece_blocks(2).build();
    let remote = world.join(FAST);
    world.say(remote, &[Message::HaveNone]);
    let haves: Vec<Message> = (0..20_000).map(|piece| Message::Have(PieceIndex(piece))).collect();
    world.say(remote, &haves);
    assert!(world.is_open(remote));
    assert_eq!(world.peer(remote).pieces_have, 20_000);
    world.say(remote, &haves);
    assert!(world.is_banned(remote), "the second time round it is");
}

#[test]
fn requests_while_choked_are_forgiven_until_they_are_a_flood() {
    let mut world = Setup::seed().config(|config| config.unchoke_slots = 0).build();
    let remote = world.join_leech(PLAIN);
    let block = world.block(0, 0);
    world.say(remote, &vec![Message::Request(block); 500]);
    assert!(world.is_open(remote) && world.disk.reads.is_empty());
    let gave_up = flooded(&mut world, remote, &[Message::Request(block)], 1_000);
    assert!(gave_up.is_some_and(|second| second <= 5), "{gave_up:?}");
}

#[test]
fn a_cancel_storm_reads_no_block_more_than_it_sends() {
    let mut world = World::seed();
    let remote = world.join_leech(FAST);
    let block = world.block(0, 0);
    for _ in 0..200 {
        world.say(remote, &[Message::Request(block), Message::Cancel(block)]);
    }
    world.say(remote, &[Message::Request(block)]);
    let read: usize = world.disk.reads.iter().map(|(_, _, blocks)| blocks).sum();
    assert_eq!((read, world.given(remote).len()), (1, 1));
}

#[test]
fn a_liar_that_claims_everything_and_sends_nothing_is_worked_around() {
    let mut world = World::leech();
    let liars: Vec<Remote> = (0..5).map(|_| world.join_seed()).collect();
    let honest = world.join_seed();
    for _ in 0..200 {
        world.serve(honest);
        world.advance_s(1);
        for liar in &liars {
            world.say(*liar, &[Message::KeepAlive]);
        }
    }
    assert!(world.disk_is_right(), "{:?}", world.status());
}

#[test]
fn pieces_that_only_liars_claim_do_not_hold_the_pool_for_ever() {
    // Room for two open pieces, and nobody is interested in us.
    let pool = 11 * u64::from(BLOCK_LEN);
    let mut world = Setup::default().config(|config| config.pool_bytes = pool).build();
    let liars: Vec<Remote> = (0..3)
        .map(|_| {
            let liar = world.join(FAST);
            world.send(liar, &bitfield(&[0b1111_0000]));
            world.say(liar, &[Message::Unchoke]);
            liar
        })
        .collect();
    let honest = world.join(FAST);
    world.send(honest, &bitfield(&[0b0000_1111]));
    world.say(honest, &[Message::Unchoke]);
    for _ in 0..30 {
        world.serve(honest);
        world.advance_s(10);
        for remote in liars.iter().chain([&honest]) {
            world.say(*remote, &[Message::KeepAlive]);
        }
    }
    assert_eq!(world.status().pieces_have, 4, "{:?}", world.status());
}

#[test]
fn a_smart_poisoner_is_found_within_three_failures() {
    let mut world = Setup::default().pieces(40).build();
    let mut rng = Rng::new(3);
    let (honest, liar) = (world.join_seed(), world.join_seed());
    for _ in 0..2_000 {
        for block in world.asked(liar) {
            if rng.below(10) == 0 {
                world.give_spoiled(liar, block);
            } else {
                world.give(liar, &[block]);
            }
        }
        let asked = world.asked(honest);
        world.give(honest, &asked);
        if world.disk_is_right() {
            break;
        }
    }
    assert!(world.disk_is_right(), "{:?}", world.status());
    assert!(world.is_banned(liar) && !world.is_banned(honest));
    assert!(world.status().corrupt_pieces <= 4, "{}", world.status().corrupt_pieces);
}

#[test]
fn a_ban_is_of_the_host_and_closes_all_its_connections() {
    let mut world = World::leech();
    let liar = world.knock("203.0.113.7:1".parse().expect("an address")).expect("welcome");
    let twin = world.knock("203.0.113.7:2".parse().expect("an address")).expect("welcome");
    for (n, remote) in [(1, liar), (2, twin)] {
        world.send(remote, &encode(FAST, world.info_hash, peer_id(n)));
        world.hear(remote);
    }
    world.say(liar, &[Message::HaveAll, Message::Unchoke]);
    while world.is_open(liar) {
        for block in world.asked(liar) {
            world.give_spoiled(liar, block);
        }
    }
    assert_eq!(world.closed_with(twin).as_deref(), Some("closed: banned"));
    assert_eq!((world.status().peers, world.status().banned), (0, 1));
}

#[test]
fn a_connection_may_break_at_any_byte_and_nothing_leaks() {
    let mut rng = Rng::new(1);
    let mut world = World::leech();
    let asked = {
        let seed = world.join_seed();
        let asked = world.asked(seed);
        world.reset(seed);
        asked
    };
    for _ in 0..200 {
        let mut bytes = encode(FAST, world.info_hash, peer_id(9)).to_vec();
        Message::HaveAll.encode(&mut bytes);
        Message::Unchoke.encode(&mut bytes);
        asked.iter().take(2).for_each(|block| bytes.extend(world.piece_of(*block)));
        let remote = world.knock(World::addr_of(9)).expect("welcome");
        world.send(remote, &bytes[..rng.below(bytes.len())]);
        if world.is_open(remote) {
            world.reset(remote);
        }
        assert_eq!((world.status().peers, world.status().half_open), (0, 0));
        if world.status().pieces_open == 0 {
            assert_eq!(world.session.memory().lent, 0);
        }
    }
    assert!(world.status().banned == 0);
}

#[test]
fn a_dialled_peer_that_resets_is_not_dialled_again_within_a_minute() {
    // From a tracker: what the user has named is tried more often.
    let mut world = crate::tracker::with_peer_from_tracker();
    let remote = world.answer_dial();
    world.send(remote, &encode(FAST, world.info_hash, peer_id(1)));
    world.reset(remote);
    world.advance_s(59);
    assert!(world.dials.is_empty());
    world.advance_s(2);
    assert_eq!(world.dials.len(), 1);
}
