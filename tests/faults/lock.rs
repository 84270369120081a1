//! One process a torrent and folder.

use std::process::Command;

use rustix::process::{Signal, kill_process};

use crate::stage::{Run, Stage};

/// A `get` that never ends, for nobody has the torrent, and that works by now.
fn start(stage: &Stage, dir: &str) -> Run {
    let mut run = stage.start(with_peers(stage, dir, "127.0.0.1:1"));
    run.wait_for("waiting: ");
    run
}

fn with_peers(stage: &Stage, dir: &str, peer: &str) -> Command {
    let mut command = stage.command(&[]);
    command.args(["get", "t.torrent", "-d", dir, "--no-trackers", "--peer", peer]);
    command.args(["--bind", "127.0.0.1", "--port", "0", "--progress", "line"]);
    command
}

#[test]
fn a_second_process_for_the_same_torrent_and_folder_ends_at_once() {
    let stage = Stage::new(&[("a", 100_000)]);
    let first = start(&stage, "out");
    assert!(!stage.path("out").exists(), "nothing came, and nothing was made");
    // However the folder is named, be it there or not.
    for dir in ["out", "./out/x/..", "out/../out/"] {
        let output = stage.get(dir).output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
        let process = first.id().as_raw_nonzero();
        let expected = format!(
            "swarmloop: error: 'data' is being worked on in '{dir}' by process {process}\n"
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    }
    // What puts files out of the way keeps away too; who only reads is in nobody's.
    for (args, code) in [(&["--repair"][..], 1), (&["--repair", "--dry-run"], 3), (&[], 3)] {
        let verify = [&["verify", "t.torrent", "out"], args].concat();
        let output = stage.command(&[]).args(&verify).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
        assert_eq!(err.contains("'data' is being worked on in 'out' by process "), code == 1);
    }
    // Another folder is free.
    let output = stage.get("elsewhere").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let ended = first.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    stage.finish("out");
}

#[test]
fn a_process_that_was_killed_is_no_obstacle() {
    let stage = Stage::new(&[("a", 100_000)]);
    let first = start(&stage, "out");
    kill_process(first.id(), Signal::KILL).unwrap();
    assert_eq!(first.wait().code, None);
    stage.finish("out");
    let left: Vec<_> = std::fs::read_dir(stage.path("state/swarmloop/locks")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the gate is left: {left:?}");
}
