//! What a torrent is doing, in the words that an application hears.

use std::path::PathBuf;

use crate::disk::job::{DiskError, MetadataFault};
use crate::id::PieceIndex;
use crate::peer::error::PeerError;
use crate::proto::metainfo::Metainfo;
use crate::time::Duration;

/// What a torrent is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Not running; the reason, if it did not stop on request.
    Stopped(Option<StopReason>),
    /// Only the info-hash is known; peers are asked for the rest (BEP 9).
    Metadata,
    /// Existing files are being hashed.
    Checking,
    /// Pieces are missing and asked for.
    Downloading,
    /// Pieces are missing and there is no room for them: what is here is served, nothing is asked
    /// for. It goes on by itself when there is.
    DiskFull(Box<DiskFull>),
    /// Everything is here and served.
    Seeding,
    /// What is here is served and nothing is asked for, although pieces are missing: they are of
    /// files that are not wanted, or the torrent is only served (BEP 21, "partial seeds").
    PartialSeeding,
}

/// What is known of a disk that is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFull {
    /// The first operation that failed for it.
    pub error: DiskError,
    /// Bytes that are free, as far as the system says: room that others may not use is not counted.
    pub free: Option<u64>,
    /// Bytes that are still to be written.
    pub needed: u64,
    /// In what time it is tried again at the latest; sooner if space is found to be free.
    pub retry_in: Duration,
}

/// Why a torrent stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The disk failed; an event said how.
    Disk,
    /// What is missing does not fit on the disk; nothing was written.
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that it takes.
        needed: u64,
    },
    /// The metadata is here and of no use.
    Metadata(MetadataFault),
    /// Files that are in the way hold bytes that are not this torrent's; nothing was written.
    FilesInTheWay(Vec<FileInTheWay>),
}

/// An existing file that may not be written over without the user's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInTheWay {
    /// Its path below the download folder.
    pub path: PathBuf,
    /// Its length on disk in bytes.
    pub len: u64,
    /// The length that the torrent gives it in bytes.
    pub expected_len: u64,
}

/// What to do with a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Fetch what is missing; serve while doing so and afterwards.
    Download {
        /// Allow foreign bytes in the way to be replaced and longer files to be cut.
        overwrite: bool,
    },
    /// Serve what is there, write nothing.
    Seed,
}

/// What happened to a torrent that its session passes on.
#[derive(Debug)]
pub enum TorrentEvent {
    /// It went into another phase.
    Phase(Phase),
    /// A piece is right and on disk.
    PieceVerified(PieceIndex),
    /// A piece was complete and wrong; so many peers had a hand in it.
    PieceCorrupt(PieceIndex, usize),
    /// Everything that is wanted is here; whether anything was downloaded for it.
    Complete(bool),
    /// The metadata is here: its hash is the info-hash.
    Metadata(Box<Metainfo>),
    /// The disk failed.
    Disk(DiskError),
    /// These pieces cannot be read any more, for this reason.
    Lost(Vec<PieceIndex>, DiskError),
    /// So many bytes of payload could not be synced; they are hashed again.
    SyncFailed(DiskError, u64),
    /// The torrent's state cannot be loaded or saved.
    StateFailed(DiskError),
    /// Nobody at this address is to be talked to again.
    Ban(std::net::SocketAddr, PeerError),
}
