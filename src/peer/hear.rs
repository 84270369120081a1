//! What the remote says, message by message: held against the rules, and told to the owner if it
//! matters to it.

use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use crate::id::{BLOCK_LEN, Block, PieceIndex};
use crate::peer::error::{Invalid, MAX_UNREQUESTED_BYTES, Misbehaviour, PeerError};
use crate::peer::fast;
use crate::peer::pipeline::Arrival;
use crate::peer::remote::RemotePieces;
use crate::peer::{Peer, PeerEvent};
use crate::proto::message::Message;
use crate::time::{Duration, Instant};
use crate::wire::frame::Frame;

/// How long after our choke requests may still come that were made before it was heard (libtorrent
/// forgives them for 2 s).
const CHOKE_GRACE: Duration = Duration::from_secs(2);
/// The longest range that a remote may ask for, in bytes: what old clients used. Above
/// [`BLOCK_LEN`] it is refused, above this the remote is broken (security.md 2.2, row 16).
const MAX_REQUEST_LEN: u32 = 128 * 1024;

impl Peer {
    pub(super) fn on_message(
        &mut self,
        message: Message,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        let first = !self.first_message_seen;
        // Who looks for metadata names his node long before he can say what he has.
        let says_something = !matches!(message, Message::KeepAlive | Message::Port(_));
        self.first_message_seen |= says_something;
        let fast_message = matches!(
            message,
            Message::SuggestPiece(_)
                | Message::HaveAll
                | Message::HaveNone
                | Message::RejectRequest(_)
                | Message::AllowedFast(_)
        );
        if fast_message && !self.fast {
            return Err(Misbehaviour::FastNotNegotiated.into());
        }
        match message {
            Message::Port(port) => {
                let is_news = std::mem::take(&mut self.awaits_dht_port) && port != 0;
                Ok(is_news.then_some(PeerEvent::DhtNode(port)))
            }
            Message::Choke => self.on_choke(now),
            Message::Unchoke if self.peer_choking => {
                self.peer_choking = false;
                if let Some(download) = &mut self.download {
                    download.pipeline.unchoked();
                }
                let waited = self.am_interested.then(|| now - self.waits_since);
                Ok(Some(PeerEvent::Unchoked(waited)))
            }
            Message::Interested | Message::NotInterested => self.on_interest(message, now),
            Message::KeepAlive | Message::Unchoke => self.count_useless(now),
            Message::Have(piece) => self.on_have(piece, geometry, now),
            Message::HaveNone if !first => Err(Misbehaviour::LateHaveNone.into()),
            Message::HaveAll => self.on_all_pieces(RemotePieces::All, first, now),
            Message::HaveNone => self.on_all_pieces(RemotePieces::None, first, now),
            Message::Request(block) => self.on_request(block, geometry, now),
            Message::Cancel(block) => self.on_cancel(block, now),
            Message::RejectRequest(block) => self.on_reject(block),
            Message::SuggestPiece(piece) => check_named(piece, geometry).map(|()| None),
            Message::AllowedFast(piece) => self.on_allowed_fast(piece, geometry, now),
        }
    }

    fn on_choke(&mut self, now: Instant) -> Result<Option<PeerEvent>, PeerError> {
        if self.peer_choking {
            return self.count_useless(now);
        }
        self.peer_choking = true;
        self.waits_since = now;
        let mut released = Vec::new();
        // With the fast extension a choke cancels nothing: every request is still answered or
        // rejected (BEP 6).
        if let Some(download) = self.download.as_mut().filter(|_| !self.fast) {
            download.pipeline.give_up_all(&mut released);
        }
        self.count_flip(now)?;
        Ok(Some(PeerEvent::Choked(released)))
    }

    fn on_interest(
        &mut self,
        message: Message,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        let interested = message == Message::Interested;
        if self.peer_interested == interested {
            return self.count_useless(now);
        }
        self.peer_interested = interested;
        self.count_flip(now)?;
        Ok(Some(PeerEvent::Interest(interested)))
    }

    pub(super) fn on_bitfield(
        &mut self,
        payload: Vec<u8>,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        let first = !std::mem::replace(&mut self.first_message_seen, true);
        if !geometry.is_known() {
            if !first {
                self.count_useless(now)?;
            }
            self.remote.claims_mut().set_bitfield(payload);
            return Ok(Some(PeerEvent::Pieces(RemotePieces::None)));
        }
        let bits = Bitfield::from_wire(&payload, geometry.pieces()).map_err(Invalid::from)?;
        self.on_all_pieces(RemotePieces::from_bits(bits), first, now)
    }

    /// Takes in a list of all its pieces. It belongs at the start (BEP 3), but aria2 sends one in
    /// place of twenty haves and more; what costs us the work of many haves is counted.
    fn on_all_pieces(
        &mut self,
        pieces: RemotePieces,
        first: bool,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        if !first {
            self.count_useless(now)?;
        }
        Ok(Some(PeerEvent::Pieces(std::mem::replace(&mut self.remote, pieces))))
    }

    fn on_have(
        &mut self,
        piece: PieceIndex,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        if !geometry.is_known() {
            if self.remote.is_all() || !self.remote.claims_mut().add(piece.0) {
                return self.count_useless(now);
            }
            return Ok(Some(PeerEvent::Pieces(RemotePieces::None)));
        }
        check_piece(piece, geometry)?;
        if self.remote.insert(piece.0, geometry.pieces()) {
            Ok(Some(PeerEvent::Have(piece)))
        } else {
            self.count_useless(now)
        }
    }

    pub(super) fn on_piece_header(&mut self, block: Block) -> Result<Option<PeerEvent>, PeerError> {
        self.first_message_seen = true;
        let pipeline = self.pipeline();
        match pipeline.map_or(Arrival::Unrequested, |pipeline| pipeline.expects(block)) {
            Arrival::Unrequested => {
                self.recv.discard();
                self.count_unrequested(u64::from(block.len))?;
                Ok(None)
            }
            arrival => Ok(Some(PeerEvent::Landing(block, arrival))),
        }
    }

    pub(super) fn on_block(&mut self, block: Block, frame: Frame, now: Instant) -> PeerEvent {
        let download = self.download_mut(now);
        let arrival = download.pipeline.received(block, now);
        download.rate.add(u64::from(block.len), now);
        self.traffic.downloaded += u64::from(block.len);
        let share = self.landing.take().expect("a landing block has its credit");
        PeerEvent::Block(block, frame, share, arrival)
    }

    fn on_request(
        &mut self,
        block: Block,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        let exists = !geometry.is_known() || geometry.contains(block);
        if !exists || block.len > MAX_REQUEST_LEN {
            return Err(Misbehaviour::BadRequest.into());
        }
        let allowed = !self.am_choking || self.granted_fast.contains(block.piece);
        if !allowed || block.len > BLOCK_LEN {
            self.reject(block);
            let choked_at = self.upload.as_ref().and_then(|upload| upload.choked_at);
            let crossing = choked_at.is_some_and(|at| now - at < CHOKE_GRACE);
            return if crossing { Ok(None) } else { self.count_useless(now) };
        }
        Ok(Some(PeerEvent::Request(block)))
    }

    fn on_cancel(&mut self, block: Block, now: Instant) -> Result<Option<PeerEvent>, PeerError> {
        if self.upload.as_mut().is_some_and(|upload| upload.requests.cancel(block)) {
            self.reject(block);
            return Ok(None);
        }
        // It is being read or sent, which a cancel may well cross; or it never was.
        self.count_useless(now)
    }

    fn on_reject(&mut self, block: Block) -> Result<Option<PeerEvent>, PeerError> {
        let pipeline = self.download.as_mut().map(|download| &mut download.pipeline);
        match pipeline.map_or(Arrival::Unrequested, |pipeline| pipeline.rejected(block)) {
            Arrival::Expected(_) => Ok(Some(PeerEvent::Rejected(block))),
            Arrival::Late => Ok(None),
            Arrival::Unrequested => Err(Misbehaviour::UnknownReject.into()),
        }
    }

    fn on_allowed_fast(
        &mut self,
        piece: PieceIndex,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        check_named(piece, geometry)?;
        let allowed = &mut self.extras_mut().allowed_fast;
        if allowed.contains(&piece) || allowed.len() == fast::MAX_ALLOWED_FAST {
            return self.count_useless(now);
        }
        // Few, and seldom: copying them costs less than room for more in every peer.
        *allowed = allowed.iter().copied().chain([piece]).collect();
        Ok(None)
    }

    /// Counts bytes of blocks that were not asked for.
    pub(super) fn count_unrequested(&mut self, bytes: u64) -> Result<(), PeerError> {
        self.traffic.unrequested = self.traffic.unrequested.saturating_add(bytes);
        if self.traffic.unrequested > MAX_UNREQUESTED_BYTES {
            return Err(Misbehaviour::UnrequestedData.into());
        }
        Ok(())
    }

    /// Counts a message that changes nothing.
    pub(super) fn count_useless(&mut self, now: Instant) -> Result<Option<PeerEvent>, PeerError> {
        if self.useless.take(now) { Ok(None) } else { Err(Misbehaviour::Flood.into()) }
    }

    /// Counts a change of mind: cheap for the remote, work for us.
    fn count_flip(&mut self, now: Instant) -> Result<(), PeerError> {
        self.count_useless(now).map(|_| ())
    }
}

/// Checks a piece that was named for later, if it can be checked already: see [`Peer::learn`].
fn check_named(piece: PieceIndex, geometry: &Geometry) -> Result<(), PeerError> {
    if geometry.is_known() { check_piece(piece, geometry) } else { Ok(()) }
}

pub(super) fn check_piece(piece: PieceIndex, geometry: &Geometry) -> Result<(), PeerError> {
    match geometry.piece(piece.0) {
        Some(_) => Ok(()),
        None => Err(Misbehaviour::PieceOutOfRange(piece.0).into()),
    }
}
