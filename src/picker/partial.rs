//! The open pieces: which block is free, asked from whom, received from whom.
//!
//! A piece is open from its first request until its hash is known. **Invariant:** nothing here
//! chooses; the policy is in [`super::Picker::pick`]. Entries are recycled with their vectors, so
//! that a block costs no allocation.
//!
//! ```text
//!          take                 receive
//!   Free -------> Requested --------------> Received
//!    | ^           |    | ^                    ^
//!    | +-----------+    +-+ race               |
//!    |    release                              |
//!    +-----------------------------------------+
//!                  receive, late
//! ```

use super::{MAX_ENDGAME_OWNERS, Progress};
use crate::id::{ConnId, index};

/// Where one block stands. 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Free,
    Requested {
        /// Who was asked first; the others of an end-game race are in [`OpenPiece::racers`].
        owner: ConnId,
        /// The pick that asked first, as a wrapping count.
        at: u32,
        /// How many were asked. Invariant: `1..=MAX_ENDGAME_OWNERS`.
        owners: u8,
    },
    Received {
        owner: ConnId,
    },
}

/// What one owner does in one piece. Invariant: never both 0.
#[derive(Clone, Copy, Debug)]
struct Worker {
    owner: ConnId,
    /// Blocks it was asked for and has not sent, races included.
    requested: u32,
    /// Blocks that were kept from it.
    received: u32,
}

/// A piece between its first request and its verdict.
#[derive(Debug, Default)]
pub(super) struct OpenPiece {
    piece: u32,
    /// Counts the openings; a lower one is older.
    age: u64,
    slots: Vec<Slot>,
    /// Blocks of credit that were taken for it.
    credit: u32,
    /// Slots below may be requested: all of them, or those that the window has reached.
    limit: u32,
    /// Invariant: the free slots below `limit`.
    free: u32,
    /// Invariant: no slot below is free.
    next_free: u32,
    /// Invariant: the slots that are requested, a race counted once.
    requested: u32,
    /// Invariant: the slots that are received.
    received: u32,
    /// Whether one owner at a time may be asked, because an earlier copy was corrupt.
    exclusive: bool,
    workers: Vec<Worker>,
    /// The later owners of end-game races as (slot, owner), sorted.
    racers: Vec<(u32, ConnId)>,
}

/// A block that could be asked from one more owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Race {
    /// How many have been asked.
    pub(super) owners: u8,
    /// The pick that asked first.
    pub(super) at: u32,
    pub(super) slot: u32,
}

impl OpenPiece {
    pub(super) const fn piece(&self) -> u32 {
        self.piece
    }

    pub(super) const fn age(&self) -> u64 {
        self.age
    }

    pub(super) const fn credit(&self) -> u32 {
        self.credit
    }

    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("made from a number of 32 bits")
    }

    pub(super) const fn requested(&self) -> u32 {
        self.requested
    }

    pub(super) const fn received(&self) -> u32 {
        self.received
    }

    /// Returns the blocks that are still to come, requested or not.
    pub(super) fn missing(&self) -> u32 {
        self.blocks() - self.received
    }

    /// Tells whether a block has not been asked from anybody, within the window or beyond.
    pub(super) fn has_unrequested(&self) -> bool {
        self.requested + self.received < self.blocks()
    }

    /// Tells whether `owner` has a block of the piece to send or has sent one.
    pub(super) fn works(&self, owner: ConnId) -> bool {
        self.workers.iter().any(|worker| worker.owner == owner)
    }

    /// Tells whether `owner` may be asked for blocks: always, unless the piece is exclusive and
    /// another is at it.
    pub(super) fn is_open_to(&self, owner: ConnId) -> bool {
        !self.exclusive || self.owners().all(|other| other == owner)
    }

    /// Returns those who have blocks of the piece to send.
    pub(super) fn owners(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.workers.iter().filter(|worker| worker.requested > 0).map(|worker| worker.owner)
    }

    /// Returns the received slots and who sent them.
    pub(super) fn contributors(&self) -> impl Iterator<Item = (u32, ConnId)> + '_ {
        (0..).zip(&self.slots).filter_map(|(slot, state)| match state {
            Slot::Received { owner } => Some((slot, *owner)),
            Slot::Free | Slot::Requested { .. } => None,
        })
    }

    /// Appends to `out` the blocks that `owner` could be asked for on top of who was asked already.
    pub(super) fn races(&self, owner: ConnId, mut out: impl FnMut(Race)) {
        let raceable = u32::from(MAX_ENDGAME_OWNERS - 1) * self.requested;
        if self.exclusive || self.racers.len() >= raceable as usize {
            return;
        }
        for (slot, state) in (0..).zip(&self.slots) {
            if let Slot::Requested { owner: first, at, owners } = *state
                && owners < MAX_ENDGAME_OWNERS
                && first != owner
                && self.racers.binary_search(&(slot, owner)).is_err()
            {
                out(Race { owners, at, slot });
            }
        }
    }

    fn reset(&mut self, piece: u32, blocks: u32, credit: u32) {
        self.piece = piece;
        self.slots.clear();
        self.slots.resize(blocks as usize, Slot::Free);
        self.credit = credit;
        self.limit = credit.min(blocks);
        self.free = self.limit;
        (self.next_free, self.requested, self.received) = (0, 0, 0);
        self.workers.clear();
        self.racers.clear();
    }

    fn take(&mut self, owner: ConnId, at: u32, room: usize, out: &mut impl FnMut(u32)) {
        let mut taken = 0;
        while self.free > 0 && (taken as usize) < room {
            let mut slot = self.next_free;
            while self.slots[slot as usize] != Slot::Free {
                slot += 1;
            }
            self.slots[slot as usize] = Slot::Requested { owner, at, owners: 1 };
            self.next_free = slot + 1;
            self.free -= 1;
            taken += 1;
            out(slot);
        }
        if taken > 0 {
            self.requested += taken;
            self.worker(owner).requested += taken;
        }
    }

    fn race(&mut self, slot: u32, owner: ConnId) {
        if let Slot::Requested { owners, .. } = &mut self.slots[slot as usize]
            && let Err(at) = self.racers.binary_search(&(slot, owner))
        {
            *owners += 1;
            self.racers.insert(at, (slot, owner));
            self.worker(owner).requested += 1;
        }
    }

    fn receive(
        &mut self,
        slot: u32,
        owner: ConnId,
        mut lost: impl FnMut(ConnId),
    ) -> Option<Progress> {
        if slot >= self.limit {
            return None;
        }
        match self.slots[slot as usize] {
            Slot::Received { .. } => return Some(Progress::Duplicate),
            _ if !self.is_open_to(owner) => return Some(Progress::Duplicate),
            Slot::Free => self.free -= 1,
            Slot::Requested { owner: first, .. } => {
                self.requested -= 1;
                self.unrequest(slot, first, |loser| {
                    if loser != owner {
                        lost(loser);
                    }
                });
            }
        }
        self.slots[slot as usize] = Slot::Received { owner };
        self.received += 1;
        self.worker(owner).received += 1;
        Some(if self.missing() == 0 { Progress::Complete } else { Progress::Partial })
    }

    fn release(&mut self, slot: u32, owner: ConnId) {
        let Some(Slot::Requested { owner: first, at, owners }) =
            self.slots.get(slot as usize).copied()
        else {
            return;
        };
        let racers = self.racers_of(slot);
        let leaves = if first == owner {
            // The next racer takes its place, if there is one.
            racers.clone().next()
        } else {
            racers.clone().find(|racer| self.racers[*racer].1 == owner)
        };
        match leaves {
            None if first == owner => {
                self.slots[slot as usize] = Slot::Free;
                self.free += 1;
                self.next_free = self.next_free.min(slot);
                self.requested -= 1;
            }
            None => return,
            Some(racer) => {
                let (_, next) = self.racers.remove(racer);
                let first = if first == owner { next } else { first };
                let owners = owners - 1;
                self.slots[slot as usize] = Slot::Requested { owner: first, at, owners };
            }
        }
        self.worker_sent_none(owner);
    }

    /// Raises the limit by `blocks`.
    fn allow(&mut self, blocks: u32) {
        let limit = self.limit.saturating_add(blocks).min(self.blocks());
        // Slots beyond the limit have never been requested, so all of them are free.
        self.free += limit - self.limit;
        self.limit = limit;
    }

    /// Names everybody who was asked for `slot`, and forgets that they were.
    fn unrequest(&mut self, slot: u32, first: ConnId, mut lost: impl FnMut(ConnId)) {
        lost(first);
        self.worker_sent_none(first);
        let racers = self.racers_of(slot);
        for racer in racers.clone() {
            let owner = self.racers[racer].1;
            lost(owner);
            self.worker_sent_none(owner);
        }
        self.racers.drain(racers);
    }

    /// Returns where in `racers` those of `slot` are.
    fn racers_of(&self, slot: u32) -> std::ops::Range<usize> {
        let start = self.racers.partition_point(|racer| racer.0 < slot);
        let count = self.racers[start..].iter().take_while(|racer| racer.0 == slot).count();
        start..start + count
    }

    fn worker(&mut self, owner: ConnId) -> &mut Worker {
        let at = self.workers.iter().position(|worker| worker.owner == owner);
        let at = at.unwrap_or_else(|| {
            self.workers.push(Worker { owner, requested: 0, received: 0 });
            self.workers.len() - 1
        });
        &mut self.workers[at]
    }

    /// Takes one block off what `owner` has to send.
    fn worker_sent_none(&mut self, owner: ConnId) {
        let at = self.workers.iter().position(|worker| worker.owner == owner);
        let at = at.expect("who was asked for a block is a worker of its piece");
        let worker = &mut self.workers[at];
        worker.requested -= 1;
        if worker.requested == 0 && worker.received == 0 {
            self.workers.swap_remove(at);
        }
    }

    /// Asserts the invariants that are written on the fields. O(blocks).
    fn check_invariants(&self) {
        let count = |of: fn(&Slot) -> bool| self.slots.iter().filter(|slot| of(slot)).count();
        let requested = |slot: &Slot| matches!(slot, Slot::Requested { .. });
        assert_eq!(count(requested), self.requested as usize, "{self:?}");
        assert_eq!(count(|slot| matches!(slot, Slot::Received { .. })), self.received as usize);
        let (within, beyond) = self.slots.split_at(self.limit as usize);
        assert_eq!(within.iter().filter(|slot| **slot == Slot::Free).count(), self.free as usize);
        assert!(beyond.iter().all(|slot| *slot == Slot::Free), "{self:?}");
        assert!(within.iter().take(self.next_free as usize).all(|slot| *slot != Slot::Free));
        assert!(self.racers.is_sorted());
        let mut owned = 0;
        for (slot, state) in (0..).zip(&self.slots) {
            let racers = self.racers_of(slot);
            let Slot::Requested { owner, owners, .. } = *state else {
                assert!(racers.is_empty(), "a race for a block that nobody was asked for");
                continue;
            };
            assert_eq!(usize::from(owners), 1 + racers.len());
            assert!(owners <= MAX_ENDGAME_OWNERS);
            assert!(self.racers[racers].iter().all(|racer| racer.1 != owner), "{self:?}");
            owned += u32::from(owners);
        }
        assert_eq!(self.workers.iter().map(|worker| worker.requested).sum::<u32>(), owned);
        assert_eq!(self.workers.iter().map(|worker| worker.received).sum::<u32>(), self.received);
        assert!(self.workers.iter().all(|worker| worker.requested + worker.received > 0));
        assert!(!self.exclusive || self.owners().count() <= 1, "{self:?}");
    }
}

/// All open pieces. An entry is named by its place, which is valid until the piece is closed.
#[derive(Debug, Default)]
pub(super) struct Partial {
    entries: Vec<OpenPiece>,
    /// Places without a piece.
    idle: Vec<usize>,
    /// The open pieces as (piece, place), sorted. Narrow, as opening one moves those behind it.
    by_piece: Vec<(u32, u32)>,
    /// Invariant: the places of the pieces that have a free block, the oldest first. Short, as
    /// every piece is filled up before another is opened, unless the remotes have different ones.
    pickable: Vec<usize>,
    opened: u64,
}

impl Partial {
    pub(super) const fn len(&self) -> usize {
        self.by_piece.len()
    }

    /// Returns the place of `piece`, if it is open. O(log open pieces).
    pub(super) fn find(&self, piece: u32) -> Option<usize> {
        let at = self.by_piece.binary_search_by_key(&piece, |open| open.0).ok()?;
        Some(index(self.by_piece[at].1))
    }

    pub(super) fn at(&self, place: usize) -> &OpenPiece {
        &self.entries[place]
    }

    /// Returns the open pieces with their places, in piece order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &OpenPiece)> {
        let places = self.by_piece.iter().map(|(_, place)| index(*place));
        places.map(|place| (place, &self.entries[place]))
    }

    /// Returns the open pieces that have a free block with their places, the oldest first.
    pub(super) fn pickable(&self) -> impl Iterator<Item = (usize, &OpenPiece)> {
        self.pickable.iter().map(|place| (*place, &self.entries[*place]))
    }

    /// Opens `piece`, which must not be open, of `blocks` blocks, of which `credit` may be
    /// requested at first.
    pub(super) fn open(&mut self, piece: u32, blocks: u32, credit: u32, exclusive: bool) -> usize {
        let place = self.idle.pop().unwrap_or_else(|| {
            self.entries.push(OpenPiece::default());
            self.entries.len() - 1
        });
        let at = self.by_piece.partition_point(|open| open.0 < piece);
        let narrow = u32::try_from(place).expect("no more open pieces than pieces");
        self.by_piece.insert(at, (piece, narrow));
        self.opened += 1;
        let entry = &mut self.entries[place];
        entry.reset(piece, blocks, credit);
        entry.exclusive = exclusive;
        entry.age = self.opened;
        self.sync_pickable(place, 0);
        place
    }

    /// Closes a piece and names every request that was out for it. Returns its credit.
    pub(super) fn close(&mut self, place: usize, mut lost: impl FnMut(u32, ConnId)) -> u32 {
        let entry = &mut self.entries[place];
        for (slot, state) in (0..).zip(&entry.slots) {
            if let Slot::Requested { owner, .. } = state {
                lost(slot, *owner);
            }
        }
        entry.racers.drain(..).for_each(|(slot, owner)| lost(slot, owner));
        let free = std::mem::take(&mut entry.free);
        let (piece, credit) = (entry.piece, entry.credit);
        self.sync_pickable(place, free);
        let at = self.by_piece.partition_point(|open| open.0 < piece);
        self.by_piece.remove(at);
        self.idle.push(place);
        credit
    }

    /// Asks `owner` for up to `room` free blocks, in order; tells each slot to `out`.
    pub(super) fn take(
        &mut self,
        place: usize,
        owner: ConnId,
        at: u32,
        room: usize,
        mut out: impl FnMut(u32),
    ) {
        self.change(place, |entry| entry.take(owner, at, room, &mut out));
    }

    /// Asks `owner` for a block that others were asked for.
    pub(super) fn race(&mut self, place: usize, slot: u32, owner: ConnId) {
        self.change(place, |entry| entry.race(slot, owner));
    }

    /// Notes a block from `owner` and names the others who were asked for it. `None` if it is
    /// beyond the window.
    pub(super) fn receive(
        &mut self,
        place: usize,
        slot: u32,
        owner: ConnId,
        lost: impl FnMut(ConnId),
    ) -> Option<Progress> {
        self.change(place, |entry| entry.receive(slot, owner, lost))
    }

    /// Notes that `owner` will not send `slot`; nothing happens if it was not asked.
    pub(super) fn release(&mut self, place: usize, slot: u32, owner: ConnId) {
        self.change(place, |entry| entry.release(slot, owner));
    }

    /// Lets `blocks` more blocks be requested.
    pub(super) fn allow(&mut self, place: usize, blocks: u32) {
        self.change(place, |entry| entry.allow(blocks));
    }

    fn change<T>(&mut self, place: usize, change: impl FnOnce(&mut OpenPiece) -> T) -> T {
        let entry = &mut self.entries[place];
        let free = entry.free;
        let answer = change(entry);
        if cfg!(debug_assertions) {
            entry.check_invariants();
        }
        self.sync_pickable(place, free);
        answer
    }

    /// Keeps `pickable` right after the free blocks at `place` changed from `before`.
    fn sync_pickable(&mut self, place: usize, before: u32) {
        let entry = &self.entries[place];
        if (before > 0) == (entry.free > 0) {
            return;
        }
        let at = self.pickable.partition_point(|other| self.entries[*other].age < entry.age);
        if before == 0 {
            self.pickable.insert(at, place);
        } else {
            self.pickable.remove(at);
        }
    }

    /// Returns the room of every table.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> Vec<usize> {
        let tables = [&self.idle, &self.pickable].map(Vec::capacity);
        let entries = self.entries.iter().flat_map(|entry| {
            [entry.slots.capacity(), entry.workers.capacity(), entry.racers.capacity()]
        });
        [self.entries.capacity(), self.by_piece.capacity()]
            .into_iter()
            .chain(tables)
            .chain(entries)
            .collect()
    }

    /// Asserts the invariants that are written on the fields. O(blocks of open pieces).
    pub(super) fn check_invariants(&self) {
        self.iter().for_each(|(_, entry)| entry.check_invariants());
        assert!(self.by_piece.is_sorted_by(|one, next| one.0 < next.0));
        assert!(
            self.iter().zip(&self.by_piece).all(|((_, entry), (piece, _))| entry.piece == *piece)
        );
        assert_eq!(self.by_piece.len() + self.idle.len(), self.entries.len());
        let mut pickable: Vec<usize> =
            self.iter().filter(|(_, entry)| entry.free > 0).map(|(place, _)| place).collect();
        pickable.sort_by_key(|place| self.entries[*place].age);
        assert_eq!(pickable, self.pickable);
    }
}
