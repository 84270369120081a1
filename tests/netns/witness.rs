//! Who sees every packet that comes through a router.

use std::{io::Read as _, net::IpAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Network;

/// A socket that gets a copy of each packet (packet(7)), with its frame's head.
pub(crate) struct Witness(Socket);

impl Witness {
    /// Begins to listen at a network's router.
    pub(crate) fn at(network: &Network) -> Self {
        let open = || Socket::new(Domain::from(AF_PACKET), Type::RAW, Some(Protocol::from(ALL)));
        let socket = network.within_router(open).expect("root may listen");
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// What has come since it was asked last, each packet as `IpAddr -> IpAddr, protocol`. What
    /// machines on one link say to each other by themselves, is left out: who has which address,
    /// and what groups there are.
    pub(crate) fn seen(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut frame = [0; 2_048];
        while let Ok(len) = (&self.0).read(&mut frame) {
            seen.extend(describe(&frame[..len]));
        }
        seen
    }
}

fn describe(frame: &[u8]) -> Option<String> {
    let packet = frame.get(14..)?;
    let (protocol, from, to): (u8, IpAddr, IpAddr) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let ip = |at| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(IpAddr::from);
            (*packet.get(9)?, ip(12)?, ip(16)?)
        }
        [0x86, 0xdd] => {
            let ip = |at| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(IpAddr::from);
            (*packet.get(6)?, ip(8)?, ip(24)?)
        }
        _ => return None,
    };
    let is_of_the_link = match protocol {
        // Group reports come with an option.
        HOP_BY_HOP => true,
        ICMPV6 => matches!(packet.get(40), Some(130..=137 | 143)),
        _ => false,
    };
    let what = match protocol {
        TCP if is_reset(packet) => RESET.to_owned(),
        ICMP if packet.get(usize::from(packet[0] & 15) * 4) == Some(&3) => UNREACHABLE.to_owned(),
        ICMPV6 if packet.get(40) == Some(&1) => UNREACHABLE.to_owned(),
        _ => format!("protocol {protocol}"),
    };
    (!is_of_the_link).then(|| format!("{from} -> {to}, {what}"))
}

/// Whether a TCP packet is a bare reset.
fn is_reset(packet: &[u8]) -> bool {
    let is_ipv4 = packet[0] >> 4 == 4;
    let (head, all) = if is_ipv4 {
        (usize::from(packet[0] & 15) * 4, u16::from_be_bytes([packet[2], packet[3]]))
    } else {
        (40, u16::from_be_bytes([packet[4], packet[5]]) + 40)
    };
    let Some(segment) = packet.get(head..usize::from(all)) else { return false };
    let flag = segment.get(13).is_some_and(|flags| flags & RST != 0);
    flag && segment.len() == usize::from(segment[12] >> 4) * 4
}

/// How a bare TCP reset is described.
pub(crate) const RESET: &str = "reset";

/// How word is described that nobody is there (ICMP).
pub(crate) const UNREACHABLE: &str = "unreachable";

/// The flag of a segment that ends a connection that is not there.
const RST: u8 = 4;

const ICMP: u8 = 1;
const TCP: u8 = 6;

const AF_PACKET: i32 = 17;

/// Every protocol (`ETH_P_ALL`), in network order.
const ALL: i32 = 0x0300;

const HOP_BY_HOP: u8 = 0;
const ICMPV6: u8 = 58;
