//! Queries that have not been answered: which reply belongs to which, and how long one is waited
//! for.
//!
//! ```text
//!        open             stall_after            QUERY_TIMEOUT
//!  ------------> waiting -------------> stalled ---------------> expired
//!                   \--- answered ---/----/
//! ```
//!
//! A transaction id is a hash over a secret, a count and the address asked, so that it says nothing
//! of the next one. **Invariant:** only a reply with the id of a query that waits, from the very
//! address that it was sent to, is an answer to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use sha1::{Digest, Sha1};

use super::lookup::LookupId;
use crate::time::{Duration, Instant};

/// How long an answer is waited for in all: on the ways of the internet that answer at all, most
/// answers come within a second.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(4);
/// After which time at most a query counts as stalled: its place is given to another, and an answer
/// is still welcome (libtorrent: short timeout of 1 s).
const MAX_STALL: Duration = Duration::from_secs(1);
/// After which time at the least, however fast the others answer.
const MIN_STALL: Duration = Duration::from_millis(200);
/// Queries that wait at once: beyond what [`super::MAX_SEARCHES_AT_ONCE`] lookups of each family
/// and the upkeep have under way, each of some 120 bytes.
pub(super) const MAX_CALLS: usize = 1_024;

/// A transaction id: 32 bits that cannot be guessed, for an address that must be right as well.
pub(super) type Transaction = [u8; 4];

/// Queries that wait for an answer.
#[derive(Debug)]
pub(super) struct Calls {
    secret: [u8; 32],
    /// How many were opened.
    count: u64,
    waiting: BTreeMap<Transaction, Call>,
    /// When each of `waiting` is to be looked at: exactly one entry each.
    deadlines: BTreeSet<(Instant, Transaction)>,
    times: RoundTrips,
}

/// A query that waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Call {
    /// Who was asked.
    pub(super) to: SocketAddr,
    /// On whose behalf.
    pub(super) purpose: Purpose,
    sent_at: Instant,
    due_at: Instant,
    is_stalled: bool,
}

/// On whose behalf a node is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// A lookup's.
    Lookup(LookupId),
    /// A lookup's, for those around.
    Around(LookupId),
    /// To store us for what the lookup has looked for.
    Announce(LookupId),
    /// The routing table's.
    Check,
}

/// What has become of a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overdue {
    /// It takes longer than most; it may still be answered.
    Stalled(Call),
    /// It will not be answered.
    Expired(Call),
}

impl Calls {
    /// Returns none; transaction ids derive from `secret`.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            count: 0,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            times: RoundTrips::default(),
        }
    }

    /// Tells whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_CALLS
    }

    /// Opens a query to `to` and returns its transaction id.
    pub(super) fn open(&mut self, to: SocketAddr, purpose: Purpose, now: Instant) -> Transaction {
        debug_assert!(self.has_room());
        let transaction = loop {
            let transaction = self.next_transaction(to);
            if !self.waiting.contains_key(&transaction) {
                break transaction;
            }
        };
        let due_at = now + self.times.stall_after();
        let call = Call { to, purpose, sent_at: now, due_at, is_stalled: false };
        self.waiting.insert(transaction, call);
        self.deadlines.insert((due_at, transaction));
        transaction
    }

    /// Takes out the query that an answer from `from` with this transaction id is for; `None` if
    /// there is none: it comes too late, or is forged.
    pub(super) fn close(&mut self, id: &[u8], from: SocketAddr, now: Instant) -> Option<Call> {
        let id = Transaction::try_from(id).ok()?;
        let call = *self.waiting.get(&id).filter(|call| call.to == from)?;
        self.waiting.remove(&id);
        self.deadlines.remove(&(call.due_at, id));
        self.times.add(now - call.sent_at);
        Some(call)
    }

    /// Takes the next one that is overdue at `now`; `None` once there is none.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Overdue> {
        let (due_at, id) = *self.deadlines.first().filter(|(due_at, _)| *due_at <= now)?;
        self.deadlines.remove(&(due_at, id));
        let call = self.waiting.get_mut(&id).expect("every deadline has its query");
        let before = *call;
        if before.is_stalled {
            self.waiting.remove(&id);
            return Some(Overdue::Expired(before));
        }
        call.is_stalled = true;
        call.due_at = call.sent_at + QUERY_TIMEOUT;
        self.deadlines.insert((call.due_at, id));
        Some(Overdue::Stalled(before))
    }

    /// Returns when the next one is overdue.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes what waits on behalf of a lookup for the routing table's: the lookup has ended, and
    /// whether those nodes are there is worth knowing all the same. O(queries).
    pub(super) fn release(&mut self, lookup: LookupId) {
        let purposes =
            [Purpose::Lookup(lookup), Purpose::Around(lookup), Purpose::Announce(lookup)];
        let of_it = self.waiting.values_mut().filter(|call| purposes.contains(&call.purpose));
        of_it.for_each(|call| call.purpose = Purpose::Check);
    }

    fn next_transaction(&mut self, to: SocketAddr) -> Transaction {
        self.count += 1;
        let mut hash = Sha1::new();
        hash.update(self.secret);
        hash.update(b"dht transaction");
        hash.update(self.count.to_be_bytes());
        match to {
            SocketAddr::V4(to) => hash.update(to.ip().octets()),
            SocketAddr::V6(to) => hash.update(to.ip().octets()),
        }
        hash.update(to.port().to_be_bytes());
        let hash: [u8; 20] = hash.finalize().into();
        *hash.first_chunk().expect("a hash has 20 bytes")
    }
}

/// How long answers take: a smoothed mean and deviation, as TCP has them (RFC 6298).
#[derive(Debug, Default)]
struct RoundTrips {
    /// Mean and mean deviation; `None` before the first answer.
    smoothed: Option<(Duration, Duration)>,
}

impl RoundTrips {
    fn add(&mut self, time: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (time, time / 2),
            Some((mean, deviation)) => {
                let off = time.abs_diff(mean);
                ((mean * 7 + time) / 8, (deviation * 3 + off) / 4)
            }
        });
    }

    fn stall_after(&self) -> Duration {
        let usual = |(mean, deviation)| mean + deviation * 4;
        self.smoothed.map_or(MAX_STALL, usual).clamp(MIN_STALL, MAX_STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose = Purpose::Check;

    fn node(last: u8) -> SocketAddr {
        SocketAddr::from(([11, 0, 0, last], 6881))
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn only_the_one_who_was_asked_can_answer_and_only_once() {
        let mut calls = Calls::new([7; 32]);
        let id = calls.open(node(1), PURPOSE, at(0));
        assert_eq!(calls.close(&id, node(2), at(1)), None, "somebody else");
        let other_port = SocketAddr::from(([11, 0, 0, 1], 6882));
        assert_eq!(calls.close(&id, other_port, at(1)), None);
        assert_eq!(calls.close(&id[..3], node(1), at(1)), None);
        assert_eq!(calls.close(&[id[0] ^ 1, id[1], id[2], id[3]], node(1), at(1)), None);
        assert_eq!(calls.close(&id, node(1), at(1)).map(|call| call.to), Some(node(1)));
        assert_eq!(calls.close(&id, node(1), at(1)), None, "once");
        assert_eq!((calls.waiting.len(), calls.next_at()), (0, None));
    }

    #[test]
    fn transaction_ids_neither_repeat_nor_follow_from_each_other() {
        let mut calls = Calls::new([7; 32]);
        let mut other = Calls::new([8; 32]);
        let ids: Vec<_> = (0..1_000).map(|_| calls.open(node(1), PURPOSE, at(0))).collect();
        let others: BTreeSet<_> = (0..1_000).map(|_| other.open(node(1), PURPOSE, at(0))).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(ids.iter().filter(|id| others.contains(*id)).count() < 3, "another secret");
        let first_bytes: BTreeSet<_> = ids.iter().map(|id| id[0]).collect();
        assert!(first_bytes.len() > 200, "{}", first_bytes.len());
    }

    #[test]
    fn a_query_stalls_and_then_expires() {
        let mut calls = Calls::new([7; 32]);
        let id = calls.open(node(1), PURPOSE, at(0));
        calls.open(node(2), PURPOSE, at(100));
        assert_eq!(calls.poll(at(999)), None);
        let Some(Overdue::Stalled(call)) = calls.poll(at(1_000)) else { panic!("it stalls") };
        assert_eq!((call.to, calls.poll(at(1_000))), (node(1), None));
        assert_eq!(calls.next_at(), Some(at(1_100)));
        assert!(calls.close(&id, node(1), at(3_999)).is_some(), "late, but welcome");
        assert!(
            matches!(calls.poll(at(9_000)), Some(Overdue::Stalled(call)) if call.to == node(2))
        );
        assert!(
            matches!(calls.poll(at(9_000)), Some(Overdue::Expired(call)) if call.to == node(2))
        );
        assert_eq!((calls.poll(at(9_000)), calls.next_at()), (None, None));
    }

    #[test]
    fn what_counts_as_stalled_follows_from_how_long_answers_take() {
        let mut times = RoundTrips::default();
        assert_eq!(times.stall_after(), MAX_STALL);
        for _ in 0..50 {
            times.add(Duration::from_millis(100));
        }
        assert_eq!(times.stall_after(), MIN_STALL);
        for ms in [50, 350].repeat(20) {
            times.add(Duration::from_millis(ms));
        }
        let mixed = times.stall_after();
        assert!((Duration::from_millis(600)..MAX_STALL).contains(&mixed), "{mixed:?}");
        for _ in 0..50 {
            times.add(Duration::from_secs(3));
        }
        assert_eq!(times.stall_after(), MAX_STALL);
    }

    #[test]
    fn what_a_lookup_has_asked_is_the_tables_once_it_has_ended() {
        let mut calls = Calls::new([7; 32]);
        let lookups = [1, 1, 2].map(|id| Purpose::Lookup(LookupId(id)));
        let ids = lookups.map(|purpose| calls.open(node(1), purpose, at(0)));
        calls.release(LookupId(1));
        let purposes = ids.map(|id| calls.close(&id, node(1), at(1)).expect("it waits").purpose);
        assert_eq!(purposes, [Purpose::Check, Purpose::Check, Purpose::Lookup(LookupId(2))]);
    }
}
