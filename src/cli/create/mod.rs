//! `create`: makes a torrent of a file or folder.
//!
//! Everything that can be refused is refused before the first byte is hashed: the torrent is put
//! together with hashes of nothing and read as everybody will read it. What is written in the end
//! comes into being whole, under its own name.

mod walk;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use swarmloop::disk::job::{OnDisk, Storage};
use swarmloop::disk::layout::Layout;
use swarmloop::id::{InfoHash, TorrentId};
use swarmloop::proto::magnet::Magnet;
use swarmloop::proto::metainfo::{
    Info, MAX_PIECES, MAX_TOTAL_LEN, Metainfo, PIECE_HASH_LEN, Payload, TorrentFile, auto_piece_len,
};
use swarmloop::text::Escaped;

use super::args::create::{CreateArgs, PieceSize};
use super::exit::{Exit, Failure};
use super::files::table;
use super::get::warn_of_notes;
use super::hashing::{Halt, hash_all};
use super::input::{Loaded, escaped_path};
use super::json;
use super::signals::Signals;
use super::size::Size;
use super::stall::count;
use super::target::Target;
use super::ui::Ui;

use self::walk::{Rules, Source};

/// More than this many things that were left out are only counted.
const MAX_NAMED: usize = 3;

/// Makes a torrent.
pub(crate) fn run(args: &CreateArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let (plan, rehearsal) = Plan::rehearse(args, ui)?;
    if args.dry_run {
        return Ok(plan.describe(&rehearsal, ui));
    }
    plan.output.check(args.force)?;
    let signals = Signals::listen().map_err(|error| Failure::io("listen for signals", &error))?;
    let hashed = match plan.hash(&rehearsal, &signals, ui)? {
        Ok(hashed) => hashed,
        Err(interrupted) => return Ok(interrupted),
    };
    let torrent = hashed.torrent(&trackers(args));
    let metainfo = hashed.metainfo(&torrent)?;
    hashed.output().write(&torrent, args.force, ui)?;
    hashed.plan.tell(&metainfo, ui);
    Ok(Exit::Success)
}

/// Makes a torrent but for its trackers, and writes nothing. An exit code in its place is that of a
/// signal which came first.
pub(crate) fn hash<'a>(
    args: &'a CreateArgs,
    signals: &Signals,
    ui: &mut Ui,
) -> Result<Result<Hashed<'a>, Exit>, Failure> {
    let (plan, rehearsal) = Plan::rehearse(args, ui)?;
    plan.hash(&rehearsal, signals, ui)
}

/// A torrent but for its trackers.
pub(crate) struct Hashed<'a> {
    plan: Plan<'a>,
    pieces: Vec<[u8; 20]>,
}

impl Hashed<'_> {
    /// Returns the torrent file with these tiers of announce URLs.
    pub(crate) fn torrent(&self, trackers: &[Vec<String>]) -> Bytes {
        self.plan.torrent(self.pieces.as_flattened(), trackers)
    }

    /// Reads the torrent file as everybody will.
    pub(crate) fn metainfo(&self, torrent: &Bytes) -> Result<Metainfo, Failure> {
        self.plan.metainfo(torrent)
    }

    /// Returns what each of the torrent's files was when it was hashed.
    pub(crate) fn files(&self) -> Vec<Option<OnDisk>> {
        self.plan.source.files.iter().map(|file| Some(file.on_disk())).collect()
    }

    /// Returns where the torrent file goes.
    pub(crate) fn output(&self) -> &Target {
        &self.plan.output
    }
}

fn refuse_later(args: &CreateArgs) -> Result<(), Failure> {
    let given = [(args.v2, "--v2 is"), (args.hybrid, "--hybrid is"), (args.md5, "--md5 is")];
    match given.into_iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Failure::not_yet(what)),
        None => Ok(()),
    }
}

fn conclude(halt: Halt, ui: &mut Ui) -> Result<Exit, Failure> {
    let exit = halt.conclude()?;
    ui.tell("interrupted. Nothing was written");
    Ok(exit)
}

/// Returns where the torrent goes.
pub(crate) fn output(args: &CreateArgs) -> Result<Target, Failure> {
    let folder = match &args.output {
        Some(output) if output == "-" || !output.is_dir() => return Ok(Target::named(output)),
        folder => folder.clone().unwrap_or_default(),
    };
    let mut name = match &args.name {
        Some(name) => name.into(),
        None => walk::name_of(&args.path)?,
    };
    name.push(".torrent");
    Ok(Target::File(folder.join(name)))
}

/// A torrent that is to be made.
struct Plan<'a> {
    args: &'a CreateArgs,
    source: Source,
    output: Target,
    piece_len: u32,
    creation_date: Option<i64>,
}

impl<'a> Plan<'a> {
    fn new(args: &'a CreateArgs, source: Source, output: Target) -> Result<Self, Failure> {
        let total_len = source.total_len();
        if total_len == 0 {
            let path = escaped_path(&args.path);
            let message = format!("'{path}' has no bytes to make a torrent of");
            return Err(Failure::new(Exit::Input, "no_payload", message));
        }
        let piece_len = match args.piece_size {
            PieceSize::Auto => auto_piece_len(total_len),
            PieceSize::Bytes(len) => len,
        };
        let creation_date = if args.no_date { None } else { Some(creation_date()?) };
        Ok(Self { args, source, output, piece_len, creation_date })
    }

    /// Finds what there is, refuses what can be refused, and tells of what may surprise. Returns
    /// the plan and the torrent as it will be, but for the hashes.
    fn rehearse(args: &'a CreateArgs, ui: &mut Ui) -> Result<(Self, Metainfo), Failure> {
        refuse_later(args)?;
        let output = output(args)?;
        if !args.dry_run {
            output.check_alone(&[("--json", ui.is_json()), ("--magnet", args.magnet)])?;
        }
        let follow_symlinks = args.follow_symlinks;
        let rules = Rules { exclude: &args.exclude, follow_symlinks, output: output.path() };
        let source = Source::find(&args.path, rules)?;
        let plan = Self::new(args, source, output)?;
        let no_hashes = vec![0; plan.pieces()? * PIECE_HASH_LEN];
        let rehearsal = plan.metainfo(&plan.torrent(&no_hashes, &trackers(args)))?;
        plan.warn(&rehearsal, ui);
        Ok((plan, rehearsal))
    }

    /// Hashes everything; an exit code in its place is that of a signal which came first.
    fn hash(
        self,
        rehearsal: &Metainfo,
        signals: &Signals,
        ui: &mut Ui,
    ) -> Result<Result<Hashed<'a>, Exit>, Failure> {
        let name = Escaped(&rehearsal.name).to_string();
        let hashes = match hash_all(&self.storage(), |_| true, self.args.jobs, &name, signals, ui) {
            Ok(hashes) => hashes,
            Err(halt) => return conclude(halt, ui).map(Err),
        };
        let pieces: Option<Vec<[u8; 20]>> = hashes.into_iter().collect();
        self.source.check_unchanged()?;
        let pieces = pieces.ok_or_else(|| self.vanished())?;
        Ok(Ok(Hashed { plan: self, pieces }))
    }

    /// Returns how many pieces there will be, if a torrent can have so many.
    fn pieces(&self) -> Result<usize, Failure> {
        let total_len = self.source.total_len();
        let pieces = total_len.div_ceil(u64::from(self.piece_len));
        let fitting = usize::try_from(pieces).ok().filter(|pieces| *pieces <= MAX_PIECES);
        fitting.filter(|_| total_len <= MAX_TOTAL_LEN).ok_or_else(|| {
            let (total, piece) = (Size(total_len), Size(self.piece_len.into()));
            let message = format!("{total} by {piece} are {pieces} pieces, more than {MAX_PIECES}");
            Failure::new(Exit::Usage, "too_many_pieces", message)
                .hint("-s takes a larger piece size")
        })
    }

    /// Returns the torrent file with these hashes and tiers of announce URLs.
    fn torrent(&self, pieces: &[u8], trackers: &[Vec<String>]) -> Bytes {
        let names = self.source.names();
        let payload = if self.source.is_file {
            Payload::File(self.source.total_len())
        } else {
            Payload::Folder(&names)
        };
        let name = match &self.args.name {
            Some(name) => name.as_bytes().to_vec(),
            None => self.source.name.clone().into_vec(),
        };
        let info = Info {
            name: &name,
            payload,
            piece_len: self.piece_len,
            pieces,
            private: self.args.private,
            source: self.args.source.as_deref(),
        };
        let created_by = Some(self.args.created_by.as_str()).filter(|text| !text.is_empty());
        let torrent = TorrentFile {
            info: &info.encode(),
            trackers,
            web_seeds: &self.args.web_seeds,
            comment: self.args.comment.as_deref(),
            created_by,
            creation_date: self.creation_date,
        };
        torrent.encode().into()
    }

    /// Reads the torrent as everybody will.
    fn metainfo(&self, torrent: &Bytes) -> Result<Metainfo, Failure> {
        Metainfo::parse(torrent).map_err(|error| {
            let path = escaped_path(&self.args.path);
            let message = format!("cannot make a torrent of '{path}': {error}");
            Failure::new(Exit::Input, "no_torrent", message)
        })
    }

    /// Tells of what was left out and of what readers of the torrent may stumble over.
    fn warn(&self, metainfo: &Metainfo, ui: &mut Ui) {
        let skipped = &self.source.skipped;
        for path in skipped.iter().take(MAX_NAMED) {
            let text = format!("'{}' is left out: {}", escaped_path(path), self.why_not(path));
            ui.warning("skipped", &text, None);
        }
        if let Some(more @ 1..) = skipped.len().checked_sub(MAX_NAMED) {
            ui.warning("skipped", &format!("{more} more are left out"), None);
        }
        let odd = self.source.files.iter().find(|file| file.path.to_str().is_none());
        if let Some(file) = odd {
            let path = escaped_path(&file.path);
            let text = format!("the name '{path}' is not UTF-8: others may see another one");
            ui.warning("name", &text, None);
        }
        let loaded = Loaded::new(metainfo.clone(), "file");
        warn_of_notes(1, &loaded, ui);
    }

    fn why_not(&self, path: &Path) -> &'static str {
        if path.is_symlink() && !self.args.follow_symlinks {
            "a symbolic link (--follow-symlinks takes what it leads to)"
        } else if path.is_file() {
            "it is the torrent that is replaced"
        } else {
            "neither a file nor a folder"
        }
    }

    /// Says what would be made.
    fn describe(&self, metainfo: &Metainfo, ui: &mut Ui) -> Exit {
        ui.record(|| json::created(metainfo, None, self.output.path()));
        for line in table(metainfo, false) {
            ui.result(&line);
        }
        ui.say(&format!("would create  {}", self.summary(metainfo)));
        Exit::Success
    }

    /// Says what was made.
    fn tell(&self, metainfo: &Metainfo, ui: &mut Ui) {
        let magnet = Magnet::of(metainfo).to_string();
        ui.record(|| json::created(metainfo, Some(&magnet), self.output.path()));
        let hash = metainfo.info_hash;
        ui.say(&format!("created  {}  {hash}", self.summary(metainfo)));
        if let Some(path) = self.output.path() {
            ui.result_path(path);
        }
        if self.args.magnet {
            ui.result(&magnet);
        }
        ui.count_ok();
    }

    fn summary(&self, metainfo: &Metainfo) -> String {
        format!(
            "{}  {} in {}  {} of {}",
            self.output.shown(),
            Size(metainfo.total_len()),
            count(metainfo.files.len(), "file", "files"),
            count(metainfo.piece_count() as usize, "piece", "pieces"),
            Size(metainfo.piece_len.into())
        )
    }

    /// Returns where the files are, for hashing: of no torrent yet, and never written to.
    fn storage(&self) -> Storage {
        Storage {
            torrent: TorrentId(0),
            info_hash: InfoHash([0; 20]),
            root: self.source.root.clone(),
            layout: Layout::new(self.source.specs(), self.piece_len).into(),
            parts: None,
            hashes: Bytes::new(),
            writable: false,
            rules: swarmloop::disk::job::Rules::default(),
            state: None,
        }
    }

    /// A piece could not be read, and yet no file has changed: it came and went.
    fn vanished(&self) -> Failure {
        let message =
            format!("'{}' changed while it was being hashed", escaped_path(&self.args.path));
        Failure::new(Exit::Failed, "changed", message)
    }
}

/// Returns the announce URLs of the command line by tier; one that is there twice counts once.
fn trackers(args: &CreateArgs) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut tiers = Vec::new();
    for tier in &args.trackers {
        let fresh = tier.0.iter().filter(|url| seen.insert(url.as_str()));
        tiers.push(fresh.cloned().collect::<Vec<_>>());
    }
    tiers.retain(|tier| !tier.is_empty());
    tiers
}

/// Returns the time in seconds since 1970: that of `SOURCE_DATE_EPOCH`, by which builds are made
/// reproducible, or now.
fn creation_date() -> Result<i64, Failure> {
    const VARIABLE: &str = "SOURCE_DATE_EPOCH";

    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    };
    value.to_str().and_then(|value| value.parse().ok()).ok_or_else(|| {
        let message = format!("{VARIABLE} is no number of seconds");
        Failure::new(Exit::Usage, "bad_environment", message)
    })
}
