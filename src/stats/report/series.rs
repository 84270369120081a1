//! A report: every tag's whole distribution, and how it changed over time.

use std::collections::BTreeMap;

use super::distribution::{Distribution, TooMany};
use crate::stats::Unit;
use crate::time::Duration;

/// The most tags of a report; more is no profile but garbage.
pub(super) const MAX_TAGS: usize = 1_024;

/// The most counters of all whole distributions together: 256 MiB.
pub(super) const MAX_COUNTERS: usize = 1 << 25;

/// The most columns of a report: more than a screen has room for. Beyond it, two become one.
const MAX_COLUMNS: usize = 512;

/// The most cells in all columns together: some 40 MB. Beyond it, two columns become one.
const MAX_CELLS: usize = 1 << 20;

/// How wide columns are at first, if the first interval does not say.
const COLUMN_WIDTH: Duration = Duration::from_secs(1);

/// Distributions by tag.
#[derive(Debug, Default)]
pub struct Report {
    series: Vec<Series>,
    /// Zero until the first interval says.
    width: Duration,
    /// Cells in all columns of all series.
    cells: usize,
}

/// What a report knows of one tag.
#[derive(Debug)]
pub struct Series {
    /// Its name; foreign text, and empty if it has none.
    pub tag: String,
    /// What its values are.
    pub unit: Unit,
    /// Everything that was counted.
    pub total: Distribution,
    /// What was counted when: column 0 is the start, each is as wide as the report says.
    pub columns: Vec<Column>,
}

/// What one tag had in a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// How much time its intervals cover.
    pub covered: Duration,
    /// How many values were counted.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The median; of several intervals, the largest.
    pub p50: u64,
    /// The 99th percentile; of several intervals, the largest.
    pub p99: u64,
    /// The largest value.
    pub max: u64,
    /// How many values there are in each row: of 9 % each from 8 on, of one value each below.
    pub rows: BTreeMap<u16, u64>,
}

impl Report {
    /// Counts what `tag` had in an interval that began `start` after the beginning and was `length`
    /// long. The tag's unit is that of its first interval.
    ///
    /// # Errors
    /// A limit is passed, and [`TooMany`] says which: the report is of no use any more.
    pub fn add(
        &mut self,
        tag: &str,
        unit: Unit,
        start: Duration,
        length: Duration,
        values: &Distribution,
    ) -> Result<(), TooMany> {
        let at = match self.series.iter().position(|series| series.tag == tag) {
            Some(at) => {
                self.series[at].total.merge(values)?;
                at
            }
            None if self.series.len() == MAX_TAGS => return Err(TooMany::Tags),
            None => {
                let (tag, total) = (tag.to_owned(), values.clone());
                self.series.push(Series { tag, unit, total, columns: Vec::new() });
                self.series.len() - 1
            }
        };
        let counters: usize = self.series.iter().map(|series| series.total.counters()).sum();
        if counters > MAX_COUNTERS {
            return Err(TooMany::Counters);
        }
        if self.width.is_zero() {
            self.width = if length.is_zero() { COLUMN_WIDTH } else { length };
        }
        let mut column = column_of(start, self.width);
        while column >= MAX_COLUMNS {
            self.halve();
            column = column_of(start, self.width);
        }
        self.cells += self.series[at].add(column, &Column::new(length, values));
        while self.cells > MAX_CELLS {
            self.halve();
        }
        Ok(())
    }

    /// Returns the tags in the order in which they first came.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// Returns how much time a column stands for.
    pub const fn column_width(&self) -> Duration {
        self.width
    }

    /// Makes columns twice as wide.
    fn halve(&mut self) {
        self.width = self.width.saturating_mul(2);
        self.series.iter_mut().for_each(Series::halve);
        let columns = self.series.iter().flat_map(|series| &series.columns);
        self.cells = columns.map(|column| column.rows.len()).sum();
    }
}

impl Series {
    /// Returns how many cells there are more than before.
    fn add(&mut self, at: usize, column: &Column) -> usize {
        if self.columns.len() <= at {
            self.columns.resize(at + 1, Column::default());
        }
        let before = self.columns[at].rows.len();
        self.columns[at].add(column);
        self.columns[at].rows.len() - before
    }

    fn halve(&mut self) {
        for (at, column) in std::mem::take(&mut self.columns).into_iter().enumerate() {
            // As [`column_of`] rounds: to the nearest.
            self.add(at.div_ceil(2), &column);
        }
    }
}

impl Column {
    fn new(covered: Duration, values: &Distribution) -> Self {
        let mut rows = BTreeMap::new();
        for (value, count) in values.recorded() {
            *rows.entry(row_of(value)).or_default() += count;
        }
        Self {
            covered,
            count: values.count(),
            sum: values.sum(),
            p50: values.value_at(0.5),
            p99: values.value_at(0.99),
            max: values.max(),
            rows,
        }
    }

    fn add(&mut self, other: &Self) {
        self.covered = self.covered.saturating_add(other.covered);
        // Both are parts of a distribution, which has a limit.
        self.count += other.count;
        self.sum += other.sum;
        self.p50 = self.p50.max(other.p50);
        self.p99 = self.p99.max(other.p99);
        self.max = self.max.max(other.max);
        for (row, count) in &other.rows {
            *self.rows.entry(*row).or_default() += count;
        }
    }
}

/// Returns the column for an interval that began `start` after the beginning: the nearest, so that
/// intervals a little early or late have one each all the same.
fn column_of(start: Duration, width: Duration) -> usize {
    let half = width.as_nanos() / 2;
    let column = start.as_nanos().saturating_add(half) / width.as_nanos().max(1);
    usize::try_from(column).unwrap_or(usize::MAX)
}

/// Rows of a column in which the values double: each is about 9 % higher than the one below.
const ROWS_PER_OCTAVE: u16 = 8;

/// Returns the row of a value: the value itself below 8, then eight for each power of two.
fn row_of(value: u64) -> u16 {
    let octave = value.max(8).ilog2() - 3;
    let within = u16::try_from(value >> octave).expect("at most four bits") % ROWS_PER_OCTAVE;
    let octave = u16::try_from(octave).expect("at most 60");
    if value < 8 { within } else { (octave + 1) * ROWS_PER_OCTAVE + within }
}

/// Returns the lowest value of a row; one too high for the last row's end.
pub(super) fn row_start(row: u16) -> u64 {
    let within = u64::from(row % ROWS_PER_OCTAVE);
    match row / ROWS_PER_OCTAVE {
        0 => within,
        octave => (8 + within).checked_shl(u32::from(octave) - 1).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::super::distribution::tests::of;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn columns(report: &Report) -> Vec<u64> {
        report.series()[0].columns.iter().map(|column| column.count).collect()
    }

    #[test]
    fn rows_begin_where_they_say_and_rise() {
        for value in (0..4_096).chain((3..64).map(|bit| 1 << bit)).chain([u64::MAX]) {
            let row = row_of(value);
            assert!(row_start(row) <= value, "{value} is in row {row}");
            let next = row_start(row + 1);
            assert!(next > value || value == u64::MAX, "{value} is in row {row}");
        }
        assert!((0..=row_of(u64::MAX)).all(|row| row_of(row_start(row)) == row));
    }

    #[test]
    fn tags_add_up_and_time_has_columns() {
        let mut report = Report::default();
        for second in 0..3 {
            let start = SECOND * second;
            report.add("a", Unit::Nanoseconds, start, SECOND, &of(2, &[5, 90])).unwrap();
            report.add("b", Unit::Count, start, SECOND, &of(2, &[1])).unwrap();
        }
        let [a, b] = report.series() else { panic!("two tags") };
        assert_eq!((a.total.count(), b.total.count()), (6, 3));
        assert_eq!((a.unit, b.unit), (Unit::Nanoseconds, Unit::Count));
        let column = &a.columns[1];
        assert_eq!((column.count, column.p50, column.max), (2, 5, 90));
        assert_eq!(column.covered, SECOND);
        assert!((column.sum - 95.0).abs() < 1.0);
        assert_eq!(column.rows.len(), 2);
    }

    #[test]
    fn an_interval_that_is_a_little_late_has_a_column_of_its_own() {
        let mut report = Report::default();
        for start_ms in [0, 998, 2_003, 2_900, 4_100] {
            let start = Duration::from_millis(start_ms);
            report.add("", Unit::Count, start, SECOND, &of(2, &[1])).unwrap();
        }
        assert_eq!(columns(&report), [1; 5]);
    }

    #[test]
    fn a_long_run_gets_wider_columns_and_loses_nothing() {
        let mut report = Report::default();
        let seconds = u32::try_from(MAX_COLUMNS).unwrap() * 5;
        for second in 0..seconds {
            let value = u64::from(second);
            report.add("", Unit::Count, SECOND * second, SECOND, &of(2, &[value])).unwrap();
        }
        let columns = &report.series()[0].columns;
        assert!(columns.len() > MAX_COLUMNS / 2 && columns.len() <= MAX_COLUMNS);
        assert_eq!(columns.iter().map(|column| column.count).sum::<u64>(), u64::from(seconds));
        let covered: Duration = columns.iter().map(|column| column.covered).sum();
        assert_eq!(covered, SECOND * seconds);
        assert_eq!(report.column_width(), SECOND * 8);
    }

    #[test]
    fn times_from_garbage_find_a_column() {
        let mut report = Report::default();
        for (start, length) in [(Duration::ZERO, Duration::ZERO), (Duration::MAX, Duration::MAX)] {
            report.add("", Unit::Count, start, length, &of(2, &[1])).unwrap();
        }
        report.add("", Unit::Count, Duration::MAX, Duration::MAX, &of(2, &[1])).unwrap();
        assert_eq!(columns(&report).iter().sum::<u64>(), 3);
    }

    #[test]
    fn cells_are_bounded_too() {
        let mut report = Report::default();
        let everything: Vec<u64> = (0..row_of(u64::MAX)).map(row_start).collect();
        let values = of(1, &everything);
        for tag in 0..5 {
            for second in 0..500 {
                let tag = tag.to_string();
                report.add(&tag, Unit::Count, SECOND * second, SECOND, &values).unwrap();
            }
        }
        assert!(report.cells <= MAX_CELLS && report.column_width() > SECOND);
        let cells = report.series().iter().flat_map(|series| &series.columns);
        assert_eq!(report.cells, cells.map(|column| column.rows.len()).sum::<usize>());
    }

    #[test]
    fn tags_and_counters_have_limits() {
        let mut report = Report::default();
        let mut add = |tag: usize, values: &Distribution| {
            report.add(&tag.to_string(), Unit::Count, Duration::ZERO, SECOND, values)
        };
        for tag in 0..MAX_TAGS {
            add(tag, &of(1, &[1])).unwrap();
        }
        assert_eq!(add(MAX_TAGS, &of(1, &[1])), Err(TooMany::Tags));

        let large = of(5, &[u64::MAX]);
        let mut report = Report::default();
        let fit = MAX_COUNTERS / large.counters();
        report.series = (0..fit)
            .map(|tag| Series {
                tag: tag.to_string(),
                unit: Unit::Count,
                total: large.clone(),
                columns: Vec::new(),
            })
            .collect();
        let small = report.add("small", Unit::Count, Duration::ZERO, SECOND, &of(1, &[1]));
        assert_eq!(small, Ok(()));
        let one_more = report.add("large", Unit::Count, Duration::ZERO, SECOND, &large);
        assert_eq!(one_more, Err(TooMany::Counters));
    }
}
