//! `--self`: our own engine in this process, so that one command is a whole measurement.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};

use crate::failure::Failure;
use crate::load::Role;
use crate::payload::Payload;
use crate::scratch::Scratch;

/// How long the client may take to be ready: it checks all of what it seeds.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long its end may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of ours with one torrent. Dropping it ends it and removes its files.
#[derive(Debug)]
pub(crate) struct Own {
    client: Option<Client>,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Removed after the client has ended: fields go after [`Drop::drop`].
    folder: Scratch,
}

impl Own {
    /// Starts a client with its files in `parent`, or in memory: one that has the payload if we are
    /// to play leeches and the like, one that has nothing if we are to play seeds.
    pub(crate) fn start(
        payload: &Payload,
        ours: Role,
        conns: usize,
        parent: Option<&Path>,
    ) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::io("prepare --self", &error);
        let folder = Scratch::new(parent).map_err(cannot)?;
        let mut config = Config::default();
        // Room for those that come while others leave.
        config.max_conns = 2 * conns + 64;
        config.max_peers = config.max_conns;
        config.max_pending_handshakes = config.max_conns;
        config.unchoke_slots = conns;
        let client = Client::start(ClientConfig {
            session: config,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            workers: 2,
            ..ClientConfig::default()
        });
        let client = client.map_err(|error| Failure::failed(format!("--self: {error}")))?;
        let addr = *client.listen_addrs().first().expect("it listens on one address");
        let own = Self { client: Some(client), addr, folder };
        own.add(payload, ours)?;
        Ok(own)
    }

    /// Adds the torrent and waits until peers may come.
    fn add(&self, payload: &Payload, ours: Role) -> Result<(), Failure> {
        let is_seed = ours != Role::Seed;
        if is_seed {
            payload
                .write(self.folder.path())
                .map_err(|error| Failure::io("write for --self", &error))?;
        }
        let mode = if is_seed { Mode::Seed } else { Mode::Download { overwrite: false } };
        let ended = |error| Failure::failed(format!("--self: {error}"));
        let client = self.client.as_ref().expect("it was started");
        let id = client.add_torrent(AddTorrent {
            use_trackers: false,
            ..AddTorrent::new(payload.metainfo.clone(), self.folder.path().to_owned(), mode)
        });
        let id = id.map_err(ended)?;
        let began = Instant::now();
        loop {
            match client.status(id).map_err(ended)?.phase {
                Phase::Seeding | Phase::PartialSeeding | Phase::Downloading => return Ok(()),
                Phase::Checking if began.elapsed() < READY_TIMEOUT => {}
                phase => return Err(Failure::failed(format!("--self is not ready: {phase:?}"))),
            }
            // Woken by whatever happens, or soon.
            let _ = client.events().recv_timeout(Duration::from_millis(10)).map(drop::<Event>);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client.shutdown(STOP_TIMEOUT);
        }
    }
}
