//! `upload`: many seeds that connect to a client and serve whatever it asks for.

use crate::failure::Failure;
use crate::load::{self, LoadArgs, Options, Outcome, Role, Roles, Until};
use crate::payload::Payload;
use crate::report::{Figure, Report};

/// Arguments of `upload`.
#[derive(Debug, clap::Args)]
pub(crate) struct UploadArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// When the client counts as complete
    #[arg(long, value_name = "WHEN", default_value = "complete")]
    until: Until,
}

/// Uploads, and tells how fast the client took it.
pub(crate) fn run(args: &UploadArgs) -> Result<Report, Failure> {
    let (options, payload, _own) = args.load.prepare(Role::Seed)?;
    if args.until == Until::Exit && options.pid.is_none() {
        return Err(Failure::usage("--until exit needs --pid"));
    }
    let roles = Roles { seeds: options.conns, rest: Role::Seed };
    let options = Options { until: args.until, roles, ..options };
    let outcome = carry_out(&options, &payload)?;
    let mut report = Report::new("upload");
    report.setting("conns", Figure::count(options.conns));
    report.setting("size", Figure::Bytes(payload.geometry.total_len()));
    report.setting("piece", Figure::Bytes(payload.geometry.piece_len().into()));
    outcome.describe(&options, &mut report);
    Ok(report)
}

/// Carries a load out on the calling thread.
pub(crate) fn carry_out(options: &Options, payload: &Payload) -> Result<Outcome, Failure> {
    load::run(options, payload).map_err(|error| Failure::io("load the client", &error))
}
