//! The disk pool with real threads and files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use tempfile::TempDir;

use super::queue::class;
use super::*;
use crate::disk::hash::{self, Midstate};
use crate::disk::job::{Append, Appended, DiskErrorKind, OnDisk, Storage, Verdict, Verify};
use crate::disk::layout::{FileSpec, Layout};
use crate::disk::selection::Selection;
use crate::id::{BLOCK_LEN, ConnId, InfoHash, PieceIndex, TorrentId};
use crate::reactor::hashing::STEP;
use crate::wire::frame::Frame;

const PIECE_LEN: u32 = 3 * BLOCK_LEN;
const CONN: ConnId = ConnId { index: 1, generation: 2 };
/// Far more than any test needs; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the bytes of a torrent of `len` bytes and its storage, all of it in one file `t/a`.
fn torrent(root: &Path, len: usize) -> (Vec<u8>, Arc<Storage>) {
    torrent_of_pieces(root, len, PIECE_LEN)
}

fn torrent_of_pieces(root: &Path, len: usize, piece_len: u32) -> (Vec<u8>, Arc<Storage>) {
    let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let file = FileSpec { path: PathBuf::from("t/a"), len: len as u64, pad: false };
    let layout = Layout::new([file], piece_len);
    let pieces = bytes.chunks(piece_len as usize);
    let hashes: Bytes = pieces.flat_map(|piece| hash::piece(&frames(piece))).collect();
    let torrent = TorrentId(7);
    (
        bytes,
        Arc::new(Storage {
            torrent,
            info_hash: InfoHash([7; 20]),
            root: root.to_owned(),
            layout: Arc::new(layout),
            parts: None,
            hashes,
            writable: true,
            rules: crate::disk::job::Rules {
                alloc: crate::disk::job::Alloc::None,
                ..Default::default()
            },
            state: None,
        }),
    )
}

fn frames(payload: &[u8]) -> Vec<Frame> {
    payload.chunks(BLOCK_LEN as usize).map(Frame::holding).collect()
}

fn payload(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.payload().to_vec()).collect()
}

fn verify_job(storage: &Arc<Storage>, piece: u32, bytes: &[u8], block_hashes: bool) -> Job {
    let (storage, frames) = (Arc::clone(storage), frames(bytes));
    Job::Verify(Verify { storage, piece: PieceIndex(piece), frames, block_hashes })
}

fn read_job(storage: &Arc<Storage>, piece: u32, len: usize) -> Job {
    let (storage, frames) = (Arc::clone(storage), frames(&vec![0; len]));
    Job::Read(Read { storage, conn: CONN, piece: PieceIndex(piece), begin: 0, frames })
}

fn check_job(storage: &Arc<Storage>, first: u32, count: u32) -> Job {
    Job::Check { storage: Arc::clone(storage), first: PieceIndex(first), count }
}

/// A pool and the wakes that it has given.
struct Pool {
    workers: Workers,
    wakes: mpsc::Receiver<()>,
}

impl Pool {
    fn start(threads: usize) -> Self {
        let (tx, wakes) = mpsc::channel();
        // The receiver is gone when a test has ended; nobody is to be woken then.
        let wake = move || tx.send(()).unwrap_or(());
        Self { workers: Workers::start(threads, wake, 16).unwrap(), wakes }
    }

    /// Does one job and returns its outcome.
    fn outcome(&mut self, job: Job) -> Outcome {
        self.workers.submit(job);
        self.outcomes(1).pop().unwrap()
    }

    /// Waits until there are `count` outcomes, as the loop does: it drains what is there, and what
    /// it is woken for.
    fn outcomes(&mut self, count: usize) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            if self.workers.rest() {
                self.wakes.recv_timeout(PATIENCE).expect("the pool wakes the loop");
            }
            self.workers.drain(&mut outcomes);
        }
        outcomes
    }
}

#[test]
fn a_good_piece_is_written_and_its_frames_come_back() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 100_000);
    let mut pool = Pool::start(2);
    let second = &bytes[PIECE_LEN as usize..2 * PIECE_LEN as usize];
    for wanted in [false, true] {
        let outcome = pool.outcome(verify_job(&storage, 1, second, wanted));
        let Outcome::Verify { torrent, piece, frames: back, verdict, times } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((torrent, piece), (TorrentId(7), PieceIndex(1)));
        assert!(!times.hash_took.is_zero() && !times.write_took.is_zero(), "{times:?}");
        assert_eq!(payload(&back), second);
        let block_hashes = if wanted { hash::blocks(&frames(second)) } else { Vec::new() };
        assert_eq!(verdict.unwrap(), Verdict::Good { block_hashes });
    }
    let on_disk = fs::read(root.path().join("t/a")).unwrap();
    assert_eq!(on_disk[PIECE_LEN as usize..], *second);
    assert_eq!(pool.workers.pending(), 0);
}

#[test]
fn a_corrupt_piece_is_not_written_and_its_blocks_are_named() {
    let root = TempDir::new().unwrap();
    let (mut bytes, storage) = torrent(root.path(), PIECE_LEN as usize);
    bytes[20_000] ^= 1;
    let outcome = Pool::start(1).outcome(verify_job(&storage, 0, &bytes, false));
    let Outcome::Verify { verdict, frames: back, .. } = outcome else { panic!("{outcome:?}") };
    let block_hashes = hash::blocks(&frames(&bytes));
    assert_eq!(verdict.unwrap(), Verdict::Corrupt { block_hashes });
    assert_eq!(back.len(), 3);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_large_piece_is_hashed_over_several_jobs() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent_of_pieces(root.path(), 100_000, 1 << 20);
    let mut pool = Pool::start(2);
    for spoiled in [false, true] {
        let mut bytes = bytes.clone();
        bytes[50_000] ^= u8::from(spoiled);
        let mut midstate = Box::<Midstate>::default();
        let mut begin = 0;
        for run in bytes.chunks(2 * BLOCK_LEN as usize) {
            let storage = Arc::clone(&storage);
            let (piece, frames) = (PieceIndex(0), frames(run));
            let hashes = hash::blocks(&frames);
            let last = begin + run.len() == bytes.len();
            let at = u32::try_from(begin).unwrap();
            let job = Append { storage, piece, begin: at, frames, midstate, last };
            let outcome = pool.outcome(Job::Append(job));
            let Outcome::Append { begin: of, frames: back, result, .. } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!((of, payload(&back)), (at, run.to_vec()));
            let (appended, block_hashes) = result.unwrap();
            assert_eq!(block_hashes, hashes);
            midstate = match appended {
                Appended::Partial(midstate) if !last => midstate,
                Appended::Good if last && !spoiled => Box::default(),
                Appended::Corrupt if last && spoiled => Box::default(),
                other => panic!("{other:?} at {begin}"),
            };
            begin += run.len();
        }
        assert_eq!(fs::read(root.path().join("t/a")).unwrap(), bytes);
    }
}

#[test]
fn a_read_fills_its_frames_or_gives_them_back() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 60_000);
    let mut pool = Pool::start(1);
    for on_disk in [false, true] {
        if on_disk {
            fs::create_dir(root.path().join("t")).unwrap();
            fs::write(root.path().join("t/a"), &bytes).unwrap();
        }
        let outcome = pool.outcome(read_job(&storage, 1, 60_000 - PIECE_LEN as usize));
        let Outcome::Read { conn, piece, begin, frames, result, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((conn, piece, begin, frames.len()), (CONN, PieceIndex(1), 0, 1));
        if on_disk {
            result.unwrap();
            assert_eq!(payload(&frames), bytes[PIECE_LEN as usize..]);
        } else {
            assert_eq!(result.unwrap_err().kind, DiskErrorKind::Missing);
        }
    }
}

#[test]
fn a_check_tells_good_pieces_from_wrong_and_missing_ones() {
    let root = TempDir::new().unwrap();
    let piece_len = STEP + 5_000;
    // More pieces than are looked at side by side; the last one is shorter than a step.
    let len = 40 * piece_len as usize + 3_000;
    let (mut bytes, storage) = torrent_of_pieces(root.path(), len, piece_len);
    let mut pool = Pool::start(2);
    let mut good = |count| {
        let outcome = pool.outcome(check_job(&storage, 1, count));
        let Outcome::Check { first, checked, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(first, PieceIndex(1));
        let checked = checked.unwrap();
        assert_eq!(checked.unreadable, None);
        checked.good
    };
    assert_eq!(good(40), [false; 40], "there is nothing");
    fs::create_dir(root.path().join("t")).unwrap();
    // One is wrong in its first step, one in its second, and the file ends a byte too early.
    bytes[3 * piece_len as usize] ^= 1;
    bytes[20 * piece_len as usize + STEP as usize] ^= 1;
    fs::write(root.path().join("t/a"), &bytes[..bytes.len() - 1]).unwrap();
    let right = |piece| ![3, 20, 40].contains(&piece);
    assert_eq!(good(40), (1..=40).map(right).collect::<Vec<_>>());
    assert!(good(0).is_empty());
}

#[test]
fn a_check_that_cannot_look_fails() {
    let root = TempDir::new().unwrap();
    let (_, storage) = torrent(root.path(), 1_000);
    fs::create_dir_all(root.path().join("t/a")).unwrap();
    let outcome = Pool::start(1).outcome(check_job(&storage, 0, 1));
    let Outcome::Check { checked, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(checked.unwrap_err().kind, DiskErrorKind::InTheWay);
}

#[test]
fn stat_and_finish_are_done_by_the_pool() {
    let root = TempDir::new().unwrap();
    let (_, storage) = torrent(root.path(), 4);
    fs::create_dir(root.path().join("t")).unwrap();
    fs::write(root.path().join("t/a"), b"too long").unwrap();
    let mut pool = Pool::start(1);
    let outcome = pool.outcome(Job::Stat { storage: Arc::clone(&storage) });
    let there = Files::stat(&storage).unwrap()[0].unwrap();
    let foreign = OnDisk { len: 8, ours: false, ..there };
    assert!(matches!(&outcome, Outcome::Stat { files: Ok(f), .. } if *f == [Some(foreign), None]));
    let outcome = pool.outcome(Job::Finish { storage, cut: true, selection: Selection::all() });
    assert!(matches!(outcome, Outcome::Finish { result: Ok(()), torrent: TorrentId(7) }));
    assert_eq!(fs::read(root.path().join("t/a")).unwrap(), b"too ");
}

#[test]
fn a_panicking_job_hands_its_frames_back_and_the_thread_lives_on() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 2 * PIECE_LEN as usize);
    let mut broken = Storage { writable: true, ..Arc::into_inner(storage).unwrap() };
    broken.hashes = broken.hashes.slice(..20);
    let storage = Arc::new(broken);
    let piece = &bytes[..PIECE_LEN as usize];
    let mut pool = Pool::start(1);

    let outcome = pool.outcome(verify_job(&storage, 1, piece, false));
    let Outcome::Verify { frames: back, verdict, .. } = outcome else { panic!("{outcome:?}") };
    let error = verdict.unwrap_err();
    assert_eq!((error.kind, &error.path), (DiskErrorKind::Panicked, &storage.root));
    assert!(error.message.starts_with("the job panicked: "), "{error}");
    assert_eq!(payload(&back), piece);

    let append = Append {
        storage: Arc::clone(&storage),
        piece: PieceIndex(1),
        begin: 0,
        frames: frames(piece),
        midstate: Box::default(),
        last: true,
    };
    let outcome = pool.outcome(Job::Append(append));
    let Outcome::Append { frames: back, result, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((back.len(), result.unwrap_err().kind), (3, DiskErrorKind::Panicked));

    // Read: a run that is not within the piece. Check: a piece that the torrent does not have.
    let outcome = pool.outcome(read_job(&storage, 1, PIECE_LEN as usize + 1));
    let Outcome::Read { frames: back, result, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((back.len(), result.unwrap_err().kind), (4, DiskErrorKind::Panicked));
    let outcome = pool.outcome(check_job(&storage, 2, 1));
    assert!(matches!(outcome, Outcome::Check { checked: Err(_), .. }));

    let outcome = pool.outcome(verify_job(&storage, 0, piece, false));
    assert!(matches!(outcome, Outcome::Verify { verdict: Ok(Verdict::Good { .. }), .. }));
    assert_eq!(pool.workers.pending(), 0);
}

/// A pool of one thread that stands still in each wake until it is let go.
struct Blocked {
    workers: Workers,
    let_go: mpsc::Sender<()>,
    at_gate: mpsc::Receiver<()>,
    wakes: Arc<AtomicUsize>,
}

impl Blocked {
    /// Returns when the thread stands still; the outcome of `first` is there then.
    fn start(first: Job) -> Self {
        let (let_go, gate) = mpsc::channel::<()>();
        let (reached, at_gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        let wake = move || {
            count.fetch_add(1, Ordering::SeqCst);
            // Nobody looks any more when a test has ended.
            reached.send(()).unwrap_or(());
            gate.lock().unwrap().recv_timeout(PATIENCE).expect("let go");
        };
        let mut workers = Workers::start(1, wake, 16).unwrap();
        assert!(workers.rest());
        workers.submit(first);
        let pool = Self { workers, let_go, at_gate, wakes };
        pool.stands_still();
        pool
    }

    fn stands_still(&self) {
        self.at_gate.recv_timeout(PATIENCE).expect("the first outcome wakes");
    }

    /// Waits for all outcomes without being woken.
    fn all_outcomes(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while self.workers.pending() > 0 {
            self.workers.drain(&mut outcomes);
            std::thread::yield_now();
        }
        outcomes
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Verify { .. } => "verify",
        Outcome::Append { .. } => "append",
        Outcome::Read { .. } => "read",
        Outcome::Stat { .. } => "stat",
        Outcome::Check { .. } => "check",
        Outcome::Carry { .. } => "carry",
        Outcome::Finish { .. } => "finish",
        Outcome::Space { .. } => "space",
        Outcome::Assembled(_) => "metadata",
        Outcome::State(_) => "state",
        Outcome::LetGo { .. } => "let go",
    }
}

#[test]
fn reads_go_before_verifies_before_checks_and_each_in_order() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 2 * PIECE_LEN as usize);
    let verify = |piece: u32| {
        let start = piece as usize * PIECE_LEN as usize;
        verify_job(&storage, piece, &bytes[start..start + PIECE_LEN as usize], false)
    };
    let mut pool = Blocked::start(verify(0));
    let jobs = [
        check_job(&storage, 0, 1),
        verify(1),
        Job::Stat { storage: Arc::clone(&storage) },
        read_job(&storage, 0, 10),
        verify(0),
        read_job(&storage, 0, 20),
        Job::Finish { storage: Arc::clone(&storage), cut: false, selection: Selection::all() },
    ];
    for job in jobs {
        pool.workers.submit(job);
    }
    assert_eq!(pool.workers.pending(), 8);
    pool.let_go.send(()).unwrap();
    let outcomes = pool.all_outcomes();
    let names: Vec<&str> = outcomes.iter().map(name).collect();
    let expected = ["verify", "read", "read", "verify", "verify", "check", "stat", "finish"];
    assert_eq!(names, expected);
    let lens = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Read { frames, .. } => Some(frames[0].len()),
        _ => None,
    });
    assert_eq!(lens.collect::<Vec<_>>(), [10, 20], "first come, first served");
    let pieces = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Verify { piece, .. } => Some(piece.0),
        _ => None,
    });
    assert_eq!(pieces.collect::<Vec<_>>(), [0, 1, 0]);
}

#[test]
fn the_loop_is_woken_once_and_only_while_it_rests() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), PIECE_LEN as usize);
    let verify = || verify_job(&storage, 0, &bytes, false);
    let mut pool = Blocked::start(verify());
    assert!(!pool.workers.rest(), "there is an outcome");
    let mut outcomes = Vec::new();
    pool.workers.drain(&mut outcomes);
    assert_eq!(outcomes.len(), 1);
    // At work, the loop is not disturbed.
    pool.workers.submit(verify());
    pool.let_go.send(()).unwrap();
    outcomes.append(&mut pool.all_outcomes());
    assert_eq!(pool.wakes.load(Ordering::SeqCst), 1);

    assert!(pool.workers.rest());
    for _ in 0..5 {
        pool.workers.submit(verify());
    }
    pool.let_go.send(()).unwrap();
    assert!(pool.workers.stop(Stop::AfterWrites, PATIENCE));
    assert_eq!(pool.wakes.load(Ordering::SeqCst), 2, "once for all five");
    pool.workers.drain(&mut outcomes);
    assert_eq!((outcomes.len(), pool.workers.pending()), (7, 0));
}

#[test]
fn pieces_that_are_hashed_side_by_side_are_judged_one_by_one() {
    const PIECES: u32 = 20;
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), (PIECES * PIECE_LEN) as usize - 100);
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE_LEN as usize).collect();
    let mut pool = Blocked::start(verify_job(&storage, 0, pieces[0], false));
    // Every third one is spoiled, and for the last one there is no hash.
    let spoiled = |piece: u32| piece % 3 == 2;
    for (piece, bytes) in (0..).zip(&pieces) {
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= u8::from(spoiled(piece));
        pool.workers.submit(verify_job(&storage, piece, &bytes, false));
    }
    let mut midstate = Box::<Midstate>::default();
    hash::update_bytes(&mut midstate, &pieces[4][..BLOCK_LEN as usize]);
    let rest = frames(&pieces[4][BLOCK_LEN as usize..]);
    pool.workers.submit(Job::Append(Append {
        storage: Arc::clone(&storage),
        piece: PieceIndex(4),
        begin: BLOCK_LEN,
        frames: rest,
        midstate,
        last: true,
    }));
    pool.workers.submit(verify_job(&storage, PIECES, pieces[0], false));
    pool.let_go.send(()).unwrap();
    let outcomes = pool.all_outcomes();
    assert_eq!(outcomes.len(), 1 + PIECES as usize + 2);
    for (at, outcome) in (0..).zip(&outcomes[1..]) {
        match outcome {
            Outcome::Verify { piece, frames: back, verdict, .. } if at < PIECES => {
                assert_eq!(*piece, PieceIndex(at), "in order");
                let good = matches!(verdict, Ok(Verdict::Good { .. }));
                assert_eq!(good, !spoiled(at), "{at}: {verdict:?}");
                assert_eq!(payload(back).len(), pieces[at as usize].len());
            }
            Outcome::Append { result: Ok((Appended::Good, hashes)), .. } => {
                assert_eq!(hashes.len(), 2);
            }
            Outcome::Verify { frames: back, verdict: Err(error), .. } => {
                assert_eq!((error.kind, back.len()), (DiskErrorKind::Panicked, 3));
            }
            other => panic!("{other:?}"),
        }
    }
    let on_disk = fs::read(root.path().join("t/a")).unwrap();
    for (piece, (is, was)) in (0..).zip(on_disk.chunks(PIECE_LEN as usize).zip(&pieces)) {
        assert_eq!(is == *was, !spoiled(piece), "piece {piece}");
    }
}

#[test]
fn a_read_does_not_wait_for_all_pieces_that_were_hashed_with_the_first() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), PIECE_LEN as usize);
    let verify = || verify_job(&storage, 0, &bytes, false);
    let mut pool = Blocked::start(verify());
    for _ in 0..3 {
        pool.workers.submit(verify());
    }
    let mut outcomes = Vec::new();
    pool.workers.drain(&mut outcomes);
    assert!(pool.workers.rest());
    pool.let_go.send(()).unwrap();
    pool.stands_still();
    pool.workers.submit(read_job(&storage, 0, 10));
    pool.let_go.send(()).unwrap();
    outcomes.append(&mut pool.all_outcomes());
    let names: Vec<&str> = outcomes.iter().map(name).collect();
    assert_eq!(names, ["verify", "verify", "read", "verify", "verify"]);
}

#[test]
fn shutdown_writes_what_was_queued_and_drops_the_rest() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 2 * PIECE_LEN as usize);
    let (first, second) = bytes.split_at(PIECE_LEN as usize);
    let mut pool = Blocked::start(verify_job(&storage, 0, first, false));
    pool.workers.submit(read_job(&storage, 0, 10));
    pool.workers.submit(check_job(&storage, 0, 2));
    pool.workers.submit(verify_job(&storage, 1, second, false));
    pool.workers.submit(Job::Close { torrent: storage.torrent });
    let shared = Arc::clone(&pool.workers.shared);
    let let_go = pool.let_go;
    let gatekeeper = std::thread::spawn(move || {
        while shared.queue().stop == Stop::Never {
            std::thread::yield_now();
        }
        let_go.send(()).unwrap();
    });
    assert!(pool.workers.stop(Stop::AfterWrites, PATIENCE));
    gatekeeper.join().unwrap();
    let mut outcomes = Vec::new();
    pool.workers.drain(&mut outcomes);
    assert_eq!(outcomes.iter().map(name).collect::<Vec<_>>(), ["verify", "verify"]);
    assert_eq!(pool.workers.pending(), 0);
    assert_eq!(fs::read(root.path().join("t/a")).unwrap(), bytes);
}

#[test]
fn shutdown_waits_no_longer_than_its_deadline() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), PIECE_LEN as usize);
    let pool = Blocked::start(verify_job(&storage, 0, &bytes, false));
    assert!(!pool.workers.shutdown(Duration::ZERO), "its thread stands still");
    pool.let_go.send(()).unwrap();
}

#[test]
fn dropping_the_pool_ends_its_threads_after_the_job_at_hand() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 2 * PIECE_LEN as usize);
    let (first, second) = bytes.split_at(PIECE_LEN as usize);
    let mut pool = Blocked::start(verify_job(&storage, 0, first, false));
    pool.workers.submit(verify_job(&storage, 1, second, false));
    let shared = Arc::clone(&pool.workers.shared);
    drop(pool.workers);
    pool.let_go.send(()).unwrap();
    let queue = shared.queue();
    let living = |queue: &mut Queue| queue.living > 0;
    let (queue, waited) = shared.changed.wait_timeout_while(queue, PATIENCE, living).unwrap();
    assert!(!waited.timed_out(), "the thread is there: {queue:?}");
    assert!(queue.is_finished());
    assert_eq!(fs::read(root.path().join("t/a")).unwrap(), first, "what was queued is not done");
}

#[test]
fn a_close_waits_for_the_jobs_of_its_torrent_only() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), PIECE_LEN as usize);
    let job = |torrent| {
        let layout = storage.layout.clone();
        let (root, hashes) = (storage.root.clone(), storage.hashes.clone());
        let info_hash = storage.info_hash;
        let (parts, writable, state) = (None, true, None);
        let storage = Storage {
            torrent,
            info_hash,
            root,
            layout,
            parts,
            hashes,
            writable,
            state,
            rules: crate::disk::job::Rules::default(),
        };
        verify_job(&Arc::new(storage), 0, &bytes, false)
    };
    let (mine, other) = (TorrentId(1), TorrentId(2));
    let mut queue = Queue::default();
    queue.living += 2;
    let push = |queue: &mut Queue, job| queue.push(Queued { job, since: Instant::now() });
    push(&mut queue, job(mine));
    push(&mut queue, Job::Close { torrent: mine });
    push(&mut queue, job(other));
    push(&mut queue, Job::Close { torrent: TorrentId(3) });
    let pop = |queue: &mut Queue| {
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch), batch.len() == 1);
        batch.pop().map(|Queued { job, .. }| (torrent_of(&job), class(&job)))
    };
    assert_eq!(pop(&mut queue), Some((TorrentId(3), 2)), "nothing of it is unfinished");
    assert_eq!(pop(&mut queue), Some((mine, 1)));
    assert_eq!(pop(&mut queue), Some((other, 1)));
    assert_eq!(pop(&mut queue), None, "the jobs are being done");
    queue.finished(mine);
    assert_eq!(pop(&mut queue), Some((mine, 2)));
    assert_eq!(pop(&mut queue), None);
    queue.finished(other);
    assert!(queue.is_finished());
}

#[test]
fn each_thread_takes_its_share_of_what_can_be_hashed_side_by_side() {
    let root = TempDir::new().unwrap();
    let (bytes, storage) = torrent(root.path(), 1_000);
    let takes = |living: usize, jobs: Vec<Job>| {
        let mut queue = Queue::default();
        queue.living += living;
        for job in jobs {
            queue.push(Queued { job, since: Instant::now() });
        }
        let mut taken = Vec::new();
        let mut batch = Vec::new();
        while queue.take(&mut batch) {
            taken.push(batch.drain(..).len());
        }
        taken
    };
    let verifies = |count: usize| (0..count).map(|_| verify_job(&storage, 0, &bytes, false));
    assert_eq!(takes(2, verifies(1).collect()), [1], "nothing waits for more to come");
    assert_eq!(takes(2, verifies(5).collect()), [3, 1, 1]);
    assert_eq!(takes(1, verifies(40).collect()), [16, 16, 8], "no more than there are lanes");
    let others = [read_job(&storage, 0, 1), read_job(&storage, 0, 1), check_job(&storage, 0, 1)];
    assert_eq!(takes(1, others.into_iter().chain(verifies(3)).collect()), [1, 1, 3, 1]);
    // 6 MiB each: the third would keep reads waiting for too long.
    let large = vec![0; 6 << 20];
    let large = || verify_job(&storage, 0, &large, false);
    assert_eq!(takes(1, (0..5).map(|_| large()).collect()), [2, 2, 1]);
    let huge = vec![0; 17 << 20];
    assert_eq!(takes(1, vec![verify_job(&storage, 0, &huge, false)]), [1]);
}
