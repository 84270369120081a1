//! What every command prints, for people and for programs, held against files.

use std::fmt::Write;
use std::fs;

use rustix::process::Signal;

use crate::golden;
use crate::stage::{Run, Stage, words};

/// What a command is to do before its output is looked at.
#[derive(Clone, Copy)]
enum Until {
    /// End by itself.
    Ended,
    /// Print this; then a SIGTERM ends it.
    Says(&'static str),
}

use Until::{Ended, Says};

/// The files of golden output, and the commands whose output is in each, in their order. What they
/// make is there for those behind them.
const STORY: &[(&str, &[(&str, Until)])] = &[
    (
        "create.txt",
        &[
            ("create album -s 64K --dry-run -t http://127.0.0.1:6969/announce", Ended),
            ("create album -s 64K --no-date -t http://127.0.0.1:6969/announce --magnet", Ended),
            ("create album -s 64K --no-date", Ended),
            ("create album -s 64K --no-date -o other.torrent --json", Ended),
            ("create album --dry-run --json -x '*.png' -o none.torrent", Ended),
            ("create nothing", Ended),
        ],
    ),
    (
        "show.txt",
        &[
            ("show album.torrent", Ended),
            ("show album.torrent -f -b", Ended),
            ("show album.torrent -t", Ended),
            ("show album.torrent -m", Ended),
            ("show album.torrent --pieces", Ended),
            ("show album.torrent --json", Ended),
            ("show list.txt", Ended),
            ("show list.txt --json", Ended),
        ],
    ),
    (
        "magnet.txt",
        &[
            ("magnet album.torrent other.torrent", Ended),
            ("magnet album.torrent none.torrent --json", Ended),
        ],
    ),
    (
        "edit.txt",
        &[
            ("edit other.torrent -a udp://t:1,udp://u:1 -c mastered --dry-run", Ended),
            ("edit other.torrent -a udp://t:1 --source S --json -o edited.torrent", Ended),
            ("edit other.torrent -d udp://t:1", Ended),
            ("edit other.torrent", Ended),
        ],
    ),
    (
        "verify.txt",
        &[
            ("verify album.torrent", Ended),
            ("verify album.torrent --files --json", Ended),
            ("verify album.torrent wrong --files", Ended),
            ("verify album.torrent wrong --json", Ended),
            ("verify album.torrent wrong --repair --dry-run", Ended),
        ],
    ),
    (
        "tracker.txt",
        &[
            ("tracker --listen 127.0.0.5:6969", Says("udp://")),
            ("tracker --http 127.0.0.5:6969 --json", Says("announce")),
            ("tracker --listen 192.0.2.1:1", Ended),
        ],
    ),
    (
        "trackers.txt",
        &[
            ("scrape album.torrent", Ended),
            ("scrape album.torrent udp://127.0.0.1:6969 --json", Ended),
            (
                "scrape 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a http://127.0.0.1:6969/announce",
                Ended,
            ),
            ("scrape album.torrent http://127.0.0.1:6969/x http://127.0.0.1:1/announce", Ended),
            ("scrape album.torrent http://127.0.0.1:1/announce --json", Ended),
            ("announce album.torrent", Ended),
            ("announce album.torrent udp://127.0.0.1:6969 --json", Ended),
        ],
    ),
    (
        "seed.txt",
        &[
            ("seed album.torrent --progress never --no-trackers", Says("seeding  album")),
            ("seed album.torrent --progress never --no-trackers --json", Says("\"seeding\"")),
            ("seed album.torrent wrong --progress never --no-trackers", Says("incomplete")),
            ("seed album.torrent empty --progress never --no-trackers", Ended),
        ],
    ),
    (
        "share.txt",
        &[
            (
                "share album --progress never --port 6881 --tracker-port 6969 --bind 127.0.0.4",
                Says("seeding  album"),
            ),
            (
                "share album --progress never --port 6881 --tracker-port 6969 --bind 127.0.0.4 \
                 --json",
                Says("\"event\":\"started\""),
            ),
        ],
    ),
    (
        "get.txt",
        &[
            ("get album.torrent -l", Ended),
            ("get album.torrent -l -s '*.flac' --priority 3=high --json", Ended),
            ("get album.torrent -d copy --progress never", Ended),
            ("get album.torrent -d copy --progress never", Ended),
            ("get one.torrent -d json --progress never --json --no-trackers SEED", Ended),
            ("get album.torrent -d other --progress never", Ended),
            ("get album.torrent -d alone --progress never --no-trackers --timeout 1s", Ended),
            ("get album.torrent -s 9", Ended),
            ("get none.torrent album.torrent -d copy --progress never", Ended),
            ("get none.torrent --json", Ended),
        ],
    ),
    (
        "config.txt",
        &[
            ("config --config settings.toml", Ended),
            ("config --config settings.toml --show-origin", Ended),
            ("config --config bad.toml", Ended),
        ],
    ),
];

#[test]
fn every_command_prints_what_it_did() {
    let stage = Stage::new();
    let [tracker, seed] = stage.open();
    let one = "create seed/album/cover.png -o one.torrent -s 128K --no-date -q";
    stage.run(".", &words(one)).expect_exit(0);
    let also = "seed one.torrent seed/album --bind 127.0.0.7 --port 6881 --no-trackers";
    let mut also = stage.start(".", &words(&stage.localized(also)));
    also.wait_for("seeding  cover.png");
    set(&stage);
    for (name, commands) in STORY {
        let mut text = String::new();
        for (line, until) in *commands {
            let run = play(&stage, line, *until);
            text.push_str(&transcript(&stage, line, run));
        }
        golden::check(&format!("output/{name}"), &text);
    }
    let names: Vec<String> = STORY.iter().map(|(name, _)| (*name).to_owned()).collect();
    golden::check_names("output", &names);
    drop((also, seed, tracker));
}

/// Puts there what the commands are about.
fn set(stage: &Stage) {
    stage.write_album("story");
    stage.write_album("story/wrong");
    let at = |path: &str| stage.path(&format!("story/{path}"));
    let mut wrong = fs::read(at("wrong/album/disc 1/01 opening.flac")).unwrap();
    wrong[100_000] ^= 1;
    fs::write(at("wrong/album/disc 1/01 opening.flac"), wrong).unwrap();
    fs::write(at("wrong/album/notes.txt"), vec![b'x'; 2_000]).unwrap();
    fs::remove_file(at("wrong/album/cover.png")).unwrap();
    fs::create_dir_all(at("empty/album")).unwrap();
    fs::create_dir_all(at("other/album")).unwrap();
    fs::write(at("other/album/notes.txt"), "my own notes\n").unwrap();
    fs::copy(stage.path("one.torrent"), at("one.torrent")).unwrap();
    fs::write(at("list.txt"), "no torrent\n").unwrap();
    fs::write(at("settings.toml"), "[network]\nmax_conns = 500\n[get]\nseed = true\n").unwrap();
    fs::write(at("bad.toml"), "[get]\nsede = true\n").unwrap();
}

fn play(stage: &Stage, line: &str, until: Until) -> Run {
    let line = line.replace("SEED", "--peer 127.0.0.7:6881");
    let mut run = stage.start("story", &words(&stage.localized(&line)));
    if let Says(text) = until {
        run.wait_for(text);
        run.signal(Signal::TERM);
    }
    run.wait();
    run
}

/// Returns a command, what it has printed and what it has exited with.
fn transcript(stage: &Stage, line: &str, mut run: Run) -> String {
    let mut text = format!("$ swarmloop {line}\n");
    for (mark, output) in [("1", run.stdout()), ("2", run.stderr())] {
        for line in stage.generalized(&output).lines() {
            writeln!(text, "{mark}| {}", steady(line)).unwrap();
        }
    }
    writeln!(text, "exit code {}\n", run.wait()).unwrap();
    text
}

/// Returns a line without what differs between runs: times, rates, and what depends on them.
fn steady(line: &str) -> String {
    let mut line = line.to_owned();
    for (field, value) in [("time", "\"TIME\""), ("elapsed", "0.5"), ("progress", "0.5")] {
        let key = format!("\"{field}\":");
        if let Some(at) = line.find(&key).map(|at| at + key.len()) {
            let len = line[at..].find([',', '}']).unwrap();
            // A time has no comma in it.
            line.replace_range(at..at + len, value);
        }
    }
    if let Some(at) =
        line.find(" MiB in ").or(line.find(" KiB in ")).filter(|_| line.contains("/s)"))
    {
        let at = at + " MiB in ".len();
        let end = line.find("/s)").unwrap() + "/s)".len();
        line.replace_range(at..end, "TIME (RATE)");
    }
    line
}
