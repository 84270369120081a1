//! The histograms themselves: fixed in size, made once, recorded into without allocation.

use hdrhistogram::Histogram as Hdr;

use super::{Metric, Unit};
use crate::time::{Duration, Instant};

/// The largest value that is told from larger ones: an hour, in nanoseconds.
const MAX_VALUE: u64 = 3_600 * 1_000_000_000;

/// Significant decimal digits: values are told apart to 1 %, and a histogram stays within 18 KiB,
/// so that all of them fit into the second-level cache beside the engine's own data.
const DIGITS: u8 = 2;

/// One distribution of values between 1 and an hour in nanoseconds, told apart to 1 %. Larger
/// values count as the largest.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram(Hdr<u32>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Hdr::new_with_bounds(1, MAX_VALUE, DIGITS).expect("valid bounds"))
    }
}

impl Histogram {
    /// Counts one value. O(1), no allocation.
    pub fn record(&mut self, value: u64) {
        self.0.saturating_record(value);
    }

    /// Counts one value, and those that would have been seen had somebody looked every
    /// `expected_interval` while it lasted: no coordinated omission. O(value / interval).
    pub fn record_corrected(&mut self, value: u64, expected_interval: u64) {
        let clamped = value.min(MAX_VALUE);
        self.0.record_correct(clamped, expected_interval).expect("within the bounds");
    }

    /// Counts everything that `other` has counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same bounds");
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Lends what is inside to the reports beside this file.
    #[cfg(feature = "cli")]
    pub(super) const fn hdr(&self) -> &Hdr<u32> {
        &self.0
    }

    /// Returns how many values were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the value that the part `quantile` (0 to 1) of all values does not exceed; 0 if none
    /// was counted.
    pub fn value_at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// Returns the largest value; 0 if none was counted.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// Returns the smallest value; 0 if none was counted.
    pub fn min(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.0.min() }
    }

    /// Returns the mean of the values; 0 if none was counted.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }
}

/// One histogram for each [`Metric`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Histograms([Histogram; Metric::ALL.len()]);

impl Histograms {
    /// Counts a value of `metric`, in its [`Unit`].
    pub fn record(&mut self, metric: Metric, value: u64) {
        self.0[metric as usize].record(value);
    }

    /// Counts a duration of `metric`, whose unit must be [`Unit::Nanoseconds`].
    pub fn record_duration(&mut self, metric: Metric, took: Duration) {
        debug_assert_eq!(metric.unit(), Unit::Nanoseconds, "{metric:?} counts no durations");
        self.record(metric, nanos(took));
    }

    /// Counts a stall of `metric`, and the waits of all who would have come upon it had somebody
    /// come every `interval`: see [`Histogram::record_corrected`].
    pub fn record_stall(&mut self, metric: Metric, stall: Duration, interval: Duration) {
        debug_assert_eq!(metric.unit(), Unit::Nanoseconds, "{metric:?} counts no durations");
        self.of_mut(metric).record_corrected(nanos(stall), nanos(interval));
    }

    /// Counts how long it was from `since` to `now`, for a metric in [`Unit::Nanoseconds`].
    pub fn record_since(&mut self, metric: Metric, since: Instant, now: Instant) {
        debug_assert_eq!(metric.unit(), Unit::Nanoseconds, "{metric:?} counts no durations");
        let micros = now.as_micros().saturating_sub(since.as_micros());
        self.record(metric, micros.saturating_mul(1_000));
    }

    /// Tells whether nothing was counted since the start or the last [`Histograms::clear`].
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|histogram| histogram.count() == 0)
    }

    /// Returns the histogram of `metric`.
    pub const fn of(&self, metric: Metric) -> &Histogram {
        &self.0[metric as usize]
    }

    /// Lends the histogram of `metric`.
    pub const fn of_mut(&mut self, metric: Metric) -> &mut Histogram {
        &mut self.0[metric as usize]
    }

    /// Counts everything that `other` has counted.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| mine.add(theirs));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(Histogram::clear);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_to_one_percent_and_the_largest_saturate() {
        let mut histogram = Histogram::default();
        for value in [100, 1_000_000, 10_000_000_000, u64::MAX] {
            histogram.clear();
            histogram.record(value);
            let seen = histogram.value_at(1.0);
            let expected = value.min(MAX_VALUE);
            assert!(seen.abs_diff(expected) * 100 <= expected, "{value} reads as {seen}");
        }
    }

    #[test]
    fn a_stall_counts_for_everybody_who_would_have_waited_through_it() {
        let mut histogram = Histogram::default();
        histogram.record_corrected(1_000, 100);
        assert_eq!(histogram.count(), 10);
        assert!(histogram.value_at(0.5).abs_diff(500) <= 10);
    }

    #[test]
    fn each_metric_has_a_histogram_of_its_own() {
        let mut histograms = Histograms::default();
        for (at, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, at);
            histograms.record(metric, at as u64 + 1);
        }
        let mut sum = histograms.clone();
        sum.add(&histograms);
        for (at, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!((sum.of(metric).count(), sum.of(metric).max()), (2, at as u64 + 1));
        }
        sum.clear();
        assert!(Metric::ALL.into_iter().all(|metric| sum.of(metric).count() == 0));
    }
}
