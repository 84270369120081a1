//! Why nothing is happening: a stalled torrent always names its cause.

use swarmloop::peer::error::{CloseReason, PeerError};
use swarmloop::session::io::{DiskFull, Phase, StopReason};
use swarmloop::session::status::TrackerState;
use swarmloop::text::Escaped;

use super::size::{Size, countdown, until};
use super::snapshot::{Snapshot, TrackerView};

/// More trackers than this are only counted.
const MAX_TRACKERS_NAMED: usize = 2;

/// A kind of cause: two stalls of one kind are one condition and told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The torrent is stopped.
    Stopped,
    /// Existing files are looked at first.
    Checking,
    /// Peers are connected, and none has sent the metadata yet.
    NoMetadata,
    /// There is no room for what is missing.
    DiskFull,
    /// Nobody is known, and there is nobody to ask.
    NobodyToAsk,
    /// Peers are being dialled.
    Dialling,
    /// Peers are known, none is connected.
    Unreachable,
    /// No peer is known; a tracker is being asked.
    Asking,
    /// No peer is known; the trackers' answers named none.
    NoPeers,
    /// No peer is known; every tracker failed.
    TrackersFailed,
    /// No peer has what is missing.
    NothingWanted,
    /// Every peer with what is missing chokes us.
    Choked,
    /// Requests are out, nothing comes.
    Unanswered,
}

/// Why a torrent does not get on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stall {
    /// The kind of cause.
    pub(crate) cause: Cause,
    /// The cause in words, safe to print.
    pub(crate) text: String,
}

/// Returns why a torrent does not get on; `None` if it does, or has nothing to get.
pub(crate) fn stall(torrent: &Snapshot) -> Option<Stall> {
    let stall = |cause, text| Some(Stall { cause, text });
    match &torrent.phase {
        Phase::Stopped(reason) => stall(Cause::Stopped, stopped(reason.as_ref()).to_owned()),
        Phase::Checking => {
            let (checked, pieces) = (torrent.pieces_checked, torrent.pieces);
            stall(Cause::Checking, format!("checking existing files, {checked} of {pieces} pieces"))
        }
        Phase::Metadata if torrent.peers == 0 => Some(without_peers(torrent)),
        Phase::Metadata => stall(Cause::NoMetadata, without_metadata(torrent)),
        Phase::DiskFull(full) => stall(Cause::DiskFull, without_space(full)),
        Phase::Downloading if torrent.down_rate > 0 || torrent.missing() == 0 => None,
        Phase::Downloading if torrent.peers == 0 => Some(without_peers(torrent)),
        Phase::Downloading => Some(with_peers(torrent)),
        Phase::Seeding | Phase::PartialSeeding if torrent.peers == 0 => unknown(torrent),
        _ => None,
    }
}

/// Returns why a torrent waits that is to get something.
pub(crate) fn waiting(torrent: &Snapshot) -> Option<Stall> {
    let waits = |stall: &Stall| !matches!(stall.cause, Cause::Stopped | Cause::Checking);
    stall(torrent).filter(waits)
}

/// Says who is asked for the metadata, and how far it is.
fn without_metadata(torrent: &Snapshot) -> String {
    let metadata = torrent.metadata.unwrap_or_default();
    let Some(len) = metadata.len else {
        let peers = count(torrent.peers, "connected peer", "connected peers");
        return format!("{peers}, none has offered the metadata yet");
    };
    let peers = count(metadata.sources, "peer", "peers");
    let have = Size::pair(metadata.have.into(), len.into(), " ");
    format!("{have} of metadata from {peers}")
}

fn without_space(full: &DiskFull) -> String {
    let retry = countdown(full.retry_in);
    format!("the disk is full ({}); next try in {retry}", space_text(full))
}

/// Returns what there is of space and what it takes.
pub(crate) fn space_text(full: &DiskFull) -> String {
    let needed = Size(full.needed);
    match full.free {
        Some(free) => format!("{} free, {needed} needed", Size(free)),
        None => format!("{needed} needed"),
    }
}

fn stopped(reason: Option<&StopReason>) -> &'static str {
    match reason {
        Some(StopReason::Disk) => "the disk failed",
        Some(StopReason::NoSpace { .. }) => "there is not enough space",
        Some(StopReason::FilesInTheWay(_)) => "files are in the way",
        Some(StopReason::Metadata(_)) => "its metadata is of no use",
        _ => "stopped",
    }
}

/// Names the cause while peers are connected.
fn with_peers(torrent: &Snapshot) -> Stall {
    let (cause, text) = if torrent.interesting == 0 {
        let peers = count(torrent.peers, "connected peer has", "connected peers have");
        (Cause::NothingWanted, format!("{peers} nothing that is missing here"))
    } else if torrent.unchoked_by == 0 {
        let peers = count(torrent.interesting, "peer has", "peers have");
        (Cause::Choked, format!("{peers} what is missing, but all choke us"))
    } else {
        let peers = count(torrent.unchoked_by, "peer", "peers");
        (Cause::Unanswered, format!("{peers} took our requests and did not answer yet"))
    };
    Stall { cause, text }
}

/// Names the cause while no peer is connected: what is being tried, and if nothing is, what the
/// trackers say.
fn without_peers(torrent: &Snapshot) -> Stall {
    let (cause, text) = if torrent.half_open > 0 {
        let peers = count(torrent.half_open, "peer", "peers");
        (Cause::Dialling, format!("connecting to {peers}"))
    } else if torrent.known > 0 {
        let peers = count(torrent.known, "peer", "peers");
        let last = torrent.last_dial_error.as_ref().map(|error| format!(" (last: {error})"));
        let last = last.unwrap_or_default();
        (Cause::Unreachable, format!("{peers} known, none could be reached so far{last}"))
    } else if let Some(host) = torrent.unresolved.first() {
        let text = format!("no peers yet, the name {} could not be looked up", Escaped(host));
        (Cause::Unreachable, text)
    } else {
        let blocked = PeerError::Closed(CloseReason::Blocked);
        let mut stall = without_addresses(torrent);
        if torrent.last_dial_error == Some(blocked) {
            stall.text = format!("peers are on the blocklist; {}", stall.text);
        }
        return stall;
    };
    Stall { cause, text }
}

/// Names the cause why nobody comes to a seed, if that is more than that nobody wants to: no
/// tracker names it.
fn unknown(torrent: &Snapshot) -> Option<Stall> {
    let is_failed = |tracker: &&TrackerView| matches!(tracker.state, TrackerState::Failed { .. });
    let is_named = |tracker: &TrackerView| matches!(tracker.state, TrackerState::Working { .. });
    let failed: Vec<&TrackerView> = torrent.trackers.iter().filter(is_failed).collect();
    let text = failures(&failed).filter(|_| !torrent.trackers.iter().any(is_named))?;
    Some(Stall { cause: Cause::TrackersFailed, text })
}

/// Names the cause while not even an address is known: what the trackers say, and the DHT.
fn without_addresses(torrent: &Snapshot) -> Stall {
    let Some(dht) = torrent.dht else { return without_answers(&torrent.trackers) };
    let nodes = count(dht.nodes, "node", "nodes");
    let state = if dht.is_joined { "searching among" } else { "bootstrapping" };
    let dht = format!("dht {state} {nodes}");
    let is_usable = |tracker: &TrackerView| tracker.state != TrackerState::Unsupported;
    if !torrent.trackers.iter().any(is_usable) {
        return Stall { cause: Cause::Asking, text: format!("no peers yet, {dht}") };
    }
    let Stall { cause, text } = without_answers(&torrent.trackers);
    Stall { cause, text: format!("{text}; {dht}") }
}

/// Names the cause while the trackers have named nobody.
fn without_answers(trackers: &[TrackerView]) -> Stall {
    let usable: Vec<&TrackerView> =
        trackers.iter().filter(|tracker| tracker.state != TrackerState::Unsupported).collect();
    let host = |tracker: &TrackerView| Escaped(host_of(&tracker.url)).to_string();
    if usable.is_empty() {
        let text = if trackers.is_empty() {
            "no peers known and no trackers to ask; --peer HOST:PORT names one"
        } else {
            "no peers known, and no tracker speaks a protocol that is supported; \
             --peer HOST:PORT names a peer"
        };
        return Stall { cause: Cause::NobodyToAsk, text: text.to_owned() };
    }
    // Trackers are asked in turn, so one that is being asked says more than those that failed
    // before it.
    let asked = usable.iter().find(|tracker| tracker.state == TrackerState::Announcing);
    if let Some(tracker) = asked {
        let text = format!("no peers yet, asking tracker {}", host(tracker));
        return Stall { cause: Cause::Asking, text };
    }
    for tracker in &usable {
        if let TrackerState::Working { next_in, .. } = tracker.state {
            let next = match until(next_in) {
                Some(next) => format!("asking again in {next}"),
                None => "it will not be asked again".to_owned(),
            };
            let text = format!("no peers yet, tracker {} names none; {next}", host(tracker));
            return Stall { cause: Cause::NoPeers, text };
        }
    }
    match failures(&usable) {
        Some(text) => Stall { cause: Cause::TrackersFailed, text },
        None => Stall { cause: Cause::Asking, text: "no peers yet, about to ask a tracker".into() },
    }
}

/// Says which trackers failed, why, and when the next is tried; `None` if none did.
fn failures(trackers: &[&TrackerView]) -> Option<String> {
    let mut named = Vec::new();
    let mut failed = 0usize;
    let mut next = None;
    for tracker in trackers {
        let TrackerState::Failed { error, retry_in } = &tracker.state else { continue };
        failed += 1;
        next = Some(next.map_or(*retry_in, |next| (*retry_in).min(next)));
        if named.len() < MAX_TRACKERS_NAMED {
            named.push(format!("{}: {}", Escaped(host_of(&tracker.url)), Escaped(error)));
        }
    }
    let next = match until(next?) {
        Some(next) => format!("next try in {next}"),
        None if failed == 1 => "it will not be tried again".to_owned(),
        None => "they will not be tried again".to_owned(),
    };
    let more = match failed.checked_sub(MAX_TRACKERS_NAMED) {
        Some(more @ 1..) => format!("; and {more} more"),
        _ => String::new(),
    };
    let list = named.join("; ");
    let trackers = count(failed, "tracker", "trackers");
    Some(format!("no peers yet, {trackers} failed ({list}{more}); {next}"))
}

/// Returns the host and port of a URL: no user name and no path, because both may hold a pass key.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Returns `1 peer` or `3 peers`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::snapshot::sample;
    use swarmloop::peer::error::CloseReason;
    use swarmloop::session::status::MetadataStatus;

    fn waiting() -> Snapshot {
        let quiet = Snapshot { down_rate: 0, peers: 0, seeds: 0, interesting: 0, ..sample() };
        Snapshot { unchoked_by: 0, half_open: 0, known: 0, trackers: Vec::new(), ..quiet }
    }

    fn tracker(url: &str, state: TrackerState) -> TrackerView {
        TrackerView { url: url.to_owned(), state }
    }

    fn failed(url: &str, error: &str, retry_s: u64) -> TrackerView {
        let (error, retry_in) = (error.to_owned(), Duration::from_secs(retry_s));
        tracker(url, TrackerState::Failed { error, retry_in })
    }

    fn working(next_s: u64) -> TrackerView {
        let next_in = Duration::from_secs(next_s);
        tracker("http://a.example:6969/announce", TrackerState::Working { peers: 0, next_in })
    }

    #[test]
    fn who_gets_on_does_not_wait() {
        let seeding = Snapshot { phase: Phase::Seeding, have: sample().size, ..waiting() };
        let done = Snapshot { have: sample().size, ..waiting() };
        for snapshot in [sample(), seeding, done] {
            assert_eq!(stall(&snapshot), None, "{snapshot:?}");
        }
    }

    #[test]
    fn a_seed_that_no_tracker_names_says_so() {
        let seed = |trackers: Vec<TrackerView>| Snapshot {
            phase: Phase::Seeding,
            have: sample().size,
            trackers,
            ..waiting()
        };
        let a = || failed("http://a.example/x", "connection refused", 30);
        let stall = stall(&seed(vec![a()])).expect("a stall");
        let text =
            "no peers yet, 1 tracker failed (a.example: connection refused); next try in 30s";
        assert_eq!((stall.cause, stall.text.as_str()), (Cause::TrackersFailed, text));
        assert_eq!(super::waiting(&seed(vec![a()])), Some(stall));
        let asked = tracker("http://b.example/x", TrackerState::Announcing);
        for trackers in [vec![], vec![asked], vec![a(), working(60)]] {
            assert_eq!(super::stall(&seed(trackers)), None, "nobody wants it, as far as we know");
        }
        assert_eq!(super::stall(&Snapshot { peers: 1, ..seed(vec![a()]) }), None);
    }

    #[test]
    fn every_stall_of_the_torrent_itself_has_its_reason() {
        for (phase, text) in [
            (Phase::Stopped(None), "stopped"),
            (Phase::Stopped(Some(StopReason::Disk)), "the disk failed"),
            (Phase::Stopped(Some(StopReason::FilesInTheWay(vec![]))), "files are in the way"),
        ] {
            let stall = stall(&Snapshot { phase, ..sample() }).expect("a stall");
            assert_eq!((stall.cause, stall.text.as_str()), (Cause::Stopped, text));
        }
        let checking = Snapshot { phase: Phase::Checking, pieces_checked: 120, ..sample() };
        let stall = stall(&checking).expect("a stall");
        assert_eq!(stall.cause, Cause::Checking);
        assert_eq!(stall.text, "checking existing files, 120 of 3016 pieces");
    }

    #[test]
    fn every_stall_among_peers_has_its_reason() {
        for (peers, interesting, unchoked_by, cause, text) in [
            (1, 0, 0, Cause::NothingWanted, "1 connected peer has nothing that is missing here"),
            (3, 0, 0, Cause::NothingWanted, "3 connected peers have nothing that is missing here"),
            (3, 1, 0, Cause::Choked, "1 peer has what is missing, but all choke us"),
            (3, 2, 0, Cause::Choked, "2 peers have what is missing, but all choke us"),
            (3, 2, 1, Cause::Unanswered, "1 peer took our requests and did not answer yet"),
        ] {
            let snapshot = Snapshot { peers, interesting, unchoked_by, ..waiting() };
            let stall = stall(&snapshot).expect("a stall");
            assert_eq!((stall.cause, stall.text.as_str()), (cause, text));
        }
    }

    #[test]
    fn a_torrent_without_metadata_says_who_has_it() {
        let seeking = Snapshot { phase: Phase::Metadata, size: 0, have: 0, ..waiting() };
        let nobody = stall(&seeking).expect("a stall");
        assert_eq!(nobody.cause, Cause::NobodyToAsk);
        let metadata = |have, len, sources| Some(MetadataStatus { have, len, sources });
        for (metadata, text) in [
            (metadata(0, None, 0), "3 connected peers, none has offered the metadata yet"),
            (metadata(16_384, Some(81_920), 2), "16.0 / 80.0 KiB of metadata from 2 peers"),
        ] {
            let stall = stall(&Snapshot { peers: 3, metadata, ..seeking.clone() });
            let stall = stall.expect("a stall");
            assert_eq!((stall.cause, stall.text.as_str()), (Cause::NoMetadata, text));
        }
    }

    #[test]
    fn every_stall_without_peers_has_its_reason() {
        for (half_open, known, cause, text) in [
            (1, 9, Cause::Dialling, "connecting to 1 peer"),
            (3, 0, Cause::Dialling, "connecting to 3 peers"),
            (0, 1, Cause::Unreachable, "1 peer known, none could be reached so far"),
            (0, 2, Cause::Unreachable, "2 peers known, none could be reached so far"),
        ] {
            let stall = stall(&Snapshot { half_open, known, ..waiting() }).expect("a stall");
            assert_eq!((stall.cause, stall.text.as_str()), (cause, text));
        }
    }

    #[test]
    fn a_peer_that_cannot_be_reached_or_found_has_its_reason() {
        let refused = CloseReason::Io(std::io::ErrorKind::ConnectionRefused).into();
        let dead = Snapshot { known: 1, last_dial_error: Some(refused), ..waiting() };
        let text = "1 peer known, none could be reached so far (last: closed: connection refused)";
        assert_eq!(stall(&dead).expect("a stall").text, text);
        let lost = Snapshot { unresolved: vec!["no.such\x1b".to_owned()], ..waiting() };
        let text = "no peers yet, the name no.such\\x1b could not be looked up";
        assert_eq!(stall(&lost).expect("a stall").text, text);
        let blocked = Some(CloseReason::Blocked.into());
        let text =
            stall(&Snapshot { last_dial_error: blocked, ..waiting() }).expect("a stall").text;
        assert!(text.starts_with("peers are on the blocklist; no peers known and"), "{text}");
    }

    #[test]
    fn every_stall_of_the_trackers_has_its_reason() {
        let unsupported = || tracker("udp://c.example:1", TrackerState::Unsupported);
        let a = || failed("http://u:pw@a.example/k3y/announce", "connection refused", 30);
        let b = || failed("http://b.example?k3y", "timed out", 15);
        let never = || {
            let (error, retry_in) = ("go away".to_owned(), Duration::MAX);
            tracker("http://c.example/x", TrackerState::Failed { error, retry_in })
        };
        for (trackers, cause, text) in [
            (
                vec![],
                Cause::NobodyToAsk,
                "no peers known and no trackers to ask; --peer HOST:PORT names one",
            ),
            (
                vec![unsupported()],
                Cause::NobodyToAsk,
                "no peers known, and no tracker speaks a protocol that is supported; \
                 --peer HOST:PORT names a peer",
            ),
            (
                vec![tracker("http://a.example/x", TrackerState::Idle)],
                Cause::Asking,
                "no peers yet, about to ask a tracker",
            ),
            (
                vec![a(), tracker("http://b.example/x", TrackerState::Announcing)],
                Cause::Asking,
                "no peers yet, asking tracker b.example",
            ),
            (
                vec![a(), working(1680)],
                Cause::NoPeers,
                "no peers yet, tracker a.example:6969 names none; asking again in 28m",
            ),
            (
                vec![a(), unsupported()],
                Cause::TrackersFailed,
                "no peers yet, 1 tracker failed (a.example: connection refused); next try in 30s",
            ),
            (
                vec![never(), unsupported()],
                Cause::TrackersFailed,
                "no peers yet, 1 tracker failed (c.example: go away); it will not be tried again",
            ),
            (
                vec![never(), never()],
                Cause::TrackersFailed,
                "no peers yet, 2 trackers failed (c.example: go away; c.example: go away); \
                 they will not be tried again",
            ),
            (
                vec![never(), b()],
                Cause::TrackersFailed,
                "no peers yet, 2 trackers failed (c.example: go away; b.example: timed out); \
                 next try in 15s",
            ),
            (
                vec![a(), b(), a(), a()],
                Cause::TrackersFailed,
                "no peers yet, 4 trackers failed (a.example: connection refused; \
                 b.example: timed out; and 2 more); next try in 15s",
            ),
            (
                vec![failed("http://e\x1b[2J\u{202e}/x", "go\nhome\x07", 0)],
                Cause::TrackersFailed,
                "no peers yet, 1 tracker failed (e\\x1b[2J\\u{202e}: go\\x0ahome\\x07); \
                 next try in 0s",
            ),
        ] {
            let stall = stall(&Snapshot { trackers, ..waiting() }).expect("a stall");
            assert_eq!((stall.cause, stall.text.as_str()), (cause, text));
        }
    }

    #[test]
    fn hosts_are_shown_without_secrets() {
        for (url, host) in [
            ("http://a.example/passkey/announce", "a.example"),
            ("http://a.example:80", "a.example:80"),
            ("http://user:secret@a.example?x@y", "a.example"),
            ("udp://[::1]:5/", "[::1]:5"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}
