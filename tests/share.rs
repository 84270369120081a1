//! `share` from the outside: the line that it prints, the torrent that it serves, how it ends.
//! (`tests/interop/share.rs` has other clients receive from it.)

#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn swarmloop(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    // Nothing of whoever runs the test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SWARMLOOP_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", folder).env("NO_COLOR", "1");
    for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    command
}

/// A share at work, and the line that it has printed.
struct Share {
    child: Child,
    line: String,
}

impl Share {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let args = [&["share"], args].concat();
        let mut command = swarmloop(folder, &args);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        Self { child, line: line.trim_end().to_owned() }
    }

    /// Where the torrent file is: authority and path.
    fn torrent_at(&self) -> (&str, &str) {
        let url = self.line.strip_prefix("curl -s http://").expect("a URL");
        let (url, rest) = url.split_once(' ').expect("it ends");
        assert!(rest.starts_with("| swarmloop get - --peer 127."), "{rest}");
        url.split_at(url.find('/').expect("a path"))
    }

    /// Fetches the torrent file as `curl` would.
    fn torrent(&self) -> Vec<u8> {
        let (authority, path) = self.torrent_at();
        let mut stream = TcpStream::connect(authority).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer.escape_ascii());
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a body");
        answer.split_off(body + 4)
    }

    fn wait(self) -> Output {
        self.child.wait_with_output().expect("it ends")
    }
}

fn make_album(folder: &Path) {
    fs::create_dir_all(folder.join("my album/disc 1")).expect("made");
    fs::write(folder.join("my album/disc 1/a"), vec![7; 300_000]).expect("written");
    fs::write(folder.join("my album/b"), b"b").expect("written");
}

fn receive(folder: &Path, torrent: &[u8], to: &str, bind: &str) -> Output {
    fs::write(folder.join("fetched.torrent"), torrent).expect("written");
    let args = ["get", "fetched.torrent", "-d", to, "--bind", bind, "--timeout", "30s"];
    swarmloop(folder, &args).output().expect("it runs")
}

#[test]
fn a_receiver_gets_everything_and_with_once_the_share_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    make_album(folder);
    let share = Share::start(
        folder,
        &["my album", "--once", "--bind", "127.7.11.1", "--tracker-port", "0", "-o", "saved"],
    );
    let torrent = share.torrent();
    assert!(share.torrent_at().1.ends_with("/my%20album.torrent"));
    assert_eq!(fs::read(folder.join("saved")).expect("it was saved"), torrent);
    let got = receive(folder, &torrent, "copy", "127.7.11.2");
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    for file in ["my album/disc 1/a", "my album/b"] {
        let [source, copy] = [folder.join(file), folder.join("copy").join(file)];
        assert_eq!(fs::read(source).expect("there"), fs::read(copy).expect("there"), "{file}");
    }
    let ended = share.wait();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{err}");
    assert!(err.contains("\n1 received everything\n"), "{err}");
}

#[test]
fn a_seed_that_joins_is_no_receiver() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    make_album(folder);
    let args = ["my album", "--once", "--bind", "127.7.12.1", "--tracker-port", "0"];
    let mut share = Share::start(folder, &args);
    let torrent = share.torrent();
    fs::create_dir(folder.join("copy")).expect("made");
    let copied = Command::new("cp").args(["-r", "my album", "copy"]).current_dir(folder).status();
    assert!(copied.expect("cp").success());
    let got = receive(folder, &torrent, "copy", "127.7.12.2");
    assert!(got.status.success(), "it has everything already");
    assert!(share.child.try_wait().expect("ours").is_none(), "it goes on");
    let got = receive(folder, &torrent, "other", "127.7.12.3");
    assert!(got.status.success());
    assert_eq!(share.wait().status.code(), Some(0));
}

#[test]
fn what_cannot_be_shared_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    make_album(folder);
    fs::write(folder.join("there"), "x").expect("written");
    fs::create_dir(folder.join("empty")).expect("made");
    for (args, code, why) in [
        (&["missing"][..], 4, "cannot read 'missing'"),
        (&["empty"], 4, "has no bytes"),
        (&["my album", "-o", "there"], 6, "'there' exists already"),
        (&["my album", "--once", "--no-trackers"], 2, "cannot be used with"),
        (&["my album", "--once", "0"], 2, "invalid value '0'"),
    ] {
        let args = [&["share", "--bind", "127.7.13.1"], args].concat();
        let output = swarmloop(folder, &args).output().expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(fs::read(folder.join("there")).expect("it is there"), b"x");
}

/// Bytes that a process has had from files and pipes so far.
#[cfg(target_os = "linux")]
fn bytes_read(process: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{process}/io")).expect("it runs");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("a figure");
    read.parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_shared_is_read_once_before_it_is_sent() {
    const LEN: u64 = 16 << 20;

    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("big")).expect("made");
    for (name, byte) in [("a", 1), ("b", 2)] {
        let half = usize::try_from(LEN / 2).expect("it fits");
        fs::write(folder.join("big").join(name), vec![byte; half]).expect("written");
    }
    let args = ["big", "--bind", "127.7.14.1", "--tracker-port", "0", "--json"];
    let mut share = Share::start(folder, &args);
    let stdout = share.child.stdout.as_mut().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    let is_seeding = lines.any(|line| line.expect("text").contains("\"state\":\"seeding\""));
    assert!(is_seeding, "it ended");
    let read = bytes_read(share.child.id());
    assert!((LEN..LEN + LEN / 4).contains(&read), "{read} bytes for {LEN}");
    share.child.kill().expect("it runs");
    share.wait();
}

#[test]
fn what_another_process_shares_is_not_offered_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    make_album(folder.path());
    let args = ["my album", "--bind", "127.0.0.69", "--port", "0", "--tracker-port", "0"];
    let mut first = Share::start(folder.path(), &args);
    let second = Share::start(folder.path(), &args);
    assert_eq!(second.line, "");
    let output = second.wait();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    first.child.kill().expect("it runs");
    first.child.wait().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("is being worked on in ") && !err.contains("sharing  "), "{err}");
}
