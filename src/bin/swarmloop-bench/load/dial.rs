//! Sockets to the client: each from an address of its own where the system has enough of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use swarmloop::reactor::egress::Egress;
use swarmloop::reactor::net;

/// The first source address on loopback; those below are left to clients and people.
const FIRST_SOURCE: u32 = Ipv4Addr::new(127, 64, 0, 1).to_bits();
/// How many source addresses are used in turn. On Linux all of 127.0.0.0/8 is local. So many
/// connections, one an address, cannot run into ports that earlier ones have left in `TIME_WAIT`,
/// nor into limits on connections from one address.
const SOURCES: u32 = 1 << 21;

/// Opens streams to one address.
#[derive(Debug)]
pub(crate) struct Dialler {
    target: SocketAddr,
    /// How many were opened.
    dialled: u32,
    spread: bool,
}

impl Dialler {
    /// Dials `target`, from many addresses if it is on the loopback of a system that has them.
    pub(crate) fn new(target: SocketAddr) -> Self {
        let is_loopback = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let spread = is_loopback && cfg!(target_os = "linux");
        Self { target, dialled: 0, spread }
    }

    /// Begins to open a stream.
    ///
    /// # Errors
    /// What the system knows at once.
    pub(crate) fn dial(&mut self) -> io::Result<TcpStream> {
        let n = self.dialled;
        self.dialled = n.wrapping_add(1);
        let source = IpAddr::V4(source(n));
        let sources = if self.spread { std::slice::from_ref(&source) } else { &[] };
        net::dial(self.target, &Egress::new(sources, None)?, 0)
    }
}

/// Returns the address that the `n`-th connection comes from.
fn source(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_SOURCE + n % SOURCES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_many_and_all_loopback() {
        for n in [0, 1, 255, 256, 65_535, SOURCES - 1] {
            assert!(source(n).is_loopback(), "{n}");
            assert_ne!(source(n), source(n + 1));
        }
        assert_eq!(source(0), source(SOURCES));
        assert!(source(SOURCES - 1).to_bits() < Ipv4Addr::new(127, 255, 255, 255).to_bits());
    }
}
