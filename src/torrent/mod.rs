//! One torrent: every decision about its swarm and its data.
//!
//! It owns the picker, the payload of open pieces, the candidates and the blame; it is lent one
//! [`Peer`] at a time and turns what that peer did into blocks, jobs and messages. **Invariant:** a
//! torrent holds names of connections, never the peers themselves, and it never sees the session.
//!
//! Reading order: `exchange` (what peers do), [`verify`] (what the disk answers), `checking`
//! (before the start), `selecting` (which files are wanted), `rest` (stopped and started), `magnet`
//! (before even that is known).

pub mod blame;
pub mod candidates;
mod checking;
mod exchange;
pub mod figures;
pub mod keep;
mod lost;
mod magnet;
pub mod metadata;
mod pex;
pub mod phase;
pub mod pieces;
mod recheck;
mod rest;
mod restoring;
pub mod resume;
mod selecting;
mod space;
mod trust;
pub mod unsynced;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::bitfield::Bitfield;
use crate::disk::job::{Job, OnDisk, Storage};
use crate::disk::selection::Selection;
use crate::geometry::Geometry;
use crate::id::{Block, ConnId, InfoHash, PeerId, PieceIndex, TorrentId};
use crate::peer::pipeline::Arrival;
use crate::peer::{Peer, PeerLimits};
use crate::picker::{Order, Picker};
use crate::rng::Rng;
use crate::stats::{Metric, Stats};
use crate::time::Instant;
use crate::wire::frame::{Frame, FramePool, Share};

use blame::Blame;
use candidates::Candidates;
use checking::Check;
pub use figures::{Counts, Totals};
use keep::{Keep, Kept, Resume, SyncLimits};
use lost::Trouble;
use metadata::Fetch;
use pex::Contacts;
use phase::{Mode, Phase, StopReason, TorrentEvent};
use pieces::{OpenPiece, OpenPieces};
use rest::{Jobs, Rest};
use restoring::Restored;
use selecting::Carrying;

/// What a torrent is made from.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct TorrentParams {
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// Where its bytes are and what they hash to.
    pub storage: Arc<Storage>,
    /// The info dictionary as it is hashed, for others (BEP 9); empty if it is not known.
    pub info: Bytes,
    /// Whether peers may come from its trackers only (BEP 27).
    pub private: bool,
    /// Whether peers are exchanged with peers, if it is not private (BEP 11).
    pub pex: bool,
    /// What to do with it.
    pub mode: Mode,
    /// In which order pieces are asked for.
    pub order: Order,
    /// Which files are wanted.
    pub selection: Selection,
    /// How many peers may be unchoked at one time.
    pub unchoke_slots: usize,
    /// Whether to stop at once if what is missing does not fit on the disk.
    pub check_space: bool,
    /// Whether to stop once its files were looked at.
    pub stopped: bool,
    /// Where its state is kept, if it is: as [`Storage::state`] says.
    pub resume: Option<Resume>,
    /// What each of its files was when every piece of it was hashed and right, if somebody has done
    /// that.
    pub hashed: Option<Vec<Option<OnDisk>>>,
    /// When what was written is made durable, if its state is kept.
    pub sync: SyncLimits,
}

/// One torrent of a session.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "two marks for lines, and two facts")]
pub struct Torrent {
    /// Its name within the session.
    pub id: TorrentId,
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// Its sizes.
    pub geometry: Geometry,
    /// Addresses that could be dialled, and bans.
    pub candidates: Candidates,
    /// Its established peers, by what they call themselves: each at most once.
    pub peers: BTreeMap<PeerId, ConnId>,
    /// How many of its peers stand how, as of the end of the last turn.
    pub counts: Counts,
    /// How many peers may be unchoked at one time.
    pub unchoke_slots: usize,
    /// The most payload a second that is received, by the limits that hold for it; `u64::MAX` if
    /// none does. Kept by the session.
    pub down_limit: u64,
    /// What has gone over the wire and through the hash so far.
    pub totals: Totals,
    storage: Arc<Storage>,
    info: Bytes,
    private: bool,
    pex: bool,
    /// Who is here, for others.
    contacts: Contacts,
    mode: Mode,
    order: Order,
    selection: Selection,
    /// Files that are on disk or may be, as far as they were looked at or written to.
    made: Bitfield,
    /// Files that are wanted and leave the parts file; `None` while there are none.
    carrying: Option<Carrying>,
    stage: Stage,
    /// Jobs that make the last touches to the files; more than one if other files were wanted
    /// meanwhile.
    finishing: u32,
    trouble: Trouble,
    /// `None` if nothing outlives the process, and while the torrent rests.
    keep: Option<Box<Keep>>,
    /// What is left of `keep` while the torrent rests.
    kept: Option<Box<Kept>>,
    /// Blocks of open pieces that were put aside and are on their way back; `None` if there are
    /// none.
    restoring: Option<Box<Restored>>,
    /// What is with the disk.
    jobs: Jobs,
    rest: Rest,
    pieces: OpenPieces,
    blame: Blame,
    /// Pieces verified since the start, in the order in which they came; peers are told from where
    /// they left off.
    completed: Vec<PieceIndex>,
    /// Peers that could take more requests than they got, in the order in which they are tried
    /// again.
    hungry: VecDeque<ConnId>,
    /// How many of `hungry` are still to be tried because something has changed for them.
    stirred: usize,
    /// Whether a peer went hungry for want of credit since the last look.
    starved: bool,
    /// Whether a peer went hungry for want of credit and none was tried again since.
    short_of_credit: bool,
    /// Whether it is in [`Lines::stirred`] and [`Lines::short`].
    in_stirred_line: bool,
    in_short_line: bool,
    /// Peers that are unchoked. Kept by whoever chokes and unchokes.
    unchoked: BTreeSet<ConnId>,
    /// Recycled list of picked blocks.
    picked: Vec<Block>,
    /// Recycled bitfield for peers whose pieces are kept in a smaller form.
    scratch: Bitfield,
    /// What each file was when every piece was hashed and right, until they are looked at.
    hashed: Option<Vec<Option<OnDisk>>>,
}

/// The phase with exactly its data.
#[derive(Debug)]
enum Stage {
    /// Nothing runs, see `rest`. What was verified is kept for the status.
    Stopped { reason: Option<StopReason>, have: Bitfield },
    /// Only the info-hash is known.
    Metadata(Box<Fetch>),
    /// Existing files are looked at and hashed.
    Checking(Box<Check>),
    /// Blocks are exchanged.
    Active {
        picker: Box<Picker>,
        /// Whether all is here, and since when the application knows.
        end: End,
    },
}

/// How near the end an active torrent is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Wanted pieces are missing.
    Downloading,
    /// Every wanted piece is here; the last touches are made to the files.
    Finishing,
    /// Everything that was wanted is here, or nothing ever was.
    Seeding,
}

/// What a torrent is lent for one call.
#[derive(Debug)]
pub struct Ctx<'a> {
    /// Payload frames and credits.
    pub pool: &'a mut FramePool,
    /// Breaks ties.
    pub rng: &'a mut Rng,
    /// Disk work to be done.
    pub jobs: &'a mut VecDeque<Job>,
    /// News for the session.
    pub events: &'a mut Vec<TorrentEvent>,
    /// Requests of other connections that are to be cancelled, right after the call.
    pub cancels: &'a mut Vec<(ConnId, Block)>,
    /// Torrents that the session is to come back to.
    pub lines: &'a mut Lines,
    /// What peers are held to.
    pub limits: &'a PeerLimits,
    /// What is measured.
    pub stats: &'a mut Stats,
    /// The time of the turn.
    pub now: Instant,
}

/// Torrents that the session is to come back to, each once in a line, so that nobody looks at all
/// of them in every turn.
#[derive(Debug, Default)]
pub struct Lines {
    /// Something has changed for peers of theirs that went hungry.
    pub stirred: Vec<TorrentId>,
    /// Peers of theirs went hungry for want of credit.
    pub short: Vec<TorrentId>,
}

impl Ctx<'_> {
    /// Records how far the answer to a request is now. One that was given up before is not counted.
    fn answered(&mut self, metric: Metric, arrival: Arrival) {
        if let Arrival::Expected(asked_at) = arrival {
            self.stats.histograms.record_since(metric, asked_at, self.now);
        }
    }
}

impl Torrent {
    /// Returns a torrent whose existing files are to be looked at: see [`Torrent::begin`].
    pub fn new(params: TorrentParams, ctx: &Ctx<'_>) -> Self {
        let layout = &params.storage.layout;
        let geometry = Geometry::new(layout.total_len(), layout.piece_len(PieceIndex(0)));
        Self::of(params, geometry, ctx)
    }

    /// Returns a torrent of these sizes that has not begun.
    fn of(params: TorrentParams, geometry: Geometry, ctx: &Ctx<'_>) -> Self {
        Self {
            id: params.storage.torrent,
            info_hash: params.info_hash,
            geometry,
            candidates: Candidates::default(),
            peers: BTreeMap::new(),
            counts: Counts::default(),
            unchoke_slots: params.unchoke_slots,
            down_limit: u64::MAX,
            totals: Totals::new(ctx.now),
            storage: params.storage,
            info: params.info,
            private: params.private,
            pex: params.pex,
            contacts: Contacts::default(),
            mode: params.mode,
            order: params.order,
            selection: params.selection,
            made: Bitfield::default(),
            carrying: None,
            stage: Stage::Stopped { reason: None, have: Bitfield::new(geometry.pieces()) },
            keep: None,
            kept: params.resume.map(|resume| Box::new(Kept::new(&resume, params.sync, ctx.now))),
            restoring: None,
            jobs: Jobs::default(),
            rest: Rest::new(params.stopped),
            finishing: 0,
            trouble: Trouble::new(params.check_space),
            pieces: OpenPieces::new(stream_window(ctx.pool)),
            blame: Blame::default(),
            completed: Vec::new(),
            hungry: VecDeque::new(),
            stirred: 0,
            starved: false,
            short_of_credit: false,
            in_stirred_line: false,
            in_short_line: false,
            unchoked: BTreeSet::new(),
            picked: Vec::new(),
            scratch: Bitfield::default(),
            hashed: params.hashed,
        }
    }

    /// Begins to look at the existing files, and loads what the last process has said of them; or
    /// to look for the metadata that says which they are.
    fn look(&mut self, ctx: &mut Ctx<'_>) {
        if !self.geometry.is_known() {
            self.stage = Stage::Metadata(Box::default());
            return ctx.events.push(TorrentEvent::Phase(Phase::Metadata));
        }
        let pieces = self.geometry.pieces();
        if let Some(kept) = self.kept.take() {
            let files = self.storage.parts_index() + 1;
            self.keep = Some(Box::new(Keep::new(*kept, pieces, files)));
            self.jobs.submit(Job::Load { storage: Arc::clone(&self.storage) }, ctx);
        }
        self.jobs.submit(Job::Stat { storage: Arc::clone(&self.storage) }, ctx);
        let mut check = Check::new(pieces, self.keep.is_none());
        check.hashed = self.hashed.take();
        self.stage = Stage::Checking(Box::new(check));
        ctx.events.push(TorrentEvent::Phase(Phase::Checking));
    }

    /// Returns what the torrent is doing at `now`.
    pub fn phase(&self, now: Instant) -> Phase {
        if let Some(full) = self.disk_full(now) {
            return Phase::DiskFull(Box::new(full));
        }
        match &self.stage {
            Stage::Stopped { reason, .. } if !self.rest.waits() => Phase::Stopped(reason.clone()),
            Stage::Metadata(_) => Phase::Metadata,
            Stage::Stopped { .. } | Stage::Checking(_) => Phase::Checking,
            Stage::Active { end: End::Seeding, picker } if picker.is_complete() => Phase::Seeding,
            Stage::Active { end: End::Seeding, .. } => Phase::PartialSeeding,
            Stage::Active { .. } => Phase::Downloading,
        }
    }

    /// Tells whether peers are welcome: the torrent knows what it has.
    pub const fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Active { .. })
    }

    /// Tells whether pieces are to be asked for now.
    pub(super) fn is_asking(&self) -> bool {
        self.is_downloading() && !self.is_short_of_space()
    }

    /// Tells whether pieces are missing that are wanted.
    pub const fn is_downloading(&self) -> bool {
        matches!(self.stage, Stage::Active { end: End::Downloading, .. })
    }

    /// Tells whether every piece is verified.
    pub fn is_complete(&self) -> bool {
        self.picker().is_some_and(Picker::is_complete)
    }

    /// Returns the verified pieces, as far as they are known.
    pub fn have(&self) -> &Bitfield {
        match &self.stage {
            Stage::Stopped { have, .. } => have,
            Stage::Metadata(fetch) => fetch.have(),
            Stage::Checking(check) => check.have(),
            Stage::Active { picker, .. } => picker.have(),
        }
    }

    /// Returns how many pieces have been looked at while checking.
    pub fn checked(&self) -> u32 {
        match &self.stage {
            Stage::Checking(check) => check.done(),
            _ => self.geometry.pieces(),
        }
    }

    /// Returns the payload of the pieces that are verified, pad files not counted, in bytes.
    /// O(pieces verified).
    pub fn have_bytes(&self) -> u64 {
        let layout = &self.storage.layout;
        if self.have().is_full() {
            return layout.payload_len();
        }
        let payload_of = |piece| {
            let piece = PieceIndex(piece);
            let spans = layout.spans(piece, 0, self.geometry.len_of(piece));
            spans.filter(|span| !span.pad).map(|span| span.len).sum::<u64>()
        };
        self.have().ones().map(payload_of).sum()
    }

    /// Returns the payload that is still to be verified, pad files included, in bytes: what `left`
    /// says (BEP 3).
    pub fn left(&self) -> u64 {
        if !self.geometry.is_known() {
            return magnet::UNKNOWN_LEFT;
        }
        let have = self.have();
        let whole = u64::from(have.count()) * u64::from(self.geometry.piece_len());
        let last = PieceIndex(self.geometry.pieces() - 1);
        let short = self.geometry.piece_len() - self.geometry.len_of(last);
        let here = whole - if have.contains(last.0) { u64::from(short) } else { 0 };
        self.geometry.total_len() - here
    }

    /// Tells whether pieces have come since the start.
    pub const fn has_downloaded(&self) -> bool {
        !self.completed.is_empty()
    }

    /// Returns how many pieces are being received.
    pub fn open_pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Returns where its bytes are.
    pub const fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Counts a peer as it stands now.
    pub fn recount(&mut self, peer: &mut Peer) {
        let now = peer.standing();
        self.counts.change(std::mem::replace(&mut peer.counted, now), now);
    }

    /// Notes that a peer was choked or unchoked.
    pub fn note_choke(&mut self, conn: ConnId, choked: bool) {
        if choked {
            self.unchoked.remove(&conn);
        } else {
            self.unchoked.insert(conn);
        }
    }

    /// Returns the peers that we let request.
    pub const fn unchoked(&self) -> &BTreeSet<ConnId> {
        &self.unchoked
    }

    /// Tells whether a peer went hungry for want of credit since [`Torrent::reclaim`] last looked.
    pub const fn is_starved(&self) -> bool {
        self.starved
    }

    /// Looks whether a piece that only snubbed peers are at can be given up, so that others get its
    /// credit; to be called now and then.
    pub fn reclaim(&mut self, is_slow: impl FnMut(ConnId) -> bool, ctx: &mut Ctx<'_>) {
        if !std::mem::take(&mut self.starved) {
            return;
        }
        let Stage::Active { picker, .. } = &self.stage else { return };
        let piece = picker.reclaimable(is_slow);
        if let Some(piece) = piece.filter(|piece| self.pieces.idle().any(|idle| idle == *piece)) {
            self.close_piece(piece, ctx);
        }
    }

    /// Gives up an open piece: its frames and its credit come back, whoever was asked for its
    /// blocks is to be told.
    fn close_piece(&mut self, piece: PieceIndex, ctx: &mut Ctx<'_>) {
        if let Stage::Active { picker, .. } = &mut self.stage {
            picker.close(piece, ctx.cancels);
        }
        self.drop_row(piece, ctx.pool);
        self.stir(ctx.lines);
    }

    /// Takes a piece's record out; its frames and its credit come back. `None` if it is not open.
    fn drop_row(&mut self, piece: PieceIndex, pool: &mut FramePool) -> Option<OpenPiece> {
        let mut frames = Vec::new();
        let open = self.pieces.close(piece, &mut frames)?;
        pool.give_all(&mut frames);
        pool.release(Share::Pieces, open.credit);
        Some(open)
    }

    /// Takes back the frame of a landing that was aborted, and its credit.
    pub fn landing_aborted(
        &mut self,
        block: Block,
        (frame, share): (Frame, Share),
        pool: &mut FramePool,
    ) {
        pool.give(frame);
        match share {
            Share::Pieces => {
                if let Some(open) = self.pieces.find(block.piece) {
                    open.unlend(block);
                }
            }
            other => pool.release(other, 1),
        }
    }

    /// Notes that something has changed for peers that went hungry.
    fn stir(&mut self, lines: &mut Lines) {
        self.stirred = self.hungry.len();
        self.short_of_credit = false;
        if self.stirred > 0 && !std::mem::replace(&mut self.in_stirred_line, true) {
            lines.stirred.push(self.id);
        }
    }

    /// Notes that a peer went hungry for want of credit.
    fn went_short(&mut self, lines: &mut Lines) {
        self.starved = true;
        self.short_of_credit = true;
        if !std::mem::replace(&mut self.in_short_line, true) {
            lines.short.push(self.id);
        }
    }

    /// Tells whether it stays in [`Lines::stirred`], after its turn there.
    pub const fn stays_in_stirred_line(&mut self) -> bool {
        self.in_stirred_line = self.stirred > 0;
        self.in_stirred_line
    }

    /// Tells whether peers could be asked for more if there were more credit.
    pub const fn is_short_of_credit(&self) -> bool {
        self.short_of_credit
    }

    /// Notes that there is credit which another torrent has given back; it is out of
    /// [`Lines::short`].
    pub fn credit_came_free(&mut self, lines: &mut Lines) {
        self.in_short_line = false;
        if self.short_of_credit {
            self.stir(lines);
        }
    }

    fn picker(&self) -> Option<&Picker> {
        match &self.stage {
            Stage::Active { picker, .. } => Some(picker),
            _ => None,
        }
    }

    /// Asserts the invariants between the picker, the open pieces and the pool's credits, for
    /// tests.
    pub fn check_invariants(&self) {
        if let Some(picker) = self.picker() {
            picker.check_invariants();
            for facts in picker.open_pieces() {
                let row = self.pieces.iter().find(|open| open.piece == facts.piece);
                let credit = row.map(|open| open.credit);
                assert_eq!(credit, Some(facts.credit), "credit of {:?}", facts.piece);
            }
            assert_eq!(picker.open_count(), self.pieces.len(), "rows and open pieces");
        }
    }

    /// Asserts that the picker counts for each piece as many remotes as `has` says, for tests.
    pub fn check_availability(&self, has: impl Fn(u32) -> usize) {
        let Some(picker) = self.picker() else { return };
        for piece in 0..self.geometry.pieces() {
            let counted = picker.availability(PieceIndex(piece)) as usize;
            assert_eq!(counted, has(piece), "availability of piece {piece}");
        }
    }

    /// Returns the credit, in blocks, that the open pieces hold.
    pub fn credit_held(&self) -> u32 {
        let restoring = self.restoring.as_ref().map_or(0, |restored| restored.credit());
        self.pieces.iter().map(|open| open.credit).sum::<u32>() + restoring
    }
}

/// Returns how many blocks of a long piece are requested ahead of what is on disk: 4 MiB, less in a
/// small pool.
fn stream_window(pool: &FramePool) -> u32 {
    (pool.limit(Share::Pieces) / 4).clamp(2, 256)
}

/// Returns how many blocks of a piece are requested before any of it is on disk: all, unless the
/// pieces are longer than a third of what the pool has for open pieces (about a quarter of the
/// pool, DESIGN 7).
fn piece_window(geometry: &Geometry, pool: &FramePool) -> u32 {
    let longest_whole = (pool.limit(Share::Pieces) / 3).max(1);
    if geometry.blocks_of(PieceIndex(0)) > longest_whole { stream_window(pool) } else { u32::MAX }
}

/// What [`Torrent::refill`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refill {
    /// The peer has all the requests that it should have.
    Satisfied,
    /// It could take more; it is remembered as hungry.
    Hungry,
}

/// Returns whether two addresses are one host's.
fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical()
}
