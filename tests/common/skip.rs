//! Tests that need what not every machine has.

use std::env;
use std::io::{self, Write as _};

/// Says why a test has nothing to test; fails it where none may be skipped
/// (`SWARMLOOP_REQUIRE_PEERS=1`). Returns false.
pub(crate) fn skip(why: &str) -> bool {
    let line = format!("skipped: {why}");
    assert!(env::var_os("SWARMLOOP_REQUIRE_PEERS").is_none_or(|it| it != "1"), "{line}");
    // Not `eprintln!`, whose output libtest swallows when a test passes.
    let _ = writeln!(io::stderr(), "{line}");
    false
}
