//! Everything that one test has for itself: a folder, a block of addresses, a torrent.

use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use crate::clients::{
    Client, Job, Role, Running, Ways,
    host::Host,
    logs::Scratch,
    net::{self, Block},
    payload::Payload,
    process::{Process, eventually},
    tools::{self, Tool},
    tracker::{Tracker, TrackerKind},
};

/// One test's place. Declare it before the clients: their logs are printed when the test fails,
/// after they have ended.
pub(crate) struct Site {
    block: Block,
    payload: Payload,
    torrent: PathBuf,
    tracker: Option<Tracker>,
    /// Whether the torrent names a tracker.
    is_tracked: bool,
    /// Where the next client listens, if that was told to somebody before.
    promised: Option<SocketAddrV4>,
    scratch: Scratch,
}

impl Site {
    /// A place for `clients` to exchange `payload` in, with a tracker or without.
    ///
    /// `None` when one of the programs is not on this machine: the test is over.
    pub(crate) fn open(
        payload: Payload,
        tracker: Option<TrackerKind>,
        clients: &[Client],
    ) -> Option<Self> {
        let tracker_tools = tracker.map_or(&[][..], TrackerKind::tools);
        let client_tools = clients.iter().flat_map(|client| client.tools());
        let needed: Vec<Tool> = tracker_tools.iter().chain(client_tools).copied().collect();
        if !tools::have(&needed) {
            return None;
        }
        let mut scratch = Scratch::new();
        let torrent = scratch.path().join("payload.torrent");
        let mut block = Block::claim();
        let tracker = tracker.map(|kind| {
            let folder = scratch.folder(&format!("{kind:?}-tracker"));
            kind.start(Host::machine(), &folder, block.endpoint(), payload)
        });
        let (is_tracked, promised) = (tracker.is_some(), None);
        let site = Self { block, payload, torrent, tracker, is_tracked, promised, scratch };
        let url = site.tracker.as_ref().map(Tracker::announce_url);
        fs::write(&site.torrent, payload.metainfo(url.as_deref())).unwrap();
        Some(site)
    }

    /// Starts a client that has the content and dials `peers`, and waits until others can get
    /// it: it listens, has checked, and the tracker knows it.
    pub(crate) fn seed(&mut self, client: Client, role: Role, peers: &[&Running]) -> Running {
        let running = self.start(client, role, peers).wait_ready(role);
        if let Some(tracker) = &self.tracker {
            tracker.wait_for_seeds(1);
        }
        running
    }

    /// Starts a client without content that dials `peers`.
    pub(crate) fn leech(&mut self, client: Client, role: Role, peers: &[&Running]) -> Running {
        self.start(client, role, peers)
    }

    /// As [`Site::leech`], of a client that knows no more than a magnet link.
    pub(crate) fn leech_magnet(
        &mut self,
        client: Client,
        role: Role,
        peers: &[&Running],
    ) -> Running {
        let magnet = PathBuf::from(self.magnet());
        let torrent = std::mem::replace(&mut self.torrent, magnet);
        let running = self.leech(client, role, peers);
        self.torrent = torrent;
        running
    }

    /// Returns the torrent's magnet link.
    pub(crate) fn magnet(&self) -> String {
        let hash = swarmloop::id::InfoHash(self.payload.info_hash());
        let url = self.tracker.as_ref().map(Tracker::announce_url);
        // Every client takes the URL as it is: nothing in it has a meaning in a link.
        let tracker = url.map(|url| format!("&tr={url}")).unwrap_or_default();
        format!("magnet:?xt=urn:btih:{hash}{tracker}")
    }

    /// Starts both, so that they meet: through the tracker, or else the seed dials the leech.
    pub(crate) fn meet(&mut self, seeder: Client, leecher: Client) -> (Running, Running) {
        if self.tracker.is_some() {
            let seed = self.seed(seeder, Role::Seed, &[]);
            return (seed, self.leech(leecher, Role::Leech, &[]));
        }
        let leech = self.leech(leecher, Role::Leech, &[]).wait_ready(Role::Leech);
        (self.seed(seeder, Role::Seed, &[&leech]), leech)
    }

    /// As [`Site::meet`], of a leech that knows no more than a magnet link.
    pub(crate) fn meet_by_magnet(&mut self, seeder: Client, leecher: Client) -> (Running, Running) {
        if self.tracker.is_some() {
            let seed = self.seed(seeder, Role::Seed, &[]);
            return (seed, self.leech_magnet(leecher, Role::Leech, &[]));
        }
        let leech = self.leech_magnet(leecher, Role::Leech, &[]).wait_ready(Role::Leech);
        (self.seed(seeder, Role::Seed, &[&leech]), leech)
    }

    /// Starts `swarmloop share` of the content and takes the torrent that it serves for that of
    /// the clients to come. With `dials`, it dials the next of them.
    pub(crate) fn share(&mut self, once: bool, dials: bool) -> Process {
        let scratch = self.scratch("share");
        self.payload.write(&scratch);
        let listen = self.block.endpoint();
        let tracker = SocketAddrV4::new(*listen.ip(), net::free_port());
        self.promised = dials.then(|| self.block.endpoint());
        let process = Host::machine().start(&scratch, Tool::Swarmloop, |command| {
            command.arg("share").arg(scratch.join(self.payload.name()));
            command.arg("--bind").arg(listen.ip().to_string());
            command.arg("--port").arg(listen.port().to_string());
            command.arg("--tracker-port").arg(tracker.port().to_string());
            if once {
                command.arg("--once");
            }
            if let Some(peer) = self.promised {
                command.arg("--peer").arg(peer.to_string());
            }
        });
        let line = format!(" | swarmloop get - --peer {listen}");
        let told = eventually(SHARED_WITHIN, || process.log().contains(&line));
        assert!(told, "share says nothing after {SHARED_WITHIN:?}: {}", process.log());
        let log = process.log();
        let url = log.split_once("curl -s http://").and_then(|(_, rest)| rest.split_once(' '));
        let target = url.and_then(|(url, _)| url.strip_prefix(&tracker.to_string()));
        let target = target.unwrap_or_else(|| panic!("share names no URL: {log}"));
        let torrent = net::http_get_bytes(tracker, target).expect("it serves the torrent");
        fs::write(&self.torrent, torrent).unwrap();
        self.is_tracked = true;
        process
    }

    /// Runs our `get` of a torrent into a folder, to its end.
    pub(crate) fn get(&self, torrent: &Path, into: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(Tool::Swarmloop.path());
        command.arg("get").arg(torrent).arg("-d").arg(into).args(args);
        command.args(["--bind", "127.0.0.1", "--port", "0", "--no-config"]);
        command.env("XDG_STATE_HOME", self.scratch.path().join("state")).output().unwrap()
    }

    /// The tracker, if there is one.
    pub(crate) fn tracker(&self) -> Option<&Tracker> {
        self.tracker.as_ref()
    }

    fn start(&mut self, client: Client, role: Role, peers: &[&Running]) -> Running {
        let scratch = self.scratch(&format!("{client:?}-{role:?}"));
        let folder = scratch.join("data");
        fs::create_dir(&folder).unwrap();
        if matches!(role, Role::Seed | Role::SuperSeed) {
            self.payload.write(&folder);
        }
        let listen = self.promised.take().unwrap_or_else(|| self.block.endpoint());
        let peers: Vec<_> = peers.iter().map(|peer| peer.address()).collect();
        let job = Job {
            role,
            torrent: &self.torrent,
            folder: &folder,
            scratch: &scratch,
            host: Host::machine(),
            listen,
            control: SocketAddrV4::new(*listen.ip(), net::free_port()),
            ways: Ways { trackers: self.is_tracked, pex: true, lsd: false, dht: None },
            peers: &peers,
        };
        client.start(job, self.payload)
    }

    /// The torrent file.
    pub(crate) fn torrent(&self) -> &Path {
        &self.torrent
    }

    /// A new folder.
    pub(crate) fn scratch(&mut self, name: &str) -> PathBuf {
        self.scratch.folder(name)
    }
}

/// From its start until it says what a receiver types; it hashes 24 MiB before.
const SHARED_WITHIN: Duration = Duration::from_secs(15);
