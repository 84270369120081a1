//! What a reactor is made from, and why it may not be.

use std::io;
use std::net::SocketAddr;

use super::egress::EgressError;
use crate::dht::DhtConfig;
use crate::session::config::Config;
use crate::tracker_server::ServerConfig;

/// What a reactor is made from.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// The engine's limits and defaults. The port of announces is taken from the first peer
    /// listener; the limit on connections is lowered to what the process may open.
    pub session: Config,
    /// Where to listen for peers; empty for nowhere.
    pub listen: Vec<SocketAddr>,
    /// Where to answer announces as a tracker over HTTP (BEP 3); empty for nowhere.
    pub tracker_listen: Vec<SocketAddr>,
    /// Where to answer announces as a tracker over UDP (BEP 15); empty for nowhere. With port 0 it
    /// is that of HTTP on the same address, if it is answered there, else any.
    pub tracker_udp: Vec<SocketAddr>,
    /// What the embedded tracker asks of its clients, how much it keeps, and what else it serves.
    pub tracker: ServerConfig,
    /// How the session takes part in the DHT (BEP 5): from the sockets that trackers are asked
    /// from, on the port for peers. `None` for not at all; an engine contacts nobody unasked.
    pub dht: Option<DhtConfig>,
    /// What was known of the DHT at the end of an earlier run, if anything
    /// ([`Stopped::dht`](crate::client::Stopped::dht)).
    pub dht_saved: Vec<u8>,
    /// Whether torrents that are not private are announced to local networks, and peers listened
    /// for there (BEP 14): those that this machine is attached to by interfaces that traffic may
    /// use, loopback only if it is bound there. An engine contacts nobody unasked.
    pub lsd: bool,
    /// Certificates (DER) that HTTPS trackers may prove their names with, beside those that the
    /// system trusts; `tls::parse_ca` reads them. Of no use in a build without TLS.
    pub ca_certificates: Vec<Vec<u8>>,
    /// Threads that hash, write and read; at least 1.
    pub workers: usize,
}

impl Default for ReactorConfig {
    /// Listens nowhere, and has two workers.
    fn default() -> Self {
        Self {
            session: Config::default(),
            listen: Vec::new(),
            tracker_listen: Vec::new(),
            tracker_udp: Vec::new(),
            tracker: ServerConfig::default(),
            dht: None,
            dht_saved: Vec::new(),
            lsd: false,
            ca_certificates: Vec::new(),
            workers: 2,
        }
    }
}

/// A reactor cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReactorError {
    /// A listening socket cannot be opened: the port is taken, or the address is not ours.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Traffic cannot be bound to the address or interface that was asked for.
    #[error("cannot bind traffic: {0}")]
    Bind(#[from] EgressError),
    /// The system refuses something that the loop needs.
    #[error("cannot start the event loop: {0}")]
    Io(#[from] io::Error),
}
