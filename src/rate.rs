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

/// How often each of many may do something, in memory that none of them can make grow: a fixed
/// number of buckets, each shared by all whom a key leads to it.
///
/// Whoever owns it makes the keys with a secret, so that nobody can choose whom to crowd out, and
/// nothing need be evicted.
#[derive(Debug)]
pub struct KeyedBuckets {
    /// By bucket: when it will be full again, were nothing more taken. 8 bytes each.
    full_at: Box<[Instant]>,
    /// What one token takes, in the time after which it is back; zero for no limit.
    cost: Duration,
    /// How much time's worth a bucket holds.
    burst: Duration,
}

impl KeyedBuckets {
    /// Returns `buckets` full buckets, at least one, of `burst` tokens each, at least one, that
    /// fill at `per_s` tokens a second; any number of tokens if `per_s` is 0.
    pub fn new(buckets: usize, per_s: u32, burst: u32) -> Self {
        let cost = Duration::from_secs(1).checked_div(per_s).unwrap_or_default();
        let full_at = vec![Instant::ZERO; buckets.max(1)].into_boxed_slice();
        Self { full_at, cost, burst: cost.saturating_mul(burst.max(1)) }
    }

    /// Takes a token out of the bucket of `key`, uniformly random bits; tells whether one was
    /// there.
    pub fn take(&mut self, key: u64, now: Instant) -> bool {
        if self.cost.is_zero() {
            return true;
        }
        let buckets = u64::try_from(self.full_at.len()).unwrap_or(u64::MAX);
        let bucket = usize::try_from(key % buckets).expect("below a length in memory");
        let full_at = &mut self.full_at[bucket];
        let then = (*full_at).max(now) + self.cost;
        if then - now > self.burst {
            return false;
        }
        *full_at = then;
        true
    }
}

/// How fast payload may flow in each direction, in bytes a second; 0 for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RateLimits {
    /// What is received.
    pub down: u64,
    /// What is sent.
    pub up: u64,
}

/// Payload that may flow at a steady rate, counted to the byte: a bucket that the passing of time
/// fills, up to a fifth of a second of its rate.
///
/// It is filled when it is asked, so nobody has to wake up for it, and a loop that is late loses
/// nothing. An owner who takes more than is there leaves a debt, which is paid before anything else
/// flows: in the long run no more flows than the rate.
#[derive(Clone, Debug)]
pub struct ByteBucket {
    /// At least 1.
    bytes_per_s: u64,
    /// The least that a full bucket holds, in bytes, whatever the rate.
    least_burst: u64,
    /// Bytes there at `at`, in millionths; below zero is a debt.
    micro_bytes: i64,
    at: Instant,
}

/// How much of its rate a bucket holds when it is full: the most that flows at once.
const BURST: Duration = Duration::from_millis(200);
/// The highest rate that is told from none, in bytes a second: beyond what any machine moves, and
/// a bucket of it can be counted in millionths.
const MAX_BYTES_PER_S: u64 = 1 << 40;
/// In how many parts a second's worth is handed out at a low rate: often enough to look steady,
/// seldom enough that a slow transfer lets the machine rest.
const QUANTA_PER_S: u64 = 20;
/// A quantum of a high rate, in bytes: what a driver reads from a stream before the others have
/// their turn.
const LARGE_QUANTUM: u64 = 256 * 1024;
/// In how many parts a second's worth is handed out at most: a poll waits for whole milliseconds.
const MAX_QUANTA_PER_S: u64 = 200;

impl ByteBucket {
    /// Returns an empty bucket that fills at `bytes_per_s`, at least 1. When it is full it holds
    /// `least_burst` bytes at least: what cannot be handed out in parts.
    pub fn new(bytes_per_s: u64, least_burst: u64, now: Instant) -> Self {
        let bytes_per_s = bytes_per_s.clamp(1, MAX_BYTES_PER_S);
        Self { bytes_per_s, least_burst, micro_bytes: 0, at: now }
    }

    /// Returns a bucket like [`ByteBucket::new`], but full.
    pub fn full(bytes_per_s: u64, least_burst: u64, now: Instant) -> Self {
        let mut bucket = Self::new(bytes_per_s, least_burst, now);
        bucket.micro_bytes = signed(bucket.burst().saturating_mul(MICRO));
        bucket
    }

    /// Changes the rate from `now` on; what is there stays, as far as it is allowed to.
    pub fn set_rate(&mut self, bytes_per_s: u64, now: Instant) {
        self.fill(now);
        self.bytes_per_s = bytes_per_s.clamp(1, MAX_BYTES_PER_S);
        self.fill(now);
    }

    /// Adds what has come since it was last filled.
    pub fn fill(&mut self, now: Instant) {
        let us = u64::try_from((now - self.at).as_micros()).unwrap_or(u64::MAX);
        let gained = us.saturating_mul(self.bytes_per_s);
        let full = signed(self.burst().saturating_mul(MICRO));
        self.micro_bytes = self.micro_bytes.saturating_add(signed(gained)).min(full);
        self.at = now.max(self.at);
    }

    /// Returns how many bytes may flow, as of when it was last filled.
    pub fn available(&self) -> u64 {
        u64::try_from(self.micro_bytes).unwrap_or(0) / MICRO
    }

    /// Records that `bytes` have flowed.
    pub fn spend(&mut self, bytes: u64) {
        let spent = signed(bytes.saturating_mul(MICRO));
        self.micro_bytes = self.micro_bytes.saturating_sub(spent);
    }

    /// Puts back `bytes` that were to flow and did not.
    pub fn give_back(&mut self, bytes: u64) {
        let back = signed(bytes.saturating_mul(MICRO));
        let full = signed(self.burst().saturating_mul(MICRO));
        self.micro_bytes = self.micro_bytes.saturating_add(back).min(full);
    }

    /// Returns when `bytes` may flow, at most [`ByteBucket::quantum`], if nothing does until then.
    pub fn ready_at(&self, bytes: u64) -> Instant {
        let wanted = signed(bytes.min(self.burst()).saturating_mul(MICRO));
        let missing = u64::try_from(wanted.saturating_sub(self.micro_bytes)).unwrap_or(0);
        self.at + Duration::from_micros(missing.div_ceil(self.bytes_per_s))
    }

    /// Returns how many bytes are worth waiting for, and are given to one before it is the next
    /// one's turn.
    pub fn quantum(&self) -> u64 {
        let low = (self.bytes_per_s / QUANTA_PER_S).min(LARGE_QUANTUM);
        low.max(self.bytes_per_s / MAX_QUANTA_PER_S).max(1)
    }

    /// Returns how many bytes a full bucket holds.
    fn burst(&self) -> u64 {
        let ms = u64::try_from(BURST.as_millis()).unwrap_or(u64::MAX);
        (self.bytes_per_s * ms / 1_000).max(self.least_burst).max(1)
    }
}

fn signed(micro_bytes: u64) -> i64 {
    i64::try_from(micro_bytes).unwrap_or(i64::MAX)
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

    #[test]
    fn each_key_has_its_burst_and_its_rate() {
        let mut buckets = KeyedBuckets::new(16, 10, 30);
        let mut count = |key, now| (0..100).filter(|_| buckets.take(key, now)).count();
        let start = Instant::from_secs(5);
        assert_eq!((count(3, start), count(3, start)), (30, 0));
        assert_eq!(count(3, start + Duration::from_secs(1)), 10);
        assert_eq!(count(4, start), 30, "another bucket");
        assert_eq!(count(19, start + Duration::from_secs(1)), 0, "the same bucket");
        assert_eq!(count(3, start + Duration::from_secs(99)), 30, "full again, and no fuller");
        let mut unlimited = KeyedBuckets::new(1, 0, 0);
        assert!((0..10_000).all(|key| unlimited.take(key, Instant::ZERO)));
    }

    /// Takes all there is at each of `times`, in milliseconds, and returns how much that was.
    fn drained(bucket: &mut ByteBucket, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let take = |ms| {
            bucket.fill(Instant::from_millis(ms));
            let there = bucket.available();
            bucket.spend(there);
            there
        };
        times.into_iter().map(take).collect()
    }

    #[test]
    fn bytes_flow_at_the_rate_to_the_byte_however_often_it_is_asked() {
        for rate in [10, 17, 999, 100 << 10, 5 << 20, 200 << 20, 1 << 40] {
            for step in [1, 7, 100] {
                let mut bucket = ByteBucket::new(rate, 0, Instant::ZERO);
                let times = (step..=1_400_000).step_by(usize::try_from(step).unwrap());
                let last = times.clone().last().unwrap();
                let flowed: u64 = drained(&mut bucket, times).iter().sum();
                let due = u64::try_from(u128::from(rate) * u128::from(last) / 1_000).unwrap();
                assert_eq!(flowed, due, "{rate} bytes/s, asked each {step} ms");
            }
        }
    }

    #[test]
    fn no_more_than_a_fifth_of_a_second_is_saved_up() {
        let mut bucket = ByteBucket::new(1_000_000, 0, Instant::ZERO);
        assert_eq!(drained(&mut bucket, [0, 50, 60_000, 60_000]), [0, 50_000, 200_000, 0]);
        let mut full = ByteBucket::full(1_000_000, 0, Instant::ZERO);
        assert_eq!(drained(&mut full, [0, 50]), [200_000, 50_000]);
        let mut slow = ByteBucket::new(1_000, 16_384, Instant::ZERO);
        assert_eq!(drained(&mut slow, [60_000]), [16_384], "a block that cannot be parted");
    }

    #[test]
    fn a_debt_is_paid_before_anything_flows() {
        let mut bucket = ByteBucket::new(1_000, 0, Instant::ZERO);
        bucket.spend(16_384);
        assert_eq!(bucket.ready_at(1), Instant::from_millis(16_385));
        assert_eq!(drained(&mut bucket, [16_000, 16_384, 16_385]), [0, 0, 1]);
    }

    #[test]
    fn what_is_given_back_may_flow_again_but_no_more_is_saved_up() {
        let mut bucket = ByteBucket::new(100_000, 0, Instant::ZERO);
        bucket.spend(16_384);
        bucket.give_back(10_000);
        assert_eq!(bucket.ready_at(1), Instant::from_micros(63_850));
        bucket.give_back(u64::MAX);
        assert_eq!(drained(&mut bucket, [0]), [20_000]);
    }

    #[test]
    fn the_time_at_which_bytes_are_there_is_exact() {
        let mut bucket = ByteBucket::new(3_000_000, 0, Instant::ZERO);
        let at = bucket.ready_at(100_000);
        assert_eq!(at, Instant::from_micros(33_334));
        bucket.fill(Instant::from_micros(33_333));
        assert_eq!(bucket.available(), 99_999);
        bucket.fill(at);
        assert_eq!(bucket.available(), 100_002);
        assert_eq!(bucket.ready_at(100_000), at, "they are");
    }

    #[test]
    fn a_quantum_is_a_part_of_a_second_that_the_bucket_can_hold() {
        for (rate, quantum) in [
            (1, 1),
            (10_000, 500),
            (5 << 20, 256 << 10),
            (20 << 20, 256 << 10),
            (200 << 20, 1 << 20),
        ] {
            let bucket = ByteBucket::new(rate, 0, Instant::ZERO);
            assert_eq!(bucket.quantum(), quantum, "{rate} bytes/s");
            assert!(quantum <= bucket.burst());
        }
    }

    #[test]
    fn a_new_rate_holds_from_now_on() {
        let mut bucket = ByteBucket::new(1_000_000, 0, Instant::ZERO);
        bucket.set_rate(1_000, Instant::from_millis(100));
        assert_eq!(drained(&mut bucket, [100, 1_100]), [200, 200], "a fifth of a second of it");
        bucket.set_rate(2_000, Instant::from_millis(1_150));
        assert_eq!(drained(&mut bucket, [1_200]), [150]);
    }
}
