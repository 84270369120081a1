//! The flags of `get` that say which files are wanted, and in which order.

use swarmloop::client::FilePriority;

use crate::cli::select::FileSet;

/// Which files are wanted, and in which order.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct SelectArgs {
    /// Download only these: numbers as --list prints them (1-5,8) or a pattern ('*.iso', 'dir/**');
    /// may be repeated
    #[arg(short, long, value_name = "FILES")]
    pub(crate) select: Vec<FileSet>,
    /// Leave these out; may be repeated
    #[arg(short = 'x', long, value_name = "FILES")]
    pub(crate) exclude: Vec<FileSet>,
    /// Download these before (high), with (normal) or after (low) all others; may be repeated, the
    /// last counts
    #[arg(long, value_name = "FILES=LEVEL", value_parser = priority)]
    #[arg(hide_short_help = true)]
    pub(crate) priority: Vec<(FileSet, FilePriority)>,
    /// Fetch pieces in order
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Fetch the first and the last MiB of each file before everything else
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) first_last: bool,
    /// Print the files that are wanted with their numbers, and end
    #[arg(short, long)]
    pub(crate) list: bool,
}

/// Reads what `--priority` takes. A pattern may hold an equals sign, a priority does not.
fn priority(text: &str) -> Result<(FileSet, FilePriority), String> {
    let (files, priority) = text.rsplit_once('=').ok_or("there is no '=' in it")?;
    let priority = match priority {
        "high" => FilePriority::High,
        "normal" => FilePriority::Normal,
        "low" => FilePriority::Low,
        other => return Err(format!("'{other}' is none of high, normal and low")),
    };
    Ok((files.parse()?, priority))
}
