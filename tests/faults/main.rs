//! The machine misbehaves beneath the real program: what it says in one line, what it exits with,
//! and that the same command finishes once the machine is mended.
//!
//! Small file systems need root, injected errors need `strace`. A test that lacks one says
//! `skipped: …` and passes; with `SWARMLOOP_REQUIRE_PEERS=1` it fails.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/port.rs"]
mod port;
#[path = "../common/skip.rs"]
mod skip;
#[path = "../common/strace.rs"]
mod strace;
#[path = "../common/wait.rs"]
mod wait;

mod beneath;
mod errors;
mod hung;
mod lock;
mod matrix;
mod space;
mod stage;
mod state;
