//! Which torrents a tracker is for: a file of info-hashes, or a folder of torrents.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use swarmloop::id::InfoHash;

use super::exit::{Exit, Failure};
use super::input::{self, escaped_path, read_limited};

/// The largest list that is read, in bytes: some 400,000 info-hashes.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// Reads a list or a folder. A tracker for nothing, or for less than was meant, is nobody's wish:
/// what cannot be read is an error.
pub(crate) fn read(path: &Path) -> Result<BTreeSet<InfoHash>, Failure> {
    let hashes = if path.is_dir() { of_folder(path)? } else { of_list(path)? };
    if hashes.is_empty() {
        let message = format!("'{}' names no torrent", escaped_path(path));
        return Err(Failure::new(Exit::Input, "empty_whitelist", message));
    }
    Ok(hashes)
}

fn of_list(path: &Path) -> Result<BTreeSet<InfoHash>, Failure> {
    let bytes = File::open(path).and_then(|file| read_limited(file, MAX_LIST_BYTES));
    let bytes = bytes.map_err(|error| cannot_read(path, &error))?;
    let mut hashes = BTreeSet::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if text.is_empty() {
            continue;
        }
        let hash = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let hash: InfoHash = hash.ok_or_else(|| {
            let path = escaped_path(path);
            let message = format!("line {number} of '{path}' is no info-hash (40 hex digits)");
            Failure::new(Exit::Input, "bad_whitelist", message)
        })?;
        hashes.insert(hash);
    }
    Ok(hashes)
}

fn of_folder(path: &Path) -> Result<BTreeSet<InfoHash>, Failure> {
    let mut hashes = BTreeSet::new();
    for entry in path.read_dir().map_err(|error| cannot_read(path, &error))? {
        let entry = entry.map_err(|error| cannot_read(path, &error))?.path();
        let is_torrent = entry.extension().is_some_and(|end| end.eq_ignore_ascii_case("torrent"));
        if is_torrent && entry.is_file() {
            hashes.insert(input::load(entry.as_os_str())?.metainfo.info_hash);
        }
    }
    Ok(hashes)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read '{}': {error}", escaped_path(path));
    Failure::new(Exit::Input, "cannot_read", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        std::fs::write(&path, bytes).expect("written");
        let hashes = read(&path).map_err(|failure| failure.message)?;
        Ok(hashes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_list_has_a_hash_a_line_and_remarks() {
        let (one, two) = ("0123456789abcdef0123456789abcdef01234567", "f".repeat(40));
        let text = format!("# mine\n\n {} # upper case\r\n{two}\n{two}", one.to_uppercase());
        assert_eq!(list(text.as_bytes()), Ok(vec![one.to_owned(), two]));
    }

    #[test]
    fn what_is_no_list_says_where() {
        for (bytes, why) in [
            (&b"\nabc\n"[..], "line 2 of "),
            (b"\xff", "line 1 of "),
            (b"# nothing\n", "names no torrent"),
        ] {
            let message = list(bytes).expect_err("no list");
            assert!(message.contains(why), "{message}");
        }
        let missing = read(Path::new("/nowhere/list")).expect_err("not there");
        assert_eq!(missing.exit, Exit::Input);
    }

    #[test]
    fn a_folder_counts_for_the_torrents_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let torrent = b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e\
                        6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
        std::fs::write(folder.path().join("A.TORRENT"), torrent).expect("written");
        std::fs::write(folder.path().join("readme"), "x").expect("written");
        std::fs::create_dir(folder.path().join("b.torrent")).expect("made");
        assert_eq!(read(folder.path()).map(|hashes| hashes.len()).ok(), Some(1));
        std::fs::write(folder.path().join("bad.torrent"), "x").expect("written");
        assert!(read(folder.path()).is_err());
    }
}
