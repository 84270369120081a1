//! The instruments of a run (`--profile`, `--trace`): made before it begins, read while it is
//! watched, written when it has ended.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use swarmloop::client::{AddTorrent, Client, ClientError};
use swarmloop::filter::IpFilter;
use swarmloop::id::TorrentId;
use swarmloop::session::io::Event;

use super::args::network::InstrumentArgs;
use super::exit::{Exit, Failure};
use super::peers::PeerView;
use super::profile::Profile;
use super::snapshot::Snapshot;
use super::trace::{self, TraceFile};
use super::ui::Ui;
use super::watch::Engine;

/// The instruments that were asked for.
#[derive(Debug)]
pub(crate) struct Instruments {
    profile: RefCell<Option<Profile>>,
    trace: RefCell<Option<TraceFile>>,
    /// Why the profile ended early; told in the end, because the run goes on without it.
    failure: RefCell<Option<Failure>>,
}

impl Instruments {
    /// Makes their files; what is in the way, or cannot be written, is told now and not after a
    /// long download. `title` is what the run is called.
    pub(crate) fn create(args: &InstrumentArgs, title: &str) -> Result<Self, Failure> {
        let profile = args.profile.as_deref();
        let profile = profile.map(|dir| Profile::create(dir, title.to_owned(), Instant::now()));
        let profile = RefCell::new(profile.transpose()?);
        let trace = RefCell::new(args.trace.as_deref().map(TraceFile::create).transpose()?);
        Ok(Self { profile, trace, failure: RefCell::default() })
    }

    /// Returns how many records of its trace the engine is to keep.
    pub(crate) fn trace_records(&self) -> usize {
        if self.trace.borrow().is_some() { trace::MAX_RECORDS } else { 0 }
    }

    /// Returns the client as a run watches it: with a look at the instruments while it waits for
    /// events.
    pub(crate) const fn watched<'a>(&'a self, client: &'a Client) -> Watched<'a> {
        Watched { client, instruments: self }
    }

    /// Takes what the engine still holds; to be called before it is shut down.
    pub(crate) fn take_last(&self, client: &Client) {
        self.take_interval(client);
        if let (Some(file), Ok(Some(trace))) =
            (self.trace.borrow_mut().as_mut(), client.take_trace())
        {
            file.keep(trace);
        }
    }

    /// Writes everything, and returns what the process exits with: a run that was to be measured
    /// and was not has not done everything that was asked for.
    pub(crate) fn finish(self, exit: Exit, ui: &mut Ui) -> Exit {
        let profile = match (self.failure.into_inner(), self.profile.into_inner()) {
            (Some(failure), _) => Err(failure),
            (None, Some(profile)) => profile.finish(exit, Instant::now()).map(Some),
            (None, None) => Ok(None),
        };
        let trace = self.trace.into_inner().map_or(Ok(None), TraceFile::finish);
        let mut result = exit;
        for written in [profile, trace] {
            match written {
                Ok(Some(text)) => ui.say(&text),
                Ok(None) => {}
                Err(failure) => {
                    ui.error(&failure, None);
                    if result == Exit::Success {
                        result = failure.exit;
                    }
                }
            }
        }
        result
    }

    /// Takes the interval that is over, if one is.
    fn tick(&self, client: &Client) {
        let is_due = |profile: &mut Profile| profile.is_due(Instant::now());
        if self.profile.borrow_mut().as_mut().is_some_and(is_due) {
            self.take_interval(client);
        }
    }

    fn take_interval(&self, client: &Client) {
        let mut slot = self.profile.borrow_mut();
        let Some(profile) = slot.as_mut() else { return };
        // An engine that has ended has nothing more to tell; the run finds out by itself.
        let Ok(interval) = client.take_histograms() else { return };
        if let Err(failure) = profile.add(&interval) {
            self.failure.borrow_mut().get_or_insert(failure);
            slot.take().into_iter().for_each(Profile::give_up);
        }
    }
}

/// A client whose instruments are looked at while a run watches it.
pub(crate) struct Watched<'a> {
    client: &'a Client,
    instruments: &'a Instruments,
}

impl Engine for Watched<'_> {
    fn next_event(&self, wait: Duration) -> Result<Event, RecvTimeoutError> {
        self.instruments.tick(self.client);
        self.client.next_event(wait)
    }

    fn snapshots(&self, torrents: &[TorrentId]) -> Result<Vec<(TorrentId, Snapshot)>, ClientError> {
        self.client.snapshots(torrents)
    }

    fn add(&self, torrent: AddTorrent) -> Result<(TorrentId, Snapshot), ClientError> {
        Engine::add(self.client, torrent)
    }

    fn reannounce(&self) {
        Engine::reannounce(self.client);
    }

    fn set_blocklist(&self, blocklist: Arc<IpFilter>) {
        Engine::set_blocklist(self.client, blocklist);
    }

    fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerView>, ClientError> {
        Engine::peers(self.client, torrent)
    }

    fn remove(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.client.remove(torrent)
    }
}
