//! Announces over UDP on real sockets: clients that find each other through an embedded tracker,
//! over both families, and what the tracker has heard of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/client.rs"]
mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::io::Event;
use swarmloop::tracker_server::{ServerConfig, ServerStatus};

use crate::common::{PATIENCE, client, wait};

fn tracker(ip: &str) -> (Client, SocketAddr) {
    let addr = SocketAddr::new(ip.parse().expect("an address"), 0);
    let client = Client::start(ClientConfig {
        tracker_udp: vec![addr],
        tracker: ServerConfig::default(),
        workers: 1,
        ..ClientConfig::default()
    });
    let client = client.expect("loopback can be listened on");
    let addr = client.tracker_udp_addrs()[0];
    (client, addr)
}

fn torrent(content: &[u8], url: &str) -> Metainfo {
    let pieces: Vec<u8> = content.chunks(16_384).flat_map(Sha1::digest).collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|d| {
        d.key(b"announce").bytes(url.as_bytes());
        d.key(b"info").dict(|d| {
            d.key(b"length").int(i64::try_from(content.len()).expect("short"));
            d.key(b"name").bytes(b"file");
            d.key(b"piece length").int(16_384);
            d.key(b"pieces").bytes(&pieces);
        });
    });
    Metainfo::parse(&Bytes::from(out)).expect("a torrent")
}

fn status(tracker: &Client) -> ServerStatus {
    tracker.tracker_status().expect("it runs").expect("a tracker")
}

/// Downloads from a seed that only the tracker knows, and returns what the tracker has counted.
fn swarm(tracker_ip: &str, seed_ip: &str, leech_ip: &str) -> ServerStatus {
    let (tracker, addr) = tracker(tracker_ip);
    let content: Vec<u8> = (0..200_000u32).map(|n| n.to_be_bytes()[3] ^ 0x5a).collect();
    let metainfo = torrent(&content, &format!("udp://{addr}/announce"));
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(from.path().join("file"), &content).unwrap();
    let ip = |ip: &str| ip.parse::<IpAddr>().expect("an address");
    let seed = client(ip(seed_ip));
    seed.add_torrent(AddTorrent::new(metainfo.clone(), from.path().into(), Mode::Seed)).unwrap();
    let announced = |event: &Event| matches!(event, Event::Tracker { .. });
    wait(&seed, announced);
    assert_eq!((status(&tracker).peers, status(&tracker).seeds), (1, 1));
    let leech = client(ip(leech_ip));
    let mode = Mode::Download { overwrite: false };
    leech.add_torrent(AddTorrent::new(metainfo, to.path().into(), mode)).unwrap();
    wait(&leech, |event| matches!(event, Event::Complete { .. }));
    assert!(std::fs::read(to.path().join("file")).unwrap() == content);
    // `completed`, and at the end `stopped`.
    wait(&leech, announced);
    assert_eq!((status(&tracker).peers, status(&tracker).seeds), (2, 2));
    assert!(leech.shutdown(PATIENCE) && seed.shutdown(PATIENCE));
    let status = status(&tracker);
    assert_eq!(status.peers, 0);
    status
}

#[test]
fn clients_find_each_other_through_a_udp_tracker() {
    let counters = swarm("127.7.12.1", "127.7.12.2", "127.7.12.3").counters;
    // The seed: started, stopped. The leech: started, completed, stopped.
    assert_eq!((counters.announces_udp, counters.refused, counters.dropped), (5, 0, 0));
    assert_eq!(counters.connects, 2, "each keeps its connection id");
}

#[test]
fn the_same_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_ok() {
        assert_eq!(swarm("::1", "::1", "::1").counters.announces_udp, 5);
    }
}
