//! swarmloop: a BitTorrent engine on one event loop.

// L0
pub mod bitfield;
pub mod geometry;
pub mod id;
pub mod rng;
pub mod text;
pub mod time;
// L1
pub mod proto;
// L2
pub mod disk;
pub mod rate;
pub mod wire;
// L3
pub mod choker;
pub mod peer;
pub mod picker;
pub mod tracker;
pub mod tracker_server;
// L5
// L4
pub mod torrent;
// L5
pub mod session;
// L6
pub mod reactor;
// L7
pub mod client;
