//! Signals, heard by a thread of their own and taken by the main thread between two events.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals as Incoming;

use swarmloop::client::{Client, Hurry};

use super::exit::Exit;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// Stop gracefully; the process exits with this if not everything is complete.
    Stop(Exit),
    /// Print the status to stderr (SIGUSR1).
    Status,
    /// Ask trackers again, and read files again that may have changed (SIGHUP of a program that had
    /// no terminal to lose).
    Renew,
    /// The process was stopped and goes on (SIGCONT).
    GoOn,
}

/// How soon after the first a stopping signal is the same one once more: a wrapper such as
/// `timeout` gets it with its whole process group and passes it on besides. Nobody presses a key
/// twice as fast.
const ECHO: Duration = Duration::from_millis(100);

/// How long a graceful stop may take: more than a second, which is too short for some private
/// trackers, and less than what people wait for before they press ^C again.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What of that time is left for the last words.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The signals that have come and were not taken yet.
#[derive(Debug)]
pub(crate) struct Signals {
    notices: Receiver<Notice>,
    stop_timeout: Duration,
    /// When the first stopping signal came.
    first_stop: Arc<OnceLock<Instant>>,
    /// What a second one hastens.
    hurry: Arc<OnceLock<Hurry>>,
}

impl Signals {
    /// Begins to listen. From now on a first SIGINT, SIGTERM or SIGHUP is a [`Notice::Stop`]; one
    /// more ends the process at once if there is nothing that it could [hasten](Signals::hasten),
    /// else the one after it, and [`STOP_TIMEOUT`] in any case, whatever the main thread does or
    /// waits for.
    ///
    /// Call it when everything that may wait for the user (stdin) has been read. A SIGHUP that was
    /// ignored when the process started stays ignored, as `nohup` expects; one that takes no
    /// terminal away is a [`Notice::Renew`].
    pub(crate) fn listen() -> io::Result<Self> {
        Self::listen_for(STOP_TIMEOUT)
    }

    /// Begins to listen, and gives a graceful stop so long.
    pub(crate) fn listen_for(stop_timeout: Duration) -> io::Result<Self> {
        let mut wanted = vec![SIGINT, SIGTERM, SIGUSR1, SIGCONT];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        // A write beyond the size that the shell allows to files ends the process, unless the
        // signal is heard: then the write fails, and it says so like any other.
        wanted.push(SIGXFSZ);
        let has_terminal = io::stderr().is_terminal();
        let mut incoming = Incoming::new(wanted)?;
        let (sender, notices) = mpsc::channel();
        let first_stop = Arc::new(OnceLock::new());
        let stopped_at: Arc<OnceLock<Instant>> = Arc::clone(&first_stop);
        let hurry: Arc<OnceLock<Hurry>> = Arc::default();
        let hastened = Arc::clone(&hurry);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut is_hasty = false;
            for signal in incoming.forever().filter(|signal| *signal != SIGXFSZ) {
                let notice = notice_of(signal, has_terminal);
                match (notice, stopped_at.get().map(Instant::elapsed)) {
                    (Notice::Stop(_), Some(since)) if since < ECHO => continue,
                    (Notice::Stop(exit), Some(_)) => match hastened.get() {
                        Some(hurry) if !std::mem::replace(&mut is_hasty, true) => {
                            hurry.skip_announces();
                            continue;
                        }
                        _ => std::process::exit(exit.code().into()),
                    },
                    (Notice::Stop(exit), None) => {
                        stopped_at.get_or_init(Instant::now);
                        end_after(stop_timeout, exit);
                    }
                    (Notice::Status | Notice::Renew | Notice::GoOn, _) => {}
                }
                // A main thread that takes no notices any more is on its way out.
                let _ = sender.send(notice);
            }
        })?;
        Ok(Self { notices, stop_timeout, first_stop, hurry })
    }

    /// Has a second stopping signal hasten the end of a client, once, in place of ending the
    /// process: what it knows is to be on the disk first.
    pub(crate) fn hasten(&self, client: &Client) {
        // A process has one client that it stops in order.
        let _ = self.hurry.set(client.hurry());
    }

    /// Returns the next signal that has come, without waiting.
    pub(crate) fn take(&self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }

    /// Returns what a stopping signal that has come asks for, dropping others.
    pub(crate) fn stop(&self) -> Option<Exit> {
        std::iter::from_fn(|| self.take()).find_map(|notice| match notice {
            Notice::Stop(exit) => Some(exit),
            Notice::Status | Notice::Renew | Notice::GoOn => None,
        })
    }

    /// Returns how long the engine may take to end: what is left since the first stopping signal,
    /// all of it if none came.
    pub(crate) fn time_to_stop(&self) -> Duration {
        let used = self.first_stop.get().map_or(Duration::ZERO, Instant::elapsed);
        self.stop_timeout.saturating_sub(used).saturating_sub(LAST_WORDS)
    }

    /// Makes signals out of a list, for the tests of those who take them.
    #[cfg(test)]
    pub(crate) fn scripted(scripted: &[Notice]) -> Self {
        let (sender, notices) = mpsc::channel();
        for notice in scripted {
            sender.send(*notice).expect("the receiver is here");
        }
        let (first_stop, hurry) = Default::default();
        Self { notices, stop_timeout: STOP_TIMEOUT, first_stop, hurry }
    }
}

/// Ends the process when the time for a graceful stop is over. The main thread is done by then
/// unless something does not let it go: a terminal that takes nothing, a disk that hangs.
fn end_after(stop_timeout: Duration, exit: Exit) {
    let wait = move || {
        // Nobody sends: this waits, on the one clock that no signal cuts short.
        let (_open, never) = mpsc::channel::<()>();
        if never.recv_timeout(stop_timeout) == Err(RecvTimeoutError::Timeout) {
            std::process::exit(exit.code().into());
        }
    };
    // Without a thread left there is still the second signal.
    let _ = thread::Builder::new().name("stop".to_owned()).spawn(wait);
}

fn notice_of(signal: i32, has_terminal: bool) -> Notice {
    match (signal, u8::try_from(signal)) {
        (SIGCONT, _) => Notice::GoOn,
        (SIGHUP, _) if !has_terminal => Notice::Renew,
        (SIGINT | SIGTERM | SIGHUP, Ok(number)) => Notice::Stop(Exit::Signal(number)),
        _ => Notice::Status,
    }
}

/// Tells whether a signal was ignored when the process started, as far as the system says (Linux).
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| mask_has(&status, signal))
}

/// Looks a signal up in the hexadecimal mask `SigIgn` of `/proc/self/status`, whose lowest bit is
/// signal 1.
fn mask_has(status: &str, signal: i32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (1..=64).contains(&signal) && mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_ask_for_what_is_documented() {
        for (signal, has_terminal, notice) in [
            (SIGINT, true, Notice::Stop(Exit::Signal(2))),
            (SIGTERM, false, Notice::Stop(Exit::Signal(15))),
            (SIGHUP, true, Notice::Stop(Exit::Signal(1))),
            (SIGHUP, false, Notice::Renew),
            (SIGUSR1, true, Notice::Status),
            (SIGCONT, true, Notice::GoOn),
        ] {
            assert_eq!(notice_of(signal, has_terminal), notice);
        }
    }

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000001\n";
        assert!(mask_has(status, SIGHUP));
        assert!(!mask_has(status, SIGINT));
        assert!(mask_has("SigIgn: 8000000000000000", 64));
        for nonsense in ["", "SigIgn:", "SigIgn:\txyz"] {
            assert!(!mask_has(nonsense, SIGHUP), "{nonsense}");
        }
        assert!(!mask_has("SigIgn:\tffffffffffffffff", 0));
    }

    #[test]
    fn a_stop_is_found_behind_status_requests() {
        let exit = Exit::Signal(15);
        let signals = Signals::scripted(&[Notice::Status, Notice::Status, Notice::Stop(exit)]);
        assert_eq!(signals.stop(), Some(exit));
        assert_eq!(signals.stop(), None);
        assert_eq!(signals.take(), None);
    }
}
