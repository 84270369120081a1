//! Two connections to one peer, of which one lives.
//!
//! **Invariant:** whatever one side decides follows from what both sides see, for each decides for
//! itself.

use std::net::SocketAddr;

use crate::id::{PeerId, TorrentId};
use crate::peer::error::{CloseReason, PeerError};
use crate::time::{Duration, Instant};
use crate::torrent::candidates::Fate;

use super::Session;
use super::conns::Conn;

impl Session {
    /// Lets one of two connections to the same peer live. If both sides dialled, or one of them two
    /// addresses, both must choose the same: the one that the side with the lower peer id has
    /// opened, and of two in one direction the one over IPv4. But a peer id is no secret: whoever
    /// comes from another address takes nobody's place; over the other family, only that of who
    /// has just come, too.
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
        let same_family = peer.addr.is_ipv4() == addr.is_ipv4();
        let crossed = !same_family && now - peer.connected_at < CROSSING;
        let rank = |addr: SocketAddr, incoming| (incoming != (peer_id < ours), addr.is_ipv6());
        let keep_new =
            (same_host || crossed) && rank(addr, incoming) < rank(peer.addr, peer.incoming);
        if !keep_new {
            // The one that is kept stands in for the other's candidate, if it has none.
            if !incoming && **peer.dialled.get_or_insert_with(|| Box::new(addr)) != addr {
                entry.torrent.candidates.ended(addr, Fate::Spare, now);
            }
            return Err(CloseReason::Duplicate.into());
        }
        let mut inherited = peer.dialled.take();
        if !incoming && let Some(other) = inherited.take() {
            entry.torrent.candidates.ended(*other, Fate::Spare, now);
        }
        self.close(twin, &CloseReason::Duplicate.into(), now);
        Ok(inherited)
    }
}

/// For how long after its handshake a connection may be one of two that were dialled at the same
/// time: a handshake takes no longer.
const CROSSING: Duration = Duration::from_secs(10);
