//! Hosts that are no sessions: whatever speaks raw bytes over the simulated streams, honest or not.

use std::net::SocketAddr;

use super::net::StreamId;
use crate::time::Instant;

/// Something that listens on a host's peer port and answers bytes with bytes.
///
/// Everything is called in virtual time; what an actor wants done it says to its [`ActorIo`].
pub trait Actor: std::fmt::Debug {
    /// The host is on the network: dials may be made.
    fn started(&mut self, _io: &mut ActorIo) {}

    /// A stream is open, dialled or accepted; `remote` is the other end's address.
    fn opened(&mut self, stream: StreamId, remote: SocketAddr, io: &mut ActorIo);

    /// Bytes have come; how they are cut is random.
    fn received(&mut self, stream: StreamId, bytes: &[u8], io: &mut ActorIo);

    /// A stream has ended or could not be opened.
    fn closed(&mut self, stream: StreamId, io: &mut ActorIo);

    /// A datagram has come to a port, whichever that is.
    fn datagram(&mut self, _port: u16, _from: SocketAddr, _bytes: &[u8], _io: &mut ActorIo) {}

    /// A time has come that [`ActorIo::wake_at`] named.
    fn woken(&mut self, _io: &mut ActorIo) {}
}

/// What an actor wants done.
#[derive(Debug, Default)]
pub struct ActorIo {
    /// The virtual time.
    pub now: Instant,
    pub(super) sends: Vec<(StreamId, Vec<u8>)>,
    pub(super) dials: Vec<SocketAddr>,
    pub(super) closes: Vec<StreamId>,
    pub(super) datagrams: Vec<(u16, SocketAddr, Vec<u8>)>,
    pub(super) wakes: Vec<Instant>,
}

impl ActorIo {
    /// Sends bytes after those that were sent before; they leave as fast as the link takes them.
    pub fn send(&mut self, stream: StreamId, bytes: Vec<u8>) {
        self.sends.push((stream, bytes));
    }

    /// Sends a datagram from a port.
    pub fn send_datagram(&mut self, port: u16, to: SocketAddr, bytes: Vec<u8>) {
        self.datagrams.push((port, to, bytes));
    }

    /// Has [`Actor::woken`] called at a time to come.
    pub fn wake_at(&mut self, at: Instant) {
        self.wakes.push(at);
    }

    /// Opens a stream; [`Actor::opened`] or [`Actor::closed`] follows, with the stream's name.
    pub fn dial(&mut self, to: SocketAddr) {
        self.dials.push(to);
    }

    /// Closes a stream; what waits to be sent is dropped, and [`Actor::closed`] does not follow.
    pub fn close(&mut self, stream: StreamId) {
        self.closes.push(stream);
    }
}
