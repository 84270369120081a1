//! The flags of `get` and `seed` that say how fast payload may flow, when seeding is over, and when
//! a download is given up.

use std::time::Duration;

use swarmloop::client::RateLimits;
use swarmloop::text::parse_size;

use super::values;
use crate::cli::goals::{Patience, Ratio, SeedGoal, Slow};

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
    #[arg(hide_short_help = true)]
    pub(crate) torrent_limit_down: Option<u64>,
    /// Send at most this much of each torrent
    #[arg(long, value_name = "RATE", value_parser = rate)]
    #[arg(hide_short_help = true)]
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

/// When seeding is over: whichever comes first.
#[derive(Clone, Copy, Default, Debug, clap::Args)]
#[command(next_help_heading = "Seeding")]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(crate) struct SeedGoalArgs {
    /// Seed until this many times the torrent's size was uploaded (such as 1.5)
    #[arg(long, value_name = "RATIO", value_parser = Ratio::parse)]
    seed_ratio: Option<Ratio>,
    /// Seed for this time (such as 90m or 2h)
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    seed_time: Option<Duration>,
    /// Seed until nothing was uploaded for this time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    seed_idle: Option<Duration>,
}

impl SeedGoalArgs {
    /// Returns the goal; it is endless if none was given.
    pub(crate) const fn goal(self) -> SeedGoal {
        SeedGoal { ratio: self.seed_ratio, time: self.seed_time, idle: self.seed_idle }
    }
}

/// When a download is given up.
#[derive(Clone, Copy, Default, Debug, clap::Args)]
#[command(next_help_heading = "Giving up")]
pub(crate) struct PatienceArgs {
    /// Give a torrent up after this time without progress (such as 90s or 10m)
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) timeout: Option<Duration>,
    /// End the whole run after this time; what is not complete is given up
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    deadline: Option<Duration>,
    /// Give a torrent up that is slower than RATE in the mean of TIME (such as 50K:2m)
    #[arg(long, value_name = "RATE:TIME", value_parser = slow)]
    #[arg(hide_short_help = true)]
    stop_if_slow: Option<Slow>,
}

impl PatienceArgs {
    /// Returns how long a download is waited for.
    pub(crate) const fn patience(self) -> Patience {
        Patience { timeout: self.timeout, deadline: self.deadline, slow: self.stop_if_slow }
    }
}

/// Reads `50K:2m`.
fn slow(text: &str) -> Result<Slow, String> {
    let (least, over) = text.split_once(':').ok_or("a rate and a time, such as 50K:2m")?;
    match rate(least)? {
        0 => Err("nothing is slower than nothing; --timeout waits for progress".to_owned()),
        bytes_per_s => Ok(Slow { bytes_per_s, over: values::time(over)? }),
    }
}

fn limits(down: Option<u64>, up: Option<u64>) -> RateLimits {
    RateLimits { down: down.unwrap_or(0), up: up.unwrap_or(0) }
}

/// Reads a rate: a size, K, M and G being powers of 1024, and perhaps `/s`.
fn rate(text: &str) -> Result<u64, String> {
    parse_size(text.strip_suffix("/s").unwrap_or(text)).map_err(|error| error.to_string())
}
