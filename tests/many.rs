//! Many torrents in one process: lists, one summary, the worst exit code.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sha1::{Digest, Sha1};
use swarmloop::proto::bencode::Writer;

/// More than one tick looks at, so that the turns matter.
const TORRENTS: usize = 700;

/// Writes a torrent of one piece, and its data if `with_data`.
fn torrent(folder: &Path, name: &str, with_data: bool) {
    let data = format!("the data of {name}");
    let hash = Sha1::digest(data.as_bytes());
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(i64::try_from(data.len()).expect("small"));
            info.key(b"name").bytes(name.as_bytes());
            info.key(b"piece length").int(16 << 10);
            info.key(b"pieces").bytes(&hash);
        });
    });
    fs::write(folder.join(format!("{name}.torrent")), out).expect("written");
    if with_data {
        fs::write(folder.join(name), data).expect("written");
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `get` with these arguments, and this on stdin.
fn get(folder: &Path, args: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_swarmloop"))
        .args(["get", "--port", "0", "--bind", "127.0.0.1"])
        .args(args)
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut pipe = child.stdin.take().expect("it is piped");
    pipe.write_all(stdin.as_bytes()).expect("it reads");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_list_of_hundreds_is_one_run_with_one_summary() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines = vec!["# everything".to_owned(), String::new()];
    for i in 0..TORRENTS {
        torrent(folder.path(), &format!("t{i}"), true);
        lines.push(format!("  t{i}.torrent"));
    }
    let list = lines.join("\n");
    let ran = get(folder.path(), &["-q", "-i", "-"], &list);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let mut paths: Vec<&str> = ran.out.lines().collect();
    paths.sort_unstable();
    let mut expected: Vec<String> = (0..TORRENTS).map(|i| format!("t{i}")).collect();
    expected.sort_unstable();
    assert_eq!(paths, expected);

    let ran = get(folder.path(), &["--json", "--progress", "never", "-i", "-"], &list);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let summary = format!(
        "{{\"type\":\"summary\",\"ok\":{TORRENTS},\"failed\":0,\"interrupted\":0,\"exit_code\":0}}"
    );
    assert_eq!(ran.out.lines().last(), Some(summary.as_str()));
    let completes = ran.out.lines().filter(|line| line.starts_with("{\"type\":\"complete\""));
    assert_eq!(completes.count(), TORRENTS);
}

#[test]
fn the_worst_of_several_ends_is_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    torrent(folder.path(), "here", true);
    torrent(folder.path(), "nowhere", false);
    torrent(folder.path(), "taken", false);
    fs::write(folder.path().join("taken"), "somebody else's bytes").expect("written");
    fs::write(folder.path().join("list"), "taken.torrent\n").expect("written");
    let quick = ["--no-trackers", "--timeout", "300ms"];
    for (inputs, code) in [
        (&["here.torrent"][..], 0),
        (&["here.torrent", "nowhere.torrent"], 5),
        (&["here.torrent", "missing.torrent", "nowhere.torrent"], 4),
        (&["here.torrent", "missing.torrent", "nowhere.torrent", "-i", "list"], 6),
    ] {
        let ran = get(folder.path(), &[&quick[..], inputs].concat(), "");
        assert_eq!(ran.code, Some(code), "{inputs:?}: {}", ran.err);
        assert_eq!(ran.out, "here\n", "{inputs:?}");
    }
    let kept = fs::read_to_string(folder.path().join("taken")).expect("it is there");
    assert_eq!(kept, "somebody else's bytes");
}

#[test]
fn a_list_that_cannot_be_read_is_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = get(folder.path(), &["-i", "no-list"], "");
    assert_eq!((ran.code, ran.out.as_str()), (Some(4), ""));
    let message = "cannot read list 'no-list': No such file or directory (os error 2)";
    assert_eq!(ran.err, format!("swarmloop: error: {message}\n"));
}
