//! What is on disks before, and what goes wrong with them.

use std::path::PathBuf;

use super::*;
use swarmloop::disk::job::DiskErrorKind;
use swarmloop::id::PieceIndex;
use swarmloop::session::io::StopReason;
use swarmloop::sim::{DiskOptions, SourceFile};

const fn file(name: &'static str, len: usize) -> SourceFile {
    SourceFile { name, len, pad: false }
}

fn stop_reason(sim: &Sim, host: HostId) -> Option<StopReason> {
    match sim.torrent(host, ONLY).unwrap().phase {
        Phase::Stopped(reason) => reason,
        other => panic!("it is {other:?}"),
    }
}

/// Lets a host check its files.
fn settle(sim: &mut Sim, host: HostId) {
    sim.run_until(MINUTE, |sim| sim.torrent(host, ONLY).unwrap().phase != Phase::Checking);
}

#[test]
fn a_torrent_found_complete_seeds_without_downloading() {
    let mut sim = Sim::new(SimOptions::new(1));
    let source = Arc::new(Source::single(1, 700_000, 32 << 10, None));
    let seeder = sim.add_seed(peer(), &source);
    let again = sim.add_host(peer());
    sim.put_files(again, &source);
    sim.add_torrent(again, &source, AddOptions::from_peers(&[seeder]));
    sim.run_for(MINUTE);
    assert_eq!(completions(&sim, again), [false]);
    let status = sim.torrent(again, ONLY).unwrap();
    assert_eq!((status.phase, status.downloaded), (Phase::Seeding, 0));
    assert_eq!(sim.disk(again).writes(), 0);
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&[again]));
    sim.run_until_complete(&[leecher], MINUTE);
}

#[test]
fn existing_good_pieces_are_kept_and_not_downloaded_again() {
    let mut sim = Sim::new(SimOptions::new(2));
    let piece_len = 32 << 10;
    let source = Arc::new(Source::single(2, 20 * piece_len as usize, piece_len, None));
    let seeder = sim.add_seed(peer(), &source);
    let leecher = sim.add_host(peer());
    // 20 pieces: the first 12 are there, the fourth of them is broken.
    let path = sim.root(leecher).join(source.files().next().unwrap().0);
    let mut bytes: Vec<u8> = (0..12).flat_map(|p| source.piece(PieceIndex(p)).to_vec()).collect();
    bytes[3 * piece_len as usize + 5] ^= 1;
    sim.disk_mut(leecher).put(path, bytes);
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
    settle(&mut sim, leecher);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().pieces_have, 11);
    sim.run_until_complete(&[leecher], MINUTE);
    sim.run_for(MINUTE);
    assert_eq!(completions(&sim, leecher), [true]);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().downloaded, 9 * u64::from(piece_len));
}

#[test]
fn a_foreign_file_in_the_way_stops_the_download_and_stays_as_it_is() {
    for (overwrite, len) in [(false, 90_000), (false, 10), (true, 90_000), (true, 10)] {
        let mut sim = Sim::new(SimOptions::new(3));
        let files = [file("ours", 50_000), file("theirs", 40_000), file("empty", 0)];
        let source = Arc::new(Source::new(3, &files, 16 << 10, None));
        let seeder = sim.add_seed(peer(), &source);
        let leecher = sim.add_host(peer());
        let path = sim.root(leecher).join(source.files().nth(1).unwrap().0);
        sim.disk_mut(leecher).put(path.clone(), vec![0xee; len]);
        let mode = Mode::Download { overwrite };
        let add = AddOptions { mode, ..AddOptions::from_peers(&[seeder]) };
        sim.add_torrent(leecher, &source, add);
        if overwrite {
            sim.run_until_complete(&[leecher], MINUTE);
            sim.run_for(MINUTE);
            assert_eq!(completions(&sim, leecher), [true]);
            continue;
        }
        sim.run_for(MINUTE);
        let Some(StopReason::FilesInTheWay(found)) = stop_reason(&sim, leecher) else {
            panic!("{}", sim.dump())
        };
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].len, found[0].expected_len), (len as u64, 40_000));
        assert_eq!(found[0].path, PathBuf::from("torrent-3/theirs"));
        assert_eq!(sim.disk(leecher).file(&path), Some(&vec![0xee; len][..]));
        assert_eq!(sim.disk(leecher).writes(), 0);
    }
}

#[test]
fn a_failing_disk_pauses_that_torrent_and_the_others_finish() {
    for kind in [DiskErrorKind::Other, DiskErrorKind::Permission, DiskErrorKind::Panicked] {
        let mut sim = Sim::new(SimOptions::new(4));
        let source = Arc::new(Source::single(4, 2_000_000, 64 << 10, None));
        let seeder = sim.add_seed(peer(), &source);
        let mut bad = peer();
        bad.disk.fail_write = Some((9, kind));
        let unlucky = sim.add_host(bad);
        sim.add_torrent(unlucky, &source, AddOptions::from_peers(&[seeder]));
        let leechers = add_leechers(&mut sim, &source, &[seeder, unlucky], 3);
        sim.run_until_complete(&leechers, 5 * MINUTE);
        assert_eq!(stop_reason(&sim, unlucky), Some(StopReason::Disk));
        let told =
            |event: &&Event| matches!(event, Event::Disk { error, .. } if error.kind == kind);
        assert_eq!(sim.events(unlucky).filter(told).count(), 1);
        assert!(sim.peers(unlucky, ONLY).is_empty());
        assert_at_rest(&sim, unlucky);
        // What was verified before is there, and a new start goes on from it.
        let had = sim.torrent(unlucky, ONLY).unwrap().pieces_have;
        sim.disk_mut(unlucky).set_options(DiskOptions::default());
        sim.kill(unlucky);
        sim.restart(unlucky);
        settle(&mut sim, unlucky);
        assert!(sim.torrent(unlucky, ONLY).unwrap().pieces_have >= had);
        sim.run_until_complete(&[unlucky], 5 * MINUTE);
    }
}

#[test]
fn a_full_disk_pauses_that_download_and_it_goes_on_by_itself() {
    for seed in 0..8 {
        let mut sim = Sim::new(SimOptions::new(seed));
        // Whole pieces and pieces that leave in runs; files and pieces do not end together.
        let piece_len = if seed % 2 == 0 { 64 << 10 } else { 512 << 10 };
        let files = [file("one", 900_000), file("two", 1_600_000), file("empty", 0)];
        let source = Arc::new(Source::new(seed, &files, piece_len, None));
        let seeder = sim.add_seed(peer(), &source);
        let mut small = peer();
        small.config.pool_bytes = 1 << 20;
        small.disk.capacity = 1_600_000 + 100_000 * seed;
        let unlucky = sim.add_host(small);
        // Another one fills the disk meanwhile.
        let add = AddOptions {
            sequential: true,
            check_space: false,
            ..AddOptions::from_peers(&[seeder])
        };
        sim.add_torrent(unlucky, &source, add);
        let leechers = add_leechers(&mut sim, &source, &[seeder, unlucky], 2);
        sim.run_until_complete(&leechers, 5 * MINUTE);
        let is_full =
            |sim: &Sim| matches!(sim.torrent(unlucky, ONLY).unwrap().phase, Phase::DiskFull(_));
        assert!(is_full(&sim), "{}", sim.dump());
        let had = sim.torrent(unlucky, ONLY).unwrap();
        assert!(had.pieces_have > 0 || piece_len > 64 << 10, "{}", sim.dump());
        assert!(had.peers > 0 && had.pieces_open == 0, "{}", sim.dump());
        // It waits at rest: a look every few seconds, and no bytes.
        let turns = sim.turns(unlucky);
        sim.run_for(10 * MINUTE);
        assert!(is_full(&sim));
        assert!(sim.turns(unlucky) - turns < 2_000, "{}", sim.turns(unlucky) - turns);
        let now = sim.torrent(unlucky, ONLY).unwrap();
        assert_eq!(now.downloaded, had.downloaded, "nothing was fetched for nothing");
        assert_eq!(now.pieces_have, had.pieces_have);
        // Somebody who comes now gets what there is.
        let late = sim.add_host(peer());
        sim.add_torrent(late, &source, AddOptions::from_peers(&[unlucky]));
        sim.run_until(MINUTE, |sim| {
            sim.torrent(late, ONLY).unwrap().pieces_have == had.pieces_have
        });
        sim.disk_mut(unlucky).set_options(DiskOptions::default());
        sim.run_until_complete(&[unlucky, late], 2 * MINUTE);
        sim.run_for(MINUTE);
        assert_eq!(completions(&sim, unlucky), [true]);
        assert!(!sim.events(unlucky).any(|event| matches!(event, Event::Disk { .. })));
    }
}

#[test]
fn a_sync_that_fails_while_the_disk_is_full_ends_no_wait() {
    for seed in 0..12 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = Arc::new(Source::single(seed, 2_000_000, 64 << 10, None));
        let seeder = sim.add_seed(peer(), &source);
        let mut small = peer();
        small.disk.capacity = 1_200_000;
        small.disk.fail_syncs = (0, 1);
        // So slow that looks for space and the check that follows meet each other.
        small.disk.latency = (Duration::from_millis(1), Duration::from_secs(4));
        let unlucky = sim.add_host(small);
        let add =
            AddOptions { check_space: false, resume: true, ..AddOptions::from_peers(&[seeder]) };
        sim.add_torrent(unlucky, &source, add);
        sim.run_for(5 * MINUTE);
        let failed = |event: &&Event| matches!(event, Event::SyncFailed { bytes: 1.., .. });
        assert_eq!(sim.events(unlucky).filter(failed).count(), 1, "{}", sim.dump());
        let phase = sim.torrent(unlucky, ONLY).unwrap().phase;
        assert!(matches!(phase, Phase::DiskFull(_)), "{phase:?}");
        sim.disk_mut(unlucky).set_options(DiskOptions::default());
        sim.run_until_complete(&[unlucky], 5 * MINUTE);
    }
}

#[test]
fn what_does_not_fit_is_not_begun() {
    for (room, fits) in [(999_999, false), (1_000_000, true)] {
        let mut sim = Sim::new(SimOptions::new(7));
        let source = Arc::new(Source::single(7, 2_000_000, 64 << 10, None));
        let seeder = sim.add_seed(peer(), &source);
        let leecher = sim.add_host(peer());
        // Half of it is there.
        let (path, bytes) = source.files().next().unwrap();
        let path = sim.root(leecher).join(path);
        let half = bytes[..1_000_000].to_vec();
        sim.disk_mut(leecher).put(path, half);
        let mut options = DiskOptions::default();
        options.capacity = 1_000_000 + room;
        sim.disk_mut(leecher).set_options(options);
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
        if fits {
            sim.run_until_complete(&[leecher], MINUTE);
            continue;
        }
        sim.run_for(MINUTE);
        let reason = StopReason::NoSpace { free: room, needed: 1_000_000 };
        assert_eq!(stop_reason(&sim, leecher), Some(reason));
        assert_eq!(sim.disk(leecher).writes(), 0);
        assert_at_rest(&sim, leecher);
    }
}

#[test]
fn a_read_only_disk_stops_a_download_but_not_a_seed() {
    let mut sim = Sim::new(SimOptions::new(5));
    let source = Arc::new(Source::single(5, 500_000, 32 << 10, None));
    let mut frozen = peer();
    frozen.disk.read_only = true;
    let seeder = sim.add_seed(frozen.clone(), &source);
    let unlucky = sim.add_host(frozen);
    sim.add_torrent(unlucky, &source, AddOptions::from_peers(&[seeder]));
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
    sim.run_until_complete(&[leecher], MINUTE);
    assert_eq!(stop_reason(&sim, unlucky), Some(StopReason::Disk));
}

#[test]
fn a_seed_whose_read_fails_withdraws_that_piece_and_serves_the_others() {
    let mut sim = Sim::new(SimOptions::new(6));
    let source = Arc::new(Source::single(6, 1_000_000, 32 << 10, None));
    let mut bad = peer();
    bad.disk.fail_read = Some((3, DiskErrorKind::Other));
    let unlucky = sim.add_seed(bad, &source);
    let seeder = sim.add_seed(peer(), &source);
    let leechers = add_leechers(&mut sim, &source, &[unlucky, seeder], 2);
    sim.run_until_complete(&leechers, 5 * MINUTE);
    let status = sim.torrent(unlucky, ONLY).unwrap();
    assert_eq!((status.phase, status.pieces_have + 1), (Phase::Seeding, status.pieces));
    assert!(status.uploaded > 0);
    let lost = |event: &&Event| matches!(event, Event::PiecesLost { pieces: 1, .. });
    assert_eq!(sim.events(unlucky).filter(lost).count(), 1);
    // Who asks it alone gets all but that piece.
    let late = sim.add_host(peer());
    sim.add_torrent(late, &source, AddOptions::from_peers(&[unlucky]));
    let all_but_one = status.pieces - 1;
    sim.run_until(MINUTE, |sim| sim.torrent(late, ONLY).unwrap().pieces_have == all_but_one);
}

#[test]
fn a_kill_at_any_time_leaves_nothing_that_a_new_start_would_claim() {
    for seed in 0..12 {
        let mut sim = Sim::new(SimOptions::new(seed));
        // Whole pieces and pieces that leave in runs; a short file at the front, so that something
        // of each file is verified early on or nothing is there.
        let piece_len = if seed % 2 == 0 { 64 << 10 } else { 512 << 10 };
        let source = Arc::new(Source::single(seed, 2_500_000, piece_len, None));
        let seeder = sim.add_seed(peer(), &source);
        let mut small = peer();
        small.config.pool_bytes = 1 << 20;
        small.disk.latency.1 = Duration::from_millis(200);
        let leecher = sim.add_host(small);
        sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
        sim.run_until(MINUTE, |sim| sim.torrent(leecher, ONLY).unwrap().pieces_have > 1);
        for _ in 0..4 {
            let had = sim.torrent(leecher, ONLY).unwrap().pieces_have;
            sim.kill(leecher);
            // Jobs of the old life end, torn, before the new one looks.
            sim.run_for(Duration::from_secs(1));
            sim.restart(leecher);
            settle(&mut sim, leecher);
            assert!(sim.torrent(leecher, ONLY).unwrap().pieces_have >= had, "{}", sim.dump());
            sim.run_for(Duration::from_millis(60 + 40 * seed));
        }
        sim.run_until_complete(&[leecher], MINUTE);
    }
}

#[test]
fn a_piece_that_is_mostly_pad_bytes_is_finished() {
    // A refill whose room is used up by blocks that need not be asked for must not be the last.
    let mut sim = Sim::new(SimOptions::new(9));
    let piece_len: u32 = 4 << 20;
    let pad = SourceFile { name: ".pad/1", len: piece_len as usize - 16_384, pad: true };
    let files = [file("one", 16_384), pad, file("two", 2 * piece_len as usize)];
    let source = Arc::new(Source::new(9, &files, piece_len, None));
    let seeder = sim.add_seed(peer(), &source);
    let leecher = sim.add_host(peer());
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
    sim.run_until_complete(&[leecher], MINUTE);
}

#[test]
fn a_download_that_was_killed_before_its_first_piece_goes_on() {
    // A piece of 1 MiB leaves a pool of 1 MiB in runs, so bytes are on disk before any are right.
    let small = || {
        let mut options = peer();
        options.config.pool_bytes = 1 << 20;
        options
    };
    let mut sim = Sim::new(SimOptions::new(11));
    let source = Arc::new(Source::single(11, 4 << 20, 1 << 20, None));
    let seeder = sim.add_seed(peer(), &source);
    let leecher = sim.add_host(small());
    sim.add_torrent(leecher, &source, AddOptions::from_peers(&[seeder]));
    sim.run_until(MINUTE, |sim| sim.disk(leecher).writes() > 0);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().pieces_have, 0);
    sim.kill(leecher);
    sim.run_for(Duration::from_secs(1));
    sim.restart(leecher);
    sim.run_until_complete(&[leecher], 5 * MINUTE);
}
