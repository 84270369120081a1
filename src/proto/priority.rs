//! The canonical priority of peers (BEP 40): who is dialled first, so that all of a swarm prefer
//! the same connections and nobody can choose to be preferred by all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the priority of a connection between two endpoints, the same whichever is which; the
/// highest is preferred (BEP 40).
///
/// Both are to be as the other side sees them. Endpoints of two families never meet: theirs is that
/// of the IPv4 one with itself.
pub fn canonical_priority(one: SocketAddr, other: SocketAddr) -> u32 {
    match (one.ip().to_canonical(), other.ip().to_canonical()) {
        (ip, same) if ip == same => of_bytes(one.port().to_be_bytes(), other.port().to_be_bytes()),
        (IpAddr::V4(one), IpAddr::V4(other)) => of_v4(one, other),
        (IpAddr::V6(one), IpAddr::V6(other)) => of_v6(one, other),
        (IpAddr::V4(ip), _) | (_, IpAddr::V4(ip)) => of_v4(ip, ip),
    }
}

/// Where others see us, as far as we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vantage {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    port: u16,
}

impl Vantage {
    /// Returns a place made from bytes that nobody else has, and the port that we listen on: until
    /// we are told where we are, what matters is that each of a swarm prefers others.
    pub fn unknown(bytes: [u8; 16], port: u16) -> Self {
        let [a, b, c, d, ..] = bytes;
        Self { v4: [a, b, c, d].into(), v6: bytes.into(), port }
    }

    /// Takes in where somebody sees us; tells whether that is news.
    pub fn learn(&mut self, ip: IpAddr) -> bool {
        let before = *self;
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4 = ip,
            IpAddr::V6(ip) => self.v6 = ip,
        }
        *self != before
    }

    /// Returns the priority of a connection to a remote.
    pub fn priority(&self, remote: SocketAddr) -> u32 {
        let ip: IpAddr =
            if remote.ip().to_canonical().is_ipv4() { self.v4.into() } else { self.v6.into() };
        canonical_priority(SocketAddr::new(ip, self.port), remote)
    }
}

impl Default for Vantage {
    fn default() -> Self {
        Self::unknown([0; 16], 0)
    }
}

fn of_v4(one: Ipv4Addr, other: Ipv4Addr) -> u32 {
    masked(one.octets(), other.octets(), 2)
}

fn of_v6(one: Ipv6Addr, other: Ipv6Addr) -> u32 {
    masked(one.octets(), other.octets(), 6)
}

/// Keeps the first `whole` bytes of two addresses, one more if they have those in common, two more
/// if they have that in common, too; of each of the rest half the bits, which whoever has a network
/// to itself can choose.
fn masked<const LEN: usize>(mut one: [u8; LEN], mut other: [u8; LEN], whole: usize) -> u32 {
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let whole = whole + common.saturating_add(1).saturating_sub(whole).min(2);
    for address in [&mut one, &mut other] {
        for byte in address.iter_mut().skip(whole) {
            *byte &= 0x55;
        }
    }
    of_bytes(one, other)
}

fn of_bytes<const LEN: usize>(one: [u8; LEN], other: [u8; LEN]) -> u32 {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    crc32c::crc32c_append(crc32c::crc32c(&first), &second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(one: &str, other: &str) -> u32 {
        let addr = |text: &str| text.parse().expect("an endpoint");
        let both = canonical_priority(addr(one), addr(other));
        assert_eq!(both, canonical_priority(addr(other), addr(one)), "{one} and {other}");
        both
    }

    /// The examples of BEP 40, those of anacrolix/torrent, and the buffers of libtorrent's
    /// `test_peer_priority.cpp`.
    #[test]
    fn known_endpoints_have_their_known_priorities() {
        for (one, other, expected) in [
            ("123.213.32.10:0", "98.76.54.32:0", 0xec2d_7224),
            ("123.213.32.10:0", "123.213.32.234:0", 0x9956_8189),
            ("206.248.98.111:0", "142.147.89.224:0", 0x2b41_d456),
            ("230.12.123.3:1234", "230.12.123.3:300", 0xae8b_7034),
            ("230.12.123.1:1234", "230.12.123.3:300", 0x99c5_4d79),
            ("230.12.23.1:1234", "230.12.123.3:300", 0x21fd_5f80),
            ("230.12.123.1:1234", "230.120.23.3:300", 0xfa9a_860e),
            (
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1",
                "[ffff:fff:ffff:ffff:ffff:ffff:ffff:ffff]:2",
                0x59d7_1f38,
            ),
        ] {
            assert_eq!(priority(one, other), expected, "{one} and {other}");
        }
    }

    #[test]
    fn a_vantage_is_where_we_were_told_that_we_are() {
        let mut us = Vantage::unknown([7; 16], 6881);
        let remote = "98.76.54.32:1".parse().expect("an endpoint");
        let guessed = us.priority(remote);
        let ip = "123.213.32.10".parse().expect("an address");
        assert!(us.learn(ip) && !us.learn(ip));
        assert_eq!(us.priority(remote), 0xec2d_7224);
        assert_ne!(guessed, 0xec2d_7224);
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, expected) in [
            (&b"123456789"[..], 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
        ] {
            assert_eq!(crc32c::crc32c(bytes), expected);
        }
    }

    #[test]
    fn what_a_network_chooses_freely_counts_half_and_what_tells_neighbours_apart_counts() {
        // Bits outside 0x55 of the last two bytes.
        assert_eq!(priority("1.2.0.0:1", "9.9.9.9:1"), priority("1.2.170.170:1", "9.9.9.9:1"));
        assert_ne!(priority("1.2.1.0:1", "9.9.9.9:1"), priority("1.2.0.0:1", "9.9.9.9:1"));
        // The same /16: the third byte counts whole. The same /24: all of it.
        assert_ne!(priority("1.2.2.1:1", "1.2.9.9:1"), priority("1.2.0.1:1", "1.2.9.9:1"));
        assert_ne!(priority("1.2.3.0:1", "1.2.3.9:1"), priority("1.2.3.2:1", "1.2.3.9:1"));
        // /32, /48 and /56 of IPv6.
        let far = "[2001:db8:9::9]:1";
        assert_eq!(priority("[2001:db8::aa00]:1", far), priority("[2001:db8::]:1", far));
        let near = "[2001:db8:0:900::]:1";
        let (one, two) = ("[2001:db8:0:200::]:1", "[2001:db8::]:1");
        assert_ne!(priority(one, near), priority(two, near), "byte 6 in the same /48");
        assert_eq!(priority(one, far), priority(two, far));
        assert_ne!(
            priority("[2001:db8:0:2::]:1", "[2001:db8:0:9::]:1"),
            priority("[2001:db8::]:1", "[2001:db8:0:9::]:1"),
            "byte 7 in the same /56"
        );
        priority("1.2.3.4:1", "[2001:db8::1]:1");
        assert_eq!(priority("[::ffff:1.2.3.4]:1", "5.6.7.8:1"), priority("1.2.3.4:1", "5.6.7.8:1"));
    }
}
