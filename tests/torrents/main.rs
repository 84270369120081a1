//! The commands about torrent files, as a shell sees them: `create`, `show`, `magnet`,
//! `verify`, `edit`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

mod create;
mod edit;
mod show;
mod verify;
