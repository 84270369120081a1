//! The results of a run as values: what was asked for, what came of it, each figure with its unit.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Number, Value};

/// What a subcommand found out.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The subcommand.
    pub(crate) bench: &'static str,
    settings: Vec<Row>,
    results: Vec<Row>,
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
}

impl Report {
    /// Returns the empty report of a subcommand.
    pub(crate) const fn new(bench: &'static str) -> Self {
        Self { bench, settings: Vec::new(), results: Vec::new(), tables: Vec::new(), failure: None }
    }

    /// Adds something that was asked for.
    pub(crate) fn setting(&mut self, key: &'static str, figure: Figure) {
        self.settings.push((key, figure));
    }

    /// Adds something that was found out.
    pub(crate) fn result(&mut self, key: &'static str, figure: Figure) {
        self.results.push((key, figure));
    }

    /// Adds a table: the text that is printed, and the fields that the JSON has of it.
    pub(crate) fn table(&mut self, text: String, fields: Map<String, Value>) {
        self.tables.push((text, fields));
    }

    /// Returns settings and results as two JSON objects, keys with their units, and the tables.
    pub(crate) fn to_json(&self) -> Value {
        let (settings, results) = (object(&self.settings), object(&self.results));
        let mut report = Map::new();
        report.extend([("settings".to_owned(), settings), ("results".to_owned(), results)]);
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
        for (text, _) in &self.tables {
            write!(f, "\n{text}")?;
        }
        Ok(())
    }
}

fn object(rows: &[Row]) -> Value {
    let mut object = Map::new();
    for (key, figure) in rows {
        object.insert(format!("{key}{}", figure.suffix()), figure.to_json());
    }
    Value::Object(object)
}

impl Figure {
    /// Returns what JSON keys end with.
    const fn suffix(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Count(_) => "",
            Self::Bytes(_) => "_bytes",
            Self::Time(_) => "_s",
            Self::Throughput(_) => "_gib_per_s",
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Count(n) | Self::Bytes(n) => Value::from(*n),
            Self::Time(time) => number(time.as_secs_f64()),
            Self::Throughput(bytes_per_s) => number(gib(*bytes_per_s)),
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

/// Rounds to six digits after the point: what is beyond is noise.
fn number(value: f64) -> Value {
    Number::from_f64((value * 1e6).round() / 1e6).map_or(Value::Null, Value::Number)
}

fn bytes(n: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match n {
        0..=9_999 => write!(f, "{n} B"),
        10_000..=9_999_999 => write!(f, "{:.1} KiB", float(n) / float(1 << 10)),
        _ => write!(f, "{:.1} MiB", float(n) / float(1 << 20)),
    }
}
