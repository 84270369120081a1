//! Clients on loopback, and what they say.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use swarmloop::client::{Client, ClientConfig};
use swarmloop::session::config::Config;
use swarmloop::session::io::Event;

/// The longest that anything may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a client that listens at an address, and dials from it.
pub(crate) fn client(ip: impl Into<IpAddr>) -> Client {
    let ip = ip.into();
    let mut session = Config::default();
    session.bind = vec![ip];
    let listen = vec![SocketAddr::new(ip, 0)];
    Client::start(ClientConfig { session, listen, workers: 1, ..ClientConfig::default() })
        .expect("loopback can be listened on")
}

/// Takes events until `done` says so.
pub(crate) fn wait(client: &Client, mut done: impl FnMut(&Event) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = client.events().recv_timeout(left).expect("it happens in time");
        if done(&event) {
            return;
        }
    }
}
