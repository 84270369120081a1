//! Snapshots for people: what a torrent, its peers and its trackers are doing right now.

use std::net::SocketAddr;

use super::io::Phase;
use crate::id::{InfoHash, PeerId, TorrentId};
use crate::peer::error::PeerError;
pub use crate::torrent::metadata::MetadataStatus;
pub use crate::tracker::{TrackerState, TrackerView};

/// One torrent at one time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TorrentStatus {
    /// Its name within the session.
    pub id: TorrentId,
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// What it does.
    pub phase: Phase,
    /// Its payload in bytes, pad files not counted.
    pub size: u64,
    /// Verified payload in bytes, pad files not counted.
    pub have: u64,
    /// Payload of the wanted files in bytes, pad files not counted.
    pub wanted: u64,
    /// How much of [`TorrentStatus::wanted`] is verified.
    pub wanted_have: u64,
    /// Pieces in all.
    pub pieces: u32,
    /// Verified pieces.
    pub pieces_have: u32,
    /// Pieces that are being received.
    pub pieces_open: u32,
    /// While checking: pieces looked at so far.
    pub pieces_checked: u32,
    /// Payload received since it was added to this session, good or not, in bytes: what announces
    /// say, too (BEP 3 counts from the `started` event).
    pub downloaded: u64,
    /// Payload sent since it was added to this session, in bytes, as announces say it.
    pub uploaded: u64,
    /// Payload received in all sessions that have kept its state, this one included, in bytes.
    /// Until its state is loaded, as [`TorrentStatus::downloaded`].
    pub downloaded_total: u64,
    /// Payload sent in all sessions that have kept its state, this one included, in bytes: what a
    /// ratio is made from.
    pub uploaded_total: u64,
    /// Payload received that was of no use (duplicates, corrupt), in bytes.
    pub wasted: u64,
    /// Pieces that failed their hash.
    pub corrupt_pieces: u64,
    /// Payload received a second, smoothed over some seconds.
    pub down_rate: u64,
    /// Payload sent a second, smoothed over some seconds.
    pub up_rate: u64,
    /// Established peers.
    pub peers: usize,
    /// Established peers that have everything.
    pub seeds: usize,
    /// Established peers that have something we want.
    pub interesting: usize,
    /// Established peers that let us request.
    pub unchoked_by: usize,
    /// Dials and handshakes under way.
    pub half_open: usize,
    /// Addresses known and not connected.
    pub known: usize,
    /// Why the last dial that failed did, since the last peer connected.
    pub last_dial_error: Option<PeerError>,
    /// Hosts that the user named as peers and whose lookup failed. Text of the user's.
    pub unresolved: Vec<String>,
    /// Bans over its life.
    pub banned: usize,
    /// Its trackers in announce order.
    pub trackers: Vec<TrackerView>,
    /// How far its metadata is; `None` once the torrent was gone on with.
    pub metadata: Option<MetadataStatus>,
    /// The DHT in which its peers are looked for; `None` while they are not.
    pub dht: Option<DhtSummary>,
}

/// How the DHT stands, over both families of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DhtSummary {
    /// Nodes that we know.
    pub nodes: usize,
    /// Whether we have come into it.
    pub is_joined: bool,
}

/// One established peer at one time.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "the four flags of BEP 3, and two facts")]
pub struct PeerStatus {
    /// Its address.
    pub addr: SocketAddr,
    /// What it calls itself. Foreign bytes.
    pub peer_id: PeerId,
    /// What its client calls itself in the extension handshake (BEP 10). Foreign text.
    pub version: Option<String>,
    /// Whether it dialled us.
    pub incoming: bool,
    /// Pieces it has.
    pub pieces_have: u32,
    /// Payload received from it a second.
    pub down_rate: u64,
    /// Payload sent to it a second.
    pub up_rate: u64,
    /// Requests we have outstanding with it.
    pub requests_out: usize,
    /// Requests it has queued with us.
    pub requests_in: usize,
    /// Whether we want something it has.
    pub am_interested: bool,
    /// Whether it lets us request.
    pub unchoked_us: bool,
    /// Whether it wants something of ours.
    pub interested: bool,
    /// Whether we let it request.
    pub unchoked: bool,
    /// Whether it has stopped answering requests.
    pub snubbed: bool,
}

/// Payload memory at one time, in frames of 16 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MemoryStatus {
    /// Frames that exist: as many as were ever needed at one time.
    pub frames: u32,
    /// Frames that hold payload: of open pieces, on their way to a peer, or with the disk.
    pub lent: u32,
    /// Credit held by open pieces.
    pub pieces: u32,
    /// Credit held by second copies in end game.
    pub endgame: u32,
    /// Credit held by blocks on their way to a peer.
    pub uploads: u32,
}
