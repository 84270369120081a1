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

/// A name, the handshake's bits, what follows it, and the words in which the connection ends.
type Row = (&'static str, Reserved, Vec<u8>, String);

/// Lengths that no message of this id has, told at the fifth byte.
fn lengths() -> impl Iterator<Item = Row> {
    let rows = [
        (u32::MAX, 9, "port of 4294967295 bytes"),
        (u32::MAX, 20, "message 20 too long (4294967295 > 131072)"),
        (131_074, 99, "message 99 too long (131074 > 131072)"),
        (100_000_000, 5, "message 5 too long (100000000 > 262144)"),
        (2, 0, "choke of 2 bytes"),
        (5, 1, "unchoke of 5 bytes"),
        (2, 2, "interested of 2 bytes"),
        (9, 3, "not interested of 9 bytes"),
        (4, 4, "have of 4 bytes"),
        (6, 4, "have of 6 bytes"),
        (12, 6, "request of 12 bytes"),
        (14, 8, "cancel of 14 bytes"),
        (2, 9, "port of 2 bytes"),
        (6, 13, "suggest piece of 6 bytes"),
        (2, 14, "have all of 2 bytes"),
        (2, 15, "have none of 2 bytes"),
        (5, 16, "reject request of 5 bytes"),
        (1, 17, "allowed fast of 1 bytes"),
        (9, 7, "piece of 9 bytes"),
        (16_394, 7, "message 7 too long (16394 > 16393)"),
        // The torrent has 8 pieces: one byte.
        (1, 5, "bitfield of 1 bytes"),
        (3, 5, "bitfield of 3 bytes"),
    ];
    rows.into_iter().map(|(len, id, text)| {
        (text, FAST, message(len, &[id]), format!("invalid bytes: message: {text}"))
    })
}

/// Messages that are well formed and forbidden. The torrent has 8 pieces of 64 KiB, the last of 24
/// KiB.
fn forbidden() -> impl Iterator<Item = Row> {
    const LATE: &str = "sent have-none when it was not the first message";
    const NOT_OFFERED: &str = "used the fast extension without having offered it";
    const RANGE: &str = "requested a range outside the piece or over 128 KiB";
    const BEYOND: &str = "named piece 8, which the torrent does not have";
    const FAR_BEYOND: &str = "named piece 4294967295, which the torrent does not have";
    let one = |message: Message| bytes_of(&[message]);
    let two = |a: Message, b: Message| bytes_of(&[a, b]);
    let request = |piece, begin, len| one(Message::Request(block(piece, begin, len)));
    let reject = one(Message::RejectRequest(block(0, 0, 16_384)));
    let (suggest, allow) = (Message::SuggestPiece, Message::AllowedFast);
    let rows = [
        ("have none twice", FAST, two(Message::HaveNone, Message::HaveNone), LATE),
        ("have none after all", FAST, two(Message::HaveAll, Message::HaveNone), LATE),
        ("late have none", FAST, two(Message::Interested, Message::HaveNone), LATE),
        ("have beyond", FAST, one(have(8)), BEYOND),
        ("have far beyond", FAST, one(have(u32::MAX)), FAR_BEYOND),
        ("suggest beyond", FAST, one(suggest(PieceIndex(8))), BEYOND),
        ("allow beyond", FAST, one(allow(PieceIndex(8))), BEYOND),
        ("have all, plain", PLAIN, one(Message::HaveAll), NOT_OFFERED),
        ("have none, plain", PLAIN, one(Message::HaveNone), NOT_OFFERED),
        ("suggest, plain", PLAIN, one(suggest(PieceIndex(0))), NOT_OFFERED),
        ("reject, plain", PLAIN, reject.clone(), NOT_OFFERED),
        ("allow, plain", PLAIN, one(allow(PieceIndex(0))), NOT_OFFERED),
        ("reject of nothing", FAST, reject, "rejected a request that was not made"),
        ("request beyond the torrent", FAST, request(8, 0, 16_384), RANGE),
        ("request of nothing", FAST, request(0, 0, 0), RANGE),
        ("request over the end", FAST, request(7, 16_384, 8_193), RANGE),
        ("request of 2^31", FAST, request(0, 0, 1 << 31), RANGE),
        ("request that wraps", FAST, request(0, u32::MAX, 2), RANGE),
    ];
    let rows = rows.into_iter();
    rows.map(|(name, bits, bytes, text)| (name, bits, bytes, format!("misbehaved: {text}")))
}

#[test]
fn each_malformed_message_ends_its_connection_in_its_own_words() {
    for (name, reserved, bytes, text) in lengths().chain(forbidden()) {
        for chunk in [usize::MAX, 1] {
            let mut world = World::leech();
            world.chunk = chunk;
            let remote = world.join(reserved);
            world.send(remote, &bytes);
            assert_eq!(world.closed_with(remote), Some(text.clone()), "{name}");
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
    for (id, body) in [(21, 0), (20, 131_072), (77, 5), (255, 1)] {
        world.send(remote, &[&message(body + 1, &[id])[..], &vec![7; body as usize]].concat());
    }
    world.say(remote, &[Message::Port(6881), Message::SuggestPiece(PieceIndex(3)), have(2)]);
    assert!(world.is_open(remote), "{:?}", world.closed_with(remote));
    assert_eq!(world.peer(remote).pieces_have, 1);
}

/// Security.md 2.2, row 27: some are ignored, and no more.
#[test]
fn a_flood_of_messages_that_nobody_knows_is_closed() {
    for ids in [&[23][..], &[20, 99], &[255]] {
        let mut world = World::leech();
        let remote = world.join(FAST);
        let unknown = [&message(40, ids)[..], &vec![7; 40 - ids.len()]].concat();
        world.send(remote, &unknown.repeat(900));
        assert!(world.is_open(remote), "{:?}", world.closed_with(remote));
        world.send(remote, &unknown.repeat(200));
        let text = "misbehaved: flooded with useless messages";
        assert_eq!(world.closed_with(remote).as_deref(), Some(text));
    }
}
