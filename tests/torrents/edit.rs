//! `edit`: what is changed, what is left as it is, and that no half-written file is ever there.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{folder, metainfo, names, objects, printed, refused, run, swarmloop};

/// A torrent with keys that nobody knows, inside `info` and outside.
const TORRENT: &[u8] = b"d8:announce17:http://a/announce7:comment1:c4:infod6:lengthi3e4:name1:n\
    12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa8:x-uploadi1ee5:x-keyl1:veee";

fn shelf() -> TempDir {
    let torrent = &TORRENT[..TORRENT.len() - 1];
    folder(&[("x.torrent", torrent)])
}

fn content(shelf: &TempDir, name: &str) -> String {
    String::from_utf8(fs::read(shelf.path().join(name)).unwrap()).unwrap()
}

#[test]
fn trackers_are_deleted_replaced_and_added() {
    let shelf = shelf();
    let path = shelf.path().join("x.torrent");
    let before = metainfo(&path);
    let args = ["edit", "x.torrent", "-a", "udp://b:1,udp://c:1", "-a", "http://d/announce"];
    let ran = run(shelf.path(), &args);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "x.torrent\n"), "{ran:?}");
    assert_eq!(
        ran.err,
        format!(
            "trackers: 'http://a/announce udp://b:1,udp://c:1 http://d/announce', \
             not 'http://a/announce'\nedited  x.torrent  {}\n",
            before.info_hash
        )
    );
    let after = metainfo(&path);
    assert_eq!(after.trackers.len(), 3);
    assert_eq!((after.info_hash, after.info), (before.info_hash, before.info.clone()));
    let text = content(&shelf, "x.torrent");
    assert!(text.contains("7:comment1:c") && text.ends_with("5:x-keyl1:vee"), "{text}");
    let args = ["edit", "x.torrent", "-d", "udp://b:1", "-d", "http://d/announce"];
    printed(
        shelf.path(),
        &[&args[..], &["-r", "http://a", "https://a", "-r", ":1", ":2"]].concat(),
    );
    assert_eq!(metainfo(&path).trackers, [["https://a/announce"], ["udp://c:2"]]);
    printed(shelf.path(), &["edit", "x.torrent", "-d", "https://a/announce", "-d", "udp://c:2"]);
    assert!(!content(&shelf, "x.torrent").contains("announce"));
    assert_eq!(metainfo(&path).info, before.info);
}

#[test]
fn nothing_to_change_changes_nothing() {
    let shelf = shelf();
    let text = content(&shelf, "x.torrent");
    for (change, warning) in [
        (&["-a", "http://a/announce"][..], ""),
        (&["-r", "nowhere", "x"], ""),
        (&["--public"], ""),
        (&["--source", ""], ""),
        (&["--name", "n", "--comment", "c"], ""),
        (&["-d", "http://b"], "swarmloop: warning: 'http://b' is not an announce URL of it\n"),
        (&["--delete-webseed", "w"], "swarmloop: warning: 'w' is not a web seed of it\n"),
    ] {
        let ran = run(shelf.path(), &[&["edit", "x.torrent"], change].concat());
        assert_eq!(ran.code, Some(0), "{change:?}");
        assert!(ran.err.starts_with(&format!("{warning}unchanged  x.torrent  ")), "{}", ran.err);
        assert_eq!(content(&shelf, "x.torrent"), text, "{change:?}");
    }
}

#[test]
fn what_changes_the_info_hash_says_so() {
    let shelf = shelf();
    let old = metainfo(&shelf.path().join("x.torrent")).info_hash;
    for (change, line) in [
        (&["--name", "m"][..], "name: 'm', not 'n'"),
        (&["-p"], "private: 'yes', not 'no'"),
        (&["--source", "S"], "source: 'S', not none"),
    ] {
        let args = [&["edit", "x.torrent", "-o", "y.torrent", "-f"], change].concat();
        let ran = run(shelf.path(), &args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let new = metainfo(&shelf.path().join("y.torrent")).info_hash;
        assert_ne!(new, old);
        assert_eq!(
            ran.err,
            format!(
                "{line}\nswarmloop: warning: the info-hash is another one: {new}, not {old}\n\
                 edited  y.torrent  {new}\n"
            )
        );
        assert!(content(&shelf, "y.torrent").contains("8:x-uploadi1e"));
    }
    let args = ["edit", "x.torrent", "-p", "--json", "--dry-run"];
    let json = objects(&printed(shelf.path(), &args));
    assert_eq!((&json[0]["changed"], &json[0]["dry_run"]), (&true.into(), &true.into()));
    assert_ne!(json[0]["infohash"], json[0]["infohash_before"]);
}

#[test]
fn web_seeds_and_comments_come_and_go() {
    let shelf = shelf();
    let path = shelf.path().join("x.torrent");
    printed(
        shelf.path(),
        &["edit", "x.torrent", "-w", "http://w/", "-w", "http://v/", "-c", "new"],
    );
    assert_eq!(metainfo(&path).web_seeds, ["http://w/", "http://v/"]);
    assert_eq!(metainfo(&path).comment.as_deref(), Some("new"));
    let args = ["edit", "x.torrent", "--delete-webseed", "http://w/", "-c", ""];
    printed(shelf.path(), &args);
    assert_eq!(metainfo(&path).web_seeds, ["http://v/"]);
    assert_eq!(metainfo(&path).comment, None);
}

#[test]
fn the_file_is_replaced_in_one_step_and_keeps_its_permissions() {
    let shelf = shelf();
    let path = shelf.path().join("x.torrent");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("x.torrent", shelf.path().join("link.torrent")).unwrap();
    printed(shelf.path(), &["edit", "link.torrent", "-c", "new"]);
    assert_eq!(metainfo(&path).comment.as_deref(), Some("new"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(shelf.path().join("link.torrent").is_symlink());
    assert_eq!(names(shelf.path()), ["link.torrent", "x.torrent"]);
    let text = content(&shelf, "x.torrent");
    let ran = run(shelf.path(), &["edit", "x.torrent", "-c", "other", "--dry-run"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    assert!(ran.err.starts_with("comment: 'other', not 'new'\nwould edit  x.torrent"), "{ran:?}");
    assert_eq!(content(&shelf, "x.torrent"), text);
}

#[test]
fn a_torrent_goes_through_from_stdin_to_stdout() {
    let shelf = shelf();
    let file = || fs::File::open(shelf.path().join("x.torrent")).unwrap();
    let through = |args: &[&str]| {
        let mut command = swarmloop(shelf.path(), &[&["edit", "-", "-o", "-"], args].concat());
        command.stdin(file()).output().unwrap()
    };
    let output = through(&["-c", "new"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("comment: 'new', not 'c'\nedited  stdout  "), "{said}");
    printed(shelf.path(), &["edit", "x.torrent", "-c", "new", "-o", "y.torrent"]);
    assert_eq!(output.stdout, fs::read(shelf.path().join("y.torrent")).unwrap());
    // Programs get one thing on stdout.
    let output = through(&["-c", "new", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(objects(&String::from_utf8(output.stdout).unwrap()).len(), 1, "the summary");
    let output = through(&["-c", "new", "--json", "--dry-run"]);
    let objects = objects(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((&objects[0]["path"], &objects[0]["dry_run"]), (&Value::Null, &true.into()));
    assert_eq!(names(shelf.path()), ["x.torrent", "y.torrent"]);
}

#[test]
fn wrong_usage_and_bad_files_are_refused() {
    let shelf = shelf();
    fs::write(shelf.path().join("bad.torrent"), "d4:infodee").unwrap();
    fs::write(shelf.path().join("there"), "mine").unwrap();
    for (args, code, why) in [
        (&["edit", "x.torrent"][..], 2, "no change is named. Nothing was written\nhint: -a adds"),
        (&["edit", "x.torrent", "-r", "one"], 2, "NEW"),
        (&["edit", "x.torrent", "-a", "nothing"], 2, "the url has no host"),
        (&["edit", "x.torrent", "-p", "--public"], 2, "--public"),
        (&["edit", "x.torrent", "-n", "a/b"], 2, "a name has no slash"),
        (&["edit", "x.torrent", "-r", "http://", ""], 2, "would be no announce URL"),
        (&["edit", "-", "-c", "x"], 4, "bad torrent file '-'"),
        (&["edit", "none.torrent", "-c", "x"], 4, "cannot read 'none.torrent'"),
        (&["edit", "bad.torrent", "-c", "x"], 4, "bad torrent file 'bad.torrent'"),
        (&["edit", "x.torrent", "-c", "x", "-o", "there"], 6, "hint: -f replaces it"),
        (&["edit", "x.torrent", "-c", "x", "-o", "no/y"], 1, "cannot create 'no/y': No such"),
    ] {
        let (found, err) = refused(shelf.path(), args);
        assert_eq!(found, Some(code), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
    assert_eq!(fs::read(shelf.path().join("there")).unwrap(), b"mine");
}
