//! Local service discovery as a session takes part in it (BEP 14): what is announced when, who is
//! dialled, and what comes of floods, foreigners and lies.

use std::net::SocketAddr;

use swarmloop::filter::FilterBuilder;
use swarmloop::id::InfoHash;
use swarmloop::lsd::{ANNOUNCE_INTERVAL, ANNOUNCE_PAUSE, GATHER_FOR, MAX_HEARD_PER_S};
use swarmloop::proto::blocklist::parse_line;
use swarmloop::proto::handshake::encode;
use swarmloop::proto::lsd::{GROUP_V4, GROUP_V6, MAX_HASHES, MAX_LEN, PORT, group, parse, write};
use swarmloop::rng::Rng;
use swarmloop::session::io::{Mode, Route, SocketId};
use swarmloop::session::{NewMagnet, NewTorrent};
use swarmloop::time::{Duration, Instant};

use crate::common::{EXTENDED, Setup, World, peer_id};

const NEIGHBOUR: &str = "192.168.7.9:6771";
const ITS_PORT: u16 = 7_000;
/// When what is new has been announced, and a tick of the wheel.
const SOON: Duration = GATHER_FOR.saturating_add(Duration::from_millis(TICK_MS));
const TICK_MS: u64 = 2;

fn setup() -> Setup {
    let setup = Setup { lsd: true, ..Setup::default() };
    setup.config(|config| (config.listen_port, config.announce_port) = (6881, 50_000))
}

/// What was sent since it was asked last, all of which was to be announcements: when, to which
/// group, and of what.
fn announced(world: &mut World) -> Vec<(SocketAddr, u16, Vec<InfoHash>)> {
    let sent = std::mem::take(&mut world.datagrams);
    let read = sent.into_iter().map(|(route, bytes)| {
        assert_eq!((route.remote.port(), route.local), (PORT, None));
        assert_eq!(route.socket, SocketId(if route.remote.is_ipv4() { 2 } else { 3 }));
        assert!(bytes.len() <= MAX_LEN && bytes.ends_with(b"\r\n\r\n\r\n"));
        let read = parse(&bytes).expect("ours is right");
        (route.remote, read.port, read.hashes)
    });
    read.collect()
}

/// The hashes of each, of announcements that go to both groups.
fn hashes(world: &mut World) -> Vec<Vec<InfoHash>> {
    let announced = announced(world);
    let by_pairs = announced.chunks(2).map(|pair| {
        let [(v4, ..), (v6, ..)] = pair else { panic!("one for each group") };
        assert_eq!((v4.ip(), v6.ip()), (GROUP_V4.into(), GROUP_V6.into()));
        assert_eq!((&pair[0].1, &pair[0].2), (&pair[1].1, &pair[1].2));
        pair[0].2.clone()
    });
    by_pairs.collect()
}

fn theirs(port: u16, hashes: &[InfoHash]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, true, port, hashes, 0xdead_beef);
    out
}

/// A datagram comes to the group of its family.
fn hear(world: &mut World, from: &str, bytes: &[u8]) {
    let remote: SocketAddr = from.parse().expect("an address");
    let socket = SocketId(if remote.is_ipv4() { 2 } else { 3 });
    world.session.handle_datagram(Route { socket, remote, local: None }, bytes, world.now);
    world.settle();
}

fn dialled(world: &World) -> Vec<String> {
    world.dials.iter().map(|(_, addr)| addr.to_string()).collect()
}

fn add_magnets(world: &mut World, count: usize) -> Vec<InfoHash> {
    let hashes: Vec<InfoHash> = (0..count)
        .map(|n| {
            let mut hash = [0x55; 20];
            hash[..2].copy_from_slice(&u16::try_from(n).expect("few").to_be_bytes());
            InfoHash(hash)
        })
        .collect();
    for info_hash in hashes.iter().copied() {
        let (trackers, link_peers, peers) = (Vec::new(), Vec::new(), Vec::new());
        let magnet = NewMagnet { info_hash, trackers, link_peers, peers };
        world.session.add_magnet(magnet, world.now).expect("another torrent");
    }
    world.settle();
    hashes
}

#[test]
fn a_torrent_is_announced_to_both_groups_every_five_minutes_where_we_listen() {
    let mut world = setup().build();
    world.advance(SOON);
    let hash = world.info_hash;
    let first = announced(&mut world);
    let groups = [true, false].map(group);
    // Where a port is forwarded to us, nobody on the local network needs it.
    assert_eq!(first, groups.map(|group| (group, 6881, vec![hash])));
    world.advance(ANNOUNCE_INTERVAL.saturating_sub(Duration::from_millis(10)));
    assert_eq!(announced(&mut world), [], "not yet");
    world.advance(Duration::from_millis(20));
    assert_eq!(hashes(&mut world), [[hash]]);
    world.advance(10 * ANNOUNCE_INTERVAL);
    assert_eq!(hashes(&mut world).len(), 10);
}

#[test]
fn who_announces_itself_is_dialled_at_its_own_address() {
    let mut world = setup().build();
    let hash = world.info_hash;
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[InfoHash([9; 20]), hash]));
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    hear(&mut world, "[2001:db8:0:14::9]:6771", &theirs(ITS_PORT, &[hash]));
    assert_eq!(dialled(&world), ["192.168.7.9:7000", "[2001:db8:0:14::9]:7000"]);
}

#[test]
fn torrents_share_announcements_and_what_is_new_waits_for_its_minute() {
    let mut world = setup().build();
    let others = add_magnets(&mut world, MAX_HASHES + 5);
    world.advance(SOON);
    let first = hashes(&mut world);
    assert_eq!((first.len(), first[0].len()), (1, MAX_HASHES));
    let late = InfoHash([1; 20]);
    let (trackers, link_peers, peers) = (Vec::new(), Vec::new(), Vec::new());
    let magnet = NewMagnet { info_hash: late, trackers, link_peers, peers };
    world.session.add_magnet(magnet, world.now).expect("another torrent");
    world.advance(ANNOUNCE_PAUSE.saturating_sub(Duration::from_millis(10)));
    assert_eq!(hashes(&mut world), [[]; 0]);
    world.advance(Duration::from_millis(20));
    let second = hashes(&mut world);
    assert_eq!((second.len(), second[0].len()), (1, 5 + 1 + 1));
    assert!(second[0].contains(&late));
    let mut all: Vec<InfoHash> = [first[0].clone(), second[0].clone()].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), others.len() + 2, "each once");
}

#[test]
fn nothing_is_announced_and_nobody_believed_of_a_private_torrent() {
    let setup = Setup { private: true, ..setup() };
    let mut world = setup.build();
    let hash = world.info_hash;
    world.advance(ANNOUNCE_INTERVAL);
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    assert_eq!((announced(&mut world), dialled(&world)), (vec![], vec![]));
    assert_eq!(world.status().known, 0);
    assert_eq!(world.session.poll_timeout(), None, "and nothing wakes for it");
}

#[test]
fn a_magnet_is_announced_until_its_metadata_says_that_it_is_private() {
    let mut world = Setup { magnet: Some(Vec::new()), private: true, ..setup() }.build();
    let hash = world.info_hash;
    world.advance(SOON);
    assert_eq!(hashes(&mut world), [[hash]], "nobody knows better, as in the DHT");
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    assert_eq!(dialled(&world), ["192.168.7.9:7000"]);
    let neighbour = world.answer_dial();
    world.send(neighbour, &encode(EXTENDED, hash, peer_id(200)));
    assert!(world.is_open(neighbour));
    let info = world.metainfo.clone();
    let mode = Mode::Download { overwrite: false };
    world.session.add_torrent(NewTorrent::new(info, "/downloads".into(), mode), world.now).unwrap();
    world.settle();
    let closed = world.closed_with(neighbour);
    assert_eq!(closed.as_deref(), Some("closed: the torrent is private"));
    hear(&mut world, "192.168.7.10:6771", &theirs(ITS_PORT, &[hash]));
    world.advance(2 * ANNOUNCE_INTERVAL);
    assert_eq!((announced(&mut world), dialled(&world)), (vec![], vec![]));
}

#[test]
fn a_torrent_that_stops_is_announced_no_more_and_leaves_no_wake_up() {
    let mut world = setup().build();
    let (hash, torrent) = (world.info_hash, world.torrent);
    world.advance(SOON);
    announced(&mut world);
    world.session.stop_torrent(torrent, world.now);
    world.advance(ANNOUNCE_INTERVAL);
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    assert_eq!((announced(&mut world), dialled(&world)), (vec![], vec![]));
    assert_eq!(world.session.poll_timeout(), None);
    world.session.start_torrent(torrent, world.now);
    world.advance(SOON);
    assert_eq!(hashes(&mut world), [[hash]]);
    world.session.remove_torrent(torrent, world.now);
    world.advance(2 * ANNOUNCE_INTERVAL);
    assert_eq!(announced(&mut world), []);
    assert_eq!(world.session.poll_timeout(), None);
}

#[test]
fn the_end_of_a_session_announces_nothing() {
    let mut world = setup().build();
    world.session.shutdown(world.now);
    world.advance(2 * ANNOUNCE_INTERVAL);
    assert_eq!(announced(&mut world), []);
    assert!(world.session.is_idle() && world.session.poll_timeout().is_none());
}

#[test]
fn a_seed_wakes_for_its_announcement_and_for_nothing_else() {
    let setup = Setup { lsd: true, ..Setup::seed() };
    let mut world = setup.config(|config| config.listen_port = 6881).build();
    world.advance(SOON);
    let before = world.session.counters().turns;
    for _ in 0..12 {
        world.advance(ANNOUNCE_INTERVAL);
    }
    // Of each, up to three move the wheel's entry down, and two are made by `advance` itself.
    let turns = world.session.counters().turns - before;
    assert!(turns <= 12 * 6, "{turns} turns in an hour");
    assert_eq!(hashes(&mut world).len(), 12);
}

#[test]
fn who_listens_nowhere_hears_of_others_and_is_silent() {
    let mut world = Setup { lsd: true, ..Setup::default() }.build();
    world.advance(ANNOUNCE_INTERVAL);
    assert_eq!(announced(&mut world), []);
    assert_eq!(world.session.poll_timeout(), None);
    let hash = world.info_hash;
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    assert_eq!(dialled(&world), ["192.168.7.9:7000"]);
}

#[test]
fn a_user_who_asks_again_asks_here_as_well() {
    let mut world = setup().build();
    world.advance(SOON);
    announced(&mut world);
    world.session.reannounce(world.now);
    world.advance(ANNOUNCE_PAUSE + SOON);
    let hash = world.info_hash;
    assert_eq!(hashes(&mut world), [[hash]], "after the minute's pause");
}

#[test]
fn what_comes_back_of_our_own_is_nobody() {
    let mut world = setup().build();
    world.advance(SOON);
    let (_, ours) = world.datagrams.front().cloned().expect("an announcement");
    hear(&mut world, "192.168.7.1:6771", &ours);
    assert_eq!((dialled(&world), world.status().known), (vec![], 0));
    // The same with another cookie is another client.
    let hash = world.info_hash;
    hear(&mut world, "192.168.7.1:6771", &theirs(6881, &[hash]));
    assert_eq!(dialled(&world), ["192.168.7.1:6881"]);
}

#[test]
fn lies_about_where_somebody_is_lead_nowhere() {
    let mut world = setup().build();
    let hash = world.info_hash;
    let good = theirs(ITS_PORT, &[hash]);
    for from in
        ["8.8.8.8:6771", "192.169.0.1:6771", "127.0.0.1:6771", "[2001:db8::9]:1", "[fe80::9]:1"]
    {
        hear(&mut world, from, &good);
    }
    assert_eq!(world.session.counters().lsd_dropped, 5, "from elsewhere");
    let text = String::from_utf8(good.clone()).expect("text");
    for spoiled in [
        theirs(0, &[hash]),
        // Not everything that listens is a peer.
        theirs(22, &[hash]),
        text.replace("239.192.152.143", "192.168.7.1").into_bytes(),
        text.replace("\r\n\r\n", &format!("\r\nx: {}\r\n\r\n", "y".repeat(MAX_LEN))).into_bytes(),
        good[..60].to_vec(),
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe".to_vec(),
        Vec::new(),
    ] {
        hear(&mut world, NEIGHBOUR, &spoiled);
    }
    assert_eq!((dialled(&world), world.status().known), (vec![], 0));
    assert_eq!(world.session.counters().lsd_dropped, 5);
    // What is said to other sockets, is said to others.
    world.datagram(NEIGHBOUR.parse().expect("an address"), &good);
    assert_eq!(dialled(&world), [""; 0]);
    world.session.set_networks(Vec::new());
    hear(&mut world, NEIGHBOUR, &good);
    assert_eq!((dialled(&world), world.session.counters().lsd_dropped), (vec![], 6));
}

#[test]
fn a_flood_is_looked_at_ten_times_a_second_and_takes_nobodys_place() {
    let setup = setup().config(|config| config.max_half_open = 1);
    let mut world = setup.build();
    let (hash, before) = (world.info_hash, world.now);
    let from = |n: u32| {
        let [_, _, high, low] = n.to_be_bytes();
        format!("192.168.{high}.{low}:6771")
    };
    let flood = 20_000;
    for n in 0..flood {
        world.now = before + Duration::from_millis(u64::from(n) / 2);
        hear(&mut world, &from(n), &theirs(ITS_PORT, &[hash]));
    }
    let looked_at = u64::from(flood) - world.session.counters().lsd_dropped;
    let most = u64::from(MAX_HEARD_PER_S) * 11;
    assert!((most - 1..=most).contains(&looked_at), "{looked_at} in ten seconds");
    // For as long as it goes on, a quarter of a thousand are kept, and trackers find room.
    for n in 0..10_000 {
        world.now += Duration::from_millis(100);
        hear(&mut world, &from(n), &theirs(ITS_PORT, &[hash]));
    }
    let known = world.status().known;
    assert!((200..=250).contains(&known), "{known}");
}

#[test]
fn noise_on_the_group_is_read_or_dropped() {
    let mut world = setup().build();
    let good = theirs(ITS_PORT, &[InfoHash([3; 20]), InfoHash([4; 20])]);
    for seed in 0..3_000 {
        let mut rng = Rng::new(seed);
        let mut bytes = good[..rng.below(good.len() + 1)].to_vec();
        for _ in 0..rng.below(8) {
            let at = rng.below(bytes.len());
            let noise = u8::try_from(rng.below(256)).expect("a byte");
            if let Some(byte) = bytes.get_mut(at) {
                *byte = noise;
            }
        }
        world.now += Duration::from_millis(101);
        hear(&mut world, NEIGHBOUR, &bytes);
    }
    assert_eq!((dialled(&world), world.session.counters().lsd_dropped), (vec![], 0));
}

#[test]
fn who_is_on_the_blocklist_is_not_dialled_for_being_near() {
    let line = parse_line(b"192.168.7.0/24").expect("a line of a list").expect("a range");
    let mut builder = FilterBuilder::default();
    builder.add(line).expect("there is room");
    let list = std::sync::Arc::new(builder.build());
    let mut world = setup().config(|config| config.blocklist = Some(list)).build();
    let hash = world.info_hash;
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    hear(&mut world, "192.168.8.9:6771", &theirs(ITS_PORT, &[hash]));
    assert_eq!(dialled(&world), ["192.168.8.9:7000"]);
    assert_eq!(world.session.counters().blocked, 1);
}

#[test]
fn without_leave_to_use_it_nothing_is_sent_and_nothing_heard() {
    let mut world = Setup { lsd: false, ..setup() }.build();
    let hash = world.info_hash;
    world.session.use_lsd(Instant::ZERO);
    world.advance(2 * ANNOUNCE_INTERVAL);
    hear(&mut world, NEIGHBOUR, &theirs(ITS_PORT, &[hash]));
    assert_eq!((announced(&mut world), dialled(&world)), (vec![], vec![]), "there is no socket");
}
