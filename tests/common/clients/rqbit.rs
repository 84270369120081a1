//! rqbit: `download`, which seeds after it has found or fetched everything.

use super::{Client, Done, Job, Role, net, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let process =
        Process::start(&Client::Rqbit.name(), job.scratch, &Tool::Rqbit.path(), |command| {
            // It cannot choose the address that it dials and announces from, so a tracker knows
            // it as 127.0.0.1; it has to listen there as well as on its own address.
            command.args(["--listen-ip", "0.0.0.0", "--ipv4-only"]);
            command.arg("--listen-port").arg(job.listen.port().to_string());
            command.arg("--http-api-listen-addr").arg(job.control.to_string());
            command.args(["--disable-dht", "--disable-lsd", "--disable-upnp-port-forward"]);
            if !job.tracked {
                command.arg("--disable-trackers");
            }
            command.arg("download").arg("--overwrite").arg("--output-folder").arg(job.folder);
            if job.role == Role::Leech {
                command.arg("--exit-on-finish");
            }
            if !job.peers.is_empty() {
                let peers: Vec<_> = job.peers.iter().map(ToString::to_string).collect();
                command.arg("--initial-peers").arg(peers.join(","));
            }
            command.arg(job.torrent);
        });
    if job.role == Role::Leech {
        return (process, Done::Exit);
    }
    let control = job.control;
    let done = Done::Ask(Box::new(move || {
        net::http_get(control, "/torrents/0/stats/v1")
            .is_some_and(|stats| stats.contains(r#""finished":true"#))
    }));
    (process, done)
}
