//! The trace: what happened last, as typed records in a ring of fixed size.
//!
//! For finding out why a connection did what it did. Off unless
//! [`Config::trace_records`](super::config::Config::trace_records) asks for it: then nothing is
//! kept, and each place that would record has one branch. **Invariant:** the trace decides nothing;
//! a session does the same with it and without.

use crate::id::{ConnId, PieceIndex, TorrentId};
use crate::peer::error::{CloseReason, Misbehaviour, PeerError};
use crate::peer::timer::Timer;
use crate::time::Instant;
pub use crate::wire::tape::{Note, Said};

use super::Session;
use super::conns::Conn;

/// The last records of a session.
#[derive(Clone, Debug)]
pub struct Trace {
    /// In order from `oldest` on, around the end. Invariant: at most `capacity`.
    ring: Vec<Record>,
    capacity: usize,
    /// The place of the oldest record; zero while there is room.
    oldest: usize,
    lost: u64,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The turn in which it happened.
    pub at: Instant,
    /// The connection that it happened on; `None` if it was on none.
    pub conn: Option<ConnId>,
    /// The torrent that it belongs to, as far as that is known.
    pub torrent: Option<TorrentId>,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// A stream to a peer was asked for.
    Dialled,
    /// A stream that was asked for is open.
    Connected,
    /// A stream from a peer was let in.
    Accepted,
    /// Both handshakes were fine; the remote is a peer.
    Established,
    /// A stream to or from a peer has ended, or could not be opened.
    Closed(Ending),
    /// Something went over an established peer's stream, or a handshake over one that is not yet.
    Wire(Note),
    /// A peer has left requests unanswered for too long.
    Snubbed,
    /// A torrent's peers were ranked; so many were choked and unchoked for it.
    Rechoked {
        /// Peers that were choked.
        choked: u32,
        /// Peers that were unchoked.
        unchoked: u32,
    },
    /// A piece was right and is on disk.
    PieceVerified(PieceIndex),
    /// A piece was complete and wrong.
    PieceCorrupt(PieceIndex),
    /// An announce began.
    AnnounceBegun,
    /// An announce was answered.
    AnnounceAnswered,
    /// An announce has failed.
    AnnounceFailed,
}

/// Why a stream ended: [`PeerError`] in few bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The remote's bytes were no BitTorrent.
    Invalid,
    /// The remote broke the protocol.
    Misbehaved(Misbehaviour),
    /// A time limit passed.
    TimedOut(Timer),
    /// Nobody's fault.
    Closed(CloseReason),
}

impl From<&PeerError> for Ending {
    fn from(error: &PeerError) -> Self {
        match error {
            PeerError::Invalid(_) => Self::Invalid,
            PeerError::Misbehaved(what) => Self::Misbehaved(*what),
            PeerError::TimedOut(timer) => Self::TimedOut(*timer),
            PeerError::Closed(reason) => Self::Closed(*reason),
        }
    }
}

impl Trace {
    /// Returns an empty trace of at most `capacity` records, whose memory is taken here and now.
    pub fn new(capacity: usize) -> Self {
        Self { ring: Vec::with_capacity(capacity), capacity, oldest: 0, lost: 0 }
    }

    /// Appends a record; if there is no room, the oldest is lost. O(1), no allocation.
    pub fn push(&mut self, record: Record) {
        if self.ring.len() < self.capacity {
            self.ring.push(record);
            return;
        }
        self.lost += 1;
        if let Some(oldest) = self.ring.get_mut(self.oldest) {
            *oldest = record;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }

    /// Returns the records, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        let (newer, older) = self.ring.split_at(self.oldest);
        older.iter().chain(newer)
    }

    /// Returns how many records there are.
    pub const fn len(&self) -> usize {
        self.ring.len()
    }

    /// Tells whether nothing has happened.
    pub const fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Returns how many records were lost, all of them older than those that are here.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Session {
    /// Returns what happened last; `None` if the configuration does not ask for it.
    pub const fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Takes out what happened since this was last called; what comes goes into `spare`. `None`,
    /// and `spare` is dropped, if the configuration asks for no trace.
    pub fn take_trace(&mut self, spare: Trace) -> Option<Trace> {
        self.trace.as_mut().map(|trace| std::mem::replace(trace, spare))
    }

    /// Records what happened, if anybody wants to know.
    pub(super) fn note(
        &mut self,
        conn: impl Into<Option<ConnId>>,
        torrent: impl Into<Option<TorrentId>>,
        what: What,
        now: Instant,
    ) {
        if let Some(trace) = &mut self.trace {
            trace.push(Record { at: now, conn: conn.into(), torrent: torrent.into(), what });
        }
    }

    /// Records what went over a peer's stream since this was last called for it.
    pub(super) fn note_wire(&mut self, id: ConnId, now: Instant) {
        let Some(trace) = &mut self.trace else { return };
        let Some((torrent, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else { return };
        for note in peer.take_notes() {
            let what = What::Wire(note);
            trace.push(Record { at: now, conn: Some(id), torrent: Some(torrent), what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64) -> Record {
        let at = Instant::from_micros(at);
        Record { at, conn: None, torrent: None, what: What::AnnounceBegun }
    }

    #[test]
    fn a_full_ring_keeps_the_newest_in_order_and_counts_what_it_lost() {
        let mut trace = Trace::new(4);
        for count in 1..=11 {
            trace.push(record(count));
            let times: Vec<u64> = trace.iter().map(|record| record.at.as_micros()).collect();
            let expected: Vec<u64> = (count.saturating_sub(4) + 1..=count).collect();
            assert_eq!((times, trace.lost()), (expected, count.saturating_sub(4)));
        }
        assert_eq!(trace.len(), 4);
    }

    #[test]
    fn a_ring_without_room_keeps_nothing() {
        let mut trace = Trace::new(0);
        trace.push(record(1));
        assert!(trace.is_empty() && trace.lost() == 1);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 48, "{} bytes", size_of::<Record>());
    }
}
