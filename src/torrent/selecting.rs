//! Which files are wanted, now and after a change of mind.
//!
//! Pieces that are wanted are the picker's business; here is what it takes that files which are
//! wanted all of a sudden leave the parts file ([`crate::disk::parts`]) without a byte being lost:
//!
//! ```text
//! selection ──► pieces of such files are not asked for ──► none of them is open
//!                                                              │
//!    all that is wanted is asked for ◄── the files are there ◄─┴─ they are carried over
//! ```

use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::job::{DiskError, DiskErrorKind, Job};
use crate::disk::parts::Parts;
use crate::disk::selection::{LEVELS, Selection};
use crate::id::PieceIndex;

use super::phase::{Mode, TorrentEvent};
use super::verify::After;
use super::{Ctx, End, Stage, Torrent};

/// How far files that are wanted now are on their way out of the parts file.
#[derive(Debug)]
pub(super) enum Carrying {
    /// Open pieces of theirs are still with the disk, which puts them into the parts file.
    Waiting,
    /// These are being made.
    Files(Vec<usize>),
}

impl Torrent {
    /// Returns which files are wanted.
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Wants other files from now on. What is being received of files that are not wanted any more
    /// is given up; what is there of them is kept and served.
    ///
    /// Of no effect on a torrent that is only served, but for what its status says.
    pub fn set_selection(&mut self, selection: Selection, ctx: &mut Ctx<'_>) -> After {
        self.selection = selection;
        // While files are looked at, it is taken in when that has come to its end.
        if !self.is_active() || self.mode == Mode::Seed {
            return After::Nothing;
        }
        let after = self.want_selected(ctx);
        if self.is_downloading() {
            self.candidates.revive(ctx.now);
        }
        after
    }

    /// Has the picker want what is selected, as far as it can be written; begins to see to the
    /// rest.
    pub(super) fn want_selected(&mut self, ctx: &mut Ctx<'_>) -> After {
        self.make_no_more();
        let wanted = self.wanted_pieces();
        let must_carry = self.strays().next().is_some();
        let before = self.phase(ctx.now);
        let Stage::Active { picker, end } = &mut self.stage else { return After::Nothing };
        picker.set_wanted(wanted);
        let is_here = picker.missing() == 0 && !must_carry;
        *end = if is_here { End::Finishing } else { End::Downloading };
        if !matches!(self.carrying, Some(Carrying::Files(_))) {
            self.carrying = must_carry.then_some(Carrying::Waiting);
        }
        let after = self.phase(ctx.now);
        if before != after {
            ctx.events.push(TorrentEvent::Phase(after));
        }
        let unwanted = self.pieces.idle().filter(|piece| !self.is_wanted(*piece));
        for piece in unwanted.collect::<Vec<_>>() {
            self.close_piece(piece, ctx);
        }
        if is_here {
            self.finish(ctx);
        }
        self.carry_if_due(ctx);
        After::LookAgain
    }

    /// Notes that there are files for the bytes of a piece.
    pub(super) fn note_made(&mut self, piece: PieceIndex) {
        let spans = self.storage.spans(piece, 0, self.geometry.len_of(piece));
        for span in spans.filter(|span| !span.pad) {
            self.made.insert(u32::try_from(span.file).expect("fewer than 2^32 files"));
        }
    }

    /// Notes that there may be files for the bytes of a piece of which nothing may be claimed: the
    /// record has to tell the next process that they are ours.
    pub(super) fn may_have_made(&mut self, piece: PieceIndex) {
        self.note_made(piece);
        if let Some(keep) = &mut self.keep {
            keep.touched_files();
        }
    }

    /// Has files that are not wanted and not there stay so: what belongs there goes into the parts
    /// file from now on.
    pub(super) fn make_no_more(&mut self) {
        if !self.storage.writable {
            return;
        }
        let (layout, parts) = (&self.storage.layout, self.storage.parts.as_ref());
        // What the disk has in hand is made for what was wanted then.
        let with_disk: Vec<u32> = self.pieces.in_jobs().map(|piece| piece.0).collect();
        let is_safe = |file: usize| {
            let pieces = layout.pieces_of_file(file);
            !with_disk.iter().any(|piece| pieces.contains(piece))
        };
        let is_made = |file: usize| u32::try_from(file).is_ok_and(|file| self.made.contains(file));
        let files = layout.files().iter().enumerate();
        let files = files.filter(|(_, file)| !file.pad && file.len > 0).map(|(at, _)| at);
        let unmade = files.filter(|at| !self.selection.wants(*at) && !is_made(*at) && is_safe(*at));
        let held: Vec<usize> = parts.iter().flat_map(|parts| parts.files()).collect();
        let all: Vec<usize> = unmade.chain(held).collect();
        self.put_into_parts(all);
    }

    /// Tells whether a piece is to be downloaded.
    pub(super) fn is_wanted(&self, piece: PieceIndex) -> bool {
        matches!(&self.stage, Stage::Active { picker, .. } if picker.is_wanted(piece))
    }

    /// Returns the pieces that the selection wants by level, without those of files that would go
    /// into the parts file although they are wanted.
    fn wanted_pieces(&self) -> [Bitfield; LEVELS] {
        let layout = &self.storage.layout;
        let all = || {
            let mut levels = [(); LEVELS].map(|()| Bitfield::new(layout.piece_count()));
            levels[0].reset(layout.piece_count(), true);
            levels
        };
        let mut levels = self.selection.pieces(layout).unwrap_or_else(all);
        for piece in self.strays().flat_map(|file| layout.pieces_of_file(file)) {
            for level in &mut levels {
                level.remove(piece);
            }
        }
        levels
    }

    /// Returns the files that are wanted and would go into the parts file.
    pub(super) fn strays(&self) -> impl Iterator<Item = usize> + '_ {
        let held = self.storage.parts.iter().flat_map(Parts::files);
        held.filter(|file| self.storage.writable && self.selection.wants(*file))
    }

    /// Has files carried over that are waiting for it, once nothing of theirs is with the disk.
    pub(super) fn carry_if_due(&mut self, ctx: &mut Ctx<'_>) {
        let waits = matches!(self.carrying, Some(Carrying::Waiting));
        // While pieces are hashed again nobody knows what there is to be carried.
        if !waits || !self.is_active() || self.is_short_of_space() {
            return;
        }
        let strays: Vec<usize> = self.strays().collect();
        let layout = &self.storage.layout;
        let is_open = |file: &usize| {
            let pieces = layout.pieces_of_file(*file);
            self.pieces.iter().any(|open| pieces.contains(&open.piece.0))
        };
        if !strays.iter().any(is_open) {
            self.carry(strays, ctx);
        }
    }

    /// Has files made that have been in the parts file, with what is there of them.
    pub(super) fn carry(&mut self, files: Vec<usize>, ctx: &mut Ctx<'_>) {
        let layout = &self.storage.layout;
        let right = |file: usize| -> Vec<PieceIndex> {
            let pieces = layout.pieces_of_file(file).filter(|piece| self.have().contains(*piece));
            pieces.map(PieceIndex).collect()
        };
        let carried = files.iter().map(|file| (*file, right(*file))).collect();
        let job = Job::Carry { storage: Arc::clone(&self.storage), files: carried };
        self.jobs.submit(job, ctx);
        self.carrying = Some(Carrying::Files(files));
    }

    /// Takes in that files were made.
    pub(super) fn on_carry(&mut self, result: Result<(), DiskError>, ctx: &mut Ctx<'_>) -> After {
        let Some(Carrying::Files(files)) = self.carrying.take() else { return After::Nothing };
        match result {
            Ok(()) => {
                self.was_written();
                for file in &files {
                    self.made.insert(u32::try_from(*file).expect("fewer than 2^32 files"));
                }
                if let Some(keep) = &mut self.keep {
                    keep.touched_files();
                }
            }
            Err(error) if error.kind == DiskErrorKind::Full => {
                if matches!(self.stage, Stage::Stopped { .. }) {
                    return After::Nothing;
                }
                self.carrying = Some(Carrying::Waiting);
                // When everything is hashed it is tried once more, and waited for.
                return if self.is_active() {
                    self.on_full(None, error, ctx)
                } else {
                    self.check_on(ctx)
                };
            }
            Err(error) => return self.on_disk_error(error, ctx),
        }
        let held = self.storage.parts.iter().flat_map(Parts::files);
        let held: Vec<usize> = held.filter(|file| files.binary_search(file).is_err()).collect();
        self.put_into_parts(held);
        match self.stage {
            Stage::Stopped { .. } | Stage::Metadata(_) => After::Nothing,
            Stage::Checking(_) => self.check_on(ctx),
            Stage::Active { .. } => self.want_selected(ctx),
        }
    }

    /// Writes and reads the bytes of these files in the parts file from now on, and those of all
    /// others in themselves.
    pub(super) fn put_into_parts(&mut self, files: impl IntoIterator<Item = usize>) {
        let parts = Parts::new(&self.storage.layout, files);
        if self.storage.parts != parts {
            self.storage = Arc::new(self.storage.with_parts(parts));
        }
    }

    /// Returns the payload of wanted files in bytes, and how much of it is verified. O(files, and
    /// pieces verified).
    pub fn wanted_bytes(&self) -> (u64, u64) {
        let layout = &self.storage.layout;
        if self.selection.wants_all() {
            return (layout.payload_len(), self.have_bytes());
        }
        let pieces = self.have().ones().map(PieceIndex);
        let have = pieces.map(|piece| self.selection.wanted_len_of(layout, piece)).sum();
        (self.selection.wanted_len(layout), have)
    }
}
