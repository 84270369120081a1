//! Torrents of one file.

use sha1::{Digest, Sha1};
use swarmloop::proto::bencode::Writer;

/// Returns the torrent file of `data` in pieces of so many bytes.
pub(crate) fn of_one_file(name: &str, data: &[u8], piece_len: usize) -> Vec<u8> {
    let number = |len| i64::try_from(len).expect("memory is not that large");
    let hashes: Vec<u8> = data.chunks(piece_len).flat_map(Sha1::digest).collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(number(data.len()));
            info.key(b"name").bytes(name.as_bytes());
            info.key(b"piece length").int(number(piece_len));
            info.key(b"pieces").bytes(&hashes);
        });
    });
    out
}
