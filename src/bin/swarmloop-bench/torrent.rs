//! Torrents of synthetic payload: how they are written, and how they are known again.
//!
//! The info dictionary has one key of our own, `swarmloop-bench`, with the seed of the payload;
//! other clients leave it alone, as BEP 3 asks of them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use swarmloop::disk::hash;
use swarmloop::disk::job::Midstate;
use swarmloop::geometry::Geometry;
use swarmloop::id::PieceIndex;
use swarmloop::proto::bencode::{DictWriter, Writer};

use crate::synthetic::Synthetic;

/// The key in the info dictionary under which the seed is.
pub(crate) const SEED_KEY: &[u8] = b"swarmloop-bench";

/// What a synthetic torrent is made from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The file's or the top folder's name.
    pub(crate) name: String,
    /// Bytes in all; at least one for each file.
    pub(crate) size: u64,
    /// How its bytes are cut into pieces.
    pub(crate) geometry: Geometry,
    /// How many files; one is a torrent without a folder.
    pub(crate) files: u32,
    /// What the payload follows from.
    pub(crate) seed: u32,
}

impl Plan {
    /// Returns the torrent file (BEP 3), hashing all of the payload on every core.
    pub(crate) fn torrent_file(&self) -> Vec<u8> {
        let hashes = piece_hashes(&Synthetic::new(self.seed.into()), self.geometry);
        let mut out = Vec::new();
        Writer::new(&mut out).dict(|torrent| {
            torrent.key(b"created by").bytes(b"swarmloop-bench");
            torrent.key(b"info").dict(|info| self.info(info, &hashes));
        });
        out
    }

    fn info(&self, info: &mut DictWriter<'_>, hashes: &[u8]) {
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        if self.files > 1 {
            info.key(b"files").list(|files| {
                for (name, len) in self.file_list() {
                    files.dict(|file| {
                        file.key(b"length").int(int(len));
                        file.key(b"path").list(|path| path.bytes(name.as_bytes()));
                    });
                }
            });
        } else {
            info.key(b"length").int(int(self.size));
        }
        info.key(b"name").bytes(self.name.as_bytes());
        info.key(b"piece length").int(self.geometry.piece_len().into());
        info.key(b"pieces").bytes(hashes);
        info.key(SEED_KEY).int(self.seed.into());
    }

    /// Writes the files below `dir`; one that is there already is an error.
    pub(crate) fn write_data(&self, dir: &Path) -> io::Result<()> {
        /// Bytes a write; the kernel is asked often enough if it is a part of the table.
        const WRITE_LEN: usize = 256 * 1024;

        let synthetic = Synthetic::new(self.seed.into());
        let mut offset = 0;
        for (path, len) in self.paths(dir).into_iter().zip(self.file_list().map(|(_, len)| len)) {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = File::create_new(path)?;
            let end = offset + len;
            while offset < end {
                let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
                let run = synthetic.run(offset, left.min(WRITE_LEN));
                file.write_all(run)?;
                offset += u64::try_from(run.len()).expect("a part of the table");
            }
        }
        Ok(())
    }

    /// Compares the files below `dir` with the payload; the error names the first difference.
    pub(crate) fn verify(&self, dir: &Path) -> Result<(), String> {
        /// Bytes a read; they stay in the second-level cache for the comparison.
        const READ_LEN: usize = 256 * 1024;

        let synthetic = Synthetic::new(self.seed.into());
        let mut buffer = vec![0; READ_LEN];
        let mut offset = 0;
        for (path, (name, len)) in self.paths(dir).into_iter().zip(self.file_list()) {
            let failed = |error: io::Error| format!("file {name}: {error}");
            let mut file = File::open(path).map_err(failed)?;
            let found = file.metadata().map_err(failed)?.len();
            if found != len {
                return Err(format!("file {name} has {found} bytes instead of {len}"));
            }
            let end = offset + len;
            while offset < end {
                let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
                let read = &mut buffer[..left.min(READ_LEN)];
                file.read_exact(read).map_err(failed)?;
                let mut rest = &*read;
                while !rest.is_empty() {
                    let expected = synthetic.run(offset, rest.len());
                    let (part, others) = rest.split_at(expected.len());
                    if part != expected {
                        return Err(format!(
                            "file {name} is wrong near byte {offset} of the torrent"
                        ));
                    }
                    offset += u64::try_from(part.len()).expect("a part of the buffer");
                    rest = others;
                }
            }
        }
        Ok(())
    }

    /// Returns where the files are below `dir`, in torrent order.
    pub(crate) fn paths(&self, dir: &Path) -> Vec<PathBuf> {
        let top = dir.join(&self.name);
        if self.files == 1 {
            return vec![top];
        }
        self.file_list().map(|(name, _)| top.join(name)).collect()
    }

    /// Returns names and lengths of the files, which differ by at most a byte.
    fn file_list(&self) -> impl Iterator<Item = (String, u64)> {
        let (each, longer) = (self.size / u64::from(self.files), self.size % u64::from(self.files));
        (0..self.files)
            .map(move |n| (format!("{n:06}.bin"), each + u64::from(u64::from(n) < longer)))
    }
}

/// Returns the SHA-1 of every piece, 20 bytes each, hashing on every core.
fn piece_hashes(synthetic: &Synthetic, geometry: Geometry) -> Vec<u8> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut hashes = vec![0; 20 * usize::try_from(geometry.pieces()).expect("32 bits fit")];
    let pieces_each = (hashes.len() / 20).div_ceil(threads);
    std::thread::scope(|scope| {
        for (thread, hashes) in hashes.chunks_mut(20 * pieces_each).enumerate() {
            scope.spawn(move || {
                for (n, hash) in hashes.chunks_mut(20).enumerate() {
                    let piece = u32::try_from(thread * pieces_each + n).expect("a piece number");
                    hash.copy_from_slice(&piece_hash(synthetic, geometry, PieceIndex(piece)));
                }
            });
        }
    });
    hashes
}

/// Returns the SHA-1 of one piece.
pub(crate) fn piece_hash(synthetic: &Synthetic, geometry: Geometry, piece: PieceIndex) -> [u8; 20] {
    let mut midstate = Midstate::default();
    let mut offset = u64::from(piece.0) * u64::from(geometry.piece_len());
    let mut left = usize::try_from(geometry.len_of(piece)).expect("32 bits fit");
    while left > 0 {
        let run = synthetic.run(offset, left);
        hash::update_bytes(&mut midstate, run);
        left -= run.len();
        offset += u64::try_from(run.len()).expect("a part of the table");
    }
    hash::finish(midstate)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use swarmloop::proto::metainfo::Metainfo;

    use super::*;

    fn plan(files: u32) -> Plan {
        let (size, piece_len) = (3 * (1 << 20) + 5, 256 << 10);
        let geometry = Geometry::new(size, piece_len);
        Plan { name: "bench".to_owned(), size, geometry, files, seed: 7 }
    }

    #[test]
    fn a_wrong_byte_and_a_short_file_are_found() {
        for files in [1, 3] {
            let folder = tempfile::tempdir().expect("a folder");
            let plan = plan(files);
            plan.write_data(folder.path()).expect("written");
            assert_eq!(plan.verify(folder.path()), Ok(()));
            let last = plan.paths(folder.path()).pop().expect("a file");
            let mut data = fs::read(&last).expect("there");
            let middle = data.len() / 2;
            data[middle] ^= 1;
            fs::write(&last, &data).expect("written");
            let wrong = plan.verify(folder.path()).expect_err("a byte is wrong");
            assert!(wrong.contains("is wrong near byte"), "{wrong}");
            data.pop();
            fs::write(&last, &data).expect("written");
            let short = plan.verify(folder.path()).expect_err("a byte is missing");
            assert!(short.contains("bytes instead of"), "{short}");
        }
    }

    #[test]
    fn the_written_data_has_the_hashes_of_the_torrent() {
        for files in [1, 3] {
            let folder = tempfile::tempdir().expect("a folder");
            let plan = plan(files);
            plan.write_data(folder.path()).expect("written");
            let metainfo = Metainfo::parse(&Bytes::from(plan.torrent_file())).expect("a torrent");
            assert_eq!(metainfo.multi_file, files > 1);
            let mut data = Vec::new();
            for file in &metainfo.files {
                let bytes = fs::read(folder.path().join(&file.path)).expect("there");
                assert_eq!(bytes.len() as u64, file.len);
                data.extend(bytes);
            }
            assert_eq!(data.len() as u64, plan.size);
            let mut hashes = Vec::new();
            for piece in data.chunks(256 << 10) {
                let mut midstate = Midstate::default();
                hash::update_bytes(&mut midstate, piece);
                hashes.extend(hash::finish(midstate));
            }
            assert_eq!(hashes, metainfo.pieces);
        }
    }
}
