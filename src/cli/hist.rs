//! `hist`: reads interval logs, adds them up by tag, and prints, compares, merges and renders them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use swarmloop::stats::Unit;
use swarmloop::stats::report::hlog::{self, Entry, LogError, LogErrorCause, LogReader};
use swarmloop::stats::report::{Quantiles, Report, Series, TooMany, hgrm, human, page};
use swarmloop::text::Escaped;

use super::args::hist::{HistArgs, HistCommand, HistDiffArgs, HistUnit, SelectArgs};
use super::exit::{Exit, Failure};
use super::input::{check_stdin, escaped_path};
use super::json;
use super::new_file::NewFile;
use super::ui::Ui;

/// Runs the subcommand.
pub(crate) fn run(args: &HistArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    match &args.command {
        Some(HistCommand::Diff(diff)) => run_diff(diff, ui)?,
        None => run_print(args, ui)?,
    }
    Ok(Exit::Success)
}

/// Adds the logs up, prints them, and writes what was asked for.
fn run_print(args: &HistArgs, ui: &mut Ui) -> Result<(), Failure> {
    check_stdin(&args.files)?;
    let logs = args.files.iter().map(|file| Log::open(file, &args.select));
    let mut logs = logs.collect::<Result<Vec<_>, _>>()?;
    // All of them first: if one cannot be made, none stays.
    let create = |path: Option<&Path>| path.map(NewFile::create).transpose();
    let (merged, page) = (create(args.output.as_deref())?, create(args.html.as_deref())?);
    let table = create(args.hgrm.as_deref().filter(|path| *path != Path::new("-")))?;
    let mut merged = merged.map(|file| Merged { file, start: None, counts: BTreeSet::new() });
    let mut report = Report::default();
    while let Some(log) = next_log(&mut logs)? {
        if let Some((entry, offset)) = log.take()? {
            let Entry { tag, unit, length, values, .. } = &entry;
            let added = report.add(tag, *unit, offset, *length, values);
            added.map_err(|error| log.too_many(error))?;
            if let Some(merged) = &mut merged {
                merged.add(&entry)?;
            }
        }
    }
    check_not_empty(&report, &logs, &args.select)?;
    let hgrm = args.hgrm.as_ref().map(|_| hgrm_of(&report)).transpose()?;
    if let Some(mut file) = page {
        file.write(page::page(&title(&args.files), &report, &Value::Null).as_bytes())?;
        file.finish()?;
    }
    if let Some(Merged { file, .. }) = merged {
        file.finish()?;
    }
    match (hgrm, table) {
        (Some(hgrm), None) => ui.result(hgrm.trim_end()),
        (Some(hgrm), Some(mut file)) => {
            file.write(hgrm.as_bytes())?;
            file.finish()?;
            print(&report, ui);
        }
        (None, _) => print(&report, ui),
    }
    for _ in &logs {
        ui.count_ok();
    }
    Ok(())
}

/// Prints how the second log's figures relate to the first's.
fn run_diff(args: &HistDiffArgs, ui: &mut Ui) -> Result<(), Failure> {
    let files = [args.before.clone(), args.after.clone()];
    check_stdin(&files)?;
    let [before, after] = files.map(|file| read_log(&file, &args.select));
    let (before, after) = (before?, after?);
    let mut rows = vec![
        ["tag", "count A", "count B", "mean", "p50", "p90", "p99", "p99.9", "max"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (a, b) in pairs(&before, &after) {
        let Some(series) = a.or(b) else { continue };
        let [a, b] = [a, b].map(|series| series.map(|series| series.total.quantiles()));
        ui.record(|| json::metric_diff(series, a.as_ref(), b.as_ref(), &ratios(a, b)));
        let count = |of: Option<Quantiles>| of.map_or("-".to_owned(), |of| of.count.to_string());
        let mut row = vec![shown_tag(&series.tag), count(a), count(b)];
        row.extend(ratios(a, b).into_iter().map(|(_, ratio)| match ratio {
            Some(ratio) => format!("{ratio:.2}x"),
            None => "-".to_owned(),
        }));
        rows.push(row);
    }
    ui.result(&aligned(&rows));
    for _ in [before, after] {
        ui.count_ok();
    }
    Ok(())
}

/// Returns each figure of `b` in parts of that of `a`. There is none where a log has too few values
/// to tell: a percentile that no value lies beyond is only another name for the largest.
fn ratios(a: Option<Quantiles>, b: Option<Quantiles>) -> [(&'static str, Option<f64>); 6] {
    let ratio = |least: u64, of: fn(&Quantiles) -> f64| {
        let (a, b) = (a.as_ref()?, b.as_ref()?);
        let is_told = a.count.min(b.count) >= least && of(a) > 0.0;
        is_told.then(|| of(b) / of(a))
    };
    [
        ("mean", ratio(1, |of| of.mean)),
        ("p50", ratio(2, |of| float(of.p50))),
        ("p90", ratio(10, |of| float(of.p90))),
        ("p99", ratio(100, |of| float(of.p99))),
        ("p999", ratio(1_000, |of| float(of.p999))),
        ("max", ratio(1, |of| float(of.max))),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a ratio has two digits after the point")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Returns the series of both reports by tag, in the order of the first, then of the second.
fn pairs<'a>(
    before: &'a Report,
    after: &'a Report,
) -> impl Iterator<Item = (Option<&'a Series>, Option<&'a Series>)> {
    let of = |report: &'a Report, tag: &str| report.series().iter().find(|s| s.tag == tag);
    let first = before.series().iter().map(move |a| (Some(a), of(after, &a.tag)));
    let second = after.series().iter().filter(move |b| of(before, &b.tag).is_none());
    first.chain(second.map(|b| (None, Some(b))))
}

/// A log that is being read.
struct Log {
    /// As it was named; safe to print.
    name: String,
    reader: LogReader<Box<dyn BufRead>>,
    select: SelectArgs,
    /// The next interval, if it has been looked at.
    next: Option<Entry>,
    has_ended: bool,
    /// When its first interval began.
    start: Option<Duration>,
    /// The tags that were left out, for the message that nothing was left: at most [`MAX_NAMED`].
    other_tags: Vec<String>,
}

/// More tags than this are not named.
const MAX_NAMED: usize = 20;

impl Log {
    fn open(file: &OsStr, select: &SelectArgs) -> Result<Self, Failure> {
        let name = escaped_path(Path::new(file));
        let input: Box<dyn BufRead> = if file == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(file).map_err(|error| cannot_read(&name, &error))?;
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            name,
            reader: LogReader::new(input),
            select: select.clone(),
            next: None,
            has_ended: false,
            start: None,
            other_tags: Vec::new(),
        })
    }

    /// Looks at the next interval that is selected; `None` at the end.
    fn peek(&mut self) -> Result<Option<&Entry>, Failure> {
        while self.next.is_none() && !self.has_ended {
            match self.reader.next_entry().map_err(|error| bad_log(&self.name, &error))? {
                None => self.has_ended = true,
                Some(entry) if self.selects(&entry.tag) => {
                    self.next = Some(in_unit(entry, self.select.unit));
                }
                Some(Entry { tag, .. }) => {
                    if self.other_tags.len() < MAX_NAMED && !self.other_tags.contains(&tag) {
                        self.other_tags.push(tag);
                    }
                }
            }
        }
        Ok(self.next.as_ref())
    }

    /// Takes the next interval, with the time from the log's first one to it.
    fn take(&mut self) -> Result<Option<(Entry, Duration)>, Failure> {
        self.peek()?;
        let Some(entry) = self.next.take() else { return Ok(None) };
        let start = *self.start.get_or_insert(entry.start);
        let offset = entry.start.saturating_sub(start);
        Ok(Some((entry, offset)))
    }

    fn selects(&self, tag: &str) -> bool {
        self.select.tags.is_empty() || self.select.tags.iter().any(|selected| selected == tag)
    }

    fn too_many(&self, error: TooMany) -> Failure {
        Failure::new(Exit::Input, "bad_log", format!("bad interval log '{}': {error}", self.name))
    }
}

/// Returns an interval with its values in the unit that they are shown in.
fn in_unit(mut entry: Entry, unit: HistUnit) -> Entry {
    if entry.unit == Unit::Count {
        return entry;
    }
    let factor = match unit {
        HistUnit::Ns => return entry,
        HistUnit::Count => {
            entry.unit = Unit::Count;
            return entry;
        }
        HistUnit::Us => 1_000,
        HistUnit::Ms => 1_000_000,
        HistUnit::S => 1_000_000_000,
    };
    entry.values = entry.values.scaled(factor);
    entry
}

/// Returns the log whose next interval is the earliest, `None` when all have ended. Holds one
/// interval of each.
fn next_log(logs: &mut [Log]) -> Result<Option<&mut Log>, Failure> {
    let mut earliest: Option<(usize, Duration)> = None;
    for (at, log) in logs.iter_mut().enumerate() {
        if let Some(entry) = log.peek()?
            && earliest.is_none_or(|(_, start)| entry.start < start)
        {
            earliest = Some((at, entry.start));
        }
    }
    Ok(earliest.and_then(|(at, _)| logs.get_mut(at)))
}

/// Reads one log whole.
fn read_log(file: &OsStr, select: &SelectArgs) -> Result<Report, Failure> {
    let mut log = Log::open(file, select)?;
    let mut report = Report::default();
    while let Some((entry, offset)) = log.take()? {
        report
            .add(&entry.tag, entry.unit, offset, entry.length, &entry.values)
            .map_err(|error| log.too_many(error))?;
    }
    check_not_empty(&report, std::slice::from_ref(&log), select)?;
    Ok(report)
}

/// The intervals of all logs, on their way into one.
struct Merged {
    file: NewFile,
    /// When the first of them began, from which the times of the others count.
    start: Option<Duration>,
    /// The tags of counts that the log has been told of.
    counts: BTreeSet<String>,
}

impl Merged {
    fn add(&mut self, entry: &Entry) -> Result<(), Failure> {
        let start = if let Some(start) = self.start {
            start
        } else {
            let header = hlog::header(env!("CARGO_PKG_VERSION"), entry.start, &[]);
            self.file.write(header.as_bytes())?;
            *self.start.insert(entry.start)
        };
        if entry.unit == Unit::Count && self.counts.insert(entry.tag.clone()) {
            self.file.write(hlog::unit_comment(&entry.tag).as_bytes())?;
        }
        let offset = entry.start.saturating_sub(start);
        self.file.write(hlog::line(&entry.tag, offset, entry.length, &entry.values).as_bytes())
    }
}

/// Prints the figures of every tag.
fn print(report: &Report, ui: &mut Ui) {
    let heads = ["tag", "count", "p50", "p90", "p99", "p99.9", "max"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for series in report.series() {
        ui.record(|| json::metric(series));
        let figures = series.total.quantiles();
        let mut row = vec![shown_tag(&series.tag), figures.count.to_string()];
        let values = [figures.p50, figures.p90, figures.p99, figures.p999, figures.max];
        row.extend(values.map(|value| match figures.count {
            0 => "-".to_owned(),
            _ => human(value, series.unit),
        }));
        rows.push(row);
    }
    ui.result(&aligned(&rows));
}

/// Returns rows as lines of columns: the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width =
        |at: usize| rows.iter().filter_map(move |row| row.get(at)).map(|c| c.chars().count());
    let widths: Vec<usize> = (0..).map_while(|at| width(at).max()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn shown_tag(tag: &str) -> String {
    if tag.is_empty() { "(no tag)".to_owned() } else { Escaped(tag).to_string() }
}

/// Returns the percentile table of the only tag there is.
fn hgrm_of(report: &Report) -> Result<String, Failure> {
    match report.series() {
        [series] => Ok(hgrm::table(&series.total, series.unit)),
        several => {
            let tags = named(several.iter().map(|series| series.tag.as_str()));
            let message = format!("--hgrm is about one tag, and there are several: {tags}");
            let failure = Failure::new(Exit::Usage, "several_tags", message);
            Err(failure.hint("choose one with --tag"))
        }
    }
}

/// Names tags in a sentence.
fn named<'a>(tags: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = tags.take(MAX_NAMED + 1).map(shown_tag).collect();
    if names.len() > MAX_NAMED {
        names.truncate(MAX_NAMED);
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// Returns what a page about these files is called.
fn title(files: &[OsString]) -> String {
    match files {
        [file] => PathBuf::from(file).to_string_lossy().into_owned(),
        files => format!("{} interval logs", files.len()),
    }
}

/// Refuses to print nothing: nobody wants that.
fn check_not_empty(report: &Report, logs: &[Log], select: &SelectArgs) -> Result<(), Failure> {
    if !report.series().is_empty() {
        return Ok(());
    }
    let names: Vec<String> = logs.iter().map(|log| format!("'{}'", log.name)).collect();
    let names = names.join(", ");
    let mut others: Vec<&str> = Vec::new();
    for tag in logs.iter().flat_map(|log| &log.other_tags) {
        if !others.contains(&tag.as_str()) {
            others.push(tag);
        }
    }
    let message = if others.is_empty() {
        format!("no intervals in {names}")
    } else {
        let wanted = named(select.tags.iter().map(String::as_str));
        format!(
            "no interval in {names} has the tag {wanted}; there are: {}",
            named(others.into_iter())
        )
    };
    Err(Failure::new(Exit::Input, "no_intervals", message))
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Input, "cannot_read", format!("cannot read '{name}': {error}"))
}

fn bad_log(name: &str, error: &LogError) -> Failure {
    match &error.cause {
        LogErrorCause::Io(error) => cannot_read(name, error),
        _ => Failure::new(Exit::Input, "bad_log", format!("bad interval log '{name}', {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(count: u64, all: u64) -> Quantiles {
        let (min, mean) = (all, float(all));
        Quantiles { count, min, mean, p50: all, p90: all, p99: all, p999: all, max: all }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "b"], ["longer", "1"], ["x", "100µs"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "a           b\nlonger      1\nx       100µs");
    }

    #[test]
    fn ratios_are_told_where_there_are_values_to_tell_them_from() {
        let told = |a, b| ratios(a, b).map(|(_, ratio)| ratio);
        let many = Some(figures(1_000, 100));
        assert_eq!(told(many, Some(figures(1_000, 150))), [Some(1.5); 6]);
        let few = told(many, Some(figures(99, 50)));
        assert_eq!(few, [Some(0.5), Some(0.5), Some(0.5), None, None, Some(0.5)]);
        assert_eq!(told(many, Some(figures(0, 0))), [None; 6]);
        assert_eq!(told(Some(figures(1_000, 0)), many), [None; 6]);
        assert_eq!(told(None, many), [None; 6]);
    }

    #[test]
    fn names_in_messages_are_few_and_safe() {
        assert_eq!(named(["", "a\x1b"].into_iter()), "(no tag), a\\x1b");
        let many: Vec<String> = (0..50).map(|at| at.to_string()).collect();
        assert!(named(many.iter().map(String::as_str)).ends_with("18, 19, …"));
    }
}
