//! The watch over an engine that is scripted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use swarmloop::disk::job::{DiskError, DiskErrorKind, DiskOp};
use swarmloop::filter::IpFilter;
use swarmloop::id::PieceIndex;
use swarmloop::session::io::{DiskFull, FileInTheWay};

use super::*;
use crate::cli::args::output::OutputArgs;
use crate::cli::files::tests::metainfo;
use crate::cli::goals::{Patience, Ratio};
use crate::cli::snapshot::sample;
use crate::cli::ui::tests::{Written, plain, recorded};

const PATIENT: Patience = Patience { timeout: None, deadline: None, slow: None };
const ENDLESS: SeedGoal = SeedGoal { ratio: None, time: None, idle: None };
const GET: Goal = Goal::Get { seeding: None, patience: PATIENT };
const GET_AND_SEED: Goal = Goal::Get { seeding: Some(ENDLESS), patience: PATIENT };

/// An engine that plays events and then ends, or goes on being silent.
struct Script {
    events: RefCell<VecDeque<Event>>,
    snapshot: Snapshot,
    /// How often nothing more is said before the engine ends.
    silences: Cell<usize>,
    /// How often the sample is seen before the snapshot is.
    looks: Cell<usize>,
    removed: RefCell<Vec<TorrentId>>,
    reannounced: Cell<bool>,
}

impl Script {
    fn new(events: Vec<Event>, snapshot: Snapshot) -> Self {
        let (events, silences, looks) = (events.into(), Cell::new(3), Cell::new(0));
        let (removed, reannounced) = (RefCell::default(), Cell::new(false));
        let events = RefCell::new(events);
        Self { events, snapshot, silences, looks, removed, reannounced }
    }
}

impl Engine for Script {
    fn next_event(&self, _: Duration) -> Result<Event, RecvTimeoutError> {
        if let Some(event) = self.events.borrow_mut().pop_front() {
            return Ok(event);
        }
        match self.silences.get().checked_sub(1) {
            Some(left) => {
                self.silences.set(left);
                Err(RecvTimeoutError::Timeout)
            }
            None => Err(RecvTimeoutError::Disconnected),
        }
    }

    fn snapshots(&self, ids: &[TorrentId]) -> Result<Vec<(TorrentId, Snapshot)>, ClientError> {
        let snapshot = match self.looks.get().checked_sub(1) {
            Some(left) => {
                self.looks.set(left);
                sample()
            }
            None => self.snapshot.clone(),
        };
        Ok(ids.iter().map(|id| (*id, snapshot.clone())).collect())
    }

    fn reannounce(&self) {
        self.reannounced.set(true);
    }

    fn set_blocklist(&self, _: Arc<IpFilter>) {}

    fn peers(&self, _: TorrentId) -> Result<Vec<PeerView>, ClientError> {
        Ok(Vec::new())
    }

    fn remove(&self, torrent: TorrentId) -> Result<(), ClientError> {
        self.removed.borrow_mut().push(torrent);
        Ok(())
    }
}

/// A run of as many torrents, whose ids count from 1 like their numbers.
fn watch(goal: Goal, torrents: u32, snapshot: &Snapshot) -> Watch {
    let now = Instant::now();
    let mut watch = Watch::new(goal, Vec::new(), now);
    let mut metainfo = metainfo(&[("top/a", 15, false), ("top/b", 10, false)]);
    for i in 1..=torrents {
        metainfo.name = format!("t{i}");
        let number = usize::try_from(i).expect("a small number");
        let path = Some(PathBuf::from(format!("out/t{i}")));
        let torrent = Torrent::new(number, TorrentId(i), &metainfo, path, snapshot.clone(), now);
        watch.roster.add(torrent);
    }
    watch
}

/// Plays events to a run and returns how it ended, the exit code, and what was written to stdout
/// and stderr.
fn play(
    mut watch: Watch,
    script: &Script,
    signals: &[Notice],
    args: &OutputArgs,
) -> (End, Exit, String, String) {
    let (mut ui, out, err) = recorded(args);
    let end = watch.run(script, &Signals::scripted(signals), &mut ui);
    let exit = watch.conclude(&mut ui, end);
    ui.summary(exit);
    let text = |written: &Written| written.text();
    (end, exit, text(&out), text(&err))
}

fn quiet() -> OutputArgs {
    OutputArgs { quiet: true, ..plain() }
}

fn done() -> Snapshot {
    Snapshot { phase: Phase::Seeding, have: sample().size, ..sample() }
}

fn complete_event(torrent: u32) -> Event {
    let elapsed = Duration::from_secs(17);
    Event::Complete { torrent: TorrentId(torrent), elapsed, downloaded: true }
}

fn disk_event(torrent: u32, kind: DiskErrorKind) -> Event {
    let message = "it broke".to_owned();
    let error = DiskError { op: DiskOp::Write, path: "top/a".into(), kind, message };
    Event::Disk { torrent: TorrentId(torrent), error }
}

const INTERRUPT: Notice = Notice::Stop(Exit::Signal(2));

/// Tells that the disk of torrent 1 is full.
fn full_event() -> Event {
    let (op, path) = (DiskOp::Write, "top/a".into());
    let message = "no space left on device".to_owned();
    let error = DiskError { op, path, kind: DiskErrorKind::Full, message };
    let retry_in = Duration::from_secs(42);
    let full = DiskFull { error, free: Some(3_250_586), needed: 1 << 29, retry_in };
    Event::Phase { torrent: TorrentId(1), phase: Phase::DiskFull(Box::new(full)) }
}

#[test]
fn lost_pieces_are_told_at_intervals_and_fail_a_seed() {
    let lost = |pieces| {
        let (op, path) = (DiskOp::Read, "top/a".into());
        let message = "input/output error".to_owned();
        let error = DiskError { op, path, kind: DiskErrorKind::Other, message };
        Event::PiecesLost { torrent: TorrentId(1), pieces, error }
    };
    let damaged = Snapshot { phase: Phase::Seeding, ..sample() };
    let stop = [Notice::Stop(Exit::Signal(2))];
    for (signals, exit) in [(&stop[..], Exit::Failed), (&[], Exit::Failed)] {
        let script = Script::new(vec![lost(1), lost(3), lost(7)], damaged.clone());
        let mut watch = watch(Goal::Seed(ENDLESS), 1, &damaged);
        watch.roster.torrent_mut(0).is_seeding_told = true;
        let (mut ui, _, err) = recorded(&quiet());
        for event in [lost(1), lost(3), lost(7)] {
            watch.handle_event(&script, &mut ui, &event).expect("an engine");
        }
        assert_eq!(
            err.text(),
            "swarmloop: error: cannot read \"top/a\": input/output error. \
             1 piece is not served any more; 39.2% is verified and kept\n"
        );
        assert_eq!(watch.exit(End::Finished), Exit::Failed, "though its goal was met");
        let (_, ended, ..) = play(watch, &script, signals, &quiet());
        assert_eq!(ended, exit);
    }
    let mut torrent = Torrent::new(
        1,
        TorrentId(1),
        &metainfo(&[("top/a", 25, false)]),
        None,
        sample(),
        Instant::now(),
    );
    let (mut ui, _, err) = recorded(&quiet());
    let Event::PiecesLost { error, .. } = lost(1) else { unreachable!() };
    let start = Instant::now();
    for (pieces, after_s) in [(1, 0), (3, 1), (7, 29), (2, 30), (5, 59), (1, 61)] {
        let now = start + Duration::from_secs(after_s);
        tell_lost(&mut torrent, &mut ui, pieces, &error, now);
    }
    let told: Vec<String> = err.text().lines().map(str::to_owned).collect();
    let says = |line: usize, text: &str| assert!(told[line].contains(text), "{told:?}");
    assert_eq!(told.len(), 3);
    says(0, ". 1 piece is downloaded again; ");
    says(1, ". 12 pieces are downloaded again; ");
    says(2, ". 6 pieces are downloaded again; ");
}

#[test]
fn a_full_disk_is_told_once_and_waited_for() {
    let events = vec![full_event(), full_event(), complete_event(1)];
    let script = Script::new(events, Snapshot { have: sample().size, ..sample() });
    let (end, exit, out, err) = play(watch(GET, 1, &sample()), &script, &[], &quiet());
    assert_eq!((end, exit, out.as_str()), (End::Finished, Exit::Success, "out/t1\n"));
    assert_eq!(
        err,
        "swarmloop: error: cannot write \"top/a\": no space left on device (3.1 MiB free, \
         512.0 MiB needed). 100.0% is verified and kept; the download continues by itself when \
         space is free\n"
    );
    let piece = Event::PieceVerified { torrent: TorrentId(1), piece: PieceIndex(0) };
    let events = vec![full_event(), piece, full_event()];
    let script = Script::new(events, sample());
    let (.., err) = play(watch(GET, 1, &sample()), &script, &[], &quiet());
    assert_eq!(err.matches("no space left").count(), 2, "{err}");
}

#[test]
fn who_gives_up_waiting_for_space_failed_for_the_disk() {
    let Event::Phase { phase, .. } = full_event() else { unreachable!() };
    let script = Script::new(Vec::new(), Snapshot { phase, ..sample() });
    let goal = Goal::Get {
        seeding: None,
        patience: Patience { timeout: Some(Duration::ZERO), ..PATIENT },
    };
    let (end, exit, _, err) = play(watch(goal, 1, &sample()), &script, &[], &quiet());
    assert_eq!((end, exit), (End::Finished, Exit::Disk), "{err}");
    let cause = "the disk is full (3.1 MiB free, 512.0 MiB needed); next try in 42s";
    assert!(err.contains(cause), "{err}");
}

#[test]
fn a_download_ends_with_its_path_on_stdout() {
    let script = Script::new(vec![complete_event(1)], done());
    let (end, exit, out, err) = play(watch(GET, 1, &sample()), &script, &[], &quiet());
    assert_eq!((end, exit), (End::Finished, Exit::Success));
    assert_eq!(out, "out/t1\n");
    assert_eq!(err, "");
}

#[test]
fn several_downloads_succeed_only_together() {
    let full = || disk_event(2, DiskErrorKind::Full);
    for (events, exit, out) in [
        (vec![complete_event(2), complete_event(1)], Exit::Success, "out/t2\nout/t1\n"),
        (vec![complete_event(1), full()], Exit::Disk, "out/t1\n"),
        (vec![disk_event(1, DiskErrorKind::ReadOnly), full()], Exit::Disk, ""),
        (vec![disk_event(1, DiskErrorKind::Other), full()], Exit::Disk, ""),
    ] {
        let script = Script::new(events, done());
        let (end, got, stdout, _) = play(watch(GET, 2, &sample()), &script, &[], &quiet());
        assert_eq!((end, got, stdout.as_str()), (End::Finished, exit, out));
    }
}

#[test]
fn inputs_that_could_not_be_read_count_as_failures() {
    let script = Script::new(vec![complete_event(1)], done());
    let mut watch = watch(GET, 1, &sample());
    watch.lost.push(Exit::Input);
    let (_, exit, ..) = play(watch, &script, &[], &quiet());
    assert_eq!(exit, Exit::Input);
}

#[test]
fn a_condition_is_told_once() {
    let in_the_way = FileInTheWay { path: "top/a".into(), len: 1, expected_len: 2 };
    let reason = StopReason::FilesInTheWay(vec![in_the_way]);
    let phase = Phase::Stopped(Some(reason));
    let blocked = Event::Phase { torrent: TorrentId(1), phase: phase.clone() };
    let disk = || disk_event(1, DiskErrorKind::Full);
    let stopped =
        Event::Phase { torrent: TorrentId(1), phase: Phase::Stopped(Some(StopReason::Disk)) };
    for (events, message) in [
        (vec![blocked], "swarmloop: error: files in the way hold bytes"),
        (
            vec![disk(), disk(), stopped],
            "swarmloop: error: cannot write \"top/a\": it broke. 39.2% is verified and kept\n",
        ),
    ] {
        let script = Script::new(events, sample());
        // Two torrents, so that the run is not over with the first failure.
        let (_, exit, _, err) = play(watch(GET, 2, &sample()), &script, &[INTERRUPT], &quiet());
        assert_eq!(exit, Exit::Signal(2));
        assert_eq!(err.matches("error:").count(), 0, "a signal comes first: {err}");
        let script = Script::new(script.events.into_inner().into(), sample());
        let (_, exit, _, err) = play(watch(GET, 1, &sample()), &script, &[], &quiet());
        assert_eq!(exit, Exit::Disk);
        assert!(err.starts_with(message), "{err}");
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        assert_eq!(err.matches("hint:").count(), 1, "{err}");
    }
}

#[test]
fn a_signal_before_the_end_says_what_is_kept() {
    for (signal, code) in [(1, 129), (2, 130), (15, 143)] {
        let notice = Notice::Stop(Exit::Signal(signal));
        let script = Script::new(vec![], sample());
        let (end, exit, out, err) = play(watch(GET, 1, &sample()), &script, &[notice], &quiet());
        assert_eq!(end, End::Stopped(Exit::Signal(signal)));
        assert_eq!((exit.code(), out.as_str()), (code, ""));
        assert!(
            err.starts_with("stopped  t1  39.2% (296.1 / 754.0 MiB) verified and kept"),
            "{err}"
        );
    }
}

#[test]
fn nothing_follows_the_last_error() {
    let failed = Snapshot { phase: Phase::Stopped(Some(StopReason::Disk)), ..sample() };
    let lines = crate::cli::args::output::ProgressArg::Lines(Duration::ZERO);
    let args = OutputArgs { progress: lines, ..plain() };
    let script = Script::new(vec![disk_event(1, DiskErrorKind::Full)], failed);
    let (.., err) = play(watch(GET, 1, &sample()), &script, &[], &args);
    assert!(err.ends_with("hint: free some space and run the same command again\n"), "{err}");
    // Given up within a look: there is nothing to draw after it.
    let goal = Goal::Get {
        seeding: None,
        patience: Patience { deadline: Some(Duration::ZERO), ..PATIENT },
    };
    let (.., err) = play(watch(goal, 1, &sample()), &Script::new(vec![], sample()), &[], &args);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.starts_with("swarmloop: error: gave up on 't1'"), "{err}");
}

#[test]
fn what_is_kept_is_what_was_verified_last() {
    let later = Snapshot { have: sample().size / 2, pieces_have: 1508, ..sample() };
    for (events, signals, message) in [
        (vec![], &[INTERRUPT][..], "stopped  t1  50.0% (377.0 / 754.0 MiB) verified and kept"),
        (
            vec![disk_event(1, DiskErrorKind::Full)],
            &[],
            "swarmloop: error: cannot write \"top/a\": it broke. 50.0% is verified and kept\n",
        ),
    ] {
        // The first look is at the sample, every other one at what came later.
        let script = Script { looks: Cell::new(1), ..Script::new(events, later.clone()) };
        let (_, _, _, err) = play(watch(GET, 1, &sample()), &script, signals, &quiet());
        assert!(err.starts_with(message), "{err}");
    }
}

#[test]
fn a_signal_after_the_end_is_a_normal_end() {
    let mut watch = watch(GET_AND_SEED, 1, &done());
    watch.roster.end(0, Outcome::Complete);
    let (end, exit, ..) = play(watch, &Script::new(vec![], done()), &[INTERRUPT], &quiet());
    assert_eq!((end, exit), (End::Stopped(Exit::Signal(2)), Exit::Success));
}

/// The engine has said that it seeds; the next look, which would tell of it, has not come.
#[test]
fn a_signal_to_a_seed_that_has_just_been_found_complete_is_a_normal_end() {
    let watch = watch(Goal::Seed(ENDLESS), 1, &done());
    let (end, exit, ..) = play(watch, &Script::new(vec![], done()), &[INTERRUPT], &quiet());
    assert_eq!((end, exit), (End::Stopped(Exit::Signal(2)), Exit::Success));
}

#[test]
fn keeping_on_seeding_waits_for_a_signal() {
    let script = Script::new(vec![complete_event(1)], done());
    let (end, exit, out, _) = play(watch(GET_AND_SEED, 1, &sample()), &script, &[], &quiet());
    assert_eq!((end, exit), (End::EngineEnded, Exit::Failed));
    assert_eq!(out, "out/t1\n");
    let script = Script::new(vec![disk_event(1, DiskErrorKind::Full)], sample());
    let (end, exit, ..) = play(watch(GET_AND_SEED, 1, &sample()), &script, &[], &quiet());
    assert_eq!((end, exit), (End::Finished, Exit::Disk));
}

#[test]
fn an_engine_that_ends_by_itself_is_a_failure_with_a_message() {
    let script = Script::new(vec![], sample());
    let (end, exit, _, err) = play(watch(GET, 1, &sample()), &script, &[], &quiet());
    assert_eq!((end, exit), (End::EngineEnded, Exit::Failed));
    assert!(err.ends_with("swarmloop: error: the event loop has ended\n"), "{err}");
}

#[test]
fn of_many_unfinished_torrents_most_are_counted() {
    let script = Script::new(vec![], sample());
    let many = u32::try_from(3 * MAX_LOOKS).expect("small");
    let (end, exit, _, err) = play(watch(GET, many, &sample()), &script, &[INTERRUPT], &quiet());
    assert_eq!((end, exit), (End::Stopped(Exit::Signal(2)), Exit::Signal(2)));
    assert_eq!(err.lines().count(), MAX_TORRENT_LINES + 1, "{err}");
    assert!(err.ends_with("stopped  758 more; what is verified of them is kept\n"), "{err}");
}

#[test]
fn a_status_request_prints_a_line_and_goes_on() {
    let script = Script::new(vec![], sample());
    let signals = [Notice::Status, INTERRUPT];
    let (_, exit, _, err) = play(watch(GET, 1, &sample()), &script, &signals, &quiet());
    assert_eq!(exit, Exit::Signal(2));
    assert!(err.contains("Z t1 39.2% 296.1/754.0MiB down="), "{err}");
}

#[test]
fn a_hangup_without_a_terminal_asks_the_trackers_again() {
    let script = Script::new(vec![], sample());
    let signals = [Notice::Renew, Notice::GoOn, INTERRUPT];
    let (end, ..) = play(watch(GET, 1, &sample()), &script, &signals, &quiet());
    assert_eq!(end, End::Stopped(Exit::Signal(2)));
    assert!(script.reannounced.get());
}

#[test]
fn a_seed_says_what_it_has() {
    let partial = Snapshot { phase: Phase::Seeding, ..sample() };
    let nothing = Snapshot { phase: Phase::Seeding, have: 0, ..sample() };
    let checking = Snapshot { phase: Phase::Checking, pieces_checked: 5, have: 0, ..sample() };
    let stopped = Snapshot { phase: Phase::Stopped(None), have: 0, ..sample() };
    let unchecked = Snapshot { pieces_checked: 0, ..stopped.clone() };
    let incomplete = "swarmloop: warning: 't1' is incomplete, 457.9 MiB missing; \
                      seeding the 39.2% there is";
    let absent = "swarmloop: error: none of the data of 't1' is there";
    for (snapshot, exit, text) in [
        (done(), Exit::Success, "seeding  t1  754.0 MiB\n"),
        (partial, Exit::Signal(2), incomplete),
        (nothing, Exit::Input, absent),
        (stopped, Exit::Input, absent),
        (checking, Exit::Signal(2), "stopped  t1"),
        (unchecked, Exit::Signal(2), "stopped  t1"),
    ] {
        let args = OutputArgs { progress: crate::cli::args::output::ProgressArg::Never, ..plain() };
        let script = Script::new(vec![], snapshot.clone());
        let (_, got, _, err) =
            play(watch(Goal::Seed(ENDLESS), 1, &snapshot), &script, &[INTERRUPT], &args);
        assert_eq!(got, exit, "{err}");
        assert!(err.starts_with(text), "{err}");
        assert!(err.matches("t1' is").count() + err.matches("seeding  t1").count() <= 1, "{err}");
    }
}

#[test]
fn time_without_progress_ends_a_download_with_the_cause() {
    let start = Instant::now();
    let after = |s| start + Duration::from_secs(s);
    let waiting = Snapshot { down_rate: 0, unchoked_by: 0, ..sample() };
    let script = Script::new(vec![], waiting.clone());
    let timeout = Some(Duration::from_secs(90));
    let limit = Some(Duration::from_secs(60));
    for (timeout, limit, at, message) in [
        (timeout, None, 89, ""),
        (
            timeout,
            None,
            91,
            "swarmloop: error: gave up on 't1': no progress for 1m31s: \
             30 peers have what is missing, but all choke us. 39.2% is verified and kept\n",
        ),
        (None, limit, 59, ""),
        (
            None,
            limit,
            61,
            "swarmloop: error: gave up on 't1': not complete after 1m01s: \
             30 peers have what is missing, but all choke us. 39.2% is verified and kept\n",
        ),
    ] {
        let goal = Goal::Get {
            seeding: None,
            patience: Patience { timeout, deadline: limit, slow: None },
        };
        let (mut ui, _, err) = recorded(&quiet());
        let mut watch = Watch::new(goal, Vec::new(), start);
        let mut named = metainfo(&[("t1", 1, false)]);
        named.name = "t1".to_owned();
        watch.roster.add(Torrent::new(1, TorrentId(1), &named, None, waiting.clone(), start));
        watch.tick(&script, &mut ui, after(at)).expect("the engine is there");
        assert_eq!(err.text(), message);
        let is_over = watch.end(&ui) == Some(End::Finished);
        assert_eq!(is_over, !message.is_empty());
        if is_over {
            assert_eq!(watch.exit(End::Finished), Exit::GaveUp);
            // It would take from the others otherwise, and count as what it was.
            assert_eq!(script.removed.take(), [TorrentId(1)]);
            watch.tick(&script, &mut ui, after(at + 1)).expect("the engine is there");
            let phase = Event::Phase { torrent: TorrentId(1), phase: Phase::Stopped(None) };
            watch.handle_event(&script, &mut ui, &phase).expect("the engine is there");
            assert_eq!((watch.roster.totals().up_rate, err.text().as_str()), (0, message));
        } else {
            assert!(script.removed.borrow().is_empty());
        }
    }
}

#[test]
fn json_tells_of_every_step_in_order() {
    let id = TorrentId(1);
    let events = vec![
        Event::Phase { torrent: id, phase: Phase::Downloading },
        Event::PieceVerified { torrent: id, piece: PieceIndex(2) },
        Event::PieceVerified { torrent: id, piece: PieceIndex(0) },
        Event::PieceVerified { torrent: id, piece: PieceIndex(1) },
        complete_event(1),
    ];
    let args = OutputArgs {
        json: true,
        progress: crate::cli::args::output::ProgressArg::Never,
        ..plain()
    };
    let (_, _, out, err) = play(watch(GET, 1, &sample()), &Script::new(events, done()), &[], &args);
    let kinds: Vec<&str> =
        out.lines().map(|line| line.split('"').nth(3).expect("a type")).collect();
    assert_eq!(kinds, ["status", "file", "file", "complete", "summary"], "{out}");
    assert!(out.contains("\"index\":1,\"path\":\"top/a\""), "{out}");
    let summary = |ok, interrupted, exit: Exit| {
        let counts = json::Counts { ok, failed: 0, interrupted };
        json::summary(counts, exit) + "\n"
    };
    assert!(out.ends_with(&summary(1, 0, Exit::Success)), "{out}");
    assert_eq!(err, "");

    let script = Script::new(vec![], sample());
    let (_, exit, out, _) = play(watch(GET, 2, &sample()), &script, &[INTERRUPT], &args);
    assert_eq!(out, summary(0, 2, exit));
}

#[test]
fn a_closed_stdout_ends_the_run_in_silence() {
    let (mut ui, err) = crate::cli::ui::tests::without_reader(&quiet());
    let mut watch = watch(GET, 2, &sample());
    let script = Script::new(vec![complete_event(1)], sample());
    let end = watch.run(&script, &Signals::scripted(&[]), &mut ui);
    assert_eq!(end, End::OutputClosed);
    assert_eq!(watch.exit(end), Exit::Failed);
    assert_eq!(err.text(), "");
}

/// A goal that is met by what was uploaded before the run.
fn half() -> SeedGoal {
    SeedGoal { ratio: Ratio::parse("0.5").ok(), ..ENDLESS }
}

fn uploaded() -> Snapshot {
    Snapshot { uploaded: 0, uploaded_total: sample().size / 2, ..done() }
}

#[test]
fn a_download_is_seeded_until_its_goal_is_met() {
    let goal = Goal::Get { seeding: Some(half()), patience: PATIENT };
    let script = Script::new(vec![complete_event(1), complete_event(2)], uploaded());
    // Seeding is looked at by the tick after the event.
    let mut watch = watch(goal, 2, &sample());
    let (mut ui, out, err) = recorded(&quiet());
    for event in [complete_event(1), complete_event(2)] {
        watch.handle_event(&script, &mut ui, &event).expect("the engine is there");
    }
    assert_eq!(watch.end(&ui), None, "they are seeded");
    watch.tick(&script, &mut ui, Instant::now()).expect("the engine is there");
    assert_eq!(watch.end(&ui), Some(End::Finished));
    assert_eq!(*script.removed.borrow(), [TorrentId(1), TorrentId(2)]);
    // What the engine still says of them is of no interest.
    let stopped = Event::Phase { torrent: TorrentId(1), phase: Phase::Stopped(None) };
    watch.handle_event(&script, &mut ui, &stopped).expect("the engine is there");
    assert_eq!(watch.conclude(&mut ui, End::Finished), Exit::Success);
    assert_eq!(out.text(), "out/t1\nout/t2\n");
    assert_eq!(err.text(), "", "it is quiet");
}

#[test]
fn the_end_of_seeding_is_told_with_its_reason() {
    let json = OutputArgs { json: true, ..plain() };
    for (args, told) in [
        (plain(), "seeded  t1  up 377.0 MiB (ratio 0.50) in 0.0s: ratio 0.5 reached"),
        (
            json,
            concat!(
                r#"{"type":"seeded","id":1,"elapsed":0.0,"uploaded":0,"#,
                r#""uploaded_total":395313152,"ratio":0.5,"met":"ratio"}"#
            ),
        ),
    ] {
        let script = Script::new(vec![], uploaded());
        let (end, exit, out, err) =
            play(watch(Goal::Seed(half()), 1, &uploaded()), &script, &[], &args);
        assert_eq!((end, exit), (End::Finished, Exit::Success));
        assert!(out.lines().chain(err.lines()).any(|line| line == told), "{out}{err}");
    }
}

#[test]
fn a_signal_before_the_seed_goal_is_met_is_no_success() {
    let far = SeedGoal { ratio: Ratio::parse("2").ok(), ..ENDLESS };
    for (goal, exit) in [
        (Goal::Seed(far), Exit::Signal(2)),
        (Goal::Seed(ENDLESS), Exit::Success),
        (Goal::Seed(half()), Exit::Success),
    ] {
        let watch = watch(goal, 1, &uploaded());
        let (_, got, _, err) =
            play(watch, &Script::new(vec![], uploaded()), &[INTERRUPT], &quiet());
        assert_eq!(got, exit, "{goal:?}: {err}");
    }
}

#[test]
fn a_deadline_ends_seeding_too_and_is_no_failure() {
    let patience = Patience { deadline: Some(Duration::from_secs(60)), ..PATIENT };
    let goal = Goal::Get { seeding: Some(ENDLESS), patience };
    let script = Script::new(vec![], done());
    let mut watch = watch(goal, 1, &sample());
    let (mut ui, ..) = recorded(&quiet());
    watch.handle_event(&script, &mut ui, &complete_event(1)).expect("the engine is there");
    let start = watch.started;
    for (at, end) in [(59, None), (60, Some(End::Finished))] {
        watch.tick(&script, &mut ui, start + Duration::from_secs(at)).expect("there");
        assert_eq!(watch.end(&ui), end, "after {at} s");
    }
    assert_eq!(watch.conclude(&mut ui, End::Finished), Exit::Success);
}
