//! Other programs as children: what they say and when, what they use, and that they end.
//!
//! A child is in a process group of its own, which is killed when its [`Child`] is dropped. It is
//! started through `setpriv --pdeathsig KILL` where there is such a program, so that it ends even
//! if this process is killed before it can clean up.

use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use swarmloop::text::Escaped;

use crate::subject::{self, Usage};

/// Lines that are kept for a message about what went wrong.
const KEPT_LINES: usize = 3;

/// Characters of them.
const KEPT_CHARS: usize = 200;

/// Bytes of a line that are looked at; the longest that matters is a report in JSON.
const MAX_LINE_LEN: usize = 256 * 1024;

/// Time between two looks at something that has no handle to wait on.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Time after which a wait looks whether it is to be given up.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Time over which a child must do next to nothing, twice in a row, to count as idle.
const IDLE_WINDOW: Duration = Duration::from_millis(100);

/// Processor time in [`IDLE_WINDOW`] that is next to nothing.
const IDLE_CPU: Duration = Duration::from_millis(2);

/// How long a child may take to end after a polite request.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What a child did or did not do; one line, safe to print.
pub(crate) type Trouble = String;

/// A running child. Dropping it kills it and everything that it started.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: process::Child,
    heard: Arc<Heard>,
    /// Set when everything is to end; waits are given up then.
    stop: Arc<AtomicBool>,
}

impl Child {
    /// Starts `command`, and notes when a line with each of `marks` comes first on its stdout or
    /// stderr. Once `stop` is set, nothing is waited for.
    pub(crate) fn start(
        name: &'static str,
        command: &Command,
        home: &Path,
        marks: &[&str],
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Trouble> {
        let mut command = mortal(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // No client may find, or leave behind, settings in the home of whoever runs this.
        command.env("HOME", home).env("NO_COLOR", "1").process_group(0);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy().to_lowercase();
            if name.starts_with("xdg_") || name.ends_with("_proxy") {
                command.env_remove(variable);
            }
        }
        let mut process =
            command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let marks = marks.iter().map(|mark| ((*mark).to_owned(), None)).collect();
        let said = Said { marks, open: 2, ..Said::default() };
        let heard = Arc::new(Heard { said: Mutex::new(said), changed: Condvar::new() });
        let stdout = process.stdout.take().expect("it was asked for");
        let stderr = process.stderr.take().expect("it was asked for");
        let child = Self { name, process, heard, stop: Arc::clone(stop) };
        child.listen(stdout)?;
        child.listen(stderr)?;
        Ok(child)
    }

    /// Reads one stream of the child to its end on a thread of its own, so that a child never waits
    /// for us and a line has the time at which it came.
    fn listen(&self, stream: impl Read + Send + 'static) -> Result<(), Trouble> {
        let heard = Arc::clone(&self.heard);
        let thread = std::thread::Builder::new().name(format!("hear-{}", self.name));
        let spawned = thread.spawn(move || heard.read(stream));
        spawned.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns what it has used up to now; nothing is known of one that has ended.
    pub(crate) fn usage(&self) -> Option<Usage> {
        subject::usage(self.pid())
    }

    /// Waits for a line with `mark` and returns when it came.
    pub(crate) fn wait_for(&self, mark: &str, deadline: Instant) -> Result<Instant, Trouble> {
        let mut said = self.heard.lock();
        loop {
            let found = said.marks.iter().find(|(text, _)| text == mark);
            if let Some(at) = found.and_then(|(_, at)| *at) {
                return Ok(at);
            }
            if said.open == 0 {
                return Err(format!("{} ended early{}", self.name, said.last_words()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let words = said.last_words();
                return Err(format!("{} did not say '{mark}' in time{words}", self.name));
            }
            self.check_stop()?;
            said = self.heard.wait(said, left);
        }
    }

    /// Waits until `condition` holds.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        deadline: Instant,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Trouble> {
        while !condition() {
            if self.ended().is_some() {
                let words = self.heard.lock().last_words();
                return Err(format!("{} ended before it was {what}{words}", self.name));
            }
            if Instant::now() >= deadline {
                let words = self.heard.lock().last_words();
                return Err(format!("{} was not {what} in time{words}", self.name));
            }
            self.check_stop()?;
            rest(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Waits until it does next to nothing, so that its start is not part of what is measured.
    pub(crate) fn settle(&mut self, deadline: Instant) -> Result<(), Trouble> {
        let mut last = None;
        let mut idle = 0;
        let pid = self.pid();
        self.wait_until("idle", deadline, || {
            rest(IDLE_WINDOW);
            let now = subject::usage(pid).map(|usage| usage.cpu);
            let used = now.zip(last).map(|(now, last): (Duration, _)| now.saturating_sub(last));
            last = now;
            idle = if used.is_some_and(|used| used <= IDLE_CPU) { idle + 1 } else { 0 };
            idle >= 2
        })
    }

    /// Waits for its end; one that has not ended by then is killed.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<ExitStatus, Trouble> {
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill();
                let words = self.heard.lock().last_words();
                return Err(format!("{} did not end in time{words}", self.name));
            }
            self.check_stop()?;
            rest(LOOK_INTERVAL);
        }
    }

    /// Asks it to end (SIGTERM) and waits for that; after a while it is killed.
    pub(crate) fn stop(&mut self) {
        if self.ended().is_none() {
            let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
            // One that does not listen is killed, here or when it is dropped.
            let _ = self.wait(Instant::now() + STOP_PATIENCE);
        }
    }

    /// Returns the last line that began like a JSON object, once everything has been read.
    pub(crate) fn last_object(&self, deadline: Instant) -> Option<String> {
        let mut said = self.heard.lock();
        while said.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            said = self.heard.wait(said, left);
        }
        said.object.take()
    }

    /// Returns its last lines, to be put behind a message.
    pub(crate) fn last_words(&self) -> String {
        self.heard.lock().last_words()
    }

    /// Lets it go on for so long.
    pub(crate) fn rest(&self, time: Duration) -> Result<(), Trouble> {
        let end = Instant::now() + time;
        loop {
            self.check_stop()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            rest(left.min(STOP_INTERVAL));
        }
    }

    fn check_stop(&self) -> Result<(), Trouble> {
        if self.stop.load(Ordering::Relaxed) { Err("interrupted".to_owned()) } else { Ok(()) }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    fn kill(&mut self) {
        // Until it has been waited for, its number, and that of its group, is nobody else's.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

/// What a child has printed, shared with the threads that read it.
#[derive(Debug, Default)]
struct Heard {
    said: Mutex<Said>,
    /// A line, or the end of a stream.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    /// The texts that matter, and when a line with each came first.
    marks: Vec<(String, Option<Instant>)>,
    /// The last lines.
    tail: VecDeque<String>,
    /// The last line that began like a JSON object.
    object: Option<String>,
    /// Streams that have not ended.
    open: usize,
}

impl Said {
    fn last_words(&self) -> String {
        let lines: Vec<String> =
            self.tail.iter().map(|line| Escaped(&relative(line)).to_string()).collect();
        if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" / ")) }
    }
}

/// Returns a line with absolute paths in it, whatever they stick to, as file names: what a client
/// says ends up in results, which are to be shown.
fn relative(line: &str) -> String {
    let shorten = |word: &str| {
        let ends = |c: char| matches!(c, '\'' | '"' | ',' | ':' | ';' | ')' | ']' | '.');
        let end = word.trim_end_matches(ends).len();
        let (path, rest) = word.split_at(end);
        // A URL, a share or a date has a slash too, but nothing that begins with one.
        let start = path.find('/').filter(|&at| {
            let before = path[..at].chars().next_back();
            let is_flag = path.starts_with('-');
            is_flag || before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | ':'))
        });
        let Some((start, slash)) = start.zip(path.rfind('/')) else { return word.to_owned() };
        format!("{}{}{rest}", &path[..start], &path[slash + 1..])
    };
    line.split(' ').map(shorten).collect::<Vec<_>>().join(" ")
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Said> {
        // Nothing panics half-way through a change.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something new, at most for `left`, and not long.
    fn wait<'a>(&self, said: MutexGuard<'a, Said>, left: Duration) -> MutexGuard<'a, Said> {
        let wait = self.changed.wait_timeout(said, left.min(STOP_INTERVAL));
        wait.unwrap_or_else(PoisonError::into_inner).0
    }

    fn read(&self, mut stream: impl Read) {
        let mut buffer = [0; 16 * 1024];
        let mut line = Vec::new();
        // An error is the end as well: nothing more will come.
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            let at = Instant::now();
            for &byte in &buffer[..len] {
                match byte {
                    // Some clients redraw a status line in place.
                    b'\n' | b'\r' => {
                        self.line(&line, at);
                        line.clear();
                    }
                    _ if line.len() < MAX_LINE_LEN => line.push(byte),
                    _ => {}
                }
            }
        }
        self.line(&line, Instant::now());
        self.lock().open -= 1;
        self.changed.notify_all();
    }

    fn line(&self, line: &[u8], at: Instant) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let mut said = self.lock();
        for (text, first) in &mut said.marks {
            if first.is_none() && line.contains(text.as_str()) {
                *first = Some(at);
            }
        }
        if line.starts_with('{') {
            said.object = Some(line.to_owned());
        }
        if said.tail.len() == KEPT_LINES {
            said.tail.pop_front();
        }
        said.tail.push_back(line.chars().take(KEPT_CHARS).collect());
        drop(said);
        self.changed.notify_all();
    }
}

/// Waits where no loop runs: for other programs, which have no handle to wait on.
#[expect(clippy::disallowed_methods, reason = "waits for other programs; no loop runs here")]
pub(crate) fn rest(time: Duration) {
    std::thread::sleep(time);
}

/// Returns the first file of this name in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Returns a command with the same program and arguments whose child ends with this process.
/// `setpriv` becomes the program that it starts, so the process id is the program's.
fn mortal(command: &Command) -> Command {
    let mut mortal = match in_path("setpriv") {
        Some(setpriv) => {
            let mut mortal = Command::new(setpriv);
            mortal.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
            mortal
        }
        None => Command::new(command.get_program()),
    };
    mortal.args(command.get_args());
    mortal
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn shell(script: &str, marks: &[&str]) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let stop = Arc::new(AtomicBool::new(false));
        Child::start("sh", &command, Path::new("."), marks, &stop).expect("a shell")
    }

    #[test]
    fn marks_are_heard_on_both_streams() {
        let began = Instant::now();
        let child = shell("echo one; echo two >&2", &["one", "two"]);
        for mark in ["one", "two"] {
            let at = child.wait_for(mark, Instant::now() + PATIENCE).expect("it is said");
            assert!((began..=Instant::now()).contains(&at));
        }
    }

    #[test]
    fn a_child_that_ends_without_the_mark_is_told_of_with_its_last_words() {
        let child = shell(r"printf 'a\033b\n'; exit 3", &["ready"]);
        let trouble = child.wait_for("ready", Instant::now() + PATIENCE).expect_err("it ends");
        assert_eq!(trouble, "sh ended early: a\\x1bb");
    }

    #[test]
    fn time_is_up_for_a_child_that_says_nothing() {
        let mut child = shell("exec sleep 600", &["ready"]);
        let trouble = child.wait_for("ready", Instant::now()).expect_err("it sleeps");
        assert_eq!(trouble, "sh did not say 'ready' in time");
        let trouble = child.wait(Instant::now()).expect_err("it sleeps");
        assert_eq!(trouble, "sh did not end in time");
        assert!(child.ended().is_some(), "it was killed");
    }

    #[test]
    fn nothing_is_waited_for_once_everything_is_to_end() {
        let mut child = shell("exec sleep 600", &["ready"]);
        child.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        let interrupted = Err("interrupted".to_owned());
        assert_eq!(child.wait_for("ready", deadline).map(|_| ()), interrupted);
        assert_eq!(child.wait(deadline).map(|_| ()), interrupted);
        assert_eq!(child.wait_until("idle", deadline, || false), interrupted);
        assert_eq!(child.rest(PATIENCE), interrupted);
        assert!(Instant::now() < deadline);
    }

    #[test]
    fn what_a_child_started_ends_with_it() {
        let mut child = shell("sleep 600 & echo {$!}; wait", &["{"]);
        child.wait_for("{", Instant::now() + PATIENCE).expect("it is said");
        let grandchild = child.heard.lock().object.take().expect("a number in braces");
        let grandchild: u32 = grandchild.trim_matches(['{', '}']).parse().expect("a number");
        assert!(subject::usage(grandchild).is_some());
        child.kill();
        let deadline = Instant::now() + PATIENCE;
        // Nobody waits for it, so that it may be a zombie, which uses nothing.
        let ended = || subject::usage(grandchild).is_none_or(|usage| usage.peak_rss == 0);
        while !ended() {
            assert!(Instant::now() < deadline, "it lives");
            rest(LOOK_INTERVAL);
        }
    }

    #[test]
    fn last_words_name_no_absolute_path() {
        for (line, shown) in [
            ("cannot open /tmp/a/x.torrent: no", "cannot open x.torrent: no"),
            ("bad '/tmp/x', \"/home/me/y\".", "bad 'x', \"y\"."),
            ("-t/tmp/x --dir=/tmp/y (/z/k)", "-tx --dir=y (k)"),
            ("3/4 of a/b at http://h/x", "3/4 of a/b at http://h/x"),
        ] {
            assert_eq!(relative(line), shown);
        }
    }

    #[test]
    fn the_last_object_is_the_report() {
        let child = shell(r#"echo '{"a":1}'; echo x; echo '{"a":2}'"#, &[]);
        let report = child.last_object(Instant::now() + PATIENCE);
        assert_eq!(report.as_deref(), Some(r#"{"a":2}"#));
    }
}
