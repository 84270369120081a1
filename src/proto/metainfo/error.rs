//! Why a metainfo file is refused: what is wrong, and where.

use std::fmt;

use super::files::MAX_TOTAL_LEN;
use super::path::MAX_PATH_LEVELS;
use super::{MAX_PIECE_LEN, PIECE_HASH_LEN};
use crate::proto::bencode::DecodeError;

/// Why a metainfo file is refused. Its author's fault, except for [`MetainfoError::Unsupported`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetainfoError {
    /// The file is not bencode, or too much of it.
    #[error("not bencode: {0}")]
    Bencode(#[from] DecodeError),
    /// A value is missing, of another kind, or contradicts the rest.
    #[error("{place} {problem}")]
    Broken {
        /// Keys and zero-based list positions from the outermost value on, as in
        /// `info/files/3/path/1`; no foreign text.
        place: String,
        /// What is wrong there.
        problem: Problem,
    },
    /// The file is well formed by a rule that this engine does not follow.
    #[error("not supported: {0}")]
    Unsupported(#[from] Unsupported),
}

/// What is wrong at the place that a [`MetainfoError::Broken`] names.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The value is not there.
    #[error("is missing")]
    Missing,
    /// The value is of another kind.
    #[error("is not {0}")]
    WrongKind(#[from] Expected),
    /// `piece length` in bytes.
    #[error("is {0}, not between 1 and {MAX_PIECE_LEN} bytes")]
    PieceLength(i64),
    /// `pieces` in bytes.
    #[error("has {0} bytes, not a multiple of {PIECE_HASH_LEN}")]
    PiecesLength(usize),
    /// `pieces` has hashes for another payload.
    #[error("has {have} hashes, not {want}: {total_len} bytes of payload by {piece_len}")]
    PieceCount {
        /// Hashes in `pieces`.
        have: usize,
        /// Pieces of the payload.
        want: u64,
        /// The payload in bytes.
        total_len: u64,
        /// Bytes in a piece.
        piece_len: u32,
    },
    /// A file's length in bytes.
    #[error("is negative: {0}")]
    NegativeLength(i64),
    /// With this file the payload is larger than [`MAX_TOTAL_LEN`].
    #[error("takes the payload over {MAX_TOTAL_LEN} bytes")]
    TotalTooLarge,
    /// There is no file, or none with a byte to fetch (pad files have none).
    #[error("has no payload: there is nothing to download")]
    NoPayload,
    /// A path without components or a name without a byte.
    #[error("is empty")]
    Empty,
    /// The folder itself, `.`, as a name.
    #[error("is \".\"")]
    CurrentDir,
    /// The folder above, `..`, as a name.
    #[error("is \"..\"")]
    ParentDir,
    /// A name that begins with a separator.
    #[error("is an absolute path")]
    Absolute,
    /// A name with a separator in it; the byte.
    #[error("contains \"{}\"", .0.escape_ascii())]
    Separator(u8),
    /// A name with a zero byte, where file systems end it.
    #[error("contains a zero byte")]
    Nul,
    /// A path with more than [`MAX_PATH_LEVELS`] components; how many.
    #[error("has {0} levels, more than {MAX_PATH_LEVELS}")]
    TooManyLevels(usize),
    /// Two files with one path; the place of the other.
    #[error("has the path of {0}")]
    SamePath(String),
    /// A file below another; the place of the other.
    #[error("is inside {0}, which is a file")]
    InsideFile(String),
}

/// The kind of value that had to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Expected {
    /// A dictionary.
    #[error("a dictionary")]
    Dictionary,
    /// A list.
    #[error("a list")]
    List,
    /// A string of bytes.
    #[error("a string")]
    String,
    /// An integer.
    #[error("an integer")]
    Integer,
}

/// What a torrent needs that this engine does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A torrent without v1 pieces (BEP 52); its `meta version`.
    #[error("torrent of meta version {0} without v1 pieces")]
    MetaVersion(i64),
    /// A torrent with the root of a hash tree in place of pieces (BEP 30).
    #[error("torrent with a Merkle tree (BEP 30) in place of pieces")]
    MerkleTree,
}

/// Builds the error for `place`; only a refusal pays for the text.
pub(super) fn broken(place: fmt::Arguments<'_>, problem: Problem) -> MetainfoError {
    MetainfoError::Broken { place: place.to_string(), problem }
}
