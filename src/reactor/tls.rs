//! TLS between a stream's socket and the session, which names the server and sees plaintext only.
//!
//! Decides who is trusted and how much of a turn handshakes may take. **Invariant:** a server that
//! cannot prove its name is told nothing: the session hears that a stream is open when its
//! handshake is complete, and not before. Nothing falls back to plain text.
//!
//! ```text
//!  Connect{tls} ──▶ waiting ──the system's certificates are read──▶ dialled ──▶ handshake ──▶ open
//! ```

mod trust;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::Registry;
use mio::net::TcpStream;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};

use super::conn::{RECV_BUDGET, SEND_BUDGET, Streams};
use crate::id::ConnId;
use crate::session::Session;
use crate::session::io::{Closed, ServerName, TlsError};
use crate::time::Instant;

pub use trust::{CaError, parse_ca};
use trust::{Trust, is_of_authority};

/// Parts of handshakes that one turn takes in; more of them wait for the next. One takes up to a
/// millisecond of the loop, most of it for the signatures of a chain, and everybody else waits.
const HANDSHAKES_PER_TURN: usize = 4;

/// The streams that are secured.
pub(super) struct Tls {
    trust: Trust,
    waiting: VecDeque<Waiting>,
    /// Those that were dialled.
    streams: BTreeMap<ConnId, Secured>,
    /// What is left of [`HANDSHAKES_PER_TURN`].
    handshakes_left: usize,
}

struct Waiting {
    id: ConnId,
    addr: SocketAddr,
    name: ServerName,
}

/// What stands between one socket and the session.
struct Secured {
    connection: ClientConnection,
    /// Whether the session knows that the stream is open.
    is_open: bool,
}

/// What came of a read.
enum Received {
    Bytes(usize),
    Nothing,
    End,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, streams) = (self.waiting.len(), self.streams.len());
        let mut tls = f.debug_struct("Tls");
        tls.field("waiting", &waiting).field("streams", &streams).finish_non_exhaustive()
    }
}

impl Tls {
    /// Returns what secures streams. `ca` are certificates (DER) that are trusted beside those of
    /// the system; `wake` is called from another thread when the system's have been read, which is
    /// done once there is something to secure.
    pub(super) fn new(ca: Vec<Vec<u8>>, wake: impl Fn() + Send + 'static) -> Self {
        let trust = Trust::new(ca, Box::new(wake));
        let handshakes_left = HANDSHAKES_PER_TURN;
        Self { trust, waiting: VecDeque::new(), streams: BTreeMap::new(), handshakes_left }
    }

    /// Begins a turn's reads.
    pub(super) fn begin_turn(&mut self) {
        self.handshakes_left = HANDSHAKES_PER_TURN;
    }

    /// Forgets a stream; a server that is waiting for more is told that nothing comes, if that does
    /// not have to wait.
    pub(super) fn forget(&mut self, id: ConnId, socket: Option<TcpStream>) {
        self.waiting.retain(|waiting| waiting.id != id);
        if let (Some(mut stream), Some(mut socket)) = (self.streams.remove(&id), socket) {
            stream.connection.send_close_notify();
            // Nobody depends on it.
            let _ = stream.send(&mut socket);
        }
    }
}

// Here and not where plain streams are: whoever has none of these need not read it.
impl Streams {
    /// Begins to open a stream to `addr` that is secured, once it is known whom to trust.
    pub(super) fn dial_secured(&mut self, id: ConnId, addr: SocketAddr, name: ServerName) {
        self.tls.waiting.push_back(Waiting { id, addr, name });
    }

    /// Dials for those who wait, once it is known whom to trust. Appends to `broken` what cannot be
    /// dialled.
    pub(super) fn dial_waiting(
        &mut self,
        registry: &Registry,
        broken: &mut Vec<(ConnId, io::ErrorKind)>,
    ) {
        if self.tls.waiting.is_empty() {
            return;
        }
        let Some(config) = self.tls.trust.config() else { return };
        while let Some(Waiting { id, addr, name }) = self.tls.waiting.pop_front() {
            let dialled = Secured::new(&config, name).and_then(|secured| {
                self.dial(id, addr, registry)?;
                if let Some(Some(stream)) = self.slots.get_mut(id.index as usize) {
                    stream.secured = true;
                }
                self.tls.streams.insert(id, secured);
                Ok(())
            });
            if let Err(error) = dialled {
                broken.push((id, error.kind()));
            }
        }
    }

    /// As [`Streams::read`], for a stream that is secured.
    pub(super) fn read_secured(&mut self, id: ConnId, session: &mut Session, now: Instant) -> bool {
        let mut budget = RECV_BUDGET;
        loop {
            let Some((stream, secured)) = self.secured(id) else { return false };
            if !*stream.readable {
                break;
            }
            if budget == 0 || !secured.is_open && *stream.handshakes_left == 0 {
                *stream.enqueued = true;
                return true;
            }
            *stream.handshakes_left -= usize::from(!secured.is_open);
            let mut ended = None;
            match secured.receive(stream.socket) {
                Ok(Received::Bytes(n)) => budget = budget.saturating_sub(n),
                Ok(Received::Nothing) => *stream.readable = false,
                // Many servers end without a notice. A bencoded answer that was cut short is none,
                // so nobody gains by cutting; a handshake that was, is not complete.
                Ok(Received::End) if secured.is_open => ended = Some(Closed::Eof),
                Ok(Received::End) => {
                    ended = Some(Closed::Failed(io::ErrorKind::UnexpectedEof));
                }
                Err(closed) => ended = Some(closed),
            }
            if !secured.is_open && ended.is_none() && !secured.connection.is_handshaking() {
                secured.is_open = true;
                session.handle_connected(id, now);
            }
            if secured.is_open {
                match secured.deliver(id, session, now) {
                    Ok(()) => {}
                    Err(closed) => ended = Some(closed),
                }
            }
            if let Some(closed) = ended {
                self.close(id);
                session.handle_closed(id, closed, now);
                return false;
            }
        }
        let Some((stream, secured)) = self.secured(id) else { return false };
        // An answer of the handshake's own, or of a change of keys.
        match secured.send(stream.socket) {
            Ok(all) => *stream.writable &= all,
            Err(error) => {
                self.close(id);
                session.handle_closed(id, Closed::Failed(error.kind()), now);
            }
        }
        false
    }

    /// As [`Streams::write`], for a stream that is secured.
    pub(super) fn write_secured(
        &mut self,
        id: ConnId,
        session: &mut Session,
        now: Instant,
    ) -> io::Result<bool> {
        let mut budget = SEND_BUDGET;
        loop {
            let Some((stream, secured)) = self.secured(id) else { return Ok(false) };
            if !*stream.writable || *stream.connecting {
                return Ok(false);
            }
            match secured.send(stream.socket) {
                Ok(all) => *stream.writable = all,
                Err(error) => {
                    self.close(id);
                    return Err(error);
                }
            }
            if !*stream.writable || !secured.is_open {
                return Ok(false);
            }
            let slices = session.send_slices(id);
            let offered = slices.total_len();
            if offered == 0 || budget == 0 {
                return Ok(offered > 0);
            }
            // Into memory: what was there before has left, so there is room.
            let taken = secured.connection.writer().write_vectored(slices.as_slice())?;
            session.send_advance(id, taken, now);
            budget = budget.saturating_sub(taken);
        }
    }

    fn secured(&mut self, id: ConnId) -> Option<(Parts<'_>, &mut Secured)> {
        let secured = self.tls.streams.get_mut(&id)?;
        let stream = self.slots.get_mut(id.index as usize)?.as_mut()?;
        (stream.id == id).then_some((
            Parts {
                socket: &mut stream.socket,
                readable: &mut stream.readable,
                writable: &mut stream.writable,
                connecting: &mut stream.connecting,
                enqueued: &mut stream.enqueued,
                handshakes_left: &mut self.tls.handshakes_left,
            },
            secured,
        ))
    }
}

impl Secured {
    fn new(config: &Arc<ClientConfig>, name: ServerName) -> io::Result<Self> {
        let name = rustls::pki_types::ServerName::try_from(name.0)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Self { connection, is_open: false })
    }

    /// Sends what waits; tells whether the socket took all of it.
    fn send(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads once from the socket and opens what came.
    fn receive(&mut self, socket: &mut TcpStream) -> Result<Received, Closed> {
        let n = match self.connection.read_tls(socket) {
            Ok(0) => return Ok(Received::End),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Received::Bytes(0));
            }
            Err(error) => return Err(Closed::Failed(error.kind())),
        };
        match self.connection.process_new_packets() {
            Ok(_) => Ok(Received::Bytes(n)),
            Err(error) => {
                // The server is told why, if that does not have to wait.
                let _ = self.connection.write_tls(socket);
                Err(Closed::Tls(reason(&error)))
            }
        }
    }

    /// Gives the session what was opened, until nothing is left. An error is how the stream ended.
    fn deliver(&mut self, id: ConnId, session: &mut Session, now: Instant) -> Result<(), Closed> {
        loop {
            // Gone by what it has just read: it says so to the driver at the end of the turn.
            let Some(mut slices) = session.recv_slices(id) else { return Ok(()) };
            match self.connection.reader().read_vectored(slices.as_mut_slice()) {
                Ok(0) => return Err(Closed::Eof),
                Ok(n) => session.recv_advance(id, n, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The end without a notice, which the socket has told as well.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(Closed::Failed(error.kind())),
            }
        }
    }
}

/// What of a plain stream and of the turn is used here.
struct Parts<'a> {
    socket: &'a mut TcpStream,
    readable: &'a mut bool,
    writable: &'a mut bool,
    connecting: &'a mut bool,
    enqueued: &'a mut bool,
    handshakes_left: &'a mut usize,
}

/// Says in our words why a stream could not be secured.
fn reason(error: &Error) -> TlsError {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsError::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsError::NotValidYet
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsError::WrongName
            }
            error if is_of_authority(error) => TlsError::SelfSigned,
            _ => TlsError::BadCertificate,
        },
        Error::InvalidMessage(_) => TlsError::NotTls,
        Error::PeerIncompatible(_) => TlsError::NothingInCommon,
        Error::AlertReceived(_) => TlsError::Refused,
        _ => TlsError::Broken,
    }
}
