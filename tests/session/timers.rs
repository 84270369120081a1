//! What happens when nothing happens: keep-alives, silence, and sessions that sleep.

use swarmloop::proto::message::Message;
use swarmloop::time::Duration;

use crate::common::{FAST, PLAIN, Said, Setup, World};

const IDLE: &str = "timed out: nothing heard from the peer";

#[test]
fn a_keep_alive_is_sent_after_a_hundred_seconds_of_our_silence() {
    let mut world = World::leech();
    let remote = world.join(FAST);
    world.advance_s(60);
    world.say(remote, &[Message::KeepAlive]);
    assert_eq!(world.hear(remote), []);
    world.advance(Duration::from_millis(39_900));
    assert_eq!(world.hear(remote), []);
    world.advance(Duration::from_millis(200));
    assert_eq!(world.messages(remote), [Message::KeepAlive]);
    world.say(remote, &[Message::KeepAlive]);
    world.advance_s(101);
    assert_eq!(world.messages(remote), [Message::KeepAlive], "and again");
}

#[test]
fn what_we_send_puts_the_keep_alive_off() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.hear(leech);
    let block = world.block(0, 0);
    for _ in 0..5 {
        world.advance_s(60);
        world.say(leech, &[Message::Request(block)]);
        assert_eq!(world.hear(leech), [Said::Piece(block)]);
    }
}

#[test]
fn a_dialled_peer_to_which_we_have_nothing_to_say_gets_keep_alives_too() {
    let peers = vec![("10.9.9.9".to_owned(), 6881)];
    let mut world = Setup { peers, ..Setup::default() }.build();
    let remote = world.answer_dial();
    let handshake =
        swarmloop::proto::handshake::encode(PLAIN, world.info_hash, crate::common::peer_id(1));
    world.send(remote, &handshake);
    assert_eq!(world.hear(remote).len(), 1, "our handshake and no word more");
    world.advance_s(101);
    assert_eq!(world.messages(remote), [Message::KeepAlive]);
}

#[test]
fn a_peer_that_is_silent_for_140_seconds_is_closed() {
    let mut world = World::leech();
    let remote = world.join(FAST);
    world.advance_s(50);
    world.say(remote, &[Message::HaveNone]);
    world.advance(Duration::from_millis(139_900));
    assert!(world.is_open(remote));
    world.advance(Duration::from_millis(200));
    assert_eq!(world.closed_with(remote).as_deref(), Some(IDLE));
}

#[test]
fn a_peer_that_falls_silent_right_after_its_handshake_is_closed() {
    for reserved in [FAST, PLAIN] {
        let mut world = World::leech();
        let remote = world.join(reserved);
        world.advance(Duration::from_millis(139_900));
        assert!(world.is_open(remote));
        world.advance(Duration::from_millis(200));
        assert_eq!(world.closed_with(remote).as_deref(), Some(IDLE));
    }
}

#[test]
fn keep_alives_keep_a_peer_alive() {
    let mut world = World::leech();
    let remote = world.join(FAST);
    for _ in 0..20 {
        world.advance_s(120);
        world.say(remote, &[Message::KeepAlive]);
    }
    assert!(world.is_open(remote));
}

#[test]
fn one_byte_of_an_unfinished_message_a_minute_keeps_a_peer_but_not_its_requests() {
    let mut world = World::leech();
    let drip = world.join_seed();
    let asked = world.asked(drip);
    let bytes = world.piece_of(asked[0]);
    for byte in bytes.chunks(1).take(5) {
        world.send(drip, byte);
        world.advance_s(60);
    }
    assert!(world.is_open(drip) && world.peer(drip).snubbed);
    assert!(world.peer(drip).requests_out <= 1);
}

#[test]
fn a_session_without_peers_or_trackers_never_wakes_up() {
    for setup in [Setup::seed(), Setup::default()] {
        let mut world = setup.build();
        assert_eq!(world.session.poll_timeout(), None);
        // Nor once everybody has left.
        let leech = world.join_leech(FAST);
        world.hang_up(leech);
        world.advance_s(1_000);
        assert_eq!(world.session.poll_timeout(), None);
    }
}

#[test]
fn a_session_with_idle_peers_wakes_up_for_their_keep_alives_only() {
    let mut world = World::seed();
    let peers = [(); 3].map(|()| world.join(FAST));
    let mut wakes = 0;
    let end = world.now + Duration::from_secs(100);
    while let Some(at) = world.session.poll_timeout().filter(|at| *at < end) {
        world.now = at;
        world.settle();
        wakes += 1;
    }
    assert!(wakes <= 6, "{wakes} wake-ups in 100 s");
    assert!(peers.iter().all(|peer| world.is_open(*peer)));
}

#[test]
fn a_parked_reader_that_never_reads_is_closed() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.stall(leech);
    let block = world.block(0, 0);
    let many = vec![Message::Request(block); 20_000];
    world.say(leech, &many);
    assert!(world.is_parked(leech));
    world.advance_s(101);
    assert!(world.is_open(leech), "what waits may have been queued just now");
    // Deadlines that far ahead are seen to up to a second late, and there are two of them.
    world.advance_s(21);
    let taken_nothing = "timed out: the peer takes nothing of what waits for it";
    assert_eq!(world.closed_with(leech).as_deref(), Some(taken_nothing));
    assert_eq!(world.session.memory().lent, 0);
}
