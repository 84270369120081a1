//! Whole turns over loopback, with a remote that the test holds in its hand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::*;
use crate::disk::job::DiskErrorKind;
use crate::id::{BLOCK_LEN, Block, PeerId, PieceIndex};
use crate::proto::bencode::Writer;
use crate::proto::handshake::{Reserved, encode};
use crate::proto::message::{Message, PIECE_HEADER_LEN, piece_header};
use crate::proto::metainfo::Metainfo;
use crate::session::NewTorrent;
use crate::session::io::{Mode, Phase};

const PIECE_LEN: u32 = 64 * BLOCK_LEN;
const BLOCK_MESSAGE_LEN: usize = PIECE_HEADER_LEN + BLOCK_LEN as usize;
/// Far more than any test needs; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn metainfo(bytes: &[u8]) -> Metainfo {
    let pieces: Vec<u8> = bytes.chunks(PIECE_LEN as usize).flat_map(Sha1::digest).collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|d| {
        d.key(b"info").dict(|d| {
            d.key(b"length").int(i64::try_from(bytes.len()).unwrap());
            d.key(b"name").bytes(b"t");
            d.key(b"piece length").int(i64::from(PIECE_LEN));
            d.key(b"pieces").bytes(&pieces);
        });
    });
    Metainfo::parse(&Bytes::from(out)).unwrap()
}

/// Turns until an event is as wanted, and returns it.
fn until(reactor: &mut Reactor, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        while let Some(event) = reactor.poll_event() {
            if wanted(&event) {
                return event;
            }
        }
        reactor.turn(Some(PATIENCE)).unwrap();
    }
}

/// A reactor that seeds a torrent of a few pieces out of memory, and one leecher.
struct Seed {
    reactor: Reactor,
    leech: TcpStream,
    bytes: Vec<u8>,
    dir: TempDir,
}

impl Seed {
    #[expect(clippy::disallowed_methods, reason = "the remote may block, it is not the loop")]
    fn new(pieces: u32) -> Self {
        let len = (pieces * PIECE_LEN) as usize;
        let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let dir = TempDir::new_in("/dev/shm").unwrap();
        std::fs::write(dir.path().join("t"), &bytes).unwrap();
        let torrent = metainfo(&bytes);
        let info_hash = torrent.info_hash;
        let mut reactor = Reactor::new(ReactorConfig {
            session: Config::default(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            tracker_listen: Vec::new(),
            tracker_udp: Vec::new(),
            dht: None,
            dht_saved: Vec::new(),
            lsd: false,
            tracker: crate::tracker_server::ServerConfig::default(),
            ca_certificates: Vec::new(),
            workers: 1,
        })
        .unwrap();
        let (session, now) = reactor.session_mut();
        session
            .add_torrent(
                NewTorrent {
                    use_trackers: false,
                    ..NewTorrent::new(torrent, dir.path().to_owned(), Mode::Seed)
                },
                now,
            )
            .unwrap();
        until(&mut reactor, |event| matches!(event, Event::Phase { phase: Phase::Seeding, .. }));
        let mut leech = TcpStream::connect(reactor.listen_addrs(Listener::Peers)[0]).unwrap();
        leech.write_all(&encode(Reserved::default(), info_hash, PeerId([b'x'; 20]))).unwrap();
        let mut seed = Self { reactor, leech, bytes, dir };
        seed.say(&[Message::Interested]);
        // Handshake, bitfield, unchoke.
        let greeting = 68 + 5 + (pieces as usize).div_ceil(8) + 5;
        let heard = seed.hear(greeting);
        assert_eq!(heard[greeting - 5..], [0, 0, 0, 1, 1]);
        seed
    }

    fn say(&mut self, messages: &[Message]) {
        let mut out = Vec::new();
        for message in messages {
            message.encode(&mut out);
        }
        self.leech.write_all(&out).unwrap();
    }

    /// Returns what has arrived without another turn, `most` bytes at most.
    fn heard(&mut self, most: usize) -> Vec<u8> {
        let mut out = vec![0; most];
        let mut filled = 0;
        self.leech.set_nonblocking(true).unwrap();
        while filled < most {
            match self.leech.read(&mut out[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.leech.set_nonblocking(false).unwrap();
        out.truncate(filled);
        out
    }

    /// Turns until `len` bytes have arrived.
    fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut out = self.heard(len);
        while out.len() < len {
            self.reactor.turn(Some(PATIENCE)).unwrap();
            out.extend(self.heard(len - out.len()));
        }
        out
    }
}

fn blocks(piece: u32) -> impl Iterator<Item = Block> {
    let begins = (0..PIECE_LEN).step_by(BLOCK_LEN as usize);
    begins.map(move |begin| Block { piece: PieceIndex(piece), begin, len: BLOCK_LEN })
}

#[test]
fn a_block_in_memory_leaves_in_the_turn_in_which_it_was_asked_for() {
    let mut seed = Seed::new(1);
    for block in blocks(0) {
        seed.say(&[Message::Request(block)]);
        let mut heard = Vec::new();
        while heard.is_empty() {
            seed.reactor.turn(Some(PATIENCE)).unwrap();
            assert_eq!(seed.reactor.workers.pending(), 0, "no worker is asked");
            heard = seed.heard(BLOCK_MESSAGE_LEN);
        }
        let begin = block.begin as usize;
        assert_eq!(heard[PIECE_HEADER_LEN..], seed.bytes[begin..begin + BLOCK_LEN as usize]);
    }
}

#[test]
fn what_goes_beyond_a_turns_budget_is_read_by_the_workers() {
    let mut seed = Seed::new(1);
    seed.reactor.read_budget = 1;
    let wanted = [blocks(0).nth(1).unwrap(), blocks(0).nth(3).unwrap(), blocks(0).nth(5).unwrap()];
    seed.say(&wanted.map(Message::Request));
    let mut heard = Vec::new();
    while heard.is_empty() {
        seed.reactor.turn(Some(PATIENCE)).unwrap();
        heard = seed.heard(3 * BLOCK_MESSAGE_LEN);
    }
    assert_eq!(heard.len(), BLOCK_MESSAGE_LEN, "the first uses up the budget");
    assert_eq!(seed.reactor.workers.pending(), 2);
    heard.extend(seed.hear(2 * BLOCK_MESSAGE_LEN));
    let mut headers = Vec::new();
    for message in heard.chunks(BLOCK_MESSAGE_LEN) {
        let (header, payload) = message.split_at(PIECE_HEADER_LEN);
        let block = wanted.iter().find(|block| piece_header(**block) == *header).unwrap();
        let begin = block.begin as usize;
        assert_eq!(payload, &seed.bytes[begin..begin + BLOCK_LEN as usize]);
        headers.push(header);
    }
    headers.sort_unstable();
    assert_eq!(headers, wanted.map(piece_header));
}

#[test]
fn bytes_that_are_gone_from_the_disk_are_withdrawn_as_a_worker_finds_it() {
    let mut seed = Seed::new(2);
    let file = std::fs::File::options().write(true).open(seed.dir.path().join("t")).unwrap();
    file.set_len(u64::from(PIECE_LEN)).unwrap();
    let at_hand = blocks(0).next().unwrap();
    seed.say(&[Message::Request(at_hand)]);
    assert_eq!(seed.hear(BLOCK_MESSAGE_LEN).len(), BLOCK_MESSAGE_LEN);
    seed.say(&[Message::Request(blocks(1).next().unwrap())]);
    let event = until(&mut seed.reactor, |event| matches!(event, Event::PiecesLost { .. }));
    let Event::PiecesLost { pieces, error, .. } = event else { unreachable!() };
    assert_eq!((pieces, error.kind), (1, DiskErrorKind::Missing));
}

#[test]
fn a_loop_that_was_stopped_goes_on_where_it_was() {
    let mut seed = Seed::new(2);
    let quiet = Some(Duration::ZERO);
    // The last time for far longer than a silent peer is kept.
    for stop in [STOPPED, Duration::from_secs(10), Duration::from_secs(600)] {
        seed.reactor.turn(quiet).unwrap();
        let before = seed.reactor.session().1;
        seed.reactor.clock.jump(stop);
        seed.reactor.turn(quiet).unwrap();
        let passed = seed.reactor.session().1.saturating_since(before);
        assert!(passed < STOPPED, "{passed:?} for {stop:?}");
    }
    // No deadline has passed: the peer is there, and is served.
    seed.say(&[Message::Request(Block { piece: PieceIndex(1), begin: 0, len: BLOCK_LEN })]);
    let heard = seed.hear(BLOCK_MESSAGE_LEN);
    assert_eq!(heard[PIECE_HEADER_LEN..], seed.bytes[PIECE_LEN as usize..][..BLOCK_LEN as usize]);
}

#[test]
fn time_that_a_loop_was_merely_busy_for_has_passed() {
    let mut seed = Seed::new(2);
    let quiet = Some(Duration::ZERO);
    seed.reactor.turn(quiet).unwrap();
    let before = seed.reactor.session().1;
    seed.reactor.clock.jump(STOPPED / 2);
    seed.reactor.turn(quiet).unwrap();
    assert!(seed.reactor.session().1.saturating_since(before) >= STOPPED / 2);
}
