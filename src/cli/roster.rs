//! The torrents of a run, kept so that a frame costs as much as what it shows and no more, however
//! many there are.
//!
//! A look at all of thousands several times a second would keep the engine busy with answers. So
//! each tick looks at those that are shown, those that something happened to, and a slice of the
//! others in turn; sums and the order by rate follow each look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use swarmloop::id::TorrentId;

use super::exit::Exit;
use super::snapshot::Snapshot;
use super::torrent::{Outcome, Torrent};

/// Torrents that one tick looks at: so few that the answers take the engine well under a
/// millisecond, so many that a round through 10,000 takes ten seconds.
pub(crate) const MAX_LOOKS: usize = 256;

/// Of those, how many may have been touched: the others' turn must come, too.
const MAX_TOUCHED_LOOKS: usize = MAX_LOOKS / 2;

/// What all torrents of a run come to; rates in bytes a second. What is added wraps around, so that
/// taking it away again is exact whatever a torrent claims.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Totals {
    pub(crate) torrents: usize,
    /// Torrents of which every byte is there.
    pub(crate) complete: usize,
    /// Verified bytes.
    pub(crate) have: u64,
    /// Bytes in all.
    pub(crate) size: u64,
    pub(crate) down_rate: u64,
    pub(crate) up_rate: u64,
}

impl Totals {
    /// Adds torrents up, for the tests of what is shown.
    #[cfg(test)]
    pub(crate) fn of<'a>(torrents: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        let mut totals = Self::default();
        torrents.into_iter().for_each(|torrent| totals.add(torrent));
        totals
    }

    fn add(&mut self, torrent: &Snapshot) {
        self.torrents += 1;
        self.complete += usize::from(torrent.is_complete());
        self.have = self.have.wrapping_add(torrent.have);
        self.size = self.size.wrapping_add(torrent.size);
        self.down_rate = self.down_rate.wrapping_add(torrent.down_rate);
        self.up_rate = self.up_rate.wrapping_add(torrent.up_rate);
    }

    fn subtract(&mut self, torrent: &Snapshot) {
        self.torrents -= 1;
        self.complete -= usize::from(torrent.is_complete());
        self.have = self.have.wrapping_sub(torrent.have);
        self.size = self.size.wrapping_sub(torrent.size);
        self.down_rate = self.down_rate.wrapping_sub(torrent.down_rate);
        self.up_rate = self.up_rate.wrapping_sub(torrent.up_rate);
    }
}

/// Where a torrent stands among the others: those that have not ended before those that have, then
/// the faster, then the one that was named first.
type Rank = (bool, u64, Reverse<usize>);

/// The torrents of a run, each known by its place in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    torrents: Vec<Torrent>,
    places: BTreeMap<TorrentId, usize>,
    /// Invariant: exactly the rank of each torrent.
    ranks: BTreeSet<Rank>,
    /// Invariant: the sum over the snapshots.
    totals: Totals,
    /// Torrents that something happened to since they were looked at.
    touched: BTreeSet<usize>,
    /// Where the next slice begins.
    next: usize,
    /// Torrents that have no outcome.
    running: usize,
    /// Torrents that came through.
    complete: usize,
    /// Of those, the ones that were seeded enough.
    seeded: usize,
}

impl Roster {
    /// Adds a torrent; it has no outcome yet.
    pub(crate) fn add(&mut self, torrent: Torrent) {
        let place = self.torrents.len();
        self.places.insert(torrent.id, place);
        self.totals.add(&torrent.snapshot);
        self.ranks.insert(rank(place, &torrent));
        self.torrents.push(torrent);
        self.running += 1;
    }

    /// Returns all torrents in the order in which they were added.
    pub(crate) fn all(&self) -> &[Torrent] {
        &self.torrents
    }

    /// Returns where a torrent is; events may be about one that was refused.
    pub(crate) fn place(&self, id: TorrentId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    pub(crate) fn torrent(&self, place: usize) -> &Torrent {
        &self.torrents[place]
    }

    /// Lends a torrent for changes of what the roster does not keep sums of.
    pub(crate) fn torrent_mut(&mut self, place: usize) -> &mut Torrent {
        &mut self.torrents[place]
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Tells whether there are torrents that have not ended.
    pub(crate) const fn is_running(&self) -> bool {
        self.running > 0
    }

    /// Returns how many torrents have come through and were not seeded enough yet.
    pub(crate) const fn seeding(&self) -> usize {
        self.complete - self.seeded
    }

    /// Takes in how a torrent stands at `now`.
    pub(crate) fn observe(&mut self, place: usize, snapshot: Snapshot, now: Instant) {
        self.change(place, |torrent| torrent.observe(snapshot, now));
    }

    /// Takes in how a torrent stands after an event, which is no look at its progress.
    pub(crate) fn replace(&mut self, place: usize, snapshot: Snapshot) {
        self.change(place, |torrent| torrent.replace(snapshot));
    }

    /// Ends a torrent. Returns false if it has ended before, and then changes nothing.
    pub(crate) fn end(&mut self, place: usize, outcome: Outcome) -> bool {
        if self.torrents[place].outcome.is_some() {
            return false;
        }
        self.running -= 1;
        self.complete += usize::from(matches!(outcome, Outcome::Complete));
        self.change(place, |torrent| torrent.outcome = Some(outcome));
        true
    }

    /// Ends the seeding of a torrent that has come through.
    pub(crate) fn end_seeding(&mut self, place: usize) {
        let torrent = &mut self.torrents[place];
        self.seeded += usize::from(!std::mem::replace(&mut torrent.is_seeded, true));
    }

    /// Takes in that a torrent has ended and is taken out of the engine: nothing moves any more.
    pub(crate) fn let_go(&mut self, place: usize) {
        self.change(place, Torrent::let_go);
    }

    /// Takes in that a torrent which was away is in the engine again, under another name.
    pub(crate) fn come_back(&mut self, place: usize, id: TorrentId, snapshot: Snapshot) {
        self.places.remove(&self.torrents[place].id);
        self.places.insert(id, place);
        self.torrents[place].come_back(id);
        self.replace(place, snapshot);
    }

    /// Notes that something happened to a torrent, so that the next tick looks at it.
    pub(crate) fn touch(&mut self, place: usize) {
        self.touched.insert(place);
    }

    /// Returns the busiest torrents, at most so many.
    pub(crate) fn busiest(&self, at_most: usize) -> Vec<usize> {
        self.ranks.iter().rev().take(at_most).map(|&(_, _, Reverse(place))| place).collect()
    }

    /// Returns the torrents that a tick should look at, at most [`MAX_LOOKS`] and each once, in
    /// order: those of `shown`, those that were touched, and the next of the others.
    pub(crate) fn due(&mut self, shown: &[usize]) -> Vec<usize> {
        let mut due: BTreeSet<usize> = shown.iter().take(MAX_LOOKS).copied().collect();
        for _ in 0..MAX_TOUCHED_LOOKS.min(MAX_LOOKS - due.len()) {
            due.extend(self.touched.pop_first());
        }
        for _ in 0..self.torrents.len().min(MAX_LOOKS - due.len()) {
            due.insert(self.next);
            self.next = (self.next + 1) % self.torrents.len();
        }
        due.into_iter().collect()
    }

    /// Returns what the failed torrents should make the process exit with.
    pub(crate) fn failures(&self) -> impl Iterator<Item = Exit> {
        self.torrents.iter().filter_map(|torrent| match &torrent.outcome {
            Some(Outcome::Failed(failure)) => Some(failure.exit),
            _ => None,
        })
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut Torrent)) {
        let torrent = &mut self.torrents[place];
        self.ranks.remove(&rank(place, torrent));
        self.totals.subtract(&torrent.snapshot);
        change(torrent);
        self.totals.add(&torrent.snapshot);
        self.ranks.insert(rank(place, torrent));
    }
}

fn rank(place: usize, torrent: &Torrent) -> Rank {
    let rate = torrent.snapshot.down_rate.max(torrent.snapshot.up_rate);
    (torrent.outcome.is_none(), rate, Reverse(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Failure;
    use crate::cli::files::tests::metainfo;
    use crate::cli::snapshot::sample;

    fn roster(torrents: u32) -> Roster {
        let mut roster = Roster::default();
        let metainfo = metainfo(&[("a", 25, false)]);
        for i in 0..torrents {
            let number = usize::try_from(i).expect("small") + 1;
            let idle = Snapshot { down_rate: 0, up_rate: 0, ..sample() };
            let id = TorrentId(i);
            roster.add(Torrent::new(number, id, &metainfo, None, idle, Instant::now()));
        }
        roster
    }

    #[test]
    fn sums_follow_every_look_and_event() {
        let mut roster = roster(5);
        let done = Snapshot { have: sample().size, up_rate: 7, down_rate: 0, ..sample() };
        roster.observe(1, done.clone(), Instant::now());
        roster.replace(3, Snapshot { have: 0, size: u64::MAX, ..sample() });
        assert_eq!((roster.totals().torrents, roster.totals().complete), (5, 1));
        assert_eq!(roster.totals().up_rate, 7 + sample().up_rate);
        roster.replace(3, done);
        let recounted = Totals::of(roster.all().iter().map(|torrent| &torrent.snapshot));
        assert_eq!(*roster.totals(), recounted);
    }

    #[test]
    fn the_busiest_come_first_and_the_ended_last() {
        let mut roster = roster(4);
        assert_eq!(roster.busiest(9), [0, 1, 2, 3], "all are idle");
        let at = |down_rate| Snapshot { down_rate, up_rate: 0, ..sample() };
        roster.replace(2, at(5));
        roster.replace(3, at(9));
        assert_eq!(roster.busiest(3), [3, 2, 0]);
        assert!(roster.end(3, Outcome::Complete));
        assert_eq!(roster.busiest(9), [2, 0, 1, 3]);
    }

    #[test]
    fn an_outcome_is_final() {
        let mut roster = roster(2);
        let failure = || Failure::new(Exit::Disk, "x", "x");
        assert!(roster.end(0, Outcome::Failed(failure())));
        assert!(!roster.end(0, Outcome::Complete));
        assert!(roster.is_running());
        assert!(roster.end(1, Outcome::Complete));
        assert!(!roster.is_running());
        assert_eq!(roster.seeding(), 1);
        for _ in 0..2 {
            roster.end_seeding(1);
            assert_eq!(roster.seeding(), 0);
        }
        assert_eq!(roster.failures().collect::<Vec<_>>(), [Exit::Disk]);
    }

    #[test]
    fn few_torrents_are_all_looked_at() {
        let mut roster = roster(3);
        for _ in 0..3 {
            assert_eq!(roster.due(&[1]), [0, 1, 2]);
        }
        assert!(Roster::default().due(&[]).is_empty());
    }

    #[test]
    fn of_many_the_shown_and_the_touched_are_looked_at_and_the_others_in_turn() {
        let count = 3 * MAX_LOOKS;
        let mut roster = roster(u32::try_from(count).expect("small"));
        let last = count - 1;
        roster.touch(last - 1);
        let due = roster.due(&[last]);
        assert!(due.ends_with(&[last - 1, last]) && due.len() == MAX_LOOKS, "{due:?}");
        assert!(!roster.due(&[last]).contains(&(last - 1)), "once is enough");
        // However many were touched, a tick has its bound, and the others' turn comes.
        (0..count / 2).for_each(|place| roster.touch(place));
        let mut seen = BTreeSet::new();
        for _ in 0..count.div_ceil(MAX_LOOKS - MAX_TOUCHED_LOOKS) {
            let due = roster.due(&[]);
            assert!(due.len() <= MAX_LOOKS, "{} looks", due.len());
            seen.extend(due);
        }
        assert_eq!(seen.len(), count);
    }
}
