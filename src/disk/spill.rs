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
use crate::wire::frame::Frame;

/// The most blocks in a spill: 256 MiB, four times what is kept of open pieces by default. Blocks
/// beyond it are asked for again, and so are those that the frame pool has no room for.
pub const MAX_SPILL_BLOCKS: usize = 16 << 10;
/// The most bytes of one before its payloads.
pub const MAX_HEAD_LEN: usize = HEADER_LEN + MAX_SPILL_BLOCKS * ENTRY_LEN;

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

/// Returns the blocks of a spill that begins with `head`, if it belongs to the record of
/// `generation`; else nothing.
///
/// `head` need not be longer than [`MAX_HEAD_LEN`]. Never panics, whatever it holds. What is
/// returned is not covered by the hash yet, and the blocks are of any torrent at all: see
/// [`restore`].
pub fn index(mut head: &[u8], generation: u64) -> Vec<Block> {
    let mut next = |out: &mut [u8]| read_from(&mut head, out);
    begin(&mut next, generation).map_or_else(Vec::new, |begun| begun.blocks)
}

/// Fills `frames` with the payloads of `blocks`, of the lengths that these have, from the spill of
/// the record of `generation`; tells whether the spill is whole and they are in it, in this order.
/// If not, what is in the frames is arbitrary.
///
/// `next` fills a buffer with what comes next in the file, from its beginning on, and tells whether
/// there was as much. Never panics, whatever it gives; holds no more of it than the index.
pub fn restore(
    mut next: impl FnMut(&mut [u8]) -> bool,
    generation: u64,
    blocks: &[Block],
    frames: &mut [Frame],
) -> bool {
    let Some(mut begun) = begin(&mut next, generation) else { return false };
    let mut wanted = blocks.iter().zip(frames).peekable();
    let mut other = [0; BLOCK_LEN as usize];
    for block in &begun.blocks {
        let mut frame = wanted.next_if(|(wanted, _)| *wanted == block).map(|(_, frame)| frame);
        let payload = match &mut frame {
            Some(frame) => Some(frame.payload_mut()),
            None => other.get_mut(..block.len as usize),
        };
        let Some(payload) = payload.filter(|it| it.len() == block.len as usize) else {
            return false;
        };
        if !next(payload) {
            return false;
        }
        hash::update_bytes(&mut begun.midstate, payload);
    }
    // What follows was left by a longer one.
    wanted.next().is_none() && hash::finish(begun.midstate) == begun.expected
}

/// A spill whose payloads come next.
struct Begun {
    blocks: Vec<Block>,
    /// The hash of everything up to here.
    midstate: Midstate,
    expected: [u8; 20],
}

fn begin(next: &mut impl FnMut(&mut [u8]) -> bool, generation: u64) -> Option<Begun> {
    let mut header = [0; HEADER_LEN];
    if !next(&mut header) {
        return None;
    }
    let (covered, expected) = header.strip_prefix(&MAGIC)?.split_at(16);
    let (version, counts) = covered.split_at(4);
    if version != VERSION.to_be_bytes() || counts[..8] != generation.to_be_bytes() {
        return None;
    }
    let count = usize::try_from(number(&counts[8..])).ok()?;
    if count > MAX_SPILL_BLOCKS {
        return None;
    }
    let mut midstate = Midstate::default();
    hash::update_bytes(&mut midstate, covered);
    let mut blocks = Vec::new();
    for _ in 0..count {
        let mut entry = [0; ENTRY_LEN];
        if !next(&mut entry) {
            return None;
        }
        hash::update_bytes(&mut midstate, &entry);
        let [piece, begin, len] = [0, 4, 8].map(|at| number(&entry[at..at + 4]));
        blocks.push(Block { piece: PieceIndex(piece), begin, len });
    }
    Some(Begun { blocks, midstate, expected: expected.try_into().ok()? })
}

/// Takes what comes next out of `rest`, all of `out` or nothing; tells whether there was as much.
pub fn read_from(rest: &mut &[u8], out: &mut [u8]) -> bool {
    let Some(part) = rest.split_off(..out.len()) else { return false };
    out.copy_from_slice(part);
    true
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
        let payloads = (1..).zip(&blocks).map(|(byte, b)| vec![byte; b.len as usize]).collect();
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

    /// Returns the payloads of some blocks of a file, if it is whole.
    fn restored(mut file: &[u8], generation: u64, blocks: &[Block]) -> Option<Vec<Vec<u8>>> {
        let frame = |block: &Block| {
            let mut frame = Frame::unpooled();
            frame.set_len(block.len);
            frame
        };
        let mut frames: Vec<Frame> = blocks.iter().map(frame).collect();
        let next = |out: &mut [u8]| read_from(&mut file, out);
        let is_whole = restore(next, generation, blocks, &mut frames);
        is_whole.then(|| frames.iter().map(|frame| frame.payload().to_vec()).collect())
    }

    #[test]
    fn a_spill_reads_as_it_was_written_with_its_own_record_only() {
        let (blocks, payloads) = sample();
        let file = file(7);
        assert_eq!(index(&file, 7), blocks);
        assert_eq!(restored(&file, 7, &blocks), Some(payloads.clone()));
        assert_eq!((index(&file, 8), restored(&file, 8, &blocks)), (vec![], None));
        let longer = [&file[..], b"of a longer one"].concat();
        assert_eq!(restored(&longer, 7, &blocks), Some(payloads.clone()));
        assert_eq!(restored(&file, 7, &[blocks[0], blocks[2]]).unwrap(), [&payloads[0][..], &[3]]);
        assert_eq!(restored(&file, 7, &[]), Some(vec![]));
        let none = encode_head(1, &[], std::iter::empty());
        assert_eq!((index(&none, 1), restored(&none, 1, &[])), (vec![], Some(vec![])));
    }

    #[test]
    fn blocks_that_are_not_in_it_are_not_restored() {
        let (mut blocks, _) = sample();
        let file = file(7);
        blocks.swap(0, 1);
        assert_eq!(restored(&file, 7, &blocks), None, "another order");
        blocks[0].piece = PieceIndex(4);
        assert_eq!(restored(&file, 7, &blocks[..1]), None, "another block");
    }

    #[test]
    fn what_was_cut_or_changed_anywhere_is_nothing() {
        let (blocks, _) = sample();
        let whole = file(7);
        for len in 0..whole.len() {
            assert_eq!(restored(&whole[..len], 7, &blocks), None, "{len} bytes");
        }
        for bit in 0..8 * whole.len() {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(restored(&file, 7, &blocks), None, "bit {bit}");
            // Whatever it says then, it is no other number of blocks than it has.
            assert!(index(&file, 7).len() <= 3 + file.len() / ENTRY_LEN);
        }
    }

    #[test]
    fn a_block_that_is_none_ends_it() {
        let long = Block { piece: PieceIndex(0), begin: 0, len: BLOCK_LEN + 1 };
        let payload = vec![1; BLOCK_LEN as usize + 1];
        let mut file = encode_head(1, &[long], std::iter::once(&payload[..]));
        file.extend_from_slice(&payload);
        assert_eq!(restored(&file, 1, &[]), None);
    }
}
