//! Hosts that send wrong bytes, or none.

use std::net::IpAddr;

use super::liar::{Caller, Liar};
use super::*;
use swarmloop::id::{BLOCK_LEN, Block, PieceIndex};
use swarmloop::peer::timer::Timer;
use swarmloop::proto::message::Message;
use swarmloop::sim::LinkOptions;

fn banned(sim: &Sim, host: HostId) -> Vec<IpAddr> {
    let ip = |event: &Event| match event {
        Event::PeerBanned { addr, .. } => Some(addr.ip()),
        _ => None,
    };
    let mut ips: Vec<IpAddr> = sim.events(host).filter_map(ip).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn slow_peer(up_rate: u64) -> HostOptions {
    let mut options = peer();
    options.link.up_rate = up_rate;
    options
}

#[test]
fn a_seed_that_spoils_one_block_of_a_hundred_is_found_and_the_honest_one_is_not() {
    for seed in 0..10 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 6_000_000, 128 << 10, None));
        let honest = sim.add_seed(slow_peer(100_000), &source);
        let liar = Liar::new(&source, u8::try_from(seed).unwrap(), 100);
        let liar = sim.add_actor(Box::new(liar), LinkOptions::default());
        let leecher = sim.add_host(peer());
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[honest, liar]));
        sim.run_until_complete(&[leecher], HOUR);
        let status = sim.torrent(leecher, ONLY).unwrap();
        assert!(status.corrupt_pieces > 0, "seed {seed}: the liar had no chance");
        assert_eq!(banned(&sim, leecher), [sim.ip(liar)], "seed {seed}\n{}", sim.dump());
        // Pieces that were open when the first bad one was found may be spoilt, too.
        assert!(status.wasted < 3_000_000, "seed {seed}: wasted {}", status.wasted);
    }
}

#[test]
fn ten_seeds_that_spoil_everything_do_not_get_the_honest_one_banned() {
    for (seed, spoils) in [(0, 1), (1, 3), (2, 7), (3, 2), (4, 1)] {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 3_000_000, 64 << 10, None));
        let honest = sim.add_seed(slow_peer(200_000), &source);
        let mut known = vec![honest];
        for number in 0..10 {
            let liar = Liar::new(&source, number, spoils);
            known.push(sim.add_actor(Box::new(liar), LinkOptions::default()));
        }
        let leecher = sim.add_host(peer());
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&known));
        sim.run_until_complete(&[leecher], HOUR);
        let guilty = banned(&sim, leecher);
        assert!(!guilty.contains(&sim.ip(honest)), "seed {seed}: {guilty:?}");
        assert!(!guilty.is_empty(), "seed {seed}");
        sim.run_for(5 * MINUTE);
        assert_at_rest(&sim, leecher);
    }
}

#[test]
fn large_pieces_that_leave_in_runs_are_cleared_of_spoilt_blocks_too() {
    for seed in 0..4 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 4_000_000, 1 << 20, None));
        let honest = sim.add_seed(slow_peer(400_000), &source);
        let liar = sim.add_actor(Box::new(Liar::new(&source, 1, 40)), LinkOptions::default());
        let mut small = peer();
        small.config.pool_bytes = 1 << 20;
        let leecher = sim.add_host(small);
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[honest, liar]));
        sim.run_until_complete(&[leecher], HOUR);
        assert!(!banned(&sim, leecher).contains(&sim.ip(honest)), "seed {seed}");
        assert!(sim.torrent(leecher, ONLY).unwrap().corrupt_pieces > 0, "seed {seed}");
    }
}

#[test]
fn a_seed_that_takes_requests_and_answers_none_holds_nobody_up() {
    let mut sim = Sim::new(SimOptions::new(8));
    let source = Arc::new(Source::single(8, 2_000_000, 64 << 10, None));
    let honest = sim.add_seed(slow_peer(300_000), &source);
    let mut known = vec![honest];
    for number in 0..5 {
        let mut liar = Liar::new(&source, number, 0);
        liar.silent = true;
        known.push(sim.add_actor(Box::new(liar), LinkOptions::default()));
    }
    let mut small = peer();
    small.config.pool_bytes = 2 << 20;
    let leecher = sim.add_host(small);
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&known));
    sim.run_until_complete(&[leecher], 5 * MINUTE);
    sim.run_for(5 * MINUTE);
    assert_at_rest(&sim, leecher);
}

#[test]
fn a_seed_without_the_fast_extension_is_as_good_as_any() {
    let mut sim = Sim::new(SimOptions::new(9));
    let source = Arc::new(Source::single(9, 1_000_000, 64 << 10, None));
    let plain = sim.add_actor(Box::new(Liar::new(&source, 0, 0)), LinkOptions::default());
    let leechers = add_leechers(&mut sim, &source, &[plain], 2);
    sim.run_until_complete(&leechers, 5 * MINUTE);
}

fn timed_out(sim: &Sim, host: HostId, timer: Timer) -> usize {
    let wanted = PeerError::TimedOut(timer);
    let of = |event: &&Event| matches!(event, Event::PeerClosed { error, .. } if *error == wanted);
    sim.events(host).filter(of).count()
}

#[test]
fn readers_that_take_nothing_do_not_starve_the_others_and_are_closed() {
    for pool_bytes in [1 << 20, 2 << 20] {
        let mut sim = Sim::new(SimOptions::new(10));
        let source = Arc::new(Source::single(10, 2_000_000, 64 << 10, None));
        let mut small = peer();
        small.config.pool_bytes = pool_bytes;
        small.link.window = 16 << 10;
        let seeder = sim.add_seed(small, &source);
        // They go on talking, slowly, and never read: a silence would end them anyway.
        let mut deaf = LinkOptions::default();
        deaf.max_read = 0;
        deaf.up_rate = 60;
        for number in 0..3 {
            let mut caller = Caller::new(&sim, seeder, &source, number).say(&Message::Interested);
            for piece in (0..30).map(PieceIndex) {
                caller = caller.say(&Message::Request(Block { piece, begin: 0, len: BLOCK_LEN }));
            }
            for _ in 0..5_000 {
                caller = caller.say(&Message::KeepAlive);
            }
            sim.add_actor(Box::new(caller), deaf);
        }
        sim.run_for(Duration::from_secs(20));
        assert_eq!(sim.peers(seeder, ONLY).iter().filter(|p| p.unchoked).count(), 3);
        let leecher = sim.add_host(peer());
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
        sim.run_until_complete(&[leecher], MINUTE);
        sim.run_for(3 * MINUTE);
        assert_eq!(timed_out(&sim, seeder, Timer::KeepAlive), 3, "{}", sim.dump());
        assert!(sim.peers(seeder, ONLY).is_empty());
        assert_at_rest(&sim, seeder);
    }
}

#[test]
fn a_peer_that_is_silent_from_its_handshake_on_is_closed() {
    let mut sim = Sim::new(SimOptions::new(11));
    let source = Arc::new(Source::single(11, 200_000, 64 << 10, None));
    let seeder = sim.add_seed(peer(), &source);
    sim.run_for(Duration::from_secs(1));
    let mute = Caller::new(&sim, seeder, &source, 0);
    sim.add_actor(Box::new(mute), LinkOptions::default());
    sim.run_for(MINUTE);
    assert_eq!(sim.peers(seeder, ONLY).len(), 1, "{}", sim.dump());
    sim.run_for(2 * MINUTE);
    assert_eq!(timed_out(&sim, seeder, Timer::Idle), 1, "{}", sim.dump());
}
