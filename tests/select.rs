//! Some files of a torrent, through the program: what is on disk, what is printed, and what is
//! refused.

#[path = "common/files.rs"]
mod files;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const PIECE_LEN: usize = 32 << 10;

/// Path below the top folder, and bytes: every file shares a piece with the next.
const FILES: [(&str, usize); 5] = [
    ("a.bin", 100_000),
    ("dir/b.iso", 150_000),
    ("dir/c.txt", 20_000),
    ("d.txt", 5_000),
    ("e.iso", 70_000),
];

fn content(file: usize) -> Vec<u8> {
    files::content(file, FILES[file].1)
}

/// Writes the torrent, and its files below `seed`.
fn write_torrent(folder: &Path) {
    files::write_torrent(folder, &FILES, PIECE_LEN, false);
}

fn swarmloop(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.current_dir(folder).env("XDG_STATE_HOME", folder.join("state"));
    command.env("XDG_CONFIG_HOME", folder.join("config"));
    command
}

/// A seed of everything, and where it listens.
struct Seed(Child, String);

impl Seed {
    fn start(folder: &Path) -> Self {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("bound").port().to_string()
        };
        let mut child = swarmloop(folder)
            .args(["seed", "top.torrent", "seed", "--bind", "127.0.0.1", "--port", &port])
            .args(["--json", "--progress", "never"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let seeding = |line: &String| line.contains("\"state\":\"seeding\"");
        let mut lines = lines.lines().map_while(Result::ok);
        assert!(lines.any(|line| seeding(&line)), "it seeds");
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, format!("127.0.0.1:{port}"))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(folder: &Path, args: &[&str]) -> Output {
    let mut command = swarmloop(folder);
    command.args(["get", "top.torrent", "--bind", "127.0.0.1", "--port", "0"]);
    command.args(["--timeout", "60s", "-d", "got"]).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The paths below a folder, sorted.
fn paths(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(path).expect("a folder").map(|entry| entry.expect("one").path()),
            );
        } else {
            let below = path.strip_prefix(folder).expect("below").to_str().expect("UTF-8");
            paths.push(below.to_owned());
        }
    }
    paths.sort_unstable();
    paths
}

fn assert_files(folder: &Path, files: &[usize]) {
    for file in files {
        let path = folder.join("got/top").join(FILES[*file].0);
        assert!(fs::read(&path).expect("it is there") == content(*file), "{}", path.display());
    }
}

fn records(out: &Output, kind: &str) -> Vec<Value> {
    let all = text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let of_kind = |record: &Value| record["type"] == kind;
    all.filter(of_kind).collect()
}

#[test]
fn two_of_five_files_then_all_and_nothing_comes_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    write_torrent(folder.path());
    let seed = Seed::start(folder.path());
    let json = ["--peer", &seed.1, "--json", "--progress", "never"];
    let first = get(folder.path(), &[&json[..], &["-s", "*.txt"]].concat());
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(paths(&folder.path().join("got")), [".top.parts", "top/d.txt", "top/dir/c.txt"]);
    assert_files(folder.path(), &[2, 3]);
    let metadata = &records(&first, "metadata")[0];
    assert_eq!((&metadata["size"], &metadata["want"]), (&345_000.into(), &25_000.into()));
    assert_eq!((&metadata["files"], &metadata["files_wanted"]), (&5.into(), &2.into()));
    let told = records(&first, "file");
    let mut told: Vec<_> = told.iter().map(|file| file["index"].as_u64()).collect();
    told.sort_unstable();
    assert_eq!(told, [Some(3), Some(4)]);
    // Bytes 250 000 to 275 000 are in pieces 7 and 8.
    let moved =
        |out: &Output| records(out, "complete")[0]["downloaded"].as_u64().expect("a number");
    assert_eq!(moved(&first), 2 * PIECE_LEN as u64);
    let last = records(&first, "status").pop().expect("states");
    assert_eq!((&last["state"], &last["progress"]), (&"partial_seeding".into(), &1.0.into()));

    let more = get(folder.path(), &[&json[..], &["-s", "2-4", "-x", "3"]].concat());
    assert!(more.status.success(), "{}", text(&more.stderr));
    assert_files(folder.path(), &[1, 2, 3]);
    assert_eq!(moved(&more), 4 * PIECE_LEN as u64, "pieces 3 to 6");

    let all = get(folder.path(), &json);
    assert!(all.status.success(), "{}", text(&all.stderr));
    assert_files(folder.path(), &[0, 1, 2, 3, 4]);
    let pieces = [&first, &more, &all].map(moved).into_iter().sum::<u64>();
    assert_eq!(pieces, 345_000);
    assert_eq!(paths(&folder.path().join("got")).len(), 5, "no parts file is left");
}

#[test]
fn a_partial_download_is_served_with_what_it_shares() {
    let folder = tempfile::tempdir().expect("a folder");
    write_torrent(folder.path());
    let seed = Seed::start(folder.path());
    let first = get(folder.path(), &["--peer", &seed.1, "-q", "-s", "2"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    drop(seed);
    fs::rename(folder.path().join("got"), folder.path().join("part")).expect("renamed");
    // It is incomplete, which is a warning and no end.
    let port = "127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address");
    let port =
        std::net::TcpListener::bind(port).expect("a port").local_addr().expect("bound").port();
    let mut child = swarmloop(folder.path())
        .args(["seed", "top.torrent", "part", "--bind", "127.0.0.1", "--port", &port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built");
    let peer = format!("127.0.0.1:{port}");
    // The folder that was downloaded into is another one now, which is to be said.
    let second = get(folder.path(), &["--peer", &peer, "-q", "-s", "dir/b.iso", "--check"]);
    let _ = child.kill();
    let _ = child.wait();
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_files(folder.path(), &[1]);
}

#[test]
fn the_list_has_the_numbers_that_are_selected_by() {
    let folder = tempfile::tempdir().expect("a folder");
    write_torrent(folder.path());
    let listed = get(folder.path(), &["-l"]);
    let expected = "1   97.7 KiB  top/a.bin\n2  146.5 KiB  top/dir/b.iso\n\
        3   19.5 KiB  top/dir/c.txt\n4    4.9 KiB  top/d.txt\n5   68.4 KiB  top/e.iso\n";
    assert_eq!((listed.status.code(), text(&listed.stdout)), (Some(0), expected));
    let some = get(folder.path(), &["-l", "-s", "dir/**", "-s", "5", "-x", "*.txt"]);
    let expected = "2  146.5 KiB  top/dir/b.iso\n5   68.4 KiB  top/e.iso\n";
    assert_eq!((some.status.code(), text(&some.stdout)), (Some(0), expected));
    let json = get(folder.path(), &["--list", "--json", "-s", "4,5", "--priority", "5=high"]);
    let listed = records(&json, "file");
    let listed: Vec<[&Value; 4]> = listed
        .iter()
        .map(|file| ["index", "path", "size", "priority"].map(|key| &file[key]))
        .collect();
    let d: [&Value; 4] = [&4.into(), &"top/d.txt".into(), &5_000.into(), &"normal".into()];
    let e: [&Value; 4] = [&5.into(), &"top/e.iso".into(), &70_000.into(), &"high".into()];
    assert_eq!(listed, [d, e]);
    assert!(!folder.path().join("got").exists(), "nothing is made");
}

#[test]
fn what_is_not_there_is_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    write_torrent(folder.path());
    let hint = "hint: see the files and their numbers with --list\n";
    for (args, message) in [
        (&["-s", "2-6"][..], "'top' has no file 6: it has files 1-5"),
        (&["-x", "*.mkv"], "'*.mkv' matches no file of 'top'"),
        (&["--priority", "sub/**=low"], "'sub/**' matches no file of 'top'"),
    ] {
        let refused = get(folder.path(), args);
        let expected = format!("swarmloop: error: {message}\n{hint}");
        assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(2), &expected[..]));
    }
    for (args, part) in [
        (&["-s", "0"][..], "files are numbered from 1"),
        (&["--select", "5-3"], "'5-3' ends before it begins"),
        (&["--priority", "*.iso=urgent"], "'urgent' is none of high, normal and low"),
        (&["--priority", "*.iso"], "there is no '=' in it"),
        (&["-s", "["], "'[' begins a set of characters that ']' does not end"),
    ] {
        let refused = get(folder.path(), args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(text(&refused.stderr).contains(part), "{args:?}: {}", text(&refused.stderr));
    }
    assert!(!folder.path().join("got").exists(), "nothing is made");
}
