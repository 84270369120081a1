//! Virtual time: what is to happen when, in one order that the seed decides.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::HostId;
use super::datagrams::Flying;
use super::net::{Side, StreamId};
use crate::disk::job::Job;
use crate::session::io::ResolveId;
use crate::time::{Duration, Instant};

/// Everything that is going to happen. What is due at one time happens in the order in which it
/// was entered.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    now: Instant,
    entered: u64,
    due: BTreeMap<(Instant, u64), Happening>,
}

/// Something that happens to the simulated world, not of a session's own accord.
#[derive(Debug)]
pub(super) enum Happening {
    /// A dial reaches the host that it is for.
    Accept(StreamId),
    /// The answer to a dial is back.
    Connected(StreamId),
    /// Nobody listens there: the answer to a dial is back.
    Refused(StreamId),
    /// Bytes or the end of the stream have come to this side.
    Arrived(StreamId, Side),
    /// So many bytes that this side wrote were taken by the other.
    Taken(StreamId, Side, usize),
    /// A disk has done a job that the host's given life had submitted, in this time.
    Disk { host: HostId, life: u32, job: Job, took: Duration },
    /// A name lookup of the host's given life is done.
    Resolved { host: HostId, life: u32, id: ResolveId, addrs: Result<Vec<SocketAddr>, ErrorKind> },
    /// A datagram has come to this host.
    Datagram(HostId, Flying),
    /// The time has come at which an actor wanted to be woken.
    ActorWoken(HostId),
    /// Some stream breaks.
    RandomReset,
    /// Some stream pauses.
    RandomStall,
}

impl Agenda {
    /// Returns the virtual time.
    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    /// Enters something to happen at `at`; at once if that is past.
    pub(super) fn enter(&mut self, at: Instant, happening: Happening) {
        self.entered += 1;
        self.due.insert((at.max(self.now), self.entered), happening);
    }

    /// Enters something to happen after `delay`.
    pub(super) fn enter_in(&mut self, delay: Duration, happening: Happening) {
        self.enter(self.now + delay, happening);
    }

    /// Takes out the jobs that the disk of a host is at, in the order in which they would be done.
    pub(super) fn take_jobs(&mut self, of: HostId) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (at, due) in std::mem::take(&mut self.due) {
            match due {
                Happening::Disk { host, job, .. } if host == of => jobs.push(job),
                due => _ = self.due.insert(at, due),
            }
        }
        jobs
    }

    /// Returns when the next thing happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves the clock to `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        debug_assert!(now >= self.now, "time goes forward");
        self.now = now;
    }

    /// Takes out the next thing that is due by now.
    pub(super) fn pop(&mut self) -> Option<Happening> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= self.now).then(|| entry.remove())
    }
}
