//! How fast SHA-1 is, in one core's GiB/s: `cargo bench --bench hash`.
//!
//! `kernel/NAME/N` is one kernel of `disk::sha1_lanes` with N messages, those only that this
//! processor has: what `Kernel::choose` is set by. `pieces/N` is what a disk worker does with N
//! pieces of 1 MiB that lie in frames. A ratio between two of them says more than either: they
//! share the machine's mood.

#![allow(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use swarmloop::disk::hash::{self, Midstate};
use swarmloop::disk::sha1_lanes::{Block, INITIAL, Kernel, MAX_LANES, compress};
use swarmloop::id::BLOCK_LEN;
use swarmloop::wire::frame::Frame;

/// Blocks of a frame: the run that lanes usually have in common.
const RUN: usize = BLOCK_LEN as usize / size_of::<Block>();
const FRAMES_OF_A_PIECE: usize = 64;

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let data: Vec<Vec<Block>> = (0..MAX_LANES).map(|_| vec![[7; 64]; RUN]).collect();
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        // Lanes cost the same full or empty.
        let least = if kernel.lanes() > 4 { kernel.lanes() } else { 1 };
        for lanes in least..=kernel.lanes() {
            group.throughput(Throughput::Bytes(lanes as u64 * u64::from(BLOCK_LEN)));
            let inputs: Vec<&[Block]> = data[..lanes].iter().map(Vec::as_slice).collect();
            let mut states = vec![INITIAL; lanes];
            group.bench_function(BenchmarkId::new(format!("{kernel:?}"), lanes), |bencher| {
                bencher.iter(|| compress(kernel, &mut states, black_box(&inputs)));
            });
        }
    }
}

fn pieces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pieces");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let frame = || {
        let mut frame = Frame::unpooled();
        frame.set_len(BLOCK_LEN);
        frame
    };
    let pieces: Vec<Vec<Frame>> =
        (0..MAX_LANES).map(|_| (0..FRAMES_OF_A_PIECE).map(|_| frame()).collect()).collect();
    for count in [1, 2, 3, 4, 5, 8, 12, 16] {
        let len = count as u64 * FRAMES_OF_A_PIECE as u64 * u64::from(BLOCK_LEN);
        group.throughput(Throughput::Bytes(len));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let mut streams: Vec<_> = pieces[..count]
                    .iter()
                    .map(|piece| (Midstate::default(), piece.iter().map(Frame::payload)))
                    .collect();
                hash::update_each(&mut streams);
                streams.into_iter().map(|(midstate, _)| hash::finish(midstate)).collect::<Vec<_>>()
            });
        });
    }
}

criterion_group!(benches, kernels, pieces);
criterion_main!(benches);
