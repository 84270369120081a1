//! What a run asks of the engine, so that a test can answer.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use swarmloop::client::{AddTorrent, Client, ClientError};
use swarmloop::filter::IpFilter;
use swarmloop::id::TorrentId;
use swarmloop::session::io::Event;

use crate::cli::peers::PeerView;
use crate::cli::snapshot::Snapshot;

/// What of a [`Client`] a run needs.
pub(crate) trait Engine {
    /// Waits for the next event, at most for `wait`.
    fn next_event(&self, wait: Duration) -> Result<Event, RecvTimeoutError>;
    /// Returns how torrents stand; those that there are not are left out.
    fn snapshots(&self, torrents: &[TorrentId]) -> Result<Vec<(TorrentId, Snapshot)>, ClientError>;
    /// Asks the trackers of all torrents again, as soon as they let us.
    fn reannounce(&self);
    /// Neither dials nor lets in from now on whom a filter blocks.
    fn set_blocklist(&self, blocklist: Arc<IpFilter>);
    /// Returns a torrent's peers, busiest first.
    fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerView>, ClientError>;
    /// Stops a torrent and takes it out.
    fn remove(&self, torrent: TorrentId) -> Result<(), ClientError>;
    /// Adds a torrent.
    fn add(&self, _: AddTorrent) -> Result<(TorrentId, Snapshot), ClientError> {
        Err(ClientError::Ended)
    }
    /// Tells whether the run is over though its torrents could go on.
    fn is_over(&self) -> Result<bool, ClientError> {
        Ok(false)
    }
}

impl Engine for Client {
    fn next_event(&self, wait: Duration) -> Result<Event, RecvTimeoutError> {
        self.events().recv_timeout(wait)
    }

    fn snapshots(&self, torrents: &[TorrentId]) -> Result<Vec<(TorrentId, Snapshot)>, ClientError> {
        let statuses = self.statuses(torrents)?;
        Ok(statuses.into_iter().map(|status| (status.id, Snapshot::from(status))).collect())
    }

    fn reannounce(&self) {
        // An engine that has ended is found out by the next question.
        let _ = Self::reannounce(self);
    }

    fn set_blocklist(&self, blocklist: Arc<IpFilter>) {
        let _ = Self::set_blocklist(self, Some(blocklist));
    }

    fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerView>, ClientError> {
        Ok(self.peers(torrent)?.into_iter().map(PeerView::from).collect())
    }

    fn remove(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.remove_torrent(torrent)
    }

    fn add(&self, torrent: AddTorrent) -> Result<(TorrentId, Snapshot), ClientError> {
        let id = self.add_torrent(torrent)?;
        Ok((id, self.status(id)?.into()))
    }
}
