//! No room for what is to be written.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use swarmloop::disk::slots;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::torrent::resume::Record;

use crate::stage::{Stage, Tmpfs, eventually};

const MIB: usize = 1 << 20;

/// Returns the share that a message says is verified and kept.
fn kept(text: &str) -> f64 {
    let before = text.split("% is verified and kept").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Returns a `get` that begins although the disk is too small.
fn unchecked(stage: &Stage) -> Command {
    let mut command = stage.get("out");
    command.arg("--no-space-check");
    command
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let stage = Stage::new(&[("a", 8 * MIB), ("b", 4 * MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=6m") else { return };
    let ended = stage.run(stage.get("out"));
    assert_eq!((ended.code, ended.out.as_str()), (Some(6), ""), "{}", ended.err);
    assert_eq!(
        ended.words(),
        "swarmloop: error: no space for 'data': 12.0 MiB needed, 6.0 MiB free. \
         Nothing was written\n\
         hint: free some space, choose another folder with -d, or start all the same with \
         --no-space-check"
    );
    assert_eq!(std::fs::read_dir(stage.path("out")).unwrap().count(), 0);
    tmpfs.remount("size=16m");
    stage.finish("out");
}

/// Makes another torrent, of one file of so many bytes.
fn another_torrent(stage: &Stage, name: &str, len: usize) {
    std::fs::write(stage.path(name), vec![7; len]).unwrap();
    let mut command = stage.command(&[]);
    command.args(["create", name, "-q"]);
    assert_eq!(stage.run(command).code, Some(0));
}

#[test]
fn what_does_not_fit_together_is_refused_before_anything_is_written() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    another_torrent(&stage, "more", 3 * MIB);
    another_torrent(&stage, "yet more", MIB);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=6m") else { return };
    let all = || {
        let mut command = stage.get("out");
        command.args(["more.torrent", "yet more.torrent", "--timeout", "1s"]);
        command
    };
    let ended = stage.run(all());
    assert_eq!((ended.code, ended.out.as_str()), (Some(6), ""), "{}", ended.err);
    assert_eq!(
        ended.words(),
        "swarmloop: error: no space for 3 torrents in 'out': 8.0 MiB needed, 6.0 MiB free. \
         Nothing was written\n\
         hint: free some space, choose another folder with -d, or start all the same with \
         --no-space-check"
    );
    assert_eq!(std::fs::read_dir(stage.path("out")).unwrap().count(), 0);
    // One alone fits, and what is there then is not needed any more.
    stage.finish("out");
    tmpfs.remount("size=9m");
    let ended = stage.run(all());
    assert_eq!((ended.code, ended.out.as_str()), (Some(5), "out/data\n"), "{}", ended.err);
}

#[test]
fn what_is_there_already_needs_no_space() {
    let stage = Stage::new(&[("a", 8 * MIB), ("b", 4 * MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=7m") else { return };
    let mut run = stage.start(unchecked(&stage));
    run.wait_for("space is free");
    run.interrupt();
    // Files are as long as their last piece demands; it is their blocks that count.
    tmpfs.remount("size=13m");
    stage.finish("out");
}

#[test]
fn a_full_disk_is_waited_for_and_the_download_goes_on_by_itself() {
    let stage = Stage::new(&[("a", 8 * MIB), ("b", 4 * MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=6m") else { return };
    let mut run = stage.start(unchecked(&stage));
    run.wait_for("space is free");
    tmpfs.remount("size=128m");
    let ended = run.wait();
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "out/data\n"), "{}", ended.err);
    stage.check("out");
    let words = ended.words();
    let (error, done) = words.split_once('\n').unwrap();
    assert!(done.starts_with("done  data  12.0 MiB in "), "{done}");
    let (what, rest) = error.split_once(" (").unwrap();
    let file = if what.contains("/a\"") { "a" } else { "b" };
    let expected =
        format!("swarmloop: error: cannot write \"out/data/{file}\": no space left on device");
    assert_eq!(what, expected);
    let (space, rest) = rest.split_once("). ").unwrap();
    assert!(space.ends_with(" MiB needed") && space.contains(" free, "), "{space}");
    let share = kept(rest);
    assert!((10.0..=50.0).contains(&share), "{share}% of 12 MiB on 6 MiB");
    let expected = format!(
        "{share:.1}% is verified and kept; the download continues by itself when space is free"
    );
    assert_eq!(rest, expected);
}

#[test]
fn a_full_disk_and_an_impatient_user_leave_what_the_next_run_continues() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=2m") else { return };
    let mut run = stage.start(unchecked(&stage));
    run.wait_for("space is free");
    let ended = run.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    let last = ended.err.lines().last().unwrap();
    assert!(last.starts_with("stopped  data  "), "{last}");
    assert!(last.ends_with("verified and kept; the same command continues"), "{last}");
    tmpfs.remount("size=128m");
    stage.finish("out");
}

#[test]
fn giving_up_on_a_full_disk_is_a_failure_of_the_disk() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    let Some(tmpfs) = Tmpfs::mount(stage.path("out"), "size=2m") else { return };
    let mut command = unchecked(&stage);
    command.args(["--timeout", "2s"]);
    let ended = stage.run(command);
    assert_eq!(ended.code, Some(6), "{}", ended.err);
    let last = ended.err.lines().last().unwrap();
    assert!(last.contains("no progress for ") && last.contains("s: the disk is full ("), "{last}");
    tmpfs.remount("size=128m");
    stage.finish("out");
}

#[test]
fn a_limit_on_the_length_of_files_is_waited_for_like_a_full_disk() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    let mut run = stage.start(stage.get_by(&["prlimit", "--fsize=1048576:unlimited"], "out"));
    run.wait_for("space is free");
    assert!(run.err().contains("cannot write \"out/data/a\": file too large ("), "{}", run.err());
    let id = run.id().as_raw_nonzero().to_string();
    let lifted = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status();
    assert!(lifted.unwrap().success());
    let ended = run.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    stage.check("out");
}

/// Returns the newest record in a folder of state files, if there is one.
fn record(stage: &Stage, folder: &Path, pieces: u32) -> Option<Record> {
    let mut entries = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    let file = entries.find(|path| path.extension().is_some_and(|it| it == "resume"))?;
    let torrent = fs::read(stage.path("t.torrent")).unwrap();
    let info_hash = Metainfo::parse(&torrent.into()).unwrap().info_hash;
    let bytes = fs::read(file).unwrap();
    Record::decode(slots::newest(&bytes)?.record, info_hash, pieces, 2)
}

#[test]
fn state_is_saved_where_the_disk_has_filled_up_since_the_start() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    let Some(_tmpfs) = Tmpfs::mount(stage.path("state"), "size=256k") else { return };
    let mut command = stage.get("out");
    command.args(["--limit-down", "500K", "--progress", "line:1s"]);
    let run = stage.start(command);
    let folder = stage.path("state/swarmloop/resume");
    assert!(eventually(|| record(&stage, &folder, 64).is_some()), "{}", run.err());
    let mut filler = File::create(stage.path("state/filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    assert!(eventually(|| stage.path("out/data/a").exists()), "{}", run.err());
    let ended = run.interrupt_whatever_it_says();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    assert!(!ended.err.contains("warning"), "{}", ended.err);
    let record = record(&stage, &folder, 64).unwrap();
    assert!(record.clean && record.claimed.count() > 0, "{record:?}");
    stage.finish("out");
}

/// Fills a disk after so many pieces of 64 KiB each time, then makes room and goes on.
fn fill_at(pieces: impl Iterator<Item = usize>) {
    let stage = Stage::new(&[("a", 16 * MIB)]);
    for pieces in pieces {
        let dir = format!("out-{pieces}");
        let options = format!("size={}k", 64 * pieces);
        let Some(tmpfs) = Tmpfs::mount(stage.path(&dir), &options) else { return };
        let mut command = stage.get(&dir);
        command.arg("--no-space-check");
        let mut run = stage.start(command);
        run.wait_for("space is free");
        let said = run.err();
        let most = 100.0 * f64::from(u32::try_from(pieces).unwrap()) / 256.0;
        assert!(kept(&said) <= most, "room for {pieces} pieces: {said}");
        let ended = run.interrupt();
        assert_eq!(ended.code, Some(130), "room for {pieces} pieces: {}", ended.err);
        tmpfs.remount("size=32m");
        stage.finish(&dir);
    }
}

#[test]
fn wherever_a_disk_fills_the_next_run_continues() {
    fill_at((1..256).step_by(51));
}

#[test]
#[ignore = "takes minutes; run it when something has changed about how a full disk is met"]
fn wherever_a_disk_fills_the_next_run_continues_long() {
    fill_at(1..256);
}
