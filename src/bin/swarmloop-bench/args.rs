//! The command line: flags that every subcommand has, and readers of values.

use std::path::PathBuf;

use swarmloop::text::parse_size;

use crate::compare::CompareArgs;
use crate::conns::ConnsArgs;
use crate::disk::DiskArgs;
use crate::download::DownloadArgs;
use crate::dual::DualArgs;
use crate::failure::EXIT_CODES;
use crate::r#gen::GenArgs;
use crate::hash::HashArgs;
use crate::have::HaveArgs;
use crate::picker::PickerArgs;
use crate::storm::StormArgs;
use crate::turns::LoopArgs;
use crate::upload::UploadArgs;

/// The command line, read.
#[derive(Debug, clap::Parser)]
#[command(
    name = "swarmloop-bench",
    version,
    about = "Loads a BitTorrent client and measures it",
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Where results go.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a torrent of synthetic data, and the data if asked
    Gen(GenArgs),
    /// Hash pieces as fast as possible
    Hash(HashArgs),
    /// Hash and write, read, and check with the engine's disk pool
    Disk(DiskArgs),
    /// Do what the piece picker does, at several sizes
    Picker(PickerArgs),
    /// Measure the turns of our event loop while it serves and holds connections
    Loop(LoopArgs),
    /// Give every client found the same workload, in turn, and compare
    Compare(CompareArgs),
    /// Be many seeds for a client that downloads
    Upload(UploadArgs),
    /// Be many downloaders for a client that seeds, and check every byte
    Download(DownloadArgs),
    /// Be both at once: ask for what the client has got from us
    Dual(DualArgs),
    /// Hold connections that do next to nothing
    Conns(ConnsArgs),
    /// Connect, shake hands and leave, again and again
    Storm(StormArgs),
    /// Announce pieces as fast as the client takes it, or hear it announce them
    Have(HaveArgs),
}

/// Flags of every subcommand that say where results go.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Write the results as JSON into this folder too
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Name of that file, without .json [default: the subcommand's]
    #[arg(long, global = true, value_name = "NAME", requires = "out", value_parser = file_name)]
    pub(crate) out_name: Option<String>,
}

/// Reads a size of at least a byte, such as `1G`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a time in seconds of at least a millisecond and at most an hour, such as `0.5`.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "a number of seconds from 0.001 to 3600".to_owned())
}

/// Reads the name of a file without folders.
fn file_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('.') || text.contains(['/', '\\', '\0']) {
        return Err("a plain name, without folders".to_owned());
    }
    Ok(text.to_owned())
}
