//! The flags of `get` and `seed` that say how long a peer is waited for.

use std::time::Duration;

use super::values;

/// How long a peer is waited for.
#[derive(Clone, Copy, Default, Debug, clap::Args)]
#[command(next_help_heading = "Timeouts")]
pub(crate) struct TimeoutArgs {
    /// Time to open a connection to a peer [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Time after which a silent peer is closed [default: 2m 20s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    pub(crate) peer_timeout: Option<Duration>,
    /// Time after which a peer that answers no request is asked for little [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    pub(crate) request_timeout: Option<Duration>,
    /// Time of our own silence after which a peer hears that we are there [default: 1m 40s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    pub(crate) keepalive: Option<Duration>,
}
