//! Addresses that could be dialled: which one next, which one not yet, which one never again.
//!
//! Knows nothing of connections but what it is told of their fate. A failed dial backs off and
//! doubles; an address that is banned is neither dialled nor let in; our own is remembered as ours.

mod room;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::net_policy::{NamedBy, Purpose, Reach, net_policy};
use crate::proto::priority::Vantage;
use crate::time::{Duration, Instant};

pub use room::MAX_CANDIDATES;

/// The most bans remembered for one torrent; beyond it the lowest address is forgotten.
pub const MAX_BANS: usize = 4_096;

/// How often in a row an address that a tracker named may fail before it is forgotten: the tracker
/// names it again if it is alive.
const MAX_FAILURES: u32 = 8;

/// The same of one that a peer named, who may have made it up.
const MAX_PEX_FAILURES: u32 = 2;
/// The same of one that the DHT named: some of those that announced it half an hour ago are gone,
/// and what is alive is named again.
const MAX_DHT_FAILURES: u32 = 3;
/// The same of one that has announced itself on the local network: if it is alive, it does again.
const MAX_LSD_FAILURES: u32 = 2;

/// How long an address rests after its first failed dial; it doubles with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// The longest rest.
const MAX_BACK_OFF: Duration = Duration::from_secs(30 * 60);
/// How long an address rests after a connection that had worked (security.md 5.6, row 35).
const AFTER_CONNECTION: Duration = Duration::from_secs(60);
/// The first and the longest rest of an address that the user named: somebody waits for it.
const FIRST_BACK_OFF_NAMED: Duration = Duration::from_secs(1);
const MAX_BACK_OFF_NAMED: Duration = Duration::from_secs(15);
/// The longest rest of an address that a link named: whoever has made the link may have named
/// somebody else's, for all who follow it to knock at.
const MAX_BACK_OFF_LINK: Duration = Duration::from_secs(5 * 60);
/// How long it rests after a connection that had worked: Transmission closes all when it has the
/// metadata of a magnet.
const AFTER_CONNECTION_NAMED: Duration = Duration::from_secs(5);

/// Where an address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The user.
    User,
    /// A magnet link (BEP 9, `x.pe`).
    Link,
    /// The answer of a tracker whose address reaches so far.
    Tracker(Reach),
    /// Nodes of the DHT (BEP 5).
    Dht,
    /// Another peer, at this address (BEP 11).
    Pex(IpAddr),
    /// Itself, announced on the local network (BEP 14).
    Lsd,
}

impl Source {
    /// Returns who names what comes from it.
    pub(super) fn named_by(self) -> NamedBy {
        match self {
            Self::User => NamedBy::User,
            Self::Link => NamedBy::Torrent,
            Self::Tracker(reach) => NamedBy::Remote(reach),
            // Held against who has named it when it came; and whoever names itself is not nearer
            // than it is.
            Self::Dht | Self::Lsd => NamedBy::Remote(Reach::Loopback),
            Self::Pex(from) => NamedBy::Remote(Reach::of(from)),
        }
    }

    /// Tells whether peers of a private torrent may come from it (BEP 27); whom the user names is
    /// his own business.
    const fn is_for_private(self) -> bool {
        matches!(self, Self::User | Self::Tracker(_))
    }
}

/// How a dialled connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It never got as far as a handshake.
    Failed,
    /// It worked for some time.
    Worked,
    /// There is no use in dialling it again while we have what we have: both are seeds.
    Useless,
    /// Another connection to the same peer was kept; it uses the address until it ends.
    Duplicate,
    /// As that, but the connection that was kept uses another address already: this one is tried
    /// again long after.
    Spare,
    /// It was of no use, and there was no place for others.
    MadeRoom,
    /// It is ourselves.
    Ourselves,
    /// It was not made: the address is on the user's blocklist.
    Blocked,
}

/// The addresses known for one torrent.
#[derive(Debug, Default)]
pub struct Candidates {
    known: BTreeMap<SocketAddr, Candidate>,
    /// Invariant: exactly the addresses that are [`State::Resting`], by the time until which they
    /// rest.
    resting: BTreeSet<(Instant, SocketAddr)>,
    /// Invariant: exactly the addresses that are [`State::Ready`], the one to be dialled first in
    /// front.
    ready: BTreeSet<(Rank, SocketAddr)>,
    /// Where we are, for the order of those.
    us: Vantage,
    /// Whether the torrent is private: see [`Candidates::keep_to_trackers`].
    is_private: bool,
    banned: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Candidate {
    source: Source,
    /// How many dials in a row have failed.
    failures: u32,
    /// Whether there was ever a connection.
    worked: bool,
    state: State,
}

/// Who is dialled first: those that the user named, those that nobody has failed to reach, the
/// others; of each the one with the highest priority (BEP 40).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank(u8, Reverse<u32>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// May be dialled from this time on.
    Resting(Instant),
    /// May be dialled.
    Ready(Rank),
    /// Is being dialled or connected.
    InUse,
    /// Will not be dialled again while we want nothing more.
    Useless,
    /// Will not be dialled while the blocklist is what it is.
    Blocked,
    /// Will not be dialled again.
    Never,
}

impl Candidates {
    /// Takes in that others see us somewhere else: who is dialled first follows from it.
    pub fn set_vantage(&mut self, us: Vantage) {
        self.us = us;
        for (_, addr) in std::mem::take(&mut self.ready) {
            self.make_ready(addr);
        }
    }

    fn make_ready(&mut self, addr: SocketAddr) {
        let Some(candidate) = self.known.get_mut(&addr) else { return };
        let class = match (candidate.source, candidate.failures) {
            (Source::User | Source::Link, _) => 0,
            (_, 0) => 1,
            _ => 2,
        };
        let rank = Rank(class, Reverse(self.us.priority(addr)));
        candidate.state = State::Ready(rank);
        self.ready.insert((rank, addr));
    }

    /// Lets those be dialled that have rested.
    fn wake(&mut self, now: Instant) {
        while let Some((_, addr)) = self.resting.first().copied().filter(|(at, _)| *at <= now) {
            self.resting.pop_first();
            self.make_ready(addr);
        }
    }

    /// Adds an address: see [`Candidates::add_all`].
    pub fn add(&mut self, addr: SocketAddr, source: Source, now: Instant) {
        self.add_all([addr], source, now);
    }

    /// Adds those addresses that are new and [may be dialled](net_policy), the first ones, as far
    /// as there is room for what the source names.
    pub fn add_all(
        &mut self,
        addrs: impl IntoIterator<Item = SocketAddr>,
        source: Source,
        now: Instant,
    ) {
        if self.is_private && !source.is_for_private() {
            return;
        }
        let addrs = addrs.into_iter();
        let addrs = addrs.map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port()));
        let is_fresh = |addr: &SocketAddr| {
            net_policy(*addr, source.named_by(), Purpose::Peer).is_ok()
                && !self.banned.contains(&addr.ip())
                && !self.known.contains_key(addr)
        };
        let fresh: Vec<SocketAddr> = addrs.filter(is_fresh).take(MAX_CANDIDATES).collect();
        if fresh.is_empty() {
            return;
        }
        let room = self.make_room(fresh.len(), source);
        for addr in fresh.into_iter().take(room) {
            let state = State::Resting(now);
            self.known.insert(addr, Candidate { source, failures: 0, worked: false, state });
            self.resting.insert((now, addr));
        }
    }

    /// Takes the best of those that may be dialled; it is in use from now on.
    pub fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        self.wake(now);
        let (_, addr) = self.ready.pop_first()?;
        if let Some(candidate) = self.known.get_mut(&addr) {
            candidate.state = State::InUse;
        }
        Some(addr)
    }

    /// Returns the address that [`Candidates::next`] would take.
    pub fn peek(&mut self, now: Instant) -> Option<SocketAddr> {
        self.wake(now);
        self.ready.first().map(|(_, addr)| *addr)
    }

    /// Returns how many may be dialled now.
    pub fn ready(&mut self, now: Instant) -> usize {
        self.wake(now);
        self.ready.len()
    }

    /// Returns when the next address may be dialled: [`Instant::ZERO`] for one that may be now.
    pub fn next_at(&self) -> Option<Instant> {
        let is_ready = (!self.ready.is_empty()).then_some(Instant::ZERO);
        is_ready.or_else(|| self.resting.first().map(|(at, _)| *at))
    }

    /// Records how a connection to `addr` that [`Candidates::next`] had led to came to its end.
    pub fn ended(&mut self, addr: SocketAddr, fate: Fate, now: Instant) {
        let Some(candidate) = self.known.get_mut(&addr) else { return };
        if candidate.state != State::InUse {
            return;
        }
        let (first, longest, after) = match candidate.source {
            Source::User => (FIRST_BACK_OFF_NAMED, MAX_BACK_OFF_NAMED, AFTER_CONNECTION_NAMED),
            Source::Link => (FIRST_BACK_OFF_NAMED, MAX_BACK_OFF_LINK, AFTER_CONNECTION_NAMED),
            Source::Tracker(_) | Source::Dht | Source::Pex(_) | Source::Lsd => {
                (FIRST_BACK_OFF, MAX_BACK_OFF, AFTER_CONNECTION)
            }
        };
        let rest = match fate {
            Fate::Duplicate => return,
            Fate::Useless => {
                candidate.state = State::Useless;
                return;
            }
            Fate::Blocked => {
                candidate.state = State::Blocked;
                return;
            }
            Fate::Ourselves => None,
            Fate::Worked => {
                (candidate.failures, candidate.worked) = (0, true);
                Some(after)
            }
            Fate::MadeRoom | Fate::Spare => Some(MAX_BACK_OFF),
            Fate::Failed => {
                let doubled = first * 2_u32.saturating_pow(candidate.failures.min(16));
                candidate.failures += 1;
                Some(doubled.min(longest))
            }
        };
        let enough = match candidate.source {
            Source::User | Source::Link => u32::MAX,
            Source::Tracker(_) => MAX_FAILURES,
            Source::Dht => MAX_DHT_FAILURES,
            Source::Pex(_) => MAX_PEX_FAILURES,
            Source::Lsd => MAX_LSD_FAILURES,
        };
        if candidate.failures >= enough {
            self.known.remove(&addr);
            return;
        }
        candidate.state = State::Never;
        if let Some(rest) = rest.filter(|_| !self.banned.contains(&addr.ip())) {
            candidate.state = State::Resting(now + rest);
            self.resting.insert((now + rest, addr));
        }
    }

    /// Lets those be dialled again that were of no use: we want more than we did.
    pub fn revive(&mut self, now: Instant) {
        self.give_a_chance(State::Useless, now);
    }

    /// Lets those be dialled again that were on the blocklist, which is another now.
    pub fn unblock(&mut self, now: Instant) {
        self.give_a_chance(State::Blocked, now);
    }

    fn give_a_chance(&mut self, state: State, now: Instant) {
        let those = self.known.iter_mut().filter(|(_, known)| known.state == state);
        for (addr, candidate) in those.filter(|(addr, _)| !self.banned.contains(&addr.ip())) {
            candidate.state = State::Resting(now);
            self.resting.insert((now, *addr));
        }
    }

    /// Forgets what trackers name again, while nobody is dialled; bans stay.
    pub(super) fn rest(&mut self) {
        self.known.retain(|_, candidate| matches!(candidate.source, Source::User | Source::Link));
        self.resting.retain(|(_, addr)| self.known.contains_key(addr));
        self.ready.retain(|(_, addr)| self.known.contains_key(addr));
    }

    /// Keeps from now on to where peers of a private torrent may come from (BEP 27): forgets every
    /// other address, and returns those of them that are in use.
    pub fn keep_to_trackers(&mut self) -> Vec<SocketAddr> {
        self.is_private = true;
        self.keep(Source::is_for_private)
    }

    /// Forgets what the tracker has named, for another has taken its place (BEP 27): of a private
    /// torrent, everything but what the user has named.
    pub fn leave_tracker(&mut self) {
        self.keep(|source| !matches!(source, Source::Tracker(_)));
    }

    /// Forgets the addresses of other sources than `is_kept`, and returns those of them that are in
    /// use.
    fn keep(&mut self, is_kept: impl Fn(Source) -> bool) -> Vec<SocketAddr> {
        let mut in_use = Vec::new();
        let (resting, ready) = (&mut self.resting, &mut self.ready);
        self.known.retain(|addr, candidate| {
            let is_foreign = !is_kept(candidate.source);
            match candidate.state {
                State::Resting(at) if is_foreign => _ = resting.remove(&(at, *addr)),
                State::Ready(rank) if is_foreign => _ = ready.remove(&(rank, *addr)),
                State::InUse if is_foreign => in_use.push(*addr),
                _ => {}
            }
            !is_foreign
        });
        in_use
    }

    /// Bans an IP address: nothing there is dialled or let in again.
    pub fn ban(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        self.banned.insert(ip);
        if self.banned.len() > MAX_BANS {
            self.banned.pop_first();
        }
        for (addr, candidate) in &mut self.known {
            let waited = addr.ip() == ip
                && match candidate.state {
                    State::Resting(at) => self.resting.remove(&(at, *addr)),
                    State::Ready(rank) => self.ready.remove(&(rank, *addr)),
                    _ => false,
                };
            if waited {
                candidate.state = State::Never;
            }
        }
    }

    /// Tells whether the user has named an address of this host.
    pub fn is_named(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let mut of_host = self.known.range(SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX));
        of_host.any(|(_, candidate)| candidate.source == Source::User)
    }

    /// Tells whether an IP address is banned.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.contains(&ip.to_canonical())
    }

    /// Returns how many addresses wait to be dialled, now or later.
    pub fn resting(&self) -> usize {
        self.resting.len() + self.ready.len()
    }

    /// Returns how many IP addresses are banned.
    pub fn banned(&self) -> usize {
        self.banned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACKER: Source = Source::Tracker(Reach::Private);

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6881))
    }

    fn at(s: u64) -> Instant {
        Instant::from_secs(s)
    }

    #[test]
    fn each_address_is_dialled_once_until_it_has_rested() {
        let mut known = Candidates::default();
        known.add(addr(1), TRACKER, at(0));
        known.add(addr(1), TRACKER, at(0));
        assert_eq!((known.next(at(0)), known.next(at(0))), (Some(addr(1)), None));
        known.add(addr(1), TRACKER, at(1));
        assert_eq!(known.next(at(5)), None, "it is in use");
        let mut now = at(10);
        for rest in [10, 20, 40, 80] {
            known.ended(addr(1), Fate::Failed, now);
            assert_eq!(known.next_at(), Some(now + Duration::from_secs(rest)));
            now += Duration::from_secs(rest);
            assert_eq!(known.next(now), Some(addr(1)));
        }
        known.ended(addr(1), Fate::Worked, now);
        assert_eq!(known.next_at(), Some(now + AFTER_CONNECTION));
    }

    /// Lets dials of an address fail, and returns the rests after each.
    fn rests(known: &mut Candidates, times: usize) -> Vec<u64> {
        let mut now = known.next_at().expect("resting");
        let mut rests = Vec::new();
        for _ in 0..times {
            assert_eq!(known.next(now), Some(addr(1)));
            known.ended(addr(1), Fate::Failed, now);
            let Some(next) = known.next_at() else { break };
            rests.push((next - now).as_secs());
            now = next;
        }
        rests
    }

    #[test]
    fn an_address_that_the_user_named_never_rests_long() {
        let mut known = Candidates::default();
        known.add(addr(1), Source::User, at(0));
        assert_eq!(rests(&mut known, 8), [1, 2, 4, 8, 15, 15, 15, 15]);
    }

    #[test]
    fn an_address_that_a_link_named_rests_longer_each_time_and_is_never_forgotten() {
        let mut known = Candidates::default();
        known.add(addr(1), Source::Link, at(0));
        assert_eq!(rests(&mut known, 11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn an_address_that_a_tracker_named_is_forgotten_in_the_end_until_it_is_named_again() {
        let mut known = Candidates::default();
        known.add(addr(1), TRACKER, at(0));
        assert_eq!(rests(&mut known, 8), [10, 20, 40, 80, 160, 320, 640]);
        assert_eq!(known.resting(), 0);
        known.add(addr(1), TRACKER, at(9_999));
        assert_eq!(known.resting(), 1);
    }

    #[test]
    fn ourselves_and_the_banned_are_never_dialled_again() {
        let mut known = Candidates::default();
        for last in [1, 2, 3] {
            known.add(addr(last), TRACKER, at(0));
        }
        let one = known.next(at(0)).expect("a candidate");
        known.ended(one, Fate::Ourselves, at(1));
        let two = known.peek(at(1)).expect("a candidate");
        known.ban(two.ip());
        let three = known.next(at(9)).expect("a candidate");
        assert!(three != one && three != two);
        known.ban(three.ip());
        known.ended(three, Fate::Worked, at(9));
        known.add(two, TRACKER, at(9));
        assert_eq!((known.next(at(99_999)), known.resting()), (None, 0));
        let mapped = format!("::ffff:{}", two.ip());
        assert!(known.is_banned(mapped.parse().expect("an address")));
    }

    /// Takes all that may be dialled.
    fn drain(known: &mut Candidates, now: Instant) -> Vec<SocketAddr> {
        std::iter::from_fn(|| known.next(now)).collect()
    }

    #[test]
    fn who_may_be_dialled_is_in_the_order_of_priority_within_each_class() {
        let mut known = Candidates::default();
        let all: Vec<SocketAddr> = (1..40).map(addr).collect();
        for addr in &all {
            known.add(*addr, TRACKER, at(0));
        }
        let by_priority = |us: Vantage, some: &[SocketAddr]| {
            let mut some = some.to_vec();
            some.sort_by_key(|addr| Reverse(us.priority(*addr)));
            some
        };
        let order = drain(&mut known, at(0));
        assert_eq!(order, by_priority(Vantage::default(), &all));
        // One half fails and one is named by the user; the rest has worked.
        let (failed, worked) = order.split_at(20);
        for addr in failed {
            known.ended(*addr, Fate::Failed, at(0));
        }
        for addr in worked {
            known.ended(*addr, Fate::Worked, at(0));
        }
        let named = SocketAddr::from(([10, 9, 9, 9], 1));
        known.add(named, Source::User, at(100));
        assert_eq!(known.peek(at(100)), Some(named));
        let us = Vantage::unknown([9; 16], 6881);
        known.set_vantage(us);
        assert_eq!(known.next_at(), Some(Instant::ZERO), "they may be dialled");
        let order = drain(&mut known, at(100));
        assert_eq!(order[0], named);
        assert_eq!(order[1..20], by_priority(us, worked));
        assert_eq!(order[20..], by_priority(us, failed));
        assert_eq!((known.next_at(), known.resting()), (None, 0));
    }

    #[test]
    fn of_a_private_torrent_only_those_of_its_trackers_are_dialled_whether_they_have_rested_or_not()
    {
        let from = addr(9).ip();
        let mut known = Candidates::default();
        known.add(addr(1), TRACKER, at(0));
        known.add(addr(2), Source::Pex(from), at(0));
        known.add(addr(3), Source::Link, at(0));
        assert_eq!(known.peek(at(0)), Some(addr(3)), "a link is the user's choice");
        known.add(addr(4), Source::Pex(from), at(5));
        assert_eq!(known.keep_to_trackers(), []);
        assert_eq!(
            (known.resting(), known.next(at(9)), known.next(at(9))),
            (1, Some(addr(1)), None)
        );
        for source in [Source::Pex(from), Source::Link, Source::Dht] {
            known.add(addr(5), source, at(9));
            assert_eq!(known.resting(), 0, "{source:?} comes too late");
        }
        known.add(addr(5), Source::User, at(9));
        assert_eq!(known.resting(), 1);
    }

    #[test]
    fn addresses_that_nobody_can_dial_and_too_many_are_dropped() {
        let mut known = Candidates::default();
        for text in ["0.0.0.0:1", "10.0.0.1:0", "224.0.0.1:5", "[::]:1", "[ff02::1]:7"] {
            known.add(text.parse().expect("an address"), TRACKER, at(0));
        }
        // A tracker in the internet knows nobody in our network, and one there nobody on this
        // machine.
        let far = Source::Tracker(Reach::Global);
        known.add(addr(1), far, at(0));
        known.add("127.0.0.1:6881".parse().expect("an address"), TRACKER, at(0));
        known.add("8.8.8.8:25".parse().expect("an address"), far, at(0));
        assert_eq!(known.resting(), 0);
        for port in 0..u16::try_from(MAX_CANDIDATES).expect("small") + 5 {
            known.add(SocketAddr::new(addr(1).ip(), 10_000 + port), TRACKER, at(0));
        }
        assert_eq!(known.resting(), MAX_CANDIDATES);
    }
}
