//! `get` with magnet links and info-hashes, through the program: what is on disk, what is printed,
//! and what is refused.

#[path = "common/files.rs"]
mod files;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sha1::{Digest, Sha1};
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::extended::{self, Extension};
use swarmloop::proto::handshake::{HANDSHAKE_LEN, Reserved, encode};
use swarmloop::proto::ut_metadata;

const PIECE_LEN: usize = 32 << 10;

/// Path below the top folder, and bytes.
const FILES: [(&str, usize); 3] = [("a.bin", 100_000), ("dir/b.iso", 150_000), ("c.txt", 20_000)];

fn content(file: usize) -> Vec<u8> {
    files::content(file, FILES[file].1)
}

/// Writes the torrent, and its files below `seed`; returns its info-hash.
fn write_torrent(folder: &Path, private: bool) -> String {
    files::write_torrent(folder, &FILES, PIECE_LEN, private)
}

fn swarmloop(folder: &Path, state: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.current_dir(folder).env("XDG_STATE_HOME", folder.join(state));
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
        let mut child = swarmloop(folder, "seed-state")
            .args(["seed", "top.torrent", "seed", "--bind", "127.0.0.1", "--port", &port])
            .args(["--json", "--progress", "never"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut lines = lines.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("\"state\":\"seeding\"")), "it seeds");
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

/// Runs `get` and returns what it printed.
fn get(folder: &Path, args: &[&str]) -> Output {
    swarmloop(folder, "state")
        .arg("get")
        .args(["--bind", "127.0.0.1", "--port", "0", "--no-trackers", "--progress", "never"])
        .args(["--timeout", "20s"])
        .args(args)
        .output()
        .expect("the binary was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn records(output: &Output) -> Vec<Value> {
    let lines = text(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn a_magnet_link_is_downloaded_and_its_metadata_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = write_torrent(folder.path(), false);
    let seed = Seed::start(folder.path());
    let link = format!("magnet:?xt=urn:btih:{hash}&dn=x%1by&x.pe={}", seed.1);
    let output = get(folder.path(), &[&link, "-d", "out", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for (file, (path, _)) in FILES.iter().enumerate() {
        assert!(
            fs::read(folder.path().join("out/top").join(path)).expect("it is there")
                == content(file)
        );
    }
    let records = records(&output);
    let kinds: Vec<&str> = records.iter().filter_map(|line| line["type"].as_str()).collect();
    assert_eq!(&kinds[..2], ["start", "status"]);
    assert_eq!((&records[0]["infohash"], &records[0]["source"]), (&hash.into(), &"magnet".into()));
    assert_eq!(records[1]["state"], "metadata");
    let metadata = records.iter().find(|line| line["type"] == "metadata").expect("it is told");
    assert_eq!((&metadata["files"], &metadata["size"]), (&3.into(), &270_000.into()));
    // The next run needs nobody for the metadata.
    drop(seed);
    let again = get(folder.path(), &[&link, "-d", "out"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), "out/top\n");
    let listed = get(folder.path(), &[&link, "-l"]);
    assert!(text(&listed.stdout).contains("dir/b.iso"), "{}", text(&listed.stdout));
}

#[test]
fn a_link_says_which_files_are_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = write_torrent(folder.path(), false);
    let seed = Seed::start(folder.path());
    let link = format!("magnet:?xt=urn:btih:{hash}&so=1");
    let output = get(folder.path(), &[&link, "--peer", &seed.1]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(fs::read(folder.path().join("top/dir/b.iso")).expect("it is there") == content(1));
    assert!(!folder.path().join("top/a.bin").exists());
}

#[test]
fn metadata_only_is_a_torrent_file_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = write_torrent(folder.path(), true);
    let seed = Seed::start(folder.path());
    let args = [hash.as_str(), "--metadata-only", "-d", "out", "--no-resume", "--peer", &seed.1];
    let output = get(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "out/top.torrent\n");
    let saved = fs::read(folder.path().join("out/top.torrent")).expect("it is there");
    assert!(saved == fs::read(folder.path().join("top.torrent")).expect("it is there"));
    assert!(!folder.path().join("out/top").exists());
    assert!(!folder.path().join("state/swarmloop/metadata").exists(), "--no-resume keeps nothing");
}

#[test]
fn peers_of_the_link_are_dialled_although_the_metadata_was_kept_unless_it_is_private() {
    for private in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let hash = write_torrent(folder.path(), private);
        let seed = Seed::start(folder.path());
        let link = format!("magnet:?xt=urn:btih:{hash}&x.pe={}", seed.1);
        let first = get(folder.path(), &[&link, "--metadata-only", "--peer", &seed.1]);
        assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
        let wait = if private { "1s" } else { "20s" };
        let second = get(folder.path(), &[&link, "-d", "out", "--timeout", wait]);
        let code = if private { 5 } else { 0 };
        assert_eq!(second.status.code(), Some(code), "{}", text(&second.stderr));
    }
}

#[test]
fn what_nobody_has_is_given_up_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = "magnet:?xt=urn:btih:0123456789012345678901234567890123456789&dn=some\x1bthing";
    let output = swarmloop(folder.path(), "state")
        .args(["get", link, "--bind", "127.0.0.1", "--port", "0", "--timeout", "1s"])
        .output()
        .expect("the binary was built");
    assert_eq!(output.status.code(), Some(5));
    let said = text(&output.stderr);
    assert!(said.contains("no peers known and no trackers to ask"), "{said}");
    assert!(said.ends_with(" names one. Its metadata was not here yet\n"), "{said}");
    assert!(!said.contains('\x1b'));
}

#[test]
fn metadata_alone_is_waited_for_as_long_as_was_said_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = "0123456789012345678901234567890123456789";
    let line = ["get", hash, "--metadata-only", "-d", "out", "--no-dht", "--timeout", "1s"];
    for json in [false, true] {
        let mut command = swarmloop(folder.path(), "state");
        command.args(line).args(["--bind", "127.0.0.1", "--port", "0"]);
        let output = command.args(json.then_some("--json")).output().expect("it was built");
        assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
        let said = text(if json { &output.stdout } else { &output.stderr });
        assert!(said.contains("no peers known and no trackers to ask"), "{said}");
    }
    assert!(!folder.path().join("out").exists());
}

/// Serves `info` as metadata to whoever asks. Returns its info-hash and where.
fn serve_metadata(info: Vec<u8>) -> (InfoHash, String) {
    let hash = InfoHash(Sha1::digest(&info).into());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut hello = encode(Reserved::OURS, hash, PeerId(*b"-XX0000-hostile00000")).to_vec();
            extended::message(0, &mut hello, |out| {
                let body = format!("d1:md11:ut_metadatai2ee13:metadata_sizei{}ee", info.len());
                out.extend(body.into_bytes());
            });
            let _ = stream.write_all(&hello);
            let mut theirs = [0; HANDSHAKE_LEN];
            let _ = stream.read_exact(&mut theirs);
            let mut head = [0; 6];
            while stream.read_exact(&mut head).is_ok() {
                let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                let mut body = vec![0; len as usize - 2];
                let _ = stream.read_exact(&mut body);
                if head[4..] == [20, 2] {
                    let mut out = Vec::new();
                    ut_metadata::encode_data(Extension::Metadata.id(), 0, &info, &mut out);
                    let _ = stream.write_all(&out);
                }
            }
        }
    });
    (hash, addr)
}

#[test]
fn metadata_that_leads_out_of_the_folder_is_refused_and_writes_nothing() {
    let hashes = "7".repeat(20);
    let folder = tempfile::tempdir().expect("a folder");
    for info in [
        format!(
            "d5:filesld6:lengthi1e4:pathl2:..6:escapeeee4:name1:a12:piece lengthi16384e\
             6:pieces20:{hashes}e"
        ),
        format!("d6:lengthi1e4:name9:../escape12:piece lengthi16384e6:pieces20:{hashes}e"),
    ] {
        let (hash, addr) = serve_metadata(info.into_bytes());
        for more in [&["--metadata-only"][..], &[]] {
            let named = format!("magnet:?xt=urn:btih:{hash}&dn=..%2f..%2fescape&x.pe={addr}");
            let output = get(folder.path(), &[&[named.as_str(), "-d", "out"], more].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{said}");
            assert!(said.contains("metadata") && said.lines().count() <= 5, "{said}");
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    let names: Vec<String> =
        left.iter().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| name.contains("escape") || name == "a"), "{names:?}");
    assert!(!folder.path().join("out/a").exists());
}

#[test]
fn links_that_are_none_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for (argument, code, message) in [
        ("magnet:?dn=x", 4, "bad magnet link 'magnet:?dn=x': there is no info-hash"),
        ("magnet:?xt=urn:btih:zz", 4, "neither 40 hexadecimal nor 32 base32 digits"),
    ] {
        let output = get(folder.path(), &[argument]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(message), "{said}");
    }
    let hash = "0123456789012345678901234567890123456789";
    let output = get(folder.path(), &[hash, "-l"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let output = get(folder.path(), &[hash, "x.torrent", "--save-torrent=y"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
