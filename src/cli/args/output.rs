//! The flags of every subcommand that say what is printed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ValueHint};

use crate::cli::log::{BadFilter, Filter, Format};

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
    ///
    /// On stdout, errors and warnings on stderr; the last line is always the summary. Sizes are in
    /// bytes, times in seconds, rates in bytes per second. Fields and types are only ever added:
    /// skip those that you do not know. A field never changes its meaning unless `v` of `start`
    /// does.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to show progress: auto, always, never, line, or line:TIME for a line every TIME
    #[arg(long, global = true, value_name = "MODE", default_value = "auto")]
    #[arg(value_parser = progress)]
    pub(crate) progress: ProgressArg,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_short_help = true)]
    pub(crate) color: When,
}

/// Flags of every subcommand about the log.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(crate) struct LogArgs {
    /// Add what happens to this file, a line each with its time; - is stderr
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(hide_short_help = true)]
    pub(crate) log_file: Option<PathBuf>,
    /// What is logged: off, error, warn, info, debug or trace, and TARGET=LEVEL for one target
    /// [default: info]
    #[arg(long_help = LOG_LEVEL_HELP)]
    #[arg(long, global = true, value_name = "LEVELS", value_parser = filter)]
    #[arg(hide_short_help = true)]
    pub(crate) log_level: Option<Filter>,
    /// How a line is written [default: text; json on stderr with --json]
    #[arg(long, global = true, value_name = "FORMAT")]
    #[arg(hide_short_help = true)]
    pub(crate) log_format: Option<Format>,
}

/// What the long help says of `--log-level`.
const LOG_LEVEL_HELP: &str = "\
What is logged: off, error, warn, info, debug or trace, and TARGET=LEVEL for one target [default: \
info]

The targets are run, torrent, tracker, peer and piece, as in warn,tracker=debug. Without \
--log-file the log goes to stderr. The environment may say it too: SWARMLOOP_LOG, or RUST_LOG \
where a file is named.";

fn filter(text: &str) -> Result<Filter, String> {
    text.parse().map_err(|error: BadFilter| error.to_string())
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
