//! Every malformed or forbidden message with the exact words in which its connection ends.

use swarmloop::id::{Block, PieceIndex};
use swarmloop::proto::handshake::{Reserved, encode};
use swarmloop::proto::message::Message;

use crate::common::{FAST, PLAIN, Setup, World, bitfield, bytes_of, peer_id};

fn block(piece: u32, begin: u32, len: u32) -> Block {
    Block { piece: PieceIndex(piece), begin, len }
}

fn have(piece: u32) -> Message {
    Message::Have(PieceIndex(piece))
}

fn message(len: u32, rest: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes()[..], rest].concat()
}

/// A bad message after the handshake of a peer with these bits, and the end of the connection. The
/// torrent has 8 pieces of 64 KiB, the last of 24 KiB.
fn after_the_handshake() -> Vec<(&'static str, Reserved, Vec<u8>, &'static str)> {
    let one = |message: Message| bytes_of(&[message]);
    let two = |a: Message, b: Message| bytes_of(&[a, b]);
    vec![
        // Lengths.
        (
            "giant length",
            FAST,
            message(u32::MAX, &[9]),
            "invalid bytes: message: port of 4294967295 bytes",
        ),
        (
            "giant unknown",
            FAST,
            message(u32::MAX, &[20]),
            "invalid bytes: message: message 20 too long (4294967295 > 131072)",
        ),
        (
            "unknown, one too long",
            FAST,
            message(131_074, &[99]),
            "invalid bytes: message: message 99 too long (131074 > 131072)",
        ),
        (
            "100 MB of bitfield",
            FAST,
            message(100_000_000, &[5]),
            "invalid bytes: message: message 5 too long (100000000 > 262144)",
        ),
        (
            "choke with a body",
            FAST,
            message(2, &[0, 0]),
            "invalid bytes: message: choke of 2 bytes",
        ),
        (
            "unchoke with a body",
            FAST,
            message(5, &[1]),
            "invalid bytes: message: unchoke of 5 bytes",
        ),
        (
            "interested with a body",
            FAST,
            message(2, &[2]),
            "invalid bytes: message: interested of 2 bytes",
        ),
        (
            "not interested with a body",
            FAST,
            message(9, &[3]),
            "invalid bytes: message: not interested of 9 bytes",
        ),
        ("short have", FAST, message(4, &[4]), "invalid bytes: message: have of 4 bytes"),
        ("short request", FAST, message(12, &[6]), "invalid bytes: message: request of 12 bytes"),
        ("long cancel", FAST, message(14, &[8]), "invalid bytes: message: cancel of 14 bytes"),
        ("short port", FAST, message(2, &[9]), "invalid bytes: message: port of 2 bytes"),
        (
            "long suggest",
            FAST,
            message(6, &[13]),
            "invalid bytes: message: suggest piece of 6 bytes",
        ),
        (
            "have all with a body",
            FAST,
            message(2, &[14]),
            "invalid bytes: message: have all of 2 bytes",
        ),
        (
            "have none with a body",
            FAST,
            message(2, &[15]),
            "invalid bytes: message: have none of 2 bytes",
        ),
        (
            "short reject",
            FAST,
            message(5, &[16]),
            "invalid bytes: message: reject request of 5 bytes",
        ),
        (
            "short allowed fast",
            FAST,
            message(1, &[17]),
            "invalid bytes: message: allowed fast of 1 bytes",
        ),
        (
            "piece without a payload",
            FAST,
            message(9, &[7]),
            "invalid bytes: message: piece of 9 bytes",
        ),
        (
            "piece over 16 KiB",
            FAST,
            message(16_394, &[7]),
            "invalid bytes: message: message 7 too long (16394 > 16393)",
        ),
        // Bitfields.
        ("short bitfield", FAST, message(1, &[5]), "invalid bytes: message: bitfield of 1 bytes"),
        ("long bitfield", FAST, bitfield(&[0, 0]), "invalid bytes: message: bitfield of 3 bytes"),
        (
            "late bitfield",
            FAST,
            [one(have(1)), bitfield(&[1])].concat(),
            "misbehaved: sent bitfield, have-all or have-none when it was not the first message",
        ),
        (
            "second bitfield",
            FAST,
            [bitfield(&[1]), bitfield(&[1])].concat(),
            "misbehaved: sent bitfield, have-all or have-none when it was not the first message",
        ),
        (
            "have all after have none",
            FAST,
            two(Message::HaveNone, Message::HaveAll),
            "misbehaved: sent bitfield, have-all or have-none when it was not the first message",
        ),
        (
            "late have none",
            FAST,
            two(Message::Interested, Message::HaveNone),
            "misbehaved: sent bitfield, have-all or have-none when it was not the first message",
        ),
        // Piece numbers.
        (
            "have one beyond",
            FAST,
            one(have(8)),
            "misbehaved: named piece 8, which the torrent does not have",
        ),
        (
            "have far beyond",
            FAST,
            one(have(u32::MAX)),
            "misbehaved: named piece 4294967295, which the torrent does not have",
        ),
        (
            "suggest beyond",
            FAST,
            one(Message::SuggestPiece(PieceIndex(8))),
            "misbehaved: named piece 8, which the torrent does not have",
        ),
        (
            "allowed fast beyond",
            FAST,
            one(Message::AllowedFast(PieceIndex(9))),
            "misbehaved: named piece 9, which the torrent does not have",
        ),
        // BEP 6 without having offered it.
        (
            "have all",
            PLAIN,
            one(Message::HaveAll),
            "misbehaved: used the fast extension without having offered it",
        ),
        (
            "have none",
            PLAIN,
            one(Message::HaveNone),
            "misbehaved: used the fast extension without having offered it",
        ),
        (
            "suggest",
            PLAIN,
            one(Message::SuggestPiece(PieceIndex(0))),
            "misbehaved: used the fast extension without having offered it",
        ),
        (
            "reject",
            PLAIN,
            one(Message::RejectRequest(block(0, 0, 16_384))),
            "misbehaved: used the fast extension without having offered it",
        ),
        (
            "allowed fast",
            PLAIN,
            one(Message::AllowedFast(PieceIndex(0))),
            "misbehaved: used the fast extension without having offered it",
        ),
        // Ranges.
        (
            "reject of nothing",
            FAST,
            one(Message::RejectRequest(block(0, 0, 16_384))),
            "misbehaved: rejected a request that was not made",
        ),
        (
            "request beyond the torrent",
            FAST,
            one(Message::Request(block(8, 0, 16_384))),
            "misbehaved: requested a range outside the piece or over 128 KiB",
        ),
        (
            "request of nothing",
            FAST,
            one(Message::Request(block(0, 0, 0))),
            "misbehaved: requested a range outside the piece or over 128 KiB",
        ),
        (
            "request over the end",
            FAST,
            one(Message::Request(block(7, 16_384, 8_193))),
            "misbehaved: requested a range outside the piece or over 128 KiB",
        ),
        (
            "request of 2^31",
            FAST,
            one(Message::Request(block(0, 0, 1 << 31))),
            "misbehaved: requested a range outside the piece or over 128 KiB",
        ),
        (
            "request that wraps",
            FAST,
            one(Message::Request(block(0, u32::MAX, 2))),
            "misbehaved: requested a range outside the piece or over 128 KiB",
        ),
    ]
}

#[test]
fn each_malformed_message_ends_its_connection_in_its_own_words() {
    for (name, reserved, bytes, text) in after_the_handshake() {
        for chunk in [usize::MAX, 1] {
            let mut world = World::leech();
            world.chunk = chunk;
            let remote = world.join(reserved);
            world.send(remote, &bytes);
            assert_eq!(world.closed_with(remote).as_deref(), Some(text), "{name}");
            assert!(!world.is_open(remote), "{name}");
            assert!(!world.is_banned(remote), "{name}: nobody is banned for a bug");
        }
    }
}

#[test]
fn each_malformed_handshake_ends_its_connection_at_the_first_wrong_byte() {
    let good = encode(FAST, World::seed().info_hash, peer_id(1));
    for at in 0..20 {
        let mut bytes = good;
        bytes[at] ^= 0x20;
        let mut world = World::seed();
        let stranger = world.accept();
        world.send(stranger, &bytes[..=at]);
        let text = format!("invalid bytes: handshake: byte {at} is not of \"BitTorrent protocol\"");
        assert_eq!(world.closed_with(stranger), Some(text));
        assert_eq!(world.hear(stranger), []);
    }
}

#[test]
fn a_bitfield_with_a_spare_bit_is_refused() {
    for (pieces, payload) in [(9, [0x80, 0x40]), (15, [0, 1]), (12, [0xff, 0xff])] {
        let mut world = Setup::default().pieces(pieces).build();
        let remote = world.join(FAST);
        world.send(remote, &bitfield(&payload));
        let text = "invalid bytes: bitfield with a spare bit set";
        assert_eq!(world.closed_with(remote).as_deref(), Some(text), "{pieces} pieces");
    }
}

#[test]
fn a_range_larger_than_anybody_serves_is_refused_even_within_a_piece() {
    let mut world = Setup::seed().piece_blocks(16).build();
    let remote = world.join_leech(FAST);
    world.say(remote, &[Message::Request(block(0, 0, 128 * 1024))]);
    let rejected = Message::RejectRequest(block(0, 0, 128 * 1024));
    assert!(world.messages(remote).contains(&rejected));
    world.say(remote, &[Message::Request(block(0, 0, 128 * 1024 + 1))]);
    let text = "misbehaved: requested a range outside the piece or over 128 KiB";
    assert_eq!(world.closed_with(remote).as_deref(), Some(text));
}

#[test]
fn messages_that_nobody_knows_are_skipped_up_to_their_limit() {
    let mut world = World::leech();
    let remote = world.join(FAST);
    for (id, body) in [(20, 0), (20, 131_072), (77, 5), (255, 1)] {
        world.send(remote, &[&message(body + 1, &[id])[..], &vec![7; body as usize]].concat());
    }
    world.say(remote, &[Message::Port(6881), Message::SuggestPiece(PieceIndex(3)), have(2)]);
    assert!(world.is_open(remote), "{:?}", world.closed_with(remote));
    assert_eq!(world.peer(remote).pieces_have, 1);
}
