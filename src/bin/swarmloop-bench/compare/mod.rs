//! `compare`: the same workload against every client found, in turn, in one run.
//!
//! Every round starts every client once (A B C, A B C, ...), each on an address and in a folder of
//! its own, lets it come to rest, and then loads it from a generator in a process of its own, which
//! is this program with another subcommand. So start-up is no part of any figure, and the
//! processor time of client, generator and machine can be told apart. A run in which a client does
//! not finish in time, or in which a byte is wrong, is void.
//!
//! [`client`] knows the clients, [`workload`] what is measured, [`mod@bench`] what a turn
//! needs; [`table`] makes medians, ratios and winners of it.

mod bench;
mod client;
mod listeners;
mod table;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use swarmloop::reactor::limits::raise_fd_limit;

use self::bench::Bench;
use self::client::{Client, Installed};
use self::table::{Row, Table};
use self::workload::Workload;
use crate::args;
use crate::failure::{Exit, Failure};
use crate::r#gen::plan_of;
use crate::report::{Figure, Report};
use crate::scratch::Scratch;
use crate::stop;
use crate::torrent::Plan;

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// What every client is to do
    #[arg(value_enum)]
    workload: Workload,
    /// Connections that the generator makes
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_CONNS))]
    conns: u32,
    /// How often every client takes its turn
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_ROUNDS))]
    rounds: u32,
    /// Bytes of payload [default: 1G; check: 4G; idle, handshakes and latency: 256M]
    #[arg(short, long, value_name = "SIZE", value_parser = args::size)]
    size: Option<u64>,
    /// Bytes of a piece [default: 1M; idle, handshakes and latency: 256K]
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    piece_len: Option<u64>,
    /// Seconds that idle, handshakes and latency take
    #[arg(short = 'T', long, value_name = "SECS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    seconds: u64,
    /// The most seconds of one client's turn, its start included
    #[arg(long, value_name = "SECS", default_value_t = 90)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=MAX_SECONDS))]
    limit: u64,
    /// Only these clients, separated by commas [default: all that are found, but transmission]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = client_name)]
    clients: Vec<Client>,
    /// Where the files are meanwhile [default: /dev/shm, else the folder for temporary files]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// The most connections: what one process can hold with the usual limit on open files.
const MAX_CONNS: i64 = 60_000;

/// The most rounds; an hour or two of them.
const MAX_ROUNDS: i64 = 1_000;

/// The most seconds of anything: an hour.
const MAX_SECONDS: u64 = 3_600;

/// A client that has failed in this many rounds gets no further turn: it costs the time limit each
/// time, and its row says why.
const MAX_VOID_ROUNDS: usize = 2;

/// Compares.
pub(crate) fn run(args: &CompareArgs) -> Result<Report, Failure> {
    raise_fd_limit();
    let stop = stop::on_signals().map_err(|error| Failure::io("listen for signals", &error))?;
    let (found, missing) = find(&args.clients);
    if found.is_empty() {
        return Err(Failure {
            exit: Exit::Failed,
            message: "none of these clients is installed".to_owned(),
        });
    }
    let scratch = Scratch::new(args.dir.as_deref());
    let scratch = scratch.map_err(|error| Failure::io("make a folder for the files", &error))?;
    let seconds = Duration::from_secs(args.seconds);
    let plan = plan(args)?;
    let what = (args.workload, args.conns, seconds);
    let limit = Duration::from_secs(args.limit);
    let bench = Bench::new(&scratch, plan.clone(), what, limit, stop)
        .map_err(|error| Failure::io("prepare the files", &error))?;
    let table = measure(&bench, &found, args.rounds);

    let mut report = Report::new("compare");
    report.setting("workload", Figure::Text(args.workload.name().to_owned()));
    report.setting("connections", Figure::Count(args.conns.into()));
    report.setting("rounds", Figure::Count(args.rounds.into()));
    report.setting("size", Figure::Bytes(plan.size));
    report.setting("piece", Figure::Bytes(plan.geometry.piece_len().into()));
    if args.workload.is_timed() {
        report.setting("duration", Figure::Time(seconds));
    }
    if !missing.is_empty() {
        report.setting("not_found", Figure::Text(missing.join(", ")));
    }
    report.failure = failure(&bench, &table);
    report.table(table.to_string(), table.to_json());
    Ok(report)
}

/// Lets every client take its turn in every round.
fn measure(bench: &Bench<'_>, found: &[Installed], rounds: u32) -> Table {
    let row = |installed: &Installed| Row {
        name: installed.client.name().to_owned(),
        version: installed.version.clone(),
        command: bench.command_of(installed),
        rounds: Vec::new(),
    };
    let mut rows: Vec<Row> = found.iter().map(row).collect();
    for _ in 0..rounds {
        for (row, installed) in rows.iter_mut().zip(found) {
            let void = row.rounds.iter().filter(|round| round.is_err()).count();
            let result = if bench.is_stopped() {
                Err("interrupted".to_owned())
            } else if void >= MAX_VOID_ROUNDS {
                Err("left out after the failures before".to_owned())
            } else {
                bench.workload.run(bench, installed)
            };
            row.rounds.push(result);
        }
    }
    Table { metrics: bench.workload.metrics(), rows }
}

/// Returns what makes the comparison one that cannot be relied on: an interruption, or a void run
/// of the client that the others are held against. What others fail at is a result.
fn failure(bench: &Bench<'_>, table: &Table) -> Option<String> {
    if bench.is_stopped() {
        return Some("interrupted".to_owned());
    }
    let first = &table.rows[0];
    let why = first.rounds.iter().find_map(|round| round.as_ref().err())?;
    Some(format!("{}: {why}", first.name))
}

/// Returns the clients that are here, and the names of those that are not.
fn find(names: &[Client]) -> (Vec<Installed>, Vec<&'static str>) {
    let wanted = |client: &Client| match names {
        [] => *client != Client::Transmission,
        names => names.contains(client),
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for client in Client::ALL.into_iter().filter(wanted) {
        match client.find() {
            Some(installed) => found.push(installed),
            None => missing.push(client.name()),
        }
    }
    (found, missing)
}

fn plan(args: &CompareArgs) -> Result<Plan, Failure> {
    let size = args.size.unwrap_or_else(|| args.workload.default_size());
    let piece_len = args.piece_len.unwrap_or_else(|| args.workload.default_piece_len());
    plan_of("swarmloop-bench".to_owned(), size, piece_len, 1, 1)
}

fn client_name(text: &str) -> Result<Client, String> {
    let names = || Client::ALL.map(Client::name).join(", ");
    let found = Client::ALL.into_iter().find(|client| client.name() == text);
    found.ok_or_else(|| format!("one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_named_as_in_the_table() {
        for client in Client::ALL {
            assert_eq!(client_name(client.name()), Ok(client));
        }
        assert!(client_name("utorrent").is_err_and(|message| message.contains("rqbit-single")));
    }

    #[test]
    fn the_client_that_others_are_held_against_comes_first() {
        assert_eq!(Client::ALL[0], Client::Swarmloop);
        let (found, missing) = find(&[Client::Aria2, Client::Swarmloop]);
        assert_eq!(found.len() + missing.len(), 2);
        let order: Vec<Client> = found.iter().map(|installed| installed.client).collect();
        assert!(order.first().is_none_or(|first| *first == Client::Swarmloop || order.len() == 1));
    }
}
