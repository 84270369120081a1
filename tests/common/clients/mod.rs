//! The clients, behind one face: start as seed, start as leech, say when ready or complete.
//!
//! They run on the loopback of the machine, each on an address of its own, or in network
//! namespaces: see [`host`]. The test crate that includes this also includes `netns`, `port` and
//! `wait`, its neighbours.

// Each test crate takes from here what it needs.
#![allow(dead_code, reason = "no single test uses all of a harness")]

mod aria2;
pub(crate) mod host;
mod libtorrent;
pub(crate) mod logs;
pub(crate) mod net;
pub(crate) mod payload;
pub(crate) mod process;
mod qbittorrent;
mod rqbit;
mod swarmloop;
pub(crate) mod tools;
pub(crate) mod tracker;
mod transmission;

use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use host::Host;
use payload::Payload;
use process::{Process, eventually};
use tools::Tool;

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
    /// qBittorrent without a window.
    Qbittorrent,
    /// rqbit.
    Rqbit,
}

/// What a client is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `folder` holds the content; check it and upload for ever.
    Seed,
    /// As [`Role::Seed`], but hands a piece to one leech only, to be passed on among leeches
    /// (BEP 16). libtorrent only.
    SuperSeed,
    /// `folder` is empty; download into it. May end when complete.
    Leech,
    /// As [`Role::Leech`], but uploads for ever once complete.
    Stay,
    /// As [`Role::Leech`], but at [`CREEP_KIB_S`]: it is there, and will not be complete. Not
    /// qBittorrent.
    Creep,
}

/// How a client finds others, besides those whom it is told to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways<'a> {
    /// Whether it asks the torrent's tracker.
    pub(crate) trackers: bool,
    /// Whether it exchanges peers (BEP 11). rqbit does in any case.
    pub(crate) pex: bool,
    /// Whether it announces itself on the local network, and listens for others there (BEP 14).
    pub(crate) lsd: bool,
    /// If it is a node of the DHT, the nodes that it enters by; none for the first one.
    pub(crate) dht: Option<&'a [SocketAddrV4]>,
}

/// One start of one client.
pub(crate) struct Job<'a> {
    /// What to do.
    pub(crate) role: Role,
    /// The `.torrent` file, or a magnet link.
    pub(crate) torrent: &'a Path,
    /// Holds, or will hold, the content.
    pub(crate) folder: &'a Path,
    /// For settings and the log; the client's own.
    pub(crate) scratch: &'a Path,
    /// Where it runs.
    pub(crate) host: Host,
    /// Where peers reach it.
    pub(crate) listen: SocketAddrV4,
    /// For a remote control.
    pub(crate) control: SocketAddrV4,
    /// How it finds others.
    pub(crate) ways: Ways<'a>,
    /// Peers to dial. [`Client::dials`] says who can.
    pub(crate) peers: &'a [SocketAddrV4],
}

impl Job<'_> {
    /// Starts `tool` where the job is.
    fn run(&self, tool: Tool, configure: impl FnOnce(&mut Command)) -> Process {
        self.host.start(self.scratch, tool, configure)
    }
}

impl Client {
    /// The programs that it takes to run it.
    pub(crate) fn tools(self) -> &'static [Tool] {
        match self {
            Self::Swarmloop => &[Tool::Swarmloop],
            Self::Libtorrent => &[Tool::LibtorrentPython],
            Self::Transmission => &[Tool::TransmissionDaemon, Tool::TransmissionRemote],
            Self::Aria2 => &[Tool::Aria2],
            Self::Qbittorrent => &[Tool::Qbittorrent],
            Self::Rqbit => &[Tool::Rqbit],
        }
    }

    /// Whether it can be told an address to dial. The others must be dialled, or meet their
    /// peers through a tracker.
    pub(crate) fn dials(self) -> bool {
        // aria2 has no such option; Transmission 3.00 has none outside a magnet link.
        !matches!(self, Self::Aria2 | Self::Transmission)
    }

    /// Whether it dials an address of 127/8 that a tracker gave it. Transmission takes them for
    /// spoofed.
    pub(crate) fn trusts_loopback_peers(self) -> bool {
        self != Self::Transmission
    }

    /// Whether it creates a file that has no bytes. Transmission 3.00 opens a file when its first
    /// block comes, and none ever does.
    fn makes_empty_files(self) -> bool {
        self != Self::Transmission
    }

    /// Starts it. Returns at once: [`Running::wait_ready`] and [`Running::wait_complete`] wait.
    pub(crate) fn start(self, job: Job<'_>, payload: Payload) -> Running {
        assert!(job.peers.is_empty() || self.dials(), "{self:?} cannot be told whom to dial");
        assert!(job.role != Role::SuperSeed || self == Self::Libtorrent, "{self:?} cannot");
        assert!(job.role != Role::Creep || self != Self::Qbittorrent, "{self:?} is not slow");
        let (process, done) = match self {
            Self::Swarmloop => swarmloop::start(&job),
            Self::Libtorrent => libtorrent::start(&job),
            Self::Transmission => transmission::start(&job),
            Self::Aria2 => aria2::start(&job),
            Self::Qbittorrent => qbittorrent::start(&job),
            Self::Rqbit => rqbit::start(&job),
        };
        let Job { folder, host, listen, .. } = job;
        Running { client: self, process, done, host, listen, folder: folder.to_owned(), payload }
    }
}

/// How a client shows that it has every piece.
enum Done {
    /// It ends by itself, with success.
    Exit,
    /// It prints this.
    Line(&'static str),
    /// Its remote control says so.
    Ask(Box<dyn Fn(&Host) -> bool>),
}

/// A client at work. Dropping it ends it.
pub(crate) struct Running {
    client: Client,
    process: Process,
    done: Done,
    // After the process, which runs there.
    host: Host,
    listen: SocketAddrV4,
    folder: PathBuf,
    payload: Payload,
}

impl Running {
    /// Which one it is.
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Where peers reach it.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.listen
    }

    /// What it has printed up to now.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until peers can connect; for a seed, also until it has checked its content, if
    /// the client has a way to show that.
    pub(crate) fn wait_ready(mut self, role: Role) -> Self {
        let ready = eventually(READY_WITHIN, || {
            self.expect_running();
            let listen = self.listen;
            let is_seed = matches!(role, Role::Seed | Role::SuperSeed);
            self.host.within(|| net::accepts(listen)) && (!is_seed || self.done())
        });
        assert!(ready, "{:?} is not ready after {READY_WITHIN:?}", self.client);
        self
    }

    /// Waits until it has printed `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        let printed = eventually(READY_WITHIN, || self.process.log().contains(text));
        assert!(printed, "{:?} has not printed {text} after {READY_WITHIN:?}", self.client);
    }

    /// Waits until the download is complete by the client's own word, then compares it with the
    /// source byte for byte.
    pub(crate) fn wait_complete(&mut self) {
        let complete = eventually(COMPLETE_WITHIN, || self.is_complete());
        assert!(complete, "{:?} is not complete after {COMPLETE_WITHIN:?}", self.client);
        self.expect_content();
    }

    /// Whether it says that it has everything; one that was to end when complete has ended.
    pub(crate) fn is_complete(&mut self) -> bool {
        if !matches!(self.done, Done::Exit) {
            self.expect_running();
            return self.done();
        }
        let status = self.process.exit_status();
        let is_well = status.is_none_or(|status| status.success());
        assert!(is_well, "{:?} gave up: {status:?}", self.client);
        status.is_some()
    }

    /// Compares what is on its disk with the source, byte for byte.
    pub(crate) fn expect_content(&self) {
        let mut difference = Ok(());
        let same = eventually(FLUSHED_WITHIN, || {
            difference = self.payload.compare(&self.folder, self.client.makes_empty_files());
            difference.is_ok()
        });
        assert!(same, "{:?} is complete, but: {}", self.client, difference.unwrap_err());
    }

    /// Checks that it has not ended.
    pub(crate) fn expect_running(&mut self) {
        let status = self.process.exit_status();
        assert!(status.is_none(), "{:?} ended: {status:?}", self.client);
    }

    /// Asks it to end and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let status = self.process.terminate(STOPPED_WITHIN);
        let ignores = || panic!("{:?} ignores SIGTERM for {STOPPED_WITHIN:?}", self.client);
        status.unwrap_or_else(ignores).code()
    }

    fn done(&self) -> bool {
        match &self.done {
            Done::Exit => true,
            Done::Line(line) => self.process.log().contains(line),
            Done::Ask(ask) => ask(&self.host),
        }
    }
}

/// Writes a settings file below the client's scratch folder.
fn write_settings(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it is inside scratch")).unwrap();
    fs::write(path, text).unwrap();
}

/// From start to listening and checked. The slowest, qBittorrent, takes a second or two.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// KiB a second of one that is to be slow: 20 minutes for the content, a few pieces in a test.
const CREEP_KIB_S: u32 = 20;

/// For 24 MiB over loopback. The bound of a test (40 s) less its start.
const COMPLETE_WITHIN: Duration = Duration::from_secs(30);

/// From a client's word that it is complete to the bytes being there: some write behind.
const FLUSHED_WITHIN: Duration = Duration::from_secs(5);

/// More than the 3 s for which swarmloop says good-bye to trackers.
const STOPPED_WITHIN: Duration = Duration::from_secs(8);
