//! Syncs and state files on a simulated disk, and what must hold of them: nothing is claimed that a
//! power cut could take away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::disk::job::{DiskErrorKind, DiskOp, Storage};
use crate::disk::slots;
use crate::disk::spill;
use crate::disk::state::{Loaded, Looked, Restore, Save, Spill, StateOutcome, Sync};
use crate::rng::Rng;
use crate::torrent::resume::Record;
use crate::wire::frame::Frame;

use super::disk::{SimDisk, failed};

/// What follows after a new state file was written: its sync, its name, and the sync of that.
const STEPS: usize = 3;

impl SimDisk {
    /// Returns what a power cut at this moment may leave; another time it may be something else.
    #[must_use]
    pub fn after_power_cut(&self, rng: &mut Rng) -> Self {
        let mut left = self.clone();
        left.cut_power(rng);
        left
    }

    /// Cuts the power: see [`super::Sim::cut_power`].
    pub(super) fn cut_power(&mut self, rng: &mut Rng) {
        self.files.cut_power(rng);
    }

    pub(super) fn load(&self, storage: &Storage) -> StateOutcome {
        let loaded = storage.state.as_deref().and_then(|path| {
            let file = self.files.get(path)?;
            let newest = slots::newest(file)?;
            let spilled = self.files.get(&spill_path(path)).unwrap_or_default();
            let blocks = spill::index(spilled, newest.generation);
            let (slot, generation) = (newest.slot, newest.generation);
            let saved_ns = self.files.look(path).map_or(0, |file| file.modified_ns);
            Some(Loaded { slot, generation, record: newest.record.to_vec(), saved_ns, blocks })
        });
        StateOutcome::Loaded { torrent: storage.torrent, result: Ok(loaded) }
    }

    pub(super) fn sync(&mut self, job: Sync) -> StateOutcome {
        let Sync { storage, pieces, look_at_all } = job;
        let len_of = |piece| storage.layout.piece_len(piece);
        let spans = pieces.iter().flat_map(|piece| storage.spans(*piece, 0, len_of(*piece)));
        let synced: BTreeSet<usize> =
            spans.filter(|span| !span.pad).map(|span| span.file).collect();
        let path = |index: usize| storage.path_of(index);
        let fails = self.next_sync_fails();
        for index in &synced {
            if fails {
                self.files.fail_sync(&path(*index));
            } else {
                self.files.sync(&path(*index));
            }
        }
        if !fails {
            for index in &synced {
                self.files.sync_folder_of(&path(*index));
            }
        }
        let is_pad = |index: usize| storage.layout.files().get(index).is_some_and(|it| it.pad);
        let looked = (0..=storage.parts_index())
            .filter(|index| (look_at_all || synced.contains(index)) && !is_pad(*index))
            .map(|index| (index, self.files.look(&path(index))))
            .collect();
        let error = failed(DiskOp::Sync, storage.root.clone(), DiskErrorKind::Other);
        let looked = Looked { folders: self.folders(), files: looked };
        let result = if fails { Err(error) } else { Ok(looked) };
        StateOutcome::Synced { torrent: storage.torrent, pieces, result }
    }

    pub(super) fn save(&mut self, job: &Save) -> StateOutcome {
        self.assert_durable(job);
        let torrent = job.storage.torrent;
        if let Some(path) = job.storage.state.as_deref() {
            self.write_record(path, job, usize::MAX, usize::MAX);
            if !job.has_blocks {
                self.files.remove(&spill_path(path));
            }
        }
        StateOutcome::Saved { torrent, result: Ok(()) }
    }

    pub(super) fn spill(&mut self, job: Spill) -> StateOutcome {
        if let Some(path) = job.storage.state.as_deref() {
            let path = spill_path(path);
            self.files.write(&path, 0, &spill_bytes(&job), self.now);
            self.files.sync(&path);
            self.files.sync_folder_of(&path);
        }
        let Spill { storage, blocks, frames, .. } = job;
        let torrent = storage.torrent;
        StateOutcome::Spilled { torrent, blocks, frames, result: Ok(()) }
    }

    pub(super) fn restore(&self, job: Restore) -> StateOutcome {
        let Restore { storage, generation, blocks, mut frames } = job;
        let is_whole = storage.state.as_deref().is_some_and(|path| {
            let mut spilled = self.files.get(&spill_path(path)).unwrap_or_default();
            let next = |out: &mut [u8]| spill::read_from(&mut spilled, out);
            spill::restore(next, generation, &blocks, &mut frames)
        });
        StateOutcome::Restored { torrent: storage.torrent, blocks, frames, is_whole }
    }

    /// Syncs as many files as a crash in the middle of it would.
    pub(super) fn tear_sync(&mut self, job: &Sync, rng: &mut Rng) {
        let storage = &job.storage;
        let len_of = |piece| storage.layout.piece_len(piece);
        let spans = job.pieces.iter().flat_map(|piece| storage.spans(*piece, 0, len_of(*piece)));
        for span in spans.filter(|span| !span.pad) {
            if rng.below(2) == 0 {
                self.files.sync(&storage.path_of(span.file));
            }
        }
    }

    /// Does as much of a save as a crash in the middle of it would.
    pub(super) fn tear_save(&mut self, job: &Save, rng: &mut Rng) {
        let Some(path) = job.storage.state.as_deref() else { return };
        let len = slots::encode(job.generation, &job.record).len();
        self.write_record(path, job, rng.below(len + 1), rng.below(STEPS + 1));
    }

    /// Writes a record in place, or into a file that is put in the place of what is there: `most`
    /// bytes of it, and so many of the `steps` that follow.
    fn write_record(&mut self, path: &Path, job: &Save, most: usize, steps: usize) {
        let mut bytes = slots::encode(job.generation, &job.record);
        let half = self.files.get(path).map_or(0, <[u8]>::len) / 2;
        let (len, is_whole) = (bytes.len(), most >= bytes.len());
        bytes.truncate(most);
        let at = |slot_len: usize| {
            let at = job.slot.offset(slot_len as u64);
            usize::try_from(at).expect("a simulated file is small")
        };
        if half >= len {
            self.files.write(path, at(half), &bytes, self.now);
            if is_whole && steps > 0 {
                self.files.sync(path);
            }
            return;
        }
        let (new, slot_len) = (path.with_extension("new"), slots::slot_len(len));
        self.files.take_away(&new);
        self.files.write(&new, 0, &vec![0; 2 * slot_len], self.now);
        self.files.write(&new, at(slot_len), &bytes, self.now);
        if !is_whole {
            return;
        }
        if steps > 0 {
            self.files.sync(&new);
        }
        if steps > 1 {
            self.files.rename(&new, path);
        }
        if steps >= STEPS {
            self.files.sync_folder_of(path);
        }
    }

    /// Writes as much of a spill as a kill in the middle of it would.
    pub(super) fn tear_spill(&mut self, job: &Spill, rng: &mut Rng) {
        let Some(path) = job.storage.state.as_deref() else { return };
        let mut bytes = spill_bytes(job);
        bytes.truncate(rng.below(bytes.len() + 1));
        self.files.write(&spill_path(path), 0, &bytes, self.now);
    }

    /// Asserts that a record claims nothing but what a power cut at this moment would leave.
    fn assert_durable(&self, job: &Save) {
        let (storage, layout) = (&job.storage, &job.storage.layout);
        let (pieces, files) = (layout.piece_count(), storage.parts_index() + 1);
        let record = Record::decode(&job.record, storage.info_hash, pieces, files);
        let record = record.expect("a record that was made just now");
        for piece in record.claimed.ones().map(crate::id::PieceIndex) {
            assert!(self.is_durable(storage, piece), "{piece:?} is claimed and not durable");
        }
    }
}

fn spill_path(path: &Path) -> PathBuf {
    path.with_extension("open")
}

fn spill_bytes(job: &Spill) -> Vec<u8> {
    let payloads = || job.frames.iter().map(Frame::payload);
    let mut bytes = spill::encode_head(job.generation, &job.blocks, payloads());
    payloads().for_each(|payload| bytes.extend_from_slice(payload));
    bytes
}
