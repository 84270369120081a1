//! One turn of one host, in the order of [`crate::session::io`], and what streams tell hosts.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::actor::{Actor, ActorIo};
use super::agenda::Happening;
use super::check::{Entry, event_number, false_claim};
use super::host::Input;
use super::net::{Side, StreamId};
use super::{HostId, MAX_TURNS_AT_ONCE, Sim, TRACKER_PORT};
use crate::disk::job::Outcome;
use crate::id::ConnId;
use crate::rng::Rng;
use crate::session::Session;
use crate::session::io::{Action, Closed, Event, Listener};
use crate::time::Duration;

/// The most bytes that one connection is read in a turn before the others get theirs.
const RECV_BUDGET: usize = 128 << 10;
/// The longest time that a name lookup takes.
const MAX_LOOKUP: Duration = Duration::from_millis(50);
/// How many bytes an actor is given at a time.
const ACTOR_READ_LEN: usize = 16 << 10;

impl Sim {
    /// Gives a session one turn.
    pub(super) fn turn(&mut self, id: HostId) {
        let now = self.now();
        let Some(mut session) = self.hosts[id.0].session.take() else { return };
        self.count_turn(id);
        // 3. Completions, accepts and finished connects; 4. reads.
        let inbox = std::mem::take(&mut self.hosts[id.0].driver.inbox);
        for input in inbox {
            self.input(id, &mut session, input);
        }
        let mut ready: Vec<ConnId> =
            std::mem::take(&mut self.hosts[id.0].driver.ready).into_iter().collect();
        self.rng.shuffle(&mut ready);
        for conn in ready {
            let Some((stream, side)) = self.hosts[id.0].driver.conns.get(&conn).copied() else {
                continue;
            };
            self.read(id, &mut session, conn, (stream, side));
            self.net.acknowledge(stream, side, &mut self.agenda);
        }
        // 5. and 6.
        session.handle_timeout(now);
        session.end_turn(now);
        // 7. Writes; 8. what is asked for and told.
        let mut writable = std::mem::take(&mut self.hosts[id.0].driver.writable);
        while let Some(conn) = session.poll_writable() {
            writable.insert(conn);
        }
        for conn in writable {
            self.write(id, &mut session, conn);
        }
        while let Some(action) = session.poll_action() {
            self.act(id, action);
        }
        self.send_datagrams(id, &mut session);
        while let Some(event) = session.poll_event() {
            self.note(id, Entry::Event, event_number(&event), 0);
            if let Some(lie) = false_claim(&self.hosts[id.0], &event) {
                panic!("host {} says {event:?}, but {lie}\n{}", id.0, self.dump());
            }
            if let Event::Metadata { torrent, .. } = &event {
                self.tell(id, Input::GoOn(*torrent));
            }
            self.hosts[id.0].log.push((now, event));
        }
        let driver = &mut self.hosts[id.0].driver;
        while let Some(conn) = session.poll_readable() {
            driver.ready.insert(conn);
        }
        driver.timer = session.poll_timeout();
        driver.woken = !driver.ready.is_empty() || !driver.inbox.is_empty();
        if driver.turns.is_multiple_of(self.options.check_every) {
            session.check_invariants();
        }
        self.hosts[id.0].session = Some(session);
    }

    fn count_turn(&mut self, id: HostId) {
        let now = self.now();
        self.note(id, Entry::Turn, 0, 0);
        let driver = &mut self.hosts[id.0].driver;
        driver.turns += 1;
        driver.turns_now = if driver.last_turn == now { driver.turns_now + 1 } else { 0 };
        driver.last_turn = now;
        let busy = driver.turns_now > MAX_TURNS_AT_ONCE;
        assert!(!busy, "host {} is in a busy loop\n{}", id.0, self.dump());
    }

    fn input(&mut self, id: HostId, session: &mut Session, input: Input) {
        let now = self.now();
        match input {
            Input::Accept(stream) => self.accept(id, session, stream),
            Input::Connected(stream) => {
                if let Some(conn) = self.conn_of(stream) {
                    self.note(id, Entry::Connected, conn.index.into(), 0);
                    session.handle_connected(conn, now);
                }
            }
            Input::Refused(stream) => {
                if let Some(conn) = self.conn_of(stream) {
                    self.note(id, Entry::Refused, conn.index.into(), 0);
                    let refused = Closed::Failed(std::io::ErrorKind::ConnectionRefused);
                    self.drop_conn(id, conn);
                    session.handle_closed(conn, refused, now);
                }
            }
            Input::Datagram(route, bytes) => {
                self.note(id, Entry::DatagramReceived, route.socket.0.into(), bytes.len() as u64);
                session.handle_datagram(route, &bytes, now);
            }
            Input::Disk(outcome) => {
                self.note(id, Entry::Disk, outcome_number(&outcome), 0);
                session.handle_disk(outcome, now);
            }
            Input::Resolved(question, addrs) => {
                self.note(id, Entry::Resolved, question.0.into(), u64::from(addrs.is_ok()));
                session.handle_resolved(question, addrs, now);
            }
            Input::GoOn(torrent) => {
                let known = self.hosts[id.0].torrent(torrent);
                let (source, options) = known.expect("it was added by its info-hash").clone();
                let new = self.new_torrent(id, &source, &options);
                session.add_torrent(new, now).expect("its metadata was missing");
            }
        }
    }

    /// Returns what the dialling session calls a stream, if it has not given it up since.
    fn conn_of(&self, stream: StreamId) -> Option<ConnId> {
        self.net.end(stream, Side::Dialler).filter(|end| end.open)?.conn
    }

    fn accept(&mut self, id: HostId, session: &mut Session, stream: StreamId) {
        let now = self.now();
        let Some(from) = self.net.end(stream, Side::Dialler).map(|end| end.addr) else { return };
        let Some(end) = self.net.end_mut(stream, Side::Acceptor) else { return };
        let tracker = end.addr.port() == TRACKER_PORT;
        let listener = if tracker { Listener::Tracker } else { Listener::Peers };
        let conn = session.handle_accepted(listener, from, now);
        end.conn = conn;
        self.note(id, Entry::Accept, conn.map_or(u64::MAX, |conn| conn.index.into()), 0);
        match conn {
            Some(conn) => {
                let driver = &mut self.hosts[id.0].driver;
                driver.conns.insert(conn, (stream, Side::Acceptor));
                driver.ready.insert(conn);
            }
            None => self.net.close(stream, Side::Acceptor, &mut self.agenda),
        }
    }

    /// Reads from a connection in random parts until nothing waits or its budget is used up.
    fn read(
        &mut self,
        id: HostId,
        session: &mut Session,
        conn: ConnId,
        (stream, side): (StreamId, Side),
    ) {
        let now = self.now();
        let mut budget = RECV_BUDGET;
        loop {
            if let Some(closed) = self.net.ending(stream, side, now) {
                self.note(id, Entry::Closed, conn.index.into(), u64::from(closed != Closed::Eof));
                self.drop_conn(id, conn);
                return session.handle_closed(conn, closed, now);
            }
            let available = self.net.available(stream, side, now);
            if available == 0 {
                return;
            }
            // A parked connection is named by `poll_readable` when it may be read again.
            let Some(mut slices) = session.recv_slices(conn) else { return };
            let most = self.net.link_mut(id).max_read.min(available);
            let max = random_len(&mut self.rng, most);
            let n = self.net.read(stream, side, slices.as_mut_slice(), max, &mut self.agenda);
            assert!(n > 0, "an offer of no bytes to read into");
            self.note(id, Entry::Received, conn.index.into(), n as u64);
            session.recv_advance(conn, n, now);
            budget = budget.saturating_sub(n);
            if budget == 0 {
                self.hosts[id.0].driver.ready.insert(conn);
                return;
            }
        }
    }

    /// Writes what a connection has to send, until nothing is left or a write is short.
    fn write(&mut self, id: HostId, session: &mut Session, conn: ConnId) {
        let now = self.now();
        while let Some((stream, side)) = self.hosts[id.0].driver.conns.get(&conn).copied() {
            let slices = session.send_slices(conn);
            let total = slices.total_len();
            if total == 0 {
                return;
            }
            let agenda = &mut self.agenda;
            let n = self.net.write(stream, side, slices.as_slice(), &mut self.rng, agenda);
            self.note(id, Entry::Sent, conn.index.into(), n as u64);
            if n > 0 {
                session.send_advance(conn, n, now);
            }
            if n < total {
                return;
            }
        }
    }

    fn act(&mut self, id: HostId, action: Action) {
        match action {
            // Nobody listens in here: what is to be secured is as good as it.
            Action::Connect { conn, addr, .. } => {
                self.note(id, Entry::Connect, conn.index.into(), addr.port().into());
                let stream = self.dial(id, Some(conn), addr);
                self.hosts[id.0].driver.conns.insert(conn, (stream, Side::Dialler));
            }
            Action::Close { conn } => {
                self.note(id, Entry::Close, conn.index.into(), 0);
                self.drop_conn(id, conn);
            }
            Action::Disk(job) => {
                let at = &self.hosts[id.0];
                let (delay, life) = (at.disk.latency(&mut self.rng), at.life);
                self.note(id, Entry::Job, job_number(&job), 0);
                self.agenda.enter_in(delay, Happening::Disk { host: id, life, job, took: delay });
            }
            Action::Resolve { id: question, host, port } => {
                self.note(id, Entry::Resolve, question.0.into(), port.into());
                let addrs = self.resolve(&host, port);
                let life = self.hosts[id.0].life;
                let delay = MAX_LOOKUP.mul_f64(self.rng.unit());
                let answer = Happening::Resolved { host: id, life, id: question, addrs };
                self.agenda.enter_in(delay, answer);
            }
        }
    }

    /// Closes a session's end of a stream: the name is stale.
    fn drop_conn(&mut self, id: HostId, conn: ConnId) {
        let driver = &mut self.hosts[id.0].driver;
        driver.ready.remove(&conn);
        driver.writable.remove(&conn);
        if let Some((stream, side)) = driver.conns.remove(&conn) {
            self.net.close(stream, side, &mut self.agenda);
        }
    }

    pub(super) fn note(&mut self, id: HostId, entry: Entry, a: u64, b: u64) {
        self.trace.add(self.agenda.now().as_micros(), id, entry, a, b);
    }

    /// Something can be read at an end: bytes, or how the stream has ended.
    pub(super) fn on_arrived(&mut self, stream: StreamId, side: Side) {
        let Some(end) = self.net.end(stream, side).filter(|end| end.open).copied() else { return };
        let driver = &mut self.hosts[end.host.0].driver;
        if let Some(conn) = end.conn {
            driver.ready.insert(conn);
            driver.woken = true;
        } else if self.hosts[end.host.0].actor.is_some() {
            self.read_for_actor(end.host, stream, side);
        }
    }

    /// There is room again for what an end has to send.
    pub(super) fn on_writable(&mut self, stream: StreamId, side: Side) {
        let Some(end) = self.net.end(stream, side).copied() else { return };
        if let Some(conn) = end.conn {
            let driver = &mut self.hosts[end.host.0].driver;
            driver.writable.insert(conn);
            driver.woken = true;
        } else {
            self.write_for_actor(end.host, stream, side);
        }
    }

    fn read_for_actor(&mut self, id: HostId, stream: StreamId, side: Side) {
        let now = self.now();
        let mut buffer = vec![0; ACTOR_READ_LEN];
        loop {
            let most = self.net.link_mut(id).max_read.min(ACTOR_READ_LEN);
            let max = random_len(&mut self.rng, most);
            let slices = &mut [std::io::IoSliceMut::new(&mut buffer)];
            let n = self.net.read(stream, side, slices, max, &mut self.agenda);
            if n == 0 {
                break;
            }
            self.note(id, Entry::Actor, stream.0.into(), n as u64);
            self.with_actor(id, |actor, io| actor.received(stream, &buffer[..n], io));
        }
        self.net.acknowledge(stream, side, &mut self.agenda);
        if self.net.ending(stream, side, now).is_some() {
            self.close_for_actor(id, stream, side);
            self.with_actor(id, |actor, io| actor.closed(stream, io));
        }
    }

    fn write_for_actor(&mut self, id: HostId, stream: StreamId, side: Side) {
        let Some(waiting) = self.hosts[id.0].driver.backlog.get_mut(&stream) else { return };
        let slices = [IoSlice::new(waiting.make_contiguous())];
        let n = self.net.write(stream, side, &slices, &mut self.rng, &mut self.agenda);
        waiting.drain(..n);
    }

    fn close_for_actor(&mut self, id: HostId, stream: StreamId, side: Side) {
        self.hosts[id.0].driver.backlog.remove(&stream);
        self.net.close(stream, side, &mut self.agenda);
    }

    /// Tells an actor something, and does what it then wants.
    pub(super) fn with_actor(
        &mut self,
        id: HostId,
        tell: impl FnOnce(&mut dyn Actor, &mut ActorIo),
    ) {
        let Some(mut actor) = self.hosts[id.0].actor.take() else { return };
        let mut io = ActorIo { now: self.now(), ..ActorIo::default() };
        tell(&mut *actor, &mut io);
        self.hosts[id.0].actor = Some(actor);
        for (stream, bytes) in io.sends {
            let Some(side) = self.side_of(id, stream) else { continue };
            self.hosts[id.0].driver.backlog.entry(stream).or_default().extend(bytes);
            self.write_for_actor(id, stream, side);
        }
        for (port, to, bytes) in io.datagrams {
            let from = SocketAddr::new(self.hosts[id.0].ip, port);
            self.send_datagram(id, from, to, bytes);
        }
        for at in io.wakes {
            self.agenda.enter(at, Happening::ActorWoken(id));
        }
        for addr in io.dials {
            self.dial(id, None, addr);
        }
        for stream in io.closes {
            if let Some(side) = self.side_of(id, stream) {
                self.close_for_actor(id, stream, side);
            }
        }
    }

    /// Returns which end of a stream is a host's.
    fn side_of(&self, id: HostId, stream: StreamId) -> Option<Side> {
        let is_mine =
            |side: &Side| self.net.end(stream, *side).is_some_and(|end| end.open && end.host == id);
        [Side::Dialler, Side::Acceptor].into_iter().find(is_mine)
    }
}

/// Returns how much is read at a time: anything from one byte to everything, small parts as likely
/// as large ones.
fn random_len(rng: &mut Rng, most: usize) -> usize {
    let bits = rng.below_u32(usize::BITS - most.leading_zeros() + 1);
    (1 + rng.below(1 << bits)).min(most)
}

fn outcome_number(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Verify { piece, .. } => u64::from(piece.0),
        Outcome::Append { piece, begin, .. } => {
            1 << 62 | u64::from(piece.0) << 24 | begin_kib(*begin)
        }
        Outcome::Read { conn, .. } => 2 << 60 | u64::from(conn.index),
        Outcome::Stat { .. } => u64::MAX,
        Outcome::Check { .. } => u64::MAX - 1,
        Outcome::Finish { .. } => u64::MAX - 2,
        Outcome::Space { .. } => u64::MAX - 3,
        Outcome::Carry { .. } => u64::MAX - 5,
        Outcome::State(_) => u64::MAX - 4,
        Outcome::LetGo { .. } => u64::MAX - 6,
        Outcome::Assembled(done) => u64::MAX - 8 - u64::from(done.result.is_ok()),
    }
}

fn begin_kib(begin: u32) -> u64 {
    u64::from(begin >> 10)
}

fn job_number(job: &crate::disk::job::Job) -> u64 {
    use crate::disk::job::Job;
    match job {
        Job::Verify(job) => u64::from(job.piece.0),
        Job::Append(job) => 1 << 62 | u64::from(job.piece.0) << 24 | begin_kib(job.begin),
        Job::Read(job) => 2 << 60 | u64::from(job.conn.index),
        Job::Stat { .. } => u64::MAX,
        Job::Check { .. } => u64::MAX - 1,
        Job::Finish { .. } => u64::MAX - 2,
        Job::Space { .. } => u64::MAX - 7,
        Job::Load { .. } => u64::MAX - 4,
        Job::Sync(_) => u64::MAX - 6,
        Job::Save(job) => u64::MAX - 8 - job.generation,
        Job::Spill(job) => 3 << 60 | job.blocks.len() as u64,
        Job::Restore(job) => 5 << 60 | job.blocks.len() as u64,
        Job::LetGo { .. } => 4 << 60,
        Job::Close { .. } => u64::MAX - 3,
        Job::Carry { .. } => u64::MAX - 5,
        Job::Assemble(job) => 5 << 60 | job.blocks.len() as u64,
    }
}
