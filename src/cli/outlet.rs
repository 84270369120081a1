//! Streams that never make the program wait: what is written is queued, and a thread of its own
//! waits for the terminal or the pipe to take it.
//!
//! So a terminal that was stopped (`^S`), or a reader that does not read, holds up neither the
//! engine nor signals, time limits and goals. Who writes asks for the [`Stream::backlog`] and
//! leaves out what can be left out.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A stream that lines are written to.
pub(crate) trait Stream: Write {
    /// Returns the bytes that were taken and are not written yet.
    fn backlog(&self) -> usize {
        0
    }

    /// Waits until everything is written, at most for so long. Returns whether it is.
    fn settle(&self, _at_most: Duration) -> bool {
        true
    }

    /// Returns why the stream takes nothing any more, if a write failed that has been taken.
    fn failure(&self) -> Option<io::Error> {
        None
    }
}

impl Stream for io::Stdout {}
impl Stream for io::Stderr {}

/// One end of a queue in front of a stream. Clones write to the same one; the last one to be
/// dropped ends the thread once all is written.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Handle>);

impl Outlet {
    /// Starts the thread that writes; its name is that of the stream.
    pub(crate) fn new(name: &str, to: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let source = Arc::clone(&queue);
        thread::Builder::new().name(name.to_owned()).spawn(move || source.pour(to))?;
        Ok(Self(Arc::new(Handle(queue))))
    }
}

impl Write for Outlet {
    /// Takes all bytes, always; those after a failure are lost.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let queue = &self.0.0;
        let mut state = queue.lock();
        if let Some(error) = &state.failure {
            return Err(again(error));
        }
        state.waiting.extend_from_slice(bytes);
        drop(state);
        queue.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Outlet {
    fn backlog(&self) -> usize {
        let state = self.0.0.lock();
        state.waiting.len() + state.in_hand
    }

    fn settle(&self, at_most: Duration) -> bool {
        let queue = &self.0.0;
        let until = Instant::now().checked_add(at_most);
        let mut state = queue.lock();
        while state.in_hand > 0 || !state.waiting.is_empty() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = queue.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    fn failure(&self) -> Option<io::Error> {
        self.0.0.lock().failure.as_ref().map(again)
    }
}

/// Closes the queue when nobody can write to it any more.
#[derive(Debug)]
struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Bytes that the thread is writing.
    in_hand: usize,
    failure: Option<Arc<io::Error>>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock, and no state of it is half a state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes until the queue is closed or a write fails.
    fn pour(&self, mut to: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let mut state = self.lock();
            state.in_hand = 0;
            self.changed.notify_all();
            while state.waiting.is_empty() {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            bytes.clear();
            std::mem::swap(&mut bytes, &mut state.waiting);
            state.in_hand = bytes.len();
            drop(state);
            if let Err(error) = to.write_all(&bytes).and_then(|()| to.flush()) {
                let mut state = self.lock();
                *state = State { failure: Some(Arc::new(error)), ..State::default() };
                drop(state);
                self.changed.notify_all();
                return;
            }
        }
    }
}

/// Returns an error that says what another one said.
fn again(error: &Arc<io::Error>) -> io::Error {
    io::Error::new(error.kind(), Arc::clone(error))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe that takes a chunk whenever it is told to, and hands it on.
    struct Gate {
        open: mpsc::Receiver<io::Result<()>>,
        through: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().expect("the test is there")?;
            self.through.send(bytes.to_vec()).expect("the test is there");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Outlet, mpsc::Sender<io::Result<()>>, mpsc::Receiver<Vec<u8>>) {
        let ((open, opened), (through, came)) = (mpsc::channel(), mpsc::channel());
        let outlet = Outlet::new("test", Gate { open: opened, through }).expect("a thread");
        (outlet, open, came)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_stream_that_takes_nothing_holds_nobody_up() {
        let (mut outlet, open, came) = gated();
        outlet.write_all(b"one").expect("taken");
        outlet.write_all(b"two").expect("taken");
        assert_eq!(outlet.backlog(), 6);
        assert!(!outlet.settle(Duration::from_millis(1)));
        open.send(Ok(())).expect("the thread is there");
        let mut first = came.recv_timeout(LONG).expect("the first chunk");
        if first == b"one" {
            open.send(Ok(())).expect("the thread is there");
            first.extend(came.recv_timeout(LONG).expect("the second chunk"));
        }
        assert_eq!(first, b"onetwo", "in order");
        assert!(outlet.settle(LONG));
        assert_eq!(outlet.backlog(), 0);
    }

    #[test]
    fn a_failure_is_remembered_and_ends_the_waiting() {
        let (mut outlet, open, _came) = gated();
        outlet.write_all(b"lost").expect("taken");
        let full = || io::Error::from(rustix::io::Errno::NOSPC);
        open.send(Err(full())).expect("the thread is there");
        assert!(outlet.settle(LONG));
        let again = outlet.write_all(b"more").expect_err("it is closed");
        for error in [outlet.failure().expect("it failed"), again] {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert_eq!(error.to_string(), full().to_string(), "the system's number is told");
        }
    }

    #[test]
    fn what_was_taken_is_written_though_the_writer_has_gone() {
        let (mut outlet, open, came) = gated();
        outlet.write_all(b"last").expect("taken");
        drop(outlet);
        open.send(Ok(())).expect("the thread is there");
        assert_eq!(came.recv_timeout(LONG).as_deref(), Ok(&b"last"[..]));
        assert!(came.recv_timeout(LONG).is_err(), "the thread has ended");
    }
}
