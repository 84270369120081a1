//! The receiving half of a peer stream: where the next bytes land, and what they turn out to be.
//!
//! ```text
//!           ┌──────────────────────────── message complete ───────────────────────────┐
//!           ▼                                                                         │
//!        Header ──piece──▶ (owner decides) ──accept──▶ Payload ──full──▶ Step::Block ─┤
//!           │                     └─────────discard──▶ Discard ──done─────────────────┤
//!           ├──bitfield──▶ Bitfield ──full──▶ Step::Bitfield ─────────────────────────┤
//!           ├──extended──▶ Growing ──full──▶ Step::Extended ──────────────────────────┤
//!           └──unknown id, Step::Unknown──▶ Discard ──────────────────────────────────┘
//! ```
//!
//! Payload is read by the driver straight into its frame. What arrives *behind* the current payload
//! goes into the [`Scratch`] that all connections share, where the payloads of further blocks land
//! in frames, too; it is parsed within the same call, so an idle connection keeps no buffer, and of
//! an incomplete header at most 17 bytes are staged.

use crate::id::{Block, index};
use crate::proto::message::{
    EXTENDED_HEADER_LEN, Head, MAX_FIXED_LEN, Message, MessageError, PIECE_HEADER_LEN, decode_head,
};
use crate::wire::frame::Frame;
use crate::wire::scratch::{Arrived, Scratch, Shape};
use crate::wire::slices::RecvSlices;

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Step {
    /// A message with a fixed layout.
    Message(Message),
    /// A `piece` begins. The owner must answer with [`RecvState::accept`] or [`RecvState::discard`]
    /// before anything else.
    PieceHeader(Block),
    /// The payload of an accepted block is complete.
    Block(Block, Frame),
    /// The payload of a `bitfield`, of the length that the torrent asks for if that is known.
    Bitfield(Vec<u8>),
    /// The body of an extended message (BEP 10) that came under this id.
    Extended(u8, Vec<u8>),
    /// A message begins whose id nobody knows here; its body is skipped.
    Unknown,
}

/// Where one peer stream stands between two reads.
#[derive(Debug)]
pub struct RecvState {
    stage: Stage,
    /// Bytes of a right `bitfield` payload; nothing of another length is waited for.
    bitfield_len: u32,
}

/// Stands for the length of a `bitfield` while nobody knows how many pieces there are: any is taken
/// that some torrent could have.
pub const ANY_BITFIELD_LEN: u32 = u32::MAX;

#[derive(Debug)]
enum Stage {
    /// Before a message or within its first [`MAX_FIXED_LEN`] bytes; `len` of them are here.
    Header { staged: [u8; MAX_FIXED_LEN], len: u8 },
    /// A `piece` was announced and nobody has said yet where its payload is to go.
    Undecided(Block),
    /// `filled` bytes of the payload are in the frame. Invariant: fewer than the frame's length.
    Payload { block: Block, frame: Frame, filled: u32 },
    /// `filled` bytes of the bitfield are in the buffer. Invariant: fewer than its length.
    Bitfield { bytes: Vec<u8>, filled: usize },
    /// A body of a length that only the remote knows: `left` bytes are to come. Room is made for
    /// what has come, not for what was announced.
    Growing { what: Body, bytes: Vec<u8>, left: u32 },
    /// So many bytes that nobody wants are still to come.
    Discard { left: u32 },
}

/// What a body of a length that only the remote knows belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Bitfield,
    Extended(u8),
}

const fn header() -> Stage {
    Stage::Header { staged: [0; MAX_FIXED_LEN], len: 0 }
}

const fn growing(what: Body, left: u32) -> Stage {
    Stage::Growing { what, bytes: Vec::new(), left }
}

impl RecvState {
    /// Returns the state of a stream whose handshake has just been read, for a torrent whose
    /// `bitfield` payload has `bitfield_len` bytes, or [`ANY_BITFIELD_LEN`].
    pub const fn new(bitfield_len: u32) -> Self {
        Self { stage: header(), bitfield_len }
    }

    /// Takes it that a `bitfield` payload of this torrent has so many bytes from now on. One that
    /// is being received keeps its own: whoever takes it must look at its length.
    pub const fn set_bitfield_len(&mut self, len: u32) {
        self.bitfield_len = len;
    }

    /// Returns where the next bytes go, `most` of them: the rest of what is being received, then
    /// `scratch`, in which there is room for the `expected` blocks that have been asked for and are
    /// still to come.
    pub fn slices<'a>(
        &'a mut self,
        scratch: &'a mut Scratch,
        expected: usize,
        most: usize,
    ) -> RecvSlices<'a> {
        let shape = |blocks, staged| match blocks {
            0 => Shape::PLAIN,
            _ => Shape::blocks(blocks, staged),
        };
        match &mut self.stage {
            Stage::Payload { frame, filled, .. } => {
                let rest = &mut frame.payload_mut()[index(*filled)..];
                scratch.slices(rest, shape(expected.saturating_sub(1), 0), most)
            }
            Stage::Bitfield { bytes, filled } => {
                scratch.slices(&mut bytes[*filled..], Shape::PLAIN, most)
            }
            Stage::Header { len, .. } => {
                scratch.slices(&mut [], shape(expected, usize::from(*len)), most)
            }
            Stage::Undecided(_) | Stage::Growing { .. } | Stage::Discard { .. } => {
                scratch.slices(&mut [], Shape::PLAIN, most)
            }
        }
    }

    /// Returns how many of the next bytes cannot be payload, whatever they are: those of a message
    /// that is not complete, up to where a payload would begin.
    pub fn message_room(&self) -> usize {
        match &self.stage {
            Stage::Header { len, .. } => {
                let len = usize::from(*len);
                // Whoever has sent as much as the header of a `piece` has, sends no `piece`.
                let end = if len < PIECE_HEADER_LEN { PIECE_HEADER_LEN } else { MAX_FIXED_LEN };
                end - len
            }
            Stage::Bitfield { bytes, filled } => bytes.len() - filled,
            Stage::Growing { left, .. } => index(*left),
            Stage::Undecided(_) | Stage::Payload { .. } | Stage::Discard { .. } => 0,
        }
    }

    /// Tells whether a payload is being received, wanted or not.
    pub const fn is_in_payload(&self) -> bool {
        matches!(self.stage, Stage::Payload { .. } | Stage::Discard { .. })
    }

    /// Records that `n` bytes were put into the ranges of [`RecvState::slices`] and returns how
    /// many of them are in the scratch buffer, from its start; those are to be passed to
    /// [`RecvState::next`].
    pub fn advance(&mut self, n: usize) -> usize {
        let taken = match &mut self.stage {
            Stage::Payload { frame, filled, .. } => {
                let take = n.min(index(frame.len() - *filled));
                *filled += u32::try_from(take).expect("at most a frame");
                take
            }
            Stage::Bitfield { bytes, filled } => {
                let take = n.min(bytes.len() - *filled);
                *filled += take;
                take
            }
            _ => 0,
        };
        n - taken
    }

    /// Takes bytes from the front of `input` and returns the next step that they complete; `None`
    /// once `input` is used up and more must be read.
    ///
    /// # Errors
    /// [`MessageError`]: the remote's fault; the connection must be closed, the state is of no use
    /// any more.
    pub fn next(&mut self, input: &mut Arrived<'_>) -> Result<Option<Step>, MessageError> {
        loop {
            match &mut self.stage {
                Stage::Header { .. } if input.is_empty() => return Ok(None),
                Stage::Header { .. } => {
                    if let Some(step) = self.header(input)? {
                        return Ok(Some(step));
                    }
                }
                Stage::Undecided(_) => return Ok(None),
                Stage::Payload { frame, filled, .. } => {
                    while *filled < frame.len() {
                        match input.land(frame, *filled) {
                            0 => return Ok(None),
                            landed => *filled += landed,
                        }
                    }
                    return Ok(self.finish());
                }
                Stage::Bitfield { bytes, filled } => {
                    *filled += input.copy_to(&mut bytes[*filled..]);
                    if *filled < bytes.len() {
                        return Ok(None);
                    }
                    return Ok(self.finish());
                }
                Stage::Growing { bytes, left, .. } => {
                    while *left > 0 {
                        let chunk = input.chunk();
                        let taken = chunk.len().min(index(*left));
                        if taken == 0 {
                            return Ok(None);
                        }
                        bytes.extend_from_slice(&chunk[..taken]);
                        input.consume(taken);
                        *left -= u32::try_from(taken).expect("at most what is left");
                    }
                    return Ok(self.finish());
                }
                Stage::Discard { left } => {
                    let skip = input.chunk().len().min(index(*left));
                    input.discard(skip);
                    *left -= u32::try_from(skip).expect("at most what is left");
                    if *left == 0 {
                        self.stage = header();
                    } else if skip == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Answers [`Step::PieceHeader`]: the payload goes into `frame`, whose length must be the
    /// block's.
    ///
    /// Panics if no `piece` was announced or the length differs: a bug of the caller.
    pub fn accept(&mut self, frame: Frame) {
        let Stage::Undecided(block) = self.stage else { panic!("no piece was announced") };
        assert_eq!(frame.len(), block.len, "the frame has the block's length");
        self.stage = Stage::Payload { block, frame, filled: 0 };
    }

    /// Answers [`Step::PieceHeader`]: the payload is skipped. Panics if no `piece` was announced: a
    /// bug of the caller.
    pub fn discard(&mut self) {
        let Stage::Undecided(block) = self.stage else { panic!("no piece was announced") };
        self.stage = Stage::Discard { left: block.len };
    }

    /// Returns the block whose payload is being received into a frame.
    pub const fn landing(&self) -> Option<Block> {
        match &self.stage {
            Stage::Payload { block, .. } => Some(*block),
            _ => None,
        }
    }

    /// Gives back the frame of the payload that is being received; what is still to come of it is
    /// skipped.
    pub fn abort_landing(&mut self) -> Option<(Block, Frame)> {
        self.landing()?;
        match std::mem::replace(&mut self.stage, header()) {
            Stage::Payload { block, frame, filled } => {
                self.stage = Stage::Discard { left: block.len - filled };
                Some((block, frame))
            }
            _ => None,
        }
    }

    fn finish(&mut self) -> Option<Step> {
        match std::mem::replace(&mut self.stage, header()) {
            Stage::Payload { block, frame, .. } => Some(Step::Block(block, frame)),
            Stage::Bitfield { bytes, .. } | Stage::Growing { what: Body::Bitfield, bytes, .. } => {
                Some(Step::Bitfield(bytes))
            }
            Stage::Growing { what: Body::Extended(id), bytes, .. } => {
                Some(Step::Extended(id, bytes))
            }
            _ => None,
        }
    }

    /// Reads on in a header; `None` if it is not complete yet, or if what it announces is no step
    /// by itself.
    fn header(&mut self, input: &mut Arrived<'_>) -> Result<Option<Step>, MessageError> {
        let Stage::Header { staged, len } = &mut self.stage else { return Ok(None) };
        // Whole headers are read where they are; only one that is cut off by the end of the bytes
        // that lie together is staged.
        let before = usize::from(*len);
        let chunk = input.chunk();
        let more = chunk.len().min(MAX_FIXED_LEN - before);
        let view = if before == 0 {
            &chunk[..more]
        } else {
            staged[before..before + more].copy_from_slice(&chunk[..more]);
            &staged[..before + more]
        };
        let Some(head) = decode_head(view)? else {
            if before == 0 {
                staged[..more].copy_from_slice(&chunk[..more]);
            }
            *len = u8::try_from(before + more).expect("at most 17");
            input.consume(more);
            return Ok(None);
        };
        // Most messages are whole by now, and what is staged is not looked at again.
        if let Head::Message(message, used) = head {
            *len = 0;
            input.consume(used - before);
            return Ok(Some(Step::Message(message)));
        }
        input.consume(head_len(head) - before);
        self.stage = self.body(head)?;
        Ok(match head {
            Head::Piece(block) => Some(Step::PieceHeader(block)),
            Head::Unknown { .. } => Some(Step::Unknown),
            _ => None,
        })
    }

    /// Returns how to go on behind a head.
    fn body(&self, head: Head) -> Result<Stage, MessageError> {
        Ok(match head {
            Head::Message(..) => header(),
            Head::Piece(block) => Stage::Undecided(block),
            Head::Unknown { len, .. } => Stage::Discard { left: len },
            Head::Extended { id, len } => growing(Body::Extended(id), len),
            Head::Bitfield(len) if self.bitfield_len == ANY_BITFIELD_LEN => {
                growing(Body::Bitfield, len)
            }
            Head::Bitfield(len) if len != self.bitfield_len => {
                return Err(MessageError::Length { name: "bitfield", len: len + 1 });
            }
            Head::Bitfield(len) => Stage::Bitfield { bytes: vec![0; index(len)], filled: 0 },
        })
    }
}

/// Returns how many bytes of a message are its head, the length prefix included.
const fn head_len(head: Head) -> usize {
    match head {
        Head::Message(_, used) => used,
        Head::Piece(_) => PIECE_HEADER_LEN,
        Head::Extended { .. } => EXTENDED_HEADER_LEN,
        Head::Bitfield(_) | Head::Unknown { .. } => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PieceIndex;
    use crate::proto::extended;
    use crate::proto::message::{encode_bitfield_head, piece_header};
    use crate::rng::Rng;

    /// Returns a buffer into which one read has put `bytes`.
    fn holding(bytes: &[u8]) -> Scratch {
        let mut scratch = Scratch::new();
        let mut rest = bytes;
        for slice in scratch.slices(&mut [], Shape::blocks(4, 0), usize::MAX).as_mut_slice() {
            let n = slice.len().min(rest.len());
            slice[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
        }
        scratch
    }

    fn next(state: &mut RecvState, bytes: &[u8]) -> Result<Option<Step>, MessageError> {
        state.next(&mut holding(bytes).arrived(bytes.len()))
    }

    fn block(begin: u32, len: u32) -> Block {
        Block { piece: PieceIndex(3), begin, len }
    }

    /// A stream with everything in it, and what it should read as.
    fn stream() -> (Vec<u8>, Vec<String>) {
        let mut bytes = Vec::new();
        encode_bitfield_head(40, &mut bytes);
        bytes.extend_from_slice(&[0xa5; 40]);
        Message::Unchoke.encode(&mut bytes);
        for (begin, fill) in [(0, 1), (16_384, 2)] {
            bytes.extend_from_slice(&piece_header(block(begin, 1000)));
            bytes.extend_from_slice(&[fill; 1000]);
            Message::Have(PieceIndex(9)).encode(&mut bytes);
        }
        bytes.extend_from_slice(&[0, 0, 0, 4, 77, 1, 2, 3]);
        extended::message(2, &mut bytes, |out| out.extend_from_slice(&[7; 1500]));
        extended::message(99, &mut bytes, |out| out.extend_from_slice(&[8; 20]));
        extended::message(3, &mut bytes, |_| {});
        Message::Request(block(5, 6)).encode(&mut bytes);
        Message::KeepAlive.encode(&mut bytes);
        let steps = [
            "bitfield 40 × a5",
            "Unchoke",
            "block 3:0+1000 × 01",
            "Have(PieceIndex(9))",
            "discarded 3:16384+1000",
            "Have(PieceIndex(9))",
            "unknown",
            "extended 2 of 1500 × 07",
            "unknown",
            "extended 3 of 0",
            "Request(3:5+6)",
            "KeepAlive",
        ];
        (bytes, steps.map(str::to_owned).to_vec())
    }

    /// Plays a driver that reads at most `chunk()` bytes at a time, on a stream of which `expected`
    /// blocks are expected throughout.
    fn drive(bytes: &[u8], expected: usize, mut chunk: impl FnMut() -> usize) -> Vec<String> {
        let (mut state, mut scratch) = (RecvState::new(40), Scratch::new());
        let (mut rest, mut log) = (bytes, Vec::new());
        while !rest.is_empty() {
            let want = chunk().max(1).min(rest.len());
            let mut n = 0;
            for slice in state.slices(&mut scratch, expected, usize::MAX).as_mut_slice() {
                let k = slice.len().min(want - n).min(rest.len());
                slice[..k].copy_from_slice(&rest[..k]);
                rest = &rest[k..];
                n += k;
            }
            let in_scratch = state.advance(n);
            let mut input = scratch.arrived(in_scratch);
            while let Some(step) = state.next(&mut input).expect("a valid stream") {
                log.push(match step {
                    Step::Message(message) => format!("{message:?}"),
                    Step::PieceHeader(b) if b.begin == 0 => {
                        let mut frame = Frame::unpooled();
                        frame.set_len(b.len);
                        state.accept(frame);
                        assert_eq!(state.landing(), Some(b));
                        continue;
                    }
                    Step::PieceHeader(b) => {
                        state.discard();
                        format!("discarded {b:?}")
                    }
                    Step::Block(b, frame) => uniform(&format!("block {b:?}"), frame.payload()),
                    Step::Bitfield(bits) => uniform(&format!("bitfield {}", bits.len()), &bits),
                    Step::Extended(id, body) if body.is_empty() => format!("extended {id} of 0"),
                    Step::Extended(id, body) => {
                        uniform(&format!("extended {id} of {}", body.len()), &body)
                    }
                    Step::Unknown => "unknown".to_owned(),
                });
            }
            assert!(input.is_empty(), "everything was taken");
        }
        log
    }

    fn uniform(what: &str, bytes: &[u8]) -> String {
        assert!(bytes.iter().all(|b| *b == bytes[0]), "{what} has foreign bytes");
        format!("{what} × {:02x}", bytes[0])
    }

    #[test]
    fn the_same_steps_come_from_every_way_to_cut_the_stream() {
        let (bytes, steps) = stream();
        for expected in [0, 1, 2, 9] {
            for chunk in (1..80).chain([1000, 1013, 1100, 10_000]) {
                let seen = drive(&bytes, expected, || chunk);
                assert_eq!(seen, steps, "in chunks of {chunk}, {expected} blocks expected");
            }
            let mut rng = Rng::new(7);
            for _ in 0..500 {
                assert_eq!(drive(&bytes, expected, || rng.below(1200)), steps);
            }
        }
    }

    #[test]
    fn room_is_made_for_what_has_come_not_for_what_was_announced() {
        let mut state = RecvState::new(ANY_BITFIELD_LEN);
        let mut announced = Vec::new();
        encode_bitfield_head(1 << 18, &mut announced);
        announced.push(0xff);
        assert!(matches!(next(&mut state, &announced), Ok(None)));
        let Stage::Growing { bytes, left, .. } = &state.stage else { panic!("a bitfield") };
        assert!(bytes.capacity() <= 64 && *left == (1 << 18) - 1, "{}", bytes.capacity());
        assert_eq!(state.message_room(), (1 << 18) - 1);
    }

    #[test]
    fn a_bitfield_of_any_length_is_taken_until_the_length_is_known() {
        let mut state = RecvState::new(ANY_BITFIELD_LEN);
        let mut bitfield = Vec::new();
        encode_bitfield_head(3, &mut bitfield);
        bitfield.extend([1, 2, 3]);
        let step = next(&mut state, &bitfield);
        assert!(matches!(step, Ok(Some(Step::Bitfield(bits))) if bits == [1, 2, 3]));
        state.set_bitfield_len(40);
        let refused = next(&mut state, &bitfield).expect_err("another length");
        assert_eq!(refused.to_string(), "bitfield of 4 bytes");
    }

    #[test]
    fn payload_lands_in_its_frame_without_passing_through_scratch() {
        let mut state = RecvState::new(0);
        let header = piece_header(block(0, 16_384));
        assert!(matches!(next(&mut state, &header), Ok(Some(Step::PieceHeader(_)))));
        let mut frame = Frame::unpooled();
        frame.set_len(16_384);
        state.accept(frame);
        let mut scratch = Scratch::new();
        let mut slices = state.slices(&mut scratch, 1, usize::MAX);
        assert_eq!(slices.as_mut_slice()[0].len(), 16_384);
        assert_eq!(state.advance(16_384), 0);
        assert!(matches!(next(&mut state, &[]), Ok(Some(Step::Block(..)))));
    }

    #[test]
    fn an_aborted_landing_gives_the_frame_back_and_skips_the_rest() {
        let mut state = RecvState::new(0);
        let mut bytes = piece_header(block(0, 100)).to_vec();
        bytes.extend_from_slice(&[1; 40]);
        assert!(matches!(next(&mut state, &bytes[..13]), Ok(Some(Step::PieceHeader(_)))));
        let mut frame = Frame::unpooled();
        frame.set_len(100);
        state.accept(frame);
        assert!(matches!(next(&mut state, &bytes[13..]), Ok(None)));
        let (aborted, frame) = state.abort_landing().expect("a landing");
        assert_eq!((aborted, frame.len()), (block(0, 100), 100));
        assert!(state.abort_landing().is_none());
        let mut rest = vec![1; 60];
        Message::Choke.encode(&mut rest);
        let step = next(&mut state, &rest);
        assert!(matches!(step, Ok(Some(Step::Message(Message::Choke)))), "{step:?}");
    }

    #[test]
    fn a_bitfield_of_another_length_is_refused_at_its_header() {
        let mut state = RecvState::new(40);
        let mut bytes = Vec::new();
        encode_bitfield_head(41, &mut bytes);
        let error = next(&mut state, &bytes).expect_err("too long");
        assert_eq!(error.to_string(), "bitfield of 42 bytes");
    }

    #[test]
    fn random_bytes_never_panic_and_never_wait_for_more_than_a_limit() {
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            let mut bytes = [0; 256];
            rng.fill(&mut bytes);
            // Small lengths and known ids, so that the walk gets past the first message.
            for at in (0..250).step_by(9) {
                bytes[at..at + 3].fill(0);
                bytes[at + 4] %= 20;
            }
            let mut state = RecvState::new(2);
            let mut scratch = holding(&bytes);
            let mut input = scratch.arrived(bytes.len());
            while let Ok(Some(step)) = state.next(&mut input) {
                if let Step::PieceHeader(b) = step {
                    assert!(b.len <= 16_384);
                    state.discard();
                }
            }
        }
    }
}
