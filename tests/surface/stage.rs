//! Where commands are run: folders, addresses of their own on loopback, a tracker and a seed.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use swarmloop::rng::Rng;
use tempfile::TempDir;

use crate::port::free_port;
use crate::wait;

/// The longest that one command may take to end or to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of `album`: path below it and length in bytes.
const FILES: [(&str, usize); 4] = [
    ("cover.png", 70_001),
    ("disc 1/01 opening.flac", 300_000),
    ("disc 2/01 closing.flac", 100_000),
    ("notes.txt", 1_234),
];

/// A folder, and addresses that no other test has.
pub(crate) struct Stage {
    folder: TempDir,
    /// The first three numbers of the addresses, with a dot behind.
    block: String,
    /// What 6969 and 6881 become.
    ports: [u16; 2],
}

impl Stage {
    pub(crate) fn new() -> Self {
        /// Stages of this process so far.
        static STAGES: AtomicU32 = AtomicU32::new(0);
        /// How far stages are apart, so that those of two processes that were started one after
        /// the other are not the same.
        const APART: u32 = 37;

        let folder = TempDir::with_prefix("swarmloop-surface-").unwrap();
        let number = std::process::id() + STAGES.fetch_add(1, Ordering::Relaxed) * APART;
        let [_, _, high, low] = number.to_be_bytes();
        let block = format!("127.{}.{high}.", low.max(1));
        Self { folder, block, ports: [(); 2].map(|()| free_port(Ipv4Addr::UNSPECIFIED)) }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes the files of `album` below a folder.
    pub(crate) fn write_album(&self, below: &str) {
        for (path, len) in FILES {
            let mut content = vec![0; len];
            Rng::new(len as u64).fill(&mut content);
            let path = self.path(below).join("album").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &content).unwrap();
        }
    }

    /// Returns a text with this stage's addresses and ports.
    pub(crate) fn localized(&self, text: &str) -> String {
        let [tracker, seed] = self.ports.map(|port| port.to_string());
        let text = text.replace("127.0.0.", &self.block).replace("192.168.0.", &self.block);
        let text = text.replace("0.0.0.0", &format!("{}6", self.block));
        text.replace("6969", &tracker).replace("6881", &seed)
    }

    /// Returns a text with the addresses and ports that everybody knows.
    pub(crate) fn generalized(&self, text: &str) -> String {
        let [tracker, seed] = self.ports.map(|port| port.to_string());
        let mut text = text.replace(&self.block, "127.0.0.");
        for (ours, known) in [(tracker, "6969"), (seed, "6881")] {
            for colon in [":", "%3A"] {
                text = text.replace(&format!("{colon}{ours}"), &format!("{colon}{known}"));
            }
        }
        text
    }

    /// Starts a command in a folder of the stage, with nothing around it that is not of the stage.
    pub(crate) fn start(&self, folder: &str, args: &[String]) -> Run {
        let (args, stdout) = match args.split_last() {
            Some((file, args)) if file.starts_with('>') => (args, Some(&file[1..])),
            _ => (args, None),
        };
        let folder = self.path(folder);
        let logs = TempDir::with_prefix_in("log-", self.folder.path()).unwrap();
        let stdout = stdout.map_or_else(|| logs.path().join("stdout"), |file| folder.join(file));
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
        command.args(args).current_dir(&folder).stdin(Stdio::null()).env_clear();
        command.stdout(File::create_new(&stdout).unwrap());
        command.stderr(File::create_new(logs.path().join("stderr")).unwrap());
        // Programs of --on-complete are found by it.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (variable, path) in [
            ("TMPDIR", self.path("tmp")),
            ("HOME", self.path("home")),
            ("XDG_CONFIG_HOME", self.path("config")),
            ("XDG_STATE_HOME", folder.join("state")),
        ] {
            fs::create_dir_all(&path).unwrap();
            command.env(variable, path);
        }
        // Where settings come from is shown by their names and values.
        if !args.iter().any(|arg| arg == "config") {
            command.env("SWARMLOOP_BIND", format!("{}3", self.block));
            // Who is known there by then depends on the machine.
            command.env("SWARMLOOP_NO_DHT", "1");
            command.env("SWARMLOOP_NO_LSD", "1");
        }
        if args == ["tracker"] {
            command.env("SWARMLOOP_LISTEN", self.localized("127.0.0.5:6969"));
        }
        let child = command.spawn().unwrap();
        Run { child, text: args.join(" "), stdout, logs }
    }

    /// Makes `album.torrent` and its data, and starts a tracker at 127.0.0.1:6969 and a seed at
    /// 127.0.0.2:6881 for it.
    pub(crate) fn open(&self) -> [Run; 2] {
        self.write_album("seed");
        let url = self.localized("http://127.0.0.1:6969/announce");
        let args = ["create", "seed/album", "-s", "64K", "--no-date", "-q", "-t", &url];
        self.run(".", &args.map(str::to_owned)).expect_exit(0);
        let args = self.localized("tracker --listen 127.0.0.1:6969");
        let mut tracker = self.start(".", &words(&args));
        tracker.wait_for("/announce\n");
        let args = "seed album.torrent -d seed --bind 127.0.0.2 --port 6881 -v";
        let mut seed = self.start(".", &words(&self.localized(args)));
        seed.wait_for("album: tracker ");
        [tracker, seed]
    }

    pub(crate) fn run(&self, folder: &str, args: &[String]) -> Run {
        let mut run = self.start(folder, args);
        run.wait();
        run
    }
}

/// A command that was started. Dropping it kills it.
pub(crate) struct Run {
    child: Child,
    text: String,
    stdout: PathBuf,
    logs: TempDir,
}

impl Run {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap()).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.logs.path().join("stderr")).unwrap()
    }

    pub(crate) fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Waits until its output holds a text.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let came = eventually(|| {
            let ended = self.child.try_wait().unwrap().is_some();
            self.output().contains(text) || ended
        });
        assert!(came && self.output().contains(text), "no '{text}'\n{self}");
    }

    /// Waits until it ends, and returns its exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut status = None;
        eventually(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap_or_else(|| panic!("it does not end\n{self}"));
        status.code().unwrap_or_else(|| panic!("{status}\n{self}"))
    }

    pub(crate) fn expect_exit(mut self, code: i32) -> Self {
        assert_eq!(self.wait(), code, "{self}");
        self
    }

    /// Returns how many threads it has whose names begin so.
    pub(crate) fn threads_called(&self, prefix: &str) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |task: PathBuf| fs::read_to_string(task.join("comm")).unwrap_or_default();
        tasks.filter(|task| name(task.as_ref().unwrap().path()).starts_with(prefix)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ swarmloop {}\n{}", self.text, self.output())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Neither does anything to a child that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Splits a line as a shell does whose only quotes are single ones.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (part, quoted) in line.split('\'').zip([false, true].into_iter().cycle()) {
        if quoted {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Copies files and folders, with what is in them.
pub(crate) fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Asks until the answer is yes, or [`PATIENCE`] is over (false).
fn eventually(condition: impl FnMut() -> bool) -> bool {
    wait::eventually(PATIENCE, condition)
}
