//! Trackers that mean no good (security.md 2.3, rows 29 to 37, and 5.6, rows 37 to 41): what an
//! announce may cost us, each bound by its name.

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use swarmloop::proto::compact::MAX_PEERS;
use swarmloop::proto::http::{MAX_HEADER_LINES, MAX_RESPONSE_HEAD};
use swarmloop::proto::tracker_http::{
    MAX_INTERVAL, MAX_REPLY_HOSTS, MAX_REPLY_LEN, MAX_REPLY_TEXT, MIN_INTERVAL,
};
use swarmloop::proto::tracker_udp::{Request, parse_request, write_connected};
use swarmloop::session::io::Event;
use swarmloop::time::Duration;
use swarmloop::torrent::candidates::MAX_CANDIDATES;
use swarmloop::tracker::TrackerEvent;

use crate::common::{Setup, World};
use crate::tracker::{ONE, TWO, announced, answer, reports, world};

const UDP: &str = "udp://one.example:6969";

/// `count` compact peers, all different and out in the internet.
fn compact(count: u32) -> Vec<u8> {
    let peer = |n: u32| {
        let [_, b, c, d] = n.to_be_bytes();
        [60 + b, 1, c, d, 0x1a, 0xe1]
    };
    (0..count).flat_map(peer).collect()
}

fn with_peers(peers: &[u8]) -> Vec<u8> {
    let head = format!("d8:intervali1800e5:peers{}:", peers.len());
    [head.as_bytes(), peers, b"e"].concat()
}

/// What came of the first announce, which is answered with this body.
fn answered(body: &[u8]) -> (World, String) {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    answer(&mut world, stream, body);
    assert!(!world.is_open(stream), "nothing more is read");
    let report = reports(&world).remove(0);
    (world, report.strip_prefix(&format!("{ONE} Started ")).expect("the first").to_owned())
}

/// Returns how many addresses are remembered, those that are being dialled included.
fn known(world: &World) -> usize {
    world.status().known + world.dials.len()
}

#[test]
fn a_million_peers_are_not_read_and_of_very_many_some_are_taken() {
    let too_long = format!("the reply is longer than {MAX_REPLY_LEN} bytes");
    let (world, said) = answered(&with_peers(&compact(1_000_000)));
    assert_eq!((said, known(&world)), (too_long.clone(), 0));
    let fit = u32::try_from(MAX_REPLY_LEN / 6 - 10).expect("small");
    let (world, said) = answered(&with_peers(&compact(fit)));
    assert_eq!((said, known(&world)), (MAX_PEERS.to_string(), MAX_CANDIDATES));
    assert!(world.dials.len() <= 200, "{} at once", world.dials.len());
    // The same by the long form (BEP 3).
    let dictionaries = |count: u32| {
        let peer = |n: u32| {
            let [_, b, c, d] = n.to_be_bytes();
            let ip = format!("{}.1.{c}.{d}", 60 + b);
            format!("d2:ip{}:{ip}4:porti6881ee", ip.len())
        };
        let peers: String = (0..count).map(peer).collect();
        format!("d8:intervali1800e5:peersl{peers}ee").into_bytes()
    };
    let (world, said) = answered(&dictionaries(1_000_000));
    assert_eq!((said, known(&world)), (too_long, 0));
    let (world, said) = answered(&dictionaries(25_000));
    assert_eq!((said, known(&world)), (MAX_PEERS.to_string(), MAX_CANDIDATES));
    // As many values as fit, in lists of nothing.
    let (_, said) = answered(&[b"d5:peersl", &b"le".repeat(400_000)[..], b"ee"].concat());
    assert!(said.starts_with("bad reply: not bencode: "), "{said}");
}

/// A tracker that is asked over UDP, up to the moment at which it is to answer the announce. Returns
/// where it is and the announce's transaction.
fn announced_over_udp() -> (World, SocketAddr, u32) {
    let mut world = world(&[&[UDP]]);
    world.resolve(&["198.51.100.1"]);
    let (route, connect) = world.datagrams.pop_front().expect("a datagram");
    let Ok(Request::Connect { transaction }) = parse_request(&connect) else { panic!() };
    let mut out = Vec::new();
    write_connected(&mut out, transaction, 7);
    world.datagram(route.remote, &out);
    let (_, announce) = world.datagrams.pop_front().expect("a datagram");
    let Ok(Request::Announce { transaction, .. }) = parse_request(&announce) else { panic!() };
    (world, route.remote, transaction)
}

/// The longest datagram that there is (RFC 768), which begins with these numbers.
fn jumbo(head: &[u32], rest: &[u8]) -> Vec<u8> {
    let mut jumbo: Vec<u8> = head.iter().copied().flat_map(u32::to_be_bytes).collect();
    jumbo.extend_from_slice(rest);
    jumbo.truncate(65_507);
    jumbo
}

#[test]
fn a_datagram_of_the_greatest_length_names_no_more_peers_than_a_reply() {
    let (mut world, tracker, transaction) = announced_over_udp();
    let head = [1, transaction, u32::MAX, u32::MAX, u32::MAX];
    let peers = [&compact(10_000)[..], &[1, 2, 3]].concat();
    world.datagram(tracker, &jumbo(&head, &peers));
    assert_eq!(reports(&world), [format!("{UDP} Started {MAX_PEERS}")]);
    assert_eq!(known(&world), MAX_CANDIDATES);
    world.advance(MAX_INTERVAL + Duration::from_secs(1));
    assert!(!world.lookups.is_empty(), "it is asked again for all that");
}

#[test]
fn a_datagram_of_the_greatest_length_is_no_longer_a_reason_than_a_reply() {
    let (mut world, tracker, transaction) = announced_over_udp();
    world.datagram(tracker, &jumbo(&[3, transaction], &vec![b'x'; 65_507]));
    let said = reports(&world).remove(0);
    let most = UDP.len() + " Started refused: ".len() + MAX_REPLY_TEXT;
    assert!(said.contains("refused: xxx") && said.len() <= most, "{} bytes", said.len());
}

#[test]
fn peers_that_are_none_spoil_the_answer_or_are_left_out() {
    for (peers, said) in [
        ("5:peers7:1234567", "bad reply: 7 bytes of compact peers are not a multiple of 6"),
        ("6:peers617:12345678901234567", "bad reply: 17 bytes of compact peers are not a multiple"),
        ("5:peersi7e", "bad reply: \"peers\" is not a list of peers"),
        ("5:peersl4:spame", "bad reply: peer 0 has no address"),
        ("5:peersld2:ip1:xee", "bad reply: peer 0 has no address"),
        ("5:peersld2:ip7:1.2.3.44:port4:6881ee", "bad reply: peer 0 has no address"),
        ("5:peersld2:ip7:1.2.3.44:porti-1eee", "0"),
        ("5:peersld2:ip7:1.2.3.44:porti0eee", "0"),
        ("5:peersld2:ip7:1.2.3.44:porti65537eee", "0"),
        ("5:peersld2:ip3:a\nb4:porti7eee", "0"),
        ("5:peersd1:ai1ee", "bad reply: \"peers\" is not a list of peers"),
    ] {
        let (world, got) = answered(format!("d8:intervali1800e{peers}e").as_bytes());
        assert!(got.starts_with(said), "{peers}: {got}, not {said}");
        assert!(world.dials.is_empty() && world.lookups.is_empty(), "{peers}");
    }
}

#[test]
fn names_of_peers_are_looked_up_a_few_at_a_time_and_lead_nowhere_near() {
    let peer = |n| format!("d2:ip6:n{n:05}4:porti7777ee");
    let peers: String = (0..2_000).map(peer).collect();
    let (mut world, _) = answered(format!("d8:intervali1800e5:peersl{peers}ee").as_bytes());
    assert_eq!(world.lookups.len(), MAX_REPLY_HOSTS);
    for near in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0"] {
        world.resolve(&[near]);
    }
    assert!(world.dials.is_empty(), "{:?}", world.dials);
    world.resolve(&["203.0.113.9"]);
    assert_eq!(world.dials.len(), 1);
}

/// Security.md 5.6, row 41.
#[test]
fn whatever_interval_a_tracker_names_it_is_asked_within_bounds() {
    for number in ["0", "-1", "1", "2147483648", "9223372036854775807", "-9223372036854775808"] {
        for key in ["8:interval", "12:min interval", "8:intervali9e12:min interval"] {
            let body = format!("d{key}i{number}e5:peers6:\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}e");
            let (mut world, said) = answered(body.as_bytes());
            assert_eq!(said, "1");
            // It is short of peers all the time.
            world.fail_dial();
            let mut gaps = Vec::new();
            for _ in 0..4 {
                let before = world.now;
                while world.lookups.is_empty() {
                    world.advance_s(1);
                    assert!(world.now - before <= MAX_INTERVAL + Duration::from_secs(1), "{body}");
                    while !world.dials.is_empty() {
                        world.fail_dial();
                    }
                }
                gaps.push(world.now - before);
                let (stream, _) = announced(&mut world);
                answer(&mut world, stream, body.as_bytes());
            }
            assert!(gaps.iter().all(|gap| *gap >= MIN_INTERVAL), "{body:?}: {gaps:?}");
        }
    }
}

/// BEP 31; over UDP (BEP 15) there is no field for it.
#[test]
fn a_refusal_names_its_time_within_bounds() {
    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;
    for (retry, least, most) in [
        ("i5e", 5 * MINUTE, 5 * MINUTE),
        ("1:5", 5 * MINUTE, 5 * MINUTE),
        ("i0e", MINUTE, MINUTE),
        ("i-7e", MINUTE, MINUTE),
        ("i9223372036854775807e", DAY, DAY),
        ("20:99999999999999999999", 0, 60),
        ("4:soon", 0, 60),
        ("le", 0, 60),
        ("de", 0, 60),
        ("5:never", u64::MAX, u64::MAX),
    ] {
        let body = format!("d14:failure reason2:no8:retry in{retry}e");
        let (mut world, said) = answered(body.as_bytes());
        assert_eq!(said, "refused: no", "{retry}");
        let waits = world.events.iter().find_map(|event| match event {
            Event::Tracker { event: TrackerEvent::Failed { retry_in, .. }, .. } => Some(*retry_in),
            _ => None,
        });
        let waits = waits.expect("it has failed").as_secs();
        assert!((least..=most).contains(&waits), "{retry}: {waits} s");
        world.advance_s(waits.min(2 * DAY) + 1);
        assert_eq!(world.lookups.len(), usize::from(waits < DAY + 1), "{retry}");
    }
}

#[test]
fn a_reason_of_any_length_is_cut() {
    let reason = "x".repeat(100_000);
    let body = format!("d14:failure reason{}:{reason}e", reason.len());
    let (_, said) = answered(body.as_bytes());
    assert!(said.len() <= MAX_REPLY_TEXT + "refused: ".len(), "{} bytes", said.len());
}

#[test]
fn endless_answers_end_where_their_limits_are() {
    let bomb = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; 100 << 20]).expect("into memory");
        encoder.finish().expect("into memory")
    };
    let ok = "HTTP/1.1 200 OK\r\n";
    let gzip = format!("{ok}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let too_long = format!("the reply is longer than {MAX_REPLY_LEN} bytes");
    let chunks = format!("{ok}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(20));
    for (what, sent, error) in [
        ("gzip", [gzip.as_bytes(), &bomb].concat(), too_long.clone()),
        (
            "10 GB",
            format!("{ok}Content-Length: 10737418240\r\n\r\n").into_bytes(),
            too_long.clone(),
        ),
        (
            "2^64",
            format!("{ok}Content-Length: 18446744073709551616\r\n\r\n").into_bytes(),
            "the content-length is not one number".to_owned(),
        ),
        ("no end", [format!("{ok}\r\n").into_bytes(), vec![b'x'; 2 << 20]].concat(), too_long),
        (
            "a line",
            format!("{ok}X: {}", "y".repeat(1 << 20)).into_bytes(),
            format!("the http head is longer than {MAX_RESPONSE_HEAD} bytes"),
        ),
        (
            "lines",
            [ok, &"X: y\r\n".repeat(10_000)].concat().into_bytes(),
            format!("the http head has more than {MAX_HEADER_LINES} fields"),
        ),
        (
            "heads",
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000).into_bytes(),
            format!("the http head is longer than {MAX_RESPONSE_HEAD} bytes"),
        ),
        ("drips", chunks.into_bytes(), "timed out".to_owned()),
    ] {
        let mut world = world(&[&[ONE]]);
        let (stream, _) = announced(&mut world);
        world.send(stream, &sent);
        // One that goes on a byte at a time has no longer than one that says nothing.
        for _ in 0..31 {
            if world.is_open(stream) {
                world.send(stream, b"1\r\nx\r\n");
                world.advance_s(1);
            }
        }
        assert!(!world.is_open(stream), "{what}");
        let said = reports(&world).remove(0);
        assert!(said.ends_with(&error), "{what}: {said}");
    }
}

#[test]
fn redirects_bring_no_secrets_and_go_no_nearer() {
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n");
    for (to, error) in [
        ("http://me:secret@two.example/announce", "a user name or password in the url"),
        ("http://127.0.0.1/announce", "a redirect to a more local address is refused"),
        ("http://[::ffff:10.0.0.1]/announce", "a redirect to a more local address is refused"),
        ("http://2130706433/announce", "the host name lookup failed"),
        ("gopher://two.example/announce", "the url's scheme is not supported"),
        ("udp://two.example:6969", "udp is not supported"),
        ("//two.example:0/announce", "the url's port is not in 1..=65535"),
        ("http://two.example/\u{1}", ""),
    ] {
        let mut world = world(&[&[ONE]]);
        let (stream, _) = announced(&mut world);
        world.send(stream, redirect(to).as_bytes());
        if !world.lookups.is_empty() {
            world.resolve(&[]);
        }
        let said = reports(&world).remove(0);
        assert!(said.contains(error), "{to}: {said}");
        assert!(world.dials.is_empty());
    }
    // What was a secret of the first is not told to the second, nor is where we come from.
    let mut world = world(&[&["http://one.example/s3cret/announce?passkey=s3cret"]]);
    let (stream, request) = announced(&mut world);
    assert!(request.contains("s3cret"));
    world.send(stream, redirect("http://two.example/announce").as_bytes());
    let (_, request) = announced(&mut world);
    assert!(!request.contains("s3cret") && !request.contains("Referer"), "{request}");
}

#[cfg(feature = "tls")]
#[test]
fn a_loop_through_both_schemes_ends_where_it_would_be_in_the_clear() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    let away = "HTTP/1.1 301 Moved\r\nLocation: https://one.example/announce\r\n\r\n";
    world.send(stream, away.as_bytes());
    let (stream, _) = announced(&mut world);
    let back = "HTTP/1.1 301 Moved\r\nLocation: http://one.example/announce\r\n\r\n";
    world.send(stream, back.as_bytes());
    let said = reports(&world).remove(0);
    assert!(said.ends_with("a redirect from https to plain http is refused"), "{said}");
    assert!(world.lookups.is_empty());
}

#[test]
fn trackers_that_never_answered_are_not_told_that_we_stop() {
    let mut world = world(&[&[ONE], &[TWO]]);
    let (stream, _) = announced(&mut world);
    world.send(stream, b"HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n");
    let (stream, _) = announced(&mut world);
    answer(&mut world, stream, &with_peers(b""));
    world.session.shutdown(world.now);
    world.settle();
    assert_eq!(world.lookups.len(), 1);
    assert_eq!(world.lookups[0].1, "two.example");
    let (stream, request) = announced(&mut world);
    assert!(request.contains("event=stopped"), "{request}");
    // A last answer that names peers and wants to be asked at once changes nothing.
    answer(&mut world, stream, &with_peers(&compact(50)));
    assert!(world.session.is_idle() && world.dials.is_empty());
}

#[test]
fn a_torrent_of_very_many_trackers_asks_one_at_a_time_and_no_more_than_are_kept() {
    let urls: Vec<String> = (0..5_000).map(|n| format!("http://t{n}.example/announce")).collect();
    let mut world = Setup { trackers: vec![urls], ..Setup::default() }.build();
    let mut asked = 0;
    while !world.lookups.is_empty() {
        assert_eq!(world.lookups.len(), 1, "one in flight");
        world.resolve(&[]);
        asked += 1;
    }
    assert_eq!(asked, swarmloop::tracker::MAX_TRACKERS);
}
