//! Plain counts of what was moved, decided and called.

/// What has happened since the session started. Every count only grows.
///
/// Bytes are counted when the driver reports them, payload when a block is whole (received) or as
/// it leaves (sent).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes read from streams: peers, trackers, and clients of the embedded tracker.
    pub received: u64,
    /// Bytes written to streams.
    pub sent: u64,
    /// Payload of whole blocks received, good or not, in bytes.
    pub payload_received: u64,
    /// Payload sent, in bytes.
    pub payload_sent: u64,
    /// Payload received that was of no use (duplicates, late, corrupt), in bytes.
    pub wasted: u64,
    /// Whole blocks received.
    pub blocks_received: u64,
    /// Whole blocks sent.
    pub blocks_sent: u64,
    /// Pieces that were right and are on disk.
    pub pieces_verified: u64,
    /// Pieces that failed their hash.
    pub pieces_corrupt: u64,
    /// Streams to peers that were asked for.
    pub dialled: u64,
    /// Streams from peers that were let in.
    pub accepted: u64,
    /// Streams from peers that were not let in: for want of room, or because we shut down.
    pub refused: u64,
    /// Streams from peers that were not let in, and candidates that were not dialled, because they
    /// are on the blocklist.
    pub blocked: u64,
    /// Handshakes that led to an established peer.
    pub established: u64,
    /// Streams to and from peers that ended before they had one.
    pub failed: u64,
    /// Turns that were ended.
    pub turns: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    /// Writes that took bytes.
    pub writes: u64,
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// Announcements of the local network (BEP 14) that were not looked at: those from networks
    /// that this machine is not attached to, and those that were too many.
    pub lsd_dropped: u64,
    /// Datagrams that were given to the driver.
    pub datagrams_sent: u64,
}

impl Counters {
    /// Returns the bytes received and sent that were no payload: messages, handshakes, announces,
    /// and what has arrived of blocks that are not whole.
    pub const fn protocol(&self) -> (u64, u64) {
        let received = self.received.saturating_sub(self.payload_received);
        (received, self.sent.saturating_sub(self.payload_sent))
    }
}
