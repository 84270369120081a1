//! Interval logs, format 1.3 of `HdrHistogram`'s `HistogramLogWriter`: one line for each tag and
//! interval.
//!
//! ```text
//! #[Histogram log format version 1.3]
//! #[StartTime: 1763740800.123 (seconds since epoch), 2025-11-21T16:00:00.123Z]
//! #[BaseTime: 1763740800.123 (seconds since epoch)]
//! #[MaxValueDivisor: 1000000.0]
//! "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
//! Tag=request_to_block,0.000,1.000,5.767,HISTFAAAA…
//! ```
//!
//! Times are seconds, from the base on. `Interval_Max` is for people: the largest value divided by
//! the divisor, so milliseconds where values are nanoseconds; readers take it from the histogram.
//! Ours adds a comment for each tag whose values are no nanoseconds: `#[Unit: events_per_turn
//! count]`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

use super::codec::{self, CodecError};
use super::{Distribution, float};
use crate::stats::{Metric, Unit};
use crate::time::Duration;

/// What the largest value of an interval is divided by for the people who read the log: from
/// nanoseconds to milliseconds, as Java's writer does.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// The most bytes of a line: a histogram of five digits over the whole range with a value in every
/// counter has some 8 MB in base64 if it does not compress at all.
const MAX_LINE_LEN: u64 = 16 << 20;

/// The most bytes of a tag.
const MAX_TAG_LEN: usize = 256;

/// The most `Unit` comments that are heeded.
const MAX_UNITS: usize = super::series::MAX_TAGS;

/// If the start is this much later than an interval, the interval's time counts from the start:
/// what Java's reader takes as the sign of it, because logs say it in no other way.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Returns the lines that a log begins with. `start` is since the epoch; times of the log's
/// intervals count from it. `counts` are tags whose values are plain counts.
pub fn header(version: &str, start: Duration, counts: &[&str]) -> String {
    let seconds = start.as_secs_f64();
    let mut text = format!(
        "#[Logged with swarmloop {version}]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {seconds:.3} (seconds since epoch)]\n\
         #[BaseTime: {seconds:.3} (seconds since epoch)]\n\
         #[MaxValueDivisor: {MAX_VALUE_DIVISOR:.1}]\n"
    );
    text.extend(counts.iter().map(|tag| unit_comment(tag)));
    text.push_str(LEGEND);
    text.push('\n');
    text
}

/// Returns the comment that says of a tag that its values are plain counts; it must come before the
/// tag's first line.
pub fn unit_comment(tag: &str) -> String {
    format!("#[Unit: {} count]\n", clean(tag))
}

/// The names of the columns.
const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"";

/// Returns the line for what `tag` had in an interval that began `start` after the log's and was
/// `length` long. An empty tag is none.
pub fn line(tag: &str, start: Duration, length: Duration, values: &Distribution) -> String {
    let tag = match clean(tag) {
        tag if tag.is_empty() => tag,
        tag => format!("Tag={tag},"),
    };
    format!(
        "{tag}{:.3},{:.3},{:.3},{}\n",
        start.as_secs_f64(),
        length.as_secs_f64(),
        float(values.max()) / MAX_VALUE_DIVISOR,
        codec::encode(values)
    )
}

/// Replaces what a tag cannot have: the format ends it with a comma and a line with its end.
fn clean(tag: &str) -> String {
    tag.replace(|c: char| c == ',' || c.is_whitespace() || c.is_control(), "_")
}

/// An interval of one tag.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Its name; foreign text, and empty if it has none.
    pub tag: String,
    /// What its values are.
    pub unit: Unit,
    /// When it began, since the epoch. A log that has no times of day counts from its own start.
    pub start: Duration,
    /// How long it was.
    pub length: Duration,
    /// What was counted.
    pub values: Distribution,
}

/// A log could not be read. Its `Display` names the line.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct LogError {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub cause: LogErrorCause,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogErrorCause {
    /// The file could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Longer than lines are.
    #[error("longer than {} MiB, which is no interval log", MAX_LINE_LEN >> 20)]
    Long,
    /// Not `[Tag=T,]start,length,max,histogram`.
    #[error("no line of an interval log, which are [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM")]
    Fields,
    /// A time that is no number of seconds.
    #[error("a time that is no number of seconds")]
    Time,
    /// A tag that nobody could read.
    #[error("a tag of more than {MAX_TAG_LEN} bytes")]
    Tag,
    /// The histogram.
    #[error(transparent)]
    Histogram(#[from] CodecError),
}

/// Reads a log line by line, and leniently: unknown comments, empty lines, a missing legend or
/// missing times do not matter. Holds one line at a time.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    start: Option<Duration>,
    base: Option<Duration>,
    counts: BTreeSet<String>,
}

impl<R: BufRead> LogReader<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        let counts = Metric::ALL.into_iter().filter(|metric| metric.unit() == Unit::Count);
        Self {
            input,
            line: 0,
            buffer: Vec::new(),
            start: None,
            base: None,
            counts: counts.map(|metric| metric.name().to_owned()).collect(),
        }
    }

    /// Returns the next interval, `None` at the end.
    ///
    /// # Errors
    /// The line is wrong or could not be read; what follows is not read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        self.try_next().map_err(|cause| LogError { line: self.line, cause })
    }

    fn try_next(&mut self) -> Result<Option<Entry>, LogErrorCause> {
        while self.read_line()? {
            let buffer = std::mem::take(&mut self.buffer);
            let entry = self.take_line(&buffer);
            self.buffer = buffer;
            if let Some(entry) = entry? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Reads the next line without its end into the buffer; returns false if there is none.
    fn read_line(&mut self) -> Result<bool, LogErrorCause> {
        self.line += 1;
        self.buffer.clear();
        let mut limited = self.input.by_ref().take(MAX_LINE_LEN + 1);
        let len = limited.read_until(b'\n', &mut self.buffer)?;
        if len as u64 > MAX_LINE_LEN {
            return Err(LogErrorCause::Long);
        }
        Ok(len > 0)
    }

    /// Takes a line in; returns the interval if it is one.
    fn take_line(&mut self, line: &[u8]) -> Result<Option<Entry>, LogErrorCause> {
        // Comments may be in any encoding.
        let line = line.trim_ascii();
        if let Some(comment) = line.strip_prefix(b"#") {
            self.take_comment(&String::from_utf8_lossy(comment));
            return Ok(None);
        }
        if line.is_empty() || line.starts_with(b"\"") {
            return Ok(None);
        }
        let line = str::from_utf8(line).map_err(|_| LogErrorCause::Fields)?;
        self.entry(line).map(Some)
    }

    /// Heeds `#[StartTime: …]`, `#[BaseTime: …]` and `#[Unit: …]`.
    fn take_comment(&mut self, comment: &str) {
        let field = |name: &str| {
            let value = comment.trim_start().strip_prefix('[')?.strip_prefix(name)?;
            value.trim_start().strip_prefix(':')?.split([']', '(']).next().map(str::trim)
        };
        if let Some(start) = field("StartTime").and_then(|text| seconds(text).ok()) {
            self.start = Some(start);
        } else if let Some(base) = field("BaseTime").and_then(|text| seconds(text).ok()) {
            self.base = Some(base);
        } else if let Some((tag, "count")) = field("Unit").and_then(|unit| unit.rsplit_once(' '))
            && self.counts.len() < MAX_UNITS
            && tag.len() <= MAX_TAG_LEN
        {
            self.counts.insert(tag.to_owned());
        }
    }

    fn entry(&mut self, line: &str) -> Result<Entry, LogErrorCause> {
        let (tag, rest) = match line.strip_prefix("Tag=") {
            Some(line) => line.split_once(',').ok_or(LogErrorCause::Fields)?,
            None => ("", line),
        };
        let fields: Vec<&str> = rest.splitn(5, ',').map(str::trim).collect();
        let [start, length, _max, values] = fields[..] else {
            return Err(LogErrorCause::Fields);
        };
        if tag.len() > MAX_TAG_LEN {
            return Err(LogErrorCause::Tag);
        }
        let (start, length) = (seconds(start)?, seconds(length)?);
        let unit = if self.counts.contains(tag) { Unit::Count } else { Unit::Nanoseconds };
        let base = self.base(start);
        Ok(Entry {
            tag: tag.to_owned(),
            unit,
            start: base.saturating_add(start),
            length,
            values: codec::decode(values)?,
        })
    }

    /// Returns what times count from. Without a base, the first interval tells: one that began long
    /// before the start is not counted from the epoch.
    fn base(&mut self, first: Duration) -> Duration {
        *self.base.get_or_insert_with(|| match self.start {
            Some(start) if first < start.saturating_sub(A_YEAR) => start,
            _ => Duration::ZERO,
        })
    }
}

fn seconds(text: &str) -> Result<Duration, LogErrorCause> {
    // Some locales of Java's write a comma; that line has too many fields and never comes here.
    let seconds: f64 = text.parse().map_err(|_| LogErrorCause::Time)?;
    let exact = Duration::try_from_secs_f64(seconds).map_err(|_| LogErrorCause::Time)?;
    // A float of this size is no more exact, so that 0.123 is not 0.122999907.
    let micros = exact.saturating_add(Duration::from_nanos(500)).as_micros();
    u64::try_from(micros).map(Duration::from_micros).map_err(|_| LogErrorCause::Time)
}

#[cfg(test)]
mod tests {
    use super::super::distribution::tests::of;
    use super::*;

    const START: Duration = Duration::from_millis(1_763_740_800_123);

    fn read(log: &str) -> Result<Vec<Entry>, LogError> {
        let mut reader = LogReader::new(log.as_bytes());
        std::iter::from_fn(|| reader.next_entry().transpose()).collect()
    }

    fn refused(log: &str) -> String {
        match read(log) {
            Err(error) => error.to_string(),
            Ok(entries) => panic!("{log:?} is read as {entries:?}"),
        }
    }

    /// The last field of a line.
    fn encoded(values: &[u64]) -> String {
        codec::encode(&of(2, values))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let second = Duration::from_secs(1);
        let (first, then) = (of(2, &[5_000_000, 17]), of(2, &[3]));
        let log = header("0.1.0", START, &["blocks"])
            + &line("request_to_block", Duration::ZERO, second, &first)
            + &line("blocks", second, second, &then)
            + &line("", second, second, &then);
        let [a, b, c] = &read(&log).unwrap()[..] else { panic!("three entries") };
        assert_eq!((a.tag.as_str(), a.unit), ("request_to_block", Unit::Nanoseconds));
        assert_eq!((a.start, a.length), (START, second));
        assert!(a.values.recorded().eq(first.recorded()));
        assert_eq!((b.tag.as_str(), b.unit, b.start), ("blocks", Unit::Count, START + second));
        assert_eq!((c.tag.as_str(), c.unit), ("", Unit::Nanoseconds));
    }

    #[test]
    fn a_header_has_what_other_readers_look_for() {
        let header = header("0.1.0", START, &["events_per_turn"]);
        assert_eq!(
            header,
            "#[Logged with swarmloop 0.1.0]\n\
             #[Histogram log format version 1.3]\n\
             #[StartTime: 1763740800.123 (seconds since epoch)]\n\
             #[BaseTime: 1763740800.123 (seconds since epoch)]\n\
             #[MaxValueDivisor: 1000000.0]\n\
             #[Unit: events_per_turn count]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
             \"Interval_Compressed_Histogram\"\n"
        );
        let line = line("a b,c\n", Duration::ZERO, Duration::from_millis(1_500), &of(3, &[5_000]));
        assert!(line.starts_with("Tag=a_b_c_,0.000,1.500,0.005,HISTFAAAA"), "{line}");
    }

    #[test]
    fn foreign_logs_are_read_whatever_they_say_around_it() {
        let h = encoded(&[1]);
        for (log, start_s) in [
            // Nothing but a line, with an end or without; with carriage returns.
            (format!("1500000000.5,1.0,2.0,{h}"), 1_500_000_000.5),
            (format!("1500000000.5,1.0,2.0,{h}\r\n"), 1_500_000_000.5),
            // Java: no base, times from the start or from the epoch.
            (
                format!("#[StartTime: 1500000000.0 (seconds since epoch), Fri]\n2,1,2,{h}"),
                15e8 + 2.0,
            ),
            (format!("#[StartTime: 1500000000.0 (seconds)]\n1500000003,1,2,{h}"), 15e8 + 3.0),
            (format!("#[BaseTime: 1500000000.0 (seconds)]\n#\n\n4,1,2,{h}\n\n"), 15e8 + 4.0),
            (
                format!("#[Histogram log format version 1.2]\n\"StartTimestamp\"\n 5 , 1 ,2,{h}"),
                5.0,
            ),
            // Later lines count as the first did.
            (format!("#[StartTime: bad]\nTag=a b,0.5,1,2,{h}"), 0.5),
        ] {
            let entries = read(&log).unwrap();
            let [entry] = &entries[..] else { panic!("{log}") };
            assert_eq!(entry.start, Duration::from_secs_f64(start_s), "{log}");
            assert_eq!((entry.values.count(), entry.values.max()), (1, 1));
        }
        let latin = [b"#caf\xe9\n", format!("1,1,1,{h}").as_bytes()].concat();
        assert!(LogReader::new(&latin[..]).next_entry().unwrap().is_some());
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn the_metrics_units_are_known_without_a_comment() {
        let entries = read(&format!("Tag=events_per_turn,0,1,1,{}", encoded(&[7]))).unwrap();
        assert_eq!(entries[0].unit, Unit::Count);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let h = encoded(&[1]);
        let fields = "no line of an interval log, which are [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM";
        let time = "a time that is no number of seconds";
        for (line, cause) in [
            ("hello".to_owned(), fields),
            ("1,2,3".to_owned(), fields),
            (format!("1,0,2,0,3,0,{h}"), fields),
            ("Tag=x".to_owned(), fields),
            (format!("one,1,1,{h}"), time),
            (format!("-1,1,1,{h}"), time),
            (format!("NaN,1,1,{h}"), time),
            (format!("1e300,1,1,{h}"), time),
            (format!("1,inf,1,{h}"), time),
            ("1,1,1,HISTFAAA".to_owned(), "the histogram's length is not what it says"),
            ("1,1,1,?".to_owned(), "the histogram is not base64"),
            (format!("Tag={},1,1,1,{h}", "x".repeat(257)), "a tag of more than 256 bytes"),
        ] {
            assert_eq!(refused(&format!("#\n{line}\n")), format!("line 2: {cause}"), "{line}");
        }
        let binary = b"\xff\xfe\0\0".repeat(100);
        let error = LogReader::new(&binary[..]).next_entry().unwrap_err();
        assert_eq!(error.to_string(), format!("line 1: {fields}"));
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let endless = io::repeat(b'x');
        let error = LogReader::new(io::BufReader::new(endless)).next_entry().unwrap_err();
        assert_eq!(error.to_string(), "line 1: longer than 16 MiB, which is no interval log");
    }
}
