//! Percentile tables as `HdrHistogram`'s `outputPercentileDistribution` prints them, which its
//! plotter and that of `wrk2` read.
//!
//! Durations are in milliseconds, as the plotter takes them to be; counts as they are.

use std::fmt::Write;

use super::{Distribution, float};
use crate::stats::Unit;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Returns the table of a distribution: head, rows, and three lines of figures.
pub fn table(values: &Distribution, unit: Unit) -> String {
    let (divisor, digits) = match unit {
        Unit::Nanoseconds => (1e6, 6),
        Unit::Count => (1.0, 3),
    };
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let hdr = values.hdr();
    let mut total = 0;
    for step in hdr.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let value = float(step.value_iterated_to()) / divisor;
        let quantile = step.quantile_iterated_to();
        write!(text, "{value:12.digits$} {quantile:14.12} {total:10}").expect(TAKES);
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - quantile)).expect(TAKES);
        }
        text.push('\n');
    }
    let (mean, deviation) = (hdr.mean() / divisor, hdr.stdev() / divisor);
    let (max, count) = (float(hdr.max()) / divisor, hdr.len());
    let (buckets, sub_buckets) = (hdr.buckets(), sub_buckets(hdr.sigfig()));
    write!(
        text,
        "#[Mean    = {mean:12.digits$}, StdDeviation   = {deviation:12.digits$}]\n\
         #[Max     = {max:12.digits$}, Total count    = {count:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]\n"
    )
    .expect(TAKES);
    text
}

/// Why writing to a string cannot fail.
const TAKES: &str = "a string takes everything";

/// Returns how many counters the lowest bucket has at this many significant digits: the least power
/// of two that tells twice as many values apart.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10u64.pow(u32::from(digits))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::super::distribution::tests::of;
    use super::*;

    #[test]
    fn a_table_is_laid_out_as_the_plotter_expects() {
        let values: Vec<u64> = (1..=1_000).map(|at| at * 1_000_000).collect();
        let table = table(&of(3, &values), Unit::Nanoseconds);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "    1.000447 0.000000000000          1           1.00");
        let median = lines.iter().find(|line| line.contains(" 0.500000000000 ")).unwrap();
        assert_eq!(*median, "  500.170751 0.500000000000        500           2.00");
        let last = lines[lines.len() - 4];
        assert_eq!(last, " 1000.341503 1.000000000000       1000");
        assert!(lines[lines.len() - 3].starts_with("#[Mean    =   500.5"), "{table}");
        assert_eq!(
            lines[lines.len() - 2],
            "#[Max     =  1000.341503, Total count    =         1000]"
        );
        assert!(lines[lines.len() - 1].ends_with("SubBuckets     =         2048]"), "{table}");
    }

    #[test]
    fn counts_stay_counts_and_nothing_is_a_table_too() {
        let table_of = |values: &[u64]| table(&of(2, values), Unit::Count);
        assert!(
            table_of(&[7]).contains("\n       7.000 0.000000000000          1           1.00\n")
        );
        assert!(table_of(&[]).contains("Total count    =            0]"));
    }
}
