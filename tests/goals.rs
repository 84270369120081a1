//! When a run is over: how much was uploaded, and when a download is given up.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "common/port.rs"]
mod port;
#[path = "common/running.rs"]
mod running;
#[path = "common/torrent.rs"]
mod torrent;
#[path = "common/wait.rs"]
mod wait;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{IpAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::port::free_port;
use crate::running::Running;
use crate::wait::eventually;

/// Bytes of the torrent.
const LEN: usize = 1 << 20;

/// A folder with `data.torrent`, and the data itself in `here`.
struct Stage {
    folder: TempDir,
    /// An address of its own for each test.
    ip: &'static str,
    port: u16,
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Returns the first JSON line of a type.
    fn line(&self, kind: &str) -> Value {
        let lines = self.out.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let found = lines.into_iter().find(|line: &Value| line["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} line: {}{}", self.out, self.err))
    }
}

impl Stage {
    fn new(ip: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data: Vec<u8> = (0..LEN).map(|i| i.to_le_bytes()[i % 3]).collect();
        let out = torrent::of_one_file("data", &data, 16 << 10);
        fs::write(folder.path().join("data.torrent"), out).expect("written");
        fs::create_dir(folder.path().join("here")).expect("made");
        fs::write(folder.path().join("here/data"), data).expect("written");
        let port = free_port(ip.parse::<IpAddr>().expect("an address"));
        Self { folder, ip, port }
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.folder.path().join(below)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
        command.args(args).args(["--no-trackers", "--bind", self.ip]);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("SWARMLOOP_NO_CONFIG", "1").env("XDG_STATE_HOME", self.path("state"));
        command.stderr(Stdio::piped());
        command
    }

    /// Returns a seed of what is there.
    fn seed(&self, args: &[&str]) -> Command {
        let port = self.port.to_string();
        let seed = ["seed", "data.torrent", "-d", "here", "--port", &port];
        self.command(&[&seed, args].concat())
    }

    /// Returns a download from the seed into a folder.
    fn get(&self, to: &str, args: &[&str]) -> Command {
        let peer = format!("{}:{}", self.ip, self.port);
        let get = ["get", "data.torrent", "-d", to, "--peer", &peer];
        let any_port = if args.contains(&"--port") { &[][..] } else { &["--port", "0"] };
        self.command(&[&get, any_port, args].concat())
    }
}

fn run(mut command: Command) -> Ran {
    Ran::new(command.output().expect("the binary was built"))
}

fn start(mut command: Command) -> Running {
    Running(command.spawn().expect("the binary was built"))
}

/// Starts a command whose output nobody reads.
fn start_silent(mut command: Command) -> Running {
    start({
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    })
}

/// Waits until a program has printed a line with this text.
fn wait_for(from: impl Read + Send + 'static, text: &str) {
    let mut lines = BufReader::new(from).lines();
    assert!(lines.any(|line| line.expect("text").contains(text)), "it ended before '{text}'");
    // Somebody has to read the rest.
    std::thread::spawn(move || lines.for_each(drop));
}

/// Waits until a program that prints JSON seeds.
fn wait_until_it_seeds(running: &mut Running) {
    wait_for(running.0.stdout.take().expect("it is piped"), "\"state\":\"seeding\"");
}

#[test]
fn a_ratio_counts_what_earlier_runs_have_uploaded() {
    let stage = Stage::new("127.7.21.1");
    let slowly = ["--limit-up", "512K", "--json", "--progress", "never"];
    let mut before = 0..=0;
    for (goal, to, least) in [("0.5", "one", LEN / 2), ("1", "two", LEN)] {
        let _leech = start_silent(stage.get(to, &["--timeout", "60s"]));
        let ran = run(stage.seed(&[&["--seed-ratio", goal], &slowly[..]].concat()));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let line = ran.line("seeded");
        let number = |field: &str| line[field].as_u64().expect("a number");
        let (in_run, in_all) = (number("uploaded"), number("uploaded_total"));
        assert_eq!(line["met"], "ratio");
        assert!(before.contains(&(in_all - in_run)), "{before:?}: {line}");
        assert!(in_run > 0 && in_run < LEN as u64, "no run has uploaded it all: {line}");
        assert!(in_all >= least as u64 && line["ratio"].as_f64() >= goal.parse().ok(), "{line}");
        // What goes out until a run has come to its end is remembered, too.
        before = in_all..=in_all + LEN as u64 / 4;
    }
    // Enough is enough: a third run has nothing to do, and says so.
    let ran = run(stage.seed(&["--seed-ratio", "1"]));
    let told = ran.err.lines().find(|line| line.starts_with("seeded  ")).unwrap_or_default();
    assert!(told.contains("(ratio 1.") && told.ends_with(": ratio 1.0 reached"), "{}", ran.err);
    // What nobody keeps begins anew.
    let ran = run(stage.seed(&["--seed-ratio", "1", "--seed-idle", "1s", "--no-resume"]));
    let told = ran.err.lines().find(|line| line.starts_with("seeded  ")).unwrap_or_default();
    assert!(told.contains("up 0 B (ratio 0.00)"), "{}", ran.err);
}

#[test]
fn who_gives_up_says_why_and_exits_with_5() {
    let stage = Stage::new("127.7.21.2");
    // A seed that crawls: one block a second at most.
    let mut seed = start(stage.seed(&["--limit-up", "16K", "--json"]));
    wait_until_it_seeds(&mut seed);
    for (to, args, told) in [
        ("slow", ["--stop-if-slow", "1M:1s"], "slower than 1.0 MiB/s for 1s ("),
        ("late", ["--deadline", "2s"], "not complete after 2."),
    ] {
        let ran = run(stage.get(to, &args));
        let start = format!("swarmloop: error: gave up on 'data': {told}");
        let line = ran.err.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
        assert!(line.ends_with("% is verified and kept"), "{}", ran.err);
        assert_eq!((ran.code, ran.out.as_str()), (Some(5), ""));
        check_partial(&stage.path(to));
    }
    drop(seed);
    let ran = run(stage.get("idle", &["--timeout", "1s"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(5), ""));
    let end = "s: 1 peer known, none could be reached so far (last: closed: connection refused). \
               0.0% is verified and kept";
    let start = "swarmloop: error: gave up on 'data': no progress for ";
    let is_told = |line: &str| line.starts_with(start) && line.ends_with(end);
    assert!(ran.err.lines().any(is_told), "{}", ran.err);
}

/// What was downloaded is kept, whether it is a piece or none.
fn check_partial(dir: &Path) {
    let len = fs::metadata(dir.join("data")).map_or(0, |file| file.len());
    assert!(len <= LEN as u64);
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Stops it as ^Z does, and waits until it stands still.
    fn suspend(&self) {
        self.signal(Signal::TSTP);
        let stat = format!("/proc/{}/stat", self.0.id());
        let is_stopped = || {
            let stat = fs::read_to_string(&stat).expect("it is there");
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        assert!(eventually(Duration::from_secs(60), is_stopped), "it goes on");
    }
}

/// Starts a download that tells what it does on stderr, in a process group that can be stopped: a
/// signal of the terminal does nothing to one that no shell looks after.
fn start_download(stage: &Stage, args: &[&str]) -> Running {
    let mut command = stage.get("got", args);
    command.process_group(0).stdout(Stdio::null());
    start(command)
}

#[test]
fn time_in_which_it_is_stopped_does_not_count() {
    const TIMEOUT: Duration = Duration::from_secs(3);

    let stage = Stage::new("127.7.21.3");
    let mut seed = start(stage.seed(&["--limit-up", "256K", "--json"]));
    wait_until_it_seeds(&mut seed);
    let mut get = start_download(&stage, &["--timeout", "3s", "-vv"]);
    wait_for(get.0.stderr.take().expect("it is piped"), "connected to");
    get.suspend();
    // What is to be shown is that this much time does nothing.
    std::thread::sleep(TIMEOUT + Duration::from_secs(2));
    get.signal(Signal::CONT);
    assert!(get.0.wait().expect("it ends").success());
    let [source, copy] = ["here/data", "got/data"].map(|path| fs::read(stage.path(path)));
    assert!(source.expect("there") == copy.expect("there"));
}

#[test]
fn a_peer_that_died_meanwhile_is_noticed_and_another_one_serves() {
    let stage = Stage::new("127.7.21.4");
    let mut seed = start(stage.seed(&["--limit-up", "64K", "--json"]));
    wait_until_it_seeds(&mut seed);
    let listener = TcpListener::bind((stage.ip, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    drop(listener);
    let mut get = start_download(&stage, &["--port", &port, "--timeout", "60s", "-vv"]);
    let stderr = get.0.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("connected to")), "it ended");
    get.suspend();
    drop(seed);
    get.signal(Signal::CONT);
    let closed = lines.find(|line| line.contains("closed 127.7.21.4")).expect("it is noticed");
    assert!(closed.contains("reset") || closed.contains("remote"), "{closed}");
    std::thread::spawn(move || lines.for_each(drop));
    // One that comes by itself: whom it dials next is not the matter here.
    let download = format!("{}:{port}", stage.ip);
    let _seed = start_silent(stage.seed(&["--peer", &download, "--no-resume"]));
    assert!(get.0.wait().expect("it ends").success());
}

/// Returns where a peer is that answers a handshake (BEP 3) with these messages, and with nothing
/// ever after.
fn mute_peer(ip: &str, messages: Vec<u8>) -> String {
    let listener = TcpListener::bind((ip, 0)).expect("a port");
    let addr = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut hello = [0; 68];
        stream.read_exact(&mut hello).expect("a handshake");
        // No extensions, and another name.
        hello[20..28].fill(0);
        hello[48..].fill(b'x');
        stream.write_all(&hello).and_then(|()| stream.write_all(&messages)).expect("sent");
        // Whatever is said to it, until the other side hangs up.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    addr
}

#[test]
fn whatever_keeps_a_download_waiting_is_named() {
    let stage = Stage::new("127.7.21.5");
    let bitfield = [&[0, 0, 0, 9, 5][..], &[0xff; LEN / (16 << 10) / 8]].concat();
    let unchoke = [0, 0, 0, 1, 1];
    let nobody = "no peers known and no trackers to ask";
    let refused = TcpListener::bind((stage.ip, 0)).and_then(|it| it.local_addr()).expect("a port");
    let (tracker, refused) = (format!("http://{refused}/announce"), refused.to_string());
    let failed = format!("no peers yet, 1 tracker failed ({refused}: ");
    let peer = |messages: &[u8]| mute_peer(stage.ip, messages.to_vec());
    for (number, (args, cause)) in [
        (vec!["--no-trackers".to_owned()], nobody),
        (vec!["--tracker".to_owned(), tracker], &failed),
        (vec!["--peer".to_owned(), refused], "1 peer known, none could be reached so far (last: "),
        (vec!["--peer".to_owned(), peer(&[])], "1 connected peer has nothing that is missing here"),
        (
            vec!["--peer".to_owned(), peer(&bitfield)],
            "1 peer has what is missing, but all choke us",
        ),
        (
            vec!["--peer".to_owned(), peer(&[&bitfield[..], &unchoke].concat())],
            "1 peer took our requests and did not answer yet",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
        command.args(["get", "data.torrent", "-d", &format!("out{number}"), "--timeout", "2s"]);
        command.args(["--bind", stage.ip, "--port", "0", "--progress", "line:1s"]).args(&args);
        command.current_dir(stage.folder.path()).stdin(Stdio::null());
        command.env("SWARMLOOP_NO_CONFIG", "1").env("XDG_STATE_HOME", stage.path("state"));
        let ran = run(command);
        assert_eq!((ran.code, ran.out.as_str()), (Some(5), ""), "{args:?}: {}", ran.err);
        let (last, before) =
            ran.err.trim_end().rsplit_once('\n').map(|(a, b)| (b, a)).expect("two");
        let start = "swarmloop: error: gave up on 'data': no progress for ";
        assert!(last.starts_with(start) && last.contains(cause), "{args:?}: {}", ran.err);
        assert!(before.contains(&format!(" waiting: {cause}")), "{args:?}: {}", ran.err);
        assert!(ran.err.lines().count() <= 8, "one line a condition: {}", ran.err);
    }
}

#[test]
fn a_second_interrupt_leaves_trackers_untold_and_loses_nothing() {
    let stage = Stage::new("127.7.21.9");
    let tracker = TcpListener::bind((stage.ip, 0)).expect("a port");
    let url = format!("http://{}/announce", tracker.local_addr().expect("it is bound"));
    let mut seed = start(stage.seed(&["--limit-up", "256K", "--json"]));
    wait_until_it_seeds(&mut seed);
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    let peer = format!("{}:{}", stage.ip, stage.port);
    command.args(["get", "data.torrent", "-d", "out", "--peer", &peer, "--tracker", &url]);
    command.args(["--bind", stage.ip, "--port", "0", "--stop-timeout", "1h"]);
    command.current_dir(stage.folder.path()).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("SWARMLOOP_NO_CONFIG", "1").env("XDG_STATE_HOME", stage.path("state"));
    let mut get = start(command);
    let pid = Pid::from_child(&get.0);
    let mut told = get.0.stderr.take().expect("it is piped");
    let request = |tracker: &TcpListener| {
        let (mut stream, _) = tracker.accept().expect("an announce");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("text");
        if line.contains("event=started") {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\nd8:intervali60e5:peers0:e";
            stream.write_all(answer).expect("sent");
        }
        (line, stream)
    };
    assert!(request(&tracker).0.contains("event=started"));
    assert!(eventually(Duration::from_secs(30), || stage.path("out/data").exists()));
    kill_process(pid, Signal::INT).expect("it runs");
    // This one is never answered.
    let (stopped, _silent) = request(&tracker);
    assert!(stopped.contains("event=stopped"), "{stopped}");
    // What comes sooner is taken for the first one once more.
    std::thread::sleep(Duration::from_millis(150));
    kill_process(pid, Signal::INT).expect("it waits for the tracker");
    let mut err = String::new();
    told.read_to_string(&mut err).expect("UTF-8");
    assert_eq!(get.0.wait().expect("it ran").code(), Some(130), "{err}");
    assert!(err.contains("verified and kept; the same command continues"), "{err}");
}
