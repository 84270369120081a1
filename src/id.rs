//! Names of things: the 20-byte identities of BEP 3 and the small indices that the engine hands
//! out.

use std::fmt;
use std::str::FromStr;

/// The length of a request in this engine: 16 KiB, the block size every client uses (de facto; BEP
/// 3 says "2^14").
pub const BLOCK_LEN: u32 = 16 * 1024;

/// The SHA-1 of the bencoded `info` value as it stands in the metainfo file (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// The 20 bytes by which a peer names itself in its handshake and announces (BEP 3, BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

/// The 20 bytes that name a node of the DHT, of the same space as info-hashes (BEP 5).
///
/// Ordered as a big-endian number, as are the distances between two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 20]);

impl NodeId {
    /// Bits of an id.
    pub const BITS: usize = 160;

    /// Returns how far `other` is: the two ids' XOR, which is compared as a big-endian number
    /// (BEP 5, "Overview").
    #[must_use]
    pub fn distance(self, other: Self) -> [u8; 20] {
        let mut distance = self.0;
        distance.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
        distance
    }

    /// Returns with how many equal bits the two ids begin; at most [`NodeId::BITS`].
    pub fn shared_bits(self, other: Self) -> usize {
        let distance = self.distance(other);
        let equal = distance.iter().take_while(|byte| **byte == 0).count();
        let bits = distance.get(equal).map_or(0, |byte| index(byte.leading_zeros()));
        equal * 8 + bits
    }

    /// Returns the id that differs from this one in one bit, counted from 0 and the front; `None`
    /// from [`NodeId::BITS`] on.
    pub fn with_flipped(mut self, bit: usize) -> Option<Self> {
        *self.0.get_mut(bit / 8)? ^= 0x80 >> (bit % 8);
        Some(self)
    }
}

impl From<InfoHash> for NodeId {
    /// Returns where in the DHT the peers of a torrent are stored (BEP 5).
    fn from(hash: InfoHash) -> Self {
        Self(hash.0)
    }
}

/// A zero-based piece number; whoever makes one from peer input has checked it against the
/// torrent's piece count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PieceIndex(pub u32);

/// A byte range within one piece, as `request`, `piece` and `cancel` name it (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The piece that the block is part of.
    pub piece: PieceIndex,
    /// Bytes from the start of the piece to the start of the block.
    pub begin: u32,
    /// Bytes in the block; ours are [`BLOCK_LEN`] but for the last of the last piece.
    pub len: u32,
}

impl Block {
    /// Returns the block's position within its piece, in units of [`BLOCK_LEN`].
    pub const fn slot(self) -> u32 {
        self.begin / BLOCK_LEN
    }
}

/// A torrent within one session. Never reused while the session lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TorrentId(pub u32);

/// A connection within one session: a slot in the connection table and the generation of its use.
///
/// Slots are reused at once; the generation tells a stale name (in a late event of the same poll
/// batch, a timer entry or a worker's outcome) from the connection that has the slot now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The slot in the connection table.
    pub index: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

/// Returns a 32-bit number as an index into memory.
pub(crate) fn index(n: u32) -> usize {
    usize::try_from(n).expect("usize has at least 32 bits")
}

/// Writes `bytes` as lower-case hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an info-hash has 40 hexadecimal digits")]
pub struct ParseInfoHashError;

impl FromStr for InfoHash {
    type Err = ParseInfoHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(ParseInfoHashError);
        }
        let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(ParseInfoHashError);
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let value = nibble(pair[0])? << 4 | nibble(pair[1])?;
            *byte = u8::try_from(value).map_err(|_| ParseInfoHashError)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Debug for PeerId {
    /// Printable bytes as they are, all others as `\xNN`: peer ids are foreign text (security rule:
    /// escape).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}", self.piece.0, self.begin, self.len)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_hash_reads_what_it_prints() {
        let text = "722fe65b2aa26d14f35b4ad627d20236e481d924";
        let hash: InfoHash = text.parse().expect("40 digits");
        assert_eq!(hash.0[0], 0x72);
        assert_eq!(hash.to_string(), text);
    }

    #[test]
    fn an_info_hash_of_another_form_is_refused() {
        for text in [
            "",
            "722f",
            "g22fe65b2aa26d14f35b4ad627d20236e481d924",
            "é22fe65b2aa26d14f35b4ad627d20236e481d92",
        ] {
            assert_eq!(text.parse::<InfoHash>(), Err(ParseInfoHashError), "{text}");
        }
    }

    #[test]
    fn nodes_are_as_far_apart_as_their_ids_differ() {
        let node = |first: u8, last: u8| {
            let mut id = [0; 20];
            (id[0], id[19]) = (first, last);
            NodeId(id)
        };
        assert_eq!(node(0b1010_0000, 1).distance(node(0b1000_0000, 3)), node(0b0010_0000, 2).0);
        assert!(node(1, 0).distance(node(0, 0)) > node(0, 255).distance(node(0, 0)));
        for (other, bits) in [
            (node(0, 0), 160),
            (node(0, 1), 159),
            (node(0, 128), 152),
            (node(1, 0), 7),
            (node(255, 255), 0),
        ] {
            assert_eq!(node(0, 0).shared_bits(other), bits, "{other}");
            let flipped = node(0, 0).with_flipped(bits);
            let shared = flipped.map(|flipped| flipped.shared_bits(other));
            assert!(shared.is_none_or(|shared| shared > bits), "{other}");
            assert_eq!(flipped.is_none(), bits == NodeId::BITS, "{other}");
        }
    }

    #[test]
    fn a_peer_id_prints_no_control_bytes() {
        let mut id = *b"-SL0100-abcdefghijkl";
        id[19] = 0x1b;
        assert_eq!(format!("{:?}", PeerId(id)), "-SL0100-abcdefghijk\\x1b");
    }
}
