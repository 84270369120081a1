//! The clients that are compared: where each is, how it is started, and what it says when.
//!
//! What counts as "complete" is the client's own word, as early as it gives it: a line on its
//! stdout or stderr. `swarmloop` says it when everything is verified and written; libtorrent by its
//! `torrent_finished_alert`, when everything is verified; rqbit by "torrent finished downloading";
//! aria2 by "Seeding is over", which with a seeding time of none follows the last piece at once;
//! Transmission by its change of state. What they still write behind their word is in their favour.
//!
//! No client looks beyond loopback, encrypts, or limits its rates; all may have as many peers as
//! the workload has connections. How many they upload to at one time is their own affair where it
//! cannot be set (aria2) or is part of the default settings that are compared (libtorrent): on a
//! workload that needs all connections served, such a client's turn is void.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::in_path;
use crate::machine;

/// A client in one of its configurations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Client {
    /// Ours: the program beside this one.
    Swarmloop,
    /// libtorrent-rasterbar by its Python module, tuned for speed.
    Libtorrent,
    /// The same with its default settings, limits on connections apart.
    LibtorrentDefault,
    /// rqbit.
    Rqbit,
    /// rqbit with the runtime of one thread.
    RqbitSingle,
    /// aria2c.
    Aria2,
    /// Transmission's daemon; left out unless it is named, for its rates are of another order.
    Transmission,
}

/// What a client is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Download into an empty folder from whoever connects.
    Leech,
    /// Upload complete data to whoever connects.
    Seed,
    /// Look whether existing data is right.
    Check,
}

/// One start of one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    /// What to do.
    pub(super) role: Role,
    /// The torrent file.
    pub(super) torrent: &'a Path,
    /// The folder of the payload.
    pub(super) data: &'a Path,
    /// A folder for settings; empty, and the client's own.
    pub(super) home: &'a Path,
    /// Where it listens.
    pub(super) listen: SocketAddrV4,
    /// A second port on the same address, for a control interface that cannot be turned off.
    pub(super) control_port: u16,
    /// The most connections that there will be.
    pub(super) conns: u32,
}

/// The texts by which a client's lines tell how far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Signs {
    /// It begins to look at existing data; of a check only.
    pub(super) checking: &'static str,
    /// It has taken in the torrent and looked at the data, so that it answers peers; `None` if it
    /// does not say so.
    pub(super) ready: Option<&'static str>,
    /// It has done what it was started for; not for a seed.
    pub(super) done: &'static str,
}

/// A client that is here.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// Which.
    pub(super) client: Client,
    /// What it calls its version.
    pub(super) version: String,
    /// Its program; for a module, the interpreter.
    program: PathBuf,
}

impl Client {
    /// All, in the order in which they take their turns.
    pub(super) const ALL: [Self; 7] = [
        Self::Swarmloop,
        Self::Libtorrent,
        Self::LibtorrentDefault,
        Self::Rqbit,
        Self::RqbitSingle,
        Self::Aria2,
        Self::Transmission,
    ];

    /// Returns the name by which tables and `--clients` know it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Swarmloop => "swarmloop",
            Self::Libtorrent => "libtorrent",
            Self::LibtorrentDefault => "libtorrent-default",
            Self::Rqbit => "rqbit",
            Self::RqbitSingle => "rqbit-single",
            Self::Aria2 => "aria2",
            Self::Transmission => "transmission",
        }
    }

    /// Finds it on this machine: in the place that a variable names, else in `PATH`.
    pub(super) fn find(self) -> Option<Installed> {
        let program = match self {
            Self::Swarmloop => sibling("swarmloop"),
            Self::Libtorrent | Self::LibtorrentDefault => {
                named_by("SWARMLOOP_LIBTORRENT_PYTHON").or_else(|| in_path("python3"))
            }
            Self::Rqbit | Self::RqbitSingle => {
                named_by("SWARMLOOP_RQBIT").or_else(|| in_path("rqbit"))
            }
            Self::Aria2 => in_path("aria2c"),
            Self::Transmission => in_path("transmission-daemon"),
        }?;
        let mut ask = Command::new(&program);
        match self {
            Self::Libtorrent | Self::LibtorrentDefault => {
                ask.args(["-c", "import libtorrent; print(libtorrent.__version__)"])
            }
            _ => ask.arg("--version"),
        };
        let answer = ask.output().ok().filter(|answer| answer.status.success())?;
        // Transmission tells its version on stderr.
        let text = [answer.stdout, answer.stderr].concat();
        let version = version_in(&String::from_utf8_lossy(&text))?;
        Some(Installed { client: self, version, program })
    }
}

impl Installed {
    /// Writes what it has to find in its home.
    pub(super) fn prepare(&self, job: &Job<'_>) -> io::Result<()> {
        if self.client == Client::Transmission { prepare_transmission(job) } else { Ok(()) }
    }

    /// Returns how it is started for `job`, and what its lines mean.
    pub(super) fn launch(&self, job: &Job<'_>) -> (Command, Signs) {
        let mut command = Command::new(&self.program);
        let signs = match self.client {
            Client::Swarmloop => swarmloop(&mut command, job),
            Client::Libtorrent => libtorrent(&mut command, job, true),
            Client::LibtorrentDefault => libtorrent(&mut command, job, false),
            Client::Rqbit => rqbit(&mut command, job, false),
            Client::RqbitSingle => rqbit(&mut command, job, true),
            Client::Aria2 => aria2(&mut command, job),
            Client::Transmission => transmission(&mut command, job),
        };
        (command, signs)
    }

    /// Returns the command of [`Installed::launch`] with paths as file names, for people to read.
    pub(super) fn shown(&self, job: &Job<'_>) -> String {
        let (command, _) = self.launch(job);
        let args = command.get_args().map(|arg| {
            if arg == LIBTORRENT_DRIVER { OsStr::new("libtorrent_client.py") } else { arg }
        });
        machine::shown(std::iter::once(command.get_program()).chain(args))
    }
}

fn swarmloop(command: &mut Command, job: &Job<'_>) -> Signs {
    let leech = job.role == Role::Leech;
    command.arg(if leech { "get" } else { "seed" }).arg(job.torrent).arg("--dir").arg(job.data);
    command.arg("--bind").arg(job.listen.ip().to_string());
    command.arg("--port").arg(job.listen.port().to_string());
    command.args(["--no-trackers", "--json"]);
    let peers = u16::try_from(job.conns.max(200)).unwrap_or(u16::MAX);
    command.arg("--max-peers").arg(peers.to_string());
    command.arg("--unchoke-slots").arg(peers.to_string());
    command.arg("--max-conns").arg(peers.saturating_add(1_000).to_string());
    if leech {
        // It stays to be looked at; the others of that kind do so by themselves.
        command.arg("--seed");
    }
    let checking = r#""state":"checking""#;
    if leech {
        let ready = Some(r#""state":"downloading""#);
        Signs { checking, ready, done: r#""type":"complete""# }
    } else {
        let seeding = r#""state":"seeding""#;
        Signs { checking, ready: Some(seeding), done: seeding }
    }
}

/// libtorrent has no program of its own: this one does what the bindings make possible.
const LIBTORRENT_DRIVER: &str = include_str!("libtorrent_client.py");

fn libtorrent(command: &mut Command, job: &Job<'_>, tuned: bool) -> Signs {
    command.args(["-c", LIBTORRENT_DRIVER, if tuned { "tuned" } else { "default" }]);
    command.arg(job.torrent).arg(job.data).arg(job.listen.ip().to_string());
    command.arg(job.listen.port().to_string()).arg(job.conns.to_string());
    let ready = if job.role == Role::Leech { "CHECKED" } else { "DONE" };
    Signs { checking: "ADDED", ready: Some(ready), done: "DONE" }
}

fn rqbit(command: &mut Command, job: &Job<'_>, single: bool) -> Signs {
    if single {
        command.arg("--single-thread-runtime");
    }
    command.arg("--listen-ip").arg(job.listen.ip().to_string());
    command.arg("--listen-port").arg(job.listen.port().to_string());
    command.args(["--ipv4-only", "--disable-dht", "--disable-lsd", "--disable-trackers"]);
    command.arg("--disable-upnp-port-forward");
    command.arg("--peer-limit").arg(job.conns.max(200).to_string());
    command.arg("--http-api-listen-addr");
    command.arg(SocketAddrV4::new(*job.listen.ip(), job.control_port).to_string());
    command.args(["download", "--overwrite", "--output-folder"]).arg(job.data).arg(job.torrent);
    let checked = match job.role {
        Role::Leech => "Initial check results",
        Role::Seed | Role::Check => ", needed 0,",
    };
    Signs {
        checking: "Doing initial checksum validation",
        ready: Some(checked),
        done: if job.role == Role::Leech { "torrent finished downloading" } else { checked },
    }
}

fn aria2(command: &mut Command, job: &Job<'_>) -> Signs {
    command.args([
        "--no-conf",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--disable-ipv6=true",
        "--enable-peer-exchange=false",
        "--summary-interval=0",
        "--show-console-readout=false",
        "--enable-color=false",
        "--console-log-level=notice",
        "--file-allocation=none",
        // As many as there are; its default is 55.
        "--bt-max-peers=0",
    ]);
    command.arg(format!("--interface={}", job.listen.ip()));
    command.arg(format!("--listen-port={}", job.listen.port()));
    command.arg("--dir").arg(job.data);
    command.args(match job.role {
        Role::Leech => ["--seed-time=0", "--check-integrity=false"],
        Role::Seed | Role::Check => ["--seed-ratio=0.0", "--check-integrity=true"],
    });
    command.arg(job.torrent);
    let checking = "Downloading 1 item(s)";
    match job.role {
        Role::Leech => Signs { checking, ready: None, done: "Seeding is over" },
        Role::Seed | Role::Check => {
            let checked = "Verification finished successfully";
            Signs { checking, ready: Some(checked), done: checked }
        }
    }
}

/// Transmission takes its settings from a file, and torrents from a folder that it watches.
fn transmission(command: &mut Command, job: &Job<'_>) -> Signs {
    command.args(["--foreground", "--config-dir"]).arg(job.home);
    let checked = "Verification is done";
    let done = match job.role {
        Role::Leech => r#"State changed from "Incomplete" to "Complete""#,
        Role::Seed | Role::Check => checked,
    };
    Signs { checking: "verifying torrent", ready: Some(checked), done }
}

fn prepare_transmission(job: &Job<'_>) -> io::Result<()> {
    let watched = job.home.join("watched");
    fs::create_dir_all(&watched)?;
    fs::copy(job.torrent, watched.join("compare.torrent"))?;
    let settings = serde_json::json!({
        "bind-address-ipv4": job.listen.ip().to_string(),
        "cache-size-mb": 64,
        "dht-enabled": false,
        "download-dir": job.data,
        "encryption": 0,
        "lpd-enabled": false,
        "message-level": 3,
        "peer-limit-global": job.conns.max(200),
        "peer-limit-per-torrent": job.conns.max(200),
        "peer-port": job.listen.port(),
        "pex-enabled": false,
        "port-forwarding-enabled": false,
        "preallocation": 0,
        "rpc-enabled": false,
        "upload-slots-per-torrent": job.conns.max(14),
        "utp-enabled": false,
        "watch-dir": watched,
        "watch-dir-enabled": true,
    });
    fs::write(job.home.join("settings.json"), settings.to_string())
}

fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns the program of this name beside this one.
fn sibling(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(name);
    path.is_file().then_some(path)
}

/// Returns the first word that begins like a version.
fn version_in(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    text.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, version) in [
            ("swarmloop 0.1.0\n", Some("0.1.0")),
            ("2.1.1.0\n", Some("2.1.1.0")),
            ("aria2 version 1.36.0\nCopyright (C) 2006, 2019 Tatsuhiro\n", Some("1.36.0")),
            ("transmission-daemon 3.00 (bb6b5a062e)\n", Some("3.00")),
            ("no such option\n", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version);
        }
    }

    #[test]
    fn names_are_unique_and_usable_in_lists() {
        let mut names: Vec<&str> = Client::ALL.iter().map(|client| client.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Client::ALL.len());
        assert!(names.iter().all(|name| !name.contains([',', ' '])));
    }
}
