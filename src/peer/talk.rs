//! Our side of the conversation with a peer: the owner's decisions become messages, and its
//! questions get answers.

use crate::bitfield::Bitfield;
use crate::id::{Block, PieceIndex};
use crate::peer::pipeline::Pipeline;
use crate::peer::remote::RemotePieces;
use crate::peer::timer::Timer;
use crate::peer::uploads::Run;
use crate::peer::{Peer, PeerLimits};
use crate::proto::message::Message;
use crate::time::Instant;
use crate::wire::frame::{Frame, Share};
use crate::wire::slices::SendSlices;

/// Blocks queued for one peer above which nothing more is read from disk for it: 512 KiB, enough to
/// keep a fast stream busy while the next run is read. Counted in blocks, because a short one holds
/// a whole frame, too.
const MAX_QUEUED_BLOCKS: usize = 32;

impl Peer {
    /// Sends the first message, which says what we have: `have all`, `have none` or `bitfield` (BEP
    /// 3, BEP 6); nothing if we have nothing and the remote does not speak BEP 6. `completions`
    /// pieces are thereby told.
    pub fn announce_pieces(&mut self, have: &Bitfield, completions: usize) {
        self.have_cursor = completions;
        if self.fast && have.is_full() {
            self.send.message(&Message::HaveAll);
        } else if have.is_empty() {
            if self.fast {
                self.send.message(&Message::HaveNone);
            }
        } else {
            let len = Bitfield::wire_len(have.len());
            self.send.bitfield(len, |out| have.write_wire(out));
        }
    }

    /// Sends bytes as they are, ahead of every message: what was left of our handshake.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.send.bytes(bytes);
        }
    }

    /// Tells the remote of the pieces completed since it was last told, but for those it has.
    pub fn announce_completions(&mut self, completed: &[PieceIndex]) {
        for piece in &completed[self.have_cursor.min(completed.len())..] {
            if !self.remote.contains(piece.0) {
                self.send.message(&Message::Have(*piece));
            }
        }
        self.have_cursor = completed.len();
    }

    /// Lets the remote request, if it was not allowed to.
    pub fn unchoke(&mut self, now: Instant) {
        if std::mem::replace(&mut self.am_choking, false) {
            self.send.message(&Message::Unchoke);
            self.traffic.uploaded_at_unchoke = self.traffic.uploaded;
            self.traffic.unchoked_at = now;
        }
    }

    /// Stops answering the remote, if it was allowed to request. What waits is dropped; with BEP 6
    /// it is rejected after the choke, except for the pieces it may request while choked.
    pub fn choke(&mut self, now: Instant) {
        if std::mem::replace(&mut self.am_choking, true) {
            return;
        }
        self.choked_at = Some(now);
        self.send.message(&Message::Choke);
        let mut dropped = Vec::new();
        let granted = &self.granted_fast;
        self.uploads.retain(|block| granted.contains(&block.piece), &mut dropped);
        for block in dropped {
            self.reject(block);
        }
    }

    /// Grants pieces that the remote may request while choked (BEP 6).
    pub fn grant_fast(&mut self, pieces: Vec<PieceIndex>) {
        if self.fast {
            for piece in &pieces {
                self.send.message(&Message::AllowedFast(*piece));
            }
            self.granted_fast = pieces;
        }
    }

    /// Says whether we want something of the remote's, if that has changed.
    pub fn set_interested(&mut self, interested: bool) {
        if self.am_interested != interested {
            self.am_interested = interested;
            self.send.message(if interested {
                &Message::Interested
            } else {
                &Message::NotInterested
            });
        }
    }

    /// Requests `blocks`.
    pub fn request(&mut self, blocks: &[Block], limits: &PeerLimits, now: Instant) {
        let idle = self.pipeline.is_empty();
        for block in blocks {
            self.pipeline.push(*block, now);
            self.send.message(&Message::Request(*block));
        }
        if idle && !blocks.is_empty() {
            self.timers.set(Timer::Request, now + limits.request_timeout);
        }
    }

    /// Gives up on a block because another peer was faster: cancels it if it is outstanding, and
    /// gives back the frame that it was landing in.
    pub fn cancel_request(&mut self, block: Block) -> Option<(Frame, Share)> {
        if self.pipeline.cancel(block) {
            self.send.message(&Message::Cancel(block));
        }
        if self.recv.landing() == Some(block) { self.abort_landing() } else { None }
    }

    /// Gives back the frame that a payload is landing in, and its credit; the rest of the payload
    /// is skipped.
    pub fn abort_landing(&mut self) -> Option<(Frame, Share)> {
        let (_, frame) = self.recv.abort_landing()?;
        Some((frame, self.landing.take()?))
    }

    /// Answers [`super::PeerEvent::Landing`]: the payload goes into `frame`, taken on a credit of
    /// `share`.
    pub fn land(&mut self, frame: Frame, share: Share) {
        self.recv.accept(frame);
        self.landing = Some(share);
    }

    /// Answers [`super::PeerEvent::Landing`]: the payload is skipped.
    pub fn skip_landing(&mut self, block: Block) {
        self.pipeline.cancel(block);
        self.recv.discard();
    }

    /// Returns the block that is being received into a frame.
    pub const fn landing(&self) -> Option<Block> {
        self.recv.landing()
    }

    /// Returns the credit that the frame being received was taken on.
    pub const fn landing_share(&self) -> Option<Share> {
        self.landing
    }

    /// Returns the credit that the frame being received was taken on, for the owner to change.
    pub const fn landing_share_mut(&mut self) -> Option<&mut Share> {
        self.landing.as_mut()
    }

    /// Queues a request of the remote's; beyond `limits` it is rejected, or dropped without BEP 6.
    pub fn queue_upload(&mut self, block: Block, limits: &PeerLimits) {
        if !self.uploads.push(block, limits.max_queued_requests) {
            self.reject(block);
        }
    }

    /// Refuses a request: says so with BEP 6, is silent without (BEP 3 has no word for it).
    pub fn reject(&mut self, block: Block) {
        if self.fast {
            self.send.message(&Message::RejectRequest(block));
        }
    }

    /// Takes out the next run of requests to read from disk; `None` if none waits or enough is
    /// queued to be sent.
    pub fn next_upload_run(&mut self, max_blocks: usize) -> Option<Run> {
        if self.send.blocks() >= MAX_QUEUED_BLOCKS {
            return None;
        }
        self.uploads.next_run(max_blocks)
    }

    /// Tells whether requests of the remote's wait to be read from disk and there is room to send
    /// them.
    pub fn wants_upload(&self) -> bool {
        !self.uploads.none_waiting() && self.send.blocks() < MAX_QUEUED_BLOCKS
    }

    /// Returns how many frames are being read into for the remote or wait to be sent to it.
    pub const fn upload_frames(&self) -> usize {
        self.send.blocks() + self.uploads.reading()
    }

    /// Queues the blocks of a run that was read from disk, in order from `begin` on.
    pub fn send_run(&mut self, piece: PieceIndex, mut begin: u32, frames: &mut Vec<Frame>) {
        self.uploads.read_done(frames.len());
        for frame in frames.drain(..) {
            let len = frame.len();
            self.send.block(Block { piece, begin, len }, frame);
            begin += len;
        }
    }

    /// Refuses the blocks of a run that could not be read.
    pub fn refuse_run(&mut self, piece: PieceIndex, mut begin: u32, frames: &[Frame]) {
        self.uploads.read_done(frames.len());
        for frame in frames {
            self.reject(Block { piece, begin, len: frame.len() });
            begin += frame.len();
        }
    }

    /// Returns what is to be sent next.
    pub fn send_slices(&self) -> SendSlices<'_> {
        self.send.slices()
    }

    /// Tells whether something is to be sent.
    pub fn wants_send(&self) -> bool {
        !self.send.is_empty()
    }

    /// Records that `n` bytes were sent; frames done with go to `frames`. Returns how many payload
    /// bytes were among them.
    pub fn send_advance(
        &mut self,
        n: usize,
        frames: &mut Vec<Frame>,
        limits: &PeerLimits,
        now: Instant,
    ) -> u64 {
        let payload = self.send.advance(n, frames);
        if payload > 0 {
            self.traffic.uploaded += payload;
            self.traffic.up.add(payload, now);
        }
        self.stalled = false;
        self.timers.set(Timer::KeepAlive, now + limits.keep_alive_interval);
        payload
    }

    /// Ends the conversation: gives back every frame, those that were to be sent in `uploads`, the
    /// one that was landing with its credit.
    pub fn dismantle(&mut self, uploads: &mut Vec<Frame>) -> Option<(Frame, Share)> {
        self.send.clear(uploads);
        self.abort_landing()
    }

    /// Returns the requests outstanding with the remote.
    pub const fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Returns the pieces that the remote has.
    pub const fn remote(&self) -> &RemotePieces {
        &self.remote
    }

    /// Returns the pieces that may be requested while the remote chokes us; `None` if all may be,
    /// because it does not.
    pub fn requestable_only(&self) -> Option<&[PieceIndex]> {
        self.peer_choking.then_some(&self.allowed_fast[..])
    }

    /// Tells whether the remote answers any request of ours.
    pub fn may_request(&self) -> bool {
        !self.peer_choking || !self.allowed_fast.is_empty()
    }

    /// Tells whether the remote chokes us.
    pub const fn is_choking_us(&self) -> bool {
        self.peer_choking
    }

    /// Tells whether we choke the remote.
    pub const fn is_choked(&self) -> bool {
        self.am_choking
    }

    /// Tells whether the remote wants something of ours.
    pub const fn is_interested(&self) -> bool {
        self.peer_interested
    }

    /// Tells whether we want something of the remote's.
    pub const fn am_interested(&self) -> bool {
        self.am_interested
    }

    /// Returns the payload received from the remote, in bytes a second.
    pub fn down_rate(&self, now: Instant) -> u64 {
        self.traffic.down.bytes_per_s(now)
    }

    /// Returns the payload sent to the remote, in bytes a second.
    pub fn up_rate(&self, now: Instant) -> u64 {
        self.traffic.up.bytes_per_s(now)
    }

    /// Returns the payload sent since the remote was last unchoked, in bytes, and when that was.
    pub const fn since_unchoke(&self) -> (u64, Instant) {
        (self.traffic.uploaded - self.traffic.uploaded_at_unchoke, self.traffic.unchoked_at)
    }

    /// Returns the payload received from and sent to the remote in all, in bytes.
    pub const fn moved(&self) -> (u64, u64) {
        (self.traffic.downloaded, self.traffic.uploaded)
    }

    /// Returns how many requests the remote has queued with us.
    pub fn queued_uploads(&self) -> usize {
        self.uploads.len()
    }
}
