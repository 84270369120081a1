//! Which torrents are looked at: a bounded number at a time, first come, first served.
//!
//! What a look takes (jobs, a record, what there is of each file) is gone when it is over. Ten
//! thousand at a time would fill queues that are of no use afterwards, and make the memory of what
//! stays full of holes.

use crate::id::TorrentId;
use crate::time::Instant;

use super::Session;

/// The most torrents that are looked at at one time: enough to keep every disk thread busy for many
/// turns.
const MAX_LOOKED_AT: usize = 256;

impl Session {
    /// Has a torrent looked at that is new or was started, as soon as there is a place, and gives
    /// the place of one that has been looked at to the next.
    pub(super) fn look_or_wait(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let is = entry.torrent.is_looked_at();
        let was = std::mem::replace(&mut entry.is_looked_at, is);
        if entry.torrent.is_ready_to_begin() && !std::mem::replace(&mut entry.in_look_line, true) {
            self.look_line.push_back(torrent);
        }
        self.looked_at = self.looked_at + usize::from(is) - usize::from(was);
        self.look_at_next(now);
    }

    fn look_at_next(&mut self, now: Instant) {
        while self.looked_at < MAX_LOOKED_AT
            && let Some(torrent) = self.look_line.pop_front()
        {
            let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { continue };
            entry.in_look_line = false;
            let goes = self.shutting_down || entry.removing;
            if goes || !entry.torrent.is_ready_to_begin() {
                continue;
            }
            entry.torrent.begin(&mut self.work.ctx(now));
            entry.is_looked_at = true;
            self.looked_at += 1;
            self.pass_on_news(torrent, now);
        }
    }
}
