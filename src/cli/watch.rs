//! The main thread's loop: hears the engine's events and the user's signals, asks how things stand,
//! shows it, and decides when the run is over.
//!
//! It never waits for anything but the next event, and for that at most [`WAKE_INTERVAL`].

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use swarmloop::client::{AddTorrent, Client, ClientError};
use swarmloop::id::TorrentId;
use swarmloop::session::io::{Event, Phase, StopReason};

use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::json;
use super::peers::PeerView;
use super::progress::{done_line, event_line, stopped_line};
use super::signals::{Notice, Signals};
use super::size::{Size, brief, percent};
use super::snapshot::Snapshot;
use super::stall::stall;
use super::torrent::{Outcome, Torrent};
use super::ui::{Row, Ui};

/// The longest wait for an event, so that signals are noticed: 100 ms is what people take for at
/// once.
const WAKE_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two looks at how things stand: 4 a second, as often as progress is drawn.
const TICK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a graceful stop may take: more than a second, which is too short for some private
/// trackers, and less than what people wait for before they press ^C again.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What a run is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Download everything.
    Get {
        /// Go on uploading afterwards.
        keep_seeding: bool,
        /// Give a torrent up after this time without progress.
        timeout: Option<Duration>,
        /// Give everything up after this time.
        limit: Option<Duration>,
    },
    /// Upload what is there until a signal comes.
    Seed,
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// There is nothing left to do.
    Finished,
    /// A signal asked for it.
    Stopped(Exit),
    /// Nobody reads the results any more.
    OutputClosed,
    /// The engine has ended by itself.
    EngineEnded,
}

/// What of a [`Client`] a run needs.
pub(crate) trait Engine {
    /// Waits for the next event, at most for `wait`.
    fn next_event(&self, wait: Duration) -> Result<Event, RecvTimeoutError>;
    /// Returns how a torrent stands.
    fn snapshot(&self, torrent: TorrentId) -> Result<Snapshot, ClientError>;
    /// Returns a torrent's peers, busiest first.
    fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerView>, ClientError>;
}

impl Engine for Client {
    fn next_event(&self, wait: Duration) -> Result<Event, RecvTimeoutError> {
        self.events().recv_timeout(wait)
    }

    fn snapshot(&self, torrent: TorrentId) -> Result<Snapshot, ClientError> {
        self.status(torrent).map(Snapshot::from)
    }

    fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerView>, ClientError> {
        Ok(self.peers(torrent)?.into_iter().map(PeerView::from).collect())
    }
}

/// A run: its torrents, and what they are for.
#[derive(Debug)]
pub(crate) struct Watch {
    goal: Goal,
    torrents: Vec<Torrent>,
    /// How torrents ended that were never added.
    lost: Vec<Exit>,
    started: Instant,
}

impl Watch {
    /// Begins a run. `lost` are torrents of the command line that could not be read.
    pub(crate) fn new(goal: Goal, lost: Vec<Exit>, now: Instant) -> Self {
        Self { goal, torrents: Vec::new(), lost, started: now }
    }

    /// Adds a torrent to the client and to the run. If the client refuses it, the run goes on
    /// without.
    ///
    /// `number` counts the command line's torrents from 1; `path` is what stdout is told in the
    /// end.
    pub(crate) fn add(
        &mut self,
        client: &Client,
        ui: &mut Ui,
        number: usize,
        torrent: AddTorrent,
        source: &str,
        path: Option<PathBuf>,
    ) {
        ui.record(|| json::start(number, &torrent, source, SystemTime::now()));
        ui.record(|| json::metadata(number, &torrent.metainfo));
        let metainfo = torrent.metainfo.clone();
        let added = client.add_torrent(torrent).and_then(|id| Ok((id, client.snapshot(id)?)));
        match added {
            Ok((id, snapshot)) => {
                let now = Instant::now();
                let torrent = Torrent::new(number, id, &metainfo, path, snapshot, now);
                self.torrents.push(torrent);
            }
            Err(error) => {
                let failure = Failure::client(&error);
                self.lost.push(failure.exit);
                ui.count_failed(&failure, number);
            }
        }
    }

    /// Runs until there is nothing left to do or somebody wants it to end.
    pub(crate) fn run(&mut self, engine: &impl Engine, signals: &Signals, ui: &mut Ui) -> End {
        let end = self.run_to_end(engine, signals, ui);
        for torrent in &mut self.torrents {
            // What is told in the end are the figures of the end. An engine that has none left
            // leaves those of the last look.
            if let Ok(snapshot) = engine.snapshot(torrent.id) {
                torrent.snapshot = snapshot;
            }
        }
        end
    }

    fn run_to_end(&mut self, engine: &impl Engine, signals: &Signals, ui: &mut Ui) -> End {
        let mut next_tick = Instant::now();
        loop {
            if let Some(end) = self.end(ui) {
                return end;
            }
            let now = Instant::now();
            if now >= next_tick {
                if self.tick(engine, ui, now).is_err() {
                    return End::EngineEnded;
                }
                next_tick = now + TICK_INTERVAL;
            }
            if let Some(end) = self.end(ui) {
                return end;
            }
            match signals.take() {
                Some(Notice::Stop(exit)) => return End::Stopped(exit),
                Some(Notice::Status) => ui.status(&rows(&self.torrents, &[])),
                None => {}
            }
            let wait = next_tick.saturating_duration_since(now).min(WAKE_INTERVAL);
            match engine.next_event(wait) {
                Ok(event) => {
                    if self.handle_event(engine, ui, &event).is_err() {
                        return End::EngineEnded;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return End::EngineEnded,
            }
        }
    }

    /// Tells how torrents ended that had not yet, and returns what the process should exit with.
    pub(crate) fn conclude(&self, ui: &mut Ui, end: End) -> Exit {
        ui.end_progress();
        for torrent in &self.torrents {
            match &torrent.outcome {
                Some(Outcome::Failed(_)) => {}
                Some(Outcome::Complete) => {
                    if matches!(self.goal, Goal::Get { keep_seeding: true, .. }) {
                        ui.say(&stopped_line(&torrent.name, &torrent.snapshot));
                    }
                }
                None if torrent.is_done() => {
                    ui.say(&stopped_line(&torrent.name, &torrent.snapshot));
                    ui.count_ok();
                }
                None => {
                    ui.tell(&stopped_line(&torrent.name, &torrent.snapshot));
                    ui.count_interrupted();
                }
            }
        }
        if end == End::EngineEnded {
            ui.error(&Failure::client(&ClientError::Ended), None);
        }
        self.exit(end)
    }

    /// Returns what the process should exit with. A signal after everything asked for is complete
    /// is a normal end.
    fn exit(&self, end: End) -> Exit {
        let done = self.torrents.iter().filter(|torrent| torrent.is_done()).count();
        let is_all_done = done == self.torrents.len() && self.lost.is_empty();
        let failures: Vec<Exit> = self.lost.iter().copied().chain(self.failures()).collect();
        match end {
            End::Finished => Exit::of_failures(&failures, done),
            End::Stopped(_) | End::OutputClosed if is_all_done => Exit::Success,
            End::Stopped(exit) => exit,
            End::OutputClosed | End::EngineEnded => Exit::Failed,
        }
    }

    fn failures(&self) -> impl Iterator<Item = Exit> {
        self.torrents.iter().filter_map(|torrent| match &torrent.outcome {
            Some(Outcome::Failed(failure)) => Some(failure.exit),
            _ => None,
        })
    }

    /// Returns whether the run is over, and why.
    fn end(&self, ui: &Ui) -> Option<End> {
        let goes_on = self.torrents.iter().any(|torrent| match (self.goal, &torrent.outcome) {
            (_, None) | (Goal::Get { keep_seeding: true, .. }, Some(Outcome::Complete)) => true,
            (_, Some(_)) => false,
        });
        if !goes_on {
            Some(End::Finished)
        } else if ui.is_out_closed() {
            Some(End::OutputClosed)
        } else {
            None
        }
    }

    /// Looks at how everything stands, gives up what has to be given up, and draws.
    fn tick(&mut self, engine: &impl Engine, ui: &mut Ui, now: Instant) -> Result<(), ClientError> {
        let mut peers = Vec::new();
        for torrent in &mut self.torrents {
            torrent.observe(engine.snapshot(torrent.id)?, now);
            if ui.wants_peers() {
                peers.push(engine.peers(torrent.id)?);
            }
            if torrent.outcome.is_some() {
                continue;
            }
            let failure = match self.goal {
                Goal::Get { timeout, limit, .. } => {
                    let elapsed = now.saturating_duration_since(self.started);
                    given_up(torrent, timeout, limit, elapsed, now)
                }
                Goal::Seed => judge_seed(torrent, ui),
            };
            if let Some(failure) = failure {
                fail(torrent, ui, failure);
            }
        }
        // After the last error or result there is nothing more to say.
        if self.end(ui).is_none() {
            ui.draw(&rows(&self.torrents, &peers), now);
        }
        Ok(())
    }

    /// Takes in one event of the engine.
    fn handle_event(
        &mut self,
        engine: &impl Engine,
        ui: &mut Ui,
        event: &Event,
    ) -> Result<(), ClientError> {
        let Some(id) = torrent_of(event) else { return Ok(()) };
        let Some(torrent) = self.torrents.iter_mut().find(|torrent| torrent.id == id) else {
            return Ok(());
        };
        if let Some((level, line)) = event_line(&torrent.name, event) {
            ui.detail(level, &line);
        }
        match event {
            Event::Phase { phase, .. } => {
                // The figures of now, in the words of the event: it may be a phase behind.
                torrent.snapshot = engine.snapshot(id)?;
                torrent.snapshot.phase = phase.clone();
                ui.record(|| json::status(torrent.number, &torrent.snapshot));
                if let Phase::Stopped(Some(StopReason::FilesInTheWay(files))) = phase {
                    fail(torrent, ui, Failure::files_in_the_way(files));
                }
            }
            Event::PieceVerified { piece, .. } => {
                let done = torrent.files.verified(*piece);
                record_files(torrent.number, &done, ui);
            }
            Event::Complete { elapsed, downloaded, .. } => {
                torrent.snapshot = engine.snapshot(id)?;
                if matches!(self.goal, Goal::Get { .. }) {
                    complete(torrent, ui, *elapsed, *downloaded);
                }
            }
            Event::Tracker { url, event, .. } => {
                if let Some(line) = json::tracker(torrent.number, url, event) {
                    ui.record(|| line);
                }
            }
            Event::PeerConnected { peer_id, .. } => torrent.count_peer(*peer_id),
            Event::Disk { error, .. } => {
                if let Ok(snapshot) = engine.snapshot(id) {
                    torrent.snapshot = snapshot;
                }
                let (have, size) = (torrent.snapshot.have, torrent.snapshot.size);
                fail(torrent, ui, Failure::disk(error, have, size));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the torrent that an event is about.
fn torrent_of(event: &Event) -> Option<TorrentId> {
    match event {
        Event::Phase { torrent, .. }
        | Event::PieceVerified { torrent, .. }
        | Event::PieceCorrupt { torrent, .. }
        | Event::Complete { torrent, .. }
        | Event::Tracker { torrent, .. }
        | Event::PeerConnected { torrent, .. }
        | Event::PeerBanned { torrent, .. }
        | Event::Disk { torrent, .. } => Some(*torrent),
        Event::PeerClosed { torrent, .. } => *torrent,
        _ => None,
    }
}

/// Returns what is shown; `peers` has an entry a torrent, or none at all.
fn rows<'a>(torrents: &'a [Torrent], peers: &'a [Vec<PeerView>]) -> Vec<Row<'a>> {
    let row = |(i, torrent): (usize, &'a Torrent)| Row {
        number: torrent.number,
        name: &torrent.name,
        torrent: &torrent.snapshot,
        peers: peers.get(i).map_or(&[], Vec::as_slice),
    };
    torrents.iter().enumerate().map(row).collect()
}

/// Ends a torrent as failed. Only the first failure counts and is told: what follows is a
/// consequence.
fn fail(torrent: &mut Torrent, ui: &mut Ui, failure: Failure) {
    if torrent.outcome.is_none() {
        ui.count_failed(&failure, torrent.number);
        torrent.outcome = Some(Outcome::Failed(failure));
    }
}

/// Ends a download as complete and hands over the result.
fn complete(torrent: &mut Torrent, ui: &mut Ui, elapsed: Duration, downloaded: bool) {
    if torrent.outcome.is_some() {
        return;
    }
    let done = torrent.files.complete();
    record_files(torrent.number, &done, ui);
    let path = torrent.path.as_deref().map(escaped_path);
    ui.record(|| json::complete(torrent.number, &torrent.snapshot, elapsed, path.as_deref()));
    let peers = torrent.peers_counted();
    let paint = ui.paint();
    ui.say(&done_line(&torrent.name, &torrent.snapshot, elapsed, downloaded, peers, paint));
    if let Some(path) = &torrent.path {
        ui.result_path(path);
    }
    ui.count_ok();
    torrent.outcome = Some(Outcome::Complete);
}

fn record_files(number: usize, done: &[(usize, String)], ui: &mut Ui) {
    for (index, path) in done {
        ui.record(|| json::file(number, *index, path));
    }
}

/// Tells whether a download has to be given up: nothing useful came for `timeout`, or `limit` has
/// passed in all.
fn given_up(
    torrent: &Torrent,
    timeout: Option<Duration>,
    limit: Option<Duration>,
    elapsed: Duration,
    now: Instant,
) -> Option<Failure> {
    let gave_up = if timeout.is_some_and(|timeout| torrent.idle_for(now) >= timeout) {
        format!("no progress for {}", brief(torrent.idle_for(now)))
    } else if limit.is_some_and(|limit| elapsed >= limit) {
        format!("not complete after {}", brief(elapsed))
    } else {
        return None;
    };
    let cause = stall(&torrent.snapshot).map(|stall| format!(": {}", stall.text));
    let (have, size) = (torrent.snapshot.have, torrent.snapshot.size);
    let message = format!(
        "gave up on '{}': {gave_up}{}. {} is verified and kept",
        torrent.name,
        cause.unwrap_or_default(),
        percent(have, size)
    );
    Some(Failure::new(Exit::GaveUp, "timeout", message))
}

/// Looks at what a seed has once it has been checked: says so, warns if it is not everything, fails
/// if it is nothing.
fn judge_seed(torrent: &mut Torrent, ui: &mut Ui) -> Option<Failure> {
    let snapshot = &torrent.snapshot;
    let is_checked = match snapshot.phase {
        Phase::Seeding | Phase::Downloading => true,
        Phase::Stopped(None) => snapshot.pieces_checked >= snapshot.pieces,
        _ => false,
    };
    if !is_checked || torrent.is_seeding_told {
        return None;
    }
    if snapshot.have == 0 {
        let message = format!("none of the data of '{}' is there", torrent.name);
        let hint = "name the folder that holds it, or the data itself, after the torrent";
        return Some(Failure::new(Exit::Input, "no_data", message).hint(hint));
    }
    torrent.is_seeding_told = true;
    let (name, have, size) = (&torrent.name, snapshot.have, snapshot.size);
    if snapshot.is_complete() {
        ui.say(&format!("seeding  {name}  {}", Size(size)));
    } else {
        let missing = Size(snapshot.missing());
        let share = percent(have, size);
        let text =
            format!("'{name}' is incomplete, {missing} missing; seeding the {share} there is");
        ui.warning("incomplete", &text, Some(torrent.number));
    }
    None
}

#[cfg(test)]
mod tests;
