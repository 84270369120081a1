//! Payload to where a power cut cannot reach it: files, and the folders that name them.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskOp, OnDisk, Storage};
use crate::disk::state::{Looked, Sync};

use super::Files;
use super::cache::Access;
use super::fault::failed;
use super::known::folders;
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
    pub fn sync(&self, job: &Sync) -> Result<Looked, DiskError> {
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
        let look = |index| {
            let there = Self::look(storage, index)?;
            let is_made = |there: &OnDisk| self.has_made(storage, index, there.inode);
            let there = there.map(|it| OnDisk { ours: it.ours || is_made(&it), ..it });
            Ok((index, there))
        };
        let files = looked_at.map(look);
        Ok(Looked { folders: folders(storage), files: files.collect::<Result<_, DiskError>>()? })
    }

    fn sync_file(&self, storage: &Storage, index: usize) -> Result<(), DiskError> {
        let file = self.open(storage, index, Access::Read)?;
        again(|| rustix::fs::fdatasync(&*file))
            .map_err(|errno| failed(DiskOp::Sync, storage.path_of(index), errno))
    }

    /// Makes the names that lead to files durable: a file that nobody finds again is as lost as one
    /// that was never written.
    pub(super) fn sync_folders(
        &self,
        storage: &Storage,
        files: &BTreeSet<usize>,
    ) -> Result<(), DiskError> {
        // Before they are synced: what is made in one meanwhile is for the next sync.
        let folders = self.take_unsynced(storage, files);
        for folder in &folders {
            let synced = self.sync_folder(storage, folder, files);
            if synced.is_err() {
                let mut named = self.named();
                let known = named.entry(storage.torrent).or_default();
                known.retain(|folder| !folders.contains(folder));
                return synced;
            }
        }
        Ok(())
    }

    /// Returns the folders on the way to files that were not synced since something was made in
    /// them, the deepest first as a rule, and notes that they are.
    ///
    /// A folder that this process sees for the first time may have been made by one that was
    /// killed, so it is among them once.
    pub(super) fn take_unsynced(&self, storage: &Storage, files: &BTreeSet<usize>) -> Vec<PathBuf> {
        let mut named = self.named();
        let known = named.entry(storage.torrent).or_default();
        let on_the_way: BTreeSet<&Path> =
            files.iter().flat_map(|index| folders_of(storage, *index)).collect();
        let unsynced = on_the_way.into_iter().rev().filter(|folder| !known.contains(*folder));
        let unsynced: Vec<PathBuf> = unsynced.map(Path::to_owned).collect();
        known.extend(unsynced.iter().cloned());
        unsynced
    }

    /// Notes that a file was made, and perhaps folders on the way to it.
    pub(super) fn was_made(&self, storage: &Storage, index: usize) {
        let mut named = self.named();
        let Some(known) = named.get_mut(&storage.torrent) else { return };
        for folder in folders_of(storage, index) {
            // One that has been synced was there before, and so was what leads to it.
            if known.remove(folder) {
                break;
            }
        }
    }

    /// Makes the names in a folder durable.
    fn sync_folder(
        &self,
        storage: &Storage,
        folder: &Path,
        files: &BTreeSet<usize>,
    ) -> Result<(), DiskError> {
        let path = storage.root.join(folder);
        let is_above = folder == ABOVE;
        let opened = match folder.file_name().filter(|_| !is_above) {
            Some(_) => {
                let (parent, name) = open_parent(storage, folder, Access::Read)?;
                let flags = READABLE | links(storage);
                again(|| rustix::fs::openat(&parent, name, flags, Mode::empty()))
            }
            // The user may have made the download folder a symlink.
            None => again(|| rustix::fs::openat(CWD, or_here(&path), READABLE, Mode::empty())),
        };
        let synced = match opened {
            Ok(opened) => sync_opened(&opened),
            Err(Errno::ACCESS) if is_above && !is_writable(&path) => {
                // Who may not write there has made nothing in it.
                Ok(())
            }
            // It may be written to and not read, so it cannot be synced by itself.
            Err(Errno::ACCESS) => return self.sync_system(storage, files),
            Err(errno) => Err(errno),
        };
        synced.map_err(|errno| failed(DiskOp::Sync, path, errno))
    }

    /// Makes everything durable that is on the file system of one of these files.
    fn sync_system(&self, storage: &Storage, files: &BTreeSet<usize>) -> Result<(), DiskError> {
        let Some(index) = files.first() else { return Ok(()) };
        let file = self.open(storage, *index, Access::Read)?;
        again(|| rustix::fs::syncfs(&*file))
            .map_err(|errno| failed(DiskOp::Sync, storage.path_of(*index), errno))
    }

    /// Closes files and drops what the system has of them in memory.
    fn forget(&self, storage: &Storage, files: &BTreeSet<usize>) {
        self.named().remove(&storage.torrent);
        let closed = self.lock().remove(storage.torrent);
        drop(closed);
        for index in files {
            // A file that cannot be opened is not read from memory either.
            if let Ok(file) = self.open(storage, *index, Access::Read) {
                let _ = rustix::fs::fadvise(&*file, 0, None, Advice::DontNeed);
            }
        }
    }
}

/// The folder above the download folder, which has its name.
const ABOVE: &str = "..";

/// Returns the folders whose names lead to a file, relative to the download folder: from its own up
/// to the one above the download folder.
fn folders_of(storage: &Storage, index: usize) -> impl Iterator<Item = &Path> {
    // The parts file is in the download folder itself.
    let path = storage.layout.files().get(index).map_or(Path::new(PARTS), |file| &file.path);
    path.ancestors().skip(1).chain(std::iter::once(Path::new(ABOVE)))
}

/// Any name without a folder.
const PARTS: &str = "parts";

/// Makes the download folder, and what is above it as far as that is not there. The folders above
/// are durable afterwards; its own name is when the first of its files is synced.
pub(super) fn make_root(root: &Path) -> Result<(), DiskError> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing = root.ancestors().take_while(is_missing).count();
    std::fs::create_dir_all(root).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        failed(DiskOp::CreateFolder, root.to_owned(), errno)
    })?;
    for folder in root.ancestors().skip(2).take(missing.saturating_sub(1)) {
        let open = || rustix::fs::openat(CWD, or_here(folder), READABLE, Mode::empty());
        let opened = again(open);
        match opened.and_then(|opened| sync_opened(&opened)) {
            // What cannot be opened cannot be synced by itself, and there is no file yet by which
            // all could be.
            Ok(()) | Err(Errno::ACCESS) => {}
            Err(errno) => return Err(failed(DiskOp::Sync, folder.to_owned(), errno)),
        }
    }
    Ok(())
}

/// Returns a path that names the working folder even if it is empty.
pub(super) fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn is_writable(folder: &Path) -> bool {
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, access).is_ok()
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use tempfile::TempDir;

    use super::super::tests::{age, frames, pattern, storage};
    use super::*;
    use crate::disk::job::DiskErrorKind;
    use crate::id::PieceIndex;

    /// A piece.
    const LEN: u64 = 64 << 10;

    fn write(files: &Files, storage: &Storage, piece: u32) -> Result<(), DiskError> {
        files.write_run(storage, PieceIndex(piece), 0, &frames(&pattern(64 << 10)))
    }

    fn job(storage: &Arc<Storage>, pieces: &[u32]) -> Sync {
        let pieces = pieces.iter().map(|piece| PieceIndex(*piece)).collect();
        Sync { storage: Arc::clone(storage), pieces, look_at_all: false }
    }

    #[test]
    fn a_folder_is_synced_once_and_again_when_something_was_made_in_it() {
        let root = TempDir::new().unwrap();
        let lens = [("t/a/1", LEN), ("t/a/2", LEN), ("t/b/3", LEN), ("t/b/4", LEN)];
        let storage = storage(root.path(), &lens);
        let files = Files::new(8);
        let unsynced = |indices: &[usize]| {
            let indices = indices.iter().copied().collect();
            let folders = files.take_unsynced(&storage, &indices);
            let mut folders: Vec<String> =
                folders.iter().map(|folder| folder.display().to_string()).collect();
            folders.sort_unstable();
            folders
        };
        write(&files, &storage, 0).unwrap();
        assert_eq!(unsynced(&[0]), ["", "..", "t", "t/a"]);
        write(&files, &storage, 0).unwrap();
        assert!(unsynced(&[0]).is_empty(), "nothing was made");
        write(&files, &storage, 1).unwrap();
        assert_eq!(unsynced(&[0, 1]), ["t/a"], "a name in a folder that was there");
        write(&files, &storage, 2).unwrap();
        assert_eq!(unsynced(&[0, 2]), ["t", "t/b"], "a folder that was not");
        // Made by a process that has not lived to sync it, for all that this one knows.
        let later = Files::new(8);
        write(&later, &storage, 3).unwrap();
        assert_eq!(later.take_unsynced(&storage, &BTreeSet::from([3])).len(), 4);
    }

    #[test]
    fn folders_that_can_be_written_to_and_not_read_are_no_obstacle() {
        let outer = TempDir::new().unwrap();
        let root = outer.path().join("root");
        let chmod = |mode| {
            for folder in [outer.path().to_owned(), root.clone(), root.join("t")] {
                fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        fs::create_dir_all(root.join("t")).unwrap();
        chmod(0o300);
        let storage = Arc::new(storage(&root, &[("t/a", LEN)]));
        let synced = std::thread::spawn(move || {
            // What an administrator may do does not hold for this thread any more.
            let mut own = capabilities(None).unwrap();
            own.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, own).unwrap();
            assert!(fs::read_dir(&storage.root).is_err(), "it cannot be read");
            let files = Files::new(8);
            write(&files, &storage, 0).unwrap();
            files.sync(&job(&storage, &[0])).map(|looked| looked.files.len())
        });
        let synced = synced.join().unwrap();
        chmod(0o700);
        assert_eq!(synced, Ok(1));
    }

    #[test]
    fn the_folder_is_still_known_after_a_sync_that_failed() {
        let outer = TempDir::new().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        let storage = Arc::new(storage(&root, &[("a", LEN), ("b", LEN)]));
        let files = Files::new(8);
        files.look_at(&storage).unwrap();
        write(&files, &storage, 0).unwrap();
        fs::rename(&root, outer.path().join("unplugged")).unwrap();
        fs::create_dir(&root).unwrap();
        age(&files);
        let error = files.sync(&job(&storage, &[0])).expect_err("it is not there");
        assert_eq!(error.kind, DiskErrorKind::Vanished);
        let error = write(&files, &storage, 1).expect_err("it is not there");
        assert_eq!(error.kind, DiskErrorKind::Vanished);
        assert!(!root.join("b").exists());
    }

    #[test]
    fn only_what_was_made_here_is_ours_after_a_sync() {
        // A file system without extended attributes would say nothing of either.
        let root = TempDir::new().unwrap();
        let storage = Arc::new(storage(root.path(), &[("a", LEN), ("b", LEN), ("c", LEN)]));
        fs::write(root.path().join("a"), "before").unwrap();
        let files = Files::new(8);
        files.look_at(&storage).unwrap();
        write(&files, &storage, 0).unwrap();
        write(&files, &storage, 1).unwrap();
        let unmarked = rustix::fs::removexattr(root.path().join("b"), "user.swarmloop.unfinished");
        let _ = unmarked;
        fs::write(root.path().join("c"), "another program's").unwrap();
        let looked = files.sync(&Sync { look_at_all: true, ..job(&storage, &[0, 1]) }).unwrap();
        let ours = |index: usize| looked.files[index].1.unwrap().ours;
        assert_eq!([ours(0), ours(1), ours(2)], [false, true, false]);
    }

    #[test]
    fn a_download_folder_is_made_with_all_that_leads_to_it() {
        let outer = TempDir::new().unwrap();
        let root = outer.path().join("a/b/c");
        make_root(&root).unwrap();
        make_root(&root).unwrap();
        assert!(root.is_dir());
    }
}
