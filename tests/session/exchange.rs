//! Downloading: who is asked for what, what becomes of requests that are not answered, and of data
//! that is wrong.

use std::collections::VecDeque;

use swarmloop::disk::selection::Selection;
use swarmloop::id::{BLOCK_LEN, Block, PieceIndex};
use swarmloop::proto::handshake::encode;
use swarmloop::proto::message::Message;
use swarmloop::session::io::{Event, Phase, StopReason};

use crate::common::{FAST, PLAIN, Remote, Said, Setup, World, bitfield, peer_id};

/// Two pieces, the second of which we have: one piece of four blocks is to be fetched.
fn one_piece() -> World {
    Setup::have([1]).pieces(2).build()
}

fn plain_seed(world: &mut World) -> Remote {
    let seed = world.join(PLAIN);
    world.send(seed, &bitfield(&[!0 << (8 - world.geometry.pieces())]));
    world.say(seed, &[Message::Unchoke]);
    seed
}

fn corrupt_contributors(world: &World) -> Vec<usize> {
    let events = world.events.iter();
    events
        .filter_map(|event| match event {
            Event::PieceCorrupt { contributors, .. } => Some(*contributors),
            _ => None,
        })
        .collect()
}

#[test]
fn a_download_ends_with_every_byte_on_disk_and_every_frame_back() {
    let mut world = World::leech();
    let seed = world.join_seed();
    world.serve(seed);
    assert!(world.disk_is_right());
    assert_eq!(world.status().phase, Phase::Seeding);
    assert_eq!((world.status().wasted, world.status().downloaded), (0, world.content.len() as u64));
    assert_eq!(world.session.memory().lent, 0);
    let complete = |event: &&Event| matches!(event, Event::Complete { downloaded: true, .. });
    assert_eq!(world.events.iter().filter(complete).count(), 1);
}

#[test]
fn a_piece_longer_than_the_pool_is_streamed_to_disk() {
    let setup = Setup::default().pieces(3).piece_blocks(64);
    let mut world = setup.config(|config| config.pool_bytes = 32 * u64::from(BLOCK_LEN)).build();
    let seed = world.join_seed();
    world.serve(seed);
    assert!(world.disk_is_right());
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn requests_are_whole_blocks_in_batches_and_no_block_is_asked_twice() {
    let mut world = Setup::default().pieces(64).build();
    let seed = world.join_seed();
    let first = world.asked(seed);
    assert_eq!(first.len(), 16);
    assert!(first.iter().all(|block| world.geometry.is_block(*block)));
    let mut all = first.clone();
    for block in &first[..2] {
        world.give(seed, &[*block]);
        assert_eq!(world.asked(seed), [], "requests leave in batches");
    }
    world.give(seed, &first[2..3]);
    let batch = world.asked(seed);
    assert!(batch.len() >= 4, "{batch:?}");
    all.extend(batch);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn we_are_interested_only_in_what_we_lack_and_ask_only_when_unchoked() {
    let mut world = Setup::have([0, 1, 2]).build();
    let remote = world.join(PLAIN);
    world.send(remote, &bitfield(&[0b1110_0000]));
    assert_eq!(world.hear(remote), []);
    world.say(remote, &[Message::Have(PieceIndex(5))]);
    assert_eq!(world.messages(remote), [Message::Interested]);
    world.say(remote, &[Message::Unchoke]);
    let asked = world.asked(remote);
    assert_eq!(asked, world.blocks_of(5));
    world.give(remote, &asked);
    let heard = world.messages(remote);
    assert!(heard.contains(&Message::NotInterested), "{heard:?}");
}

#[test]
fn without_bep_6_a_choke_drops_the_requests_and_an_unchoke_asks_again() {
    let mut world = World::leech();
    let seed = plain_seed(&mut world);
    let asked = world.asked(seed);
    world.say(seed, &[Message::Choke]);
    assert_eq!(world.peer(seed).requests_out, 0);
    // What had left before the choke is welcome all the same.
    world.give(seed, &asked[..1]);
    assert_eq!((world.status().downloaded, world.status().wasted), (u64::from(BLOCK_LEN), 0));
    world.say(seed, &[Message::Unchoke]);
    let again = world.asked(seed);
    assert!(!again.is_empty() && !again.contains(&asked[0]));
}

#[test]
fn with_bep_6_a_choke_leaves_the_requests_until_each_is_rejected() {
    let mut world = World::leech();
    let seed = world.join_seed();
    let asked = world.asked(seed);
    world.say(seed, &[Message::Choke]);
    assert_eq!(world.peer(seed).requests_out, asked.len());
    world.give(seed, &asked[..1]);
    let rejects: Vec<Message> =
        asked[1..].iter().map(|block| Message::RejectRequest(*block)).collect();
    world.say(seed, &rejects);
    assert_eq!((world.peer(seed).requests_out, world.asked(seed).len()), (0, 0));
    let other = world.join_seed();
    assert!(!world.asked(other).contains(&asked[0]));
}

#[test]
fn a_peer_that_rejects_everything_is_left_alone_until_it_unchokes_us_anew() {
    let mut world = World::leech();
    let seed = world.join_seed();
    let mut refused = 0;
    loop {
        let asked = world.asked(seed);
        if asked.is_empty() {
            break;
        }
        refused += asked.len();
        assert!(refused < 200, "it is asked forever");
        let rejects: Vec<Message> =
            asked.iter().map(|block| Message::RejectRequest(*block)).collect();
        world.say(seed, &rejects);
    }
    world.say(seed, &[Message::Choke, Message::Unchoke]);
    assert!(!world.asked(seed).is_empty());
}

#[test]
fn a_choking_peer_is_asked_for_the_pieces_that_it_allows() {
    let mut world = World::leech();
    let seed = world.join(FAST);
    world.say(seed, &[Message::HaveAll, Message::AllowedFast(PieceIndex(3))]);
    let asked = world.asked(seed);
    assert_eq!(asked, world.blocks_of(3));
    world.give(seed, &asked);
    assert_eq!((world.status().pieces_have, world.asked(seed).len()), (1, 0));
    world.say(seed, &[Message::AllowedFast(PieceIndex(6))]);
    assert_eq!(world.asked(seed), world.blocks_of(6));
}

#[test]
fn a_silent_peer_is_snubbed_after_a_minute_and_others_are_asked() {
    let mut world = World::leech();
    let silent = world.join_seed();
    assert_eq!(world.asked(silent).len(), 16);
    world.advance_s(59);
    assert!(!world.peer(silent).snubbed);
    world.advance_s(2);
    assert!(world.peer(silent).snubbed && world.peer(silent).requests_out <= 1);
    let other = world.join_seed();
    world.serve(other);
    assert!(world.disk_is_right());
}

#[test]
fn a_late_block_of_a_snubbed_peer_is_welcome_and_ends_the_snub() {
    let mut world = World::leech();
    let slow = world.join_seed();
    let asked = world.asked(slow);
    world.advance_s(61);
    assert!(world.peer(slow).snubbed);
    world.give(slow, &asked[3..4]);
    assert_eq!((world.status().downloaded, world.status().wasted), (u64::from(BLOCK_LEN), 0));
    assert!(!world.peer(slow).snubbed);
    world.give(slow, &asked);
    world.serve(slow);
    assert!(world.disk_is_right());
}

#[test]
fn a_peer_that_stops_in_the_middle_of_a_block_is_snubbed_and_its_block_comes_from_another() {
    let mut world = one_piece();
    let half = world.join_seed();
    let blocks = world.asked(half);
    let bytes = world.piece_of(blocks[2]);
    world.send(half, &bytes[..5_000]);
    world.advance_s(61);
    assert!(world.peer(half).snubbed);
    assert_eq!(world.asked(half), blocks[..1], "the next chance is one block");
    let other = world.join_seed();
    world.asked(other);
    // The half block's frame must not come on top of the piece's own four.
    world.disk.held = true;
    world.give(other, &[blocks[1], blocks[2], blocks[3], blocks[0]]);
    world.send(half, &bytes[5_000..]);
    world.run_disk(9);
    world.run_disk(9);
    assert!(world.disk_is_right());
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn a_snubbed_peer_that_was_only_slow_may_finish_its_block() {
    let mut world = one_piece();
    let slow = world.join_seed();
    let blocks = world.asked(slow);
    let bytes = world.piece_of(blocks[2]);
    world.send(slow, &bytes[..5_000]);
    world.advance_s(61);
    world.send(slow, &bytes[5_000..]);
    assert_eq!((world.status().downloaded, world.status().wasted), (u64::from(BLOCK_LEN), 0));
    assert!(!world.peer(slow).snubbed);
}

#[test]
fn the_rest_of_a_block_that_was_cut_by_a_snub_is_read_as_what_it_is() {
    let mut world = World::leech();
    let slow = world.join_seed();
    let asked = world.asked(slow);
    let bytes = world.piece_of(asked[0]);
    world.send(slow, &bytes[..5_000]);
    world.advance_s(61);
    world.send(slow, &bytes[5_000..]);
    world.say(slow, &[Message::Choke]);
    assert!(world.is_open(slow) && !world.peer(slow).unchoked_us);
}

#[test]
fn blocks_that_were_not_asked_for_are_skipped_and_beyond_a_mebibyte_banned() {
    let mut world = World::leech();
    let seed = world.join(FAST);
    world.say(seed, &[Message::HaveAll]);
    let block = world.block(2, 1);
    for _ in 0..64 {
        world.give(seed, &[block]);
    }
    assert!(world.is_open(seed) && world.status().pieces_open == 0);
    world.give(seed, &[block]);
    assert!(world.is_banned(seed));
    let text = "misbehaved: sent more than 1024 KiB of blocks not requested";
    assert_eq!(world.closed_with(seed).as_deref(), Some(text));
}

#[test]
fn an_answer_with_another_range_is_no_answer() {
    let mut world = World::leech();
    let seed = world.join_seed();
    let asked = world.asked(seed);
    let shifted = Block { begin: asked[0].begin + 1, len: 100, ..asked[0] };
    world.give(seed, &[shifted]);
    let shorter = Block { len: BLOCK_LEN - 1, ..asked[0] };
    world.give(seed, &[shorter]);
    // Wherever it claims to be: nothing is believed before it was asked for.
    let mut beyond = world.piece_of(asked[0]);
    beyond[5..9].copy_from_slice(&u32::MAX.to_be_bytes());
    world.send(seed, &beyond);
    assert_eq!(world.status().downloaded, 0);
    assert!(world.is_open(seed));
    world.give(seed, &asked);
    world.serve(seed);
    assert!(world.disk_is_right());
}

#[test]
fn a_peer_that_sends_every_block_again_and_again_is_banned_after_a_mebibyte() {
    let mut world = Setup::default().pieces(64).build();
    let seed = world.join_seed();
    let mut sent = 0;
    while world.is_open(seed) {
        let asked = world.asked(seed);
        assert!(!asked.is_empty());
        for block in asked {
            world.give(seed, &[block; 5]);
            sent += 1;
        }
        assert!(sent < 100, "{sent} blocks five times each");
    }
    assert!(world.is_banned(seed));
}

#[test]
fn what_was_cancelled_long_ago_may_still_come_from_one_who_was_slow_to_hear_of_it() {
    let mut world = Setup::default().pieces(60).build();
    // It has all but the first piece, so that it is no seed when we are one.
    let slow = world.join(FAST);
    let mut bits = [0xff; 8];
    (bits[0], bits[7]) = (0x7f, 0xf0);
    world.send(slow, &bitfield(&bits));
    world.say(slow, &[Message::Unchoke]);
    let mut asked = VecDeque::from(world.asked(slow));
    while asked.len() < 80 {
        let block = asked.pop_front().expect("it is asked for something");
        world.give(slow, &[block]);
        asked.extend(world.asked(slow));
    }
    let fast = world.join_seed();
    world.serve(fast);
    assert!(world.disk_is_right());
    let cancels = world.messages(slow).into_iter();
    let cancelled = cancels.filter(|message| matches!(message, Message::Cancel(_))).count();
    assert!(cancelled >= 70, "{cancelled} are more than a MiB");
    for _ in 0..4 {
        world.advance_s(60);
        world.say(slow, &[Message::KeepAlive]);
    }
    world.give(slow, asked.make_contiguous());
    assert!(world.is_open(slow), "{:?}", world.closed_with(slow));
}

#[test]
fn in_end_game_the_loser_of_a_race_is_cancelled() {
    let mut world = one_piece();
    let (slow, fast) = (world.join_seed(), world.join_seed());
    assert_eq!(world.asked(slow), world.blocks_of(0));
    let raced = world.asked(fast);
    assert_eq!(raced.len(), 4, "everything is out, so everything is raced for");
    world.give(fast, &raced[..3]);
    let cancels: Vec<Message> = raced[..3].iter().map(|block| Message::Cancel(*block)).collect();
    assert_eq!(world.messages(slow), cancels);
    // Its answers cross the cancels: that is nobody's fault.
    world.give(slow, &raced[..2]);
    assert!(world.is_open(slow));
    world.give(slow, &raced[3..]);
    assert!(world.disk_is_right());
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn both_racers_may_be_in_the_middle_of_the_same_block() {
    let mut world = one_piece();
    let (slow, fast) = (world.join_seed(), world.join_seed());
    let blocks = world.asked(slow);
    assert_eq!(world.asked(fast).len(), 4);
    let bytes = world.piece_of(blocks[0]);
    world.send(slow, &bytes[..9_000]);
    world.send(fast, &bytes[..8_000]);
    world.send(fast, &bytes[8_000..]);
    assert_eq!(world.messages(slow), [Message::Cancel(blocks[0])]);
    world.send(slow, &bytes[9_000..]);
    world.give(slow, &blocks[1..]);
    assert!(world.disk_is_right());
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn a_corrupt_piece_from_one_peer_alone_bans_it_at_once() {
    let mut world = one_piece();
    let liar = world.join_seed();
    let blocks = world.asked(liar);
    world.give(liar, &blocks[..3]);
    world.give_spoiled(liar, blocks[3]);
    assert_eq!(corrupt_contributors(&world), [1]);
    assert!(world.is_banned(liar));
    assert_eq!(world.closed_with(liar).as_deref(), Some("closed: banned"));
    let honest = world.join_seed();
    world.serve(honest);
    assert!(world.disk_is_right() && !world.is_banned(honest));
}

/// Two peers fetch a piece together; the second spoils its last block. Both are left unbanned.
fn spoiled_by_two(world: &mut World) -> (Remote, Remote) {
    let honest = plain_seed(world);
    let blocks = world.asked(honest);
    world.give(honest, &blocks[..2]);
    world.say(honest, &[Message::Choke]);
    let liar = plain_seed(world);
    let rest = world.asked(liar);
    assert_eq!(rest, blocks[2..]);
    world.give(liar, &rest[..1]);
    world.give_spoiled(liar, rest[1]);
    assert_eq!(corrupt_contributors(world), [2]);
    assert!(!world.is_banned(honest) && !world.is_banned(liar));
    (honest, liar)
}

#[test]
fn the_next_good_copy_names_who_spoiled_a_block_even_from_its_own_hand() {
    let mut world = one_piece();
    let (honest, liar) = spoiled_by_two(&mut world);
    world.serve(liar);
    assert!(world.disk_is_right());
    assert!(world.is_banned(liar) && !world.is_banned(honest));
}

#[test]
fn the_guilty_are_named_after_they_have_left_and_are_not_let_in_again() {
    let mut world = one_piece();
    let (honest, liar) = spoiled_by_two(&mut world);
    world.hang_up(liar);
    world.say(honest, &[Message::Unchoke]);
    world.serve(honest);
    assert!(world.disk_is_right());
    assert!(world.is_banned(liar) && !world.is_banned(honest));
    let again = world.knock("10.0.0.2:7000".parse().expect("an address")).expect("a stranger yet");
    world.send(again, &encode(FAST, world.info_hash, peer_id(1)));
    assert_eq!(world.closed_with(again).as_deref(), Some("closed: banned"));
}

#[test]
fn a_piece_that_failed_is_asked_from_one_peer_at_a_time() {
    let mut world = one_piece();
    let (honest, liar) = spoiled_by_two(&mut world);
    assert_eq!(world.asked(liar).len(), 4);
    world.say(honest, &[Message::Unchoke]);
    assert_eq!(world.asked(honest), []);
    world.hang_up(liar);
    assert_eq!(world.asked(honest).len(), 4);
}

#[test]
fn a_crowd_of_poisoners_is_banned_one_by_one_and_the_download_ends() {
    let mut world = Setup::default().pieces(12).build();
    let honest = world.join_seed();
    let liars: Vec<Remote> = (0..6).map(|_| world.join_seed()).collect();
    for _ in 0..400 {
        for liar in &liars {
            for block in world.asked(*liar) {
                world.give_spoiled(*liar, block);
            }
        }
        let asked = world.asked(honest);
        world.give(honest, &asked[..asked.len().min(3)]);
        world.give(honest, &asked[asked.len().min(3)..]);
    }
    assert!(world.disk_is_right(), "{:?}", world.status());
    assert!(!world.is_banned(honest));
    assert!(liars.iter().all(|liar| !world.is_open(*liar)));
    assert!(world.status().corrupt_pieces <= 20, "{:?}", world.status());
}

#[test]
fn seeds_are_closed_once_we_are_one_and_leechers_stay() {
    let mut world = World::leech();
    let seed = world.join_seed();
    let leech = world.join_leech(FAST);
    world.serve(seed);
    assert_eq!(world.closed_with(seed).as_deref(), Some("closed: both are seeds"));
    assert!(world.is_open(leech));
    let late = world.join(FAST);
    world.say(late, &[Message::HaveAll]);
    assert_eq!(world.closed_with(late).as_deref(), Some("closed: both are seeds"));
}

#[test]
fn a_leecher_that_becomes_a_seed_under_our_eyes_is_closed_by_a_seed() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    for piece in 0..8 {
        assert!(world.is_open(leech));
        world.say(leech, &[Message::Have(PieceIndex(piece))]);
    }
    assert_eq!(world.closed_with(leech).as_deref(), Some("closed: both are seeds"));
}

#[test]
fn a_new_piece_is_told_to_those_who_lack_it_and_not_to_those_who_have_it() {
    let mut world = one_piece();
    let lacks = world.join_leech(FAST);
    let has = world.join(PLAIN);
    world.send(has, &bitfield(&[0b1000_0000]));
    let seed = world.join_seed();
    world.hear(lacks);
    world.hear(has);
    world.serve(seed);
    let have = Said::Message(Message::Have(PieceIndex(0)));
    assert!(world.disk_is_right());
    assert_eq!(world.hear(lacks).iter().filter(|said| **said == have).count(), 1);
    assert!(!world.hear(has).contains(&have));
}

#[test]
fn a_disk_that_fails_stops_the_torrent_and_says_so() {
    let mut world = World::leech();
    let seed = world.join_seed();
    let leech = world.join_leech(FAST);
    world.disk.fails_writes = true;
    world.serve(seed);
    assert_eq!(world.status().phase, Phase::Stopped(Some(StopReason::Disk)));
    for remote in [seed, leech] {
        let text = "closed: the torrent stopped";
        assert_eq!(world.closed_with(remote).as_deref(), Some(text));
        assert!(!world.is_open(remote) && !world.is_banned(remote));
    }
    let disk: Vec<String> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Disk { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(disk, ["cannot write \"file\": it is broken"]);
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn a_disk_that_fails_while_streaming_a_long_piece_stops_the_torrent_too() {
    let setup = Setup::default().pieces(3).piece_blocks(64);
    let mut world = setup.config(|config| config.pool_bytes = 32 * u64::from(BLOCK_LEN)).build();
    let seed = world.join_seed();
    world.disk.fails_writes = true;
    world.serve(seed);
    assert_eq!(world.status().phase, Phase::Stopped(Some(StopReason::Disk)));
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn a_piece_that_is_being_written_when_the_session_ends_is_counted() {
    let mut world = one_piece();
    let seed = world.join_seed();
    world.disk.held = true;
    world.serve(seed);
    world.session.shutdown(world.now);
    world.settle();
    assert!(!world.session.is_idle());
    world.run_disk(9);
    assert!(world.session.is_idle() && world.disk_is_right());
    assert_eq!(world.status().pieces_have, 2);
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn a_late_bitfield_stands_for_many_haves() {
    // aria2 1.36 sends one when twenty pieces and more have come since it last spoke of them.
    let mut world = World::leech();
    let remote = world.join(FAST);
    world.say(remote, &[Message::HaveNone, Message::Have(PieceIndex(0))]);
    world.send(remote, &bitfield(&[0b1110_0000]));
    assert!(world.is_open(remote));
    assert_eq!(world.peer(remote).pieces_have, 3);
    world.say(remote, &[Message::HaveAll]);
    assert_eq!(world.peer(remote).pieces_have, world.status().pieces);
    world.hang_up(remote);
}

#[test]
fn completion_is_told_once_the_last_touches_for_all_that_is_wanted_are_made() {
    let mut world = Setup::have(0..7).build();
    let seed = world.join_seed();
    world.disk.held = true;
    world.serve(seed);
    world.run_disk(1);
    let select = |world: &mut World| {
        world.session.set_selection(world.torrent, Selection::all(), world.now);
        world.settle();
    };
    // The last touches are under way when something else is wanted, which is there.
    select(&mut world);
    let complete = |world: &World| {
        world.events.iter().filter(|event| matches!(event, Event::Complete { .. })).count()
    };
    world.run_disk(1);
    assert_eq!(complete(&world), 0, "those for what is wanted now are not made");
    world.run_disk(1);
    assert_eq!((complete(&world), world.status().phase), (1, Phase::Seeding));
}

#[test]
fn a_piece_longer_than_what_open_pieces_share_at_first_is_asked_for_at_once() {
    // The last piece is a short one, and here.
    let mut world = Setup::have([1]).pieces(2).piece_blocks(900).build();
    let seed = world.join_seed();
    assert!(!world.asked(seed).is_empty(), "nothing is under way that could change anything");
}
