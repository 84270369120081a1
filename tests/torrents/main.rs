//! The commands about torrent files, as a shell sees them: `create`, `show`, `magnet`, `verify`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

mod create;
mod show;
mod verify;
