//! The network, who is in it, and how long they may take.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    client::{Client, Job, Task},
    netns::{self, Network, Node},
    payload::Payload,
    process::{self, Process, eventually},
    tools::{self, Tool},
};

/// How clients find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The DHT; they exchange no peers.
    Dht,
    /// Peer exchange; there is no DHT.
    Pex,
}

/// One test's network. Declare it before the members: it prints their logs when the test fails,
/// after they have ended.
pub(crate) struct Swarm {
    folder: TempDir,
    way: Way,
    network: Network,
    /// Those that are there for the others' sake.
    bystanders: Vec<Member>,
    /// How many nodes there are, whatever they are there for.
    nodes: usize,
    /// Where to enter the DHT: the first nodes.
    entries: Vec<SocketAddrV4>,
}

impl Swarm {
    /// A network without nodes, for `clients`; `None` when it cannot be made here or one of the
    /// programs is not on this machine: the test is over.
    pub(crate) fn open(way: Way, clients: &[Client]) -> Option<Self> {
        let needed: Vec<Tool> = clients.iter().flat_map(|client| client.tools()).copied().collect();
        if !tools::have(&needed) || !netns::have() {
            return None;
        }
        let folder = TempDir::with_prefix("swarmloop-net-").expect("a temporary folder");
        let (network, bystanders, entries) = (Network::new(), Vec::new(), Vec::new());
        Some(Self { folder, way, network, bystanders, nodes: 0, entries })
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Adds a node that wants nothing that anybody has. The first ones are where all others enter.
    pub(crate) fn bystander(&mut self, client: Client) {
        // aria2 and rqbit are nodes only as long as they look for something.
        let nobodys = [u8::try_from(self.nodes + 1).unwrap(); 20];
        let task = Task::Leech(magnet(nobodys));
        let member = self.start("bystander", client, Payload::Multi, &task, &[]);
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push(member.address);
        }
        self.bystanders.push(member);
    }

    /// Adds a node that has the content.
    pub(crate) fn seed(&mut self, client: Client, payload: Payload) -> Member {
        self.seed_that_dials(client, payload, &[])
    }

    /// As [`Swarm::seed`], and dials these.
    pub(crate) fn seed_that_dials(
        &mut self,
        client: Client,
        payload: Payload,
        peers: &[&Member],
    ) -> Member {
        let task = Task::Seed(self.torrent(payload));
        self.start("seed", client, payload, &task, peers)
    }

    /// Adds a node that knows no more of the content than a magnet link.
    pub(crate) fn leech(&mut self, client: Client, payload: Payload) -> Member {
        self.leech_that_dials(client, payload, &[])
    }

    /// As [`Swarm::leech`], and dials these.
    pub(crate) fn leech_that_dials(
        &mut self,
        client: Client,
        payload: Payload,
        peers: &[&Member],
    ) -> Member {
        let task = Task::Leech(magnet(payload.info_hash()));
        self.start("leech", client, payload, &task, peers)
    }

    /// Adds a node that dials these and hardly downloads anything; waits until it can be dialled.
    pub(crate) fn hub(&mut self, client: Client, payload: Payload, peers: &[&Member]) -> Member {
        let task = Task::Creep(self.torrent(payload));
        let hub = self.start("hub", client, payload, &task, peers);
        let to = SocketAddr::V4(hub.address);
        let listens = || TcpStream::connect_timeout(&to, DIAL_TIMEOUT).is_ok();
        let ready = eventually(READY_WITHIN, || hub.node.within(listens));
        assert!(ready, "the hub does not listen after {READY_WITHIN:?}");
        hub
    }

    /// The file of a torrent without trackers.
    fn torrent(&self, payload: Payload) -> PathBuf {
        let path = self.folder.path().join(format!("{payload:?}.torrent"));
        fs::write(&path, payload.metainfo(None)).unwrap();
        path
    }

    /// Waits until all of them have everything, by their own word and byte for byte.
    pub(crate) fn wait_complete(&mut self, members: &mut [Member]) {
        let mut pending: Vec<&mut Member> = members.iter_mut().collect();
        let mut next_look = Instant::now();
        let done = eventually(COMPLETE_WITHIN, || {
            if Instant::now() < next_look {
                return false;
            }
            next_look = Instant::now() + LOOK_INTERVAL;
            for Member { client, process, .. } in &mut self.bystanders {
                assert!(process.exit_status().is_none(), "{client:?}, a bystander, ended");
            }
            pending.retain_mut(|member| !member.is_complete());
            pending.is_empty()
        });
        let names: Vec<Client> = pending.iter().map(|member| member.client).collect();
        assert!(done, "not complete after {COMPLETE_WITHIN:?}: {names:?}");
        for member in members {
            let mut difference = Ok(());
            let same = eventually(FLUSHED_WITHIN, || {
                difference = member.compare();
                difference.is_ok()
            });
            assert!(same, "{:?} is complete, but: {}", member.client, difference.unwrap_err());
        }
    }

    fn start(
        &mut self,
        part: &str,
        client: Client,
        payload: Payload,
        task: &Task,
        peers: &[&Member],
    ) -> Member {
        self.nodes += 1;
        let node = self.network.node();
        let scratch = self.folder.path().join(format!("{:02}-{client:?}-{part}", self.nodes));
        let folder = scratch.join("data");
        fs::create_dir_all(&folder).unwrap();
        if matches!(task, Task::Seed(_)) {
            payload.write(&folder);
        }
        let address = SocketAddrV4::new(node.v4(), PORT);
        let peers: Vec<_> = peers.iter().map(|peer| peer.address).collect();
        let job = Job {
            task,
            folder: &folder,
            scratch: &scratch,
            node: &node,
            address,
            way: self.way,
            entries: &self.entries,
            peers: &peers,
        };
        let process = client.start(&job);
        Member { client, process, node, address, folder, payload }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.bystanders.clear();
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

/// A client in its namespace. Dropping it ends both.
pub(crate) struct Member {
    client: Client,
    process: Process,
    node: Node,
    address: SocketAddrV4,
    folder: PathBuf,
    payload: Payload,
}

impl Member {
    /// Whether it says that it has everything. One that was to end when complete has ended.
    pub(crate) fn is_complete(&mut self) -> bool {
        let status = self.process.exit_status();
        if self.client.ends_when_complete() {
            assert!(status.is_none_or(|status| status.success()), "{:?} gave up", self.client);
            return status.is_some();
        }
        assert!(status.is_none(), "{:?} ended: {status:?}", self.client);
        self.client.says_complete(&self.process)
    }

    /// Compares what is on its disk with the source, byte for byte.
    fn compare(&self) -> Result<(), String> {
        self.payload.compare(&self.folder, self.client.makes_empty_files())
    }
}

/// Asks a program of a node something; what it printed, `None` when it failed.
pub(crate) fn ask(node: &Node, program: &Path, words: &[&str]) -> Option<String> {
    process::output(Path::new("ip"), |command| {
        command.args(["netns", "exec", node.name()]).arg(program).args(words);
    })
}

fn magnet(hash: [u8; 20]) -> String {
    format!("magnet:?xt=urn:btih:{}", swarmloop::id::InfoHash(hash))
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

/// Where every client of the network listens, for peers and for nodes. It has the address for
/// itself.
const PORT: u16 = 6881;

/// The remote control of those that have one, on the loopback of their node.
pub(crate) const CONTROL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9091);

/// How many nodes the others are told of; each costs Transmission seconds at its start.
const MAX_ENTRIES: usize = 2;

/// From a start to the first peer that can connect.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(20);

/// For one look whether somebody listens; within one machine it is milliseconds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// From the start of the last one. Transmission pings its first nodes seconds apart, and then waits
/// for up to 20 s before it looks for a torrent's peers; it takes a minute.
const COMPLETE_WITHIN: Duration = Duration::from_secs(150);

/// Between two looks at all that two dozen programs have printed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// From a client's word that it is complete to the bytes being there: some write behind.
const FLUSHED_WITHIN: Duration = Duration::from_secs(5);

/// Of each log; the cause is nearly always at its end.
const MAX_LOG_LINES: usize = 40;
