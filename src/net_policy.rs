//! Which addresses others may send us to: what is local, martian or forbidden (DESIGN 15.16).
//!
//! Whoever names an address to a client makes it talk to that address. What comes of it is decided
//! here, for peers, nodes, trackers and downloads alike, by one rule: **nobody may send us nearer
//! than it is itself**. A tracker out in the internet names nobody in our own network, a machine of
//! our network nobody on this machine, and a peer on this machine may name everybody. It is to be
//! asked with the very address that is dialled, after a name was looked up and on each redirect.
//!
//! **Invariant:** it knows addresses, and nothing of protocols, torrents or what is going on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far an address reaches, the nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// This machine: loopback, and the unspecified address, which leads there, too.
    Loopback,
    /// The same link (RFC 3927, RFC 4291): also where clouds keep the secrets of their machines.
    LinkLocal,
    /// A network that the internet does not route: private (RFC 1918, RFC 4193), shared (RFC 6598),
    /// for protocols and benchmarks (RFC 6890), site-local (RFC 3879), behind a translator of its
    /// own (RFC 8215).
    Private,
    /// The internet. What is set apart for documents (RFC 5737, RFC 3849) counts as that: nobody
    /// answers there.
    Global,
    /// No single host: multicast, broadcast, reserved.
    Martian,
}

/// Who named an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamedBy {
    /// The user, whose will it is.
    User,
    /// A torrent or a magnet link, which somebody has made and the user has chosen.
    Torrent,
    /// Somebody whose address reaches so far: a tracker that answers, a peer (BEP 11), a node (BEP
    /// 5), a server that redirects.
    Remote(Reach),
}

/// What an address is to be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose<'a> {
    /// To dial a peer.
    Peer,
    /// To send datagrams to a node (BEP 5).
    Node,
    /// To ask a tracker over UDP (BEP 15), in whose first datagram there is nothing of anybody's
    /// making.
    UdpTracker,
    /// To ask a tracker over HTTP for this path and query.
    HttpTracker(&'a str),
    /// To fetch a file over HTTP.
    Fetch,
}

/// Why an address is not to be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forbidden {
    /// There is no single host behind it, or port 0.
    Martian,
    /// It is nearer than who named it.
    Nearer,
    /// Somebody else's service has this port: mail, remote shells and the like.
    ServicePort,
    /// Something on this machine or link that is no tracker: its path is not a tracker's.
    NotATracker,
}

/// Decides whether an address may be used.
///
/// IPv4 addresses that an IPv6 address has in it (mapped, RFC 6052, RFC 3056) count as themselves.
///
/// # Errors
/// [`Forbidden`]: the fault of whoever named it. Another address of the same host may be fine.
pub fn net_policy(
    addr: SocketAddr,
    named_by: NamedBy,
    purpose: Purpose<'_>,
) -> Result<(), Forbidden> {
    let reach = Reach::of(addr.ip());
    let is_dialled = matches!(purpose, Purpose::Peer | Purpose::Node);
    let is_nobody = is_dialled && addr.ip().to_canonical().is_unspecified();
    if reach == Reach::Martian || addr.port() == 0 || is_nobody {
        return Err(Forbidden::Martian);
    }
    if matches!(named_by, NamedBy::Remote(of) if reach < of) {
        return Err(Forbidden::Nearer);
    }
    if is_dialled && named_by != NamedBy::User && SERVICE_PORTS.contains(&addr.port()) {
        return Err(Forbidden::ServicePort);
    }
    if let Purpose::HttpTracker(target) = purpose
        && reach <= Reach::LinkLocal
        && named_by != NamedBy::User
        && !is_of_tracker(target)
    {
        return Err(Forbidden::NotATracker);
    }
    Ok(())
}

/// Returns whether `ip` is of this machine or of a network that the internet does not route.
pub fn is_local(ip: IpAddr) -> bool {
    Reach::of(ip) < Reach::Global
}

/// Tells whether a path and query are those of a tracker, however a server reads them: some take
/// `..` and what is encoded for another path than it begins with.
fn is_of_tracker(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or(target);
    let is_plain = !path.contains("..") && !path.contains('%');
    is_plain && TRACKER_PATHS.iter().any(|beginning| path.starts_with(beginning))
}

/// Ports at which nobody is dialled whom others have named: a swarm could be made to knock at
/// somebody's mail server or remote shell (security.md 2.2, row 25). Not those of the web, where
/// peers behind strict firewalls are.
const SERVICE_PORTS: [u16; 27] = [
    7, 9, 13, 17, 19, 20, 21, 22, 23, 25, 37, 53, 69, 79, 110, 111, 119, 123, 135, 137, 139, 143,
    161, 389, 445, 465, 587,
];

/// How the path of a tracker on this machine begins (as libtorrent's `ssrf_mitigation`).
const TRACKER_PATHS: [&str; 2] = ["/announce", "/scrape"];

impl Reach {
    /// Returns how far an address reaches.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, c, _] = ip.octets();
        match (a, b, c) {
            _ if ip.is_loopback() || ip.is_unspecified() => Self::Loopback,
            // What is left of "this network" (RFC 1122 3.2.1.3), multicast, and class E.
            (0 | 224..=255, ..) => Self::Martian,
            _ if ip.is_link_local() => Self::LinkLocal,
            _ if ip.is_private() => Self::Private,
            (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) => Self::Private,
            _ => Self::Global,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let segments = ip.segments();
        match segments {
            _ if ip.is_loopback() || ip.is_unspecified() => Self::Loopback,
            // IPv4-compatible (RFC 4291 2.5.5.1), and those of translators (RFC 6052).
            [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Self::of_embedded(high, low)
            }
            // 6to4 (RFC 3056).
            [0x2002, high, low, ..] => Self::of_embedded(high, low),
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Self::Private,
            // Multicast, and what is to be thrown away (RFC 6666).
            [0xff00..=0xffff, ..] | [0x100, 0, 0, 0, ..] => Self::Martian,
            _ => Self::Global,
        }
    }

    /// Returns the reach of an IPv4 address that is in an IPv6 one.
    fn of_embedded(high: u16, low: u16) -> Self {
        Self::of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Martian => "there is no host at this address",
            Self::Nearer => "the address is nearer than who named it",
            Self::ServicePort => "the port is that of another service",
            Self::NotATracker => "there is something else than a tracker on this machine",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_range_has_its_reach_up_to_its_edges() {
        use Reach::{Global, LinkLocal, Loopback, Martian, Private};
        for (text, reach) in [
            ("0.0.0.0", Loopback),
            ("0.0.0.1", Martian),
            ("0.255.255.255", Martian),
            ("1.0.0.0", Global),
            ("9.255.255.255", Global),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("11.0.0.0", Global),
            ("100.63.255.255", Global),
            ("100.64.0.0", Private),
            ("100.127.255.255", Private),
            ("100.128.0.0", Global),
            ("126.255.255.255", Global),
            ("127.0.0.0", Loopback),
            ("127.255.255.255", Loopback),
            ("128.0.0.0", Global),
            ("169.253.255.255", Global),
            ("169.254.0.0", LinkLocal),
            ("169.254.169.254", LinkLocal),
            ("169.255.0.0", Global),
            ("172.15.255.255", Global),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Global),
            ("192.0.0.255", Private),
            ("192.0.1.0", Global),
            ("192.0.2.1", Global),
            ("192.167.255.255", Global),
            ("192.168.0.0", Private),
            ("192.169.0.0", Global),
            ("198.17.255.255", Global),
            ("198.18.0.0", Private),
            ("198.19.255.255", Private),
            ("198.20.0.0", Global),
            ("203.0.113.1", Global),
            ("223.255.255.255", Global),
            ("224.0.0.0", Martian),
            ("239.255.255.255", Martian),
            ("240.0.0.1", Martian),
            ("255.255.255.255", Martian),
            ("::", Loopback),
            ("::1", Loopback),
            ("::2", Martian),
            ("::7f00:1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:8.8.8.8", Global),
            ("64:ff9b::a00:1", Private),
            ("64:ff9b::808:808", Global),
            ("64:ff9b:0:ffff::1", Global),
            ("64:ff9b:1::", Private),
            ("64:ff9b:1:ffff::7f00:1", Private),
            ("64:ff9b:2::1", Global),
            ("100::1", Martian),
            ("100:0:0:1::", Global),
            ("2001:db8::1", Global),
            ("2002:7f00:1::", Loopback),
            ("2002:a9fe:a9fe::1", LinkLocal),
            ("2002:808:808::1", Global),
            ("fbff::1", Global),
            ("fc00::1", Private),
            ("fdff:ffff::1", Private),
            ("fe7f::1", Global),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("feff::1", Private),
            ("ff02::1", Martian),
        ] {
            assert_eq!(Reach::of(ip(text)), reach, "{text}");
            assert_eq!(is_local(ip(text)), reach < Global, "{text}");
        }
    }

    #[test]
    fn nobody_sends_us_nearer_than_it_is_itself() {
        let of_each = ["127.0.0.1", "169.254.1.1", "192.168.1.1", "8.8.8.8"];
        for purpose in [
            Purpose::Peer,
            Purpose::Node,
            Purpose::UdpTracker,
            Purpose::HttpTracker("/announce"),
            Purpose::Fetch,
        ] {
            for (far, from) in of_each.iter().enumerate() {
                let named_by = NamedBy::Remote(Reach::of(ip(from)));
                for (near, to) in of_each.iter().enumerate() {
                    let got = net_policy(SocketAddr::new(ip(to), 6881), named_by, purpose);
                    let expected = if near < far { Err(Forbidden::Nearer) } else { Ok(()) };
                    assert_eq!(got, expected, "{from} names {to} for {purpose:?}");
                }
            }
            for to in of_each {
                let addr = SocketAddr::new(ip(to), 6881);
                for named_by in [NamedBy::User, NamedBy::Torrent] {
                    assert_eq!(net_policy(addr, named_by, purpose), Ok(()), "{named_by:?} {to}");
                }
            }
        }
    }

    #[test]
    fn where_no_host_is_nothing_is_sent_whoever_wants_it() {
        let near = NamedBy::Remote(Reach::Loopback);
        for text in ["224.0.0.1:5", "255.255.255.255:5", "[ff02::1]:7", "0.1.2.3:4", "10.0.0.1:0"] {
            let addr = text.parse().expect("an address");
            for named_by in [NamedBy::User, NamedBy::Torrent, near] {
                for purpose in [Purpose::Peer, Purpose::Node, Purpose::UdpTracker, Purpose::Fetch] {
                    assert_eq!(net_policy(addr, named_by, purpose), Err(Forbidden::Martian));
                }
            }
        }
        // A tracker that listens everywhere may be named so; nobody else is called that.
        for text in ["0.0.0.0:6969", "[::]:6969", "[::ffff:0.0.0.0]:6969"] {
            let addr = text.parse().expect("an address");
            assert_eq!(net_policy(addr, NamedBy::User, Purpose::Peer), Err(Forbidden::Martian));
            assert_eq!(net_policy(addr, near, Purpose::Node), Err(Forbidden::Martian));
            assert_eq!(net_policy(addr, NamedBy::Torrent, Purpose::UdpTracker), Ok(()));
        }
    }

    #[test]
    fn services_are_not_dialled_because_somebody_says_so() {
        for (port, allowed) in [(22, false), (25, false), (53, false), (80, true), (443, true)] {
            let addr = SocketAddr::new(ip("8.8.8.8"), port);
            for purpose in [Purpose::Peer, Purpose::Node] {
                let expected = if allowed { Ok(()) } else { Err(Forbidden::ServicePort) };
                for named_by in [NamedBy::Torrent, NamedBy::Remote(Reach::Loopback)] {
                    assert_eq!(net_policy(addr, named_by, purpose), expected, "{port}");
                }
                assert_eq!(net_policy(addr, NamedBy::User, purpose), Ok(()), "{port}");
            }
            assert_eq!(net_policy(addr, NamedBy::Torrent, Purpose::UdpTracker), Ok(()), "{port}");
        }
        assert!(SERVICE_PORTS.is_sorted());
    }

    #[test]
    fn this_machine_and_its_link_are_only_asked_as_trackers() {
        let refused = Err(Forbidden::NotATracker);
        for (to, target, by_torrent) in [
            ("127.0.0.1", "/announce.php?k", Ok(())),
            ("127.0.0.1", "/scrape?info_hash=x", Ok(())),
            ("127.0.0.1", "/admin", refused),
            ("127.0.0.1", "/x/announce", refused),
            ("127.0.0.1", "/announce/0123abc?from=../x%2e", Ok(())),
            ("127.0.0.1", "/announce/../admin", refused),
            ("127.0.0.1", "/announce/..;/admin", refused),
            ("127.0.0.1", "/announce/%2e%2E/admin", refused),
            ("127.0.0.1", "/announce%2f..%5Cadmin", refused),
            ("127.0.0.1", "/announce/%252e%252e/admin", refused),
            ("::1", "/", refused),
            ("0.0.0.0", "/admin", refused),
            ("169.254.169.254", "/latest/meta-data", refused),
            ("192.168.1.1", "/admin", Ok(())),
            ("8.8.8.8", "/admin", Ok(())),
        ] {
            let addr = SocketAddr::new(ip(to), 80);
            let asked = |named_by| net_policy(addr, named_by, Purpose::HttpTracker(target));
            assert_eq!(asked(NamedBy::Torrent), by_torrent, "{to}{target}");
            assert_eq!(asked(NamedBy::Remote(Reach::Loopback)), by_torrent, "{to}{target}");
            assert_eq!(asked(NamedBy::User), Ok(()), "{to}{target}");
        }
    }
}
