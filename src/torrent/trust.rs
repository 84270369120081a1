//! Which pieces a resume record is believed, and which are hashed before anybody is offered them.
//!
//! Pure: from the record and what there is of each file now. A file that is as the record says is
//! believed. One that was being downloaded when the process was killed has been written to since;
//! it is believed for what it claimed then, if that can have been us; but what was claimed since
//! the last time that all was at rest is hashed, and a sample of the rest.

use crate::bitfield::Bitfield;
use crate::disk::job::{Folders, OnDisk, Storage};
use crate::disk::layout::Span;
use crate::id::PieceIndex;
use crate::rng::Rng;
use crate::time::Duration;

use super::resume::Record;

/// How long after the last record of a process that was killed one of its files may have been
/// written. A record follows each sync, which follows a write within seconds; a sync that took
/// longer than this only costs the hashing of a file.
const MAX_WRITTEN_AFTER: Duration = Duration::from_secs(120);

/// After a kill one piece in so many of those that are believed is hashed (security.md 3.4: 1 %).
const SAMPLE_ONE_IN: usize = 100;
/// And at least so many.
const MIN_SAMPLE: usize = 16;

/// What is to be done with each piece of a torrent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Pieces that are believed to be right and durable.
    pub(super) trusted: Bitfield,
    /// Pieces that are to be hashed, in order; some of those that are believed are among them.
    pub(super) to_hash: Vec<u32>,
}

/// How a file stands against the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Nothing has been written to it.
    Same,
    /// Written to by the process that was killed, as far as can be told.
    Ours,
    /// Anything else.
    Changed,
}

/// Plans the check of a torrent whose files, and last its parts file, are `files` now. Without a
/// record, every piece that can
/// be there is hashed. O(files), and O(pieces) unless the last process ended as it should.
pub(super) fn plan(
    storage: &Storage,
    files: &[Option<OnDisk>],
    record: Option<(&Record, i64)>,
    rng: &mut Rng,
) -> Plan {
    let pieces = storage.layout.piece_count();
    let standings: Vec<Standing> = match record {
        Some((record, saved_ns)) => (0..files.len())
            .map(|index| standing(storage, index, files, (record, saved_ns)))
            .collect(),
        None => vec![Standing::Changed; files.len()],
    };
    if let Some((record, _)) = record.filter(|(record, _)| record.clean)
        && standings.iter().all(|standing| *standing == Standing::Same)
    {
        return Plan { trusted: record.claimed.clone(), to_hash: Vec::new() };
    }
    let mut plan = Plan { trusted: Bitfield::new(pieces), to_hash: Vec::new() };
    for piece in 0..pieces {
        if !is_there(storage, PieceIndex(piece), files) {
            continue;
        }
        let all = |what: fn(Standing) -> bool| {
            files_of(storage, PieceIndex(piece)).all(|file| what(standings[file]))
        };
        let record = record.map(|(record, _)| record);
        if record.is_some_and(|record| record.claimed.contains(piece))
            && all(|standing| standing != Standing::Changed)
        {
            plan.trusted.insert(piece);
            if record.is_some_and(|record| !record.clean && record.recent.contains(piece)) {
                plan.to_hash.push(piece);
            }
        } else if !(record.is_some_and(|record| record.clean)
            && all(|standing| standing == Standing::Same))
        {
            plan.to_hash.push(piece);
        }
    }
    if record.is_some_and(|(record, _)| !record.clean) {
        plan.sample(rng);
    }
    plan
}

/// Tells whether the torrent's folders are not those that the record was made in: others are in
/// their place, and they lack what was there.
///
/// Others that hold every file are a copy, or the same on a file system with another number:
/// nothing is made in a wrong place there. Then, files that nothing else is the matter with are as
/// `record` says afterwards.
pub(super) fn are_elsewhere(
    storage: &Storage,
    (files, folders): (&[Option<OnDisk>], &Folders),
    record: &mut Record,
) -> bool {
    if !folders.are_others(&record.folders) {
        return false;
    }
    let lacks = |(was, is): (&Option<OnDisk>, &Option<OnDisk>)| {
        was.is_some_and(|was| is.is_none_or(|is| is.len < was.len))
    };
    if record.files.iter().zip(files).take(storage.parts_index()).any(lacks) {
        return true;
    }
    let before = record.folders.root.map(|root| root.device);
    if let Some(device) = folders.renumbered(&record.folders) {
        let files = record.files.iter_mut().flatten();
        files.filter(|file| Some(file.device) == before).for_each(|file| file.device = device);
    }
    false
}

/// Tells whether a piece can be on disk, as far as the lengths of files tell.
pub(super) fn is_there(storage: &Storage, piece: PieceIndex, files: &[Option<OnDisk>]) -> bool {
    spans(storage, piece).all(|span| {
        let there = files.get(span.file).copied().flatten().map_or(0, |file| file.len);
        there >= span.offset + span.len
    })
}

/// Returns the files that a piece is in, and those whose bytes of it are in the parts file now: if
/// one of them was there when the record was saved, the parts file has nothing of it.
fn files_of(storage: &Storage, piece: PieceIndex) -> impl Iterator<Item = usize> + use<'_> {
    let own = storage.layout.spans(piece, 0, storage.layout.piece_len(piece));
    own.filter(|span| !span.pad).chain(spans(storage, piece)).map(|span| span.file)
}

fn spans(storage: &Storage, piece: PieceIndex) -> impl Iterator<Item = Span> + use<'_> {
    storage.spans(piece, 0, storage.layout.piece_len(piece)).filter(|span| !span.pad)
}

impl Plan {
    /// Has some of the pieces that are believed hashed all the same.
    fn sample(&mut self, rng: &mut Rng) {
        let is_hashed = |piece: &u32| self.to_hash.binary_search(piece).is_ok();
        let mut rest: Vec<u32> = self.trusted.ones().filter(|piece| !is_hashed(piece)).collect();
        let count = (rest.len() / SAMPLE_ONE_IN).max(MIN_SAMPLE);
        rng.shuffle(&mut rest);
        self.to_hash.extend(rest.into_iter().take(count));
        self.to_hash.sort_unstable();
    }
}

fn standing(
    storage: &Storage,
    index: usize,
    files: &[Option<OnDisk>],
    (record, saved_ns): (&Record, i64),
) -> Standing {
    let was = record.files.get(index).copied().flatten();
    let (was, is) = match (was, files.get(index).copied().flatten()) {
        (None, None) => return Standing::Same,
        (Some(was), Some(is)) => (was, is),
        _ => return Standing::Changed,
    };
    if is.is_unchanged(&was) {
        return Standing::Same;
    }
    // A file of which everything was claimed is not written to any more; the parts file may be.
    let is_whole = || {
        let layout = &storage.layout;
        let mut pieces = layout.files().get(index).map(|_| layout.pieces_of_file(index));
        pieces.as_mut().is_some_and(|pieces| pieces.all(|piece| record.claimed.contains(piece)))
    };
    let slack = i64::try_from(MAX_WRITTEN_AFTER.as_nanos()).unwrap_or(i64::MAX);
    let may_be_ours = !record.clean
        && is.is_same_file(&was)
        && is.len >= was.len
        && is.modified_ns >= was.modified_ns
        && is.modified_ns <= saved_ns.saturating_add(slack)
        && !is_whole();
    if may_be_ours { Standing::Ours } else { Standing::Changed }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::disk::job::FolderId;
    use crate::disk::layout::{FileSpec, Layout};
    use crate::id::{InfoHash, TorrentId};

    /// When the record was saved.
    const SAVED: i64 = 1_700_000_000_000_000_000;

    /// Two files of 25 pieces of 4 bytes each; the piece in the middle is of both.
    fn two_files() -> Storage {
        storage([("a", 98), ("b", 102)])
    }

    fn storage<const N: usize>(files: [(&str, u64); N]) -> Storage {
        let file = |(name, len)| FileSpec { path: PathBuf::from(name), len, pad: false };
        Storage {
            torrent: TorrentId(0),
            info_hash: InfoHash([0; 20]),
            root: PathBuf::new(),
            layout: Arc::new(Layout::new(files.map(file), 4)),
            parts: None,
            hashes: Bytes::new(),
            writable: true,
            rules: crate::disk::job::Rules::default(),
            state: None,
        }
    }

    fn on_disk(inode: u64, len: u64) -> OnDisk {
        OnDisk { len, modified_ns: SAVED - 5, inode, device: 1, ours: false }
    }

    fn record(claimed: impl IntoIterator<Item = u32>, clean: bool) -> Record {
        let mut record = Record::empty(50, 2);
        claimed.into_iter().for_each(|piece| _ = record.claimed.insert(piece));
        record.files = vec![Some(on_disk(1, 98)), Some(on_disk(2, 102))];
        record.clean = clean;
        record
    }

    fn plan_of(files: &[Option<OnDisk>], record: &Record) -> (Vec<u32>, Vec<u32>) {
        let plan = plan(&two_files(), files, Some((record, SAVED)), &mut Rng::new(1));
        (plan.trusted.ones().collect(), plan.to_hash)
    }

    fn all(range: std::ops::Range<u32>) -> Vec<u32> {
        range.collect()
    }

    #[test]
    fn without_a_record_what_can_be_there_is_hashed() {
        let plan = plan(&two_files(), &[Some(on_disk(1, 98)), None], None, &mut Rng::new(1));
        assert_eq!((plan.trusted.count(), plan.to_hash), (0, all(0..24)));
    }

    #[test]
    fn after_a_clean_stop_nothing_is_hashed_that_is_as_it_was() {
        let record = record([0, 7, 49], true);
        let files = record.files.clone();
        assert_eq!(plan_of(&files, &record), (vec![0, 7, 49], vec![]));
    }

    #[test]
    fn after_a_clean_stop_a_file_that_changed_in_any_way_is_hashed() {
        let record = record(0..50, true);
        let there = on_disk(2, 102);
        for changed in [
            OnDisk { len: 103, ..there },
            OnDisk { modified_ns: there.modified_ns + 1, ..there },
            OnDisk { modified_ns: there.modified_ns - 1, ..there },
            OnDisk { inode: 3, ..there },
            OnDisk { device: 2, ..there },
        ] {
            let files = [record.files[0], Some(changed)];
            assert_eq!(plan_of(&files, &record), (all(0..24), all(24..50)), "{changed:?}");
        }
        assert_eq!(plan_of(&[record.files[0], None], &record), (all(0..24), vec![]));
    }

    #[test]
    fn after_a_kill_what_was_not_claimed_is_hashed_and_a_sample_of_the_rest() {
        let record = record(0..40, false);
        let written = OnDisk { modified_ns: SAVED + 1, ..on_disk(2, 102) };
        let (trusted, to_hash) = plan_of(&[record.files[0], Some(written)], &record);
        assert_eq!(trusted, all(0..40));
        let sampled = to_hash.iter().filter(|piece| **piece < 40).count();
        assert_eq!(sampled, MIN_SAMPLE);
        assert_eq!(to_hash[sampled..], all(40..50));
    }

    #[test]
    fn after_a_kill_a_file_that_we_cannot_have_written_is_hashed() {
        let record = record(0..40, false);
        let there = on_disk(2, 102);
        for changed in [
            OnDisk { modified_ns: SAVED + 200_000_000_000, ..there },
            OnDisk { modified_ns: there.modified_ns - 1, ..there },
            OnDisk { inode: 3, modified_ns: SAVED, ..there },
            OnDisk { len: 101, ..there },
        ] {
            let (trusted, to_hash) = plan_of(&[record.files[0], Some(changed)], &record);
            assert_eq!(trusted, all(0..24), "{changed:?}");
            assert!(to_hash.contains(&24) && to_hash.contains(&39), "{changed:?}");
        }
        // All of the first file was claimed, so it was not being written to.
        let touched = OnDisk { modified_ns: SAVED + 1, ..on_disk(1, 98) };
        assert_eq!(plan_of(&[Some(touched), Some(there)], &record).0, all(25..40));
    }

    #[test]
    fn after_a_kill_what_was_claimed_since_all_was_at_rest_is_hashed() {
        let mut record = record(0..40, false);
        record.recent = Bitfield::new(50);
        (5..30).for_each(|piece| _ = record.recent.insert(piece));
        let files = record.files.clone();
        let (trusted, to_hash) = plan_of(&files, &record);
        assert_eq!(trusted, all(0..40));
        assert!((5..30).chain(40..50).all(|piece| to_hash.contains(&piece)), "{to_hash:?}");
        // All that is left is less than the least sample.
        assert_eq!(to_hash.len(), 35 + 15);
        assert!(to_hash.is_sorted());
        record.clean = true;
        assert_eq!(plan_of(&files, &record), (all(0..40), vec![]));
    }

    #[test]
    fn an_empty_folder_in_the_place_of_another_is_none_of_ours() {
        let folders = |device, inode| Folders { root: Some(FolderId { device, inode }), own: None };
        let record = Record { folders: folders(1, 2), ..record(0..40, true) };
        let are_elsewhere = |files: [Option<OnDisk>; 2], now: Folders| {
            let mut record = record.clone();
            (are_elsewhere(&two_files(), (&files, &now), &mut record), record)
        };
        let there = [record.files[0], record.files[1]];
        for (files, now, expected) in [
            ([None, None], folders(1, 3), true),
            ([None, None], Folders::default(), true),
            ([None, None], folders(9, 2), true),
            ([there[0], None], folders(1, 3), true),
            ([there[0], Some(OnDisk { len: 7, ..on_disk(2, 102) })], folders(1, 3), true),
            ([None, None], folders(1, 2), false),
            (there, folders(1, 3), false),
        ] {
            let (is, after) = are_elsewhere(files, now);
            assert_eq!((is, &after), (expected, &record), "{files:?} in {now:?}");
        }
        // The same drive by another number: nothing has to be hashed for it.
        let moved = there.map(|file| file.map(|file| OnDisk { device: 9, ..file }));
        let (is, after) = are_elsewhere(moved, folders(9, 2));
        assert!(!is);
        assert_eq!(plan_of(&moved, &after), (all(0..40), vec![]));
    }

    #[test]
    fn the_sample_is_one_in_a_hundred_of_many() {
        let storage = storage([("a", 40_000)]);
        let mut record = Record::empty(10_000, 1);
        record.claimed = Bitfield::full(10_000);
        record.files = vec![Some(on_disk(1, 40_000))];
        let plan = plan(&storage, &record.files.clone(), Some((&record, SAVED)), &mut Rng::new(1));
        assert_eq!((plan.trusted.count(), plan.to_hash.len()), (10_000, 100));
        assert!(plan.to_hash.is_sorted());
    }
}
