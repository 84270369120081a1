//! Values that flags of several subcommands take.

use std::time::Duration;

/// Reads a time in which something is to happen: no time at all would end it before it begins.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the time must be longer than nothing".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}
