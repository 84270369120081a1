//! One look-up at name servers, as a value: whom to ask what, for how long to wait, what to
//! believe.
//!
//! ```text
//!  for each name ── for each alias of it ── for each round ── for each server:
//!      ask for both families from a new port ── answered ──▶ done, next alias or next name
//!                                            └─ cut off ───▶ the same over a stream
//!                                            └─ silent ────▶ next server
//! ```
//!
//! Touches no socket and no clock. **Invariant:** it ends, whatever is said to it: names, aliases,
//! rounds, servers and messages are counted, and there is a deadline for all of it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::conf::Conf;
use crate::proto::dns::{
    Answer, DnsError, Family, MAX_ALIASES, Name, NameError, Question, parse_answer, write_question,
};
use crate::time::{Duration, Instant};

/// How long a look-up may take in all.
const MAX_DURATION: Duration = Duration::from_secs(20);
/// Messages that are no answer and come to one port, before it is given up: who guesses ids gets
/// so many tries of 65,536, and has to find the next port and id.
const MAX_STRAYS: usize = 16;

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Ask `server` these questions, from a new port, which has to be open within that time; none
    /// that was asked before counts any more.
    Ask { server: SocketAddr, transport: Transport, messages: Vec<Vec<u8>>, within: Duration },
    /// Wait for a message of the server until then.
    Wait { until: Instant },
    /// It is over.
    Done(Result<Vec<IpAddr>, LookupError>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Datagrams,
    /// Messages with their lengths before them.
    Stream,
}

/// Why there are no addresses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("no name server can be asked the way that traffic is bound")]
    NoServer,
    #[error("the name has no address")]
    NotFound,
    #[error("name servers do not answer")]
    TimedOut,
    #[error("the name server refuses to answer (code {0})")]
    Refused(u8),
    #[error(transparent)]
    Answer(#[from] DnsError),
}

impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> Self {
        let kind = match error {
            LookupError::Name(_) => io::ErrorKind::InvalidInput,
            LookupError::NoServer => io::ErrorKind::AddrNotAvailable,
            LookupError::NotFound => io::ErrorKind::NotFound,
            LookupError::TimedOut => io::ErrorKind::TimedOut,
            LookupError::Refused(_) => io::ErrorKind::Other,
            LookupError::Answer(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error.to_string())
    }
}

/// A look-up under way.
#[derive(Debug)]
pub(super) struct Lookup {
    conf: Conf,
    families: Vec<Family>,
    /// The name that is asked for, and those to try when there is no such one.
    name: Name,
    others: VecDeque<Name>,
    /// How many aliases have led to the name.
    aliases: usize,
    /// Which server is asked, of all rounds.
    turn: usize,
    /// What is asked of it, and how.
    exchange: Exchange,
    /// What was found before the rest had to be asked for over a stream.
    spare: Vec<IpAddr>,
    /// Why the last server that answered did not help.
    failure: LookupError,
    deadline: Instant,
    result: Option<Result<Vec<IpAddr>, LookupError>>,
}

/// What is said from one port.
#[derive(Debug)]
struct Exchange {
    transport: Transport,
    questions: Vec<(Question, Option<Answer>)>,
    /// `None` until it was asked.
    until: Option<Instant>,
    strays: usize,
}

impl Exchange {
    /// Gives each question an id of its own, and returns them as they are sent.
    fn messages(&mut self, entropy: u64) -> Vec<Vec<u8>> {
        let [a, b, c, d, ..] = entropy.to_be_bytes();
        let id = u16::from_be_bytes([a, b]);
        let other = id ^ u16::from_be_bytes([c, d]).max(1);
        let questions = self.questions.iter_mut().zip([id, other]);
        let messages = questions.map(|((question, _), id)| {
            question.id = id;
            let mut message = Vec::new();
            write_question(&mut message, question);
            message
        });
        messages.collect()
    }
}

impl Lookup {
    /// Begins to look for the addresses of `host`, of these families, the first ones first.
    ///
    /// # Errors
    /// [`LookupError::Name`] and [`LookupError::NoServer`].
    pub(super) fn new(
        host: &str,
        families: Vec<Family>,
        conf: Conf,
        now: Instant,
    ) -> Result<Self, LookupError> {
        let mut others = candidates(host, &conf)?;
        let name = others.pop_front().ok_or(NameError)?;
        if conf.servers.is_empty() || families.is_empty() {
            return Err(LookupError::NoServer);
        }
        let exchange = Exchange {
            transport: Transport::Datagrams,
            questions: Vec::new(),
            until: None,
            strays: 0,
        };
        let mut lookup = Self {
            conf,
            families,
            name,
            others,
            aliases: 0,
            turn: 0,
            exchange,
            spare: Vec::new(),
            failure: LookupError::TimedOut,
            deadline: now + MAX_DURATION,
            result: None,
        };
        lookup.begin(Transport::Datagrams);
        Ok(lookup)
    }

    /// Says what to do next, at `now`. `entropy` is new at each call, and nobody else can guess it.
    pub(super) fn step(&mut self, entropy: u64, now: Instant) -> Step {
        if self.result.is_none() && now >= self.deadline {
            self.result = Some(self.found().ok_or_else(|| self.failure.clone()));
        }
        if let Some(result) = &self.result {
            return Step::Done(result.clone());
        }
        match self.exchange.until {
            Some(until) if now >= until => {
                self.conclude();
                self.step(entropy, now)
            }
            Some(until) => Step::Wait { until },
            None => {
                let until = (now + self.conf.timeout).min(self.deadline);
                self.exchange.until = Some(until);
                Step::Ask {
                    server: self.server(),
                    transport: self.exchange.transport,
                    messages: self.exchange.messages(entropy),
                    within: until.saturating_since(now),
                }
            }
        }
    }

    /// Takes in a message that has come to the port of the last [`Step::Ask`].
    pub(super) fn handle_message(&mut self, from: SocketAddr, message: &[u8]) {
        // Nothing is asked of that one.
        if from != self.server() || self.exchange.until.is_none() {
            return self.stray();
        }
        let mut unrelated = true;
        for (question, answer) in &mut self.exchange.questions {
            match parse_answer(message, question) {
                Err(DnsError::Unrelated) => {}
                _ if answer.is_some() => {}
                Ok(said) => {
                    *answer = Some(said);
                    unrelated = false;
                }
                Err(error) => {
                    self.failure = error.into();
                    // Like one that refuses: another server may do better.
                    *answer = Some(Answer::Refused(0));
                    unrelated = false;
                }
            }
        }
        if unrelated {
            return self.stray();
        }
        if self.exchange.questions.iter().all(|(_, answer)| answer.is_some()) {
            self.conclude();
        }
    }

    /// Takes in that the server cannot be asked, or says no more.
    pub(super) fn handle_failure(&mut self) {
        self.conclude();
    }

    fn stray(&mut self) {
        self.exchange.strays += 1;
        if self.exchange.strays >= MAX_STRAYS {
            self.conclude();
        }
    }

    fn server(&self) -> SocketAddr {
        self.conf.servers[self.turn % self.conf.servers.len()]
    }

    /// Asks the server of this turn for the name.
    fn begin(&mut self, transport: Transport) {
        let questions = self.families.iter().map(|&family| {
            // It gets its id when it is asked.
            (Question { id: 0, name: self.name.clone(), family }, None)
        });
        let questions = questions.collect();
        self.exchange = Exchange { transport, questions, until: None, strays: 0 };
    }

    /// Ends the exchange with what was answered, and decides what comes next.
    fn conclude(&mut self) {
        let answers = self.exchange.questions.iter().map(|(_, answer)| answer);
        let is = |wanted: fn(&Answer) -> bool| {
            move |answer: &Option<Answer>| answer.as_ref().is_some_and(wanted)
        };
        let is_truncated = is(|answer| matches!(answer, Answer::Truncated));
        if self.exchange.transport == Transport::Datagrams && answers.clone().any(is_truncated) {
            self.spare = self.found().unwrap_or_default();
            return self.begin(Transport::Stream);
        }
        if let Some(found) = self.found() {
            self.result = Some(Ok(found));
            return;
        }
        let alias = answers.clone().find_map(|answer| match answer {
            Some(Answer::Alias(name)) => Some(name.clone()),
            _ => None,
        });
        if let Some(name) = alias {
            return self.follow(name);
        }
        let refused = answers.clone().find_map(|answer| match answer {
            Some(Answer::Refused(code @ 1..)) => Some(LookupError::Refused(*code)),
            _ => None,
        });
        let no_name = answers.clone().any(is(|answer| matches!(answer, Answer::NoSuchName)));
        let said =
            |answer: &Option<Answer>| matches!(answer, Some(Answer::Nothing | Answer::NoSuchName));
        let all_said = answers.clone().all(said);
        self.failure = refused.unwrap_or(self.failure.clone());
        if no_name || all_said {
            self.try_other_name();
        } else {
            self.ask_other_server();
        }
    }

    /// Returns what has been found so far, the first family first.
    fn found(&self) -> Option<Vec<IpAddr>> {
        let addrs = self.exchange.questions.iter().filter_map(|(_, answer)| match answer {
            Some(Answer::Addresses(addrs)) => Some(addrs),
            _ => None,
        });
        let found: Vec<IpAddr> = addrs.flatten().copied().collect();
        let found = if found.is_empty() { self.spare.clone() } else { found };
        (!found.is_empty()).then_some(found)
    }

    fn follow(&mut self, name: Name) {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            self.result = Some(Err(DnsError::TooManyAliases.into()));
            return;
        }
        self.name = name;
        self.begin(Transport::Datagrams);
    }

    fn try_other_name(&mut self) {
        match self.others.pop_front() {
            Some(name) => {
                (self.name, self.aliases) = (name, 0);
                self.begin(Transport::Datagrams);
            }
            None => self.result = Some(Err(LookupError::NotFound)),
        }
    }

    fn ask_other_server(&mut self) {
        self.turn += 1;
        if self.turn >= self.conf.attempts * self.conf.servers.len() {
            self.result = Some(Err(self.failure.clone()));
        } else {
            self.begin(Transport::Datagrams);
        }
    }
}

/// Returns the names to look for, in order: as it is first if it has dots enough, and in each of
/// the search domains, unless it ends with a dot.
fn candidates(host: &str, conf: &Conf) -> Result<VecDeque<Name>, NameError> {
    let name = Name::parse(host)?;
    if host.ends_with('.') {
        return Ok([name].into());
    }
    let in_domains = conf.search.iter().filter_map(|domain| name.within(domain).ok());
    let mut names: VecDeque<Name> = in_domains.collect();
    if name.dots() >= conf.ndots {
        names.push_front(name);
    } else {
        names.push_back(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
