//! Payload to where a power cut cannot reach it: files, and the folders that name them.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Advice, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskOp, OnDisk, Storage};
use crate::disk::state::Sync;

use super::Files;
use super::cache::Access;
use super::fault::failed;
use super::open::{links, open_parent};

impl Files {
    /// Makes the files that the job's pieces touch durable, and the folders that lead to those that
    /// were not seen to before; returns how they are afterwards.
    ///
    /// Writes that end before it begins are covered.
    ///
    /// # Errors
    ///
    /// Any. Bytes that the system could not write may still be in memory, marked as written: they
    /// are dropped, so that whoever reads them next is told what is on the disk.
    pub fn sync(&self, job: &Sync) -> Result<Vec<(usize, Option<OnDisk>)>, DiskError> {
        let storage = &*job.storage;
        let len_of = |piece| storage.layout.piece_len(piece);
        let spans = job.pieces.iter().flat_map(|piece| storage.spans(*piece, 0, len_of(*piece)));
        let files: BTreeSet<usize> = spans.filter(|span| !span.pad).map(|span| span.file).collect();
        let synced = files
            .iter()
            .try_for_each(|index| self.sync_file(storage, *index))
            .and_then(|()| self.sync_folders(storage, &files));
        if let Err(error) = synced {
            self.forget(storage, &files);
            return Err(error);
        }
        let all = 0..=storage.parts_index();
        let looked_at = all.filter(|index| job.look_at_all || files.contains(index));
        looked_at.map(|index| Ok((index, Self::look(storage, index)?))).collect()
    }

    fn sync_file(&self, storage: &Storage, index: usize) -> Result<(), DiskError> {
        let file = self.open(storage, index, Access::Read)?;
        again(|| rustix::fs::fdatasync(&*file))
            .map_err(|errno| failed(DiskOp::Sync, storage.path_of(index), errno))
    }

    /// Makes the names of files durable that have not been since the torrent was opened: a file
    /// that nobody finds again is as lost as one that was never written.
    fn sync_folders(&self, storage: &Storage, files: &BTreeSet<usize>) -> Result<(), DiskError> {
        let mut named = self.named();
        let known = named.entry(storage.torrent).or_default();
        let new: Vec<usize> = files.difference(known).copied().collect();
        drop(named);
        if new.is_empty() {
            return Ok(());
        }
        // The parts file is in the download folder itself.
        let folders: BTreeSet<&Path> = new
            .iter()
            .filter_map(|index| storage.layout.files().get(*index))
            .flat_map(|file| file.path.ancestors().skip(1))
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect();
        // The deepest ones first: what leads to a folder is of use only once the folder is there.
        for folder in folders.into_iter().rev() {
            sync_folder_below(storage, folder)?;
        }
        sync_root(&storage.root)?;
        self.named().entry(storage.torrent).or_default().extend(new);
        Ok(())
    }

    /// Closes files and drops what the system has of them in memory.
    fn forget(&self, storage: &Storage, files: &BTreeSet<usize>) {
        self.close(storage.torrent);
        for index in files {
            // A file that cannot be opened is not read from memory either.
            if let Ok(file) = self.open(storage, *index, Access::Read) {
                let _ = rustix::fs::fadvise(&*file, 0, None, Advice::DontNeed);
            }
        }
    }
}

/// Makes the names in a folder below the download folder durable.
fn sync_folder_below(storage: &Storage, folder: &Path) -> Result<(), DiskError> {
    let path = storage.root.join(folder);
    let (parent, name) = open_parent(storage, folder, Access::Read)?;
    let opened = rustix::fs::openat(&parent, name, READABLE | links(storage), Mode::empty());
    opened
        .and_then(|folder| sync_opened(&folder))
        .map_err(|errno| failed(DiskOp::Sync, path, errno))
}

/// Makes the names in the download folder durable, and its own name: it may be new, with folders
/// above it.
fn sync_root(root: &Path) -> Result<(), DiskError> {
    for folder in root.ancestors() {
        let is_root = folder == root;
        let path = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let synced = rustix::fs::openat(CWD, path, READABLE, Mode::empty())
            .and_then(|folder| sync_opened(&folder));
        match synced {
            Err(errno) if is_root => return Err(failed(DiskOp::Sync, path.to_owned(), errno)),
            // Who may not read a folder has not made one in it.
            _ => {}
        }
    }
    Ok(())
}

fn sync_opened(folder: &OwnedFd) -> Result<(), Errno> {
    match again(|| rustix::fs::fsync(folder)) {
        // Some file systems have no such thing as a folder to sync, and need none.
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        synced => synced,
    }
}

/// Repeats a call that a signal has interrupted.
pub(in crate::reactor) fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Opens folders so that they can be synced, for which a path alone is not enough.
pub(in crate::reactor) const READABLE: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
