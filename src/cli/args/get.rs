//! The arguments of `get`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueHint;
use swarmloop::disk::job::Alloc;

use super::limits::{PatienceArgs, SeedGoalArgs};
use super::network::{InstrumentArgs, NetworkArgs};
use super::sections;
use super::select::SelectArgs;
use super::values;
use crate::cli::after::Words;
use crate::cli::exit::EXIT_CODES;
use crate::cli::goals::SeedGoal;
use crate::cli::state::StateArgs;

/// Arguments of `get`.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct GetArgs {
    /// Torrent files or their http(s) URLs, magnet links or info-hashes; - is a file on stdin
    #[arg(required_unless_present = "input_file")]
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrents: Vec<OsString>,
    /// Also download the torrents that this file names, one a line; # begins a comment, - is stdin
    #[arg(short, long, value_name = "LIST", value_hint = ValueHint::FilePath)]
    pub(crate) input_file: Vec<OsString>,
    /// Folder to put the files into [default: the current one]
    #[arg(short, long, alias = "output", short_alias = 'o', value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Keep uploading when complete, until interrupted or until what the goals below say
    #[arg(long)]
    pub(crate) seed: bool,
    /// Folder to move the files to when they are complete; nothing there is overwritten
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) move_to: Option<PathBuf>,
    /// Run this program when a download is complete, with these arguments (never through a shell)
    #[arg(long, value_name = "CMD", value_parser = values::words)]
    #[arg(value_hint = ValueHint::CommandString)]
    pub(crate) on_complete: Option<Words>,
    /// Fetch the metadata of magnet links, save it as torrent files, and end
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// Save the metadata of a magnet link as this torrent file [default: NAME.torrent in --dir]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = BY_NAME, value_hint = ValueHint::FilePath)]
    pub(crate) save_torrent: Option<PathBuf>,
    /// Replace existing bytes that are not the torrent's
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Threads that hash and write [default: one a processor, at most 2]
    #[arg(short, long, value_name = "N", value_parser = values::threads)]
    #[arg(hide_short_help = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// How room is made for the files.
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// What an earlier run has left.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Accepted for wget's and curl's sake: resuming is what always happens.
    #[arg(short = 'c', long = "continue", hide = true)]
    pub(crate) resume: bool,
    /// Which files, and in which order.
    #[command(flatten)]
    pub(crate) files: SelectArgs,
    /// When seeding is over; any goal implies --seed.
    #[command(flatten)]
    pub(crate) goal: SeedGoalArgs,
    /// When it is given up.
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// Peers and trackers.
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// What looks inside.
    #[command(flatten)]
    pub(crate) instruments: InstrumentArgs,
}

/// Stands for a torrent file with the torrent's own name; no file can have this one.
pub(crate) const BY_NAME: &str = "/";

/// How room is made for what is downloaded.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RoomArgs {
    /// Begin even if what is missing does not fit on the disk
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) no_space_check: bool,
    /// How to make room for a file: none (it grows), sparse (its length is set) or full (its space
    /// is taken, where that needs no writing)
    #[arg(long, value_name = "HOW", default_value = "sparse", value_parser = alloc)]
    #[arg(hide_short_help = true)]
    pub(crate) alloc: Alloc,
}

fn alloc(text: &str) -> Result<Alloc, String> {
    match text {
        "none" => Ok(Alloc::None),
        "sparse" => Ok(Alloc::Sparse),
        "full" => Ok(Alloc::Full),
        _ => Err("none, sparse or full".to_owned()),
    }
}

impl GetArgs {
    /// Returns until when is seeded after a download; `None` if nothing is. A goal implies
    /// `--seed`.
    pub(crate) fn seeding(&self) -> Option<SeedGoal> {
        let goal = self.goal.goal();
        (self.seed || !goal.is_endless()).then_some(goal)
    }
}

/// Returns what the long help of `get` adds.
pub(super) fn help() -> String {
    sections(&[FILES, PEER_FLAGS, WHEN_COMPLETE, SIGNALS, EXAMPLES, EXIT_CODES])
}

const FILES: &str = "\
Files (-s, -x, --priority):
  1-5,8     files 1 to 5 and 8, as `get -l X.torrent` and `show -f X.torrent` number them
  '*.iso'   * and ? are any characters of a name; without a slash, any name on the path may match
  'dir/**'  with a slash or **, the path from the torrent's folder on
  What is not wanted is not created: bytes that it shares with what is wanted are kept in one
  hidden file, .NAME.parts, until it is wanted too. Run the command again with other files to
  change your mind: what is there is not downloaded again.";

/// What the letters of a peer's line mean.
pub(super) const PEER_FLAGS: &str = "\
Peer flags (-v):
  D    downloading from it           d    we would, but it chokes us
  U    uploading to it               u    it wants to, but we choke it
  K    it lets us, we want nothing   ?    we let it, it wants nothing
  I    it dialled us                 S    it has stopped answering requests";

const WHEN_COMPLETE: &str = "\
When a download is complete:
  Its files are moved (--move-to), then the program of --on-complete is run. It is split into words
  as a shell does, but no shell runs it, and it learns about the download from its environment:
  SWARMLOOP_NAME, SWARMLOOP_PATH (file or top folder), SWARMLOOP_DIR, SWARMLOOP_HASH,
  SWARMLOOP_SIZE, SWARMLOOP_TORRENT (as it was named here), which are no settings there. What it
  prints goes to stderr. If it fails the exit code is 1, and the download is complete all the same.
  It is not run for what was complete already.";

/// What signals do to a run.
pub(super) const SIGNALS: &str = "\
Signals:
  ^C and SIGTERM stop gracefully within --stop-timeout; a second one does not wait for trackers,
  a third for nothing. SIGHUP stops, too, if there was a terminal; else it asks trackers and reads
  each --blocklist again. SIGUSR1 prints the status.";

const EXAMPLES: &str = "\
Examples:
  swarmloop get album.torrent
  swarmloop get album.torrent -l
  swarmloop get album.torrent -d music -s '*.flac' -x 'disc 2/**'
  swarmloop get album.torrent --seed-ratio 1.5 --limit-up 500K
  swarmloop get album.torrent --peer 127.0.0.2:6881 --no-trackers --timeout 10m
  swarmloop get -i list.txt --move-to done --on-complete 'touch all-done'
  swarmloop get album.torrent --json --log-file get.log --log-level tracker=debug";
