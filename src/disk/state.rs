//! Jobs that make a download outlive its process: sync payload, load and save the torrent's state.
//!
//! They may wait long for a disk, so threads of their own do them; a torrent has one at a time.

use std::sync::Arc;

use super::job::{DiskError, Folders, OnDisk, Storage};
use super::slots::Slot;
use crate::id::{Block, PieceIndex, TorrentId};
use crate::wire::frame::Frame;

/// Bring payload that was written to where a power cut cannot reach it, with the folders that name
/// its files.
#[derive(Debug)]
pub struct Sync {
    /// Whose payload.
    pub storage: Arc<Storage>,
    /// The pieces that were written; all files that they touch are synced.
    pub pieces: Vec<PieceIndex>,
    /// Whether to look at every file afterwards, not only at those that were synced.
    pub look_at_all: bool,
}

/// Write the torrent's state over the older of its two [slots](super::slots).
#[derive(Debug)]
pub struct Save {
    /// Whose state; it has a [`Storage::state`].
    pub storage: Arc<Storage>,
    /// The slot that does not hold the newest record.
    pub slot: Slot,
    /// One more than that of the newest record.
    pub generation: u64,
    /// What to write.
    pub record: Vec<u8>,
    /// Whether blocks were put aside for it; those of an earlier record are of no use any more.
    pub has_blocks: bool,
}

/// Put blocks of open pieces beside the state file, for the record of the same generation.
#[derive(Debug)]
pub struct Spill {
    /// Whose blocks; it has a [`Storage::state`].
    pub storage: Arc<Storage>,
    /// The generation of the record that is saved next.
    pub generation: u64,
    /// Which blocks.
    pub blocks: Vec<Block>,
    /// Their payloads, in the same order.
    pub frames: Vec<Frame>,
}

/// Read blocks of open pieces that were put aside.
#[derive(Debug)]
pub struct Restore {
    /// Whose blocks; it has a [`Storage::state`].
    pub storage: Arc<Storage>,
    /// The generation of the record that they were put aside for.
    pub generation: u64,
    /// Which blocks: some of [`Loaded::blocks`], in the same order.
    pub blocks: Vec<Block>,
    /// A frame for each, of its length.
    pub frames: Vec<Frame>,
}

/// What a job of this module came to.
#[derive(Debug)]
pub enum StateOutcome {
    /// Of [`Sync`].
    Synced {
        /// The job's torrent.
        torrent: TorrentId,
        /// The job's pieces.
        pieces: Vec<PieceIndex>,
        /// What there is now. After an error nothing is known of any of the pieces, and what is
        /// read of them next is read from the disk.
        result: Result<Looked, DiskError>,
    },
    /// Of [`super::job::Job::Load`].
    Loaded {
        /// The job's torrent.
        torrent: TorrentId,
        /// What there was; `None` if there is no state, or none that is whole.
        result: Result<Option<Loaded>, DiskError>,
    },
    /// Of [`Save`].
    Saved {
        /// The job's torrent.
        torrent: TorrentId,
        /// Whether the record is where a power cut cannot reach it.
        result: Result<(), DiskError>,
    },
    /// Of [`Spill`].
    Spilled {
        /// The job's torrent.
        torrent: TorrentId,
        /// The job's blocks.
        blocks: Vec<Block>,
        /// The job's frames.
        frames: Vec<Frame>,
        /// Whether the blocks are where a power cut cannot reach them.
        result: Result<(), DiskError>,
    },
    /// Of [`Restore`].
    Restored {
        /// The job's torrent.
        torrent: TorrentId,
        /// The job's blocks.
        blocks: Vec<Block>,
        /// The job's frames.
        frames: Vec<Frame>,
        /// Whether the frames hold what was put aside. What cannot be read is asked for again.
        is_whole: bool,
    },
}

/// What there is of a torrent after a sync.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Looked {
    /// The folders that it is in.
    pub folders: Folders,
    /// The files that were looked at, by their index in the layout; `None` is one that is not
    /// there.
    pub files: Vec<(usize, Option<OnDisk>)>,
}

/// The state of a torrent as an earlier process left it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Where the newest record is.
    pub slot: Slot,
    /// Its generation.
    pub generation: u64,
    /// The record.
    pub record: Vec<u8>,
    /// When the state file was written last, in nanoseconds since 1970.
    pub saved_ns: i64,
    /// Blocks of open pieces that seem to have been put aside with it.
    pub blocks: Vec<Block>,
}

impl StateOutcome {
    /// Returns the job's torrent.
    pub const fn torrent(&self) -> TorrentId {
        match self {
            Self::Synced { torrent, .. }
            | Self::Loaded { torrent, .. }
            | Self::Saved { torrent, .. }
            | Self::Spilled { torrent, .. }
            | Self::Restored { torrent, .. } => *torrent,
        }
    }
}
