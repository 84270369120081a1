//! Datagrams between hosts: each on its own, late by chance, and some never or twice.
//!
//! One to a group comes to every host of the sender's local network, itself included, each with its
//! own luck. **Invariant:** a datagram arrives whole or not at all; nothing tells its sender which.

use std::net::SocketAddr;

use super::agenda::Happening;
use super::check::Entry;
use super::host::Input;
use super::{HostId, Sim};
use crate::session::Session;
use crate::session::io::{MAX_DATAGRAM_LEN, Route, SocketId};

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(super) struct Flying {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Sim {
    /// Sends what a session has to send.
    pub(super) fn send_datagrams(&mut self, id: HostId, session: &mut Session) {
        let mut buf = [0; MAX_DATAGRAM_LEN];
        while let Some(transmit) = session.poll_datagram(&mut buf) {
            let at = &self.hosts[id.0];
            let port = at.sockets.get(usize::from(transmit.route.socket.0));
            let port = *port.expect("the session names sockets that it was told of");
            let from = SocketAddr::new(at.ip, port);
            self.send_datagram(id, from, transmit.route.remote, buf[..transmit.len].to_vec());
        }
    }

    /// Sends a datagram from a host to another, or to a group.
    pub(super) fn send_datagram(
        &mut self,
        id: HostId,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        self.note(id, Entry::DatagramSent, to.port().into(), bytes.len() as u64);
        let flying = Flying { from, to, bytes };
        if to.ip().is_multicast() {
            let hosts = (0..self.hosts.len()).map(HostId);
            let is_near = |other: &HostId| self.hosts[id.0].shares_lan(&self.hosts[other.0]);
            let near: Vec<HostId> = hosts.filter(is_near).collect();
            for target in near {
                self.launch(id, target, &flying);
            }
        } else if let Some(target) = self.by_ip.get(&to.ip().to_canonical()) {
            self.launch(id, *target, &flying);
        }
    }

    /// Has a datagram arrive after a latency, unless it is lost.
    fn launch(&mut self, id: HostId, target: HostId, flying: &Flying) {
        let link = *self.net.link_mut(id);
        let lost = self.rng.below_u32(1_000) < link.lost_datagrams_per_mille;
        if lost || !self.net.is_reachable(id, target) {
            return;
        }
        let twice = self.rng.below_u32(1_000) < link.doubled_datagrams_per_mille;
        for _ in 0..=u32::from(twice) {
            let late = link.datagram_jitter.mul_f64(self.rng.unit());
            let delay = self.net.latency(id, target) + late;
            self.agenda.enter_in(delay, Happening::Datagram(target, flying.clone()));
        }
    }

    /// A datagram has come to a host.
    pub(super) fn on_datagram(&mut self, id: HostId, flying: Flying) {
        if !self.net.is_reachable(id, id) {
            return;
        }
        let Flying { from, to, bytes } = flying;
        let at = &self.hosts[id.0];
        if at.actor.is_some() {
            return self.with_actor(id, |actor, io| actor.datagram(to.port(), from, &bytes, io));
        }
        let socket = at.sockets.iter().position(|port| *port == to.port());
        if let Some(socket) = socket.filter(|_| at.session.is_some()) {
            let socket = SocketId(u16::try_from(socket).expect("a host has a handful of sockets"));
            let route = Route { socket, remote: from, local: Some(to.ip()) };
            self.tell(id, Input::Datagram(route, bytes));
        }
    }
}
