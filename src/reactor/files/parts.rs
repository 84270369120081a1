//! The parts file on a real disk: found or made, moved out of, removed. What is where in it is
//! [`crate::disk::parts`]'s.
//!
//! A file of its name that does not begin as it should is not ours and is left alone: the parts
//! file then has another name.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp, OnDisk, Storage};
use crate::disk::layout::{LayoutFile, Span};
use crate::disk::parts::PARTS_MAGIC;
use crate::id::PieceIndex;

use super::cache::Access;
use super::fault::failed;
use super::mark;
use super::open::{FILE, found, links, open_below, open_parent, open_root};
use super::resident::OpenFile;
use super::sync::again;
use super::{Files, to_usize};

/// Bytes that are copied at a time.
const COPY_LEN: u64 = 1 << 20;

/// How a torrent's parts file begins.
type Header = [u8; PARTS_MAGIC.len() + 20];

impl Files {
    /// Opens the parts file; for [`Access::Write`], makes it if need be.
    pub(super) fn open_parts(
        &self,
        storage: &Storage,
        access: Access,
    ) -> Result<Arc<OpenFile>, DiskError> {
        let _turn = self.making_parts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (storage.torrent, storage.parts_index());
        if let Some(file) = self.lock().hit(key, access) {
            return Ok(file);
        }
        let file = match find(storage, access)? {
            Some((_, file)) => file,
            None if access == Access::Write => {
                let made = make(storage)?;
                self.was_made(storage, storage.parts_index());
                made
            }
            None => {
                let path = storage.path_of(storage.parts_index());
                return Err(failed(DiskOp::Open, path, Errno::NOENT));
            }
        };
        Ok(self.keep(key, file, access))
    }

    /// Removes the parts file, if there is one.
    pub(super) fn remove_parts(&self, storage: &Storage) -> Result<(), DiskError> {
        let _turn = self.making_parts.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((name, _)) = find(storage, Access::Read)? {
            let folder = open_root(&storage.root, Access::Read)?;
            again(|| rustix::fs::unlinkat(&folder, &name, AtFlags::empty()))
                .map_err(|errno| failed(DiskOp::Remove, storage.root.join(name), errno))?;
        }
        let closed = self.lock().remove_one((storage.torrent, storage.parts_index()));
        drop(closed);
        Ok(())
    }

    /// Creates a file that is in the parts file with what is there of `pieces`, which are right.
    ///
    /// The file appears with all of it or, where the file system knows no files without a name, is
    /// filled in place: a kill in between then costs what has not been copied. Nothing is created
    /// if there is nothing of it.
    ///
    /// # Errors
    ///
    /// Any kind; [`DiskErrorKind::InTheWay`] if a file has come there since it was looked for.
    pub fn carry(
        &self,
        storage: &Storage,
        file: usize,
        pieces: &[PieceIndex],
    ) -> Result<(), DiskError> {
        let layout = &storage.layout;
        let of_piece = |piece: &PieceIndex| {
            let len = layout.piece_len(*piece);
            let parts = layout.spans(*piece, 0, len).zip(storage.spans(*piece, 0, len));
            parts.filter(|(to, from)| to.file == file && from.file == storage.parts_index())
        };
        let moves: Vec<(Span, Span)> = pieces.iter().flat_map(of_piece).collect();
        if moves.is_empty() {
            return Ok(());
        }
        let (spec, path) = (&layout.files()[file], storage.path_of(file));
        let from = self.open(storage, storage.parts_index(), Access::Read)?;
        let (folder, name) = open_parent(storage, &spec.path, Access::Write)?;
        let write = |to: &File| {
            let mut moves = moves.iter();
            moves
                .try_for_each(|(at, there)| copy(from.file(), there.offset, to, at.offset, at.len))
                .and_then(|()| again(|| rustix::fs::fdatasync(to)))
                .map_err(|errno| failed(DiskOp::Write, path.clone(), errno))
        };
        let mut is_named = false;
        if let Some(file) = without_name(&folder) {
            write(&file)?;
            mark::put_on(storage, &file);
            is_named = match give_name(&file, &folder, Path::new(name)) {
                Ok(()) => true,
                Err(Errno::EXIST) => return Err(in_the_way(Errno::EXIST, path)),
                Err(_) => false,
            };
        }
        if !is_named {
            write(&open_below(storage, spec, Access::Write)?.0)?;
        }
        self.remember_made(storage, file);
        self.was_made(storage, file);
        // A folder that cannot be synced keeps the parts file's copy of what it may lose.
        let _ = self.sync_folders(storage, &BTreeSet::from([file]));
        Ok(())
    }
}

/// Returns what there is of the parts file.
pub(super) fn stat(storage: &Storage) -> Result<Option<OnDisk>, DiskError> {
    let Some((name, file)) = find(storage, Access::Read)? else { return Ok(None) };
    let stat = rustix::fs::fstat(&file);
    let stat = stat.map_err(|errno| failed(DiskOp::Stat, storage.root.join(name), errno))?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Some(OnDisk { ours: true, ..found(&stat, len) }))
}

/// Returns the parts file, if there is one, and its name. That of the hash goes first: it is there
/// only if the other name was taken.
fn find(storage: &Storage, access: Access) -> Result<Option<(PathBuf, File)>, DiskError> {
    let folder = match open_root(&storage.root, Access::Read) {
        Ok(folder) => folder,
        Err(error) if error.kind == DiskErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    for name in storage.parts_names().into_iter().rev() {
        let mode = if access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = FILE | mode | links(storage);
        let opened = again(|| rustix::fs::openat(&folder, &name, flags, Mode::empty()));
        match opened {
            Ok(file) => {
                let file = File::from(file);
                if is_ours(storage, &name, &file) {
                    return Ok(Some((name, file)));
                }
            }
            // Whatever is not a file that can be opened is none of ours.
            Err(
                Errno::NOENT
                | Errno::LOOP
                | Errno::ISDIR
                | Errno::NXIO
                | Errno::NAMETOOLONG
                | Errno::ACCESS
                | Errno::PERM,
            ) => {}
            Err(errno) => return Err(failed(DiskOp::Open, storage.root.join(name), errno)),
        }
    }
    Ok(None)
}

/// Makes the parts file under the first of its names that is free.
fn make(storage: &Storage) -> Result<File, DiskError> {
    let folder = open_root(&storage.root, Access::Write)?;
    let mut taken = Errno::EXIST;
    for name in storage.parts_names() {
        let flags = FILE | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let open = || rustix::fs::openat(&folder, &name, flags, Mode::from_raw_mode(0o666));
        match again(open) {
            Ok(file) => {
                mark::put_on(storage, &file);
                let file = File::from(file);
                return match file.write_all_at(&header(storage), 0) {
                    Ok(()) => Ok(file),
                    Err(error) => {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                        Err(failed(DiskOp::Write, storage.root.join(name), errno))
                    }
                };
            }
            Err(errno @ (Errno::EXIST | Errno::NAMETOOLONG)) => taken = errno,
            Err(errno) => return Err(failed(DiskOp::Open, storage.root.join(name), errno)),
        }
    }
    Err(in_the_way(taken, storage.path_of(storage.parts_index())))
}

fn header(storage: &Storage) -> Header {
    let mut header = [0; PARTS_MAGIC.len() + 20];
    let (magic, hash) = header.split_at_mut(PARTS_MAGIC.len());
    magic.copy_from_slice(&PARTS_MAGIC);
    hash.copy_from_slice(&storage.info_hash.0);
    header
}

/// Tells whether a file of the right name is this torrent's parts file: by how it begins or, if it
/// was made and nothing was written to it, by its mark.
fn is_ours(storage: &Storage, name: &Path, file: &File) -> bool {
    let mut begins = [0; PARTS_MAGIC.len() + 20];
    match file.read_at(&mut begins, 0) {
        Ok(0) => {
            let spec = LayoutFile { path: name.to_owned(), len: 0, offset: 0, pad: false };
            mark::is_on(storage, &spec)
        }
        Ok(_) => begins == header(storage),
        Err(_) => false,
    }
}

/// Returns a new file in `folder` that has no name yet; `None` where there is no such thing.
fn without_name(folder: &OwnedFd) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(folder, ".", flags, Mode::from_raw_mode(0o666));
    again(open).map(File::from).ok()
}

/// Gives a file its name, unless another has it.
fn give_name(file: &File, folder: &OwnedFd, name: &Path) -> Result<(), Errno> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, unnamed, folder, name, AtFlags::SYMLINK_FOLLOW)
}

fn in_the_way(errno: Errno, path: PathBuf) -> DiskError {
    if errno != Errno::EXIST {
        return failed(DiskOp::Open, path, errno);
    }
    let message = "another file is in the way".to_owned();
    DiskError { op: DiskOp::Open, path, kind: DiskErrorKind::InTheWay, message }
}

fn copy(from: &File, from_at: u64, to: &File, to_at: u64, len: u64) -> Result<(), Errno> {
    let mut buffer = vec![0; to_usize(len.min(COPY_LEN))];
    let mut done = 0;
    while done < len {
        let part = &mut buffer[..to_usize((len - done).min(COPY_LEN))];
        let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        from.read_exact_at(part, from_at + done).map_err(failed)?;
        to.write_all_at(part, to_at + done).map_err(failed)?;
        done += part.len() as u64;
    }
    Ok(())
}
