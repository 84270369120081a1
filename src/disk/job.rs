//! What the session asks of its disk and what comes back.
//!
//! A job owns everything that it needs (frames move in by value and come back in the outcome,
//! whatever happened), names its torrent by an id that is never reused, and may finish in any order
//! with respect to other jobs.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use super::folders::{FolderId, Folders};
pub use super::hash::Midstate;
use super::layout::Layout;
pub use super::metadata::{Assemble, Assembled, MetadataFault};
use super::parts::Parts;
use super::selection::Selection;
use super::state::{Restore, Save, Spill, StateOutcome, Sync};
use crate::id::{ConnId, InfoHash, PieceIndex, TorrentId};
use crate::time::Duration;
use crate::wire::frame::Frame;

/// Where a torrent's bytes live: immutable, shared by all jobs of the torrent.
#[derive(Debug)]
pub struct Storage {
    /// The torrent whose bytes these are.
    pub torrent: TorrentId,
    /// Its info-hash, by which a file that was made for it is known again in another session.
    pub info_hash: InfoHash,
    /// The folder that all of the layout's paths are relative to.
    pub root: PathBuf,
    /// Which bytes of the torrent are in which file.
    pub layout: Arc<Layout>,
    /// Which of its files are in the parts file; `None` if none is.
    pub parts: Option<Parts>,
    /// The SHA-1 of every piece: 20 bytes each, in piece order (BEP 3 `pieces`).
    pub hashes: Bytes,
    /// Whether a file may be created, grown and written; `false` for a pure seed.
    pub writable: bool,
    /// How files are written, if they are.
    pub rules: Rules,
    /// The file that keeps the torrent's state for the next process; `None` if none does.
    pub state: Option<PathBuf>,
}

/// How a torrent's files are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Whether bytes of files that are not the torrent's may be written over.
    pub overwrite: bool,
    /// How room is made for a file before its first byte.
    pub alloc: Alloc,
}

/// How room is made for a file before its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Alloc {
    /// Not at all: it grows as pieces arrive.
    None,
    /// It has its length from the start, and takes space only as pieces arrive.
    #[default]
    Sparse,
    /// All of its space is taken from the start, where the file system can do that without writing
    /// zeros; elsewhere as [`Alloc::Sparse`].
    Full,
}

impl Storage {
    /// Returns the expected SHA-1 of `piece`. Panics if the torrent has no such piece: a bug of the
    /// caller.
    pub fn expected(&self, piece: PieceIndex) -> [u8; 20] {
        let at = piece.0 as usize * 20;
        self.hashes[at..at + 20].try_into().expect("a slice of 20 bytes")
    }
}

/// A unit of work for the disk pool.
#[derive(Debug)]
pub enum Job {
    /// Hash a whole piece, compare, and only if it is right write it out in one run.
    Verify(Verify),
    /// Hash and write the next run of a piece that is too large to be kept whole.
    Append(Append),
    /// Read a run of bytes of one piece for a peer.
    Read(Read),
    /// Look at the files that exist: no file is opened for writing, none is created.
    Stat {
        /// Where to look.
        storage: Arc<Storage>,
    },
    /// Hash pieces that may be on disk already.
    Check {
        /// Where to read.
        storage: Arc<Storage>,
        /// The first piece to check.
        first: PieceIndex,
        /// How many pieces, from `first` on.
        count: u32,
    },
    /// Make the files that hold no bytes (zero-length files and their folders), as the last step of
    /// a download, and cut files that are longer than they should be if `cut` allows it.
    Finish {
        /// What to finish.
        storage: Arc<Storage>,
        /// Whether foreign bytes beyond the end of a file may be cut off (`--overwrite`).
        cut: bool,
        /// The files that are meant. If none is in the parts file any more, that goes.
        selection: Selection,
    },
    /// Create files that have been in the parts file with what is there of them.
    Carry {
        /// Where to read, and the folder to write to.
        storage: Arc<Storage>,
        /// The files by index, and which of their pieces are right.
        files: Vec<(usize, Vec<PieceIndex>)>,
    },
    /// Look how much space there is, and take what one piece needs of it. If what the wanted files
    /// lack fits, try whether they can be made at all; nothing of that stays.
    Space {
        /// Where to look.
        storage: Arc<Storage>,
        /// The files that are to be written, by their index in the layout; none to leave it open
        /// what they need.
        wanted: Vec<usize>,
        /// The piece that is to be written next; `None` to look only.
        reserve: Option<PieceIndex>,
    },
    /// Read the state that an earlier process has left in [`Storage::state`].
    Load {
        /// Whose state.
        storage: Arc<Storage>,
    },
    /// Make payload durable.
    Sync(Sync),
    /// Save the torrent's state.
    Save(Save),
    /// Save blocks of open pieces.
    Spill(Spill),
    /// Read blocks of open pieces that were saved.
    Restore(Restore),
    /// Close every open file of a torrent that rests, and forget what its files were.
    LetGo {
        /// Whose files.
        storage: Arc<Storage>,
    },
    /// Put metadata together that came from peers, hash and read it: no file is touched.
    Assemble(Assemble),
    /// Close every open file of a torrent; no outcome follows.
    Close {
        /// The torrent that is gone.
        torrent: TorrentId,
    },
}

impl Job {
    /// Tells whether it is one of those that may wait long for a disk and are done beside the
    /// others, by threads of their own.
    pub const fn may_wait_long(&self) -> bool {
        matches!(
            self,
            Self::Space { .. }
                | Self::Load { .. }
                | Self::Sync(_)
                | Self::Save(_)
                | Self::Spill(_)
                | Self::Restore(_)
        )
    }
}

/// See [`Job::Verify`].
#[derive(Debug)]
pub struct Verify {
    /// Where to write.
    pub storage: Arc<Storage>,
    /// The piece that is complete.
    pub piece: PieceIndex,
    /// The piece's blocks in order; their payloads together are exactly the piece. Pad bytes (BEP
    /// 47) are in them as zeros and are not written.
    pub frames: Vec<Frame>,
    /// Whether the SHA-1 of every block is wanted even if the piece is right (to find who spoiled
    /// an earlier copy).
    pub block_hashes: bool,
}

/// See [`Job::Append`].
#[derive(Debug)]
pub struct Append {
    /// Where to write.
    pub storage: Arc<Storage>,
    /// The piece that is being received.
    pub piece: PieceIndex,
    /// Bytes from the start of the piece to the start of this run.
    pub begin: u32,
    /// The run's blocks in order.
    pub frames: Vec<Frame>,
    /// The hash of everything before `begin`.
    pub midstate: Box<Midstate>,
    /// Whether this run ends the piece, so that the verdict can be given.
    pub last: bool,
}

/// See [`Job::Read`].
#[derive(Debug)]
pub struct Read {
    /// Where to read.
    pub storage: Arc<Storage>,
    /// The peer that asked.
    pub conn: ConnId,
    /// The piece to read from.
    pub piece: PieceIndex,
    /// Bytes from the start of the piece to the start of the run.
    pub begin: u32,
    /// One frame a block, their lengths set to what is to be read; filled in order from `begin` on.
    pub frames: Vec<Frame>,
}

/// What a job came to. Frames always come back, also from a job that failed or panicked.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Job::Verify`].
    Verify {
        /// The job's torrent.
        torrent: TorrentId,
        /// The job's piece.
        piece: PieceIndex,
        /// The job's frames.
        frames: Vec<Frame>,
        /// The verdict; `Good` is said only when the piece has been written.
        verdict: Result<Verdict, DiskError>,
        /// Where the time went.
        times: Times,
    },
    /// Of [`Job::Append`].
    Append {
        /// The job's torrent.
        torrent: TorrentId,
        /// The job's piece.
        piece: PieceIndex,
        /// The job's offset in the piece.
        begin: u32,
        /// The job's frames.
        frames: Vec<Frame>,
        /// The hash so far, or the verdict if the run was the last; and the SHA-1 of each of this
        /// run's blocks.
        result: Result<(Appended, Vec<[u8; 20]>), DiskError>,
        /// Where the time went.
        times: Times,
    },
    /// Of [`Job::Read`].
    Read {
        /// The job's torrent.
        torrent: TorrentId,
        /// The peer that asked.
        conn: ConnId,
        /// The job's piece.
        piece: PieceIndex,
        /// The job's offset in the piece.
        begin: u32,
        /// The job's frames, filled if `result` is `Ok`.
        frames: Vec<Frame>,
        /// A file that is too short is [`DiskErrorKind::Missing`].
        result: Result<(), DiskError>,
    },
    /// Of [`Job::Stat`].
    Stat {
        /// The job's torrent.
        torrent: TorrentId,
        /// What there is of every file of the layout, and last of the parts file; `None` where
        /// there is nothing; pad files are `None`.
        files: Result<Vec<Option<OnDisk>>, DiskError>,
        /// What its folders are.
        folders: Folders,
    },
    /// Of [`Job::Check`].
    Check {
        /// The job's torrent.
        torrent: TorrentId,
        /// The job's first piece.
        first: PieceIndex,
        /// What was found; an error if it concerns more than single pieces.
        checked: Result<Checked, DiskError>,
    },
    /// Of [`Job::Carry`].
    Carry {
        /// The job's torrent.
        torrent: TorrentId,
        /// Whether all of it was done, and will outlast a loss of power.
        result: Result<(), DiskError>,
    },
    /// Of [`Job::Finish`].
    Finish {
        /// The job's torrent.
        torrent: TorrentId,
        /// Whether all of it was done.
        result: Result<(), DiskError>,
    },
    /// Of [`Job::Space`].
    Space {
        /// The job's torrent.
        torrent: TorrentId,
        /// What was found; [`DiskErrorKind::Full`] if there is no room even for the piece, any
        /// other kind if nothing can be made there.
        space: Result<Space, DiskError>,
    },
    /// Of [`Job::LetGo`].
    LetGo {
        /// The job's torrent.
        torrent: TorrentId,
    },
    /// Of [`Job::Assemble`].
    Assembled(Assembled),
    /// Of the jobs that keep a torrent's state.
    State(StateOutcome),
}

/// Where the time of a job that hashes and writes went, from its submission on: one stage after
/// the other, without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// From the submission to the start of hashing: how long the job was queued.
    pub queued: Duration,
    /// From there until the hash was known.
    pub hash_took: Duration,
    /// From there to the end of the write, what the write waited for included; zero if nothing was
    /// to be written.
    pub write_took: Duration,
}

impl Times {
    /// Returns the time from the submission until the hash was known.
    pub const fn to_hashed(&self) -> Duration {
        self.queued.saturating_add(self.hash_took)
    }

    /// Returns the time from the submission to the end of the write.
    pub const fn to_written(&self) -> Duration {
        self.to_hashed().saturating_add(self.write_took)
    }
}

/// What a [`Job::Check`] has found.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Checked {
    /// For each piece, in order, whether its bytes are on disk and right. Missing and short files
    /// are no error.
    pub good: Vec<bool>,
    /// Pieces that could not be read, none of which is good, and why the first of them could not.
    pub unreadable: Option<(Vec<PieceIndex>, DiskError)>,
}

/// How much space there is and is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Bytes that are free, where the system says.
    pub free: Option<u64>,
    /// Bytes that the wanted files do not take up yet: holes in them count.
    pub lacking: u64,
}

impl Space {
    /// Tells whether what is lacking fits, as far as the system says.
    pub fn fits(&self) -> bool {
        self.free.is_none_or(|free| free >= self.lacking)
    }
}

/// A file of a torrent that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OnDisk {
    /// Its length in bytes.
    pub len: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Its number on its file system.
    pub inode: u64,
    /// The file system that it is on.
    pub device: u64,
    /// Whether it was made for this very torrent by a download that has not ended, so that what is
    /// in it may be written over. Not every file system can tell; `false` then.
    pub ours: bool,
}

impl OnDisk {
    /// Tells whether it is the same file as `other`, whatever has been written to it.
    pub const fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode && self.device == other.device
    }

    /// Tells whether it is the same file as `other` and nothing has been written to it in between.
    pub const fn is_unchanged(&self, other: &Self) -> bool {
        self.is_same_file(other) && self.len == other.len && self.modified_ns == other.modified_ns
    }
}

/// Whether a whole piece is what the metainfo promises.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is, and it has been written.
    Good {
        /// The SHA-1 of each block in order, if the job asked for them; else empty.
        block_hashes: Vec<[u8; 20]>,
    },
    /// It is not; nothing has been written.
    Corrupt {
        /// The SHA-1 of each block in order.
        block_hashes: Vec<[u8; 20]>,
    },
}

/// How far a large piece is.
#[derive(Debug)]
pub enum Appended {
    /// More is to come; the hash of everything up to here.
    Partial(Box<Midstate>),
    /// The piece is complete, right and written.
    Good,
    /// The piece is complete and wrong: its bytes on disk are garbage that nobody may claim.
    Corrupt,
}

/// What a disk operation was doing when it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DiskOp {
    /// Opening or creating a file.
    Open,
    /// Making a folder.
    CreateFolder,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Setting a file's length.
    SetLength,
    /// Asking for a file's length and kind.
    Stat,
    /// Setting space of a file apart before anything is written to it.
    Reserve,
    /// Removing a file of ours that is of no use any more.
    Remove,
    /// Bringing what was written to the disk itself.
    Sync,
    /// Putting a new state file in the place of an old one.
    Rename,
}

/// What kind of failure it was: decides whether the torrent pauses, waits or goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DiskErrorKind {
    /// No space left, or a quota or file size limit reached.
    Full,
    /// Permission denied.
    Permission,
    /// The file system is read-only.
    ReadOnly,
    /// A file that should be there is not, or is shorter than what was to be read.
    Missing,
    /// A symlink, or something that is no regular file, is where a file of the torrent belongs.
    InTheWay,
    /// The download folder is not the one that it was: a drive that is not mounted any more.
    Vanished,
    /// The file was changed by somebody else.
    Changed,
    /// The job panicked: a bug of ours.
    Panicked,
    /// Any other error of the system.
    Other,
}

/// A disk operation failed: the user's machine, not a peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {} \"{}\": {message}", op.verb(), crate::text::Escaped(&path.to_string_lossy()))]
pub struct DiskError {
    /// What was being done.
    pub op: DiskOp,
    /// To which file.
    pub path: PathBuf,
    /// What kind of failure.
    pub kind: DiskErrorKind,
    /// The system's own words, without a path.
    pub message: String,
}

impl DiskError {
    /// Returns that the download folder of `storage` is another than before.
    pub fn vanished(storage: &Storage) -> Self {
        let message = "the download folder is not the one used before".to_owned();
        let (op, path, kind) = (DiskOp::Open, storage.root.clone(), DiskErrorKind::Vanished);
        Self { op, path, kind, message }
    }
}

impl DiskErrorKind {
    /// Tells whether a read that fails so leaves hope for what else there is to read: a bad sector,
    /// a file that may not be read or was changed meanwhile.
    pub const fn is_of_one_place(self) -> bool {
        matches!(self, Self::Permission | Self::Changed | Self::Other)
    }
}

impl DiskOp {
    /// Returns the verb for messages: "cannot VERB PATH".
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::CreateFolder => "create folder",
            Self::Read => "read",
            Self::Write => "write",
            Self::SetLength => "set the length of",
            Self::Stat => "look at",
            Self::Reserve => "reserve space for",
            Self::Remove => "remove",
            Self::Sync => "sync",
            Self::Rename => "replace",
        }
    }
}
