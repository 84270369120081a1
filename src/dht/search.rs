//! Torrents whose peers are looked for, again and again for as long as the owner wants them.
//!
//! **Invariant:** a torrent that is not searched for leaves nothing behind; whether it may be (BEP
//! 27) is the owner's to know.

use std::net::SocketAddr;

use super::lookup::{Aim, LookupId};
use super::side::Phase;
use super::{Dht, DhtEvent, Family};
use crate::id::{InfoHash, NodeId};
use crate::proto::krpc::AnnouncedPort;
use crate::time::{Duration, Instant};

/// Searches of one family that are under way at once; the others wait, first come, first served.
pub const MAX_SEARCHES_AT_ONCE: usize = 8;
/// How often a torrent is searched for and announced (libtorrent, `dht_announce_interval`): others
/// forget it after twice as long.
pub const SEARCH_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How soon it is searched for again if nobody was found; twice as long each further time.
const FIRST_EMPTY_INTERVAL: Duration = Duration::from_secs(60);
/// How soon at the earliest, whoever asks for it.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// A torrent whose peers are looked for.
#[derive(Debug)]
pub(super) struct Search {
    announce: Option<AnnouncedPort>,
    /// By family.
    rounds: [Round; 2],
}

/// How a search stands in one family.
#[derive(Clone, Copy, Default, Debug)]
struct Round {
    state: State,
    /// Rounds in a row that found nobody.
    empty: u32,
    ended_at: Option<Instant>,
}

#[derive(Clone, Copy, Default, Debug)]
enum State {
    /// There is no socket for the family.
    #[default]
    Never,
    /// The next round begins then. The torrent is in [`super::Side::due`].
    Waiting(Instant),
    Running(LookupId),
}

impl Dht {
    /// Looks for peers of a torrent, now and every [`SEARCH_INTERVAL`], and, with a port, has the
    /// nodes closest to it store us as one; until [`Dht::forget`].
    ///
    /// Told again, it changes the port from the next round on. Tells of peers with
    /// [`DhtEvent::Peers`]. Takes effect at the next [`Dht::handle_timeout`].
    pub fn search(&mut self, info_hash: InfoHash, announce: Option<AnnouncedPort>, now: Instant) {
        if let Some(search) = self.searches.get_mut(&info_hash) {
            search.announce = announce;
            return;
        }
        let mut rounds = [Round::default(); 2];
        for side in self.sides.iter_mut().flatten() {
            rounds[side.family.index()].state = State::Waiting(now);
            side.due.insert((now, info_hash));
        }
        self.searches.insert(info_hash, Search { announce, rounds });
    }

    /// Tells whether there is a torrent whose peers are looked for.
    pub fn is_searching(&self) -> bool {
        !self.searches.is_empty()
    }

    /// Stops looking for peers of a torrent. What others store of us expires by itself.
    pub fn forget(&mut self, info_hash: InfoHash) {
        let Some(search) = self.searches.remove(&info_hash) else { return };
        for side in self.sides.iter_mut().flatten() {
            match search.rounds[side.family.index()].state {
                State::Never => {}
                State::Waiting(at) => {
                    side.due.remove(&(at, info_hash));
                }
                State::Running(id) => {
                    side.searching -= 1;
                    self.lookups.remove(&id);
                    self.calls.release(id);
                }
            }
        }
    }

    /// Looks for peers of a torrent that is searched for as soon as a minute has passed since the
    /// last time: there are too few.
    pub fn hasten(&mut self, info_hash: InfoHash, now: Instant) {
        let Some(search) = self.searches.get_mut(&info_hash) else { return };
        for side in self.sides.iter_mut().flatten() {
            let round = &mut search.rounds[side.family.index()];
            let soonest = round.ended_at.map_or(now, |at| now.max(at + MIN_INTERVAL));
            if let State::Waiting(at) = round.state
                && soonest < at
            {
                side.due.remove(&(at, info_hash));
                side.due.insert((soonest, info_hash));
                round.state = State::Waiting(soonest);
            }
        }
    }

    /// Begins the searches that are due, as far as there is room.
    pub(super) fn begin_searches(&mut self, family: Family, now: Instant) {
        loop {
            let Some(side) = self.side_mut(family) else { return };
            let due = side.due.first().copied().filter(|(at, _)| now >= *at);
            let may = side.phase == Phase::Joined && side.searching < MAX_SEARCHES_AT_ONCE;
            let Some((at, info_hash)) = due.filter(|_| may) else { return };
            side.due.remove(&(at, info_hash));
            side.searching += 1;
            let search = self.searches.get(&info_hash).expect("what is due is searched for");
            let aim = Aim::FindPeers { info_hash, announce: search.announce };
            let id = self.begin(family, NodeId::from(info_hash), aim, now);
            if let Some(search) = self.searches.get_mut(&info_hash) {
                search.rounds[family.index()].state = State::Running(id);
            }
            let is_v4 = family == Family::V4;
            let stored = self.store.peers(info_hash, is_v4, usize::MAX, &mut self.rng);
            for peer in stored {
                self.announced_to_us(info_hash, peer);
            }
            self.advance(id, now);
        }
    }

    /// Takes in that a peer has been announced to us: in a small DHT we are among the nodes closest
    /// to what we search for, and no other may know of it.
    pub(super) fn announced_to_us(&mut self, info_hash: InfoHash, peer: SocketAddr) {
        let Some(search) = self.searches.get(&info_hash) else { return };
        let round = search.rounds[Family::of(peer).index()];
        if let State::Running(id) = round.state
            && let Some(lookup) = self.lookups.get_mut(&id)
            && lookup.new_peers(peer.ip(), &[peer]).is_empty()
        {
            return;
        }
        self.events.push_back(DhtEvent::Peers { info_hash, peers: vec![peer] });
    }

    /// Records that a round has ended, and when the next one follows.
    pub(super) fn end_search(&mut self, id: LookupId, info_hash: InfoHash, now: Instant) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        self.calls.release(id);
        let (family, peers) = (lookup.family, lookup.peers_found());
        let stored_by = lookup.announced.map_or(0, |(_, stored)| stored);
        let stats = lookup.stats;
        self.events.push_back(DhtEvent::Searched { info_hash, family, peers, stored_by, stats });
        let wobble = 0.9 + self.rng.unit() / 5.0;
        let search = self.searches.get_mut(&info_hash).expect("a lookup is forgotten with it");
        let round = &mut search.rounds[family.index()];
        round.empty = if peers == 0 { round.empty + 1 } else { 0 };
        let empty = FIRST_EMPTY_INTERVAL * 2_u32.saturating_pow(round.empty.saturating_sub(1));
        let pause = if peers == 0 { empty.min(SEARCH_INTERVAL) } else { SEARCH_INTERVAL };
        let next_at = now + pause.mul_f64(wobble);
        (round.state, round.ended_at) = (State::Waiting(next_at), Some(now));
        if let Some(side) = self.side_mut(family) {
            side.searching -= 1;
            side.due.insert((next_at, info_hash));
        }
    }
}
