//! How many peers of a torrent are uploaded to at one time: as many as the configuration says, and
//! fewer while a limit on uploads would leave each of them so little that it is of no use.

use crate::choker::slots_for_rate;
use crate::id::TorrentId;

use super::Session;
use super::config::Config;
use super::throttle::lower;

impl Session {
    /// Takes in how many peers a torrent may upload to now, by its own limit and by its share of
    /// that of the session.
    pub(super) fn update_slots(&mut self, torrent: TorrentId) {
        let sharers = self.rechoking;
        if let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) {
            entry.torrent.unchoke_slots = slots(&self.config, entry.limits.up, sharers);
        }
    }

    /// Asserts that torrents are counted in which somebody wants something.
    pub(super) fn check_rechoking(&self) {
        let due = self.torrents.iter().flatten().filter(|entry| entry.rechoke_at().is_some());
        assert_eq!(self.rechoking, due.count(), "torrents that are to be rechoked");
    }
}

/// Returns how many peers a torrent may upload to that has the limit `own` (0 for none), while
/// `sharers` torrents upload.
pub(super) fn slots(config: &Config, own: u64, sharers: usize) -> usize {
    if !config.slots_follow_limit {
        return config.unchoke_slots;
    }
    let in_all = config.limits.up;
    let sharers = u64::try_from(sharers.max(1)).unwrap_or(u64::MAX);
    let share = if in_all == 0 { 0 } else { (in_all / sharers).max(1) };
    match lower(share, own) {
        u64::MAX => config.unchoke_slots,
        bytes_per_s => config.unchoke_slots.min(slots_for_rate(bytes_per_s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::RateLimits;

    #[test]
    fn a_low_limit_leaves_fewer_slots_and_a_high_one_no_more_than_there_are() {
        const KIB: u64 = 1 << 10;
        let with = |up, slots_follow_limit| Config {
            limits: RateLimits { down: 1, up },
            unchoke_slots: 8,
            slots_follow_limit,
            ..Config::default()
        };
        for (in_all, own, sharers, expected) in [
            (0, 0, 1, 8),
            (0, 0, 1_000, 8),
            (20 * KIB, 0, 0, 4),
            (20 * KIB, 0, 1, 4),
            (0, 20 * KIB, 1_000, 4),
            (20 * KIB, 9 * KIB, 1, 3),
            (9 * KIB, 20 * KIB, 1, 3),
            (80 * KIB, 0, 4, 4),
            (1 << 30, 0, 1, 8),
            (1, 0, usize::MAX, 2),
        ] {
            assert_eq!(slots(&with(in_all, true), own, sharers), expected, "{in_all} {own}");
            assert_eq!(slots(&with(in_all, false), own, sharers), 8, "the user has said how many");
        }
    }
}
