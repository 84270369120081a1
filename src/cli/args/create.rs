//! The arguments of `create`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueHint;
use swarmloop::proto::metainfo::MAX_PIECE_LEN;
use swarmloop::proto::url::AnnounceUrl;
use swarmloop::text::parse_size;

use crate::cli::glob::{Glob, GlobError};

/// What the long help of `create` adds.
pub(crate) const CREATE_HELP: &str = "\
Files are taken in the order of their paths' bytes, so the same files make the same torrent; with
--no-date (or SOURCE_DATE_EPOCH in the environment), byte for byte. Hidden and empty files are
taken, empty folders and what is neither file nor folder are not; neither are symbolic links, unless
--follow-symlinks says so.

Pieces are as short as they can be for at most 2048 of them: 16 KiB up to 32 MiB of payload, 512 KiB
for 1 GiB, 16 MiB from 16 GiB on.

Patterns: * and ? within a name, ** across folders, [a-z]. One without a slash is about any name,
one with a slash about the path below PATH; what matches a folder matches all in it.

Examples:
  swarmloop create album -t http://127.0.0.1:6969/announce
  swarmloop create album -t udp://a:1,udp://b:1 -t http://c/announce -o album.torrent
  swarmloop create album --dry-run -x '*.tmp'
  swarmloop create album --no-date -o - >album.torrent";

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct CreateArgs {
    /// The file or folder
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Where to write the torrent: a file, a folder for NAME.torrent, or - for stdout [default:
    /// NAME.torrent]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Announce URL; repeated, each is a tier of its own; with commas, URLs are of one tier
    #[arg(short, long = "tracker", value_name = "URL[,URL...]", value_parser = tier)]
    pub(crate) trackers: Vec<Tier>,
    /// URL of a web seed; may be repeated
    #[arg(short, long = "webseed", value_name = "URL", value_parser = web_seed)]
    #[arg(hide_short_help = true)]
    pub(crate) web_seeds: Vec<String>,
    /// Bytes in a piece: a power of two from 16K on, or auto
    #[arg(short = 's', long, value_name = "SIZE", default_value = "auto")]
    #[arg(value_parser = piece_size)]
    pub(crate) piece_size: PieceSize,
    /// Peers may come from the trackers only
    #[arg(short, long)]
    pub(crate) private: bool,
    /// A word to whoever reads it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Where it is published; makes the info-hash another one
    #[arg(short = 'r', long, value_name = "TEXT")]
    #[arg(hide_short_help = true)]
    pub(crate) source: Option<String>,
    /// Name in the torrent instead of that of PATH
    #[arg(short, long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// Leave out what matches this pattern; may be repeated
    #[arg(short = 'x', long, value_name = "GLOB", value_parser = glob)]
    pub(crate) exclude: Vec<Glob>,
    /// Take what symbolic links lead to
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) follow_symlinks: bool,
    /// Write no creation date
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) no_date: bool,
    /// Name of the program to write into the torrent; empty for none
    #[arg(long, value_name = "TEXT", default_value = CREATED_BY)]
    #[arg(hide_short_help = true)]
    pub(crate) created_by: String,
    /// Threads that hash [default: one a processor]
    #[arg(short, long, value_name = "N")]
    #[arg(hide_short_help = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Print the magnet link too
    #[arg(long)]
    pub(crate) magnet: bool,
    /// Replace a torrent that is there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Say what would be made, and neither hash nor write anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A v1 torrent, which is what is made anyway.
    #[arg(long, hide = true)]
    pub(crate) v1: bool,
    /// Not there yet.
    #[arg(long, hide = true)]
    pub(crate) v2: bool,
    /// Not there yet.
    #[arg(long, hide = true)]
    pub(crate) hybrid: bool,
    /// Not there yet.
    #[arg(long, hide = true)]
    pub(crate) md5: bool,
}

impl CreateArgs {
    /// Returns what `create PATH` means.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            output: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            piece_size: PieceSize::Auto,
            private: false,
            comment: None,
            source: None,
            name: None,
            exclude: Vec::new(),
            follow_symlinks: false,
            no_date: false,
            created_by: CREATED_BY.to_owned(),
            jobs: None,
            magnet: false,
            force: false,
            dry_run: false,
            v1: false,
            v2: false,
            hybrid: false,
            md5: false,
        }
    }
}

/// The name of this program as new torrents have it.
const CREATED_BY: &str = concat!("swarmloop ", env!("CARGO_PKG_VERSION"));

/// The announce URLs of one tier; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tier(pub(crate) Vec<String>);

/// What `--piece-size` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PieceSize {
    /// By the size of the payload.
    Auto,
    /// So many bytes.
    Bytes(u32),
}

/// The shortest piece that is made: a block. Clients ask for whole blocks.
const MIN_PIECE_LEN: u32 = 16 << 10;

/// Reads announce URLs with commas between them.
pub(super) fn tier(text: &str) -> Result<Tier, String> {
    text.split(',').map(announce_url).collect::<Result<Vec<_>, _>>().map(Tier)
}

/// Reads an announce URL that somebody could announce to, if not this program.
pub(crate) fn announce_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    AnnounceUrl::parse(text).map_err(|error| error.to_string())?;
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if ANNOUNCE_SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Ok(text.to_owned());
    }
    Err("a tracker's URL begins with udp://, http://, https://, ws:// or wss://".to_owned())
}

/// Schemes of announce URLs: BEP 15, BEP 3, and those of `WebTorrent`.
const ANNOUNCE_SCHEMES: [&str; 5] = ["udp", "http", "https", "ws", "wss"];

/// Reads the URL of a web seed (BEP 19), which servers of HTTP and FTP can be.
pub(super) fn web_seed(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let has_scheme = ["http://", "https://", "ftp://"].iter().any(|scheme| {
        lower.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    if has_scheme && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err("a web seed is a URL that begins with http://, https:// or ftp://".to_owned())
}

/// Reads what is a name on disk in every system's eyes.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
        return Err("a name has no slash in it and is neither empty nor . or ..".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn glob(text: &str) -> Result<Glob, GlobError> {
    text.parse()
}

fn piece_size(text: &str) -> Result<PieceSize, String> {
    if text == "auto" {
        return Ok(PieceSize::Auto);
    }
    let size = parse_size(text).map_err(|error| error.to_string())?;
    let fitting = u32::try_from(size).ok().filter(|len| len.is_power_of_two());
    match fitting.filter(|len| (MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(len)) {
        Some(len) => Ok(PieceSize::Bytes(len)),
        // transmission-create counts in KiB, and nobody means a piece of so few bytes.
        None if (16..u64::from(MIN_PIECE_LEN)).contains(&size) && text == size.to_string() => {
            Err(format!("that is in bytes; {size} KiB are {size}K"))
        }
        None => Err("a piece size is a power of two from 16K to 512M".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_sizes_are_powers_of_two() {
        for (text, size) in [
            ("auto", PieceSize::Auto),
            ("16K", PieceSize::Bytes(16 << 10)),
            ("262144", PieceSize::Bytes(256 << 10)),
            ("512M", PieceSize::Bytes(512 << 20)),
        ] {
            assert_eq!(piece_size(text), Ok(size), "{text}");
        }
        for (text, why) in [
            ("256", "256 KiB are 256K"),
            ("8K", "from 16K"),
            ("1G", "to 512M"),
            ("100K", "power of two"),
            ("0", "power of two"),
            ("x", "a size is"),
            ("16777216T", "64 bits"),
        ] {
            let error = piece_size(text).expect_err("no piece size");
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn urls_are_checked() {
        let urls = |urls: &[&str]| Tier(urls.iter().map(|url| (*url).to_owned()).collect());
        assert_eq!(tier("udp://a:1, http://b/x"), Ok(urls(&["udp://a:1", "http://b/x"])));
        assert!(tier("WSS://a/x,https://b").is_ok());
        for text in
            ["", "a", "http://a,", "http://a/%0a", "http://", "ftp://a/x", "udp://a:1,x://b"]
        {
            assert!(tier(text).is_err(), "{text}");
        }
        assert!(web_seed("HTTPS://h/a b").is_ok());
        for text in ["", "h", "udp://h", "http://", "http:///x", "http://h/\n"] {
            assert!(web_seed(text).is_err(), "{text}");
        }
        assert!(name("a b").is_ok());
        for text in ["", ".", "..", "a/b", "a\0"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
