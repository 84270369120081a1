//! Requests to the embedded tracker: what each costs beyond its socket.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::tracker_http::AnnounceEvent;
use swarmloop::proto::tracker_udp::{
    Reply, UdpAnnounce, parse_reply, write_announce, write_connect, write_scrape,
};
use swarmloop::rng::Rng;
use swarmloop::time::Instant;
use swarmloop::tracker_server::{HttpServerConn, ServerConfig, TrackerServer};

use super::Scenario;

/// Peers of all swarms together.
const PEERS: u32 = 100_000;
const NOW: Instant = Instant::from_secs(10);

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = vec![Scenario::new("connect", connects)];
    for torrents in [1, 1_000] {
        let name = move |what: &str| format!("{what}, 100k peers of {torrents} torrents");
        all.push(Scenario::new(name("announce by udp"), move || by_udp(torrents)));
        all.push(Scenario::new(name("announce by http"), move || by_http(torrents)));
    }
    all.push(Scenario::new("join and leave by udp, 100k peers of 1 torrent", joins_and_leaves));
    all.push(Scenario::new("scrape of 74 by udp, 100k peers of 1000 torrents", scrapes));
    all
}

/// A tracker with its peers, and what it takes to ask it.
struct Asked {
    server: TrackerServer,
    rng: Rng,
    torrents: u32,
    out: Vec<u8>,
    datagram: Vec<u8>,
}

impl Asked {
    fn new(torrents: u32) -> Self {
        // The same number of requests again and again: no limit on how many a second.
        let mut config = ServerConfig::default();
        config.rate_per_addr = 0;
        let mut asked = Self {
            server: TrackerServer::new(config, [3; 32]),
            rng: Rng::new(1),
            torrents,
            out: Vec::new(),
            datagram: Vec::new(),
        };
        for peer in 0..if torrents > 0 { PEERS } else { 0 } {
            asked.announce(peer, AnnounceEvent::Started);
        }
        asked
    }

    fn ask(&mut self, from: SocketAddr) {
        self.out.clear();
        let Self { server, rng, out, datagram, .. } = self;
        server.answer_datagram(black_box(datagram), from, out, rng, NOW);
        black_box(out);
    }

    fn connect(&mut self, from: SocketAddr) -> u64 {
        self.datagram.clear();
        write_connect(&mut self.datagram, 1);
        self.ask(from);
        match parse_reply(&self.out) {
            Ok(Reply::Connected { connection, .. }) => connection,
            other => panic!("{other:?}"),
        }
    }

    /// A connect and an announce of a peer.
    fn announce(&mut self, peer: u32, event: AnnounceEvent) {
        let from = addr(peer);
        let connection = self.connect(from);
        let announce = UdpAnnounce {
            info_hash: info_hash(peer % self.torrents),
            peer_id: PeerId(*b"-XX0000-abcdefghijkl"),
            downloaded: 0,
            left: 1,
            uploaded: 0,
            event,
            ip: None,
            key: peer,
            num_want: None,
            port: 6881,
        };
        self.datagram.clear();
        write_announce(&mut self.datagram, connection, 2, &announce, b"");
        self.ask(from);
        assert!(self.out.len() >= 20, "an answer");
    }
}

fn addr(peer: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0b00_0000 + peer), 6881).into()
}

fn info_hash(torrent: u32) -> InfoHash {
    let mut hash = [0x55; 20];
    hash[8..12].copy_from_slice(&torrent.wrapping_mul(0x9e37_79b9).to_be_bytes());
    InfoHash(hash)
}

fn connects() -> impl FnMut() {
    let mut asked = Asked::new(0);
    move || {
        asked.connect(addr(7));
    }
}

fn by_udp(torrents: u32) -> impl FnMut() {
    let mut asked = Asked::new(torrents);
    let mut peer = 0;
    move || {
        peer = (peer + 7_919) % PEERS;
        asked.announce(peer, AnnounceEvent::Periodic);
    }
}

fn by_http(torrents: u32) -> impl FnMut() {
    let mut asked = Asked::new(torrents);
    let mut peer = 0;
    move || {
        peer = (peer + 7_919) % PEERS;
        let hash = info_hash(peer % torrents).0;
        let hash = percent_encode(&hash, NON_ALPHANUMERIC);
        let request = format!(
            "GET /announce?info_hash={hash}&peer_id=-XX0000-abcdefghijkl&port=6881&left=1&compact=1 \
             HTTP/1.1\r\nHost: tracker.example\r\n\r\n"
        );
        let mut conn = HttpServerConn::new(addr(peer));
        conn.feed(request.as_bytes(), &mut asked.server, true, &mut asked.rng, NOW);
        black_box(conn.unsent());
    }
}

fn joins_and_leaves() -> impl FnMut() {
    let mut asked = Asked::new(1);
    let mut peer = 0;
    move || {
        peer = (peer + 7_919) % PEERS;
        asked.announce(peer, AnnounceEvent::Stopped);
        asked.announce(peer, AnnounceEvent::Started);
    }
}

fn scrapes() -> impl FnMut() {
    let mut asked = Asked::new(1_000);
    let hashes: Vec<InfoHash> = (0..74).map(|torrent| info_hash(torrent * 13)).collect();
    move || {
        let from = addr(7);
        let connection = asked.connect(from);
        asked.datagram.clear();
        write_scrape(&mut asked.datagram, connection, 2, &hashes);
        asked.ask(from);
    }
}
