//! `gen`: writes a torrent of synthetic payload, and the payload if asked.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use swarmloop::geometry::Geometry;
use swarmloop::proto::metainfo::{MAX_PIECE_LEN, MAX_PIECES, MAX_TOTAL_LEN, Metainfo};
use swarmloop::text::Escaped;

use crate::args;
use crate::failure::Failure;
use crate::report::{Figure, Report, per_second};
use crate::torrent::Plan;

/// Arguments of `gen`.
#[derive(Debug, clap::Args)]
pub(crate) struct GenArgs {
    /// Bytes of payload
    #[arg(short, long, value_name = "SIZE", default_value = "1G", value_parser = args::size)]
    size: u64,
    /// Bytes of a piece
    #[arg(short, long, value_name = "SIZE", default_value = "1M", value_parser = args::size)]
    piece_len: u64,
    /// Number of files
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MAX_FILES))]
    files: u32,
    /// The torrent file to write
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    torrent: PathBuf,
    /// Write the payload below this folder too
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// Name of the payload [default: the torrent file's, without .torrent]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What the payload follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u32,
}

/// The most files of a torrent; libtorrent and qBittorrent become unusable at more.
const MAX_FILES: i64 = 1_000_000;

/// Writes what was asked for.
pub(crate) fn run(args: &GenArgs) -> Result<Report, Failure> {
    let plan = plan(args)?;
    // Before the work; that nothing came meanwhile is asked of the system when a file is made.
    let data = args.data.iter().flat_map(|dir| plan.paths(dir));
    if let Some(path) =
        std::iter::once(args.torrent.clone()).chain(data).find(|path| is_there(path))
    {
        return Err(Failure::in_the_way(&path));
    }
    let began = Instant::now();
    let bytes = plan.torrent_file();
    let hashing = began.elapsed();
    let shown = args.torrent.to_string_lossy();
    let written = File::create_new(&args.torrent).and_then(|mut file| file.write_all(&bytes));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::in_the_way(&args.torrent),
        _ => Failure::io(format_args!("write '{}'", Escaped(&shown)), &error),
    })?;

    let info_hash = Metainfo::parse(&bytes.into()).expect("our own torrent").info_hash;
    let mut report = Report::new("gen");
    report.setting("size", Figure::Bytes(plan.size));
    report.setting("piece", Figure::Bytes(plan.geometry.piece_len().into()));
    report.setting("files", Figure::Count(plan.files.into()));
    report.setting("seed", Figure::Count(plan.seed.into()));
    report.result("info_hash", Figure::Text(info_hash.to_string()));
    report.result("pieces", Figure::Count(plan.geometry.pieces().into()));
    report.result("hashing", Figure::Time(hashing));
    report.result("hashed", Figure::Throughput(per_second(plan.size, hashing)));
    if let Some(dir) = &args.data {
        let began = Instant::now();
        plan.write_data(dir).map_err(|error| Failure::io("write the payload", &error))?;
        report.result("writing", Figure::Time(began.elapsed()));
    }
    Ok(report)
}

/// Tells whether something is there, a link to nowhere included.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn plan(args: &GenArgs) -> Result<Plan, Failure> {
    let stem = || args.torrent.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(stem).unwrap_or_else(|| "swarmloop-bench".to_owned());
    plan_of(name, args.size, args.piece_len, args.files, args.seed)
}

/// Returns the plan of a torrent if there can be one of these sizes.
pub(crate) fn plan_of(
    name: String,
    size: u64,
    piece_len: u64,
    files: u32,
    seed: u32,
) -> Result<Plan, Failure> {
    let pieces = size.div_ceil(piece_len);
    let piece_len = u32::try_from(piece_len).ok().filter(|&len| len <= MAX_PIECE_LEN);
    let piece_len = piece_len
        .ok_or_else(|| Failure::usage(format!("a piece has at most {MAX_PIECE_LEN} bytes")))?;
    if size > MAX_TOTAL_LEN || size < files.into() {
        return Err(Failure::usage("no payload of this size and number of files is possible"));
    }
    if usize::try_from(pieces).map_or(true, |pieces| pieces > MAX_PIECES) {
        return Err(Failure::usage(format!("{pieces} pieces, at most {MAX_PIECES} are possible")));
    }
    Ok(Plan { name, size, geometry: Geometry::new(size, piece_len), files, seed })
}
