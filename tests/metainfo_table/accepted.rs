//! What is read from torrents that are in order, and from those that are odd but usable.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use swarmloop::id::PieceIndex;
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::{MAX_NOTES, Metainfo};

use crate::builder::{
    assert_consistent, file, file_with, fixture, multi, multi_of, paths, refusal, sample, single,
    string, with_root,
};

#[test]
fn real_torrents_have_their_known_info_hashes() {
    for (name, info_hash, piece_len, pieces, total_len, files) in [
        ("alice", "722fe65b2aa26d14f35b4ad627d20236e481d924", 16384, 10, 163_783, 1),
        ("bunny", "af8f10f30bf9aefecf3686922bfa0d5bd290a395", 524_288, 830, 434_839_491, 1),
        ("folder", "b88da2caac6648e6c7d7687e3f89085f7e230e6b", 16384, 1, 15, 1),
        ("leaves", "d2474e86c95b19b8bcfdb92bc12c9d44667cfa36", 16384, 23, 362_017, 1),
        ("leaves-metadata", "d2474e86c95b19b8bcfdb92bc12c9d44667cfa36", 16384, 23, 362_017, 1),
        ("lots-of-numbers", "114ead6243792ba56297edbb9a78dfba84d4fc00", 16384, 1, 12, 6),
        ("numbers", "89d97c2261a21b040cf11caa661a3ba7233bb7e6", 16384, 1, 6, 3),
        ("sintel", "c334138ef5bfc2d568ea7324e0e2a3a7ec229bdd", 4_194_304, 1310, 5_490_455_272, 1),
    ] {
        let Some(torrent) = fixture(&format!("{name}.torrent")) else { return };
        let metainfo = Metainfo::parse(&torrent).unwrap();
        assert_eq!(metainfo.info_hash.to_string(), info_hash, "{name}");
        assert_eq!(metainfo.piece_len, piece_len, "{name}");
        assert_eq!(metainfo.piece_count(), pieces, "{name}");
        assert_eq!(metainfo.total_len(), total_len, "{name}");
        assert_eq!(metainfo.files.len(), files, "{name}");
        assert_eq!(metainfo.notes, [""; 0], "{name}");
        assert_consistent(&metainfo);
    }
    let numbers = Metainfo::parse(&fixture("lots-of-numbers.torrent").unwrap()).unwrap();
    assert_eq!(
        numbers.files[5].path,
        Path::new("lots-of-numbers/small numbers/3.txt"),
        "the folder's name is the first"
    );
}

#[test]
fn pad_files_count_and_may_share_a_path() {
    let pad: [(&str, &[u8]); 1] = [("attr", b"1:p")];
    let files = [
        file(5, b"a"),
        file_with(16379, b".pad|16379", &pad),
        file_with(3, b"b", &[("attr", b"2:xh")]),
        file_with(16379, b".pad|16379", &pad),
        file(2, b".pad|16379"),
        file(0, b"empty"),
    ]
    .concat();
    let torrent = single(&[
        ("length", b""),
        ("files", &[b"l", &files[..], b"e"].concat()),
        ("pieces", b"40:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ]);
    let metainfo = Metainfo::parse(&torrent).unwrap();
    let facts: Vec<_> = metainfo.files.iter().map(|file| (file.len, file.pad)).collect();
    assert_eq!(
        facts,
        [(5, false), (16379, true), (3, false), (16379, true), (2, false), (0, false)]
    );
    assert_eq!((metainfo.total_len(), metainfo.piece_count()), (32768, 2));
}

#[test]
fn symlinks_without_bytes_are_left_out_and_others_become_files() {
    let files = [
        file_with(0, b"..", &[("attr", b"1:l"), ("symlink path", b"l2:..e")]),
        file(1, b"a"),
        file_with(7, b"link", &[("attr", b"2:lp")]),
        file_with(0, b"a", &[("attr", b"1:l"), ("length", b"")]),
        file(2, b"b"),
    ]
    .concat();
    let metainfo = Metainfo::parse(&multi(&files)).unwrap();
    let facts: Vec<_> = metainfo.files.iter().map(|file| (file.len, file.pad)).collect();
    assert_eq!(facts, [(1, false), (7, false), (2, false)]);
    assert_eq!(paths(&metainfo), ["t/a", "t/link", "t/b"].map(Path::new));
    assert_eq!(
        metainfo.notes,
        [
            "info/files/0 is a symlink: it is not created",
            "info/files/2 is a symlink of 7 bytes: it becomes a file",
            "info/files/3 is a symlink: it is not created",
        ]
    );
}

#[test]
fn notes_are_bounded() {
    let link = file_with(0, b"l", &[("attr", b"1:l")]);
    let files = [file(1, b"a"), link.repeat(MAX_NOTES + 7)].concat();
    let notes = Metainfo::parse(&multi(&files)).unwrap().notes;
    assert_eq!(notes.len(), MAX_NOTES + 1);
    assert_eq!(notes.last().unwrap(), "notes left out: 7");
}

#[test]
fn files_win_over_length() {
    let torrent = single(&[("files", &[b"l", &file(9, b"a")[..], b"e"].concat())]);
    let metainfo = Metainfo::parse(&torrent).unwrap();
    assert!(metainfo.multi_file);
    assert_eq!(metainfo.total_len(), 9);
    assert_eq!(metainfo.notes, ["info/length is ignored: there is info/files"]);
}

#[test]
fn a_hybrid_is_read_as_v1() {
    let tree = b"d5:a.txtd0:d6:lengthi5eeee";
    let torrent = single(&[("meta version", b"i2e"), ("file tree", tree)]);
    assert_eq!(Metainfo::parse(&torrent).unwrap().total_len(), 5);
}

#[test]
fn only_1_is_private() {
    for (value, private) in [("i1e", true), ("i0e", false), ("i2e", false), ("1:1", false)] {
        let metainfo = Metainfo::parse(&single(&[("private", value.as_bytes())])).unwrap();
        assert_eq!(metainfo.private, private, "{value}");
    }
    assert!(!Metainfo::parse(&single(&[])).unwrap().private);
}

#[test]
fn trackers_and_web_seeds_are_bounded() {
    let mut list = Vec::new();
    Writer::new(&mut list).list(|urls| {
        for number in 0..300 {
            urls.bytes(format!("http://{number}").as_bytes());
        }
    });
    let metainfo = with_root(&[("announce-list", &list), ("url-list", &list)]);
    assert_eq!((metainfo.trackers.len(), metainfo.web_seeds.len()), (256, 256));
    assert_eq!(
        metainfo.notes,
        [
            "announce-list/256 and what follows is left out: at most 256 URLs",
            "url-list/256 and what follows is left out: at most 256 URLs",
        ]
    );
    for (len, kept) in [(4096, 1), (4097, 0)] {
        let url = string(&format!("http://{}", "x".repeat(len - 7)));
        assert_eq!(with_root(&[("announce", &url)]).trackers.len(), kept);
    }
}

#[test]
fn web_seeds_are_a_list_or_one_alone() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"10:http://a/b", &["http://a/b"]),
        (b"l10:http://a/b0:9:ftp://c/d10:http://a/be", &["http://a/b", "ftp://c/d"]),
        (b"0:", &[]),
        (b"le", &[]),
    ];
    for (list, seeds) in cases {
        let metainfo = with_root(&[("url-list", list)]);
        assert_eq!(metainfo.web_seeds, *seeds);
        assert_eq!(metainfo.notes, [""; 0]);
    }
    let odd = with_root(&[("url-list", b"i5e")]);
    assert_eq!(odd.notes, ["url-list is not a URL and is left out"]);
}

#[test]
fn texts_are_read_and_never_refused() {
    let metainfo = with_root(&[
        ("comment", b"3:\xffab"),
        ("created by", b"1:x"),
        ("created by.utf-8", b"2:\xc3\xbc"),
        ("creation date", b"i-1e"),
    ]);
    assert_eq!(metainfo.comment.as_deref(), Some("\u{fffd}ab"));
    assert_eq!(metainfo.created_by.as_deref(), Some("ü"));
    assert_eq!(metainfo.creation_date, Some(-1));
    let odd = with_root(&[("comment", b"le"), ("created by", b"i1e"), ("creation date", b"1:1")]);
    assert_eq!((odd.comment, odd.created_by, odd.creation_date), (None, None, None));
}

#[test]
fn pieces_divide_the_payload() {
    for (len, piece_len, count, last) in
        [(1, 16384, 1, 1), (16384, 16384, 1, 16384), (16385, 16384, 2, 1), (30, 7, 5, 2)]
    {
        let metainfo = Metainfo::parse(&single(&[
            ("length", format!("i{len}e").as_bytes()),
            ("piece length", format!("i{piece_len}e").as_bytes()),
            ("pieces", &string(&"h".repeat(20 * count))),
        ]))
        .unwrap();
        let index = |number: usize| PieceIndex(u32::try_from(number).unwrap());
        assert_eq!(metainfo.piece_count() as usize, count);
        assert_eq!(metainfo.last_piece_len(), last);
        assert_eq!(metainfo.piece_len_of(index(count - 1)), last);
        let sum: u64 = (0..count).map(|n| u64::from(metainfo.piece_len_of(index(n)))).sum();
        assert_eq!(sum, metainfo.total_len());
    }
}

#[test]
fn the_info_dictionary_alone_gives_the_same_torrent() {
    let whole = Metainfo::parse(&multi_of(&[b"a", b"b|c"])).unwrap();
    let alone = Metainfo::from_info(whole.info.clone()).unwrap();
    assert_eq!(alone.info_hash, whole.info_hash);
    assert_eq!((alone.files, alone.pieces), (whole.files, whole.pieces));
    assert!(alone.trackers.is_empty());
    let more = [&whole.info[..], b"x"].concat();
    assert_eq!(
        Metainfo::from_info(more.into()).unwrap_err().to_string(),
        format!("not bencode: byte {0}: trailing bytes behind the value: 1", whole.info.len())
    );
    assert_eq!(
        Metainfo::from_info(Bytes::from_static(b"le")).unwrap_err().to_string(),
        "info is not a dictionary"
    );
}

#[test]
fn a_hundred_thousand_files_are_read() {
    let paths: Vec<Vec<u8>> =
        (0..100_000).map(|number| format!("{:02}|{number}", number % 50).into_bytes()).collect();
    let files: Vec<u8> = paths.iter().flat_map(|path| file(1, path)).collect();
    let torrent = |files: &[u8]| {
        single(&[
            ("length", b""),
            ("files", &[b"l", files, b"e"].concat()),
            ("piece length", b"i131072e"),
        ])
    };
    assert_eq!(Metainfo::parse(&torrent(&files)).unwrap().files.len(), 100_000);
    let twice = [&files[..], &file(1, &paths[77])].concat();
    assert_eq!(refusal(&torrent(&twice)), "info/files/100000 has the path of info/files/77");
}

#[test]
fn trackers_come_in_tiers() {
    for (announce, list, tiers, notes) in ANNOUNCES {
        let metainfo = with_root(&[("announce", announce), ("announce-list", list)]);
        let name = list.escape_ascii();
        assert_eq!(metainfo.trackers, *tiers, "{name}");
        assert_eq!(metainfo.notes, *notes, "{name}");
    }
}

/// `announce`, `announce-list`, the tiers and the notes that come of them.
type Announce<'a> = (&'a [u8], &'a [u8], &'a [&'a [&'a str]], &'a [&'a str]);

const ANNOUNCES: &[Announce<'_>] = &[
    (b"", b"", &[], &[]),
    (b"8:http://a", b"", &[&["http://a"]], &[]),
    (b"10: http://a\n", b"", &[&["http://a"]], &[]),
    (b"0:", b"", &[], &[]),
    (b"8:http://a", b"le", &[&["http://a"]], &[]),
    (b"8:http://a", b"ll0:elel1: ee", &[&["http://a"]], &[]),
    (b"8:http://a", b"ll7:udp://bee", &[&["udp://b"]], &[]),
    (b"", b"l7:udp://b8:http://ae", &[&["udp://b"], &["http://a"]], &[]),
    (
        b"8:http://a",
        b"ll7:udp://b9:https://cel0:7:udp://d7:udp://bel7:udp://bee",
        &[&["udp://b", "https://c"], &["udp://d"]],
        &[],
    ),
    (
        b"5:nourl",
        b"ll8:http://\xffeli5eel8:file:///el7:http://ee",
        &[],
        &[
            "announce-list/0/0 is not a URL and is left out",
            "announce-list/1/0 is not a URL and is left out",
            "announce-list/2/0 is not a URL and is left out",
            "announce-list/3/0 is not a URL and is left out",
            "announce is not a URL and is left out",
        ],
    ),
    (b"8:http://a", b"i5e", &[&["http://a"]], &["announce-list is not a list and is left out"]),
    (b"", b"ll10:http://a\x1bbee", &[], &["announce-list/0/0 is not a URL and is left out"]),
];

proptest! {
    #[test]
    fn changed_bytes_never_make_an_inconsistent_torrent(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut torrent = sample();
        for (at, byte) in changes {
            let at = at.index(torrent.len());
            torrent[at] = byte;
        }
        if let Ok(metainfo) = Metainfo::parse(&torrent.into()) {
            assert_consistent(&metainfo);
        }
    }
}
