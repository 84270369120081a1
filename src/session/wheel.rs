//! The one timing wheel: who is to be looked at when.
//!
//! Four levels of 64 slots; a slot of the lowest is 2^10 microseconds wide, of each higher one 64
//! times as wide. An entry goes into the level that its distance asks for and moves down when its
//! slot comes up, so inserting is O(1) and an entry moves at most three times. Deadlines beyond the
//! top level (4.7 hours) wait in its last slot and move on from there.
//!
//! **Invariant:** the wheel never fires early, and knows no clock. It is *lazily corrected*: an
//! owner whose deadline has moved later leaves its entry where it is, is woken, sees that nothing
//! is due, and enters itself again.

use std::collections::VecDeque;

use crate::time::Instant;

/// A timing wheel over keys of type `K`.
#[derive(Debug)]
pub struct Wheel<K> {
    levels: [Level<K>; LEVELS],
    /// All ticks before this one have been looked at.
    now_tick: u64,
    /// Entries that came up and are due, in order.
    due: VecDeque<(Instant, K)>,
    /// Memory of slots that came up, for those that are entered next. Invariant: all are empty, and
    /// at most [`MAX_SPARES`].
    spares: Vec<Vec<(Instant, K)>>,
}

/// Slots whose memory is kept: as many as are taken into use between two that come up, so that in
/// the steady state none is allocated, and little is held by a wheel that was fuller once.
const MAX_SPARES: usize = 16;
/// Entries that the memory of a slot that is kept may hold.
const MAX_SPARE_LEN: usize = 128;

#[derive(Debug)]
struct Level<K> {
    slots: [Vec<(Instant, K)>; SLOTS],
    /// Bit `i` is set if slot `i` is not empty.
    occupied: u64,
}

const LEVELS: usize = 4;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// A tick is 2^10 microseconds: as fine as the millisecond that a poll can wait.
const TICK_BITS: u32 = 10;

/// Returns the first tick that does not begin before `at`, so that nothing fires early.
const fn tick_of(at: Instant) -> u64 {
    at.as_micros().div_ceil(1 << TICK_BITS)
}

const fn start_of(tick: u64) -> Instant {
    Instant::from_micros(tick.saturating_mul(1 << TICK_BITS))
}

impl<K> Wheel<K> {
    /// Returns an empty wheel whose time is zero.
    pub fn new() -> Self {
        Self {
            levels: std::array::from_fn(|_| Level::new()),
            now_tick: 0,
            due: VecDeque::new(),
            spares: Vec::new(),
        }
    }

    /// Enters `key` to come up at `at`, at most a tick later; at once if that is past. O(1).
    pub fn insert(&mut self, at: Instant, key: K) {
        let tick = tick_of(at);
        if tick < self.now_tick {
            self.due.push_back((at, key));
            return;
        }
        // A slot is reused every 64 turns of its level, so an entry must be less than that many
        // slots ahead.
        let ahead = |level: usize| (tick >> SHIFTS[level]) - (self.now_tick >> SHIFTS[level]);
        let level = (0..LEVELS).find(|level| ahead(*level) < SLOTS as u64).unwrap_or(LEVELS - 1);
        // Beyond the top level: its furthest slot, from where the entry moves on.
        let top = SHIFTS[LEVELS - 1];
        let tick = if ahead(level) < SLOTS as u64 {
            tick
        } else {
            ((self.now_tick >> top) + SLOTS as u64 - 1) << top
        };
        let slot = slot_of(tick, level);
        let entries = &mut self.levels[level].slots[slot];
        if entries.capacity() == 0
            && let Some(spare) = self.spares.pop()
        {
            *entries = spare;
        }
        entries.push((at, key));
        self.levels[level].occupied |= 1 << slot;
    }

    /// Returns the next time at which [`Wheel::expire`] has something to do; never later than the
    /// first deadline's tick. O(levels).
    pub fn next(&self) -> Option<Instant> {
        if !self.due.is_empty() {
            return Some(start_of(self.now_tick));
        }
        (0..LEVELS).filter_map(|level| self.next_tick(level)).min().map(start_of)
    }

    /// Returns a key that has come up at `now`, with the time for which it was entered; `None` once
    /// there is none.
    pub fn expire(&mut self, now: Instant) -> Option<(Instant, K)> {
        let now_tick = now.as_micros() >> TICK_BITS;
        while self.due.is_empty() && self.now_tick <= now_tick {
            let next = (0..LEVELS).filter_map(|level| self.next_tick(level)).min();
            match next {
                Some(tick) if tick <= now_tick => self.turn_to(tick),
                _ => self.now_tick = now_tick + 1,
            }
        }
        self.due.pop_front()
    }

    /// Returns the tick at which the next occupied slot of `level` begins (level 0: comes up).
    fn next_tick(&self, level: usize) -> Option<u64> {
        let occupied = self.levels[level].occupied;
        if occupied == 0 {
            return None;
        }
        let here = self.now_tick >> SHIFTS[level];
        let ahead = occupied.rotate_right(u32::try_from(here % 64).unwrap_or(0)).trailing_zeros();
        Some(((here + u64::from(ahead)) << SHIFTS[level]).max(self.now_tick))
    }

    /// Moves the wheel to `tick`: slots of higher levels that begin there are spread over the lower
    /// ones, the slot of the lowest level becomes due.
    fn turn_to(&mut self, tick: u64) {
        self.now_tick = tick;
        for level in (1..LEVELS).rev() {
            let slot = slot_of(tick, level);
            if self.levels[level].occupied & 1 << slot != 0 {
                let mut entries = self.levels[level].take(slot);
                for (at, key) in entries.drain(..) {
                    self.insert(at, key);
                }
                self.keep(entries);
            }
        }
        let slot = slot_of(tick, 0);
        let mut entries = self.levels[0].take(slot);
        entries.sort_unstable_by_key(|(at, _)| *at);
        self.due.extend(entries.drain(..));
        self.keep(entries);
        self.now_tick = tick + 1;
    }

    /// Keeps the memory of a slot that came up.
    fn keep(&mut self, entries: Vec<(Instant, K)>) {
        let is_useful = (1..=MAX_SPARE_LEN).contains(&entries.capacity());
        if is_useful && self.spares.len() < MAX_SPARES {
            self.spares.push(entries);
        }
    }
}

impl<K> Default for Wheel<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Level<K> {
    fn new() -> Self {
        Self { slots: std::array::from_fn(|_| Vec::new()), occupied: 0 }
    }

    fn take(&mut self, slot: usize) -> Vec<(Instant, K)> {
        self.occupied &= !(1 << slot);
        std::mem::take(&mut self.slots[slot])
    }
}

/// By how many bits a tick is shifted to count the slots of a level.
const SHIFTS: [u32; LEVELS] = [0, SLOT_BITS, 2 * SLOT_BITS, 3 * SLOT_BITS];

fn slot_of(tick: u64, level: usize) -> usize {
    usize::try_from(tick >> SHIFTS[level] & (SLOTS as u64 - 1)).expect("below 64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::time::Duration;

    #[test]
    fn entries_come_up_in_order_and_never_early() {
        let mut rng = Rng::new(11);
        for round in 0..60 {
            let (mut wheel, mut model) = (Wheel::new(), Vec::new());
            let (mut now, mut fired) = (Instant::ZERO, Vec::new());
            for key in 0..400_u32 {
                let reach = [2_000, 200_000, 20_000_000, 2_000_000_000, 40_000_000_000];
                let reach = reach[rng.below(5)];
                let at = now + Duration::from_micros(rng.below(reach) as u64);
                wheel.insert(at, key);
                model.push((at, key));
                if rng.below(3) == 0 {
                    now += Duration::from_micros(rng.below(3_000_000) as u64);
                    while let Some((at, key)) = wheel.expire(now) {
                        assert!(at <= now, "round {round}: {key} came up early");
                        fired.push((at, key));
                    }
                }
            }
            while let Some(next) = wheel.next() {
                assert!(next >= now || wheel.due.front().is_some(), "time goes forward");
                now = now.max(next);
                while let Some((at, key)) = wheel.expire(now) {
                    assert!(at <= now && now - at <= Duration::from_millis(3_100), "{at:?}");
                    fired.push((at, key));
                }
            }
            model.sort_unstable();
            fired.sort_unstable();
            assert_eq!(fired, model, "round {round}: each comes up once");
        }
    }

    #[test]
    fn waiting_for_next_each_time_is_at_most_a_tick_late() {
        let mut wheel = Wheel::new();
        let mut rng = Rng::new(5);
        for key in 0..1_000 {
            wheel.insert(Instant::from_micros(rng.below(400_000_000) as u64), key);
        }
        let mut count = 0;
        while let Some(now) = wheel.next() {
            while let Some((at, _)) = wheel.expire(now) {
                assert!(at <= now && now - at < Duration::from_micros(1 << TICK_BITS));
                count += 1;
            }
        }
        assert_eq!(count, 1_000);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new();
        wheel.insert(Instant::from_secs(100), 'a');
        let now = Instant::from_secs(50);
        assert_eq!(wheel.expire(now), None);
        wheel.insert(Instant::from_secs(1), 'b');
        assert!(
            wheel.next().is_some_and(|next| next <= now + Duration::from_micros(1 << TICK_BITS))
        );
        assert_eq!(wheel.expire(now), Some((Instant::from_secs(1), 'b')));
        assert_eq!(wheel.expire(now), None);
    }

    #[test]
    fn an_empty_wheel_asks_for_no_wake_up() {
        assert_eq!(Wheel::<()>::new().next(), None);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_is_kept() {
        let mut wheel = Wheel::new();
        let far = Instant::ZERO + Duration::from_secs(3 * 17_180);
        wheel.insert(far, ());
        let mut wakes = 0;
        let fired = loop {
            let now = wheel.next().expect("still in there");
            wakes += 1;
            if let Some((at, ())) = wheel.expire(now) {
                break (at, now);
            }
        };
        assert!(fired.0 == far && fired.1 >= far && wakes < 40, "{fired:?} after {wakes}");
    }
}
