//! Peer messages: a length, an id, a fixed layout each (BEP 3 "peer messages", BEP 6).
//!
//! ```text
//!  0        4    5        9        13       17
//!  ├─length─┼─id─┼─index──┼─begin──┼─len────┤   request, cancel, reject request
//!  ├─length─┼─id─┼─index──┼─begin──┼─payload…   piece
//!  ├─length─┼─id─┼─index──┤                     have, suggest piece, allowed fast
//!  ├─length─┼─id─┤                              choke … not interested, have all, have none
//!  ├─length─┼─20─┼id┼─body…                     extended (BEP 10)
//! ```
//!
//! All numbers are big-endian. Bodies without a fixed layout (`bitfield`, payload) are left to
//! [`crate::wire`], which knows where they are to land; their length is checked here, before
//! anything waits for them.

use super::extended;
use crate::id::{Block, PieceIndex};

/// The most bytes from the length prefix to the end of a fixed layout: `request`.
pub const MAX_FIXED_LEN: usize = 17;
/// Bytes of a `piece` message before its payload, the length prefix included.
pub const PIECE_HEADER_LEN: usize = 13;
/// The id of every message of the extension protocol (BEP 10).
pub const EXTENDED_ID: u8 = 20;
/// Bytes of an extended message before its body, the length prefix included.
pub const EXTENDED_HEADER_LEN: usize = 6;
/// The longest block that a `piece` message may carry, in bytes. We never ask for more than 16 KiB;
/// a longer one is not of our asking, and is refused before it is read.
pub const MAX_BLOCK_LEN: u32 = 16 * 1024;
/// The longest message of an id that we do not know, in bytes after the length prefix; it is
/// skipped. Extended messages (BEP 10) are the longest that a client could send unasked
/// (security.md 2.2, row 14); those that we have asked for have bounds of their own
/// ([`extended::max_len`]).
pub const MAX_UNKNOWN_LEN: u32 = 128 * 1024;

/// A message whose layout is fixed. Piece numbers and ranges are as the remote sent them: whoever
/// takes the message checks them against the torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// A length of zero.
    KeepAlive,
    /// Id 0: requests are not answered.
    Choke,
    /// Id 1: requests are answered.
    Unchoke,
    /// Id 2: the sender wants a piece of ours.
    Interested,
    /// Id 3: the sender wants nothing of ours.
    NotInterested,
    /// Id 4: the sender has this piece now.
    Have(PieceIndex),
    /// Id 6: the sender wants this block.
    Request(Block),
    /// Id 8: the sender does not want this block any more.
    Cancel(Block),
    /// Id 9: the UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// Id 13: a piece that the sender would like to be asked for (BEP 6).
    SuggestPiece(PieceIndex),
    /// Id 14: the sender has every piece (BEP 6).
    HaveAll,
    /// Id 15: the sender has no piece (BEP 6).
    HaveNone,
    /// Id 16: the sender will not answer this request (BEP 6).
    RejectRequest(Block),
    /// Id 17: this piece may be requested while choked (BEP 6).
    AllowedFast(PieceIndex),
}

/// What the first bytes of a message say about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// The whole message: it took so many bytes.
    Message(Message, usize),
    /// A `piece` whose payload of `block.len` bytes follows the [`PIECE_HEADER_LEN`] bytes.
    Piece(Block),
    /// A `bitfield` whose payload of so many bytes follows the 5 bytes of length and id.
    Bitfield(u32),
    /// An extended message (BEP 10) that we hear under this id, whose body of so many bytes follows
    /// the [`EXTENDED_HEADER_LEN`] bytes.
    Extended {
        /// The id within the extension protocol.
        id: u8,
        /// Bytes of the body.
        len: u32,
    },
    /// A message of an unknown id whose body of so many bytes follows the 5 bytes of length and id.
    Unknown {
        /// The id.
        id: u8,
        /// Bytes of the body.
        len: u32,
    },
}

/// A message that cannot be: always the sender's fault; the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The length does not fit the id's layout.
    #[error("{name} of {len} bytes")]
    Length {
        /// The message's name.
        name: &'static str,
        /// What the length prefix said.
        len: u32,
    },
    /// The message is longer than any of its kind may be.
    #[error("message {id} too long ({len} > {max})")]
    TooLong {
        /// The message's id.
        id: u8,
        /// What the length prefix said.
        len: u32,
        /// The most that it may say.
        max: u32,
    },
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads the start of a message from `bytes`; `None` if more bytes are needed to tell.
///
/// Nothing is allocated, and no length is believed beyond its limit: a giant prefix is refused at
/// its fifth byte.
///
/// # Errors
/// [`MessageError`]: the sender's fault.
pub fn decode_head(bytes: &[u8]) -> Result<Option<Head>, MessageError> {
    let Some(len) = be_u32(bytes, 0) else { return Ok(None) };
    if len == 0 {
        return Ok(Some(Head::Message(Message::KeepAlive, 4)));
    }
    let Some(&id) = bytes.get(4) else { return Ok(None) };
    let body = len - 1;
    match id {
        5 => return bitfield_head(body).map(Some),
        7 => return piece_head(bytes, len),
        EXTENDED_ID => return extended_head(bytes, len),
        _ => {}
    }
    let Some((name, want)) = fixed_layout(id) else {
        return match body {
            ..=MAX_UNKNOWN_LEN => Ok(Some(Head::Unknown { id, len: body })),
            _ => Err(MessageError::TooLong { id, len, max: MAX_UNKNOWN_LEN }),
        };
    };
    if body != want {
        return Err(MessageError::Length { name, len });
    }
    Ok(decode_fixed(id, bytes))
}

/// Returns the name and the body length of the ids with a fixed layout.
const fn fixed_layout(id: u8) -> Option<(&'static str, u32)> {
    Some(match id {
        0 => ("choke", 0),
        1 => ("unchoke", 0),
        2 => ("interested", 0),
        3 => ("not interested", 0),
        4 => ("have", 4),
        6 => ("request", 12),
        8 => ("cancel", 12),
        9 => ("port", 2),
        13 => ("suggest piece", 4),
        14 => ("have all", 0),
        15 => ("have none", 0),
        16 => ("reject request", 12),
        17 => ("allowed fast", 4),
        _ => return None,
    })
}

/// The longest bitfield: one bit for each of the most pieces that a torrent may have (2^21).
const MAX_BITFIELD_LEN: u32 = (1 << 21) / 8;

const fn bitfield_head(body: u32) -> Result<Head, MessageError> {
    if body > MAX_BITFIELD_LEN {
        return Err(MessageError::TooLong { id: 5, len: body + 1, max: MAX_BITFIELD_LEN });
    }
    Ok(Head::Bitfield(body))
}

fn piece_head(bytes: &[u8], len: u32) -> Result<Option<Head>, MessageError> {
    let max = MAX_BLOCK_LEN + 9;
    match len {
        ..=9 => return Err(MessageError::Length { name: "piece", len }),
        _ if len > max => return Err(MessageError::TooLong { id: 7, len, max }),
        _ => {}
    }
    let (Some(piece), Some(begin)) = (be_u32(bytes, 5), be_u32(bytes, 9)) else {
        return Ok(None);
    };
    Ok(Some(Head::Piece(Block { piece: PieceIndex(piece), begin, len: len - 9 })))
}

/// Reads the start of an extended message; one that we do not hear is as good as one of an unknown
/// id. Such messages are few: those that are many do not pay for it.
#[cold]
fn extended_head(bytes: &[u8], len: u32) -> Result<Option<Head>, MessageError> {
    let too_long = |max| MessageError::TooLong { id: EXTENDED_ID, len, max };
    match len {
        ..=1 => return Err(MessageError::Length { name: "extended message", len }),
        _ if len - 1 > MAX_UNKNOWN_LEN => return Err(too_long(MAX_UNKNOWN_LEN)),
        _ => {}
    }
    let Some(&id) = bytes.get(5) else { return Ok(None) };
    match extended::max_len(id) {
        Some(max) if len - 2 > max => Err(too_long(max + 2)),
        Some(_) => Ok(Some(Head::Extended { id, len: len - 2 })),
        None => Ok(Some(Head::Unknown { id: EXTENDED_ID, len: len - 1 })),
    }
}

fn decode_fixed(id: u8, bytes: &[u8]) -> Option<Head> {
    let index = |at| be_u32(bytes, at).map(PieceIndex);
    let block =
        || Some(Block { piece: index(5)?, begin: be_u32(bytes, 9)?, len: be_u32(bytes, 13)? });
    Some(match id {
        0 => Head::Message(Message::Choke, 5),
        1 => Head::Message(Message::Unchoke, 5),
        2 => Head::Message(Message::Interested, 5),
        3 => Head::Message(Message::NotInterested, 5),
        4 => Head::Message(Message::Have(index(5)?), 9),
        6 => Head::Message(Message::Request(block()?), 17),
        8 => Head::Message(Message::Cancel(block()?), 17),
        9 => {
            let port = u16::from_be_bytes(*bytes.get(5..)?.first_chunk()?);
            Head::Message(Message::Port(port), 7)
        }
        13 => Head::Message(Message::SuggestPiece(index(5)?), 9),
        14 => Head::Message(Message::HaveAll, 5),
        15 => Head::Message(Message::HaveNone, 5),
        16 => Head::Message(Message::RejectRequest(block()?), 17),
        _ => Head::Message(Message::AllowedFast(index(5)?), 9),
    })
}

impl Message {
    /// Appends the message, its length prefix first: 4 to [`MAX_FIXED_LEN`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::KeepAlive => out.extend_from_slice(&[0; 4]),
            Self::Choke => flag(0, out),
            Self::Unchoke => flag(1, out),
            Self::Interested => flag(2, out),
            Self::NotInterested => flag(3, out),
            Self::Have(piece) => indexed(4, piece, out),
            Self::Request(block) => ranged(6, block, out),
            Self::Cancel(block) => ranged(8, block, out),
            Self::Port(port) => {
                out.extend_from_slice(&[0, 0, 0, 3, 9]);
                out.extend_from_slice(&port.to_be_bytes());
            }
            Self::SuggestPiece(piece) => indexed(13, piece, out),
            Self::HaveAll => flag(14, out),
            Self::HaveNone => flag(15, out),
            Self::RejectRequest(block) => ranged(16, block, out),
            Self::AllowedFast(piece) => indexed(17, piece, out),
        }
    }
}

fn flag(id: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 1, id]);
}

fn indexed(id: u8, piece: PieceIndex, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 5, id]);
    out.extend_from_slice(&piece.0.to_be_bytes());
}

fn ranged(id: u8, block: Block, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 13, id]);
    out.extend_from_slice(&block.piece.0.to_be_bytes());
    out.extend_from_slice(&block.begin.to_be_bytes());
    out.extend_from_slice(&block.len.to_be_bytes());
}

/// Returns the bytes of a `piece` message before its payload of `block.len` bytes.
pub fn piece_header(block: Block) -> [u8; PIECE_HEADER_LEN] {
    let mut header = [0; PIECE_HEADER_LEN];
    header[..4].copy_from_slice(&(block.len + 9).to_be_bytes());
    header[4] = 7;
    header[5..9].copy_from_slice(&block.piece.0.to_be_bytes());
    header[9..].copy_from_slice(&block.begin.to_be_bytes());
    header
}

/// Appends the length and id of a `bitfield` message whose payload of `len` bytes follows.
pub fn encode_bitfield_head(len: usize, out: &mut Vec<u8>) {
    let prefix = u32::try_from(len + 1).expect("a bitfield has at most 2^18 bytes");
    out.extend_from_slice(&prefix.to_be_bytes());
    out.push(5);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Block = Block { piece: PieceIndex(0x0102_0304), begin: 0x4000, len: 0x4000 };
    const ALL: [(Message, &[u8]); 14] = [
        (Message::KeepAlive, &[0, 0, 0, 0]),
        (Message::Choke, &[0, 0, 0, 1, 0]),
        (Message::Unchoke, &[0, 0, 0, 1, 1]),
        (Message::Interested, &[0, 0, 0, 1, 2]),
        (Message::NotInterested, &[0, 0, 0, 1, 3]),
        (Message::Have(PieceIndex(258)), &[0, 0, 0, 5, 4, 0, 0, 1, 2]),
        (Message::Request(BLOCK), &[0, 0, 0, 13, 6, 1, 2, 3, 4, 0, 0, 64, 0, 0, 0, 64, 0]),
        (Message::Cancel(BLOCK), &[0, 0, 0, 13, 8, 1, 2, 3, 4, 0, 0, 64, 0, 0, 0, 64, 0]),
        (Message::Port(6881), &[0, 0, 0, 3, 9, 0x1a, 0xe1]),
        (Message::SuggestPiece(PieceIndex(7)), &[0, 0, 0, 5, 13, 0, 0, 0, 7]),
        (Message::HaveAll, &[0, 0, 0, 1, 14]),
        (Message::HaveNone, &[0, 0, 0, 1, 15]),
        (Message::RejectRequest(BLOCK), &[0, 0, 0, 13, 16, 1, 2, 3, 4, 0, 0, 64, 0, 0, 0, 64, 0]),
        (Message::AllowedFast(PieceIndex(9)), &[0, 0, 0, 5, 17, 0, 0, 0, 9]),
    ];

    #[test]
    fn every_message_has_its_bytes_and_back() {
        for (message, bytes) in ALL {
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, bytes, "{message:?}");
            assert_eq!(decode_head(&out), Ok(Some(Head::Message(message, bytes.len()))));
            out.extend_from_slice(&[0xff; 20]);
            assert_eq!(decode_head(&out), Ok(Some(Head::Message(message, bytes.len()))));
        }
    }

    #[test]
    fn every_truncation_asks_for_more() {
        for (message, bytes) in ALL {
            for len in 0..bytes.len() {
                assert_eq!(decode_head(&bytes[..len]), Ok(None), "{message:?} cut to {len}");
            }
        }
        let header = piece_header(BLOCK);
        for len in 0..header.len() {
            assert_eq!(decode_head(&header[..len]), Ok(None), "piece cut to {len}");
        }
        assert_eq!(decode_head(&header), Ok(Some(Head::Piece(BLOCK))));
    }

    #[test]
    fn bodies_are_announced_with_their_length() {
        let mut out = Vec::new();
        encode_bitfield_head(3, &mut out);
        assert_eq!(decode_head(&out), Ok(Some(Head::Bitfield(3))));
        assert_eq!(decode_head(&[0, 0, 0, 9, 20]), Ok(None));
        let extended = |id| decode_head(&[0, 0, 0, 9, 20, id]);
        assert_eq!(extended(0), Ok(Some(Head::Extended { id: 0, len: 7 })));
        assert_eq!(extended(2), Ok(Some(Head::Extended { id: 2, len: 7 })));
        assert_eq!(extended(99), Ok(Some(Head::Unknown { id: 20, len: 8 })));
        assert_eq!(
            decode_head(&[0, 2, 0, 1, 99]),
            Ok(Some(Head::Unknown { id: 99, len: 131_072 }))
        );
    }

    #[test]
    fn impossible_messages_are_refused_at_their_fifth_byte() {
        for (bytes, error) in [
            (&[0, 0, 0, 2, 0][..], "choke of 2 bytes"),
            (&[0, 0, 0, 9, 1], "unchoke of 9 bytes"),
            (&[0, 0, 0, 2, 2], "interested of 2 bytes"),
            (&[0, 0, 0, 2, 3], "not interested of 2 bytes"),
            (&[0, 0, 0, 1, 4], "have of 1 bytes"),
            (&[0, 0, 0, 6, 4], "have of 6 bytes"),
            (&[0, 0, 0, 12, 6], "request of 12 bytes"),
            (&[0, 0, 0, 14, 6], "request of 14 bytes"),
            (&[0, 0, 0, 9, 7], "piece of 9 bytes"),
            (&[0, 0, 0, 1, 7], "piece of 1 bytes"),
            (&[0, 0, 64, 10, 7], "message 7 too long (16394 > 16393)"),
            (&[0, 0, 0, 5, 8], "cancel of 5 bytes"),
            (&[0, 0, 0, 2, 9], "port of 2 bytes"),
            (&[0, 0, 0, 5, 14], "have all of 5 bytes"),
            (&[0, 0, 0, 5, 15], "have none of 5 bytes"),
            (&[0, 0, 0, 17, 16], "reject request of 17 bytes"),
            (&[0, 0, 0, 1, 17], "allowed fast of 1 bytes"),
            (&[0, 0, 0, 9, 13], "suggest piece of 9 bytes"),
            (&[0, 4, 0, 2, 5], "message 5 too long (262146 > 262144)"),
            (&[0, 2, 0, 2, 20], "message 20 too long (131074 > 131072)"),
            (&[0, 0, 0, 1, 20], "extended message of 1 bytes"),
            (&[0, 0, 0x20, 3, 20, 0], "message 20 too long (8195 > 8194)"),
            (&[0, 0, 0x44, 3, 20, 2], "message 20 too long (17411 > 17410)"),
            (&[0, 0, 0, 7, 20, 4], "message 20 too long (7 > 6)"),
            (&[0xff, 0xff, 0xff, 0xff, 7], "message 7 too long (4294967295 > 16393)"),
            (&[0xff, 0xff, 0xff, 0xff, 5], "message 5 too long (4294967295 > 262144)"),
            (&[0xff, 0xff, 0xff, 0xff, 0], "choke of 4294967295 bytes"),
        ] {
            let got = decode_head(bytes).map_err(|e| e.to_string());
            assert_eq!(got, Err(error.to_owned()), "{bytes:?}");
        }
    }
}
