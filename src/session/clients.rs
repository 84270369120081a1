//! Clients of the embedded tracker: their streams, from the first byte to the last.
//!
//! They have connections of their own, which those of peers are not counted against, nor they
//! against those of peers.

use std::net::SocketAddr;

use super::conns::{ClientStream, Conn, Kind};
use super::streams::hides_many_hosts;
use super::{Session, WheelKey};
use crate::id::ConnId;
use crate::peer::error::CloseReason;
use crate::time::Instant;
use crate::tracker_server::{
    HttpServerConn, Sent, ServedFile, ServerConfig, ServerStatus, TrackerServer,
};

impl Session {
    /// Makes the session answer announces and scrapes on [`super::io::Listener::Tracker`], over
    /// streams and datagrams (BEP 3, BEP 15, BEP 48).
    pub fn serve_tracker(&mut self, config: ServerConfig) {
        self.tracker_server = Some(Box::new(TrackerServer::new(config, self.seeds.secret)));
    }

    /// Returns how the embedded tracker stands; `None` while it is off. O(torrents tracked).
    pub fn tracker(&self) -> Option<ServerStatus> {
        self.tracker_server.as_ref().map(|server| server.status())
    }

    /// Has the embedded tracker serve these files over HTTP, instead of those before. Nothing
    /// happens while it is off.
    pub fn serve_files(&mut self, files: Vec<ServedFile>) {
        if let Some(server) = &mut self.tracker_server {
            server.serve_files(files);
        }
    }

    /// Returns what becomes of a client that was accepted; `None` if there is no room for it.
    pub(super) fn welcome_client(&self, addr: SocketAddr, deadline: Instant) -> Option<Kind> {
        self.tracker_server.as_ref()?;
        let crowded = !hides_many_hosts(addr.ip())
            && self.conns.of_addr(addr.ip()) >= self.config.max_tracker_conns_per_addr;
        if crowded || self.conns.clients() >= self.config.max_tracker_conns {
            return None;
        }
        let conn = HttpServerConn::new(addr);
        Some(Kind::Client(Box::new(ClientStream { addr, conn, deadline })))
    }

    /// Takes in `n` bytes of a client's request.
    pub(super) fn on_client_bytes(&mut self, id: ConnId, n: usize, now: Instant) {
        let keep_alive = self.has_room_for_more_clients();
        let Some(Conn { kind: Kind::Client(stream), .. }) = self.conns.find_mut(id) else { return };
        let Some(server) = &mut self.tracker_server else { return };
        stream.conn.feed(self.scratch.plain(n), server, keep_alive, &mut self.work.rng, now);
        self.plan_sweep(now);
    }

    /// Takes in that `n` bytes of an answer were sent.
    pub(super) fn on_client_sent(&mut self, id: ConnId, n: usize, now: Instant) {
        let keep_alive = self.has_room_for_more_clients();
        let Some(Conn { kind: Kind::Client(stream), .. }) = self.conns.find_mut(id) else { return };
        match stream.conn.sent(n) {
            Sent::More => {}
            Sent::Close => self.close(id, &CloseReason::Remote.into(), now),
            Sent::Next => {
                stream.deadline = now + self.config.handshake_timeout;
                if let Some(server) = &mut self.tracker_server {
                    stream.conn.proceed(server, keep_alive, &mut self.work.rng, now);
                }
                if stream.conn.is_answering() {
                    self.mark(id);
                } else {
                    self.queues.readable.push_back(id);
                }
            }
        }
    }

    /// Tells whether a client may keep its connection for another request: not when those who come
    /// need the places.
    fn has_room_for_more_clients(&self) -> bool {
        self.conns.clients() <= self.config.max_tracker_conns / 2
    }

    /// Sees to it that stale peers are dropped some time, while there are any peers.
    pub(super) fn plan_sweep(&mut self, now: Instant) {
        if self.sweeps_tracker {
            return;
        }
        if let Some(after) = self.tracker_server.as_ref().and_then(|server| server.sweep_after()) {
            self.sweeps_tracker = true;
            self.wheel.insert(now + after, WheelKey::TrackerSweep);
        }
    }

    /// Drops stale peers of the embedded tracker.
    pub(super) fn sweep_tracker(&mut self, now: Instant) {
        self.sweeps_tracker = false;
        if let Some(server) = &mut self.tracker_server {
            server.expire(now);
        }
        self.plan_sweep(now);
    }
}
