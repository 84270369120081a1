//! Disks that lose pieces, are changed by others, fail at any write, or hang.

use std::path::PathBuf;

use super::*;
use swarmloop::disk::job::DiskErrorKind;
use swarmloop::session::io::StopReason;
use swarmloop::sim::{DiskOptions, SourceFile};

const PIECE_LEN: u32 = 32 << 10;

fn source(seed: u64) -> Arc<Source> {
    let file = |name, len| SourceFile { name, len, pad: false };
    Arc::new(Source::new(seed, &[file("a", 500_000), file("b", 500_000)], PIECE_LEN, None))
}

/// Lets a host check its files, and returns how many pieces it has.
fn settle(sim: &mut Sim, host: HostId) -> u32 {
    sim.run_until(MINUTE, |sim| sim.torrent(host, ONLY).unwrap().phase != Phase::Checking);
    sim.torrent(host, ONLY).unwrap().pieces_have
}

/// Returns how many pieces were told to be lost, and of what kind.
fn lost(sim: &Sim, host: HostId) -> Vec<(u32, DiskErrorKind)> {
    let lost = |event: &Event| match event {
        Event::PiecesLost { pieces, error, .. } => Some((*pieces, error.kind)),
        _ => None,
    };
    sim.events(host).filter_map(lost).collect()
}

#[test]
fn pieces_that_a_check_cannot_read_are_missing_and_no_others() {
    for is_seed in [false, true] {
        let mut sim = Sim::new(SimOptions::new(1));
        let source = source(1);
        let seeder = sim.add_seed(peer(), &source);
        let mut bad = peer();
        bad.disk.fail_checks = (7, 10);
        let host = sim.add_host(bad);
        sim.put_files(host, &source);
        let add = if is_seed { AddOptions::seed() } else { AddOptions::from_peers(&[seeder]) };
        sim.add_torrent(host, &source, add);
        let pieces = sim.torrent(host, ONLY).unwrap().pieces;
        assert_eq!(settle(&mut sim, host), pieces - 3);
        assert_eq!(lost(&sim, host), [(3, DiskErrorKind::Other)]);
        if is_seed {
            let late = sim.add_host(peer());
            sim.add_torrent(late, &source, AddOptions::from_peers(&[host]));
            let all_but_those =
                |sim: &Sim| sim.torrent(late, ONLY).unwrap().pieces_have == pieces - 3;
            sim.run_until(MINUTE, all_but_those);
        } else {
            sim.run_until_complete(&[host], MINUTE);
            let downloaded = sim.torrent(host, ONLY).unwrap().downloaded;
            assert_eq!(downloaded, 3 * u64::from(PIECE_LEN));
        }
    }
}

#[test]
fn a_piece_that_cannot_be_read_does_not_make_a_record_doubtful() {
    let mut sim = Sim::new(SimOptions::new(2));
    let source = source(2);
    let seeder = sim.add_seed(peer(), &source);
    let host = sim.add_host(peer());
    let keeps = AddOptions { resume: true, ..AddOptions::from_peers(&[seeder]) };
    sim.add_torrent(host, &source, keeps);
    let pieces = sim.torrent(host, ONLY).unwrap().pieces;
    sim.run_until(MINUTE, |sim| sim.torrent(host, ONLY).unwrap().pieces_have > pieces / 2);
    sim.run_for(Duration::from_millis(1));
    sim.run_until_complete(&[host], MINUTE);
    sim.run_for(MINUTE);
    sim.kill(host);
    // Somebody has touched a file, so that its pieces are hashed; one is not to be read.
    let path = sim.root(host).join(source.files().next().unwrap().0);
    let bytes = sim.disk(host).file(&path).unwrap().to_vec();
    sim.disk_mut(host).put(path, bytes);
    let mut options = DiskOptions::default();
    options.fail_checks = (2, 3);
    sim.disk_mut(host).set_options(options);
    sim.restart(host);
    assert_eq!(settle(&mut sim, host), pieces - 1);
    sim.run_until_complete(&[host], MINUTE);
    assert_eq!(sim.torrent(host, ONLY).unwrap().downloaded, u64::from(PIECE_LEN));
}

#[test]
fn a_file_that_changes_beneath_a_seed_is_hashed_again_and_served_where_it_is_right() {
    let kind = DiskErrorKind::Changed;
    for broken in [1, 0] {
        let mut sim = Sim::new(SimOptions::new(3));
        let source = Arc::new(Source::single(3, 1_000_000, PIECE_LEN, None));
        let host = sim.add_seed(peer(), &source);
        let pieces = settle(&mut sim, host);
        let path: PathBuf = sim.root(host).join(source.files().next().unwrap().0);
        let mut bytes = sim.disk(host).file(&path).unwrap().to_vec();
        // Far from what is asked for first, and may be on its way when the change is found.
        bytes[28 * PIECE_LEN as usize] ^= broken;
        sim.disk_mut(host).put(path, bytes);
        let mut options = DiskOptions::default();
        options.fail_read = Some((0, kind));
        sim.disk_mut(host).set_options(options);
        let late = sim.add_host(peer());
        let in_order = AddOptions { sequential: true, ..AddOptions::from_peers(&[host]) };
        sim.add_torrent(late, &source, in_order);
        let right = pieces - u32::from(broken);
        sim.run_until(MINUTE, |sim| sim.torrent(late, ONLY).unwrap().pieces_have == right);
        let expected = if broken == 1 { vec![(1, kind)] } else { Vec::new() };
        assert_eq!(lost(&sim, host), expected);
        let status = sim.torrent(host, ONLY).unwrap();
        assert_eq!((status.phase, status.pieces_have), (Phase::Seeding, right));
        assert_eq!(sim.torrent(late, ONLY).unwrap().corrupt_pieces, 0, "no wrong byte was sent");
    }
}

#[test]
fn a_download_survives_an_error_at_any_write() {
    let writes = {
        let mut sim = Sim::new(SimOptions::new(4));
        let source = source(4);
        let seeder = sim.add_seed(peer(), &source);
        let host = sim.add_host(peer());
        sim.add_torrent(host, &source, AddOptions::from_peers(&[seeder]));
        sim.run_until_complete(&[host], MINUTE);
        sim.disk(host).writes()
    };
    assert!(writes >= 31);
    for kind in [
        DiskErrorKind::Full,
        DiskErrorKind::Permission,
        DiskErrorKind::ReadOnly,
        DiskErrorKind::InTheWay,
        DiskErrorKind::Vanished,
        DiskErrorKind::Other,
    ] {
        for nth in 0..writes {
            let mut sim = Sim::new(SimOptions::new(4));
            let source = source(4);
            let seeder = sim.add_seed(peer(), &source);
            let mut bad = peer();
            bad.disk.fail_write = Some((nth, kind));
            let host = sim.add_host(bad);
            let keeps = AddOptions { resume: true, ..AddOptions::from_peers(&[seeder]) };
            sim.add_torrent(host, &source, keeps);
            if kind != DiskErrorKind::Full {
                let is_stopped = |sim: &Sim| {
                    let stopped = Phase::Stopped(Some(StopReason::Disk));
                    sim.torrent(host, ONLY).unwrap().phase == stopped
                };
                sim.run_until(MINUTE, is_stopped);
                sim.run_for(MINUTE);
                let had = sim.torrent(host, ONLY).unwrap().pieces_have;
                assert_at_rest(&sim, host);
                sim.kill(host);
                sim.disk_mut(host).set_options(DiskOptions::default());
                sim.restart(host);
                assert!(settle(&mut sim, host) >= had, "{kind:?} at write {nth}");
            }
            sim.run_until_complete(&[host], 5 * MINUTE);
        }
    }
}

#[test]
fn a_disk_that_hangs_costs_no_peer_and_is_named_in_the_end() {
    let mut sim = Sim::new(SimOptions::new(5));
    let source = source(5);
    let mut slow = peer();
    slow.link.up_rate = 50_000;
    let seeder = sim.add_seed(slow, &source);
    let host = sim.add_host(peer());
    let keeps = AddOptions { resume: true, ..AddOptions::from_peers(&[seeder]) };
    sim.add_torrent(host, &source, keeps);
    sim.run_until(MINUTE, |sim| sim.torrent(host, ONLY).unwrap().pieces_have > 3);
    let mut options = DiskOptions::default();
    options.latency = (HOUR, HOUR);
    sim.disk_mut(host).set_options(options);
    let before = sim.torrent(host, ONLY).unwrap();
    sim.run_for(20 * MINUTE);
    let closed = |event: &&Event| matches!(event, Event::PeerClosed { .. });
    assert_eq!(sim.events(host).filter(closed).count(), 0, "{}", sim.dump());
    let status = sim.torrent(host, ONLY).unwrap();
    assert_eq!((status.phase, status.peers), (Phase::Downloading, before.peers));
    sim.command(host, Session::shutdown);
    sim.run_for(Duration::from_secs(3));
    let session = sim.session(host).unwrap();
    assert!(!session.is_idle());
    let left = session.unsynced();
    assert!(left.pieces > 0 && left.bytes >= u64::from(left.pieces - 1) * u64::from(PIECE_LEN));
    assert!(left.files > 0 && left.file.is_some_and(|file| file.starts_with(sim.root(host))));
}
