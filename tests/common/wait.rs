//! Waiting for other programs, whose progress has no handle to wait on.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks: less would take the processor from those that are waited for, and a look
/// may be a connection, of which aria2 takes a few a second and lets our own wait behind the rest.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Asks until `condition` holds (true), or `patience` is over (false).
pub(crate) fn eventually(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        #[allow(clippy::disallowed_methods, reason = "waits for another program, not in the loop")]
        thread::sleep(LOOK_INTERVAL);
    }
}
