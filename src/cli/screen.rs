//! Lines that are redrawn in place, through indicatif: it knows widths, cursors and what was drawn
//! before.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::terminal;

/// Draws a second that indicatif lets through. What is drawn is decided by the caller, a few times
/// a second and line by line; a lower limit would leave the last lines of a picture undrawn.
const DRAWS_PER_S: u8 = 200;

/// A block of lines at the end of the terminal's output.
pub(crate) struct Screen {
    block: MultiProgress,
    /// One bar a line, in order; a bar here is nothing but a line of text cut to the terminal's
    /// width.
    lines: Vec<ProgressBar>,
    target: Box<dyn Fn() -> ProgressDrawTarget>,
}

impl Screen {
    /// Draws on the streams that `stream` makes, all of which lead to stderr. A stderr that is no
    /// terminal is drawn on all the same, 80 columns wide.
    pub(crate) fn new<W: Write + Send + 'static>(stream: impl Fn() -> W + 'static) -> Self {
        Self::sized(stream, terminal::size)
    }

    fn sized<W: Write + Send + 'static>(
        stream: impl Fn() -> W + 'static,
        size: fn() -> (u16, u16),
    ) -> Self {
        let target = move || {
            let term = Term { to: Mutex::new((stream(), String::new())), size };
            ProgressDrawTarget::term_like_with_hz(Box::new(term), DRAWS_PER_S)
        };
        let block = MultiProgress::with_draw_target(target());
        Self { block, lines: Vec::new(), target: Box::new(target) }
    }

    /// Replaces the block by these lines.
    pub(crate) fn show(&mut self, lines: &[String]) {
        for line in self.lines.drain(lines.len().min(self.lines.len())..) {
            line.finish_and_clear();
            self.block.remove(&line);
        }
        while self.lines.len() < lines.len() {
            let style = ProgressStyle::with_template("{wide_msg}").expect("a constant template");
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            self.lines.push(self.block.add(line.with_style(style)));
        }
        for (line, text) in self.lines.iter().zip(lines) {
            if line.message() != *text {
                line.set_message(text.clone());
            }
        }
    }

    /// Prints a line above the block.
    pub(crate) fn print(&self, line: &str) {
        // A terminal that has gone away is nobody's loss but its own.
        let _ = self.block.println(line);
    }

    /// Forgets the block, which somebody else has written over: the next [`Screen::show`] draws it
    /// anew below.
    pub(crate) fn forget(&mut self) {
        self.lines.clear();
        self.block = MultiProgress::with_draw_target((self.target)());
    }

    /// Takes the block away, so that something else may be written; the next [`Screen::show`] draws
    /// it anew.
    pub(crate) fn clear(&mut self) {
        self.show(&[]);
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

/// A terminal behind a stream. What is drawn is written as one piece; that it gets lost is no
/// error.
struct Term<W> {
    /// The stream, and what was drawn since the last flush.
    to: Mutex<(W, String)>,
    /// Rows and columns.
    size: fn() -> (u16, u16),
}

impl<W: Write> Term<W> {
    fn add(&self, text: &str) {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).1.push_str(text);
    }

    /// Adds a control sequence with a count, unless the count is zero, which terminals take for
    /// one.
    fn step(&self, n: usize, letter: char) {
        if n > 0 {
            self.add(&format!("\x1b[{n}{letter}"));
        }
    }
}

impl<W> fmt::Debug for Term<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Term")
    }
}

impl<W: Write + Send> TermLike for Term<W> {
    fn width(&self) -> u16 {
        (self.size)().1
    }

    fn height(&self) -> u16 {
        (self.size)().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text);
        self.add("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, drawn) = &mut *to;
        // See the type: a closed stderr must not end a download.
        let _ = stream.write_all(drawn.as_bytes()).and_then(|()| stream.flush());
        drawn.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A stream whose reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn on<W: Write + Send + 'static>(stream: impl Fn() -> W + 'static) -> Screen {
        Screen::sized(stream, || (24, 80))
    }

    #[test]
    fn lines_are_cut_to_the_width_and_redrawn() {
        let shared = Shared::default();
        let sink = shared.clone();
        let mut screen = on(move || sink.clone());
        screen.show(&["first".to_owned(), "x".repeat(200)]);
        screen.print("above");
        screen.show(&["second".to_owned()]);
        screen.clear();
        let bytes = shared.0.lock().expect("not poisoned").clone();
        let written = String::from_utf8(bytes).expect("text");
        for text in ["first", "above", "second", &"x".repeat(80)] {
            assert!(written.contains(text), "{text} is missing in {written:?}");
        }
        assert!(!written.contains(&"x".repeat(81)));
    }

    #[test]
    fn what_was_written_over_is_drawn_anew_below() {
        let shared = Shared::default();
        let sink = shared.clone();
        let mut screen = on(move || sink.clone());
        let lines = ["one".to_owned(), "two".to_owned()];
        screen.show(&lines);
        screen.forget();
        shared.0.lock().expect("not poisoned").clear();
        screen.show(&lines);
        let bytes = shared.0.lock().expect("not poisoned").clone();
        let written = String::from_utf8(bytes).expect("text");
        assert!(written.contains("one") && written.contains("two"), "{written:?}");
        let first_step = written.find("\x1b[").map_or(usize::MAX, |at| at);
        assert!(first_step > written.find("one").expect("it is drawn"), "{written:?}");
    }

    #[test]
    fn a_closed_stream_is_no_panic() {
        let mut screen = on(|| Closed);
        screen.show(&["a".to_owned(), "b".to_owned()]);
        screen.print("line");
        screen.clear();
    }
}
