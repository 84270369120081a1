//! What strace can do here.

use std::process::{Command, Stdio};

use crate::skip::skip;

/// Tells whether it may change what system calls do.
pub(crate) fn has_strace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-qq", "-e", "inject=getpid:error=EPERM", "true"]);
    let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success()) || skip("strace not found or not allowed")
}
