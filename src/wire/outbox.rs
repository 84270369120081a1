//! Datagrams that wait to be sent: end to end in one buffer, which keeps its memory.
//!
//! **Invariant:** what waits is bounded; when there is no room a datagram is lost, as any may be on
//! its way, and whoever sent it has a timer. Nothing here knows what a datagram says or, but as a
//! value, where it goes.

use std::collections::VecDeque;

/// Datagrams that wait, each with where it goes.
#[derive(Debug)]
pub struct Outbox<R> {
    /// What waits, end to end.
    bytes: Vec<u8>,
    /// Where each goes, and where it ends in `bytes`.
    waiting: VecDeque<(R, usize)>,
    /// Up to where `bytes` were taken.
    taken: usize,
    max_len: usize,
}

impl<R> Outbox<R> {
    /// Returns an empty one that takes no more once `max_len` bytes have been put into it since it
    /// was last empty.
    pub const fn new(max_len: usize) -> Self {
        Self { bytes: Vec::new(), waiting: VecDeque::new(), taken: 0, max_len }
    }

    /// Appends what `write` writes, if it is anything, as a datagram for `to`; does not call it if
    /// there is no room. Returns the bytes of the datagram.
    pub fn push(&mut self, to: R, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self.bytes.len() >= self.max_len {
            return 0;
        }
        let start = self.bytes.len();
        write(&mut self.bytes);
        let len = self.bytes.len() - start;
        if len > 0 {
            self.waiting.push_back((to, self.bytes.len()));
        }
        len
    }

    /// Takes the datagram that has waited longest; its bytes are lent until the next call.
    pub fn poll(&mut self) -> Option<(R, &[u8])> {
        let Some((to, end)) = self.waiting.pop_front() else {
            self.bytes.clear();
            self.taken = 0;
            return None;
        };
        let datagram = self.taken..end;
        self.taken = end;
        Some((to, &self.bytes[datagram]))
    }

    /// Tells whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_and_no_more_than_there_is_room_for() {
        let mut outbox = Outbox::new(10_000);
        for round in 0..3 {
            assert_eq!(outbox.push(1, |out| out.extend_from_slice(b"one")), 3);
            assert_eq!(outbox.push(2, |_| {}), 0);
            assert_eq!(outbox.push(3, |out| out.extend_from_slice(b"three")), 5);
            assert_eq!(outbox.poll(), Some((1, &b"one"[..])), "round {round}");
            assert!(!outbox.is_empty());
            assert_eq!(outbox.poll(), Some((3, &b"three"[..])));
            assert!(outbox.is_empty());
            assert_eq!(outbox.poll(), None);
        }
        for _ in 0..20 {
            outbox.push(1, |out| out.extend_from_slice(&[7; 999]));
        }
        assert_eq!(std::iter::from_fn(|| outbox.poll().map(|(to, _)| to)).count(), 11);
        assert_eq!(outbox.push(1, |out| out.push(7)), 1, "the room is there again");
    }
}
