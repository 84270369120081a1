//! Conversations with a node of the DHT in virtual time: what it answers, what it asks, and what it
//! does not let others do to it or through it.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test may panic, and its numbers are small"
)]

mod answers;
mod common;
mod hostile;
mod lookups;
