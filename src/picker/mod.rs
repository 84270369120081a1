//! The picker: which block to ask next from whom.
//!
//! It decides by availability (rarest first), by what is open already, and at the end by who is
//! slowest; the order of the rules is [`Picker::pick`], read it first. Then `partial` (open
//! pieces), `fresh` (which piece to open) and `availability` (counts). "Cohen 2003" is the paper
//! that BEP 3 refers to: <http://bittorrent.org/bittorrentecon.pdf>.
//!
//! **Invariant:** the picker does not know what a peer is. An owner is a [`ConnId`], what it has is
//! a [`Pieces`]; no clock, no frame and no message is in here. It never holds a reference to a
//! remote's bitfield, so whoever owns the remotes tells each change exactly once:
//! [`Picker::remote_joined`], [`Picker::remote_has`], [`Picker::remote_left`].

mod ask;
mod availability;
mod check;
mod fresh;
mod levels;
mod lost;
mod partial;
mod reopen;
mod seed;
#[cfg(test)]
mod tests;
mod wanted;

use std::cmp::Reverse;

pub use self::ask::{Ask, OpenFacts, Order, PickError, Picked, Pieces, Progress, Stop};

use self::availability::Availability;
use self::fresh::{Fresh, Rule};
use self::levels::Levels;
use self::partial::{OpenPiece, Partial, Race};
use crate::bitfield::Bitfield;
use crate::disk::selection::LEVELS;
use crate::geometry::Geometry;
use crate::id::{Block, ConnId, PieceIndex};
use crate::rng::Rng;

/// The most owners that race for one block in end game, the first included. Each further copy costs
/// its bytes twice over and helps only if all the others stall.
pub const MAX_ENDGAME_OWNERS: u8 = 3;

/// How many verified pieces end the random start of an empty torrent (libtorrent
/// `initial_picker_threshold`: 4; one in Cohen 2003).
pub const RANDOM_FIRST_PIECES: u32 = 4;

/// How many blocks of neighbouring pieces one call opens before it searches again: 256 KiB. Keeps a
/// torrent of tiny pieces from a search a block, and its writes in runs; of no effect on pieces of
/// this length and more.
const RUN_BLOCKS: u32 = 16;

/// How many pieces such a run may step over because the remote lacks them or they are open.
const RUN_GAP: u32 = 16;

/// Chooses blocks for one torrent.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    order: Order,
    /// The blocks that are requested ahead of what was flushed, for pieces that are longer.
    window: u32,
    /// Verified pieces.
    have: Bitfield,
    /// Invariant: the pieces in `have`.
    have_count: u32,
    /// Pieces that were verified, are lost since the torrent was complete, and not wanted again.
    given_up: u32,
    /// Pieces to download. Invariant: none of them is in `have`.
    wanted: Bitfield,
    /// Invariant: the pieces in `wanted`.
    missing: u32,
    /// Invariant: tells the pieces in `wanted` apart, no others.
    levels: Levels,
    /// Pieces that failed their hash and have not been verified since. Invariant: none of them is
    /// in `have`.
    suspects: Bitfield,
    /// Invariant: the pieces in `suspects`.
    suspect_count: u32,
    availability: Availability,
    /// Invariant: the pieces that are in `wanted` and not in `open`.
    fresh: Fresh,
    /// Invariant: none of them is in `have`.
    open: Partial,
    /// Counts the calls of [`Picker::pick`], wrapping: the age of a request.
    picks: u32,
    /// Scratch of end game, kept for its capacity.
    races: Vec<(Race, usize)>,
}

/// Neighbouring pieces that one call opens without a search for each.
#[derive(Clone, Copy, Default)]
struct Run {
    next: u32,
    blocks_left: u32,
}

impl Picker {
    /// Returns the picker of a torrent of which the pieces in `have` are verified, and all others
    /// wanted.
    ///
    /// Panics if `geometry` is inconsistent or `have` is over another number of pieces: a bug of
    /// the caller. O(pieces); holds about 2.1 bytes a piece.
    pub fn new(geometry: Geometry, have: Bitfield) -> Self {
        assert_eq!(have.len(), geometry.pieces(), "a bitfield of another torrent");
        let mut wanted = Bitfield::full(geometry.pieces());
        have.ones().for_each(|piece| _ = wanted.remove(piece));
        let have_count = have.count();
        Self {
            geometry,
            order: Order::default(),
            window: u32::MAX,
            have,
            have_count,
            given_up: 0,
            missing: geometry.pieces() - have_count,
            levels: Levels::default(),
            suspects: Bitfield::new(geometry.pieces()),
            suspect_count: 0,
            availability: Availability::new(geometry.pieces()),
            fresh: Fresh::new(wanted.clone()),
            wanted,
            open: Partial::default(),
            picks: 0,
            races: Vec::new(),
        }
    }

    /// Sets the order in which pieces are opened from now on.
    pub const fn set_order(&mut self, order: Order) {
        self.order = order;
    }

    /// Sets how many blocks of a longer piece may be requested ahead of what was
    /// [`Picker::flushed`]; at least 1.
    ///
    /// Pieces that are open keep the window they were opened with. Without this, pieces are
    /// requested whole.
    pub fn set_window(&mut self, blocks: u32) {
        self.window = blocks.max(1);
    }

    /// Picks up to [`Ask::room`] blocks for one owner, appends them to `out` in the order in which
    /// to request them, and marks them requested.
    ///
    /// The policy, in order; each rule is used up before the next:
    ///
    /// 1. free blocks of open pieces that this owner works on, so that pieces end soon and with few
    ///    contributors;
    /// 2. free blocks of other open pieces, the most complete first, then the oldest;
    /// 3. a new piece: first one that was corrupt before; at random while fewer than
    ///    [`RANDOM_FIRST_PIECES`] are verified; else the rarest, ties at random (of pieces with
    ///    more than eight copies, one that is rarer than most); in sequential order the next; each
    ///    of this in the most urgent level of [`Picker::set_wanted`] that the remote has a piece
    ///    of;
    /// 4. end game: when every wanted block that some remote has is requested, blocks that others
    ///    were asked for: those with the fewest owners, then those that have been out longest
    ///    (BEP 3, "endgame mode", which asks everybody for everything).
    ///
    /// Costs microseconds, whatever the number of remotes: rules 1 and 2 are O(open pieces with a
    /// free block), rule 3 is O(pieces / 64) at most and, by rarity, mostly a look at a summary of
    /// the counts and at some hundred of them a piece opened; rule 4 is O(blocks of open pieces),
    /// and only when there is nothing else. Allocates only while its tables grow.
    ///
    /// Panics if [`Ask::pieces`] is over another number of pieces: a bug of the caller.
    pub fn pick(&mut self, ask: &Ask<'_>, rng: &mut Rng, out: &mut Vec<Block>) -> Picked {
        self.assert_ours(ask.pieces);
        self.picks = self.picks.wrapping_add(1);
        let end = out.len().saturating_add(ask.room);
        let mut picked = Picked { opened: 0, endgame: 0, stop: Stop::Full };
        if self.is_at_rest() && ask.room > 0 {
            picked.stop = Stop::NothingWanted;
            return picked;
        }
        while out.len() < end
            && let Some(place) = self.best_open(ask)
        {
            self.take(place, ask.owner, end, out);
        }
        let mut run = Run::default();
        while out.len() < end
            && let Some(piece) = self.next_fresh(ask, &mut run, rng)
        {
            let credit = self.geometry.blocks_of(PieceIndex(piece)).min(self.window);
            if credit > ask.credit - picked.opened {
                picked.stop = Stop::NoCredit;
                return picked;
            }
            picked.opened += credit;
            let place = self.open(piece, credit);
            self.take(place, ask.owner, end, out);
        }
        if out.len() < end && !ask.slow && ask.endgame_room > 0 {
            picked.endgame = self.pick_endgame(ask, end, out);
        }
        if out.len() < end {
            let interested = self.is_interesting(ask.pieces);
            picked.stop = if interested { Stop::Busy } else { Stop::NothingWanted };
        }
        picked
    }

    /// Returns the open piece to go on with: rules 1 and 2.
    fn best_open(&self, ask: &Ask<'_>) -> Option<usize> {
        let rank = |open: &OpenPiece| {
            let urgency = match self.order {
                Order::RarestFirst => open.missing(),
                Order::Sequential => open.piece(),
            };
            let (urgency, age) = (u64::from(urgency), open.age());
            if ask.slow { (u64::MAX - urgency, u64::MAX - age) } else { (urgency, age) }
        };
        let pickable = self.open.pickable();
        let pickable =
            pickable.filter(|(_, open)| ask.allows(open.piece()) && open.is_open_to(ask.owner));
        let best = if self.levels.are_one() {
            pickable.min_by_key(|(_, open)| (!open.works(ask.owner), rank(open)))
        } else {
            let level = |open: &OpenPiece| {
                let level = self.levels.of(open.piece());
                if ask.slow { LEVELS - level } else { level }
            };
            pickable.min_by_key(|(_, open)| (!open.works(ask.owner), level(open), rank(open)))
        };
        best.map(|(place, _)| place)
    }

    /// Returns the piece to open next: rule 3.
    fn next_fresh(&mut self, ask: &Ask<'_>, run: &mut Run, rng: &mut Rng) -> Option<u32> {
        let piece = if let Some(only) = ask.only {
            let fresh = only.iter().map(|piece| piece.0).filter(|piece| {
                self.fresh.contains(*piece) && ask.pieces.contains(PieceIndex(*piece))
            });
            fresh.min_by_key(|piece| (self.levels.of(*piece), self.availability.of(*piece)))?
        } else if let Some(piece) = self.next_of_run(ask, *run) {
            piece
        } else {
            let piece = self.search_fresh(ask, rng)?;
            // Beside a piece that was corrupt before there may be others that are less urgent.
            run.blocks_left = if self.is_suspect(piece) { 0 } else { RUN_BLOCKS };
            piece
        };
        let blocks = self.geometry.blocks_of(PieceIndex(piece));
        *run = Run { next: piece + 1, blocks_left: run.blocks_left.saturating_sub(blocks) };
        Some(piece)
    }

    fn is_suspect(&self, piece: u32) -> bool {
        self.suspect_count > 0 && self.suspects.contains(piece)
    }

    fn next_of_run(&self, ask: &Ask<'_>, run: Run) -> Option<u32> {
        let end = if run.blocks_left > 0 { run.next.saturating_add(RUN_GAP) } else { run.next };
        (run.next..end).find(|piece| {
            let is_next = self.fresh.contains(*piece) && ask.allows(*piece);
            is_next && self.levels.of(*piece) == self.levels.of(run.next - 1)
        })
    }

    fn search_fresh(&mut self, ask: &Ask<'_>, rng: &mut Rng) -> Option<u32> {
        if self.suspect_count > 0 && !ask.slow {
            let suspects = Some(&self.suspects);
            let suspect =
                self.fresh.choose(Rule::First, ask.pieces, suspects, &mut self.availability, rng);
            if suspect.is_some() {
                return suspect;
            }
        }
        let rule = match (self.order, ask.slow) {
            (Order::Sequential, false) => Rule::First,
            (Order::Sequential, true) => Rule::Last,
            (Order::RarestFirst, _) if self.have_count < RANDOM_FIRST_PIECES => Rule::Random,
            (Order::RarestFirst, false) => Rule::Rarest,
            (Order::RarestFirst, true) => Rule::Commonest,
        };
        let mut choose =
            |level| self.fresh.choose(rule, ask.pieces, level, &mut self.availability, rng);
        if self.levels.are_one() {
            return choose(None);
        }
        self.levels.search(ask.slow).find_map(|level| choose(Some(level)))
    }

    /// Picks blocks that others were asked for, if there is nothing else: rule 4. Returns how many.
    fn pick_endgame(&mut self, ask: &Ask<'_>, end: usize, out: &mut Vec<Block>) -> u32 {
        self.fresh.check_available(&self.availability);
        if !self.in_endgame() {
            return 0;
        }
        let room = ask.endgame_room.min(end - out.len());
        let mut races = std::mem::take(&mut self.races);
        for (place, open) in self.open.iter().filter(|(_, open)| ask.allows(open.piece())) {
            open.races(ask.owner, |race| races.push((race, place)));
        }
        let picks = self.picks;
        let rank = |(race, place): &(Race, usize)| {
            (race.owners, Reverse(picks.wrapping_sub(race.at)), *place, race.slot)
        };
        if room < races.len() {
            races.select_nth_unstable_by_key(room, rank);
            races.truncate(room);
        }
        races.sort_unstable_by_key(rank);
        for (race, place) in &races {
            self.open.race(*place, race.slot, ask.owner);
            let piece = PieceIndex(self.open.at(*place).piece());
            out.push(self.geometry.block(piece, race.slot));
        }
        let count = u32::try_from(races.len()).expect("no more than blocks of open pieces");
        races.clear();
        self.races = races;
        count
    }

    fn open(&mut self, piece: u32, credit: u32) -> usize {
        self.fresh.remove(piece, &mut self.availability);
        let blocks = self.geometry.blocks_of(PieceIndex(piece));
        self.open.open(piece, blocks, credit, self.suspects.contains(piece))
    }

    fn take(&mut self, place: usize, owner: ConnId, end: usize, out: &mut Vec<Block>) {
        let piece = PieceIndex(self.open.at(place).piece());
        let geometry = self.geometry;
        let room = end - out.len();
        self.open
            .take(place, owner, self.picks, room, |slot| out.push(geometry.block(piece, slot)));
    }

    /// Records that a block arrived and tells how far its piece is (BEP 3).
    ///
    /// `owner` is the connection that delivered it; it is a contributor of the piece from now on.
    /// Everybody else who was asked for the block is appended to `cancels`, to be sent a `cancel`;
    /// their requests are forgotten here. A block that comes late, after it was released, is kept
    /// if it is still missing. A piece that was corrupt before takes blocks only from the owner
    /// that is at it; others' are [`Progress::Duplicate`].
    ///
    /// O(owners of the piece). Never panics on remote input.
    ///
    /// # Errors
    /// [`PickError`], which says whose fault it is; the picker is unchanged.
    pub fn received(
        &mut self,
        block: Block,
        owner: ConnId,
        cancels: &mut Vec<(ConnId, Block)>,
    ) -> Result<Progress, PickError> {
        if !self.geometry.is_block(block) {
            return Err(PickError::BadBlock);
        }
        if self.have.contains(block.piece.0) {
            return Err(PickError::AlreadyHave);
        }
        let place = self.open.find(block.piece.0).ok_or(PickError::NotOpen)?;
        let lost = |loser| cancels.push((loser, block));
        self.open.receive(place, block.slot(), owner, lost).ok_or(PickError::NotOpen)
    }

    /// Returns a block to the pool that `owner` will not send: timed out, choked, rejected,
    /// cancelled or closed.
    ///
    /// Harmless if the owner was not asked for it, or others still are. O(owners of the piece).
    pub fn release(&mut self, block: Block, owner: ConnId) {
        if let Some(place) = self.open.find(block.piece.0) {
            self.open.release(place, block.slot(), owner);
        }
    }

    /// Lets `blocks` more blocks of an open piece be requested, as so many were flushed and their
    /// frames are free.
    ///
    /// Of no effect on a piece that is not open or is requested whole anyway.
    pub fn flushed(&mut self, piece: PieceIndex, blocks: u32) {
        if let Some(place) = self.open.find(piece.0) {
            self.open.allow(place, blocks);
        }
    }

    /// Records that `piece` is verified and on disk, however it came there. Returns the credit that
    /// it held, in blocks: 0 if it was not open.
    ///
    /// If it was found otherwise than by receiving all its blocks, call [`Picker::close`] first, to
    /// learn whom to cancel. Panics if the torrent has no such piece: a bug of the caller.
    pub fn verified(&mut self, piece: PieceIndex) -> u32 {
        self.missing -= u32::from(self.wanted.remove(piece.0));
        self.levels.remove(piece.0);
        self.suspect_count -= u32::from(self.suspects.remove(piece.0));
        self.have_count += u32::from(self.have.insert(piece.0));
        self.fresh.remove(piece.0, &mut self.availability);
        let credit = self.shut(piece, |_, _| {});
        if self.missing == 0 && self.open.len() == 0 {
            // Nobody has a use for the tables that a download grew.
            (self.open, self.races) = (Partial::default(), Vec::new());
        }
        credit
    }

    /// Records that all blocks of `piece` came and its hash is wrong. Returns the credit that it
    /// held, in blocks.
    ///
    /// The piece is wanted again, before pieces that were never opened, and from one owner at a
    /// time until it is verified, so that a bad copy names its sender. Ask for
    /// [`Picker::contributors`] before. A piece that is verified stays so.
    pub fn corrupt(&mut self, piece: PieceIndex) -> u32 {
        if piece.0 < self.geometry.pieces() && !self.have.contains(piece.0) {
            self.suspect_count += u32::from(self.suspects.insert(piece.0));
        }
        self.shut(piece, |_, _| {})
    }

    /// Records that the blocks of `piece` are lost through no peer's fault (a disk error, dropped
    /// frames). Returns the credit that it held, in blocks.
    ///
    /// The piece is wanted again as if it had never been opened. While blocks are out, call
    /// [`Picker::close`] instead.
    pub fn failed(&mut self, piece: PieceIndex) -> u32 {
        self.shut(piece, |_, _| {})
    }

    /// Gives up an open piece, such as [`Picker::reclaimable`] names. Returns the credit that it
    /// held, in blocks.
    ///
    /// Everybody who was asked for one of its blocks is appended to `cancels`. The piece is wanted
    /// again as if it had never been opened; the caller drops its frames. O(blocks of the piece).
    pub fn close(&mut self, piece: PieceIndex, cancels: &mut Vec<(ConnId, Block)>) -> u32 {
        let geometry = self.geometry;
        self.shut(piece, |slot, owner| cancels.push((owner, geometry.block(piece, slot))))
    }

    fn shut(&mut self, piece: PieceIndex, lost: impl FnMut(u32, ConnId)) -> u32 {
        let Some(place) = self.open.find(piece.0) else { return 0 };
        let credit = self.open.close(place, lost);
        if self.wanted.contains(piece.0) {
            self.fresh.insert(piece.0, &mut self.availability);
        }
        credit
    }

    /// Returns the open piece that is best given up when credit is short: the one with the fewest
    /// blocks received of those for which only owners that are slow, by the caller's word, or
    /// nobody has been asked.
    ///
    /// Ask when every owner has picked: a piece that nobody is asked for is then one that nobody
    /// present can go on with. Pieces that are being verified are not named. O(owners of open
    /// pieces).
    pub fn reclaimable(&self, mut is_slow: impl FnMut(ConnId) -> bool) -> Option<PieceIndex> {
        self.open
            .iter()
            .filter(|(_, open)| open.missing() > 0 && open.owners().all(&mut is_slow))
            .min_by_key(|(_, open)| open.received())
            .map(|(_, open)| PieceIndex(open.piece()))
    }

    /// Returns the slots of `piece` that were received and who sent them, in order; nothing if it
    /// is not open.
    ///
    /// They are there until the piece is verified, corrupt, failed or closed.
    pub fn contributors(&self, piece: PieceIndex) -> impl Iterator<Item = (u32, ConnId)> + '_ {
        let place = self.open.find(piece.0);
        place.into_iter().flat_map(|place| self.open.at(place).contributors())
    }

    /// Returns those who have blocks of `piece` to send, each once, in no order; nobody if it is
    /// not open.
    pub fn owners(&self, piece: PieceIndex) -> impl Iterator<Item = ConnId> + '_ {
        let place = self.open.find(piece.0);
        place.into_iter().flat_map(|place| self.open.at(place).owners())
    }

    /// Returns how far each open piece is, in piece order.
    pub fn open_pieces(&self) -> impl Iterator<Item = OpenFacts> + '_ {
        self.open.iter().map(|(_, open)| OpenFacts {
            piece: PieceIndex(open.piece()),
            blocks: open.blocks(),
            requested: open.requested(),
            received: open.received(),
            credit: open.credit(),
        })
    }

    /// Returns how many pieces are open, those being verified included.
    pub const fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Counts a connected remote that has `pieces`. O(1) for a seed, microseconds for a bitfield of
    /// 100 000 pieces.
    ///
    /// Counts are exact for up to 65 535 remotes at a time. Panics if `pieces` is over another
    /// number of pieces: a bug of the caller.
    pub fn remote_joined(&mut self, pieces: Pieces<'_>) {
        self.assert_ours(pieces);
        self.availability.join(pieces);
        self.fresh.remote_joined();
    }

    /// Counts one more piece of a remote that joined, which must be new to that remote (BEP 3
    /// `have`). O(1).
    ///
    /// Panics if the torrent has no such piece: a bug of the caller, who checks what peers say.
    pub fn remote_has(&mut self, piece: PieceIndex) {
        assert!(
            piece.0 < self.geometry.pieces(),
            "piece {} of {}",
            piece.0,
            self.geometry.pieces()
        );
        self.availability.has(piece.0);
        self.fresh.remote_has(piece.0);
    }

    /// Takes a remote out of the counts with the pieces that it has now. Costs as
    /// [`Picker::remote_joined`].
    ///
    /// A remote that has become a seed may leave as [`Pieces::All`] or as its full bitfield. Its
    /// blocks are released one by one, by [`Picker::release`].
    pub fn remote_left(&mut self, pieces: Pieces<'_>) {
        self.assert_ours(pieces);
        self.availability.leave(pieces);
    }

    /// Returns how many connected remotes have `piece`. Panics if the torrent has no such piece: a
    /// bug of the caller.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        u32::from(self.availability.of(piece.0))
    }

    /// Tells whether a remote with `pieces` has a piece that we want: whether we are interested
    /// (BEP 3).
    ///
    /// O(pieces / 64).
    pub fn is_interesting(&self, pieces: Pieces<'_>) -> bool {
        match pieces {
            Pieces::All => self.missing > 0,
            Pieces::Some(bits) => self.missing > 0 && self.wanted.intersects(bits),
        }
    }

    /// Tells whether `piece` is to be downloaded and not verified yet. O(1); what a `have` asks.
    pub fn is_wanted(&self, piece: PieceIndex) -> bool {
        self.wanted.contains(piece.0)
    }

    /// Tells whether every wanted block that some remote has is requested or received, and some are
    /// still out (BEP 3, "endgame mode"). O(open pieces).
    pub fn in_endgame(&self) -> bool {
        let no_block_is_left =
            |open: &OpenPiece| !open.has_unrequested() || self.availability.of(open.piece()) == 0;
        !self.fresh.is_available(&self.availability)
            && self.open.iter().all(|(_, open)| no_block_is_left(open))
            && self.open.iter().any(|(_, open)| open.requested() > 0)
    }

    /// Returns the verified pieces.
    pub const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Returns how many wanted pieces are not verified.
    pub const fn missing(&self) -> u32 {
        self.missing
    }

    /// Tells whether every piece of the torrent is verified.
    pub const fn is_complete(&self) -> bool {
        self.have_count + self.given_up == self.geometry.pieces()
    }

    /// Returns the lengths of the torrent.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn assert_ours(&self, pieces: Pieces<'_>) {
        if let Pieces::Some(bits) = pieces {
            assert_eq!(bits.len(), self.geometry.pieces(), "a bitfield of another torrent");
        }
    }
}
