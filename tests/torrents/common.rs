//! Running the program in a folder of files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use swarmloop::proto::metainfo::Metainfo;
use tempfile::TempDir;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program, to be run in `folder`, with nothing in its environment that it would heed.
pub(crate) fn swarmloop(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmloop"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "TERM", "SOURCE_DATE_EPOCH"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn run(folder: &Path, args: &[&str]) -> Ran {
    ran(&mut swarmloop(folder, args))
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran =
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    for text in [&ran.out, &ran.err] {
        let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(hostile), "{text:?}");
        assert!(!text.contains("panicked"), "{text}");
    }
    ran
}

/// What a run that must succeed printed to stdout.
pub(crate) fn printed(folder: &Path, args: &[&str]) -> String {
    let ran = run(folder, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.out
}

/// The exit code and the error of a run that must fail without a word on stdout.
pub(crate) fn refused(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let ran = run(folder, args);
    assert_eq!(ran.out, "", "{args:?}");
    assert!(ran.err.contains("error: "), "{args:?}: {}", ran.err);
    (ran.code, ran.err)
}

/// A folder with these files in it.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::with_prefix("swarmloop-torrents-").unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

pub(crate) fn metainfo(path: &Path) -> Metainfo {
    Metainfo::parse(&fs::read(path).unwrap().into()).unwrap()
}

/// The objects that a run with `--json` printed.
pub(crate) fn objects(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of what is in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
