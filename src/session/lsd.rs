//! Local service discovery (BEP 14): which torrents are announced on the local network, and what
//! becomes of who is found there.
//!
//! **Invariant:** a torrent that is private (BEP 27), stopped or on its way out is not announced,
//! and nobody is believed to have it; after each call of the machine its next deadline is in the
//! wheel. While nothing is announced there is none.

use std::net::SocketAddr;

use sha1::{Digest, Sha1};

use crate::id::{InfoHash, TorrentId};
use crate::lsd::{Heard, Lsd};
use crate::subnet::Subnet;
use crate::time::Instant;
use crate::torrent::candidates::Source;

use super::io::{Event, Route, Seeds};
use super::{Session, WheelKey};

/// A session's part in local service discovery.
#[derive(Debug)]
pub(super) struct LsdClient {
    lsd: Lsd,
    /// The time of the earliest [`WheelKey::Lsd`] in the wheel.
    wheel_at: Option<Instant>,
}

impl Session {
    /// Has torrents that are not private announced on the local network, and their peers listened
    /// for there, over the sockets for it that have been [named](Session::add_socket) so far.
    ///
    /// Nobody is heard until [`Session::set_networks`] says where we are. To be called at most
    /// once, before the first torrent is added; of no effect without a socket for it.
    pub fn use_lsd(&mut self, now: Instant) {
        if self.datagrams.lsd_sockets().next().is_some() {
            // Whoever is on the local network dials us there, wherever a port is forwarded to us.
            let lsd = Lsd::new(self.config.listen_port, cookie(&self.seeds), now);
            self.lsd = Some(Box::new(LsdClient { lsd, wheel_at: None }));
        }
    }

    /// Takes in which networks this machine is attached to: what is announced by others counts if
    /// it comes from there. Changes nothing that was taken in before.
    pub fn set_networks(&mut self, networks: Vec<Subnet>) {
        if let Some(client) = &mut self.lsd {
            client.lsd.set_networks(networks);
        }
    }

    /// Takes in that the driver cannot announce to a group, or not by one interface, and why. An
    /// application hears of it as [`Event::LsdFailed`]; everything else goes on.
    pub fn lsd_failed(
        &mut self,
        group: SocketAddr,
        interface: Option<String>,
        error: &std::io::Error,
    ) {
        let event = Event::LsdFailed { group, interface, why: error.to_string() };
        self.queues.events.push_back(event);
    }

    /// Has a torrent announced on the local network, or not any more, as it is now.
    pub(super) fn seek_on_lan(&mut self, id: TorrentId, now: Instant) {
        let is_ending = self.shutting_down;
        let Self { lsd: Some(client), torrents, .. } = self else { return };
        let Some(Some(entry)) = torrents.get_mut(id.0 as usize) else { return };
        let is_wanted = entry.is_sought(entry.in_lsd) && !is_ending;
        if std::mem::replace(&mut entry.in_lsd, is_wanted) == is_wanted {
            return;
        }
        if is_wanted {
            client.lsd.add(entry.torrent.info_hash, now);
        } else {
            client.lsd.remove(entry.torrent.info_hash);
        }
        self.schedule_lsd(now);
    }

    /// Announces a torrent on the local network as soon as may be.
    pub(super) fn hasten_on_lan(&mut self, info_hash: InfoHash, now: Instant) {
        if let Some(client) = &mut self.lsd {
            client.lsd.hasten(info_hash);
            self.schedule_lsd(now);
        }
    }

    /// Takes in a datagram that came to a group of the local network.
    pub(super) fn on_lsd_datagram(&mut self, route: Route, datagram: &[u8], now: Instant) {
        let Some(client) = &mut self.lsd else { return };
        let (peer, hashes) = match client.lsd.handle_datagram(route.remote, datagram, now) {
            Heard::Peer(peer, hashes) => (peer, hashes),
            Heard::Nothing => return,
            Heard::Dropped => {
                self.work.stats.counters.lsd_dropped += 1;
                return;
            }
        };
        for hash in hashes {
            let Some(id) = self.by_hash.get(&hash).copied() else { continue };
            let Some(entry) = self.entry_mut(id).filter(|entry| entry.in_lsd) else { continue };
            entry.torrent.candidates.add(peer, Source::Lsd, now);
            self.touch(id);
        }
    }

    /// An announcement may be due.
    pub(super) fn lsd_timeout(&mut self, at: Instant, now: Instant) {
        let Self { lsd: Some(client), datagrams, .. } = self else { return };
        if client.wheel_at == Some(at) {
            client.wheel_at = None;
        }
        let torrents = client.lsd.poll(now);
        if !torrents.is_empty() {
            let sockets: Vec<_> = datagrams.lsd_sockets().collect();
            for (socket, group) in sockets {
                let route = Route { socket, remote: group, local: None };
                datagrams.push(route, |out| client.lsd.write(group.is_ipv4(), &torrents, out));
            }
        }
        self.schedule_lsd(now);
    }

    /// Enters when the next announcement is due into the wheel, if no earlier entry stands.
    fn schedule_lsd(&mut self, now: Instant) {
        let Self { lsd: Some(client), wheel, .. } = self else { return };
        let due = client.lsd.poll_timeout().map(|at| at.max(now));
        if let Some(at) = due.filter(|at| client.wheel_at.is_none_or(|entered| *at < entered)) {
            client.wheel_at = Some(at);
            wheel.insert(at, WheelKey::Lsd);
        }
    }
}

/// Derives from the session's secret what no other client puts into its announcements.
fn cookie(seeds: &Seeds) -> u32 {
    let digest = Sha1::new().chain_update(seeds.secret).chain_update(b"lsd").finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
