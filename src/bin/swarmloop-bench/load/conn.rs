//! One connection to the client: what we play on it, and what both sides have said.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;

use mio::net::TcpStream;
use swarmloop::bitfield::Bitfield;
use swarmloop::id::{BLOCK_LEN, Block, PeerId, PieceIndex};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::handshake::{self, Reserved};
use swarmloop::proto::message::{self, Message};
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};

use super::inbox::{Inbox, Step, pieces_of};
use super::outbox::{Flushed, Outbox};
use super::tally::{Cause, Tally};
use super::wanted::{Cursor, Wanted};
use crate::payload::Payload;

/// What we play on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Has every piece and serves whatever is asked for.
    Seed,
    /// Asks for blocks and checks them.
    Leech,
    /// Has nothing, wants nothing, and is there; at a rate, tells of pieces now and then.
    Watch,
    /// Leaves as soon as its handshake is answered.
    Knock,
    /// Tells of every piece, one `have` after the other, and leaves.
    Flood,
}

/// What all connections share.
pub(crate) struct Shared<'a> {
    pub(crate) payload: &'a Payload,
    pub(crate) wanted: Wanted,
    pub(crate) tally: Tally,
    pub(crate) rng: Rng,
    /// The first sign that the client is complete.
    pub(crate) complete: Option<Signal>,
    /// Requests that a leech has outstanding at most.
    pub(crate) outstanding: usize,
    /// Whether what connections say falls due by the clock.
    pub(crate) paced: bool,
    /// When requests were due that were made and came to nothing: they are to be made again, and
    /// their time counts on.
    pub(crate) owed: VecDeque<Instant>,
}

/// How the client tells that it has every piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// It has announced every piece on one connection.
    HaveAll,
    /// It is interested no longer, after it was sent as much as there is.
    NotInterested,
    /// It has closed every connection, after it was sent as much as there is.
    Closed,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The stream is being opened.
    Connecting,
    /// The stream is open since then, the client has not answered.
    Handshaking { since: Instant },
    /// Both handshakes are there.
    Open,
}

/// A connection to the client.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "two of the socket's, two of BEP 3's")]
pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    /// When it was dialled or accepted.
    pub(crate) began: Instant,
    /// Whether it may have bytes for us; as in the library's reactor.
    pub(crate) readable: bool,
    /// Whether the client has ended its half.
    pub(crate) hung_up: bool,
    /// Whether the socket takes bytes.
    pub(crate) writable: bool,
    /// Whether it counts as open, no longer as being opened.
    pub(crate) is_counted: bool,
    /// Whether it is in the list of those that have something to send.
    pub(crate) is_dirty: bool,
    /// Whether it is in the list of those that could ask for more.
    pub(crate) is_hungry: bool,
    /// Whether the client lets us ask.
    choked: bool,
    /// Whether a block has come on it.
    served: bool,
    /// Whether we let the client ask.
    choking: bool,
    /// What the client offers besides BEP 3.
    reserved: Reserved,
    /// Pieces that the client has announced on this connection.
    has: u32,
    inbox: Inbox,
    outbox: Outbox,
    /// What we have asked for, in order.
    asked: VecDeque<Asked>,
    /// What we asked for before a choke that made it void, the latest last: at most as many as may
    /// be outstanding.
    void: VecDeque<Block>,
    cursor: Cursor,
    /// Pieces that we have told of.
    told: u32,
    /// Whether we have ended our half.
    ended: bool,
    /// When we last had something to say.
    spoke: Instant,
}

/// A block that we have asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    block: Block,
    /// When the request was due; in a closed loop, when it was made.
    due: Instant,
}

/// What we offer: the fast extension (BEP 6), and the extension protocol (BEP 10) to say how many
/// requests we take.
const RESERVED: Reserved = Reserved([0, 0, 0, 0, 0, 0x10, 0, 0x04]);

/// How many requests we say to take (`reqq`, BEP 10): libtorrent's own default.
const REQQ: i64 = 2_000;

/// The most bytes of `have` messages that wait on one connection.
const FLOOD_LEN: usize = 16 * 1024;

/// How long we may be silent; clients close after two minutes (BEP 3).
const KEEP_ALIVE: Duration = Duration::from_secs(60);

impl Conn {
    /// Takes a stream that is open (accepted) or being opened.
    pub(crate) fn new(socket: TcpStream, role: Role, phase: Phase, now: Instant) -> Self {
        Self {
            socket,
            role,
            phase,
            began: now,
            readable: false,
            hung_up: false,
            writable: phase != Phase::Connecting,
            is_counted: false,
            is_dirty: false,
            is_hungry: false,
            choked: true,
            served: false,
            choking: true,
            reserved: Reserved::default(),
            has: 0,
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            asked: VecDeque::new(),
            void: VecDeque::new(),
            cursor: Cursor::default(),
            told: 0,
            ended: false,
            spoke: now,
        }
    }

    /// The stream is open: our handshake goes out.
    pub(crate) fn greet(&mut self, shared: &mut Shared<'_>, now: Instant) {
        self.phase = Phase::Handshaking { since: now };
        self.writable = true;
        let mut id = *b"-SB0100-............";
        shared.rng.fill(&mut id[8..]);
        let greeting = handshake::encode(RESERVED, shared.payload.info_hash(), PeerId(id));
        self.outbox.control.extend_from_slice(&greeting);
    }

    /// Tells whether something waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Tells whether this connection could say something more ([`Conn::say`]).
    pub(crate) fn has_room(&self, shared: &Shared<'_>) -> bool {
        let is_open = self.phase == Phase::Open;
        match self.role {
            Role::Leech => is_open && !self.choked && self.asked.len() < shared.outstanding,
            Role::Watch => is_open && shared.paced && !self.has_output(),
            Role::Flood => {
                let is_more = self.told < shared.payload.geometry.pieces();
                is_open && is_more && self.outbox.control.len() < FLOOD_LEN
            }
            Role::Seed | Role::Knock => false,
        }
    }

    /// Tells whether this is a leech that the client has not unchoked.
    pub(crate) fn is_choked(&self) -> bool {
        self.role == Role::Leech && self.choked
    }

    /// Tells whether the client has answered a request here.
    pub(crate) const fn is_served(&self) -> bool {
        self.served
    }

    /// Tells whether there is something to say; leeches may have nothing to ask for.
    pub(crate) fn has_topic(&self, shared: &Shared<'_>) -> bool {
        self.role != Role::Leech || self.cursor.is_in_piece() || shared.wanted.has_more()
    }

    /// Says what the role has to say next, which was due at `due`.
    pub(crate) fn say(&mut self, shared: &mut Shared<'_>, due: Instant) {
        match self.role {
            Role::Leech => self.ask(shared, due),
            Role::Watch | Role::Flood if self.told < shared.payload.geometry.pieces() => {
                Message::Have(PieceIndex(self.told)).encode(&mut self.outbox.control);
                self.told += 1;
                shared.tally.haves_sent += 1;
            }
            _ => Message::KeepAlive.encode(&mut self.outbox.control),
        }
    }

    /// Says that we are still there if it is time to.
    pub(crate) fn keep_alive(&mut self, now: Instant) {
        if self.phase == Phase::Open && !self.has_output() && now - self.spoke >= KEEP_ALIVE {
            Message::KeepAlive.encode(&mut self.outbox.control);
            self.spoke = now;
        }
    }

    /// Ends our half if everything has been said; the client's end of its half then tells that it
    /// has heard all of it.
    pub(crate) fn end_if_all_told(&mut self, shared: &Shared<'_>) -> io::Result<()> {
        let is_told = self.role == Role::Flood && self.told == shared.payload.geometry.pieces();
        if is_told && !self.has_output() && !self.ended {
            self.ended = true;
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Tells whether this connection has done what its role is for.
    pub(crate) fn has_finished(&self) -> bool {
        self.ended || (self.role == Role::Knock && self.phase == Phase::Open)
    }

    fn ask(&mut self, shared: &mut Shared<'_>, due: Instant) {
        if let Some(block) = shared.wanted.next(&mut self.cursor, &mut shared.rng) {
            Message::Request(block).encode(&mut self.outbox.control);
            self.asked.push_back(Asked { block, due });
        }
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self, payload: &Payload) -> io::Result<Flushed> {
        let flushed = self.outbox.flush(&mut self.socket, payload)?;
        self.writable = !flushed.blocked;
        Ok(flushed)
    }

    /// Takes in what was read.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub(crate) fn take_in(
        &mut self,
        mut bytes: &[u8],
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Result<(), Cause> {
        while let Some(step) = self.inbox.next(&mut bytes, shared.payload)? {
            match step {
                Step::Block { block, good } => self.on_block(block, good, shared, now)?,
                Step::Message(message) => self.on_message(message, shared)?,
                Step::Bits { first, byte } => {
                    for piece in pieces_of(first, byte) {
                        self.on_have(piece, shared)?;
                    }
                }
                Step::Handshake(reserved) => self.on_handshake(reserved, shared, now),
            }
        }
        Ok(())
    }

    fn on_handshake(&mut self, reserved: Reserved, shared: &mut Shared<'_>, now: Instant) {
        if let Phase::Handshaking { since } = self.phase {
            shared.tally.handshake_latency.record(nanos(now, since));
        }
        shared.tally.handshakes += 1;
        self.phase = Phase::Open;
        self.reserved = reserved;
        let out = &mut self.outbox.control;
        match self.role {
            Role::Seed if reserved.fast() => Message::HaveAll.encode(out),
            Role::Seed => {
                let pieces = shared.payload.geometry.pieces();
                message::encode_bitfield_head(Bitfield::wire_len(pieces), out);
                Bitfield::full(pieces).write_wire(out);
            }
            _ if reserved.fast() => Message::HaveNone.encode(out),
            _ => {}
        }
        if reserved.extended() {
            extension_handshake(out);
        }
        if self.role == Role::Leech {
            Message::Interested.encode(out);
        }
    }

    fn on_message(&mut self, message: Message, shared: &mut Shared<'_>) -> Result<(), Cause> {
        match message {
            Message::Request(block) if self.role == Role::Seed && !self.choking => {
                if !shared.payload.geometry.contains(block) || block.len > BLOCK_LEN {
                    return Err(Cause::Protocol);
                }
                self.outbox.push(block)?;
            }
            Message::Have(piece) => {
                shared.tally.haves_received += 1;
                self.on_have(piece, shared)?;
            }
            Message::HaveAll => {
                shared.wanted.learn_all();
                shared.signal(Signal::HaveAll);
            }
            Message::Unchoke => self.choked = false,
            Message::Choke => {
                self.choked = true;
                // Others can go on with the piece. A fast peer rejects each request (BEP 6); of
                // those that are not, all are void (BEP 3), but it may be in the middle of a block.
                shared.wanted.give_back(std::mem::take(&mut self.cursor), std::iter::empty());
                if !self.reserved.fast() {
                    self.void.extend(self.asked.iter().map(|asked| asked.block));
                    let surplus = self.void.len().saturating_sub(shared.outstanding);
                    self.void.drain(..surplus);
                    self.give_back(shared);
                }
            }
            Message::Interested if self.role == Role::Seed && self.choking => {
                self.choking = false;
                Message::Unchoke.encode(&mut self.outbox.control);
            }
            Message::NotInterested if shared.all_sent() => shared.signal(Signal::NotInterested),
            Message::Cancel(block) if self.outbox.cancel(block) && self.reserved.fast() => {
                Message::RejectRequest(block).encode(&mut self.outbox.control);
            }
            Message::RejectRequest(block) => {
                shared.tally.rejected += 1;
                if let Some(asked) = self.no_longer_asked(block) {
                    shared.owe(asked.due);
                    shared.wanted.give_back(Cursor::default(), [block].into_iter());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The client has announced a piece here.
    fn on_have(&mut self, piece: PieceIndex, shared: &mut Shared<'_>) -> Result<(), Cause> {
        shared.on_have(piece)?;
        self.has = self.has.saturating_add(1);
        let is_told = self.role == Role::Watch && self.has == shared.payload.geometry.pieces();
        shared.tally.fully_told += u64::from(is_told);
        Ok(())
    }

    fn on_block(
        &mut self,
        block: Block,
        good: bool,
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Result<(), Cause> {
        let Some(asked) = self.no_longer_asked(block) else {
            // It was under way when the choke came; somebody else is asked for it now.
            let at = self.void.iter().position(|void| *void == block);
            self.void.remove(at.ok_or(Cause::Unrequested)?);
            return if good { Ok(()) } else { Err(Cause::Mismatch) };
        };
        if !good {
            shared.wanted.give_back(Cursor::default(), [block].into_iter());
            return Err(Cause::Mismatch);
        }
        self.served = true;
        let tally = &mut shared.tally;
        tally.block_latency.record(nanos(now, asked.due));
        tally.received += u64::from(block.len);
        tally.blocks_received += 1;
        tally.last_payload = Some(now);
        Ok(())
    }

    /// Takes a block off the list of those asked for; nearly always it is the first.
    fn no_longer_asked(&mut self, block: Block) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.block == block)?;
        self.asked.remove(at)
    }

    /// Hands what was asked for here to other connections.
    pub(crate) fn give_back(&mut self, shared: &mut Shared<'_>) {
        let cursor = std::mem::take(&mut self.cursor);
        for asked in &self.asked {
            shared.owe(asked.due);
        }
        shared.wanted.give_back(cursor, self.asked.drain(..).map(|asked| asked.block));
    }

    /// Returns when the requests that are not answered were due.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = Instant> {
        self.asked.iter().map(|asked| asked.due)
    }
}

impl Shared<'_> {
    /// Notes that a request came to nothing; in a closed loop only its block matters.
    fn owe(&mut self, due: Instant) {
        if self.paced {
            self.owed.push_back(due);
        }
    }

    /// Tells whether as much as the torrent has was sent.
    pub(crate) fn all_sent(&self) -> bool {
        self.tally.sent >= self.payload.geometry.total_len()
    }

    /// The client has announced a piece.
    fn on_have(&mut self, piece: PieceIndex) -> Result<(), Cause> {
        if !self.wanted.learn(piece) {
            return Err(Cause::Protocol);
        }
        // Of all connections together: one alone may be told of a piece twice, by its bitfield and
        // by a `have` (aria2), or of a part only.
        if self.wanted.known_count() == self.payload.geometry.pieces() {
            self.signal(Signal::HaveAll);
        }
        Ok(())
    }

    /// Notes a sign that the client is complete; the first one counts.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.complete.get_or_insert(signal);
    }
}

/// Appends the extension handshake (BEP 10): no extensions, but how many requests we take.
fn extension_handshake(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    Writer::new(&mut body).dict(|dict| {
        dict.key(b"m").dict(|_| {});
        dict.key(b"reqq").int(REQQ);
    });
    let len = u32::try_from(body.len() + 2).expect("a few bytes");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[20, 0]);
    out.extend_from_slice(&body);
}

/// Returns the time between two moments for a histogram.
pub(crate) fn nanos(now: Instant, since: Instant) -> u64 {
    u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX)
}
