//! Moves finished data to another folder: by renaming it where that is one file system and the top
//! folder holds nothing else, else by copying, checking the copy against the torrent's hashes, and
//! only then removing what it came from. Within a file system, a copy is a second name.
//!
//! ```text
//! rename:  state for the new place ─▶ rename ─▶ sync folders ─▶ forget the old state
//! copy:    copy ─▶ sync ─▶ check hashes ─▶ state for the new place ─▶ rename into place
//!          ─▶ sync folder ─▶ remove the source ─▶ forget the old state
//! ```
//!
//! **Invariant:** at any time, whatever kills it, all of the data is whole in one of the two
//! places, nothing that was at the new one is overwritten, and nothing that is not the torrent's is
//! touched: another one may be writing to the same top folder.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use swarmloop::client::Selection;
use swarmloop::disk::job::Storage;
use swarmloop::disk::parts::PARTS_MAGIC;
use swarmloop::id::{InfoHash, PieceIndex};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::reactor::files::Files;
use swarmloop::reactor::state::moved::carry_state;

use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::verify::storage;

/// Bytes that are copied or hashed at a time.
const CHUNK_LEN: usize = 1 << 20;

/// The most files of the copy that are open at a time while it is checked, one after the other.
const OPEN_FILES: usize = 8;

/// A move of the wanted files of a torrent from one folder to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move<'a> {
    pub(crate) metainfo: &'a Metainfo,
    pub(crate) selection: &'a Selection,
    pub(crate) from: &'a Path,
    pub(crate) to: &'a Path,
    /// The torrent's state file for the one folder, and for the other.
    pub(crate) states: Option<(&'a Path, &'a Path)>,
}

impl Move<'_> {
    /// Moves; the folder is made if it is not there. What is returned is a failure after the data
    /// has come to its new place: what was copied is still there, or what belongs to other files.
    ///
    /// After an error everything is where it was.
    pub(crate) fn perform(&self) -> Result<Option<Failure>, Failure> {
        let Self { metainfo, from, to, .. } = *self;
        let storage = Arc::new(storage(metainfo, from));
        let names = names(&storage);
        let place = to.join(&names[0]);
        fs::create_dir_all(to).map_err(|error| self.failed(&error, &names))?;
        // All of them, before the first has moved.
        if let Some(place) = names.iter().map(|name| to.join(name)).find(|it| is_there(it)) {
            return Err(in_the_way(&place));
        }
        let copied = |made| {
            let left = self.copy(&storage).perform(&names, made);
            left.map(|left| left.map(|error| self.left_behind(&error, &names)))
        };
        let left = match is_alone(&storage, from, &names[0]) {
            Ok(true) => match self.rename(&storage, &names) {
                Ok(left) => Ok(left.map(|error| self.unfinished(&error, &names))),
                Err(error) if error.kind() == ErrorKind::CrossesDevices => copied(Made::Copies),
                Err(error) => Err(error),
            },
            Ok(false) => copied(Made::Names),
            Err(error) => Err(error),
        };
        left.map_err(|error| {
            // Nothing came of it, so nothing is to be believed of what is there.
            if let Some((_, new)) = self.states {
                forget(new);
            }
            match error.kind() {
                ErrorKind::AlreadyExists => in_the_way(&place),
                _ => self.failed(&error, &names),
            }
        })
    }

    /// Brings a move to its end that was killed when the data was at its new place already. What it
    /// had not come to before that begins anew with [`Move::perform`].
    pub(crate) fn resume(&self) -> Option<Failure> {
        let storage = Arc::new(storage(self.metainfo, self.from));
        let mut names = names(&storage);
        let copy = self.to.join(self.hidden());
        // What was copied and has not come to its place may be gone from where it was.
        let mut aside = every_name(&storage).split_off(1);
        aside.retain(|name| !names.contains(name) && is_parts_of(&storage, &copy.join(name)));
        names.append(&mut aside);
        if is_there(&copy) {
            let left = self.copy(&storage).finish(&copy, &names).err()?;
            Some(self.left_behind(&left, &names))
        } else if is_there(&self.from.join(&names[0])) || !is_there(self.from) {
            // Nobody was moving: it is in both places, or there is nothing that it could come from.
            None
        } else {
            let left = self.rename_rest(&names).err()?;
            Some(self.unfinished(&left, &names))
        }
    }

    /// Moves within a file system. What is returned is why only the data itself could be moved.
    fn rename(&self, storage: &Arc<Storage>, names: &[OsString]) -> io::Result<Option<io::Error>> {
        // Before the data: a state without data claims nothing, data without a state is hashed.
        self.carry_state(storage, storage);
        rename_new(&self.from.join(&names[0]), &self.to.join(&names[0]))?;
        Ok(self.rename_rest(names).err())
    }

    /// Moves what comes after the data itself, if that is at its new place.
    fn rename_rest(&self, names: &[OsString]) -> io::Result<()> {
        rename_all(&names[1..], self.from, self.to)?;
        sync_folder(self.to).and_then(|()| sync_folder(self.from))?;
        if let Some((old, _)) = self.states {
            forget(old);
        }
        Ok(())
    }

    /// Writes the state for the new place. Without one the data is hashed there, no more.
    fn carry_state(&self, before: &Storage, after: &Arc<Storage>) {
        if let Some((old, new)) = self.states {
            let _ = carry_state(old, new, before, after, self.to);
        }
    }

    fn hidden(&self) -> String {
        hidden(self.metainfo.info_hash)
    }

    fn copy<'a>(&'a self, storage: &'a Arc<Storage>) -> Copy<'a> {
        Copy { plan: self, storage }
    }

    fn failed(&self, error: &io::Error, names: &[OsString]) -> Failure {
        let (from, to) = (escaped_path(&self.from.join(&names[0])), escaped_path(self.to));
        Failure::io(&format!("move '{from}' to '{to}'"), error)
    }

    /// The data is at its new place, and something that goes with it is not.
    fn unfinished(&self, error: &io::Error, names: &[OsString]) -> Failure {
        let (from, to) = (escaped_path(&self.from.join(&names[0])), escaped_path(self.to));
        Failure::io(&format!("end the move of '{from}' to '{to}'"), error)
    }

    fn left_behind(&self, error: &io::Error, names: &[OsString]) -> Failure {
        let from = escaped_path(&self.from.join(&names[0]));
        Failure::io(&format!("remove '{from}', which was copied"), error)
    }
}

/// Tells whether a torrent's data is taken to be where it is to be moved to, so that it is gone on
/// with from there: something of the name of its file or top folder (`top`) is there, and no
/// earlier run has left it with a `state` where it comes from, unless that run was copying it.
pub(crate) fn is_moved(
    info_hash: InfoHash,
    top: &OsStr,
    from: &Path,
    to: &Path,
    state: Option<&Path>,
) -> bool {
    let is_left = is_there(&from.join(top)) && state.is_some_and(is_there);
    is_there(&to.join(top)) && (!is_left || is_there(&to.join(hidden(info_hash))))
}

/// Returns the name of the folder that a copy is made in, which no other torrent has. It is there
/// for as long as the move is not at its end.
fn hidden(info_hash: InfoHash) -> String {
    format!(".{info_hash}.moving")
}

/// Removes a state file that says nothing of use any more.
fn forget(state: &Path) {
    // Who finds it finds that the files are not as it says.
    let _ = fs::remove_file(state);
}

/// Returns the names in the download folder that are the torrent's: its file or top folder, and
/// where it keeps what belongs to files that are not wanted, if that is there.
fn names(storage: &Storage) -> Vec<OsString> {
    let mut names = every_name(storage);
    let parts = names.split_off(1);
    let is_ours = |name: &OsString| is_parts_of(storage, &storage.root.join(name));
    names.extend(parts.into_iter().filter(is_ours));
    names
}

/// Tells whether a file is where the torrent keeps what belongs to files that are not wanted: one
/// of that name may be another torrent's.
fn is_parts_of(storage: &Storage, path: &Path) -> bool {
    let mut head = [0; PARTS_MAGIC.len() + 20];
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let is_read =
        is_file && File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok();
    let (magic, info_hash) = head.split_at(PARTS_MAGIC.len());
    is_read && magic == PARTS_MAGIC && info_hash == storage.info_hash.0
}

/// Returns the names that a torrent may have in a download folder, its file or top folder first.
fn every_name(storage: &Storage) -> Vec<OsString> {
    let first = storage.layout.files().iter().find(|file| !file.pad);
    let top = first.and_then(|file| file.path.components().next());
    let top = top.map_or(OsStr::new("."), Component::as_os_str).to_owned();
    let [named, hashed] = storage.parts_names().map(PathBuf::into_os_string);
    if named == hashed { vec![top, named] } else { vec![top, named, hashed] }
}

/// Tells whether there is nothing in a torrent's top folder, in the folder `root`, but what is its
/// own.
fn is_alone(storage: &Storage, root: &Path, top: &OsStr) -> io::Result<bool> {
    let files = storage.layout.files().iter().filter(|file| !file.pad);
    let own: BTreeSet<&Path> = files.flat_map(|file| file.path.ancestors()).collect();
    let mut paths = vec![PathBuf::from(top)];
    while let Some(path) = paths.pop() {
        if !own.contains(path.as_path()) {
            return Ok(false);
        }
        let full = root.join(&path);
        if fs::symlink_metadata(&full)?.is_dir() {
            for entry in fs::read_dir(full)? {
                paths.push(path.join(entry?.file_name()));
            }
        }
    }
    Ok(true)
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
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
        Err(Errno::INVAL | Errno::NOSYS) if !is_there(to) => fs::rename(from, to),
        result => Ok(result?),
    }
}

/// Renames those of some files that are in a folder into another one.
fn rename_all(names: &[OsString], from: &Path, to: &Path) -> io::Result<()> {
    let mut there = names.iter().filter(|name| is_there(&from.join(name)));
    there.try_for_each(|name| rename_new(&from.join(name), &to.join(name)))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A move from one file system to another.
struct Copy<'a> {
    plan: &'a Move<'a>,
    storage: &'a Arc<Storage>,
}

impl Copy<'_> {
    /// Copies, checks the copy, puts it in its place and removes what it was made of. What is
    /// returned is why that could not be removed. Where `made` are to be names, bytes are copied
    /// only of what cannot have two.
    fn perform(&self, names: &[OsString], made: Made) -> io::Result<Option<io::Error>> {
        let Move { from, to, .. } = *self.plan;
        let copy = to.join(self.plan.hidden());
        remove_old(&copy)?;
        fs::create_dir(&copy)?;
        let copied = self.copy_into(&copy, names, made).and_then(|made| match made {
            Made::Copies => self.check(&copy),
            Made::Names => Ok(()),
        });
        let placed = copied.and_then(|()| {
            self.plan.carry_state(self.storage, &Arc::new(self.storage_at(&copy)));
            rename_new(&copy.join(&names[0]), &to.join(&names[0]))
        });
        if let Err(error) = placed {
            // What is left of the copy is nobody's; the data is where it was.
            let _ = remove_old(&copy);
            return Err(error);
        }
        debug_assert!(from != to, "a folder is on one file system");
        Ok(self.finish(&copy, names).err())
    }

    /// Ends a move whose copy is in its place, but for what belongs to other files.
    fn finish(&self, copy: &Path, names: &[OsString]) -> io::Result<()> {
        let Move { to, states, .. } = *self.plan;
        rename_all(&names[1..], copy, to)?;
        sync_folder(to)?;
        self.remove_source(names)?;
        if let Some((old, _)) = states {
            forget(old);
        }
        // Last of all: it says that there is something to be brought to an end.
        remove_old(copy)?;
        sync_folder(to)
    }

    fn storage_at(&self, root: &Path) -> Storage {
        Storage { root: root.to_owned(), ..self.storage.with_parts(None) }
    }

    /// Returns the files that are wanted and there, by their paths below a download folder.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.storage.layout.files().iter().enumerate();
        let selection = self.plan.selection;
        let wanted = files.filter(|(index, file)| !file.pad && selection.wants(*index));
        wanted.map(|(_, file)| file.path.as_path())
    }

    fn copy_into(&self, copy: &Path, names: &[OsString], mut made: Made) -> io::Result<Made> {
        let parts = names[1..].iter().map(Path::new);
        let mut folders = BTreeSet::new();
        for path in self.files().chain(parts) {
            let target = copy.join(path);
            let folder = target.parent().unwrap_or(copy);
            fs::create_dir_all(folder)?;
            let above = folder.ancestors().take_while(|folder| folder.starts_with(copy));
            folders.extend(above.map(Path::to_owned));
            let source = self.plan.from.join(path);
            if made == Made::Copies || !link(&source, &target) {
                copy_file(&source, &target)?;
                made = Made::Copies;
            }
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        Ok(made)
    }

    /// Checks the copy against the torrent's hashes, as far as pieces are of wanted files alone.
    fn check(&self, copy: &Path) -> io::Result<()> {
        let storage = self.storage_at(copy);
        let files = Files::new(OPEN_FILES);
        let mut chunk = vec![0; CHUNK_LEN];
        for index in 0..storage.layout.piece_count() {
            let piece = PieceIndex(index);
            let len = storage.layout.piece_len(piece);
            let mut spans = storage.layout.spans(piece, 0, len);
            if !spans.all(|span| span.pad || self.plan.selection.wants(span.file)) {
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

    /// Removes what was copied, and the folders that are empty then. What is not as it was copied
    /// stays.
    fn remove_source(&self, names: &[OsString]) -> io::Result<()> {
        let Move { from, to, .. } = *self.plan;
        for path in self.files().chain(names[1..].iter().map(Path::new)) {
            if !is_copy(&from.join(path), &to.join(path)) {
                continue;
            }
            fs::remove_file(from.join(path))?;
            let above = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
            for folder in above {
                // One that holds something else stays.
                if fs::remove_dir(from.join(folder)).is_err() {
                    break;
                }
            }
        }
        sync_folder(from)
    }
}

/// What a copy consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    /// Second names of what is there.
    Names,
    /// Bytes that were written, of some files at least.
    Copies,
}

/// Gives a file a second name, and tells whether that could be done.
fn link(from: &Path, to: &Path) -> bool {
    // A symlink would lead to nowhere from another folder.
    fs::symlink_metadata(from).is_ok_and(|it| it.is_file()) && fs::hard_link(from, to).is_ok()
}

/// Tells whether a file is as it was when it was copied.
fn is_copy(source: &Path, copy: &Path) -> bool {
    let [source, copy] = [source, copy].map(|path| {
        let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some((metadata.len(), metadata.modified().ok()?))
    });
    source.is_some() && source == copy
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
    use std::os::unix::fs::MetadataExt as _;

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

    /// Writes a parts file of a torrent into a folder.
    fn put_parts(torrent: &Metainfo, folder: &Path) {
        let parts = [&PARTS_MAGIC[..], &torrent.info_hash.0, b"parts"].concat();
        fs::write(folder.join(".top.parts"), parts).expect("written");
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
        put_parts(&torrent, &from);
        fs::write(from.join("other"), "other").expect("written");
        assert!(relocate(&torrent, &from, &to).expect("moved").is_none());
        assert_eq!(listing(&to), [&[".top.parts"], &ALL[..]].concat());
        assert_eq!(listing(&from), ["other"]);
    }

    #[test]
    fn what_is_not_the_torrents_stays_in_a_top_folder_that_it_shares() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        fs::write(from.join("top/in/of another"), "half").expect("written");
        let inode = |path: &Path| fs::metadata(path).expect("there").ino();
        let before = inode(&from.join("top/a"));
        assert!(relocate(&torrent, &from, &to).expect("moved").is_none());
        assert_eq!(listing(&to), ALL);
        assert_eq!(inode(&to.join("top/a")), before, "nothing was copied");
        assert_eq!(fs::metadata(to.join("top/a")).expect("there").nlink(), 1);
        assert_eq!(listing(&from), ["top", "top/in", "top/in/of another"]);
    }

    #[test]
    fn it_is_moved_if_nothing_was_left_where_it_came_from() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        let hash = InfoHash([9; 20]);
        let is_moved =
            |state: Option<&Path>| is_moved(hash, "top".as_ref(), &at("from"), &at("to"), state);
        let state = at("state");
        fs::create_dir_all(at("from/top")).expect("made");
        assert!(!is_moved(None) && !is_moved(Some(&state)), "nothing is there");
        fs::create_dir_all(at("to/top")).expect("made");
        assert!(is_moved(None) && is_moved(Some(&state)));
        fs::write(&state, "of an earlier run").expect("written");
        assert!(!is_moved(Some(&state)), "what is there is somebody else's");
        fs::create_dir(at("to").join(hidden(hash))).expect("made");
        assert!(is_moved(Some(&state)), "it was being copied");
        fs::remove_dir(at("to").join(hidden(hash))).expect("removed");
        fs::remove_dir(at("from/top")).expect("removed");
        assert!(is_moved(Some(&state)), "it was being renamed");
    }

    #[test]
    fn what_another_torrent_of_the_name_has_put_aside_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        let other = Metainfo { info_hash: swarmloop::id::InfoHash([9; 20]), ..torrent.clone() };
        put_parts(&other, &from);
        assert!(relocate(&torrent, &from, &to).expect("moved").is_none());
        assert_eq!(listing(&from), [".top.parts"]);
        assert_eq!(listing(&to), ALL);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        fs::create_dir_all(to.join("top")).expect("made");
        let failure = relocate(&torrent, &from, &to).expect_err("in the way");
        assert_eq!((failure.exit, failure.code), (Exit::Disk, "move_in_the_way"));
        assert!(failure.message.ends_with("to/top' exists already; the data stays where it is"));
        assert_eq!(listing(&from), ALL);
        assert_eq!(listing(&to), ["top"]);
    }

    #[test]
    fn nothing_is_moved_if_the_hidden_parts_cannot_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        put_parts(&torrent, &from);
        fs::create_dir(&to).expect("made");
        fs::write(to.join(".top.parts"), "of another").expect("written");
        let failure = relocate(&torrent, &from, &to).expect_err("in the way");
        assert!(failure.message.contains("to/.top.parts' exists already; the data stays"));
        assert_eq!(listing(&from), [&[".top.parts"], &ALL[..]].concat());
        assert_eq!(listing(&to), [".top.parts"]);
    }

    #[test]
    fn there_is_no_move_to_end_without_the_folder_it_would_be_from() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&to);
        let selection = &Selection::all();
        let plan = Move { metainfo: &torrent, selection, from: &from, to: &to, states: None };
        assert!(plan.resume().is_none());
        assert_eq!(listing(&to), ALL);
    }

    fn relocate(torrent: &Metainfo, from: &Path, to: &Path) -> Result<Option<Failure>, Failure> {
        let selection = &Selection::all();
        Move { metainfo: torrent, selection, from, to, states: None }.perform()
    }

    /// Moves by copying, whatever the file systems are.
    fn copy(torrent: &Metainfo, from: &Path, to: &Path) -> io::Result<Option<io::Error>> {
        let storage = Arc::new(storage(torrent, from));
        fs::create_dir_all(to).expect("made");
        let selection = &Selection::all();
        let plan = Move { metainfo: torrent, selection, from, to, states: None };
        plan.copy(&storage).perform(&names(&storage), Made::Copies)
    }

    #[test]
    fn a_copy_is_checked_before_the_source_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        fs::write(from.join("top/foreign"), "kept").expect("written");
        // What a killed move has left, and what another torrent's move is about.
        let moving = |hash| format!(".{hash}.moving");
        fs::create_dir_all(to.join(moving(torrent.info_hash)).join("top")).expect("made");
        let other = moving(swarmloop::id::InfoHash([9; 20]));
        fs::create_dir_all(to.join(&other)).expect("made");
        assert!(copy(&torrent, &from, &to).expect("moved").is_none());
        assert_eq!(listing(&to), [&[other.as_str()], &ALL[..]].concat());
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

    #[test]
    fn a_copy_whose_source_was_not_removed_is_brought_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&from);
        put_parts(&torrent, &from);
        let kept = folder.path().join("kept");
        let hard_links = |from: &Path, to: &Path| {
            for name in listing(from) {
                if from.join(&name).is_dir() {
                    fs::create_dir_all(to.join(name)).expect("made");
                } else {
                    fs::hard_link(from.join(&name), to.join(&name)).expect("linked");
                }
            }
        };
        fs::create_dir_all(&kept).expect("made");
        hard_links(&from, &kept);
        copy(&torrent, &from, &to).expect("moved");
        // As if it had been killed when the copy had come to its place, and one file been removed.
        hard_links(&kept, &from);
        fs::remove_file(from.join("top/a")).expect("removed");
        fs::write(from.join("top/in/b"), "changed since").expect("written");
        let moving = to.join(format!(".{}.moving", torrent.info_hash));
        fs::create_dir(&moving).expect("made");
        fs::rename(to.join(".top.parts"), moving.join(".top.parts")).expect("moved");
        let selection = &Selection::all();
        let plan = Move { metainfo: &torrent, selection, from: &from, to: &to, states: None };
        assert!(plan.resume().is_none());
        assert_eq!(listing(&from), ["top", "top/in", "top/in/b"], "it is not what was copied");
        assert_eq!(listing(&to), [&[".top.parts"], &ALL[..]].concat());
        // And then there is nothing more to do.
        assert!(plan.resume().is_none());
        assert_eq!(listing(&to), [&[".top.parts"], &ALL[..]].concat());
    }

    #[test]
    fn a_rename_is_brought_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let torrent = torrent(&to);
        fs::create_dir(&from).expect("made");
        put_parts(&torrent, &from);
        let selection = &Selection::all();
        let plan = Move { metainfo: &torrent, selection, from: &from, to: &to, states: None };
        assert!(plan.resume().is_none());
        assert!(listing(&from).is_empty());
        assert_eq!(listing(&to), [&[".top.parts"], &ALL[..]].concat());
    }
}
