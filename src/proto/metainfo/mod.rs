//! `.torrent` files (BEP 3, 12, 19, 27, 47): bytes in, checked values out.
//!
//! Whatever a [`Metainfo`] says has been checked against itself: paths are relative and free of
//! tricks, lengths add up without overflow, and there are as many piece hashes as the payload
//! needs. The info-hash is taken over the bytes of `info` as they came. A hybrid (BEP 52) is read
//! as the v1 torrent that it is as well; what has no v1 part is refused as unsupported, which is
//! another thing than broken.
//!
//! Every refusal names the place: `info/files/3/path/1 is ".."`. **Invariant:** nothing here knows
//! a folder on disk or whether a name fits its file system. Read on in `path.rs` for the policy on
//! names and `files.rs` for the payload.

mod announce;
mod error;
mod files;
mod path;
mod write;

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use sha1::{Digest, Sha1};

pub use self::announce::{MAX_NODES, MAX_TRACKERS, MAX_WEB_SEEDS};
pub use self::error::{Expected, MetainfoError, Problem, Unsupported};
pub use self::files::MAX_TOTAL_LEN;
pub use self::path::{MAX_COMPONENT_LEN, MAX_PATH_LEVELS};
pub use self::write::{Edit, Info, Payload, TorrentFile, auto_piece_len};

pub(in crate::proto) use self::announce::looks_like_url;

use self::error::broken;
use crate::id::{InfoHash, PieceIndex};
use crate::proto::bencode::{self, Dict, Limits, MAX_METAINFO_LEN, Value};

/// Bytes of a piece's hash (SHA-1, BEP 3).
pub const PIECE_HASH_LEN: usize = 20;
/// Bytes of a piece at most, 512 MiB: what libtorrent accepts; real torrents end at 64 MiB.
pub const MAX_PIECE_LEN: u32 = 512 << 20;
/// Pieces of a torrent at most: what libtorrent accepts, and a bitfield of 256 KiB.
pub const MAX_PIECES: usize = 1 << 21;
/// Notes kept about one torrent; it could have something odd about each of 100 000 files.
pub const MAX_NOTES: usize = 50;

// More hashes than that do not fit into a file that is accepted at all.
const _: () = assert!(MAX_METAINFO_LEN / PIECE_HASH_LEN <= MAX_PIECES);

/// A parsed metainfo file (BEP 3).
///
/// The invariants stated here hold for what [`Metainfo::parse`] and [`Metainfo::from_info`]
/// return. Texts are foreign: print them through [`crate::text::Escaped`].
#[derive(Clone, Debug)]
pub struct Metainfo {
    /// SHA-1 over the raw bytes of `info`.
    pub info_hash: InfoHash,
    /// The raw bytes of the `info` value, as they stand in the file; shares its buffer.
    pub info: Bytes,
    /// `name` (`name.utf-8` preferred): the file's or the top folder's name, shortened as on disk,
    /// lossily decoded for display. Not a path: use `files`.
    pub name: String,
    /// Bytes in every piece but the last: 1 to [`MAX_PIECE_LEN`], not always a power of two.
    pub piece_len: u32,
    /// [`PIECE_HASH_LEN`] bytes of SHA-1 a piece, at least one; a slice of `info`.
    pub pieces: Bytes,
    /// The files in the order of the payload, pad files included, symlinks not. No two that are
    /// not pads have one path, and none is inside another.
    pub files: Vec<MetainfoFile>,
    /// Whether `files` was there (the paths then start with the name).
    pub multi_file: bool,
    /// Peers may come from the trackers only (BEP 27): `private` is 1.
    pub private: bool,
    /// Announce URLs by tier (BEP 12): `announce-list` if it has any, else `announce`. No tier is
    /// empty, no URL comes twice; schemes are not looked at.
    pub trackers: Vec<Vec<String>>,
    /// `url-list` (BEP 19), each URL once.
    pub web_seeds: Vec<String>,
    /// `nodes` (BEP 5): hosts and ports of nodes of the DHT, those that can be one; at most
    /// [`MAX_NODES`].
    pub nodes: Vec<(String, u16)>,
    /// Seconds since 1970, as claimed; some authors write milliseconds.
    pub creation_date: Option<i64>,
    /// `comment` (`comment.utf-8` preferred), lossily decoded.
    pub comment: Option<String>,
    /// `created by` (`created by.utf-8` preferred), lossily decoded.
    pub created_by: Option<String>,
    /// What was odd and was handled (shortened names, skipped symlinks, unusable URLs), each one
    /// line for people that is safe to print. At most [`MAX_NOTES`] and one that counts the rest.
    pub notes: Vec<String>,
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetainfoFile {
    /// Relative path, safe to join to a folder: at least one component, all of them plain names,
    /// with the bytes that the file has (on Unix; lossily decoded elsewhere). In a multi-file
    /// torrent the first is the name of the torrent.
    pub path: PathBuf,
    /// Bytes; may be 0.
    pub len: u64,
    /// A BEP 47 pad file: zeros, never on disk. Its path may be that of another.
    pub pad: bool,
}

impl Metainfo {
    /// Reads a `.torrent` file (BEP 3).
    ///
    /// `torrent` is the whole file and is kept alive by the result. Never panics on remote input.
    /// O(n log n) in the number of files.
    ///
    /// # Errors
    /// [`MetainfoError::Unsupported`] if the file needs what this engine does not have; else the
    /// first thing found broken and its place, which is the author's fault.
    pub fn parse(torrent: &Bytes) -> Result<Self, MetainfoError> {
        let tree = bencode::decode(torrent, &Limits::METAINFO)?;
        let root = dict(Some(tree.root()), format_args!("the metainfo"))?;
        let info = root.get(b"info");
        let info = dict(info, format_args!("info"))?.as_value();
        let mut notes = Notes::default();
        let mut metainfo = Self::read_info(info, torrent.slice(info.span()), &mut notes)?;
        metainfo.trackers = announce::trackers(root, &mut notes);
        metainfo.web_seeds = announce::web_seeds(root, &mut notes);
        metainfo.nodes = announce::nodes(root);
        metainfo.creation_date = root.get(b"creation date").and_then(Value::as_int);
        metainfo.comment = text(root, "comment");
        metainfo.created_by = text(root, "created by");
        metainfo.notes = notes.finish();
        Ok(metainfo)
    }

    /// Reads an `info` dictionary alone, as peers send it (BEP 9).
    ///
    /// `info` is the whole value and nothing else; whether its hash is the one that was asked for
    /// is for the caller to compare. There are no trackers and no texts then.
    ///
    /// # Errors
    /// As [`Metainfo::parse`].
    pub fn from_info(info: Bytes) -> Result<Self, MetainfoError> {
        let decoded = info.clone();
        let tree = bencode::decode(&decoded, &Limits::METAINFO)?;
        let mut notes = Notes::default();
        let mut metainfo = Self::read_info(tree.root(), info, &mut notes)?;
        metainfo.notes = notes.finish();
        Ok(metainfo)
    }

    /// Returns `source` of `info`, where a torrent is published (de facto: private trackers set it,
    /// so that the info-hash is theirs), lossily decoded. O(info): it is read anew.
    pub fn source(&self) -> Option<String> {
        let tree = bencode::decode(&self.info, &Limits::METAINFO).ok()?;
        text(tree.root().as_dict()?, "source")
    }

    /// Returns the payload in bytes, pad files included: 1 to [`MAX_TOTAL_LEN`]. O(files).
    pub fn total_len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    /// Returns the number of pieces: 1 to [`MAX_PIECES`].
    pub fn piece_count(&self) -> u32 {
        u32::try_from(self.pieces.len() / PIECE_HASH_LEN).expect("at most MAX_PIECES")
    }

    /// Returns the bytes of the last piece: 1 to `piece_len`. O(files).
    pub fn last_piece_len(&self) -> u32 {
        let before = u64::from(self.piece_count() - 1) * u64::from(self.piece_len);
        u32::try_from(self.total_len() - before).expect("the pieces hold the payload exactly")
    }

    /// Returns the bytes of `piece`, which must be below [`Metainfo::piece_count`]. O(files) for
    /// the last piece: ask [`crate::disk::layout`] where it matters.
    pub fn piece_len_of(&self, piece: PieceIndex) -> u32 {
        debug_assert!(piece.0 < self.piece_count(), "piece {} is not there", piece.0);
        if piece.0 + 1 == self.piece_count() { self.last_piece_len() } else { self.piece_len }
    }

    /// Reads the `info` value, whose bytes `raw` are.
    fn read_info(
        info: Value<'_, '_>,
        raw: Bytes,
        notes: &mut Notes,
    ) -> Result<Self, MetainfoError> {
        let info = dict(Some(info), format_args!("info"))?;
        check_supported(info)?;
        let name = path::name(info, notes)?;
        let piece_len = piece_len(info)?;
        let files = files::read(info, &name, notes)?;
        let pieces = pieces(info, piece_len, files.iter().map(|file| file.len).sum())?;
        Ok(Self {
            info_hash: InfoHash(Sha1::digest(&raw).into()),
            name: String::from_utf8_lossy(&name).into_owned(),
            piece_len,
            pieces: raw.slice_ref(pieces),
            info: raw,
            files,
            multi_file: info.get(b"files").is_some(),
            private: info.get(b"private").and_then(Value::as_int) == Some(1),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            nodes: Vec::new(),
            creation_date: None,
            comment: None,
            created_by: None,
            notes: Vec::new(),
        })
    }
}

/// Refuses what has no v1 payload but is well formed by another rule.
fn check_supported(info: Dict<'_, '_>) -> Result<(), MetainfoError> {
    if info.get(b"pieces").is_some() {
        return Ok(());
    }
    if let Some(version) = info.get(b"meta version").and_then(Value::as_int) {
        return Err(Unsupported::MetaVersion(version).into());
    }
    if info.get(b"root hash").is_some() {
        return Err(Unsupported::MerkleTree.into());
    }
    Ok(())
}

fn piece_len(info: Dict<'_, '_>) -> Result<u32, MetainfoError> {
    let place = format_args!("info/piece length");
    let number = int(info.get(b"piece length"), place)?;
    u32::try_from(number)
        .ok()
        .filter(|len| (1..=MAX_PIECE_LEN).contains(len))
        .ok_or_else(|| broken(place, Problem::PieceLength(number)))
}

/// Returns the hashes: exactly as many as `total_len` bytes need.
fn pieces<'a>(
    info: Dict<'_, 'a>,
    piece_len: u32,
    total_len: u64,
) -> Result<&'a [u8], MetainfoError> {
    let place = format_args!("info/pieces");
    let pieces = bytes(info.get(b"pieces"), place)?;
    if !pieces.len().is_multiple_of(PIECE_HASH_LEN) {
        return Err(broken(place, Problem::PiecesLength(pieces.len())));
    }
    let have = pieces.len() / PIECE_HASH_LEN;
    let want = total_len.div_ceil(u64::from(piece_len));
    if u64::try_from(have) != Ok(want) {
        return Err(broken(place, Problem::PieceCount { have, want, total_len, piece_len }));
    }
    Ok(pieces)
}

/// Reads a text about the torrent, which is worth no refusal.
fn text(dict: Dict<'_, '_>, key: &str) -> Option<String> {
    let utf8 = dict.get(format!("{key}.utf-8").as_bytes()).and_then(Value::as_str);
    let bytes = utf8.map(str::as_bytes).or_else(|| dict.get(key.as_bytes())?.as_bytes())?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

// The readers of values that must be there; `place` is what an error names.

fn dict<'t, 'a>(
    value: Option<Value<'t, 'a>>,
    place: fmt::Arguments<'_>,
) -> Result<Dict<'t, 'a>, MetainfoError> {
    required(value, place)?.as_dict().ok_or_else(|| broken(place, Expected::Dictionary.into()))
}

fn list<'t, 'a>(
    value: Option<Value<'t, 'a>>,
    place: fmt::Arguments<'_>,
) -> Result<bencode::Items<'t, 'a>, MetainfoError> {
    required(value, place)?.as_list().ok_or_else(|| broken(place, Expected::List.into()))
}

fn bytes<'a>(
    value: Option<Value<'_, 'a>>,
    place: fmt::Arguments<'_>,
) -> Result<&'a [u8], MetainfoError> {
    required(value, place)?.as_bytes().ok_or_else(|| broken(place, Expected::String.into()))
}

fn int(value: Option<Value<'_, '_>>, place: fmt::Arguments<'_>) -> Result<i64, MetainfoError> {
    required(value, place)?.as_int().ok_or_else(|| broken(place, Expected::Integer.into()))
}

fn required<'t, 'a>(
    value: Option<Value<'t, 'a>>,
    place: fmt::Arguments<'_>,
) -> Result<Value<'t, 'a>, MetainfoError> {
    value.ok_or_else(|| broken(place, Problem::Missing))
}

/// What was odd about a torrent, in the order found.
#[derive(Debug, Default)]
struct Notes {
    /// At most [`MAX_NOTES`].
    kept: Vec<String>,
    /// How many came after those.
    dropped: usize,
}

impl Notes {
    /// Records a line for people; foreign text in it has gone through [`crate::text::Escaped`].
    fn push(&mut self, note: fmt::Arguments<'_>) {
        if self.kept.len() < MAX_NOTES {
            self.kept.push(note.to_string());
        } else {
            self.dropped += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.dropped > 0 {
            self.kept.push(format!("notes left out: {}", self.dropped));
        }
        self.kept
    }
}
