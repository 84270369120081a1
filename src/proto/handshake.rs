//! The 68 bytes that open a peer connection (BEP 3, "peer protocol").
//!
//! ```text
//!  0   1                    20        28         48        68
//!  ├19─┼─BitTorrent protocol─┼─reserved─┼─info-hash─┼─peer id─┤
//! ```
//!
//! An accepting side answers as soon as the info-hash is in: some peers hold their peer id back
//! until they have been answered.

use crate::id::{InfoHash, PeerId};

/// Bytes of a whole handshake.
pub const HANDSHAKE_LEN: usize = 68;
/// Bytes up to and with the info-hash, which are enough to answer.
pub const HEAD_LEN: usize = 48;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The eight reserved bytes: what extensions a side offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// What this engine offers: the extension protocol (BEP 10) and the fast extension (BEP 6).
    pub const OURS: Self = Self([0, 0, 0, 0, 0, Self::EXTENDED, 0, Self::FAST]);

    const DHT: u8 = 0x01;
    const FAST: u8 = 0x04;
    const EXTENDED: u8 = 0x10;

    /// Returns what is offered by both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut both = self.0;
        both.iter_mut().zip(other.0).for_each(|(ours, theirs)| *ours &= theirs);
        Self(both)
    }

    /// Tells whether the fast extension is offered (BEP 6).
    pub const fn fast(self) -> bool {
        self.0[7] & Self::FAST != 0
    }

    /// Tells whether the extension protocol is offered (BEP 10).
    pub const fn extended(self) -> bool {
        self.0[5] & Self::EXTENDED != 0
    }

    /// Tells whether a DHT node is offered (BEP 5).
    pub const fn dht(self) -> bool {
        self.0[7] & Self::DHT != 0
    }

    /// Returns the same with a DHT node offered as well (BEP 5).
    #[must_use]
    pub const fn with_dht(self) -> Self {
        let mut bytes = self.0;
        bytes[7] |= Self::DHT;
        Self(bytes)
    }
}

/// The bytes are no BitTorrent handshake: another protocol, or an encrypted peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first bytes are not the protocol's name.
    #[error("byte {at} is not of \"BitTorrent protocol\"")]
    NotBitTorrent {
        /// Zero-based position of the first byte that differs.
        at: usize,
    },
    /// A dialled peer answered for another torrent than it was asked for.
    #[error("answered with another info-hash")]
    OtherInfoHash,
}

/// Returns the whole handshake.
pub fn encode(reserved: Reserved, info_hash: InfoHash, peer_id: PeerId) -> [u8; HANDSHAKE_LEN] {
    let mut bytes = [0; HANDSHAKE_LEN];
    bytes[..20].copy_from_slice(PROTOCOL);
    bytes[20..28].copy_from_slice(&reserved.0);
    bytes[28..48].copy_from_slice(&info_hash.0);
    bytes[48..].copy_from_slice(&peer_id.0);
    bytes
}

/// Checks whatever has arrived of a handshake, so that another protocol is told at its first wrong
/// byte.
///
/// # Errors
/// [`HandshakeError::NotBitTorrent`]: the remote's fault.
pub fn check_prefix(received: &[u8]) -> Result<(), HandshakeError> {
    match received.iter().zip(PROTOCOL).position(|(got, want)| got != want) {
        Some(at) => Err(HandshakeError::NotBitTorrent { at }),
        None => Ok(()),
    }
}

/// Reads the first [`HEAD_LEN`] bytes; their protocol name has been checked by [`check_prefix`].
pub fn decode_head(head: &[u8; HEAD_LEN]) -> (Reserved, InfoHash) {
    let mut reserved = [0; 8];
    reserved.copy_from_slice(&head[20..28]);
    let mut info_hash = [0; 20];
    info_hash.copy_from_slice(&head[28..]);
    (Reserved(reserved), InfoHash(info_hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: InfoHash = InfoHash(*b"aaaaaaaaaabbbbbbbbbb");
    const PEER: PeerId = PeerId(*b"-SL0100-0123456789ab");

    #[test]
    fn reads_what_it_writes() {
        let bytes = encode(Reserved::OURS, HASH, PEER);
        assert_eq!(check_prefix(&bytes), Ok(()));
        let head = bytes.first_chunk().expect("68 bytes");
        assert_eq!(decode_head(head), (Reserved::OURS, HASH));
        assert_eq!(&bytes[HEAD_LEN..], &PEER.0);
    }

    #[test]
    fn every_truncation_is_a_good_prefix_so_far() {
        let bytes = encode(Reserved::default(), HASH, PEER);
        for len in 0..bytes.len() {
            assert_eq!(check_prefix(&bytes[..len]), Ok(()), "{len} bytes");
        }
    }

    #[test]
    fn another_protocol_is_told_at_its_first_wrong_byte() {
        for (bytes, at) in [
            (&b"GET / HTTP/1.1"[..], 0),
            (b"\x13BitTorrent Protocol", 12),
            (b"\x14BitTorrent protocol", 0),
            (b"\x13BitTorrent protocoL", 19),
        ] {
            assert_eq!(check_prefix(bytes), Err(HandshakeError::NotBitTorrent { at }));
        }
    }

    #[test]
    fn the_bits_are_where_the_specifications_put_them() {
        assert!(Reserved([0, 0, 0, 0, 0, 0, 0, 4]).fast());
        assert!(Reserved([0, 0, 0, 0, 0, 0x10, 0, 0]).extended());
        assert!(Reserved([0, 0, 0, 0, 0, 0, 0, 1]).dht());
        assert!(Reserved::OURS.fast() && Reserved::OURS.extended() && !Reserved::OURS.dht());
    }
}
