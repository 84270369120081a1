//! A torrent's trackers in announce order (BEP 12).
//!
//! Decides the order and how long a tracker that fails is left alone. **Invariant:** the list is
//! sorted by tier at all times; only the order within a tier changes, once by chance at the start
//! and then by success.

use super::{TrackerError, TrackerState};
use crate::proto::tracker_http::{AnnounceEvent, Retry};
use crate::proto::url::{AnnounceUrl, UrlError};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// The most trackers of a torrent; those beyond are ignored. Public lists have some hundred.
pub const MAX_TRACKERS: usize = 256;

/// How long a tracker is left alone after its first failure; twice as long after each further one.
const MIN_BACK_OFF: Duration = Duration::from_secs(15);
/// The longest that a failing tracker is left alone: an hour lost is bearable once the tracker is
/// back.
const MAX_BACK_OFF: Duration = Duration::from_secs(60 * 60);

/// The trackers, first to ask first.
#[derive(Debug)]
pub(super) struct Tiers {
    trackers: Vec<Tracker>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Tracker {
    /// Its URL as the metainfo has it. Foreign text.
    pub(super) text: String,
    /// Zero-based.
    pub(super) tier: usize,
    /// How it is reached, or why it is not.
    pub(super) endpoint: Endpoint,
    /// What came of the last announce.
    pub(super) standing: Standing,
    /// What the next announce has to say.
    pub(super) owed: AnnounceEvent,
    /// No announce comes sooner: the back-off if it failed, its `min interval` if it works.
    pub(super) not_before: Instant,
    /// The `tracker id` that it wants to hear back; empty if none.
    pub(super) id: Vec<u8>,
    /// Whether it was the last that answered. Invariant: one at most.
    pub(super) is_current: bool,
    /// Whether it has answered over both families of its addresses.
    pub(super) knows_both: bool,
}

/// How a tracker is reached.
#[derive(Debug)]
pub(super) enum Endpoint {
    Usable(AnnounceUrl),
    Unsupported,
    Invalid(UrlError),
}

/// What came of the last announce to a tracker.
#[derive(Debug)]
pub(super) enum Standing {
    /// There was none since the start, or it said `stopped`.
    Idle,
    /// It was answered.
    Working { peers: usize },
    /// It failed, as did so many before it without an answer in between.
    Failed { error: TrackerError, failures: u32 },
    /// It failed, and the tracker wants no other.
    Refused { error: TrackerError },
}

impl Tiers {
    /// Reads the URLs of `tiers` and shuffles each tier; repeated and empty ones are left out.
    pub(super) fn new(tiers: &[Vec<String>], rng: &mut Rng) -> Self {
        let mut trackers: Vec<Tracker> = Vec::new();
        for (tier, urls) in tiers.iter().enumerate() {
            let first = trackers.len();
            for text in urls {
                let known = trackers.iter().any(|tracker| tracker.text == *text);
                if !known && !text.is_empty() && trackers.len() < MAX_TRACKERS {
                    trackers.push(Tracker::new(text, tier));
                }
            }
            rng.shuffle(&mut trackers[first..]);
        }
        // As a rule there is one, and thousands of torrents.
        trackers.shrink_to_fit();
        Self { trackers }
    }

    /// Takes those that are in `urls` for named by the user.
    pub(super) fn trust(&mut self, urls: &[String]) {
        for tracker in self.trackers.iter_mut().filter(|tracker| urls.contains(&tracker.text)) {
            if let Endpoint::Usable(url) = &mut tracker.endpoint {
                *url = url.clone().named_by_user();
            }
        }
    }

    /// Returns all, first to ask first.
    pub(super) fn as_slice(&self) -> &[Tracker] {
        &self.trackers
    }

    /// Returns all, first to ask first.
    pub(super) fn as_mut_slice(&mut self) -> &mut [Tracker] {
        &mut self.trackers
    }

    /// Moves the tracker at `index` to the front of its tier, because it works (BEP 12).
    pub(super) fn promote(&mut self, index: usize) {
        let tier = self.trackers[index].tier;
        let front = self.trackers.partition_point(|tracker| tracker.tier < tier);
        self.trackers[front..=index].rotate_right(1);
        debug_assert!(self.trackers.is_sorted_by_key(|tracker| tracker.tier));
    }

    /// Returns the tracker that was the last to answer, if that has not been forgotten.
    pub(super) fn current_mut(&mut self) -> Option<&mut Tracker> {
        self.trackers.iter_mut().find(|tracker| tracker.is_current)
    }

    /// Records that the tracker at `index` has answered; tells whether another one was the last.
    pub(super) fn make_current(&mut self, index: usize) -> bool {
        let last = self.trackers.iter().position(|tracker| tracker.is_current);
        for (at, tracker) in self.trackers.iter_mut().enumerate() {
            tracker.is_current = at == index;
        }
        last.is_some_and(|last| last != index)
    }

    /// Returns the first tracker from `from` on that may be asked at `now`.
    pub(super) fn next(&self, from: usize, now: Instant) -> Option<usize> {
        let due = |tracker: &Tracker| tracker.is_usable() && tracker.not_before <= now;
        (from..self.trackers.len()).find(|&index| due(&self.trackers[index]))
    }

    /// Returns the first tracker whose last announce was answered.
    pub(super) fn working(&self) -> Option<usize> {
        self.trackers.iter().position(Tracker::is_working)
    }

    /// Returns the first of those that is to hear `completed`.
    pub(super) fn working_owed_completed(&self) -> Option<usize> {
        let owed = |tracker: &Tracker| tracker.owed == AnnounceEvent::Completed;
        self.trackers.iter().position(|tracker| tracker.is_working() && owed(tracker))
    }

    /// Returns when the first tracker may be asked; [`Instant::FAR_FUTURE`] if none is to be.
    pub(super) fn earliest(&self) -> Instant {
        let usable = self.trackers.iter().filter(|tracker| tracker.is_usable());
        usable.map(|tracker| tracker.not_before).min().unwrap_or(Instant::FAR_FUTURE)
    }
}

impl Tracker {
    fn new(text: &str, tier: usize) -> Self {
        let endpoint = match AnnounceUrl::parse(text) {
            Ok(url) if url.scheme().is_supported() => Endpoint::Usable(url),
            Ok(_) => Endpoint::Unsupported,
            Err(error) => Endpoint::Invalid(error),
        };
        Self {
            text: text.to_owned(),
            tier,
            endpoint,
            standing: Standing::Idle,
            owed: AnnounceEvent::Started,
            not_before: Instant::ZERO,
            id: Vec::new(),
            is_current: false,
            knows_both: false,
        }
    }

    /// Forgets what came of earlier announces, for a new start; it may be asked at once.
    pub(super) fn reset(&mut self, now: Instant) {
        self.standing = Standing::Idle;
        self.owed = AnnounceEvent::Started;
        self.not_before = now;
        (self.is_current, self.knows_both) = (false, false);
    }

    /// Returns whether the last announce was answered.
    pub(super) fn is_working(&self) -> bool {
        matches!(self.standing, Standing::Working { .. })
    }

    /// Returns whether it is ever to be asked.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.endpoint, Endpoint::Usable(_))
            && !matches!(self.standing, Standing::Refused { .. })
    }

    /// Records that an announce failed, and returns how long the tracker is left alone now.
    pub(super) fn back_off(
        &mut self,
        error: TrackerError,
        rng: &mut Rng,
        now: Instant,
    ) -> Duration {
        let failures = match self.standing {
            Standing::Failed { failures, .. } => failures.saturating_add(1),
            _ => 1,
        };
        let retry = match &error {
            TrackerError::Failure(failure) => failure.retry,
            _ => Retry::Unsaid,
        };
        let delay = match retry {
            Retry::Never => {
                self.standing = Standing::Refused { error };
                return Duration::MAX;
            }
            Retry::After(delay) => delay,
            Retry::Unsaid => back_off(failures, rng),
        };
        self.standing = Standing::Failed { error, failures };
        self.not_before = now + delay;
        delay
    }

    /// Returns how it stands for people; `next_in` is the time until the next round.
    pub(super) fn state(&self, next_in: Duration, now: Instant) -> TrackerState {
        let failed = |error: &dyn std::fmt::Display, retry_in| TrackerState::Failed {
            error: error.to_string(),
            retry_in,
        };
        match (&self.endpoint, &self.standing) {
            (Endpoint::Unsupported, _) => TrackerState::Unsupported,
            (Endpoint::Invalid(error), _) => failed(error, Duration::MAX),
            (_, Standing::Idle) => TrackerState::Idle,
            (_, &Standing::Working { peers }) => TrackerState::Working { peers, next_in },
            (_, Standing::Refused { error }) => failed(error, Duration::MAX),
            (_, Standing::Failed { error, .. }) => {
                failed(error, next_in.max(self.not_before.saturating_since(now)))
            }
        }
    }
}

/// Returns how long to wait after the `failures`th failure in a row: twice as long each time, and
/// up to a quarter more by chance, so that the clients of a tracker that was down do not come back
/// in step.
fn back_off(failures: u32, rng: &mut Rng) -> Duration {
    let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let delay = MIN_BACK_OFF.saturating_mul(doubled).min(MAX_BACK_OFF);
    delay.mul_f64(1.0 + rng.unit() / 4.0).min(MAX_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(urls: &[&[&str]]) -> Vec<Vec<String>> {
        urls.iter().map(|tier| tier.iter().map(|&url| url.to_owned()).collect()).collect()
    }

    fn order(tiers: &Tiers) -> Vec<&str> {
        tiers.as_slice().iter().map(|tracker| tracker.text.as_str()).collect()
    }

    #[test]
    fn a_tier_is_shuffled_and_stays_in_its_place() {
        let urls = tiers(&[&["http://a", "http://b", "http://c"], &[], &["http://d", "http://e"]]);
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let tiers = Tiers::new(&urls, &mut Rng::new(seed));
            let order = order(&tiers);
            let mut high = order[..3].to_vec();
            high.sort_unstable();
            assert_eq!(high, ["http://a", "http://b", "http://c"]);
            assert!(tiers.as_slice()[3..].iter().all(|tracker| tracker.tier == 2));
            firsts.insert(order[0].to_owned());
        }
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn repeated_and_empty_urls_are_left_out_and_the_number_is_bounded() {
        let urls = tiers(&[&["http://a", "", "http://a"], &["http://a", "http://b"]]);
        let tiers = Tiers::new(&urls, &mut Rng::new(1));
        assert_eq!(order(&tiers), ["http://a", "http://b"]);
        let many = (0..=MAX_TRACKERS).map(|n| vec![format!("http://{n}")]).collect::<Vec<_>>();
        assert_eq!(Tiers::new(&many, &mut Rng::new(1)).as_slice().len(), MAX_TRACKERS);
    }

    #[test]
    fn a_promoted_tracker_goes_to_the_front_of_its_own_tier() {
        let urls = tiers(&[&["http://a"], &["http://b", "http://c", "http://d"], &["http://e"]]);
        let mut tiers = Tiers::new(&urls, &mut Rng::new(7));
        let before: Vec<String> = order(&tiers).into_iter().map(str::to_owned).collect();
        tiers.promote(3);
        let expected = [0, 3, 1, 2, 4].map(|index| before[index].clone());
        assert_eq!(order(&tiers), expected);
        tiers.promote(0);
        tiers.promote(4);
        assert_eq!(order(&tiers), expected);
    }

    #[test]
    fn the_back_off_doubles_from_15_seconds_to_an_hour() {
        let mut rng = Rng::new(3);
        for (failures, least) in [(1, 15), (2, 30), (3, 60), (8, 1920), (9, 3600), (u32::MAX, 3600)]
        {
            let least = Duration::from_secs(least);
            let delays: Vec<Duration> = (0..50).map(|_| back_off(failures, &mut rng)).collect();
            let most = (least + least / 4).min(MAX_BACK_OFF);
            assert!(delays.iter().all(|delay| (least..=most).contains(delay)), "{failures}");
            let varied = delays.iter().any(|delay| *delay != delays[0]);
            assert_eq!(varied, least < MAX_BACK_OFF, "{failures}");
        }
    }
}
