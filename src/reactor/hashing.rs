//! Hashes what is on disk of pieces, several of them side by side.
//!
//! The disk pool checks torrents with it, the command line makes and verifies them. **Invariant:**
//! nothing here knows what a piece should hash to.

use std::array::from_fn;
use std::iter::once;
use std::ops::ControlFlow;

use super::files::Files;
use crate::disk::hash::{self, Midstate};
use crate::disk::job::{DiskError, DiskErrorKind, Storage};
use crate::disk::sha1_lanes::MAX_LANES;
use crate::id::PieceIndex;

/// The most pieces that are hashed side by side.
const LANES: usize = MAX_LANES;

/// Bytes of a piece that are read and hashed at a time: long enough that a call costs nothing
/// beside its copy, short enough that the bytes of all lanes are in a cache when they are hashed.
pub(super) const STEP: u32 = 128 << 10;

/// Returns the SHA-1 of each of `count` pieces from `first` on, as they are on disk; `None` of a
/// piece of which a file is not there or too short. Bytes of pad files (BEP 47) are zeros.
///
/// `buffer` is the calling thread's room, which a next call uses again: some 2 MiB. `step` is told
/// of the bytes of each piece that are done with, read or known to be missing, and may end it: then
/// only the first of the pieces are returned. `unreadable` is told of each piece that could not be
/// read, and counts it as missing or passes the error on.
///
/// # Errors
///
/// What `unreadable` passes on: any but [`DiskErrorKind::Missing`]. Something is in the way, or the
/// system does not let it be read.
pub fn pieces(
    files: &Files,
    storage: &Storage,
    first: PieceIndex,
    count: u32,
    buffer: &mut Vec<u8>,
    mut step: impl FnMut(u64) -> ControlFlow<()>,
    mut unreadable: impl FnMut(PieceIndex, DiskError) -> Result<(), DiskError>,
) -> Result<Vec<Option<[u8; 20]>>, DiskError> {
    buffer.resize(LANES * STEP as usize, 0);
    let mut hashes = Vec::new();
    let mut pieces = (first.0..first.0.saturating_add(count)).map(PieceIndex);
    let mut lanes = Vec::with_capacity(LANES);
    loop {
        let next = pieces.by_ref().take(LANES);
        lanes.extend(next.map(|piece| Lane::new(storage, piece)));
        let Some(longest) = lanes.iter().map(|lane| lane.len).max() else { return Ok(hashes) };
        let mut begin = 0;
        while begin < longest {
            let bytes = hash_step(files, storage, begin, &mut lanes, buffer, &mut unreadable)?;
            if step(bytes).is_break() {
                return Ok(hashes);
            }
            begin += STEP;
        }
        hashes.extend(lanes.drain(..).map(Lane::finish));
    }
}

/// A piece that is being hashed.
#[derive(Debug)]
struct Lane {
    piece: PieceIndex,
    len: u32,
    /// Whether some of it is known not to be there: the rest does not matter any more.
    missing: bool,
    midstate: Midstate,
}

impl Lane {
    fn new(storage: &Storage, piece: PieceIndex) -> Self {
        let len = storage.layout.piece_len(piece);
        Self { piece, len, missing: false, midstate: Midstate::default() }
    }

    fn finish(self) -> Option<[u8; 20]> {
        (!self.missing).then(|| hash::finish(self.midstate))
    }
}

/// Reads the next bytes of each of `lanes`, from `begin` on, and then hashes them side by side.
/// Returns how many of their bytes are done with.
fn hash_step(
    files: &Files,
    storage: &Storage,
    begin: u32,
    lanes: &mut [Lane],
    buffer: &mut [u8],
    unreadable: &mut impl FnMut(PieceIndex, DiskError) -> Result<(), DiskError>,
) -> Result<u64, DiskError> {
    let mut done = 0;
    let mut parts: [&[u8]; LANES] = [&[]; LANES];
    let rooms = buffer.chunks_exact_mut(STEP as usize);
    for ((lane, room), part) in lanes.iter_mut().zip(rooms).zip(&mut parts) {
        let len = lane.len.saturating_sub(begin).min(STEP);
        done += u64::from(len);
        if len == 0 || lane.missing {
            continue;
        }
        let room = &mut room[..len as usize];
        match files.read_into(storage, lane.piece, begin, room) {
            Ok(()) => *part = room,
            Err(error) => {
                if error.kind != DiskErrorKind::Missing {
                    unreadable(lane.piece, error)?;
                }
                lane.missing = true;
            }
        }
    }
    let mut streams: [_; LANES] = from_fn(|at| {
        let midstate = lanes.get(at).map(|lane| lane.midstate.clone());
        (midstate.unwrap_or_default(), once(parts[at]))
    });
    hash::update_each(&mut streams[..lanes.len()]);
    for (lane, (midstate, _)) in lanes.iter_mut().zip(streams) {
        lane.midstate = midstate;
    }
    Ok(done)
}
