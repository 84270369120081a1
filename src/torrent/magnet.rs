//! A torrent before its metadata is here, and its metadata for others (BEP 9).
//!
//! Peers are welcome from the start: what they claim to have is remembered until it can be
//! checked. We say nothing of our own pieces meanwhile, as nobody knows how many there are; the
//! `bitfield` (or `have all`, `have none`) follows when the torrent becomes active, still as our
//! first word about pieces (de facto: libtorrent).

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::job::{Assemble, Assembled, Job, MetadataFault, Rules, Storage};
use crate::disk::layout::Layout;
use crate::disk::selection::Selection;
use crate::geometry::Geometry;
use crate::id::{ConnId, InfoHash, TorrentId};
use crate::peer::Peer;
use crate::peer::error::{CloseReason, Misbehaviour};
use crate::peer::extended::MetadataEvent;
use crate::peer::remote::RemotePieces;
use crate::picker::Order;
use crate::proto::extended::{Extension, MAX_METADATA_LEN};
use crate::proto::ut_metadata::blocks_of;
use crate::time::Instant;

use super::keep::SyncLimits;
use super::metadata::{Arrived, MetadataStatus};
use super::phase::{Mode, StopReason, TorrentEvent};
use super::verify::After;
use super::{Ctx, Stage, Torrent, TorrentParams};

/// What `left` says while nobody knows how much there is (BEP 3): not 0, or trackers would count us
/// as a seed (libtorrent: 16 KiB).
pub(super) const UNKNOWN_LEFT: u64 = 16 * 1024;

impl Torrent {
    /// Returns a torrent of which only the info-hash is known, and which looks for its metadata.
    pub fn seek(
        id: TorrentId,
        info_hash: InfoHash,
        (unchoke_slots, pex): (usize, bool),
        ctx: &mut Ctx<'_>,
    ) -> Self {
        let storage = Storage {
            torrent: id,
            info_hash,
            root: PathBuf::new(),
            layout: Arc::new(Layout::new([], 1)),
            parts: None,
            hashes: Bytes::new(),
            writable: false,
            rules: Rules::default(),
            state: None,
        };
        let params = TorrentParams {
            info_hash,
            storage: Arc::new(storage),
            info: Bytes::new(),
            private: false,
            pex,
            mode: Mode::Seed,
            order: Order::RarestFirst,
            selection: Selection::all(),
            unchoke_slots,
            check_space: false,
            stopped: false,
            hashed: None,
            resume: None,
            sync: SyncLimits::default(),
        };
        let mut torrent = Self::of(params, Geometry::UNKNOWN, ctx);
        torrent.begin(ctx);
        torrent
    }

    /// Goes on with what the metadata says: the files are looked at, the peers stay.
    ///
    /// Panics if the torrent is of another info-hash: a caller's bug.
    pub fn go_on(&mut self, params: TorrentParams, ctx: &mut Ctx<'_>) {
        assert_eq!(self.info_hash, params.info_hash, "it is the same torrent");
        let mut begun = Self::new(params, ctx);
        begun.begin(ctx);
        let before = std::mem::replace(self, begun);
        self.candidates = before.candidates;
        self.peers = before.peers;
        self.counts = before.counts;
        self.totals = before.totals;
        self.down_limit = before.down_limit;
        self.jobs.take_over(&before.jobs);
        if self.may_exchange_peers() {
            self.contacts = before.contacts;
        }
    }

    /// Tells whether the metadata is still to come, or to be gone on with.
    pub const fn is_seeking(&self) -> bool {
        matches!(self.stage, Stage::Metadata(_))
    }

    /// Tells whether it waits for peers that send the metadata.
    pub fn is_fetching_metadata(&self) -> bool {
        matches!(&self.stage, Stage::Metadata(fetch) if !fetch.is_done())
    }

    /// Tells whether peers are welcome: the torrent knows what it has, or looks for its metadata.
    pub const fn welcomes_peers(&self) -> bool {
        matches!(self.stage, Stage::Active { .. } | Stage::Metadata(_))
    }

    /// Returns the info dictionary; empty while it is not here.
    pub const fn info(&self) -> &Bytes {
        &self.info
    }

    /// Tells whether peers may come from its trackers only (BEP 27); false while nobody knows.
    pub const fn is_private(&self) -> bool {
        self.private
    }

    /// Tells whether we want nothing of anybody any more (BEP 21).
    pub fn is_upload_only(&self) -> bool {
        self.is_active() && !self.is_downloading()
    }

    /// Returns how far the metadata is; `None` once it was gone on with.
    pub fn metadata_status(&self) -> Option<MetadataStatus> {
        match &self.stage {
            Stage::Metadata(fetch) => Some(fetch.status()),
            _ => None,
        }
    }

    /// Returns when [`Torrent::look_for_metadata`] is to be called next.
    pub fn metadata_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Metadata(fetch) => fetch.next_timeout(),
            _ => None,
        }
    }

    /// Looks at what is due of the metadata; tells whether peers can be asked for something else
    /// now.
    pub fn look_for_metadata(&mut self, now: Instant) -> bool {
        match &mut self.stage {
            Stage::Metadata(fetch) if fetch.next_timeout().is_some_and(|at| at <= now) => {
                fetch.handle_timeout(now)
            }
            _ => false,
        }
    }

    /// Asks a peer for metadata that is missing. Tells whether it was asked for something.
    pub fn ask_for_metadata(&mut self, conn: ConnId, peer: &mut Peer, now: Instant) -> bool {
        let mut asked = false;
        if let Stage::Metadata(fetch) = &mut self.stage {
            while let Some(block) = fetch.ask(conn, now) {
                peer.request_metadata(block);
                asked = true;
            }
        }
        asked
    }

    /// Queues what a peer wants of our metadata, as far as there is room, and at most so many
    /// blocks. Returns the bytes of the messages.
    pub fn feed_metadata(&self, peer: &mut Peer, max_blocks: usize) -> usize {
        if peer.wants_metadata() { peer.feed_metadata(&self.info, max_blocks) } else { 0 }
    }

    /// Takes in what a peer says of itself (BEP 10).
    pub(super) fn on_introduced(
        &mut self,
        conn: ConnId,
        peer: &Peer,
        now: Instant,
    ) -> Option<CloseReason> {
        self.note_contact(conn, peer, now);
        if let Stage::Metadata(fetch) = &mut self.stage {
            fetch.claim(conn, peer.addr, peer.metadata_len(), now);
        }
        self.useless(peer)
    }

    /// Remembers, within a budget, what a peer claims to have.
    pub(super) fn on_claims(&mut self, conn: ConnId, peer: &mut Peer) {
        if let Stage::Metadata(fetch) = &mut self.stage
            && !fetch.remember(conn, peer.addr, peer.claim_bytes())
        {
            peer.forget_claims();
        }
    }

    pub(super) fn on_metadata(
        &mut self,
        conn: ConnId,
        peer: &mut Peer,
        event: MetadataEvent,
        ctx: &mut Ctx<'_>,
    ) {
        match (event, &mut self.stage) {
            (MetadataEvent::Request(block), _) => {
                let len = u32::try_from(self.info.len()).unwrap_or(0);
                let blocks = if len <= MAX_METADATA_LEN { blocks_of(len) } else { 0 };
                if block < blocks && peer.speaks(Extension::Metadata) {
                    peer.queue_metadata(block, blocks, ctx.now);
                } else {
                    peer.reject_metadata(block);
                }
            }
            (MetadataEvent::Data { block, total_len, bytes }, Stage::Metadata(fetch)) => {
                let arrived = fetch.arrived(conn, (block, total_len), &bytes, ctx.now);
                if let Arrived::Complete(blocks) = arrived {
                    let (torrent, info_hash) = (self.id, self.info_hash);
                    let job = Assemble { torrent, info_hash, blocks };
                    self.jobs.submit(Job::Assemble(job), ctx);
                }
            }
            (MetadataEvent::Reject(block), Stage::Metadata(fetch)) => {
                fetch.rejected(conn, block, ctx.now);
            }
            // It comes late: another was faster.
            (MetadataEvent::Data { .. } | MetadataEvent::Reject(_), _) => {}
        }
    }

    pub(super) fn on_assembled(&mut self, done: Assembled, ctx: &mut Ctx<'_>) -> After {
        let Stage::Metadata(fetch) = &mut self.stage else { return After::Nothing };
        match done.result {
            Ok(metainfo) => {
                for addr in fetch.was_right(&done.block_hashes) {
                    self.ban(addr, Misbehaviour::CorruptMetadata, ctx);
                }
                // From this instant on (BEP 27).
                self.private = metainfo.private;
                if self.private {
                    self.forget_contacts();
                }
                ctx.events.push(TorrentEvent::Metadata(metainfo));
                After::Known
            }
            Err(MetadataFault::Corrupt) => {
                if let Some(addr) = fetch.was_wrong(done.block_hashes, ctx.now) {
                    self.ban(addr, Misbehaviour::CorruptMetadata, ctx);
                }
                After::AskAgain
            }
            Err(fault) => {
                self.stop(Some(StopReason::Metadata(fault)), ctx);
                After::Stopped
            }
        }
    }

    /// Takes a peer in that has been here while there was no metadata and while files were looked
    /// at: says what we have, and counts what it has. Returns a reason if it is of no use.
    pub fn peer_kept(&mut self, peer: &mut Peer, now: Instant) -> Option<CloseReason> {
        self.greet(peer);
        self.on_pieces(&RemotePieces::None, peer, now)
    }
}
