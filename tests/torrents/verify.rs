//! `verify`: what is said of files that are right, wrong, gone or too long, and what `--repair`
//! does about them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use swarmloop::disk::parts::{HEADER_LEN, PARTS_MAGIC};
use tempfile::TempDir;

use crate::common::{folder, metainfo, names, objects, printed, refused, run};

/// A torrent of four files in pieces of 16 KiB: `a` has three pieces, of which the last is `b`'s
/// too; `c` is in no piece of theirs; `empty` is in none.
fn shelf() -> TempDir {
    let fill = |seed: u8, len: usize| -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at * 31 % 251).unwrap() ^ seed).collect()
    };
    let shelf = folder(&[
        ("d/a", &fill(1, 40_000)),
        ("d/b", &fill(2, 9_152)),
        ("d/c", &fill(3, 16_384)),
        ("d/empty", b""),
    ]);
    printed(shelf.path(), &["create", "d", "-s", "16K"]);
    shelf
}

fn change(shelf: &TempDir, path: &str, at: usize) {
    let path = shelf.path().join(path);
    let mut content = fs::read(&path).unwrap();
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

fn append(shelf: &TempDir, path: &str, bytes: &[u8]) {
    let path = shelf.path().join(path);
    fs::write(&path, [&fs::read(&path).unwrap()[..], bytes].concat()).unwrap();
}

/// Stdout and the error of a verification that finds something wrong.
fn mismatch(shelf: &TempDir, args: &[&str]) -> (String, String) {
    let args = [&["verify", "d.torrent"], args].concat();
    let ran = run(shelf.path(), &args);
    assert_eq!(ran.code, Some(3), "{args:?}: {ran:?}");
    (ran.out, ran.err)
}

#[test]
fn data_that_is_right_is_said_to_be() {
    let shelf = shelf();
    let ran = run(shelf.path(), &["verify", "d.torrent"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    assert_eq!(ran.err, "verified  d  64.0 KiB in 4 files  4 pieces\n");
    let all = "ok       d/a\nok       d/b\nok       d/c\nok       d/empty\n";
    for args in [
        &["verify", "d.torrent", "--files"][..],
        &["check", "d.torrent", "d", "--files", "-q"],
        &["verify", "d.torrent", ".", "--files", "-j", "1"],
    ] {
        assert_eq!(printed(shelf.path(), args), all, "{args:?}");
    }
}

#[test]
fn missing_files_are_told_from_wrong_ones() {
    let shelf = shelf();
    change(&shelf, "d/c", 9_999);
    fs::remove_file(shelf.path().join("d/b")).unwrap();
    fs::remove_file(shelf.path().join("d/empty")).unwrap();
    let (out, err) = mismatch(&shelf, &[]);
    assert_eq!(
        out,
        "unknown  d/a  1 of 3 pieces shared with what is not there\nmissing  d/b\n\
         wrong    d/c  1 of 1 piece\nmissing  d/empty\n"
    );
    assert_eq!(
        err,
        "swarmloop: error: 'd' does not match its torrent: of 4 files 2 missing, 1 wrong, \
         1 unknown; 2 of 4 pieces right\n"
    );
    // Nothing at all is there.
    fs::rename(shelf.path().join("d"), shelf.path().join("e")).unwrap();
    let (out, _) = mismatch(&shelf, &["-q"]);
    assert_eq!(out.matches("missing  d/").count(), 4, "{out}");
}

/// After a download of some files only, those are right although a piece is shared with another.
#[test]
fn the_parts_file_counts() {
    let shelf = shelf();
    let b = fs::read(shelf.path().join("d/b")).unwrap();
    fs::remove_file(shelf.path().join("d/b")).unwrap();
    let hash = metainfo(&shelf.path().join("d.torrent")).info_hash;
    // The only slot is that of piece 2, in which `b` begins behind 40000 - 2 * 16384 bytes of `a`.
    let mut parts = vec![0; usize::try_from(HEADER_LEN).unwrap() + 7_232];
    parts[..24].copy_from_slice(&PARTS_MAGIC);
    parts[24..44].copy_from_slice(&hash.0);
    parts.extend(&b);
    fs::write(shelf.path().join(".d.parts"), &parts).unwrap();
    assert_eq!(mismatch(&shelf, &[]).0, "missing  d/b\n");
    *parts.last_mut().unwrap() ^= 1;
    fs::write(shelf.path().join(".d.parts"), &parts).unwrap();
    assert!(mismatch(&shelf, &[]).0.starts_with("unknown  d/a"));
}

#[test]
fn lengths_are_told() {
    let shelf = shelf();
    let a = shelf.path().join("d/a");
    fs::write(&a, &fs::read(&a).unwrap()[..20_000]).unwrap();
    append(&shelf, "d/c", b"more");
    fs::remove_file(shelf.path().join("d/b")).unwrap();
    fs::create_dir(shelf.path().join("d/b")).unwrap();
    append(&shelf, "d/empty", b"x");
    let (out, _) = mismatch(&shelf, &[]);
    assert_eq!(
        out,
        "short    d/a  19.5 KiB of 39.1 KiB\nblocked  d/b  not a regular file\n\
         long     d/c  4 B more than 16.0 KiB\nlong     d/empty  1 B more than 0 B\n"
    );
}

#[test]
fn json_has_every_file_and_the_sum() {
    let shelf = shelf();
    change(&shelf, "d/b", 0);
    let (out, err) = mismatch(&shelf, &["--json"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[1],
        "{\"type\":\"file\",\"id\":1,\"index\":2,\"path\":\"d/b\",\"done\":false,\"size\":9152,\
         \"state\":\"wrong\",\"pieces\":1,\"pieces_right\":0,\"pieces_wrong\":1}"
    );
    let objects = objects(&out);
    let states: Vec<_> = objects[..4].iter().map(|file| file["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["wrong", "wrong", "ok", "ok"]);
    assert_eq!(objects[4]["type"], "verified");
    assert_eq!((&objects[4]["ok"], &objects[4]["pieces_right"]), (&false.into(), &3.into()));
    assert_eq!((&objects[5]["failed"], &objects[5]["exit_code"]), (&1.into(), &3.into()));
    assert!(err.starts_with("{\"type\":\"error\",\"code\":\"mismatch\""), "{err}");
}

#[test]
fn what_cannot_be_read_is_no_mismatch() {
    let shelf = shelf();
    assert_eq!(refused(shelf.path(), &["verify", "none.torrent"]).0, Some(4));
    assert_eq!(refused(shelf.path(), &["verify", "d.torrent", "d/a"]).0, Some(4));
    assert_eq!(refused(shelf.path(), &["verify", "d.torrent", "--dry-run"]).0, Some(2));
    let locked = shelf.path().join("d/c");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&locked).is_err() {
        let (code, err) = refused(shelf.path(), &["verify", "d.torrent"]);
        assert_eq!(code, Some(6), "{err}");
        assert!(err.contains("cannot open \"./d/c\": permission denied"), "{err}");
    }
}

#[test]
fn repair_puts_aside_and_loses_nothing() {
    let shelf = shelf();
    let read = |path: &str| fs::read(shelf.path().join(path)).unwrap();
    let (a, c) = (read("d/a"), read("d/c"));
    append(&shelf, "d/a", b"the end");
    fs::write(shelf.path().join("d/c"), "somebody else's").unwrap();
    let before = [read("d/a"), read("d/c")];
    let (_, err) = mismatch(&shelf, &["--repair", "--dry-run"]);
    assert!(err.starts_with("would move the end of './d/a' to './d/a.tail'\n"), "{err}");
    assert!(err.contains("would rename './d/c' to './d/c.bad'\n"), "{err}");
    assert_eq!([read("d/a"), read("d/c")], before);
    let (_, err) = mismatch(&shelf, &["--repair"]);
    assert!(err.starts_with("moved the end of './d/a' to './d/a.tail'\n"), "{err}");
    assert!(err.contains("renamed './d/c' to './d/c.bad'\n"), "{err}");
    assert_eq!((read("d/a"), read("d/a.tail")), (a, b"the end".to_vec()));
    assert_eq!(read("d/c.bad"), b"somebody else's");
    assert_eq!(names(&shelf.path().join("d")), ["a", "a.tail", "b", "c.bad", "empty"]);
    assert_eq!(mismatch(&shelf, &["-q"]).0, "missing  d/c\n");
    fs::write(shelf.path().join("d/c"), c).unwrap();
    printed(shelf.path(), &["verify", "d.torrent"]);
}

#[test]
fn repair_alone_may_make_it_right() {
    let shelf = shelf();
    append(&shelf, "d/c", &[0; 100]);
    let args = ["verify", "d.torrent", "--repair"];
    let ran = run(shelf.path(), &args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.ends_with("verified  d  64.0 KiB in 4 files  4 pieces\n"), "{}", ran.err);
    printed(shelf.path(), &["verify", "d.torrent"]);
    // What was put aside before is not replaced.
    append(&shelf, "d/c", b"again");
    let ran = run(shelf.path(), &args);
    assert_eq!(ran.code, Some(6));
    assert!(ran.err.contains("'./d/c.tail' exists already. Nothing was written"), "{}", ran.err);
    assert_eq!(fs::read(shelf.path().join("d/c")).unwrap().len(), 16_389);
    assert!(Path::new(&shelf.path().join("d/c.tail")).exists());
}

/// A file with right pieces stays: `get` keeps those and fetches the others.
#[test]
fn repair_leaves_what_get_can_complete() {
    let shelf = shelf();
    change(&shelf, "d/a", 20_000);
    let before = fs::read(shelf.path().join("d/a")).unwrap();
    mismatch(&shelf, &["--repair"]);
    assert_eq!(fs::read(shelf.path().join("d/a")).unwrap(), before);
    assert_eq!(names(&shelf.path().join("d")), ["a", "b", "c", "empty"]);
}
