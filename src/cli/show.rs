//! `show` and `magnet`: what a torrent file says.

mod raw;

use std::time::{Duration, SystemTime};

use swarmloop::proto::bencode::{self, Limits};
use swarmloop::proto::magnet::Magnet;
use swarmloop::proto::metainfo::{Metainfo, PIECE_HASH_LEN};
use swarmloop::text::Escaped;

use super::args::show::{MagnetArgs, ShowArgs};
use super::ask::Route;
use super::exit::{Exit, Failure};
use super::fetch::Fetcher;
use super::files::table;
use super::get::warn_of_notes;
use super::input::{self, escaped_path};
use super::json;
use super::size::Size;
use super::ui::Ui;

/// Shows a torrent.
pub(crate) fn run(args: &ShowArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    if args.raw {
        return show_raw(args, ui);
    }
    let route = Route::from(&args.route);
    let torrent = input::load_by(&args.torrent, &Fetcher::new(&route))?;
    warn_of_notes(1, &torrent, ui);
    let metainfo = &torrent.metainfo;
    let magnet = Magnet::of(metainfo).to_string();
    ui.sole_record(|| json::torrent(metainfo, &magnet, args.pieces));
    let parts = if args.files || args.trackers || args.magnet || args.pieces {
        parts(args, metainfo, magnet)
    } else {
        vec![
            head(args, metainfo),
            general(args, metainfo),
            section("TRACKERS", tiers(metainfo)),
            section("WEB SEEDS", urls(&metainfo.web_seeds)),
            section("FILES", table(metainfo, args.bytes)),
        ]
    };
    let parts = parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.join("\n"));
    ui.result(&parts.collect::<Vec<_>>().join("\n\n"));
    Ok(Exit::Success)
}

/// Prints the magnet link of each torrent.
pub(crate) fn run_magnet(args: &MagnetArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    input::check_stdin(&args.torrents)?;
    let mut failures = Vec::new();
    for (number, argument) in (1..).zip(&args.torrents) {
        match input::load(argument) {
            Ok(torrent) => {
                let magnet = Magnet::of(&torrent.metainfo).to_string();
                ui.record(|| json::magnet(&torrent.metainfo, &magnet));
                ui.result(&magnet);
                ui.count_ok();
            }
            Err(failure) => {
                ui.count_failed(&failure, number);
                failures.push(failure.exit);
            }
        }
    }
    Ok(Exit::worst(failures))
}

/// Prints the file as it is, whether it is a torrent that this program can use or not.
fn show_raw(args: &ShowArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let route = Route::from(&args.route);
    let (bytes, _) = input::read_by(&args.torrent, &Fetcher::new(&route))?;
    let tree = bencode::decode(&bytes, &Limits::METAINFO)
        .map_err(|error| input::bad_torrent(&args.torrent, &error))?;
    let json = raw::json(tree.root());
    ui.sole_record(|| json.clone());
    ui.result(&json);
    Ok(Exit::Success)
}

/// Returns the parts that were asked for.
fn parts(args: &ShowArgs, metainfo: &Metainfo, magnet: String) -> Vec<Vec<String>> {
    let asked = |flag: bool, part: Vec<String>| if flag { part } else { Vec::new() };
    vec![
        asked(args.magnet, vec![magnet]),
        asked(args.trackers, tier_lines(metainfo)),
        asked(args.files, table(metainfo, args.bytes)),
        asked(args.pieces, hashes(metainfo)),
    ]
}

fn head(args: &ShowArgs, metainfo: &Metainfo) -> Vec<String> {
    let file = args.torrent.to_string_lossy();
    vec![format!("Name: {}", Escaped(&metainfo.name)), format!("File: {}", Escaped(&file))]
}

/// What `transmission-show` has under this head, and what it has not.
fn general(args: &ShowArgs, metainfo: &Metainfo) -> Vec<String> {
    let size = |size: u64| if args.bytes { size.to_string() } else { Size(size).to_string() };
    let payload = metainfo.files.iter().filter(|file| !file.pad).map(|file| file.len).sum();
    let text = |name, text: &Option<String>| {
        text.as_ref().map(|text| format!("{name}: {}", Escaped(text)))
    };
    let privacy = if metainfo.private { "Private torrent" } else { "Public torrent" };
    let lines = [
        Some(format!("Name: {}", Escaped(&metainfo.name))),
        Some(format!("Hash: {}", metainfo.info_hash)),
        text("Created by", &metainfo.created_by),
        metainfo.creation_date.map(|date| format!("Created on: {}", shown_date(date))),
        text("Comment", &metainfo.comment),
        text("Source", &metainfo.source()),
        Some(format!("Piece Count: {}", metainfo.piece_count())),
        Some(format!("Piece Size: {}", size(metainfo.piece_len.into()))),
        Some(format!("Total Size: {}", size(payload))),
        Some(format!("Privacy: {privacy}")),
    ];
    section("GENERAL", lines.into_iter().flatten().collect())
}

/// Returns a date as RFC 3339 has it, or the number of seconds if it is out of all bounds.
fn shown_date(seconds: i64) -> String {
    /// The end of the year 9999, beyond which a date has no four digits.
    const MAX_DATE: u64 = 253_402_300_799;

    match u64::try_from(seconds) {
        Ok(seconds @ ..=MAX_DATE) => {
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            humantime::format_rfc3339_seconds(date).to_string()
        }
        _ => format!("{seconds} seconds from 1970"),
    }
}

/// Returns lines under a head, indented; nothing if there are none.
fn section(head: &str, lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        return lines;
    }
    let indent = |line: String| if line.is_empty() { line } else { format!("  {line}") };
    [head.to_owned(), String::new()].into_iter().chain(lines.into_iter().map(indent)).collect()
}

fn tiers(metainfo: &Metainfo) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, tier) in (1..).zip(&metainfo.trackers) {
        if number > 1 {
            lines.push(String::new());
        }
        lines.push(format!("Tier #{number}"));
        lines.extend(urls(tier));
    }
    lines
}

/// Returns the announce URLs with an empty line between tiers, as tools take them.
fn tier_lines(metainfo: &Metainfo) -> Vec<String> {
    let tiers: Vec<String> = metainfo.trackers.iter().map(|tier| urls(tier).join("\n")).collect();
    if tiers.is_empty() { Vec::new() } else { vec![tiers.join("\n\n")] }
}

/// URLs are shown in full, because somebody may use them.
fn urls(urls: &[String]) -> Vec<String> {
    urls.iter().map(|url| escaped_path(url.as_ref())).collect()
}

fn hashes(metainfo: &Metainfo) -> Vec<String> {
    metainfo.pieces.chunks(PIECE_HASH_LEN).map(json::hex).collect()
}
