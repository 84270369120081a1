//! Whether what several downloads lack fits where they go together: asked before the first of them
//! begins. Whether one fits, the engine asks when it knows what is there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, absolute};

use swarmloop::client::AddTorrent;
use swarmloop::reactor::files::Files;

use super::exit::Failure;
use super::verify::storage;

/// No file is opened to ask for space.
const OPEN_FILES: usize = 1;

/// What the downloads to one file system need.
#[derive(Debug)]
struct Demand<'a> {
    /// Where the first of them goes.
    dir: &'a Path,
    free: u64,
    /// Those that lack something, and how much.
    torrents: usize,
    lacking: u64,
}

/// Fails if what the wanted files of these torrents do not take up yet is more than is free on one
/// of the file systems that they go to. Where the system does not tell, nothing is in the way.
pub(crate) fn check<'a>(torrents: impl IntoIterator<Item = &'a AddTorrent>) -> Result<(), Failure> {
    let files = Files::new(OPEN_FILES);
    let mut demands: BTreeMap<u64, Demand<'_>> = BTreeMap::new();
    for torrent in torrents {
        let storage = storage(&torrent.metainfo, &torrent.dir);
        let wanted = torrent.metainfo.files.iter().enumerate();
        let wanted = wanted.filter(|(index, file)| !file.pad && torrent.selection.wants(*index));
        let wanted: Vec<usize> = wanted.map(|(index, _)| index).collect();
        let space = files.space(&storage, &wanted, None).unwrap_or_default();
        let (Some(free), Some(device)) = (space.free, device(&torrent.dir)) else { continue };
        let none = Demand { dir: &torrent.dir, free, torrents: 0, lacking: 0 };
        let demand = demands.entry(device).or_insert(none);
        demand.torrents += usize::from(space.lacking > 0);
        demand.lacking = demand.lacking.saturating_add(space.lacking);
    }
    let short = demands.values().find(|demand| demand.torrents > 1 && demand.lacking > demand.free);
    short.map_or(Ok(()), |Demand { dir, free, torrents, lacking }| {
        Err(Failure::no_space_for_all(*torrents, dir, *free, *lacking))
    })
}

/// Returns the file system of a folder, which need not be there yet.
fn device(folder: &Path) -> Option<u64> {
    let folder = absolute(folder).ok()?;
    let there = folder.ancestors().find_map(|there| fs::metadata(there).ok())?;
    Some(there.dev())
}
