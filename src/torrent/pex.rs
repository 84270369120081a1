//! Peer exchange (BEP 11): what peers are told of each other, and what is believed of what they
//! tell.
//!
//! One list of changes serves all peers: each has a place in it up to which it was told. Whoever is
//! new, or has fallen behind the list, is told of some who are here. **Invariant:** a contact is a
//! peer that is connected, at an address where it listens; in one message it is added, dropped, or
//! not there.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::id::ConnId;
use crate::peer::Peer;
use crate::peer::extended::Pex;
use crate::proto::extended::Extension;
use crate::proto::ut_pex::{Exchange, Flags, MAX_CONTACTS};
use crate::time::{Duration, Instant};

use super::candidates::Source;
use super::{Ctx, Torrent};

/// The least time between two exchanges to one peer (BEP 11: "no more frequent than once a
/// minute").
const PEX_INTERVAL: Duration = Duration::from_secs(60);
/// How long news is gathered, for all peers together, so that a large swarm wakes nobody for each
/// who comes.
const GATHER_FOR: Duration = Duration::from_secs(5);
/// The most contacts that others are told of; those who come later are told by others.
const MAX_TOLD: usize = 500;
/// The most changes that are remembered; who was told less than these is told anew.
const MAX_CHANGES: usize = 500;

/// Who is here and whom others could be told of.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    here: BTreeMap<ConnId, (SocketAddr, Flags)>,
    /// Who came (with flags) and went, oldest first. Invariant: at most [`MAX_CHANGES`].
    changes: VecDeque<(SocketAddr, Option<Flags>)>,
    /// How many changes there were before those.
    before: u64,
    /// When peers are to be told next; `None` while all who could be know everything.
    pub(super) look_at: Option<Instant>,
}

impl Contacts {
    /// Takes in who a peer is to others; `None` if they cannot dial it, or it has left.
    fn set(&mut self, conn: ConnId, contact: Option<(SocketAddr, Flags)>, now: Instant) {
        let before = self.here.get(&conn).copied();
        let contact = contact.filter(|_| before.is_some() || self.here.len() < MAX_TOLD);
        if before.map(|(addr, _)| addr) == contact.map(|(addr, _)| addr) {
            return;
        }
        if let Some((addr, _)) = before {
            self.here.remove(&conn);
            self.push(addr, None);
        }
        if let Some((addr, flags)) = contact {
            self.here.insert(conn, (addr, flags));
            self.push(addr, Some(flags));
        }
        self.look_at.get_or_insert(now + GATHER_FOR);
    }

    fn push(&mut self, addr: SocketAddr, change: Option<Flags>) {
        self.changes.push_back((addr, change));
        if self.changes.len() > MAX_CHANGES {
            self.changes.pop_front();
            self.before += 1;
        }
    }

    fn end(&self) -> u64 {
        self.before + self.changes.len() as u64
    }

    /// Tells whether there is something to tell a peer, besides itself.
    fn has_news(&self, conn: ConnId, pex: &Pex) -> bool {
        match pex.told_at {
            None => self.here.len() > usize::from(self.here.contains_key(&conn)),
            Some(_) => pex.cursor < self.end(),
        }
    }

    /// Returns what a peer is to be told, which it is then; `None` if there is nothing.
    fn exchange(&self, conn: ConnId, pex: &mut Pex) -> Option<Exchange> {
        let own = self.here.get(&conn).map(|(addr, _)| *addr);
        let exchange = if pex.told_at.is_none() || pex.cursor < self.before {
            pex.cursor = self.end();
            let others = self.here.values().filter(|(addr, _)| Some(*addr) != own);
            // Whoever came last is told: the others have been, to somebody.
            let added = others.rev().take(MAX_CONTACTS).copied().collect();
            Exchange { added, dropped: Vec::new() }
        } else {
            self.since(pex, own)
        };
        let is_empty = exchange.added.is_empty() && exchange.dropped.is_empty();
        (!is_empty).then_some(exchange)
    }

    /// Returns what has changed since a peer was told last; of one who came and went, nothing.
    fn since(&self, pex: &mut Pex, own: Option<SocketAddr>) -> Exchange {
        let skip = usize::try_from(pex.cursor - self.before).unwrap_or(usize::MAX);
        let mut net: BTreeMap<SocketAddr, (bool, Option<Flags>)> = BTreeMap::new();
        for (addr, change) in self.changes.iter().skip(skip) {
            if net.len() == MAX_CONTACTS && !net.contains_key(addr) {
                break;
            }
            let was_here = net.get(addr).map_or(change.is_none(), |(was_here, _)| *was_here);
            net.insert(*addr, (was_here, *change));
            pex.cursor += 1;
        }
        let mut exchange = Exchange::default();
        for (addr, change) in net.into_iter().filter(|(addr, _)| Some(*addr) != own) {
            match change {
                (false, Some(flags)) => exchange.added.push((addr, flags)),
                (true, None) => exchange.dropped.push(addr),
                _ => {}
            }
        }
        exchange
    }
}

impl Torrent {
    /// Takes in where others can reach a peer, if peers are exchanged at all.
    pub(super) fn note_contact(&mut self, conn: ConnId, peer: &Peer, now: Instant) {
        if self.may_exchange_peers() {
            let flags = |seed| if seed { Flags::SEED } else { Flags::default() };
            let reachable = if peer.incoming { Flags::default() } else { Flags::REACHABLE };
            let seeds = peer.is_seed() || peer.is_upload_only();
            let contact = peer.listen_addr().map(|addr| (addr, reachable.with(flags(seeds))));
            self.contacts.set(conn, contact, now);
        }
        if peer.speaks(Extension::Pex) {
            self.contacts.look_at.get_or_insert(now + GATHER_FOR);
        }
    }

    pub(super) fn forget_contact(&mut self, conn: ConnId, now: Instant) {
        self.contacts.set(conn, None, now);
    }

    /// Forgets who is here: others are not told any more (BEP 27).
    pub(super) fn forget_contacts(&mut self) {
        self.contacts = Contacts::default();
    }

    /// Tells a peer of others, if there is news for it and its last is long enough ago.
    pub fn exchange_peers(&mut self, conn: ConnId, peer: &mut Peer, now: Instant) {
        if !self.may_exchange_peers() {
            return;
        }
        let Some(pex) = peer.pex_mut() else { return };
        let is_due = pex.told_at.is_none_or(|at| at + PEX_INTERVAL <= now);
        if !is_due || !self.contacts.has_news(conn, pex) {
            return;
        }
        if let Some(exchange) = self.contacts.exchange(conn, pex) {
            pex.told_at = Some(now);
            peer.tell_peers(&exchange);
        }
    }

    /// Tells whether there is news for a peer: when it can be told.
    pub fn pex_due(&self, conn: ConnId, peer: &mut Peer, now: Instant) -> Option<Instant> {
        let pex = peer.pex_mut().filter(|pex| self.contacts.has_news(conn, pex))?;
        Some(pex.told_at.map_or(now, |at| at + PEX_INTERVAL))
    }

    /// Returns when peers are to be told of others next.
    pub fn pex_timeout(&self) -> Option<Instant> {
        self.contacts.look_at.filter(|_| self.may_exchange_peers())
    }

    /// Sets when peers are to be told next: not before `next`, and with a pause in between.
    pub fn set_pex_timeout(&mut self, next: Option<Instant>, now: Instant) {
        self.contacts.look_at = next.map(|next| next.max(now + GATHER_FOR));
    }

    /// Tells whether peers are exchanged: not those of a private torrent (BEP 27).
    pub const fn may_exchange_peers(&self) -> bool {
        self.pex && !self.private
    }

    /// Takes in whom a peer knows.
    pub(super) fn on_exchanged(&mut self, peer: &Peer, exchange: &Exchange, ctx: &Ctx<'_>) {
        if !self.may_exchange_peers() {
            return;
        }
        let from = peer.addr.ip().to_canonical();
        let only_uploads = self.is_upload_only();
        let is_of_use =
            |(_, flags): &&(SocketAddr, Flags)| !(only_uploads && flags.has(Flags::SEED));
        let added = exchange.added.iter().filter(is_of_use).map(|(addr, _)| *addr);
        self.candidates.add_all(added, Source::Pex(from), ctx.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(n: u32) -> ConnId {
        ConnId { index: n, generation: 0 }
    }

    fn addr(n: u32) -> SocketAddr {
        let [_, _, high, low] = n.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 6881))
    }

    fn at(s: u64) -> Instant {
        Instant::from_secs(s)
    }

    fn join(contacts: &mut Contacts, peers: std::ops::Range<u32>) {
        for peer in peers {
            contacts.set(conn(peer), Some((addr(peer), Flags::SEED)), at(0));
        }
    }

    /// Tells a peer, and returns the numbers of who was added and dropped.
    fn tell(contacts: &Contacts, peer: u32, pex: &mut Pex) -> (usize, Vec<SocketAddr>) {
        let exchange = contacts.exchange(conn(peer), pex).unwrap_or_default();
        pex.told_at = Some(at(0));
        (exchange.added.len(), exchange.dropped)
    }

    #[test]
    fn a_newcomer_is_told_of_others_and_later_of_changes() {
        let (mut contacts, mut pex) = (Contacts::default(), Pex::default());
        join(&mut contacts, 0..1);
        assert!(!contacts.has_news(conn(0), &pex), "only of itself");
        join(&mut contacts, 1..4);
        assert!(contacts.has_news(conn(0), &pex));
        assert_eq!(tell(&contacts, 0, &mut pex), (3, vec![]));
        assert!(!contacts.has_news(conn(0), &pex));
        contacts.set(conn(2), None, at(0));
        join(&mut contacts, 4..5);
        assert_eq!(tell(&contacts, 0, &mut pex), (1, vec![addr(2)]));
    }

    #[test]
    fn who_comes_and_goes_between_two_exchanges_is_not_told_of() {
        let (mut contacts, mut pex) = (Contacts::default(), Pex::default());
        join(&mut contacts, 0..2);
        assert_eq!(tell(&contacts, 0, &mut pex), (1, vec![]));
        join(&mut contacts, 5..6);
        contacts.set(conn(5), None, at(0));
        contacts.set(conn(1), None, at(0));
        join(&mut contacts, 1..2);
        assert!(contacts.exchange(conn(0), &mut pex).is_none());
        assert_eq!(pex.cursor, contacts.end());
    }

    #[test]
    fn no_message_has_more_than_fifty_of_a_kind_and_the_rest_follows() {
        let (mut contacts, mut pex) = (Contacts::default(), Pex::default());
        join(&mut contacts, 0..2);
        assert_eq!(tell(&contacts, 0, &mut pex), (1, vec![]));
        join(&mut contacts, 2..122);
        let added: Vec<usize> = (0..4).map(|_| tell(&contacts, 0, &mut pex).0).collect();
        assert_eq!(added, [50, 50, 20, 0]);
        let mut late = Pex::default();
        assert_eq!(tell(&contacts, 1, &mut late).0, MAX_CONTACTS);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut contacts, mut pex) = (Contacts::default(), Pex::default());
        join(&mut contacts, 0..2);
        tell(&contacts, 0, &mut pex);
        join(&mut contacts, 2..3_000);
        assert_eq!((contacts.here.len(), contacts.changes.len()), (MAX_TOLD, MAX_CHANGES));
        for peer in 2..400 {
            contacts.set(conn(peer), None, at(0));
        }
        assert_eq!(contacts.changes.len(), MAX_CHANGES);
        assert_eq!(tell(&contacts, 0, &mut pex).0, 50, "it is told anew");
    }
}
