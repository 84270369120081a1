//! The clients, each with one way to find others.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    netns::Node,
    process::{Process, eventually},
    swarm::{CONTROL, READY_WITHIN, Way, ask},
    tools::Tool,
};

/// A program that speaks `BitTorrent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Ours.
    Swarmloop,
    /// libtorrent-rasterbar through its Python module.
    Libtorrent,
    /// Transmission's daemon and its remote control.
    Transmission,
    /// aria2c.
    Aria2,
    /// rqbit.
    Rqbit,
}

/// What a client is asked to do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Upload what is in its folder, by this torrent file.
    Seed(PathBuf),
    /// Download by this magnet link.
    Leech(String),
    /// Download by this torrent file, at [`CREEP_KIB_S`]. Transmission and ours only.
    Creep(PathBuf),
}

impl Task {
    /// What the client is handed: a path or a link.
    fn torrent(&self) -> &Path {
        match self {
            Self::Seed(file) | Self::Creep(file) => file,
            Self::Leech(link) => Path::new(link),
        }
    }
}

/// One start of one client.
pub(crate) struct Job<'a> {
    pub(crate) task: &'a Task,
    /// Holds, or will hold, the content.
    pub(crate) folder: &'a Path,
    /// For settings and the log.
    pub(crate) scratch: &'a Path,
    /// Where it runs.
    pub(crate) node: &'a Node,
    /// Where peers and nodes are to reach it.
    pub(crate) address: SocketAddrV4,
    /// How it finds others.
    pub(crate) way: Way,
    /// Nodes to enter the DHT by; none for the first node.
    pub(crate) entries: &'a [SocketAddrV4],
    /// Peers to dial. [`Client::dials`] says who can.
    pub(crate) peers: &'a [SocketAddrV4],
}

impl Client {
    /// The programs that it takes to run it.
    pub(crate) fn tools(self) -> &'static [Tool] {
        match self {
            Self::Swarmloop => &[Tool::Swarmloop],
            Self::Libtorrent => &[Tool::LibtorrentPython],
            Self::Transmission => &[Tool::TransmissionDaemon, Tool::TransmissionRemote],
            Self::Aria2 => &[Tool::Aria2],
            Self::Rqbit => &[Tool::Rqbit],
        }
    }

    /// Whether it can be told an address to dial. The others must be dialled.
    pub(crate) fn dials(self) -> bool {
        !matches!(self, Self::Aria2 | Self::Transmission)
    }

    /// Whether a leech ends by itself; the others stay.
    pub(crate) fn ends_when_complete(self) -> bool {
        matches!(self, Self::Swarmloop | Self::Aria2 | Self::Rqbit)
    }

    /// Whether it creates a file that has no bytes. Transmission 3.00 opens a file when its first
    /// block comes, and none ever does.
    pub(crate) fn makes_empty_files(self) -> bool {
        self != Self::Transmission
    }

    /// Whether one that stays has everything, by its own word.
    pub(crate) fn says_complete(self, process: &Process) -> bool {
        process.log().contains(match self {
            Self::Transmission => "State changed from \"Incomplete\" to \"Complete\"",
            _ => "\nDONE\n",
        })
    }

    /// Starts it.
    pub(crate) fn start(self, job: &Job<'_>) -> Process {
        let creeps = matches!(job.task, Task::Creep(_));
        let ours = self == Self::Swarmloop;
        assert!(!creeps || ours || self == Self::Transmission, "{self:?} cannot be slow");
        assert!(job.peers.is_empty() || self.dials(), "{self:?} cannot be told whom to dial");
        match self {
            Self::Swarmloop => swarmloop(job),
            Self::Libtorrent => libtorrent(job),
            Self::Transmission => transmission(job),
            Self::Aria2 => aria2(job),
            Self::Rqbit => rqbit(job),
        }
    }
}

impl Job<'_> {
    /// Starts `program` in the node.
    fn run(&self, tool: Tool, configure: impl FnOnce(&mut Command)) -> Process {
        Process::start("client", self.scratch, Path::new("ip"), |command| {
            command.args(["netns", "exec", self.node.name()]).arg(tool.path());
            configure(command);
        })
    }

    fn entry(&self) -> String {
        self.entries.first().map(ToString::to_string).unwrap_or_default()
    }
}

fn swarmloop(job: &Job<'_>) -> Process {
    job.run(Tool::Swarmloop, |command| {
        match job.task {
            Task::Seed(torrent) => command.arg("seed").arg(torrent).arg(job.folder),
            task => command.arg("get").arg(task.torrent()).arg("-d").arg(job.folder),
        };
        command.arg("--port").arg(job.address.port().to_string());
        command.args(["--json", "-vv", "--no-trackers", "--no-lsd"]);
        match job.way {
            Way::Dht => command.args(["--no-pex", "--dht-bootstrap", &job.entry()]),
            Way::Pex => command.arg("--no-dht"),
        };
        if matches!(job.task, Task::Creep(_)) {
            command.arg("--limit-down").arg(format!("{CREEP_KIB_S}K"));
        }
        for peer in job.peers {
            command.arg("--peer").arg(peer.to_string());
        }
    })
}

fn libtorrent(job: &Job<'_>) -> Process {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIBTORRENT_DRIVER);
    job.run(Tool::LibtorrentPython, |command| {
        command.arg(driver).arg(job.task.torrent()).arg(job.folder);
        command.arg("--bind").arg(job.address.ip().to_string());
        command.arg("--port").arg(job.address.port().to_string());
        if job.way == Way::Dht {
            command.arg("--dht").arg(job.entry()).arg("--no-pex");
        }
        for peer in job.peers {
            command.arg("--peer").arg(peer.to_string());
        }
    })
}

/// It knows its first nodes from a file, not from its settings.
fn transmission(job: &Job<'_>) -> Process {
    let entries = job.entries.iter().fold(String::new(), |mut lines, entry| {
        let _ = writeln!(lines, "{} {}", entry.ip(), entry.port());
        lines
    });
    fs::write(job.scratch.join("dht.bootstrap"), entries).unwrap();
    fs::write(job.scratch.join("settings.json"), transmission_settings(job)).unwrap();
    let process = job.run(Tool::TransmissionDaemon, |command| {
        command.arg("--foreground").arg("--log-info").arg("--config-dir").arg(job.scratch);
    });
    let torrent = job.task.torrent().to_string_lossy().into_owned();
    let words = ["--add", &torrent];
    // Its remote control comes up a moment after it.
    let added = eventually(READY_WITHIN, || remote(job.node, &words).is_some());
    assert!(added, "transmission-remote cannot add the torrent");
    process
}

fn transmission_settings(job: &Job<'_>) -> String {
    let folder = format!("{:?}", job.folder.display().to_string());
    let ip = format!("\"{}\"", job.address.ip());
    let (port, control_port) = (job.address.port().to_string(), CONTROL.port().to_string());
    let is = |condition: bool| if condition { "true" } else { "false" };
    let creep = CREEP_KIB_S.to_string();
    let settings = [
        ("bind-address-ipv4", ip.as_str()),
        ("peer-port", &port),
        ("rpc-port", &control_port),
        ("download-dir", &folder),
        ("dht-enabled", is(job.way == Way::Dht)),
        ("pex-enabled", is(job.way == Way::Pex)),
        ("speed-limit-down", &creep),
        ("speed-limit-down-enabled", is(matches!(job.task, Task::Creep(_)))),
        ("lpd-enabled", "false"),
        ("port-forwarding-enabled", "false"),
        ("utp-enabled", "false"),
    ];
    let lines = settings.map(|(key, value)| format!("    \"{key}\": {value}"));
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// Asks Transmission's remote control.
fn remote(node: &Node, words: &[&str]) -> Option<String> {
    let control = CONTROL.to_string();
    let words: Vec<&str> = [control.as_str()].iter().chain(words).copied().collect();
    ask(node, &Tool::TransmissionRemote.path(), &words)
}

fn aria2(job: &Job<'_>) -> Process {
    job.run(Tool::Aria2, |command| {
        let (port, dht) = (job.address.port(), job.way == Way::Dht);
        command.args(["--no-conf", "--disable-ipv6=true", "--file-allocation=none"]);
        command.args(["--summary-interval=1", "--enable-dht6=false", "--bt-enable-lpd=false"]);
        command.arg(format!("--enable-dht={dht}")).arg(format!("--enable-peer-exchange={}", !dht));
        command.arg(format!("--listen-port={port}")).arg(format!("--dht-listen-port={port}"));
        if dht {
            command.arg(format!("--dht-entry-point={}", job.entry()));
            command.arg("--dht-file-path").arg(job.scratch.join("dht.dat"));
        }
        command.arg("--dir").arg(job.folder);
        command.args(match job.task {
            Task::Seed(_) => ["--seed-ratio=0.0", "--check-integrity=true"],
            _ => ["--seed-time=0", "--bt-save-metadata=false"],
        });
        command.arg(job.task.torrent());
    })
}

fn rqbit(job: &Job<'_>) -> Process {
    job.run(Tool::Rqbit, |command| {
        command.args(["--listen-ip", "0.0.0.0", "--ipv4-only"]);
        command.arg("--listen-port").arg(job.address.port().to_string());
        match job.way {
            Way::Dht => command.arg("--dht-bootstrap-addrs").arg(job.entry()),
            Way::Pex => command.arg("--disable-dht"),
        };
        command.args(["--disable-dht-persistence", "--disable-lsd", "--disable-trackers"]);
        command.args(["--disable-upnp-port-forward", "download", "--overwrite"]);
        command.arg("--output-folder").arg(job.folder);
        if !job.peers.is_empty() {
            let peers: Vec<_> = job.peers.iter().map(ToString::to_string).collect();
            command.arg("--initial-peers").arg(peers.join(","));
        }
        if matches!(job.task, Task::Leech(_)) {
            command.arg("--exit-on-finish");
        }
        command.arg(job.task.torrent());
    })
}

/// KiB a second of one that is to be slow: 20 minutes for the content, a few pieces in a test.
const CREEP_KIB_S: u32 = 20;

/// libtorrent's driver, the one of the other tests.
const LIBTORRENT_DRIVER: &str = "tests/common/clients/libtorrent_peer.py";
