//! The command line as it is typed: what clap reads. One file a subcommand, and the flags that
//! several share in [`output`] and [`network`].
//!
//! [`default`] puts `get` where no subcommand is named, [`later`] refuses what is known but not
//! there.

pub(crate) mod demo;
pub(crate) mod get;
pub(crate) mod hist;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod output;
pub(crate) mod seed;
pub(crate) mod tracker;

mod default;
mod later;
mod values;

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser};

use self::default::with_default_command;
use self::demo::DemoArgs;
use self::get::{GET_HELP, GetArgs};
use self::hist::{HIST_HELP, HistArgs};
use self::output::OutputArgs;
use self::seed::SeedArgs;
use self::tracker::TrackerArgs;
use super::exit::EXIT_CODES;

/// The command line, read.
#[derive(Debug, Parser)]
#[command(
    name = "swarmloop",
    version,
    long_version = LONG_VERSION,
    about = "A BitTorrent downloader on one event loop",
    long_about = "A BitTorrent downloader on one event loop.\n\n\
        `swarmloop X.torrent` is short for `swarmloop get X.torrent`.",
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What is said, where and how.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the long `--version` adds.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ninputs:   .torrent files (BitTorrent v1 and hybrid)",
    "\npeers:    TCP, fast extension",
    "\ntrackers: http (and one built in)",
    "\nhashes:   SHA-1 with the processor's instructions where it has them"
);

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Download torrents (the default: `swarmloop X.torrent`)
    #[command(after_help = EXIT_CODES, after_long_help = GET_HELP)]
    Get(GetArgs),
    /// Check data, then upload it until interrupted
    #[command(after_help = EXIT_CODES)]
    Seed(SeedArgs),
    /// Run a small tracker for tests and local networks
    Tracker(TrackerArgs),
    /// Run a tracker, a seed and a downloader on loopback and check what arrives
    Demo(DemoArgs),
    /// Print, merge, compare and plot latency histograms (.hlog)
    #[command(after_help = EXIT_CODES, after_long_help = HIST_HELP)]
    Hist(HistArgs),
}

/// Why the command line was not read.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// As clap says; also help and version, which are no errors.
    Clap(clap::Error),
    /// A flag that is known and not there yet, with its verb: "--proxy is".
    NotYet(String),
}

/// Reads the arguments, the program's own name first.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Cli, Refusal> {
    let command = command();
    let args = with_default_command(args, &command, Path::exists);
    let matches = command.try_get_matches_from(args).map_err(Refusal::Clap)?;
    if let Some((_, matches)) = matches.subcommand() {
        later::refuse(matches).map_err(Refusal::NotYet)?;
    }
    Cli::from_arg_matches(&matches).map_err(Refusal::Clap)
}

/// Builds clap's command: what is derived, and the flags of later versions, hidden.
fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("get", |get| get.args(later::args()))
        .mut_subcommand("seed", |seed| seed.args(later::args()))
}

#[cfg(test)]
mod tests;
