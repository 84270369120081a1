//! Everything that one test has for itself: a folder, a block of addresses, a torrent.

use std::{
    env, fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::clients::{
    Client, Job, Role, Running,
    net::Block,
    payload::Payload,
    process::{Process, eventually},
    tools::{self, Tool},
    tracker::{Tracker, TrackerKind},
};

/// One test's place. Declare it before the clients: it prints their logs when the test fails,
/// after they have ended.
pub(crate) struct Site {
    folder: TempDir,
    block: Block,
    payload: Payload,
    torrent: PathBuf,
    tracker: Option<Tracker>,
    /// Whether the torrent names a tracker.
    is_tracked: bool,
    /// Where the next client listens, if that was told to somebody before.
    promised: Option<SocketAddrV4>,
    started: usize,
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
        let folder = TempDir::with_prefix("swarmloop-interop-").expect("a temporary folder");
        let torrent = folder.path().join("payload.torrent");
        let block = Block::claim();
        let (is_tracked, promised) = (tracker.is_some(), None);
        let mut site = Self {
            folder,
            block,
            payload,
            torrent,
            tracker: None,
            is_tracked,
            promised,
            started: 0,
        };
        site.tracker = tracker.map(|kind| {
            let scratch = site.scratch(&format!("{kind:?}-tracker"));
            kind.start(&scratch, site.block.endpoint(), payload)
        });
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
        let tracker = SocketAddrV4::new(*listen.ip(), crate::clients::net::free_port());
        self.promised = dials.then(|| self.block.endpoint());
        let process = Process::start("share", &scratch, &Tool::Swarmloop.path(), |command| {
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
        let torrent =
            crate::clients::net::http_get_bytes(tracker, target).expect("it serves the torrent");
        fs::write(&self.torrent, torrent).unwrap();
        self.is_tracked = true;
        process
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
        let control = SocketAddrV4::new(*listen.ip(), crate::clients::net::free_port());
        let peers: Vec<_> = peers.iter().map(|peer| peer.address()).collect();
        let job = Job {
            role,
            torrent: &self.torrent,
            folder: &folder,
            scratch: &scratch,
            listen,
            control,
            peers: &peers,
            tracked: self.is_tracked,
        };
        client.start(&job, self.payload)
    }

    /// The torrent file.
    pub(crate) fn torrent(&self) -> &Path {
        &self.torrent
    }

    /// A new folder; numbered, because a test may start a client twice.
    pub(crate) fn scratch(&mut self, name: &str) -> PathBuf {
        self.started += 1;
        let path = self.folder.path().join(format!("{}-{name}", self.started));
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut folders: Vec<_> =
            fs::read_dir(self.folder.path()).into_iter().flatten().flatten().collect();
        folders.sort_by_key(fs::DirEntry::file_name);
        for folder in folders {
            print_logs(&folder.path());
        }
        if env::var_os("SWARMLOOP_KEEP").is_some() {
            self.folder.disable_cleanup(true);
            println!("kept: {}", self.folder.path().display());
        }
    }
}

/// The end of every log in `folder`, to libtest's record of the failed test.
fn print_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            println!("---- {}", path.display());
            for line in &lines[lines.len().saturating_sub(MAX_LOG_LINES)..] {
                println!("{line}");
            }
        }
    }
}

/// From its start until it says what a receiver types; it hashes 24 MiB before.
const SHARED_WITHIN: Duration = Duration::from_secs(15);

/// Of each log; the cause is nearly always at its end.
const MAX_LOG_LINES: usize = 60;
