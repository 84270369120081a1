//! From network arguments to a running client: addresses to listen on, ports to try, limits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;

use swarmloop::client::{Client, ClientConfig, ClientError};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::reactor::egress::Egress;
use swarmloop::reactor::resolver::can_resolve;
use swarmloop::session::config::Config;
use swarmloop::text::Escaped;

use super::args::network::{Bind, Encryption, NetworkArgs};
use super::blocklist;
use super::dht;
use super::exit::Failure;
use super::ui::Ui;

/// The ports that `BitTorrent` clients have listened on since the first one (BEP 3 names 6881 to
/// 6889).
const DEFAULT_PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// Threads that hash and write; more than two only queue up behind one disk.
const MAX_WORKERS: usize = 2;

/// Starts a client as the arguments say, on the first port that is free, with so many threads that
/// hash and write; it keeps a trace of so many records.
pub(crate) fn start(
    args: &NetworkArgs,
    jobs: Option<NonZeroUsize>,
    trace_records: usize,
    ui: &mut Ui,
) -> Result<Client, Failure> {
    let blocklist = blocklist::load(&args.blocklists, ui)?;
    let adapt = |config: &mut ClientConfig| {
        config.session.blocklist.clone_from(&blocklist);
        config.workers = jobs.map_or(config.workers, NonZeroUsize::get);
    };
    start_with(args, trace_records, adapt).map_err(|error| Failure::start(&error, "--port"))
}

/// The same, with what `adapt` changes of the configuration.
pub(crate) fn start_with(
    args: &NetworkArgs,
    trace_records: usize,
    adapt: impl Fn(&mut ClientConfig),
) -> Result<Client, ClientError> {
    let ports = candidate_ports(args);
    start_on(&ports, |port| {
        let mut session = config(args);
        session.listen_port = port;
        session.trace_records = trace_records;
        let listen = listen_on(args, port);
        let workers = workers();
        let ca_certificates = ca_certificates(args);
        let mut config =
            ClientConfig { session, listen, workers, ca_certificates, ..ClientConfig::default() };
        dht::configure(args, &way(args), &mut config);
        config.lsd = !args.no_lsd;
        adapt(&mut config);
        Client::start(config)
    })
}

/// Tells of what the arguments ask for and do not get.
pub(crate) fn warn(args: &NetworkArgs, ui: &mut Ui) {
    if let Some(Encryption::Allow | Encryption::Prefer) = args.encryption {
        let text = "--encryption: this version encrypts nothing; connections to peers are plain";
        ui.warning("not_encrypted", text, None);
    }
}

/// Returns the certificates that are trusted beside those of the system.
pub(crate) fn ca_certificates(args: &NetworkArgs) -> Vec<Vec<u8>> {
    args.ca_files.iter().flat_map(|file| file.0.clone()).collect()
}

/// Returns the engine's defaults with what the arguments change.
pub(crate) fn config(args: &NetworkArgs) -> Config {
    let mut config = Config::default();
    (config.bind, config.bind_interface) = bind(args);
    config.announce_port = args.announce_port.unwrap_or(0);
    config.announce_ip = args.announce_ip;
    config.dscp = args.dscp.unwrap_or(config.dscp);
    let set = |limit: &mut usize, given: Option<u16>| {
        *limit = given.map_or(*limit, usize::from);
    };
    set(&mut config.max_peers, args.max_peers);
    set(&mut config.max_conns, args.max_conns);
    set(&mut config.unchoke_slots, args.unchoke_slots);
    // Who says how many means it, whatever the limit.
    config.slots_follow_limit = args.unchoke_slots.is_none();
    set(&mut config.max_half_open, args.max_half_open);
    config.limits = args.limits.in_all();
    config.pex = !args.no_pex;
    config.user_trackers.clone_from(&args.trackers);
    let times = args.timeouts;
    for (limit, given) in [
        (&mut config.connect_timeout, times.connect_timeout),
        (&mut config.idle_timeout, times.peer_timeout),
        (&mut config.request_timeout, times.request_timeout),
        (&mut config.keep_alive_interval, times.keepalive),
    ] {
        *limit = given.unwrap_or(*limit);
    }
    config
}

/// Returns the addresses and the interface that traffic is bound to: an address of a family,
/// whatever it is, if only that family is to be used. One of them may be a setting and the other
/// typed: whatever says by which way traffic leaves holds.
fn bind(args: &NetworkArgs) -> (Vec<IpAddr>, Option<String>) {
    let of_family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        (_, true) => Some(Ipv6Addr::UNSPECIFIED.into()),
        (false, false) => None,
    };
    match &args.bind {
        Some(Bind::Address(addr)) => (vec![*addr], None),
        Some(Bind::Interface(name)) => (of_family.into_iter().collect(), Some(name.clone())),
        None => (of_family.into_iter().collect(), None),
    }
}

/// Returns the way that the arguments leave to traffic, before anything is done; says what of it
/// is worth knowing.
pub(crate) fn egress(args: &NetworkArgs, ui: &mut Ui) -> Result<Egress, Failure> {
    let (addrs, interface) = bind(args);
    let egress = Egress::new(&addrs, interface.as_deref())
        .map_err(|error| Failure::start(&ClientError::Bind(error), "--port"))?;
    for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let is_unwanted = if is_ipv4 { args.ipv6 } else { args.ipv4 };
        if let Some(name) = &interface
            && !is_unwanted
            && !egress.speaks(is_ipv4)
        {
            let name = Escaped(name);
            ui.say(&format!("--bind {name} has no {family} address: {family} is not used"));
        }
    }
    if !can_resolve(&egress) {
        let text = "no name server in /etc/resolv.conf can be asked the way that --bind leaves: \
                    trackers and peers are found by address, not by name";
        ui.warning("no_name_server", text, None);
    }
    Ok(egress)
}

/// Adds the trackers that the user named to a torrent's own, each in a tier behind those before it
/// (BEP 12). A private torrent gets none: its peers come from its own trackers alone (BEP 27).
pub(crate) fn add_trackers(
    args: &NetworkArgs,
    number: usize,
    metainfo: &mut Metainfo,
    ui: &mut Ui,
) {
    if metainfo.private && !args.trackers.is_empty() {
        let text =
            "the torrent is private: only its own trackers are asked, not those of --tracker";
        return ui.warning("private", text, Some(number));
    }
    for url in &args.trackers {
        if !metainfo.trackers.iter().flatten().any(|own| own == url) {
            metainfo.trackers.push(vec![url.clone()]);
        }
    }
}

/// Returns how many threads hash and write: one a processor, at most [`MAX_WORKERS`].
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

/// Returns the ports to try in order; 0 is any free one.
fn candidate_ports(args: &NetworkArgs) -> Vec<u16> {
    match &args.port {
        Some(ports) => ports.clone().collect(),
        None => DEFAULT_PORTS.chain([0]).collect(),
    }
}

/// Calls `start` with one port after the other until one is not in use; returns the last error if
/// all are.
fn start_on<T>(
    ports: &[u16],
    mut start: impl FnMut(u16) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut result = Err(ClientError::Ended);
    for &port in ports {
        result = start(port);
        match &result {
            Err(ClientError::Listen { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse => {}
            _ => break,
        }
    }
    result
}

/// Returns where to listen at a port: on the one address that was asked for, else on every one of
/// the families that are spoken.
pub(crate) fn listen_on(args: &NetworkArgs, port: u16) -> Vec<SocketAddr> {
    let egress = way(args);
    let families = [egress.speaks(true), egress.speaks(false) && has_ipv6()];
    listen_addrs(&bind(args).0, port, families)
}

/// Returns the way that the arguments leave to traffic, or any: what cannot be is said when the
/// client starts.
fn way(args: &NetworkArgs) -> Egress {
    let (addrs, interface) = bind(args);
    Egress::new(&addrs, interface.as_deref()).unwrap_or_default()
}

fn listen_addrs(bind: &[IpAddr], port: u16, [has_ipv4, has_ipv6]: [bool; 2]) -> Vec<SocketAddr> {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match bind.first() {
        Some(address) => vec![SocketAddr::from((*address, port))],
        None if !has_ipv4 => vec![v6],
        // With any port the two families would get different ones, and announces name only one.
        None if port == 0 || !has_ipv6 => vec![v4],
        None => vec![v4, v6],
    }
}

/// Tells whether this machine speaks IPv6 at all; nothing is sent.
fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmloop::session::config::DSCP_LOWER_EFFORT;

    use crate::cli::args::timeouts::TimeoutArgs;
    use crate::cli::exit::Exit;
    use crate::cli::files::tests::metainfo;
    use crate::cli::ui::tests::{plain, recorded};

    fn listen_error(port: u16, kind: io::ErrorKind) -> ClientError {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        ClientError::Listen { addr, source: kind.into() }
    }

    #[test]
    fn limits_are_the_defaults_unless_they_are_given() {
        let limits = |args: &NetworkArgs| {
            let config = config(args);
            [config.max_peers, config.max_conns, config.unchoke_slots]
        };
        let none = NetworkArgs::default();
        let default = Config::default();
        let defaults = [default.max_peers, default.max_conns, default.unchoke_slots];
        assert_eq!(limits(&none), defaults);
        let (max_peers, max_conns, unchoke_slots) = (Some(1), Some(20_000), Some(3));
        let all = NetworkArgs { max_peers, max_conns, unchoke_slots, ..none };
        assert_eq!(limits(&all), [1, 20_000, 3]);
        assert!(config(&all).pex && !config(&NetworkArgs { no_pex: true, ..all }).pex);
    }

    #[test]
    fn times_and_ports_are_the_engines_unless_they_are_given() {
        let none = config(&NetworkArgs::default());
        let default = Config::default();
        assert_eq!(none.connect_timeout, default.connect_timeout);
        assert_eq!((none.announce_port, none.max_half_open), (0, default.max_half_open));
        assert_eq!((none.announce_ip, none.dscp), (None, DSCP_LOWER_EFFORT));
        let second = |s| Some(std::time::Duration::from_secs(s));
        let args = NetworkArgs {
            announce_port: Some(51_413),
            announce_ip: "203.0.113.9".parse().ok(),
            dscp: Some(46),
            max_half_open: Some(7),
            timeouts: TimeoutArgs {
                connect_timeout: second(1),
                peer_timeout: second(2),
                request_timeout: second(3),
                keepalive: second(4),
            },
            ..NetworkArgs::default()
        };
        let config = config(&args);
        assert_eq!((config.announce_port, config.max_half_open), (51_413, 7));
        assert_eq!((config.announce_ip, config.dscp), (args.announce_ip, 46));
        let times = [config.connect_timeout, config.idle_timeout, config.request_timeout];
        assert_eq!(times.map(|time| time.as_secs()), [1, 2, 3]);
        assert_eq!(config.keep_alive_interval.as_secs(), 4);
    }

    #[test]
    fn one_family_is_an_address_of_it_whatever_it_is() {
        let bound = |args: &NetworkArgs| {
            let (addrs, interface) = bind(args);
            let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
            (addrs.join(" "), interface.unwrap_or_default())
        };
        let expected = |addrs: &str, interface: &str| (addrs.to_owned(), interface.to_owned());
        let none = NetworkArgs::default();
        assert_eq!(bound(&none), expected("", ""));
        let v4 = NetworkArgs { ipv4: true, ..none.clone() };
        assert_eq!(bound(&v4), expected("0.0.0.0", ""));
        let v6 = NetworkArgs { ipv6: true, ..none.clone() };
        assert_eq!(bound(&v6), expected("::", ""));
        let addr = Bind::Address("127.0.0.2".parse().expect("an address"));
        let named = NetworkArgs { bind: Some(addr), ..none.clone() };
        assert_eq!(bound(&named), expected("127.0.0.2", ""));
        let interface = Some(Bind::Interface("tun0".to_owned()));
        let tun0 = NetworkArgs { bind: interface, ..none };
        assert_eq!(bound(&tun0), expected("", "tun0"));
        // With a family from the settings, or the other way round.
        for (args, addrs, interface) in [
            (NetworkArgs { ipv4: true, ..tun0.clone() }, "0.0.0.0", "tun0"),
            (NetworkArgs { ipv6: true, ..tun0 }, "::", "tun0"),
            (NetworkArgs { ipv4: true, ..named.clone() }, "127.0.0.2", ""),
            (NetworkArgs { ipv6: true, ..named }, "127.0.0.2", ""),
        ] {
            assert_eq!(bound(&args), expected(addrs, interface));
        }
    }

    #[test]
    fn a_way_that_does_not_exist_is_wrong_usage() {
        let (mut ui, _, _) = recorded(&plain());
        let bind = Some(Bind::Interface("no-such-thing".to_owned()));
        let args = NetworkArgs { bind, ..NetworkArgs::default() };
        let failure = egress(&args, &mut ui).expect_err("there is none");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("no interface is called 'no-such-thing'"));
    }

    #[test]
    fn trackers_are_added_behind_a_torrents_own_unless_it_is_private() {
        let mut metainfo = metainfo(&[("a", 1, false)]);
        metainfo.trackers = vec![vec!["http://a/announce".to_owned()]];
        let trackers = ["http://a/announce", "udp://b:1"].map(str::to_owned).to_vec();
        let args = NetworkArgs { trackers, ..NetworkArgs::default() };
        for (private, tiers, warned) in [(true, 1, true), (false, 2, false)] {
            metainfo.private = private;
            let (mut ui, _, err) = recorded(&plain());
            add_trackers(&args, 1, &mut metainfo, &mut ui);
            assert_eq!(metainfo.trackers.len(), tiers);
            assert_eq!(err.text().contains("private"), warned);
        }
        assert_eq!(metainfo.trackers[1], ["udp://b:1"]);
    }

    #[test]
    fn who_would_like_encryption_is_told_that_there_is_none() {
        for (encryption, warned) in [
            (None, false),
            (Some(Encryption::Off), false),
            (Some(Encryption::Allow), true),
            (Some(Encryption::Prefer), true),
        ] {
            let (mut ui, _, err) = recorded(&plain());
            warn(&NetworkArgs { encryption, ..NetworkArgs::default() }, &mut ui);
            assert_eq!(err.text().contains("connections to peers are plain"), warned);
        }
    }

    #[test]
    fn the_first_free_port_is_taken() {
        let mut tried = Vec::new();
        let port = start_on(&candidate_ports(&NetworkArgs::default()), |port| {
            tried.push(port);
            if port < 6883 { Err(listen_error(port, io::ErrorKind::AddrInUse)) } else { Ok(port) }
        });
        assert_eq!(port.ok(), Some(6883));
        assert_eq!(tried, [6881, 6882, 6883]);
    }

    #[test]
    fn any_port_is_the_last_resort_unless_ports_were_named() {
        let in_use = |port| Err::<(), _>(listen_error(port, io::ErrorKind::AddrInUse));
        for (port, last) in [(None, 0), (Some(7000..=7002), 7002), (Some(0..=0), 0)] {
            let args = NetworkArgs { port, ..NetworkArgs::default() };
            let mut tried = Vec::new();
            let result = start_on(&candidate_ports(&args), |port| {
                tried.push(port);
                in_use(port)
            });
            assert!(result.is_err());
            assert_eq!(tried.last(), Some(&last));
        }
    }

    #[test]
    fn another_error_than_a_taken_port_ends_the_search() {
        let mut tried = 0;
        let result = start_on(&[80, 81], |port| {
            tried += 1;
            Err::<(), _>(listen_error(port, io::ErrorKind::PermissionDenied))
        });
        assert!(result.is_err());
        assert_eq!(tried, 1);
    }

    #[test]
    fn both_families_listen_unless_one_address_was_asked_for() {
        let text = |bind: Option<&str>, port, has_ipv6| -> Vec<String> {
            let bind: Vec<IpAddr> =
                bind.map(|text| text.parse().expect("an address")).into_iter().collect();
            listen_addrs(&bind, port, [true, has_ipv6]).iter().map(ToString::to_string).collect()
        };
        assert_eq!(text(None, 6881, true), ["0.0.0.0:6881", "[::]:6881"]);
        assert_eq!(text(None, 6881, false), ["0.0.0.0:6881"]);
        assert_eq!(text(None, 0, true), ["0.0.0.0:0"]);
        assert_eq!(text(Some("::1"), 5, true), ["[::1]:5"]);
        assert_eq!(text(Some("127.0.0.2"), 0, true), ["127.0.0.2:0"]);
        let only_v6 = listen_addrs(&[], 0, [false, true]);
        assert_eq!(only_v6, ["[::]:0".parse().expect("an address")]);
    }
}
