//! The flags that `get` and `seed` share: peers and trackers, and what looks inside.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use swarmloop::proto::url::{AnnounceUrl, Scheme};
use swarmloop::reactor::net::MAX_DSCP;
use swarmloop::reactor::tls::parse_ca;
use swarmloop::session::config::DSCP_LOWER_EFFORT;

use super::limits::LimitArgs;
use super::timeouts::TimeoutArgs;
use super::values;
use crate::cli::input::read_limited;

/// Arguments that `get` and `seed` share.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct NetworkArgs {
    /// Port or range of ports to listen on [default: the first free one of 6881-6889, else any]
    #[arg(short, long, value_name = "N[-M]", value_parser = ports)]
    pub(crate) port: Option<RangeInclusive<u16>>,
    /// Local address or interface for all traffic, looking up names too
    #[arg(long, value_name = "ADDR|INTERFACE", value_parser = bind)]
    pub(crate) bind: Option<Bind>,
    /// Use IPv4 only
    #[arg(long, conflicts_with_all = ["ipv6", "bind"])]
    #[arg(hide_short_help = true)]
    pub(crate) ipv4: bool,
    /// Use IPv6 only
    #[arg(long, conflicts_with = "bind")]
    #[arg(hide_short_help = true)]
    pub(crate) ipv6: bool,
    /// Port that trackers are told, where it is forwarded to us [default: the one listened on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(hide_short_help = true)]
    pub(crate) announce_port: Option<u16>,
    /// Address that trackers are told, where it is forwarded to us [default: the one they see]
    #[arg(long, value_name = "ADDR", value_parser = announce_ip)]
    #[arg(hide_short_help = true)]
    pub(crate) announce_ip: Option<IpAddr>,
    /// Mark packets with this code point: le (gives way to all other traffic), default, cs0-cs7,
    /// af11-af43, ef, or 0-63 [default: le]
    #[arg(long, value_name = "DSCP", value_parser = dscp)]
    #[arg(hide_short_help = true)]
    pub(crate) dscp: Option<u8>,
    /// Dial this peer besides those that trackers name; may be repeated
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = peer)]
    pub(crate) peers: Vec<(String, u16)>,
    /// Most connected peers of a torrent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(hide_short_help = true)]
    pub(crate) max_peers: Option<u16>,
    /// Most connections in all, trackers and handshakes included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(hide_short_help = true)]
    pub(crate) max_conns: Option<u16>,
    /// Most dials under way at one time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(hide_short_help = true)]
    pub(crate) max_half_open: Option<u16>,
    /// Peers of a torrent that are uploaded to at one time [default: 8, fewer if a limit is low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(hide_short_help = true)]
    pub(crate) unchoke_slots: Option<u16>,
    /// How long ending may take when a signal asks for it [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    #[arg(hide_short_help = true)]
    pub(crate) stop_timeout: Option<Duration>,
    /// Ask this tracker, too, after the torrent's own (not for private torrents); may be repeated
    #[arg(long = "tracker", value_name = "URL", value_parser = tracker)]
    pub(crate) trackers: Vec<String>,
    /// Do not ask trackers
    #[arg(long)]
    pub(crate) no_trackers: bool,
    /// Neither announce nor look for peers in the DHT
    #[arg(long, hide_short_help = true)]
    pub(crate) no_dht: bool,
    /// Node of the DHT to begin with, instead of the public ones; may be repeated
    #[arg(long, value_name = "HOST:PORT,...", value_parser = peer, value_delimiter = ',')]
    #[arg(hide_short_help = true, conflicts_with = "no_dht")]
    pub(crate) dht_bootstrap: Vec<(String, u16)>,
    /// Neither announce nor look for peers on the local network
    #[arg(long, hide_short_help = true)]
    pub(crate) no_lsd: bool,
    /// Do not exchange peers with peers
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) no_pex: bool,
    /// Trust the certificates in this PEM file, too, when a tracker is asked over HTTPS; may be
    /// repeated
    #[arg(long = "ca-file", value_name = "FILE", value_parser = ca_file)]
    #[arg(value_hint = ValueHint::FilePath)]
    #[arg(hide_short_help = true)]
    pub(crate) ca_files: Vec<Certificates>,
    /// Neither dial nor let in peers whose addresses are in this list (.p2p, .dat or plain, also
    /// .gz); may be repeated
    #[arg(long = "blocklist", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) blocklists: Vec<PathBuf>,
    /// What peers are to be spoken to in: nothing is encrypted yet, which all but `require` allow.
    #[arg(long, value_name = "MODE", hide = true)]
    pub(crate) encryption: Option<Encryption>,
    /// What no version so far does anyway.
    #[command(flatten)]
    pub(crate) absent: AbsentArgs,
    /// How fast payload may flow.
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// How long a peer is waited for.
    #[command(flatten)]
    pub(crate) timeouts: TimeoutArgs,
}

/// What all traffic is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bind {
    /// One of our addresses, and the interface that has it.
    Address(IpAddr),
    /// The interface of this name, with all its addresses.
    Interface(String),
}

/// The certificates of a file, DER each.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(pub(crate) Vec<Vec<u8>>);

/// Whether connections to peers are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Encryption {
    /// Never.
    Off,
    /// If the peer wants it.
    Allow,
    /// If the peer can.
    Prefer,
    /// Always; refused as long as it cannot be kept.
    Require,
}

/// Flags that forbid what does not exist yet: accepted, because they are obeyed.
#[derive(Clone, Default, Debug, clap::Args)]
pub(crate) struct AbsentArgs {
    #[arg(long, hide = true)]
    no_port_map: bool,
    #[arg(long, hide = true)]
    no_utp: bool,
    #[arg(long, hide = true)]
    no_webseeds: bool,
}

/// Arguments of `get` and `seed` for a look inside.
#[derive(Clone, Default, Debug, clap::Args)]
#[command(next_help_heading = "Instruments")]
pub(crate) struct InstrumentArgs {
    /// Write latency histograms, a summary and a page with plots into this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(hide_short_help = true)]
    pub(crate) profile: Option<PathBuf>,
    /// Write what was said and done last into this file, as a trace for ui.perfetto.dev
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(hide_short_help = true)]
    pub(crate) trace: Option<PathBuf>,
}

/// Reads `6881` or `6881-6889`; 0 is any free port and stands alone.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse().map_err(|_| format!("'{text}' is no port (0 to 65535)"));
    let ports: RangeInclusive<u16> = port(first)?..=port(last)?;
    match (*ports.start(), *ports.end()) {
        (0, 1..) => Err("port 0 (any free one) cannot begin a range".to_owned()),
        (first, last) if first > last => Err("the range ends before it begins".to_owned()),
        _ => Ok(ports),
    }
}

/// Reads an address, or the name of an interface: at most 15 bytes, without slashes and blanks.
pub(super) fn bind(text: &str) -> Result<Bind, String> {
    if let Ok(addr) = text.parse() {
        return Ok(Bind::Address(addr));
    }
    let is_legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    if (1..=MAX_INTERFACE_NAME).contains(&text.len()) && text.chars().all(is_legal) {
        return Ok(Bind::Interface(text.to_owned()));
    }
    Err("an address like 192.0.2.1, or the name of an interface like tun0".to_owned())
}

/// Bytes of an interface's name (`IFNAMSIZ` less the zero behind it).
const MAX_INTERFACE_NAME: usize = 15;

/// Reads an address that others can dial.
fn announce_ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| "an address is like 203.0.113.9 or 2001:db8::9")?;
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("nobody can be dialled at this address".to_owned());
    }
    Ok(ip)
}

/// Reads a code point, by its name (RFC 2474, 2597, 3246, 8622) or number.
fn dscp(text: &str) -> Result<u8, String> {
    let lower = text.to_ascii_lowercase();
    let digit = |at: usize, range: RangeInclusive<u8>| {
        let digit = lower.as_bytes().get(at).map(|byte| byte.wrapping_sub(b'0'));
        digit.filter(|digit| range.contains(digit) && lower.is_ascii())
    };
    let named = match (lower.as_str(), lower.len()) {
        ("le", _) => Some(DSCP_LOWER_EFFORT),
        ("default" | "be", _) => Some(0),
        ("ef", _) => Some(46),
        (class, 3) if class.starts_with("cs") => digit(2, 0..=7).map(|class| class << 3),
        (class, 4) if class.starts_with("af") => {
            digit(2, 1..=4).zip(digit(3, 1..=3)).map(|(class, drop)| class << 3 | drop << 1)
        }
        _ => lower.parse().ok().filter(|number| *number <= MAX_DSCP),
    };
    named.ok_or_else(|| "one of le, default, cs0-cs7, af11-af43, ef, or 0-63".to_owned())
}

/// Reads a file of certificates, so that a wrong one is found before anything begins.
pub(super) fn ca_file(path: &str) -> Result<Certificates, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let pem = read_limited(file, MAX_CA_FILE).map_err(|error| error.to_string())?;
    parse_ca(&pem).map(Certificates).map_err(|error| error.to_string())
}

/// The most bytes of a file of certificates: those of all the world's authorities have some 250
/// KiB.
const MAX_CA_FILE: u64 = 4 << 20;

/// Reads the URL of a tracker.
pub(super) fn tracker(text: &str) -> Result<String, String> {
    match AnnounceUrl::parse(text) {
        Ok(url) if url.scheme().is_supported() => Ok(text.to_owned()),
        Ok(url) if url.scheme() == Scheme::Https => Err("this build has no TLS".to_owned()),
        Ok(_) => Err("a tracker is asked by udp://, http:// or https://".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads `host:port`, `1.2.3.4:port` or `[2001:db8::1]:port`.
fn peer(text: &str) -> Result<(String, u16), String> {
    let form = || "a peer is HOST:PORT, an IPv6 address in brackets".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port = port.parse().ok().filter(|&port| port > 0).ok_or_else(form)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().map_err(|_| form())?.to_string(),
        None if host.is_empty() || host.contains([':', '[', ']', '/', '@']) => return Err(form()),
        None if host.contains(|c: char| c.is_whitespace() || c.is_control()) => return Err(form()),
        None => host.to_owned(),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_names_and_numbers() {
        for (text, number) in [
            ("le", 1),
            ("LE", 1),
            ("default", 0),
            ("be", 0),
            ("cs0", 0),
            ("cs1", 8),
            ("cs7", 56),
            ("af11", 10),
            ("AF43", 38),
            ("ef", 46),
            ("0", 0),
            ("63", 63),
        ] {
            assert_eq!(dscp(text), Ok(number), "{text}");
        }
        for text in ["", "64", "-1", "cs8", "cs", "cs11", "af14", "af51", "afé", "0x10", "high"] {
            assert!(dscp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn traffic_is_bound_to_an_address_or_an_interface() {
        for text in ["192.0.2.1", "::1", "0.0.0.0"] {
            assert_eq!(bind(text), Ok(Bind::Address(text.parse().unwrap())));
        }
        for text in ["tun0", "wg-home.1", "eth0.100", "fünf", "abcdefghijklmno"] {
            assert_eq!(bind(text), Ok(Bind::Interface(text.to_owned())));
        }
        for text in ["", "a b", "a/b", "tun0\n", "abcdefghijklmnop", "2001:db8::1::2222"] {
            assert!(bind(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_announced_address_is_one_to_dial() {
        for text in ["203.0.113.9", "2001:db8::9", "127.0.0.2"] {
            assert_eq!(announce_ip(text).map(|ip| ip.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "h", "1.2.3.4:5"]
        {
            assert!(announce_ip(text).is_err(), "{text}");
        }
    }
}
