//! What people see of a torrent: pure functions from values to lines, without any terminal.

use std::time::{Duration, SystemTime};

use clap::builder::styling::{AnsiColor, Style};
use swarmloop::session::io::{Event, Phase};
use swarmloop::session::status::TrackerState;
use swarmloop::text::Escaped;
use swarmloop::tracker::TrackerEvent;

use super::goals::Met;
use super::peers::{PeerView, software};
use super::roster::Totals;
use super::size::{Size, brief, countdown, eta, percent, permille, rate, ratio, until};
use super::snapshot::{Snapshot, TrackerView};
use super::stall::{count, host_of, stall, waiting};

/// More peers than this are only counted under a torrent.
const MAX_PEER_LINES: usize = 10;

/// More torrents than this are only counted; the busiest are shown.
pub(crate) const MAX_TORRENT_LINES: usize = 10;

/// Colour, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Paint {
    /// Whether escape sequences may be written.
    pub(crate) on: bool,
}

impl Paint {
    pub(crate) fn name(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn odd(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Returns the lines that stand for a torrent that has the terminal to itself. `name` is safe to
/// print; `peers` are shown if there are any.
pub(crate) fn torrent_lines(
    name: &str,
    torrent: &Snapshot,
    verbose: bool,
    peers: &[PeerView],
    paint: Paint,
) -> Vec<String> {
    let mut lines = vec![paint.name(name)];
    match torrent.phase {
        Phase::Downloading | Phase::DiskFull(_) if verbose => {
            lines.push(bar_line(torrent));
            lines.push(swarm_line(torrent));
        }
        _ => lines.push(format!("  {}", state_text(torrent))),
    }
    if let Some(stall) = waiting(torrent) {
        lines.push(format!("  {} {}", paint.odd("waiting:"), stall.text));
    }
    lines.extend(peer_lines(torrent, peers));
    lines
}

/// Returns a line for each of the busiest peers, and one that counts the others.
pub(crate) fn peer_lines(torrent: &Snapshot, peers: &[PeerView]) -> Vec<String> {
    let busiest = peers.iter().take(MAX_PEER_LINES);
    let mut lines: Vec<String> = busiest.map(|peer| peer.line(torrent.pieces)).collect();
    if let Some(more @ 1..) = peers.len().checked_sub(MAX_PEER_LINES) {
        lines.push(format!("    … and {more} more"));
    }
    lines
}

/// Returns a line for each of `busiest`, in that order, and a line for all torrents of the run.
pub(crate) fn overview_lines(
    busiest: &[(&str, &Snapshot)],
    totals: &Totals,
    paint: Paint,
) -> Vec<String> {
    let mut lines: Vec<String> = busiest
        .iter()
        .map(|(name, torrent)| {
            let text = match waiting(torrent) {
                Some(stall) if torrent.phase == Phase::Metadata => {
                    format!("metadata  waiting: {}", stall.text)
                }
                Some(stall) => format!("{}  waiting: {}", share(torrent), stall.text),
                None => state_text(torrent),
            };
            format!("{}  {text}", paint.name(name))
        })
        .collect();
    if let Some(more @ 1..) = totals.torrents.checked_sub(busiest.len()) {
        lines.push(format!("(+{more})"));
    }
    lines.push(total_line(totals));
    lines
}

fn total_line(totals: &Totals) -> String {
    format!(
        "total  {}  {}  ↓ {}/s  ↑ {}/s  {} of {} complete",
        percent(totals.have, totals.size),
        Size::pair(totals.have, totals.size, " "),
        Size(totals.down_rate),
        Size(totals.up_rate),
        totals.complete,
        totals.torrents
    )
}

/// Returns the line that is printed of all torrents where nothing can be redrawn.
pub(crate) fn plain_total_line(time: SystemTime, totals: &Totals) -> String {
    format!(
        "{} total {} {} down={}/s up={}/s complete={}/{}",
        humantime::format_rfc3339_seconds(time),
        percent(totals.have, totals.size),
        Size::pair(totals.have, totals.size, ""),
        Size(totals.down_rate).compact(),
        Size(totals.up_rate).compact(),
        totals.complete,
        totals.torrents
    )
}

/// Returns the state of a torrent in one line, without its name.
fn state_text(torrent: &Snapshot) -> String {
    match torrent.phase {
        Phase::Metadata => {
            let known = torrent.peers.saturating_add(torrent.known);
            format!("looking for metadata  peers {}/{known}", torrent.peers)
        }
        Phase::Checking => {
            let (checked, pieces) = (torrent.pieces_checked, torrent.pieces);
            format!(
                "checking {}  {checked}/{pieces} pieces",
                percent(checked.into(), pieces.into())
            )
        }
        Phase::Downloading | Phase::DiskFull(_) => {
            let known = torrent.peers.saturating_add(torrent.known);
            format!(
                "{}  {}  ↓ {}/s  ↑ {}/s  peers {}/{known} ({})  eta {}",
                share(torrent),
                Size::pair(torrent.have, torrent.size, " "),
                Size(torrent.down_rate),
                Size(torrent.up_rate),
                torrent.peers,
                count(torrent.seeds, "seed", "seeds"),
                eta_text(torrent)
            )
        }
        Phase::Seeding | Phase::PartialSeeding => format!(
            "seeding {}  ↑ {}/s  up {} (ratio {})  peers {}{}",
            Size(torrent.have),
            Size(torrent.up_rate),
            Size(torrent.uploaded_total),
            ratio(torrent.uploaded_total, torrent.size),
            torrent.peers,
            until_text(torrent)
        ),
        _ => {
            let cause = stall(torrent).map_or_else(|| "stopped".to_owned(), |stall| stall.text);
            format!("{}  {cause}", share(torrent))
        }
    }
}

/// Returns until when a torrent is seeded, behind what stands before it; nothing if it has no end.
fn until_text(torrent: &Snapshot) -> String {
    torrent.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default()
}

fn share(torrent: &Snapshot) -> String {
    percent(torrent.have, torrent.size)
}

fn eta_text(torrent: &Snapshot) -> String {
    eta(torrent.missing(), torrent.down_rate).map_or_else(|| "-".to_owned(), countdown)
}

/// Returns the share as a bar, for `-v`.
fn bar_line(torrent: &Snapshot) -> String {
    format!(
        "  {:>6} {}  {}  ↓ {}/s  eta {}",
        share(torrent),
        bar(permille(torrent.have, torrent.size)),
        Size::pair(torrent.have, torrent.size, " "),
        Size(torrent.down_rate),
        eta_text(torrent)
    )
}

/// Draws a share in tenths of a percent.
pub(crate) fn bar(permille: u16) -> String {
    /// Columns of the whole bar; with the numbers beside it a line stays under 80.
    const WIDTH: usize = 24;

    let halves = usize::from(permille) * WIDTH * 2 / 1_000;
    let mut bar = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        bar.push('╸');
    }
    bar.push_str(&" ".repeat(WIDTH - halves.div_ceil(2)));
    bar
}

/// Returns what a torrent's swarm looks like, for `-v`.
fn swarm_line(torrent: &Snapshot) -> String {
    let dht = torrent.dht.map(|dht| count(dht.nodes, "node", "nodes"));
    let dht = dht.map_or_else(String::new, |nodes| format!("   dht {nodes}"));
    format!(
        "  peers {} connected, {} known, {} half-open   pieces {}/{} (+{} active)   {}{dht}",
        torrent.peers,
        torrent.known,
        torrent.half_open,
        torrent.pieces_have,
        torrent.pieces,
        torrent.pieces_open,
        trackers_text(&torrent.trackers)
    )
}

/// Sums up a torrent's trackers by the best of them.
fn trackers_text(trackers: &[TrackerView]) -> String {
    let mut text = None;
    for tracker in trackers {
        match &tracker.state {
            TrackerState::Working { next_in, .. } => {
                return match until(*next_in) {
                    Some(next) => format!("tracker ok, next {next}"),
                    None => "tracker ok".to_owned(),
                };
            }
            TrackerState::Announcing => text = Some("tracker asked".to_owned()),
            TrackerState::Failed { retry_in, .. } if text.is_none() => {
                text = Some(match until(*retry_in) {
                    Some(retry) => format!("tracker failed, retry {retry}"),
                    None => "tracker failed for good".to_owned(),
                });
            }
            _ => {}
        }
    }
    text.unwrap_or_else(|| "no tracker".to_owned())
}

/// Returns the line that is printed where nothing can be redrawn.
pub(crate) fn plain_line(time: SystemTime, name: &str, torrent: &Snapshot) -> String {
    let time = humantime::format_rfc3339_seconds(time);
    let mut line = match torrent.phase {
        Phase::Downloading | Phase::DiskFull(_) => format!(
            "{time} {name} {} {} down={}/s up={}/s peers={} eta={}",
            share(torrent),
            Size::pair(torrent.have, torrent.size, ""),
            Size(torrent.down_rate).compact(),
            Size(torrent.up_rate).compact(),
            torrent.peers,
            eta_text(torrent)
        ),
        Phase::Seeding | Phase::PartialSeeding => format!(
            "{time} {name} seeding up={}/s uploaded={} ratio={} peers={}{}",
            Size(torrent.up_rate).compact(),
            Size(torrent.uploaded_total).compact(),
            ratio(torrent.uploaded_total, torrent.size),
            torrent.peers,
            until_text(torrent)
        ),
        Phase::Checking => {
            let share = percent(torrent.pieces_checked.into(), torrent.pieces.into());
            format!("{time} {name} checking {share}")
        }
        Phase::Metadata => format!("{time} {name} metadata peers={}", torrent.peers),
        _ => format!("{time} {name} {} stopped", share(torrent)),
    };
    match stall(torrent) {
        Some(stall) if matches!(torrent.phase, Phase::Stopped(Some(_))) => {
            line.push_str(": ");
            line.push_str(&stall.text);
        }
        _ => {}
    }
    if let Some(stall) = waiting(torrent) {
        line.push_str(" waiting: ");
        line.push_str(&stall.text);
    }
    line
}

/// Returns the last line of a download that came to its end. `peers` is how many took part.
pub(crate) fn done_line(
    name: &str,
    torrent: &Snapshot,
    elapsed: Duration,
    downloaded: bool,
    peers: usize,
    paint: Paint,
) -> String {
    let done = paint.good("done");
    let size = Size(torrent.size);
    if !downloaded {
        return format!("{done}  {name}  {size}  was complete already");
    }
    let rate = rate(torrent.downloaded, elapsed)
        .map(|rate| format!(" ({}/s)", Size(rate)))
        .unwrap_or_default();
    format!(
        "{done}  {name}  {size} in {}{rate}  up {} (ratio {})  {}  {}",
        brief(elapsed),
        Size(torrent.uploaded_total),
        ratio(torrent.uploaded_total, torrent.size),
        count(peers, "peer", "peers"),
        count_u64(torrent.corrupt_pieces, "bad piece", "bad pieces"),
    )
}

/// Returns the last line of a torrent that was seeded for so long, and enough.
pub(crate) fn seeded_line(
    name: &str,
    torrent: &Snapshot,
    took: Duration,
    met: Met,
    paint: Paint,
) -> String {
    format!(
        "{}  {name}  up {} (ratio {}) in {}: {met}",
        paint.good("seeded"),
        Size(torrent.uploaded_total),
        ratio(torrent.uploaded_total, torrent.size),
        brief(took),
    )
}

/// Returns the last line of a torrent that was interrupted.
pub(crate) fn stopped_line(name: &str, torrent: &Snapshot) -> String {
    if torrent.is_complete() {
        return format!(
            "stopped  {name}  up {} (ratio {})",
            Size(torrent.uploaded_total),
            ratio(torrent.uploaded_total, torrent.size)
        );
    }
    if torrent.metadata.is_some() {
        return format!("stopped  {name}  its metadata was not here yet");
    }
    format!(
        "stopped  {name}  {} ({}) verified and kept; the same command continues",
        share(torrent),
        Size::pair(torrent.have, torrent.size, " ")
    )
}

/// Returns the line that `-v` (level 1) or `-vv` (level 2) has for an event, and its level.
pub(crate) fn event_line(name: &str, event: &Event) -> Option<(u8, String)> {
    let (level, text) = match event {
        Event::Tracker { url, event, .. } => (1, tracker_text(url, event)?),
        Event::PieceCorrupt { piece, contributors, .. } => {
            let peers = count(*contributors, "peer", "peers");
            (1, format!("piece {} failed its hash ({peers})", piece.0))
        }
        Event::PeerBanned { addr, error, .. } => {
            (1, format!("banned {addr}: {}", Escaped(&error.to_string())))
        }
        Event::Metadata { metainfo, .. } => {
            let len = u64::try_from(metainfo.info.len()).unwrap_or(u64::MAX);
            (1, format!("metadata of {} is here", Size(len)))
        }
        Event::PeerConnected { addr, peer_id, incoming, .. } => {
            let way = if *incoming { "from" } else { "to" };
            (2, format!("connected {way} {addr}: {}", software(*peer_id)))
        }
        Event::PeerClosed { addr, error, .. } => {
            (2, format!("closed {addr}: {}", Escaped(&error.to_string())))
        }
        _ => return None,
    };
    Some((level, format!("{name}: {text}")))
}

fn tracker_text(url: &str, event: &TrackerEvent) -> Option<String> {
    let host = Escaped(host_of(url));
    match event {
        TrackerEvent::Replied { peers, interval, warning, .. } => {
            let peers = count(*peers, "peer", "peers");
            let next = countdown(*interval);
            let warning = warning.as_deref().map(|text| format!(", warns: {}", Escaped(text)));
            let warning = warning.unwrap_or_default();
            Some(format!("tracker {host}: {peers}, next in {next}{warning}"))
        }
        TrackerEvent::Failed { error, retry_in, .. } => {
            let error = error.to_string();
            let retry = match until(*retry_in) {
                Some(retry) => format!("next try in {retry}"),
                None => "it will not be tried again".to_owned(),
            };
            Some(format!("tracker {host}: {}, {retry}", Escaped(&error)))
        }
        _ => None,
    }
}

fn count_u64(number: u64, one: &str, many: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), one, many)
}

#[cfg(test)]
mod tests;
