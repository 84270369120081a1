//! The trackers: two that others wrote, and our own.

use std::{
    fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    host::Host,
    net,
    payload::Payload,
    process::{Process, eventually},
    tools::Tool,
};

/// A program that keeps a swarm's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrackerKind {
    /// Debian's opentracker, over HTTP.
    Opentracker,
    /// The same, over UDP.
    OpentrackerUdp,
    /// npm's bittorrent-tracker, over HTTP.
    Npm,
    /// The same, over UDP.
    NpmUdp,
    /// Ours, over HTTP.
    Swarmloop,
    /// Ours, over UDP.
    SwarmloopUdp,
}

impl TrackerKind {
    /// The programs that it takes to run it.
    pub(crate) fn tools(self) -> &'static [Tool] {
        match self {
            Self::Opentracker | Self::OpentrackerUdp => &[Tool::Opentracker],
            Self::Npm | Self::NpmUdp => &[Tool::Node, Tool::NpmTracker],
            Self::Swarmloop | Self::SwarmloopUdp => &[Tool::Swarmloop],
        }
    }

    /// Starts it and waits until it answers. It serves `payload`; `scratch` is its own.
    pub(crate) fn start(
        self,
        host: Host,
        scratch: &Path,
        listen: SocketAddrV4,
        payload: Payload,
    ) -> Tracker {
        let process = self.run(&host, scratch, listen, payload);
        let scheme = match self {
            Self::Opentracker | Self::Npm | Self::Swarmloop => "http",
            Self::OpentrackerUdp | Self::NpmUdp | Self::SwarmloopUdp => "udp",
        };
        let mut tracker = Tracker { kind: self, process, host, scheme, listen, payload };
        let ready = eventually(READY_WITHIN, || {
            let status = tracker.process.exit_status();
            assert!(status.is_none(), "{self:?} ended before it was ready: {status:?}");
            tracker.host.within(|| net::accepts(listen))
        });
        assert!(ready, "{self:?} is not ready after {READY_WITHIN:?}");
        tracker
    }

    fn run(self, host: &Host, scratch: &Path, listen: SocketAddrV4, payload: Payload) -> Process {
        let (ip, port) = (listen.ip().to_string(), listen.port().to_string());
        match self {
            Self::Opentracker | Self::OpentrackerUdp => {
                // Debian's build serves listed torrents only. Started by root, it locks itself
                // into its folder and becomes `nobody` before it reads the list.
                let list = format!("{}\n", hex(payload.info_hash(), ""));
                fs::write(scratch.join("whitelist"), list).unwrap();
                host.start(scratch, Tool::Opentracker, |command| {
                    command.arg("-d").arg(scratch).args(["-w", "whitelist"]);
                    command.args(["-i", &ip, "-p", &port, "-P", &port]);
                })
            }
            Self::Npm | Self::NpmUdp => {
                let driver = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(NPM_DRIVER);
                host.start(scratch, Tool::Node, |command| {
                    command.arg(driver).arg(Tool::NpmTracker.path()).args([&ip, &port]);
                })
            }
            Self::Swarmloop | Self::SwarmloopUdp => {
                host.start(scratch, Tool::Swarmloop, |command| {
                    command.arg("tracker").arg("--listen").arg(listen.to_string());
                })
            }
        }
    }
}

/// A tracker at work. Dropping it ends it.
pub(crate) struct Tracker {
    kind: TrackerKind,
    process: Process,
    // After the process, which runs there.
    host: Host,
    scheme: &'static str,
    listen: SocketAddrV4,
    payload: Payload,
}

impl Tracker {
    /// The URL for the torrent's "announce".
    pub(crate) fn announce_url(&self) -> String {
        format!("{}://{}/announce", self.scheme, self.listen)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.listen
    }

    /// Waits until the tracker knows `count` seeds, so that whoever asks next is told of them:
    /// who asks too early waits for the announce interval, half an hour.
    pub(crate) fn wait_for_seeds(&self, count: u64) {
        let seeds = || self.scraped("complete");
        let known = eventually(ANNOUNCED_WITHIN, || seeds().is_some_and(|n| n >= count));
        assert!(known, "{:?} knows {:?} seeds, not {count}", self.kind, seeds());
    }

    /// Waits until the tracker knows somebody who misses something.
    pub(crate) fn wait_for_a_leech(&self) {
        let leeches = || self.scraped("incomplete");
        let known = eventually(ANNOUNCED_WITHIN, || leeches().is_some_and(|n| n > 0));
        assert!(known, "{:?} knows no leech", self.kind);
    }

    /// Waits until the tracker knows no seed any more: whoever was one has said so.
    pub(crate) fn wait_for_no_seed(&self) {
        let is_gone = || self.scraped("complete") == Some(0);
        assert!(eventually(ANNOUNCED_WITHIN, is_gone), "{:?} still knows a seed", self.kind);
    }

    /// What it has printed up to now.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// A count of its scrape (BEP 48).
    fn scraped(&self, key: &str) -> Option<u64> {
        let escaped = hex(self.payload.info_hash(), "%");
        let target = format!("/scrape?info_hash={escaped}");
        let reply = self.host.within(|| net::http_get(self.listen, &target))?;
        let key = format!("{}:{key}i", key.len());
        reply.split_once(&key)?.1.split('e').next()?.parse().ok()
    }
}

/// Two digits a byte, `before` each.
fn hex(hash: [u8; 20], before: &str) -> String {
    hash.iter().fold(String::new(), |out, byte| format!("{out}{before}{byte:02x}"))
}

const NPM_DRIVER: &str = "tests/common/clients/npm_tracker.mjs";

/// Node takes half a second to start on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Transmission and aria2 announce within seconds of the start of a torrent.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(15);
