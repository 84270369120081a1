//! Swarms that know each other through a tracker over UDP, on lines that lose, double and reorder
//! datagrams.

use super::*;
use swarmloop::tracker_server::ServerStatus;

const UDP_URL: &str = "udp://10.0.0.1:6969/announce";

fn bad(mut options: HostOptions) -> HostOptions {
    options.link.lost_datagrams_per_mille = 100;
    options.link.doubled_datagrams_per_mille = 100;
    options.link.datagram_jitter = Duration::from_millis(300);
    options
}

fn status(sim: &Sim, at: HostId) -> ServerStatus {
    sim.session(at).and_then(Session::tracker).expect("it is up")
}

#[test]
fn a_tracker_over_udp_introduces_peers_on_bad_lines() {
    for seed in 0..5 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let at = sim.add_host(bad(tracker()));
        let source = Arc::new(Source::single(seed, 1_000_000, 32 << 10, Some(UDP_URL)));
        let seeder = sim.add_host(bad(peer()));
        sim.put_files(seeder, &source);
        let options = AddOptions { use_trackers: true, ..AddOptions::seed() };
        sim.add_torrent(seeder, &source, options);
        let leechers: Vec<HostId> = (0..4).map(|_| sim.add_host(bad(peer()))).collect();
        for leecher in &leechers {
            sim.add_torrent(*leecher, &source, AddOptions::default());
        }
        sim.run_until_complete(&leechers, 20 * MINUTE);
        assert_eq!(status(&sim, at).torrents, 1);
        for host in leechers.iter().chain([&seeder]) {
            sim.command(*host, Session::shutdown);
            sim.run_until(MINUTE, |sim| sim.session(*host).unwrap().is_idle());
            assert_at_rest(&sim, *host);
        }
        // Deadlines that do not hold any more pass, and then nothing happens.
        sim.run_for(2 * HOUR);
        let turns: Vec<u64> = leechers.iter().map(|host| sim.turns(*host)).collect();
        sim.run_for(HOUR);
        for (host, turns) in leechers.iter().zip(turns) {
            assert_eq!(sim.turns(*host), turns, "an idle session makes no wake-ups");
        }
    }
}

#[test]
fn the_torrents_of_a_session_share_a_connection_id() {
    const TORRENTS: u64 = 100;
    let mut sim = Sim::new(SimOptions::new(3));
    let at = sim.add_host(tracker());
    let host = sim.add_host(peer());
    for n in 0..TORRENTS {
        let source = Arc::new(Source::single(n, 20_000, 32 << 10, Some(UDP_URL)));
        sim.put_files(host, &source);
        let options = AddOptions { use_trackers: true, ..AddOptions::seed() };
        sim.add_torrent(host, &source, options);
    }
    sim.run_until(MINUTE, |sim| status(sim, at).peers as u64 == TORRENTS);
    let counters = status(&sim, at).counters;
    assert_eq!((counters.connects, counters.announces_udp), (1, TORRENTS));
    sim.run_for(2 * MINUTE);
    sim.command(host, Session::shutdown);
    sim.run_until(MINUTE, |sim| sim.session(host).unwrap().is_idle());
    assert_eq!(status(&sim, at).peers, 0);
    let counters = status(&sim, at).counters;
    assert_eq!((counters.connects, counters.announces_udp), (2, 2 * TORRENTS));
}

#[test]
fn a_udp_tracker_that_comes_up_late_is_found() {
    find_late_tracker(UDP_URL);
}
