//! What a peer that does nothing costs: bytes on the heap, counted by the allocator itself, of
//! which every peer more must take no more than its budget.
//!
//! Driven without sockets: the session alone is counted, a thread at a time.

#![allow(unsafe_code, reason = "an allocator that counts is one by trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use swarmloop::bitfield::Bitfield;
use swarmloop::disk::job::{Checked, Folders, Job, OnDisk, Outcome, Read, Space};
use swarmloop::id::{BLOCK_LEN, Block, ConnId, InfoHash, PeerId, PieceIndex};
use swarmloop::proto::handshake::{Reserved, encode};
use swarmloop::proto::message::{Message, encode_bitfield_head};
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::session::config::Config;
use swarmloop::session::io::{Action, Listener, Mode, Seeds};
use swarmloop::session::{NewTorrent, Session};
use swarmloop::time::{Duration, Instant};

/// Heap bytes that an idle peer may cost, its share of every table included.
const BUDGET: usize = 512;

/// The same for one that is unchoked, and for its place among those, in the choker's list, in the
/// queues of a turn that speaks to many, and for what the wheel and the pool keep for their next
/// use.
const BUDGET_UNCHOKED: usize = BUDGET + 128;

/// Peers that are counted: enough that the tables' own growth evens out.
const PEERS: u32 = 4_096;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize, less: usize) {
    // A thread that ends frees its last bytes when the counter is gone already.
    let _ = LIVE.try_with(|live| live.set(live.get().wrapping_add(more).wrapping_sub(less)));
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps to the contract.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps to the contract.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// A session with one torrent, whose disk answers what it is told to.
struct World {
    session: Session,
    now: Instant,
    info_hash: InfoHash,
    /// Whether everything is on disk.
    seeding: bool,
    peers: u32,
}

impl World {
    fn new(pieces: u32, seeding: bool) -> Self {
        let (info, len) = info(pieces);
        let metainfo = Metainfo::from_info(Bytes::from(info)).expect("a good info dictionary");
        let info_hash = metainfo.info_hash;
        let mut config = Config::default();
        (config.max_conns, config.max_peers) = (usize::MAX, usize::MAX);
        (config.max_pending_handshakes, config.unchoke_slots) = (usize::MAX, usize::MAX);
        let seeds = Seeds { rng: 1, secret: [2; 32] };
        let mut session = Session::new(config, seeds, Instant::ZERO);
        let new = NewTorrent {
            use_trackers: false,
            ..NewTorrent::new(metainfo, "/downloads".into(), Mode::Download { overwrite: false })
        };
        session.add_torrent(new, Instant::ZERO).expect("the first torrent");
        let mut world = Self { session, now: Instant::ZERO, info_hash, seeding, peers: 0 };
        while world.turn(len) {}
        world
    }

    /// One turn; tells whether the disk was asked for something.
    fn turn(&mut self, len: u64) -> bool {
        self.session.handle_timeout(self.now);
        self.session.end_turn(self.now);
        while let Some(conn) = self.session.poll_writable() {
            loop {
                let n = self.session.send_slices(conn).total_len();
                if n == 0 {
                    break;
                }
                self.session.send_advance(conn, n, self.now);
            }
        }
        let mut outcomes = Vec::new();
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Disk(Job::Stat { storage }) => {
                    let there =
                        self.seeding.then_some(OnDisk { len, ours: true, ..OnDisk::default() });
                    let files = Ok(vec![there]);
                    let (torrent, folders) = (storage.torrent, Folders::default());
                    outcomes.push(Outcome::Stat { torrent, files, folders });
                }
                Action::Disk(Job::Check { storage, first, count }) => {
                    let (torrent, good) = (storage.torrent, vec![true; count as usize]);
                    let checked = Ok(Checked { good, unreadable: None });
                    outcomes.push(Outcome::Check { torrent, first, checked });
                }
                Action::Disk(Job::Finish { storage, .. }) => {
                    let (torrent, result) = (storage.torrent, Ok(()));
                    outcomes.push(Outcome::Finish { torrent, result });
                }
                Action::Disk(Job::Space { storage, .. }) => {
                    let (torrent, space) = (storage.torrent, Ok(Space::default()));
                    outcomes.push(Outcome::Space { torrent, space });
                }
                Action::Disk(Job::Read(read)) => {
                    let Read { storage, conn, piece, begin, frames } = read;
                    let (torrent, result) = (storage.torrent, Ok(()));
                    outcomes.push(Outcome::Read { torrent, conn, piece, begin, frames, result });
                }
                other => panic!("not asked for in this world: {other:?}"),
            }
        }
        while self.session.poll_event().is_some() {}
        while self.session.poll_readable().is_some() {}
        let asked = !outcomes.is_empty();
        for outcome in outcomes {
            self.session.handle_disk(outcome, self.now);
        }
        asked
    }

    /// A peer of its own address connects, shakes hands and says `first`.
    fn join(&mut self, first: &[u8]) -> ConnId {
        self.peers += 1;
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + self.peers);
        let from = SocketAddr::from((ip, 6881));
        let conn = self.session.handle_accepted(Listener::Peers, from, self.now).expect("welcome");
        let mut id = *b"-XX0000-000000000000";
        id[12..16].copy_from_slice(&self.peers.wrapping_mul(0x9e37_79b9).to_be_bytes());
        let mut bytes = encode(Reserved::OURS, self.info_hash, PeerId(id)).to_vec();
        bytes.extend_from_slice(first);
        self.hear(conn, &bytes);
        self.turn(0);
        conn
    }

    /// The session reads bytes of a peer.
    fn hear(&mut self, conn: ConnId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut slices = self.session.recv_slices(conn).expect("it is read");
            let mut n = 0;
            for slice in slices.as_mut_slice() {
                let take = slice.len().min(bytes.len());
                slice[..take].copy_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                n += take;
            }
            self.session.recv_advance(conn, n, self.now);
        }
    }

    /// Returns the heap bytes that each of [`PEERS`] peers costs that say `first`.
    fn cost(&mut self, first: &[u8]) -> usize {
        let before = LIVE.get();
        for _ in 0..PEERS {
            self.join(first);
        }
        (LIVE.get() - before) / PEERS as usize
    }
}

/// An info dictionary of so many pieces of one block, and the length of its file.
fn info(pieces: u32) -> (Vec<u8>, u64) {
    let len = u64::from(pieces) * u64::from(BLOCK_LEN);
    let mut info = format!("d6:lengthi{len}e4:name4:file").into_bytes();
    info.extend(format!("12:piece lengthi{BLOCK_LEN}e6:pieces{}:", pieces * 20).into_bytes());
    info.extend(std::iter::repeat_n(7, pieces as usize * 20));
    info.push(b'e');
    (info, len)
}

fn message(message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// A `bitfield` in which every `nth` piece is set.
fn every(nth: usize, pieces: u32) -> Vec<u8> {
    let mut bits = Bitfield::new(pieces);
    (0..pieces).step_by(nth).for_each(|piece| _ = bits.insert(piece));
    let mut bytes = Vec::new();
    encode_bitfield_head(Bitfield::wire_len(pieces), &mut bytes);
    bits.write_wire(&mut bytes);
    bytes
}

#[test]
fn an_idle_peer_of_a_seed_keeps_within_its_budget() {
    for pieces in [1_000, 100_000] {
        for (what, first) in [
            ("have none", message(Message::HaveNone)),
            ("a few", every(10_000, pieces)),
            ("every other", every(2, pieces)),
        ] {
            let mut world = World::new(pieces, true);
            let cost = world.cost(&first);
            assert!(cost <= BUDGET, "{what} of {pieces} pieces: {cost} bytes");
        }
    }
}

#[test]
fn a_peer_that_was_served_costs_no_more_when_it_rests() {
    let mut world = World::new(1_000, true);
    let before = LIVE.get();
    let block = Block { piece: PieceIndex(3), begin: 0, len: BLOCK_LEN };
    let wish = [Message::HaveNone, Message::Interested, Message::Request(block)];
    let wish: Vec<u8> = wish.into_iter().flat_map(message).collect();
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        world.now += Duration::from_millis(20);
        peers.push(world.join(&wish));
        while world.turn(0) {}
    }
    let per_peer = || (LIVE.get() - before) / PEERS as usize;
    let busy = per_peer();
    for second in 0..200 {
        world.now += Duration::from_secs(1);
        for conn in peers.iter().filter(|_| second % 60 == 0) {
            world.hear(*conn, &message(Message::KeepAlive));
        }
        world.turn(0);
    }
    assert!(per_peer() <= BUDGET_UNCHOKED, "{} bytes after {busy}", per_peer());
}
