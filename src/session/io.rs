//! The driver contract: everything that a session can be told and can ask for.
//!
//! A driver ([`crate::reactor`], [`crate::sim`]) owns sockets, threads, clock and entropy; the
//! session owns every decision. One turn, in exactly this order:
//!
//! 1. wait until readiness, a completion, or
//!    [`Session::poll_timeout`](super::Session::poll_timeout);
//! 2. read the clock once: `now`;
//! 3. completions, accepts and finished connects in
//!    (`handle_disk`, `handle_resolved`, `handle_accepted`, `handle_connected`), and datagrams, up
//!    to a budget for each socket (`handle_datagram`);
//! 4. for each ready connection, up to a byte budget: `recv_slices`, read, `recv_advance`; zero
//!    bytes read is
//!    `handle_closed`;
//! 5. `handle_timeout(now)`;
//! 6. `end_turn(now)`: requests, choke decisions and haves are decided now, once a connection and
//!    turn;
//! 7. one vectored write for each connection that `poll_writable` names: `send_slices`, write,
//!    `send_advance`; a short
//!    write leaves the connection waiting for writability;
//! 8. drain `poll_action`, `poll_datagram` and `poll_event`, and read again from what
//!    `poll_readable` names. A
//!    driver that knows at once what a job came to (a read of bytes that are in memory) may tell it
//!    by `handle_disk` right here; 6 and 7 follow again.
//!
//! **Inputs, then `end_turn`, then drain until `None`, then sleep.** Debug builds assert it.

use std::net::{IpAddr, SocketAddr};

use crate::dht::Family;
use crate::disk::job::{DiskError, Job};
use crate::id::{ConnId, PeerId, PieceIndex, TorrentId};
use crate::peer::error::PeerError;
use crate::proto::metainfo::Metainfo;
use crate::time::Duration;
pub use crate::torrent::keep::Resume;
pub use crate::torrent::phase::{DiskFull, FileInTheWay, Mode, Phase, StopReason};
pub use crate::tracker::TlsError;
use crate::tracker::{Answer, TrackerError, TrackerEvent};
pub use crate::wire::slices::{MAX_SEND_SLICES, RecvSlices, SendSlices};

/// What the session wants done. Order matters: a driver carries actions out in the order in which
/// they come.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Open a stream to `addr`; answer with `handle_connected` or `handle_closed`.
    Connect {
        /// The connection's name from now on.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
        /// Whose certificate to ask for, if the stream is to be secured: it counts as open once
        /// that was found to be right, and the session is given plaintext only.
        tls: Option<ServerName>,
    },
    /// Close a stream at once. The name is dead: the driver calls nothing for it any more. (A
    /// stream whose last bytes still have to leave is kept by the session until they have.)
    Close {
        /// Which stream.
        conn: ConnId,
    },
    /// Give the job to the disk pool; answer with `handle_disk`.
    Disk(Job),
    /// Look up a host name; answer with `handle_resolved`.
    Resolve {
        /// Names the question in the answer.
        id: ResolveId,
        /// A host name, not an address.
        host: String,
        /// Put into the resulting addresses.
        port: u16,
    },
}

/// Who a server has to prove to be: a host name, or an address in digits. ASCII.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerName(pub String);

/// A name lookup under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResolveId(pub u32);

/// A question of the application's that is no torrent's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuestionId(pub u32);

/// The most bytes of a datagram that the session sends. Those that come may be longer.
pub const MAX_DATAGRAM_LEN: usize = 1_500;

/// A datagram socket of the driver's, by the order in which [`Session::add_socket`] named it.
///
/// [`Session::add_socket`]: super::Session::add_socket
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u16);

/// The way that a datagram has come, and the same way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Our socket.
    pub socket: SocketId,
    /// The other side.
    pub remote: SocketAddr,
    /// Which of our addresses the other side sends to, if the socket takes what comes to several
    /// and the driver knows: an answer that came from another would not be known for one.
    pub local: Option<IpAddr>,
}

/// A datagram that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// From where to where.
    pub route: Route,
    /// Its bytes, at the start of the buffer; at least 1, at most [`MAX_DATAGRAM_LEN`].
    pub len: usize,
}

/// What a listening socket, or one for datagrams, is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// Peers (BEP 3); datagrams also of trackers that we ask (BEP 15).
    Peers,
    /// Clients of the embedded tracker.
    Tracker,
    /// Announcements on the local network (BEP 14), in datagrams alone. What is sent to the group
    /// is to leave by every interface that we are reached by, and to be heard on this machine, too.
    Lsd,
}

/// Why a driver reports a stream as gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Closed {
    /// The other side ended the stream.
    Eof,
    /// The connection could not be opened or broke.
    Failed(std::io::ErrorKind),
    /// The stream could not be secured, or what came was not what was sent.
    Tls(TlsError),
}

/// The entropy that a driver hands to a new session.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// Breaks ties: same seed, same inputs, same run.
    pub rng: u64,
    /// Peer ids, announce keys and (later) tokens derive from this; from the system's entropy
    /// source in production.
    pub secret: [u8; 32],
}

/// What an application hears from the session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A torrent went into another phase.
    Phase {
        /// Which torrent.
        torrent: TorrentId,
        /// What it does now.
        phase: Phase,
    },
    /// The metadata of a torrent that was added by its info-hash is here and right (BEP 9). Add the
    /// torrent with it to go on: it keeps its name and its peers.
    Metadata {
        /// Which torrent.
        torrent: TorrentId,
        /// What it is, without trackers.
        metainfo: Box<Metainfo>,
    },
    /// A piece was hashed, was right, and is on disk.
    PieceVerified {
        /// Which torrent.
        torrent: TorrentId,
        /// Which piece.
        piece: PieceIndex,
    },
    /// A piece was complete and wrong; it is asked for again.
    PieceCorrupt {
        /// Which torrent.
        torrent: TorrentId,
        /// Which piece.
        piece: PieceIndex,
        /// How many peers had a hand in it.
        contributors: usize,
    },
    /// Everything that was wanted is verified and on disk.
    Complete {
        /// Which torrent.
        torrent: TorrentId,
        /// How long it took from adding to complete.
        elapsed: Duration,
        /// Whether anything was downloaded for it (`false`: the existing files were complete).
        downloaded: bool,
    },
    /// An announce came to an end.
    Tracker {
        /// Which torrent.
        torrent: TorrentId,
        /// The tracker's URL as the metainfo has it. Foreign text.
        url: String,
        /// What came of it.
        event: TrackerEvent,
    },
    /// A question came to its end.
    Answered {
        /// Which question.
        question: QuestionId,
        /// What it came to.
        answer: Box<Result<Answer, TrackerError>>,
    },
    /// A peer's handshake was complete.
    PeerConnected {
        /// Which torrent.
        torrent: TorrentId,
        /// Its address.
        addr: SocketAddr,
        /// What it calls itself. Foreign bytes.
        peer_id: PeerId,
        /// Whether it dialled us.
        incoming: bool,
    },
    /// A connection ended, for this reason.
    PeerClosed {
        /// Which torrent; `None` if it ended before it had named one.
        torrent: Option<TorrentId>,
        /// Its address.
        addr: SocketAddr,
        /// Why, and by whose fault.
        error: PeerError,
    },
    /// A peer was found to send wrong data or to break the protocol on purpose, and is not talked
    /// to any more.
    PeerBanned {
        /// Which torrent.
        torrent: TorrentId,
        /// Its address; the ban is on the IP address.
        addr: SocketAddr,
        /// What it did.
        error: PeerError,
    },
    /// Payload could not be brought to the disk itself, so nobody knows whether it is there. Its
    /// pieces are hashed again; if it happens once more the torrent stops.
    SyncFailed {
        /// Which torrent.
        torrent: TorrentId,
        /// What failed.
        error: DiskError,
        /// Bytes of the pieces that are hashed again.
        bytes: u64,
    },
    /// The torrent's state cannot be loaded or saved: what it has is checked from the start next
    /// time. Told once until saving works again.
    StateFailed {
        /// Which torrent.
        torrent: TorrentId,
        /// What failed.
        error: DiskError,
    },
    /// Pieces that were verified cannot be read any more and are not offered; a download fetches
    /// them again, and all other pieces are served as before.
    PiecesLost {
        /// Which torrent.
        torrent: TorrentId,
        /// How many pieces.
        pieces: u32,
        /// Why.
        error: DiskError,
    },
    /// The session has come into the DHT of a family of addresses: torrents that are not private
    /// are searched for there.
    DhtJoined {
        /// Which one.
        family: Family,
        /// Nodes that are known there.
        nodes: usize,
    },
    /// Nothing can be announced to a group of the local network (BEP 14) and nothing heard there,
    /// or not by one interface. Told once of each, until it works.
    LsdFailed {
        /// Which group.
        group: SocketAddr,
        /// By which interface not; `None` for all.
        interface: Option<String>,
        /// What the system says.
        why: String,
    },
    /// The disk failed; the torrent has been paused, what was verified is kept.
    Disk {
        /// Which torrent.
        torrent: TorrentId,
        /// What failed.
        error: DiskError,
    },
}
