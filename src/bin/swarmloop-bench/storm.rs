//! `storm`: connections that leave as soon as their handshake is answered, so many at a time.

use std::time::Duration;

use crate::failure::Failure;
use crate::load::{LoadArgs, Options, Role, Roles};
use crate::report::{Figure, Report};
use crate::upload::carry_out;

/// Arguments of `storm`.
#[derive(Debug, clap::Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    load: LoadArgs,
}

/// How long a storm lasts unless `-T` says otherwise.
const TIME: Duration = Duration::from_secs(10);

/// Lets connections come and go, and tells how many handshakes a second were answered.
pub(crate) fn run(args: &StormArgs) -> Result<Report, Failure> {
    let (options, payload, _own) = args.load.prepare(Role::Leech)?;
    let roles = Roles { seeds: 0, rest: Role::Knock };
    let time = Some(options.time.unwrap_or(TIME));
    let options = Options { roles, time, in_flight: options.conns, ..options };
    let outcome = carry_out(&options, &payload)?;
    let mut report = Report::new("storm");
    report.setting("conns", Figure::count(options.conns));
    outcome.describe(&options, &mut report);
    Ok(report)
}
