//! Magnet links as other clients' own tests have them, whole: libtorrent's (`test_magnet.cpp`),
//! Transmission's (`magnet-metainfo-test.cc`) and anacrolix/torrent's (`magnet_test.go`).
//!
//! What each part of a link means, case by case, is in `tests/magnet.rs`; here nothing is taken out
//! of its link.

use swarmloop::proto::magnet::Magnet;
use swarmloop::proto::magnet::MagnetError::{
    self, BadEscape, BadInfoHash, NoInfoHash, NotMagnet, V2Only,
};

/// What a link is read as: its hash, then what else there is of it.
struct Read {
    link: &'static str,
    hash: &'static str,
    name: Option<&'static str>,
    /// In the order of the link, each but once.
    trackers: &'static [&'static str],
    web_seeds: usize,
    /// How many addresses of peers.
    peers: usize,
    /// The numbers of the files that are wanted; none if nothing was said that can be understood,
    /// which means all.
    files: &'static [u32],
}

const CD: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const UBUNTU: &str = "a38d02c287893842a32825aa866e00828a318f07";
const C352: &str = "c352cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const DISPLAY: &str = "d2354010a3ca4ade5b7427bb093a62a3899ff381";
const DISPLAY_NAME: Option<&str> = Some("Display Name");
const DISPLAY_TRACKERS: &[&str] =
    &["http://tracker.openbittorrent.com/announce", "http://tracker.opentracker.org/announce"];

/// A link of which nothing but the hash is read.
const PLAIN: Read =
    Read { link: "", hash: CD, name: None, trackers: &[], web_seeds: 0, peers: 0, files: &[] };

/// What Transmission's tests find in their one torrent, however it is written.
const IN_DISPLAY: Read =
    Read { hash: DISPLAY, name: DISPLAY_NAME, trackers: DISPLAY_TRACKERS, web_seeds: 1, ..PLAIN };

/// What libtorrent's tests of selections have in common.
const FOO: Read = Read { name: Some("foo"), ..PLAIN };

const READ: &[Read] = &[
    // libtorrent. Its `dht` is a node to begin with, and passed over here.
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&tr=http://1&tr=http://2\
               &tr=http://3&tr=http://3&dn=foo&dht=127.0.0.1:43",
        trackers: &["http://1", "http://2", "http://3"],
        ..FOO
    },
    Read {
        link: "magnet:?tr=http://1&tr=http://2&dn=foo&dht=127.0.0.1:43\
               &xt=urn:ed2k:a0a9277894123b27945224fbac8366c9\
               &xt=urn:btih:c352cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        hash: C352,
        trackers: &["http://1", "http://2"],
        ..FOO
    },
    Read {
        link: "magnet:?tr=udp%3A%2F%2Ftracker.openbittorrent.com%3A80\
               &tr=udp%3A%2F%2Ftracker.publicbt.com%3A80&tr=udp%3A%2F%2Ftracker.ccc.de%3A80\
               &xt=urn:btih:a38d02c287893842a32825aa866e00828a318f07\
               &dn=Ubuntu+11.04+%28Final%29",
        hash: UBUNTU,
        name: Some("Ubuntu 11.04 (Final)"),
        trackers: &[
            "udp://tracker.openbittorrent.com:80",
            "udp://tracker.publicbt.com:80",
            "udp://tracker.ccc.de:80",
        ],
        ..PLAIN
    },
    Read { link: "magnet:?xt=urn%3Abtih%3Acdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", ..PLAIN },
    Read { link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdc%64", ..PLAIN },
    Read {
        link: "magnet:?XT=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdc%64&dN=foobar\
               &Ws=http://foo.com/bar",
        name: Some("foobar"),
        web_seeds: 1,
        ..PLAIN
    },
    Read {
        link: "magnet:?\"foo=bar&xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ..PLAIN
    },
    Read {
        link: "magnet:?xt=urn:btih:MFRGCYTBMJQWEYLCMFRGCYTBMJQWEYLC",
        hash: "6162616261626162616261626162616261626162",
        ..PLAIN
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&ws=http://foo.com/bar\
               &ws=http://bar.com/foo",
        web_seeds: 2,
        ..PLAIN
    },
    Read {
        link: "magnet:?xt=urn:btmh:1220cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
               cdcdcdcd&xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ..PLAIN
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo\
               &x.pe=127.0.0.1:43&x.pe=<invalid1>&x.pe=<invalid2>:100&x.pe=[::1]:45",
        peers: 2,
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo\
               &dht=127.0.0.1:43&dht=10.0.0.1:1337",
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:abaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        hash: "0040000000000000000000000000000000000000",
        ..PLAIN
    },
    Read {
        link: "magnet:?tr.0=udp://1&tr.1=http://2&tr=http://3\
               &xt=urn:btih:c352cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        hash: C352,
        trackers: &["udp://1", "http://2", "http://3"],
        ..PLAIN
    },
    Read {
        link: "magnet:?tr.a=udp://1&tr.1=http://2\
               &xt=urn:btih:c352cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        hash: C352,
        trackers: &["http://2"],
        ..PLAIN
    },
    // libtorrent, BEP 53.
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=0,2,4,6-8",
        files: &[0, 2, 4, 6, 7, 8],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=0,2-4,3-5\
               &dht=10.0.0.1:1337",
        files: &[0, 2, 3, 4, 5],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=2-4\
               &dht=10.0.0.1:1337&so=1",
        files: &[1, 2, 3, 4],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo\
               &so=7-4,100000000&dht=10.0.0.1:1337&so=10",
        files: &[10],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=100000000\
               &dht=10.0.0.1:1337&so=10",
        files: &[10],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=-4&so=1",
        files: &[1],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=3-&so=1",
        files: &[1],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=a&so=1",
        files: &[1],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=100000000\
               &so=1",
        files: &[1],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=\
               &dht=10.0.0.1:1337&so=",
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=\
               &dht=10.0.0.1:1337&so=,,1",
        files: &[1],
        ..FOO
    },
    Read {
        link: "magnet:?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd&dn=foo&so=\"1,2\"",
        ..FOO
    },
    // Transmission.
    Read {
        link: "magnet:?xt=urn:btih:d2354010a3ca4ade5b7427bb093a62a3899ff381&dn=Display%20Name\
               &tr=http%3A%2F%2Ftracker.openbittorrent.com%2Fannounce\
               &tr=http%3A%2F%2Ftracker.opentracker.org%2Fannounce\
               &ws=http%3A%2F%2Fserver.webseed.org%2Fpath%2Fto%2Ffile",
        ..IN_DISPLAY
    },
    Read {
        link: "magnet:?xt=urn:btih:d2354010a3ca4ade5b7427bb093a62a3899ff381&empty\
               &dn=Display%20Name&tr=http%3A%2F%2Ftracker.openbittorrent.com%2Fannounce\
               &tr=http%3A%2F%2Ftracker.opentracker.org%2Fannounce\
               &ws=http%3A%2F%2Fserver.webseed.org%2Fpath%2Fto%2Ffile",
        ..IN_DISPLAY
    },
    Read {
        link: "magnet:?xt=urn:btih:d2354010a3ca4ade5b7427bb093a62a3899ff381&empty&empty_again\
               &dn=Display%20Name&tr=http%3A%2F%2Ftracker.openbittorrent.com%2Fannounce\
               &empty_again&=&ws=http%3A%2F%2Fserver.webseed.org%2Fpath%2Fto%2Ffile\
               &tr=http%3A%2F%2Ftracker.opentracker.org%2Fannounce",
        ..IN_DISPLAY
    },
    Read {
        link: "magnet:?xt=urn:btih:2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B&dn=Display%20Name\
               &tr=http%3A%2F%2Ftracker.openbittorrent.com%2Fannounce\
               &ws=http%3A%2F%2Fserver.webseed.org%2Fpath%2Fto%2Ffile\
               &tr=http%3A%2F%2Ftracker.opentracker.org%2Fannounce",
        ..IN_DISPLAY
    },
    Read {
        link: "magnet:///?xt=urn:btih:d2354010a3ca4ade5b7427bb093a62a3899ff381&dn=Display%20Name\
               &tr=http%3A%2F%2Ftracker.openbittorrent.com%2Fannounce\
               &ws=http%3A%2F%2Fserver.webseed.org%2Fpath%2Fto%2Ffile\
               &tr=http%3A%2F%2Ftracker.opentracker.org%2Fannounce",
        ..IN_DISPLAY
    },
    // anacrolix/torrent.
    Read {
        link: "magnet:?xt=urn:btih:ZOCMZQIPFFW7OLLMIC5HUB6BPCSDEOQU",
        hash: "cb84ccc10f296df72d6c40ba7a07c178a4323a14",
        ..PLAIN
    },
    Read {
        link: "magnet:?xt=urn:btih:51340689c960f0778a4387aef9b4b52fd08390cd\
               &dn=Shit+Movie+%281985%29+1337p+-+Eru&tr=http%3A%2F%2Fhttp.was.great%21\
               &tr=udp%3A%2F%2Fanti.piracy.honeypot%3A6969",
        hash: "51340689c960f0778a4387aef9b4b52fd08390cd",
        name: Some("Shit Movie (1985) 1337p - Eru"),
        trackers: &["http://http.was.great!", "udp://anti.piracy.honeypot:6969"],
        ..PLAIN
    },
];

const REFUSED: &[(&str, MagnetError)] = &[
    // libtorrent.
    ("magnet:?xt=urn%%3A", BadEscape),
    ("magnet:?dn=foo&dht=127.0.0.1:43", NoInfoHash),
    ("magnet:?xt=blah&dn=foo&dht=127.0.0.1:43", NoInfoHash),
    ("magnet:?xt=urn:btih:abababab", BadInfoHash),
    ("magnet:?xt=urn:btih:ababababababababababab", BadInfoHash),
    ("magnet:?xt=urn:btih: abababababababababab", BadInfoHash),
    ("magnet:?xt=urn:btih:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", BadInfoHash),
    // It is followed there.
    (
        "magnet:?xt=urn:btmh:1220cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        V2Only,
    ),
    (
        "magnet:?xt=urn:btmh:1220cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdccdcdcdcdcdcdcdcd",
        BadInfoHash,
    ),
    (
        "magnet:?xt=urn:btmh:1221cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        BadInfoHash,
    ),
    (
        "magnet:?xt=urn:btmh:1220zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        BadInfoHash,
    ),
    ("magnet:?xt=urn:btih:abaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", BadInfoHash),
    (
        "magnet:?tr=udp%3A%2F%2Ftracker.openjnt.com%\u{f7}A80\
         &tr=udp%3A%2F%2Ftracker.pub.ciltbcom%3A80&tr=udp%3A%2F%2Ftracker.ccc.de%3A80\
         &xt=urn:btih:a38d02c287893842a39737aa866e00828aA80&xt=urn:buntu+11.04+%28Final%29",
        BadEscape,
    ),
    ("magnet:?ws=udp%3A%2F%2Ftracker.openjnt.com%\u{f7}A80", BadEscape),
    ("magnet:?tr=", NoInfoHash),
    // Transmission follows a hash without a link. The tool does, too (`cli/input.rs`), but as
    // another kind of argument.
    ("2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B", NotMagnet),
    ("d2354010a3ca4ade5b7427bb093a62a3899ff381", NotMagnet),
    // anacrolix/torrent.
    ("", NotMagnet),
    ("magnet:?xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C", NoInfoHash),
    ("magnet:?xt=urn:btih:this hash is really broken", BadInfoHash),
];

#[test]
fn magnet_vectors_of_other_clients_are_read() {
    for vector in READ {
        let link = vector.link;
        let read: Magnet = link.parse().unwrap_or_else(|error| panic!("{link}: {error}"));
        assert_eq!(read.info_hash.to_string(), vector.hash, "{link}");
        assert_eq!(read.name.as_deref(), vector.name, "{link}");
        assert_eq!(read.trackers, vector.trackers, "{link}");
        assert_eq!(read.web_seeds.len(), vector.web_seeds, "{link}");
        assert_eq!(read.peers.len(), vector.peers, "{link}");
        let files: Vec<u32> = read.selected.into_iter().flatten().collect();
        assert_eq!(files, vector.files, "{link}");
    }
}

#[test]
fn magnet_vectors_of_other_clients_are_refused() {
    for &(link, error) in REFUSED {
        assert_eq!(link.parse::<Magnet>(), Err(error), "{link}");
    }
    // What once crashed Transmission is no text, which is all that a link can be.
    let crash = b"\x50\x80\x8e\x97\xb4\x4b\x8c\x28\x6c\xfd\x06\x59\xc0\xd1\xf8\xb1\
                  \x24\x30\xb8\x7f\x3d\xd1\x43\x07\xba\x8c\x68\x58\x19\x8c\x92\xbd";
    assert_eq!(String::from_utf8_lossy(crash).parse::<Magnet>(), Err(NotMagnet));
}
