//! The network load: thousands of connections to one client, held by one thread and one poll.
//!
//! [`Load::run`] is the loop. A connection ([`conn`]) is lean: it reads into one buffer that all
//! share and parses there ([`inbox`]), serves what is asked of it with one vectored write of slices
//! of the payload ([`outbox`]), asks for blocks from one list that all share ([`wanted`]), at the
//! client's pace or at one of ours ([`pace`]), and compares what comes in place. When a load begins
//! to count and when it is over is in [`course`]; what happened is counted in [`tally`] and told by
//! [`outcome`].

mod alarm;
mod conn;
mod course;
mod dial;
mod hold;
mod inbox;
mod options;
mod outbox;
mod outcome;
mod pace;
mod tally;
mod wanted;

pub(crate) use self::conn::Role;
pub(crate) use self::options::{LoadArgs, Options, Roles, Until};
pub(crate) use self::outcome::Outcome;
pub(crate) use self::wanted::Order;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::SockRef;
use swarmloop::reactor::clock::Clock;
use swarmloop::reactor::egress::Egress;
use swarmloop::reactor::net;
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};

use self::alarm::Alarm;
use self::conn::{Conn, Phase, Shared, Signal};
use self::dial::Dialler;
use self::hold::Hold;
use self::outcome::Meter;
use self::pace::Pace;
use self::tally::{Cause, Tally};
use self::wanted::Wanted;
use crate::payload::Payload;
use crate::stop;

/// Bytes read at a time, for all connections: what stays in a second-level cache.
const READ_LEN: usize = 256 * 1024;
/// Reads from one connection before the others have their turn.
const MAX_READS: usize = 4;
/// Events of one poll.
const MAX_EVENTS: usize = 1_024;
/// Time between two looks at everything that is not an event.
const TICK: Duration = Duration::from_millis(20);
/// How long a stream may take to open and its handshake to be answered (libtorrent: 10 s).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks for connections that are too late.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

const LISTENER: Token = Token(usize::MAX - 1);
const ALARM: Token = Token(usize::MAX - 2);

/// A load on one client.
pub(crate) struct Load<'a> {
    options: &'a Options,
    clock: Clock,
    poll: Poll,
    listener: Option<TcpListener>,
    dialler: Option<Dialler>,
    alarm: Alarm,
    conns: Slab<Conn>,
    shared: Shared<'a>,
    lists: Lists,
    pace: Option<Pace>,
    /// Set by a signal that asks for the end.
    stop: Arc<AtomicBool>,
    meter: Meter,
    hold: Option<Hold>,
    /// What is to be played on connections that are not there yet.
    vacant: Vec<Role>,
    /// When the time that was asked for began: all connections were there.
    started: Option<Instant>,
    /// Handshakes that were answered before that.
    handshakes_before: u64,
    /// Connections whose handshake is not answered yet.
    opening: usize,
    /// Until then nothing is dialled.
    resting_until: Instant,
    next_tick: Instant,
    next_sweep: Instant,
    next_churn: Instant,
}

/// Connections that have something to be done. One that is closed while it is in a list stays
/// there; whoever takes it out knows by its flag.
#[derive(Debug, Default)]
struct Lists {
    /// To be read.
    ready: VecDeque<usize>,
    /// That could say more.
    hungry: VecDeque<usize>,
    /// That could say more if there were more to ask for.
    starved: Vec<usize>,
    /// To be written.
    dirty: Vec<usize>,
}

/// Carries a load out.
///
/// # Errors
/// The system refused what the loop itself needs.
pub(crate) fn run(options: &Options, payload: &Payload) -> io::Result<Outcome> {
    Load::new(options, payload)?.run()
}

impl<'a> Load<'a> {
    fn new(options: &'a Options, payload: &'a Payload) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener =
            options.listen.map(|addr| net::listen(addr, &Egress::any())).transpose()?;
        if let Some(listener) = &mut listener {
            poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        }
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let endless = options.time.is_some();
        let seeds = swarmloop::reactor::clock::seeds()?;
        Ok(Self {
            options,
            clock: Clock::start(),
            poll,
            alarm,
            dialler: options.target.map(Dialler::new),
            hold: options.hold.map(|window| Hold::new(options.conns, window)),
            vacant: (0..options.conns).rev().map(|n| options.roles.of(n)).collect(),
            listener,
            conns: Slab::with_capacity(options.conns),
            shared: Shared {
                payload,
                wanted: Wanted::new(payload.geometry, options.order, endless),
                tally: Tally::default(),
                rng: Rng::new(seeds.rng),
                complete: None,
                outstanding: options.outstanding,
                paced: options.rate.is_some(),
                owed: VecDeque::new(),
            },
            lists: Lists::default(),
            pace: None,
            stop: stop::on_signals()?,
            meter: Meter::start(options.pid),
            started: None,
            handshakes_before: 0,
            opening: 0,
            resting_until: Instant::ZERO,
            next_tick: Instant::ZERO,
            next_sweep: Instant::ZERO,
            next_churn: Instant::ZERO,
        })
    }

    fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let mut buffer = vec![0; READ_LEN];
        loop {
            self.wait(&mut events)?;
            let now = self.clock.now();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(now),
                    ALARM => {}
                    Token(key) => self.on_event(key, event, now),
                }
            }
            self.read_ready(&mut buffer);
            let now = self.clock.now();
            self.tick(now);
            self.open_more(now);
            self.feed(now);
            self.flush();
            if let Some(ending) = self.ending(now) {
                return Ok(self.finish(ending, now));
            }
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.clock.now();
        let mut timeout = self.next_tick - now;
        let is_owed = !self.shared.owed.is_empty() && !self.lists.hungry.is_empty();
        if !self.lists.ready.is_empty() || !self.lists.dirty.is_empty() || is_owed {
            timeout = Duration::ZERO;
        } else if let Some(pace) = &self.pace
            && !self.lists.hungry.is_empty()
        {
            self.alarm.set(pace.next(), now)?;
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn on_event(&mut self, key: usize, event: &Event, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Connecting {
            match net::is_connected(&conn.socket) {
                Ok(true) => self.on_open(key, now),
                Ok(false) => return,
                Err(error) => return self.close(key, Cause::of(&error)),
            }
        }
        let conn = &mut self.conns[key];
        conn.hung_up |= event.is_read_closed() || event.is_error();
        if (event.is_readable() || conn.hung_up) && !std::mem::replace(&mut conn.readable, true) {
            self.lists.ready.push_back(key);
        }
        if event.is_writable() && !std::mem::replace(&mut conn.writable, true) {
            self.lists.touch(key, conn);
        }
    }

    /// A stream is open.
    fn on_open(&mut self, key: usize, now: Instant) {
        let conn = &mut self.conns[key];
        conn.greet(&mut self.shared, now);
        self.lists.touch(key, conn);
        self.shared.tally.connected += 1;
        self.shared.tally.first_connect.get_or_insert(now);
    }

    fn accept(&mut self, now: Instant) {
        while let Some(accepted) = self.listener.as_ref().map(net::accept) {
            match accepted {
                // Those that are too many are closed.
                Ok((socket, _)) => {
                    if let Some(role) = self.vacant.pop()
                        && let Some(key) = self.add(socket, role, now)
                    {
                        self.on_open(key, now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The next tick tries again.
                Err(error) => return self.shared.tally.end(Cause::of(&error)),
            }
        }
    }

    /// Dials as many connections as may be under way.
    fn open_more(&mut self, now: Instant) {
        let allowed = self.hold.as_ref().map_or(self.options.conns, Hold::allowed);
        while self.opening < self.options.in_flight
            && self.conns.len() < allowed
            && self.clock.now() >= self.resting_until
        {
            let Some(dialler) = &mut self.dialler else { return };
            let Some(role) = self.vacant.pop() else { return };
            match dialler.dial() {
                Ok(socket) => {
                    self.add(socket, role, now);
                }
                Err(error) => self.fail(role, Cause::of(&error)),
            }
        }
    }

    /// Puts a socket into the table, its stream yet to be opened, and returns where.
    fn add(&mut self, mut socket: TcpStream, role: Role, now: Instant) -> Option<usize> {
        let entry = self.conns.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut socket, Token(key), interest);
        let prepared = match role {
            // Without it, every handshake of a storm would leave a port in TIME_WAIT.
            Role::Knock => {
                registered.and_then(|()| SockRef::from(&socket).set_linger(Some(Duration::ZERO)))
            }
            _ => registered,
        };
        if let Err(error) = prepared {
            self.fail(role, Cause::of(&error));
            return None;
        }
        entry.insert(Conn::new(socket, role, Phase::Connecting, now));
        self.opening += 1;
        Some(key)
    }

    fn read_ready(&mut self, buffer: &mut [u8]) {
        for _ in 0..self.lists.ready.len() {
            let Some(key) = self.lists.ready.pop_front() else { return };
            if let Err(cause) = self.read(key, buffer) {
                self.close(key, cause);
            }
        }
    }

    fn read(&mut self, key: usize, buffer: &mut [u8]) -> Result<(), Cause> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        for _ in 0..MAX_READS {
            if !conn.readable {
                break;
            }
            match conn.socket.read(buffer) {
                Ok(0) if conn.has_finished() => {
                    self.leave(key);
                    return Ok(());
                }
                Ok(0) => return Err(Cause::Eof),
                Ok(n) => {
                    let now = self.clock.now();
                    conn.take_in(&buffer[..n], &mut self.shared, now)?;
                    conn.readable = n == buffer.len() || conn.hung_up;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Cause::of(&error)),
            }
        }
        if conn.readable {
            self.lists.ready.push_back(key);
        }
        if conn.phase == Phase::Open && !std::mem::replace(&mut conn.is_counted, true) {
            self.opening -= 1;
            let open = self.conns.len() - self.opening;
            let most = &mut self.shared.tally.most_open;
            *most = (*most).max(u64::try_from(open).expect("a count of sockets"));
        }
        let conn = &mut self.conns[key];
        if conn.role == Role::Knock && conn.has_finished() {
            self.leave(key);
            return Ok(());
        }
        self.lists.touch(key, conn);
        self.lists.feed(key, conn, &self.shared);
        Ok(())
    }

    /// Closes a connection that has done what its role is for; in a run of a given time, another
    /// one takes its place.
    fn leave(&mut self, key: usize) {
        let role = self.conns[key].role;
        self.remove(key);
        self.shared.tally.finished += 1;
        if role == Role::Flood {
            self.shared.tally.last_payload = Some(self.clock.now());
        }
        if self.options.time.is_some() {
            self.vacant.push(role);
        }
    }

    /// Lets connections ask for more: in a closed loop as much as they may have outstanding, in an
    /// open one what is due, one after the other.
    fn feed(&mut self, now: Instant) {
        if self.options.time.is_some() && self.started.is_none() {
            return;
        }
        if let (None, Some(rate)) = (&self.pace, self.options.rate)
            && !self.lists.hungry.is_empty()
        {
            self.pace = Some(Pace::new(rate, now));
        }
        if !self.lists.starved.is_empty() && self.shared.wanted.has_more() {
            let mut starved = std::mem::take(&mut self.lists.starved);
            for key in starved.drain(..) {
                if let Some(conn) = self.conns.get_mut(key) {
                    self.lists.feed(key, conn, &self.shared);
                }
            }
            self.lists.starved = starved;
        }
        while let Some(&key) = self.lists.hungry.front() {
            let conn = self.conns.get_mut(key).filter(|conn| conn.is_hungry);
            let Some(conn) = conn.filter(|conn| conn.has_room(&self.shared)) else {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.is_hungry = false;
                }
                self.lists.hungry.pop_front();
                continue;
            };
            if !conn.has_topic(&self.shared) {
                conn.is_hungry = false;
                self.lists.hungry.pop_front();
                self.lists.starved.push(key);
                continue;
            }
            let due = match &mut self.pace {
                Some(pace) => self.shared.owed.pop_front().or_else(|| pace.take(now)),
                None => Some(now),
            };
            let Some(due) = due else { return };
            conn.say(&mut self.shared, due);
            self.lists.touch(key, conn);
            if self.pace.is_some() {
                self.lists.hungry.rotate_left(1);
            }
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.lists.dirty);
        for key in dirty.drain(..) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            if !std::mem::take(&mut conn.is_dirty) {
                continue;
            }
            match conn.flush(self.shared.payload) {
                Ok(flushed) => {
                    let tally = &mut self.shared.tally;
                    tally.sent += flushed.payload;
                    tally.blocks_sent += flushed.blocks;
                    if flushed.payload > 0 {
                        tally.last_payload = Some(self.clock.now());
                    }
                    self.lists.touch(key, conn);
                    self.lists.feed(key, conn, &self.shared);
                    if let Err(error) = conn.end_if_all_told(&self.shared) {
                        self.close(key, Cause::of(&error));
                    }
                }
                Err(error) => self.close(key, Cause::of(&error)),
            }
        }
        // Its room is kept; what was touched meanwhile (used up its budget) is for the next turn.
        dirty.append(&mut self.lists.dirty);
        self.lists.dirty = dirty;
    }

    /// Closes a connection that has failed, if it is still there.
    fn close(&mut self, key: usize, cause: Cause) {
        let Some(role) = self.remove(key) else { return };
        self.fail(role, cause);
        if self.conns.is_empty() && self.shared.all_sent() {
            self.shared.signal(Signal::Closed);
        }
    }

    /// Counts a connection that has failed. Another one takes its place where they come by
    /// themselves, and in a storm, which would calm down otherwise; but only once the client has
    /// answered at all, and not at once if it, or the system, takes no more just now.
    fn fail(&mut self, role: Role, cause: Cause) {
        self.shared.tally.end(cause);
        let is_storm = role == Role::Knock && self.shared.tally.handshakes > 0;
        if self.listener.is_some() || is_storm {
            self.vacant.push(role);
        }
        if matches!(cause, Cause::Refused | Cause::NoAddress | Cause::NoDescriptor) {
            self.resting_until = self.clock.now() + TICK;
        }
    }

    /// Takes a connection out of the table, which closes its socket.
    fn remove(&mut self, key: usize) -> Option<Role> {
        let mut conn = self.conns.try_remove(key)?;
        conn.give_back(&mut self.shared);
        self.opening -= usize::from(!conn.is_counted);
        Some(conn.role)
    }

    /// Does what is due by the clock.
    fn tick(&mut self, now: Instant) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.accept(now);
        self.meter.look(now);
        self.start_if_due(now);
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_INTERVAL;
            let is_late =
                |conn: &Conn| conn.phase != Phase::Open && now - conn.began >= HANDSHAKE_TIMEOUT;
            let late = self.conns.iter().filter(|(_, conn)| is_late(conn)).map(|(key, _)| key);
            for key in late.collect::<Vec<_>>() {
                self.close(key, Cause::Timeout);
            }
            for (key, conn) in &mut self.conns {
                conn.keep_alive(now);
                self.lists.touch(key, conn);
            }
        }
        self.churn(now);
        if let Some(hold) = &mut self.hold {
            let is_coming = self.dialler.is_some() && !self.vacant.is_empty();
            let is_coming = is_coming && self.conns.len() < hold.allowed();
            let is_opening = self.opening > 0 || is_coming;
            hold.look(self.conns.len(), is_opening, &self.meter, now);
        }
    }

    /// Closes connections at the rate of `-r` and has others dialled in their place.
    fn churn(&mut self, now: Instant) {
        if self.options.churn == 0 || self.shared.tally.handshakes == 0 {
            self.next_churn = now;
            return;
        }
        while self.next_churn <= now {
            self.next_churn += Duration::from_secs(1) / self.options.churn;
            let key = self.shared.rng.below(self.conns.capacity());
            if self.conns.get(key).is_some_and(|conn| conn.phase == Phase::Open) {
                let role = self.remove(key);
                self.vacant.extend(role);
                self.shared.tally.churned += 1;
            }
        }
    }
}

impl Lists {
    /// Notes that a connection could say more.
    fn feed(&mut self, key: usize, conn: &mut Conn, shared: &Shared<'_>) {
        if conn.has_room(shared) && !std::mem::replace(&mut conn.is_hungry, true) {
            self.hungry.push_back(key);
        }
    }

    /// Notes that a connection has something to send and can.
    fn touch(&mut self, key: usize, conn: &mut Conn) {
        if conn.writable && conn.has_output() && !std::mem::replace(&mut conn.is_dirty, true) {
            self.dirty.push(key);
        }
    }
}
