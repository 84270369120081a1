//! The torrent that a run is about: its bytes, wherever they come from.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use swarmloop::geometry::Geometry;
use swarmloop::id::{BLOCK_LEN, InfoHash, PieceIndex};
use swarmloop::proto::bencode::{self, Limits, Value};
use swarmloop::proto::metainfo::{Metainfo, PIECE_HASH_LEN};
use swarmloop::text::Escaped;

use crate::failure::Failure;
use crate::synthetic::Synthetic;
use crate::torrent::{SEED_KEY, piece_hash};

/// The largest torrent file that is read, in bytes, as in `swarmloop`.
const MAX_TORRENT_BYTES: u64 = 32 << 20;
/// The most payload that is held in memory, in bytes: what `--data` names is read whole.
const MAX_DATA_BYTES: u64 = 8 << 30;

/// A torrent whose every byte is at hand.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) metainfo: Metainfo,
    pub(crate) geometry: Geometry,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Synthetic(Synthetic),
    InMemory(Vec<u8>),
}

impl Payload {
    /// Reads a torrent file; its payload is synthetic, or is read from below `data`.
    pub(crate) fn load(torrent: &Path, data: Option<&Path>) -> Result<Self, Failure> {
        let shown = torrent.to_string_lossy();
        let shown = Escaped(&shown);
        let text = read_limited(torrent)
            .map_err(|error| Failure::input(format!("cannot read '{shown}': {error}")))?;
        let metainfo = Metainfo::parse(&text.into())
            .map_err(|error| Failure::input(format!("bad torrent file '{shown}': {error}")))?;
        let geometry = Geometry::new(metainfo.total_len(), metainfo.piece_len);
        let bytes = match data {
            Some(dir) => read_data(&metainfo, dir)?,
            None => Bytes::Synthetic(synthetic(&metainfo, geometry).ok_or_else(|| {
                Failure::input(format!(
                    "'{shown}' was not made by `swarmloop-bench gen`; --data DIR says where its \
                     payload is"
                ))
            })?),
        };
        Ok(Self { metainfo, geometry, bytes })
    }

    /// Returns what the torrent is known by.
    pub(crate) const fn info_hash(&self) -> InfoHash {
        self.metainfo.info_hash
    }

    /// Writes the payload's files below `dir`, whatever was there before.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let (mut piece, mut begin) = (PieceIndex(0), 0);
        for spec in &self.metainfo.files {
            let path = dir.join(&spec.path);
            if let Some(parent) = path.parent().filter(|_| !spec.pad) {
                fs::create_dir_all(parent)?;
            }
            let mut file = if spec.pad { None } else { Some(BufWriter::new(File::create(path)?)) };
            let mut left = spec.len;
            while left > 0 {
                let room = u64::from((self.geometry.len_of(piece) - begin).min(BLOCK_LEN));
                let len = left.min(room);
                let bytes = self.block(piece, begin, usize::try_from(len).expect("a block's"));
                if let Some(file) = &mut file {
                    file.write_all(bytes)?;
                }
                left -= len;
                begin += u32::try_from(len).expect("a block's");
                if begin == self.geometry.len_of(piece) {
                    (piece, begin) = (PieceIndex(piece.0 + 1), 0);
                }
            }
            file.map_or(Ok(()), |mut file| file.flush())?;
        }
        Ok(())
    }

    /// Returns a slice of payload that begins so many bytes into a piece and has `len` bytes, at
    /// most a block's and within the torrent.
    pub(crate) fn block(&self, piece: PieceIndex, begin: u32, len: usize) -> &[u8] {
        let offset = u64::from(piece.0) * u64::from(self.geometry.piece_len()) + u64::from(begin);
        match &self.bytes {
            Bytes::Synthetic(synthetic) => synthetic.run(offset, len),
            Bytes::InMemory(bytes) => {
                let start = usize::try_from(offset).expect("it is in memory");
                &bytes[start..start + len]
            }
        }
    }
}

/// Returns the payload of a torrent of ours: known by its key, and by the hash of its first piece,
/// so that another version's payload is not taken for this one's.
fn synthetic(metainfo: &Metainfo, geometry: Geometry) -> Option<Synthetic> {
    let tree = bencode::decode(&metainfo.info, &Limits::METAINFO).ok()?;
    let seed = tree.root().as_dict()?.get(SEED_KEY).and_then(Value::as_int)?;
    let synthetic = Synthetic::new(u32::try_from(seed).ok()?.into());
    let hash = piece_hash(&synthetic, geometry, PieceIndex(0));
    (metainfo.pieces.get(..PIECE_HASH_LEN)? == hash).then_some(synthetic)
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TORRENT_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_TORRENT_BYTES) {
        return Ok(bytes);
    }
    let limit = MAX_TORRENT_BYTES >> 20;
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} MiB")))
}

fn read_data(metainfo: &Metainfo, dir: &Path) -> Result<Bytes, Failure> {
    let size = metainfo.total_len();
    if size > MAX_DATA_BYTES {
        return Err(Failure::input(format!(
            "the payload has {size} bytes; --data holds it in memory, at most {MAX_DATA_BYTES}"
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).expect("at most MAX_DATA_BYTES"));
    for file in &metainfo.files {
        let end = bytes.len() + usize::try_from(file.len).expect("at most MAX_DATA_BYTES");
        if !file.pad {
            let path = file.path.to_string_lossy().into_owned();
            let read = File::open(dir.join(&file.path))
                .and_then(|opened| opened.take(file.len).read_to_end(&mut bytes));
            match read {
                Ok(_) if bytes.len() == end => {}
                Ok(_) => {
                    let shown = Escaped(&path);
                    return Err(Failure::input(format!("'{shown}' is shorter than it should be")));
                }
                Err(error) => {
                    let shown = Escaped(&path);
                    return Err(Failure::input(format!("cannot read '{shown}': {error}")));
                }
            }
        }
        bytes.resize(end, 0);
    }
    Ok(Bytes::InMemory(bytes))
}

#[cfg(test)]
impl Payload {
    /// Returns a synthetic torrent of so many bytes.
    pub(crate) fn sample(size: u64, piece_len: u32) -> Self {
        let geometry = Geometry::new(size, piece_len);
        let plan = crate::torrent::Plan { name: "x".to_owned(), size, geometry, files: 1, seed: 3 };
        let metainfo = Metainfo::parse(&plan.torrent_file().into()).expect("our own");
        let bytes = Bytes::Synthetic(synthetic(&metainfo, geometry).expect("our own"));
        Self { metainfo, geometry, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Plan;

    fn plan(files: u32) -> Plan {
        let (size, piece_len) = (5 * (1 << 20) + 7, 32 << 10);
        let geometry = Geometry::new(size, piece_len);
        Plan { name: "x".to_owned(), size, geometry, files, seed: 9 }
    }

    #[test]
    fn data_from_disk_is_the_synthetic_data() {
        let folder = tempfile::tempdir().expect("a folder");
        let torrent = folder.path().join("x.torrent");
        let plan = plan(3);
        fs::write(&torrent, plan.torrent_file()).expect("written");
        let synthetic = Payload::load(&torrent, None).expect("ours");
        synthetic.write(folder.path()).expect("written");
        plan.verify(folder.path()).expect("as the plan has it");
        let loaded = Payload::load(&torrent, Some(folder.path())).expect("it is there");
        for (piece, begin) in [(0, 0), (52, 16_384), (106, 16_384), (160, 0)] {
            let piece = PieceIndex(piece);
            let len = loaded.geometry.len_of(piece).min(begin + 16_384) - begin;
            let block = |payload: &Payload| payload.block(piece, begin, len as usize).to_vec();
            assert_eq!(block(&loaded), block(&synthetic));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_and_what_is_missing_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let torrent = folder.path().join("x.torrent");
        let load = |data| Payload::load(&torrent, data).expect_err("refused").message;
        assert!(load(None).starts_with("cannot read '"), "{}", load(None));
        fs::write(&torrent, b"de").expect("written");
        assert!(load(None).starts_with("bad torrent file '"), "{}", load(None));

        // The same torrent with the seed of another payload.
        let ours = plan(1).torrent_file();
        let at = ours.windows(4).position(|at| at == b"i9ee").expect("the seed");
        let other = [&ours[..at], b"i8ee", &ours[at + 4..]].concat();
        fs::write(&torrent, other).expect("written");
        assert!(load(None).contains("was not made by `swarmloop-bench gen`"), "{}", load(None));
        assert!(load(Some(folder.path())).starts_with("cannot read 'x'"));
        fs::write(folder.path().join("x"), b"short").expect("written");
        assert_eq!(load(Some(folder.path())), "'x' is shorter than it should be");
    }
}
