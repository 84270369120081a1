//! Files and folders that change beneath a running program.

use std::fs;

use crate::stage::{PIECE_LEN, Stage, eventually, first_processor, strace};
use crate::strace::has_strace;

const MIB: usize = 1 << 20;

/// What is said of a folder that is not the one that it was.
const NOT_THE_ONE: &str = "hint: mount or restore it, or accept the one that is there with \
                           --check, and run the same command again";

/// What a seed says that has everything.
const SEEDING: &str = "seeding  data";

#[test]
fn a_folder_that_vanishes_ends_the_download_and_is_not_made_again() {
    let stage = Stage::new(&[("a", 2 * MIB), ("b", MIB)]);
    fs::create_dir(stage.path("out")).unwrap();
    let mut command = stage.get("out");
    // Slow enough to be in the middle of it.
    command.args(["--limit-down", "200K", "--progress", "line:1s"]);
    let mut run = stage.start(command);
    assert!(eventually(|| stage.path("out/data").exists()), "{}", run.err());
    fs::rename(stage.path("out"), stage.path("unplugged")).unwrap();
    run.wait_for("used before");
    let ended = run.wait_whatever_it_says();
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
    let words = ended.words();
    let (error, hint) = words.split_once('\n').unwrap();
    let expected =
        "swarmloop: error: cannot open \"out\": the download folder is not the one used before. ";
    assert!(error.starts_with(expected) && error.ends_with("% is verified and kept"), "{error}");
    assert_eq!(hint, NOT_THE_ONE);
    assert!(!stage.path("out").exists());
    fs::rename(stage.path("unplugged"), stage.path("out")).unwrap();
    stage.finish("out");
}

/// Downloads some of it and stops as a user does.
fn get_some(stage: &Stage) {
    let mut command = stage.get("out");
    command.args(["--limit-down", "300K", "--progress", "line:1s"]);
    let mut run = stage.start(command);
    assert!(eventually(|| stage.path("out/data").exists()), "{}", run.err());
    run.wait_for("%");
    assert_eq!(run.interrupt_whatever_it_says().code, Some(130));
}

#[test]
fn a_folder_that_is_not_the_last_runs_is_not_written_to() {
    let stage = Stage::new(&[("a", 2 * MIB), ("b", MIB)]);
    fs::create_dir(stage.path("out")).unwrap();
    get_some(&stage);
    fs::rename(stage.path("out"), stage.path("unplugged")).unwrap();
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(stage.path("out")).unwrap();
        }
        let ended = stage.run(stage.get("out"));
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
        let words = ended.words();
        let (error, hint) = words.split_once('\n').unwrap();
        let expected = "swarmloop: error: cannot open \"out\": the download folder is not the one \
                        used before. ";
        assert!(
            error.starts_with(expected) && error.ends_with("% is verified and kept"),
            "{error}"
        );
        assert!(!error.contains(" 0.0%"), "{error}");
        assert_eq!(hint, NOT_THE_ONE);
        let made = fs::read_dir(stage.path("out")).map_or(0, Iterator::count);
        assert_eq!((stage.path("out").exists(), made), (is_there, 0));
    }
    fs::remove_dir(stage.path("out")).unwrap();
    fs::rename(stage.path("unplugged"), stage.path("out")).unwrap();
    stage.finish("out");
}

#[test]
fn another_folder_is_accepted_with_check_and_a_copy_without() {
    let stage = Stage::new(&[("a", 2 * MIB), ("b", MIB)]);
    stage.finish("out");
    // All of it is there: it is hashed, and that is it.
    fs::rename(stage.path("out"), stage.path("old")).unwrap();
    stage.write("out");
    stage.finish("out");
    fs::remove_dir_all(stage.path("out")).unwrap();
    assert_eq!(stage.run(stage.get("out")).code, Some(1));
    let mut command = stage.get("out");
    command.arg("--check");
    let ended = stage.run(command);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "out/data\n"), "{}", ended.err);
    stage.check("out");
    stage.finish("out");
}

#[test]
fn a_seeds_file_that_is_cut_is_named_and_the_others_are_served() {
    let stage = Stage::new(&[("a", MIB), ("b", MIB)]);
    let (mut run, addr) = stage.seed(&[], "served", SEEDING);
    fs::File::options().write(true).open(stage.path("served/data/b")).unwrap().set_len(0).unwrap();
    let leech = stage.leech("out", addr);
    run.wait_for("verified and kept");
    drop(leech);
    let ended = run.interrupt();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let lost = ended.err.lines().find(|line| line.contains("error: ")).unwrap();
    let expected = "swarmloop: error: cannot read \"served/data/b\": the file ends before byte ";
    assert!(lost.starts_with(expected), "{lost}");
    assert!(lost.contains(" not served any more; "), "{lost}");
}

#[test]
fn a_read_that_fails_is_named_and_the_rest_is_served() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    // The check hashes with preadv; what a peer asks for is tried with preadv2 first. Calls are
    // counted by thread, and on one processor one thread reads all.
    let inject = "inject=preadv2:error=EAGAIN";
    let processor = first_processor();
    let wrapper = [
        &["taskset", "-c", &processor],
        &strace(inject)[..],
        &["-e", "inject=preadv:error=EIO:when=20"],
    ]
    .concat();
    let (mut run, addr) = stage.seed(&wrapper, "served", SEEDING);
    let leech = stage.leech("out", addr);
    run.wait_for("1 piece is not served any more");
    drop(leech);
    let said = run.err();
    let expected = "swarmloop: error: cannot read \"served/data/a\": input/output error. \
                    1 piece is not served any more; 93.7% is verified and kept";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_seeds_file_that_is_written_to_is_hashed_again_and_what_is_right_is_served() {
    let stage = Stage::new(&[("a", MIB), ("b", MIB)]);
    let (mut run, addr) = stage.seed(&[], "served", SEEDING);
    let path = stage.path("served/data/b");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    // So slow that the last piece is asked for long after the file is looked at again.
    let slowly = ["--sequential", "--limit-down", "200K"];
    let leech = stage.leech_with("out", addr, &slowly);
    run.wait_for("not served any more");
    let lost = run.err();
    let lost = lost.lines().find(|line| line.contains("error: ")).unwrap();
    assert_eq!(
        lost,
        "swarmloop: error: cannot read \"served/data/b\": it was changed by another program. \
         1 piece is not served any more; 96.8% is verified and kept"
    );
    // The last piece ends with the file.
    let right = &bytes[..MIB - PIECE_LEN];
    let is_served = || fs::read(stage.path("out/data/b")).is_ok_and(|got| got.starts_with(right));
    assert!(eventually(is_served), "{}", run.err());
    drop(leech);
    let ended = run.interrupt();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
}

#[test]
fn a_seeds_file_that_is_replaced_by_its_like_is_served_as_before() {
    let stage = Stage::new(&[("a", MIB)]);
    let (run, addr) = stage.seed(&[], "served", SEEDING);
    let path = stage.path("served/data/a");
    fs::copy(&path, stage.path("served/new")).unwrap();
    fs::rename(stage.path("served/new"), &path).unwrap();
    let leech = stage.leech_with("out", addr, &["--limit-down", "150K"]);
    let ended = leech.wait_whatever_it_says();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    stage.check("out");
    let ended = run.interrupt();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("error: "), "{}", ended.err);
}
