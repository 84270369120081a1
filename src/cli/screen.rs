//! Lines that are redrawn in place, through indicatif: it knows widths, cursors and what was drawn
//! before.

use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// Draws a second that indicatif lets through. What is drawn is decided by the caller, a few times
/// a second and line by line; a lower limit would leave the last lines of a picture undrawn.
const DRAWS_PER_S: u8 = 200;

/// A block of lines at the end of the terminal's output.
#[derive(Debug)]
pub(crate) struct Screen {
    block: MultiProgress,
    /// One bar a line, in order; a bar here is nothing but a line of text cut to the terminal's
    /// width.
    lines: Vec<ProgressBar>,
}

impl Screen {
    /// Draws on stderr. A stderr that is no terminal is written to all the same, 80 columns wide.
    pub(crate) fn on_stderr(is_terminal: bool) -> Self {
        if is_terminal {
            Self::on(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S))
        } else {
            let stderr = Box::new(Blind(io::stderr));
            Self::on(ProgressDrawTarget::term_like_with_hz(stderr, DRAWS_PER_S))
        }
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self { block: MultiProgress::with_draw_target(target), lines: Vec::new() }
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

    /// Takes the block away, so that something else may be written; the next [`Screen::show`] draws
    /// it anew.
    pub(crate) fn clear(&mut self) {
        self.show(&[]);
    }
}

/// A terminal that cannot be asked for anything; what is written to it may get lost, which is no
/// error.
struct Blind<W, F: Fn() -> W>(F);

impl<W: Write, F: Fn() -> W> Blind<W, F> {
    fn write(&self, text: &str) {
        // See the type: a closed stderr must not end a download.
        let _ = (self.0)().write_all(text.as_bytes());
    }

    /// Writes a control sequence with a count, unless the count is zero, which terminals take for
    /// one.
    fn step(&self, n: usize, letter: char) {
        if n > 0 {
            self.write(&format!("\x1b[{n}{letter}"));
        }
    }
}

impl<W, F: Fn() -> W> std::fmt::Debug for Blind<W, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blind")
    }
}

impl<W: Write, F: Fn() -> W + Send + Sync> TermLike for Blind<W, F> {
    fn width(&self) -> u16 {
        80
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
        self.write(&format!("{text}\n"));
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.write(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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

    fn on<W: Write + 'static>(stream: impl Fn() -> W + Send + Sync + 'static) -> Screen {
        let term = Box::new(Blind(stream));
        Screen::on(ProgressDrawTarget::term_like_with_hz(term, DRAWS_PER_S))
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
    fn a_closed_stream_is_no_panic() {
        let mut screen = on(|| Closed);
        screen.show(&["a".to_owned(), "b".to_owned()]);
        screen.print("line");
        screen.clear();
    }
}
