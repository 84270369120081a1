//! A seed that is no session: it answers requests by hand, and spoils some of the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use swarmloop::bitfield::Bitfield;
use swarmloop::id::{BLOCK_LEN, Block, PeerId, PieceIndex};
use swarmloop::proto::handshake::{HANDSHAKE_LEN, Reserved, encode};
use swarmloop::proto::message::{Message, encode_bitfield_head, piece_header};
use swarmloop::sim::{Actor, ActorIo, HostId, Sim, Source, StreamId};

/// Claims to have everything, unchokes whoever asks, and spoils one block of `spoils_one_of`.
#[derive(Debug)]
pub(crate) struct Liar {
    pub(crate) source: Arc<Source>,
    /// Tells liars apart: each spoils other blocks.
    pub(crate) number: u8,
    /// 1 spoils everything, 0 nothing.
    pub(crate) spoils_one_of: u32,
    /// Takes requests and answers nothing.
    pub(crate) silent: bool,
    streams: BTreeMap<StreamId, Vec<u8>>,
}

impl Liar {
    pub(crate) fn new(source: &Arc<Source>, number: u8, spoils_one_of: u32) -> Self {
        let source = Arc::clone(source);
        Self { source, number, spoils_one_of, silent: false, streams: BTreeMap::new() }
    }

    fn spoils(&self, block: Block) -> bool {
        let blocks = self.source.metainfo.piece_len.div_ceil(BLOCK_LEN);
        let at = block.piece.0 * blocks + block.slot();
        self.spoils_one_of > 0
            && (at + 37 * u32::from(self.number)).is_multiple_of(self.spoils_one_of)
    }

    fn answer(&self, block: Block) -> Vec<u8> {
        let mut out = piece_header(block).to_vec();
        let (from, until) = (block.begin as usize, (block.begin + block.len) as usize);
        out.extend_from_slice(&self.source.piece(block.piece)[from..until]);
        if self.spoils(block) {
            // Two liars never spoil a block in the same way.
            *out.last_mut().unwrap() ^= 1 + self.number;
        }
        out
    }

    fn greeting(&self) -> Vec<u8> {
        let id =
            PeerId(*format!("-XX0000-liar-{:07}", self.number).as_bytes().first_chunk().unwrap());
        let mut out = encode(Reserved::default(), self.source.metainfo.info_hash, id).to_vec();
        let pieces = Bitfield::full(self.source.metainfo.piece_count());
        encode_bitfield_head(Bitfield::wire_len(pieces.len()), &mut out);
        pieces.write_wire(&mut out);
        out
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(*bytes.first_chunk().unwrap())
}

impl Actor for Liar {
    fn opened(&mut self, stream: StreamId, _: SocketAddr, io: &mut ActorIo) {
        self.streams.insert(stream, Vec::new());
        io.send(stream, self.greeting());
    }

    fn received(&mut self, stream: StreamId, bytes: &[u8], io: &mut ActorIo) {
        let mut buffer = self.streams.remove(&stream).unwrap_or_default();
        let greeted = buffer.len() + bytes.len() > HANDSHAKE_LEN || buffer.len() > HANDSHAKE_LEN;
        buffer.extend_from_slice(bytes);
        // The handshake stays in front, so that the stream is known to be past it.
        while greeted && buffer.len() >= HANDSHAKE_LEN + 4 {
            let len = number(&buffer[HANDSHAKE_LEN..]) as usize;
            let Some(message) = buffer.get(HANDSHAKE_LEN + 4..HANDSHAKE_LEN + 4 + len) else {
                break;
            };
            match message.first() {
                // `interested`
                Some(2) => {
                    let mut out = Vec::new();
                    Message::Unchoke.encode(&mut out);
                    io.send(stream, out);
                }
                // `request`
                Some(6) if !self.silent => {
                    let [piece, begin, len] = [1, 5, 9].map(|at| number(&message[at..]));
                    io.send(stream, self.answer(Block { piece: PieceIndex(piece), begin, len }));
                }
                _ => {}
            }
            buffer.drain(HANDSHAKE_LEN..HANDSHAKE_LEN + 4 + len);
        }
        self.streams.insert(stream, buffer);
    }

    fn closed(&mut self, stream: StreamId, _: &mut ActorIo) {
        self.streams.remove(&stream);
    }
}

/// Dials a host, shakes hands, says what it has to say and nothing more.
#[derive(Debug)]
pub(crate) struct Caller {
    target: SocketAddr,
    says: Vec<u8>,
}

impl Caller {
    pub(crate) fn new(sim: &Sim, target: HostId, source: &Source, number: u8) -> Self {
        let target = SocketAddr::new(sim.ip(target), swarmloop::sim::PEER_PORT);
        let mut id = PeerId(*b"-XX0000-call-0000000");
        id.0[19] = number;
        let says = encode(Reserved::default(), source.metainfo.info_hash, id).to_vec();
        Self { target, says }
    }

    pub(crate) fn say(mut self, message: &Message) -> Self {
        message.encode(&mut self.says);
        self
    }
}

impl Actor for Caller {
    fn started(&mut self, io: &mut ActorIo) {
        io.dial(self.target);
    }

    fn opened(&mut self, stream: StreamId, _: SocketAddr, io: &mut ActorIo) {
        io.send(stream, self.says.clone());
    }

    fn received(&mut self, _: StreamId, _: &[u8], _: &mut ActorIo) {}

    fn closed(&mut self, _: StreamId, _: &mut ActorIo) {}
}
