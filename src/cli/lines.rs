//! Progress in plain lines, for where nothing can be redrawn: one a torrent at every change of
//! state and every so often; of many torrents, one for all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::json;
use super::progress::{peer_lines, plain_line, plain_total_line};
use super::stall::{Cause, stall};
use super::ui::{Picture, Row};

/// The least time between two lines that differ only in why a torrent waits: causes come and go
/// quickly.
const CAUSE_INTERVAL: Duration = Duration::from_secs(10);

/// What was said last of each torrent that was looked at, and of all.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    /// By the torrent's number.
    torrents: BTreeMap<usize, LastLine>,
    total_at: Option<Instant>,
}

impl LastLines {
    /// Returns the lines that are due at `now`, and remembers them.
    pub(crate) fn due(
        &mut self,
        picture: &Picture<'_>,
        interval: Duration,
        now: Instant,
    ) -> Vec<String> {
        let time = SystemTime::now();
        let mut lines = Vec::new();
        if picture.totals.torrents <= picture.shown.len() {
            for row in picture.shown {
                if self.is_due(row, interval, now) {
                    lines.push(plain_line(time, row.name, row.torrent));
                    lines.extend(peer_lines(row.torrent, row.peers));
                }
            }
            return lines;
        }
        // Each of many says when it does something else; how they get on is said in sum.
        for row in picture.looked_at {
            if self.is_due(row, Duration::MAX, now) {
                lines.push(plain_line(time, row.name, row.torrent));
            }
        }
        if self.total_at.is_none_or(|last| now.saturating_duration_since(last) >= interval) {
            self.total_at = Some(now);
            lines.push(plain_total_line(time, &picture.totals));
        }
        lines
    }

    /// Tells whether a torrent's line is due, and if so notes it as said.
    fn is_due(&mut self, row: &Row<'_>, interval: Duration, now: Instant) -> bool {
        let state = json::state(&row.torrent.phase);
        let cause = stall(row.torrent).map(|stall| stall.cause);
        let this = LastLine { state, cause, at: now };
        match self.torrents.get_mut(&row.number) {
            Some(last) if !last.is_outdated(state, cause, interval, now) => return false,
            Some(last) => *last = this,
            None => drop(self.torrents.insert(row.number, this)),
        }
        true
    }
}

/// What the last plain line of a torrent said, and when.
#[derive(Clone, Copy, Debug)]
struct LastLine {
    state: &'static str,
    cause: Option<Cause>,
    at: Instant,
}

impl LastLine {
    /// Tells whether a new line is due at `now`: the state is another one, the interval has passed,
    /// or the cause of waiting changed a while after the last line.
    fn is_outdated(
        &self,
        state: &str,
        cause: Option<Cause>,
        interval: Duration,
        now: Instant,
    ) -> bool {
        let age = now.saturating_duration_since(self.at);
        self.state != state
            || age >= interval
            || (self.cause != cause && age >= CAUSE_INTERVAL.min(interval))
    }
}
