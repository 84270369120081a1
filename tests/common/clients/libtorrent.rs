//! libtorrent-rasterbar, through the driver script next to this harness.

use std::path::Path;

use super::{CREEP_KIB_S, Done, Job, Role, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join(DRIVER);
    let process = job.run(Tool::LibtorrentPython, |command| {
        command.arg(driver).arg(job.torrent).arg(job.folder);
        command.arg("--bind").arg(job.listen.ip().to_string());
        command.arg("--port").arg(job.listen.port().to_string());
        for peer in job.peers {
            command.arg("--peer").arg(peer.to_string());
        }
        match job.role {
            Role::SuperSeed => _ = command.arg("--super-seed"),
            Role::Creep => _ = command.arg("--limit-down").arg(CREEP_KIB_S.to_string()),
            Role::Seed | Role::Leech | Role::Stay => {}
        }
        if let Some(entries) = job.ways.dht {
            let entry = entries.first().map(ToString::to_string).unwrap_or_default();
            command.arg("--dht").arg(entry);
        }
        if job.ways.lsd {
            command.arg("--lsd");
        }
        if !job.ways.pex {
            command.arg("--no-pex");
        }
    });
    (process, Done::Line("\nDONE\n"))
}

const DRIVER: &str = "tests/common/clients/libtorrent_peer.py";
