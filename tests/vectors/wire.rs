//! Beginnings of messages behind a handshake, which anacrolix/torrent keeps as seeds of its fuzzer
//! (`peer_protocol/testdata/fuzz/FuzzDecoder`): each made some decoder wait for too much, or fall.

use swarmloop::id::{Block, PieceIndex};
use swarmloop::proto::message::{Head, Message, MessageError, decode_head};

#[test]
fn beginnings_of_messages_are_waited_for_or_refused() {
    // 48 bytes of a block, of which the place is not here yet, and with it.
    assert_eq!(decode_head(b"\x00\x00\x00\x30\x07"), Ok(None));
    let block = Block { piece: PieceIndex(0x3030_3030), begin: 0x3030_3030, len: 0x30 - 9 };
    let head = decode_head(b"\x00\x00\x00\x30\x0700000000");
    assert_eq!(head, Ok(Some(Head::Piece(block))));
    let head = decode_head(
        b"\x00\x00\x00\x33\x07\x17\x08\x92\xf3\x02\xd5\x18\x39\x36\x25\x7e\xd2\x51\x84\x62\x18",
    );
    assert!(matches!(head, Ok(Some(Head::Piece(Block { len: 0x2a, .. })))), "{head:?}");
    // 47 bytes of a bitfield, and of an extended message without the byte that says which.
    assert_eq!(decode_head(b"\x00\x00\x00\x30\x05"), Ok(Some(Head::Bitfield(0x2f))));
    let head = decode_head(b"\x00\x00\x00\x30\x14");
    assert!(matches!(head, Ok(None | Some(Head::Unknown { id: 20, len: 0x2f }))), "{head:?}");
    // A piece that no torrent of these sizes has: the peer's owner refuses it.
    let message = Message::AllowedFast(PieceIndex(0x3030_3030));
    assert_eq!(decode_head(b"\x00\x00\x00\x05\x110000"), Ok(Some(Head::Message(message, 9))));
    let error = MessageError::Length { name: "reject request", len: 1 };
    assert_eq!(decode_head(b"\x00\x00\x00\x01\x10"), Err(error));
}
