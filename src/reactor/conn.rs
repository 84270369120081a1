//! TCP streams by connection name: readiness, budgets, vectored reads and writes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::id::ConnId;
use crate::session::Session;
use crate::session::io::Closed;
use crate::time::Instant;

use super::egress::Egress;
use super::net;
use super::tls::Tls;

/// The open streams, by the slot of their connection.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) slots: Vec<Option<Stream>>,
    /// The way that dials leave.
    egress: Egress,
    /// What packets of dialled streams are marked with.
    dscp: u8,
    /// What stands between sockets and the session, where something does.
    pub(super) tls: Tls,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a readiness of its own")]
pub(super) struct Stream {
    pub(super) id: ConnId,
    pub(super) socket: TcpStream,
    /// Whether it is still being opened.
    pub(super) connecting: bool,
    /// Whether it may have bytes for us. Invariant: set by an event, cleared by [`Streams::read`]
    /// alone.
    pub(super) readable: bool,
    /// Whether it is in the ready queue.
    pub(super) enqueued: bool,
    /// Whether the other side has ended its half, so that a short read does not mean that all was
    /// read.
    hung_up: bool,
    /// Whether it takes bytes. Invariant: set by an event, cleared by a short write or
    /// `WouldBlock`.
    pub(super) writable: bool,
    /// Whether it is secured: [`Streams::tls`] has the rest of it.
    pub(super) secured: bool,
}

/// What an event means for the session.
#[derive(Debug)]
pub(super) enum Flow {
    Nothing,
    Connected(ConnId),
    Broken(ConnId, io::ErrorKind),
}

/// The most bytes read from one stream before the others have their turn.
pub(super) const RECV_BUDGET: usize = 256 * 1024;
/// The most bytes written to one stream before the others have their turn.
pub(super) const SEND_BUDGET: usize = 1024 * 1024;

fn token_of(id: ConnId) -> Token {
    Token((id.generation as usize) << 32 | id.index as usize)
}

impl Streams {
    pub(super) fn new(egress: Egress, dscp: u8, tls: Tls) -> Self {
        Self { slots: Vec::new(), egress, dscp, tls }
    }

    /// Adds a stream, registered once for its whole life.
    pub(super) fn add(
        &mut self,
        id: ConnId,
        mut socket: TcpStream,
        registry: &Registry,
        connecting: bool,
    ) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut socket, token_of(id), interest)?;
        let index = id.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Stream {
            id,
            socket,
            connecting,
            readable: false,
            enqueued: false,
            hung_up: false,
            writable: !connecting,
            secured: false,
        });
        Ok(())
    }

    /// Begins to open a stream to `addr`.
    pub(super) fn dial(
        &mut self,
        id: ConnId,
        addr: SocketAddr,
        registry: &Registry,
    ) -> io::Result<()> {
        let socket = net::dial(addr, &self.egress, self.dscp)?;
        self.add(id, socket, registry, true)
    }

    /// Closes a stream; the system takes it off the poll.
    pub(super) fn close(&mut self, id: ConnId) {
        match self.slots.get_mut(id.index as usize) {
            Some(slot) if slot.as_ref().is_some_and(|stream| stream.id == id) => {
                if let Some(stream) = slot.take_if(|stream| stream.secured) {
                    self.tls.forget(id, Some(stream.socket));
                }
                *slot = None;
            }
            // It may not even have been dialled.
            _ => self.tls.forget(id, None),
        }
    }

    /// Takes in an event; one for a stream that is closed (or whose slot another has) means
    /// nothing.
    pub(super) fn on_event(
        &mut self,
        event: &Event,
        ready: &mut VecDeque<ConnId>,
        unblocked: &mut Vec<ConnId>,
    ) -> Flow {
        let slot = self.slots.get_mut(event.token().0 & 0xffff_ffff);
        let Some(stream) = slot.and_then(Option::as_mut) else { return Flow::Nothing };
        if token_of(stream.id) != event.token() {
            return Flow::Nothing;
        }
        let id = stream.id;
        let mut flow = Flow::Nothing;
        if stream.connecting {
            match net::is_connected(&stream.socket) {
                // A secured one is open once its handshake is done.
                Ok(true) if stream.secured => {}
                Ok(true) => flow = Flow::Connected(id),
                Ok(false) => return Flow::Nothing,
                Err(error) => {
                    self.close(id);
                    return Flow::Broken(id, error.kind());
                }
            }
            stream.connecting = false;
        }
        stream.hung_up |= event.is_read_closed() || event.is_error();
        stream.readable |= event.is_readable() || stream.hung_up;
        if stream.readable && !std::mem::replace(&mut stream.enqueued, true) {
            ready.push_back(id);
        }
        if event.is_writable() && !std::mem::replace(&mut stream.writable, true) {
            unblocked.push(id);
        }
        flow
    }

    /// Takes a stream to have bytes for us, before the poll has said so: it is read in this turn.
    pub(super) fn expect_bytes(&mut self, id: ConnId, ready: &mut VecDeque<ConnId>) {
        if let Some(stream) = self.get(id) {
            stream.readable = true;
            self.enqueue(id, ready);
        }
    }

    /// Puts a stream that may be read again into the ready queue, if it has something to read.
    pub(super) fn enqueue(&mut self, id: ConnId, ready: &mut VecDeque<ConnId>) {
        if let Some(stream) = self.get(id)
            && stream.readable
            && !std::mem::replace(&mut stream.enqueued, true)
        {
            ready.push_back(id);
        }
    }

    /// Reads from a stream of the ready queue up to its budget; returns whether it stays in the
    /// queue.
    pub(super) fn read(&mut self, id: ConnId, session: &mut Session, now: Instant) -> bool {
        let Some(stream) = self.get(id) else { return false };
        stream.enqueued = false;
        if stream.secured {
            return self.read_secured(id, session, now);
        }
        let mut budget = RECV_BUDGET;
        while stream.readable {
            if budget == 0 {
                stream.enqueued = true;
                return true;
            }
            // Parked, or closed by what was just read: the session says when to come back.
            let Some(mut slices) = session.recv_slices(id) else { return false };
            let offered = slices.total_len();
            match stream.socket.read_vectored(slices.as_mut_slice()) {
                Ok(0) => {
                    self.close(id);
                    session.handle_closed(id, Closed::Eof, now);
                    return false;
                }
                Ok(n) => {
                    session.recv_advance(id, n, now);
                    budget = budget.saturating_sub(n);
                    stream.readable = n == offered || stream.hung_up;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.close(id);
                    session.handle_closed(id, Closed::Failed(error.kind()), now);
                    return false;
                }
            }
        }
        false
    }

    /// Writes what a stream has to send, until it has all gone, the stream takes no more, or its
    /// budget is used up; returns whether there is more that it would take.
    ///
    /// # Errors
    /// The stream is broken; it has been closed here, and the session is to be told in the next
    /// turn.
    pub(super) fn write(
        &mut self,
        id: ConnId,
        session: &mut Session,
        now: Instant,
    ) -> io::Result<bool> {
        let Some(stream) = self.get(id) else { return Ok(false) };
        if stream.secured {
            return self.write_secured(id, session, now);
        }
        let mut budget = SEND_BUDGET;
        while stream.writable && !stream.connecting {
            let slices = session.send_slices(id);
            let offered = slices.total_len();
            if offered == 0 || budget == 0 {
                return Ok(offered > 0);
            }
            match stream.socket.write_vectored(slices.as_slice()) {
                Ok(n) => {
                    session.send_advance(id, n, now);
                    budget = budget.saturating_sub(n);
                    stream.writable = n == offered;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.close(id);
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Stream> {
        self.slots.get_mut(id.index as usize)?.as_mut().filter(|stream| stream.id == id)
    }
}
