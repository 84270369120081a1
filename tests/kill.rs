//! A download that is killed at any time goes on where it was: the file is right in the end, little
//! is fetched twice, and no state file is ever unreadable.
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]
#![allow(clippy::print_stdout, reason = "it tells what a kill has cost")]
#![allow(clippy::unwrap_used)] // A test that meets what it does not expect has failed.

#[path = "common/running.rs"]
mod running;
#[path = "common/skip.rs"]
mod skip;
#[path = "common/strace.rs"]
mod strace;
#[path = "common/torrent.rs"]
mod torrent;
#[path = "common/wait.rs"]
mod wait;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use swarmloop::disk::slots;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::rng::Rng;
use swarmloop::torrent::resume::Record;
use tempfile::TempDir;

use crate::running::Running;
use crate::strace::has_strace;
use crate::wait::eventually;

/// Bytes of a piece.
const PIECE_LEN: usize = 64 << 10;
/// What a kill may cost a slow download, in bytes: what was in flight at that moment.
const IN_FLIGHT: u64 = 4 << 20;
/// What it may cost any: the frame pool, and the most payload that waits for a sync.
const POOL_AND_UNSYNCED: u64 = (64 << 20) + (64 << 20);
/// No run takes longer than this: the machine may be busy, but not that busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A torrent, its data with a seed, and a folder to download into.
struct Stage {
    folder: TempDir,
    payload: Vec<u8>,
    metainfo: Metainfo,
    seeds_at: SocketAddrV4,
}

impl Running {
    /// Stops it as a user would, so that it says its last.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.0.wait().unwrap();
    }
}

impl Stage {
    /// `number` tells the tests of one process apart.
    fn new(number: u8, len: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut payload = vec![0; len];
        Rng::new(number.into()).fill(&mut payload);
        let torrent = torrent::of_one_file("data", &payload, PIECE_LEN);
        fs::create_dir(folder.path().join("seed")).unwrap();
        fs::write(folder.path().join("seed/data"), &payload).unwrap();
        fs::write(folder.path().join("t.torrent"), &torrent).unwrap();
        let metainfo = Metainfo::parse(&torrent.into()).unwrap();
        // An address of its own for each process and test.
        let [.., high, low] = std::process::id().to_be_bytes();
        let seeds_at = SocketAddrV4::new(Ipv4Addr::new(127, 64 + high % 64, low, number), 6881);
        Self { folder, payload, metainfo, seeds_at }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.folder.path().join("state"));
        command
    }

    /// Starts a seed that uploads so fast, and waits until it is one.
    fn seed(&self, limit: &str) -> Running {
        let ip = self.seeds_at.ip().to_string();
        let mut command = self.command(env!("CARGO_BIN_EXE_swarmloop"), &["seed", "t.torrent"]);
        command.args(["-d", "seed", "--bind", &ip, "--port", "6881", "--no-trackers", "--json"]);
        command.args(["--limit-up", limit, "--no-resume", "--progress", "line:1s"]);
        let path = self.folder.path().join("seed.log");
        let seeding = "\"state\":\"seeding\"";
        let count = || fs::read_to_string(&path).map_or(0, |log| log.matches(seeding).count());
        let before = count();
        let log = File::options().create(true).append(true).open(&path).unwrap();
        let child = command.stdout(log).stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        assert!(eventually(PATIENCE, || count() > before), "the seed is not ready");
        running
    }

    /// Returns the arguments of the download.
    fn get(&self) -> Vec<String> {
        let peer = self.seeds_at.to_string();
        let [a, b, c, _] = self.seeds_at.ip().octets();
        let bind = format!("{a}.{b}.{c}.200");
        let args = ["get", "t.torrent", "-d", "out", "--peer", &peer, "--bind", &bind, "--port"];
        let args = args.into_iter().chain(["0", "--no-trackers", "-q"]);
        args.map(str::to_owned).collect()
    }

    fn start(&self) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_swarmloop"), &[]);
        command.args(self.get()).stdout(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// Runs the download, to be killed at the `nth` of these calls of any thread. Tells whether it
    /// had come to its end before.
    fn survives_kill_at(&self, call: &str, nth: u32) -> bool {
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        let mut command = self.command("strace", &["-f", "-qq", "-o", "/dev/null"]);
        command.args(["-e", &trace, "-e", &inject, env!("CARGO_BIN_EXE_swarmloop")]);
        command.args(self.get()).stdout(Stdio::null()).status().unwrap().success()
    }

    /// Returns when the data was written last.
    fn written_at(&self) -> Option<SystemTime> {
        fs::metadata(self.folder.path().join("out/data")).ok()?.modified().ok()
    }

    /// Returns the state file, once there is one, and asserts that it can be read.
    fn state(&self) -> Option<(PathBuf, Record)> {
        let entries = fs::read_dir(self.folder.path().join("state/swarmloop/resume")).ok()?;
        let is_state = |path: &PathBuf| path.extension().is_some_and(|it| it == "resume");
        let path = entries.map(|entry| entry.unwrap().path()).find(is_state)?;
        let bytes = fs::read(&path).unwrap();
        let newest = slots::newest(&bytes).expect("a state file has a record that is whole");
        let pieces = u32::try_from(self.payload.len().div_ceil(PIECE_LEN)).unwrap();
        let record = Record::decode(newest.record, self.metainfo.info_hash, pieces, 2);
        Some((path, record.expect("a record of this torrent")))
    }

    /// Asserts that what is claimed is so.
    fn check_claims(&self) -> usize {
        let Some((_, record)) = self.state() else { return 0 };
        let data = fs::read(self.folder.path().join("out/data")).unwrap_or_default();
        for piece in record.claimed.ones() {
            let from = piece as usize * PIECE_LEN;
            let to = (from + PIECE_LEN).min(self.payload.len());
            assert_eq!(data.get(from..to), self.payload.get(from..to), "piece {piece} is claimed");
        }
        record.claimed.ones().count()
    }

    /// Lets the download come to its end, and asserts that every byte is right.
    fn finish(&self) {
        let mut running = self.start();
        let mut status = None;
        eventually(PATIENCE, || {
            status = running.0.try_wait().unwrap();
            status.is_some()
        });
        let status = status.expect("the download ends");
        assert!(status.success(), "{status}");
        assert!(fs::read(self.folder.path().join("out/data")).unwrap() == self.payload);
        assert!(self.state().unwrap().1.claimed.is_full());
    }

    /// Returns what the seeds have uploaded, by what each of them said at its end.
    fn uploaded(&self) -> u64 {
        let log = BufReader::new(File::open(self.folder.path().join("seed.log")).unwrap());
        let (mut before, mut now) = (0, 0);
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["type"] == "start" {
                before += std::mem::take(&mut now);
            }
            now = line["uploaded"].as_u64().unwrap_or(now);
        }
        before + now
    }
}

/// Kills a download so many times at random, restarting it each time, then lets it end. Asserts
/// that it is right, and that a kill has cost less than `most` bytes on average.
fn kill_loop(stage: &Stage, kills: u32, limit: &str, most: u64) {
    let slow = stage.seed(limit);
    let mut rng = Rng::new(u64::from(kills));
    let mut claimed = 0;
    for kill in 0..kills {
        let before = stage.written_at();
        let mut running = stage.start();
        let until = Instant::now() + PATIENCE;
        while stage.written_at() == before && rng.below(1_000) > 0 {
            assert!(Instant::now() < until, "nothing comes");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(rng.below(200) as u64));
        let ended = running.0.try_wait().unwrap();
        assert!(ended.is_none(), "the download ended before kill {kill}: {ended:?}");
        drop(running);
        let now = stage.check_claims();
        assert!(now >= claimed, "{now} pieces claimed of {claimed} before, after kill {kill}");
        claimed = now;
    }
    slow.stop();
    let fast = stage.seed("1G");
    stage.finish();
    fast.stop();
    let (uploaded, needed) = (stage.uploaded(), stage.payload.len() as u64);
    assert!(uploaded >= needed, "{uploaded} bytes were told of");
    let twice = uploaded - needed;
    println!("{kills} kills: {twice} bytes fetched twice, {} a kill", twice / u64::from(kills));
    assert!(twice <= u64::from(kills) * most, "{twice} bytes fetched twice");
}

#[test]
fn a_download_that_is_killed_again_and_again_goes_on_where_it_was() {
    kill_loop(&Stage::new(1, 8 << 20), 20, "600K", IN_FLIGHT);
}

/// The long form: `cargo test --test kill -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn a_download_survives_three_hundred_kills() {
    kill_loop(&Stage::new(2, 64 << 20), 300, "600K", IN_FLIGHT);
}

/// The same in the midst of much that is on its way.
#[test]
#[ignore = "writes some hundred MiB"]
fn a_download_at_full_speed_survives_kills() {
    kill_loop(&Stage::new(4, 512 << 20), 30, "40M", POOL_AND_UNSYNCED);
}

/// What a save does to files, and a sync, by the names of the system's calls.
const CALLS: [&str; 6] = ["pwritev", "fdatasync", "fsync", "/^rename", "ftruncate", "/^unlink"];

#[test]
fn a_kill_at_any_call_of_a_save_leaves_a_state_that_can_be_read() {
    if !has_strace() {
        return;
    }
    let stage = Stage::new(3, 3 * PIECE_LEN + 77);
    let _seed = stage.seed("1G");
    let mut killed = Vec::new();
    for call in CALLS {
        // With a state file of before to be written over, and without.
        for is_first in [true, false] {
            // The tool counts the calls of each thread for itself.
            for nth in 1.. {
                assert!(nth < 100, "{call} is called {nth} times for four pieces");
                // Not the folder: the next run would take it for a drive that is not there.
                let _ = fs::remove_file(stage.folder.path().join("out/data"));
                if is_first {
                    let _ = fs::remove_dir_all(stage.folder.path().join("state"));
                }
                if stage.survives_kill_at(call, nth) {
                    break;
                }
                killed.push((call, nth));
                let _ = stage.state();
                check_only(&stage.folder.path().join("state/swarmloop/resume"));
                stage.finish();
            }
        }
    }
    println!("killed at {killed:?}");
    for call in ["pwritev", "fdatasync", "fsync", "/^rename", "/^unlink"] {
        assert!(killed.iter().any(|killed| killed.0 == call), "{call} was never called");
    }
}

/// Asserts that nothing but state files is in their folder, or one that is being made.
fn check_only(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!([".resume", ".resume.new"].iter().any(|end| name.ends_with(end)), "{name}");
    }
}
