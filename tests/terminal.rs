//! Terminals and pipes that take nothing, go away or are lent to others, and the signals that come
//! with them.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "common/port.rs"]
mod port;
#[path = "common/running.rs"]
mod running;
#[path = "common/skip.rs"]
mod skip;
#[path = "common/torrent.rs"]
mod torrent;
#[path = "common/wait.rs"]
mod wait;

use std::fs;
use std::io::{PipeReader, PipeWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::port::free_port;
use crate::running::Running;
use crate::skip::skip;
use crate::wait::eventually;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes `data.torrent` of a file of some pieces, and the file in `seed`.
fn torrent(folder: &Path) -> Vec<u8> {
    let data: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    let out = torrent::of_one_file("data", &data, 16 << 10);
    fs::write(folder.join("data.torrent"), out).expect("written");
    fs::create_dir(folder.join("seed")).expect("made");
    fs::write(folder.join("seed/data"), &data).expect("written");
    data
}

fn swarmloop(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.env("SWARMLOOP_NO_CONFIG", "1").env("XDG_STATE_HOME", folder.join("state"));
    command
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it is there");
    }

    fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        eventually(PATIENCE, || {
            status = self.0.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it ends").code()
    }
}

/// A pipe that is full, and its other end, which nobody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("set");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).expect("set");
    (reader, writer)
}

fn wait_for(what: &str, is_there: impl FnMut() -> bool) {
    assert!(eventually(PATIENCE, is_there), "{what} does not come");
}

#[test]
fn pipes_that_nobody_reads_hold_up_neither_transfers_nor_signals() {
    for output in [&["--json"][..], &["-vv", "--progress", "line:10ms"], &["--progress=always"]] {
        let folder = tempfile::tempdir().expect("a folder");
        let data = torrent(folder.path());
        let (_unread, full) = full_pipe();
        let mut args = vec!["seed", "data.torrent", "seed", "--bind", "127.0.0.9"];
        let port = free_port([127, 0, 0, 9]);
        let (port, peer) = (port.to_string(), format!("127.0.0.9:{port}"));
        args.extend(["--port", &port]);
        args.extend(output);
        let seed = swarmloop(folder.path(), &args)
            .stdout(full.try_clone().expect("a copy"))
            .stderr(full.try_clone().expect("a copy"))
            .spawn();
        let mut seed = Running(seed.expect("the binary was built"));
        let mut args = vec!["get", "data.torrent", "-d", "copy", "--bind", "127.0.0.10"];
        args.extend(["--port", "0", "--no-trackers", "--peer", &peer]);
        args.extend(output);
        let get = swarmloop(folder.path(), &args)
            .stdout(full.try_clone().expect("a copy"))
            .stderr(full)
            .spawn();
        let mut get = Running(get.expect("the binary was built"));
        let copy = folder.path().join("copy/data");
        wait_for("the copy", || fs::read(&copy).is_ok_and(|copy| copy == data));
        seed.signal(Signal::TERM);
        // It had nothing to say that was taken, but it hears and ends.
        assert!(matches!(seed.wait(), Some(0 | 143)), "{output:?}");
        get.signal(Signal::TERM);
        assert!(matches!(get.wait(), Some(0 | 143)), "{output:?}");
    }
}

#[test]
fn a_hangup_ends_only_who_had_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    torrent(folder.path());
    let log = folder.path().join("log");
    let get = swarmloop(folder.path(), &["data.torrent", "--no-trackers", "--port", "0"])
        .stderr(fs::File::create(&log).expect("a file"))
        .spawn();
    let mut get = Running(get.expect("the binary was built"));
    let says = |text: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    wait_for("a reason to wait", || says("waiting: "));
    get.signal(Signal::HUP);
    get.signal(Signal::USR1);
    wait_for("the status", || fs::read_to_string(&log).is_ok_and(|log| log.lines().count() > 1));
    get.signal(Signal::TERM);
    assert_eq!(get.wait(), Some(143));
}

/// Runs a script in a terminal of its own: `read_until(text)`, `child` and `finish()` are there.
fn in_terminal(folder: &Path, script: &str) {
    let prelude = "
import os, pty, select, signal, sys, time
child, terminal = pty.fork()
if child == 0:
    os.environ['TERM'] = 'xterm'
    os.execv(sys.argv[1], sys.argv[1:])
seen = b''
def read_until(text, patience=60):
    global seen
    until = time.monotonic() + patience
    while text not in seen:
        left = until - time.monotonic()
        if left <= 0:
            sys.exit('no %r in %r' % (text, seen))
        if select.select([terminal], [], [], left)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                sys.exit('it ended with %r, without %r' % (seen, text))
    seen = seen.split(text, 1)[1]
def finish():
    while True:
        try:
            os.read(terminal, 65536)
        except OSError:
            break
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
";
    let output = Command::new("python3")
        .args(["-c", &format!("{prelude}\n{script}"), env!("CARGO_BIN_EXE_swarmloop")])
        .args(["data.torrent", "--no-trackers", "--port", "0"])
        .current_dir(folder)
        .env("SWARMLOOP_NO_CONFIG", "1")
        .env("XDG_STATE_HOME", folder.join("state"))
        .output();
    match output {
        Err(_) => {
            skip("there is no python3");
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}");
        }
    }
}

#[test]
fn a_stop_and_a_continue_draw_anew_and_an_interrupt_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    torrent(folder.path());
    in_terminal(
        folder.path(),
        "
read_until(b'waiting:')
# Not ^Z: who has no shell above takes no stop from a terminal.
os.kill(child, signal.SIGSTOP)
pid, status = os.waitpid(child, os.WUNTRACED)
if not os.WIFSTOPPED(status):
    sys.exit('it did not stop: %r' % status)
os.kill(child, signal.SIGCONT)
read_until(b'waiting:')
os.write(terminal, b'\\x03')
read_until('stopping… press ^C again to quit now'.encode())
read_until(b'verified and kept; the same command continues')
code = finish()
if code != 130:
    sys.exit('it exits with %r' % code)
",
    );
}

#[test]
fn a_terminal_that_is_stopped_holds_up_no_signal_and_one_that_is_closed_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    torrent(folder.path());
    in_terminal(
        folder.path(),
        "
read_until(b'waiting:')
os.write(terminal, b'\\x13')
os.kill(child, signal.SIGTERM)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if code != 143:
    sys.exit('it exits with %r' % code)
",
    );
    in_terminal(
        folder.path(),
        "
read_until(b'waiting:')
os.close(terminal)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if code != 129:
    sys.exit('it exits with %r' % code)
",
    );
}
