//! What the command line looks like: every help and every example in it, every command's output for
//! people and for programs, every flag of the contract, and foreign text in all of it.
//!
//! Help and output are compared with the files below `tests/surface/golden`. When they are meant to
//! change, `SWARMLOOP_BLESS=1 cargo test --test surface` writes those anew, and the difference is
//! reviewed like any other.

// Only Linux has all of 127/8 on its loopback without being told.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "../common/port.rs"]
mod port;
#[path = "../common/wait.rs"]
mod wait;

mod flags;
mod golden;
mod help;
mod hostile;
mod output;
mod stage;
