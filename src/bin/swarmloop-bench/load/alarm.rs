//! Wakes the poll at a moment between its milliseconds, for the open loop.

use std::io;

use mio::{Registry, Token};
use swarmloop::time::Instant;

#[cfg(target_os = "linux")]
mod sys {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::{Registry, Token, io};

    /// A timer of the system's that the poll watches.
    #[derive(Debug)]
    pub(super) struct Timer(OwnedFd);

    impl Timer {
        pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self(fd))
        }

        /// Wakes the poll once after `us` microseconds, at least one.
        pub(super) fn set(&self, us: u64) -> io::Result<()> {
            let us = us.max(1);
            let timer = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: i64::try_from(us / 1_000_000).unwrap_or(i64::MAX),
                    tv_nsec: i64::try_from(us % 1_000_000 * 1_000).expect("below a second"),
                },
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{Registry, Token, io};

    /// Nothing: the poll's own timeout, which is up to a millisecond late, has to do.
    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn set(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
}

/// One deadline.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: sys::Timer,
    /// What it is set to.
    at: Option<Instant>,
}

impl Alarm {
    /// Registers the alarm with the poll; its events mean nothing but that the poll returns.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self { timer: sys::Timer::new(registry, token)?, at: None })
    }

    /// Makes the poll return at `at`; what was set before is forgotten.
    pub(crate) fn set(&mut self, at: Instant, now: Instant) -> io::Result<()> {
        if self.at != Some(at) {
            let us = (at - now).as_micros();
            self.timer.set(u64::try_from(us).unwrap_or(u64::MAX))?;
            self.at = Some(at);
        }
        Ok(())
    }
}
