//! What a session keeps for each torrent beside the torrent itself: who announces it, who is choked
//! when.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

use crate::choker::{ChokeConfig, ChokeMode, Choker};
use crate::id::{ConnId, InfoHash, PeerId};
use crate::peer::error::PeerError;
use crate::rate::RateLimits;
use crate::session::dial::Turn;
use crate::session::io::ResolveId;
use crate::session::tell::Telling;
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::tracker::{Announce, AnnounceEvent, AnnounceFacts, Announcer, AskId};

/// One torrent of a session.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "marks for lines and counts")]
pub(super) struct Entry {
    pub torrent: Torrent,
    pub announcer: Announcer,
    /// The announce that is under way.
    pub announcing: Option<Box<Announcing>>,
    /// Since when it stands in line for an announce, if it does.
    pub announce_due: Option<Instant>,
    pub choker: Choker,
    /// Who is unchoked optimistically, by the last rechoke.
    pub optimistic: Vec<ConnId>,
    /// When peers are to be ranked again; `None` while nobody is interested, so that an idle
    /// torrent makes no wake-ups.
    rechoke_at: Option<Instant>,
    /// What we call ourselves in this torrent.
    pub peer_id: PeerId,
    /// Sent in announces; constant for the torrent, and secret (BEP 7).
    pub key: u32,
    pub added_at: Instant,
    /// How fast its payload may flow, beside the limit in all.
    pub limits: RateLimits,
    /// Connections of its that are not established: dials, and handshakes that have named it.
    pub joining: BTreeSet<ConnId>,
    /// Those of them that we have dialled.
    pub half_open: usize,
    /// When peers of no use make room for candidates; `None` while there is room, or nobody to make
    /// it for.
    pub turnover_at: Option<Instant>,
    /// When a peer may make way next for one that comes.
    pub displaces_at: Instant,
    /// Whether it stands in line for a dial.
    pub turn: Turn,
    /// Why the last dial that failed did, since the last peer connected.
    pub last_dial_error: Option<PeerError>,
    /// Hosts that the user named and whose lookup failed; `None` if there are none, as nearly
    /// always.
    pub unresolved: Option<Box<Unresolved>>,
    /// Whether pieces came in this turn that peers are to be told of.
    pub tell_peers: bool,
    /// How far peers have been told.
    pub telling: Telling,
    /// Whether peers were told that we want nothing any more (BEP 21).
    pub told_upload_only: bool,
    /// Hosts and ports of nodes of the DHT that its metainfo names (BEP 5, "Torrent File
    /// Extensions").
    pub dht_hosts: Box<[(String, u16)]>,
    /// Whether it is searched for in the DHT.
    pub in_dht: bool,
    /// Whether it is announced on the local network.
    pub in_lsd: bool,
    /// Whether it is to be looked at in `end_turn`.
    pub touched: bool,
    /// Whether it leaves the session once the disk is done with it.
    pub removing: bool,
    /// Whether it is being looked at, and whether it stands in line for that.
    pub is_looked_at: bool,
    pub in_look_line: bool,
    /// Whether a graceful stop waits for it, as of when it was looked at last.
    pub restless: bool,
    /// The time of its earliest entry in the wheel.
    pub wheel_at: Option<Instant>,
}

/// Peers of which only the names of their hosts are known.
#[derive(Default, Debug)]
pub(super) struct Unresolved {
    /// Hosts and ports.
    pub hosts: Vec<(String, u16)>,
    /// When they are looked up again; `None` while the torrent is stopped.
    pub again_at: Option<Instant>,
}

/// An announce on its way.
#[derive(Debug)]
pub(super) struct Announcing {
    pub announce: Announce,
    /// Addresses of the tracker that have not been tried.
    pub addrs: VecDeque<SocketAddr>,
    pub via: Via,
    pub leg: Leg,
    /// When it began, redirects included.
    pub since: Instant,
    pub deadline: Instant,
}

/// How far an announce is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// The tracker's name is being looked up.
    Lookup(ResolveId),
    /// It is on this connection.
    Stream(ConnId),
    /// It is asked for in datagrams.
    Datagrams(AskId),
}

/// A tracker is told of us over each family of addresses that it has, so that it can tell the peers
/// of both (BEP 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leg {
    /// Over whichever family it answers first: what comes of it is what comes of the announce.
    First,
    /// Over the other: its peers are welcome, and nothing depends on it.
    Second,
}

impl Announcing {
    /// Tells whether the announce itself has ended, and what is left of it may as well be left
    /// out: not so of a `stopped`, behind which nothing comes that would say it.
    pub(super) fn is_dispensable(&self) -> bool {
        self.leg == Leg::Second && self.announce.event != AnnounceEvent::Stopped
    }
}

/// How many pieces a peer gets in one turn of a seed's slot (libtorrent `seeding_piece_quota`).
const SEED_TURN_PIECES: u64 = 20;

impl Entry {
    pub(super) fn new(
        torrent: Torrent,
        announcer: Announcer,
        (peer_id, key): (PeerId, u32),
        now: Instant,
    ) -> Self {
        let slots = torrent.unchoke_slots;
        let config = ChokeConfig { slots, optimistic_slots: 1, mode: ChokeMode::Leecher };
        Self {
            torrent,
            announcer,
            announcing: None,
            announce_due: None,
            choker: Choker::new(config),
            optimistic: Vec::new(),
            rechoke_at: None,
            peer_id,
            key,
            added_at: now,
            limits: RateLimits::default(),
            joining: BTreeSet::new(),
            half_open: 0,
            turnover_at: None,
            displaces_at: Instant::ZERO,
            turn: Turn::Away,
            last_dial_error: None,
            unresolved: None,
            tell_peers: false,
            telling: Telling::default(),
            told_upload_only: false,
            dht_hosts: Box::default(),
            in_dht: false,
            in_lsd: false,
            touched: false,
            removing: false,
            is_looked_at: false,
            in_look_line: false,
            restless: false,
            wheel_at: None,
        }
    }

    /// Drops what is of use only while the torrent runs. Its connections are closed.
    pub(super) fn rest(&mut self, rechoking: &mut usize) {
        self.rechoke_next(None, rechoking);
        self.choker = Choker::new(self.choke_config());
        self.optimistic = Vec::new();
        self.telling = Telling::default();
        self.tell_peers = false;
        if let Some(unresolved) = &mut self.unresolved {
            unresolved.again_at = None;
        }
        self.last_dial_error = None;
        self.told_upload_only = false;
        self.turnover_at = None;
    }

    /// Tells whether a graceful stop need not wait for it: its trackers know, and its state is
    /// saved.
    pub(super) fn is_quiet(&self) -> bool {
        let told = self.announcing.is_none() && self.announcer.is_stopped();
        told && self.torrent.is_settled()
    }

    /// Tells whether its peers are to be looked for wherever they may be: not those of a private
    /// torrent, which its trackers name and nobody else (BEP 27). `is` says whether they are now:
    /// a magnet whose files are looked at for a moment is not forgotten for that.
    pub(super) fn is_sought(&self, is: bool) -> bool {
        let goes_on = is && !self.torrent.is_stopped();
        let is_active = self.torrent.welcomes_peers() || goes_on;
        is_active && !self.torrent.is_private() && !self.removing
    }

    /// Returns when peers are to be ranked again.
    pub(super) const fn rechoke_at(&self) -> Option<Instant> {
        self.rechoke_at
    }

    /// Sets when peers are ranked again; `rechoking` counts the torrents of the session for which
    /// that is some time.
    pub(super) fn rechoke_next(&mut self, at: Option<Instant>, rechoking: &mut usize) {
        *rechoking += usize::from(at.is_some());
        *rechoking -= usize::from(self.rechoke_at.is_some());
        self.rechoke_at = at;
    }

    /// Returns how peers are to be ranked now.
    pub(super) fn choke_config(&self) -> ChokeConfig {
        let mode = if self.torrent.is_downloading() {
            ChokeMode::Leecher
        } else {
            let piece_len = u64::from(self.torrent.geometry.piece_len());
            ChokeMode::Seed { turn_bytes: SEED_TURN_PIECES * piece_len }
        };
        ChokeConfig { slots: self.torrent.unchoke_slots, optimistic_slots: 1, mode }
    }

    /// Returns what an announce says now.
    pub(super) fn announce_facts(
        &self,
        (port, ip): (u16, Option<IpAddr>),
        num_want: u32,
    ) -> AnnounceFacts {
        AnnounceFacts {
            info_hash: self.torrent.info_hash,
            peer_id: self.peer_id,
            key: self.key,
            port,
            ip,
            uploaded: self.torrent.totals.uploaded,
            downloaded: self.torrent.totals.downloaded,
            left: self.torrent.left(),
            is_partial_seed: self.torrent.is_upload_only() && !self.torrent.is_complete(),
            num_want,
        }
    }

    /// Returns when the torrent is to be looked at next for its own sake, dials apart.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let announce = self.announcing.as_ref().map(|announcing| announcing.deadline);
        // Whoever stands in line is called.
        let poll = self.announcer.poll_timeout().filter(|_| self.announce_due.is_none());
        let (look, state) = (self.torrent.next_look(), self.torrent.state_timeout());
        let (metadata, pex) = (self.torrent.metadata_timeout(), self.torrent.pex_timeout());
        let look_up = self.unresolved.as_ref().and_then(|unresolved| unresolved.again_at);
        [self.rechoke_at, look_up, self.telling.at, announce, poll, look, state]
            .into_iter()
            .chain([metadata, pex, self.turnover_at])
            .flatten()
            .min()
    }
}

/// Derives what we call ourselves in a torrent, and the key of its announces, from the session's
/// secret (BEP 20, BEP 7): `prefix` and twelve bytes that nobody can guess from another torrent's.
pub(super) fn identity(prefix: [u8; 8], secret: &[u8; 32], info_hash: InfoHash) -> (PeerId, u32) {
    let digest = Sha1::new().chain_update(secret).chain_update(info_hash.0).finalize();
    let mut id = [0; 20];
    id[..8].copy_from_slice(&prefix);
    id[8..].copy_from_slice(&digest[..12]);
    let key = u32::from_be_bytes([digest[12], digest[13], digest[14], digest[15]]);
    (PeerId(id), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be ten thousand of them: who makes one larger, does it here too, and knows why.
    /// The last were 32 bytes for the metadata that others are sent, 80 for who is told of whom, 24
    /// for the nodes of the DHT that it names and whether it is searched for there, 24 for the
    /// order of candidates, 24 for where we are that it depends on, and 24 for when peers make
    /// room.
    #[test]
    fn what_every_torrent_costs_is_small() {
        assert!(size_of::<Entry>() <= 1376, "{}", size_of::<Entry>());
    }
}
