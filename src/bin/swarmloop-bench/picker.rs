//! `picker`: what the piece picker's operations cost at a thousand, a hundred thousand and a
//! million pieces.
//!
//! `have`, a bitfield that comes and goes, and a pick that opens a new piece, for peers that have
//! most, half or nearly none of the pieces.

use std::hint::black_box;
use std::time::{Duration, Instant};

use swarmloop::bitfield::Bitfield;
use swarmloop::geometry::Geometry;
use swarmloop::id::{BLOCK_LEN, Block, ConnId, PieceIndex};
use swarmloop::picker::{Ask, Picker, Pieces};
use swarmloop::rng::Rng;

use crate::args;
use crate::grid::Grid;
use crate::report::{Figure, Report};

/// Arguments of `picker`.
#[derive(Debug, clap::Args)]
pub(crate) struct PickerArgs {
    /// Pieces of the torrent; may be a list
    #[arg(long, value_name = "N", value_delimiter = ',')]
    #[arg(default_values_t = [1_000, 100_000, 1_000_000])]
    #[arg(value_parser = clap::value_parser!(u32).range(MIN_PIECES..=MAX_PIECES))]
    pieces: Vec<u32>,
    /// Seconds for each case
    #[arg(short = 'T', long, value_name = "SECS", default_value_t = 0.2)]
    #[arg(value_parser = args::seconds)]
    seconds: f64,
}

/// The fewest pieces with which all cases are possible.
const MIN_PIECES: i64 = 100;

/// The most pieces: more than any torrent has.
const MAX_PIECES: i64 = 1 << 24;

/// Blocks of a piece.
const BLOCKS: u32 = 16;

/// Peers that half of the torrents' pieces are spread over, besides one seed.
const PEERS: u32 = 50;

/// Pieces in a thousand of a peer that has joined just now, of one half-way, and of one that is
/// nearly complete.
const SHARES: [(u32, &str); 3] = [(10, "1 %"), (500, "50 %"), (999, "99.9 %")];

/// Measures every operation at every size.
pub(crate) fn run(args: &PickerArgs) -> Report {
    let time = Duration::from_secs_f64(args.seconds);
    let mut grid = Grid::new(&["operation", "pieces"], &["ns"]);
    for &pieces in &args.pieces {
        let mut add = |operation: String, ns: f64| {
            grid.row(vec![operation, pieces.to_string()], vec![ns]);
        };
        availability(pieces, time, &mut add);
        picks(pieces, time, &mut add);
    }
    let mut report = Report::new("picker");
    report.setting("each", Figure::Time(time));
    report.setting("peers", Figure::Count(PEERS.into()));
    report.setting("blocks", Figure::Count(BLOCKS.into()));
    report.table(grid.to_string(), grid.fields());
    report
}

/// Returns the least mean of a few parts of `time`, in nanoseconds: what disturbs only adds.
fn time_of(time: Duration, mut operation: impl FnMut(u32)) -> f64 {
    const PARTS: u32 = 5;
    /// Operations between two looks at the clock, so that it does not show.
    const BATCH: u32 = 16;
    let part = || {
        let began = Instant::now();
        let mut done = 0;
        loop {
            (done..done + BATCH).for_each(&mut operation);
            done += BATCH;
            let took = began.elapsed();
            if took >= time / PARTS || done > u32::MAX / 2 {
                return took.as_secs_f64() * 1e9 / f64::from(done);
            }
        }
    };
    std::iter::repeat_with(part).take(5).fold(f64::INFINITY, f64::min)
}

fn availability(pieces: u32, time: Duration, add: &mut impl FnMut(String, f64)) {
    let mut rng = Rng::new(1);
    let mut picker = empty(pieces);
    // A stride without a common factor goes through all pieces in an order that no cache foresees.
    let have = |at: u32| {
        PieceIndex(u32::try_from(u64::from(at) * 7_919 % u64::from(pieces)).expect("a piece"))
    };
    add("have".to_owned(), time_of(time, |at| picker.remote_has(have(at))));
    let mut picker = crowd(pieces, &mut rng);
    let mut join_and_leave = |peer: Pieces<'_>| {
        let both = time_of(time, |_| {
            picker.remote_joined(black_box(peer));
            picker.remote_left(black_box(peer));
        });
        both / 2.0
    };
    for (per_mille, share) in SHARES {
        let bits = random(pieces, per_mille, &mut rng);
        add(format!("join or leave, {share}"), join_and_leave(Pieces::Some(&bits)));
    }
    add("join or leave, seed".to_owned(), join_and_leave(Pieces::All));
}

fn picks(pieces: u32, time: Duration, add: &mut impl FnMut(String, f64)) {
    let mut rng = Rng::new(2);
    let mut pick = |peer: Pieces<'_>| {
        let mut picker = crowd(pieces, &mut rng);
        picker.remote_joined(peer);
        let mut out: Vec<Block> = Vec::new();
        let mut cancels = Vec::new();
        time_of(time, |_| {
            out.clear();
            picker.pick(&ask(peer), &mut rng, &mut out);
            picker.close(out[0].piece, &mut cancels);
            cancels.clear();
        })
    };
    let mut sets = Rng::new(3);
    for (per_mille, share) in SHARES {
        let bits = random(pieces, per_mille, &mut sets);
        add(format!("pick, {share}"), pick(Pieces::Some(&bits)));
    }
    add("pick, seed".to_owned(), pick(Pieces::All));
}

/// Asks for all blocks of one new piece.
fn ask(pieces: Pieces<'_>) -> Ask<'_> {
    let owner = ConnId { index: 0, generation: 0 };
    let room = usize::try_from(BLOCKS).expect("small");
    Ask { owner, pieces, only: None, room, endgame_room: 0, credit: u32::MAX, slow: false }
}

/// Returns a picker of which a few pieces are there, so that the random start is over.
fn empty(pieces: u32) -> Picker {
    let piece_len = BLOCKS * BLOCK_LEN;
    let mut have = Bitfield::new(pieces);
    (0..8).for_each(|piece| _ = have.insert(piece));
    Picker::new(Geometry::new(u64::from(pieces) * u64::from(piece_len), piece_len), have)
}

/// Returns a picker with peers that have half of the pieces each, and a seed.
fn crowd(pieces: u32, rng: &mut Rng) -> Picker {
    let mut picker = empty(pieces);
    for _ in 0..PEERS {
        picker.remote_joined(Pieces::Some(&random(pieces, 500, rng)));
    }
    picker.remote_joined(Pieces::All);
    picker
}

/// Returns a set in which each piece is with a chance of `per_mille` in a thousand, and the last
/// one in any case.
fn random(pieces: u32, per_mille: u32, rng: &mut Rng) -> Bitfield {
    let mut bits = Bitfield::new(pieces);
    (0..pieces).filter(|_| rng.below_u32(1_000) < per_mille).for_each(|at| _ = bits.insert(at));
    bits.insert(pieces - 1);
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_time_at_every_size() {
        let args = PickerArgs { pieces: vec![100, 1_000], seconds: 0.001 };
        let report = run(&args).to_json();
        let rows = report["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), 2 * (1 + 2 * (SHARES.len() + 1)));
        assert!(rows.iter().all(|row| row["ns"].as_f64().is_some_and(|ns| ns > 0.0)), "{rows:?}");
    }
}
