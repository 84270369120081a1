//! What becomes of received blocks: compare the hash, and only then write, or write as they come.
//!
//! The one rule for both drivers, which hash by themselves: several jobs at once if there are. Pure
//! but for the `write` that it is lent, which puts the job's frames where they belong.

use super::hash;
use super::job::{Append, Appended, DiskError, Verdict, Verify};

/// Judges a whole piece by the hash of its frames; it is written only if it is right.
///
/// # Errors
/// Those of `write`: nothing is known to be on disk then.
pub fn verify(
    job: &Verify,
    hash: [u8; 20],
    write: impl FnOnce() -> Result<(), DiskError>,
) -> Result<Verdict, DiskError> {
    if hash != job.storage.expected(job.piece) {
        return Ok(Verdict::Corrupt { block_hashes: hash::blocks(&job.frames) });
    }
    write()?;
    let block_hashes = if job.block_hashes { hash::blocks(&job.frames) } else { Vec::new() };
    Ok(Verdict::Good { block_hashes })
}

/// Writes the next run of a piece that is too long to be kept, and judges the piece if it is the
/// last. Returns the SHA-1 of each block of the run as well. The midstate in `job` has seen the
/// run; it travels on in the result, and a fresh one is left in its place.
///
/// # Errors
/// Those of `write`: nobody may claim the piece then.
pub fn append(
    job: &mut Append,
    write: impl FnOnce(&Append) -> Result<(), DiskError>,
) -> Result<(Appended, Vec<[u8; 20]>), DiskError> {
    write(job)?;
    let midstate = std::mem::take(&mut job.midstate);
    let appended = if !job.last {
        Appended::Partial(midstate)
    } else if hash::finish(*midstate) == job.storage.expected(job.piece) {
        Appended::Good
    } else {
        Appended::Corrupt
    };
    Ok((appended, hash::blocks(&job.frames)))
}
