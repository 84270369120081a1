//! Values that flags of several subcommands take.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::cli::after::Words;
use crate::cli::words;

/// Reads a time in which something is to happen: no time at all would end it before it begins.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the time must be longer than nothing".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// The most threads that work on files: more requests than this wait in the queue of a disk as well
/// as here.
const MAX_THREADS: usize = 64;

/// Reads a number of threads.
pub(super) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= MAX_THREADS);
    threads.ok_or_else(|| format!("a number of threads is 1 to {MAX_THREADS}"))
}

/// Reads a program and its arguments, split as a shell splits words.
pub(super) fn words(text: &str) -> Result<Words, String> {
    let words = words::split(text).map_err(|error| error.to_string())?;
    if words.is_empty() { Err("no program is named".to_owned()) } else { Ok(Words(words)) }
}
