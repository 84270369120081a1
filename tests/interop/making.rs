//! `create` against the programs that make torrents, and `show` and `verify` against those that
//! read them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::clients::process;
use crate::clients::tools::{Tool, have};

/// Names and lengths. Of those kinds that all programs take and bring into the same order:
/// transmission-create leaves out hidden and empty files and sorts by letters in lower case.
const FILES: [(&str, usize); 5] = [
    ("folder/a first file.bin", 700_001),
    ("folder/nested/deep/one byte", 1),
    ("folder/nested/whole pieces", 4 * 65_536),
    ("folder/notes.txt", 1_234),
    ("alone.bin", 300_000),
];
const URL: &str = "http://127.0.0.1:6969/announce";

#[test]
fn mktorrent_makes_the_same() {
    if !have(&[Tool::Swarmloop, Tool::Mktorrent]) {
        return;
    }
    let shop = Shop::open();
    for (path, flags, ours) in [
        ("folder", &[][..], &[][..]),
        ("alone.bin", &[], &[]),
        ("folder", &["-p", "-s", "SRC", "-n", "other"], &["-p", "-r", "SRC", "-n", "other"]),
    ] {
        let theirs = shop.path("theirs");
        let args = [&["-l", "16", "-d", "-a", URL, "-o", "theirs"], flags, &[path]].concat();
        shop.run(Tool::Mktorrent, &args);
        let hash = shop.show("theirs")["infohash"].clone();
        assert_eq!(shop.create(path, &[&["-s", "64K"], ours].concat()), hash, "{flags:?}");
        fs::remove_file(theirs).unwrap();
    }
}

/// It writes `private` into every torrent, as 0 if it is not; so only private ones are the same.
#[test]
fn transmission_create_makes_the_same() {
    if !have(&[Tool::Swarmloop, Tool::TransmissionCreate]) {
        return;
    }
    let shop = Shop::open();
    for (path, size, ours) in [("folder", "64", "64K"), ("alone.bin", "16", "16K")] {
        shop.run(Tool::TransmissionCreate, &["-p", "-s", size, "-t", URL, "-o", "theirs", path]);
        let hash = shop.show("theirs")["infohash"].clone();
        assert_eq!(shop.create(path, &["-s", ours, "-p"]), hash);
        fs::remove_file(shop.path("theirs")).unwrap();
    }
}

#[test]
fn libtorrent_makes_the_same() {
    if !have(&[Tool::Swarmloop, Tool::LibtorrentPython]) {
        return;
    }
    let shop = Shop::open();
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join(DRIVER);
    for (path, len, private, ours) in [
        ("folder", "65536", "public", &["-s", "64K"][..]),
        ("alone.bin", "32768", "public", &["-s", "32K"]),
        ("folder", "16384", "private", &["-s", "16K", "-p"]),
    ] {
        let full = shop.path(path);
        let args = [driver.as_os_str(), full.as_os_str(), OsStr::new(len), OsStr::new(private)];
        let hash = shop.run(Tool::LibtorrentPython, &args);
        assert_eq!(shop.create(path, ours), hash.trim(), "{path} {len} {private}");
    }
}

#[test]
fn transmission_show_reads_what_we_make() {
    if !have(&[Tool::Swarmloop, Tool::TransmissionShow]) {
        return;
    }
    let shop = Shop::open();
    let other = ["-t", "udp://127.0.0.1:1", "-c", "a comment", "-r", "SRC"];
    let hash = shop.create("folder", &[&["-s", "64K", "-t", URL, "-p"], &other[..]].concat());
    let theirs = shop.run(Tool::TransmissionShow, &["-m", "ours"]);
    assert_eq!(shop.run(Tool::Swarmloop, &["magnet", "ours"]), theirs);
    assert!(theirs.contains(hash.as_str().unwrap()), "{theirs}");
    let shown = shop.run(Tool::TransmissionShow, &["ours"]);
    let ours = shop.run(Tool::Swarmloop, &["show", "ours"]);
    for line in [
        "  Name: folder",
        &format!("  Hash: {}", hash.as_str().unwrap()),
        "  Comment: a comment",
        "  Piece Count: 15",
        "  Privacy: Private torrent",
        "  Tier #1",
        "  http://127.0.0.1:6969/announce",
        "  Tier #2",
        "  udp://127.0.0.1:1",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        assert!(ours.lines().any(|shown| shown == line), "{line}\n{ours}");
    }
    for (path, _) in &FILES[..4] {
        assert!(shown.contains(&format!("  {path} (")), "{path}\n{shown}");
        assert!(ours.contains(&format!("  {path}\n")), "{path}\n{ours}");
    }
}

/// The pieces that `verify` calls wrong are those in which mktorrent's torrent of the damaged data
/// differs from that of the data.
#[test]
fn verify_finds_what_mktorrent_hashes_otherwise() {
    if !have(&[Tool::Swarmloop, Tool::Mktorrent]) {
        return;
    }
    let shop = Shop::open();
    let make = |name| {
        shop.run(Tool::Mktorrent, &["-l", "15", "-d", "-a", URL, "-o", name, "folder"]);
        let pieces = shop.run(Tool::Swarmloop, &["show", name, "--pieces"]);
        pieces.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let good = make("good");
    shop.run(Tool::Swarmloop, &["verify", "good"]);
    for (path, at) in [(FILES[0].0, 0), (FILES[0].0, 700_000), (FILES[2].0, 99_999)] {
        let path = shop.path(path);
        let mut content = fs::read(&path).unwrap();
        content[at] ^= 1;
        fs::write(&path, content).unwrap();
    }
    let damaged = make("damaged");
    let differing = good.iter().zip(&damaged).filter(|(good, damaged)| good != damaged).count();
    assert_eq!((good.len(), damaged.len(), differing), (30, 30, 3));
    let command = |command: &mut std::process::Command| {
        command.args(["verify", "good", "--json"]).current_dir(shop.0.path());
    };
    let (code, out) = process::outcome(&Tool::Swarmloop.path(), command);
    assert_eq!(code, Some(3));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = lines.iter().find(|line| line["type"] == "verified").unwrap();
    assert_eq!((&sum["pieces_wrong"], &sum["pieces_right"]), (&3.into(), &27.into()));
}

/// A folder with something to make torrents of.
struct Shop(TempDir);

impl Shop {
    fn open() -> Self {
        let folder = TempDir::with_prefix("swarmloop-interop-").unwrap();
        for (seed, (path, len)) in (1..).zip(FILES) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut content = vec![0; len];
            swarmloop::rng::Rng::new(seed).fill(&mut content);
            fs::write(path, content).unwrap();
        }
        Self(folder)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Runs a program here to its good end and returns what it printed.
    fn run<A: AsRef<OsStr>>(&self, tool: Tool, args: &[A]) -> String {
        let command = |command: &mut std::process::Command| {
            command.args(args).current_dir(self.0.path());
        };
        process::output(&tool.path(), command).unwrap_or_else(|| panic!("{tool:?} failed"))
    }

    fn show(&self, torrent: &str) -> Value {
        serde_json::from_str(&self.run(Tool::Swarmloop, &["show", torrent, "--json"])).unwrap()
    }

    /// Makes our torrent, `ours`, and returns its info-hash.
    fn create(&self, path: &str, flags: &[&str]) -> Value {
        self.run(Tool::Swarmloop, &[&["create", path, "-f", "-o", "ours"], flags].concat());
        self.show("ours")["infohash"].clone()
    }
}

const DRIVER: &str = "tests/interop/drivers/libtorrent_create.py";
