//! State that cannot be saved: the download does not depend on it, and says what that costs.

use crate::stage::{Ended, Stage, Tmpfs, strace};
use crate::strace::has_strace;

const MIB: usize = 1 << 20;

/// Returns the one warning of a download that was complete all the same.
fn warning(ended: &Ended) -> String {
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "out/data\n"), "{}", ended.err);
    let words = ended.words();
    let mut warnings = words.lines().filter(|line| !line.starts_with("done  "));
    let warning = warnings.next().unwrap_or_default().to_owned();
    assert_eq!(warnings.next(), None, "{words}");
    let what = warning.strip_prefix("swarmloop: warning: ").unwrap_or_else(|| panic!("{words}"));
    let what = what.strip_suffix("; the next run checks what is there");
    what.unwrap_or_else(|| panic!("{words}")).to_owned()
}

#[test]
fn a_state_folder_that_is_read_only_costs_a_check() {
    let stage = Stage::new(&[("a", MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("state"), "size=1m,ro") else { return };
    let ended = stage.run(stage.get("out"));
    let folder = stage.path("state/swarmloop/resume");
    let expected = format!("cannot create folder \"{}\": read-only file system", folder.display());
    assert_eq!(warning(&ended), expected);
    tmpfs.remount("rw");
    stage.finish("out");
}

#[test]
fn a_state_folder_that_is_full_costs_a_check() {
    let stage = Stage::new(&[("a", MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("state"), "size=4k") else { return };
    std::fs::write(stage.path("state/full"), [1; 4096]).unwrap();
    let ended = stage.run(stage.get("out"));
    let what = warning(&ended);
    assert!(what.starts_with("cannot write \"/") && what.contains(".resume.new\": "), "{what}");
    assert!(what.ends_with("\": no space left on device"), "{what}");
    tmpfs.remount("size=1m");
    stage.finish("out");
}

#[test]
fn a_state_file_that_cannot_be_put_in_its_place_costs_a_check() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let inject = "inject=?rename,?renameat,renameat2:error=EIO";
    let ended = stage.run(stage.get_by(&strace(inject), "out"));
    let what = warning(&ended);
    assert!(what.starts_with("cannot replace \"/") && what.contains(".resume\": "), "{what}");
    assert!(what.ends_with("\": input/output error"), "{what}");
    stage.finish("out");
}

#[test]
fn names_that_cannot_be_synced_are_no_success() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let ended = stage.run(stage.get_by(&strace("inject=fsync:error=EIO"), "out"));
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let words = ended.words();
    let failed = |line: &str| {
        line.starts_with("swarmloop: error: cannot sync \"out")
            && line.contains("\": input/output error; what is not on the disk is downloaded again")
    };
    assert!(words.lines().any(failed), "{words}");
    stage.finish("out");
}

#[test]
fn names_that_cannot_be_synced_once_are_no_obstacle() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let ended = stage.run(stage.get_by(&strace("inject=fsync:error=EIO:when=1"), "out"));
    assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.err);
    stage.finish("out");
}
