//! `show` and `magnet`: what is printed of a torrent, and that nothing of it acts on a terminal.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use swarmloop::proto::metainfo::{Info, Payload, TorrentFile};
use tempfile::TempDir;

use crate::common::{folder, metainfo, objects, printed, ran, refused, run, swarmloop};

/// A folder with a torrent of everything that a torrent can say, and one that says little.
fn shelf() -> TempDir {
    let files = [(vec![b"sub".to_vec(), b"a.bin".to_vec()], 70_000), (vec![b"empty".to_vec()], 0)];
    let info = Info {
        name: b"the name",
        payload: Payload::Folder(&files),
        piece_len: 65_536,
        pieces: &[[0xab; 20], [0x01; 20]].concat(),
        private: true,
        source: Some("SRC"),
    };
    let tiers = vec![
        vec!["http://a/announce".to_owned(), "udp://b:1".to_owned()],
        vec!["udp://c:2".into()],
    ];
    let torrent = TorrentFile {
        info: &info.encode(),
        trackers: &tiers,
        web_seeds: &["http://w/".to_owned()],
        comment: Some("a comment"),
        created_by: Some("somebody"),
        creation_date: Some(1_700_000_000),
    };
    let small = Info { payload: Payload::File(3), pieces: &[7; 20], ..info };
    let small = Info { private: false, source: None, name: b"x.iso", ..small }.encode();
    let small = TorrentFile { info: &small, ..TorrentFile::default() };
    folder(&[("full.torrent", &torrent.encode()), ("small.torrent", &small.encode())])
}

#[test]
fn sections_are_those_of_transmission_show() {
    let shelf = shelf();
    let hash = metainfo(&shelf.path().join("full.torrent")).info_hash;
    assert_eq!(
        printed(shelf.path(), &["show", "full.torrent"]),
        format!(
            "Name: the name\nFile: full.torrent\n\nGENERAL\n\n  Name: the name\n  Hash: {hash}\n  \
             Created by: somebody\n  Created on: 2023-11-14T22:13:20Z\n  Comment: a comment\n  \
             Source: SRC\n  Piece Count: 2\n  Piece Size: 64.0 KiB\n  Total Size: 68.4 KiB\n  \
             Privacy: Private torrent\n\nTRACKERS\n\n  Tier #1\n  http://a/announce\n  udp://b:1\n\n  \
             Tier #2\n  udp://c:2\n\nWEB SEEDS\n\n  http://w/\n\nFILES\n\n  \
             1  68.4 KiB  the name/sub/a.bin\n  2       0 B  the name/empty\n"
        )
    );
    let small = printed(shelf.path(), &["info", "small.torrent", "-b"]);
    let hash = metainfo(&shelf.path().join("small.torrent")).info_hash;
    assert_eq!(
        small,
        format!(
            "Name: x.iso\nFile: small.torrent\n\nGENERAL\n\n  Name: x.iso\n  Hash: {hash}\n  \
             Piece Count: 1\n  Piece Size: 65536\n  Total Size: 3\n  Privacy: Public torrent\n\n\
             FILES\n\n  1  3  x.iso\n"
        )
    );
}

#[test]
fn parts_are_printed_alone() {
    let shelf = shelf();
    let hash = metainfo(&shelf.path().join("full.torrent")).info_hash;
    let magnet = format!(
        "magnet:?xt=urn:btih:{hash}&dn=the%20name&tr=http%3A%2F%2Fa%2Fannounce\
         &tr=udp%3A%2F%2Fb%3A1&tr=udp%3A%2F%2Fc%3A2&ws=http%3A%2F%2Fw%2F\n"
    );
    let files = "1  70000  the name/sub/a.bin\n2      0  the name/empty\n";
    let trackers = "http://a/announce\nudp://b:1\n\nudp://c:2\n";
    let pieces = format!("{}\n{}\n", "ab".repeat(20), "01".repeat(20));
    let all = format!("{magnet}\n{trackers}\n{files}\n{pieces}");
    for (flags, expected) in [
        (&["-m"][..], magnet.as_str()),
        (&["-t"], trackers),
        (&["-f", "-b"], files),
        (&["--pieces"], &pieces),
        (&["-bftm", "--pieces"], &all),
    ] {
        let args = [&["show", "full.torrent"], flags].concat();
        assert_eq!(printed(shelf.path(), &args), expected, "{flags:?}");
    }
    assert_eq!(printed(shelf.path(), &["show", "-t", "small.torrent"]), "\n");
    assert_eq!(printed(shelf.path(), &["magnet", "full.torrent"]), magnet);
}

#[test]
fn json_is_one_object_with_the_documented_keys() {
    let shelf = shelf();
    let out = printed(shelf.path(), &["show", "full.torrent", "--json"]);
    let hash = metainfo(&shelf.path().join("full.torrent")).info_hash;
    assert_eq!(
        out,
        format!(
            "{{\"name\":\"the name\",\"infohash\":\"{hash}\",\"size\":70000,\
             \"piece_length\":65536,\"pieces\":2,\"private\":true,\"files\":[\
             {{\"index\":1,\"path\":\"the name/sub/a.bin\",\"size\":70000}},\
             {{\"index\":2,\"path\":\"the name/empty\",\"size\":0}}],\
             \"trackers\":[[\"http://a/announce\",\"udp://b:1\"],[\"udp://c:2\"]],\
             \"web_seeds\":[\"http://w/\"],\"comment\":\"a comment\",\"created_by\":\"somebody\",\
             \"creation_date\":1700000000,\"magnet\":\"magnet:?xt=urn:btih:{hash}&dn=the%20name\
             &tr=http%3A%2F%2Fa%2Fannounce&tr=udp%3A%2F%2Fb%3A1&tr=udp%3A%2F%2Fc%3A2\
             &ws=http%3A%2F%2Fw%2F\",\"source\":\"SRC\"}}\n"
        )
    );
    let small = objects(&printed(shelf.path(), &["show", "small.torrent", "--json", "--pieces"]));
    let keys: Vec<&String> = small[0].as_object().unwrap().keys().collect();
    assert_eq!((small.len(), keys.len()), (1, 14), "{keys:?}");
    for key in ["comment", "created_by", "creation_date"] {
        assert_eq!(small[0][key], Value::Null, "{key}");
    }
    assert_eq!(small[0]["piece_hashes"][0], "07".repeat(20));
}

#[test]
fn raw_is_the_whole_file_as_it_is() {
    let shelf = folder(&[
        ("odd.torrent", b"d3:zzzli1ei-2ee4:infod4:name2:\xff\xfee1:ad1:bi1eee"),
        ("bad.torrent", b"d1:a"),
    ]);
    let expected = "{\"zzz\":[1,-2],\"info\":{\"name\":{\"base64\":\"//4=\"}},\"a\":{\"b\":1}}\n";
    for args in [&["show", "--raw", "odd.torrent"][..], &["show", "--raw", "odd.torrent", "--json"]]
    {
        assert_eq!(printed(shelf.path(), args), expected);
    }
    let (code, err) = refused(shelf.path(), &["show", "--raw", "bad.torrent"]);
    assert_eq!(code, Some(4));
    assert!(err.contains("bad torrent file 'bad.torrent': byte 4: "), "{err}");
}

#[test]
fn magnets_are_printed_for_those_that_can_be_read() {
    let shelf = shelf();
    let args = ["magnet", "small.torrent", "none.torrent", "full.torrent"];
    let ran = run(shelf.path(), &args);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(4), 2), "{ran:?}");
    assert!(ran.err.starts_with("swarmloop: error: cannot read 'none.torrent'"), "{}", ran.err);
    assert_eq!(refused(shelf.path(), &["magnet", "none"]).0, Some(4));
    assert_eq!(refused(shelf.path(), &["magnet", "-", "-"]).0, Some(2));
    let json = objects(&printed(shelf.path(), &["magnet", "small.torrent", "--json"]));
    assert_eq!((&json[0]["type"], &json[0]["name"]), (&"magnet".into(), &"x.iso".into()));
    assert_eq!(json[1]["ok"], 1);
}

#[test]
fn a_torrent_may_come_from_stdin() {
    let shelf = shelf();
    let torrent = fs::File::open(shelf.path().join("small.torrent")).unwrap();
    let shown = ran(swarmloop(shelf.path(), &["show", "-"]).stdin(Stdio::from(torrent)));
    assert!(shown.out.starts_with("Name: x.iso\nFile: -\n"), "{shown:?}");
}

/// 60 texts of what a terminal may act on, in every place of a torrent that is printed.
#[test]
fn hostile_texts_never_reach_the_terminal() {
    let texts: Vec<String> = ('\u{1}'..' ')
        .chain('\u{7f}'..'\u{90}')
        .chain(['\u{9b}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{200b}', '\u{feff}'])
        .chain(['\u{2028}', '\u{61c}', '\u{fff9}'])
        .map(|c| format!("a{c}[31mb"))
        .collect();
    assert!(texts.len() >= 58);
    for text in texts {
        let files = [(vec![text.clone().into_bytes()], 3)];
        let info = Info {
            name: text.as_bytes(),
            payload: Payload::Folder(&files),
            piece_len: 16_384,
            pieces: &[7; 20],
            private: false,
            source: Some(&text),
        };
        let urls = [format!("http://h/{text}")];
        let torrent = TorrentFile {
            info: &info.encode(),
            trackers: &[urls.to_vec()],
            web_seeds: &urls,
            comment: Some(&text),
            created_by: Some(&text),
            creation_date: None,
        };
        let shelf = folder(&[("x.torrent", &torrent.encode())]);
        for args in [
            &["show", "x.torrent"][..],
            &["show", "x.torrent", "--json"],
            &["show", "x.torrent", "-ftm"],
            &["show", "x.torrent", "--raw"],
            &["magnet", "x.torrent"],
        ] {
            let ran = run(shelf.path(), args);
            assert_eq!(ran.code, Some(0));
            assert!(!ran.out.contains(&text) && !ran.err.contains(&text), "{ran:?}");
            let c = text.chars().nth(1).unwrap();
            assert!(c == '\n' || !(ran.out + &ran.err).contains(c), "{c:?}");
        }
    }
}
