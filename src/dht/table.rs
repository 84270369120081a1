//! The routing table: which nodes we know, more of them the closer they are (BEP 5, "Routing
//! Table").
//!
//! Bucket `i` has the nodes whose ids share exactly `i` bits with ours; the last one, which ours
//! would be in, those that share as many or more, and is the only one that is ever split.
//! **Invariant:** the table knows no query and no lookup; whom it wants asked it says, and is told
//! what came of it. Go on with [`Bucket`].

use std::net::SocketAddr;

use super::bucket::{Bucket, GOOD_FOR, K, MAX_SPARE, Node, Offer, Standing};
use crate::id::NodeId;
use crate::proto::compact::NodeInfo;
use crate::rng::Rng;
use crate::time::Instant;

/// Buckets at most: an id has so many bits. Some 15 are in use in a DHT of millions.
const MAX_BUCKETS: usize = NodeId::BITS;

/// The nodes of one address family that we know of.
#[derive(Debug)]
pub(super) struct Table {
    own: NodeId,
    /// Never empty, at most [`MAX_BUCKETS`].
    buckets: Vec<Bucket>,
}

/// How many nodes a table has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct TableSize {
    /// Nodes that have answered and are not known to be gone.
    pub nodes: usize,
    /// Those of them that are good: heard of within 15 minutes (BEP 5).
    pub good: usize,
    /// Those that wait for a place.
    pub spare: usize,
    /// Buckets.
    pub buckets: usize,
}

impl Table {
    pub(super) fn new(own: NodeId, now: Instant) -> Self {
        Self { own, buckets: vec![Bucket::new(now)] }
    }

    /// Returns our own id.
    pub(super) fn own(&self) -> NodeId {
        self.own
    }

    /// Takes another id for our own; the nodes find their places anew.
    pub(super) fn rebase(&mut self, own: NodeId, now: Instant) {
        let before = std::mem::replace(self, Self::new(own, now));
        let buckets = before.buckets.into_iter();
        for node in buckets.flat_map(|bucket| bucket.live.into_iter().chain(bucket.spare)) {
            if node.has_answered() {
                self.insert(node, now);
            }
        }
    }

    /// Records that a node has answered a query of ours: it comes in, or is good again.
    ///
    /// A node with the id or the host of one that is good is not let in. O(nodes).
    pub(super) fn answered(&mut self, info: NodeInfo, now: Instant) {
        let at = self.index(info.id);
        if info.id == self.own || self.buckets[at].heard(&info, true, now) {
            return;
        }
        let stays =
            |node: &Node| node.info.addr != info.addr && node.standing(now) == Standing::Good;
        if self.clashes(&info).any(stays) {
            return;
        }
        self.buckets.iter_mut().for_each(|bucket| bucket.forget(&info));
        self.insert(Node::new(info, true, now), now);
        self.check_invariants();
    }

    /// Records that a node has sent a query; tells whether it is news that somebody may be worth
    /// asking.
    pub(super) fn heard(&mut self, info: NodeInfo, now: Instant) -> bool {
        let at = self.index(info.id);
        let bucket = &mut self.buckets[at];
        if info.id == self.own || bucket.heard(&info, false, now) {
            return false;
        }
        if self.buckets.iter_mut().any(|bucket| bucket.doubt(&info)) {
            return true;
        }
        self.clashes(&info).next().is_none() && self.buckets[at].keep(Node::new(info, false, now))
    }

    /// Records that the node at `addr` has left a query unanswered.
    pub(super) fn failed(&mut self, addr: SocketAddr, now: Instant) {
        self.buckets.iter_mut().for_each(|bucket| bucket.failed(addr, now));
    }

    /// Tells whether the node at `addr` has answered us and is not known to be gone.
    pub(super) fn is_proven(&self, addr: SocketAddr, now: Instant) -> bool {
        self.nodes().any(|node| node.info.addr == addr && node.standing(now) < Standing::Bad)
    }

    /// Returns whom to ask for the table's sake, if anybody. Each comes up once in a while only.
    pub(super) fn next_check(&mut self, now: Instant) -> Option<NodeInfo> {
        let last = self.buckets.len() - 1;
        // From the last: who is close to us counts most, for us and for who looks for us.
        let mut buckets = self.buckets.iter_mut().enumerate().rev();
        buckets.find_map(|(at, bucket)| bucket.next_check(at == last && at < MAX_BUCKETS - 1, now))
    }

    /// Returns the `count` nodes closest to `target`, closest first, that are not known to be gone;
    /// those that have not answered the last time only if there are too few others.
    pub(super) fn closest(&self, target: NodeId, count: usize, now: Instant) -> Vec<NodeInfo> {
        let sure = self.closest_of(target, count, |(node, is_sure)| is_sure.then_some(node), now);
        if sure.len() == count {
            return sure;
        }
        self.closest_of(target, count, |(node, _)| Some(node), now)
    }

    fn closest_of(
        &self,
        target: NodeId,
        count: usize,
        pick: impl Fn((NodeInfo, bool)) -> Option<NodeInfo>,
        now: Instant,
    ) -> Vec<NodeInfo> {
        let usable = |bucket: &Bucket| bucket.usable(now).filter_map(&pick).collect::<Vec<_>>();
        let at = self.index(target);
        // Nodes in the target's own bucket are closer to it than any other; next come those of the
        // deeper ones, which all differ from it in the same bit, and then each shallower one.
        let mut found = usable(&self.buckets[at]);
        if found.len() < count {
            found.extend(self.buckets[at + 1..].iter().flat_map(usable));
        }
        for bucket in self.buckets[..at].iter().rev() {
            if found.len() >= count {
                break;
            }
            found.extend(usable(bucket));
        }
        found.sort_unstable_by_key(|node| node.id.distance(target));
        found.truncate(count);
        found
    }

    /// Returns all nodes that have answered, the most reliable first.
    pub(super) fn all(&self, now: Instant) -> Vec<NodeInfo> {
        let mut nodes: Vec<&Node> = self.nodes().collect();
        nodes.sort_by_key(|node| node.standing(now));
        nodes.iter().map(|node| node.info).collect()
    }

    /// Returns when [`Table::refresh`] has something to do.
    pub(super) fn refresh_at(&self) -> Instant {
        let times = self.buckets.iter().map(|bucket| bucket.refresh_at);
        times.min().expect("there is a bucket")
    }

    /// Returns what to look for to refresh a bucket in which nothing has happened for long: a
    /// random id in its range (BEP 5), or our own, which is in the range of the last one.
    pub(super) fn refresh(&mut self, rng: &mut Rng, now: Instant) -> Option<NodeId> {
        let due = self.buckets.iter().enumerate().min_by_key(|(_, bucket)| bucket.refresh_at);
        let at = due.filter(|(_, bucket)| bucket.refresh_at <= now).map(|(at, _)| at)?;
        self.buckets[at].refresh_at = now + GOOD_FOR;
        let is_last = at + 1 == self.buckets.len();
        Some(if is_last { self.own } else { self.random_id(at, rng) })
    }

    /// Makes the last bucket, and every other one that is not full, due to be refreshed: who has
    /// just come into the DHT knows few yet.
    pub(super) fn refresh_unfilled(&mut self, now: Instant) {
        let last = self.buckets.len() - 1;
        for (at, bucket) in self.buckets.iter_mut().enumerate() {
            if at == last || bucket.live.len() < K {
                bucket.refresh_at = now;
            }
        }
    }

    pub(super) fn size(&self, now: Instant) -> TableSize {
        let count = |least| self.nodes().filter(|node| node.standing(now) <= least).count();
        TableSize {
            nodes: count(Standing::Questionable),
            good: count(Standing::Good),
            spare: self.buckets.iter().map(|bucket| bucket.spare.len()).sum(),
            buckets: self.buckets.len(),
        }
    }

    /// Tells whether there is any node that is not known to be gone.
    pub(super) fn has_nodes(&self, now: Instant) -> bool {
        self.buckets.iter().any(|bucket| bucket.usable(now).next().is_some())
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets.iter().flat_map(|bucket| &bucket.live)
    }

    /// Returns the nodes that cannot be there together with this one.
    fn clashes<'a>(&'a self, info: &'a NodeInfo) -> impl Iterator<Item = &'a Node> {
        self.nodes().filter(|node| node.clashes(info))
    }

    fn insert(&mut self, node: Node, now: Instant) {
        loop {
            let at = self.index(node.info.id);
            if self.buckets[at].offer(node, now) != Offer::Full {
                return;
            }
            if at + 1 < self.buckets.len() || self.buckets.len() == MAX_BUCKETS {
                self.buckets[at].press(node);
                return;
            }
            let own = self.own;
            let deeper = self.buckets[at].split(|id| own.shared_bits(id) == at);
            self.buckets.push(deeper);
            // Nobody has looked yet whether there are more of either half.
            self.buckets[at].refresh_at = now;
            self.buckets[at + 1].refresh_at = now;
        }
    }

    fn index(&self, id: NodeId) -> usize {
        self.own.shared_bits(id).min(self.buckets.len() - 1)
    }

    /// Returns a random id that belongs into a bucket that is not the last.
    fn random_id(&self, at: usize, rng: &mut Rng) -> NodeId {
        let mut id = [0; 20];
        rng.fill(&mut id);
        for bit in 0..=at {
            let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
            let wanted = if bit == at { !self.own.0[byte] } else { self.own.0[byte] };
            id[byte] = (id[byte] & !mask) | (wanted & mask);
        }
        NodeId(id)
    }

    fn check_invariants(&self) {
        debug_assert!((1..=MAX_BUCKETS).contains(&self.buckets.len()));
        debug_assert!(
            self.buckets
                .iter()
                .all(|bucket| { bucket.live.len() <= K && bucket.spare.len() <= MAX_SPARE })
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::bucket::{group, host};
    use super::super::secure;
    use super::*;
    use crate::rng::Rng;
    use crate::time::Duration;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const OWN: NodeId = NodeId([0; 20]);

    fn at(s: u64) -> Instant {
        Instant::from_secs(s)
    }

    /// A node at a local address, where any id is good, that shares `bits` bits with our id.
    fn local(bits: usize, host: u8) -> NodeInfo {
        let mut id = [0; 20];
        id[bits / 8] = 0x80 >> (bits % 8);
        id[19] |= host;
        NodeInfo { id: NodeId(id), addr: SocketAddr::from(([10, 0, 0, host], 6881)) }
    }

    /// A node at an address of the internet, with a good id or another.
    fn public(ip: [u8; 4], is_secure: bool, rng: &mut Rng) -> NodeInfo {
        let addr = SocketAddr::from((ip, 6881));
        let mut id = secure::id_at(Some(addr.ip()), rng);
        id.0[2] ^= u8::from(!is_secure) << 7;
        NodeInfo { id, addr }
    }

    fn filled(hosts: std::ops::Range<u8>) -> Table {
        let mut table = Table::new(OWN, at(0));
        hosts.for_each(|host| table.answered(local(0, host), at(0)));
        table
    }

    fn addrs(table: &Table, now: Instant) -> BTreeSet<u8> {
        let octet = |node: NodeInfo| match node.addr {
            SocketAddr::V4(addr) => addr.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        };
        table.closest(OWN, 1_000, now).into_iter().map(octet).collect()
    }

    #[test]
    fn only_the_bucket_of_our_own_id_is_split() {
        let mut table = filled(1..20);
        assert_eq!(table.buckets.len(), 2, "split once to find that it does not help");
        assert_eq!(table.size(at(0)).nodes, K);
        for (bits, first) in (1..12).zip((30..).step_by(10)) {
            (first..first + 10).for_each(|host| table.answered(local(bits, host), at(0)));
        }
        assert_eq!(table.buckets.len(), 13);
        assert!(table.buckets.iter().all(|bucket| bucket.live.len() <= K));
        for (at, bucket) in table.buckets.iter().enumerate() {
            assert!(bucket.live.iter().all(|node| table.index(node.info.id) == at));
        }
    }

    #[test]
    fn a_full_bucket_of_good_nodes_keeps_them_and_the_newcomers_wait() {
        let table = filled(1..30);
        assert_eq!(addrs(&table, at(0)), (1..9).collect());
        assert_eq!(table.size(at(0)).spare, MAX_SPARE);
        let spare: Vec<_> = table.buckets[0].spare.iter().map(|node| node.info).collect();
        assert_eq!(spare, (22..30).map(|host| local(0, host)).collect::<Vec<_>>(), "the newest");
    }

    #[test]
    fn a_node_that_does_not_answer_twice_makes_way_for_the_newest_that_has() {
        let mut table = filled(1..12);
        table.failed(local(0, 3).addr, at(1));
        assert!(addrs(&table, at(1)).contains(&3), "once is nothing");
        table.failed(local(0, 3).addr, at(2));
        assert_eq!(addrs(&table, at(2)), [1, 2, 4, 5, 6, 7, 8, 11].into());
        table.failed(local(0, 4).addr, at(2));
        table.answered(local(0, 4), at(2));
        table.failed(local(0, 4).addr, at(3));
        assert!(addrs(&table, at(3)).contains(&4), "it has answered in between");
    }

    #[test]
    fn a_bad_node_without_a_successor_stays_unnamed_and_comes_back_when_it_answers() {
        let mut table = filled(1..4);
        (0..9).for_each(|s| table.failed(local(0, 2).addr, at(s)));
        assert_eq!(addrs(&table, at(9)), [1, 3].into());
        assert_eq!(table.size(at(9)).nodes, 2);
        table.answered(local(0, 2), at(10));
        assert_eq!(addrs(&table, at(10)), [1, 2, 3].into());
    }

    #[test]
    fn who_asks_is_asked_before_he_comes_in() {
        let mut table = filled(1..4);
        assert!(table.heard(local(0, 7), at(1)));
        assert!(!table.heard(local(0, 7), at(1)), "no news");
        assert_eq!(addrs(&table, at(1)), [1, 2, 3].into());
        assert_eq!(table.next_check(at(1)), Some(local(0, 7)));
        assert_eq!(table.next_check(at(2)), None, "once");
        table.answered(local(0, 7), at(3));
        assert_eq!(addrs(&table, at(3)), [1, 2, 3, 7].into());
        assert_eq!(table.size(at(3)).spare, 0);

        assert!(table.heard(local(0, 9), at(4)));
        assert_eq!(table.next_check(at(4)), Some(local(0, 9)));
        table.failed(local(0, 9).addr, at(8));
        assert_eq!((table.next_check(at(60)), table.size(at(60)).spare), (None, 0));
    }

    #[test]
    fn a_questionable_node_is_asked_only_when_somebody_wants_its_place() {
        let mut table = filled(1..9);
        // The bucket in front has no place and cannot be split.
        table.answered(local(3, 100), at(0));
        (0..8).for_each(|host| table.answered(local(4, 101 + host), at(0)));
        let later = at(0) + GOOD_FOR;
        table.answered(local(0, 1), later);
        assert_eq!(table.next_check(later), None, "nobody waits");
        table.heard(local(0, 50), later);
        assert_eq!(table.next_check(later), Some(local(0, 2)), "the one silent for longest");
        assert_eq!(table.next_check(later), Some(local(0, 3)));
        let asked = later + Duration::from_secs(4);
        table.failed(local(0, 2).addr, asked);
        let again = later + Duration::from_secs(20);
        assert_eq!(table.next_check(again), Some(local(0, 2)), "BEP 5: try once more");
        table.failed(local(0, 2).addr, again);
        assert_eq!(table.next_check(again), Some(local(0, 50)), "now there is a place");
        table.answered(local(0, 50), again);
        assert!(addrs(&table, again).contains(&50) && !addrs(&table, again).contains(&2));
    }

    #[test]
    fn a_query_keeps_a_node_good_that_has_answered_once() {
        let mut table = filled(1..4);
        let later = at(0) + GOOD_FOR;
        assert_eq!((table.size(later).nodes, table.size(later).good), (3, 0));
        table.heard(local(0, 2), later);
        assert_eq!(table.size(later).good, 1);
        table.answered(local(0, 1), later);
        assert_eq!(table.size(later).good, 2);
    }

    #[test]
    fn one_host_has_one_node_and_one_neighbourhood_one_in_a_bucket() {
        let mut rng = Rng::new(1);
        let mut table = Table::new(OWN, at(0));
        let first = public([80, 0, 0, 1], true, &mut rng);
        table.answered(first, at(0));
        let same_host = NodeInfo { addr: "80.0.0.1:7000".parse().expect("one"), ..first };
        let same_host =
            NodeInfo { id: secure::id_at(Some(first.addr.ip()), &mut rng), ..same_host };
        table.answered(same_host, at(0));
        let stolen_id = NodeInfo { addr: "90.0.0.1:6881".parse().expect("one"), ..first };
        table.answered(stolen_id, at(0));
        table.answered(public([80, 0, 0, 9], true, &mut rng), at(0));
        assert_eq!(table.closest(OWN, 9, at(0)), [first]);
        assert!(!table.heard(same_host, at(1)) && !table.heard(stolen_id, at(1)));

        let restarted = NodeInfo { id: secure::id_at(Some(first.addr.ip()), &mut rng), ..first };
        table.answered(restarted, at(2));
        assert_eq!(table.closest(OWN, 9, at(2)), [restarted], "it has another id now");
        (0..2).for_each(|s| table.failed(restarted.addr, at(3 + s)));
        table.answered(same_host, at(5));
        assert_eq!(table.closest(OWN, 9, at(5)), [same_host], "it has another port now");
    }

    #[test]
    fn an_id_that_follows_from_its_address_takes_the_place_of_one_that_does_not() {
        let mut rng = Rng::new(2);
        let mut table = Table::new(NodeId([0xff; 20]), at(0));
        // In the first bucket, which is never split.
        let mut node = |network: u8, is_secure| loop {
            let node = public([80, network, 0, 1], is_secure, &mut rng);
            if node.id.0[0] < 0x80 {
                return node;
            }
        };
        let insecure: Vec<_> = (0..8).map(|n| node(n, false)).collect();
        for node in &insecure {
            table.answered(*node, at(0));
        }
        let secure: Vec<_> = (10..18).map(|n| node(n, true)).collect();
        for (n, node) in secure.iter().enumerate() {
            table.answered(*node, at(1));
            assert!(table.is_proven(node.addr, at(1)));
            assert_eq!(insecure.iter().filter(|o| table.is_proven(o.addr, at(1))).count(), 7 - n);
        }
        table.answered(node(30, true), at(2));
        assert_eq!(table.size(at(2)).nodes, K);
        assert!(secure.iter().all(|node| table.is_proven(node.addr, at(2))), "good ones stay");
    }

    #[test]
    fn a_bucket_in_which_nothing_happens_is_refreshed_after_fifteen_minutes() {
        let mut rng = Rng::new(3);
        let mut table = filled(1..9);
        (1..4).zip(20..).for_each(|(bits, host)| table.answered(local(bits, host), at(0)));
        (0..9).for_each(|host| table.answered(local(0, 40 + host), at(0)));
        let buckets = table.buckets.len();
        // What was split is looked through once; here nobody is found.
        while table.refresh(&mut rng, at(0)).is_some() {}
        assert_eq!(table.refresh(&mut rng, at(1)), None);
        table.answered(local(0, 1), at(600));
        assert_eq!(table.refresh_at(), at(0) + GOOD_FOR);
        let due = table.refresh_at();
        let mut refreshed = BTreeSet::new();
        while let Some(target) = table.refresh(&mut rng, due) {
            refreshed.insert(table.index(target));
        }
        assert_eq!(refreshed, (1..buckets).collect(), "all but the one in which somebody answered");
        assert_eq!(table.refresh_at(), at(600) + GOOD_FOR);
    }

    #[test]
    fn random_ids_belong_into_their_bucket() {
        let mut rng = Rng::new(4);
        let mut own = [0; 20];
        rng.fill(&mut own);
        let mut table = Table::new(NodeId(own), at(0));
        table.buckets = (0..MAX_BUCKETS).map(|_| Bucket::new(at(0))).collect();
        for at in 0..MAX_BUCKETS - 1 {
            let ids: BTreeSet<_> = (0..20).map(|_| table.random_id(at, &mut rng)).collect();
            assert!(ids.iter().all(|id| table.index(*id) == at), "bucket {at}");
            assert!(at > 150 || ids.len() > 10, "they are random");
        }
    }

    #[test]
    fn another_id_of_our_own_moves_the_nodes() {
        let mut rng = Rng::new(5);
        let mut table = Table::new(OWN, at(0));
        for network in 0..200 {
            table.answered(public([80, network, 0, 1], true, &mut rng), at(0));
        }
        let before = table.closest(OWN, 8, at(0));
        table.rebase(NodeId([0xff; 20]), at(1));
        assert_eq!(table.own(), NodeId([0xff; 20]));
        for (at, bucket) in table.buckets.iter().enumerate() {
            assert!(bucket.live.iter().all(|node| table.index(node.info.id) == at));
        }
        assert_ne!(table.closest(OWN, 8, at(1)), before, "the far ones of now are fewer");
        assert!(table.size(at(1)).nodes > 20);
    }

    proptest! {
        #[test]
        fn the_closest_are_the_closest_of_all(
            nodes in prop::collection::vec((any::<[u8; 20]>(), any::<[u8; 3]>()), 1..200),
            own: [u8; 20],
            target: [u8; 20],
            count in 0usize..20,
        ) {
            let (mut table, now) = (Table::new(NodeId(own), at(0)), at(1));
            for (id, [a, b, c]) in nodes {
                let addr = SocketAddr::from(([10, a, b, c], 6881));
                table.answered(NodeInfo { id: NodeId(id), addr }, now);
            }
            // Near the target, too, and not only anywhere.
            for target in [NodeId(target), NodeId(own)] {
                let mut all = table.all(now);
                all.sort_by_key(|node| node.id.distance(target));
                all.truncate(count);
                prop_assert_eq!(table.closest(target, count, now), all);
            }
        }

        #[test]
        fn whatever_happens_the_table_stays_in_order(
            own: [u8; 20],
            steps in prop::collection::vec((0u8..5, 0u8..60, 0u8..3, 0u64..400), 1..300),
            seed: u64,
        ) {
            let mut rng = Rng::new(seed);
            let mut table = Table::new(NodeId(own), at(0));
            let mut now = at(0);
            let ids: Vec<NodeId> = (0..3 * 60).map(|_| secure::id_at(None, &mut rng)).collect();
            for (step, host_of_it, variant, pause) in steps {
                now += Duration::from_secs(pause);
                let id = ids[usize::from(host_of_it) * 3 + usize::from(variant)];
                let addr = SocketAddr::from(([80, host_of_it / 2, 0, host_of_it], 6881));
                match step {
                    0 | 1 => table.answered(NodeInfo { id, addr }, now),
                    2 => drop(table.heard(NodeInfo { id, addr }, now)),
                    3 => table.failed(addr, now),
                    _ => drop(table.next_check(now)),
                }
                let hosts: BTreeSet<_> = table.nodes().map(|node| host(node.info.addr)).collect();
                let ids: BTreeSet<_> = table.nodes().map(|node| node.info.id).collect();
                let len = table.nodes().count();
                prop_assert_eq!((hosts.len(), ids.len()), (len, len));
                for (at, bucket) in table.buckets.iter().enumerate() {
                    let all = || bucket.live.iter().chain(&bucket.spare);
                    let groups: BTreeSet<_> = all().map(|node| group(node.info.addr)).collect();
                    prop_assert_eq!(groups.len(), all().count());
                    prop_assert!(bucket.live.iter().all(Node::has_answered));
                    prop_assert!(all().all(|node| table.index(node.info.id) == at));
                }
            }
        }
    }
}
