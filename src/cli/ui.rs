//! The only file that writes: results to stdout, everything else to stderr, in the form that was
//! asked for.
//!
//! Nothing here fails: a closed stderr loses its text; a closed stdout is remembered, and whoever
//! runs asks for it.

mod work;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use swarmloop::session::io::Phase;

use super::args::output::{LINE_INTERVAL, OutputArgs, ProgressArg, When};
use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::json;
use super::lines::LastLines;
use super::peers::PeerView;
use super::progress::{Paint, overview_lines, plain_line, plain_total_line, torrent_lines};
use super::roster::Totals;
use super::screen::Screen;
use super::snapshot::Snapshot;

pub(crate) use self::work::Work;

/// Time between two `progress` lines of JSON.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

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
    Lines { interval: Duration, last: LastLines },
    Json { last: Option<Instant> },
    Nothing,
}

impl View {
    fn new(args: &OutputArgs, around: &Surroundings) -> Self {
        let lines = |interval| Self::Lines { interval, last: LastLines::default() };
        let redrawn = || Self::Redrawn(Screen::on_stderr(around.stderr_is_terminal));
        match args.progress {
            _ if args.quiet => Self::Nothing,
            ProgressArg::Never => Self::Nothing,
            _ if args.json => Self::Json { last: None },
            ProgressArg::Always => redrawn(),
            ProgressArg::Auto if around.can_redraw() => redrawn(),
            ProgressArg::Auto => lines(LINE_INTERVAL),
            ProgressArg::Lines(interval) => lines(interval),
        }
    }
}

/// Where everything that is printed goes through.
pub(crate) struct Ui {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    view: View,
    paint: Paint,
    is_json: bool,
    is_quiet: bool,
    verbose: u8,
    out_error: Option<io::ErrorKind>,
    /// How torrents ended, for the summary.
    counts: json::Counts,
    /// Whether what was printed is all there is to say, without a summary.
    is_summed_up: bool,
    /// When a line about [`Work`] was printed last.
    work_shown_at: Option<Instant>,
}

impl Ui {
    /// Prints to this process's streams.
    pub(crate) fn on_process(args: &OutputArgs, around: &Surroundings) -> Self {
        Self::new(args, around, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    fn new(
        args: &OutputArgs,
        around: &Surroundings,
        out: Box<dyn Write>,
        err: Box<dyn Write>,
    ) -> Self {
        Self {
            out,
            err,
            view: View::new(args, around),
            paint: around.paint(args.color),
            is_json: args.json,
            is_quiet: args.quiet,
            verbose: args.verbose,
            out_error: None,
            counts: json::Counts::default(),
            is_summed_up: false,
            work_shown_at: None,
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
    pub(crate) const fn is_out_closed(&self) -> bool {
        self.out_error.is_some()
    }

    /// Tells why something did not work; `id` is the torrent's number, if it is about one.
    pub(crate) fn error(&mut self, failure: &Failure, id: Option<usize>) {
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

    /// Counts a torrent that came through.
    pub(crate) fn count_ok(&mut self) {
        self.counts.ok += 1;
    }

    /// Counts a torrent that did not and tells why.
    pub(crate) fn count_failed(&mut self, failure: &Failure, id: usize) {
        self.counts.failed += 1;
        self.error(failure, Some(id));
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
            View::Redrawn(screen) => {
                screen.show(&screen_lines(picture, verbose, self.paint));
                return;
            }
            View::Json { last } => {
                if last.is_some_and(|last| now.saturating_duration_since(last) < JSON_INTERVAL) {
                    return;
                }
                *last = Some(now);
                for line in picture.looked_at.iter().filter_map(json_progress).collect::<Vec<_>>() {
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

    /// Takes progress away for good.
    pub(crate) fn end_progress(&mut self) {
        if let View::Redrawn(screen) = &mut self.view {
            screen.clear();
        }
        self.view = View::Nothing;
    }

    /// Prints the last line of JSON and returns what the process exits with: no success if stdout
    /// did not take the results. A reader that went away is not counted as that; it had enough.
    pub(crate) fn summary(&mut self, exit: Exit) -> Exit {
        self.end_progress();
        let counts = self.counts;
        if !self.is_summed_up {
            self.record(|| json::summary(counts, exit));
        }
        match self.out_error {
            Some(kind) if kind != io::ErrorKind::BrokenPipe && exit == Exit::Success => {
                Exit::Failed
            }
            _ => exit,
        }
    }

    /// Writes a line to stderr, above redrawn lines if there are any.
    fn write_err(&mut self, text: &str) {
        if let View::Redrawn(screen) = &self.view {
            screen.print(text);
            return;
        }
        // There is no third stream to tell of a closed stderr.
        let _ = self.err.write_all(format!("{text}\n").as_bytes());
    }

    /// Writes a line to stdout. Once that failed, nothing is tried again.
    fn write_out(&mut self, text: &str) {
        if self.out_error.is_some() {
            return;
        }
        if let View::Redrawn(screen) = &mut self.view {
            // Both streams may be the same terminal.
            screen.clear();
        }
        let line = format!("{text}\n");
        if let Err(error) = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush()) {
            self.out_error = Some(error.kind());
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.error(&Failure::io("write to stdout", &error), None);
            }
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
