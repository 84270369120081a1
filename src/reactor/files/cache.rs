//! Which files are kept open: the least recently used go first.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::TorrentId;

use super::resident::OpenFile;

/// What a file is opened for. Ordered: a file opened for writing can be read, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Access {
    Read,
    Write,
}

/// A torrent and the index of one of its files.
pub(super) type Key = (TorrentId, usize);

/// Least recently used files first out.
#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    pub(super) entries: BTreeMap<Key, Entry>,
    /// The entries by their last use. Invariant: exactly one for each entry.
    pub(super) by_use: BTreeMap<u64, Key>,
    uses: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) file: Arc<OpenFile>,
    pub(super) access: Access,
    last_use: u64,
}

impl Cache {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// Returns the file if it is open for at least `access`.
    pub(super) fn hit(&mut self, key: Key, access: Access) -> Option<Arc<OpenFile>> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.access >= access)?;
        self.by_use.remove(&entry.last_use);
        self.uses += 1;
        entry.last_use = self.uses;
        self.by_use.insert(self.uses, key);
        Some(Arc::clone(&entry.file))
    }

    /// Keeps `file` and returns what is no longer kept, to be closed without the lock.
    pub(super) fn insert(
        &mut self,
        key: Key,
        file: Arc<OpenFile>,
        access: Access,
    ) -> [Option<Entry>; 2] {
        self.uses += 1;
        let replaced = self.entries.insert(key, Entry { file, access, last_use: self.uses });
        if let Some(entry) = &replaced {
            self.by_use.remove(&entry.last_use);
        }
        self.by_use.insert(self.uses, key);
        let full = self.entries.len() > self.capacity.max(1);
        let oldest = if full { self.by_use.pop_first() } else { None };
        [replaced, oldest.and_then(|(_, key)| self.entries.remove(&key))]
    }

    /// Takes out one file.
    pub(super) fn remove_one(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.by_use.remove(&entry.last_use);
        Some(entry)
    }

    pub(super) fn remove(&mut self, torrent: TorrentId) -> Vec<Entry> {
        let range = (torrent, 0)..=(torrent, usize::MAX);
        let keys: Vec<Key> = self.entries.range(range).map(|(&key, _)| key).collect();
        let closed: Vec<Entry> = keys.iter().filter_map(|key| self.entries.remove(key)).collect();
        for entry in &closed {
            self.by_use.remove(&entry.last_use);
        }
        closed
    }
}
