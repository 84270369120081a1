//! Ours: `get` ends when complete, `seed` on a signal.

use super::{CREEP_KIB_S, Done, Job, Role, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let process = job.run(Tool::Swarmloop, |command| {
        match job.role {
            Role::Leech | Role::Stay | Role::Creep => {
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
        match job.ways.dht {
            None => _ = command.arg("--no-dht"),
            Some(entries) => {
                command.args(
                    entries
                        .iter()
                        .flat_map(|entry| ["--dht-bootstrap".to_owned(), entry.to_string()]),
                );
            }
        }
        if job.ways.lsd {
            // Whatever cargo says.
            command.arg("--lsd");
        }
        let without = [
            (job.ways.trackers, "--no-trackers"),
            (job.ways.pex, "--no-pex"),
            (job.ways.lsd, "--no-lsd"),
        ];
        command.args(without.iter().filter(|(is_used, _)| !is_used).map(|(_, flag)| flag));
        match job.role {
            Role::Stay => _ = command.arg("--seed"),
            Role::Creep => _ = command.arg("--limit-down").arg(format!("{CREEP_KIB_S}K")),
            Role::Seed | Role::SuperSeed | Role::Leech => {}
        }
        command.args(["--json", "-vv"]);
    });
    let done = match job.role {
        Role::Leech | Role::Creep => Done::Exit,
        Role::Stay => Done::Line(r#""type":"complete""#),
        // It listens before, but hangs up on peers until it has checked.
        Role::Seed | Role::SuperSeed => Done::Line(r#""state":"seeding""#),
    };
    (process, done)
}
