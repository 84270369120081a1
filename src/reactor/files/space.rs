//! How much room there is, and setting some of it apart.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf, absolute};
use std::process;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp, Space, Storage};
use crate::disk::layout::LayoutFile;
use crate::id::PieceIndex;

use super::Files;
use super::cache::Access;
use super::fault::failed;
use super::open::FILE;
use super::sync::{again, or_here};

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

    /// Tries whether what is not there of the `wanted` files can be made, so that a place that
    /// takes nothing is known before anything is asked for: makes the like beside it, and takes
    /// that away again. Files whose own folders are there are not tried.
    ///
    /// # Errors
    ///
    /// Those of making it, told of what would have been made; a want of space is none.
    pub fn try_to_make(storage: &Storage, wanted: &[usize]) -> Result<(), DiskError> {
        let Some((op, path)) = first_missing(storage, wanted) else { return Ok(()) };
        let beside = path.ancestors().skip(1).find(|folder| or_here(folder).exists());
        let Some(beside) = beside else { return Ok(()) };
        let tried = beside.join(format!(".swarmloop-{}.tmp", process::id()));
        let made = match op {
            DiskOp::CreateFolder => make_and_remove_folder(&tried),
            _ => make_and_remove_file(&tried),
        };
        let errno = match made {
            // If it is there another thread is trying the same.
            Ok(()) | Err(Errno::EXIST) => return Ok(()),
            Err(errno) => errno,
        };
        let error = failed(op, path, errno);
        match error.kind {
            DiskErrorKind::Full => Ok(()),
            // The folder is there: it is its file system, such as /proc, that has no others.
            DiskErrorKind::Missing => Err(DiskError { kind: DiskErrorKind::ReadOnly, ..error }),
            _ => Err(error),
        }
    }
}

fn make_and_remove_folder(path: &Path) -> Result<(), Errno> {
    again(|| rustix::fs::mkdir(path, Mode::RWXU))?;
    // It was possible, that is all; nor does anything depend on its being gone.
    let _ = rustix::fs::rmdir(path);
    Ok(())
}

fn make_and_remove_file(path: &Path) -> Result<(), Errno> {
    let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    again(|| rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)).map(drop)?;
    // As above.
    let _ = rustix::fs::unlink(path);
    Ok(())
}

/// Returns what would be made first for the `wanted` files, and how: the download folder, the
/// torrent's own, or a file in the former.
fn first_missing(storage: &Storage, wanted: &[usize]) -> Option<(DiskOp, PathBuf)> {
    if !or_here(&storage.root).exists() {
        return Some((DiskOp::CreateFolder, storage.root.clone()));
    }
    let of_file = |index: &usize| {
        let mut names = storage.layout.files().get(*index)?.path.components();
        let top = storage.root.join(names.next()?);
        let op = if names.next().is_some() { DiskOp::CreateFolder } else { DiskOp::Open };
        top.symlink_metadata().is_err().then_some((op, top))
    };
    wanted.iter().find_map(of_file)
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
