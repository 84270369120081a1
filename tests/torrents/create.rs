//! `create`: what becomes of a file or folder, and what is refused.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use sha1::{Digest as _, Sha1};

use crate::common::{folder, metainfo, names, objects, printed, ran, refused, run, swarmloop};

const SMALL: &[(&str, &[u8])] = &[("a/z", b"zz"), ("a/b/c", b"c"), ("a/b.x", b""), ("other", b"o")];

#[test]
fn a_folder_is_hashed_in_the_order_of_its_paths() {
    let folder = folder(SMALL);
    let ran = run(folder.path(), &["create", "a", "--no-date"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a.torrent\n"), "{ran:?}");
    let metainfo = metainfo(&folder.path().join("a.torrent"));
    let hash = metainfo.info_hash;
    assert_eq!(
        ran.err,
        format!("created  a.torrent  3 B in 3 files  1 piece of 16.0 KiB  {hash}\n")
    );
    let files: Vec<_> = metainfo.files.iter().map(|f| (f.path.to_str().unwrap(), f.len)).collect();
    assert_eq!(files, [("a/b.x", 0), ("a/b/c", 1), ("a/z", 2)]);
    assert_eq!(&metainfo.pieces[..], &Sha1::digest(b"czz")[..]);
    assert_eq!(metainfo.creation_date, None);
    assert_eq!(
        metainfo.created_by.as_deref(),
        Some(concat!("swarmloop ", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(names(folder.path()), ["a", "a.torrent", "other"]);
}

/// More pieces than a thread takes at a time, and more than one thread.
#[test]
fn many_pieces_are_hashed_right_whoever_hashes_them() {
    let content: Vec<u8> = (0..1_500_000u32).flat_map(u32::to_le_bytes).collect();
    let (first, second) = content.split_at(999_999);
    let folder = folder(&[("d/1", first), ("d/2", b""), ("d/3", second)]);
    let expected: Vec<u8> = content.chunks(16 << 10).flat_map(Sha1::digest).collect();
    for jobs in ["1", "3"] {
        let args = ["create", "d", "-s", "16K", "-j", jobs, "-f", "-q"];
        assert_eq!(printed(folder.path(), &args), "d.torrent\n");
        let metainfo = metainfo(&folder.path().join("d.torrent"));
        assert_eq!(&metainfo.pieces[..], expected);
    }
}

#[test]
fn a_file_alone_has_no_folder() {
    let folder = folder(&[("x.iso", &vec![7; 40_000])]);
    let args = ["new", "./x.iso", "-s", "32K", "-o", "out.torrent", "-n", "y.iso", "-p", "-q"];
    assert_eq!(printed(folder.path(), &args), "out.torrent\n");
    let metainfo = metainfo(&folder.path().join("out.torrent"));
    assert!(!metainfo.multi_file && metainfo.private);
    assert_eq!((metainfo.name.as_str(), metainfo.piece_count()), ("y.iso", 2));
    assert_eq!(metainfo.files[0].path, Path::new("y.iso"));
}

#[test]
fn trackers_have_tiers_and_texts_are_kept() {
    let folder = folder(SMALL);
    let args = [
        "create",
        "a",
        "-t",
        "http://a/announce,udp://b:1",
        "-t",
        "http://c/announce,udp://b:1",
        "-t",
        "http://a/announce",
        "-w",
        "http://w/",
        "--webseed",
        "https://v/",
        "-c",
        "cö",
        "-r",
        "SRC",
        "--created-by",
        "me",
        "--magnet",
    ];
    let out = printed(folder.path(), &args);
    let metainfo = metainfo(&folder.path().join("a.torrent"));
    let tiers = [&["http://a/announce", "udp://b:1"][..], &["http://c/announce"]];
    assert_eq!(metainfo.trackers, tiers);
    assert_eq!(metainfo.web_seeds, ["http://w/", "https://v/"]);
    assert_eq!(metainfo.comment.as_deref(), Some("cö"));
    assert_eq!(metainfo.source().as_deref(), Some("SRC"));
    assert_eq!(metainfo.created_by.as_deref(), Some("me"));
    assert!(metainfo.creation_date.is_some_and(|date| date > 1_700_000_000));
    let magnet = format!(
        "magnet:?xt=urn:btih:{}&dn=a&tr=http%3A%2F%2Fa%2Fannounce&tr=udp%3A%2F%2Fb%3A1\
         &tr=http%3A%2F%2Fc%2Fannounce&ws=http%3A%2F%2Fw%2F&ws=https%3A%2F%2Fv%2F",
        metainfo.info_hash
    );
    assert_eq!(out, format!("a.torrent\n{magnet}\n"));
}

#[test]
fn the_same_files_make_the_same_bytes() {
    let one = folder(&[("a/z", b"zz"), ("a/b/c", b"c")]);
    let two = folder(&[("a/b/c", b"c"), ("a/z", b"zz")]);
    for folder in [&one, &two] {
        printed(folder.path(), &["create", "a", "--no-date"]);
        let mut dated = swarmloop(folder.path(), &["create", "a/", "-o", "dated"]);
        assert_eq!(ran(dated.env("SOURCE_DATE_EPOCH", "17")).code, Some(0));
        assert_eq!(metainfo(&folder.path().join("dated")).creation_date, Some(17));
    }
    for name in ["a.torrent", "dated"] {
        let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert_eq!(read(one.path()), read(two.path()), "{name}");
    }
    let mut bad = swarmloop(one.path(), &["create", "a", "-f"]);
    assert_eq!(ran(bad.env("SOURCE_DATE_EPOCH", "now")).code, Some(2));
}

#[test]
fn nothing_is_replaced_without_a_word() {
    let folder = folder(&[("a", b"1"), ("a.torrent", b"mine")]);
    let (code, err) = refused(folder.path(), &["create", "a"]);
    assert_eq!(code, Some(6));
    assert_eq!(
        err,
        "swarmloop: error: 'a.torrent' exists already. Nothing was written\n\
         hint: -f replaces it; -o names another place\n"
    );
    assert_eq!(fs::read(folder.path().join("a.torrent")).unwrap(), b"mine");
    printed(folder.path(), &["create", "a", "--force"]);
    assert_eq!(metainfo(&folder.path().join("a.torrent")).name, "a");
    assert_eq!(names(folder.path()), ["a", "a.torrent"]);
}

#[test]
fn a_torrent_is_not_in_itself() {
    let folder = folder(&[("d/a", b"1"), ("d/d.torrent", b"old")]);
    let inside = folder.path().join("d");
    let ran = run(&inside, &["create", ".", "-f"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "d.torrent\n"), "{ran:?}");
    assert!(ran.err.contains("it is the torrent that is replaced"), "{}", ran.err);
    let metainfo = metainfo(&inside.join("d.torrent"));
    assert_eq!((metainfo.name.as_str(), metainfo.files.len()), ("d", 1));
    // In a folder that is named, under the name that it gets anyway.
    assert_eq!(printed(folder.path(), &["create", "d/a", "-o", "d"]), "d/a.torrent\n");
}

#[test]
fn what_matches_is_left_out() {
    let folder = folder(&[
        ("d/keep.txt", b"1"),
        ("d/a.tmp", b"2"),
        ("d/sub/b.tmp", b"3"),
        ("d/sub/keep", b"4"),
        ("d/cache/x/y", b"5"),
    ]);
    let args = ["create", "d", "-x", "*.tmp", "-x", "cache", "--exclude", "sub/nothing"];
    printed(folder.path(), &args);
    let metainfo = metainfo(&folder.path().join("d.torrent"));
    let paths: Vec<_> = metainfo.files.iter().map(|f| f.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["d/keep.txt", "d/sub/keep"]);
    let (code, err) = refused(folder.path(), &["create", "d", "-x", "[a"]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn links_are_left_out_or_followed() {
    let folder = folder(&[("d/real", b"1"), ("far/x", b"22"), ("far/y", b"3")]);
    let d = folder.path().join("d");
    symlink("../far", d.join("folder")).unwrap();
    symlink("../far/x", d.join("file")).unwrap();
    let ran = run(folder.path(), &["create", "d"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.err.matches("is left out: a symbolic link").count(), 2, "{}", ran.err);
    assert_eq!(metainfo(&folder.path().join("d.torrent")).files.len(), 1);
    printed(folder.path(), &["create", "d", "-f", "--follow-symlinks"]);
    let followed = metainfo(&folder.path().join("d.torrent"));
    let paths: Vec<_> = followed.files.iter().map(|f| f.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["d/file", "d/folder/x", "d/folder/y", "d/real"]);
    assert_eq!(&followed.pieces[..], &Sha1::digest(b"222231")[..]);
    // What is named on the command line may be a link itself.
    symlink("d", folder.path().join("alias")).unwrap();
    printed(folder.path(), &["create", "alias"]);
    assert_eq!(metainfo(&folder.path().join("alias.torrent")).name, "alias");
    symlink("..", d.join("loop")).unwrap();
    let (code, err) = refused(folder.path(), &["create", "d", "-f", "--follow-symlinks"]);
    assert_eq!(code, Some(4));
    assert!(err.contains("is a link to a folder above it"), "{err}");
}

#[test]
fn there_must_be_something_to_share() {
    let folder = folder(&[("empty/none", b""), ("fifo-only/x", b"")]);
    fs::create_dir(folder.path().join("bare")).unwrap();
    for (path, why) in [
        ("empty", "'empty' has no bytes to make a torrent of"),
        ("bare", "'bare' has no bytes to make a torrent of"),
        ("empty/none", "'empty/none' has no bytes to make a torrent of"),
        ("missing", "cannot read 'missing': No such file or directory (os error 2)"),
        ("/dev/null", "'/dev/null' is neither a file nor a folder"),
    ] {
        let (code, err) = refused(folder.path(), &["create", path, "-o", "out"]);
        assert_eq!(code, Some(4), "{path}: {err}");
        assert!(err.contains(why), "{path}: {err}");
    }
    assert_eq!(names(folder.path()), ["bare", "empty", "fifo-only"]);
}

#[test]
fn wrong_usage_is_told_before_anything_is_hashed() {
    let folder = folder(&[("a", b"1")]);
    for (args, why) in [
        (&["create"][..], "<PATH>"),
        (&["create", "a", "-s", "256"], "256 KiB are 256K"),
        (&["create", "a", "-s", "100K"], "power of two"),
        (&["create", "a", "-t", "nothing"], "the url has no host"),
        (&["create", "a", "-w", "udp://h"], "a web seed is"),
        (&["create", "a", "-n", "x/y"], "a name has no slash"),
        (&["create", "a", "-j", "0"], "0"),
        (&["create", "a", "--v2"], "--v2 is not yet supported"),
        (&["create", "a", "--hybrid"], "--hybrid is not yet supported"),
        (&["create", "a", "--md5"], "--md5 is not yet supported"),
        (&["create", "a", "-o", "-", "--magnet"], "-o - and --magnet would both write to stdout"),
    ] {
        let (code, err) = refused(folder.path(), args);
        assert_eq!(code, Some(2), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn more_pieces_than_a_torrent_has_are_refused_before_memory_is_taken() {
    let folder = folder(&[]);
    let sparse = fs::File::create_new(folder.path().join("huge")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let (code, err) = refused(folder.path(), &["create", "huge", "-s", "16K"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("1.0 TiB by 16.0 KiB are 67108864 pieces, more than 2097152"), "{err}");
    assert!(err.contains("hint: -s takes a larger piece size"), "{err}");
    let out = printed(folder.path(), &["create", "huge", "--dry-run"]);
    assert_eq!(out, "1  1.0 TiB  huge\n");
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = folder(SMALL);
    let ran = run(folder.path(), &["create", "a", "--dry-run"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.out, "1  0 B  a/b.x\n2  1 B  a/b/c\n3  2 B  a/z\n");
    assert_eq!(ran.err, "would create  a.torrent  3 B in 3 files  1 piece of 16.0 KiB\n");
    let json = objects(&printed(folder.path(), &["create", "a", "--dry-run", "--json"]));
    assert_eq!(json[0]["dry_run"], true);
    assert!(json[0].get("infohash").is_none());
    assert_eq!(names(folder.path()), ["a", "other"]);
}

#[test]
fn json_says_what_was_made() {
    let folder = folder(SMALL);
    let out = printed(folder.path(), &["create", "a", "--json", "-t", "http://h/announce"]);
    let metainfo = metainfo(&folder.path().join("a.torrent"));
    let (hash, version) = (metainfo.info_hash, "\"interrupted\":0,\"exit_code\":0}\n");
    assert_eq!(
        out,
        format!(
            "{{\"type\":\"created\",\"path\":\"a.torrent\",\"name\":\"a\",\"size\":3,\
             \"piece_length\":16384,\"pieces\":1,\"files\":3,\"private\":false,\
             \"infohash\":\"{hash}\",\"magnet\":\"magnet:?xt=urn:btih:{hash}&dn=a\
             &tr=http%3A%2F%2Fh%2Fannounce\"}}\n\
             {{\"type\":\"summary\",\"ok\":1,\"failed\":0,{version}"
        )
    );
}

#[test]
fn hostile_names_are_kept_and_escaped() {
    let folder = folder(&[("d/a\x1b[2J\n.txt", b"1"), ("d/exe\u{202e}gpj", b"2")]);
    let ran = run(folder.path(), &["create", "d", "--dry-run"]);
    assert!(ran.out.contains("d/a\\x1b[2J\\x0a.txt"), "{}", ran.out);
    assert!(ran.out.contains("d/exe\\u{202e}gpj"), "{}", ran.out);
    printed(folder.path(), &["create", "d"]);
    let metainfo = metainfo(&folder.path().join("d.torrent"));
    assert_eq!(metainfo.files[0].path, Path::new("d/a\x1b[2J\n.txt"));
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let folder = folder(&[("a", b"1")]);
    let (code, err) = refused(folder.path(), &["create", "a", "-o", "none/a.torrent"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("No such file or directory"), "{err}");
    assert_eq!(names(folder.path()), ["a"]);
}

/// Nobody waits for the hashes of something large to learn that they have nowhere to go: hashing
/// this takes minutes, and a place that is refused at once has no progress before it.
#[test]
fn a_place_where_nothing_can_be_made_is_refused_before_anything_is_hashed() {
    let folder = folder(&[]);
    let big = fs::File::create_new(folder.path().join("big")).unwrap();
    big.set_len(64 << 30).unwrap();
    for (command, output) in [("create", "none/a"), ("create", "big/a"), ("share", "none/a")] {
        let args = [command, "big", "-o", output, "--progress", "line:1ms"];
        let (_, err) = refused(folder.path(), &args);
        let expected = format!("swarmloop: error: cannot create '{output}': ");
        assert!(err.starts_with(&expected), "{err}");
    }
}

/// The first byte of progress shows that hashing has begun; then the file grows.
#[test]
fn a_file_that_changes_while_it_is_hashed_is_an_error() {
    let folder = folder(&[]);
    let path = folder.path().join("big");
    let file = fs::File::create_new(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    let args = ["create", "big", "-j", "1", "--progress", "line:1ms"];
    let mut child = swarmloop(folder.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_exact(&mut [0]).unwrap();
    (&file).write_all(b"x").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(
        rest.contains("'./big' changed while it was being hashed. Nothing was written"),
        "{rest}"
    );
    assert_eq!(names(folder.path()), ["big"]);
}

#[test]
fn a_signal_ends_it_and_leaves_nothing_behind() {
    let folder = folder(&[]);
    let file = fs::File::create_new(folder.path().join("big")).unwrap();
    file.set_len(64 << 30).unwrap();
    let args = ["create", "big", "--progress", "line:1ms"];
    let mut child = swarmloop(folder.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_exact(&mut [0]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.ends_with("interrupted. Nothing was written\n"), "{rest}");
    assert_eq!(names(folder.path()), ["big"]);
}

#[test]
fn a_torrent_can_go_to_stdout_alone() {
    let folder = folder(SMALL);
    let args = ["create", "a", "--no-date", "-o"];
    printed(folder.path(), &[&args[..], &["x.torrent"]].concat());
    let expected = fs::read(folder.path().join("x.torrent")).unwrap();
    let piped = swarmloop(folder.path(), &[&args[..], &["-"]].concat()).output().unwrap();
    assert_eq!(piped.status.code(), Some(0));
    assert_eq!(piped.stdout, expected);
    let said = String::from_utf8(piped.stderr).unwrap();
    assert!(said.starts_with("created  stdout  3 B in 3 files"), "{said}");
    assert_eq!(names(folder.path()), ["a", "other", "x.torrent"]);

    let ran = run(folder.path(), &["create", "a", "-o", "-", "--json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("-o - and --json would both write to stdout"), "{}", ran.err);
    assert_eq!(objects(&ran.out).len(), 1, "only the summary: {}", ran.out);
    let shown = printed(folder.path(), &["create", "a", "-o", "-", "--dry-run"]);
    assert!(shown.contains("a/b.x"), "{shown}");
    let (code, error) = refused(folder.path(), &["share", "a", "-o", "-"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("stdout is for the line that a receiver types"), "{error}");
    let mut full = swarmloop(folder.path(), &["create", "a", "-o", "-"]);
    full.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let full = full.output().unwrap();
    assert_eq!(full.status.code(), Some(6));
    let err = String::from_utf8(full.stderr).unwrap();
    assert!(err.contains("cannot write to stdout: No space left on device (os error 28)"), "{err}");
}

#[test]
fn what_cannot_be_made_is_named_as_the_user_named_it() {
    let folder = folder(&[("a", b"1")]);
    let (code, err) = refused(folder.path(), &["create", "a", "-o", "no/such/x"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot create 'no/such/x': No such file or directory"), "{err}");
}
