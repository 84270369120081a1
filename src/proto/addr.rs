//! What an IP address says about who has it: which part of it one party has for itself.
//!
//! Used wherever somebody could count as many by taking many addresses. **Invariant:** nothing here
//! knows what is counted.

use std::net::IpAddr;

/// Returns what of an address somebody has for himself: all of an IPv4 address, and the first 64
/// bits of an IPv6 one. IPv4 in IPv6 counts as IPv4.
pub fn network(ip: IpAddr) -> IpAddr {
    masked(ip, 4)
}

/// Returns what of an address those have in common who are likely one party: the first 24 bits of
/// an IPv4 address and the first 64 of an IPv6 one (de facto: libtorrent, `compare_ip_cidr`).
pub fn neighbourhood(ip: IpAddr) -> IpAddr {
    masked(ip, 3)
}

/// Keeps the first `v4_octets` of an IPv4 address and the first 8 of an IPv6 one.
fn masked(ip: IpAddr, v4_octets: usize) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let mut octets = v4.octets();
            octets[v4_octets..].fill(0);
            octets.into()
        }
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            octets.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parties_are_told_apart_by_what_they_cannot_choose() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (addr, one, near) in [
            ("1.2.3.4", "1.2.3.4", "1.2.3.0"),
            ("::ffff:1.2.3.4", "1.2.3.4", "1.2.3.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1:2::"),
        ] {
            assert_eq!(network(ip(addr)), ip(one));
            assert_eq!(neighbourhood(ip(addr)), ip(near));
        }
    }
}
