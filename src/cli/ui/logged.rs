//! What goes into the log of a run, beside or instead of what is shown.

use std::time::{Instant, SystemTime};

use super::Ui;
use crate::cli::args::output::LogArgs;
use crate::cli::conditions::Key;
use crate::cli::exit::{Exit, Failure};
use crate::cli::log::{Level, Log, Record, Said, Target};

impl Ui {
    /// Begins the log that was asked for, of a run of this subcommand.
    pub(crate) fn open_log(&mut self, args: &LogArgs, command: &str) -> Result<(), Failure> {
        let rust_log = std::env::var("RUST_LOG").ok();
        self.log = Log::open(args, self.is_json, rust_log.as_deref())?;
        let process = std::process::id();
        self.log(Level::Info, Target::Run, None, || {
            format!("swarmloop {} {command}, process {process}", env!("CARGO_PKG_VERSION"))
        });
        Ok(())
    }

    /// Logs what has happened, if it is to be; foreign text in it must be escaped.
    pub(crate) fn log(
        &mut self,
        level: Level,
        target: Target,
        id: Option<usize>,
        message: impl FnOnce() -> String,
    ) {
        let Some(log) = self.log.as_mut().filter(|log| log.takes(level, target)) else { return };
        let message = message();
        let record = Record { level, target, id, code: None, message: &message };
        let said = log.add(&record, SystemTime::now());
        self.take_said(said);
    }

    /// Logs what may happen again and again: it is counted then. The key begins with the number of
    /// the torrent.
    pub(crate) fn log_counted(&mut self, record: &Record<'_>, key: Key, now: Instant) {
        if let Some(log) = &mut self.log {
            let said = log.add_counted(key, record, now);
            self.take_said(said);
        }
    }

    pub(super) fn log_failure(&mut self, failure: &Failure, id: Option<usize>) {
        let message = match &failure.hint {
            Some(hint) => format!("{} (hint: {hint})", failure.message),
            None => failure.message.clone(),
        };
        self.log_told(Level::Error, failure.code, &message, id);
    }

    pub(super) fn log_warning(&mut self, code: &str, text: &str, id: Option<usize>) {
        self.log_told(Level::Warn, code, text, id);
    }

    /// Logs how the run ends, and ends the log.
    pub(super) fn end_log(&mut self, exit: Exit) {
        let counts = self.counts;
        self.log(Level::Info, Target::Run, None, || {
            format!(
                "ended with exit code {}: {} ok, {} failed, {} interrupted",
                exit.code(),
                counts.ok,
                counts.failed,
                counts.interrupted
            )
        });
        if let Some(log) = &mut self.log {
            let said = log.finish();
            self.take_said(said);
        }
    }

    /// Logs what stderr is told in words of its own; a log that goes there has it already.
    fn log_told(&mut self, level: Level, code: &str, message: &str, id: Option<usize>) {
        let Some(log) = self.log.as_mut().filter(|log| !log.is_on_stderr()) else { return };
        let target = if id.is_some() { Target::Torrent } else { Target::Run };
        let record = Record { level, target, id, code: Some(code), message };
        let said = log.add(&record, SystemTime::now());
        self.take_said(said);
    }

    fn take_said(&mut self, said: Said) {
        match said {
            Said::Nothing => {}
            Said::Line(line) => self.write_err(&line),
            Said::Failed(text) => self.warning("log", &text, None),
        }
    }
}
