//! A house that is full of peers of no use, and the one who has everything outside.

use std::sync::Arc;

use swarmloop::peer::error::{CloseReason, PeerError};
use swarmloop::session::io::Event;
use swarmloop::sim::{AddOptions, HostId, Sim, SimOptions, Source};

use super::{MINUTE, ONLY, peer};

const PLACES: usize = 6;
const MADE_ROOM: PeerError = PeerError::Closed(CloseReason::MadeRoom);

/// How many peers made room at a host.
fn farewells(sim: &Sim, host: HostId) -> usize {
    let made_room =
        |event: &&Event| matches!(event, Event::PeerClosed { error, .. } if *error == MADE_ROOM);
    sim.events(host).filter(made_room).count()
}

#[test]
fn a_full_house_of_idlers_finds_the_one_seed() {
    for seed in 0..5 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 2_000_000, 64 << 10, None));
        let seeder = sim.add_seed(peer(), &source);
        sim.kill(seeder);
        let mut small = peer();
        small.config.max_peers = PLACES;
        let leecher = sim.add_host(small);
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
        // Twice as many as there are places: whoever goes is followed by the next.
        for _ in 0..2 * PLACES {
            let idler = sim.add_host(peer());
            sim.add_torrent(idler, &source, AddOptions::from_peers(&[leecher]));
        }
        sim.run_until(MINUTE, |sim| sim.torrent(leecher, ONLY).unwrap().peers == PLACES);
        sim.restart(seeder);
        sim.run_until_complete(&[leecher], 10 * MINUTE);
        let gone = farewells(&sim, leecher);
        assert!((1..=3).contains(&gone), "seed {seed}: {gone} made room");
    }
}

#[test]
fn a_seed_that_comes_gets_into_a_house_that_is_full_of_idlers() {
    for seed in 0..5 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 2_000_000, 64 << 10, None));
        let mut small = peer();
        small.config.max_peers = PLACES;
        let leecher = sim.add_host(small);
        sim.add_torrent(leecher, &source, AddOptions::default());
        for _ in 0..PLACES {
            let idler = sim.add_host(peer());
            sim.add_torrent(idler, &source, AddOptions::from_peers(&[leecher]));
        }
        sim.run_until(MINUTE, |sim| sim.torrent(leecher, ONLY).unwrap().peers == PLACES);
        // Nobody there knows of it: it has to be let in.
        let seeder = sim.add_host(peer());
        sim.put_files(seeder, &source);
        let comes = AddOptions::from_peers(&[leecher]);
        sim.add_torrent(seeder, &source, AddOptions { mode: AddOptions::seed().mode, ..comes });
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        assert_eq!(farewells(&sim, leecher), 0, "nobody was dialled");
    }
}
