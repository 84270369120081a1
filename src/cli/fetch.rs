//! Torrent files that are fetched from http(s) URLs.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use swarmloop::client::Question;
use swarmloop::proto::url::AnnounceUrl;
use swarmloop::tracker::{Answer, TlsError, TrackerError};

use super::ask::{Asking, Route};
use super::exit::{Exit, Failure};
use super::input::{MAX_TORRENT_BYTES, escaped_path};
use super::signals::{STOP_TIMEOUT, Signals};

/// How many files are fetched at one time: they may have [`MAX_TORRENT_BYTES`] each, and are in
/// memory until somebody reads them.
const MAX_AT_ONCE: usize = 8;

/// Fetches files; the engine for it is started with the first, and signals are heard from then on.
pub(crate) struct Fetcher<'a> {
    route: &'a Route,
    asking: OnceCell<Asking>,
    signals: OnceCell<Signals>,
    stop_timeout: Duration,
    /// What was fetched before anybody has asked for it, by URL. Invariant: at most
    /// [`MAX_AT_ONCE`].
    ahead: RefCell<BTreeMap<String, Result<Bytes, Failure>>>,
}

impl<'a> Fetcher<'a> {
    /// Returns who fetches this way.
    pub(crate) fn new(route: &'a Route) -> Self {
        let (asking, signals, ahead) = (OnceCell::new(), OnceCell::new(), RefCell::default());
        Self { route, asking, signals, stop_timeout: STOP_TIMEOUT, ahead }
    }

    /// Gives a graceful stop so long.
    pub(crate) fn stopping_within(self, timeout: Option<Duration>) -> Self {
        Self { stop_timeout: timeout.unwrap_or(self.stop_timeout), ..self }
    }

    /// Returns the signals for the rest of the run: those that have come meanwhile are in it.
    pub(crate) fn into_signals(self) -> Result<Signals, Failure> {
        match self.signals.into_inner() {
            Some(signals) => Ok(signals),
            None => listen(self.stop_timeout),
        }
    }

    /// Fetches a torrent file. Where redirects may lead and how long it may take, the engine says;
    /// it has at most [`MAX_TORRENT_BYTES`]. A stopping signal ends it: the failure exits with
    /// that.
    pub(crate) fn fetch(&self, url: &str) -> Result<Bytes, Failure> {
        if !self.ahead.borrow().contains_key(url) {
            self.fetch_ahead([url])?;
        }
        let fetched = self.ahead.borrow_mut().remove(url);
        fetched.unwrap_or_else(|| Err(failed(url, Exit::Failed, &TrackerError::GivenUp)))
    }

    /// Fetches the first of these files, as many as are fetched at one time, for when they are
    /// asked for; none if the file asked for next is here.
    pub(crate) fn fetch_ahead<'u>(
        &self,
        urls: impl IntoIterator<Item = &'u str>,
    ) -> Result<(), Failure> {
        let mut urls = urls.into_iter().peekable();
        if urls.peek().is_none_or(|next| self.ahead.borrow().contains_key(*next)) {
            return Ok(());
        }
        let max_len = usize::try_from(MAX_TORRENT_BYTES).unwrap_or(usize::MAX);
        let mut ahead = self.ahead.take();
        let room = MAX_AT_ONCE.saturating_sub(ahead.len()).max(1);
        let (mut asked, mut questions) = (Vec::new(), Vec::new());
        for url in urls {
            if asked.len() == room {
                break;
            }
            if asked.contains(&url) || ahead.contains_key(url) {
                continue;
            }
            match AnnounceUrl::of_file(url) {
                Ok(parsed) => {
                    asked.push(url);
                    questions.push(Question::Fetch { url: parsed, max_len });
                }
                Err(error) => {
                    _ = ahead.insert(url.to_owned(), Err(failed(url, Exit::Input, &error)));
                }
            }
        }
        let signals = self.signals()?;
        let stopped = self.asking()?.ask(questions, Some(signals), None, |place, answer| {
            let fetched = match answer {
                Ok(Answer::File(bytes)) => Ok(bytes),
                Ok(_) => Err(failed(asked[place], Exit::Failed, &TrackerError::GivenUp)),
                Err(error) => Err(hinted(failed(asked[place], exit_of(&error), &error), &error)),
            };
            ahead.insert(asked[place].to_owned(), fetched);
        })?;
        if let Some(exit) = stopped {
            for url in asked {
                let interrupted = || Err(failed(url, exit, &"interrupted"));
                ahead.entry(url.to_owned()).or_insert_with(interrupted);
            }
        }
        self.ahead.replace(ahead);
        Ok(())
    }

    fn signals(&self) -> Result<&Signals, Failure> {
        if self.signals.get().is_none() {
            let signals = listen(self.stop_timeout)?;
            return Ok(self.signals.get_or_init(|| signals));
        }
        self.signals.get().map_or_else(|| unreachable!("it was looked for just now"), Ok)
    }

    fn asking(&self) -> Result<&Asking, Failure> {
        if self.asking.get().is_none() {
            let started = Asking::start(self.route, None)?;
            return Ok(self.asking.get_or_init(|| started));
        }
        self.asking.get().map_or_else(|| unreachable!("it was looked for just now"), Ok)
    }
}

fn listen(stop_timeout: Duration) -> Result<Signals, Failure> {
    Signals::listen_for(stop_timeout).map_err(|error| Failure::io("listen for signals", &error))
}

fn failed(url: &str, exit: Exit, why: &dyn std::fmt::Display) -> Failure {
    let shown = escaped_path(url.as_ref());
    Failure::new(exit, "cannot_fetch", format!("cannot fetch '{shown}': {why}"))
}

/// Tells what may go better next time from what the user has to mend.
fn exit_of(error: &TrackerError) -> Exit {
    match error {
        TrackerError::Resolve
        | TrackerError::Connect(_)
        | TrackerError::TimedOut
        | TrackerError::Status(500..) => Exit::GaveUp,
        _ => Exit::Input,
    }
}

fn hinted(failure: Failure, error: &TrackerError) -> Failure {
    match error {
        TrackerError::Tls(TlsError::UnknownIssuer | TlsError::SelfSigned) => {
            failure.hint("--ca-file FILE trusts the certificates in a file, too")
        }
        _ => failure,
    }
}
