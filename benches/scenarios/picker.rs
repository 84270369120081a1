//! The picker on torrents of 1 000, 100 000 and a million pieces of 4 blocks.
//!
//! The first group has the scenarios and the names of libtorrent's `tools/bencher.cpp`, so that the
//! numbers of the two can be laid side by side. Where that picker only answers, ours also marks
//! what it picked; what undoes this is measured with it. The second group is ours: the steady
//! states of swarms, and the cases that are hard for a search by rarity.

use std::hint::black_box;

use swarmloop::bitfield::Bitfield;
use swarmloop::geometry::Geometry;
use swarmloop::id::{BLOCK_LEN, Block, ConnId, PieceIndex};
use swarmloop::picker::{Ask, Picker, Pieces, Progress};
use swarmloop::rng::Rng;

use super::Scenario;

const SIZES: [(&str, u32); 3] = [("1k", 1_000), ("100k", 100_000), ("1M", 1_000_000)];
/// Blocks of a piece, as in libtorrent's bench.
const BLOCKS: u32 = 4;
/// Pieces that are open beside the one that is marked, as in libtorrent's bench.
const OPEN: u32 = 5_000;
/// Haves a call.
const HAVES: u32 = 1_000;

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (label, pieces) in SIZES {
        let mut sized = Vec::new();
        refcounts(pieces, &mut sized);
        picks(pieces, &mut sized);
        seeds(pieces, &mut sized);
        marks(pieces, &mut sized);
        swarms(pieces, &mut sized);
        for scenario in &mut sized {
            scenario.name.insert_str(0, &format!("{label}: "));
        }
        all.append(&mut sized);
    }
    steady_states(&mut all);
    all.push(Scenario::new("end game, 4096 blocks out: 8 duplicates and their release", end_game));
    all
}

/// A picker that has left the random start behind: four pieces are verified.
fn picker(pieces: u32, blocks: u32) -> Picker {
    let piece_len = blocks * BLOCK_LEN;
    let total_len = u64::from(pieces) * u64::from(piece_len);
    let mut have = Bitfield::new(pieces);
    (1..5).for_each(|piece| _ = have.insert(piece));
    Picker::new(Geometry::new(total_len, piece_len), have)
}

/// `count` of `pieces` pieces at even distances.
fn spread(pieces: u32, count: u32) -> Bitfield {
    let mut bits = Bitfield::new(pieces);
    let stride = (pieces / count).max(1) as usize;
    (0..pieces).step_by(stride).take(count as usize).for_each(|piece| _ = bits.insert(piece));
    bits
}

/// A random set of `per_10k` of ten thousand of the pieces.
fn random(pieces: u32, per_10k: u32, rng: &mut Rng) -> Bitfield {
    // In 64 bits, as a million pieces times ten thousand are too many for 32.
    let share = |of: u64| u32::try_from(u64::from(pieces) * of / 10_000).expect("a part of all");
    if per_10k > 5_000 {
        let mut bits = Bitfield::full(pieces);
        let mut left = share(10_000 - u64::from(per_10k));
        while left > 0 {
            left -= u32::from(bits.remove(rng.below_u32(pieces)));
        }
        return bits;
    }
    let mut bits = Bitfield::new(pieces);
    let mut left = share(per_10k.into());
    while left > 0 {
        left -= u32::from(bits.insert(rng.below_u32(pieces)));
    }
    bits
}

/// Each piece with a chance of one half; `pieces` is a multiple of 8.
fn half(pieces: u32, rng: &mut Rng) -> Bitfield {
    let mut payload = vec![0; Bitfield::wire_len(pieces)];
    rng.fill(&mut payload);
    Bitfield::from_wire(&payload, pieces).expect("no spare bits")
}

fn ask(owner: u32, pieces: Pieces<'_>, room: usize) -> Ask<'_> {
    let owner = ConnId { index: owner, generation: 0 };
    Ask { owner, pieces, only: None, room, endgame_room: 0, credit: u32::MAX, slow: false }
}

/// Picks up to `room` blocks and closes the pieces that were opened for them.
fn pick_and_close(picker: &mut Picker, pieces: Pieces<'_>, room: usize, rest: &mut Rest) {
    rest.picked.clear();
    picker.pick(&ask(0, black_box(pieces), room), &mut rest.rng, &mut rest.picked);
    let mut last = None;
    for block in &rest.picked {
        if last.replace(block.piece) != Some(block.piece) {
            picker.close(block.piece, &mut rest.cancels);
        }
    }
    rest.cancels.clear();
}

/// What a pick needs besides the picker.
struct Rest {
    rng: Rng,
    picked: Vec<Block>,
    cancels: Vec<(ConnId, Block)>,
}

impl Rest {
    fn new() -> Self {
        Self { rng: Rng::new(9), picked: Vec::new(), cancels: Vec::new() }
    }
}

/// A peer with some of the pieces joins and leaves.
fn refcounts(pieces: u32, all: &mut Vec<Scenario>) {
    let mut add = |name: String, make: Box<dyn Fn() -> Bitfield>| {
        all.push(Scenario::new(name, move || {
            let mut picker = picker(pieces, BLOCKS);
            let bits = make();
            move || {
                picker.remote_joined(black_box(Pieces::Some(&bits)));
                picker.remote_left(black_box(Pieces::Some(&bits)));
            }
        }));
    };
    for set in [1, 10, 49, 50, 200, 5_000] {
        let plural = if set == 1 { "bit" } else { "bits" };
        let name = format!("refcount bitfield, {set} {plural} set");
        add(name, Box::new(move || spread(pieces, set.min(pieces))));
    }
    for (name, per_10k) in [("60 %", 6_000), ("99.99 %", 9_999)] {
        let make = move || random(pieces, per_10k, &mut Rng::new(1));
        add(format!("refcount bitfield, {name} set"), Box::new(make));
    }
}

fn picks(pieces: u32, all: &mut Vec<Scenario>) {
    let mut add = |name: &str, make: fn(u32) -> Bitfield, room: usize| {
        all.push(Scenario::new(name, move || {
            let mut picker = picker(pieces, BLOCKS);
            picker.remote_joined(Pieces::All);
            let (bits, mut rest) = (make(pieces), Rest::new());
            move || pick_and_close(&mut picker, Pieces::Some(&bits), room, &mut rest)
        }));
    };
    let one = |pieces: u32| {
        let mut bits = Bitfield::new(pieces);
        bits.insert(pieces - 1);
        bits
    };
    add("pick pieces, sparse peer", one, 200);
    add("pick pieces, dense peer", Bitfield::full, 4);
    add("pick pieces, clean", Bitfield::full, 1);
    all.push(Scenario::new("pick pieces, after dirty", move || {
        let mut picker = picker(pieces, BLOCKS);
        let (bits, mut rest) = (Bitfield::full(pieces), Rest::new());
        move || {
            picker.remote_joined(Pieces::All);
            pick_and_close(&mut picker, Pieces::Some(&bits), 1, &mut rest);
            picker.remote_left(Pieces::All);
        }
    }));
}

fn seeds(pieces: u32, all: &mut Vec<Scenario>) {
    all.push(Scenario::new("add/remove seed", move || {
        let mut picker = picker(pieces, BLOCKS);
        move || {
            picker.remote_joined(black_box(Pieces::All));
            picker.remote_left(black_box(Pieces::All));
        }
    }));
    all.push(Scenario::new("add/remove near-seed", move || {
        let mut picker = picker(pieces, BLOCKS);
        let near_seed = near_seed(pieces);
        move || {
            picker.remote_joined(black_box(Pieces::Some(&near_seed)));
            picker.remote_left(black_box(Pieces::Some(&near_seed)));
        }
    }));
    all.push(Scenario::new("break one seed", move || {
        let mut picker = picker(pieces, BLOCKS);
        let near_seed = near_seed(pieces);
        move || {
            picker.remote_joined(black_box(Pieces::All));
            picker.remote_left(black_box(Pieces::All));
            picker.remote_joined(black_box(Pieces::Some(&near_seed)));
            picker.remote_has(PieceIndex(0));
            picker.remote_left(black_box(Pieces::All));
        }
    }));
}

fn near_seed(pieces: u32) -> Bitfield {
    let mut bits = Bitfield::full(pieces);
    bits.remove(0);
    bits
}

fn marks(pieces: u32, all: &mut Vec<Scenario>) {
    let open = OPEN.min(pieces / 2);
    for (name, piece) in [("low", 0), ("high", 5 + open)] {
        let name = format!("mark as downloading, {name} index");
        all.push(Scenario::new(name, move || {
            let mut picker = picker(pieces, BLOCKS);
            picker.remote_joined(Pieces::All);
            let (mut rest, mut bits) = (Rest::new(), Bitfield::new(pieces));
            (5..5 + open).for_each(|piece| _ = bits.insert(piece));
            // All blocks of each, so that there is nothing to pick but the piece that is marked.
            let room = (open * BLOCKS) as usize;
            picker.pick(&ask(1, Pieces::Some(&bits), room), &mut rest.rng, &mut rest.picked);
            let mut bits = Bitfield::new(pieces);
            bits.insert(piece);
            move || pick_and_close(&mut picker, Pieces::Some(&bits), 1, &mut rest)
        }));
    }
    all.push(Scenario::new("get availability", move || {
        let mut picker = picker(pieces, BLOCKS);
        picker.remote_joined(Pieces::All);
        let mut counts = Vec::new();
        move || {
            counts.clear();
            counts.extend((0..pieces).map(|piece| picker.availability(PieceIndex(piece))));
            black_box(&mut counts);
        }
    }));
}

/// The pieces of a peer of ours; `None` is a seed.
type Held = fn(u32, &mut Rng) -> Option<Bitfield>;

const SEED: Held = |_, _| None;
const HALF: Held = |pieces, rng| Some(half(pieces, rng));
const SPARSE: Held = |pieces, rng| Some(random(pieces, 100, rng));
const NEAR_SEED: Held = |pieces, rng| Some(random(pieces, 9_990, rng));
const NONE: Held = |pieces, _| Some(Bitfield::new(pieces));

/// A peer with some of the pieces opens one in a swarm of others.
fn swarms(pieces: u32, all: &mut Vec<Scenario>) {
    let peers = [("a seed", SEED), ("half", HALF), ("1 %", SPARSE), ("99.9 %", NEAR_SEED)];
    let crowds: [(&str, u32, Held); 4] = [
        ("50 seeds", 50, SEED),
        ("50 halves", 50, HALF),
        ("50 sparse peers", 50, SPARSE),
        ("50 near-seeds", 50, NEAR_SEED),
    ];
    for (swarm, remotes, held) in crowds {
        for (peer, own) in peers {
            let name = format!("open a piece of {peer}, in a swarm of {swarm}");
            all.push(Scenario::new(name, move || opening(crowd(pieces, remotes, held), own)));
        }
    }
    all.push(Scenario::new("open a piece of half, 20 wanted pieces left", move || {
        let mut picker = crowd(pieces, 50, HALF);
        let left = spread(pieces, 20);
        (0..pieces).filter(|piece| !left.contains(*piece)).for_each(|piece| {
            picker.verified(PieceIndex(piece));
        });
        opening(picker, HALF)
    }));
    all.push(Scenario::new("nothing to pick", move || opening(crowd(pieces, 1, SEED), NONE)));
    let have = Scenario::new("have", move || {
        let mut picker = crowd(pieces, 50, HALF);
        let mut rng = Rng::new(5);
        let haves: Vec<_> = (0..HAVES).map(|_| PieceIndex(rng.below_u32(pieces))).collect();
        move || haves.iter().for_each(|piece| picker.remote_has(black_box(*piece)))
    });
    all.push(have.batch(HAVES.into()));
    all.push(Scenario::new("a have and a pick, half, in a swarm of 50 halves", move || {
        let mut picker = crowd(pieces, 50, HALF);
        let (mut rng, mut rest) = (Rng::new(6), Rest::new());
        let bits = half(pieces, &mut rng);
        picker.remote_joined(Pieces::Some(&bits));
        move || {
            picker.remote_has(PieceIndex(rng.below_u32(pieces)));
            pick_and_close(&mut picker, Pieces::Some(&bits), 1, &mut rest);
        }
    }));
}

fn crowd(pieces: u32, remotes: u32, held: Held) -> Picker {
    let mut picker = picker(pieces, BLOCKS);
    let mut rng = Rng::new(2);
    for _ in 0..remotes {
        let bits = held(pieces, &mut rng);
        picker.remote_joined(bits.as_ref().map_or(Pieces::All, Pieces::Some));
    }
    picker
}

fn opening(mut picker: Picker, held: Held) -> impl FnMut() {
    let mut rest = Rest::new();
    let bits = held(picker.geometry().pieces(), &mut rest.rng);
    picker.remote_joined(bits.as_ref().map_or(Pieces::All, Pieces::Some));
    move || {
        let pieces = bits.as_ref().map_or(Pieces::All, Pieces::Some);
        pick_and_close(&mut picker, pieces, 1, &mut rest);
    }
}

/// Downloads in their steady state: `owners` owners with `depth` requests each; whoever has sent a
/// block asks for another.
fn steady_states(all: &mut Vec<Scenario>) {
    for (owners, depth, blocks) in
        [(1, 1_000, 64), (1, 1_000, 1), (200, 20, 64), (200, 20, 1), (10_000, 2, 64)]
    {
        let name = format!("a block and the next, {owners} x {depth}, pieces of {blocks} blocks");
        let blocks_a_call = 1_000;
        let scenario = Scenario::new(name, move || exchange(owners, depth, blocks, blocks_a_call));
        all.push(scenario.batch(blocks_a_call.into()));
    }
}

fn exchange(owners: u32, depth: usize, blocks: u32, blocks_a_call: u32) -> impl FnMut() {
    let mut picker = picker(100_000, blocks);
    (0..2).for_each(|_| picker.remote_joined(Pieces::All));
    let mut rest = Rest::new();
    let mut pipelines: Vec<Vec<Block>> = vec![Vec::new(); owners as usize];
    for (owner, pipeline) in (0..).zip(&mut pipelines) {
        picker.pick(&ask(owner, Pieces::All, depth), &mut rest.rng, pipeline);
    }
    move || {
        for _ in 0..blocks_a_call {
            let owner = rest.rng.below_u32(owners);
            let pipeline = &mut pipelines[owner as usize];
            let at = rest.rng.below(pipeline.len().min(4));
            let block = pipeline.remove(at);
            let conn = ConnId { index: owner, generation: 0 };
            let progress = picker.received(block, conn, &mut rest.cancels);
            if progress == Ok(Progress::Complete) {
                // Never verified, so that the torrent does not end.
                picker.failed(block.piece);
            }
            picker.pick(&ask(owner, Pieces::All, 1), &mut rest.rng, pipeline);
        }
    }
}

fn end_game() -> impl FnMut() {
    let mut picker = picker(68, 64);
    let mut rest = Rest::new();
    (0..100).for_each(|_| picker.remote_joined(Pieces::All));
    picker.pick(&ask(0, Pieces::All, 5_000), &mut rest.rng, &mut rest.picked);
    move || {
        let race = Ask { endgame_room: 8, ..ask(1, Pieces::All, 8) };
        rest.picked.clear();
        picker.pick(&race, &mut rest.rng, &mut rest.picked);
        rest.picked.iter().for_each(|block| picker.release(*block, race.owner));
    }
}
