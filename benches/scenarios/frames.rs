//! The path of a block's frame: out of the pool, under a stream, back.

use std::hint::black_box;

use swarmloop::id::{BLOCK_LEN, Block, PieceIndex};
use swarmloop::proto::message::piece_header;
use swarmloop::wire::frame::{Frame, FramePool, Share};
use swarmloop::wire::recv::{RecvState, Step};
use swarmloop::wire::scratch::Scratch;

use super::Scenario;
use super::wire::read;

/// Operations a call.
const BATCH: u32 = 1_000;
/// Blocks of a piece of 1 MiB.
const PIECE_BLOCKS: u32 = 64;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("take and give back", take_and_give).batch(BATCH.into()),
        Scenario::new("a piece of 64 blocks: reserve, take, give back", whole_piece),
        Scenario::new("a block: header, frame, payload", land).batch(BATCH.into()),
    ]
}

fn pool() -> FramePool {
    FramePool::new(64 << 20)
}

fn take_and_give() -> impl FnMut() {
    let mut pool = pool();
    assert!(pool.reserve(Share::Pieces, 1), "an empty pool has credit");
    move || {
        for _ in 0..BATCH {
            let frame = black_box(pool.take(black_box(BLOCK_LEN)));
            pool.give(frame);
        }
    }
}

fn whole_piece() -> impl FnMut() {
    let mut pool = pool();
    let mut row: Vec<Frame> = Vec::new();
    move || {
        assert!(pool.reserve(Share::Pieces, PIECE_BLOCKS), "an empty pool has credit");
        row.extend((0..PIECE_BLOCKS).map(|_| pool.take(BLOCK_LEN)));
        pool.give_all(black_box(&mut row));
        pool.release(Share::Pieces, PIECE_BLOCKS);
    }
}

/// What a block costs beside the read of its payload: the header is read, a frame is taken, the
/// payload is said to have come, the frame is given back.
fn land() -> impl FnMut() {
    let mut pool = pool();
    assert!(pool.reserve(Share::Pieces, 1), "an empty pool has credit");
    let block = Block { piece: PieceIndex(7), begin: 3 * BLOCK_LEN, len: BLOCK_LEN };
    let header = piece_header(block);
    let mut state = RecvState::new(0);
    let mut scratch = Scratch::new();
    move || {
        for _ in 0..BATCH {
            let in_scratch = read(&mut state, &mut scratch, 1, &mut black_box(&header[..]));
            let Ok(Some(Step::PieceHeader(block))) = state.next(&mut scratch.arrived(in_scratch))
            else {
                unreachable!("the header of a piece")
            };
            state.accept(pool.take(block.len));
            black_box(state.slices(&mut scratch, 1, usize::MAX).total_len());
            state.advance(black_box(BLOCK_LEN as usize));
            let Ok(Some(Step::Block(_, frame))) = state.next(&mut scratch.arrived(0)) else {
                unreachable!("all of its payload")
            };
            pool.give(frame);
        }
    }
}
