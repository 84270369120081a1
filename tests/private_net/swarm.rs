//! The network, who is in it, and how long they may take.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    clients::{
        Client, Job, Role, Running, Ways,
        host::Host,
        logs::Scratch,
        payload::Payload,
        process::eventually,
        tools::{self, Tool},
        tracker::{Tracker, TrackerKind},
    },
    netns::{self, Network},
};

/// How clients find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The DHT; they exchange no peers.
    Dht,
    /// Peer exchange; there is no DHT.
    Pex,
    /// What they announce on the local network that they share.
    Lsd,
}

/// One test's network. Declare it before its clients: their logs are printed when the test fails,
/// after they have ended.
pub(crate) struct Swarm {
    way: Way,
    network: Network,
    /// Those that are there for the others' sake.
    bystanders: Vec<Running>,
    /// How many nodes there are, whatever they are there for.
    nodes: usize,
    /// Where to enter the DHT: the first nodes.
    entries: Vec<SocketAddrV4>,
    /// Those who are handed the torrent's file ask it.
    tracker: Option<Tracker>,
    scratch: Scratch,
}

impl Swarm {
    /// A network without nodes, for `clients`; `None` when it cannot be made here or one of the
    /// programs is not on this machine: the test is over.
    pub(crate) fn open(way: Way, clients: &[Client]) -> Option<Self> {
        let needed: Vec<Tool> = clients.iter().flat_map(|client| client.tools()).copied().collect();
        if !tools::have(&needed) || !netns::have() {
            return None;
        }
        Some(Self {
            way,
            network: if way == Way::Lsd { Network::shared() } else { Network::new() },
            bystanders: Vec::new(),
            nodes: 0,
            entries: Vec::new(),
            tracker: None,
            scratch: Scratch::new(),
        })
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Adds a tracker, ours, that seeds and hubs to come will ask. Leeches do not hear of it.
    pub(crate) fn track(&mut self, payload: Payload) {
        let node = self.network.node();
        let listen = SocketAddrV4::new(node.v4(), PORT);
        let folder = self.scratch.folder("tracker");
        let kind = TrackerKind::Swarmloop;
        self.tracker = Some(kind.start(Host::node(node), &folder, listen, payload));
    }

    /// Adds a node that wants nothing that anybody has. The first ones are where all others enter.
    pub(crate) fn bystander(&mut self, client: Client) {
        // aria2 and rqbit are nodes only as long as they look for something.
        let nobodys = [u8::try_from(self.nodes + 1).unwrap(); 20];
        let bystander = self.start(client, Role::Leech, &magnet(nobodys), Payload::Multi, &[]);
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push(bystander.address());
        }
        self.bystanders.push(bystander);
    }

    /// Adds a node that has the content; waits until it can be dialled, for most dial again a
    /// minute later only.
    pub(crate) fn seed(&mut self, client: Client, payload: Payload) -> Running {
        self.seed_that_dials(client, payload, &[])
    }

    /// As [`Swarm::seed`], and dials these.
    pub(crate) fn seed_that_dials(
        &mut self,
        client: Client,
        payload: Payload,
        peers: &[&Running],
    ) -> Running {
        let torrent = self.torrent(payload);
        self.start(client, Role::Seed, &torrent, payload, peers).wait_ready(Role::Seed)
    }

    /// Adds a node that knows no more of the content than a magnet link.
    pub(crate) fn leech(&mut self, client: Client, payload: Payload) -> Running {
        self.leech_that_dials(client, payload, &[])
    }

    /// As [`Swarm::leech`], and dials these.
    pub(crate) fn leech_that_dials(
        &mut self,
        client: Client,
        payload: Payload,
        peers: &[&Running],
    ) -> Running {
        self.start(client, Role::Leech, &magnet(payload.info_hash()), payload, peers)
    }

    /// Adds a node as [`Swarm::leech`], and waits until it can be dialled: it has announced itself,
    /// if it does, to whoever was there before.
    pub(crate) fn leech_that_waits(&mut self, client: Client, payload: Payload) -> Running {
        self.leech(client, payload).wait_ready(Role::Leech)
    }

    /// Adds a node that dials these and hardly downloads anything; waits until it can be dialled.
    pub(crate) fn hub(&mut self, client: Client, payload: Payload, peers: &[&Running]) -> Running {
        let torrent = self.torrent(payload);
        self.start(client, Role::Creep, &torrent, payload, peers).wait_ready(Role::Creep)
    }

    /// The torrent's file, with the tracker if there is one.
    fn torrent(&self, payload: Payload) -> PathBuf {
        let path = self.scratch.path().join(format!("{payload:?}.torrent"));
        let url = self.tracker.as_ref().map(Tracker::announce_url);
        fs::write(&path, payload.metainfo(url.as_deref())).unwrap();
        path
    }

    /// Waits until all of them have everything, by their own word and byte for byte.
    pub(crate) fn wait_complete(&mut self, running: &mut [Running]) {
        let mut pending: Vec<&mut Running> = running.iter_mut().collect();
        let mut next_look = Instant::now();
        let done = eventually(COMPLETE_WITHIN, || {
            if Instant::now() < next_look {
                return false;
            }
            next_look = Instant::now() + LOOK_INTERVAL;
            self.bystanders.iter_mut().for_each(Running::expect_running);
            pending.retain_mut(|member| !member.is_complete());
            pending.is_empty()
        });
        let names: Vec<Client> = pending.iter().map(|running| running.client()).collect();
        assert!(done, "not complete after {COMPLETE_WITHIN:?}: {names:?}");
        running.iter().for_each(Running::expect_content);
    }

    fn start(
        &mut self,
        client: Client,
        role: Role,
        torrent: &Path,
        payload: Payload,
        peers: &[&Running],
    ) -> Running {
        self.nodes += 1;
        let node = self.network.node();
        let scratch = self.scratch.folder(&format!("{client:?}-{role:?}"));
        let folder = scratch.join("data");
        fs::create_dir(&folder).unwrap();
        if role == Role::Seed {
            payload.write(&folder);
        }
        let peers: Vec<_> = peers.iter().map(|peer| peer.address()).collect();
        let dht = (self.way == Way::Dht).then_some(&self.entries[..]);
        let job = Job {
            role,
            torrent,
            folder: &folder,
            scratch: &scratch,
            listen: SocketAddrV4::new(node.v4(), PORT),
            host: Host::node(node),
            control: CONTROL,
            ways: Ways {
                trackers: self.tracker.is_some(),
                pex: self.way == Way::Pex,
                lsd: self.way == Way::Lsd,
                dht,
            },
            peers: &peers,
        };
        client.start(job, payload)
    }
}

/// The link, as what a client is handed in place of a file.
fn magnet(hash: [u8; 20]) -> PathBuf {
    format!("magnet:?xt=urn:btih:{}", swarmloop::id::InfoHash(hash)).into()
}

/// Where every client of the network listens, for peers and for nodes. It has the address for
/// itself.
const PORT: u16 = 6881;

/// The remote control of those that have one, on the loopback of their node.
const CONTROL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9091);

/// How many nodes the others are told of; each costs Transmission seconds at its start.
const MAX_ENTRIES: usize = 2;

/// From the start of the last one. Transmission pings its first nodes seconds apart, and then waits
/// for up to 20 s before it looks for a torrent's peers; it takes a minute.
const COMPLETE_WITHIN: Duration = Duration::from_secs(150);

/// Between two looks at all that two dozen programs have printed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
