//! `loop`: what a turn of the event loop costs, by the engine's own histograms.
//!
//! A client of ours in this process seeds to connections that always have requests out, and holds
//! others that say nothing; both come from generators in processes of their own. After all of them
//! are there, one interval of the engine's measurements is taken.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use swarmloop::client::{AddTorrent, Client, ClientConfig, ClientError, Mode};
use swarmloop::id::TorrentId;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};
use swarmloop::stats::{Counters, Interval, Metric};

use crate::args;
use crate::child::{Child, Trouble, rest};
use crate::failure::{Exit, Failure};
use crate::r#gen::plan_of;
use crate::report::{Figure, Report, float, per_second};
use crate::scratch::Scratch;
use crate::stop;

/// Arguments of `loop`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoopArgs {
    /// Connections that say nothing
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=MAX_CONNS))]
    idle: u32,
    /// Connections that always have requests out
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_CONNS))]
    conns: u32,
    /// Requests outstanding on each of them
    #[arg(short = 'k', long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_OUTSTANDING))]
    outstanding: u32,
    /// Bytes of payload
    #[arg(short, long, value_name = "SIZE", default_value = "64M", value_parser = args::size)]
    size: u64,
    /// Seconds that are measured
    #[arg(short = 'T', long, value_name = "SECS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Folder for the files [default: /dev/shm, else the folder for temporary files]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// The most connections of a kind: what one process can hold with the usual limit on open files.
const MAX_CONNS: i64 = 19_000;

/// The most requests outstanding on a connection; clients take 250 to 2000.
const MAX_OUTSTANDING: i64 = 2_000;

/// Bytes of a piece.
const PIECE_LEN: u64 = 256 << 10;

/// How long all connections, or the check of the payload, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at how many have come.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long the client's end may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Measures one interval.
pub(crate) fn run(args: &LoopArgs) -> Result<Report, Failure> {
    let stop = stop::on_signals().map_err(|error| Failure::io("listen for signals", &error))?;
    let scratch = Scratch::new(args.dir.as_deref());
    let scratch = scratch.map_err(|error| Failure::io("make a folder for the files", &error))?;
    let plan = plan_of("swarmloop-bench".to_owned(), args.size, PIECE_LEN, 1, 1)?;
    let bytes = plan.torrent_file();
    let torrent = scratch.path().join("loop.torrent");
    let written = std::fs::write(&torrent, &bytes).and_then(|()| plan.write_data(scratch.path()));
    written.map_err(|error| Failure::io("prepare the files", &error))?;
    let metainfo = Metainfo::parse(&bytes.into());
    let metainfo = metainfo.expect("a torrent that this program has written");

    let (client, id) = start(args, metainfo, &scratch).map_err(failed)?;
    let swarm = Swarm { client: &client, id, torrent: &torrent, home: scratch.path(), stop };
    let measured = swarm.measure(args).map_err(failed);
    client.shutdown(STOP_TIMEOUT);
    let (before, interval) = measured?;
    let mut report = Report::new("loop");
    report.setting("idle", Figure::Count(args.idle.into()));
    report.setting("conns", Figure::Count(args.conns.into()));
    report.setting("outstanding", Figure::Count(args.outstanding.into()));
    report.setting("size", Figure::Bytes(plan.size));
    describe(&before, &interval, &mut report);
    Ok(report)
}

/// Starts a seed and waits until peers may come.
fn start(
    args: &LoopArgs,
    metainfo: Metainfo,
    scratch: &Scratch,
) -> Result<(Client, TorrentId), Trouble> {
    let conns = usize::try_from(args.idle + args.conns).expect("two small numbers");
    let mut session = Config::default();
    session.max_peers = conns;
    session.max_conns = conns + 64;
    session.max_pending_handshakes = conns;
    session.unchoke_slots = conns;
    let client = Client::start(ClientConfig {
        session,
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        workers: 2,
        ..ClientConfig::default()
    });
    let client = client.map_err(|error| error.to_string())?;
    let added = client.add_torrent(AddTorrent {
        use_trackers: false,
        ..AddTorrent::new(metainfo, scratch.path().to_owned(), Mode::Seed)
    });
    let id = added.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.events().recv_timeout(left) {
            Ok(Event::Phase { phase: Phase::Seeding, .. }) => return Ok((client, id)),
            Ok(_) => {}
            Err(_) => return Err("the payload was not checked in time".to_owned()),
        }
    }
}

/// A seed and where its torrent is.
struct Swarm<'a> {
    client: &'a Client,
    id: TorrentId,
    torrent: &'a Path,
    home: &'a Path,
    stop: Arc<AtomicBool>,
}

impl Swarm<'_> {
    /// Lets all connections come, and returns what had been counted before the interval that is
    /// measured, and the interval.
    fn measure(&self, args: &LoopArgs) -> Result<(Counters, Interval), Trouble> {
        let ended = |error: ClientError| error.to_string();
        let deadline = Instant::now() + PATIENCE;
        let (idle, conns) = (args.idle.to_string(), args.conns.to_string());
        // Both are ended before their time is over.
        let time = (PATIENCE.as_secs() + args.seconds).to_string();
        let mut idlers = None;
        if args.idle > 0 {
            let mut child = self.generator("conns", &["-c", &idle, "-T", &time])?;
            self.wait_for_peers(args.idle, &mut child, deadline)?;
            idlers = Some(child);
        }
        let outstanding = args.outstanding.to_string();
        let flags = ["-c", conns.as_str(), "-k", outstanding.as_str(), "-T", time.as_str()];
        let mut child = self.generator("download", &flags)?;
        self.wait_for_peers(args.idle + args.conns, &mut child, deadline)?;
        let before = self.client.take_histograms().map_err(ended)?;
        child.rest(Duration::from_secs(args.seconds))?;
        let interval = self.client.take_histograms().map_err(ended)?;
        child.stop();
        drop(idlers);
        Ok((before.counters, interval))
    }

    fn generator(&self, subcommand: &'static str, args: &[&str]) -> Result<Child, Trouble> {
        let program = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
        let target = self.client.listen_addrs()[0];
        let mut command = Command::new(program);
        command.args([subcommand, "--json", "--dest"]).arg(target.to_string());
        command.arg("--torrent").arg(self.torrent).args(args);
        Child::start(subcommand, &command, self.home, &[], &self.stop)
    }

    fn wait_for_peers(
        &self,
        count: u32,
        child: &mut Child,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let count = usize::try_from(count).expect("a small number");
        child.wait_until("connected", deadline, || {
            rest(LOOK_INTERVAL);
            self.client.status(self.id).is_ok_and(|status| status.peers >= count)
        })
    }
}

fn describe(before: &Counters, interval: &Interval, report: &mut Report) {
    let Interval { length, histograms, counters, .. } = interval;
    let turns = counters.turns - before.turns;
    let blocks = counters.blocks_sent - before.blocks_sent;
    let calls = counters.reads - before.reads + counters.writes - before.writes;
    let busy = histograms.of(Metric::LoopBusy);
    let busy_ns = busy.mean() * float(busy.count());
    let each = |amount: f64, of: u64| Figure::Number(amount / float(of.max(1)));
    report.result("measured", Figure::Time(*length));
    report.result("turns", Figure::PerSecond(per_second(turns, *length)));
    report.result("blocks", Figure::PerSecond(per_second(blocks, *length)));
    report.result("busy", Figure::Percent(busy_ns / 1e7 / length.as_secs_f64()));
    report.result("ns_per_turn", each(busy_ns, turns));
    report.result("ns_per_block", each(busy_ns, blocks));
    report.result("blocks_per_turn", each(float(blocks), turns));
    report.result("reads_and_writes_per_turn", each(float(calls), turns));
    let events = histograms.of(Metric::EventsPerTurn);
    report.result("events_per_turn", Figure::Number(events.mean()));
    report.result("events_per_turn_p99", Figure::Count(events.value_at(0.99)));
    report.result("events_per_turn_max", Figure::Count(events.max()));
    for (key, metric) in [("loop_busy", Metric::LoopBusy), ("loop_lag", Metric::LoopLag)] {
        report.result(key, Figure::Latency(Box::new(histograms.of(metric).clone())));
    }
}

fn failed(trouble: Trouble) -> Failure {
    Failure { exit: Exit::Failed, message: trouble }
}
