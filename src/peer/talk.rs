//! Our side of the conversation with a peer: the owner's decisions become messages, and its
//! questions get answers.

use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use crate::id::{Block, PieceIndex, index};
use crate::peer::fast::GrantedFast;
use crate::peer::parts::{Download, Upload};
use crate::peer::pipeline::Pipeline;
use crate::peer::remote::RemotePieces;
use crate::peer::timer::Timer;
use crate::peer::{Peer, PeerLimits, Standing};
use crate::proto::message::Message;
use crate::time::Instant;
use crate::wire::frame::{Frame, Share};
use crate::wire::send::SendQueue;
use crate::wire::slices::SendSlices;
use crate::wire::tape::{Note, Said, Tape};

/// Blocks queued for one peer above which nothing more is read from disk for it: 512 KiB, enough to
/// keep a fast stream busy while the next run is read. Counted in blocks, because a short one holds
/// a whole frame, too.
const MAX_QUEUED_BLOCKS: usize = 32;

impl Peer {
    /// Sends the first message, which says what we have: `have all`, `have none` or `bitfield` (BEP
    /// 3, BEP 6); nothing if we have nothing and the remote does not speak BEP 6. `completions`
    /// pieces are thereby told.
    pub fn announce_pieces(&mut self, have: &Bitfield, completions: usize) {
        self.have_cursor = u32::try_from(completions).unwrap_or(u32::MAX);
        if self.fast && have.is_full() {
            self.say(&Message::HaveAll);
        } else if have.is_empty() {
            if self.fast {
                self.say(&Message::HaveNone);
            }
        } else {
            let len = Bitfield::wire_len(have.len());
            self.note_sent(Said::Bitfield(u32::try_from(len).unwrap_or(u32::MAX)));
            self.send_mut().bitfield(len, |out| have.write_wire(out));
        }
    }

    /// Sends bytes as they are, ahead of every message: what was left of our handshake.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.send_mut().bytes(bytes);
        }
    }

    /// Names the port of our node of the DHT, if there is one and the remote wants to know (BEP 5).
    pub fn tell_dht_port(&mut self, port: Option<u16>) {
        if let Some(port) = port.filter(|_| self.awaits_dht_port) {
            self.say(&Message::Port(port));
        }
    }

    /// Tells the remote of the pieces completed since it was last told, but for those it has.
    pub fn announce_completions(&mut self, completed: &[PieceIndex]) {
        let told = completed.len().min(index(self.have_cursor));
        for piece in &completed[told..] {
            if !self.remote.contains(piece.0) {
                self.say(&Message::Have(*piece));
            }
        }
        self.have_cursor = u32::try_from(completed.len()).unwrap_or(u32::MAX);
    }

    /// Lets the remote request, if it was not allowed to.
    pub fn unchoke(&mut self, now: Instant) {
        if std::mem::replace(&mut self.am_choking, false) {
            self.say(&Message::Unchoke);
            self.traffic.uploaded_at_unchoke = self.traffic.uploaded;
            self.traffic.unchoked_at = now;
            self.upload_mut(now);
        }
    }

    /// Stops answering the remote, if it was allowed to request. What waits is dropped; with BEP 6
    /// it is rejected after the choke, except for the pieces it may request while choked.
    pub fn choke(&mut self, now: Instant) {
        if std::mem::replace(&mut self.am_choking, true) {
            return;
        }
        self.say(&Message::Choke);
        let mut dropped = Vec::new();
        let granted = self.granted_fast;
        let upload = self.upload_mut(now);
        upload.choked_at = Some(now);
        upload.requests.retain(|block| granted.contains(block.piece), &mut dropped);
        for block in dropped {
            self.reject(block);
        }
    }

    /// Grants pieces that the remote may request while choked (BEP 6).
    pub fn grant_fast(&mut self, granted: GrantedFast) {
        if self.fast {
            for piece in granted.iter() {
                self.say(&Message::AllowedFast(piece));
            }
            self.granted_fast = granted;
        }
    }

    /// Says whether we want something of the remote's, if that has changed.
    pub fn set_interested(&mut self, interested: bool, now: Instant) {
        if self.am_interested != interested {
            self.am_interested = interested;
            self.waits_since = if interested { now } else { self.waits_since };
            self.say(if interested { &Message::Interested } else { &Message::NotInterested });
        }
    }

    /// Requests `blocks`.
    pub fn request(&mut self, blocks: &[Block], limits: &PeerLimits, now: Instant) {
        if blocks.is_empty() {
            return;
        }
        let idle = self.requests_out() == 0;
        for block in blocks {
            self.download_mut(now).pipeline.push(*block, now);
            self.say(&Message::Request(*block));
        }
        if idle {
            self.timers.set(Timer::Request, now + limits.request_timeout);
        }
    }

    /// Gives up on a block because another peer was faster: cancels it if it is outstanding, and
    /// gives back the frame that it was landing in.
    pub fn cancel_request(&mut self, block: Block) -> Option<(Frame, Share)> {
        if self.give_up(block) {
            self.say(&Message::Cancel(block));
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
        self.give_up(block);
        self.recv.discard();
    }

    /// Gives up on a block and tells whether it was outstanding.
    fn give_up(&mut self, block: Block) -> bool {
        self.download.as_mut().is_some_and(|download| download.pipeline.cancel(block))
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
    pub fn queue_upload(&mut self, block: Block, limits: &PeerLimits, now: Instant) {
        if !self.upload_mut(now).push(block, limits.max_queued_requests, now) {
            self.reject(block);
        }
    }

    /// Refuses a request: says so with BEP 6, is silent without (BEP 3 has no word for it).
    pub fn reject(&mut self, block: Block) {
        if self.fast {
            self.say(&Message::RejectRequest(block));
        }
    }

    /// Takes out the next run of requests to read from disk, handing each to `taken`; returns the
    /// first, `None` if none waits or enough is queued to be sent.
    pub fn next_upload_run(
        &mut self,
        max_blocks: usize,
        taken: impl FnMut(Block),
    ) -> Option<Block> {
        if self.queued_blocks() >= MAX_QUEUED_BLOCKS {
            return None;
        }
        self.upload.as_mut()?.requests.next_run(max_blocks, taken)
    }

    /// Tells whether requests of the remote's wait to be read from disk and there is room to send
    /// them.
    pub fn wants_upload(&self) -> bool {
        let waiting = self.upload.as_ref().is_some_and(|upload| !upload.requests.none_waiting());
        waiting && self.queued_blocks() < MAX_QUEUED_BLOCKS
    }

    /// Returns how many frames are being read into for the remote or wait to be sent to it.
    pub fn upload_frames(&self) -> usize {
        let reading = self.upload.as_ref().map_or(0, |upload| upload.requests.reading());
        self.queued_blocks() + reading
    }

    /// Queues the blocks of a run that was read from disk, in order from `begin` on.
    pub fn send_run(&mut self, piece: PieceIndex, mut begin: u32, frames: &mut Vec<Frame>) {
        self.read_done(frames.len());
        for frame in frames.drain(..) {
            let len = frame.len();
            let block = Block { piece, begin, len };
            self.note_sent(Said::Piece(block));
            self.send_mut().block(block, frame);
            begin += len;
        }
    }

    /// Refuses the blocks of a run that could not be read.
    pub fn refuse_run(&mut self, piece: PieceIndex, mut begin: u32, frames: &[Frame]) {
        self.read_done(frames.len());
        for frame in frames {
            self.reject(Block { piece, begin, len: frame.len() });
            begin += frame.len();
        }
    }

    /// Records that blocks of a run came back from disk.
    fn read_done(&mut self, blocks: usize) {
        if let Some(upload) = &mut self.upload {
            upload.requests.read_done(blocks);
        }
    }

    /// Starts to keep what goes over the stream for [`Peer::take_notes`].
    pub fn watch(&mut self) {
        self.tape = Some(Box::default());
    }

    /// Takes out what has gone over the stream since this was last called, in order; nothing if
    /// nobody has called [`Peer::watch`].
    pub fn take_notes(&mut self) -> impl Iterator<Item = Note> + '_ {
        self.tape.as_deref_mut().into_iter().flat_map(Tape::drain)
    }

    /// Returns what is to be sent next, with `payload` bytes of blocks at most.
    pub fn send_slices(&self, payload: usize) -> SendSlices<'_> {
        self.send.as_ref().map_or_else(SendSlices::empty, |send| send.slices(payload))
    }

    /// Tells whether a block is to be sent next.
    pub fn sends_block_next(&self) -> bool {
        self.send.as_ref().is_some_and(|send| send.is_at_block())
    }

    /// Returns the bytes of blocks that wait to be sent.
    pub fn payload_to_send(&self) -> usize {
        self.send.as_ref().map_or(0, |send| send.payload_len())
    }

    /// Tells whether something is to be sent.
    pub fn wants_send(&self) -> bool {
        self.send.as_ref().is_some_and(|send| !send.is_empty())
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
        let Some(send) = &mut self.send else { return 0 };
        let payload = send.advance(n, frames);
        self.put_send_away();
        if payload > 0 {
            self.traffic.uploaded += payload;
            self.upload_mut(now).rate.add(payload, now);
        }
        self.stalled = false;
        self.timers.set(Timer::KeepAlive, now + limits.keep_alive_interval);
        payload
    }

    /// Ends the conversation: gives back every frame, those that were to be sent in `uploads`, the
    /// one that was landing with its credit.
    pub fn dismantle(&mut self, uploads: &mut Vec<Frame>) -> Option<(Frame, Share)> {
        if let Some(mut send) = self.send.take() {
            send.clear(uploads);
        }
        self.abort_landing()
    }

    /// Returns the requests outstanding with the remote; `None` if nothing was asked of it for
    /// long.
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.download.as_ref().map(|download| &download.pipeline)
    }

    /// Returns how many more blocks to request now.
    pub fn request_room(&self) -> usize {
        let first = || Pipeline::first_room(index(self.request_limit));
        self.pipeline().map_or_else(first, Pipeline::room)
    }

    /// Returns how many requests are outstanding with the remote.
    pub fn requests_out(&self) -> usize {
        self.pipeline().map_or(0, Pipeline::len)
    }

    /// Tells whether the remote has left requests unanswered for so long that little is asked of
    /// it.
    pub fn is_snubbed(&self) -> bool {
        self.pipeline().is_some_and(Pipeline::is_snubbed)
    }

    /// Returns the pieces that the remote has.
    pub const fn remote(&self) -> &RemotePieces {
        &self.remote
    }

    /// Tells whether the remote has every piece: by its own word, or because it has told of as many
    /// as there are and wants nothing.
    pub const fn is_seed(&self) -> bool {
        self.remote.is_all() || (self.remote.may_be_all() && !self.peer_interested)
    }

    /// Returns how the remote stands to us.
    pub const fn standing(&self) -> Standing {
        Standing {
            is_seed: self.is_seed(),
            is_interesting: self.am_interested,
            unchokes_us: !self.peer_choking,
        }
    }

    /// Keeps only the number of the pieces that the remote has: we shall never want any.
    pub fn forget_pieces(&mut self, geometry: &Geometry) {
        self.remote.forget_which(geometry.pieces());
    }

    /// Returns the pieces that may be requested while the remote chokes us; `None` if all may be,
    /// because it does not.
    pub fn requestable_only(&self) -> Option<&[PieceIndex]> {
        self.peer_choking.then(|| self.allowed_fast())
    }

    /// Tells whether the remote answers any request of ours.
    pub fn may_request(&self) -> bool {
        !self.peer_choking || !self.allowed_fast().is_empty()
    }

    /// Returns the pieces that may be requested even while the remote chokes us (BEP 6).
    fn allowed_fast(&self) -> &[PieceIndex] {
        self.extras.as_ref().map_or(&[], |extras| &extras.allowed_fast)
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

    /// Returns since when we want something of the remote's and it chokes us; `None` if not both
    /// are so.
    pub fn waits_since(&self) -> Option<Instant> {
        (self.am_interested && self.peer_choking).then_some(self.waits_since)
    }

    /// Returns the payload received from the remote, in bytes a second.
    pub fn down_rate(&self, now: Instant) -> u64 {
        self.download.as_ref().map_or(0, |download| download.rate.bytes_per_s(now))
    }

    /// Returns the payload sent to the remote, in bytes a second.
    pub fn up_rate(&self, now: Instant) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.rate.bytes_per_s(now))
    }

    /// Tells whether any payload has gone in either direction.
    pub const fn has_exchanged(&self) -> bool {
        self.traffic.downloaded > 0 || self.traffic.uploaded > 0
    }

    /// Returns the payload sent since the remote was last unchoked, in bytes, and when that was.
    pub const fn since_unchoke(&self) -> (u64, Instant) {
        (self.traffic.uploaded - self.traffic.uploaded_at_unchoke, self.traffic.unchoked_at)
    }

    /// Returns how many requests the remote has queued with us.
    pub fn queued_uploads(&self) -> usize {
        self.upload.as_ref().map_or(0, |upload| upload.requests.len())
    }

    /// Returns how many blocks wait to be sent or are under way.
    fn queued_blocks(&self) -> usize {
        self.send.as_ref().map_or(0, |send| send.blocks())
    }

    /// Queues a message.
    pub(super) fn say(&mut self, message: &Message) {
        self.note_sent(Said::Message(*message));
        self.send_mut().message(message);
    }

    pub(super) fn note_sent(&mut self, said: Said) {
        if let Some(tape) = &mut self.tape {
            tape.push(Note::Sent(said));
        }
    }

    fn send_mut(&mut self) -> &mut SendQueue {
        self.send.get_or_insert_default()
    }

    pub(super) fn download_mut(&mut self, now: Instant) -> &mut Download {
        let limit = index(self.request_limit);
        self.download.get_or_insert_with(|| Box::new(Download::new(limit, now)))
    }

    fn upload_mut(&mut self, now: Instant) -> &mut Upload {
        self.upload.get_or_insert_with(|| Box::new(Upload::new(now)))
    }
}
