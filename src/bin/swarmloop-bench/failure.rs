//! Exit codes and what leads to them.

use std::io;
use std::process::ExitCode;

/// What the process exits with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// 0: the workload was carried out as asked for.
    Success,
    /// 1: it was not: nobody answered, bytes were wrong, the time was over; or the system failed.
    Failed,
    /// 2: the command line asks for what cannot be.
    Usage,
    /// 4: a torrent, its data or a host is not there or not usable.
    Input,
    /// 6: a file is where another is to be made.
    InTheWay,
}

/// The exit codes as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    the workload was carried out as asked for
  1    it was not: nobody answered, bytes were wrong, the time was over; or an error of the system
  2    wrong usage
  4    a torrent, its data or a host is not there or not usable
  6    a file is where another is to be made";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Input => 4,
            Exit::InTheWay => 6,
        })
    }
}

/// Why there is no report: one condition, one line that is safe to print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) exit: Exit,
    /// What failed, where and why.
    pub(crate) message: String,
}

impl Failure {
    /// A combination of arguments that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Something that is not there or not usable.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { exit: Exit::Input, message: message.into() }
    }

    /// What was to be measured does not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// Something is where a file is to be made; it is left alone.
    pub(crate) fn in_the_way(path: &std::path::Path) -> Self {
        let shown = path.to_string_lossy();
        let message = format!("'{}' exists already", swarmloop::text::Escaped(&shown));
        Self { exit: Exit::InTheWay, message }
    }

    /// The system refused an operation; `what` reads "cannot WHAT".
    pub(crate) fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self { exit: Exit::Failed, message: format!("cannot {what}: {error}") }
    }
}
