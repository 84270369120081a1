//! One line a condition and not one an event: what happens again and again is told every now and
//! then, with how often it was.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The least time between two lines about one condition.
const INTERVAL: Duration = Duration::from_secs(30);

/// Conditions that are told apart; when there are more, those that were told of longest ago are
/// taken for over. Strangers can make as many as they like.
const MAX_CONDITIONS: usize = 4096;

/// What a line is about: a torrent by its number, a kind of event, and whom it is about.
pub(crate) type Key = (usize, &'static str, String);

/// When each condition was told of, and what has not been told since.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    told: BTreeMap<Key, Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    untold: u64,
}

impl Conditions {
    /// Returns how often something has happened since it was last told of, this time included, if
    /// it is to be told of at `now`.
    pub(crate) fn happened(&mut self, key: Key, now: Instant) -> Option<u64> {
        if self.told.len() >= MAX_CONDITIONS && !self.told.contains_key(&key) {
            self.forget(now);
        }
        let new = Told { at: now, untold: 0 };
        let times = match self.told.get_mut(&key) {
            Some(told) if now.saturating_duration_since(told.at) < INTERVAL => {
                told.untold += 1;
                return None;
            }
            Some(told) => std::mem::replace(told, new).untold + 1,
            None => {
                self.told.insert(key, new);
                1
            }
        };
        Some(times)
    }

    /// Drops the conditions that are over, all of them if there are too many that are not.
    fn forget(&mut self, now: Instant) {
        self.told.retain(|_, told| now.saturating_duration_since(told.at) < INTERVAL);
        if self.told.len() >= MAX_CONDITIONS {
            self.told.clear();
        }
    }
}

/// Returns a line with how often what it says has happened.
pub(crate) fn counted(line: &str, times: u64) -> String {
    if times > 1 { format!("{line} (×{times})") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_is_counted_and_told_every_now_and_then() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut conditions = Conditions::default();
        let key = |whom: &str| (1, "tracker", whom.to_owned());
        assert_eq!(conditions.happened(key("a"), after(0)), Some(1));
        for s in 1..30 {
            assert_eq!(conditions.happened(key("a"), after(s)), None);
        }
        assert_eq!(conditions.happened(key("b"), after(2)), Some(1), "another condition");
        assert_eq!(conditions.happened((2, "tracker", "a".to_owned()), after(2)), Some(1));
        assert_eq!(conditions.happened(key("a"), after(30)), Some(30));
        assert_eq!(conditions.happened(key("a"), after(31)), None);
        assert_eq!(counted("it failed", 412), "it failed (×412)");
        assert_eq!(counted("it failed", 1), "it failed");
    }

    #[test]
    fn there_are_only_so_many_conditions() {
        let now = Instant::now();
        let mut conditions = Conditions::default();
        for i in 0..3 * MAX_CONDITIONS {
            assert_eq!(conditions.happened((1, "peer", i.to_string()), now), Some(1));
            assert!(conditions.told.len() <= MAX_CONDITIONS);
        }
    }
}
