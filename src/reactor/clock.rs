//! Where time and entropy enter: the monotonic clock and the system's random numbers.
//!
//! **Invariant:** the session sees neither; it is given [`Instant`]s and [`Seeds`] by value.

use std::io;

use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::session::io::Seeds;
use crate::time::{Duration, Instant};

/// The monotonic clock of one session; [`Instant::ZERO`] is when it was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
    /// Time that has passed for nobody: see [`Clock::skip`].
    skipped: Duration,
}

impl Clock {
    /// Starts the clock: its first [`Clock::now`] is at or just after zero.
    pub fn start() -> Self {
        Self { start: std::time::Instant::now(), skipped: Duration::ZERO }
    }

    /// Returns the microseconds since the start, rounded down. Never goes back.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.elapsed()
    }

    /// Returns the time since the start, as fine as the system has it: for what is measured, not
    /// for what is decided.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed().saturating_sub(self.skipped)
    }

    /// Lets time pass at once, for tests of what is late.
    #[cfg(test)]
    pub(super) fn jump(&mut self, time: Duration) {
        self.start = self.start.checked_sub(time).expect("the machine is not that young");
    }

    /// Leaves out so much of the time that has just passed, in which this process did not run: it
    /// was stopped. What was to happen meanwhile is as far away as before, and nothing comes in a
    /// burst.
    pub fn skip(&mut self, time: Duration) {
        self.skipped += time;
    }
}

/// Returns seeds for a session from the system's entropy source.
///
/// Blocks until the source is seeded, which matters only in the first moments after boot.
///
/// # Errors
///
/// The system has no `getrandom` or forbids it; a session must not be started then.
pub fn seeds() -> io::Result<Seeds> {
    let mut rng = [0; 8];
    let mut secret = [0; 32];
    fill(&mut rng)?;
    fill(&mut secret)?;
    Ok(Seeds { rng: u64::from_ne_bytes(rng), secret })
}

fn fill(mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        let filled = retry_on_intr(|| getrandom(&mut *out, GetRandomFlags::empty()))?;
        out = &mut out[filled..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_at_zero_and_never_goes_back() {
        let clock = Clock::start();
        let stamps: Vec<Instant> = (0..1_000).map(|_| clock.now()).collect();
        assert!(stamps.is_sorted());
        assert!(stamps[0] < Instant::from_secs(3_600), "counted from the start, not from boot");
    }

    #[test]
    fn skipped_time_has_not_passed() {
        let mut clock = Clock::start();
        let hour = Duration::from_secs(3_600);
        clock.jump(hour * 2);
        let before = clock.now();
        clock.skip(hour);
        let after = clock.now();
        assert!(after < before && before.saturating_since(after) <= hour);
    }

    #[test]
    fn two_sessions_get_different_seeds() {
        let (one, other) = (seeds().unwrap(), seeds().unwrap());
        assert_ne!(one.rng, other.rng);
        assert_ne!(one.secret, other.secret);
        assert_ne!(one.secret[..16], one.secret[16..], "all of the secret is filled");
    }
}
