//! Ports to listen on.

use std::net::{IpAddr, TcpListener};

/// Returns a port that nothing listens on just now at an address; at the unspecified one, on any.
pub(crate) fn free_port(ip: impl Into<IpAddr>) -> u16 {
    let probe = TcpListener::bind((ip.into(), 0)).expect("a port is free");
    probe.local_addr().expect("a bound socket has an address").port()
}
