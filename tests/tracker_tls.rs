//! Announces over HTTPS on real sockets: whom a client believes, whom it does not, and what it says
//! to whom.

#![cfg(feature = "tls")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "common/tls.rs"]
mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::SupportedProtocolVersion;
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::reactor::tls::{CaError, parse_ca};
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, TlsError};
use swarmloop::tracker::{TrackerError, TrackerEvent};

use tls::{CA, EXPIRED, HOST, KEY, OTHER_NAME, SELF_SIGNED, SIGNED, VERSIONS};

const PATIENCE: Duration = Duration::from_secs(60);

const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// What a server does once it has the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Polite,
    /// It ends the stream without a notice, and says no length.
    Abrupt,
    /// It answers a byte at a time.
    Dripping,
    /// It wants to be asked in plain text.
    Downgrading,
}

/// A tracker that answers so many clients; what each has asked, or nothing if the handshake failed.
fn serve(
    certificate: &[u8],
    versions: &[&'static SupportedProtocolVersion],
    manner: Manner,
    clients: usize,
) -> (SocketAddr, mpsc::Receiver<Option<String>>) {
    let config = tls::config(certificate, versions);
    let listener = TcpListener::bind((HOST, 0)).expect("loopback");
    let addr = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for _ in 0..clients {
            let (stream, _) = listener.accept().expect("a client");
            let mut stream = tls::begin(&config, stream, PATIENCE);
            let _ = tell.send(answer(&mut stream, manner));
        }
    });
    (addr, told)
}

fn answer(stream: &mut tls::Stream, manner: Manner) -> Option<String> {
    let request = tls::read_request(stream)?;
    let body = "d8:intervali1800e5:peers6:\x0a\x07\x07\x07\x1a\x01e";
    let head = match manner {
        Manner::Abrupt => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        Manner::Downgrading => {
            format!("HTTP/1.1 302 Found\r\nLocation: http://{HOST}:1/announce\r\n\r\n")
        }
        _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()),
    };
    let answer = format!("{head}{body}").into_bytes();
    let portion = if manner == Manner::Dripping { 1 } else { answer.len() };
    for portion in answer.chunks(portion) {
        stream.write_all(portion).ok()?;
        stream.flush().ok()?;
    }
    if manner != Manner::Abrupt {
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
    Some(String::from_utf8(request).expect("text"))
}

fn metainfo(url: &str) -> Metainfo {
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|d| {
        d.key(b"announce").bytes(url.as_bytes());
        d.key(b"info").dict(|d| {
            d.key(b"length").int(1);
            d.key(b"name").bytes(b"file");
            d.key(b"piece length").int(16_384);
            d.key(b"pieces").bytes(&[0; 20]);
        });
    });
    Metainfo::parse(&Bytes::from(out)).expect("a torrent")
}

/// Announces to a tracker with trust in these certificates, and returns what comes of it.
fn announce(addr: SocketAddr, scheme: &str, trusted: &[u8]) -> Result<usize, TrackerError> {
    let mut session = Config::default();
    session.bind = vec!["127.7.11.2".parse().expect("an address")];
    let ca_certificates = if trusted.is_empty() { vec![] } else { parse_ca(trusted).expect("one") };
    let config = ClientConfig { session, ca_certificates, workers: 1, ..ClientConfig::default() };
    let client = Client::start(config).expect("it starts");
    let dir = tempfile::tempdir().expect("a folder");
    let metainfo = metainfo(&format!("{scheme}://{addr}/announce"));
    let mode = Mode::Download { overwrite: false };
    client.add_torrent(AddTorrent::new(metainfo, dir.path().to_owned(), mode)).expect("added");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.events().recv_timeout(left).expect("it comes to an end") {
            Event::Tracker { event: TrackerEvent::Replied { peers, .. }, .. } => return Ok(peers),
            Event::Tracker { event: TrackerEvent::Failed { error, .. }, .. } => return Err(error),
            _ => {}
        }
    }
}

#[test]
fn a_tracker_whose_certificate_is_trusted_is_asked() {
    for (certificate, trusted) in [(SIGNED, CA), (SELF_SIGNED, SELF_SIGNED)] {
        for versions in [VERSIONS, OLD] {
            for manner in [Manner::Polite, Manner::Abrupt, Manner::Dripping] {
                let (addr, asked) = serve(certificate, versions, manner, 1);
                assert_eq!(announce(addr, "https", trusted), Ok(1));
                let request = asked.recv().expect("a client").expect("a request");
                assert!(request.starts_with("GET /announce?info_hash="), "{request}");
                assert!(request.contains(&format!("\r\nHost: {addr}\r\n")), "{request}");
            }
        }
    }
}

#[test]
fn a_tracker_that_cannot_prove_its_name_is_told_nothing() {
    for (certificate, trusted, error) in [
        (SIGNED, &b""[..], TlsError::UnknownIssuer),
        (SIGNED, SELF_SIGNED, TlsError::UnknownIssuer),
        (OTHER_NAME, CA, TlsError::WrongName),
        (EXPIRED, CA, TlsError::Expired),
        (SELF_SIGNED, b"", TlsError::SelfSigned),
        (SELF_SIGNED, CA, TlsError::SelfSigned),
    ] {
        let (addr, asked) = serve(certificate, VERSIONS, Manner::Polite, 1);
        assert_eq!(announce(addr, "https", trusted), Err(TrackerError::Tls(error)));
        assert_eq!(asked.recv().expect("a client"), None, "{error}");
    }
}

#[test]
fn a_named_certificate_is_trusted_for_its_own_name_only() {
    let (addr, asked) = serve(OTHER_NAME, VERSIONS, Manner::Polite, 1);
    let error = announce(addr, "https", OTHER_NAME).expect_err("another name");
    assert!(matches!(error, TrackerError::Tls(_)), "{error}");
    assert_eq!(asked.recv().expect("a client"), None);
}

#[test]
fn what_speaks_no_tls_is_not_asked_in_plain_text() {
    let listener = TcpListener::bind((HOST, 0)).expect("loopback");
    let addr = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut hello = [0; 64];
        let n = stream.read(&mut hello).expect("bytes");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        [&hello[..n], &rest].concat()
    });
    assert_eq!(announce(addr, "https", CA), Err(TrackerError::Tls(TlsError::NotTls)));
    let heard = server.join().expect("it ends");
    let says = |words: &[u8]| heard.windows(words.len()).any(|part| part == words);
    assert!(!says(b"GET ") && !says(b"info_hash"), "{heard:?}");
}

#[test]
fn a_redirect_into_plain_text_is_not_followed() {
    let (addr, asked) = serve(SIGNED, VERSIONS, Manner::Downgrading, 1);
    let error = announce(addr, "https", CA).expect_err("not followed");
    assert_eq!(error.to_string(), "bad redirect: a redirect from https to plain http is refused");
    assert!(asked.recv().expect("a client").is_some());
}

#[test]
fn a_server_that_ends_within_the_handshake_has_failed() {
    let listener = TcpListener::bind((HOST, 0)).expect("loopback");
    let addr = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 2_048]);
    });
    let error = announce(addr, "https", CA).expect_err("no answer");
    assert!(matches!(error, TrackerError::Connect(_)), "{error}");
    server.join().expect("it ends");
}

#[test]
fn more_handshakes_than_a_turn_takes_in_come_to_their_end() {
    let (addr, asked) = serve(SIGNED, VERSIONS, Manner::Polite, 40);
    let mut session = Config::default();
    session.bind = vec!["127.7.11.3".parse().expect("an address")];
    let ca_certificates = parse_ca(CA).expect("one");
    let config = ClientConfig { session, ca_certificates, workers: 1, ..ClientConfig::default() };
    let client = Client::start(config).expect("it starts");
    let dir = tempfile::tempdir().expect("a folder");
    for n in 0..40 {
        let mut torrent = metainfo(&format!("https://{addr}/announce/{n}"));
        torrent.info_hash.0[0] = n;
        let mode = Mode::Download { overwrite: false };
        let place = dir.path().join(n.to_string());
        client.add_torrent(AddTorrent::new(torrent, place, mode)).expect("added");
    }
    for _ in 0..40 {
        assert!(asked.recv_timeout(PATIENCE).expect("the next").is_some());
    }
}

#[test]
fn files_of_certificates_are_read_whole_or_not_at_all() {
    assert_eq!(parse_ca(CA).map(|found| found.len()), Ok(1));
    assert_eq!(parse_ca(&[CA, SIGNED].concat()).map(|found| found.len()), Ok(2));
    assert_eq!(parse_ca(b""), Err(CaError::Empty));
    assert_eq!(parse_ca(KEY), Err(CaError::Empty));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(parse_ca(broken), Err(CaError::Broken(1)));
    assert_eq!(parse_ca(&[CA, broken].concat()), Err(CaError::Broken(2)));
    let garbage = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    assert_eq!(parse_ca(garbage), Err(CaError::Broken(1)));
}
