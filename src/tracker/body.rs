//! The body of a response, put together from whatever portions it comes in (RFC 9112 6, 7.1).
//!
//! Decides where the body ends and that it stays small. Nothing is allocated from a length in the
//! input: the buffer grows with the bytes that came.

use super::TrackerError;
use crate::proto::http::{Framing, HttpError, MAX_CHUNK_LINE, parse_chunk_line};

/// A body that is being received.
#[derive(Debug)]
pub(super) struct Body {
    /// Invariant: at most [`Body::limit`].
    bytes: Vec<u8>,
    limit: usize,
    state: State,
}

/// What comes next.
#[derive(Debug)]
enum State {
    /// So many bytes, and then the end.
    Length(usize),
    /// Bytes until the stream ends.
    UntilEnd,
    /// The line with a chunk's size; what has come of it, at most [`MAX_CHUNK_LINE`] bytes.
    ChunkLine(Vec<u8>),
    /// So many bytes of a chunk, at least one.
    Chunk(usize),
    /// The rest of the CRLF behind a chunk.
    ChunkEnd(&'static [u8]),
    /// Nothing; what comes is ignored. Trailers are: the connection is closed after this response.
    Complete,
}

impl Body {
    /// Returns an empty body of at most `limit` bytes that ends as `framing` says.
    ///
    /// # Errors
    /// [`TrackerError::TooLarge`] if the head promises too much.
    pub(super) fn new(framing: Framing, limit: usize) -> Result<Self, TrackerError> {
        let mut body = Self { bytes: Vec::new(), limit, state: State::UntilEnd };
        body.state = match framing {
            Framing::Length(0) => State::Complete,
            Framing::Length(len) => State::Length(body.room_for(len)?),
            Framing::Chunked => State::ChunkLine(Vec::new()),
            Framing::UntilEnd => State::UntilEnd,
        };
        Ok(body)
    }

    /// Takes the stream's next bytes; all of them, the portions do not matter.
    ///
    /// # Errors
    /// [`TrackerError::TooLarge`] or [`HttpError::BadChunk`]: the tracker's fault.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TrackerError> {
        while !bytes.is_empty() && !self.is_complete() {
            let used = self.step(bytes)?;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Takes the end of the stream.
    ///
    /// # Errors
    /// [`HttpError::EndInBody`] if the body had to go on.
    pub(super) fn end(&mut self) -> Result<(), TrackerError> {
        match self.state {
            State::UntilEnd | State::Complete => {
                self.state = State::Complete;
                Ok(())
            }
            _ => Err(HttpError::EndInBody.into()),
        }
    }

    /// Returns whether nothing more is wanted.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Returns what has come.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes some of `bytes`, which are not empty, and returns how many; at least one.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, TrackerError> {
        match &mut self.state {
            State::Length(left) | State::Chunk(left) => {
                let used = bytes.len().min(*left);
                *left -= used;
                let ended = *left == 0;
                self.bytes.extend_from_slice(&bytes[..used]);
                match self.state {
                    State::Chunk(_) if ended => self.state = State::ChunkEnd(b"\r\n"),
                    _ if ended => self.state = State::Complete,
                    _ => {}
                }
                Ok(used)
            }
            State::UntilEnd => {
                self.room_for(bytes.len())?;
                self.bytes.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            State::ChunkLine(line) => {
                let before = line.len();
                let taken = bytes.len().min(MAX_CHUNK_LINE - before);
                line.extend_from_slice(&bytes[..taken]);
                let Some((end, size)) = parse_chunk_line(line)? else { return Ok(taken) };
                self.state = match self.room_for(size)? {
                    0 => State::Complete,
                    size => State::Chunk(size),
                };
                Ok(end - before)
            }
            State::ChunkEnd(expected) => {
                if bytes[0] != expected[0] {
                    return Err(HttpError::BadChunk.into());
                }
                let rest = &expected[1..];
                self.state = match rest {
                    [] => State::ChunkLine(Vec::new()),
                    _ => State::ChunkEnd(rest),
                };
                Ok(1)
            }
            State::Complete => Ok(bytes.len()),
        }
    }

    /// Returns `more` if so many bytes still fit.
    fn room_for(&self, more: impl TryInto<usize>) -> Result<usize, TrackerError> {
        let room = self.limit - self.bytes.len();
        let fits = more.try_into().ok().filter(|&more| more <= room);
        fits.ok_or(TrackerError::TooLarge { limit: self.limit })
    }
}
