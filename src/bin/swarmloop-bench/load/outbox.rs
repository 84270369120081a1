//! What a connection has to send: small messages, and blocks that it was asked for.
//!
//! Blocks are not copied: one vectored write takes headers and slices of the payload.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use mio::net::TcpStream;
use swarmloop::id::Block;
use swarmloop::proto::message::{self, PIECE_HEADER_LEN};

use super::tally::Cause;
use crate::payload::Payload;

/// The most requests that a client may have queued on one connection; ours takes and makes 2000.
const MAX_QUEUED: usize = 8_192;
/// Blocks of one vectored write: 1 MiB, which a socket's buffer seldom takes at once.
const MAX_BLOCKS_PER_WRITE: usize = 64;
/// Bytes written to one connection before the others have their turn.
const SEND_BUDGET: usize = 2 << 20;

/// What waits to be sent on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Small messages, encoded; they go before the blocks, but not into one.
    pub(crate) control: Vec<u8>,
    control_sent: usize,
    /// Blocks asked for, in the order in which they were.
    blocks: VecDeque<Block>,
    /// Bytes of the first block's message that have gone, its header included.
    front_sent: usize,
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flushed {
    /// Bytes of payload that the system took.
    pub(crate) payload: u64,
    /// Blocks whose last byte was among them.
    pub(crate) blocks: u64,
    /// Whether the socket takes no more for now.
    pub(crate) blocked: bool,
}

impl Outbox {
    /// Queues a block.
    ///
    /// # Errors
    /// [`Cause::Protocol`] if the client asks for more than [`MAX_QUEUED`].
    pub(crate) fn push(&mut self, block: Block) -> Result<(), Cause> {
        if self.blocks.len() == MAX_QUEUED {
            return Err(Cause::Protocol);
        }
        self.blocks.push_back(block);
        Ok(())
    }

    /// Drops a queued block, unless it is on its way already; tells whether it was there.
    pub(crate) fn cancel(&mut self, block: Block) -> bool {
        let from = usize::from(self.front_sent > 0);
        let at = self.blocks.iter().skip(from).position(|queued| *queued == block);
        at.is_some_and(|at| self.blocks.remove(from + at).is_some())
    }

    /// Tells whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.blocks.is_empty()
    }

    /// Writes until nothing waits, the socket takes no more, or the budget is used up.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn flush(
        &mut self,
        socket: &mut TcpStream,
        payload: &Payload,
    ) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        let mut budget = SEND_BUDGET;
        while !self.is_empty() && budget > 0 {
            match self.write(socket, payload) {
                Ok((offered, written)) => {
                    self.advance(written, &mut flushed);
                    budget = budget.saturating_sub(written);
                    if written < offered {
                        flushed.blocked = true;
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    flushed.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(flushed)
    }

    /// Offers one vectored write; returns how much was offered and how much was taken.
    fn write(&self, socket: &mut TcpStream, payload: &Payload) -> io::Result<(usize, usize)> {
        let control = &self.control[self.control_sent..];
        if self.blocks.is_empty() {
            return Ok((control.len(), socket.write(control)?));
        }
        let mut headers = [[0; PIECE_HEADER_LEN]; MAX_BLOCKS_PER_WRITE];
        for (header, block) in headers.iter_mut().zip(&self.blocks) {
            *header = message::piece_header(*block);
        }
        let mut slices = [IoSlice::new(&[]); 2 * MAX_BLOCKS_PER_WRITE + 1];
        let (mut count, mut offered) = (0, 0);
        let mut add = |slice| {
            slices[count] = IoSlice::new(slice);
            count += 1;
            offered += slice.len();
        };
        if self.front_sent == 0 && !control.is_empty() {
            add(control);
        }
        for (at, (header, block)) in headers.iter().zip(&self.blocks).enumerate() {
            let len = usize::try_from(block.len).expect("32 bits fit");
            let bytes = payload.block(block.piece, block.begin, len);
            let sent = if at == 0 { self.front_sent } else { 0 };
            if sent < header.len() {
                add(&header[sent..]);
            }
            add(&bytes[sent.saturating_sub(header.len())..]);
            if at == 0 && sent > 0 && !control.is_empty() {
                add(control);
            }
        }
        Ok((offered, socket.write_vectored(&slices[..count])?))
    }

    /// Drops what has gone, in the order in which [`Outbox::write`] offers it.
    fn advance(&mut self, mut written: usize, flushed: &mut Flushed) {
        if self.front_sent > 0 {
            self.advance_block(&mut written, flushed);
        }
        if self.front_sent == 0 {
            let control = written.min(self.control.len() - self.control_sent);
            self.control_sent += control;
            written -= control;
            if self.control_sent == self.control.len() {
                self.control.clear();
                self.control_sent = 0;
            }
        }
        while written > 0 {
            self.advance_block(&mut written, flushed);
        }
    }

    /// Takes what `written` holds of the first block off both.
    fn advance_block(&mut self, written: &mut usize, flushed: &mut Flushed) {
        let Some(block) = self.blocks.front() else { return *written = 0 };
        let len = PIECE_HEADER_LEN + usize::try_from(block.len).expect("32 bits fit");
        let sent = len.min(self.front_sent + *written);
        let payload_of = |sent: usize| sent.saturating_sub(PIECE_HEADER_LEN);
        let payload = payload_of(sent) - payload_of(self.front_sent);
        flushed.payload += u64::try_from(payload).expect("at most a block");
        *written -= sent - self.front_sent;
        self.front_sent = sent;
        if sent == len {
            self.blocks.pop_front();
            self.front_sent = 0;
            flushed.blocks += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use swarmloop::id::PieceIndex;
    use swarmloop::proto::message::Message;
    use swarmloop::reactor::egress::Egress;

    use super::*;

    fn block(piece: u32, begin: u32) -> Block {
        Block { piece: PieceIndex(piece), begin, len: 16_384 }
    }

    fn wire(payload: &Payload, block: Block) -> Vec<u8> {
        let bytes = payload.block(block.piece, block.begin, 16_384);
        [&message::piece_header(block)[..], bytes].concat()
    }

    #[test]
    fn whatever_the_socket_takes_at_once_the_stream_is_whole() {
        let payload = Payload::sample(4 << 20, 1 << 20);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let addr = listener.local_addr().expect("bound");
        let mut socket = swarmloop::reactor::net::dial(addr, &Egress::any(), 0).expect("dialled");
        let (mut far, _) = listener.accept().expect("a stream");
        let (mut outbox, mut expected) = (Outbox::default(), Vec::new());
        let (mut got, mut sum) = (Vec::new(), Flushed::default());
        for round in 0..200 {
            // Small messages come between blocks, never into one.
            Message::Have(PieceIndex(round % 4)).encode(&mut outbox.control);
            outbox.push(block(round % 4, 16_384 * (round % 64))).expect("room");
            let flushed = outbox.flush(&mut socket, &payload).expect("a stream");
            sum.payload += flushed.payload;
            sum.blocks += flushed.blocks;
            expected.push(wire(&payload, block(round % 4, 16_384 * (round % 64))));
            if flushed.blocked {
                // A part only, so that writes end at odd places.
                let mut part = vec![0; 70_001];
                let n = far.read(&mut part).expect("it was written");
                got.extend_from_slice(&part[..n]);
            }
        }
        let mut part = vec![0; 1 << 20];
        while !outbox.is_empty() || sum.payload > blocks_in(&got) {
            let flushed = outbox.flush(&mut socket, &payload).expect("a stream");
            sum.payload += flushed.payload;
            sum.blocks += flushed.blocks;
            let n = far.read(&mut part).expect("it was written");
            got.extend_from_slice(&part[..n]);
        }
        assert_eq!((sum.blocks, sum.payload), (200, 200 * 16_384));
        let messages = split(&got);
        let blocks: Vec<_> = messages.iter().filter(|m| m[4] == 7).cloned().collect();
        assert_eq!(blocks, expected);
        assert_eq!(messages.len(), 400, "a have for each block");
    }

    /// Cuts a stream into its messages.
    fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(prefix) = bytes.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*prefix) as usize;
            if bytes.len() < end {
                break;
            }
            messages.push(bytes[..end].to_vec());
            bytes = &bytes[end..];
        }
        messages
    }

    /// Bytes of payload in the whole blocks of a stream.
    fn blocks_in(bytes: &[u8]) -> u64 {
        split(bytes).iter().filter(|m| m[4] == 7).count() as u64 * 16_384
    }

    #[test]
    fn a_cancelled_block_is_not_sent_and_too_many_are_refused() {
        let mut outbox = Outbox::default();
        outbox.push(block(0, 0)).expect("room");
        outbox.push(block(0, 16_384)).expect("room");
        assert!(outbox.cancel(block(0, 16_384)) && !outbox.cancel(block(0, 16_384)));
        outbox.front_sent = 1;
        assert!(!outbox.cancel(block(0, 0)), "it is on its way");
        for _ in 1..MAX_QUEUED {
            outbox.push(block(0, 0)).expect("room");
        }
        assert_eq!(outbox.push(block(0, 0)), Err(Cause::Protocol));
    }
}
