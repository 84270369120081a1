//! The arguments of `seed`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueHint;

use super::get::{PEER_FLAGS, SIGNALS};
use super::limits::SeedGoalArgs;
use super::network::{InstrumentArgs, NetworkArgs};
use super::sections;
use super::values;
use crate::cli::exit::EXIT_CODES;
use crate::cli::state::StateArgs;

/// Arguments of `seed`.
#[derive(Debug, clap::Args)]
pub(crate) struct SeedArgs {
    /// Torrent file or its http(s) URL; - is stdin
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: OsString,
    /// The data, or the folder that it is in [default: the current one]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: Option<PathBuf>,
    /// The folder that the data is in
    #[arg(short, long, alias = "output", short_alias = 'o', value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath, conflicts_with = "path")]
    pub(crate) dir: Option<PathBuf>,
    /// Threads that hash and write [default: one a processor, at most 2]
    #[arg(short, long, value_name = "N", value_parser = values::threads)]
    #[arg(hide_short_help = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// When seeding is over; never if no goal is given.
    #[command(flatten)]
    pub(crate) goal: SeedGoalArgs,
    /// What an earlier run has left.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Peers and trackers.
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// What looks inside.
    #[command(flatten)]
    pub(crate) instruments: InstrumentArgs,
}

/// Returns what the long help of `seed` adds.
pub(super) fn help() -> String {
    sections(&[ENDS, PEER_FLAGS, SIGNALS, EXAMPLES, EXIT_CODES])
}

const ENDS: &str = "\
A signal is the normal end of seeding: the exit code is 0 if all of the data was there and no goal
was left. What is missing is not downloaded: `get --seed` does that.";

const EXAMPLES: &str = "\
Examples:
  swarmloop seed album.torrent
  swarmloop seed album.torrent music/album --seed-time 2h
  swarmloop seed album.torrent -d music --limit-up 500K --seed-ratio 2";
