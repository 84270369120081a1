//! What is transferred: content that is a function of its offset, and the torrent that names it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use sha1::{Digest as _, Sha1};

/// One of the two torrents that the tests move.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload {
    /// One file of 24 MiB and a bit, so that its last piece and last block are short.
    Single,
    /// Nested folders, an empty file, sizes that share pieces, spaces and letters beyond ASCII.
    Multi,
}

impl Payload {
    /// Writes the content into `folder`, as a client that seeds from `folder` expects it.
    pub(crate) fn write(self, folder: &Path) {
        for file in self.files() {
            let path = folder.join(&file.path);
            fs::create_dir_all(path.parent().expect("it is inside the folder")).unwrap();
            File::create(path).and_then(|mut out| out.write_all(&file.content)).unwrap();
        }
    }

    /// Compares what a client put into `folder` with the content, byte for byte; the error says
    /// where the first difference is. Without `empty_too`, files of no bytes may be missing.
    pub(crate) fn compare(self, folder: &Path, empty_too: bool) -> Result<(), String> {
        for file in self.files() {
            let path = folder.join(&file.path);
            if !empty_too && file.content.is_empty() && !path.exists() {
                continue;
            }
            file.compare(&path)?;
        }
        self.refuse_strays(folder)
    }

    /// Compares some files, by their places in the torrent; all others must not be there.
    pub(crate) fn compare_some(self, folder: &Path, wanted: &[usize]) -> Result<(), String> {
        for (at, file) in self.files().iter().enumerate() {
            let path = folder.join(&file.path);
            if wanted.contains(&at) {
                file.compare(&path)?;
            } else if path.exists() {
                return Err(format!("{}: not wanted", path.display()));
            }
        }
        self.refuse_strays(folder)
    }

    /// The metainfo (BEP 3) with `announce` as its only tracker, or none.
    pub(crate) fn metainfo(self, announce: Option<&str>) -> Vec<u8> {
        let mut out = vec![b'd'];
        if let Some(url) = announce {
            bytes(&mut out, b"announce");
            bytes(&mut out, url.as_bytes());
        }
        bytes(&mut out, b"info");
        out.extend_from_slice(self.info());
        out.push(b'e');
        out
    }

    /// SHA-1 of the bencoded info dictionary.
    pub(crate) fn info_hash(self) -> [u8; 20] {
        Sha1::digest(self.info()).into()
    }

    /// The torrent's name: that of the file, or of the top folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single file.bin",
            Self::Multi => "multi \u{fc}n\u{ef}c\u{f6}de",
        }
    }

    /// Files are in the torrent's order. Made once a process: all tests move the same bytes.
    fn files(self) -> &'static [SourceFile] {
        static SINGLE: OnceLock<Vec<SourceFile>> = OnceLock::new();
        static MULTI: OnceLock<Vec<SourceFile>> = OnceLock::new();
        match self {
            Self::Single => SINGLE.get_or_init(|| vec![self.file(&[], 24 * MIB + 4321, 0)]),
            Self::Multi => MULTI.get_or_init(|| {
                let mut offset = 0;
                let mut next = |path, len| {
                    let file = self.file(path, len, offset);
                    offset += len;
                    file
                };
                vec![
                    next(&["a first file.bin"], 5 * MIB + 123),
                    next(&["nested", "deep", "er", "\u{3b2} data.bin"], 6 * MIB + 1),
                    next(&["nested", "empty"], 0),
                    next(&["nested", "deep", "one block and a byte"], 16 * 1024 + 1),
                    next(&["nested", "one byte"], 1),
                    next(&["\u{65e5}\u{672c}\u{8a9e} [1] (copy) #2 & 50%.txt"], 100_000),
                    next(&["z", "last.bin"], 7 * MIB - 7),
                ]
            }),
        }
    }

    fn file(self, path: &'static [&'static str], len: usize, offset: usize) -> SourceFile {
        let disk_path = path.iter().fold(PathBuf::from(self.name()), |at, part| at.join(part));
        SourceFile { components: path, path: disk_path, content: content(self.seed(), offset, len) }
    }

    /// The bencoded info dictionary, keys in order.
    fn info(self) -> &'static [u8] {
        static SINGLE: OnceLock<Vec<u8>> = OnceLock::new();
        static MULTI: OnceLock<Vec<u8>> = OnceLock::new();
        let cell = match self {
            Self::Single => &SINGLE,
            Self::Multi => &MULTI,
        };
        cell.get_or_init(|| self.build_info())
    }

    fn build_info(self) -> Vec<u8> {
        let mut out = vec![b'd'];
        match self {
            Self::Single => {
                bytes(&mut out, b"length");
                integer(&mut out, self.files()[0].content.len());
            }
            Self::Multi => {
                bytes(&mut out, b"files");
                out.push(b'l');
                self.files().iter().for_each(|file| file.entry(&mut out));
                out.push(b'e');
            }
        }
        bytes(&mut out, b"name");
        bytes(&mut out, self.name().as_bytes());
        bytes(&mut out, b"piece length");
        integer(&mut out, self.piece_len());
        bytes(&mut out, b"pieces");
        let all: Vec<u8> = self.files().iter().flat_map(|file| &file.content).copied().collect();
        let hashes: Vec<u8> = all.chunks(self.piece_len()).flat_map(Sha1::digest).collect();
        bytes(&mut out, &hashes);
        out.push(b'e');
        out
    }

    /// Nothing but the torrent's files may be left under its name: half-finished copies and
    /// foreign files would be taken for content. Hidden files are a client's own affair.
    fn refuse_strays(self, folder: &Path) -> Result<(), String> {
        let mut open = vec![folder.join(self.name())];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                let entries: io::Result<Vec<_>> = fs::read_dir(&path).and_then(Iterator::collect);
                let entries = entries.map_err(|e| format!("{}: {e}", path.display()))?;
                open.extend(entries.iter().filter(|e| !is_hidden(e)).map(fs::DirEntry::path));
            } else if !self.files().iter().any(|file| folder.join(&file.path) == path) {
                return Err(format!("{}: not in the torrent", path.display()));
            }
        }
        Ok(())
    }

    fn piece_len(self) -> usize {
        match self {
            Self::Single => 256 * 1024,
            Self::Multi => 64 * 1024,
        }
    }

    fn seed(self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Multi => 2,
        }
    }
}

/// A file of a payload.
struct SourceFile {
    /// Below the top folder; empty for a single-file torrent.
    components: &'static [&'static str],
    /// Where it is on disk, from the download folder on.
    path: PathBuf,
    content: Vec<u8>,
}

impl SourceFile {
    fn compare(&self, path: &Path) -> Result<(), String> {
        let found = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        if found.len() != self.content.len() {
            let (have, want) = (found.len(), self.content.len());
            return Err(format!("{}: {have} bytes instead of {want}", path.display()));
        }
        if let Some(at) = found.iter().zip(&self.content).position(|(a, b)| a != b) {
            return Err(format!("{}: differs from byte {at} on", path.display()));
        }
        Ok(())
    }

    /// Appends its dictionary of the "files" list.
    fn entry(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        bytes(out, b"length");
        integer(out, self.content.len());
        bytes(out, b"path");
        out.push(b'l');
        self.components.iter().for_each(|part| bytes(out, part.as_bytes()));
        out.extend_from_slice(b"ee");
    }
}

/// `len` bytes of the endless stream `seed`, from `offset` on: an xorshift of every 8-byte word's
/// place, so that no two blocks of a torrent are alike and a misplaced one shows.
fn content(seed: u64, offset: usize, len: usize) -> Vec<u8> {
    let word = |index: usize| {
        let mut x = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed << 56);
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    let first = offset / 8;
    let last = (offset + len).div_ceil(8);
    let mut out: Vec<u8> = (first..last).flat_map(word).collect();
    out.drain(..offset - first * 8);
    out.truncate(len);
    out
}

fn is_hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(value.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(value);
}

fn integer(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(format!("i{value}e").as_bytes());
}

const MIB: usize = 1 << 20;

/// The judge of all the other tests is judged here.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_compares_as_equal() {
        for payload in [Payload::Single, Payload::Multi] {
            let folder = tempfile::tempdir().unwrap();
            payload.write(folder.path());
            assert_eq!(payload.compare(folder.path(), true), Ok(()));
        }
    }

    #[test]
    fn compare_finds_every_kind_of_damage() {
        type Damage = fn(&Path);
        let table: [(&str, Damage); 5] = [
            ("differs from byte 70000", |top| {
                let path = top.join("a first file.bin");
                let mut content = fs::read(&path).unwrap();
                content[70_000] ^= 1;
                fs::write(path, content).unwrap();
            }),
            ("0 bytes instead of 1", |top| fs::write(top.join("nested/one byte"), "").unwrap()),
            ("z/last.bin: No such", |top| fs::remove_file(top.join("z/last.bin")).unwrap()),
            ("empty: No such", |top| fs::remove_file(top.join("nested/empty")).unwrap()),
            ("not in the torrent", |top| fs::write(top.join("z/last.bin.part"), "").unwrap()),
        ];
        for (expected, damage) in table {
            let folder = tempfile::tempdir().unwrap();
            Payload::Multi.write(folder.path());
            damage(&folder.path().join(Payload::Multi.name()));
            let found = Payload::Multi.compare(folder.path(), true).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn content_depends_on_its_offset_alone() {
        let whole = content(1, 0, 100);
        for (offset, len) in [(0, 100), (3, 50), (8, 8), (15, 0), (99, 1)] {
            assert_eq!(content(1, offset, len), whole[offset..offset + len]);
        }
        assert_ne!(content(2, 0, 100), whole);
    }

    #[test]
    fn metainfo_is_bencoded_with_sorted_keys() {
        let metainfo = Payload::Single.metainfo(Some("http://127.0.0.1/announce"));
        let text = String::from_utf8_lossy(&metainfo);
        let head = "d8:announce25:http://127.0.0.1/announce4:infod6:lengthi25170145e\
                    4:name15:single file.bin12:piece lengthi262144e6:pieces1940:";
        assert!(text.starts_with(head), "{}", &text[..head.len()]);
        assert!(metainfo.ends_with(b"ee"));
    }
}
