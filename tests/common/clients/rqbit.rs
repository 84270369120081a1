//! rqbit: `download`, which seeds after it has found or fetched everything.

use super::{CREEP_KIB_S, Done, Job, Role, net, process::Process, tools::Tool};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let process = job.run(Tool::Rqbit, |command| {
        // On loopback it cannot choose the address that it dials and announces from, so a tracker
        // knows it as 127.0.0.1; it has to listen there as well as on its own address.
        command.args(["--listen-ip", "0.0.0.0", "--ipv4-only"]);
        command.arg("--listen-port").arg(job.listen.port().to_string());
        command.arg("--http-api-listen-addr").arg(job.control.to_string());
        if !job.ways.lsd {
            command.arg("--disable-lsd");
        }
        command.arg("--disable-upnp-port-forward");
        match job.ways.dht {
            None => _ = command.arg("--disable-dht"),
            Some(entries) => {
                command.arg("--disable-dht-persistence");
                let entry = entries.first().map(ToString::to_string).unwrap_or_default();
                command.arg("--dht-bootstrap-addrs").arg(entry);
            }
        }
        if !job.ways.trackers {
            command.arg("--disable-trackers");
        }
        if job.role == Role::Creep {
            command.arg("--ratelimit-download").arg((CREEP_KIB_S * 1024).to_string());
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
    let done = Done::Ask(Box::new(move |host| {
        host.within(|| net::http_get(control, "/torrents/0/stats/v1"))
            .is_some_and(|stats| stats.contains(r#""finished":true"#))
    }));
    (process, done)
}
