//! The command line as it is typed: what clap reads. One file a subcommand, and the flags that
//! several share in [`output`] and [`network`].
//!
//! [`default`] puts `get` where no subcommand is named, [`later`] refuses what is known but not
//! there.

pub(crate) mod ask;
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
use swarmloop::disk::sha1_lanes::{Kernel, MAX_LANES};

use self::ask::{ANNOUNCE_HELP, AskArgs, SCRAPE_HELP};
use self::config::{CONFIG_HELP, ConfigArgs, SourceArgs};
use self::create::{CREATE_HELP, CreateArgs};
use self::default::with_default_command;
use self::demo::{DEMO_HELP, DemoArgs};
use self::docs::{COMPLETIONS_HELP, CompletionsArgs, MAN_HELP, ManArgs};
use self::edit::{EDIT_HELP, EditArgs};
use self::get::GetArgs;
use self::hist::{HIST_HELP, HistArgs};
use self::output::{LogArgs, OutputArgs};
use self::seed::SeedArgs;
use self::share::{SHARE_HELP, ShareArgs};
use self::show::{MAGNET_HELP, MagnetArgs, SHOW_HELP, ShowArgs};
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
    long_version = long_version(),
    about = "A BitTorrent downloader on one event loop",
    long_about = "A BitTorrent downloader on one event loop.\n\n\
        `swarmloop X.torrent` is short for `swarmloop get X.torrent`. What a command takes and \
        gives is in `swarmloop COMMAND --help`.",
    after_long_help = sections(&[ROOT_EXAMPLES, EXIT_CODES]),
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

/// What the long `--version` says besides how pieces are hashed.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ninputs:   .torrent files (BitTorrent v1 and hybrid)",
    "\npeers:    TCP, fast extension, blocklists",
    "\ntrackers: http, https, udp (and one built in: http, udp)",
    "\ntls:      rustls, with ring",
    "\nbuilt by: rustc ",
    env!("CARGO_PKG_RUST_VERSION"),
    " or later",
    "\nhashes:   SHA-1",
);

/// Returns what the long `--version` says: what this program can do, on this processor.
fn long_version() -> String {
    let by = match Kernel::choose(MAX_LANES).0 {
        Kernel::Avx512 => "with AVX-512, 16 pieces at a time",
        Kernel::Avx2 => "with AVX2, 8 pieces at a time",
        Kernel::ShaNi => "with the processor's SHA instructions",
        Kernel::Portable => "by the sha1 crate",
    };
    format!("{LONG_VERSION} {by}")
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Download torrents (the default: `swarmloop X.torrent`)
    #[command(after_long_help = get::help())]
    Get(Box<GetArgs>),
    /// Check data, then upload it until interrupted
    #[command(after_long_help = seed::help())]
    Seed(SeedArgs),
    /// Make a torrent of a file or folder
    #[command(visible_alias = "new", after_long_help = sections(&[CREATE_HELP, CODES]))]
    Create(CreateArgs),
    /// Show what a torrent file says
    #[command(visible_alias = "info", after_long_help = sections(&[SHOW_HELP, CODES]))]
    Show(ShowArgs),
    /// Hash data on disk and say which files are right
    #[command(visible_alias = "check", after_long_help = sections(&[VERIFY_HELP, CODES]))]
    Verify(VerifyArgs),
    /// Print the magnet links of torrent files
    #[command(after_long_help = sections(&[MAGNET_HELP, CODES]))]
    Magnet(MagnetArgs),
    /// Change trackers, web seeds and texts of a torrent file
    #[command(after_long_help = sections(&[EDIT_HELP, CODES]))]
    Edit(EditArgs),
    /// Ask trackers how many seed and download a torrent
    #[command(after_long_help = SCRAPE_HELP)]
    Scrape(AskArgs),
    /// Announce a torrent once and print the peers that trackers name
    #[command(after_long_help = ANNOUNCE_HELP)]
    Announce(AskArgs),
    /// Make a torrent, track it and seed it; prints what a receiver types
    #[command(after_long_help = sections(&[SHARE_HELP, CODES]))]
    Share(ShareArgs),
    /// Run a small tracker for tests and local networks
    #[command(after_long_help = sections(&[TRACKER_HELP, CODES]))]
    Tracker(TrackerArgs),
    /// Run a tracker, a seed and a downloader on loopback and check what arrives
    #[command(after_long_help = sections(&[DEMO_HELP, CODES]))]
    Demo(DemoArgs),
    /// Print, merge, compare and plot latency histograms (.hlog)
    #[command(after_long_help = sections(&[HIST_HELP, CODES]))]
    Hist(HistArgs),
    /// Show the settings that hold, and where each comes from
    #[command(after_long_help = sections(&[CONFIG_HELP, CODES]))]
    Config(ConfigArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = sections(&[COMPLETIONS_HELP, CODES]))]
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    #[command(after_long_help = sections(&[MAN_HELP, CODES]))]
    Man(ManArgs),
}

/// What the long help adds of no subcommand.
const ROOT_EXAMPLES: &str = "\
Examples:
  swarmloop album.torrent
  swarmloop album.torrent -d music --seed-time 2h
  swarmloop create album -t http://127.0.0.1:6969/announce
  swarmloop share album --once";

/// What the long help of a subcommand says of exit codes that is none of those with a list.
const CODES: &str = "\
Exit codes:
  see `swarmloop --help`";

/// Puts sections of a help together.
fn sections(sections: &[&str]) -> String {
    sections.join("\n\n")
}

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
    if let Some(("get" | "seed" | "share", matches)) = matches.subcommand() {
        later::refuse(matches).map_err(|flag| Refusal::Failed(Failure::not_yet(&flag)))?;
    }
    let settings = Settings::load(sources, &flags, &matches).map_err(Refusal::Failed)?;
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    later::refuse_settings(&settings).map_err(|flag| Refusal::Failed(Failure::not_yet(&flag)))?;
    let command = settings.apply(command, &flags, &matches);
    let matches = command.try_get_matches_from(&args).map_err(Refusal::Clap)?;
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
        .mut_subcommand("share", |share| share.args(later::args()))
}

#[cfg(test)]
mod tests;
