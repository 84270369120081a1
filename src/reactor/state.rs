//! State files: loaded, saved in place, and the blocks of open pieces beside them.
//!
//! Whatever ends the process, at whatever call, the newest record that was saved is there: a slot
//! is written while the other one stands, and a file that is new, or too small for its record, is
//! made under another name and put in its place when it is whole.

pub mod moved;

use std::fs::File;
use std::io::{BufReader, IoSlice, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp};
use crate::disk::slots::{self, Slot};
use crate::disk::spill;
use crate::disk::state::{Loaded, Restore, Save, Spill};

use super::files::fault::failed;
use super::files::open::{FILE, modified_ns};
use super::files::sync::{READABLE, again};

/// What a user's state files and their folder may be looked at by: the user.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);

/// The longest state file that is read: two slots of the longest record, with their room to grow.
const MAX_STATE_LEN: u64 = 3 * slots::MAX_RECORD_LEN as u64;

/// How much of the blocks of open pieces is read at a time, in bytes.
const READ_LEN: usize = 256 << 10;

/// Returns the newest record of a state file with what belongs to it; `None` if there is none.
///
/// # Errors
///
/// The file is there and cannot be read, or is no regular file.
pub(super) fn load(path: &Path) -> Result<Option<Loaded>, DiskError> {
    let Some((file, saved_ns)) = read_file(path, MAX_STATE_LEN)? else { return Ok(None) };
    let Some(newest) = slots::newest(&file) else { return Ok(None) };
    // Blocks that cannot be read are asked for again.
    let mut head = Vec::new();
    if let Ok(Some((file, _))) = open_file(&spill_path(path)) {
        let read = file.take(spill::MAX_HEAD_LEN as u64).read_to_end(&mut head);
        head.truncate(read.unwrap_or(0));
    }
    let blocks = spill::index(&head, newest.generation);
    let (slot, generation) = (newest.slot, newest.generation);
    Ok(Some(Loaded { slot, generation, record: newest.record.to_vec(), saved_ns, blocks }))
}

/// Writes a record into its slot, or makes the file if there is none that has room for it.
///
/// # Errors
///
/// Any; the other slot is as it was.
pub(super) fn save(path: &Path, job: &Save) -> Result<(), DiskError> {
    write_record(path, job)?;
    if !job.has_blocks {
        // As a rule there is none; and if it stays, its generation says that it means nothing.
        let _ = rustix::fs::unlink(spill_path(path));
    }
    Ok(())
}

fn write_record(path: &Path, job: &Save) -> Result<(), DiskError> {
    let bytes = slots::encode(job.generation, &job.record);
    let opened = again(|| rustix::fs::openat(CWD, path, WRITE, FILE_MODE));
    match opened {
        Ok(file) => {
            let file = File::from(file);
            if let Some(slot_len) = slot_len_of(&file, bytes.len()) {
                let at = job.slot.offset(slot_len);
                return write_at(&file, &bytes, at, path).and_then(|()| sync(&file, path));
            }
            make(path, &bytes, job.slot)
        }
        Err(Errno::NOENT) => make(path, &bytes, job.slot),
        Err(errno) => Err(failed(DiskOp::Open, path.to_owned(), errno)),
    }
}

/// Writes blocks of open pieces beside a state file, over whatever was there.
///
/// # Errors
///
/// Any; what is there then belongs to no record.
pub(super) fn put_aside(path: &Path, job: &Spill) -> Result<(), DiskError> {
    let path = spill_path(path);
    make_folder(&path)?;
    let opened = again(|| rustix::fs::openat(CWD, &path, WRITE | CREATE, FILE_MODE));
    let file = File::from(opened.map_err(|errno| failed(DiskOp::Open, path.clone(), errno))?);
    let payloads = || job.frames.iter().map(crate::wire::frame::Frame::payload);
    let head = spill::encode_head(job.generation, &job.blocks, payloads());
    let mut at = 0;
    for part in std::iter::once(&head[..]).chain(payloads()) {
        write_at(&file, part, at, &path)?;
        at += part.len() as u64;
    }
    sync(&file, &path)?;
    sync_folder_of(&path)
}

/// Reads blocks that were put aside beside a state file; tells whether they are those.
pub(super) fn restore(path: &Path, job: &mut Restore) -> bool {
    let Ok(Some((file, _))) = open_file(&spill_path(path)) else { return false };
    let mut file = BufReader::with_capacity(READ_LEN, file);
    let next = |out: &mut [u8]| file.read_exact(out).is_ok();
    spill::restore(next, job.generation, &job.blocks, &mut job.frames)
}

/// Returns the length of the slots of a state file if it has two that hold `len` bytes each.
fn slot_len_of(file: &File, len: usize) -> Option<u64> {
    let stat = rustix::fs::fstat(file).ok()?;
    let half = u64::try_from(stat.st_size).ok()? / 2;
    let is_ours = FileType::from_raw_mode(stat.st_mode).is_file();
    let fits = half.is_multiple_of(slots::slot_len(0) as u64) && half >= len as u64;
    (is_ours && fits && half > 0).then_some(half)
}

/// Makes a state file with room for two records like this one, and puts it in the place of what is
/// there.
fn make(path: &Path, bytes: &[u8], slot: Slot) -> Result<(), DiskError> {
    make_folder(path)?;
    let new = beside(path, "new");
    let flags = WRITE | CREATE | OFlags::TRUNC;
    let opened = again(|| rustix::fs::openat(CWD, &new, flags, FILE_MODE));
    let file = File::from(opened.map_err(|errno| failed(DiskOp::Open, new.clone(), errno))?);
    let slot_len = slots::slot_len(bytes.len()) as u64;
    reserve(&file, 2 * slot_len, &new)?;
    write_at(&file, bytes, slot.offset(slot_len), &new)?;
    again(|| rustix::fs::fsync(&file)).map_err(|errno| failed(DiskOp::Sync, new.clone(), errno))?;
    rustix::fs::renameat(CWD, &new, CWD, path)
        .map_err(|errno| failed(DiskOp::Rename, path.to_owned(), errno))?;
    sync_folder_of(path)
}

/// Writes `len` zeros to a file that is new, so that all of it can be written when the disk is
/// full: what is only set apart may still need room for where it is.
fn reserve(file: &File, len: u64, path: &Path) -> Result<(), DiskError> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
        write_at(file, &ZEROS[..part], at, path)?;
        at += part as u64;
    }
    Ok(())
}

fn write_at(file: &File, bytes: &[u8], at: u64, path: &Path) -> Result<(), DiskError> {
    let mut done = 0;
    while done < bytes.len() {
        let part = [IoSlice::new(&bytes[done..])];
        let wrote = again(|| rustix::io::pwritev(file, &part, at + done as u64));
        match wrote.map_err(|errno| failed(DiskOp::Write, path.to_owned(), errno))? {
            0 => return Err(failed(DiskOp::Write, path.to_owned(), Errno::IO)),
            moved => done += moved,
        }
    }
    Ok(())
}

fn sync(file: &File, path: &Path) -> Result<(), DiskError> {
    again(|| rustix::fs::fdatasync(file))
        .map_err(|errno| failed(DiskOp::Sync, path.to_owned(), errno))
}

/// Makes the folder that a state file is in, for its user alone.
fn make_folder(path: &Path) -> Result<(), DiskError> {
    let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) else { return Ok(()) };
    let fault = |errno| failed(DiskOp::CreateFolder, folder.to_owned(), errno);
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        std::fs::create_dir_all(above)
            .map_err(|error| fault(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    }
    match rustix::fs::mkdirat(CWD, folder, FOLDER_MODE) {
        Ok(()) | Err(Errno::EXIST) => sync_folder_of(folder),
        Err(errno) => Err(fault(errno)),
    }
}

/// Makes the name of a file durable.
fn sync_folder_of(path: &Path) -> Result<(), DiskError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = again(|| rustix::fs::openat(CWD, folder, READABLE, Mode::empty()))
        .and_then(|opened| again(|| rustix::fs::fsync(&opened)));
    match synced {
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(failed(DiskOp::Sync, folder.to_owned(), errno)),
    }
}

/// Reads a file of at most `max_len` bytes and when it was written; `None` if there is none, or a
/// longer one.
fn read_file(path: &Path, max_len: u64) -> Result<Option<(Vec<u8>, i64)>, DiskError> {
    let Some((file, stat)) = open_file(path)? else { return Ok(None) };
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > max_len {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(max_len).read_to_end(&mut bytes).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        failed(DiskOp::Read, path.to_owned(), errno)
    })?;
    Ok(Some((bytes, modified_ns(&stat))))
}

/// Opens a regular file for reading; `None` if there is none.
fn open_file(path: &Path) -> Result<Option<(File, Stat)>, DiskError> {
    let fault = |op| move |errno| failed(op, path.to_owned(), errno);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | FILE;
    let opened = match again(|| rustix::fs::openat(CWD, path, flags, Mode::empty())) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.map_err(fault(DiskOp::Open))?,
    };
    let stat = rustix::fs::fstat(&opened).map_err(fault(DiskOp::Stat))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        let (op, path, kind) = (DiskOp::Open, path.to_owned(), DiskErrorKind::InTheWay);
        return Err(DiskError { op, path, kind, message: "not a regular file".to_owned() });
    }
    Ok(Some((File::from(opened), stat)))
}

/// Returns where the blocks of open pieces are.
fn spill_path(path: &Path) -> PathBuf {
    beside(path, "open")
}

/// Returns the path of a file that belongs to a state file.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

const WRITE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(FILE);
const CREATE: OFlags = OFlags::CREATE;
