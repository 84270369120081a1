//! What is told of the engine's events as they come: lines for `-v`, and for the log.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use swarmloop::client::AddTorrent;
use swarmloop::dht::Family;
use swarmloop::session::io::Event;
use swarmloop::text::Escaped;
use swarmloop::tracker::TrackerEvent;

use crate::cli::input::escaped_path;
use crate::cli::json;
use crate::cli::log::{Level, Record, Target};
use crate::cli::progress::event_line;
use crate::cli::size::brief;
use crate::cli::stall::count;
use crate::cli::torrent::Torrent;
use crate::cli::ui::Ui;

/// Tells of an event of a torrent.
pub(super) fn event(torrent: &Torrent, event: &Event, ui: &mut Ui) {
    let now = Instant::now();
    let line = event_line(&torrent.name, event);
    let condition = condition_of(event);
    let key = |(kind, whom)| (torrent.number, kind, whom);
    if let Some((level, line)) = &line {
        match condition.clone().map(key) {
            Some(key) => ui.event(*level, key, line, now),
            None => ui.detail(*level, line),
        }
    }
    let Some((level, target)) = weight_of(event) else { return };
    match (condition, line) {
        (Some(condition), Some((_, message))) => {
            let (id, code) = (Some(torrent.number), Some(condition.0));
            let record = Record { level, target, id, code, message: &message };
            ui.log_counted(&record, key(condition), now);
        }
        (_, line) => ui.log(level, target, Some(torrent.number), || match line {
            Some((_, line)) => line,
            None => format!("{}: {}", torrent.name, text_of(event)),
        }),
    }
}

/// Tells that the DHT was reached.
pub(super) fn dht_joined(family: Family, nodes: usize, ui: &mut Ui) {
    let number = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let line = format!("dht: joined over {number}, {}", count(nodes, "node", "nodes"));
    ui.detail(1, &line);
    ui.record(|| json::dht_joined(family, nodes));
    ui.log(Level::Info, Target::Run, None, || line);
}

/// Tells that nothing can be announced on the local network, or not by one interface.
pub(super) fn lsd_failed(group: SocketAddr, interface: Option<&str>, why: &str, ui: &mut Ui) {
    let number = if group.is_ipv4() { "IPv4" } else { "IPv6" };
    let by = interface.map_or_else(String::new, |name| format!(" by {}", Escaped(name)));
    let line = format!("lsd: not announced over {number}{by}: {why}");
    ui.detail(1, &line);
    ui.record(|| json::lsd_failed(group, interface, why));
    ui.log(Level::Info, Target::Run, None, || line);
}

/// Tells the log that a torrent begins.
pub(super) fn added(number: usize, torrent: &AddTorrent, ui: &mut Ui) {
    ui.log(Level::Info, Target::Torrent, Some(number), || {
        let (name, hash) = (Escaped(&torrent.metainfo.name), torrent.metainfo.info_hash);
        format!("{name}: added, info-hash {hash}, folder '{}'", escaped_path(&torrent.dir))
    });
}

/// Tells the log that a file is complete.
pub(super) fn file(number: usize, path: &str, ui: &mut Ui) {
    ui.log(Level::Debug, Target::Torrent, Some(number), || {
        format!("file '{}' is complete", escaped_path(Path::new(path)))
    });
}

/// Returns how much an event matters and what it is about. Those that are told as errors and
/// warnings have lines of their own.
fn weight_of(event: &Event) -> Option<(Level, Target)> {
    match event {
        Event::Phase { .. } | Event::Complete { .. } => Some((Level::Info, Target::Torrent)),
        Event::Tracker { event: TrackerEvent::Failed { .. }, .. } => {
            Some((Level::Warn, Target::Tracker))
        }
        Event::Tracker { .. } => Some((Level::Debug, Target::Tracker)),
        Event::PieceCorrupt { .. } => Some((Level::Warn, Target::Piece)),
        Event::PieceVerified { .. } => Some((Level::Trace, Target::Piece)),
        Event::PeerBanned { .. } => Some((Level::Warn, Target::Peer)),
        Event::PeerConnected { .. } | Event::PeerClosed { .. } => {
            Some((Level::Debug, Target::Peer))
        }
        _ => None,
    }
}

/// Says an event that is told nowhere but in the log.
fn text_of(event: &Event) -> String {
    match event {
        Event::Phase { phase, .. } => json::state(phase).replace('_', " "),
        Event::Complete { elapsed, downloaded: true, .. } => {
            format!("complete after {}", brief(*elapsed))
        }
        Event::Complete { .. } => "was complete already".to_owned(),
        Event::PieceVerified { piece, .. } => format!("piece {} is verified", piece.0),
        _ => String::new(),
    }
}

/// Returns what an event says again that an earlier one has said: its kind, and of whom; `None` for
/// one that is told each time.
fn condition_of(event: &Event) -> Option<(&'static str, String)> {
    match event {
        Event::Tracker { url, event: TrackerEvent::Failed { .. }, .. } => {
            Some(("tracker_failed", url.clone()))
        }
        Event::PieceCorrupt { .. } => Some(("piece_corrupt", String::new())),
        Event::PeerBanned { .. } => Some(("peer_banned", String::new())),
        _ => None,
    }
}
