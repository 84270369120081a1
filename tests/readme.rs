//! What README.md claims: its commands are run in its order, and what it shows is what they print.
//!
//! The story of its `console` blocks is told on loopback. Two things in its commands are not taken
//! as they are, so that runs beside each other do not collide: addresses `127.0.0.N` become
//! `127.X.Y.N` of a block that this process has for itself, and the ports 6969 and 6881 become free
//! ones. And `demo` moves 8 MiB.

// Only Linux has all of 127/8 on its loopback without being told.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "no event loop here: a test may wait")]

#[path = "common/port.rs"]
mod port;
#[path = "common/wait.rs"]
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha1::{Digest, Sha1};
use swarmloop::proto::bencode::Writer;
use swarmloop::rng::Rng;
use tempfile::TempDir;

use crate::port::free_port;

const README: &str = include_str!("../README.md");
const LIB: &str = include_str!("../src/lib.rs");

/// The longest that one command may take to end or to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of `album`: path below it and length in bytes.
const FILES: [(&str, usize); 3] =
    [("cover.png", 700_001), ("disc 1/01 opening.flac", 5 << 20), ("notes.txt", 1_234)];
const PIECE_LEN: usize = 64 << 10;

/// How a command of the README ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// By itself, with this code.
    Exits(i32),
    /// With 0 when the story is over and a SIGTERM asks for it. Up to then it is there for the
    /// others, from the moment on that its output holds this.
    Stays(&'static str),
    /// With this code on a `^C` that comes once its output holds `waiting: `.
    Interrupted(i32),
}

/// Every command of the README in its order, how it ends, and what it prints to stdout (JSON and
/// what differs between runs: [`ANY`]).
const STORY: &[(&str, Ending, &str)] = &[
    ("demo", Ending::Exits(0), ""),
    ("get album.torrent --proxy socks5://localhost:1080", Ending::Exits(2), ""),
    ("create album -t http://127.0.0.1:6969/announce -s 64K", Ending::Exits(0), "album.torrent\n"),
    ("show album.torrent", Ending::Exits(0), ANY),
    ("magnet album.torrent", Ending::Exits(0), ANY),
    (
        "edit album.torrent -a udp://127.0.0.1:6970 -c mastered -o edited.torrent",
        Ending::Exits(0),
        "edited.torrent\n",
    ),
    ("tracker --listen 127.0.0.1:6969", Ending::Stays("\nudp://"), ANY),
    (
        "seed album.torrent --bind 127.0.0.2 --port 6881",
        Ending::Stays("Z album seeding up=0B/s"),
        "",
    ),
    ("get album.torrent -d copy --bind 127.0.0.3", Ending::Exits(0), "copy/album\n"),
    (
        "get album.torrent -d direct --bind 127.0.0.3 --no-trackers --peer 127.0.0.2:6881",
        Ending::Exits(0),
        "direct/album\n",
    ),
    ("get album.torrent -d json --bind 127.0.0.3 --json", Ending::Exits(0), ANY),
    ("scrape album.torrent --bind 127.0.0.3", Ending::Exits(0), ANY),
    ("announce album.torrent --bind 127.0.0.3", Ending::Exits(0), ANY),
    (
        "get album.torrent -d blocked --bind 127.0.0.3 --no-trackers --peer 127.0.0.2:6881 \
            --blocklist level1.p2p --timeout 2s",
        Ending::Exits(5),
        "",
    ),
    ("get album.torrent -d private --bind tun7", Ending::Exits(2), ""),
    (
        "get 7003e02fa9f60b97e27c48e8d6f71505a069bf98 -d linked --bind 127.0.0.3 \
            --peer 127.0.0.2:6881",
        Ending::Exits(0),
        "linked/album\n",
    ),
    (
        "get album.torrent -d new --bind 127.0.0.3 --move-to done --on-complete true",
        Ending::Exits(0),
        "done/album\n",
    ),
    ("config --config settings.toml --show-origin", Ending::Exits(0), ANY),
    (
        "share album --bind 127.0.0.4 --port 6881 --tracker-port 6969",
        Ending::Stays("seeding  album"),
        ANY,
    ),
    (
        "get album.torrent -d logged --bind 127.0.0.3 --log-file get.log --log-level tracker=debug",
        Ending::Exits(0),
        "logged/album\n",
    ),
    (
        "get album.torrent -d alone --bind 127.0.0.3 --no-trackers --timeout 2s",
        Ending::Exits(5),
        "",
    ),
    ("album.torrent -d copy --bind 127.0.0.3", Ending::Exits(0), "copy/album\n"),
    ("get album.torrent -d other --bind 127.0.0.3", Ending::Exits(6), ""),
    ("get album.torrent -d other --bind 127.0.0.3 --overwrite", Ending::Exits(0), "other/album\n"),
    ("verify album.torrent copy", Ending::Exits(0), ""),
    (
        "get album.torrent -l",
        Ending::Exits(0),
        "1  683.6 KiB  album/cover.png\n2    5.0 MiB  album/disc 1/01 opening.flac\n\
            3    1.2 KiB  album/notes.txt\n",
    ),
    ("get album.torrent -d some --bind 127.0.0.3 -s 1,3", Ending::Exits(0), "some/album\n"),
    ("get album.torrent -d later --bind 127.0.0.3 --no-trackers", Ending::Interrupted(130), ""),
    (
        "get album.torrent -d slow --bind 127.0.0.3 --limit-down 2M",
        Ending::Exits(0),
        "slow/album\n",
    ),
    ("get album.torrent -d goal --bind 127.0.0.3 --seed-time 1s", Ending::Exits(0), "goal/album\n"),
    (
        "get album.torrent -d seen --bind 127.0.0.3 --profile inside --trace inside.json",
        Ending::Exits(0),
        "seen/album\n",
    ),
    (
        "hist inside/profile.hlog --tag request_to_block --tag block_to_written",
        Ending::Exits(0),
        ANY,
    ),
    ("get missing.torrent", Ending::Exits(4), ""),
];

/// Stdout that is compared in another way.
const ANY: &str = "*";

#[test]
fn every_command_does_what_the_readme_shows() {
    let shown = shown();
    let commands: Vec<&str> = shown.iter().map(|(command, _)| *command).collect();
    let known: Vec<&str> = STORY.iter().map(|(command, ..)| *command).collect();
    assert_eq!(commands, known, "the README's commands, and those of this test");

    let stage = Stage::new();
    let mut staying = Vec::new();
    for ((command, lines), (_, ending, stdout)) in shown.iter().zip(STORY) {
        let mut run = stage.start(command);
        match *ending {
            Ending::Exits(code) => assert_eq!(run.wait(), code, "{run}"),
            Ending::Stays(ready) => {
                run.wait_for(ready);
                if command.starts_with("seed") {
                    stage.wait_until_the_tracker_knows_a_seed();
                }
            }
            Ending::Interrupted(code) => {
                assert!(lines.contains(&"^C"), "the README does not show ^C at {command}");
                run.wait_for("waiting: ");
                run.signal(Signal::INT);
                assert_eq!(run.wait(), code, "{run}");
            }
        }
        if *stdout != ANY {
            assert_eq!(run.stdout(), *stdout, "{run}");
        }
        check_shown(lines, &run, &stage);
        if let Ending::Stays(_) = ending {
            staying.push(run);
        }
    }
    for folder in ["copy", "direct", "json", "done", "other", "seen"] {
        stage.check_album(folder);
    }
    // The seed before the tracker, which it takes leave of.
    for run in staying.iter_mut().rev() {
        run.signal(Signal::USR1);
        if run.text.starts_with("tracker") {
            run.wait_for("tracker: answering on http://");
        }
        run.signal(Signal::TERM);
        assert_eq!(run.wait(), 0, "{run}");
    }
}

#[test]
fn exit_codes_are_those_of_the_help() {
    // In one line, because a row that is too long for the help's columns goes on in the next.
    let help = help(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = help.split_once("Exit codes: ").expect("the help lists them").1;
    let rows = rows("| code | meaning |");
    assert!(rows.len() >= 7, "{rows:?}");
    for row in &rows {
        let text = row.join(" ");
        assert!(codes.contains(&text), "{text}\nis not in\n{codes}");
    }
    for (command, ending, _) in STORY {
        let (Ending::Exits(code) | Ending::Interrupted(code)) = ending else { continue };
        let has = |row: &Vec<String>| row[0].split(", ").any(|listed| listed == code.to_string());
        assert!(rows.iter().any(has), "{command} exits with {code}");
    }
}

#[test]
fn flags_are_those_of_the_help() {
    let help = help(&["get", "--help"]);
    let rows = rows("| flag | meaning |");
    assert!(!rows.is_empty());
    for flag in rows.iter().flat_map(|row| row[0].split(", ")) {
        let flag = flag.trim_matches('`');
        let as_in_help = match flag.split_once(' ') {
            Some((flag, value)) => format!("{flag} <{value}>"),
            None => flag.to_owned(),
        };
        let words = help.lines().map(str::trim_start);
        let found = words.filter(|line| line.starts_with('-')).any(|line| {
            let names = line.split("  ").next().unwrap_or(line);
            names.split(", ").any(|name| name.trim_end_matches("...") == as_in_help)
        });
        assert!(found, "{as_in_help} is not in\n{help}");
    }
}

#[test]
fn beps_are_sorted_and_each_has_its_row_filled() {
    let rows = rows("| BEP | title | what is done | tested against |");
    let numbers: Vec<u32> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    assert!(numbers.len() > 1 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    for row in rows {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

/// The one in `lib.rs` is compiled as a documentation test.
#[test]
fn the_example_is_that_of_the_library() {
    let doc: Vec<&str> = LIB
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let doc = doc.join("\n");
    let visible = |code: &str| {
        let lines = code.lines().filter(|line| *line != "#" && !line.starts_with("# "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let [in_readme] = &blocks(README, "rust")[..] else { panic!("one example in the README") };
    let [in_lib] = &blocks(&doc, "no_run")[..] else { panic!("one example in lib.rs") };
    assert_eq!(in_readme.join("\n"), visible(&in_lib.join("\n")));
}

/// Returns the lines of every fenced block of this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<Vec<&'a str>> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language, Vec::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block that does not end");
    blocks.into_iter().filter(|(of, _)| *of == language).map(|(_, lines)| lines).collect()
}

/// Returns the arguments of every command in the README's console blocks and the lines that it
/// shows below.
fn shown() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut shown: Vec<(&str, Vec<&str>)> = Vec::new();
    for block in blocks(README, "console") {
        assert!(block.first().is_some_and(|line| line.starts_with("$ ")), "{block:?}");
        for line in block {
            if let Some(command) = line.strip_prefix("$ ") {
                let arguments = command.strip_prefix("swarmloop ");
                shown.push((arguments.expect("only our own commands are run"), Vec::new()));
            } else {
                shown.last_mut().expect("a command comes first").1.push(line);
            }
        }
    }
    shown
}

/// Returns the cells of each row of the README's table with this head.
fn rows(head: &str) -> Vec<Vec<String>> {
    let mut lines = README.lines().skip_while(|line| *line != head);
    assert!(lines.next().is_some(), "no table {head}");
    let cells = |line: &str| {
        // A bar within a cell has a backslash before it.
        let inner = line.trim_matches('|').replace("\\|", "\0");
        inner.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
    };
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// Checks that a command prints what the README shows of it; numbers may differ, and so may what a
/// dated line says behind its name, which depends on when it was written.
fn check_shown(lines: &[&str], run: &Run, stage: &Stage) {
    let printed = run.output();
    let printed = printed.replace(stage.folder.path().to_str().unwrap(), "/tmp");
    let (json, text): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.starts_with('{'));
    let masked: Vec<String> = printed.lines().map(mask).collect();
    for line in text.into_iter().filter(|line| *line != "^C") {
        let wanted = mask(line);
        let is_there = if wanted.starts_with("#-#-#T#:#:#Z ") {
            let start = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
            masked.iter().any(|line| start(line) == start(&wanted))
        } else {
            masked.contains(&wanted)
        };
        assert!(is_there, "the README shows\n{line}\n{run}");
    }
    if !json.is_empty() {
        check_json(&json, run);
    }
}

/// Checks that every line is an object, and that the types that the README shows come with the
/// fields, and kinds of value, that it shows.
fn check_json(shown: &[&str], run: &Run) {
    let stdout = run.stdout();
    let mut printed: BTreeMap<String, BTreeSet<Vec<(String, &str)>>> = BTreeMap::new();
    for line in stdout.lines() {
        let (name, fields) = fields(line);
        printed.entry(name).or_default().insert(fields);
    }
    for line in shown {
        let (name, fields) = fields(line);
        match printed.get(&name) {
            Some(printed) => assert!(printed.contains(&fields), "{line}\n{printed:?}"),
            // A download that is fast enough ends before the first of them.
            None => assert_eq!(name, "progress", "{run}"),
        }
    }
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["exit_code"]), (&"summary".into(), &0.into()), "{run}");
}

/// Returns the type of a JSON object and its fields with their kinds. `waiting` is left out, which
/// comes and goes, and so is the kind of `eta`, which is null while it is not known.
fn fields(line: &str) -> (String, Vec<(String, &'static str)>) {
    let value: Value = serde_json::from_str(line).expect("JSON");
    let object = value.as_object().expect("an object");
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fields = object.iter().filter(|(name, _)| *name != "waiting");
    let fields = fields.map(|(name, value)| {
        (name.clone(), if name == "eta" { "number or null" } else { kind(value) })
    });
    (object["type"].as_str().expect("a name").to_owned(), fields.collect())
}

/// Replaces every number by `#`, and what depends on numbers: the unit of bytes and of times, a
/// plural, the width of a column.
fn mask(line: &str) -> String {
    let mut masked = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii_digit() {
            while chars.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {}
            masked.push('#');
        } else {
            masked.push(c);
        }
    }
    let masked = ["KiB", "MiB", "GiB"].iter().fold(masked, |line, unit| line.replace(unit, "B"));
    let masked = ["ns", "µs", "ms"]
        .iter()
        .fold(masked, |line, unit| line.replace(&format!("#{unit}"), "#s"));
    let mut squeezed = masked.replace("peers", "peer");
    while squeezed.contains("  ") {
        squeezed = squeezed.replace("  ", " ");
    }
    squeezed
}

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_swarmloop")).args(args).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Where the story takes place.
struct Stage {
    folder: TempDir,
    /// The first three numbers of the addresses, with a dot behind each.
    block: String,
    /// What 6969 and 6881 become.
    ports: [u16; 2],
    info_hash: [u8; 20],
}

impl Stage {
    /// Makes a folder with the album and a file of somebody else.
    fn new() -> Self {
        let folder = TempDir::with_prefix("swarmloop-readme-").unwrap();
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // tests/interop uses blocks up to 127.255.255 as well; they come from other process ids.
        let block = format!("127.{}.{high}.", low.max(1));
        let ports = [free_port(Ipv4Addr::UNSPECIFIED), free_port(Ipv4Addr::UNSPECIFIED)];
        let mut stage = Self { folder, block, ports, info_hash: [0; 20] };
        stage.write_album();
        let [settings] = &blocks(README, "toml")[..] else { panic!("one file of settings") };
        fs::write(stage.path("settings.toml"), settings.join("\n")).unwrap();
        let list = "Somebody:192.0.2.0-192.0.2.255\nloopback:127.0.0.0-127.255.255.255\nno range\n";
        fs::write(stage.path("level1.p2p"), list).unwrap();
        let foreign = stage.path("other/album");
        fs::create_dir_all(&foreign).unwrap();
        fs::write(foreign.join("notes.txt"), "my own notes\n").unwrap();
        stage
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes the album, and works out the info-hash that its torrent is to have.
    fn write_album(&mut self) {
        let mut all = Vec::new();
        for (path, len) in FILES {
            let mut content = vec![0; len];
            Rng::new(len as u64).fill(&mut content);
            let path = self.path("album").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &content).unwrap();
            all.extend(content);
        }
        let hashes: Vec<u8> = all.chunks(PIECE_LEN).flat_map(Sha1::digest).collect();
        let mut info = Vec::new();
        write_info(Writer::new(&mut info), &hashes);
        self.info_hash = Sha1::digest(&info).into();
    }

    /// Returns the README's text with this stage's addresses and ports.
    fn localized(&self, text: &str) -> String {
        let [tracker, seed] = self.ports.map(|port| port.to_string());
        text.replace("127.0.0.", &self.block).replace("6969", &tracker).replace("6881", &seed)
    }

    /// Starts a command of the README, without the word `swarmloop`.
    fn start(&self, shown: &str) -> Run {
        let mut text = self.localized(shown);
        if shown == "demo" {
            text.push_str(" --size 8M");
        }
        let logs = TempDir::with_prefix_in("log-", self.folder.path()).unwrap();
        let open = |name| File::create_new(logs.path().join(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
        command.args(text.split(' ')).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(open("stdout")).stderr(open("stderr"));
        command.env("TMPDIR", self.folder.path());
        command.env("XDG_STATE_HOME", self.folder.path().join("state"));
        for variable in ["NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        Run { child: command.spawn().unwrap(), text, logs }
    }

    /// Waits for what a downloader that comes next depends on: it would be told of nobody, and to
    /// ask again in half an hour.
    fn wait_until_the_tracker_knows_a_seed(&self) {
        let host = format!("{}1:{}", self.block, self.ports[0]);
        let hash = self.info_hash.map(|byte| format!("%{byte:02x}")).concat();
        let request = format!("GET /scrape?info_hash={hash} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        let knows = eventually(|| {
            let mut stream = TcpStream::connect(&host).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).unwrap();
            String::from_utf8_lossy(&reply).contains("8:completei1e")
        });
        assert!(knows, "the tracker does not know the seed");
    }

    fn check_album(&self, folder: &str) {
        for (path, _) in FILES {
            let below = Path::new("album").join(path);
            let copy = fs::read(self.path(folder).join(&below)).unwrap();
            assert!(copy == fs::read(self.path("").join(&below)).unwrap(), "{folder}: {path}");
        }
    }
}

fn write_info(mut writer: Writer<'_>, hashes: &[u8]) {
    writer.dict(|info| {
        info.key(b"files").list(|files| {
            for (path, len) in FILES {
                files.dict(|file| {
                    file.key(b"length").int(i64::try_from(len).unwrap());
                    file.key(b"path").list(|parts| {
                        path.split('/').for_each(|part| parts.bytes(part.as_bytes()));
                    });
                });
            }
        });
        info.key(b"name").bytes(b"album");
        info.key(b"piece length").int(i64::try_from(PIECE_LEN).unwrap());
        info.key(b"pieces").bytes(hashes);
    });
}

/// A command of the README that was started. Dropping it kills it.
struct Run {
    child: Child,
    text: String,
    logs: TempDir,
}

impl Run {
    fn stdout(&self) -> String {
        fs::read_to_string(self.logs.path().join("stdout")).unwrap()
    }

    /// Stdout, then stderr.
    fn output(&self) -> String {
        self.stdout() + &fs::read_to_string(self.logs.path().join("stderr")).unwrap()
    }

    fn wait_for(&mut self, text: &str) {
        let came = eventually(|| {
            let ended = self.child.try_wait().unwrap().is_some();
            self.output().contains(text) || ended
        });
        assert!(came && self.output().contains(text), "no '{text}'\n{self}");
    }

    fn wait(&mut self) -> i32 {
        let mut status = None;
        eventually(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap_or_else(|| panic!("it does not end\n{self}"));
        status.code().unwrap_or_else(|| panic!("{status}\n{self}"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ swarmloop {}\n{}", self.text, self.output())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Neither does anything to a child that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is yes, or [`PATIENCE`] is over (false).
fn eventually(condition: impl FnMut() -> bool) -> bool {
    wait::eventually(PATIENCE, condition)
}
