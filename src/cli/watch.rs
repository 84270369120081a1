//! The main thread's loop: hears the engine's events and the user's signals, asks how things stand,
//! shows it, and decides when the run is over.
//!
//! It never waits for anything but the next event, and for that at most [`WAKE_INTERVAL`].

mod engine;
mod finish;
mod seeking;
mod tell;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use swarmloop::client::{AddTorrent, Client, ClientError};
use swarmloop::id::TorrentId;
use swarmloop::session::io::{Event, Phase, StopReason};

use super::after::After;
use super::blocklist;
use super::exit::{Exit, Failure};
use super::goals::{Goal, Met, SeedGoal};
use super::json;
use super::lock::Locks;
use super::peers::PeerView;
use super::progress::{MAX_TORRENT_LINES, seeded_line, stopped_line};
use super::roster::{MAX_LOOKS, Roster};
use super::signals::{Notice, Signals};
use super::size::Size;
use super::snapshot::Snapshot;
use super::state;
use super::state_dir::state_dir;
use super::torrent::{Outcome, Torrent};
use super::ui::{Picture, Row, Ui};

pub(crate) use self::engine::Engine;
use self::finish::Leaving;
use self::seeking::Seeking;
use self::trouble::{judge_seed, tell_disk_full, tell_lost};

/// The longest wait for an event, so that signals are noticed: 100 ms is what people take for at
/// once.
const WAKE_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two looks at how things stand: 4 a second, as often as progress is drawn.
const TICK_INTERVAL: Duration = Duration::from_millis(250);

/// A wait for an event that takes this much longer than it should was one of a process that was
/// stopped: as the reactor takes it.
const STOPPED: Duration = Duration::from_secs(1);

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

/// A run: its torrents, and what they are for.
#[derive(Debug)]
pub(crate) struct Watch {
    goal: Goal,
    roster: Roster,
    /// How torrents ended that were never added.
    lost: Vec<Exit>,
    locks: Locks,
    started: Instant,
    /// Time in which the process was stopped (^Z) and nothing could get on.
    stopped_for: Duration,
    /// What happens to downloads that are complete.
    after: After,
    /// Torrents that the engine has not let go of yet.
    leaving: Vec<Leaving>,
    /// Places of the torrents whose data is being moved, by their numbers.
    moving: BTreeMap<usize, usize>,
    seeking: Seeking,
    /// Lists of addresses that are read again when somebody says so (SIGHUP).
    blocklists: Vec<PathBuf>,
}

impl Watch {
    /// Begins a run. `lost` are torrents of the command line that could not be read.
    pub(crate) fn new(goal: Goal, lost: Vec<Exit>, now: Instant) -> Self {
        let locks = Locks::new(state_dir());
        Self {
            goal,
            roster: Roster::default(),
            lost,
            locks,
            started: now,
            stopped_for: Duration::ZERO,
            after: After::default(),
            leaving: Vec::new(),
            moving: BTreeMap::new(),
            seeking: Seeking::default(),
            blocklists: Vec::new(),
        }
    }

    /// Names the lists of addresses that are read again when somebody says so.
    pub(crate) fn with_blocklists(self, blocklists: &[PathBuf]) -> Self {
        Self { blocklists: blocklists.to_vec(), ..self }
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
        ui.record(|| json::metadata(number, &torrent.metainfo, &torrent.selection));
        tell::added(number, &torrent, ui);
        match self.locks.claim_torrent(&torrent.metainfo, &torrent.dir) {
            Ok(None) => {}
            Ok(Some(error)) => ui.detail(1, &format!("cannot lock: {error}")),
            Err(failure) => {
                self.lost.push(failure.exit);
                return ui.count_failed(&failure, number);
            }
        }
        let (metainfo, selection) = (torrent.metainfo.clone(), torrent.selection.clone());
        let added = client.add_torrent(torrent).and_then(|id| Ok((id, client.status(id)?)));
        match added {
            Ok((id, status)) => {
                let now = Instant::now();
                let snapshot = Snapshot { until: self.goal.until(), ..status.into() };
                let torrent = Torrent::new(number, id, &metainfo, path, snapshot, now);
                self.roster.add(torrent.wanting(&metainfo, &selection));
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
        // What is told in the end are the figures of the end. An engine that has none left leaves
        // those of the last look.
        let ids: Vec<TorrentId> = self.roster.all().iter().map(|torrent| torrent.id).collect();
        for ids in ids.chunks(MAX_LOOKS) {
            for (id, snapshot) in engine.snapshots(ids).unwrap_or_default() {
                if let Some(place) = self.roster.place(id) {
                    self.roster.replace(place, snapshot);
                }
            }
        }
        end
    }

    fn run_to_end(&mut self, engine: &impl Engine, signals: &Signals, ui: &mut Ui) -> End {
        let mut next_tick = self.now();
        loop {
            if let Some(end) = self.end(ui) {
                return end;
            }
            if self.finish(engine, ui).is_err() {
                return End::EngineEnded;
            }
            let now = self.now();
            if now >= next_tick {
                if self.tick(engine, ui, now).is_err() {
                    return End::EngineEnded;
                }
                match engine.is_over() {
                    Ok(false) => {}
                    Ok(true) => return End::Finished,
                    Err(_) => return End::EngineEnded,
                }
                next_tick = now + TICK_INTERVAL;
            }
            if let Some(end) = self.end(ui) {
                return end;
            }
            match signals.take() {
                Some(Notice::Stop(exit)) => return End::Stopped(exit),
                Some(Notice::Status) => self.status(ui),
                Some(Notice::Renew) => self.renew(engine, ui),
                Some(Notice::GoOn) => ui.go_on(),
                None => {}
            }
            let wait = next_tick.saturating_duration_since(now).min(WAKE_INTERVAL);
            match self.next_event(engine, wait) {
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

    /// Asks trackers again, and reads what is to be read again.
    fn renew(&self, engine: &impl Engine, ui: &mut Ui) {
        engine.reannounce();
        if let Some(blocklist) = blocklist::load_again(&self.blocklists, ui) {
            engine.set_blocklist(blocklist);
        }
    }

    /// Returns the time by which the run is judged: time in which it was stopped has not passed.
    fn now(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.stopped_for).unwrap_or(now)
    }

    fn next_event(
        &mut self,
        engine: &impl Engine,
        wait: Duration,
    ) -> Result<Event, RecvTimeoutError> {
        let since = Instant::now();
        let event = engine.next_event(wait);
        let late = since.elapsed().saturating_sub(wait);
        if late >= STOPPED {
            self.stopped_for += late;
        }
        event
    }

    /// Tells whether there is no torrent that the client has not refused.
    pub(crate) fn is_empty(&self) -> bool {
        self.roster.all().is_empty()
    }

    /// Tells whether somebody was told that a torrent failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.roster.failures().next().is_some()
    }

    /// Records how torrents stood that are stopped now: what moved since their last line counts.
    fn record_last(&self, ui: &mut Ui) {
        let is_stopped = |torrent: &&Torrent| match &torrent.outcome {
            Some(Outcome::Failed(_)) => false,
            Some(Outcome::Complete) => self.goal.seeding().is_some() && !torrent.is_seeded,
            None => !matches!(torrent.snapshot.phase, Phase::Stopped(_)),
        };
        for torrent in self.roster.all().iter().filter(is_stopped) {
            ui.record_progress(|| json::progress(torrent.number, &torrent.snapshot));
        }
    }

    /// Tells how torrents ended that had not yet, and returns what the process should exit with.
    pub(crate) fn conclude(&self, ui: &mut Ui, end: End) -> Exit {
        self.record_last(ui);
        ui.end_progress();
        let mut unfinished = Vec::new();
        for torrent in self.roster.all() {
            match &torrent.outcome {
                Some(Outcome::Failed(_)) => {}
                Some(Outcome::Complete) => {
                    if self.goal.seeding().is_some() && !torrent.is_seeded {
                        ui.say(&stopped_line(&torrent.name, &torrent.snapshot));
                    }
                }
                None if torrent.is_done() => {
                    ui.say(&stopped_line(&torrent.name, &torrent.snapshot));
                    ui.count_ok();
                }
                None => {
                    unfinished.push(torrent);
                    ui.count_interrupted();
                }
            }
        }
        for torrent in unfinished.iter().take(MAX_TORRENT_LINES) {
            ui.tell(&stopped_line(&torrent.name, &torrent.snapshot));
        }
        if let Some(more @ 1..) = unfinished.len().checked_sub(MAX_TORRENT_LINES) {
            ui.tell(&format!("stopped  {more} more; what is verified of them is kept"));
        }
        if end == End::EngineEnded {
            ui.error(&Failure::client(&ClientError::Ended), None);
        }
        self.exit(end)
    }

    /// Returns what the process should exit with. A signal after everything asked for is complete
    /// is a normal end.
    fn exit(&self, end: End) -> Exit {
        let is_endless = self.goal.seeding().is_none_or(SeedGoal::is_endless);
        let is_done = |torrent: &Torrent| torrent.is_done() && (is_endless || torrent.is_seeded);
        let is_all_done =
            self.lost.is_empty() && !self.is_finishing() && self.roster.all().iter().all(is_done);
        match end {
            End::Finished => {
                let lost_data = self.has_lost_data().then_some(Exit::Failed);
                let lost = self.lost.iter().copied().chain(lost_data);
                Exit::worst(lost.chain(self.roster.failures()))
            }
            End::Stopped(_) if self.has_lost_data() => Exit::Failed,
            End::Stopped(_) | End::OutputClosed if is_all_done => Exit::Success,
            End::Stopped(exit) => exit,
            End::OutputClosed | End::EngineEnded => Exit::Failed,
        }
    }

    /// Tells whether pieces of a torrent that is uploaded could not be read any more, so that it
    /// did not do what it was there for.
    fn has_lost_data(&self) -> bool {
        let lost = |torrent: &Torrent| torrent.lost.1.is_some() && !torrent.snapshot.is_complete();
        let uploads = |it: &Torrent| it.is_seeded || it.snapshot.phase == Phase::Seeding;
        self.roster.all().iter().any(|torrent| lost(torrent) && uploads(torrent))
    }

    /// Returns whether the run is over, and why.
    fn end(&self, ui: &Ui) -> Option<End> {
        let keeps_seeding = self.goal.seeding().is_some() && self.roster.seeding() > 0;
        let goes_on = self.roster.is_running() || keeps_seeding || self.is_finishing();
        if !goes_on {
            Some(End::Finished)
        } else if ui.is_out_closed() {
            Some(End::OutputClosed)
        } else {
            None
        }
    }

    /// Looks at how things stand, gives up what has to be given up, and draws.
    fn tick(&mut self, engine: &impl Engine, ui: &mut Ui, now: Instant) -> Result<(), ClientError> {
        let due = self.roster.due(&self.roster.busiest(ui.max_rows()));
        let ids: Vec<TorrentId> = due.iter().map(|place| self.roster.torrent(*place).id).collect();
        for (id, snapshot) in engine.snapshots(&ids)? {
            if let Some(place) = self.roster.place(id) {
                self.roster.observe(place, snapshot, now);
                self.judge(place, engine, ui, now)?;
            }
        }
        // After the last error or result there is nothing more to say.
        if self.end(ui).is_none() {
            self.draw(engine, ui, &due, now)?;
        }
        Ok(())
    }

    /// Ends a torrent that has to be given up, or was seeded enough.
    fn judge(
        &mut self,
        place: usize,
        engine: &impl Engine,
        ui: &mut Ui,
        now: Instant,
    ) -> Result<(), ClientError> {
        let elapsed = now.saturating_duration_since(self.started);
        let torrent = self.roster.torrent_mut(place);
        if torrent.outcome.is_none() {
            let failure = match self.goal {
                Goal::Get { patience, .. } => patience.given_up(torrent, elapsed, now),
                Goal::Seed(_) => judge_seed(torrent, ui),
            };
            if let Some(failure) = failure {
                self.fail(place, ui, failure);
                return self.let_go(place, engine);
            }
        }
        match self.goal.seeded_enough(self.roster.torrent_mut(place), elapsed, now) {
            Some(met) => self.end_seeding(place, met, engine, ui, now),
            None => Ok(()),
        }
    }

    /// Takes a torrent that has ended out of the engine, so that it takes nothing from the others.
    fn let_go(&mut self, place: usize, engine: &impl Engine) -> Result<(), ClientError> {
        self.roster.let_go(place);
        engine.remove(self.roster.torrent(place).id)
    }

    /// Ends the seeding of a torrent; the others go on.
    fn end_seeding(
        &mut self,
        place: usize,
        met: Met,
        engine: &impl Engine,
        ui: &mut Ui,
        now: Instant,
    ) -> Result<(), ClientError> {
        if self.roster.end(place, Outcome::Complete) {
            ui.count_ok();
        }
        self.roster.end_seeding(place);
        let torrent = self.roster.torrent(place);
        let took = torrent.seeding.map_or(Duration::ZERO, |seeding| seeding.took(now));
        ui.record(|| json::seeded(torrent.number, &torrent.snapshot, took, met));
        ui.say(&seeded_line(&torrent.name, &torrent.snapshot, took, met, ui.paint()));
        self.let_go(place, engine)
    }

    /// Draws the busiest torrents; `due` are those that were looked at.
    fn draw(
        &self,
        engine: &impl Engine,
        ui: &mut Ui,
        due: &[usize],
        now: Instant,
    ) -> Result<(), ClientError> {
        let shown = self.roster.busiest(ui.max_rows());
        let mut peers = Vec::new();
        if ui.wants_peers() {
            for place in &shown {
                peers.push(engine.peers(self.roster.torrent(*place).id)?);
            }
        }
        let row = |(place, peers)| self.row(place, peers);
        let peers = peers.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
        let shown: Vec<Row<'_>> = shown.into_iter().zip(peers).map(row).collect();
        let looked_at: Vec<Row<'_>> = due.iter().map(|place| self.row(*place, &[])).collect();
        let totals = *self.roster.totals();
        ui.draw(&Picture { shown: &shown, looked_at: &looked_at, totals }, now);
        Ok(())
    }

    /// Prints how the busiest torrents stand, and all in sum.
    fn status(&self, ui: &mut Ui) {
        let shown = self.roster.busiest(MAX_TORRENT_LINES);
        let shown: Vec<Row<'_>> = shown.into_iter().map(|place| self.row(place, &[])).collect();
        ui.status(&Picture { shown: &shown, looked_at: &[], totals: *self.roster.totals() });
    }

    fn row<'a>(&'a self, place: usize, peers: &'a [PeerView]) -> Row<'a> {
        let torrent = self.roster.torrent(place);
        Row { number: torrent.number, name: &torrent.name, torrent: &torrent.snapshot, peers }
    }

    /// Takes in one event of the engine.
    fn handle_event(
        &mut self,
        engine: &impl Engine,
        ui: &mut Ui,
        event: &Event,
    ) -> Result<(), ClientError> {
        if let Event::DhtJoined { family, nodes } = event {
            tell::dht_joined(*family, *nodes, ui);
        }
        if let Event::LsdFailed { group, interface, why } = event {
            tell::lsd_failed(*group, interface.as_deref(), why, ui);
        }
        let Some(place) = torrent_of(event).and_then(|id| self.roster.place(id)) else {
            return Ok(());
        };
        self.roster.touch(place);
        let torrent = self.roster.torrent_mut(place);
        if torrent.is_away() {
            // It is on its way out of the engine, which has no figures of it any more.
            return Ok(());
        }
        tell::event(torrent, event, ui);
        match event {
            Event::Phase { phase, .. } => self.enter(place, phase, engine, ui)?,
            Event::Metadata { metainfo, .. } => {
                self.found(place, (**metainfo).clone(), engine, ui)?;
            }
            Event::PieceVerified { piece, .. } => {
                torrent.is_disk_full_told = false;
                let done = torrent.files.verified(*piece);
                record_files(torrent.number, &done, ui);
            }
            Event::Complete { elapsed, downloaded, .. } => {
                self.refresh(place, engine)?;
                if matches!(self.goal, Goal::Get { .. }) {
                    self.complete(place, engine, ui, *elapsed, *downloaded)?;
                }
            }
            Event::Tracker { url, event, .. } => {
                if let Some(line) = json::tracker(torrent.number, url, event) {
                    ui.record(|| line);
                }
            }
            Event::PeerConnected { peer_id, .. } => torrent.count_peer(*peer_id),
            Event::SyncFailed { error, bytes, .. } => {
                let (bytes, name) = (Size(*bytes), &torrent.name);
                let text = format!("{error}; {bytes} of '{name}' are checked again");
                ui.repeated_warning("sync", &text, torrent.number, Instant::now());
            }
            Event::StateFailed { error, .. } => {
                let text = state::failed_text(error);
                ui.repeated_warning("state", &text, torrent.number, Instant::now());
            }
            Event::PiecesLost { pieces, error, .. } => {
                self.refresh(place, engine)?;
                tell_lost(self.roster.torrent_mut(place), ui, *pieces, error, Instant::now());
            }
            Event::Disk { error, .. } => {
                // An engine that has ended leaves the figures of the last look.
                let _ = self.refresh(place, engine);
                let snapshot = &self.roster.torrent(place).snapshot;
                let failure = Failure::disk(error, snapshot.have, snapshot.size);
                self.fail(place, ui, failure);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in that a torrent does something else now.
    fn enter(
        &mut self,
        place: usize,
        phase: &Phase,
        engine: &impl Engine,
        ui: &mut Ui,
    ) -> Result<(), ClientError> {
        if ui.is_json() {
            self.refresh(place, engine)?;
        }
        // The figures of now, in the words of the event: it may be a phase behind.
        let snapshot = self.roster.torrent(place).snapshot.clone();
        self.roster.replace(place, Snapshot { phase: phase.clone(), ..snapshot });
        let torrent = self.roster.torrent(place);
        ui.record(|| json::status(torrent.number, &torrent.snapshot));
        match phase {
            Phase::Stopped(Some(StopReason::FilesInTheWay(files))) => {
                self.fail(place, ui, Failure::files_in_the_way(files));
            }
            Phase::Stopped(Some(StopReason::NoSpace { free, needed })) => {
                let name = &self.roster.torrent(place).name;
                let failure = Failure::no_space(name, *free, *needed);
                self.fail(place, ui, failure);
            }
            Phase::Stopped(Some(StopReason::Metadata(fault))) => {
                let name = &self.roster.torrent(place).name;
                let message = format!("the metadata of '{name}' is of no use: {fault}");
                self.fail(place, ui, Failure::new(Exit::Input, "bad_metadata", message));
            }
            Phase::DiskFull(full) => {
                self.refresh(place, engine)?;
                tell_disk_full(self.roster.torrent_mut(place), ui, full);
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks how a torrent stands now.
    fn refresh(&mut self, place: usize, engine: &impl Engine) -> Result<(), ClientError> {
        let id = self.roster.torrent(place).id;
        let (_, snapshot) = engine.snapshots(&[id])?.pop().ok_or(ClientError::Ended)?;
        self.roster.replace(place, snapshot);
        Ok(())
    }

    /// Ends a torrent as failed. Only the first failure counts and is told: what follows is a
    /// consequence.
    fn fail(&mut self, place: usize, ui: &mut Ui, failure: Failure) {
        let torrent = self.roster.torrent(place);
        if torrent.outcome.is_none() {
            ui.count_failed(&failure, torrent.number);
            self.roster.end(place, Outcome::Failed(failure));
        }
    }
}

/// Returns the torrent that an event is about.
fn torrent_of(event: &Event) -> Option<TorrentId> {
    match event {
        Event::Phase { torrent, .. }
        | Event::Metadata { torrent, .. }
        | Event::PieceVerified { torrent, .. }
        | Event::PieceCorrupt { torrent, .. }
        | Event::Complete { torrent, .. }
        | Event::Tracker { torrent, .. }
        | Event::PeerConnected { torrent, .. }
        | Event::PeerBanned { torrent, .. }
        | Event::PiecesLost { torrent, .. }
        | Event::SyncFailed { torrent, .. }
        | Event::StateFailed { torrent, .. }
        | Event::Disk { torrent, .. } => Some(*torrent),
        Event::PeerClosed { torrent, .. } => *torrent,
        _ => None,
    }
}

fn record_files(number: usize, done: &[(usize, String)], ui: &mut Ui) {
    for (index, path) in done {
        ui.record(|| json::file(number, *index, path));
        tell::file(number, path, ui);
    }
}

#[cfg(test)]
mod tests;
