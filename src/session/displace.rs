//! A peer that comes while every place is taken: one that has proven nothing makes way for it, so
//! that whoever fills the house with idlers does not keep everybody else out (security.md 2.2, row
//! 22).
//!
//! **Invariant:** who gives or takes payload stays, and so does who has just come and whom the user
//! has named; and however many knock, no more go than a named rate.

use crate::id::{ConnId, TorrentId};
use crate::peer::Peer;
use crate::peer::error::CloseReason;
use crate::time::{Duration, Instant};
use crate::torrent::Torrent;

use super::Session;
use super::conns::{Conn, Kind};
use super::turnover::{TRIAL, is_useless};

/// The least time between two peers of one torrent that make way, and between two of a session
/// whose connections are all taken: a flood changes at most six a minute, and a house of 200 takes
/// it more than half an hour.
const DISPLACE_INTERVAL: Duration = Duration::from_secs(10);
/// How long nobody is looked for after a look that found nobody: a look is O(peers), and a flood of
/// strangers must not have one each.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What is lost with a peer, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Worth {
    /// It neither gives nor takes, nor would it.
    Nothing,
    /// It may turn out to be as good as whoever comes.
    Unproven,
}

impl Session {
    /// Tells whether a torrent has a place for a peer at the address of `conn`, or somebody would
    /// make way for it.
    pub(super) fn may_join(&mut self, torrent: TorrentId, conn: ConnId, now: Instant) -> bool {
        self.has_room_in(torrent) || self.whom_to_displace(torrent, conn, now).is_some()
    }

    /// Has somebody make way for `conn` if a torrent is full; tells whether there is a place now.
    pub(super) fn make_way_in(&mut self, torrent: TorrentId, conn: ConnId, now: Instant) -> bool {
        if self.has_room_in(torrent) {
            return true;
        }
        let Some(id) = self.whom_to_displace(torrent, conn, now) else { return false };
        if let Some(entry) = self.entry_mut(torrent) {
            entry.displaces_at = now + DISPLACE_INTERVAL;
        }
        self.close(id, &CloseReason::Displaced.into(), now);
        true
    }

    /// Has somebody make way if all connections of the session are taken; tells whether there is a
    /// place now. Whoever comes has not said yet what it comes for, so nobody goes who may be as
    /// good.
    pub(super) fn make_way(&mut self, now: Instant) -> bool {
        if self.conns.len() - self.conns.clients() < self.config.max_conns {
            return true;
        }
        if now < self.displaces_at {
            return false;
        }
        let worthless = self.conns.iter().filter_map(|conn| {
            let Conn { kind: Kind::Peer { torrent, peer }, id, .. } = conn else { return None };
            let worth = worth(peer, &self.entry(*torrent)?.torrent, now)?;
            (worth == Worth::Nothing).then(|| (self.seen.vantage.priority(peer.addr), *id))
        });
        let Some((_, id)) = worthless.min() else {
            self.displaces_at = now + LOOK_INTERVAL;
            return false;
        };
        self.displaces_at = now + DISPLACE_INTERVAL;
        self.close(id, &CloseReason::Displaced.into(), now);
        true
    }

    fn has_room_in(&self, torrent: TorrentId) -> bool {
        let peers = self.entry(torrent).map(|entry| entry.torrent.peers.len());
        peers.is_some_and(|peers| peers < self.config.max_peers)
    }

    /// Returns who makes way for `conn`: the one with whom the least is lost, among equals the one
    /// with the lowest priority, and one that is equal to `conn` only if that has a higher priority
    /// (BEP 40). O(peers), and once in a while.
    fn whom_to_displace(
        &mut self,
        torrent: TorrentId,
        conn: ConnId,
        now: Instant,
    ) -> Option<ConnId> {
        let newcomer = self.seen.vantage.priority(self.conns.find(conn)?.kind.addr());
        let entry = self.entry(torrent).filter(|entry| entry.displaces_at <= now)?;
        let peers = entry.torrent.peers.values().filter_map(|id| {
            let Kind::Peer { peer, .. } = &self.conns.find(*id)?.kind else { return None };
            let worth = worth(peer, &entry.torrent, now)?;
            Some((worth, self.seen.vantage.priority(peer.addr), *id))
        });
        let least = peers.min();
        let least =
            least.filter(|(worth, priority, _)| *worth == Worth::Nothing || *priority < newcomer);
        if least.is_none() {
            self.entry_mut(torrent)?.displaces_at = now + LOOK_INTERVAL;
        }
        least.map(|(_, _, id)| id)
    }
}

/// Returns what is lost with a peer; `None` if it is to stay.
fn worth(peer: &Peer, torrent: &Torrent, now: Instant) -> Option<Worth> {
    let is_new = now - peer.connected_at < TRIAL;
    let moves = peer.down_rate(now) > 0 || peer.up_rate(now) > 0;
    let may_go = torrent.is_active() || torrent.is_fetching_metadata();
    if is_new || moves || !may_go || torrent.candidates.is_named(peer.addr.ip()) {
        return None;
    }
    let is_fed = peer.has_exchanged() && peer.is_interested() && !peer.is_choked();
    if is_useless(peer, torrent, now) && !is_fed {
        return Some(Worth::Nothing);
    }
    // Who offers the metadata has shown what it is good for.
    (torrent.is_active() && !peer.has_exchanged()).then_some(Worth::Unproven)
}
