//! Bytes to messages and back, without copying payload: where the next bytes land, what goes out
//! next.
//!
//! Knows message framing and nothing of what a message means. Start at [`recv`].

pub mod frame;
pub mod outbox;
pub mod recv;
pub mod scratch;
pub mod send;
pub mod slices;
pub mod tape;
