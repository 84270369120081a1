//! Files on a real disk, and faults as far as a test can make them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use tempfile::TempDir;

use super::fault::{Halt, kind_of};
use super::run::{MAX_IOV, in_full};
use super::*;
use crate::disk::job::{Alloc, Rules};
use crate::disk::layout::{FileSpec, Layout, Span};
use crate::disk::parts::Parts;
use crate::disk::selection::Selection;
use crate::id::{BLOCK_LEN, InfoHash};

const PIECE_LEN: u32 = 4 * BLOCK_LEN;

pub(super) fn storage(root: &Path, files: &[(&str, u64)]) -> Storage {
    let spec = |&(path, len): &(&str, u64)| {
        let pad = path.starts_with(".pad");
        FileSpec { path: PathBuf::from(path), len, pad }
    };
    let layout = Layout::new(files.iter().map(spec), PIECE_LEN);
    let hashes = vec![0; layout.piece_count() as usize * 20].into();
    Storage {
        torrent: TorrentId(7),
        info_hash: InfoHash([7; 20]),
        root: root.to_owned(),
        layout: Arc::new(layout),
        parts: None,
        hashes,
        writable: true,
        rules: Rules { alloc: Alloc::None, ..Rules::default() },
        state: None,
    }
}

/// Returns `payload` in frames of at most a block.
pub(super) fn frames(payload: &[u8]) -> Vec<Frame> {
    payload.chunks(BLOCK_LEN as usize).map(Frame::holding).collect()
}

/// Returns `len` bytes of which none is zero and no two neighbouring blocks are alike.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap() + 1).collect()
}

pub(super) fn payload(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.payload().to_vec()).collect()
}

fn read(files: &Files, storage: &Storage, piece: u32, len: usize) -> Result<Vec<u8>, DiskError> {
    let mut out = vec![0xaa; len];
    files.read_into(storage, PieceIndex(piece), 0, &mut out).map(|()| out)
}

fn kind(result: Result<impl std::fmt::Debug, DiskError>) -> (DiskOp, DiskErrorKind) {
    let error = result.expect_err("refused");
    (error.op, error.kind)
}

#[test]
fn a_run_over_several_files_goes_where_it_belongs_and_comes_back() {
    let root = TempDir::new().unwrap();
    let lens = [("t/a", 10_000), ("t/b/c/none", 0), ("t/b/c/d", 30_000), ("t/e", 10_000)];
    let storage = storage(root.path(), &lens);
    let files = Files::new(8);
    let bytes = pattern(50_000);
    files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
    assert_eq!(fs::read(root.path().join("t/a")).unwrap(), bytes[..10_000]);
    assert_eq!(fs::read(root.path().join("t/b/c/d")).unwrap(), bytes[10_000..40_000]);
    assert_eq!(fs::read(root.path().join("t/e")).unwrap(), bytes[40_000..]);
    assert!(!root.path().join("t/b/c/none").exists(), "made by finish only");

    assert_eq!(read(&files, &storage, 0, 50_000).unwrap(), bytes);
    let mut run = frames(&vec![0; 39_000]);
    files.read_run(&storage, PieceIndex(0), 9_000, &mut run).unwrap();
    assert_eq!(payload(&run), bytes[9_000..48_000]);
}

#[test]
fn pad_files_are_never_on_disk_and_read_as_zeros() {
    let root = TempDir::new().unwrap();
    let storage = storage(root.path(), &[("a", 100), (".pad/50", 50), ("b", 100)]);
    let files = Files::new(8);
    let bytes = pattern(250);
    files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
    assert_eq!(fs::read(root.path().join("b")).unwrap(), bytes[150..]);
    assert!(!root.path().join(".pad").exists());
    let mut expected = bytes;
    expected[100..150].fill(0);
    assert_eq!(read(&files, &storage, 0, 250).unwrap(), expected);
    assert_eq!(lens(&storage), [Some(100), None, Some(100)]);
}

#[test]
fn a_write_far_out_leaves_a_hole() {
    let root = TempDir::new().unwrap();
    let storage = storage(root.path(), &[("big", 6 << 30)]);
    let files = Files::new(8);
    let piece = PieceIndex(u32::try_from((5u64 << 30) / u64::from(PIECE_LEN)).unwrap());
    files.write_run(&storage, piece, 5, &frames(b"far out")).unwrap();
    let meta = fs::metadata(root.path().join("big")).unwrap();
    assert_eq!(meta.len(), (5 << 30) + 12, "grown by the write, not set to its final length");
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    assert_eq!(read(&files, &storage, piece.0, 12).unwrap(), b"\0\0\0\0\0far out");
    assert_eq!(read(&files, &storage, 0, 3).unwrap(), [0; 3]);
}

#[test]
fn more_blocks_than_one_call_takes_are_written_and_read() {
    let root = TempDir::new().unwrap();
    let storage = storage(root.path(), &[("a", 3_000), ("b", 3_000)]);
    let files = Files::new(8);
    let bytes = pattern(5_000);
    let tiny: Vec<Frame> = bytes.chunks(2).flat_map(frames).collect();
    assert!(tiny.len() > 2 * MAX_IOV);
    files.write_run(&storage, PieceIndex(0), 0, &tiny).unwrap();
    assert_eq!(fs::read(root.path().join("b")).unwrap(), bytes[3_000..]);
    let mut back: Vec<Frame> = (0..2_500).flat_map(|_| frames(&[0; 2])).collect();
    files.read_run(&storage, PieceIndex(0), 0, &mut back).unwrap();
    assert_eq!(payload(&back), bytes);
}

#[test]
fn a_missing_or_short_file_is_missing_and_is_not_made() {
    let root = TempDir::new().unwrap();
    let storage = storage(root.path(), &[("t/a", 10)]);
    let files = Files::new(8);
    assert_eq!(kind(read(&files, &storage, 0, 4)), (DiskOp::Open, DiskErrorKind::Missing));
    assert_eq!(lens(&storage), [None]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

    fs::create_dir(root.path().join("t")).unwrap();
    fs::write(root.path().join("t/a"), b"abcd").unwrap();
    assert_eq!(read(&files, &storage, 0, 4).unwrap(), b"abcd");
    let error = read(&files, &storage, 0, 5).expect_err("the fifth byte is not there");
    assert_eq!((error.op, error.kind), (DiskOp::Read, DiskErrorKind::Missing));
    assert!(error.to_string().ends_with("t/a\": the file ends before byte 4"), "{error}");
}

#[test]
fn the_download_folder_is_made_and_may_be_a_symlink() {
    let root = TempDir::new().unwrap();
    let files = Files::new(8);
    let new = storage(&root.path().join("new/er"), &[("a", 3)]);
    files.write_run(&new, PieceIndex(0), 0, &frames(b"abc")).unwrap();
    assert_eq!(fs::read(root.path().join("new/er/a")).unwrap(), b"abc");

    symlink(root.path().join("new/er"), root.path().join("link")).unwrap();
    let linked = storage(&root.path().join("link"), &[("a", 3)]);
    assert_eq!(read(&files, &linked, 0, 3).unwrap(), b"abc");
}

#[test]
fn no_symlink_below_the_download_folder_is_followed() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("victim"), b"untouched").unwrap();
    for (file, link, target) in [
        ("victim", "victim", "victim"),
        ("new", "new", "not-there-yet"),
        ("t/victim", "t", ""),
        ("t/u/victim", "t", "."),
    ] {
        let root = TempDir::new().unwrap();
        symlink(outside.path().join(target), root.path().join(link)).unwrap();
        let storage = storage(root.path(), &[(file, 9), ("empty", 0)]);
        let files = Files::new(8);
        let in_the_way = DiskErrorKind::InTheWay;
        let written = files.write_run(&storage, PieceIndex(0), 0, &frames(b"malicious"));
        assert_eq!(kind(written), (DiskOp::Open, in_the_way), "write {file}");
        assert_eq!(kind(read(&files, &storage, 0, 9)), (DiskOp::Open, in_the_way), "read {file}");
        assert_eq!(kind(Files::stat(&storage)).1, in_the_way, "stat {file}");
        assert_eq!(
            kind(files.finish(&storage, &Selection::all(), true)).1,
            in_the_way,
            "finish {file}"
        );
        assert!(!root.path().join("empty").exists(), "nothing is made before all is looked at");
    }
    assert_eq!(fs::read(outside.path().join("victim")).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_regular_file_is_in_the_way() {
    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("file"), b"").unwrap();
    let pipe = (at("pipe"), FileType::Fifo);
    rustix::fs::mknodat(CWD, pipe.0, pipe.1, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for name in ["folder", "pipe", "socket", "file/below"] {
        let storage = storage(root.path(), &[(name, 5)]);
        let files = Files::new(8);
        let written = files.write_run(&storage, PieceIndex(0), 0, &frames(b"bytes"));
        assert_eq!(kind(written).1, DiskErrorKind::InTheWay, "write {name}");
        assert_eq!(kind(read(&files, &storage, 0, 5)).1, DiskErrorKind::InTheWay, "read {name}");
        assert_eq!(kind(Files::stat(&storage)).1, DiskErrorKind::InTheWay, "stat {name}");
    }
}

#[test]
fn a_path_that_leads_out_is_refused_even_if_a_parser_let_it_through() {
    let outer = TempDir::new().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let absolute = outer.path().join("absolute");
    for path in ["../out", "a/../../out", absolute.to_str().unwrap(), ""] {
        let storage = storage(&root, &[(path, 3)]);
        let written = Files::new(8).write_run(&storage, PieceIndex(0), 0, &frames(b"abc"));
        assert_eq!(kind(written), (DiskOp::Open, DiskErrorKind::Other), "{path}");
    }
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
}

#[test]
fn a_storage_that_is_not_writable_touches_nothing() {
    let root = TempDir::new().unwrap();
    let mut storage = storage(root.path(), &[("t/a", 3), ("empty", 0), ("long", 1)]);
    fs::write(root.path().join("long"), b"long").unwrap();
    storage.writable = false;
    let files = Files::new(8);
    let written = files.write_run(&storage, PieceIndex(0), 0, &frames(b"abc"));
    assert_eq!(kind(written), (DiskOp::Write, DiskErrorKind::ReadOnly));
    files.finish(&storage, &Selection::all(), true).unwrap();
    assert_eq!(fs::read(root.path().join("long")).unwrap(), b"long");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn finish_makes_empty_files_and_cuts_only_if_allowed() {
    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    let lens = [("t/empty", 0), ("long", 4), ("short", 4), ("gone", 4), ("full", 0), (".pad/9", 9)];
    let storage = storage(root.path(), &lens);
    for (name, bytes) in [("long", "foreign"), ("short", "ab"), ("full", "foreign")] {
        fs::write(at(name), bytes).unwrap();
    }
    let files = Files::new(8);
    files.finish(&storage, &Selection::all(), false).unwrap();
    assert_eq!(fs::read(at("t/empty")).unwrap(), b"");
    assert_eq!(fs::read(at("long")).unwrap(), b"foreign", "longer, and nobody said cut");
    assert_eq!(fs::read(at("full")).unwrap(), b"foreign");

    files.finish(&storage, &Selection::all(), true).unwrap();
    assert_eq!(fs::read(at("long")).unwrap(), b"fore");
    assert_eq!(fs::read(at("full")).unwrap(), b"");
    assert_eq!(fs::read(at("short")).unwrap(), b"ab", "never grown");
    assert!(!at("gone").exists() && !at(".pad").exists());
}

#[test]
fn an_existing_longer_file_keeps_its_end_when_written() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a"), b"0123456789").unwrap();
    let storage = storage(root.path(), &[("a", 4)]);
    Files::new(8).write_run(&storage, PieceIndex(0), 0, &frames(b"abcd")).unwrap();
    assert_eq!(fs::read(root.path().join("a")).unwrap(), b"abcd456789");
    assert_eq!(lens(&storage), [Some(10)]);
}

#[test]
fn a_file_opened_for_reading_is_reopened_for_writing() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a"), b"abc").unwrap();
    let storage = storage(root.path(), &[("a", 3)]);
    let files = Files::new(8);
    assert_eq!(read(&files, &storage, 0, 3).unwrap(), b"abc");
    files.write_run(&storage, PieceIndex(0), 1, &frames(b"X")).unwrap();
    assert_eq!(read(&files, &storage, 0, 3).unwrap(), b"aXc");
    let cache = files.lock();
    assert_eq!((cache.entries.len(), cache.by_use.len()), (1, 1));
    assert!(cache.entries.values().all(|entry| entry.access == Access::Write));
}

#[test]
fn the_least_recently_used_file_is_closed_first() {
    let root = TempDir::new().unwrap();
    let storage = storage(root.path(), &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
    let files = Files::new(2);
    let touch = |begin: u32| files.write_run(&storage, PieceIndex(0), begin, &frames(b"x"));
    let open = || files.lock().entries.keys().map(|key| key.1).collect::<Vec<_>>();
    touch(0).unwrap();
    touch(1).unwrap();
    touch(0).unwrap();
    touch(2).unwrap();
    assert_eq!(open(), [0, 2], "1 was used longest ago");
    touch(3).unwrap();
    assert_eq!(open(), [2, 3]);

    let other = Storage { torrent: TorrentId(8), root: root.path().to_owned(), ..storage };
    read(&files, &other, 0, 1).unwrap();
    files.close(TorrentId(7));
    let cache = files.lock();
    assert_eq!(cache.entries.keys().collect::<Vec<_>>(), [&(TorrentId(8), 0)]);
    assert_eq!(cache.by_use.values().collect::<Vec<_>>(), [&(TorrentId(8), 0)]);
}

#[test]
fn the_systems_errors_are_sorted_by_what_can_be_done() {
    for (errno, kind) in [
        (Errno::NOSPC, DiskErrorKind::Full),
        (Errno::DQUOT, DiskErrorKind::Full),
        (Errno::FBIG, DiskErrorKind::Full),
        (Errno::ACCESS, DiskErrorKind::Permission),
        (Errno::PERM, DiskErrorKind::Permission),
        (Errno::ROFS, DiskErrorKind::ReadOnly),
        (Errno::NOENT, DiskErrorKind::Missing),
        (Errno::LOOP, DiskErrorKind::InTheWay),
        (Errno::NOTDIR, DiskErrorKind::InTheWay),
        (Errno::ISDIR, DiskErrorKind::InTheWay),
        (Errno::NXIO, DiskErrorKind::InTheWay),
        (Errno::IO, DiskErrorKind::Other),
        (Errno::NAMETOOLONG, DiskErrorKind::Other),
    ] {
        assert_eq!(kind_of(errno), kind, "{errno}");
    }
    let error = failed(DiskOp::Write, PathBuf::from("a\nb"), Errno::NOSPC);
    assert_eq!(error.to_string(), "cannot write \"a\\x0ab\": no space left on device");
}

/// A small file system of its own, unmounted in the end.
struct Tmpfs(TempDir);

impl Tmpfs {
    /// Returns `None`, and says so, where the test may not mount.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "swarmloop-test"])
            .arg(dir.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: mounting a tmpfs needs root");
        None
    }

    fn make_read_only(&self) {
        let mount = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status();
        assert!(mount.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg(self.0.path()).status();
        assert!(umount.is_ok_and(|status| status.success()), "{:?} is still mounted", self.0);
    }
}

#[test]
fn a_full_and_a_read_only_file_system_are_told_apart() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let storage = storage(tmpfs.0.path(), &[("t/a", 1 << 20), ("u/b", 1 << 20)]);
    let files = Files::new(8);
    let mut last = Ok(());
    for piece in (0..16).map(PieceIndex) {
        last = last.and(files.write_run(&storage, piece, 0, &frames(&pattern(4 << 14))));
    }
    assert_eq!(kind(last), (DiskOp::Write, DiskErrorKind::Full));
    files.close(storage.torrent);

    tmpfs.make_read_only();
    let in_b = PieceIndex(16);
    let written = files.write_run(&storage, PieceIndex(0), 0, &frames(b"abc"));
    assert_eq!(kind(written), (DiskOp::Open, DiskErrorKind::ReadOnly));
    let written = files.write_run(&storage, in_b, 0, &frames(b"abc"));
    assert_eq!(kind(written), (DiskOp::CreateFolder, DiskErrorKind::ReadOnly));
}

#[test]
fn a_place_that_takes_nothing_is_found_by_trying_and_nothing_is_left_of_that() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let in_folders = storage(tmpfs.0.path(), &[("t/a", 1), ("u/b", 1)]);
    let alone = storage(tmpfs.0.path(), &[("a", 1)]);
    let new = storage(&tmpfs.0.path().join("new/er"), &[("a", 1)]);
    for storage in [&in_folders, &alone, &new] {
        assert_eq!(Files::try_to_make(storage, &[0]), Ok(()));
    }
    assert_eq!(fs::read_dir(tmpfs.0.path()).unwrap().count(), 0);
    fs::create_dir(tmpfs.0.path().join("t")).unwrap();
    tmpfs.make_read_only();
    // What is there may be writable though its folder is not.
    assert_eq!(Files::try_to_make(&in_folders, &[0]), Ok(()));
    assert_eq!(Files::try_to_make(&in_folders, &[]), Ok(()));
    let nowhere = storage(Path::new("/proc/new"), &[("a", 1)]);
    for (storage, wanted, op, path) in [
        (&in_folders, 1, DiskOp::CreateFolder, "u"),
        (&alone, 0, DiskOp::Open, "a"),
        (&new, 0, DiskOp::CreateFolder, "new/er"),
        (&nowhere, 0, DiskOp::CreateFolder, "/proc/new"),
    ] {
        let error = Files::try_to_make(storage, &[wanted]).unwrap_err();
        assert_eq!(error.path, tmpfs.0.path().join(path));
        assert_eq!((error.op, error.kind), (op, DiskErrorKind::ReadOnly));
    }
}

#[test]
fn interruptions_are_repeated_and_errors_and_silence_are_not() {
    let span = Span { file: 0, offset: 100, len: 10, pad: false };
    for (script, expected, offsets) in [
        (vec![Ok(10)], Ok(()), vec![100]),
        (vec![Ok(3), Err(Errno::INTR), Ok(7)], Ok(()), vec![100, 103, 103]),
        (vec![Ok(9), Ok(0)], Err(Halt::Nothing { offset: 109 }), vec![100, 109]),
        (vec![Ok(4), Err(Errno::NOSPC)], Err(Halt::Failed(Errno::NOSPC)), vec![100, 104]),
        (vec![Err(Errno::INTR), Err(Errno::IO)], Err(Halt::Failed(Errno::IO)), vec![100, 100]),
    ] {
        let mut script = script.into_iter();
        let mut seen = Vec::new();
        let result = in_full(span, |offset, left| {
            assert_eq!(offset + left, 110);
            seen.push(offset);
            script.next().unwrap()
        });
        assert_eq!((result, seen), (expected, offsets));
    }
}

proptest! {
    /// A device that moves any number of bytes at a time, in both directions.
    #[test]
    fn short_transfers_lose_and_repeat_nothing(
        lens in prop::collection::vec(1usize..50, 1..20),
        cut in any::<prop::sample::Index>(),
        portions in prop::collection::vec(1usize..40, 1..50),
    ) {
        let bytes = pattern(lens.iter().sum());
        let len = cut.index(bytes.len()) + 1;
        let span = Span { file: 0, offset: 9, len: len as u64, pad: false };
        let mut portion = portions.iter().copied().cycle();

        let mut at = 0;
        let mut next = |len: &usize| { at += len; &bytes[at - len..at] };
        let parts: Vec<&[u8]> = lens.iter().map(&mut next).collect();
        let mut ranges: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut device = vec![0; 9];
        let ranges = write_span(&mut ranges, span, |ranges, offset| {
            assert_eq!(offset, device.len() as u64);
            let flat: Vec<u8> = ranges.iter().flat_map(|range| range.to_vec()).collect();
            let moved = portion.next().unwrap().min(flat.len());
            device.extend_from_slice(&flat[..moved]);
            Ok(moved)
        }).unwrap();
        prop_assert_eq!(&device[9..], &bytes[..len]);
        let rest: Vec<u8> = ranges.iter().flat_map(|range| range.to_vec()).collect();
        prop_assert_eq!(&rest[..], &bytes[len..]);

        let mut read: Vec<Vec<u8>> = lens.iter().map(|&len| vec![0; len]).collect();
        let mut ranges: Vec<_> = read.iter_mut().map(|part| IoSliceMut::new(part)).collect();
        read_span(&mut ranges, span, |ranges, offset| {
            let mut left = portion.next().unwrap();
            let mut from = usize::try_from(offset).unwrap();
            for range in ranges {
                let taken = range.len().min(left);
                range[..taken].copy_from_slice(&device[from..from + taken]);
                (from, left) = (from + taken, left - taken);
            }
            Ok(from - usize::try_from(offset).unwrap())
        }).unwrap();
        prop_assert_eq!(&read.concat()[..len], &bytes[..len]);
        prop_assert!(read.concat()[len..].iter().all(|&byte| byte == 0));
    }
}

/// The lengths of what is there, beside a parts file that is not.
fn lens(storage: &Storage) -> Vec<Option<u64>> {
    let mut files = Files::stat(storage).unwrap();
    assert_eq!(files.pop(), Some(None), "a parts file");
    files.iter().map(|file| file.map(|file| file.len)).collect()
}

#[test]
fn a_file_that_was_made_for_a_torrent_is_known_again_until_it_is_finished() {
    let root = TempDir::new().unwrap();
    let one = storage(root.path(), &[("a", 100), ("b", 100)]);
    fs::write(root.path().join("b"), [1; 50]).unwrap();
    let probe = root.path().join("probe");
    fs::write(&probe, []).unwrap();
    if rustix::fs::setxattr(&probe, "user.x", b"1", rustix::fs::XattrFlags::CREATE).is_err() {
        return; // Nothing can be marked here: everything is foreign, which is the safe side.
    }
    let files = Files::new(8);
    files.write_run(&one, PieceIndex(0), 0, &frames(&[2; 200])).unwrap();
    let ours = |storage: &Storage| -> Vec<bool> {
        Files::stat(storage).unwrap().iter().flatten().map(|file| file.ours).collect()
    };
    assert_eq!(ours(&one), [true, false], "one was made, the other was there");
    let other = Storage { info_hash: InfoHash([8; 20]), ..storage(root.path(), &[("a", 100)]) };
    assert_eq!(ours(&other), [false], "another torrent's");
    files.finish(&one, &Selection::all(), false).unwrap();
    assert_eq!(ours(&one), [false, false], "finished");
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// A torrent of three files in one piece, of which the first and the last are in the parts file.
fn two_held(root: &Path) -> Storage {
    let storage = storage(root, &[("t/a", 10_000), ("t/b", 30_000), ("t/c", 10_000)]);
    let parts = Parts::new(&storage.layout, [0, 2]);
    storage.with_parts(parts)
}

#[test]
fn bytes_of_files_that_are_not_made_are_kept_apart_and_come_back() {
    let root = TempDir::new().unwrap();
    let (storage, files, bytes) = (two_held(root.path()), Files::new(8), pattern(50_000));
    files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
    assert_eq!(names(root.path()), [".t.parts", "t"]);
    assert_eq!(names(&root.path().join("t")), ["b"]);
    assert_eq!(fs::read(root.path().join("t/b")).unwrap(), bytes[10_000..40_000]);
    assert_eq!(read(&files, &storage, 0, 50_000).unwrap(), bytes);
    let mut resident = frames(&vec![0; 50_000]);
    assert!(files.read_resident(&storage, PieceIndex(0), 0, &mut resident));
    assert_eq!(payload(&resident), bytes);
    // Another process finds it again.
    assert_eq!(read(&Files::new(8), &storage, 0, 50_000).unwrap(), bytes);
    let there = Files::stat(&storage).unwrap();
    assert_eq!(there[..3].iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
    assert!(there[3].unwrap().len >= 4_096 + 50_000);
}

#[test]
fn files_are_carried_out_of_the_parts_file_and_it_goes_when_it_is_empty() {
    let root = TempDir::new().unwrap();
    let (storage, files, bytes) = (two_held(root.path()), Files::new(8), pattern(50_000));
    files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
    files.carry(&storage, 0, &[]).unwrap();
    assert_eq!(names(&root.path().join("t")), ["b"], "nothing is known to be right");
    files.carry(&storage, 0, &[PieceIndex(0)]).unwrap();
    assert_eq!(fs::read(root.path().join("t/a")).unwrap(), bytes[..10_000]);
    let one_held = storage.with_parts(Parts::new(&storage.layout, [2]));
    assert_eq!(read(&files, &one_held, 0, 50_000).unwrap(), bytes);
    assert_eq!(lens_with_parts(&one_held)[..3], [Some(10_000), Some(30_000), None]);
    files.finish(&one_held, &Selection::all(), false).unwrap();
    assert_eq!(names(root.path()), [".t.parts", "t"]);

    files.carry(&one_held, 2, &[PieceIndex(0)]).unwrap();
    let none_held = storage.with_parts(None);
    files.finish(&none_held, &Selection::all(), false).unwrap();
    assert_eq!(names(root.path()), ["t"]);
    assert_eq!(read(&files, &none_held, 0, 50_000).unwrap(), bytes);
    // It is made anew when it is needed again.
    files.write_run(&two_held(root.path()), PieceIndex(0), 0, &frames(&bytes)).unwrap();
    assert_eq!(names(root.path()), [".t.parts", "t"]);
}

fn lens_with_parts(storage: &Storage) -> Vec<Option<u64>> {
    Files::stat(storage).unwrap().iter().map(|file| file.map(|file| file.len)).collect()
}

#[test]
fn a_file_that_came_where_one_is_carried_to_is_left_as_it_is() {
    let root = TempDir::new().unwrap();
    let (storage, files, bytes) = (two_held(root.path()), Files::new(8), pattern(50_000));
    files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
    fs::write(root.path().join("t/a"), b"mine").unwrap();
    let refused = kind(files.carry(&storage, 0, &[PieceIndex(0)]));
    assert_eq!(refused, (DiskOp::Open, DiskErrorKind::InTheWay));
    assert_eq!(fs::read(root.path().join("t/a")).unwrap(), b"mine");
}

#[test]
fn a_stranger_of_the_parts_files_name_is_left_alone() {
    for stranger in ["a file", "an empty file", "a folder", "a link"] {
        let root = TempDir::new().unwrap();
        let taken = root.path().join(".t.parts");
        match stranger {
            "a file" => fs::write(&taken, b"swarmloop parts file 1, not quite").unwrap(),
            "an empty file" => fs::write(&taken, b"").unwrap(),
            "a folder" => fs::create_dir(&taken).unwrap(),
            _ => symlink("nowhere", &taken).unwrap(),
        }
        let before = fs::read(&taken).ok();
        let (storage, files, bytes) = (two_held(root.path()), Files::new(8), pattern(50_000));
        files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
        let hash = format!(".{}.parts", storage.info_hash);
        assert_eq!(names(root.path()), [&hash, ".t.parts", "t"], "{stranger}");
        assert_eq!(read(&Files::new(8), &storage, 0, 50_000).unwrap(), bytes, "{stranger}");
        files.finish(&storage.with_parts(None), &Selection::all(), false).unwrap();
        assert_eq!(names(root.path()), [".t.parts", "t"], "{stranger}");
        assert_eq!(fs::read(&taken).ok(), before, "{stranger}");
        // The parts file of another torrent is none of ours either.
        fs::remove_file(&taken).or_else(|_| fs::remove_dir(&taken)).unwrap();
        let other = Storage { info_hash: InfoHash([8; 20]), ..two_held(root.path()) };
        files.write_run(&storage, PieceIndex(0), 0, &frames(&bytes)).unwrap();
        assert_eq!(kind(read(&Files::new(8), &other, 0, 9)).1, DiskErrorKind::Missing);
    }
}

/// A storage of one piece in two files that was looked at, and what was then in its folder.
fn looked_at(root: &Path, rules: Rules) -> (Files, Storage) {
    let storage = Storage { rules, ..storage(root, &[("a", 20_000), ("b", 20_000)]) };
    let files = Files::new(8);
    files.remember(&storage, &Files::stat(&storage).unwrap());
    (files, storage)
}

fn write_all(files: &Files, storage: &Storage) -> Result<(), DiskError> {
    files.write_run(storage, PieceIndex(0), 0, &frames(&pattern(40_000)))
}

#[test]
fn a_file_that_appears_after_the_look_is_not_written_over() {
    let root = TempDir::new().unwrap();
    let (files, storage) = looked_at(root.path(), Rules::default());
    fs::write(root.path().join("b"), "mine").unwrap();
    let error = write_all(&files, &storage).expect_err("it is in the way");
    assert_eq!(error.kind, DiskErrorKind::InTheWay);
    assert!(error.to_string().ends_with("b\": a file has appeared in its place"), "{error}");
    assert_eq!(fs::read(root.path().join("b")).unwrap(), b"mine");
    // What was made by ourselves is known again.
    files.close(storage.torrent);
    fs::remove_file(root.path().join("b")).unwrap();
    files.remember(&storage, &Files::stat(&storage).unwrap());
    write_all(&files, &storage).unwrap();
}

#[test]
fn a_file_that_was_replaced_or_has_another_name_is_not_written_to() {
    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("a"), "some").unwrap();
    fs::hard_link(at("a"), at("other name")).unwrap();
    fs::write(at("b"), "more").unwrap();
    let (files, storage) = looked_at(root.path(), Rules::default());
    let error = write_all(&files, &storage).expect_err("a hard link");
    assert!(error.to_string().ends_with("it has another name, a hard link"), "{error}");
    assert_eq!(fs::read(at("other name")).unwrap(), b"some");
    fs::remove_file(at("other name")).unwrap();
    fs::write(at("new"), "newer").unwrap();
    fs::rename(at("new"), at("b")).unwrap();
    let error = write_all(&files, &storage).expect_err("another file");
    assert!(error.to_string().ends_with("another file is in its place"), "{error}");
    assert_eq!(fs::read(at("b")).unwrap(), b"newer");
    let rules = Rules { overwrite: true, ..Rules::default() };
    write_all(&files, &Storage { rules, ..storage }).unwrap();
    assert_eq!(fs::read(at("b")).unwrap(), pattern(40_000)[20_000..]);
}

#[test]
fn in_another_folder_than_before_nothing_is_made() {
    let outer = TempDir::new().unwrap();
    let root = outer.path().join("drive");
    for comes_back in [true, false] {
        fs::create_dir(&root).unwrap();
        let (files, storage) = looked_at(&root, Rules::default());
        fs::rename(&root, outer.path().join("elsewhere")).unwrap();
        if comes_back {
            fs::create_dir(&root).unwrap();
        }
        let error = write_all(&files, &storage).expect_err("not the folder");
        assert_eq!(error.kind, DiskErrorKind::Vanished);
        assert!(error.to_string().ends_with("the download folder is not the one used before"));
        assert_eq!(kind(read(&files, &storage, 0, 9)).1, DiskErrorKind::Vanished);
        let finished = files.finish(&storage, &Selection::all(), false);
        assert_eq!(kind(finished).1, DiskErrorKind::Vanished);
        assert_eq!(root.exists(), comes_back);
        assert!(!comes_back || fs::read_dir(&root).unwrap().next().is_none());
        fs::remove_dir_all(outer.path().join("elsewhere")).unwrap();
        let _ = fs::remove_dir(&root);
    }
}

#[test]
fn a_download_is_not_finished_without_its_files() {
    let root = TempDir::new().unwrap();
    let (files, storage) = looked_at(root.path(), Rules::default());
    write_all(&files, &storage).unwrap();
    files.finish(&storage, &Selection::all(), false).unwrap();
    fs::File::options().write(true).open(root.path().join("a")).unwrap().set_len(7).unwrap();
    let finished = files.finish(&storage, &Selection::all(), false);
    assert_eq!(kind(finished), (DiskOp::Open, DiskErrorKind::Missing));
}

#[test]
fn room_is_made_as_the_user_wants_it() {
    // Pieces of 64 KiB; the second of three is written first.
    for (alloc, len, is_taken) in [
        (Alloc::None, 131_072, false),
        (Alloc::Sparse, 196_608, false),
        (Alloc::Full, 196_608, true),
    ] {
        let root = TempDir::new_in("/dev/shm").unwrap();
        let rules = Rules { alloc, ..Rules::default() };
        let storage = Storage { rules, ..storage(root.path(), &[("a", 196_608)]) };
        let files = Files::new(8);
        let bytes = frames(&pattern(65_536));
        files.write_run(&storage, PieceIndex(1), 0, &bytes).unwrap();
        let there = fs::metadata(root.path().join("a")).unwrap();
        assert_eq!(there.len(), len, "{alloc:?}");
        assert_eq!(there.blocks() * 512 >= 196_608, is_taken, "{alloc:?}");
    }
}

#[test]
fn space_that_cannot_be_taken_leaves_no_file() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let rules = Rules { alloc: Alloc::Full, ..Rules::default() };
    let storage = Storage { rules, ..storage(tmpfs.0.path(), &[("a", 1 << 20)]) };
    let files = Files::new(8);
    let error = files.write_run(&storage, PieceIndex(0), 0, &frames(b"x")).expect_err("too long");
    assert_eq!((error.op, error.kind), (DiskOp::Reserve, DiskErrorKind::Full));
    assert!(!tmpfs.0.path().join("a").exists());
}

/// Lets the files that are open seem to have been open for long.
pub(super) fn age(files: &Files) {
    for entry in files.lock().entries.values_mut() {
        Arc::get_mut(&mut entry.file).expect("nobody uses it").age();
    }
}

#[test]
fn a_file_that_changes_beneath_a_seed_is_named() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a"), pattern(20_000)).unwrap();
    fs::write(root.path().join("b"), pattern(20_000)).unwrap();
    let lens = [("a", 20_000), ("b", 20_000)];
    let storage = Storage { writable: false, ..storage(root.path(), &lens) };
    let files = Files::new(8);
    files.look_at(&storage).unwrap();
    read(&files, &storage, 0, 40_000).unwrap();
    age(&files);
    read(&files, &storage, 0, 40_000).unwrap();
    let changed = fs::File::options().write(true).open(root.path().join("b")).unwrap();
    changed.set_len(30_000).unwrap();
    age(&files);
    let error = read(&files, &storage, 0, 40_000).expect_err("b is not what it was");
    assert_eq!(error.kind, DiskErrorKind::Changed);
    assert!(error.to_string().ends_with("b\": it was changed by another program"), "{error}");
    assert!(read(&files, &storage, 0, 20_000).is_ok(), "a is");
    fs::remove_file(root.path().join("a")).unwrap();
    age(&files);
    let error = read(&files, &storage, 0, 9).expect_err("a is gone");
    assert_eq!(error.kind, DiskErrorKind::Missing);
}

#[test]
fn a_file_that_is_removed_beneath_a_download_is_noticed() {
    let root = TempDir::new().unwrap();
    let (files, storage) = looked_at(root.path(), Rules::default());
    write_all(&files, &storage).unwrap();
    fs::remove_file(root.path().join("a")).unwrap();
    age(&files);
    let error = write_all(&files, &storage).expect_err("it would be lost");
    assert_eq!(error.kind, DiskErrorKind::Missing);
    assert!(error.to_string().ends_with("a\": it was removed by another program"), "{error}");
}
