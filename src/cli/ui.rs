//! The only file that writes: results to stdout, everything else to stderr, in the form that was
//! asked for.
//!
//! Nothing here fails: a closed stderr loses its text; a closed stdout is remembered, and whoever
//! runs asks for it.

mod logged;
mod work;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use swarmloop::session::io::Phase;

use super::args::output::{LINE_INTERVAL, OutputArgs, ProgressArg, When};
use super::conditions::{Conditions, Key, counted};
use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::json;
use super::lines::LastLines;
use super::log::Log;
use super::outlet::{Outlet, Stream};
use super::peers::PeerView;
use super::progress::{
    MAX_TORRENT_LINES, Paint, overview_lines, plain_line, plain_total_line, torrent_lines,
};
use super::roster::Totals;
use super::screen::Screen;
use super::snapshot::Snapshot;
use super::terminal;

pub(crate) use self::work::Work;

/// Time between two `progress` lines of JSON about a torrent.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// Torrents that are redrawn at a time, however tall the terminal is.
const MAX_ROWS: usize = 50;

/// What is shown of one torrent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// Counted from 1, in the order of the command line.
    pub(crate) number: usize,
    /// Safe to print.
    pub(crate) name: &'a str,
    pub(crate) torrent: &'a Snapshot,
    /// Empty unless [`Ui::wants_peers`].
    pub(crate) peers: &'a [PeerView],
}

/// What there is to show of a run at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'a> {
    /// The busiest torrents, as many as a screen has room for; all of them if they are few.
    pub(crate) shown: &'a [Row<'a>],
    /// The torrents that were looked at just now; all of them if they are few.
    pub(crate) looked_at: &'a [Row<'a>],
    /// All torrents.
    pub(crate) totals: Totals,
}

/// What of the process's surroundings decides how things are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    stderr_is_terminal: bool,
    term: Option<String>,
    no_color: bool,
    clicolor_force: bool,
}

impl Surroundings {
    /// Looks at this process's stderr and environment.
    pub(crate) fn of_process() -> Self {
        // A variable that is set and empty counts as not set (no-color.org).
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            stderr_is_terminal: io::stderr().is_terminal(),
            term: set("TERM").and_then(|term| term.into_string().ok()),
            no_color: set("NO_COLOR").is_some(),
            clicolor_force: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
        }
    }

    fn can_redraw(&self) -> bool {
        self.stderr_is_terminal && self.term.as_deref() != Some("dumb")
    }

    fn paint(&self, when: When) -> Paint {
        let on = match when {
            When::Always => true,
            When::Never => false,
            When::Auto if self.no_color => false,
            When::Auto => self.clicolor_force || self.can_redraw(),
        };
        Paint { on }
    }
}

/// How progress is shown.
#[derive(Debug)]
enum View {
    Redrawn(Screen),
    Lines {
        interval: Duration,
        last: LastLines,
    },
    /// When the last line of each torrent was, by its number.
    Json {
        last: BTreeMap<usize, Instant>,
    },
    Nothing,
}

impl View {
    fn new(args: &OutputArgs, around: &Surroundings, screen: impl FnOnce() -> Screen) -> Self {
        let lines = |interval| Self::Lines { interval, last: LastLines::default() };
        let redrawn = || Self::Redrawn(screen());
        match args.progress {
            _ if args.quiet => Self::Nothing,
            ProgressArg::Never => Self::Nothing,
            _ if args.json => Self::Json { last: BTreeMap::new() },
            ProgressArg::Always => redrawn(),
            ProgressArg::Auto if around.can_redraw() => redrawn(),
            ProgressArg::Auto => lines(LINE_INTERVAL),
            ProgressArg::Lines(interval) => lines(interval),
        }
    }
}

/// Bytes that may wait for stderr: more than a screen of any size. Beyond it lines are counted and
/// not kept.
const MAX_BACKLOG: usize = 256 << 10;

/// How long a line waits for the one before it, on the other stream: both may be the same terminal,
/// and people want to read them in order.
const ORDER_WAIT: Duration = Duration::from_millis(100);

/// The streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Out,
    Err,
}

/// Where everything that is printed goes through.
pub(crate) struct Ui {
    out: Box<dyn Stream>,
    err: Box<dyn Stream>,
    /// What was written to last.
    last: Side,
    view: View,
    paint: Paint,
    is_json: bool,
    is_quiet: bool,
    verbose: u8,
    /// What stdout's failure makes of a success; `None` as long as it takes what it is given.
    out_end: Option<Exit>,
    /// Lines that stderr had no room for.
    unwritten: u64,
    conditions: Conditions,
    /// How torrents ended, for the summary.
    counts: json::Counts,
    /// Whether what was printed is all there is to say, without a summary.
    is_summed_up: bool,
    /// When a line about [`Work`] was printed last.
    work_shown_at: Option<Instant>,
    /// What keeps the lines that were asked for.
    log: Option<Log>,
}

impl Ui {
    /// Prints to this process's streams, and never waits for them but in the end.
    pub(crate) fn on_process(args: &OutputArgs, around: &Surroundings) -> Self {
        let outlets = (Outlet::new("stdout", io::stdout()), Outlet::new("stderr", io::stderr()));
        if let (Ok(out), Ok(err)) = outlets {
            let drawn = err.clone();
            let view = View::new(args, around, || Screen::new(move || drawn.clone()));
            return Self::new(args, around, view, Box::new(out), Box::new(err));
        }
        // A system that has no thread left: then printing may wait.
        let view = View::new(args, around, || Screen::new(io::stderr));
        Self::new(args, around, view, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    fn new(
        args: &OutputArgs,
        around: &Surroundings,
        view: View,
        out: Box<dyn Stream>,
        err: Box<dyn Stream>,
    ) -> Self {
        Self {
            out,
            err,
            last: Side::Err,
            view,
            paint: around.paint(args.color),
            is_json: args.json,
            is_quiet: args.quiet,
            verbose: args.verbose,
            out_end: None,
            unwritten: 0,
            conditions: Conditions::default(),
            counts: json::Counts::default(),
            is_summed_up: false,
            work_shown_at: None,
            log: None,
        }
    }

    /// Returns the colours to make lines with.
    pub(crate) const fn paint(&self) -> Paint {
        self.paint
    }

    /// Tells whether [`Row::peers`] should be filled.
    pub(crate) fn wants_peers(&self) -> bool {
        self.verbose > 0 && matches!(self.view, View::Redrawn(_) | View::Lines { .. })
    }

    /// Tells whether nobody reads stdout any more, or it takes nothing.
    pub(crate) fn is_out_closed(&self) -> bool {
        self.out_end.is_some() || self.out.failure().is_some()
    }

    /// Returns how many torrents can be shown at a time.
    pub(crate) fn max_rows(&self) -> usize {
        match &self.view {
            // Below them are two lines: how many more there are, and the sum.
            View::Redrawn(_) => {
                usize::from(terminal::size().0).saturating_sub(3).clamp(1, MAX_ROWS)
            }
            _ => MAX_TORRENT_LINES,
        }
    }

    /// The program was stopped and goes on: the terminal shows what others have written meanwhile.
    pub(crate) fn go_on(&mut self) {
        if let View::Redrawn(screen) = &mut self.view {
            screen.forget();
        }
    }

    /// Tells why something did not work; `id` is the torrent's number, if it is about one.
    pub(crate) fn error(&mut self, failure: &Failure, id: Option<usize>) {
        self.log_failure(failure, id);
        if self.is_json {
            self.write_err(&json::error(failure, id));
        } else {
            let text = failure.text();
            let painted = self.paint.bad("error:");
            self.write_err(&text.replacen("error:", &painted, 1));
        }
    }

    /// Tells of something odd that does not stop anything; `text` is safe to print.
    pub(crate) fn warning(&mut self, code: &str, text: &str, id: Option<usize>) {
        self.log_warning(code, text, id);
        if self.is_json {
            self.write_err(&json::warning(code, text, id));
        } else {
            let line = format!("swarmloop: {} {text}", self.paint.odd("warning:"));
            self.write_err(&line);
        }
    }

    /// Tells how things went, for people; `-q` hides it.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.is_quiet {
            self.tell(text);
        }
    }

    /// Tells people what they must know even with `-q`.
    pub(crate) fn tell(&mut self, text: &str) {
        if !self.is_json {
            self.write_err(text);
        }
    }

    /// Tells of an event that only people who asked for it want to hear of, unless the same has
    /// been told just now: it is counted then.
    pub(crate) fn event(&mut self, level: u8, key: Key, text: &str, now: Instant) {
        if self.verbose < level || self.is_json {
            return;
        }
        if let Some(times) = self.conditions.happened(key, now) {
            self.write_err(&counted(text, times));
        }
    }

    /// Tells of something odd that may happen again and again.
    pub(crate) fn repeated_warning(
        &mut self,
        code: &'static str,
        text: &str,
        id: usize,
        now: Instant,
    ) {
        if let Some(times) = self.conditions.happened((id, code, String::new()), now) {
            self.warning(code, &counted(text, times), Some(id));
        }
    }

    /// Tells of an event that only people who asked for it (`-v` is level 1) want to hear of.
    pub(crate) fn detail(&mut self, level: u8, text: &str) {
        if self.verbose >= level {
            self.tell(text);
        }
    }

    /// Tells whether JSON was asked for.
    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints a line of JSON to stdout if JSON was asked for.
    pub(crate) fn record(&mut self, line: impl FnOnce() -> String) {
        if self.is_json {
            let line = line();
            self.write_out(&line);
        }
    }

    /// Prints a last line of progress if that was asked for as JSON.
    pub(crate) fn record_progress(&mut self, line: impl FnOnce() -> String) {
        if matches!(self.view, View::Json { .. }) {
            self.record(line);
        }
    }

    /// Prints, if JSON was asked for, the one object that is the whole answer: no summary follows.
    pub(crate) fn sole_record(&mut self, line: impl FnOnce() -> String) {
        self.record(line);
        self.is_summed_up = true;
    }

    /// Prints the path of a finished download to stdout.
    pub(crate) fn result_path(&mut self, path: &Path) {
        self.result(&escaped_path(path));
    }

    /// Prints a result to stdout: data, so also with `-q`; JSON has records of its own for it.
    pub(crate) fn result(&mut self, text: &str) {
        if !self.is_json {
            self.write_out(text);
        }
    }

    /// Writes data to stdout as it is: also with `-q`, and nothing of text or JSON may be beside
    /// it.
    pub(crate) fn result_bytes(&mut self, bytes: &[u8]) {
        self.write_out_bytes(bytes);
    }

    /// Counts a torrent that came through.
    pub(crate) fn count_ok(&mut self) {
        self.counts.ok += 1;
    }

    /// Counts a torrent that did not and tells why.
    pub(crate) fn count_failed(&mut self, failure: &Failure, id: usize) {
        self.counts.failed += 1;
        self.error(failure, Some(id));
    }

    /// Tells why the run as a whole failed; if it came to no torrent, the one that it was for did.
    /// Wrong usage is about none.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        let json::Counts { ok, failed, interrupted } = self.counts;
        let is_first = ok + failed + interrupted == 0;
        self.counts.failed += usize::from(is_first && failure.exit != Exit::Usage);
        self.error(failure, None);
    }

    /// Counts a torrent that neither came through nor failed before the run ended.
    pub(crate) fn count_interrupted(&mut self) {
        self.counts.interrupted += 1;
    }

    /// Shows how a run stands; called some times a second, draws as often as the form of progress
    /// asks for.
    pub(crate) fn draw(&mut self, picture: &Picture<'_>, now: Instant) {
        let verbose = self.verbose > 0;
        let lines = match &mut self.view {
            View::Nothing => return,
            // A picture that the terminal has no room for is left out; the next one says more.
            View::Redrawn(_) if !Self::has_room(&*self.err) => return,
            View::Redrawn(screen) => {
                let mut lines = screen_lines(picture, verbose, self.paint);
                lines.truncate(usize::from(terminal::size().0).saturating_sub(1).max(1));
                screen.show(&lines);
                self.last = Side::Err;
                return;
            }
            // So is progress for a reader who does not read; what happens is told all the same.
            View::Json { .. } if self.out.backlog() > MAX_BACKLOG => return,
            View::Json { last } => {
                for line in json_lines(picture.looked_at, last, now) {
                    self.write_out(&line);
                }
                return;
            }
            View::Lines { interval, last } => last.due(picture, *interval, now),
        };
        for line in lines {
            self.write_err(&line);
        }
    }

    /// Prints how a run stands now, in plain lines, whatever form progress has (SIGUSR1).
    pub(crate) fn status(&mut self, picture: &Picture<'_>) {
        let time = SystemTime::now();
        for row in picture.shown {
            if self.is_json {
                self.write_err(&json::progress(row.number, row.torrent));
            } else {
                self.write_err(&plain_line(time, row.name, row.torrent));
            }
        }
        if picture.totals.torrents > picture.shown.len() && !self.is_json {
            self.write_err(&plain_total_line(time, &picture.totals));
        }
    }

    /// Lets what was said be written before somebody else writes, unless a stream is stuck.
    pub(crate) fn settle(&mut self) {
        if let View::Redrawn(screen) = &mut self.view {
            screen.clear();
        }
        self.err.settle(ORDER_WAIT);
        self.out.settle(ORDER_WAIT);
    }

    /// Takes progress away for good.
    pub(crate) fn end_progress(&mut self) {
        if let View::Redrawn(screen) = &mut self.view {
            screen.clear();
        }
        self.view = View::Nothing;
    }

    /// Prints the last line of JSON, waits until everything is written, and returns what the
    /// process exits with: no success, and nothing less bad, if stdout did not take the results. A
    /// reader that went away is not counted as that; it had enough.
    pub(crate) fn summary(&mut self, exit: Exit) -> Exit {
        self.end_progress();
        self.end_log(exit);
        let counts = self.counts;
        if !self.is_summed_up {
            self.record(|| json::summary(counts, exit));
        }
        self.out.settle(Duration::MAX);
        self.note_out_failure(self.out.failure());
        self.err.settle(Duration::MAX);
        Exit::worst([self.out_end.unwrap_or(Exit::Success), exit])
    }

    /// Writes a line to stderr, above redrawn lines if there are any.
    fn write_err(&mut self, text: &str) {
        if self.err.backlog() > MAX_BACKLOG {
            self.unwritten += 1;
            return;
        }
        self.turn_to(Side::Err);
        if self.unwritten > 0 {
            let unwritten = std::mem::take(&mut self.unwritten);
            let text = format!("{unwritten} lines were not shown: nobody took them");
            self.warning("lines_lost", &text, None);
        }
        if let View::Redrawn(screen) = &self.view {
            screen.print(text);
            return;
        }
        // There is no third stream to tell of a closed stderr.
        let _ = self.err.write_all(format!("{text}\n").as_bytes());
    }

    /// Writes a line to stdout.
    fn write_out(&mut self, text: &str) {
        self.write_out_bytes(format!("{text}\n").as_bytes());
    }

    /// Writes to stdout. Once that failed, nothing is tried again.
    fn write_out_bytes(&mut self, bytes: &[u8]) {
        if self.out_end.is_some() {
            return;
        }
        if let View::Redrawn(screen) = &mut self.view {
            // Both streams may be the same terminal.
            screen.clear();
            self.last = Side::Err;
        }
        self.turn_to(Side::Out);
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        self.note_out_failure(written.err());
    }

    /// Tells once that stdout takes nothing any more, unless its reader has just gone away.
    fn note_out_failure(&mut self, error: Option<io::Error>) {
        let Some(error) = error.filter(|_| self.out_end.is_none()) else { return };
        let failure = Failure::stdout(&error);
        self.out_end = Some(failure.as_ref().map_or(Exit::Success, |failure| failure.exit));
        if let Some(failure) = failure {
            self.error(&failure, None);
        }
    }

    /// Tells whether something may be redrawn: the last picture was taken, the terminal is ours.
    fn has_room(err: &dyn Stream) -> bool {
        err.backlog() == 0 && !terminal::is_in_background()
    }

    /// Lets the other stream's lines come first, unless it is stuck.
    fn turn_to(&mut self, side: Side) {
        if std::mem::replace(&mut self.last, side) != side {
            match side {
                Side::Out => self.err.settle(ORDER_WAIT),
                Side::Err => self.out.settle(ORDER_WAIT),
            };
        }
    }
}

/// Returns the lines that are redrawn in place.
fn screen_lines(picture: &Picture<'_>, verbose: bool, paint: Paint) -> Vec<String> {
    if let ([row], 1) = (picture.shown, picture.totals.torrents) {
        return torrent_lines(row.name, row.torrent, verbose, row.peers, paint);
    }
    let torrents: Vec<_> = picture.shown.iter().map(|row| (row.name, row.torrent)).collect();
    overview_lines(&torrents, &picture.totals, paint)
}

/// Returns the lines of JSON that are due, and remembers them.
fn json_lines(rows: &[Row<'_>], last: &mut BTreeMap<usize, Instant>, now: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let said = last.get(&row.number);
        if said.is_some_and(|said| now.saturating_duration_since(*said) < JSON_INTERVAL) {
            continue;
        }
        last.insert(row.number, now);
        lines.extend(json_progress(row));
    }
    lines
}

/// Returns a torrent's line of JSON; a torrent that is stopped has none.
fn json_progress(row: &Row<'_>) -> Option<String> {
    match row.torrent.phase {
        Phase::Stopped(_) => None,
        Phase::Checking => Some(json::status(row.number, row.torrent)),
        _ => Some(json::progress(row.number, row.torrent)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
