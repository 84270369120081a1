//! Which torrents may have a file in common: those that share a download folder and the first name
//! below it, found without a look at all the others.

use std::collections::BTreeSet;
use std::path::Path;

use crate::disk::hash::{self, Midstate};
use crate::disk::job::Storage;
use crate::id::TorrentId;

/// The torrents of a session by a hash of folder and first name. That two names have one hash only
/// costs a comparison.
#[derive(Debug, Default)]
pub(super) struct Tops(BTreeSet<(u64, TorrentId)>);

impl Tops {
    pub(super) fn insert(&mut self, storage: &Storage) {
        self.0.extend(tops_of(storage).into_iter().map(|top| (top, storage.torrent)));
    }

    pub(super) fn remove(&mut self, storage: &Storage) {
        for top in tops_of(storage) {
            self.0.remove(&(top, storage.torrent));
        }
    }

    /// Returns the torrents that may have a file in common with `storage`, each once.
    pub(super) fn rivals(&self, storage: &Storage) -> BTreeSet<TorrentId> {
        let all = TorrentId(0)..=TorrentId(u32::MAX);
        let of = |top| self.0.range((top, *all.start())..=(top, *all.end()));
        tops_of(storage).into_iter().flat_map(of).map(|(_, torrent)| *torrent).collect()
    }
}

/// Returns a hash of each first name below the download folder, together with that.
fn tops_of(storage: &Storage) -> BTreeSet<u64> {
    let files = storage.layout.files().iter().filter(|file| !file.pad);
    let names: BTreeSet<_> = files.filter_map(|file| file.path.iter().next()).collect();
    names.into_iter().map(|name| hash_of(&storage.root, Path::new(name))).collect()
}

/// Hashes the names on the way, so that two spellings of one path have one hash.
fn hash_of(root: &Path, name: &Path) -> u64 {
    let mut midstate = Midstate::default();
    for component in root.components().chain(name.components()) {
        hash::update_bytes(&mut midstate, component.as_os_str().as_encoded_bytes());
        hash::update_bytes(&mut midstate, b"/");
    }
    let digest = hash::finish(midstate);
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
