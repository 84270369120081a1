//! What came of a load, and what it cost.

use std::time::Duration;

use swarmloop::time::Instant;

use super::conn::{Role, Signal};
use super::hold::Held;
use super::options::Options;
use super::tally::{Cause, Tally};
use crate::report::{Figure, Report, per_second};
use crate::subject::{self, Usage};

/// Why a load is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The payload is where it belongs; how the client told, if it was to.
    Done(Option<Signal>),
    /// The time that was asked for has passed.
    TimeOver,
    /// The client's process has ended.
    Exited,
    /// No connection is left and none is to be opened.
    NobodyLeft,
    /// The payload was not moved in time.
    LimitReached,
    /// A signal has come.
    Stopped,
}

/// What a load did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ending: Ending,
    /// From when on time counts: the first connection or, in a run of a given time, all of them.
    pub(crate) began: Option<Instant>,
    pub(crate) ended: Instant,
    /// When the first stream was open, from 1970 on.
    pub(crate) first_connect: Option<Duration>,
    pub(crate) tally: Tally,
    /// Leeches that the client did not let ask at the end.
    pub(crate) choked: u64,
    /// Leeches, open at the end, on which the client has answered a request.
    pub(crate) active: u64,
    /// Requests that were due and are not made: the client was too slow for the open loop.
    pub(crate) backlog: u64,
    /// Those, and requests that were made and not answered; their latencies end with the load.
    pub(crate) unanswered: u64,
    /// Handshakes answered before time began to count.
    pub(crate) handshakes_before: u64,
    /// Pieces that the client has said to have.
    pub(crate) known_pieces: u32,
    /// What holding connections cost.
    pub(crate) held: Option<Held>,
    pub(crate) spent: Spent,
}

/// What a load cost, from before its first connection to its end.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Spent {
    /// Processor time of the load itself.
    pub(crate) own: Option<Duration>,
    /// Processor time of the client.
    pub(crate) client: Option<Duration>,
    /// Processor time of the whole machine.
    pub(crate) machine: Option<Duration>,
    /// What the client had used at the end.
    pub(crate) after: Option<Usage>,
}

/// Measures what a load costs.
#[derive(Debug)]
pub(crate) struct Meter {
    pid: Option<u32>,
    own: Option<Duration>,
    machine: Option<Duration>,
    before: Option<Usage>,
    /// The last look at the client, which may end before we do.
    last: Option<Usage>,
    next_look: Instant,
    exited: bool,
}

/// Time between two looks at the client's process, which cost a look at each of its threads.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

impl Meter {
    pub(crate) fn start(pid: Option<u32>) -> Self {
        let before = pid.and_then(client_usage);
        Self {
            pid,
            own: subject::thread_cpu(),
            machine: subject::machine_cpu(),
            before,
            last: before,
            next_look: Instant::ZERO,
            exited: false,
        }
    }

    /// Looks at the client now and then, to know its last figures should it end.
    pub(crate) fn look(&mut self, now: Instant) {
        let Some(pid) = self.pid else { return };
        self.exited = !subject::is_alive(pid);
        if now >= self.next_look || self.exited {
            self.next_look = now + LOOK_INTERVAL;
            self.update(pid);
        }
    }

    /// Looks at the client, if we know its process.
    pub(crate) fn client_now(&self) -> Option<Usage> {
        client_usage(self.pid?)
    }

    /// Tells whether the client's process has ended.
    pub(crate) const fn has_exited(&self) -> bool {
        self.exited
    }

    pub(crate) fn stop(mut self) -> Spent {
        if let Some(pid) = self.pid {
            self.update(pid);
        }
        let since = |after: Option<Duration>, before: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        let cpu = |usage: Option<Usage>| usage.map(|usage| usage.cpu);
        Spent {
            own: since(subject::thread_cpu(), self.own),
            client: since(cpu(self.last), cpu(self.before)),
            machine: since(subject::machine_cpu(), self.machine),
            after: self.last,
        }
    }

    fn update(&mut self, pid: u32) {
        let Some(mut usage) = client_usage(pid) else { return };
        // A process that has ended and waits for its parent has no memory left to tell of.
        if usage.rss == 0
            && let Some(last) = self.last
        {
            usage = Usage { cpu: usage.cpu.max(last.cpu), ..last };
        }
        self.last = Some(usage);
    }
}

/// Looks at the client. If it runs in our own process, this thread's time is not its own; their
/// memory cannot be told apart.
fn client_usage(pid: u32) -> Option<Usage> {
    let mut usage = subject::usage(pid)?;
    if pid == std::process::id() {
        usage.cpu = usage.cpu.saturating_sub(subject::thread_cpu().unwrap_or_default());
    }
    Some(usage)
}

impl Outcome {
    /// Returns the time in which payload was moved: up to its last byte or, in a run of a given
    /// time, all of it, so that a stall at its end counts.
    fn moving(&self, options: &Options) -> Option<Duration> {
        let end = if options.time.is_some() { self.ended } else { self.tally.last_payload? };
        Some(end - self.began?)
    }

    /// Returns why the load did not do what it was to, in one line.
    fn failure(&self, options: &Options) -> Option<String> {
        let tally = &self.tally;
        let place = options.target.map_or("nobody".to_owned(), |target| target.to_string());
        if tally.ended(Cause::Mismatch) > 0 {
            let wrong = tally.ended(Cause::Mismatch);
            return Some(format!("{wrong} blocks had wrong bytes"));
        }
        if self.ending == Ending::Stopped && options.until != super::Until::Exit {
            return Some("interrupted".to_owned());
        }
        if tally.connected == 0 {
            return Some(match self.main_cause() {
                Some((cause, _)) => format!("no connection to {place} ({})", cause.name()),
                None if options.target.is_none() => "nobody came".to_owned(),
                None => format!("no connection to {place}"),
            });
        }
        if tally.handshakes == 0 {
            return Some(match self.main_cause() {
                Some((cause, _)) => format!("{place} answered no handshake ({})", cause.name()),
                None => format!("{place} answered no handshake"),
            });
        }
        match self.ending {
            Ending::Done(_) | Ending::TimeOver | Ending::Stopped => None,
            Ending::Exited if options.until == super::Until::Exit => None,
            Ending::Exited => Some("the client's process has ended".to_owned()),
            Ending::NobodyLeft => Some("the client closed every connection too early".to_owned()),
            Ending::LimitReached => Some(format!("not done after {} s", options.limit.as_secs())),
        }
    }

    /// Returns the most frequent way in which connections ended.
    fn main_cause(&self) -> Option<(Cause, u64)> {
        let causes = Cause::ALL.into_iter().map(|cause| (cause, self.tally.ended(cause)));
        causes.filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count)
    }

    /// Adds what happened and what it cost to a report.
    pub(crate) fn describe(&self, options: &Options, report: &mut Report) {
        report.failure = self.failure(options);
        let tally = &self.tally;
        report.result("connected", Figure::Count(tally.connected));
        let open_for = self.ended - self.began.unwrap_or(self.ended);
        report.result("handshakes", Figure::Count(tally.handshakes));
        if options.roles.rest == Role::Knock {
            let handshakes = tally.handshakes - self.handshakes_before;
            report.result("handshakes", Figure::PerSecond(per_second(handshakes, open_for)));
        }
        report.result("most_open", Figure::Count(tally.most_open));
        report.result("ending", Figure::Text(self.ending.name().to_owned()));
        self.describe_payload(options, report);
        if tally.handshake_latency.count() > 0 {
            report.result(
                "handshake_latency",
                Figure::Latency(Box::new(tally.handshake_latency.clone())),
            );
        }
        if tally.block_latency.count() > 0 {
            report.result("latency", Figure::Latency(Box::new(tally.block_latency.clone())));
        }
        if let Some(held) = self.held {
            report.result("peers", Figure::Count(held.peers));
            if let Some(bytes) = held.memory_per_peer {
                report.result("memory_per_peer", Figure::BytesEach(bytes));
            }
            if let Some(percent) = held.cpu_percent {
                report.result("idle_cpu", Figure::Percent(percent));
            }
        }
        if let Some(time) = self.first_connect {
            report.result("first_connect_unix", Figure::Time(time));
        }
        self.describe_cost(report);
        for cause in Cause::ALL {
            report.error(cause.name(), tally.ended(cause));
        }
        report.error("choked", self.choked);
        report.error("rejected", tally.rejected);
    }

    fn describe_payload(&self, options: &Options, report: &mut Report) {
        let tally = &self.tally;
        let began = self.began.unwrap_or(self.ended);
        let moving = self.moving(options).unwrap_or_default();
        if options.has_seeds() {
            report.result("sent", Figure::Bytes(tally.sent));
            report.result("blocks_sent", Figure::Count(tally.blocks_sent));
            report.result("upload", Figure::Throughput(per_second(tally.sent, moving)));
            if let Ending::Done(Some(signal)) = self.ending {
                report.result("complete_by", Figure::Text(signal.name().to_owned()));
            }
        }
        if options.has_leeches() {
            report.result("received", Figure::Bytes(tally.received));
            report.result("download", Figure::Throughput(per_second(tally.received, moving)));
            let requests = tally.blocks_received;
            report.result("requests", Figure::Count(requests));
            report.result("requests", Figure::PerSecond(per_second(requests, moving)));
            report.result("active", Figure::Count(self.active));
            report.result("client_pieces", Figure::Count(self.known_pieces.into()));
        }
        if tally.haves_sent > 0 {
            let rate = per_second(tally.haves_sent, moving);
            report.result("haves_sent", Figure::Count(tally.haves_sent));
            report.result("haves_sent", Figure::PerSecond(rate));
        }
        if tally.haves_received > 0 {
            let rate = per_second(tally.haves_received, self.ended - began);
            report.result("haves_received", Figure::Count(tally.haves_received));
            report.result("haves_received", Figure::PerSecond(rate));
        }
        if !moving.is_zero() {
            report.result("wall", Figure::Time(moving));
        }
        report.result("elapsed", Figure::Time(self.ended - began));
        if options.rate.is_some() {
            report.result("backlog", Figure::Count(self.backlog));
            if options.has_leeches() {
                report.result("unanswered", Figure::Count(self.unanswered));
            }
        }
        if options.churn > 0 {
            report.result("churned", Figure::Count(tally.churned));
        }
    }

    fn describe_cost(&self, report: &mut Report) {
        let payload = self.tally.sent + self.tally.received;
        let parts = [
            ("generator_cpu", self.spent.own),
            ("client_cpu", self.spent.client),
            ("machine_cpu", self.spent.machine),
        ];
        for (key, cpu) in parts {
            let Some(cpu) = cpu else { continue };
            report.result(key, Figure::Time(cpu));
            if payload > 0 {
                report.result(key, Figure::per_gib(cpu, payload));
            }
        }
        if let Some(after) = self.spent.after {
            report.result("client_rss", Figure::Bytes(after.rss));
            report.result("client_peak_rss", Figure::Bytes(after.peak_rss));
            report.result("client_anon", Figure::Bytes(after.anon));
        }
    }
}

impl Ending {
    const fn name(self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::TimeOver => "time_over",
            Self::Exited => "exited",
            Self::NobodyLeft => "nobody_left",
            Self::LimitReached => "limit_reached",
            Self::Stopped => "stopped",
        }
    }
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::HaveAll => "have_all",
            Self::NotInterested => "not_interested",
            Self::Closed => "closed",
        }
    }
}
