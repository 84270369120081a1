//! Torrents that are stopped and started: what they keep, what they let go, and that they wake
//! nobody meanwhile.

use super::*;
use swarmloop::sim::DiskOptions;

const LEN: usize = 2_000_000;
const SIZE: u64 = 2_000_000;

/// A slow seed and a leecher, whose state is kept or not.
fn swarm(seed: u64, resume: bool) -> (Sim, HostId, HostId) {
    let mut sim = Sim::new(SimOptions::new(seed));
    let source = Arc::new(Source::single(seed, LEN, 64 << 10, None));
    let mut slow = peer();
    slow.link.up_rate = 200_000;
    let seeder = sim.add_seed(slow, &source);
    let leecher = sim.add_host(peer());
    let add = AddOptions { resume, ..AddOptions::from_peers(&[seeder]) };
    sim.add_torrent(leecher, &source, add);
    (sim, seeder, leecher)
}

fn phase(sim: &Sim, host: HostId) -> Phase {
    sim.torrent(host, ONLY).unwrap().phase
}

fn stop(sim: &mut Sim, host: HostId) {
    sim.command(host, |session, now| session.stop_torrent(ONLY, now));
}

fn start(sim: &mut Sim, host: HostId) {
    sim.command(host, |session, now| session.start_torrent(ONLY, now));
}

fn phases(sim: &Sim, host: HostId) -> Vec<Phase> {
    let phase = |event: &Event| match event {
        Event::Phase { phase, .. } => Some(phase.clone()),
        _ => None,
    };
    sim.events(host).filter_map(phase).collect()
}

#[test]
fn a_stopped_download_goes_on_from_where_it_was() {
    for resume in [false, true] {
        let (mut sim, seeder, leecher) = swarm(1, resume);
        sim.run_until(MINUTE, |sim| sim.torrent(leecher, ONLY).unwrap().have > SIZE / 2);
        stop(&mut sim, leecher);
        sim.run_for(MINUTE);
        let status = sim.torrent(leecher, ONLY).unwrap();
        assert_eq!((status.phase, status.peers), (Phase::Stopped(None), 0));
        assert!(status.have > SIZE / 2 && status.have < SIZE, "what was there is still known");
        assert_at_rest(&sim, leecher);
        assert_eq!(sim.torrent(seeder, ONLY).unwrap().peers, 0);
        start(&mut sim, leecher);
        sim.run_until_complete(&[leecher], HOUR);
        sim.run_for(MINUTE);
        let status = sim.torrent(leecher, ONLY).unwrap();
        let twice = status.downloaded - SIZE;
        // Blocks of open pieces, and those that were on their way; kept if there is a state.
        assert!(twice < if resume { 200_000 } else { 1_000_000 }, "{twice} bytes came twice");
        assert_eq!(completions(&sim, leecher), [true]);
        assert_eq!(
            phases(&sim, leecher),
            [
                Phase::Checking,
                Phase::Downloading,
                Phase::Stopped(None),
                Phase::Checking,
                Phase::Downloading,
                Phase::Seeding,
            ]
        );
    }
}

#[test]
fn a_stopped_torrent_wakes_nobody_and_lets_nobody_in() {
    let (mut sim, _, leecher) = swarm(2, true);
    sim.run_until_complete(&[leecher], HOUR);
    let source = Arc::new(Source::single(2, LEN, 64 << 10, None));
    let late = sim.add_host(peer());
    sim.add_torrent(late, &source, AddOptions::from_peers(&[leecher]));
    sim.run_until(MINUTE, |sim| sim.torrent(late, ONLY).unwrap().have > 0);
    stop(&mut sim, leecher);
    // What was due before it stopped comes up once and means nothing.
    sim.run_for(HOUR);
    assert_eq!(phase(&sim, leecher), Phase::Stopped(None));
    assert_eq!(sim.torrent(late, ONLY).unwrap().peers, 0, "it dials again and again, in vain");
    sim.command(late, |session, now| session.remove_torrent(ONLY, now));
    sim.run_for(HOUR);
    let turns = sim.turns(leecher);
    sim.run_for(24 * HOUR);
    assert_eq!(sim.turns(leecher), turns, "an idle session makes no wake-ups");
}

#[test]
fn trackers_hear_of_a_stop_and_of_the_start_after_it() {
    let mut sim = Sim::new(SimOptions::new(3));
    let tracking = sim.add_host(tracker());
    let source = Arc::new(Source::single(3, LEN, 64 << 10, Some(TRACKER_URL)));
    let seeder = sim.add_host(peer());
    sim.put_files(seeder, &source);
    sim.add_torrent(seeder, &source, AddOptions { use_trackers: true, ..AddOptions::seed() });
    let listed = |sim: &Sim| sim.session(tracking).and_then(Session::tracker).unwrap().peers;
    sim.run_until(MINUTE, |sim| listed(sim) == 1);
    // Whoever has not heard the answer does not know that it is listed.
    sim.run_for(MINUTE);
    stop(&mut sim, seeder);
    sim.run_until(MINUTE, |sim| listed(sim) == 0);
    start(&mut sim, seeder);
    sim.run_until(MINUTE, |sim| listed(sim) == 1);
    assert_eq!(completions(&sim, seeder), [false, false], "it was found complete each time");
}

#[test]
fn a_torrent_that_is_added_stopped_knows_what_it_has_and_hashes_nothing() {
    let (mut sim, seeder, leecher) = swarm(4, true);
    sim.run_until(MINUTE, |sim| sim.torrent(leecher, ONLY).unwrap().have > SIZE / 2);
    sim.command(leecher, Session::shutdown);
    sim.run_for(MINUTE);
    let have = sim.torrent(leecher, ONLY).unwrap().have;
    sim.kill(leecher);
    sim.restart_without(leecher);
    let source = Arc::new(Source::single(4, LEN, 64 << 10, None));
    let add = AddOptions { resume: true, stopped: true, ..AddOptions::from_peers(&[seeder]) };
    sim.add_torrent(leecher, &source, add);
    let told = phases(&sim, leecher).len();
    sim.run_for(MINUTE);
    let status = sim.torrent(leecher, ONLY).unwrap();
    assert_eq!((status.phase, status.have), (Phase::Stopped(None), have));
    assert_eq!(phases(&sim, leecher)[told..], [Phase::Checking, Phase::Stopped(None)]);
    let turns = sim.turns(leecher);
    sim.run_for(24 * HOUR);
    assert_eq!(sim.turns(leecher), turns);
    start(&mut sim, leecher);
    sim.run_until_complete(&[leecher], HOUR);
}

#[test]
fn a_torrent_that_is_stopped_before_it_is_known_stops_when_it_is() {
    let mut sim = Sim::new(SimOptions::new(5));
    let source = Arc::new(Source::single(5, LEN, 64 << 10, None));
    let mut options = peer();
    options.disk = DiskOptions::default();
    options.disk.latency = (Duration::from_secs(1), Duration::from_secs(2));
    let host = sim.add_host(options);
    sim.put_files(host, &source);
    sim.add_torrent(host, &source, AddOptions::seed());
    stop(&mut sim, host);
    assert_eq!(phase(&sim, host), Phase::Checking);
    sim.run_for(MINUTE);
    assert_eq!(phases(&sim, host), [Phase::Checking, Phase::Stopped(None)]);
    // Started and stopped and started again before anything of it has come back.
    start(&mut sim, host);
    sim.run_for(Duration::from_millis(500));
    stop(&mut sim, host);
    start(&mut sim, host);
    sim.run_for(MINUTE);
    assert_eq!(phase(&sim, host), Phase::Seeding);
}

#[test]
fn a_torrent_whose_disk_has_failed_can_be_started_again() {
    let (mut sim, _, leecher) = swarm(6, true);
    let mut broken = DiskOptions::default();
    broken.read_only = true;
    sim.disk_mut(leecher).set_options(broken);
    sim.run_until(MINUTE, |sim| matches!(phase(sim, leecher), Phase::Stopped(Some(_))));
    sim.run_for(HOUR);
    assert!(matches!(phase(&sim, leecher), Phase::Stopped(Some(_))), "not by itself");
    sim.disk_mut(leecher).set_options(DiskOptions::default());
    start(&mut sim, leecher);
    sim.run_until_complete(&[leecher], HOUR);
}

/// Stops and starts at any time, in any order, with disks that take their time: in the end every
/// byte is there, and nothing was lost or leaked on the way.
#[test]
fn whatever_is_stopped_and_started_when_it_is_complete_in_the_end() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut sim, seeder, leecher) = swarm(seed, seed % 2 == 0);
        for _ in 0..30 {
            let host = if rng.below(4) == 0 { seeder } else { leecher };
            sim.run_for(Duration::from_millis(rng.below(800) as u64));
            match rng.below(5) {
                0 | 1 => stop(&mut sim, host),
                2 | 3 => start(&mut sim, host),
                _ => {
                    stop(&mut sim, host);
                    start(&mut sim, host);
                }
            }
        }
        start(&mut sim, seeder);
        start(&mut sim, leecher);
        sim.run_until_complete(&[leecher], HOUR);
        sim.run_for(5 * MINUTE);
        assert_at_rest(&sim, seeder);
        assert_at_rest(&sim, leecher);
    }
}

#[test]
fn more_torrents_than_are_looked_at_at_a_time_are_all_looked_at() {
    let mut sim = Sim::new(SimOptions::new(7));
    let host = sim.add_host(peer());
    let torrents: Vec<TorrentId> = (0..700)
        .map(|n| {
            let source = Arc::new(Source::single(n, 1_000, 16 << 10, None));
            sim.add_torrent(host, &source, AddOptions::seed())
        })
        .collect();
    let phase = |sim: &Sim, id: TorrentId| sim.torrent(host, id).unwrap().phase;
    assert_eq!(phase(&sim, torrents[699]), Phase::Checking, "it waits for its turn");
    // Of those that wait some are stopped and some removed.
    for id in &torrents[400..500] {
        sim.command(host, |session, now| session.stop_torrent(*id, now));
    }
    for id in &torrents[500..600] {
        sim.command(host, |session, now| session.remove_torrent(*id, now));
    }
    sim.run_for(MINUTE);
    for (at, id) in torrents.iter().enumerate() {
        let phase = sim.torrent(host, *id).map(|status| status.phase);
        match at {
            400..500 => assert_eq!(phase, Some(Phase::Stopped(None)), "{at}"),
            500..600 => assert_eq!(phase, None, "{at}"),
            _ => assert_eq!(phase, Some(Phase::PartialSeeding), "{at}"),
        }
    }
}
