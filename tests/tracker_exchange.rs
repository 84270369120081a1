//! One announce over HTTP: every way in which a tracker's answer can be right, wrong or cut off.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::bencode::{DecodeError, DecodeErrorKind};
use swarmloop::proto::http::{HttpError, MAX_HEADER_LINES, MAX_RESPONSE_HEAD};
use swarmloop::proto::tracker_http::{AnnounceReply, Failure, MAX_REPLY_LEN, ReplyError, Retry};
use swarmloop::proto::url::UrlError;
use swarmloop::rng;
use swarmloop::time::Instant;
use swarmloop::tracker::{Announce, AnnounceFacts, Announcer, Exchange, Progress, TrackerError};

const GLOBAL: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4));

fn announce(url: &str) -> Announce {
    let facts = AnnounceFacts {
        info_hash: InfoHash([b'h'; 20]),
        peer_id: PeerId([b'p'; 20]),
        key: 1,
        port: 2,
        ip: None,
        uploaded: 3,
        downloaded: 4,
        left: 5,
        is_partial_seed: false,
        num_want: 6,
    };
    let mut announcer = Announcer::new(&[vec![url.to_owned()]], &mut rng::Rng::new(1));
    announcer.start(Instant::ZERO);
    announcer.poll(&facts, Instant::ZERO).expect("due at once")
}

/// Feeds `portions` and then, if that was not all, the end of the stream.
fn exchange<'a>(portions: impl IntoIterator<Item = &'a [u8]>) -> Result<Progress, TrackerError> {
    let announce = announce("http://tracker.example/announce");
    let mut exchange = Exchange::new(&announce, GLOBAL).expect("a global address");
    for portion in portions {
        match exchange.feed(portion)? {
            Progress::More => {}
            done => return Ok(done),
        }
    }
    exchange.end_of_stream()
}

fn reply(result: Result<Progress, TrackerError>) -> AnnounceReply {
    match result {
        Ok(Progress::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

const BODY: &str = "d8:intervali900e5:peers6:abcdefe";

#[test]
fn the_request_is_what_trackers_expect() {
    let announce = announce("http://tracker.example:81/a?k=v");
    let exchange = Exchange::new(&announce, GLOBAL).expect("a global address");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        std::str::from_utf8(exchange.request()),
        Ok(&*format!(
            "GET /a?k=v&info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=pppppppppppppppppppp&port=2\
             &uploaded=3&downloaded=4&left=5&compact=1&no_peer_id=1&numwant=6&key=00000001\
             &event=started HTTP/1.1\r\nHost: tracker.example:81\r\n\
             User-Agent: swarmloop/{version}\r\nAccept-Encoding: identity\r\n\
             Connection: close\r\n\r\n"
        ))
    );
}

#[test]
fn an_address_that_the_url_may_not_reach_is_not_asked() {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let refused = Exchange::new(&announce("http://t/shutdown"), loopback);
    assert_eq!(refused.err(), Some(TrackerError::BadUrl(UrlError::LoopbackPath)));
    assert!(Exchange::new(&announce("http://t/announce"), loopback).is_ok());
}

/// Responses in every framing that say the same.
fn good_responses() -> Vec<String> {
    let length = BODY.len();
    let (start, end) = BODY.split_at(5);
    vec![
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}garbage"),
        format!("HTTP/1.0 200\nServer: x\n\n{BODY}"),
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n{BODY}"),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n\
             HTTP/1.1 200 OK\r\n\r\n{BODY}"
        ),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\n{start}\r\n{:x};ext=1\r\n{end}\r\n0\r\nTrailer: x\r\n\r\n",
            end.len()
        ),
        format!("HTTP/1.1 200 OK\r\n\r\n{BODY}\r\n"),
    ]
}

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    for response in good_responses() {
        let bytes = response.as_bytes();
        let whole = reply(exchange([bytes]));
        assert_eq!(whole.interval.as_secs(), 900);
        assert_eq!(whole.peers, ["97.98.99.100:25958".parse().expect("an address")]);
        for at in 0..=bytes.len() {
            let (start, end) = bytes.split_at(at);
            assert_eq!(reply(exchange([start, end])), whole, "{response:?} cut at {at}");
        }
        assert_eq!(reply(exchange(bytes.chunks(1))), whole, "{response:?} byte by byte");
    }
}

#[test]
fn an_answer_with_a_length_needs_no_end_of_stream() {
    let announce = announce("http://t/announce");
    for response in [&good_responses()[0], &good_responses()[5]] {
        let mut exchange = Exchange::new(&announce, GLOBAL).expect("a global address");
        assert!(matches!(exchange.feed(response.as_bytes()), Ok(Progress::Reply(_))));
        assert_eq!(exchange.feed(b"more"), Ok(Progress::More), "ignored");
        assert_eq!(exchange.end_of_stream(), Ok(Progress::More), "ignored");
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, body).expect("into memory");
    encoder.finish().expect("into memory")
}

#[test]
fn an_answer_that_is_gzip_although_that_was_declined_is_read() {
    let body = gzip(BODY.as_bytes());
    let head = |status| format!("HTTP/1.1 {status} X\r\nContent-Encoding: gzip\r\n\r\n");
    let response = [head(200).as_bytes(), &body].concat();
    for at in 0..=response.len() {
        let (start, end) = response.split_at(at);
        assert_eq!(reply(exchange([start, end])).interval.as_secs(), 900, "cut at {at}");
    }
    let bomb = gzip(&vec![b'x'; MAX_REPLY_LEN + 1]);
    let too_large = TrackerError::TooLarge { limit: MAX_REPLY_LEN };
    assert_eq!(exchange([head(200).as_bytes(), &bomb]), Err(too_large));
    // The reason in an error's body counts, and that it is broken does not.
    let refused = gzip(b"d14:failure reason2:noe");
    let failure = Failure { reason: "no".to_owned(), retry: Retry::Unsaid };
    let expected = Err(TrackerError::Failure(failure));
    assert_eq!(exchange([head(403).as_bytes(), &refused]), expected);
    assert_eq!(exchange([head(500).as_bytes(), &bomb]), Err(TrackerError::Status(500)));
    assert_eq!(exchange([head(500).as_bytes(), b"x"]), Err(TrackerError::Status(500)));
}

#[test]
fn every_truncation_is_an_error() {
    let length = good_responses().swap_remove(0);
    let chunked = good_responses().swap_remove(5);
    let last_chunk = chunked.find("0\r\nTrailer").expect("there") + 3;
    for (response, end) in [(&length, length.len()), (&chunked, last_chunk)] {
        let head = response.find("\r\n\r\n").expect("there") + 4;
        for at in 0..end {
            let error = if at < head { HttpError::EndInHead } else { HttpError::EndInBody };
            let cut = exchange([&response.as_bytes()[..at]]);
            assert_eq!(cut, Err(TrackerError::BadHttp(error)), "{response:?} up to {at}");
        }
        assert!(exchange([&response.as_bytes()[..end]]).is_ok());
    }
}

fn malformed() -> Vec<(String, TrackerError)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head = |what| TrackerError::BadHttp(HttpError::BadHead { what });
    let http = TrackerError::BadHttp;
    let too_large = TrackerError::TooLarge { limit: MAX_REPLY_LEN };
    let long_head = HttpError::HeadTooLong { limit: MAX_RESPONSE_HEAD };
    let many_fields = HttpError::TooManyFields { limit: MAX_HEADER_LINES };
    let bencode =
        |offset, kind| TrackerError::BadReply(ReplyError::Bencode(DecodeError { offset, kind }));
    let brotli = TrackerError::ContentEncoding("br".to_owned());
    let long = "x".repeat(MAX_REPLY_LEN + 1);
    let chunks = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(1024);
    let redirect = |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
    vec![
        (String::new(), http(HttpError::EndInHead)),
        ("SSH-2.0-OpenSSH_9.6\r\n".into(), head("version")),
        ("HTTP/2 200 OK\r\n\r\n".into(), head("version")),
        ("ICY 200 OK\r\n\r\n".into(), head("version")),
        ("HTTP/1.1 2x0 OK\r\n\r\n".into(), head("status")),
        ("HTTP/1.1 20\r\n\r\n".into(), head("status")),
        ("HTTP/1.1 099 Low\r\n\r\n".into(), head("status")),
        (format!("{ok}No colon\r\n\r\n"), head("field name")),
        (format!("{ok}: no name\r\n\r\n"), head("field name")),
        (format!("{ok}X: a\0b\r\n\r\n"), head("field value")),
        (format!("{ok}X: a\rb\r\n\r\n"), head("field value")),
        (format!("{ok}X: {}\r\n\r\n", "y".repeat(MAX_RESPONSE_HEAD)), http(long_head)),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(700), http(long_head)),
        (format!("{ok}{}\r\n", "X: y\r\n".repeat(65)), http(many_fields)),
        (format!("{ok}Content-Length: 3\r\n\r\nde"), http(HttpError::EndInBody)),
        (format!("{ok}Content-Length: x\r\n\r\n"), http(HttpError::BadContentLength)),
        (
            format!("{ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\n"),
            http(HttpError::BadContentLength),
        ),
        (format!("{ok}Content-Length: 1048577\r\n\r\n"), too_large.clone()),
        (format!("{ok}Content-Length: 18446744073709551615\r\n\r\n"), too_large.clone()),
        (format!("{ok}\r\n{long}"), too_large.clone()),
        (format!("{chunked}100001\r\n"), too_large.clone()),
        (format!("{chunked}ffffffffffffffff\r\n"), too_large.clone()),
        (format!("{chunked}{chunks}1\r\n"), too_large),
        (format!("{chunked}\r\n"), http(HttpError::BadChunk)),
        (format!("{chunked}-1\r\n"), http(HttpError::BadChunk)),
        (format!("{chunked}11111111111111111\r\n"), http(HttpError::BadChunk)),
        (format!("{chunked}2\r\ndee"), http(HttpError::BadChunk)),
        (format!("{chunked}2\r\nde\r0"), http(HttpError::BadChunk)),
        (format!("{chunked}2;{}\r\n", "x".repeat(300)), http(HttpError::BadChunk)),
        (format!("{chunked}2\r\nde\r\n"), http(HttpError::EndInBody)),
        (format!("{ok}Transfer-Encoding: gzip\r\n\r\n"), http(HttpError::BadTransferEncoding)),
        (format!("{ok}Content-Encoding: br\r\nContent-Length: 9\r\n\r\n"), brotli),
        (format!("{ok}Content-Encoding: gzip\r\n\r\nd5:peers0:e"), TrackerError::BadGzip),
        (format!("{ok}Content-Length: 0\r\n\r\n"), bencode(0, DecodeErrorKind::UnexpectedEnd)),
        (format!("{ok}\r\n<html>"), bencode(0, DecodeErrorKind::NotAValue(b'<'))),
        (format!("{ok}\r\nle"), TrackerError::BadReply(ReplyError::NotADictionary)),
        (format!("{ok}\r\nde"), TrackerError::BadReply(ReplyError::NothingInIt)),
        ("HTTP/1.1 404 Not Found\r\n\r\n<html>".into(), TrackerError::Status(404)),
        ("HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\n".into(), TrackerError::Status(500)),
        (format!("HTTP/1.1 503 X\r\n\r\n{BODY}"), TrackerError::Status(503)),
        ("HTTP/1.1 502 X\r\nContent-Encoding: br\r\n\r\n".into(), TrackerError::Status(502)),
        ("HTTP/1.1 400 X\r\nContent-Length: 9999999\r\n\r\n".into(), TrackerError::Status(400)),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), TrackerError::Status(204)),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".into(), TrackerError::Status(304)),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), TrackerError::Status(101)),
        ("HTTP/1.1 300 Choices\r\nLocation: /\r\n\r\n".into(), TrackerError::Status(300)),
        ("HTTP/1.1 302 Found\r\n\r\n".into(), TrackerError::MissingLocation),
        (redirect("http://"), TrackerError::BadRedirect(UrlError::NoHost)),
        (redirect("http://t:99999/"), TrackerError::BadRedirect(UrlError::BadPort)),
        (redirect("http://127.0.0.1/announce"), TrackerError::BadRedirect(UrlError::LocalTarget)),
        (redirect("http://u/\tx"), TrackerError::BadRedirect(UrlError::Control)),
    ]
}

#[test]
fn malformed_answers_fail_for_their_reason_however_they_are_cut() {
    for (response, error) in malformed() {
        let bytes = response.as_bytes();
        let name = &response[..response.len().min(120)];
        assert_eq!(exchange([bytes]), Err(error.clone()), "{name:?}");
        // Every cut of the short ones; of the long ones some, as each costs a parse.
        let stride = 1 + bytes.len() / 200;
        for at in (0..=bytes.len()).step_by(stride) {
            let (start, end) = bytes.split_at(at);
            assert_eq!(exchange([start, end]), Err(error.clone()), "{name:?} cut at {at}");
        }
    }
}

#[test]
fn the_longest_body_is_taken_in_every_framing() {
    let frame = "d8:intervali900e7:padding1048550:e".len();
    let padding = "x".repeat(MAX_REPLY_LEN - frame);
    assert_eq!(padding.len(), 1_048_542);
    let body = format!("d8:intervali900e7:padding1048542:{padding}e");
    assert_eq!(body.len(), MAX_REPLY_LEN);
    let (half, rest) = body.split_at(MAX_REPLY_LEN / 2);
    for response in [
        format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             80000\r\n{half}\r\n80000\r\n{rest}\r\n0\r\n\r\n"
        ),
    ] {
        let result = exchange(response.as_bytes().chunks(10_000));
        assert_eq!(reply(result).interval.as_secs(), 900);
    }
}

#[test]
fn a_reason_in_the_body_is_worth_more_than_the_status() {
    let reason = "unregistered torrent".to_owned();
    let failure = TrackerError::Failure(Failure { reason, retry: Retry::Unsaid });
    for status in ["200 OK", "400 Bad Request", "404 Not Found", "503 Unavailable"] {
        let response =
            format!("HTTP/1.1 {status}\r\n\r\nd14:failure reason20:unregistered torrente");
        assert_eq!(exchange([response.as_bytes()]), Err(failure.clone()), "{status}");
    }
}

#[test]
fn redirects_are_resolved_and_handed_back() {
    for (status, location, url) in [
        (301, "http://u.example:82/b?c", "u.example:82/b?c"),
        (302, "/b", "tracker.example/b"),
        (303, "b?c=%20", "tracker.example/b?c=%20"),
        (307, "//u/", "u/"),
        (308, "https://u/", "u/"),
    ] {
        let response =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\nContent-Length: 9\r\n\r\n");
        match exchange([response.as_bytes()]) {
            Ok(Progress::Redirect(to)) => {
                assert_eq!(format!("{}{}", to.host_field(), to.target()), url);
            }
            other => panic!("{location}: {other:?}"),
        }
    }
}

proptest! {
    /// Damaged answers: no panic, and still the same result however they are cut.
    #[test]
    fn a_damaged_answer_is_judged_by_its_bytes_alone(
        which in 0usize..7,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut bytes = good_responses().swap_remove(which).into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let whole = exchange([&bytes[..]]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let portions = starts.zip(ends).map(|(start, end)| &bytes[start..end]);
        prop_assert_eq!(exchange(portions), whole);
    }
}
