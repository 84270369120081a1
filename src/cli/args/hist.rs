//! The arguments of `hist`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueHint;

/// Arguments of `hist`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct HistArgs {
    /// Another thing to do with logs than to print them.
    #[command(subcommand)]
    pub(crate) command: Option<HistCommand>,
    /// Interval logs (.hlog); - is stdin
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<OsString>,
    /// Which intervals, and what they mean.
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Write the percentile table of the one tag that is selected; - is stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write a page with the plots
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Write the intervals of all logs, in their order of time, as one log
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

/// What `hist` does with logs besides printing them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum HistCommand {
    /// Compare two logs: counts, and figures of the second in parts of the first's
    Diff(HistDiffArgs),
}

/// Arguments of `hist diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct HistDiffArgs {
    /// The log to compare with; - is stdin
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    pub(crate) before: OsString,
    /// The log to compare; - is stdin
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    pub(crate) after: OsString,
    /// Which intervals, and what they mean.
    #[command(flatten)]
    pub(crate) select: SelectArgs,
}

/// Which intervals of logs are read, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SelectArgs {
    /// Only intervals with this tag; may be repeated; '' are those that have none
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// What the values of logs that do not say are
    #[arg(long, value_name = "UNIT", default_value = "ns")]
    pub(crate) unit: HistUnit,
}

/// What `--unit` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum HistUnit {
    /// Nanoseconds, as swarmloop and most others write.
    #[default]
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Plain counts.
    Count,
}

/// What the long help of `hist` adds.
pub(super) const HIST_HELP: &str = "\
Logs are those of HdrHistogram's writers in any language (formats 1.2 and 1.3, V2 histograms), and
of `swarmloop get --profile`. All that are named are added up by tag.

`hist diff` prints the second log's figures in parts of the first's: 2.00x is twice as long. There
is none where a log has too few values to tell. A file named diff is reached as ./diff.

Examples:
  swarmloop hist inside/profile.hlog
  swarmloop hist inside/profile.hlog --tag request_to_block --hgrm - --html plots.html
  swarmloop hist diff before.hlog after.hlog";
