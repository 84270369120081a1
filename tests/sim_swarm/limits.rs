//! Limits on payload in whole swarms: never more than they allow in any window, hardly less, and
//! evenly shared.

use std::sync::Arc;
use std::time::Duration;

use swarmloop::id::TorrentId;
use swarmloop::rate::RateLimits;
use swarmloop::sim::{AddOptions, HostId, HostOptions, Sim, SimOptions, Source, SourceFile};
use swarmloop::time::Instant;

use super::{MINUTE, ONLY, add_leechers, peer};

const MS: Duration = Duration::from_millis(1);
/// What may flow at once, whatever the window: 200 ms of the limit.
const SAVED_MS: u64 = 200;

/// What has flowed by when, in bytes.
type Course = Vec<(Instant, u64)>;

fn limited(down: u64, up: u64) -> HostOptions {
    let mut options = peer();
    options.config.limits = RateLimits { down, up };
    options
}

fn sent(sim: &Sim, host: HostId) -> u64 {
    sim.session(host).unwrap().counters().payload_sent
}

fn received(sim: &Sim, host: HostId) -> u64 {
    sim.session(host).unwrap().counters().received
}

/// Lets the world go on for `span`, and takes a sample each millisecond.
fn course(sim: &mut Sim, span: Duration, sample: impl Fn(&Sim) -> u64) -> Course {
    let mut course = vec![(sim.now(), sample(sim))];
    for _ in 0..span.as_millis() {
        sim.run_for(MS);
        course.push((sim.now(), sample(sim)));
    }
    course
}

/// Asserts that in no window more flowed than `limit` allows. `overhead_per_mille` is what the
/// samples have beside payload.
fn assert_never_above(course: &Course, limit: u64, overhead_per_mille: u64) {
    // A window is too full exactly if what has flowed by its end, less what may have by then, is
    // more than 200 ms of the limit above what it was at its start.
    let above = |(at, bytes): &(Instant, u64)| {
        let payload = u128::from(*bytes) * 1_000 / u128::from(1_000 + overhead_per_mille);
        i128::try_from(payload * 1_000_000).unwrap()
            - i128::from(at.as_micros()) * i128::from(limit)
    };
    let saved = i128::from(limit * SAVED_MS * 1_000);
    // A sample of whole bytes says nothing of parts of one.
    let rounding = 2_000_000;
    let mut lowest = i128::MAX;
    for sample in course {
        lowest = lowest.min(above(sample));
        let excess = above(sample) - lowest - saved;
        assert!(excess <= rounding, "{} bytes too many until {:?}", excess / 1_000_000, sample.0);
    }
}

fn rate_of(course: &Course) -> u64 {
    let ((from, before), (to, after)) = (course[0], course[course.len() - 1]);
    let us = u64::try_from((to - from).as_micros()).unwrap();
    (after - before) * 1_000_000 / us
}

fn assert_used(course: &Course, limit: u64) {
    let rate = rate_of(course);
    assert!(rate >= limit * 98 / 100, "{rate} of {limit} bytes/s");
}

/// A torrent that lasts for `seconds` at `rate`.
fn source(seed: u64, rate: u64, seconds: u64) -> Arc<Source> {
    let len = usize::try_from(rate * seconds).unwrap();
    Arc::new(Source::single(seed, len, 64 << 10, None))
}

#[test]
fn uploads_keep_to_their_limit_in_every_window_and_use_it() {
    for limit in [3_000, 100 << 10, 1 << 20] {
        let mut sim = Sim::new(SimOptions::new(limit));
        let source = source(1, limit, 16);
        let seeder = sim.add_seed(limited(0, limit), &source);
        add_leechers(&mut sim, &source, &[seeder], 1);
        let mut whole = course(&mut sim, Duration::from_secs(2), |sim| sent(sim, seeder));
        let steady = course(&mut sim, Duration::from_secs(10), |sim| sent(sim, seeder));
        assert_used(&steady, limit);
        whole.extend(steady);
        assert_never_above(&whole, limit, 0);
    }
}

#[test]
fn downloads_keep_to_their_limit_in_every_window_and_use_it() {
    for limit in [3_000, 100 << 10, 1 << 20] {
        let mut sim = Sim::new(SimOptions::new(limit));
        let source = source(2, limit, 14);
        let seeder = sim.add_seed(peer(), &source);
        let leecher = sim.add_host(limited(limit, 0));
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
        sim.run_for(Duration::from_secs(1));
        let steady = course(&mut sim, Duration::from_secs(10), |sim| received(sim, leecher));
        assert_used(&steady, limit);
        // A header of 13 bytes comes with each 16,384, and now and then a message.
        assert_never_above(&steady, limit, 2);
    }
}

#[test]
fn ten_peers_share_an_upload_limit_evenly() {
    let limit = 250 << 10;
    let mut sim = Sim::new(SimOptions::new(3));
    let source = source(3, limit, 30);
    let mut options = limited(0, limit);
    options.config.unchoke_slots = 10;
    let seeder = sim.add_seed(options, &source);
    // They do not know each other: all that they get is from the seed.
    let leechers: Vec<HostId> =
        (0..10).flat_map(|_| add_leechers(&mut sim, &source, &[seeder], 1)).collect();
    sim.run_for(Duration::from_secs(3));
    let got = |sim: &Sim, host| sim.torrent(host, ONLY).unwrap().downloaded;
    let before: Vec<u64> = leechers.iter().map(|leecher| got(&sim, *leecher)).collect();
    let used = course(&mut sim, Duration::from_secs(20), |sim| sent(sim, seeder));
    assert_used(&used, limit);
    assert_never_above(&used, limit, 0);
    let parts = leechers.iter().zip(&before).map(|(leecher, before)| got(&sim, *leecher) - before);
    assert_even(&parts.collect::<Vec<_>>());
}

#[test]
fn ten_peers_share_a_download_limit_evenly() {
    let limit = 250 << 10;
    let mut sim = Sim::new(SimOptions::new(4));
    let source = source(4, limit, 40);
    let seeders: Vec<HostId> = (0..10).map(|_| sim.add_seed(peer(), &source)).collect();
    let leecher = sim.add_host(limited(limit, 0));
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&seeders));
    // Who unchokes us first is asked for more, before it is known that others will, and has sent
    // it at once: what is on its way from it is received in the first ten seconds.
    sim.run_for(Duration::from_secs(12));
    let before: Vec<u64> = seeders.iter().map(|seeder| sent(&sim, *seeder)).collect();
    let used = course(&mut sim, Duration::from_secs(20), |sim| received(sim, leecher));
    assert_used(&used, limit);
    assert_never_above(&used, limit, 3);
    let parts = seeders.iter().zip(&before).map(|(seeder, before)| sent(&sim, *seeder) - before);
    assert_even(&parts.collect::<Vec<_>>());
}

/// Asserts that no part is more than 10 % off the mean.
fn assert_even(parts: &[u64]) {
    let mean = parts.iter().sum::<u64>() / parts.len() as u64;
    let off = |part: &&u64| part.abs_diff(mean) * 10 > mean;
    assert_eq!(parts.iter().find(off), None, "of {parts:?}, {mean} in the mean");
}

#[test]
fn a_limit_is_changed_and_lifted_while_payload_flows() {
    let (slow, fast) = (50 << 10, 500 << 10);
    let mut sim = Sim::new(SimOptions::new(5));
    let source = source(5, fast, 16);
    let seeder = sim.add_seed(limited(0, slow), &source);
    let leechers = add_leechers(&mut sim, &source, &[seeder], 2);
    let up = |sim: &mut Sim, up| {
        let limits = RateLimits { down: 0, up };
        sim.command(seeder, |session, now| session.set_limits(limits, now));
    };
    for limit in [slow, fast, slow] {
        up(&mut sim, limit);
        sim.run_for(Duration::from_secs(2));
        let steady = course(&mut sim, Duration::from_secs(6), |sim| sent(sim, seeder));
        assert_never_above(&steady, limit, 0);
        assert_used(&steady, limit);
    }
    up(&mut sim, 0);
    sim.run_until_complete(&leechers, Duration::from_secs(20));
}

#[test]
fn what_a_peer_that_left_was_to_be_sent_does_not_make_the_rest_come_in_bursts() {
    let limit = 50 << 10;
    let mut sim = Sim::new(SimOptions::new(11));
    let source = source(11, limit, 40);
    let seeder = sim.add_seed(limited(0, limit), &source);
    for n in 0..3 {
        let leecher = add_leechers(&mut sim, &source, &[seeder], 1)[0];
        // A block takes 320 ms: this is in the midst of one.
        sim.run_for(Duration::from_millis(2_150));
        assert!(!sent(&sim, seeder).is_multiple_of(16 << 10), "leecher {n}");
        sim.command(leecher, |session, now| session.remove_torrent(ONLY, now));
        sim.run_for(MS * 100);
    }
    add_leechers(&mut sim, &source, &[seeder], 1);
    sim.run_for(Duration::from_secs(2));
    let steady = course(&mut sim, Duration::from_secs(6), |sim| sent(sim, seeder));
    assert_never_above(&steady, limit, 0);
    assert_used(&steady, limit);
    let flows = steady.windows(2).filter(|pair| pair[1].1 > pair[0].1).map(|pair| pair[1].0);
    let flows: Vec<Instant> = flows.collect();
    let pause = flows.windows(2).map(|pair| pair[1] - pair[0]).max();
    // It is handed out twenty times a second, and read as often.
    assert!(pause <= Some(MS * 110), "nothing for {pause:?}");
}

#[test]
fn a_torrent_has_limits_of_its_own_beside_the_one_in_all() {
    let (in_all, own) = (150 << 10, 50 << 10);
    for way in ["down", "up"] {
        let limits = |bytes_per_s| match way {
            "down" => RateLimits { down: bytes_per_s, up: 0 },
            _ => RateLimits { down: 0, up: bytes_per_s },
        };
        let mut sim = Sim::new(SimOptions::new(6));
        let sources = [source(6, own, 24), source(7, in_all, 24)];
        let mut options = peer();
        options.config.limits = limits(in_all);
        let (seeder, leecher, limited) = if way == "down" {
            let seeder = sim.add_seed(peer(), &sources[0]);
            let leecher = sim.add_host(options);
            (seeder, leecher, leecher)
        } else {
            let seeder = sim.add_seed(options, &sources[0]);
            (seeder, sim.add_host(peer()), seeder)
        };
        sim.put_files(seeder, &sources[1]);
        sim.add_torrent(seeder, &sources[1], AddOptions::seed());
        let [first, second] = [0, 1]
            .map(|at| sim.add_torrent(leecher, &sources[at], AddOptions::from_peers(&[seeder])));
        sim.command(limited, |session, now| {
            session.set_torrent_limits(first, limits(own), now);
        });
        sim.run_for(Duration::from_secs(4));
        let got = |sim: &Sim, torrent| sim.torrent(leecher, torrent).unwrap().downloaded;
        let before = [first, second].map(|torrent| got(&sim, torrent));
        let seconds = 16;
        sim.run_for(Duration::from_secs(seconds));
        let parts = [(first, before[0]), (second, before[1])]
            .map(|(torrent, before)| (got(&sim, torrent) - before) / seconds);
        let near = |part: u64, due: u64| part.abs_diff(due) * 20 < due;
        assert!(near(parts[0], own) && near(parts[1], in_all - own), "{way}: {parts:?}");
    }
}

#[test]
fn a_limit_makes_nobody_snub_or_leave_anybody() {
    // A block takes a peer more than a minute, longer than anybody waits for one.
    let limit = 2_000;
    let mut sim = Sim::new(SimOptions::new(8));
    let source = source(8, limit, 3_600);
    let seeders: Vec<HostId> = (0..10).map(|_| sim.add_seed(peer(), &source)).collect();
    let leecher = sim.add_host(limited(limit, 0));
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&seeders));
    for _ in 0..10 {
        sim.run_for(MINUTE);
        let peers = sim.peers(leecher, ONLY);
        assert_eq!(peers.len(), 10, "{}", sim.dump());
        assert!(peers.iter().all(|peer| !peer.snubbed && peer.requests_out <= 4), "{peers:?}");
    }
    let status = sim.torrent(leecher, ONLY).unwrap();
    assert_eq!(status.wasted, 0);
}

#[test]
fn a_download_limit_does_not_hold_up_what_others_ask_for() {
    // Two leechers feed each other; one may receive next to nothing, but send.
    let mut sim = Sim::new(SimOptions::new(9));
    let source = source(9, 1 << 20, 8);
    let seeder = sim.add_seed(limited(0, 40 << 10), &source);
    let giver = sim.add_host(limited(1_000, 0));
    // All but the first piece is there.
    let (path, bytes) = source.files().next().unwrap();
    let (path, mut bytes) = (sim.root(giver).join(path), bytes.to_vec());
    bytes[0] ^= 1;
    sim.disk_mut(giver).put(path, bytes);
    sim.add_torrent(giver, &source, AddOptions::from_peers(&[seeder]));
    let taker = add_leechers(&mut sim, &source, &[giver], 1)[0];
    sim.run_for(Duration::from_secs(8));
    let status = sim.torrent(taker, ONLY).unwrap();
    assert!(status.have > 7 << 20, "{} bytes\n{}", status.have, sim.dump());
}

#[test]
fn limits_wake_nobody_who_has_nothing_to_move() {
    let mut sim = Sim::new(SimOptions::new(10));
    let source = Arc::new(Source::single(10, 1_000_000, 32 << 10, None));
    let seeder = sim.add_seed(limited(100 << 10, 100 << 10), &source);
    let leechers = add_leechers(&mut sim, &source, &[seeder], 2);
    sim.run_until_complete(&leechers, MINUTE);
    sim.run_for(5 * MINUTE);
    let before = sim.turns(seeder);
    sim.run_for(60 * MINUTE);
    assert!(sim.turns(seeder) - before <= 10, "{} turns", sim.turns(seeder) - before);
}

/// Returns how many peers a host lets download from it.
fn unchoked(sim: &Sim, host: HostId) -> usize {
    let peers = sim.session(host).unwrap().peers(ONLY, sim.now());
    peers.iter().filter(|peer| peer.unchoked).count()
}

#[test]
fn a_low_upload_limit_goes_to_few_at_a_time_and_everybody_gets_through() {
    let limit = 20 << 10;
    for (slots, follows) in [(4, true), (8, false)] {
        let mut sim = Sim::new(SimOptions::new(limit));
        let source = source(5, limit, 40);
        let mut options = limited(0, limit);
        options.config.slots_follow_limit = follows;
        let seeder = sim.add_seed(options, &source);
        let mut strangers = peer();
        // Who has nobody but the seed shows what that gives out.
        strangers.listens = false;
        let leechers: Vec<HostId> = (0..8)
            .map(|_| {
                let host = sim.add_host(strangers.clone());
                sim.add_torrent(host, &source, AddOptions::from_peers(&[seeder]));
                host
            })
            .collect();
        let mut most = 0;
        while !leechers.iter().all(|leecher| sim.is_complete(*leecher)) {
            assert!(sim.now() < Instant::from_secs(3_600), "it takes too long\n{}", sim.dump());
            sim.run_for(Duration::from_secs(1));
            most = most.max(unchoked(&sim, seeder));
            if sim.now() < Instant::from_secs(300) {
                let snubbed = |leecher: &HostId| {
                    let peers = sim.session(*leecher).unwrap().peers(ONLY, sim.now());
                    peers.iter().any(|peer| peer.unchoked_us && peer.snubbed)
                };
                assert!(!follows || !leechers.iter().any(snubbed), "a slot has its share");
            }
        }
        assert_eq!(most, slots);
        assert!(leechers.iter().all(|leecher| sim.torrent(*leecher, ONLY).unwrap().wasted == 0));
    }
}

#[test]
fn a_limit_in_all_is_parted_among_the_torrents_that_are_wanted() {
    let limit = 60 << 10;
    let mut sim = Sim::new(SimOptions::new(limit));
    let len = usize::try_from(limit).unwrap() * 60;
    let files = ["a", "b", "c"].map(|name| [SourceFile { name, len, pad: false }]);
    let sources = files.map(|files| Arc::new(Source::new(limit, &files, 64 << 10, None)));
    let seeder = sim.add_seed(limited(0, limit), &sources[0]);
    for source in &sources[1..] {
        sim.put_files(seeder, source);
        sim.add_torrent(seeder, source, AddOptions::seed());
    }
    let leech = |sim: &mut Sim, at: usize| {
        for _ in 0..8 {
            let host = sim.add_host(peer());
            sim.add_torrent(host, &sources[at], AddOptions::from_peers(&[seeder]));
        }
        sim.run_for(Duration::from_secs(25));
    };
    let unchoked = |sim: &Sim| {
        let of = |torrent| sim.session(seeder).unwrap().peers(torrent, sim.now());
        [0, 1, 2].map(|at| of(TorrentId(at)).iter().filter(|peer| peer.unchoked).count())
    };
    leech(&mut sim, 0);
    assert_eq!(unchoked(&sim), [6, 0, 0]);
    leech(&mut sim, 1);
    leech(&mut sim, 2);
    assert_eq!(unchoked(&sim), [4, 4, 4], "20 KiB/s for each");
}
