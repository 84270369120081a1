//! The local network: by which interfaces announcements (BEP 14) leave and come.
//!
//! Interfaces come and go, so they are looked at anew before each announcement. **Invariant:** only
//! those are used by which traffic may leave, and where somebody listens who could be dialled.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::UdpSocket;

use super::egress::Egress;
use super::interfaces::{self, Assigned};
use super::net;
use crate::subnet::Subnet;

/// The interfaces that announcements use.
#[derive(Debug)]
pub(super) struct Lan {
    egress: Egress,
    /// Where peers are listened for; empty if they are not.
    listening: Vec<SocketAddr>,
    /// One address of each interface and family: by these ways an announcement leaves. Invariant:
    /// at most [`MAX_INTERFACES`] of a family.
    ways: Vec<Assigned>,
    /// The interfaces by which the group of a family was joined, as [`Lan::key`] names them.
    joined: BTreeSet<(bool, u32)>,
    /// Those that could not join, which was told.
    refused: BTreeSet<(bool, u32)>,
    /// Whether the system could not be asked for interfaces, which was told.
    is_blind: bool,
}

/// The most interfaces of a family that announcements use: as many as one socket may join a group
/// by (`net.ipv4.igmp_max_memberships`, 20 on Linux).
const MAX_INTERFACES: usize = 20;

impl Lan {
    /// Uses the interfaces by which `egress` lets traffic leave, if somebody listens there: at one
    /// of `listening`, all of them if that is empty. None before [`Lan::look`].
    pub(super) fn new(egress: Egress, listening: Vec<SocketAddr>) -> Self {
        Self {
            egress,
            listening,
            ways: Vec::new(),
            joined: BTreeSet::new(),
            refused: BTreeSet::new(),
            is_blind: false,
        }
    }

    /// Looks at which interfaces there are; returns the networks that they attach this machine to,
    /// and if the system cannot be asked any more, why.
    pub(super) fn look(&mut self) -> (Vec<Subnet>, Option<io::Error>) {
        self.ways.clear();
        let mut networks = Vec::new();
        let (assigned, error) = match interfaces::assigned() {
            Ok(assigned) => (assigned, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let was_blind = std::mem::replace(&mut self.is_blind, error.is_some());
        for mut it in assigned {
            let Some(source) = self.egress.source_at(&it) else { continue };
            it.addr = source;
            if !self.is_heard_at(source) {
                continue;
            }
            networks.push(it.subnet);
            let of_family = self.ways.iter().filter(|way| way.addr.is_ipv4() == source.is_ipv4());
            let (count, key) = (of_family.count(), Self::key(&it));
            if count < MAX_INTERFACES && !self.ways.iter().any(|way| Self::key(way) == key) {
                self.ways.push(it);
            }
        }
        // What comes back under an old number is another interface.
        let keys: BTreeSet<_> = self.ways.iter().map(Self::key).collect();
        self.joined.retain(|key| keys.contains(key));
        self.refused.retain(|key| keys.contains(key));
        networks.sort_unstable();
        networks.dedup();
        (networks, error.filter(|_| !was_blind))
    }

    /// Has the socket of a family join its group by every interface by which it has not; returns
    /// those that cannot, each once, and why.
    pub(super) fn join(&mut self, udp: &UdpSocket, is_ipv4: bool) -> Vec<(String, io::Error)> {
        let mut errors = Vec::new();
        for way in self.ways.iter().filter(|way| way.addr.is_ipv4() == is_ipv4) {
            let key = Self::key(way);
            if self.joined.contains(&key) {
                continue;
            }
            match net::join_group(udp, way.addr, way.index) {
                Ok(()) => {
                    self.joined.insert(key);
                    self.refused.remove(&key);
                }
                Err(error) if self.refused.insert(key) => {
                    errors.push((way.interface.clone(), error));
                }
                Err(_) => {}
            }
        }
        errors
    }

    /// Returns the addresses from which an announcement of a family leaves, and the interfaces.
    pub(super) fn ways(&self, is_ipv4: bool) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        let ways = self.ways.iter().filter(move |way| way.addr.is_ipv4() == is_ipv4);
        ways.map(|way| (way.addr, way.index))
    }

    fn is_heard_at(&self, ip: IpAddr) -> bool {
        let reaches = |addr: &SocketAddr| {
            let is_any = addr.ip().is_unspecified() && addr.is_ipv4() == ip.is_ipv4();
            is_any || addr.ip() == ip
        };
        self.listening.is_empty() || self.listening.iter().any(reaches)
    }

    const fn key(way: &Assigned) -> (bool, u32) {
        (way.addr.is_ipv4(), way.index)
    }
}
