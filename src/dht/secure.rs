//! Ids that follow from an address (BEP 42), and the address at which the others see us.
//!
//! A node's id begins with 21 bits that its IP address and 3 bits of its choice give, so that
//! nobody can choose where in the DHT he stands without having the address for it. **Invariant:**
//! what an id or a vote is worth is decided elsewhere.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::id::NodeId;
use crate::proto::addr::neighbourhood;
use crate::proto::url::is_local;
use crate::rng::Rng;

/// Bits of an IPv4 address that count (BEP 42).
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
/// Bits of the first half of an IPv6 address that count (BEP 42).
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];
/// The bits of an id's third byte that follow from the address; of the first two all do.
const THIRD_BYTE: u8 = 0b1111_1000;

/// Tells whether `id` is one that a node at `ip` may have (BEP 42). Any is for an address that the
/// internet does not route: who is seen at it has another one outside.
pub fn is_valid_at(id: NodeId, ip: IpAddr) -> bool {
    let prefix = prefix(ip, id.0[19]);
    is_local(ip) || (id.0[..2] == prefix[..2] && (id.0[2] ^ prefix[2]) & THIRD_BYTE == 0)
}

/// Returns an id for a node that the others see at `ip`, or anywhere if that is not known: the 21
/// bits of BEP 42, and the rest as `rng` has it.
pub fn id_at(ip: Option<IpAddr>, rng: &mut Rng) -> NodeId {
    let mut id = [0; 20];
    rng.fill(&mut id);
    if let Some(ip) = ip {
        let prefix = prefix(ip, id[19]);
        id[..2].copy_from_slice(&prefix[..2]);
        id[2] = (prefix[2] & THIRD_BYTE) | (id[2] & !THIRD_BYTE);
    }
    NodeId(id)
}

/// Returns the bytes with which an id at `ip` begins whose last byte is `choice`.
fn prefix(ip: IpAddr, choice: u8) -> [u8; 4] {
    let choice = (choice & 7) << 5;
    let mut octets = [0; 8];
    let masked = |masked: &mut [u8], octets: &[u8], mask: &[u8]| {
        let bits = octets.iter().zip(mask).map(|(octet, mask)| octet & mask);
        masked.iter_mut().zip(bits).for_each(|(to, from)| *to = from);
        masked[0] |= choice;
        crc32c::crc32c(masked).to_be_bytes()
    };
    match ip.to_canonical() {
        IpAddr::V4(v4) => masked(&mut octets[..4], &v4.octets(), &MASK_V4),
        IpAddr::V6(v6) => masked(&mut octets, &v6.octets(), &MASK_V6),
    }
}

/// What others say at which address they see us: nodes that have answered (BEP 42, `ip`), or peers.
///
/// A neighbourhood has one vote. An address is ours when more than half of the last votes are for
/// it, and so many that one party hardly cast them.
#[derive(Debug, Default)]
pub struct Votes {
    /// Who voted and for what, oldest first; at most [`MAX_VOTES`].
    cast: VecDeque<(IpAddr, IpAddr)>,
}

/// The votes that count: those of the last nodes, so that a new address soon wins.
const MAX_VOTES: usize = 30;
/// How many must have been cast: the first few nodes that answer are not to choose our id.
const MIN_VOTES: usize = 10;

impl Votes {
    /// Takes the vote of `voter`, replacing his earlier one. Returns the address that has won,
    /// which may be what it was before; `None` if none has, or if the internet does not route it.
    pub fn cast(&mut self, voter: IpAddr, ours: IpAddr) -> Option<IpAddr> {
        let (voter, ours) = (neighbourhood(voter), ours.to_canonical());
        if is_local(ours) {
            return None;
        }
        self.cast.retain(|(other, _)| *other != voter);
        if self.cast.len() >= MAX_VOTES {
            self.cast.pop_front();
        }
        self.cast.push_back((voter, ours));
        let agree = self.cast.iter().filter(|(_, vote)| *vote == ours).count();
        (self.cast.len() >= MIN_VOTES && agree * 2 > self.cast.len()).then_some(ours)
    }

    /// Returns the address that has the most votes, however few they are; of several that have as
    /// many, that of the oldest vote.
    pub fn leading(&self) -> Option<IpAddr> {
        let count = |ours| self.cast.iter().filter(|(_, vote)| *vote == ours).count();
        // The last of those that are equal is taken.
        self.cast.iter().rev().map(|(_, ours)| *ours).max_by_key(|ours| count(*ours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// BEP 42's table and libtorrent's `test_dht.cpp`, which have the same.
    #[test]
    fn ids_begin_as_the_vectors_of_bep_42_say() {
        for (addr, choice, crc) in [
            ("124.31.75.21", 1, [0x5f, 0xbf, 0xbd, 0xb2]),
            ("21.75.31.124", 86, [0x5a, 0x3c, 0xe9, 0xb0]),
            ("65.23.51.170", 22, [0xa5, 0xd4, 0x34, 0x4a]),
            ("84.124.73.14", 65, [0x1b, 0x03, 0x21, 0x7b]),
            ("43.213.53.83", 90, [0xe5, 0x6f, 0x69, 0x72]),
        ] {
            assert_eq!(prefix(ip(addr), choice), crc, "{addr}");
            let mut id = [0; 20];
            id[..4].copy_from_slice(&crc);
            id[19] = choice;
            assert!(is_valid_at(NodeId(id), ip(addr)), "{addr}");
            id[2] ^= 0b0000_0111;
            assert!(is_valid_at(NodeId(id), ip(addr)), "{addr}: 21 bits");
            for bit in 0..21 {
                let mut other = id;
                other[bit / 8] ^= 0x80 >> (bit % 8);
                assert!(!is_valid_at(NodeId(other), ip(addr)), "{addr}: bit {bit}");
            }
            id[19] ^= 1;
            assert!(!is_valid_at(NodeId(id), ip(addr)), "{addr}: another choice");
        }
    }

    #[test]
    fn an_id_made_for_an_address_is_good_there_and_hardly_elsewhere() {
        let mut rng = Rng::new(3);
        for addr in ["1.2.3.4", "2001:db8:1:2:3:4:5:6"] {
            for _ in 0..200 {
                let id = id_at(Some(ip(addr)), &mut rng);
                assert!(is_valid_at(id, ip(addr)));
                assert!(!is_valid_at(id, ip("9.9.9.9")));
            }
        }
        // Only the upper half of an IPv6 address counts: who has a network has all of it.
        let id = id_at(Some(ip("2001:db8:1:2:3:4:5:6")), &mut rng);
        assert!(is_valid_at(id, ip("2001:db8:1:2::1")));
    }

    #[test]
    fn any_id_is_good_at_a_local_address() {
        let id = id_at(None, &mut Rng::new(4));
        for addr in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "::1", "fd00::1"] {
            assert!(is_valid_at(id, ip(addr)), "{addr}");
        }
        assert!(!is_valid_at(id, ip("8.8.8.8")));
    }

    #[test]
    fn an_address_wins_by_the_votes_of_many_neighbourhoods() {
        let mut votes = Votes::default();
        let (ours, lie) = (ip("8.8.8.8"), ip("6.6.6.6"));
        for host in 0..100 {
            assert_eq!(votes.cast(IpAddr::from([20, 0, 0, host]), lie), None, "one neighbourhood");
        }
        let cast =
            |votes: &mut Votes, network: u8, vote| votes.cast([20, 0, network, 1].into(), vote);
        assert_eq!([1, 2, 3, 4, 5].map(|n| cast(&mut votes, n, ours)), [None; 5], "of six");
        assert_eq!([6, 7, 8].map(|n| cast(&mut votes, n, ours)), [None; 3], "of nine");
        assert_eq!(cast(&mut votes, 9, ours), Some(ours), "nine of ten");
        assert_eq!(cast(&mut votes, 10, ip("192.168.0.1")), None, "that is nobody's");
        let lies = [11, 12, 13, 14, 15, 16, 17, 18].map(|n| cast(&mut votes, n, lie));
        assert_eq!(lies, [None; 8], "nine of eighteen");
        assert_eq!(cast(&mut votes, 10, ours), Some(ours), "ten of nineteen");
        let new = ip("7.7.7.7");
        assert_eq!([0; 20].map(|_| cast(&mut votes, 20, new)), [None; 20], "one neighbourhood");
        for network in 21..35 {
            cast(&mut votes, network, new);
        }
        assert_eq!(cast(&mut votes, 35, new), Some(new), "we have moved");
        for network in 100..200 {
            cast(&mut votes, network, new);
        }
        assert!(votes.cast.len() <= MAX_VOTES);
    }
}
