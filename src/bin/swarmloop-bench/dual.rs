//! `dual`: one half of the connections are seeds, the other half asks for what the client has got
//! from them.

use crate::download::AskingArgs;
use crate::failure::Failure;
use crate::load::{LoadArgs, Role, Roles};
use crate::report::{Figure, Report};
use crate::upload::carry_out;

/// Arguments of `dual`.
#[derive(Debug, clap::Args)]
pub(crate) struct DualArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    asking: AskingArgs,
}

/// Uploads and downloads at the same time.
pub(crate) fn run(args: &DualArgs) -> Result<Report, Failure> {
    let (mut options, payload, _own) = args.load.prepare(Role::Seed)?;
    if options.conns < 2 {
        return Err(Failure::usage("dual needs two connections and more"));
    }
    args.asking.apply(&mut options);
    options.roles = Roles { seeds: options.conns / 2, rest: Role::Leech };
    let outcome = carry_out(&options, &payload)?;
    let mut report = Report::new("dual");
    report.setting("conns", Figure::count(options.conns));
    report.setting("seeds", Figure::count(options.roles.seeds));
    report.setting("outstanding", Figure::count(options.outstanding));
    report.setting("size", Figure::Bytes(payload.geometry.total_len()));
    outcome.describe(&options, &mut report);
    Ok(report)
}
