//! What happens when a download is complete: `--move-to`, `--on-complete`.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "what is skipped says so")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "common/port.rs"]
mod port;
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

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::port::free_port;
use crate::running::Running;
use crate::strace::has_strace;
use crate::wait::eventually;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with `data.torrent`, and the data itself in `here`.
struct Stage {
    folder: TempDir,
    data: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        Self::of(200_000)
    }

    /// Returns a stage with so many bytes of data.
    fn of(len: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
        let out = torrent::of_one_file(NAME, &data, 16 << 10);
        fs::write(folder.path().join("data.torrent"), out).expect("written");
        let stage = Self { folder, data };
        stage.put("here");
        stage
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.folder.path().join(below)
    }

    fn put(&self, dir: &str) {
        fs::create_dir_all(self.path(dir)).expect("made");
        fs::write(self.path(dir).join(NAME), &self.data).expect("written");
    }

    fn get(&self, args: &[&str]) -> Command {
        self.get_by(&[], args)
    }

    /// Returns a download that another program runs, if there is one.
    fn get_by(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let mut words = wrapper.iter().chain(&[env!("CARGO_BIN_EXE_swarmloop")]);
        let mut command = Command::new(words.next().expect("at least one"));
        command.args(words);
        command.args(["get", "data.torrent", "--no-trackers"]).args(args);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("SWARMLOOP_NO_CONFIG", "1").env("XDG_STATE_HOME", self.path("state"));
        command
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let port = ["--bind", "127.0.0.14", "--port", "0"];
        let Output { status, stdout, stderr } =
            self.get(&[args, &port].concat()).output().expect("the binary was built");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (status.code(), text(stdout), text(stderr))
    }

    fn check(&self, dir: &Path) {
        assert!(fs::read(dir.join(NAME)).is_ok_and(|data| data == self.data), "{}", dir.display());
    }
}

const NAME: &str = "it's data; rm -rf $HOME";

/// Writes down what a command learns.
const HOOK: &str = "#!/bin/sh
printf '%s\\n' \"$#\" \"$@\" \"$SWARMLOOP_NAME\" \"$SWARMLOOP_PATH\" \"$SWARMLOOP_DIR\" \\
    \"$SWARMLOOP_SIZE\" \"$SWARMLOOP_TORRENT\" \"${#SWARMLOOP_HASH}\" >learnt
echo 'said by the hook'
test -e \"$SWARMLOOP_PATH\"
";

fn hook(stage: &Stage) {
    let path = stage.path("hook");
    fs::write(&path, HOOK).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn data_is_moved_then_a_command_is_run() {
    let stage = Stage::new();
    hook(&stage);
    let command = "./hook 'two words' \"$HOME;\" x";
    let args = ["-d", "here", "--move-to", "done/now", "--on-complete", command];
    let (code, out, err) = stage.run(&args);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, format!("done/now/{NAME}\n"));
    stage.check(&stage.path("done/now"));
    assert!(!stage.path("here").join(NAME).exists());
    let learnt = fs::read_to_string(stage.path("learnt")).expect("it ran");
    let dir = stage.path("done/now");
    let (dir, size) = (dir.display(), stage.data.len());
    let expected =
        format!("3\ntwo words\n$HOME;\nx\n{NAME}\n{dir}/{NAME}\n{dir}\n{size}\ndata.torrent\n40\n");
    assert_eq!(learnt, expected);
    let (done, moved) = (err.find("done  "), err.find(&format!("moved  {NAME}  to done/now\n")));
    let said = err.find("said by the hook\n");
    assert!(done.is_some() && done < moved && moved < said, "{err}");

    // The same command again finds it where it is, and does nothing twice.
    fs::remove_file(stage.path("learnt")).expect("removed");
    let (code, out, err) = stage.run(&args);
    assert_eq!((code, out), (Some(0), format!("done/now/{NAME}\n")), "{err}");
    assert!(!stage.path("learnt").exists(), "{err}");
}

/// It was gone on with in the other folder, and everything downloaded once more.
#[test]
fn what_is_where_it_would_be_moved_to_is_not_taken_for_the_download() {
    let stage = Stage::new();
    let (code, _, err) = stage.run(&["-d", "here"]);
    assert_eq!(code, Some(0), "{err}");
    fs::create_dir(stage.path("done")).expect("made");
    fs::write(stage.path("done").join(NAME), "mine").expect("written");
    let (code, out, err) = stage.run(&["-d", "here", "--move-to", "done"]);
    assert_eq!((code, out), (Some(6), format!("here/{NAME}\n")), "{err}");
    assert!(err.contains("exists already; the data stays where it is"), "{err}");
    stage.check(&stage.path("here"));
    assert_eq!(fs::read(stage.path("done").join(NAME)).expect("there"), b"mine");
}

/// Some of the variables that tell of a download have the names of settings: `SWARMLOOP_DIR`.
#[test]
fn a_command_that_is_this_program_takes_the_download_for_no_setting() {
    let stage = Stage::new();
    let command = format!("'{}' config --show-origin", env!("CARGO_BIN_EXE_swarmloop"));
    let (code, _, err) = stage.run(&["-d", "here", "--move-to", "done", "--on-complete", &command]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("piece_size = \"auto\""), "{err}");
    assert!(err.contains("# default\n") && !err.contains("# SWARMLOOP_DIR"), "{err}");
    assert!(!err.contains("# SWARMLOOP_NAME") && !err.contains("# SWARMLOOP_SIZE"), "{err}");
}

/// Returns a folder on another file system than the stage's; says so if there is none.
fn elsewhere(stage: &Stage) -> Option<TempDir> {
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: there is no /dev/shm");
        return None;
    };
    let device = |path: &Path| fs::metadata(path).expect("it is there").dev();
    if device(other.path()) == device(stage.folder.path()) {
        println!("skipped: /dev/shm is the file system of temporary files");
        return None;
    }
    Some(other)
}

/// What a move does to files and folders, by the names of the system's calls.
const CALLS: [&str; 5] = ["/^rename", "/^unlink", "/^mkdir", "rmdir", "fsync"];

/// Kills a move to a folder at each of its calls, and asserts that the data is whole in one of the
/// two places, and that the same command then brings the move to its end. Returns at which calls.
fn kill_moves(stage: &Stage, to: &Path) -> Vec<(&'static str, u32)> {
    let to_arg = to.to_string_lossy();
    // Nobody is there to download from.
    let args = ["-d", "here", "--move-to", &to_arg, "--timeout", "9s"];
    let under_trace = [&args[..], &["--port", "0", "--bind", "127.0.0.16", "-q"]].concat();
    let is_whole = |dir: &Path| fs::read(dir.join(NAME)).is_ok_and(|data| data == stage.data);
    let mut killed = Vec::new();
    for call in CALLS {
        for nth in 1.. {
            assert!(nth < 60, "{call} is called {nth} times");
            for dir in [to.to_owned(), stage.path("state")] {
                let _ = fs::remove_dir_all(dir);
            }
            stage.put("here");
            let (trace, inject) =
                (format!("trace={call}"), format!("inject={call}:signal=KILL:when={nth}"));
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let ran = stage.get_by(&wrapper, &under_trace).stdout(Stdio::null()).status();
            let is_killed = !ran.expect("strace").success();
            assert!(is_whole(&stage.path("here")) || is_whole(to), "killed at {call} {nth}");
            if !is_killed {
                break;
            }
            killed.push((call, nth));
            let (code, out, err) = stage.run(&args);
            let result = format!("{to_arg}/{NAME}\n");
            assert_eq!((code, out), (Some(0), result), "killed at {call} {nth}: {err}");
            assert!(is_whole(to) && !stage.path("here").join(NAME).exists(), "{call} {nth}");
            let left: Vec<_> = fs::read_dir(to).expect("a folder").collect();
            assert_eq!(left.len(), 1, "killed at {call} {nth}: {left:?}");
        }
    }
    killed
}

#[test]
fn a_move_that_is_killed_at_any_call_loses_nothing() {
    if !has_strace() {
        return;
    }
    let stage = Stage::new();
    let killed = kill_moves(&stage, &stage.path("done"));
    println!("renaming: killed at {killed:?}");
    assert!(killed.iter().any(|(call, _)| *call == "/^rename"), "{killed:?}");
    let Some(other) = elsewhere(&stage) else { return };
    let killed = kill_moves(&stage, &other.path().join("done"));
    println!("copying: killed at {killed:?}");
    for call in ["/^rename", "/^unlink", "/^mkdir", "fsync"] {
        assert!(killed.iter().any(|killed| killed.0 == call), "{call} was never called");
    }
}

/// Lets a download that moves its data seed, and returns how much it has read by then.
fn bytes_read(stage: &Stage, from: &str, to: &str, is_moved: bool) -> u64 {
    let args = ["-d", from, "--move-to", to, "--seed", "--json", "--bind", "127.0.0.17"];
    let mut command = stage.get(&[&args[..], &["--port", "0"]].concat());
    let mut run = Running(command.stdout(Stdio::piped()).spawn().expect("the binary was built"));
    let stdout = BufReader::new(run.0.stdout.take().expect("it is piped"));
    let mut lines = stdout.lines().map(|line| line.expect("text"));
    let moved = "\"type\":\"moved\"";
    assert!(is_moved || lines.any(|line| line.contains(moved)), "it ended");
    assert!(lines.any(|line| line.contains("\"state\":\"seeding\"")), "it ended");
    let io = fs::read_to_string(format!("/proc/{}/io", run.0.id())).expect("it runs");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("a figure");
    let pid = rustix::process::Pid::from_child(&run.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    lines.for_each(drop);
    assert_eq!(run.0.wait().expect("it ends").code(), Some(0));
    let states = fs::read_dir(stage.path("state/swarmloop/resume")).expect("a folder");
    assert_eq!(states.count(), 1, "that of the old place is gone");
    read.parse().expect("a number")
}

#[test]
fn what_was_moved_is_not_hashed_again() {
    const LEN: u32 = 16 << 20;

    let stage = Stage::of(LEN);
    let Some(other) = elsewhere(&stage) else { return };
    let far = other.path().to_string_lossy().into_owned();
    for (from, to, is_moved, reads) in [
        // To find it right; nothing for a name.
        ("here", "near", false, 1),
        ("here", "near", true, 0),
        // To copy it, to compare the copy, and to hash that.
        ("near", &*far, false, 3),
        ("near", &*far, true, 0),
    ] {
        let read = bytes_read(&stage, from, to, is_moved);
        let (least, len) = (u64::from(LEN) * reads, u64::from(LEN));
        assert!((least..least + len / 4).contains(&read), "{read} bytes from {from} to {to}");
    }
}

#[test]
fn a_move_to_another_file_system_copies() {
    let stage = Stage::new();
    let Some(other) = elsewhere(&stage) else { return };
    let to = other.path().to_string_lossy().into_owned();
    let (code, out, err) = stage.run(&["-d", "here", "--move-to", &to]);
    assert_eq!((code, out), (Some(0), format!("{to}/{NAME}\n")), "{err}");
    stage.check(other.path());
    assert!(!stage.path("here").join(NAME).exists());
    let left = fs::read_dir(other.path()).expect("a folder").count();
    assert_eq!(left, 1, "nothing of the copying is left");
}

#[test]
fn what_fails_afterwards_is_told_and_the_download_is_kept() {
    let stage = Stage::new();
    // A folder that cannot be made, because a file has its name.
    fs::write(stage.path("file"), "").expect("written");
    let (code, out, err) = stage.run(&["-d", "here", "--move-to", "file/below"]);
    assert_eq!((code, out), (Some(1), format!("here/{NAME}\n")), "{err}");
    assert!(err.contains(&format!("error: cannot move 'here/{NAME}' to 'file/below': ")), "{err}");
    stage.check(&stage.path("here"));

    let message = |err: &str| {
        err.lines().find(|line| line.contains("error: ")).map(str::to_owned).unwrap_or_default()
    };
    for (command, end) in [
        ("false", format!("'false', run for '{NAME}', ended with exit status: 1")),
        ("./none", format!("cannot run './none' for '{NAME}': No such file or directory")),
    ] {
        stage.put("here");
        let _ = fs::remove_dir_all(stage.path("done"));
        let args = ["-d", "here", "--move-to", "done", "--on-complete", command];
        let (code, out, err) = stage.run(&args);
        assert_eq!((code, out), (Some(1), format!("done/{NAME}\n")), "{err}");
        assert!(message(&err).contains(&end), "{err}");
        assert!(message(&err).ends_with("The download is complete"), "{err}");
    }
}

#[test]
fn a_bad_command_line_is_refused_at_once() {
    let stage = Stage::new();
    for (command, why) in [("", "no program is named"), ("'a", "a quote is not closed")] {
        let (code, _, err) = stage.run(&["--on-complete", command]);
        assert_eq!(code, Some(2));
        assert!(err.contains(why), "{err}");
    }
}

#[test]
fn seeding_goes_on_from_where_the_data_is() {
    let stage = Stage::new();
    let port = free_port([127, 0, 0, 15]);
    let (number, peer) = (port.to_string(), format!("127.0.0.15:{port}"));
    let args = ["-d", "here", "--move-to", "done", "--seed", "--bind", "127.0.0.15"];
    let seed = stage.get(&[&args[..], &["--port", &number]].concat());
    let mut seed = seed;
    let seed = seed.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _seed = Running(seed.expect("the binary was built"));
    let is_moved = || stage.path("done").join(NAME).exists();
    assert!(eventually(PATIENCE, is_moved), "it is not moved");
    hook(&stage);
    let args = ["-d", "copy", "--peer", &peer, "--on-complete", "./hook", "--timeout", "60s"];
    let (code, out, err) = stage.run(&args);
    assert_eq!((code, out), (Some(0), format!("copy/{NAME}\n")), "{err}");
    stage.check(&stage.path("copy"));
    assert!(stage.path("learnt").exists(), "a download runs its command");
}

#[test]
fn where_it_is_already_nothing_is_moved_to() {
    let stage = Stage::new();
    let (code, out, err) = stage.run(&["-d", "here", "--move-to", "./here"]);
    assert_eq!((code, out), (Some(0), format!("here/{NAME}\n")), "{err}");
    assert!(!err.contains("moved  "), "{err}");
    stage.check(&stage.path("here"));
}

#[test]
fn what_was_moved_is_complete_without_the_folder_it_was_in() {
    let stage = Stage::new();
    let args = ["-d", "here", "--move-to", "done"];
    assert_eq!(stage.run(&args).0, Some(0));
    fs::remove_dir(stage.path("here")).expect("empty");
    let (code, out, err) = stage.run(&args);
    assert_eq!((code, out), (Some(0), format!("done/{NAME}\n")), "{err}");
    assert!(!err.contains("error: "), "{err}");
}
