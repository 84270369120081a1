//! The state of a torrent whose data goes to another folder, so that whoever finds the data there
//! believes what was known of it.

use std::path::Path;
use std::sync::Arc;

use crate::disk::job::{DiskError, Folders, OnDisk, Storage};
use crate::disk::slots::Slot;
use crate::disk::state::Save;
use crate::id::PieceIndex;
use crate::reactor::files::Files;
use crate::reactor::files::known::folders;
use crate::torrent::resume::Record;

use super::{load, save};

/// Writes the state file `to` for data that is at `after` now and keeps its inodes on its way to
/// the folder `root`; `from` is the state file for the same data as it is at `before`. Returns
/// whether it was written.
///
/// It claims what `from` claims, of the files that are at `after`. Nothing is written if `from` is
/// not there, was not saved by a graceful stop, or speaks of files that are not as they were: the
/// data is then hashed where it is found.
///
/// The caller has made sure that the data is right and durable at `after`.
///
/// # Errors
///
/// Those of reading and writing state files, and of looking at files.
pub fn carry_state(
    from: &Path,
    to: &Path,
    before: &Storage,
    after: &Arc<Storage>,
    root: &Path,
) -> Result<bool, DiskError> {
    let layout = &before.layout;
    let Some(loaded) = load(from)? else { return Ok(false) };
    let (pieces, files) = (layout.piece_count(), before.parts_index() + 1);
    let record = Record::decode(&loaded.record, before.info_hash, pieces, files);
    let Some(mut record) = record.filter(|record| record.clean) else { return Ok(false) };
    let there = Files::stat(before)?;
    if !there.iter().zip(&record.files).all(|(is, was)| is_as_it_was(is.as_ref(), was.as_ref())) {
        return Ok(false);
    }
    let moved = Files::stat(after)?;
    let left_behind = |file: &usize| there[*file].is_some() && moved[*file].is_none();
    for file in (0..layout.files().len()).filter(left_behind) {
        for piece in layout.pieces_of_file(file) {
            record.claimed.remove(piece);
        }
    }
    if left_behind(&before.parts_index()) {
        // Only pieces of several files have bytes there.
        let is_shared = |piece: &u32| {
            let piece = PieceIndex(*piece);
            let spans = layout.spans(piece, 0, layout.piece_len(piece));
            spans.filter(|span| !span.pad).count() > 1
        };
        let shared: Vec<u32> = record.claimed.ones().filter(is_shared).collect();
        for piece in shared {
            record.claimed.remove(piece);
        }
    }
    let place = Storage { root: root.to_owned(), ..after.with_parts(None) };
    record.folders = Folders { root: folders(&place).root, own: folders(after).own };
    record.files = moved;
    let newest = load(to)?.map_or((Slot::Second, 0), |old| (old.slot, old.generation));
    let job = Save {
        storage: Arc::clone(after),
        slot: newest.0.other(),
        generation: newest.1 + 1,
        record: record.encode(before.info_hash),
        has_blocks: false,
    };
    save(to, &job)?;
    Ok(true)
}

fn is_as_it_was(is: Option<&OnDisk>, was: Option<&OnDisk>) -> bool {
    match (is, was) {
        (Some(is), Some(was)) => is.is_unchanged(was),
        (None, None) => true,
        _ => false,
    }
}
