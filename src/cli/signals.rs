//! Signals, heard by a thread of their own and taken by the main thread between two events.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals as Incoming;

use super::exit::Exit;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// Stop gracefully; the process exits with this if not everything is complete.
    Stop(Exit),
    /// Print the status to stderr (SIGUSR1).
    Status,
}

/// How soon after the first a stopping signal is the same one once more: a wrapper such as
/// `timeout` gets it with its whole process group and passes it on besides. Nobody presses a key
/// twice as fast.
const ECHO: Duration = Duration::from_millis(100);

/// The signals that have come and were not taken yet.
#[derive(Debug)]
pub(crate) struct Signals(Receiver<Notice>);

impl Signals {
    /// Begins to listen. From now on a first SIGINT, SIGTERM or SIGHUP is a [`Notice::Stop`] and a
    /// second one ends the process at once, whatever the main thread does.
    ///
    /// Call it when everything that may wait for the user (stdin) has been read. A SIGHUP that was
    /// ignored when the process started stays ignored, as `nohup` expects.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut wanted = vec![SIGINT, SIGTERM, SIGUSR1];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        // A write beyond the size that the shell allows to files ends the process, unless the
        // signal is heard: then the write fails, and it says so like any other.
        wanted.push(SIGXFSZ);
        let mut incoming = Incoming::new(wanted)?;
        let (notices, taken) = mpsc::channel();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut first_stop = None;
            for signal in incoming.forever().filter(|signal| *signal != SIGXFSZ) {
                let notice = notice_of(signal);
                match (notice, first_stop.as_ref().map(Instant::elapsed)) {
                    (Notice::Stop(_), Some(since)) if since < ECHO => continue,
                    (Notice::Stop(exit), Some(_)) => std::process::exit(exit.code().into()),
                    (Notice::Stop(_), None) => first_stop = Some(Instant::now()),
                    (Notice::Status, _) => {}
                }
                // A main thread that takes no notices any more is on its way out.
                let _ = notices.send(notice);
            }
        })?;
        Ok(Self(taken))
    }

    /// Returns the next signal that has come, without waiting.
    pub(crate) fn take(&self) -> Option<Notice> {
        self.0.try_recv().ok()
    }

    /// Returns what a stopping signal that has come asks for, dropping others.
    pub(crate) fn stop(&self) -> Option<Exit> {
        std::iter::from_fn(|| self.take()).find_map(|notice| match notice {
            Notice::Stop(exit) => Some(exit),
            Notice::Status => None,
        })
    }

    /// Makes signals out of a list, for the tests of those who take them.
    #[cfg(test)]
    pub(crate) fn scripted(notices: &[Notice]) -> Self {
        let (sender, taken) = mpsc::channel();
        for notice in notices {
            sender.send(*notice).expect("the receiver is here");
        }
        Self(taken)
    }
}

fn notice_of(signal: i32) -> Notice {
    match u8::try_from(signal) {
        Ok(number) if signal != SIGUSR1 => Notice::Stop(Exit::Signal(number)),
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
        for (signal, notice) in [
            (SIGINT, Notice::Stop(Exit::Signal(2))),
            (SIGTERM, Notice::Stop(Exit::Signal(15))),
            (SIGHUP, Notice::Stop(Exit::Signal(1))),
            (SIGUSR1, Notice::Status),
        ] {
            assert_eq!(notice_of(signal), notice);
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
