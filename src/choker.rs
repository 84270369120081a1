//! The choker: whom to let download from us (BEP 3, "choking").
//!
//! "Cohen 2003" is the paper that BEP 3 refers to: <http://bittorrent.org/bittorrentecon.pdf>.
//!
//! A pure function of facts, a clock and a generator: what it remembers is only when the optimistic
//! unchoke was last moved, and the memory that it ranked in. **Invariant:** the choker does not
//! know what a peer is and sends nothing; its owner gathers one [`ChokeFacts`] a connection, and
//! turns the [`Decisions`] into messages.
//!
//! While we download, slots go to those who give us most (tit for tat), and one at random to
//! whoever may turn out better (optimistic). Once we seed nobody gives, so all take turns.

use crate::id::ConnId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How often to rechoke (BEP 3: "only changing who's choked once every ten seconds" against
/// "fibrillation"; long enough for TCP to show what an unchoked peer can do).
pub const RECHOKE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the optimistic unchoke moves on (BEP 3: "rotates every 30 seconds").
pub const OPTIMISTIC_INTERVAL: Duration = Duration::from_secs(30);

/// How much likelier a new connection is to be the next optimistic unchoke than any other (BEP 3:
/// "three times as likely", for "a decent chance of getting a complete piece to upload").
pub const NEW_PEER_WEIGHT: usize = 3;

/// How long a connection counts as new: until the optimistic unchoke has moved on once. BEP 3 names
/// no time.
pub const NEW_PEER_AGE: Duration = OPTIMISTIC_INTERVAL;

/// The least time that a peer keeps its turn while we seed; a slot that moves faster wastes its
/// start (libtorrent `unchoke_interval`: 15 s).
pub const SEED_TURN_MIN: Duration = Duration::from_secs(15);

/// The most time that a peer keeps its turn while we seed and others wait, however little it took,
/// so that slow downloaders cannot hold every slot. Ours: libtorrent waits for its quota.
pub const SEED_TURN_MAX: Duration = Duration::from_secs(120);

/// Returns how many peers to unchoke at one time for whoever sends at most `bytes_per_s`, at least
/// 2: so many that the rate is used whatever some of them take, so few that a block does not take
/// each of them half a minute (de facto: BitTorrent 4, `_max_uploads`; its steps are in KiB/s).
pub fn slots_for_rate(bytes_per_s: u64) -> usize {
    match bytes_per_s >> 10 {
        0..9 => 2,
        9..15 => 3,
        15..42 => 4,
        // The root of six tenths of the rate: a peer's share grows with the number of peers.
        kib_per_s => {
            let slots = (kib_per_s / 10 * 6 + kib_per_s % 10 * 6 / 10).isqrt();
            usize::try_from(slots).unwrap_or(usize::MAX)
        }
    }
}

/// What the choker has to know of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChokeFacts {
    /// Which one.
    pub conn: ConnId,
    /// The remote is interested in us (BEP 3).
    pub interested: bool,
    /// What we do to the remote, as the last [`Decisions`] said.
    pub choke: ChokeState,
    /// It owes us blocks for too long (Cohen 2003, "anti-snubbing": over a minute).
    pub snubbed: bool,
    /// The remote has every piece, so it will never want one.
    pub is_seed: bool,
    /// What the remote sends us, in bytes of payload a second.
    pub down_rate: u64,
    /// Bytes of payload that we sent to the remote since we unchoked it.
    pub uploaded_since_unchoke: u64,
    /// When the connection was established.
    pub connected_at: Instant,
    /// When we unchoked the remote last; if never, `connected_at`.
    pub unchoked_at: Instant,
}

/// What we do to a remote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChokeState {
    /// We choke it (BEP 3), as everybody at first.
    Choked,
    /// We do not choke it.
    Unchoked,
    /// We do not choke it, and it is an optimistic unchoke.
    Optimistic,
}

/// How many may download from us, and by what rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChokeConfig {
    /// Interested peers unchoked at one time, the optimistic ones included. `usize::MAX` unchokes
    /// everybody.
    pub slots: usize,
    /// How many of the slots are optimistic while we download (BEP 3: 1).
    pub optimistic_slots: usize,
    /// By what rule.
    pub mode: ChokeMode,
}

/// By what rule peers are ranked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChokeMode {
    /// We download: by what they give us, in bytes a second (BEP 3).
    Leecher,
    /// We seed: in turns (libtorrent, `round_robin`). BEP 3 ranks by upload rate here, which lets
    /// the same few fast peers keep a seed to themselves.
    Seed {
        /// Bytes after which a turn is over, if others wait. A few pieces, so that a peer gets
        /// something whole to pass on (libtorrent `seeding_piece_quota`: 20 pieces).
        turn_bytes: u64,
    },
}

/// Whom to unchoke and whom to choke: the changes only, in the order of the facts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decisions {
    /// Choked until now; to be sent `unchoke`.
    pub unchoke: Vec<ConnId>,
    /// Unchoked until now; to be sent `choke`.
    pub choke: Vec<ConnId>,
    /// All that are optimistic unchokes from now on, new or not. Everybody else is not.
    pub optimistic: Vec<ConnId>,
}

/// What a peer gets. The order is that of precedence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Choked,
    /// Unchoked without a slot: uninterested and better than the worst that has one.
    Spare,
    Optimistic,
    Regular,
}

/// Chokes and unchokes the peers of one torrent.
#[derive(Clone, Debug)]
pub struct Choker {
    config: ChokeConfig,
    /// When the optimistic unchoke moves on next.
    rotate_at: Instant,
    /// Scratch of one call, kept for its capacity.
    scratch: Scratch,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    fates: Vec<Fate>,
    /// Those who come first.
    first: Vec<Ranked>,
    /// Those who come after them, or beside.
    second: Vec<Ranked>,
}

/// A peer's place in the facts under the key that it is ranked by: the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ranked {
    key: (u64, u64),
    at: usize,
}

impl Choker {
    /// Returns a choker that has decided nothing yet; its first [`Choker::rechoke`] chooses the
    /// first optimistic unchoke.
    pub fn new(config: ChokeConfig) -> Self {
        Self { config, rotate_at: Instant::ZERO, scratch: Scratch::default() }
    }

    /// Replaces the settings; they count from the next [`Choker::rechoke`] on.
    pub const fn set_config(&mut self, config: ChokeConfig) {
        self.config = config;
    }

    /// Decides who may download from us until the next call (BEP 3).
    ///
    /// To be called every [`RECHOKE_INTERVAL`], and between if a slot falls vacant: that moves the
    /// optimistic unchoke only if it is due or gone. At most [`ChokeConfig::slots`] interested
    /// peers are unchoked afterwards. Seeds and uninterested peers hold no slot.
    ///
    /// While we download, the regular slots go to the interested peers that send us most; a tie
    /// goes to who is unchoked already, then to chance. Snubbed peers get none (Cohen 2003,
    /// "anti-snubbing"). Uninterested peers that send more than the worst of these are unchoked as
    /// well and hold no slot, so that they are ranked at once when they become interested; no more
    /// of them than there are slots. The optimistic slots, and regular slots that nobody has
    /// earned, go to others by lot.
    ///
    /// While we seed, a peer keeps its slot for its turn; then the slot goes to who has waited
    /// longest, if anybody waits.
    ///
    /// `now` must not go back between calls. Equal arguments and generators give equal decisions.
    /// O(facts); allocates only while its tables grow, and for what changes.
    pub fn rechoke(&mut self, facts: &[ChokeFacts], rng: &mut Rng, now: Instant) -> Decisions {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.fates.clear();
        scratch.fates.resize(facts.len(), Fate::Choked);
        match self.config.mode {
            ChokeMode::Seed { turn_bytes } => {
                take_turns(facts, self.config.slots, turn_bytes, &mut scratch, rng, now);
            }
            ChokeMode::Leecher => {
                let optimistic = self.config.optimistic_slots.min(self.config.slots);
                let regular = self.config.slots - optimistic;
                let earned = reward(facts, regular, &mut scratch, rng);
                let optimistic = optimistic.saturating_add(regular - earned);
                self.draw(facts, optimistic, &mut scratch, rng, now);
            }
        }
        let decisions = decide(facts, &scratch.fates);
        self.scratch = scratch;
        decisions
    }

    /// Gives out `slots` optimistic slots: to those who have them until they move on, then by lot.
    fn draw(
        &mut self,
        facts: &[ChokeFacts],
        mut slots: usize,
        scratch: &mut Scratch,
        rng: &mut Rng,
        now: Instant,
    ) {
        let is_due = now >= self.rotate_at;
        if is_due {
            self.rotate_at = now + OPTIMISTIC_INTERVAL;
        }
        let Scratch { fates, first, second: last_resort } = scratch;
        first.clear();
        last_resort.clear();
        for (at, (peer, fate)) in facts.iter().zip(&mut *fates).enumerate() {
            if *fate == Fate::Regular || !wants_slot(peer) {
                continue;
            }
            match (peer.choke == ChokeState::Optimistic, is_due) {
                (true, false) if slots > 0 => {
                    *fate = Fate::Optimistic;
                    slots -= 1;
                }
                (true, true) => last_resort.push(lot(peer, at, now, rng)),
                _ => first.push(lot(peer, at, now, rng)),
            }
        }
        for lots in [first, last_resort] {
            keep_first(lots, slots);
            for lot in lots {
                fates[lot.at] = Fate::Optimistic;
                slots -= 1;
            }
        }
    }
}

fn is_unchoked(peer: &ChokeFacts) -> bool {
    peer.choke != ChokeState::Choked
}

/// Tells whether a slot would be of use to `peer`.
const fn wants_slot(peer: &ChokeFacts) -> bool {
    peer.interested && !peer.is_seed
}

fn weight(peer: &ChokeFacts, now: Instant) -> usize {
    if now.saturating_since(peer.connected_at) < NEW_PEER_AGE { NEW_PEER_WEIGHT } else { 1 }
}

/// Draws a peer's lot in the choice of the optimistic unchoke; the least wins.
///
/// The best of as many tickets as its weight counts, so a lot wins over another in proportion to
/// their weights (Efraimidis and Spirakis, "Weighted random sampling", 2006), in one pass and
/// without fractions.
fn lot(peer: &ChokeFacts, at: usize, now: Instant, rng: &mut Rng) -> Ranked {
    let best = (0..weight(peer, now)).map(|_| rng.bits()).min().unwrap_or(u64::MAX);
    Ranked { key: (best, 0), at }
}

/// Gives the regular slots to those who send us most, and marks who is better and uninterested.
/// Returns how many slots are taken.
fn reward(facts: &[ChokeFacts], slots: usize, scratch: &mut Scratch, rng: &mut Rng) -> usize {
    let Scratch { fates, first: interested, second: others } = scratch;
    interested.clear();
    others.clear();
    for (at, peer) in facts.iter().enumerate() {
        if peer.down_rate > 0 && !peer.snubbed && !peer.is_seed {
            // A tie of rates goes to who is unchoked already, then to chance.
            let tie = u64::from(!is_unchoked(peer)) << 63 | rng.bits() >> 1;
            let ranked = Ranked { key: (!peer.down_rate, tie), at };
            if peer.interested { &mut *interested } else { &mut *others }.push(ranked);
        }
    }
    keep_first(interested, slots);
    // Who sends more than the worst that has a slot.
    let bar = if interested.len() < slots {
        !0
    } else {
        interested.iter().map(|ranked| ranked.key.0).max().unwrap_or(0)
    };
    others.retain(|ranked| ranked.key.0 < bar);
    keep_first(others, slots);
    for ranked in &*interested {
        fates[ranked.at] = Fate::Regular;
    }
    for ranked in &*others {
        fates[ranked.at] = Fate::Spare;
    }
    interested.len()
}

/// Gives out the slots of a seed: to those whose turn lasts, then to who waits longest, then to
/// those whose turn is over.
fn take_turns(
    facts: &[ChokeFacts],
    slots: usize,
    turn_bytes: u64,
    scratch: &mut Scratch,
    rng: &mut Rng,
    now: Instant,
) {
    const WAITS: u64 = 1 << 62;
    const IS_SERVED: u64 = 2 << 62;
    let rank = |peer: &ChokeFacts| {
        // Microseconds of 140 000 years, below the class.
        let since = peer.unchoked_at.as_micros().min(WAITS - 1);
        if !is_unchoked(peer) {
            return WAITS | since;
        }
        let held = now.saturating_since(peer.unchoked_at);
        let is_served = held >= SEED_TURN_MIN && peer.uploaded_since_unchoke >= turn_bytes;
        // Whoever has held its slot longest is the first to lose it.
        if is_served || held >= SEED_TURN_MAX { IS_SERVED | (WAITS - 1 - since) } else { since }
    };
    let ranked = &mut scratch.first;
    ranked.clear();
    let takers = facts.iter().enumerate().filter(|(_, peer)| wants_slot(peer));
    ranked.extend(takers.map(|(at, peer)| Ranked { key: (rank(peer), rng.bits()), at }));
    keep_first(ranked, slots);
    for peer in ranked {
        scratch.fates[peer.at] = Fate::Regular;
    }
}

/// Keeps the `count` least of `ranked`, in no order. O(ranked).
fn keep_first(ranked: &mut Vec<Ranked>, count: usize) {
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
        ranked.truncate(count);
    }
}

/// Says what has to change.
fn decide(facts: &[ChokeFacts], fates: &[Fate]) -> Decisions {
    let mut decisions = Decisions::default();
    for (peer, fate) in facts.iter().zip(fates) {
        match (is_unchoked(peer), *fate != Fate::Choked) {
            (false, true) => decisions.unchoke.push(peer.conn),
            (true, false) => decisions.choke.push(peer.conn),
            (true, true) | (false, false) => {}
        }
        if *fate == Fate::Optimistic {
            decisions.optimistic.push(peer.conn);
        }
    }
    decisions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const LEECHER: ChokeConfig =
        ChokeConfig { slots: 4, optimistic_slots: 1, mode: ChokeMode::Leecher };
    const SEED: ChokeConfig = ChokeConfig {
        slots: 2,
        optimistic_slots: 1,
        mode: ChokeMode::Seed { turn_bytes: 1_000_000 },
    };
    /// Long after everybody connected.
    const LATE: Instant = Instant::from_secs(1_000);

    #[test]
    fn slots_grow_with_the_rate_as_those_of_bittorrent_4() {
        for (kib_per_s, slots) in [
            (0, 2),
            (8, 2),
            (9, 3),
            (14, 3),
            (15, 4),
            (20, 4),
            (41, 4),
            (42, 5),
            (100, 7),
            (107, 8),
            (1_024, 24),
            (1 << 20, 793),
        ] {
            assert_eq!(slots_for_rate(kib_per_s << 10), slots, "{kib_per_s} KiB/s");
        }
        let rates = (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits]);
        assert!(rates.map(slots_for_rate).is_sorted(), "more never means fewer");
    }

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    /// An interested, choked peer that has been here for long and gives nothing.
    fn peer(index: u32) -> ChokeFacts {
        ChokeFacts {
            conn: conn(index),
            interested: true,
            choke: ChokeState::Choked,
            snubbed: false,
            is_seed: false,
            down_rate: 0,
            uploaded_since_unchoke: 0,
            connected_at: Instant::ZERO,
            unchoked_at: Instant::ZERO,
        }
    }

    fn giver(index: u32, down_rate: u64) -> ChokeFacts {
        ChokeFacts { down_rate, ..peer(index) }
    }

    fn is_optimistic(peer: &ChokeFacts) -> bool {
        peer.choke == ChokeState::Optimistic
    }

    /// Does to the facts what their owner would do.
    fn apply(facts: &mut [ChokeFacts], decisions: &Decisions, now: Instant) {
        for peer in facts {
            let stays = is_unchoked(peer) && !decisions.choke.contains(&peer.conn);
            let starts = decisions.unchoke.contains(&peer.conn);
            if starts {
                (peer.unchoked_at, peer.uploaded_since_unchoke) = (now, 0);
            }
            peer.choke = match (stays || starts, decisions.optimistic.contains(&peer.conn)) {
                (false, _) => ChokeState::Choked,
                (true, false) => ChokeState::Unchoked,
                (true, true) => ChokeState::Optimistic,
            };
        }
    }

    fn unchoked(facts: &[ChokeFacts]) -> Vec<u32> {
        facts.iter().filter(|peer| is_unchoked(peer)).map(|peer| peer.conn.index).collect()
    }

    fn rechoke(choker: &mut Choker, facts: &mut [ChokeFacts], seed: u64, now: Instant) {
        let decisions = choker.rechoke(facts, &mut Rng::new(seed), now);
        apply(facts, &decisions, now);
    }

    #[test]
    fn the_best_givers_have_the_regular_slots() {
        let mut facts: Vec<_> = (0..10).map(|index| giver(index, 100 + u64::from(index))).collect();
        for seed in 0..20 {
            let decisions = Choker::new(LEECHER).rechoke(&facts, &mut Rng::new(seed), LATE);
            assert_eq!(decisions.unchoke.len(), 4);
            assert_eq!(decisions.optimistic.len(), 1);
            let regular = decisions.unchoke.iter().filter(|c| !decisions.optimistic.contains(c));
            assert_eq!(regular.copied().collect::<Vec<_>>(), [7, 8, 9].map(conn));
        }
        facts[0].choke = ChokeState::Unchoked;
        facts[9].choke = ChokeState::Unchoked;
        let mut choker = Choker::new(ChokeConfig { optimistic_slots: 0, ..LEECHER });
        let decisions = choker.rechoke(&facts, &mut Rng::new(1), LATE);
        assert_eq!(decisions.choke, [conn(0)]);
        assert_eq!(decisions.unchoke, [6, 7, 8].map(conn), "9 is unchoked already");
    }

    #[test]
    fn a_tie_goes_to_who_is_unchoked_already() {
        let mut facts: Vec<_> = (0..10).map(|index| giver(index, 100)).collect();
        for index in [2, 5, 8] {
            facts[index].choke = ChokeState::Unchoked;
        }
        let mut choker =
            Choker::new(ChokeConfig { slots: 3, optimistic_slots: 0, mode: ChokeMode::Leecher });
        for seed in 0..20 {
            assert_eq!(choker.rechoke(&facts, &mut Rng::new(seed), LATE), Decisions::default());
        }
    }

    #[test]
    fn a_snubbed_peer_has_no_regular_slot_but_may_be_optimistic() {
        let mut snubbed = giver(0, 1_000_000);
        snubbed.snubbed = true;
        let facts = [snubbed, giver(1, 5), giver(2, 4), giver(3, 3), giver(4, 2)];
        let mut was_optimistic = false;
        for seed in 0..40 {
            let decisions = Choker::new(LEECHER).rechoke(&facts, &mut Rng::new(seed), LATE);
            for regular in [1, 2, 3].map(conn) {
                assert!(decisions.unchoke.contains(&regular));
                assert!(!decisions.optimistic.contains(&regular));
            }
            was_optimistic |= decisions.optimistic == [conn(0)];
        }
        assert!(was_optimistic);
    }

    #[test]
    fn slots_that_nobody_has_earned_are_optimistic() {
        let facts: Vec<_> = (0..10).map(peer).chain([giver(10, 7)]).collect();
        let decisions = Choker::new(LEECHER).rechoke(&facts, &mut Rng::new(3), LATE);
        assert_eq!(decisions.unchoke.len(), 4);
        assert_eq!(decisions.optimistic.len(), 3);
        assert!(!decisions.optimistic.contains(&conn(10)));
    }

    #[test]
    fn a_faster_peer_that_is_not_interested_is_unchoked_and_holds_no_slot() {
        let uninterested = |index, rate| ChokeFacts { interested: false, ..giver(index, rate) };
        let facts = [
            giver(0, 50),
            giver(1, 40),
            giver(2, 30),
            giver(3, 20),
            uninterested(4, 35),
            uninterested(5, 30),
            uninterested(6, 0),
        ];
        let mut choker = Choker::new(ChokeConfig { optimistic_slots: 0, slots: 3, ..LEECHER });
        let decisions = choker.rechoke(&facts, &mut Rng::new(1), LATE);
        assert_eq!(decisions.unchoke, [0, 1, 2, 4].map(conn), "5 is no better than the worst");

        let mut facts = facts;
        apply(&mut facts, &decisions, LATE);
        facts[4].interested = true;
        let decisions = choker.rechoke(&facts, &mut Rng::new(1), LATE);
        assert_eq!((decisions.unchoke, decisions.choke), (vec![], vec![conn(2)]));
    }

    #[test]
    fn no_more_uninterested_peers_are_unchoked_than_there_are_slots() {
        let facts: Vec<_> = (0..100)
            .map(|index| ChokeFacts { interested: false, ..giver(index, 1 + u64::from(index)) })
            .collect();
        let mut choker = Choker::new(ChokeConfig { optimistic_slots: 0, ..LEECHER });
        let decisions = choker.rechoke(&facts, &mut Rng::new(1), LATE);
        assert_eq!(decisions.unchoke, [96, 97, 98, 99].map(conn));
    }

    #[test]
    fn seeds_and_the_uninterested_hold_no_slot() {
        let mut facts: Vec<_> = (0..6).map(peer).collect();
        facts[0].is_seed = true;
        facts[1].is_seed = true;
        facts[1].choke = ChokeState::Unchoked;
        facts[2].interested = false;
        facts[3].interested = false;
        facts[3].choke = ChokeState::Unchoked;
        for config in [LEECHER, ChokeConfig { slots: 4, ..SEED }] {
            let decisions = Choker::new(config).rechoke(&facts, &mut Rng::new(1), LATE);
            assert_eq!(decisions.unchoke, [4, 5].map(conn), "{config:?}");
            assert_eq!(decisions.choke, [1, 3].map(conn), "{config:?}");
        }
    }

    #[test]
    fn the_optimistic_unchoke_stays_until_it_is_due_and_then_moves() {
        let mut facts: Vec<_> =
            (0..3).map(|index| giver(index, 100)).chain((3..10).map(peer)).collect();
        let mut choker = Choker::new(LEECHER);
        let mut before = Vec::new();
        for round in 0..30 {
            let now = LATE + RECHOKE_INTERVAL * round;
            rechoke(&mut choker, &mut facts, round.into(), now);
            let optimistic: Vec<_> =
                facts.iter().filter(|peer| is_optimistic(peer)).map(|peer| peer.conn).collect();
            assert_eq!((optimistic.len(), unchoked(&facts).len()), (1, 4));
            if round > 0 {
                let is_due = round % 3 == 0;
                assert_eq!(optimistic != before, is_due, "round {round}");
            }
            before = optimistic;
        }
    }

    #[test]
    fn an_optimistic_unchoke_that_pays_back_becomes_regular_and_another_is_drawn_at_once() {
        let mut facts: Vec<_> = (0..8).map(|index| giver(index, 10)).collect();
        let mut choker = Choker::new(LEECHER);
        rechoke(&mut choker, &mut facts, 7, LATE);
        let at = facts.iter().position(is_optimistic).expect("there is one");
        facts[at].down_rate = 1_000;
        rechoke(&mut choker, &mut facts, 8, LATE + RECHOKE_INTERVAL);
        assert_eq!(facts[at].choke, ChokeState::Unchoked);
        assert_eq!(facts.iter().filter(|peer| is_optimistic(peer)).count(), 1);
        assert_eq!(unchoked(&facts).len(), 4);
    }

    #[test]
    fn a_lone_optimistic_unchoke_is_not_choked_for_nobody() {
        let mut facts = [peer(0), peer(1)];
        let mut choker = Choker::new(LEECHER);
        for round in 0..10 {
            rechoke(&mut choker, &mut facts, round.into(), LATE + RECHOKE_INTERVAL * round);
            assert_eq!(unchoked(&facts), [0, 1], "round {round}");
        }
    }

    #[test]
    fn a_new_peer_is_three_times_as_likely_to_be_the_optimistic_one() {
        let now = LATE;
        let new = ChokeFacts { connected_at: Instant::from_secs(980), ..peer(0) };
        let old = ChokeFacts { connected_at: Instant::from_secs(970), ..peer(1) };
        let facts: Vec<_> = [new, old].into_iter().chain((2..8).map(peer)).collect();
        let mut rng = Rng::new(42);
        let mut won = [0_u32; 8];
        for _ in 0..20_000 {
            let config = ChokeConfig { slots: 1, ..LEECHER };
            let decisions = Choker::new(config).rechoke(&facts, &mut rng, now);
            won[decisions.optimistic[0].index as usize] += 1;
        }
        // 3 of 10 lots; a standard deviation is 65 and 42 wins.
        assert!((5_700..6_300).contains(&won[0]), "{won:?}");
        assert!(won[1..].iter().all(|old| (1_800..2_200).contains(old)), "{won:?}");
    }

    #[test]
    fn a_seed_serves_everybody_in_turn() {
        let mut facts: Vec<_> = (0..6).map(peer).collect();
        for (index, peer) in (0..).zip(&mut facts) {
            peer.connected_at = Instant::from_secs(index);
            peer.unchoked_at = peer.connected_at;
        }
        let mut choker = Choker::new(SEED);
        let mut turns = Vec::new();
        for round in 0..8 {
            let now = LATE + RECHOKE_INTERVAL * round;
            rechoke(&mut choker, &mut facts, round.into(), now);
            turns.push(unchoked(&facts));
            for peer in facts.iter_mut().filter(|peer| is_unchoked(peer)) {
                peer.uploaded_since_unchoke += 1_000_000;
            }
        }
        // A turn of at least 15 s lasts two rounds.
        let order = [[0, 1], [0, 1], [2, 3], [2, 3], [4, 5], [4, 5], [0, 1], [0, 1]];
        assert_eq!(turns, order);
    }

    #[test]
    fn a_seed_keeps_a_slow_taker_for_no_longer_than_the_longest_turn() {
        let mut facts: Vec<_> = (0..3).map(peer).collect();
        let mut choker = Choker::new(ChokeConfig { slots: 1, ..SEED });
        rechoke(&mut choker, &mut facts, 1, LATE);
        let first = unchoked(&facts);
        let just_before = LATE + SEED_TURN_MAX.saturating_sub(Duration::from_micros(1));
        rechoke(&mut choker, &mut facts, 2, just_before);
        assert_eq!(unchoked(&facts), first);
        rechoke(&mut choker, &mut facts, 3, LATE + SEED_TURN_MAX);
        assert_ne!(unchoked(&facts), first);
    }

    #[test]
    fn whoever_has_had_its_slot_longest_makes_room_first() {
        let mut facts: Vec<_> = (0..4).map(peer).collect();
        for (since, peer) in [20, 10, 15].into_iter().zip(&mut facts) {
            peer.choke = ChokeState::Unchoked;
            peer.unchoked_at = Instant::from_secs(since);
            peer.uploaded_since_unchoke = 1_000_000;
        }
        let mut choker = Choker::new(ChokeConfig { slots: 3, ..SEED });
        let decisions = choker.rechoke(&facts, &mut Rng::new(1), LATE);
        assert_eq!((decisions.unchoke, decisions.choke), (vec![conn(3)], vec![conn(1)]));
    }

    #[test]
    fn a_turn_that_is_over_goes_on_if_nobody_waits() {
        let mut facts = [peer(0), peer(1)];
        let mut choker = Choker::new(SEED);
        rechoke(&mut choker, &mut facts, 1, LATE);
        for peer in &mut facts {
            peer.uploaded_since_unchoke = u64::MAX;
        }
        let decisions = choker.rechoke(&facts, &mut Rng::new(1), LATE + SEED_TURN_MAX);
        assert_eq!(decisions, Decisions::default());
    }

    #[test]
    fn no_slots_choke_everybody_and_endless_slots_nobody() {
        for mode in [LEECHER.mode, SEED.mode] {
            let mut facts: Vec<_> = (0..50).map(|index| giver(index, index.into())).collect();
            for (slots, unchoked_after) in [(usize::MAX, 50), (0, 0)] {
                let mut choker = Choker::new(ChokeConfig { slots, optimistic_slots: 1, mode });
                rechoke(&mut choker, &mut facts, 1, LATE);
                assert_eq!(unchoked(&facts).len(), unchoked_after, "{mode:?}, {slots} slots");
            }
        }
    }

    fn any_facts() -> impl Strategy<Value = ChokeFacts> {
        let states = [ChokeState::Choked, ChokeState::Unchoked, ChokeState::Optimistic];
        let flags =
            (any::<bool>(), prop::sample::select(states.to_vec()), any::<bool>(), any::<bool>());
        (flags, 0..5_u64, 0..3_000_000_u64, 0..1_000_u64, 0..1_000_u64).prop_map(
            |((interested, choke, snubbed, is_seed), rate, sent, from, since)| ChokeFacts {
                conn: conn(0),
                interested,
                choke,
                snubbed,
                is_seed,
                down_rate: rate,
                uploaded_since_unchoke: sent,
                connected_at: Instant::from_secs(from),
                unchoked_at: Instant::from_secs(from.max(since)),
            },
        )
    }

    proptest! {
        #[test]
        fn slots_are_filled_and_never_exceeded(
            mut facts in prop::collection::vec(any_facts(), 0..40),
            slots in 0..12_usize,
            optimistic_slots in 0..4_usize,
            seeding in any::<bool>(),
            seed in any::<u64>(),
        ) {
            (0..).zip(&mut facts).for_each(|(index, peer)| peer.conn = conn(index));
            let mode = if seeding { SEED.mode } else { ChokeMode::Leecher };
            let choker = Choker::new(ChokeConfig { slots, optimistic_slots, mode });
            let decisions = choker.clone().rechoke(&facts, &mut Rng::new(seed), LATE);
            let again = choker.clone().rechoke(&facts, &mut Rng::new(seed), LATE);
            prop_assert_eq!(&decisions, &again, "the same seed decides the same");
            for peer in &facts {
                prop_assert!(!decisions.unchoke.contains(&peer.conn) || !is_unchoked(peer));
                prop_assert!(!decisions.choke.contains(&peer.conn) || is_unchoked(peer));
            }
            apply(&mut facts, &decisions, LATE);
            let takers = facts.iter().filter(|peer| wants_slot(peer)).count();
            let served = facts.iter().filter(|peer| is_unchoked(peer) && wants_slot(peer)).count();
            prop_assert_eq!(served, takers.min(slots));
            let spare = facts.iter().filter(|peer| is_unchoked(peer) && !peer.interested);
            prop_assert!(spare.count() <= slots);
            prop_assert!(facts.iter().all(|peer| !is_unchoked(peer) || !peer.is_seed));
        }
    }
}
