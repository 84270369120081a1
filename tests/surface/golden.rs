//! Texts that are kept in files, and the difference when one has changed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of agreement that are shown around a difference.
const CONTEXT: usize = 2;

/// Holds `text` against the file of this name below `golden`, or writes it there if
/// `SWARMLOOP_BLESS` is set.
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surface/golden").join(name);
    if std::env::var_os("SWARMLOOP_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{}\n{}is not what it was; if it should be, SWARMLOOP_BLESS=1 cargo test --test surface",
        path.display(),
        difference(&golden, text)
    );
}

/// Fails if the folder has a file that none of `names` is: of a command that is gone, say.
pub(crate) fn check_names(folder: &str, names: &[String]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surface/golden").join(folder);
    let files: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(names.iter().any(|known| known == name), "nothing makes {}", file.display());
    }
}

/// Returns the lines that are not in both texts, with what is around them.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - same;
    let pairs = old.iter().rev().zip(new.iter().rev());
    let same_end = pairs.take(rest).take_while(|(old, new)| old == new).count();
    let mut text = String::new();
    let mut line = |mark: &str, line: &str| writeln!(text, "{mark}{line}").unwrap();
    for (at, agreed) in old.iter().enumerate().take(same).skip(same.saturating_sub(CONTEXT)) {
        line("  ", &format!("{agreed}    (line {})", at + 1));
    }
    old[same..old.len() - same_end].iter().for_each(|old| line("- ", old));
    new[same..new.len() - same_end].iter().for_each(|new| line("+ ", new));
    new.iter().skip(new.len() - same_end).take(CONTEXT).for_each(|agreed| line("  ", agreed));
    text
}

#[test]
fn a_difference_shows_what_has_changed_and_where() {
    let old = "a\nb\nc\nd\ne\nf\n";
    let expected = "  b    (line 2)\n  c    (line 3)\n- d\n+ D\n+ x\n  e\n  f\n";
    assert_eq!(difference(old, "a\nb\nc\nD\nx\ne\nf\n"), expected);
    assert_eq!(difference("a\n", "a\na\n"), "  a    (line 1)\n+ a\n");
    assert_eq!(difference("", "a\n"), "+ a\n");
}
