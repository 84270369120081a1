//! What the bytes of each kind of connection mean, from its first byte to its end.

use std::net::{IpAddr, SocketAddr};

use crate::id::{ConnId, InfoHash, TorrentId};
use crate::net_policy::is_local;
use crate::peer::error::{CloseReason, PeerError};
use crate::peer::handshake::{Handshaking, Progress};
use crate::peer::timer::Timer;
use crate::peer::{Peer, PeerEvent};
use crate::proto::handshake::encode;
use crate::stats::Metric;
use crate::time::{Duration, Instant};
use crate::torrent::candidates::Fate;
use crate::wire::frame::{self, Share};
use crate::wire::scratch::Arrived;

use super::Session;
use super::conns::{Conn, Kind, Stranger};
use super::io::{Action, Event, Listener, ServerName};
use super::magnets::introduce;
use super::questions::Asker;
use super::throttle::Way;
use super::trace::{Note, Said, What};

impl Session {
    pub(super) fn accept(
        &mut self,
        listener: Listener,
        addr: SocketAddr,
        now: Instant,
    ) -> Option<ConnId> {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let is_peer = listener == Listener::Peers;
        if is_peer && self.is_blocked(addr.ip()) {
            self.work.stats.counters.blocked += 1;
            return None;
        }
        let kind = self.welcome(listener, addr, now);
        let counters = &mut self.work.stats.counters;
        counters.accepted += u64::from(is_peer && kind.is_some());
        counters.refused += u64::from(is_peer && kind.is_none());
        let id = self.conns.insert(kind?);
        if is_peer {
            self.note(id, None, What::Accepted, now);
        }
        self.mark(id);
        Some(id)
    }

    /// Returns what becomes of a stream that was accepted; `None` if it is not wanted.
    fn welcome(&mut self, listener: Listener, addr: SocketAddr, now: Instant) -> Option<Kind> {
        let deadline = now + self.config.handshake_timeout;
        match listener {
            Listener::Peers => {
                let crowded = !hides_many_hosts(addr.ip())
                    && self.conns.of_addr(addr.ip()) >= self.config.max_conns_per_addr;
                let pending = self.conns.pending_handshakes();
                let crowded = crowded || pending >= self.config.max_pending_handshakes;
                if self.shutting_down || crowded || !self.make_way(now) {
                    return None;
                }
                let state = Handshaking::accepted();
                let stranger = Stranger { addr, torrent: None, state, incoming: true, deadline };
                Some(Kind::Handshaking(Box::new(stranger)))
            }
            // To the end, so that whoever stops can say so: a seed that is its own tracker, too.
            Listener::Tracker => self.welcome_client(addr, deadline),
            // Nothing comes there but datagrams.
            Listener::Lsd => None,
        }
    }

    pub(super) fn on_connected(&mut self, id: ConnId, now: Instant) {
        self.mark(id);
        let (torrent, addr) = match self.conns.find(id).map(|conn| &conn.kind) {
            Some(Kind::Dialling(dialling)) => (dialling.torrent, dialling.addr),
            Some(Kind::Tracker(stream)) => {
                return match stream.asker {
                    Asker::Torrent(torrent) => self.tracker_connected(torrent, now),
                    Asker::Question(question) => self.question_connected(question, now),
                };
            }
            _ => return,
        };
        let reserved = self.offers(torrent);
        let Some(entry) = self.entry(torrent) else { return };
        let info_hash = entry.torrent.info_hash;
        let ours = encode(reserved, info_hash, entry.peer_id);
        let state = Handshaking::dialled(ours);
        let deadline = now + self.config.handshake_timeout;
        let torrent = Some(torrent);
        let stranger = Stranger { addr, torrent, state, incoming: false, deadline };
        self.conns.replace(id, Kind::Handshaking(Box::new(stranger)));
        self.note(id, torrent, What::Connected, now);
        self.note(id, torrent, What::Wire(Note::Sent(Said::Handshake)), now);
    }

    pub(super) fn on_received(
        &mut self,
        id: ConnId,
        n: usize,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.mark(id);
        let Some(conn) = self.conns.find_mut(id) else { return Ok(()) };
        match &mut conn.kind {
            Kind::Dialling(_) => Ok(()),
            Kind::Handshaking(_) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let result = self.on_stranger_bytes(id, &mut scratch.arrived(n), now);
                self.scratch = scratch;
                result
            }
            Kind::Peer { torrent, peer } => {
                let torrent = *torrent;
                let is_landing = peer.landing().is_some();
                let in_scratch = peer.recv_advance(n, &self.work.limits, now);
                let mut scratch = std::mem::take(&mut self.scratch);
                let mut arrived = scratch.arrived(in_scratch);
                let result = self.on_peer_bytes(id, &mut arrived, now);
                if let Some(throttle) = &mut self.throttle {
                    let landed = if is_landing { n - in_scratch } else { 0 };
                    let payload = (landed + arrived.payload()) as u64;
                    throttle.spend(Way::Down, (id, torrent), payload, now);
                }
                self.scratch = scratch;
                result
            }
            Kind::Tracker(stream) => {
                let progress = stream.exchange.feed(self.scratch.plain(n));
                let whose = (stream.asker, stream.addr);
                self.on_exchange(id, whose, progress, now);
                Ok(())
            }
            Kind::Client(_) => {
                self.on_client_bytes(id, n, now);
                Ok(())
            }
        }
    }

    /// Takes in bytes of a handshake, and what came behind it in the same read: the peer's first
    /// words.
    fn on_stranger_bytes(
        &mut self,
        id: ConnId,
        input: &mut Arrived<'_>,
        now: Instant,
    ) -> Result<(), PeerError> {
        let Some(Conn { kind: Kind::Handshaking(stranger), .. }) = self.conns.find_mut(id) else {
            return Ok(());
        };
        let mut rest = input.chunk();
        let here = rest.len();
        let progress = stranger.state.feed(&mut rest)?;
        let taken = here - rest.len();
        input.consume(taken);
        self.on_handshake(id, progress, now)?;
        if input.is_empty() { Ok(()) } else { self.on_peer_bytes(id, input, now) }
    }

    fn on_handshake(
        &mut self,
        id: ConnId,
        progress: Progress,
        now: Instant,
    ) -> Result<(), PeerError> {
        match progress {
            Progress::More => Ok(()),
            Progress::Head(info_hash) => self.on_stranger(id, info_hash, now),
            Progress::Done(reserved, peer_id) => {
                let Some(Conn { kind: Kind::Handshaking(stranger), .. }) = self.conns.find(id)
                else {
                    return Ok(());
                };
                let (addr, incoming) = (stranger.addr, stranger.incoming);
                let Some(torrent) = stranger.torrent else { return Ok(()) };
                // The deadline was set when the stream was opened.
                let took = now + self.config.handshake_timeout - stranger.deadline;
                let Some(entry) = self.entry(torrent) else {
                    return Err(CloseReason::UnknownTorrent.into());
                };
                if peer_id == entry.peer_id {
                    // The end that dialled reads our id, too; only it knows which address is ours.
                    return if incoming { Ok(()) } else { Err(CloseReason::SelfConnect.into()) };
                }
                if entry.torrent.candidates.is_banned(addr.ip()) {
                    return Err(CloseReason::Banned.into());
                }
                if !entry.torrent.welcomes_peers() {
                    return Err(CloseReason::TorrentStopped.into());
                }
                let inherited = self.drop_duplicate(torrent, peer_id, (addr, incoming), now)?;
                let both = reserved.and(self.offers(torrent));
                let limit = self.config.max_outstanding_requests;
                // Strangers that were answered together may come to their ends together.
                if !self.make_way_in(torrent, id, now) {
                    return Err(CloseReason::TooMany.into());
                }
                let Some(entry) = self.entry(torrent) else { return Ok(()) };
                let geometry = &entry.torrent.geometry;
                let mut peer = Peer::new(addr, peer_id, incoming, both, geometry, limit, now);
                peer.dialled = peer.dialled.or(inherited);
                self.work.stats.histograms.record_duration(Metric::Handshake, took);
                self.note(id, torrent, What::Wire(Note::Received(Said::Handshake)), now);
                self.establish(id, torrent, peer);
                Ok(())
            }
        }
    }

    /// A remote that dialled us has named a torrent: answer with our handshake if it is welcome.
    fn on_stranger(
        &mut self,
        id: ConnId,
        info_hash: InfoHash,
        now: Instant,
    ) -> Result<(), PeerError> {
        let known = self.by_hash.get(&info_hash).copied();
        let Some(torrent) = known else { return Err(CloseReason::UnknownTorrent.into()) };
        let may_join = self.may_join(torrent, id, now);
        let reserved = self.offers(torrent);
        let Some(entry) = self.entry(torrent) else {
            return Err(CloseReason::UnknownTorrent.into());
        };
        if !entry.torrent.welcomes_peers() {
            return Err(CloseReason::TorrentStopped.into());
        }
        if !may_join {
            return Err(CloseReason::TooMany.into());
        }
        let ours = encode(reserved, info_hash, entry.peer_id);
        let Some(Conn { kind: Kind::Handshaking(stranger), .. }) = self.conns.find_mut(id) else {
            return Ok(());
        };
        stranger.torrent = Some(torrent);
        stranger.state.answer(ours);
        // What was read may have been the whole handshake.
        let progress = stranger.state.progress();
        if let Some(entry) = self.entry_mut(torrent) {
            entry.joining.insert(id);
        }
        self.note(id, torrent, What::Wire(Note::Sent(Said::Handshake)), now);
        let progress = progress?;
        self.on_handshake(id, progress, now)
    }

    fn establish(&mut self, id: ConnId, torrent: TorrentId, peer: Peer) {
        let (addr, peer_id, incoming) = (peer.addr, peer.peer_id, peer.incoming);
        self.note(id, torrent, What::Established, peer.connected_at);
        let mut peer = Box::new(peer);
        if self.trace.is_some() {
            peer.watch();
        }
        peer.start_timers(&self.work.limits);
        if let Some(Kind::Handshaking(stranger)) = self.conns.find(id).map(|conn| &conn.kind) {
            peer.send_raw(stranger.state.unsent());
        }
        let (us, dht_port) = (self.us(), self.dht_port(addr));
        let Some(entry) = self.entry_mut(torrent) else { return };
        entry.half_open -= usize::from(!incoming);
        entry.joining.remove(&id);
        entry.last_dial_error = None;
        entry.torrent.peer_joined(id, &mut peer);
        introduce(us, &entry.torrent, &mut peer);
        peer.tell_dht_port(dht_port);
        entry.telling.left += usize::from(entry.telling.at.is_some());
        self.half_open -= usize::from(!incoming);
        self.work.stats.counters.established += 1;
        self.conns.replace(id, Kind::Peer { torrent, peer });
        self.touch(torrent);
        self.queues.events.push_back(Event::PeerConnected { torrent, addr, peer_id, incoming });
    }

    /// Takes in what a peer said: `input`, and what has landed in its own memory.
    fn on_peer_bytes(
        &mut self,
        id: ConnId,
        input: &mut Arrived<'_>,
        now: Instant,
    ) -> Result<(), PeerError> {
        loop {
            let Some((torrent, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else {
                return Ok(());
            };
            let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else {
                return Ok(());
            };
            let Some(event) = peer.next(input, &entry.torrent.geometry, now)? else {
                return Ok(());
            };
            if let PeerEvent::DhtNode(port) = event {
                let addr = SocketAddr::new(peer.addr.ip(), port);
                self.add_dht_nodes([addr], now);
                continue;
            }
            // These may lead to others, sooner or later.
            let may_lead = matches!(
                event,
                PeerEvent::Exchanged(_) | PeerEvent::Introduced(_) | PeerEvent::Metadata(_)
            );
            let seen_at = match event {
                PeerEvent::Introduced(seen_at) => seen_at.map(|ours| (peer.addr.ip(), ours)),
                _ => None,
            };
            let ctx = &mut self.work.ctx(now);
            let useless = entry.torrent.on_peer_event(id, peer, event, ctx);
            if peer.is_interested() && entry.rechoke_at().is_none() {
                let at = now + crate::choker::RECHOKE_INTERVAL;
                entry.rechoke_next(Some(at), &mut self.rechoking);
                self.touch(torrent);
            }
            if may_lead {
                self.touch(torrent);
            }
            if let Some((voter, ours)) = seen_at {
                self.hear_address(voter, ours, now);
            }
            self.apply_cancels();
            self.pass_on_news(torrent, now);
            if let Some(reason) = useless {
                return Err(reason.into());
            }
        }
    }

    /// Cancels what other connections were asked for, and takes back the frames that it was landing
    /// in.
    pub(super) fn apply_cancels(&mut self) {
        let mut cancels = std::mem::take(&mut self.work.cancels);
        for (id, block) in cancels.drain(..) {
            self.mark(id);
            let Some((torrent, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) else {
                continue;
            };
            if let Some(aborted) = peer.cancel_request(block)
                && let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize)
            {
                entry.torrent.landing_aborted(block, aborted, &mut self.work.pool);
            }
        }
        self.work.cancels = cancels;
    }

    pub(super) fn on_sent(&mut self, id: ConnId, n: usize, now: Instant) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        match &mut conn.kind {
            Kind::Dialling(_) => {}
            Kind::Handshaking(stranger) => stranger.state.sent(n),
            Kind::Tracker(stream) => stream.sent += n,
            Kind::Client(_) => self.on_client_sent(id, n, now),
            Kind::Peer { torrent, peer } => {
                let (torrent, parked) = (*torrent, peer.is_parked());
                let mut frames = self.work.pool.row();
                let payload = peer.send_advance(n, &mut frames, &self.work.limits, now);
                if let Some(throttle) = &mut self.throttle {
                    throttle.spend(Way::Up, (id, torrent), payload, now);
                }
                let hungry = peer.wants_upload() || peer.wants_metadata();
                if parked && !peer.is_parked() {
                    self.queues.readable.push_back(id);
                }
                let sent = frame::count(&frames);
                let counters = &mut self.work.stats.counters;
                counters.payload_sent += payload;
                counters.blocks_sent += u64::from(sent);
                self.work.pool.release(Share::Uploads, sent);
                self.work.pool.give_row(frames);
                if let Some(entry) = self.entry_mut(torrent) {
                    entry.torrent.totals.sent(payload, now);
                }
                if hungry {
                    self.mark(id);
                }
                self.schedule(id, now);
            }
        }
    }

    pub(super) fn conn_timeout(&mut self, id: ConnId, at: Instant, now: Instant) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        if conn.wheel_at == at {
            conn.wheel_at = Instant::FAR_FUTURE;
        }
        self.mark(id);
        let Some(conn) = self.conns.find_mut(id) else { return };
        let timer = match &conn.kind {
            Kind::Dialling(dialling) if dialling.deadline <= now => Timer::Connect,
            Kind::Handshaking(stranger) if stranger.deadline <= now => Timer::Handshake,
            Kind::Client(stream) if stream.deadline <= now => Timer::Handshake,
            Kind::Peer { .. } => return self.peer_timeout(id, now),
            _ => return,
        };
        self.close(id, &PeerError::TimedOut(timer), now);
    }

    fn peer_timeout(&mut self, id: ConnId, now: Instant) {
        self.excuse(id, now);
        while let Some((torrent, peer)) = self.conns.find_mut(id).and_then(Conn::as_peer) {
            match peer.handle_timeout(&self.work.limits, now) {
                Ok(None) => return,
                Ok(Some(event)) => {
                    let snubbed = matches!(event, PeerEvent::Snubbed(_));
                    let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) else {
                        return;
                    };
                    entry.torrent.on_peer_event(id, peer, event, &mut self.work.ctx(now));
                    self.touch(torrent);
                    if snubbed {
                        self.note(id, torrent, What::Snubbed, now);
                    }
                }
                Err(error) => return self.close(id, &error, now),
            }
        }
    }

    /// Takes a connection out of everything that knows it. The driver has closed its stream or has
    /// been told to.
    pub(super) fn forget(&mut self, id: ConnId, error: &PeerError, now: Instant) {
        self.note_wire(id, now);
        let Some(conn) = self.conns.remove(id) else { return };
        self.forget_throttled(&conn);
        let kind = conn.kind;
        let (torrent, addr) = (kind.torrent(), kind.addr());
        let dialled = match kind {
            Kind::Tracker(_) | Kind::Client(_) => return,
            Kind::Dialling(_) => true,
            Kind::Handshaking(stranger) => !stranger.incoming,
            Kind::Peer { torrent, mut peer } => {
                self.note(id, torrent, What::Closed(error.into()), now);
                self.peer_gone(id, torrent, &mut peer, error, now);
                return;
            }
        };
        self.note(id, torrent, What::Closed(error.into()), now);
        self.work.stats.counters.failed += 1;
        self.half_open -= usize::from(dialled);
        if let Some(entry) = torrent.and_then(|torrent| self.entry_mut(torrent)) {
            entry.joining.remove(&id);
            if dialled {
                entry.half_open -= 1;
                entry.last_dial_error = Some(error.clone());
                entry.torrent.candidates.ended(addr, fate(error, false), now);
            }
            if let Some(torrent) = torrent {
                self.touch(torrent);
            }
        }
        self.queues.events.push_back(Event::PeerClosed { torrent, addr, error: error.clone() });
    }

    fn peer_gone(
        &mut self,
        id: ConnId,
        torrent: TorrentId,
        peer: &mut Peer,
        error: &PeerError,
        now: Instant,
    ) {
        let addr = peer.addr;
        if let Some(Some(entry)) = self.torrents.get_mut(torrent.0 as usize) {
            let vacant = !peer.is_choked();
            entry.torrent.peer_left(id, peer, &mut self.work.ctx(now));
            entry.optimistic.retain(|other| *other != id);
            if let Some(dialled) = &peer.dialled {
                entry.torrent.candidates.ended(**dialled, fate(error, true), now);
            }
            if vacant && entry.rechoke_at().is_some() {
                entry.rechoke_next(Some(now), &mut self.rechoking);
            }
        }
        self.touch(torrent);
        let event = Event::PeerClosed { torrent: Some(torrent), addr, error: error.clone() };
        self.queues.events.push_back(event);
        if error.is_ban() {
            self.ban(torrent, addr, error, now);
        }
    }

    /// Bans an address from a torrent and closes what it has there.
    pub(super) fn ban(
        &mut self,
        torrent: TorrentId,
        addr: SocketAddr,
        error: &PeerError,
        now: Instant,
    ) {
        let Some(entry) = self.entry_mut(torrent) else { return };
        entry.torrent.candidates.ban(addr.ip());
        let event = Event::PeerBanned { torrent, addr, error: error.clone() };
        self.queues.events.push_back(event);
        let Some(entry) = self.entry(torrent) else { return };
        let same_host = |id: &ConnId| {
            let of = self.conns.find(*id).map(|conn| conn.kind.addr().ip().to_canonical());
            of == Some(addr.ip().to_canonical())
        };
        let doomed: Vec<ConnId> = entry.torrent.peers.values().copied().filter(same_host).collect();
        for id in doomed {
            self.close(id, &CloseReason::Banned.into(), now);
        }
    }

    /// Puts a connection's next deadline into the wheel, if no earlier entry stands.
    pub(super) fn schedule(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        let Some(mut at) = conn.next_timeout() else { return };
        if matches!(conn.kind, Kind::Peer { .. }) {
            at = together(at, now);
        }
        if at < conn.wheel_at {
            conn.wheel_at = at;
            self.wheel.insert(at, super::WheelKey::Conn(id));
        }
    }

    /// Opens a stream for `kind` to `addr`, secured if `tls` names a server.
    pub(super) fn connect(
        &mut self,
        addr: SocketAddr,
        tls: Option<ServerName>,
        kind: Kind,
        now: Instant,
    ) -> ConnId {
        let dialled_for = match &kind {
            Kind::Dialling(dialling) => Some(dialling.torrent),
            _ => None,
        };
        let conn = self.conns.insert(kind);
        if dialled_for.is_some() {
            self.work.stats.counters.dialled += 1;
            self.note(conn, dialled_for, What::Dialled, now);
        }
        self.queues.actions.push_back(Action::Connect { conn, addr, tls });
        self.mark(conn);
        conn
    }
}

/// How far ahead a peer's deadline may be seen to a second late.
const TOGETHER_FROM: Duration = Duration::from_secs(30);

/// Returns when a peer's deadline is seen to: far ones on whole seconds, so that the keep-alives of
/// thousands of peers wake the loop once a second, and not once each.
fn together(at: Instant, now: Instant) -> Instant {
    if at - now < TOGETHER_FROM {
        return at;
    }
    Instant::from_secs(at.as_micros().div_ceil(1_000_000))
}

/// Returns what the end of a dialled connection means for its address.
const fn fate(error: &PeerError, worked: bool) -> Fate {
    match error {
        PeerError::Closed(CloseReason::SelfConnect) => Fate::Ourselves,
        PeerError::Closed(CloseReason::BothSeeds | CloseReason::BothUploadOnly) => Fate::Useless,
        PeerError::Closed(CloseReason::Duplicate) => Fate::Duplicate,
        PeerError::Closed(CloseReason::MadeRoom | CloseReason::Displaced) => Fate::MadeRoom,
        _ if worked => Fate::Worked,
        _ => Fate::Failed,
    }
}

/// Tells whether many hosts may share this address as we see it: loopback and private ranges
/// (DESIGN 15.8).
pub(super) fn hides_many_hosts(ip: IpAddr) -> bool {
    is_local(ip)
}
