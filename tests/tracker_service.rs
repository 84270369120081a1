//! The embedded tracker over HTTP and UDP: what each request is answered, and which get no answer.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use proptest::prelude::*;
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::compact::{parse_peers4, parse_peers6};
use swarmloop::proto::http::MAX_REQUEST_HEAD;
use swarmloop::proto::tracker_http::AnnounceEvent;
use swarmloop::proto::tracker_serve::SwarmCounts;
use swarmloop::proto::tracker_udp::{
    MAX_ANSWER_LEN, Reply, UdpAnnounce, parse_reply, write_announce, write_connect, write_scrape,
};
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};
use swarmloop::tracker::{AnnounceFacts, Announcer, Exchange, Progress, TrackerError};
use swarmloop::tracker_server::{HttpServerConn, Sent, ServedFile, ServerConfig, TrackerServer};

const TORRENT: InfoHash = InfoHash([b'h'; 20]);

fn from(peer: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0b00_0000 + peer), 40_000).into()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A tracker, its dice and its clock.
struct Tracker {
    server: TrackerServer,
    rng: Rng,
    now: Instant,
}

impl Tracker {
    fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    fn with(config: ServerConfig) -> Self {
        let server = TrackerServer::new(config, [9; 32]);
        Self { server, rng: Rng::new(3), now: Instant::from_secs(5) }
    }

    /// Lets a connection take in bytes.
    fn feed(&mut self, conn: &mut HttpServerConn, bytes: &[u8], keep_alive: bool) {
        conn.feed(bytes, &mut self.server, keep_alive, &mut self.rng, self.now);
    }

    /// One request over a connection of its own.
    fn http(&mut self, bytes: &[u8], from: SocketAddr) -> String {
        let mut conn = HttpServerConn::new(from);
        self.feed(&mut conn, bytes, false);
        let (answer, end) = drain(&mut conn);
        assert_eq!(end, Sent::Close);
        answer
    }

    /// The same, in bytes.
    fn raw_http(&mut self, bytes: &[u8], from: SocketAddr) -> Vec<u8> {
        let mut conn = HttpServerConn::new(from);
        self.feed(&mut conn, bytes, false);
        conn.unsent().concat()
    }

    fn get(&mut self, target: &str, from: SocketAddr) -> String {
        self.http(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes(), from)
    }

    /// One datagram, and the answer if there is one.
    fn udp(&mut self, datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.server.answer_datagram(datagram, from, &mut out, &mut self.rng, self.now);
        (!out.is_empty()).then_some(out)
    }

    /// Gets a connection id as clients do.
    fn connect(&mut self, from: SocketAddr) -> u64 {
        let mut connect = Vec::new();
        write_connect(&mut connect, 77);
        let answer = self.udp(&connect, from).expect("an answer");
        assert_eq!(answer.len(), connect.len());
        match parse_reply(&answer) {
            Ok(Reply::Connected { transaction: 77, connection }) => connection,
            other => panic!("{other:?}"),
        }
    }
}

/// Takes an answer byte by byte.
fn drain(conn: &mut HttpServerConn) -> (String, Sent) {
    let mut out = Vec::new();
    loop {
        let [head, body] = conn.unsent();
        let Some(byte) = head.first().or(body.first()) else { panic!("nothing to send") };
        out.push(*byte);
        match conn.sent(1) {
            Sent::More => {}
            end => return (String::from_utf8_lossy(&out).into_owned(), end),
        }
    }
}

const HASH: &str = "info_hash=hhhhhhhhhhhhhhhhhhhh";
const ID: &str = "peer_id=iiiiiiiiiiiiiiiiiiii";

fn response(status: &str, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{fields}\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn each_path_answers_over_http() {
    let counts = "8:completei0e10:downloadedi0e10:incompletei1e";
    let intervals = "8:intervali1800e12:min intervali60e";
    let ok = |body: &str| response("200 OK", "", body);
    let failure = |reason: &str| ok(&format!("d14:failure reason{}:{reason}e", reason.len()));
    let announce = format!("/announce?{HASH}&{ID}&port=6881");
    let mut tracker = Tracker::new();
    for (target, expected) in [
        (format!("{announce}&compact=1"), ok(&format!("d{counts}{intervals}5:peers0:e"))),
        (announce.clone(), ok(&format!("d{counts}{intervals}5:peerslee"))),
        (format!("http://any:80{announce}"), ok(&format!("d{counts}{intervals}5:peerslee"))),
        (format!("/scrape?{HASH}"), ok(&format!("d5:filesd20:hhhhhhhhhhhhhhhhhhhhd{counts}eee"))),
        ("/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa".into(), ok("d5:filesdee")),
        ("/scrape".into(), failure("missing info_hash")),
        ("/announce".into(), failure("missing port")),
        (format!("/announce?{HASH}&port=1"), failure("missing peer_id")),
        (format!("/announce?{HASH}&{ID}&port=x%0d%0ay"), failure("invalid port")),
        ("/".into(), ok("A BitTorrent tracker: announce to /announce\n")),
        ("http://any".into(), ok("A BitTorrent tracker: announce to /announce\n")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(tracker.http(request.as_bytes(), from(1)), expected, "{target}");
    }
    for target in ["/announce/", "/announcex", "/stats?a", "*"] {
        let request = format!("GET {target} HTTP/1.0\n\n");
        let body = "only /announce and /scrape are served\n";
        let expected = response("404 Not Found", "", body);
        assert_eq!(tracker.http(request.as_bytes(), from(1)), expected, "{target}");
    }
}

#[test]
fn whatever_is_no_get_request_is_refused() {
    let bad = response("400 Bad Request", "", "not an http request\n");
    let long = response("431 Request Header Fields Too Large", "", "the request is too long\n");
    let method = response("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "only GET is served\n");
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
    for (request, expected) in [
        ("\x13BitTorrent protocol".to_owned(), &bad),
        ("GET /\r\n\r\n".to_owned(), &bad),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), &bad),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n".to_owned(), &bad),
        ("POST /announce HTTP/1.1\r\n\r\n".to_owned(), &method),
        ("PUT / HTTP/1.1\r\n\r\n".to_owned(), &method),
        (format!("GET /{} HTTP/1.1", "a".repeat(MAX_REQUEST_HEAD)), &long),
        (fields, &long),
    ] {
        assert_eq!(Tracker::new().http(request.as_bytes(), from(1)), *expected, "{request:.60}");
    }
}

#[test]
fn a_request_is_answered_however_it_is_cut() {
    let request = format!("GET /scrape?{HASH} HTTP/1.1\r\nHost: t\r\n\r\n");
    let request = request.as_bytes();
    let mut tracker = Tracker::new();
    let whole = tracker.http(request, from(1));
    for at in 0..request.len() {
        let mut conn = HttpServerConn::new(from(1));
        tracker.feed(&mut conn, &request[..at], false);
        assert!(!conn.is_answering(), "up to {at}");
        tracker.feed(&mut conn, &request[at..], false);
        assert_eq!(drain(&mut conn), (whole.clone(), Sent::Close), "cut at {at}");
    }
}

#[test]
fn a_connection_is_kept_by_who_wants_to_and_may() {
    let get = |version: &str, fields: &str| format!("GET / HTTP/{version}\r\n{fields}\r\n");
    let keep = "Connection: keep-alive\r\n";
    for (request, may, kept) in [
        (get("1.1", ""), true, true),
        (get("1.1", ""), false, false),
        (get("1.1", "Connection: close\r\n"), true, false),
        (get("1.0", ""), true, false),
        (get("1.0", keep), true, true),
        (get("1.1", "Content-Length: 3\r\n"), true, false),
        ("nonsense\r\n\r\n".to_owned(), true, false),
    ] {
        let mut tracker = Tracker::new();
        let mut conn = HttpServerConn::new(from(1));
        tracker.feed(&mut conn, request.as_bytes(), may);
        let (answer, end) = drain(&mut conn);
        assert_eq!(end, if kept { Sent::Next } else { Sent::Close }, "{request:?}");
        let word = if kept { "keep-alive" } else { "close" };
        assert!(answer.contains(&format!("\r\nConnection: {word}\r\n")), "{answer}");
    }
}

#[test]
fn requests_that_come_together_are_answered_one_after_the_other() {
    let mut tracker = Tracker::new();
    let mut conn = HttpServerConn::new(from(1));
    let requests = "GET / HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\n\
                    GET /scrape HTTP/1.1\r\n\r\nGET /begun";
    tracker.feed(&mut conn, requests.as_bytes(), true);
    let mut answers = Vec::new();
    while conn.is_answering() {
        let (answer, end) = drain(&mut conn);
        assert_eq!(end, Sent::Next);
        answers.push(answer.split("\r\n").next().expect("a line").to_owned());
        let Tracker { server, rng, now } = &mut tracker;
        conn.proceed(server, true, rng, *now);
    }
    assert_eq!(answers, ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]);
    tracker.feed(&mut conn, b" HTTP/1.1\r\n\r\n", true);
    assert!(conn.is_answering(), "the rest of the fourth");
}

#[test]
fn files_are_served_at_their_paths() {
    let mut config = ServerConfig::default();
    config.files = vec![ServedFile {
        path: "/two words.torrent".to_owned(),
        media_type: "application/x-bittorrent",
        body: Bytes::from_static(b"d4:infodee"),
    }];
    let mut tracker = Tracker::with(config);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-bittorrent\r\n\
                Content-Length: 10\r\nConnection: close\r\n\r\n";
    let whole = format!("{head}d4:infodee");
    assert_eq!(tracker.get("/two%20words.torrent", from(1)), whole);
    assert_eq!(tracker.get("/two%20words.torrent?x=1", from(1)), whole);
    let asks = b"HEAD /two%20words.torrent HTTP/1.1\r\n\r\n";
    assert_eq!(tracker.http(asks, from(1)), head);
    for target in ["/two%20words.torren", "/../two%20words.torrent", "/%ff"] {
        assert!(tracker.get(target, from(1)).starts_with("HTTP/1.1 404 "), "{target}");
    }
    assert_eq!(tracker.server.status().counters.files, 3);
}

#[test]
fn an_address_that_asks_too_often_is_put_off() {
    let mut config = ServerConfig::default();
    (config.rate_per_addr, config.burst_per_addr) = (1, 3);
    let mut tracker = Tracker::with(config);
    let ok = |tracker: &mut Tracker, from| {
        (0..9).filter(|_| tracker.get("/", from).starts_with("HTTP/1.1 200 ")).count()
    };
    assert_eq!(ok(&mut tracker, from(1)), 3);
    assert!(tracker.get("/", from(1)).starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
    assert_eq!(ok(&mut tracker, from(2)), 3);
    tracker.now += Duration::from_secs(2);
    assert_eq!(ok(&mut tracker, from(1)), 2);
}

/// Carries one announce of `announcer` to `tracker` and back.
fn carry(
    announcer: &mut Announcer,
    facts: &AnnounceFacts,
    tracker: &mut Tracker,
) -> Vec<SocketAddr> {
    let announce = announcer.poll(facts, tracker.now).expect("due");
    let remote: SocketAddr = addr("127.0.0.1:6969");
    let mut exchange = Exchange::new(&announce, remote.ip()).expect("a tracker of ours");
    let out = tracker.raw_http(exchange.request(), (Ipv4Addr::LOCALHOST, 40_000).into());
    match exchange.feed(&out) {
        Ok(Progress::Reply(reply)) => {
            announcer.handle_reply(&reply, tracker.now).expect("in flight");
            reply.peers
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_client_and_our_tracker_understand_each_other() {
    let tiers = [vec!["http://127.0.0.1:6969/announce".to_owned()]];
    let mut tracker = Tracker::new();
    let facts = AnnounceFacts {
        info_hash: TORRENT,
        peer_id: PeerId([1; 20]),
        key: 1,
        port: 1001,
        ip: None,
        uploaded: 0,
        downloaded: 0,
        left: 0,
        is_partial_seed: false,
        num_want: 80,
    };
    let leech = AnnounceFacts { peer_id: PeerId([2; 20]), port: 1002, left: 5, ..facts };
    let mut rng = Rng::new(9);
    let mut seed = Announcer::new(&tiers, &mut rng);
    let mut leecher = Announcer::new(&tiers, &mut rng);
    seed.start(tracker.now);
    leecher.start(tracker.now);
    assert_eq!(carry(&mut seed, &facts, &mut tracker), []);
    assert_eq!(carry(&mut leecher, &leech, &mut tracker), [addr("127.0.0.1:1001")]);
    leecher.completed(tracker.now);
    carry(&mut leecher, &AnnounceFacts { left: 0, ..leech }, &mut tracker);
    let counts = SwarmCounts { complete: 2, downloaded: 1, incomplete: 0 };
    let mut of_torrent = tracker.server.status();
    assert_eq!((of_torrent.torrents, of_torrent.peers, of_torrent.seeds), (1, 2, 2));
    assert_eq!(scrape(&mut tracker, &[TORRENT]), [counts]);
    seed.stop();
    carry(&mut seed, &facts, &mut tracker);
    assert!(seed.is_stopped());
    of_torrent = tracker.server.status();
    assert_eq!(of_torrent.peers, 1);
}

#[test]
fn a_refusal_reaches_the_client_as_its_reason() {
    let mut config = ServerConfig::default();
    config.max_torrents = 0;
    let mut tracker = Tracker::with(config);
    let target = format!("GET /announce?{HASH}&{ID}&port=1 HTTP/1.1\r\n\r\n");
    let out = tracker.http(target.as_bytes(), from(1));
    let mut announcer = Announcer::new(&[vec!["http://t/announce".to_owned()]], &mut Rng::new(1));
    announcer.start(Instant::ZERO);
    let facts = AnnounceFacts {
        info_hash: TORRENT,
        peer_id: PeerId([1; 20]),
        key: 1,
        port: 1,
        ip: None,
        uploaded: 0,
        downloaded: 0,
        left: 0,
        is_partial_seed: false,
        num_want: 0,
    };
    let announce = announcer.poll(&facts, Instant::ZERO).expect("due");
    let mut exchange = Exchange::new(&announce, from(1).ip()).expect("global");
    match exchange.feed(out.as_bytes()) {
        Err(TrackerError::Failure(failure)) => assert_eq!(failure.reason, "this tracker is full"),
        other => panic!("{other:?}"),
    }
}

const ANNOUNCE: UdpAnnounce = UdpAnnounce {
    info_hash: TORRENT,
    peer_id: PeerId([b'i'; 20]),
    downloaded: 0,
    left: 1,
    uploaded: 0,
    event: AnnounceEvent::Started,
    ip: None,
    key: 5,
    num_want: None,
    port: 6881,
};

/// Asks for a connection id and announces with it.
fn announce(tracker: &mut Tracker, announce: &UdpAnnounce, from: SocketAddr) -> Vec<u8> {
    let connection = tracker.connect(from);
    let mut out = Vec::new();
    write_announce(&mut out, connection, 78, announce, b"/announce?x=y");
    tracker.udp(&out, from).expect("an answer")
}

/// An announce of a peer's own, and who it hears of.
fn announced(tracker: &mut Tracker, peer: u32, from: SocketAddr) -> Vec<SocketAddr> {
    let mut id = [b'.'; 20];
    id[..4].copy_from_slice(&peer.to_be_bytes());
    let answer = announce(tracker, &UdpAnnounce { peer_id: PeerId(id), ..ANNOUNCE }, from);
    match parse_reply(&answer) {
        Ok(Reply::Announced { transaction: 78, peers, .. }) => {
            let parse = if from.is_ipv4() { parse_peers4 } else { parse_peers6 };
            let mut peers = parse(peers).expect("whole peers");
            peers.sort();
            peers
        }
        other => panic!("{other:?}"),
    }
}

fn scrape(tracker: &mut Tracker, torrents: &[InfoHash]) -> Vec<SwarmCounts> {
    let connection = tracker.connect(from(9));
    let mut out = Vec::new();
    write_scrape(&mut out, connection, 79, torrents);
    let answer = tracker.udp(&out, from(9)).expect("an answer");
    match parse_reply(&answer) {
        Ok(Reply::Scraped { transaction: 79, swarms }) => swarms.iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn failure(answer: &[u8]) -> String {
    match parse_reply(answer) {
        Ok(Reply::Failed { message, .. }) => String::from_utf8_lossy(message).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn http_and_udp_share_their_swarms() {
    let mut tracker = Tracker::new();
    assert_eq!(announced(&mut tracker, 1, from(1)), []);
    let get = "/announce?info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=jjjjjjjjjjjjjjjjjjjj&port=7&left=0";
    let reply = tracker.get(get, from(2));
    assert!(reply.contains("2:ip8:11.0.0.1") && reply.contains("4:porti6881e"), "{reply}");
    assert_eq!(announced(&mut tracker, 1, from(1)), [addr("11.0.0.2:7")]);
    let counts = SwarmCounts { complete: 1, downloaded: 0, incomplete: 1 };
    let torrents = [InfoHash([1; 20]), TORRENT, TORRENT];
    assert_eq!(scrape(&mut tracker, &torrents), [SwarmCounts::default(), counts, counts]);
    let counters = tracker.server.status().counters;
    assert_eq!((counters.announces_http, counters.announces_udp, counters.scrapes), (1, 2, 1));
}

#[test]
fn an_announce_by_udp_hears_of_its_family_within_a_packet() {
    let mut tracker = Tracker::new();
    for peer in 1..=300u16 {
        announced(&mut tracker, peer.into(), from(peer.into()));
        let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, peer, 0, 0, 0, 1], 40_000));
        announced(&mut tracker, u32::from(peer) + 1_000, v6);
    }
    let asks = UdpAnnounce { num_want: Some(1_000), ..ANNOUNCE };
    for (from, most) in [(from(500), 200), (addr("[2001:db8:ffff::1]:9"), 67)] {
        let answer = announce(&mut tracker, &asks, from);
        assert!(answer.len() <= MAX_ANSWER_LEN);
        let stride = if from.is_ipv4() { 6 } else { 18 };
        assert_eq!(answer.len(), 20 + most * stride);
    }
}

#[test]
fn who_has_not_proven_his_address_is_never_answered_with_more_than_he_sent() {
    let mut tracker = Tracker::new();
    for peer in 1..=100 {
        announced(&mut tracker, peer, from(peer));
    }
    let good = tracker.connect(from(1));
    let mut datagrams = Vec::new();
    for connection in [0, 1, u64::MAX, good ^ 1, good] {
        let mut out = Vec::new();
        write_announce(&mut out, connection, 1, &ANNOUNCE, b"");
        datagrams.push(out);
        let mut out = Vec::new();
        write_scrape(&mut out, connection, 1, &[TORRENT]);
        datagrams.push(out);
    }
    for datagram in datagrams {
        let answer = tracker.udp(&datagram, from(2)).expect("word that the id is bad");
        assert!(answer.len() <= datagram.len());
        assert_eq!(failure(&answer), "unknown connection id");
    }
    assert_eq!(tracker.server.status().peers, 100, "nobody was listed");
}

#[test]
fn a_connection_id_lasts_two_minutes() {
    let mut tracker = Tracker::new();
    let connection = tracker.connect(from(1));
    let mut out = Vec::new();
    write_announce(&mut out, connection, 1, &ANNOUNCE, b"");
    tracker.now += Duration::from_secs(120);
    let answer = tracker.udp(&out, from(1)).expect("an answer");
    assert!(matches!(parse_reply(&answer), Ok(Reply::Announced { .. })));
    tracker.now += Duration::from_secs(60);
    assert_eq!(failure(&tracker.udp(&out, from(1)).expect("an answer")), "unknown connection id");
}

#[test]
fn refusals_by_udp_say_why() {
    let mut config = ServerConfig::default();
    config.allowed = Some([InfoHash([1; 20])].into());
    let mut tracker = Tracker::with(config);
    let answer = announce(&mut tracker, &ANNOUNCE, from(1));
    assert_eq!(failure(&answer), "this tracker does not track this torrent");
    let connection = tracker.connect(from(1));
    let mut out = Vec::new();
    write_announce(&mut out, connection, 1, &ANNOUNCE, b"/path");
    out.pop();
    assert_eq!(failure(&tracker.udp(&out, from(1)).expect("an answer")), "an option is cut off");
}

#[test]
fn the_ip_of_an_announce_by_udp_counts_from_the_loopback_address_only() {
    let mut tracker = Tracker::new();
    let named = UdpAnnounce { ip: Some(Ipv4Addr::new(9, 9, 9, 9)), ..ANNOUNCE };
    announce(&mut tracker, &named, from(1));
    announce(&mut tracker, &UdpAnnounce { port: 7, ..named }, addr("127.0.0.1:9"));
    let listed = [addr("9.9.9.9:7"), addr("11.0.0.1:6881")];
    assert_eq!(announced(&mut tracker, 2, from(2)), listed);
}

#[test]
fn a_flood_in_the_name_of_an_address_does_not_cut_it_off() {
    let mut config = ServerConfig::default();
    (config.rate_per_addr, config.burst_per_addr) = (1, 5);
    let mut tracker = Tracker::with(config);
    let mut connect = Vec::new();
    write_connect(&mut connect, 1);
    let connection = tracker.connect(from(1));
    let answers = (0..50).filter(|_| tracker.udp(&connect, from(1)).is_some()).count();
    assert_eq!(answers, 4);
    let mut out = Vec::new();
    write_announce(&mut out, connection, 1, &ANNOUNCE, b"");
    let answers = (0..50).filter(|_| tracker.udp(&out, from(1)).is_some()).count();
    assert_eq!(answers, 5, "who has an id has another bucket, and that has a bottom, too");
    assert_eq!(tracker.server.status().counters.dropped, 46 + 45);
}

proptest! {
    #[test]
    fn noise_gets_no_answer_or_a_short_one(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        action in 0u8..4,
        connects: bool,
    ) {
        let mut tracker = Tracker::new();
        let mut datagram = bytes;
        if datagram.len() >= 12 {
            datagram[8..12].copy_from_slice(&[0, 0, 0, action]);
            if connects {
                datagram[..8].copy_from_slice(&0x0417_2710_1980_u64.to_be_bytes());
            }
        }
        let len = tracker.udp(&datagram, from(1)).map_or(0, |answer| answer.len());
        prop_assert!(len <= datagram.len(), "{len} for {}", datagram.len());
        prop_assert_eq!(tracker.server.status().peers, 0);
    }
}
