//! Peers of no use make room for candidates while a torrent has no place for these: a few at a
//! time, as libtorrent does (`peer_turnover`), so that a full house of idlers does not keep out the
//! one who has what is missing.
//!
//! **Invariant:** who sends what we want stays, and so does who has just come and whom the user has
//! named. Of use is who gives what is missing; while the metadata is, who offers that; once nothing
//! is, who takes.

use crate::id::{ConnId, TorrentId};
use crate::peer::Peer;
use crate::peer::error::CloseReason;
use crate::time::{Duration, Instant};
use crate::torrent::Torrent;

use super::Session;
use super::conns::Kind;

/// How often peers make room (libtorrent `peer_turnover_interval`: 300 s), and how often while
/// nobody lets a download request anything, or metadata is looked for.
const TURNOVER_INTERVAL: Duration = Duration::from_secs(300);
const TURNOVER_INTERVAL_STARVED: Duration = Duration::from_secs(60);
/// How many of a hundred peers do each time, at least one (libtorrent `peer_turnover`).
const TURNOVER_PERCENT: usize = 4;
/// From how many of a hundred places on (libtorrent `peer_turnover_cutoff`): a house in which
/// people come and go is never quite full.
const CUTOFF_PERCENT: usize = 90;
/// How long a peer has to show what it is good for.
pub(super) const TRIAL: Duration = Duration::from_secs(60);
/// How long a peer may keep us waiting for leave to request: several turns of an optimistic unchoke
/// among as many peers as we are to it.
const PATIENCE: Duration = Duration::from_secs(600);

impl Session {
    /// Closes some peers of a torrent that are of no use if it is time, and sets the next.
    pub(super) fn turn_over(&mut self, torrent: TorrentId, now: Instant) {
        if !self.is_crowded(torrent) {
            if let Some(entry) = self.entry_mut(torrent) {
                entry.turnover_at = None;
            }
            return;
        }
        let Some(entry) = self.entry_mut(torrent) else { return };
        let of = &entry.torrent;
        let is_starved =
            of.is_fetching_metadata() || (of.is_downloading() && of.counts.unchoked_by == 0);
        let interval = if is_starved { TURNOVER_INTERVAL_STARVED } else { TURNOVER_INTERVAL };
        let at = *entry.turnover_at.get_or_insert(now + interval);
        if at.min(now + interval) > now {
            entry.turnover_at = Some(at.min(now + interval));
            return;
        }
        entry.turnover_at = Some(now + interval);
        let share = (entry.torrent.peers.len() * TURNOVER_PERCENT / 100).max(1);
        let most = share.min(entry.torrent.candidates.ready(now));
        for id in self.least_useful(torrent, most, now) {
            self.close(id, &CloseReason::MadeRoom.into(), now);
        }
    }

    /// Tells whether a torrent knows somebody for whom there may be no place.
    fn is_crowded(&self, torrent: TorrentId) -> bool {
        let Some(entry) = self.entry(torrent) else { return false };
        // A limit of any size may be configured.
        let is_near = |count: usize, most: usize| {
            count.saturating_mul(100) >= most.saturating_mul(CUTOFF_PERCENT)
        };
        let peers = entry.torrent.peers.len();
        let is_full = is_near(peers + entry.half_open, self.config.max_peers)
            || is_near(self.conns.len(), self.config.max_conns);
        let wants_any = entry.torrent.is_active() || entry.torrent.is_fetching_metadata();
        let may_dial = wants_any && !self.shutting_down;
        may_dial && is_full && peers > 0 && entry.torrent.candidates.resting() > 0
    }

    /// Returns up to `most` peers that are of no use: first those whom we give nothing either, of
    /// each kind those with the lowest priority (BEP 40). O(peers).
    fn least_useful(&self, torrent: TorrentId, most: usize, now: Instant) -> Vec<ConnId> {
        let Some(entry) = self.entry(torrent).filter(|_| most > 0) else { return Vec::new() };
        let mut useless: Vec<(bool, u32, ConnId)> = Vec::new();
        for id in entry.torrent.peers.values() {
            if let Some(Kind::Peer { peer, .. }) = self.conns.find(*id).map(|conn| &conn.kind)
                && now - peer.connected_at >= TRIAL
                && !entry.torrent.candidates.is_named(peer.addr.ip())
                && is_useless(peer, &entry.torrent, now)
            {
                let is_fed = peer.is_interested() && !peer.is_choked();
                useless.push((is_fed, self.seen.vantage.priority(peer.addr), *id));
            }
        }
        useless.sort_unstable();
        useless.into_iter().take(most).map(|(_, _, id)| id).collect()
    }
}

/// Tells whether a peer is of no use to a torrent as far as that is.
pub(super) fn is_useless(peer: &Peer, torrent: &Torrent, now: Instant) -> bool {
    if torrent.is_fetching_metadata() {
        return peer.metadata_len().is_none();
    }
    if !torrent.is_downloading() {
        return !peer.is_interested();
    }
    let kept_waiting = peer.waits_since().is_some_and(|since| now - since >= PATIENCE);
    !peer.am_interested() || peer.is_snubbed() || kept_waiting
}
