//! `swarmloop-bench compare` end to end, with our own client only and next to no payload: that it
//! measures, reports and cleans up. What other clients do depends on what is installed.

// Only Linux has all of 127/8 on its loopback, and /proc.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Runs a comparison whose files are in `folder`.
fn compare(folder: &TempDir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench"));
    command.arg("compare").args(args).arg("--dir").arg(folder.path());
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{output:?}"))
}

/// Asserts that a comparison of one client had `rounds` valid rounds with a number above zero for
/// each of these.
fn assert_figures(report: &Value, rounds: usize, keys: &[&str]) {
    let [client] = &report["clients"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(client["name"], "swarmloop");
    assert_eq!(client["version"], env!("CARGO_PKG_VERSION"));
    let measured = client["rounds"].as_array().unwrap();
    assert_eq!(measured.len(), rounds, "{report}");
    for round in measured {
        assert_eq!(round.get("void"), None, "{report}");
        for key in keys {
            assert!(round[*key].as_f64().is_some_and(|value| value > 0.0), "{key}: {report}");
        }
    }
    let best = report["winners"].as_object().unwrap();
    assert!(best.values().all(Value::is_null), "alone is no winner: {report}");
}

#[test]
fn checking_is_measured_and_nothing_is_left_behind() {
    let folder = TempDir::new().unwrap();
    let results = TempDir::new().unwrap();
    let out = results.path().to_str().unwrap();
    let args = ["check", "-n", "2", "-s", "3M", "--clients", "swarmloop", "--json", "--out", out];
    let output = compare(&folder, &args);
    assert!(output.status.success(), "{output:?}");
    let report = json(&output);
    assert_figures(&report, 2, &["rate_gib_per_s", "peak_rss_mib"]);
    assert_eq!(report["settings"]["workload"], "check");
    assert_eq!(report["settings"]["size_bytes"], 3 << 20);
    let written = fs::read_to_string(results.path().join("compare.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), report);
    for place in [folder.path().to_str().unwrap(), out] {
        assert!(!written.contains(place), "an absolute path in {written}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn transfers_are_measured_in_both_directions_and_checked() {
    for workload in ["download", "seed"] {
        let folder = TempDir::new().unwrap();
        let args = ["-n", "1", "-s", "9M", "-c", "3", "--clients", "swarmloop", "--json"];
        let output = compare(&folder, &[&[workload][..], &args].concat());
        assert!(output.status.success(), "{output:?}");
        let report = json(&output);
        assert_figures(&report, 1, &["rate_gib_per_s", "peak_rss_mib"]);
        assert_eq!(report["settings"]["connections"], 3);
        let command = report["clients"][0]["command"].as_str().unwrap();
        let verb = if workload == "seed" { "swarmloop seed " } else { "swarmloop get " };
        assert!(command.starts_with(verb), "{command}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
    }
}

#[test]
fn latency_is_measured_at_half_of_what_was_possible() {
    let folder = TempDir::new().unwrap();
    let args = [
        "latency",
        "-n",
        "1",
        "-s",
        "4M",
        "-c",
        "5",
        "-T",
        "1",
        "--clients",
        "swarmloop",
        "--json",
    ];
    let output = compare(&folder, &args);
    assert!(output.status.success(), "{output:?}");
    let report = json(&output);
    let keys = ["max_requests_per_s", "p50_us", "p99_us", "max_us"];
    assert_figures(&report, 1, &keys);
    assert_eq!(report["settings"]["duration_s"], 1.0);
    let round = &report["clients"][0]["rounds"][0];
    let latency: Vec<f64> = keys[1..].iter().map(|key| round[key].as_f64().unwrap()).collect();
    assert!(latency.is_sorted(), "{round}");
}

#[test]
fn peers_are_held_and_handshakes_answered() {
    for (workload, keys) in [
        ("idle", &["peers_held"][..]),
        ("handshakes", &["handshakes_per_s", "cpu_us_per_handshake"]),
    ] {
        let folder = TempDir::new().unwrap();
        let args = ["-n", "1", "-s", "1M", "-c", "20", "-T", "1", "--clients", "swarmloop"];
        let output = compare(&folder, &[&[workload, "--json"][..], &args].concat());
        assert!(output.status.success(), "{output:?}");
        assert_figures(&json(&output), 1, keys);
    }
}

#[test]
fn the_loop_is_measured_by_its_own_histograms() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench"));
    command.args(["loop", "--idle", "7", "-c", "3", "-T", "1", "-s", "2M", "--json", "--dir"]);
    let output = command.arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = json(&output);
    for key in ["turns_per_s", "blocks_per_s", "ns_per_turn", "loop_busy_p99_s", "loop_lag_max_s"] {
        let figure = report["results"][key].as_f64();
        assert!(figure.is_some_and(|figure| figure > 0.0), "{key}: {report}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn the_table_names_every_column_and_the_client() {
    let folder = TempDir::new().unwrap();
    let output = compare(&folder, &["check", "-n", "1", "-s", "1M", "--clients", "swarmloop"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for word in ["GiB/s", "CPU s/GiB", "RSS MiB", "\nswarmloop "] {
        assert!(text.contains(word), "{word}\n{text}");
    }
}

#[test]
fn a_turn_that_takes_too_long_is_void_and_the_run_fails() {
    let folder = TempDir::new().unwrap();
    // Nothing can be checked in no time.
    let args = ["check", "-n", "1", "-s", "3M", "--limit", "0", "--clients", "swarmloop"];
    let output = compare(&folder, &args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("in time"), "{stderr}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn what_cannot_be_compared_is_refused_in_one_line() {
    let folder = TempDir::new().unwrap();
    for args in [
        &["check", "--clients", "utorrent"][..],
        &["check", "-s", "0"],
        &["check", "-n", "0"],
        &["check", "--piece-len", "1T"],
        &["nothing"],
    ] {
        let output = compare(&folder, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}
