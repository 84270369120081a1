//! Datagram sockets by name: read in batches up to a budget, sent at once or soon, or never.
//!
//! The session is given each datagram with the way that it came, and what it sends goes back the
//! same way: from the very address that was asked, which on a socket for all addresses the system
//! would otherwise choose anew. **Invariant:** nothing here waits, and nothing that strangers send
//! makes anything here grow.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::egress::Egress;
use super::lan::Lan;
use super::net;
use crate::proto::lsd;
use crate::session::Session;
use crate::session::io::{Listener, MAX_DATAGRAM_LEN, Route, SocketId};
use crate::time::Instant;

/// The sockets of a reactor.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Vec<Socket>,
    /// What datagrams land in; empty until one has come.
    landing: Vec<u8>,
    /// What is sent next.
    outgoing: Vec<u8>,
    /// Where announcements on the local network leave and come; `None` if there are none.
    lan: Option<Box<Lan>>,
}

#[derive(Debug)]
struct Socket {
    id: SocketId,
    purpose: Listener,
    addr: SocketAddr,
    udp: UdpSocket,
    state: UdpSocketState,
    /// Whether something may have come. Invariant: set by an event, cleared by `WouldBlock`.
    readable: bool,
    /// Whether it takes datagrams. Invariant: set by an event, cleared by `WouldBlock`.
    writable: bool,
    /// What it did not take. Invariant: at most [`MAX_HELD`].
    held: VecDeque<Held>,
}

/// A datagram that waits for its socket.
#[derive(Debug)]
struct Held {
    route: Route,
    bytes: Vec<u8>,
}

/// Socket `i` has the token `FIRST_SOCKET - i`: listeners are above it, and no connection's slot
/// number comes near.
const FIRST_SOCKET: usize = usize::MAX - (1 << 16);
/// Datagrams, or runs of them that the system has put together, that one call takes in.
const BATCH: usize = 8;
/// Bytes of each: as many as the system puts together at the most.
const LANDING_LEN: usize = 64 * 1024;
/// Datagrams that are read from one socket before everything else has its turn: half a millisecond
/// of announces.
const RECV_BUDGET: usize = 256;
/// Datagrams that a socket has not taken and that wait for it; those that come behind are lost, as
/// they would be in the system's own queue.
const MAX_HELD: usize = 256;

impl Sockets {
    /// Opens a socket for `purpose`.
    ///
    /// # Errors
    /// The user's: the port is taken, or the address is not ours.
    pub(super) fn open(
        &mut self,
        addr: SocketAddr,
        purpose: Listener,
        egress: &Egress,
        session: &mut Session,
        registry: &Registry,
    ) -> io::Result<()> {
        let socket = net::datagram_socket(addr, egress)?;
        let addr = socket.local_addr()?;
        self.register(socket, addr, purpose, session, registry)
    }

    fn register(
        &mut self,
        mut socket: UdpSocket,
        addr: SocketAddr,
        purpose: Listener,
        session: &mut Session,
        registry: &Registry,
    ) -> io::Result<()> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let token = Token(FIRST_SOCKET - self.open.len());
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.outgoing.resize(MAX_DATAGRAM_LEN, 0);
        self.open.push(Socket {
            id: session.add_socket(purpose, addr),
            purpose,
            addr,
            udp: socket,
            state,
            readable: false,
            writable: true,
            held: VecDeque::new(),
        });
        Ok(())
    }

    /// Opens the sockets from which trackers are asked: one a family, where peers are listened for
    /// if they are. A family that this machine does not speak, or that has no way out, has none.
    pub(super) fn open_for_peers(
        &mut self,
        listening: &[SocketAddr],
        egress: &Egress,
        session: &mut Session,
        registry: &Registry,
    ) {
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            if !egress.speaks(any.is_ipv4()) {
                continue;
            }
            // Another program may have the port for UDP: then any other will do.
            let is_of_family = |addr: &&SocketAddr| addr.is_ipv4() == any.is_ipv4();
            let heard_at = listening.iter().find(is_of_family).copied();
            let fallback = heard_at.map(|addr| SocketAddr::new(addr.ip(), 0));
            for addr in heard_at.into_iter().chain(fallback).chain([SocketAddr::new(any, 0)]) {
                if self.open(addr, Listener::Peers, egress, session, registry).is_ok() {
                    break;
                }
            }
        }
    }

    /// Opens the sockets for announcements on the local network, one a family in which peers are
    /// listened for, and joins by the interfaces that there are. What cannot be is told.
    pub(super) fn open_for_lan(
        &mut self,
        listening: &[SocketAddr],
        egress: &Egress,
        session: &mut Session,
        registry: &Registry,
    ) {
        for is_ipv4 in [true, false] {
            let is_of_family = |addr: &SocketAddr| addr.is_ipv4() == is_ipv4;
            let is_heard = listening.is_empty() || listening.iter().any(is_of_family);
            if !egress.speaks(is_ipv4) || !is_heard {
                continue;
            }
            let group = lsd::group(is_ipv4);
            let opened = net::group_socket(group, egress)
                .and_then(|socket| self.register(socket, group, Listener::Lsd, session, registry));
            if let Err(error) = opened {
                session.lsd_failed(group, None, &error);
            }
        }
        self.lan = Some(Box::new(Lan::new(egress.clone(), listening.to_vec())));
    }

    /// Looks at which interfaces there are for announcements on the local network, and has their
    /// sockets hear what comes by them.
    pub(super) fn look_around(&mut self, session: &mut Session) {
        let Self { open, lan: Some(lan), .. } = self else { return };
        let (networks, error) = lan.look();
        for socket in open.iter().filter(|socket| socket.purpose == Listener::Lsd) {
            if let Some(error) = &error {
                session.lsd_failed(socket.addr, None, error);
            }
            for (interface, error) in lan.join(&socket.udp, socket.addr.is_ipv4()) {
                session.lsd_failed(socket.addr, Some(interface), &error);
            }
        }
        session.set_networks(networks);
    }

    /// Returns where there are sockets for `purpose`, ports resolved.
    pub(super) fn addrs(&self, purpose: Listener) -> Vec<SocketAddr> {
        let wanted = self.open.iter().filter(|socket| socket.purpose == purpose);
        wanted.map(|socket| socket.addr).collect()
    }

    /// Takes in an event; tells whether it was one of a socket here.
    pub(super) fn on_event(&mut self, event: &Event) -> bool {
        let at = FIRST_SOCKET.checked_sub(event.token().0);
        let Some(socket) = at.and_then(|at| self.open.get_mut(at)) else { return false };
        socket.readable |= event.is_readable() || event.is_error();
        socket.writable |= event.is_writable();
        true
    }

    /// Tells whether something may have come that was not read.
    pub(super) fn is_readable(&self) -> bool {
        self.open.iter().any(|socket| socket.readable)
    }

    /// Gives the session what has come, up to each socket's budget.
    pub(super) fn read(&mut self, session: &mut Session, now: Instant) {
        if self.landing.is_empty() && self.is_readable() {
            self.landing.resize(BATCH * LANDING_LEN, 0);
        }
        for socket in &mut self.open {
            let mut budget = RECV_BUDGET;
            while socket.readable && budget > 0 {
                budget = budget.saturating_sub(socket.read_batch(&mut self.landing, session, now));
            }
        }
    }

    /// Sends what sockets had not taken and take now, and then what the session has to send.
    pub(super) fn write(&mut self, session: &mut Session) {
        for socket in &mut self.open {
            socket.send_held();
        }
        // Without a socket nothing has come, and nothing is to be answered.
        if self.open.is_empty() {
            return;
        }
        let mut has_looked = false;
        while let Some(transmit) = session.poll_datagram(&mut self.outgoing) {
            let at = usize::from(transmit.route.socket.0);
            let is_announcement =
                self.open.get(at).is_some_and(|socket| socket.purpose == Listener::Lsd);
            if is_announcement && !std::mem::replace(&mut has_looked, true) {
                self.look_around(session);
            }
            let Self { open, outgoing, lan, .. } = self;
            let Some(socket) = open.get_mut(at) else { continue };
            match lan {
                Some(lan) if is_announcement => {
                    socket.announce(transmit.route, &outgoing[..transmit.len], lan);
                }
                _ => socket.send_or_hold(transmit.route, &outgoing[..transmit.len]),
            }
        }
    }
}

impl Socket {
    /// Reads once; returns how many datagrams that was, at least 1.
    fn read_batch(&mut self, landing: &mut [u8], session: &mut Session, now: Instant) -> usize {
        let mut metas = [RecvMeta::default(); BATCH];
        let mut buffers = landing.chunks_exact_mut(LANDING_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| {
            IoSliceMut::new(buffers.next().expect("there are as many buffers as a batch has"))
        });
        let socket = UdpSockRef::from(&self.udp);
        let received = match self.state.recv(socket, &mut slices, &mut metas) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return 1;
            }
            // Word of an earlier datagram that was refused somewhere: it means nothing here, and
            // the next call goes on.
            Err(_) => return 1,
        };
        let mut count = 0;
        for (meta, slice) in metas.iter().zip(&slices).take(received) {
            let route = Route { socket: self.id, remote: meta.addr, local: meta.dst_ip };
            for datagram in slice[..meta.len].chunks(meta.stride.max(1)) {
                session.handle_datagram(route, datagram, now);
                count += 1;
            }
        }
        count.max(1)
    }

    fn send_held(&mut self) {
        while self.writable
            && let Some(held) = self.held.pop_front()
        {
            if !self.send(held.route, &held.bytes) {
                self.held.push_front(held);
            }
        }
    }

    fn send_or_hold(&mut self, route: Route, bytes: &[u8]) {
        let sent = self.writable && self.send(route, bytes);
        if !sent && self.held.len() < MAX_HELD {
            self.held.push_back(Held { route, bytes: bytes.to_vec() });
        }
    }

    /// Sends a datagram to a group by every interface, or not at all by one that does not take it
    /// now: the next announcement is not far.
    fn announce(&mut self, route: Route, bytes: &[u8], lan: &Lan) {
        for (addr, index) in lan.ways(self.addr.is_ipv4()) {
            if net::aim(&self.udp, addr, index).is_ok() {
                self.send(Route { local: Some(addr), ..route }, bytes);
            }
        }
    }

    /// Sends a datagram; tells whether it is done with, sent or lost.
    fn send(&mut self, route: Route, bytes: &[u8]) -> bool {
        let transmit = Transmit {
            destination: route.remote,
            ecn: None,
            contents: bytes,
            segment_size: None,
            src_ip: route.local,
        };
        match self.state.try_send(UdpSockRef::from(&self.udp), &transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                false
            }
            // There is no way to them, or a firewall in between: as good as lost on the way.
            Ok(()) | Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::proto::tracker_udp::{Reply, parse_reply, write_connect};
    use crate::session::config::Config;
    use crate::session::io::Seeds;
    use crate::tracker_server::ServerConfig;

    struct Loop {
        poll: Poll,
        sockets: Sockets,
        session: Session,
    }

    impl Loop {
        fn new(addrs: &[SocketAddr]) -> Self {
            let seeds = Seeds { rng: 1, secret: [2; 32] };
            let mut session = Session::new(Config::default(), seeds, Instant::ZERO);
            session.serve_tracker(ServerConfig::default());
            let poll = Poll::new().unwrap();
            let mut sockets = Sockets::default();
            for addr in addrs {
                let any = Egress::any();
                sockets
                    .open(*addr, Listener::Tracker, &any, &mut session, poll.registry())
                    .unwrap();
            }
            Self { poll, sockets, session }
        }

        /// Turns until `done`.
        fn run(&mut self, mut done: impl FnMut() -> bool) {
            let mut events = Events::with_capacity(8);
            while !done() {
                let wait = if self.sockets.is_readable() { 0 } else { 5 };
                self.poll.poll(&mut events, Some(Duration::from_millis(wait))).unwrap();
                for event in &events {
                    assert!(self.sockets.on_event(event));
                }
                self.sockets.read(&mut self.session, Instant::ZERO);
                self.sockets.write(&mut self.session);
            }
        }
    }

    fn client(to: SocketAddr) -> std::net::UdpSocket {
        let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = std::net::UdpSocket::bind(any).unwrap();
        // From now on it hears only what comes from this very address.
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn connect(transaction: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write_connect(&mut out, transaction);
        out
    }

    #[test]
    fn each_datagram_is_answered_from_the_address_that_it_was_sent_to() {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let mut events = Loop::new(&[v4, v6]);
        let addrs = events.sockets.addrs(Listener::Tracker);
        assert_eq!(events.sockets.addrs(Listener::Peers), []);
        let ours = [
            SocketAddr::from(([127, 0, 0, 1], addrs[0].port())),
            SocketAddr::from(([127, 0, 0, 9], addrs[0].port())),
            addrs[1],
        ];
        for to in ours {
            let client = client(to);
            // More than one batch, and each answer with its own transaction.
            for transaction in 0..20 {
                client.send(&connect(transaction)).unwrap();
            }
            let mut answers = Vec::new();
            let mut buf = [0; 64];
            events.run(|| {
                while let Ok(n) = client.recv(&mut buf) {
                    match parse_reply(&buf[..n]) {
                        Ok(Reply::Connected { transaction, .. }) => answers.push(transaction),
                        other => panic!("{other:?}"),
                    }
                }
                answers.len() == 20
            });
            assert!(answers.is_sorted(), "{to}: {answers:?}");
        }
    }

    #[test]
    fn what_a_socket_does_not_take_waits_within_bounds_and_leaves_when_it_does() {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut events = Loop::new(&[addr]);
        let to = events.sockets.addrs(Listener::Tracker)[0];
        let client = client(to);
        let socket = &mut events.sockets.open[0];
        let remote = client.local_addr().unwrap();
        let route = Route { socket: socket.id, remote, local: None };
        socket.writable = false;
        for byte in 0..=255 {
            socket.send_or_hold(route, &[byte]);
            socket.send_or_hold(route, &[byte]);
        }
        assert_eq!(socket.held.len(), MAX_HELD);
        socket.writable = true;
        let mut received = Vec::new();
        let mut buf = [0; 64];
        events.run(|| {
            while let Ok(n) = client.recv(&mut buf) {
                received.extend_from_slice(&buf[..n]);
            }
            received.len() == MAX_HELD
        });
        let first_half: Vec<u8> = (0..=127).flat_map(|byte| [byte, byte]).collect();
        assert_eq!(received, first_half, "the oldest, in order");
        assert!(events.sockets.open[0].held.is_empty());
    }

    #[test]
    fn a_taken_port_is_refused() {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut events = Loop::new(&[addr]);
        let taken = events.sockets.addrs(Listener::Tracker)[0];
        let Loop { sockets, session, poll } = &mut events;
        let again =
            sockets.open(taken, Listener::Tracker, &Egress::any(), session, poll.registry());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
