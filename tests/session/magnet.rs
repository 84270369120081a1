//! A torrent of which only the info-hash is known: its metadata from peers, good and bad, and what
//! becomes of the peers when it is here.

use std::net::SocketAddr;

use swarmloop::id::PieceIndex;
use swarmloop::proto::extended::{self, Extension, Handshake, MAX_METADATA_LEN};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::proto::metainfo::Metainfo;
use swarmloop::proto::ut_metadata::{self, MetadataMessage};
use swarmloop::session::NewTorrent;
use swarmloop::session::io::{Event, Mode, Phase};

use crate::common::{EXTENDED, FAST, Remote, Said, Setup, World, bitfield, bytes_of, peer_id};

/// The id under which the remotes of these tests hear `ut_metadata`.
pub(crate) const THEIR_ID: u8 = 2;

/// A world that looks for three blocks of metadata.
pub(crate) fn seeking() -> World {
    Setup { magnet: Some(Vec::new()), padding: 40_000, ..Setup::default() }.build()
}

/// The extension handshake of a remote that offers metadata of so many bytes.
pub(crate) fn offer(len: u32) -> Vec<u8> {
    let mut out = Vec::new();
    extended::message(0, &mut out, |out| {
        let body = format!("d1:md11:ut_metadatai{THEIR_ID}ee13:metadata_sizei{len}ee");
        out.extend(body.into_bytes());
    });
    out
}

pub(crate) fn len_of(world: &World) -> u32 {
    u32::try_from(world.metainfo.info.len()).expect("short")
}

/// A remote connects and offers the metadata, or what it says is that.
pub(crate) fn join(world: &mut World, len: u32) -> Remote {
    let remote = world.join(EXTENDED);
    world.send(remote, &offer(len));
    remote
}

/// Returns the blocks that a remote was asked for.
pub(crate) fn wishes(world: &mut World, remote: Remote) -> Vec<u32> {
    let heard = world.hear(remote).into_iter();
    heard
        .filter_map(|said| match said {
            Said::Extended(THEIR_ID, body) => match MetadataMessage::decode(&body) {
                Ok(MetadataMessage::Request(block)) => Some(block),
                other => panic!("{other:?}"),
            },
            _ => None,
        })
        .collect()
}

pub(crate) fn data(block: u32, info: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ut_metadata::encode_data(Extension::Metadata.id(), block, info, &mut out);
    out
}

/// Answers every request for metadata until none comes; with `spoil`, wrongly.
pub(crate) fn serve(world: &mut World, remote: Remote, spoil: bool) {
    let mut info = world.metainfo.info.to_vec();
    if spoil {
        for byte in &mut info {
            *byte ^= 0x55;
        }
    }
    loop {
        let wishes = wishes(world, remote);
        if wishes.is_empty() || !world.is_open(remote) {
            return;
        }
        for block in wishes {
            let bytes = data(block, &info);
            world.send(remote, &bytes);
        }
    }
}

/// Returns the metadata that the application was told.
pub(crate) fn told(world: &World) -> Option<Metainfo> {
    world.events.iter().find_map(|event| match event {
        Event::Metadata { metainfo, .. } => Some((**metainfo).clone()),
        _ => None,
    })
}

/// The application goes on with what it was told.
fn go_on(world: &mut World) {
    let metainfo = told(world).expect("the metadata is here");
    assert_eq!(metainfo.info, world.metainfo.info);
    let mode = Mode::Download { overwrite: false };
    let new = NewTorrent::new(metainfo, "/downloads".into(), mode);
    let id = world.session.add_torrent(new, world.now).expect("it is gone on with");
    assert_eq!(id, world.torrent, "it keeps its name");
    world.settle();
}

#[test]
fn metadata_comes_from_a_peer_and_the_download_goes_on_with_it() {
    let mut world = seeking();
    assert_eq!(world.status().phase, Phase::Metadata);
    let len = len_of(&world);
    let seed = world.join(EXTENDED);
    world.say(seed, &[Message::HaveAll]);
    world.send(seed, &offer(len));
    assert_eq!(
        world.status().metadata.map(|it| (it.have, it.len, it.sources)),
        Some((0, Some(len), 1))
    );
    serve(&mut world, seed, false);
    go_on(&mut world);
    let heard = world.messages(seed);
    assert_eq!(heard[..2], [Message::HaveNone, Message::Interested], "it is kept");
    world.say(seed, &[Message::Unchoke]);
    world.serve(seed);
    assert!(world.disk_is_right());
    assert_eq!(world.status().phase, Phase::Seeding);
}

#[test]
fn the_blocks_of_several_peers_are_one_copy() {
    let mut world = seeking();
    let len = len_of(&world);
    let peers = [join(&mut world, len), join(&mut world, len)];
    let asked = peers.map(|peer| wishes(&mut world, peer));
    assert_eq!(asked, [vec![0, 1], vec![2]]);
    let info = world.metainfo.info.clone();
    for (peer, asked) in peers.iter().zip(asked) {
        for block in asked {
            world.send(*peer, &data(block, &info));
        }
    }
    assert!(told(&world).is_some());
}

#[test]
fn what_peers_said_of_their_pieces_before_counts_when_their_number_is_known() {
    let mut world = seeking();
    let len = len_of(&world);
    let (some, haves, all) = (world.join(EXTENDED), world.join(EXTENDED), world.join(EXTENDED));
    world.send(some, &bitfield(&[0b1010_0000]));
    world.say(haves, &[Message::HaveNone, Message::Have(PieceIndex(7))]);
    world.say(all, &[Message::HaveAll, Message::AllowedFast(PieceIndex(3))]);
    for remote in [some, haves, all] {
        assert!(world.is_open(remote) && world.peer(remote).pieces_have <= 8);
    }
    world.send(all, &offer(len));
    serve(&mut world, all, false);
    go_on(&mut world);
    let have = [some, haves, all].map(|remote| world.peer(remote).pieces_have);
    assert_eq!(have, [2, 1, 8]);
    assert!(world.peer(haves).am_interested);
    // It may be asked for that piece although it chokes us.
    assert!(world.asked(all).iter().all(|block| block.piece == PieceIndex(3)));
}

#[test]
fn who_said_what_cannot_be_is_closed_when_the_number_of_pieces_is_known() {
    let mut world = seeking();
    let len = len_of(&world);
    let seed = join(&mut world, len);
    let liars = [(); 4].map(|()| world.join(EXTENDED));
    world.send(liars[0], &bitfield(&[0xff, 0xff]));
    world.say(liars[1], &[Message::HaveNone, Message::Have(PieceIndex(8))]);
    world.say(liars[2], &[Message::AllowedFast(PieceIndex(u32::MAX))]);
    let haves: Vec<Message> =
        (0..2_000).map(|piece| Message::Have(PieceIndex(piece % 8))).collect();
    world.say(liars[3], &haves);
    assert!(liars.iter().all(|liar| world.is_open(*liar)));
    serve(&mut world, seed, false);
    go_on(&mut world);
    let words = liars.map(|liar| world.closed_with(liar).expect("closed"));
    assert_eq!(words[0], "invalid bytes: bitfield of 2 bytes where 1 are due");
    assert_eq!(words[1], "misbehaved: named piece 8, which the torrent does not have");
    assert!(words[2].contains("named piece 4294967295"));
    assert_eq!(words[3], "closed: what it has was forgotten");
    assert!(world.is_open(seed));
}

#[test]
fn a_bitfield_beyond_the_budget_is_forgotten_and_its_sender_closed_later() {
    let mut world = seeking();
    let len = len_of(&world);
    let seed = join(&mut world, len);
    let remotes: Vec<Remote> = (0..20).map(|_| world.join(EXTENDED)).collect();
    for remote in &remotes {
        world.send(*remote, &bitfield(&vec![0; 1 << 18]));
    }
    assert!(remotes.iter().all(|remote| world.is_open(*remote)), "they may have the metadata");
    serve(&mut world, seed, false);
    go_on(&mut world);
    let forgotten = remotes.iter().filter(|remote| {
        world.closed_with(**remote).is_some_and(|text| text.contains("forgotten"))
    });
    assert!(forgotten.count() >= 5);
}

#[test]
fn one_that_sends_wrong_metadata_alone_is_banned() {
    let mut world = seeking();
    let len = len_of(&world);
    let poisoner = join(&mut world, len);
    serve(&mut world, poisoner, true);
    assert!(world.is_banned(poisoner) && told(&world).is_none());
    assert!(world.closed_with(poisoner).is_some());
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    go_on(&mut world);
}

#[test]
fn one_poisoner_among_five_is_found_out_by_the_right_copy() {
    let mut world = seeking();
    let len = len_of(&world);
    let peers: Vec<Remote> = (0..5).map(|_| join(&mut world, len)).collect();
    for _ in 0..20 {
        for (at, peer) in peers.iter().enumerate() {
            if world.is_open(*peer) {
                serve(&mut world, *peer, at == 1);
            }
        }
        world.advance_s(1);
    }
    assert!(told(&world).is_some());
    let banned: Vec<bool> = peers.iter().map(|peer| world.is_banned(*peer)).collect();
    assert_eq!(banned, [false, true, false, false, false]);
}

#[test]
fn another_length_than_the_right_one_does_no_harm() {
    let mut world = seeking();
    let len = len_of(&world);
    let liars = [1, len + 1, MAX_METADATA_LEN].map(|len| join(&mut world, len));
    let bombs = ["-1", "0", "2147483647"].map(|size| {
        let remote = world.join(EXTENDED);
        let mut hello = Vec::new();
        extended::message(0, &mut hello, |out| {
            let body = format!("d1:md11:ut_metadatai2ee13:metadata_sizei{size}ee");
            out.extend(body.into_bytes());
        });
        world.send(remote, &hello);
        remote
    });
    assert!(bombs.iter().all(|remote| wishes(&mut world, *remote).is_empty()));
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    go_on(&mut world);
    assert!(liars.iter().chain(&bombs).all(|remote| world.is_open(*remote)));
}

#[test]
fn a_peer_that_does_not_answer_holds_nobody_up() {
    let mut world = seeking();
    let len = len_of(&world);
    let mute = join(&mut world, len);
    assert_eq!(wishes(&mut world, mute), [0, 1]);
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    assert!(told(&world).is_none(), "two blocks are still waited for");
    world.advance_s(4);
    serve(&mut world, seed, false);
    go_on(&mut world);
}

#[test]
fn a_peer_that_refuses_is_asked_again_later_and_not_at_once() {
    let mut world = seeking();
    let len = len_of(&world);
    let seed = join(&mut world, len);
    let reject = |block| {
        let mut out = Vec::new();
        ut_metadata::encode_reject(2, block, &mut out);
        out
    };
    for block in wishes(&mut world, seed) {
        world.send(seed, &reject(block));
    }
    assert!(wishes(&mut world, seed).is_empty());
    world.advance_s(60);
    assert!(!wishes(&mut world, seed).is_empty());
}

#[test]
fn a_block_that_comes_free_is_asked_of_another_at_once() {
    let refusal = |world: &mut World, peer| {
        let mut out = Vec::new();
        ut_metadata::encode_reject(Extension::Metadata.id(), 0, &mut out);
        world.send(peer, &out);
    };
    let short = |world: &mut World, peer| {
        let bytes = data(0, b"not it");
        world.send(peer, &bytes);
    };
    let leaving = |world: &mut World, peer| world.hang_up(peer);
    let says_otherwise = |world: &mut World, peer| world.send(peer, &offer(7));
    let ends: [fn(&mut World, Remote); 4] = [refusal, short, leaving, says_otherwise];
    for (at, end) in ends.into_iter().enumerate() {
        let mut world = Setup { magnet: Some(Vec::new()), ..Setup::default() }.build();
        let len = len_of(&world);
        let (first, second) = (join(&mut world, len), join(&mut world, len));
        assert_eq!((wishes(&mut world, first), wishes(&mut world, second)), (vec![0], vec![]));
        end(&mut world, first);
        assert_eq!(wishes(&mut world, second), [0], "end {at}: it has waited for nobody else");
    }
}

#[test]
fn a_session_that_waits_for_metadata_makes_no_wake_ups() {
    let mut world = seeking();
    let quiet = world.join(EXTENDED);
    world.settle();
    let first = world.session.poll_timeout().expect("keep-alives");
    assert!(first.as_micros() >= 90_000_000, "{first:?}");
    assert!(world.is_open(quiet));
}

#[test]
fn metadata_is_served_to_whoever_asks() {
    let mut world = Setup { padding: 40_000, ..Setup::seed() }.build();
    let (leech, said) = world.joined(EXTENDED);
    let hello = said.iter().find_map(|said| match said {
        Said::Extended(0, body) => Handshake::decode(body).ok(),
        _ => None,
    });
    let hello = hello.expect("we introduce ourselves");
    assert_eq!(hello.metadata_len, Some(len_of(&world)));
    assert_eq!(hello.upload_only, Some(true));
    world.send(leech, &offer(0));
    let mut info = Vec::new();
    for block in 0..3 {
        let mut ask = Vec::new();
        ut_metadata::encode_request(2, block, &mut ask);
        world.send(leech, &ask);
    }
    for said in world.hear(leech) {
        let Said::Extended(THEIR_ID, body) = said else { panic!("{said:?}") };
        let Ok(MetadataMessage::Data { at, .. }) = MetadataMessage::decode(&body) else { panic!() };
        info.extend_from_slice(&body[at..]);
    }
    assert!(world.metainfo.info == info);
    let mut ask = Vec::new();
    ut_metadata::encode_request(2, 3, &mut ask);
    world.send(leech, &ask);
    let said = world.hear(leech);
    assert!(
        matches!(&said[..], [Said::Extended(THEIR_ID, body)]
        if MetadataMessage::decode(body) == Ok(MetadataMessage::Reject(3))),
        "{said:?}"
    );
}

#[test]
fn a_flood_of_requests_for_metadata_is_refused_and_then_closed() {
    let mut world = Setup { padding: 40_000, ..Setup::seed() }.build();
    let flooder = world.join(EXTENDED);
    world.send(flooder, &offer(0));
    world.hear(flooder);
    world.stall(flooder);
    let mut ask = Vec::new();
    ut_metadata::encode_request(2, 1, &mut ask);
    world.send(flooder, &ask.repeat(1_000));
    assert!(world.is_open(flooder));
    world.read(flooder, usize::MAX);
    let answers = world.hear(flooder);
    let sent =
        answers.iter().filter(|said| matches!(said, Said::Extended(_, b) if b.len() > 9_000));
    assert!(sent.count() <= 8, "two whole copies, and what a second allows");
    world.send(flooder, &ask.repeat(3_000));
    world.settle();
    assert_eq!(
        world.closed_with(flooder).as_deref(),
        Some("misbehaved: flooded with useless messages")
    );
}

#[test]
fn a_private_torrent_lets_go_of_peers_that_its_link_has_named() {
    let link = vec![("10.0.9.1".to_owned(), 6881)];
    let mut world =
        Setup { magnet: Some(link), padding: 100, private: true, ..Setup::default() }.build();
    let len = len_of(&world);
    let seed = join(&mut world, len);
    let named = world.answer_dial();
    let handshake = encode(EXTENDED, world.info_hash, peer_id(200));
    world.send(named, &handshake);
    assert!(world.is_open(named));
    serve(&mut world, seed, false);
    assert!(told(&world).is_some_and(|it| it.private));
    assert_eq!(world.closed_with(named).as_deref(), Some("closed: the torrent is private"));
    world.advance_s(120);
    assert!(world.dials.is_empty() && world.is_open(seed));
    go_on(&mut world);
}

#[test]
fn a_host_of_the_link_that_is_found_too_late_is_not_dialled_if_the_torrent_is_private() {
    let link = vec![("late.example".to_owned(), 6881), ("later.example".to_owned(), 6881)];
    let mut world = Setup { magnet: Some(link), private: true, ..Setup::default() }.build();
    let len = len_of(&world);
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    world.resolve(&["10.0.9.1"]);
    assert!(world.dials.is_empty(), "{:?}", world.dials);
    go_on(&mut world);
    world.resolve(&["10.0.9.2"]);
    assert!(world.dials.is_empty() && world.status().known == 0, "{:?}", world.dials);
}

#[test]
fn who_is_dialled_first_does_not_depend_on_whether_the_metadata_is_here() {
    let peers: Vec<_> = (1..=20).map(|host| (format!("10.9.{host}.1"), 6881)).collect();
    let dialled = |setup: Setup| -> Vec<SocketAddr> {
        setup.build().dials.iter().map(|(_, addr)| *addr).collect()
    };
    let known = dialled(Setup { peers: peers.clone(), ..Setup::default() });
    assert_eq!((dialled(Setup { magnet: Some(peers), ..Setup::default() }), 20), (known, 20));
}

#[test]
fn a_torrent_that_turns_out_to_be_all_here_says_to_who_stayed_that_it_only_uploads() {
    let have = (0..8).collect();
    let mut world = Setup { magnet: Some(Vec::new()), have, ..Setup::default() }.build();
    let watcher = world.join(EXTENDED);
    let mut hello = Vec::new();
    extended::message(0, &mut hello, |out| out.extend(b"d1:md11:upload_onlyi9eee"));
    world.send(watcher, &hello);
    let len = len_of(&world);
    let seed = join(&mut world, len);
    serve(&mut world, seed, false);
    let metainfo = told(&world).expect("the metadata is here");
    let new = NewTorrent::new(metainfo, "/downloads".into(), Mode::Seed);
    world.session.add_torrent(new, world.now).expect("it is gone on with");
    world.settle();
    assert_eq!(world.status().phase, Phase::Seeding);
    let said = |said: &Said| matches!(said, Said::Extended(9, body) if *body == [1]);
    assert!(world.hear(watcher).iter().any(said));
}

#[test]
fn what_is_right_and_of_no_use_stops_the_torrent() {
    // Well-formed metadata of a v2 torrent, by its hash.
    let info = b"d9:file treede12:meta versioni2e4:name1:a12:piece lengthi16384ee";
    let mut world = Setup { magnet: Some(Vec::new()), ..Setup::default() }.build();
    let magnet = swarmloop::session::NewMagnet {
        info_hash: swarmloop::id::InfoHash(<sha1::Sha1 as sha1::Digest>::digest(info).into()),
        trackers: Vec::new(),
        link_peers: Vec::new(),
        peers: Vec::new(),
    };
    let hash = magnet.info_hash;
    world.torrent = world.session.add_magnet(magnet, world.now).expect("another");
    world.info_hash = hash;
    world.settle();
    let seed = join(&mut world, u32::try_from(info.len()).expect("short"));
    world.hear(seed);
    world.send(seed, &data(0, info));
    assert!(matches!(world.status().phase, Phase::Stopped(Some(_))), "{:?}", world.status().phase);
    assert!(!world.is_open(seed));
}

#[test]
fn without_the_extension_protocol_nobody_is_asked() {
    let mut world = seeking();
    let remote = world.join(FAST);
    world.send(remote, &[bytes_of(&[Message::HaveAll]), offer(100)].concat());
    assert_eq!(world.hear(remote), []);
    assert!(world.is_open(remote));
}

/// BEP 9 says `hostname:port`: a name is looked up like every other, and what it leads to is held
/// against the rule for addresses that somebody has made (DESIGN 15.16).
#[test]
fn peers_of_a_link_may_be_names_and_addresses_of_either_family() {
    let link = [
        ("peer.example", 6_881),
        ("2001:db8::7", 7_000),
        ("203.0.113.7", 7_001),
        ("mail.example", 25),
        ("224.0.0.1", 7_002),
        ("nowhere.example", 7_003),
    ];
    let link = link.map(|(host, port)| (host.to_owned(), port)).to_vec();
    let mut world = Setup { magnet: Some(link), ..Setup::default() }.build();
    let names: Vec<_> = world.lookups.iter().map(|(_, host, _)| host.clone()).collect();
    assert_eq!(names, ["peer.example", "mail.example", "nowhere.example"]);
    world.resolve(&["198.51.100.7", "2001:db8::8"]);
    world.resolve(&["198.51.100.25"]);
    world.resolve(&[]);
    let mut dialled: Vec<String> = world.dials.iter().map(|(_, addr)| addr.to_string()).collect();
    dialled.sort();
    let expected =
        ["198.51.100.7:6881", "203.0.113.7:7001", "[2001:db8::7]:7000", "[2001:db8::8]:6881"];
    assert_eq!(dialled, expected, "no mail server, and nobody where there is none");
    world.advance_s(600);
    assert!(world.lookups.is_empty(), "a name of a link is not looked up for ever");
}
