//! The flags of `get` and `seed` that say how fast payload may flow, and when seeding is over.

use swarmloop::client::RateLimits;
use swarmloop::text::parse_size;

/// How fast payload may flow.
#[derive(Clone, Copy, Default, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Receive at most this much payload a second in all (500K, 2M; 0 for no limit)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_down: Option<u64>,
    /// Send at most this much payload a second in all
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_up: Option<u64>,
    /// Receive at most this much of each torrent
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) torrent_limit_down: Option<u64>,
    /// Send at most this much of each torrent
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) torrent_limit_up: Option<u64>,
}

impl LimitArgs {
    /// Returns the limits on all torrents together.
    pub(crate) fn in_all(self) -> RateLimits {
        limits(self.limit_down, self.limit_up)
    }

    /// Returns the limits on each torrent.
    pub(crate) fn of_torrent(self) -> RateLimits {
        limits(self.torrent_limit_down, self.torrent_limit_up)
    }
}

fn limits(down: Option<u64>, up: Option<u64>) -> RateLimits {
    RateLimits { down: down.unwrap_or(0), up: up.unwrap_or(0) }
}

/// Reads a rate: a size, K, M and G being powers of 1024, and perhaps `/s`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    parse_size(text.strip_suffix("/s").unwrap_or(text)).map_err(|error| error.to_string())
}
