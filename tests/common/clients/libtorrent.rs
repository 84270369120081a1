//! libtorrent-rasterbar, through the driver script next to this harness.

use std::path::Path;

use super::{Client, Done, Job, Role, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join(DRIVER);
    let process = Process::start(
        &Client::Libtorrent.name(),
        job.scratch,
        &Tool::LibtorrentPython.path(),
        |command| {
            command.arg(driver).arg(job.torrent).arg(job.folder);
            command.arg("--bind").arg(job.listen.ip().to_string());
            command.arg("--port").arg(job.listen.port().to_string());
            for peer in job.peers {
                command.arg("--peer").arg(peer.to_string());
            }
            if job.role == Role::SuperSeed {
                command.arg("--super-seed");
            }
        },
    );
    (process, Done::Line("\nDONE\n"))
}

const DRIVER: &str = "tests/common/clients/libtorrent_peer.py";
