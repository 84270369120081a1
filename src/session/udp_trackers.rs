//! Trackers that are asked in datagrams: whose question each is, and from which socket it leaves.
//!
//! What is sent when, and what counts as an answer, [`UdpTrackers`] decides. Here its exchanges
//! meet the torrents that they are for, the driver's sockets and the wheel. **Invariant:** after
//! each call of it, what it has to send and to tell has been passed on.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::io::Route;
use super::questions::Asker;
use super::{Session, WheelKey};
use crate::time::Instant;
use crate::tracker::{AskId, TrackerError, UdpAsk, UdpProgress, UdpTrackers};

/// The exchanges over UDP and who wants to know.
#[derive(Debug)]
pub(super) struct UdpClient {
    trackers: UdpTrackers,
    /// Whose each exchange is, and whom it asks.
    owners: BTreeMap<AskId, (Asker, SocketAddr)>,
    /// The time of the earliest [`WheelKey::UdpTrackers`] in the wheel.
    wheel_at: Option<Instant>,
}

impl UdpClient {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        let trackers = UdpTrackers::new(secret);
        Self { trackers, owners: BTreeMap::new(), wheel_at: None }
    }

    /// Forgets an exchange.
    pub(super) fn give_up(&mut self, ask: AskId) {
        self.owners.remove(&ask);
        self.trackers.give_up(ask);
    }

    /// Tells whether an exchange has reached its tracker.
    pub(super) fn is_reached(&self, ask: AskId) -> bool {
        self.trackers.is_reached(ask)
    }
}

impl Session {
    /// Begins to ask the tracker at `addr`.
    ///
    /// # Errors
    /// [`TrackerError::Connect`] if the driver has no socket of that family.
    pub(super) fn ask_by_datagram(
        &mut self,
        asker: Asker,
        addr: SocketAddr,
        ask: UdpAsk,
        now: Instant,
    ) -> Result<AskId, TrackerError> {
        if self.datagrams.socket_to(addr).is_none() {
            return Err(TrackerError::Connect(ErrorKind::AddrNotAvailable));
        }
        let id = self.udp.trackers.ask(addr, ask, now);
        self.udp.owners.insert(id, (asker, addr));
        self.pass_on_datagrams(now);
        Ok(id)
    }

    /// Takes in a datagram on a socket from which trackers are asked.
    pub(super) fn on_tracker_datagram(&mut self, route: Route, datagram: &[u8], now: Instant) {
        if self.udp.trackers.handle_datagram(route.remote, datagram, now) {
            self.pass_on_datagrams(now);
            self.pass_on_answers(now);
        }
    }

    /// Sends again what was not answered.
    pub(super) fn ask_again_by_datagram(&mut self, at: Instant, now: Instant) {
        if self.udp.wheel_at == Some(at) {
            self.udp.wheel_at = None;
        }
        self.udp.trackers.handle_timeout(now);
        self.pass_on_datagrams(now);
    }

    /// Hands what is to be sent to the driver, and enters what is due next into the wheel.
    fn pass_on_datagrams(&mut self, now: Instant) {
        let Self { udp, datagrams, .. } = self;
        while let Some(transmit) = udp.trackers.poll_transmit() {
            let remote = transmit.to;
            let Some(socket) = datagrams.socket_to(remote) else { continue };
            let route = Route { socket, remote, local: None };
            datagrams.push(route, |out| udp.trackers.write(transmit, out));
        }
        let due = udp.trackers.poll_timeout().map(|at| at.max(now));
        if let Some(at) = due.filter(|at| udp.wheel_at.is_none_or(|entered| *at < entered)) {
            udp.wheel_at = Some(at);
            self.wheel.insert(at, WheelKey::UdpTrackers);
        }
    }

    /// Tells who asked what came of it.
    fn pass_on_answers(&mut self, now: Instant) {
        while let Some((ask, progress)) = self.udp.trackers.poll() {
            let Some((asker, addr)) = self.udp.owners.get(&ask).copied() else { continue };
            if progress != UdpProgress::Reached {
                self.udp.owners.remove(&ask);
            }
            let torrent = match asker {
                Asker::Torrent(torrent) => torrent,
                Asker::Question(question) => {
                    self.on_question_datagram(question, progress, now);
                    continue;
                }
            };
            let result = match progress {
                UdpProgress::Reached => {
                    self.tracker_connected(torrent, now);
                    continue;
                }
                UdpProgress::Announced(reply) => Ok(reply),
                UdpProgress::Refused(failure) => Err(TrackerError::Failure(failure)),
                // No torrent asks for one.
                UdpProgress::Scraped(_) => Err(TrackerError::GivenUp),
            };
            match result {
                Ok(reply) => self.announce_answered(torrent, addr, reply, now),
                Err(error) => self.announce_failed(torrent, error, now),
            }
        }
    }
}
