//! Torrents of which only the info-hash is known (BEP 9), and what is said to peers beside pieces
//! (BEP 10): who we are, that we only upload.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::id::{ConnId, InfoHash, TorrentId};
use crate::peer::Peer;
use crate::peer::error::{CloseReason, PeerError};
use crate::proto::extended::{Hello, MAX_METADATA_LEN};
use crate::time::Instant;
use crate::torrent::Torrent;

use super::Session;
use super::conns::{Conn, Kind};
use super::entry::{Entry, identity};
use super::torrents::{AddTorrentError, NewTorrent};

/// What our client is called in the extension handshake.
const CLIENT: &str = concat!("swarmloop ", env!("CARGO_PKG_VERSION"));

/// A torrent of which only the info-hash is known: its metadata is fetched from peers, and told by
/// [`Event::Metadata`](super::io::Event::Metadata).
#[derive(Clone, Debug)]
pub struct NewMagnet {
    /// What it is.
    pub info_hash: InfoHash,
    /// Its trackers, by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Peers that its link names (`x.pe`): host names or addresses, and ports. Of no use if it
    /// turns out to be private.
    pub link_peers: Vec<(String, u16)>,
    /// Peers that the user names.
    pub peers: Vec<(String, u16)>,
}

/// What we say of ourselves to every peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Us {
    port: u16,
    request_limit: u32,
}

/// Introduces us to a peer of a torrent, if it speaks BEP 10.
pub(super) fn introduce(us: Us, torrent: &Torrent, peer: &mut Peer) {
    let metadata_len = u32::try_from(torrent.info().len()).ok();
    let metadata_len = metadata_len.filter(|len| (1..=MAX_METADATA_LEN).contains(len));
    peer.introduce(&Hello {
        pex: torrent.may_exchange_peers(),
        version: CLIENT,
        port: us.port,
        request_limit: us.request_limit,
        your_ip: peer.addr.ip(),
        metadata_len,
        upload_only: torrent.is_upload_only(),
    });
}

impl Session {
    /// Adds a torrent by its info-hash alone: peers are looked for and asked for its metadata. Once
    /// that is here, add the torrent with it ([`Session::add_torrent`]): it keeps its name, its
    /// peers and what is known of others.
    ///
    /// # Errors
    /// [`AddTorrentError`]: the caller's fault; nothing has changed.
    pub fn add_magnet(
        &mut self,
        new: NewMagnet,
        now: Instant,
    ) -> Result<TorrentId, AddTorrentError> {
        self.input();
        if self.shutting_down {
            return Err(AddTorrentError::ShuttingDown);
        }
        if self.by_hash.contains_key(&new.info_hash) {
            return Err(AddTorrentError::Duplicate);
        }
        let (id, hash) = (self.next_id(), new.info_hash);
        let choices = (self.config.unchoke_slots, self.config.pex);
        let mut torrent = Torrent::seek(id, hash, choices, &mut self.work.ctx(now));
        torrent.candidates.set_vantage(self.seen.vantage);
        let mut announcer = self.announcer(&new.trackers);
        announcer.start(now);
        let us = identity(self.config.peer_id_prefix, &self.seeds.secret, new.info_hash);
        self.torrents.push(Some(Box::new(Entry::new(torrent, announcer, us, now))));
        self.by_hash.insert(new.info_hash, id);
        self.look_up_peers(id, new.peers, new.link_peers, now);
        self.pass_on_news(id, now);
        self.touch(id);
        Ok(id)
    }

    /// Goes on with a torrent whose metadata was missing.
    pub(super) fn go_on(
        &mut self,
        id: TorrentId,
        new: NewTorrent,
        now: Instant,
    ) -> Result<TorrentId, AddTorrentError> {
        let entry = self.entry(id);
        if !entry.is_some_and(|entry| entry.torrent.is_seeking() && !entry.removing) {
            return Err(AddTorrentError::Duplicate);
        }
        let params = self.params(id, &new)?;
        self.tops.insert(&params.storage);
        let Some(Some(entry)) = self.torrents.get_mut(id.0 as usize) else {
            return Err(AddTorrentError::Duplicate);
        };
        entry.torrent.go_on(params, &mut self.work.ctx(now));
        let tiers = if new.use_trackers { &new.metainfo.trackers[..] } else { &[] };
        self.set_trackers(id, tiers, now);
        self.set_dht_hosts(id, &new.metainfo);
        if new.metainfo.private {
            self.keep_to_trackers(id, now);
        }
        // Those of the link have been looked up; who is known is not added twice.
        self.look_up_peers(id, new.peers, Vec::new(), now);
        self.set_torrent_limits(id, new.limits, now);
        self.tell_sizes(id, now);
        self.pass_on_news(id, now);
        self.touch(id);
        Ok(id)
    }

    /// Has a torrent announced to these trackers from now on; those that it has are kept if they
    /// are the same.
    fn set_trackers(&mut self, torrent: TorrentId, tiers: &[Vec<String>], now: Instant) {
        let Some(entry) = self.entry(torrent) else { return };
        let before: BTreeSet<String> =
            entry.announcer.views(now).into_iter().map(|view| view.url).collect();
        let urls: BTreeSet<String> = tiers.iter().flatten().cloned().collect();
        if before == urls {
            return;
        }
        let announcer = self.announcer(tiers);
        if self.entry(torrent).is_some_and(|entry| entry.announcing.is_some()) {
            self.give_up_announce(torrent);
        }
        if let Some(entry) = self.entry_mut(torrent) {
            entry.announcer = announcer;
        }
    }

    /// The metadata of a torrent is right. Its private flag holds from this instant on (BEP 27).
    pub(super) fn metadata_is_known(&mut self, torrent: TorrentId, now: Instant) {
        if self.entry(torrent).is_some_and(|entry| entry.torrent.is_private()) {
            self.keep_to_trackers(torrent, now);
        }
    }

    /// Lets go of peers of a private torrent that came from elsewhere than its trackers.
    pub(super) fn keep_to_trackers(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let foreign: BTreeSet<SocketAddr> =
            entry.torrent.candidates.keep_to_trackers().into_iter().collect();
        let is_foreign = |conn: &&Conn| match &conn.kind {
            Kind::Dialling(dialling) => {
                dialling.torrent == torrent && foreign.contains(&dialling.addr)
            }
            Kind::Handshaking(stranger) => {
                let dialled = !stranger.incoming && stranger.torrent == Some(torrent);
                dialled && foreign.contains(&stranger.addr)
            }
            Kind::Peer { torrent: of, peer } => {
                let dialled = peer.dialled.as_deref();
                *of == torrent && dialled.is_some_and(|addr| foreign.contains(addr))
            }
            Kind::Tracker(_) | Kind::Client(_) => false,
        };
        let doomed: Vec<ConnId> =
            self.conns.iter().filter(is_foreign).map(|conn| conn.id).collect();
        for id in doomed {
            self.close(id, &CloseReason::Private.into(), now);
        }
        self.seek_in_dht(torrent, now);
        self.seek_on_lan(torrent, now);
    }

    /// Tells the peers of a torrent, as values, how many pieces there are, and as a message, that
    /// we have the metadata; closes those that have claimed what cannot be.
    fn tell_sizes(&mut self, torrent: TorrentId, now: Instant) {
        let us = self.us();
        let mut liars: Vec<(ConnId, PeerError)> = Vec::new();
        for id in self.peers_of(torrent) {
            let Some(Some(entry)) = self.torrents.get(torrent.0 as usize) else { return };
            let Some((_, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else { continue };
            match peer.learn(&entry.torrent.geometry) {
                Ok(()) => introduce(us, &entry.torrent, peer),
                Err(error) => liars.push((id, error)),
            }
            self.mark(id);
        }
        for (id, error) in liars {
            self.close(id, &error, now);
        }
    }

    /// Takes in the peers that a torrent has had since before it was active.
    pub(super) fn take_in_kept(&mut self, torrent: TorrentId, now: Instant) {
        let mut useless: Vec<(ConnId, CloseReason)> = Vec::new();
        for id in self.peers_of(torrent) {
            let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
            let Some((_, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else { continue };
            let reason = entry.torrent.peer_kept(peer, now);
            useless.extend(reason.map(|reason| (id, reason)));
            if peer.is_interested() {
                entry.rechoke_next(Some(now), &mut self.rechoking);
            }
            self.mark(id);
        }
        for (id, reason) in useless {
            self.close(id, &reason.into(), now);
        }
    }

    /// Asks again for metadata that peers have left us waiting for.
    pub(super) fn look_for_metadata(&mut self, torrent: TorrentId, now: Instant) {
        if self.entry_mut(torrent).is_some_and(|entry| entry.torrent.look_for_metadata(now)) {
            self.mark_peers_of(torrent);
        }
    }

    /// Has those peers looked at that can be told of others now.
    pub(super) fn look_for_contacts(&mut self, torrent: TorrentId, now: Instant) {
        let due = self.entry(torrent).and_then(|entry| entry.torrent.pex_timeout());
        if due.is_none_or(|at| at > now) {
            return;
        }
        let mut next: Option<Instant> = None;
        for id in self.peers_of(torrent) {
            let Some(Some(entry)) = self.torrents.get(torrent.0 as usize) else { return };
            let Some((_, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else { continue };
            match entry.torrent.pex_due(id, peer, now) {
                Some(at) if at <= now => self.mark(id),
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        if let Some(entry) = self.entry_mut(torrent) {
            entry.torrent.set_pex_timeout(next, now);
        }
    }

    /// Tells peers whether we want anything of anybody, if that has changed (BEP 21); those that do
    /// not either are of no use then.
    pub(super) fn tell_upload_only(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let upload_only = entry.torrent.is_upload_only();
        if std::mem::replace(&mut entry.told_upload_only, upload_only) == upload_only {
            return;
        }
        for id in self.peers_of(torrent) {
            let Some(Some(entry)) = self.torrents.get(torrent.0 as usize) else { return };
            let Some((_, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else { continue };
            peer.tell_upload_only(upload_only);
            match entry.torrent.useless(peer) {
                Some(reason) => self.close(id, &reason.into(), now),
                None => self.mark(id),
            }
        }
    }

    /// Has every peer of a torrent looked at when the turn ends.
    pub(super) fn mark_peers_of(&mut self, torrent: TorrentId) {
        for id in self.peers_of(torrent) {
            self.mark(id);
        }
    }

    fn peers_of(&self, torrent: TorrentId) -> Vec<ConnId> {
        let peers = self.entry(torrent).map(|entry| entry.torrent.peers.values().copied());
        peers.into_iter().flatten().collect()
    }

    /// Returns what we say of ourselves to every peer.
    pub(super) fn us(&self) -> Us {
        let limit = self.config.max_queued_requests;
        Us {
            port: self.config.announced().0,
            request_limit: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }
}
