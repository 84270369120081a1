//! Swarms without trackers on local networks: sessions that find each other by what they announce
//! there (BEP 14).

use std::sync::Arc;
use std::time::Duration;

use swarmloop::lsd::ANNOUNCE_INTERVAL;
use swarmloop::sim::{AddOptions, HostId, HostOptions, Sim, SimOptions, Source};

use super::{HOUR, MINUTE, ONLY, peer};

fn on_lan(lan: u8) -> HostOptions {
    let mut options = peer();
    options.lan = Some(lan);
    options
}

fn leech(sim: &mut Sim, source: &Arc<Source>, options: HostOptions) -> HostId {
    let host = sim.add_host(options);
    sim.add_torrent(host, source, AddOptions::from_peers(&[]));
    host
}

fn peers(sim: &Sim, host: HostId) -> usize {
    sim.torrent(host, ONLY).unwrap().peers
}

#[test]
fn hosts_of_one_local_network_find_each_other_and_those_of_others_do_not() {
    for (seed, ipv6) in [(1, false), (2, true), (3, false)] {
        let mut sim = Sim::new(SimOptions::new(seed));
        let with = |lan: Option<u8>| {
            let mut options = peer();
            (options.ipv6, options.lan) = (ipv6, lan);
            options
        };
        let source = Arc::new(Source::single(seed, 1_000_000, 65_536, None));
        sim.add_seed(with(Some(1)), &source);
        let near = leech(&mut sim, &source, with(Some(1)));
        let elsewhere = leech(&mut sim, &source, with(Some(2)));
        let nowhere = leech(&mut sim, &source, with(None));
        sim.run_until_complete(&[near], Duration::from_secs(10));
        sim.run_for(HOUR);
        for host in [elsewhere, nowhere] {
            assert_eq!(peers(&sim, host), 0, "seed {seed}: it found somebody");
        }
    }
}

#[test]
fn a_magnet_is_resolved_by_a_neighbour_alone() {
    let mut sim = Sim::new(SimOptions::new(4));
    let source = Arc::new(Source::single(4, 500_000, 65_536, None));
    let leecher = sim.add_host(on_lan(0));
    sim.add_magnet(leecher, &source, AddOptions::from_peers(&[]));
    sim.run_for(10 * MINUTE);
    // Whoever comes later announces itself at once.
    sim.add_seed(on_lan(0), &source);
    sim.run_until_complete(&[leecher], Duration::from_secs(10));
}

#[test]
fn an_announcement_that_is_lost_is_made_up_for_by_a_later_one() {
    let mut sim = Sim::new(SimOptions::new(5));
    let source = Arc::new(Source::single(5, 300_000, 65_536, None));
    let seeder = sim.add_seed(on_lan(0), &source);
    let leecher = leech(&mut sim, &source, on_lan(0));
    for host in [seeder, leecher] {
        sim.link_mut(host).lost_datagrams_per_mille = 1_000;
    }
    sim.run_for(3 * MINUTE);
    assert_eq!(peers(&sim, leecher), 0);
    sim.link_mut(seeder).lost_datagrams_per_mille = 0;
    sim.run_until_complete(&[leecher], ANNOUNCE_INTERVAL);
}

#[test]
fn neighbours_that_seed_are_woken_seldom() {
    let mut sim = Sim::new(SimOptions::new(6));
    let source = Arc::new(Source::single(6, 100_000, 65_536, None));
    let hosts: Vec<HostId> = (0..10).map(|_| sim.add_seed(on_lan(0), &source)).collect();
    sim.run_for(HOUR);
    let before: Vec<u64> = hosts.iter().map(|host| sim.turns(*host)).collect();
    sim.run_for(HOUR);
    for (host, before) in hosts.iter().zip(before) {
        let turns = sim.turns(*host) - before;
        // Twelve announcements of each of ten are heard, and their own made. None of them wants
        // anything of another seed, so nobody is dialled twice.
        assert!(turns <= 12 * 10 + 2 * 12 + 40, "{turns} turns in an hour");
    }
}
