//! How much room there is, and setting some of it apart.

use std::os::fd::AsFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskOp, Storage};
use crate::disk::layout::Span;
use crate::id::PieceIndex;

use super::Files;
use super::cache::Access;
use super::fault::failed;
use super::open::open_root;

impl Files {
    /// Returns how many bytes an unprivileged writer may still take where `storage` is, `None` if
    /// the system does not say; and first, takes what `reserve` needs.
    ///
    /// # Errors
    ///
    /// Those of opening files for writing; [`DiskErrorKind::Full`] if there is no room for the
    /// piece.
    ///
    /// [`DiskErrorKind::Full`]: crate::disk::job::DiskErrorKind::Full
    pub fn space(
        &self,
        storage: &Storage,
        reserve: Option<PieceIndex>,
    ) -> Result<Option<u64>, DiskError> {
        if let Some(piece) = reserve {
            let spans = storage.spans(piece, 0, storage.layout.piece_len(piece));
            for span in spans.filter(|span| !span.pad) {
                let file = self.open(storage, span.file, Access::Write)?;
                set_apart(&*file, span)
                    .map_err(|errno| failed(DiskOp::Reserve, storage.path_of(span.file), errno))?;
            }
        }
        let root = open_root(&storage.root, Access::Write)?;
        Ok(free(root))
    }
}

/// Takes the blocks of a part of a file; what is there stays as it is. A file system that cannot is
/// none that has no room.
fn set_apart(file: impl AsFd, span: Span) -> Result<(), Errno> {
    loop {
        let flags = FallocateFlags::empty();
        match rustix::fs::fallocate(&file, flags, span.offset, span.len) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            done => return done,
        }
    }
}

/// Returns the bytes that are free on the file system of a folder or file.
fn free(at: impl AsFd) -> Option<u64> {
    let system = rustix::fs::fstatvfs(at).ok()?;
    // Some have no such figure, and say nothing of anything.
    let known = system.f_blocks > 0;
    known.then(|| system.f_bavail.saturating_mul(system.f_frsize))
}
