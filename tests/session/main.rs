//! Conversations with a session, as scripts in virtual time: what it says to whom, when, and what
//! becomes of peers that do not play by the rules.

mod blocklist;
#[allow(dead_code, reason = "shared with the fuzzer, which uses another part of it")]
mod common;
mod dht;
mod displace;
mod exchange;
mod extended;
mod handshake;
mod hashed;
mod haves;
mod hostile;
mod limits;
mod lsd;
mod magnet;
mod malformed;
mod measures;
mod metadata_bombs;
mod pex;
mod questions;
mod rates;
mod space;
mod timers;
mod trace;
mod tracker;
mod tracker_bombs;
mod tracker_udp;
mod turnover;
mod uploads;
