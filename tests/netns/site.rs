//! A machine with two ways to one server, and that server: a name server, a tracker, a seed.
//!
//! ```text
//!            ┌─ eth0 10.77.1.2 ── open ──── 10.77.2.2 eth0 ─┐   10.99.0.1
//!  client ───┤                                              ├── server
//!            └─ eth1 10.78.1.2 ── tunnel ── 10.78.2.2 eth1 ─┘   fd99::1
//! ```
//!
//! The client's routes prefer `open`. The server answers the way that the client's address is.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use swarmloop::{
    client::{AddTorrent, Client, ClientConfig, Mode},
    dht::DhtConfig,
    id::{InfoHash, TorrentId},
    proto::metainfo::Metainfo,
    tracker_server::ServerCounters,
};
use tempfile::TempDir;

use crate::{
    netns::{Network, Node},
    tls::{self, Front},
    torrent,
    witness::Witness,
};

/// Where the server is, whichever way one comes.
pub(crate) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(crate) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);

/// The name that the name server knows.
const TRACKER_NAME: &str = "tracker.test";
const TRACKER_PORT: u16 = 6969;
/// Where the tracker is asked over HTTPS.
const HTTPS_PORT: u16 = 6970;
const SEED_PORT: u16 = 6881;

/// Everything of it; gone when it is dropped.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) seed: Client,
    pub(crate) seeding: TorrentId,
    pub(crate) names: NameServer,
    tracker: Client,
    _fronts: [Front; 2],
    info_hash: InfoHash,
    content: Vec<u8>,
    pub(crate) client: Node,
    // Listened to before the namespaces go.
    pub(crate) open: Witness,
    pub(crate) tunnel: Witness,
    server: Node,
    _networks: [Network; 2],
}

impl Site {
    pub(crate) fn new() -> Self {
        let (mut open, mut tunnel) = (Network::numbered(77), Network::numbered(78));
        let (mut client, mut server) = (open.node(), open.node());
        tunnel.link(&mut client);
        tunnel.link(&mut server);
        let [_, link] = client.links() else { panic!("two interfaces") };
        client.ip(&format!("route add default via {} metric 9000", link.gateway_v4));
        client.ip(&format!("route add default via {} metric 9000", link.gateway_v6));
        let (subnet_v4, subnet_v6) = (format!("{}/32", link.v4), format!("{}/128", link.v6));
        server.ip(&format!("address add {SERVER_V4}/32 dev lo"));
        server.ip(&format!("address add {SERVER_V6}/128 dev lo nodad"));
        let [plain, link] = server.links() else { panic!("two interfaces") };
        server.ip(&format!("route add {subnet_v4} via {}", link.gateway_v4));
        server.ip(&format!("route add {subnet_v6} via {}", link.gateway_v6));
        for (network, link) in [(&open, plain), (&tunnel, link)] {
            network.ip(&format!("route add {SERVER_V4}/32 via {}", link.v4));
            network.ip(&format!("route add {SERVER_V6}/128 via {}", link.v6));
        }
        client.resolv_conf(&format!("nameserver {SERVER_V4}\nnameserver {SERVER_V6}\n"));
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[1] ^ 0x5a).collect();
        fs::create_dir(folder.path().join("seed")).unwrap();
        fs::write(folder.path().join("seed/file"), &content).unwrap();
        let (tracker, seed) = server.within(|| (start_tracker(), start_seed()));
        let fronts = server.within(start_fronts);
        fs::write(folder.path().join("ca.pem"), tls::CA).unwrap();
        let file = torrent::of_one_file("file", &content, 16_384);
        fs::write(folder.path().join("file.torrent"), &file).unwrap();
        let metainfo = Metainfo::parse(&Bytes::from(file)).unwrap();
        let info_hash = metainfo.info_hash;
        let from = folder.path().join("seed");
        let seeding = seed.add_torrent(AddTorrent::new(metainfo, from, Mode::Seed)).unwrap();
        let names = server.within(NameServer::start);
        let (witness, other) = (Witness::at(&open), Witness::at(&tunnel));
        Self {
            folder,
            seed,
            seeding,
            names,
            tracker,
            _fronts: fronts,
            info_hash,
            content,
            client,
            open: witness,
            tunnel: other,
            server,
            _networks: [open, tunnel],
        }
    }

    /// A `get` in the client's namespace that asks one tracker, by its name, and dials the seed in
    /// both families.
    pub(crate) fn get(&self, scheme: &str, dir: &str, args: &[&str]) -> Command {
        let port = if scheme == "https" { HTTPS_PORT } else { TRACKER_PORT };
        let announce = format!("{scheme}://{TRACKER_NAME}:{port}/announce");
        let mut command = self.get_of(self.folder.path().join("file.torrent"), dir);
        command.args(["--port", "0", "--tracker", &announce]);
        command.arg("--ca-file").arg(self.folder.path().join("ca.pem"));
        for ip in [IpAddr::from(SERVER_V4), SERVER_V6.into()] {
            command.args(["--peer", &SocketAddr::new(ip, SEED_PORT).to_string()]);
        }
        command.args(args);
        command
    }

    /// A `get` in the client's namespace that knows one peer, and nobody to ask for others.
    pub(crate) fn get_from(&self, peer: SocketAddr, args: &[&str]) -> Command {
        let mut command = self.get_of(self.folder.path().join("file.torrent"), "out");
        command.args(["--no-trackers", "--peer", &peer.to_string()]).args(args);
        command
    }

    /// Who listens at the server's IPv6 address, and says nothing.
    pub(crate) fn listen(&self) -> TcpListener {
        self.server.within(|| TcpListener::bind((SERVER_V6, 0))).unwrap()
    }

    /// A `get` in the client's namespace that knows no more than the info-hash, and the seed's node
    /// of the DHT by its name.
    pub(crate) fn find(&self, dir: &str, args: &[&str]) -> Command {
        let mut command = self.get_of(self.info_hash.to_string(), dir);
        command.args(["--dht-bootstrap", &format!("{TRACKER_NAME}:{SEED_PORT}")]);
        // The seed dials, and is not dialled: it dials from other addresses than it listens at, so
        // that of two connections that cross neither side would know which is the same at both.
        let list = self.folder.path().join("listening");
        fs::write(&list, format!("{SERVER_V4}\n{SERVER_V6}\n")).unwrap();
        command.arg("--blocklist").arg(list).args(["--no-trackers", "--no-pex"]).args(args);
        // Which is set for what cargo runs.
        command.env_remove("SWARMLOOP_NO_DHT");
        command
    }

    /// A `get` in the client's namespace that has a minute, and remembers what it does in the
    /// site's folder alone.
    fn get_of(&self, what: impl AsRef<OsStr>, dir: &str) -> Command {
        let mut command = self.client.command("timeout");
        command.args(["--signal=KILL", "60", env!("CARGO_BIN_EXE_swarmloop"), "get"]);
        command.arg(what).arg("-d").arg(self.folder.path().join(dir));
        command.env("HOME", self.folder.path()).env_remove("XDG_STATE_HOME");
        command
    }

    /// Whether a folder has what the seed has.
    pub(crate) fn is_complete(&self, dir: &str) -> bool {
        fs::read(self.folder.path().join(dir).join("file")).is_ok_and(|read| read == self.content)
    }

    /// Drops what was downloaded, and what is remembered of it.
    pub(crate) fn forget(&self, dir: &str) {
        fs::remove_dir_all(self.folder.path().join(dir)).unwrap();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                fs::remove_dir_all(&path).unwrap();
            }
        }
    }

    /// What the tracker has counted.
    pub(crate) fn announces(&self) -> ServerCounters {
        self.tracker.tracker_status().unwrap().unwrap().counters
    }
}

fn start_tracker() -> Client {
    let listen: Vec<SocketAddr> = [IpAddr::from(SERVER_V4), SERVER_V6.into()]
        .map(|ip| SocketAddr::new(ip, TRACKER_PORT))
        .to_vec();
    let config = ClientConfig {
        tracker_listen: listen.clone(),
        tracker_udp: listen,
        workers: 1,
        ..ClientConfig::default()
    };
    Client::start(config).unwrap()
}

/// Lets the tracker be asked over HTTPS, in both families.
fn start_fronts() -> [Front; 2] {
    [IpAddr::from(SERVER_V4), SERVER_V6.into()].map(|ip| {
        let at = |port| SocketAddr::new(ip, port);
        Front::start(tls::SIGNED, at(HTTPS_PORT), at(TRACKER_PORT))
    })
}

fn start_seed() -> Client {
    let listen = [IpAddr::from(SERVER_V4), SERVER_V6.into()];
    let listen = listen.map(|ip| SocketAddr::new(ip, SEED_PORT)).to_vec();
    let dht = Some(DhtConfig::default());
    Client::start(ClientConfig { listen, dht, workers: 1, ..ClientConfig::default() }).unwrap()
}

/// A name server for [`TRACKER_NAME`], on both addresses.
pub(crate) struct NameServer {
    asked_by: Arc<Mutex<Vec<IpAddr>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    fn start() -> Self {
        let (asked_by, stop) = (Arc::default(), Arc::<AtomicBool>::default());
        let threads = [IpAddr::from(SERVER_V4), SERVER_V6.into()].map(|ip| {
            let socket = UdpSocket::bind((ip, 53)).unwrap();
            // How often it looks whether it is to stop.
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let (asked_by, stop) = (Arc::clone(&asked_by), Arc::clone(&stop));
            thread::spawn(move || serve_names(&socket, &asked_by, &stop))
        });
        Self { asked_by, stop, threads: threads.into() }
    }

    /// Who has asked since this was last called.
    pub(crate) fn asked_by(&self) -> Vec<IpAddr> {
        std::mem::take(&mut self.asked_by.lock().unwrap())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_names(socket: &UdpSocket, asked_by: &Mutex<Vec<IpAddr>>, stop: &AtomicBool) {
    let mut buffer = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        asked_by.lock().unwrap().push(from.ip());
        let _ = socket.send_to(&answer(&buffer[..len]), from);
    }
}

/// Answers one question, with whatever else it came: by addresses, or that there is no such name.
fn answer(asked: &[u8]) -> Vec<u8> {
    let name_len = asked[12..].iter().position(|byte| *byte == 0).unwrap();
    let end = 12 + name_len + 1 + 4;
    let mut said = asked[..end].to_vec();
    let expected: Vec<u8> = TRACKER_NAME
        .split('.')
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .collect();
    let is_known = said[12..12 + name_len].eq_ignore_ascii_case(&expected);
    let octets = match said[end - 3] {
        1 => SERVER_V4.octets().to_vec(),
        28 => SERVER_V6.octets().to_vec(),
        _ => Vec::new(),
    };
    let is_found = is_known && !octets.is_empty();
    (said[2], said[3]) = (0x81, if is_known { 0x80 } else { 0x83 });
    said[6..12].copy_from_slice(&[0, u8::from(is_found), 0, 0, 0, 0]);
    if is_found {
        said.extend([0xc0, 12, 0, said[end - 3], 0, 1, 0, 0, 0, 60, 0]);
        said.push(u8::try_from(octets.len()).unwrap());
        said.extend(octets);
    }
    said
}
