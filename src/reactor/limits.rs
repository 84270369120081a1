//! How many files and sockets the process may have open, and who gets them.
//!
//! A descriptor that an `accept` takes away from the disk pool fails a download, so the limit is
//! raised as far as it goes at start and then divided once, before anything is opened.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything that is neither a peer nor a file of a torrent: the standard
/// streams, the poll and its waker, listeners, a name lookup in each resolver thread (a socket and
/// a few files of its own), folders on the way to a file, and what the embedding program holds.
pub const RESERVED_FDS: u64 = 64;

/// The files of torrents that are kept open if the limit is generous; more of them pay off only
/// when more files than that are being read or written in turn.
pub const MAX_CACHED_FILES: u64 = 128;

/// What a process may have open at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdBudget {
    /// Connections, dials and trackers included; at least 1.
    pub conns: usize,
    /// Cached files of torrents; at least 1.
    pub files: usize,
}

/// Raises the process's soft limit on open files to its hard limit and returns how to divide it.
///
/// Never fails: if the system refuses, the limit is what it was and the budget says so. Acts on the
/// whole process; call it once, before the first connection.
pub fn raise_fd_limit() -> FdBudget {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    divide(limit)
}

/// Divides `limit` descriptors; `None` is no limit.
fn divide(limit: Option<u64>) -> FdBudget {
    let usable = limit.unwrap_or(u64::MAX).saturating_sub(RESERVED_FDS);
    let files = (usable / 4).min(MAX_CACHED_FILES);
    let count = |fds: u64| usize::try_from(fds).unwrap_or(usize::MAX).max(1);
    FdBudget { conns: count(usable - files), files: count(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_their_share_and_connections_the_rest() {
        for (limit, conns, files) in [
            (Some(0), 1, 1),
            (Some(64), 1, 1),
            (Some(67), 3, 1),
            (Some(256), 144, 48),
            (Some(1024), 832, 128),
            (Some(20_000), 19_808, 128),
        ] {
            assert_eq!(divide(limit), FdBudget { conns, files }, "{limit:?}");
        }
        assert_eq!(divide(None).files, 128);
        assert!(divide(None).conns > 1 << 30);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_limit() {
        let budget = raise_fd_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(budget, divide(limit.maximum));
    }
}
