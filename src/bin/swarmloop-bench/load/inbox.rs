//! Bytes from a socket to messages, in place.
//!
//! The bytes lie in a buffer that all connections share, so nothing of it is kept: payload is
//! compared as it comes, a bitfield is told byte by byte, and only a header that is cut off waits
//! in the connection.

use swarmloop::geometry::Geometry;
use swarmloop::id::{Block, InfoHash, PieceIndex};
use swarmloop::proto::handshake::{self, HANDSHAKE_LEN, HEAD_LEN, Reserved};
use swarmloop::proto::message::{
    self, EXTENDED_HEADER_LEN, Head, MAX_FIXED_LEN, Message, PIECE_HEADER_LEN,
};

use super::tally::Cause;
use crate::payload::Payload;

/// Where a connection is in what the client sends.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: State,
    /// The start of a handshake or header that is not whole yet.
    carry: [u8; HANDSHAKE_LEN],
    /// Bytes in `carry`.
    carried: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Handshake,
    Header,
    /// In the payload of a `piece` message, after so many bytes of it.
    Payload {
        block: Block,
        done: u32,
        good: bool,
    },
    /// In a bitfield; the next byte is about the pieces from `first` on.
    Bits {
        first: u32,
        left: u32,
    },
    /// In a body that is of no interest.
    Skip {
        left: u32,
    },
}

/// What the client has said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Its handshake, for our torrent.
    Handshake(Reserved),
    /// A message without a body.
    Message(Message),
    /// A byte of its bitfield: bit 7 is piece `first`.
    Bits { first: u32, byte: u8 },
    /// A whole block, and whether every byte of it is right.
    Block { block: Block, good: bool },
}

impl Inbox {
    pub(crate) const fn new() -> Self {
        Self { state: State::Handshake, carry: [0; HANDSHAKE_LEN], carried: 0 }
    }

    /// Takes bytes from the front of `bytes` up to the next step; `None` if there are not enough,
    /// and `bytes` is then empty.
    ///
    /// # Errors
    /// The client's fault; the connection must be closed.
    pub(crate) fn next(
        &mut self,
        bytes: &mut &[u8],
        payload: &Payload,
    ) -> Result<Option<Step>, Cause> {
        while !bytes.is_empty() {
            let step = match self.state {
                State::Handshake => self.handshake(bytes, payload.info_hash())?,
                State::Header => self.header(bytes, payload.geometry)?,
                State::Payload { block, done, good } => {
                    self.payload(bytes, payload, (block, done, good))
                }
                State::Bits { first, left } => Some(self.bits(bytes, first, left)),
                State::Skip { left } => {
                    let now = take(bytes, left);
                    self.state = skip(left - len(now));
                    None
                }
            };
            if step.is_some() {
                return Ok(step);
            }
        }
        Ok(None)
    }

    fn handshake(&mut self, bytes: &mut &[u8], ours: InfoHash) -> Result<Option<Step>, Cause> {
        self.carry_up_to(HANDSHAKE_LEN, bytes);
        handshake::check_prefix(&self.carry[..self.carried]).map_err(|_| Cause::Protocol)?;
        if self.carried < HANDSHAKE_LEN {
            return Ok(None);
        }
        let head: &[u8; HEAD_LEN] = self.carry.first_chunk().expect("48 of 68 bytes");
        let (reserved, info_hash) = handshake::decode_head(head);
        if info_hash != ours {
            return Err(Cause::OtherTorrent);
        }
        self.carried = 0;
        self.state = State::Header;
        Ok(Some(Step::Handshake(reserved)))
    }

    fn header(&mut self, bytes: &mut &[u8], geometry: Geometry) -> Result<Option<Step>, Cause> {
        if self.carried == 0 {
            // Nearly always: the whole header is there, and is read where it lies.
            let head = message::decode_head(bytes).map_err(|_| Cause::Protocol)?;
            let Some(head) = head else {
                self.carry_up_to(MAX_FIXED_LEN, bytes);
                return Ok(None);
            };
            *bytes = &bytes[head_len(head)..];
            return self.enter(head, geometry);
        }
        let before = self.carried;
        let mut rest = *bytes;
        self.carry_up_to(MAX_FIXED_LEN, &mut rest);
        let head =
            message::decode_head(&self.carry[..self.carried]).map_err(|_| Cause::Protocol)?;
        let Some(head) = head else {
            *bytes = rest;
            return Ok(None);
        };
        // What was carried was no whole header, so the header ends in these bytes.
        *bytes = &bytes[head_len(head) - before..];
        self.carried = 0;
        self.enter(head, geometry)
    }

    /// Goes on after a header.
    fn enter(&mut self, head: Head, geometry: Geometry) -> Result<Option<Step>, Cause> {
        match head {
            Head::Message(message, _) => return Ok(Some(Step::Message(message))),
            Head::Piece(block) if geometry.contains(block) => {
                self.state = State::Payload { block, done: 0, good: true };
            }
            Head::Piece(_) => return Err(Cause::Protocol),
            Head::Bitfield(left) => {
                if left != geometry.pieces().div_ceil(8) {
                    return Err(Cause::Protocol);
                }
                self.state = State::Bits { first: 0, left };
            }
            Head::Extended { len, .. } | Head::Unknown { len, .. } => self.state = skip(len),
        }
        Ok(None)
    }

    fn payload(
        &mut self,
        bytes: &mut &[u8],
        payload: &Payload,
        (block, done, good): (Block, u32, bool),
    ) -> Option<Step> {
        let now = take(bytes, block.len - done);
        let good = good && now == payload.block(block.piece, block.begin + done, now.len());
        let done = done + len(now);
        if done < block.len {
            self.state = State::Payload { block, done, good };
            return None;
        }
        self.state = State::Header;
        Some(Step::Block { block, good })
    }

    fn bits(&mut self, bytes: &mut &[u8], first: u32, left: u32) -> Step {
        let byte = take(bytes, 1)[0];
        self.state = match left {
            1 => State::Header,
            _ => State::Bits { first: first + 8, left: left - 1 },
        };
        Step::Bits { first, byte }
    }

    /// Moves bytes into `carry` until it has `want`.
    fn carry_up_to(&mut self, want: usize, bytes: &mut &[u8]) {
        let n = bytes.len().min(want - self.carried);
        let (now, rest) = bytes.split_at(n);
        self.carry[self.carried..self.carried + n].copy_from_slice(now);
        self.carried += n;
        *bytes = rest;
    }
}

/// Returns how many bytes a header has.
const fn head_len(head: Head) -> usize {
    match head {
        Head::Message(_, len) => len,
        Head::Piece(_) => PIECE_HEADER_LEN,
        Head::Bitfield(_) | Head::Unknown { .. } => 5,
        Head::Extended { .. } => EXTENDED_HEADER_LEN,
    }
}

const fn skip(left: u32) -> State {
    if left == 0 { State::Header } else { State::Skip { left } }
}

/// Takes up to `max` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], max: u32) -> &'a [u8] {
    let n = usize::try_from(max).map_or(bytes.len(), |max| max.min(bytes.len()));
    let (now, rest) = bytes.split_at(n);
    *bytes = rest;
    now
}

/// Returns the length of a part of one message.
fn len(part: &[u8]) -> u32 {
    u32::try_from(part.len()).expect("no longer than the message")
}

/// Returns the pieces that a byte of a bitfield names.
pub(crate) fn pieces_of(first: u32, byte: u8) -> impl Iterator<Item = PieceIndex> {
    (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| PieceIndex(first + bit))
}

#[cfg(test)]
mod tests {
    use swarmloop::id::PeerId;

    use super::*;

    /// A torrent of two pieces of two blocks, and what a client says that sends one of them.
    fn conversation(payload: &Payload, spoil: bool) -> Vec<u8> {
        let reserved = Reserved([0, 0, 0, 0, 0, 0, 0, 4]);
        let id = PeerId(*b"-XX0000-............");
        let mut bytes = handshake::encode(reserved, payload.info_hash(), id).to_vec();
        message::encode_bitfield_head(1, &mut bytes);
        bytes.push(0b0100_0000);
        Message::Unchoke.encode(&mut bytes);
        // An extended message, which is of no interest.
        bytes.extend_from_slice(&[0, 0, 0, 5, 20, 0, b'd', b'e', b'!']);
        let block = Block { piece: PieceIndex(1), begin: 16_384, len: 16_384 };
        bytes.extend_from_slice(&message::piece_header(block));
        let at = bytes.len();
        bytes.extend_from_slice(payload.block(block.piece, block.begin, 16_384));
        if spoil {
            bytes[at + 9_999] ^= 1;
        }
        Message::KeepAlive.encode(&mut bytes);
        Message::Have(PieceIndex(0)).encode(&mut bytes);
        bytes
    }

    /// What is read of bytes that come in parts of `part` bytes.
    fn read(bytes: &[u8], part: usize, payload: &Payload) -> Result<Vec<String>, Cause> {
        let (mut inbox, mut steps) = (Inbox::new(), Vec::new());
        for mut part in bytes.chunks(part) {
            while let Some(step) = inbox.next(&mut part, payload)? {
                steps.push(format!("{step:?}"));
            }
            assert!(part.is_empty(), "something was left");
        }
        Ok(steps)
    }

    #[test]
    fn a_conversation_reads_alike_however_it_is_cut() {
        let payload = Payload::sample(2 * 32_768, 32_768);
        let bytes = conversation(&payload, false);
        let whole = read(&bytes, bytes.len(), &payload).expect("a good client");
        assert_eq!(
            whole,
            [
                "Handshake(Reserved([0, 0, 0, 0, 0, 0, 0, 4]))",
                "Bits { first: 0, byte: 64 }",
                "Message(Unchoke)",
                "Block { block: 1:16384+16384, good: true }",
                "Message(KeepAlive)",
                "Message(Have(PieceIndex(0)))",
            ]
        );
        for part in [1, 2, 3, 7, 12, 13, 67, 68, 69, 1_000, 16_384] {
            assert_eq!(read(&bytes, part, &payload).as_ref(), Ok(&whole), "parts of {part}");
        }
    }

    #[test]
    fn one_wrong_byte_is_told() {
        let payload = Payload::sample(2 * 32_768, 32_768);
        let bytes = conversation(&payload, true);
        for part in [1, 100, bytes.len()] {
            let steps = read(&bytes, part, &payload).expect("well formed");
            assert!(steps.contains(&"Block { block: 1:16384+16384, good: false }".to_owned()));
        }
    }

    #[test]
    fn a_client_that_breaks_the_protocol_is_told_by_how() {
        let payload = Payload::sample(2 * 32_768, 32_768);
        let good = conversation(&payload, false);
        let greeting = &good[..HANDSHAKE_LEN];
        let with = |tail: &[u8]| [greeting, tail].concat();
        let mut other = greeting.to_vec();
        other[30] ^= 1;
        let outside = Block { piece: PieceIndex(2), begin: 0, len: 16_384 };
        for (bytes, cause) in [
            (b"HTTP/1.1 400 Bad Request".to_vec(), Cause::Protocol),
            (other, Cause::OtherTorrent),
            (with(&message::piece_header(outside)), Cause::Protocol),
            (with(&[0, 0, 0, 3, 5, 0, 0]), Cause::Protocol),
            (with(&[0, 0, 0, 2, 1, 0]), Cause::Protocol),
            (with(&[0xff; 5]), Cause::Protocol),
        ] {
            for part in [1, 99] {
                assert_eq!(read(&bytes, part, &payload), Err(cause));
            }
        }
    }

    #[test]
    fn bits_name_pieces() {
        let named: Vec<_> = pieces_of(8, 0b1000_0101).map(|piece| piece.0).collect();
        assert_eq!(named, [8, 13, 15]);
        assert_eq!(pieces_of(0, 0).count(), 0);
    }
}
