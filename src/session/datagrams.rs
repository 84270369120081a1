//! Datagrams: whom those that come are for, and those that wait to be sent.
//!
//! Knows the driver's sockets by name and purpose. **Invariant:** what waits is bounded; when there
//! is no room a datagram is lost, as any may be on its way, and whoever sent it has a timer.

use super::Session;
use super::io::{Listener, MAX_DATAGRAM_LEN, Route, SocketId, Transmit};
use crate::time::Instant;
use crate::wire::outbox::Outbox;
use std::net::SocketAddr;

/// The driver's sockets, and what is to be sent from them.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// What each is for, and where, by [`SocketId`].
    sockets: Vec<(Listener, SocketAddr)>,
    waiting: Outbox<Route>,
}

/// The most bytes of datagrams that wait within a turn: a thousand answers of a tracker. A driver
/// takes them all at the end of each turn.
const MAX_WAITING_LEN: usize = 1 << 20;

impl Datagrams {
    pub(super) const fn new() -> Self {
        Self { sockets: Vec::new(), waiting: Outbox::new(MAX_WAITING_LEN) }
    }

    /// Returns the socket from which strangers at `remote` are spoken to; `None` if there is none
    /// of that family.
    pub(super) fn socket_to(&self, remote: SocketAddr) -> Option<SocketId> {
        self.find(remote).and_then(|(at, _)| u16::try_from(at).ok()).map(SocketId)
    }

    /// Returns the port of that socket.
    pub(super) fn port_to(&self, remote: SocketAddr) -> Option<u16> {
        self.find(remote).map(|(_, port)| port)
    }

    fn find(&self, remote: SocketAddr) -> Option<(usize, u16)> {
        let mut sockets = self.sockets.iter().enumerate();
        let is_right = |(purpose, addr): &(Listener, SocketAddr)| {
            *purpose == Listener::Peers && addr.is_ipv4() == remote.is_ipv4()
        };
        sockets.find(|(_, socket)| is_right(socket)).map(|(at, (_, addr))| (at, addr.port()))
    }

    /// Returns the sockets for announcements on the local network, with their groups.
    pub(super) fn lsd_sockets(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> {
        let sockets = (0..).map(SocketId).zip(&self.sockets);
        let of_lsd = sockets.filter(|(_, (purpose, _))| *purpose == Listener::Lsd);
        of_lsd.map(|(id, (_, group))| (id, *group))
    }

    /// Appends what `write` writes, if it is anything, as a datagram for `route`.
    pub(super) fn push(&mut self, route: Route, write: impl FnOnce(&mut Vec<u8>)) {
        let len = self.waiting.push(route, write);
        debug_assert!(len <= MAX_DATAGRAM_LEN, "a datagram of {len} bytes");
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Session {
    /// Takes in that the driver has a datagram socket for `purpose` at `addr` (one for
    /// [`Listener::Lsd`]: of that group) and returns its name.
    /// To be called before the first turn, once for each.
    ///
    /// Sockets are numbered from zero in the order in which they are named here.
    pub fn add_socket(&mut self, purpose: Listener, addr: SocketAddr) -> SocketId {
        let sockets = &mut self.datagrams.sockets;
        let id = SocketId(u16::try_from(sockets.len()).expect("a driver has a handful of sockets"));
        sockets.push((purpose, addr));
        id
    }

    /// Takes in a datagram: a whole one, not what was cut off by a buffer that was too small.
    pub fn handle_datagram(&mut self, route: Route, datagram: &[u8], now: Instant) {
        self.input();
        self.work.stats.counters.datagrams_received += 1;
        let socket = self.datagrams.sockets.get(usize::from(route.socket.0));
        match socket.map(|(purpose, _)| *purpose) {
            Some(Listener::Tracker) => {
                let Self { tracker_server, datagrams, work, .. } = self;
                let Some(server) = tracker_server else { return };
                datagrams.push(route, |out| {
                    server.answer_datagram(datagram, route.remote, out, &mut work.rng, now);
                });
                self.plan_sweep(now);
            }
            Some(Listener::Peers) if !self.on_dht_datagram(route, datagram, now) => {
                self.on_tracker_datagram(route, datagram, now);
            }
            Some(Listener::Lsd) => self.on_lsd_datagram(route, datagram, now),
            Some(Listener::Peers) | None => {}
        }
    }

    /// Returns the next datagram that is to be sent, and writes it to the start of `buf`, which has
    /// room for [`MAX_DATAGRAM_LEN`] bytes.
    ///
    /// One that the socket does not take at once may be kept for a while or dropped.
    pub fn poll_datagram(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        let (route, datagram) = self.datagrams.waiting.poll()?;
        buf[..datagram.len()].copy_from_slice(datagram);
        let transmit = Transmit { route, len: datagram.len() };
        self.work.stats.counters.datagrams_sent += 1;
        Some(transmit)
    }
}
