//! `--profile` and `--trace` when a run does not end well, or never begins.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use swarmloop::proto::bencode::Writer;
use tempfile::TempDir;

/// A folder with `t.torrent`, which nobody has the data of.
fn stage() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut torrent = Vec::new();
    Writer::new(&mut torrent).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(100_000);
            info.key(b"name").bytes(b"data");
            info.key(b"piece length").int(65_536);
            info.key(b"pieces").bytes(&[7; 40]);
        });
    });
    fs::write(folder.path().join("t.torrent"), torrent).unwrap();
    folder
}

fn get(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.args(["get", "t.torrent", "-d", "out", "--no-trackers", "--bind", "127.0.0.1"]);
    command.args(["--port", "0"]).args(more).current_dir(folder).stdin(Stdio::null());
    command.env("XDG_STATE_HOME", folder.join("state"));
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Checks that both instruments were written by a run that ended with `code`.
fn check_written(folder: &Path, code: i32) {
    let run = &json(&folder.join("p/summary.json"))["run"];
    assert_eq!((&run["exit_code"], &run["downloaded"]), (&code.into(), &0.into()));
    assert!(fs::read_to_string(folder.join("p/profile.html")).unwrap().contains("get data"));
    let log = fs::read_to_string(folder.join("p/profile.hlog")).unwrap();
    assert!(log.contains("\nTag=events_per_turn,"), "{log}");
    let trace = json(&folder.join("t.json"));
    assert_eq!(trace["otherData"]["lost"], 0);
    assert!(trace["traceEvents"].is_array());
}

#[test]
fn what_is_in_the_way_is_told_before_anything_begins() {
    for (flag, value, file) in
        [("--profile", "p", "p/summary.json"), ("--trace", "t.json", "t.json")]
    {
        let folder = stage();
        let file = folder.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let output = get(folder.path(), &[flag, value]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{error}");
        assert!(error.contains("exists already. Nothing was written\nhint: "), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert!(!folder.path().join("out").exists(), "{flag}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_told_before_anything_begins() {
    let folder = stage();
    let inside_a_file = ["--profile", "t.torrent/p"];
    let output = get(folder.path(), &inside_a_file).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.starts_with("swarmloop: error: cannot make the folder 't.torrent/p': "),
        "{error}"
    );
    assert!(!folder.path().join("out").exists());
}

#[test]
fn an_interrupted_run_is_written() {
    let folder = stage();
    let mut command = get(folder.path(), &["--profile", "p", "--trace", "t.json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = lines.any(|line| line.unwrap().contains("waiting: "));
    assert!(waits, "it does not say that it waits");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line == "profile: p/profile.html"), "{rest:?}");
    check_written(folder.path(), 130);
}

#[test]
fn a_run_that_gives_up_is_written() {
    let folder = stage();
    let flags = ["--profile", "p", "--trace", "t.json", "--timeout", "1s", "-q"];
    let output = get(folder.path(), &flags).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    check_written(folder.path(), 5);
}
