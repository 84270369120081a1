//! Which lines go where.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rustix::io::Errno;

use super::*;
use crate::cli::snapshot::sample;

/// What was written to a stream.
#[derive(Clone, Default)]
pub(crate) struct Written(Rc<RefCell<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("text")
    }
}

impl Stream for Written {}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that fails.
struct Broken(Errno);

impl Stream for Broken {}

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

pub(crate) fn plain() -> OutputArgs {
    OutputArgs {
        quiet: false,
        verbose: 0,
        json: false,
        progress: ProgressArg::Auto,
        color: When::Auto,
    }
}

/// A user interface on these streams; no terminal.
fn ui(args: &OutputArgs, out: impl Stream + 'static, err: impl Stream + 'static) -> Ui {
    let around = Surroundings::default();
    let view = View::new(args, &around, || Screen::new(io::sink));
    Ui::new(args, &around, view, Box::new(out), Box::new(err))
}

/// A user interface and what it writes to stdout and stderr; no terminal.
pub(crate) fn recorded(args: &OutputArgs) -> (Ui, Written, Written) {
    let (out, err) = (Written::default(), Written::default());
    (ui(args, out.clone(), err.clone()), out, err)
}

/// Shows all of a few torrents.
fn draw(ui: &mut Ui, rows: &[Row<'_>], now: Instant) {
    ui.draw(&picture(rows), now);
}

fn picture<'a>(rows: &'a [Row<'a>]) -> Picture<'a> {
    let totals = Totals::of(rows.iter().map(|row| row.torrent));
    Picture { shown: rows, looked_at: rows, totals }
}

fn failure() -> Failure {
    Failure::new(Exit::Failed, "code", "it broke").hint("mend it")
}

#[test]
fn people_get_text_and_programs_get_json() {
    let say_all = |ui: &mut Ui| {
        ui.record(|| "{record}".to_owned());
        ui.result("result");
        ui.say("said");
        ui.tell("told");
        ui.detail(1, "detail");
        ui.detail(2, "more detail");
        ui.warning("odd", "it is odd", Some(1));
        ui.count_ok();
        ui.count_failed(&failure(), 2);
        ui.count_interrupted();
        ui.summary(Exit::Failed);
    };
    let error = "swarmloop: error: it broke\nhint: mend it\n";
    let warning = "swarmloop: warning: it is odd\n";
    for (args, out, err) in [
        (plain(), "result\n", format!("said\ntold\n{warning}{error}")),
        (
            OutputArgs { verbose: 1, ..plain() },
            "result\n",
            format!("said\ntold\ndetail\n{warning}{error}"),
        ),
        (OutputArgs { quiet: true, ..plain() }, "result\n", format!("told\n{warning}{error}")),
        (
            OutputArgs { json: true, verbose: 2, ..plain() },
            "{record}\n{\"type\":\"summary\",\"ok\":1,\"failed\":1,\"interrupted\":1,\
             \"exit_code\":1}\n",
            "{\"type\":\"warning\",\"code\":\"odd\",\"message\":\"it is odd\",\"id\":1}\n\
             {\"type\":\"error\",\"code\":\"code\",\"message\":\"it broke\",\"hint\":\"mend it\",\
             \"id\":2}\n"
                .to_owned(),
        ),
    ] {
        let (mut ui, stdout, stderr) = recorded(&args);
        say_all(&mut ui);
        assert_eq!(stdout.text(), out);
        assert_eq!(stderr.text(), err);
    }
}

#[test]
fn the_form_of_progress_follows_flags_and_terminal() {
    let terminal = Surroundings {
        stderr_is_terminal: true,
        term: Some("xterm".to_owned()),
        ..Surroundings::default()
    };
    let dumb = Surroundings { term: Some("dumb".to_owned()), ..terminal.clone() };
    let pipe = Surroundings::default();
    let args = |progress| OutputArgs { progress, ..plain() };
    let json = |progress| OutputArgs { progress, json: true, ..plain() };
    let quiet = OutputArgs { quiet: true, ..args(ProgressArg::Always) };
    let ten = ProgressArg::Lines(Duration::from_secs(10));
    for (args, around, form) in [
        (args(ProgressArg::Auto), &terminal, "redrawn"),
        (args(ProgressArg::Auto), &dumb, "lines 60"),
        (args(ProgressArg::Auto), &pipe, "lines 60"),
        (args(ProgressArg::Always), &pipe, "redrawn"),
        (args(ProgressArg::Never), &terminal, "nothing"),
        (args(ten), &terminal, "lines 10"),
        (json(ProgressArg::Auto), &terminal, "json"),
        (json(ProgressArg::Never), &terminal, "nothing"),
        (quiet, &terminal, "nothing"),
    ] {
        let got = match View::new(&args, around, || Screen::new(io::sink)) {
            View::Redrawn(_) => "redrawn".to_owned(),
            View::Lines { interval, .. } => format!("lines {}", interval.as_secs()),
            View::Json { .. } => "json".to_owned(),
            View::Nothing => "nothing".to_owned(),
        };
        assert_eq!(got, form, "{args:?} {around:?}");
    }
}

#[test]
fn colour_follows_flag_environment_and_terminal() {
    let terminal = Surroundings { stderr_is_terminal: true, ..Surroundings::default() };
    let dumb = Surroundings { term: Some("dumb".to_owned()), ..terminal.clone() };
    let refused = Surroundings { no_color: true, clicolor_force: true, ..terminal.clone() };
    let forced = Surroundings { clicolor_force: true, ..Surroundings::default() };
    let pipe = Surroundings::default();
    for (around, auto) in
        [(&terminal, true), (&dumb, false), (&refused, false), (&forced, true), (&pipe, false)]
    {
        assert_eq!(around.paint(When::Auto).on, auto, "{around:?}");
        assert!(around.paint(When::Always).on);
        assert!(!around.paint(When::Never).on);
    }
}

#[test]
fn plain_lines_come_at_changes_of_state_and_intervals() {
    let (mut ui, _, err) = recorded(&plain());
    let start = Instant::now();
    let moving = sample();
    let choked = Snapshot { down_rate: 0, unchoked_by: 0, ..sample() };
    let seeding = Snapshot { phase: Phase::Seeding, ..sample() };
    for (after_s, torrent, lines) in [
        (0, &moving, 1),
        (1, &moving, 1),
        // The cause of waiting is told, but not in a burst.
        (2, &choked, 1),
        (11, &choked, 2),
        (12, &moving, 2),
        (20, &choked, 2),
        (71, &choked, 3),
        (131, &choked, 4),
        (132, &seeding, 5),
        (133, &seeding, 5),
    ] {
        let row = Row { number: 1, name: "a", torrent, peers: &[] };
        draw(&mut ui, &[row], start + Duration::from_secs(after_s));
        assert_eq!(err.text().lines().count(), lines, "after {after_s} s: {}", err.text());
    }
}

#[test]
fn many_torrents_say_only_their_changes_and_a_sum() {
    let (mut ui, _, err) = recorded(&plain());
    let start = Instant::now();
    let (moving, done) = (sample(), Snapshot { phase: Phase::Seeding, ..sample() });
    let totals = Totals::of(std::iter::repeat_n(&moving, 5_000));
    let row = |number, torrent| Row { number, name: "a", torrent, peers: &[] };
    let shown = [row(1, &moving)];
    let mut seen = 0;
    for (after_s, looked_at, lines) in [
        // A first line each, and the sum.
        (0, vec![row(7, &moving), row(8, &moving)], 3),
        (1, vec![row(7, &moving), row(8, &moving)], 0),
        (2, vec![row(7, &done), row(9, &moving)], 2),
        (60, vec![row(7, &done), row(8, &moving)], 1),
        (61, vec![], 0),
    ] {
        let picture = Picture { shown: &shown, looked_at: &looked_at, totals };
        ui.draw(&picture, start + Duration::from_secs(after_s));
        let said = err.text().lines().count();
        assert_eq!(said - seen, lines, "after {after_s} s: {}", err.text());
        seen = said;
    }
    let text = err.text();
    assert_eq!(text.matches("Z total 39.2% ").count(), 2, "{text}");
    assert!(text.ends_with(" complete=0/5000\n"), "{text}");
}

#[test]
fn verbose_plain_lines_are_followed_by_peers() {
    let peers = [crate::cli::peers::sample()];
    for (verbose, wants, lines) in [(0, false, 1), (1, true, 2)] {
        let (mut ui, _, err) = recorded(&OutputArgs { verbose, ..plain() });
        assert_eq!(ui.wants_peers(), wants);
        let peers = if wants { &peers[..] } else { &[] };
        draw(&mut ui, &[Row { number: 1, name: "a", torrent: &sample(), peers }], Instant::now());
        assert_eq!(err.text().lines().count(), lines, "{}", err.text());
    }
}

#[test]
fn json_progress_comes_once_a_second_and_never_of_stopped_torrents() {
    let (mut ui, out, _) = recorded(&OutputArgs { json: true, ..plain() });
    let start = Instant::now();
    let checking = Snapshot { phase: Phase::Checking, ..sample() };
    let stopped = Snapshot { phase: Phase::Stopped(None), ..sample() };
    let (moving, start_ms) = (sample(), |ms| start + Duration::from_millis(ms));
    let row = |number, torrent| Row { number, name: "a", torrent, peers: &[] };
    let rows = [row(1, &checking), row(2, &moving), row(3, &stopped)];
    for (ms, lines) in [(0, 2), (999, 2), (1_000, 4)] {
        draw(&mut ui, &rows, start_ms(ms));
        assert_eq!(out.text().lines().count(), lines, "after {ms} ms");
    }
    let text = out.text();
    assert!(text.starts_with("{\"type\":\"status\",\"id\":1,\"state\":\"checking\""), "{text}");
    assert!(text.contains("{\"type\":\"progress\",\"id\":2,\"state\":\"downloading\""), "{text}");
}

#[test]
fn a_closed_stdout_is_remembered_in_silence() {
    for (errno, exit, message) in [
        (Errno::PIPE, Exit::Success, ""),
        (
            Errno::NOSPC,
            Exit::Disk,
            "swarmloop: error: cannot write to stdout: No space left on device (os error 28)\n",
        ),
        (
            Errno::IO,
            Exit::Failed,
            "swarmloop: error: cannot write to stdout: Input/output error (os error 5)\n",
        ),
    ] {
        let err = Written::default();
        let mut ui = ui(&plain(), Broken(errno), err.clone());
        assert!(!ui.is_out_closed());
        ui.result("a");
        ui.result("b");
        assert!(ui.is_out_closed());
        assert_eq!(err.text(), message);
        assert_eq!(ui.summary(Exit::Success), exit);
        assert_eq!(ui.summary(Exit::GaveUp), Exit::worst([Exit::GaveUp, exit]));
        assert_eq!(ui.summary(Exit::Signal(2)), Exit::Signal(2), "that says more");
    }
}

/// A stream that has taken more than it could write.
#[derive(Clone, Default)]
struct Stuck {
    written: Written,
    backlog: Rc<Cell<usize>>,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Stuck {
    fn backlog(&self) -> usize {
        self.backlog.get()
    }

    fn settle(&self, _: Duration) -> bool {
        false
    }
}

#[test]
fn lines_that_nobody_takes_are_counted_and_not_kept() {
    let (out, err) = (Stuck::default(), Stuck::default());
    let mut people = ui(&plain(), out.clone(), err.clone());
    people.tell("first");
    err.backlog.set(MAX_BACKLOG + 1);
    for _ in 0..412 {
        people.tell("lost");
    }
    err.backlog.set(0);
    people.tell("last");
    let counted = "swarmloop: warning: 412 lines were not shown: nobody took them\n";
    assert_eq!(err.written.text(), format!("first\n{counted}last\n"));

    // Of what goes to stdout only progress is left out; events and results wait.
    let mut programs = ui(&OutputArgs { json: true, ..plain() }, out.clone(), err);
    out.backlog.set(MAX_BACKLOG + 1);
    let row = [Row { number: 1, name: "a", torrent: &sample(), peers: &[] }];
    draw(&mut programs, &row, Instant::now());
    programs.record(|| "{event}".to_owned());
    assert_eq!(out.written.text(), "{event}\n");
}

#[test]
fn what_happens_again_is_one_line_with_a_count() {
    let start = Instant::now();
    let (mut ui, _, err) = recorded(&OutputArgs { verbose: 1, ..plain() });
    for s in 0..=30 {
        let now = start + Duration::from_secs(s);
        ui.event(1, (1, "tracker_failed", "a".to_owned()), "a: refused", now);
        ui.repeated_warning("sync", "it is slow", 1, now);
        ui.event(2, (1, "closed", String::new()), "not asked for", now);
    }
    let once = "a: refused\nswarmloop: warning: it is slow\n";
    let again = "a: refused (×30)\nswarmloop: warning: it is slow (×30)\n";
    assert_eq!(err.text(), format!("{once}{again}"));
}

#[test]
fn a_closed_stderr_is_no_panic() {
    let mut ui = ui(&plain(), Written::default(), Broken(Errno::PIPE));
    ui.error(&failure(), None);
    ui.status(&picture(&[Row { number: 1, name: "a", torrent: &sample(), peers: &[] }]));
    ui.summary(Exit::Failed);
}

#[test]
fn result_paths_are_escaped() {
    let (mut ui, out, _) = recorded(&plain());
    ui.result_path(Path::new("out/a\x1b[2J\nb"));
    assert_eq!(out.text(), "out/a\\x1b[2J\\x0ab\n");
}

/// A user interface whose stdout nobody reads any more, and what it writes to stderr.
pub(crate) fn without_reader(args: &OutputArgs) -> (Ui, Written) {
    let err = Written::default();
    (ui(args, Broken(Errno::PIPE), err.clone()), err)
}
