//! `share`: hands a file or folder to whoever is given a line to type, without an outside server.
//!
//! It makes the torrent (as `create` does), seeds it, and is its tracker; that serves the torrent
//! file over HTTP, too. All of it is one client on one loop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use swarmloop::client::{AddTorrent, Client, ClientConfig, ClientError, Mode};
use swarmloop::filter::IpFilter;
use swarmloop::id::{InfoHash, TorrentId};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::io::Event;
use swarmloop::text::Escaped;
use swarmloop::tracker_server::{ServedFile, ServerConfig};

use super::args::share::ShareArgs;
use super::args::tracker::DEFAULT_PORT;
use super::blocklist;
use super::create::{self, Hashed};
use super::ending::STOPPING;
use super::exit::{Exit, Failure};
use super::goals::Goal;
use super::input::{Loaded, data_dir};
use super::json;
use super::network;
use super::new_file::{in_the_way, put};
use super::peers::PeerView;
use super::signals::Signals;
use super::size::Size;
use super::snapshot::Snapshot;
use super::target::{Target, check_folder};
use super::tracker::announce_url;
use super::ui::Ui;
use super::watch::{End, Engine, Watch};

/// How often receivers are told of each other, and the seed of receivers: as often as clients ask.
/// There are few of them, and they do not stay.
const INTERVAL: Duration = Duration::from_secs(60);

/// What stays as it is in a URL's path (RFC 3986 2.3). No shell makes anything of the rest either.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Shares until a signal comes, or until those have everything that it was meant for.
pub(crate) fn run(args: &ShareArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let egress = network::egress(&args.network, ui)?;
    let to_create = args.to_create();
    if args.output.is_some() {
        match create::output(&to_create)? {
            Target::File(path) if path.symlink_metadata().is_ok() => {
                return Err(in_the_way(&path).hint("-o names another place"));
            }
            Target::File(path) => check_folder(&path)?,
            Target::Stdout => {
                let message = "stdout is for the line that a receiver types, not for the torrent";
                let failure = Failure::new(Exit::Usage, "stdout_twice", message);
                return Err(failure.hint("name a file with -o"));
            }
        }
    }
    network::warn(&args.network, ui);
    let signals = Signals::listen().map_err(|error| Failure::io("listen for signals", &error))?;
    let hashed = match create::hash(&to_create, &signals, ui)? {
        Ok(hashed) => hashed,
        Err(interrupted) => return Ok(interrupted),
    };
    let info_hash = hashed.metainfo(&hashed.torrent(&[]))?.info_hash;
    let client = start(args, info_hash, ui)?;
    let ip = egress.addrs().first().copied().or_else(outward_address);
    let offer = Offer::new(args, ip, &client, &hashed)?;
    client.serve_files(vec![offer.file()]).map_err(|error| Failure::client(&error))?;
    if let (Some(_), Some(path)) = (&args.output, hashed.output().path()) {
        put(path, &offer.torrent, false)?;
    }
    let torrent = Loaded::new(offer.metainfo.clone(), "share");
    let dir = data_dir(&args.path, &torrent)?;
    let mut watch = Watch::new(Goal::Seed(args.goal.goal()), Vec::new(), Instant::now())
        .with_blocklists(&args.network.blocklists);
    let to_add = AddTorrent {
        use_trackers: !args.network.no_trackers,
        peers: args.network.peers.clone(),
        limits: args.network.limits.of_torrent(),
        // It was all read to make the torrent.
        hashed: Some(hashed.files()),
        ..AddTorrent::new(torrent.metainfo, dir, Mode::Seed)
    };
    watch.add(&client, ui, 1, to_add, torrent.source, None);
    // Nobody is told to fetch what is not there.
    if !watch.is_empty() {
        offer.tell(ui);
    }
    let sharing = Sharing { client: &client, once: args.once.map(u64::from) };
    let end = watch.run(&sharing, &signals, ui);
    if let End::Stopped(_) = end {
        ui.tell(STOPPING);
    }
    let finished = sharing.finished();
    client.shutdown(signals.time_to_stop());
    if let Ok(receivers @ 1..) = finished {
        ui.say(&format!("{receivers} received everything"));
    }
    Ok(watch.conclude(ui, end))
}

/// Starts a client that seeds and tracks, on ports that are free.
fn start(args: &ShareArgs, info_hash: InfoHash, ui: &mut Ui) -> Result<Client, Failure> {
    let blocklist = blocklist::load(&args.network.blocklists, ui)?;
    let ports = args.tracker_port.map_or_else(|| vec![DEFAULT_PORT, 0], |port| vec![port]);
    let mut result = Err(ClientError::Ended);
    for port in ports {
        result = network::start_with(&args.network, 0, |config: &mut ClientConfig| {
            config.tracker_listen = network::listen_on(&args.network, port);
            config.tracker_udp.clone_from(&config.tracker_listen);
            config.tracker = tracker(info_hash);
            config.session.blocklist.clone_from(&blocklist);
            // What is shared is for those who are given the link, and its tracker finds them.
            config.dht = config.dht.take().filter(|_| !args.network.dht_bootstrap.is_empty());
            config.lsd = false;
        });
        let taken = matches!(&result, Err(ClientError::Listen { addr, .. }) if addr.port() == port);
        if !taken {
            break;
        }
    }
    result.map_err(|error| match &error {
        ClientError::Listen { addr, .. } if Some(addr.port()) == args.tracker_port => {
            Failure::start(&error, "--tracker-port")
        }
        _ => Failure::start(&error, "--port"),
    })
}

/// A tracker for one torrent.
fn tracker(info_hash: InfoHash) -> ServerConfig {
    let mut config = ServerConfig::default();
    (config.interval, config.min_interval) = (INTERVAL, INTERVAL);
    config.allowed = Some([info_hash].into());
    config
}

/// What is offered, and where.
struct Offer {
    metainfo: Metainfo,
    torrent: Bytes,
    /// Where the torrent file is.
    url: String,
    /// Where the seed is.
    peer: SocketAddr,
    /// Whether others can reach that.
    is_reachable: bool,
}

impl Offer {
    /// Offers what others reach at `ip`; if it is `None`, nobody does.
    fn new(
        args: &ShareArgs,
        ip: Option<IpAddr>,
        client: &Client,
        hashed: &Hashed<'_>,
    ) -> Result<Self, Failure> {
        let at = |addrs: &[SocketAddr]| {
            let port = addrs.first().map_or(0, SocketAddr::port);
            SocketAddr::new(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), port)
        };
        let (tracker, peer) = (at(client.tracker_addrs()), at(client.listen_addrs()));
        let trackers = vec![vec![announce_url(&tracker)]];
        let trackers = if args.network.no_trackers { Vec::new() } else { trackers };
        let torrent = hashed.torrent(&trackers);
        let metainfo = hashed.metainfo(&torrent)?;
        let url = format!("http://{tracker}{}", path_of(&metainfo.name));
        Ok(Self { metainfo, torrent, url, peer, is_reachable: ip.is_some() })
    }

    /// Returns the torrent file as the tracker serves it.
    fn file(&self) -> ServedFile {
        ServedFile {
            path: format!("/{}.torrent", self.metainfo.name),
            media_type: "application/x-bittorrent",
            body: self.torrent.clone(),
        }
    }

    /// Returns what a receiver types.
    fn command(&self) -> String {
        let (url, peer) = (word(&self.url), word(&self.peer.to_string()));
        format!("curl -s {url} | swarmloop get - --peer {peer}")
    }

    /// Says what is offered; stdout gets the one line.
    fn tell(&self, ui: &mut Ui) {
        let (name, size) = (Escaped(&self.metainfo.name), Size(self.metainfo.total_len()));
        ui.say(&format!("sharing  {name}  {size}; a receiver types the line below"));
        if !self.is_reachable {
            let text = "this machine has no way to others; --bind names an address";
            ui.warning("no_network", text, Some(1));
        }
        ui.record(|| json::sharing(&self.url, &self.peer, &self.command()));
        ui.result(&self.command());
    }
}

/// Returns the path of a URL to the torrent file.
fn path_of(name: &str) -> String {
    format!("/{}.torrent", utf8_percent_encode(name, UNRESERVED))
}

/// Returns a URL or an address as one word of any shell: what is in brackets is a pattern to some.
fn word(text: &str) -> String {
    if text.contains('[') { format!("'{text}'") } else { text.to_owned() }
}

/// Returns the address from which this machine reaches others; `None` if it does not. Nothing is
/// sent: the system looks for the way to an address that is for documentation only (RFC 5737, RFC
/// 3849).
fn outward_address() -> Option<IpAddr> {
    let ways = [("0.0.0.0:0", "198.51.100.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    ways.into_iter().find_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
    })
}

/// A client that is done when enough receivers are.
struct Sharing<'a> {
    client: &'a Client,
    once: Option<u64>,
}

impl Sharing<'_> {
    /// Returns how many receivers have everything.
    fn finished(&self) -> Result<u64, ClientError> {
        let status = self.client.tracker_status()?;
        Ok(status.map_or(0, |status| status.counters.finished))
    }
}

impl Engine for Sharing<'_> {
    fn next_event(&self, wait: Duration) -> Result<Event, RecvTimeoutError> {
        self.client.next_event(wait)
    }

    fn snapshots(&self, torrents: &[TorrentId]) -> Result<Vec<(TorrentId, Snapshot)>, ClientError> {
        self.client.snapshots(torrents)
    }

    fn reannounce(&self) {
        Engine::reannounce(self.client);
    }

    fn set_blocklist(&self, blocklist: Arc<IpFilter>) {
        Engine::set_blocklist(self.client, blocklist);
    }

    fn peers(&self, torrent: TorrentId) -> Result<Vec<PeerView>, ClientError> {
        Engine::peers(self.client, torrent)
    }

    fn remove(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.client.remove(torrent)
    }

    fn is_over(&self) -> Result<bool, ClientError> {
        let Some(once) = self.once else { return Ok(false) };
        Ok(self.finished()? >= once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_that_neither_a_url_nor_a_shell_misreads() {
        assert_eq!(path_of("album"), "/album.torrent");
        assert_eq!(
            path_of("a b/;$(x)'\"?#%é"),
            "/a%20b%2F%3B%24%28x%29%27%22%3F%23%25%C3%A9.torrent"
        );
    }

    #[test]
    fn brackets_are_quoted_for_shells_to_which_they_are_patterns() {
        assert_eq!(word("http://127.0.0.1:1/a.torrent"), "http://127.0.0.1:1/a.torrent");
        assert_eq!(word("[::1]:6881"), "'[::1]:6881'");
    }

    #[test]
    fn an_address_that_others_reach_is_not_the_loopback_one() {
        assert!(outward_address().is_none_or(|ip| !ip.is_loopback() && !ip.is_unspecified()));
    }
}
