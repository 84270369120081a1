//! `have`: floods of announced pieces in one direction or the other.
//!
//! Each connection announces every piece, one `have` after the other, and ends its half; when the
//! client ends the other, it has heard all of it. With `--completions`, one seed brings the client
//! to announce every piece to all other connections.

use crate::failure::Failure;
use crate::load::{LoadArgs, Options, Role, Roles};
use crate::report::{Figure, Report};
use crate::upload::carry_out;

/// Arguments of `have`.
#[derive(Debug, clap::Args)]
pub(crate) struct HaveArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Announce so many pieces a second over all connections [default: as many as it takes]
    #[arg(long, value_name = "N", conflicts_with = "completions")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,
    /// Let the client complete the torrent, and hear its announcements on all other connections
    #[arg(long)]
    completions: bool,
}

/// Floods, and tells how many announcements a second were taken.
pub(crate) fn run(args: &HaveArgs) -> Result<Report, Failure> {
    let role = if args.completions { Role::Seed } else { Role::Leech };
    let (options, payload, _own) = args.load.prepare(role)?;
    if args.completions && options.conns < 2 {
        return Err(Failure::usage("--completions needs two connections and more"));
    }
    let (seeds, rest) = if args.completions { (1, Role::Watch) } else { (0, Role::Flood) };
    let roles = Roles { seeds, rest };
    let options = Options { roles, rate: args.rate, ..options };
    let outcome = carry_out(&options, &payload)?;
    let mut report = Report::new("have");
    report.setting("conns", Figure::count(options.conns));
    report.setting("pieces", Figure::Count(payload.geometry.pieces().into()));
    if let Some(rate) = args.rate {
        report.setting("rate", Figure::Count(rate));
    }
    outcome.describe(&options, &mut report);
    Ok(report)
}
