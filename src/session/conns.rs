//! The connection table: generational slots, and what a connection is at each moment of its life.
//!
//! ```text
//!  Dialling ──connected──▶ Handshaking ──done──▶ Peer
//!  accepted ─────────────▶ Handshaking ──done──▶ Peer
//!  Tracker: an announce of ours          Client: somebody's request to our own tracker
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use crate::id::{ConnId, TorrentId, index};
use crate::peer::Peer;
use crate::peer::handshake::Handshaking;
use crate::session::questions::Asker;
use crate::time::Instant;
use crate::tracker::Exchange;
use crate::tracker_server::HttpServerConn;

/// All connections of a session.
#[derive(Debug, Default)]
pub(super) struct Conns {
    slots: Slab<Conn>,
    /// How often each slot has been used; grows to the most connections there ever were at a time.
    generations: Vec<u32>,
    /// How many connections each address has. Invariant: no entry is zero.
    per_addr: BTreeMap<IpAddr, u32>,
    /// Invariant: the accepted connections that are [`Kind::Handshaking`].
    pending_handshakes: usize,
    /// Invariant: the connections that are [`Kind::Client`].
    clients: usize,
}

/// One connection: what is looked at often, and the rest of it by its kind.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a line that it stands in")]
pub(super) struct Conn {
    pub id: ConnId,
    pub kind: Kind,
    /// Whether it is to be looked at in `end_turn`.
    pub dirty: bool,
    /// Whether the driver is to be told that there is something to send.
    pub queued: bool,
    /// Whether it stands in line for leave to receive payload, and to send it.
    pub waits_down: bool,
    pub waits_up: bool,
    /// The time of its earliest entry in the wheel; [`Instant::FAR_FUTURE`] while it has none.
    pub wheel_at: Instant,
}

/// What a connection is.
#[derive(Debug)]
pub(super) enum Kind {
    /// The driver opens a stream to a peer.
    Dialling(Box<Dialling>),
    /// Handshakes are exchanged.
    Handshaking(Box<Stranger>),
    /// An established peer.
    Peer { torrent: TorrentId, peer: Box<Peer> },
    /// An announce or a question of ours; its deadline is its asker's.
    Tracker(Box<TrackerStream>),
    /// A client of the embedded tracker.
    Client(Box<ClientStream>),
}

/// A stream to a peer that is being opened.
#[derive(Debug)]
pub(super) struct Dialling {
    pub addr: SocketAddr,
    pub torrent: TorrentId,
    pub deadline: Instant,
}

/// A remote before its handshake is complete.
#[derive(Debug)]
pub(super) struct Stranger {
    pub addr: SocketAddr,
    /// Known from the start if we dialled.
    pub torrent: Option<TorrentId>,
    pub state: Handshaking,
    pub incoming: bool,
    pub deadline: Instant,
}

/// The stream of an announce or a question of ours.
#[derive(Debug)]
pub(super) struct TrackerStream {
    pub addr: SocketAddr,
    pub asker: Asker,
    pub exchange: Exchange,
    pub sent: usize,
}

/// The stream of a client of the embedded tracker.
#[derive(Debug)]
pub(super) struct ClientStream {
    pub addr: SocketAddr,
    pub conn: HttpServerConn,
    /// Until when its request is to be here and answered.
    pub deadline: Instant,
}

impl Conns {
    /// Adds a connection.
    pub(super) fn insert(&mut self, kind: Kind) -> ConnId {
        let entry = self.slots.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("a process has fewer than 2^32 streams");
        if self.generations.len() <= entry.key() {
            self.generations.push(0);
        }
        let id = ConnId { index: slot, generation: self.generations[entry.key()] };
        *self.per_addr.entry(kind.addr().ip()).or_default() += 1;
        self.pending_handshakes += usize::from(is_pending(&kind));
        self.clients += usize::from(matches!(kind, Kind::Client(_)));
        let wheel_at = Instant::FAR_FUTURE;
        let conn = Conn {
            id,
            kind,
            dirty: false,
            queued: false,
            waits_down: false,
            waits_up: false,
            wheel_at,
        };
        entry.insert(conn);
        id
    }

    /// Returns a connection, if the name is not stale.
    pub(super) fn find(&self, id: ConnId) -> Option<&Conn> {
        self.slots.get(id.index as usize).filter(|conn| conn.id == id)
    }

    /// Returns a connection, if the name is not stale.
    pub(super) fn find_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots.get_mut(id.index as usize).filter(|conn| conn.id == id)
    }

    /// Makes a connection something else, to the same address, and returns what it was.
    pub(super) fn replace(&mut self, id: ConnId, kind: Kind) -> Option<Kind> {
        let now = usize::from(is_pending(&kind));
        let before = std::mem::replace(&mut self.find_mut(id)?.kind, kind);
        self.pending_handshakes = self.pending_handshakes + now - usize::from(is_pending(&before));
        Some(before)
    }

    /// Takes a connection out; its name is stale from now on.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.find(id)?;
        let conn = self.slots.remove(id.index as usize);
        let generation = &mut self.generations[id.index as usize];
        *generation = generation.wrapping_add(1);
        self.pending_handshakes -= usize::from(is_pending(&conn.kind));
        self.clients -= usize::from(matches!(conn.kind, Kind::Client(_)));
        let ip = conn.kind.addr().ip();
        if let Some(count) = self.per_addr.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_addr.remove(&ip);
            }
        }
        Some(conn)
    }

    /// Returns how many connections there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns how many connections `ip` has.
    pub(super) fn of_addr(&self, ip: IpAddr) -> usize {
        self.per_addr.get(&ip).map_or(0, |count| index(*count))
    }

    /// Returns how many accepted connections have not finished their handshake.
    pub(super) const fn pending_handshakes(&self) -> usize {
        self.pending_handshakes
    }

    /// Returns how many clients of the embedded tracker there are.
    pub(super) const fn clients(&self) -> usize {
        self.clients
    }

    /// Returns all connections, in slot order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().map(|(_, conn)| conn)
    }
}

fn is_pending(kind: &Kind) -> bool {
    matches!(kind, Kind::Handshaking(stranger) if stranger.incoming)
}

impl Kind {
    /// Returns the remote's address.
    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::Dialling(dialling) => dialling.addr,
            Self::Handshaking(stranger) => stranger.addr,
            Self::Peer { peer, .. } => peer.addr,
            Self::Tracker(stream) => stream.addr,
            Self::Client(stream) => stream.addr,
        }
    }

    /// Returns the torrent that it is about, if that is known.
    pub(super) fn torrent(&self) -> Option<TorrentId> {
        match self {
            Self::Dialling(dialling) => Some(dialling.torrent),
            Self::Handshaking(stranger) => stranger.torrent,
            Self::Peer { torrent, .. } => Some(*torrent),
            Self::Tracker(stream) => stream.asker.torrent(),
            Self::Client(_) => None,
        }
    }
}

impl Conn {
    /// Returns the peer and its torrent, if it is one.
    pub(super) fn as_peer(&mut self) -> Option<(TorrentId, &mut Peer)> {
        match &mut self.kind {
            Kind::Peer { torrent, peer } => Some((*torrent, peer)),
            _ => None,
        }
    }

    /// Returns when it is to be looked at next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Dialling(dialling) => Some(dialling.deadline),
            Kind::Handshaking(stranger) => Some(stranger.deadline),
            Kind::Peer { peer, .. } => peer.next_timeout(),
            Kind::Tracker(_) => None,
            Kind::Client(stream) => Some(stream.deadline),
        }
    }

    /// Tells whether something is to be sent.
    pub(super) fn wants_send(&self) -> bool {
        match &self.kind {
            Kind::Dialling(_) => false,
            Kind::Handshaking(stranger) => !stranger.state.unsent().is_empty(),
            Kind::Peer { peer, .. } => peer.wants_send(),
            Kind::Tracker(stream) => stream.sent < stream.exchange.request().len(),
            Kind::Client(stream) => stream.conn.is_answering(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1);

    fn handshaking() -> Kind {
        Kind::Handshaking(Box::new(Stranger {
            addr: ADDR,
            torrent: None,
            state: Handshaking::accepted(),
            incoming: true,
            deadline: Instant::ZERO,
        }))
    }

    /// There are thousands of them: who makes one larger, does it here too, and knows why.
    #[test]
    fn what_every_connection_costs_is_small() {
        assert!(size_of::<Conn>() <= 40, "{}", size_of::<Conn>());
        assert!(size_of::<Stranger>() <= 208, "{}", size_of::<Stranger>());
        // The tape made it 344, for which the usual allocator takes as much as for 336.
        assert!(size_of::<Peer>() <= 344, "{}", size_of::<Peer>());
    }

    #[test]
    fn a_reused_slot_has_another_name() {
        let mut conns = Conns::default();
        let first = conns.insert(handshaking());
        assert!(conns.remove(first).is_some() && conns.remove(first).is_none());
        let second = conns.insert(handshaking());
        assert_eq!(first.index, second.index);
        assert!(conns.find(first).is_none() && conns.find(second).is_some());
    }

    #[test]
    fn counts_follow_the_life_of_a_connection() {
        let mut conns = Conns::default();
        let one = conns.insert(handshaking());
        let two = conns.insert(handshaking());
        assert_eq!((conns.pending_handshakes(), conns.of_addr(ADDR.ip())), (2, 2));
        let torrent = TorrentId(0);
        let dialling = Dialling { addr: ADDR, torrent, deadline: Instant::ZERO };
        conns.replace(one, Kind::Dialling(Box::new(dialling)));
        assert_eq!(conns.pending_handshakes(), 1);
        conns.remove(one);
        conns.remove(two);
        assert_eq!((conns.pending_handshakes(), conns.of_addr(ADDR.ip()), conns.len()), (0, 0, 0));
        assert!(conns.per_addr.is_empty());
    }
}
