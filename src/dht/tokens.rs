//! Write tokens: who announces a peer has asked for the torrent's peers from the same address a
//! short while ago (BEP 5, "`get_peers`").
//!
//! A token is a hash over a secret, the address, the torrent and the time, so that nothing has to
//! be remembered of those who were given one. **Invariant:** nobody but us can make one.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::id::InfoHash;
use crate::time::{Duration, Instant};

/// How long one token is given out before the next (BEP 5: "changes every five minutes").
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// Bytes of a token: too many to guess within a window.
pub(super) const TOKEN_LEN: usize = 8;

/// Makes tokens and knows them again.
#[derive(Debug)]
pub(super) struct Tokens {
    secret: [u8; 32],
}

impl Tokens {
    /// Returns tokens that derive from `secret`.
    pub(super) const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// Returns the token of an address for a torrent at this time.
    pub(super) fn issue(&self, ip: IpAddr, torrent: InfoHash, now: Instant) -> [u8; TOKEN_LEN] {
        self.of_window(ip, torrent, window(now))
    }

    /// Tells whether an address was given this token for this torrent in this window or the one
    /// before: it is good for five minutes at least, and ten at most (BEP 5).
    pub(super) fn knows(&self, token: &[u8], ip: IpAddr, torrent: InfoHash, now: Instant) -> bool {
        let now = window(now);
        let is_of = |window| self.of_window(ip, torrent, window) == token;
        is_of(now) || now.checked_sub(1).is_some_and(is_of)
    }

    fn of_window(&self, ip: IpAddr, torrent: InfoHash, window: u64) -> [u8; TOKEN_LEN] {
        let ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut hash = Sha1::new();
        hash.update(self.secret);
        hash.update(b"dht token");
        hash.update(ip.octets());
        hash.update(torrent.0);
        hash.update(window.to_be_bytes());
        let hash: [u8; 20] = hash.finalize().into();
        *hash.first_chunk().expect("a hash has 20 bytes")
    }
}

fn window(now: Instant) -> u64 {
    now.as_micros() / 1_000_000 / WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_and_torrent_for_five_to_ten_minutes() {
        let tokens = Tokens::new([7; 32]);
        let (ip, torrent) = (IpAddr::from([11, 0, 0, 1]), InfoHash([1; 20]));
        for issued in [0, 1, 299, 300, 1_000_000] {
            let at = |s: u64| Instant::from_secs(issued + s);
            let token = tokens.issue(ip, torrent, at(0));
            for (age, is_good) in
                [(0, true), (299, true), (300, true), (600, false), (9_999, false)]
            {
                assert_eq!(tokens.knows(&token, ip, torrent, at(age)), is_good, "{issued} + {age}");
            }
            assert!(!tokens.knows(&token, [11, 0, 0, 2].into(), torrent, at(0)), "another address");
            assert!(!tokens.knows(&token, ip, InfoHash([2; 20]), at(0)), "another torrent");
            assert!(!tokens.knows(&token[1..], ip, torrent, at(0)));
            assert!(!Tokens::new([8; 32]).knows(&token, ip, torrent, at(0)), "another node");
        }
        assert!(!tokens.knows(b"", ip, torrent, Instant::ZERO));
    }
}
