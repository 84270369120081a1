//! Fetching the info dictionary of a torrent of which only the hash is known (BEP 9): whom to ask
//! for which block, what fits together, and who is to blame if it does not.
//!
//! ```text
//!  Fetching ──every block of a length is here──▶ Judging ──right──▶ done
//!      ▲                                            │
//!      └───────────────────wrong────────────────────┘
//! ```
//!
//! Nobody knows how long the metadata is; peers claim it. Blocks of one claim are put together and
//! never mixed with those of another. **Invariant:** what is held never exceeds `MAX_HELD`, for
//! all claims together, and grows only with what has arrived.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;

use crate::bitfield::Bitfield;
use crate::id::{ConnId, PieceIndex, index};
use crate::proto::extended::MAX_METADATA_LEN;
use crate::proto::ut_metadata::{blocks_of, len_of};
use crate::time::{Duration, Instant};

use super::blame::Blame;

/// The most blocks that one peer is asked for at one time (libtorrent: 2).
const MAX_OUTSTANDING: usize = 2;
/// How long a block is waited for before others are asked for it (libtorrent: 3 s).
const BLOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a peer rests that refused a block or let us wait for one; it doubles each time in a
/// row (libtorrent rests 20 to 70 s, at once).
const FIRST_REST: Duration = Duration::from_secs(5);
const MAX_REST: Duration = Duration::from_secs(60);
/// The most bytes of blocks that are held for one torrent, of all claims together: two of the
/// longest, each of which the whole metadata may be.
const MAX_HELD: u32 = 2 * MAX_METADATA_LEN;
/// The most bytes in which is kept what peers claim to have before the number of pieces is known:
/// of 200 peers, bitfields of 160 000 pieces each.
pub(super) const MAX_CLAIM_BYTES: usize = 4 << 20;

/// Metadata is judged like a piece that there is one of.
const ONLY: PieceIndex = PieceIndex(0);

/// The metadata of one torrent, as far as it is here.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    sources: BTreeMap<ConnId, Source>,
    /// What is here of each claim, by its length. Invariant: only lengths that are in `open`.
    assemblies: BTreeMap<u32, Assembly>,
    /// The lengths that are fetched now. Invariant: together at most [`MAX_HELD`].
    open: BTreeSet<u32>,
    stage: FetchStage,
    blame: Blame,
    /// Whether a copy of several peers was wrong: each is of one peer alone from then on.
    is_careful: bool,
    /// Whether blocks came free which peers could be asked for that wait for nothing else: nobody
    /// would ask them otherwise.
    came_free: bool,
    /// The pieces that we have: none.
    nothing: Bitfield,
}

/// How far the metadata is.
#[derive(Debug, Default)]
enum FetchStage {
    #[default]
    Fetching,
    /// A worker has all blocks of one length; these sent them, in order.
    Judging(Vec<SocketAddr>),
    /// It is right and was handed over.
    Done,
}

/// A peer that could have the metadata.
#[derive(Debug)]
struct Source {
    addr: SocketAddr,
    /// How long the metadata is, as it claims; `None` if it has none.
    len: Option<u32>,
    /// What it was asked for, and when. Invariant: at most [`MAX_OUTSTANDING`].
    asked: Vec<(u32, Instant)>,
    /// Until when it is not asked; meanwhile what it was asked for may still come.
    rests_until: Option<Instant>,
    /// How often in a row it had to rest.
    rests: u32,
    /// Bytes in which is kept what it claims to have.
    claim_bytes: usize,
}

/// The blocks of one claim.
#[derive(Debug, Default)]
struct Assembly {
    /// What is here, and who sent it.
    blocks: BTreeMap<u32, (Bytes, SocketAddr)>,
    /// Who alone is asked, if one alone is.
    sole: Option<ConnId>,
}

/// What came of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Arrived {
    /// It was not asked for, or cannot be what was.
    Useless,
    /// It is kept.
    Kept,
    /// It was the last: these are to be judged.
    Complete(Vec<Bytes>),
}

/// How far the metadata is, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MetadataStatus {
    /// Bytes of the claim that is furthest.
    pub have: u32,
    /// Bytes of the metadata by that claim; `None` while nobody has offered it.
    pub len: Option<u32>,
    /// Connected peers that offer it.
    pub sources: usize,
}

impl Fetch {
    /// Takes in what a peer claims the length to be; `None` if it has no metadata.
    pub(super) fn claim(&mut self, conn: ConnId, addr: SocketAddr, len: Option<u32>, now: Instant) {
        let source = self.source(conn, addr);
        if source.len != len {
            source.len = len;
            let had_asked = !std::mem::take(&mut source.asked).is_empty();
            self.came_free |= had_asked || self.is_careful;
            self.plan(now);
        }
    }

    fn source(&mut self, conn: ConnId, addr: SocketAddr) -> &mut Source {
        self.sources.entry(conn).or_insert_with(|| Source {
            addr,
            len: None,
            asked: Vec::new(),
            rests_until: None,
            rests: 0,
            claim_bytes: 0,
        })
    }

    /// Takes in how many bytes it takes to remember what a peer claims to have; tells whether there
    /// is room for that.
    pub(super) fn remember(&mut self, conn: ConnId, addr: SocketAddr, bytes: usize) -> bool {
        let others = self.sources.iter().filter(|(other, _)| **other != conn);
        let others: usize = others.map(|(_, source)| source.claim_bytes).sum();
        let fits = others + bytes <= MAX_CLAIM_BYTES;
        self.source(conn, addr).claim_bytes = if fits { bytes } else { 0 };
        fits
    }

    /// Takes a peer out whose connection ended.
    pub(super) fn left(&mut self, conn: ConnId, now: Instant) {
        if let Some(source) = self.sources.remove(&conn) {
            self.came_free |= !source.asked.is_empty() || self.is_careful;
            self.plan(now);
        }
    }

    /// Returns the next block that a peer is to be asked for now, which it is then.
    pub(super) fn ask(&mut self, conn: ConnId, now: Instant) -> Option<u32> {
        if !matches!(self.stage, FetchStage::Fetching) {
            return None;
        }
        let source = self.sources.get(&conn)?;
        let len = source.len.filter(|len| self.open.contains(len))?;
        if source.rests_until.is_some() || source.asked.len() >= MAX_OUTSTANDING {
            return None;
        }
        if self.is_careful && !self.is_sole(conn, len) {
            return None;
        }
        let assembly = self.assemblies.entry(len).or_default();
        let out: BTreeSet<u32> = self
            .sources
            .values()
            .filter(|source| source.len == Some(len) && source.rests_until.is_none())
            .flat_map(|source| source.asked.iter().map(|(block, _)| *block))
            .collect();
        let is_free = |block: &u32| !assembly.blocks.contains_key(block) && !out.contains(block);
        let block = (0..blocks_of(len)).find(is_free)?;
        self.sources.get_mut(&conn)?.asked.push((block, now));
        Some(block)
    }

    /// Tells whether a peer is the one that alone is asked; if nobody is, it is from now on.
    fn is_sole(&mut self, conn: ConnId, len: u32) -> bool {
        let assembly = self.assemblies.entry(len).or_default();
        let is_asked = |sole: &ConnId| {
            let source = self.sources.get(sole);
            source.is_some_and(|it| it.len == Some(len) && it.rests_until.is_none())
        };
        if assembly.sole.is_none_or(|sole| !is_asked(&sole)) && assembly.sole != Some(conn) {
            *assembly = Assembly { sole: Some(conn), ..Assembly::default() };
        }
        assembly.sole == Some(conn)
    }

    /// Takes in a block that came.
    pub(super) fn arrived(
        &mut self,
        conn: ConnId,
        (block, total_len): (u32, Option<u32>),
        bytes: &[u8],
        now: Instant,
    ) -> Arrived {
        let Some(source) = self.sources.get_mut(&conn) else { return Arrived::Useless };
        let at = source.asked.iter().position(|(asked, _)| *asked == block);
        let (Some(at), Some(len)) = (at, source.len) else { return Arrived::Useless };
        source.asked.swap_remove(at);
        let is_whole = bytes.len() == index(len_of(block, len));
        if !is_whole || total_len.is_some_and(|total| total != len) {
            self.rest(conn, now);
            return Arrived::Useless;
        }
        source.rests = 0;
        source.rests_until = None;
        let addr = source.addr;
        let is_wanted = matches!(self.stage, FetchStage::Fetching) && self.open.contains(&len);
        let Some(assembly) = self.assemblies.get_mut(&len).filter(|_| is_wanted) else {
            return Arrived::Useless;
        };
        if assembly.sole.is_some_and(|sole| sole != conn) || assembly.blocks.contains_key(&block) {
            return Arrived::Useless;
        }
        // What it came in is longer, and may have room for twice as much.
        assembly.blocks.insert(block, (Bytes::copy_from_slice(bytes), addr));
        if assembly.blocks.len() < index(blocks_of(len)) {
            return Arrived::Kept;
        }
        let assembly = std::mem::take(assembly);
        let (blocks, senders) = assembly.blocks.into_values().unzip();
        self.stage = FetchStage::Judging(senders);
        Arrived::Complete(blocks)
    }

    /// Takes in that a peer does not send a block.
    pub(super) fn rejected(&mut self, conn: ConnId, block: u32, now: Instant) {
        let Some(source) = self.sources.get_mut(&conn) else { return };
        let before = source.asked.len();
        source.asked.retain(|(asked, _)| *asked != block);
        if source.asked.len() < before {
            self.rest(conn, now);
        }
    }

    /// Takes in that the copy which was judged is right, with these hashes of its blocks. Returns
    /// who had sent others.
    pub(super) fn was_right(&mut self, hashes: &[[u8; 20]]) -> Vec<SocketAddr> {
        self.stage = FetchStage::Done;
        self.assemblies.clear();
        self.open.clear();
        self.blame.settle(ONLY, hashes)
    }

    /// Takes in that the copy which was judged is wrong, with these hashes of its blocks. Returns
    /// who has sent it if that was one alone; else each is asked alone from now on, until a right
    /// copy tells which of them it was.
    pub(super) fn was_wrong(&mut self, hashes: Vec<[u8; 20]>, now: Instant) -> Option<SocketAddr> {
        let FetchStage::Judging(senders) = std::mem::take(&mut self.stage) else { return None };
        let first = *senders.first()?;
        let is_alone = senders.iter().all(|sender| super::same_host(*sender, first));
        self.is_careful = true;
        self.plan(now);
        if is_alone {
            return Some(first);
        }
        self.blame.remember(ONLY, senders.into_iter().zip(hashes).collect());
        None
    }

    /// Looks at what is due; tells whether peers can be asked for something else now.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_late = |source: &Source| {
            let is_late = |(_, at): &(u32, Instant)| *at + BLOCK_TIMEOUT <= now;
            source.rests_until.is_none() && source.asked.iter().any(is_late)
        };
        let late: Vec<ConnId> =
            self.sources.iter().filter(|(_, source)| is_late(source)).map(|(it, _)| *it).collect();
        for conn in late {
            self.rest(conn, now);
        }
        let mut is_awake = false;
        for source in self.sources.values_mut() {
            if source.rests_until.is_some_and(|until| until <= now) {
                source.rests_until = None;
                source.asked.clear();
                is_awake = true;
            }
        }
        if is_awake {
            self.plan(now);
        }
        std::mem::take(&mut self.came_free) || is_awake
    }

    /// Returns when [`Fetch::handle_timeout`] is to be called next; [`Instant::ZERO`] is at once.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if !matches!(self.stage, FetchStage::Fetching) {
            return None;
        }
        if self.came_free {
            return Some(Instant::ZERO);
        }
        let due = |source: &Source| {
            let late = source.asked.iter().map(|(_, at)| *at + BLOCK_TIMEOUT).min();
            source.len.and(source.rests_until.or(late))
        };
        self.sources.values().filter_map(due).min()
    }

    /// Returns the pieces that we have: none.
    pub(super) const fn have(&self) -> &Bitfield {
        &self.nothing
    }

    /// Tells whether the metadata is here and was handed over.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.stage, FetchStage::Done)
    }

    /// Returns how far it is, for people.
    pub(super) fn status(&self) -> MetadataStatus {
        let have = |len: u32| {
            let blocks = self.assemblies.get(&len).map(|it| it.blocks.keys());
            blocks.into_iter().flatten().map(|block| len_of(*block, len)).sum::<u32>()
        };
        let furthest = self.open.iter().map(|len| (have(*len), *len)).max();
        let sources = self.sources.values().filter(|source| source.len.is_some()).count();
        let (have, len) = furthest.map_or((0, None), |(have, len)| (have, Some(len)));
        MetadataStatus { have, len, sources }
    }

    /// Lets a peer rest for a while.
    fn rest(&mut self, conn: ConnId, now: Instant) {
        let Some(source) = self.sources.get_mut(&conn) else { return };
        let rest = (FIRST_REST * 2_u32.saturating_pow(source.rests.min(8))).min(MAX_REST);
        source.rests += 1;
        source.rests_until = Some(now + rest);
        self.came_free = true;
        self.plan(now);
    }

    /// Decides which claims are fetched. What is here of others is dropped.
    ///
    /// One half of the room is for the shortest, so that no crowd of liars with long ones shuts
    /// them out, the other for those that most peers stand up for, so that no swarm of short lies
    /// shuts out a long truth.
    fn plan(&mut self, now: Instant) {
        let mut claims: BTreeMap<u32, usize> = BTreeMap::new();
        for source in self.sources.values() {
            let Some(len) = source.len else { continue };
            let is_awake = source.rests_until.is_none_or(|until| until <= now);
            *claims.entry(len).or_default() += usize::from(is_awake);
        }
        let mut claims: Vec<(u32, usize)> = claims.into_iter().collect();
        let mut open: BTreeSet<u32> = fitting(&claims).collect();
        claims.sort_by_key(|(len, peers)| (Reverse(*peers), *len));
        open.extend(fitting(&claims));
        self.came_free |= !open.is_subset(&self.open);
        self.assemblies.retain(|len, _| open.contains(len));
        self.open = open;
    }
}

/// Returns the lengths of those claims, in their order, for which half of the room is enough.
fn fitting(claims: &[(u32, usize)]) -> impl Iterator<Item = u32> + '_ {
    let mut room = MAX_HELD / 2;
    claims.iter().filter_map(move |(len, _)| {
        room = room.checked_sub(*len)?;
        Some(*len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ut_metadata::METADATA_BLOCK_LEN;

    fn conn(n: u32) -> ConnId {
        ConnId { index: n, generation: 0 }
    }

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n.to_le_bytes()[0]], 1))
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn fetch(claims: &[(u32, u32)]) -> Fetch {
        let mut fetch = Fetch::default();
        for (peer, len) in claims {
            fetch.claim(conn(*peer), addr(*peer), Some(*len), at(0));
        }
        assert!(fetch.handle_timeout(at(0)), "they can be asked");
        fetch
    }

    fn block(byte: u8, block: u32, len: u32) -> Vec<u8> {
        vec![byte; len_of(block, len) as usize]
    }

    /// Gives everything that `peers` are asked for, in turns, filled with their numbers; returns
    /// the blocks when they are complete.
    fn serve(fetch: &mut Fetch, peers: &[u32], len: u32, now: Instant) -> Vec<Bytes> {
        loop {
            let mut asked = false;
            for peer in peers {
                if let Some(number) = fetch.ask(conn(*peer), now) {
                    asked = true;
                    let bytes = block(peer.to_le_bytes()[0], number, len);
                    let of = (number, Some(len));
                    if let Arrived::Complete(blocks) = fetch.arrived(conn(*peer), of, &bytes, now) {
                        return blocks;
                    }
                }
            }
            assert!(asked, "nobody is asked");
        }
    }

    const LEN: u32 = 5 * METADATA_BLOCK_LEN + 7;

    #[test]
    fn every_block_is_asked_for_once_and_two_of_a_peer_at_a_time() {
        let mut fetch = fetch(&[(1, LEN), (2, LEN)]);
        let asked: Vec<_> =
            [1, 1, 1, 2, 2, 2].iter().map(|peer| fetch.ask(conn(*peer), at(0))).collect();
        assert_eq!(asked, [Some(0), Some(1), None, Some(2), Some(3), None]);
        let of = |number| (number, Some(LEN));
        let first = fetch.arrived(conn(1), of(1), &block(1, 1, LEN), at(1));
        assert_eq!((first, fetch.ask(conn(1), at(1))), (Arrived::Kept, Some(4)));
        let status = MetadataStatus { have: METADATA_BLOCK_LEN, len: Some(LEN), sources: 2 };
        assert_eq!(fetch.status(), status);
        assert_eq!(fetch.arrived(conn(2), of(1), &block(1, 1, LEN), at(1)), Arrived::Useless);
    }

    #[test]
    fn a_peer_that_does_not_answer_rests_and_others_are_asked() {
        let mut fetch = fetch(&[(1, LEN), (2, LEN)]);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
        assert_eq!(fetch.next_timeout(), Some(at(3_000)));
        assert!(!fetch.handle_timeout(at(2_999)) && fetch.handle_timeout(at(3_000)));
        assert_eq!(fetch.ask(conn(1), at(3_000)), None);
        assert_eq!(fetch.ask(conn(2), at(3_000)), Some(0));
        // It comes late and is welcome; the peer is awake again.
        let late = fetch.arrived(conn(1), (0, None), &block(1, 0, LEN), at(4_000));
        assert_eq!((late, fetch.ask(conn(1), at(4_000))), (Arrived::Kept, Some(1)));
        fetch.rejected(conn(1), 1, at(5_000));
        assert_eq!(fetch.ask(conn(1), at(9_999)), None);
        assert!(fetch.handle_timeout(at(10_000)));
        assert_eq!(fetch.ask(conn(1), at(10_000)), Some(1));
        fetch.rejected(conn(1), 1, at(10_000));
        assert_eq!(fetch.sources[&conn(1)].rests_until, Some(at(20_000)), "twice as long");
        for _ in 0..40 {
            fetch.rest(conn(1), at(0));
        }
        assert_eq!(fetch.sources[&conn(1)].rests_until, Some(at(60_000)));
    }

    #[test]
    fn blocks_of_another_length_than_claimed_are_not_taken() {
        let mut fetch = fetch(&[(1, LEN)]);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
        let short = fetch.arrived(conn(1), (0, Some(LEN)), &[1; 5], at(0));
        assert_eq!((short, fetch.ask(conn(1), at(0))), (Arrived::Useless, None));
        let mut fetch = super::tests::fetch(&[(1, LEN)]);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
        let other = fetch.arrived(conn(1), (0, Some(LEN + 1)), &block(1, 0, LEN), at(0));
        assert_eq!(other, Arrived::Useless);
    }

    #[test]
    fn claims_are_kept_apart_and_the_first_that_is_whole_is_judged() {
        let mut fetch = fetch(&[(1, LEN), (2, 3 * METADATA_BLOCK_LEN)]);
        assert_eq!((fetch.ask(conn(1), at(0)), fetch.ask(conn(2), at(0))), (Some(0), Some(0)));
        fetch.left(conn(2), at(0));
        fetch.claim(conn(2), addr(2), Some(3 * METADATA_BLOCK_LEN), at(0));
        let blocks = serve(&mut fetch, &[2], 3 * METADATA_BLOCK_LEN, at(0));
        assert_eq!(blocks.len(), 3);
        assert!(blocks.iter().all(|block| block[0] == 2));
        assert_eq!(fetch.ask(conn(1), at(0)), None, "one is being judged");
    }

    #[test]
    fn one_alone_is_guilty_at_once_and_several_until_a_right_copy_tells() {
        let mut fetch = fetch(&[(1, LEN)]);
        serve(&mut fetch, &[1], LEN, at(0));
        assert_eq!(fetch.was_wrong(vec![[1; 20]; 6], at(0)), Some(addr(1)));
        fetch.left(conn(1), at(0));

        let mut fetch = super::tests::fetch(&[(1, LEN), (2, LEN), (3, LEN)]);
        let blocks = serve(&mut fetch, &[1, 2, 3], LEN, at(0));
        let hashes = |right: u8| blocks.iter().map(move |_| [right; 20]);
        // Those of peer 2 are wrong.
        let wrong: Vec<_> =
            blocks.iter().map(|it| if it[0] == 2 { [9; 20] } else { [1; 20] }).collect();
        assert_eq!(fetch.was_wrong(wrong, at(0)), None);
        assert_eq!(fetch.ask(conn(3), at(0)), Some(0));
        assert_eq!((fetch.ask(conn(1), at(0)), fetch.ask(conn(2), at(0))), (None, None));
        fetch.left(conn(3), at(0));
        let alone = serve(&mut fetch, &[1], LEN, at(0));
        assert!(alone.iter().all(|block| block[0] == 1), "one peer's alone");
        assert_eq!(fetch.was_right(&hashes(1).collect::<Vec<_>>()), [addr(2)]);
        assert!(fetch.is_done() && fetch.ask(conn(1), at(0)).is_none());
    }

    #[test]
    fn what_is_held_is_bounded_and_what_most_say_is_fetched() {
        let mut fetch = fetch(&[(1, MAX_METADATA_LEN), (2, LEN), (3, LEN)]);
        assert_eq!(fetch.ask(conn(1), at(0)), None, "there is no room for both");
        assert_eq!(fetch.ask(conn(2), at(0)), Some(0));
        // Who answers nothing does not stand up for anything.
        assert_eq!(fetch.ask(conn(3), at(0)), Some(1));
        assert!(fetch.handle_timeout(at(3_000)));
        assert_eq!(fetch.ask(conn(1), at(3_000)), Some(0));
        for (peer, len) in (4..).zip([LEN - 1, LEN - 2, MAX_METADATA_LEN - 1]) {
            fetch.claim(conn(peer), addr(peer), Some(len), at(3_000));
            assert!(fetch.open.iter().sum::<u32>() <= MAX_HELD);
        }
    }

    #[test]
    fn a_crowd_with_long_lies_and_a_swarm_with_short_ones_shut_nobody_out() {
        let mut fetch = fetch(&[(1, LEN)]);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
        let kept = fetch.arrived(conn(1), (0, None), &block(1, 0, LEN), at(0));
        assert_eq!(kept, Arrived::Kept);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(1));
        fetch.rejected(conn(1), 1, at(0));
        for liar in 2..9 {
            fetch.claim(conn(liar), addr(liar), Some(MAX_METADATA_LEN), at(0));
        }
        assert!(fetch.handle_timeout(at(5_000)));
        assert_eq!(fetch.ask(conn(1), at(5_000)), Some(1), "what is here of it stays");
        let long = MAX_METADATA_LEN - 1;
        let mut fetch = super::tests::fetch(&[(1, long), (2, long)]);
        for liar in 3..40 {
            fetch.claim(conn(liar), addr(liar), Some(long / 20 - liar), at(0));
        }
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
    }

    #[test]
    fn it_is_told_when_others_can_be_asked_for_what_came_free() {
        let mut fetch = fetch(&[(1, 5), (2, 5)]);
        let is_free = |fetch: &mut Fetch| {
            assert_eq!(fetch.next_timeout(), Some(Instant::ZERO));
            assert!(fetch.handle_timeout(at(0)) && !fetch.handle_timeout(at(0)));
        };
        assert_eq!((fetch.ask(conn(1), at(0)), fetch.ask(conn(2), at(0))), (Some(0), None));
        fetch.rejected(conn(1), 0, at(0));
        is_free(&mut fetch);
        assert_eq!(fetch.ask(conn(2), at(0)), Some(0));
        assert_eq!(fetch.arrived(conn(2), (0, None), &[7; 4], at(0)), Arrived::Useless);
        is_free(&mut fetch);
        fetch.claim(conn(3), addr(3), Some(5), at(0));
        assert_eq!(fetch.ask(conn(3), at(0)), Some(0));
        fetch.claim(conn(4), addr(4), Some(5), at(0));
        assert_eq!(fetch.next_timeout(), Some(at(3_000)), "nothing came free");
        fetch.left(conn(3), at(0));
        is_free(&mut fetch);
    }

    #[test]
    fn a_claim_that_changes_forgets_what_was_asked() {
        let mut fetch = fetch(&[(1, LEN)]);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
        fetch.claim(conn(1), addr(1), Some(LEN + 1), at(0));
        assert_eq!(fetch.arrived(conn(1), (0, None), &block(1, 0, LEN), at(0)), Arrived::Useless);
        assert_eq!(fetch.ask(conn(1), at(0)), Some(0));
        fetch.claim(conn(1), addr(1), None, at(0));
        assert!(fetch.handle_timeout(at(0)), "others may offer it");
        assert_eq!((fetch.ask(conn(1), at(0)), fetch.next_timeout()), (None, None));
    }

    #[test]
    fn what_peers_claim_to_have_is_remembered_up_to_a_budget() {
        let mut fetch = Fetch::default();
        for peer in 0..16 {
            assert!(fetch.remember(conn(peer), addr(peer), 256 << 10));
        }
        assert!(!fetch.remember(conn(16), addr(16), 1));
        assert!(fetch.remember(conn(3), addr(3), 100), "it is its own that is replaced");
        assert!(fetch.remember(conn(16), addr(16), 1));
    }
}
