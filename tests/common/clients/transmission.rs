//! Transmission 3.00: the daemon, and its remote control to add the torrent and to ask.

use std::fmt::Write as _;

use super::{
    CREEP_KIB_S, Done, Job, READY_WITHIN, Role,
    process::{Process, eventually},
    tools::Tool,
    write_settings,
};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    write_settings(&job.scratch.join("settings.json"), &settings(job));
    // It knows its first nodes from a file, not from its settings.
    let entries = job.ways.dht.into_iter().flatten().fold(String::new(), |mut lines, entry| {
        let _ = writeln!(lines, "{} {}", entry.ip(), entry.port());
        lines
    });
    write_settings(&job.scratch.join("dht.bootstrap"), &entries);
    let process = job.run(Tool::TransmissionDaemon, |command| {
        command.arg("--foreground").arg("--log-info").arg("--config-dir").arg(job.scratch);
    });
    let add = || {
        job.host.output(Tool::TransmissionRemote, |command| {
            command.arg(job.control.to_string()).arg("--add").arg(job.torrent);
        })
    };
    // The remote control comes up a moment after it.
    let added = eventually(READY_WITHIN, || add().is_some());
    assert!(added, "transmission-remote cannot add the torrent");
    let control = job.control;
    let done = Done::Ask(Box::new(move |host| {
        let info = host.output(Tool::TransmissionRemote, |command| {
            command.arg(control.to_string()).args(["--torrent", "all", "--info"]);
        });
        info.is_some_and(|info| info.contains("Percent Done: 100%") && !info.contains("Verifying"))
    }));
    (process, done)
}

/// `settings.json`; what is not here keeps its default.
fn settings(job: &Job<'_>) -> String {
    let is = |condition: bool| if condition { "true" } else { "false" };
    let ip = format!("\"{}\"", job.listen.ip());
    let peer_port = job.listen.port().to_string();
    let control_ip = format!("\"{}\"", job.control.ip());
    let control_port = job.control.port().to_string();
    let folder = format!("{:?}", job.folder.display().to_string());
    let creep = CREEP_KIB_S.to_string();
    let settings = [
        ("bind-address-ipv4", ip.as_str()),
        ("peer-port", &peer_port),
        ("rpc-bind-address", &control_ip),
        ("rpc-port", &control_port),
        // The remote control comes from 127.0.0.1 and asks for 127.x.y.z.
        ("rpc-whitelist-enabled", "false"),
        ("rpc-host-whitelist-enabled", "false"),
        ("download-dir", &folder),
        ("dht-enabled", is(job.ways.dht.is_some())),
        ("pex-enabled", is(job.ways.pex)),
        ("speed-limit-down", &creep),
        ("speed-limit-down-enabled", is(job.role == Role::Creep)),
        ("lpd-enabled", is(job.ways.lsd)),
        // No look beyond the test's network.
        ("port-forwarding-enabled", "false"),
        ("utp-enabled", "false"),
    ];
    let lines = settings.map(|(key, value)| format!("    \"{key}\": {value}"));
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}
