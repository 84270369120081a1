//! The embedded tracker on real sockets: streams that are kept, halves that end, datagrams.

#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use swarmloop::client::{Client, ClientConfig};
use swarmloop::proto::tracker_udp::{Reply, parse_reply, write_connect};
use swarmloop::tracker_server::{ServedFile, ServerConfig};

/// What takes longer than this hangs.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn tracker(config: ServerConfig) -> (Client, SocketAddr) {
    let any = SocketAddr::from(([127, 7, 10, 1], 0));
    let client = Client::start(ClientConfig {
        tracker_listen: vec![any],
        tracker_udp: vec![any],
        tracker: config,
        workers: 1,
        ..ClientConfig::default()
    });
    let client = client.expect("loopback can be listened on");
    let addr = client.tracker_addrs()[0];
    (client, addr)
}

fn dial(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(PATIENCE).expect("a timeout");
    stream
}

fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and its end");
    answer
}

#[test]
fn a_client_that_ends_its_half_of_the_stream_gets_its_answer() {
    let mut config = ServerConfig::default();
    // More than a socket takes at once: the answer is on its way for some turns.
    let body = Bytes::from(vec![b'x'; 20 << 20]);
    let path = "/large".to_owned();
    config.files = vec![ServedFile { path, media_type: "text/plain", body: body.clone() }];
    let (_client, addr) = tracker(config);
    for request in ["GET / HTTP/1.1\r\n\r\n", "GET /large HTTP/1.1\r\n\r\n"] {
        let mut stream = dial(addr);
        stream.write_all(request.as_bytes()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half of it");
        let answer = read_to_end(stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.80}");
        if request.contains("large") {
            assert!(answer.as_bytes().ends_with(&body), "{} bytes", answer.len());
        }
    }
}

#[test]
fn a_stream_is_kept_for_the_next_request_and_closed_when_asked() {
    let (_client, addr) = tracker(ServerConfig::default());
    let mut stream = dial(addr);
    // Two at once, then one that comes after the answers.
    stream.write_all(b"GET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n").expect("sent");
    let mut seen = String::new();
    while seen.matches("/announce and /scrape").count() < 1 {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("more");
        seen.push(char::from(byte[0]));
    }
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && seen.contains("HTTP/1.1 404 Not Found\r\n"));
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("sent");
    let rest = read_to_end(stream);
    assert!(rest.contains("HTTP/1.1 200 OK\r\n") && rest.contains("Connection: close\r\n"));
}

#[test]
fn datagrams_are_answered_on_the_port_of_http() {
    let (client, addr) = tracker(ServerConfig::default());
    assert_eq!(client.tracker_udp_addrs(), [addr]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(PATIENCE).expect("a timeout");
    socket.connect(addr).expect("an address");
    let mut connect = Vec::new();
    write_connect(&mut connect, 7);
    let mut buf = [0; 64];
    for _ in 0..3 {
        socket.send(&connect).expect("sent");
        let len = socket.recv(&mut buf).expect("an answer");
        assert!(matches!(parse_reply(&buf[..len]), Ok(Reply::Connected { transaction: 7, .. })));
    }
    let status = client.tracker_status().expect("it runs").expect("a tracker");
    assert_eq!(status.counters.connects, 3);
}

#[test]
fn files_are_served_from_when_they_are_there() {
    let (client, addr) = tracker(ServerConfig::default());
    let get = || {
        let mut stream = dial(addr);
        stream.write_all(b"GET /a%20b HTTP/1.0\r\n\r\n").expect("sent");
        read_to_end(stream)
    };
    assert!(get().starts_with("HTTP/1.1 404 "));
    let body = Bytes::from_static(b"hello");
    let file = ServedFile { path: "/a b".to_owned(), media_type: "text/plain", body };
    client.serve_files(vec![file]).expect("it runs");
    assert!(get().ends_with("\r\n\r\nhello"));
}
