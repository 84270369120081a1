//! Announces a second that the embedded tracker answers over loopback, with 100,000 peers listed:
//! `cargo bench --bench announces`.
//!
//! One thread asks, the tracker's loop answers; what is told is the rate that the two come to and,
//! as the rate is that of the slower of them, the processor time that the loop takes for each.

#![allow(clippy::print_stdout, reason = "a report on the terminal")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: the asking end may block")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use swarmloop::client::{Client, ClientConfig};
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::tracker_http::AnnounceEvent;
use swarmloop::proto::tracker_udp::{
    Reply, UdpAnnounce, parse_reply, write_announce, write_connect,
};

const PEERS: u32 = 100_000;
const TORRENTS: u32 = 100;
/// Datagrams that are on their way at a time: fewer than a socket's buffer holds.
const WINDOW: u32 = 64;
const ANNOUNCES_UDP: u32 = 300_000;
const ANNOUNCES_HTTP: u32 = 20_000;

fn main() {
    let any = SocketAddr::from((Ipv4Addr::new(127, 89, 0, 1), 0));
    let client = Client::start(ClientConfig {
        tracker_listen: vec![any],
        tracker_udp: vec![any],
        workers: 1,
        ..ClientConfig::default()
    });
    let client = client.expect("loopback can be listened on");
    let addr = client.tracker_addrs()[0];
    let before = resident();
    let mut asker = Asker::new(addr);
    (0..PEERS).step_by(WINDOW as usize).for_each(|first| asker.announce(first..first + WINDOW));
    let status = client.tracker_status().expect("it runs").expect("a tracker");
    assert!(status.peers >= PEERS as usize, "{status:?}");
    let each = resident().saturating_sub(before) / status.peers;
    println!("{} peers of {TORRENTS} torrents listed: {each} bytes each", status.peers);

    let mut first = 0;
    report("udp", ANNOUNCES_UDP, || {
        for _ in 0..ANNOUNCES_UDP / WINDOW {
            first = (first + 7_919) % (PEERS - WINDOW);
            asker.announce(first..first + WINDOW);
        }
    });
    report("http, a connection each", ANNOUNCES_HTTP, || {
        for peer in 0..ANNOUNCES_HTTP {
            let mut stream = TcpStream::connect(addr).expect("it listens");
            stream.write_all(http(peer).as_bytes()).expect("sent");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an answer");
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    });
}

/// Says how many announces a second `ask` came to, and what the loop took for each.
fn report(over: &str, announces: u32, ask: impl FnOnce()) {
    let all = || cpu_time(ClockId::ProcessCPUTime).saturating_sub(cpu_time(ClockId::ThreadCPUTime));
    let (began, cpu_before) = (Instant::now(), all());
    ask();
    let (took, cpu) = (began.elapsed(), all().saturating_sub(cpu_before));
    let rate = f64::from(announces) / took.as_secs_f64();
    println!("{over}: {rate:.0} announces/s, {:.2?} of the loop each", cpu / announces);
}

/// One who announces for many.
struct Asker {
    socket: UdpSocket,
    connection: u64,
    connected_at: Instant,
}

impl Asker {
    fn new(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(addr).expect("an address");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let mut asker = Self { socket, connection: 0, connected_at: Instant::now() };
        asker.connect();
        asker
    }

    fn connect(&mut self) {
        let mut out = Vec::new();
        write_connect(&mut out, 1);
        self.socket.send(&out).expect("sent");
        let mut buf = [0; 2_048];
        let len = self.socket.recv(&mut buf).expect("an answer");
        let Ok(Reply::Connected { connection, .. }) = parse_reply(&buf[..len]) else {
            panic!("no connection id")
        };
        (self.connection, self.connected_at) = (connection, Instant::now());
    }

    /// Announces for these peers and waits for the answers.
    fn announce(&mut self, peers: std::ops::Range<u32>) {
        if self.connected_at.elapsed() > Duration::from_secs(60) {
            self.connect();
        }
        let count = peers.len();
        let mut out = Vec::new();
        for peer in peers {
            out.clear();
            let announce = UdpAnnounce {
                info_hash: InfoHash([u8::try_from(peer % TORRENTS).expect("a hundred"); 20]),
                peer_id: PeerId(*b"-XX0000-abcdefghijkl"),
                downloaded: 0,
                left: 1,
                uploaded: 0,
                event: AnnounceEvent::Periodic,
                // From the loopback address, it counts.
                ip: Some(Ipv4Addr::from(0x0b00_0000 + peer)),
                key: peer,
                num_want: None,
                port: 6881,
            };
            write_announce(&mut out, self.connection, peer, &announce, b"");
            self.socket.send(&out).expect("sent");
        }
        let mut buf = [0; 2_048];
        for _ in 0..count {
            let len = self.socket.recv(&mut buf).expect("an answer");
            assert!(matches!(parse_reply(&buf[..len]), Ok(Reply::Announced { .. })));
        }
    }
}

fn http(peer: u32) -> String {
    let hash = format!("%{:02x}", peer % TORRENTS).repeat(20);
    let ip = Ipv4Addr::from(0x0b00_0000 + peer);
    format!(
        "GET /announce?info_hash={hash}&peer_id=-XX0000-abcdefghijkl&port=6881&left=1&compact=1\
         &ip={ip} HTTP/1.1\r\nHost: tracker.example\r\nConnection: close\r\n\r\n"
    )
}

fn cpu_time(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("a process's time is not negative")
}

/// Bytes of memory that this process has, on a machine with pages of 4 KiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}
