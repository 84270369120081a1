//! A disk that does not answer: the program goes on, and ends when it is told to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::{Pid, Signal, kill_process};

use crate::port::free_port;
use crate::stage::{Ended, Run, Stage, eventually};
use crate::strace::has_strace;

const MIB: usize = 1 << 20;

/// Longer than any test waits for anything, in microseconds.
const FOR_GOOD: &str = "delay_enter=600000000";

/// Returns a wrapper that lets these calls hang, and writes that they do to the file `hung`. It is
/// no parent of the program, which hears signals itself.
fn strace(calls: &str, when: &str) -> Vec<String> {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{FOR_GOOD}{when}"));
    let words = ["strace", "-D", "-f", "-qq", "-o", "hung", "-e", &trace, "-e", &inject];
    words.map(str::to_owned).to_vec()
}

fn hangs(stage: &Stage, calls: usize) -> bool {
    let count = |text: String| text.lines().filter(|line| line.contains('(')).count();
    eventually(|| fs::read_to_string(stage.path("hung")).is_ok_and(|text| count(text) >= calls))
}

/// Ends the program as a user does. When nothing is left of it but the call that hangs, whoever
/// lets that hang is ended, so that the system can take the program away.
fn interrupt(run: Run) -> Ended {
    kill_process(run.id(), Signal::INT).unwrap();
    let path = format!("/proc/{}/status", run.id().as_raw_nonzero());
    let fact = |name: &str| {
        let status = fs::read_to_string(&path).unwrap();
        status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let has_ended = || fact("State:").is_some_and(|state| state.starts_with('Z'));
    assert!(eventually(has_ended), "it does not end: {}", run.err());
    let tracer = fact("TracerPid:").and_then(|id| Pid::from_raw(id.parse().unwrap()));
    if let Some(tracer) = tracer {
        kill_process(tracer, Signal::KILL).unwrap();
    }
    run.wait_whatever_it_says()
}

/// Returns what is said of the disk.
fn complaint(said: &str) -> Option<&str> {
    said.lines().find(|line| line.contains("the disk does not answer in time"))
}

fn words(wrapper: &[String]) -> Vec<&str> {
    wrapper.iter().map(String::as_str).collect()
}

#[test]
fn a_sync_that_hangs_is_named_and_nothing_waits_for_it() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    if !has_strace() {
        return;
    }
    let wrapper = strace("fdatasync", "");
    let mut command = stage.get_by(&words(&wrapper), "out");
    command.args(["--limit-down", "150K", "--stop-timeout", "1s"]);
    let mut run = stage.start(command);
    assert!(hangs(&stage, 1), "{}", run.err());
    run.ask_status();
    let ended = interrupt(run);
    assert_eq!((ended.code, ended.out.as_str()), (Some(130), ""), "{}", ended.err);
    let complaint = complaint(&ended.err).unwrap_or_else(|| panic!("{}", ended.err));
    let expected = "swarmloop: warning: the disk does not answer in time: ";
    assert!(complaint.starts_with(expected), "{complaint}");
    let expected = " pieces) of \"out/data/a\" may not be on it yet; the next run checks that";
    assert!(complaint.ends_with(expected), "{complaint}");
    stage.finish("out");
}

#[test]
fn what_is_complete_is_served_while_a_sync_hangs() {
    let stage = Stage::new(&[("a", 2 * MIB)]);
    if !has_strace() {
        return;
    }
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let wrapper = strace("fdatasync", "");
    let mut command = stage.get_by(&words(&wrapper), "out");
    command.args(["--seed", "--stop-timeout", "1s", "--port", &addr.port().to_string()]);
    let mut run = stage.start(command);
    run.wait_for("done  data");
    assert!(hangs(&stage, 1), "{}", run.err());
    let served = stage.leech("served", addr).wait();
    assert_eq!(served.code, Some(0), "{}", served.err);
    stage.check("served");
    let ended = interrupt(run);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(complaint(&ended.err).is_some(), "{}", ended.err);
    stage.finish("out");
}

#[test]
fn a_write_that_hangs_is_named_and_nothing_waits_for_it() {
    let stage = Stage::new(&[("a", 4 * MIB)]);
    if !has_strace() {
        return;
    }
    // A thread's first writes succeed, so that there is something to keep.
    let wrapper = strace("pwritev", ":when=5+");
    let mut command = stage.get_by(&words(&wrapper), "out");
    command.args(["--stop-timeout", "1s"]);
    let mut run = stage.start(command);
    assert!(hangs(&stage, 5), "{}", run.err());
    run.ask_status();
    let ended = interrupt(run);
    assert_eq!((ended.code, ended.out.as_str()), (Some(130), ""), "{}", ended.err);
    let complaint = complaint(&ended.err).unwrap_or_else(|| panic!("{}", ended.err));
    assert!(complaint.contains(" of \"out/data/a\" may not be on it yet"), "{complaint}");
    stage.finish("out");
}

#[test]
fn a_read_that_hangs_holds_nothing_up() {
    let stage = Stage::new(&[("a", MIB)]);
    if !has_strace() {
        return;
    }
    stage.write("out");
    let wrapper = strace("preadv", ":when=3+");
    let mut command = stage.get_by(&words(&wrapper), "out");
    command.args(["--stop-timeout", "1s"]);
    let mut run = stage.start(command);
    assert!(hangs(&stage, 3), "{}", run.err());
    run.ask_status();
    let ended = interrupt(run);
    assert_eq!((ended.code, ended.out.as_str()), (Some(130), ""), "{}", ended.err);
    assert_eq!(complaint(&ended.err), None, "nothing was to be written");
    stage.finish("out");
}
