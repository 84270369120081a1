//! The command line as it is typed: what clap reads, the default subcommand, and flags that are
//! known but not there.
//!
//! A flag of a feature that does not exist yet is refused by name; a flag that *forbids* such a
//! feature is accepted, because the promise is kept.

pub(crate) mod hist;

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, ValueHint};
use swarmloop::text::parse_size;

use self::hist::HistArgs;
use super::exit::EXIT_CODES;
use super::input;

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

/// What the long help of `get` adds.
const GET_HELP: &str = "\
Peer flags (-v):
  D    downloading from it           d    we would, but it chokes us
  U    uploading to it               u    it wants to, but we choke it
  K    it lets us, we want nothing   ?    we let it, it wants nothing
  I    it dialled us                 S    it has stopped answering requests

Signals:
  ^C, SIGTERM and SIGHUP stop gracefully, a second one at once. SIGUSR1 prints the status.

Exit codes:
  see `swarmloop --help`";

/// What the long help of `hist` adds.
const HIST_HELP: &str = "\
Logs are those of HdrHistogram's writers in any language (formats 1.2 and 1.3, V2 histograms), and
of `swarmloop get --profile`. All that are named are added up by tag.

`hist diff` prints the second log's figures in parts of the first's: 2.00x is twice as long. There
is none where a log has too few values to tell. A file named diff is reached as ./diff.

Exit codes:
  see `swarmloop --help`";

/// Flags of every subcommand that say what is printed.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Show no progress (errors and results are still printed)
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show peers and trackers; twice: every connection
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to show progress: auto, always, never, line, or line:TIME for a line every TIME
    #[arg(long, global = true, value_name = "MODE", default_value = "auto")]
    #[arg(value_parser = progress)]
    pub(crate) progress: ProgressArg,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
}

/// What `--color` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum When {
    /// If stderr is a terminal and the environment does not object.
    Auto,
    /// Even into files.
    Always,
    /// Not at all.
    Never,
}

/// What `--progress` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProgressArg {
    /// Redrawn lines on a terminal, plain lines elsewhere.
    Auto,
    /// Redrawn lines even where stderr is no terminal.
    Always,
    /// Nothing.
    Never,
    /// Plain lines this often, and at every change of state.
    Lines(Duration),
}

/// Time between plain progress lines unless told otherwise.
pub(crate) const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct GetArgs {
    /// Torrent files; - is stdin
    #[arg(required = true, value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrents: Vec<OsString>,
    /// Folder to put the files into [default: the current one]
    #[arg(short, long, alias = "output", short_alias = 'o', value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Fetch pieces in order
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Keep uploading when complete, until interrupted
    #[arg(long)]
    pub(crate) seed: bool,
    /// Give up after this time without progress (such as 90s or 10m)
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Replace existing bytes that are not the torrent's
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Accepted for wget's and curl's sake: resuming is what always happens.
    #[arg(short = 'c', long = "continue", hide = true)]
    pub(crate) resume: bool,
    /// Peers and trackers.
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// What looks inside.
    #[command(flatten)]
    pub(crate) instruments: InstrumentArgs,
}

/// Arguments of `seed`.
#[derive(Debug, clap::Args)]
pub(crate) struct SeedArgs {
    /// Torrent file; - is stdin
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: OsString,
    /// The data, or the folder that it is in [default: the current one]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: Option<PathBuf>,
    /// The folder that the data is in
    #[arg(short, long, alias = "output", short_alias = 'o', value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath, conflicts_with = "path")]
    pub(crate) dir: Option<PathBuf>,
    /// Peers and trackers.
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// What looks inside.
    #[command(flatten)]
    pub(crate) instruments: InstrumentArgs,
}

/// Arguments that `get` and `seed` share.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Port or range of ports to listen on [default: the first free one of 6881-6889, else any]
    #[arg(short, long, value_name = "N[-M]", value_parser = ports)]
    pub(crate) port: Option<RangeInclusive<u16>>,
    /// Local address that every connection uses
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// Dial this peer besides those that trackers name; may be repeated
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = peer)]
    pub(crate) peers: Vec<(String, u16)>,
    /// Most connected peers of a torrent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_peers: Option<u16>,
    /// Most connections in all, trackers and handshakes included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_conns: Option<u16>,
    /// Peers of a torrent that are uploaded to at one time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) unchoke_slots: Option<u16>,
    /// Do not ask trackers
    #[arg(long)]
    pub(crate) no_trackers: bool,
    /// What no version so far does anyway.
    #[command(flatten)]
    pub(crate) absent: AbsentArgs,
}

/// Arguments of `get` and `seed` for a look inside.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Instruments")]
pub(crate) struct InstrumentArgs {
    /// Write latency histograms, a summary and a page with plots into this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) profile: Option<PathBuf>,
    /// Write what was said and done last into this file, as a trace for ui.perfetto.dev
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) trace: Option<PathBuf>,
}

/// Flags that forbid what does not exist yet: accepted, because they are obeyed.
#[derive(Clone, Default, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line, never read")]
pub(crate) struct AbsentArgs {
    #[arg(long, hide = true)]
    no_dht: bool,
    #[arg(long, hide = true)]
    no_pex: bool,
    #[arg(long, hide = true)]
    no_lsd: bool,
    #[arg(long, hide = true)]
    no_port_map: bool,
    #[arg(long, hide = true)]
    no_utp: bool,
}

/// Arguments of `tracker`.
#[derive(Debug, clap::Args)]
pub(crate) struct TrackerArgs {
    /// Address and port to answer announces on; may be repeated
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6969")]
    pub(crate) listen: Vec<SocketAddr>,
}

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How much to transfer; twice that much room is needed in the folder for temporary files
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = demo_size)]
    pub(crate) size: u64,
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
        refuse_later_flags(matches)?;
    }
    Cli::from_arg_matches(&matches).map_err(Refusal::Clap)
}

/// Flags that later versions have: long name, letter, and whether a value follows.
const LATER: &[(&str, Option<char>, bool)] = &[
    ("alloc", None, true),
    ("announce-ip", None, true),
    ("announce-port", None, true),
    ("blocklist", None, true),
    ("ca-file", None, true),
    ("check", None, false),
    ("config", None, true),
    ("connect-timeout", None, true),
    ("deadline", None, true),
    ("dht-bootstrap", None, true),
    ("dscp", None, true),
    ("encryption", None, true),
    ("exclude", Some('x'), true),
    ("first-last", None, false),
    ("input-file", Some('i'), true),
    ("insecure", None, false),
    ("ipv4", None, false),
    ("ipv6", None, false),
    ("jobs", Some('j'), true),
    ("keepalive", None, true),
    ("limit-down", None, true),
    ("limit-up", None, true),
    ("list", Some('l'), false),
    ("log-file", None, true),
    ("log-format", None, true),
    ("log-level", None, true),
    ("max-half-open", None, true),
    ("metadata-only", None, false),
    ("no-config", None, false),
    ("no-resume", None, false),
    ("no-webseeds", None, false),
    ("on-complete", None, true),
    ("peer-id-prefix", None, true),
    ("peer-timeout", None, true),
    ("port-map", None, false),
    ("priority", None, true),
    ("proxy", None, true),
    ("proxy-peers", None, false),
    ("request-timeout", None, true),
    ("save-torrent", None, false),
    ("seed-ratio", None, true),
    ("seed-time", None, true),
    ("select", Some('s'), true),
    ("stdout", None, true),
    ("stop-if-slow", None, true),
    ("stop-timeout", None, true),
    ("tracker", None, true),
];

/// Builds clap's command: what is derived, and the flags of [`LATER`], hidden.
fn command() -> clap::Command {
    let later = || {
        LATER.iter().map(|&(long, short, takes_value)| {
            let action = if takes_value { ArgAction::Append } else { ArgAction::SetTrue };
            let arg = Arg::new(long).long(long).action(action).hide(true);
            // Optional, so that the flag is refused and not its missing value.
            let arg = if takes_value { arg.num_args(0..=1) } else { arg };
            if let Some(short) = short { arg.short(short) } else { arg }
        })
    };
    Cli::command()
        .mut_subcommand("get", |get| get.args(later()))
        .mut_subcommand("seed", |seed| seed.args(later()))
}

/// Refuses the first flag of [`LATER`] that was given.
fn refuse_later_flags(matches: &ArgMatches) -> Result<(), Refusal> {
    let is_given = |long: &str| matches.value_source(long) == Some(ValueSource::CommandLine);
    // Not every subcommand has these flags, and clap panics when asked for one that it does not
    // know.
    let is_known = |long: &str| matches.try_contains_id(long).is_ok();
    let given = LATER.iter().find(|(long, ..)| is_known(long) && is_given(long));
    given.map_or(Ok(()), |(long, ..)| Err(Refusal::NotYet(format!("--{long} is"))))
}

/// Puts `get` in front if the first argument that is no flag is no subcommand but a torrent.
///
/// What is neither stays as it is: clap then names the subcommand that was perhaps meant.
fn with_default_command(
    mut args: Vec<OsString>,
    command: &clap::Command,
    exists: impl Fn(&Path) -> bool,
) -> Vec<OsString> {
    let first = first_positional(args.get(1..).unwrap_or_default(), command);
    let is_torrent = first.is_some_and(|first| {
        let is_command = command.get_subcommands().any(|sub| first == sub.get_name());
        !is_command && (input::looks_like_torrent(first) || exists(Path::new(first)))
    });
    if is_torrent {
        args.insert(1, "get".into());
    }
    args
}

/// Returns the first argument that is neither a flag nor a flag's value, as `get` understands
/// flags.
fn first_positional<'a>(args: &'a [OsString], command: &clap::Command) -> Option<&'a OsStr> {
    let flags: Vec<&Arg> = command
        .find_subcommand("get")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .chain(command.get_arguments())
        .collect();
    let takes_value = |is_it: &dyn Fn(&Arg) -> bool| {
        flags.iter().any(|arg| is_it(arg) && arg.get_action().takes_values())
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else { return Some(arg) };
        let followed_by_value = if text == "--" {
            return args.next().map(OsString::as_os_str);
        } else if let Some(long) = text.strip_prefix("--") {
            takes_value(&|arg| names_long(arg, long))
        } else if let Some(cluster) = text.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            // Only the last letter's value is an argument of its own: -qd DIR, but -dDIR.
            let value_at = cluster
                .char_indices()
                .find(|&(_, letter)| takes_value(&|arg| names_short(arg, letter)));
            value_at.is_some_and(|(at, letter)| at + letter.len_utf8() == cluster.len())
        } else {
            return Some(arg);
        };
        if followed_by_value {
            args.next();
        }
    }
    None
}

fn names_long(arg: &Arg, long: &str) -> bool {
    arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
}

fn names_short(arg: &Arg, letter: char) -> bool {
    arg.get_short() == Some(letter)
        || arg.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
}

/// Reads what `--progress` takes.
fn progress(text: &str) -> Result<ProgressArg, String> {
    match text {
        "auto" => Ok(ProgressArg::Auto),
        "always" => Ok(ProgressArg::Always),
        "never" => Ok(ProgressArg::Never),
        "line" => Ok(ProgressArg::Lines(LINE_INTERVAL)),
        _ => {
            let time =
                text.strip_prefix("line:").ok_or("one of auto, always, never, line, line:TIME")?;
            humantime::parse_duration(time)
                .map(ProgressArg::Lines)
                .map_err(|error| error.to_string())
        }
    }
}

/// Reads what `--timeout` takes: no time at all would end a download before it begins.
fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the time must be longer than nothing".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads what `demo --size` takes: at least a byte, because a torrent of nothing is none.
fn demo_size(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(0) => Err("there must be something to transfer".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads `6881` or `6881-6889`; 0 is any free port and stands alone.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse().map_err(|_| format!("'{text}' is no port (0 to 65535)"));
    let ports: RangeInclusive<u16> = port(first)?..=port(last)?;
    match (*ports.start(), *ports.end()) {
        (0, 1..) => Err("port 0 (any free one) cannot begin a range".to_owned()),
        (first, last) if first > last => Err("the range ends before it begins".to_owned()),
        _ => Ok(ports),
    }
}

/// Reads `host:port`, `1.2.3.4:port` or `[2001:db8::1]:port`.
fn peer(text: &str) -> Result<(String, u16), String> {
    let form = || "a peer is HOST:PORT, an IPv6 address in brackets".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port = port.parse().ok().filter(|&port| port > 0).ok_or_else(form)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().map_err(|_| form())?.to_string(),
        None if host.is_empty() || host.contains([':', '[', ']', '/', '@']) => return Err(form()),
        None if host.contains(|c: char| c.is_whitespace() || c.is_control()) => return Err(form()),
        None => host.to_owned(),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests;
