//! Sockets as the loop wants them: non-blocking, with the options that peers need.
//!
//! Only here are sockets made, all of them by an [`Egress`]; what is read from them and when is the
//! business of the loop.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_multicast_if_with_ifindex, set_ipv6_multicast_if};
use socket2::{InterfaceIndexOrAddress, SockRef, Type};

use super::egress::Egress;
use crate::proto::lsd::{GROUP_V4, GROUP_V6};
use crate::time::Duration;

/// Connections that the system completes before the loop accepts them; a storm of dials after a
/// start is not to be refused. The system caps it (`net.core.somaxconn`, 4096 on Linux).
const BACKLOG: i32 = 4096;

/// Bytes of datagrams that wait for the loop: some thousand announces, each of which the system
/// counts as about a kilobyte.
const DATAGRAM_BUFFER: usize = 4 * 1024 * 1024;

/// How many routers pass on what is sent to a group (BEP 14: more than the 1 that is the system's
/// own): as far as a site goes, by the convention of multicast routers. Who does not route groups,
/// as most do not, passes on nothing.
const MULTICAST_TTL: u32 = 32;

/// The highest code point (RFC 2474: six bits).
pub const MAX_DSCP: u8 = 0x3f;

/// Opens a listening socket on `addr`; port 0 lets the system choose one. Any address is the one
/// that traffic is bound to.
///
/// An IPv6 socket takes no IPv4 connections, so both families can be listened on at one port.
///
/// # Errors
///
/// The user's: the port is taken, the address is not ours, or traffic is bound to another.
pub fn listen(addr: SocketAddr, egress: &Egress) -> io::Result<TcpListener> {
    let addr = egress.local(addr)?;
    let socket = egress.socket(addr, Type::STREAM)?;
    socket.set_nonblocking(true)?;
    // A restart finds connections of the last run in TIME_WAIT on this port.
    socket.set_reuse_address(true)?;
    // Accepted streams inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Opens a datagram socket on `addr`; port 0 lets the system choose one. Any address is the one
/// that traffic is bound to. An IPv6 socket takes no IPv4 datagrams.
///
/// # Errors
///
/// The user's: the port is taken, the address is not ours, or traffic is bound to another.
pub fn datagram_socket(addr: SocketAddr, egress: &Egress) -> io::Result<UdpSocket> {
    let addr = egress.local(addr)?;
    let socket = egress.socket(addr, Type::DGRAM)?;
    socket.set_nonblocking(true)?;
    // What comes while the loop is busy waits here; the system caps it (`net.core.rmem_max`).
    socket.set_recv_buffer_size(DATAGRAM_BUFFER)?;
    socket.bind(&addr.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Opens a datagram socket for what comes to a group of the local network and goes there: nothing
/// else comes, and other clients on this machine have the port, too. It hears nothing before it has
/// [joined](join_group).
///
/// # Errors
///
/// Somebody has the port for himself, or that family has no way out.
pub(super) fn group_socket(group: SocketAddr, egress: &Egress) -> io::Result<UdpSocket> {
    let socket = egress.socket(group, Type::DGRAM)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if group.is_ipv4() {
        socket.set_multicast_ttl_v4(MULTICAST_TTL)?;
        socket.set_multicast_loop_v4(true)?;
    } else {
        socket.set_multicast_hops_v6(MULTICAST_TTL)?;
        socket.set_multicast_loop_v6(true)?;
    }
    socket.bind(&group.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Has a socket hear what comes to the group of a family by one interface; `addr` says which
/// family.
///
/// # Errors
///
/// The interface takes part in no groups, or has gone.
pub(super) fn join_group(socket: &UdpSocket, addr: IpAddr, index: u32) -> io::Result<()> {
    let joined = if addr.is_ipv4() {
        SockRef::from(socket).join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))
    } else {
        SockRef::from(socket).join_multicast_v6(&GROUP_V6, index)
    };
    match joined {
        // It has, and nobody else is in the way.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        joined => joined,
    }
}

/// Has what is sent to a group next leave by one interface and from `addr`.
///
/// # Errors
///
/// The interface has gone: nothing is to be sent.
pub(super) fn aim(socket: &UdpSocket, addr: IpAddr, index: u32) -> io::Result<()> {
    match addr {
        IpAddr::V4(addr) => set_ip_multicast_if_with_ifindex(socket, &GROUP_V4, &addr, index)?,
        IpAddr::V6(_) => set_ipv6_multicast_if(socket, index)?,
    }
    Ok(())
}

/// Accepts one connection, non-blocking and with the options of its listener: one system call.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] says that no one waits any more. Of other errors, [`fault`] tells
/// whether the listener can go on ([`Fault::Remote`]: that one has gone again) or must pause until
/// descriptors or memory are free ([`Fault::Local`]).
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    listener.accept()
}

/// Has the packets of a socket of `addr`'s family marked with a code point (RFC 2474): those of a
/// stream, or of all that a listener will accept. A system that refuses leaves them unmarked.
pub fn mark<S: AsFd>(socket: &S, addr: SocketAddr, dscp: u8) {
    // The code point is in the upper six bits of the octet; the system keeps the lower two.
    let octet = u32::from(dscp & MAX_DSCP) << 2;
    let socket = SockRef::from(socket);
    let _ = if addr.is_ipv6() { socket.set_tclass_v6(octet) } else { socket.set_tos_v4(octet) };
}

/// Has a stream, or all that a listener will accept, end as [`Egress::ends_by_reset`] says. What
/// was written just before and did not arrive is lost then: not for who serves files.
///
/// # Errors
///
/// The system does not know the option.
pub(super) fn end_as_held<S: AsFd>(socket: &S, is_ipv4: bool, egress: &Egress) -> io::Result<()> {
    if egress.ends_by_reset(is_ipv4) {
        SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Begins to open a stream to `addr`, its packets marked with the code point `dscp` (see
/// [`mark`]).
///
/// The stream is to be registered with the poll; after each event on it, [`is_connected`] tells how
/// it stands. It leaves by the way that `egress` allows, or not at all.
///
/// # Errors
///
/// What the system knows at once, [`fault`] tells by whose fault, and
/// [`io::ErrorKind::AddrNotAvailable`] if that family has no way out.
pub fn dial(addr: SocketAddr, egress: &Egress, dscp: u8) -> io::Result<TcpStream> {
    let socket = egress.socket(addr, Type::STREAM)?;
    socket.set_nonblocking(true)?;
    // Requests are small and must not wait for the acknowledgement of those before them.
    socket.set_tcp_nodelay(true)?;
    mark(&socket, addr, dscp);
    end_as_held(&socket, addr.is_ipv4(), egress)?;
    if let Some(source) = egress.source(addr.is_ipv4()) {
        socket.bind(&source.into())?;
    }
    match socket.connect(&addr.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Opens a datagram socket that blocks and speaks with `addr` alone, from a port that the system
/// draws at random.
///
/// # Errors
///
/// As [`dial`].
pub(super) fn blocking_datagrams(
    addr: SocketAddr,
    egress: &Egress,
) -> io::Result<std::net::UdpSocket> {
    let socket = egress.socket(addr, Type::DGRAM)?;
    if let Some(source) = egress.source(addr.is_ipv4()) {
        socket.bind(&source.into())?;
    }
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

/// Opens a stream to `addr` that blocks, within `timeout`.
///
/// # Errors
///
/// As [`dial`], and [`io::ErrorKind::TimedOut`].
pub(super) fn blocking_stream(
    addr: SocketAddr,
    egress: &Egress,
    timeout: Duration,
) -> io::Result<std::net::TcpStream> {
    let socket = egress.socket(addr, Type::STREAM)?;
    end_as_held(&socket, addr.is_ipv4(), egress)?;
    if let Some(source) = egress.source(addr.is_ipv4()) {
        socket.bind(&source.into())?;
    }
    socket.connect_timeout(&addr.into(), timeout)?;
    Ok(socket.into())
}

/// Tells whether a dialled stream is open; `false` while it is still being opened, which an event
/// does not rule out.
///
/// # Errors
///
/// Why it will never open; [`fault`] tells by whose fault.
pub fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whose fault it is that a connection could not be opened or accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The other side refused, reset or did not answer: try it again later, if at all.
    Remote,
    /// There is no way to that address from here (no IPv6, no route): others of its kind will fare
    /// no better.
    Route,
    /// This machine: out of descriptors, ports or memory, or a firewall or interface of ours.
    /// Says nothing about the peer; dial or accept less for a while.
    Local,
}

/// Sorts the errors of [`dial`], [`is_connected`] and [`accept`]; what is unknown is the remote's.
pub fn fault(error: &io::Error) -> Fault {
    match Errno::from_io_error(error) {
        None if error.kind() == io::ErrorKind::AddrNotAvailable => Fault::Local,
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT) => {
            Fault::Route
        }
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOBUFS
            | Errno::NOMEM
            | Errno::AGAIN
            | Errno::ADDRNOTAVAIL
            | Errno::NODEV
            | Errno::ADDRINUSE
            | Errno::ACCESS
            | Errno::PERM,
        ) => Fault::Local,
        _ => Fault::Remote,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Ipv6Addr};

    use mio::{Events, Interest, Poll, Token};

    use super::*;

    const ANY_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const ANY_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
    const ANY: Egress = Egress::any();
    const LISTENER: Token = Token(0);
    const STREAM: Token = Token(1);

    struct Loop(Poll, Events);

    impl Loop {
        fn new() -> Self {
            Self(Poll::new().unwrap(), Events::with_capacity(8))
        }

        /// Returns when there is an event for `token`.
        fn wait(&mut self, token: Token) {
            loop {
                self.0.poll(&mut self.1, Some(std::time::Duration::from_secs(60))).unwrap();
                assert!(!self.1.is_empty(), "no event came");
                if self.1.iter().any(|event| event.token() == token) {
                    return;
                }
            }
        }

        /// Dials `addr` and returns how that ended.
        fn dialled(&mut self, addr: SocketAddr, egress: &Egress) -> io::Result<TcpStream> {
            let mut stream = dial(addr, egress, 0)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.0.registry().register(&mut stream, STREAM, interest).unwrap();
            while !is_connected(&stream)? {
                self.wait(STREAM);
            }
            Ok(stream)
        }
    }

    #[test]
    fn a_dialled_and_an_accepted_stream_carry_bytes_without_delay() {
        for addr in [ANY_V4, ANY_V6] {
            let mut events = Loop::new();
            let mut listener = listen(addr, &ANY).unwrap();
            events.0.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
            assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let mut near = events.dialled(listener.local_addr().unwrap(), &ANY).unwrap();
            let (mut far, from) = loop {
                match accept(&listener) {
                    Ok(accepted) => break accepted,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                events.wait(LISTENER);
            };
            assert_eq!(from, near.local_addr().unwrap());
            assert!(near.nodelay().unwrap() && far.nodelay().unwrap());
            let silent = far.read(&mut [0; 8]).unwrap_err();
            assert_eq!(silent.kind(), io::ErrorKind::WouldBlock, "it does not block");

            far.write_all(b"hello").unwrap();
            let mut hello = [0; 5];
            let mut at = 0;
            while at < hello.len() {
                match near.read(&mut hello[at..]) {
                    Ok(got) => at += got,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        events.wait(STREAM);
                    }
                }
            }
            assert_eq!(&hello, b"hello");
        }
    }

    #[test]
    fn both_families_listen_on_one_port() {
        // Someone else may have the other family's port of that number: a few tries.
        let (v4, _v6) = (0..16)
            .find_map(|_| {
                let v4 = listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), &ANY).unwrap();
                let port = v4.local_addr().unwrap().port();
                let v6 = listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), &ANY).ok()?;
                Some((v4, v6))
            })
            .expect("one port of both families");
        let taken = listen(v4.local_addr().unwrap(), &ANY).unwrap_err();
        assert_eq!((taken.kind(), fault(&taken)), (io::ErrorKind::AddrInUse, Fault::Local));
    }

    #[test]
    fn a_dial_leaves_from_the_bound_address_of_its_family_or_not_at_all() {
        let listener = listen(ANY_V4, &ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let local = Ipv4Addr::new(127, 0, 0, 9);
        let bind = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(local)];
        let both = Egress::new(&bind, None).unwrap();
        let stream = Loop::new().dialled(addr, &both).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::V4(local));

        let only_v6 = Egress::new(&bind[..1], None).unwrap();
        let other_family = dial(addr, &only_v6, 0).unwrap_err();
        assert_eq!(fault(&other_family), Fault::Local);
        assert_eq!(fault(&listen(addr, &only_v6).unwrap_err()), Fault::Local);
        let datagrams = datagram_socket(addr, &only_v6).unwrap_err();
        assert_eq!(fault(&datagrams), Fault::Local);
    }

    #[test]
    fn both_ends_of_a_stream_are_marked() {
        let octet = |stream: &TcpStream, addr: SocketAddr| {
            let socket = SockRef::from(stream);
            if addr.is_ipv6() { socket.tclass_v6() } else { socket.tos_v4() }.unwrap()
        };
        for addr in [ANY_V4, ANY_V6] {
            for dscp in [0, 1, 46, MAX_DSCP] {
                let mut events = Loop::new();
                let mut listener = listen(addr, &ANY).unwrap();
                mark(&listener, addr, dscp);
                events.0.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
                let near = dial(listener.local_addr().unwrap(), &ANY, dscp).unwrap();
                events.wait(LISTENER);
                let (far, _) = accept(&listener).unwrap();
                let expected = u32::from(dscp) << 2;
                assert_eq!([octet(&near, addr), octet(&far, addr)], [expected; 2], "{addr}");
            }
        }
    }

    #[test]
    fn a_refused_dial_is_the_remotes_fault() {
        let addr = listen(ANY_V4, &ANY).unwrap().local_addr().unwrap();
        let refused = Loop::new().dialled(addr, &ANY).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(fault(&refused), Fault::Remote);
    }

    #[test]
    fn errors_are_sorted_by_guilt() {
        for (errno, expected) in [
            (Errno::CONNREFUSED, Fault::Remote),
            (Errno::CONNRESET, Fault::Remote),
            (Errno::CONNABORTED, Fault::Remote),
            (Errno::TIMEDOUT, Fault::Remote),
            (Errno::NETUNREACH, Fault::Route),
            (Errno::HOSTUNREACH, Fault::Route),
            (Errno::AFNOSUPPORT, Fault::Route),
            (Errno::MFILE, Fault::Local),
            (Errno::NFILE, Fault::Local),
            (Errno::NOBUFS, Fault::Local),
            (Errno::ADDRNOTAVAIL, Fault::Local),
            (Errno::PERM, Fault::Local),
        ] {
            assert_eq!(fault(&errno.into()), expected, "{errno}");
        }
    }
}
