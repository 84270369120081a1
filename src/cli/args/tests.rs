//! Command lines, by tables.

use std::time::Duration;

use super::later::LATER;
use super::network::{Bind, NetworkArgs};
use super::output::{LINE_INTERVAL, ProgressArg, When};
use super::*;
use crate::cli::goals::{SeedGoal, Slow};
use swarmloop::client::RateLimits;

fn read(args: &[&str]) -> Result<Cli, Refusal> {
    read_with(args, &Sources::default())
}

fn read_with(args: &[&str], sources: &Sources) -> Result<Cli, Refusal> {
    let args = std::iter::once("swarmloop").chain(args.iter().copied()).map(OsString::from);
    parse(args.collect(), sources).map(|parsed| parsed.cli)
}

fn get(args: &[&str]) -> GetArgs {
    match read(args).map(|cli| cli.command) {
        Ok(Command::Get(get)) => *get,
        other => panic!("{args:?} is not get: {other:?}"),
    }
}

fn refused(args: &[&str]) -> clap::Error {
    match read(args) {
        Err(Refusal::Clap(error)) => error,
        other => panic!("{args:?} is not refused: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    let command = command();
    Flags::new(&command).with_negations(command).debug_assert();
    documented().debug_assert();
}

#[test]
fn get_is_the_default_for_torrents() {
    for args in [
        &["x.torrent"][..],
        &["X.TORRENT"],
        &["-"],
        &["magnet:?xt=urn:btih:0"],
        &["https://example.org/a"],
        &["722fe65b2aa26d14f35b4ad627d20236e481d924"],
        &["-q", "x.torrent"],
        &["--progress", "line", "x.torrent"],
        &["--progress=line", "x.torrent"],
        &["-d", "demo", "x.torrent"],
        &["-o", "seed", "x.torrent"],
        &["--output", "seed", "x.torrent"],
        &["-ddemo", "x.torrent"],
        &["-vqd", "get", "x.torrent"],
        &["-v", "--", "x.torrent"],
        &["get", "anything"],
        &["-q", "get", "anything"],
        // An existing file, whatever its name.
        &["Cargo.toml"],
    ] {
        assert_eq!(get(args).torrents.len(), 1, "{args:?}");
    }
}

#[test]
fn the_last_of_a_flag_counts_unless_it_may_be_repeated() {
    let args = ["get", "a", "b", "--timeout", "1s", "-q", "-q", "--seed", "--timeout", "2s"];
    let one = get(&args);
    assert_eq!((one.patience.timeout, one.torrents.len()), (Some(Duration::from_secs(2)), 2));
    let peers = get(&["get", "a", "--seed", "--seed", "--peer", "h:1", "--peer", "h:2"]);
    assert_eq!(peers.network.peers.len(), 2);
    match read(&["tracker", "--listen", "[::1]:1", "--listen", "[::1]:2"]).map(|cli| cli.command) {
        Ok(Command::Tracker(tracker)) => assert_eq!(tracker.http().len(), 2),
        other => panic!("not a tracker: {other:?}"),
    }
}

#[test]
fn what_is_no_torrent_is_left_to_clap() {
    for args in [&["sed"][..], &["-q", "gte"], &["no-such-file"], &["--dir"]] {
        assert_eq!(refused(args).exit_code(), 2, "{args:?}");
    }
    let command = command();
    let list = |args: &[&str]| -> Vec<OsString> {
        std::iter::once(&"swarmloop").chain(args).map(OsString::from).collect()
    };
    for args in [&[][..], &["--help"], &["seed", "x.torrent"], &["-v", "demo"], &["sed"]] {
        let same = with_default_command(list(args), &command, |_| false);
        assert_eq!(same, list(args), "{args:?}");
    }
    // A file named like a subcommand is reached as ./demo.
    let same = with_default_command(list(&["demo"]), &command, |_| true);
    assert_eq!(same, list(&["demo"]));
}

#[test]
fn get_reads_its_flags() {
    let args = get(&[
        "get",
        "a.torrent",
        "b.torrent",
        "-d",
        "out",
        "-p",
        "7000-7010",
        "--bind",
        "127.0.0.1",
        "--peer",
        "localhost:1",
        "--peer",
        "[::1]:65535",
        "--max-peers",
        "9",
        "--max-conns",
        "10",
        "--unchoke-slots",
        "4",
        "--no-trackers",
        "--sequential",
        "--seed",
        "--timeout",
        "1m 30s",
        "--overwrite",
        "-c",
        "--no-dht",
        "--no-pex",
        "--no-lsd",
        "--no-port-map",
        "--no-utp",
    ]);
    assert_eq!(args.torrents, ["a.torrent", "b.torrent"]);
    assert_eq!(args.dir.as_deref(), Some(Path::new("out")));
    assert_eq!(args.network.port, Some(7000..=7010));
    assert_eq!(args.network.bind, Some(Bind::Address([127, 0, 0, 1].into())));
    assert_eq!(args.network.peers, [("localhost".to_owned(), 1), ("::1".to_owned(), 65535)]);
    let NetworkArgs { max_peers, max_conns, unchoke_slots, .. } = args.network;
    assert_eq!((max_peers, max_conns, unchoke_slots), (Some(9), Some(10), Some(4)));
    assert_eq!(args.patience.timeout, Some(Duration::from_secs(90)));
    assert!(args.network.no_trackers && args.files.sequential && args.seed && args.overwrite);
}

#[test]
fn output_flags_stand_anywhere() {
    for args in [
        &["-qvv", "--json", "--color", "never", "--progress", "never", "get", "x"][..],
        &["get", "x", "-qvv", "--json", "--color", "never", "--progress", "never"],
        &["-qvv", "get", "--json", "x", "--color=never", "--progress=never"],
    ] {
        let output = read(args).expect("a command line").output;
        assert!(output.quiet && output.json, "{args:?}");
        assert_eq!((output.verbose, output.color), (2, When::Never), "{args:?}");
        assert_eq!(output.progress, ProgressArg::Never, "{args:?}");
    }
}

#[test]
fn values_are_checked() {
    for args in [
        &["get"][..],
        &["get", "x", "--port", "65536"],
        &["get", "x", "--port", "0-5"],
        &["get", "x", "--port", "9-5"],
        &["get", "x", "--port", "5-"],
        &["get", "x", "--port", "-5"],
        &["get", "x", "--bind", "eth 0"],
        &["get", "x", "--peer", "localhost"],
        &["get", "x", "--peer", ":5"],
        &["get", "x", "--peer", "h:0"],
        &["get", "x", "--peer", "::1:5"],
        &["get", "x", "--peer", "[::1:5"],
        &["get", "x", "--peer", "[h]:5"],
        &["get", "x", "--peer", "a b:5"],
        &["get", "x", "--max-peers", "0"],
        &["get", "x", "--max-conns", "0"],
        &["seed", "x", "--unchoke-slots", "0"],
        &["get", "x", "--timeout", "5 parsecs"],
        &["get", "x", "--timeout", "0s"],
        &["get", "x", "--ipv4", "--ipv6"],
        &["get", "x", "--ipv6", "--bind", "::1"],
        &["get", "x", "--announce-port", "0"],
        &["get", "x", "--tracker", "a.example"],
        &["get", "x", "--max-half-open", "0"],
        &["seed", "x", "--keepalive", "0s"],
        &["get", "x", "--deadline", "soon"],
        &["get", "x", "--seed-ratio", "0"],
        &["get", "x", "--seed-time", "0s"],
        &["seed", "x", "--seed-idle", "long"],
        &["get", "x", "--stop-if-slow", "50K"],
        &["get", "x", "--stop-if-slow", "0:2m"],
        &["get", "x", "--stop-if-slow", "50K:0s"],
        &["get", "x", "--limit-down", "fast"],
        &["get", "x", "--limit-up=-1"],
        &["seed", "x", "--limit-up", "1.5M"],
        &["get", "x", "--progress", "sometimes"],
        &["get", "x", "--progress", "line:"],
        &["get", "x", "--color", "blue"],
        &["get", "x", "--no-such-flag"],
        &["seed"],
        &["seed", "x", "y", "z"],
        &["seed", "x", "y", "-d", "z"],
        &["tracker", "--listen", "nowhere"],
        &["demo", "--size", "1P"],
        &["demo", "--size", "0"],
        &["demo", "x"],
    ] {
        assert_eq!(refused(args).exit_code(), 2, "{args:?}");
    }
    assert_eq!(get(&["get", "x", "--port", "0"]).network.port, Some(0..=0));
}

#[test]
fn rates_are_in_bytes_with_units_of_1024() {
    let limits = |args: &[&str]| get(args).network.limits;
    let none = limits(&["get", "x"]);
    assert_eq!((none.in_all(), none.of_torrent()), (RateLimits::default(), RateLimits::default()));
    for (text, bytes) in [("0", 0), ("1000", 1_000), ("500K", 500 << 10), ("2MiB/s", 2 << 20)] {
        let given = limits(&["get", "x", "--limit-down", text, "--torrent-limit-up", text]);
        assert_eq!(given.in_all(), RateLimits { down: bytes, up: 0 }, "{text}");
        assert_eq!(given.of_torrent(), RateLimits { down: 0, up: bytes }, "{text}");
    }
}

#[test]
fn any_seed_goal_implies_seeding() {
    assert_eq!(get(&["get", "x"]).seeding(), None);
    assert!(get(&["get", "x", "--seed"]).seeding().is_some_and(SeedGoal::is_endless));
    for (flag, value, text) in [
        ("--seed-ratio", "1.5", "ratio 1.5"),
        ("--seed-time", "2h", "2h have passed"),
        ("--seed-idle", "10m", "10m have passed without an upload"),
    ] {
        let goal = get(&["get", "x", flag, value]).seeding().expect("it is seeded");
        assert_eq!(goal.to_string(), text);
        assert!(read(&["seed", "x", flag, value]).is_ok());
    }
    let slow = get(&["get", "x", "--stop-if-slow", "50K:2m"]).patience.patience().slow;
    assert_eq!(slow, Some(Slow { bytes_per_s: 50 << 10, over: Duration::from_secs(120) }));
}

#[test]
fn progress_takes_an_interval() {
    for (text, progress) in [
        ("auto", ProgressArg::Auto),
        ("always", ProgressArg::Always),
        ("line", ProgressArg::Lines(LINE_INTERVAL)),
        ("line:10s", ProgressArg::Lines(Duration::from_secs(10))),
    ] {
        let output = read(&["demo", "--progress", text]).expect("a command line").output;
        assert_eq!(output.progress, progress, "{text}");
    }
}

#[test]
fn flags_of_later_versions_are_refused_by_name() {
    for &(long, short, takes_value) in LATER {
        let flag = format!("--{long}");
        let mut forms = vec![vec![flag.clone()]];
        forms.extend(short.map(|letter| vec![format!("-{letter}")]));
        if takes_value {
            forms.push(vec![flag.clone(), "1".to_owned()]);
            forms.push(vec![format!("{flag}=1")]);
        }
        for form in forms {
            for command in ["get", "seed"] {
                let mut args = vec![command, "x.torrent"];
                args.extend(form.iter().map(String::as_str));
                match read(&args) {
                    Err(Refusal::Failed(failure)) => {
                        assert_eq!(failure.message, format!("{flag} is not yet supported"));
                    }
                    other => panic!("{args:?} is not refused: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_later_flag_is_refused_in_the_short_form_too() {
    for args in
        [&["x.torrent", "--proxy", "socks5://h:1"][..], &["--encryption=require", "x.torrent"]]
    {
        assert!(matches!(read(args), Err(Refusal::Failed(_))), "{args:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["-h"], &["--version"], &["-V"], &["get", "--help"]] {
        assert_eq!(refused(args).exit_code(), 0, "{args:?}");
    }
    assert_eq!(refused(&["-V"]).to_string().lines().count(), 1);
    assert!(refused(&["--version"]).to_string().lines().count() > 1);
    assert!(refused(&["--help"]).to_string().contains("Exit codes:"));
}

#[test]
fn demo_and_tracker_have_defaults() {
    match read(&["demo"]).map(|cli| cli.command) {
        Ok(Command::Demo(demo)) => assert_eq!(demo.size, 256 << 20),
        other => panic!("not a demo: {other:?}"),
    }
    match read(&["tracker", "--listen", "[::1]:0", "--listen", "127.0.0.1:1"])
        .map(|cli| cli.command)
    {
        Ok(Command::Tracker(tracker)) => assert_eq!(tracker.http().len(), 2),
        other => panic!("not a tracker: {other:?}"),
    }
}
