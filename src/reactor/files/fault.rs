//! What the system's errors mean for a torrent.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp};

pub(in crate::reactor) fn failed(op: DiskOp, path: PathBuf, errno: Errno) -> DiskError {
    let message = match errno {
        // The system's words for these are about loops and folders, not about what is the matter.
        Errno::LOOP => "a symlink is in the way".to_owned(),
        Errno::NOTDIR => "a symlink or a file is where a folder belongs".to_owned(),
        errno => words(errno),
    };
    DiskError { op, path, kind: kind_of(errno), message }
}

/// Returns what the system calls an error, as the end of a sentence and without its number.
fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

/// A file that is complete is not there any more, or too short.
pub(super) fn gone(path: PathBuf) -> DiskError {
    let message = "it was removed or cut by another program".to_owned();
    DiskError { op: DiskOp::Open, path, kind: DiskErrorKind::Missing, message }
}

/// Sorts the system's errors by what a torrent can do about them.
pub(super) const fn kind_of(errno: Errno) -> DiskErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => DiskErrorKind::Full,
        Errno::ACCESS | Errno::PERM => DiskErrorKind::Permission,
        Errno::ROFS => DiskErrorKind::ReadOnly,
        Errno::NOENT => DiskErrorKind::Missing,
        // ENXIO is what opening a socket, or a pipe that nobody reads, gives.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => DiskErrorKind::InTheWay,
        _ => DiskErrorKind::Other,
    }
}

/// Why bytes stopped moving.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Halt {
    /// A call moved nothing, which for a read means the end of the file.
    Nothing {
        /// Bytes from the start of the file to where it happened.
        offset: u64,
    },
    /// A call failed.
    Failed(Errno),
}

impl Halt {
    pub(super) fn into_error(self, op: DiskOp, path: PathBuf) -> DiskError {
        let (kind, message) = match self {
            Self::Failed(errno) => return failed(op, path, errno),
            Self::Nothing { offset } if op == DiskOp::Read => {
                (DiskErrorKind::Missing, format!("the file ends before byte {offset}"))
            }
            Self::Nothing { .. } => (DiskErrorKind::Other, "nothing was written".to_owned()),
        };
        DiskError { op, path, kind, message }
    }
}
