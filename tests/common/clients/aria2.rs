//! aria2c: all is on the command line; ends when complete because its seed time is zero.

use super::{Client, Done, Job, Role, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let process =
        Process::start(&Client::Aria2.name(), job.scratch, &Tool::Aria2.path(), |command| {
            // For connections, announces and the listener alike.
            command.arg(format!("--interface={}", job.listen.ip()));
            command.arg(format!("--listen-port={}", job.listen.port()));
            command.arg("--dir").arg(job.folder);
            command.args(QUIET);
            command.args(match job.role {
                Role::Leech => ["--seed-time=0", "--file-allocation=none"],
                Role::Stay => ["--seed-ratio=0.0", "--file-allocation=none"],
                Role::Seed | Role::SuperSeed => ["--seed-ratio=0.0", "--check-integrity=true"],
            });
            command.arg(job.torrent);
        });
    let done = match job.role {
        Role::Leech => Done::Exit,
        // The status line, which is also printed when nobody looks.
        Role::Seed | Role::SuperSeed | Role::Stay => Done::Line(" SEED("),
    };
    (process, done)
}

/// No settings of the user, no look beyond loopback, one status line a second.
const QUIET: [&str; 9] = [
    "--no-conf",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--disable-ipv6=true",
    "--summary-interval=1",
    "--show-console-readout=true",
    "--bt-tracker-connect-timeout=5",
    "--bt-tracker-timeout=5",
];
