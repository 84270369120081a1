//! Every flag of the command line's contract: it works, or it is refused by its name.

use rustix::process::Signal;

use crate::stage::{Stage, words};

/// Flags that every command has.
const OF_ALL: &str = "-q|--quiet|-v|-vv|--verbose|--json|--color never|--progress line:10s\
    |--config settings.toml|--no-config|--log-file log|--log-level debug|--log-format json\
    |--no-quiet|--no-json";

/// What `get` and `seed` have in common.
const OF_NETWORK: &str = "-p 0|--port 7000-7010|--bind 127.0.0.1|--ipv4|--ipv6\
    |--announce-ip 203.0.113.9|--announce-port 7|--max-peers 5|--max-conns 5|--max-half-open 5\
    |--unchoke-slots 5|--limit-down 1M|--limit-up 1M|--no-dht|--dht|--dht-bootstrap h:1,[::1]:2\
    |--no-pex|--no-lsd|--lsd|--no-utp\
    |--ca-file ca.pem|--no-trackers|--trackers|--no-webseeds|--tracker http://t/a|--peer h:1\
    |--blocklist file|--no-port-map|--dscp le|--connect-timeout 5s|--peer-timeout 5s\
    |--request-timeout 5s|--keepalive 5s|--encryption off|--encryption allow|--encryption prefer\
    |-j 2|--jobs 2|--check|--no-resume|--seed-ratio 1.5|--seed-time 2h|--seed-idle 5m\
    |--profile dir|--trace file|-d dir|--dir dir|-o dir|--output dir";

/// Flags of `get` alone.
const OF_GET: &str = "-s 1-5,8|--select '*.iso'|-x 'dir/**'|--exclude 1|--priority 1=high|-l|--list\
    |--sequential|--first-last|--seed|--no-seed|--alloc none|--alloc sparse|--alloc full\
    |--stop-if-slow 50K:2m|--timeout 90s|--deadline 2h|--on-complete 'touch x'|-i list.txt\
    |--input-file list.txt|--overwrite|--no-space-check|--move-to dir|-c|--continue|--metadata-only\
    |--save-torrent|--save-torrent=x.torrent";

/// What `get` and `seed` do not do yet. Whoever builds one of these moves it up.
const LATER: &str = "--encryption require|--proxy socks5://h:1|--proxy-peers|--port-map\
    |--insecure|--peer-id-prefix=-XX0000-|--stdout file";

/// What `share` does not do yet.
const LATER_OF_SHARE: &str = "--encryption require|--proxy socks5://h:1|--proxy-peers|--port-map\
    |--insecure";

const OF_CREATE: &str = "-o x|--output x|-t http://t/a,udp://t:1|--tracker http://t/a|-w http://w/\
    |--webseed http://w/|-s auto|--piece-size 64K|-p|--private|-c text|--comment text|-r text\
    |--source text|-n name|--name name|-x '*.tmp'|--exclude '*.tmp'|--v1|--no-date\
    |--created-by me|-j 2|--jobs 2|--magnet|-f|--force|--dry-run|--follow-symlinks";

/// Every flag of a command, given to it for a file that is not there: whatever is known comes as
/// far as that.
const KNOWN: &[(&str, &str)] = &[
    ("get missing", OF_ALL),
    ("get missing", OF_NETWORK),
    ("get missing", OF_GET),
    ("missing.torrent", OF_NETWORK),
    ("seed missing", OF_ALL),
    ("seed missing", OF_NETWORK),
    ("share missing", "-o x|-x '*.tmp'|-j 2|--jobs 2|--once|--once 3|--tracker-port 7|--dscp ef"),
    ("create missing", OF_ALL),
    ("create missing", OF_CREATE),
    ("show missing", OF_ALL),
    (
        "show missing",
        "-f|--files|-t|--trackers|-m|--magnet|-b|--bytes|--pieces|--raw|--bind 127.0.0.1|--ca-file ca.pem",
    ),
    ("verify missing", OF_ALL),
    ("verify missing", "--files|--repair|--repair --dry-run|-j 2|--jobs 2"),
    ("magnet missing", OF_ALL),
    ("edit missing -p", OF_ALL),
    ("scrape missing", OF_ALL),
    ("scrape missing", "--timeout 5s|--bind 127.0.0.1|--ca-file ca.pem|udp://t:1"),
    ("announce missing", OF_ALL),
    (
        "edit missing",
        "-a http://t/a|--add http://t/a|-d http://t/a|--delete http://t/a|-r old new\
        |--replace old new|-w http://w/|--webseed http://w/|--delete-webseed http://w/|-c text\
        |--comment text|--source text|-p|--private|--public|-n name|--name name|-p -o x\
        |-p --output x --force|-p --dry-run",
    ),
];

const REFUSED: &[(&str, &str)] = &[
    ("get missing", LATER),
    ("missing.torrent", LATER),
    ("seed missing", LATER),
    ("share missing", LATER_OF_SHARE),
    ("create missing", "--v2|--hybrid|--md5"),
];

#[test]
fn every_flag_of_the_contract_works_or_is_refused_by_name() {
    let stage = Stage::new();
    std::fs::write(stage.path("settings.toml"), "").unwrap();
    std::fs::write(stage.path("list.txt"), "missing\n").unwrap();
    std::fs::write(stage.path("ca.pem"), include_str!("../tls/ca.pem")).unwrap();
    let run = |command: &str, flags: &str| {
        let mut run = stage.start(".", &words(&format!("{command} {flags}")));
        (run.wait(), run)
    };
    for (command, flags) in KNOWN {
        for flag in flags.split('|').map(str::trim) {
            let (code, run) = run(command, flag);
            assert_eq!(code, 4, "{run}");
        }
    }
    for (command, flags) in REFUSED {
        for flag in flags.split('|').map(str::trim) {
            let (code, run) = run(command, flag);
            assert_eq!(code, 2, "{run}");
            let name = match flag.split([' ', '=']).next().unwrap() {
                // Its other values ask for nothing that is not there.
                "--encryption" => flag,
                long => long,
            };
            let error = format!("swarmloop: error: {name} is not yet supported\n");
            assert_eq!(run.output(), error, "{run}");
        }
    }
}

#[test]
fn what_is_known_under_a_flag_that_does_not_exist_is_an_error() {
    let stage = Stage::new();
    for line in ["get missing --dry-run", "show missing --seed", "seed missing --sequential"] {
        let mut run = stage.start(".", &words(line));
        assert_eq!(run.wait(), 2, "{run}");
        assert!(run.stderr().contains("unexpected argument"), "{run}");
    }
}

#[test]
fn a_setting_of_a_later_version_is_refused_whatever_it_is_for() {
    let stage = Stage::new();
    let refused = "--port-map (later.toml:2) is not yet supported";
    let read = "cannot read 'missing'";
    for (settings, command, code, text) in [
        ("[get]\nport_map = true\n", "get missing", 2, refused),
        ("[get]\nport_map = true\n", "create missing", 2, refused),
        ("\nport_map = true\n", "seed missing", 2, refused),
        ("\nport_map = false\n", "seed missing", 4, read),
        ("[get]\njobs = 2\n", "get missing", 4, read),
        ("\njobs = 2\n", "create missing", 4, read),
    ] {
        std::fs::write(stage.path("later.toml"), settings).unwrap();
        let mut run = stage.start(".", &words(&format!("{command} --config later.toml")));
        assert_eq!(run.wait(), code, "{settings}{run}");
        assert!(run.stderr().contains(text), "{settings}{run}");
    }
}

#[test]
fn as_many_threads_hash_and_write_as_are_asked_for() {
    let stage = Stage::new();
    stage.write_album("seed");
    stage.run(".", &words("create seed/album -q")).expect_exit(0);
    for (flags, code) in [("-j 0", 2), ("--jobs 65", 2), ("-j three", 2)] {
        let mut run = stage.start(".", &words(&format!("get album.torrent {flags}")));
        assert_eq!(run.wait(), code, "{run}");
    }
    for command in ["get album.torrent -d to", "seed album.torrent seed"] {
        let mut run = stage.start(".", &words(&format!("{command} -j 5 --progress line:1s")));
        run.wait_for("album");
        assert_eq!(run.threads_called("swarmloop-disk-"), 5, "{run}");
        run.signal(Signal::TERM);
        run.wait();
    }
}
