//! What `--json` prints: one object a line, `type` first. Fields are only ever added; numbers are
//! raw bytes, seconds and bytes a second; unknown fields must be ignored by readers.

mod asked;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use swarmloop::client::{AddTorrent, FilePriority, Selection};
use swarmloop::dht::Family;
use swarmloop::id::InfoHash;
use swarmloop::proto::metainfo::{Metainfo, MetainfoFile, PIECE_HASH_LEN};
use swarmloop::session::io::Phase;
use swarmloop::stats::report::summary::{figures, unit_name};
use swarmloop::stats::report::{Quantiles, Series};
use swarmloop::tracker::{AnnounceEvent, TrackerEvent};
use swarmloop::tracker_server::ServerStatus;

use super::exit::{Exit, Failure};
use super::goals::Met;
use super::log::Record;
use super::seek::Sought;
use super::size::eta;
use super::snapshot::Snapshot;
use super::stall::stall;

pub(crate) use self::asked::{announced, scraped};

/// The version of the format; it changes only if a field changes its meaning.
const VERSION: u32 = 1;

/// One line: fields in the order in which they were added.
#[derive(Debug)]
struct Line(String);

impl Line {
    fn new(kind: &str) -> Self {
        Self(format!("{{\"type\":\"{kind}\""))
    }

    /// Adds a number, boolean, null or text.
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let comma = if self.0.len() > 1 { "," } else { "" };
        self.0.extend([comma, "\"", key, "\":"]);
        escape(&value.into().to_string(), &mut self.0);
        self
    }

    /// Adds the number of the torrent that the line is about, if it is about one.
    fn with_id(self, id: Option<usize>) -> Self {
        match id {
            Some(id) => self.with("id", id),
            None => self,
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Escapes what JSON allows as it is but a terminal may act on: DEL, C1 controls, bidi controls,
/// zero-width characters.
pub(crate) fn escape(json: &str, out: &mut String) {
    for c in json.chars() {
        match c {
            '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
            }
            _ => out.push(c),
        }
    }
}

/// A torrent was added.
pub(crate) fn start(id: usize, torrent: &AddTorrent, source: &str, time: SystemTime) -> String {
    Line::new("start")
        .with("v", VERSION)
        .with("time", humantime::format_rfc3339_millis(time).to_string())
        .with("id", id)
        .with("infohash", torrent.metainfo.info_hash.to_string())
        .with("name", torrent.metainfo.name.as_str())
        .with("source", source)
        .end()
}

/// A torrent was added by its info-hash alone; `metadata` follows when it is known.
pub(crate) fn start_magnet(sought: &Sought, time: SystemTime) -> String {
    Line::new("start")
        .with("v", VERSION)
        .with("time", humantime::format_rfc3339_millis(time).to_string())
        .with("id", sought.number)
        .with("infohash", sought.magnet.info_hash.to_string())
        .with("name", sought.magnet.name.as_deref())
        .with("source", "magnet")
        .end()
}

/// The metadata of a torrent was saved as a torrent file, and that was all.
pub(crate) fn saved(id: usize, path: &str) -> String {
    Line::new("saved").with("id", id).with("path", path).end()
}

/// What a torrent consists of; pad files do not count.
pub(crate) fn metadata(id: usize, metainfo: &Metainfo, selection: &Selection) -> String {
    let wanted = metainfo.files.iter().enumerate().filter(|(at, _)| selection.wants(*at));
    let wanted = || wanted.clone().map(|(_, file)| file).filter(|file| !file.pad);
    let files = || metainfo.files.iter().filter(|file| !file.pad);
    Line::new("metadata")
        .with("id", id)
        .with("size", files().map(|file| file.len).sum::<u64>())
        .with("piece_size", metainfo.piece_len)
        .with("pieces", metainfo.piece_count())
        .with("files", files().count())
        .with("private", metainfo.private)
        .with("want", wanted().map(|file| file.len).sum::<u64>())
        .with("files_wanted", wanted().count())
        .end()
}

/// A torrent went into another state.
pub(crate) fn status(id: usize, torrent: &Snapshot) -> String {
    // Three digits are what people read; the exact numbers are in `progress` lines.
    let per_mille = |part: u64, all: u64| u128::from(part) * 1_000 / u128::from(all.max(1));
    let per_mille = match torrent.phase {
        Phase::Checking => per_mille(torrent.pieces_checked.into(), torrent.pieces.into()),
        _ => per_mille(torrent.have, torrent.size),
    };
    let progress = f64::from(u32::try_from(per_mille).unwrap_or(1_000)) / 1_000.0;
    let line = Line::new("status").with("id", id).with("state", state(&torrent.phase));
    line.with("progress", progress).end()
}

/// How a torrent stands, about once a second while it is not stopped. `uploaded` is of this run,
/// `uploaded_total` and the `ratio` are of all runs that have kept the torrent's state.
pub(crate) fn progress(id: usize, torrent: &Snapshot) -> String {
    let eta = eta(torrent.missing(), torrent.down_rate).map(|eta| eta.as_secs());
    let line = Line::new("progress")
        .with("id", id)
        .with("state", state(&torrent.phase))
        .with("have", torrent.have)
        .with("want", torrent.size)
        .with("down_rate", torrent.down_rate)
        .with("up_rate", torrent.up_rate)
        .with("uploaded", torrent.uploaded)
        .with("uploaded_total", torrent.uploaded_total)
        .with("ratio", ratio(torrent.uploaded_total, torrent.size))
        .with("peers", torrent.peers)
        .with("seeds", torrent.seeds)
        .with("eta", eta);
    match stall(torrent) {
        Some(stall) => line.with("waiting", stall.text).end(),
        None => line.end(),
    }
}

/// Returns what was uploaded in parts of the size, to three decimals.
fn ratio(uploaded: u64, size: u64) -> f64 {
    let thousandths = (u128::from(uploaded) * 1_000).checked_div(u128::from(size)).unwrap_or(0);
    f64::from(u32::try_from(thousandths).unwrap_or(u32::MAX)) / 1_000.0
}

/// How far work on files is, about once a second; `rate` in bytes a second.
pub(crate) fn work(state: &str, name: &str, (have, want): (u64, u64), rate: Option<u64>) -> String {
    let line = Line::new("progress").with("state", state).with("name", name);
    line.with("have", have).with("want", want).with("rate", rate).end()
}

/// The DHT of a family of addresses was reached.
pub(crate) fn dht_joined(family: Family, nodes: usize) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    Line::new("dht_joined").with("family", family).with("nodes", nodes).end()
}

/// Nothing can be announced on the local network, or not by one interface.
pub(crate) fn lsd_failed(group: SocketAddr, interface: Option<&str>, why: &str) -> String {
    let family = if group.is_ipv4() { "ipv4" } else { "ipv6" };
    let line = Line::new("lsd_failed").with("family", family);
    line.with("interface", interface).with("message", why).end()
}

/// An announce came to an end.
pub(crate) fn tracker(id: usize, url: &str, event: &TrackerEvent) -> Option<String> {
    let line = Line::new("tracker").with("id", id).with("url", url);
    let line = match event {
        TrackerEvent::Replied { event, peers, interval, warning, external_ip, .. } => {
            let line = line
                .with("event", announce_event(*event))
                .with("ok", true)
                .with("peers", *peers)
                .with("interval", interval.as_secs());
            let line = match external_ip {
                Some(ip) => line.with("external_ip", ip.to_string()),
                None => line,
            };
            match warning {
                Some(warning) => line.with("warning", warning.as_str()),
                None => line,
            }
        }
        TrackerEvent::Failed { event, error, retry_in } => line
            .with("event", announce_event(*event))
            .with("ok", false)
            .with("error", error.to_string())
            .with("retry_in", (*retry_in < Duration::MAX).then_some(retry_in.as_secs())),
        _ => return None,
    };
    Some(line.end())
}

/// A file is complete; `index` counts from 1.
pub(crate) fn file(id: usize, index: usize, path: &str) -> String {
    let line = Line::new("file").with("id", id).with("index", index);
    line.with("path", path).with("done", true).end()
}

/// A torrent was seeded enough: what of the goal was met is `ratio`, `time`, `idle` or `deadline`.
pub(crate) fn seeded(id: usize, torrent: &Snapshot, elapsed: Duration, met: Met) -> String {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Line::new("seeded")
        .with("id", id)
        .with("elapsed", Duration::from_millis(ms).as_secs_f64())
        .with("uploaded", torrent.uploaded)
        .with("uploaded_total", torrent.uploaded_total)
        .with("ratio", ratio(torrent.uploaded_total, torrent.size))
        .with("met", met.code())
        .end()
}

/// A file of a torrent that is only listed, if it is wanted; `index` counts from 1, `size` is in
/// bytes.
pub(crate) fn listed_file(
    id: usize,
    index: usize,
    file: &MetainfoFile,
    priority: FilePriority,
) -> Option<String> {
    let priority = match priority {
        FilePriority::Skip => return None,
        FilePriority::Low => "low",
        FilePriority::Normal => "normal",
        FilePriority::High => "high",
    };
    let line = Line::new("file").with("id", id).with("index", index);
    let line = line.with("path", file.path.to_string_lossy()).with("size", file.len);
    Some(line.with("priority", priority).end())
}

/// A torrent is complete. `downloaded` is what came over the network, in bytes; a `path` there is
/// only if the files stay.
pub(crate) fn complete(
    id: usize,
    torrent: &Snapshot,
    elapsed: Duration,
    path: Option<&Path>,
) -> String {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let line = Line::new("complete")
        .with("id", id)
        .with("elapsed", Duration::from_millis(ms).as_secs_f64())
        .with("downloaded", torrent.downloaded)
        .with("uploaded", torrent.uploaded)
        .with("uploaded_total", torrent.uploaded_total)
        .with("ratio", ratio(torrent.uploaded_total, torrent.size))
        .with("wasted", torrent.wasted);
    match path {
        Some(path) => line.with("path", path.to_string_lossy()).end(),
        None => line.end(),
    }
}

/// The data of a torrent is in this folder now.
pub(crate) fn moved(id: usize, dir: &Path) -> String {
    Line::new("moved").with("id", id).with("dir", dir.to_string_lossy()).end()
}

/// The tracker answers announces at this URL.
pub(crate) fn listening(url: &str) -> String {
    Line::new("listening").with("url", url).end()
}

/// What is shared: where the torrent file and the seed are, and what a receiver types.
pub(crate) fn sharing(url: &str, peer: &SocketAddr, command: &str) -> String {
    let line = Line::new("sharing").with("url", url).with("peer", peer.to_string());
    line.with("command", command).end()
}

/// What the tracker has and has done.
pub(crate) fn tracker_status(status: &ServerStatus) -> String {
    let ServerStatus { torrents, peers, seeds, counters, .. } = *status;
    Line::new("tracker_status")
        .with("torrents", torrents)
        .with("peers", peers)
        .with("seeds", seeds)
        .with("announces_http", counters.announces_http)
        .with("announces_udp", counters.announces_udp)
        .with("scrapes", counters.scrapes)
        .with("connects", counters.connects)
        .with("files", counters.files)
        .with("finished", counters.finished)
        .with("refused", counters.refused)
        .with("dropped", counters.dropped)
        .end()
}

/// A setting that holds; `table` is the one of a configuration file that it would stand in.
pub(crate) fn setting(table: Option<&str>, key: &str, value: Value, origin: &str) -> String {
    let line = Line::new("setting").with("table", table).with("key", key);
    line.with("value", value).with("origin", origin).end()
}

/// A text for other programs: a completion script, a manual page.
pub(crate) fn document(text: &str) -> String {
    Line::new("document").with("text", text).end()
}

/// Returns a value as JSON that a terminal can show.
pub(crate) fn escaped(value: &Value) -> String {
    let mut text = String::new();
    escape(&value.to_string(), &mut text);
    text
}

/// The figures of a tag; durations are in nanoseconds.
pub(crate) fn metric(series: &Series) -> String {
    let figures = series.total.quantiles();
    Line::new("metric")
        .with("tag", series.tag.as_str())
        .with("unit", unit_name(series.unit))
        .with("count", figures.count)
        .with("min", figures.min)
        .with("mean", (figures.mean * 10.0).round() / 10.0)
        .with("p50", figures.p50)
        .with("p90", figures.p90)
        .with("p99", figures.p99)
        .with("p999", figures.p999)
        .with("max", figures.max)
        .end()
}

/// The figures of a tag in two logs, and those of the second in parts of the first's.
pub(crate) fn metric_diff(
    series: &Series,
    before: Option<&Quantiles>,
    after: Option<&Quantiles>,
    ratios: &[(&'static str, Option<f64>)],
) -> String {
    let ratio = |&(name, ratio): &(&str, Option<f64>)| {
        // Four digits are more than any two runs have in common.
        (name.to_owned(), Value::from(ratio.map(|ratio| (ratio * 1e4).round() / 1e4)))
    };
    Line::new("diff")
        .with("tag", series.tag.as_str())
        .with("unit", unit_name(series.unit))
        .with("a", before.map(figures))
        .with("b", after.map(figures))
        .with("ratio", Value::Object(ratios.iter().map(ratio).collect()))
        .end()
}

/// A torrent was made, or would be: then nothing was hashed, and there is no magnet link. One that
/// goes to stdout has no path.
pub(crate) fn created(metainfo: &Metainfo, magnet: Option<&str>, path: Option<&Path>) -> String {
    let line = Line::new("created")
        .with("path", path.map(|path| path.to_string_lossy().into_owned()))
        .with("name", metainfo.name.as_str())
        .with("size", metainfo.total_len())
        .with("piece_length", metainfo.piece_len)
        .with("pieces", metainfo.piece_count())
        .with("files", metainfo.files.len())
        .with("private", metainfo.private);
    match magnet {
        Some(magnet) => {
            let line = line.with("infohash", metainfo.info_hash.to_string());
            line.with("magnet", magnet).end()
        }
        None => line.with("dry_run", true).end(),
    }
}

/// A torrent file was changed, or would be; `hashes` are its info-hashes before and after. One that
/// goes to stdout has no path.
pub(crate) fn edited(
    path: Option<&Path>,
    hashes: (InfoHash, InfoHash),
    is_changed: bool,
    is_dry_run: bool,
) -> String {
    let line = Line::new("edited")
        .with("path", path.map(|path| path.to_string_lossy().into_owned()))
        .with("changed", is_changed)
        .with("infohash_before", hashes.0.to_string())
        .with("infohash", hashes.1.to_string());
    if is_dry_run { line.with("dry_run", true).end() } else { line.end() }
}

/// A torrent's magnet link.
pub(crate) fn magnet(metainfo: &Metainfo, magnet: &str) -> String {
    Line::new("magnet")
        .with("infohash", metainfo.info_hash.to_string())
        .with("name", metainfo.name.as_str())
        .with("magnet", magnet)
        .end()
}

/// All that is shown of a torrent, as one object. `pieces` adds the hashes of all pieces.
pub(crate) fn torrent(metainfo: &Metainfo, magnet: &str, pieces: bool) -> String {
    let files = metainfo.files.iter().filter(|file| !file.pad);
    let listed = (1..).zip(files.clone()).map(|(index, file): (usize, _)| {
        let path = file.path.to_string_lossy();
        Value::from_iter([
            ("index", Value::from(index)),
            ("path", Value::from(path)),
            ("size", Value::from(file.len)),
        ])
    });
    let line = Line(String::from("{"))
        .with("name", metainfo.name.as_str())
        .with("infohash", metainfo.info_hash.to_string())
        .with("size", files.map(|file| file.len).sum::<u64>())
        .with("piece_length", metainfo.piece_len)
        .with("pieces", metainfo.piece_count())
        .with("private", metainfo.private)
        .with("files", listed.collect::<Value>())
        .with("trackers", metainfo.trackers.clone())
        .with("web_seeds", metainfo.web_seeds.clone())
        .with("comment", metainfo.comment.clone())
        .with("created_by", metainfo.created_by.clone())
        .with("creation_date", metainfo.creation_date)
        .with("magnet", magnet);
    let line = match metainfo.source() {
        Some(source) => line.with("source", source),
        None => line,
    };
    let hashes = || metainfo.pieces.chunks(PIECE_HASH_LEN).map(hex).collect::<Vec<_>>();
    if pieces { line.with("piece_hashes", hashes()).end() } else { line.end() }
}

/// What `verify` found out about a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileReport<'a> {
    /// Counted from 1.
    pub(crate) index: usize,
    pub(crate) path: &'a Path,
    /// Bytes that it should have.
    pub(crate) size: u64,
    pub(crate) state: &'static str,
    pub(crate) is_ok: bool,
    /// Its pieces, and how many of them are right and wrong.
    pub(crate) pieces: u32,
    pub(crate) right: u32,
    pub(crate) wrong: u32,
}

/// How a file is.
pub(crate) fn verified_file(file: &FileReport<'_>) -> String {
    Line::new("file")
        .with("id", 1)
        .with("index", file.index)
        .with("path", file.path.to_string_lossy())
        .with("done", file.is_ok)
        .with("size", file.size)
        .with("state", file.state)
        .with("pieces", file.pieces)
        .with("pieces_right", file.right)
        .with("pieces_wrong", file.wrong)
        .end()
}

/// What `verify` found out about a torrent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) metainfo: &'a Metainfo,
    /// Files without pad files, and how many of them are as they should be.
    pub(crate) files: usize,
    pub(crate) files_ok: usize,
    /// Pieces that are right, and that are wrong; the others are missing.
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    pub(crate) is_ok: bool,
}

/// How a torrent's data is.
pub(crate) fn verified(report: &Report<'_>) -> String {
    Line::new("verified")
        .with("id", 1)
        .with("infohash", report.metainfo.info_hash.to_string())
        .with("name", report.metainfo.name.as_str())
        .with("ok", report.is_ok)
        .with("files", report.files)
        .with("files_ok", report.files_ok)
        .with("pieces", report.metainfo.piece_count())
        .with("pieces_right", report.right)
        .with("pieces_wrong", report.wrong)
        .end()
}

/// Returns bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// Something did not work.
pub(crate) fn error(failure: &Failure, id: Option<usize>) -> String {
    let line = Line::new("error").with("code", failure.code);
    let line = line.with("message", failure.message.as_str());
    let line = match &failure.hint {
        Some(hint) => line.with("hint", hint.as_str()),
        None => line,
    };
    line.with_id(id).end()
}

/// A line of the log.
pub(crate) fn log(record: &Record<'_>, time: SystemTime) -> String {
    let line = Line::new("log")
        .with("time", humantime::format_rfc3339_millis(time).to_string())
        .with("level", record.level.name())
        .with("target", record.target.name());
    let line = match record.code {
        Some(code) => line.with("code", code),
        None => line,
    };
    line.with("message", record.message).with_id(record.id).end()
}

/// Something is odd.
pub(crate) fn warning(code: &str, message: &str, id: Option<usize>) -> String {
    Line::new("warning").with("code", code).with("message", message).with_id(id).end()
}

/// How many torrents ended in which way.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Came through.
    pub(crate) ok: usize,
    /// Did not.
    pub(crate) failed: usize,
    /// Had not ended when the run did.
    pub(crate) interrupted: usize,
}

/// The last line of every run.
pub(crate) fn summary(counts: Counts, exit: Exit) -> String {
    let line = Line::new("summary").with("ok", counts.ok).with("failed", counts.failed);
    line.with("interrupted", counts.interrupted).with("exit_code", exit.code()).end()
}

/// Names a phase for programs.
pub(crate) fn state(phase: &Phase) -> &'static str {
    match phase {
        Phase::Stopped(_) => "stopped",
        Phase::Metadata => "metadata",
        Phase::Checking => "checking",
        Phase::Downloading => "downloading",
        Phase::DiskFull(_) => "disk_full",
        Phase::Seeding => "seeding",
        Phase::PartialSeeding => "partial_seeding",
        _ => "unknown",
    }
}

/// Names an announce's event; a regular one has none in BEP 3.
pub(crate) fn announce_event(event: AnnounceEvent) -> &'static str {
    match event {
        AnnounceEvent::Started => "started",
        AnnounceEvent::Periodic => "periodic",
        AnnounceEvent::Paused => "paused",
        AnnounceEvent::Completed => "completed",
        AnnounceEvent::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use swarmloop::client::Mode;

    use super::*;
    use crate::cli::files::tests::metainfo;
    use crate::cli::snapshot::sample;

    fn add(name: &str) -> AddTorrent {
        let mut metainfo = metainfo(&[("top/a", 25, false), ("top/pad", 5, true)]);
        metainfo.name = name.to_owned();
        AddTorrent::new(metainfo, ".".into(), Mode::Seed)
    }

    #[test]
    fn lines_are_as_documented() {
        let replied = TrackerEvent::Replied {
            event: AnnounceEvent::Started,
            peers: 50,
            interval: Duration::from_secs(1800),
            warning: None,
            external_ip: None,
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_253_278_123);
        let idle = Snapshot { down_rate: 0, peers: 0, half_open: 2, ..sample() };
        let lines = [
            start(1, &add("a.iso"), "file", time),
            metadata(1, &add("a.iso").metainfo, &Selection::all()),
            status(1, &Snapshot { phase: Phase::Checking, pieces_checked: 362, ..sample() }),
            progress(1, &sample()),
            progress(1, &idle),
            tracker(1, "http://t/a", &replied).expect("a known event"),
            file(1, 1, "a.iso"),
            complete(1, &sample(), Duration::from_micros(17_000_999), Some(Path::new("./a.iso"))),
            complete(1, &sample(), Duration::ZERO, None),
            seeded(1, &sample(), Duration::from_secs(7_200), Met::Time(Duration::from_secs(7_200))),
            error(&Failure::new(Exit::GaveUp, "timeout", "m").hint("h"), Some(2)),
            warning("note", "odd", None),
            listening("http://127.0.0.1:6969/announce"),
            summary(Counts { ok: 1, failed: 0, interrupted: 2 }, Exit::Signal(2)),
        ];
        let expected: Vec<&str> = include_str!("json/lines.jsonl").lines().collect();
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(expected) {
            assert_eq!(line, expected);
            assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()));
        }
    }

    #[test]
    fn hostile_names_are_escaped_and_read_back_whole() {
        for name in
            ["a\"b\\c", "\x1b[2J\n\r\t\0\x7f", "\u{9b}31m", "exe\u{202e}gpj\u{200b}", "日本 😀"]
        {
            let line = start(1, &add(name), "file", SystemTime::UNIX_EPOCH);
            assert!(
                !line.contains(|c: char| c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c))
            );
            let value: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(value["name"], name);
            let path = Path::new(name);
            for (line, key) in [
                (complete(1, &sample(), Duration::ZERO, Some(path)), "path"),
                (moved(1, path), "dir"),
            ] {
                let value: Value = serde_json::from_str(&line).expect("JSON");
                assert_eq!(value[key], name, "a program opens it");
            }
        }
    }
}
