//! A line of the log, as text and as JSON: pure functions.

use std::fmt::Write;
use std::time::SystemTime;

use super::filter::{Level, Target};
use crate::cli::json;

/// What is logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) level: Level,
    pub(crate) target: Target,
    /// The torrent's number on the command line, if it is about one.
    pub(crate) id: Option<usize>,
    /// A stable word for programs, if there is one.
    pub(crate) code: Option<&'a str>,
    /// Foreign text in it is escaped.
    pub(crate) message: &'a str,
}

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// `TIME LEVEL target: message`
    Text,
    /// One object a line.
    Json,
}

impl Record<'_> {
    /// Returns the line without its end.
    pub(super) fn line(&self, format: Format, time: SystemTime) -> String {
        match format {
            Format::Text => self.text(time),
            Format::Json => json::log(self, time),
        }
    }

    fn text(&self, time: SystemTime) -> String {
        let (level, target) = (self.level.name().to_ascii_uppercase(), self.target.name());
        let time = humantime::format_rfc3339_millis(time);
        let mut line = format!("{time} {level:<5} {target}");
        if let Some(id) = self.id {
            write!(line, "[{id}]").expect("a string takes everything");
        }
        line.push_str(": ");
        // Whoever made the message has escaped what is foreign in it; whatever slipped through
        // must not make a line of its own.
        for c in self.message.chars() {
            if c.is_control() {
                write!(line, "\\x{:02x}", u32::from(c)).expect("a string takes everything");
            } else {
                line.push(c);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_253_278_123);
        let record = Record {
            level: Level::Warn,
            target: Target::Tracker,
            id: Some(2),
            code: Some("tracker_failed"),
            message: "a.example: no\nway\x1b[2J\u{9b}",
        };
        assert_eq!(
            record.line(Format::Text, time),
            "2026-11-21T09:27:58.123Z WARN  tracker[2]: a.example: no\\x0away\\x1b[2J\\x9b"
        );
        assert_eq!(
            record.line(Format::Json, time),
            "{\"type\":\"log\",\"time\":\"2026-11-21T09:27:58.123Z\",\"level\":\"warn\",\
             \"target\":\"tracker\",\"code\":\"tracker_failed\",\
             \"message\":\"a.example: no\\nway\\u001b[2J\\u009b\",\"id\":2}"
        );
        let bare = Record { id: None, code: None, message: "began", ..record };
        assert!(bare.line(Format::Text, time).ends_with("Z WARN  tracker: began"));
        assert!(bare.line(Format::Json, time).ends_with("\"tracker\",\"message\":\"began\"}"));
    }
}
