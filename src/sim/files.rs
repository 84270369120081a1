//! A host's files in two layers: what programs see, and what a power cut leaves.
//!
//! A write changes the first; a sync carries a file over into the second. A power cut keeps the
//! second and any of the pages that were on their way. A sync that fails loses them, as Linux does:
//! what is read next is what the disk has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::disk::job::OnDisk;
use crate::rng::Rng;
use crate::time::Instant;

/// Bytes that reach the disk together or not at all.
const PAGE_LEN: usize = 4096;
/// When virtual time begins on the clock on the wall, in nanoseconds since 1970.
const EPOCH_NS: i64 = 1_700_000_000_000_000_000;

/// Files by their full path.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<PathBuf, File>,
    /// Inodes given out.
    inodes: u64,
}

/// One file.
#[derive(Debug, Default)]
struct File {
    seen: Layer,
    /// What a power cut leaves; `None` while nothing of it is known there, not even its name.
    durable: Option<Layer>,
    /// Pages that differ.
    dirty: BTreeSet<usize>,
    inode: u64,
    /// Whether it was made by writing to it.
    made: bool,
}

#[derive(Clone, Debug, Default)]
struct Layer {
    bytes: Vec<u8>,
    modified_ns: i64,
}

impl Files {
    /// Returns the bytes of a file.
    pub(super) fn get(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(|file| &file.seen.bytes[..])
    }

    /// Returns how many bytes all files have.
    pub(super) fn len(&self) -> u64 {
        self.files.values().map(|file| file.seen.bytes.len() as u64).sum()
    }

    /// Returns the bytes of a file that a power cut would leave.
    pub(super) fn durable(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path)?.durable.as_ref().map(|layer| &layer.bytes[..])
    }

    /// Puts a file there, whatever there was, as somebody else does: it is durable.
    pub(super) fn put(&mut self, path: PathBuf, bytes: Vec<u8>, now: Instant) {
        self.inodes += 1;
        let seen = Layer { bytes, modified_ns: wall_ns(now) };
        let durable = Some(seen.clone());
        let file = File { seen, durable, inode: self.inodes, ..File::default() };
        self.files.insert(path, file);
    }

    /// Removes a file, durably.
    pub(super) fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Writes into a file, which is made if need be.
    pub(super) fn write(&mut self, path: &Path, offset: usize, bytes: &[u8], now: Instant) {
        let file = self.make(path, now);
        let end = offset + bytes.len();
        let len = file.seen.bytes.len().max(end);
        file.seen.bytes.resize(len, 0);
        file.seen.bytes[offset..end].copy_from_slice(bytes);
        file.seen.modified_ns = wall_ns(now);
        file.dirty.extend(offset / PAGE_LEN..end.div_ceil(PAGE_LEN));
    }

    /// Makes a file unless it is there.
    pub(super) fn touch(&mut self, path: &Path, now: Instant) {
        self.make(path, now);
    }

    /// Cuts a file that is longer, durably.
    pub(super) fn cut(&mut self, path: &Path, len: usize, now: Instant) {
        if let Some(file) = self.files.get_mut(path).filter(|file| file.seen.bytes.len() > len) {
            file.seen.bytes.truncate(len);
            file.seen.modified_ns = wall_ns(now);
            if let Some(durable) = &mut file.durable {
                durable.bytes.truncate(len);
            }
        }
    }

    /// Notes that a file is nobody's but the user's from now on.
    pub(super) fn finish(&mut self, path: &Path) {
        if let Some(file) = self.files.get_mut(path) {
            file.made = false;
        }
    }

    /// Returns what there is of a file.
    pub(super) fn look(&self, path: &Path) -> Option<OnDisk> {
        let file = self.files.get(path)?;
        Some(OnDisk {
            len: file.seen.bytes.len() as u64,
            modified_ns: file.seen.modified_ns,
            inode: file.inode,
            device: 1,
            ours: file.made,
        })
    }

    /// Makes a file durable, name and all.
    pub(super) fn sync(&mut self, path: &Path) {
        if let Some(file) = self.files.get_mut(path) {
            file.dirty.clear();
            file.durable = Some(file.seen.clone());
        }
    }

    /// Loses what a file has that is not durable.
    pub(super) fn fail_sync(&mut self, path: &Path) {
        if let Some(file) = self.files.get_mut(path) {
            let durable = file.durable.as_ref().map_or(&[][..], |layer| &layer.bytes);
            for page in std::mem::take(&mut file.dirty) {
                for at in page * PAGE_LEN..((page + 1) * PAGE_LEN).min(file.seen.bytes.len()) {
                    file.seen.bytes[at] = durable.get(at).copied().unwrap_or(0);
                }
            }
        }
    }

    /// Cuts the power: what is durable stays, and any of the pages that were not yet.
    pub(super) fn cut_power(&mut self, rng: &mut Rng) {
        self.files.retain(|_, file| {
            if file.durable.is_none() && rng.below(2) == 0 {
                return false;
            }
            let mut left = file.durable.take().unwrap_or_default();
            for page in std::mem::take(&mut file.dirty) {
                let (from, to) = (page * PAGE_LEN, (page + 1) * PAGE_LEN);
                let to = to.min(file.seen.bytes.len());
                if rng.below(2) == 0 || from >= to {
                    continue;
                }
                let len = left.bytes.len().max(to);
                left.bytes.resize(len, 0);
                left.bytes[from..to].copy_from_slice(&file.seen.bytes[from..to]);
            }
            if rng.below(2) == 0 {
                left.modified_ns = file.seen.modified_ns;
            }
            file.seen = left.clone();
            file.durable = Some(left);
            true
        });
    }

    fn make(&mut self, path: &Path, now: Instant) -> &mut File {
        if !self.files.contains_key(path) {
            self.inodes += 1;
            let seen = Layer { bytes: Vec::new(), modified_ns: wall_ns(now) };
            let file = File { seen, inode: self.inodes, made: true, ..File::default() };
            self.files.insert(path.to_owned(), file);
        }
        self.files.get_mut(path).expect("it was just made")
    }
}

/// Returns what the clock on the wall says at a virtual time, in nanoseconds since 1970.
pub(super) fn wall_ns(now: Instant) -> i64 {
    EPOCH_NS.saturating_add(i64::try_from(now.as_micros()).unwrap_or(0).saturating_mul(1_000))
}
