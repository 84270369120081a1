//! The interval logs that `--profile` writes, read by `HdrHistogram`'s ports to Python and
//! JavaScript, and theirs, read by `hist`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use swarmloop::stats::report::{Distribution, hlog};
use swarmloop::stats::{Histograms, Metric};
use tempfile::TempDir;

use crate::clients::process;
use crate::clients::tools::{Tool, have};

#[test]
fn pypi_reads_our_logs() {
    let tools = [Tool::HdrPython];
    if have(&tools) {
        reads_our_log(python);
    }
}

#[test]
fn npm_reads_our_logs() {
    let tools = [Tool::HdrJs, Tool::Node];
    if have(&tools) {
        reads_our_log(node);
    }
}

#[test]
fn we_read_pypis_logs() {
    let tools = [Tool::HdrPython, Tool::Swarmloop];
    if have(&tools) {
        we_read_their_log(python, "");
    }
}

#[test]
fn we_read_npms_logs() {
    let tools = [Tool::HdrJs, Tool::Node, Tool::Swarmloop];
    if have(&tools) {
        we_read_their_log(node, "from-npm");
    }
}

/// Runs the driver for Python with `read` or `write` and a file; returns what it prints.
fn python(mode: &str, log: &Path) -> Option<String> {
    process::output(&Tool::HdrPython.path(), |command| {
        command.arg(driver("hdr.py")).arg(mode).arg(log);
    })
}

/// Runs the driver for JavaScript likewise.
fn node(mode: &str, log: &Path) -> Option<String> {
    process::output(&Tool::Node.path(), |command| {
        command.arg(driver("hdr.mjs")).arg(Tool::HdrJs.path()).arg(mode).arg(log);
    })
}

fn driver(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/drivers").join(name)
}

/// Lets a foreign reader add up a log of ours, and compares its figures with ours.
fn reads_our_log(run: impl Fn(&str, &Path) -> Option<String>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("profile.hlog");
    let (log, sum) = our_log();
    std::fs::write(&path, log).unwrap();
    let printed = run("read", &path).expect("it reads the log");
    let mut seen = 0;
    for line in printed.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let metric = Metric::ALL.into_iter().find(|metric| metric.name() == fields[0]);
        let histogram = sum.of(metric.unwrap_or_else(|| panic!("a tag of ours: {line}")));
        let figures: Vec<u64> = fields[1..].iter().map(|field| field.parse().unwrap()).collect();
        let [intervals, count, p50, p99, max] = figures[..] else { panic!("{line}") };
        assert_eq!((intervals, count), (SECONDS, histogram.count()), "{line}");
        assert_eq!((p50, p99), (histogram.value_at(0.5), histogram.value_at(0.99)), "{line}");
        // One port names the lowest value that is not told apart from the largest.
        assert!(max.abs_diff(histogram.max()) * 100 <= histogram.max(), "{line}");
        seen += 1;
    }
    assert_eq!(seen, Metric::ALL.len(), "{printed}");
}

/// How many intervals our log has.
const SECONDS: u64 = 3;

/// Returns a log with values from a nanosecond to over an hour of every metric, and their sum.
fn our_log() -> (String, Histograms) {
    let second = Duration::from_secs(1);
    let mut log = hlog::header("0", Duration::from_millis(1_763_740_800_123), &[]);
    let mut sum = Histograms::default();
    for at in 0..SECONDS {
        let mut histograms = Histograms::default();
        for (rank, metric) in (1..).zip(Metric::ALL) {
            for step in 0..500 {
                histograms.record(metric, rank * (at + 1) * step * step * step * 100_000);
            }
            let values = Distribution::from(histograms.of(metric));
            let start = Duration::from_millis(at * 998);
            log += &hlog::line(metric.name(), start, second, &values);
        }
        sum.add(&histograms);
    }
    (log, sum)
}

/// Lets a foreign writer make a log, and `hist` read it.
fn we_read_their_log(run: impl Fn(&str, &Path) -> Option<String>, tag: &str) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("theirs.hlog");
    run("write", &path).expect("it writes a log");
    let printed = process::output(&Tool::Swarmloop.path(), |command| {
        command.args(["hist", "--json"]).arg(&path);
    });
    let printed = printed.expect("hist reads the log");
    let metric: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert_eq!((&metric["tag"], &metric["count"]), (&tag.into(), &1_000.into()), "{printed}");
    for (figure, expected) in
        [("min", 1_000), ("p50", 500_000), ("p99", 990_000), ("max", 1_000_000)]
    {
        let value = metric[figure].as_u64().unwrap();
        assert!(value.abs_diff(expected) * 1_000 <= expected, "{figure}: {printed}");
    }
}
