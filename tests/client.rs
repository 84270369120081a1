//! Whole clients over loopback: real sockets, real files, real threads.

#[path = "common/client.rs"]
mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::id::TorrentId;
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::rng::Rng;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase, StopReason};
use swarmloop::session::trace::{Note, What};
use swarmloop::stats::Metric;

use crate::common::{PATIENCE, client, wait};

const PIECE_LEN: usize = 64 * 1024;

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

/// Makes a torrent of `files` (paths below `name`, or one file called `name`).
fn torrent(name: &str, files: &[(&[&str], &[u8])], trackers: &[String]) -> Metainfo {
    let all: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let pieces: Vec<u8> = all.chunks(PIECE_LEN).flat_map(Sha1::digest).collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|d| {
        if let Some(tracker) = trackers.first() {
            d.key(b"announce").bytes(tracker.as_bytes());
        }
        d.key(b"info").dict(|d| {
            if let [([], bytes)] = files {
                d.key(b"length").int(i64::try_from(bytes.len()).expect("short"));
            } else {
                d.key(b"files").list(|l| {
                    for (path, bytes) in files {
                        l.dict(|d| {
                            d.key(b"length").int(i64::try_from(bytes.len()).expect("short"));
                            d.key(b"path")
                                .list(|l| path.iter().for_each(|p| l.bytes(p.as_bytes())));
                        });
                    }
                });
            }
            d.key(b"name").bytes(name.as_bytes());
            d.key(b"piece length").int(65_536);
            d.key(b"pieces").bytes(&pieces);
        });
    });
    Metainfo::parse(&Bytes::from(out)).expect("a valid torrent")
}

fn add(
    client: &Client,
    metainfo: &Metainfo,
    dir: &Path,
    mode: Mode,
    peer: Option<SocketAddr>,
) -> TorrentId {
    client
        .add_torrent(AddTorrent {
            peers: peer.map(|p| (p.ip().to_string(), p.port())).into_iter().collect(),
            ..AddTorrent::new(metainfo.clone(), dir.to_owned(), mode)
        })
        .expect("a new torrent")
}

#[test]
fn a_file_goes_from_one_client_to_another_and_is_the_same() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(1, 3_000_000);
    std::fs::write(from.path().join("file.bin"), &bytes).unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let (seed, leech) = (client([127, 7, 1, 2]), client([127, 7, 1, 3]));
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    wait(&seed, |event| matches!(event, Event::Phase { phase: Phase::Seeding, .. }));
    let mode = Mode::Download { overwrite: false };
    let id = add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    wait(&leech, |event| matches!(event, Event::Complete { downloaded: true, .. }));
    assert!(std::fs::read(to.path().join("file.bin")).unwrap() == bytes);
    let status = leech.status(id).unwrap();
    assert_eq!((status.have, status.downloaded, status.wasted), (3_000_000, 3_000_000, 0));
    assert!(leech.shutdown(Duration::from_secs(5)) && seed.shutdown(Duration::from_secs(5)));
}

/// Returns how many files below a folder this process has open.
fn open_below(folder: &Path) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("this process has a folder of them");
    let targets = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(folder)).count()
}

#[test]
fn a_torrent_that_is_stopped_lets_its_files_go_and_can_be_started_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(1, 3_000_000);
    std::fs::write(from.path().join("file.bin"), &bytes).unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let (seed, leech) = (client([127, 7, 9, 2]), client([127, 7, 9, 3]));
    let served = add(&seed, &metainfo, from.path(), Mode::Seed, None);
    let is_seeding = |event: &Event| matches!(event, Event::Phase { phase: Phase::Seeding, .. });
    wait(&seed, is_seeding);
    let mode = Mode::Download { overwrite: false };
    let id = add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    wait(&leech, |event| matches!(event, Event::Complete { downloaded: true, .. }));
    assert!(open_below(from.path()) > 0 && open_below(to.path()) > 0);
    for (client, torrent, folder) in [(&seed, served, &from), (&leech, id, &to)] {
        client.stop_torrent(torrent).unwrap();
        wait(client, |e| matches!(e, Event::Phase { phase: Phase::Stopped(None), .. }));
        let deadline = Instant::now() + PATIENCE;
        // Nothing tells of it: what a torrent that rests has open is not its owner's business.
        while open_below(folder.path()) > 0 {
            assert!(Instant::now() < deadline, "the files are still open");
            std::thread::yield_now();
        }
    }
    leech.start_torrent(id).unwrap();
    wait(&leech, is_seeding);
    assert!(leech.shutdown(Duration::from_secs(5)) && seed.shutdown(Duration::from_secs(5)));
}

#[test]
fn what_the_engine_measures_is_taken_in_intervals_that_follow_each_other() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(1, 1_000_000);
    std::fs::write(from.path().join("file.bin"), &bytes).unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let (seed, leech) = (client([127, 7, 8, 2]), client([127, 7, 8, 3]));
    let first = leech.take_histograms().unwrap();
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    wait(&seed, |event| matches!(event, Event::Phase { phase: Phase::Seeding, .. }));
    let mode = Mode::Download { overwrite: false };
    add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    wait(&leech, |event| matches!(event, Event::Complete { .. }));
    let second = leech.take_histograms().unwrap();
    assert_eq!(second.start, first.start + first.length);
    for metric in [Metric::EventsPerTurn, Metric::LoopBusy, Metric::LoopLag] {
        assert!(second.histograms.of(metric).count() > 0, "{metric:?}");
    }
    let blocks = [Metric::RequestToFirstByte, Metric::RequestToBlock].map(|metric| (metric, 62));
    let pieces = [Metric::BlockToHashed, Metric::BlockToWritten].map(|metric| (metric, 16));
    let once = [Metric::ChokeToUnchoke, Metric::Handshake].map(|metric| (metric, 1));
    for (metric, count) in blocks.into_iter().chain(pieces).chain(once) {
        assert_eq!(second.histograms.of(metric).count(), count, "{metric:?}");
    }
    let counters = second.counters;
    assert_eq!((counters.payload_received, counters.wasted), (1_000_000, 0));
    assert_eq!((counters.blocks_received, counters.pieces_verified), (62, 16));
    assert_eq!((counters.dialled, counters.established, counters.failed), (1, 1, 0));
    assert!(counters.received > counters.payload_received && counters.turns > first.counters.turns);
    let seeded = seed.take_histograms().unwrap().counters;
    assert_eq!((seeded.payload_sent, seeded.blocks_sent, seeded.accepted), (1_000_000, 62, 1));
    let turns = leech.take_histograms().unwrap().histograms.of(Metric::EventsPerTurn).count();
    assert!(turns < 10, "{turns} turns of a client that has nothing to do");
}

#[test]
fn a_client_tells_what_happened_if_it_was_asked_to_keep_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(1, 200_000);
    std::fs::write(from.path().join("file.bin"), &bytes).unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let seed = client([127, 7, 9, 2]);
    let mut session = Config::default();
    session.trace_records = 1_000;
    let config = ClientConfig { session, workers: 1, ..ClientConfig::default() };
    let leech = Client::start(config).expect("nothing is listened on");
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    wait(&seed, |event| matches!(event, Event::Phase { phase: Phase::Seeding, .. }));
    let mode = Mode::Download { overwrite: false };
    add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    wait(&leech, |event| matches!(event, Event::Complete { .. }));
    let trace = leech.take_trace().unwrap().expect("it was asked for");
    let count = |is: fn(&What) -> bool| trace.iter().filter(|record| is(&record.what)).count();
    assert_eq!(count(|what| matches!(what, What::Wire(Note::Landed(_)))), 13);
    assert_eq!(count(|what| matches!(what, What::PieceVerified(_))), 4);
    assert_eq!(trace.lost(), 0);
    assert!(leech.take_trace().unwrap().is_some_and(|trace| trace.len() < 10));
    assert!(seed.take_trace().unwrap().is_none());
}

#[test]
fn many_files_in_folders_arrive_with_the_empty_ones() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (content(1, 100_000), content(2, 200_001));
    let files: &[(&[&str], &[u8])] =
        &[(&["a"], &a), (&["deep", "er", "leer"], &[]), (&["deep", "b ü"], &b), (&["z"], b"z")];
    for (path, bytes) in files {
        let path = path.iter().fold(from.path().join("top"), |dir, part| dir.join(part));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let metainfo = torrent("top", files, &[]);
    let (seed, leech) = (client([127, 7, 2, 2]), client([127, 7, 2, 3]));
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    let mode = Mode::Download { overwrite: false };
    add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    wait(&leech, |event| matches!(event, Event::Complete { .. }));
    for (path, bytes) in files {
        let path = path.iter().fold(to.path().join("top"), |dir, part| dir.join(part));
        assert!(std::fs::read(&path).unwrap() == *bytes, "{path:?}");
    }
}

#[test]
fn a_foreign_file_is_not_overwritten_unasked() {
    let to = tempfile::tempdir().unwrap();
    let bytes = content(1, 100_000);
    let foreign = content(9, 50_000);
    std::fs::write(to.path().join("file.bin"), &foreign).unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let leech = client([127, 7, 3, 3]);
    add(&leech, &metainfo, to.path(), Mode::Download { overwrite: false }, None);
    wait(&leech, |event| match event {
        Event::Phase { phase: Phase::Stopped(Some(StopReason::FilesInTheWay(files))), .. } => {
            assert_eq!((files[0].len, files[0].expected_len), (50_000, 100_000));
            true
        }
        _ => false,
    });
    assert!(std::fs::read(to.path().join("file.bin")).unwrap() == foreign);
}

#[test]
fn what_is_already_there_is_kept() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(1, 1_000_000);
    std::fs::write(from.path().join("file.bin"), &bytes).unwrap();
    std::fs::write(to.path().join("file.bin"), &bytes[..600_000]).unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let (seed, leech) = (client([127, 7, 4, 2]), client([127, 7, 4, 3]));
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    let mode = Mode::Download { overwrite: false };
    let id = add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    wait(&leech, |event| matches!(event, Event::Complete { .. }));
    assert!(std::fs::read(to.path().join("file.bin")).unwrap() == bytes);
    let whole = (600_000 / PIECE_LEN * PIECE_LEN) as u64;
    assert_eq!(leech.status(id).unwrap().downloaded, 1_000_000 - whole);
}

#[test]
fn a_pure_seed_may_be_kept_together_by_links_and_a_download_follows_none() {
    let (from, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(1, 100_000);
    std::fs::write(other.path().join("elsewhere"), &bytes).unwrap();
    std::os::unix::fs::symlink(other.path().join("elsewhere"), from.path().join("file.bin"))
        .unwrap();
    let metainfo = torrent("file.bin", &[(&[], &bytes)], &[]);
    let seed = client([127, 7, 5, 2]);
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    wait(&seed, |event| matches!(event, Event::Complete { downloaded: false, .. }));
    let leech = client([127, 7, 5, 3]);
    add(&leech, &metainfo, from.path(), Mode::Download { overwrite: true }, None);
    wait(&leech, |event| match event {
        Event::Disk { error, .. } => {
            assert!(error.to_string().ends_with("not a regular file"), "{error}");
            true
        }
        _ => false,
    });
}

#[test]
fn two_torrents_that_would_write_the_same_file_are_told_apart_before_a_byte_is_written() {
    let to = tempfile::tempdir().unwrap();
    let (a, b) = (content(1, 100_000), content(2, 100_000));
    let (one, two) =
        (torrent("file.bin", &[(&[], &a)], &[]), torrent("file.bin", &[(&[], &b)], &[]));
    let leech = client([127, 7, 6, 3]);
    let mode = Mode::Download { overwrite: false };
    add(&leech, &one, to.path(), mode, None);
    let again =
        AddTorrent { use_trackers: false, ..AddTorrent::new(two, to.path().to_owned(), mode) };
    let error = leech.add_torrent(again.clone()).expect_err("the path is taken");
    assert_eq!(error.to_string(), "another torrent has the file file.bin");
    let elsewhere = AddTorrent { dir: to.path().join("elsewhere"), ..again };
    assert!(leech.add_torrent(elsewhere).is_ok());
}
