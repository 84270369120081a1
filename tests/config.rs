//! `config`, `completions` and `man` as a shell sees them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the program with nothing of the tester's own settings; returns exit code, stdout, stderr.
fn swarmloop(home: &Path, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_swarmloop"))
        .args(args)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const CONFIG: &str = "\
dir = \"~/Downloads\"
[network]
max_conns = 500
[get]
seed = true
";

#[test]
fn config_says_what_holds_and_why() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".config/swarmloop");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("config.toml"), CONFIG).expect("written");
    let env = [("SWARMLOOP_TIMEOUT", "5m")];
    let (code, out, err) = swarmloop(home.path(), &["config", "--show-origin"], &env);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let file = folder.join("config.toml");
    let from = |line: usize| format!("{}:{line}", file.display());
    for (table, key, value, origin) in [
        ("", "quiet", "false", "default".to_owned()),
        ("network", "max_conns", "500", from(3)),
        ("get", "dir", "\"", from(1)),
        ("get", "seed", "true", from(5)),
        ("get", "timeout", "\"5m\"", "SWARMLOOP_TIMEOUT".to_owned()),
        ("seed", "dir", "\"", from(1)),
    ] {
        let part = out.split("\n[").find(|part| match part.split_once(']') {
            Some((name, _)) if !table.is_empty() => name == table,
            _ => table.is_empty(),
        });
        let start = format!("{key} = {value}");
        let line = part.and_then(|part| part.lines().find(|line| line.starts_with(&start)));
        let line = line.unwrap_or_else(|| panic!("no {start} in [{table}] of\n{out}"));
        assert!(line.ends_with(&format!("  # {origin}")), "{line}");
    }
    // What it prints is a configuration that says the same.
    let (_, plain, _) = swarmloop(home.path(), &["config"], &env);
    fs::write(home.path().join("again.toml"), &plain).expect("written");
    let (_, again, err) = swarmloop(home.path(), &["config", "--config", "again.toml"], &[]);
    assert_eq!((again, err.as_str()), (plain, ""));
}

#[test]
fn config_in_json_is_one_object_a_setting() {
    let home = tempfile::tempdir().expect("a folder");
    let env = [("SWARMLOOP_MAX_PEERS", "7")];
    let (code, out, _) = swarmloop(home.path(), &["config", "--json"], &env);
    assert_eq!(code, Some(0));
    let expected = "{\"type\":\"setting\",\"table\":\"network\",\"key\":\"max_peers\",\
                    \"value\":7,\"origin\":\"SWARMLOOP_MAX_PEERS\"}";
    assert!(out.lines().any(|line| line == expected), "{out}");
    assert!(out.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn a_bad_configuration_ends_every_command() {
    let home = tempfile::tempdir().expect("a folder");
    fs::write(home.path().join("bad.toml"), "[get]\nsede = true\n").expect("written");
    for args in [&["get", "x.torrent"][..], &["demo"], &["config"]] {
        let args = [args, &["--config", "bad.toml"]].concat();
        let (code, out, err) = swarmloop(home.path(), &args, &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert_eq!(
            err,
            "swarmloop: error: bad configuration 'bad.toml': line 2: unknown key 'sede' in [get]\n\
             hint: did you mean 'seed'?\n"
        );
    }
}

/// Returns the subcommands that the help lists.
fn commands() -> Vec<String> {
    let home = tempfile::tempdir().expect("a folder");
    let (_, help, _) = swarmloop(home.path(), &["-h"], &[]);
    let list = help.split_once("Commands:\n").expect("it lists them").1;
    let names = list.lines().map_while(|line| line.strip_prefix("  "));
    names
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn completions_name_every_command_and_parse() {
    let home = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, err) = swarmloop(home.path(), &["completions", shell], &[]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{shell}");
        for command in commands() {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
        assert!(!script.contains("not-yet"), "{shell}");
        // Which shells there are differs from machine to machine; bash is everywhere.
        let checked = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn();
        if let (Ok(mut checker), "bash" | "zsh") = (checked, shell) {
            let mut stdin = checker.stdin.take().expect("it is piped");
            std::io::Write::write_all(&mut stdin, script.as_bytes()).expect("it reads");
            drop(stdin);
            assert!(checker.wait().expect("it ends").success(), "{shell} does not parse it");
        }
    }
    let (code, _, err) = swarmloop(home.path(), &["completions", "dos"], &[]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn manual_pages_are_one_a_command() {
    let home = tempfile::tempdir().expect("a folder");
    let (code, page, _) = swarmloop(home.path(), &["man"], &[]);
    assert_eq!(code, Some(0));
    assert!(page.contains(".TH swarmloop 1") && page.contains("Exit codes"), "{page}");
    let (code, out, err) = swarmloop(home.path(), &["man", "--out", "pages"], &[]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "pages\n", ""));
    for command in commands() {
        assert!(page.contains(&command.replace('-', "\\-")), "{command} is not in the page");
        let path = home.path().join(format!("pages/swarmloop-{command}.1"));
        let page = fs::read_to_string(&path).expect("a page");
        assert!(page.contains(&format!(".TH swarmloop-{command} 1")), "{page}");
    }
}
