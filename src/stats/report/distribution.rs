//! A distribution of values as reports use it.

use hdrhistogram::Histogram as Hdr;

use super::float;
use crate::stats::Histogram;

/// The most values that one distribution counts: as many as a 64-bit float counts exactly, and so
/// few that no sum of them overflows. A log that claims more is made up.
const MAX_COUNT: u64 = 1 << 53;

/// A distribution of values of any bounds and any precision (one to five significant digits), with
/// counts of 64 bits: what [`Histogram`]s are added up in, and what logs of others hold.
///
/// Never larger than 50 MB, which five digits over the whole range take; two digits over an hour in
/// nanoseconds take 35 KiB.
#[derive(Clone, PartialEq, Debug)]
pub struct Distribution(Hdr<u64>);

/// What a report would have to hold is beyond its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TooMany {
    /// Values in one distribution.
    #[error("a histogram counts more than {MAX_COUNT} values")]
    Values,
    /// Different tags.
    #[error("there are more than {} tags", super::series::MAX_TAGS)]
    Tags,
    /// Counters in all distributions together.
    #[error("the histograms together have more than {} counters", super::series::MAX_COUNTERS)]
    Counters,
}

/// The figures that a distribution is summed up in; all 0 if it is empty.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quantiles {
    /// How many values were counted.
    pub count: u64,
    /// The smallest value.
    pub min: u64,
    /// The mean of the values.
    pub mean: f64,
    /// The value that half of all values do not exceed.
    pub p50: u64,
    /// The value that 90 % of all values do not exceed.
    pub p90: u64,
    /// The value that 99 % of all values do not exceed.
    pub p99: u64,
    /// The value that 99.9 % of all values do not exceed.
    pub p999: u64,
    /// The largest value.
    pub max: u64,
}

impl Distribution {
    /// Takes over what was decoded.
    ///
    /// # Errors
    /// [`TooMany::Values`].
    pub(super) fn from_hdr(hdr: Hdr<u64>) -> Result<Self, TooMany> {
        if hdr.len() > MAX_COUNT { Err(TooMany::Values) } else { Ok(Self(hdr)) }
    }

    /// Lends what is inside.
    pub(super) const fn hdr(&self) -> &Hdr<u64> {
        &self.0
    }

    /// Returns how many counters it holds: 8 bytes each.
    pub(super) fn counters(&self) -> usize {
        self.0.distinct_values()
    }

    /// Returns how many values were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the sum of the values, as exactly as they are told apart.
    pub fn sum(&self) -> f64 {
        self.0.mean() * float(self.0.len())
    }

    /// Returns the largest value; 0 if none was counted.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// Returns the value that the part `quantile` (0 to 1) of all values does not exceed; 0 if none
    /// was counted.
    pub fn value_at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// Returns the figures that sum it up.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.count(),
            min: self.0.min(),
            mean: self.0.mean(),
            p50: self.value_at(0.5),
            p90: self.value_at(0.9),
            p99: self.value_at(0.99),
            p999: self.value_at(0.999),
            max: self.max(),
        }
    }

    /// Returns every value that was counted, from the smallest on, and how often. Values that are
    /// not told apart are one: the largest of them.
    pub fn recorded(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// Counts everything that `other` has counted, as precisely as the more precise of the two.
    ///
    /// # Errors
    /// [`TooMany::Values`]: nothing was changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), TooMany> {
        // Both are at most 2^53.
        if self.count() + other.count() > MAX_COUNT {
            return Err(TooMany::Values);
        }
        if other.0.sigfig() > self.0.sigfig() {
            let mine = std::mem::replace(&mut self.0, other.0.clone());
            self.absorb(&mine);
        } else {
            self.absorb(&other.0);
        }
        Ok(())
    }

    fn absorb(&mut self, other: &Hdr<u64>) {
        self.0.auto(true);
        self.0.add(other).expect("it grows as far as values of 64 bits go");
    }

    /// Returns the same distribution with every value `factor` times as large, up to the largest
    /// value of 64 bits.
    #[must_use]
    pub fn scaled(&self, factor: u64) -> Self {
        let mut scaled = Hdr::new(self.0.sigfig()).expect("a precision that exists");
        for (value, count) in self.recorded() {
            let value = value.saturating_mul(factor);
            scaled.record_n(value, count).expect("it grows as far as values of 64 bits go");
        }
        Self(scaled)
    }
}

impl From<&Histogram> for Distribution {
    fn from(histogram: &Histogram) -> Self {
        let mut own = Hdr::new_from(histogram.hdr());
        for step in histogram.hdr().iter_recorded() {
            let count = u64::from(step.count_at_value());
            own.record_n(step.value_iterated_to(), count).expect("the same bounds");
        }
        Self(own)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A distribution of these values with this many significant digits.
    pub(in super::super) fn of(digits: u8, values: &[u64]) -> Distribution {
        let mut hdr = Hdr::new(digits).unwrap();
        for value in values {
            hdr.record(*value).unwrap();
        }
        Distribution(hdr)
    }

    #[test]
    fn it_has_the_figures_of_the_histogram_it_is_made_of() {
        let mut histogram = Histogram::default();
        let empty = Distribution::from(&histogram);
        assert_eq!((empty.quantiles().min, empty.count(), empty.max()), (0, 0, 0));
        for value in [0, 1, 17, 17, 1_000_003, u64::MAX] {
            histogram.record(value);
        }
        let figures = Distribution::from(&histogram).quantiles();
        assert_eq!(figures.count, histogram.count());
        assert_eq!(figures.min, histogram.min());
        assert_eq!(figures.max, histogram.max());
        assert!((figures.mean - histogram.mean()).abs() < 1.0);
        assert_eq!((figures.p50, figures.p999), (17, histogram.value_at(0.999)));
    }

    #[test]
    fn merging_keeps_the_finer_precision_in_either_order() {
        let (coarse, fine) = (of(1, &[1_000_000]), of(4, &[2_000_000, 2_000_300]));
        for (mut one, other) in [(coarse.clone(), &fine), (fine.clone(), &coarse)] {
            one.merge(other).unwrap();
            assert_eq!(one.count(), 3);
            assert!(one.value_at(0.5) < one.max(), "{one:?}");
        }
    }

    #[test]
    fn merging_grows_to_the_larger_bounds() {
        let mut one = of(2, &[5]);
        one.merge(&of(3, &[u64::MAX])).unwrap();
        assert_eq!((one.count(), one.max()), (2, u64::MAX));
    }

    #[test]
    fn counts_that_no_clock_could_have_made_are_refused() {
        let mut many = Hdr::new(1).unwrap();
        many.record_n(7, MAX_COUNT).unwrap();
        let mut most = Distribution::from_hdr(many.clone()).unwrap();
        assert_eq!(most.merge(&of(1, &[7])), Err(TooMany::Values));
        assert_eq!(most.count(), MAX_COUNT);
        many.record(7).unwrap();
        assert_eq!(Distribution::from_hdr(many), Err(TooMany::Values));
    }

    #[test]
    fn scaling_changes_the_unit() {
        let scaled = of(3, &[1, 2_000]).scaled(1_000);
        assert_eq!(scaled.count(), 2);
        assert!(scaled.max().abs_diff(2_000_000) * 1_000 <= 2_000_000);
        assert_eq!(of(3, &[u64::MAX]).scaled(2).max(), u64::MAX);
    }
}
