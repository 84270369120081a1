//! Processes that do not outlive their test.

use std::process::Child;

/// A process that is killed when this is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Neither does anything to one that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
