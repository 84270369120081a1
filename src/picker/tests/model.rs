//! Random operations on the picker and on a naive model that knows every block's owners by heart.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::disk::selection::LEVELS;
use crate::rng::Rng;

const PIECES: u32 = 9;
/// Three blocks a piece, of which the last is short; the last piece has two.
fn geometry() -> Geometry {
    Geometry::new(340_000, 40_000)
}
const REMOTES: usize = 4;
/// Credit enough for three pieces.
const CREDIT: u32 = 9;

#[derive(Clone, Debug, Default)]
struct Model {
    /// Who was asked for each block of open pieces.
    asked: BTreeMap<(u32, u32), Vec<ConnId>>,
    /// Who sent each block of open pieces.
    sent: BTreeMap<(u32, u32), ConnId>,
    /// The credit of each open piece.
    open: BTreeMap<u32, u32>,
    suspect: Vec<u32>,
    have: Vec<u32>,
    /// The level of each piece that is wanted if it is not verified.
    level: BTreeMap<u32, usize>,
    /// What each remote has, if it is connected.
    remotes: [Option<Vec<u32>>; REMOTES],
    /// Pairs that were asked once and may still send.
    late: Vec<(ConnId, Block)>,
}

struct World {
    picker: Picker,
    model: Model,
    rng: Rng,
}

fn conn(remote: usize) -> ConnId {
    ConnId { index: u32::try_from(remote).expect("few"), generation: 7 }
}

fn key(block: Block) -> (u32, u32) {
    (block.piece.0, block.slot())
}

impl World {
    fn new(seed: u64) -> Self {
        let picker = Picker::new(geometry(), Bitfield::new(PIECES));
        let level = (0..PIECES).map(|piece| (piece, 0)).collect();
        Self { picker, model: Model { level, ..Model::default() }, rng: Rng::new(seed) }
    }

    /// One random operation.
    fn step(&mut self) {
        let remote = self.rng.below(REMOTES);
        match self.rng.below(17) {
            0..6 => self.pick(remote),
            6..10 => self.answer(remote),
            10 => self.let_go(remote),
            11 => self.join_or_leave(remote),
            12 => self.have(remote),
            13 => self.settle(),
            14 => self.send_late(),
            15 => self.want_others(),
            _ => {
                let piece = self.rng.below_u32(PIECES);
                self.close(piece);
            }
        }
        self.check();
    }

    fn pick(&mut self, remote: usize) {
        let Some(held) = self.model.remotes[remote].clone() else { return };
        let held = bits(PIECES, &held);
        let allowed: Vec<_> =
            (0..PIECES).filter(|_| self.rng.below(2) == 0).map(PieceIndex).collect();
        let used: u32 = self.model.open.values().sum();
        let as_seed = held.is_full() && self.rng.below(2) == 0;
        let ask = Ask {
            owner: conn(remote),
            pieces: if as_seed { Pieces::All } else { Pieces::Some(&held) },
            only: (self.rng.below(4) == 0).then_some(&allowed),
            room: self.rng.below(7),
            endgame_room: self.rng.below(4),
            credit: CREDIT - used,
            slow: self.rng.below(4) == 0,
        };
        let mut out = Vec::new();
        let picked = self.picker.pick(&ask, &mut self.rng, &mut out);
        let first_race = out.len() - picked.endgame as usize;
        let before = self.model.open.clone();
        self.check_levels(&ask, &before, &out[..first_race]);
        for (at, block) in out.iter().enumerate() {
            assert!(geometry().is_block(*block) && ask.allows(block.piece.0), "{block:?}");
            assert!(self.is_wanted(block.piece.0), "{block:?} is not wanted");
            assert!(!self.model.sent.contains_key(&key(*block)), "{block:?} is here");
            self.model.open.entry(block.piece.0).or_insert(geometry().blocks_of(block.piece));
            let asked = self.model.asked.entry(key(*block)).or_default();
            assert!(!asked.contains(&ask.owner), "{block:?} twice from one owner");
            assert_eq!(!asked.is_empty(), at >= first_race, "{block:?} twice outside end game");
            asked.push(ask.owner);
            assert!(asked.len() <= usize::from(MAX_ENDGAME_OWNERS));
            self.model.late.push((ask.owner, *block));
        }
        let opened = self.model.open.values().sum::<u32>() - before.values().sum::<u32>();
        assert_eq!(picked.opened, opened);
        assert!(picked.opened <= ask.credit && out.len() <= ask.room);
        assert!(picked.endgame as usize <= ask.endgame_room);
        self.check_stop(&ask, picked, out.len());
        if picked.endgame > 0 {
            assert!(!ask.slow);
            for piece in (0..PIECES).filter(|piece| self.availability(*piece) > 0) {
                assert!(self.free(piece) == 0, "end game with a free block of {piece}");
            }
        }
    }

    /// A piece is opened only if the owner has none of a more urgent level that could be.
    fn check_levels(&self, ask: &Ask<'_>, before: &BTreeMap<u32, u32>, out: &[Block]) {
        let opened: Vec<u32> = out.iter().map(|block| block.piece.0).collect();
        let fresh = (0..PIECES).filter(|piece| ask.allows(*piece) && self.is_wanted(*piece));
        let left = fresh.filter(|piece| !before.contains_key(piece) && !opened.contains(piece));
        let suspects = |piece: &u32| self.model.suspect.contains(piece);
        for piece in opened.iter().filter(|piece| !before.contains_key(piece) && !suspects(piece)) {
            let level = self.model.level[piece];
            for left in left.clone() {
                let other = self.model.level[&left];
                let fits =
                    if ask.slow && ask.only.is_none() { level >= other } else { level <= other };
                assert!(fits, "piece {piece} before {left}");
            }
        }
    }

    /// Wants other pieces than before and gives up those that are open and not wanted, as the
    /// torrent does.
    fn want_others(&mut self) {
        let mut levels = [(); LEVELS].map(|()| Bitfield::new(PIECES));
        self.model.level.clear();
        for piece in 0..PIECES {
            // A fifth of them not at all.
            let level = self.rng.below(LEVELS + 1);
            if let Some(set) = levels.get_mut(level) {
                set.insert(piece);
                self.model.level.insert(piece, level);
            }
        }
        self.picker.set_wanted(levels);
        let open: Vec<OpenFacts> = self.picker.open_pieces().collect();
        for facts in open.iter().filter(|facts| facts.received < facts.blocks) {
            if !self.picker.is_wanted(facts.piece) {
                self.close(facts.piece.0);
            }
        }
    }

    /// A pick that stops early has left nothing that the owner could have been asked for.
    fn check_stop(&self, ask: &Ask<'_>, picked: Picked, picked_blocks: usize) {
        let takeable = (0..PIECES).filter(|piece| ask.allows(*piece) && self.free(*piece) > 0);
        let takeable = takeable.filter(|piece| {
            let others = self.owners(*piece).iter().any(|owner| *owner != ask.owner);
            !self.model.suspect.contains(piece) || !others
        });
        let (open, fresh): (Vec<u32>, Vec<u32>) =
            takeable.partition(|piece| self.model.open.contains_key(piece));
        let wanted = (0..PIECES)
            .any(|piece| ask.pieces.contains(PieceIndex(piece)) && self.is_wanted(piece));
        match picked.stop {
            Stop::Full => assert_eq!(picked_blocks, ask.room),
            Stop::NoCredit => assert!(open.is_empty() && !fresh.is_empty()),
            Stop::Busy => assert!(open.is_empty() && fresh.is_empty() && wanted),
            Stop::NothingWanted => assert!(open.is_empty() && fresh.is_empty() && !wanted),
        }
    }

    /// Blocks of a wanted piece that nobody was asked for and nobody sent.
    fn free(&self, piece: u32) -> usize {
        let taken =
            |map: &mut dyn Iterator<Item = (u32, u32)>| map.filter(|(of, _)| *of == piece).count();
        let blocks = geometry().blocks_of(PieceIndex(piece)) as usize;
        let asked = taken(&mut self.model.asked.keys().copied());
        let sent = taken(&mut self.model.sent.keys().copied());
        if self.is_wanted(piece) { blocks - asked - sent } else { 0 }
    }

    fn is_wanted(&self, piece: u32) -> bool {
        self.model.level.contains_key(&piece) && !self.model.have.contains(&piece)
    }

    fn owners(&self, piece: u32) -> Vec<ConnId> {
        let asked = self.model.asked.iter().filter(|((of, _), _)| *of == piece);
        let mut owners: Vec<_> = asked.flat_map(|(_, owners)| owners.clone()).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    fn availability(&self, piece: u32) -> usize {
        self.model.remotes.iter().flatten().filter(|held| held.contains(&piece)).count()
    }

    /// What `remote` was asked for and has not sent.
    fn outstanding(&self, remote: usize) -> Vec<(u32, u32)> {
        let asked = self.model.asked.iter().filter(|(_, owners)| owners.contains(&conn(remote)));
        asked.map(|(block, _)| *block).collect()
    }

    fn random_outstanding(&mut self, remote: usize) -> Option<Block> {
        let outstanding = self.outstanding(remote);
        let chosen = outstanding.get(self.rng.below(outstanding.len())).copied();
        chosen.map(|(piece, slot)| geometry().block(PieceIndex(piece), slot))
    }

    fn answer(&mut self, remote: usize) {
        if let Some(block) = self.random_outstanding(remote) {
            self.receive(block, conn(remote));
        }
    }

    fn send_late(&mut self) {
        let at = self.rng.below(self.model.late.len());
        if let Some((owner, block)) = self.model.late.get(at).copied() {
            self.receive(block, owner);
        }
    }

    fn receive(&mut self, block: Block, owner: ConnId) {
        let mut cancels = Vec::new();
        let result = self.picker.received(block, owner, &mut cancels);
        let piece = block.piece.0;
        let is_suspect = self.model.suspect.contains(&piece);
        let others = self.owners(piece).iter().any(|other| *other != owner);
        let expected = if self.model.have.contains(&piece) {
            Err(PickError::AlreadyHave)
        } else if !self.model.open.contains_key(&piece) {
            Err(PickError::NotOpen)
        } else if self.model.sent.contains_key(&key(block)) || (is_suspect && others) {
            Ok(Progress::Duplicate)
        } else {
            let losers = self.model.asked.remove(&key(block)).unwrap_or_default();
            let losers = losers.into_iter().filter(|loser| *loser != owner);
            let mut losers: Vec<_> = losers.map(|loser| (loser, block)).collect();
            losers.sort_unstable();
            cancels.sort_unstable();
            assert_eq!(cancels, losers);
            cancels.clear();
            self.model.sent.insert(key(block), owner);
            let blocks = geometry().blocks_of(block.piece);
            let is_here = |slot| self.model.sent.contains_key(&(piece, slot));
            let complete = (0..blocks).all(is_here);
            Ok(if complete { Progress::Complete } else { Progress::Partial })
        };
        assert_eq!(result, expected);
        assert_eq!(cancels, []);
    }

    fn let_go(&mut self, remote: usize) {
        if let Some(block) = self.random_outstanding(remote) {
            self.release(block, conn(remote));
        }
    }

    fn release(&mut self, block: Block, owner: ConnId) {
        self.picker.release(block, owner);
        let owners = self.model.asked.get_mut(&key(block)).expect("asked");
        owners.retain(|other| *other != owner);
        if owners.is_empty() {
            self.model.asked.remove(&key(block));
        }
    }

    fn join_or_leave(&mut self, remote: usize) {
        if let Some(held) = self.model.remotes[remote].take() {
            for (piece, slot) in self.outstanding(remote) {
                self.release(geometry().block(PieceIndex(piece), slot), conn(remote));
            }
            let held = bits(PIECES, &held);
            let as_seed = held.is_full() && self.rng.below(2) == 0;
            self.picker.remote_left(if as_seed { Pieces::All } else { Pieces::Some(&held) });
        } else {
            let share = self.rng.below(4);
            let held: Vec<u32> = (0..PIECES).filter(|_| self.rng.below(3) < share).collect();
            let field = bits(PIECES, &held);
            let as_seed = field.is_full() && self.rng.below(2) == 0;
            self.picker.remote_joined(if as_seed { Pieces::All } else { Pieces::Some(&field) });
            self.model.remotes[remote] = Some(held);
        }
    }

    fn have(&mut self, remote: usize) {
        let piece = self.rng.below_u32(PIECES);
        if let Some(held) = &mut self.model.remotes[remote]
            && !held.contains(&piece)
        {
            held.push(piece);
            self.picker.remote_has(PieceIndex(piece));
        }
    }

    /// Gives the verdict on a complete piece, if there is one.
    fn settle(&mut self) {
        let complete = self.picker.open_pieces().find(|open| open.received == open.blocks);
        let Some(PieceIndex(piece)) = complete.map(|open| open.piece) else { return };
        let contributors: Vec<_> = self.picker.contributors(PieceIndex(piece)).collect();
        let sent = self.model.sent.iter().filter(|((of, _), _)| *of == piece);
        assert_eq!(contributors, sent.map(|((_, slot), by)| (*slot, *by)).collect::<Vec<_>>());
        let credit = match self.rng.below(4) {
            0 => {
                if !self.model.suspect.contains(&piece) {
                    self.model.suspect.push(piece);
                }
                self.picker.corrupt(PieceIndex(piece))
            }
            1 => self.picker.failed(PieceIndex(piece)),
            _ => {
                self.model.have.push(piece);
                self.model.suspect.retain(|suspect| *suspect != piece);
                self.picker.verified(PieceIndex(piece))
            }
        };
        assert_eq!(Some(credit), self.model.open.remove(&piece));
        self.model.sent.retain(|(of, _), _| *of != piece);
    }

    fn close(&mut self, piece: u32) {
        let mut cancels = Vec::new();
        let credit = self.picker.close(PieceIndex(piece), &mut cancels);
        assert_eq!(credit, self.model.open.remove(&piece).unwrap_or(0));
        let mut asked = Vec::new();
        self.model.asked.retain(|block, owners| {
            if block.0 == piece {
                let block = geometry().block(PieceIndex(block.0), block.1);
                asked.extend(owners.iter().map(|owner| (*owner, block)));
            }
            block.0 != piece
        });
        self.model.sent.retain(|(of, _), _| *of != piece);
        asked.sort_unstable();
        cancels.sort_unstable();
        assert_eq!(cancels, asked);
    }

    fn check(&self) {
        self.picker.check_invariants();
        for piece in 0..PIECES {
            let availability = self.picker.availability(PieceIndex(piece)) as usize;
            assert_eq!(availability, self.availability(piece), "piece {piece}");
            assert_eq!(self.picker.have().contains(piece), self.model.have.contains(&piece));
            let mut owners: Vec<_> = self.picker.owners(PieceIndex(piece)).collect();
            owners.sort_unstable();
            assert_eq!(owners, self.owners(piece), "owners of {piece}");
        }
        let open: Vec<_> =
            self.picker.open_pieces().map(|open| (open.piece.0, open.credit)).collect();
        assert_eq!(open, self.model.open.clone().into_iter().collect::<Vec<_>>());
        let missing = (0..PIECES).filter(|piece| self.is_wanted(*piece));
        assert_eq!(self.picker.missing() as usize, missing.count());
        let unavailable = |piece: &u32| self.free(*piece) > 0 && self.availability(*piece) > 0;
        let endgame = !(0..PIECES).any(|piece| unavailable(&piece)) && !self.model.asked.is_empty();
        assert_eq!(self.picker.in_endgame(), endgame);
    }

    /// Lets one honest seed do the rest.
    fn finish(&mut self) {
        let wanted: Vec<u32> = self.model.level.keys().copied().collect();
        for remote in 0..REMOTES {
            if self.model.remotes[remote].is_some() {
                self.join_or_leave(remote);
            }
        }
        self.picker.remote_joined(Pieces::All);
        let mut cancels = Vec::new();
        for _ in 0..10 * PIECES {
            for open in self.picker.open_pieces().collect::<Vec<_>>() {
                if open.received == open.blocks {
                    self.picker.verified(open.piece);
                }
            }
            let mut out = Vec::new();
            let owner = conn(0);
            let credit = self.picker.open_pieces().map(|open| open.credit).sum::<u32>();
            let ask = Ask { room: 4, credit: CREDIT - credit, ..ask(owner) };
            self.picker.pick(&ask, &mut self.rng, &mut out);
            for block in out {
                let progress = self.picker.received(block, owner, &mut cancels);
                assert!(progress.is_ok(), "{block:?}");
            }
        }
        assert_eq!(self.picker.missing(), 0, "{:?}", self.picker);
        assert!(wanted.iter().all(|piece| self.picker.have().contains(*piece)));
        assert_eq!(cancels, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_the_model_and_always_finishes(
        seed in any::<u64>(),
        steps in 0..400_usize,
        sequential in any::<bool>(),
    ) {
        let mut world = World::new(seed);
        if sequential {
            world.picker.set_order(Order::Sequential);
        }
        (0..steps).for_each(|_| world.step());
        world.finish();
    }
}
