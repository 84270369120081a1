//! Every time limit of a connection by its name, and the table that holds a peer's deadlines.

use std::fmt;

use crate::time::Instant;

/// What can time out on a connection to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The stream is being opened (libtorrent `peer_connect_timeout`).
    Connect,
    /// The handshake as a whole is awaited.
    Handshake,
    /// A requested block is awaited; passing it snubs the peer, it does not close it.
    Request,
    /// We have been silent: a keep-alive is due (BEP 3). If there was something to send all that
    /// time, then the peer does not take what it has asked for, and is closed.
    KeepAlive,
    /// The peer has been silent (BEP 3: "generally 2 minutes").
    Idle,
}

impl Timer {
    /// The timers of an established peer, in the order in which they are looked at.
    pub const OF_PEER: [Self; 3] = [Self::Request, Self::KeepAlive, Self::Idle];
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Handshake => "waiting for the handshake",
            Self::Request => "waiting for a requested block",
            Self::KeepAlive => "the peer takes nothing of what waits for it",
            Self::Idle => "nothing heard from the peer",
        })
    }
}

/// The deadlines of an established peer; [`Instant::FAR_FUTURE`] stands for none.
#[derive(Clone, Debug)]
pub struct Timers([Instant; Timer::OF_PEER.len()]);

impl Timers {
    /// Returns a table in which nothing is due.
    pub const fn new() -> Self {
        Self([Instant::FAR_FUTURE; Timer::OF_PEER.len()])
    }

    /// Sets `timer` to be due at `at`, whatever it was.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.0[slot(timer)] = at;
    }

    /// Stops `timer`.
    pub fn stop(&mut self, timer: Timer) {
        self.0[slot(timer)] = Instant::FAR_FUTURE;
    }

    /// Returns when the next timer is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().min().copied().filter(|at| *at < Instant::FAR_FUTURE)
    }

    /// Stops and returns a timer that is due, in the order of [`Timer::OF_PEER`].
    pub fn expire(&mut self, now: Instant) -> Option<Timer> {
        let at = self.0.iter().position(|due| *due <= now)?;
        self.0[at] = Instant::FAR_FUTURE;
        Some(Timer::OF_PEER[at])
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

fn slot(timer: Timer) -> usize {
    Timer::OF_PEER.iter().position(|of_peer| *of_peer == timer).expect("a timer of a peer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_due_each_once() {
        let mut timers = Timers::new();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Idle, Instant::from_secs(2));
        timers.set(Timer::Request, Instant::from_secs(1));
        assert_eq!(timers.next(), Some(Instant::from_secs(1)));
        assert_eq!(timers.expire(Instant::from_millis(999)), None);
        assert_eq!(timers.expire(Instant::from_secs(5)), Some(Timer::Request));
        assert_eq!(timers.expire(Instant::from_secs(5)), Some(Timer::Idle));
        assert_eq!(timers.expire(Instant::from_secs(5)), None);
        timers.set(Timer::KeepAlive, Instant::from_secs(9));
        timers.stop(Timer::KeepAlive);
        assert_eq!(timers.next(), None);
    }
}
