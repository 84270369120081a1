//! What the command line names: torrents to read and folders that hold their data.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use swarmloop::id::InfoHash;
use swarmloop::proto::magnet::{Magnet, MagnetError};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::text::Escaped;

use super::exit::{Exit, Failure};
use super::fetch::Fetcher;

/// The largest torrent file that is read, in bytes; the largest ones in the wild have some 10 MiB.
pub(crate) const MAX_TORRENT_BYTES: u64 = 32 << 20;

/// A torrent that was read.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// What it is.
    pub(crate) metainfo: Metainfo,
    /// Where it came from: `file`, `stdin`, `url`, `share` or `magnet`.
    pub(crate) source: &'static str,
    /// Peers that its link names (BEP 9, `x.pe`): host names or addresses, and ports.
    pub(crate) link_peers: Vec<(String, u16)>,
}

impl Loaded {
    /// Returns a torrent that comes from `source`, which is no link.
    pub(crate) const fn new(metainfo: Metainfo, source: &'static str) -> Self {
        Self { metainfo, source, link_peers: Vec::new() }
    }

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
    parse(argument, read(argument)?)
}

/// The same of an argument that may be a URL, too.
pub(crate) fn load_by(argument: &OsStr, fetcher: &Fetcher<'_>) -> Result<Loaded, Failure> {
    parse(argument, read_by(argument, fetcher)?)
}

fn parse(argument: &OsStr, (bytes, source): (Bytes, &'static str)) -> Result<Loaded, Failure> {
    let metainfo = Metainfo::parse(&bytes).map_err(|error| bad_torrent(argument, &error))?;
    Ok(Loaded::new(metainfo, source))
}

/// Refuses arguments that name stdin more than once.
pub(crate) fn check_stdin<'a>(
    arguments: impl IntoIterator<Item = &'a OsString>,
) -> Result<(), Failure> {
    if arguments.into_iter().filter(|argument| *argument == "-").count() > 1 {
        let message = "'-' (stdin) can be named only once";
        return Err(Failure::new(Exit::Usage, "stdin_twice", message));
    }
    Ok(())
}

/// Reads the bytes of the torrent file that an argument names, and says where they came from: as
/// [`Loaded::source`].
pub(crate) fn read(argument: &OsStr) -> Result<(Bytes, &'static str), Failure> {
    if url(argument).is_some() {
        let message = "only get, seed, show, scrape and announce take the URL of a torrent";
        return Err(Failure::new(Exit::Usage, "no_url", message));
    }
    if names_a_hash(argument) {
        let message = "only get, scrape and announce take magnet links and info-hashes";
        let failure = Failure::new(Exit::Usage, "no_magnet", message);
        return Err(failure.hint("`get --metadata-only` makes a torrent file of one"));
    }
    let (bytes, source) = if argument == "-" {
        (read_limited(io::stdin().lock(), MAX_TORRENT_BYTES), "stdin")
    } else {
        (File::open(argument).and_then(|file| read_limited(file, MAX_TORRENT_BYTES)), "file")
    };
    let bytes = bytes.map_err(|error| {
        let shown = argument.to_string_lossy();
        let message = format!("cannot read '{}': {error}", Escaped(&shown));
        let failure = Failure::new(Exit::Input, "cannot_read", message);
        match error.kind() {
            io::ErrorKind::IsADirectory => {
                failure.hint("`create` makes a torrent of a folder, `share` hands it over")
            }
            _ => failure,
        }
    })?;
    if bytes.is_empty() {
        return Err(bad_torrent(argument, &"it is empty"));
    }
    Ok((bytes.into(), source))
}

/// Reads the bytes of the torrent file that an argument names, which may be a URL.
pub(crate) fn read_by(
    argument: &OsStr,
    fetcher: &Fetcher<'_>,
) -> Result<(Bytes, &'static str), Failure> {
    match url(argument) {
        Some(url) => Ok((fetcher.fetch(url)?, "url")),
        None => read(argument),
    }
}

/// Returns an argument that is a URL of a file.
pub(crate) fn url(argument: &OsStr) -> Option<&str> {
    argument.to_str().filter(|text| has_scheme(text, "http://") || has_scheme(text, "https://"))
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// A torrent file is none, or none that this program can use.
pub(crate) fn bad_torrent(argument: &OsStr, why: &dyn std::fmt::Display) -> Failure {
    let shown = argument.to_string_lossy();
    let message = format!("bad torrent file '{}': {why}", Escaped(&shown));
    Failure::new(Exit::Input, "bad_torrent", message)
}

/// Reads everything up to so many bytes, whole MiB; more is an error.
pub(crate) fn read_limited(from: impl Read, at_most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(at_most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= at_most) {
        return Ok(bytes);
    }
    let limit = at_most >> 20;
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} MiB")))
}

/// Tells whether an argument can only be meant as a torrent, so that `get` may be left out before
/// it.
pub(crate) fn looks_like_torrent(argument: &OsStr) -> bool {
    let is_torrent_file = Path::new(argument)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("torrent"));
    argument == "-" || is_torrent_file || url(argument).is_some() || names_a_hash(argument)
}

/// Reads an argument that is a magnet link, or an info-hash by itself: 40 hexadecimal digits, or 32
/// of base32 unless a file has that name.
pub(crate) fn magnet(argument: &OsStr) -> Result<Option<Magnet>, Failure> {
    let Some(text) = argument.to_str().map(str::trim) else { return Ok(None) };
    let is_base32 = |digit: u8| digit.is_ascii_alphabetic() || (b'2'..=b'7').contains(&digit);
    let is_link = text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("magnet:"));
    let is_hash = text.parse::<InfoHash>().is_ok()
        || text.len() == 32 && text.bytes().all(is_base32) && !Path::new(argument).exists();
    let link = match (is_link, is_hash) {
        (true, _) => text.to_owned(),
        (_, true) => format!("magnet:?xt=urn:btih:{text}"),
        _ => return Ok(None),
    };
    let magnet = link.parse().map_err(|error: MagnetError| {
        let message = format!("bad magnet link '{}': {error}", Escaped(text));
        Failure::new(Exit::Input, "bad_magnet", message)
    })?;
    Ok(Some(magnet))
}

/// Tells whether an argument can only be meant as a magnet link or an info-hash.
fn names_a_hash(argument: &OsStr) -> bool {
    let is_one = |text: &str| has_scheme(text, "magnet:") || text.parse::<InfoHash>().is_ok();
    argument.to_str().is_some_and(is_one)
}

/// Returns the folder that a torrent's files are below, given the path to its data: the folder
/// itself, or the file or top folder in it, which is known by its name.
///
/// Data that is there under another name is the user's to rename: [`Exit::Input`].
pub(crate) fn data_dir(path: &Path, torrent: &Loaded) -> Result<PathBuf, Failure> {
    if holds(torrent, |file| path.join(file)) {
        return Ok(path.to_owned());
    }
    // The name that was typed counts before the one that is behind it, which `.` and symbolic links
    // hide.
    let real = path.canonicalize().ok();
    for path in [Some(path), real.as_deref()].into_iter().flatten() {
        if let Some(parent) = parent_of(path, torrent.top()) {
            return Ok(parent);
        }
    }
    let is_misnamed = path.is_file()
        || torrent.metainfo.multi_file
            && holds(torrent, |file| path.join(file.components().skip(1).collect::<PathBuf>()));
    if !is_misnamed {
        return Ok(path.to_owned());
    }
    let (name, top) = (escaped_path(path), escaped_path(Path::new(torrent.top())));
    let message = format!(
        "'{name}' has another name than in the torrent: the data must be named '{top}' \
         (or be given as the folder that '{top}' is in)"
    );
    Err(Failure::new(Exit::Input, "misnamed", message))
}

/// Tells whether any file of a torrent is where `place` puts it.
fn holds(torrent: &Loaded, place: impl Fn(&Path) -> PathBuf) -> bool {
    let mut files = torrent.metainfo.files.iter().filter(|file| !file.pad);
    files.any(|file| place(&file.path).is_file())
}

/// Returns the folder that a path is in if its last part is `name`.
fn parent_of(path: &Path, name: &OsStr) -> Option<PathBuf> {
    let parent = path.parent().filter(|_| path.file_name() == Some(name))?;
    let is_here = parent.as_os_str().is_empty();
    Some(if is_here { PathBuf::from(".") } else { parent.to_owned() })
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
    use crate::cli::files::tests::metainfo;

    #[test]
    fn what_names_a_hash_is_no_file() {
        for (argument, is_one) in [
            ("magnet:?xt=urn:btih:0", true),
            ("MAGNET:?", true),
            ("722fe65b2aa26d14f35b4ad627d20236e481d924", true),
            ("722fe65b2aa26d14f35b4ad627d20236e481d92", false),
            ("http:/h", false),
            ("é", false),
            ("x.torrent", false),
        ] {
            assert_eq!(names_a_hash(OsStr::new(argument)), is_one, "{argument}");
            assert_eq!(read(OsStr::new(argument)).is_err_and(|it| it.code == "no_magnet"), is_one);
        }
    }

    #[test]
    fn magnet_links_and_bare_hashes_are_told_from_files() {
        let hex = "722fe65b2aa26d14f35b4ad627d20236e481d924";
        let base32 = "2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B";
        let hash = |text: &str| {
            let magnet = magnet(OsStr::new(text)).expect("nothing is wrong with it");
            magnet.map(|magnet| magnet.info_hash.to_string())
        };
        assert_eq!(hash(hex).as_deref(), Some(hex));
        assert_eq!(hash(&format!("MAGNET:?xt=urn:btih:{hex}\n")).as_deref(), Some(hex));
        assert_eq!(hash(base32).as_deref(), Some("d2354010a3ca4ade5b7427bb093a62a3899ff381"));
        for text in ["x.torrent", "-", "http://h/", &hex[1..], "é"] {
            assert_eq!(hash(text), None, "{text}");
        }
        let failure = magnet(OsStr::new("magnet:?dn=x\x1b")).expect_err("no hash");
        assert_eq!(failure.exit, Exit::Input);
        let text = "bad magnet link 'magnet:?dn=x\\x1b': there is no info-hash (xt=urn:btih:...)";
        assert_eq!(failure.message, text);
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
        let exactly = read_limited(io::repeat(0).take(MAX_TORRENT_BYTES), MAX_TORRENT_BYTES)
            .map(|bytes| bytes.len());
        assert_eq!(exactly.ok(), usize::try_from(MAX_TORRENT_BYTES).ok());
        let error = read_limited(io::repeat(0), MAX_TORRENT_BYTES).expect_err("endless input");
        assert_eq!(error.to_string(), "larger than 32 MiB");
    }

    fn loaded(files: &[(&str, u64, bool)], multi_file: bool) -> Loaded {
        let metainfo = Metainfo { multi_file, ..metainfo(files) };
        Loaded::new(metainfo, "file")
    }

    #[test]
    fn the_data_or_its_folder_may_be_named() {
        let torrent = loaded(&[("no such name/a", 1, false)], true);
        for (path, dir) in [
            (".", "."),
            ("/no", "/no"),
            ("/no/no such name", "/no"),
            ("/no/no such name/", "/no"),
            ("/no/no such name/.", "/no"),
            ("no such name", "."),
            ("./no such name", "."),
            ("/no such name", "/"),
            ("/no/no such name/other", "/no/no such name/other"),
            ("..", ".."),
            ("/", "/"),
        ] {
            let got = data_dir(Path::new(path), &torrent);
            assert_eq!(got, Ok(PathBuf::from(dir)), "{path}");
        }
    }

    #[test]
    fn data_is_found_behind_its_path_or_told_to_have_another_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        for dir in ["top/sub", "other/sub", "top2/top2", "empty"] {
            std::fs::create_dir_all(root.join(dir)).expect("made");
        }
        for file in ["top/sub/a", "other/sub/a", "top2/top2/a", "a.iso", "b.iso"] {
            std::fs::write(root.join(file), "x").expect("written");
        }
        std::os::unix::fs::symlink(root.join("top"), root.join("link")).expect("linked");
        let pad = ("pad", 5, true);
        let many = loaded(&[pad, ("top/b", 1, false), ("top/sub/a", 1, false)], true);
        let nested = loaded(&[("top2/top2/a", 1, false)], true);
        let inner = loaded(&[("top2/a", 1, false)], true);
        let one = loaded(&[("a.iso", 1, false)], false);
        for (torrent, path, dir) in [
            (&many, "", Some("")),
            (&many, "top", Some("")),
            (&many, "top/", Some("")),
            (&many, "top/.", Some("")),
            (&many, "top/sub/..", Some("")),
            (&many, "link", Some("")),
            (&many, "other", None),
            (&many, "other/.", None),
            (&many, "a.iso", None),
            (&many, "empty", Some("empty")),
            (&many, "missing", Some("missing")),
            (&nested, "top2", Some("")),
            (&inner, "top2", Some("top2")),
            (&inner, "top2/top2", Some("top2")),
            (&one, "", Some("")),
            (&one, "a.iso", Some("")),
            (&one, "b.iso", None),
            (&one, "missing.iso", Some("missing.iso")),
        ] {
            let got = data_dir(&root.join(path), torrent);
            let Some(dir) = dir else {
                let failure = got.expect_err("another name");
                assert_eq!(failure.exit, Exit::Input);
                let top = torrent.top().to_string_lossy();
                let must = format!("the data must be named '{top}'");
                assert!(failure.message.contains(&must), "{}", failure.message);
                continue;
            };
            // Compared by what is behind them, because `.` may be at the end of either.
            let (got, dir) = (got.expect("it is found"), root.join(dir));
            let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            assert_eq!(real(&got), real(&dir), "{path}");
        }
    }

    #[test]
    fn long_paths_are_escaped_but_whole() {
        let long = "x".repeat(500) + "\n";
        assert_eq!(escaped_path(Path::new(&long)), "x".repeat(500) + "\\x0a");
    }
}
