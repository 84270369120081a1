//! `verify`: hashes data on disk and says of each file how it is.

mod judge;
mod repair;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use swarmloop::disk::job::Storage;
use swarmloop::disk::layout::{FileSpec, Layout};
use swarmloop::disk::parts::Parts;
use swarmloop::id::{PieceIndex, TorrentId};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::text::Escaped;

use super::args::verify::VerifyArgs;
use super::exit::{Exit, Failure};
use super::get::warn_of_notes;
use super::hashing::{Halt, PieceHash, hash_all};
use super::input::{self, Loaded, data_dir, escaped_path};
use super::json::{self, FileReport, Report};
use super::lock::Locks;
use super::signals::Signals;
use super::size::Size;
use super::stall::count;
use super::state_dir::state_dir;
use super::ui::Ui;

use self::judge::{Judgement, OnDisk, Piece, State, is_shared_with_missing, is_there, real_files};
use self::repair::Repair;

/// Verifies one torrent's data.
pub(crate) fn run(args: &VerifyArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let torrent = input::load(&args.torrent)?;
    warn_of_notes(1, &torrent, ui);
    let dir = match &args.path {
        Some(path) => data_dir(path, &torrent)?,
        None => Path::new(".").to_owned(),
    };
    // Nothing is put out of the way of a download that is writing there.
    let mut locks = Locks::new(state_dir());
    if args.repair && !args.dry_run {
        locks.claim_torrent(&torrent.metainfo, &dir)?;
    }
    let storage = storage(&torrent.metainfo, &dir);
    let signals = Signals::listen().map_err(|error| Failure::io("listen for signals", &error))?;
    let looked = storage.layout.files().iter().map(|file| look(&dir.join(&file.path)));
    let on_disk = looked.collect::<Result<Vec<OnDisk>, _>>()?;
    // What was fetched of files that nobody wanted, for the sake of their neighbours.
    let missing = real_files(&storage.layout).map(|(index, _)| index);
    let missing = missing.filter(|index| on_disk[*index] == OnDisk::Nothing);
    let storage = storage.with_parts(Parts::new(&storage.layout, missing));
    let wanted = |piece| is_there(&storage.layout, piece, &on_disk);
    let name = Escaped(&torrent.metainfo.name).to_string();
    let hashes = match hash_all(&storage, wanted, args.jobs, &name, &signals, ui) {
        Ok(hashes) => hashes,
        Err(halt) => return conclude(halt, ui),
    };
    let pieces = pieces(&storage, &hashes, &on_disk);
    let judged: Vec<(usize, Judgement)> = real_files(&storage.layout)
        .map(|(index, _)| (index, Judgement::of(&storage.layout, index, on_disk[index], &pieces)))
        .collect();
    report(args, &storage, &judged, ui);
    let mended = args.repair && repair(args, &storage, &judged, ui)?;
    Ok(sum_up(&torrent, &pieces, &judged, mended, ui))
}

fn conclude(halt: Halt, ui: &mut Ui) -> Result<Exit, Failure> {
    let exit = halt.conclude()?;
    ui.tell("interrupted");
    ui.count_interrupted();
    Ok(exit)
}

/// Returns where the data is: to be read, never to be written to.
pub(crate) fn storage(metainfo: &Metainfo, dir: &Path) -> Storage {
    let specs = metainfo.files.iter().map(|file| FileSpec {
        path: file.path.clone(),
        len: file.len,
        pad: file.pad,
    });
    Storage {
        torrent: TorrentId(0),
        info_hash: metainfo.info_hash,
        root: dir.to_owned(),
        layout: Layout::new(specs, metainfo.piece_len).into(),
        parts: None,
        hashes: metainfo.pieces.clone(),
        writable: false,
        rules: swarmloop::disk::job::Rules::default(),
        state: None,
    }
}

/// Looks at what is where a file belongs.
fn look(path: &Path) -> Result<OnDisk, Failure> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(OnDisk::File(metadata.len())),
        Ok(_) => Ok(OnDisk::Other),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(OnDisk::Nothing),
            _ => Err(Failure::io(&format!("look at '{}'", escaped_path(path)), &error)),
        },
    }
}

fn pieces(storage: &Storage, hashes: &[PieceHash], on_disk: &[OnDisk]) -> Vec<Piece> {
    let judge = |(hash, piece): (&PieceHash, PieceIndex)| match hash {
        Some(hash) if *hash == storage.expected(piece) => Piece::Right,
        Some(_) if !is_shared_with_missing(&storage.layout, piece, on_disk) => Piece::Wrong,
        _ => Piece::Missing,
    };
    hashes.iter().zip((0..).map(PieceIndex)).map(judge).collect()
}

/// Prints how the files are.
fn report(args: &VerifyArgs, storage: &Storage, judged: &[(usize, Judgement)], ui: &mut Ui) {
    for (number, (index, judged)) in (1..).zip(judged) {
        let path = &storage.layout.files()[*index].path;
        ui.record(|| {
            json::verified_file(&FileReport {
                index: number,
                path,
                size: judged.len,
                state: judged.state.word(),
                is_ok: judged.state == State::Ok,
                pieces: judged.pieces,
                right: judged.right,
                wrong: judged.wrong,
            })
        });
        if args.files || judged.state != State::Ok {
            let detail = judged.detail().map_or_else(String::new, |detail| format!("  {detail}"));
            ui.result(&format!("{:<7}  {}{detail}", judged.state.word(), escaped_path(path)));
        }
    }
}

/// Does what can be done, and tells whether everything is right now.
fn repair(
    args: &VerifyArgs,
    storage: &Storage,
    judged: &[(usize, Judgement)],
    ui: &mut Ui,
) -> Result<bool, Failure> {
    for (index, judged) in judged {
        let path = storage.root.join(&storage.layout.files()[*index].path);
        if let Some(repair) = Repair::of(path, judged) {
            if !args.dry_run {
                repair.perform()?;
            }
            repair.tell(!args.dry_run, ui);
        }
    }
    let is_right = |judged: &Judgement| judged.state == State::Ok || judged.is_right_but_long();
    Ok(!args.dry_run && judged.iter().all(|(_, judged)| is_right(judged)))
}

/// Says what it comes to.
fn sum_up(
    torrent: &Loaded,
    pieces: &[Piece],
    judged: &[(usize, Judgement)],
    mended: bool,
    ui: &mut Ui,
) -> Exit {
    let metainfo = &torrent.metainfo;
    let name = Escaped(&metainfo.name);
    let in_state = |state| judged.iter().filter(|(_, judged)| judged.state == state).count();
    let number = |wanted: Piece| pieces.iter().filter(|piece| **piece == wanted).count();
    let right = number(Piece::Right);
    let is_ok = mended || in_state(State::Ok) == judged.len();
    ui.record(|| {
        json::verified(&Report {
            metainfo,
            files: judged.len(),
            files_ok: in_state(State::Ok),
            right,
            wrong: number(Piece::Wrong),
            is_ok,
        })
    });
    let of_pieces = count(pieces.len(), "piece", "pieces");
    if is_ok {
        let (files, size) = (count(judged.len(), "file", "files"), Size(metainfo.total_len()));
        ui.say(&format!("verified  {name}  {size} in {files}  {of_pieces}"));
        ui.count_ok();
        return Exit::Success;
    }
    let states = [State::Missing, State::Wrong, State::Short, State::Long, State::Unknown]
        .into_iter()
        .chain([State::Blocked])
        .filter_map(|state| match in_state(state) {
            0 => None,
            number => Some(format!("{number} {}", state.word())),
        });
    let states = states.collect::<Vec<_>>().join(", ");
    let files = count(judged.len(), "file", "files");
    let message = format!(
        "'{name}' does not match its torrent: of {files} {states}; {right} of {of_pieces} right"
    );
    let failure = Failure::new(Exit::Mismatch, "mismatch", message);
    let failure = if in_state(State::Missing) == judged.len() {
        failure.hint("name the folder that holds the data, or the data itself, after the torrent")
    } else {
        failure
    };
    ui.count_failed(&failure, 1);
    Exit::Mismatch
}
