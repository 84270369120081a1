//! What the engine measures about itself: HDR histograms, always on, one for each stage of a
//! block's and a connection's life, and plain counters.
//!
//! A record is some 80 instructions. Of a download of 32 MiB over loopback under
//! `valgrind --tool=callgrind --separate-threads=yes swarmloop get`, all of them together are
//! 0.11 % of the 843 million of the process (2026-11-21, SHA-1 in software: valgrind has no other).
//!
//! **Invariant:** nothing in here reads a clock; whoever records knows how long it took.

mod counters;
mod histogram;
#[cfg(feature = "cli")]
pub mod report;

pub use counters::Counters;
pub use histogram::{Histogram, Histograms};

use crate::time::{Duration, Instant};

/// Everything that one session measures.
#[derive(Debug)]
pub struct Stats {
    /// What was recorded since the last [`Stats::take`].
    pub histograms: Box<Histograms>,
    /// What was counted since the start.
    pub counters: Counters,
    /// When the histograms were last taken; at first, when the session was made.
    taken_at: Instant,
}

/// What was measured from one [`Stats::take`] to the next.
#[derive(Clone, PartialEq, Debug)]
pub struct Interval {
    /// When it began.
    pub start: Instant,
    /// How long it was.
    pub length: Duration,
    /// What was recorded in it.
    pub histograms: Box<Histograms>,
    /// What had been counted from the start of the session to the end of the interval.
    pub counters: Counters,
}

impl Stats {
    /// Returns what a session has measured that was made at `now`: nothing.
    pub fn new(now: Instant) -> Self {
        Self { histograms: Box::default(), counters: Counters::default(), taken_at: now }
    }

    /// Ends the interval that began when this was last called, and goes on recording into `spare`,
    /// which must be empty. O(1), no allocation.
    pub fn take(&mut self, spare: Box<Histograms>, now: Instant) -> Interval {
        debug_assert!(spare.is_empty(), "an interval begins with nothing recorded");
        let start = std::mem::replace(&mut self.taken_at, now);
        Interval {
            start,
            length: now - start,
            histograms: std::mem::replace(&mut self.histograms, spare),
            counters: self.counters,
        }
    }
}

/// What a histogram is about.
///
/// Durations that the session records are taken from the time of its turns, so they are whole
/// turns; the driver's are from its own clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    /// From queueing a request to the turn that read the head of the `piece` that answers it. A
    /// request that was given up before that is not counted.
    RequestToFirstByte,
    /// From queueing a request to the turn that read the last byte of its payload.
    RequestToBlock,
    /// From the end of the turn that read the last block of a piece to the end of the piece's hash:
    /// what it waited for included.
    BlockToHashed,
    /// From the end of the turn that read the last block of a piece to the end of the piece's
    /// write. Only pieces that were right are written.
    BlockToWritten,
    /// How long a remote let us wait for an unchoke while we were interested in it: from its choke,
    /// the start of the connection or our interest, whichever was last.
    ChokeToUnchoke,
    /// From an open stream to the remote's whole handshake, if it made a peer.
    Handshake,
    /// From the start of an announce, its name lookup first, to the tracker's answer or its
    /// failure, redirects included. One that is given up because its torrent stops is not counted.
    Announce,
    /// From a deadline in the session's wheel to the turn that looked at it.
    TimerLateness,
    /// Readiness events that one poll returned: a count.
    EventsPerTurn,
    /// From the end of a poll to the start of the next.
    LoopBusy,
    /// How long something that became ready at any moment while the loop was busy had to wait for
    /// the next poll: [`Metric::LoopBusy`] without coordinated omission.
    LoopLag,
}

/// What the values of a metric are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Durations in nanoseconds.
    Nanoseconds,
    /// Plain counts.
    Count,
}

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::RequestToFirstByte,
        Self::RequestToBlock,
        Self::BlockToHashed,
        Self::BlockToWritten,
        Self::ChokeToUnchoke,
        Self::Handshake,
        Self::Announce,
        Self::TimerLateness,
        Self::EventsPerTurn,
        Self::LoopBusy,
        Self::LoopLag,
    ];

    /// Returns the name that files and JSON use; it never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestToFirstByte => "request_to_first_byte",
            Self::RequestToBlock => "request_to_block",
            Self::BlockToHashed => "block_to_hashed",
            Self::BlockToWritten => "block_to_written",
            Self::ChokeToUnchoke => "choke_to_unchoke",
            Self::Handshake => "handshake",
            Self::Announce => "announce",
            Self::TimerLateness => "timer_lateness",
            Self::EventsPerTurn => "events_per_turn",
            Self::LoopBusy => "loop_busy",
            Self::LoopLag => "loop_lag",
        }
    }

    /// Returns what its values are.
    pub const fn unit(self) -> Unit {
        match self {
            Self::EventsPerTurn => Unit::Count,
            _ => Unit::Nanoseconds,
        }
    }
}
