//! Reading and writing bencode, from a metainfo file of 1 MiB to the dictionaries of a message.

use std::hint::black_box;

use bytes::Bytes;
use swarmloop::proto::bencode::{Limits, Writer, decode};
use swarmloop::proto::metainfo::Metainfo;

use super::Scenario;

/// Writes what is to be read.
type Make = fn() -> Vec<u8>;

pub(crate) fn all() -> Vec<Scenario> {
    let kinds: [(&str, Make, Limits); 4] = [
        ("metainfo of 1 MiB, one file", || metainfo(1, 52_400), Limits::METAINFO),
        ("metainfo of 1 MiB, 16 000 files", || metainfo(16_000, 2_000), Limits::METAINFO),
        ("announce reply, 200 compact peers", announce_reply, Limits::NETWORK),
        ("extension handshake", extension_handshake, Limits::NETWORK),
    ];
    let mut all = Vec::new();
    for (name, make, limits) in kinds {
        let len = make().len() as u64;
        all.push(
            Scenario::new(format!("decode, {name}"), move || {
                let input = make();
                move || drop(black_box(decode(black_box(&input), &limits)))
            })
            .bytes(len),
        );
        all.push(
            Scenario::new(format!("encode, {name}"), move || move || drop(black_box(make())))
                .bytes(len),
        );
    }
    let torrent = Bytes::from(metainfo(16_000, 2_000));
    let len = torrent.len() as u64;
    let parse = Scenario::new("parse a metainfo of 1 MiB, 16 000 files", move || {
        let torrent = torrent.clone();
        move || {
            let parsed = Metainfo::parse(black_box(&torrent));
            black_box(parsed.expect("a metainfo of ours is right"));
        }
    });
    all.push(parse.bytes(len));
    all
}

/// A torrent of `files` files of 16 KiB in folders of 100, and `pieces` pieces.
fn metainfo(files: u64, pieces: usize) -> Vec<u8> {
    let len = (pieces as u64 * 262_144) / files;
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"announce").bytes(b"http://tracker.example:6969/announce");
        torrent.key(b"creation date").int(1_700_000_000);
        torrent.key(b"info").dict(|info| {
            let number = |of: u64| i64::try_from(of).expect("a length in bytes");
            if files > 1 {
                info.key(b"files").list(|list| {
                    for file in 0..files {
                        list.dict(|entry| {
                            entry.key(b"length").int(number(len));
                            entry.key(b"path").list(|path| {
                                path.bytes(format!("folder {:04}", file / 100).as_bytes());
                                path.bytes(format!("file {:02}.bin", file % 100).as_bytes());
                            });
                        });
                    }
                });
            } else {
                info.key(b"length").int(number(len));
            }
            info.key(b"name").bytes(b"a torrent for measuring");
            info.key(b"piece length").int(262_144);
            info.key(b"pieces").bytes(&vec![0x5a; 20 * pieces]);
        });
    });
    out
}

fn announce_reply() -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|reply| {
        reply.key(b"complete").int(1_234);
        reply.key(b"incomplete").int(567);
        reply.key(b"interval").int(1_800);
        reply.key(b"peers").bytes(&[7; 6 * 200]);
    });
    out
}

fn extension_handshake() -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|handshake| {
        handshake.key(b"m").dict(|ids| {
            ids.key(b"lt_donthave").int(7);
            ids.key(b"ut_metadata").int(2);
            ids.key(b"ut_pex").int(1);
        });
        handshake.key(b"metadata_size").int(31_235);
        handshake.key(b"p").int(6_881);
        handshake.key(b"reqq").int(2_000);
        handshake.key(b"v").bytes(b"swarmloop 0.1.0");
    });
    out
}
