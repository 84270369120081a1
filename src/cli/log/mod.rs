//! The log of a run (`--log-file`, `--log-level`, `--log-format`): what happened, with the time, in
//! lines for people or programs.
//!
//! The engine knows no log: it tells typed events, and the main thread makes lines of those that
//! the [`Filter`] takes. A thread of its own writes them, so that a disk that hangs holds up
//! neither the engine nor the user. **Invariant:** a log never stops a run; one that takes nothing
//! any more is told of once.

mod filter;
mod line;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

pub(crate) use self::filter::{BadFilter, Filter, Level, Target};
pub(crate) use self::line::{Format, Record};

use super::args::output::LogArgs;
use super::conditions::{Conditions, Key, counted};
use super::exit::Failure;
use super::input::escaped_path;
use super::outlet::{Outlet, Stream};

/// Bytes that may wait for the log's disk: thousands of lines. Beyond it lines are counted and not
/// kept.
const MAX_BACKLOG: usize = 1 << 20;

/// How long the end of a run waits for the log's disk.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Where lines go.
enum To {
    /// To a file, or whatever has its name.
    File { path: PathBuf, stream: Box<dyn Stream> },
    /// To stderr, with everything else that is said there.
    Stderr,
}

/// The log of a run.
pub(crate) struct Log {
    to: To,
    format: Format,
    filter: Filter,
    conditions: Conditions,
    /// Lines that found no room.
    unwritten: u64,
    /// Whether it was told that nothing is taken any more.
    is_given_up: bool,
}

/// What a log has to say to the user instead of the disk.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Said {
    Nothing,
    /// A line for stderr.
    Line(String),
    /// The log has failed: told once, the run goes on without it.
    Failed(String),
}

impl Log {
    /// Opens the log that was asked for; `rust_log` is what that variable says.
    ///
    /// A file is added to. There is none unless a file or a level is named; `RUST_LOG` alone makes
    /// no log, because it is meant for all programs.
    pub(crate) fn open(
        args: &LogArgs,
        is_json: bool,
        rust_log: Option<&str>,
    ) -> Result<Option<Self>, Failure> {
        let file = args.log_file.as_deref().filter(|path| *path != Path::new("-"));
        if args.log_file.is_none() && args.log_level.is_none() {
            return Ok(None);
        }
        let to = match file {
            Some(path) => To::File { path: path.to_owned(), stream: open(path)? },
            None => To::Stderr,
        };
        // Stderr has nothing but JSON on it then.
        let usual = if is_json && file.is_none() { Format::Json } else { Format::Text };
        let format = args.log_format.unwrap_or(usual);
        let filter = args.log_level.or_else(|| rust_log.and_then(Filter::of_rust_log));
        Ok(Some(Self::new(to, format, filter.unwrap_or_default())))
    }

    fn new(to: To, format: Format, filter: Filter) -> Self {
        let conditions = Conditions::default();
        Self { to, format, filter, conditions, unwritten: 0, is_given_up: false }
    }

    /// Tells whether lines go where everything else is said.
    pub(crate) fn is_on_stderr(&self) -> bool {
        matches!(self.to, To::Stderr)
    }

    /// Tells whether a line would be taken, so that nobody makes one in vain.
    pub(crate) fn takes(&self, level: Level, target: Target) -> bool {
        !self.is_given_up && self.filter.takes(level, target)
    }

    /// Adds a line, if it is taken.
    pub(crate) fn add(&mut self, record: &Record<'_>, time: SystemTime) -> Said {
        if !self.takes(record.level, record.target) {
            return Said::Nothing;
        }
        let line = record.line(self.format, time);
        let To::File { path, stream } = &mut self.to else { return Said::Line(line) };
        if stream.backlog() > MAX_BACKLOG {
            self.unwritten += 1;
            return Said::Nothing;
        }
        let mut text = String::new();
        if self.unwritten > 0 {
            let message = format!("{} lines were left out", std::mem::take(&mut self.unwritten));
            let (level, target) = (Level::Warn, Target::Run);
            let lost = Record { level, target, id: None, code: None, message: &message };
            text = lost.line(self.format, time) + "\n";
        }
        text.push_str(&line);
        text.push('\n');
        match stream.write_all(text.as_bytes()) {
            Ok(()) => Said::Nothing,
            Err(error) => {
                self.is_given_up = true;
                Said::Failed(failed_text(path, &error))
            }
        }
    }

    /// Adds a line about what may happen again and again: every now and then, with how often it
    /// was.
    pub(crate) fn add_counted(&mut self, key: Key, record: &Record<'_>, now: Instant) -> Said {
        if !self.takes(record.level, record.target) {
            return Said::Nothing;
        }
        match self.conditions.happened(key, now) {
            Some(times) => {
                let message = counted(record.message, times);
                self.add(&Record { message: &message, ..*record }, SystemTime::now())
            }
            None => Said::Nothing,
        }
    }

    /// Waits a moment until everything is written; tells what was not.
    pub(crate) fn finish(&mut self) -> Said {
        let To::File { path, stream } = &self.to else { return Said::Nothing };
        let is_written = stream.settle(LAST_WAIT);
        let failure = stream.failure();
        match failure {
            _ if std::mem::replace(&mut self.is_given_up, true) => Said::Nothing,
            Some(error) => Said::Failed(failed_text(path, &error)),
            None if is_written && self.unwritten == 0 => Said::Nothing,
            None => Said::Failed(format!(
                "the log '{}' is not whole: its disk is too slow",
                escaped_path(path)
            )),
        }
    }
}

/// Opens a file to add to.
fn open(path: &Path) -> Result<Box<dyn Stream>, Failure> {
    let opened = File::options().append(true).create(true).open(path);
    let stream = opened.and_then(|file| Outlet::new("log", file));
    match stream {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            let failure = Failure::io(&format!("open the log '{}'", escaped_path(path)), &error);
            Err(failure.hint("--log-file names another place; nothing was begun"))
        }
    }
}

fn failed_text(path: &Path, error: &io::Error) -> String {
    format!("cannot write the log '{}': {error}; the run goes on without it", escaped_path(path))
}

#[cfg(test)]
mod tests;
