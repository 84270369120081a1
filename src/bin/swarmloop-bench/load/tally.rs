//! What happened, counted.

use std::io;

use rustix::io::Errno;
use swarmloop::stats::Histogram;
use swarmloop::time::Instant;

/// Why a connection ended or was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Nobody listens there.
    Refused,
    /// The client broke it off.
    Reset,
    /// The client closed it in order.
    Eof,
    /// The stream was not open, or the handshake not answered, in time.
    Timeout,
    /// The client broke the protocol.
    Protocol,
    /// The client answered for another torrent.
    OtherTorrent,
    /// A byte of payload was wrong.
    Mismatch,
    /// A block that was not asked for, or asked for and come already.
    Unrequested,
    /// No local address or port was left.
    NoAddress,
    /// No file descriptor was left.
    NoDescriptor,
    /// Anything else of the system's.
    Other,
}

impl Cause {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 11] = [
        Self::Refused,
        Self::Reset,
        Self::Eof,
        Self::Timeout,
        Self::Protocol,
        Self::OtherTorrent,
        Self::Mismatch,
        Self::Unrequested,
        Self::NoAddress,
        Self::NoDescriptor,
        Self::Other,
    ];

    /// Returns the name that JSON uses.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::OtherTorrent => "other_torrent",
            Self::Mismatch => "mismatch",
            Self::Unrequested => "unrequested",
            Self::NoAddress => "no_address",
            Self::NoDescriptor => "no_descriptor",
            Self::Other => "other",
        }
    }

    /// Sorts an error of the system's.
    pub(crate) fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => Self::Refused,
            Some(Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED) => Self::Reset,
            Some(Errno::TIMEDOUT) => Self::Timeout,
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => Self::NoAddress,
            Some(Errno::MFILE | Errno::NFILE) => Self::NoDescriptor,
            _ => Self::Other,
        }
    }
}

/// The counters of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Streams opened, and accepted.
    pub(crate) connected: u64,
    /// Handshakes answered.
    pub(crate) handshakes: u64,
    /// The most connections that were past their handshake at one time.
    pub(crate) most_open: u64,
    /// Payload handed to the system, in bytes.
    pub(crate) sent: u64,
    /// Whole blocks handed to the system.
    pub(crate) blocks_sent: u64,
    /// Right payload received in whole blocks, in bytes.
    pub(crate) received: u64,
    /// Right blocks received.
    pub(crate) blocks_received: u64,
    /// `have` messages received, and handed to the system.
    pub(crate) haves_received: u64,
    pub(crate) haves_sent: u64,
    /// Connections that came to their intended end.
    pub(crate) finished: u64,
    /// Watching connections on which the client has announced every piece.
    pub(crate) fully_told: u64,
    /// Connections that were closed to be opened again, as asked for.
    pub(crate) churned: u64,
    /// Requests that the client refused.
    pub(crate) rejected: u64,
    /// How connections ended, by [`Cause::ALL`].
    causes: [u64; Cause::ALL.len()],
    /// From the moment at which a request was due, or made, to the last byte of its block: ns.
    pub(crate) block_latency: Histogram,
    /// From the open stream to the client's whole handshake: ns.
    pub(crate) handshake_latency: Histogram,
    /// When the first stream was open.
    pub(crate) first_connect: Option<Instant>,
    /// When the last payload was handed to the system, or received.
    pub(crate) last_payload: Option<Instant>,
}

impl Tally {
    /// Counts the end of a connection.
    pub(crate) fn end(&mut self, cause: Cause) {
        self.causes[cause as usize] += 1;
    }

    /// Returns how many connections ended so.
    pub(crate) const fn ended(&self, cause: Cause) -> u64 {
        self.causes[cause as usize]
    }
}
