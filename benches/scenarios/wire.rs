//! The receiving and the sending half of a peer stream, without sockets.
//!
//! A read is a copy out of a stream that is in memory, as the kernel's would be; so rates of
//! payload are bounded by that of a copy.

use std::hint::black_box;

use swarmloop::id::{BLOCK_LEN, Block, PieceIndex};
use swarmloop::proto::message::{Message, piece_header};
use swarmloop::wire::frame::Frame;
use swarmloop::wire::recv::{RecvState, Step};
use swarmloop::wire::scratch::Scratch;
use swarmloop::wire::send::SendQueue;

use super::Scenario;

/// Bytes that one read brings at most.
const READ_LEN: usize = 64 << 10;
/// Blocks that were asked for and are still to come, as at a peer with a pipeline.
const EXPECTED: usize = 100;
/// Messages of a stream that has no payload.
const MESSAGES: u32 = 10_000;
/// Blocks of a stream of payload.
const BLOCKS: u32 = 64;

/// Writes the stream that is to be received.
type Make = fn() -> Vec<u8>;

pub(crate) fn all() -> Vec<Scenario> {
    let streams: [(&str, Make, u32, usize); 5] = [
        ("piece of 16 KiB", pieces, BLOCKS, EXPECTED),
        ("piece of 16 KiB, one expected", pieces, BLOCKS, 1),
        ("request", || encode(|at| Message::Request(block(at))), MESSAGES, 0),
        ("have", || encode(|at| Message::Have(PieceIndex(at))), MESSAGES, 0),
        ("requests, haves and cancels in turn", || encode(mixed), MESSAGES, 0),
    ];
    let mut all = Vec::new();
    for (name, make, messages, expected) in streams {
        let len = make().len() as u64;
        let receive = Scenario::new(format!("receive, {name}"), move || receive(make(), expected));
        all.push(receive.batch(messages.into()).bytes(len / u64::from(messages)));
    }
    all.push(Scenario::new("send, request", send_requests).batch(MESSAGES.into()).bytes(17));
    let payload = u64::from(BLOCK_LEN) + 13;
    all.push(
        Scenario::new("send, piece of 16 KiB", send_pieces).batch(BLOCKS.into()).bytes(payload),
    );
    all
}

fn block(at: u32) -> Block {
    Block { piece: PieceIndex(at / 64), begin: at % 64 * BLOCK_LEN, len: BLOCK_LEN }
}

fn mixed(at: u32) -> Message {
    match at % 4 {
        0 | 1 => Message::Request(block(at)),
        2 => Message::Have(PieceIndex(at)),
        _ => Message::Cancel(block(at - 2)),
    }
}

fn encode(message: impl Fn(u32) -> Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..MESSAGES).for_each(|at| message(at).encode(&mut bytes));
    bytes
}

fn pieces() -> Vec<u8> {
    let mut bytes = Vec::new();
    for at in 0..BLOCKS {
        bytes.extend_from_slice(&piece_header(block(at)));
        bytes.resize(bytes.len() + BLOCK_LEN as usize, 0x5a);
    }
    bytes
}

/// Takes in a whole stream; each block lands in the frame that the one before has left.
fn receive(stream: Vec<u8>, expected: usize) -> impl FnMut() {
    let mut state = RecvState::new(0);
    let mut scratch = Scratch::new();
    let mut idle = vec![Frame::unpooled(), Frame::unpooled()];
    move || {
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let in_scratch = read(&mut state, &mut scratch, expected, &mut rest);
            let mut arrived = scratch.arrived(in_scratch);
            while let Some(step) = state.next(&mut arrived).expect("a valid stream") {
                match step {
                    Step::PieceHeader(block) => {
                        let mut frame = idle.pop().expect("one is being filled at most");
                        frame.set_len(block.len);
                        state.accept(frame);
                    }
                    Step::Block(_, frame) => idle.push(frame),
                    step => drop(black_box(step)),
                }
            }
        }
    }
}

/// Plays the kernel: fills what the state offers from `rest`. Returns what is in the scratch.
pub(super) fn read(
    state: &mut RecvState,
    scratch: &mut Scratch,
    expected: usize,
    rest: &mut &[u8],
) -> usize {
    let mut left = READ_LEN.min(rest.len());
    let mut read = 0;
    for slice in state.slices(scratch, expected, usize::MAX).as_mut_slice() {
        let n = slice.len().min(left);
        slice[..n].copy_from_slice(&rest[..n]);
        *rest = &rest[n..];
        left -= n;
        read += n;
    }
    state.advance(read)
}

fn send_requests() -> impl FnMut() {
    let mut queue = SendQueue::default();
    let mut frames = Vec::new();
    move || {
        for at in 0..MESSAGES {
            queue.message(&Message::Request(block(at)));
            // As many as a turn asks of a peer.
            if at % 16 == 15 {
                let written = black_box(queue.slices(usize::MAX)).total_len();
                queue.advance(written, &mut frames);
            }
        }
    }
}

fn send_pieces() -> impl FnMut() {
    let mut queue = SendQueue::default();
    let mut idle: Vec<_> = (0..BLOCKS).map(|_| Frame::unpooled()).collect();
    for frame in &mut idle {
        frame.set_len(BLOCK_LEN);
    }
    move || {
        for at in 0..BLOCKS {
            queue.block(block(at), idle.pop().expect("one for each"));
        }
        while !queue.is_empty() {
            let written = black_box(queue.slices(usize::MAX)).total_len();
            queue.advance(written.min(4 * READ_LEN), &mut idle);
        }
    }
}
