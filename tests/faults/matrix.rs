//! Every error that the system has for a file, at one call after the other of a download and of a
//! seed: each gives completion or one message and its exit code, and the next run finishes.

use crate::stage::{Ended, Stage};
use crate::strace::has_strace;

const KIB: usize = 1 << 10;

/// The calls with which a download touches files; those that a program makes before its `main`,
/// too, are looked at only where they concern the torrent's folder.
const CALLS: [(&str, bool); 11] = [
    ("openat", true),
    ("mkdirat", false),
    ("newfstatat", true),
    ("pwritev", false),
    ("preadv", false),
    ("fdatasync", false),
    ("fsync", false),
    ("ftruncate", false),
    ("fallocate", false),
    ("fsetxattr", false),
    ("renameat2", false),
];

/// Errors that say what the user can do something about, and one that says nothing.
const ERRORS: [&str; 7] = ["EIO", "EINTR", "ENOSPC", "EFBIG", "EROFS", "EACCES", "EDQUOT"];

/// Returns a wrapper that lets the `nth` of these calls of each thread fail.
fn strace(call: &str, of_folder: bool, error: &str, nth: &str) -> Vec<String> {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:{nth}"));
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let folder = ["-P", "out", "-P", "out/data"];
    let folder = folder.iter().filter(|_| of_folder);
    words.iter().chain(folder).map(|word| (*word).to_owned()).collect()
}

/// Runs one download with a fault and the next without, some of its files being there or not.
fn survives(stage: &Stage, (call, of_folder): (&str, bool), error: &str, nth: &str) -> Ended {
    let _ = std::fs::remove_dir_all(stage.path("out"));
    let _ = std::fs::remove_dir_all(stage.path("state"));
    match call {
        "mkdirat" => {}
        "preadv" => stage.write("out"),
        // What is named must be there for its calls to be known.
        _ => std::fs::create_dir_all(stage.path("out/data")).unwrap(),
    }
    let wrapper = strace(call, of_folder, error, nth);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut command = stage.get_by(&wrapper, "out");
    command.args(["--alloc", "full"]);
    let ended = stage.run(command);
    let name = format!("{call} {error} {nth}: {ended:?}");
    match ended.code {
        Some(0) => stage.check("out"),
        Some(1 | 6) => {
            let words = ended.words();
            let is_error = |line: &str| line.starts_with("swarmloop: error: cannot ");
            assert!(words.lines().any(is_error), "{name}");
            assert!(words.contains("verified and kept") || words.contains("next time"), "{name}");
        }
        _ => panic!("{name}"),
    }
    stage.finish("out");
    ended
}

#[test]
fn an_interrupted_call_is_made_again() {
    let stage = Stage::new(&[("a", 300 * KIB), ("b", 300 * KIB)]);
    if !has_strace() {
        return;
    }
    for call in CALLS {
        let ended = survives(&stage, call, "EINTR", "when=1+2");
        assert_eq!(ended.code, Some(0), "{call:?}: {}", ended.err);
    }
}

#[test]
fn an_error_at_one_of_the_first_calls_is_survived() {
    let stage = Stage::new(&[("a", 300 * KIB), ("b", 300 * KIB)]);
    if !has_strace() {
        return;
    }
    for (call, error) in [
        ("openat", "EACCES"),
        ("openat", "EIO"),
        ("newfstatat", "EIO"),
        ("pwritev", "EROFS"),
        ("ftruncate", "EFBIG"),
        ("fallocate", "EIO"),
        ("fsetxattr", "EROFS"),
    ] {
        let of_folder = CALLS.contains(&(call, true));
        survives(&stage, (call, of_folder), error, "when=2");
    }
}

#[test]
#[ignore = "takes a quarter of an hour; run it when something has changed about files"]
fn an_error_at_any_call_is_survived() {
    let stage = Stage::new(&[("a", 300 * KIB), ("b", 300 * KIB)]);
    if !has_strace() {
        return;
    }
    for call in CALLS {
        for error in ERRORS {
            for nth in 1..=8 {
                survives(&stage, call, error, &format!("when={nth}"));
            }
        }
    }
}
