//! What both sides say beyond BEP 3: the extension handshake (BEP 10) and what it opens up.
//!
//! Few remotes are asked for metadata, most are told of others once and never again: what this
//! takes is boxed, and made when it is first needed. **Invariant:** nothing is sent to a remote
//! under an id that it has not announced, and what comes under an id of ours that was not opened is
//! passed over.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::geometry::Geometry;
use crate::id::{Block, PieceIndex, index};
use crate::peer::error::{Invalid, Misbehaviour, PeerError};
use crate::peer::hear;
use crate::peer::{Peer, PeerEvent};
use crate::proto::extended::{self, Extension, HANDSHAKE_ID, Handshake, Hello, Ids};
use crate::proto::ut_metadata::{self, MetadataMessage};
use crate::proto::ut_pex::Exchange;
use crate::rate::TokenBucket;
use crate::time::{Duration, Instant};
use crate::wire::tape::Said;

/// The most requests for metadata that one remote may have queued with us (security.md 2.2, row
/// 24); more are refused.
pub const MAX_METADATA_WISHES: usize = 64;
/// Blocks of metadata that one remote is given a second once it has had two whole copies: 128 KiB.
const METADATA_BLOCKS_PER_S: u32 = 8;
/// Bytes that wait to be sent to a remote above which no more metadata is queued for it: two blocks
/// are, so that one is sent while the other waits.
const MAX_METADATA_AHEAD: usize = 24 * 1024;
/// The most requests that a remote gets however many it takes (libtorrent
/// `max_out_request_queue`).
const MAX_REQUEST_LIMIT: u32 = 500;
/// The least time between two peer exchanges of a remote, which is 60 s (BEP 11) but for clocks and
/// queues on the way (security.md 2.2, row 25).
const MIN_PEX_INTERVAL: Duration = Duration::from_secs(45);
/// Exchanges that may come too early; with the next, the remote is closed.
const MAX_EARLY_PEX: u8 = 2;

/// What a remote needs that speaks more than BEP 3.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Pieces that it lets us request while choked. Invariant: at most
    /// [`MAX_ALLOWED_FAST`](super::fast::MAX_ALLOWED_FAST).
    pub(super) allowed_fast: Box<[PieceIndex]>,
    ids: Ids,
    /// Its client's name. Foreign text.
    version: Option<Box<str>>,
    /// Bytes of the metadata, as it claims; 0 if it has not said.
    metadata_len: u32,
    /// Requests of ours for metadata that it may still answer.
    metadata_asked: u16,
    /// The first port that it has said to listen on; 0 if it has named none.
    port: u16,
    /// Whether it wants nothing any more, by its own word.
    upload_only: bool,
    /// Whether it has introduced itself.
    is_introduced: bool,
    wishes: Option<Box<Wishes>>,
    pex: Option<Box<Pex>>,
}

/// What a remote wants of the metadata.
#[derive(Debug)]
struct Wishes {
    /// Blocks, oldest first. Invariant: at most [`MAX_METADATA_WISHES`].
    queue: VecDeque<u32>,
    budget: TokenBucket,
}

impl Wishes {
    /// Tells whether one more block may be asked for: not if too many wait, or if the remote has
    /// had more than anybody needs.
    fn may_grow(&mut self, now: Instant) -> bool {
        self.queue.len() < MAX_METADATA_WISHES && self.budget.take(now)
    }
}

/// How far peers were exchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pex {
    /// When it last told us of peers.
    heard_at: Option<Instant>,
    /// How often it did so too early.
    early: u8,
    /// When we last told it of peers; kept by the torrent.
    pub told_at: Option<Instant>,
    /// How far in the torrent's list of changes it was told; kept by the torrent.
    pub cursor: u64,
}

/// What a remote says about metadata (BEP 9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataEvent {
    /// It wants this block; answer with [`Peer::queue_metadata`] or [`Peer::reject_metadata`].
    Request(u32),
    /// A block, as it claims, of so many bytes of metadata.
    Data {
        /// The block's number.
        block: u32,
        /// Bytes of the whole, if it says so.
        total_len: Option<u32>,
        /// The block's bytes.
        bytes: Bytes,
    },
    /// It does not send this block.
    Reject(u32),
}

impl Peer {
    /// Sends our side of the extension handshake, if the remote speaks the protocol (BEP 10). May
    /// be sent again when something in it has changed.
    pub fn introduce(&mut self, hello: &Hello<'_>) {
        if self.extended {
            self.say_extended(HANDSHAKE_ID, |out| hello.encode(out));
        }
    }

    /// Tells whether the remote wants to hear an extension.
    pub fn speaks(&self, extension: Extension) -> bool {
        self.id_of(extension).is_some()
    }

    /// Returns what the remote's client calls itself. Foreign text.
    pub fn version(&self) -> Option<&str> {
        self.extras.as_ref()?.version.as_deref()
    }

    /// Returns where the remote listens, as far as that is known: where it was dialled, or the port
    /// that it has named.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        if !self.incoming {
            return Some(self.addr);
        }
        let port = self.extras.as_ref()?.port;
        (port != 0).then(|| SocketAddr::new(self.addr.ip(), port))
    }

    /// Returns the bytes of the metadata, as the remote claims; `None` if it does not offer any.
    pub fn metadata_len(&self) -> Option<u32> {
        let extras = self.extras.as_ref()?;
        Some(extras.metadata_len).filter(|len| *len > 0 && self.speaks(Extension::Metadata))
    }

    /// Tells whether the remote says that it wants nothing any more (BEP 21).
    pub fn is_upload_only(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.upload_only)
    }

    /// Asks for a block of the metadata; nothing happens if the remote does not speak of it.
    pub fn request_metadata(&mut self, block: u32) {
        if let Some(id) = self.id_of(Extension::Metadata) {
            self.say_extended(id, |out| ut_metadata::encode_request(id, block, out));
            let extras = self.extras_mut();
            extras.metadata_asked = extras.metadata_asked.saturating_add(1);
        }
    }

    /// Refuses to send a block of the metadata.
    pub fn reject_metadata(&mut self, block: u32) {
        if let Some(id) = self.id_of(Extension::Metadata) {
            self.say_extended(id, |out| ut_metadata::encode_reject(id, block, out));
        }
    }

    /// Queues a block of the metadata, which has so many, for the remote to be sent.
    pub fn queue_metadata(&mut self, block: u32, blocks: u32, now: Instant) {
        let new = || {
            let budget = TokenBucket::new(METADATA_BLOCKS_PER_S, blocks.saturating_mul(2), now);
            Box::new(Wishes { queue: VecDeque::new(), budget })
        };
        let wishes = self.extras_mut().wishes.get_or_insert_with(new);
        debug_assert!(wishes.queue.len() < MAX_METADATA_WISHES, "more are refused as they come");
        wishes.queue.push_back(block);
    }

    /// Tells whether metadata is to be sent and there is room for it.
    pub fn wants_metadata(&self) -> bool {
        let wishes = self.extras.as_ref().and_then(|extras| extras.wishes.as_ref());
        wishes.is_some_and(|wishes| !wishes.queue.is_empty())
            && self.control_to_send() < MAX_METADATA_AHEAD
    }

    /// Queues the blocks of the metadata `info` that the remote wants, as far as there is room, and
    /// at most `max_blocks`. Returns the bytes of the messages.
    pub fn feed_metadata(&mut self, info: &Bytes, max_blocks: usize) -> usize {
        let (before, mut blocks) = (self.control_to_send(), 0);
        while blocks < max_blocks
            && self.wants_metadata()
            && let Some(id) = self.id_of(Extension::Metadata)
            && let Some(wishes) = self.extras_mut().wishes.as_mut()
            && let Some(block) = wishes.queue.pop_front()
        {
            self.say_extended(id, |out| ut_metadata::encode_data(id, block, info, out));
            blocks += 1;
        }
        self.control_to_send() - before
    }

    /// Says that we want nothing any more, or do again (BEP 21).
    pub fn tell_upload_only(&mut self, upload_only: bool) {
        if let Some(id) = self.id_of(Extension::UploadOnly) {
            self.say_extended(id, |out| {
                extended::message(id, out, |out| out.push(u8::from(upload_only)));
            });
        }
    }

    /// Says that we have lost a piece (BEP 54).
    pub fn tell_lost(&mut self, piece: PieceIndex) {
        if let Some(id) = self.id_of(Extension::DontHave) {
            self.say_extended(id, |out| {
                extended::message(id, out, |out| out.extend_from_slice(&piece.0.to_be_bytes()));
            });
        }
    }

    /// Tells the remote of peers (BEP 11).
    pub fn tell_peers(&mut self, exchange: &Exchange) {
        if let Some(id) = self.id_of(Extension::Pex) {
            self.say_extended(id, |out| exchange.encode(id, out));
        }
    }

    /// Lends the record of how far peers were exchanged with the remote; `None` if it does not
    /// speak of them.
    pub fn pex_mut(&mut self) -> Option<&mut Pex> {
        self.id_of(Extension::Pex)?;
        Some(self.extras_mut().pex.get_or_insert_default())
    }

    /// Takes in an extended message; nothing if the protocol was not agreed on.
    pub(super) fn on_extended(
        &mut self,
        id: u8,
        body: Vec<u8>,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        if !self.extended {
            return Ok(None);
        }
        if id == HANDSHAKE_ID {
            let said = Handshake::decode(&body).map_err(Invalid::from)?;
            return self.on_introduced(said, now);
        }
        match Extension::from_id(id) {
            Some(Extension::Metadata) => self.on_metadata(body, now),
            Some(Extension::Pex) => self.on_pex(&body, now),
            Some(Extension::UploadOnly) => {
                self.count_useless(now)?;
                self.extras_mut().upload_only = extended::decode_upload_only(&body);
                Ok(Some(PeerEvent::Introduced(None)))
            }
            Some(Extension::DontHave) => {
                let piece = extended::decode_dont_have(&body).map_err(Invalid::from)?;
                self.on_lost(piece, geometry, now)
            }
            None => Ok(None),
        }
    }

    fn on_introduced(
        &mut self,
        said: Handshake,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        if std::mem::replace(&mut self.extras_mut().is_introduced, true) {
            // It may say more later, but not for ever.
            self.count_useless(now)?;
        }
        if let Some(limit) = said.request_limit {
            self.request_limit = limit.min(MAX_REQUEST_LIMIT);
            if let Some(download) = &mut self.download {
                download.pipeline.set_limit(index(self.request_limit));
            }
        }
        let extras = self.extras_mut();
        extras.ids.change(&said.ids);
        extras.version = said.version.or(extras.version.take());
        // The first stays: who moved would have others told of it over and over (BEP 11).
        if extras.port == 0 {
            extras.port = said.port.unwrap_or(0);
        }
        extras.upload_only = said.upload_only.unwrap_or(extras.upload_only);
        extras.metadata_len = said.metadata_len.unwrap_or(extras.metadata_len);
        Ok(Some(PeerEvent::Introduced(said.your_ip)))
    }

    fn on_metadata(&mut self, body: Vec<u8>, now: Instant) -> Result<Option<PeerEvent>, PeerError> {
        let event = match MetadataMessage::decode(&body).map_err(Invalid::from)? {
            MetadataMessage::Request(block) => {
                match self.extras_mut().wishes.as_mut().map(|wishes| wishes.may_grow(now)) {
                    Some(true) => {}
                    Some(false) => {
                        self.reject_metadata(block);
                        return self.count_useless(now);
                    }
                    // Nothing that it asked for was there so far.
                    None => _ = self.count_useless(now)?,
                }
                MetadataEvent::Request(block)
            }
            MetadataMessage::Data { at, .. } if !self.takes_answer() => {
                self.count_unrequested((body.len() - at) as u64)?;
                return self.count_useless(now);
            }
            MetadataMessage::Data { block, total_len, at } => {
                MetadataEvent::Data { block, total_len, bytes: Bytes::from(body).slice(at..) }
            }
            MetadataMessage::Reject(_) if !self.takes_answer() => return self.count_useless(now),
            MetadataMessage::Reject(block) => MetadataEvent::Reject(block),
            MetadataMessage::Unknown => return self.count_useless(now),
        };
        Ok(Some(PeerEvent::Metadata(event)))
    }

    /// Tells whether metadata was asked for that has not been answered, which it is now. Which
    /// block it was is for the torrent to know.
    fn takes_answer(&mut self) -> bool {
        let asked = &mut self.extras_mut().metadata_asked;
        let was_asked = *asked > 0;
        *asked -= u16::from(was_asked);
        was_asked
    }

    fn on_pex(&mut self, body: &[u8], now: Instant) -> Result<Option<PeerEvent>, PeerError> {
        let exchange = Exchange::decode(body).map_err(Invalid::from)?;
        let pex = self.extras_mut().pex.get_or_insert_default();
        if pex.heard_at.is_some_and(|at| now - at < MIN_PEX_INTERVAL) {
            pex.early += 1;
            return if pex.early > MAX_EARLY_PEX {
                Err(Misbehaviour::FrequentPex.into())
            } else {
                Ok(None)
            };
        }
        pex.heard_at = Some(now);
        Ok(Some(PeerEvent::Exchanged(Box::new(exchange))))
    }

    /// The remote has lost a piece (BEP 54). Without BEP 6 it says nothing more of what was asked
    /// of it.
    fn on_lost(
        &mut self,
        piece: PieceIndex,
        geometry: &Geometry,
        now: Instant,
    ) -> Result<Option<PeerEvent>, PeerError> {
        self.count_useless(now)?;
        if !geometry.is_known() {
            return Ok(None);
        }
        hear::check_piece(piece, geometry)?;
        let before = self.remote.clone();
        if !self.remote.remove(piece.0, geometry.pieces()) {
            return Ok(None);
        }
        let mut released = Vec::new();
        if !self.fast
            && let Some(download) = &mut self.download
        {
            let of_piece = |block: &Block| block.piece == piece;
            released.extend(download.pipeline.blocks().filter(of_piece));
            for block in &released {
                download.pipeline.cancel(*block);
            }
        }
        Ok(Some(PeerEvent::Lost(Box::new(before), released)))
    }

    fn id_of(&self, extension: Extension) -> Option<u8> {
        self.extras.as_ref()?.ids.of(extension)
    }

    pub(super) fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Queues an extended message, which `write` appends whole.
    fn say_extended(&mut self, id: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.control_to_send();
        self.send.get_or_insert_default().extended(write);
        let len = self.control_to_send() - before;
        self.note_sent(Said::Extended(id, u32::try_from(len).unwrap_or(u32::MAX)));
    }

    /// Returns the bytes of messages that wait to be sent, blocks of pieces apart.
    fn control_to_send(&self) -> usize {
        self.send.as_ref().map_or(0, |send| send.control_len())
    }
}
