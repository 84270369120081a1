//! The arguments of `show` and `magnet`.

use std::ffi::OsString;

use clap::ValueHint;

use super::ask::RouteArgs;

/// What the long help of `show` adds.
pub(crate) const SHOW_HELP: &str = "\
With -f, -t, -m or --pieces only those parts are printed. Files are counted as `get --select` counts
them.

--json prints one object: name, infohash, size, piece_length, pieces, private, files (index, path,
size), trackers (by tier), web_seeds, comment, created_by, creation_date, magnet. --raw prints the
whole file as JSON, in its own order; strings that are not UTF-8 are {\"base64\":\"...\"}.

Examples:
  swarmloop show album.torrent
  swarmloop show -f -b album.torrent
  swarmloop show --json album.torrent";

/// What the long help of `magnet` adds.
pub(crate) const MAGNET_HELP: &str = "\
Examples:
  swarmloop magnet album.torrent
  swarmloop magnet album.torrent other.torrent --json";

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct ShowArgs {
    /// Torrent file or its URL; - is stdin
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: OsString,
    /// Print the files only
    #[arg(short, long)]
    pub(crate) files: bool,
    /// Print the announce URLs only, an empty line between tiers
    #[arg(short, long)]
    pub(crate) trackers: bool,
    /// Print the magnet link only
    #[arg(short, long)]
    pub(crate) magnet: bool,
    /// Show sizes in bytes
    #[arg(short, long)]
    pub(crate) bytes: bool,
    /// Print the hash of every piece
    #[arg(long)]
    pub(crate) pieces: bool,
    /// Print the whole file as JSON
    #[arg(long, conflicts_with_all = ["files", "trackers", "magnet", "bytes", "pieces"])]
    pub(crate) raw: bool,
    /// Which way a URL is fetched.
    #[command(flatten)]
    pub(crate) route: RouteArgs,
}

/// Arguments of `magnet`.
#[derive(Debug, clap::Args)]
pub(crate) struct MagnetArgs {
    /// Torrent files; - is stdin
    #[arg(required = true, value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrents: Vec<OsString>,
}
