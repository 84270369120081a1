//! How fast bytes flow, and how fast something may happen. Both take `now` and keep no clock.

use crate::time::{Duration, Instant};

/// A smoothed rate in bytes a second: an exponentially decaying average, brought up to date only
/// when it is touched, so that ten thousand idle peers cost nothing.
#[derive(Clone, Debug)]
pub struct RateEstimator {
    /// Bytes a second at `at`, as if nothing had flowed before `since`.
    rate: f64,
    at: Instant,
    since: Instant,
}

/// Over which time a rate is smoothed: the weight of a byte falls to 1/e in this long. Short enough
/// to follow a choke, long enough to even out blocks that come in bursts.
const SMOOTHING: Duration = Duration::from_secs(4);
/// The shortest time over which a mean is taken, so that the first block is no gigabyte a second.
const SHORTEST_MEAN: Duration = Duration::from_millis(250);

impl RateEstimator {
    /// Returns a rate of zero.
    pub const fn new(now: Instant) -> Self {
        Self { rate: 0.0, at: now, since: now }
    }

    /// Records that `bytes` were moved.
    pub fn add(&mut self, bytes: u64, now: Instant) {
        self.decay(now);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        let bytes = bytes as f64;
        self.rate += bytes / SMOOTHING.as_secs_f64();
    }

    /// Returns the bytes a second now. Over a time shorter than the smoothing, it is the mean of
    /// that time, not of a longer one with nothing in it.
    pub fn bytes_per_s(&self, now: Instant) -> u64 {
        let mut at_now = self.clone();
        at_now.decay(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and saturating is right"
        )]
        let rate = (at_now.rate / at_now.weight(now)) as u64;
        rate
    }

    /// Returns how much of the smoothing there has been time for: 1 in the long run.
    fn weight(&self, now: Instant) -> f64 {
        let age = (now - self.since).max(SHORTEST_MEAN);
        1.0 - (-age.as_secs_f64() / SMOOTHING.as_secs_f64()).exp()
    }

    fn decay(&mut self, now: Instant) {
        let passed = now - self.at;
        if !passed.is_zero() {
            self.rate *= (-passed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
            self.at = now;
        }
    }
}

/// A bucket of tokens that fills at a steady rate up to a burst: how often something may happen.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_s: u32,
    burst: u32,
    /// Tokens there at `at`, in millionths.
    micro_tokens: u64,
    at: Instant,
}

const MICRO: u64 = 1_000_000;

impl TokenBucket {
    /// Returns a full bucket of `burst` tokens that fills at `per_s` tokens a second.
    pub fn new(per_s: u32, burst: u32, now: Instant) -> Self {
        Self { per_s, burst, micro_tokens: u64::from(burst) * MICRO, at: now }
    }

    /// Takes a token if one is there.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let there = self.micro_tokens >= MICRO;
        if there {
            self.micro_tokens -= MICRO;
        }
        there
    }

    /// Returns when the next token will be there: `now` if one is, never for a rate of zero.
    pub fn ready_at(&mut self, now: Instant) -> Instant {
        self.fill(now);
        if self.micro_tokens >= MICRO {
            return now;
        }
        if self.per_s == 0 {
            return Instant::FAR_FUTURE;
        }
        let missing = MICRO - self.micro_tokens;
        now + Duration::from_micros(missing.div_ceil(u64::from(self.per_s)))
    }

    fn fill(&mut self, now: Instant) {
        let passed = u64::try_from((now - self.at).as_micros()).unwrap_or(u64::MAX);
        let gained = passed.saturating_mul(u64::from(self.per_s));
        let full = u64::from(self.burst) * MICRO;
        self.micro_tokens = self.micro_tokens.saturating_add(gained).min(full);
        self.at = now.max(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_estimated_right_and_silence_fades() {
        let mut rate = RateEstimator::new(Instant::ZERO);
        for ms in (0..40_000).step_by(10) {
            rate.add(10_000, Instant::from_millis(ms));
        }
        let now = Instant::from_secs(40);
        let steady = rate.bytes_per_s(now);
        assert!((990_000..1_010_000).contains(&steady), "{steady}");
        assert!(rate.bytes_per_s(now + SMOOTHING * 10) < 100);
    }

    #[test]
    fn a_rate_is_right_from_the_start() {
        let mut rate = RateEstimator::new(Instant::ZERO);
        for ms in (0..500).step_by(10) {
            rate.add(10_000, Instant::from_millis(ms));
        }
        let early = rate.bytes_per_s(Instant::from_millis(500));
        assert!((950_000..1_080_000).contains(&early), "{early}");
        let mut first = RateEstimator::new(Instant::ZERO);
        first.add(16_384, Instant::ZERO);
        assert!(first.bytes_per_s(Instant::ZERO) < 80_000);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(10, 3, Instant::ZERO);
        let mut taken = Vec::new();
        for ms in 0..1_000 {
            let now = Instant::from_millis(ms);
            if bucket.ready_at(now) == now {
                assert!(bucket.take(now));
                taken.push(ms);
            } else {
                assert!(!bucket.take(now));
            }
        }
        assert_eq!(taken, [0, 1, 2, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn an_empty_bucket_names_the_time_of_its_next_token() {
        let mut bucket = TokenBucket::new(4, 1, Instant::ZERO);
        assert!(bucket.take(Instant::ZERO));
        let next = bucket.ready_at(Instant::ZERO);
        assert_eq!(next, Instant::from_millis(250));
        assert!(bucket.take(next));
        let mut never = TokenBucket::new(0, 0, Instant::ZERO);
        assert_eq!(never.ready_at(Instant::ZERO), Instant::FAR_FUTURE);
    }
}
