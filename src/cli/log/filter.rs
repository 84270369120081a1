//! What a log takes: a level for everything, and others for single targets.

use std::fmt;
use std::str::FromStr;

/// How much a line matters; a log takes those of its level and above.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// Something did not work.
    Error,
    /// Something is odd.
    Warn,
    /// What the run and its torrents do.
    Info,
    /// Every answer of a tracker, every peer that comes and goes, every file.
    Debug,
    /// Every piece.
    Trace,
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The run as a whole.
    Run,
    /// A torrent: its phases, files and errors.
    Torrent,
    /// Announces.
    Tracker,
    /// Connections.
    Peer,
    /// Single pieces.
    Piece,
}

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

const TARGETS: [(&str, Target); 5] = [
    ("run", Target::Run),
    ("torrent", Target::Torrent),
    ("tracker", Target::Tracker),
    ("peer", Target::Peer),
    ("piece", Target::Piece),
];

/// What programs that take `RUST_LOG` call the targets of this one.
const CRATE: &str = "swarmloop";

impl Level {
    pub(crate) fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        TARGETS.iter().find(|(_, target)| *target == self).map_or("", |(name, _)| name)
    }
}

/// The level of each target; nothing of one that has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filter([Option<Level>; TARGETS.len()]);

impl Default for Filter {
    /// What a log has unless told otherwise: a few lines a torrent.
    fn default() -> Self {
        Self([Some(Level::Info); TARGETS.len()])
    }
}

/// A part of a filter that says nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadFilter(String);

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is neither a level (off, error, warn, info, debug, trace) nor TARGET=LEVEL \
             (run, torrent, tracker, peer, piece)",
            self.0
        )
    }
}

impl FromStr for Filter {
    type Err = BadFilter;

    /// Reads `info`, or `warn,tracker=debug,peer=off`: the later part wins, and a level alone is
    /// for all that no part names.
    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.map(|part| Part::read(part).ok_or_else(|| BadFilter(part.to_owned())));
        Ok(Self::of(parts.collect::<Result<Vec<_>, _>>()?))
    }
}

impl Filter {
    /// Reads what `RUST_LOG` says of this program; `None` if it says nothing. Other programs read
    /// it, too: what means nothing here is theirs.
    pub(crate) fn of_rust_log(text: &str) -> Option<Self> {
        // Behind a slash is what env_logger searches messages for.
        let parts = text.split('/').next().unwrap_or_default().split(',').map(str::trim);
        let ours = parts.filter_map(|part| match part.strip_prefix(CRATE) {
            Some("") => Some(Part { target: None, level: Some(Level::Trace) }),
            Some(rest) => Part::read(rest.strip_prefix("::").or(rest.strip_prefix('='))?),
            None => Part::read(part).filter(|part| part.target.is_none()),
        });
        let ours: Vec<Part> = ours.collect();
        (!ours.is_empty()).then(|| Self::of(ours))
    }

    /// Tells whether a line is taken.
    pub(crate) fn takes(self, level: Level, target: Target) -> bool {
        self.0[target as usize].is_some_and(|most| level <= most)
    }

    fn of(mut parts: Vec<Part>) -> Self {
        // Stable, so that of two for one target the later wins.
        parts.sort_by_key(|part| part.target.is_some());
        let mut levels = Self::default().0;
        for part in parts {
            match part.target {
                None => levels = [part.level; TARGETS.len()],
                Some(target) => levels[target as usize] = part.level,
            }
        }
        Self(levels)
    }
}

/// A level, for all targets or for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    target: Option<Target>,
    level: Option<Level>,
}

impl Part {
    fn read(text: &str) -> Option<Self> {
        let (target, level) = match text.split_once('=') {
            Some((target, level)) => (Some(named(&TARGETS, target)?), level),
            None => (None, text),
        };
        let level =
            if level.eq_ignore_ascii_case("off") { None } else { Some(named(&LEVELS, level)?) };
        Some(Self { target, level })
    }
}

fn named<T: Copy>(names: &[(&str, T)], text: &str) -> Option<T> {
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    found.map(|(_, named)| *named)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that a filter takes of each target.
    fn most(filter: Filter) -> [&'static str; TARGETS.len()] {
        TARGETS.map(|(_, target)| {
            let taken = LEVELS.iter().filter(|(_, level)| filter.takes(*level, target));
            taken.map(|(name, _)| *name).next_back().unwrap_or("off")
        })
    }

    #[test]
    fn a_filter_has_a_level_for_all_and_for_some() {
        for (text, expected) in [
            ("warn", ["warn"; 5]),
            ("OFF", ["off"; 5]),
            ("tracker=debug", ["info", "info", "debug", "info", "info"]),
            ("tracker=trace, warn ,peer=off", ["warn", "warn", "trace", "off", "warn"]),
            ("peer=debug,peer=error,debug,trace", ["trace", "trace", "trace", "error", "trace"]),
        ] {
            let filter: Filter = text.parse().expect("a filter");
            assert_eq!(most(filter), expected, "{text}");
        }
        for text in ["", "loud", "warn,", "peer", "peers=debug", "peer=", "peer=debug=off"] {
            let error = text.parse::<Filter>().expect_err("no filter").to_string();
            assert!(error.contains("off, error, warn"), "{text}: {error}");
        }
    }

    #[test]
    fn rust_log_counts_as_far_as_it_is_about_this_program() {
        for (text, expected) in [
            ("debug", Some(["debug"; 5])),
            ("swarmloop", Some(["trace"; 5])),
            ("hyper=info,swarmloop=warn", Some(["warn"; 5])),
            ("swarmloop::peer=debug,error", Some(["error", "error", "error", "debug", "error"])),
            ("warn/some text", Some(["warn"; 5])),
            ("hyper=trace", None),
            ("peer=trace", None),
            ("swarmloop::nothing=trace,swarmloopy=debug", None),
            ("", None),
        ] {
            assert_eq!(Filter::of_rust_log(text).map(most), expected, "{text}");
        }
    }
}
