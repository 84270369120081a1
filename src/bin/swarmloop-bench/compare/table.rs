//! From the numbers of all rounds to medians, ranges, ratios and, where the ranges allow it, a
//! winner; pure.
//!
//! Clients take turns, so a ratio is taken within a round, where the machine's mood was the same
//! for both, and only then over rounds. Whose range overlaps with that of another has not won.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::grid::{Short, aligned, number};

/// The fewest rounds that have a winner: of two, the ranges overlap by luck alone too seldom.
const MIN_ROUNDS: usize = 3;

/// Something that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Metric {
    /// Its name in JSON, unit last.
    pub(super) key: &'static str,
    /// The head of its column.
    pub(super) title: &'static str,
    /// Which values are good.
    pub(super) better: Better,
}

impl Metric {
    fn to_json(self) -> Value {
        let better = match self.better {
            Better::Higher => Some("higher"),
            Better::Lower => Some("lower"),
            Better::Neither => None,
        };
        json!({ "key": self.key, "title": self.title, "better": better })
    }
}

/// Which values of a metric are good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Better {
    /// High ones.
    Higher,
    /// Low ones.
    Lower,
    /// It is told, not judged.
    Neither,
}

/// All rounds of one client.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Row {
    /// Its name.
    pub(super) name: String,
    /// What it calls its version.
    pub(super) version: String,
    /// What it was started with; paths as file names.
    pub(super) command: String,
    /// For each round the values in the order of the metrics, or why the run is void.
    pub(super) rounds: Vec<Result<Vec<f64>, String>>,
}

/// What a comparison came to. The first row is the one that the others are held against.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Table {
    /// The columns.
    pub(super) metrics: &'static [Metric],
    /// The rows.
    pub(super) rows: Vec<Row>,
}

/// The middle and the ends of a few values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    /// The median; of an even number of values the mean of the middle two.
    pub(super) median: f64,
    /// The least.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Spread {
    /// Returns the spread of `values`, `None` of none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = &values[(values.len() - 1) / 2..=values.len() / 2];
        let median = f64::midpoint(middle[0], middle[middle.len() - 1]);
        Some(Self { median, min, max })
    }

    fn to_json(self) -> Value {
        json!({ "median": number(self.median), "min": number(self.min), "max": number(self.max) })
    }
}

/// `1.234 (1.100-1.300)`; a single value by itself.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        if min.total_cmp(max).is_eq() {
            return write!(f, "{}", Short(*median));
        }
        write!(f, "{} ({}-{})", Short(*median), Short(*min), Short(*max))
    }
}

impl Table {
    /// Returns the spread of a row's values of a metric over its valid rounds.
    pub(super) fn spread(&self, row: usize, metric: usize) -> Option<Spread> {
        Spread::of(self.rows[row].rounds.iter().flatten().map(|values| values[metric]))
    }

    /// Returns the spread of the ratios of the first row to another, round by round; `None` if
    /// there is no round in which both are valid and the other is not 0.
    pub(super) fn ratio(&self, row: usize, metric: usize) -> Option<Spread> {
        let rounds = self.rows[0].rounds.iter().zip(&self.rows[row].rounds);
        let both = rounds.filter_map(|(own, other)| {
            let (own, other) = (own.as_ref().ok()?[metric], other.as_ref().ok()?[metric]);
            (other > 0.0).then_some(own / other)
        });
        Spread::of(both)
    }

    /// Returns the row whose worst round is better than the best round of all others; `None` if
    /// there is none, or nobody to compare with, or too few rounds, or the metric is not judged.
    pub(super) fn winner(&self, metric: usize) -> Option<usize> {
        if !self.is_enough() {
            return None;
        }
        let beats = |one: Spread, other: Spread| match self.metrics[metric].better {
            Better::Higher => one.min > other.max,
            Better::Lower => one.max < other.min,
            Better::Neither => false,
        };
        let spreads = (0..self.rows.len()).map(|row| Some((row, self.spread(row, metric)?)));
        let spreads: Vec<(usize, Spread)> = spreads.flatten().collect();
        let won = |row: usize, own: Spread| {
            let mut others = spreads.iter().filter(|(other, _)| *other != row);
            spreads.len() > 1 && others.all(|&(_, other)| beats(own, other))
        };
        spreads.iter().find(|(row, own)| won(*row, *own)).map(|(row, _)| *row)
    }

    /// Tells whether there are enough rounds to judge by, none of them void. A client that cannot
    /// do it at all spoils nothing.
    fn is_enough(&self) -> bool {
        let mut able = self.rows.iter().filter(|row| row.rounds.iter().any(Result::is_ok));
        able.all(|row| row.rounds.len() >= MIN_ROUNDS && row.rounds.iter().all(Result::is_ok))
    }

    /// Returns everything: the metrics in their order, each round, medians and ranges, ratios a
    /// round, winners.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let clients: Vec<Value> = (0..self.rows.len()).map(|row| self.row_to_json(row)).collect();
        let judged = self.judged();
        let winner = |metric| self.winner(metric).map(|row| self.rows[row].name.as_str());
        let winner = |metric: usize| (self.metrics[metric].key.to_owned(), winner(metric).into());
        let winners: Map<String, Value> = judged.map(winner).collect();
        let metrics: Vec<Value> = self.metrics.iter().map(|metric| metric.to_json()).collect();
        let fields = [
            ("metrics", Value::from(metrics)),
            ("clients", Value::from(clients)),
            ("winners", Value::from(winners)),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn row_to_json(&self, row: usize) -> Value {
        let Row { name, version, command, rounds } = &self.rows[row];
        let keys = || self.metrics.iter().map(|metric| metric.key.to_owned());
        let round = |round: &Result<Vec<f64>, String>| match round {
            Ok(values) => keys().zip(values.iter().map(|value| number(*value))).collect(),
            Err(why) => json!({ "void": why }),
        };
        let spreads = |of: &dyn Fn(usize) -> Option<Spread>, metrics: &[usize]| {
            let spread = |&metric: &usize| Some((metric, of(metric)?));
            let spreads = metrics.iter().filter_map(spread);
            let named = |(metric, spread): (usize, Spread)| {
                (self.metrics[metric].key.to_owned(), spread.to_json())
            };
            spreads.map(named).collect::<Map<String, Value>>()
        };
        let all: Vec<usize> = (0..self.metrics.len()).collect();
        let judged: Vec<usize> = self.judged().collect();
        let mut client = json!({
            "name": name,
            "version": version,
            "command": command,
            "rounds": rounds.iter().map(round).collect::<Vec<Value>>(),
            "figures": spreads(&|metric| self.spread(row, metric), &all),
        });
        if row > 0 {
            client["first_to_this"] = spreads(&|metric| self.ratio(row, metric), &judged).into();
        }
        client
    }

    fn judged(&self) -> impl Iterator<Item = usize> {
        let is_judged = |metric: &usize| self.metrics[*metric].better != Better::Neither;
        (0..self.metrics.len()).filter(is_judged)
    }

    /// Returns the cells of the printed table, its head first.
    fn cells(&self) -> Vec<Vec<String>> {
        let head = self.metrics.iter().map(|metric| metric.title.to_owned());
        let mut lines = vec![std::iter::once("client".to_owned()).chain(head).collect()];
        for (at, row) in self.rows.iter().enumerate() {
            let cell = |metric| match self.spread(at, metric) {
                Some(spread) => spread.to_string(),
                None => "-".to_owned(),
            };
            let name = format!("{} {}", row.name, row.version);
            let values = (0..self.metrics.len()).map(cell);
            lines.push(std::iter::once(name).chain(values).collect());
        }
        lines
    }
}

/// The table with medians and ranges, then a line a client of the ratios to it, then the winners.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        aligned(&self.cells(), 1, f)?;
        for (at, row) in self.rows.iter().enumerate().skip(1) {
            let ratio = |metric| {
                let spread = self.ratio(at, metric)?;
                Some(format!("{} {spread}", self.metrics[metric].title))
            };
            let ratios: Vec<String> = self.judged().filter_map(ratio).collect();
            if !ratios.is_empty() {
                writeln!(f, "{} to {}: {}", self.rows[0].name, row.name, ratios.join(", "))?;
            }
        }
        for metric in self.judged().filter(|_| self.rows.len() > 1) {
            let title = self.metrics[metric].title;
            match self.winner(metric) {
                Some(row) => writeln!(f, "best {title}: {}", self.rows[row].name)?,
                None if self.is_enough() => {
                    writeln!(f, "best {title}: none, the ranges overlap")?;
                }
                None => writeln!(f, "best {title}: none, too few valid rounds")?,
            }
        }
        for row in &self.rows {
            for (at, why) in (1..).zip(&row.rounds) {
                if let Err(why) = why {
                    writeln!(f, "void: {}, round {at}: {why}", row.name)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &[Metric] = &[
        Metric { key: "rate_gib_per_s", title: "GiB/s", better: Better::Higher },
        Metric { key: "cpu_s_per_gib", title: "CPU s/GiB", better: Better::Lower },
        Metric { key: "rss_mib", title: "RSS MiB", better: Better::Neither },
    ];

    fn row(name: &str, rounds: &[Result<[f64; 3], &str>]) -> Row {
        let rounds = rounds.iter().map(|round| match round {
            Ok(values) => Ok(values.to_vec()),
            Err(why) => Err((*why).to_owned()),
        });
        let (version, command) = ("1".to_owned(), format!("{name} get x.torrent"));
        Row { name: name.to_owned(), version, command, rounds: rounds.collect() }
    }

    fn table() -> Table {
        let ours = row("ours", &[Ok([2.0, 0.5, 9.0]), Ok([4.0, 1.0, 9.0]), Ok([3.0, 0.7, 9.0])]);
        let one = row("one", &[Ok([1.0, 1.0, 1.0]), Ok([1.5, 1.5, 1.0]), Err("no 'end'")]);
        let two = row("two", &[Ok([0.5, 2.0, 1.0]), Ok([0.5, 2.0, 1.0]), Ok([0.6, 2.0, 1.0])]);
        Table { metrics: METRICS, rows: vec![ours, one, two] }
    }

    /// [`table`] without its void round.
    fn whole() -> Table {
        let mut table = table();
        table.rows[1].rounds[2] = Ok(vec![1.2, 1.2, 1.0]);
        table
    }

    fn assert_spread(spread: Option<Spread>, median: f64, min: f64, max: f64) {
        let spread = spread.expect("a spread");
        for (found, wanted) in [(spread.median, median), (spread.min, min), (spread.max, max)] {
            assert!((found - wanted).abs() < 1e-9, "{spread:?}, not {median} ({min}-{max})");
        }
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([]), None);
        assert_spread(Spread::of([7.0]), 7.0, 7.0, 7.0);
        assert_spread(Spread::of([9.0, 1.0, 2.0]), 2.0, 1.0, 9.0);
        assert_spread(Spread::of([9.0, 1.0, 2.0, 4.0]), 3.0, 1.0, 9.0);
    }

    #[test]
    fn void_rounds_count_neither_in_medians_nor_in_ratios() {
        let table = table();
        assert_spread(table.spread(1, 0), 1.25, 1.0, 1.5);
        // Two rounds in which both are valid: 2/1 and 4/1.5.
        assert_spread(table.ratio(1, 0), f64::midpoint(2.0, 4.0 / 1.5), 2.0, 4.0 / 1.5);
    }

    #[test]
    fn ratios_are_of_rounds_not_of_medians() {
        let ours = row("ours", &[Ok([1.0, 1.0, 1.0]), Ok([10.0, 1.0, 1.0]), Ok([100.0, 1.0, 1.0])]);
        let other = row("other", &[Ok([2.0, 0.0, 1.0]), Ok([5.0, 0.0, 1.0]), Ok([1.0, 0.0, 1.0])]);
        let table = Table { metrics: METRICS, rows: vec![ours, other] };
        assert_spread(table.ratio(1, 0), 2.0, 0.5, 100.0);
        assert_eq!(table.ratio(1, 1), None, "nothing is a multiple of 0");
    }

    #[test]
    fn few_or_void_rounds_have_no_winner() {
        let ours = row("ours", &[Ok([2.0; 3]), Ok([2.0; 3]), Ok([2.0; 3])]);
        let once = row("once", &[Ok([1.0; 3]), Err("slow"), Err("slow")]);
        let table = Table { metrics: METRICS, rows: vec![ours.clone(), once] };
        assert_eq!(table.winner(0), None, "the other has a single round");
        assert!(table.to_string().contains("best GiB/s: none, too few valid rounds"));
        let short = |name, value| row(name, &[Ok([value; 3]), Ok([value; 3])]);
        let table = Table { metrics: METRICS, rows: vec![short("a", 2.0), short("b", 1.0)] };
        assert_eq!(table.winner(0), None, "two rounds");
        let never = row("never", &[Err("a"), Err("b"), Err("c")]);
        let other = row("other", &[Ok([1.0; 3]), Ok([1.0; 3]), Ok([1.0; 3])]);
        let table = Table { metrics: METRICS, rows: vec![ours, other, never] };
        assert_eq!(table.winner(0), Some(0), "one that cannot do it spoils nothing");
    }

    #[test]
    fn overlapping_ranges_have_no_winner() {
        let table = whole();
        assert_eq!(table.winner(0), Some(0));
        assert_eq!(table.winner(1), None, "the worst of ours is the best of another");
        assert_eq!(table.winner(2), None, "not judged");
        let alone = Table { metrics: METRICS, rows: vec![table.rows[0].clone()] };
        assert_eq!(alone.winner(0), None, "alone is no winner");
    }

    #[test]
    fn one_without_a_valid_round_neither_wins_nor_spoils_it() {
        let mut table = whole();
        table.rows.push(row("broken", &[Err("a"), Err("b"), Err("c")]));
        assert_eq!(table.winner(0), Some(0));
        assert_eq!(table.spread(3, 0), None);
        let text = table.to_string();
        assert!(text.contains("\nvoid: broken, round 2: b\n"), "{text}");
    }

    #[test]
    fn the_table_is_aligned_and_tells_everything() {
        let expected = "\
client                GiB/s          CPU s/GiB  RSS MiB
ours 1     3.00 (2.00-4.00)  0.700 (0.500-1.00)     9.00
";
        let text = table().to_string();
        let head: Vec<&str> = text.lines().take(2).collect();
        let columns = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for (line, expected) in head.iter().zip(expected.lines()) {
            assert_eq!(columns(line), columns(expected));
        }
        let width = |line: &&str| line.len();
        assert!(text.lines().take(4).map(|line| width(&line)).is_sorted(), "{text}");
        for line in [
            "ours to two: GiB/s 5.00 (4.00-8.00), CPU s/GiB 0.350 (0.250-0.500)",
            "best GiB/s: none, too few valid rounds",
            "void: one, round 3: no 'end'",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn json_has_every_round_the_figures_the_ratios_and_the_winners() {
        let value = table().to_json();
        let value = Value::Object(value);
        assert_eq!(value["metrics"][1]["better"], "lower");
        assert_eq!(
            value["metrics"][2],
            json!({"key": "rss_mib", "title": "RSS MiB", "better": null})
        );
        let nobody = json!({ "rate_gib_per_s": null, "cpu_s_per_gib": null });
        assert_eq!(value["winners"], nobody, "a round is void");
        let winners = Value::Object(whole().to_json())["winners"].clone();
        assert_eq!(winners, json!({ "rate_gib_per_s": "ours", "cpu_s_per_gib": null }));
        let [ours, one, _] = &value["clients"].as_array().expect("an array")[..] else {
            panic!("three clients")
        };
        assert_eq!(ours["rounds"][1]["cpu_s_per_gib"], 1.0);
        assert_eq!(ours["figures"]["rate_gib_per_s"]["median"], 3.0);
        assert_eq!(ours.get("first_to_this"), None);
        assert_eq!(one["rounds"][2], json!({ "void": "no 'end'" }));
        assert_eq!(one["first_to_this"]["cpu_s_per_gib"]["max"], 0.666_666_667);
        assert_eq!(one["first_to_this"].get("rss_mib"), None);
        assert_eq!(one["command"], "one get x.torrent");
    }
}
