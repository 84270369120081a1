//! How near a limit on payload is kept to on loopback, down and up: `cargo bench --bench limits`.
//!
//! Two clients, a seed and a downloader, one of which is limited; the rate is that of ten seconds
//! after the first one, between two blocks that came. The payload is zeros that take no room at the
//! seed; the downloader needs up to 2.3 GiB in the folder for temporary files, for one row at a
//! time. More than 2 % off the limit is a failure.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report on the terminal")]

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode, RateLimits};
use swarmloop::id::TorrentId;
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};

const PIECE_LEN: u64 = 1 << 20;
/// Bytes a second: a slow line, a usual one, a fast disk.
const LIMITS: [u64; 3] = [100 << 10, 5 << 20, 200 << 20];
/// Before the measuring begins: requests and windows have found their sizes.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(10);
/// Time between two looks at how much has come: a thousandth of what is measured.
const LOOK: Duration = Duration::from_millis(10);
/// By how much the rate may be off the limit, in per mille.
const MAX_OFF: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

fn main() -> ExitCode {
    println!("limit           way    measured        off");
    let mut is_kept = true;
    for limit in LIMITS {
        for way in [Way::Down, Way::Up] {
            let rate = measure(way, limit);
            let off = rate.abs_diff(limit) * 1_000 / limit;
            is_kept &= off <= MAX_OFF;
            let name = if way == Way::Down { "down" } else { "up" };
            let sign = if rate < limit { '-' } else { '+' };
            println!(
                "{limit:>11} B/s {name:>4} {rate:>11} B/s   {sign}{}.{} %",
                off / 10,
                off % 10
            );
        }
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the bytes of payload a second that a downloader gets under a limit.
fn measure(way: Way, limit: u64) -> u64 {
    let seconds = (WARM_UP + MEASURED).as_secs() + 1;
    let metainfo = torrent((limit * seconds).next_multiple_of(PIECE_LEN));
    let (from, to) = (folder(), folder());
    let file = File::create(from.path().join("payload")).expect("a new file");
    file.set_len(metainfo.files[0].len).expect("a file with nothing in it");
    let unlimited = RateLimits::default();
    let (down, up) = match way {
        Way::Down => (RateLimits { down: limit, up: 0 }, unlimited),
        Way::Up => (unlimited, RateLimits { down: 0, up: limit }),
    };
    let (seed, leech) = (client([127, 7, 22, 2], up), client([127, 7, 22, 3], down));
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    let is_ready = |event| matches!(event, Event::Phase { phase: Phase::Seeding, .. });
    while !is_ready(seed.events().recv_timeout(PATIENCE).expect("the seed checks its data")) {}
    let mode = Mode::Download { overwrite: false };
    let torrent = add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    let rate = rate(&leech, torrent);
    assert!(leech.shutdown(PATIENCE) && seed.shutdown(PATIENCE), "they end in order");
    rate
}

/// Measures from one block's arrival to another's, so that none is counted in part.
fn rate(leech: &Client, torrent: TorrentId) -> u64 {
    let start = Instant::now();
    let downloaded = || leech.status(torrent).expect("the torrent is there").downloaded;
    let (mut seen, mut first, mut last) = (downloaded(), None, None);
    while start.elapsed() < WARM_UP + MEASURED {
        park_timeout(LOOK);
        let (now, at) = (downloaded(), Instant::now());
        if now > seen && at - start >= WARM_UP {
            first = first.or(Some((at, now)));
            last = Some((at, now));
        }
        seen = now;
        while leech.events().try_recv().is_ok() {}
    }
    let ((from, before), (to, after)) = first.zip(last).expect("something came");
    let us = u64::try_from((to - from).as_micros()).expect("some seconds");
    (after - before) * 1_000_000 / us.max(1)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

fn client(ip: [u8; 4], limits: RateLimits) -> Client {
    let mut session = Config::default();
    session.bind = vec![ip.into()];
    session.limits = limits;
    let listen = vec![SocketAddr::from((ip, 0))];
    Client::start(ClientConfig { session, listen, ..ClientConfig::default() })
        .expect("loopback can be listened on")
}

fn add(
    client: &Client,
    metainfo: &Metainfo,
    dir: &Path,
    mode: Mode,
    peer: Option<SocketAddr>,
) -> TorrentId {
    let peers = peer.map(|peer| (peer.ip().to_string(), peer.port())).into_iter().collect();
    let torrent = AddTorrent {
        use_trackers: false,
        peers,
        ..AddTorrent::new(metainfo.clone(), dir.to_owned(), mode)
    };
    client.add_torrent(torrent).expect("a new torrent")
}

/// Returns a torrent of `len` bytes of zeros, in whole pieces.
fn torrent(len: u64) -> Metainfo {
    let piece = Sha1::digest(vec![0; usize::try_from(PIECE_LEN).expect("a MiB")]);
    let pieces = piece.repeat(usize::try_from(len / PIECE_LEN).expect("some thousand"));
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(i64::try_from(len).expect("some GiB"));
            info.key(b"name").bytes(b"payload");
            info.key(b"piece length").int(i64::try_from(PIECE_LEN).expect("a MiB"));
            info.key(b"pieces").bytes(&pieces);
        });
    });
    Metainfo::parse(&Bytes::from(out)).expect("a valid torrent")
}
