//! Where a program of this user keeps what outlives it: the XDG base directories.

use std::env;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf, absolute};

use sha1::{Digest, Sha1};
use swarmloop::id::InfoHash;

/// Returns the folder for state, whether it is there or not; `None` if there is no home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    state_dir_of(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))
}

fn state_dir_of(state_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // A relative path is to be ignored, says the XDG specification.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|it| it.is_absolute());
    let state = absolute(state_home).or_else(|| Some(absolute(home)?.join(".local/state")))?;
    Some(state.join("swarmloop"))
}

/// Returns a name for a torrent in a folder, the same from wherever the folder is named.
pub(crate) fn key(info_hash: InfoHash, dir: &Path) -> [u8; 20] {
    let dir = resolved(dir);
    Sha1::new()
        .chain_update(info_hash.0)
        .chain_update(dir.as_os_str().as_encoded_bytes())
        .finalize()
        .into()
}

/// Returns a path without symlinks and without `..`, whether it is there already or not.
fn resolved(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            // What it is in has no symlinks left, and what is not there yet will not be one.
            resolved.pop();
            continue;
        }
        resolved.push(part);
        if let Ok(real) = resolved.canonicalize() {
            resolved = real;
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn state_is_where_xdg_says() {
        let dir = |state_home: Option<&str>, home: Option<&str>| {
            state_dir_of(state_home.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(dir(Some("/s"), Some("/h")), Some("/s/swarmloop".into()));
        for state_home in [None, Some(""), Some("relative")] {
            let expected = Some("/h/.local/state/swarmloop".into());
            assert_eq!(dir(state_home, Some("/h")), expected);
        }
        assert_eq!(dir(None, None), None);
        assert_eq!(dir(None, Some("")), None);
    }

    #[test]
    fn a_folder_has_one_key_however_it_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("a/b")).expect("writable");
        symlink(at("a"), at("link")).expect("writable");
        let hash = InfoHash([1; 20]);
        let same = ["a/b", "a/b/", "a/./b", "link/b", "a/../a/b"];
        assert!(same.iter().all(|path| key(hash, &at(path)) == key(hash, &at("a/b"))));
        // Not there yet, but what is above it is.
        let new = ["link/b/new/er", "a/b/new/../new/er", "a/c/../b/new/er", "link/c/../b/new/er/"];
        assert!(new.iter().all(|path| key(hash, &at(path)) == key(hash, &at("a/b/new/er"))));
        assert_ne!(key(hash, &at("a")), key(hash, &at("a/b")));
        assert_ne!(key(InfoHash([2; 20]), &at("a")), key(hash, &at("a")));
    }
}
