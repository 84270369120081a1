//! The payload: which files, how long, in which order (BEP 3, 47).

use std::fmt;

use super::error::broken;
use super::path::{self, TorrentPath};
use super::{MetainfoError, MetainfoFile, Notes, Problem, dict, int, list};
use crate::proto::bencode::{Dict, Value};

/// Bytes of payload at most, 256 TiB: what libtorrent accepts, and far from where sums overflow.
pub const MAX_TOTAL_LEN: u64 = 1 << 48;

/// Reads the files of `info`, whose checked `name` is given.
///
/// `files` wins over `length`, as in libtorrent. Pad files are known by their `attr` only (BEP 47),
/// not by a path below `.pad`: anybody may name a file so, and its bytes are then real.
///
/// A symlink (BEP 47) has no bytes of its own and is left out. If one claims a length, then its
/// bytes are in the payload for every client that knows no symlinks: it is kept as the ordinary
/// file that those see, since only bytes that are fetched and stored can pass their pieces' hashes.
pub(super) fn read(
    info: Dict<'_, '_>,
    name: &[u8],
    notes: &mut Notes,
) -> Result<Vec<MetainfoFile>, MetainfoError> {
    let mut payload = Payload::default();
    if let Some(files) = info.get(b"files") {
        if info.get(b"length").is_some() {
            notes.push(format_args!("info/length is ignored: there is info/files"));
        }
        for (index, file) in list(Some(files), format_args!("info/files"))?.enumerate() {
            let place = format_args!("info/files/{index}");
            let file = dict(Some(file), place)?;
            if let Some((len, pad)) = payload.admit(file, place, notes)? {
                let path = path::below(name, file, index, notes)?;
                payload.files.push(Entry { index, path, len, pad });
            }
        }
        path::check_collisions(&payload.files, notes)?;
    } else if let Some((len, pad)) = payload.admit(info, format_args!("info"), notes)? {
        payload.files.push(Entry { index: 0, path: TorrentPath::new(name), len, pad });
    }
    if payload.files.iter().all(|file| file.pad || file.len == 0) {
        return Err(broken(format_args!("info"), Problem::NoPayload));
    }
    Ok(payload.files.into_iter().map(Entry::into_file).collect())
}

/// A file that has been read, before its path is compared with the others.
pub(super) struct Entry {
    /// Its position in `info/files`, symlinks counted.
    pub(super) index: usize,
    pub(super) path: TorrentPath,
    pub(super) len: u64,
    pub(super) pad: bool,
}

impl Entry {
    fn into_file(self) -> MetainfoFile {
        MetainfoFile { path: self.path.to_path_buf(), len: self.len, pad: self.pad }
    }
}

#[derive(Default)]
struct Payload {
    files: Vec<Entry>,
    /// Bytes of all files so far; at most [`MAX_TOTAL_LEN`].
    total_len: u64,
}

impl Payload {
    /// Reads `length` and `attr` of a file and counts it; returns its bytes and whether it is a
    /// pad, or nothing for a symlink without bytes.
    fn admit(
        &mut self,
        file: Dict<'_, '_>,
        place: fmt::Arguments<'_>,
        notes: &mut Notes,
    ) -> Result<Option<(u64, bool)>, MetainfoError> {
        let attr = file.get(b"attr").and_then(Value::as_bytes).unwrap_or_default();
        let symlink = attr.contains(&b'l');
        let length = file.get(b"length");
        if symlink && length.is_none_or(|length| length.as_int() == Some(0)) {
            notes.push(format_args!("{place} is a symlink: it is not created"));
            return Ok(None);
        }
        let number = int(length, format_args!("{place}/length"))?;
        let len = u64::try_from(number)
            .map_err(|_| broken(format_args!("{place}/length"), Problem::NegativeLength(number)))?;
        if len > MAX_TOTAL_LEN - self.total_len {
            return Err(broken(format_args!("{place}/length"), Problem::TotalTooLarge));
        }
        self.total_len += len;
        if symlink {
            notes.push(format_args!("{place} is a symlink of {len} bytes: it becomes a file"));
        }
        Ok(Some((len, attr.contains(&b'p') && !symlink)))
    }
}
