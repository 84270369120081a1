//! The allowed-fast set (BEP 6): which few pieces a peer may request while choked, so that a
//! newcomer has something to trade.

use std::net::{IpAddr, Ipv4Addr};

use sha1::{Digest, Sha1};

use crate::id::{InfoHash, PieceIndex};

/// How many pieces we allow each newcomer (libtorrent `allowed_fast_set_size`: 5).
pub const ALLOWED_FAST_PIECES: u32 = 5;
/// The most allowed-fast pieces of a remote that we remember; BEP 6's own example uses 7 to 9.
pub const MAX_ALLOWED_FAST: usize = 32;

/// The pieces that one remote was granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantedFast {
    pieces: [u32; ALLOWED_FAST_PIECES as usize],
    len: u8,
}

impl GrantedFast {
    /// Returns the first [`ALLOWED_FAST_PIECES`] of `pieces`.
    pub fn new(pieces: impl IntoIterator<Item = PieceIndex>) -> Self {
        let mut granted = Self::default();
        for (slot, piece) in granted.pieces.iter_mut().zip(pieces) {
            *slot = piece.0;
            granted.len += 1;
        }
        granted
    }

    /// Returns the granted pieces.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.pieces.iter().take(usize::from(self.len)).copied().map(PieceIndex)
    }

    /// Tells whether `piece` is granted.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        self.iter().any(|granted| granted == piece)
    }
}

/// Returns the `count` pieces that a peer at `addr` may request while choked, of a torrent of
/// `pieces` pieces (BEP 6, "Allowed Fast Set"). Fewer if the torrent has fewer; none for IPv6, for
/// which BEP 6 defines no set.
pub fn allowed_fast_set(
    addr: IpAddr,
    info_hash: InfoHash,
    pieces: u32,
    count: u32,
) -> Vec<PieceIndex> {
    let IpAddr::V4(addr) = addr.to_canonical() else { return Vec::new() };
    // The walk below ends only once it has met `count` different pieces.
    let count = count.min(pieces) as usize;
    let mut set: Vec<PieceIndex> = Vec::with_capacity(count);
    let network = u32::from(addr) & u32::from(Ipv4Addr::new(255, 255, 255, 0));
    let mut seed: Vec<u8> = network.to_be_bytes().into_iter().chain(info_hash.0).collect();
    while set.len() < count {
        let hash = Sha1::digest(&seed);
        for bytes in hash.chunks_exact(4) {
            let word = u32::from_be_bytes(bytes.try_into().expect("a chunk of 4"));
            let piece = PieceIndex(word % pieces);
            if set.len() < count && !set.contains(&piece) {
                set.push(piece);
            }
        }
        seed = hash.to_vec();
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addr: [u8; 4], hash: InfoHash, pieces: u32, count: u32) -> Vec<u32> {
        let addr = IpAddr::V4(addr.into());
        allowed_fast_set(addr, hash, pieces, count).into_iter().map(|piece| piece.0).collect()
    }

    #[test]
    fn the_vectors_of_bep_6_and_of_aria2_come_out() {
        let aa = InfoHash([0xaa; 20]);
        assert_eq!(set([80, 4, 4, 200], aa, 1313, 7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set([80, 4, 4, 200], aa, 1313, 9)[7..], [353, 508]);
        let mut ff = InfoHash([0; 20]);
        ff.0[0] = 0xff;
        assert_eq!(
            set([192, 168, 0, 1], ff, 1000, 10),
            [686, 459, 278, 200, 404, 834, 64, 203, 760, 950]
        );
        assert_eq!(
            set([10, 0, 0, 1], ff, 1000, 10),
            [568, 188, 466, 452, 550, 662, 109, 226, 398, 11]
        );
        assert_eq!(set([10, 0, 0, 1], ff, 9, 10), [8, 6, 7, 5, 1, 4, 0, 2, 3]);
    }

    #[test]
    fn there_is_no_set_for_ipv6_but_for_mapped_ipv4() {
        let hash = InfoHash([0xaa; 20]);
        let v6: IpAddr = "2001:db8::1".parse().expect("an address");
        assert!(allowed_fast_set(v6, hash, 100, 5).is_empty());
        let mapped: IpAddr = "::ffff:80.4.4.200".parse().expect("an address");
        assert_eq!(allowed_fast_set(mapped, hash, 1313, 1), [PieceIndex(1059)]);
    }
}
