//! Bytes from a socket to messages, in place.
//!
//! The bytes lie in a buffer that all connections share, so nothing of it is kept: payload is
//! compared as it comes, a bitfield is told byte by byte, and only a header that is cut off waits
//! in the connection.

use swarmloop::geometry::Geometry;
use swarmloop::id::{Block, InfoHash, PieceIndex};
use swarmloop::proto::handshake::{self, HANDSHAKE_LEN, HEAD_LEN, Reserved};
use swarmloop::proto::message::{self, Head, MAX_FIXED_LEN, Message, PIECE_HEADER_LEN};

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
            Head::Unknown { len, .. } => self.state = skip(len),
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
