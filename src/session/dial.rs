//! New connections of ours: which torrent may dial whom, and how fast.
//!
//! The limits on dials under way, on connections and on the rate are the session's, so torrents
//! that want to dial and may not stand in line: whoever frees a place calls the first of them.

use crate::id::TorrentId;
use crate::time::Instant;

use super::conns::{Dialling, Kind};
use super::{Session, WheelKey};

/// Where a torrent is on its way to a dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Turn {
    /// Not in line.
    #[default]
    Away,
    /// In line.
    Waiting,
    /// Called: it may dial now.
    Called,
}

impl Session {
    /// Dials candidates of a torrent, as far as its limits and the session's allow; stands in line
    /// for what the session's do not.
    pub(super) fn dial(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let called = entry.turn == Turn::Called;
        if called {
            entry.turn = Turn::Away;
        }
        self.leave_out_blocked(torrent, now);
        let mut may_go = called || self.dial_line.is_empty();
        while self.wants_to_dial(torrent, now) {
            may_go &= self.has_place() && self.dials.take(now);
            if !may_go {
                self.stand_in_line(torrent, now);
                break;
            }
            let deadline = now + self.config.connect_timeout;
            let Some(entry) = self.entry_mut(torrent) else { return };
            let Some(addr) = entry.torrent.candidates.next(now) else { break };
            entry.half_open += 1;
            self.half_open += 1;
            let dialling = Dialling { addr, torrent, deadline };
            let kind = Kind::Dialling(Box::new(dialling));
            let conn = self.connect(addr, None, kind, now);
            if let Some(entry) = self.entry_mut(torrent) {
                entry.joining.insert(conn);
            }
            self.leave_out_blocked(torrent, now);
        }
        self.look_for_more(torrent, now);
        self.wake_for_candidates(torrent, now);
        self.call_next(now);
    }

    /// Calls the first torrent in line, if it can dial now; else enters when it will be able to.
    pub(super) fn call_next(&mut self, now: Instant) {
        if self.dial_line.is_empty() || !self.has_place() {
            return;
        }
        let ready_at = self.dials.ready_at(now);
        if ready_at > now {
            if self.dials_at.is_none_or(|entered| ready_at < entered)
                && ready_at < Instant::FAR_FUTURE
            {
                self.dials_at = Some(ready_at);
                self.wheel.insert(ready_at, WheelKey::Dials);
            }
            return;
        }
        while let Some(torrent) = self.dial_line.pop_front() {
            // A torrent that was removed leaves its place to the next.
            if let Some(entry) = self.entry_mut(torrent) {
                entry.turn = Turn::Called;
                return self.touch(torrent);
            }
        }
    }

    fn stand_in_line(&mut self, torrent: TorrentId, now: Instant) {
        if let Some(entry) = self.entry_mut(torrent)
            && entry.turn == Turn::Away
        {
            entry.turn = Turn::Waiting;
            self.dial_line.push_back(torrent);
        }
        self.call_next(now);
    }

    /// Tells whether the session's limits leave room for one more dial, its rate apart.
    fn has_place(&self) -> bool {
        self.half_open < self.config.max_half_open && self.conns.len() < self.config.max_conns
    }

    /// Tells whether a torrent has somebody to dial and room for one more peer.
    fn wants_to_dial(&self, torrent: TorrentId, now: Instant) -> bool {
        self.may_dial(torrent) && self.has_ready_candidate(torrent, now)
    }

    fn may_dial(&self, torrent: TorrentId) -> bool {
        let Some(entry) = self.entry(torrent) else { return false };
        entry.torrent.welcomes_peers()
            && !self.shutting_down
            && entry.torrent.peers.len() + entry.half_open < self.config.max_peers
    }

    fn has_ready_candidate(&self, torrent: TorrentId, now: Instant) -> bool {
        let next = self.entry(torrent).and_then(|entry| entry.torrent.candidates.next_at());
        next.is_some_and(|at| at <= now)
    }

    /// Asks the tracker for more peers, as soon as it allows, while a download has nobody to turn
    /// to.
    fn look_for_more(&mut self, torrent: TorrentId, now: Instant) {
        let ready = self.has_ready_candidate(torrent, now);
        let Some(entry) = self.entry_mut(torrent) else { return };
        let alone = entry.torrent.peers.is_empty() && entry.half_open == 0 && !ready;
        let wants_peers = entry.torrent.is_downloading() || entry.torrent.is_fetching_metadata();
        if alone && wants_peers {
            entry.announcer.request_peers(now);
        }
    }

    /// Enters the time at which the next candidate has rested, if it could be dialled then.
    fn wake_for_candidates(&mut self, torrent: TorrentId, now: Instant) {
        if !self.may_dial(torrent) {
            return;
        }
        let next = self.entry(torrent).and_then(|entry| entry.torrent.candidates.next_at());
        if let Some(at) = next.filter(|at| *at > now) {
            self.wake_torrent(torrent, at);
        }
    }
}
