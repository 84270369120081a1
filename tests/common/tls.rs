//! Servers that speak TLS with the certificates in `tests/tls`.
//!
//! Those are good from 2020 to 2120 for `tracker.test` and [`HOST`], and all but the authority's
//! have the one key that lies there, which secures nothing.

// Each test crate takes from here what it needs.
#![allow(dead_code, reason = "no single test uses all of a harness")]

use std::{
    io::{self, Read, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use socket2::{Domain, SockRef, Socket, Type};

/// The address that the certificates are for.
pub(crate) const HOST: &str = "127.7.11.1";

/// The authority, which has signed all but [`SELF_SIGNED`].
pub(crate) const CA: &[u8] = include_bytes!("../tls/ca.pem");
pub(crate) const SIGNED: &[u8] = include_bytes!("../tls/signed.pem");
pub(crate) const OTHER_NAME: &[u8] = include_bytes!("../tls/other-name.pem");
pub(crate) const EXPIRED: &[u8] = include_bytes!("../tls/expired.pem");
pub(crate) const SELF_SIGNED: &[u8] = include_bytes!("../tls/self-signed.pem");

/// The key of all of them.
pub(crate) const KEY: &[u8] = include_bytes!("../tls/server.key");

pub(crate) const VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

/// The server's side of a connection.
pub(crate) type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Settings of a server with one of the certificates.
pub(crate) fn config(
    certificate: &[u8],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider speaks them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they match");
    Arc::new(config)
}

/// Begins to speak TLS on a connection, which may not stand still for longer than `patience`.
pub(crate) fn begin(config: &Arc<ServerConfig>, stream: TcpStream, patience: Duration) -> Stream {
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let connection = ServerConnection::new(Arc::clone(config)).expect("a connection");
    StreamOwned::new(connection, stream)
}

/// Reads the head of an HTTP request; `None` from a client that goes before.
pub(crate) fn read_request(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    Some(request)
}

/// A front of an HTTP server: it asks there what it is asked over TLS, and hands back the answer.
pub(crate) struct Front {
    addr: SocketAddr,
    listener: Arc<TcpListener>,
    heard: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// Listens at `at` for the server `to`. If both are on loopback, the server is asked from the
    /// address of the client: a tracker takes that for the peer's.
    pub(crate) fn start(certificate: &[u8], at: SocketAddr, to: SocketAddr) -> Self {
        let listener = Arc::new(TcpListener::bind(at).expect("nobody else listens there"));
        let addr = listener.local_addr().expect("it is bound");
        let heard = Arc::<AtomicUsize>::default();
        let (config, incoming, count) =
            (config(certificate, VERSIONS), Arc::clone(&listener), Arc::clone(&heard));
        let thread = thread::spawn(move || {
            while let Ok((stream, from)) = incoming.accept() {
                let from = if to.ip().is_loopback() { from } else { to };
                let mut stream = begin(&config, stream, PATIENCE);
                // Whoever does not trust us is gone.
                let Some(request) = read_request(&mut stream) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let Ok(answer) = ask(to, from, &request) else { continue };
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { addr, listener, heard, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many requests it has been trusted with.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Ends its thread's wait.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks the server `to`, from the address of `from`; its whole answer.
fn ask(to: SocketAddr, from: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from.ip(), 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The longest that one connection may stand still.
const PATIENCE: Duration = Duration::from_secs(10);
