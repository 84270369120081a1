//! Snapshots of torrents, peers and the session itself for people.

use crate::id::TorrentId;
use crate::stats::{Counters, Histograms, Interval, Stats};
use crate::time::Instant;
use crate::torrent::Counts;
use crate::torrent::unsynced::Unsynced;
use crate::wire::frame::Share;

use super::Session;
use super::conns::{Conn, Kind};
use super::entry::Entry;
use super::status::{MemoryStatus, PeerStatus, TorrentStatus};

impl Session {
    /// Returns how a torrent stands; `None` if there is no such torrent. O(pieces).
    pub fn torrent(&self, id: TorrentId, now: Instant) -> Option<TorrentStatus> {
        let entry = self.entry(id)?;
        let torrent = &entry.torrent;
        let layout = &torrent.storage().layout;
        let (wanted, wanted_have) = torrent.wanted_bytes();
        Some(TorrentStatus {
            id,
            info_hash: torrent.info_hash,
            phase: torrent.phase(now),
            size: layout.payload_len(),
            have: torrent.have_bytes(),
            wanted,
            wanted_have,
            pieces: torrent.geometry.pieces(),
            pieces_have: torrent.have().count(),
            pieces_open: u32::try_from(torrent.open_pieces()).unwrap_or(u32::MAX),
            pieces_checked: torrent.checked(),
            downloaded: torrent.totals.downloaded,
            uploaded: torrent.totals.uploaded,
            downloaded_total: torrent.life_totals().0,
            uploaded_total: torrent.life_totals().1,
            wasted: torrent.totals.wasted,
            corrupt_pieces: torrent.totals.corrupt_pieces,
            down_rate: torrent.totals.down.bytes_per_s(now),
            up_rate: torrent.totals.up.bytes_per_s(now),
            peers: torrent.peers.len(),
            seeds: torrent.counts.seeds,
            interesting: torrent.counts.interesting,
            unchoked_by: torrent.counts.unchoked_by,
            half_open: entry.half_open,
            known: torrent.candidates.resting(),
            last_dial_error: entry.last_dial_error.clone(),
            unresolved: entry
                .unresolved
                .iter()
                .flat_map(|of| of.hosts.iter().map(|(host, _)| host.clone()))
                .collect(),
            banned: torrent.candidates.banned(),
            trackers: entry.announcer.views(now),
            metadata: torrent.metadata_status(),
            dht: self.dht_summary(id, now),
        })
    }

    /// Returns a torrent's established peers, the busiest first; empty if there is no such torrent.
    pub fn peers(&self, id: TorrentId, now: Instant) -> Vec<PeerStatus> {
        let Some(entry) = self.entry(id) else { return Vec::new() };
        let pieces = entry.torrent.geometry.pieces();
        let status = |peer: &crate::peer::Peer| PeerStatus {
            addr: peer.addr,
            peer_id: peer.peer_id,
            version: peer.version().map(str::to_owned),
            incoming: peer.incoming,
            pieces_have: peer.remote().count(pieces),
            down_rate: peer.down_rate(now),
            up_rate: peer.up_rate(now),
            requests_out: peer.requests_out(),
            requests_in: peer.queued_uploads(),
            am_interested: peer.am_interested(),
            unchoked_us: !peer.is_choking_us(),
            interested: peer.is_interested(),
            unchoked: !peer.is_choked(),
            snubbed: peer.is_snubbed(),
        };
        let peers = entry.torrent.peers.values().filter_map(|id| self.peer_of(*id));
        let mut peers: Vec<PeerStatus> = peers.map(status).collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.down_rate + peer.up_rate));
        peers
    }

    /// Returns what the disk may not have of all torrents. O(torrents, and pieces that it may not
    /// have).
    pub fn unsynced(&self) -> Unsynced {
        let mut all = Unsynced::default();
        for entry in self.torrents.iter().flatten() {
            all.add(entry.torrent.unsynced());
        }
        all
    }

    /// Returns what payload memory there is and who holds it.
    pub fn memory(&self) -> MemoryStatus {
        let pool = &self.work.pool;
        let (frames, lent) = pool.usage();
        MemoryStatus {
            frames,
            lent,
            pieces: pool.used(Share::Pieces),
            endgame: pool.used(Share::Endgame),
            uploads: pool.used(Share::Uploads),
        }
    }

    /// Returns what was measured since [`Session::take_histograms`].
    pub fn histograms(&self) -> &Histograms {
        &self.work.stats.histograms
    }

    /// Returns what was counted since the start.
    pub const fn counters(&self) -> &Counters {
        &self.work.stats.counters
    }

    /// Lends what is measured to the driver, which knows what the session cannot see: how long its
    /// turns take.
    pub const fn stats_mut(&mut self) -> &mut Stats {
        &mut self.work.stats
    }

    /// Ends the interval of measuring that began when this was last called, or with the session.
    /// What comes goes into `spare`, which must be empty, so that nothing is allocated or copied
    /// here.
    pub fn take_histograms(&mut self, spare: Box<Histograms>, now: Instant) -> Interval {
        self.work.stats.take(spare, now)
    }

    /// Asserts what must hold between the parts of the session, for tests. O(everything).
    pub fn check_invariants(&self) {
        let mut credit = 0;
        for entry in self.torrents.iter().flatten() {
            entry.torrent.check_invariants();
            credit += entry.torrent.credit_held();
            for id in entry.torrent.peers.values() {
                assert!(self.peer_of(*id).is_some(), "{id:?} of a torrent is no peer");
            }
        }
        for entry in self.torrents.iter().flatten() {
            let peers = || entry.torrent.peers.values().filter_map(|id| self.peer_of(*id));
            let counts = Counts {
                seeds: peers().filter(|peer| peer.standing().is_seed).count(),
                interesting: peers().filter(|peer| peer.standing().is_interesting).count(),
                unchoked_by: peers().filter(|peer| peer.standing().unchokes_us).count(),
            };
            assert_eq!(entry.torrent.counts, counts, "how many peers stand how");
        }
        // Once a torrent is complete, nobody asks how rare its pieces are.
        for entry in self.torrents.iter().flatten().filter(|entry| !entry.torrent.is_complete()) {
            let peers = || entry.torrent.peers.values().filter_map(|id| self.peer_of(*id));
            let has = |piece| peers().filter(|peer| peer.remote().contains(piece)).count();
            entry.torrent.check_availability(has);
        }
        self.check_throttle();
        self.check_counts();
        self.check_rechoking();
        let memory = self.memory();
        assert_eq!(memory.pieces, credit, "credit of open pieces");
        let credits = memory.pieces + memory.endgame + memory.uploads;
        let racing = self.conns.iter().filter(|conn| {
            matches!(&conn.kind, Kind::Peer { peer, .. }
                if peer.landing_share() == Some(Share::Endgame))
        });
        assert_eq!(memory.endgame as usize, racing.count(), "credit of duplicates");
        if self.jobs_out == 0 && self.work.jobs.is_empty() && self.conns.len() == 0 {
            assert_eq!(memory.uploads, 0, "credit of uploads to nobody");
        }
        assert!(memory.lent <= credits, "{} frames are lent on {credits} credits", memory.lent);
    }

    /// Asserts that what is counted of torrents is so.
    fn check_counts(&self) {
        let entries = || self.torrents.iter().flatten().map(AsRef::as_ref);
        let count = |is: fn(&Entry) -> bool| entries().filter(|entry| is(entry)).count();
        assert_eq!(self.announces, count(|entry| entry.announcing.is_some()), "announces");
        assert_eq!(self.announce_line.len(), count(|entry| entry.announce_due.is_some()));
        assert_eq!(self.restless, count(|entry| entry.restless), "torrents to wait for");
        assert_eq!(self.looked_at, count(|entry| entry.is_looked_at), "torrents looked at");
        let is_stale = |entry: &Entry| !entry.touched && entry.restless == entry.is_quiet();
        assert!(!entries().any(is_stale), "whether a stop waits for a torrent");
        let half_open = entries().map(|entry| entry.half_open).sum::<usize>();
        assert_eq!(self.half_open, half_open, "dials of torrents");
        for conn in self.conns.iter() {
            let Some(entry) = conn.kind.torrent().and_then(|id| self.entry(id)) else { continue };
            let is_joining = matches!(conn.kind, Kind::Dialling(_) | Kind::Handshaking(_));
            assert_eq!(entry.joining.contains(&conn.id), is_joining, "{:?}", conn.id);
        }
        let joining = |conn: &&Conn| {
            let is = matches!(conn.kind, Kind::Dialling(_) | Kind::Handshaking(_));
            is && conn.kind.torrent().is_some()
        };
        let joining = self.conns.iter().filter(joining).count();
        assert_eq!(entries().map(|entry| entry.joining.len()).sum::<usize>(), joining);
    }

    fn peer_of(&self, id: crate::id::ConnId) -> Option<&crate::peer::Peer> {
        match &self.conns.find(id)?.kind {
            Kind::Peer { peer, .. } => Some(peer),
            _ => None,
        }
    }
}
