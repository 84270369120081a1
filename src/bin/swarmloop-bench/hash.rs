//! `hash`: how fast pieces are hashed, by one and by more threads.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use swarmloop::disk::hash;
use swarmloop::id::BLOCK_LEN;
use swarmloop::rng::Rng;
use swarmloop::wire::frame::Frame;

use crate::args;
use crate::failure::Failure;
use crate::grid::Grid;
use crate::report::{Figure, Report, float};
use crate::units::{GIB, bytes};

/// Arguments of `hash`.
#[derive(Debug, clap::Args)]
pub(crate) struct HashArgs {
    /// Threads that hash at one time; may be a list
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_THREADS))]
    threads: Vec<u32>,
    /// Bytes of a piece; may be a list
    #[arg(short, long, value_name = "SIZE", value_delimiter = ',', value_parser = args::size)]
    #[arg(default_values = ["16K", "256K", "1M", "4M", "16M"])]
    piece_len: Vec<u64>,
    /// Seconds for each case
    #[arg(short = 'T', long, value_name = "SECS", default_value_t = 1.0)]
    #[arg(value_parser = args::seconds)]
    seconds: f64,
}

/// The most threads: more than there are in machines.
const MAX_THREADS: i64 = 1_024;

/// The longest piece: what metainfo files may have.
const MAX_PIECE_LEN: u64 = 256 << 20;

/// Bytes that a thread goes through again and again: more than a second-level cache, as a piece
/// that comes from the network is when it is hashed.
const WORKING_SET: u64 = 16 << 20;

/// Measures every combination of threads and piece length.
pub(crate) fn run(args: &HashArgs) -> Result<Report, Failure> {
    let time = Duration::from_secs_f64(args.seconds);
    let mut grid = Grid::new(&["threads", "piece"], &["gib_per_s", "gib_per_s_a_thread"]);
    for &threads in &args.threads {
        for &piece_len in &args.piece_len {
            if piece_len > MAX_PIECE_LEN {
                return Err(Failure::usage("no torrent has pieces of this length"));
            }
            let rate = all_threads(threads, piece_len, time);
            let labels = vec![threads.to_string(), bytes(piece_len)];
            grid.row(labels, vec![rate, rate / f64::from(threads)]);
        }
    }
    let mut report = Report::new("hash");
    report.setting("each", Figure::Time(time));
    report.table(grid.to_string(), grid.fields());
    Ok(report)
}

/// Returns the GiB a second of all threads together.
fn all_threads(threads: u32, piece_len: u64, time: Duration) -> f64 {
    let start = Barrier::new(usize::try_from(threads).unwrap_or(usize::MAX));
    std::thread::scope(|scope| {
        let one = |seed| {
            let start = &start;
            scope.spawn(move || {
                let pieces = pieces(piece_len, seed);
                start.wait();
                one_thread(&pieces, piece_len, time)
            })
        };
        let threads: Vec<_> = (0..u64::from(threads)).map(one).collect();
        threads.into_iter().map(|thread| thread.join().expect("hashing does not panic")).sum()
    })
}

fn one_thread(pieces: &[Vec<Frame>], piece_len: u64, time: Duration) -> f64 {
    let began = Instant::now();
    let mut hashed = 0;
    for piece in pieces.iter().cycle() {
        std::hint::black_box(hash::piece(piece));
        hashed += piece_len;
        if began.elapsed() >= time {
            break;
        }
    }
    float(hashed) / GIB / began.elapsed().as_secs_f64()
}

/// Makes pieces of random bytes, as many as the working set holds and at least one.
fn pieces(piece_len: u64, seed: u64) -> Vec<Vec<Frame>> {
    let mut rng = Rng::new(seed);
    (0..(WORKING_SET / piece_len).max(1)).map(|_| frames(piece_len, &mut rng)).collect()
}

/// Makes a piece of random bytes, cut into blocks.
pub(crate) fn frames(piece_len: u64, rng: &mut Rng) -> Vec<Frame> {
    let block_len = u64::from(BLOCK_LEN);
    let block = |n: u64| {
        let mut frame = Frame::unpooled();
        let len = (piece_len - n * block_len).min(block_len);
        frame.set_len(u32::try_from(len).expect("at most a block"));
        rng.fill(frame.payload_mut());
        frame
    };
    (0..piece_len.div_ceil(block_len)).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_cut_into_blocks_and_a_rest() {
        let lens =
            |len| -> Vec<u32> { frames(len, &mut Rng::new(1)).iter().map(Frame::len).collect() };
        assert_eq!(lens(1), [1]);
        assert_eq!(lens(2 * u64::from(BLOCK_LEN)), [BLOCK_LEN, BLOCK_LEN]);
        assert_eq!(lens(u64::from(BLOCK_LEN) + 5), [BLOCK_LEN, 5]);
    }

    #[test]
    fn every_combination_is_a_row_with_a_rate() {
        let args = HashArgs { threads: vec![1, 2], piece_len: vec![1000, 70_000], seconds: 0.001 };
        let report = run(&args).expect("measured").to_json();
        let rows = report["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row["gib_per_s"].as_f64().is_some_and(|rate| rate > 0.0)));
        assert_eq!(rows[3]["threads"], "2");
    }
}
