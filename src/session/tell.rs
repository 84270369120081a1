//! Who is told of pieces that came, and when (`have`, BEP 3); and of those that are lost (BEP 54).
//!
//! A piece that came is news for every peer that lacks it, and pieces may come by the hundred a
//! second: with ten thousand peers, telling each at once would be most of the work. So each peer
//! has a place in the list of pieces that came, up to which it knows them, and is told of the rest
//! with whatever is sent to it next. Those who wait for the news are told at once, and of all
//! others a few at a time, so that nobody waits for more than a second or so.

use std::ops::Bound;

use crate::id::{ConnId, PeerId, PieceIndex, TorrentId};
use crate::proto::extended::Extension;
use crate::time::{Duration, Instant};

use super::Session;
use super::conns::{Conn, Kind};

/// Where a torrent is in telling its peers.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// Peers that have not been looked at since the last piece came. Who joins meanwhile counts,
    /// too: knowing all there is, it would take the turn of one who does not.
    pub left: usize,
    /// The one that was looked at last.
    after: Option<PeerId>,
    /// When the next few are looked at; `None` while there is nothing to tell.
    pub at: Option<Instant>,
}

/// How many peers are told of a piece as soon as it is there: all of a swarm of this size, else
/// those that we let request, if they are no more than this.
const MAX_TOLD_AT_ONCE: usize = 64;

/// How often the next few peers of a larger swarm are told, and in how many parts they all are: a
/// second for the round.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
const TELL_PARTS: usize = 20;

/// How many of the pieces that are lost at a time a peer is told of: 11 KiB of messages. A request
/// for any other is refused, as it is for those who do not speak of it.
const MAX_TOLD_LOST: usize = 1_024;

impl Session {
    /// Tells every peer that listens to it of pieces that are lost (BEP 54), but for those that it
    /// has itself. O(peers) and rare.
    ///
    /// To all others nothing is said, as by libtorrent: BEP 3 has no word for it, and they still
    /// get all other pieces of us.
    pub(super) fn tell_lost(&mut self, torrent: TorrentId, pieces: &[PieceIndex]) {
        let Some(Some(entry)) = self.torrents.get(torrent.0 as usize) else { return };
        let peers: Vec<ConnId> = entry.torrent.peers.values().copied().collect();
        for id in &peers {
            let peer = self.conns.find_mut(*id).and_then(Conn::as_peer).map(|(_, peer)| peer);
            let Some(peer) = peer.filter(|peer| peer.speaks(Extension::DontHave)) else { continue };
            // What came and was not told yet must not be told after it.
            entry.torrent.tell_completions(peer);
            for piece in &pieces[..pieces.len().min(MAX_TOLD_LOST)] {
                if !peer.remote().contains(piece.0) {
                    peer.tell_lost(*piece);
                }
            }
        }
        for id in peers {
            self.mark(id);
        }
    }

    /// Marks those peers that are to be told now of pieces that came.
    pub(super) fn mark_to_be_told(&mut self, now: Instant) {
        for at in 0..self.queues.touched.len() {
            let torrent = self.queues.touched[at];
            let Some(entry) = self.entry_mut(torrent) else { continue };
            if std::mem::take(&mut entry.tell_peers) {
                self.tell_first(torrent, now);
            }
            let telling = self.entry(torrent).map(|entry| &entry.telling);
            if telling.and_then(|telling| telling.at).is_some_and(|at| at <= now) {
                self.tell_next(torrent, now);
            }
        }
    }

    /// A piece came: tells those who wait for it, and begins a round of all others.
    fn tell_first(&mut self, torrent: TorrentId, now: Instant) {
        let mut told = std::mem::take(&mut self.queues.told);
        let Some(entry) = self.entry_mut(torrent) else { return };
        let peers = &entry.torrent.peers;
        let unchoked = entry.torrent.unchoked();
        if peers.len() <= MAX_TOLD_AT_ONCE {
            told.extend(peers.values());
        } else {
            entry.telling.left = peers.len();
            entry.telling.at.get_or_insert(now + TELL_INTERVAL);
            if unchoked.len() <= MAX_TOLD_AT_ONCE {
                told.extend(unchoked);
            }
        }
        self.mark_lacking(told);
    }

    /// Tells the next few of a large swarm.
    fn tell_next(&mut self, torrent: TorrentId, now: Instant) {
        let mut told = std::mem::take(&mut self.queues.told);
        let Some(entry) = self.entry_mut(torrent) else { return };
        let (peers, telling) = (&entry.torrent.peers, &mut entry.telling);
        let part = peers.len().div_ceil(TELL_PARTS).min(telling.left);
        let from = telling.after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = peers.range((from, Bound::Unbounded)).chain(peers);
        for (peer_id, conn) in next.take(part) {
            telling.after = Some(*peer_id);
            told.push(*conn);
        }
        telling.left -= part;
        telling.at = (telling.left > 0 && part > 0).then(|| now + TELL_INTERVAL);
        self.mark_lacking(told);
    }

    /// Marks those of `told` that lack something; a seed lacks nothing.
    fn mark_lacking(&mut self, mut told: Vec<ConnId>) {
        for id in told.drain(..) {
            let kind = self.conns.find(id).map(|conn| &conn.kind);
            if matches!(kind, Some(Kind::Peer { peer, .. }) if !peer.is_seed()) {
                self.mark(id);
            }
        }
        self.queues.told = told;
    }
}
