//! Tables of figures: a row a case, a column a figure.

use std::fmt;

use serde_json::{Map, Number, Value};

/// A table whose rows are told apart by words and tell numbers.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    labels: &'static [&'static str],
    figures: &'static [&'static str],
    rows: Vec<(Vec<String>, Vec<f64>)>,
}

impl Grid {
    /// Returns a table without rows. The names of its columns are keys in JSON: units last, in
    /// `snake_case`.
    pub(crate) const fn new(
        labels: &'static [&'static str],
        figures: &'static [&'static str],
    ) -> Self {
        Self { labels, figures, rows: Vec::new() }
    }

    /// Adds a case: a word for each label, a number for each figure.
    ///
    /// Panics if they are more or fewer: a bug of the caller.
    pub(crate) fn row(&mut self, labels: Vec<String>, figures: Vec<f64>) {
        let expected = (self.labels.len(), self.figures.len());
        assert_eq!((labels.len(), figures.len()), expected, "the columns of the table");
        self.rows.push((labels, figures));
    }

    /// Returns its rows as the JSON field `rows`.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let row = |(labels, figures): &(Vec<String>, Vec<f64>)| {
            let labels = labels.iter().map(|label| Value::from(label.as_str()));
            let figures = figures.iter().map(|figure| number(*figure));
            let keys = self.labels.iter().chain(self.figures).map(|key| (*key).to_owned());
            Value::Object(keys.zip(labels.chain(figures)).collect())
        };
        let rows: Value = self.rows.iter().map(row).collect();
        std::iter::once(("rows".to_owned(), rows)).collect()
    }
}

/// Words to the left, numbers to the right.
impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.labels.iter().chain(self.figures).map(|key| key.replace('_', " "));
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        for (labels, figures) in &self.rows {
            let figures = figures.iter().map(|figure| Short(*figure).to_string());
            lines.push(labels.iter().cloned().chain(figures).collect());
        }
        aligned(&lines, self.labels.len(), f)
    }
}

/// Writes cells in columns, the first `left` of them aligned to the left.
pub(crate) fn aligned(
    lines: &[Vec<String>],
    left: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let (gap, width) = (if column == 0 { "" } else { "  " }, width(column));
            if column < left {
                write!(f, "{gap}{cell:<width$}")?;
            } else {
                write!(f, "{gap}{cell:>width$}")?;
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

/// A number with three digits that tell something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short(pub(crate) f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            size if size >= 99.95 => 0,
            size if size >= 9.995 => 1,
            size if size >= 0.9995 => 2,
            _ => 3,
        };
        write!(f, "{:.digits$}", self.0)
    }
}

/// Rounds to nine digits after the point: times in seconds are told in nanoseconds.
pub(crate) fn number(value: f64) -> Value {
    Number::from_f64((value * 1e9).round() / 1e9).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_in_columns_and_in_json_under_their_names() {
        let mut grid = Grid::new(&["threads", "piece"], &["gib_per_s"]);
        grid.row(vec!["1".to_owned(), "16 KiB".to_owned()], vec![1.5]);
        grid.row(vec!["12".to_owned(), "1 MiB".to_owned()], vec![12.345_678_9]);
        let expected = "\
threads  piece   gib per s
1        16 KiB       1.50
12       1 MiB        12.3
";
        assert_eq!(grid.to_string(), expected);
        let fields = grid.fields();
        assert_eq!(fields["rows"][0]["piece"], "16 KiB");
        assert_eq!(fields["rows"][1]["gib_per_s"], 12.345_678_9);
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (value, shown) in [
            (0.0, "0.000"),
            (0.99949, "0.999"),
            (0.9996, "1.00"),
            (9.996, "10.0"),
            (99.96, "100"),
            (12_345.6, "12346"),
            (-2.5, "-2.50"),
        ] {
            assert_eq!(Short(value).to_string(), shown);
        }
    }
}
