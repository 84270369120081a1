//! Puts out of the way what keeps a download from being completed, and deletes nothing.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::cli::exit::Failure;
use crate::cli::input::escaped_path;
use crate::cli::new_file::in_the_way;
use crate::cli::ui::Ui;

use super::judge::{Judgement, State};

/// What is to be done about a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    /// Rename it.
    Rename { from: PathBuf, to: PathBuf },
    /// Move what is behind its end into another file.
    CutTail { from: PathBuf, len: u64, to: PathBuf },
}

impl Repair {
    /// Returns what helps the file at `path`, if anything does.
    pub(super) fn of(path: PathBuf, judged: &Judgement) -> Option<Self> {
        if judged.is_foreign() {
            let to = beside(&path, ".bad");
            return Some(Self::Rename { from: path, to });
        }
        let to = beside(&path, ".tail");
        (judged.state == State::Long).then_some(Self::CutTail { from: path, len: judged.len, to })
    }

    /// Says what it does, as a thing that was done or would be.
    pub(super) fn tell(&self, is_done: bool, ui: &mut Ui) {
        let (verb, would) = match self {
            Self::Rename { .. } => ("renamed", "would rename"),
            Self::CutTail { .. } => ("moved the end of", "would move the end of"),
        };
        let (Self::Rename { from, to } | Self::CutTail { from, to, .. }) = self;
        let verb = if is_done { verb } else { would };
        ui.say(&format!("{verb} '{}' to '{}'", escaped_path(from), escaped_path(to)));
    }

    /// Does it. Nothing is lost whenever this ends.
    pub(super) fn perform(&self) -> Result<(), Failure> {
        match self {
            Self::Rename { from, to } => {
                let moved = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
                match moved {
                    Err(Errno::EXIST) => Err(in_the_way(to)),
                    Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
                        fs::rename(from, to).map_err(|error| failed("rename", from, &error))
                    }
                    moved => moved.map_err(|error| failed("rename", from, &error.into())),
                }
            }
            Self::CutTail { from, len, to } => cut_tail(from, *len, to),
        }
    }
}

/// Copies what is behind the first `len` bytes into a new file, and cuts it off when the copy is on
/// disk.
fn cut_tail(from: &Path, len: u64, to: &Path) -> Result<(), Failure> {
    if from.is_symlink() {
        let error = io::Error::other("it is a symbolic link");
        return Err(failed("cut", from, &error));
    }
    let mut source = OpenOptions::new()
        .read(true)
        .write(true)
        .open(from)
        .map_err(|error| failed("open", from, &error))?;
    let mut copy = File::create_new(to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => in_the_way(to),
        _ => failed("create", to, &error),
    })?;
    let copied = source
        .seek(SeekFrom::Start(len))
        .and_then(|_| io::copy(&mut Read::by_ref(&mut source), &mut copy))
        .and_then(|_| copy.flush())
        .and_then(|()| copy.sync_all());
    if let Err(error) = copied {
        // It is ours and not whole; the bytes are still where they were.
        let _ = fs::remove_file(to);
        return Err(failed("copy the end of", from, &error));
    }
    source.set_len(len).map_err(|error| failed("cut", from, &error))
}

/// Returns the path of a file beside another, named after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(suffix);
    path.with_file_name(name)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::io(&format!("{what} '{}'", escaped_path(path)), error)
}
