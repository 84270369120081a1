//! The arguments of `tracker`.

use std::net::SocketAddr;

/// Arguments of `tracker`.
#[derive(Debug, clap::Args)]
pub(crate) struct TrackerArgs {
    /// Address and port to answer announces on; may be repeated
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6969")]
    pub(crate) listen: Vec<SocketAddr>,
}
