//! The byte ranges that a driver reads into and writes from.

use std::io::{IoSlice, IoSliceMut};

use crate::wire::scratch::CHAIN_FRAMES;

/// The most byte ranges that one vectored write is given.
pub const MAX_SEND_SLICES: usize = 64;

/// The most byte ranges that one vectored read is given: a payload, and a header and a frame for
/// each link of the chain.
pub const MAX_RECV_SLICES: usize = 1 + 2 * CHAIN_FRAMES;

/// Where the next bytes of a stream are to be put: byte ranges in order, never empty in all.
///
/// The driver reads once into them and reports the count with `recv_advance` before any other call.
#[derive(Debug)]
pub struct RecvSlices<'a> {
    slices: [IoSliceMut<'a>; MAX_RECV_SLICES],
    used: usize,
}

impl<'a> RecvSlices<'a> {
    pub(crate) fn empty() -> Self {
        // Made in its place: a copy of so many ranges would cost as much as all the rest.
        Self { slices: std::array::from_fn(|_| IoSliceMut::new(&mut [])), used: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &'a mut [u8]) {
        if !bytes.is_empty() {
            self.slices[self.used] = IoSliceMut::new(bytes);
            self.used += 1;
        }
    }

    /// Returns the ranges to read into.
    pub fn as_mut_slice(&mut self) -> &mut [IoSliceMut<'a>] {
        &mut self.slices[..self.used]
    }

    /// Returns how many bytes the ranges hold together.
    pub fn total_len(&self) -> usize {
        self.slices[..self.used].iter().map(|slice| slice.len()).sum()
    }
}

/// What a stream sends next: up to [`MAX_SEND_SLICES`] byte ranges in order.
///
/// The driver writes once and reports the count with `send_advance` before any other call.
#[derive(Debug)]
pub struct SendSlices<'a> {
    pub(crate) slices: [IoSlice<'a>; MAX_SEND_SLICES],
    pub(crate) used: usize,
}

impl<'a> SendSlices<'a> {
    pub(crate) fn empty() -> Self {
        Self { slices: [IoSlice::new(&[]); MAX_SEND_SLICES], used: 0 }
    }

    /// Returns the one range `bytes`, or none if it is empty.
    pub(crate) fn one(bytes: &'a [u8]) -> Self {
        let mut out = Self::empty();
        out.push(bytes);
        out
    }

    pub(crate) fn push(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.slices[self.used] = IoSlice::new(bytes);
            self.used += 1;
        }
    }

    /// Returns the ranges to write; empty if there is nothing to send.
    pub fn as_slice(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.used]
    }

    /// Returns how many bytes the ranges hold together.
    pub fn total_len(&self) -> usize {
        self.as_slice().iter().map(|slice| slice.len()).sum()
    }
}
