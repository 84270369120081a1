//! `download`: many leeches that connect to a client, ask for blocks and check every byte.

use crate::failure::Failure;
use crate::load::{LoadArgs, Options, Order, Role};
use crate::report::{Figure, Report};
use crate::upload::carry_out;

/// Arguments of `download`.
#[derive(Debug, clap::Args)]
pub(crate) struct DownloadArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    asking: AskingArgs,
}

/// How leeches ask.
#[derive(Debug, clap::Args)]
pub(crate) struct AskingArgs {
    /// Requests outstanding on a connection
    #[arg(short = 'k', long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_OUTSTANDING))]
    outstanding: u32,
    /// Ask for so many blocks a second over all connections, whether or not the client keeps up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_RATE))]
    rate: Option<u64>,
    /// Order in which pieces are asked for
    #[arg(long, value_name = "ORDER", default_value = "random")]
    order: Order,
}

/// The most requests outstanding on a connection; clients take 250 to 2000.
const MAX_OUTSTANDING: i64 = 10_000;

/// The most requests a second: what a microsecond tells apart.
const MAX_RATE: u64 = 1_000_000;

impl AskingArgs {
    /// Adds what they say to the options.
    pub(crate) fn apply(&self, options: &mut Options) {
        options.outstanding = usize::try_from(self.outstanding).expect("32 bits fit");
        options.rate = self.rate;
        options.order = self.order;
    }
}

/// Downloads, and tells how fast the client gave.
pub(crate) fn run(args: &DownloadArgs) -> Result<Report, Failure> {
    let (mut options, payload, _own) = args.load.prepare(Role::Leech)?;
    args.asking.apply(&mut options);
    let outcome = carry_out(&options, &payload)?;
    let mut report = Report::new("download");
    report.setting("conns", Figure::count(options.conns));
    report.setting("outstanding", Figure::count(options.outstanding));
    if let Some(rate) = options.rate {
        report.setting("rate", Figure::Count(rate));
    }
    report.setting("size", Figure::Bytes(payload.geometry.total_len()));
    report.setting("piece", Figure::Bytes(payload.geometry.piece_len().into()));
    outcome.describe(&options, &mut report);
    Ok(report)
}
