//! Torrent files that are fetched from http(s) URLs.

use std::cell::OnceCell;

use bytes::Bytes;
use swarmloop::client::Question;
use swarmloop::proto::url::AnnounceUrl;
use swarmloop::tracker::{Answer, TlsError, TrackerError};

use super::ask::{Asking, Route};
use super::exit::{Exit, Failure};
use super::input::{MAX_TORRENT_BYTES, escaped_path};

/// Fetches files, one after the other; the engine for it is started with the first.
pub(crate) struct Fetcher<'a> {
    route: &'a Route,
    asking: OnceCell<Asking>,
}

impl<'a> Fetcher<'a> {
    /// Returns who fetches this way.
    pub(crate) fn new(route: &'a Route) -> Self {
        Self { route, asking: OnceCell::new() }
    }

    /// Fetches a torrent file. Where redirects may lead and how long it may take, the engine says;
    /// it has at most [`MAX_TORRENT_BYTES`].
    pub(crate) fn fetch(&self, url: &str) -> Result<Bytes, Failure> {
        let shown = escaped_path(url.as_ref());
        let bad = |exit, error: &dyn std::fmt::Display| {
            Failure::new(exit, "cannot_fetch", format!("cannot fetch '{shown}': {error}"))
        };
        let parsed = AnnounceUrl::of_file(url).map_err(|error| bad(Exit::Input, &error))?;
        let max_len = usize::try_from(MAX_TORRENT_BYTES).unwrap_or(usize::MAX);
        let question = Question::Fetch { url: parsed, max_len };
        let mut result = Err(TrackerError::GivenUp);
        self.asking()?.ask(vec![question], None, None, |_, answer| result = answer)?;
        match result {
            Ok(Answer::File(bytes)) => Ok(bytes),
            Ok(_) => Err(bad(Exit::Failed, &TrackerError::GivenUp)),
            Err(error) => Err(hinted(bad(exit_of(&error), &error), &error)),
        }
    }

    fn asking(&self) -> Result<&Asking, Failure> {
        if self.asking.get().is_none() {
            let started = Asking::start(self.route, None)?;
            return Ok(self.asking.get_or_init(|| started));
        }
        self.asking.get().map_or_else(|| unreachable!("it was looked for just now"), Ok)
    }
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
