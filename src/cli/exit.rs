//! Exit codes and the failures that lead to them.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use swarmloop::client::ClientError;
use swarmloop::disk::job::{DiskError, DiskErrorKind};
use swarmloop::reactor::egress::EgressError;
use swarmloop::session::io::{DiskFull, FileInTheWay, Phase};
use swarmloop::text::Escaped;

use super::input::escaped_path;
use super::size::{Size, percent};
use super::snapshot::Snapshot;
use super::stall::space_text;

/// What the process exits with. Documented in `--help`; new codes may come, unknown ones are
/// failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// 0: everything asked for is complete and verified.
    Success,
    /// 1: some torrent failed, or another error of the system.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the data is not what the torrent says (`verify`).
    Mismatch,
    /// 4: the input is not there or is no valid torrent or log.
    Input,
    /// 5: gave up, as `--timeout`, `--deadline` or `--stop-if-slow` said, or because nobody
    /// answered who was asked.
    GaveUp,
    /// 6: no space, no permission, read-only, or foreign files in the way.
    Disk,
    /// 128 + the signal's number: interrupted before everything was complete; what was verified is
    /// kept.
    Signal(u8),
}

/// The exit codes as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    everything asked for is complete and verified
  1    some torrent failed, or an error of the system
  2    wrong usage
  3    the data is not what the torrent says (verify)
  4    input not found, or not a valid torrent or log
  5    gave up, as --timeout, --deadline or --stop-if-slow said; no tracker or site answered
  6    no space, no permission, read-only, or foreign files in the way
  129, 130, 143
       ended by SIGHUP, SIGINT or SIGTERM before everything was complete; what is verified is kept
  Of several torrents the worst counts, in this order: 6, 1, 2, 4, 5. Other codes may be added;
  anything but 0 is a failure.";

impl Exit {
    /// Returns the number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Mismatch => 3,
            Self::Input => 4,
            Self::GaveUp => 5,
            Self::Disk => 6,
            Self::Signal(number) => 128u8.saturating_add(number),
        }
    }

    /// Returns the worst of several ends, success if there are none: what needs the user's hand
    /// before what may go better by itself next time.
    pub(crate) fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        exits.into_iter().max_by_key(|exit| exit.gravity()).unwrap_or(Self::Success)
    }

    const fn gravity(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::GaveUp | Self::Mismatch => 1,
            Self::Input => 2,
            Self::Usage => 3,
            Self::Failed => 4,
            Self::Disk => 5,
            Self::Signal(_) => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why something did not work: one condition, one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// What the process exits with if nothing else happens.
    pub(crate) exit: Exit,
    /// A stable word for programs (`--json`).
    pub(crate) code: &'static str,
    /// What failed, where, why, and what is kept. Safe to print.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// What helps who has no space.
const NO_SPACE_HINT: &str = "free some space, choose another folder with -d, or start all the same \
                             with --no-space-check";

impl Failure {
    /// Makes a failure without a hint; `message` must be safe to print.
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), hint: None }
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A flag that a later version will have; `what` brings its verb: "--proxy is".
    pub(crate) fn not_yet(what: &str) -> Self {
        Self::new(Exit::Usage, "not_yet_supported", format!("{what} not yet supported"))
    }

    /// The engine did not start or has ended.
    pub(crate) fn client(error: &ClientError) -> Self {
        let (exit, code) = match error {
            ClientError::Listen { source, .. } => (exit_of(source), "cannot_listen"),
            ClientError::Bind(EgressError::System(source)) => (exit_of(source), "cannot_bind"),
            ClientError::Bind(_) => (Exit::Usage, "cannot_bind"),
            ClientError::Io(source) => (exit_of(source), "cannot_start"),
            _ => (Exit::Failed, "engine"),
        };
        Self::new(exit, code, error.to_string())
    }

    /// The engine did not start; `flag` is the one that says where it listens.
    pub(crate) fn start(error: &ClientError, flag: &str) -> Self {
        let failure = Self::client(error);
        match error {
            ClientError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                failure.hint(format!("another program uses this port; name a free one with {flag}"))
            }
            ClientError::Listen { source, .. }
                if source.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                failure.hint("this machine has no such address; name one of its own")
            }
            ClientError::Listen { addr, source }
                if source.kind() == io::ErrorKind::PermissionDenied && addr.port() < 1024 =>
            {
                let hint = "ports below 1024 are for the system; name a higher one with";
                failure.hint(format!("{hint} {flag}"))
            }
            _ => failure,
        }
    }

    /// Another process, by its number, works on the torrent in the same folder.
    pub(crate) fn taken(name: &str, dir: &Path, process: &str) -> Self {
        let (name, dir) = (Escaped(name), escaped_path(dir));
        let message =
            format!("'{name}' is being worked on in '{dir}' by process {}", Escaped(process));
        Self::new(Exit::Failed, "locked", message)
    }

    /// The system refused an operation of the command line's own; `what` reads "cannot WHAT".
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        Self::new(exit_of(error), "io", format!("cannot {what}: {error}"))
    }

    /// Stdout does not take results any more; `None` if its reader went away, who had enough.
    pub(crate) fn stdout(error: &io::Error) -> Option<Self> {
        let is_failure = error.kind() != io::ErrorKind::BrokenPipe;
        is_failure.then(|| Self::io("write to stdout", error))
    }

    /// The engine's disk failed with `have` of `size` bytes verified.
    pub(crate) fn disk(error: &DiskError, have: u64, size: u64) -> Self {
        let (exit, code, hint) = match error.kind {
            DiskErrorKind::Full => (Exit::Disk, "disk_full", "free some space"),
            DiskErrorKind::Permission => (Exit::Disk, "disk_permission", "change the permissions"),
            DiskErrorKind::ReadOnly => (Exit::Disk, "disk_read_only", "choose another folder"),
            DiskErrorKind::InTheWay => (Exit::Disk, "disk_in_the_way", "move it away"),
            DiskErrorKind::Missing => (Exit::Failed, "disk_missing", "put the file back"),
            DiskErrorKind::Vanished => {
                let hint = "mount or restore it, or accept the one that is there with --check,";
                (Exit::Failed, "disk_vanished", hint)
            }
            DiskErrorKind::Panicked => (Exit::Failed, "disk_panicked", "report this bug"),
            _ => (Exit::Failed, "disk", "see to the disk"),
        };
        let kept = percent(have, size);
        let message = format!("{error}. {kept} is verified and kept");
        Self::new(exit, code, message).hint(format!("{hint} and run the same command again"))
    }

    /// The disk is full with `have` of `size` bytes verified: waited for, and a failure only of who
    /// gives up waiting.
    pub(crate) fn disk_full(full: &DiskFull, have: u64, size: u64) -> Self {
        let (error, space, kept) = (&full.error, space_text(full), percent(have, size));
        let message = format!(
            "{error} ({space}). {kept} is verified and kept; \
             the download continues by itself when space is free"
        );
        Self::new(Exit::Disk, "disk_full", message)
    }

    /// So many pieces cannot be read any more; the rest is served.
    pub(crate) fn pieces_lost(error: &DiskError, pieces: u64, torrent: &Snapshot) -> Self {
        let pieces = match pieces {
            1 => "1 piece is".to_owned(),
            many => format!("{many} pieces are"),
        };
        let then = match torrent.phase {
            Phase::Downloading => "downloaded again",
            _ => "not served any more",
        };
        let kept = percent(torrent.have, torrent.size);
        let message = format!("{error}. {pieces} {then}; {kept} is verified and kept");
        Self::new(Exit::Failed, "pieces_lost", message)
    }

    /// What is missing does not fit on the disk.
    pub(crate) fn no_space(name: &str, free: u64, needed: u64) -> Self {
        let (free, needed) = (Size(free), Size(needed));
        let message =
            format!("no space for '{name}': {needed} needed, {free} free. Nothing was written");
        Self::new(Exit::Disk, "no_space", message).hint(NO_SPACE_HINT)
    }

    /// What several downloads lack does not fit together where they go.
    pub(crate) fn no_space_for_all(torrents: usize, dir: &Path, free: u64, needed: u64) -> Self {
        let (free, needed) = (Size(free), Size(needed));
        let message = format!(
            "no space for {torrents} torrents in '{}': {needed} needed, {free} free. Nothing was \
             written",
            escaped_path(dir)
        );
        Self::new(Exit::Disk, "no_space", message).hint(NO_SPACE_HINT)
    }

    /// Files of somebody else are where the torrent's belong.
    pub(crate) fn files_in_the_way(files: &[FileInTheWay]) -> Self {
        /// More files than this are only counted.
        const MAX_NAMED: usize = 3;

        let name = |file: &FileInTheWay| {
            let path = file.path.to_string_lossy();
            let (len, expected) = (file.len, file.expected_len);
            if len == expected {
                format!("'{}' (other content)", Escaped(&path))
            } else {
                format!("'{}' ({len} bytes, expected {expected})", Escaped(&path))
            }
        };
        let named: Vec<String> = files.iter().take(MAX_NAMED).map(name).collect();
        let more = match files.len().checked_sub(MAX_NAMED) {
            Some(more @ 1..) => format!(" and {more} more"),
            _ => String::new(),
        };
        let message = format!(
            "files in the way hold bytes that are not this torrent's: {}{more}. \
             Nothing was written",
            named.join(", ")
        );
        Self::new(Exit::Disk, "files_in_the_way", message)
            .hint("--overwrite replaces what is not the torrent's; -d chooses another folder")
    }

    /// Returns the message as it is printed, hint on a line of its own.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("swarmloop: error: {}", self.message);
        if let Some(hint) = &self.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }
}

/// Tells a full, closed or read-only system from other errors.
fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => Exit::Disk,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmloop::disk::job::DiskOp;

    #[test]
    fn codes_are_the_documented_ones() {
        for (exit, code) in [
            (Exit::Success, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Mismatch, 3),
            (Exit::Input, 4),
            (Exit::GaveUp, 5),
            (Exit::Disk, 6),
            (Exit::Signal(1), 129),
            (Exit::Signal(2), 130),
            (Exit::Signal(15), 143),
        ] {
            assert_eq!(exit.code(), code);
            assert!(EXIT_CODES.contains(&code.to_string()), "{code} is not in --help");
        }
    }

    #[test]
    fn of_several_ends_the_worst_counts() {
        let order = [Exit::Success, Exit::GaveUp, Exit::Input, Exit::Usage, Exit::Failed];
        let order = [&order[..], &[Exit::Disk]].concat();
        for (i, worse) in order.iter().enumerate() {
            for better in &order[..=i] {
                assert_eq!(Exit::worst([*better, *worse]), *worse);
                assert_eq!(Exit::worst([*worse, *better]), *worse);
            }
        }
        assert_eq!(Exit::worst([]), Exit::Success);
        let documented = "6, 1, 2, 4, 5";
        let codes: Vec<String> =
            order[1..].iter().rev().map(|exit| exit.code().to_string()).collect();
        assert_eq!(codes.join(", "), documented);
        assert!(EXIT_CODES.contains(documented));
    }

    #[test]
    fn disk_failures_say_what_is_kept_and_what_to_do() {
        for (kind, exit, hint) in [
            (DiskErrorKind::Full, 6, "free some space and run the same command again"),
            (DiskErrorKind::Permission, 6, "change the permissions and run the same command again"),
            (DiskErrorKind::ReadOnly, 6, "choose another folder and run the same command again"),
            (DiskErrorKind::InTheWay, 6, "move it away and run the same command again"),
            (DiskErrorKind::Missing, 1, "put the file back and run the same command again"),
            (DiskErrorKind::Other, 1, "see to the disk and run the same command again"),
        ] {
            let path = "Movies/a\x1b[2J.mkv".into();
            let message = "no space left on device".to_owned();
            let error = DiskError { op: DiskOp::Write, path, kind, message };
            let failure = Failure::disk(&error, 71, 100);
            assert_eq!(failure.exit.code(), exit, "{kind:?}");
            assert_eq!(failure.hint.as_deref(), Some(hint), "{kind:?}");
            assert_eq!(
                failure.message,
                "cannot write \"Movies/a\\x1b[2J.mkv\": no space left on device. \
                 71.0% is verified and kept"
            );
        }
    }

    #[test]
    fn files_in_the_way_are_named_escaped_and_counted() {
        let file = |path: &str| FileInTheWay { path: path.into(), len: 7, expected_len: 9 };
        let one = Failure::files_in_the_way(&[file("a\nb")]);
        assert_eq!(one.exit, Exit::Disk);
        assert_eq!(
            one.text(),
            "swarmloop: error: files in the way hold bytes that are not this torrent's: \
             'a\\x0ab' (7 bytes, expected 9). Nothing was written\n\
             hint: --overwrite replaces what is not the torrent's; -d chooses another folder"
        );
        let same_len = FileInTheWay { path: "a".into(), len: 9, expected_len: 9 };
        let failure = Failure::files_in_the_way(&[same_len, file("b")]);
        assert!(
            failure.message.contains(": 'a' (other content), 'b' (7 bytes, expected 9). "),
            "{}",
            failure.message
        );
        let many: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().map(file).collect();
        assert!(
            Failure::files_in_the_way(&many)
                .message
                .contains("'c' (7 bytes, expected 9) and 2 more.")
        );
    }

    #[test]
    fn system_errors_map_to_six_only_if_the_user_can_mend_them_there() {
        for (kind, exit) in [
            (io::ErrorKind::StorageFull, Exit::Disk),
            (io::ErrorKind::PermissionDenied, Exit::Disk),
            (io::ErrorKind::ReadOnlyFilesystem, Exit::Disk),
            (io::ErrorKind::AddrInUse, Exit::Failed),
            (io::ErrorKind::Other, Exit::Failed),
        ] {
            assert_eq!(Failure::io("try", &kind.into()).exit, exit, "{kind:?}");
        }
        let addr = "127.0.0.1:80".parse().expect("an address");
        let taken = ClientError::Listen { addr, source: io::ErrorKind::AddrInUse.into() };
        let failure = Failure::start(&taken, "--listen");
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.hint.is_some_and(|hint| hint.ends_with("a free one with --listen")));
        assert_eq!(Failure::start(&ClientError::Ended, "--listen").hint, None);
        for (kind, hint) in [
            (io::ErrorKind::AddrNotAvailable, "this machine has no such address"),
            (io::ErrorKind::PermissionDenied, "name a higher one with --port"),
        ] {
            let failure =
                Failure::start(&ClientError::Listen { addr, source: kind.into() }, "--port");
            assert!(failure.hint.is_some_and(|text| text.contains(hint)), "{kind}");
        }
    }
}
