//! The torrent that a run is about: its bytes, wherever they come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use swarmloop::geometry::Geometry;
use swarmloop::id::{InfoHash, PieceIndex};
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
