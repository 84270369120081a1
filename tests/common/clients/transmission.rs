//! Transmission 3.00: the daemon, and its remote control to add the torrent and to ask.

use super::{
    Client, Done, Job, net,
    process::{self, Process, eventually},
    tools::Tool,
    write_settings,
};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    write_settings(&job.scratch.join("settings.json"), &settings(job));
    let process = Process::start(
        &Client::Transmission.name(),
        job.scratch,
        &Tool::TransmissionDaemon.path(),
        |command| {
            command.arg("--foreground").arg("--log-info").arg("--config-dir").arg(job.scratch);
        },
    );
    let control = job.control;
    assert!(eventually(super::READY_WITHIN, || net::accepts(control)), "no remote control");
    let remote = move |configure: &dyn Fn(&mut std::process::Command)| {
        process::output(&Tool::TransmissionRemote.path(), |command| {
            configure(command.arg(control.to_string()));
        })
    };
    let added = remote(&|command| {
        command.arg("--add").arg(job.torrent).arg("--download-dir").arg(job.folder);
    });
    assert!(added.is_some(), "transmission-remote cannot add the torrent");
    let done = Done::Ask(Box::new(move || {
        let info = remote(&|command| {
            command.args(["--torrent", "all", "--info"]);
        });
        info.is_some_and(|info| info.contains("Percent Done: 100%") && !info.contains("Verifying"))
    }));
    (process, done)
}

/// `settings.json`; what is not here keeps its default.
fn settings(job: &Job<'_>) -> String {
    let ip = format!("\"{}\"", job.listen.ip());
    let peer_port = job.listen.port().to_string();
    let control_port = job.control.port().to_string();
    let settings = [
        ("bind-address-ipv4", ip.as_str()),
        ("peer-port", &peer_port),
        ("rpc-bind-address", &ip),
        ("rpc-port", &control_port),
        // The remote control comes from 127.0.0.1 and asks for 127.x.y.z.
        ("rpc-whitelist-enabled", "false"),
        ("rpc-host-whitelist-enabled", "false"),
        // No look beyond loopback.
        ("dht-enabled", "false"),
        ("lpd-enabled", "false"),
        ("port-forwarding-enabled", "false"),
        ("utp-enabled", "false"),
    ];
    let lines = settings.map(|(key, value)| format!("    \"{key}\": {value}"));
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}
