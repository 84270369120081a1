//! The results of a run as values: what was asked for, what came of it, each figure with its unit.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use swarmloop::stats::Histogram;

use crate::grid::{Short, number};

/// What a subcommand found out.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The subcommand.
    pub(crate) bench: &'static str,
    settings: Vec<Row>,
    results: Vec<Row>,
    /// What went wrong how often.
    errors: Vec<(&'static str, u64)>,
    /// What is more than figures: as it is printed, and fields of the JSON.
    tables: Vec<(String, Map<String, Value>)>,
    /// Why the workload was not carried out as asked for, though there are results; safe to print.
    pub(crate) failure: Option<String>,
}

/// A named figure. The key is in `snake_case` without a unit, which [`Figure`] adds.
type Row = (&'static str, Figure);

/// A value with its unit.
#[derive(Clone, Debug)]
pub(crate) enum Figure {
    /// Words.
    Text(String),
    /// A plain number.
    Count(u64),
    /// Bytes of payload, memory or a file.
    Bytes(u64),
    /// A span of time.
    Time(Duration),
    /// Bytes a second.
    Throughput(f64),
    /// A number that says its unit in its key, or has none.
    Number(f64),
    /// Events a second.
    PerSecond(f64),
    /// Bytes that each of many things has.
    BytesEach(f64),
    /// A share of a hundred.
    Percent(f64),
    /// Seconds of processor time for each GiB.
    CpuPerGib(f64),
    /// How long something took each time, in nanoseconds.
    Latency(Box<Histogram>),
}

impl Report {
    /// Returns the empty report of a subcommand.
    pub(crate) const fn new(bench: &'static str) -> Self {
        Self {
            bench,
            settings: Vec::new(),
            results: Vec::new(),
            errors: Vec::new(),
            tables: Vec::new(),
            failure: None,
        }
    }

    /// Adds something that was asked for.
    pub(crate) fn setting(&mut self, key: &'static str, figure: Figure) {
        self.settings.push((key, figure));
    }

    /// Adds something that was found out.
    pub(crate) fn result(&mut self, key: &'static str, figure: Figure) {
        self.results.push((key, figure));
    }

    /// Adds how often something went wrong.
    pub(crate) fn error(&mut self, cause: &'static str, count: u64) {
        if count > 0 {
            self.errors.push((cause, count));
        }
    }

    /// Adds a table: the text that is printed, and the fields that the JSON has of it.
    pub(crate) fn table(&mut self, text: String, fields: Map<String, Value>) {
        self.tables.push((text, fields));
    }

    /// Returns settings, results and errors as JSON objects, keys with their units, and the tables.
    pub(crate) fn to_json(&self) -> Value {
        let errors = self.errors.iter().map(|&(cause, count)| (cause.to_owned(), count.into()));
        let mut report = Map::new();
        report.insert("settings".to_owned(), object(&self.settings));
        report.insert("results".to_owned(), object(&self.results));
        report.insert("errors".to_owned(), Value::Object(errors.collect()));
        report.extend(self.tables.iter().flat_map(|(_, fields)| fields.clone()));
        Value::Object(report)
    }
}

/// Two columns, settings first.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.bench)?;
        for (key, figure) in self.settings.iter().chain(&self.results) {
            writeln!(f, "  {:<24} {figure}", key.replace('_', " "))?;
        }
        for (cause, count) in &self.errors {
            writeln!(f, "  {:<24} {count}", format!("errors: {}", cause.replace('_', " ")))?;
        }
        for (text, _) in &self.tables {
            write!(f, "\n{text}")?;
        }
        Ok(())
    }
}

fn object(rows: &[Row]) -> Value {
    let mut object = Map::new();
    for (key, figure) in rows {
        match figure {
            Figure::Latency(histogram) => object.extend(distribution(key, histogram)),
            _ => {
                object.insert(format!("{key}{}", figure.suffix()), figure.to_json());
            }
        }
    }
    Value::Object(object)
}

/// The shares of all values that are told of a distribution.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

impl Figure {
    /// Returns a number of things in memory.
    pub(crate) fn count(n: usize) -> Self {
        Self::Count(u64::try_from(n).unwrap_or(u64::MAX))
    }

    /// Returns what a GiB of `bytes`, which are not none, cost.
    pub(crate) fn per_gib(cpu: Duration, bytes: u64) -> Self {
        Self::CpuPerGib(cpu.as_secs_f64() / gib(float(bytes)))
    }

    /// Returns what JSON keys end with.
    const fn suffix(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Count(_) | Self::Number(_) | Self::Latency(_) => "",
            Self::Bytes(_) | Self::BytesEach(_) => "_bytes",
            Self::Time(_) => "_s",
            Self::Throughput(_) => "_gib_per_s",
            Self::PerSecond(_) => "_per_s",
            Self::CpuPerGib(_) => "_s_per_gib",
            Self::Percent(_) => "_percent",
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Count(n) | Self::Bytes(n) => Value::from(*n),
            Self::Time(time) => number(time.as_secs_f64()),
            Self::Throughput(bytes_per_s) => number(gib(*bytes_per_s)),
            Self::Number(value)
            | Self::PerSecond(value)
            | Self::CpuPerGib(value)
            | Self::BytesEach(value)
            | Self::Percent(value) => number(*value),
            Self::Latency(histogram) => seconds(histogram.max()),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Count(n) => write!(f, "{n}"),
            Self::Bytes(n) => bytes(*n, f),
            Self::Time(time) => write!(f, "{:.3} s", time.as_secs_f64()),
            Self::Throughput(bytes_per_s) => write!(f, "{:.3} GiB/s", gib(*bytes_per_s)),
            Self::Number(value) => write!(f, "{}", Short(*value)),
            Self::PerSecond(value) => write!(f, "{value:.0} /s"),
            Self::BytesEach(value) => write!(f, "{value:.0} B"),
            Self::Percent(value) => write!(f, "{value:.3} %"),
            Self::CpuPerGib(value) => write!(f, "{value:.3} s/GiB"),
            Self::Latency(histogram) => {
                let at =
                    |(name, quantile)| format!("{name} {}", micros(histogram.value_at(quantile)));
                let shares: Vec<String> = QUANTILES.into_iter().map(at).collect();
                write!(f, "{} max {} us", shares.join(" "), micros(histogram.max()))
            }
        }
    }
}

/// Returns a number of bytes, events or nanoseconds as a float.
#[expect(clippy::cast_precision_loss, reason = "figures are read to a few digits")]
pub(crate) const fn float(n: u64) -> f64 {
    n as f64
}

/// Returns how much `amount` is a second, 0 if no time has passed.
pub(crate) fn per_second(amount: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { float(amount) / time.as_secs_f64() }
}

fn gib(bytes: f64) -> f64 {
    bytes / float(1 << 30)
}

/// Returns what JSON has of a distribution, a key each.
fn distribution(key: &str, histogram: &Histogram) -> Vec<(String, Value)> {
    let quantiles = QUANTILES.into_iter().map(|(name, quantile)| {
        let name = name.replace('.', "");
        (format!("{key}_{name}_s"), seconds(histogram.value_at(quantile)))
    });
    let mut rows: Vec<_> = quantiles.collect();
    rows.push((format!("{key}_max_s"), seconds(histogram.max())));
    rows.push((format!("{key}_mean_s"), number(histogram.mean() / 1e9)));
    rows.push((format!("{key}_count"), histogram.count().into()));
    rows
}

/// Returns nanoseconds as seconds.
fn seconds(ns: u64) -> Value {
    number(float(ns) / 1e9)
}

/// Shows nanoseconds as microseconds with three digits.
fn micros(ns: u64) -> String {
    let us = float(ns) / 1e3;
    if us < 10.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}

fn bytes(n: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match n {
        0..=9_999 => write!(f, "{n} B"),
        10_000..=9_999_999 => write!(f, "{:.1} KiB", float(n) / float(1 << 10)),
        _ => write!(f, "{:.1} MiB", float(n) / float(1 << 20)),
    }
}
