//! Whole swarms in virtual time: what leechers, seeds, trackers and liars come to.
#![allow(clippy::unwrap_used)] // A test that meets what it does not expect has failed.

use std::sync::Arc;
use std::time::Duration;

use swarmloop::id::TorrentId;
use swarmloop::session::io::Event;
use swarmloop::sim::{AddOptions, HostId, HostOptions, Sim, SimOptions, Source};

const MINUTE: Duration = Duration::from_secs(60);
const ONLY: TorrentId = TorrentId(0);

fn peer() -> HostOptions {
    let mut options = HostOptions::default();
    options.listens = true;
    options
}

/// Adds `count` leechers; each knows all that were there before it.
fn add_leechers(
    sim: &mut Sim,
    source: &Arc<Source>,
    known: &[HostId],
    count: usize,
) -> Vec<HostId> {
    let (mut known, mut leechers) = (known.to_vec(), Vec::new());
    for _ in 0..count {
        let host = sim.add_host(peer());
        sim.add_torrent(host, source, AddOptions::from_peers(&known));
        known.push(host);
        leechers.push(host);
    }
    leechers
}

fn completions(sim: &Sim, host: HostId) -> Vec<bool> {
    let downloaded = |event: &Event| match event {
        Event::Complete { downloaded, .. } => Some(*downloaded),
        _ => None,
    };
    sim.events(host).filter_map(downloaded).collect()
}

fn one_seed_and_eight_leechers(seed: u64) -> Sim {
    let mut sim = Sim::new(SimOptions::new(seed));
    let source = Arc::new(Source::single(seed, 3_000_000, 64 << 10, None));
    let seeder = sim.add_seed(peer(), &source);
    let leechers = add_leechers(&mut sim, &source, &[seeder], 8);
    sim.run_until_complete(&leechers, 5 * MINUTE);
    sim.run_for(MINUTE);
    for leecher in leechers {
        assert_eq!(completions(&sim, leecher), [true]);
        let status = sim.torrent(leecher, ONLY).unwrap();
        assert_eq!((status.have, status.corrupt_pieces), (3_000_000, 0));
    }
    sim
}

#[test]
fn one_seed_and_eight_leechers_finish_and_all_bytes_are_equal() {
    let sim = one_seed_and_eight_leechers(1);
    let given = sim.torrent(HostId(0), ONLY).unwrap().uploaded;
    assert!(given < 8 * 3_000_000, "leechers feed each other too: the seed gave {given}");
}

#[test]
fn the_same_seed_gives_the_same_trace_hash_twice() {
    let [first, again, other] =
        [7, 7, 8].map(|seed| one_seed_and_eight_leechers(seed).trace_hash());
    assert_eq!(first, again);
    assert_ne!(first, other);
}
