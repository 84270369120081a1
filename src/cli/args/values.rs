//! Values that flags of several subcommands take.

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

/// Reads a program and its arguments, split as a shell splits words.
pub(super) fn words(text: &str) -> Result<Words, String> {
    let words = words::split(text).map_err(|error| error.to_string())?;
    if words.is_empty() { Err("no program is named".to_owned()) } else { Ok(Words(words)) }
}
