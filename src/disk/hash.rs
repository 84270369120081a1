//! SHA-1 over the blocks of a piece (BEP 3 `pieces`).
//!
//! Pure, so that the disk pool and the simulated disk give the same verdicts. A piece is hashed
//! frame by frame where it lies: no copy, no buffer of a piece's length.

use sha1::{Digest, Sha1};

use super::job::Midstate;
use crate::wire::frame::Frame;

/// Returns the SHA-1 of a whole piece: of the payloads of `frames`, end to end.
pub fn piece(frames: &[Frame]) -> [u8; 20] {
    let mut midstate = Midstate::default();
    update(&mut midstate, frames);
    finish(midstate)
}

/// Returns the SHA-1 of each block by itself, in order: tells good copies of a block from bad ones.
pub fn blocks(frames: &[Frame]) -> Vec<[u8; 20]> {
    frames.iter().map(|frame| Sha1::digest(frame.payload()).into()).collect()
}

/// Hashes the payloads of `frames` on top of what `midstate` has seen already.
pub fn update(midstate: &mut Midstate, frames: &[Frame]) {
    for frame in frames {
        update_bytes(midstate, frame.payload());
    }
}

/// Hashes `bytes` on top of what `midstate` has seen already; for bytes that are in no frame.
pub fn update_bytes(midstate: &mut Midstate, bytes: &[u8]) {
    midstate.update(bytes);
}

/// Returns the SHA-1 of everything that `midstate` has seen.
pub fn finish(midstate: Midstate) -> [u8; 20] {
    midstate.finalize().into()
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
}
