//! Which way traffic may leave: every socket is made as the [`Egress`] says, and there is no other
//! way to make one.
//!
//! What is bound to an interface is held there by the kernel (`SO_BINDTODEVICE`), whatever the
//! routes say: packets leave by it or not at all, and only what came by it is taken in. What is
//! bound to an address alone is held to the interface that has it as well, for a source address
//! does not choose the way. **Invariant:** it fails closed. When the interface goes, sockets fail;
//! a family that has no address there is not spoken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::interfaces;
use crate::session::config::Config;
use crate::text::Escaped;

/// The way that traffic leaves and comes, a family each. The default is any, as the system's
/// routes say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Egress {
    v4: Way,
    v6: Way,
    /// The address by which we are reached, IPv4 first; empty if any will do.
    addrs: Vec<IpAddr>,
}

/// The way of one family.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Way {
    /// As the system's routes say.
    #[default]
    Any,
    /// None: it is not spoken.
    Closed,
    By {
        /// The address to send from; unspecified for any that the interface has.
        source: IpAddr,
        /// The interface, where the address alone does not see to it.
        device: Option<String>,
    },
}

/// Traffic cannot be bound as it was asked for. The user's fault, but for the last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// There is no such interface.
    #[error("no interface is called '{}'", Escaped(.0))]
    Unknown(String),
    /// The interface has no address, or none of the families that may be spoken.
    #[error("the interface '{}' has no address that could be used", Escaped(.0))]
    NoAddress(String),
    /// The address is not one of ours, or not one of the interface.
    #[error("no interface has the address {0}")]
    NotOurs(IpAddr),
    /// The system does not let itself be asked, or does not bind sockets to interfaces.
    #[error("the system does not bind traffic to an interface: {0}")]
    System(#[from] io::Error),
}

impl From<EgressError> for io::Error {
    fn from(error: EgressError) -> Self {
        let kind = match &error {
            EgressError::System(source) => source.kind(),
            _ => io::ErrorKind::AddrNotAvailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl Egress {
    /// Returns the way of what is not bound.
    pub const fn any() -> Self {
        Self { v4: Way::Any, v6: Way::Any, addrs: Vec::new() }
    }

    /// Returns the way that a configuration wants, as this machine is now.
    ///
    /// # Errors
    /// [`EgressError`].
    pub fn of(config: &Config) -> Result<Self, EgressError> {
        Self::new(&config.bind, config.bind_interface.as_deref())
    }

    /// Binds to the first address of each family in `bind`, and to `interface`.
    ///
    /// An unspecified address stands for any of its family. With addresses in `bind` but none of a
    /// family, that family is not spoken; nor is one in which the interface has no address, or
    /// only link-local IPv6 ones. Without either everything is allowed.
    ///
    /// # Errors
    /// [`EgressError`].
    pub fn new(bind: &[IpAddr], interface: Option<&str>) -> Result<Self, EgressError> {
        if bind.is_empty() && interface.is_none() {
            return Ok(Self::default());
        }
        // The kernel itself keeps loopback addresses on loopback.
        let by_itself = |ip: &IpAddr| ip.is_unspecified() || ip.is_loopback();
        let assigned = if interface.is_none() && bind.iter().all(by_itself) {
            Vec::new()
        } else {
            interfaces::assigned()?
        };
        let mut egress = Self::default();
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let is_of_family = |ip: &IpAddr| ip.is_ipv4() == any.is_ipv4();
            let way = match bind.iter().copied().find(is_of_family) {
                None if !bind.is_empty() => Way::Closed,
                source => {
                    let source = source.unwrap_or(any);
                    let (way, addr) = way(source, interface, &assigned)?;
                    egress.addrs.extend(addr);
                    way
                }
            };
            if any.is_ipv4() {
                egress.v4 = way;
            } else {
                egress.v6 = way;
            }
        }
        if let Some(name) = interface
            && !egress.speaks(true)
            && !egress.speaks(false)
        {
            let known = interfaces::exists(name)?;
            let name = name.to_owned();
            let error = if known { EgressError::NoAddress } else { EgressError::Unknown };
            return Err(error(name));
        }
        egress.probe()?;
        Ok(egress)
    }

    /// Tells whether traffic is held to an address or interface, and not just to a family. Names
    /// are then looked up there, too, and not by the system.
    pub fn is_bound(&self) -> bool {
        [&self.v4, &self.v6].into_iter().any(|way| match way {
            Way::Any | Way::Closed => false,
            Way::By { source, device } => device.is_some() || !source.is_unspecified(),
        })
    }

    /// Tells whether traffic is held to this machine itself.
    pub fn is_loopback(&self) -> bool {
        !self.addrs.is_empty() && self.addrs.iter().all(IpAddr::is_loopback)
    }

    /// Tells whether a family is spoken.
    pub fn speaks(&self, is_ipv4: bool) -> bool {
        *self.way(is_ipv4) != Way::Closed
    }

    /// Returns the addresses by which we are reached, one a family, IPv4 first; none if traffic is
    /// not bound.
    pub fn addrs(&self) -> &[IpAddr] {
        &self.addrs
    }

    /// Returns where a socket is bound that is asked for at `addr`: there, or where traffic is
    /// bound if it is asked for at any address.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`]: traffic is bound elsewhere.
    pub fn local(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        match self.way(addr.is_ipv4()) {
            Way::Closed => Err(unavailable("no address to bind to is of this family")),
            Way::By { source, .. } if source.is_unspecified() || *source == addr.ip() => Ok(addr),
            Way::By { source, .. } if addr.ip().is_unspecified() => {
                Ok(SocketAddr::new(*source, addr.port()))
            }
            Way::By { .. } => Err(unavailable("traffic is bound to another address")),
            Way::Any => Ok(addr),
        }
    }

    /// Makes a socket for traffic with `addr`, or for what comes to it, that cannot use another
    /// way; it has no address yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] if the family is not spoken; or what the system says, as
    /// when the interface has gone.
    pub(super) fn socket(&self, addr: SocketAddr, kind: Type) -> io::Result<Socket> {
        // Before the system is asked for anything.
        let way = self.way(addr.is_ipv4());
        if *way == Way::Closed {
            return Err(unavailable("no address to bind to is of this family"));
        }
        let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
        let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
        if let Way::By { device: Some(device), .. } = way {
            bind_to_device(&socket, device)?;
        }
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        Ok(socket)
    }

    /// Tells whether a stream of a family is to end by a reset. The last acknowledgement of one
    /// that we close first is sent when its socket, and what that was held to, is gone; that of
    /// IPv6 goes by the routes then (seen with Linux 6.18). A reset is the socket's own, and the
    /// last word.
    pub(super) fn ends_by_reset(&self, is_ipv4: bool) -> bool {
        !is_ipv4 && matches!(self.way(is_ipv4), Way::By { device: Some(_), .. })
    }

    /// Returns the address that a socket of a family is to send from, if it matters which.
    pub(super) fn source(&self, is_ipv4: bool) -> Option<SocketAddr> {
        match self.way(is_ipv4) {
            Way::By { source, .. } if !source.is_unspecified() => Some(SocketAddr::new(*source, 0)),
            _ => None,
        }
    }

    /// Returns the address from which traffic leaves by the interface that `it` is an address of,
    /// if it may do so in that family. What reaches others on the link alone, is not spoken; nor is
    /// loopback, unless traffic is bound to it.
    pub(super) fn source_at(&self, it: &interfaces::Assigned) -> Option<IpAddr> {
        let is_allowed = match self.way(it.addr.is_ipv4()) {
            Way::Closed => false,
            Way::By { source, device: Some(device) } => {
                *device == it.interface && (source.is_unspecified() || *source == it.addr)
            }
            Way::By { source, device: None } if !source.is_unspecified() => {
                // One of loopback, all of which is at one interface.
                return it.addr.is_loopback().then_some(*source);
            }
            Way::By { .. } | Way::Any => !it.addr.is_loopback(),
        };
        (is_allowed && !is_link_local(it.addr)).then_some(it.addr)
    }

    fn way(&self, is_ipv4: bool) -> &Way {
        if is_ipv4 { &self.v4 } else { &self.v6 }
    }

    /// Finds out whether the system lets sockets be held, before anything relies on it.
    fn probe(&self) -> io::Result<()> {
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            if let Way::By { device: Some(_), .. } = self.way(any.is_ipv4()) {
                self.socket(SocketAddr::new(any, 0), Type::DGRAM)?;
            }
        }
        Ok(())
    }
}

/// Returns the way by `source`, or by any address of its family, and by `interface`, if that is
/// given; and the address that it goes by, if it goes by one.
fn way(
    source: IpAddr,
    interface: Option<&str>,
    assigned: &[interfaces::Assigned],
) -> Result<(Way, Option<IpAddr>), EgressError> {
    let of_interface = |name: &str| interface.is_none_or(|wanted| wanted == name);
    if source.is_unspecified() {
        let Some(name) = interface else { return Ok((Way::By { source, device: None }, None)) };
        let found = assigned.iter().find(|it| {
            it.interface == name && it.addr.is_ipv4() == source.is_ipv4() && !is_link_local(it.addr)
        });
        let device = Some(name.to_owned());
        let by = |addr| (Way::By { source, device }, Some(addr));
        return Ok(found.map(|it| it.addr).map_or((Way::Closed, None), by));
    }
    if source.is_loopback() && interface.is_none() {
        return Ok((Way::By { source, device: None }, Some(source)));
    }
    let found = assigned.iter().find(|it| it.addr == source && of_interface(&it.interface));
    let found = found.ok_or(EgressError::NotOurs(source))?;
    Ok((Way::By { source, device: Some(found.interface.clone()) }, Some(source)))
}

/// Tells whether an IPv6 address reaches no further than the next router.
fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(target_os = "linux")]
fn bind_to_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn unavailable(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrNotAvailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subnet::Subnet;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn assigned() -> Vec<interfaces::Assigned> {
        let on = |interface: &str, addr: &str| interfaces::Assigned {
            interface: interface.to_owned(),
            index: 1,
            addr: ip(addr),
            subnet: Subnet::new(ip(addr), 24),
        };
        vec![
            on("lo", "127.0.0.1"),
            on("eth0", "192.0.2.1"),
            on("tun0", "198.51.100.1"),
            on("tun0", "fe80::1"),
            on("eth0", "2001:db8::1"),
        ]
    }

    fn by(source: &str, device: Option<&str>) -> Way {
        Way::By { source: ip(source), device: device.map(str::to_owned) }
    }

    #[test]
    fn an_address_alone_is_held_to_the_interface_that_has_it() {
        for (source, device) in
            [("192.0.2.1", Some("eth0")), ("2001:db8::1", Some("eth0")), ("127.0.0.9", None)]
        {
            let found = way(ip(source), None, &assigned()).unwrap();
            assert_eq!(found, (by(source, device), Some(ip(source))));
        }
        let foreign = way(ip("203.0.113.1"), None, &assigned()).unwrap_err();
        assert_eq!(foreign.to_string(), "no interface has the address 203.0.113.1");
        way(ip("192.0.2.1"), Some("tun0"), &assigned()).expect_err("another interface has it");
    }

    #[test]
    fn an_interface_is_used_in_the_families_in_which_it_reaches_anybody() {
        let (any_v4, any_v6) = ("0.0.0.0", "::");
        let found = way(ip(any_v4), Some("tun0"), &assigned()).unwrap();
        assert_eq!(found, (by(any_v4, Some("tun0")), Some(ip("198.51.100.1"))));
        let found = way(ip(any_v6), Some("tun0"), &assigned()).unwrap();
        assert_eq!(found, (Way::Closed, None), "a link-local address is none");
        let unknown = Egress::new(&[], Some("no-such-thing")).unwrap_err();
        assert_eq!(unknown.to_string(), "no interface is called 'no-such-thing'");
    }

    #[test]
    fn announcements_leave_by_every_interface_or_the_bound_one() {
        let sources = |egress: &Egress| -> Vec<String> {
            let found = assigned().into_iter().filter_map(|it| egress.source_at(&it));
            found.map(|ip| ip.to_string()).collect()
        };
        let any = Egress::any();
        assert_eq!(sources(&any), ["192.0.2.1", "198.51.100.1", "2001:db8::1"]);
        let held = |v4: Way, v6: Way| Egress { v4, v6, ..Egress::default() };
        let to_eth0 = held(by("0.0.0.0", Some("eth0")), Way::Closed);
        assert_eq!(sources(&to_eth0), ["192.0.2.1"]);
        let to_v6 = held(Way::Closed, by("2001:db8::1", Some("eth0")));
        assert_eq!(sources(&to_v6), ["2001:db8::1"]);
        assert_eq!(sources(&held(by("192.0.2.7", Some("eth0")), Way::Closed)), [""; 0]);
        assert_eq!(sources(&held(by("127.0.0.9", None), Way::Closed)), ["127.0.0.9"]);
        let in_v4 = held(by("0.0.0.0", None), Way::Closed);
        assert_eq!(sources(&in_v4), ["192.0.2.1", "198.51.100.1"]);
    }

    #[test]
    fn sockets_are_made_where_traffic_is_bound_or_not_at_all() {
        let bound = Egress::new(&[ip("127.0.0.2")], None).unwrap();
        assert!(bound.is_bound() && bound.is_loopback() && bound.speaks(true));
        assert!(!bound.speaks(false));
        let local = |egress: &Egress, addr: &str| {
            egress.local(addr.parse().unwrap()).map(|addr| addr.to_string()).map_err(|e| e.kind())
        };
        let elsewhere = Err(io::ErrorKind::AddrNotAvailable);
        assert_eq!(local(&bound, "0.0.0.0:7"), Ok("127.0.0.2:7".to_owned()));
        assert_eq!(local(&bound, "127.0.0.2:7"), Ok("127.0.0.2:7".to_owned()));
        assert_eq!(local(&bound, "127.0.0.3:7"), elsewhere);
        assert_eq!(local(&bound, "[::]:7"), elsewhere);
        let closed = bound.socket("[::1]:1".parse().unwrap(), Type::DGRAM).unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::AddrNotAvailable);

        let one_family = Egress::new(&[ip("0.0.0.0")], None).unwrap();
        assert!(!one_family.is_bound() && one_family.speaks(true) && !one_family.speaks(false));
        assert_eq!(local(&one_family, "127.0.0.3:7"), Ok("127.0.0.3:7".to_owned()));
        let any = Egress::new(&[], None).unwrap();
        assert!(!any.is_bound() && any.speaks(true) && any.speaks(false) && !any.is_loopback());
        assert_eq!(local(&any, "[::]:7"), Ok("[::]:7".to_owned()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_is_held_by_the_kernel_and_fails_when_the_interface_is_not_there() {
        let interface = interfaces::assigned().unwrap();
        let interface = interface.into_iter().find(|it| it.addr == ip("127.0.0.1")).unwrap();
        let name = interface.interface;
        let bound = Egress::new(&[], Some(&name)).unwrap();
        assert!(bound.is_loopback());
        let socket = bound.socket("127.0.0.1:1".parse().unwrap(), Type::DGRAM).unwrap();
        assert_eq!(socket.device().unwrap(), Some(name.into_bytes()));

        let vanished = Egress { v4: by("0.0.0.0", Some("no-such-thing")), ..Egress::default() };
        let gone = vanished.socket("127.0.0.1:1".parse().unwrap(), Type::STREAM).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(rustix::io::Errno::NODEV.raw_os_error()));
    }
}
