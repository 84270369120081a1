//! What is told of a torrent that has not got what it needs, and when that would be too often.

use std::time::{Duration, Instant};

use swarmloop::disk::job::DiskError;
use swarmloop::session::io::{DiskFull, Phase};

use crate::cli::exit::{Exit, Failure};
use crate::cli::size::{Size, percent};
use crate::cli::torrent::Torrent;
use crate::cli::ui::Ui;

/// The least time between two lines that tell of lost pieces: one failing disk has many.
const LOST_INTERVAL: Duration = Duration::from_secs(30);

/// Tells that the disk is full: once, until something could be written again.
pub(super) fn tell_disk_full(torrent: &mut Torrent, ui: &mut Ui, full: &DiskFull) {
    if !std::mem::replace(&mut torrent.is_disk_full_told, true) {
        let (have, size) = (torrent.snapshot.have, torrent.snapshot.size);
        ui.error(&Failure::disk_full(full, have, size), Some(torrent.number));
    }
}

/// Tells that pieces cannot be read any more: at most once in [`LOST_INTERVAL`], counted.
pub(super) fn tell_lost(
    torrent: &mut Torrent,
    ui: &mut Ui,
    pieces: u32,
    error: &DiskError,
    now: Instant,
) {
    let (untold, told_at) = &mut torrent.lost;
    *untold += u64::from(pieces);
    if told_at.is_some_and(|at| now.saturating_duration_since(at) < LOST_INTERVAL) {
        return;
    }
    let pieces = std::mem::take(untold);
    *told_at = Some(now);
    let failure = Failure::pieces_lost(error, pieces, &torrent.snapshot);
    ui.error(&failure, Some(torrent.number));
}

/// Looks at what a seed has once it has been checked: says so, warns if it is not everything, fails
/// if it is nothing.
pub(super) fn judge_seed(torrent: &mut Torrent, ui: &mut Ui) -> Option<Failure> {
    let snapshot = &torrent.snapshot;
    let is_checked = match snapshot.phase {
        Phase::Seeding | Phase::PartialSeeding | Phase::Downloading => true,
        Phase::Stopped(None) => snapshot.pieces_checked >= snapshot.pieces,
        _ => false,
    };
    if !is_checked || torrent.is_seeding_told {
        return None;
    }
    if snapshot.have == 0 {
        let message = format!("none of the data of '{}' is there", torrent.name);
        let hint = "name the folder that holds it, or the data itself, after the torrent";
        return Some(Failure::new(Exit::Input, "no_data", message).hint(hint));
    }
    torrent.is_seeding_told = true;
    let (name, have, size) = (&torrent.name, snapshot.have, snapshot.size);
    if snapshot.is_complete() {
        ui.say(&format!("seeding  {name}  {}", Size(size)));
    } else {
        let missing = Size(snapshot.missing());
        let share = percent(have, size);
        let text =
            format!("'{name}' is incomplete, {missing} missing; seeding the {share} there is");
        ui.warning("incomplete", &text, Some(torrent.number));
    }
    None
}
