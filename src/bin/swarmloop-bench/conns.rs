//! `conns`: connections that do nothing, or next to nothing, and what each costs the client.

use std::time::Duration;

use crate::failure::Failure;
use crate::load::{LoadArgs, Options, Role, Roles};
use crate::report::{Figure, Report};
use crate::upload::carry_out;

/// Arguments of `conns`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnsArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Send so many messages a second in all, each on another connection
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trickle: Option<u64>,
}

/// How long connections are held unless `-T` says otherwise.
const WINDOW: Duration = Duration::from_secs(10);

/// Holds connections, and tells how many there were in the end. Fewer than asked for are a failure.
pub(crate) fn run(args: &ConnsArgs) -> Result<Report, Failure> {
    let (options, payload, _own) = args.load.prepare(Role::Leech)?;
    let window = options.time.unwrap_or(WINDOW);
    let roles = Roles { seeds: 0, rest: Role::Watch };
    let rate = args.trickle;
    let options = Options { roles, rate, hold: Some(window), time: None, ..options };
    let outcome = carry_out(&options, &payload)?;
    let mut report = Report::new("conns");
    report.setting("conns", Figure::count(options.conns));
    report.setting("window", Figure::Time(window));
    if let Some(rate) = args.trickle {
        report.setting("trickle", Figure::Count(rate));
    }
    outcome.describe(&options, &mut report);
    if let (None, Some(held)) = (&report.failure, outcome.held)
        && held.peers < u64::from(args.load.conns)
    {
        let message = format!("{} of {} connections were held", held.peers, args.load.conns);
        report.failure = Some(message);
    }
    Ok(report)
}
