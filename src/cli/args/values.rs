//! Values that flags of several subcommands take.

use std::time::Duration;

/// Reads what `--timeout` takes: no time at all would end a download before it begins.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the time must be longer than nothing".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}
