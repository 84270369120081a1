//! Moving all bytes of a run, however many the system takes at a time.

use std::io::{IoSlice, IoSliceMut};

use rustix::io::Errno;

use crate::disk::layout::Span;

use super::fault::Halt;
use super::to_usize;

/// Writes the first `span.len` bytes of `ranges` and returns what comes after them.
pub(super) fn write_span<'r, 'b>(
    mut ranges: &'r mut [IoSlice<'b>],
    span: Span,
    mut pwritev: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize, Errno>,
) -> Result<&'r mut [IoSlice<'b>], Halt> {
    in_full(span, |offset, left| {
        // All that is left, as a rule: then there is nothing to cut.
        let moved = if ranges.len() <= MAX_IOV && ranges_len(ranges) == left {
            pwritev(ranges, offset)?
        } else {
            pwritev(&head(ranges, left), offset)?
        };
        IoSlice::advance_slices(&mut ranges, moved);
        Ok(moved)
    })?;
    Ok(ranges)
}

/// Fills the first `span.len` bytes of `ranges` and returns what comes after them.
pub(super) fn read_span<'r, 'b>(
    mut ranges: &'r mut [IoSliceMut<'b>],
    span: Span,
    mut preadv: impl FnMut(&mut [IoSliceMut<'_>], u64) -> Result<usize, Errno>,
) -> Result<&'r mut [IoSliceMut<'b>], Halt> {
    in_full(span, |offset, left| {
        // All that is left, as a rule: then there is nothing to cut.
        let moved = if ranges.len() <= MAX_IOV && ranges_len(ranges) == left {
            preadv(ranges, offset)?
        } else {
            preadv(&mut head_mut(ranges, left), offset)?
        };
        IoSliceMut::advance_slices(&mut ranges, moved);
        Ok(moved)
    })?;
    Ok(ranges)
}

/// Repeats `step` until all of `span` has been moved: a call may be interrupted, and it may move
/// less than it was asked for.
pub(super) fn in_full(
    span: Span,
    mut step: impl FnMut(u64, u64) -> Result<usize, Errno>,
) -> Result<(), Halt> {
    let mut done = 0;
    while done < span.len {
        let offset = span.offset + done;
        match step(offset, span.len - done) {
            Ok(0) => return Err(Halt::Nothing { offset }),
            Ok(moved) => done += moved as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Halt::Failed(errno)),
        }
    }
    Ok(())
}

/// Returns the first `limit` bytes of `ranges`, or as much as one call may name.
pub(super) fn head<'a>(ranges: &'a [IoSlice<'_>], limit: u64) -> Vec<IoSlice<'a>> {
    let mut left = to_usize(limit);
    let cut = ranges.iter().take(MAX_IOV).map_while(|range| {
        let taken = range.len().min(left);
        left -= taken;
        (taken > 0).then(|| IoSlice::new(&range[..taken]))
    });
    cut.collect()
}

/// Like [`head`], for reading.
pub(super) fn head_mut<'a>(ranges: &'a mut [IoSliceMut<'_>], limit: u64) -> Vec<IoSliceMut<'a>> {
    let mut left = to_usize(limit);
    let cut = ranges.iter_mut().take(MAX_IOV).map_while(|range| {
        let taken = range.len().min(left);
        left -= taken;
        (taken > 0).then(|| IoSliceMut::new(&mut range[..taken]))
    });
    cut.collect()
}

pub(super) fn ranges_len<R: std::ops::Deref<Target = [u8]>>(ranges: &[R]) -> u64 {
    ranges.iter().map(|range| range.len() as u64).sum()
}

/// Reads what a pad file holds.
pub(super) fn zero(ranges: &mut [IoSliceMut<'_>]) -> usize {
    ranges.iter_mut().map(|range| (range.fill(0), range.len()).1).sum()
}

/// The most byte ranges in one `preadv` or `pwritev`: `IOV_MAX` of Linux. That is 16 MiB of blocks.
pub(super) const MAX_IOV: usize = 1024;
