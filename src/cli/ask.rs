//! Questions that are no torrent's: the engine that asks them, and how their answers come in.

use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use swarmloop::client::{Client, ClientConfig, ClientError, Question};
use swarmloop::session::io::Event;
use swarmloop::tracker::{Answer, TrackerError};

use super::args::ask::RouteArgs;
use super::args::network::NetworkArgs;
use super::exit::{Exit, Failure};
use super::network;
use super::signals::Signals;

/// The longest wait for an answer, so that signals are noticed.
const WAKE_INTERVAL: Duration = Duration::from_millis(100);

/// The port that an announce names: nothing listens there, but trackers refuse 0.
const ANNOUNCED_PORT: u16 = 6881;

/// An engine that has no torrents and listens nowhere.
#[derive(Debug)]
pub(crate) struct Asking(Client);

impl Asking {
    /// Starts it; `timeout` is how long a server may take, if not the engine's default.
    pub(crate) fn start(route: &Route, timeout: Option<Duration>) -> Result<Self, Failure> {
        let mut session = route.session.clone();
        session.announce_port = ANNOUNCED_PORT;
        session.tracker_timeout = timeout.unwrap_or(session.tracker_timeout);
        let ca_certificates = route.ca_certificates.clone();
        // Nothing is on disk.
        let config =
            ClientConfig { session, ca_certificates, workers: 1, ..ClientConfig::default() };
        Client::start(config).map(Self).map_err(|error| Failure::client(&error))
    }

    /// Asks all questions at once, and passes on what each came to, by its place. What has not been
    /// answered within `at_most` is not waited for. A signal ends the waiting, too: returns what it
    /// asks for.
    pub(crate) fn ask(
        &self,
        questions: Vec<Question>,
        signals: Option<&Signals>,
        at_most: Option<Duration>,
        mut answered: impl FnMut(usize, Result<Answer, TrackerError>),
    ) -> Result<Option<Exit>, Failure> {
        let mut places = BTreeMap::new();
        for (place, question) in questions.into_iter().enumerate() {
            match self.0.question(question) {
                Ok(id) => _ = places.insert(id, place),
                Err(ClientError::Question(error)) => answered(place, Err(error)),
                Err(error) => return Err(Failure::client(&error)),
            }
        }
        let begun = Instant::now();
        while !places.is_empty() && at_most.is_none_or(|limit| begun.elapsed() < limit) {
            if let Some(exit) = signals.and_then(Signals::stop) {
                return Ok(Some(exit));
            }
            match self.0.events().recv_timeout(WAKE_INTERVAL) {
                Ok(Event::Answered { question, answer }) => {
                    if let Some(place) = places.remove(&question) {
                        answered(place, *answer);
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::client(&ClientError::Ended));
                }
            }
        }
        Ok(None)
    }
}

/// Which way questions take.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    session: swarmloop::session::config::Config,
    ca_certificates: Vec<Vec<u8>>,
}

impl From<&RouteArgs> for Route {
    fn from(args: &RouteArgs) -> Self {
        let network = NetworkArgs {
            bind: args.bind.clone(),
            ca_files: args.ca_files.clone(),
            ..NetworkArgs::default()
        };
        Self::from(&network)
    }
}

impl From<&NetworkArgs> for Route {
    fn from(args: &NetworkArgs) -> Self {
        let ca_certificates = network::ca_certificates(args);
        Self { session: network::config(args), ca_certificates }
    }
}
