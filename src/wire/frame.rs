//! Payload memory: 16 KiB frames, each with one owner at a time, and the credits that bound them.
//!
//! A block's payload is read from the socket into a frame and moves by value from there: receive
//! state, open piece, disk job, back to the pool. **Invariant:** the pool never makes more frames
//! than its credits allow, so the engine's payload memory has one bound, whatever the peers do.
//! Credits are taken *before* bytes are asked for (a whole piece at a time), so pieces that are
//! open can always be finished.

use crate::id::BLOCK_LEN;
use crate::time::Duration;

/// Bytes of a frame.
pub(crate) const FRAME_LEN: usize = BLOCK_LEN as usize;

/// Room for one block: [`BLOCK_LEN`] bytes, of which the first [`Frame::len`] are payload.
///
/// Owned by exactly one place at a time; handing it over is a move. Zeroed once when made, never
/// again.
pub struct Frame {
    bytes: Box<[u8; FRAME_LEN]>,
    len: u32,
}

impl Frame {
    /// Returns a zeroed frame outside any pool, for tests and for tools that need no bound.
    pub fn unpooled() -> Self {
        Self { bytes: Box::new([0; FRAME_LEN]), len: 0 }
    }

    /// Returns an unpooled frame that holds `payload`, at most [`BLOCK_LEN`] bytes.
    #[cfg(test)]
    pub(crate) fn holding(payload: &[u8]) -> Self {
        let mut frame = Self::unpooled();
        frame.set_len(u32::try_from(payload.len()).unwrap());
        frame.payload_mut().copy_from_slice(payload);
        frame
    }

    /// Returns the payload's length in bytes, at most [`BLOCK_LEN`].
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Tells whether the frame holds no payload.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the payload's length; the bytes are whatever the frame held. Panics above
    /// [`BLOCK_LEN`]: a caller's bug.
    pub fn set_len(&mut self, len: u32) {
        assert!(len <= BLOCK_LEN, "a frame holds {BLOCK_LEN} bytes, not {len}");
        self.len = len;
    }

    /// Returns the payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// Changes memory with another frame; the lengths of the payloads stay.
    pub const fn swap_memory(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.bytes, &mut other.bytes);
    }

    /// Returns the payload for writing.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len as usize]
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes)", self.len)
    }
}

/// Returns how many frames, and so blocks, these are.
pub fn count(frames: &[Frame]) -> u32 {
    u32::try_from(frames.len()).unwrap_or(u32::MAX)
}

/// What a credit is for; each share has its own bound, so none can starve another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// Blocks of open pieces; reserved for a whole piece (or a whole window of a large one) when it
    /// is opened.
    Pieces,
    /// Second copies of a block that several peers race for in end game.
    Endgame,
    /// Blocks read from disk and on their way to a peer.
    Uploads,
}

/// The most empty vectors that are kept: as many as jobs may be under way in a busy turn. One that
/// has held the blocks of a 4 MiB piece is 4 KiB of memory.
const MAX_IDLE_ROWS: usize = 128;

/// The pool of frames and the credits of its three [`Share`]s.
#[derive(Debug)]
pub struct FramePool {
    idle: Vec<Frame>,
    /// Empty vectors to put frames into, so that a disk job needs no allocation. Invariant: at most
    /// [`MAX_IDLE_ROWS`].
    rows: Vec<Vec<Frame>>,
    /// Frames that exist, idle or lent. Invariant: at most the sum of all limits.
    made: u32,
    used: [u32; 3],
    limits: [u32; 3],
    /// How much of its limit [`Share::Pieces`] may use now: grows when the peers or the disk need
    /// more under way, shrinks while both keep up. Invariant: at most the limit.
    working: u32,
    /// Blocks of pieces that the disk has in hand.
    in_hand: u32,
}

/// What open pieces have to share at first, in blocks: 12 MiB. What is received, hashed and written
/// is then still in a processor's cache at each step, which all that the pool allows is not.
const MIN_WORKING: u32 = 768;

/// A disk that takes longer than this for what it is given is not helped by a cache, but by a
/// longer queue.
const SLOW: Duration = Duration::from_millis(40);

/// One that takes less than this keeps up.
const FAST: Duration = Duration::from_millis(20);

impl FramePool {
    /// Returns a pool whose frames together hold at most `bytes`, rounded down to frames, at least
    /// 4 frames.
    ///
    /// One sixteenth is for end-game duplicates, one quarter for uploads, the rest for open pieces.
    /// Frames are made on first use: an idle pool costs nothing.
    pub fn new(bytes: u64) -> Self {
        let frames = u32::try_from(bytes / u64::from(BLOCK_LEN)).unwrap_or(u32::MAX).max(4);
        let endgame = (frames / 16).max(1);
        let uploads = (frames / 4).max(1);
        let pieces = frames - endgame - uploads;
        Self {
            idle: Vec::new(),
            rows: Vec::new(),
            made: 0,
            used: [0; 3],
            limits: [pieces, endgame, uploads],
            working: MIN_WORKING.min(pieces),
            in_hand: 0,
        }
    }

    /// Returns how many frames `share` may use in all.
    pub const fn limit(&self, share: Share) -> u32 {
        self.limits[share as usize]
    }

    /// Returns how many frames of `share` are reserved.
    pub const fn used(&self, share: Share) -> u32 {
        self.used[share as usize]
    }

    /// Returns how many more frames of `share` can be reserved now.
    ///
    /// Pieces have to share what has proved to be enough, not at once all of their limit.
    pub const fn free(&self, share: Share) -> u32 {
        let limit = match share {
            Share::Pieces => self.working,
            _ => self.limits[share as usize],
        };
        limit.saturating_sub(self.used(share))
    }

    /// Records that the disk was given `blocks` of a piece to hash and write.
    pub const fn hand_over(&mut self, blocks: u32) {
        self.in_hand += blocks;
    }

    /// Records that the disk is done with `blocks` of a piece, `took` after it was given them.
    pub fn hand_back(&mut self, blocks: u32, took: Duration) {
        let used = self.used(Share::Pieces);
        if took > SLOW {
            self.grow();
        } else if took < FAST && self.in_hand > used / 2 {
            let least = MIN_WORKING.min(self.limit(Share::Pieces));
            self.working = self.working.saturating_sub(blocks).max(least);
        }
        self.in_hand = self.in_hand.saturating_sub(blocks);
    }

    /// Records that a piece could not be opened for want of credit. If most of what is used is
    /// still with the peers, they are what is waited for: it takes more to have enough under way.
    /// Tells whether there is more now.
    pub fn went_short(&mut self) -> bool {
        let before = self.working;
        if self.in_hand <= self.used(Share::Pieces) / 4 {
            self.grow();
        }
        self.working > before
    }

    fn grow(&mut self) {
        self.working = self.working.saturating_mul(2).min(self.limit(Share::Pieces));
    }

    /// Reserves `frames` credits of `share` and tells whether they were there; all or none.
    #[must_use]
    pub const fn reserve(&mut self, share: Share, frames: u32) -> bool {
        let granted = frames <= self.free(share);
        if granted {
            self.used[share as usize] += frames;
        }
        granted
    }

    /// Returns `frames` credits of `share`. Panics if more come back than were reserved: a bug of
    /// ours.
    pub const fn release(&mut self, share: Share, frames: u32) {
        assert!(frames <= self.used[share as usize], "more credits released than reserved");
        self.used[share as usize] -= frames;
    }

    /// Takes a frame of `len` bytes for which the caller holds a credit. Its content is arbitrary.
    ///
    /// Panics if more frames are lent than credits were reserved (a caller took without a credit: a
    /// bug of ours).
    pub fn take(&mut self, len: u32) -> Frame {
        let mut frame = self.idle.pop().unwrap_or_else(|| {
            let limit: u32 = self.limits.iter().sum();
            assert!(self.made < limit, "a frame was taken without a credit");
            self.made += 1;
            Frame::unpooled()
        });
        frame.set_len(len);
        frame
    }

    /// Takes a frame back. Its credit is released separately, by whoever reserved it.
    pub fn give(&mut self, frame: Frame) {
        debug_assert!((self.idle.len() as u64) < u64::from(self.made), "a frame from elsewhere");
        self.idle.push(frame);
    }

    /// Takes several frames back, leaving `frames` empty with its capacity.
    pub fn give_all(&mut self, frames: &mut Vec<Frame>) {
        self.idle.append(frames);
        debug_assert!(self.idle.len() as u64 <= u64::from(self.made), "a frame from elsewhere");
    }

    /// Returns an empty vector for frames that go on together, to a disk job or back from a stream;
    /// it comes back with [`FramePool::give_row`].
    pub fn row(&mut self) -> Vec<Frame> {
        self.rows.pop().unwrap_or_default()
    }

    /// Takes a vector back, and the frames that are still in it.
    pub fn give_row(&mut self, mut row: Vec<Frame>) {
        self.give_all(&mut row);
        if self.rows.len() < MAX_IDLE_ROWS {
            self.rows.push(row);
        }
    }

    /// Returns the frames that exist and those of them that are lent out.
    pub fn usage(&self) -> (u32, u32) {
        let idle = u32::try_from(self.idle.len()).unwrap_or(u32::MAX);
        (self.made, self.made.saturating_sub(idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_granted_whole_or_not_at_all() {
        let mut pool = FramePool::new(16 * u64::from(BLOCK_LEN));
        assert_eq!(pool.limit(Share::Pieces), 11);
        assert!(pool.reserve(Share::Pieces, 8));
        assert!(!pool.reserve(Share::Pieces, 4));
        assert_eq!(pool.free(Share::Pieces), 3);
        assert!(pool.reserve(Share::Uploads, 4), "another share is not touched");
        pool.release(Share::Pieces, 8);
        assert!(pool.reserve(Share::Pieces, 11));
    }

    #[test]
    fn a_frame_that_came_back_is_lent_again() {
        let mut pool = FramePool::new(0);
        assert!(pool.reserve(Share::Endgame, 1));
        let frame = pool.take(100);
        assert_eq!((frame.payload().len(), pool.usage()), (100, (1, 1)));
        pool.give(frame);
        let again = pool.take(BLOCK_LEN);
        assert_eq!((again.len(), pool.usage()), (BLOCK_LEN, (1, 1)));
    }

    #[test]
    fn a_row_comes_back_empty_with_its_capacity() {
        let mut pool = FramePool::new(0);
        assert!(pool.reserve(Share::Uploads, 1));
        let mut row = pool.row();
        row.push(pool.take(1));
        let capacity = row.capacity();
        pool.give_row(row);
        assert_eq!(pool.usage(), (1, 0));
        let again = pool.row();
        assert!(again.is_empty() && again.capacity() == capacity);
        for _ in 0..2 * MAX_IDLE_ROWS {
            pool.give_row(Vec::new());
        }
        assert_eq!(pool.rows.len(), MAX_IDLE_ROWS);
    }

    #[test]
    fn pieces_have_more_to_share_once_peers_or_the_disk_need_more_under_way() {
        let new = || FramePool::new(u64::from(4 * MIN_WORKING) * u64::from(BLOCK_LEN));
        let least = |pool: &FramePool| pool.free(Share::Pieces) == 0;
        let (mut pool, piece) = (new(), 64);
        assert!(pool.reserve(Share::Pieces, MIN_WORKING) && least(&pool));
        pool.hand_over(MIN_WORKING / 2);
        assert!(!pool.went_short());
        assert!(least(&pool), "the disk has half of it: that is what is waited for");
        pool.hand_back(MIN_WORKING / 2, FAST);
        assert!(pool.went_short());
        assert_eq!(pool.free(Share::Pieces), MIN_WORKING, "all is with the peers");
        for _ in 0..9 {
            pool.went_short();
        }
        let all = pool.limit(Share::Pieces);
        assert_eq!(pool.free(Share::Pieces), all - MIN_WORKING, "never more than the limit");
        for _ in 0..all / piece {
            pool.hand_over(MIN_WORKING);
            pool.hand_back(piece, Duration::ZERO);
            pool.in_hand = 0;
        }
        assert!(least(&pool), "a disk that keeps up with little has little");
        pool.hand_over(piece);
        pool.hand_back(piece, 2 * SLOW);
        assert_eq!(pool.free(Share::Pieces), MIN_WORKING, "a slow disk has a longer queue");
        let mut pool = new();
        assert!(!pool.reserve(Share::Pieces, MIN_WORKING + 1), "a piece that is too long for it");
        pool.went_short();
        assert!(pool.reserve(Share::Pieces, MIN_WORKING + 1));
        let small = FramePool::new(16 * u64::from(BLOCK_LEN));
        assert_eq!(small.free(Share::Pieces), small.limit(Share::Pieces));
    }

    #[test]
    #[should_panic(expected = "without a credit")]
    fn the_pool_never_outgrows_its_limit() {
        let mut pool = FramePool::new(0);
        let _held: Vec<Frame> = (0..5).map(|_| pool.take(1)).collect();
    }
}
