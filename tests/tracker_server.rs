//! The embedded tracker: who is listed, who hears of whom, and what each path answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::http::MAX_REQUEST_HEAD;
use swarmloop::proto::tracker_http::AnnounceEvent::{self, Completed, Periodic, Started, Stopped};
use swarmloop::proto::tracker_serve::{AnnounceAnswer, AnnounceRequest, PeerForm, SwarmCounts};
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};
use swarmloop::tracker::{AnnounceFacts, Announcer, Exchange, Progress, TrackerError};
use swarmloop::tracker_server::{
    AnnounceError, DEFAULT_NUM_WANT, HttpServerConn, MAX_NUM_WANT, Served, ServerConfig, Swarms,
};

const TORRENT: InfoHash = InfoHash([b'h'; 20]);

fn request(peer: u32) -> AnnounceRequest {
    let mut id = [b'.'; 20];
    id[..4].copy_from_slice(&peer.to_be_bytes());
    AnnounceRequest {
        info_hash: TORRENT,
        peer_id: PeerId(id),
        port: 6881,
        left: Some(1),
        event: Periodic,
        num_want: None,
        compact: true,
        no_peer_id: false,
        ip: None,
    }
}

/// A peer's address; the port is that of its outgoing connection, which is not where it listens.
fn from(peer: u32) -> SocketAddr {
    let ip = Ipv4Addr::from(0x0b00_0000 + peer);
    (ip, 40_000).into()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A tracker, its dice and its clock.
struct Tracker {
    swarms: Swarms,
    rng: Rng,
    now: Instant,
}

impl Tracker {
    fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    fn with(config: ServerConfig) -> Self {
        Self { swarms: Swarms::new(config), rng: Rng::new(3), now: Instant::from_secs(5) }
    }

    fn try_announce(
        &mut self,
        request: &AnnounceRequest,
        from: SocketAddr,
    ) -> Result<AnnounceAnswer, AnnounceError> {
        self.swarms.announce(request, from, &mut self.rng, self.now)
    }

    fn announce(&mut self, request: &AnnounceRequest, from: SocketAddr) -> AnnounceAnswer {
        self.try_announce(request, from).expect("room")
    }

    fn event(&mut self, peer: u32, event: AnnounceEvent, left: u64) -> SwarmCounts {
        let request = AnnounceRequest { event, left: Some(left), ..request(peer) };
        self.announce(&request, from(peer)).counts
    }

    /// One request over a connection of its own.
    fn http(&mut self, bytes: &[u8], from: SocketAddr) -> String {
        let mut out = Vec::new();
        let mut conn = HttpServerConn::new(from);
        let served = conn.feed(bytes, &mut self.swarms, &mut out, &mut self.rng, self.now);
        assert_eq!(served, Served::Close);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn addrs(answer: &AnnounceAnswer) -> Vec<SocketAddr> {
    answer.peers.iter().map(|&(_, addr)| addr).collect()
}

#[test]
fn peers_hear_of_each_other_where_they_listen_and_never_of_themselves() {
    let mut tracker = Tracker::new();
    assert_eq!(addrs(&tracker.announce(&request(1), from(1))), []);
    assert_eq!(addrs(&tracker.announce(&request(2), from(2))), [addr("11.0.0.1:6881")]);
    assert_eq!(addrs(&tracker.announce(&request(1), from(1))), [addr("11.0.0.2:6881")]);
    assert_eq!(tracker.swarms.peers(), 2);
    let other = AnnounceRequest { info_hash: InfoHash([0; 20]), ..request(3) };
    assert_eq!(addrs(&tracker.announce(&other, from(3))), [], "another torrent");
}

#[test]
fn a_peer_with_both_families_does_not_hear_of_its_other_address() {
    let mut tracker = Tracker::new();
    let v6: SocketAddr = addr("[2001:db8::1]:50000");
    tracker.announce(&request(1), from(1));
    assert_eq!(addrs(&tracker.announce(&request(1), v6)), []);
    let answer = tracker.announce(&request(2), from(2));
    let both = [addr("11.0.0.1:6881"), addr("[2001:db8::1]:6881")];
    assert_eq!(addrs(&answer), both);
    // A dual-stack listener sees an IPv4 client like this.
    let mapped = SocketAddr::new(IpAddr::V6(Ipv4Addr::new(11, 0, 0, 2).to_ipv6_mapped()), 1);
    assert_eq!(addrs(&tracker.announce(&request(2), mapped)), both);
    assert_eq!(tracker.swarms.peers(), 3);
}

#[test]
fn counts_follow_the_events() {
    let mut tracker = Tracker::new();
    let counts =
        |complete, downloaded, incomplete| SwarmCounts { complete, downloaded, incomplete };
    assert_eq!(tracker.event(1, Started, 0), counts(1, 0, 0));
    assert_eq!(tracker.event(2, Started, 9), counts(1, 0, 1));
    assert_eq!(tracker.event(2, Completed, 0), counts(2, 1, 0));
    assert_eq!(tracker.event(2, Completed, 0), counts(2, 1, 0), "not twice");
    assert_eq!(tracker.event(1, Periodic, 4), counts(1, 1, 1), "a seed that lost data");
    assert_eq!(tracker.event(1, Stopped, 4), counts(1, 1, 0));
    assert_eq!(tracker.event(1, Stopped, 4), counts(1, 1, 0), "not twice");
    let scraped = tracker.swarms.scrape(&[TORRENT, InfoHash([1; 20]), TORRENT], tracker.now);
    assert_eq!(scraped, [(TORRENT, counts(1, 1, 0))]);
    let silent = AnnounceRequest { left: None, ..request(7) };
    assert_eq!(tracker.announce(&silent, from(7)).counts, counts(1, 1, 1), "no seed unless said");
}

#[test]
fn silent_peers_are_dropped_after_two_intervals() {
    let interval = Duration::from_secs(600);
    let mut config = ServerConfig::default();
    config.interval = interval;
    let mut tracker = Tracker::with(config);
    tracker.event(1, Started, 1);
    tracker.now += interval;
    tracker.event(2, Started, 0);
    tracker.now += Duration::from_micros(599_999_999);
    assert_eq!(tracker.announce(&request(3), from(3)).peers.len(), 2);
    tracker.now += Duration::from_micros(1);
    let answer = tracker.announce(&request(3), from(3));
    assert_eq!(addrs(&answer), [addr("11.0.0.2:6881")]);
    assert_eq!((answer.counts.complete, answer.counts.incomplete), (1, 1));
    tracker.now += interval * 2;
    assert_eq!(tracker.swarms.scrape(&[TORRENT], tracker.now)[0].1.complete, 0);
    assert_eq!(tracker.swarms.peers(), 0);
    tracker.swarms.expire(tracker.now);
    assert_eq!(tracker.swarms.torrents(), 0);
}

#[test]
fn a_short_interval_does_not_drop_clients_that_keep_to_a_minute() {
    let mut config = ServerConfig::default();
    config.interval = Duration::from_secs(1);
    let mut tracker = Tracker::with(config);
    tracker.event(1, Started, 1);
    tracker.now += Duration::from_secs(61);
    let answer = tracker.announce(&request(2), from(2));
    assert_eq!(answer.peers.len(), 1);
    assert_eq!(answer.interval, Duration::from_secs(1));
}

#[test]
fn the_ip_parameter_counts_from_the_loopback_address_only() {
    let named = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));
    let mut tracker = Tracker::new();
    let asks = AnnounceRequest { ip: Some(named), ..request(1) };
    tracker.announce(&asks, from(1));
    tracker.announce(&AnnounceRequest { port: 7, ..asks }, (Ipv4Addr::LOCALHOST, 1).into());
    tracker.announce(&AnnounceRequest { port: 8, ..asks }, (Ipv6Addr::LOCALHOST, 1).into());
    let answer = tracker.announce(&request(2), from(2));
    let listed = ["9.9.9.9:7", "9.9.9.9:8", "11.0.0.1:6881"].map(addr);
    assert_eq!(addrs(&answer), listed);
}

#[test]
fn who_does_not_listen_is_answered_and_not_listed() {
    let mut tracker = Tracker::new();
    tracker.event(1, Started, 1);
    let deaf = AnnounceRequest { port: 0, ..request(2) };
    assert_eq!(tracker.announce(&deaf, from(2)).peers.len(), 1);
    assert_eq!(tracker.swarms.peers(), 1);
}

#[test]
fn numwant_is_kept_to_and_capped() {
    let mut tracker = Tracker::new();
    for peer in 0..300 {
        tracker.event(peer, Started, 1);
    }
    for (num_want, peers) in [
        (None, DEFAULT_NUM_WANT),
        (Some(0), 0),
        (Some(1), 1),
        (Some(199), 199),
        (Some(300), MAX_NUM_WANT),
        (Some(u32::MAX), MAX_NUM_WANT),
    ] {
        let answer = tracker.announce(&AnnounceRequest { num_want, ..request(5) }, from(5));
        assert_eq!(answer.peers.len(), peers, "{num_want:?}");
    }
    let leaves = AnnounceRequest { event: Stopped, ..request(5) };
    assert_eq!(tracker.announce(&leaves, from(5)).peers, [], "who leaves needs none");
}

#[test]
fn memory_is_bounded_and_stale_entries_give_way_first() {
    let mut config = ServerConfig::default();
    config.max_torrents = 20;
    config.max_peers_per_torrent = 8;
    config.max_peers_listed = 30;
    let mut tracker = Tracker::with(config);
    for peer in 0..50 {
        let answer = tracker.announce(&request(peer), from(peer));
        assert_eq!(answer.peers.len(), usize::try_from(peer.min(8)).expect("small"));
    }
    assert_eq!(tracker.swarms.peers(), 8, "the rest is answered and not listed");
    let mut refused = 0;
    for torrent in 0..50 {
        let request = AnnounceRequest { info_hash: InfoHash([torrent; 20]), ..request(1) };
        refused += u32::from(tracker.try_announce(&request, from(1)).is_err());
        refused += u32::from(tracker.try_announce(&request, from(2)).is_err());
    }
    assert_eq!(tracker.swarms.peers(), 30);
    assert_eq!(tracker.swarms.torrents(), 12);
    assert_eq!(refused, 100 - 22);
    let known = tracker.announce(&request(0), from(0));
    assert_eq!(known.peers.len(), 7, "who is known is still answered");

    tracker.now += Duration::from_secs(3601);
    let late = AnnounceRequest { info_hash: InfoHash([99; 20]), ..request(1) };
    tracker.announce(&late, from(1));
    assert_eq!((tracker.swarms.torrents(), tracker.swarms.peers()), (1, 1));
    for torrent in 0..50 {
        let request = AnnounceRequest { info_hash: InfoHash([torrent; 20]), ..request(1) };
        let _ = tracker.try_announce(&request, from(1));
    }
    assert_eq!((tracker.swarms.torrents(), tracker.swarms.peers()), (20, 20));
}

#[test]
fn announces_that_list_nobody_add_no_torrent() {
    let mut tracker = Tracker::new();
    let leaves = AnnounceRequest { event: Stopped, ..request(1) };
    assert_eq!(tracker.announce(&leaves, from(1)).counts, SwarmCounts::default());
    tracker.announce(&AnnounceRequest { port: 0, ..request(1) }, from(1));
    assert_eq!(tracker.swarms.torrents(), 0);
}

#[test]
fn the_form_is_the_one_that_was_asked_for() {
    let mut tracker = Tracker::new();
    tracker.event(1, Started, 1);
    for (compact, no_peer_id, form) in [
        (true, false, PeerForm::Compact),
        (true, true, PeerForm::Compact),
        (false, false, PeerForm::WithIds),
        (false, true, PeerForm::WithoutIds),
    ] {
        let asks = AnnounceRequest { compact, no_peer_id, ..request(2) };
        assert_eq!(tracker.announce(&asks, from(2)).form, form);
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
    let method = response("405 Method Not Allowed", "Allow: GET\r\n", "only GET is served\n");
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
    for (request, expected) in [
        ("\x13BitTorrent protocol".to_owned(), &bad),
        ("GET /\r\n\r\n".to_owned(), &bad),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), &bad),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n".to_owned(), &bad),
        ("POST /announce HTTP/1.1\r\n\r\n".to_owned(), &method),
        ("HEAD / HTTP/1.1\r\n\r\n".to_owned(), &method),
        (format!("GET /{} HTTP/1.1", "a".repeat(MAX_REQUEST_HEAD)), &long),
        (fields, &long),
    ] {
        assert_eq!(Tracker::new().http(request.as_bytes(), from(1)), *expected, "{request:.60}");
    }
}

#[test]
fn a_request_is_answered_once_however_it_is_cut() {
    let request = format!("GET /scrape?{HASH} HTTP/1.1\r\nHost: t\r\n\r\n");
    let request = request.as_bytes();
    let mut tracker = Tracker::new();
    let whole = tracker.http(request, from(1));
    for at in 0..request.len() {
        let mut conn = HttpServerConn::new(from(1));
        let mut out = Vec::new();
        let Tracker { swarms, rng, now } = &mut tracker;
        let served = conn.feed(&request[..at], swarms, &mut out, rng, *now);
        assert_eq!((served, out.len()), (Served::More, 0), "up to {at}");
        let served = conn.feed(&request[at..], swarms, &mut out, rng, *now);
        assert_eq!(served, Served::Close);
        assert_eq!(String::from_utf8_lossy(&out), whole, "cut at {at}");
        let served = conn.feed(request, swarms, &mut out, rng, *now);
        assert_eq!((served, out.len()), (Served::Close, whole.len()), "one answer a connection");
    }
}

/// Carries one announce of `announcer` to `tracker` and back.
fn carry(
    announcer: &mut Announcer,
    facts: &AnnounceFacts,
    tracker: &mut Tracker,
) -> Vec<SocketAddr> {
    let announce = announcer.poll(facts, tracker.now).expect("due");
    let remote: SocketAddr = addr("127.0.0.1:6969");
    let mut exchange = Exchange::new(&announce, remote.ip()).expect("a tracker's path");
    let mut out = Vec::new();
    let mut conn = HttpServerConn::new((Ipv4Addr::LOCALHOST, 40_000).into());
    let Tracker { swarms, rng, now } = tracker;
    let served = conn.feed(exchange.request(), swarms, &mut out, rng, *now);
    assert_eq!(served, Served::Close);
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
        uploaded: 0,
        downloaded: 0,
        left: 0,
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
    assert_eq!(tracker.swarms.scrape(&[TORRENT], tracker.now), [(TORRENT, counts)]);
    seed.stop();
    carry(&mut seed, &facts, &mut tracker);
    assert!(seed.is_stopped());
    assert_eq!(tracker.swarms.peers(), 1);
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
        uploaded: 0,
        downloaded: 0,
        left: 0,
        num_want: 0,
    };
    let announce = announcer.poll(&facts, Instant::ZERO).expect("due");
    let mut exchange = Exchange::new(&announce, from(1).ip()).expect("global");
    match exchange.feed(out.as_bytes()) {
        Err(TrackerError::Failure(failure)) => assert_eq!(failure.reason, "this tracker is full"),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn an_answer_never_has_the_asker_a_stranger_or_too_many(
        announces in prop::collection::vec(
            (0u32..40, 0u64..2, 0u32..60, 0usize..4, 0u64..900),
            1..200,
        ),
        seed: u64,
    ) {
        let mut tracker = Tracker { rng: swarmloop::rng::Rng::new(seed), ..Tracker::new() };
        let mut listed = std::collections::BTreeSet::new();
        for (peer, left, num_want, event, pause) in announces {
            tracker.now += Duration::from_millis(pause);
            let event = [Periodic, Started, Completed, Stopped][event];
            let asks = AnnounceRequest {
                event,
                left: Some(left),
                num_want: Some(num_want),
                ..request(peer)
            };
            let answer = tracker.announce(&asks, from(peer));
            let own = SocketAddr::new(from(peer).ip(), 6881);
            match event {
                Stopped => listed.remove(&own),
                _ => listed.insert(own),
            };
            let mut got = addrs(&answer);
            prop_assert!(!got.contains(&own));
            prop_assert!(got.iter().all(|addr| listed.contains(addr)));
            let others = listed.len() - usize::from(listed.contains(&own));
            let expected = if event == Stopped { 0 } else { others.min(num_want as usize) };
            prop_assert_eq!(got.len(), expected);
            got.sort();
            got.dedup();
            prop_assert_eq!(got.len(), expected, "each once");
            prop_assert_eq!(answer.counts.complete + answer.counts.incomplete, listed.len());
            prop_assert_eq!(tracker.swarms.peers(), listed.len());
        }
    }
}
