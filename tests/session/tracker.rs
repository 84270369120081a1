//! The conversation with trackers: whom a torrent announces to, what follows from the answers, and
//! how it takes its leave.

use std::cmp::Reverse;
use std::net::SocketAddr;

use swarmloop::proto::priority::canonical_priority;
use swarmloop::session::io::{Event, Mode, Phase};
use swarmloop::time::Duration;
use swarmloop::tracker::TrackerEvent;

use crate::common::{FAST, Remote, Setup, World, peer_id};

pub(crate) const ONE: &str = "http://one.example/announce";
pub(crate) const TWO: &str = "http://two.example:81/announce";

pub(crate) fn world(tiers: &[&[&str]]) -> World {
    let tier = |tier: &&[&str]| tier.iter().map(|&url| url.to_owned()).collect();
    Setup { trackers: tiers.iter().map(tier).collect(), ..Setup::default() }.build()
}

/// Answers the lookup and the dial of an announce, and returns its stream and the request.
pub(crate) fn announced(world: &mut World) -> (Remote, String) {
    world.resolve(&["198.51.100.1"]);
    let stream = world.answer_dial();
    let request = world.text(stream);
    (stream, request)
}

pub(crate) fn answer(world: &mut World, stream: Remote, body: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    world.send(stream, &[head.as_bytes(), body].concat());
}

/// An answer with one peer, 203.0.113.7:6881, and an interval of half an hour.
const ONE_PEER: &[u8] = b"d8:intervali1800e5:peers6:\xcb\x00\x71\x07\x1a\xe1e";
const NO_PEERS: &[u8] = b"d8:intervali1800e5:peers0:e";

/// A downloading torrent whose tracker has named one peer, which is being dialled.
pub(crate) fn with_peer_from_tracker() -> World {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    answer(&mut world, stream, ONE_PEER);
    assert_eq!(world.dials.len(), 1);
    world
}

/// Returns what came of the announces so far, in short.
pub(crate) fn reports(world: &World) -> Vec<String> {
    let events = world.events.iter().filter_map(|event| match event {
        Event::Tracker { url, event, .. } => Some((url, event)),
        _ => None,
    });
    events
        .map(|(url, event)| match event {
            TrackerEvent::Replied { event, peers, .. } => format!("{url} {event:?} {peers}"),
            TrackerEvent::Failed { event, error, .. } => format!("{url} {event:?} {error}"),
            other => format!("{url} {other:?}"),
        })
        .collect()
}

#[test]
fn a_download_is_announced_as_started_completed_and_stopped() {
    let mut world = world(&[&[ONE]]);
    assert_eq!(world.lookups[0].1, "one.example");
    assert_eq!(world.lookups[0].2, 80);
    let (stream, request) = announced(&mut world);
    let left = format!("&left={}&", world.content.len());
    for part in ["GET /announce?info_hash=", "event=started", "&compact=1", &left, "numwant=80"] {
        assert!(request.contains(part), "{part} is not in {request}");
    }
    answer(&mut world, stream, NO_PEERS);
    assert!(!world.is_open(stream));

    let seed = world.join_seed();
    world.serve(seed);
    assert!(world.disk_is_right());
    let (stream, request) = announced(&mut world);
    assert!(request.contains("event=completed") && request.contains("&left=0&"), "{request}");
    answer(&mut world, stream, NO_PEERS);

    world.session.shutdown(world.now);
    world.settle();
    assert!(!world.session.is_idle());
    let (stream, request) = announced(&mut world);
    assert!(request.contains("event=stopped") && request.contains("numwant=0"), "{request}");
    answer(&mut world, stream, NO_PEERS);
    assert!(world.session.is_idle());
    let expected = ["Started 0", "Completed 0", "Stopped 0"].map(|what| format!("{ONE} {what}"));
    assert_eq!(reports(&world), expected);
    world.advance_s(10_000);
    assert!(world.lookups.is_empty() && world.dials.is_empty());
}

#[test]
fn a_torrent_that_was_complete_never_says_completed() {
    let trackers = vec![vec![ONE.to_owned()]];
    let mut world = Setup { trackers, ..Setup::seed() }.build();
    let (stream, request) = announced(&mut world);
    assert!(request.contains("event=started") && request.contains("&left=0&"));
    answer(&mut world, stream, NO_PEERS);
    world.advance_s(1_801);
    let (_, request) = announced(&mut world);
    assert!(!request.contains("event="), "{request}");
}

/// BEP 27: peers of a private torrent are those of one tracker at a time.
#[test]
fn whoever_changes_the_tracker_of_a_private_torrent_leaves_its_peers() {
    const SOON: &[u8] = b"d8:intervali60e5:peers6:\xcb\x00\x71\x07\x1a\xe1e";
    const OTHER_PEER: &[u8] = b"d8:intervali60e5:peers6:\xcb\x00\x71\x08\x1a\xe1e";
    for private in [true, false] {
        let trackers = vec![vec![ONE.to_owned()], vec![TWO.to_owned()]];
        let mut world = Setup { trackers, private, ..Setup::default() }.build();
        let (stream, _) = announced(&mut world);
        answer(&mut world, stream, SOON);
        world.fail_dial();
        let peers = [world.join_leech(FAST), world.join_leech(FAST)];
        world.advance_s(61);
        world.dials.clear();
        // The first fails, the second answers.
        world.resolve(&[]);
        let (stream, _) = announced(&mut world);
        answer(&mut world, stream, OTHER_PEER);
        let why = private.then_some("closed: the tracker of the private torrent is another now");
        for peer in peers {
            assert_eq!(world.closed_with(peer).as_deref(), why);
        }
        let dialled: Vec<String> = world.dials.iter().map(|dial| dial.1.to_string()).collect();
        assert_eq!(dialled, ["203.0.113.8:6881"]);
        // From then on it is the same one.
        let peer = world.join_leech(FAST);
        world.advance_s(61);
        world.dials.clear();
        world.resolve(&[]);
        let (stream, _) = announced(&mut world);
        answer(&mut world, stream, OTHER_PEER);
        assert!(world.is_open(peer));
    }
}

/// BEP 21; trackers that do not know the word take it for a regular announce.
#[test]
fn a_partial_seed_says_so_in_each_regular_announce() {
    let (mode, trackers) = (Mode::Seed, vec![vec![ONE.to_owned()]]);
    let mut world = Setup { mode, trackers, ..Setup::have([0, 1]) }.build();
    assert_eq!(world.status().phase, Phase::PartialSeeding);
    for event in ["&event=started", "&event=paused", "&event=paused"] {
        let (stream, request) = announced(&mut world);
        assert!(request.contains(event) && !request.contains("&left=0&"), "{request}");
        answer(&mut world, stream, NO_PEERS);
        world.advance_s(1_801);
    }
    let (stream, _) = announced(&mut world);
    answer(&mut world, stream, NO_PEERS);
    world.session.shutdown(world.now);
    world.settle();
    let (_, request) = announced(&mut world);
    assert!(request.contains("&event=stopped"), "{request}");
}

#[test]
fn peers_of_the_answer_are_dialled() {
    let mut world = with_peer_from_tracker();
    assert_eq!(world.dials[0].1, "203.0.113.7:6881".parse().expect("an address"));
    let remote = world.answer_dial();
    let handshake = swarmloop::proto::handshake::encode(FAST, world.info_hash, peer_id(1));
    world.send(remote, &handshake);
    assert_eq!(world.status().peers, 1);
}

/// Magnets too, whose candidates are there before anything is known of the torrent.
#[test]
fn peers_are_dialled_in_the_order_of_their_priority_as_others_see_us() {
    let us: SocketAddr = "203.0.113.200:6881".parse().expect("an address");
    let hosts = [1, 2, 77, 130, 254].map(|last| [198, 51, last, 7]);
    let mut expected = hosts.map(|host| SocketAddr::from((host, 6881)));
    expected.sort_by_key(|peer| Reverse(canonical_priority(us, *peer)));
    let peers = hosts.map(|host| [&host[..], &6881_u16.to_be_bytes()].concat()).concat();
    let body = [&b"d8:intervali1800e5:peers30:"[..], &peers, b"e"].concat();
    for magnet in [None, Some(Vec::new())] {
        let setup = Setup { magnet, trackers: vec![vec![ONE.to_owned()]], ..Setup::default() };
        let setup = setup.config(|config| {
            config.announce_ip = Some(us.ip());
            config.announce_port = us.port();
        });
        let mut world = setup.build();
        let (stream, _) = announced(&mut world);
        answer(&mut world, stream, &body);
        let dialled: Vec<SocketAddr> = world.dials.iter().map(|dial| dial.1).collect();
        assert_eq!(dialled, expected);
    }
}

#[test]
fn a_tracker_out_in_the_internet_names_nobody_in_our_networks() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    let body = [
        &b"d8:intervali1800e5:peers24:"[..],
        b"\x7f\x00\x00\x01\x1a\xe1\x0a\x00\x00\x01\x1a\xe1\xa9\xfe\xa9\xfe\x00\x50",
        b"\xcb\x00\x71\x07\x1a\xe1e",
    ];
    answer(&mut world, stream, &body.concat());
    let dialled: Vec<_> = world.dials.iter().map(|dial| dial.1.to_string()).collect();
    assert_eq!(dialled, ["203.0.113.7:6881"]);
}

#[test]
fn an_answer_in_any_portions_is_the_same_answer() {
    for chunk in [1, 7] {
        let mut world = world(&[&[ONE]]);
        world.chunk = chunk;
        let (stream, _) = announced(&mut world);
        answer(&mut world, stream, ONE_PEER);
        assert_eq!(reports(&world), [format!("{ONE} Started 1")]);
    }
}

#[test]
fn an_answer_that_the_end_of_the_stream_completes_counts() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    world.send(stream, &[b"HTTP/1.1 200 OK\r\n\r\n", ONE_PEER].concat());
    assert_eq!(reports(&world).len(), 0);
    world.hang_up(stream);
    assert_eq!(reports(&world), [format!("{ONE} Started 1")]);
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_peer_that_a_tracker_names_by_its_host_name_is_looked_up_and_dialled() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    let body = b"d8:intervali1800e5:peersld2:ip9:peer.test4:porti7000eeee";
    answer(&mut world, stream, body);
    assert_eq!(world.lookups[0].1, "peer.test");
    world.resolve(&["203.0.113.5"]);
    assert_eq!(world.dials[0].1, "203.0.113.5:7000".parse().expect("an address"));
}

#[test]
fn a_redirect_is_followed_to_another_host() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://two.example:81/announce?x=1\r\n\r\n";
    world.send(stream, redirect);
    assert!(!world.is_open(stream));
    assert_eq!((world.lookups[0].1.as_str(), world.lookups[0].2), ("two.example", 81));
    let (stream, request) = announced(&mut world);
    assert!(request.starts_with("GET /announce?x=1 "), "{request}");
    answer(&mut world, stream, ONE_PEER);
    assert_eq!(reports(&world), [format!("{ONE} Started 1")]);
}

#[test]
fn a_tracker_that_redirects_for_ever_is_given_up() {
    let mut world = world(&[&[ONE]]);
    for _ in 0..6 {
        let (stream, _) = announced(&mut world);
        let again = b"HTTP/1.1 302 Found\r\nLocation: http://one.example/announce\r\n\r\n";
        world.send(stream, again);
    }
    assert_eq!(reports(&world), [format!("{ONE} Started more than 5 redirects")]);
    assert!(world.lookups.is_empty());
}

#[test]
fn a_redirect_into_the_local_network_is_not_followed() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    let inward = b"HTTP/1.1 302 Found\r\nLocation: http://router.example/announce\r\n\r\n";
    world.send(stream, inward);
    world.resolve(&["192.168.0.1"]);
    assert!(world.dials.is_empty());
    assert_eq!(reports(&world).len(), 1);
}

#[test]
fn a_tracker_that_fails_hands_over_to_the_next_at_once() {
    let mut world = world(&[&[ONE], &[TWO]]);
    let (stream, _) = announced(&mut world);
    world.send(stream, b"HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(world.lookups[0].1, "two.example");
    let (stream, _) = announced(&mut world);
    answer(&mut world, stream, ONE_PEER);
    let expected = [format!("{ONE} Started http status 500"), format!("{TWO} Started 1")];
    assert_eq!(reports(&world), expected);
}

#[test]
fn each_way_to_fail_has_its_words() {
    type Play = fn(&mut World);
    let cases: [(Play, &str); 8] = [
        (|world| world.resolve(&[]), "the host name lookup failed"),
        (|world| world.advance_s(31), "timed out"),
        (
            |world| {
                world.resolve(&["198.51.100.1"]);
                world.fail_dial();
            },
            "connection failed: connection refused",
        ),
        (
            |world| {
                announced(world);
                world.advance_s(31);
            },
            "timed out",
        ),
        (
            |world| {
                let (stream, _) = announced(world);
                world.hang_up(stream);
            },
            "the stream ended in the http head",
        ),
        (
            |world| {
                let (stream, _) = announced(world);
                world.reset(stream);
            },
            "connection failed: connection reset",
        ),
        (
            |world| {
                let (stream, _) = announced(world);
                answer(world, stream, b"d14:failure reason9:\x1b[31mredee");
            },
            "refused: \\x1b[31mrede",
        ),
        (
            |world| {
                let (stream, _) = announced(world);
                answer(world, stream, b"hello");
            },
            "bad reply: not bencode",
        ),
    ];
    for (play, text) in cases {
        let mut world = world(&[&[ONE]]);
        play(&mut world);
        let reports = reports(&world);
        let expected = format!("{ONE} Started {text}");
        assert!(reports.len() == 1 && reports[0].starts_with(&expected), "{reports:?}, not {text}");
        let before = world.lookups.len();
        world.advance_s(60);
        assert_eq!(world.lookups.len(), before + 1, "{text}: it is asked again");
    }
}

#[test]
fn every_address_of_a_tracker_is_tried_before_it_has_failed() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&["198.51.100.1", "198.51.100.2", "198.51.100.3"]);
    world.fail_dial();
    assert_eq!(world.dials[0].1, "198.51.100.2:80".parse().expect("an address"));
    world.fail_dial();
    let stream = world.answer_dial();
    answer(&mut world, stream, ONE_PEER);
    assert_eq!(reports(&world), [format!("{ONE} Started 1")]);
}

/// Whoever has a name says how many addresses it has, and the next tracker waits meanwhile.
#[test]
fn a_tracker_is_tried_at_a_few_addresses_of_each_family() {
    let mut world = world(&[&[ONE], &[TWO]]);
    let v4 = (1..=64).map(|last| format!("198.51.100.{last}"));
    let v6 = (1..=64).map(|last| format!("2001:db8::{last:x}"));
    let addrs: Vec<String> = v6.chain(v4).collect();
    world.resolve(&addrs.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tried = Vec::new();
    while let Some((_, addr)) = world.dials.front().copied() {
        tried.push(addr.ip().to_string());
        world.fail_dial();
    }
    assert_eq!(tried, [&addrs[..4], &addrs[64..68]].concat());
    assert_eq!(world.lookups[0].1, "two.example");
}

#[test]
fn a_tracker_that_answers_too_late_is_not_heard() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    world.advance(Duration::from_millis(30_100));
    assert!(!world.is_open(stream), "closed at the deadline");
    assert_eq!(reports(&world), [format!("{ONE} Started timed out")]);
}

#[test]
fn a_lookup_that_is_answered_after_its_announce_timed_out_changes_nothing() {
    let mut world = world(&[&[ONE], &[TWO]]);
    world.advance_s(31);
    assert_eq!(world.lookups.len(), 2, "the second tracker's turn");
    world.resolve(&["198.51.100.1"]);
    assert!(world.dials.is_empty());
    world.resolve(&["198.51.100.2"]);
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_failing_tracker_is_asked_less_and_less() {
    let mut world = world(&[&[ONE]]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let failed_at = world.now;
        world.resolve(&[]);
        while world.lookups.is_empty() {
            world.advance_s(1);
        }
        waits.push((world.now - failed_at).as_secs());
    }
    assert!(waits[0] >= 15 && waits[7] >= 900, "{waits:?}");
    assert!(waits.is_sorted(), "{waits:?}");
}

#[test]
fn shutting_down_waits_for_a_silent_tracker_five_seconds() {
    let mut world = with_peer_from_tracker();
    world.session.shutdown(world.now);
    world.settle();
    assert_eq!(world.dials.len(), 0);
    announced(&mut world);
    world.advance(Duration::from_millis(4_900));
    assert!(!world.session.is_idle());
    world.advance(Duration::from_millis(200));
    assert!(world.session.is_idle());
}

#[test]
fn who_is_in_a_hurry_leaves_trackers_untold() {
    let mut world = with_peer_from_tracker();
    // Before the end it is of no effect.
    world.session.skip_announces();
    world.session.shutdown(world.now);
    world.settle();
    let (stream, request) = announced(&mut world);
    assert!(request.contains("event=stopped") && !world.session.is_idle());
    world.session.skip_announces();
    world.settle();
    assert!(world.session.is_idle() && !world.is_open(stream));
}

#[test]
fn shutting_down_during_the_first_announce_says_nothing_more() {
    let mut world = world(&[&[ONE]]);
    let (stream, _) = announced(&mut world);
    world.session.shutdown(world.now);
    world.settle();
    assert!(world.session.is_idle() && !world.is_open(stream) && world.lookups.is_empty());
}

#[test]
fn a_torrent_that_is_removed_says_stopped_and_is_gone() {
    let mut world = with_peer_from_tracker();
    let seed = world.join_seed();
    world.session.remove_torrent(world.torrent, world.now);
    world.settle();
    assert_eq!(world.closed_with(seed).as_deref(), Some("closed: the torrent stopped"));
    let (stream, request) = announced(&mut world);
    assert!(request.contains("event=stopped"));
    answer(&mut world, stream, NO_PEERS);
    assert!(world.session.torrent(world.torrent, world.now).is_none());
    assert_eq!(world.session.memory().lent, 0);
    assert!(world.session.is_idle());
}

#[test]
fn a_torrent_of_nothing_but_unsupported_trackers_is_idle() {
    let mut world = world(&[&["wss://one.example:80", "nonsense"]]);
    world.advance_s(1_000);
    assert!(world.lookups.is_empty() && reports(&world).is_empty());
    assert_eq!(world.session.poll_timeout(), None);
    world.session.shutdown(world.now);
    world.settle();
    assert!(world.session.is_idle());
}

#[test]
fn an_address_that_swallows_dials_does_not_use_up_the_time_of_the_next() {
    let mut world = world(&[&[ONE]]);
    world.resolve(&["2001:db8::1", "198.51.100.7"]);
    assert_eq!(world.dials.len(), 1);
    world.advance_s(16);
    let dialled: Vec<String> = world.dials.iter().map(|(_, addr)| addr.to_string()).collect();
    assert_eq!(dialled, ["198.51.100.7:80"]);
    // Once connected, the exchange has its whole time.
    let stream = world.answer_dial();
    world.advance_s(29);
    answer(&mut world, stream, NO_PEERS);
    assert_eq!(reports(&world), [format!("{ONE} Started 0")]);
}

#[test]
fn a_named_peer_whose_lookup_fails_is_looked_up_again() {
    let peers = vec![("peer.example".to_owned(), 6881)];
    let mut world = Setup { peers, ..Setup::default() }.build();
    world.resolve(&[]);
    assert_eq!(world.status().unresolved, ["peer.example"]);
    world.advance_s(14);
    assert!(world.lookups.is_empty());
    world.advance_s(2);
    world.resolve(&["198.51.100.9"]);
    assert!(world.status().unresolved.is_empty());
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_port_that_is_forwarded_to_us_is_announced_in_place_of_ours() {
    for (announce_port, announced) in [(0, 6_881), (51_413, 51_413)] {
        let trackers = vec![vec!["http://10.0.0.9/announce".to_owned()]];
        let setup = Setup { trackers, ..Setup::seed() }.config(|config| {
            config.listen_port = 6_881;
            config.announce_port = announce_port;
        });
        let mut world = setup.build();
        world.resolve(&["10.0.0.9"]);
        let tracker = world.answer_dial();
        let request = world.text(tracker);
        assert!(request.contains(&format!("&port={announced}&")), "{request}");
    }
}

#[test]
fn an_address_that_is_forwarded_to_us_is_announced() {
    for (announce_ip, announced) in [(None, ""), (Some("203.0.113.9"), "&ip=203.0.113.9 ")] {
        let trackers = vec![vec!["http://10.0.0.9/announce".to_owned()]];
        let setup = Setup { trackers, ..Setup::seed() }.config(|config| {
            config.announce_ip = announce_ip.map(|ip| ip.parse().expect("an address"));
        });
        let mut world = setup.build();
        world.resolve(&["10.0.0.9"]);
        let tracker = world.answer_dial();
        let request = world.text(tracker);
        assert_eq!(request.contains("&ip="), announce_ip.is_some(), "{request}");
        assert!(request.contains(announced), "{request}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn over_https_the_server_has_to_prove_the_name_in_the_url() {
    let mut world = world(&[&["https://one.example/announce"]]);
    assert_eq!((world.lookups[0].1.as_str(), world.lookups[0].2), ("one.example", 443));
    let (stream, request) = announced(&mut world);
    assert_eq!(world.secured.get(&stream.0).map(String::as_str), Some("one.example"));
    assert!(request.contains("\r\nHost: one.example\r\n"), "{request}");
    world.send(stream, b"HTTP/1.1 302 Found\r\nLocation: //two.example/announce\r\n\r\n");
    let (stream, _) = announced(&mut world);
    assert_eq!(world.secured.get(&stream.0).map(String::as_str), Some("two.example"));
    world.send(stream, b"HTTP/1.1 302 Found\r\nLocation: http://two.example/announce\r\n\r\n");
    let last = reports(&world).pop().expect("a report");
    assert!(
        last.ends_with("bad redirect: a redirect from https to plain http is refused"),
        "{last}"
    );
}

#[cfg(feature = "tls")]
#[test]
fn a_server_that_proves_nothing_is_left_for_its_next_address() {
    use swarmloop::session::io::{Closed, TlsError};
    let url = "https://one.example:444/announce";
    let mut world = world(&[&[url]]);
    world.resolve(&["198.51.100.1", "198.51.100.2"]);
    world.fail_dial_with(Closed::Tls(TlsError::WrongName));
    assert_eq!(world.dials[0].1, "198.51.100.2:444".parse().expect("an address"));
    world.fail_dial_with(Closed::Tls(TlsError::UnknownIssuer));
    let error = "tls: the certificate is not signed by anybody who is trusted";
    assert_eq!(reports(&world), [format!("{url} Started {error}")]);
}

#[test]
fn without_https_nothing_is_secured() {
    let mut world = world(&[&[ONE]]);
    announced(&mut world);
    assert!(world.secured.is_empty());
}

#[test]
fn only_a_tracker_that_the_user_has_named_may_be_anything_on_this_machine() {
    const URL: &str = "http://127.0.0.1:8080/t/key";
    for is_named in [false, true] {
        let setup = Setup { trackers: vec![vec![URL.to_owned()]], ..Setup::default() };
        let setup = setup.config(|config| {
            config.user_trackers = if is_named { vec![URL.to_owned()] } else { Vec::new() };
        });
        let mut world = setup.build();
        world.resolve(&["127.0.0.1"]);
        assert_eq!(world.dials.len(), usize::from(is_named));
        if is_named {
            let stream = world.answer_dial();
            assert!(world.text(stream).starts_with("GET /t/key?info_hash="));
            // What it redirects to is its word, and not the user's.
            world.send(stream, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/other\r\n\r\n");
            assert!(world.dials.is_empty());
        }
    }
}
