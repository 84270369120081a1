//! Metadata as a weapon (security.md 2.2, row 24, and 5.6, rows 30 to 32): claims, blocks and
//! requests, each against its stated limit. What is said to no purpose is in `extended.rs`.

use std::net::SocketAddr;

use swarmloop::id::InfoHash;
use swarmloop::peer::extended::MAX_METADATA_WISHES;
use swarmloop::proto::extended::{self, Extension, MAX_METADATA_LEN, MAX_METADATA_MESSAGE_LEN};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::proto::ut_metadata::{self, METADATA_BLOCK_LEN};
use swarmloop::rate::RateLimits;
use swarmloop::session::NewMagnet;
use swarmloop::session::io::{Phase, StopReason};

use crate::common::{EXTENDED, Remote, Said, Setup, World, peer_id};
use crate::magnet::{THEIR_ID, data, join, len_of, offer, seeking, serve, told, wishes};

/// An extended message to us.
fn message(extension: Extension, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    extended::message(extension.id(), &mut out, |out| out.extend_from_slice(body));
    out
}

fn hello(body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    extended::message(0, &mut out, |out| out.extend_from_slice(body.as_bytes()));
    out
}

fn ask(block: u32) -> Vec<u8> {
    let mut out = Vec::new();
    ut_metadata::encode_request(Extension::Metadata.id(), block, &mut out);
    out
}

/// Returns the bytes of metadata that a remote was sent since it was last looked at, and how often
/// it was refused.
fn fed(world: &mut World, remote: Remote) -> (usize, usize) {
    let (mut bytes, mut refused) = (0, 0);
    for said in world.hear(remote) {
        match said {
            Said::Extended(THEIR_ID, body) if body.len() > 100 => bytes += body.len(),
            Said::Extended(THEIR_ID, _) => refused += 1,
            _ => {}
        }
    }
    (bytes, refused)
}

#[test]
fn sizes_that_cannot_be_are_not_asked_for_and_cost_no_memory() {
    let mut world = seeking();
    let sizes = ["0", "-1", "1099511627776", "2147483647", "16777217", "9223372036854775807"];
    let bombs: Vec<Remote> = sizes
        .iter()
        .map(|size| {
            let remote = world.join(EXTENDED);
            world
                .send(remote, &hello(&format!("d1:md11:ut_metadatai2ee13:metadata_sizei{size}ee")));
            remote
        })
        .collect();
    assert!(bombs.iter().all(|remote| wishes(&mut world, *remote).is_empty()));
    let offered = world.status().metadata.expect("it is looked for");
    assert_eq!((offered.len, offered.sources), (None, 0));
    // One that never says the same twice is asked for what it says last, two blocks at a time.
    let turncoat = world.join(EXTENDED);
    for round in 1..300 {
        world.send(turncoat, &offer(round * 50_000));
        assert!(wishes(&mut world, turncoat).len() <= 2);
    }
    let len = len_of(&world);
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    assert!(told(&world).is_some());
}

/// Eight in the majority claim as much as there can be, and send just enough not to be left alone.
#[test]
fn a_majority_of_liars_does_not_keep_one_honest_peer_from_being_asked() {
    let mut world = seeking();
    let liars: Vec<Remote> = (0..8).map(|_| join(&mut world, MAX_METADATA_LEN)).collect();
    let len = len_of(&world);
    let seed = join(&mut world, len);
    let lie = vec![0; MAX_METADATA_LEN as usize];
    for _ in 0..5 {
        for liar in &liars {
            for block in wishes(&mut world, *liar) {
                let bytes = data(block, &lie);
                world.send(*liar, &bytes);
            }
        }
        serve(&mut world, seed, false);
        world.advance_s(2);
    }
    assert!(told(&world).is_some());
    assert!(!world.is_banned(seed));
}

#[test]
fn blocks_of_the_wrong_length_are_not_kept_and_their_sender_rests() {
    let mut world = seeking();
    let len = len_of(&world);
    let info = world.metainfo.info.clone();
    let short = data(0, &info[..100]);
    let other = data(0, &[&info[..], b"x"].concat());
    let long = {
        let mut body = format!("d8:msg_typei1e5:piecei0e10:total_sizei{len}ee").into_bytes();
        body.extend_from_slice(&info[..=METADATA_BLOCK_LEN as usize]);
        message(Extension::Metadata, &body)
    };
    for wrong in [short, other, long] {
        let remote = join(&mut world, len);
        assert!(!wishes(&mut world, remote).is_empty());
        world.send(remote, &wrong);
        assert_eq!(world.status().metadata.expect("it is looked for").have, 0);
        assert!(wishes(&mut world, remote).is_empty(), "it rests");
        world.hang_up(remote);
    }
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    assert!(told(&world).is_some());
    let too_long = world.join(EXTENDED);
    let whole = MAX_METADATA_MESSAGE_LEN as usize + 1;
    world.send(too_long, &message(Extension::Metadata, &vec![b'd'; whole]));
    let closed = world.closed_with(too_long).expect("closed");
    assert!(closed.contains("too long (17411 > 17410)"), "{closed}");
}

#[test]
fn what_a_poisoner_has_sent_is_forgotten_with_it() {
    let mut world = seeking();
    let len = len_of(&world);
    let poisoner = join(&mut world, len);
    let lie = vec![0x55; len as usize];
    for block in wishes(&mut world, poisoner) {
        let bytes = data(block, &lie);
        world.send(poisoner, &bytes);
    }
    assert!(world.status().metadata.expect("it is looked for").have > 0);
    for block in wishes(&mut world, poisoner) {
        let bytes = data(block, &lie);
        world.send(poisoner, &bytes);
    }
    assert!(world.is_banned(poisoner));
    let after = world.status().metadata.expect("it is looked for");
    assert_eq!((after.have, after.len, after.sources), (0, None, 0));
    let again = world.knock(SocketAddr::from(([10, 0, 0, 1], 9_999))).expect("nobody knows why");
    world.send(again, &encode(EXTENDED, world.info_hash, peer_id(9)));
    assert_eq!(world.closed_with(again).as_deref(), Some("closed: banned"));
}

/// Looks for metadata that hashes to what was asked for, and is `info`.
fn world_of(info: &[u8]) -> (World, Remote) {
    let mut world = Setup { magnet: Some(Vec::new()), ..Setup::default() }.build();
    let info_hash = InfoHash(<sha1::Sha1 as sha1::Digest>::digest(info).into());
    let (trackers, link_peers, peers) = (Vec::new(), Vec::new(), Vec::new());
    let magnet = NewMagnet { info_hash, trackers, link_peers, peers };
    world.torrent = world.session.add_magnet(magnet, world.now).expect("another");
    world.info_hash = info_hash;
    world.settle();
    let seed = join(&mut world, u32::try_from(info.len()).expect("short"));
    wishes(&mut world, seed);
    world.send(seed, &data(0, info));
    (world, seed)
}

#[test]
fn metadata_that_is_right_and_hostile_is_read_like_any_torrent_file() {
    let hashes = "7".repeat(20);
    for (info, text) in [
        (format!("d6:lengthi1e4:name2:..12:piece lengthi16384e6:pieces20:{hashes}e"), "\"..\""),
        (format!("d6:lengthi1e4:name4:/etc12:piece lengthi16384e6:pieces20:{hashes}e"), "name"),
        (format!("d6:lengthi1e4:name1:a12:piece lengthi0e6:pieces20:{hashes}e"), "piece length"),
        (
            format!("d6:lengthi99999999e4:name1:a12:piece lengthi16384e6:pieces20:{hashes}e"),
            "pieces",
        ),
        (
            format!(
                "d5:filesld6:lengthi1e4:pathl2:..3:etceee4:name1:a12:piece lengthi16384e\
                 6:pieces20:{hashes}e"
            ),
            "\"..\"",
        ),
        ("l".repeat(100), "more than 64 lists"),
        ("4:spam".to_owned(), ""),
    ] {
        let (world, seed) = world_of(info.as_bytes());
        let reason = match world.status().phase {
            Phase::Stopped(Some(StopReason::Metadata(fault))) => fault.to_string(),
            other => panic!("{info}: {other:?}"),
        };
        assert!(reason.contains(text), "{info}: {reason}");
        assert!(!world.is_open(seed) && !world.is_banned(seed), "it sent what was asked for");
        assert!(told(&world).is_none(), "{info}");
    }
}

#[test]
fn private_metadata_is_obeyed_before_anybody_is_told_of_it() {
    let hashes = "7".repeat(20);
    let info =
        format!("d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:{hashes}7:privatei1ee");
    let (world, seed) = world_of(info.as_bytes());
    assert!(told(&world).is_some_and(|it| it.private));
    assert!(world.is_open(seed));
}

/// Security.md 5.6, row 32: what is sent counts for the limit, and what waits is bounded.
#[test]
fn metadata_is_sent_no_faster_than_the_limit_allows() {
    const LIMIT: u64 = 30_000;
    let limits = RateLimits { down: 0, up: LIMIT };
    let setup = Setup { padding: 200_000, ..Setup::seed() };
    let mut world = setup.config(|config| config.limits = limits).build();
    let blocks = len_of(&world).div_ceil(METADATA_BLOCK_LEN);
    let flooders = [(); 3].map(|()| {
        let remote = world.join(EXTENDED);
        world.send(remote, &offer(0));
        remote
    });
    let start = world.now;
    let (mut sent, mut refused) = (0, 0);
    for second in 0..60 {
        for flooder in flooders {
            let asks: Vec<u8> = (0..4).flat_map(|n| ask((second + n) % blocks)).collect();
            world.send(flooder, &asks);
        }
        world.advance_s(1);
        for flooder in flooders {
            let (bytes, times) = fed(&mut world, flooder);
            (sent, refused) = (sent + bytes as u64, refused + times);
        }
        let due = LIMIT * (world.now - start).as_secs();
        let most = due + LIMIT / 5 + u64::from(METADATA_BLOCK_LEN) + 100;
        assert!(sent <= most, "{sent} bytes after {second} s");
    }
    assert!(sent >= LIMIT * 60 * 9 / 10, "{sent}: it is used");
    // Of 240 requests each has had its answers or waits in a queue that is no longer than this.
    let answered = sent / u64::from(METADATA_BLOCK_LEN) + refused as u64;
    assert!(720 - answered <= 3 * (MAX_METADATA_WISHES as u64 + 2), "{answered}");
    assert!(flooders.iter().all(|flooder| world.is_open(*flooder)));
    // Payload has its part beside it.
    let leech = world.join_leech(EXTENDED);
    let wanted = world.blocks_of(0).into_iter().map(Message::Request);
    world.say(leech, &wanted.collect::<Vec<_>>());
    world.advance_s(30);
    assert!(!world.given(leech).is_empty(), "nobody starves");
}

#[test]
fn a_limit_that_is_lifted_lets_metadata_through_at_once() {
    let limits = RateLimits { down: 0, up: 100 };
    let setup = Setup { padding: 60_000, ..Setup::seed() };
    let mut world = setup.config(|config| config.limits = limits).build();
    let remote = world.join(EXTENDED);
    world.send(remote, &offer(0));
    world.send(remote, &[ask(0), ask(1), ask(2)].concat());
    world.advance_s(2);
    assert!(fed(&mut world, remote).0 < 2 * METADATA_BLOCK_LEN as usize);
    world.session.set_limits(RateLimits::default(), world.now);
    world.settle();
    assert!(fed(&mut world, remote).0 > 2 * METADATA_BLOCK_LEN as usize);
}
