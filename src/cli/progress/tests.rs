//! What is shown for which snapshot, by tables.

use swarmloop::id::{PeerId, PieceIndex, TorrentId};
use swarmloop::peer::error::{CloseReason, Misbehaviour, PeerError};
use swarmloop::session::io::StopReason;
use swarmloop::tracker::AnnounceEvent;

use super::*;
use crate::cli::{peers, snapshot::sample};

const PLAIN: Paint = Paint { on: false };

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_253_278_123)
}

#[test]
fn a_torrent_alone_has_two_lines_and_a_third_while_it_waits() {
    let waiting = Snapshot { down_rate: 0, unchoked_by: 0, ..sample() };
    let checking = Snapshot { phase: Phase::Checking, pieces_checked: 362, ..sample() };
    let seeding = Snapshot { phase: Phase::Seeding, have: sample().size, ..sample() };
    let stopped = Snapshot { phase: Phase::Stopped(Some(StopReason::Disk)), ..sample() };
    for (torrent, lines) in [
        (
            sample(),
            &[
                "a.iso",
                "  39.2%  296.1 / 754.0 MiB  ↓ 48.2 MiB/s  ↑ 1.1 MiB/s  \
               peers 34/61 (12 seeds)  eta 10s",
            ][..],
        ),
        (
            waiting,
            &[
                "a.iso",
                "  39.2%  296.1 / 754.0 MiB  ↓ 0 B/s  ↑ 1.1 MiB/s  \
               peers 34/61 (12 seeds)  eta -",
                "  waiting: 30 peers have what is missing, but all choke us",
            ],
        ),
        (checking, &["a.iso", "  checking 12.0%  362/3016 pieces"]),
        (
            seeding,
            &["a.iso", "  seeding 754.0 MiB  ↑ 1.1 MiB/s  up 18.1 MiB (ratio 0.02)  peers 34"],
        ),
        (stopped, &["a.iso", "  39.2%  the disk failed"]),
    ] {
        assert_eq!(torrent_lines("a.iso", &torrent, false, &[], PLAIN), lines);
    }
}

#[test]
fn verbose_adds_a_bar_the_swarm_and_peers() {
    let peers = vec![peers::sample(); MAX_PEER_LINES + 28];
    let lines = torrent_lines("a.iso", &sample(), true, &peers, PLAIN);
    assert_eq!(
        lines[1],
        "   39.2% ━━━━━━━━━                 296.1 / 754.0 MiB  ↓ 48.2 MiB/s  eta 10s"
    );
    assert_eq!(
        lines[2],
        "  peers 34 connected, 27 known, 3 half-open   pieces 1128/3016 (+9 active)   \
         tracker ok, next 28m"
    );
    assert_eq!(lines[3], peers::sample().line(3016));
    assert_eq!(lines.len(), 3 + MAX_PEER_LINES + 1);
    assert_eq!(lines.last().map(String::as_str), Some("    … and 28 more"));
}

#[test]
fn bars_are_of_one_width() {
    for (permille, filled, half) in
        [(0, 0, 0), (20, 0, 0), (21, 0, 1), (500, 12, 0), (999, 23, 1), (1000, 24, 0)]
    {
        let bar = bar(permille);
        assert_eq!(bar.chars().count(), 24, "{permille}");
        assert_eq!(bar.matches('━').count(), filled, "{permille}");
        assert_eq!(bar.matches('╸').count(), half, "{permille}");
    }
}

#[test]
fn several_torrents_have_a_line_each_and_a_total() {
    let slow = Snapshot { down_rate: 1024, up_rate: 0, size: 1 << 20, have: 1 << 19, ..sample() };
    let done = Snapshot {
        phase: Phase::Seeding,
        down_rate: 0,
        up_rate: 0,
        have: 2 << 20,
        size: 2 << 20,
        ..sample()
    };
    let idle =
        Snapshot { down_rate: 0, up_rate: 0, peers: 0, size: 1 << 20, have: 0, ..slow.clone() };
    let lines = overview_lines(
        &[("slow", &slow), ("done", &done), ("idle", &idle)],
        &Totals::of([&done, &idle, &slow]),
        PLAIN,
    );
    assert_eq!(
        lines,
        [
            "slow  50.0%  512.0 KiB / 1.0 MiB  ↓ 1.0 KiB/s  ↑ 0 B/s  \
             peers 34/61 (12 seeds)  eta 8m32s",
            "done  seeding 2.0 MiB  ↑ 0 B/s  up 18.1 MiB (ratio 9.05)  peers 34",
            "idle  0.0%  waiting: connecting to 3 peers",
            "total  62.5%  2.5 / 4.0 MiB  ↓ 1.0 KiB/s  ↑ 0 B/s  1 of 3 complete",
        ]
    );
    let lines = overview_lines(&[("x", &idle)], &Totals::of([&idle; 6]), PLAIN);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], "(+5)");
}

#[test]
fn plain_lines_have_a_time_and_no_spaces_in_numbers() {
    let waiting = Snapshot { down_rate: 0, interesting: 0, ..sample() };
    let checking = Snapshot { phase: Phase::Checking, pieces_checked: 362, ..sample() };
    let seeding = Snapshot { phase: Phase::Seeding, ..sample() };
    let to_a_goal = Snapshot { until: Some("ratio 1.0".into()), ..seeding.clone() };
    let stopped = |reason| Snapshot { phase: Phase::Stopped(reason), ..sample() };
    for (torrent, line) in [
        (sample(), "39.2% 296.1/754.0MiB down=48.2MiB/s up=1.1MiB/s peers=34 eta=10s"),
        (
            waiting,
            "39.2% 296.1/754.0MiB down=0B/s up=1.1MiB/s peers=34 eta=- \
             waiting: 34 connected peers have nothing that is missing here",
        ),
        (checking, "checking 12.0%"),
        (seeding, "seeding up=1.1MiB/s uploaded=18.1MiB ratio=0.02 peers=34"),
        (to_a_goal, "seeding up=1.1MiB/s uploaded=18.1MiB ratio=0.02 peers=34 until ratio 1.0"),
        (stopped(None), "39.2% stopped"),
        (stopped(Some(StopReason::Disk)), "39.2% stopped: the disk failed"),
    ] {
        let line = format!("2026-11-21T09:27:58Z a.iso {line}");
        assert_eq!(plain_line(at(), "a.iso", &torrent), line);
    }
}

#[test]
fn the_end_is_one_line() {
    let done = Snapshot { have: sample().size, downloaded: sample().size, ..sample() };
    let elapsed = Duration::from_millis(17_200);
    let line = |downloaded, peers| done_line("a.iso", &done, elapsed, downloaded, peers, PLAIN);
    assert_eq!(
        line(true, 41),
        "done  a.iso  754.0 MiB in 17s (43.8 MiB/s)  up 18.1 MiB (ratio 0.02)  \
         41 peers  0 bad pieces"
    );
    assert!(line(true, 1).contains("  1 peer  "));
    assert_eq!(line(false, 0), "done  a.iso  754.0 MiB  was complete already");
    assert_eq!(
        stopped_line("a.iso", &sample()),
        "stopped  a.iso  39.2% (296.1 / 754.0 MiB) verified and kept; the same command continues"
    );
    assert_eq!(stopped_line("a.iso", &done), "stopped  a.iso  up 18.1 MiB (ratio 0.02)");
    let now = done_line("a.iso", &done, Duration::ZERO, true, 0, PLAIN);
    assert!(now.contains("in 0.0s  up"), "{now}");
}

#[test]
fn events_are_told_at_their_level() {
    let torrent = TorrentId(0);
    let addr = "127.0.0.1:5".parse().expect("an address");
    let peer_id = PeerId(*b"-qB5000-abcdefghijkl");
    let banned = PeerError::Misbehaved(Misbehaviour::CorruptPiece);
    let closed = PeerError::Closed(CloseReason::Remote);
    let replied = TrackerEvent::Replied {
        event: AnnounceEvent::Started,
        peers: 1,
        interval: Duration::from_secs(1800),
        warning: Some("old\x1bclient".to_owned()),
        external_ip: None,
    };
    let url = "http://t.example/passkey/announce".to_owned();
    for (event, level, text) in [
        (
            Event::Tracker { torrent, url, event: replied },
            1,
            "a.iso: tracker t.example: 1 peer, next in 30m, warns: old\\x1bclient",
        ),
        (
            Event::PieceCorrupt { torrent, piece: PieceIndex(17), contributors: 3 },
            1,
            "a.iso: piece 17 failed its hash (3 peers)",
        ),
        (
            Event::PeerBanned { torrent, addr, error: banned },
            1,
            "a.iso: banned 127.0.0.1:5: misbehaved: sent a piece that failed its hash",
        ),
        (
            Event::PeerConnected { torrent, addr, peer_id, incoming: true },
            2,
            "a.iso: connected from 127.0.0.1:5: qBittorrent 5.0",
        ),
        (
            Event::PeerClosed { torrent: Some(torrent), addr, error: closed },
            2,
            "a.iso: closed 127.0.0.1:5: closed: by the remote",
        ),
    ] {
        assert_eq!(event_line("a.iso", &event), Some((level, text.to_owned())));
    }
    assert_eq!(event_line("a.iso", &Event::Phase { torrent, phase: Phase::Checking }), None);
}

#[test]
fn colour_is_only_what_was_asked_for() {
    for (on, escapes) in [(true, true), (false, false)] {
        let paint = Paint { on };
        for text in [paint.name("x"), paint.good("x"), paint.odd("x"), paint.bad("x")] {
            assert_eq!(text.contains('\x1b'), escapes, "{text:?}");
            assert_eq!(text == "x", !escapes, "{text:?}");
        }
    }
}
