//! Torrents made to measure, real ones from the fixtures' folder, and what is asked of them.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use swarmloop::proto::bencode::{self, Limits, Writer};
use swarmloop::proto::metainfo::Metainfo;

/// A key and its bencoded value.
pub(crate) type Entry<'a> = (&'a str, &'a [u8]);

/// 20 bytes of hash as a bencoded string.
pub(crate) const ONE_HASH: &[u8] = b"20:aaaaaaaaaaaaaaaaaaaa";

/// Returns a dictionary of `entries`, sorted; of two with one key the later wins, and an empty
/// value leaves the key out.
pub(crate) fn dict(entries: &[Entry<'_>]) -> Vec<u8> {
    let sorted: std::collections::BTreeMap<_, _> = entries.iter().copied().collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|dict| {
        for (key, value) in sorted.into_iter().filter(|(_, value)| !value.is_empty()) {
            dict.key(key.as_bytes()).raw(value);
        }
    });
    out
}

/// Returns a metainfo file around `info`, with `entries` beside it.
pub(crate) fn around(info: &[u8], entries: &[Entry<'_>]) -> Bytes {
    dict(&[entries, &[("info", info)]].concat()).into()
}

/// Returns a good single-file torrent of 5 bytes with `changes` to its `info`.
pub(crate) fn single(changes: &[Entry<'_>]) -> Bytes {
    let good: &[Entry<'_>] = &[
        ("length", b"i5e"),
        ("name", b"5:a.txt"),
        ("piece length", b"i16384e"),
        ("pieces", ONE_HASH),
    ];
    around(&dict(&[good, changes].concat()), &[])
}

/// Returns a torrent named `t` of one piece with the bencoded dictionaries `files`.
pub(crate) fn multi(files: &[u8]) -> Bytes {
    single(&[("length", b""), ("name", b"1:t"), ("files", &[b"l", files, b"e"].concat())])
}

/// Returns a file of `len` bytes for [`multi`], its path's names separated by `|`.
pub(crate) fn file(len: u64, path: &[u8]) -> Vec<u8> {
    file_with(len, path, &[])
}

pub(crate) fn file_with(len: u64, path: &[u8], entries: &[Entry<'_>]) -> Vec<u8> {
    let mut names = Vec::new();
    Writer::new(&mut names).list(|names| {
        for name in path.split(|&byte| byte == b'|') {
            names.bytes(name);
        }
    });
    let len = format!("i{len}e");
    let own: &[Entry<'_>] = &[("length", len.as_bytes()), ("path", &names)];
    dict(&[own, entries].concat())
}

pub(crate) fn multi_of(paths: &[&[u8]]) -> Bytes {
    multi(&paths.iter().flat_map(|path| file(1, path)).collect::<Vec<_>>())
}

/// Parses a good torrent with `entries` beside its `info`.
pub(crate) fn with_root(entries: &[Entry<'_>]) -> Metainfo {
    let info = Metainfo::parse(&single(&[])).unwrap().info;
    Metainfo::parse(&around(&info, entries)).unwrap()
}

pub(crate) fn sample() -> Vec<u8> {
    let pad: &[Entry<'_>] = &[("attr", b"1:p")];
    let files = [
        file(16000, b"dir|a.txt"),
        file_with(384, b".pad|384", pad),
        file(7, b"dir|b"),
        file(0, b"empty"),
    ]
    .concat();
    let info = dict(&[
        ("files", &[b"l", &files[..], b"e"].concat()),
        ("name", b"6:sample"),
        ("piece length", b"i16384e"),
        ("pieces", &string(&"h".repeat(40))),
        ("private", b"i1e"),
    ]);
    let torrent = around(
        &info,
        &[("announce-list", b"ll8:http://ael7:udp://bee"), ("url-list", b"10:http://a/b")],
    );
    torrent.to_vec()
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    format!("{}:{text}", text.len()).into_bytes()
}

pub(crate) fn refusal(torrent: &Bytes) -> String {
    match Metainfo::parse(torrent) {
        Ok(metainfo) => panic!("accepted: {metainfo:?}"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn paths(metainfo: &Metainfo) -> Vec<&Path> {
    metainfo.files.iter().map(|file| file.path.as_path()).collect()
}

/// Asserts what the fields of every parsed torrent promise.
pub(crate) fn assert_consistent(metainfo: &Metainfo) {
    let total: u64 = metainfo.files.iter().map(|file| file.len).sum();
    assert_eq!(metainfo.total_len(), total);
    let pieces = u64::from(metainfo.piece_count());
    assert_eq!(pieces, total.div_ceil(u64::from(metainfo.piece_len)));
    assert!((1..=metainfo.piece_len).contains(&metainfo.last_piece_len()));
    assert!(bencode::decode(&metainfo.info, &Limits::METAINFO).is_ok());
    for file in &metainfo.files {
        assert!(file.path.components().all(|part| matches!(part, Component::Normal(_))));
        assert!(file.path.components().all(|part| part.as_os_str().len() <= 240));
        assert_eq!(metainfo.multi_file, file.path.components().count() > 1);
    }
    assert!(metainfo.trackers.iter().all(|tier| !tier.is_empty()));
    assert!(metainfo.notes.iter().all(|note| !note.contains(char::is_control)));
}

/// Returns the file of the real torrents with this name, or says that they are not here.
#[allow(clippy::print_stdout)] // Who runs the tests should see that some had nothing to test.
pub(crate) fn fixture(name: &str) -> Option<Bytes> {
    let folder = std::env::var_os("SWARMLOOP_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        println!("skipped {name}: no folder {} (SWARMLOOP_FIXTURES)", folder.display());
        return None;
    }
    Some(std::fs::read(folder.join(name)).unwrap().into())
}
