//! Stub.

pub mod clock;
pub mod files;
pub mod limits;
pub mod net;
pub mod resolver;
pub mod workers;
