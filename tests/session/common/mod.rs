//! A scripted world for one session: it plays sockets, disk, resolver and clock, so that a test
//! reads like a conversation.
//!
//! It keeps to the driver contract to the letter: a stream that was parked is read again only once
//! `poll_readable` names it, a name that was closed is never used again, and every turn ends with
//! the session's own invariants.

mod disk;
mod driver;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use swarmloop::dht::DhtConfig;
use swarmloop::disk::job::OnDisk;
use swarmloop::geometry::Geometry;
use swarmloop::id::{BLOCK_LEN, Block, ConnId, InfoHash, PeerId, PieceIndex, TorrentId};
use swarmloop::proto::handshake::{HANDSHAKE_LEN, Reserved, encode};
use swarmloop::proto::lsd;
use swarmloop::proto::message::{
    EXTENDED_ID, Head, Message, PIECE_HEADER_LEN, decode_head, piece_header,
};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::rng::Rng;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Closed, Event, Listener, Mode, ResolveId, Route, Seeds, SocketId};
use swarmloop::session::status::{PeerStatus, TorrentStatus};
use swarmloop::session::{NewMagnet, NewTorrent, Session};
use swarmloop::stats::Interval;
use swarmloop::subnet::Subnet;
use swarmloop::time::Instant;

use disk::Disk;

/// Blocks of every piece but the last, which has one and a half.
pub(crate) const PIECE_BLOCKS: u32 = 4;

/// The networks that it is attached to: a /16 and a /64.
pub(crate) const LAN_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 0);
pub(crate) const LAN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x14, 0, 0, 0, 0);

/// A remote, by the name of its connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Remote(pub(crate) ConnId);

/// What the session said to a remote. Payload is compared with the torrent's as it is decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    Handshake(Reserved, InfoHash, PeerId),
    Message(Message),
    Bitfield(Vec<u8>),
    Piece(Block),
    /// An extended message: under which id, and its body.
    Extended(u8, Vec<u8>),
}

/// How a test's session and torrent are made.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) pieces: u32,
    pub(crate) piece_blocks: u32,
    /// The pieces that are on disk and right when the torrent is added.
    pub(crate) have: Vec<u32>,
    pub(crate) mode: Mode,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) peers: Vec<(String, u16)>,
    /// What the file was when somebody hashed all of it.
    pub(crate) hashed: Option<OnDisk>,
    pub(crate) secret: u8,
    /// Only the info-hash is added, and with it peers from its link.
    pub(crate) magnet: Option<Vec<(String, u16)>>,
    pub(crate) private: bool,
    /// How many bytes longer its info dictionary is than it need be.
    pub(crate) padding: usize,
    /// How it takes part in the DHT, and what an earlier run has left of that.
    pub(crate) dht: Option<DhtConfig>,
    pub(crate) dht_saved: Vec<u8>,
    /// Where the torrent says that there are nodes of the DHT.
    pub(crate) dht_nodes: Vec<(String, u16)>,
    /// Whether it announces itself on [`LAN_V4`] and [`LAN_V6`]: sockets 2 and 3.
    pub(crate) lsd: bool,
}

/// The world of one session.
pub(crate) struct World {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    pub(crate) torrent: TorrentId,
    pub(crate) info_hash: InfoHash,
    pub(crate) metainfo: Metainfo,
    pub(crate) geometry: Geometry,
    /// The right bytes of the torrent.
    pub(crate) content: Vec<u8>,
    pub(crate) disk: Disk,
    pub(crate) events: Vec<Event>,
    /// Streams that the session asked for and that nobody answered yet.
    pub(crate) dials: VecDeque<(ConnId, SocketAddr)>,
    /// Who has to prove what to be, of the streams that are to be secured.
    pub(crate) secured: BTreeMap<ConnId, String>,
    pub(crate) lookups: VecDeque<(ResolveId, String, u16)>,
    /// Datagrams that the session sent and nobody looked at yet, and from which socket: 0 is the
    /// IPv4 one, 1 the IPv6 one.
    pub(crate) datagrams: VecDeque<(Route, Vec<u8>)>,
    /// The most bytes of one read.
    pub(crate) chunk: usize,
    wires: BTreeMap<ConnId, Wire>,
    next_host: u8,
}

/// One stream as the world sees it.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Wire {
    addr: SocketAddr,
    to_session: VecDeque<u8>,
    from_session: Vec<u8>,
    /// Whether the session may be offered bytes: our own readiness flag.
    ready: bool,
    /// How many more bytes the remote takes.
    window: usize,
    /// A short write has left bytes: it waits to be writable again.
    blocked: bool,
    open: bool,
    handshaken: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config::default(),
            pieces: 8,
            piece_blocks: PIECE_BLOCKS,
            have: Vec::new(),
            mode: Mode::Download { overwrite: false },
            trackers: Vec::new(),
            peers: Vec::new(),
            hashed: None,
            secret: 7,
            magnet: None,
            private: false,
            padding: 0,
            dht: None,
            dht_saved: Vec::new(),
            dht_nodes: Vec::new(),
            lsd: false,
        }
    }
}

impl Setup {
    pub(crate) fn seed() -> Self {
        let default = Self::default();
        Self { have: (0..default.pieces).collect(), ..default }
    }

    pub(crate) fn have(pieces: impl IntoIterator<Item = u32>) -> Self {
        Self { have: pieces.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn pieces(self, pieces: u32) -> Self {
        Self { pieces, ..self }
    }

    pub(crate) fn piece_blocks(self, piece_blocks: u32) -> Self {
        Self { piece_blocks, ..self }
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Returns a world whose torrent has looked at its files.
    pub(crate) fn build(self) -> World {
        let mut world = self.build_unchecked();
        world.settle();
        world
    }

    /// Returns a world whose torrent was just added.
    pub(crate) fn build_unchecked(self) -> World {
        let piece_len = self.piece_blocks * BLOCK_LEN;
        let last = BLOCK_LEN + BLOCK_LEN / 2;
        let last = last.min(piece_len);
        let total = (self.pieces - 1) as usize * piece_len as usize + last as usize;
        let mut content = vec![0; total];
        Rng::new(0xc0_ffee).fill(&mut content);
        let metainfo = self.metainfo(&content, piece_len);
        let info_hash = metainfo.info_hash;
        let geometry = Geometry::new(total as u64, piece_len);
        let seeds = Seeds { rng: 11, secret: [self.secret; 32] };
        let mut session = Session::new(self.config, seeds, Instant::ZERO);
        for addr in ["10.0.0.200:6881", "[2001:db8::200]:6881"] {
            session.add_socket(Listener::Peers, addr.parse().expect("an address"));
        }
        if let Some(dht) = self.dht.clone() {
            session.use_dht(dht, self.dht_saved.clone());
        }
        if self.lsd {
            for is_ipv4 in [true, false] {
                session.add_socket(Listener::Lsd, lsd::group(is_ipv4));
            }
            session.use_lsd(Instant::ZERO);
            session
                .set_networks(vec![Subnet::new(LAN_V4.into(), 16), Subnet::new(LAN_V6.into(), 64)]);
        }
        let added = if let Some(link_peers) = self.magnet {
            let (trackers, peers) = (self.trackers, self.peers);
            session.add_magnet(NewMagnet { info_hash, trackers, link_peers, peers }, Instant::ZERO)
        } else {
            let new = NewTorrent {
                peers: self.peers,
                hashed: self.hashed.map(|file| vec![Some(file)]),
                ..NewTorrent::new(metainfo.clone(), "/downloads".into(), self.mode)
            };
            session.add_torrent(new, Instant::ZERO)
        };
        let torrent = added.expect("the first torrent");
        let mut bytes = vec![0; total];
        for piece in &self.have {
            let at = *piece as usize * piece_len as usize;
            let end = (at + piece_len as usize).min(total);
            bytes[at..end].copy_from_slice(&content[at..end]);
        }
        let disk = Disk::new(bytes, !self.have.is_empty());
        World {
            session,
            now: Instant::ZERO,
            torrent,
            info_hash,
            metainfo,
            geometry,
            content,
            disk,
            events: Vec::new(),
            dials: VecDeque::new(),
            secured: BTreeMap::new(),
            lookups: VecDeque::new(),
            datagrams: VecDeque::new(),
            chunk: usize::MAX,
            wires: BTreeMap::new(),
            next_host: 1,
        }
    }

    fn metainfo(&self, content: &[u8], piece_len: u32) -> Metainfo {
        let hashes = content.chunks(piece_len as usize).flat_map(|it| Sha1::digest(it).to_vec());
        let hashes: Vec<u8> = hashes.collect();
        let mut info = format!("d6:lengthi{}e4:name4:file", content.len()).into_bytes();
        info.extend(format!("12:piece lengthi{piece_len}e6:pieces{}:", hashes.len()).into_bytes());
        info.extend(hashes);
        info.extend_from_slice(if self.private { b"7:privatei1e" } else { b"" });
        info.extend(format!("6:source{}:", self.padding).into_bytes());
        info.extend(std::iter::repeat_n(b'x', self.padding));
        info.push(b'e');
        let mut metainfo = Metainfo::from_info(Bytes::from(info)).expect("a good info dictionary");
        metainfo.trackers.clone_from(&self.trackers);
        metainfo.nodes.clone_from(&self.dht_nodes);
        metainfo
    }
}

/// The fast extension offered, or nothing.
pub(crate) const FAST: Reserved = Reserved([0, 0, 0, 0, 0, 0, 0, 4]);
pub(crate) const PLAIN: Reserved = Reserved([0; 8]);
/// The fast extension and the extension protocol offered.
pub(crate) const EXTENDED: Reserved = Reserved([0, 0, 0, 0, 0, 0x10, 0, 4]);

/// A peer id that sorts after ours (`-SL…`), told apart by `n`.
pub(crate) fn peer_id(n: u8) -> PeerId {
    let mut id = *b"-XX0000-000000000000";
    id[19] = n;
    PeerId(id)
}

pub(crate) fn bytes_of(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        message.encode(&mut bytes);
    }
    bytes
}

/// A `bitfield` message with these payload bytes.
pub(crate) fn bitfield(payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len() + 1).expect("short").to_be_bytes().to_vec();
    bytes.push(5);
    bytes.extend_from_slice(payload);
    bytes
}

// The script's words.
impl World {
    pub(crate) fn seed() -> Self {
        Setup::seed().build()
    }

    pub(crate) fn leech() -> Self {
        Setup::default().build()
    }

    pub(crate) fn next_addr(&mut self) -> SocketAddr {
        let addr = SocketAddr::from(([10, 0, 0, self.next_host], 6881));
        self.next_host += 1;
        addr
    }

    /// Returns an address that is always the same for `host`.
    pub(crate) fn addr_of(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 9, host], 6881))
    }

    /// Answers the oldest question for a host name; with no address, it failed.
    pub(crate) fn resolve(&mut self, addrs: &[&str]) {
        let (id, _, port) = self.lookups.pop_front().expect("a lookup");
        let addr = |ip: &&str| SocketAddr::new(ip.parse().expect("an address"), port);
        let addrs: Vec<SocketAddr> = addrs.iter().map(addr).collect();
        let answer = if addrs.is_empty() { Err(std::io::ErrorKind::NotFound) } else { Ok(addrs) };
        self.session.handle_resolved(id, answer, self.now);
        self.settle();
    }

    /// A datagram comes from `from` to the socket of its family.
    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let socket = SocketId(u16::from(from.is_ipv6()));
        let route = Route { socket, remote: from, local: None };
        self.session.handle_datagram(route, bytes, self.now);
        self.settle();
    }

    /// Returns what was sent on a stream that is no peer's.
    pub(crate) fn text(&mut self, remote: Remote) -> String {
        let bytes = std::mem::take(&mut self.wire(remote).from_session);
        String::from_utf8(bytes).expect("text")
    }

    /// Tells whether the session has left bytes of the remote unread, and waits.
    pub(crate) fn is_parked(&self, remote: Remote) -> bool {
        let wire = &self.wires[&remote.0];
        !wire.ready && !wire.to_session.is_empty()
    }

    /// Returns how many bytes of the remote the session has not read.
    pub(crate) fn unread(&self, remote: Remote) -> usize {
        self.wires[&remote.0].to_session.len()
    }

    /// A stranger connects from `addr`; `None` if the session does not want it.
    pub(crate) fn knock(&mut self, addr: SocketAddr) -> Option<Remote> {
        let conn = self.session.handle_accepted(Listener::Peers, addr, self.now)?;
        self.wires.insert(conn, Wire::new(addr));
        Some(Remote(conn))
    }

    /// A stranger connects from an address of its own.
    pub(crate) fn accept(&mut self) -> Remote {
        let addr = self.next_addr();
        self.knock(addr).expect("welcome")
    }

    /// A remote connects and shakes hands, speaking BEP 6 or not. Returns what it is told first,
    /// the handshake apart.
    pub(crate) fn joined(&mut self, reserved: Reserved) -> (Remote, Vec<Said>) {
        let remote = self.accept();
        let id = peer_id(100 + self.next_host);
        let handshake = encode(reserved, self.info_hash, id);
        self.send(remote, &handshake);
        let mut said = self.hear(remote);
        assert!(matches!(said.first(), Some(Said::Handshake(..))), "{said:?}");
        said.remove(0);
        (remote, said)
    }

    /// As [`World::joined`], for who does not care what it is told.
    pub(crate) fn join(&mut self, reserved: Reserved) -> Remote {
        self.joined(reserved).0
    }

    /// A seed connects and unchokes us: it is asked for blocks.
    pub(crate) fn join_seed(&mut self) -> Remote {
        let seed = self.join(FAST);
        self.say(seed, &[Message::HaveAll, Message::Unchoke]);
        seed
    }

    /// A leecher connects, is interested, and is let request if there is a slot.
    pub(crate) fn join_leech(&mut self, reserved: Reserved) -> Remote {
        let leech = self.join(reserved);
        if reserved.fast() {
            self.say(leech, &[Message::HaveNone]);
        }
        self.say(leech, &[Message::Interested]);
        leech
    }

    /// Answers the oldest dial: the stream is open.
    pub(crate) fn answer_dial(&mut self) -> Remote {
        self.answer_dial_reading(usize::MAX)
    }

    /// Answers the oldest dial with a remote that takes no more than so many bytes at first.
    pub(crate) fn answer_dial_reading(&mut self, window: usize) -> Remote {
        let (conn, addr) = self.dials.pop_front().expect("a dial");
        self.wires.insert(conn, Wire { window, ..Wire::new(addr) });
        self.session.handle_connected(conn, self.now);
        self.settle();
        Remote(conn)
    }

    pub(crate) fn fail_dial(&mut self) {
        self.fail_dial_with(Closed::Failed(std::io::ErrorKind::ConnectionRefused));
    }

    pub(crate) fn fail_dial_with(&mut self, closed: Closed) {
        let (conn, _) = self.dials.pop_front().expect("a dial");
        self.session.handle_closed(conn, closed, self.now);
        self.settle();
    }

    /// Puts bytes on their way without a turn.
    pub(crate) fn queue(&mut self, remote: Remote, bytes: &[u8]) {
        let wire = self.wires.get_mut(&remote.0).expect("a stream");
        if wire.open {
            wire.to_session.extend(bytes);
            wire.ready = true;
        }
    }

    /// Sends bytes and lets everything follow from it.
    pub(crate) fn send(&mut self, remote: Remote, bytes: &[u8]) {
        self.queue(remote, bytes);
        self.settle();
    }

    pub(crate) fn say(&mut self, remote: Remote, messages: &[Message]) {
        self.send(remote, &bytes_of(messages));
    }

    /// Returns the bytes of a `piece` message with the right payload.
    pub(crate) fn piece_of(&self, block: Block) -> Vec<u8> {
        let at = self.offset(block);
        let payload = &self.content[at..at + block.len as usize];
        [&piece_header(block)[..], payload].concat()
    }

    /// Sends a block as it should be.
    pub(crate) fn give(&mut self, remote: Remote, blocks: &[Block]) {
        for block in blocks {
            let bytes = self.piece_of(*block);
            self.queue(remote, &bytes);
        }
        self.settle();
    }

    /// Sends a block with one byte wrong.
    pub(crate) fn give_spoiled(&mut self, remote: Remote, block: Block) {
        let mut bytes = self.piece_of(block);
        *bytes.last_mut().expect("a payload") ^= 1;
        self.send(remote, &bytes);
    }

    /// Answers every request until none comes.
    pub(crate) fn serve(&mut self, remote: Remote) {
        loop {
            let asked = self.asked(remote);
            if asked.is_empty() || !self.is_open(remote) {
                return;
            }
            self.give(remote, &asked);
        }
    }

    pub(crate) fn hang_up(&mut self, remote: Remote) {
        self.wires.get_mut(&remote.0).expect("a stream").open = false;
        self.session.handle_closed(remote.0, Closed::Eof, self.now);
        self.settle();
    }

    pub(crate) fn reset(&mut self, remote: Remote) {
        self.wires.get_mut(&remote.0).expect("a stream").open = false;
        let reset = Closed::Failed(std::io::ErrorKind::ConnectionReset);
        self.session.handle_closed(remote.0, reset, self.now);
        self.settle();
    }

    /// The remote stops reading.
    pub(crate) fn stall(&mut self, remote: Remote) {
        self.wires.get_mut(&remote.0).expect("a stream").window = 0;
    }

    /// The remote reads `n` bytes more.
    pub(crate) fn read(&mut self, remote: Remote, n: usize) {
        let wire = self.wires.get_mut(&remote.0).expect("a stream");
        wire.window = wire.window.saturating_add(n);
        self.settle();
    }

    /// Returns everything whole that the remote has heard since it was last asked.
    pub(crate) fn hear(&mut self, remote: Remote) -> Vec<Said> {
        let mut said = Vec::new();
        let mut bytes = std::mem::take(&mut self.wire(remote).from_session);
        let mut rest = &bytes[..];
        if !self.wire(remote).handshaken
            && let Some(handshake) = rest.first_chunk::<HANDSHAKE_LEN>()
        {
            assert_eq!(&handshake[..20], b"\x13BitTorrent protocol");
            let part = |at: usize| handshake[at..at + 20].try_into().expect("20 bytes");
            let reserved = Reserved(handshake[20..28].try_into().expect("8 bytes"));
            said.push(Said::Handshake(reserved, InfoHash(part(28)), PeerId(part(48))));
            self.wire(remote).handshaken = true;
            rest = &rest[HANDSHAKE_LEN..];
        }
        while self.wire(remote).handshaken
            && let Some(head) = decode_head(rest).expect("the session speaks BitTorrent")
        {
            let used = match head {
                Head::Message(message, used) => {
                    said.push(Said::Message(message));
                    used
                }
                Head::Piece(block) => {
                    let used = PIECE_HEADER_LEN + block.len as usize;
                    let Some(payload) = rest.get(PIECE_HEADER_LEN..used) else { break };
                    let at = self.offset(block);
                    assert!(payload == &self.content[at..][..payload.len()], "{block:?} is wrong");
                    said.push(Said::Piece(block));
                    used
                }
                Head::Bitfield(len) => {
                    let Some(payload) = rest.get(5..5 + len as usize) else { break };
                    said.push(Said::Bitfield(payload.to_vec()));
                    5 + len as usize
                }
                Head::Extended { len, .. } => {
                    let Some(body) = rest.get(6..6 + len as usize) else { break };
                    said.push(Said::Extended(rest[5], body.to_vec()));
                    6 + len as usize
                }
                // Under an id of the remote's that is none of ours.
                Head::Unknown { id: EXTENDED_ID, len } => {
                    let Some(body) = rest.get(6..5 + len as usize) else { break };
                    said.push(Said::Extended(rest[5], body.to_vec()));
                    5 + len as usize
                }
                Head::Unknown { id, .. } => panic!("the session sent a message {id}"),
            };
            rest = &rest[used..];
        }
        let used = bytes.len() - rest.len();
        bytes.drain(..used);
        self.wire(remote).from_session = bytes;
        said
    }

    /// Returns the messages that the remote has heard, whatever else it heard.
    pub(crate) fn messages(&mut self, remote: Remote) -> Vec<Message> {
        let said = self.hear(remote).into_iter();
        said.filter_map(|said| match said {
            Said::Message(message) => Some(message),
            _ => None,
        })
        .collect()
    }

    /// Returns the blocks that the remote was asked for since it was last asked, cancels left out.
    pub(crate) fn asked(&mut self, remote: Remote) -> Vec<Block> {
        let messages = self.messages(remote).into_iter();
        messages
            .filter_map(|message| match message {
                Message::Request(block) => Some(block),
                _ => None,
            })
            .collect()
    }

    /// Returns the blocks that the remote was sent.
    pub(crate) fn given(&mut self, remote: Remote) -> Vec<Block> {
        let said = self.hear(remote).into_iter();
        said.filter_map(|said| match said {
            Said::Piece(block) => Some(block),
            _ => None,
        })
        .collect()
    }

    pub(crate) fn is_open(&self, remote: Remote) -> bool {
        self.wires[&remote.0].open
    }

    /// Returns the text of the error that the remote's connection ended with.
    pub(crate) fn closed_with(&self, remote: Remote) -> Option<String> {
        let from = self.wires[&remote.0].addr;
        self.events.iter().rev().find_map(|event| match event {
            Event::PeerClosed { addr, error, .. } if *addr == from => Some(error.to_string()),
            _ => None,
        })
    }

    pub(crate) fn is_banned(&self, remote: Remote) -> bool {
        let from = self.wires[&remote.0].addr;
        let banned =
            |event: &Event| matches!(event, Event::PeerBanned { addr, .. } if *addr == from);
        self.events.iter().any(banned)
    }

    pub(crate) fn status(&self) -> TorrentStatus {
        self.session.torrent(self.torrent, self.now).expect("the torrent is here")
    }

    /// Ends the interval of measuring that is under way.
    pub(crate) fn take(&mut self) -> Interval {
        self.session.take_histograms(Box::default(), self.now)
    }

    pub(crate) fn peer(&self, remote: Remote) -> PeerStatus {
        let addr = self.wires[&remote.0].addr;
        let peers = self.session.peers(self.torrent, self.now);
        peers.into_iter().find(|peer| peer.addr == addr).expect("an established peer")
    }

    pub(crate) fn block(&self, piece: u32, slot: u32) -> Block {
        self.geometry.block(PieceIndex(piece), slot)
    }

    pub(crate) fn blocks_of(&self, piece: u32) -> Vec<Block> {
        let count = self.geometry.blocks_of(PieceIndex(piece));
        (0..count).map(|slot| self.block(piece, slot)).collect()
    }

    /// Returns how many blocks the whole torrent has.
    pub(crate) fn all_blocks(&self) -> usize {
        let blocks = |piece| self.geometry.blocks_of(PieceIndex(piece)) as usize;
        (0..self.geometry.pieces()).map(blocks).sum()
    }

    /// Tells whether what was written is what the torrent is.
    pub(crate) fn disk_is_right(&self) -> bool {
        self.disk.bytes == self.content
    }

    fn offset(&self, block: Block) -> usize {
        block.piece.0 as usize * self.geometry.piece_len() as usize + block.begin as usize
    }

    fn wire(&mut self, remote: Remote) -> &mut Wire {
        self.wires.get_mut(&remote.0).expect("a stream")
    }
}

impl Wire {
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            to_session: VecDeque::new(),
            from_session: Vec::new(),
            ready: true,
            window: usize::MAX,
            blocked: false,
            open: true,
            handshaken: false,
        }
    }
}
