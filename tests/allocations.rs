//! Neither a block nor a piece costs a heap allocation once a transfer is under way: a whole
//! download and the upload it comes from, over loopback, in a process whose allocator counts.
//!
//! The loops, the workers and the threads beside them of both clients are in the count; nothing
//! else runs in this process.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
use swarmloop::proto::bencode::Writer;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::rng::Rng;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Event, Phase};

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this method, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 64 blocks, as in most torrents.
const PIECE_LEN: usize = 1 << 20;
const PIECE_BLOCKS: usize = PIECE_LEN / (16 << 10);
const PIECES: usize = 256;
/// Pieces before the count begins: every table has grown to what the transfer needs.
const WARM_UP_PIECES: usize = 64;
/// Pieces that are counted at a time, and how often; the end of a transfer is another state.
const COUNTED_PIECES: usize = 48;
const COUNTS: usize = 3;
/// Neither a block nor a piece costs one, or there would be 48 and more in every count. What may
/// come are tables (of rows, completed pieces) and frames when more is under way than ever before,
/// which is up to the threads' turns: not in every count, since it ends with the pool.
const MAX_TABLE_GROWTHS: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn neither_a_block_nor_a_piece_costs_an_allocation() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bytes = vec![0; PIECES * PIECE_LEN];
    Rng::new(1).fill(&mut bytes);
    std::fs::write(from.path().join("payload"), &bytes).unwrap();
    let metainfo = torrent(&bytes);
    drop(bytes);
    let (seed, leech) = (client([127, 7, 21, 2]), client([127, 7, 21, 3]));
    add(&seed, &metainfo, from.path(), Mode::Seed, None);
    wait(&seed, 1, |event| matches!(event, Event::Phase { phase: Phase::Seeding, .. }));
    let mode = Mode::Download { overwrite: false };
    add(&leech, &metainfo, to.path(), mode, Some(seed.listen_addrs()[0]));
    let is_verified = |event: &Event| matches!(event, Event::PieceVerified { .. });
    wait(&leech, WARM_UP_PIECES, is_verified);
    let counts = [(); COUNTS].map(|()| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        wait(&leech, COUNTED_PIECES, is_verified);
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    wait(&leech, 1, |event| matches!(event, Event::Complete { downloaded: true, .. }));
    assert!(leech.shutdown(Duration::from_secs(5)) && seed.shutdown(Duration::from_secs(5)));
    assert!(
        counts.iter().any(|allocations| *allocations < MAX_TABLE_GROWTHS),
        "{counts:?} allocations for {COUNTED_PIECES} pieces of {PIECE_BLOCKS} blocks each"
    );
}

/// Takes events until `count` of them were what is waited for.
fn wait(client: &Client, count: usize, mut is_it: impl FnMut(&Event) -> bool) {
    let mut left = count;
    while left > 0 {
        let event = client.events().recv_timeout(PATIENCE).expect("it happens in time");
        left -= usize::from(is_it(&event));
    }
}

fn client(ip: [u8; 4]) -> Client {
    let mut session = Config::default();
    session.bind = vec![ip.into()];
    // So few pieces are open at a time that the warm-up has seen as many.
    session.pool_bytes = 16 * PIECE_LEN as u64;
    let listen = vec![SocketAddr::from((ip, 0))];
    Client::start(ClientConfig { session, listen, workers: 1, ..ClientConfig::default() })
        .expect("loopback can be listened on")
}

fn add(client: &Client, metainfo: &Metainfo, dir: &Path, mode: Mode, peer: Option<SocketAddr>) {
    let peers = peer.map(|peer| (peer.ip().to_string(), peer.port())).into_iter().collect();
    let torrent = AddTorrent {
        use_trackers: false,
        peers,
        ..AddTorrent::new(metainfo.clone(), dir.to_owned(), mode)
    };
    client.add_torrent(torrent).expect("a new torrent");
}

fn torrent(payload: &[u8]) -> Metainfo {
    let pieces: Vec<u8> = payload.chunks(PIECE_LEN).flat_map(Sha1::digest).collect();
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|torrent| {
        torrent.key(b"info").dict(|info| {
            info.key(b"length").int(i64::try_from(payload.len()).expect("some MiB"));
            info.key(b"name").bytes(b"payload");
            info.key(b"piece length").int(i64::try_from(PIECE_LEN).expect("a MiB"));
            info.key(b"pieces").bytes(&pieces);
        });
    });
    Metainfo::parse(&Bytes::from(out)).expect("a valid torrent")
}
