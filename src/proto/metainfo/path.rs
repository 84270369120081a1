//! Which names are taken from a metainfo file, and as what.
//!
//! Refused, with the place: `..`, `.`, a separator or a zero byte in a name, an absolute path, an
//! empty name or path, more than [`MAX_PATH_LEVELS`] levels, two files with one path, a file inside
//! a file. Shortened with a note, keeping the extension: names over [`MAX_COMPONENT_LEN`] bytes.
//! Everything else is kept byte for byte, however odd: names that Windows reserves, trailing dots
//! and spaces, control and bidi characters, bytes that are not UTF-8, a backslash. Mapping those
//! would give one torrent two sets of names, and what is printed is escaped anyway.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::error::broken;
use super::files::Entry;
use super::{MetainfoError, Notes, Problem, bytes, list};
use crate::proto::bencode::{Dict, Value};
use crate::text::Escaped;

/// Bytes of a file or folder name at most: file systems take 255, and some room is left for what
/// tools add behind a name. De facto: libtorrent.
pub const MAX_COMPONENT_LEN: usize = 240;
/// Names in a `path` at most, the torrent's own not counted: no tree of people is that deep.
pub const MAX_PATH_LEVELS: usize = 64;
/// Bytes of an extension, its dot included, that survives shortening; more behind a dot is no
/// extension but a part of the name.
const MAX_EXTENSION_LEN: usize = 16;

/// The bytes that separate names on this system, and so cannot be in one.
const SEPARATORS: &[u8] = if cfg!(windows) { b"/\\:" } else { b"/" };

/// Reads the name of the torrent: a name on disk, and what its paths start with.
pub(super) fn name<'a>(
    info: Dict<'_, 'a>,
    notes: &mut Notes,
) -> Result<Cow<'a, [u8]>, MetainfoError> {
    let utf8 = info.get(b"name.utf-8").and_then(Value::as_str).filter(|name| !name.is_empty());
    if let Some(utf8) = utf8 {
        return component(utf8.as_bytes(), format_args!("info/name.utf-8"), notes);
    }
    let place = format_args!("info/name");
    component(bytes(info.get(b"name"), place)?, place, notes)
}

/// Reads the path of `file`, which is number `index` in `files`, below the torrent's `name`.
pub(super) fn below(
    name: &[u8],
    file: Dict<'_, '_>,
    index: usize,
    notes: &mut Notes,
) -> Result<TorrentPath, MetainfoError> {
    let is_text = |path: &Value<'_, '_>| {
        let mut names = path.as_list().into_iter().flatten().peekable();
        names.peek().is_some() && names.all(|name| name.as_str().is_some())
    };
    let (key, names) = match file.get(b"path.utf-8").filter(is_text) {
        Some(names) => ("path.utf-8", Some(names)),
        None => ("path", file.get(b"path")),
    };
    let place = format_args!("info/files/{index}/{key}");
    let names = list(names, place)?;
    let levels = names.clone().count();
    if levels == 0 {
        return Err(broken(place, Problem::Empty));
    }
    if levels > MAX_PATH_LEVELS {
        return Err(broken(place, Problem::TooManyLevels(levels)));
    }
    let mut path = TorrentPath::new(name);
    for (level, name) in names.enumerate() {
        let place = format_args!("info/files/{index}/{key}/{level}");
        path.push(&component(bytes(Some(name), place)?, place, notes)?);
    }
    Ok(path)
}

/// Refuses two files with one path and files inside files, and notes what would be such where file
/// systems do not tell upper from lower case.
///
/// Pad files are exempt: they are never on disk, and some authors give all of them one name.
/// O(n log n).
pub(super) fn check_collisions(files: &[Entry], notes: &mut Notes) -> Result<(), MetainfoError> {
    let on_disk = || files.iter().filter(|file| !file.pad);
    let mut exact: Vec<_> = on_disk().map(|file| (file.path.as_key(), file.index)).collect();
    exact.sort_unstable();
    for pair in exact.windows(2) {
        let [(first, other), (second, index)] = pair else { continue };
        if let Some(relation) = Relation::of(first, second) {
            let other = format!("info/files/{other}");
            let problem = match relation {
                Relation::Same => Problem::SamePath(other),
                Relation::Inside => Problem::InsideFile(other),
            };
            return Err(broken(format_args!("info/files/{index}"), problem));
        }
    }
    let fold = |file: &Entry| String::from_utf8_lossy(file.path.as_key()).to_lowercase();
    let mut folded: Vec<_> = on_disk().map(|file| (fold(file), file.index)).collect();
    folded.sort_unstable();
    for pair in folded.windows(2) {
        let [(first, other), (second, index)] = pair else { continue };
        if Relation::of(first.as_bytes(), second.as_bytes()).is_some() {
            notes.push(format_args!(
                "info/files/{other} and info/files/{index} collide where case is ignored"
            ));
        }
    }
    Ok(())
}

/// A relative path of checked names: at least one, with a zero byte, which no name contains,
/// between them.
///
/// In the order of these bytes a path is followed at once by what is inside it, which it would not
/// be with a separator that sorts behind other bytes.
pub(super) struct TorrentPath(Vec<u8>);

impl TorrentPath {
    pub(super) fn new(name: &[u8]) -> Self {
        Self(name.to_vec())
    }

    fn push(&mut self, name: &[u8]) {
        self.0.push(0);
        self.0.extend_from_slice(name);
    }

    fn as_key(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn to_path_buf(&self) -> PathBuf {
        self.0.split(|&byte| byte == 0).map(os_name).collect()
    }
}

/// How a path lies to the one before it in order.
enum Relation {
    Same,
    Inside,
}

impl Relation {
    fn of(first: &[u8], second: &[u8]) -> Option<Self> {
        match second.strip_prefix(first)? {
            [] => Some(Self::Same),
            [0, ..] => Some(Self::Inside),
            _ => None,
        }
    }
}

/// Checks one name and shortens it if it is too long for a file system.
fn component<'a>(
    name: &'a [u8],
    place: fmt::Arguments<'_>,
    notes: &mut Notes,
) -> Result<Cow<'a, [u8]>, MetainfoError> {
    let problem = match name {
        [] => Some(Problem::Empty),
        b"." => Some(Problem::CurrentDir),
        b".." => Some(Problem::ParentDir),
        [first, ..] if SEPARATORS.contains(first) => Some(Problem::Absolute),
        _ if name.contains(&0) => Some(Problem::Nul),
        _ => name.iter().find(|byte| SEPARATORS.contains(byte)).copied().map(Problem::Separator),
    };
    if let Some(problem) = problem {
        return Err(broken(place, problem));
    }
    let name = native(name);
    if name.len() <= MAX_COMPONENT_LEN {
        return Ok(name);
    }
    let short = shorten(&name);
    notes.push(format_args!(
        "{place} is {} bytes long: shortened to \"{}\"",
        name.len(),
        Escaped(&String::from_utf8_lossy(&short))
    ));
    Ok(Cow::Owned(short))
}

/// Cuts a name of more than [`MAX_COMPONENT_LEN`] bytes in front of its extension, not within a
/// character of UTF-8.
fn shorten(name: &[u8]) -> Vec<u8> {
    let dot = name.iter().rposition(|&byte| byte == b'.').unwrap_or(name.len());
    let extension = &name[dot..];
    let extension = if extension.len() > MAX_EXTENSION_LEN { &[] } else { extension };
    let cut = MAX_COMPONENT_LEN - extension.len();
    // The bytes behind a character's first are 10xxxxxx, and there are three at most.
    let inside = name[cut - 3..=cut].iter().rev().take_while(|&byte| byte & 0xc0 == 0x80).count();
    [&name[..cut - inside.min(3)], extension].concat()
}

/// On Unix a name is bytes.
#[cfg(unix)]
fn native(name: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(name)
}

/// Elsewhere a name is text; what is not becomes replacement characters before it is compared.
#[cfg(not(unix))]
fn native(name: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(name) {
        Cow::Borrowed(_) => Cow::Borrowed(name),
        Cow::Owned(lossy) => Cow::Owned(lossy.into_bytes()),
    }
}

#[cfg(unix)]
fn os_name(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(not(unix))]
fn os_name(name: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(name).into_owned().into()
}
