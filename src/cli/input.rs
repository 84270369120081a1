//! What the command line names: torrents to read and folders that hold their data.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use swarmloop::id::InfoHash;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::text::Escaped;

use super::exit::{Exit, Failure};

/// The largest torrent file that is read, in bytes; the largest ones in the wild have some 10 MiB.
pub(crate) const MAX_TORRENT_BYTES: u64 = 32 << 20;

/// A torrent that was read.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// What it is.
    pub(crate) metainfo: Metainfo,
    /// Where it came from: `file` or `stdin`.
    pub(crate) source: &'static str,
}

impl Loaded {
    /// Returns the torrent's file or top folder as it is named on disk.
    pub(crate) fn top(&self) -> &OsStr {
        let first = self.metainfo.files.iter().find(|file| !file.pad);
        let top = first.and_then(|file| file.path.components().next());
        top.map_or(OsStr::new("."), Component::as_os_str)
    }
}

/// Reads the torrent that an argument names; failures are the user's to mend: [`Exit::Input`] or
/// [`Exit::Usage`].
pub(crate) fn load(argument: &OsStr) -> Result<Loaded, Failure> {
    if let Some(kind) = later_kind(argument) {
        return Err(Failure::not_yet(kind));
    }
    let shown = argument.to_string_lossy();
    let shown = Escaped(&shown);
    let (bytes, source) = if argument == "-" {
        (read_limited(io::stdin().lock()), "stdin")
    } else {
        (File::open(argument).and_then(read_limited), "file")
    };
    let bytes = bytes.map_err(|error| {
        Failure::new(Exit::Input, "cannot_read", format!("cannot read '{shown}': {error}"))
    })?;
    let metainfo = Metainfo::parse(&bytes.into()).map_err(|error| {
        let message = format!("bad torrent file '{shown}': {error}");
        Failure::new(Exit::Input, "bad_torrent", message)
    })?;
    Ok(Loaded { metainfo, source })
}

/// Reads everything up to [`MAX_TORRENT_BYTES`]; more is an error.
fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_TORRENT_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_TORRENT_BYTES) {
        return Ok(bytes);
    }
    let limit = MAX_TORRENT_BYTES >> 20;
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} MiB")))
}

/// Tells whether an argument can only be meant as a torrent, so that `get` may be left out before
/// it.
pub(crate) fn looks_like_torrent(argument: &OsStr) -> bool {
    let is_torrent_file = Path::new(argument)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("torrent"));
    argument == "-" || is_torrent_file || later_kind(argument).is_some()
}

/// Names the kinds of input that are not there yet, with their verb.
fn later_kind(argument: &OsStr) -> Option<&'static str> {
    let text = argument.to_str()?;
    let has_scheme = |scheme: &str| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if has_scheme("magnet:") {
        Some("magnet links are")
    } else if has_scheme("http://") || has_scheme("https://") {
        Some("URLs of torrents are")
    } else if text.parse::<InfoHash>().is_ok() {
        Some("bare info-hashes are")
    } else {
        None
    }
}

/// Returns the folder that a torrent's files are below, given the path to its data: the folder
/// itself, or the file or top folder in it, which is known by its name.
pub(crate) fn data_dir(path: &Path, top: &OsStr) -> PathBuf {
    match path.parent() {
        Some(parent) if path.file_name() == Some(top) => {
            if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            }
        }
        _ => path.to_owned(),
    }
}

/// Displays a path of foreign make in full: escaped like all foreign text, but not cut, because
/// somebody may use it.
pub(crate) fn escaped_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(swarmloop::text::MAX_FOREIGN_TEXT)
        .map(|chunk| Escaped(&chunk.iter().collect::<String>()).to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_not_there_yet_are_named() {
        for (argument, kind) in [
            ("magnet:?xt=urn:btih:0", Some("magnet links are")),
            ("MAGNET:?", Some("magnet links are")),
            ("http://h/x.torrent", Some("URLs of torrents are")),
            ("HTTPS://h/", Some("URLs of torrents are")),
            ("722fe65b2aa26d14f35b4ad627d20236e481d924", Some("bare info-hashes are")),
            ("722fe65b2aa26d14f35b4ad627d20236e481d92", None),
            ("http:/h", None),
            ("é", None),
            ("x.torrent", None),
            ("-", None),
        ] {
            assert_eq!(later_kind(OsStr::new(argument)), kind, "{argument}");
        }
    }

    #[test]
    fn a_missing_file_says_so_in_the_systems_words() {
        let failure = load(OsStr::new("no/such\x1b.torrent")).expect_err("there is no such file");
        assert_eq!(failure.exit, Exit::Input);
        assert_eq!(
            failure.message,
            "cannot read 'no/such\\x1b.torrent': No such file or directory (os error 2)"
        );
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let exactly = read_limited(io::repeat(0).take(MAX_TORRENT_BYTES)).map(|bytes| bytes.len());
        assert_eq!(exactly.ok(), usize::try_from(MAX_TORRENT_BYTES).ok());
        let error = read_limited(io::repeat(0)).expect_err("endless input");
        assert_eq!(error.to_string(), "larger than 32 MiB");
    }

    #[test]
    fn the_data_or_its_folder_may_be_named() {
        for (path, dir) in [
            (".", "."),
            ("/data", "/data"),
            ("/data/name", "/data"),
            ("/data/name/", "/data"),
            ("name", "."),
            ("./name", "."),
            ("/name", "/"),
            ("/data/name/other", "/data/name/other"),
            ("..", ".."),
            ("/", "/"),
        ] {
            assert_eq!(data_dir(Path::new(path), OsStr::new("name")), Path::new(dir), "{path}");
        }
    }

    #[test]
    fn long_paths_are_escaped_but_whole() {
        let long = "x".repeat(500) + "\n";
        assert_eq!(escaped_path(Path::new(&long)), "x".repeat(500) + "\\x0a");
    }
}
