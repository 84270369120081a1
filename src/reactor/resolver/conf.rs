//! What the system's own resolver is told in files: name servers, search domains, hosts.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::proto::dns::Name;
use crate::time::Duration;

/// The most name servers that are asked (as many as glibc asks).
const MAX_SERVERS: usize = 3;
/// The most domains in which a name is looked for.
const MAX_SEARCH: usize = 6;
/// The most dots that `ndots` can ask for, seconds of `timeout`, and rounds of `attempts`
/// (resolv.conf(5)).
const MAX_DOTS: usize = 15;
const MAX_TIMEOUT_S: u64 = 30;
const MAX_ATTEMPTS: usize = 5;
/// The most bytes that are read of either file. Hosts files of blocklists have some megabytes.
const MAX_CONF: u64 = 64 << 10;
const MAX_HOSTS: u64 = 16 << 20;
const DNS_PORT: u16 = 53;

/// Where systemd-resolved writes down whom it asks itself, in place of its own loopback address.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// What resolv.conf(5) says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Conf {
    /// In the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Domains in which a name is looked for that has fewer dots than `ndots`.
    pub(super) search: Vec<Name>,
    /// How many dots make a name one that is looked for as it is first.
    pub(super) ndots: usize,
    /// How long one server is waited for.
    pub(super) timeout: Duration,
    /// How often all servers are asked.
    pub(super) attempts: usize,
}

impl Conf {
    /// Reads the system's, with the servers of which `is_usable` holds. If there are none, those
    /// are taken that the resolver on this machine asks, if it says so.
    pub(super) fn of_system(is_usable: impl Fn(SocketAddr) -> bool) -> Self {
        let read = |path: &str| Self::parse(&read(path, MAX_CONF), &is_usable);
        let mut conf = read(RESOLV_CONF);
        if conf.servers.is_empty() {
            conf.servers = read(UPSTREAM).servers;
        }
        conf
    }

    fn parse(text: &str, is_usable: &impl Fn(SocketAddr) -> bool) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // One with a scope (`fe80::1%eth0`) is none that a bound socket could ask.
                    let addr = words.next().and_then(|word| word.parse().ok());
                    let server = addr.map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT));
                    conf.servers.extend(server.filter(|server| is_usable(*server)));
                }
                // The last line of the two counts.
                Some("search" | "domain") => {
                    conf.search = words.filter_map(|word| Name::parse(word).ok()).collect();
                }
                Some("options") => words.for_each(|word| conf.set(word)),
                _ => {}
            }
        }
        conf.servers.truncate(MAX_SERVERS);
        conf.search.truncate(MAX_SEARCH);
        conf
    }

    fn set(&mut self, option: &str) {
        let Some((name, Ok(value))) =
            option.split_once(':').map(|(name, value)| (name, value.parse::<u64>()))
        else {
            return;
        };
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match name {
            "ndots" => self.ndots = count.min(MAX_DOTS),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, MAX_TIMEOUT_S)),
            "attempts" => self.attempts = count.clamp(1, MAX_ATTEMPTS),
            _ => {}
        }
    }
}

/// Returns the addresses that this machine's own files give a name; none if they do not. The name
/// `localhost` and those below it are loopback by definition (RFC 6761 6.3).
pub(super) fn local_addrs(host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let named = in_hosts(&read(HOSTS, MAX_HOSTS), host);
    let is_localhost = host.rsplit('.').next().is_some_and(|top| top == "localhost");
    if is_localhost && !named.iter().any(IpAddr::is_loopback) {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    named
}

/// Returns the addresses of a name in lower case that hosts(5) has.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let addr_of = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let addr = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(addr)
    };
    text.lines().filter_map(addr_of).take(super::MAX_ADDRS).collect()
}

/// Returns the beginning of a file; nothing if it cannot be read.
fn read(path: &str, at_most: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error is as good as a shorter file.
        let _ = file.take(at_most).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Conf {
        Conf::parse(text, &|server| !server.ip().is_loopback())
    }

    #[test]
    fn servers_domains_and_options_are_read() {
        let conf = parsed(
            "# comment\n; another\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\n\
             search one.example\ndomain two.example Three.Example.\n\
             options ndots:2 timeout:3 attempts:4 rotate\nnameserver 127.0.0.53\n",
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53"]);
        let search: Vec<String> = conf.search.iter().map(ToString::to_string).collect();
        assert_eq!(search, ["two.example", "three.example"]);
        assert_eq!((conf.ndots, conf.timeout.as_secs(), conf.attempts), (2, 3, 4));
    }

    #[test]
    fn what_is_missing_or_wild_has_bounds() {
        let none = parsed("nameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n");
        assert_eq!(none.servers, []);
        assert_eq!((none.ndots, none.timeout.as_secs(), none.attempts), (1, 5, 2));
        let wild = "options ndots:99999999999999999999 timeout:x attempts: ndots:-1 ndots\n";
        assert_eq!(parsed(wild), none);
        let least = parsed("options timeout:0 attempts:0\n");
        assert_eq!((least.timeout.as_secs(), least.attempts), (1, 1));
        let wild = parsed("options ndots:100 timeout:1000 attempts:1000\n");
        assert_eq!((wild.ndots, wild.timeout.as_secs(), wild.attempts), (15, 30, 5));
        let many = parsed(&"nameserver 192.0.2.1\n".repeat(9));
        assert_eq!(many.servers.len(), MAX_SERVERS);
    }

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let text = "127.0.0.1 localhost\n192.0.2.1\ttracker.Example tracker # other\n\
                    2001:db8::1 tracker\nbad other\n# 192.0.2.9 tracker\n";
        let found = |host| in_hosts(text, host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("tracker"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(found("tracker.example"), ["192.0.2.1"]);
        assert_eq!(found("other"), [""; 0]);
        for host in ["localhost", "a.localhost", "localhost."] {
            assert!(local_addrs(host).iter().any(IpAddr::is_loopback), "{host}");
        }
        assert!(local_addrs("localhost.example").is_empty());
    }
}
