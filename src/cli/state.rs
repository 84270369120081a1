//! What a run leaves for the next: where it is, and what is said if it cannot be left.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use swarmloop::client::{Client, Unsynced};
use swarmloop::disk::job::DiskError;
use swarmloop::id::InfoHash;
use swarmloop::session::io::Resume;

use super::dht;
use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::size::Size;
use super::stall::count;
use super::state_dir;
use super::ui::Ui;

/// Arguments about what an earlier run has left.
#[derive(Clone, Copy, Default, Debug, Args)]
#[command(next_help_heading = "Resuming")]
pub(crate) struct StateArgs {
    /// Hash everything that is there, whatever the last run has said of it
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) check: bool,
    /// Neither use nor keep what is known from one run to the next
    #[arg(long, conflicts_with = "check")]
    #[arg(hide_short_help = true)]
    pub(crate) no_resume: bool,
}

/// Returns where the state of a torrent in a folder is kept, if any is to be.
pub(crate) fn resume(args: StateArgs, info_hash: InfoHash, dir: &Path) -> Option<Resume> {
    let state_dir = state_dir::state_dir().filter(|_| !args.no_resume)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |since| since.as_secs());
    let name = name_of(info_hash, state_dir::key(info_hash, dir));
    Some(Resume { file: state_dir.join("resume").join(name), check: args.check, now_s })
}

/// Names the state file of a torrent in a folder: one torrent may be in several.
fn name_of(info_hash: InfoHash, key: [u8; 20]) -> String {
    let key = InfoHash(key).to_string();
    format!("{info_hash}-{}.resume", &key[..16])
}

/// Ends a client in order, for as long as that may take, and returns what became of what it has
/// written. If the disk fails or does not keep up, says what is not known to be on it.
pub(crate) fn shut_down(client: Client, at_most: Duration, has_failed: bool, ui: &mut Ui) -> Exit {
    let stopped = client.stop(at_most);
    if let Err(failure) = dht::keep(&stopped.dht) {
        ui.warning("state", &failure.message, None);
    }
    // What follows from a failure that was told is not another one.
    let told = if has_failed { 0 } else { MAX_ERRORS };
    for error in stopped.sync_errors.iter().take(told) {
        let message = format!("{error}; what is not on the disk is downloaded again next time");
        ui.error(&Failure::new(Exit::Failed, "sync", message), None);
    }
    for error in stopped.state_errors.iter().take(MAX_ERRORS) {
        ui.warning("state", &failed_text(error), None);
    }
    if let Some(text) = unsynced_text(&stopped.unsynced).filter(|_| !stopped.is_graceful) {
        ui.warning("unsynced", &text, None);
    }
    if stopped.sync_errors.is_empty() { Exit::Success } else { Exit::Failed }
}

/// Says what a disk was too slow to take, if there is something.
fn unsynced_text(unsynced: &Unsynced) -> Option<String> {
    let Unsynced { pieces, bytes, files, file, state, .. } = unsynced;
    let slow = "the disk does not answer in time";
    match (file, state) {
        (Some(file), _) => {
            let (size, file) = (Size(*bytes), escaped_path(file));
            let pieces = count(usize::try_from(*pieces).unwrap_or(usize::MAX), "piece", "pieces");
            let others = match files.saturating_sub(1) {
                0 => String::new(),
                more => format!(" and {}", count(more, "other file", "other files")),
            };
            Some(format!(
                "{slow}: {size} ({pieces}) of \"{file}\"{others} may not be on it yet; \
                 the next run checks that"
            ))
        }
        (None, Some(state)) => {
            let state = escaped_path(state);
            Some(format!("{slow}: \"{state}\" is not written; the next run checks what is there"))
        }
        (None, None) => None,
    }
}

/// Says that the next run will not know what this one does.
pub(crate) fn failed_text(error: &DiskError) -> String {
    format!("{error}; the next run checks what is there")
}

/// More reasons why state could not be saved than this say nothing new.
const MAX_ERRORS: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrent_in_a_folder_has_a_file_of_its_own() {
        let hash = InfoHash([1; 20]);
        let name = name_of(hash, [2; 20]);
        assert_eq!(name, format!("{hash}-0202020202020202.resume"));
        assert_ne!(name, name_of(hash, [3; 20]));
    }
}
