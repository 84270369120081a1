//! A child process that cannot outlive its test.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

pub(crate) use crate::wait::eventually;

/// A running child with its log file. Dropping it kills the child and all that it started.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `configure`'s arguments in a process group of its own; stdout and
    /// stderr go to `folder/name.log`.
    ///
    /// It runs under coreutils' `timeout`, so that it ends even when the harness is killed
    /// before it can clean up.
    pub(crate) fn start(
        name: &str,
        folder: &Path,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("the scratch folder is writable");
        let mut command = Command::new("timeout");
        command.arg("--signal=KILL").arg(MAX_LIFE_S.to_string()).arg(program);
        configure(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file handle can be doubled"))
            .stderr(out)
            // No client may find, or leave behind, settings in the home of whoever runs the test.
            .env("HOME", folder)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_STATE_HOME")
            .env("NO_COLOR", "1")
            .process_group(0);
        // What the tests, or the user, tell swarmloop by variables is not meant for this run.
        for (variable, _) in env::vars_os().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(variable);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, log }
    }

    /// All that it has printed up to now.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap()
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Asks it to end (`SIGTERM`) and waits for that; `None` when it has not within `patience`.
    pub(crate) fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        // To `timeout` alone: it hands the signal on to the program, which would otherwise get
        // it twice, and a second one means "now, without good manners" to many clients.
        let _ = rustix::process::kill_process(self.pid(), Signal::TERM);
        let mut status = None;
        eventually(patience, || {
            status = self.exit_status();
            status.is_some()
        });
        status
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The leader is `timeout`, which ends after the client. Once it has been waited for, its
        // number may belong to a stranger: nothing is killed then.
        if self.exit_status().is_none() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a short command to its end and returns what it printed, `None` when it failed.
pub(crate) fn output(program: &Path, configure: impl FnOnce(&mut Command)) -> Option<String> {
    let (code, out) = outcome(program, configure);
    (code == Some(0)).then_some(out)
}

/// Runs a short command to its end and returns its exit code, if it had one, and what it printed.
pub(crate) fn outcome(
    program: &Path,
    configure: impl FnOnce(&mut Command),
) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command.arg("--signal=KILL").arg(MAX_COMMAND_S.to_string()).arg(program);
    configure(&mut command);
    let output: io::Result<_> = command.stdin(Stdio::null()).output();
    let Ok(output) = output else { return (None, String::new()) };
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_foreign(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy().to_lowercase();
    name.ends_with("_proxy") || name.starts_with("swarmloop_")
}

/// Seconds after which `timeout` ends a client: twice the longest test, that of the private DHT.
const MAX_LIFE_S: u32 = 360;

/// Seconds for a command that only asks something.
const MAX_COMMAND_S: u32 = 5;
