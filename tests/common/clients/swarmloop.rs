//! Ours: `get` ends when complete, `seed` on a signal.

use super::{Client, Done, Job, Role, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let process = Process::start(
        &Client::Swarmloop.name(),
        job.scratch,
        &Tool::Swarmloop.path(),
        |command| {
            match job.role {
                Role::Leech | Role::Stay => {
                    command.arg("get").arg(job.torrent).arg("-d").arg(job.folder);
                }
                Role::Seed | Role::SuperSeed => {
                    command.arg("seed").arg(job.torrent).arg(job.folder);
                }
            }
            command.arg("--bind").arg(job.listen.ip().to_string());
            command.arg("--port").arg(job.listen.port().to_string());
            for peer in job.peers {
                command.arg("--peer").arg(peer.to_string());
            }
            if !job.tracked {
                command.arg("--no-trackers");
            }
            if job.role == Role::Stay {
                command.arg("--seed");
            }
            command.arg("--json");
        },
    );
    let done = match job.role {
        Role::Leech => Done::Exit,
        Role::Stay => Done::Line(r#""type":"complete""#),
        // A seed answers while it still checks; listening is all that there is to wait for.
        Role::Seed | Role::SuperSeed => Done::Ask(Box::new(|| true)),
    };
    (process, done)
}
