//! Networks by their prefix (CIDR): what this machine is attached to.

use std::fmt;
use std::net::IpAddr;

/// All addresses of one family that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Subnet {
    /// Its first address.
    network: IpAddr,
    /// How many bits they have in common. Invariant: no more than an address has.
    prefix_len: u8,
}

impl Subnet {
    /// Returns the network that has `ip` and all that begins with the same `prefix_len` bits; with
    /// as many as an address has or more, it is `ip` alone. O(1).
    pub fn new(ip: IpAddr, prefix_len: u8) -> Self {
        let prefix_len = prefix_len.min(if ip.is_ipv4() { 32 } else { 128 });
        Self { network: masked(ip, prefix_len), prefix_len }
    }

    /// Tells whether an address is one of it; an IPv4 address is in no network of IPv6. O(1).
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.network.is_ipv4() && masked(ip, self.prefix_len) == self.network
    }

    /// Returns its first address. O(1).
    pub const fn first(&self) -> IpAddr {
        self.network
    }

    /// Returns its last address. O(1).
    pub fn last(&self) -> IpAddr {
        match self.network {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() | rest_v4(self.prefix_len)).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() | rest_v6(self.prefix_len)).into()),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

/// Returns `ip` with all bits behind the first `prefix_len` cleared.
fn masked(ip: IpAddr, prefix_len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & !rest_v4(prefix_len)).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !rest_v6(prefix_len)).into()),
    }
}

/// Returns the bits of an address that are behind the first `prefix_len`.
fn rest_v4(prefix_len: u8) -> u32 {
    u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0)
}

fn rest_v6(prefix_len: u8) -> u128 {
    u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_has_what_begins_as_it_does() {
        for (of, len, within, without) in [
            ("192.168.1.7", 24, &["192.168.1.0", "192.168.1.255"][..], &["192.168.2.0"][..]),
            ("192.168.1.7", 23, &["192.168.0.0"], &["192.168.2.0", "::ffff:192.168.1.7"]),
            ("192.168.1.7", 31, &["192.168.1.6"], &["192.168.1.8"]),
            ("192.168.1.7", 32, &["192.168.1.7"], &["192.168.1.6"]),
            ("192.168.1.7", 99, &["192.168.1.7"], &["192.168.1.6"]),
            ("192.168.1.7", 0, &["0.0.0.0", "255.255.255.255"], &["::"]),
            ("2001:db8::7", 64, &["2001:db8::ffff:0:0:1"], &["2001:db8:0:1::7", "32.1.13.184"]),
            ("2001:db8::7", 128, &["2001:db8::7"], &["2001:db8::6"]),
            ("2001:db8::7", 0, &["::", "ff02::1"], &["0.0.0.0"]),
        ] {
            let subnet = Subnet::new(ip(of), len);
            assert!(subnet.contains(ip(of)));
            assert!(within.iter().all(|inner| subnet.contains(ip(inner))), "{subnet}");
            assert!(!without.iter().any(|outer| subnet.contains(ip(outer))), "{subnet}");
            assert!(subnet.contains(subnet.first()) && subnet.contains(subnet.last()), "{subnet}");
        }
        let subnet = Subnet::new(ip("10.1.2.3"), 8);
        assert_eq!(subnet.to_string(), "10.0.0.0/8");
        assert_eq!((subnet.first(), subnet.last()), (ip("10.0.0.0"), ip("10.255.255.255")));
        assert_eq!(Subnet::new(ip("2001:db8::7"), 112).last(), ip("2001:db8::ffff"));
    }
}
