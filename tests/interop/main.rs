//! swarmloop against the clients and trackers of others, over loopback, and its interval logs
//! against the readers of others; and its torrent files against those that others make and read.
//!
//! Every test runs the real programs: it starts them on addresses of their own, waits for the
//! download and compares it with the source byte for byte. A test whose programs are not here
//! says `skipped: X not found` and passes; with `SWARMLOOP_REQUIRE_PEERS=1` it fails.
//! `.ci/run` installs them all; `clients/tools.rs` says where they are looked for.
//!
//! The ignored tests are controls: the same harness with no swarmloop in it. When one of those
//! fails (`cargo test --test interop -- --ignored`), the harness or the other client is to blame.

// Only Linux has all of 127/8 on its loopback without being told.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "libtest shows a failed test's logs from its stdout")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/clients/mod.rs"]
mod clients;
#[path = "../common/netns.rs"]
mod netns;
#[path = "../common/port.rs"]
mod port;
#[path = "../common/tls.rs"]
mod tls;
#[path = "../common/wait.rs"]
mod wait;

mod site;

mod asking;
mod controls;
mod download;
mod histograms;
mod https;
mod magnet;
mod making;
mod selecting;
mod share;
mod swarm;
mod upload;
