//! A torrent at one time, as far as the command line shows it.
//!
//! The engine's [`TorrentStatus`] may grow and cannot be made outside the library; this plain copy
//! of what is shown can be written down in a test.

use std::sync::Arc;

use swarmloop::peer::error::PeerError;
use swarmloop::session::io::Phase;
use swarmloop::session::status::{DhtSummary, MetadataStatus, TorrentStatus, TrackerState};

/// What of a [`TorrentStatus`] is shown; the other fields mean what they mean there.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    /// Of the files that are wanted: [`TorrentStatus::wanted`].
    pub(crate) size: u64,
    /// Of the files that are wanted: [`TorrentStatus::wanted_have`].
    pub(crate) have: u64,
    pub(crate) pieces: u32,
    pub(crate) pieces_have: u32,
    pub(crate) pieces_open: u32,
    pub(crate) pieces_checked: u32,
    pub(crate) downloaded: u64,
    /// In this run.
    pub(crate) uploaded: u64,
    /// In this run and in earlier ones, as far as they are known.
    pub(crate) uploaded_total: u64,
    pub(crate) wasted: u64,
    pub(crate) corrupt_pieces: u64,
    pub(crate) down_rate: u64,
    pub(crate) up_rate: u64,
    pub(crate) peers: usize,
    pub(crate) seeds: usize,
    pub(crate) interesting: usize,
    pub(crate) unchoked_by: usize,
    pub(crate) half_open: usize,
    pub(crate) known: usize,
    pub(crate) last_dial_error: Option<PeerError>,
    pub(crate) unresolved: Vec<String>,
    pub(crate) trackers: Vec<TrackerView>,
    /// How far its metadata is; `None` once that is here.
    pub(crate) metadata: Option<MetadataStatus>,
    /// The DHT in which its peers are looked for.
    pub(crate) dht: Option<DhtSummary>,
    /// Until when it is seeded, in words: the run's goal, not the engine's.
    pub(crate) until: Option<Arc<str>>,
}

/// A tracker as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct TrackerView {
    /// Foreign text.
    pub(crate) url: String,
    pub(crate) state: TrackerState,
}

impl Snapshot {
    /// Tells whether every byte that is wanted is there and verified.
    pub(crate) fn is_complete(&self) -> bool {
        self.have >= self.size && !matches!(self.phase, Phase::Checking | Phase::Metadata)
    }

    /// Returns the bytes that are still to be verified.
    pub(crate) fn missing(&self) -> u64 {
        self.size.saturating_sub(self.have)
    }

    /// Returns a number that grows whenever the torrent gets on: with metadata, with pieces
    /// checked, and with payload that counts.
    pub(crate) fn progress_mark(&self) -> u64 {
        let useful = self.downloaded.saturating_sub(self.wasted);
        let metadata = self.metadata.map_or(0, |metadata| metadata.have);
        let known = u64::from(self.pieces_checked).saturating_add(u64::from(metadata));
        useful.saturating_add(self.have).saturating_add(known)
    }
}

impl From<TorrentStatus> for Snapshot {
    fn from(status: TorrentStatus) -> Self {
        Self {
            phase: status.phase,
            size: status.wanted,
            have: status.wanted_have,
            pieces: status.pieces,
            pieces_have: status.pieces_have,
            pieces_open: status.pieces_open,
            pieces_checked: status.pieces_checked,
            downloaded: status.downloaded,
            uploaded: status.uploaded,
            uploaded_total: status.uploaded_total,
            wasted: status.wasted,
            corrupt_pieces: status.corrupt_pieces,
            down_rate: status.down_rate,
            up_rate: status.up_rate,
            peers: status.peers,
            seeds: status.seeds,
            interesting: status.interesting,
            unchoked_by: status.unchoked_by,
            half_open: status.half_open,
            known: status.known,
            last_dial_error: status.last_dial_error,
            unresolved: status.unresolved,
            trackers: status
                .trackers
                .into_iter()
                .map(|tracker| TrackerView { url: tracker.url, state: tracker.state })
                .collect(),
            metadata: status.metadata,
            dht: status.dht,
            until: None,
        }
    }
}

/// A torrent in the middle of things, for the tests of what is shown.
#[cfg(test)]
pub(crate) fn sample() -> Snapshot {
    Snapshot {
        phase: Phase::Downloading,
        size: 790_626_304,
        have: 310_497_280,
        pieces: 3016,
        pieces_have: 1128,
        pieces_open: 9,
        pieces_checked: 3016,
        downloaded: 311_000_000,
        uploaded: 19_000_000,
        uploaded_total: 19_000_000,
        wasted: 0,
        corrupt_pieces: 0,
        down_rate: 50_541_363,
        up_rate: 1_153_433,
        peers: 34,
        seeds: 12,
        interesting: 30,
        unchoked_by: 20,
        half_open: 3,
        known: 27,
        last_dial_error: None,
        unresolved: Vec::new(),
        trackers: vec![TrackerView {
            url: "http://tracker.example/announce?passkey=secret".to_owned(),
            state: TrackerState::Working {
                peers: 50,
                next_in: std::time::Duration::from_secs(28 * 60),
            },
        }],
        metadata: None,
        dht: None,
        until: None,
    }
}
