//! `get` with a magnet link or an info-hash: what is looked for, and what is made of its metadata
//! once that is here.
//!
//! Metadata is kept with the user's state from the moment it is known, so that no run fetches it
//! twice.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use swarmloop::client::{AddMagnet, FilePriority, Selection};
use swarmloop::id::InfoHash;
use swarmloop::proto::magnet::Magnet;
use swarmloop::proto::metainfo::{Metainfo, TorrentFile};

use super::args::get::{BY_NAME, GetArgs};
use super::exit::{Exit, Failure};
use super::get::Download;
use super::input::{self, Loaded, MAX_TORRENT_BYTES};
use super::new_file;
use super::select;
use super::state_dir;
use super::ui::Ui;

/// A torrent whose metadata is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    /// Counted from 1, in the order of the command line.
    pub(crate) number: usize,
    /// How it was named.
    pub(crate) named: OsString,
    pub(crate) magnet: Magnet,
}

/// What is made of metadata.
#[derive(Debug)]
pub(crate) enum Found {
    /// A torrent file is all that was wanted; it is here.
    Saved(PathBuf),
    /// It is downloaded.
    Ready(Box<Download>),
}

impl Sought {
    /// Returns its name for people until the metadata says it: foreign text.
    pub(crate) fn name(&self) -> String {
        let hash = || self.magnet.info_hash.to_string();
        self.magnet.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(hash)
    }

    /// Returns what the engine is to look for.
    pub(crate) fn to_add(&self, args: &GetArgs) -> AddMagnet {
        let own = self.magnet.trackers.iter();
        let others = args.network.trackers.iter().filter(|url| !self.magnet.trackers.contains(url));
        let urls = own.chain(others).filter(|_| !args.network.no_trackers);
        AddMagnet {
            info_hash: self.magnet.info_hash,
            trackers: urls.map(|url| vec![url.clone()]).collect(),
            link_peers: self.magnet.peers.clone(),
            peers: args.network.peers.clone(),
        }
    }
}

/// Makes of metadata what `args` want: keeps it, saves it as a torrent file, chooses files of it.
pub(crate) fn found(
    args: &GetArgs,
    sought: Sought,
    mut metainfo: Metainfo,
    ui: &mut Ui,
) -> Result<Found, Failure> {
    let Sought { number, named, magnet } = sought;
    adopt_link(&mut metainfo, &magnet);
    if !args.state.no_resume
        && let Err(failure) = keep(&metainfo)
    {
        ui.warning("metadata_not_kept", &failure.message, Some(number));
    }
    let selection = chosen(args, &metainfo, &magnet);
    let torrent = loaded(metainfo, magnet);
    if let Some(path) = save(args, &torrent)? {
        if args.metadata_only {
            return Ok(Found::Saved(path));
        }
        let shown = input::escaped_path(&path);
        ui.say(&format!("saved  {shown}"));
    }
    let download = Download::new(args, number, named, torrent, selection?, ui);
    Ok(Found::Ready(Box::new(download)))
}

/// Returns which files of a torrent that a link has named are wanted: what the command line says,
/// else what the link says (BEP 53).
pub(crate) fn chosen(
    args: &GetArgs,
    metainfo: &Metainfo,
    magnet: &Magnet,
) -> Result<Selection, Failure> {
    let is_said = !args.files.select.is_empty() || !args.files.exclude.is_empty();
    if is_said || magnet.selected.is_empty() {
        return select::selection(&args.files, metainfo);
    }
    let is_selected = |at: u32| magnet.selected.iter().any(|range| range.contains(&at));
    let files = (0..).zip(&metainfo.files);
    let priorities: Vec<FilePriority> =
        files
            .map(|(at, file)| {
                if file.pad || is_selected(at) { FilePriority::Normal } else { FilePriority::Skip }
            })
            .collect();
    let has_any = priorities.iter().zip(&metainfo.files);
    if !has_any.clone().any(|(priority, file)| !file.pad && *priority != FilePriority::Skip) {
        let message = "the link selects files (so=) that the torrent does not have";
        return Err(Failure::new(Exit::Input, "no_such_file", message));
    }
    Ok(Selection::new(priorities).with_ends_first(args.files.first_last))
}

/// Adds to metadata what the link has said: where it is announced, and who serves it.
pub(crate) fn adopt_link(metainfo: &mut Metainfo, magnet: &Magnet) {
    metainfo.trackers = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
    metainfo.web_seeds.clone_from(&magnet.web_seeds);
}

/// Returns a torrent whose metadata is that of a link.
pub(crate) fn loaded(metainfo: Metainfo, magnet: Magnet) -> Loaded {
    Loaded { link_peers: magnet.peers, ..Loaded::new(metainfo, "magnet") }
}

/// Returns the metadata that an earlier run has kept, if any has and it is sound.
pub(crate) fn kept(info_hash: InfoHash) -> Option<Metainfo> {
    let file = File::open(kept_at(info_hash)?).ok()?;
    let bytes = input::read_limited(file, MAX_TORRENT_BYTES).ok()?;
    Metainfo::parse(&Bytes::from(bytes)).ok().filter(|it| it.info_hash == info_hash)
}

/// Keeps metadata for the next run.
fn keep(metainfo: &Metainfo) -> Result<(), Failure> {
    let Some(path) = kept_at(metainfo.info_hash) else { return Ok(()) };
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let what = format!("create '{}'", input::escaped_path(folder));
    made.map_err(|error| Failure::io(&what, &error))?;
    new_file::put(&path, &encoded(metainfo), true)
}

fn kept_at(info_hash: InfoHash) -> Option<PathBuf> {
    let name = format!("{info_hash}.torrent");
    Some(state_dir::state_dir()?.join("metadata").join(name))
}

/// Saves the torrent file where the user wants it, if he does, and returns where that is. A file
/// that is there already is left alone: it is the same, or in the way.
pub(crate) fn save(args: &GetArgs, torrent: &Loaded) -> Result<Option<PathBuf>, Failure> {
    let path = match &args.save_torrent {
        Some(path) if path != Path::new(BY_NAME) => path.clone(),
        None if !args.metadata_only => return Ok(None),
        _ => {
            let mut name = OsString::from(torrent.top());
            name.push(OsStr::new(".torrent"));
            args.dir.as_deref().map_or_else(|| PathBuf::from(&name), |dir| dir.join(&name))
        }
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let what = format!("create '{}'", input::escaped_path(folder));
        fs::create_dir_all(folder).map_err(|error| Failure::io(&what, &error))?;
    }
    let there = File::open(&path).and_then(|file| input::read_limited(file, MAX_TORRENT_BYTES));
    let there = there.ok().and_then(|bytes| Metainfo::parse(&Bytes::from(bytes)).ok());
    if there.is_none_or(|there| there.info_hash != torrent.metainfo.info_hash) {
        new_file::put(&path, &encoded(&torrent.metainfo), args.overwrite)?;
    }
    Ok(Some(path))
}

fn encoded(metainfo: &Metainfo) -> Vec<u8> {
    let (trackers, web_seeds) = (&metainfo.trackers, &metainfo.web_seeds);
    TorrentFile { info: &metainfo.info, trackers, web_seeds, ..TorrentFile::default() }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::tests::metainfo;

    fn magnet(link: &str) -> Magnet {
        let hash = "0123456789012345678901234567890123456789";
        format!("magnet:?xt=urn:btih:{hash}{link}").parse().expect("a link")
    }

    fn args(words: &[&str]) -> GetArgs {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            get: GetArgs,
        }
        let words = ["get", "x"].iter().chain(words);
        <Cli as clap::Parser>::try_parse_from(words).expect("arguments of get").get
    }

    #[test]
    fn a_link_selects_files_unless_the_command_line_does() {
        let files = [("t/a", 1, false), ("t/pad", 1, true), ("t/b", 1, false), ("t/c", 1, false)];
        let metainfo = metainfo(&files);
        let wants = |args: &GetArgs, link: &str| -> Vec<bool> {
            let selection = chosen(args, &metainfo, &magnet(link)).expect("some are there");
            (0..4).map(|file| selection.wants(file)).collect()
        };
        assert_eq!(wants(&args(&[]), ""), [true; 4]);
        assert_eq!(wants(&args(&[]), "&so=0,3"), [true, true, false, true]);
        assert_eq!(wants(&args(&["-s", "2"]), "&so=0,3"), [false, true, true, false]);
        let failure = chosen(&args(&[]), &metainfo, &magnet("&so=9")).expect_err("none is there");
        assert_eq!((failure.exit, failure.code), (Exit::Input, "no_such_file"));
    }

    #[test]
    fn trackers_of_the_link_come_before_those_of_the_user() {
        let sought = Sought {
            number: 1,
            named: OsString::new(),
            magnet: magnet("&tr=http://a/x&tr=http://b/x&x.pe=10.0.0.1:5"),
        };
        assert_eq!(sought.name(), sought.magnet.info_hash.to_string());
        let words = ["--tracker", "http://c/x", "--tracker", "http://a/x", "--peer", "h:1"];
        let add = sought.to_add(&args(&words));
        let urls: Vec<&str> = add.trackers.iter().flatten().map(String::as_str).collect();
        assert_eq!(urls, ["http://a/x", "http://b/x", "http://c/x"]);
        assert_eq!(add.link_peers, [("10.0.0.1".to_owned(), 5)]);
        assert_eq!(add.peers, [("h".to_owned(), 1)]);
        assert!(sought.to_add(&args(&["--no-trackers"])).trackers.is_empty());
    }

    #[test]
    fn a_torrent_file_is_saved_where_it_is_wanted_and_nothing_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let info = [&b"d6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:"[..], &[7; 20], b"e"];
        let metainfo = Metainfo::from_info(Bytes::from(info.concat())).expect("right");
        let torrent = Loaded::new(metainfo, "magnet");
        let dir = folder.path().join("new/dir");
        let dir = dir.to_str().expect("text");
        let saved = |words: &[&str]| save(&args(words), &torrent);
        assert_eq!(saved(&[]), Ok(None));
        let at = folder.path().join("new/dir/a.torrent");
        assert_eq!(saved(&["--metadata-only", "-d", dir]), Ok(Some(at.clone())));
        let bytes = fs::read(&at).expect("it is there");
        let read = Metainfo::parse(&Bytes::from(bytes)).expect("a torrent file");
        assert_eq!(read.info_hash, torrent.metainfo.info_hash);
        assert_eq!(saved(&["--save-torrent", "-d", dir]), Ok(Some(at.clone())), "it is the same");
        fs::write(&at, "something else").expect("written");
        assert!(saved(&["--save-torrent", "-d", dir]).is_err());
        let named = format!("--save-torrent={}/b.torrent", folder.path().display());
        assert_eq!(saved(&[&named]), Ok(Some(folder.path().join("b.torrent"))));
    }
}
