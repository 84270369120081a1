//! Swarms in which everything is random but the end: everybody has every byte.

use std::io::Write;
use std::ops::Range;

use super::*;
use swarmloop::sim::{LinkOptions, SourceFile};

/// Which seeds are tried; `SWARMLOOP_SIM_SEEDS` asks for others: `300`, or `300..400`.
pub(super) fn seeds() -> Range<u64> {
    seeds_or("40")
}

/// Which seeds are tried; as [`seeds`], others by default.
pub(super) fn seeds_or(default: &str) -> Range<u64> {
    let asked = std::env::var("SWARMLOOP_SIM_SEEDS").unwrap_or_else(|_| default.to_owned());
    let (from, until) = asked.split_once("..").unwrap_or(("0", &asked));
    let number = |text: &str| text.parse().expect("SWARMLOOP_SIM_SEEDS is a number or a range");
    number(from)..number(until)
}

/// Names the seed of a simulation that has failed.
pub(super) struct Named(pub(super) u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, thread) = (self.0, std::thread::current());
            let _ = writeln!(
                std::io::stderr(),
                "seed {seed} has failed; once more: SWARMLOOP_SIM_SEEDS={seed}..{} \
                 cargo test --test sim_swarm {} -- --include-ignored",
                seed + 1,
                thread.name().unwrap_or_default(),
            );
        }
    }
}

const NAMES: [&str; 6] = ["a", "b/c", "b/d", "e", "f/g/h", "i"];
const PADS: [&str; 6] = [".pad/1", ".pad/2", ".pad/3", ".pad/4", ".pad/5", ".pad/6"];

pub(super) fn random_source(rng: &mut Rng, seed: u64, tracker: Option<&str>) -> Source {
    let piece_len = [16 << 10, 32 << 10, 20_000, 128 << 10, 1 << 20][rng.below(5)];
    let lens = [0, 1, 16_383, 16_384, 50_000, 200_000, 600_000];
    let pads = rng.below(2) == 0;
    let mut files = vec![SourceFile { name: "first", len: 1 + rng.below(300_000), pad: false }];
    let mut total = files[0].len;
    for (name, pad) in NAMES.iter().zip(PADS).take(rng.below(NAMES.len() + 1)) {
        let gap = total.next_multiple_of(piece_len as usize) - total;
        if pads && gap > 0 {
            files.push(SourceFile { name: pad, len: gap, pad: true });
            total += gap;
        }
        let len = lens[rng.below(lens.len())];
        files.push(SourceFile { name, len, pad: false });
        total += len;
    }
    Source::new(seed, &files, piece_len, tracker)
}

fn random_link(rng: &mut Rng) -> LinkOptions {
    let mut link = LinkOptions::default();
    link.up_latency = Duration::from_millis(rng.below(100) as u64);
    link.down_latency = Duration::from_millis(rng.below(100) as u64);
    link.up_rate = [30_000, 200_000, 1_000_000, 50_000_000][rng.below(4)];
    link.window = [4_000, 16 << 10, 64 << 10, 1 << 20][rng.below(4)];
    link.max_read = [40, 1_460, 16_397, 1 << 20][rng.below(4)];
    link.short_writes_per_mille = [0, 50, 500][rng.below(3)];
    link
}

pub(super) fn random_peer(rng: &mut Rng) -> HostOptions {
    let mut options = peer();
    options.link = random_link(rng);
    options.config.pool_bytes = [64 << 10, 1 << 20, 4 << 20, 64 << 20][rng.below(4)];
    options.config.unchoke_slots = 1 + rng.below(6);
    options.disk.latency.1 = Duration::from_millis([1, 50, 400][rng.below(3)]);
    options.ipv6 = rng.below(4) == 0;
    options
}

fn random_swarm(seed: u64) -> u64 {
    let _named = Named(seed);
    let mut rng = Rng::new(seed);
    let mut options = SimOptions::new(seed);
    options.check_every = 1 + rng.below(8) as u64;
    if rng.below(3) == 0 {
        options.reset_every = Some(Duration::from_secs(20));
    }
    if rng.below(3) == 0 {
        options.stall_every = Some(MINUTE);
        options.stall_for = Duration::from_secs(rng.below(100) as u64);
    }
    let mut sim = Sim::new(options);
    let tracked = rng.below(3) == 0;
    sim.add_host(tracker());
    let source = Arc::new(random_source(&mut rng, seed, tracked.then_some(TRACKER_URL)));
    let mut known = Vec::new();
    for _ in 0..=rng.below(2) {
        let host = sim.add_host(random_peer(&mut rng));
        sim.put_files(host, &source);
        sim.add_torrent(host, &source, AddOptions { use_trackers: tracked, ..AddOptions::seed() });
        known.push(host);
    }
    let seeders = known.len();
    for _ in 0..=rng.below(5) {
        let host = sim.add_host(random_peer(&mut rng));
        let mut add = AddOptions::from_peers(if tracked { &[] } else { &known });
        add.sequential = rng.below(3) == 0;
        add.use_trackers = tracked;
        sim.add_torrent(host, &source, add);
        known.push(host);
        sim.run_for(Duration::from_millis(rng.below(3_000) as u64));
    }
    sim.run_until_complete(&known[seeders..], 6 * HOUR);
    sim.run_for(10 * MINUTE);
    for host in &known {
        assert_at_rest(&sim, *host);
        assert_eq!(sim.torrent(*host, ONLY).unwrap().banned, 0, "{}", sim.dump());
    }
    for leecher in &known[seeders..] {
        assert_eq!(completions(&sim, *leecher), [true], "{}", sim.dump());
    }
    sim.trace_hash()
}

#[test]
fn random_swarms_finish_whatever_their_options() {
    seeds().for_each(|seed| _ = random_swarm(seed));
}

#[test]
fn random_swarms_are_the_same_twice() {
    for seed in [3, 11, 19] {
        assert_eq!(random_swarm(seed), random_swarm(seed));
    }
}
