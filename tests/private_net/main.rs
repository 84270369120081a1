//! Private networks made of the clients of others and ours: every node is in a network namespace
//! with an address of its own /24 (of a shared one in [`lsd`]), and nothing there has a way to the
//! outside.
//!
//! Namespaces, because half of the clients take nodes of 127/8, or of one /24, for a trick. There
//! is no tracker in these networks: [`dht`] has the DHT as the only way from one client to the
//! other, [`pex`] what they tell each other of their peers, [`lsd`] what they announce to a group.
//!
//! A test whose programs are not here, or that may not make namespaces, says `skipped: ...` and
//! passes; with `SWARMLOOP_REQUIRE_PEERS=1` it fails. The ignored test is a control,
//! with no swarmloop in it (`cargo test --test private_net -- --ignored`).

// Namespaces are Linux's.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "libtest shows a failed test's logs from its stdout")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/clients/mod.rs"]
mod clients;
#[path = "../common/netns.rs"]
mod netns;
#[path = "../common/port.rs"]
mod port;
#[path = "../common/wait.rs"]
mod wait;

mod swarm;

mod dht;
mod lsd;
mod pex;
