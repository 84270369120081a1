//! What a torrent's folder and files were when they were looked at, so that no other is taken for
//! them: a drive that is not mounted any more, a file that somebody has put there meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Stat};

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp, FolderId, Folders, OnDisk, Storage};
use crate::id::TorrentId;

use super::fault::failed;
use super::open::{modified_ns, open_below};
use super::resident::OpenFile;
use super::sync::again;
use super::{Access, Files, mark};

/// What is known of the torrents that were looked at.
pub(super) type Known = BTreeMap<TorrentId, Seen>;

/// A torrent's folder and files as they were seen last.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None` until there is one.
    root: Option<FolderId>,
    /// By index in the layout.
    files: Vec<SeenFile>,
}

/// A file as it was seen last; all zero if it was not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct SeenFile {
    inode: u64,
    len: u64,
    modified_ns: i64,
    /// Whether it was made here since the first look.
    is_made: bool,
}

/// Returns what the torrent's folders are now.
pub(in crate::reactor) fn folders(storage: &Storage) -> Folders {
    let first = storage.layout.files().first().map(|file| file.path.components());
    let mut names = first.into_iter().flatten();
    // A file without a folder is in the download folder.
    let own = names.next().filter(|_| names.next().is_some());
    let own = own.and_then(|name| folder(&storage.root.join(name)));
    Folders { root: folder(&storage.root), own }
}

fn folder(path: &Path) -> Option<FolderId> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let stat = again(|| rustix::fs::statat(CWD, path, AtFlags::empty())).ok()?;
    Some(FolderId { device: stat.st_dev, inode: stat.st_ino })
}

impl SeenFile {
    fn of(stat: &Stat, is_made: bool) -> Self {
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        Self { inode: stat.st_ino, len, modified_ns: modified_ns(stat), is_made }
    }
}

impl From<&OnDisk> for SeenFile {
    fn from(there: &OnDisk) -> Self {
        let OnDisk { inode, len, modified_ns, .. } = *there;
        Self { inode, len, modified_ns, is_made: false }
    }
}

impl Files {
    /// Returns what [`Files::stat`] does, and remembers it: the torrent's folder and files are held
    /// to it until the torrent is closed.
    ///
    /// # Errors
    ///
    /// Those of [`Files::stat`].
    pub fn look_at(&self, storage: &Storage) -> Result<Vec<Option<OnDisk>>, DiskError> {
        let files = Self::stat(storage)?;
        self.remember(storage, &files);
        Ok(files)
    }

    pub(super) fn remember(&self, storage: &Storage, files: &[Option<OnDisk>]) {
        let files =
            files.iter().map(|file| file.as_ref().map_or_else(Default::default, Into::into));
        let seen = Seen { root: folder(&storage.root), files: files.collect() };
        self.known().insert(storage.torrent, seen);
    }

    /// Remembers a file that was made otherwise than by opening it.
    pub(super) fn remember_made(&self, storage: &Storage, index: usize) {
        let stat = rustix::fs::lstat(storage.path_of(index));
        if let (Ok(stat), Some(seen)) = (stat, self.known().get_mut(&storage.torrent))
            && let Some(file) = seen.files.get_mut(index)
        {
            *file = SeenFile::of(&stat, true);
        }
    }

    /// Tells whether the file with this index and inode was made here, not by another program.
    pub(super) fn has_made(&self, storage: &Storage, index: usize, inode: u64) -> bool {
        let known = self.known();
        let file = known.get(&storage.torrent).and_then(|seen| seen.files.get(index));
        file.is_some_and(|file| file.is_made && file.inode == inode)
    }

    /// Opens a file of the layout that is the one it was; for [`Access::Write`], one that may be
    /// written to.
    pub(super) fn open_known(
        &self,
        storage: &Storage,
        index: usize,
        access: Access,
    ) -> Result<File, DiskError> {
        // One at a time, so that whoever finds a file that was just made knows by whom.
        let _turn = (access == Access::Write)
            .then(|| self.opening.lock().unwrap_or_else(PoisonError::into_inner));
        self.check_root(storage)?;
        let spec = &storage.layout.files()[index];
        let (file, is_made) = open_below(storage, spec, access)?;
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno| failed(DiskOp::Stat, storage.path_of(index), errno))?;
        if is_made {
            self.was_made(storage, index);
        }
        let is_ours = is_made || mark::is_on(storage, spec);
        let mut known = self.known();
        if let Some(Seen { root, files }) = known.get_mut(&storage.torrent) {
            if root.is_none() {
                *root = folder(&storage.root);
            }
            let before = &mut files[index];
            if access == Access::Write && !storage.rules.overwrite && !is_ours {
                let fault = match before.inode {
                    0 => Some("a file has appeared in its place"),
                    inode if inode != stat.st_ino => Some("another file is in its place"),
                    _ if stat.st_nlink > 1 => Some("it has another name, a hard link"),
                    _ => None,
                };
                if let Some(fault) = fault {
                    return Err(in_the_way(storage.path_of(index), fault));
                }
            }
            if storage.writable || before.inode == 0 {
                let is_made = is_made || before.is_made && before.inode == stat.st_ino;
                *before = SeenFile::of(&stat, is_made);
            }
        }
        drop(known);
        Ok(file)
    }

    /// Asks, now and then, whether a file that is open is still there, and the one it was.
    pub(super) fn look_again(
        &self,
        storage: &Storage,
        index: usize,
        file: &OpenFile,
    ) -> Result<(), DiskError> {
        if !file.is_look_due() {
            return Ok(());
        }
        self.check_root(storage)?;
        let path = || storage.path_of(index);
        let stat = rustix::fs::fstat(file).map_err(|errno| failed(DiskOp::Stat, path(), errno))?;
        if stat.st_nlink == 0 {
            if let Some(seen) = self.known().get_mut(&storage.torrent).filter(|_| !storage.writable)
            {
                // Whatever is there next is what it is held to.
                seen.files[index] = SeenFile::default();
            }
            let message = "it was removed by another program".to_owned();
            let (op, kind) = (DiskOp::Open, DiskErrorKind::Missing);
            return Err(DiskError { op, path: path(), kind, message });
        }
        if !storage.writable
            && let Some(before) =
                self.known().get_mut(&storage.torrent).and_then(|seen| seen.files.get_mut(index))
            && *before != SeenFile::of(&stat, false)
        {
            // From now on it is held to what it has become.
            *before = SeenFile::of(&stat, false);
            let message = "it was changed by another program".to_owned();
            let (op, kind) = (DiskOp::Read, DiskErrorKind::Changed);
            return Err(DiskError { op, path: path(), kind, message });
        }
        file.looked();
        Ok(())
    }

    /// Fails if the download folder is not the one that it was.
    pub(super) fn check_root(&self, storage: &Storage) -> Result<(), DiskError> {
        let before = self.known().get(&storage.torrent).and_then(|seen| seen.root);
        if before.is_none() || folder(&storage.root) == before {
            return Ok(());
        }
        Err(DiskError::vanished(storage))
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_the_way(path: PathBuf, message: &str) -> DiskError {
    let (op, kind) = (DiskOp::Open, DiskErrorKind::InTheWay);
    DiskError { op, path, kind, message: message.to_owned() }
}
