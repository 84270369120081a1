//! Magnet links as other clients' own tests have them, and what is written read back.
//!
//! Cases are from libtorrent (`test/test_magnet.cpp`) and Transmission (`magnet-metainfo-test.cc`).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use swarmloop::id::InfoHash;
use swarmloop::proto::magnet::{MAX_FILE_INDEX, MAX_MAGNET_LEN, MAX_MAGNET_PEERS};
use swarmloop::proto::magnet::{Magnet, MagnetError};
use swarmloop::proto::metainfo::MAX_TRACKERS;

const CD: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

fn read(link: &str) -> Magnet {
    link.parse().unwrap_or_else(|error| panic!("{link}: {error}"))
}

/// A link to [`CD`] with `rest` behind it.
fn cd(rest: &str) -> Magnet {
    read(&format!("magnet:?xt=urn:btih:{CD}{rest}"))
}

#[test]
fn info_hashes_are_found_in_every_spelling() {
    let transmission = "d2354010a3ca4ade5b7427bb093a62a3899ff381";
    for (link, hash) in [
        (format!("magnet:?xt=urn:btih:{CD}"), CD),
        (format!("magnet:?xt=urn%3Abtih%3A{CD}"), CD),
        (format!("magnet:?xt=urn:btih:{}%64", &CD[..39]), CD),
        (format!("magnet:?XT=urn:btih:{CD}"), CD),
        (format!("MAGNET:?xt=urn:btih:{CD}"), CD),
        (format!("magnet:///?xt=urn:btih:{CD}"), CD),
        (format!("magnet:?\"foo=bar&xt=urn:btih:{CD}"), CD),
        (format!("magnet:?xt=urn:btmh:1220{CD}{}&xt=urn:btih:{CD}", &CD[..24]), CD),
        (format!("magnet:?xt=urn:ed2k:a0a9277894123b27945224fbac8366c9&xt=urn:btih:{CD}"), CD),
        (
            "magnet:?xt=urn:btih:MFRGCYTBMJQWEYLCMFRGCYTBMJQWEYLC".to_owned(),
            "6162616261626162616261626162616261626162",
        ),
        ("magnet:?xt=urn:btih:2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B".to_owned(), transmission),
        ("magnet:?xt=urn:btih:2i2uaefdzjfn4w3ue65qsotcuoez744b".to_owned(), transmission),
    ] {
        assert_eq!(read(&link).info_hash.to_string(), hash, "{link}");
    }
}

#[test]
fn what_is_no_link_is_refused() {
    for (link, error) in [
        ("", MagnetError::NotMagnet),
        ("magnet", MagnetError::NotMagnet),
        ("magnet:xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", MagnetError::NotMagnet),
        ("http://h/?xt=urn:btih:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", MagnetError::NotMagnet),
        ("größe:?xt", MagnetError::NotMagnet),
        ("magnet:?xt=urn%%3A", MagnetError::BadEscape),
        ("magnet:?ws=udp%3A%2F%2Fh%\u{f7}A80", MagnetError::BadEscape),
        ("magnet:?dn=a%2", MagnetError::BadEscape),
        ("magnet:?%zz=a", MagnetError::BadEscape),
        ("magnet:?", MagnetError::NoInfoHash),
        ("magnet:?tr=", MagnetError::NoInfoHash),
        ("magnet:?dn=foo&dht=127.0.0.1:43", MagnetError::NoInfoHash),
        ("magnet:?xt=blah&dn=foo", MagnetError::NoInfoHash),
        ("magnet:?xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C", MagnetError::NoInfoHash),
        ("magnet:?xt=urn:btih:abababab", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btih:ababababababababababab", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btih: abababababababababab", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btih:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btih:abaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btih:abaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btih:this hash is really broken", MagnetError::BadInfoHash),
        ("magnet:?xt=urn:btmh:1220cdcdcdcdcdcdcdcd", MagnetError::BadInfoHash),
    ] {
        assert_eq!(link.parse::<Magnet>(), Err(error), "{link}");
    }
    let v2 = |kind: &str, digit: &str| format!("magnet:?xt=urn:btmh:{kind}{}", digit.repeat(64));
    for (link, error) in [
        (v2("1220", "c"), MagnetError::V2Only),
        (v2("1221", "c"), MagnetError::BadInfoHash),
        (v2("1220", "z"), MagnetError::BadInfoHash),
    ] {
        assert_eq!(link.parse::<Magnet>(), Err(error), "{link}");
    }
}

#[test]
fn names_and_places_are_read() {
    let link = cd("&tr=http://1&tr=http://2&tr=http://3&tr=http://3&dn=foo&dht=127.0.0.1:43");
    assert_eq!(link.trackers, ["http://1", "http://2", "http://3"]);
    assert_eq!(link.name.as_deref(), Some("foo"));
    assert_eq!(cd("&tr.0=udp://1&tr.1=http://2&tr=http://3").trackers.len(), 3);
    assert_eq!(cd("&tr.a=udp://1&tr.=udp://1&tr.1=http://2").trackers, ["http://2"]);
    assert_eq!(cd("&tr=nothing&tr=&tr=http://a%0a").trackers, [""; 0]);
    let encoded = cd("&tr=udp%3A%2F%2Ftracker.ccc.de%3A80&dn=Ubuntu+11.04+%28Final%29");
    assert_eq!(encoded.trackers, ["udp://tracker.ccc.de:80"]);
    assert_eq!(encoded.name.as_deref(), Some("Ubuntu 11.04 (Final)"));
    assert_eq!(cd("&ws=http://h/a+b&Ws=http://i").web_seeds, ["http://h/a+b", "http://i"]);
    assert_eq!(cd("&empty&=&&dn=&dn=second&dn=third").name.as_deref(), Some("second"));
    assert_eq!(cd("&dn=%ff%fe").name.as_deref(), Some("\u{fffd}\u{fffd}"));
    let peers = cd("&x.pe=127.0.0.1:43&x.pe=<invalid1>&x.pe=<invalid2>:100&x.pe=[::1]:45");
    assert_eq!(peers.peers, [("127.0.0.1".to_owned(), 43), ("::1".to_owned(), 45)]);
    assert_eq!(cd("&x.pe=h:0&x.pe=h:65536&x.pe=:1&x.pe=[h]:1&x.pe=h").peers, []);
}

/// Where else the torrent might be had (`xs`, `as`), what it is about (`kt`, `mt`) and how long it is
/// (`xl`) is passed over: a link names no file that would be fetched from anywhere.
#[test]
fn other_sources_of_a_link_are_passed_over() {
    for rest in [
        "&xs=http://10.0.0.1/x.torrent",
        "&xs=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C",
        "&as=http%3A%2F%2F127.0.0.1%2Flatest%2Fmeta-data",
        "&as=file:///etc/passwd&as=file:///etc/shadow",
        "&xs=&as=&kt=a+b&mt=http://h/m&xl=18446744073709551616&xl=-1",
        "&xs.1=dchub://h&x.=1&x.pe.0=1.2.3.4:5",
    ] {
        assert_eq!(cd(rest), cd(""), "{rest}");
    }
}

#[test]
fn selections_are_read() {
    for (selected, files) in [
        ("&so=0,2,4,6-8", &[0, 2, 4, 6, 7, 8][..]),
        ("&so=0,2-4,3-5&dht=10.0.0.1:1337", &[0, 2, 3, 4, 5]),
        ("&so=2-4&dht=10.0.0.1:1337&so=1", &[1, 2, 3, 4]),
        ("&so=7-4,100000000&so=10", &[10]),
        ("&so=-4&so=1", &[1]),
        ("&so=3-&so=1", &[1]),
        ("&so=a&so=1", &[1]),
        ("&so=&so=,,1", &[1]),
        ("&so=\"1,2\"", &[]),
        ("&so=", &[]),
        ("", &[]),
    ] {
        let read: Vec<u32> = cd(selected).selected.into_iter().flatten().collect();
        assert_eq!(read, files, "{selected}");
    }
}

#[test]
fn limits_hold() {
    let long = format!("magnet:?xt=urn:btih:{CD}&dn=");
    let long = format!("{long}{}", "x".repeat(MAX_MAGNET_LEN - long.len()));
    assert_eq!(read(&long).info_hash.to_string(), CD);
    assert_eq!((long + "x").parse::<Magnet>(), Err(MagnetError::TooLong));
    let many = |number: usize, what: &str| {
        cd(&(0..number).map(|at| what.replace('#', &at.to_string())).collect::<String>())
    };
    assert_eq!(many(MAX_TRACKERS + 1, "&tr=udp://h#").trackers.len(), MAX_TRACKERS);
    assert_eq!(many(MAX_MAGNET_PEERS + 1, "&x.pe=h#:1").peers.len(), MAX_MAGNET_PEERS);
    let last = MAX_FILE_INDEX - 1;
    assert_eq!(cd(&format!("&so={last},{MAX_FILE_INDEX}")).selected, [last..=last]);
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        hash in any::<[u8; 20]>(),
        name in proptest::option::of(".{1,20}"),
        trackers in proptest::collection::btree_set("(http|udp)://[a-z]{1,9}(/[!-~é]{0,9})?", 0..5),
        ports in proptest::collection::vec(1u16.., 0..3),
        starts in proptest::collection::btree_set(0u32..1_000, 0..5),
    ) {
        let link = Magnet {
            info_hash: InfoHash(hash),
            name: name.filter(|name| !name.contains('\u{fffd}')),
            web_seeds: trackers.iter().cloned().collect(),
            trackers: trackers.into_iter().collect(),
            peers: ports.iter().flat_map(|&port| {
                ["::1", "example.org"].map(|host| (host.to_owned(), port))
            }).collect(),
            selected: starts.into_iter().map(|start| start * 9..=start * 9 + start % 7).collect(),
        };
        let text = link.to_string();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{}", text);
        prop_assert_eq!(text.parse::<Magnet>(), Ok(link));
        for end in 0..text.len() {
            let _ = text[..end].parse::<Magnet>();
        }
    }

    #[test]
    fn nothing_panics(text in ".{0,200}", query in "[a-z.]{0,3}=[%0-9a-f:,&+-]{0,99}") {
        let _ = text.parse::<Magnet>();
        let _ = format!("magnet:?{query}").parse::<Magnet>();
    }
}
