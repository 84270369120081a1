//! The words between the picker and its owner: what is asked, what comes of it.

use crate::bitfield::Bitfield;
use crate::id::{ConnId, PieceIndex};

/// In which order pieces are opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// The rarest first, after a random start (Cohen 2003; BEP 3 says just "random order").
    #[default]
    RarestFirst,
    /// By piece number, for whoever reads the file while it comes.
    Sequential,
}

/// The pieces that a remote has.
#[derive(Clone, Copy, Debug)]
pub enum Pieces<'a> {
    /// All of them: a seed, for which no bitfield is kept.
    All,
    /// These; over as many pieces as the torrent has.
    Some(&'a Bitfield),
}

impl<'a> Pieces<'a> {
    /// Tells whether `piece`, which must be in the torrent, is among them.
    pub fn contains(self, piece: PieceIndex) -> bool {
        match self {
            Self::All => true,
            Self::Some(bits) => bits.contains(piece.0),
        }
    }

    /// Returns how many they are; `None` for a seed, which has all.
    pub(super) const fn count(self) -> Option<u32> {
        match self {
            Self::All => None,
            Self::Some(bits) => Some(bits.count()),
        }
    }

    pub(super) fn words(self) -> Option<&'a [u64]> {
        match self {
            Self::All => None,
            Self::Some(bits) => Some(bits.words()),
        }
    }
}

/// What one remote could be asked for now.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who will be asked.
    pub owner: ConnId,
    /// What the remote has.
    pub pieces: Pieces<'a>,
    /// If given, the only pieces that may be asked: the remote's allowed-fast set while it chokes
    /// us (BEP 6). Being in the set does not mean that the remote has the piece; `pieces` still
    /// counts.
    pub only: Option<&'a [PieceIndex]>,
    /// The most blocks to pick.
    pub room: usize,
    /// The most blocks, of [`Ask::room`], that may be picked although others were asked for
    /// them.
    pub endgame_room: usize,
    /// The most blocks of credit that pieces opened now may take; see [`Picked::opened`].
    pub credit: u32,
    /// Whether the remote is snubbed or much slower than the others. It is then kept away from what
    /// is urgent: it helps with the least complete pieces, opens the most common (or the last)
    /// ones, and races for nothing (libtorrent: "reverse order").
    pub slow: bool,
}

impl Ask<'_> {
    pub(super) fn allows(&self, piece: u32) -> bool {
        let piece = PieceIndex(piece);
        self.pieces.contains(piece) && self.only.is_none_or(|only| only.contains(&piece))
    }
}

/// What a pick came to, besides the blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Picked {
    /// Blocks of credit that newly opened pieces took: all blocks of a piece, or a window of a
    /// longer one. It comes back when the piece is closed, by [`super::Picker::verified`],
    /// [`super::Picker::corrupt`], [`super::Picker::failed`] or [`super::Picker::close`].
    pub opened: u32,
    /// How many of the blocks are end-game duplicates; they are the last ones of the pick.
    pub endgame: u32,
    /// Why it ended.
    pub stop: Stop,
}

/// Why a pick ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The room is used up.
    Full,
    /// A piece could be opened, but not with the credit that was left.
    NoCredit,
    /// The remote has wanted pieces, but each of their blocks is asked from others, or received, or
    /// not allowed now.
    Busy,
    /// The remote has no piece that we want: we are not interested (BEP 3).
    NothingWanted,
}

/// How far a piece is with one more block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Blocks are missing.
    Partial,
    /// All blocks are here: the piece is to be verified.
    Complete,
    /// The block is not needed, or not from this owner; the caller drops it.
    Duplicate,
}

/// A received block that cannot be kept. The picker is as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PickError {
    /// No credit is reserved for it: its piece is not open, or it lies beyond the window. Late, and
    /// nobody's fault if the owner was asked for it once.
    #[error("block of a piece that is not open")]
    NotOpen,
    /// No such block is ever asked for: the sender's fault.
    #[error("block that is not on the torrent's 16 KiB grid")]
    BadBlock,
    /// Its piece is verified. Late, and nobody's fault if the owner was asked for it once.
    #[error("block of a piece that we have")]
    AlreadyHave,
}

/// How far an open piece is. Counted in blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFacts {
    /// Which piece.
    pub piece: PieceIndex,
    /// Blocks in the piece.
    pub blocks: u32,
    /// Blocks that are asked from somebody and have not come.
    pub requested: u32,
    /// Blocks that have come; all of them while the piece is being verified.
    pub received: u32,
    /// Blocks of credit that the piece holds.
    pub credit: u32,
}
