//! Limits on payload, to the byte: what is read and sent when, and what does not wait.

use swarmloop::id::{BLOCK_LEN, Block};
use swarmloop::proto::message::{Message, PIECE_HEADER_LEN};
use swarmloop::rate::RateLimits;
use swarmloop::time::Duration;

use crate::common::{FAST, PLAIN, Remote, Setup, World};

const MS: Duration = Duration::from_millis(1);

fn down(down: u64) -> Setup {
    Setup::default().config(|config| config.limits = RateLimits { down, up: 0 })
}

fn up(up: u64) -> Setup {
    Setup::seed().config(|config| config.limits = RateLimits { down: 0, up })
}

/// A seed sends `blocks` blocks that it was asked for. Returns it and how many bytes that were.
fn sending(world: &mut World, blocks: usize) -> (Remote, usize) {
    let seed = world.join_seed();
    let asked: Vec<Block> = world.asked(seed).into_iter().take(blocks).collect();
    let bytes: Vec<u8> = asked.iter().flat_map(|block| world.piece_of(*block)).collect();
    assert_eq!(asked.len(), blocks, "it was asked for as many");
    world.queue(seed, &bytes);
    (seed, bytes.len())
}

/// Returns how much payload is among the first `n` bytes of a stream of whole blocks.
fn payload_in(n: usize) -> usize {
    let message = PIECE_HEADER_LEN + BLOCK_LEN as usize;
    n / message * BLOCK_LEN as usize + (n % message).saturating_sub(PIECE_HEADER_LEN)
}

#[test]
fn payload_is_read_to_the_byte_and_never_ahead_of_the_limit() {
    for limit in [1_000, 30_000, 400_000] {
        let mut world = down(limit).build();
        let start = world.now;
        let (seed, sent) = sending(&mut world, 2);
        let mut read = 0;
        for _ in 0..1_000 {
            world.advance(MS);
            let now = payload_in(sent - world.unread(seed));
            let us = u64::try_from((world.now - start).as_micros()).expect("a second");
            let due = usize::try_from(limit * us / 1_000_000).expect("small");
            assert!(now <= due, "{now} bytes by {:?}", world.now);
            let part = usize::try_from(limit / 5).expect("small");
            assert!(now - read <= part, "{} at once", now - read);
            read = now;
        }
        let due = usize::try_from(limit).expect("small").min(payload_in(sent));
        assert!(read + due / 20 >= due, "{read} of {due}");
    }
}

#[test]
fn messages_are_read_while_payload_waits() {
    let mut world = down(100).build();
    let (seed, _) = sending(&mut world, 2);
    world.advance_s(1);
    assert!(world.is_parked(seed));
    // Of these nobody has asked for anything, and of the seed what is behind its payload waits.
    let other = world.join(PLAIN);
    let haves: Vec<Message> =
        (0..7).map(|piece| Message::Have(world.block(piece, 0).piece)).collect();
    world.say(other, &haves);
    assert_eq!(world.peer(other).pieces_have, 7);
    world.say(other, &[Message::Interested]);
    assert!(world.peer(other).interested);
    // Whoever owes us a block is heard as long as it sends none.
    let third = world.join(FAST);
    world.say(third, &[Message::HaveAll, Message::Unchoke]);
    assert!(world.peer(third).requests_out > 0);
    world.say(third, &[Message::Interested, Message::Choke, Message::NotInterested]);
    assert!(!world.peer(third).unchoked_us && !world.peer(third).interested);
    world.say(third, &[Message::Interested]);
    assert!(world.peer(third).interested && world.unread(third) == 0);
}

#[test]
fn a_limit_that_is_lifted_lets_everything_through_at_once() {
    let mut world = down(100).build();
    let (seed, sent) = sending(&mut world, 2);
    world.advance_s(1);
    assert!(world.unread(seed) > sent / 2);
    world.session.set_limits(RateLimits::default(), world.now);
    world.settle();
    assert_eq!(world.unread(seed), 0);
    assert_eq!(usize::try_from(world.status().downloaded), Ok(sent - 2 * PIECE_HEADER_LEN));

    let mut world = up(100).build();
    let leech = asking(&mut world, 3);
    world.advance_s(1);
    assert_eq!(world.given(leech), []);
    world.session.set_limits(RateLimits::default(), world.now);
    world.settle();
    assert_eq!(world.given(leech).len(), 3);
}

/// A leecher asks for the first `blocks` blocks.
fn asking(world: &mut World, blocks: usize) -> Remote {
    let leech = world.join_leech(FAST);
    let all = (0..8).flat_map(|piece| world.blocks_of(piece)).take(blocks);
    let requests: Vec<Message> = all.map(Message::Request).collect();
    world.say(leech, &requests);
    leech
}

#[test]
fn payload_is_sent_to_the_byte_and_read_from_disk_no_earlier_than_it_can_leave() {
    for limit in [1_000, 30_000, 400_000] {
        let mut world = up(limit).build();
        let start = world.now;
        asking(&mut world, 24);
        let mut sent = 0;
        for _ in 0..1_000 {
            world.advance(MS);
            let now = world.status().uploaded;
            let us = u64::try_from((world.now - start).as_micros()).expect("a second");
            assert!(now <= limit * us / 1_000_000, "{now} bytes by {:?}", world.now);
            assert!(now - sent <= limit / 5, "{} at once", now - sent);
            sent = now;
            let read: usize = world.disk.reads.iter().map(|(.., blocks)| blocks).sum();
            let ahead = (read as u64 * u64::from(BLOCK_LEN)).saturating_sub(sent);
            assert!(ahead <= limit / 5 + 2 * u64::from(BLOCK_LEN), "{ahead} bytes ahead");
        }
        let due = limit.min(24 * u64::from(BLOCK_LEN));
        assert!(sent + due / 20 >= due, "{sent} of {due}");
    }
}

#[test]
fn messages_are_sent_while_payload_waits() {
    let mut world = Setup::have(0..7).config(|config| {
        config.limits = RateLimits { down: 0, up: 100 };
    });
    world.pieces = 8;
    let mut world = world.build();
    let busy = asking(&mut world, 20);
    let waiting = world.join_leech(FAST);
    let idle = world.join(FAST);
    world.say(idle, &[Message::HaveNone]);
    world.advance_s(1);
    for remote in [busy, waiting, idle] {
        world.messages(remote);
    }
    // The last piece comes: whoever has no payload of ours under way hears of it in this turn.
    let seed = world.join_seed();
    world.serve(seed);
    let have = Message::Have(world.block(7, 0).piece);
    world.advance_s(2);
    assert!(world.messages(idle).contains(&have) && world.messages(waiting).contains(&have));
    assert!(!world.messages(busy).contains(&have), "it stands behind a block on its way");
}

#[test]
fn whoever_waits_for_our_limit_is_not_taken_for_dead() {
    // A block takes half an hour, more than all patience.
    let mut world = up(10).build();
    let leeches = [asking(&mut world, 4), asking(&mut world, 4)];
    for _ in 0..60 {
        world.advance_s(20);
        for leech in leeches {
            world.say(leech, &[Message::KeepAlive]);
            assert!(world.is_open(leech), "{:?}", world.closed_with(leech));
        }
    }
    let mut world = down(10).build();
    let (seed, sent) = sending(&mut world, 2);
    world.advance_s(1_200);
    assert!(world.is_open(seed) && !world.peer(seed).snubbed);
    let read = sent - world.unread(seed);
    assert!((11_900..=12_050).contains(&read), "{read} bytes");
}

#[test]
fn a_remote_is_asked_for_no_more_than_its_part_of_the_limit() {
    let mut world = down(64 << 10).build();
    let seeds = [world.join_seed(), world.join_seed()];
    // Three seconds of 32 KiB are six blocks; the first one had no other beside it.
    let out = seeds.map(|seed| world.peer(seed).requests_out);
    assert!(out[0] <= 12 && out[1] <= 6 && out[1] >= 2, "{out:?}");
    let mut unlimited = World::leech();
    let seed = unlimited.join_seed();
    assert_eq!(unlimited.peer(seed).requests_out, 16);
}

#[test]
fn who_leaves_while_waiting_holds_nobody_up() {
    let mut world = up(1_000).build();
    let leeches = [0; 3].map(|_| asking(&mut world, 8));
    world.advance_s(3);
    world.hang_up(leeches[0]);
    world.reset(leeches[1]);
    let before = world.status().uploaded;
    world.advance_s(60);
    let sent = world.status().uploaded - before;
    // What was read for those who have gone is lost: a block each at most.
    assert!((60_000 - 2 * 16_384..=60_200).contains(&sent), "{sent}");
    world.hang_up(leeches[2]);
    assert_eq!(world.session.memory().lent, 0);
    assert!(world.session.poll_timeout().is_none_or(|at| at > world.now + MS));
}
