//! `--profile DIR`: what the engine measures of itself, as files.
//!
//! ```text
//! DIR/profile.hlog      every second's histograms, written as the seconds pass
//! DIR/<metric>.hgrm     percentiles of the whole run, for each metric that has values
//! DIR/summary.json      its figures, and what the run used
//! DIR/profile.html      all of it to look at
//! ```
//!
//! Only the log is written while the engine runs; a run that is killed leaves it. Nothing that is
//! in the folder is overwritten.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use swarmloop::stats::report::{Distribution, Report, TooMany, hgrm, hlog, page, summary};
use swarmloop::stats::{Counters, Interval, Metric, Unit};

use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::new_file::{NewFile, in_the_way, write_new};

/// Time between two looks at the histograms: a line in the log, and at first a column of the plots.
const INTERVAL: Duration = Duration::from_secs(1);

const LOG: &str = "profile.hlog";
const SUMMARY: &str = "summary.json";
const PAGE: &str = "profile.html";

/// A run that is being measured.
#[derive(Debug)]
pub(super) struct Profile {
    dir: PathBuf,
    /// What the run is called; foreign text.
    title: String,
    log: NewFile,
    report: Report,
    /// The last interval's.
    counters: Counters,
    started: SystemTime,
    began: Instant,
    /// When the next interval is due.
    next: Instant,
}

impl Profile {
    /// Makes the folder, if it is not there, and the log; refuses a folder that holds a profile.
    pub(super) fn create(dir: &Path, title: String, now: Instant) -> Result<Self, Failure> {
        let shown = escaped_path(dir);
        std::fs::create_dir_all(dir)
            .map_err(|error| Failure::io(&format!("make the folder '{shown}'"), &error))?;
        let tables = Metric::ALL.into_iter().map(table_name);
        let names = tables.chain([LOG, SUMMARY, PAGE].map(str::to_owned));
        for path in names.map(|name| dir.join(name)) {
            // A link to nowhere is in the way, too.
            match path.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let what = format!("look for '{}'", escaped_path(&path));
                    return Err(Failure::io(&what, &error));
                }
                Ok(_) => return Err(in_the_way(&path)),
            }
        }
        let started = SystemTime::now();
        let mut log = NewFile::create(&dir.join(LOG))?;
        let counts = Metric::ALL.into_iter().filter(|metric| metric.unit() == Unit::Count);
        let counts: Vec<&str> = counts.map(Metric::name).collect();
        let since_epoch = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        log.write(hlog::header(env!("CARGO_PKG_VERSION"), since_epoch, &counts).as_bytes())?;
        log.flush()?;
        Ok(Self {
            dir: dir.to_owned(),
            title,
            log,
            report: Report::default(),
            counters: Counters::default(),
            started,
            began: now,
            next: now + INTERVAL,
        })
    }

    /// Tells whether an interval is over at `now`; each is asked for once. Late ones are not made
    /// up for.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        while self.next <= now {
            self.next += INTERVAL;
        }
        true
    }

    /// Adds an interval to the log and to what is reported in the end.
    pub(super) fn add(&mut self, interval: &Interval) -> Result<(), Failure> {
        let start = Duration::from_micros(interval.start.as_micros());
        for metric in Metric::ALL {
            let values = Distribution::from(interval.histograms.of(metric));
            if values.count() == 0 {
                continue;
            }
            let (name, length) = (metric.name(), interval.length);
            self.log.write(hlog::line(name, start, length, &values).as_bytes())?;
            let added = self.report.add(name, metric.unit(), start, length, &values);
            added.map_err(too_many)?;
        }
        self.counters = interval.counters;
        self.log.flush()
    }

    /// Writes the reports of a run that ends with `exit`; returns what is said of it.
    pub(super) fn finish(self, exit: Exit, now: Instant) -> Result<String, Failure> {
        let run = self.run_facts(exit, now.saturating_duration_since(self.began));
        self.log.finish()?;
        for series in self.report.series() {
            let table = hgrm::table(&series.total, series.unit);
            write_new(&self.dir.join(format!("{}.hgrm", series.tag)), table.as_bytes())?;
        }
        let summary = format!("{:#}\n", summary::summary(&self.report, &run));
        write_new(&self.dir.join(SUMMARY), summary.as_bytes())?;
        let page = page::page(&self.title, &self.report, &run);
        let path = self.dir.join(PAGE);
        write_new(&path, page.as_bytes())?;
        Ok(format!("profile: {}", escaped_path(&path)))
    }

    /// Ends a profile that cannot go on: what is in the log stays.
    pub(super) fn give_up(self) {
        // Why it is given up has been told; the rest of the buffer is lost for the same reason.
        let _ = self.log.finish();
    }

    fn run_facts(&self, exit: Exit, took: Duration) -> Value {
        let counters = &self.counters;
        let (down, up) = (counters.payload_received, counters.payload_sent);
        let rate = |bytes: u64| super::size::rate(bytes, took);
        json!({
            "program": concat!("swarmloop ", env!("CARGO_PKG_VERSION")),
            "title": self.title,
            "started": humantime::format_rfc3339_millis(self.started).to_string(),
            "exit_code": exit.code(),
            "seconds": took.as_secs_f64(),
            "downloaded": down,
            "uploaded": up,
            "down_rate": rate(down),
            "up_rate": rate(up),
            "cpu_seconds": cpu_time().as_secs_f64(),
            "peak_rss": peak_rss(),
            "counters": {
                "received": counters.received,
                "sent": counters.sent,
                "wasted": counters.wasted,
                "blocks_received": counters.blocks_received,
                "blocks_sent": counters.blocks_sent,
                "pieces_verified": counters.pieces_verified,
                "pieces_corrupt": counters.pieces_corrupt,
                "dialled": counters.dialled,
                "accepted": counters.accepted,
                "refused": counters.refused,
                "blocked": counters.blocked,
                "established": counters.established,
                "failed": counters.failed,
                "turns": counters.turns,
                "reads": counters.reads,
                "writes": counters.writes,
            },
        })
    }
}

fn table_name(metric: Metric) -> String {
    format!("{}.hgrm", metric.name())
}

/// There are eleven tags of fixed size: only a run of centuries gets here.
fn too_many(error: TooMany) -> Failure {
    Failure::new(Exit::Failed, "profile", format!("cannot go on with the profile: {error}"))
}

/// Returns the processor time of this process, all of its threads, since it began.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Returns the most memory that this process had resident, in bytes, if the system tells.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use swarmloop::stats::Stats;
    use swarmloop::time::Instant as At;

    use super::*;

    /// An interval of a second with one value of these metrics.
    fn interval(second: u64, values: &[(Metric, u64)]) -> Interval {
        let mut stats = Stats::new(At::from_micros(second * 1_000_000));
        for &(metric, value) in values {
            stats.histograms.record(metric, value);
        }
        stats.counters.payload_received = second * 1_000;
        stats.take(Box::default(), At::from_micros((second + 1) * 1_000_000))
    }

    #[test]
    fn a_run_leaves_its_four_kinds_of_files() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("not/there yet");
        let now = Instant::now();
        let mut profile = Profile::create(&dir, "a <b>".to_owned(), now).unwrap();
        profile.add(&interval(0, &[(Metric::Handshake, 5_000)])).unwrap();
        let values = [(Metric::Handshake, 7_000), (Metric::EventsPerTurn, 3)];
        profile.add(&interval(1, &values)).unwrap();
        let took = Duration::from_secs(2);
        let told = profile.finish(Exit::Signal(2), now + took).unwrap();
        assert_eq!(told, format!("profile: {}", dir.join(PAGE).display()));

        let mut names: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let tables = ["events_per_turn.hgrm", "handshake.hgrm"];
        assert_eq!(names, [&tables[..], &[LOG, PAGE, SUMMARY]].concat());

        let log = std::fs::read(dir.join(LOG)).unwrap();
        let mut reader = hlog::LogReader::new(&log[..]);
        let entries: Vec<_> = std::iter::from_fn(|| reader.next_entry().unwrap()).collect();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].start, entries[0].start + Duration::from_secs(1));

        let summary = std::fs::read_to_string(dir.join(SUMMARY)).unwrap();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let run = &summary["run"];
        assert_eq!((&run["title"], &run["exit_code"]), (&"a <b>".into(), &130.into()));
        assert_eq!((&run["downloaded"], &run["down_rate"]), (&1_000.into(), &500.into()));
        assert!(run["cpu_seconds"].as_f64().unwrap() > 0.0);
        assert!(run["peak_rss"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
        let counts: Vec<_> =
            summary["metrics"].as_array().unwrap().iter().map(|metric| &metric["count"]).collect();
        assert_eq!(counts, [2, 1]);
        assert!(std::fs::read_to_string(dir.join(PAGE)).unwrap().contains("<h1>a &lt;b&gt;</h1>"));
    }

    #[test]
    fn a_folder_with_a_profile_in_it_is_left_as_it_is() {
        for name in [LOG, SUMMARY, PAGE, "loop_lag.hgrm"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), "mine").unwrap();
            let failure = Profile::create(dir.path(), String::new(), Instant::now()).unwrap_err();
            assert_eq!((failure.exit, failure.code), (Exit::Disk, "in_the_way"), "{name}");
            assert!(failure.message.contains(name), "{}", failure.message);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_told_before_anything_begins() {
        for dir in ["/proc/nowhere", "/dev/null/profile"] {
            let failure = Profile::create(Path::new(dir), String::new(), Instant::now());
            let failure = failure.unwrap_err();
            let start = format!("cannot make the folder '{dir}': ");
            assert!(failure.message.starts_with(&start), "{}", failure.message);
        }
    }

    #[test]
    fn a_profile_that_is_given_up_keeps_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut profile = Profile::create(dir.path(), String::new(), Instant::now()).unwrap();
        profile.add(&interval(0, &[(Metric::Handshake, 1)])).unwrap();
        profile.give_up();
        assert!(dir.path().join(LOG).exists());
    }

    #[test]
    fn an_interval_is_due_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut profile = Profile::create(dir.path(), String::new(), now).unwrap();
        let due: Vec<u32> = (0..40)
            .filter(|tenths| profile.is_due(now + Duration::from_millis(100) * *tenths))
            .collect();
        assert_eq!(due, [10, 20, 30]);
        // After a pause, one for all of it.
        assert!(profile.is_due(now + Duration::from_millis(9_500)));
        assert!(!profile.is_due(now + Duration::from_millis(9_900)));
        assert!(profile.is_due(now + Duration::from_secs(10)));
    }
}
