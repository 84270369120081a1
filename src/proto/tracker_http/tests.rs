//! Announce queries and replies, by tables.

use super::*;
use crate::proto::bencode::DecodeErrorKind;

fn query() -> AnnounceQuery<'static> {
    AnnounceQuery {
        info_hash: "123456789abcdef123456789abcdef123456789a".parse().expect("well formed"),
        peer_id: PeerId(*b"-SL0100-~_.-+ /?&=#\xff"),
        port: 6881,
        ip: None,
        uploaded: u64::MAX,
        downloaded: 2,
        left: 3,
        event: AnnounceEvent::Periodic,
        num_want: 80,
        key: 0xbeef,
        tracker_id: b"",
    }
}

fn target(target: &str, query: &AnnounceQuery<'_>) -> String {
    let mut target = target.to_owned();
    query.append_to(&mut target);
    target
}

#[test]
fn a_query_encodes_raw_bytes_and_every_field() {
    assert_eq!(
        target("/announce", &query()),
        "/announce?info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A\
         &peer_id=-SL0100-~_.-%2B%20%2F%3F%26%3D%23%FF&port=6881&uploaded=18446744073709551615\
         &downloaded=2&left=3&compact=1&no_peer_id=1&numwant=80&key=0000BEEF"
    );
    let started = AnnounceQuery { event: AnnounceEvent::Started, tracker_id: b"a b", ..query() };
    let text = target("/", &started);
    assert!(text.ends_with("&key=0000BEEF&event=started&trackerid=a%20b"), "{text}");
    for ip in ["203.0.113.9", "2001:db8::9"] {
        let named = AnnounceQuery { ip: ip.parse().ok(), ..query() };
        let text = target("/", &named);
        assert!(text.ends_with(&format!("&key=0000BEEF&ip={ip}")), "{text}");
    }
}

#[test]
fn a_query_is_appended_to_whatever_the_url_has() {
    for (url, start) in [
        ("/announce", "/announce?info_hash=%12"),
        ("/announce?", "/announce?info_hash=%12"),
        ("/announce?passkey=%7e", "/announce?passkey=%7e&info_hash=%12"),
        ("/announce?a&", "/announce?a&info_hash=%12"),
    ] {
        let text = target(url, &query());
        assert!(text.starts_with(start), "{text}");
    }
}

fn reply(body: &[u8]) -> AnnounceReply {
    match decode_reply(body) {
        Ok(Answer::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_reply_is_read() {
    let body = b"d8:completei5e10:incompletei-7e8:intervali900e12:min intervali300e\
        5:peers12:\x01\x02\x03\x04\x1a\xe1\x05\x06\x07\x08\x00\x006:peers618:\x20\x01\x0d\xb8\
        \0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe210:tracker id3:abc15:warning message4:slowe\n";
    assert_eq!(
        reply(body),
        AnnounceReply {
            interval: Duration::from_secs(900),
            min_interval: Some(Duration::from_secs(300)),
            warning: Some("slow".to_owned()),
            tracker_id: Some(b"abc".to_vec()),
            complete: Some(5),
            incomplete: Some(0),
            external_ip: None,
            peers: vec![
                "1.2.3.4:6881".parse().expect("well formed"),
                "[2001:db8::1]:6882".parse().expect("well formed")
            ],
            hosts: vec![],
        }
    );
}

#[test]
fn our_own_address_is_4_or_16_raw_bytes() {
    for (said, read) in [
        ("4:\x01\x02\x03\x04", Some("1.2.3.4")),
        ("16:\x20\x01\r\u{8}\0\0\0\0\0\0\0\0\0\0\0\x01", Some("2001:d08::1")),
        ("7:1.2.3.4", None),
        ("0:", None),
        ("i1e", None),
    ] {
        let body = format!("d11:external ip{said}8:intervali900ee");
        let read = read.map(|ip| ip.parse().expect("an address"));
        assert_eq!(reply(body.as_bytes()).external_ip, read, "{said:?}");
    }
}

#[test]
fn the_long_form_gives_addresses_and_names_and_drops_the_unreachable() {
    let body = b"d8:intervali900e5:peersl\
        d2:ip7:1.2.3.47:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti80ee\
        d2:ip11:2001:db8::14:porti81ee\
        d2:ip12:peer.example4:porti82ee\
        d2:ip7:1.2.3.54:porti0ee\
        d2:ip7:1.2.3.54:porti65536ee\
        d2:ip7:1.2.3.54:porti-1ee\
        d2:ip5:a\r\nb:4:porti1ee\
        d2:ip0:4:porti1ee\
        ee";
    let reply = reply(body);
    let peers: Vec<String> = reply.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["1.2.3.4:80", "[2001:db8::1]:81"]);
    assert_eq!(reply.hosts, [("peer.example".to_owned(), 82)]);
}

#[test]
fn intervals_are_clamped_and_defaulted() {
    for (body, interval, min_interval) in [
        (&b"d8:intervali0ee"[..], 60, None),
        (b"d8:intervali-5ee", 60, None),
        (b"d8:intervali61e12:min intervali30ee", 61, Some(30)),
        (b"d8:intervali9223372036854775807ee", 6 * 3600, None),
        (b"d8:interval3:abc12:min intervali-1ee", 1800, Some(0)),
        (b"d12:min intervali99999999e5:peers0:e", 1800, Some(6 * 3600)),
    ] {
        let reply = reply(body);
        assert_eq!(reply.interval.as_secs(), interval, "{}", body.escape_ascii());
        assert_eq!(reply.min_interval.map(|min| min.as_secs()), min_interval);
    }
}

#[test]
fn a_failure_wins_and_says_when_to_come_back() {
    let after = |minutes: u64| Retry::After(Duration::from_secs(minutes * 60));
    for (rest, retry) in [
        (&b"e"[..], Retry::Unsaid),
        (b"8:retry ini5ee", after(5)),
        (b"8:retry in1:5e", after(5)),
        (b"8:retry in5:nevere", Retry::Never),
        (b"8:retry ini0ee", after(1)),
        (b"8:retry ini-3ee", after(1)),
        (b"8:retry ini9223372036854775807ee", after(24 * 60)),
        (b"8:retry in4:soone", Retry::Unsaid),
        (b"5:peers0:8:retry inlee", Retry::Unsaid),
    ] {
        let body = [b"d14:failure reason8:no\xffthing8:intervali5e", rest].concat();
        let reason = "no\u{fffd}thing".to_owned();
        let expected = Ok(Answer::Failure(Failure { reason, retry }));
        assert_eq!(decode_reply(&body), expected, "{}", body.escape_ascii());
    }
}

#[test]
fn malformed_replies_are_refused_for_their_reason() {
    let bencode = |offset, kind| ReplyError::Bencode(bencode::DecodeError { offset, kind });
    let deep = [&b"d5:peers"[..], &b"l".repeat(99)].concat();
    for (body, error) in [
        (&b""[..], bencode(0, DecodeErrorKind::UnexpectedEnd)),
        (b"<html>", bencode(0, DecodeErrorKind::NotAValue(b'<'))),
        (b"\x1f\x8b\x08", bencode(0, DecodeErrorKind::NotAValue(0x1f))),
        (b"d8:intervali1800e", bencode(17, DecodeErrorKind::UnexpectedEnd)),
        (b"d8:intervali01ee", bencode(12, DecodeErrorKind::LeadingZero)),
        (b"d8:intervali-0ee", bencode(13, DecodeErrorKind::NegativeZero)),
        (b"d5:peers99:abce", bencode(8, DecodeErrorKind::StringTooLong { len: 99, left: 4 })),
        (b"di5e3:abce", bencode(1, DecodeErrorKind::KeyNotAString)),
        (&deep, bencode(23, DecodeErrorKind::TooDeep { max_depth: 16 })),
        (b"le", ReplyError::NotADictionary),
        (b"i5e", ReplyError::NotADictionary),
        (b"2:ok", ReplyError::NotADictionary),
        (b"de", ReplyError::NothingInIt),
        (b"d8:completei5ee", ReplyError::NothingInIt),
        (b"d14:failure reasoni5ee", ReplyError::NothingInIt),
        (b"d5:peersi5ee", ReplyError::BadPeers { key: "peers" }),
        (b"d5:peersdee", ReplyError::BadPeers { key: "peers" }),
        (b"d6:peers6lee", ReplyError::BadPeers { key: "peers6" }),
        (b"d5:peers5:abcdee", CompactError { len: 5, stride: 6 }.into()),
        (b"d6:peers66:abcdefe", CompactError { len: 6, stride: 18 }.into()),
        (b"d5:peersli5eee", ReplyError::BadPeer { index: 0 }),
        (b"d5:peersld2:ip7:1.2.3.4eee", ReplyError::BadPeer { index: 0 }),
        (b"d5:peersld4:porti5eeee", ReplyError::BadPeer { index: 0 }),
        (b"d5:peersld2:ipi5e4:porti5eeee", ReplyError::BadPeer { index: 0 }),
        (
            b"d5:peersld2:ip7:1.2.3.44:porti5eed2:ip1:a4:port1:5eee",
            ReplyError::BadPeer { index: 1 },
        ),
    ] {
        assert_eq!(decode_reply(body), Err(error), "{}", body.escape_ascii());
    }
}

#[test]
fn every_truncation_of_a_reply_is_refused() {
    let body = b"d8:completei5e8:intervali900e5:peers6:\x01\x02\x03\x04\x1a\xe1e";
    for len in 0..body.len() {
        assert!(matches!(decode_reply(&body[..len]), Err(ReplyError::Bencode(_))), "{len}");
    }
    assert_eq!(reply(body).peers.len(), 1);
}

#[test]
fn what_is_kept_of_a_reply_is_bounded() {
    let peer = b"d2:ip7:1.2.3.44:porti80ee";
    let many = [&b"d5:peersl"[..], &peer.repeat(MAX_PEERS + 1), b"e6:peers618:aaaaaaaaaaaaaaaaaae"];
    assert_eq!(reply(&many.concat()).peers.len(), MAX_PEERS);

    let named = b"d2:ip1:h4:porti80ee";
    let many = [&b"d5:peersl"[..], &named.repeat(MAX_REPLY_HOSTS + 1), b"ee"].concat();
    assert_eq!(reply(&many).hosts.len(), MAX_REPLY_HOSTS);

    // Every stray byte becomes a character of three.
    let warning = [&b"d5:peers0:15:warning message2000:"[..], &[0xff; 2000], b"e"].concat();
    assert_eq!(reply(&warning).warning.map(|text| text.len()), Some(MAX_REPLY_TEXT / 3 * 3));

    let id = |len: usize| {
        [&b"d5:peers0:10:tracker id"[..], format!("{len}:").as_bytes(), &vec![b'a'; len], b"e"]
            .concat()
    };
    assert_eq!(reply(&id(MAX_TRACKER_ID)).tracker_id.map(|id| id.len()), Some(MAX_TRACKER_ID));
    assert_eq!(reply(&id(MAX_TRACKER_ID + 1)).tracker_id, None);
}
