//! Where bytes land that nobody has a place for yet: what arrives behind the payload that is being
//! received.
//!
//! The buffer is a chain of pool frames with room for a `piece` header before each:
//!
//! ```text
//!  read:  [rest of the payload] [13][ frame 0 ] [13][ frame 1 ] … [13][ frame 15 ]
//!                                 └ header of the next piece, its payload, and so on
//! ```
//!
//! A peer that sends nothing but blocks fills it so that every payload lies in a frame of its own
//! from the first byte on, and [`Arrived::land`] changes that frame for the empty one that the
//! payload was to be copied to: one read takes many blocks in, and not one byte is copied. Any
//! other message in between shifts what follows in this read, which is then copied; the next read
//! begins in step again. **Invariant:** correctness never depends on the guess.

use crate::id::{BLOCK_LEN, index};
use crate::proto::message::PIECE_HEADER_LEN;
use crate::wire::frame::{FRAME_LEN, Frame};
use crate::wire::slices::RecvSlices;

/// Frames of the chain: 256 KiB, what a driver reads from one stream before the others have their
/// turn.
pub const CHAIN_FRAMES: usize = 16;

/// The buffer; shared by all connections, and empty between calls. The default has no memory, to
/// stand in for one that is lent out; see [`Scratch::new`].
#[derive(Debug, Default)]
pub struct Scratch {
    /// Invariant: [`CHAIN_FRAMES`] links.
    chain: Vec<Link>,
    /// How the last read was laid out.
    shape: Shape,
}

/// Room for a block and its header.
#[derive(Debug)]
struct Link {
    head: [u8; PIECE_HEADER_LEN],
    frame: Frame,
}

/// Which part of the chain a read may fill.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes offered before the first frame, at most [`PIECE_HEADER_LEN`].
    first_head: usize,
    /// Frames offered. Invariant: 1 to [`CHAIN_FRAMES`].
    frames: usize,
}

impl Shape {
    /// One frame, without room for a header: for whatever comes.
    pub const PLAIN: Self = Self { first_head: 0, frames: 1 };

    /// Room for `blocks` blocks, at least one, after `staged` bytes of the first one's header.
    pub fn blocks(blocks: usize, staged: usize) -> Self {
        let first_head = PIECE_HEADER_LEN.saturating_sub(staged);
        Self { first_head, frames: blocks.clamp(1, CHAIN_FRAMES) }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::PLAIN
    }
}

impl Scratch {
    /// Returns a buffer with all its memory.
    pub fn new() -> Self {
        let link = || {
            let mut frame = Frame::unpooled();
            frame.set_len(BLOCK_LEN);
            Link { head: [0; PIECE_HEADER_LEN], frame }
        };
        let chain = std::iter::repeat_with(link).take(CHAIN_FRAMES).collect();
        Self { chain, shape: Shape::PLAIN }
    }

    /// Returns where the next bytes go, `most` of them: first into `target`, which may be empty,
    /// then into the part of the chain that `shape` names.
    pub fn slices<'a>(
        &'a mut self,
        target: &'a mut [u8],
        shape: Shape,
        most: usize,
    ) -> RecvSlices<'a> {
        if most < usize::MAX {
            return self.limited_slices(target, shape, most);
        }
        self.shape = shape;
        let mut slices = RecvSlices::empty();
        slices.push(target);
        for (at, link) in self.chain.iter_mut().take(shape.frames).enumerate() {
            let offered = if at == 0 { shape.first_head } else { PIECE_HEADER_LEN };
            slices.push(&mut link.head[..offered]);
            slices.push(link.frame.payload_mut());
        }
        slices
    }

    /// The same with a limit, which most reads do not have and must not pay for.
    #[cold]
    #[inline(never)]
    fn limited_slices<'a>(
        &'a mut self,
        target: &'a mut [u8],
        shape: Shape,
        mut most: usize,
    ) -> RecvSlices<'a> {
        self.shape = shape;
        let mut slices = RecvSlices::empty();
        let mut push = |bytes: &'a mut [u8]| {
            let len = bytes.len().min(most);
            most -= len;
            slices.push(&mut bytes[..len]);
        };
        push(target);
        for (at, link) in self.chain.iter_mut().take(shape.frames).enumerate() {
            let offered = if at == 0 { shape.first_head } else { PIECE_HEADER_LEN };
            push(&mut link.head[..offered]);
            push(link.frame.payload_mut());
        }
        slices
    }

    /// Returns the first `n` bytes of a read that was offered nothing but [`Shape::PLAIN`].
    ///
    /// Panics if that is more than a frame holds: a bug of the caller.
    pub fn plain(&self, n: usize) -> &[u8] {
        &self.chain[0].frame.payload()[..n]
    }

    /// Lends the `n` bytes that the last read has put into the chain.
    pub const fn arrived(&mut self, n: usize) -> Arrived<'_> {
        Arrived { scratch: self, place: Place::Head(0), at: 0, left: n, payload: 0 }
    }
}

/// Bytes of the last read that lie in the chain, from the front on.
#[derive(Debug)]
pub struct Arrived<'a> {
    scratch: &'a mut Scratch,
    place: Place,
    /// Bytes of `place` that were taken.
    at: usize,
    /// Bytes that are still to be taken, in this place and those that follow.
    left: usize,
    /// Bytes that were taken and are no messages.
    payload: usize,
}

/// A link of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Head(usize),
    Frame(usize),
}

impl Arrived<'_> {
    /// Tells whether everything was taken.
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Returns the next bytes that lie together; empty only if everything was taken.
    pub fn chunk(&mut self) -> &[u8] {
        while self.left > 0 && self.at == self.place_len() {
            self.at = 0;
            self.place = match self.place {
                Place::Head(link) => Place::Frame(link),
                Place::Frame(link) => Place::Head(link + 1),
            };
        }
        let len = self.left.min(self.place_len() - self.at);
        let bytes = match self.place {
            Place::Head(link) => &self.scratch.chain[link].head[..],
            Place::Frame(link) => self.scratch.chain[link].frame.payload(),
        };
        &bytes[self.at..self.at + len]
    }

    /// Takes `n` bytes off, at most as many as [`Arrived::chunk`] has.
    pub const fn consume(&mut self, n: usize) {
        self.at += n;
        self.left -= n;
    }

    /// Takes `n` bytes of something that nobody wants off, at most as many as [`Arrived::chunk`]
    /// has.
    pub const fn discard(&mut self, n: usize) {
        self.consume(n);
        self.payload += n;
    }

    /// Returns how many of the bytes that were taken are payload, wanted or not.
    pub const fn payload(&self) -> usize {
        self.payload
    }

    /// Takes as many bytes as fit into the payload of `frame` from `filled` on, and returns how
    /// many that were. The frame's memory is changed for the chain's where that saves the copy.
    pub fn land(&mut self, frame: &mut Frame, filled: u32) -> u32 {
        let rest = index(frame.len() - filled);
        let whole = filled == 0 && self.at_frame_start();
        let here = self.chunk().len();
        if whole
            && here <= rest
            && let Place::Frame(link) = self.place
        {
            frame.swap_memory(&mut self.scratch.chain[link].frame);
            self.consume(here);
            self.payload += here;
            return u32::try_from(here).expect("at most a frame");
        }
        let taken = self.copy_to(&mut frame.payload_mut()[index(filled)..]);
        self.payload += taken;
        u32::try_from(taken).expect("at most a frame")
    }

    /// Copies as many bytes as fit into `to`, takes them off, and returns how many that were.
    pub fn copy_to(&mut self, to: &mut [u8]) -> usize {
        let mut done = 0;
        while done < to.len() && self.left > 0 {
            let chunk = self.chunk();
            let n = chunk.len().min(to.len() - done);
            to[done..done + n].copy_from_slice(&chunk[..n]);
            self.consume(n);
            done += n;
        }
        done
    }

    /// Tells whether the next byte is the first of a frame.
    fn at_frame_start(&mut self) -> bool {
        !self.chunk().is_empty() && self.at == 0 && matches!(self.place, Place::Frame(_))
    }

    const fn place_len(&self) -> usize {
        match self.place {
            Place::Head(0) => self.scratch.shape.first_head,
            Place::Head(_) => PIECE_HEADER_LEN,
            Place::Frame(_) => FRAME_LEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts `bytes` into the ranges that a read is offered, as the kernel would.
    fn read_into(scratch: &mut Scratch, shape: Shape, bytes: &[u8]) {
        let mut rest = bytes;
        for slice in scratch.slices(&mut [], shape, usize::MAX).as_mut_slice() {
            let n = slice.len().min(rest.len());
            slice[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
        }
        assert!(rest.is_empty(), "the read was offered less");
    }

    fn frame(len: u32) -> Frame {
        let mut frame = Frame::unpooled();
        frame.set_len(len);
        frame
    }

    #[test]
    fn bytes_come_out_in_order_whatever_the_shape() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|at| (at % 251) as u8).collect();
        for (blocks, staged) in [(4, 0), (4, 5), (4, 13), (4, 17), (16, 0)] {
            let mut scratch = Scratch::new();
            read_into(&mut scratch, Shape::blocks(blocks, staged), &bytes);
            let mut arrived = scratch.arrived(bytes.len());
            let mut out = vec![0; bytes.len() + 10];
            assert_eq!(arrived.copy_to(&mut out[..7]), 7);
            assert_eq!(arrived.copy_to(&mut out[7..]), bytes.len() - 7);
            assert!(arrived.is_empty() && arrived.chunk().is_empty());
            assert_eq!(&out[..bytes.len()], bytes, "{blocks} blocks after {staged} bytes");
        }
    }

    #[test]
    fn a_payload_that_begins_a_frame_changes_hands_without_a_copy() {
        let mut scratch = Scratch::new();
        let mut bytes = vec![7; PIECE_HEADER_LEN];
        bytes.extend((0..BLOCK_LEN).map(|at| (at % 250) as u8));
        bytes.extend_from_slice(&[8; PIECE_HEADER_LEN + 100]);
        read_into(&mut scratch, Shape::blocks(3, 0), &bytes);
        let homes: Vec<_> =
            scratch.chain.iter().map(|link| link.frame.payload().as_ptr()).collect();
        let mut arrived = scratch.arrived(bytes.len());
        arrived.consume(PIECE_HEADER_LEN);
        let mut whole = frame(BLOCK_LEN);
        assert_eq!(arrived.land(&mut whole, 0), BLOCK_LEN);
        assert_eq!(whole.payload().as_ptr(), homes[0]);
        assert_eq!(whole.payload(), &bytes[PIECE_HEADER_LEN..][..BLOCK_LEN as usize]);
        assert_eq!(arrived.chunk(), [8; PIECE_HEADER_LEN]);
        arrived.consume(PIECE_HEADER_LEN);
        let mut begun = frame(BLOCK_LEN);
        assert_eq!(arrived.land(&mut begun, 0), 100);
        assert_eq!(begun.payload().as_ptr(), homes[1], "and so does the beginning of one");
        assert_eq!(begun.payload()[..100], [8; 100]);
        assert!(arrived.is_empty());
    }

    #[test]
    fn a_payload_that_ends_within_a_frame_is_copied_and_leaves_the_rest() {
        let mut scratch = Scratch::new();
        let bytes: Vec<u8> = (0..60).collect();
        read_into(&mut scratch, Shape::PLAIN, &bytes);
        let mut arrived = scratch.arrived(60);
        let mut short = frame(50);
        assert_eq!(arrived.land(&mut short, 0), 50);
        assert_eq!(short.payload(), &bytes[..50]);
        assert_eq!(arrived.chunk(), &bytes[50..]);
    }
}
