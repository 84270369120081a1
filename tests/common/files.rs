//! Torrents of several files in a folder `top`.

use std::fs;
use std::path::Path;

use sha1::{Digest, Sha1};
use swarmloop::id::InfoHash;
use swarmloop::proto::bencode::Writer;

/// Returns so many bytes that differ from file to file.
pub(crate) fn content(file: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at * 7 + at / 251 + file * 31) % 256).expect("a byte"))
        .collect()
}

/// Writes `top.torrent` of files by path and bytes, and the files below `seed`; returns the
/// info-hash.
pub(crate) fn write_torrent(
    folder: &Path,
    files: &[(&str, usize)],
    piece_len: usize,
    private: bool,
) -> String {
    let number = |len| i64::try_from(len).expect("small");
    let mut all = Vec::new();
    for (file, (path, len)) in files.iter().enumerate() {
        let path = folder.join("seed/top").join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("made");
        fs::write(path, content(file, *len)).expect("written");
        all.extend(content(file, *len));
    }
    let hashes: Vec<u8> = all.chunks(piece_len).flat_map(Sha1::digest).collect();
    let mut info = Vec::new();
    Writer::new(&mut info).dict(|info| {
        info.key(b"files").list(|list| {
            for (path, len) in files {
                list.dict(|file| {
                    file.key(b"length").int(number(*len));
                    file.key(b"path").list(|names| {
                        path.split('/').for_each(|name| names.bytes(name.as_bytes()));
                    });
                });
            }
        });
        info.key(b"name").bytes(b"top");
        info.key(b"piece length").int(number(piece_len));
        info.key(b"pieces").bytes(&hashes);
        if private {
            info.key(b"private").int(1);
        }
    });
    let mut torrent = Vec::new();
    Writer::new(&mut torrent).dict(|root| root.key(b"info").raw(&info));
    fs::write(folder.join("top.torrent"), torrent).expect("written");
    InfoHash(Sha1::digest(&info).into()).to_string()
}
