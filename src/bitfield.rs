//! One bit a piece, in the byte and bit order of the `bitfield` message (BEP 3).
//!
//! Bits are kept in 64-bit words loaded big-endian, so that the order on the wire (most significant
//! bit first) is the order of `leading_zeros`, and set operations run a word at a time.

/// A set of piece numbers in `0..len`.
///
/// Invariant: bits at and beyond `len` are zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bitfield {
    words: Box<[u64]>,
    len: u32,
    /// Invariant: the bits that are set. Kept, because it is asked more often than it changes.
    count: u32,
}

/// What is wrong with a `bitfield` payload; always the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BitfieldError {
    /// The payload is not exactly one bit a piece, rounded up to bytes.
    #[error("bitfield of {got} bytes where {want} are due")]
    Length {
        /// Bytes in the payload.
        got: usize,
        /// Bytes that the torrent's piece count asks for.
        want: usize,
    },
    /// A bit beyond the last piece is set (BEP 3: "the spare bits at the end are set to zero").
    #[error("bitfield with a spare bit set")]
    SpareBits,
}

const WORD_BITS: u32 = u64::BITS;

fn split(index: u32) -> (usize, u64) {
    let word = usize::try_from(index / WORD_BITS).expect("usize has at least 32 bits");
    (word, 1 << (WORD_BITS - 1 - index % WORD_BITS))
}

/// Returns the last word of the set of all pieces in `0..len`; `len` is not zero.
const fn last_word(len: u32) -> u64 {
    u64::MAX << ((WORD_BITS - len % WORD_BITS) % WORD_BITS)
}

impl Bitfield {
    /// Returns the empty set of pieces in `0..len`.
    pub fn new(len: u32) -> Self {
        let words = vec![0; len.div_ceil(WORD_BITS) as usize];
        Self { words: words.into_boxed_slice(), len, count: 0 }
    }

    /// Returns the set of all pieces in `0..len`.
    pub fn full(len: u32) -> Self {
        let mut all = Self::new(len);
        all.reset(len, true);
        all
    }

    /// Makes this the set of no piece or of `all` in `0..len`, in the memory that it has.
    pub fn reset(&mut self, len: u32, all: bool) {
        if self.len != len {
            *self = Self::new(len);
        }
        self.words.fill(if all { u64::MAX } else { 0 });
        self.count = if all { len } else { 0 };
        if let Some(last) = self.words.last_mut() {
            *last &= last_word(len);
        }
    }

    /// Returns the number of bytes of a `bitfield` payload for `len` pieces.
    pub const fn wire_len(len: u32) -> usize {
        len.div_ceil(8) as usize
    }

    /// Reads the payload of a `bitfield` message for a torrent of `len` pieces (BEP 3).
    ///
    /// # Errors
    /// [`BitfieldError`] if the length differs or a spare bit is set; the sender's fault in both
    /// cases.
    pub fn from_wire(payload: &[u8], len: u32) -> Result<Self, BitfieldError> {
        let want = Self::wire_len(len);
        if payload.len() != want {
            return Err(BitfieldError::Length { got: payload.len(), want });
        }
        let mut bits = Self::new(len);
        for (word, bytes) in bits.words.iter_mut().zip(payload.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_be_bytes(padded);
        }
        if bits.words.last().is_some_and(|last| last & !last_word(len) != 0) {
            return Err(BitfieldError::SpareBits);
        }
        bits.count = bits.words.iter().map(|word| word.count_ones()).sum();
        Ok(bits)
    }

    /// Appends the payload of a `bitfield` message to `out`: [`Bitfield::wire_len`] bytes (BEP 3).
    pub fn write_wire(&self, out: &mut Vec<u8>) {
        let end = out.len() + Self::wire_len(self.len);
        self.words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        out.truncate(end);
    }

    /// Returns the number of pieces that the set is over, set or not.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Tells whether no piece is in the set.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Tells whether every piece is in the set.
    pub const fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Returns how many pieces are in the set. O(1).
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Tells whether piece `index` is in the set; `false` beyond `len`.
    pub fn contains(&self, index: u32) -> bool {
        let (word, bit) = split(index);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds piece `index` and tells whether it was new. Panics if `index` is not below `len`: a bug
    /// of the caller.
    pub fn insert(&mut self, index: u32) -> bool {
        assert!(index < self.len, "piece {index} of {}", self.len);
        let (word, bit) = split(index);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(new);
        new
    }

    /// Removes piece `index` and tells whether it was there.
    pub fn remove(&mut self, index: u32) -> bool {
        let (word, bit) = split(index);
        let Some(bits) = self.words.get_mut(word) else { return false };
        let old = *bits & bit != 0;
        *bits &= !bit;
        self.count -= u32::from(old);
        old
    }

    /// Returns the words of the set: piece `64 * w + b` is bit `63 - b` of word `w`; bits beyond
    /// `len` are zero.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Tells whether some piece is in both sets; they must be over the same pieces.
    /// O(pieces / 64).
    pub fn intersects(&self, other: &Self) -> bool {
        debug_assert_eq!(self.len, other.len);
        // Eight words at a time, so that the compiler makes vector code of it.
        let mut chunks = self.words.chunks(8).zip(other.words.chunks(8));
        let common = |(mine, theirs): (&[u64], &[u64])| {
            mine.iter().zip(theirs).fold(0, |any, (mine, theirs)| any | (mine & theirs))
        };
        self.count > 0 && other.count > 0 && chunks.any(|chunk| common(chunk) != 0)
    }

    /// Returns the pieces in the set, in rising order.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip((0..).step_by(WORD_BITS as usize)).flat_map(|(word, first)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.leading_zeros();
                rest &= !(1_u64 << 63).checked_shr(bit)?;
                Some(first + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_piece_is_the_highest_bit_of_the_first_byte() {
        let mut bits = Bitfield::new(12);
        bits.insert(0);
        bits.insert(9);
        let mut wire = Vec::new();
        bits.write_wire(&mut wire);
        assert_eq!(wire, [0b1000_0000, 0b0100_0000]);
    }

    #[test]
    fn a_payload_of_another_length_or_with_spare_bits_is_refused() {
        assert_eq!(Bitfield::from_wire(&[0], 9), Err(BitfieldError::Length { got: 1, want: 2 }));
        assert_eq!(
            Bitfield::from_wire(&[0, 0, 0], 9),
            Err(BitfieldError::Length { got: 3, want: 2 })
        );
        assert_eq!(Bitfield::from_wire(&[0xff, 0xc0], 9), Err(BitfieldError::SpareBits));
        assert_eq!(Bitfield::from_wire(&[0xff, 0x80], 9), Ok(Bitfield::full(9)));
        assert_eq!(Bitfield::from_wire(&[], 0), Ok(Bitfield::new(0)));
    }

    #[test]
    fn full_has_every_piece_and_no_spare_bit() {
        for len in [0, 1, 63, 64, 65, 128, 1000] {
            let all = Bitfield::full(len);
            assert!(all.is_full(), "{len}");
            assert_eq!(all.count(), len);
            assert!(!all.contains(len));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_vector_of_flags(flags in prop::collection::vec(any::<bool>(), 0..300)) {
            let len = u32::try_from(flags.len()).expect("short");
            let mut bits = Bitfield::new(len);
            let set: Vec<u32> = (0..len).filter(|i| flags[*i as usize]).collect();
            for index in &set {
                prop_assert!(bits.insert(*index));
                prop_assert!(!bits.insert(*index));
            }
            prop_assert_eq!(bits.ones().collect::<Vec<_>>(), set.clone());
            prop_assert_eq!(bits.count() as usize, set.len());
            prop_assert_eq!(bits.intersects(&bits), !set.is_empty());
            let mut wire = Vec::new();
            bits.write_wire(&mut wire);
            prop_assert_eq!(wire.len(), Bitfield::wire_len(len));
            let read = Bitfield::from_wire(&wire, len);
            prop_assert_eq!(read.as_ref(), Ok(&bits));
            if let Some(first) = set.first() {
                let mut less = bits.clone();
                prop_assert!(less.remove(*first) && !less.remove(*first));
                prop_assert_eq!(less.count() + 1, bits.count());
                let mut only = Bitfield::new(len);
                only.insert(*first);
                prop_assert!(bits.intersects(&only) && !less.intersects(&only));
            }
        }
    }
}
