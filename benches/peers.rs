//! Downloads 1 GiB over loopback from 1, 50 and 200 peers that all send, several times in turn:
//! `cargo bench --bench peers`.
//!
//! The peers are one thread with one poll that serves from memory, so what differs between the rows
//! is what more connections cost *us*. Prints the median rate of each row and its ratio to the
//! first, and the processor time of the whole process (peers included) a GiB. Judges nothing.

#![allow(clippy::print_stdout, missing_docs)]

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::id::{Block, PeerId};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::handshake::{HANDSHAKE_LEN, Reserved, encode};
use swarmloop::proto::message::{Head, Message, decode_head, piece_header};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::rng::Rng;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};

const PIECE_LEN: usize = 1 << 20;
const PIECES: usize = 1024;
const ROUNDS: usize = 5;
const PEERS: [u8; 3] = [1, 50, 200];

fn main() {
    let mut piece = vec![0; PIECE_LEN];
    Rng::new(1).fill(&mut piece);
    let metainfo = torrent(&piece);
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); PEERS.len()];
    let mut times = rates.clone();
    for _ in 0..ROUNDS {
        for (row, peers) in PEERS.into_iter().enumerate() {
            let before = cpu_seconds();
            let seconds = download(&metainfo, &piece, peers);
            rates[row].push(1.0 / seconds);
            times[row].push(cpu_seconds() - before);
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let first = median(&mut rates[0]);
    println!("peers    GiB/s   ratio   cpu s/GiB (both ends)");
    for (row, peers) in PEERS.into_iter().enumerate() {
        let rate = median(&mut rates[row]);
        let cpu = median(&mut times[row]);
        println!("{peers:>5}   {rate:>6.2}   {:>5.2}   {cpu:>9.2}", rate / first);
    }
}

/// A torrent whose pieces are all the same, so that it can be served from 1 MiB of memory.
fn torrent(piece: &[u8]) -> Metainfo {
    let pieces = Sha1::digest(piece).repeat(PIECES);
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|d| {
        d.key(b"info").dict(|d| {
            d.key(b"length").int(i64::try_from(PIECES * PIECE_LEN).expect("1 GiB"));
            d.key(b"name").bytes(b"bench.bin");
            d.key(b"piece length").int(i64::try_from(PIECE_LEN).expect("1 MiB"));
            d.key(b"pieces").bytes(&pieces);
        });
    });
    Metainfo::parse(&Bytes::from(out)).expect("a valid torrent")
}

/// Returns how many seconds the download took from the first connection on.
fn download(metainfo: &Metainfo, piece: &[u8], peers: u8) -> f64 {
    let dir = tempfile::tempdir_in(scratch()).expect("a scratch folder");
    let ip = Ipv4Addr::new(127, 88, 0, 1);
    let mut session = Config::default();
    session.bind = vec![ip.into()];
    let listen = vec![SocketAddr::from((ip, 0))];
    let config = ClientConfig { session, listen, workers: 2, ..ClientConfig::default() };
    let client = Client::start(config).expect("loopback can be listened on");
    let addr = client.listen_addrs()[0];
    client
        .add_torrent(AddTorrent {
            use_trackers: false,
            ..AddTorrent::new(
                metainfo.clone(),
                dir.path().to_owned(),
                Mode::Download { overwrite: false },
            )
        })
        .expect("a new torrent");
    // Peers that come while the folder is looked at are sent away.
    let downloads = |event| matches!(event, Event::Phase { phase: Phase::Downloading, .. });
    while !downloads(client.events().recv().expect("the loop runs")) {}
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let began = Instant::now();
        scope.spawn(|| Seeds::dial(metainfo, piece, addr, peers).serve(&stop));
        while !matches!(client.events().recv(), Ok(Event::Complete { .. }) | Err(_)) {}
        let took = began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        client.shutdown(Duration::from_secs(3));
        took
    })
}

/// Memory, if the system has a folder for that: the disk is not what is measured.
fn scratch() -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Seconds of processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Peers that have everything and send all that they are asked for.
struct Seeds<'a> {
    poll: Poll,
    piece: &'a [u8],
    peers: Vec<Seed>,
}

struct Seed {
    stream: TcpStream,
    input: Vec<u8>,
    greeted: bool,
    control: Vec<u8>,
    /// Blocks to send and how much of the first has gone, its header included.
    blocks: VecDeque<Block>,
    sent: usize,
}

impl<'a> Seeds<'a> {
    fn dial(metainfo: &Metainfo, piece: &'a [u8], addr: SocketAddr, peers: u8) -> Self {
        let poll = Poll::new().expect("a poll");
        let seeds = (0..peers).map(|n| {
            let mut stream = TcpStream::connect(addr).expect("loopback");
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(n.into()), interest).expect("a poll");
            let mut id = *b"-BE0001-000000000000";
            id[19] = n;
            let mut control = encode(Reserved::OURS, metainfo.info_hash, PeerId(id)).to_vec();
            Message::HaveAll.encode(&mut control);
            Message::Unchoke.encode(&mut control);
            let (input, blocks) = (Vec::new(), VecDeque::new());
            Seed { stream, input, greeted: false, control, blocks, sent: 0 }
        });
        let peers = seeds.collect();
        Self { poll, piece, peers }
    }

    fn serve(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(256);
        while !stop.load(Ordering::Relaxed) {
            let patience = Some(Duration::from_millis(50));
            self.poll.poll(&mut events, patience).expect("a poll");
            for event in &events {
                let seed = &mut self.peers[event.token().0];
                // A stream that has broken was closed by the download: it is complete.
                let _ = seed.receive().and_then(|()| seed.send(self.piece));
            }
        }
    }
}

impl Seed {
    fn receive(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if !self.greeted && self.input.len() >= HANDSHAKE_LEN {
            self.input.drain(..HANDSHAKE_LEN);
            self.greeted = true;
        }
        let mut at = 0;
        while self.greeted
            && let Ok(Some(head)) = decode_head(&self.input[at..])
        {
            at += match head {
                Head::Message(message, len) => {
                    match message {
                        Message::Request(block) => self.blocks.push_back(block),
                        // A block that has gone, or is going, needs no refusal (BEP 6).
                        Message::Cancel(block) => {
                            let queued = self.blocks.iter().skip(1).position(|b| *b == block);
                            if let Some(at) = queued {
                                self.blocks.remove(at + 1);
                                Message::RejectRequest(block).encode(&mut self.control);
                            }
                        }
                        _ => {}
                    }
                    len
                }
                Head::Bitfield(len) | Head::Unknown { len, .. } => 5 + len as usize,
                Head::Extended { len, .. } => 6 + len as usize,
                Head::Piece(_) => return Err(std::io::ErrorKind::InvalidData.into()),
            };
        }
        self.input.drain(..at.min(self.input.len()));
        Ok(())
    }

    fn send(&mut self, piece: &[u8]) -> std::io::Result<()> {
        loop {
            let headers: Vec<_> = self.blocks.iter().take(16).map(|b| piece_header(*b)).collect();
            let mut slices = vec![];
            if self.sent == 0 {
                slices.push(IoSlice::new(&self.control));
            }
            let mut skip = self.sent;
            for (block, header) in self.blocks.iter().zip(&headers) {
                let payload = &piece[block.begin as usize..][..block.len as usize];
                slices.push(IoSlice::new(header.get(skip..).unwrap_or_default()));
                slices.push(IoSlice::new(&payload[skip.saturating_sub(header.len())..]));
                skip = 0;
            }
            if slices.iter().all(|slice| slice.is_empty()) {
                return Ok(());
            }
            match self.stream.write_vectored(&slices) {
                Ok(n) => self.advance(n),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn advance(&mut self, mut n: usize) {
        if self.sent == 0 {
            let control = n.min(self.control.len());
            self.control.drain(..control);
            n -= control;
        }
        while let Some(block) = self.blocks.front() {
            let left = 13 + block.len as usize - self.sent;
            if n < left {
                break;
            }
            n -= left;
            self.sent = 0;
            self.blocks.pop_front();
        }
        self.sent += n;
    }
}
