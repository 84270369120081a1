//! Pieces that were verified and cannot be read any more: they are not offered, all others are.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::disk::job::{DiskError, DiskErrorKind, DiskOp};
use crate::id::PieceIndex;

use super::phase::TorrentEvent;
use super::recheck::Recheck;
use super::space::Shortage;
use super::verify::After;
use super::{Ctx, Stage, Torrent};

/// What is wrong with a torrent's disk.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whether it is asked at each start if there is room for what is missing; and still to be.
    checks_space: bool,
    pub(super) asks_for_room: bool,
    /// What is known of the disk since it was full; `None` as long as it takes everything.
    pub(super) shortage: Option<Box<Shortage>>,
    /// Pieces that could not be read once and were to be fetched again.
    pub(super) lost: BTreeSet<PieceIndex>,
    /// The file that somebody has changed and that is hashed again; `None` as a rule.
    pub(super) recheck: Option<Box<Recheck>>,
}

impl Trouble {
    /// Returns no trouble yet.
    pub(super) const fn new(checks_space: bool) -> Self {
        Self {
            checks_space,
            asks_for_room: checks_space,
            shortage: None,
            lost: BTreeSet::new(),
            recheck: None,
        }
    }

    /// Forgets what there was, for another start.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.checks_space);
    }
}

impl Torrent {
    /// Takes in that `piece` could not be read for a peer.
    ///
    /// What the file cannot give is withdrawn: the piece, or if the file as a whole is not to be
    /// had, all of its pieces. A download fetches them again, once: a disk that loses the same
    /// piece twice is not trusted with a third copy, and the torrent stops. A file of a seed that
    /// somebody has changed or replaced is hashed again.
    pub fn on_unreadable(
        &mut self,
        piece: PieceIndex,
        error: DiskError,
        ctx: &mut Ctx<'_>,
    ) -> After {
        if !self.have().contains(piece.0) {
            // Another read of it has failed before.
            return After::Nothing;
        }
        // Another may be in the place of one that was removed.
        let is_changed = match error.kind {
            DiskErrorKind::Changed => true,
            DiskErrorKind::Missing => error.op == DiskOp::Open && !self.storage.writable,
            _ => false,
        };
        if is_changed && !self.is_withdrawn(piece) {
            return self.check_file_again(piece, error, ctx);
        }
        let again = self.is_downloading() && self.is_selected(piece);
        let pieces = self.pieces_lost_to(piece, &error);
        let Stage::Active { picker, .. } = &mut self.stage else { return After::Nothing };
        let (Some(pieces), false) = (pieces, again && self.trouble.lost.contains(&piece)) else {
            return self.on_disk_error(error, ctx);
        };
        let lost = |piece: &PieceIndex| picker.lost(*piece, again);
        let lost: Vec<PieceIndex> = pieces.map(PieceIndex).filter(lost).collect();
        if let Some(keep) = &mut self.keep {
            keep.lost(&lost);
        }
        if again {
            self.trouble.lost.extend(lost.iter().copied());
        }
        ctx.events.push(TorrentEvent::Lost(lost, error));
        if !again {
            return After::Nothing;
        }
        self.stir(ctx.lines);
        After::LookAgain
    }

    /// Tells whether a file is wanted that `piece` has bytes of.
    fn is_selected(&self, piece: PieceIndex) -> bool {
        let mut spans = self.storage.layout.spans(piece, 0, self.geometry.len_of(piece));
        spans.any(|span| self.selection.wants(span.file))
    }

    /// Returns which pieces cannot be had for an error; `None` if that is all of them.
    pub(super) fn pieces_lost_to(
        &self,
        piece: PieceIndex,
        error: &DiskError,
    ) -> Option<Range<u32>> {
        let layout = &self.storage.layout;
        let one = piece.0..piece.0 + 1;
        let mut spans = self.storage.spans(piece, 0, self.geometry.len_of(piece));
        let is_it = |file: usize| self.storage.path_of(file) == error.path;
        let file = spans.find(|span| is_it(span.file)).map(|span| span.file);
        match (error.kind, file) {
            // A bug of ours, and nothing that a file has done.
            (DiskErrorKind::Panicked, _) => None,
            (DiskErrorKind::Other, _) => Some(one),
            // What else is in the parts file is told when somebody asks for it.
            (_, Some(file)) if file == self.storage.parts_index() => Some(one),
            // It ends before the piece does, or somewhere in it.
            (DiskErrorKind::Missing, Some(file)) if error.op == DiskOp::Read => {
                Some(piece.0..layout.pieces_of_file(file).end)
            }
            (_, Some(file)) => Some(layout.pieces_of_file(file)),
            // The folder is not to be had.
            (_, None) => None,
        }
    }
}
