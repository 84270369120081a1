//! From a stranger to a peer: who is let in, who is answered, and who is closed with what words.

use std::net::SocketAddr;

use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::session::io::{Event, Phase};
use swarmloop::time::Duration;

use crate::common::{FAST, PLAIN, Remote, Said, Setup, World, bitfield, peer_id};

const PEER: (&str, u16) = ("10.9.9.9", 6881);

fn dialling() -> World {
    let peers = vec![(PEER.0.to_owned(), PEER.1)];
    Setup { peers, ..Setup::default() }.build()
}

/// Returns what the session calls itself.
fn our_id(world: &mut World) -> PeerId {
    let stranger = world.accept();
    let handshake = encode(FAST, world.info_hash, peer_id(250));
    world.send(stranger, &handshake[..48]);
    let said = world.hear(stranger);
    let Some(Said::Handshake(_, _, id)) = said.first() else { panic!("{said:?}") };
    world.hang_up(stranger);
    *id
}

#[test]
fn a_stranger_is_answered_once_its_info_hash_is_in_and_before_its_peer_id() {
    let mut world = World::leech();
    let stranger = world.accept();
    let handshake = encode(FAST, world.info_hash, peer_id(1));
    world.send(stranger, &handshake[..47]);
    assert_eq!(world.hear(stranger), []);
    world.send(stranger, &handshake[47..48]);
    let said = world.hear(stranger);
    assert!(
        matches!(&said[..], [Said::Handshake(reserved, hash, id)]
        if reserved.fast() && *hash == world.info_hash && id.0.starts_with(b"-SL0100-")),
        "{said:?}"
    );
    world.send(stranger, &handshake[48..67]);
    assert_eq!(world.status().peers, 0);
    world.send(stranger, &handshake[67..]);
    assert_eq!(world.status().peers, 1);
    assert_eq!(world.hear(stranger), [Said::Message(Message::HaveNone)]);
}

#[test]
fn a_conversation_byte_by_byte_is_the_same_conversation() {
    let mut heard = Vec::new();
    for chunk in [1, 2, 3, 17, usize::MAX] {
        let mut world = World::seed();
        world.chunk = chunk;
        let stranger = world.accept();
        let mut bytes = encode(FAST, world.info_hash, peer_id(1)).to_vec();
        Message::HaveNone.encode(&mut bytes);
        Message::Interested.encode(&mut bytes);
        let block = world.block(3, 1);
        world.send(stranger, &bytes);
        world.say(stranger, &[Message::Request(block)]);
        heard.push(world.hear(stranger));
        assert_eq!(heard.last(), heard.first(), "in portions of {chunk}");
        assert!(heard[0].contains(&Said::Piece(block)));
    }
}

#[test]
fn a_dialled_peer_hears_our_handshake_first() {
    let mut world = dialling();
    assert_eq!(world.dials[0].1, "10.9.9.9:6881".parse().expect("an address"));
    let remote = world.answer_dial();
    let said = world.hear(remote);
    assert!(matches!(&said[..], [Said::Handshake(_, hash, _)] if *hash == world.info_hash));
    let mut answer = encode(FAST, world.info_hash, peer_id(1)).to_vec();
    Message::HaveAll.encode(&mut answer);
    world.send(remote, &answer);
    assert_eq!(world.messages(remote), [Message::HaveNone, Message::Interested]);
    let connected = |event: &Event| matches!(event, Event::PeerConnected { incoming: false, .. });
    assert!(world.events.iter().any(connected));
}

#[test]
fn a_peer_that_answers_before_it_has_read_us_gets_the_rest_of_our_handshake() {
    let mut world = dialling();
    let remote = world.answer_dial_reading(20);
    world.send(remote, &encode(FAST, world.info_hash, peer_id(1)));
    assert_eq!((world.status().peers, world.hear(remote)), (1, vec![]));
    world.read(remote, 1_000);
    let said = world.hear(remote);
    assert!(matches!(&said[..], [Said::Handshake(..), Said::Message(Message::HaveNone)]));
}

#[test]
fn an_unknown_info_hash_is_closed_at_once_without_a_byte() {
    let mut world = World::seed();
    let stranger = world.accept();
    world.send(stranger, &encode(FAST, InfoHash([9; 20]), peer_id(1)));
    assert_eq!(world.closed_with(stranger).as_deref(), Some("closed: unknown info-hash"));
    assert_eq!(world.hear(stranger), []);
    let unnamed = |event: &Event| matches!(event, Event::PeerClosed { torrent: None, .. });
    assert!(world.events.iter().any(unnamed));
}

#[test]
fn a_torrent_that_is_still_being_checked_lets_nobody_in() {
    let mut world = Setup::seed().build_unchecked();
    world.disk.held = true;
    world.settle();
    assert_eq!(world.status().phase, Phase::Checking);
    let stranger = world.accept();
    world.send(stranger, &encode(FAST, world.info_hash, peer_id(1)));
    assert_eq!(world.closed_with(stranger).as_deref(), Some("closed: the torrent stopped"));
}

#[test]
fn a_dialled_peer_that_answers_for_another_torrent_is_closed() {
    let mut world = dialling();
    let remote = world.answer_dial();
    world.send(remote, &encode(FAST, InfoHash([9; 20]), peer_id(1)));
    assert_eq!(
        world.closed_with(remote).as_deref(),
        Some("invalid bytes: handshake: answered with another info-hash")
    );
}

#[test]
fn a_connection_to_ourselves_is_closed_and_its_address_never_dialled_again() {
    let mut world = dialling();
    let us = our_id(&mut world);
    let remote = world.answer_dial();
    world.send(remote, &encode(FAST, world.info_hash, us));
    assert_eq!(world.closed_with(remote).as_deref(), Some("closed: connected to ourselves"));
    world.advance_s(3_600);
    assert!(world.dials.is_empty());
}

#[test]
fn the_accepting_end_of_a_connection_to_ourselves_leaves_it_to_the_other_to_find_out() {
    // If it closed at once, its answer might never leave, and the end that dialled would not learn
    // that the address is its own.
    let mut world = World::leech();
    let us = our_id(&mut world);
    let stranger = world.accept();
    world.send(stranger, &encode(FAST, world.info_hash, us));
    assert!(world.is_open(stranger));
    assert_eq!(world.hear(stranger).len(), 1, "our handshake");
    world.hang_up(stranger);
    assert_eq!(world.status().peers, 0);
}

/// Connects one peer in both directions, `first_incoming` saying which handshake ends first, and
/// returns whether the connection that it dialled is the one that lives.
fn cross(theirs: PeerId, first_incoming: bool) -> bool {
    let mut world = dialling();
    let addr: SocketAddr = "10.9.9.9:40000".parse().expect("an address");
    let incoming = world.knock(addr).expect("welcome");
    let dialled = world.answer_dial();
    let handshake = encode(FAST, world.info_hash, theirs);
    let order = if first_incoming { [incoming, dialled] } else { [dialled, incoming] };
    for remote in order {
        world.send(remote, &handshake);
    }
    assert_eq!(world.status().peers, 1, "one of two connections lives");
    assert_eq!(world.status().half_open, 0);
    let (lives, dies) =
        if world.is_open(incoming) { (incoming, dialled) } else { (dialled, incoming) };
    assert!(world.is_open(lives) && !world.is_open(dies));
    assert_eq!(world.closed_with(dies).as_deref(), Some("closed: already connected to this peer"));
    lives == incoming
}

#[test]
fn of_two_crossed_connections_the_one_dialled_by_the_lower_peer_id_lives() {
    for first_incoming in [true, false] {
        // Lower than `-SL0100-…`: it keeps what it has dialled; and the other way round.
        assert!(cross(PeerId(*b"-AA0000-000000000000"), first_incoming));
        assert!(!cross(PeerId(*b"-ZZ0000-000000000000"), first_incoming));
    }
}

#[test]
fn both_ends_of_two_crossed_connections_keep_the_same_one() {
    for (secret, other_secret) in [(1, 2), (2, 1)] {
        let ends = [(secret, other_secret), (other_secret, secret)].map(|(us, them)| {
            let mut them = Setup { secret: them, ..Setup::default() }.build();
            let theirs = our_id(&mut them);
            let peers = vec![(PEER.0.to_owned(), PEER.1)];
            let mut world = Setup { secret: us, peers, ..Setup::default() }.build();
            let addr = "10.9.9.9:40000".parse().expect("an address");
            let incoming = world.knock(addr).expect("welcome");
            let dialled = world.answer_dial();
            let handshake = encode(FAST, world.info_hash, theirs);
            world.send(incoming, &handshake);
            world.send(dialled, &handshake);
            world.is_open(incoming)
        });
        assert_ne!(ends[0], ends[1], "what one end has accepted, the other has dialled");
    }
}

#[test]
fn a_second_connection_in_the_same_direction_is_a_duplicate() {
    let mut world = World::leech();
    let (first, second) = (world.accept(), world.accept());
    let handshake = encode(PLAIN, world.info_hash, peer_id(1));
    world.send(first, &handshake);
    world.send(second, &handshake);
    assert!(world.is_open(first));
    let text = "closed: already connected to this peer";
    assert_eq!(world.closed_with(second).as_deref(), Some(text));
}

/// Hosts of both families dial each other, or one dials both addresses of the other. Each end
/// hears the handshakes in an order of its own; both must keep the same connection.
#[test]
fn of_connections_over_both_families_both_ends_keep_the_same_one() {
    let v6: SocketAddr = "[2001:db8::9]:40000".parse().expect("an address");
    let (low, high) = (PeerId(*b"-AA0000-000000000000"), PeerId(*b"-ZZ0000-000000000000"));
    for v6_first in [true, false] {
        let kept = |world: &mut World, over_v4: Remote, id: PeerId| {
            let over_v6 = world.knock(v6).expect("welcome");
            let handshake = encode(FAST, world.info_hash, id);
            let both = if v6_first { [over_v6, over_v4] } else { [over_v4, over_v6] };
            for remote in both {
                world.send(remote, &handshake);
            }
            let open = [over_v4, over_v6].map(|remote| world.is_open(remote));
            assert_eq!((world.status().peers, world.status().half_open), (1, 0), "{open:?}");
            open[0]
        };
        // We have dialled the one over IPv4: it stays if we have the lower id.
        for (id, stays) in [(low, false), (high, true)] {
            let mut world = dialling();
            let over_v4 = world.answer_dial();
            assert_eq!(kept(&mut world, over_v4, id), stays, "IPv6 first: {v6_first}");
        }
        // They have dialled both: the one over IPv4 stays.
        let mut world = World::leech();
        let over_v4 = world.accept();
        assert!(kept(&mut world, over_v4, low), "IPv6 first: {v6_first}");
    }
}

#[test]
fn another_protocol_is_closed_at_its_first_byte() {
    let mut world = World::seed();
    let talker = world.accept();
    world.send(talker, b"G");
    assert_eq!(
        world.closed_with(talker).as_deref(),
        Some("invalid bytes: handshake: byte 0 is not of \"BitTorrent protocol\"")
    );
    assert_eq!(world.hear(talker), []);
}

#[test]
fn a_mute_stranger_is_closed_after_ten_seconds() {
    let mut world = World::seed();
    let mute = world.accept();
    world.advance(Duration::from_millis(9_990));
    assert!(world.is_open(mute));
    world.advance(Duration::from_millis(20));
    let text = "timed out: waiting for the handshake";
    assert_eq!(world.closed_with(mute).as_deref(), Some(text));
}

#[test]
fn a_dripping_handshake_has_ten_seconds_in_all() {
    let mut world = World::seed();
    let drip = world.accept();
    let handshake = encode(FAST, world.info_hash, peer_id(1));
    for byte in handshake.chunks(1) {
        if !world.is_open(drip) {
            break;
        }
        world.send(drip, byte);
        world.advance_s(1);
    }
    let text = "timed out: waiting for the handshake";
    assert_eq!(world.closed_with(drip).as_deref(), Some(text));
    assert!(world.now.as_micros() <= 11_000_000, "{:?}", world.now);
}

#[test]
fn a_dialled_peer_that_never_answers_is_closed_and_tried_again_later() {
    let mut world = dialling();
    let mute = world.answer_dial();
    world.advance_s(11);
    let text = "timed out: waiting for the handshake";
    assert_eq!(world.closed_with(mute).as_deref(), Some(text));
    assert_eq!(world.status().half_open, 0);
    world.advance_s(15);
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_dial_that_is_not_answered_ends_after_fifteen_seconds() {
    let mut world = dialling();
    world.advance(Duration::from_millis(14_900));
    assert_eq!((world.dials.len(), world.status().half_open), (1, 1));
    world.advance(Duration::from_millis(200));
    assert_eq!((world.dials.len(), world.status().half_open), (0, 0));
    let timed_out = |event: &Event| {
        matches!(event, Event::PeerClosed { error, .. }
            if error.to_string() == "timed out: connecting")
    };
    assert!(world.events.iter().any(timed_out));
}

#[test]
fn a_refused_dial_backs_off() {
    let mut world = dialling();
    // The user has named this address: it rests for a second, then two, and so on.
    for rest_ms in [1_000, 2_000, 4_000] {
        world.fail_dial();
        world.advance(Duration::from_millis(rest_ms - 100));
        assert!(world.dials.is_empty(), "within {rest_ms} ms");
        world.advance(Duration::from_millis(200));
        assert_eq!(world.dials.len(), 1);
    }
}

#[test]
fn what_we_have_is_said_in_the_words_that_the_remote_knows() {
    for (have, reserved, first) in [
        (vec![], FAST, Some(Said::Message(Message::HaveNone))),
        (vec![], PLAIN, None),
        ((0..8).collect(), FAST, Some(Said::Message(Message::HaveAll))),
        ((0..8).collect(), PLAIN, Some(Said::Bitfield(vec![0xff]))),
        (vec![0, 7], FAST, Some(Said::Bitfield(vec![0x81]))),
        (vec![0, 7], PLAIN, Some(Said::Bitfield(vec![0x81]))),
    ] {
        let mut world = Setup::have(have.clone()).build();
        let stranger = world.accept();
        world.send(stranger, &encode(reserved, world.info_hash, peer_id(1)));
        assert_eq!(world.hear(stranger).get(1).cloned(), first, "{have:?} {reserved:?}");
    }
}

#[test]
fn a_first_message_may_be_any_and_a_keep_alive_is_none() {
    let cases: [(&[Message], &[u8], u32); 5] = [
        (&[Message::HaveAll], &[], 8),
        (&[Message::HaveNone], &[], 0),
        (&[Message::KeepAlive], &[0xf0], 4),
        (&[], &[0xff], 8),
        (&[Message::Interested], &[], 0),
    ];
    for (messages, bits, pieces) in cases {
        let mut world = World::leech();
        let remote = world.join(FAST);
        world.say(remote, messages);
        if !bits.is_empty() {
            world.send(remote, &bitfield(bits));
        }
        assert!(world.is_open(remote), "{messages:?}: {:?}", world.closed_with(remote));
        assert_eq!(world.peer(remote).pieces_have, pieces, "{messages:?}");
    }
}

#[test]
fn a_stranger_with_the_id_of_a_peer_takes_its_place_from_the_same_address_only() {
    let mut world = dialling();
    // The lowest id there is: of two connections in both directions, its own would live.
    let id = PeerId([0; 20]);
    let seed = world.answer_dial();
    world.send(seed, &encode(FAST, world.info_hash, id));
    let thief = world.accept();
    world.send(thief, &encode(FAST, world.info_hash, id));
    assert!(world.is_open(seed));
    let refused = "closed: already connected to this peer";
    assert_eq!(world.closed_with(thief).as_deref(), Some(refused));
    // Nor from one of the other family, unless both have just come.
    world.advance_s(10);
    let thief = world.knock("[2001:db8::9]:1".parse().expect("an address")).expect("welcome");
    world.send(thief, &encode(FAST, world.info_hash, id));
    assert!(world.is_open(seed));
    assert_eq!(world.closed_with(thief).as_deref(), Some(refused));
}

#[test]
fn another_address_of_a_peer_that_is_here_is_tried_again_long_after() {
    let peers = vec![("10.9.9.1".to_owned(), 6881), ("10.9.9.2".to_owned(), 6881)];
    let mut world = Setup { peers, ..Setup::default() }.build();
    let hello = encode(FAST, world.info_hash, peer_id(9));
    let (_, spare) = world.dials[1];
    let (kept, other) = (world.answer_dial(), world.answer_dial());
    world.send(kept, &hello);
    world.send(other, &hello);
    assert_eq!((world.is_open(kept), world.is_open(other)), (true, false));
    world.advance_s(25 * 60);
    assert!(world.dials.iter().all(|(_, addr)| *addr != spare));
    world.advance_s(6 * 60);
    assert!(world.dials.iter().any(|(_, addr)| *addr == spare), "{:?}", world.dials);
}
