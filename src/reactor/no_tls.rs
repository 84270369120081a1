//! What a build without TLS has in its place: nothing is ever sent where a secured stream was asked
//! for.

#![expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the shape that TLS needs")]

use std::io;
use std::net::SocketAddr;

use mio::Registry;
use mio::net::TcpStream;

use super::conn::Streams;
use crate::id::ConnId;
use crate::session::Session;
use crate::session::io::ServerName;
use crate::time::Instant;

/// No stream is secured.
#[derive(Debug)]
pub(super) struct Tls {
    /// Those that were to be.
    refused: Vec<ConnId>,
}

impl Tls {
    pub(super) fn new(_ca: Vec<Vec<u8>>, _wake: impl Fn() + Send + 'static) -> Self {
        Self { refused: Vec::new() }
    }

    pub(super) fn begin_turn(&mut self) {}

    pub(super) fn forget(&mut self, id: ConnId, _socket: Option<TcpStream>) {
        self.refused.retain(|refused| *refused != id);
    }
}

impl Streams {
    pub(super) fn dial_secured(&mut self, id: ConnId, _addr: SocketAddr, _name: ServerName) {
        self.tls.refused.push(id);
    }

    pub(super) fn dial_waiting(
        &mut self,
        _registry: &Registry,
        broken: &mut Vec<(ConnId, io::ErrorKind)>,
    ) {
        let unsupported = |id| (id, io::ErrorKind::Unsupported);
        broken.extend(self.tls.refused.drain(..).map(unsupported));
    }

    pub(super) fn read_secured(&mut self, _: ConnId, _: &mut Session, _: Instant) -> bool {
        false
    }

    pub(super) fn write_secured(
        &mut self,
        _: ConnId,
        _: &mut Session,
        _: Instant,
    ) -> io::Result<bool> {
        Ok(false)
    }
}
