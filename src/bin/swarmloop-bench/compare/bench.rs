//! Everything that a turn of a client needs: files, addresses, generators and a limit in time.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Installed, Job, Signs};
use super::listeners::listens;
use super::workload::Workload;
use crate::child::{Child, Trouble};
use crate::scratch::Scratch;
use crate::subject::{self, Usage};
use crate::torrent::Plan;

/// Time that a generator gets beyond a turn's limit, so that it is the client that is blamed.
const GENERATOR_GRACE: Duration = Duration::from_secs(5);

/// What all turns share.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    /// What every client is to do.
    pub(super) workload: Workload,
    /// Connections that the generator makes.
    pub(super) conns: u32,
    /// How long a timed workload lasts.
    pub(super) seconds: Duration,
    /// The payload.
    pub(super) plan: Plan,
    scratch: &'a Scratch,
    torrent: PathBuf,
    /// The most that one turn may take.
    limit: Duration,
    /// Set when everything is to end.
    stop: Arc<AtomicBool>,
    /// Addresses that have been given out: each turn gets another, so that no connection of an
    /// earlier one is in its way.
    addresses: Cell<u32>,
}

impl<'a> Bench<'a> {
    /// Writes the torrent, and the payload if the clients are to have it.
    pub(super) fn new(
        scratch: &'a Scratch,
        plan: Plan,
        (workload, conns, seconds): (Workload, u32, Duration),
        limit: Duration,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let torrent = scratch.path().join("compare.torrent");
        fs::write(&torrent, plan.torrent_file())?;
        let bench = Self {
            workload,
            conns,
            seconds,
            plan,
            scratch,
            torrent,
            limit,
            stop,
            addresses: Cell::new(0),
        };
        if bench.workload != Workload::Download {
            bench.plan.write_data(&bench.complete())?;
        }
        Ok(bench)
    }

    /// Starts a client in a folder of its own.
    pub(super) fn start(&self, client: &Installed) -> Result<Running, Trouble> {
        let folder = || Scratch::inside(self.scratch.path());
        let cannot = |error: io::Error| format!("cannot prepare: {error}");
        let (home, own) = (folder().map_err(cannot)?, folder().map_err(cannot)?);
        let data = match self.workload {
            Workload::Download => Data::Own(own),
            _ => Data::Shared(self.complete()),
        };
        let listen = self.endpoint().map_err(cannot)?;
        let job = Job {
            role: self.workload.role(),
            torrent: &self.torrent,
            data: data.path(),
            home: home.path(),
            listen,
            control_port: free_port().map_err(cannot)?,
            conns: self.conns,
        };
        client.prepare(&job).map_err(cannot)?;
        let (command, signs) = client.launch(&job);
        let marks = [signs.checking, signs.ready.unwrap_or(signs.done), signs.done];
        let deadline = Instant::now() + self.limit;
        let name = client.client.name();
        let process = Child::start(name, &command, home.path(), &marks, &self.stop)?;
        Ok(Running { process, signs, listen, data, deadline, _home: home })
    }

    /// Starts this program with another subcommand, against `target`.
    pub(super) fn generator(
        &self,
        subcommand: &'static str,
        target: SocketAddrV4,
        args: &[&str],
    ) -> Result<Child, Trouble> {
        let program = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
        let mut command = Command::new(program);
        command.arg(subcommand).arg("--json").arg("--torrent").arg(&self.torrent);
        command.arg("--dest").arg(target.ip().to_string());
        command.arg("--port").arg(target.port().to_string());
        command.args(args);
        Child::start(subcommand, &command, self.scratch.path(), &[], &self.stop)
    }

    /// Returns the command by which a client is started, with paths as file names.
    pub(super) fn command_of(&self, client: &Installed) -> String {
        let listen = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6881);
        let (role, conns) = (self.workload.role(), self.conns);
        let (data, home) = (Path::new("data"), Path::new("home"));
        let torrent = Path::new("compare.torrent");
        let job = Job { role, torrent, data, home, listen, control_port: 6882, conns };
        client.shown(&job)
    }

    /// Tells whether a signal has come.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns where complete payload is.
    fn complete(&self) -> PathBuf {
        self.scratch.path().join("complete")
    }

    /// Returns an address of 127/8 that no turn had before, with a port that is free everywhere.
    fn endpoint(&self) -> io::Result<SocketAddrV4> {
        let number = self.addresses.replace(self.addresses.get().wrapping_add(1));
        let [.., high, low] = number.to_be_bytes();
        let [.., own] = std::process::id().to_be_bytes();
        // 127.0/16 is left to the rest of the machine, and 127.x.y.0 looks like a network.
        let ip = Ipv4Addr::new(127, own.max(1), high, low.max(1));
        Ok(SocketAddrV4::new(ip, free_port()?))
    }
}

/// A client at its turn.
#[derive(Debug)]
pub(super) struct Running {
    /// The client.
    pub(super) process: Child,
    /// What its lines mean.
    pub(super) signs: Signs,
    /// Where it listens.
    pub(super) listen: SocketAddrV4,
    /// Where its payload is.
    pub(super) data: Data,
    /// When its turn is over, whatever it has done.
    pub(super) deadline: Instant,
    /// Removed with it, after it has been ended: fields go in this order.
    _home: Scratch,
}

impl Running {
    /// Waits until peers may come: it has taken in the torrent, listens, and rests.
    pub(super) fn wait_until_ready(&mut self) -> Result<(), Trouble> {
        if let Some(ready) = self.signs.ready {
            self.process.wait_for(ready, self.deadline)?;
        }
        let listen = self.listen;
        self.process.wait_until("listening", self.deadline, || listens(listen))?;
        self.process.settle(self.deadline)
    }

    /// Begins to count what it uses.
    pub(super) fn meter(&self) -> Result<Meter, Trouble> {
        Ok(Meter { client: self.usage()?.cpu, machine: machine_cpu() })
    }

    /// Returns what it, and the machine, have used since `meter` was taken.
    pub(super) fn spent(&self, meter: Meter) -> Result<Spent, Trouble> {
        let Usage { cpu, peak_rss, .. } = self.usage()?;
        let machine = machine_cpu().saturating_sub(meter.machine);
        Ok(Spent { client: cpu.saturating_sub(meter.client), machine, peak_rss })
    }

    fn usage(&self) -> Result<Usage, Trouble> {
        self.process.usage().ok_or_else(|| format!("it has ended{}", self.process.last_words()))
    }
}

/// The processor time that a client and the machine had used at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    client: Duration,
    machine: Duration,
}

/// What was used in a window of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Processor time of the client.
    pub(super) client: Duration,
    /// Processor time of the machine, client and generator included.
    pub(super) machine: Duration,
    /// The most resident memory in bytes that the client ever had.
    pub(super) peak_rss: u64,
}

/// Where a client's payload is.
#[derive(Debug)]
pub(super) enum Data {
    /// In a folder that only this turn has.
    Own(Scratch),
    /// In the one that all clients serve from.
    Shared(PathBuf),
}

impl Data {
    /// Returns the folder.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Shared(folder) => folder,
        }
    }
}

/// What a generator found out, as JSON.
#[derive(Debug)]
pub(super) struct GeneratorReport(Value);

impl GeneratorReport {
    /// Waits for a generator's end and returns its report.
    pub(super) fn await_from(generator: &mut Child, deadline: Instant) -> Result<Self, Trouble> {
        let status = generator.wait(deadline + GENERATOR_GRACE)?;
        if !status.success() {
            return Err(format!("the generator failed{}", generator.last_words()));
        }
        Self::of(generator)
    }

    /// Returns the report of a generator that has ended.
    pub(super) fn of(generator: &Child) -> Result<Self, Trouble> {
        let text = generator.last_object(Instant::now() + GENERATOR_GRACE);
        let report = text.and_then(|text| serde_json::from_str(&text).ok());
        report
            .map(GeneratorReport)
            .ok_or_else(|| format!("the generator left no report{}", generator.last_words()))
    }

    /// Refuses what was measured on fewer connections than there were to be: one that was turned
    /// away, or never unchoked, costs a client nothing.
    pub(super) fn expect_active(&self, conns: u32) -> Result<(), Trouble> {
        let active = self.figure("active")?;
        if active < f64::from(conns) {
            return Err(format!("{active} of {conns} connections were served"));
        }
        Ok(())
    }

    /// Returns one of its figures.
    pub(super) fn figure(&self, key: &str) -> Result<f64, Trouble> {
        let figure = self.0["results"][key].as_f64();
        figure.ok_or_else(|| format!("the generator's report has no '{key}'"))
    }
}

fn machine_cpu() -> Duration {
    subject::machine_cpu().unwrap_or_default()
}

/// Returns a TCP port that nothing listens on just now, on any address. The kernel could give it
/// away before the client has it: that turn is void then.
fn free_port() -> io::Result<u16> {
    let probe = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(probe.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_measured_on_fewer_connections_is_void() {
        let report = |active| GeneratorReport(json!({ "results": { "active": active } }));
        assert_eq!(report(4).expect_active(4), Ok(()));
        let few = Err("3 of 4 connections were served".to_owned());
        assert_eq!(report(3).expect_active(4), few);
        assert!(GeneratorReport(json!({})).expect_active(4).is_err(), "nothing is known");
    }
}
