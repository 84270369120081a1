//! The addresses of this machine's interfaces, as the kernel lists them over a routing socket
//! (rtnetlink).

use std::io;
use std::net::IpAddr;

use crate::subnet::Subnet;

/// One address of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Assigned {
    /// The interface's name.
    pub(super) interface: String,
    /// The interface's number, not 0.
    pub(super) index: u32,
    pub(super) addr: IpAddr,
    /// The network that it attaches this machine to.
    pub(super) subnet: Subnet,
}

/// Tells whether an interface has this name.
///
/// # Errors
/// The system cannot be asked.
#[cfg(target_os = "linux")]
pub(super) fn exists(name: &str) -> io::Result<bool> {
    match rustix::net::netdevice::name_to_index(linux::routing_socket()?, name) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NODEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns every address of every interface, in the kernel's order.
///
/// # Errors
/// The system cannot be asked.
#[cfg(target_os = "linux")]
pub(super) fn assigned() -> io::Result<Vec<Assigned>> {
    linux::assigned()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn exists(_: &str) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn assigned() -> io::Result<Vec<Assigned>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use rustix::net::netdevice::index_to_name;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
    use rustix::net::{recv, send, socket_with};

    use super::Assigned;
    use crate::subnet::Subnet;

    /// An address, with the number of its interface.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Listed {
        pub(super) index: u32,
        pub(super) addr: IpAddr,
        pub(super) subnet: Subnet,
    }

    /// Bytes of a message's own head, and of what an address's message says before its attributes.
    const HEAD_LEN: usize = 16;
    const ADDRESS_LEN: usize = 8;
    /// The kernel fills at most this much at a time.
    const BUFFER_LEN: usize = 32 * 1024;
    /// What a message is: an error, the end of a list, an address, the request for all of those.
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    const NEW_ADDRESS: u16 = 20;
    const LIST_ADDRESSES: u16 = 22;
    /// A request for the whole list.
    const REQUEST_ALL: u16 = 0x301;
    /// Attributes: the address, which at one end of a tunnel is that of the other end; and our own.
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;

    pub(super) fn routing_socket() -> io::Result<OwnedFd> {
        // No protocol is NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC;
        Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?)
    }

    pub(super) fn assigned() -> io::Result<Vec<Assigned>> {
        let socket = routing_socket()?;
        send(&socket, &request(), SendFlags::empty())?;
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER_LEN];
        loop {
            let (len, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            if parse(&buffer[..len], &mut found)? {
                break;
            }
        }
        let mut assigned = Vec::with_capacity(found.len());
        for Listed { index, addr, subnet } in found {
            match index_to_name(&socket, index) {
                Ok(interface) => assigned.push(Assigned { interface, index, addr, subnet }),
                // It has gone meanwhile.
                Err(Errno::NODEV | Errno::NXIO) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(assigned)
    }

    fn request() -> [u8; HEAD_LEN + ADDRESS_LEN] {
        let mut request = [0; HEAD_LEN + ADDRESS_LEN];
        request[..4].copy_from_slice(&24u32.to_ne_bytes());
        request[4..6].copy_from_slice(&LIST_ADDRESSES.to_ne_bytes());
        request[6..8].copy_from_slice(&REQUEST_ALL.to_ne_bytes());
        request
    }

    /// Takes the addresses out of what one read has brought, with their interfaces' indices; tells
    /// whether the list has ended.
    pub(super) fn parse(mut bytes: &[u8], out: &mut Vec<Listed>) -> io::Result<bool> {
        while let (Some(len), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(body) = bytes.get(HEAD_LEN..len) else { break };
            match kind {
                DONE => return Ok(true),
                ERROR => {
                    let code = u32_at(body, 0).unwrap_or(0).cast_signed();
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                NEW_ADDRESS => out.extend(address(body)),
                _ => {}
            }
            bytes = bytes.get(aligned(len)..).unwrap_or_default();
        }
        Ok(false)
    }

    fn address(body: &[u8]) -> Option<Listed> {
        let (prefix_len, index) = (*body.get(1)?, u32_at(body, 4)?);
        let mut attributes = body.get(ADDRESS_LEN..)?;
        let (mut named, mut local) = (None, None);
        while let (Some(len), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
            let len = usize::from(len);
            let Some(value) = attributes.get(4..len) else { break };
            match kind {
                ADDRESS => named = ip(value),
                LOCAL => local = ip(value),
                _ => {}
            }
            attributes = attributes.get(aligned(len)..).unwrap_or_default();
        }
        // At one end of a tunnel the network is that of the other end, which is attached.
        let subnet = Subnet::new(named.or(local)?, prefix_len);
        Some(Listed { index, addr: local.or(named)?, subnet })
    }

    fn ip(value: &[u8]) -> Option<IpAddr> {
        let v4 = <[u8; 4]>::try_from(value).map(|octets| Ipv4Addr::from(octets).into());
        let v6 = <[u8; 16]>::try_from(value).map(|octets| Ipv6Addr::from(octets).into());
        v4.or(v6).ok()
    }

    const fn aligned(len: usize) -> usize {
        len.saturating_add(3) & !3
    }

    fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }

    fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_is_known_by_its_name() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let found = assigned().unwrap().into_iter().find(|it| it.addr == localhost);
        let found = found.expect("every machine has it");
        assert!(found.index > 0 && found.subnet.contains([127, 200, 0, 1].into()), "{found:?}");
        let interface = found.interface;
        assert!(exists(&interface).unwrap());
        assert!(!exists("no-such-thing").unwrap());
    }

    #[test]
    fn a_tunnels_own_address_counts_and_not_that_of_its_other_end() {
        let attribute =
            |kind: u16, ip: [u8; 4]| [&8u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &ip].concat();
        let body = [
            &[2, 32, 0, 0][..],
            &7u32.to_ne_bytes(),
            &attribute(1, [10, 0, 0, 1]),
            &attribute(2, [10, 0, 0, 2]),
        ]
        .concat();
        let message = |kind: u16, body: &[u8]| {
            let len = u32::try_from(16 + body.len()).unwrap();
            [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
        };
        let mut out = Vec::new();
        assert!(!linux::parse(&message(20, &body), &mut out).unwrap());
        let (addr, subnet) = ([10, 0, 0, 2].into(), Subnet::new([10, 0, 0, 1].into(), 32));
        assert_eq!(out, [linux::Listed { index: 7, addr, subnet }]);
        let end = [message(20, &body), message(3, &[0; 4])].concat();
        assert!(linux::parse(&end, &mut out).unwrap());
        assert_eq!(out.len(), 2);
        let refused = linux::parse(&message(2, &(-1i32).to_ne_bytes()), &mut out).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        // Whatever is cut off, nothing is taken from beyond it.
        for len in 0..end.len() {
            let _ = linux::parse(&end[..len], &mut Vec::new());
        }
    }
}
