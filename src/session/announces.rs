//! Announces on their way: name lookup, one address after the other, one exchange over HTTP or in
//! datagrams, the answer's peers; and then the same over the tracker's other family of addresses.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::id::{ConnId, TorrentId};
use crate::net_policy::Reach;
use crate::peer::error::CloseReason;
use crate::proto::tracker_http::AnnounceReply;
use crate::proto::url::{AnnounceUrl, Scheme};
use crate::stats::Metric;
use crate::time::{Duration, Instant};
use crate::torrent::candidates::Source;
use crate::tracker::{
    Announce, AnnounceEvent, Announcer, Progress, Report, Request, TRACKER_STOP_TIMEOUT,
    TrackerError,
};

use super::conns::{Kind, TrackerStream};
use super::entry::{Announcing, Leg, Via};
use super::io::{Action, Closed, Event, ResolveId, ServerName};
use super::questions::Asker;
use super::trace::What;
use super::{LookupFor, Session};

/// The most host names of peers that are being looked up at one time; what trackers name beyond it
/// is dropped.
const MAX_LOOKUPS: usize = 256;
/// The most addresses of a family at which a tracker or a server is tried. For each that swallows
/// what is sent to it the next tracker waits as long as a dial may take, and how many there are is
/// said by whoever has the name.
const MAX_ADDRS_TRIED: usize = 4;
/// How long after a failure the host of a peer that the user named is looked up again.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(15);

impl Session {
    /// Returns who announces a torrent to these trackers; it is stopped.
    pub(super) fn announcer(&mut self, tiers: &[Vec<String>]) -> Announcer {
        Announcer::new(tiers, &mut self.work.rng).with_user_trackers(&self.config.user_trackers)
    }

    /// Puts a torrent in line for an announce if one is due, or takes it out if none is any more.
    ///
    /// Thousands of torrents that start together, or end, would open as many streams at once
    /// otherwise.
    pub(super) fn line_up(&mut self, torrent: TorrentId, now: Instant) {
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        let is_due = |at: &Instant| *at <= now && entry.announcing.is_none();
        match (entry.announce_due, entry.announcer.poll_timeout().filter(is_due)) {
            (None, Some(at)) => {
                // One that goes on with the next tracker has just had its turn.
                let since = if at == Instant::ZERO { now } else { at };
                entry.announce_due = Some(since);
                self.announce_line.insert((since, torrent));
            }
            (Some(since), None) => {
                entry.announce_due = None;
                self.announce_line.remove(&(since, torrent));
            }
            _ => {}
        }
    }

    /// Begins as many of the announces that are due as there are places, those first that have been
    /// due for longest.
    pub(super) fn announce_next(&mut self, now: Instant) {
        while self.announces < self.config.max_announces
            && let Some((_, torrent)) = self.announce_line.pop_first()
        {
            let (announced, num_want) = (self.config.announced(), self.config.num_want);
            let Some(entry) = self.entry_mut(torrent) else { continue };
            entry.announce_due = None;
            let facts = entry.announce_facts(announced, num_want);
            if let Some(announce) = entry.announcer.poll(&facts, now) {
                self.begin(torrent, announce, now);
            }
            self.schedule_torrent(torrent);
        }
    }

    fn begin(&mut self, torrent: TorrentId, announce: Announce, now: Instant) {
        let deadline = now + self.announce_limit();
        let (host, port) = (announce.url.host().to_owned(), announce.url.port());
        // Addresses are answered by the resolver too, so that both ways are one.
        let id = self.new_lookup(LookupFor::Announce(torrent), host, port);
        let via = Via::Lookup(id);
        if self.entry(torrent).is_some_and(|entry| entry.announcing.is_none()) {
            self.announces += 1;
            self.note(None, torrent, What::AnnounceBegun, now);
        }
        if let Some(entry) = self.entry_mut(torrent) {
            let addrs = VecDeque::new();
            // A redirect goes on with what has begun.
            let since = entry.announcing.as_ref().map_or(now, |before| before.since);
            let leg = entry.announcing.as_ref().map_or(Leg::First, |before| before.leg);
            let announcing = Announcing { announce, addrs, via, leg, since, deadline };
            entry.announcing = Some(Box::new(announcing));
        }
    }

    /// Returns how long an announce may take, once its tracker is connected to.
    fn announce_limit(&self) -> Duration {
        let limit = self.config.tracker_timeout;
        if self.shutting_down { limit.min(TRACKER_STOP_TIMEOUT) } else { limit }
    }

    /// The tracker of an announce was reached: its time begins.
    pub(super) fn tracker_connected(&mut self, torrent: TorrentId, now: Instant) {
        let limit = self.announce_limit();
        if let Some(announcing) = self.entry_mut(torrent).and_then(|e| e.announcing.as_mut()) {
            announcing.deadline = now + limit;
        }
        self.touch(torrent);
    }

    pub(super) fn new_lookup(&mut self, purpose: LookupFor, host: String, port: u16) -> ResolveId {
        let id = ResolveId(self.next_lookup);
        self.next_lookup = self.next_lookup.wrapping_add(1);
        self.lookups.insert(id, (purpose, host.clone(), port));
        self.action(Action::Resolve { id, host, port });
        id
    }

    /// Looks up the peers of a torrent that the user and its link name; of the latter none if peers
    /// may come from its trackers only (BEP 27).
    pub(super) fn look_up_peers(
        &mut self,
        torrent: TorrentId,
        by_user: Vec<(String, u16)>,
        by_link: Vec<(String, u16)>,
        now: Instant,
    ) {
        for (host, port) in by_user {
            self.look_up(LookupFor::UserPeer(torrent), host, port, now);
        }
        if self.entry(torrent).is_some_and(|entry| !entry.torrent.is_private()) {
            for (host, port) in by_link {
                self.look_up(LookupFor::LinkPeer(torrent), host, port, now);
            }
        }
    }

    /// Looks up a peer's host name, or takes it for the address that it is.
    pub(super) fn look_up(&mut self, purpose: LookupFor, host: String, port: u16, now: Instant) {
        let (torrent, source) = match purpose {
            LookupFor::UserPeer(torrent) => (torrent, Source::User),
            LookupFor::LinkPeer(torrent) => (torrent, Source::Link),
            LookupFor::TrackerPeer(torrent, reach) => (torrent, Source::Tracker(reach)),
            LookupFor::Announce(_) | LookupFor::Question(_) | LookupFor::DhtNode => return,
        };
        if let Ok(ip) = host.parse() {
            if let Some(entry) = self.entry_mut(torrent) {
                entry.torrent.candidates.add(SocketAddr::new(ip, port), source, now);
            }
        } else if self.lookups.len() < MAX_LOOKUPS || source == Source::User {
            self.new_lookup(purpose, host, port);
        }
    }

    pub(super) fn on_resolved(
        &mut self,
        id: ResolveId,
        addrs: Result<Vec<SocketAddr>, std::io::ErrorKind>,
        now: Instant,
    ) {
        let Some((purpose, host, port)) = self.lookups.remove(&id) else { return };
        let (torrent, source) = match purpose {
            LookupFor::Announce(torrent) => {
                let Some(entry) = self.entry_mut(torrent) else { return };
                let Some(announcing) = &mut entry.announcing else { return };
                if announcing.via != Via::Lookup(id) {
                    return;
                }
                announcing.addrs = to_be_tried(addrs.unwrap_or_default());
                return self.ask_next_addr(torrent, TrackerError::Resolve, now);
            }
            LookupFor::Question(question) => {
                let addrs = to_be_tried(addrs.unwrap_or_default());
                return self.question_resolved(question, Via::Lookup(id), addrs, now);
            }
            LookupFor::DhtNode => return self.add_dht_nodes(addrs.unwrap_or_default(), now),
            LookupFor::UserPeer(torrent) => (torrent, Source::User),
            LookupFor::LinkPeer(torrent) => (torrent, Source::Link),
            LookupFor::TrackerPeer(torrent, reach) => (torrent, Source::Tracker(reach)),
        };
        if let Some(entry) = self.entry_mut(torrent) {
            let addrs = addrs.unwrap_or_default();
            if addrs.is_empty() && source == Source::User {
                let again = now + LOOK_UP_AGAIN;
                let unresolved = entry.unresolved.get_or_insert_default();
                unresolved.hosts.push((host, port));
                unresolved.again_at = (!entry.torrent.is_stopped()).then_some(again);
            }
            entry.torrent.candidates.add_all(addrs, source, now);
        }
        self.touch(torrent);
    }

    /// Looks up again what the user named and could not be found.
    pub(super) fn look_up_again(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let is_due = |at: Instant| at <= now;
        let unresolved = entry.unresolved.take_if(|of| of.again_at.is_some_and(is_due));
        for (host, port) in unresolved.map(|of| of.hosts).unwrap_or_default() {
            self.look_up(LookupFor::UserPeer(torrent), host, port, now);
        }
    }

    /// Asks the tracker at its next address; if there is none left, the announce has failed with
    /// `error`.
    fn ask_next_addr(&mut self, torrent: TorrentId, mut error: TrackerError, now: Instant) {
        let limit = self.announce_limit();
        let patience = self.config.connect_timeout.min(limit);
        loop {
            let Some(entry) = self.entry_mut(torrent) else { return };
            let Some(announcing) = &mut entry.announcing else { return };
            let Some(addr) = announcing.addrs.pop_front() else {
                return self.announce_failed(torrent, error, now);
            };
            // One that swallows what we send must not use up the time of those behind it.
            let is_last = announcing.addrs.is_empty()
                && announcing.leg == Leg::First
                && !announcing.announce.has_successor;
            announcing.deadline = now + if is_last { limit } else { patience };
            let url = announcing.announce.url.clone();
            let request = announcing.announce.request(addr);
            let asker = Asker::Torrent(torrent);
            match request.and_then(|request| self.send_request(asker, &url, request, addr, now)) {
                Ok(via) => {
                    let entry = self.entry_mut(torrent);
                    if let Some(announcing) = entry.and_then(|entry| entry.announcing.as_mut()) {
                        announcing.via = via;
                    }
                    if matches!(via, Via::Datagrams(ask) if self.udp.is_reached(ask)) {
                        self.tracker_connected(torrent, now);
                    }
                    return self.touch(torrent);
                }
                Err(refused) => error = refused,
            }
        }
    }

    /// Begins to ask a tracker, or who has a file, at one of its addresses.
    pub(super) fn send_request(
        &mut self,
        asker: Asker,
        url: &AnnounceUrl,
        request: Request,
        addr: SocketAddr,
        now: Instant,
    ) -> Result<Via, TrackerError> {
        let exchange = match request {
            Request::Http(exchange) => exchange,
            Request::Udp(ask) => {
                return self.ask_by_datagram(asker, addr, ask, now).map(Via::Datagrams);
            }
        };
        let stream = TrackerStream { addr, asker, exchange, sent: 0 };
        let host = || ServerName(url.host().to_owned());
        let tls = (url.scheme() == Scheme::Https).then(host);
        Ok(Via::Stream(self.connect(addr, tls, Kind::Tracker(Box::new(stream)), now)))
    }

    /// Takes in that the stream of an announce ended. `false` if `id` is no such stream.
    pub(super) fn tracker_stream_ended(
        &mut self,
        id: ConnId,
        closed: Closed,
        now: Instant,
    ) -> bool {
        let Some(conn) = self.conns.find_mut(id) else { return false };
        let Kind::Tracker(stream) = &mut conn.kind else { return false };
        let (asker, addr, untouched) = (stream.asker, stream.addr, stream.sent == 0);
        let progress = match closed {
            Closed::Eof => stream.exchange.end_of_stream(),
            Closed::Failed(kind) => Err(TrackerError::Connect(kind)),
            Closed::Tls(error) => Err(TrackerError::Tls(error)),
        };
        self.conns.remove(id);
        match (closed, progress) {
            (Closed::Failed(_) | Closed::Tls(_), Err(error)) if untouched => match asker {
                Asker::Torrent(torrent) => self.ask_next_addr(torrent, error, now),
                Asker::Question(question) => self.ask_question_next_addr(question, error, now),
            },
            (_, Ok(Progress::More)) => {}
            (_, progress) => self.on_exchange(id, (asker, addr), progress, now),
        }
        true
    }

    pub(super) fn on_exchange(
        &mut self,
        id: ConnId,
        (asker, addr): (Asker, SocketAddr),
        progress: Result<Progress, TrackerError>,
        now: Instant,
    ) {
        if progress == Ok(Progress::More) {
            return;
        }
        if self.conns.remove(id).is_some() {
            self.action(Action::Close { conn: id });
        }
        match asker {
            Asker::Torrent(torrent) => self.on_announce_exchange((torrent, addr), progress, now),
            Asker::Question(question) => self.on_question_exchange(question, progress, now),
        }
    }

    fn on_announce_exchange(
        &mut self,
        (torrent, addr): (TorrentId, SocketAddr),
        progress: Result<Progress, TrackerError>,
        now: Instant,
    ) {
        match progress {
            Ok(Progress::Redirect(url)) => {
                let Some(entry) = self.entry_mut(torrent) else { return };
                match entry.announcer.handle_redirect(url) {
                    Ok(announce) => self.begin(torrent, announce, now),
                    Err(error) => self.announce_failed(torrent, error, now),
                }
            }
            Ok(Progress::Reply(reply)) => self.announce_answered(torrent, addr, reply, now),
            // An exchange of an announce comes to nothing else.
            Ok(Progress::More | Progress::Scraped(_) | Progress::File(_)) => {}
            Err(error) => self.announce_failed(torrent, error, now),
        }
    }

    /// Takes in the answer to the announce that is under way, and goes on over the tracker's other
    /// family of addresses.
    pub(super) fn announce_answered(
        &mut self,
        torrent: TorrentId,
        from: SocketAddr,
        reply: AnnounceReply,
        now: Instant,
    ) {
        self.announce_ended(torrent, What::AnnounceAnswered, now);
        let Some(mut announcing) = self.take_announcing(torrent) else { return };
        if let Some(ip) = reply.external_ip {
            self.hear_address(from.ip(), ip, now);
        }
        let Some(entry) = self.entry_mut(torrent) else { return };
        let mut report = None;
        let is_stop = announcing.announce.event == AnnounceEvent::Stopped;
        if announcing.leg == Leg::First {
            report = entry.announcer.handle_reply(&reply, now);
            // Whoever has never answered over the other family does not know us from there.
            let goes_on = !is_stop || report.as_ref().is_some_and(|report| report.knows_both);
            announcing.addrs.retain(|addr| goes_on && addr.is_ipv4() != from.is_ipv4());
            announcing.leg = Leg::Second;
            if !announcing.addrs.is_empty() {
                entry.announcing = Some(announcing);
                self.announces += 1;
            }
        } else if !is_stop {
            entry.announcer.handle_second_reply();
        }
        if report.as_ref().is_some_and(|report| report.is_another) {
            self.tracker_changed(torrent, now);
        }
        let reach = Reach::of(from.ip());
        if let Some(entry) = self.entry_mut(torrent) {
            let peers = reply.peers.iter().copied();
            entry.torrent.candidates.add_all(peers, Source::Tracker(reach), now);
        }
        for (host, port) in reply.hosts {
            self.look_up(LookupFor::TrackerPeer(torrent, reach), host, port, now);
        }
        self.report(torrent, report);
        self.ask_next_addr(torrent, TrackerError::GivenUp, now);
    }

    /// Another tracker has answered than the last time. Peers of a private torrent are those of one
    /// tracker: whoever changes it leaves all that came from the other (BEP 27).
    fn tracker_changed(&mut self, torrent: TorrentId, now: Instant) {
        if self.entry(torrent).is_some_and(|entry| entry.torrent.is_private()) {
            self.close_conns_of(torrent, CloseReason::TrackerChanged, now);
            if let Some(entry) = self.entry_mut(torrent) {
                entry.torrent.candidates.leave_tracker();
            }
        }
    }

    /// The time of an announce is up: its tracker's next address is asked if this one was never
    /// reached, else it has failed.
    pub(super) fn announce_timed_out(&mut self, torrent: TorrentId, now: Instant) {
        let via = self.entry(torrent).and_then(|e| e.announcing.as_ref()).map(|a| a.via);
        if let Some(via @ (Via::Stream(_) | Via::Datagrams(_))) = via
            && !self.is_reached(via)
        {
            self.drop_via(via);
            return self.ask_next_addr(torrent, TrackerError::TimedOut, now);
        }
        self.give_up_exchange(torrent);
        self.announce_failed(torrent, TrackerError::TimedOut, now);
    }

    /// Records that the announce that is under way, if one is, ends now, and how.
    fn announce_ended(&mut self, torrent: TorrentId, how: What, now: Instant) {
        let announcing = self.entry(torrent).and_then(|entry| entry.announcing.as_ref());
        if let Some(announcing) = announcing.filter(|announcing| announcing.leg == Leg::First) {
            let since = announcing.since;
            self.work.stats.histograms.record_since(Metric::Announce, since, now);
            self.note(None, torrent, how, now);
        }
    }

    /// Takes out the announce that is under way: there is a place for another.
    fn take_announcing(&mut self, torrent: TorrentId) -> Option<Box<Announcing>> {
        let announcing = self.entry_mut(torrent)?.announcing.take()?;
        self.announces -= 1;
        Some(announcing)
    }

    /// Begins to announce.
    pub(super) fn start_announcing(&mut self, torrent: TorrentId, now: Instant) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let is_second = entry.announcing.as_ref().is_some_and(|under_way| {
            // The `stopped` of the last time: it is true no more.
            under_way.leg == Leg::Second
        });
        if entry.announcer.start(now) || is_second {
            self.give_up_announce(torrent);
        }
    }

    /// Ends announcing: who knows us is told, and what else is under way is given up.
    pub(super) fn stop_announcing(&mut self, torrent: TorrentId) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        let is_dispensable = entry.announcing.as_ref().is_some_and(|it| it.is_dispensable());
        if entry.announcer.stop() || is_dispensable {
            self.give_up_announce(torrent);
        }
    }

    /// Forgets the announce that is under way.
    pub(super) fn give_up_announce(&mut self, torrent: TorrentId) {
        self.give_up_exchange(torrent);
        self.take_announcing(torrent);
    }

    /// Ends the lookup or the exchange that an announce is at.
    fn give_up_exchange(&mut self, torrent: TorrentId) {
        let announcing = self.entry(torrent).and_then(|entry| entry.announcing.as_ref());
        if let Some(via) = announcing.map(|announcing| announcing.via) {
            self.drop_via(via);
        }
    }

    pub(super) fn announce_failed(
        &mut self,
        torrent: TorrentId,
        error: TrackerError,
        now: Instant,
    ) {
        self.announce_ended(torrent, What::AnnounceFailed, now);
        let Some(announcing) = self.take_announcing(torrent) else { return };
        let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else { return };
        let mut report = None;
        if announcing.leg == Leg::First {
            report = entry.announcer.handle_failure(error, &mut self.work.rng, now);
        }
        self.report(torrent, report);
    }

    fn report(&mut self, torrent: TorrentId, report: Option<Report>) {
        if let Some(Report { url, event, .. }) = report {
            self.queues.events.push_back(Event::Tracker { torrent, url, event });
        }
        self.touch(torrent);
    }
}

/// Returns the addresses of a host that are tried, in order.
fn to_be_tried(mut addrs: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let mut left = [MAX_ADDRS_TRIED; 2];
    addrs.retain(|addr| {
        let left = &mut left[usize::from(addr.is_ipv4())];
        let is_tried = *left > 0;
        *left = left.saturating_sub(1);
        is_tried
    });
    addrs.into()
}
