//! The open loop: requests fall due by the clock, whether or not the client keeps up.
//!
//! A latency counts from the moment at which the request was due, not from that at which a
//! connection was free for it: a client that stalls is charged for everything that would have been
//! asked meanwhile (no coordinated omission).

use swarmloop::time::{Duration, Instant};

/// When requests are due at a steady rate.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// Events a second.
    rate: u64,
    /// How many have been taken.
    taken: u64,
}

impl Pace {
    /// Starts a schedule of `rate` events a second, at least one, the first at `start`.
    pub(crate) const fn new(rate: u64, start: Instant) -> Self {
        Self { start, rate, taken: 0 }
    }

    /// Returns when the next event is due.
    pub(crate) fn next(&self) -> Instant {
        let us = u128::from(self.taken) * 1_000_000 / u128::from(self.rate);
        self.start + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
    }

    /// Takes the next event if it is due, and returns when it was.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next();
        (due <= now).then(|| {
            self.taken += 1;
            due
        })
    }

    /// Returns how many events are due and not taken.
    pub(crate) fn backlog(&self, now: Instant) -> u64 {
        let us = (now - self.start).as_micros();
        let due = us * u128::from(self.rate) / 1_000_000;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1).saturating_sub(self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }

    #[test]
    fn events_fall_due_evenly_and_keep_their_time() {
        let mut pace = Pace::new(1_000, at(500));
        assert_eq!(pace.take(at(499)), None);
        let taken: Vec<_> = std::iter::from_fn(|| pace.take(at(3_500))).collect();
        assert_eq!(taken, [at(500), at(1_500), at(2_500), at(3_500)]);
        assert_eq!(pace.next(), at(4_500));
    }

    #[test]
    fn a_stall_leaves_every_event_that_fell_due_in_it() {
        let mut pace = Pace::new(50_000, at(0));
        assert_eq!(pace.take(at(0)), Some(at(0)));
        assert_eq!(pace.backlog(at(1_000_000)), 50_000);
        let late: Vec<_> = std::iter::from_fn(|| pace.take(at(1_000_000))).collect();
        assert_eq!((late.len(), late[0], late[49_999]), (50_000, at(20), at(1_000_000)));
        assert_eq!(pace.backlog(at(1_000_000)), 0);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let mut pace = Pace::new(3, at(0));
        let last = std::iter::from_fn(|| pace.take(at(1_000_000_000))).last();
        assert_eq!(last, Some(at(1_000_000_000)));
        assert_eq!(pace.next(), at(1_000_333_333));
    }
}
