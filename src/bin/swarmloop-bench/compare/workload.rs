//! What every client is made to do, and what is measured of it.
//!
//! Wall time begins with the generator's first connection, or with the client's word that it looks
//! at its files, and ends with the client's word that it is done ([`super::client`]) or, where it
//! serves, with the last payload that the generator has verified. Processor time is that of the
//! same window, beginning just before it: the client is idle then.

use std::time::{Duration, Instant, SystemTime};

use super::bench::{Bench, GeneratorReport, Running, Spent};
use super::client::{Installed, Role};
use super::table::{Better, Metric};
use crate::child::Trouble;
use crate::report::float;
use crate::subject;
use crate::units::GIB;

/// What every client is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Workload {
    /// Download everything from the generator
    Download,
    /// Upload everything, once in all, to the generator
    Seed,
    /// Check complete data that is there
    Check,
    /// Hold idle peers
    Idle,
    /// Answer handshakes
    Handshakes,
    /// Answer single requests on every connection, at half of the rate that it is capable of
    Latency,
}

const RATE: Metric = Metric { key: "rate_gib_per_s", title: "GiB/s", better: Better::Higher };
const CPU: Metric = Metric { key: "cpu_s_per_gib", title: "CPU s/GiB", better: Better::Lower };
const MEMORY: Metric = Metric { key: "peak_rss_mib", title: "RSS MiB", better: Better::Lower };
const GENERATOR_CPU: Metric =
    Metric { key: "generator_cpu_s_per_gib", title: "generator", better: Better::Neither };
const MACHINE_CPU: Metric =
    Metric { key: "machine_cpu_s_per_gib", title: "machine", better: Better::Neither };

const TRANSFER: &[Metric] = &[RATE, CPU, MEMORY, GENERATOR_CPU, MACHINE_CPU];
const CHECK: &[Metric] = &[RATE, CPU, MEMORY];
const IDLE: &[Metric] = &[
    Metric { key: "peers_held", title: "peers", better: Better::Higher },
    Metric { key: "memory_per_peer_bytes", title: "bytes/peer", better: Better::Lower },
    Metric { key: "idle_cpu_percent", title: "CPU %", better: Better::Lower },
];
const HANDSHAKES: &[Metric] = &[
    Metric { key: "handshakes_per_s", title: "handshakes/s", better: Better::Higher },
    Metric { key: "cpu_us_per_handshake", title: "CPU us each", better: Better::Lower },
];
const LATENCY: &[Metric] = &[
    Metric { key: "max_requests_per_s", title: "most requests/s", better: Better::Higher },
    Metric { key: "p50_us", title: "p50 us", better: Better::Lower },
    Metric { key: "p99_us", title: "p99 us", better: Better::Lower },
    Metric { key: "p999_us", title: "p99.9 us", better: Better::Lower },
    Metric { key: "max_us", title: "max us", better: Better::Lower },
    Metric { key: "cpu_us_per_request", title: "CPU us each", better: Better::Lower },
];

impl Workload {
    /// Returns the word for it on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Seed => "seed",
            Self::Check => "check",
            Self::Idle => "idle",
            Self::Handshakes => "handshakes",
            Self::Latency => "latency",
        }
    }

    /// Returns what is measured.
    pub(super) const fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Download | Self::Seed => TRANSFER,
            Self::Check => CHECK,
            Self::Idle => IDLE,
            Self::Handshakes => HANDSHAKES,
            Self::Latency => LATENCY,
        }
    }

    /// Returns what the clients are to do.
    pub(super) const fn role(self) -> Role {
        match self {
            Self::Download => Role::Leech,
            Self::Check => Role::Check,
            Self::Seed | Self::Idle | Self::Handshakes | Self::Latency => Role::Seed,
        }
    }

    /// Tells whether it lasts for a given time, not until something is done.
    pub(super) const fn is_timed(self) -> bool {
        matches!(self, Self::Idle | Self::Handshakes | Self::Latency)
    }

    /// Returns how much payload there is unless told otherwise. Where it does not matter it is less
    /// than a client's cache.
    pub(super) const fn default_size(self) -> u64 {
        match self {
            Self::Download | Self::Seed => 1 << 30,
            Self::Check => 4 << 30,
            Self::Idle | Self::Handshakes | Self::Latency => 256 << 20,
        }
    }

    /// Returns the length of a piece unless told otherwise; of the small payloads a thousand pieces
    /// too.
    pub(super) const fn default_piece_len(self) -> u64 {
        if self.is_timed() { 256 << 10 } else { 1 << 20 }
    }

    /// Lets one client take its turn and returns the values of [`Workload::metrics`].
    pub(super) fn run(self, bench: &Bench<'_>, client: &Installed) -> Result<Vec<f64>, Trouble> {
        let mut running = bench.start(client)?;
        let values = match self {
            Self::Download => download(bench, &mut running),
            Self::Seed => seed(bench, &mut running),
            Self::Check => check(bench, &mut running),
            Self::Idle => idle(bench, &mut running),
            Self::Handshakes => handshakes(bench, &mut running),
            Self::Latency => latency(bench, &mut running),
        }?;
        running.process.stop();
        if self == Self::Download {
            bench
                .plan
                .verify(running.data.path())
                .map_err(|why| format!("wrong payload: {why}"))?;
        }
        Ok(values)
    }
}

fn download(bench: &Bench<'_>, running: &mut Running) -> Result<Vec<f64>, Trouble> {
    running.wait_until_ready()?;
    let meter = running.meter()?;
    let (conns, pid) = (bench.conns.to_string(), running.process.pid().to_string());
    // Not the generator judges when it is over, but we, who hear the client's word.
    let args = ["-c", &conns, "--until", "exit", "--pid", &pid];
    let mut generator = bench.generator("upload", running.listen, &args)?;
    let done = running.process.wait_for(running.signs.done, running.deadline)?;
    let spent = running.spent(meter)?;
    // One that has ended keeps its times until it is waited for.
    let generated = subject::usage(generator.pid()).unwrap_or_default().cpu;
    generator.stop();
    let wall = since_first_connect(&GeneratorReport::of(&generator)?, done)?;
    Ok(transfer(bench, wall, spent, generated))
}

fn seed(bench: &Bench<'_>, running: &mut Running) -> Result<Vec<f64>, Trouble> {
    running.wait_until_ready()?;
    let meter = running.meter()?;
    let conns = bench.conns.to_string();
    let mut generator = bench.generator("download", running.listen, &["-c", &conns])?;
    let report = GeneratorReport::await_from(&mut generator, running.deadline)?;
    let spent = running.spent(meter)?;
    let wall = Duration::from_secs_f64(report.figure("wall_s")?);
    let generated = Duration::from_secs_f64(report.figure("generator_cpu_s")?);
    Ok(transfer(bench, wall, spent, generated))
}

/// Returns the values of [`TRANSFER`].
fn transfer(bench: &Bench<'_>, wall: Duration, spent: Spent, generator: Duration) -> Vec<f64> {
    let gib = float(bench.plan.size) / GIB;
    let each = |time: Duration| time.as_secs_f64() / gib;
    let memory = mib(spent.peak_rss);
    vec![1.0 / each(wall), each(spent.client), memory, each(generator), each(spent.machine)]
}

fn check(bench: &Bench<'_>, running: &mut Running) -> Result<Vec<f64>, Trouble> {
    let began = running.process.wait_for(running.signs.checking, running.deadline)?;
    let meter = running.meter()?;
    let done = running.process.wait_for(running.signs.done, running.deadline)?;
    let spent = running.spent(meter)?;
    let gib = float(bench.plan.size) / GIB;
    let wall = done.saturating_duration_since(began).as_secs_f64();
    Ok(vec![gib / wall, spent.client.as_secs_f64() / gib, mib(spent.peak_rss)])
}

fn idle(bench: &Bench<'_>, running: &mut Running) -> Result<Vec<f64>, Trouble> {
    running.wait_until_ready()?;
    let (conns, pid) = (bench.conns.to_string(), running.process.pid().to_string());
    let seconds = bench.seconds.as_secs().to_string();
    let args = ["-c", &conns, "--pid", &pid, "-T", &seconds];
    let mut generator = bench.generator("conns", running.listen, &args)?;
    let report = GeneratorReport::await_from(&mut generator, running.deadline)?;
    Ok(vec![
        report.figure("peers")?,
        report.figure("memory_per_peer_bytes")?,
        report.figure("idle_cpu_percent")?,
    ])
}

fn handshakes(bench: &Bench<'_>, running: &mut Running) -> Result<Vec<f64>, Trouble> {
    running.wait_until_ready()?;
    let meter = running.meter()?;
    let (conns, seconds) = (bench.conns.to_string(), bench.seconds.as_secs().to_string());
    let args = ["-c", conns.as_str(), "-T", seconds.as_str()];
    let mut generator = bench.generator("storm", running.listen, &args)?;
    let report = GeneratorReport::await_from(&mut generator, running.deadline)?;
    let cpu = running.spent(meter)?.client.as_secs_f64();
    let count = report.figure("handshakes")?;
    Ok(vec![report.figure("handshakes_per_s")?, 1e6 * cpu / count.max(1.0)])
}

fn latency(bench: &Bench<'_>, running: &mut Running) -> Result<Vec<f64>, Trouble> {
    running.wait_until_ready()?;
    let (conns, seconds) = (bench.conns.to_string(), bench.seconds.as_secs().to_string());
    let args = ["-c", conns.as_str(), "--outstanding", "1", "-T", seconds.as_str()];
    let mut generator = bench.generator("download", running.listen, &args)?;
    let report = GeneratorReport::await_from(&mut generator, running.deadline)?;
    report.expect_active(bench.conns)?;
    let most = report.figure("requests_per_s")?;
    // The connections of the first part are gone when the client has come to rest.
    running.wait_until_ready()?;
    let meter = running.meter()?;
    let rate = format!("{:.0}", (most / 2.0).max(1.0));
    let args = [&args[..], &["--rate", rate.as_str()]].concat();
    let mut generator = bench.generator("download", running.listen, &args)?;
    let report = GeneratorReport::await_from(&mut generator, running.deadline)?;
    let cpu = running.spent(meter)?.client.as_secs_f64();
    report.expect_active(bench.conns)?;
    let requests = report.figure("requests")?;
    let mut values = vec![most];
    for quantile in ["p50", "p99", "p999", "max"] {
        values.push(1e6 * report.figure(&format!("latency_{quantile}_s"))?);
    }
    values.push(1e6 * cpu / requests.max(1.0));
    Ok(values)
}

/// Returns how long after the generator's first connection something was.
fn since_first_connect(report: &GeneratorReport, at: Instant) -> Result<Duration, Trouble> {
    // Clocks of two processes: only that of the wall is the same for both.
    let at = SystemTime::now() - at.elapsed();
    let first = Duration::from_secs_f64(report.figure("first_connect_unix_s")?);
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.checked_sub(first).ok_or_else(|| "it was done before it began".to_owned())
}

fn mib(bytes: u64) -> f64 {
    float(bytes) / float(1 << 20)
}
