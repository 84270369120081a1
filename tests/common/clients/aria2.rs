//! aria2c: all is on the command line; ends when complete because its seed time is zero.

use super::{CREEP_KIB_S, Done, Job, Role, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let process = job.run(Tool::Aria2, |command| {
        let port = job.listen.port();
        // For connections, announces and the listener alike.
        command.arg(format!("--interface={}", job.listen.ip()));
        command.arg(format!("--listen-port={port}"));
        command.arg("--dir").arg(job.folder);
        command.args(QUIET);
        command.arg(format!("--bt-enable-lpd={}", job.ways.lsd));
        command.arg(format!("--enable-peer-exchange={}", job.ways.pex));
        command.arg(format!("--enable-dht={}", job.ways.dht.is_some()));
        if let Some(entries) = job.ways.dht {
            command.arg(format!("--dht-listen-port={port}"));
            command.arg("--dht-file-path").arg(job.scratch.join("dht.dat"));
            command.args(entries.first().map(|entry| format!("--dht-entry-point={entry}")));
        }
        match job.role {
            Role::Leech => command.arg("--seed-time=0"),
            Role::Stay => command.arg("--seed-ratio=0.0"),
            Role::Seed | Role::SuperSeed => {
                command.args(["--seed-ratio=0.0", "--check-integrity=true"])
            }
            Role::Creep => {
                command.args(["--seed-ratio=0.0", "--bt-tracker-interval=1"]);
                command.arg(format!("--max-download-limit={CREEP_KIB_S}K"))
            }
        };
        command.arg(job.torrent);
    });
    let done = match job.role {
        Role::Leech => Done::Exit,
        // The status line, which is also printed when nobody looks.
        _ => Done::Line(" SEED("),
    };
    (process, done)
}

/// No settings of the user, no look beyond the test's network, one status line a second.
const QUIET: [&str; 8] = [
    "--no-conf",
    "--file-allocation=none",
    "--enable-dht6=false",
    "--disable-ipv6=true",
    "--summary-interval=1",
    "--show-console-readout=true",
    "--bt-tracker-connect-timeout=5",
    "--bt-tracker-timeout=5",
];
