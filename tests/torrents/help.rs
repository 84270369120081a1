//! The examples of the help, run.

use std::fs;

use crate::common::{folder, printed, run};

#[test]
fn examples_of_the_help_work() {
    let shelf = folder(&[("album/a", b"1"), ("album/b.tmp", b"2")]);
    printed(shelf.path(), &["create", "album", "-t", "http://old.example/announce"]);
    fs::rename(shelf.path().join("album.torrent"), shelf.path().join("x.torrent")).unwrap();
    let mut examples = 0;
    for command in ["create", "edit"] {
        let help = printed(shelf.path(), &[command, "--help"]);
        let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        for line in lines.take_while(|line| !line.is_empty()) {
            let words = words(line.trim_start().strip_prefix("swarmloop ").expect("a command"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = run(shelf.path(), &words);
            assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
            for made in ["album.torrent", "y.torrent"] {
                let _ = fs::remove_file(shelf.path().join(made));
            }
            examples += 1;
        }
    }
    assert!(examples >= 5, "{examples} examples");
}

/// Splits a line as a shell does whose only quotes are single ones.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (part, quoted) in line.split('\'').zip([false, true].into_iter().cycle()) {
        if quoted {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
