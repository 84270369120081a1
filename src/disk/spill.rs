//! Blocks of pieces that were open when a torrent stopped, as they lie beside its state file.
//!
//! They are not verified: they go back to where they were, and their pieces are hashed when they
//! are whole. A spill belongs to the one record that has its generation, and is written before
//! that; with any other record it means nothing.
//!
//! ```text
//! 0        8         12           20       24       44
//! magic 8  version   generation   blocks   SHA-1    index, then the payloads in its order
//!          u32       u64          u32      20 bytes, over all but the magic and itself
//! ```
//!
//! An entry of the index is piece, begin and length, of 32 bits each, big-endian as the rest.

use super::hash::{self, Midstate};
use crate::id::{BLOCK_LEN, Block, PieceIndex};

/// The most blocks in a spill: 256 MiB, four times what is kept of open pieces by default. Blocks
/// beyond it are asked for again.
pub const MAX_SPILL_BLOCKS: usize = 16 << 10;
/// The longest file that holds one, in bytes.
pub const MAX_SPILL_LEN: usize = HEADER_LEN + MAX_SPILL_BLOCKS * (ENTRY_LEN + BLOCK_LEN as usize);

const HEADER_LEN: usize = 44;
const ENTRY_LEN: usize = 12;
const MAGIC: [u8; 8] = *b"swl-open";
const VERSION: u32 = 1;

/// Writes what goes before the payloads: header and index of `blocks`, whose payloads in the same
/// order are `payloads`.
///
/// Panics if these are more than [`MAX_SPILL_BLOCKS`]: a bug of the caller.
pub fn encode_head<'a>(
    generation: u64,
    blocks: &[Block],
    payloads: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    assert!(blocks.len() <= MAX_SPILL_BLOCKS, "a spill of {} blocks", blocks.len());
    let count = u32::try_from(blocks.len()).expect("at most 16 Ki");
    let mut index = Vec::with_capacity(blocks.len() * ENTRY_LEN);
    for block in blocks {
        for number in [block.piece.0, block.begin, block.len] {
            index.extend_from_slice(&number.to_be_bytes());
        }
    }
    let mut out = Vec::with_capacity(HEADER_LEN + index.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    let mut midstate = Midstate::default();
    hash::update_bytes(&mut midstate, &out[MAGIC.len()..]);
    hash::update_bytes(&mut midstate, &index);
    payloads.for_each(|payload| hash::update_bytes(&mut midstate, payload));
    out.extend_from_slice(&hash::finish(midstate));
    out.extend_from_slice(&index);
    out
}

/// Returns the blocks of the spill in `file` with their payloads, if it is whole and belongs to the
/// record of `generation`; else nothing.
///
/// Never panics, whatever the file holds; allocates nothing from a number in it. The blocks are of
/// any torrent at all: whoever takes them compares them with its own.
pub fn decode(file: &[u8], generation: u64) -> Vec<(Block, &[u8])> {
    whole(file, generation).unwrap_or_default()
}

fn whole(file: &[u8], generation: u64) -> Option<Vec<(Block, &[u8])>> {
    let (header, rest) = file.split_at_checked(HEADER_LEN)?;
    let (covered, expected) = header.strip_prefix(&MAGIC)?.split_at(16);
    let (version, counts) = covered.split_at(4);
    if version != VERSION.to_be_bytes() || counts[..8] != generation.to_be_bytes() {
        return None;
    }
    let count = usize::try_from(number(&counts[8..])).ok()?;
    if count > MAX_SPILL_BLOCKS {
        return None;
    }
    let (index, mut payloads) = rest.split_at_checked(count * ENTRY_LEN)?;
    let mut midstate = Midstate::default();
    hash::update_bytes(&mut midstate, covered);
    hash::update_bytes(&mut midstate, index);
    let mut blocks = Vec::new();
    for entry in index.chunks_exact(ENTRY_LEN) {
        let [piece, begin, len] = [0, 4, 8].map(|at| number(&entry[at..at + 4]));
        let payload = payloads.split_off(..usize::try_from(len).ok()?)?;
        hash::update_bytes(&mut midstate, payload);
        blocks.push((Block { piece: PieceIndex(piece), begin, len }, payload));
    }
    // What follows was left by a longer one.
    (hash::finish(midstate) == *expected).then_some(blocks)
}

/// Reads a big-endian number of four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<Block>, Vec<Vec<u8>>) {
        let block = |piece, begin, len| Block { piece: PieceIndex(piece), begin, len };
        let blocks = vec![block(3, 0, 20), block(3, 16_384, 5), block(9, 32_768, 1)];
        let payloads = blocks.iter().map(|b| vec![0x5a; b.len as usize]).collect();
        (blocks, payloads)
    }

    fn file(generation: u64) -> Vec<u8> {
        let (blocks, payloads) = sample();
        let mut file = encode_head(generation, &blocks, payloads.iter().map(Vec::as_slice));
        for payload in payloads {
            file.extend_from_slice(&payload);
        }
        file
    }

    #[test]
    fn a_spill_reads_as_it_was_written_with_its_own_record_only() {
        let (blocks, payloads) = sample();
        let file = file(7);
        let expected: Vec<(Block, &[u8])> =
            blocks.into_iter().zip(payloads.iter().map(Vec::as_slice)).collect();
        assert_eq!(decode(&file, 7), expected);
        assert_eq!(decode(&file, 8), []);
        assert_eq!(decode(&[&file[..], b"of a longer one"].concat(), 7), expected);
        assert_eq!(decode(&encode_head(1, &[], std::iter::empty()), 1), []);
    }

    #[test]
    fn what_was_cut_or_changed_anywhere_is_nothing() {
        let whole = file(7);
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len], 7), [], "{len} bytes");
        }
        for bit in 0..8 * whole.len() {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&file, 7), [], "bit {bit}");
        }
    }
}
