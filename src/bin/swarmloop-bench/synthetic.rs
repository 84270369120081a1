//! Payload whose every byte is a function of its offset.
//!
//! A table of a prime number of random bytes is repeated without end: `byte(o) = table[o mod P]`.
//! [`OVERLAP`] bytes of the start are appended to the table, so that every block of the torrent is
//! one slice of it: it is sent with a vectored write and verified with one comparison. As `P` is
//! prime, no two blocks of 16 KiB begin at the same place of the table before `P` blocks, 16 TiB,
//! have passed: a block in the wrong place is told from the right one.

use swarmloop::rng::Rng;

/// Bytes after which the payload repeats: the largest prime below 1 MiB. It is larger than a
/// second-level cache's share of it hurts, and small enough to be made in a millisecond.
const PERIOD: usize = 1_048_573;

/// How many bytes of the start follow its end again: the longest slice that begins anywhere.
const OVERLAP: usize = 16 * 1024;

/// The payload of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Synthetic {
    /// [`PERIOD`] random bytes and the first [`OVERLAP`] of them again.
    table: Box<[u8]>,
}

impl Synthetic {
    /// Makes the table of `seed`; equal seeds give equal payload.
    pub(crate) fn new(seed: u64) -> Self {
        let mut table = vec![0; PERIOD + OVERLAP];
        Rng::new(seed).fill(&mut table[..PERIOD]);
        table.copy_within(..OVERLAP, PERIOD);
        Self { table: table.into_boxed_slice() }
    }

    /// Returns the longest slice of payload that begins at `offset` and has at most `max` bytes.
    /// Never fewer than [`OVERLAP`] if `max` allows it; a block is always whole.
    pub(crate) fn run(&self, offset: u64, max: usize) -> &[u8] {
        let from = &self.table[start(offset)..];
        &from[..max.min(from.len())]
    }
}

/// Returns the place of an offset in the table.
fn start(offset: u64) -> usize {
    // The period fits 32 bits, and so does what is below it.
    usize::try_from(offset % 1_048_573).expect("below the period")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 16 * 1024;

    fn byte(synthetic: &Synthetic, offset: u64) -> u8 {
        synthetic.run(offset, 1)[0]
    }

    #[test]
    fn every_block_is_one_slice_of_the_bytes_at_its_offsets() {
        let synthetic = Synthetic::new(1);
        let period = u64::try_from(PERIOD).expect("small");
        for offset in [0, 1, period - 1, period, period + 1, 63 * 16_384, 1 << 40] {
            let block = synthetic.run(offset, BLOCK);
            assert_eq!(block.len(), BLOCK);
            for at in [0, 1, 777, BLOCK - 1] {
                assert_eq!(block[at], byte(&synthetic, offset + at as u64), "{offset}+{at}");
            }
        }
    }

    #[test]
    fn blocks_differ_from_each_other_and_between_seeds() {
        let (one, two) = (Synthetic::new(1), Synthetic::new(2));
        let blocks: Vec<&[u8]> = (0..512).map(|n| one.run(n * 16_384, BLOCK)).collect();
        let mut sorted = blocks.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), blocks.len(), "two blocks are alike");
        assert_ne!(one.run(0, BLOCK), two.run(0, BLOCK));
        assert_eq!(one.run(0, BLOCK), Synthetic::new(1).run(0, BLOCK));
    }

    #[test]
    fn the_period_is_prime() {
        assert!((2..1_024).all(|divisor| !PERIOD.is_multiple_of(divisor)));
        assert_eq!(start(u64::try_from(PERIOD).expect("small")), 0);
    }
}
