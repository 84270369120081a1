//! `demo`: a tracker, a seed and a downloader, each a [`Client`] of its own on loopback, move a
//! torrent that is made for it; what arrives is compared with its source byte by byte.

use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use swarmloop::client::{AddTorrent, Client, ClientConfig, ClientError, Mode};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};
use swarmloop::tracker::TrackerEvent;

use super::args::demo::DemoArgs;
use super::ending::STOPPING;
use super::exit::{Exit, Failure};
use super::goals::{Goal, Patience};
use super::network::workers;
use super::payload::{Payload, PayloadError};
use super::signals::Signals;
use super::size::Size;
use super::tracker::announce_url;
use super::ui::Ui;
use super::watch::{End, Watch};

/// The longest that the demo may wait for anything in all. On loopback it takes seconds; what takes
/// longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// How long each of the three clients may take to stop. Nobody depends on their goodbyes.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait for an event of the seed, so that signals are noticed.
const WAKE_INTERVAL: Duration = Duration::from_millis(100);

/// Why the demo ended early.
enum Halt {
    /// A signal came.
    Interrupted(Exit),
    /// Something did not work.
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    let signals = Signals::listen().map_err(|error| Failure::io("listen for signals", &error))?;
    let folder = TempFolder::create()?;
    if let Some(failure) = too_large(args.size, free_space(&folder.0)?) {
        return Err(failure);
    }
    match transfer(&Payload::new(args.size), &folder.0, &signals, ui) {
        Ok(exit) => Ok(exit),
        Err(Halt::Failed(failure)) => Err(failure),
        Err(Halt::Interrupted(exit)) => {
            ui.tell("demo: interrupted");
            Ok(exit)
        }
    }
}

/// Returns how many bytes may be written below a folder; `None` if its file system does not say, as
/// those that have no blocks do.
fn free_space(folder: &Path) -> Result<Option<u64>, Failure> {
    let space = rustix::fs::statvfs(folder).map_err(|error| {
        Failure::io(&format!("look for free space in {}", folder.display()), &error.into())
    })?;
    Ok((space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize)))
}

/// Refuses a payload that does not fit twice, at the seed and at the downloader, into the free
/// space.
fn too_large(size: u64, free: Option<u64>) -> Option<Failure> {
    let (needed, free) = (size.saturating_mul(2), free?);
    if needed <= free {
        return None;
    }
    let message = format!(
        "the demo needs {} in the folder for temporary files, where {} are free",
        Size(needed),
        Size(free)
    );
    let hint = "--size takes less; TMPDIR names another folder";
    Some(Failure::new(Exit::Disk, "disk_full", message).hint(hint))
}

/// Makes the payload, moves it from a seed to a downloader and compares.
fn transfer(
    payload: &Payload,
    folder: &Path,
    signals: &Signals,
    ui: &mut Ui,
) -> Result<Exit, Halt> {
    let (source, copy) = (folder.join("seed"), folder.join("download"));
    let [tracker_ip, seed_ip, download_ip] = loopback_addresses();
    ui.say(&format!(
        "demo: making {} in {} files in {}",
        Size(payload.size),
        payload.file_count(),
        folder.display()
    ));
    let hashes = interruptible(signals, |go_on| payload.write(&source, go_on))?;

    let tracker = start(Config::default(), None, Some(tracker_ip))?;
    let announce = tracker.tracker_addrs().first().map(announce_url).unwrap_or_default();
    let metainfo = Metainfo::parse(&payload.torrent_file(&announce, &hashes)).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "demo_torrent",
            format!("the demo's own torrent is bad: {error}"),
        )
    })?;
    let seed = start(Config::default(), Some(seed_ip), None)?;
    let started = Instant::now();
    seed.add_torrent(torrent(&metainfo, source.clone(), Mode::Seed))
        .map_err(|error| Failure::client(&error))?;
    wait_for_seed(&seed, signals, started)?;

    let download = start(Config::default(), Some(download_ip), None)?;
    ui.say(&format!("demo: tracker {announce}, seed {}, downloader {}", at(&seed), at(&download)));
    let patience = Patience { deadline: Some(LIMIT), ..Patience::default() };
    let goal = Goal::Get { seeding: None, patience };
    let mut watch = Watch::new(goal, Vec::new(), started);
    let mode = Mode::Download { overwrite: false };
    watch.add(&download, ui, 1, torrent(&metainfo, copy.clone(), mode), "demo", None);
    let end = watch.run(&download, signals, ui);
    let exit = watch.conclude(ui, end);
    if let End::Stopped(_) = end {
        ui.tell(STOPPING);
    }
    for client in [download, seed, tracker] {
        client.shutdown(STOP_TIMEOUT);
    }
    if exit != Exit::Success || end != End::Finished {
        return Ok(exit);
    }
    interruptible(signals, |go_on| payload.verify(&copy, &source, &hashes, go_on))?;
    let size = Size(payload.size);
    ui.say(&format!(
        "demo: verified {size}: every byte and every piece hash is that of the source"
    ));
    Ok(Exit::Success)
}

/// Starts a client that listens for peers, for announces, or for both; everything it does comes
/// from that address.
fn start(
    mut session: Config,
    peers: Option<IpAddr>,
    tracker: Option<IpAddr>,
) -> Result<Client, Failure> {
    let any_port = |ip: Option<IpAddr>| ip.map(|ip| SocketAddr::from((ip, 0)));
    session.bind = peers.or(tracker).into_iter().collect();
    let config = ClientConfig {
        session,
        listen: any_port(peers).into_iter().collect(),
        tracker_listen: any_port(tracker).into_iter().collect(),
        workers: workers(),
        ..ClientConfig::default()
    };
    Client::start(config).map_err(|error| Failure::client(&error))
}

fn torrent(metainfo: &Metainfo, dir: PathBuf, mode: Mode) -> AddTorrent {
    AddTorrent::new(metainfo.clone(), dir, mode)
}

/// Names where a client listens.
fn at(client: &Client) -> String {
    client.listen_addrs().first().map(ToString::to_string).unwrap_or_default()
}

/// Waits until the seed has checked its data and the tracker knows it; a downloader that came
/// before would be told of nobody and sent away for the whole announce interval.
fn wait_for_seed(seed: &Client, signals: &Signals, started: Instant) -> Result<(), Halt> {
    let (mut is_seeding, mut is_known) = (false, false);
    while !(is_seeding && is_known) {
        if let Some(exit) = signals.stop() {
            return Err(Halt::Interrupted(exit));
        }
        if started.elapsed() >= LIMIT {
            let what = if is_seeding { "to be known to the tracker" } else { "to check its data" };
            let message = format!("gave up: the seed took over {} s {what}", LIMIT.as_secs());
            return Err(Failure::new(Exit::GaveUp, "timeout", message).into());
        }
        match seed.events().recv_timeout(WAKE_INTERVAL) {
            Ok(Event::Phase { phase, .. }) => is_seeding = phase == Phase::Seeding,
            Ok(Event::Tracker { event: TrackerEvent::Replied { .. }, .. }) => is_known = true,
            Ok(Event::Disk { error, .. }) => return Err(Failure::disk(&error, 0, 0).into()),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::client(&ClientError::Ended).into());
            }
        }
    }
    Ok(())
}

/// Does something with the payload that a signal ends between two chunks.
fn interruptible<T>(
    signals: &Signals,
    work: impl FnOnce(&mut dyn FnMut() -> ControlFlow<()>) -> Result<T, PayloadError>,
) -> Result<T, Halt> {
    let mut stopped = None;
    let result = work(&mut || {
        stopped = signals.stop();
        if stopped.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    result.map_err(|error| match (error, stopped) {
        (PayloadError::Interrupted, Some(exit)) => Halt::Interrupted(exit),
        (PayloadError::Io(error), _) => {
            Failure::io("use the demo's temporary files", &error).into()
        }
        (error, _) => Failure::new(Exit::Failed, "demo_differs", error.to_string()).into(),
    })
}

/// Returns an address for the tracker, the seed and the downloader: three if this machine has all
/// of 127.0.0.0/8, as Linux does, else the same one three times.
fn loopback_addresses() -> [IpAddr; 3] {
    let wanted = [2, 3, 4].map(|last| IpAddr::from([127, 0, 0, last]));
    let exists = |ip: &IpAddr| UdpSocket::bind((*ip, 0)).is_ok();
    if wanted.iter().all(exists) { wanted } else { [Ipv4Addr::LOCALHOST.into(); 3] }
}

/// A folder that is removed with everything in it.
struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes a folder that nobody else may look into.
    fn create() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("swarmloop-demo-{}", std::process::id()));
        // Fails if the path exists: nothing of somebody else's is used or removed.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::io(&format!("create folder {}", path.display()), &error))?;
        Ok(Self(path))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for temporary files, where the system cleans up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_folders_are_private_and_removed() {
        use std::os::unix::fs::PermissionsExt;

        let folder = TempFolder::create().map_err(|failure| failure.message).expect("a folder");
        let path = folder.0.clone();
        let mode = std::fs::metadata(&path).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        std::fs::write(path.join("file"), "x").expect("written");
        assert!(TempFolder::create().is_err(), "a folder that exists is not taken over");
        assert!(path.exists());
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn payloads_must_fit_twice() {
        for (size, free, fits) in [
            (5, Some(10), true),
            (5, Some(9), false),
            (u64::MAX, Some(u64::MAX - 1), false),
            (u64::MAX, None, true),
        ] {
            let failure = too_large(size, free);
            assert_eq!(failure.is_none(), fits, "{size} in {free:?}");
            assert!(failure.is_none_or(|failure| failure.exit == Exit::Disk));
        }
        let failure = too_large(1 << 40, Some(3 << 30)).expect("it does not fit");
        assert_eq!(
            failure.message,
            "the demo needs 2.0 TiB in the folder for temporary files, where 3.0 GiB are free"
        );
    }

    #[test]
    fn the_three_addresses_are_loopback() {
        let addresses = loopback_addresses();
        assert!(addresses.iter().all(IpAddr::is_loopback));
        let same = addresses.iter().all(|ip| *ip == addresses[0]);
        let distinct = addresses[0] != addresses[1] && addresses[1] != addresses[2];
        assert!(same || distinct);
    }
}
