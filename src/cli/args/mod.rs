//! The command line as it is typed: what clap reads. One file a subcommand, and the flags that
//! several share in [`output`] and [`network`].
//!
//! [`default`] puts `get` where no subcommand is named, [`later`] refuses what is known but not
//! there.

pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod edit;
pub(crate) mod get;
pub(crate) mod hist;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod output;
pub(crate) mod seed;
pub(crate) mod select;
pub(crate) mod share;
pub(crate) mod show;
pub(crate) mod timeouts;
pub(crate) mod tracker;
pub(crate) mod verify;

mod default;
mod later;
mod values;

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser};

use self::config::{ConfigArgs, SourceArgs};
use self::create::{CREATE_HELP, CreateArgs};
use self::default::with_default_command;
use self::demo::DemoArgs;
use self::docs::{CompletionsArgs, ManArgs};
use self::edit::{EDIT_HELP, EditArgs};
use self::get::{GET_HELP, GetArgs};
use self::hist::{HIST_HELP, HistArgs};
use self::output::{LogArgs, OutputArgs};
use self::seed::SeedArgs;
use self::share::{SHARE_HELP, ShareArgs};
use self::show::{MagnetArgs, SHOW_HELP, ShowArgs};
use self::tracker::{TRACKER_HELP, TrackerArgs};
use self::verify::{VERIFY_HELP, VerifyArgs};
use super::exit::{EXIT_CODES, Failure};
use super::settings::flags::{Flags, is_taken_back};
use super::settings::{Settings, Sources};

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
    /// What is kept of it.
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// Where settings come from, which is settled when this is read.
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the long `--version` adds.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ninputs:   .torrent files (BitTorrent v1 and hybrid)",
    "\npeers:    TCP, fast extension",
    "\ntrackers: http (and one built in: http, udp)",
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
    /// Make a torrent of a file or folder
    #[command(visible_alias = "new", after_help = EXIT_CODES, after_long_help = CREATE_HELP)]
    Create(CreateArgs),
    /// Show what a torrent file says
    #[command(visible_alias = "info", after_help = EXIT_CODES, after_long_help = SHOW_HELP)]
    Show(ShowArgs),
    /// Hash data on disk and say which files are right
    #[command(visible_alias = "check", after_help = EXIT_CODES, after_long_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Print the magnet links of torrent files
    #[command(after_help = EXIT_CODES)]
    Magnet(MagnetArgs),
    /// Change trackers, web seeds and texts of a torrent file
    #[command(after_help = EXIT_CODES, after_long_help = EDIT_HELP)]
    Edit(EditArgs),
    /// Make a torrent, track it and seed it; prints what a receiver types
    #[command(after_help = EXIT_CODES, after_long_help = SHARE_HELP)]
    Share(ShareArgs),
    /// Run a small tracker for tests and local networks
    #[command(after_long_help = TRACKER_HELP)]
    Tracker(TrackerArgs),
    /// Run a tracker, a seed and a downloader on loopback and check what arrives
    Demo(DemoArgs),
    /// Print, merge, compare and plot latency histograms (.hlog)
    #[command(after_help = EXIT_CODES, after_long_help = HIST_HELP)]
    Hist(HistArgs),
    /// Show the settings that hold, and where each comes from
    #[command(after_long_help = CONFIG_HELP)]
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(ManArgs),
}

/// What the long help of `config` adds.
const CONFIG_HELP: &str = "\
Later ones win:
  defaults, /etc/swarmloop/config.toml, $XDG_CONFIG_HOME/swarmloop/config.toml (else ~/.config),
  the environment, flags

In files, a key is a flag's long name with _ for -. Keys before the first table are for every
command that has the flag, those in [network] for every command with network flags, those in a
table named after a command for that command:
  dir = \"~/Downloads\"
  [network]
  max_conns = 500
  [get]
  seed = true

In the environment, a variable is SWARMLOOP_ and the flag in capitals: SWARMLOOP_MAX_CONNS=500.
Switches are true or false there; flags that may be repeated take several words.

Every switch is taken back by --no-SWITCH (--no-trackers by --trackers).";

/// Why the command line was not read.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// As clap says; also help and version, which are no errors.
    Clap(clap::Error),
    /// A flag that is known and not there yet, or a bad configuration.
    Failed(Failure),
}

/// The command line, read, and what it was read with.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) cli: Cli,
    pub(crate) flags: Flags,
    pub(crate) settings: Settings,
    name: String,
}

impl Parsed {
    /// Returns the name of the subcommand.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Reads the arguments, the program's own name first; what they leave open, files and environment
/// say.
pub(crate) fn parse(args: Vec<OsString>, sources: &Sources) -> Result<Parsed, Refusal> {
    let command = command();
    let flags = Flags::new(&command);
    let command = flags.with_negations(command);
    let args = with_default_command(args, &command, Path::exists);
    let matches = command.clone().try_get_matches_from(&args).map_err(Refusal::Clap)?;
    // Others may have flags of the same names.
    if let Some(("get" | "seed", matches)) = matches.subcommand() {
        later::refuse(matches).map_err(|flag| Refusal::Failed(Failure::not_yet(&flag)))?;
    }
    let settings = Settings::load(sources, &flags, &matches).map_err(Refusal::Failed)?;
    later::refuse_settings(&settings).map_err(|flag| Refusal::Failed(Failure::not_yet(&flag)))?;
    let command = settings.apply(command, &flags, &matches);
    let matches = command.try_get_matches_from(&args).map_err(Refusal::Clap)?;
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let mut cli = Cli::from_arg_matches(&matches).map_err(Refusal::Clap)?;
    cli.output.quiet &= !is_taken_back(&args, "quiet", Some('q'));
    cli.output.json &= !is_taken_back(&args, "json", None);
    Ok(Parsed { cli, flags, settings, name })
}

/// Builds clap's command as it is documented.
pub(crate) fn documented() -> clap::Command {
    Cli::command()
}

/// Builds clap's command: what is derived, and the flags of later versions, hidden.
fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("get", |get| get.args(later::args()))
        .mut_subcommand("seed", |seed| seed.args(later::args()))
}

#[cfg(test)]
mod tests;
