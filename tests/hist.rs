//! `swarmloop hist` as a shell sees it: what it prints and writes, and what it says of logs that
//! are none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use swarmloop::stats::report::{Distribution, hlog};
use swarmloop::stats::{Histogram, Metric};
use tempfile::TempDir;

/// A log of one interval a second; each has these values of these tags.
fn log(start_s: u64, seconds: &[&[(&str, u64)]]) -> String {
    let mut log = hlog::header("0", Duration::from_secs(start_s), &[]);
    for (at, values) in (0..).zip(seconds) {
        for (tag, value) in *values {
            let mut histogram = Histogram::default();
            histogram.record(*value);
            let second = Duration::from_secs(1);
            log += &hlog::line(tag, second * at, second, &Distribution::from(&histogram));
        }
    }
    log
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn hist(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.arg("hist").args(args).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

/// What a run that must succeed printed.
fn printed(folder: &Path, args: &[&str]) -> String {
    let output = hist(folder, args);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code and the error of a run that must fail.
fn refused(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = hist(folder, args);
    assert!(output.stdout.is_empty(), "{args:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn logs_are_added_up_by_tag() {
    let one = log(1_700_000_000, &[&[("request_to_block", 1_000_000), ("events_per_turn", 3)]]);
    let two = log(1_700_000_100, &[&[("request_to_block", 3_000_000), ("other", 17)]]);
    let folder = folder(&[("one.hlog", &one), ("two.hlog", &two)]);
    assert_eq!(
        printed(folder.path(), &["one.hlog", "two.hlog"]),
        "tag               count     p50     p90     p99   p99.9     max\n\
         request_to_block      2  1.00ms  3.01ms  3.01ms  3.01ms  3.01ms\n\
         events_per_turn       1       3       3       3       3       3\n\
         other                 1    17ns    17ns    17ns    17ns    17ns\n"
    );
    let tagged = printed(folder.path(), &["--tag", "other", "one.hlog", "two.hlog"]);
    assert_eq!(tagged.lines().count(), 2, "{tagged}");
    let as_us = printed(folder.path(), &["two.hlog", "--tag", "other", "--unit", "us"]);
    assert!(as_us.contains("17.0µs"), "{as_us}");
}

#[test]
fn json_has_the_exact_figures() {
    let folder = folder(&[("a.hlog", &log(0, &[&[("handshake", 50)], &[("handshake", 70)]]))]);
    let lines = printed(folder.path(), &["--json", "a.hlog"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let metric = &lines[0];
    assert_eq!((&metric["type"], &metric["tag"]), (&"metric".into(), &"handshake".into()));
    assert_eq!((&metric["unit"], &metric["count"]), (&"ns".into(), &2.into()));
    assert_eq!((&metric["p50"], &metric["max"]), (&50.into(), &70.into()));
    assert_eq!((&lines[1]["type"], &lines[1]["exit_code"]), (&"summary".into(), &0.into()));
}

#[test]
fn a_diff_relates_the_second_log_to_the_first() {
    let many = |value| vec![("loop_lag", value); 200];
    let (before, after) = (many(1_000_000), many(2_000_000));
    let seconds: [&[(&str, u64)]; 2] = [&before, &[("gone", 5)]];
    let folder = folder(&[("a.hlog", &log(0, &seconds)), ("b.hlog", &log(9, &[&after]))]);
    let table = printed(folder.path(), &["diff", "a.hlog", "b.hlog"]);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[1],
        ["loop_lag", "200", "200", "2.00x", "2.00x", "2.00x", "2.00x", "-", "2.00x"]
    );
    assert_eq!(rows[2], ["gone", "1", "-", "-", "-", "-", "-", "-", "-"]);
    let json = printed(folder.path(), &["diff", "a.hlog", "b.hlog", "--json"]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["a"]["count"], &first["ratio"]["p999"]), (&200.into(), &Value::Null));
    let ratio = first["ratio"]["p50"].as_f64().unwrap();
    assert!((ratio - 2.0).abs() < 0.02, "{json}");
}

#[test]
fn merged_logs_keep_their_intervals_in_order_of_time() {
    let late = log(1_700_000_010, &[&[("a", 1)], &[("a", 2)]]);
    let early = log(1_700_000_000, &[&[("a", 3), ("events_per_turn", 4)]]);
    let folder = folder(&[("late.hlog", &late), ("early.hlog", &early)]);
    printed(folder.path(), &["late.hlog", "early.hlog", "-o", "all.hlog"]);
    let merged = std::fs::read_to_string(folder.path().join("all.hlog")).unwrap();
    let mut reader = hlog::LogReader::new(merged.as_bytes());
    let entries: Vec<_> = std::iter::from_fn(|| reader.next_entry().unwrap()).collect();
    let seen: Vec<_> =
        entries.iter().map(|e| (e.tag.as_str(), e.start.as_secs(), e.values.max())).collect();
    assert_eq!(
        seen,
        [
            ("a", 1_700_000_000, 3),
            ("events_per_turn", 1_700_000_000, 4),
            ("a", 1_700_000_010, 1),
            ("a", 1_700_000_011, 2)
        ]
    );
    let both = printed(folder.path(), &["late.hlog", "early.hlog"]);
    assert_eq!(printed(folder.path(), &["all.hlog"]).lines().count(), both.lines().count());
}

#[test]
fn tables_and_pages_are_written_to_new_files_only() {
    let log = log(1_700_000_000, &[&[("loop_busy", 5_000), ("loop_lag", 7_000)]]);
    let folder = folder(&[("a.hlog", &log), ("mine", "mine")]);
    let one = ["a.hlog", "--tag", "loop_lag"];
    printed(folder.path(), &[&one[..], &["--hgrm", "a.hgrm", "--html", "a.html"]].concat());
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("a.hgrm").starts_with("       Value     Percentile TotalCount"));
    assert!(read("a.html").contains("loop_lag") && !read("a.html").contains("loop_busy</th>"));
    assert_eq!(printed(folder.path(), &[&one[..], &["--hgrm", "-"]].concat()), read("a.hgrm"));
    for flag in ["--hgrm", "--html", "-o"] {
        let (code, error) = refused(folder.path(), &[&one[..], &[flag, "mine"]].concat());
        assert_eq!(code, Some(6), "{flag}");
        let start = "swarmloop: error: 'mine' exists already. Nothing was written\nhint: ";
        assert!(error.starts_with(start), "{flag}: {error}");
    }
    let three = ["--html", "new.html", "-o", "new.hlog", "--hgrm", "mine"];
    refused(folder.path(), &[&one[..], &three].concat());
    for name in ["new.html", "new.hlog"] {
        assert!(!folder.path().join(name).exists(), "nothing was written, it said");
    }
    assert_eq!(read("mine"), "mine");
    let (code, error) = refused(folder.path(), &["a.hlog", "--hgrm", "b.hgrm"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("several: loop_busy, loop_lag\nhint: choose one with --tag"), "{error}");
    assert!(!folder.path().join("b.hgrm").exists());
}

#[test]
fn what_is_no_log_exits_with_4_and_names_the_line() {
    let good = log(0, &[&[("a", 1)]]);
    let cut = &good[..good.len() - 9];
    let folder = folder(&[
        ("good.hlog", &good),
        ("text.hlog", "hello"),
        ("empty.hlog", ""),
        ("cut.hlog", cut),
        ("evil\x1b[2J.hlog", "x"),
    ]);
    for (args, error) in [
        (&["no.hlog"][..], "cannot read 'no.hlog': No such file or directory (os error 2)"),
        (&["."], "cannot read '.': Is a directory (os error 21)"),
        (&["empty.hlog"], "no intervals in 'empty.hlog'"),
        (&["good.hlog", "--tag", "b"], "no interval in 'good.hlog' has the tag b; there are: a"),
        (
            &["good.hlog", "text.hlog", "-o", "merged.hlog"],
            "bad interval log 'text.hlog', line 1: no line of an interval log, which are \
             [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM",
        ),
        (
            &["evil\x1b[2J.hlog"],
            "bad interval log 'evil\\x1b[2J.hlog', line 1: no line of an interval log, which are \
             [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM",
        ),
        (&["diff", "good.hlog", "empty.hlog"], "no intervals in 'empty.hlog'"),
    ] {
        let expected = format!("swarmloop: error: {error}\n");
        assert_eq!(refused(folder.path(), args), (Some(4), expected), "{args:?}");
    }
    let (code, error) = refused(folder.path(), &["cut.hlog"]);
    assert_eq!(code, Some(4));
    assert!(error.contains("bad interval log 'cut.hlog', line 7: the histogram"), "{error}");
    assert!(!folder.path().join("merged.hlog").exists(), "half a log is left");
    let (code, error) = refused(folder.path(), &["-", "-"]);
    assert_eq!((code, error.contains("only once")), (Some(2), true));
    for usage in [&[][..], &["diff", "one"], &["good.hlog", "--unit", "parsecs"]] {
        assert_eq!(refused(folder.path(), usage).0, Some(2), "{usage:?}");
    }
}

#[test]
fn a_log_can_come_from_stdin() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.args(["hist", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let name = Metric::Handshake.name();
    child.stdin.take().unwrap().write_all(log(0, &[&[(name, 1)]]).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("handshake      1"));
}
