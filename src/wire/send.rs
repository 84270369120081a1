//! The sending half of a peer stream: messages and payload frames in, byte ranges for one vectored
//! write out.
//!
//! Control messages of a turn share one growing buffer and leave in one range; a `piece` is a
//! 13-byte header and its frame, never copied. Nothing is held while there is nothing to send.

use std::collections::VecDeque;

use crate::id::Block;
use crate::proto::message::{Message, PIECE_HEADER_LEN, encode_bitfield_head, piece_header};
use crate::wire::frame::Frame;
use crate::wire::slices::{MAX_SEND_SLICES, SendSlices};

/// Control bytes waiting for one slow reader above which nothing more is read from it, so that its
/// own messages cannot make us queue answers (rejects) without bound.
pub const MAX_CONTROL_BYTES: usize = 64 * 1024;

/// What waits to be sent on one stream, in order.
#[derive(Debug, Default)]
pub struct SendQueue {
    items: VecDeque<Item>,
    /// Control messages back to back. Invariant: `control[head..]` is what the [`Item::Control`]s
    /// have left, in order.
    control: Vec<u8>,
    head: usize,
    /// Blocks that are queued, whole or in part; each holds a frame, however short it is.
    blocks: usize,
}

#[derive(Debug)]
enum Item {
    /// So many bytes of the control buffer.
    Control(usize),
    /// A `piece` message, `sent` bytes of header and payload already gone.
    Block { header: [u8; PIECE_HEADER_LEN], frame: Frame, sent: usize },
}

/// Buffers above this many bytes are freed when the queue runs empty. What a turn asks of a fast
/// peer fits, some 200 requests, so that asking does not allocate; a slow one never needs as much.
const KEEP_CAPACITY: usize = 4096;

impl SendQueue {
    /// Appends a control message.
    pub fn message(&mut self, message: &Message) {
        self.control_with(|out| message.encode(out));
    }

    /// Appends bytes that are a message already (or a handshake).
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.control_with(|out| out.extend_from_slice(bytes));
    }

    /// Appends a message that `write` appends to the buffer that it is given, whole.
    pub fn extended(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.control_with(write);
    }

    /// Appends a `bitfield` whose payload `write` appends to the buffer that it is given: `len`
    /// bytes.
    pub fn bitfield(&mut self, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.control_with(|out| {
            encode_bitfield_head(len, out);
            write(out);
        });
    }

    /// Appends a `piece` with the payload in `frame`; the frame comes back from
    /// [`SendQueue::advance`] when it was sent.
    pub fn block(&mut self, block: Block, frame: Frame) {
        debug_assert_eq!(block.len, frame.len());
        self.blocks += 1;
        self.items.push_back(Item::Block { header: piece_header(block), frame, sent: 0 });
    }

    /// Returns the next byte ranges to write, in order, with `payload` bytes of blocks at most;
    /// empty if nothing waits, or if the next is a block and may not be sent.
    pub fn slices(&self, payload: usize) -> SendSlices<'_> {
        if payload < usize::MAX {
            return self.limited_slices(payload);
        }
        let mut out = SendSlices::empty();
        let mut at = self.head;
        for item in &self.items {
            // A block takes two ranges.
            if out.used + 2 > MAX_SEND_SLICES {
                break;
            }
            match item {
                Item::Control(len) => {
                    out.push(&self.control[at..at + len]);
                    at += len;
                }
                Item::Block { header, frame, sent } => {
                    out.push(header.get(*sent..).unwrap_or_default());
                    out.push(&frame.payload()[sent.saturating_sub(PIECE_HEADER_LEN)..]);
                }
            }
        }
        out
    }

    /// The same with a limit, which most writes do not have and must not pay for.
    #[cold]
    #[inline(never)]
    fn limited_slices(&self, mut payload: usize) -> SendSlices<'_> {
        let mut out = SendSlices::empty();
        let mut at = self.head;
        for item in &self.items {
            if out.used + 2 > MAX_SEND_SLICES {
                break;
            }
            match item {
                Item::Control(len) => {
                    out.push(&self.control[at..at + len]);
                    at += len;
                }
                // A header without a byte behind it would only hold up the messages behind it.
                Item::Block { .. } if payload == 0 => break,
                Item::Block { header, frame, sent } => {
                    let rest = &frame.payload()[sent.saturating_sub(PIECE_HEADER_LEN)..];
                    out.push(header.get(*sent..).unwrap_or_default());
                    if payload < rest.len() {
                        out.push(&rest[..payload]);
                        break;
                    }
                    out.push(rest);
                    payload -= rest.len();
                }
            }
        }
        out
    }

    /// Records that the first `n` bytes of [`SendQueue::slices`] were written. Frames that are done
    /// with go to `frames`; returns how many payload bytes were among the `n`.
    pub fn advance(&mut self, mut n: usize, frames: &mut Vec<Frame>) -> u64 {
        let mut payload = 0;
        while n > 0 {
            let Some(item) = self.items.front_mut() else { break };
            let (done, moved) = match item {
                Item::Control(len) => {
                    let moved = n.min(*len);
                    *len -= moved;
                    self.head += moved;
                    (*len == 0, moved)
                }
                Item::Block { frame, sent, .. } => {
                    let total = PIECE_HEADER_LEN + frame.payload().len();
                    let moved = n.min(total - *sent);
                    let body = |sent: usize| sent.saturating_sub(PIECE_HEADER_LEN);
                    payload += (body(*sent + moved) - body(*sent)) as u64;
                    *sent += moved;
                    (*sent == total, moved)
                }
            };
            n -= moved;
            if done && let Some(Item::Block { frame, .. }) = self.items.pop_front() {
                self.blocks -= 1;
                frames.push(frame);
            }
        }
        debug_assert_eq!(n, 0, "more was written than offered");
        self.compact();
        payload
    }

    /// Tells whether a block is next.
    pub fn is_at_block(&self) -> bool {
        matches!(self.items.front(), Some(Item::Block { .. }))
    }

    /// Tells whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the number of blocks that wait or are under way.
    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    /// Returns the bytes of blocks that wait.
    pub fn payload_len(&self) -> usize {
        let left = |item: &Item| match item {
            Item::Control(_) => 0,
            Item::Block { frame, sent, .. } => {
                frame.payload().len() - sent.saturating_sub(PIECE_HEADER_LEN)
            }
        };
        self.items.iter().map(left).sum()
    }

    /// Returns the control bytes that wait.
    pub const fn control_len(&self) -> usize {
        self.control.len() - self.head
    }

    /// Empties the queue and gives its frames back.
    pub fn clear(&mut self, frames: &mut Vec<Frame>) {
        for item in self.items.drain(..) {
            if let Item::Block { frame, .. } = item {
                frames.push(frame);
            }
        }
        self.blocks = 0;
        self.head = self.control.len();
        self.compact();
    }

    fn control_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.control.len();
        write(&mut self.control);
        let len = self.control.len() - before;
        match self.items.back_mut() {
            Some(Item::Control(waiting)) => *waiting += len,
            _ => self.items.push_back(Item::Control(len)),
        }
    }

    /// Drops control bytes that were sent: all at once when none waits, else when they are the
    /// larger part.
    fn compact(&mut self) {
        if self.head == self.control.len() {
            self.control.clear();
            self.head = 0;
        } else if self.head >= self.control.len() / 2 && self.head >= KEEP_CAPACITY {
            self.control.drain(..self.head);
            self.head = 0;
        }
        if self.items.is_empty() && self.control.capacity() > KEEP_CAPACITY {
            self.control = Vec::new();
            self.items.shrink_to(KEEP_CAPACITY / size_of::<Item>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PieceIndex;
    use crate::rng::Rng;

    fn frame(fill: u8, len: u32) -> Frame {
        let mut frame = Frame::unpooled();
        frame.set_len(len);
        frame.payload_mut().fill(fill);
        frame
    }

    fn block(begin: u32, len: u32) -> Block {
        Block { piece: PieceIndex(1), begin, len }
    }

    fn gather(queue: &SendQueue) -> Vec<u8> {
        queue.slices(usize::MAX).as_slice().iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn messages_and_blocks_leave_in_order_whatever_the_socket_takes() {
        let mut expected = Vec::new();
        let mut rng = Rng::new(3);
        for round in 0..300 {
            let (mut queue, mut frames) = (SendQueue::default(), Vec::new());
            expected.clear();
            for i in 0..20_u8 {
                if rng.below(2) == 0 {
                    queue.message(&Message::Have(PieceIndex(u32::from(i))));
                    Message::Have(PieceIndex(u32::from(i))).encode(&mut expected);
                } else {
                    let b = block(u32::from(i) * 16_384, 50);
                    queue.block(b, frame(i, 50));
                    expected.extend_from_slice(&piece_header(b));
                    expected.extend_from_slice(&[i; 50]);
                }
            }
            let (mut sent, mut payload) = (Vec::new(), 0);
            while !queue.is_empty() {
                let bytes = gather(&queue);
                let n = 1 + rng.below(bytes.len());
                sent.extend_from_slice(&bytes[..n]);
                payload += queue.advance(n, &mut frames);
            }
            assert_eq!(sent, expected, "round {round}");
            assert_eq!(payload, frames.len() as u64 * 50);
            assert_eq!((queue.blocks(), queue.control_len()), (0, 0));
        }
    }

    #[test]
    fn one_write_takes_no_more_ranges_than_the_kernel_is_given() {
        let mut queue = SendQueue::default();
        for i in 0..100 {
            queue.block(block(i, 10), frame(0, 10));
        }
        assert_eq!(queue.slices(usize::MAX).as_slice().len(), MAX_SEND_SLICES);
    }

    #[test]
    fn a_queue_that_is_dropped_gives_back_the_frames_of_its_blocks() {
        let (mut queue, mut frames) = (SendQueue::default(), Vec::new());
        queue.block(block(0, 10), frame(1, 10));
        queue.message(&Message::Choke);
        queue.block(block(10, 10), frame(2, 10));
        queue.advance(1, &mut frames);
        assert!(frames.is_empty(), "it is under way");
        assert_eq!(queue.payload_len(), 20);
        queue.advance(PIECE_HEADER_LEN, &mut frames);
        assert_eq!(queue.payload_len(), 19, "without what is gone");
        queue.clear(&mut frames);
        assert!(queue.is_empty() && queue.blocks() == 0 && frames.len() == 2);
    }

    #[test]
    fn an_idle_queue_holds_no_large_buffer() {
        let (mut queue, mut frames) = (SendQueue::default(), Vec::new());
        queue.bytes(&[7; 10_000]);
        queue.advance(10_000, &mut frames);
        assert!(queue.control.capacity() <= KEEP_CAPACITY);
    }
}
