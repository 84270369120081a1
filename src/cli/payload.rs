//! The torrent that `demo` moves: files whose every byte is a function of its offset, so that
//! nothing has to be kept to know what is right.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use swarmloop::proto::bencode::Writer;

/// Bytes that are made, written or compared at a time.
const CHUNK_LEN: usize = 1 << 20;

/// Pieces that are aimed at; the piece length follows from it within its bounds.
const WANTED_PIECES: u64 = 1_000;

/// The smallest and largest piece length in bytes, as common clients make them.
const PIECE_LEN_RANGE: (u64, u64) = (16 << 10, 4 << 20);

/// Called between chunks; tells whether to go on.
pub(crate) type GoOn<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

/// A set of files with made-up content.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// The top folder's name.
    pub(crate) name: &'static str,
    /// Path below the top folder and length in bytes, in torrent order.
    files: Vec<(&'static str, u64)>,
    /// Bytes in all.
    pub(crate) size: u64,
    /// Bytes in every piece but the last.
    pub(crate) piece_len: u32,
}

/// Why a payload could not be made or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file does not hold what it should.
    #[error("'{path}' differs from its source at byte {at}")]
    Differs {
        /// Below the top folder.
        path: &'static str,
        /// From the start of the file.
        at: u64,
    },
    /// A piece does not have the hash of its source.
    #[error("a piece differs from its source by its hash")]
    HashDiffers,
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Interrupted,
}

impl Payload {
    /// Lays out `size` bytes, at least 1: four files of falling size in two folders, and an empty
    /// one.
    pub(crate) fn new(size: u64) -> Self {
        let (half, quarter, eighth) = (size / 2, size / 4, size / 8);
        let files = vec![
            ("half.bin", half),
            ("more/quarter.bin", quarter),
            ("more/eighth.bin", eighth),
            ("more/empty.bin", 0),
            ("rest.bin", size - half - quarter - eighth),
        ];
        let (min, max) = PIECE_LEN_RANGE;
        let wanted = (size / WANTED_PIECES).clamp(min, max);
        let piece_len = wanted.checked_next_power_of_two().unwrap_or(max).min(max);
        let piece_len = u32::try_from(piece_len).expect("at most 4 MiB");
        Self { name: "swarmloop-demo", files, size, piece_len }
    }

    /// Returns how many files there are.
    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Writes the files below `dir` and returns the SHA-1 of every piece, 20 bytes each.
    pub(crate) fn write(&self, dir: &Path, go_on: GoOn<'_>) -> Result<Vec<u8>, PayloadError> {
        let mut pieces = PieceHasher::new(self.piece_len);
        let mut chunk = vec![0; CHUNK_LEN];
        let mut offset = 0;
        for (path, len) in &self.files {
            let path = self.path(dir, path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = File::create_new(&path)?;
            let end = offset + len;
            while offset < end {
                proceed(go_on)?;
                let bytes = next_chunk(&mut chunk, end - offset);
                fill(offset, bytes);
                file.write_all(bytes)?;
                pieces.update(bytes);
                offset += u64::try_from(bytes.len()).expect("a chunk fits");
            }
        }
        Ok(pieces.finish())
    }

    /// Reads the files below `copy` and `source` and checks that they are the same byte by byte, no
    /// longer than they should be, and that the copy's pieces have these hashes.
    pub(crate) fn verify(
        &self,
        copy: &Path,
        source: &Path,
        hashes: &[u8],
        go_on: GoOn<'_>,
    ) -> Result<(), PayloadError> {
        let mut pieces = PieceHasher::new(self.piece_len);
        let (mut ours, mut theirs) = (vec![0; CHUNK_LEN], vec![0; CHUNK_LEN]);
        for &(path, len) in &self.files {
            let mut copied = File::open(self.path(copy, path))?;
            let mut original = File::open(self.path(source, path))?;
            let actual = copied.metadata()?.len();
            if actual != len {
                return Err(PayloadError::Differs { path, at: actual.min(len) });
            }
            let mut at = 0;
            while at < len {
                proceed(go_on)?;
                let ours = next_chunk(&mut ours, len - at);
                let theirs = next_chunk(&mut theirs, len - at);
                copied.read_exact(ours)?;
                original.read_exact(theirs)?;
                if let Some(wrong) = ours.iter().zip(theirs.iter()).position(|(a, b)| a != b) {
                    let at = at + u64::try_from(wrong).expect("within a chunk");
                    return Err(PayloadError::Differs { path, at });
                }
                pieces.update(ours);
                at += u64::try_from(ours.len()).expect("a chunk fits");
            }
        }
        if pieces.finish() == hashes { Ok(()) } else { Err(PayloadError::HashDiffers) }
    }

    /// Returns the torrent file (BEP 3) that names one tracker.
    pub(crate) fn torrent_file(&self, announce: &str, hashes: &[u8]) -> Bytes {
        let mut out = Vec::new();
        Writer::new(&mut out).dict(|torrent| {
            torrent.key(b"announce").bytes(announce.as_bytes());
            torrent.key(b"info").dict(|info| {
                info.key(b"files").list(|files| {
                    for (path, len) in &self.files {
                        files.dict(|file| {
                            file.key(b"length").int(i64::try_from(*len).unwrap_or(i64::MAX));
                            file.key(b"path").list(|parts| {
                                path.split('/').for_each(|part| parts.bytes(part.as_bytes()));
                            });
                        });
                    }
                });
                info.key(b"name").bytes(self.name.as_bytes());
                info.key(b"piece length").int(self.piece_len.into());
                info.key(b"pieces").bytes(hashes);
            });
        });
        out.into()
    }

    fn path(&self, dir: &Path, path: &str) -> PathBuf {
        dir.join(self.name).join(path)
    }
}

fn proceed(go_on: GoOn<'_>) -> Result<(), PayloadError> {
    match go_on() {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(PayloadError::Interrupted),
    }
}

/// Returns the part of a chunk that the next `left` bytes need.
fn next_chunk(chunk: &mut [u8], left: u64) -> &mut [u8] {
    let len = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
    &mut chunk[..len]
}

/// Fills a buffer with the payload's bytes from `offset` on: eight bytes a step of splitmix64, so
/// that no two pieces are alike and nothing compresses.
fn fill(offset: u64, bytes: &mut [u8]) {
    let mut word = offset / 8;
    let mut skip = usize::try_from(offset % 8).expect("under 8");
    let mut rest = bytes;
    while !rest.is_empty() {
        let made = splitmix64(word).to_le_bytes();
        let made = &made[skip..];
        let len = made.len().min(rest.len());
        let (now, later) = rest.split_at_mut(len);
        now.copy_from_slice(&made[..len]);
        rest = later;
        skip = 0;
        word += 1;
    }
}

/// One step of Vigna's splitmix64 for the given index.
fn splitmix64(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hashes a stream of bytes piece by piece.
struct PieceHasher {
    piece_len: usize,
    /// Bytes of the current piece so far.
    filled: usize,
    sha1: Sha1,
    hashes: Vec<u8>,
}

impl PieceHasher {
    fn new(piece_len: u32) -> Self {
        let piece_len = usize::try_from(piece_len).expect("32 bits fit");
        Self { piece_len, filled: 0, sha1: Sha1::new(), hashes: Vec::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.piece_len - self.filled));
            self.sha1.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == self.piece_len {
                self.end_piece();
            }
        }
    }

    fn end_piece(&mut self) {
        self.hashes.extend_from_slice(&self.sha1.finalize_reset());
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.end_piece();
        }
        self.hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> impl FnMut() -> ControlFlow<()> {
        || ControlFlow::Continue(())
    }

    #[test]
    fn content_is_a_function_of_the_offset() {
        let mut whole = vec![0; 4_099];
        fill(0, &mut whole);
        for (start, end) in [(0, 1), (1, 8), (7, 9), (8, 16), (13, 4_099), (4_098, 4_099)] {
            let mut part = vec![0; end - start];
            fill(u64::try_from(start).expect("small"), &mut part);
            assert_eq!(part, whole[start..end]);
        }
        assert_ne!(whole[..8], whole[8..16]);
    }

    #[test]
    fn pieces_are_hashed_across_any_split() {
        let mut bytes = vec![0; 100];
        fill(0, &mut bytes);
        let expected: Vec<u8> = bytes.chunks(32).flat_map(Sha1::digest).collect();
        for split in [1, 7, 32, 33, 100] {
            let mut pieces = PieceHasher::new(32);
            bytes.chunks(split).for_each(|part| pieces.update(part));
            assert_eq!(pieces.finish(), expected, "{split}");
        }
    }

    #[test]
    fn piece_lengths_are_powers_of_two_within_bounds() {
        for (size, piece_len) in [
            (1, 16 << 10),
            (16 << 20, 32 << 10),
            (256 << 20, 512 << 10),
            (1 << 50, 4 << 20),
            (u64::MAX, 4 << 20),
        ] {
            let payload = Payload::new(size);
            assert_eq!(payload.piece_len, piece_len, "{size}");
            assert_eq!(payload.files.iter().map(|(_, len)| len).sum::<u64>(), size);
        }
    }

    #[test]
    fn a_copy_is_right_only_if_every_byte_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        let payload = Payload::new(3 * (16 << 10) + 5);
        let hashes = payload.write(&source, &mut on()).expect("written");
        assert_eq!(hashes.len(), 4 * 20);
        assert_eq!(payload.write(&copy, &mut on()).expect("written"), hashes);
        assert!(payload.verify(&copy, &source, &hashes, &mut on()).is_ok());

        let error = payload.verify(&copy, &source, &hashes[20..], &mut on()).expect_err("hashes");
        assert!(matches!(error, PayloadError::HashDiffers));

        let path = payload.path(&copy, "half.bin");
        let mut bytes = fs::read(&path).expect("a file");
        bytes[17] ^= 1;
        fs::write(&path, &bytes).expect("written");
        let error = payload.verify(&copy, &source, &hashes, &mut on()).expect_err("a wrong byte");
        assert_eq!(error.to_string(), "'half.bin' differs from its source at byte 17");

        fs::write(&path, &bytes[..9]).expect("written");
        let error = payload.verify(&copy, &source, &hashes, &mut on()).expect_err("too short");
        assert_eq!(error.to_string(), "'half.bin' differs from its source at byte 9");

        let mut stop = || ControlFlow::Break(());
        let error = payload.verify(&source, &source, &hashes, &mut stop).expect_err("stopped");
        assert!(matches!(error, PayloadError::Interrupted));
    }

    #[test]
    fn the_torrent_file_is_canonical_bencode() {
        let payload = Payload::new(16);
        let torrent = payload.torrent_file("http://127.0.0.2:1/announce", &[0xaa; 20]);
        let mut expected = b"d8:announce27:http://127.0.0.2:1/announce4:infod5:filesl\
            d6:lengthi8e4:pathl8:half.binee\
            d6:lengthi4e4:pathl4:more11:quarter.binee\
            d6:lengthi2e4:pathl4:more10:eighth.binee\
            d6:lengthi0e4:pathl4:more9:empty.binee\
            d6:lengthi2e4:pathl8:rest.binee\
            e4:name14:swarmloop-demo12:piece lengthi16384e6:pieces20:"
            .to_vec();
        expected.extend_from_slice(&[0xaa; 20]);
        expected.extend_from_slice(b"ee");
        assert_eq!(torrent, expected);
    }
}
