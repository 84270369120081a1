//! One torrent's announces: whom, when and what (BEP 3, BEP 12).
//!
//! Decides the order of trackers, the event of each announce and the time of the next.
//! **Invariant:** at most one announce is in flight, and the owner ends each with exactly one of
//! `handle_reply` and `handle_failure`.
//!
//! ```text
//!            start            due                  answered
//!  Stopped ---------> Waiting ----> Trying(0..n) -----------> Waiting
//!     ^                  ^             |  \--failed--> next one
//!     |                  \--all failed-/
//!     \--all told-- Stopping <--stop-- (Waiting, Trying)
//! ```

use std::net::{IpAddr, SocketAddr};

use super::errand::{Request, follow};
use super::tiers::{Endpoint, Standing, Tiers, Tracker};
use super::{
    Exchange, MAX_TARGET_LEN, TrackerError, TrackerEvent, TrackerState, TrackerView, UdpAsk,
};
use crate::id::{InfoHash, PeerId};
use crate::proto::tracker_http::{AnnounceEvent, AnnounceQuery, AnnounceReply, MIN_INTERVAL};
use crate::proto::tracker_udp::UdpAnnounce;
use crate::proto::url::{AnnounceUrl, Scheme, UrlError};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How soon a tracker that names no `min interval` may be asked for more peers (libtorrent
/// `min_announce_interval`).
const DEFAULT_MIN_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How soon a tracker that had no peers may be asked again, if its `min interval` allows; twice as
/// long each time in a row. Short, because whoever starts a swarm announces a moment before the
/// others do.
const EMPTY_SWARM_GAP: Duration = Duration::from_secs(1);

/// The announces of one torrent.
#[derive(Debug)]
pub struct Announcer {
    tiers: Tiers,
    phase: Phase,
    /// Apart, because few of thousands of torrents announce at a time.
    in_flight: Option<Box<InFlight>>,
    /// How many answers in a row had no peers.
    empty_replies: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is announced.
    Stopped,
    /// The next round starts then.
    Waiting { due: Instant },
    /// A round is under way; the next tracker to ask is this one or one behind it.
    Trying { next: usize },
    /// Every tracker that works is told, and none else.
    Stopping,
}

#[derive(Debug)]
struct InFlight {
    /// The tracker's place; does not change while it is in flight.
    index: usize,
    event: AnnounceEvent,
    /// What is owed once this is answered.
    then_owed: AnnounceEvent,
    datagram: UdpAnnounce,
    redirects: u32,
}

/// What an announce says about its torrent at this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnnounceFacts {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What we call ourselves.
    pub peer_id: PeerId,
    /// Constant for the torrent, and secret.
    pub key: u32,
    /// The port that peers are told to dial.
    pub port: u16,
    /// The address that peers are told to dial, if it is not the one that trackers see us at.
    pub ip: Option<IpAddr>,
    /// Payload sent since the start, in bytes.
    pub uploaded: u64,
    /// Payload received since the start, in bytes.
    pub downloaded: u64,
    /// Payload that is missing, in bytes. Not 0 while the size is unknown: that would make us a
    /// seed.
    pub left: u64,
    /// Whether what is missing is not wanted (BEP 21).
    pub is_partial_seed: bool,
    /// How many peers are wanted; a `stopped` asks for none whatever this says.
    pub num_want: u32,
}

/// An announce to carry out: look up `url.host()`, then see [`Exchange`](super::Exchange) or, if
/// `url.scheme()` is UDP, [`UdpTrackers`](super::UdpTrackers).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// Whom to ask.
    pub url: AnnounceUrl,
    /// Path and query of an HTTP request, or what goes along with a datagram (BEP 41).
    pub target: String,
    /// What it announces.
    pub event: AnnounceEvent,
    /// What it says, for a tracker that is asked over UDP.
    pub datagram: UdpAnnounce,
    /// Whether another tracker is asked at once if this one is silent.
    pub has_successor: bool,
}

impl Announce {
    /// Returns how it is asked of its tracker at `addr`.
    ///
    /// # Errors
    /// [`TrackerError::BadUrl`] if this URL must not be asked at that address, or is too long for a
    /// datagram. Another address of the same host may be fine.
    pub fn request(&self, addr: SocketAddr) -> Result<Request, TrackerError> {
        if self.url.scheme() != Scheme::Udp {
            return Exchange::new(self, addr.ip()).map(Request::Http);
        }
        self.url.permits(addr.ip()).map_err(TrackerError::BadUrl)?;
        let url_data = self.target.as_bytes().to_vec();
        if url_data.len() > MAX_TARGET_LEN {
            return Err(TrackerError::BadUrl(UrlError::TooLong { limit: MAX_TARGET_LEN }));
        }
        // Over IPv6 the field is too small for an address, and an IPv4 one would be another's.
        let ip = self.datagram.ip.filter(|_| addr.is_ipv4());
        let announce = UdpAnnounce { ip, ..self.datagram };
        Ok(Request::Udp(UdpAsk::Announce { announce, url_data }))
    }
}

/// What came of an announce, for the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The tracker's URL as the metainfo has it, whatever it redirected to. Foreign text.
    pub url: String,
    /// What came of it.
    pub event: TrackerEvent,
    /// Whether it was answered, and another tracker had answered before: peers of a private torrent
    /// are to be those of one tracker (BEP 27).
    pub is_another: bool,
    /// Whether the tracker has us from both families of its addresses, as far as we know.
    pub knows_both: bool,
}

impl Announcer {
    /// Returns the announcer for a torrent's `tiers` of URLs (BEP 12); it is stopped.
    ///
    /// URLs of schemes that this build does not speak and malformed ones are kept for the
    /// [views](Announcer::views) and never asked. What is beyond
    /// [`MAX_TRACKERS`](super::MAX_TRACKERS) is ignored.
    pub fn new(tiers: &[Vec<String>], rng: &mut Rng) -> Self {
        let tiers = Tiers::new(tiers, rng);
        Self { tiers, phase: Phase::Stopped, in_flight: None, empty_replies: 0 }
    }

    /// Returns the same announcer, to which those of its URLs that are in `urls` are the user's:
    /// they may lead [anywhere](crate::net_policy::net_policy). O(trackers x URLs).
    #[must_use]
    pub fn with_user_trackers(mut self, urls: &[String]) -> Self {
        self.tiers.trust(urls);
        self
    }

    /// Starts announcing, at once; does nothing if it has started.
    ///
    /// Returns whether the `stopped` of an earlier [`stop`](Announcer::stop) was in flight. It is
    /// given up, as there.
    pub fn start(&mut self, now: Instant) -> bool {
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Trying { .. }) {
            return false;
        }
        self.empty_replies = 0;
        self.tiers.as_mut_slice().iter_mut().for_each(|tracker| tracker.reset(now));
        self.end_round();
        self.in_flight.take().is_some()
    }

    /// Records that the download finished just now; trackers that know us as a downloader are told
    /// at once.
    ///
    /// To be called once a download, and not for a torrent that was complete at the start (BEP 3).
    pub fn completed(&mut self, now: Instant) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.then_owed = AnnounceEvent::Completed;
        }
        for tracker in self.tiers.as_mut_slice() {
            if tracker.owed == AnnounceEvent::Periodic {
                tracker.owed = AnnounceEvent::Completed;
            }
        }
        self.hasten_if_owed(now);
    }

    /// Asks for more peers than the last answer had: the next round comes as soon as `min interval`
    /// allows.
    ///
    /// May be called as often as there are too few peers.
    pub fn request_peers(&mut self, now: Instant) {
        let working = self.tiers.working();
        if let (Phase::Waiting { due }, Some(index)) = (&mut self.phase, working) {
            *due = self.tiers.as_slice()[index].not_before.max(now).min(*due);
        }
    }

    /// Stops announcing; trackers whose last announce was answered are told `stopped`, one after
    /// the other, and before that `completed` if they were still to hear it.
    ///
    /// Returns whether an announce was in flight. It is given up: its owner closes the connection
    /// and reports nothing of it.
    pub fn stop(&mut self) -> bool {
        if matches!(self.phase, Phase::Stopped | Phase::Stopping) {
            return false;
        }
        let given_up = self.in_flight.take();
        if let Some(InFlight { index, event: AnnounceEvent::Completed, .. }) = given_up.as_deref() {
            // It has probably arrived; two of them would be counted as two downloads.
            self.tiers.as_mut_slice()[*index].owed = AnnounceEvent::Periodic;
        }
        self.phase = Phase::Stopping;
        self.finish_stopping();
        given_up.is_some()
    }

    /// Announces nothing more, whatever trackers still believe: nobody waits for them. What is in
    /// flight is given up as by [`stop`](Announcer::stop).
    pub fn abandon(&mut self) {
        self.in_flight = None;
        self.phase = Phase::Stopped;
    }

    /// Returns whether nothing is announced any more; true before the first start too.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Returns when [`poll`](Announcer::poll) is to be called; `None` while an announce is in
    /// flight and if there is nothing to announce. Never changes by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            _ if self.in_flight.is_some() => None,
            Phase::Stopped | Phase::Waiting { due: Instant::FAR_FUTURE } => None,
            Phase::Waiting { due } => Some(due),
            Phase::Trying { .. } | Phase::Stopping => Some(Instant::ZERO),
        }
    }

    /// Returns the announce that is to begin now; it is in flight until one of the `handle_*` ends
    /// it.
    ///
    /// O(trackers).
    pub fn poll(&mut self, facts: &AnnounceFacts, now: Instant) -> Option<Announce> {
        if self.in_flight.is_some() {
            return None;
        }
        let index = self.choose(now)?;
        let tracker = &self.tiers.as_slice()[index];
        let Endpoint::Usable(url) = &tracker.endpoint else {
            unreachable!("only usable trackers are chosen")
        };
        let (event, num_want) = match self.phase {
            Phase::Stopping if tracker.owed != AnnounceEvent::Completed => {
                (AnnounceEvent::Stopped, 0)
            }
            Phase::Stopping => (tracker.owed, 0),
            _ if tracker.owed == AnnounceEvent::Periodic && facts.is_partial_seed => {
                (AnnounceEvent::Paused, facts.num_want)
            }
            _ => (tracker.owed, facts.num_want),
        };
        let has_successor = match self.phase {
            Phase::Trying { next } => self.tiers.next(next, now).is_some(),
            _ => false,
        };
        let announce = Announce {
            url: url.clone(),
            target: facts.target(url, event, num_want, &tracker.id),
            event,
            datagram: facts.datagram(event, num_want),
            has_successor,
        };
        let (then_owed, datagram) = (AnnounceEvent::Periodic, announce.datagram);
        let in_flight = InFlight { index, event, then_owed, datagram, redirects: 0 };
        self.in_flight = Some(Box::new(in_flight));
        Some(announce)
    }

    /// Returns the announce to go on with after a redirect; the same one stays in flight.
    ///
    /// The URL is asked as it stands: a tracker that redirects has put the announce's query into
    /// it, or does not want it there.
    ///
    /// # Errors
    /// [`TrackerError`]: pass it on to [`handle_failure`](Announcer::handle_failure).
    pub fn handle_redirect(&mut self, url: AnnounceUrl) -> Result<Announce, TrackerError> {
        let in_flight = self.in_flight.as_mut().ok_or(TrackerError::GivenUp)?;
        follow(&url, &mut in_flight.redirects)?;
        let (target, has_successor) = (url.target().to_owned(), false);
        let InFlight { event, datagram, .. } = **in_flight;
        Ok(Announce { url, target, event, datagram, has_successor })
    }

    /// Ends the announce in flight with the tracker's answer; the peers in it are the caller's to
    /// use.
    ///
    /// Returns `None` if there is none in flight: it was given up.
    pub fn handle_reply(&mut self, reply: &AnnounceReply, now: Instant) -> Option<Report> {
        let InFlight { index, event, then_owed, .. } = *self.in_flight.take()?;
        let peers = reply.peers.len() + reply.hosts.len();
        self.empty_replies = if peers == 0 { self.empty_replies.saturating_add(1) } else { 0 };
        let interval = reply.interval.max(reply.min_interval.unwrap_or_default());
        let min_interval = reply.min_interval.unwrap_or(DEFAULT_MIN_INTERVAL);
        let early = min_interval.max(early_gap(self.empty_replies)).min(interval);

        let tracker = &mut self.tiers.as_mut_slice()[index];
        tracker.standing = Standing::Working { peers };
        tracker.owed = then_owed;
        tracker.not_before = now + early;
        if let Some(id) = &reply.tracker_id {
            tracker.id.clone_from(id);
        }
        let (url, knows_both) = (tracker.text.clone(), tracker.knows_both);
        if event == AnnounceEvent::Stopped {
            tracker.reset(now);
        }
        let mut is_another = false;
        if self.phase == Phase::Stopping {
            self.finish_stopping();
        } else {
            is_another = self.tiers.make_current(index);
            self.tiers.promote(index);
            self.phase = Phase::Waiting { due: now + interval };
            self.hasten_if_owed(now);
        }
        let warning = reply.warning.clone();
        let external_ip = reply.external_ip;
        let event = TrackerEvent::Replied { event, peers, interval, warning, external_ip };
        Some(Report { url, event, is_another, knows_both })
    }

    /// Records that the tracker that answered last has answered over the other family of its
    /// addresses, too.
    pub fn handle_second_reply(&mut self) {
        if let Some(tracker) = self.tiers.current_mut() {
            tracker.knows_both = true;
        }
    }

    /// Ends the announce in flight with its failure; the next tracker's turn is at once.
    ///
    /// Returns `None` if there is none in flight: it was given up.
    pub fn handle_failure(
        &mut self,
        error: TrackerError,
        rng: &mut Rng,
        now: Instant,
    ) -> Option<Report> {
        let InFlight { index, event, .. } = *self.in_flight.take()?;
        let tracker = &mut self.tiers.as_mut_slice()[index];
        let mut retry_in = tracker.back_off(error.clone(), rng, now);
        let url = tracker.text.clone();
        match self.phase {
            Phase::Stopping => {
                retry_in = Duration::MAX;
                self.finish_stopping();
            }
            Phase::Trying { next } => {
                let owed = self.tiers.working_owed_completed();
                if owed.or_else(|| self.tiers.next(next, now)).is_none() {
                    self.end_round();
                }
            }
            Phase::Stopped | Phase::Waiting { .. } => {}
        }
        let event = TrackerEvent::Failed { event, error, retry_in };
        Some(Report { url, event, is_another: false, knows_both: false })
    }

    /// Returns how the trackers stand, in announce order. O(trackers).
    pub fn views(&self, now: Instant) -> Vec<TrackerView> {
        let announcing = self.in_flight.as_ref().map(|in_flight| in_flight.index);
        let next_in = match self.phase {
            Phase::Waiting { due: Instant::FAR_FUTURE } | Phase::Stopped => Duration::MAX,
            Phase::Waiting { due } => due.saturating_since(now),
            Phase::Trying { .. } | Phase::Stopping => Duration::ZERO,
        };
        let trackers = self.tiers.as_slice().iter().enumerate();
        let view = |(index, tracker): (usize, &Tracker)| TrackerView {
            url: tracker.text.clone(),
            tier: tracker.tier,
            state: match announcing {
                Some(announcing) if announcing == index => TrackerState::Announcing,
                _ => tracker.state(next_in, now),
            },
        };
        trackers.map(view).collect()
    }

    /// Decides who is asked now, and moves the phase along.
    fn choose(&mut self, now: Instant) -> Option<usize> {
        loop {
            match self.phase {
                Phase::Stopped => return None,
                Phase::Stopping => return self.tiers.working(),
                Phase::Waiting { due } if now < due => return None,
                Phase::Waiting { .. } => self.phase = Phase::Trying { next: 0 },
                Phase::Trying { next } => {
                    // Those that take us for a downloader are told first, else a tracker of a
                    // higher tier that comes back just now would keep them in error.
                    if let Some(index) = self.tiers.working_owed_completed() {
                        return Some(index);
                    }
                    if let Some(index) = self.tiers.next(next, now) {
                        self.phase = Phase::Trying { next: index + 1 };
                        return Some(index);
                    }
                    self.end_round();
                }
            }
        }
    }

    /// Waits for the first tracker that may be asked.
    fn end_round(&mut self) {
        self.phase = Phase::Waiting { due: self.tiers.earliest() };
    }

    /// Starts a round now if a tracker that works has to hear `completed`.
    fn hasten_if_owed(&mut self, now: Instant) {
        let owed = self.tiers.working_owed_completed().is_some();
        if let (Phase::Waiting { due }, true) = (&mut self.phase, owed) {
            *due = now.min(*due);
        }
    }

    /// Ends the stopping once nobody has to be told.
    fn finish_stopping(&mut self) {
        if self.phase == Phase::Stopping && self.tiers.working().is_none() {
            self.phase = Phase::Stopped;
        }
    }
}

impl AnnounceFacts {
    /// Returns an announce of these facts that is none of an [`Announcer`]'s.
    pub fn announce(&self, url: AnnounceUrl, event: AnnounceEvent) -> Announce {
        let num_want = if event == AnnounceEvent::Stopped { 0 } else { self.num_want };
        Announce {
            target: self.target(&url, event, num_want, &[]),
            datagram: self.datagram(event, num_want),
            url,
            event,
            has_successor: false,
        }
    }

    /// Returns path and query of a request, or the part of it that goes along with a datagram: none
    /// if there is only a slash.
    fn target(
        &self,
        url: &AnnounceUrl,
        event: AnnounceEvent,
        num_want: u32,
        tracker_id: &[u8],
    ) -> String {
        let mut target = url.target().to_owned();
        if url.scheme() == Scheme::Udp {
            return if target == "/" { String::new() } else { target };
        }
        let query = AnnounceQuery {
            info_hash: self.info_hash,
            peer_id: self.peer_id,
            port: self.port,
            ip: self.ip,
            uploaded: self.uploaded,
            downloaded: self.downloaded,
            left: self.left,
            event,
            num_want,
            key: self.key,
            tracker_id,
        };
        query.append_to(&mut target);
        target
    }

    fn datagram(&self, event: AnnounceEvent, num_want: u32) -> UdpAnnounce {
        UdpAnnounce {
            info_hash: self.info_hash,
            peer_id: self.peer_id,
            downloaded: self.downloaded,
            left: self.left,
            uploaded: self.uploaded,
            event,
            ip: self.ip.and_then(|ip| match ip {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            }),
            key: self.key,
            num_want: Some(num_want),
            port: self.port,
        }
    }
}

/// Returns how soon more peers may be asked for after so many answers in a row without any.
fn early_gap(empty_replies: u32) -> Duration {
    match empty_replies.checked_sub(1) {
        Some(doublings) => {
            EMPTY_SWARM_GAP.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX))
        }
        None => MIN_INTERVAL,
    }
}
