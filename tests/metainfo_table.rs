//! `.torrent` files, real, odd and malformed. Here: how they are refused, word for word. In
//! `metainfo_table/`: what is read from the odd ones.
#![allow(clippy::unwrap_used)] // A test that meets what it does not expect has failed.

#[path = "metainfo_table/accepted.rs"]
mod accepted;
#[path = "metainfo_table/builder.rs"]
mod builder;
#[path = "metainfo_table/names.rs"]
mod names;

use bytes::Bytes;
use swarmloop::proto::metainfo::{Metainfo, MetainfoError};

use crate::builder::{
    Entry, ONE_HASH, assert_consistent, file, fixture, multi, multi_of, refusal, sample, single,
};

#[test]
fn what_is_not_a_metainfo_file_is_refused() {
    for (torrent, text) in [
        (&b""[..], "not bencode: byte 0: the input ends in the middle of a value"),
        (b"<html>", "not bencode: byte 0: no value begins with \"<\""),
        (b"de\n", "not bencode: byte 2: trailing bytes behind the value: 1"),
        (b"d4:infod6:lengthi5", "not bencode: byte 18: the input ends in the middle of a value"),
        (b"d4:infod6:lengthi-0eee", "not bencode: byte 18: negative zero"),
        (b"d4:infod6:lengthi05eee", "not bencode: byte 17: number with a leading zero"),
        (b"d4:infod6:lengthi9223372036854775808eee", "not bencode: byte 17: number beyond 64 bits"),
        (
            b"d4:infod6:pieces9999999999:aaee",
            "not bencode: byte 16: string of 9999999999 bytes where 4 are left",
        ),
        (b"4:spam", "the metainfo is not a dictionary"),
        (b"le", "the metainfo is not a dictionary"),
        (b"de", "info is missing"),
        (b"d4:infolee", "info is not a dictionary"),
        (b"d4:info4:spame", "info is not a dictionary"),
        (b"d4:infodee", "info/name is missing"),
    ] {
        let refused = refusal(&Bytes::copy_from_slice(torrent));
        assert_eq!(refused, text, "{}", torrent.escape_ascii());
    }
    let deep = [vec![b'l'; 65], vec![b'e'; 65]].concat();
    assert_eq!(
        refusal(&deep.into()),
        "not bencode: byte 64: more than 64 lists and dictionaries in each other"
    );
    assert_eq!(
        refusal(&vec![0; (32 << 20) + 1].into()),
        "not bencode: byte 33554432: 33554433 bytes of input where 33554432 are accepted"
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (changes, text) in CONTRADICTIONS {
        assert_eq!(refusal(&single(changes)), *text, "{changes:?}");
    }
}

/// Changes to a good single-file torrent, and how it is refused then.
const CONTRADICTIONS: &[(&[Entry<'_>], &str)] = &[
    (&[("name", b"")], "info/name is missing"),
    (&[("name", b"i5e")], "info/name is not a string"),
    (&[("name", b"0:")], "info/name is empty"),
    (&[("name", b"1:.")], "info/name is \".\""),
    (&[("name", b"2:..")], "info/name is \"..\""),
    (&[("name", b"4:/etc")], "info/name is an absolute path"),
    (&[("name", b"3:a/b")], "info/name contains \"/\""),
    (&[("name", b"3:a\0b")], "info/name contains a zero byte"),
    (&[("name.utf-8", b"2:..")], "info/name.utf-8 is \"..\""),
    (&[("piece length", b"")], "info/piece length is missing"),
    (&[("piece length", b"5:16384")], "info/piece length is not an integer"),
    (&[("piece length", b"i0e")], "info/piece length is 0, not between 1 and 536870912 bytes"),
    (
        &[("piece length", b"i-16384e")],
        "info/piece length is -16384, not between 1 and 536870912 bytes",
    ),
    (
        &[("piece length", b"i536870913e")],
        "info/piece length is 536870913, not between 1 and 536870912 bytes",
    ),
    (
        // 2^32 + 16384, which 32 bits would take for 16384.
        &[("piece length", b"i4294983680e")],
        "info/piece length is 4294983680, not between 1 and 536870912 bytes",
    ),
    (&[("pieces", b"")], "info/pieces is missing"),
    (&[("pieces", b"le")], "info/pieces is not a string"),
    (&[("pieces", b"19:aaaaaaaaaaaaaaaaaaa")], "info/pieces has 19 bytes, not a multiple of 20"),
    (&[("pieces", b"0:")], "info/pieces has 0 hashes, not 1: 5 bytes of payload by 16384"),
    (
        &[("pieces", b"40:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")],
        "info/pieces has 2 hashes, not 1: 5 bytes of payload by 16384",
    ),
    (&[("length", b"i16385e")], "info/pieces has 1 hashes, not 2: 16385 bytes of payload by 16384"),
    (
        &[("length", b"i281474976710656e"), ("piece length", b"i1e")],
        "info/pieces has 1 hashes, not 281474976710656: 281474976710656 bytes of payload by 1",
    ),
    (&[("length", b"")], "info/length is missing"),
    (&[("length", b"1:5")], "info/length is not an integer"),
    (&[("length", b"i-1e")], "info/length is negative: -1"),
    (
        &[("length", b"i281474976710657e")],
        "info/length takes the payload over 281474976710656 bytes",
    ),
    (
        &[("length", b"i9223372036854775807e")],
        "info/length takes the payload over 281474976710656 bytes",
    ),
    (&[("length", b"i0e"), ("pieces", b"0:")], NO_PAYLOAD),
    (&[("attr", b"1:p")], NO_PAYLOAD),
    (&[("attr", b"1:l"), ("length", b"")], NO_PAYLOAD),
    (&[("files", b"i5e")], "info/files is not a list"),
    (&[("files", b"de")], "info/files is not a list"),
    (&[("files", b"le")], NO_PAYLOAD),
    (
        &[("pieces", b""), ("meta version", b"i2e")],
        "not supported: torrent of meta version 2 without v1 pieces",
    ),
    (
        &[("pieces", b""), ("name", b""), ("meta version", b"i3e")],
        "not supported: torrent of meta version 3 without v1 pieces",
    ),
    (
        &[("pieces", b""), ("root hash", ONE_HASH)],
        "not supported: torrent with a Merkle tree (BEP 30) in place of pieces",
    ),
];

const NO_PAYLOAD: &str = "info has no payload: there is nothing to download";

#[test]
fn malformed_files_are_refused() {
    for (files, text) in [
        (&b"i5e"[..], "info/files/0 is not a dictionary"),
        (b"de", "info/files/0/length is missing"),
        (b"d6:lengthi5ee", "info/files/0/path is missing"),
        (b"d6:lengthi5e4:path1:ae", "info/files/0/path is not a list"),
        (b"d6:lengthi5e4:pathlee", "info/files/0/path is empty"),
        (b"d6:lengthi5e4:pathli1eee", "info/files/0/path/0 is not a string"),
        (b"d6:length1:54:pathl1:aee", "info/files/0/length is not an integer"),
        (b"d6:lengthi-5e4:pathl1:aee", "info/files/0/length is negative: -5"),
        (b"d6:lengthi0e4:pathl1:aee", NO_PAYLOAD),
        (b"d4:attr1:p6:lengthi5e4:pathl1:aee", NO_PAYLOAD),
        (b"d4:attr1:l4:pathl1:aee", NO_PAYLOAD),
        (b"d4:attr1:l6:length1:54:pathl1:aee", "info/files/0/length is not an integer"),
    ] {
        assert_eq!(refusal(&multi(files)), text, "{}", files.escape_ascii());
    }
    // Each fits into 64 bits, their sum into 64 bits with a sign no more.
    let half = file(1 << 47, b"a");
    let rest = [file(1 << 47, b"b"), file(1, b"c")].concat();
    assert_eq!(
        refusal(&multi(&[half, rest].concat())),
        "info/files/2/length takes the payload over 281474976710656 bytes"
    );
}

#[test]
fn paths_with_tricks_are_refused() {
    let deep = [&b"x|".repeat(64)[..], b"x"].concat();
    for (path, text) in [
        (&b".."[..], "info/files/3/path/0 is \"..\""),
        (b"a|..|..|b", "info/files/3/path/1 is \"..\""),
        (b"a|.|b", "info/files/3/path/1 is \".\""),
        (b"/etc|passwd", "info/files/3/path/0 is an absolute path"),
        (b"a|/", "info/files/3/path/1 is an absolute path"),
        (b"a/../b", "info/files/3/path/0 contains \"/\""),
        (b"a/", "info/files/3/path/0 contains \"/\""),
        (b"a|b\0", "info/files/3/path/1 contains a zero byte"),
        (b"a||b", "info/files/3/path/1 is empty"),
        (&deep, "info/files/3/path has 65 levels, more than 64"),
        (b"one", "info/files/3 has the path of info/files/0"),
        (b"dir|two", "info/files/3 has the path of info/files/1"),
        (b"one|x", "info/files/3 is inside info/files/0, which is a file"),
        (b"dir", "info/files/1 is inside info/files/3, which is a file"),
        (b"dir|two|x|y", "info/files/3 is inside info/files/1, which is a file"),
    ] {
        let torrent = multi_of(&[b"one", b"dir|two", b"one.x", path]);
        assert_eq!(refusal(&torrent), text, "{}", path.escape_ascii());
    }
    let torrent = multi_of(&[&deep[2..]]);
    assert_eq!(Metainfo::parse(&torrent).unwrap().files[0].path.components().count(), 65);
}

#[test]
fn broken_and_unsupported_are_told_apart() {
    let v2 = Metainfo::parse(&single(&[("pieces", b""), ("meta version", b"i2e")]));
    assert!(matches!(v2, Err(MetainfoError::Unsupported(_))));
    let broken = Metainfo::parse(&single(&[("pieces", b"")]));
    assert!(matches!(broken, Err(MetainfoError::Broken { .. })));
}

#[test]
fn the_real_torrent_without_a_name_is_refused() {
    let Some(torrent) = fixture("corrupt.torrent") else { return };
    assert_eq!(refusal(&torrent), "info/name is missing");
}

#[test]
fn every_truncation_is_refused() {
    let sample = sample();
    assert_consistent(&Metainfo::parse(&sample.clone().into()).unwrap());
    for len in 0..sample.len() {
        let refused = refusal(&Bytes::copy_from_slice(&sample[..len]));
        assert!(refused.starts_with("not bencode: byte "), "{len}: {refused}");
    }
}
