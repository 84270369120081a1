//! What we have asked of one peer: how many requests to keep outstanding, which blocks are
//! expected, when it is snubbed.
//!
//! The depth starts small and grows by one with every block that arrives, so it doubles each round
//! trip, until the rate stops growing; from then on it is three seconds' worth of what the peer
//! delivers (spec-wise free; de facto libtorrent's slow start). A peer that answers nothing for a
//! while is snubbed: its requests go back to the picker, and it is asked for one block at a time
//! until it answers.

use std::collections::VecDeque;

use crate::id::{BLOCK_LEN, Block};
use crate::time::{Duration, Instant};

/// The requests outstanding with one peer.
#[derive(Debug)]
pub struct Pipeline {
    /// Requested and not answered, oldest first. Invariant: at most what `limit` was at its
    /// largest.
    outstanding: VecDeque<Outstanding>,
    /// Requested, given up by us, and perhaps still on its way. Invariant: at most [`MAX_LATE`].
    late: VecDeque<Block>,
    depth: usize,
    limit: usize,
    ramp: Ramp,
    snubbed: bool,
    /// Requests refused in a row without a block between them.
    refusals: usize,
    /// When the peer last did what it was asked for, or was first asked.
    progress_at: Instant,
    min_rtt: Duration,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    block: Block,
    sent_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ramp {
    SlowStart,
    Steady,
}

/// What arrived during the current measuring window.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    bytes: u64,
    /// Bytes a second of the window before.
    last_rate: u64,
}

/// Whether a block that a peer sends was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It is outstanding, and was requested then.
    Expected(Instant),
    /// It had been requested, and was given up since: welcome if it is still missing, and nobody's
    /// fault if not.
    Late,
    /// It was never asked for.
    Unrequested,
}

/// The depth before anything is known of a peer: enough for a round trip of 20 ms at 12 MB/s.
const INITIAL_DEPTH: usize = 16;
/// The least depth that a peer which answers is given.
const MIN_DEPTH: usize = 4;
/// How much of what a peer delivers is kept requested beyond a round trip (libtorrent
/// `request_queue_time`: 3 s). Longer than the second in which Transmission hands out what it
/// sends: with no more than a pulse's worth out, the next pulse could never be larger than the
/// last.
const QUEUE_TIME: Duration = Duration::from_secs(3);
/// The least depth of [`Pipeline::depth_at`]: one is on its way while the other is asked for.
const SLOWEST_DEPTH: u64 = 2;
/// How long the rate is measured before it is compared.
const WINDOW: Duration = Duration::from_millis(500);
/// Given-up blocks that are remembered; older ones count as unrequested.
const MAX_LATE: usize = 512;
/// Refusals in a row after which a remote is not asked again until it unchokes us anew: without a
/// bound, a remote that refuses everything would be asked forever, once a round trip.
const MAX_REFUSALS: usize = 64;

impl Pipeline {
    /// Returns an empty pipeline that never holds more than `limit` requests (what the remote
    /// takes).
    pub const fn new(limit: usize, now: Instant) -> Self {
        Self {
            outstanding: VecDeque::new(),
            late: VecDeque::new(),
            depth: INITIAL_DEPTH,
            limit,
            ramp: Ramp::SlowStart,
            snubbed: false,
            refusals: 0,
            progress_at: now,
            min_rtt: Duration::MAX,
            window: Window { since: now, bytes: 0, last_rate: 0 },
        }
    }

    /// Takes it that the remote takes `limit` requests at a time from now on. What is outstanding
    /// beyond it stays.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns how many blocks to request at first of a remote that takes `limit` at a time.
    pub fn first_room(limit: usize) -> usize {
        INITIAL_DEPTH.min(limit)
    }

    /// Returns how many requests a remote that delivers `bytes_per_s` should have outstanding.
    pub fn depth_at(bytes_per_s: u64) -> usize {
        let bytes = bytes_per_s.saturating_mul(QUEUE_TIME.as_secs());
        let blocks = bytes.div_ceil(u64::from(BLOCK_LEN)).max(SLOWEST_DEPTH);
        usize::try_from(blocks).unwrap_or(usize::MAX)
    }

    /// Returns how many more blocks to request now. Zero while more than three quarters of the
    /// depth are outstanding, so that requests leave in batches.
    pub fn room(&self) -> usize {
        if self.refusals >= MAX_REFUSALS {
            return 0;
        }
        let depth = if self.snubbed { 1 } else { self.depth.min(self.limit) };
        let out = self.outstanding.len();
        let refill_at = if depth < 2 * MIN_DEPTH { depth } else { depth * 3 / 4 + 1 };
        if out < refill_at { depth - out } else { 0 }
    }

    /// Records that `block` was requested.
    pub fn push(&mut self, block: Block, now: Instant) {
        if self.outstanding.is_empty() {
            // Only a pause is left out of the measure: a remote that answers in pulses leaves
            // nothing outstanding after each.
            if now - self.progress_at >= WINDOW {
                self.window = Window { since: now, bytes: 0, last_rate: self.window.last_rate };
            }
            self.progress_at = now;
        }
        self.outstanding.push_back(Outstanding { block, sent_at: now });
    }

    /// Tells whether `block`, whose header just arrived, was asked for.
    pub fn expects(&self, block: Block) -> Arrival {
        if let Some(out) = self.outstanding.iter().find(|out| out.block == block) {
            Arrival::Expected(out.sent_at)
        } else if self.late.contains(&block) {
            Arrival::Late
        } else {
            Arrival::Unrequested
        }
    }

    /// Records that all of `block` has arrived.
    pub fn received(&mut self, block: Block, now: Instant) -> Arrival {
        self.snubbed = false;
        self.refusals = 0;
        self.progress_at = now;
        self.window.bytes += u64::from(block.len);
        let Some(out) = self.take(block) else {
            return if self.forget_late(block) { Arrival::Late } else { Arrival::Unrequested };
        };
        self.min_rtt = self.min_rtt.min(now - out.sent_at);
        if self.ramp == Ramp::SlowStart && self.depth < self.limit {
            self.depth += 1;
        }
        self.measure(now);
        Arrival::Expected(out.sent_at)
    }

    /// Takes `block` out because the remote refuses it (BEP 6) and tells whether it was
    /// outstanding. A late block's refusal is fine too.
    pub fn rejected(&mut self, block: Block) -> Arrival {
        match self.take(block) {
            Some(out) => {
                self.refusals += 1;
                Arrival::Expected(out.sent_at)
            }
            None if self.forget_late(block) => Arrival::Late,
            None => Arrival::Unrequested,
        }
    }

    /// Records that the remote unchoked us: what it refused before it may answer now.
    pub const fn unchoked(&mut self) {
        self.refusals = 0;
    }

    /// Gives up on `block`, because another peer was faster, and tells whether it was outstanding:
    /// a `cancel` is due.
    pub fn cancel(&mut self, block: Block) -> bool {
        let outstanding = self.take(block).is_some();
        if outstanding {
            self.remember_late(block);
        }
        outstanding
    }

    /// Gives up on everything outstanding, because the remote choked us, and appends it to
    /// `released`.
    pub fn give_up_all(&mut self, released: &mut Vec<Block>) {
        while let Some(out) = self.outstanding.pop_front() {
            self.remember_late(out.block);
            released.push(out.block);
        }
        self.ramp = Ramp::SlowStart;
        self.depth = self.depth.min(INITIAL_DEPTH);
    }

    /// Returns when the remote will be snubbed if it does not answer within `timeout`; `None` if
    /// nothing is outstanding.
    pub fn snub_at(&self, timeout: Duration) -> Option<Instant> {
        (!self.outstanding.is_empty()).then(|| self.progress_at + timeout)
    }

    /// Snubs the remote: what is outstanding is given up and appended to `released`.
    pub fn snub(&mut self, released: &mut Vec<Block>) {
        self.give_up_all(released);
        self.snubbed = true;
        self.depth = MIN_DEPTH;
    }

    /// Tells whether the remote has left requests unanswered for so long that little is asked of
    /// it.
    pub const fn is_snubbed(&self) -> bool {
        self.snubbed
    }

    /// Takes it that the remote was not heard until now because we did not listen.
    pub const fn was_kept_waiting(&mut self, now: Instant) {
        self.progress_at = now;
    }

    /// Returns when the remote last did what it was asked for, or was first asked.
    pub const fn progress_at(&self) -> Instant {
        self.progress_at
    }

    /// Tells whether nothing is outstanding and nothing is held against the remote.
    pub fn is_at_rest(&self) -> bool {
        self.outstanding.is_empty() && !self.snubbed && self.refusals == 0
    }

    /// Tells whether something that was given up may still come.
    pub fn expects_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Returns the number of requests outstanding.
    pub fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Tells whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Returns the outstanding blocks, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        self.outstanding.iter().map(|out| out.block)
    }

    /// Ends a measuring window that is over: leaves slow start once the rate has stopped growing,
    /// and after that keeps the depth at what the peer delivers in [`QUEUE_TIME`] and a round trip.
    fn measure(&mut self, now: Instant) {
        let passed = now - self.window.since;
        if passed < WINDOW {
            return;
        }
        let us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = self.window.bytes.saturating_mul(1_000_000) / us;
        if rate <= self.window.last_rate.saturating_add(self.window.last_rate / 10) {
            self.ramp = Ramp::Steady;
        }
        if self.ramp == Ramp::Steady {
            let horizon = QUEUE_TIME + self.min_rtt.min(QUEUE_TIME);
            let ms = u64::try_from(horizon.as_millis()).unwrap_or(u64::MAX);
            let bytes = rate.saturating_mul(ms) / 1_000;
            let blocks = bytes.div_ceil(u64::from(BLOCK_LEN));
            self.depth = usize::try_from(blocks).unwrap_or(usize::MAX).max(MIN_DEPTH);
            self.depth = self.depth.min(self.limit);
        }
        self.window = Window { since: now, bytes: 0, last_rate: rate };
    }

    /// Takes `block` out of what is outstanding.
    fn take(&mut self, block: Block) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(|out| out.block == block)?;
        self.outstanding.remove(at)
    }

    fn remember_late(&mut self, block: Block) {
        if self.late.len() == MAX_LATE {
            self.late.pop_front();
        }
        self.late.push_back(block);
    }

    fn forget_late(&mut self, block: Block) -> bool {
        let at = self.late.iter().position(|late| *late == block);
        at.is_some_and(|at| self.late.remove(at).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PieceIndex;

    fn block(slot: u32) -> Block {
        Block { piece: PieceIndex(slot / 64), begin: slot % 64 * BLOCK_LEN, len: BLOCK_LEN }
    }

    /// Plays a remote that delivers `per_s` blocks a second and answers after `rtt`, for `secs`
    /// seconds.
    fn run(pipeline: &mut Pipeline, per_s: u64, rtt: Duration, secs: u64) {
        let (mut next, mut now) = (0, Instant::ZERO);
        let gap = Duration::from_micros(1_000_000 / per_s);
        let mut free_at = Instant::ZERO;
        let mut line: VecDeque<(Block, Instant)> = VecDeque::new();
        while now < Instant::from_secs(secs) {
            for _ in 0..pipeline.room() {
                pipeline.push(block(next), now);
                free_at = free_at.max(now) + gap;
                line.push_back((block(next), free_at + rtt));
                next += 1;
            }
            let (arrived, at) = line.pop_front().expect("requests are out");
            now = now.max(at);
            assert!(matches!(pipeline.received(arrived, now), Arrival::Expected(_)));
        }
    }

    #[test]
    fn the_depth_settles_at_three_seconds_worth_and_a_round_trip() {
        for (per_s, rtt_ms, low, high) in
            [(50, 50, 145, 170), (20, 200, 58, 80), (10_000, 1, 250, 250)]
        {
            let mut pipeline = Pipeline::new(250, Instant::ZERO);
            run(&mut pipeline, per_s, Duration::from_millis(rtt_ms), 20);
            let depth = pipeline.depth;
            assert!((low..=high).contains(&depth), "{per_s}/s after {rtt_ms} ms: {depth}");
        }
    }

    #[test]
    fn the_depth_grows_with_a_remote_that_answers_in_pulses() {
        // Transmission sends what it has been asked for once a second, all at once.
        let mut pipeline = Pipeline::new(250, Instant::ZERO);
        (pipeline.depth, pipeline.ramp) = (8, Ramp::Steady);
        let mut next = 0;
        for second in 0..20 {
            for _ in 0..pipeline.room() {
                pipeline.push(block(next), Instant::from_secs(second));
                next += 1;
            }
            let asked: Vec<Block> = pipeline.blocks().collect();
            for asked in asked {
                pipeline.received(asked, Instant::from_secs(second + 1));
            }
        }
        assert_eq!(pipeline.depth, 250);
    }

    #[test]
    fn requests_leave_in_batches_and_never_beyond_the_limit() {
        let mut pipeline = Pipeline::new(40, Instant::ZERO);
        pipeline.depth = 1_000;
        assert_eq!(pipeline.room(), 40);
        (0..40).for_each(|slot| pipeline.push(block(slot), Instant::ZERO));
        for slot in 0..9 {
            assert_eq!(pipeline.room(), 0, "after {slot} blocks");
            pipeline.received(block(slot), Instant::ZERO);
        }
        pipeline.received(block(9), Instant::ZERO);
        assert_eq!(pipeline.room(), 10);
    }

    #[test]
    fn a_silent_peer_is_snubbed_and_asked_for_one_block_until_it_answers() {
        let timeout = Duration::from_secs(20);
        let mut pipeline = Pipeline::new(250, Instant::ZERO);
        assert_eq!(pipeline.snub_at(timeout), None);
        pipeline.push(block(0), Instant::from_secs(5));
        pipeline.push(block(1), Instant::from_secs(6));
        assert_eq!(pipeline.snub_at(timeout), Some(Instant::from_secs(25)));
        let mut released = Vec::new();
        pipeline.snub(&mut released);
        assert_eq!(released, [block(0), block(1)]);
        assert!(pipeline.is_snubbed() && pipeline.is_empty());
        assert_eq!(pipeline.room(), 1);
        assert_eq!(pipeline.received(block(1), Instant::from_secs(30)), Arrival::Late);
        assert!(!pipeline.is_snubbed());
        assert_eq!(pipeline.room(), MIN_DEPTH);
    }

    #[test]
    fn what_was_given_up_is_late_once_and_what_was_never_asked_for_is_told() {
        let mut pipeline = Pipeline::new(250, Instant::ZERO);
        pipeline.push(block(0), Instant::ZERO);
        pipeline.push(block(1), Instant::ZERO);
        assert!(pipeline.cancel(block(0)) && !pipeline.cancel(block(0)));
        assert_eq!(pipeline.expects(block(0)), Arrival::Late);
        assert_eq!(pipeline.expects(block(1)), Arrival::Expected(Instant::ZERO));
        assert_eq!(pipeline.expects(block(2)), Arrival::Unrequested);
        assert_eq!(pipeline.rejected(block(0)), Arrival::Late);
        assert_eq!(pipeline.rejected(block(0)), Arrival::Unrequested);
        assert_eq!(pipeline.rejected(block(1)), Arrival::Expected(Instant::ZERO));
    }

    #[test]
    fn a_remote_that_refuses_everything_is_left_alone_until_it_unchokes_us_anew() {
        let mut pipeline = Pipeline::new(250, Instant::ZERO);
        let mut asked = 0;
        while pipeline.room() > 0 {
            pipeline.push(block(asked), Instant::ZERO);
            assert_eq!(pipeline.rejected(block(asked)), Arrival::Expected(Instant::ZERO));
            asked += 1;
        }
        assert_eq!(asked as usize, MAX_REFUSALS);
        pipeline.unchoked();
        assert!(pipeline.room() > 0);
    }

    #[test]
    fn the_memory_of_late_blocks_is_bounded() {
        let mut pipeline = Pipeline::new(10_000, Instant::ZERO);
        let many = u32::try_from(MAX_LATE).expect("small") + 10;
        (0..many).for_each(|slot| pipeline.push(block(slot), Instant::ZERO));
        pipeline.give_up_all(&mut Vec::new());
        assert_eq!(pipeline.late.len(), MAX_LATE);
        assert_eq!(pipeline.expects(block(0)), Arrival::Unrequested);
    }
}
