//! Compact peers: 6 bytes each for IPv4 (BEP 23), 18 for IPv6 (BEP 7), in network byte order; and
//! compact nodes of the DHT, which have an id of 20 bytes in front (BEP 5, BEP 32).
//!
//! ```text
//! 0      4   6          0                16  18         0       20            26 or 38
//! | IPv4 |port|         | IPv6           |port|         | id     | IP and port |
//! ```
//!
//! **Invariant:** whether an address may be dialled is decided elsewhere; here only port 0, which
//! nobody can listen on, is left out.

use crate::id::NodeId;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of a compact IPv4 peer (BEP 23).
pub const PEER4_LEN: usize = 6;
/// Bytes of a compact IPv6 peer (BEP 7).
pub const PEER6_LEN: usize = 18;
/// Peers taken from one string; the rest is ignored. Trackers give 50 to 200, and nobody can use
/// more at once than a torrent has connections.
pub const MAX_PEERS: usize = 2000;

/// Reads the IPv4 peers in `bytes` (BEP 23, `peers`), in order, port 0 left out.
///
/// An empty string is no peers. At most [`MAX_PEERS`] are returned.
///
/// # Errors
/// If `bytes` is not whole peers: the sender's fault, and nothing of it can be trusted.
pub fn parse_peers4(bytes: &[u8]) -> Result<Vec<SocketAddr>, CompactError> {
    parse(bytes, |peer: &[u8; PEER4_LEN]| {
        let [a, b, c, d, high, low] = *peer;
        (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()
    })
}

/// Reads the IPv6 peers in `bytes` (BEP 7, `peers6`); otherwise as [`parse_peers4`].
///
/// # Errors
/// As [`parse_peers4`].
pub fn parse_peers6(bytes: &[u8]) -> Result<Vec<SocketAddr>, CompactError> {
    parse(bytes, |peer: &[u8; PEER6_LEN]| {
        let [ip @ .., high, low] = *peer;
        (Ipv6Addr::from(ip), u16::from_be_bytes([high, low])).into()
    })
}

/// Appends one compact IPv4 peer (BEP 23) to `out`: 6 bytes.
pub fn write_peer4(out: &mut Vec<u8>, peer: SocketAddrV4) {
    out.extend_from_slice(&peer.ip().octets());
    out.extend_from_slice(&peer.port().to_be_bytes());
}

/// Appends one compact IPv6 peer (BEP 7) to `out`: 18 bytes; flow and scope are lost.
pub fn write_peer6(out: &mut Vec<u8>, peer: SocketAddrV6) {
    out.extend_from_slice(&peer.ip().octets());
    out.extend_from_slice(&peer.port().to_be_bytes());
}

/// Appends `peers` in order to the string of their family: `peers` (BEP 23) or `peers6` (BEP 7).
pub fn write_peers(
    peers4: &mut Vec<u8>,
    peers6: &mut Vec<u8>,
    peers: impl IntoIterator<Item = SocketAddr>,
) {
    for peer in peers {
        match peer {
            SocketAddr::V4(peer) => write_peer4(peers4, peer),
            SocketAddr::V6(peer) => write_peer6(peers6, peer),
        }
    }
}

/// A compact string is not whole peers or nodes. The sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{len} bytes of compact peers are not a multiple of {stride}")]
pub struct CompactError {
    /// Bytes of the string.
    pub len: usize,
    /// Bytes of a peer or node of that family.
    pub stride: usize,
}

/// Bytes of a compact IPv4 node (BEP 5).
pub const NODE4_LEN: usize = NODE_ID_LEN + PEER4_LEN;
/// Bytes of a compact IPv6 node (BEP 32).
pub const NODE6_LEN: usize = NODE_ID_LEN + PEER6_LEN;
const NODE_ID_LEN: usize = 20;

/// A node of the DHT: what it calls itself and where it is (BEP 5, "Contact Encoding").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeInfo {
    /// Its id; its own claim until it has answered from `addr`.
    pub id: NodeId,
    /// Its UDP address.
    pub addr: SocketAddr,
}

/// The `nodes` of a message, of [`NODE4_LEN`] bytes each (BEP 5).
pub type CompactNodes4<'a> = CompactNodes<'a, NODE4_LEN>;
/// The `nodes6` of a message, of [`NODE6_LEN`] bytes each (BEP 32).
pub type CompactNodes6<'a> = CompactNodes<'a, NODE6_LEN>;

/// Compact nodes of one family, borrowed from a message; read one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactNodes<'a, const STRIDE: usize>(&'a [[u8; STRIDE]]);

impl<'a, const STRIDE: usize> CompactNodes<'a, STRIDE> {
    /// Reads whole nodes; an empty string is none.
    ///
    /// # Errors
    /// If `bytes` is not whole nodes: the sender's fault, and nothing of it can be trusted.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CompactError> {
        match bytes.as_chunks() {
            (nodes, []) => Ok(Self(nodes)),
            _ => Err(CompactError { len: bytes.len(), stride: STRIDE }),
        }
    }

    /// Returns the nodes in order, those with port 0 left out.
    pub fn iter(self) -> impl Iterator<Item = NodeInfo> + 'a {
        self.0.iter().filter_map(|node| {
            let (id, peer) = node.split_first_chunk()?;
            let addr = peer_addr(peer)?;
            (addr.port() != 0).then_some(NodeInfo { id: NodeId(*id), addr })
        })
    }

    /// Returns how many nodes there are, those with port 0 among them.
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the string.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }
}

/// Reads one compact peer of either family, told by its length (BEP 5, `values`): port 0 is read
/// as any other. `None` if it has neither length.
pub fn peer_addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let port = u16::from_be_bytes(*port);
    let v4 = <[u8; PEER4_LEN - 2]>::try_from(ip).map(|ip| (Ipv4Addr::from(ip), port).into());
    let v6 = || <[u8; PEER6_LEN - 2]>::try_from(ip).map(|ip| (Ipv6Addr::from(ip), port).into());
    v4.or_else(|_| v6()).ok()
}

/// Appends one compact peer of either family to `out`: 6 or 18 bytes.
pub fn write_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer {
        SocketAddr::V4(peer) => write_peer4(out, peer),
        SocketAddr::V6(peer) => write_peer6(out, peer),
    }
}

/// Appends one compact node to `out`: [`NODE4_LEN`] or [`NODE6_LEN`] bytes by its family, so that
/// nodes of the two must not be mixed in one string.
pub fn write_node(out: &mut Vec<u8>, node: &NodeInfo) {
    out.extend_from_slice(&node.id.0);
    write_peer(out, node.addr);
}

fn parse<const STRIDE: usize>(
    bytes: &[u8],
    peer: impl Fn(&[u8; STRIDE]) -> SocketAddr,
) -> Result<Vec<SocketAddr>, CompactError> {
    let (peers, rest) = bytes.as_chunks::<STRIDE>();
    if !rest.is_empty() {
        return Err(CompactError { len: bytes.len(), stride: STRIDE });
    }
    Ok(peers.iter().map(peer).filter(|peer| peer.port() != 0).take(MAX_PEERS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_and_ports_are_big_endian() {
        assert_eq!(
            parse_peers4(b"\x7f\x00\x00\x01\x1a\xe1\xc0\x00\x02\xff\x00\x50"),
            Ok(vec![
                "127.0.0.1:6881".parse().expect("address"),
                "192.0.2.255:80".parse().expect("address"),
            ])
        );
        assert_eq!(
            parse_peers6(b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1"),
            Ok(vec!["[2001:db8::1]:6881".parse().expect("address")])
        );
    }

    #[test]
    fn a_string_that_is_not_whole_peers_is_refused() {
        for len in 0..40 {
            let bytes = vec![1; len];
            let refusal = |stride| CompactError { len, stride };
            match len % PEER4_LEN {
                0 => assert_eq!(parse_peers4(&bytes).map(|peers| peers.len()), Ok(len / 6)),
                _ => assert_eq!(parse_peers4(&bytes), Err(refusal(6))),
            }
            match len % PEER6_LEN {
                0 => assert_eq!(parse_peers6(&bytes).map(|peers| peers.len()), Ok(len / 18)),
                _ => assert_eq!(parse_peers6(&bytes), Err(refusal(18))),
            }
        }
        assert_eq!(
            parse_peers4(&[0; 7]).map_err(|error| error.to_string()),
            Err("7 bytes of compact peers are not a multiple of 6".to_owned())
        );
    }

    #[test]
    fn port_0_is_left_out() {
        assert_eq!(
            parse_peers4(b"\x7f\0\0\x01\0\0\x7f\0\0\x02\0\x01"),
            Ok(vec!["127.0.0.2:1".parse().expect("address")])
        );
        assert_eq!(parse_peers6(&[0; 18]), Ok(vec![]));
    }

    #[test]
    fn peers_beyond_the_cap_are_ignored() {
        let bytes = vec![1; PEER4_LEN * (MAX_PEERS + 1)];
        assert_eq!(parse_peers4(&bytes).map(|peers| peers.len()), Ok(MAX_PEERS));
        let bytes = vec![1; PEER6_LEN * (MAX_PEERS + 1)];
        assert_eq!(parse_peers6(&bytes).map(|peers| peers.len()), Ok(MAX_PEERS));
    }

    #[test]
    fn nodes_have_their_id_in_front_and_come_whole_or_not_at_all() {
        let bytes = [&[7; 20][..], b"\x7f\0\0\x01\x1a\xe1", &[8; 20], b"\x7f\0\0\x02\0\0"].concat();
        let nodes = CompactNodes4::parse(&bytes).expect("two of them");
        let first =
            NodeInfo { id: NodeId([7; 20]), addr: "127.0.0.1:6881".parse().expect("address") };
        assert!(nodes.iter().eq([first]), "nobody listens on port 0");
        assert_eq!((nodes.len(), nodes.as_bytes()), (2, &bytes[..]));
        for len in 0..bytes.len() {
            let read = CompactNodes4::parse(&bytes[..len]);
            assert_eq!(read.is_ok(), len % NODE4_LEN == 0, "{len}");
            let read = CompactNodes6::parse(&bytes[..len]);
            assert_eq!(read.is_ok(), len % NODE6_LEN == 0, "{len}");
        }
        for len in (0..40).filter(|len| ![PEER4_LEN, PEER6_LEN].contains(len)) {
            assert_eq!(peer_addr(&vec![1; len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn nodes_are_read_as_they_were_written(
            v4 in prop::collection::vec((any::<[u8; 20]>(), any::<[u8; 4]>(), 1..=u16::MAX), 0..9),
            v6 in prop::collection::vec((any::<[u8; 20]>(), any::<[u8; 16]>(), 1..=u16::MAX), 0..9),
        ) {
            let node = |id, addr| NodeInfo { id: NodeId(id), addr };
            let v4: Vec<_> = v4.into_iter().map(|(id, ip, p)| node(id, (ip, p).into())).collect();
            let v6: Vec<_> = v6.into_iter().map(|(id, ip, p)| node(id, (ip, p).into())).collect();
            let (mut nodes, mut nodes6) = (Vec::new(), Vec::new());
            for node in &v4 {
                write_node(&mut nodes, node);
            }
            for node in &v6 {
                write_node(&mut nodes6, node);
            }
            prop_assert!(CompactNodes4::parse(&nodes).expect("whole").iter().eq(v4));
            prop_assert!(CompactNodes6::parse(&nodes6).expect("whole").iter().eq(v6));
        }

        #[test]
        fn reads_what_it_writes(
            v4 in prop::collection::vec((any::<[u8; 4]>(), 1..=u16::MAX), 0..40),
            v6 in prop::collection::vec((any::<[u8; 16]>(), 1..=u16::MAX), 0..40),
        ) {
            let v4: Vec<SocketAddr> = v4.into_iter().map(SocketAddr::from).collect();
            let v6: Vec<SocketAddr> = v6.into_iter().map(SocketAddr::from).collect();
            let (mut peers4, mut peers6) = (Vec::new(), Vec::new());
            write_peers(&mut peers4, &mut peers6, v6.iter().chain(&v4).copied());
            prop_assert_eq!(peers4.len(), v4.len() * PEER4_LEN);
            prop_assert_eq!(peers6.len(), v6.len() * PEER6_LEN);
            prop_assert_eq!(parse_peers4(&peers4), Ok(v4));
            prop_assert_eq!(parse_peers6(&peers6), Ok(v6));
        }
    }
}
