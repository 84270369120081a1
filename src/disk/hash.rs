//! SHA-1 over the blocks of pieces (BEP 3 `pieces`).
//!
//! Pure, so that the disk pool and the simulated disk give the same verdicts. A piece is hashed
//! frame by frame where it lies: no copy, no buffer of a piece's length. What is hashed in one call
//! is hashed side by side ([`super::sha1_lanes`]), which is several times as fast as one after the
//! other.

use std::array::from_fn;

use super::sha1_lanes::{Block, INITIAL, Kernel, MAX_LANES, State, compress};
use crate::wire::frame::Frame;

const BLOCK_LEN: usize = size_of::<Block>();

/// The running SHA-1 of a message that comes in parts.
#[derive(Clone, Debug)]
pub struct Midstate {
    state: State,
    /// Bytes seen so far.
    len: u64,
    /// Those of them that do not fill a block yet: the first `len % 64`.
    tail: Block,
}

impl Default for Midstate {
    fn default() -> Self {
        Self { state: INITIAL, len: 0, tail: [0; BLOCK_LEN] }
    }
}

impl Midstate {
    /// Takes in `bytes` but for the whole blocks in it, which are returned: whoever asked for them
    /// compresses them into `state` before anything else.
    fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [Block] {
        let filled = self.filled();
        self.len += bytes.len() as u64;
        let mut rest = bytes;
        if filled > 0 {
            let (filling, behind) = bytes.split_at(bytes.len().min(BLOCK_LEN - filled));
            self.tail[filled..filled + filling.len()].copy_from_slice(filling);
            if filled + filling.len() < BLOCK_LEN {
                return &[];
            }
            compress(Kernel::Portable, std::slice::from_mut(&mut self.state), &[&[self.tail]]);
            rest = behind;
        }
        let (blocks, tail) = rest.as_chunks();
        self.tail[..tail.len()].copy_from_slice(tail);
        blocks
    }

    /// Bytes in the tail.
    fn filled(&self) -> usize {
        usize::try_from(self.len % BLOCK_LEN as u64).expect("less than a block")
    }

    /// Pads the message (FIPS 180-4, 5.1.1) and returns its hash.
    fn finish(mut self) -> [u8; 20] {
        let (bits, filled) = (self.len.wrapping_mul(8), self.filled());
        let mut padding = [0; 2 * BLOCK_LEN];
        padding[0] = 0x80;
        // At least one byte, and then the length at the end of a block.
        let len = if filled < 56 { 56 - filled } else { 120 - filled };
        padding[len..len + 8].copy_from_slice(&bits.to_be_bytes());
        update_bytes(&mut self, &padding[..len + 8]);
        let mut hash = [0; 20];
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        hash
    }
}

/// Returns the SHA-1 of a whole piece: of the payloads of `frames`, end to end.
pub fn piece(frames: &[Frame]) -> [u8; 20] {
    let mut midstate = Midstate::default();
    update(&mut midstate, frames);
    finish(midstate)
}

/// Returns the SHA-1 of each block by itself, in order: tells good copies of a block from bad ones.
pub fn blocks(frames: &[Frame]) -> Vec<[u8; 20]> {
    let mut hashes = Vec::with_capacity(frames.len());
    for frames in frames.chunks(MAX_LANES) {
        let one = |at| frames.get(at..=at).unwrap_or_default();
        let mut streams: [_; MAX_LANES] =
            from_fn(|at| (Midstate::default(), one(at).iter().map(Frame::payload)));
        update_each(&mut streams);
        hashes.extend(streams.into_iter().take(frames.len()).map(|(midstate, _)| finish(midstate)));
    }
    hashes
}

/// Hashes the payloads of `frames` on top of what `midstate` has seen already.
pub fn update(midstate: &mut Midstate, frames: &[Frame]) {
    for frame in frames {
        update_bytes(midstate, frame.payload());
    }
}

/// Hashes `bytes` on top of what `midstate` has seen already; for bytes that are in no frame.
pub fn update_bytes(midstate: &mut Midstate, bytes: &[u8]) {
    let blocks = midstate.absorb(bytes);
    compress(Kernel::Portable, std::slice::from_mut(&mut midstate.state), &[blocks]);
}

/// Hashes what each stream yields, end to end, on top of what its midstate has seen already: as
/// many streams side by side as this processor is fastest with. They may be of different lengths
/// and in any parts, but long parts of multiples of 64 bytes are what it is good at.
///
/// Allocates nothing.
pub fn update_each<'a, S>(streams: &mut [(Midstate, S)])
where
    S: Iterator<Item = &'a [u8]>,
{
    update_each_with(Kernel::choose, streams);
}

/// Returns the SHA-1 of everything that `midstate` has seen.
pub fn finish(midstate: Midstate) -> [u8; 20] {
    midstate.finish()
}

/// Whole blocks of a stream that are to be hashed next.
#[derive(Clone, Copy, Default)]
struct Run<'a> {
    stream: usize,
    blocks: &'a [Block],
}

fn update_each_with<'a, S>(choose: impl Fn(usize) -> (Kernel, usize), streams: &mut [(Midstate, S)])
where
    S: Iterator<Item = &'a [u8]>,
{
    let mut lanes = [Run::default(); MAX_LANES];
    let (mut used, mut fresh) = (0, 0);
    loop {
        // A stream that has ended makes room for one that has not begun.
        while used < MAX_LANES && fresh < streams.len() {
            if let Some(blocks) = next_run(&mut streams[fresh]) {
                lanes[used] = Run { stream: fresh, blocks };
                used += 1;
            }
            fresh += 1;
        }
        let Some(len) = lanes[..used].iter().map(|run| run.blocks.len()).min() else { return };
        let mut rest = &lanes[..used];
        while !rest.is_empty() {
            let (kernel, count) = choose(rest.len());
            let (together, behind) = rest.split_at(count);
            advance(kernel, streams, together, len);
            rest = behind;
        }
        let mut at = 0;
        while at < used {
            let run = &mut lanes[at];
            run.blocks = &run.blocks[len..];
            if run.blocks.is_empty() {
                let Some(blocks) = next_run(&mut streams[run.stream]) else {
                    used -= 1;
                    lanes[at] = lanes[used];
                    continue;
                };
                run.blocks = blocks;
            }
            at += 1;
        }
    }
}

/// Returns the next whole blocks of a stream; `None` at its end.
fn next_run<'a>(
    (midstate, parts): &mut (Midstate, impl Iterator<Item = &'a [u8]>),
) -> Option<&'a [Block]> {
    parts.map(|part| midstate.absorb(part)).find(|blocks| !blocks.is_empty())
}

/// Compresses the first `len` blocks of each of `runs`.
fn advance<S>(kernel: Kernel, streams: &mut [(Midstate, S)], runs: &[Run<'_>], len: usize) {
    let mut states = [INITIAL; MAX_LANES];
    let mut inputs: [&[Block]; MAX_LANES] = [&[]; MAX_LANES];
    for ((run, state), input) in runs.iter().zip(&mut states).zip(&mut inputs) {
        *state = streams[run.stream].0.state;
        *input = &run.blocks[..len];
    }
    compress(kernel, &mut states[..runs.len()], &inputs[..runs.len()]);
    for (run, state) in runs.iter().zip(states) {
        streams[run.stream].0.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BLOCK_LEN;

    fn hex(hash: [u8; 20]) -> String {
        crate::id::InfoHash(hash).to_string()
    }

    #[test]
    fn payloads_are_hashed_end_to_end() {
        // FIPS 180-4, "abc" and the two-block message; and the digest of nothing.
        let two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        for (message, digest) in [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (two_blocks, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
        ] {
            for cut in 0..=message.len() {
                let (head, tail) = message.as_bytes().split_at(cut);
                assert_eq!(
                    hex(piece(&[Frame::holding(head), Frame::holding(tail)])),
                    digest,
                    "cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn only_payload_is_hashed_not_the_rest_of_the_frame() {
        let mut stale = Frame::holding(&[0xee; BLOCK_LEN as usize]);
        stale.set_len(3);
        stale.payload_mut().copy_from_slice(b"abc");
        assert_eq!(piece(&[stale]), piece(&[Frame::holding(b"abc")]));
    }

    #[test]
    fn each_block_has_its_own_hash() {
        let frames = [Frame::holding(b"abc"), Frame::holding(b"def")];
        assert_eq!(blocks(&frames), [piece(&frames[..1]), piece(&frames[1..])]);
    }

    #[test]
    fn a_midstate_travels_between_runs() {
        let frames: Vec<Frame> = (0..5u8).map(|byte| Frame::holding(&[byte; 100])).collect();
        let mut midstate = Midstate::default();
        for run in frames.chunks(2) {
            update(&mut midstate, run);
            midstate = midstate.clone();
        }
        assert_eq!(finish(midstate), piece(&frames));
    }

    /// What `streams` hash to, each cut into parts of the given lengths (again and again).
    fn side_by_side(kernel: Kernel, streams: &[Vec<u8>], cuts: &[usize]) -> Vec<[u8; 20]> {
        let parts = |bytes: &Vec<u8>| {
            let (mut parts, mut at) = (Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + cut);
                parts.push(bytes[at..end].to_vec());
                at = end;
            }
            parts
        };
        let parts: Vec<Vec<Vec<u8>>> = streams.iter().map(parts).collect();
        let mut running: Vec<_> = parts
            .iter()
            .map(|parts| (Midstate::default(), parts.iter().map(Vec::as_slice)))
            .collect();
        update_each_with(|count| (kernel, count.min(kernel.lanes())), &mut running);
        running.into_iter().map(|(midstate, _)| finish(midstate)).collect()
    }

    fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    fn message(seed: usize, len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from((at * 31 + at / 253 + seed * 97) % 256).unwrap()).collect()
    }

    fn one_by_one(streams: &[Vec<u8>]) -> Vec<[u8; 20]> {
        use sha1::{Digest, Sha1};
        streams.iter().map(|bytes| Sha1::digest(bytes).into()).collect()
    }

    #[test]
    fn every_kernel_pads_at_every_length_around_a_block() {
        let lens = [0..=2, 54..=66, 118..=130, 183..=193];
        let streams: Vec<_> = lens.into_iter().flatten().map(|len| message(len, len)).collect();
        for kernel in available() {
            for cuts in [&[1_000][..], &[1], &[63], &[64], &[65], &[7, 100]] {
                assert_eq!(
                    side_by_side(kernel, &streams, cuts),
                    one_by_one(&streams),
                    "{kernel:?}, cut at {cuts:?}"
                );
            }
        }
    }

    #[test]
    fn a_stream_goes_on_from_a_midstate() {
        let messages: Vec<_> = (0..5).map(|seed| message(seed, 500 + 61 * seed)).collect();
        let halves: Vec<_> = messages.iter().map(|message| message.split_at(250)).collect();
        let mut first: Vec<_> =
            halves.iter().map(|(head, _)| (Midstate::default(), std::iter::once(*head))).collect();
        update_each(&mut first);
        let mut second: Vec<_> = first
            .into_iter()
            .zip(&halves)
            .map(|((midstate, _), (_, tail))| (midstate, std::iter::once(*tail)))
            .collect();
        update_each(&mut second);
        let hashes: Vec<_> = second.into_iter().map(|(midstate, _)| finish(midstate)).collect();
        assert_eq!(hashes, one_by_one(&messages));
    }

    proptest::proptest! {
        /// Lanes of different lengths, more of them than any kernel has, in parts of any length.
        #[test]
        fn every_kernel_agrees_with_the_sha1_crate(
            lens in proptest::collection::vec(0_usize..3_000, 0..40),
            cuts in proptest::collection::vec(1_usize..700, 1..8),
            seed in 0_usize..1_000,
        ) {
            let streams: Vec<_> =
                lens.iter().enumerate().map(|(at, len)| message(seed + at, *len)).collect();
            let expected = one_by_one(&streams);
            for kernel in available() {
                proptest::prop_assert_eq!(
                    &side_by_side(kernel, &streams, &cuts), &expected, "{:?}", kernel
                );
            }
        }
    }
}
