//! What a run is for, and when it is over: how long a download is waited for, and when enough was
//! uploaded. Pure: figures and times in, a verdict out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarmloop::session::io::Phase;

use super::exit::{Exit, Failure};
use super::size::{Size, brief, percent};
use super::snapshot::Snapshot;
use super::stall::stall;
use super::torrent::Torrent;

/// What a run is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Download everything.
    Get {
        /// Go on uploading afterwards, until this is met.
        seeding: Option<SeedGoal>,
        /// When to give up.
        patience: Patience,
    },
    /// Upload what is there until this is met.
    Seed(SeedGoal),
}

impl Goal {
    /// Returns until when is seeded; `None` if nothing is.
    pub(crate) const fn seeding(self) -> Option<SeedGoal> {
        match self {
            Self::Get { seeding, .. } => seeding,
            Self::Seed(goal) => Some(goal),
        }
    }

    /// Returns until when is seeded in words, if there is an end to it.
    pub(crate) fn until(self) -> Option<Arc<str>> {
        self.seeding().filter(|goal| !goal.is_endless()).map(|goal| goal.to_string().into())
    }

    /// Returns why a torrent that is being seeded has been seeded enough, if it has; `elapsed` is
    /// how long the run has taken.
    pub(crate) fn seeded_enough(
        self,
        torrent: &mut Torrent,
        elapsed: Duration,
        now: Instant,
    ) -> Option<Met> {
        let goal = self.seeding().filter(|_| torrent.is_to_be_seeded())?;
        let uploaded = torrent.snapshot.uploaded_total;
        let seeding = torrent.seeding.get_or_insert_with(|| Seeding::new(uploaded, now));
        seeding.observe(uploaded, now);
        let deadline = match self {
            Self::Get { patience, .. } => patience.deadline,
            Self::Seed(_) => None,
        };
        let deadline = deadline.filter(|deadline| elapsed >= *deadline).map(Met::Deadline);
        goal.met(seeding, torrent.snapshot.have, now).or(deadline)
    }
}

/// When seeding a torrent is over: whatever is met first; never if nothing is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SeedGoal {
    /// As many times its size was uploaded.
    pub(crate) ratio: Option<Ratio>,
    /// It was seeded for so long.
    pub(crate) time: Option<Duration>,
    /// Nothing was uploaded for so long.
    pub(crate) idle: Option<Duration>,
}

/// Payload uploaded over a torrent's life, in all runs that have kept its state, in parts of its
/// size, in thousandths.
///
/// The size is what was wanted and is there, whether it was downloaded or had been there before;
/// what was received twice or in vain makes no ratio smaller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ratio(u64);

/// Which part of a [`SeedGoal`] was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    Ratio(Ratio),
    Time(Duration),
    Idle(Duration),
    /// The whole run may take no longer.
    Deadline(Duration),
}

/// How far the seeding of a torrent is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeding {
    /// When it began.
    since: Instant,
    /// What was uploaded by the last look, and when that last grew.
    uploaded: u64,
    moved_at: Instant,
}

impl SeedGoal {
    /// Tells whether nothing but the user ends it.
    pub(crate) fn is_endless(self) -> bool {
        self == Self::default()
    }

    /// Returns what of it is met by a torrent of which `have` bytes are there.
    pub(crate) fn met(self, seeding: &Seeding, have: u64, now: Instant) -> Option<Met> {
        let seeded_for = seeding.took(now);
        let idle_for = now.saturating_duration_since(seeding.moved_at);
        let ratio = self.ratio.filter(|ratio| ratio.is_met(seeding.uploaded, have));
        let time = self.time.filter(|time| seeded_for >= *time);
        let idle = self.idle.filter(|idle| idle_for >= *idle);
        ratio.map(Met::Ratio).or(time.map(Met::Time)).or(idle.map(Met::Idle))
    }
}

/// Reads as what follows "seeding until".
impl fmt::Display for SeedGoal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.ratio.map(|ratio| format!("ratio {ratio}")),
            self.time.map(|time| format!("{} have passed", humantime::format_duration(time))),
            self.idle.map(|idle| {
                format!("{} have passed without an upload", humantime::format_duration(idle))
            }),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(" or "))
    }
}

impl Ratio {
    /// Reads a number such as `1`, `1.5` or `0.25`, more than nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let form = || "a ratio is a number such as 1.5, of at most three decimals".to_owned();
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
            return Err(form());
        }
        let whole: u64 = whole.parse().map_err(|_| form())?;
        let thousandths: u64 = format!("{decimals:0<3}").parse().map_err(|_| form())?;
        match whole.checked_mul(1_000).and_then(|whole| whole.checked_add(thousandths)) {
            None => Err(form()),
            Some(0) => Err("a ratio is more than 0; --seed has no end".to_owned()),
            Some(ratio) => Ok(Self(ratio)),
        }
    }

    fn is_met(self, uploaded: u64, size: u64) -> bool {
        u128::from(uploaded) * 1_000 >= u128::from(size) * u128::from(self.0)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:03}", self.0 % 1_000);
        let decimals = decimals.trim_end_matches('0');
        let decimals = if decimals.is_empty() { "0" } else { decimals };
        write!(f, "{}.{decimals}", self.0 / 1_000)
    }
}

impl Met {
    /// Returns a stable word for programs.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Ratio(_) => "ratio",
            Self::Time(_) => "time",
            Self::Idle(_) => "idle",
            Self::Deadline(_) => "deadline",
        }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(ratio) => write!(f, "ratio {ratio} reached"),
            Self::Time(time) => write!(f, "seeded for {}", humantime::format_duration(*time)),
            Self::Idle(time) => {
                write!(f, "nothing uploaded for {}", humantime::format_duration(*time))
            }
            Self::Deadline(time) => {
                write!(f, "the run's {} are over", humantime::format_duration(*time))
            }
        }
    }
}

impl Seeding {
    /// Begins to seed with so much uploaded before.
    pub(crate) const fn new(uploaded: u64, now: Instant) -> Self {
        Self { since: now, uploaded, moved_at: now }
    }

    /// Returns how long it has taken.
    pub(crate) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Takes in how much is uploaded by now.
    pub(crate) fn observe(&mut self, uploaded: u64, now: Instant) {
        if uploaded > self.uploaded {
            self.moved_at = now;
        }
        self.uploaded = uploaded;
    }
}

/// How long a download is waited for; without limit if nothing is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Patience {
    /// Nothing useful came for so long.
    pub(crate) timeout: Option<Duration>,
    /// The whole run takes so long.
    pub(crate) deadline: Option<Duration>,
    /// It is as slow as that.
    pub(crate) slow: Option<Slow>,
}

/// Less than so much a second in the mean of such a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slow {
    pub(crate) bytes_per_s: u64,
    pub(crate) over: Duration,
}

impl Patience {
    /// Returns why a torrent is given up, if it is: `elapsed` is how long the run has taken.
    pub(crate) fn given_up(
        self,
        torrent: &mut Torrent,
        elapsed: Duration,
        now: Instant,
    ) -> Option<Failure> {
        if let Some(slow) = self.slow {
            torrent.pace.observe(&torrent.snapshot, slow, now);
        }
        let idle_for = torrent.idle_for(now);
        let pace = self.slow.and_then(|slow| Some((slow, torrent.pace.too_slow(slow)?)));
        let (code, gave_up) = if self.timeout.is_some_and(|timeout| idle_for >= timeout) {
            ("timeout", format!("no progress for {}", brief(idle_for)))
        } else if self.deadline.is_some_and(|deadline| elapsed >= deadline) {
            ("deadline", format!("not complete after {}", brief(elapsed)))
        } else if let Some((slow, mean)) = pace {
            let (least, over) = (Size(slow.bytes_per_s), humantime::format_duration(slow.over));
            ("too_slow", format!("slower than {least}/s for {over} ({}/s)", Size(mean)))
        } else {
            return None;
        };
        let cause = stall(&torrent.snapshot).map(|stall| format!(": {}", stall.text));
        let kept = if torrent.snapshot.metadata.is_some() {
            "Its metadata was not here yet".to_owned()
        } else {
            let share = percent(torrent.snapshot.have, torrent.snapshot.size);
            format!("{share} is verified and kept")
        };
        let cause = cause.unwrap_or_default();
        let message = format!("gave up on '{}': {gave_up}{cause}. {kept}", torrent.name);
        // Who gives up waiting for space does so because there is none.
        let exit = match torrent.snapshot.phase {
            Phase::DiskFull(_) => Exit::Disk,
            _ => Exit::GaveUp,
        };
        Some(Failure::new(exit, code, message))
    }
}

/// How fast useful payload came lately.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How much there was when, oldest first. Invariant: at most [`MAX_SAMPLES`] and two.
    samples: VecDeque<(Instant, u64)>,
    /// How much there was at the last look, and when that was.
    last: Option<(Instant, u64)>,
}

/// In how many parts the time that a pace is measured over is looked at.
const MAX_SAMPLES: u32 = 64;

impl Pace {
    /// Takes in how a torrent stands; only the time in which it downloads counts.
    pub(crate) fn observe(&mut self, torrent: &Snapshot, slow: Slow, now: Instant) {
        if torrent.phase != Phase::Downloading {
            *self = Self::default();
            return;
        }
        let useful = torrent.downloaded.saturating_sub(torrent.wasted);
        self.last = Some((now, useful));
        let age = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at);
        if self.samples.back().is_none_or(|sample| age(sample) >= slow.over / MAX_SAMPLES) {
            self.samples.push_back((now, useful));
        }
        while self.samples.get(1).is_some_and(|second| age(second) >= slow.over) {
            self.samples.pop_front();
        }
    }

    /// Returns the mean of the last [`Slow::over`] in bytes a second if it is too slow; `None` also
    /// before so much time has passed.
    fn too_slow(&self, slow: Slow) -> Option<u64> {
        let ((now, bytes), (then, before)) = (self.last?, *self.samples.front()?);
        let passed = now.saturating_duration_since(then);
        if passed < slow.over {
            return None;
        }
        let came = u128::from(bytes.saturating_sub(before));
        let mean = (came * 1_000).checked_div(passed.as_millis()).unwrap_or(u128::MAX);
        let mean = u64::try_from(mean).unwrap_or(u64::MAX);
        (mean < slow.bytes_per_s).then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::tests::metainfo;
    use crate::cli::snapshot::sample;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ratio(text: &str) -> Ratio {
        Ratio::parse(text).expect("a ratio")
    }

    #[test]
    fn ratios_are_read_and_shown_as_people_write_them() {
        for (text, shown) in
            [("1", "1.0"), ("1.50", "1.5"), ("0.001", "0.001"), ("12.345", "12.345"), ("2.", "")]
        {
            let read = Ratio::parse(text).map(|ratio| ratio.to_string());
            assert_eq!(read.unwrap_or_default(), shown, "{text}");
        }
        for text in
            ["", ".5", "-1", "+1", "1,5", "1e3", "nan", "inf", "1.0000", "99999999999999999"]
        {
            assert!(Ratio::parse(text).is_err(), "{text}");
        }
        for text in ["0", "0.0", "0.000"] {
            assert!(Ratio::parse(text).is_err_and(|error| error.contains("--seed")), "{text}");
        }
    }

    #[test]
    fn a_ratio_is_met_to_the_byte() {
        for (goal, size, least) in [
            ("1", 790_626_304, 790_626_304),
            ("0.001", 1_001, 2),
            ("1.5", 3, 5),
            ("2", u64::MAX, 0),
        ] {
            let goal = ratio(goal);
            if least == 0 {
                assert!(!goal.is_met(u64::MAX, size), "nothing overflows");
                continue;
            }
            assert!(goal.is_met(least, size) && !goal.is_met(least - 1, size), "{goal} of {size}");
        }
    }

    #[test]
    fn seeding_ends_with_whatever_is_met_first() {
        type Course = (SeedGoal, &'static [(u64, u64)], Option<Met>);
        let start = Instant::now();
        let all = SeedGoal { ratio: Some(ratio("1.0")), time: Some(s(100)), idle: Some(s(30)) };
        // Looks at (second, uploaded); the last one meets something.
        let courses: [Course; 7] = [
            (SeedGoal::default(), &[(0, 0), (1_000_000, 0)], None),
            (all, &[(10, 500), (20, 999)], None),
            (all, &[(10, 500), (20, 1_000)], Some(Met::Ratio(ratio("1.0")))),
            (all, &[(29, 1), (58, 2), (87, 3), (99, 4)], None),
            (all, &[(29, 1), (58, 2), (87, 3), (100, 4)], Some(Met::Time(s(100)))),
            (all, &[(29, 1), (58, 1)], None),
            (all, &[(29, 1), (59, 1)], Some(Met::Idle(s(30)))),
        ];
        for (goal, looks, met) in courses {
            let mut seeding = Seeding::new(0, start);
            let mut seen = None;
            for (second, uploaded) in looks {
                assert_eq!(seen, None, "{looks:?}");
                let now = start + s(*second);
                seeding.observe(*uploaded, now);
                seen = goal.met(&seeding, 1_000, now);
            }
            assert_eq!(seen, met, "{looks:?}");
        }
        // What was uploaded in earlier runs counts.
        let now = Instant::now();
        assert!(all.met(&Seeding::new(1_000, now), 1_000, now).is_some());
    }

    #[test]
    fn goals_say_what_they_wait_for() {
        let goal = SeedGoal { ratio: Some(ratio("1")), time: Some(s(7_200)), idle: Some(s(90)) };
        let text = "ratio 1.0 or 2h have passed or 1m 30s have passed without an upload";
        assert_eq!(goal.to_string(), text);
        assert!(SeedGoal::default().is_endless() && !goal.is_endless());
    }

    fn torrent(start: Instant) -> Torrent {
        let (mut metainfo, id) = (metainfo(&[("t", 1, false)]), swarmloop::id::TorrentId(1));
        metainfo.name = "t".to_owned();
        Torrent::new(1, id, &metainfo, None, sample(), start)
    }

    /// Plays looks at (second, bytes downloaded) and returns when it was given up, and why.
    fn play(patience: Patience, looks: &[(u64, u64)]) -> Option<(u64, Failure)> {
        let start = Instant::now();
        let mut torrent = torrent(start);
        for (second, downloaded) in looks {
            let now = start + s(*second);
            torrent.observe(Snapshot { downloaded: *downloaded, ..sample() }, now);
            if let Some(failure) = patience.given_up(&mut torrent, s(*second), now) {
                return Some((*second, failure));
            }
        }
        None
    }

    #[test]
    fn a_download_is_given_up_for_what_was_asked_for() {
        let from = sample().downloaded;
        let still: Vec<(u64, u64)> = (0..100).map(|second| (second, from)).collect();
        let steady: Vec<(u64, u64)> =
            (0..100).map(|second| (second, from + second * 100)).collect();
        let slow = |bytes_per_s| Some(Slow { bytes_per_s, over: s(20) });
        let patience = |timeout, deadline, slow| Patience { timeout, deadline, slow };
        for (patience, looks, end) in [
            (Patience::default(), &still, None),
            (patience(Some(s(60)), None, None), &still, Some((60, "timeout"))),
            (patience(Some(s(60)), None, None), &steady, None),
            (patience(Some(s(60)), Some(s(50)), None), &still, Some((50, "deadline"))),
            (patience(None, Some(s(50)), None), &steady, Some((50, "deadline"))),
            (patience(None, None, slow(1)), &still, Some((20, "too_slow"))),
            (patience(None, None, slow(101)), &steady, Some((20, "too_slow"))),
            (patience(None, None, slow(100)), &steady, None),
        ] {
            let given_up = play(patience, looks).map(|(second, failure)| {
                assert_eq!(failure.exit, Exit::GaveUp);
                (second, failure.code)
            });
            assert_eq!(given_up, end, "{patience:?}");
        }
    }

    #[test]
    fn what_came_before_the_time_that_is_looked_at_does_not_count() {
        let from = sample().downloaded;
        // A fast start, then a crawl.
        let crawl = |second: u64| from + second.min(100) * 1_000_000 + second * 10;
        let looks: Vec<(u64, u64)> = (0..300).map(|second| (second, crawl(second))).collect();
        let slow = Some(Slow { bytes_per_s: 1_000, over: s(30) });
        let (second, failure) =
            play(Patience { slow, ..Patience::default() }, &looks).expect("slow");
        assert!((129..=131).contains(&second), "after {second} s");
        let message = "gave up on 't': slower than 1000 B/s for 30s (";
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }

    #[test]
    fn only_the_time_in_which_it_downloads_makes_it_slow() {
        let start = Instant::now();
        let slow = Slow { bytes_per_s: 1_000, over: s(10) };
        let mut pace = Pace::default();
        let checking = Snapshot { phase: Phase::Checking, ..sample() };
        for second in 0..60 {
            pace.observe(&checking, slow, start + s(second));
            assert_eq!(pace.too_slow(slow), None);
        }
        for second in 60..70 {
            pace.observe(&sample(), slow, start + s(second));
            assert_eq!(pace.too_slow(slow), None);
        }
        pace.observe(&sample(), slow, start + s(70));
        assert_eq!(pace.too_slow(slow), Some(0));
        for hour in 1..100 {
            pace.observe(&sample(), slow, start + s(hour * 3_600));
            assert!(pace.samples.len() <= MAX_SAMPLES as usize + 2);
        }
    }
}
