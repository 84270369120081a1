//! qBittorrent 4.5 without a window: a settings file, and its Web API to dial and to ask.

use super::{
    Done, Host, Job, net,
    process::{Process, eventually},
    tools::Tool,
    write_settings,
};

pub(super) fn start(job: &Job<'_>) -> (Process, Done) {
    let conf = job.scratch.join("qBittorrent/config/qBittorrent.conf");
    write_settings(&conf, &settings(job));
    let process = job.run(Tool::Qbittorrent, |command| {
        command.arg(format!("--profile={}", job.scratch.display()));
        command.arg(format!("--save-path={}", job.folder.display()));
        command.args(["--skip-dialog=true", "--add-paused=false"]);
        command.arg(job.torrent);
    });
    let control = job.control;
    let torrents =
        move |host: &Host| host.within(|| net::http_get(control, "/api/v2/torrents/info"));
    if !job.peers.is_empty() {
        let mut hash = None;
        eventually(super::READY_WITHIN, || {
            hash = torrents(&job.host).as_deref().and_then(hash_of).map(str::to_owned);
            hash.is_some()
        });
        let hash = hash.expect("qBittorrent has added the torrent");
        let peers: Vec<_> = job.peers.iter().map(ToString::to_string).collect();
        let form = format!("hashes={hash}&peers={}", peers.join("|"));
        assert!(
            job.host
                .within(|| net::http_post(control, "/api/v2/torrents/addPeers", &form))
                .is_some(),
            "qBittorrent does not take the peers"
        );
    }
    let done = Done::Ask(Box::new(move |host| {
        let complete = r#""progress":1,"#;
        let checking = r#""state":"checking"#;
        torrents(host).is_some_and(|list| list.contains(complete) && !list.contains(checking))
    }));
    (process, done)
}

/// The first torrent's info-hash in the Web API's list.
fn hash_of(list: &str) -> Option<&str> {
    list.split_once(r#""hash":""#)?.1.split('"').next()
}

fn settings(job: &Job<'_>) -> String {
    let (ip, port) = (job.listen.ip(), job.listen.port());
    let control = job.control;
    format!(
        "[LegalNotice]\n\
         Accepted=true\n\
         [BitTorrent]\n\
         Session\\InterfaceAddress={ip}\n\
         Session\\Port={port}\n\
         Session\\DHTEnabled=false\n\
         Session\\LSDEnabled=false\n\
         Session\\BTProtocol=TCP\n\
         Session\\SSRFMitigation=false\n\
         Session\\QueueingSystemEnabled=false\n\
         [Network]\n\
         PortForwardingEnabled=false\n\
         [Preferences]\n\
         Connection\\ResolvePeerCountries=false\n\
         Connection\\UPnP=false\n\
         WebUI\\Address={}\n\
         WebUI\\Port={}\n\
         WebUI\\UseUPnP=false\n\
         WebUI\\CSRFProtection=false\n\
         WebUI\\HostHeaderValidation=false\n\
         WebUI\\AuthSubnetWhitelistEnabled=true\n\
         WebUI\\AuthSubnetWhitelist=127.0.0.0/8\n\
         WebUI\\LocalHostAuth=false\n",
        control.ip(),
        control.port(),
    )
}
