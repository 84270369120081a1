//! What peers do, and what they are asked and given in turn.

use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::job::{Append, Job, Read, Verify};
use crate::geometry::Geometry;
use crate::id::{BLOCK_LEN, Block, ConnId, PieceIndex};
use crate::peer::error::CloseReason;
use crate::peer::fast::{self, GrantedFast};
use crate::peer::pipeline::{Arrival, Pipeline};
use crate::peer::remote::RemotePieces;
use crate::peer::{Peer, PeerEvent, Standing};
use crate::picker::{Ask, Pieces, Progress, Stop};
use crate::stats::Metric;
use crate::time::Instant;
use crate::wire::frame::{self, Frame, FramePool, Share};

use super::{Ctx, Refill, Stage, Torrent};

/// The most end-game duplicates that one refill asks for: enough to finish, few enough that little
/// is received twice.
const ENDGAME_ROOM: usize = 16;

/// What [`Torrent::feed_uploads`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fed {
    /// How much is read from disk, in bytes.
    pub bytes: u64,
    /// Whether the peer had to be left waiting for more.
    pub waits: bool,
}

/// Shows the picker what a remote has, made in `scratch` if it is not kept as a bitfield.
fn view<'a>(
    remote: &'a RemotePieces,
    geometry: &Geometry,
    scratch: &'a mut Bitfield,
) -> Option<Pieces<'a>> {
    if remote.is_all() {
        return Some(Pieces::All);
    }
    remote.bits(geometry.pieces(), scratch).map(Pieces::Some)
}

impl Torrent {
    /// Adds an established peer and tells it what we have (BEP 3, BEP 6), if that is known.
    pub fn peer_joined(&mut self, conn: ConnId, peer: &mut Peer) {
        self.peers.insert(peer.peer_id, conn);
        self.note_contact(conn, peer, peer.connected_at);
        // While there is no metadata, nobody knows how long a bitfield is.
        if self.is_active() {
            self.greet(peer);
        }
    }

    /// Tells a peer what we have, and what it may ask for while it is choked.
    pub(super) fn greet(&self, peer: &mut Peer) {
        peer.announce_pieces(self.have(), self.completed.len());
        let newcomers_pieces = fast::allowed_fast_set(
            peer.addr.ip(),
            self.info_hash,
            self.geometry.pieces(),
            fast::ALLOWED_FAST_PIECES,
        );
        let here = newcomers_pieces.into_iter().filter(|piece| self.have().contains(piece.0));
        peer.grant_fast(GrantedFast::new(here));
    }

    /// Takes in what a peer did. Returns a reason if the connection is of no use any more.
    pub fn on_peer_event(
        &mut self,
        conn: ConnId,
        peer: &mut Peer,
        event: PeerEvent,
        ctx: &mut Ctx<'_>,
    ) -> Option<CloseReason> {
        match event {
            PeerEvent::Pieces(_) if self.is_seeking() => self.on_claims(conn, peer),
            PeerEvent::Pieces(before) => return self.on_pieces(&before, peer, ctx.now),
            PeerEvent::Have(piece) => return self.on_have(piece, peer, ctx.now),
            PeerEvent::Choked(blocks) => self.release(conn, &blocks, ctx),
            PeerEvent::Snubbed(blocks) => {
                self.release(conn, &blocks, ctx);
                self.detach_landing(peer, ctx.pool);
            }
            PeerEvent::Rejected(block) => self.release(conn, &[block], ctx),
            PeerEvent::Unchoked(waited) => {
                if let Some(waited) = waited {
                    ctx.stats.histograms.record_duration(Metric::ChokeToUnchoke, waited);
                }
            }
            PeerEvent::Interest(interested) => {
                let is_free = self.is_active() && self.unchoked.len() < self.unchoke_slots;
                if interested && peer.is_choked() && is_free {
                    self.note_choke(conn, false);
                    peer.unchoke(ctx.now);
                }
                return self.useless(peer);
            }
            PeerEvent::Request(block) => {
                if self.serves(block.piece) {
                    peer.queue_upload(block, ctx.limits, ctx.now);
                } else {
                    peer.reject(block);
                }
            }
            PeerEvent::Landing(block, arrival) => {
                ctx.answered(Metric::RequestToFirstByte, arrival);
                self.on_landing(conn, peer, block, arrival, ctx);
            }
            PeerEvent::Block(block, frame, share, arrival) => {
                ctx.answered(Metric::RequestToBlock, arrival);
                self.on_block(conn, peer, block, (frame, share), ctx);
            }
            PeerEvent::Lost(before, blocks) => {
                self.release(conn, &blocks, ctx);
                let useless = self.on_pieces(&before, peer, ctx.now);
                self.update_interest(peer, ctx.now);
                return useless;
            }
            PeerEvent::Introduced(_) => return self.on_introduced(conn, peer, ctx.now),
            PeerEvent::Metadata(event) => self.on_metadata(conn, peer, event, ctx),
            PeerEvent::Exchanged(exchange) => self.on_exchanged(peer, &exchange, ctx),
            // Of no torrent.
            PeerEvent::DhtNode(_) => {}
        }
        None
    }

    /// Takes out a peer whose connection ended: what it was asked for goes back to the picker.
    pub fn peer_left(&mut self, conn: ConnId, peer: &mut Peer, ctx: &mut Ctx<'_>) {
        self.peers.remove(&peer.peer_id);
        if std::mem::take(&mut peer.in_hungry_line) {
            self.hungry.retain(|other| *other != conn);
            self.stirred = self.stirred.min(self.hungry.len());
        }
        self.note_choke(conn, true);
        self.counts.change(std::mem::take(&mut peer.counted), Standing::default());
        let landing = peer.landing();
        let mut uploads = Vec::new();
        let aborted = peer.dismantle(&mut uploads);
        let sent = u32::try_from(uploads.len()).unwrap_or(u32::MAX);
        ctx.pool.release(Share::Uploads, sent);
        ctx.pool.give_all(&mut uploads);
        if let (Some(block), Some(aborted)) = (landing, aborted) {
            self.landing_aborted(block, aborted, ctx.pool);
        }
        let blocks: Vec<Block> = peer.pipeline().into_iter().flat_map(Pipeline::blocks).collect();
        self.release(conn, &blocks, ctx);
        if let Stage::Metadata(fetch) = &mut self.stage {
            fetch.left(conn, ctx.now);
        }
        self.forget_contact(conn, ctx.now);
        if let Stage::Active { picker, .. } = &mut self.stage
            && !picker.is_complete()
            && let Some(pieces) = view(peer.remote(), &self.geometry, &mut self.scratch)
        {
            picker.remote_left(pieces);
        }
    }

    pub(super) fn on_pieces(
        &mut self,
        before: &RemotePieces,
        peer: &mut Peer,
        now: Instant,
    ) -> Option<CloseReason> {
        let asking = self.is_asking();
        let Stage::Active { picker, .. } = &mut self.stage else { return None };
        if picker.is_complete() {
            peer.forget_pieces(&self.geometry);
            return self.useless(peer);
        }
        if let Some(pieces) = view(before, &self.geometry, &mut self.scratch) {
            picker.remote_left(pieces);
        }
        if let Some(pieces) = view(peer.remote(), &self.geometry, &mut self.scratch) {
            picker.remote_joined(pieces);
            let interesting = picker.is_interesting(pieces);
            peer.set_interested(asking && interesting, now);
        }
        self.useless(peer)
    }

    fn on_have(&mut self, piece: PieceIndex, peer: &mut Peer, now: Instant) -> Option<CloseReason> {
        let asking = self.is_asking();
        let Stage::Active { picker, .. } = &mut self.stage else { return None };
        if picker.is_complete() {
            // Haves make lists longer, too.
            peer.forget_pieces(&self.geometry);
            return self.useless(peer);
        }
        picker.remote_has(piece);
        if asking && picker.is_wanted(piece) {
            peer.set_interested(true, now);
        }
        self.useless(peer)
    }

    /// Returns a reason if neither side can want anything of the other.
    pub fn useless(&self, peer: &Peer) -> Option<CloseReason> {
        if !self.is_upload_only() {
            None
        } else if peer.is_seed() {
            Some(CloseReason::BothSeeds)
        } else {
            peer.is_upload_only().then_some(CloseReason::BothUploadOnly)
        }
    }

    /// Returns blocks that `conn` will not send to the pool of those that can be asked for.
    fn release(&mut self, conn: ConnId, blocks: &[Block], ctx: &mut Ctx<'_>) {
        if let Stage::Active { picker, .. } = &mut self.stage {
            for block in blocks {
                picker.release(*block, conn);
            }
        }
        if !blocks.is_empty() {
            self.stir(ctx.lines);
        }
    }

    /// Decides where a block that begins to arrive goes: into its slot's own credit, or, if another
    /// copy is landing there or it comes late, on one of the few credits for duplicates; else
    /// nowhere.
    fn on_landing(
        &mut self,
        conn: ConnId,
        peer: &mut Peer,
        block: Block,
        arrival: Arrival,
        ctx: &mut Ctx<'_>,
    ) {
        let open = self.pieces.find(block.piece).filter(|open| !open.holds(block));
        let share = open.and_then(|open| {
            if matches!(arrival, Arrival::Expected(_)) && open.lend(block) {
                return Some(Share::Pieces);
            }
            ctx.pool.reserve(Share::Endgame, 1).then_some(Share::Endgame)
        });
        if let Some(share) = share {
            peer.land(ctx.pool.take(block.len), share);
        } else {
            peer.skip_landing(block);
            self.wasted(block.len, ctx);
            self.release(conn, &[block], ctx);
        }
    }

    /// Gives the credit of a slot back for whoever is asked for its block next, although the peer
    /// that was snubbed may still finish it: on a credit for duplicates, or not at all if none is
    /// free.
    fn detach_landing(&mut self, peer: &mut Peer, pool: &mut FramePool) {
        let Some(block) = peer.landing() else { return };
        let Some(share) = peer.landing_share_mut().filter(|share| **share == Share::Pieces) else {
            return;
        };
        if pool.reserve(Share::Endgame, 1) {
            *share = Share::Endgame;
            if let Some(open) = self.pieces.find(block.piece) {
                open.unlend(block);
            }
        } else if let Some(aborted) = peer.abort_landing() {
            self.landing_aborted(block, aborted, pool);
        }
    }

    fn on_block(
        &mut self,
        conn: ConnId,
        peer: &Peer,
        block: Block,
        landed: (Frame, Share),
        ctx: &mut Ctx<'_>,
    ) {
        self.totals.downloaded += u64::from(block.len);
        ctx.stats.counters.payload_received += u64::from(block.len);
        ctx.stats.counters.blocks_received += 1;
        self.totals.down.add(u64::from(block.len), ctx.now);
        let progress = match &mut self.stage {
            Stage::Active { picker, .. } => picker.received(block, conn, ctx.cancels).ok(),
            _ => None,
        };
        let (Some(Progress::Partial | Progress::Complete), Some(open)) =
            (progress, self.pieces.find(block.piece))
        else {
            self.wasted(block.len, ctx);
            self.landing_aborted(block, landed, ctx.pool);
            return;
        };
        let (frame, share) = landed;
        if share == Share::Endgame {
            // The frame is covered by its slot's credit from now on; whoever was landing there is
            // cancelled.
            ctx.pool.release(Share::Endgame, 1);
        }
        open.fill(block, frame, peer.addr);
        self.piece_grew(block.piece, progress == Some(Progress::Complete), ctx);
    }

    /// Counts payload that was of no use.
    pub(super) fn wasted(&mut self, len: u32, ctx: &mut Ctx<'_>) {
        self.totals.wasted += u64::from(len);
        ctx.stats.counters.wasted += u64::from(len);
    }

    /// Hands over what a piece has ready for the disk.
    pub(super) fn piece_grew(&mut self, piece: PieceIndex, complete: bool, ctx: &mut Ctx<'_>) {
        let Some(open) = self.pieces.find(piece) else { return };
        if complete {
            open.whole_at = ctx.now;
        }
        if open.is_streamed() {
            if let Some(run) = open.next_run(BLOCK_LEN) {
                open.handed_over_at = ctx.now;
                ctx.pool.hand_over(frame::count(&run.frames));
                let job = Append {
                    storage: Arc::clone(&self.storage),
                    piece,
                    begin: run.begin,
                    frames: run.frames,
                    midstate: run.midstate,
                    last: run.last,
                };
                self.jobs.submit(Job::Append(job), ctx);
            }
        } else if complete {
            let mut frames = ctx.pool.row();
            open.take_frames(&mut frames);
            open.handed_over_at = ctx.now;
            ctx.pool.hand_over(frame::count(&frames));
            let job = Verify {
                storage: Arc::clone(&self.storage),
                piece,
                frames,
                block_hashes: self.blame.is_suspicious(piece),
            };
            self.jobs.submit(Job::Verify(job), ctx);
        }
    }

    /// Asks a peer for as many blocks as it should have outstanding.
    pub fn refill(&mut self, conn: ConnId, peer: &mut Peer, ctx: &mut Ctx<'_>) -> Refill {
        let room = peer.request_room().min(self.room_by_limit(peer));
        if room == 0 || !peer.am_interested() || !peer.may_request() || !self.is_asking() {
            return Refill::Satisfied;
        }
        let mut picked = std::mem::take(&mut self.picked);
        let stop = loop {
            let before = picked.len();
            let stop = self.pick(conn, peer, room - before, &mut picked, ctx);
            self.open_picked(&picked[before..], ctx.pool);
            self.fill_pads(conn, peer, &mut picked, ctx);
            // Blocks of pad bytes have filled the room without being asked for.
            if stop != Stop::Full || picked.len() == room {
                break stop;
            }
        };
        peer.request(&picked, ctx.limits, ctx.now);
        picked.clear();
        self.picked = picked;
        let mut has_more = false;
        match stop {
            Stop::Full => return Refill::Satisfied,
            Stop::NothingWanted => {
                peer.set_interested(false, ctx.now);
                return Refill::Satisfied;
            }
            Stop::NoCredit => {
                has_more = ctx.pool.went_short();
                self.went_short(ctx.lines);
            }
            Stop::Busy => {}
        }
        if !std::mem::replace(&mut peer.in_hungry_line, true) {
            self.hungry.push_back(conn);
        }
        // With nothing under way, nothing else would have it tried again.
        if has_more && self.pieces.is_empty() {
            self.stir(ctx.lines);
        }
        Refill::Hungry
    }

    /// Returns how many more requests a peer may have outstanding for the limit on what is
    /// received: no more than it can answer in some seconds with its part of it, or they would
    /// wait there, and for us, until nobody wants them any more.
    fn room_by_limit(&self, peer: &Peer) -> usize {
        if self.down_limit == u64::MAX {
            return usize::MAX;
        }
        let others = self.counts.unchoked_by - usize::from(peer.counted.unchokes_us);
        let part = self.down_limit / (others as u64 + 1);
        let depth = Pipeline::depth_at(part);
        depth.saturating_sub(peer.requests_out())
    }

    fn pick(
        &mut self,
        conn: ConnId,
        peer: &Peer,
        room: usize,
        picked: &mut Vec<Block>,
        ctx: &mut Ctx<'_>,
    ) -> Stop {
        let Stage::Active { picker, .. } = &mut self.stage else { return Stop::NothingWanted };
        let Some(pieces) = view(peer.remote(), &self.geometry, &mut self.scratch) else {
            return Stop::NothingWanted;
        };
        let ask = Ask {
            owner: conn,
            pieces,
            only: peer.requestable_only(),
            room,
            endgame_room: ENDGAME_ROOM.min(ctx.pool.free(Share::Endgame) as usize),
            credit: ctx.pool.free(Share::Pieces),
            slow: peer.is_snubbed(),
        };
        let result = picker.pick(&ask, ctx.rng, picked);
        let reserved = ctx.pool.reserve(Share::Pieces, result.opened);
        assert!(reserved, "the picker keeps to the credit that it is given");
        result.stop
    }

    /// Makes room for the blocks of pieces that a pick has opened.
    fn open_picked(&mut self, picked: &[Block], pool: &FramePool) {
        let window = super::piece_window(&self.geometry, pool);
        for block in picked {
            if !self.pieces.contains(block.piece) {
                let blocks = self.geometry.blocks_of(block.piece);
                self.pieces.open(block.piece, blocks, blocks.min(window));
            }
        }
    }

    /// Fills blocks that are nothing but pad bytes (BEP 47) with zeros instead of asking for them.
    fn fill_pads(&mut self, conn: ConnId, peer: &Peer, picked: &mut Vec<Block>, ctx: &mut Ctx<'_>) {
        let storage = Arc::clone(&self.storage);
        let layout = &storage.layout;
        if layout.payload_len() == layout.total_len() {
            return;
        }
        let is_pad = |b: &mut Block| layout.spans(b.piece, b.begin, b.len).all(|span| span.pad);
        let pads: Vec<Block> = picked.extract_if(.., is_pad).collect();
        for block in pads {
            let Some(open) = self.pieces.find(block.piece).filter(|open| !open.holds(block)) else {
                continue;
            };
            let mut frame = ctx.pool.take(block.len);
            frame.payload_mut().fill(0);
            open.fill(block, frame, peer.addr);
            let Stage::Active { picker, .. } = &mut self.stage else { continue };
            let progress = picker.received(block, conn, ctx.cancels);
            self.piece_grew(block.piece, progress == Ok(Progress::Complete), ctx);
        }
    }

    /// Takes the hungry peer that is to be tried next, if something has changed for it; it is out
    /// of the line ([`Peer::in_hungry_line`]) until it goes hungry again.
    pub fn next_stirred(&mut self) -> Option<ConnId> {
        if self.stirred == 0 {
            return None;
        }
        self.stirred -= 1;
        self.hungry.pop_front()
    }

    /// Tells whether hungry peers are still to be tried.
    pub const fn is_stirred(&self) -> bool {
        self.stirred > 0
    }

    /// Reads from disk for a peer what it has requested, `most` blocks, as far as it takes more
    /// now.
    ///
    /// No peer holds more than its part of all credit, so that one that takes its blocks slowly, or
    /// not at all, does not hold up the others.
    pub fn feed_uploads(
        &mut self,
        conn: ConnId,
        peer: &mut Peer,
        most: usize,
        ctx: &mut Ctx<'_>,
    ) -> Fed {
        // A choked peer may still ask for its few allowed-fast pieces (BEP 6).
        let part = match ctx.pool.limit(Share::Uploads) as usize / (self.unchoked.len() + 1) {
            _ if peer.is_choked() => 1,
            part => part.max(1),
        };
        let (mut left, mut bytes) = (most, 0);
        while peer.wants_upload() {
            let free = left.min(ctx.pool.free(Share::Uploads) as usize);
            if free == 0 {
                return Fed { bytes, waits: true };
            }
            let room = free.min(part.saturating_sub(peer.upload_frames()));
            let mut frames = ctx.pool.row();
            let taken = |block: Block| {
                let reserved = ctx.pool.reserve(Share::Uploads, 1);
                assert!(reserved, "the run keeps to the credit that is free");
                frames.push(ctx.pool.take(block.len));
                bytes += u64::from(block.len);
            };
            let Some(Block { piece, begin, .. }) = peer.next_upload_run(room, taken) else {
                ctx.pool.give_row(frames);
                break;
            };
            // It may have been lost since it was asked for.
            if !self.serves(piece) {
                bytes -= frames.iter().map(|frame| u64::from(frame.len())).sum::<u64>();
                ctx.pool.release(Share::Uploads, frame::count(&frames));
                peer.refuse_run(piece, begin, &frames);
                ctx.pool.give_row(frames);
                continue;
            }
            left -= frames.len();
            let storage = Arc::clone(&self.storage);
            self.jobs.submit(Job::Read(Read { storage, conn, piece, begin, frames }), ctx);
        }
        Fed { bytes, waits: false }
    }

    /// Tells a peer of the pieces that came since it was last told.
    pub fn tell_completions(&self, peer: &mut Peer) {
        peer.announce_completions(&self.completed);
    }

    /// Says to a peer whether we want something of it, after what we want has changed. Of whom we
    /// shall never want anything again, only the number of its pieces is kept.
    pub fn update_interest(&mut self, peer: &mut Peer, now: Instant) {
        if self.is_complete() {
            peer.forget_pieces(&self.geometry);
        }
        let asking = self.is_asking();
        let Stage::Active { picker, .. } = &self.stage else {
            return peer.set_interested(false, now);
        };
        let pieces = view(peer.remote(), &self.geometry, &mut self.scratch);
        let interesting = pieces.is_some_and(|pieces| picker.is_interesting(pieces));
        peer.set_interested(asking && interesting, now);
    }
}
