//! swarmloop: a BitTorrent engine on one event loop.

pub mod bitfield;
pub mod choker;
pub mod disk;
pub mod geometry;
pub mod id;
pub mod peer;
pub mod picker;
pub mod proto;
pub mod rate;
pub mod rng;
pub mod text;
pub mod time;
pub mod tracker;
pub mod tracker_server;
pub mod wire;
