//! Questions that are no torrent's: files, scrapes and single announces as a session asks for them,
//! and what servers may do to it: each bound that is named here is held.

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use swarmloop::id::InfoHash;
use swarmloop::proto::http::MAX_RESPONSE_HEAD;
use swarmloop::proto::tracker_serve::SwarmCounts;
use swarmloop::proto::tracker_udp::{
    MAX_ANSWER_LEN, MAX_SCRAPE_ASKED, Request, parse_request, write_connected, write_failed,
    write_scraped,
};
use swarmloop::proto::url::AnnounceUrl;
use swarmloop::session::Question;
use swarmloop::session::io::{Event, QuestionId};
use swarmloop::time::Duration;
use swarmloop::tracker::{AnnounceEvent, Answer, MAX_REDIRECTS, TrackerError};

use crate::common::{Remote, Setup, World};

const SITE: &str = "198.51.100.1";
const LIMIT: usize = 100_000;

fn world() -> World {
    Setup::default().build()
}

fn ask(world: &mut World, question: Question) -> QuestionId {
    let id = world.session.ask_question(question, world.now).expect("it can be asked");
    world.settle();
    id
}

fn fetch(world: &mut World, url: &str) -> QuestionId {
    let url = AnnounceUrl::of_file(url).expect("a url");
    ask(world, Question::Fetch { url, max_len: LIMIT })
}

/// Fetches a file up to the moment at which its server is to answer.
fn fetching(world: &mut World) -> (QuestionId, Remote) {
    let id = fetch(world, "http://site.example/x.torrent?a=1");
    world.resolve(&[SITE]);
    let server = world.answer_dial();
    let request = world.text(server);
    assert!(
        request.starts_with("GET /x.torrent?a=1 HTTP/1.1\r\nHost: site.example\r\n"),
        "{request}"
    );
    (id, server)
}

/// Returns what a question came to; `None` if it is under way.
fn answer(world: &World, id: QuestionId) -> Option<Result<Answer, TrackerError>> {
    world.events.iter().find_map(|event| match event {
        Event::Answered { question, answer } if *question == id => Some((**answer).clone()),
        _ => None,
    })
}

/// Returns why a question has failed.
fn why(world: &World, id: QuestionId) -> String {
    match answer(world, id) {
        Some(Err(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn file(world: &World, id: QuestionId) -> Vec<u8> {
    match answer(world, id) {
        Some(Ok(Answer::File(bytes))) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_fetched_in_whatever_portions_and_framing_it_comes() {
    for (head, body) in [
        ("Content-Length: 11\r\n\r\n", "hello world"),
        ("Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        ("\r\n", "hello world"),
    ] {
        for chunk in [1, usize::MAX] {
            let mut world = world();
            world.chunk = chunk;
            let (id, server) = fetching(&mut world);
            world.send(server, format!("HTTP/1.1 200 OK\r\n{head}{body}").as_bytes());
            if head == "\r\n" {
                assert_eq!(answer(&world, id), None, "the end of the stream ends it");
                world.hang_up(server);
            }
            assert_eq!(file(&world, id), b"hello world");
            assert!(!world.is_open(server), "nothing is left open");
        }
    }
}

#[test]
fn every_address_of_a_server_is_tried_before_it_has_failed() {
    let mut world = world();
    let id = fetch(&mut world, "http://site.example/x");
    world.resolve(&[SITE, "198.51.100.2", "198.51.100.3"]);
    world.fail_dial();
    // The second swallows what is sent to it.
    world.advance_s(16);
    let dialled: Vec<String> = world.dials.iter().map(|dial| dial.1.to_string()).collect();
    assert_eq!(dialled.last().expect("a dial"), "198.51.100.3:80");
    world.dials.drain(..world.dials.len() - 1);
    let server = world.answer_dial();
    world.send(server, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(file(&world, id), b"hi");
    let nowhere = fetch(&mut world, "http://no.example/x");
    world.resolve(&[]);
    assert_eq!(why(&world, nowhere), "the host name lookup failed");
}

#[test]
fn what_servers_may_send_is_bounded() {
    let bomb = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; 100 * LIMIT]).expect("into memory");
        encoder.finish().expect("into memory")
    };
    assert!(bomb.len() < LIMIT, "it is one when it is unpacked");
    let ok = "HTTP/1.1 200 OK\r\n";
    let gzip = format!("{ok}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let too_long = format!("the reply is longer than {LIMIT} bytes");
    for (what, sent, error) in [
        ("a length", format!("{ok}Content-Length: {}\r\n\r\n", LIMIT + 1).into_bytes(), &too_long),
        (
            "a chunk",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n").into_bytes(),
            &too_long,
        ),
        ("no end", [format!("{ok}\r\n").as_bytes(), &vec![b'x'; LIMIT + 1]].concat(), &too_long),
        ("a bomb", [gzip.as_bytes(), &bomb].concat(), &too_long),
        (
            "a head",
            format!("{ok}X: {}", "y".repeat(MAX_RESPONSE_HEAD)).into_bytes(),
            &format!("the http head is longer than {MAX_RESPONSE_HEAD} bytes"),
        ),
        (
            "fields",
            format!("{ok}{}\r\n", "X: y\r\n".repeat(65)).into_bytes(),
            &"the http head has more than 64 fields".to_owned(),
        ),
        ("not found", b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(), &"http status 404".to_owned()),
    ] {
        let mut world = world();
        let (id, server) = fetching(&mut world);
        world.send(server, &sent);
        assert_eq!(why(&world, id), *error, "{what}");
        assert!(!world.is_open(server), "{what}");
    }
}

#[test]
fn a_server_that_drips_is_left_after_two_minutes_in_all() {
    let mut world = world();
    let (id, server) = fetching(&mut world);
    world.send(server, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..119 {
        world.advance_s(1);
        world.send(server, b"x");
    }
    assert_eq!(answer(&world, id), None);
    // Deadlines are seen to within a tick of the wheel.
    world.advance_s(2);
    assert_eq!(why(&world, id), "timed out");
    assert!(!world.is_open(server));
}

#[test]
fn redirects_are_followed_so_often_and_only_outwards() {
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n");
    let mut world = world();
    let (id, mut server) = fetching(&mut world);
    for hop in 0..=MAX_REDIRECTS {
        assert_eq!(answer(&world, id), None, "hop {hop}");
        world.send(server, redirect("/again").as_bytes());
        if hop < MAX_REDIRECTS {
            world.resolve(&[SITE]);
            server = world.answer_dial();
        }
    }
    assert_eq!(why(&world, id), "more than 5 redirects");
    for (to, error) in [
        (
            "http://127.0.0.1/announce",
            "bad redirect: a redirect to a more local address is refused",
        ),
        ("http://169.254.169.254/x", "bad redirect: a redirect to a more local address is refused"),
        ("http://[fd00::1]/x", "bad redirect: a redirect to a more local address is refused"),
        ("file:///etc/passwd", "bad redirect: the url has no host"),
        ("udp://t.example:1", "udp is not supported"),
        ("ftp://t.example/x", "the url's scheme is not supported"),
    ] {
        let mut world = self::world();
        let (id, server) = fetching(&mut world);
        world.send(server, redirect(to).as_bytes());
        assert_eq!(why(&world, id), error, "{to}");
    }
    // By a name that leads inside: at no address of it is anything asked.
    let mut world = self::world();
    let (id, server) = fetching(&mut world);
    world.send(server, redirect("http://inside.example/x").as_bytes());
    world.resolve(&["10.0.0.1", "::1"]);
    assert_eq!(why(&world, id), "a redirect to a more local address is refused");
    assert!(world.dials.is_empty());
}

#[test]
fn what_the_user_names_may_be_on_this_machine() {
    let mut world = world();
    let id = fetch(&mut world, "http://localhost:8000/x.torrent");
    world.resolve(&["127.0.0.1"]);
    let server = world.answer_dial();
    world.send(server, b"HTTP/1.1 301 Moved\r\nLocation: /y.torrent\r\n\r\n");
    world.resolve(&["127.0.0.1"]);
    let server = world.answer_dial();
    assert!(world.text(server).starts_with("GET /y.torrent "));
    world.send(server, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!");
    assert_eq!(file(&world, id), b"!");
}

#[test]
fn so_many_questions_are_under_way_and_the_others_wait() {
    let mut world = world();
    let ids: Vec<_> =
        (0..40).map(|n| fetch(&mut world, &format!("http://h{n}.example/"))).collect();
    assert_eq!(world.lookups.len(), 32);
    for _ in 0..40 {
        world.resolve(&[]);
    }
    assert!(ids.iter().all(|id| answer(&world, *id).is_some()));
}

/// Answers the connect of a UDP tracker, and returns where that is.
fn connected(world: &mut World) -> SocketAddr {
    let (route, bytes) = world.datagrams.pop_front().expect("a connect");
    let Ok(Request::Connect { transaction }) = parse_request(&bytes) else { panic!("{bytes:?}") };
    let mut out = Vec::new();
    write_connected(&mut out, transaction, 9);
    world.datagram(route.remote, &out);
    route.remote
}

#[test]
fn a_swarm_is_asked_for_where_the_announce_says() {
    let url = |text| AnnounceUrl::parse(text).expect("a url");
    let torrents = vec![InfoHash([b'a'; 20])];
    let scrape = |text| Question::Scrape { url: url(text), torrents: torrents.clone() };
    let mut world = world();
    let id = ask(&mut world, scrape("http://t.example/k3y/announce?x=1"));
    world.resolve(&[SITE]);
    let server = world.answer_dial();
    let request = world.text(server);
    let asked = "GET /k3y/scrape?x=1&info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n";
    assert!(request.starts_with(asked), "{request}");
    let body = "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei5e10:downloadedi7e10:incompletei2eeee";
    world.send(server, format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes());
    world.hang_up(server);
    let swarm = SwarmCounts { complete: 5, downloaded: 7, incomplete: 2 };
    assert_eq!(answer(&world, id), Some(Ok(Answer::Scraped(vec![Some(swarm)]))));

    let refused = world.session.ask_question(scrape("http://t.example/x"), world.now);
    assert_eq!(refused, Err(TrackerError::NoScrape));
    world.settle();

    // As many as pass in one piece, for the system cuts none.
    let many = Question::Scrape { url: url("udp://t.example:6969"), torrents: torrents.repeat(74) };
    let id = ask(&mut world, many);
    world.resolve(&[SITE]);
    let remote = connected(&mut world);
    let (_, bytes) = world.datagrams.pop_front().expect("a scrape");
    assert!(bytes.len() <= MAX_ANSWER_LEN, "{}", bytes.len());
    world.datagram(remote, &[&bytes[8..16], &[0; 12 * 74]].concat());
    let Some(Ok(Answer::Scraped(swarms))) = answer(&world, id) else { panic!("an answer") };
    assert_eq!(swarms.len(), MAX_SCRAPE_ASKED);

    let id = ask(&mut world, scrape("udp://t.example:6969"));
    world.resolve(&[SITE]);
    let (_, bytes) = world.datagrams.pop_front().expect("a scrape");
    let Ok(Request::Scrape { transaction, .. }) = parse_request(&bytes) else {
        panic!("{bytes:?}")
    };
    let mut out = Vec::new();
    write_scraped(&mut out, transaction, [swarm]);
    world.datagram(remote, &out);
    assert_eq!(answer(&world, id), Some(Ok(Answer::Scraped(vec![Some(swarm)]))));
}

#[test]
fn one_announce_is_made_and_a_refusal_is_told() {
    let url = AnnounceUrl::parse("udp://t.example:6969").expect("a url");
    let event = AnnounceEvent::Started;
    let info_hash = InfoHash([b'a'; 20]);
    let mut world = world();
    let id = ask(&mut world, Question::Announce { url, info_hash, left: 5, event });
    world.resolve(&[SITE]);
    let remote = connected(&mut world);
    let (_, bytes) = world.datagrams.pop_front().expect("an announce");
    let Ok(Request::Announce { transaction, announce, .. }) = parse_request(&bytes) else {
        panic!("{bytes:?}")
    };
    assert_eq!((announce.info_hash, announce.left, announce.event), (info_hash, 5, event));
    let mut out = Vec::new();
    write_failed(&mut out, transaction, "not\x1bhere");
    world.datagram(remote, &out);
    assert_eq!(why(&world, id), "refused: not\\x1bhere");
}

#[test]
fn a_tracker_that_says_nothing_is_left_in_time_and_at_the_end() {
    let url = AnnounceUrl::parse("udp://t.example:6969").expect("a url");
    let torrents = vec![InfoHash([1; 20])];
    let mut world = world();
    let id = ask(&mut world, Question::Scrape { url, torrents });
    world.resolve(&[SITE]);
    world.advance(Duration::from_secs(29));
    assert_eq!(answer(&world, id), None);
    world.advance_s(2);
    assert_eq!(why(&world, id), "timed out");
    let (id, server) = fetching(&mut world);
    world.session.shutdown(world.now);
    world.settle();
    assert!(!world.is_open(server));
    assert_eq!(answer(&world, id), None, "nobody waits for it any more");
}
