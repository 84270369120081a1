//! Seeded fuzzing of a session through its driver contract: random peers, nodes of the DHT and
//! trackers, random bytes, a random disk and a random clock; of some torrents only the info-hash is
//! known at first. The world asserts after every turn that reads are offered room, that
//! loops end and that the session's invariants hold; here it is asserted that queues stay within
//! their bounds, that what the session says can be decoded, that every frame comes home, and that a
//! seed replays to the same run.
//!
//! A failure names its seed: `SEEDS` holds those that have found something.

#[allow(dead_code, reason = "shared with the scripts, which use another part of it")]
#[path = "session/common/mod.rs"]
mod common;
#[path = "fuzz_replay/servers.rs"]
mod servers;

use std::fmt::Write as _;
use std::net::SocketAddr;

use swarmloop::dht::DhtConfig;
use swarmloop::id::{BLOCK_LEN, Block, NodeId, PieceIndex};
use swarmloop::proto::extended::{self, Extension};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::krpc::{self, AnnouncedPort, Body, Message, Method, Refusal, Reply, Want};
use swarmloop::proto::message::Message as PeerMessage;
use swarmloop::proto::ut_metadata::{self, MetadataMessage};
use swarmloop::rng::Rng;
use swarmloop::session::NewTorrent;
use swarmloop::session::io::{Event, Mode};
use swarmloop::time::Duration;

use common::{EXTENDED, FAST, PLAIN, Remote, Said, Setup, World, bitfield, bytes_of, peer_id};

/// Walks through the contract, and steps of each.
const WALKS: u64 = 800;
const STEPS: usize = 150;
/// Streams of noise after a good handshake.
const STREAMS: u64 = 1_500;

/// One random run.
struct Walk {
    world: World,
    rng: Rng,
    remotes: Vec<Remote>,
    /// What each remote was asked for and has not answered.
    asked: Vec<(Remote, Block)>,
    /// The blocks of the metadata that each remote was asked for and has not answered.
    wishes: Vec<(Remote, u32)>,
    /// The rest of blocks of which a part was sent; until it is, its remote says nothing else.
    halves: Vec<(Remote, Vec<u8>)>,
    streams: Vec<Remote>,
    /// What the session did, in short, to compare two runs.
    log: String,
}

fn setup(rng: &mut Rng) -> Setup {
    let pieces = 1 + rng.below_u32(20);
    let have = (0..pieces).filter(|_| rng.below(3) == 0).collect();
    let pool = [0, 12, 64, 4_096][rng.below(4)] * u64::from(BLOCK_LEN);
    let piece_blocks = [1, 2, 3, 9][rng.below(4)];
    let peers = (1..=rng.below(4)).map(|last| (format!("10.9.9.{last}"), 6881)).collect();
    let trackers = vec![vec!["http://one.example/announce".to_owned()]];
    let trackers = if rng.below(3) == 0 { trackers } else { Vec::new() };
    let magnet = (rng.below(3) == 0).then(|| vec![("10.9.8.7".to_owned(), 6881)]);
    let private = rng.below(4) == 0;
    let padding = [0, 20_000, 40_000][rng.below(3)];
    let dht = (rng.below(2) == 0).then(DhtConfig::default);
    let dht_nodes = vec![("10.9.7.1".to_owned(), 6881), ("node.example".to_owned(), 1)];
    let of_torrent = Setup { magnet, private, padding, dht, dht_nodes, ..Setup::default() };
    Setup { have, trackers, peers, ..of_torrent }.pieces(pieces).piece_blocks(piece_blocks).config(
        |config| {
            config.pool_bytes = pool;
            config.unchoke_slots = 1 + rng.below(3);
            config.max_peers = 12;
            config.max_queued_requests = 50;
        },
    )
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut world = setup(&mut rng).build();
        // Reads of any size, but not so small that every walk crawls.
        world.chunk = [usize::MAX, 5_000, 700][rng.below(3)];
        Self {
            world,
            rng,
            remotes: Vec::new(),
            asked: Vec::new(),
            wishes: Vec::new(),
            halves: Vec::new(),
            streams: Vec::new(),
            log: String::new(),
        }
    }

    fn run(mut self) -> String {
        for _ in 0..STEPS {
            self.step();
            self.listen();
            self.go_on();
            self.check();
        }
        self.end()
    }

    fn step(&mut self) {
        match self.rng.below(32) {
            0 | 1 => self.join(),
            2 => self.stranger(),
            3..=9 => self.talk(),
            10..=14 => self.answer(),
            15 if self.rng.below(4) == 0 => self.noise(),
            16 if self.rng.below(2) == 0 => self.leave(),
            15 | 16 => self.allow(),
            17 | 18 => {
                let ms = [1, 300, 10_500, 61_000, 61_000, 141_000][self.rng.below(6)];
                self.world.advance(Duration::from_millis(ms));
            }
            19 => self.world.disk.held = !self.world.disk.held,
            20 => {
                let n = self.rng.below(4);
                self.world.run_disk(n);
            }
            21 => self.dial(),
            22 | 23 => self.pace(),
            24 => self.finish(),
            25..=27 => self.answer_wish(),
            28 => self.node(),
            _ => self.track(),
        }
    }

    fn pick(&mut self) -> Option<Remote> {
        let talks = |remote: &Remote| self.world.is_open(*remote) && !self.is_halfway(*remote);
        let open: Vec<Remote> = self.remotes.iter().copied().filter(talks).collect();
        (!open.is_empty()).then(|| open[self.rng.below(open.len())])
    }

    fn is_halfway(&self, remote: Remote) -> bool {
        self.halves.iter().any(|(half, _)| *half == remote)
    }

    /// The rest of a block comes, perhaps long after it was given up.
    fn finish(&mut self) {
        if !self.halves.is_empty() {
            let at = self.rng.below(self.halves.len());
            let (remote, rest) = self.halves.remove(at);
            self.world.send(remote, &rest);
        }
    }

    fn handshake(&mut self) -> Vec<u8> {
        let reserved = [PLAIN, FAST, EXTENDED, EXTENDED][self.rng.below(4)];
        let id = peer_id(u8::try_from(self.rng.below(40)).expect("small"));
        encode(reserved, self.world.info_hash, id).to_vec()
    }

    /// A remote that shakes hands, and mostly begins as it should.
    fn join(&mut self) {
        let host = u8::try_from(self.rng.below(30)).expect("small");
        let Some(remote) = self.world.knock(World::addr_of(host)) else { return };
        self.remotes.push(remote);
        let mut bytes = self.handshake();
        match self.rng.below(4) {
            0 if bytes[27] != 0 => {
                bytes.extend(bytes_of(&[PeerMessage::HaveAll, PeerMessage::Unchoke]));
            }
            1 if bytes[27] != 0 => {
                bytes.extend(bytes_of(&[PeerMessage::HaveNone, PeerMessage::Interested]));
            }
            0..=2 => {
                let len = self.world.geometry.pieces().div_ceil(8) as usize;
                let spare = len * 8 - self.world.geometry.pieces() as usize;
                let mut bits = vec![0; len];
                self.rng.fill(&mut bits);
                *bits.last_mut().expect("a piece") &= u8::MAX << spare;
                bytes.extend(bitfield(&bits));
                bytes.extend(bytes_of(&[PeerMessage::Unchoke, PeerMessage::Interested]));
            }
            _ => {}
        }
        self.world.send(remote, &bytes);
    }

    /// A remote whose handshake is cut off or damaged.
    fn stranger(&mut self) {
        let host = u8::try_from(self.rng.below(30)).expect("small");
        let Some(remote) = self.world.knock(World::addr_of(host)) else { return };
        self.remotes.push(remote);
        let mut bytes = self.handshake();
        let cut = self.rng.below(bytes.len());
        if self.rng.below(2) == 0 {
            bytes.truncate(cut);
        } else {
            bytes[cut] ^= 1 << self.rng.below(8);
        }
        self.world.send(remote, &bytes);
    }

    fn block(&mut self, wild: bool) -> Block {
        let geometry = self.world.geometry;
        let piece = PieceIndex(self.rng.below_u32(geometry.pieces()));
        let slot = self.rng.below_u32(geometry.blocks_of(piece));
        let mut block = geometry.block(piece, slot);
        if wild && self.rng.below(2) == 0 {
            block.begin = block.begin.wrapping_add(self.rng.below_u32(u32::MAX));
        } else if self.rng.below(20) == 0 {
            block.len = 1 + self.rng.below_u32(block.len);
        }
        block
    }

    /// A message that this remote may send, or, if it is wild, any.
    fn message(&mut self, wild: bool) -> PeerMessage {
        let piece = PieceIndex(self.rng.below_u32(self.world.geometry.pieces()));
        match self.rng.below(if wild { 40 } else { 34 }) {
            0 => PeerMessage::KeepAlive,
            1 => PeerMessage::Choke,
            2..=8 => PeerMessage::Unchoke,
            9..=13 => PeerMessage::Interested,
            14 => PeerMessage::NotInterested,
            15..=18 => PeerMessage::Have(piece),
            19..=30 => PeerMessage::Request(self.block(wild)),
            31 | 32 => PeerMessage::Cancel(self.block(wild)),
            33 => PeerMessage::Port(1),
            34 => PeerMessage::SuggestPiece(piece),
            35 | 36 => PeerMessage::AllowedFast(piece),
            37 => PeerMessage::RejectRequest(self.block(wild)),
            38 => PeerMessage::HaveAll,
            _ => PeerMessage::HaveNone,
        }
    }

    /// An extended message, well formed or not.
    fn extended(&mut self) -> Vec<u8> {
        let number = self.rng.below_u32(4);
        let len = self.world.metainfo.info.len();
        let bodies = [
            format!("d1:md11:ut_metadatai2ee13:metadata_sizei{len}ee"),
            format!("d1:md11:ut_metadatai2ee13:metadata_sizei{len}ee"),
            format!("d1:md11:lt_donthavei4e11:ut_metadatai2ee4:reqqi{number}e1:v3:abce"),
            format!("d13:metadata_sizei{number}e11:upload_onlyi{}ee", number & 1),
            format!("d8:msg_typei{number}e5:piecei{number}ee"),
            "d5:added6:\x0a\0\0\x09\x1a\x2e7:added.f1:\x02e".to_owned(),
            "\0\0\0\x01".to_owned(),
        ];
        let mut out = Vec::new();
        let body = &bodies[self.rng.below(bodies.len())];
        let id = u8::try_from(self.rng.below(6)).expect("small");
        let whole = if self.rng.below(10) == 0 { self.rng.below(body.len()) } else { body.len() };
        extended::message(id, &mut out, |out| out.extend_from_slice(&body.as_bytes()[..whole]));
        out
    }

    /// Some messages, most of them plausible.
    fn talk(&mut self) {
        let Some(remote) = self.pick() else { return };
        let wild = self.rng.below(25) == 0;
        let count = 1 + self.rng.below(30);
        let messages: Vec<PeerMessage> = (0..count).map(|_| self.message(wild)).collect();
        let mut bytes = bytes_of(&messages);
        if self.rng.below(4) == 0 {
            bytes.extend(self.extended());
        }
        if self.rng.below(60) == 0 {
            let at = self.rng.below(bytes.len());
            bytes[at] ^= 1 << self.rng.below(8);
        }
        self.world.send(remote, &bytes);
    }

    /// Answers what was asked: rightly, wrongly, twice, in part, or with a refusal.
    fn answer(&mut self) {
        let count = self.asked.len().min(1 + self.rng.below(12));
        for _ in 0..count {
            if self.asked.is_empty() {
                return;
            }
            let at = self.rng.below(self.asked.len().min(8));
            let (remote, block) = self.asked.remove(at);
            if self.is_halfway(remote) {
                continue;
            }
            let bytes = self.world.piece_of(block);
            match self.rng.below(30) {
                0 => self.world.give_spoiled(remote, block),
                1 => self.world.give(remote, &[block, block]),
                2 => self.world.say(remote, &[PeerMessage::RejectRequest(block)]),
                3 | 4 => {
                    let cut = self.rng.below(bytes.len());
                    self.world.send(remote, &bytes[..cut]);
                    self.halves.push((remote, bytes[cut..].to_vec()));
                }
                5 => {}
                _ => self.world.send(remote, &bytes),
            }
        }
    }

    /// Answers a request for metadata: rightly, wrongly, for another block, or with a refusal.
    fn answer_wish(&mut self) {
        if self.wishes.is_empty() {
            return;
        }
        let at = self.rng.below(self.wishes.len());
        let (remote, block) = self.wishes.remove(at);
        let mut info = self.world.metainfo.info.to_vec();
        let (mut out, id) = (Vec::new(), Extension::Metadata.id());
        match self.rng.below(12) {
            0 => {
                let at = self.rng.below(info.len());
                info[at] ^= 1;
                ut_metadata::encode_data(id, block, &info, &mut out);
            }
            1 => {
                info.truncate(self.rng.below(info.len()));
                if ut_metadata::blocks_of(u32::try_from(info.len()).expect("short")) > block {
                    ut_metadata::encode_data(id, block, &info, &mut out);
                }
            }
            2 => ut_metadata::encode_data(id, 0, &info, &mut out),
            3 | 4 => ut_metadata::encode_reject(id, block, &mut out),
            _ => ut_metadata::encode_data(id, block, &info, &mut out),
        }
        self.world.send(remote, &out);
    }

    /// A node of the DHT, or who says that he is one: an answer, a query, or noise.
    fn node(&mut self) {
        let (from, asked) = match self.world.datagrams.pop_front() {
            Some((route, bytes)) => (route.remote, bytes),
            None => (SocketAddr::from(([10, 9, 7, 1], 6881)), Vec::new()),
        };
        let id = NodeId([u8::try_from(self.rng.below(200)).expect("small"); 20]);
        let mut out = Vec::new();
        let (info_hash, want) = (self.world.info_hash, Want { v4: true, v6: true });
        let port = AnnouncedPort::Implied(1);
        let body = match krpc::parse(&asked).map(|it| it.body) {
            Ok(Body::Query { .. }) if self.rng.below(4) > 0 => {
                let values = vec![SocketAddr::from(([10, 9, 9, 9], 6881))];
                Body::Reply(Reply { values, token: Some(b"token"), ..Reply::empty(id) })
            }
            Ok(Body::Query { .. }) => Body::Error(Refusal { code: 202, words: b"no" }),
            Ok(Body::Reply(Reply { token: Some(token), .. })) => {
                let method = Method::AnnouncePeer { info_hash, port, token };
                Body::Query { id, method }
            }
            _ => Body::Query { id, method: Method::GetPeers { info_hash, want } },
        };
        let transaction = krpc::parse(&asked).map_or(&b"t"[..], |it| it.transaction);
        Message { transaction, version: None, seen_at: Some(from), read_only: false, body }
            .write(&mut out);
        if self.rng.below(8) == 0 {
            let at = self.rng.below(out.len());
            out[at] ^= 1 << self.rng.below(8);
        }
        self.world.datagram(from, &out);
    }

    /// The application goes on with a torrent of which it was told the metadata.
    fn go_on(&mut self) {
        let told = |event: &Event| matches!(event, Event::Metadata { .. });
        if self.world.events.iter().any(told) {
            let mode = Mode::Download { overwrite: false };
            let new = NewTorrent::new(self.world.metainfo.clone(), "/downloads".into(), mode);
            let added = self.world.session.add_torrent(new, self.world.now);
            assert_eq!(added, Ok(self.world.torrent), "it keeps its name");
            self.world.settle();
        }
    }

    /// What only a remote with BEP 6 may say; others are closed for it.
    fn allow(&mut self) {
        let Some(remote) = self.pick() else { return };
        let piece = PieceIndex(self.rng.below_u32(self.world.geometry.pieces()));
        self.world
            .say(remote, &[PeerMessage::SuggestPiece(piece), PeerMessage::AllowedFast(piece)]);
    }

    fn noise(&mut self) {
        let Some(remote) = self.pick() else { return };
        let mut bytes = vec![0; self.rng.below(400)];
        self.rng.fill(&mut bytes);
        self.world.send(remote, &bytes);
    }

    fn leave(&mut self) {
        let Some(remote) = self.pick() else { return };
        if self.rng.below(2) == 0 {
            self.world.hang_up(remote);
        } else {
            self.world.reset(remote);
        }
    }

    fn dial(&mut self) {
        let Some((_, addr)) = self.world.dials.front().copied() else { return };
        if self.rng.below(3) == 0 {
            return self.world.fail_dial();
        }
        let remote = self.world.answer_dial();
        if addr.port() == 80 {
            self.streams.push(remote);
            return;
        }
        self.remotes.push(remote);
        let bytes = self.handshake();
        self.world.send(remote, &bytes);
    }

    /// A remote stops reading, or reads on.
    fn pace(&mut self) {
        let Some(remote) = self.pick() else { return };
        match self.rng.below(3) {
            0 => self.world.stall(remote),
            1 => {
                let n = self.rng.below(60_000);
                self.world.read(remote, n);
            }
            _ => self.world.read(remote, usize::MAX),
        }
    }

    /// A tracker's part.
    fn track(&mut self) {
        if !self.world.lookups.is_empty() {
            let addrs: &[&str] = [&["198.51.100.1", "198.51.100.2"][..], &[]][self.rng.below(2)];
            return self.world.resolve(addrs);
        }
        self.streams.retain(|stream| self.world.is_open(*stream));
        let Some(stream) = self.streams.last().copied() else { return };
        let mut bytes =
            b"HTTP/1.1 200 OK\r\n\r\nd8:intervali60e5:peers6:\x0a\x09\x09\x01\x1a\xe1e".to_vec();
        if self.rng.below(2) == 0 {
            let at = self.rng.below(bytes.len());
            bytes[at] ^= 1 << self.rng.below(8);
        }
        self.world.send(stream, &bytes);
        if self.world.is_open(stream) && self.rng.below(2) == 0 {
            self.world.hang_up(stream);
        }
    }

    /// Reads what the session says; that it can be decoded is part of the test.
    fn listen(&mut self) {
        for remote in self.remotes.clone() {
            for said in self.world.hear(remote) {
                match said {
                    Said::Message(PeerMessage::Request(block)) => {
                        assert!(self.world.geometry.is_block(block), "{block:?} is no block");
                        self.asked.push((remote, block));
                    }
                    Said::Extended(2, body) => {
                        if let Ok(MetadataMessage::Request(block)) = MetadataMessage::decode(&body)
                        {
                            self.wishes.push((remote, block));
                        }
                    }
                    _ => {}
                }
            }
        }
        let world = &self.world;
        self.asked.retain(|(remote, _)| world.is_open(*remote));
        self.wishes.retain(|(remote, _)| world.is_open(*remote));
        self.halves.retain(|(remote, _)| world.is_open(*remote));
    }

    fn check(&mut self) {
        let peers = self.world.session.peers(self.world.torrent, self.world.now);
        assert!(peers.len() <= 12, "{} peers", peers.len());
        for peer in peers {
            assert!(peer.requests_in <= 50 + 32, "{peer:?}");
            assert!(peer.requests_out <= 250, "{peer:?}");
        }
        let memory = self.world.session.memory();
        let (made, lent) = (memory.frames, memory.lent);
        assert!(made <= 4_096 && lent <= made);
        for event in self.world.events.drain(..) {
            writeln!(self.log, "{event:?}").expect("a string takes everything");
        }
    }

    /// Everything ends, one way or the other, and nothing is left.
    fn end(mut self) -> String {
        if self.rng.below(2) == 0 {
            self.world.session.shutdown(self.world.now);
        } else {
            self.world.session.remove_torrent(self.world.torrent, self.world.now);
        }
        self.world.disk.held = false;
        self.world.settle();
        // A tracker that says nothing has five seconds.
        self.world.advance_s(31);
        for remote in &self.remotes {
            assert!(!self.world.is_open(*remote), "{remote:?} is still open");
        }
        assert_eq!(self.world.session.memory().lent, 0, "frames are missing");
        assert!(self.world.session.is_idle());
        self.check();
        self.log
    }
}

#[test]
fn random_walks_through_the_contract_end_well() {
    for seed in 0..WALKS {
        let run = std::panic::catch_unwind(|| Walk::new(seed).run());
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_seed_replays_to_the_same_run() {
    for seed in 1_000..1_010 {
        assert_eq!(Walk::new(seed).run(), Walk::new(seed).run(), "seed {seed}");
    }
}

#[test]
fn noise_after_a_good_handshake_is_read_or_refused() {
    let mut world = World::seed();
    for seed in 0..STREAMS {
        let mut rng = Rng::new(seed);
        let remote = world.knock(World::addr_of(1)).expect("welcome");
        let mut bytes = encode(FAST, world.info_hash, peer_id(1)).to_vec();
        for _ in 0..rng.below(40) {
            // Small lengths and known ids, so that more than the first message is looked at.
            let len = rng.below_u32(20);
            bytes.extend(len.to_be_bytes());
            let mut body = vec![0; len as usize];
            rng.fill(&mut body);
            if let Some(id) = body.first_mut() {
                *id %= 24;
            }
            bytes.extend(body);
        }
        world.chunk = 1 + rng.below(80);
        world.send(remote, &bytes);
        if world.is_open(remote) {
            world.hear(remote);
            world.reset(remote);
        }
        assert_eq!(world.status().peers, 0);
        if world.status().banned > 0 {
            world = World::seed();
        }
    }
    assert_eq!(world.session.memory().lent, 0);
}
