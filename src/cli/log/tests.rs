//! What becomes of lines, whatever the disk does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;
use crate::cli::exit::Exit;

/// A disk: what was written, what waits, and why it takes nothing any more.
#[derive(Clone, Default)]
struct Disk {
    written: Rc<RefCell<Vec<u8>>>,
    backlog: Rc<Cell<usize>>,
    failure: Rc<Cell<Option<io::ErrorKind>>>,
}

impl Disk {
    fn text(&self) -> String {
        String::from_utf8(self.written.borrow().clone()).expect("text")
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.failure.get() {
            Some(kind) => Err(kind.into()),
            None => self.written.borrow_mut().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Disk {
    fn backlog(&self) -> usize {
        self.backlog.get()
    }

    fn settle(&self, _: Duration) -> bool {
        self.backlog.get() == 0
    }

    fn failure(&self) -> Option<io::Error> {
        self.failure.get().map(io::Error::from)
    }
}

fn log(filter: Filter) -> (Log, Disk) {
    let disk = Disk::default();
    let to = To::File { path: "a\nlog".into(), stream: Box::new(disk.clone()) };
    (Log::new(to, Format::Text, filter), disk)
}

fn record(message: &str) -> Record<'_> {
    Record { level: Level::Info, target: Target::Torrent, id: Some(1), code: None, message }
}

const TIME: SystemTime = SystemTime::UNIX_EPOCH;

#[test]
fn lines_are_added_as_far_as_the_filter_takes_them() {
    let (mut log, disk) = log("torrent=info,off".parse().expect("a filter"));
    assert_eq!(log.add(&record("one"), TIME), Said::Nothing);
    log.add(&Record { level: Level::Debug, ..record("two") }, TIME);
    log.add(&Record { target: Target::Peer, ..record("three") }, TIME);
    assert_eq!(disk.text(), "1970-01-01T00:00:00.000Z INFO  torrent[1]: one\n");
    assert_eq!(log.finish(), Said::Nothing);
    assert_eq!(log.add(&record("late"), TIME), Said::Nothing);
    assert!(!disk.text().contains("late"), "a log that has ended takes nothing");
}

#[test]
fn lines_that_pile_up_are_counted_and_not_kept() {
    let (mut log, disk) = log(Filter::default());
    disk.backlog.set(MAX_BACKLOG + 1);
    for _ in 0..3 {
        assert_eq!(log.add(&record("lost"), TIME), Said::Nothing);
    }
    disk.backlog.set(MAX_BACKLOG);
    log.add(&record("kept"), TIME);
    let lines = "1970-01-01T00:00:00.000Z WARN  run: 3 lines were left out\n\
                 1970-01-01T00:00:00.000Z INFO  torrent[1]: kept\n";
    assert_eq!(disk.text(), lines);
    let slow = Said::Failed("the log 'a\\x0alog' is not whole: its disk is too slow".to_owned());
    assert_eq!(log.finish(), slow);
}

#[test]
fn a_full_disk_is_told_once() {
    let full = "cannot write the log 'a\\x0alog': no storage space; the run goes on without it";
    let (mut log, disk) = log(Filter::default());
    disk.failure.set(Some(io::ErrorKind::StorageFull));
    assert_eq!(log.add(&record("one"), TIME), Said::Failed(full.to_owned()));
    assert!(!log.takes(Level::Error, Target::Run));
    assert_eq!(log.add(&record("two"), TIME), Said::Nothing);
    assert_eq!(log.finish(), Said::Nothing);
}

#[test]
fn a_disk_that_is_found_full_in_the_end_is_told_of_too() {
    let (mut log, disk) = log(Filter::default());
    assert_eq!(log.add(&record("one"), TIME), Said::Nothing);
    disk.failure.set(Some(io::ErrorKind::StorageFull));
    assert!(matches!(log.finish(), Said::Failed(text) if text.contains("no storage space")));
    assert_eq!(log.finish(), Said::Nothing);
}

#[test]
fn what_happens_again_and_again_is_counted() {
    let (mut log, disk) = log(Filter::default());
    let now = Instant::now();
    for s in [0, 1, 2, 30] {
        let key = (1, "tracker_failed", "a".to_owned());
        log.add_counted(key, &record("it failed"), now + Duration::from_secs(s));
    }
    let lines: Vec<String> =
        disk.text().lines().map(|line| line.split_once(": ").expect("a line").1.into()).collect();
    assert_eq!(lines, ["it failed", "it failed (×3)"]);
}

#[test]
fn there_is_a_log_if_a_file_or_a_level_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |file: Option<&Path>, level: Option<&str>, json, rust_log| {
        let log_level = level.map(|level| level.parse().expect("a filter"));
        let args = LogArgs { log_file: file.map(Into::into), log_level, log_format: None };
        Log::open(&args, json, rust_log).expect("it opens")
    };
    assert!(open(None, None, false, Some("trace")).is_none());
    let on_stderr = open(None, Some("debug"), false, None).expect("a log");
    assert!(on_stderr.is_on_stderr() && on_stderr.format == Format::Text);
    assert!(on_stderr.takes(Level::Debug, Target::Peer));
    assert!(open(None, Some("debug"), true, None).is_some_and(|log| log.format == Format::Json));
    let dash = open(Some(Path::new("-")), None, false, None).expect("a log");
    assert!(dash.is_on_stderr() && !dash.takes(Level::Debug, Target::Peer));

    let path = folder.path().join("log");
    let in_file = open(Some(&path), None, true, Some("trace")).expect("a log");
    assert!(in_file.takes(Level::Trace, Target::Piece) && in_file.format == Format::Text);
    let named = open(Some(&path), Some("warn"), false, Some("trace")).expect("a log");
    assert!(!named.takes(Level::Info, Target::Run), "the flag counts and not RUST_LOG");
    let args = LogArgs { log_file: Some(folder.path().into()), ..LogArgs::default() };
    let refused = Log::open(&args, false, None).err().expect("a folder is no log");
    assert_eq!((refused.exit, refused.code), (Exit::Failed, "io"));
}
