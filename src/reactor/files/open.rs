//! Opening files of a torrent below its download folder, name by name.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::disk::job::{Alloc, DiskError, DiskErrorKind, DiskOp, OnDisk, Storage};
use crate::disk::layout::LayoutFile;

use super::cache::Access;
use super::fault::failed;
use super::mark;
use super::space::set_apart;
use super::sync::again;
use super::sync::make_root;

/// Opens a file of a torrent; for [`Access::Write`], makes it and its folders if need be. Tells
/// whether it was made.
pub(super) fn open_below(
    storage: &Storage,
    file: &LayoutFile,
    access: Access,
) -> Result<(File, bool), DiskError> {
    let path = storage.root.join(&file.path);
    let (folder, name) = open_parent(storage, &file.path, access)?;
    let open = |flags| {
        let flags = FILE | flags | links(storage);
        again(|| rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666)))
    };
    let mut is_made = false;
    let opened = match access {
        Access::Read => open(OFlags::RDONLY),
        Access::Write => match open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            Ok(made) => {
                mark::put_on(storage, &made);
                if let Err(error) = allocate(storage, file, &made, &path) {
                    // Empty and ours: as if it had never been made.
                    let _ = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
                    return Err(error);
                }
                is_made = true;
                Ok(made)
            }
            Err(Errno::EXIST) => open(OFlags::RDWR),
            Err(errno) => Err(errno),
        },
    };
    let opened = opened.map_err(|errno| failed(DiskOp::Open, path.clone(), errno))?;
    let stat =
        rustix::fs::fstat(&opened).map_err(|errno| failed(DiskOp::Stat, path.clone(), errno))?;
    regular_len(&stat, path)?;
    Ok((File::from(opened), is_made))
}

/// Gives a file that was just made its length or its space, as the user wants it.
fn allocate(
    storage: &Storage,
    file: &LayoutFile,
    made: &OwnedFd,
    path: &Path,
) -> Result<(), DiskError> {
    let reserved = match storage.rules.alloc {
        _ if file.len == 0 => return Ok(()),
        Alloc::None => return Ok(()),
        Alloc::Sparse => false,
        Alloc::Full => set_apart(made, 0, file.len)
            .map_err(|errno| failed(DiskOp::Reserve, path.to_owned(), errno))?,
    };
    if !reserved {
        // Without it the file grows as pieces arrive: a file that may not be so long says so then.
        let _ = again(|| rustix::fs::ftruncate(made, file.len));
    }
    Ok(())
}

/// Returns what there is of a file, its mark left out; `None` if it or a folder on the way to it is
/// not there.
pub(super) fn on_disk(storage: &Storage, file: &LayoutFile) -> Result<Option<OnDisk>, DiskError> {
    let (folder, name) = match open_parent(storage, &file.path, Access::Read) {
        Ok(found) => found,
        Err(error) if error.kind == DiskErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = storage.root.join(&file.path);
    let links = if storage.writable { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    let stat = match again(|| rustix::fs::statat(&folder, name, links)) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(DiskOp::Stat, path, errno)),
    };
    Ok(Some(found(&stat, regular_len(&stat, path)?)))
}

/// Puts together what the system says of a file of `len` bytes; whose it is, it does not know.
pub(super) fn found(stat: &Stat, len: u64) -> OnDisk {
    let (inode, device) = (stat.st_ino, stat.st_dev);
    OnDisk { len, modified_ns: modified_ns(stat), inode, device, ours: false }
}

/// Returns when a file was written last, in nanoseconds since 1970.
pub(in crate::reactor) fn modified_ns(stat: &Stat) -> i64 {
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Returns a regular file's length; everything else is in the way.
pub(super) fn regular_len(stat: &Stat, path: PathBuf) -> Result<u64, DiskError> {
    if FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(u64::try_from(stat.st_size).unwrap_or(0));
    }
    let message = "not a regular file".to_owned();
    Err(DiskError { op: DiskOp::Open, path, kind: DiskErrorKind::InTheWay, message })
}

/// Opens the folder that a file is in and returns it with the file's name.
pub(super) fn open_parent<'a>(
    storage: &Storage,
    file: &'a Path,
    access: Access,
) -> Result<(OwnedFd, &'a OsStr), DiskError> {
    let mut folder = open_root(&storage.root, access)?;
    let mut path = storage.root.clone();
    let mut names = file.components();
    let name = plain_name(names.next_back(), file)?;
    for component in names {
        let step = plain_name(Some(component), file)?;
        path.push(step);
        folder = open_folder(&folder, step, &path, FOLDER | links(storage), access)?;
    }
    Ok((folder, name))
}

/// Lets through only a name that stays below the folder it is looked up in. The metainfo parser
/// refuses all others; this is the second lock on that door.
pub(super) fn plain_name<'a>(
    component: Option<Component<'a>>,
    path: &Path,
) -> Result<&'a OsStr, DiskError> {
    if let Some(Component::Normal(name)) = component {
        return Ok(name);
    }
    let message = "not a path of plain names".to_owned();
    let (op, path) = (DiskOp::Open, path.to_owned());
    Err(DiskError { op, path, kind: DiskErrorKind::Other, message })
}

/// Opens the download folder, through symlinks if the user has made it one.
pub(super) fn open_root(root: &Path, access: Access) -> Result<OwnedFd, DiskError> {
    let open = || again(|| rustix::fs::openat(CWD, root, FOLDER, Mode::empty()));
    let opened = match open() {
        Err(Errno::NOENT) if access == Access::Write => {
            make_root(root)?;
            open()
        }
        opened => opened,
    };
    opened.map_err(|errno| failed(DiskOp::Open, root.to_owned(), errno))
}

/// Says what becomes of symlinks below the download folder: a torrent that may write follows none;
/// a pure seed may be kept together by links, for it can neither be led astray nor serve a byte
/// that the torrent's hashes do not promise.
pub(super) fn links(storage: &Storage) -> OFlags {
    if storage.writable { OFlags::NOFOLLOW } else { OFlags::empty() }
}

/// Opens one folder in another.
pub(super) fn open_folder(
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
    flags: OFlags,
    access: Access,
) -> Result<OwnedFd, DiskError> {
    let open = || again(|| rustix::fs::openat(parent, name, flags, Mode::empty()));
    let opened = match open() {
        Err(Errno::NOENT) if access == Access::Write => {
            match again(|| rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777))) {
                // Another thread was faster.
                Ok(()) | Err(Errno::EXIST) => open(),
                Err(errno) => return Err(failed(DiskOp::CreateFolder, path.to_owned(), errno)),
            }
        }
        opened => opened,
    };
    opened.map_err(|errno| failed(DiskOp::Open, path.to_owned(), errno))
}

/// Opens folders for nothing but walking through them, so search permission is enough.
pub(super) const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens files. Without `NONBLOCK` a named pipe in the way would block the thread for good; on
/// regular files it means nothing.
pub(in crate::reactor) const FILE: OFlags =
    OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
