//! Progress of work on files, which no torrent in the engine stands behind.

use std::time::{Duration, Instant, SystemTime};

use super::{JSON_INTERVAL, Side, Ui, View};
use crate::cli::json;
use crate::cli::progress::bar;
use crate::cli::size::{Size, countdown, eta, percent, permille, rate};

/// How far a piece of work is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    /// What is being done: `hashing`.
    pub(crate) state: &'static str,
    /// What to; safe to print.
    pub(crate) name: &'a str,
    /// Bytes done, and bytes in all.
    pub(crate) have: u64,
    pub(crate) want: u64,
    /// Since when.
    pub(crate) since: Instant,
}

impl Ui {
    /// Shows how far work is; called some times a second, draws as often as the form of progress
    /// asks for. What ends before the first line is due has none.
    pub(crate) fn draw_work(&mut self, work: &Work<'_>, now: Instant) {
        let interval = match &mut self.view {
            View::Nothing => return,
            // As of torrents: what the terminal has no room for is left out.
            View::Redrawn(_) if !Self::has_room(&*self.err) => return,
            View::Redrawn(screen) => {
                screen.show(&[work.line(now)]);
                self.last = Side::Err;
                return;
            }
            View::Json { .. } => JSON_INTERVAL,
            View::Lines { interval, .. } => *interval,
        };
        let last = self.work_shown_at.unwrap_or(work.since).max(work.since);
        if now.saturating_duration_since(last) < interval {
            return;
        }
        self.work_shown_at = Some(now);
        if self.is_json {
            self.write_out(&work.json(now));
        } else {
            self.write_err(&work.plain_line(SystemTime::now(), now));
        }
    }

    /// Prints how far work is now, whatever form progress has (SIGUSR1).
    pub(crate) fn tell_work(&mut self, work: &Work<'_>, now: Instant) {
        let line =
            if self.is_json { work.json(now) } else { work.plain_line(SystemTime::now(), now) };
        self.write_err(&line);
    }
}

impl Work<'_> {
    fn rate(&self, now: Instant) -> Option<u64> {
        rate(self.have, now.saturating_duration_since(self.since))
    }

    fn eta(&self, now: Instant) -> Option<Duration> {
        eta(self.want.saturating_sub(self.have), self.rate(now)?)
    }

    fn json(&self, now: Instant) -> String {
        json::work(self.state, self.name, (self.have, self.want), self.rate(now))
    }

    /// The line that is redrawn in place.
    fn line(&self, now: Instant) -> String {
        format!(
            "{} {:>6} {}  {}  {}/s  eta {}",
            self.state,
            percent(self.have, self.want),
            bar(permille(self.have, self.want)),
            Size::pair(self.have, self.want, " "),
            Size(self.rate(now).unwrap_or(0)),
            self.eta(now).map_or_else(|| "-".to_owned(), countdown)
        )
    }

    /// The line that is printed where nothing can be redrawn.
    fn plain_line(&self, time: SystemTime, now: Instant) -> String {
        format!(
            "{} {} {} {} {} {}/s eta={}",
            humantime::format_rfc3339_seconds(time),
            self.name,
            self.state,
            percent(self.have, self.want),
            Size::pair(self.have, self.want, ""),
            Size(self.rate(now).unwrap_or(0)).compact(),
            self.eta(now).map_or_else(|| "-".to_owned(), countdown)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_and_how_fast() {
        let since = Instant::now();
        let now = since + Duration::from_secs(2);
        let work = Work { state: "hashing", name: "a.iso", have: 3 << 20, want: 12 << 20, since };
        let line = work.line(now);
        assert!(line.starts_with("hashing  25.0% ━━━━━━ "), "{line}");
        assert!(line.ends_with("3.0 / 12.0 MiB  1.5 MiB/s  eta 6s"), "{line}");
        assert_eq!(
            work.plain_line(SystemTime::UNIX_EPOCH, now),
            "1970-01-01T00:00:00Z a.iso hashing 25.0% 3.0/12.0MiB 1.5MiB/s eta=6s"
        );
        assert!(work.line(since).ends_with("0 B/s  eta -"));
    }
}
