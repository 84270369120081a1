//! Moves finished data to another folder: by renaming it where that is one file system, else by
//! copying, checking the copy against the torrent's hashes, and only then removing what it came
//! from.
//!
//! **Invariant:** at any time all of the data is whole in one of the two places, and nothing that
//! was at the new one is overwritten.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use swarmloop::client::Selection;
use swarmloop::disk::job::Storage;
use swarmloop::id::PieceIndex;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::reactor::files::Files;

use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::verify::storage;

/// Bytes that are copied or hashed at a time.
const CHUNK_LEN: usize = 1 << 20;

/// The most files of the copy that are open at a time while it is checked, one after the other.
const OPEN_FILES: usize = 8;

/// Moves the wanted files of a torrent from one folder to another. `to` is made if it is not there.
///
/// After a failure everything is where it was.
pub(crate) fn relocate(
    metainfo: &Metainfo,
    selection: &Selection,
    from: &Path,
    to: &Path,
) -> Result<(), Failure> {
    let storage = storage(metainfo, from);
    let names = names(&storage);
    let place = to.join(&names[0]);
    let failed = |error: &io::Error| {
        let (from, to) = (escaped_path(&from.join(&names[0])), escaped_path(to));
        Failure::io(&format!("move '{from}' to '{to}'"), error)
    };
    fs::create_dir_all(to).map_err(|error| failed(&error))?;
    if fs::symlink_metadata(&place).is_ok() {
        return Err(in_the_way(&place));
    }
    match rename_new(&from.join(&names[0]), &place) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let copy = Copy { storage: &storage, selection, from, to };
            return copy.perform(&names).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => in_the_way(&place),
                _ => failed(&error),
            });
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(in_the_way(&place)),
        Err(error) => return Err(failed(&error)),
    }
    for name in &names[1..] {
        rename_new(&from.join(name), &to.join(name)).map_err(|error| failed(&error))?;
    }
    sync_folder(to).and_then(|()| sync_folder(from)).map_err(|error| failed(&error))
}

/// Returns the names in the download folder that are the torrent's: its file or top folder, and
/// where it keeps what belongs to files that are not wanted, if that is there.
fn names(storage: &Storage) -> Vec<OsString> {
    let first = storage.layout.files().iter().find(|file| !file.pad);
    let top = first.and_then(|file| file.path.components().next());
    let top = top.map_or(OsStr::new("."), Component::as_os_str).to_owned();
    let [named, hashed] = storage.parts_names().map(PathBuf::into_os_string);
    let parts = if named == hashed { vec![named] } else { vec![named, hashed] };
    let is_there = |name: &OsString| fs::symlink_metadata(storage.root.join(name)).is_ok();
    [top].into_iter().chain(parts.into_iter().filter(is_there)).collect()
}

/// Something is where the data is to be moved to.
fn in_the_way(place: &Path) -> Failure {
    let message = format!("'{}' exists already; the data stays where it is", escaped_path(place));
    Failure::new(Exit::Disk, "move_in_the_way", message).hint("nothing is overwritten")
}

/// Renames a file or folder to what is not there yet.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can promise not to replace.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A move from one file system to another.
struct Copy<'a> {
    storage: &'a Storage,
    selection: &'a Selection,
    from: &'a Path,
    to: &'a Path,
}

impl Copy<'_> {
    fn perform(&self, names: &[OsString]) -> io::Result<()> {
        let mut hidden = OsString::from(".");
        hidden.push(&names[0]);
        hidden.push(".moving");
        let copy = self.to.join(hidden);
        remove_old(&copy)?;
        fs::create_dir(&copy)?;
        let copied = self.copy_into(&copy, names).and_then(|()| self.check(&copy));
        let placed = copied.and_then(|()| {
            names.iter().try_for_each(|name| rename_new(&copy.join(name), &self.to.join(name)))
        });
        if let Err(error) = placed {
            // What is left of the copy is nobody's; the data is where it was.
            let _ = remove_old(&copy);
            return Err(error);
        }
        fs::remove_dir(&copy)?;
        sync_folder(self.to)?;
        self.remove_source(names)
    }

    /// Returns the files that are wanted and there, by their paths below a download folder.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.storage.layout.files().iter().enumerate();
        let wanted = files.filter(|(index, file)| !file.pad && self.selection.wants(*index));
        wanted.map(|(_, file)| file.path.as_path())
    }

    fn copy_into(&self, copy: &Path, names: &[OsString]) -> io::Result<()> {
        let parts = names[1..].iter().map(Path::new);
        let mut folders = std::collections::BTreeSet::new();
        for path in self.files().chain(parts) {
            let target = copy.join(path);
            let folder = target.parent().unwrap_or(copy);
            fs::create_dir_all(folder)?;
            let above = folder.ancestors().take_while(|folder| folder.starts_with(copy));
            folders.extend(above.map(Path::to_owned));
            copy_file(&self.from.join(path), &target)?;
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Checks the copy against the torrent's hashes, as far as pieces are of wanted files alone.
    fn check(&self, copy: &Path) -> io::Result<()> {
        let storage = Storage { root: copy.to_owned(), ..self.storage.with_parts(None) };
        let files = Files::new(OPEN_FILES);
        let mut chunk = vec![0; CHUNK_LEN];
        for index in 0..storage.layout.piece_count() {
            let piece = PieceIndex(index);
            let len = storage.layout.piece_len(piece);
            let mut spans = storage.layout.spans(piece, 0, len);
            if !spans.all(|span| span.pad || self.selection.wants(span.file)) {
                continue;
            }
            let mut sha1 = Sha1::new();
            let mut begin = 0;
            while begin < len {
                let part = (len - begin).min(u32::try_from(CHUNK_LEN).expect("1 MiB"));
                let bytes = &mut chunk[..usize::try_from(part).expect("at most 1 MiB")];
                let read = files.read_into(&storage, piece, begin, bytes);
                read.map_err(|error| io::Error::other(error.to_string()))?;
                sha1.update(bytes);
                begin += part;
            }
            if <[u8; 20]>::from(sha1.finalize()) != storage.expected(piece) {
                let message = format!("the copy of piece {index} does not have its hash");
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            }
        }
        Ok(())
    }

    /// Removes what was copied, and the folders that are empty then.
    fn remove_source(&self, names: &[OsString]) -> io::Result<()> {
        for path in self.files().chain(names[1..].iter().map(Path::new)) {
            fs::remove_file(self.from.join(path))?;
            let above = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
            for folder in above {
                // One that holds something else stays.
                if fs::remove_dir(self.from.join(folder)).is_err() {
                    break;
                }
            }
        }
        sync_folder(self.from)
    }
}

/// Copies a file to what is not there yet, down to the disk, and makes sure that what can be read
/// back is what was read.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = File::options().read(true).write(true).create_new(true).open(to)?;
    let read = pour(&mut source, |bytes| copy.write_all(bytes))?;
    let metadata = source.metadata()?;
    copy.set_permissions(metadata.permissions())?;
    copy.set_times(FileTimes::new().set_modified(metadata.modified()?))?;
    copy.sync_all()?;
    let written = pour(&mut File::open(to)?, |_| Ok(()))?;
    if read == written {
        return Ok(());
    }
    let message = format!("the copy of '{}' is not what it was", escaped_path(from));
    Err(io::Error::new(ErrorKind::InvalidData, message))
}

/// Reads a file to its end and returns its hash.
fn pour(from: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<[u8; 20]> {
    let mut chunk = vec![0; CHUNK_LEN];
    let mut sha1 = Sha1::new();
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(sha1.finalize().into()),
            Ok(len) => {
                sha1.update(&chunk[..len]);
                take(&chunk[..len])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes what an earlier move has left, which was killed.
fn remove_old(copy: &Path) -> io::Result<()> {
    match fs::remove_dir_all(copy) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::tests::metainfo;

    const FILES: [(&str, u64, bool); 4] =
        [("top/a", 15, false), ("pad", 5, true), ("top/in/b", 10, false), ("top/empty", 0, false)];

    /// A torrent of [`FILES`] whose data is in `from`.
    fn torrent(from: &Path) -> Metainfo {
        let mut torrent = metainfo(&FILES);
        let mut data = Vec::new();
        for (path, len, pad) in FILES {
            let len = usize::try_from(len).expect("small");
            let bytes: Vec<u8> = if pad { vec![0; len] } else { vec![b'x'; len] };
            if !pad {
                let path = from.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(path, &bytes).expect("written");
            }
            data.extend(bytes);
        }
        let piece_len = usize::try_from(torrent.piece_len).expect("small");
        let hashes: Vec<u8> = data.chunks(piece_len).flat_map(Sha1::digest).collect();
        torrent.pieces = hashes.into();
        torrent
    }

    fn listing(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                found.push(name);
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort_unstable();
        found
    }

    const ALL: [&str; 5] = ["top", "top/a", "top/empty", "top/in", "top/in/b"];

    #[test]
    fn a_move_within_a_file_system_takes_the_hidden_parts_along() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("new/to"));
        let torrent = torrent(&from);
        fs::write(from.join(".top.parts"), "parts").expect("written");
        fs::write(from.join("other"), "other").expect("written");
        relocate(&torrent, &Selection::all(), &from, &to).expect("moved");
        assert_eq!(listing(&to), [&[".top.parts"], &ALL[..]].concat());
        assert_eq!(listing(&from), ["other"]);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        fs::create_dir_all(to.join("top")).expect("made");
        let failure = relocate(&torrent, &Selection::all(), &from, &to).expect_err("in the way");
        assert_eq!((failure.exit, failure.code), (Exit::Disk, "move_in_the_way"));
        assert!(failure.message.ends_with("to/top' exists already; the data stays where it is"));
        assert_eq!(listing(&from), ALL);
        assert_eq!(listing(&to), ["top"]);
    }

    /// Moves by copying, whatever the file systems are.
    fn copy(torrent: &Metainfo, from: &Path, to: &Path) -> io::Result<()> {
        let storage = storage(torrent, from);
        fs::create_dir_all(to).expect("made");
        let copy = Copy { storage: &storage, selection: &Selection::all(), from, to };
        copy.perform(&names(&storage))
    }

    #[test]
    fn a_copy_is_checked_before_the_source_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        fs::write(from.join("top/foreign"), "kept").expect("written");
        // What a killed move has left.
        fs::create_dir_all(to.join(".top.moving/top")).expect("made");
        copy(&torrent, &from, &to).expect("moved");
        assert_eq!(listing(&to), ALL);
        assert_eq!(listing(&from), ["top", "top/foreign"]);
    }

    #[test]
    fn a_copy_with_wrong_hashes_goes_and_the_source_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        fs::write(from.join("top/in/b"), "yyyyyyyyyy").expect("written");
        let error = copy(&torrent, &from, &to).expect_err("wrong bytes");
        assert!(error.to_string().starts_with("the copy of piece "), "{error}");
        assert_eq!(listing(&from), ALL);
        assert!(listing(&to).is_empty());
    }
}
