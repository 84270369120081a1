//! File names and paths: what is kept, what is shortened, and what other clients make of it.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use swarmloop::proto::metainfo::Metainfo;

use crate::builder::{assert_consistent, file_with, multi_of, paths, refusal, single, string};

#[test]
fn path_vectors_of_libtorrent() {
    for (path, outcome) in PATHS {
        let parsed = Metainfo::parse(&multi_of(&[path]));
        let name = path.escape_ascii();
        match outcome {
            Kept => {
                let metainfo = parsed.unwrap_or_else(|error| panic!("{name}: {error}"));
                let names: Vec<&[u8]> = metainfo.files[0]
                    .path
                    .components()
                    .skip(1)
                    .map(|component| component.as_os_str().as_encoded_bytes())
                    .collect();
                assert_eq!(names, path.split(|&byte| byte == b'|').collect::<Vec<_>>(), "{name}");
                assert_eq!(metainfo.notes, [""; 0]);
            }
            Refused(text) => assert_eq!(parsed.unwrap_err().to_string(), *text, "{name}"),
        }
    }
}

/// libtorrent's `sanitize_append_path_element` cases (`test_torrent_info.cpp`). It maps names to
/// what it thinks better; here odd names are kept as they are, since they are on the disks of
/// everybody else, and names with tricks are refused, since nobody writes them in good faith.
const PATHS: &[(&[u8], Outcome)] = &[
    // As libtorrent has it.
    (b"a|abc...|c", Kept),
    (b"abc...", Kept),
    (b"abc.", Kept),
    (b"a. . .", Kept),
    (b"a|abc   |c", Kept),
    (b"abc   ", Kept),
    (b"abc ", Kept),
    (b"a...b", Kept),
    (b"dev:", Kept),
    (b"c:|b", Kept),
    (b"abc|   ", Kept),
    (b"filename=4", Kept),
    (b"filename\xc2\xa1", Kept),
    (b"filename\xe2\x9f\xb9", Kept),
    (b"filename\xf0\x9f\x92\x88", Kept),
    // libtorrent replaces or drops control, format and malformed characters.
    (b"\x08", Kept),
    (b"\x08|filename", Kept),
    (b"filename|\x08", Kept),
    (b"\x08?filename=4", Kept),
    (b"filename\xc2", Kept),
    (b"filename\xe2\x9f", Kept),
    (b"filename\xe2", Kept),
    (b"filename\xf0\x9f\x92", Kept),
    (b"filename\xf8\x9f\x9f\x9f\x9ffoobar", Kept),
    (b"filename\xc0\xae", Kept),
    (b"filename\xe0\x80\xae", Kept),
    (b"filename\xf0\x80\x80\xae", Kept),
    (b"foo\xe2\x80\x8ebar", Kept),
    (b"foo\xe2\x80\xabbar", Kept),
    (b"foo\x7fbar", Kept),
    (b"foo\xc2\x80bar", Kept),
    (b"foo\xc2\x9fbar", Kept),
    (b"foo\xe2\x80\x8bbar", Kept),
    (b"foo\xe2\x80\x8cbar", Kept),
    (b"foo\xe2\x80\x8dbar", Kept),
    (b"foo\xe2\x81\xa0bar", Kept),
    (b"foo\xe2\x81\xa2bar", Kept),
    (b"foo\xe2\x81\xa6bar", Kept),
    (b"foo\xe2\x81\xa9bar", Kept),
    (b"foo\xd8\x9cbar", Kept),
    (b"foo\xef\xbb\xbfbar", Kept),
    // libtorrent drops or replaces what is empty, points upwards or is absolute.
    (b"", Refused("info/files/0/path/0 is empty")),
    (b"/a/|b|c", Refused("info/files/0/path/0 is an absolute path")),
    (b"a|..|c", Refused("info/files/0/path/1 is \"..\"")),
    (b"a|..", Refused("info/files/0/path/1 is \"..\"")),
    (b"/..|.|c", Refused("info/files/0/path/0 is an absolute path")),
    (b"c:|.|c", Refused("info/files/0/path/1 is \".\"")),
    (b"\\c|.|c", Refused("info/files/0/path/1 is \".\"")),
    (b"abc|", Refused("info/files/0/path/1 is empty")),
    (b"|abc", Refused("info/files/0/path/0 is empty")),
    (b"//\\", Refused("info/files/0/path/0 is an absolute path")),
];

/// What becomes of a path of libtorrent's and Transmission's own tests.
enum Outcome {
    /// Byte for byte.
    Kept,
    /// With this error.
    Refused(&'static str),
}

use Outcome::{Kept, Refused};

/// Transmission's cases (`torrent-metainfo-test.cc`). It drops or replaces what points elsewhere
/// and is left with a safe path; here that is refused.
#[test]
fn metainfo_vectors_of_transmission() {
    for (path, outcome) in [
        ("5:a.txt", Kept),
        ("0:5:a.txt", Refused("info/files/0/path/0 is empty")),
        ("0:0:", Refused("info/files/0/path/0 is empty")),
        ("7:a/a.txt", Refused("info/files/0/path/0 contains \"/\"")),
        ("1:.5:a.txt", Refused("info/files/0/path/0 is \".\"")),
        ("5:a.txt1:.", Refused("info/files/0/path/1 is \".\"")),
        ("2:..5:a.txt", Refused("info/files/0/path/0 is \"..\"")),
        ("5:a.txt2:..", Refused("info/files/0/path/1 is \"..\"")),
    ] {
        let torrent = format!(
            "d10:created by25:Transmission/2.82 (14160)13:creation datei1402280218e8:encoding\
             5:UTF-84:infod5:filesld6:lengthi2e4:pathl{path}eed6:lengthi2e4:pathl5:b.txteee\
             4:name3:foo12:piece lengthi32768e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei0eee"
        );
        match (Metainfo::parse(&torrent.into()), outcome) {
            (Ok(metainfo), Kept) => {
                assert_eq!(paths(&metainfo), ["foo/a.txt", "foo/b.txt"].map(Path::new));
            }
            (Err(error), Refused(text)) => assert_eq!(error.to_string(), text, "{path}"),
            (parsed, _) => panic!("{path}: {parsed:?}"),
        }
    }
    for (torrent, text) in [
        (&b"dhe"[..], "byte 1: dictionary key that is not a string"),
        (b"d10:longer than 10 characterse", "byte 14: no value begins with \"n\""),
        (b"d10:short", "byte 1: string of 10 bytes where 5 are left"),
        (b"", "byte 0: the input ends in the middle of a value"),
    ] {
        let refused = refusal(&Bytes::copy_from_slice(torrent));
        assert_eq!(refused, format!("not bencode: {text}"));
    }
}

/// The two vectors that libtorrent shortens. It lets an extension stand beyond its 240 bytes; here
/// 240 bytes are all.
#[test]
fn long_names_are_shortened_and_keep_their_extension() {
    let ten = "abcdefghi_";
    let em_dash = "\u{2014}";
    for (name, short) in [
        (ten.repeat(25), ten.repeat(24)),
        (format!("{}abcde.test", ten.repeat(24)), format!("{}abcde.test", ten.repeat(23))),
        (
            format!("{}abcdefghi{em_dash}abcde.jpg", ten.repeat(23)),
            format!("{}abcdef.jpg", ten.repeat(23)),
        ),
        // A character is not cut: 2 bytes of its 3 would have had room.
        (
            format!("{}abcd{em_dash}abcdefgh.jpg", ten.repeat(23)),
            format!("{}abcd.jpg", ten.repeat(23)),
        ),
        // An extension too long to be one.
        (format!("a.{}", "x".repeat(300)), format!("a.{}", "x".repeat(238))),
        (format!("{}.{}", "a".repeat(240), "x".repeat(15)), {
            format!("{}.{}", "a".repeat(224), "x".repeat(15))
        }),
        (format!("{}.{}", "a".repeat(240), "x".repeat(16)), "a".repeat(240)),
        ("b".repeat(240), "b".repeat(240)),
        ("b".repeat(241), "b".repeat(240)),
        (".".repeat(241), ".".repeat(240)),
    ] {
        let metainfo = Metainfo::parse(&multi_of(&[name.as_bytes()])).unwrap();
        assert_eq!(paths(&metainfo), [Path::new("t").join(&short)]);
        let mut notes = Vec::new();
        if short != name {
            let shown = if short.len() > 200 { &format!("{}…", &short[..200]) } else { &short };
            let long = name.len();
            notes.push(format!(
                "info/files/0/path/0 is {long} bytes long: shortened to \"{shown}\""
            ));
        }
        assert_eq!(metainfo.notes, notes);
        assert!(short.len() <= 240);
    }
    let name = string(&"x".repeat(300));
    let metainfo = Metainfo::parse(&single(&[("name", &name)])).unwrap();
    assert_eq!(metainfo.name, "x".repeat(240));
    assert_eq!(paths(&metainfo), [Path::new(&metainfo.name)]);
}

#[test]
fn names_that_shortening_makes_equal_are_refused() {
    let name = |end: &str| format!("{}{end}.txt", "x".repeat(240)).into_bytes();
    assert_eq!(
        refusal(&multi_of(&[&name("a"), &name("b")])),
        "info/files/1 has the path of info/files/0"
    );
}

#[test]
fn names_in_utf_8_are_preferred_where_they_are() {
    let path = [("path.utf-8", &b"l3:dir6:gr\xc3\xbc\xc3\xbce"[..])];
    let broken = [("path.utf-8", &b"l1:\xffe"[..])];
    let empty = [("path.utf-8", &b"le"[..])];
    let files =
        [file_with(1, b"gr\xfc", &path), file_with(1, b"b", &broken), file_with(1, b"c", &empty)]
            .concat();
    let torrent = single(&[
        ("length", b""),
        ("files", &[b"l", &files[..], b"e"].concat()),
        ("name", b"2:\xfct"),
        ("name.utf-8", b"3:\xc3\xbct"),
    ]);
    let metainfo = Metainfo::parse(&torrent).unwrap();
    assert_eq!(metainfo.name, "üt");
    assert_eq!(paths(&metainfo), ["üt/dir/grüü", "üt/b", "üt/c"].map(Path::new));
    let only = single(&[("name", b""), ("name.utf-8", b"1:u")]);
    assert_eq!(paths(&Metainfo::parse(&only).unwrap()), [Path::new("u")]);
    let bad = single(&[("name.utf-8", b"1:\xff")]);
    assert_eq!(paths(&Metainfo::parse(&bad).unwrap()), [Path::new("a.txt")]);
}

#[test]
fn names_that_collide_where_case_is_ignored_are_kept_with_a_note() {
    let metainfo = Metainfo::parse(&multi_of(&[b"B", b"a|x", b"b", b"A", b"c|y", b"C|z"])).unwrap();
    assert_eq!(metainfo.files.len(), 6);
    assert_eq!(
        metainfo.notes,
        [
            "info/files/3 and info/files/1 collide where case is ignored",
            "info/files/0 and info/files/2 collide where case is ignored",
        ]
    );
}

proptest! {
    #[test]
    fn paths_of_any_bytes_stay_below_the_folder(
        paths in prop::collection::vec(r"([a-c./\\|\x00\u{80}-\u{9f}]{0,6}|[a.]{239,243})", 1..5),
    ) {
        let paths: Vec<&[u8]> = paths.iter().map(String::as_bytes).collect();
        if let Ok(metainfo) = Metainfo::parse(&multi_of(&paths)) {
            assert_consistent(&metainfo);
            prop_assert_eq!(metainfo.files.len(), paths.len());
            let mut sorted: Vec<_> = metainfo.files.iter().map(|file| &file.path).collect();
            sorted.sort();
            for pair in sorted.windows(2) {
                prop_assert!(!pair[1].starts_with(pair[0]), "{:?}", pair);
            }
        }
    }
}
