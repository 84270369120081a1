//! Where the other clients are on this machine.
//!
//! A variable of the environment names a program outright; then `PATH` is searched; then the
//! folder `peers` in the target folder, into which `.ci/run` installs what Debian has not.

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::process;

/// A program, module or package that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Ours, as cargo built it for this test; `SWARMLOOP_BIN` names another build.
    Swarmloop,
    /// A Python that can `import libtorrent`; `SWARMLOOP_LIBTORRENT_PYTHON`.
    LibtorrentPython,
    /// `transmission-daemon`.
    TransmissionDaemon,
    /// `transmission-remote`.
    TransmissionRemote,
    /// `transmission-create`.
    TransmissionCreate,
    /// `transmission-show`.
    TransmissionShow,
    /// `mktorrent`.
    Mktorrent,
    /// `aria2c`.
    Aria2,
    /// `qbittorrent-nox`.
    Qbittorrent,
    /// `rqbit`; `SWARMLOOP_RQBIT`.
    Rqbit,
    /// `opentracker`.
    Opentracker,
    /// The folder of npm's package `bittorrent-tracker`; `SWARMLOOP_NPM_TRACKER`.
    NpmTracker,
    /// The folder of npm's package `hdr-histogram-js`; `SWARMLOOP_HDR_JS`.
    HdrJs,
    /// A Python that can `import hdrh`; `SWARMLOOP_HDR_PYTHON`.
    HdrPython,
    /// `node`, to run what is npm's.
    Node,
}

/// Whether all of `tools` are here. When one is not, says so on stderr and returns false: the
/// test has nothing to test and passes.
///
/// # Panics
///
/// When one is missing and `SWARMLOOP_REQUIRE_PEERS=1`: where they are supposed to be installed,
/// a skipped test is a failed one.
pub(crate) fn have(tools: &[Tool]) -> bool {
    let Some(missing) = tools.iter().find(|tool| tool.locate().is_none()) else { return true };
    let line = format!("skipped: {} not found", missing.name());
    assert!(env::var_os("SWARMLOOP_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{line}");
    // Not `eprintln!`, whose output libtest swallows when a test passes.
    let _ = writeln!(io::stderr(), "{line}");
    false
}

impl Tool {
    /// Its place.
    ///
    /// # Panics
    ///
    /// When it is not on this machine: ask [`have`] first.
    pub(crate) fn path(self) -> PathBuf {
        self.locate().unwrap_or_else(|| panic!("{} not found", self.name()))
    }

    /// What it is called; for most, the program's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Swarmloop => "swarmloop",
            Self::LibtorrentPython => "libtorrent",
            Self::TransmissionDaemon => "transmission-daemon",
            Self::TransmissionRemote => "transmission-remote",
            Self::TransmissionCreate => "transmission-create",
            Self::TransmissionShow => "transmission-show",
            Self::Mktorrent => "mktorrent",
            Self::Aria2 => "aria2c",
            Self::Qbittorrent => "qbittorrent-nox",
            Self::Rqbit => "rqbit",
            Self::Opentracker => "opentracker",
            Self::NpmTracker => "bittorrent-tracker",
            Self::HdrJs => "hdr-histogram-js",
            Self::HdrPython => "hdrhistogram",
            Self::Node => "node",
        }
    }

    fn locate(self) -> Option<PathBuf> {
        match self {
            Self::Swarmloop => {
                named_by("SWARMLOOP_BIN").or(option_env!("CARGO_BIN_EXE_swarmloop").map(Into::into))
            }
            Self::LibtorrentPython => named_by("SWARMLOOP_LIBTORRENT_PYTHON")
                .or_else(libtorrent_of_the_system)
                .or_else(|| installed("libtorrent/bin/python")),
            Self::Rqbit => named_by("SWARMLOOP_RQBIT")
                .or_else(|| in_path("rqbit"))
                .or_else(|| installed("rqbit/bin/rqbit")),
            Self::NpmTracker => named_by("SWARMLOOP_NPM_TRACKER")
                .or_else(|| installed("npm/node_modules/bittorrent-tracker")),
            Self::HdrJs => named_by("SWARMLOOP_HDR_JS")
                .or_else(|| installed("hdr-npm/node_modules/hdr-histogram-js")),
            Self::HdrPython => {
                named_by("SWARMLOOP_HDR_PYTHON").or_else(|| installed("hdr/bin/python"))
            }
            _ => in_path(self.name()),
        }
    }
}

/// What a variable says is believed: a wrong path is an error of whoever set it, not a reason to
/// skip.
fn named_by(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|p| p.is_file())
}

fn installed(below: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    Some(target.join("peers").join(below)).filter(|path| path.exists())
}

/// `python3`, if its libtorrent can be imported. Asked once: an import takes a while.
fn libtorrent_of_the_system() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let ask = || {
        let python = in_path("python3")?;
        let import = |command: &mut Command| {
            command.args(["-c", "import libtorrent"]);
        };
        process::output(&python, import).map(|_| python)
    };
    PYTHON.get_or_init(ask).clone()
}
