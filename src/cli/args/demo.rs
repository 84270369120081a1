//! The arguments of `demo`.

use swarmloop::text::parse_size;

/// What the long help of `demo` adds.
pub(super) const DEMO_HELP: &str = "\
Everything happens in the folder for temporary files (TMPDIR), and nothing of it stays.

Examples:
  swarmloop demo
  swarmloop demo --size 64M --json";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How much to transfer; twice that much room is needed in the folder for temporary files
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = demo_size)]
    pub(crate) size: u64,
}

/// Reads what `demo --size` takes: at least a byte, because a torrent of nothing is none.
fn demo_size(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(0) => Err("there must be something to transfer".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}
