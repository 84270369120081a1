//! Swarms without trackers: sessions that find each other through their nodes of the DHT.

use std::sync::Arc;

use swarmloop::dht::{DhtConfig, MAX_IDLE_QUERIES_PER_MIN};
use swarmloop::peer::error::PeerError;
use swarmloop::session::io::Event;
use swarmloop::sim::{AddOptions, HostId, HostOptions, Sim, SimOptions, Source};

use super::{HOUR, MINUTE, ONLY, peer};

/// Where [`HostId`] 0 is, which everybody begins with.
const FIRST: (&str, u16) = ("10.0.0.1", 6881);

fn node() -> HostOptions {
    let mut config = DhtConfig::default();
    config.bootstrap = vec![(FIRST.0.to_owned(), FIRST.1)];
    let mut options = peer();
    options.dht = Some(config);
    options
}

/// Twenty sessions, each with something else to look for, so that each has a node.
fn network(sim: &mut Sim) -> Vec<HostId> {
    let torrent = |seed: u64| Arc::new(Source::single(1_000 + seed, 20_000, 16_384, None));
    let hosts: Vec<HostId> = (0..20).map(|_| sim.add_host(node())).collect();
    for (host, seed) in hosts.iter().zip(0..) {
        sim.put_files(*host, &torrent(seed));
        sim.add_torrent(*host, &torrent(seed), AddOptions::seed());
    }
    sim.run_for(2 * MINUTE);
    hosts
}

fn joined(sim: &Sim, host: HostId) -> usize {
    sim.events(host).filter(|event| matches!(event, Event::DhtJoined { .. })).count()
}

#[test]
fn a_magnet_without_trackers_downloads_through_the_dht_of_twenty_sessions() {
    for seed in 0..3 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let hosts = network(&mut sim);
        assert!(hosts.iter().all(|host| joined(&sim, *host) == 1), "seed {seed}");
        let source = Arc::new(Source::single(seed, 1_000_000, 65_536, None));
        let seeder = sim.add_host(node());
        sim.put_files(seeder, &source);
        sim.add_torrent(seeder, &source, AddOptions::seed());
        sim.run_for(MINUTE);
        let leecher = sim.add_host(node());
        sim.add_magnet(leecher, &source, AddOptions::default());
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        let status = sim.torrent(leecher, ONLY).unwrap();
        assert!(status.dht.is_some_and(|dht| dht.is_joined && dht.nodes >= 8), "{status:?}");
        assert_eq!(joined(&sim, leecher), 1, "it stays while its files are looked at");
        for host in [leecher, seeder] {
            let misbehaved = |event: &Event| {
                matches!(event, Event::PeerClosed { error: PeerError::Misbehaved(_), .. })
            };
            let seen = sim.events(host).find(|event| misbehaved(event));
            assert!(seen.is_none(), "seed {seed}: {seen:?}");
        }
    }
}

#[test]
fn whoever_comes_first_is_found_once_somebody_else_is_there() {
    let mut sim = Sim::new(SimOptions::new(7));
    network(&mut sim);
    let source = Arc::new(Source::single(7, 300_000, 65_536, None));
    let leecher = sim.add_host(node());
    sim.add_magnet(leecher, &source, AddOptions::default());
    sim.run_for(10 * MINUTE);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().peers, 0);
    let seeder = sim.add_host(node());
    sim.put_files(seeder, &source);
    sim.add_torrent(seeder, &source, AddOptions::seed());
    sim.run_until_complete(&[leecher], 20 * MINUTE);
}

#[test]
fn a_session_that_waits_in_the_dht_is_woken_seldom() {
    let mut sim = Sim::new(SimOptions::new(8));
    let hosts = network(&mut sim);
    sim.run_for(HOUR);
    let before: Vec<u64> = hosts.iter().map(|host| sim.turns(*host)).collect();
    let datagrams = |sim: &Sim, host| {
        let status = sim.session(host).unwrap().dht(sim.now()).unwrap();
        status.counters.queries_out
    };
    let sent: Vec<u64> = hosts.iter().map(|host| datagrams(&sim, *host)).collect();
    sim.run_for(HOUR);
    let most = u64::from(MAX_IDLE_QUERIES_PER_MIN) * 60;
    // Each search of each 15 minutes asks some 20 nodes and announces to 8.
    let searches = 5 * 40;
    for ((host, before), sent) in hosts.iter().zip(before).zip(sent) {
        let queries = datagrams(&sim, *host) - sent;
        assert!(queries <= most + searches, "{queries} queries in an hour");
        // A query of ours or of another's, and its answer, and what stalls.
        let turns = sim.turns(*host) - before;
        assert!(turns <= 6 * (most + searches), "{turns} turns in an hour");
    }
}

#[test]
fn a_session_that_has_nothing_to_look_for_leaves_the_dht() {
    let mut sim = Sim::new(SimOptions::new(9));
    let hosts = network(&mut sim);
    let host = hosts[5];
    let nodes = sim.torrent(host, ONLY).unwrap().dht.unwrap().nodes;
    assert!(nodes >= 8, "{nodes}");
    sim.command(host, |session, now| session.remove_torrent(ONLY, now));
    sim.run_for(MINUTE);
    let session = sim.session(host).unwrap();
    assert!(session.dht(sim.now()).is_none());
    assert!(session.save_dht(sim.now()).len() > nodes * 26, "whom it knew is kept");
    // The others find out that it answers no more, and then it is left alone.
    sim.run_for(HOUR);
    let before = sim.turns(host);
    sim.run_for(HOUR);
    let turns = sim.turns(host) - before;
    // Some of the others go on naming it to each other.
    assert!(turns <= 20 * hosts.len() as u64, "{turns} turns in an hour");
}
