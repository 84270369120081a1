//! The way back: values in, `.torrent` files out; and changes to files of others.
//!
//! What is written is canonical bencode: the same values give the same bytes. A file that is
//! changed keeps every key that is not about the change, known or not, and its `info` byte for byte
//! unless the change is about that: the info-hash is the torrent's identity.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{MetainfoError, dict};
use crate::proto::bencode::{self, Dict, Limits, Writer};

/// Pieces that [`auto_piece_len`] aims at, at most: 40 KiB of hashes.
const AUTO_PIECES: u64 = 2048;
/// The least and the greatest piece length that [`auto_piece_len`] gives: a block, and what clients
/// hash and keep in memory without trouble.
const AUTO_PIECE_LEN: (u32, u32) = (16 << 10, 16 << 20);

/// Returns the piece length for a payload of `total_len` bytes: the least power of two from 16 KiB
/// to 16 MiB that makes no more than 2048 pieces, or 16 MiB if none does.
pub fn auto_piece_len(total_len: u64) -> u32 {
    let (min, max) = AUTO_PIECE_LEN;
    let mut len = min;
    while len < max && total_len.div_ceil(u64::from(len)) > AUTO_PIECES {
        len *= 2;
    }
    len
}

/// The `info` dictionary of a new torrent (BEP 3, 27).
///
/// Nothing is checked: whoever writes reads the result with [`super::Metainfo::parse`], which is as
/// strict as with everybody else's.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    /// The file's or the top folder's name, as bytes; BEP 3 asks for UTF-8.
    pub name: &'a [u8],
    /// What there is.
    pub payload: Payload<'a>,
    /// Bytes in every piece but the last.
    pub piece_len: u32,
    /// The SHA-1 of every piece, 20 bytes each.
    pub pieces: &'a [u8],
    /// Peers may come from the trackers only (BEP 27).
    pub private: bool,
    /// Where it is published: makes the info-hash differ from that of the same payload elsewhere.
    pub source: Option<&'a str>,
}

/// The files of a new torrent.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// One file alone; its bytes.
    File(u64),
    /// Files in a folder: the names on the path to each, the folder's own not among them, and its
    /// bytes.
    Folder(&'a [(Vec<Vec<u8>>, u64)]),
}

impl Info<'_> {
    /// Returns the dictionary in bencode. Its SHA-1 is the info-hash.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.pieces.len() + 1024);
        Writer::new(&mut out).dict(|info| {
            match self.payload {
                Payload::File(len) => info.key(b"length").int(int(len)),
                Payload::Folder(files) => info.key(b"files").list(|list| {
                    for (path, len) in files {
                        list.dict(|file| {
                            file.key(b"length").int(int(*len));
                            file.key(b"path").list(|names| {
                                for name in path {
                                    names.bytes(name);
                                }
                            });
                        });
                    }
                }),
            }
            info.key(b"name").bytes(self.name);
            info.key(b"piece length").int(self.piece_len.into());
            info.key(b"pieces").bytes(self.pieces);
            if self.private {
                info.key(b"private").int(1);
            }
            if let Some(source) = self.source {
                info.key(b"source").bytes(source.as_bytes());
            }
        });
        out
    }
}

/// A new `.torrent` file (BEP 3, 12, 19).
#[derive(Clone, Copy, Default, Debug)]
pub struct TorrentFile<'a> {
    /// The `info` dictionary in bencode, as [`Info::encode`] makes it.
    pub info: &'a [u8],
    /// Announce URLs by tier (BEP 12).
    pub trackers: &'a [Vec<String>],
    /// Web seeds (BEP 19).
    pub web_seeds: &'a [String],
    /// A word to whoever reads it.
    pub comment: Option<&'a str>,
    /// The program.
    pub created_by: Option<&'a str>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
}

impl TorrentFile<'_> {
    /// Returns the whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries: Entries<'_> = BTreeMap::new();
        let Self { info, trackers, web_seeds, .. } = self;
        entries.insert(b"info", Cow::Borrowed(info));
        let mut changes = tracker_changes(trackers);
        changes.extend([
            (&b"comment"[..], self.comment.map(text)),
            (b"created by", self.created_by.map(text)),
            (b"creation date", self.creation_date.map(|date| written(|out| out.int(date)))),
            (b"url-list", url_list(web_seeds)),
        ]);
        change(&mut entries, changes);
        encode(&entries)
    }
}

/// What is to be different in a `.torrent` file: `None` leaves a thing as it is.
#[derive(Clone, Default, Debug)]
pub struct Edit {
    /// The announce URLs by tier instead of those that are there.
    pub trackers: Option<Vec<Vec<String>>>,
    /// The web seeds instead of those that are there.
    pub web_seeds: Option<Vec<String>>,
    /// Another comment; an empty one takes it away.
    pub comment: Option<String>,
    /// Another `source`; an empty one takes it away. Changes the info-hash.
    pub source: Option<String>,
    /// Whether it is private (BEP 27). Changes the info-hash.
    pub private: Option<bool>,
    /// Another name, of the file or the top folder. Changes the info-hash.
    pub name: Option<String>,
}

impl Edit {
    /// Returns the file with the changes made.
    ///
    /// `info` keeps its bytes if it says already what was asked for. A dictionary that changes is
    /// written with its keys in order and each once: of repeated ones the first, which is what
    /// readers find. O(n log n) in the number of keys.
    ///
    /// # Errors
    /// [`MetainfoError`] if `torrent` is no dictionary with an `info` in it; other things are not
    /// looked at.
    pub fn apply(&self, torrent: &[u8]) -> Result<Vec<u8>, MetainfoError> {
        let tree = bencode::decode(torrent, &Limits::METAINFO)?;
        let root = dict(Some(tree.root()), format_args!("the metainfo"))?;
        let info = dict(root.get(b"info"), format_args!("info"))?;
        let mut changes = vec![(&b"info"[..], Some(changed(info, self.info_changes())))];
        if let Some(trackers) = &self.trackers {
            changes.extend(tracker_changes(trackers));
        }
        if let Some(web_seeds) = &self.web_seeds {
            changes.push((b"url-list", url_list(web_seeds)));
        }
        if let Some(comment) = &self.comment {
            changes.extend([(&b"comment"[..], not_empty(comment)), (b"comment.utf-8", None)]);
        }
        Ok(changed(root, changes))
    }

    fn info_changes(&self) -> Changes {
        let mut changes = Changes::new();
        if let Some(name) = &self.name {
            changes.extend([(&b"name"[..], Some(text(name))), (b"name.utf-8", None)]);
        }
        if let Some(private) = self.private {
            changes.push((b"private", private.then(|| written(|out| out.int(1)))));
        }
        if let Some(source) = &self.source {
            changes.push((b"source", not_empty(source)));
        }
        changes
    }
}

/// Keys with the values that they get, in bencode; `None` takes a key away.
type Changes = Vec<(&'static [u8], Option<Vec<u8>>)>;

/// A dictionary's keys and their values in bencode.
type Entries<'a> = BTreeMap<&'a [u8], Cow<'a, [u8]>>;

/// Returns a dictionary with the changes made, or its very bytes if there is nothing to change.
fn changed(dict: Dict<'_, '_>, changes: Changes) -> Vec<u8> {
    let is_there = |(key, value): &(&[u8], Option<Vec<u8>>)| {
        dict.get(key).map(bencode::Value::raw) == value.as_deref()
    };
    if changes.iter().all(is_there) {
        return dict.as_value().raw().to_vec();
    }
    let mut entries = Entries::new();
    for (key, value) in dict.entries() {
        entries.entry(key).or_insert(Cow::Borrowed(value.raw()));
    }
    change(&mut entries, changes);
    encode(&entries)
}

fn change(entries: &mut Entries<'_>, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => entries.insert(key, Cow::Owned(value)),
            None => entries.remove(key),
        };
    }
}

fn encode(entries: &Entries<'_>) -> Vec<u8> {
    written(|out| {
        out.dict(|dict| entries.iter().for_each(|(key, value)| dict.key(key).raw(value)));
    })
}

/// One tracker is `announce` alone, several are that and `announce-list` (BEP 12).
fn tracker_changes(tiers: &[Vec<String>]) -> Changes {
    let first = tiers.iter().flatten().next();
    let list = written(|out| {
        out.list(|out| {
            for tier in tiers {
                out.list(|urls| tier.iter().for_each(|url| urls.bytes(url.as_bytes())));
            }
        });
    });
    let several = tiers.iter().flatten().nth(1).is_some();
    vec![(b"announce", first.map(|url| text(url))), (b"announce-list", several.then_some(list))]
}

fn url_list(urls: &[String]) -> Option<Vec<u8>> {
    let list = |out: &mut Writer<'_>| {
        out.list(|list| urls.iter().for_each(|url| list.bytes(url.as_bytes())));
    };
    (!urls.is_empty()).then(|| written(list))
}

fn text(text: &str) -> Vec<u8> {
    written(|out| out.bytes(text.as_bytes()))
}

fn not_empty(value: &str) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| text(value))
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// Files of more than 2^63 bytes are nowhere; one would be refused when the result is read.
fn int(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::metainfo::Metainfo;

    fn urls(tiers: &[&[&str]]) -> Vec<Vec<String>> {
        tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect()
    }

    fn parsed(torrent: Vec<u8>) -> Metainfo {
        Metainfo::parse(&torrent.into()).expect("well formed")
    }

    fn sample() -> Vec<u8> {
        let payload = Payload::File(5);
        let (name, piece_len, pieces) = (&b"a"[..], 16_384, &[7; 20][..]);
        let info = Info { name, payload, piece_len, pieces, private: true, source: None }.encode();
        let trackers = urls(&[&["http://a/announce"]]);
        TorrentFile { info: &info, trackers: &trackers, ..TorrentFile::default() }.encode()
    }

    #[test]
    fn a_file_alone_is_written_canonically() {
        let pieces = "\u{7}".repeat(20);
        let expected = format!(
            "d8:announce17:http://a/announce4:infod6:lengthi5e4:name1:a12:piece lengthi16384e\
             6:pieces20:{pieces}7:privatei1eee"
        );
        assert_eq!(String::from_utf8(sample()).as_deref(), Ok(expected.as_str()));
    }

    #[test]
    fn what_is_written_reads_back() {
        let files = [(vec![b"d".to_vec(), b"x".to_vec()], 16_384), (vec![b"y".to_vec()], 1)];
        let info = Info {
            name: "größe".as_bytes(),
            payload: Payload::Folder(&files),
            piece_len: 16_384,
            pieces: &[1; 40],
            private: false,
            source: Some("S"),
        };
        let trackers = urls(&[&["http://a/announce", "udp://b:1"], &["http://c/announce"]]);
        let torrent = TorrentFile {
            info: &info.encode(),
            trackers: &trackers,
            web_seeds: &["http://w/".to_owned()],
            comment: Some("c"),
            created_by: Some("p"),
            creation_date: Some(-1),
        };
        let read = parsed(torrent.encode());
        assert_eq!((read.name.as_str(), read.piece_len, read.private), ("größe", 16_384, false));
        let paths: Vec<_> = read.files.iter().map(|file| (file.path.to_str(), file.len)).collect();
        assert_eq!(paths, [(Some("größe/d/x"), 16_384), (Some("größe/y"), 1)]);
        assert_eq!((read.trackers, read.web_seeds), (trackers, vec!["http://w/".to_owned()]));
        assert_eq!(read.comment.as_deref(), Some("c"));
        assert_eq!((read.created_by.as_deref(), read.creation_date), (Some("p"), Some(-1)));
        assert_eq!(&read.info[..], info.encode());
        assert!(read.notes.is_empty());
    }

    #[test]
    fn an_edit_keeps_what_it_is_not_about() {
        // Keys out of order, twice, and unknown ones, inside `info` and outside.
        let torrent = "d4:zzzzi1e4:infod6:pieces20:aaaaaaaaaaaaaaaaaaaa4:name1:n\
            12:piece lengthi16384e6:lengthi5e3:newli1ee4:name1:me1:xi2e1:xi3e7:comment1:ce";
        let before = parsed(torrent.as_bytes().to_vec());
        assert_eq!(Edit::default().apply(torrent.as_bytes()).as_deref(), Ok(torrent.as_bytes()));
        let edit = Edit {
            trackers: Some(urls(&[&["http://a/announce"], &["http://b/announce"]])),
            web_seeds: Some(vec!["http://w/".to_owned()]),
            private: Some(false),
            source: Some(String::new()),
            name: Some("n".to_owned()),
            comment: None,
        };
        let edited = edit.apply(torrent.as_bytes()).expect("well formed");
        let after = parsed(edited.clone());
        assert_eq!((after.info_hash, &after.info), (before.info_hash, &before.info));
        assert_eq!(after.comment.as_deref(), Some("c"));
        assert_eq!(after.trackers.len(), 2);
        let text = String::from_utf8(edited).expect("text");
        assert!(text.contains("1:xi2e4:zzzzi1e"), "{text}");
        let none = Edit { trackers: Some(Vec::new()), web_seeds: Some(Vec::new()), ..edit };
        let bare = none.apply(text.as_bytes()).expect("well formed");
        assert!(parsed(bare.clone()).trackers.is_empty());
        assert!(!String::from_utf8(bare).expect("text").contains("http"));
    }

    #[test]
    fn an_edit_of_info_is_another_torrent() {
        let before = parsed(sample());
        for (edit, changes) in [
            (Edit { private: Some(true), ..Edit::default() }, false),
            (Edit { private: Some(false), ..Edit::default() }, true),
            (Edit { source: Some(String::new()), ..Edit::default() }, false),
            (Edit { source: Some("S".to_owned()), ..Edit::default() }, true),
            (Edit { name: Some("a".to_owned()), ..Edit::default() }, false),
            (Edit { name: Some("b".to_owned()), ..Edit::default() }, true),
            (Edit { comment: Some("b".to_owned()), ..Edit::default() }, false),
        ] {
            let after = parsed(edit.apply(&sample()).expect("well formed"));
            assert_eq!(after.info_hash != before.info_hash, changes, "{edit:?}");
            if let Some(private) = edit.private {
                assert_eq!(after.private, private);
            }
        }
    }

    #[test]
    fn what_has_no_info_is_not_edited() {
        for torrent in [&b"de"[..], b"le", b"d4:infoi1ee", b"", b"d4:infode"] {
            assert!(Edit::default().apply(torrent).is_err(), "{}", torrent.escape_ascii());
        }
    }

    #[test]
    fn pieces_grow_with_the_payload() {
        for (total, len) in [
            (0, 16 << 10),
            (1, 16 << 10),
            (32 << 20, 16 << 10),
            ((32 << 20) + 1, 32 << 10),
            (1 << 30, 512 << 10),
            (32 << 30, 16 << 20),
            (1 << 50, 16 << 20),
        ] {
            assert_eq!(auto_piece_len(total), len, "{total}");
        }
    }
}
