//! The turn, as the contract has it, and time.

use swarmloop::disk::job::Job;
use swarmloop::id::ConnId;
use swarmloop::session::io::{Action, MAX_DATAGRAM_LEN};
use swarmloop::time::Duration;

use super::World;

/// Turns after which a session that does not come to rest is taken to spin.
const MAX_TURNS: usize = 20_000;

impl World {
    /// Plays turns until nothing more happens without time passing.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            self.turn();
            if self.is_quiet() {
                return;
            }
        }
        panic!("the session does not come to rest at {:?}", self.now);
    }

    /// Lets time pass, with a turn at each deadline on the way.
    pub(crate) fn advance(&mut self, by: Duration) {
        let target = self.now + by;
        self.settle();
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= target) {
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = target;
        self.settle();
    }

    pub(crate) fn advance_s(&mut self, s: u64) {
        self.advance(Duration::from_secs(s));
    }

    /// Answers the oldest `n` jobs.
    pub(crate) fn run_disk(&mut self, n: usize) {
        for _ in 0..n {
            let Some(job) = self.disk.jobs.pop_front() else { break };
            if let Some(outcome) = self.disk.run(job) {
                self.session.handle_disk(outcome, self.now);
            }
        }
        self.settle();
    }

    /// One turn, in the order of the contract.
    pub(crate) fn turn(&mut self) {
        if !self.disk.held {
            for job in std::mem::take(&mut self.disk.jobs) {
                if let Some(outcome) = self.disk.run(job) {
                    self.session.handle_disk(outcome, self.now);
                }
            }
        }
        for (conn, wire) in &mut self.wires {
            while wire.open && wire.ready && !wire.to_session.is_empty() {
                let Some(mut slices) = self.session.recv_slices(*conn) else {
                    wire.ready = false;
                    break;
                };
                assert!(slices.total_len() > 0, "a read of nothing is an end of stream");
                let mut n = 0;
                for slice in slices.as_mut_slice() {
                    let take = slice.len().min(self.chunk - n).min(wire.to_session.len());
                    for (to, from) in slice.iter_mut().zip(wire.to_session.drain(..take)) {
                        *to = from;
                    }
                    n += take;
                }
                self.session.recv_advance(*conn, n, self.now);
            }
        }
        self.session.handle_timeout(self.now);
        self.session.end_turn(self.now);
        self.write();
        self.carry_out();
        self.session.check_invariants();
    }

    fn write(&mut self) {
        let blocked = self.wires.iter().filter(|(_, wire)| wire.blocked);
        let mut writable: Vec<ConnId> = blocked.map(|(conn, _)| *conn).collect();
        while let Some(conn) = self.session.poll_writable() {
            writable.push(conn);
        }
        for conn in writable {
            let Some(wire) = self.wires.get_mut(&conn).filter(|wire| wire.open) else { continue };
            loop {
                let slices = self.session.send_slices(conn);
                let n = slices.total_len().min(wire.window);
                wire.blocked = n < slices.total_len();
                let mut rest = n;
                for slice in slices.as_slice() {
                    let take = slice.len().min(rest);
                    wire.from_session.extend_from_slice(&slice[..take]);
                    rest -= take;
                }
                if n == 0 {
                    break;
                }
                wire.window -= n;
                self.session.send_advance(conn, n, self.now);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Connect { conn, addr, tls } => {
                    if let Some(name) = tls {
                        self.secured.insert(conn, name.0);
                    }
                    self.dials.push_back((conn, addr));
                }
                Action::Close { conn } => {
                    self.dials.retain(|(dialled, _)| *dialled != conn);
                    if let Some(wire) = self.wires.get_mut(&conn) {
                        assert!(std::mem::take(&mut wire.open), "{conn:?} is closed twice");
                    }
                }
                Action::Disk(job) => {
                    if let Job::Read(read) = &job {
                        self.disk.reads.push((read.piece, read.begin, read.frames.len()));
                    }
                    self.disk.jobs.push_back(job);
                }
                Action::Resolve { id, host, port } => self.lookups.push_back((id, host, port)),
                other => panic!("an action that the world cannot do: {other:?}"),
            }
        }
        let mut buf = [0; MAX_DATAGRAM_LEN];
        while let Some(transmit) = self.session.poll_datagram(&mut buf) {
            self.datagrams.push_back((transmit.route, buf[..transmit.len].to_vec()));
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        while let Some(conn) = self.session.poll_readable() {
            if let Some(wire) = self.wires.get_mut(&conn) {
                wire.ready = true;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let due = self.session.poll_timeout().is_some_and(|at| at <= self.now);
        let mut open = self.wires.values().filter(|wire| wire.open);
        let readable = open.any(|wire| wire.ready && !wire.to_session.is_empty());
        !due && !readable && (self.disk.held || self.disk.jobs.is_empty())
    }
}
