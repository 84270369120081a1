//! `swarmloop-bench` as a shell sees it: each load against our own engine, and against clients that
//! are absent, foreign, hostile or wrong.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a torrent of 4 MiB in pieces of 64 KiB.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        let made = stage.run(&["gen", "-s", "4M", "-p", "64K", "-t", "x.torrent"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        stage
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Runs a load on our own engine, which must succeed, and returns its results.
    fn on_ourselves(&self, args: &[&str]) -> Value {
        let tail = ["-t", "x.torrent", "--self", "--dir", ".", "--json", "--limit", "60"];
        let output = self.run(&[args, &tail].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        let left = std::fs::read_dir(self.path()).unwrap().count();
        assert_eq!(left, 1, "{args:?} left something beside the torrent");
        let report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        assert_eq!(report["bench"], args[0]);
        assert!(report["machine"]["cores"].as_u64().is_some());
        assert!(report["failure"].is_null());
        report
    }

    /// Runs a load on a client that it must fail with, and returns the one line that says why, and
    /// the report if there is one.
    fn failing(&self, args: &[&str], code: i32) -> (String, Value) {
        let output = self.run(&[args, &["-t", "x.torrent", "--json"]].concat());
        let why = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {why}");
        assert_eq!(why.lines().count(), 1, "{why}");
        (why, serde_json::from_str(&text(&output.stdout)).unwrap_or_default())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn number(report: &Value, key: &str) -> f64 {
    report["results"][key].as_f64().unwrap_or_else(|| panic!("no {key} in {report}"))
}

fn count(report: &Value, key: &str) -> u64 {
    report["results"][key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"))
}

const SIZE: u64 = 4 << 20;

#[test]
fn many_seeds_complete_a_client() {
    let report = Stage::new().on_ourselves(&["upload", "-c", "5"]);
    assert_eq!(count(&report, "connected"), 5);
    assert!(count(&report, "sent_bytes") >= SIZE);
    assert_eq!(report["results"]["ending"], "done");
    for key in ["wall_s", "upload_gib_per_s", "generator_cpu_s", "client_cpu_s_per_gib"] {
        assert!(number(&report, key) >= 0.0);
    }
    assert!(number(&report, "client_peak_rss_bytes") > 0.0);
    assert!(number(&report, "first_connect_unix_s") > 1.7e9);
}

#[test]
fn an_upload_can_end_in_other_ways() {
    let stage = Stage::new();
    for until in ["sent", "closed"] {
        let report = stage.on_ourselves(&["upload", "-c", "3", "--until", until]);
        assert!(count(&report, "sent_bytes") >= SIZE);
        assert_eq!(report["results"]["ending"], "done", "{until}");
    }
}

#[test]
fn many_leeches_get_every_block_once_and_right() {
    let stage = Stage::new();
    for order in ["random", "sequential"] {
        let report = stage.on_ourselves(&["download", "-c", "7", "-k", "3", "--order", order]);
        assert_eq!(count(&report, "received_bytes"), SIZE);
        assert_eq!(count(&report, "requests"), 256);
        assert_eq!(count(&report, "latency_count"), 256);
        assert!(number(&report, "latency_p50_s") <= number(&report, "latency_max_s"));
        assert!(report["errors"].get("mismatch").is_none());
    }
}

#[test]
fn an_open_loop_asks_at_its_rate_and_no_faster() {
    let args = ["download", "-c", "4", "-k", "8", "--rate", "500", "-T", "1"];
    let report = Stage::new().on_ourselves(&args);
    assert_eq!(report["results"]["ending"], "time_over");
    // The schedule is exact; what is answered of it after the last second is not.
    let requests = count(&report, "requests");
    assert!((1..=501).contains(&requests), "{requests} requests");
}

#[test]
fn both_directions_run_at_once() {
    let report = Stage::new().on_ourselves(&["dual", "-c", "6"]);
    assert_eq!(count(&report, "received_bytes"), SIZE);
    assert!(count(&report, "sent_bytes") >= SIZE);
}

#[test]
fn connections_are_held_and_what_they_cost_is_told() {
    let stage = Stage::new();
    for args in [
        &["conns", "-c", "20", "-T", "1"][..],
        &["conns", "-c", "20", "-T", "1", "--trickle", "50"],
    ] {
        let report = stage.on_ourselves(args);
        assert_eq!(count(&report, "peers"), 20);
        assert!(number(&report, "idle_cpu_percent") >= 0.0);
        assert!(report["results"]["memory_per_peer_bytes"].is_number());
    }
}

#[test]
fn a_storm_counts_answered_handshakes() {
    let report = Stage::new().on_ourselves(&["storm", "-c", "4", "-T", "1"]);
    let handshakes = count(&report, "handshakes");
    assert!(handshakes > 4, "every connection came once only");
    assert_eq!(count(&report, "handshake_latency_count"), handshakes);
    assert!(number(&report, "handshakes_per_s") > 0.0);
}

#[test]
fn haves_flow_in_both_directions() {
    let stage = Stage::new();
    let report = stage.on_ourselves(&["have", "-c", "3"]);
    assert_eq!(count(&report, "haves_sent"), 3 * 64);
    let report = stage.on_ourselves(&["have", "-c", "4", "--completions"]);
    assert!(count(&report, "haves_received") >= 3 * 64);
}

#[test]
fn connections_are_replaced_on_demand() {
    let args = ["download", "-c", "4", "-r", "20", "-T", "1"];
    let report = Stage::new().on_ourselves(&args);
    let churned = count(&report, "churned");
    assert!(churned > 0 && count(&report, "connected") >= churned, "{report}");
}

/// Starts `swarmloop get` in the stage's folder and returns it with its output, a JSON line each.
fn start_get(stage: &Stage, args: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.args(["get", "x.torrent", "-d", "out", "--no-trackers", "--json"]).args(args);
    command.current_dir(stage.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    command.env("XDG_STATE_HOME", stage.path().join("state"));
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(Result::unwrap))
}

/// Returns a port that was free just now on an address of the test's own.
fn free_addr(last: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 9, last], 0))).unwrap().local_addr().unwrap()
}

#[test]
fn an_upload_can_last_until_the_clients_process_has_ended() {
    let stage = Stage::new();
    let addr = free_addr(1);
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    let (mut get, mut lines) = start_get(&stage, &["--bind", &host, "--port", &port]);
    assert!(lines.any(|line| line.contains(r#""state":"downloading""#)), "it has ended");
    // What it prints has to go somewhere.
    let rest = thread::spawn(move || lines.count());
    let pid = get.id().to_string();
    let args = ["upload", "-c", "2", "-d", &host, "-p", &port, "-t", "x.torrent", "--json"];
    let output = stage.run(&[&args[..], &["--pid", &pid, "--until", "exit"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["results"]["ending"], "exited");
    assert!(count(&report, "sent_bytes") >= SIZE && number(&report, "client_cpu_s") > 0.0);
    assert!(get.wait().unwrap().success());
    rest.join().unwrap();
}

#[test]
fn a_client_that_only_dials_is_waited_for() {
    let stage = Stage::new();
    let addr = free_addr(2).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench"));
    command.args(["upload", "-c", "2", "-t", "x.torrent", "--listen", &addr, "--json"]);
    command.current_dir(stage.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let upload = command.spawn().unwrap();
    // A stranger who leaves at once, as soon as it listens: others can take the place.
    while TcpStream::connect(&addr).is_err() {
        thread::yield_now();
    }
    let (mut get, lines) = start_get(&stage, &["--bind", "127.0.9.3", "--peer", &addr]);
    assert!(lines.last().is_some_and(|line| line.contains(r#""ok":1"#)));
    assert!(get.wait().unwrap().success());
    let output = upload.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((count(&report, "handshakes"), count(&report, "connected")), (1, 2));
    assert_eq!(report["results"]["ending"], "done");
}

#[test]
fn results_go_into_a_file_on_demand() {
    let stage = Stage::new();
    let args = ["gen", "-s", "1M", "-t", "y.torrent", "--out", "results", "--out-name", "row"];
    assert!(stage.run(&args).status.success());
    let file = std::fs::read(stage.path().join("results/row.json")).unwrap();
    let report: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(report["results"]["pieces"], 1);
    assert!(!report["command"].as_str().unwrap().contains(stage.path().to_str().unwrap()));
}

#[test]
fn what_is_there_is_not_written_over() {
    let stage = Stage::new();
    let mine = stage.path().join("mine");
    std::fs::write(&mine, "mine").unwrap();
    for args in [&["-t", "mine"][..], &["-t", "mine.torrent", "--data", "."]] {
        let output = stage.run(&[&["gen", "-s", "1M"], args].concat());
        assert_eq!(output.status.code(), Some(6), "{args:?}");
        let why = text(&output.stderr);
        assert!(why.ends_with("mine' exists already\n") && why.lines().count() == 1, "{why}");
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
        assert!(!stage.path().join("mine.torrent").exists(), "half of it was written");
    }
}

#[test]
fn an_absent_client_is_one_line() {
    let stage = Stage::new();
    // A port that was free just now, on an address that is nobody's.
    let addr = TcpListener::bind("127.0.0.77:0").unwrap().local_addr().unwrap().to_string();
    for verb in ["upload", "download", "dual", "conns", "storm", "have"] {
        let args = [verb, "-c", "3", "-d", &addr, "--limit", "20"];
        let (why, report) = stage.failing(&args, 1);
        let expected = format!("swarmloop-bench: error: no connection to {addr} (refused)\n");
        assert_eq!(why, expected, "{verb}");
        assert_eq!(report["errors"]["refused"], 3, "{verb}");
    }
}

#[test]
fn wrong_usage_and_unusable_torrents_have_their_codes() {
    let stage = Stage::new();
    let (why, _) = stage.failing(&["upload", "--until", "exit"], 2);
    assert!(why.contains("--until exit needs --pid"), "{why}");
    let (why, _) = stage.failing(&["download", "-c", "4000000"], 2);
    assert!(why.contains("the limit on open files"), "{why}");
    let (why, _) = stage.failing(&["download", "-d", "no such host"], 4);
    assert!(why.contains("cannot find 'no such host'"), "{why}");
    std::fs::write(stage.path().join("x.torrent"), "de").unwrap();
    let (why, _) = stage.failing(&["download"], 4);
    assert!(why.contains("bad torrent file 'x.torrent'"), "{why}");
}

#[test]
fn reconnects_that_a_clock_cannot_tell_apart_are_refused() {
    let output = Stage::new().run(&["download", "-r", "1000001", "-t", "x.torrent"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_interrupted_load_has_not_done_what_it_was_to() {
    static CAME: Barrier = Barrier::new(2);
    let stage = Stage::new();
    let addr = client(|mut stream| {
        greet(&mut stream)?;
        CAME.wait();
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench"));
    command.args(["download", "-c", "1", "-d", &addr.to_string(), "-t", "x.torrent"]);
    command.current_dir(stage.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut load = command.spawn().unwrap();
    // Its threads are there, and so is what hears the signal, when it has dialled.
    CAME.wait();
    let pid = rustix::process::Pid::from_child(&load);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut why = String::new();
    load.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert_eq!(why, "swarmloop-bench: error: interrupted\n");
    assert_eq!(load.wait().unwrap().code(), Some(1));
}

/// Answers each connection on a thread until the test is over.
fn client(answer: fn(TcpStream) -> std::io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A load that has seen enough closes in the middle of an answer.
            let _ = answer(stream);
        }
    });
    addr
}

/// Answers a handshake with its own bits.
fn greet(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut greeting = [0; 68];
    stream.read_exact(&mut greeting)?;
    greeting[20..28].fill(0);
    stream.write_all(&greeting)
}

#[test]
fn wrong_bytes_are_found() {
    let stage = Stage::new();
    let addr = client(|mut stream| {
        greet(&mut stream)?;
        // Every one of 64 pieces, and leave to ask for them.
        stream.write_all(&[0, 0, 0, 9, 5, 255, 255, 255, 255, 255, 255, 255, 255])?;
        stream.write_all(&[0, 0, 0, 1, 1])?;
        let mut said = [0; 5 + 17];
        stream.read_exact(&mut said)?;
        assert_eq!(&said[..10], [0, 0, 0, 1, 2, 0, 0, 0, 13, 6], "interested, and a request");
        let mut piece = [&[0, 0, 0x40, 9, 7], &said[10..18], &[0; 16_384]].concat();
        piece[13] = 1;
        stream.write_all(&piece)?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let args = ["download", "-c", "1", "-k", "1", "-d", &addr.to_string()];
    let (why, report) = stage.failing(&args, 1);
    assert!(why.contains("1 blocks had wrong bytes"), "{why}");
    assert_eq!(report["errors"]["mismatch"], 1);
    assert_eq!(count(&report, "received_bytes"), 0);
}

#[test]
fn clients_that_speak_otherwise_are_told_by_how() {
    let stage = Stage::new();
    let foreign: fn(TcpStream) -> std::io::Result<()> = |mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    };
    let mute: fn(TcpStream) -> std::io::Result<()> = |mut stream| stream.read_exact(&mut [0; 68]);
    let other: fn(TcpStream) -> std::io::Result<()> = |mut stream| {
        let mut greeting = [0; 68];
        stream.read_exact(&mut greeting)?;
        greeting[28] ^= 1;
        stream.write_all(&greeting)?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    };
    for (answer, cause) in [(foreign, "protocol"), (mute, "eof"), (other, "other_torrent")] {
        let addr = client(answer).to_string();
        let (why, report) = stage.failing(&["upload", "-c", "2", "-d", &addr], 1);
        assert!(why.contains(&format!("{addr} answered no handshake ({cause})")), "{why}");
        assert_eq!(report["errors"][cause], 2, "{report}");
    }
}

#[test]
fn a_client_that_never_unchokes_is_counted_when_the_time_is_over() {
    let stage = Stage::new();
    let addr = client(|mut stream| {
        greet(&mut stream)?;
        thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        Ok(())
    });
    let args = ["download", "-c", "2", "-d", &addr.to_string(), "--limit", "1"];
    let (why, report) = stage.failing(&args, 1);
    assert!(why.contains("not done after 1 s"), "{why}");
    assert_eq!(report["errors"]["choked"], 2);
}

#[test]
fn connections_that_the_client_leaves_choked_are_not_active() {
    static GUESTS: AtomicUsize = AtomicUsize::new(0);
    static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();
    let stage = Stage::new();
    let made = stage.run(&["gen", "-s", "4M", "-p", "64K", "-t", "y.torrent", "--data", "."]);
    assert!(made.status.success());
    PAYLOAD.set(std::fs::read(stage.path().join("y")).unwrap()).unwrap();
    // Only the first of two is let ask, and is answered once.
    let addr = client(|mut stream| {
        greet(&mut stream)?;
        stream.write_all(&[0, 0, 0, 9, 5, 255, 255, 255, 255, 255, 255, 255, 255])?;
        if GUESTS.fetch_add(1, Ordering::Relaxed) > 0 {
            thread::spawn(move || stream.read_to_end(&mut Vec::new()));
            return Ok(());
        }
        thread::spawn(move || -> std::io::Result<()> {
            stream.write_all(&[0, 0, 0, 1, 1])?;
            let mut said = [0; 5 + 17];
            stream.read_exact(&mut said)?;
            // The numbers of a piece of 64 KiB, and of a byte in it.
            let at = usize::from(said[13]) << 16 | usize::from(said[16]) << 8;
            let block = &PAYLOAD.get().unwrap()[at..][..1 << 14];
            stream.write_all(&[&[0, 0, 0x40, 9, 7], &said[10..18], block].concat())?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        Ok(())
    });
    let addr = addr.to_string();
    let args = ["download", "-c", "2", "-k", "1", "-d", &addr, "-t", "x.torrent", "-T", "1"];
    let output = stage.run(&[&args[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((count(&report, "handshakes"), count(&report, "active")), (2, 1), "{report}");
    assert_eq!((count(&report, "requests"), report["errors"]["choked"].as_u64()), (1, Some(1)));
    // What comes to a stop has the rate of all of the time that was asked for.
    let requests = number(&report, "requests_per_s") * number(&report, "elapsed_s");
    assert!((requests - 1.0).abs() < 1e-3, "{report}");
    assert!(report["results"].get("handshakes_per_s").is_none(), "no storm: {report}");
}

/// Says on a stream that it has each of 64 pieces, lets the other side ask, and reads a request.
fn hear_request(stream: &mut TcpStream) -> std::io::Result<[u8; 17]> {
    greet(stream)?;
    stream.write_all(&[0, 0, 0, 9, 5, 255, 255, 255, 255, 255, 255, 255, 255])?;
    stream.write_all(&[0, 0, 0, 1, 1])?;
    let mut said = [0; 5 + 17];
    stream.read_exact(&mut said)?;
    Ok(said[5..].try_into().unwrap())
}

#[test]
fn an_open_loop_charges_for_what_is_never_answered() {
    let stage = Stage::new();
    let addr = client(|mut stream| {
        hear_request(&mut stream)?;
        // The request is void, and has to be made again.
        stream.write_all(&[0, 0, 0, 1, 0, 0, 0, 0, 1, 1])?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let addr = addr.to_string();
    let args = ["download", "-c", "1", "-k", "1", "--rate", "1", "-T", "2", "-d", &addr];
    let output = stage.run(&[&args[..], &["-t", "x.torrent", "--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(count(&report, "requests"), 0);
    let unanswered = count(&report, "unanswered");
    assert!(unanswered >= 2, "one was made, and another fell due a second later: {report}");
    assert_eq!(count(&report, "latency_count"), unanswered);
    // The first was due at the start, for all that it was made twice.
    let longest = number(&report, "latency_max_s");
    assert!(longest > number(&report, "elapsed_s") / 2.0, "{report}");
}

#[test]
fn a_block_that_was_under_way_at_a_choke_is_let_pass() {
    static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();
    let stage = Stage::new();
    let made = stage.run(&["gen", "-s", "16K", "-p", "16K", "-t", "y.torrent", "--data", "."]);
    assert!(made.status.success());
    PAYLOAD.set(std::fs::read(stage.path().join("y")).unwrap()).unwrap();
    let addr = client(|mut stream| {
        greet(&mut stream)?;
        stream.write_all(&[0, 0, 0, 2, 5, 128, 0, 0, 0, 1, 1])?;
        stream.read_exact(&mut [0; 5 + 17])?;
        let head = [0, 0, 0x40, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        let block = [&head[..], PAYLOAD.get().unwrap()].concat();
        stream.write_all(&[&[0, 0, 0, 1, 0], &block[..], &[0, 0, 0, 1, 1]].concat())?;
        stream.read_exact(&mut [0; 17])?;
        stream.write_all(&block)?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let addr = addr.to_string();
    let args = ["download", "-c", "1", "-d", &addr, "-t", "y.torrent", "--json"];
    let output = stage.run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((count(&report, "requests"), count(&report, "received_bytes")), (1, 16 << 10));
    assert!(report["errors"].get("unrequested").is_none(), "{report}");
}

#[test]
fn a_storm_goes_on_behind_connections_that_fail() {
    static GUESTS: AtomicUsize = AtomicUsize::new(0);
    let stage = Stage::new();
    // The second guest is turned away.
    let addr = client(|mut stream| match GUESTS.fetch_add(1, Ordering::Relaxed) {
        1 => Ok(()),
        _ => greet(&mut stream),
    });
    let args = ["storm", "-c", "1", "-T", "1", "-d", &addr.to_string(), "-t", "x.torrent"];
    let output = stage.run(&[&args[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["results"]["ending"], "time_over");
    assert!(count(&report, "handshakes") >= 2, "{report}");
}

#[test]
fn an_upload_that_nobody_comes_for_has_failed() {
    let addr = free_addr(4).to_string();
    let (why, _) = Stage::new().failing(&["upload", "--listen", &addr, "--limit", "1"], 1);
    assert_eq!(why, "swarmloop-bench: error: nobody came\n");
}
