//! A host's files in two layers: what programs see, and what a power cut leaves.
//!
//! A write changes the first; a sync carries a file's bytes over into the second. Names have layers
//! of their own: a file that was made, renamed or removed is so for good only when its folder was
//! synced. A power cut keeps the second layer and any of the rest: of the pages that were on their
//! way some are there, some are not, and some are torn; a file may have its new length and not its
//! bytes. A sync that fails loses what it was for, as Linux does: what is read next is what the
//! disk has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::disk::job::OnDisk;
use crate::rng::Rng;
use crate::time::Instant;

/// Bytes that reach the disk together or not at all.
const SECTOR_LEN: usize = 512;
/// Sectors that are written together, unless the power goes in the middle of it: 4 KiB.
const PAGE_SECTORS: usize = 8;
/// When virtual time begins on the clock on the wall, in nanoseconds since 1970.
const EPOCH_NS: i64 = 1_700_000_000_000_000_000;

/// Files by their full path.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    there: BTreeMap<PathBuf, File>,
    /// Files that were removed, and may be there again after a power cut.
    removed: BTreeMap<PathBuf, File>,
    /// Inodes given out.
    inodes: u64,
}

/// One file.
#[derive(Clone, Debug, Default)]
struct File {
    seen: Layer,
    /// What a power cut leaves of it, if it has its name then.
    durable: Layer,
    name: Name,
    /// Sectors that differ.
    dirty: BTreeSet<usize>,
    inode: u64,
    /// Whether it was made by writing to it.
    made: bool,
}

/// How far a file's name is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Name {
    /// It is.
    Durable,
    /// It had none before.
    #[default]
    New,
    /// It had this one before.
    Before(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Layer {
    bytes: Vec<u8>,
    modified_ns: i64,
}

impl Files {
    /// Returns the bytes of a file.
    pub(super) fn get(&self, path: &Path) -> Option<&[u8]> {
        self.there.get(path).map(|file| &file.seen.bytes[..])
    }

    /// Returns how many bytes all files have.
    pub(super) fn len(&self) -> u64 {
        self.there.values().map(|file| file.seen.bytes.len() as u64).sum()
    }

    /// Returns the bytes of a file that a power cut would leave.
    pub(super) fn durable(&self, path: &Path) -> Option<&[u8]> {
        let file = self.there.get(path).filter(|file| file.name == Name::Durable)?;
        Some(&file.durable.bytes)
    }

    /// Puts a file there, whatever there was, as somebody else does: it is durable.
    pub(super) fn put(&mut self, path: PathBuf, bytes: Vec<u8>, now: Instant) {
        self.inodes += 1;
        let seen = Layer { bytes, modified_ns: wall_ns(now) };
        let (durable, name) = (seen.clone(), Name::Durable);
        let file = File { seen, durable, name, inode: self.inodes, ..File::default() };
        self.there.insert(path, file);
    }

    /// Removes a file; not for good before its folder is synced.
    pub(super) fn remove(&mut self, path: &Path) {
        if let Some(file) = self.there.remove(path) {
            self.removed.insert(path.to_owned(), file);
        }
    }

    /// Removes a file for good, as somebody else does.
    pub(super) fn take_away(&mut self, path: &Path) {
        self.there.remove(path);
        self.removed.remove(path);
    }

    /// Gives a file another name; what had it is gone. Not for good before its folder is synced.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        let Some(mut file) = self.there.remove(from) else { return };
        file.name = Name::Before(from.to_owned());
        if let Some(replaced) = self.there.insert(to.to_owned(), file) {
            self.removed.insert(to.to_owned(), replaced);
        }
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder_of(&mut self, path: &Path) {
        let is_in = |other: &Path| other.parent() == path.parent();
        let files = self.there.iter_mut().filter(|(other, _)| is_in(other));
        files.for_each(|(_, file)| file.name = Name::Durable);
        self.removed.retain(|other, _| !is_in(other));
    }

    /// Writes into a file, which is made if need be.
    pub(super) fn write(&mut self, path: &Path, offset: usize, bytes: &[u8], now: Instant) {
        let file = self.make(path, now);
        let end = offset + bytes.len();
        let len = file.seen.bytes.len().max(end);
        file.seen.bytes.resize(len, 0);
        file.seen.bytes[offset..end].copy_from_slice(bytes);
        file.seen.modified_ns = wall_ns(now);
        file.dirty.extend(offset / SECTOR_LEN..end.div_ceil(SECTOR_LEN));
    }

    /// Makes a file unless it is there.
    pub(super) fn touch(&mut self, path: &Path, now: Instant) {
        self.make(path, now);
    }

    /// Cuts a file that is longer, durably.
    pub(super) fn cut(&mut self, path: &Path, len: usize, now: Instant) {
        if let Some(file) = self.there.get_mut(path).filter(|file| file.seen.bytes.len() > len) {
            file.seen.bytes.truncate(len);
            file.seen.modified_ns = wall_ns(now);
            file.durable.bytes.truncate(len);
        }
    }

    /// Notes that a file is nobody's but the user's from now on.
    pub(super) fn finish(&mut self, path: &Path) {
        if let Some(file) = self.there.get_mut(path) {
            file.made = false;
        }
    }

    /// Returns what there is of a file.
    pub(super) fn look(&self, path: &Path) -> Option<OnDisk> {
        let file = self.there.get(path)?;
        Some(OnDisk {
            len: file.seen.bytes.len() as u64,
            modified_ns: file.seen.modified_ns,
            inode: file.inode,
            device: 1,
            ours: file.made,
        })
    }

    /// Makes the bytes of a file durable.
    pub(super) fn sync(&mut self, path: &Path) {
        if let Some(file) = self.there.get_mut(path) {
            file.dirty.clear();
            file.durable = file.seen.clone();
        }
    }

    /// Loses what a file has that is not durable.
    pub(super) fn fail_sync(&mut self, path: &Path) {
        if let Some(file) = self.there.get_mut(path) {
            for sector in std::mem::take(&mut file.dirty) {
                for at in sector_of(sector, &file.seen.bytes) {
                    file.seen.bytes[at] = file.durable.bytes.get(at).copied().unwrap_or(0);
                }
            }
        }
    }

    /// Cuts the power: what is durable stays, and any of what was not yet.
    pub(super) fn cut_power(&mut self, rng: &mut Rng) {
        let mut left: BTreeMap<PathBuf, File> = BTreeMap::new();
        let is_renamed = |(_, file): &(&PathBuf, &File)| matches!(file.name, Name::Before(_));
        let renamed = self.there.iter().filter(is_renamed).map(|(path, _)| path.clone());
        let replaced: BTreeSet<PathBuf> = renamed.collect();
        for (path, file) in std::mem::take(&mut self.there) {
            let is_named = rng.below(2) == 0;
            let path = match &file.name {
                Name::New if !is_named => continue,
                Name::Before(before) if !is_named => before.clone(),
                _ => path,
            };
            left.insert(path, file.after_cut(rng));
        }
        for (path, file) in std::mem::take(&mut self.removed) {
            // The name of one that was replaced is the other's, or still its own.
            let is_back = replaced.contains(&path) || rng.below(2) == 0;
            if is_back && file.name == Name::Durable {
                left.entry(path).or_insert_with(|| file.after_cut(rng));
            }
        }
        self.there = left;
    }

    fn make(&mut self, path: &Path, now: Instant) -> &mut File {
        if !self.there.contains_key(path) {
            self.inodes += 1;
            let seen = Layer { bytes: Vec::new(), modified_ns: wall_ns(now) };
            let file = File { seen, inode: self.inodes, made: true, ..File::default() };
            self.there.insert(path.to_owned(), file);
        }
        self.there.get_mut(path).expect("it was just made")
    }
}

impl File {
    /// Returns what a power cut may leave of it.
    fn after_cut(self, rng: &mut Rng) -> Self {
        let Self { seen, durable: mut left, dirty, inode, made, .. } = self;
        if rng.below(2) == 0 {
            // The new length is there, whatever is of the bytes.
            left.bytes.resize(left.bytes.len().max(seen.bytes.len()), 0);
        }
        let (mut page, mut chance) = (usize::MAX, 0);
        for sector in dirty {
            if page != sector / PAGE_SECTORS {
                // All of a page is there, or nothing, or it is torn.
                (page, chance) = (sector / PAGE_SECTORS, [0, 1, 2][rng.below(3)]);
            }
            let at = sector_of(sector, &seen.bytes);
            if at.is_empty() || rng.below(2) >= chance {
                continue;
            }
            left.bytes.resize(left.bytes.len().max(at.end), 0);
            left.bytes[at.clone()].copy_from_slice(&seen.bytes[at]);
        }
        if rng.below(2) == 0 {
            left.modified_ns = seen.modified_ns;
        }
        let (durable, name, dirty) = (left.clone(), Name::Durable, BTreeSet::new());
        Self { seen: left, durable, name, dirty, inode, made }
    }
}

/// Returns which bytes of a file a sector has.
fn sector_of(sector: usize, bytes: &[u8]) -> std::ops::Range<usize> {
    let from = (sector * SECTOR_LEN).min(bytes.len());
    from..(from + SECTOR_LEN).min(bytes.len())
}

/// Returns what the clock on the wall says at a virtual time, in nanoseconds since 1970.
pub(super) fn wall_ns(now: Instant) -> i64 {
    EPOCH_NS.saturating_add(i64::try_from(now.as_micros()).unwrap_or(0).saturating_mul(1_000))
}
