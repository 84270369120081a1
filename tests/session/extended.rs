//! What is said beyond BEP 3: who introduces itself as what, and what follows from it.

use swarmloop::id::PieceIndex;
use swarmloop::proto::extended::{self, Extension, Handshake};
use swarmloop::proto::message::Message;

use crate::common::{EXTENDED, FAST, Remote, Said, Setup, World};

fn hello(body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    extended::message(0, &mut out, |out| out.extend_from_slice(body.as_bytes()));
    out
}

fn message(extension: Extension, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    extended::message(extension.id(), &mut out, |out| out.extend_from_slice(body));
    out
}

fn introduced(world: &mut World, remote: Remote) -> Option<Handshake> {
    world.hear(remote).into_iter().find_map(|said| match said {
        Said::Extended(0, body) => Some(Handshake::decode(&body).expect("ours is right")),
        _ => None,
    })
}

#[test]
fn we_introduce_ourselves_once_to_who_speaks_the_protocol() {
    let mut world = Setup::default().config(|config| config.listen_port = 6881).build();
    let remote = world.join(EXTENDED);
    let (plain, said) = world.joined(FAST);
    assert_eq!(said, [Said::Message(Message::HaveNone)]);
    assert!(world.is_open(plain));
    world.send(remote, &hello("d1:v11:Some Client4:reqqi7ee"));
    assert_eq!(world.peer(remote).version.as_deref(), Some("Some Client"));
    assert_eq!(introduced(&mut world, remote), None, "once");
    let (_, said) = world.joined(EXTENDED);
    assert_eq!(said[0], Said::Message(Message::HaveNone), "pieces come first (BEP 6)");
    let Said::Extended(0, body) = &said[1] else { panic!("{said:?}") };
    let us = Handshake::decode(body).expect("ours is right");
    assert_eq!((us.port, us.request_limit, us.upload_only), (Some(6881), Some(2_000), None));
    assert!(us.version.is_some_and(|name| name.starts_with("swarmloop ")));
    assert_eq!(us.your_ip, Some("10.0.0.3".parse().expect("an address")));
}

#[test]
fn no_more_requests_are_outstanding_than_a_remote_takes() {
    let mut world = Setup::default().pieces(40).build();
    let seed = world.join(EXTENDED);
    world.send(seed, &hello("d4:reqqi3ee"));
    world.say(seed, &[Message::HaveAll, Message::Unchoke]);
    let mut out = world.asked(seed);
    assert_eq!(out.len(), 3);
    for _ in 0..30 {
        let block = out.remove(0);
        world.give(seed, &[block]);
        out.extend(world.asked(seed));
        assert!(out.len() <= 3, "{out:?}");
    }
}

#[test]
fn two_that_only_upload_have_nothing_to_say_to_each_other() {
    let mut world = World::seed();
    let seed = world.join(EXTENDED);
    world.send(seed, &hello("d11:upload_onlyi1ee"));
    assert_eq!(world.closed_with(seed).as_deref(), Some("closed: neither side wants anything"));
    let later = world.join(EXTENDED);
    world.send(later, &hello("d1:mdee"));
    assert!(world.is_open(later));
    world.send(later, &message(Extension::UploadOnly, &[1]));
    assert!(!world.is_open(later));
    // Who downloads wants what a partial seed has.
    let mut world = World::leech();
    let partial = world.join(EXTENDED);
    world.send(partial, &hello("d11:upload_onlyi1ee"));
    assert!(world.is_open(partial));
}

#[test]
fn who_asked_for_it_is_told_that_we_are_done() {
    let mut world = World::leech();
    let watcher = world.join(EXTENDED);
    world.send(watcher, &hello("d1:md11:upload_onlyi9eee"));
    let seed = world.join_seed();
    world.serve(seed);
    let told = |said: &Said| matches!(said, Said::Extended(9, body) if *body == [1]);
    assert!(world.hear(watcher).iter().any(told));
}

#[test]
fn a_piece_that_a_remote_has_lost_is_not_asked_of_it() {
    let mut world = World::leech();
    let seed = world.join(EXTENDED);
    world.say(seed, &[Message::HaveAll]);
    world.send(seed, &message(Extension::DontHave, &[0, 0, 0, 5]));
    assert_eq!(world.peer(seed).pieces_have, 7);
    world.say(seed, &[Message::Unchoke]);
    world.serve(seed);
    assert_eq!(world.status().pieces_have, 7);
    assert!(!world.peer(seed).am_interested);
    world.say(seed, &[Message::Have(PieceIndex(5))]);
    world.serve(seed);
    assert!(world.disk_is_right());
}

#[test]
fn a_piece_that_is_lost_must_exist() {
    let mut world = World::leech();
    let remote = world.join(EXTENDED);
    world.send(remote, &message(Extension::DontHave, &[0, 0, 0, 8]));
    let text = "misbehaved: named piece 8, which the torrent does not have";
    assert_eq!(world.closed_with(remote).as_deref(), Some(text));
    let short = world.join(EXTENDED);
    world.send(short, &message(Extension::DontHave, &[0, 0, 0]));
    let text = "invalid bytes: extended message: lt_donthave of 3 bytes";
    assert_eq!(world.closed_with(short).as_deref(), Some(text));
}

#[test]
fn a_bomb_of_a_handshake_is_refused() {
    let mut world = World::leech();
    for (body, text) in [
        ("l".repeat(8_000), "more than 16 lists and dictionaries"),
        (format!("d1:ml{}ee", "0:".repeat(3_000)), "more than 2000 values"),
        ("d".to_owned(), "the input ends in the middle"),
    ] {
        let remote = world.join(EXTENDED);
        world.send(remote, &hello(&body));
        let closed = world.closed_with(remote).expect("closed");
        assert!(closed.starts_with("invalid bytes: extended message: "), "{closed}");
        assert!(closed.contains(text), "{closed}");
    }
    let giant = world.join(EXTENDED);
    world.send(giant, &[0, 0x10, 0, 0, 20, 0]);
    let text = "invalid bytes: message: message 20 too long (1048576 > 131072)";
    assert_eq!(world.closed_with(giant).as_deref(), Some(text));
}

#[test]
fn a_remote_that_introduces_itself_over_and_over_is_closed() {
    let mut world = World::leech();
    let remote = world.join(EXTENDED);
    let again = hello("d1:md11:ut_metadatai3eee");
    world.send(remote, &again.repeat(900));
    assert!(world.is_open(remote));
    world.send(remote, &again.repeat(200));
    let text = "misbehaved: flooded with useless messages";
    assert_eq!(world.closed_with(remote).as_deref(), Some(text));
}

#[test]
fn a_flood_of_what_leads_to_nothing_is_closed() {
    let flood = "misbehaved: flooded with useless messages";
    for (what, bytes) in [
        ("empty handshakes", hello("d1:mdee")),
        ("requests for no block", message(Extension::Metadata, b"d8:msg_typei0e5:piecei9ee")),
        ("refusals", message(Extension::Metadata, b"d8:msg_typei2e5:piecei0ee")),
        ("metadata", message(Extension::Metadata, b"d8:msg_typei1e5:piecei0eex")),
    ] {
        for magnet in [None, Some(Vec::new())] {
            let mut world = Setup { magnet, ..Setup::default() }.build();
            let remote = world.join(EXTENDED);
            world.send(remote, &hello("d1:md11:ut_metadatai3eee"));
            world.send(remote, &bytes.repeat(900));
            assert!(world.is_open(remote), "{what}");
            world.send(remote, &bytes.repeat(200));
            assert_eq!(world.closed_with(remote).as_deref(), Some(flood), "{what}");
        }
    }
}

#[test]
fn metadata_that_nobody_asked_for_is_held_against_its_sender_by_its_bytes() {
    let mut world = Setup { magnet: Some(Vec::new()), ..Setup::default() }.build();
    let remote = world.join(EXTENDED);
    let block = [&b"d8:msg_typei1e5:piecei0ee"[..], &[7; 16_384]].concat();
    let block = message(Extension::Metadata, &block);
    world.send(remote, &block.repeat(63));
    assert!(world.is_open(remote));
    world.send(remote, &block.repeat(2));
    let text = "misbehaved: sent more than 1024 KiB of blocks not requested";
    assert_eq!(world.closed_with(remote).as_deref(), Some(text));
}

#[test]
fn messages_that_we_have_not_asked_for_are_passed_over() {
    let mut world = World::leech();
    let remote = world.join(EXTENDED);
    let mut unknown = Vec::new();
    extended::message(77, &mut unknown, |out| out.extend_from_slice(b"whatever"));
    world.send(remote, &unknown);
    // BEP 9: unknown kinds of messages are to be ignored.
    world.send(remote, &message(Extension::Metadata, b"d8:msg_typei9e5:piecei0ee"));
    world.say(remote, &[Message::HaveNone]);
    assert!(world.is_open(remote));
}
