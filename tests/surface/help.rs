//! The help of every command, and what else is made of it: its examples are run, and manual pages
//! and completion scripts know every command.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::golden;
use crate::stage::{Run, Stage, copy, words};

/// Examples that go on until a signal asks them to end: the line behind `swarmloop`, what it prints
/// when it is ready, and what it exits with then. 143 is that of a goal which was not reached.
const STAYING: &[(&str, &str, i32)] = &[
    ("album.torrent -d music --seed-time 2h", "done  album", 143),
    ("get album.torrent --seed-ratio 1.5 --limit-up 500K", "done  album", 143),
    ("seed album.torrent", "seeding  album", 0),
    ("seed album.torrent music/album --seed-time 2h", "seeding  album", 143),
    ("seed album.torrent -d music --limit-up 500K --seed-ratio 2", "seeding  album", 143),
    ("share album", "seeding  album", 0),
    ("share album --once", "seeding  album", 0),
    ("share album --once --bind 192.168.0.2", "seeding  album", 0),
    ("share album -o album.torrent --limit-up 5M", "seeding  album", 0),
    ("tracker", "/announce\n", 0),
    ("tracker --listen 192.168.0.2:6969 -w torrents", "/announce\n", 0),
    ("tracker --udp 0.0.0.0:6969 --interval 10m", "/announce\n", 0),
];

/// Returns the names of all subcommands, as the help lists them; first that of none.
fn commands(stage: &Stage) -> Vec<String> {
    let help = help(stage, &["--help"]);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.map_while(|line| line.split_whitespace().next().map(str::to_owned));
    let commands: Vec<String> = [String::new()].into_iter().chain(names).collect();
    assert!(commands.len() > 10, "{commands:?}");
    commands
}

fn help(stage: &Stage, args: &[&str]) -> String {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = stage.run(".", &args).expect_exit(0);
    assert_eq!(run.stderr(), "");
    run.stdout()
}

#[test]
fn every_help_is_as_it_was_reviewed() {
    let stage = Stage::new();
    let mut names = Vec::new();
    for command in commands(&stage) {
        let args = |flag| if command.is_empty() { vec![flag] } else { vec![&command[..], flag] };
        let [short, long] = ["-h", "--help"].map(|flag| help(&stage, &args(flag)));
        let name = format!("{}.txt", if command.is_empty() { "swarmloop" } else { &command });
        let command = format!("swarmloop {command}").trim_end().to_owned();
        let text = format!("$ {command} -h\n{short}\n$ {command} --help\n{long}");
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        golden::check(&format!("help/{name}"), &(lines.join("\n") + "\n"));
        assert!(short.lines().count() <= 60, "-h of {command} is not short");
        for part in ["\nExamples:\n", "\nExit codes:\n"] {
            assert!(long.contains(part) && !short.contains(part), "{command}: {part}");
        }
        names.push(name);
    }
    golden::check_names("help", &names);
}

#[test]
fn every_example_of_every_help_works() {
    let stage = Stage::new();
    let services = stage.open();
    prepare(&stage);
    let (mut seen, mut count) = (vec![false; STAYING.len()], 0);
    for command in commands(&stage) {
        let args = if command.is_empty() { vec!["--help"] } else { vec![&command[..], "--help"] };
        let help = help(&stage, &args);
        let examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        let examples: Vec<&str> = examples.take_while(|line| !line.is_empty()).collect();
        assert!(!examples.is_empty(), "{command} has no example");
        for example in examples {
            let example = example.strip_prefix("  swarmloop ").expect("a command");
            let folder = format!("example-{count}");
            count += 1;
            furnish(&stage, &folder, example);
            let mut args = words(&stage.localized(example));
            if args[0] == "demo" {
                args.extend(["--size".to_owned(), "1M".to_owned()]);
            }
            let run = stage.start(&folder, &args);
            match STAYING.iter().position(|(staying, ..)| *staying == example) {
                Some(at) => {
                    seen[at] = true;
                    end(run, STAYING[at].1, STAYING[at].2);
                }
                None => check_result(&run.expect_exit(0), &args, &stage.path(&folder)),
            }
        }
    }
    let unseen: Vec<_> = STAYING.iter().zip(seen).filter(|(_, seen)| !seen).collect();
    assert!(unseen.is_empty(), "no help has these examples any more: {unseen:?}");
    drop(services);
}

/// Makes what examples are about.
fn prepare(stage: &Stage) {
    let profile = "get album.torrent -d profiled --profile inside -q";
    stage.run(".", &words(profile)).expect_exit(0);
    for name in ["before", "after"] {
        copy(&stage.path("inside/profile.hlog"), &stage.path(&format!("{name}.hlog")));
    }
    for name in ["x", "other", "torrents/album"] {
        let path = stage.path(&format!("{name}.torrent"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        copy(&stage.path("album.torrent"), &path);
    }
    fs::write(stage.path("list.txt"), "# all of it\nalbum.torrent\n").unwrap();
    fs::write(stage.path("settings.toml"), "[network]\nmax_conns = 500\n").unwrap();
}

/// Puts into a folder what an example needs, and nothing that is in its way.
fn furnish(stage: &Stage, folder: &str, example: &str) {
    let command = example.split(' ').next().unwrap();
    let folder = stage.path(folder);
    fs::create_dir(&folder).unwrap();
    let mut there =
        vec!["x.torrent", "other.torrent", "torrents", "list.txt", "settings.toml", "inside"];
    there.extend(["before.hlog", "after.hlog"]);
    if !matches!(command, "create" | "share") {
        there.push("album.torrent");
    }
    for name in there {
        copy(&stage.path(name), &folder.join(name));
    }
    if command != "get" && !command.ends_with(".torrent") {
        copy(&stage.path("seed/album"), &folder.join("album"));
        copy(&stage.path("seed/album"), &folder.join("music/album"));
    }
}

/// Ends an example that would go on, once it is ready.
fn end(mut run: Run, ready: &str, code: i32) {
    run.wait_for(ready);
    run.signal(Signal::TERM);
    run.expect_exit(code);
}

/// Checks that an example that has ended has done something.
fn check_result(run: &Run, args: &[String], folder: &Path) {
    for (flag, value) in args.iter().zip(args.iter().skip(1)) {
        let file = match flag.as_str() {
            "-o" | "--out" | "--html" | "--log-file" | "--move-to" if value != "-" => value,
            _ => continue,
        };
        assert!(folder.join(file).exists(), "it made no {file}\n{run}");
    }
    assert!(!run.output().is_empty(), "it said nothing\n{run}");
}

#[test]
fn manual_pages_and_completions_know_every_command() {
    let stage = Stage::new();
    let commands = commands(&stage);
    stage.run(".", &words("man --out man1")).expect_exit(0);
    for command in &commands {
        let name = format!("swarmloop-{command}");
        let page = stage.path("man1").join(format!("{}.1", name.trim_end_matches('-')));
        let page = fs::read_to_string(page).unwrap();
        for part in [".TH", ".SH SYNOPSIS", "Examples:", "Exit codes:"] {
            assert!(page.contains(part), "the page of '{command}' has no {part}");
        }
    }
    let page = help(&stage, &["man"]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = help(&stage, &["completions", shell]);
        for command in &commands[1..] {
            assert!(script.contains(command), "{shell} does not know {command}");
            assert!(page.contains(command), "the page does not know {command}");
        }
        assert!(script.contains("seed-ratio"), "{shell} does not know flags");
    }
}
