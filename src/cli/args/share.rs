//! The arguments of `share`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueHint;

use super::create::{CreateArgs, glob};
use super::limits::SeedGoalArgs;
use super::network::NetworkArgs;
use crate::cli::glob::Glob;

/// What the long help of `share` adds.
pub(crate) const SHARE_HELP: &str = "\
Makes a torrent of PATH in memory, seeds it, and runs a tracker that serves the torrent file, too.
The one line on stdout is what a receiver types; any other client takes the URL in it.

The address in the line is the one from which this machine reaches others, or that of --bind. A
receiver counts for --once when it has told the tracker that it has everything.

Examples:
  swarmloop share album
  swarmloop share album --once --bind 192.168.0.2
  swarmloop share album -o album.torrent --limit-up 5M";

/// Arguments of `share`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShareArgs {
    /// The file or folder
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Save the torrent, too: a file, or a folder for NAME.torrent
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Leave out what matches this pattern; may be repeated
    #[arg(short = 'x', long, value_name = "GLOB", value_parser = glob)]
    pub(crate) exclude: Vec<Glob>,
    /// Threads that hash [default: one a processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// End when so many receivers have everything
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "no_trackers")]
    pub(crate) once: Option<u32>,
    /// Port of the tracker and of the torrent file [default: 6969, else any]
    #[arg(long, value_name = "N")]
    pub(crate) tracker_port: Option<u16>,
    /// When seeding is over; never if no goal is given.
    #[command(flatten)]
    pub(crate) goal: SeedGoalArgs,
    /// Peers and trackers.
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

impl ShareArgs {
    /// Returns what `create` would be told to make the torrent.
    pub(crate) fn to_create(&self) -> CreateArgs {
        CreateArgs {
            // Where there is no file, none is replaced, and none is left out for it.
            output: Some(self.output.clone().unwrap_or_default()),
            exclude: self.exclude.clone(),
            jobs: self.jobs,
            ..CreateArgs::new(self.path.clone())
        }
    }
}
