//! Times the picker's operations on a torrent of 100 000 pieces: `cargo bench --bench picker`.
//!
//! Prints nanoseconds an operation, the least mean of a few rounds. Judges nothing: a machine that
//! is busy with something else shows it.

#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use swarmloop::bitfield::Bitfield;
use swarmloop::geometry::Geometry;
use swarmloop::id::{BLOCK_LEN, Block, ConnId, PieceIndex};
use swarmloop::picker::{Ask, Picker, Pieces};
use swarmloop::rng::Rng;

const PIECES: u32 = 100_000;
const ROUNDS: u32 = 5;

fn main() {
    availability();
    picks();
    swarms();
    end_game();
}

fn report(name: &str, times: u32, mut operation: impl FnMut(u32)) {
    let mean = |operation: &mut dyn FnMut(u32)| {
        let start = Instant::now();
        (0..times).for_each(operation);
        start.elapsed().as_nanos() / u128::from(times.max(1))
    };
    let least = (0..ROUNDS).map(|_| mean(&mut operation)).min().unwrap_or(0);
    println!("{name:<60} {least:>9} ns");
}

fn picker(pieces: u32, blocks: u32) -> Picker {
    let piece_len = blocks * BLOCK_LEN;
    let total_len = u64::from(pieces) * u64::from(piece_len);
    let mut have = Bitfield::new(pieces);
    (0..4).for_each(|piece| _ = have.insert(piece));
    Picker::new(Geometry::new(total_len, piece_len), have)
}

/// Returns a set in which each of `pieces` pieces is with a chance of `per_mille` in a thousand.
fn random(pieces: u32, per_mille: u32, rng: &mut Rng) -> Bitfield {
    let mut bits = Bitfield::new(pieces);
    (0..pieces).filter(|_| rng.below_u32(1000) < per_mille).for_each(|p| _ = bits.insert(p));
    bits
}

fn ask(owner: u32, pieces: Pieces<'_>, room: usize) -> Ask<'_> {
    let owner = ConnId { index: owner, generation: 0 };
    let credit = u32::MAX;
    Ask { owner, pieces, only: None, room, endgame_room: 0, credit, slow: false }
}

fn availability() {
    let mut rng = Rng::new(1);
    let mut picker = picker(PIECES, 16);
    report("join and leave, seed", 1000, |_| {
        picker.remote_joined(black_box(Pieces::All));
        picker.remote_left(black_box(Pieces::All));
    });
    for per_mille in [1, 10, 100, 500, 900, 999] {
        let bits = random(PIECES, per_mille, &mut rng);
        report(&format!("join and leave, {per_mille} of 1000 pieces"), 100, |_| {
            picker.remote_joined(black_box(Pieces::Some(&bits)));
            picker.remote_left(black_box(Pieces::Some(&bits)));
        });
    }
    report("have", 100_000, |at| picker.remote_has(PieceIndex(at * 7919 % PIECES)));
    let bits = Bitfield::new(PIECES);
    report("interest in a remote without pieces", 1000, |_| {
        black_box(picker.is_interesting(black_box(Pieces::Some(&bits))));
    });
}

/// A picker with `remotes` remotes that have half of the pieces each, and `seeds` seeds.
fn crowd(remotes: u32, seeds: u32, blocks: u32, rng: &mut Rng) -> Picker {
    let mut picker = picker(PIECES, blocks);
    for _ in 0..remotes {
        let bits = random(PIECES, 500, rng);
        picker.remote_joined(Pieces::Some(&bits));
    }
    (0..seeds).for_each(|_| picker.remote_joined(Pieces::All));
    picker
}

fn picks() {
    let mut rng = Rng::new(2);
    let mut out = Vec::new();
    let half = random(PIECES, 500, &mut rng);
    for (name, pieces) in [("seed", Pieces::All), ("half", Pieces::Some(&half))] {
        for (swarm, remotes, seeds) in [("all seeds", 0, 50), ("50 halves", 50, 1)] {
            for blocks in [1, 16] {
                let mut picker = crowd(remotes, seeds, blocks, &mut rng);
                picker.remote_joined(pieces);
                let name = format!("open 1 piece of {blocks} blocks, {name}, of {swarm}");
                report(&name, 1000, |_| {
                    out.clear();
                    picker.pick(&ask(0, pieces, blocks as usize), &mut rng, &mut out);
                    picker.close(out[0].piece, &mut Vec::new());
                });
            }
        }
    }
    let mut picker = crowd(50, 1, 1, &mut rng);
    report("open 1000 pieces of 1 block, half, of 50 halves", 10, |_| {
        out.clear();
        picker.pick(&ask(0, Pieces::Some(&half), 1000), &mut rng, &mut out);
        for block in &out {
            picker.close(block.piece, &mut Vec::new());
        }
    });
    let mut picker = crowd(0, 1, 16, &mut rng);
    let none = Bitfield::new(PIECES);
    report("nothing to pick", 1000, |_| {
        picker.pick(&ask(0, Pieces::Some(&none), 16), &mut rng, &mut out);
    });
}

/// A download in the steady state: `owners` owners with `depth` requests each; whoever has sent a
/// block asks for another.
fn swarms() {
    for (owners, depth, blocks) in
        [(1, 1000, 64), (1, 1000, 1), (200, 20, 64), (200, 20, 1), (10_000, 2, 64)]
    {
        let mut rng = Rng::new(3);
        let mut picker = crowd(0, 2, blocks, &mut rng);
        let mut cancels = Vec::new();
        let mut out: Vec<Block> = Vec::new();
        let mut pipelines: Vec<Vec<Block>> = vec![Vec::new(); owners as usize];
        for (owner, pipeline) in (0..).zip(&mut pipelines) {
            picker.pick(&ask(owner, Pieces::All, depth), &mut rng, pipeline);
        }
        let name = format!("a block: received and another picked, {owners} x {depth}, {blocks}");
        report(&name, 20_000, |_| {
            let owner = rng.below_u32(owners);
            let pipeline = &mut pipelines[owner as usize];
            let at = rng.below(pipeline.len().min(4));
            let block = pipeline.remove(at);
            let owner = ConnId { index: owner, generation: 0 };
            let progress = picker.received(block, owner, &mut cancels);
            if progress == Ok(swarmloop::picker::Progress::Complete) {
                // Never verified, so that the torrent does not end.
                picker.failed(block.piece);
            }
            picker.pick(&ask(owner.index, Pieces::All, 1), &mut rng, &mut out);
            pipeline.append(&mut out);
        });
    }
}

fn end_game() {
    let mut rng = Rng::new(4);
    let mut picker = picker(68, 64);
    let mut out = Vec::new();
    (0..100).for_each(|_| picker.remote_joined(Pieces::All));
    picker.pick(&ask(0, Pieces::All, 5000), &mut rng, &mut out);
    report("end game, 4096 blocks out: 8 duplicates", 60, |at| {
        let race = Ask { endgame_room: 8, ..ask(1 + at, Pieces::All, 8) };
        out.clear();
        picker.pick(&race, &mut rng, &mut out);
        assert_eq!(out.len(), 8);
    });
}
