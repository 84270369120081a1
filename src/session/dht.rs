//! The node of the DHT (BEP 5): which torrents are searched for, and what becomes of what is found.
//!
//! There is a node only while it has something to search for, so that a session without torrents,
//! or with private ones alone (BEP 27), makes no wake-ups and sends nothing; who it was and whom it
//! knew is kept for the next one. **Invariant:** after each call of the node, what it has to send
//! and to tell has been passed on, and its next deadline is in the wheel.

use std::net::{IpAddr, SocketAddr};

use crate::dht::{Dht, DhtConfig, DhtEvent, DhtStatus, Family};
use crate::id::{InfoHash, TorrentId};
use crate::proto::handshake::Reserved;
use crate::proto::krpc::AnnouncedPort;
use crate::proto::metainfo::Metainfo;
use crate::time::Instant;
use crate::torrent::candidates::Source;

use super::io::{Event, Route};
use super::status::DhtSummary;
use super::{LookupFor, Session, WheelKey};

/// What begins every message of the DHT, and no answer of a tracker: a bencoded dictionary.
const KRPC_START: u8 = b'd';

/// A session's part in the DHT.
#[derive(Debug)]
pub(super) struct DhtClient {
    config: DhtConfig,
    /// What the last node has left, or that of an earlier process.
    saved: Vec<u8>,
    /// `None` while no torrent is searched for.
    node: Option<Box<Dht>>,
    /// The time of the earliest [`WheelKey::Dht`] in the wheel.
    wheel_at: Option<Instant>,
}

impl Session {
    /// Has torrents that are not private announced to the DHT and their peers looked for there,
    /// from the datagram sockets for peers that have been [named](Session::add_socket) so far.
    /// Also speaks of it to peers (BEP 5, "`port`").
    ///
    /// `saved` is what [`Session::save_dht`] gave in an earlier run, or nothing; what cannot be
    /// read of it is left out. To be called at most once, before the first torrent is added.
    pub fn use_dht(&mut self, config: DhtConfig, saved: Vec<u8>) {
        let has = |of: SocketAddr| self.datagrams.socket_to(of).is_some();
        let v4 = config.v4 && has(SocketAddr::from(([0; 4], 0)));
        let v6 = config.v6 && has(SocketAddr::from(([0_u16; 8], 0)));
        if v4 || v6 {
            let config = DhtConfig { v4, v6, ..config };
            let client = DhtClient { config, saved, node: None, wheel_at: None };
            self.dht = Some(Box::new(client));
        }
    }

    /// Returns how the node of the DHT stands; `None` while there is none: see
    /// [`Session::use_dht`]. O(nodes).
    pub fn dht(&self, now: Instant) -> Option<DhtStatus> {
        self.dht.as_ref()?.node.as_ref().map(|node| node.status(now))
    }

    /// Returns what to give to [`Session::use_dht`] in the next run, at most
    /// [`crate::dht::MAX_SAVED_LEN`] bytes; empty if nobody was ever known.
    pub fn save_dht(&self, now: Instant) -> Vec<u8> {
        let Some(client) = &self.dht else { return Vec::new() };
        client.node.as_ref().map_or_else(|| client.saved.clone(), |node| node.save(now))
    }

    /// Returns how the DHT stands as far as it is of use to one torrent.
    pub(super) fn dht_summary(&self, torrent: TorrentId, now: Instant) -> Option<DhtSummary> {
        self.entry(torrent).filter(|entry| entry.in_dht)?;
        let status = self.dht(now)?;
        Some(DhtSummary {
            nodes: status.sides.iter().map(|side| side.table.nodes).sum(),
            is_joined: status.sides.iter().any(|side| side.is_joined),
        })
    }

    /// Has a torrent searched for in the DHT, or not any more, as it is now.
    pub(super) fn seek_in_dht(&mut self, id: TorrentId, now: Instant) {
        if self.dht.is_none() {
            return;
        }
        let is_ending = self.shutting_down;
        let Some(entry) = self.entry_mut(id) else { return };
        let is_wanted = entry.is_sought(entry.in_dht) && !is_ending;
        if std::mem::replace(&mut entry.in_dht, is_wanted) == is_wanted {
            return;
        }
        let (info_hash, hosts) = (entry.torrent.info_hash, entry.dht_hosts.to_vec());
        if is_wanted {
            let port = self.config.announced().0;
            let announce = (port != 0).then_some(AnnouncedPort::Explicit(port));
            self.wake_dht(now).search(info_hash, announce, now);
            self.tell_dht_where_we_are(now);
            self.look_up_dht_nodes(hosts, now);
        } else if let Some(client) = &mut self.dht
            && let Some(node) = &mut client.node
        {
            node.forget(info_hash);
            if !node.is_searching() {
                client.saved = node.save(now);
                client.node = None;
            }
        }
        self.pass_on_dht(None, now);
    }

    /// Keeps where a torrent says that there are nodes.
    pub(super) fn set_dht_hosts(&mut self, id: TorrentId, metainfo: &Metainfo) {
        let hosts = if self.dht.is_some() { &metainfo.nodes[..] } else { &[] };
        if let Some(entry) = self.entry_mut(id) {
            entry.dht_hosts = hosts.into();
        }
    }

    /// Searches sooner than usual for a torrent that has too few peers.
    pub(super) fn hasten_in_dht(&mut self, info_hash: InfoHash, now: Instant) {
        if let Some(node) = self.dht_node() {
            node.hasten(info_hash, now);
            self.pass_on_dht(None, now);
        }
    }

    /// Takes in a datagram that came to a socket for peers; `false` if it is none of the DHT's.
    pub(super) fn on_dht_datagram(&mut self, route: Route, datagram: &[u8], now: Instant) -> bool {
        let is_ours = datagram.first() == Some(&KRPC_START);
        if is_ours && let Some(node) = self.dht_node() {
            node.handle_datagram(route.remote, datagram, now);
            self.pass_on_dht(Some(route), now);
        }
        is_ours
    }

    /// A deadline of the node has passed.
    pub(super) fn dht_timeout(&mut self, at: Instant, now: Instant) {
        let Some(client) = &mut self.dht else { return };
        if client.wheel_at == Some(at) {
            client.wheel_at = None;
        }
        if let Some(node) = &mut client.node {
            node.handle_timeout(now);
            self.pass_on_dht(None, now);
        }
    }

    /// Takes in that there may be nodes at these addresses.
    pub(super) fn add_dht_nodes(
        &mut self,
        addrs: impl IntoIterator<Item = SocketAddr>,
        now: Instant,
    ) {
        if let Some(node) = self.dht_node() {
            node.add_nodes(addrs, now);
            self.pass_on_dht(None, now);
        }
    }

    /// Takes in hosts and ports at which there may be nodes.
    pub(super) fn look_up_dht_nodes(&mut self, hosts: Vec<(String, u16)>, now: Instant) {
        for (host, port) in hosts {
            let is_asked = |(purpose, asked, at): &(LookupFor, String, u16)| {
                *purpose == LookupFor::DhtNode && *asked == host && *at == port
            };
            if let Ok(ip) = host.parse::<IpAddr>() {
                self.add_dht_nodes([SocketAddr::new(ip, port)], now);
            } else if !self.lookups.values().any(is_asked) {
                self.new_lookup(LookupFor::DhtNode, host, port);
            }
        }
    }

    /// Returns what we offer the peers of a torrent in the handshake.
    pub(super) fn offers(&self, torrent: TorrentId) -> Reserved {
        let is_private = self.entry(torrent).is_none_or(|entry| entry.torrent.is_private());
        if self.dht.is_some() && !is_private { Reserved::OURS.with_dht() } else { Reserved::OURS }
    }

    /// Returns the port at which a peer at `remote` finds our node; `None` if there is none for it.
    pub(super) fn dht_port(&self, remote: SocketAddr) -> Option<u16> {
        self.dht.as_ref()?;
        self.datagrams.port_to(remote)
    }

    /// Tells the node where others see us, unless it has heard that from its like.
    pub(super) fn place_in_dht(&mut self, family: Family, ip: IpAddr, now: Instant) {
        let node = self.dht_node();
        if let Some(node) = node.filter(|node| node.external(family).is_none()) {
            node.set_external(ip, now);
            self.pass_on_dht(None, now);
        }
    }

    fn dht_node(&mut self) -> Option<&mut Dht> {
        self.dht.as_mut()?.node.as_deref_mut()
    }

    /// Returns the node, made anew from what the last one has left if there is none.
    fn wake_dht(&mut self, now: Instant) -> &mut Dht {
        let Self { dht, seeds, work, .. } = self;
        let client = dht.as_mut().expect("whoever searches has looked that there is one");
        client.node.get_or_insert_with(|| {
            let config = client.config.clone();
            Box::new(Dht::new(config, &client.saved, seeds.secret, work.rng.fork(), now))
        })
    }

    /// Hands what is to be sent to the driver and what is told to whom it is for, and enters what
    /// is due next into the wheel. What answers a datagram goes `back` the way that it came.
    fn pass_on_dht(&mut self, back: Option<Route>, now: Instant) {
        let Self { dht: Some(client), datagrams, wheel, .. } = self else { return };
        let Some(node) = &mut client.node else { return };
        while let Some((remote, datagram)) = node.poll_datagram() {
            let back = back.filter(|route| route.remote == remote);
            let anew = || Some(Route { socket: datagrams.socket_to(remote)?, remote, local: None });
            if let Some(route) = back.or_else(anew) {
                datagrams.push(route, |out| out.extend_from_slice(datagram));
            }
        }
        let due = node.poll_timeout().map(|at| at.max(now));
        if let Some(at) = due.filter(|at| client.wheel_at.is_none_or(|entered| *at < entered)) {
            client.wheel_at = Some(at);
            wheel.insert(at, WheelKey::Dht);
        }
        self.pass_on_dht_events(now);
    }

    fn pass_on_dht_events(&mut self, now: Instant) {
        let mut wanted = Vec::new();
        while let Some(event) = self.dht_node().and_then(Dht::poll_event) {
            match event {
                DhtEvent::Peers { info_hash, peers } => self.on_dht_peers(info_hash, &peers, now),
                DhtEvent::Resolve { host, port } => wanted.push((host, port)),
                DhtEvent::Joined { family, nodes } => {
                    self.queues.events.push_back(Event::DhtJoined { family, nodes });
                }
                DhtEvent::ExternalAddress(ip) => self.dht_sees_us(ip),
                DhtEvent::Searched { .. } | DhtEvent::Found { .. } => {}
            }
        }
        self.look_up_dht_nodes(wanted, now);
    }

    fn on_dht_peers(&mut self, info_hash: InfoHash, peers: &[SocketAddr], now: Instant) {
        let Some(id) = self.by_hash.get(&info_hash).copied() else { return };
        let Some(entry) = self.entry_mut(id).filter(|entry| entry.in_dht) else { return };
        entry.torrent.candidates.add_all(peers.iter().copied(), Source::Dht, now);
        self.touch(id);
    }
}
