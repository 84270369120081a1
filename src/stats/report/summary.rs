//! The summary of a report as JSON.

use serde_json::{Value, json};

use super::distribution::Quantiles;
use super::series::{Report, Series};
use crate::stats::Unit;

/// The version of the format; it changes only if a field changes its meaning.
const VERSION: u32 = 1;

/// Returns the figures of one tag as an object: [`figures`] with the tag and its unit.
pub fn metric(series: &Series) -> Value {
    let mut value = figures(&series.total.quantiles());
    value["tag"] = series.tag.as_str().into();
    value["unit"] = unit_name(series.unit).into();
    value
}

/// Returns figures as an object. Durations are whole nanoseconds but for the mean; fields are only
/// ever added.
pub fn figures(of: &Quantiles) -> Value {
    json!({
        "count": of.count,
        "min": of.min,
        "mean": (of.mean * 10.0).round() / 10.0,
        "p50": of.p50,
        "p90": of.p90,
        "p99": of.p99,
        "p999": of.p999,
        "max": of.max,
    })
}

/// Returns what a summary file holds: the run's own facts and the figures of every tag.
pub fn summary(report: &Report, run: &Value) -> Value {
    let metrics: Vec<Value> = report.series().iter().map(metric).collect();
    json!({ "v": VERSION, "run": run, "metrics": metrics })
}

/// Returns a unit as files name it.
pub const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "ns",
        Unit::Count => "count",
    }
}

#[cfg(test)]
mod tests {
    use super::super::distribution::tests::of;
    use super::*;
    use crate::time::Duration;

    #[test]
    fn a_summary_has_the_figures_of_every_tag() {
        let mut report = Report::default();
        let second = Duration::from_secs(1);
        let values = of(3, &[1_000, 2_000, 3_000]);
        report.add("a\"</script>", Unit::Nanoseconds, second, second, &values).unwrap();
        report.add("b", Unit::Count, second, second, &of(3, &[])).unwrap();
        let text = summary(&report, &json!({ "bytes": 5 })).to_string();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["run"]["bytes"], 5);
        let [a, b] = &back["metrics"].as_array().unwrap()[..] else { panic!("two metrics") };
        assert_eq!((a["tag"].as_str(), a["unit"].as_str()), (Some("a\"</script>"), Some("ns")));
        assert_eq!((a["count"].as_u64(), a["p50"].as_u64()), (Some(3), Some(2_000)));
        assert_eq!((b["count"].as_u64(), b["max"].as_u64()), (Some(0), Some(0)));
    }
}
