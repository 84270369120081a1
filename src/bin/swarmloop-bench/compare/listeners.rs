//! Which sockets of the machine listen, told without connecting to one.

use std::fs;
use std::net::SocketAddrV4;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Tells whether something listens on this address.
pub(super) fn listens(addr: SocketAddrV4) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    is_listening(&table, addr)
}

fn is_listening(table: &str, addr: SocketAddrV4) -> bool {
    // Addresses are in network order, printed as a number of the machine's.
    let local =
        |ip: u32| format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.to_be_bytes()), addr.port());
    let (own, any) = (local(u32::from(*addr.ip())), local(0));
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let at = fields.next().unwrap_or_default();
        (at == own || at == any) && fields.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections_and_from_others() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let addr = socket.local_addr().expect("bound").to_string();
        let addr: SocketAddrV4 = addr.parse().expect("IPv4");
        assert!(listens(addr));
        drop(socket);
        assert!(!listens(addr));
        let head = "  sl  local_address rem_address   st\n";
        let connected = format!("{head}   1: 0100007F:1C21 0100007F:0001 01\n");
        let anywhere = format!("{head}   1: 00000000:1C21 00000000:0000 0A\n");
        let addr = "127.0.0.1:7201".parse().expect("an address");
        assert!(!is_listening(&connected, addr));
        assert!(is_listening(&anywhere, addr));
        assert!(!is_listening(&anywhere, "127.0.0.1:7200".parse().expect("an address")));
    }
}
