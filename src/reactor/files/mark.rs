//! The mark of an unfinished file: an extended attribute that says which torrent it was made for.
//!
//! A download that is killed before a file has its first right piece leaves bytes that look like
//! anybody's. The mark tells the next run that they are its own and may be written over. It goes
//! when the download is complete. Where the file system keeps no such attributes, or the mark was
//! lost on the way, the file counts as foreign: nothing is ever overwritten for want of a mark.

use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fsetxattr, lgetxattr, lremovexattr};

use crate::disk::job::Storage;
use crate::disk::layout::LayoutFile;

/// The attribute's name; its value is the torrent's info-hash.
const NAME: &str = "user.swarmloop.unfinished";

/// Marks a file that was just made.
pub(super) fn put_on(storage: &Storage, file: impl AsFd) {
    // A file system without attributes only costs the comfort described above.
    let _ = fsetxattr(file, NAME, &storage.info_hash.0, XattrFlags::CREATE);
}

/// Tells whether a file was made for this torrent and has not been finished.
pub(super) fn is_on(storage: &Storage, file: &LayoutFile) -> bool {
    let mut value = [0_u8; 20];
    let path = storage.root.join(&file.path);
    lgetxattr(&path, NAME, &mut value[..]) == Ok(value.len()) && value == storage.info_hash.0
}

/// Takes the mark off a file that is complete.
pub(super) fn take_off(storage: &Storage, file: &LayoutFile) {
    // Most files have none: they were there before, or there is no such thing here.
    let _ = lremovexattr(storage.root.join(&file.path), NAME);
}
