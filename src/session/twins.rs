//! Two connections to one peer, of which one lives.
//!
//! **Invariant:** whatever one side decides follows from what both sides see, for each decides for
//! itself.

use std::net::SocketAddr;

use crate::id::{PeerId, TorrentId};
use crate::peer::error::{CloseReason, PeerError};
use crate::time::Instant;
use crate::torrent::candidates::Fate;

use super::Session;
use super::conns::Conn;

impl Session {
    /// Lets one of two connections to the same peer live. If both sides dialled, both must choose
    /// the same: the one that the side with the lower peer id has opened. But a peer id is no
    /// secret: whoever comes from another address takes nobody's place.
    ///
    /// Returns the candidate that the new connection takes over from the one it replaces, so that
    /// the address is dialled again once the peer is gone.
    pub(super) fn drop_duplicate(
        &mut self,
        torrent: TorrentId,
        peer_id: PeerId,
        (addr, incoming): (SocketAddr, bool),
        now: Instant,
    ) -> Result<Option<Box<SocketAddr>>, PeerError> {
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return Ok(None) };
        let ours = entry.peer_id;
        let Some(twin) = entry.torrent.peers.get(&peer_id).copied() else { return Ok(None) };
        let Some((_, peer)) = self.conns.find_mut(twin).and_then(Conn::as_peer) else {
            return Ok(None);
        };
        let same_host = peer.addr.ip() == addr.ip();
        let keep_new = same_host && incoming != peer.incoming && incoming == (peer_id < ours);
        if !keep_new {
            // The one that is kept stands in for the other's candidate, if it has none.
            if !incoming && **peer.dialled.get_or_insert_with(|| Box::new(addr)) != addr {
                entry.torrent.candidates.ended(addr, Fate::Spare, now);
            }
            return Err(CloseReason::Duplicate.into());
        }
        let inherited = peer.dialled.take();
        self.close(twin, &CloseReason::Duplicate.into(), now);
        Ok(inherited)
    }
}
