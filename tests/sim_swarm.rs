//! Whole swarms in virtual time: what leechers, seeds, trackers and liars come to. Here: swarms of
//! sessions. In `sim_swarm/`: random ones, disks, crashes, stops, and hosts that lie.
#![allow(clippy::unwrap_used)] // A test that meets what it does not expect has failed.

#[path = "sim_swarm/announcers.rs"]
mod announcers;
#[path = "sim_swarm/announces.rs"]
mod announces;
#[path = "sim_swarm/crash.rs"]
mod crash;
#[path = "sim_swarm/dht.rs"]
mod dht;
#[path = "sim_swarm/disks.rs"]
mod disks;
#[path = "sim_swarm/faults.rs"]
mod faults;
#[path = "sim_swarm/liar.rs"]
mod liar;
#[path = "sim_swarm/lies.rs"]
mod lies;
#[path = "sim_swarm/limits.rs"]
mod limits;
#[path = "sim_swarm/lsd.rs"]
mod lsd;
#[path = "sim_swarm/magnets.rs"]
mod magnets;
#[path = "sim_swarm/random.rs"]
mod random;
#[path = "sim_swarm/selecting.rs"]
mod selecting;
#[path = "sim_swarm/stopping.rs"]
mod stopping;
#[path = "sim_swarm/turnover.rs"]
mod turnover;
#[path = "sim_swarm/udp_trackers.rs"]
mod udp_trackers;

use std::sync::Arc;
use std::time::Duration;

use swarmloop::id::TorrentId;
use swarmloop::peer::error::{CloseReason, PeerError};
use swarmloop::rng::Rng;
use swarmloop::session::Session;
use swarmloop::session::io::{Event, Mode, Phase};
use swarmloop::sim::{AddOptions, HostId, HostOptions, Sim, SimOptions, Source};
use swarmloop::tracker_server::ServerConfig;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const ONLY: TorrentId = TorrentId(0);
/// Where the tracker of [`HostId`] 0 is.
const TRACKER_URL: &str = "http://10.0.0.1:6969/announce";

fn peer() -> HostOptions {
    let mut options = HostOptions::default();
    options.listens = true;
    options
}

fn tracker() -> HostOptions {
    let mut options = HostOptions::default();
    options.tracker = Some(ServerConfig::default());
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

/// Asserts that a host that has nothing to do holds no payload memory.
fn assert_at_rest(sim: &Sim, host: HostId) {
    let memory = sim.session(host).unwrap().memory();
    let held = (memory.lent, memory.pieces, memory.endgame, memory.uploads);
    assert_eq!(held, (0, 0, 0, 0), "host {} at rest\n{}", host.0, sim.dump());
}

fn one_seed_and_eight_leechers(seed: u64) -> Sim {
    let mut sim = Sim::new(SimOptions::new(seed));
    let source = Arc::new(Source::single(seed, 3_000_000, 64 << 10, None));
    let seeder = sim.add_seed(peer(), &source);
    let leechers = add_leechers(&mut sim, &source, &[seeder], 8);
    sim.run_until_complete(&leechers, 5 * MINUTE);
    sim.run_for(MINUTE);
    assert_at_rest(&sim, seeder);
    for leecher in leechers {
        assert_eq!(completions(&sim, leecher), [true]);
        let status = sim.torrent(leecher, ONLY).unwrap();
        assert_eq!((status.have, status.corrupt_pieces), (3_000_000, 0));
        assert_at_rest(&sim, leecher);
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

#[test]
fn leechers_finish_when_connections_reset_at_random() {
    for seed in 0..4 {
        let mut options = SimOptions::new(seed);
        options.reset_every = Some(Duration::from_secs(2));
        let mut sim = Sim::new(options);
        let source = Arc::new(Source::single(seed, 2_000_000, 64 << 10, None));
        let mut slow = peer();
        slow.link.up_rate = 100_000;
        let seeder = sim.add_seed(slow, &source);
        let leechers = add_leechers(&mut sim, &source, &[seeder], 4);
        sim.run_until_complete(&leechers, HOUR);
        let broken = |event: &&Event| {
            let io = PeerError::Closed(CloseReason::Io(std::io::ErrorKind::ConnectionReset));
            matches!(event, Event::PeerClosed { error, .. } if *error == io)
        };
        let resets: usize = leechers.iter().map(|l| sim.events(*l).filter(broken).count()).sum();
        assert!(resets > 10, "only {resets} resets");
        let banned = leechers.iter().map(|l| sim.torrent(*l, ONLY).unwrap().banned);
        assert_eq!(banned.sum::<usize>(), 0);
    }
}

#[test]
fn a_leecher_whose_peer_falls_silent_gets_its_blocks_from_others() {
    let mut sim = Sim::new(SimOptions::new(3));
    let source = Arc::new(Source::single(3, 4_000_000, 128 << 10, None));
    let mut slow = peer();
    slow.link.up_rate = 200_000;
    let seeders = [0; 2].map(|_| sim.add_seed(slow.clone(), &source));
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&seeders));
    sim.run_until(MINUTE, |sim| {
        sim.peers(leecher, ONLY).iter().all(|p| p.down_rate > 0)
            && sim.peers(leecher, ONLY).len() == 2
            && sim.torrent(leecher, ONLY).unwrap().pieces_have > 2
    });
    sim.blackhole(seeders[0]);
    // 4 MB at 200 kB/s are 20 s; a request that is left unanswered costs another minute at most.
    sim.run_until_complete(&[leecher], 2 * MINUTE);
    sim.run_for(5 * MINUTE);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().banned, 0);
    assert_at_rest(&sim, leecher);
}

#[test]
fn the_embedded_tracker_introduces_peers() {
    for ipv6 in [false, true] {
        let mut sim = Sim::new(SimOptions::new(4));
        let at = sim.add_host(tracker());
        let source = Arc::new(Source::single(4, 1_000_000, 32 << 10, Some(TRACKER_URL)));
        let mut options = peer();
        options.ipv6 = ipv6;
        let seeder = sim.add_host(options.clone());
        sim.put_files(seeder, &source);
        let seed = AddOptions { use_trackers: true, ..AddOptions::seed() };
        sim.add_torrent(seeder, &source, seed);
        sim.run_for(Duration::from_secs(1));
        let leechers: Vec<HostId> = (0..4).map(|_| sim.add_host(options.clone())).collect();
        for leecher in &leechers {
            sim.add_torrent(*leecher, &source, AddOptions::default());
        }
        sim.run_until_complete(&leechers, 5 * MINUTE);
        for host in leechers {
            sim.command(host, Session::shutdown);
            sim.run_until(MINUTE, |sim| sim.session(host).unwrap().is_idle());
            assert_at_rest(&sim, host);
        }
        assert_eq!(sim.session(at).unwrap().memory().frames, 0, "a tracker moves no payload");
    }
}

#[test]
fn a_tracker_that_comes_up_late_is_found() {
    find_late_tracker(TRACKER_URL);
}

/// Has a seed and a leecher find each other through a tracker at `url` that is not there at first.
fn find_late_tracker(url: &str) {
    let mut sim = Sim::new(SimOptions::new(5));
    let at = sim.add_host(tracker());
    sim.kill(at);
    let source = Arc::new(Source::single(5, 300_000, 32 << 10, Some(url)));
    let seeder = sim.add_host(peer());
    sim.put_files(seeder, &source);
    sim.add_torrent(seeder, &source, AddOptions { use_trackers: true, ..AddOptions::seed() });
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::default());
    sim.run_for(3 * MINUTE);
    assert!(!sim.is_complete(leecher));
    sim.restart(at);
    sim.run_until_complete(&[leecher], HOUR);
}

#[test]
fn hosts_come_and_go_and_everybody_finishes() {
    for seed in 0..3 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let mut rng = Rng::new(seed);
        sim.add_host(tracker());
        let source = Arc::new(Source::single(seed, 3_000_000, 64 << 10, Some(TRACKER_URL)));
        let mut slow = peer();
        slow.link.up_rate = 150_000;
        let seeder = sim.add_host(slow.clone());
        sim.put_files(seeder, &source);
        sim.add_torrent(seeder, &source, AddOptions { use_trackers: true, ..AddOptions::seed() });
        let leechers: Vec<HostId> = (0..5).map(|_| sim.add_host(slow.clone())).collect();
        for leecher in &leechers {
            sim.add_torrent(*leecher, &source, AddOptions::default());
        }
        for _ in 0..12 {
            sim.run_for(Duration::from_millis(500 + rng.below(4_000) as u64));
            let victim = leechers[rng.below(leechers.len())];
            let before = sim.torrent(victim, ONLY).map_or(0, |status| status.pieces_have);
            sim.kill(victim);
            sim.run_for(Duration::from_millis(rng.below(3_000) as u64));
            sim.restart(victim);
            let stopped = |sim: &Sim| {
                let phase = sim.torrent(victim, ONLY).unwrap().phase;
                assert!(!matches!(phase, Phase::Stopped(_)), "{phase:?} after a kill");
                phase != Phase::Checking
            };
            sim.run_until(MINUTE, stopped);
            let after = sim.torrent(victim, ONLY).unwrap().pieces_have;
            assert!(after >= before, "{after} of {before} pieces survived a kill");
        }
        sim.run_until_complete(&leechers, 3 * HOUR);
    }
}

#[test]
fn an_idle_swarm_makes_no_wake_ups_but_for_keep_alives_and_announces() {
    let mut sim = Sim::new(SimOptions::new(6));
    sim.add_host(tracker());
    let source = Arc::new(Source::single(6, 1_000_000, 32 << 10, Some(TRACKER_URL)));
    let seeder = sim.add_host(peer());
    sim.put_files(seeder, &source);
    sim.add_torrent(seeder, &source, AddOptions { use_trackers: true, ..AddOptions::seed() });
    // It has nothing to give and nobody to ask: its peers stay, and nothing moves.
    let other = Arc::new(Source::single(60, 1_000_000, 32 << 10, None));
    let [first, second] = [0; 2].map(|_| sim.add_host(peer()));
    sim.add_torrent(first, &other, AddOptions::from_peers(&[]));
    sim.add_torrent(second, &other, AddOptions::from_peers(&[first]));
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::default());
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    sim.run_for(10 * MINUTE);
    let hosts = [seeder, first, second, leecher];
    let before = hosts.map(|host| sim.turns(host));
    sim.run_for(HOUR);
    let turns: Vec<u64> = hosts.iter().zip(before).map(|(h, b)| sim.turns(*h) - b).collect();
    // 36 keep-alives each way on one connection, each with its echo of timers and windows; two
    // announces an hour of a few turns each.
    assert_eq!(sim.peers(first, ONLY).len(), 1, "{}", sim.dump());
    assert!(turns[1] <= 300 && turns[2] <= 300, "{turns:?}");
    assert!(turns[0] <= 60 && turns[3] <= 60, "{turns:?}");
}

#[test]
fn seeds_do_not_stay_connected_to_each_other() {
    let mut sim = Sim::new(SimOptions::new(9));
    let source = Arc::new(Source::single(9, 200_000, 32 << 10, None));
    let first = sim.add_seed(peer(), &source);
    let second = sim.add_host(peer());
    sim.put_files(second, &source);
    let seed = AddOptions { mode: Mode::Seed, ..AddOptions::from_peers(&[first]) };
    sim.add_torrent(second, &source, seed);
    sim.run_for(10 * MINUTE);
    assert!(sim.peers(first, ONLY).is_empty() && sim.peers(second, ONLY).is_empty());
    let connected = |event: &&Event| matches!(event, Event::PeerConnected { .. });
    assert!(sim.events(first).filter(connected).count() <= 1, "{}", sim.dump());
}

#[test]
fn two_hosts_that_dial_each_other_keep_one_connection() {
    for seed in 0..20 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 1_000_000, 32 << 10, None));
        let seeder = sim.add_host(peer());
        sim.put_files(seeder, &source);
        let leecher = sim.add_host(peer());
        let knows = |who| AddOptions::from_peers(&[who]);
        sim.add_torrent(seeder, &source, AddOptions { mode: Mode::Seed, ..knows(leecher) });
        sim.add_torrent(leecher, &source, knows(seeder));
        sim.run_until_complete(&[leecher], MINUTE);
        for host in [seeder, leecher] {
            assert!(sim.peers(host, ONLY).len() <= 1, "seed {seed}\n{}", sim.dump());
        }
    }
}

#[test]
fn a_removed_torrent_gives_everything_back_while_blocks_are_on_their_way() {
    for seed in 0..10 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 2_000_000, 64 << 10, None));
        let seeder = sim.add_seed(peer(), &source);
        let leechers = add_leechers(&mut sim, &source, &[seeder], 2);
        let ms = 30 + Rng::new(seed).below(400) as u64;
        sim.run_for(Duration::from_millis(ms));
        for host in [seeder, leechers[0]] {
            sim.command(host, |session, now| session.remove_torrent(ONLY, now));
        }
        sim.run_for(MINUTE);
        for host in [seeder, leechers[0]] {
            assert!(sim.torrent(host, ONLY).is_none(), "seed {seed}\n{}", sim.dump());
            assert_at_rest(&sim, host);
        }
    }
}

#[test]
fn torrents_that_share_a_small_pool_do_not_wait_for_each_others_keep_alives() {
    for seed in 0..5 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let sources: Vec<Arc<Source>> = (0..4)
            .map(|n| Arc::new(Source::single(100 * seed + n, 3_000_000, 256 << 10, None)))
            .collect();
        let seeder = sim.add_seed(peer(), &sources[0]);
        for source in &sources[1..] {
            sim.put_files(seeder, source);
            sim.add_torrent(seeder, source, AddOptions::seed());
        }
        let mut small = peer();
        small.config.pool_bytes = 512 << 10;
        let leecher = sim.add_host(small);
        for source in &sources {
            sim.add_torrent(leecher, source, AddOptions::from_peers(&[seeder]));
        }
        // 12 MB over a line of 10 MB/s.
        sim.run_until_complete(&[leecher], Duration::from_secs(10));
    }
}

#[test]
fn a_host_that_lost_a_race_of_dials_finds_its_peer_again_later() {
    for seed in 0..10 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 3_000_000, 64 << 10, None));
        let mut slow = peer();
        slow.link.up_rate = 300_000;
        let seeder = sim.add_host(slow);
        sim.put_files(seeder, &source);
        let leecher = sim.add_host(peer());
        let knows = |who| AddOptions::from_peers(&[who]);
        sim.add_torrent(seeder, &source, AddOptions { mode: Mode::Seed, ..knows(leecher) });
        sim.add_torrent(leecher, &source, knows(seeder));
        sim.run_for(Duration::from_secs(3));
        assert!(!sim.is_complete(leecher));
        // The seed comes back and knows nobody: it is up to the leecher to dial.
        sim.kill(seeder);
        sim.restart_without(seeder);
        sim.add_torrent(seeder, &source, AddOptions::seed());
        sim.run_until_complete(&[leecher], 5 * MINUTE);
    }
}

#[test]
fn a_few_connections_a_host_are_enough_for_a_large_swarm() {
    for seed in 0..5 {
        let mut sim = Sim::new(SimOptions::new(seed));
        sim.add_host(tracker());
        let source = Arc::new(Source::single(seed, 1_000_000, 32 << 10, Some(TRACKER_URL)));
        let mut few = peer();
        few.config.max_peers = 8;
        let seeder = sim.add_host(few.clone());
        sim.put_files(seeder, &source);
        sim.add_torrent(seeder, &source, AddOptions { use_trackers: true, ..AddOptions::seed() });
        let leechers: Vec<HostId> = (0..16).map(|_| sim.add_host(few.clone())).collect();
        for leecher in &leechers {
            sim.add_torrent(*leecher, &source, AddOptions::default());
        }
        sim.run_until_complete(&leechers, 2 * HOUR);
    }
}

#[test]
fn a_torrent_with_dead_peers_does_not_keep_another_from_dialling() {
    let mut sim = Sim::new(SimOptions::new(5));
    let (dead, alive) = (
        Arc::new(Source::single(1, 300_000, 32 << 10, None)),
        Arc::new(Source::single(2, 300_000, 32 << 10, None)),
    );
    let holes: Vec<HostId> = (0..30).map(|_| sim.add_host(peer())).collect();
    for hole in &holes {
        sim.blackhole(*hole);
    }
    let seeder = sim.add_seed(peer(), &alive);
    let mut narrow = peer();
    narrow.config.max_half_open = 2;
    let leecher = sim.add_host(narrow);
    sim.add_torrent(leecher, &dead, AddOptions::from_peers(&holes));
    let second = sim.add_torrent(leecher, &alive, AddOptions::from_peers(&[seeder]));
    // Two dials at a time that each end after 15 s: the one that is alive gets its turn.
    sim.run_until(5 * MINUTE, |sim| {
        sim.torrent(leecher, second).is_some_and(|torrent| torrent.phase == Phase::Seeding)
    });
    assert_eq!(sim.torrent(leecher, second).unwrap().phase, Phase::Seeding);
}
