//! The course of a load: when its time begins to count, when it is over, and why.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use swarmloop::time::Instant;

use super::Load;
use super::conn::{Role, nanos};
use super::hold::Hold;
use super::options::Until;
use super::outcome::{Ending, Meter, Outcome};

impl Load<'_> {
    /// Begins the time that was asked for, and what is measured in it. Leeches wait until all of
    /// them are there: making connections is another workload.
    pub(super) fn start_if_due(&mut self, now: Instant) {
        if self.options.time.is_none() || self.started.is_some() {
            return;
        }
        let is_dialling = self.dialler.is_some() && !self.vacant.is_empty();
        let is_waiting = self.listener.is_some() && !self.vacant.is_empty();
        let tally = &self.shared.tally;
        let may_start = if self.options.has_leeches() && !self.options.has_seeds() {
            self.opening == 0 && !is_dialling && !is_waiting && tally.handshakes > 0
        } else {
            tally.connected > 0
        };
        if may_start {
            self.started = Some(now);
            self.handshakes_before = tally.handshakes;
            self.meter = Meter::start(self.options.pid);
        }
    }

    /// Tells why the load is over, if it is.
    pub(super) fn ending(&self, now: Instant) -> Option<Ending> {
        let began = self.started.unwrap_or(now);
        if self.options.time.is_some_and(|time| now - began >= time)
            || self.hold.as_ref().is_some_and(|hold| hold.held().is_some())
        {
            return Some(Ending::TimeOver);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Some(Ending::Stopped);
        }
        if self.is_done() {
            return Some(Ending::Done(self.shared.complete));
        }
        let is_dialling = self.dialler.is_some() && !self.vacant.is_empty();
        // A client that has closed every connection may still have work to do before it ends.
        let is_awaited = self.options.until == Until::Exit && self.shared.all_sent();
        if self.conns.is_empty() && !is_dialling && self.listener.is_none() && !is_awaited {
            return Some(Ending::NobodyLeft);
        }
        if self.meter.has_exited() {
            return Some(Ending::Exited);
        }
        (now.saturating_since(Instant::ZERO) >= self.options.limit).then_some(Ending::LimitReached)
    }

    fn is_done(&self) -> bool {
        let leeches = self.options.has_leeches();
        let total = self.shared.payload.geometry.total_len();
        if leeches && (self.options.time.is_some() || self.shared.tally.received < total) {
            return false;
        }
        let rest = u64::try_from(self.options.conns - self.options.roles.seeds);
        let rest = rest.expect("a count of sockets");
        let is_told = match self.options.roles.rest {
            _ if rest == 0 => true,
            Role::Watch => self.options.has_seeds() && self.shared.tally.fully_told >= rest,
            Role::Flood => self.shared.tally.finished >= rest,
            Role::Knock => false,
            Role::Seed | Role::Leech => true,
        };
        if !is_told {
            return false;
        }
        !self.options.has_seeds()
            || match self.options.until {
                Until::Complete => self.shared.complete.is_some(),
                Until::Sent => self.shared.all_sent(),
                // Whatever sign came before that.
                Until::Closed => self.conns.is_empty() && self.shared.all_sent(),
                Until::Exit => false,
            }
    }

    /// Returns what the load did.
    pub(super) fn finish(mut self, ending: Ending, now: Instant) -> Outcome {
        let (backlog, unanswered) = self.charge_unanswered(now);
        let choked = self.conns.iter().filter(|(_, conn)| conn.is_choked()).count();
        let active = self.conns.iter().filter(|(_, conn)| conn.is_served()).count();
        // The only clock that other processes have too.
        let wall_clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        let since_first = |first| wall_clock?.checked_sub(self.clock.now() - first);
        Outcome {
            ending,
            first_connect: self.shared.tally.first_connect.and_then(since_first),
            began: self.started.or(self.shared.tally.first_connect),
            ended: now,
            choked: u64::try_from(choked).expect("a count of sockets"),
            active: u64::try_from(active).expect("a count of sockets"),
            backlog,
            unanswered,
            handshakes_before: self.handshakes_before,
            held: self.hold.as_ref().and_then(Hold::held),
            known_pieces: self.shared.wanted.known_count(),
            spent: self.meter.stop(),
            tally: self.shared.tally,
        }
    }

    /// Charges the client for what it has left unanswered in an open loop: requests that were made,
    /// and those that fell due and found no connection free. Their time up to now is the least that
    /// they would have taken. Returns how many were not made, and how many there are in all.
    fn charge_unanswered(&mut self, now: Instant) -> (u64, u64) {
        let Some(pace) = &mut self.pace else { return (0, 0) };
        let owed = u64::try_from(self.shared.owed.len()).expect("a count of requests");
        let backlog = pace.backlog(now) + owed;
        if !self.options.has_leeches() {
            return (backlog, 0);
        }
        let made = self.conns.iter().flat_map(|(_, conn)| conn.unanswered());
        // Without a given time there is an end of what can be asked for.
        let is_endless = self.options.time.is_some();
        let due = std::iter::from_fn(|| pace.take(now)).take_while(|_| is_endless);
        let latencies = &mut self.shared.tally.block_latency;
        let answered = latencies.count();
        for due in made.chain(self.shared.owed.drain(..)).chain(due) {
            latencies.record(nanos(now, due));
        }
        (backlog, latencies.count() - answered)
    }
}
