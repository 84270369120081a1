//! One way out of a session (or of one torrent of it) with a limit on payload: whose turn it is,
//! and how much may flow.
//!
//! Who finds nothing left stands in line, and is let through again by quanta, first come, first
//! served; so the rate is shared evenly by all who could use it. **Invariant:** a gate knows names
//! of connections and bytes, not what flows, and makes no wake-up while nobody stands in line.

use std::collections::{BTreeMap, VecDeque};

use crate::id::ConnId;
use crate::rate::ByteBucket;
use crate::time::{Duration, Instant};

/// A limit in one direction, and who waits for it.
#[derive(Debug)]
pub(super) struct Gate {
    bucket: ByteBucket,
    /// Who waits, each once. Kept so by [`super::throttle::Throttle`].
    line: VecDeque<ConnId>,
    /// What is left of the quantum of each who was let through since it last stood in line.
    granted: BTreeMap<ConnId, u64>,
    /// When somebody was let through last. They have had their turn at any later time.
    released_at: Instant,
}

/// The least time between letting one lot through and the next: as fine as a poll can wait.
const RELEASE_PAUSE: Duration = Duration::from_millis(1);

impl Gate {
    /// Returns a gate that lets `bytes_per_s` through, and nothing at once.
    pub(super) fn new(bytes_per_s: u64, now: Instant) -> Self {
        Self {
            bucket: ByteBucket::new(bytes_per_s, 0, now),
            line: VecDeque::new(),
            granted: BTreeMap::new(),
            released_at: Instant::ZERO,
        }
    }

    /// Changes the rate from `now` on.
    pub(super) fn set_rate(&mut self, bytes_per_s: u64, now: Instant) {
        self.bucket.set_rate(bytes_per_s, now);
    }

    /// Returns how many bytes `conn` may move now; if none, it is to stand in line.
    pub(super) fn allowance(&self, conn: ConnId) -> u64 {
        let turn = match self.granted.get(&conn) {
            Some(left) => *left,
            None if self.line.is_empty() => self.bucket.quantum(),
            None => 0,
        };
        turn.min(self.bucket.available())
    }

    /// Records that `conn` has moved `bytes`.
    pub(super) fn spend(&mut self, conn: ConnId, bytes: u64, now: Instant) {
        self.bucket.fill(now);
        self.bucket.spend(bytes);
        let quantum = self.bucket.quantum();
        let left = self.granted.entry(conn).or_insert(quantum);
        *left = left.saturating_sub(bytes);
    }

    /// Puts `conn` into the line.
    pub(super) fn wait(&mut self, conn: ConnId) {
        self.granted.remove(&conn);
        self.line.push_back(conn);
    }

    /// Forgets `conn`, which stands in line if `waits`.
    pub(super) fn forget(&mut self, conn: ConnId, waits: bool) {
        self.granted.remove(&conn);
        if waits {
            self.line.retain(|other| *other != conn);
        }
    }

    /// Lets through, into `released`, who can have a quantum of what is there. Nobody a second time
    /// at one time: those before have not had their turn.
    pub(super) fn release(&mut self, released: &mut Vec<ConnId>, now: Instant) {
        if self.line.is_empty() || now < self.released_at + RELEASE_PAUSE {
            return;
        }
        self.bucket.fill(now);
        let quantum = self.bucket.quantum();
        let turns = self.bucket.available() / quantum;
        for _ in 0..turns {
            let Some(conn) = self.line.pop_front() else { break };
            self.granted.insert(conn, quantum);
            released.push(conn);
            self.released_at = now;
        }
    }

    /// Returns when [`Gate::release`] has something to do; `None` while nobody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        let ready = || self.bucket.ready_at(self.bucket.quantum());
        (!self.line.is_empty()).then(|| ready().max(self.released_at + RELEASE_PAUSE))
    }

    /// Takes out everybody who waits, because there is no limit any more.
    pub(super) fn open(self) -> impl Iterator<Item = ConnId> {
        self.line.into_iter()
    }

    /// Returns who waits, first come first.
    pub(super) fn line(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.line.iter().copied()
    }
}
