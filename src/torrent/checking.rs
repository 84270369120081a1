//! Before a torrent starts: which files exist, which of their pieces are right, and whether
//! anything foreign is in the way.
//!
//! Only pieces whose files are there and long enough are hashed, so a fresh download starts at
//! once.

use std::sync::Arc;

use crate::bitfield::Bitfield;
use crate::disk::job::{Checked, DiskError, DiskErrorKind, Folders, Job, OnDisk, Storage};
use crate::id::{Block, PieceIndex};
use crate::picker::Picker;

use super::phase::{FileInTheWay, Mode, Phase, StopReason, TorrentEvent};
use super::resume::Record;
use super::selecting::Carrying;
use super::trust::{self, Plan};
use super::verify::After;
use super::{Ctx, End, Stage, Torrent};

/// How far the check of existing files is.
#[derive(Debug)]
pub(super) struct Check {
    have: Bitfield,
    /// What there is of each file; `None` until they have been looked at.
    files: Option<Vec<Option<OnDisk>>>,
    /// The folders that they are in.
    folders: Folders,
    /// Whether the torrent's state was loaded, or there is none to load.
    pub(super) is_loaded: bool,
    /// What the last process said and when, if it is to be believed.
    pub(super) record: Option<(Record, i64)>,
    /// What each file was when every piece was hashed and right, in this process.
    pub(super) hashed: Option<Vec<Option<OnDisk>>>,
    /// Blocks of open pieces that the last process has put aside.
    pub(super) spilled: Vec<Block>,
    /// Pieces that are believed to be durable; those among them that are hashed all the same must
    /// be right.
    trusted: Bitfield,
    /// Pieces that were hashed and are right.
    good: Bitfield,
    /// Pieces that could not be read, and why the first of them could not.
    unreadable: Option<(Vec<PieceIndex>, DiskError)>,
    /// Pieces that are to be hashed, as ranges, last first.
    todo: Vec<(u32, u32)>,
    /// Pieces that jobs are hashing.
    out: u32,
    /// Pieces that are done with, hashed or known to be missing.
    done: u32,
}

/// How many bytes one check job hashes unless the pieces are long, and how many jobs are out at one
/// time: enough to keep two workers busy, short enough that progress shows.
const JOB_BYTES: u64 = 32 << 20;
const JOBS_OUT: u32 = 4;

/// The fewest pieces in a check job if there are as many and they fit in [`MAX_JOB_BYTES`]: so many
/// can be hashed side by side at nearly full speed.
const MIN_PIECES_A_JOB: u64 = 4;

/// The most bytes that one check job hashes, if that is a piece at all: a worker hears of nothing
/// else meanwhile, and no progress shows.
const MAX_JOB_BYTES: u64 = 128 << 20;

impl Check {
    /// Returns a check of which nothing is known; `is_loaded` if no state is going to be loaded.
    pub(super) fn new(pieces: u32, is_loaded: bool) -> Self {
        Self {
            have: Bitfield::new(pieces),
            files: None,
            folders: Folders::default(),
            is_loaded,
            record: None,
            hashed: None,
            spilled: Vec::new(),
            trusted: Bitfield::new(pieces),
            good: Bitfield::new(pieces),
            unreadable: None,
            todo: Vec::new(),
            out: 0,
            done: 0,
        }
    }

    /// Has `pieces` hashed, in order.
    fn hash(&mut self, pieces: &[u32], piece_len: u32) {
        self.done = self.have.len() - u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        self.todo = ranges(pieces, pieces_a_job(piece_len));
    }

    /// A piece that was believed is wrong: nothing is believed any more that was not hashed.
    fn distrust(&mut self, piece_len: u32) {
        let doubtful: Vec<u32> =
            self.trusted.ones().filter(|piece| !self.good.contains(*piece)).collect();
        for piece in &doubtful {
            self.have.remove(*piece);
        }
        // Those of a sample are among them, still to be hashed or wrong by now.
        let mut todo: Vec<u32> = self.todo.iter().flat_map(|(from, n)| *from..*from + n).collect();
        todo.extend(doubtful);
        todo.sort_unstable();
        todo.dedup();
        self.trusted = Bitfield::new(self.have.len());
        self.hash(&todo, piece_len);
        self.done = self.done.saturating_sub(self.out);
    }

    /// Returns what there is of each file, and last of the parts file; nothing until they have been
    /// looked at.
    fn files(&self) -> &[Option<OnDisk>] {
        self.files.as_deref().unwrap_or_default()
    }

    fn file(&self, index: usize) -> Option<OnDisk> {
        self.files().get(index).copied().flatten()
    }

    /// Tells whether it is known what there is, and what the last process has said of it.
    pub(super) const fn is_begun(&self) -> bool {
        self.is_loaded && self.files.is_some()
    }

    pub(super) const fn have(&self) -> &Bitfield {
        &self.have
    }

    pub(super) const fn done(&self) -> u32 {
        self.done
    }
}

impl Torrent {
    pub(super) fn on_stat(
        &mut self,
        files: Result<Vec<Option<OnDisk>>, DiskError>,
        folders: Folders,
        ctx: &mut Ctx<'_>,
    ) -> After {
        let files = match files {
            Ok(files) => files,
            Err(error) => return self.on_disk_error(error, ctx),
        };
        let Stage::Checking(check) = &mut self.stage else { return After::Nothing };
        (check.files, check.folders) = (Some(files), folders);
        self.begin_check(ctx)
    }

    /// Begins to hash, once it is known what there is and what the last process has said of it.
    pub(super) fn begin_check(&mut self, ctx: &mut Ctx<'_>) -> After {
        let Stage::Checking(check) = &mut self.stage else { return After::Nothing };
        let Some(files) = check.files.as_mut().filter(|_| check.is_loaded) else {
            return After::Nothing;
        };
        let mut record = check.record.take();
        if let Some((record, _)) = &mut record
            && trust::are_elsewhere(&self.storage, (files, &check.folders), record)
        {
            // What is verified is with the other folder, and kept there.
            check.have.clone_from(&record.claimed);
            return self.on_disk_error(DiskError::vanished(&self.storage), ctx);
        }
        if let Some(keep) = &mut self.keep {
            keep.is_in(check.folders);
            let before = record.iter().flat_map(|(record, _)| &record.files);
            for (there, before) in files.iter_mut().zip(before) {
                if let (Some(there), Some(before)) = (there, before) {
                    there.ours |= before.ours && there.is_same_file(before);
                }
            }
            keep.record.files.clone_from(files);
        }
        self.made = there(files);
        let absent = self.absent();
        self.put_into_parts(absent);
        let Stage::Checking(check) = &mut self.stage else { return After::Nothing };
        let files = check.files.as_deref().unwrap_or_default();
        let hashed = check.hashed.take().map(|files| Record::of_hashed(&self.geometry, files));
        let believed = record.as_ref().map(|(record, saved_ns)| (record, *saved_ns));
        // What was hashed just now says more than what the last process has left.
        let is_hashed = hashed.is_some();
        let believed = hashed.as_ref().map(|record| (record, 0)).or(believed);
        let Plan { mut trusted, mut to_hash } =
            trust::plan(&self.storage, files, believed, ctx.rng);
        for piece in ambiguous(&self.storage, files) {
            if trusted.remove(piece) {
                to_hash.push(piece);
            }
        }
        to_hash.sort_unstable();
        to_hash.dedup();
        check.have = trusted.clone();
        // What was read from memory may not be on the disk: it is right, but not claimed so far.
        check.trusted = if is_hashed { Bitfield::new(trusted.len()) } else { trusted };
        if self.rest.is_wanted() {
            self.stop(None, ctx);
            return After::Stopped;
        }
        check.hash(&to_hash, self.geometry.piece_len());
        self.check_on(ctx)
    }

    /// Hashes pieces again of which nobody knows any more whether they are on disk.
    pub(super) fn check_again(&mut self, lost: &[PieceIndex], ctx: &mut Ctx<'_>) -> After {
        self.close_idle(false, ctx);
        let mut check = Check::new(self.geometry.pieces(), true);
        // What there is of files was looked at before it began.
        check.files = Some(self.keep.as_ref().map_or(Vec::new(), |keep| keep.record.files.clone()));
        check.have.clone_from(self.have());
        let mut lost: Vec<u32> = lost.iter().map(|piece| piece.0).collect();
        lost.sort_unstable();
        lost.dedup();
        for piece in &lost {
            check.have.remove(*piece);
        }
        // What was claimed before is beyond doubt.
        if let Some(keep) = &self.keep {
            check.trusted.clone_from(&keep.record.claimed);
        }
        check.hash(&lost, self.geometry.piece_len());
        self.stage = Stage::Checking(Box::new(check));
        ctx.events.push(TorrentEvent::Phase(Phase::Checking));
        match self.check_on(ctx) {
            After::Nothing => After::Restarted,
            after => after,
        }
    }

    /// Returns the files that are not there and whose bytes, if there are any, are in the parts
    /// file.
    fn absent(&self) -> Vec<usize> {
        let Stage::Checking(check) = &self.stage else { return Vec::new() };
        let is_there = |file: usize| check.file(file).is_some();
        let may_be = |file: usize| {
            let is_made = self.storage.writable && self.selection.wants(file);
            is_there(self.storage.parts_index()) || (self.storage.writable && !is_made)
        };
        let files = self.storage.layout.files().iter().enumerate();
        let files = files.filter(|(_, file)| !file.pad && file.len > 0).map(|(at, _)| at);
        files.filter(|file| !is_there(*file) && may_be(*file)).collect()
    }

    /// Leaves files alone that are not wanted and hold nothing of this torrent: what belongs there
    /// goes into the parts file. Tells whether there is something to be looked at again, as it may
    /// be there already.
    fn avoid_strangers(&mut self) -> bool {
        let Stage::Checking(check) = &self.stage else { return false };
        if !self.storage.writable {
            return false;
        }
        let (layout, parts) = (&self.storage.layout, self.storage.parts.as_ref());
        let is_held = |file: usize| parts.is_some_and(|parts| parts.holds(file));
        let is_ours = |file: usize| {
            let there = check.file(file);
            let is_good = |piece| check.have.contains(piece);
            there.is_some_and(|there| there.ours || layout.pieces_of_file(file).any(is_good))
        };
        let files = layout.files().iter().enumerate();
        let files = files.filter(|(_, file)| !file.pad && file.len > 0).map(|(at, _)| at);
        let files = files.filter(|file| !self.selection.wants(*file));
        let strangers: Vec<usize> =
            files.filter(|file| !is_held(*file) && !is_ours(*file)).collect();
        if strangers.is_empty() {
            return false;
        }
        let pieces = strangers.iter().flat_map(|file| layout.pieces_of_file(*file));
        let mut pieces: Vec<u32> = pieces.collect();
        pieces.sort_unstable();
        pieces.dedup();
        let held: Vec<usize> = parts.iter().flat_map(|parts| parts.files()).collect();
        self.put_into_parts(held.into_iter().chain(strangers));
        let Stage::Checking(check) = &mut self.stage else { return false };
        pieces.retain(|piece| trust::is_there(&self.storage, PieceIndex(*piece), check.files()));
        check.hash(&pieces, self.geometry.piece_len());
        true
    }

    pub(super) fn on_check(
        &mut self,
        first: PieceIndex,
        checked: Result<Checked, DiskError>,
        ctx: &mut Ctx<'_>,
    ) -> After {
        if self.is_active() {
            return self.on_checked_again(first, checked, ctx);
        }
        let Checked { good, unreadable } = match checked {
            Ok(checked) => checked,
            Err(error) => return self.on_disk_error(error, ctx),
        };
        let Stage::Checking(check) = &mut self.stage else { return After::Nothing };
        check.out -= 1;
        let is_unreadable = |piece: u32| {
            let pieces = unreadable.iter().flat_map(|(pieces, _)| pieces);
            pieces.into_iter().any(|unreadable| unreadable.0 == piece)
        };
        check.done += u32::try_from(good.len()).unwrap_or(0);
        let mut is_doubtful = false;
        for (piece, good) in (first.0..).zip(good) {
            if good {
                check.have.insert(piece);
                check.good.insert(piece);
            } else {
                check.have.remove(piece);
                // Of a piece that cannot be read nobody knows that it is wrong.
                is_doubtful |= check.trusted.contains(piece) && !is_unreadable(piece);
            }
        }
        if is_doubtful {
            check.distrust(self.geometry.piece_len());
        }
        if let Some((pieces, error)) = unreadable {
            self.could_not_read(pieces, error);
        }
        self.check_on(ctx)
    }

    /// Takes in that pieces could not be read: they count as missing. If that is because their file
    /// has just been changed, so do those of it that were found or believed before.
    fn could_not_read(&mut self, mut pieces: Vec<PieceIndex>, error: DiskError) {
        let first = pieces.first().filter(|_| error.kind == DiskErrorKind::Changed);
        let changed = first.and_then(|first| self.pieces_lost_to(*first, &error));
        let Stage::Checking(check) = &mut self.stage else { return };
        for piece in changed.into_iter().flatten() {
            if check.have.remove(piece) {
                check.good.remove(piece);
                pieces.push(PieceIndex(piece));
            }
        }
        check.unreadable.get_or_insert_with(|| (Vec::new(), error)).0.append(&mut pieces);
    }

    /// Counts pieces as lost that a check could not read, and tells so: a download fetches them.
    fn lose_unreadable(&mut self, unreadable: (Vec<PieceIndex>, DiskError), ctx: &mut Ctx<'_>) {
        let (mut pieces, error) = unreadable;
        pieces.sort_unstable();
        pieces.dedup();
        pieces.retain(|piece| !self.have().contains(piece.0));
        if pieces.is_empty() {
            return;
        }
        if let Some(keep) = &mut self.keep {
            keep.lost(&pieces);
        }
        let wanted = pieces.iter().filter(|piece| self.is_wanted(**piece));
        let wanted: Vec<PieceIndex> = wanted.copied().collect();
        self.trouble.lost.extend(wanted);
        ctx.events.push(TorrentEvent::Lost(pieces, error));
    }

    /// Counts a piece that came while others are hashed again.
    pub(super) fn check_found(&mut self, piece: PieceIndex) {
        if let Stage::Checking(check) = &mut self.stage {
            check.have.insert(piece.0);
        }
    }

    /// Gives out the next jobs, or ends the check when there are none.
    pub(super) fn check_on(&mut self, ctx: &mut Ctx<'_>) -> After {
        let Stage::Checking(check) = &mut self.stage else { return After::Nothing };
        while check.out < JOBS_OUT
            && let Some((first, count)) = check.todo.pop()
        {
            let (storage, first) = (Arc::clone(&self.storage), PieceIndex(first));
            self.jobs.submit(Job::Check { storage, first, count }, ctx);
            check.out += 1;
        }
        // Before a second check, blocks may still be with the disk.
        let is_restoring = self.keep.as_ref().is_some_and(|keep| keep.is_restoring());
        if check.out > 0 || !self.pieces.is_empty() || !check.is_begun() || is_restoring {
            return After::Nothing;
        }
        // Nor is what leaves the parts file looked for in two places at once.
        if matches!(self.carrying, Some(Carrying::Files(_))) {
            return After::Nothing;
        }
        if self.avoid_strangers() {
            return self.check_on(ctx);
        }
        if let Some(error) = self.unreadable_in_the_way() {
            return self.on_disk_error(error, ctx);
        }
        let in_the_way = self.files_in_the_way();
        if !in_the_way.is_empty() {
            self.stop(Some(StopReason::FilesInTheWay(in_the_way)), ctx);
            return After::Stopped;
        }
        let strays: Vec<usize> = self.strays().collect();
        if !strays.is_empty() && self.carrying.is_none() {
            self.carry(strays, ctx);
            return After::Nothing;
        }
        if self.asks_for_room(ctx) || self.asks_for_blocks(ctx) {
            return After::Nothing;
        }
        self.activate(ctx);
        After::Started
    }

    /// Returns the files whose bytes are not ours to replace: longer than the torrent's, or without
    /// a single right piece (DESIGN 15.13).
    fn files_in_the_way(&self) -> Vec<FileInTheWay> {
        let Stage::Checking(check) = &self.stage else { return Vec::new() };
        let in_the_way = self.foreign_files(check).filter_map(|index| {
            let (file, there) = (&self.storage.layout.files()[index], check.file(index)?);
            let (path, expected_len) = (file.path.clone(), file.len);
            Some(FileInTheWay { path, len: there.len, expected_len })
        });
        in_the_way.collect()
    }

    /// Returns why a file could not be read that is in the way for want of a piece known to be
    /// right: nobody can say that its bytes are not the torrent's.
    fn unreadable_in_the_way(&self) -> Option<DiskError> {
        let Stage::Checking(check) = &self.stage else { return None };
        let (pieces, error) = check.unreadable.as_ref()?;
        let is_of = |index: usize| {
            let its = self.storage.layout.pieces_of_file(index);
            pieces.iter().any(|piece| its.contains(&piece.0))
        };
        self.foreign_files(check).any(is_of).then(|| error.clone())
    }

    fn foreign_files<'a>(&'a self, check: &'a Check) -> impl Iterator<Item = usize> + 'a {
        let may_refuse = self.mode == (Mode::Download { overwrite: false });
        let files = self.storage.layout.files().iter().zip(check.files()).enumerate();
        let foreign = files.filter(move |(index, (file, there))| {
            let is_meant = may_refuse && !file.pad && self.selection.wants(*index);
            there.filter(|there| there.len > 0 && is_meant).is_some_and(|there| {
                let mut pieces = self.storage.layout.pieces_of_file(*index);
                let is_known = there.ours || pieces.any(|piece| check.have.contains(piece));
                there.len > file.len || !is_known
            })
        });
        foreign.map(|(index, _)| index)
    }

    fn activate(&mut self, ctx: &mut Ctx<'_>) {
        let Stage::Checking(check) = &mut self.stage else { return };
        let have = std::mem::take(&mut check.have);
        let trusted = std::mem::take(&mut check.trusted);
        let unreadable = check.unreadable.take();
        self.keep_checked(trusted, &have);
        self.make_no_more();
        let mut picker = Picker::new(self.geometry, have);
        picker.set_order(self.order);
        if let Some(wanted) = self.selection.pieces(&self.storage.layout) {
            picker.set_wanted(wanted);
        }
        picker.set_window(super::piece_window(&self.geometry, ctx.pool));
        let downloads = matches!(self.mode, Mode::Download { .. });
        let end = match (picker.missing(), downloads) {
            (0, true) => End::Finishing,
            (_, true) => End::Downloading,
            (_, false) => End::Seeding,
        };
        let complete = picker.is_complete();
        picker.rest();
        self.stage = Stage::Active { picker: Box::new(picker), end };
        ctx.events.push(TorrentEvent::Phase(self.phase(ctx.now)));
        if let Some(unreadable) = unreadable {
            self.lose_unreadable(unreadable, ctx);
        }
        if end == End::Downloading {
            // Those that were of no use before what was here was lost.
            self.candidates.revive(ctx.now);
        }
        if end == End::Finishing {
            self.finish(ctx);
        } else if end == End::Seeding && complete {
            ctx.events.push(TorrentEvent::Complete(false));
        }
        self.restore(ctx);
        if matches!(self.carrying, Some(Carrying::Waiting)) {
            self.want_selected(ctx);
        }
    }
}

/// Returns the pieces of which a record cannot say where all of their bytes are: in a file that may
/// be anybody's, or in the parts file.
fn ambiguous(storage: &Storage, files: &[Option<OnDisk>]) -> Vec<u32> {
    let there = |file: usize| files.get(file).copied().flatten();
    if there(storage.parts_index()).is_none() {
        return Vec::new();
    }
    let is_anybodys = |file: &usize| there(*file).is_some_and(|file| !file.ours);
    let files = (0..storage.layout.files().len()).filter(is_anybodys);
    let pieces = files.map(|file| storage.layout.pieces_of_file(file));
    pieces.filter(|pieces| !pieces.is_empty()).flat_map(|all| [all.start, all.end - 1]).collect()
}

/// Returns which of the files are there.
fn there(files: &[Option<OnDisk>]) -> Bitfield {
    let len = u32::try_from(files.len()).expect("fewer than 2^32 files");
    let mut there = Bitfield::new(len);
    let indices = (0..len).zip(files).filter(|(_, file)| file.is_some());
    indices.for_each(|(index, _)| _ = there.insert(index));
    there
}

/// Returns the most pieces of `piece_len` bytes that one job hashes.
pub(super) fn pieces_a_job(piece_len: u32) -> u32 {
    let piece_len = u64::from(piece_len);
    let least = MIN_PIECES_A_JOB.min(MAX_JOB_BYTES / piece_len).max(1);
    u32::try_from(least.max(JOB_BYTES / piece_len)).unwrap_or(1)
}

/// Returns runs of consecutive numbers of at most `most`, as (first, count), the last first.
pub(super) fn ranges(pieces: &[u32], most: u32) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &piece in pieces {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == piece && *count < most => *count += 1,
            _ => ranges.push((piece, 1)),
        }
    }
    ranges.reverse();
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_hashes_pieces_side_by_side_within_bounds() {
        for (piece_mib, pieces) in [(1, 32), (8, 4), (16, 4), (32, 4), (64, 2), (128, 1), (512, 1)]
        {
            assert_eq!(pieces_a_job(piece_mib << 20), pieces, "pieces of {piece_mib} MiB");
        }
    }

    #[test]
    fn pieces_become_jobs_in_order_of_bounded_length() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 8, 10], 3), [(10, 1), (7, 2), (3, 1), (0, 3)]);
        assert!(ranges(&[], 3).is_empty());
    }
}
