//! The arguments of `scrape` and `announce`, and what `show` has of them.

use std::ffi::OsString;
use std::time::Duration;

use clap::ValueHint;

use super::network::{Bind, Certificates, bind, ca_file, tracker};
use super::values;

/// What the long help of `scrape` adds.
pub(crate) const SCRAPE_HELP: &str = "\
Asks every tracker of the torrent at once, or those named behind it instead, and prints a line for
each that answers: its announce URL, seeders, leechers, and downloads that came to their end.

Examples:
  swarmloop scrape album.torrent
  swarmloop scrape album.torrent udp://127.0.0.1:6969 --timeout 10s
  swarmloop scrape album.torrent --json

Exit codes:
  0 if a tracker answered, 5 if none did; for the others see `swarmloop --help`";

/// What the long help of `announce` adds.
pub(crate) const ANNOUNCE_HELP: &str = "\
Announces the torrent once to every tracker of it, or to those named behind it instead, as somebody
who is about to download it, and prints the peers that they name, each once. Those that answered
hear that we have stopped, so that nobody dials us.

Examples:
  swarmloop announce album.torrent
  swarmloop announce album.torrent http://127.0.0.1:6969/announce --json

Exit codes:
  0 if a tracker answered, 5 if none did; for the others see `swarmloop --help`";

/// Arguments of `scrape` and `announce`.
#[derive(Debug, clap::Args)]
pub(crate) struct AskArgs {
    /// Torrent file or its URL, magnet link, or info-hash; - is stdin
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: OsString,
    /// Announce URLs of trackers to ask instead of the torrent's own
    #[arg(value_name = "URL", value_parser = tracker)]
    pub(crate) urls: Vec<String>,
    /// How long a tracker is waited for [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) timeout: Option<Duration>,
    /// Which way questions take.
    #[command(flatten)]
    pub(crate) route: RouteArgs,
}

/// Which way questions take that are no torrent's.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct RouteArgs {
    /// Local address or interface that all traffic uses, looking up names included
    #[arg(long, value_name = "ADDR|INTERFACE", value_parser = bind)]
    pub(crate) bind: Option<Bind>,
    /// Trust the certificates in this PEM file, too, when a server is asked over HTTPS; may be
    /// repeated
    #[arg(long = "ca-file", value_name = "FILE", value_parser = ca_file)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) ca_files: Vec<Certificates>,
}
