//! How soon 10,000 torrents are ready whose state an earlier run has left, what one that is stopped
//! takes and what one that is served, and whether all of them let the loop sleep:
//! `cargo bench --bench startup`.
//!
//! Each torrent is a file of 1 GiB without bytes on disk, in pieces of 1 MiB, which its record says
//! are all right: so every file is looked at and none is read. Each case is a process of its own,
//! which has read the metainfos before it begins, so that what it takes then is beside those:
//! resident, as the system counts it, and live, as the allocator does.
//!
//! More than three seconds is a failure, and so are more than 2 KiB a stopped torrent beside its
//! metainfo, or a wake-up with nothing to do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report on the terminal")]
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use swarmloop::bitfield::Bitfield;
use swarmloop::disk::job::OnDisk;
use swarmloop::disk::slots::{self, Slot};
use swarmloop::id::TorrentId;
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::reactor::{Reactor, ReactorConfig};
use swarmloop::session::NewTorrent;
use swarmloop::session::io::{Event, Mode, Phase, Resume};
use swarmloop::torrent::resume::Record;

const TORRENTS: usize = 10_000;
const PIECES: u32 = 1024;
const PIECE_LEN: u64 = 1 << 20;
/// The limit, and what is hoped for.
const MAX_START: Duration = Duration::from_secs(3);
const GOAL: Duration = Duration::from_secs(1);
/// Bytes of memory that a stopped torrent may take beside its metainfo.
const MAX_BYTES: usize = 2048;
/// Bytes in which the system counts memory here.
const PAGE_LEN: usize = 4096;
/// How long nothing must happen.
const REST: Duration = Duration::from_secs(2);
/// The argument that makes a process one of the cases.
const CASE: &str = "--case";

/// Counts the bytes that are lent by the system's allocator.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this method, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let mut args = std::env::args().skip_while(|arg| arg != CASE).skip(1);
    if let (Some(case), Some(folder)) = (args.next(), args.next()) {
        return run(case == "stopped", Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a scratch folder");
    for part in ["data", "state", "torrents"] {
        fs::create_dir_all(folder.path().join(part)).expect("a folder");
    }
    (0..TORRENTS).for_each(|number| prepare(folder.path(), number));
    let is_fine = |case| {
        let process = std::env::current_exe().expect("this process has a file");
        let status = Command::new(process).args([CASE, case]).arg(folder.path()).status();
        status.expect("it can be started").success()
    };
    let all = ["stopped", "seeding"].map(is_fine);
    if all == [true; 2] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Memory of this process in bytes.
#[derive(Clone, Copy)]
struct Memory {
    resident: usize,
    live: usize,
}

impl Memory {
    fn now() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        Self { resident: pages * PAGE_LEN, live: LIVE.load(Ordering::Relaxed) }
    }

    /// Returns what each torrent has taken since.
    fn each(self) -> Self {
        let now = Self::now();
        let each = |now: usize, before: usize| now.saturating_sub(before) / TORRENTS;
        Self { resident: each(now.resident, self.resident), live: each(now.live, self.live) }
    }
}

/// Starts all torrents and tells what that took; some that stay stopped, or all that are served.
fn run(stopped: bool, folder: &Path) -> ExitCode {
    let torrents: Vec<NewTorrent> = (0..TORRENTS).map(|n| load(folder, n, stopped)).collect();
    let mut reactor = Reactor::new(ReactorConfig::default()).expect("a loop");
    let before = Memory::now();
    let started = Instant::now();
    let (session, now) = reactor.session_mut();
    for torrent in torrents {
        session.add_torrent(torrent, now).expect("each is there once");
    }
    let added = started.elapsed();
    let is_ready = |event: &Event| match event {
        Event::Phase { phase, .. } if stopped => *phase == Phase::Stopped(None),
        Event::Phase { phase, .. } => *phase == Phase::Seeding,
        _ => false,
    };
    let wait = |reactor: &mut Reactor, is_it: &dyn Fn(&Event) -> bool| {
        let mut left = TORRENTS;
        while left > 0 {
            reactor.turn(Some(Duration::from_secs(1))).expect("a turn");
            while let Some(event) = reactor.poll_event() {
                left -= usize::from(is_it(&event));
            }
        }
    };
    wait(&mut reactor, &is_ready);
    let start = started.elapsed();
    let what = if stopped { "stopped" } else { "served" };
    println!(
        "{TORRENTS} torrents of {PIECES} pieces, {what}: added in {:.3} s",
        added.as_secs_f64()
    );
    println!("  ready after {:.3} s (limit {MAX_START:?}, goal {GOAL:?})", start.as_secs_f64());
    let woken = rest(&mut reactor);
    let each = before.each();
    let limit = if stopped { format!(" (limit {MAX_BYTES})") } else { String::new() };
    println!("  {} bytes resident each{limit}, {} live", each.resident, each.live);
    println!("  {woken} wake-ups in {REST:?} of rest");
    if !stopped {
        let (session, now) = reactor.session_mut();
        (0..).take(TORRENTS).for_each(|id| session.stop_torrent(TorrentId(id), now));
        wait(&mut reactor, &|event| {
            matches!(event, Event::Phase { phase: Phase::Stopped(None), .. })
        });
        rest(&mut reactor);
        println!("  {} bytes live each when they were stopped", before.each().live);
    }
    if start > MAX_START || woken > 0 || stopped && each.resident > MAX_BYTES {
        eprintln!("that is too much");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Lets what is under way come to its end, and returns how often the loop wakes up then.
fn rest(reactor: &mut Reactor) -> u64 {
    let mut woken = 0;
    for _ in 0..2 {
        let turns = reactor.session().0.counters().turns;
        let until = Instant::now() + REST;
        while Instant::now() < until {
            reactor.turn(Some(until.saturating_duration_since(Instant::now()))).expect("a turn");
        }
        // The last one is the end of the wait.
        woken = (reactor.session().0.counters().turns - turns).saturating_sub(1);
    }
    woken
}

fn name_of(number: usize) -> String {
    format!("torrent-{number:05}.bin")
}

fn torrent_file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("torrents/{number:05}.torrent"))
}

/// Makes a torrent, its file and its state.
fn prepare(folder: &Path, number: usize) {
    let name = name_of(number);
    let len = u64::from(PIECES) * PIECE_LEN;
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"announce").bytes(b"http://tracker.example/announce");
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(i64::try_from(len).expect("1 GiB"));
            info.key(b"name").bytes(name.as_bytes());
            info.key(b"piece length").int(i64::try_from(PIECE_LEN).expect("1 MiB"));
            info.key(b"pieces").bytes(&vec![7; PIECES as usize * 20]);
        });
    });
    fs::write(torrent_file(folder, number), &out).expect("a file");
    let info_hash = Metainfo::parse(&out.into()).expect("a valid torrent").info_hash;
    let file = File::create(folder.join("data").join(&name)).expect("a file");
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
    let record = record.encode(info_hash);
    let slot_len = slots::slot_len(record.len());
    let mut state = vec![0; 2 * slot_len];
    let slot = slots::encode(1, &record);
    let at = usize::try_from(Slot::First.offset(slot_len as u64)).expect("small");
    state[at..at + slot.len()].copy_from_slice(&slot);
    fs::write(folder.join(format!("state/{info_hash}.resume")), state).expect("a file");
}

/// Reads a torrent that was made.
fn load(folder: &Path, number: usize, stopped: bool) -> NewTorrent {
    let torrent = fs::read(torrent_file(folder, number)).expect("it was made");
    let metainfo = Metainfo::parse(&torrent.into()).expect("a valid torrent");
    let file = folder.join(format!("state/{}.resume", metainfo.info_hash));
    let resume = Some(Resume { file, check: false, now_s: 0 });
    let dir = folder.join("data");
    // What is served asks no tracker: a name that nobody has is looked up for a while.
    let use_trackers = stopped;
    NewTorrent { resume, use_trackers, stopped, ..NewTorrent::new(metainfo, dir, Mode::Seed) }
}
