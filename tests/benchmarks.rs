//! The README's benchmark section: what it shows is what the files in `benches/results` say, and
//! what made them are commands that `swarmloop-bench` understands.
//!
//! `SWARMLOOP_BLESS=1 cargo test --test benchmarks` writes the tables anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The script that measures everything; its list is the section's order.
const SCRIPT: &str = include_str!("../.ci/bench");

/// Between these the README is made from the files.
const BEGIN: &str = "<!-- made from benches/results by tests/benchmarks.rs -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// Pieces of the torrent whose picker is shown.
const PICKER_PIECES: &str = "100000";

#[test]
fn the_readme_shows_what_the_results_say() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("where the tables begin");
    let (shown, after) = rest.split_once(END).expect("where the tables end");
    let made = tables();
    if std::env::var_os("SWARMLOOP_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&path, [before, BEGIN, &made, END, after].concat()).unwrap();
        return;
    }
    assert!(shown == made, "the README shows\n{shown}\nbut the results say\n{made}");
}

#[test]
fn every_result_is_that_of_its_command_and_names_no_place() {
    let mut files: BTreeSet<String> = fs::read_dir(root().join("benches/results"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for (name, args) in benches() {
        let Some(result) = result(name) else { continue };
        files.remove(&format!("{name}.json"));
        let command = result["command"].as_str().unwrap();
        let expected = format!("swarmloop-bench {args} --out benches/results --out-name {name}");
        assert_eq!(command, expected, "{name}");
        assert!(result["failure"].is_null(), "{name}: {}", result["failure"]);
        for fact in ["cpu", "cores", "kernel", "memory_bytes"] {
            assert!(!result["machine"][fact].is_null(), "{name}: no {fact}");
        }
        let text = result.to_string();
        for place in ["/home/", "/root/", "/tmp/", "/opt/", "/usr/", "/dev/"] {
            assert!(!text.contains(place), "{name} names {place}");
        }
    }
    assert!(files.is_empty(), "nothing in .ci/bench makes {files:?}");
}

#[test]
fn every_command_is_understood() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.lines().filter_map(|line| line.strip_prefix("swarmloop-bench "));
    let shown: Vec<&str> = shown.map(|line| line.split('#').next().unwrap().trim()).collect();
    let measured = benches().into_iter().map(|(_, args)| args);
    let commands: Vec<&str> = measured.chain(shown.iter().copied()).collect();
    assert!(shown.len() > 5 && commands.len() > shown.len() + 10, "{commands:?}");
    for args in commands {
        // What stands before `--help` has been read when that is.
        let words = args.split(' ').chain(["--help"]);
        let output = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench")).args(words).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args}: {output:?}");
    }
}

#[test]
fn a_command_that_is_not_understood_would_be_found() {
    for args in [&["compare", "nothing", "--help"][..], &["compare", "seed", "-c", "x", "--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_swarmloop-bench")).args(args).output();
        assert_eq!(output.unwrap().status.code(), Some(2), "{args:?}");
    }
}

/// Returns names and arguments of the script's list.
fn benches() -> Vec<(&'static str, &'static str)> {
    let list = SCRIPT.split_once("benches=(\n").unwrap().1.split_once("\n)").unwrap().0;
    let entry = |line: &'static str| {
        let (name, args) = line.trim().split_once(' ').unwrap();
        (name, args.trim_matches('"'))
    };
    list.lines().map(entry).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn result(name: &str) -> Option<Value> {
    let path = Path::new("benches/results").join(format!("{name}.json"));
    let text = fs::read_to_string(root().join(path)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Makes all that stands between the two marks.
fn tables() -> String {
    let results: Vec<(&str, &str, Value)> = benches()
        .into_iter()
        .filter_map(|(name, args)| Some((name, args, result(name)?)))
        .collect();
    let mut out = String::new();
    let compared: Vec<_> =
        results.iter().filter(|(.., result)| result["bench"] == "compare").collect();
    if !compared.is_empty() {
        let all = compared.iter().map(|(.., result)| result);
        let _ = writeln!(out, "\n{}\n", circumstances(&all.collect::<Vec<_>>()));
        out.push_str(
            "| `swarmloop-bench ...` | figure | swarmloop | best of the others | ratio |\n",
        );
        out.push_str("|---|---|---:|---|---:|\n");
        for (name, args, result) in compared {
            rows(name, args, result, &mut out);
        }
    }
    if let Some((name, args, result)) = results.iter().find(|(name, ..)| *name == "picker") {
        let _ = writeln!(out, "\n{}\n", circumstances(&[result]));
        let link = link(name, args);
        let _ = writeln!(out, "| {link}, {PICKER_PIECES} pieces | ns |\n|---|---:|");
        for row in result["rows"].as_array().unwrap() {
            if row["pieces"] == PICKER_PIECES {
                let operation = row["operation"].as_str().unwrap();
                let _ = writeln!(out, "| {operation} | {} |", short(row["ns"].as_f64().unwrap()));
            }
        }
    }
    let others: Vec<String> = results
        .iter()
        .filter(|(name, _, result)| *name != "picker" && result["bench"] != "compare")
        .map(|(name, args, _)| link(name, args))
        .collect();
    if !others.is_empty() {
        let _ = writeln!(out, "\nBesides: {}.", others.join(", "));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Says when, on what, and with which versions.
fn circumstances(results: &[&Value]) -> String {
    let mut days = BTreeSet::new();
    let mut machines = BTreeSet::new();
    let mut clients = BTreeSet::new();
    for result in results {
        days.insert(result["time"].as_str().unwrap()[..10].to_owned());
        let machine = &result["machine"];
        let text = |key: &str| machine[key].as_str().unwrap().to_owned();
        let gib = machine["memory_bytes"].as_f64().unwrap() / f64::from(1 << 30);
        machines.insert(format!(
            "{} processors of an {}, {gib:.0} GiB, Linux {}",
            machine["cores"],
            text("cpu"),
            text("kernel")
        ));
        for client in result["clients"].as_array().into_iter().flatten() {
            let name = client["name"].as_str().unwrap();
            // Configurations of one program have one version.
            let program = name.split('-').next().unwrap();
            clients.insert(format!("{program} {}", client["version"].as_str().unwrap()));
        }
    }
    let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
    let with = if clients.is_empty() { String::new() } else { format!("; {}", join(clients)) };
    format!("{}; {}{with}.", join(days), join(machines))
}

/// Appends a row for each figure that is judged; that of other clients' best configuration stands
/// beside ours, whoever is ahead.
fn rows(name: &str, args: &str, result: &Value, out: &mut String) {
    let clients = result["clients"].as_array().unwrap();
    assert_eq!(clients[0]["name"], "swarmloop", "{name}");
    for metric in result["metrics"].as_array().unwrap() {
        let (key, better) = (metric["key"].as_str().unwrap(), &metric["better"]);
        let sign = match better.as_str() {
            Some("higher") => 1.0,
            Some("lower") => -1.0,
            _ => continue,
        };
        let median = |client: &Value| client["figures"][key]["median"].as_f64();
        let others = clients[1..].iter().filter(|client| median(client).is_some());
        let value = |client: &&Value| sign * median(client).unwrap();
        let best = others.max_by(|one, two| value(one).total_cmp(&value(two)));
        let (best, ratio) = match best {
            Some(client) => {
                let ratio = client["first_to_this"][key]["median"].as_f64();
                let text = format!("{} {}", client["name"].as_str().unwrap(), spread(client, key));
                (text, ratio.map_or("-".to_owned(), short))
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        let own = spread(&clients[0], key);
        let title = metric["title"].as_str().unwrap();
        let _ = writeln!(out, "| {} | {title} | {own} | {best} | {ratio} |", link(name, args));
    }
}

/// Shows a median, and the range if there was more than one round.
fn spread(client: &Value, key: &str) -> String {
    let figure = |part: &str| client["figures"][key][part].as_f64();
    match (figure("median"), figure("min"), figure("max")) {
        (Some(median), Some(min), Some(max)) if min < max => {
            format!("{} ({}-{})", short(median), short(min), short(max))
        }
        (Some(median), ..) => short(median),
        _ => "-".to_owned(),
    }
}

/// The command, which leads to the file.
fn link(name: &str, args: &str) -> String {
    format!("[`{args}`](benches/results/{name}.json)")
}

/// Three digits that tell something, as `swarmloop-bench` shows them.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
