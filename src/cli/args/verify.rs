//! The arguments of `verify`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueHint;

/// What the long help of `verify` adds.
pub(crate) const VERIFY_HELP: &str = "\
Files that are not as they should be are printed, one a line; with --files, all of them:
  ok       all of it is right
  wrong    some pieces are not right
  missing  it is not there
  short    it ends too early
  long     there are bytes behind its end
  unknown  what can be told is right, the rest shares pieces with files that are not there
  blocked  what is there is no file

--repair deletes nothing. Bytes behind a file's end are moved to FILE.tail; a file without a right
piece is renamed to FILE.bad. After that `get` fetches what is missing into the same folder.

It exits with 3 if something is not as it should be.

Examples:
  swarmloop verify album.torrent
  swarmloop verify album.torrent music --files
  swarmloop verify album.torrent music/album --repair --dry-run";

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Torrent file; - is stdin
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: OsString,
    /// The data, or the folder that it is in [default: the current one]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: Option<PathBuf>,
    /// Print every file, not only those that are not as they should be
    #[arg(long)]
    pub(crate) files: bool,
    /// Put out of the way what keeps `get` from completing the data
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: say what would be done, and do nothing
    #[arg(long, requires = "repair")]
    pub(crate) dry_run: bool,
    /// Threads that hash [default: one a processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}
