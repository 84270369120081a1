//! The arguments of `config`, and the flags of every subcommand that say where settings come from.

use std::path::PathBuf;

use clap::ValueHint;

/// Flags of every subcommand that say where settings come from.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct SourceArgs {
    /// Read settings from this file instead of the usual ones
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Read no configuration file
    #[arg(long, global = true, conflicts_with = "config")]
    pub(crate) no_config: bool,
}

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Show where each value comes from
    #[arg(long)]
    pub(crate) show_origin: bool,
}
