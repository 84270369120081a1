//! Who is let in: connection ids that prove an address (BEP 15), and how often an address may ask.
//!
//! Both are keyed by the session's secret and take no memory that a stranger can make grow. An id
//! is a hash over the address and the minute, so that nothing has to be remembered of those who
//! asked for one. **Invariant:** what an unproven address does (anybody can send in its name) never
//! counts against the same address once it is proven.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::proto::addr::network;
use crate::rate::KeyedBuckets;
use crate::time::{Duration, Instant};

/// How long a connection id is given out before the next.
const WINDOW: Duration = Duration::from_secs(60);
/// How many windows an id of an earlier one is still taken: it is good for two minutes at least
/// (BEP 15: "a tracker should accept the connection ID until two minutes after it has been sent"),
/// and for three at most.
const OLDER_WINDOWS: u32 = 2;

/// Buckets of requests: 8 bytes each. An address has the one that the secret chooses, together with
/// every 16,384th other; so nothing need be evicted, and nobody can choose whom to crowd out.
const BUCKETS: usize = 1 << 14;

/// What is counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The address may be forged: a datagram without a good connection id.
    Unproven,
    /// Somebody receives at the address: a stream, or a datagram with a good connection id.
    Proven,
}

/// Connection ids and rates.
#[derive(Debug)]
pub(super) struct Gate {
    secret: [u8; 32],
    requests: KeyedBuckets,
}

impl Gate {
    /// Returns a gate that lets an address ask `per_s` times a second, and `burst` times at once
    /// after a pause; any number of times if `per_s` is 0.
    pub(super) fn new(secret: [u8; 32], per_s: u32, burst: u32) -> Self {
        Self { secret, requests: KeyedBuckets::new(BUCKETS, per_s, burst) }
    }

    /// Returns the connection id of an address at this time.
    pub(super) fn connection_id(&self, ip: IpAddr, now: Instant) -> u64 {
        self.id_of_window(ip, window(now))
    }

    /// Tells whether an address was given this connection id a short while ago.
    pub(super) fn knows(&self, connection: u64, ip: IpAddr, now: Instant) -> bool {
        let now = window(now);
        let windows = now.saturating_sub(OLDER_WINDOWS)..=now;
        windows.rev().any(|window| self.id_of_window(ip, window) == connection)
    }

    /// Takes one request of an address out of its bucket; tells whether there was one left. The
    /// loopback address is this machine's own and has no limit.
    pub(super) fn admits(&mut self, standing: Standing, ip: IpAddr, now: Instant) -> bool {
        if ip.is_loopback() {
            return true;
        }
        let purpose = if standing == Standing::Proven { b'P' } else { b'U' };
        self.requests.take(leading_bits(self.hash(purpose, network(ip), 0)), now)
    }

    fn id_of_window(&self, ip: IpAddr, window: u32) -> u64 {
        leading_bits(self.hash(b'C', ip, window))
    }

    /// The 53 bytes fit one block of SHA-1, and no two questions give the same 53.
    fn hash(&self, purpose: u8, ip: IpAddr, window: u32) -> [u8; 20] {
        let ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut hash = Sha1::new();
        hash.update(self.secret);
        hash.update([purpose]);
        hash.update(ip.octets());
        hash.update(window.to_be_bytes());
        hash.finalize().into()
    }
}

fn leading_bits(hash: [u8; 20]) -> u64 {
    let (bits, _) = hash.split_first_chunk().expect("a hash has 20 bytes");
    u64::from_be_bytes(*bits)
}

fn window(now: Instant) -> u32 {
    let passed = now.as_micros() / 1_000_000 / WINDOW.as_secs();
    u32::try_from(passed).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_id_is_good_for_its_address_for_two_to_three_minutes() {
        let gate = Gate::new([7; 32], 0, 0);
        for issued in [0, 1, 59, 60, 61, 1_000_000] {
            let at = |s: u64| Instant::from_secs(issued + s);
            let id = gate.connection_id(ip("11.0.0.1"), at(0));
            for (age, good) in [(0, true), (60, true), (120, true), (180, false), (9_999, false)] {
                assert_eq!(gate.knows(id, ip("11.0.0.1"), at(age)), good, "{issued} + {age}");
            }
            assert!(!gate.knows(id, ip("11.0.0.2"), at(0)), "somebody else's");
            assert!(
                !Gate::new([8; 32], 0, 0).knows(id, ip("11.0.0.1"), at(0)),
                "another tracker's"
            );
        }
        assert!(!gate.knows(0, ip("11.0.0.1"), Instant::ZERO));
    }

    #[test]
    fn an_address_may_ask_so_often_and_no_more() {
        let mut gate = Gate::new([7; 32], 10, 30);
        let mut count = |standing, from: &str, now| {
            (0..100).filter(|_| gate.admits(standing, ip(from), now)).count()
        };
        let start = Instant::from_secs(5);
        assert_eq!(count(Standing::Proven, "11.0.0.1", start), 30);
        assert_eq!(count(Standing::Proven, "11.0.0.1", start), 0);
        assert_eq!(count(Standing::Proven, "11.0.0.1", start + Duration::from_secs(1)), 10);
        assert_eq!(count(Standing::Proven, "11.0.0.1", start + Duration::from_secs(99)), 30);
        assert_eq!(count(Standing::Unproven, "11.0.0.1", start), 30, "forgeries count apart");
        assert_eq!(count(Standing::Proven, "11.0.0.2", start), 30, "another address");
        assert_eq!(count(Standing::Proven, "127.0.0.1", start), 100, "this machine");
        let one_network = ["2001:db8::1", "2001:db8::ffff:1"];
        assert_eq!(one_network.map(|from| count(Standing::Proven, from, start)), [30, 0]);
        assert_eq!(count(Standing::Proven, "2001:db8:0:1::1", start), 30);
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut gate = Gate::new([7; 32], 0, 0);
        let admits = |_| gate.admits(Standing::Proven, ip("11.0.0.1"), Instant::ZERO);
        assert!((0..10_000).all(admits));
    }
}
