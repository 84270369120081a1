//! One established remote: what both sides have said, what is under way between them, and what is
//! due when.
//!
//! Decides nothing about the swarm: it turns bytes into [`PeerEvent`]s for its owner and its
//! owner's decisions into messages. **Invariant:** a peer does not know what a torrent is; it is
//! lent the torrent's [`Geometry`] to check ranges. Next on the walk: [`pipeline`], then `torrent`.

pub mod error;
pub mod extended;
pub mod fast;
pub mod handshake;
mod hear;
mod parts;
pub mod pipeline;
pub mod remote;
mod talk;
pub mod timer;
pub mod uploads;

use std::net::{IpAddr, SocketAddr};

use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use crate::id::{Block, PeerId, PieceIndex};
use crate::proto::handshake::Reserved;
use crate::proto::message::Message;
use crate::proto::ut_pex::Exchange;
use crate::rate::TokenBucket;
use crate::time::{Duration, Instant};
use crate::wire::frame::{Frame, Share};
use crate::wire::recv::{ANY_BITFIELD_LEN, RecvState, Step};
use crate::wire::scratch::{Arrived, Scratch};
use crate::wire::send::{MAX_CONTROL_BYTES, SendQueue};
use crate::wire::slices::RecvSlices;
use crate::wire::tape::{Note, Said, Tape};

use error::{CloseReason, Invalid, Misbehaviour, PeerError};
use extended::{Extras, MetadataEvent};
use fast::GrantedFast;
use parts::{Download, Upload};
use pipeline::{Arrival, Pipeline};
use remote::{ClaimError, RemotePieces};
use timer::{Timer, Timers};

/// An established remote.
///
/// Most remotes do nothing most of the time, and there are thousands of them: what is used only
/// while bytes flow is boxed, made on first use and put away in time.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the four flags of BEP 3, and some facts")]
#[expect(clippy::struct_field_names, reason = "the names of BEP 3")]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Whether it dialled us.
    pub incoming: bool,
    /// The candidate that this connection uses up: its address if we dialled it, or the one of a
    /// dial that was given up for it.
    pub dialled: Option<Box<SocketAddr>>,
    /// When its handshake was complete.
    pub connected_at: Instant,
    /// Whether both sides offered the fast extension (BEP 6).
    fast: bool,
    /// Whether both sides offered the extension protocol (BEP 10).
    extended: bool,
    /// Whether both sides offered a node of the DHT (BEP 5), and the remote has not named its own.
    awaits_dht_port: bool,
    /// Whether it stands among those of its torrent that could take more requests. Kept by the
    /// torrent.
    pub in_hungry_line: bool,
    /// Whether it stands among those that wait for the credit of an upload. Kept by the session.
    pub in_upload_line: bool,
    /// How it was counted by its torrent last. Kept by the torrent.
    pub counted: Standing,
    /// We do not answer its requests.
    am_choking: bool,
    /// We want something it has.
    am_interested: bool,
    /// It does not answer our requests.
    peer_choking: bool,
    /// When it last choked us, or when we last became interested in it, whichever was later: while
    /// both hold, how long we have been waiting for an unchoke.
    waits_since: Instant,
    /// It wants something we have.
    peer_interested: bool,
    remote: RemotePieces,
    /// Whether its first message, the only place for a bitfield, is in.
    first_message_seen: bool,
    recv: RecvState,
    /// `None` while nothing is to be sent, unless there is traffic.
    send: Option<Box<SendQueue>>,
    download: Option<Box<Download>>,
    upload: Option<Box<Upload>>,
    /// How many requests it takes at a time.
    request_limit: u32,
    timers: Timers,
    /// Whether a keep-alive came due while something was waiting to be sent, and nothing has left
    /// since.
    stalled: bool,
    /// The credit that the frame being received was taken on. Invariant: `Some` only while a
    /// payload is landing.
    landing: Option<Share>,
    /// What it has said beyond BEP 3; `None` while that is nothing.
    extras: Option<Box<Extras>>,
    /// Pieces that we let it request while choked.
    granted_fast: GrantedFast,
    /// How many of the torrent's completions it has been told of.
    have_cursor: u32,
    traffic: Traffic,
    useless: TokenBucket,
    /// What goes over the stream, for an onlooker; `None` while there is none.
    tape: Option<Box<Tape>>,
}

/// How a remote stands to us, as far as people want to know how many do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// It has every piece.
    pub is_seed: bool,
    /// We want something it has.
    pub is_interesting: bool,
    /// It answers our requests.
    pub unchokes_us: bool,
}

/// Payload moved between us and one remote, in bytes.
#[derive(Debug)]
struct Traffic {
    downloaded: u64,
    uploaded: u64,
    unrequested: u64,
    /// `uploaded` when we last unchoked it.
    uploaded_at_unchoke: u64,
    unchoked_at: Instant,
}

/// The limits that a peer is held to, by its owner's configuration.
#[derive(Clone, Copy, Debug)]
pub struct PeerLimits {
    /// The most requests it may have queued with us.
    pub max_queued_requests: usize,
    /// How long it may leave requests unanswered before it is snubbed.
    pub request_timeout: Duration,
    /// How long it may be silent before it is closed.
    pub idle_timeout: Duration,
    /// How long we may be silent before a keep-alive is sent.
    pub keep_alive_interval: Duration,
}

/// What a remote did that its owner must know of.
#[derive(Debug)]
pub enum PeerEvent {
    /// It said which pieces it has, having been counted as having these.
    Pieces(RemotePieces),
    /// It has one more piece.
    Have(PieceIndex),
    /// It does not answer requests any more; these are given up.
    Choked(Vec<Block>),
    /// It answers requests, having kept us waiting for so long if we were interested.
    Unchoked(Option<Duration>),
    /// It wants something of ours, or nothing any more.
    Interest(bool),
    /// It asks for a block: a range that exists.
    Request(Block),
    /// A block that was asked for begins to arrive: answer with [`Peer::land`] or
    /// [`Peer::skip_landing`].
    Landing(Block, Arrival),
    /// A block has arrived, in a frame that was taken on this credit.
    Block(Block, Frame, Share, Arrival),
    /// It will not send this block, which is given up.
    Rejected(Block),
    /// It left requests unanswered for too long; these are given up.
    Snubbed(Vec<Block>),
    /// It has lost a piece (BEP 54), having been counted as having these; these requests are given
    /// up.
    Lost(Box<RemotePieces>, Vec<Block>),
    /// It has introduced itself (BEP 10), or has said something else of itself than before; and at
    /// which address it sees us, if it has said that.
    Introduced(Option<IpAddr>),
    /// It speaks of metadata (BEP 9).
    Metadata(MetadataEvent),
    /// It tells of peers (BEP 11).
    Exchanged(Box<Exchange>),
    /// Its node of the DHT is at this port, not 0, of its address (BEP 5): told once.
    DhtNode(u16),
}

/// Useless messages that are forgiven at once, and how many more a second (security.md 2.2, row
/// 18). Honest haves do not count, however many.
const USELESS_BURST: u32 = 1_000;
const USELESS_PER_S: u32 = 20;
/// How long a remote may go on taking nothing once it is noticed that it does; with the interval of
/// keep-alives, two minutes in all (security.md 5.6, row 23).
const STALL_GRACE: Duration = Duration::from_secs(20);

impl Peer {
    /// Returns the state of a remote whose handshake was just completed: both sides choking, nobody
    /// interested (BEP 3).
    ///
    /// `both` is what both sides offered; `request_limit` is how many requests it takes at a time
    /// if it does not say. The geometry may be unknown: see [`Peer::learn`].
    pub fn new(
        addr: SocketAddr,
        peer_id: PeerId,
        incoming: bool,
        both: Reserved,
        geometry: &Geometry,
        request_limit: usize,
        now: Instant,
    ) -> Self {
        Self {
            addr,
            peer_id,
            incoming,
            dialled: (!incoming).then(|| Box::new(addr)),
            connected_at: now,
            fast: both.fast(),
            extended: both.extended(),
            awaits_dht_port: both.dht(),
            in_hungry_line: false,
            in_upload_line: false,
            counted: Standing::default(),
            am_choking: true,
            am_interested: false,
            peer_choking: true,
            waits_since: now,
            peer_interested: false,
            remote: RemotePieces::None,
            first_message_seen: false,
            recv: RecvState::new(bitfield_len(geometry)),
            send: None,
            download: None,
            upload: None,
            request_limit: u32::try_from(request_limit).unwrap_or(u32::MAX),
            timers: Timers::new(),
            stalled: false,
            landing: None,
            extras: None,
            granted_fast: GrantedFast::default(),
            have_cursor: 0,
            traffic: Traffic {
                downloaded: 0,
                uploaded: 0,
                unrequested: 0,
                uploaded_at_unchoke: 0,
                unchoked_at: now,
            },
            useless: TokenBucket::new(USELESS_PER_S, USELESS_BURST, now),
            tape: None,
        }
    }

    /// Takes in the sizes of the torrent, which were unknown so far, and holds what the remote has
    /// said against them.
    ///
    /// # Errors
    /// [`PeerError::Invalid`] and [`PeerError::Misbehaved`]: it has said what cannot be.
    /// [`PeerError::Closed`]: what it has was too much to remember. Close the connection.
    pub fn learn(&mut self, geometry: &Geometry) -> Result<(), PeerError> {
        self.recv.set_bitfield_len(bitfield_len(geometry));
        if let Some(extras) = &self.extras {
            extras.allowed_fast.iter().try_for_each(|piece| hear::check_piece(*piece, geometry))?;
        }
        let RemotePieces::Claimed(claims) = &self.remote else { return Ok(()) };
        let pieces = claims.of(geometry.pieces()).map_err(|error| match error {
            ClaimError::Bitfield(error) => PeerError::from(Invalid::from(error)),
            ClaimError::Piece(piece) => Misbehaviour::PieceOutOfRange(piece).into(),
        })?;
        self.remote = pieces.ok_or(CloseReason::Forgotten)?;
        Ok(())
    }

    /// Forgets which pieces the remote has claimed to have before their number was known; returns
    /// the bytes that this was kept in.
    pub fn forget_claims(&mut self) -> usize {
        let bytes = self.claim_bytes();
        if let RemotePieces::Claimed(claims) = &mut self.remote {
            claims.forget();
        }
        bytes
    }

    /// Returns the bytes in which is kept what the remote has claimed to have.
    pub fn claim_bytes(&self) -> usize {
        match &self.remote {
            RemotePieces::Claimed(claims) => claims.bytes(),
            _ => 0,
        }
    }

    /// Starts to wait for the remote's first word, and for our own; to be called once, before
    /// anything else.
    pub fn start_timers(&mut self, limits: &PeerLimits) {
        self.timers.set(Timer::Idle, self.connected_at + limits.idle_timeout);
        self.timers.set(Timer::KeepAlive, self.connected_at + limits.keep_alive_interval);
    }

    /// Returns where the next bytes go, `most` of them, not zero; `None` while so many answers wait
    /// for this slow reader that nothing more is read from it.
    pub fn recv_slices<'a>(
        &'a mut self,
        scratch: &'a mut Scratch,
        most: usize,
    ) -> Option<RecvSlices<'a>> {
        (!self.is_parked()).then(|| self.recv.slices(scratch, self.requests_out(), most))
    }

    /// Returns how many of the next bytes are to be read whatever may be read of payload: all if
    /// none is expected, for what nobody has asked for is held against the remote anyway.
    pub fn message_room(&self) -> usize {
        let expected = |pipeline: &Pipeline| !pipeline.is_empty() || pipeline.expects_late();
        if self.recv.is_in_payload() || self.pipeline().is_some_and(expected) {
            self.recv.message_room()
        } else {
            usize::MAX
        }
    }

    /// Takes it that the remote had no chance to be heard until now: we did not read.
    pub fn was_kept_from_sending(&mut self, limits: &PeerLimits, now: Instant) {
        self.timers.set(Timer::Idle, now + limits.idle_timeout);
        if let Some(download) = &mut self.download {
            download.pipeline.was_kept_waiting(now);
        }
    }

    /// Takes it that the remote could not take what waits for it: we did not send.
    pub fn was_kept_from_reading(&mut self, limits: &PeerLimits, now: Instant) {
        self.stalled = false;
        self.timers.set(Timer::KeepAlive, now + limits.keep_alive_interval);
    }

    /// Tells whether reading waits until the remote has taken what is queued for it.
    pub fn is_parked(&self) -> bool {
        self.send.as_ref().is_some_and(|send| send.control_len() > MAX_CONTROL_BYTES)
    }

    /// Records that `n` bytes arrived and returns how many of them are in the scratch buffer.
    pub fn recv_advance(&mut self, n: usize, limits: &PeerLimits, now: Instant) -> usize {
        self.timers.set(Timer::Idle, now + limits.idle_timeout);
        self.recv.advance(n)
    }

    /// Takes bytes from the front of `input` until something happened that the owner must know of;
    /// `None` when they are used up.
    ///
    /// # Errors
    /// [`PeerError::Invalid`] and [`PeerError::Misbehaved`]: the remote's fault; close the
    /// connection.
    pub fn next(
        &mut self,
        input: &mut Arrived<'_>,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        while let Some(step) = self.recv.next(input).map_err(Invalid::from)? {
            if let (Some(tape), Some(note)) = (&mut self.tape, note_of(&step)) {
                tape.push(note);
            }
            let event = match step {
                Step::Message(message) => self.on_message(message, geometry, now)?,
                Step::Bitfield(payload) => self.on_bitfield(payload, geometry, now)?,
                Step::Extended(id, body) => self.on_extended(id, body, geometry, now)?,
                Step::PieceHeader(block) => self.on_piece_header(block)?,
                Step::Block(block, frame) => Some(self.on_block(block, frame, now)),
                Step::Unknown => self.count_useless(now)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Looks at the timers that are due. At most one event a call; call again until `None`.
    ///
    /// # Errors
    /// [`PeerError::TimedOut`]: the remote has been silent for too long, or has taken nothing for
    /// as long; close the connection.
    pub fn handle_timeout(
        &mut self,
        limits: &PeerLimits,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        self.put_away(now);
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Request => {
                    let Some(Download { pipeline, .. }) = self.download.as_deref_mut() else {
                        continue;
                    };
                    match pipeline.snub_at(limits.request_timeout) {
                        Some(at) if at <= now => {
                            let mut released = Vec::new();
                            pipeline.snub(&mut released);
                            return Ok(Some(PeerEvent::Snubbed(released)));
                        }
                        Some(at) => self.timers.set(Timer::Request, at),
                        None => {}
                    }
                }
                Timer::KeepAlive if !self.wants_send() => self.say(&Message::KeepAlive),
                // What waits may have been queued just now, or we ourselves have slept.
                Timer::KeepAlive if !std::mem::replace(&mut self.stalled, true) => {
                    self.timers.set(Timer::KeepAlive, now + STALL_GRACE);
                }
                other => return Err(PeerError::TimedOut(other)),
            }
        }
        Ok(None)
    }

    /// Frees what is of no use any more.
    fn put_away(&mut self, now: Instant) {
        self.download.take_if(|download| download.is_of_no_use(now));
        let sending = self.wants_send();
        self.upload.take_if(|upload| !sending && upload.is_of_no_use(now));
        self.put_send_away();
    }

    /// Frees the send queue if it is empty, unless there is traffic: whoever is at work sends again
    /// at once.
    fn put_send_away(&mut self) {
        let resting = self.download.is_none() && self.upload.is_none();
        self.send.take_if(|send| resting && send.is_empty());
    }

    /// Returns when [`Peer::handle_timeout`] is to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

fn note_of(step: &Step) -> Option<Note> {
    let bytes = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    Some(match step {
        Step::Message(message) => Note::Received(Said::Message(*message)),
        Step::Bitfield(payload) => Note::Received(Said::Bitfield(bytes(payload.len()))),
        Step::Extended(id, body) => Note::Received(Said::Extended(*id, bytes(body.len() + 6))),
        Step::PieceHeader(block) => Note::Received(Said::Piece(*block)),
        Step::Block(block, _) => Note::Landed(*block),
        Step::Unknown => return None,
    })
}

/// Returns the bytes of a right `bitfield` payload.
fn bitfield_len(geometry: &Geometry) -> u32 {
    if !geometry.is_known() {
        return ANY_BITFIELD_LEN;
    }
    u32::try_from(Bitfield::wire_len(geometry.pieces())).expect("at most 2^18 bytes")
}
