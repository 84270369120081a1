//! How much room there is, and setting some of it apart.

use std::os::fd::AsFd;
use std::path::{Path, absolute};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskOp, Space, Storage};
use crate::disk::layout::LayoutFile;
use crate::id::PieceIndex;

use super::Files;
use super::cache::Access;
use super::fault::failed;

impl Files {
    /// Returns how many bytes an unprivileged writer may still take where `storage` is or will be,
    /// and how many the files of `wanted` do not take yet; and first, takes what `reserve` needs.
    ///
    /// Makes nothing unless something is to be reserved.
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
        wanted: &[usize],
        reserve: Option<PieceIndex>,
    ) -> Result<Space, DiskError> {
        if let Some(piece) = reserve {
            let spans = storage.spans(piece, 0, storage.layout.piece_len(piece));
            for span in spans.filter(|span| !span.pad) {
                let file = self.open(storage, span.file, Access::Write)?;
                set_apart(&*file, span.offset, span.len)
                    .map_err(|errno| failed(DiskOp::Reserve, storage.path_of(span.file), errno))?;
            }
        }
        let files = wanted.iter().map(|index| &storage.layout.files()[*index]);
        let lacking = files.map(|file| file.len.saturating_sub(taken(storage, file))).sum();
        Ok(Space { free: free(&storage.root), lacking })
    }
}

/// Returns how many bytes a file takes on its disk, none if it is not there.
fn taken(storage: &Storage, file: &LayoutFile) -> u64 {
    let stat = rustix::fs::lstat(storage.root.join(&file.path));
    // The unit is 512 bytes, whatever the file system's blocks are.
    stat.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512))
}

/// Takes the blocks of a part of a file; what is there stays as it is. A file system that cannot is
/// none that has no room: false then.
pub(super) fn set_apart(file: impl AsFd, offset: u64, len: u64) -> Result<bool, Errno> {
    loop {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), offset, len) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            done => return done.map(|()| true),
        }
    }
}

/// Returns the bytes that are free on the file system of a folder, which need not be there yet.
fn free(folder: &Path) -> Option<u64> {
    let folder = absolute(folder).ok()?;
    let system = folder.ancestors().find_map(|there| rustix::fs::statvfs(there).ok())?;
    // Some have no such figure, and say nothing of anything.
    let known = system.f_blocks > 0;
    known.then(|| system.f_bavail.saturating_mul(system.f_frsize))
}
