//! Questions of the application that are no torrent's: one announce, how a swarm stands, a file.
//!
//! They take the same way as the announces of torrents: name lookup, one address after the other,
//! one exchange over a stream or in datagrams, redirects. What is asked and what an answer means,
//! [`Errand`] decides. **Invariant:** every question comes to one [`Event::Answered`], unless the
//! session is shut down before.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::conns::Kind;
use super::entry::Via;
use super::io::{Action, Event, QuestionId};
use super::{LookupFor, Session, WheelKey, entry};
use crate::id::{InfoHash, TorrentId};
use crate::proto::url::AnnounceUrl;
use crate::time::{Duration, Instant};
use crate::tracker::{
    AnnounceEvent, AnnounceFacts, Answer, Errand, Progress, TrackerError, UdpProgress,
};

/// The most questions under way at one time; the rest wait in line.
const MAX_UNDER_WAY: usize = 32;
/// How long the fetching of a file may take, once its server is connected to: the largest torrent
/// file (32 MiB) at 300 kB a second. It bounds the whole, so a server that drips gains nothing.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// Something that the application wants to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Question {
    /// What a tracker says to an announce of this torrent (BEP 3, BEP 15).
    Announce {
        /// The tracker.
        url: AnnounceUrl,
        /// The torrent.
        info_hash: InfoHash,
        /// Payload that is missing, in bytes; 0 makes us a seed.
        left: u64,
        /// What happens.
        event: AnnounceEvent,
    },
    /// How swarms stand (BEP 48, BEP 15).
    Scrape {
        /// The tracker's announce URL.
        url: AnnounceUrl,
        /// The torrents; at most
        /// [`MAX_SCRAPE_HASHES`](crate::proto::tracker_serve::MAX_SCRAPE_HASHES), over UDP
        /// [`MAX_SCRAPE_ASKED`](crate::proto::tracker_udp::MAX_SCRAPE_ASKED).
        torrents: Vec<InfoHash>,
    },
    /// A file.
    Fetch {
        /// Where it is; see [`AnnounceUrl::of_file`].
        url: AnnounceUrl,
        /// The most bytes that it may have, unpacked too.
        max_len: usize,
    },
}

/// Who asks a tracker or a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A torrent that announces itself.
    Torrent(TorrentId),
    /// The application.
    Question(QuestionId),
}

impl Asker {
    /// Returns the torrent that asks, if one does.
    pub(super) const fn torrent(self) -> Option<TorrentId> {
        match self {
            Self::Torrent(torrent) => Some(torrent),
            Self::Question(_) => None,
        }
    }
}

/// The questions of a session.
#[derive(Debug, Default)]
pub(super) struct Questions {
    next: u32,
    waiting: VecDeque<(QuestionId, Errand)>,
    /// Invariant: at most [`MAX_UNDER_WAY`].
    under_way: BTreeMap<QuestionId, Asking>,
}

#[derive(Debug)]
struct Asking {
    errand: Errand,
    /// Addresses of the host that have not been tried.
    addrs: VecDeque<SocketAddr>,
    via: Via,
    deadline: Instant,
}

impl Session {
    /// Asks something of the network that is no torrent's. [`Event::Answered`] says what it came
    /// to.
    ///
    /// # Errors
    /// [`TrackerError::Unsupported`] and [`TrackerError::NoScrape`]: the caller's fault; nothing is
    /// asked.
    pub fn ask_question(
        &mut self,
        question: Question,
        now: Instant,
    ) -> Result<QuestionId, TrackerError> {
        self.input();
        let errand = match question {
            Question::Announce { url, info_hash, left, event } => {
                Errand::announce(self.facts(info_hash, left).announce(url, event))?
            }
            Question::Scrape { url, torrents } => Errand::scrape(url, torrents)?,
            Question::Fetch { url, max_len } => Errand::fetch(url, max_len)?,
        };
        let id = QuestionId(self.questions.next);
        self.questions.next = self.questions.next.wrapping_add(1);
        self.questions.waiting.push_back((id, errand));
        self.begin_questions(now);
        Ok(id)
    }

    fn facts(&self, info_hash: InfoHash, left: u64) -> AnnounceFacts {
        let prefix = self.config.peer_id_prefix;
        let (peer_id, key) = entry::identity(prefix, &self.seeds.secret, info_hash);
        let (port, ip) = self.config.announced();
        AnnounceFacts {
            info_hash,
            peer_id,
            key,
            port,
            ip,
            uploaded: 0,
            downloaded: 0,
            left,
            is_partial_seed: false,
            num_want: self.config.num_want,
        }
    }

    /// Begins as many of those that wait as there are places.
    fn begin_questions(&mut self, now: Instant) {
        while self.questions.under_way.len() < MAX_UNDER_WAY
            && let Some((id, errand)) = self.questions.waiting.pop_front()
        {
            self.begin_question(id, errand, now);
        }
    }

    fn begin_question(&mut self, id: QuestionId, errand: Errand, now: Instant) {
        let (host, port) = (errand.url().host().to_owned(), errand.url().port());
        let deadline = now + self.config.tracker_timeout;
        let via = Via::Lookup(self.new_lookup(LookupFor::Question(id), host, port));
        let asking = Asking { errand, addrs: VecDeque::new(), via, deadline };
        self.questions.under_way.insert(id, asking);
        self.wheel.insert(deadline, WheelKey::Question(id));
    }

    /// Takes in the addresses of a question's host.
    pub(super) fn question_resolved(
        &mut self,
        id: QuestionId,
        via: Via,
        addrs: VecDeque<SocketAddr>,
        now: Instant,
    ) {
        let Some(asking) = self.questions.under_way.get_mut(&id) else { return };
        if asking.via == via {
            asking.addrs = addrs;
            self.ask_question_next_addr(id, TrackerError::Resolve, now);
        }
    }

    /// Asks at the next address; if there is none left, the question has failed with `error`.
    pub(super) fn ask_question_next_addr(
        &mut self,
        id: QuestionId,
        mut error: TrackerError,
        now: Instant,
    ) {
        loop {
            let Some(asking) = self.questions.under_way.get_mut(&id) else { return };
            let Some(addr) = asking.addrs.pop_front() else {
                return self.question_ended(id, Err(error), now);
            };
            // One that swallows what we send must not use up the time of those behind it.
            let limit = self.config.tracker_timeout;
            let patience = if asking.addrs.is_empty() {
                limit
            } else {
                self.config.connect_timeout.min(limit)
            };
            let url = asking.errand.url().clone();
            let request = asking.errand.request(addr);
            let asked = request.and_then(|request| {
                self.send_request(Asker::Question(id), &url, request, addr, now)
            });
            match asked {
                Ok(via) => {
                    if let Some(asking) = self.questions.under_way.get_mut(&id) {
                        asking.via = via;
                    }
                    self.give_question(id, patience, now);
                    if matches!(via, Via::Datagrams(ask) if self.udp.is_reached(ask)) {
                        self.question_connected(id, now);
                    }
                    return;
                }
                Err(refused) => error = refused,
            }
        }
    }

    /// The host of a question was reached: its time begins.
    pub(super) fn question_connected(&mut self, id: QuestionId, now: Instant) {
        let Some(asking) = self.questions.under_way.get(&id) else { return };
        let limit = self.config.tracker_timeout;
        let limit = if asking.errand.is_fetch() { limit.max(FETCH_TIMEOUT) } else { limit };
        self.give_question(id, limit, now);
    }

    /// Gives a question so much time from now on.
    fn give_question(&mut self, id: QuestionId, time: Duration, now: Instant) {
        if let Some(asking) = self.questions.under_way.get_mut(&id) {
            asking.deadline = now + time;
            self.wheel.insert(asking.deadline, WheelKey::Question(id));
        }
    }

    /// Takes in how far the exchange of a question over a stream, which has ended, has come.
    pub(super) fn on_question_exchange(
        &mut self,
        id: QuestionId,
        progress: Result<Progress, TrackerError>,
        now: Instant,
    ) {
        match progress {
            Ok(Progress::Redirect(url)) => {
                let Some(mut asking) = self.questions.under_way.remove(&id) else { return };
                match asking.errand.redirect(url) {
                    Ok(()) => self.begin_question(id, asking.errand, now),
                    Err(error) => {
                        self.questions.under_way.insert(id, asking);
                        self.question_ended(id, Err(error), now);
                    }
                }
            }
            Ok(progress) => {
                if let Some(answer) = Errand::answer(progress) {
                    self.question_ended(id, Ok(answer), now);
                }
            }
            Err(error) => self.question_ended(id, Err(error), now),
        }
    }

    /// Takes in how far the exchange of a question in datagrams has come.
    pub(super) fn on_question_datagram(
        &mut self,
        id: QuestionId,
        progress: UdpProgress,
        now: Instant,
    ) {
        match Errand::answer_by_datagram(progress) {
            None => self.question_connected(id, now),
            Some(answer) => self.question_ended(id, answer, now),
        }
    }

    /// A deadline of a question has passed, which may have been put off meanwhile.
    pub(super) fn question_timeout(&mut self, id: QuestionId, now: Instant) {
        let Some(asking) = self.questions.under_way.get(&id) else { return };
        if asking.deadline > now {
            return;
        }
        let via = asking.via;
        let is_reached = self.is_reached(via);
        self.drop_via(via);
        if is_reached || matches!(via, Via::Lookup(_)) {
            self.question_ended(id, Err(TrackerError::TimedOut), now);
        } else {
            self.ask_question_next_addr(id, TrackerError::TimedOut, now);
        }
    }

    fn question_ended(
        &mut self,
        id: QuestionId,
        answer: Result<Answer, TrackerError>,
        now: Instant,
    ) {
        if self.questions.under_way.remove(&id).is_some() {
            let answer = Box::new(answer);
            self.queues.events.push_back(Event::Answered { question: id, answer });
        }
        self.begin_questions(now);
    }

    /// Forgets all questions.
    pub(super) fn give_up_questions(&mut self) {
        self.questions.waiting.clear();
        while let Some((_, asking)) = self.questions.under_way.pop_first() {
            self.drop_via(asking.via);
        }
    }

    /// Tells whether the server has been reached.
    pub(super) fn is_reached(&self, via: Via) -> bool {
        match via {
            Via::Lookup(_) => false,
            Via::Stream(conn) => match self.conns.find(conn).map(|conn| &conn.kind) {
                Some(Kind::Tracker(stream)) => stream.sent > 0,
                _ => true,
            },
            Via::Datagrams(ask) => self.udp.is_reached(ask),
        }
    }

    /// Ends the lookup or the exchange that something is at.
    pub(super) fn drop_via(&mut self, via: Via) {
        match via {
            Via::Stream(conn) if self.conns.remove(conn).is_some() => {
                self.action(Action::Close { conn });
            }
            Via::Datagrams(ask) => self.udp.give_up(ask),
            Via::Lookup(id) => _ = self.lookups.remove(&id),
            Via::Stream(_) => {}
        }
    }
}
