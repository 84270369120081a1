//! Everything that one test has for itself: a folder, a block of addresses, a torrent.

use std::{
    env, fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;

use crate::{
    client::{Client, Job, Role, Running},
    net::Block,
    payload::Payload,
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
        let mut site = Self { folder, block, payload, torrent, tracker: None, started: 0 };
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

    /// Starts both, so that they meet: through the tracker, or else the seed dials the leech.
    pub(crate) fn meet(&mut self, seeder: Client, leecher: Client) -> (Running, Running) {
        if self.tracker.is_some() {
            let seed = self.seed(seeder, Role::Seed, &[]);
            return (seed, self.leech(leecher, Role::Leech, &[]));
        }
        let leech = self.leech(leecher, Role::Leech, &[]).wait_ready(Role::Leech);
        (self.seed(seeder, Role::Seed, &[&leech]), leech)
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
        let listen = self.block.endpoint();
        let control = SocketAddrV4::new(*listen.ip(), crate::net::free_port());
        let peers: Vec<_> = peers.iter().map(|peer| peer.address()).collect();
        let job = Job {
            role,
            torrent: &self.torrent,
            folder: &folder,
            scratch: &scratch,
            listen,
            control,
            peers: &peers,
            tracked: self.tracker.is_some(),
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

/// Of each log; the cause is nearly always at its end.
const MAX_LOG_LINES: usize = 60;
