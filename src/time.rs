//! The session's own clock values.
//!
//! Decides nothing. **Invariant:** no file in the core reads a clock; every `now` is an argument,
//! read once a turn by a driver ([`crate::reactor`] from the monotonic clock, [`crate::sim`] from
//! its virtual one).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

pub use std::time::Duration;

/// A point in time: microseconds since the session started.
///
/// Unlike [`std::time::Instant`] it can be constructed, printed and put into a test vector. All
/// arithmetic saturates, so a far deadline never wraps into the past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The start of the session.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline that a session can set.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// Returns the instant `us` microseconds after the start of the session.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Returns the instant `ms` milliseconds after the start of the session.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Returns the instant `s` seconds after the start of the session.
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }

    /// Returns the microseconds since the start of the session.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(us))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, delay: Duration) {
        *self = *self + delay;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(Instant::ZERO - Instant::from_secs(1), Duration::ZERO);
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::FAR_FUTURE);
    }

    #[test]
    fn prints_seconds_with_microseconds() {
        assert_eq!(format!("{:?}", Instant::from_micros(1_000_042)), "1.000042s");
    }
}
