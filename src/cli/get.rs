//! `get`: downloads torrents and exits when all are complete.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use swarmloop::client::{AddTorrent, Mode, Selection};
use swarmloop::id::InfoHash;
use swarmloop::text::Escaped;

use super::after::Plan;
use super::args::get::{BY_NAME, GetArgs};
use super::ask::Route;
use super::ending;
use super::exit::{Exit, Failure};
use super::fetch::Fetcher;
use super::goals::Goal;
use super::input::{self, Loaded};
use super::instruments::Instruments;
use super::list;
use super::network;
use super::relocate::is_moved;
use super::room;
use super::seek::{self, Sought};
use super::select;
use super::state;
use super::state_dir;
use super::ui::Ui;
use super::watch::Watch;

/// More notes of a torrent file than this are only counted.
const MAX_NOTES: usize = 3;

/// Downloads; torrents that cannot be read are told of and left out.
pub(crate) fn run(args: &GetArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    network::egress(&args.network, ui)?;
    let arguments = list::arguments(&args.torrents, &args.input_file)?;
    check_flags(args, arguments.len())?;
    let route = Route::from(&args.network);
    let fetcher = Fetcher::new(&route).stopping_within(args.network.stop_timeout);
    let (torrents, sought, lost) = load_all(&arguments, args, &fetcher, ui);
    if let Some(stopped @ Exit::Signal(_)) = lost.last() {
        return Ok(*stopped);
    }
    if args.files.list {
        let listed = torrents.iter();
        let listed = listed.map(|(id, torrent, selection)| (*id, &torrent.metainfo, selection));
        select::list(listed, ui);
    }
    let is_nothing_left = torrents.is_empty() && sought.is_empty();
    if is_nothing_left || args.files.list {
        return Ok(Exit::worst(lost));
    }
    network::warn(&args.network, ui);
    let signals = fetcher.into_signals()?;
    let title = title(&torrents, &sought);
    let downloads: Vec<Download> = torrents
        .into_iter()
        .map(|(number, torrent, selection)| {
            let named = arguments.get(number - 1).cloned().unwrap_or_default();
            Download::new(args, number, named, torrent, selection, ui)
        })
        .collect();
    if !args.room.no_space_check {
        room::check(downloads.iter().map(|download| &download.torrent))?;
    }
    let instruments = Instruments::create(&args.instruments, &title)?;
    let client = network::start(&args.network, args.jobs, instruments.trace_records(), ui)?;
    signals.hasten(&client);
    let goal = Goal::Get { seeding: args.seeding(), patience: args.patience.patience() };
    let mut watch =
        Watch::new(goal, lost, Instant::now()).with_blocklists(&args.network.blocklists);
    for Download { number, source, torrent, path, plan, is_moved } in downloads {
        if is_moved {
            watch.resume_move(ui, number, &torrent, &plan);
        } else {
            watch.plan(number, plan);
        }
        watch.add(&client, ui, number, torrent, source, Some(path));
    }
    watch.look_for(sought, args, &client, ui);
    Ok(ending::run(watch, client, &signals, instruments, ui))
}

/// Refuses flags that say one thing of several torrents.
fn check_flags(args: &GetArgs, torrents: usize) -> Result<(), Failure> {
    let is_file = |path: &PathBuf| path != Path::new(BY_NAME);
    if args.save_torrent.as_ref().is_some_and(is_file) && torrents > 1 {
        let message = "--save-torrent=FILE is for one torrent; without FILE, each has its own";
        return Err(Failure::new(Exit::Usage, "one_file", message));
    }
    Ok(())
}

/// Names a run after what it downloads: foreign text.
fn title(torrents: &[Chosen], sought: &[Sought]) -> String {
    match (torrents, sought) {
        ([(_, torrent, _)], []) => format!("get {}", torrent.metainfo.name),
        ([], [sought]) => format!("get {}", sought.name()),
        _ => format!("get {} torrents", torrents.len() + sought.len()),
    }
}

/// A torrent, its number on the command line, and which of its files are wanted.
type Chosen = (usize, Loaded, Selection);

/// Something that was named on the command line.
enum Named {
    /// It is here.
    Here(Box<Loaded>, Selection),
    /// Its metadata has to be looked for.
    Away(Box<Sought>),
    /// Its metadata is in this file, which is all that was wanted.
    Saved(PathBuf),
}

impl Named {
    fn info_hash(&self) -> Option<InfoHash> {
        match self {
            Self::Here(torrent, _) => Some(torrent.metainfo.info_hash),
            Self::Away(sought) => Some(sought.magnet.info_hash),
            Self::Saved(_) => None,
        }
    }
}

/// Reads what an argument names.
fn name(
    number: usize,
    argument: &OsString,
    args: &GetArgs,
    fetcher: &Fetcher<'_>,
) -> Result<Named, Failure> {
    let Some(magnet) = input::magnet(argument)? else {
        let torrent = input::load_by(argument, fetcher)?;
        let selection = select::selection(&args.files, &torrent.metainfo)?;
        return Ok(Named::Here(Box::new(torrent), selection));
    };
    let kept = seek::kept(magnet.info_hash).filter(|_| !args.state.no_resume);
    let Some(mut metainfo) = kept else {
        if args.files.list {
            let message = "the files of a magnet link are not known before its metadata is here";
            let hint = "get it with --metadata-only first; it is kept";
            return Err(Failure::new(Exit::Usage, "no_metadata", message).hint(hint));
        }
        let sought = Sought { number, named: argument.clone(), magnet };
        return Ok(Named::Away(Box::new(sought)));
    };
    seek::adopt_link(&mut metainfo, &magnet);
    let selection = seek::chosen(args, &metainfo, &magnet)?;
    let torrent = seek::loaded(metainfo, magnet);
    match seek::save(args, &torrent)? {
        Some(path) if args.metadata_only => Ok(Named::Saved(path)),
        _ => Ok(Named::Here(Box::new(torrent), selection)),
    }
}

/// Reads everything that was named; returns what is here, with its numbers and what is wanted of
/// it, what is to be looked for, and how the rest ended: after a signal, with that.
fn load_all(
    arguments: &[OsString],
    args: &GetArgs,
    fetcher: &Fetcher<'_>,
    ui: &mut Ui,
) -> (Vec<Chosen>, Vec<Sought>, Vec<Exit>) {
    let (mut loaded, mut sought, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (number, argument) in (1..).zip(arguments) {
        let ahead = fetch_ahead(&arguments[number - 1..], fetcher);
        match ahead.and_then(|()| name(number, argument, args, fetcher)) {
            Ok(named) if named.info_hash().is_some_and(|hash| !seen.insert(hash)) => {
                let shown = argument.to_string_lossy();
                let text = format!("'{}' was named before", Escaped(&shown));
                ui.warning("duplicate", &text, Some(number));
            }
            Ok(Named::Here(torrent, selection)) => {
                warn_of_notes(number, &torrent, ui);
                loaded.push((number, *torrent, selection));
            }
            Ok(Named::Away(it)) => sought.push(*it),
            Ok(Named::Saved(path)) => {
                ui.count_ok();
                ui.result_path(&path);
            }
            Err(failure) => {
                ui.count_failed(&failure, number);
                lost.push(failure.exit);
                if let Exit::Signal(_) = failure.exit {
                    break;
                }
            }
        }
    }
    (loaded, sought, lost)
}

/// Fetches some of the torrents that are named by URL, if the next one is.
fn fetch_ahead(arguments: &[OsString], fetcher: &Fetcher<'_>) -> Result<(), Failure> {
    if arguments.first().and_then(|next| input::url(next)).is_none() {
        return Ok(());
    }
    fetcher.fetch_ahead(arguments.iter().filter_map(|argument| input::url(argument)))
}

/// Tells what is odd about a torrent file and was handled.
pub(crate) fn warn_of_notes(number: usize, torrent: &Loaded, ui: &mut Ui) {
    let notes = &torrent.metainfo.notes;
    for note in notes.iter().take(MAX_NOTES) {
        ui.warning("note", &Escaped(note).to_string(), Some(number));
    }
    if let Some(more @ 1..) = notes.len().checked_sub(MAX_NOTES) {
        ui.warning("note", &format!("{more} more notes like these"), Some(number));
    }
}

/// A download that is about to begin.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) number: usize,
    pub(crate) source: &'static str,
    pub(crate) torrent: AddTorrent,
    /// Where its file or top folder will be, as the user would name it.
    pub(crate) path: PathBuf,
    pub(crate) plan: Plan,
    /// Whether it is where the plan has it moved to: what is planned was done then, or as good as.
    pub(crate) is_moved: bool,
}

impl Download {
    pub(crate) fn new(
        args: &GetArgs,
        number: usize,
        named: OsString,
        mut loaded: Loaded,
        selection: Selection,
        ui: &mut Ui,
    ) -> Self {
        network::add_trackers(&args.network, number, &mut loaded.metainfo, ui);
        let (top, source) = (loaded.top().to_owned(), loaded.source);
        let info_hash = loaded.metainfo.info_hash;
        let key = |dir| state_dir::key(info_hash, dir);
        let from = args.dir.as_deref().unwrap_or(Path::new("."));
        // What is to be moved to where it is stays there.
        let there = args.move_to.as_deref().filter(|to| key(to) != key(from));
        let left = there.and_then(|_| state::resume(args.state, info_hash, from));
        let left = left.as_ref().map(|state| state.file.as_path());
        let is_moved = there.is_some_and(|to| is_moved(info_hash, &top, from, to, left));
        let state_there = there.and_then(|to| state::resume(args.state, info_hash, to));
        let path = result_path(there.filter(|_| is_moved).or(args.dir.as_deref()), &loaded);
        let here = to_add(args, args.dir.as_deref(), loaded, selection);
        let (move_to, command) = (there.map(Path::to_owned), args.on_complete.clone());
        let torrent = match &move_to {
            // What was moved already is gone on with from there.
            Some(to) if is_moved => {
                AddTorrent { dir: to.clone(), resume: state_there.clone(), ..here.clone() }
            }
            _ => here.clone(),
        };
        let plan = Plan { source: named, torrent: here, top, move_to, state_there, command };
        Self { number, source, torrent, path, plan, is_moved }
    }
}

/// Returns where a torrent's file or top folder will be, as the user would name it.
fn result_path(dir: Option<&Path>, torrent: &Loaded) -> PathBuf {
    dir.map_or_else(|| PathBuf::from(torrent.top()), |dir| dir.join(torrent.top()))
}

fn to_add(args: &GetArgs, dir: Option<&Path>, torrent: Loaded, selection: Selection) -> AddTorrent {
    let dir = dir.unwrap_or(Path::new(".")).to_owned();
    AddTorrent {
        sequential: args.files.sequential,
        selection,
        check_space: !args.room.no_space_check,
        alloc: args.room.alloc,
        use_trackers: !args.network.no_trackers,
        resume: state::resume(args.state, torrent.metainfo.info_hash, &dir),
        peers: args.network.peers.clone(),
        link_peers: torrent.link_peers,
        limits: args.network.limits.of_torrent(),
        ..AddTorrent::new(torrent.metainfo, dir, Mode::Download { overwrite: args.overwrite })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::tests::metainfo;

    #[test]
    fn the_result_is_named_as_the_user_named_the_folder() {
        let files = [("pad", 5, true), ("top/a/b", 25, false), ("top/c", 1, false)];
        let many = Loaded::new(metainfo(&files), "file");
        let one = Loaded::new(metainfo(&[("a.iso", 25, false)]), "file");
        for (dir, torrent, path) in [
            (None, &many, "top"),
            (Some("."), &many, "./top"),
            (Some("out/"), &one, "out/a.iso"),
            (Some("/abs"), &one, "/abs/a.iso"),
        ] {
            assert_eq!(result_path(dir.map(Path::new), torrent), Path::new(path));
        }
    }
}
