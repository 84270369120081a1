//! The arguments of `config`, and the flags of every subcommand that say where settings come from.

use std::path::PathBuf;

use clap::ValueHint;

/// Flags of every subcommand that say where settings come from.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct SourceArgs {
    /// Read settings from this file instead of the usual ones
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
    /// Read no configuration file
    #[arg(long, global = true, conflicts_with = "config")]
    #[arg(hide_short_help = true)]
    pub(crate) no_config: bool,
}

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Show where each value comes from
    #[arg(long)]
    pub(crate) show_origin: bool,
}

/// What the long help of `config` adds.
pub(super) const CONFIG_HELP: &str = "\
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

Every switch is taken back by --no-SWITCH (--no-trackers by --trackers).

Examples:
  swarmloop config
  swarmloop config --show-origin
  swarmloop config --config settings.toml --json";
