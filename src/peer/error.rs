//! Why a connection ended, split by guilt: bytes that mean nothing, a peer that breaks the rules,
//! silence, or a plain end. Banning, backing off and reporting follow from the type alone.

use crate::bitfield::BitfieldError;
use crate::peer::timer::Timer;
use crate::proto::extended::ExtendedError;
use crate::proto::handshake::HandshakeError;
use crate::proto::message::MessageError;

/// Why a connection to a peer ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The bytes are no BitTorrent: the peer's fault, perhaps another protocol.
    #[error("invalid bytes: {0}")]
    Invalid(#[from] Invalid),
    /// Well-formed messages that the protocol forbids: the peer's fault.
    #[error("misbehaved: {0}")]
    Misbehaved(#[from] Misbehaviour),
    /// A named time limit passed.
    #[error("timed out: {0}")]
    TimedOut(Timer),
    /// Nobody's fault.
    #[error("closed: {0}")]
    Closed(#[from] CloseReason),
}

impl PeerError {
    /// Tells whether whoever is at this address should not be talked to again.
    pub const fn is_ban(&self) -> bool {
        matches!(
            self,
            Self::Misbehaved(
                Misbehaviour::CorruptPiece
                    | Misbehaviour::CorruptBlock
                    | Misbehaviour::CorruptMetadata
                    | Misbehaviour::UnrequestedData
                    | Misbehaviour::Flood
            )
        )
    }
}

/// Bytes that cannot be read as BitTorrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// In the handshake.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// In a message.
    #[error("message: {0}")]
    Message(#[from] MessageError),
    /// In a `bitfield`.
    #[error("{0}")]
    Bitfield(#[from] BitfieldError),
    /// In an extended message (BEP 10).
    #[error("extended message: {0}")]
    Extended(#[from] ExtendedError),
}

/// What a peer did against the protocol; each could stand in a bug report to the author of its
/// client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// `have`, `suggest piece` or `allowed fast` for a piece that the torrent does not have.
    #[error("named piece {0}, which the torrent does not have")]
    PieceOutOfRange(u32),
    /// `have none` after another message (BEP 6). A late `bitfield` or `have all` is forgiven:
    /// aria2 sends them.
    #[error("sent have-none when it was not the first message")]
    LateHaveNone,
    /// A BEP 6 message without both sides having set the bit.
    #[error("used the fast extension without having offered it")]
    FastNotNegotiated,
    /// More than a few blocks that were never requested.
    #[error("sent more than {} KiB of blocks not requested", MAX_UNREQUESTED_BYTES / 1024)]
    UnrequestedData,
    /// `reject request` for blocks that were never requested (BEP 6: close).
    #[error("rejected a request that was not made")]
    UnknownReject,
    /// Requests for ranges that do not exist or are larger than anybody serves.
    #[error("requested a range outside the piece or over 128 KiB")]
    BadRequest,
    /// Useless messages (repeated haves, flips of choke and interest, keep-alives, cancels of
    /// nothing, those that nobody knows) beyond the budget.
    #[error("flooded with useless messages")]
    Flood,
    /// It alone sent a whole piece, and the piece was wrong.
    #[error("sent a piece that failed its hash")]
    CorruptPiece,
    /// A block of its differs from the right one of a later copy.
    #[error("sent a block that spoiled a piece")]
    CorruptBlock,
    /// It sent metadata whose hash is not the info-hash (BEP 9).
    #[error("sent metadata that failed its hash")]
    CorruptMetadata,
    /// Peer exchanges more often than once a minute, again and again (BEP 11).
    #[error("sent peer exchanges too often")]
    FrequentPex,
}

/// The end of a connection that is nobody's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side ended the stream.
    #[error("by the remote")]
    Remote,
    /// The stream could not be opened or broke.
    #[error("{0}")]
    Io(std::io::ErrorKind),
    /// It asked for a torrent that is not here.
    #[error("unknown info-hash")]
    UnknownTorrent,
    /// It is ourselves.
    #[error("connected to ourselves")]
    SelfConnect,
    /// The same peer is connected already.
    #[error("already connected to this peer")]
    Duplicate,
    /// Both sides have everything.
    #[error("both are seeds")]
    BothSeeds,
    /// Neither side wants anything (BEP 21).
    #[error("neither side wants anything")]
    BothUploadOnly,
    /// It came from where peers of a private torrent may not come from (BEP 27).
    #[error("the torrent is private")]
    Private,
    /// Another tracker has taken the place of the one that had named peers of a private torrent
    /// (BEP 27).
    #[error("the tracker of the private torrent is another now")]
    TrackerChanged,
    /// What it has was too much to remember before the torrent's size was known.
    #[error("what it has was forgotten")]
    Forgotten,
    /// A limit on connections is reached.
    #[error("too many connections")]
    TooMany,
    /// Its address is banned.
    #[error("banned")]
    Banned,
    /// There was no place for others, and it was of no use.
    #[error("made room for others")]
    MadeRoom,
    /// All places were taken, somebody came, and it had proven nothing.
    #[error("made way for a peer that came")]
    Displaced,
    /// Its address is on the user's blocklist.
    #[error("on the blocklist")]
    Blocked,
    /// The torrent was stopped or removed.
    #[error("the torrent stopped")]
    TorrentStopped,
    /// The session ends.
    #[error("shutting down")]
    Shutdown,
}

/// The most bytes of blocks that were not requested which are forgiven over a connection's life
/// (security.md 5.6, row 20); late blocks of requests that we cancelled do not count.
pub const MAX_UNREQUESTED_BYTES: u64 = 1 << 20;
