//! What goes over one peer stream as decoded messages, for somebody who looks on.
//!
//! **Invariant:** a tape decides nothing; a peer that has one says and does what it would without.

use crate::id::Block;
use crate::proto::message::Message;

/// What a peer stream carried since it was last looked at, in order. Whoever owns the peer empties
/// it after each read and at the end of each turn, which bounds it.
#[derive(Debug, Default)]
pub struct Tape(Vec<Note>);

/// Something that a peer stream carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// The remote sent this.
    Received(Said),
    /// This was queued to be sent to the remote.
    Sent(Said),
    /// The payload of this block is whole.
    Landed(Block),
}

/// What one side said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// The handshake (BEP 3).
    Handshake,
    /// A message with a fixed layout.
    Message(Message),
    /// A `bitfield` of so many bytes.
    Bitfield(u32),
    /// A `piece`: received, its head; sent, all of it.
    Piece(Block),
    /// An extended message (BEP 10) of so many bytes; its id is the receiver's.
    Extended(u8, u32),
}

impl Tape {
    /// Appends a note.
    pub fn push(&mut self, note: Note) {
        self.0.push(note);
    }

    /// Takes the notes out, in order; the tape keeps its memory.
    pub fn drain(&mut self) -> impl Iterator<Item = Note> + '_ {
        self.0.drain(..)
    }
}
