//! The clients, behind one face: start as seed, start as leech, say when ready or complete.

mod aria2;
mod libtorrent;
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
    time::Duration,
};

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
}

/// One start of one client.
pub(crate) struct Job<'a> {
    /// What to do.
    pub(crate) role: Role,
    /// The `.torrent` file, or a magnet link.
    pub(crate) torrent: &'a Path,
    /// Holds, or will hold, the content.
    pub(crate) folder: &'a Path,
    /// For settings and the log; empty, and the client's own.
    pub(crate) scratch: &'a Path,
    /// Where peers reach it.
    pub(crate) listen: SocketAddrV4,
    /// For a remote control, on the same address.
    pub(crate) control: SocketAddrV4,
    /// Peers to dial. [`Client::dials`] says who can.
    pub(crate) peers: &'a [SocketAddrV4],
    /// Whether the torrent has a tracker; without one, none is to be asked.
    pub(crate) tracked: bool,
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
    pub(crate) fn start(self, job: &Job<'_>, payload: Payload) -> Running {
        assert!(job.peers.is_empty() || self.dials(), "{self:?} cannot be told whom to dial");
        assert!(job.role != Role::SuperSeed || self == Self::Libtorrent, "{self:?} cannot");
        let (process, done) = match self {
            Self::Swarmloop => swarmloop::start(job),
            Self::Libtorrent => libtorrent::start(job),
            Self::Transmission => transmission::start(job),
            Self::Aria2 => aria2::start(job),
            Self::Qbittorrent => qbittorrent::start(job),
            Self::Rqbit => rqbit::start(job),
        };
        let folder = job.folder.to_owned();
        Running { client: self, process, done, listen: job.listen, folder, payload }
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// How a client shows that it has every piece.
enum Done {
    /// It ends by itself, with success.
    Exit,
    /// It prints this.
    Line(&'static str),
    /// Its remote control says so.
    Ask(Box<dyn Fn() -> bool>),
}

/// A client at work. Dropping it ends it.
pub(crate) struct Running {
    client: Client,
    process: Process,
    done: Done,
    listen: SocketAddrV4,
    folder: PathBuf,
    payload: Payload,
}

impl Running {
    /// Where peers reach it.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.listen
    }

    /// Waits until peers can connect; for a seed, also until it has checked its content, if
    /// the client has a way to show that.
    pub(crate) fn wait_ready(mut self, role: Role) -> Self {
        let name = self.process.name().to_owned();
        let ready = eventually(READY_WITHIN, || {
            let status = self.process.exit_status();
            assert!(status.is_none(), "{name} ended before it was ready: {status:?}");
            net::accepts(self.listen) && (matches!(role, Role::Leech | Role::Stay) || self.done())
        });
        assert!(ready, "{name} is not ready after {READY_WITHIN:?}");
        self
    }

    /// Waits until the download is complete by the client's own word, then compares it with the
    /// source byte for byte.
    pub(crate) fn wait_complete(&mut self) {
        let name = self.process.name().to_owned();
        let complete = eventually(COMPLETE_WITHIN, || {
            if matches!(self.done, Done::Exit) {
                let Some(status) = self.process.exit_status() else { return false };
                assert!(status.success(), "{name} gave up: {status}");
                return true;
            }
            let status = self.process.exit_status();
            assert!(status.is_none(), "{name} ended before it was complete: {status:?}");
            self.done()
        });
        assert!(complete, "{name} is not complete after {COMPLETE_WITHIN:?}");
        let mut difference = Ok(());
        let same = eventually(FLUSHED_WITHIN, || {
            difference = self.payload.compare(&self.folder, self.client.makes_empty_files());
            difference.is_ok()
        });
        assert!(same, "{name} says that it is complete, but: {}", difference.unwrap_err());
    }

    /// Asks it to end and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let name = self.process.name().to_owned();
        let status = self.process.terminate(STOPPED_WITHIN);
        status.unwrap_or_else(|| panic!("{name} ignores SIGTERM for {STOPPED_WITHIN:?}")).code()
    }

    fn done(&self) -> bool {
        match &self.done {
            Done::Exit => true,
            Done::Line(line) => self.process.log().contains(line),
            Done::Ask(ask) => ask(),
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

/// For 24 MiB over loopback. The bound of a test (40 s) less its start.
const COMPLETE_WITHIN: Duration = Duration::from_secs(30);

/// From a client's word that it is complete to the bytes being there: some write behind.
const FLUSHED_WITHIN: Duration = Duration::from_secs(5);

/// More than the 3 s for which swarmloop says good-bye to trackers.
const STOPPED_WITHIN: Duration = Duration::from_secs(8);
