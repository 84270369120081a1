//! Errors of the file system other than a want of space.

use crate::stage::{Stage, Tmpfs, strace};
use crate::strace::has_strace;

const MIB: usize = 1 << 20;

#[test]
fn a_read_only_file_system_exits_with_6_and_is_no_obstacle_later() {
    let stage = Stage::new(&[("a", MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=16m,ro") else { return };
    let ended = stage.run(stage.get("out"));
    assert_eq!((ended.code, ended.out.as_str()), (Some(6), ""), "{}", ended.err);
    assert_eq!(
        ended.words(),
        "swarmloop: error: cannot create folder \"out/data\": read-only file system. \
         0.0% is verified and kept\n\
         hint: choose another folder and run the same command again"
    );
    tmpfs.remount("rw");
    stage.finish("out");
}

#[test]
fn a_file_system_that_becomes_read_only_keeps_what_is_verified() {
    let stage = Stage::new(&[("a", MIB), ("b", MIB)]);
    if !has_strace() {
        return;
    }
    let inject = "inject=pwritev:error=EROFS:when=9+";
    let ended = stage.run(stage.get_by(&strace(inject), "out"));
    assert_eq!((ended.code, ended.out.as_str()), (Some(6), ""), "{}", ended.err);
    let words = ended.words();
    assert!(words.starts_with("swarmloop: error: cannot write \"out/data/"), "{words}");
    assert!(words.contains("\": read-only file system. "), "{words}");
    assert!(!words.contains(" 0.0% is verified"), "{words}");
    stage.finish("out");
}

#[test]
fn a_folder_without_permission_exits_with_6() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    // Else they could not be made either.
    for folder in ["state/swarmloop/resume", "state/swarmloop/locks"] {
        std::fs::create_dir_all(stage.path(folder)).unwrap();
    }
    for (folder, made) in [("out", None), ("out/data", Some("out"))] {
        if let Some(made) = made {
            std::fs::create_dir(stage.path(made)).unwrap();
        }
        let inject = "inject=?mkdir,mkdirat:error=EACCES";
        let ended = stage.run(stage.get_by(&strace(inject), "out"));
        assert_eq!((ended.code, ended.out.as_str()), (Some(6), ""), "{}", ended.err);
        let expected = format!(
            "swarmloop: error: cannot create folder \"{folder}\": permission denied. \
             0.0% is verified and kept\n\
             hint: change the permissions and run the same command again"
        );
        assert_eq!(ended.words(), expected);
    }
    stage.finish("out");
}

#[test]
fn a_place_that_takes_nothing_is_told_of_before_anybody_is_asked_for_anything() {
    let stage = Stage::new(&[("a", MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=16m,ro") else { return };
    // Nobody is there to give a first piece, with which it would be found out.
    for (dir, folder, why) in [
        ("out", "out/data", "read-only file system"),
        ("out/new/er", "out/new/er", "read-only file system"),
        ("/proc/new", "/proc/new", "no such file or directory"),
    ] {
        let mut command = stage.command(&[]);
        command.args(["get", "t.torrent", "-d", dir, "--no-trackers", "--bind", "127.0.0.1"]);
        let ended = stage.run(command);
        assert_eq!((ended.code, ended.out.as_str()), (Some(6), ""), "{dir}: {}", ended.err);
        let expected = format!(
            "swarmloop: error: cannot create folder \"{folder}\": {why}. \
             0.0% is verified and kept\n\
             hint: choose another folder and run the same command again"
        );
        assert_eq!(ended.words(), expected);
    }
    tmpfs.remount("rw");
    stage.finish("out");
    // What is there needs nothing to be made.
    tmpfs.remount("ro");
    stage.finish("out");
}

#[test]
fn a_write_that_fails_exits_with_1() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let ended = stage.run(stage.get_by(&strace("inject=pwritev:error=EIO:when=5"), "out"));
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
    let words = ended.words();
    let (error, hint) = words.split_once('\n').unwrap();
    let (what, kept) = error.split_once(". ").unwrap();
    assert_eq!(what, "swarmloop: error: cannot write \"out/data/a\": input/output error");
    assert!(kept.ends_with("% is verified and kept") && !kept.starts_with("0.0%"), "{kept}");
    assert_eq!(hint, "hint: see to the disk and run the same command again");
    stage.finish("out");
}

#[test]
fn a_sync_that_fails_again_and_again_exits_with_1_and_nothing_is_claimed() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let mut command = stage.get_by(&strace("inject=fdatasync:error=EIO"), "out");
    // So slow that there are two syncs before it is complete.
    command.args(["--limit-down", "60K"]);
    let ended = stage.run(command);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
    let words = ended.words();
    let what = "cannot sync \"out/data/a\": input/output error";
    // The state file's syncs fail, too.
    let lines = words.lines().filter(|line| !line.contains(".resume\": "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 3, "{words}");
    assert!(lines[0].starts_with(&format!("swarmloop: warning: {what}; ")), "{words}");
    assert!(lines[0].ends_with(" of 'data' are checked again"), "{words}");
    assert!(lines[1].starts_with(&format!("swarmloop: error: {what}. ")), "{words}");
    assert!(lines[1].ends_with("% is verified and kept"), "{words}");
    assert_eq!(lines[2], "hint: see to the disk and run the same command again");
    stage.finish("out");
}

#[test]
fn a_first_sync_that_fails_is_told_and_what_it_was_for_looked_at_again() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    // Each thread's first fails, so a second one may fail too.
    let mut command = stage.get_by(&strace("inject=fdatasync:error=EIO:when=1"), "out");
    // So slow that the first sync comes before the end.
    command.args(["--limit-down", "120K"]);
    let mut run = stage.start(command);
    run.wait_for(" of 'data' are checked again");
    let ended = run.wait();
    assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.err);
    stage.finish("out");
}

#[test]
fn a_sync_that_fails_in_the_end_is_no_success() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let ended = stage.run(stage.get_by(&strace("inject=fdatasync:error=EIO"), "out"));
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let expected = "swarmloop: error: cannot sync \"out/data/a\": input/output error; \
                    what is not on the disk is downloaded again next time";
    assert!(ended.words().lines().any(|line| line == expected), "{}", ended.err);
    stage.finish("out");
}

#[test]
fn a_piece_that_cannot_be_read_is_downloaded_again() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    stage.write("out");
    let ended = stage.run(stage.get_by(&strace("inject=preadv:error=EIO:when=3"), "out"));
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "out/data\n"), "{}", ended.err);
    let words = ended.words();
    let (error, done) = words.split_once('\n').unwrap();
    assert_eq!(
        error,
        "swarmloop: error: cannot read \"out/data/a\": input/output error. \
         1 piece is downloaded again; 93.7% is verified and kept"
    );
    assert!(done.starts_with("done  data  1.0 MiB "), "{done}");
    stage.check("out");
}

#[test]
fn a_seed_offers_what_can_be_read() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    let (mut run, _) =
        stage.seed(&strace("inject=preadv:error=EIO:when=3"), "served", "incomplete");
    run.wait_for("not served any more");
    let said = run.err();
    let lost = "swarmloop: error: cannot read \"served/data/a\": input/output error. \
                1 piece is not served any more; 93.7% is verified and kept\n";
    let rest = "swarmloop: warning: 'data' is incomplete, 64.0 KiB missing; \
                seeding the 93.7% there is\n";
    assert!(said.contains(lost) && said.contains(rest), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_at_all_is_not_written_over() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    stage.write("out");
    let ended = stage.run(stage.get_by(&strace("inject=preadv:error=EIO"), "out"));
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
    assert_eq!(
        ended.words(),
        "swarmloop: error: cannot read \"out/data/a\": input/output error. \
         0.0% is verified and kept\n\
         hint: see to the disk and run the same command again"
    );
    stage.finish("out");
}
