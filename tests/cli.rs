//! The program as a shell sees it: exit codes, and what is on stdout and stderr.

#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Returns the program with a clean environment, run in an empty folder.
fn swarmloop<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.env("XDG_STATE_HOME", folder.join("state"));
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "TERM"] {
        command.env_remove(variable);
    }
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Checks what holds of every failure: a reason, few lines, no control bytes, no backtrace.
    fn check_failure(&self) {
        assert!(!self.err.is_empty(), "no reason given");
        assert!(self.err.lines().count() <= 5, "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for text in [&self.out, &self.err] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }
}

fn run(args: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let output = swarmloop(folder.path(), args).output().expect("it runs");
    Ran::new(&output)
}

#[test]
fn wrong_usage_exits_with_2_and_says_why() {
    for (args, reason) in [
        (&["sed"][..], "unrecognized subcommand 'sed'"),
        (&["get"], "<TORRENT>..."),
        (&["get", "x.torrent", "--no-such-flag"], "'--no-such-flag'"),
        (&["get", "x.torrent", "--port", "70000"], "'70000' is no port (0 to 65535)"),
        (&["get", "x.torrent", "--bind", "eth/0"], "'eth/0'"),
        (&["get", "x.torrent", "--bind", "nowhere0"], "no interface is called 'nowhere0'"),
        (&["seed", "x.torrent", "--bind", "nowhere0"], "no interface is called 'nowhere0'"),
        (&["share", "x", "--bind", "nowhere0"], "no interface is called 'nowhere0'"),
        // 192.0.2.0/24 is for documentation (RFC 5737), so it is not ours.
        (&["get", "x.torrent", "--bind", "192.0.2.1"], "no interface has the address 192.0.2.1"),
        (&["get", "x.torrent", "--timeout", "0"], "the time must be longer than nothing"),
        (&["get", "x.torrent", "--timeout", "0s"], "the time must be longer than nothing"),
        (&["seed", "x.torrent", "here", "--dir", "there"], "--dir"),
        (&["tracker", "--listen", "nowhere"], "'nowhere'"),
        (&["demo", "--size", "much"], "a size is a number"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{args:?}");
    }
}

/// Programs read every end of a run in one way, and that they called it wrong is one.
#[test]
fn wrong_usage_is_told_to_programs_as_every_error_is() {
    for (args, code, reason) in [
        (&["--json"][..], "usage", "no command is named"),
        (&["--json", "sed"], "usage", "unrecognized subcommand 'sed'"),
        (&["get", "--json"], "usage", "arguments were not provided: <TORRENT>..."),
        (&["get", "x", "--port", "a", "--json"], "usage", "'a' is no port (0 to 65535)"),
        (&["get", "x", "--json", "--proxy", "y"], "not_yet_supported", "--proxy is not yet"),
        (&["config", "--config", "none", "--json"], "bad_config", "cannot read configuration"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.err);
        let error: Value = serde_json::from_str(&ran.err).expect("one object");
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &code.into()), "{error}");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(reason) && !message.starts_with("error"), "{error}");
        let summary: Value = serde_json::from_str(&ran.out).expect("one object");
        assert_eq!((&summary["type"], &summary["exit_code"]), (&"summary".into(), &2.into()));
    }
    for args in [&["sed", "--", "--json"][..], &["--json", "sed", "--no-json"]] {
        let ran = run(args);
        assert!(ran.out.is_empty() && ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
    }
}

#[test]
fn no_arguments_print_the_help_to_stderr() {
    let ran = run(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("Usage: swarmloop"), "{}", ran.err);
}

#[test]
fn help_and_version_go_to_stdout() {
    for (args, text) in [
        (&["--help"][..], "Exit codes:"),
        (&["-h"], "Usage: swarmloop"),
        (&["get", "--help"], "Peer flags"),
        (&["seed", "--help"], "[PATH]"),
        (&["tracker", "--help"], "--listen"),
        (&["demo", "--help"], "--size"),
        (&["--version"], "trackers: http, https, udp"),
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(ran.out.contains(text), "{args:?}: {}", ran.out);
        assert!(!ran.out.contains("--proxy"), "{args:?} shows a flag that is not there yet");
    }
    let short = run(&["-V"]);
    assert_eq!(short.out, concat!("swarmloop ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_is_not_there_yet_exits_with_2_and_is_named() {
    for (args, what) in [
        (&["get", "x.torrent", "--proxy", "socks5://localhost:1"][..], "--proxy is"),
        (&["x.torrent", "--encryption=require"], "--encryption require is"),
        (&["x.torrent", "--port-map"], "--port-map is"),
        (&["seed", "x.torrent", "--insecure"], "--insecure is"),
    ] {
        let ran = run(args);
        ran.check_failure();
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.err);
        assert_eq!(ran.err, format!("swarmloop: error: {what} not yet supported\n"));
    }
}

#[test]
fn a_command_that_takes_no_magnet_link_says_which_do() {
    for args in [
        ["seed", "magnet:?xt=urn:btih:0"],
        ["show", "722fe65b2aa26d14f35b4ad627d20236e481d924"],
        ["verify", "MAGNET:?"],
    ] {
        let ran = run(&args);
        ran.check_failure();
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.err);
        let why = "error: only get, scrape and announce take magnet links and info-hashes\nhint: ";
        assert!(ran.err.starts_with(&format!("swarmloop: {why}")), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_missing_file_exits_with_4() {
    let message = "cannot read 'x.torrent': No such file or directory (os error 2)";
    for args in [
        &["x.torrent"][..],
        &["get", "x.torrent"],
        &["seed", "x.torrent"],
        &["-q", "x.torrent"],
        &["x.torrent", "--no-dht", "--no-pex", "--no-lsd", "--no-port-map", "--no-utp", "-c"],
    ] {
        let ran = run(args);
        ran.check_failure();
        assert_eq!((ran.code, ran.out.as_str()), (Some(4), ""), "{args:?}");
        assert_eq!(ran.err, format!("swarmloop: error: {message}\n"), "{args:?}");
    }
}

#[test]
fn several_missing_files_are_each_named() {
    let ran = run(&["get", "x.torrent", "y.torrent"]);
    ran.check_failure();
    assert_eq!(ran.code, Some(4));
    for name in ["'x.torrent'", "'y.torrent'"] {
        assert_eq!(ran.err.matches(name).count(), 1, "{}", ran.err);
    }
}

#[test]
fn json_has_its_errors_on_stderr_and_always_a_summary() {
    let ran = run(&["--json", "x.torrent"]);
    ran.check_failure();
    assert_eq!(ran.code, Some(4));
    assert_eq!(
        ran.err,
        "{\"type\":\"error\",\"code\":\"cannot_read\",\"message\":\"cannot read 'x.torrent': \
         No such file or directory (os error 2)\",\"id\":1}\n"
    );
    assert_eq!(
        ran.out,
        "{\"type\":\"summary\",\"ok\":0,\"failed\":1,\"interrupted\":0,\"exit_code\":4}\n"
    );
}

#[test]
fn what_is_no_torrent_exits_with_4() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = [
        ("empty.torrent", &b""[..]),
        ("text.torrent", b"hello"),
        ("cut.torrent", b"d4:infod4:name1:x"),
        ("huge-length.torrent", b"d4:info99999999999999999999:"),
    ];
    for (name, bytes) in bad {
        std::fs::write(folder.path().join(name), bytes).expect("written");
        for command in ["get", "seed"] {
            let output = swarmloop(folder.path(), [command, name]).output().expect("it runs");
            let ran = Ran::new(&output);
            ran.check_failure();
            assert_eq!(ran.code, Some(4), "{name}: {}", ran.err);
            let start = format!("swarmloop: error: bad torrent file '{name}': ");
            assert!(ran.err.starts_with(&start), "{}", ran.err);
        }
    }
}

#[test]
fn a_folder_is_no_torrent() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("d.torrent")).expect("made");
    let ran = Ran::new(&swarmloop(folder.path(), ["d.torrent"]).output().expect("it runs"));
    ran.check_failure();
    assert_eq!(ran.code, Some(4));
    let message = "cannot read 'd.torrent': Is a directory (os error 21)";
    let hint = "hint: `create` makes a torrent of a folder, `share` hands it over";
    assert_eq!(ran.err, format!("swarmloop: error: {message}\n{hint}\n"));
}

#[test]
fn a_dash_reads_stdin() {
    // Nothing is in it, which is no torrent.
    let ran = run(&["-"]);
    ran.check_failure();
    assert_eq!(ran.code, Some(4));
    assert_eq!(ran.err, "swarmloop: error: bad torrent file '-': it is empty\n");
    let twice = run(&["get", "-", "-"]);
    twice.check_failure();
    assert_eq!(twice.code, Some(2));
    assert_eq!(twice.err, "swarmloop: error: '-' (stdin) can be named only once\n");
}

#[test]
fn hostile_names_never_reach_the_terminal() {
    for name in ["a\x1b[2J\x07.torrent", "b\nc\r.torrent", "d\u{9b}31m\u{202e}.torrent"] {
        for args in [&[name][..], &["--json", name], &["--color", "always", name]] {
            let ran = run(args);
            assert_eq!(ran.code, Some(4));
            let own_colours = ran.err.replace("\x1b[1m\x1b[31m", "").replace("\x1b[0m", "");
            for text in [&ran.out, &own_colours] {
                let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                assert!(!text.contains(hostile), "{text:?}");
            }
        }
    }
}

#[test]
fn colour_is_not_written_into_pipes() {
    assert!(!run(&["x.torrent"]).err.contains('\x1b'));
    assert!(run(&["--color=always", "x.torrent"]).err.contains('\x1b'));
    let folder = tempfile::tempdir().expect("a folder");
    for (variable, value, colour) in
        [("CLICOLOR_FORCE", "1", true), ("CLICOLOR_FORCE", "0", false), ("NO_COLOR", "1", false)]
    {
        let mut command = swarmloop(folder.path(), ["x.torrent"]);
        let ran = Ran::new(&command.env(variable, value).output().expect("it runs"));
        assert_eq!(ran.err.contains('\x1b'), colour, "{variable}={value}");
    }
}

#[test]
fn closed_streams_are_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in [&["x.torrent"][..], &["--json", "x.torrent"], &["--help"], &["sed"]] {
        let mut command = swarmloop(folder.path(), args);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop((child.stdout.take(), child.stderr.take()));
        let code = child.wait().expect("it ends").code();
        let expected = match args {
            ["--help"] => 0,
            ["sed"] => 2,
            _ => 4,
        };
        assert_eq!(code, Some(expected), "{args:?}");
    }
}

#[test]
fn a_demo_that_does_not_fit_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = swarmloop(folder.path(), ["demo", "--size", "8000000T"]);
    let ran = Ran::new(&command.env("TMPDIR", folder.path()).output().expect("it runs"));
    ran.check_failure();
    assert_eq!((ran.code, ran.out.as_str()), (Some(6), ""));
    assert!(ran.err.starts_with("swarmloop: error: the demo needs 16000000.0 TiB"), "{}", ran.err);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn what_stdout_does_not_take_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = ["demo", "--size", "1"];
    for args in [&["tracker", "--listen", "127.0.0.1:0"][..], &["--help"], &["--json", "-q"]] {
        let args = if args[0] == "--json" { [args, &demo].concat() } else { args.to_vec() };
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let output = swarmloop(folder.path(), &args).stdout(full).output().expect("it runs");
        let ran = Ran::new(&output);
        assert_eq!(ran.code, Some(6), "{args:?}");
        let errors: Vec<_> = ran.err.lines().filter(|line| line.contains("error")).collect();
        let told = "cannot write to stdout: No space left on device (os error 28)";
        assert!(errors.len() == 1 && errors[0].contains(told), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_log_has_the_run_in_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    for (format, first, error) in [
        ("text", " INFO  run: swarmloop ", " ERROR torrent[1]: cannot read 'x.torrent': "),
        ("json", "\"level\":\"info\",\"target\":\"run\",", "\"code\":\"cannot_read\","),
    ] {
        let args = ["get", "x.torrent", "--log-file", "log", "--log-format", format];
        let ran = Ran::new(&swarmloop(folder.path(), args).output().expect("it runs"));
        assert_eq!(ran.code, Some(4), "{}", ran.err);
        assert!(!ran.err.contains(" run: "), "{}", ran.err);
        let path = folder.path().join("log");
        let log = std::fs::read_to_string(&path).expect("a log");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 3, "{log}");
        for (line, part) in lines.iter().zip([first, error, "ended with exit code 4: 0 ok"]) {
            assert!(line.contains(part), "{line}");
        }
        std::fs::remove_file(path).expect("it was there");
    }
}

#[test]
fn a_log_without_a_file_is_on_stderr() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = swarmloop(folder.path(), ["x.torrent"]);
    let ran = Ran::new(&command.env("SWARMLOOP_LOG", "info").output().expect("it runs"));
    assert_eq!(ran.err.matches("cannot read").count(), 1, "told once: {}", ran.err);
    assert_eq!(ran.err.matches(" INFO  run: ").count(), 2, "{}", ran.err);
    let mut json = swarmloop(folder.path(), ["x.torrent", "--json", "--log-level", "run=info"]);
    let ran = Ran::new(&json.output().expect("it runs"));
    assert!(ran.err.lines().all(|line| line.starts_with("{\"type\":\"")), "{}", ran.err);
    let mut command = swarmloop(folder.path(), ["x.torrent"]);
    let ran = Ran::new(&command.env("RUST_LOG", "trace").output().expect("it runs"));
    assert!(!ran.err.contains(" run: "), "that is for others: {}", ran.err);
}

#[test]
fn a_log_that_cannot_be_kept_stops_nothing_but_one_that_cannot_be_opened_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["demo", "--size", "1", "--log-file", "/dev/full", "--log-level", "trace"];
    let mut demo = swarmloop(folder.path(), args);
    let ran = Ran::new(&demo.env("TMPDIR", folder.path()).output().expect("it runs"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let warning = "swarmloop: warning: cannot write the log '/dev/full': No space left on \
                   device (os error 28); the run goes on without it\n";
    assert_eq!(ran.err.matches("the log").count(), 1, "{}", ran.err);
    assert!(ran.err.contains(warning), "{}", ran.err);

    let ran = run(&["x.torrent", "--log-file", "no/such/folder/log"]);
    ran.check_failure();
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("swarmloop: error: cannot open the log 'no/such/folder/log': "));
    for level in ["loud", "peers=debug", ""] {
        assert_eq!(run(&["x.torrent", &format!("--log-level={level}")]).code, Some(2));
    }
}

#[test]
fn a_tracker_with_a_whitelist_tracks_nothing_else_and_says_what_it_has_done() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("list"), "68".repeat(20)).expect("written");
    let args = ["tracker", "--http", "127.0.0.1:0", "-w", "list", "--interval", "10m", "--json"];
    let mut tracker = swarmloop(folder.path(), args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built");
    let mut stdout = BufReader::new(tracker.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it says where it listens");
    let addr = line.split('/').nth(2).expect("a URL").to_owned();
    let ask = |hash: &str| {
        let mut stream = std::net::TcpStream::connect(&addr).expect("it listens");
        let id = "p".repeat(20);
        let target = format!("/announce?info_hash={}&peer_id={id}&port=1", hash.repeat(20));
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    assert!(ask("h").contains("8:intervali600e"), "it is on the list");
    assert!(ask("x").contains("this tracker does not track this torrent"));
    let pid = tracker.id().to_string();
    assert!(Command::new("kill").args(["-USR1", &pid]).status().expect("kill").success());
    line.clear();
    stdout.read_line(&mut line).expect("its status");
    let expected =
        r#"{"type":"tracker_status","torrents":1,"peers":1,"seeds":0,"announces_http":2,"#;
    assert!(line.starts_with(expected), "{line}");
    assert!(Command::new("kill").arg(&pid).status().expect("kill").success());
    assert_eq!(tracker.wait().expect("it ends").code(), Some(0));
}

/// `timeout` and other wrappers hand a signal on that its whole process group has had already.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let mut tracker = Command::new(env!("CARGO_BIN_EXE_swarmloop"))
        .args(["tracker", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built");
    let mut url = String::new();
    let stdout = tracker.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut url).expect("it says where it listens");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let pid = tracker.id().to_string();
    let mut killed = Command::new("sh");
    killed.arg("-c").arg(format!("kill -TERM {pid}; kill -TERM {pid}"));
    assert!(killed.status().expect("a shell").success());
    assert_eq!(tracker.wait().expect("it ends").code(), Some(0));
}
