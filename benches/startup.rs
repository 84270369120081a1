//! How soon 10,000 torrents are ready whose state an earlier run has left, what one that rests
//! takes, and whether all of them let the loop sleep: `cargo bench --bench startup`.
//!
//! Each torrent is a file of 1 GiB without bytes on disk, in pieces of 1 MiB, which its record says
//! are all right: so every file is looked at and none is read. More than three seconds is a
//! failure, and so are more than 2 KiB a torrent beside its metainfo, or a deadline with nothing to
//! do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report on the terminal")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use swarmloop::bitfield::Bitfield;
use swarmloop::disk::job::OnDisk;
use swarmloop::disk::slots::{self, Slot};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::reactor::{Reactor, ReactorConfig};
use swarmloop::session::NewTorrent;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Mode, Phase, Resume};
use swarmloop::torrent::resume::Record;
use swarmloop::tracker_server::ServerConfig;

const TORRENTS: usize = 10_000;
const PIECES: u32 = 1024;
const PIECE_LEN: u64 = 1 << 20;
/// The limit, and what is hoped for.
const MAX_START: Duration = Duration::from_secs(3);
const GOAL: Duration = Duration::from_secs(1);
/// Bytes of memory that a torrent at rest may take beside its metainfo.
const MAX_BYTES: u64 = 2048;
/// Bytes in which the system counts memory here.
const PAGE_LEN: u64 = 4096;
/// How long nothing must happen.
const REST: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let torrents: Vec<NewTorrent> = (0..TORRENTS).map(|n| prepare(folder.path(), n)).collect();
    let mut reactor = Reactor::new(ReactorConfig {
        session: Config::default(),
        listen: Vec::new(),
        tracker_listen: Vec::new(),
        tracker_udp: Vec::new(),
        tracker: ServerConfig::default(),
        workers: 2,
    })
    .expect("a loop");
    let memory = resident();
    let started = Instant::now();
    let (session, now) = reactor.session_mut();
    for torrent in torrents {
        session.add_torrent(torrent, now).expect("each is there once");
    }
    let added = started.elapsed();
    let mut ready = 0;
    while ready < TORRENTS {
        reactor.turn(Some(Duration::from_secs(1))).expect("a turn");
        while let Some(event) = reactor.poll_event() {
            ready += usize::from(matches!(event, Event::Phase { phase: Phase::Seeding, .. }));
        }
    }
    let start = started.elapsed();
    let bytes = resident().saturating_sub(memory) / TORRENTS as u64;
    let turns = reactor.session().0.counters().turns;
    let until = Instant::now() + REST;
    while Instant::now() < until {
        reactor.turn(Some(until.saturating_duration_since(Instant::now()))).expect("a turn");
    }
    // The last one is the end of the wait.
    let woken = (reactor.session().0.counters().turns - turns).saturating_sub(1);
    println!("{TORRENTS} torrents of {PIECES} pieces: added in {:.3} s", added.as_secs_f64());
    println!("ready after {:.3} s (limit {MAX_START:?}, goal {GOAL:?})", start.as_secs_f64());
    println!("{bytes} bytes of memory each (limit {MAX_BYTES})");
    println!("{woken} wake-ups in {REST:?} of rest");
    if start > MAX_START || bytes > MAX_BYTES || woken > 1 {
        eprintln!("that is too much");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Makes a torrent, its file and its state.
fn prepare(folder: &Path, number: usize) -> NewTorrent {
    let name = format!("torrent-{number:05}.bin");
    let len = u64::from(PIECES) * PIECE_LEN;
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(i64::try_from(len).expect("1 GiB"));
            info.key(b"name").bytes(name.as_bytes());
            info.key(b"piece length").int(i64::try_from(PIECE_LEN).expect("1 MiB"));
            info.key(b"pieces").bytes(&vec![7; PIECES as usize * 20]);
        });
    });
    let metainfo = Metainfo::parse(&Bytes::from(out)).expect("a valid torrent");
    let dir = folder.join("data");
    fs::create_dir_all(&dir).expect("a folder");
    let file = File::create(dir.join(&name)).expect("a file");
    file.set_len(len).expect("room for nothing");
    let stat = file.metadata().expect("it is there");
    let there = OnDisk {
        len,
        modified_ns: stat.mtime() * 1_000_000_000 + stat.mtime_nsec(),
        inode: stat.ino(),
        device: stat.dev(),
        ours: false,
    };
    let record = Record {
        claimed: Bitfield::full(PIECES),
        // The last one is the parts file, which is not there.
        files: vec![Some(there), None],
        clean: true,
        ..Record::empty(PIECES, 2)
    };
    let record = record.encode(metainfo.info_hash);
    let slot_len = slots::slot_len(record.len());
    let mut state = vec![0; 2 * slot_len];
    let slot = slots::encode(1, &record);
    let at = usize::try_from(Slot::First.offset(slot_len as u64)).expect("small");
    state[at..at + slot.len()].copy_from_slice(&slot);
    fs::create_dir_all(folder.join("state")).expect("a folder");
    let file = folder.join(format!("state/{}.resume", metainfo.info_hash));
    fs::write(&file, state).expect("a file");
    let resume = Some(Resume { file, check: false, now_s: 0 });
    NewTorrent { resume, use_trackers: false, ..NewTorrent::new(metainfo, dir, Mode::Seed) }
}

/// Returns the memory that the process has, in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * PAGE_LEN
}
