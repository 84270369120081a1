//! The two slots of a state file, of which one is always whole.
//!
//! A state file is two halves of equal length. Each holds a record, and they are written in turn,
//! in place: whatever ends the process or the machine in the middle of a write, the other half is
//! what it was. Their room is reserved when the file is made, so that a record can be saved on a
//! disk that is full.
//!
//! ```text
//! 0        8         12           20       24       44
//! magic 8  version   generation   length   SHA-1    record, then whatever was there before
//!          u32       u64          u32      20 bytes, over bytes 8 to 24 and the record
//! ```
//!
//! All numbers are big-endian. The slot with the higher generation is the newer one. **Invariant:**
//! nothing here knows what a record means, and nothing is claimed that the hash does not cover.

use super::hash::{self, Midstate};

/// Bytes before the record.
pub const HEADER_LEN: usize = 44;
/// The longest record in bytes: one of a million files. No file that is longer than two slots of
/// this is read.
pub const MAX_RECORD_LEN: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"swl-slot";
const VERSION: u32 = 1;
/// Slots begin and end where pages do, so that writing one never touches a page of the other.
const PAGE_LEN: usize = 4096;

/// One of the two halves of a state file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Slot {
    /// The one that the file begins with.
    #[default]
    First,
    /// The one behind it.
    Second,
}

impl Slot {
    /// Returns the slot that is written after this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Returns where the slot begins in a file whose slots are `slot_len` bytes long.
    pub const fn offset(self, slot_len: u64) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => slot_len,
        }
    }
}

/// The newest whole record of a state file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newest<'a> {
    /// Where it is.
    pub slot: Slot,
    /// Counts the records that were written.
    pub generation: u64,
    /// The record.
    pub record: &'a [u8],
}

/// Returns how long a slot has to be for a record of `len` bytes, with as much again to grow.
pub const fn slot_len(len: usize) -> usize {
    (HEADER_LEN + len + len / 4).next_multiple_of(PAGE_LEN)
}

/// Writes the bytes of a slot that holds `record`: header and record, without what is behind it.
///
/// Panics if the record is longer than [`MAX_RECORD_LEN`]: a bug of the caller.
pub fn encode(generation: u64, record: &[u8]) -> Vec<u8> {
    assert!(record.len() <= MAX_RECORD_LEN, "a record of {} bytes", record.len());
    let len = u32::try_from(record.len()).expect("at most 64 MiB");
    let mut out = Vec::with_capacity(HEADER_LEN + record.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    let digest = digest(&out[MAGIC.len()..], record);
    out.extend_from_slice(&digest);
    out.extend_from_slice(record);
    out
}

/// Returns the newest whole record of a state file; `None` if neither slot holds one.
///
/// Never panics, whatever the file holds; allocates nothing.
pub fn newest(file: &[u8]) -> Option<Newest<'_>> {
    let (first, second) = file.split_at(file.len() / 2);
    let read = |slot, bytes| {
        let (generation, record) = decode(bytes)?;
        Some(Newest { slot, generation, record })
    };
    let slots = [read(Slot::First, first), read(Slot::Second, second)];
    slots.into_iter().flatten().max_by_key(|newest| newest.generation)
}

/// Returns generation and record of one slot; `None` unless all of it is as it was written.
fn decode(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = slot.split_at_checked(HEADER_LEN)?;
    let (covered, expected) = header.strip_prefix(&MAGIC)?.split_at(16);
    let number = |range: std::ops::Range<usize>| {
        covered[range].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if number(0..4) != u64::from(VERSION) {
        return None;
    }
    let record = rest.get(..usize::try_from(number(12..16)).ok()?)?;
    let generation = number(4..12);
    // Nobody has counted so far; and no record could come after it.
    let is_whole = generation < u64::MAX && digest(covered, record) == *expected;
    is_whole.then_some((generation, record))
}

fn digest(header: &[u8], record: &[u8]) -> [u8; 20] {
    let mut midstate = Midstate::default();
    hash::update_bytes(&mut midstate, header);
    hash::update_bytes(&mut midstate, record);
    hash::finish(midstate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a file whose slots hold these generations and records.
    fn file(slots: [(u64, &[u8]); 2]) -> Vec<u8> {
        let len = slot_len(slots[0].1.len().max(slots[1].1.len()));
        let mut file = Vec::new();
        for (generation, record) in slots {
            let mut slot = encode(generation, record);
            slot.resize(len, 0xaa);
            file.extend(slot);
        }
        file
    }

    #[test]
    fn the_newer_record_is_read_wherever_it_is() {
        for (first, second, slot) in [(4, 5, Slot::Second), (6, 5, Slot::First)] {
            let file = file([(first, b"one"), (second, b"another")]);
            let newest = newest(&file).expect("both are whole");
            let record: &[u8] = if slot == Slot::First { b"one" } else { b"another" };
            assert_eq!(newest, Newest { slot, generation: first.max(second), record });
        }
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(&vec![0; 3 * PAGE_LEN]), None);
    }

    #[test]
    fn no_bit_of_a_slot_can_flip_unnoticed() {
        let whole = file([(4, b"an old record"), (5, b"a new record")]);
        let start = whole.len() / 2;
        for bit in 0..8 * (HEADER_LEN + b"a new record".len()) {
            let mut file = whole.clone();
            file[start + bit / 8] ^= 1 << (bit % 8);
            let newest = newest(&file).expect("the other is whole");
            assert_eq!((newest.generation, newest.record), (4, &b"an old record"[..]), "bit {bit}");
        }
    }

    #[test]
    fn a_slot_that_was_written_in_part_leaves_the_other() {
        let old = file([(4, b"an old record"), (3, b"an older one")]);
        let new = encode(5, b"a new record");
        let start = old.len() / 2;
        for written in 0..=new.len() {
            let mut file = old.clone();
            file[start..start + written].copy_from_slice(&new[..written]);
            let newest = newest(&file).expect("one is whole");
            let expected: (u64, &[u8]) =
                if written == new.len() { (5, b"a new record") } else { (4, b"an old record") };
            assert_eq!((newest.generation, newest.record), expected, "{written} bytes");
        }
    }

    #[test]
    fn a_file_that_was_cut_gives_what_is_whole_or_nothing() {
        let whole = file([(4, b"one"), (5, b"another")]);
        for len in 0..whole.len() {
            // The halves are elsewhere then, and the second is read only where it really begins.
            assert!(newest(&whole[..len]).is_none_or(|newest| newest.record == b"one"), "{len}");
        }
    }

    #[test]
    fn a_length_that_the_file_does_not_have_is_no_record() {
        let mut slot = encode(1, b"record");
        slot[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
        let digest = digest(&slot[8..24], b"record");
        slot[24..44].copy_from_slice(&digest);
        assert_eq!(decode(&slot), None);
    }

    #[test]
    fn a_record_that_none_can_follow_is_none() {
        let file = file([(u64::MAX, b"of somebody else"), (7, b"ours")]);
        assert_eq!(newest(&file).map(|newest| newest.generation), Some(7));
    }

    #[test]
    fn slots_have_room_for_a_record_to_grow_and_end_with_a_page() {
        for len in [0, 1, 4052, 4053, 100_000] {
            let slot = slot_len(len);
            assert!(slot >= HEADER_LEN + len && slot.is_multiple_of(PAGE_LEN), "{len}");
        }
        assert_eq!(slot_len(0), PAGE_LEN);
    }
}
