//! The user's blocklist: who is not dialled, not let in, and closed when a new list names them.
//!
//! **Invariant:** it is about peers. Trackers are where the user or the torrent says, and the
//! clients of the embedded tracker are only told of others.

use std::net::IpAddr;
use std::sync::Arc;

use crate::filter::IpFilter;
use crate::id::{ConnId, TorrentId};
use crate::peer::error::CloseReason;
use crate::time::Instant;
use crate::torrent::candidates::Fate;

use super::Session;
use super::conns::{Conn, Kind};
use super::io::Event;

impl Session {
    /// Blocks other addresses from now on: what is connected to one of them is closed, and
    /// candidates that an earlier list named get their chance. O(connections and candidates).
    pub fn set_blocklist(&mut self, blocklist: Option<Arc<IpFilter>>, now: Instant) {
        self.input();
        self.config.blocklist = blocklist;
        let doomed: Vec<ConnId> = self.conns.iter().filter_map(|conn| self.doomed(conn)).collect();
        for id in doomed {
            self.close(id, &CloseReason::Blocked.into(), now);
        }
        let ids: Vec<TorrentId> =
            self.torrents.iter().flatten().map(|entry| entry.torrent.id).collect();
        for id in ids {
            if let Some(entry) = self.entry_mut(id) {
                entry.torrent.candidates.unblock(now);
            }
            self.touch(id);
        }
    }

    fn doomed(&self, conn: &Conn) -> Option<ConnId> {
        let is_peer = !matches!(conn.kind, Kind::Tracker(_) | Kind::Client(_));
        (is_peer && self.is_blocked(conn.kind.addr().ip())).then_some(conn.id)
    }

    /// Tells whether peers at this address are not talked to.
    pub(super) fn is_blocked(&self, ip: IpAddr) -> bool {
        self.config.blocklist.as_ref().is_some_and(|filter| filter.blocks(ip))
    }

    /// Passes over the candidates that are next and blocked, so that they take no place and no
    /// token of a dial.
    pub(super) fn leave_out_blocked(&mut self, torrent: TorrentId, now: Instant) {
        if self.config.blocklist.is_none() {
            return;
        }
        let peek = |session: &mut Self| session.entry_mut(torrent)?.torrent.candidates.peek(now);
        while let Some(addr) = peek(self).filter(|addr| self.is_blocked(addr.ip())) {
            let Some(entry) = self.entry_mut(torrent) else { return };
            entry.torrent.candidates.next(now);
            entry.torrent.candidates.ended(addr, Fate::Blocked, now);
            let error = CloseReason::Blocked.into();
            entry.last_dial_error = Some(CloseReason::Blocked.into());
            self.work.stats.counters.blocked += 1;
            let event = Event::PeerClosed { torrent: Some(torrent), addr, error };
            self.queues.events.push_back(event);
        }
    }
}
