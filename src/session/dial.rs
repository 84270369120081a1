//! New connections of ours: which torrent may dial whom, and how fast.

use crate::id::TorrentId;
use crate::time::Instant;

use super::conns::Kind;
use super::{Session, WheelKey};

impl Session {
    /// Dials candidates of a torrent, as far as its limits and the session's allow, and enters the
    /// time at which more will be possible.
    pub(super) fn dial(&mut self, torrent: TorrentId, now: Instant) {
        while self.may_dial(torrent) {
            if !self.has_ready_candidate(torrent, now) {
                break;
            }
            if !self.dials.take(now) {
                let at = self.dials.ready_at(now);
                self.wheel.insert(at, WheelKey::Dials);
                return;
            }
            let deadline = now + self.config.connect_timeout;
            let Some(entry) = self.entry_mut(torrent) else { return };
            let Some(addr) = entry.torrent.candidates.next(now) else { return };
            entry.half_open += 1;
            self.connect(addr, Kind::Dialling { torrent, deadline });
        }
        self.look_for_more(torrent, now);
        self.wake_for_candidates(torrent, now);
    }

    /// Asks the tracker for more peers, as soon as it allows, while a download has nobody to turn
    /// to.
    fn look_for_more(&mut self, torrent: TorrentId, now: Instant) {
        let ready = self.has_ready_candidate(torrent, now);
        let Some(entry) = self.entry_mut(torrent) else { return };
        let alone = entry.torrent.peers.is_empty() && entry.half_open == 0 && !ready;
        if alone && entry.torrent.is_downloading() {
            entry.announcer.request_peers(now);
        }
    }

    fn may_dial(&self, torrent: TorrentId) -> bool {
        let half_open: usize = self.torrents.iter().flatten().map(|entry| entry.half_open).sum();
        let Some(entry) = self.entry(torrent) else { return false };
        entry.torrent.is_active()
            && !self.shutting_down
            && half_open < self.config.max_half_open
            && entry.torrent.peers.len() + entry.half_open < self.config.max_peers
            && self.conns.len() < self.config.max_conns
    }

    fn has_ready_candidate(&self, torrent: TorrentId, now: Instant) -> bool {
        let next = self.entry(torrent).and_then(|entry| entry.torrent.candidates.next_at());
        next.is_some_and(|at| at <= now)
    }

    /// Enters the time at which the next candidate has rested, if it could be dialled then.
    fn wake_for_candidates(&mut self, torrent: TorrentId, now: Instant) {
        if !self.may_dial(torrent) {
            return;
        }
        let next = self.entry(torrent).and_then(|entry| entry.torrent.candidates.next_at());
        if let Some(at) = next.filter(|at| *at > now)
            && let Some(entry) = self.entry_mut(torrent)
            && entry.wheel_at.is_none_or(|entered| at < entered)
        {
            entry.wheel_at = Some(at);
            self.wheel.insert(at, WheelKey::Torrent(torrent));
        }
    }
}
