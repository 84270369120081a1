//! Files and variables, and what of them reaches the flags.

use std::time::Duration;

use super::*;
use crate::cli::args::network::Encryption;
use crate::cli::args::{Cli, Command, Parsed, Refusal, parse};

/// A folder with configuration files, a home, and variables.
struct Place {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = ["etc.toml", "user.toml"].map(|name| folder.path().join(name)).to_vec();
        let sources = Sources { files, home: Some("/home/me".into()), env: Vec::new() };
        Self { folder, sources }
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).expect("written");
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.into()));
        self
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn read(&self, args: &[&str]) -> Result<Parsed, Refusal> {
        let args = std::iter::once("swarmloop").chain(args.iter().copied()).map(OsString::from);
        parse(args.collect(), &self.sources)
    }

    fn cli(&self, args: &[&str]) -> Cli {
        self.read(args).expect("a command line").cli
    }

    fn get(&self, args: &[&str]) -> crate::cli::args::get::GetArgs {
        match self.cli(&[&["get", "x"], args].concat()).command {
            Command::Get(get) => *get,
            other => panic!("not get: {other:?}"),
        }
    }

    fn failure(&self, args: &[&str]) -> Failure {
        match self.read(args) {
            Err(Refusal::Failed(failure)) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn a_usual_configuration_is_read() {
    let place = Place::new().file(
        "user.toml",
        "dir = \"~/Downloads\"\n\
         [network]\nport = 51413\nmax_conns = 500\nlimit_up = \"2M\"\n\
         encryption = \"prefer\"\n\
         [get]\nseed_ratio = 1.0\nseed_time = \"2h\"\n",
    );
    let get = place.get(&[]);
    assert_eq!(get.dir.as_deref(), Some(Path::new("/home/me/Downloads")));
    assert_eq!(get.network.port, Some(51_413..=51_413));
    assert_eq!(get.network.max_conns, Some(500));
    assert_eq!(get.network.limits.limit_up, Some(2 << 20));
    assert_eq!(get.network.encryption, Some(Encryption::Prefer));
    assert!(get.seeding().is_some_and(|goal| !goal.is_endless()));
}

#[test]
fn encryption_that_is_required_is_refused_whoever_requires_it() {
    let line = "[network]\nencryption = \"require\"\n";
    let (file, variable) = (Place::new().file("user.toml", line), "SWARMLOOP_ENCRYPTION");
    let failure = file.failure(&["get", "x"]);
    let expected = format!("--encryption require ({}:2) is", file.path("user.toml"));
    assert_eq!(failure.message, format!("{expected} not yet supported"));
    let failure = Place::new().variable(variable, "require").failure(&["seed", "x"]);
    let expected = "--encryption require (SWARMLOOP_ENCRYPTION) is not yet supported";
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, expected));
    let failure = Place::new().variable(variable, "sometimes").failure(&["get", "x"]);
    assert!(failure.message.starts_with("SWARMLOOP_ENCRYPTION: "), "{}", failure.message);
    // The command line's own word counts.
    let prefer = "[network]\nencryption = \"prefer\"\n";
    let get = Place::new().file("user.toml", prefer).get(&["--encryption", "off"]);
    assert_eq!(get.network.encryption, Some(Encryption::Off));
}

#[test]
fn the_stronger_source_wins() {
    let place = || {
        Place::new()
            .file("etc.toml", "timeout = \"1s\"\n[get]\ndir = \"etc\"\n[network]\nmax_peers = 1\n")
            .file("user.toml", "timeout = \"2s\"\ndir = \"user\"\n")
    };
    let get = place().get(&[]);
    // The user's file wins, though the system's speaks of this command alone.
    assert_eq!(get.dir.as_deref(), Some(Path::new("user")));
    assert_eq!(
        (get.patience.timeout, get.network.max_peers),
        (Some(Duration::from_secs(2)), Some(1))
    );
    let place = place().variable("SWARMLOOP_TIMEOUT", "3s").variable("SWARMLOOP_DIR", "");
    let get = place.get(&[]);
    assert_eq!(get.patience.timeout, Some(Duration::from_secs(3)));
    assert_eq!(get.dir.as_deref(), Some(Path::new("user")), "an empty variable is none");
    assert_eq!(place.get(&["--timeout", "4s"]).patience.timeout, Some(Duration::from_secs(4)));
}

#[test]
fn nodes_that_are_typed_are_asked_whatever_keeps_a_dht_away_elsewhere() {
    let file = || Place::new().file("user.toml", "[network]\nno_dht = true\n");
    let variable = || Place::new().variable("SWARMLOOP_NO_DHT", "1");
    for place in [file(), variable(), file().variable("SWARMLOOP_NO_DHT", "1")] {
        assert!(place.get(&[]).network.no_dht && !place.get(&["--dht"]).network.no_dht);
        let network = place.get(&["--dht-bootstrap", "h:1"]).network;
        assert!(!network.no_dht);
        assert_eq!(network.dht_bootstrap, [("h".to_owned(), 1)]);
    }
    // Nodes that are set are there for when there is a DHT.
    let set = variable().variable("SWARMLOOP_DHT_BOOTSTRAP", "h:1").get(&[]).network;
    assert!(set.no_dht && !set.dht_bootstrap.is_empty());
    let typed = Place::new().variable("SWARMLOOP_DHT_BOOTSTRAP", "h:1").get(&["--no-dht"]).network;
    assert!(typed.no_dht);
    let both = Place::new().read(&["get", "x", "--no-dht", "--dht-bootstrap", "h:1"]);
    both.expect_err("one of the two would do nothing");
}

#[test]
fn a_narrower_table_wins_within_a_file() {
    let place = Place::new().file(
        "user.toml",
        "max_peers = 1\nmax_conns = 1\nunchoke_slots = 1\n[get]\nmax_peers = 3\n\
         [network]\nmax_peers = 2\nmax_conns = 2\n",
    );
    let network = place.get(&[]).network;
    let limits = (network.max_peers, network.max_conns, network.unchoke_slots);
    assert_eq!(limits, (Some(3), Some(2), Some(1)));
    match place.cli(&["seed", "x"]).command {
        Command::Seed(seed) => assert_eq!(seed.network.max_peers, Some(2)),
        other => panic!("not seed: {other:?}"),
    }
}

#[test]
fn how_fast_and_how_patient_connections_are_is_of_the_network() {
    let place = Place::new()
        .file("user.toml", "[network]\nport = 51413\nlimit_up = \"2M\"\nkeepalive = \"20s\"\n");
    let get = place.get(&[]);
    assert_eq!(get.network.limits.limit_up, Some(2 << 20));
    assert_eq!(get.network.timeouts.keepalive, Some(Duration::from_secs(20)));
    match place.cli(&["seed", "x"]).command {
        Command::Seed(seed) => assert_eq!(seed.network.limits.limit_up, Some(2 << 20)),
        other => panic!("not seed: {other:?}"),
    }
}

#[test]
fn every_kind_of_flag_is_set_and_typed_over() {
    let place = Place::new().file(
        "user.toml",
        "verbose = 2\njson = true\nprogress = \"never\"\ndir = \"~/x\"\nseed = true\n\
         trackers = false\npeer = [\"a:1\", \"b:2\"]\nport = 7000\n",
    );
    let output = place.cli(&["get", "x"]).output;
    assert_eq!((output.verbose, output.json), (2, true));
    let get = place.get(&[]);
    assert!(get.seed && get.network.no_trackers);
    assert_eq!(get.dir.as_deref(), Some(Path::new("/home/me/x")));
    assert_eq!(get.network.port, Some(7000..=7000));
    assert_eq!(get.network.peers.len(), 2);
    let output = place.cli(&["-v", "get", "--no-json", "x"]).output;
    assert_eq!((output.verbose, output.json), (1, false));
    let get = place.get(&["--no-seed", "--trackers", "--peer", "c:3"]);
    assert!(!get.seed && !get.network.no_trackers);
    assert_eq!(get.network.peers, [("c".to_owned(), 3)]);
}

#[test]
fn variables_are_named_after_flags() {
    let place = Place::new()
        .variable("SWARMLOOP_NO_TRACKERS", "Yes")
        .variable("SWARMLOOP_SEQUENTIAL", "0")
        .variable("SWARMLOOP_PEER", "a:1 'b:2'")
        .variable("SWARMLOOP_VERBOSE", "1")
        .variable("SWARMLOOP_NOT_A_FLAG", "1");
    let get = place.get(&[]);
    assert!(get.network.no_trackers && !get.files.sequential);
    assert_eq!(get.network.peers.len(), 2);
    assert_eq!(place.cli(&["demo"]).output.verbose, 1);
    for (name, value, message) in [
        ("SWARMLOOP_SEED", "perhaps", "SWARMLOOP_SEED is neither true nor false"),
        ("SWARMLOOP_PEER", "'a", "SWARMLOOP_PEER: a quote is not closed"),
        (
            "SWARMLOOP_PORT",
            "x",
            "SWARMLOOP_PORT: invalid value 'x' for '--port <N[-M]>': \
             'x' is no port (0 to 65535)",
        ),
        ("SWARMLOOP_PROXY", "x", "--proxy (SWARMLOOP_PROXY) is not yet supported"),
    ] {
        let failure = Place::new().variable(name, value).failure(&["get", "x"]);
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, message));
    }
}

#[test]
fn the_last_word_about_a_switch_counts() {
    for (args, quiet, seed) in [
        (&["-q", "get", "x", "--seed", "--no-seed"][..], true, false),
        (&["-q", "get", "x", "--no-seed", "--seed", "--no-quiet"], false, true),
        (&["--no-quiet", "get", "x", "-q"], true, false),
        (&["get", "--no-quiet", "--quiet", "x", "--", "--no-quiet"], true, false),
    ] {
        let cli = Place::new().cli(args);
        let Command::Get(get) = cli.command else { panic!("{args:?} is not get") };
        assert_eq!((cli.output.quiet, get.seed), (quiet, seed), "{args:?}");
    }
}

#[test]
fn what_no_flag_has_is_refused_with_its_place() {
    for (text, message, hint) in [
        ("\nmax_pers = 1", "line 2: unknown key 'max_pers' before the first table", "'max_peers'"),
        ("[get]\nmax-peers = 1", "line 2: unknown key 'max-peers' in [get]", "'max_peers'"),
        ("[gte]", "line 1: unknown table [gte]", "[get]"),
        ("[network]\ndir = \"x\"", "line 2: unknown key 'dir' in [network]", "[get], [seed]"),
        ("[seed]\nsequential = true", "line 2: unknown key 'sequential' in [seed]", "[get]"),
        ("config = \"x\"", "line 1: unknown key 'config' before the first table", ""),
        ("\"a\\u001b\" = 1", "line 1: unknown key 'a\\x1b' before the first table", ""),
        ("seed = 1", "line 1: seed is either true or false", ""),
        ("max_peers = [1]", "line 1: max_peers is one value", ""),
        ("peer = [[\"a:1\"]]", "line 1: peer is a list of values", ""),
        ("dir = 2026-11-21", "line 1: dir is one value", ""),
        ("[get", "line 1: unclosed table, expected `]`", ""),
    ] {
        let place = Place::new().file("user.toml", text);
        let failure = place.failure(&["demo"]);
        let path = place.path("user.toml");
        assert_eq!(failure.message, format!("bad configuration '{path}': {message}"));
        assert_eq!(failure.exit, Exit::Usage);
        let told = failure.hint.unwrap_or_default();
        assert!(told.contains(hint) && told.is_empty() == hint.is_empty(), "{text}: {told}");
    }
}

#[test]
fn values_are_checked_whatever_command_runs() {
    for (text, end) in [
        ("progress = \"x\"", "one of auto, always, never, line, line:TIME"),
        ("[get]\nmax_peers = 70000", "70000 is not in 1..=65535"),
        ("[seed]\npeer = \"x\"", "a peer is HOST:PORT, an IPv6 address in brackets"),
    ] {
        let place = Place::new().file("etc.toml", text);
        let message = place.failure(&["demo"]).message;
        let start = format!("{}:{}: invalid value ", place.path("etc.toml"), text.lines().count());
        assert!(message.starts_with(&start) && message.ends_with(end), "{message}");
    }
}

#[test]
fn files_are_named_or_left_out() {
    let place = Place::new()
        .file("user.toml", "dir = \"user\"")
        .file("other.toml", "dir = \"other\"")
        .file("bad.toml", "nonsense");
    let dir = |args: &[&str]| place.get(args).dir.map(|dir| dir.to_string_lossy().into_owned());
    assert_eq!(dir(&[]).as_deref(), Some("user"));
    assert_eq!(dir(&["--config", &place.path("other.toml")]).as_deref(), Some("other"));
    assert_eq!(dir(&["--no-config"]), None);
    let failure = place.failure(&["demo", "--config", &place.path("missing.toml")]);
    assert!(failure.message.ends_with("missing.toml': No such file or directory (os error 2)"));
    let bad = place.path("bad.toml");
    assert_eq!(place.failure(&["demo", "--config", &bad]).exit, Exit::Usage);
    let place = place.variable("SWARMLOOP_CONFIG", &bad);
    assert_eq!(place.failure(&["demo"]).exit, Exit::Usage);
    let place = place.variable("SWARMLOOP_NO_CONFIG", "1");
    assert_eq!(place.get(&[]).dir, None);
}

#[test]
fn help_is_there_even_with_a_bad_configuration() {
    let place = Place::new().file("user.toml", "nonsense");
    assert!(matches!(place.read(&["get", "--help"]), Err(Refusal::Clap(_))));
}
