//! The arguments of `completions` and `man`.

use std::path::PathBuf;

use clap::ValueHint;
use clap_complete::Shell;

/// What the long help of `completions` adds.
pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  swarmloop completions bash >swarmloop.bash
  swarmloop completions zsh >_swarmloop
  swarmloop completions fish >swarmloop.fish";

/// What the long help of `man` adds.
pub(super) const MAN_HELP: &str = "\
Examples:
  swarmloop man >swarmloop.1
  swarmloop man --out man1";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder [default: one page, to stdout]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}
