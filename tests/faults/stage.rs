//! One test's place: a torrent, somebody who seeds it, and runs of the program.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sha1::{Digest, Sha1};
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::rng::Rng;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};
use tempfile::TempDir;

use crate::port::free_port;
use crate::skip::skip;
use crate::wait;

pub(crate) const PIECE_LEN: usize = 64 << 10;

/// What anything here may take on a machine that is busy. A disk that was full twice is tried again
/// after a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// A torrent and its only seed, which lives in this process.
pub(crate) struct Stage {
    /// Declared first, so that it has ended before its files go.
    seed: Client,
    folder: TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Stage {
    /// Makes a torrent of `files`, by their names below its folder `data` and lengths.
    pub(crate) fn new(files: &[(&str, usize)]) -> Self {
        let folder = TempDir::with_prefix("swarmloop-faults-").unwrap();
        let mut rng = Rng::new(files.len() as u64);
        let content = |&(name, len): &(&str, usize)| {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            (Path::new("data").join(name), bytes)
        };
        let files: Vec<(PathBuf, Vec<u8>)> = files.iter().map(content).collect();
        let metainfo = metainfo(&files);
        fs::write(folder.path().join("t.torrent"), &metainfo).unwrap();
        write_files(&folder.path().join("seed"), &files);
        let ip = [127, 0, 0, 1];
        let mut session = Config::default();
        session.bind = vec![ip.into()];
        let listen = vec![SocketAddr::from((ip, 0))];
        let config = ClientConfig { session, listen, workers: 1, ..ClientConfig::default() };
        let seed = Client::start(config).unwrap();
        let metainfo = Metainfo::parse(&metainfo.into()).unwrap();
        let dir = folder.path().join("seed");
        seed.add_torrent(AddTorrent::new(metainfo, dir, Mode::Seed)).unwrap();
        let is_seeding = |event: Event| matches!(event, Event::Phase { phase: Phase::Seeding, .. });
        while !is_seeding(seed.events().recv_timeout(PATIENCE).unwrap()) {}
        Self { seed, folder, files }
    }

    /// Returns a path in the test's folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Returns `get` into the folder `dir`, from the seed.
    pub(crate) fn get(&self, dir: &str) -> Command {
        self.get_by(&[], dir)
    }

    /// Returns `get` into the folder `dir`, run by another program, such as `strace`.
    pub(crate) fn get_by(&self, wrapper: &[&str], dir: &str) -> Command {
        let mut command = self.command(wrapper);
        let peer = self.seed.listen_addrs()[0].to_string();
        command.args(["get", "t.torrent", "-d", dir, "--no-trackers", "--peer", &peer]);
        command.args(["--bind", "127.0.0.1", "--port", "0"]);
        command
    }

    /// Returns the program, to be run by another one if there is one.
    pub(crate) fn command(&self, wrapper: &[&str]) -> Command {
        let program = [env!("CARGO_BIN_EXE_swarmloop")];
        let mut words = wrapper.iter().chain(&program);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.path("state")).env("NO_COLOR", "1");
        command
    }

    /// Starts a command; its output goes to files.
    pub(crate) fn start(&self, command: Command) -> Run {
        self.start_as("std", command)
    }

    /// Starts a command whose output goes to files of this name, beside another one's.
    pub(crate) fn start_as(&self, name: &str, mut command: Command) -> Run {
        let out = self.path(&format!("{name}.out"));
        let err = self.path(&format!("{name}.err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        // A group of its own, so that what a wrapper has started ends with the wrapper.
        Run { child: command.process_group(0).spawn().unwrap(), out, err }
    }

    /// Writes the torrent's files below a folder.
    pub(crate) fn write(&self, dir: &str) {
        write_files(&self.path(dir), &self.files);
    }

    /// Starts a `seed` of the stage's files in `dir`, by a wrapper if there is one, and waits until
    /// it has said `what`. Returns where it is, too.
    pub(crate) fn seed(&self, wrapper: &[&str], dir: &str, what: &str) -> (Run, SocketAddr) {
        self.write(dir);
        let port = free_port(Ipv4Addr::LOCALHOST);
        let mut command = self.command(wrapper);
        command.args(["seed", "t.torrent", "-d", dir, "--no-trackers", "--no-resume"]);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        let mut run = self.start_as("seed", command);
        run.wait_for(what);
        (run, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Starts a download from somebody else than the stage's seed.
    pub(crate) fn leech(&self, dir: &str, from: SocketAddr) -> Run {
        self.leech_with(dir, from, &[])
    }

    /// Starts such a download with these arguments.
    pub(crate) fn leech_with(&self, dir: &str, from: SocketAddr, arguments: &[&str]) -> Run {
        let mut command = self.command(&[]);
        command.args(["get", "t.torrent", "-d", dir, "--no-trackers", "--peer"]);
        command.arg(from.to_string()).args(["--bind", "127.0.0.1", "--port", "0"]);
        command.args(arguments);
        self.start_as("leech", command)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, command: Command) -> Ended {
        self.start(command).wait()
    }

    /// Runs `get` again and checks that it finishes with the right files.
    pub(crate) fn finish(&self, dir: &str) {
        let ended = self.run(self.get(dir));
        assert_eq!((ended.code, ended.out), (Some(0), format!("{dir}/data\n")), "{}", ended.err);
        self.check(dir);
    }

    /// Checks that a folder holds what the torrent promises.
    pub(crate) fn check(&self, dir: &str) {
        for (path, bytes) in &self.files {
            let there = fs::read(self.path(dir).join(path));
            let same = there.as_ref().is_ok_and(|there| there == bytes);
            assert!(same, "{} is not right", path.display());
        }
    }
}

/// The program at work. Dropping it kills it.
pub(crate) struct Run {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns what it has said up to now.
    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Waits until it has said `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let said = eventually(|| self.err().contains(text) || self.has_ended());
        let status = self.child.try_wait().unwrap();
        assert!(said && self.err().contains(text), "{status:?}, no '{text}' in: {}", self.err());
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Ended {
        let ended = self.wait_whatever_it_says();
        assert!(ended.words().lines().count() <= 5, "{}", ended.err);
        ended
    }

    /// Waits for its end; what was asked for may be many lines of progress.
    pub(crate) fn wait_whatever_it_says(mut self) -> Ended {
        assert!(eventually(|| self.has_ended()), "it does not end: {}", self.err());
        let code = self.child.wait().unwrap().code();
        let ended = Ended { code, out: fs::read_to_string(&self.out).unwrap(), err: self.err() };
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
        ended
    }

    /// Ends it as a user does.
    pub(crate) fn interrupt(self) -> Ended {
        kill_process(self.id(), Signal::INT).unwrap();
        self.wait()
    }

    /// Ends it as a user does; what was asked for may be many lines of progress.
    pub(crate) fn interrupt_whatever_it_says(self) -> Ended {
        kill_process(self.id(), Signal::INT).unwrap();
        self.wait_whatever_it_says()
    }

    /// Asks how it stands, and waits for the answer.
    pub(crate) fn ask_status(&mut self) {
        let before = self.err().len();
        kill_process(self.id(), Signal::USR1).unwrap();
        let answered = eventually(|| self.err().len() > before || self.has_ended());
        assert!(answered && !self.has_ended(), "{}", self.err());
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Ended {
    /// Returns what was said without plain progress lines, which begin with the time, and without
    /// what a wrapper has said.
    pub(crate) fn words(&self) -> String {
        let is_progress = |line: &str| line.starts_with("20") && line.contains('T');
        let is_other = |line: &&str| is_progress(line) || line.starts_with("strace: ");
        let lines: Vec<&str> = self.err.lines().filter(|line| !is_other(line)).collect();
        lines.join("\n")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill_process_group(self.id(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A file system of its own in memory, unmounted in the end.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one with these options on a folder that is made; `None` where that is not allowed.
    pub(crate) fn mount(at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "swarmloop-test"]).arg(&at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        (mounted || skip("mounting a tmpfs needs root")).then(|| Self(at))
    }

    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Returns a wrapper that injects an error into a system call.
pub(crate) fn strace(inject: &str) -> [&str; 7] {
    ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject]
}

/// Returns the number of a processor that this process may use.
pub(crate) fn first_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    allowed.unwrap().trim().split([',', '-']).next().unwrap().to_owned()
}

/// Asks until `condition` holds, or patience is over.
pub(crate) fn eventually(condition: impl FnMut() -> bool) -> bool {
    wait::eventually(PATIENCE, condition)
}

fn write_files(dir: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn metainfo(files: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let all: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let pieces: Vec<u8> = all.chunks(PIECE_LEN).flat_map(Sha1::digest).collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"files").list(|list| {
                for (path, bytes) in files {
                    list.dict(|file| {
                        file.key(b"length").int(i64::try_from(bytes.len()).unwrap());
                        let name = path.file_name().unwrap().as_encoded_bytes();
                        file.key(b"path").list(|path| path.bytes(name));
                    });
                }
            });
            info.key(b"name").bytes(b"data");
            info.key(b"piece length").int(i64::try_from(PIECE_LEN).unwrap());
            info.key(b"pieces").bytes(&pieces);
        });
    });
    out
}
