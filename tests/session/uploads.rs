//! Uploading: what is read from disk for whom and when, and what becomes of greedy and slow
//! readers.

use swarmloop::id::{BLOCK_LEN, Block, PieceIndex};
use swarmloop::proto::extended;
use swarmloop::proto::message::Message;
use swarmloop::session::io::{Event, Phase, StopReason};

use crate::common::{EXTENDED, FAST, PLAIN, Remote, Said, Setup, World, bitfield};

fn requests(blocks: &[Block]) -> Vec<Message> {
    blocks.iter().copied().map(Message::Request).collect()
}

/// Asks for every block, and asks so often that far more than the queue's limit is asked for.
fn flood(world: &mut World, remote: Remote, count: usize, len: u32) {
    let pieces = world.geometry.pieces() - 1;
    let slots = (world.geometry.piece_len() / len).min(7);
    let messages: Vec<Message> = (0..count)
        .map(|at| {
            let at = u32::try_from(at).expect("small");
            let piece = PieceIndex(at % pieces);
            Message::Request(Block { piece, begin: at / pieces % slots * len, len })
        })
        .collect();
    world.say(remote, &messages);
}

#[test]
fn an_interested_peer_is_unchoked_at_once_while_there_are_slots() {
    let mut world = Setup::seed().config(|config| config.unchoke_slots = 2).build();
    let leechers = [FAST, PLAIN, FAST].map(|reserved| world.join_leech(reserved));
    let unchoked = leechers.map(|leech| world.messages(leech).contains(&Message::Unchoke));
    assert_eq!(unchoked, [true, true, false]);
    world.hang_up(leechers[0]);
    world.advance_s(1);
    assert!(world.messages(leechers[2]).contains(&Message::Unchoke), "the slot is given on");
}

#[test]
fn a_leecher_gets_the_whole_torrent() {
    for reserved in [FAST, PLAIN] {
        let mut world = World::seed();
        let leech = world.join_leech(reserved);
        let all: Vec<Block> = (0..8).flat_map(|piece| world.blocks_of(piece)).collect();
        world.say(leech, &requests(&all));
        assert_eq!(world.given(leech), all);
        assert_eq!(world.status().uploaded, world.content.len() as u64);
        assert_eq!(world.session.memory().lent, 0);
    }
}

#[test]
fn consecutive_requests_are_one_read_and_a_read_is_at_most_sixteen_blocks() {
    let mut world = Setup::seed().piece_blocks(32).build();
    let leech = world.join_leech(FAST);
    world.disk.held = true;
    let mut wanted = world.blocks_of(2)[..20].to_vec();
    wanted.extend([world.block(3, 5), world.block(3, 7), world.block(3, 8)]);
    world.say(leech, &requests(&wanted));
    let read = |piece, slot, blocks| (PieceIndex(piece), slot * BLOCK_LEN, blocks);
    let expected = [read(2, 0, 16), read(2, 16, 4), read(3, 5, 1), read(3, 7, 2)];
    assert_eq!(world.disk.reads, expected);
    world.disk.held = false;
    world.settle();
    assert_eq!(world.given(leech), wanted);
}

#[test]
fn what_is_read_ahead_for_one_peer_is_two_runs() {
    let mut world = Setup::seed().piece_blocks(64).build();
    let leech = world.join_leech(FAST);
    world.disk.held = true;
    let wanted = world.blocks_of(0);
    world.say(leech, &requests(&wanted));
    let blocks: usize = world.disk.reads.iter().map(|(_, _, blocks)| blocks).sum();
    assert_eq!(blocks, 32);
}

#[test]
fn uploads_keep_to_their_share_of_the_pool() {
    let setup = Setup::seed().piece_blocks(64);
    let mut world = setup.config(|config| config.pool_bytes = 64 * u64::from(BLOCK_LEN)).build();
    let leechers = [(); 4].map(|()| world.join_leech(FAST));
    world.disk.held = true;
    let wanted = world.blocks_of(0);
    for leech in leechers {
        world.say(leech, &requests(&wanted));
    }
    let blocks: usize = world.disk.reads.iter().map(|(_, _, blocks)| blocks).sum();
    assert_eq!(blocks, 12, "four of five parts of a quarter of 64 frames");
    world.disk.held = false;
    world.settle();
    for leech in leechers {
        assert_eq!(world.given(leech), wanted);
    }
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn two_slow_readers_cannot_starve_a_third() {
    let setup = Setup::seed().piece_blocks(64);
    let mut world = setup.config(|config| config.pool_bytes = 16 << 20).build();
    let [slow, slower, quick] = [(); 3].map(|()| world.join_leech(FAST));
    for remote in [slow, slower] {
        world.stall(remote);
        flood(&mut world, remote, 2_000, BLOCK_LEN);
    }
    let wanted: Vec<Block> = (0..7).flat_map(|piece| world.blocks_of(piece)).collect();
    world.say(quick, &requests(&wanted));
    assert_eq!(world.given(quick), wanted);
}

#[test]
fn who_waits_for_the_pool_is_served_although_those_before_it_are_gone() {
    // The smallest pool: one frame for uploads.
    let mut world = Setup::seed().config(|config| config.pool_bytes = 0).build();
    let [holder, goes, sulks, waits] = [(); 4].map(|()| world.join_leech(FAST));
    world.stall(holder);
    let block = world.block(0, 0);
    for remote in [holder, goes, sulks, waits] {
        world.say(remote, &[Message::Request(block)]);
    }
    world.hang_up(goes);
    world.say(sulks, &[Message::Cancel(block)]);
    assert_eq!(world.given(waits), []);
    world.read(holder, usize::MAX);
    assert_eq!(world.given(waits), [block]);
}

/// Returns the pieces that are granted.
fn granted(said: &[Said]) -> Vec<PieceIndex> {
    let granted = |said: &Said| match said {
        Said::Message(Message::AllowedFast(piece)) => Some(*piece),
        _ => None,
    };
    said.iter().filter_map(granted).collect()
}

#[test]
fn requests_while_choked_are_rejected_with_bep_6_and_met_with_silence_without() {
    for (reserved, answer) in [(FAST, true), (PLAIN, false)] {
        let mut world = Setup::seed().config(|config| config.unchoke_slots = 0).build();
        let (leech, said) = world.joined(reserved);
        let granted = granted(&said);
        let refused = (0..8).find(|piece| !granted.contains(&PieceIndex(*piece)));
        let block = world.block(refused.expect("8 are more than 5"), 0);
        world.say(leech, &[Message::Interested, Message::Request(block)]);
        let expected = answer.then_some(Said::Message(Message::RejectRequest(block)));
        assert_eq!(world.hear(leech), expected.into_iter().collect::<Vec<_>>());
        assert!(world.is_open(leech) && world.disk.reads.is_empty());
    }
}

#[test]
fn a_newcomer_may_request_its_allowed_fast_pieces_while_choked() {
    let mut world = Setup::seed().config(|config| config.unchoke_slots = 0).build();
    let (leech, said) = world.joined(FAST);
    let granted = granted(&said);
    assert_eq!((granted.len(), said.len()), (5, 6), "{said:?}");
    let wanted: Vec<Block> = granted.iter().map(|piece| world.block(piece.0, 0)).collect();
    world.say(leech, &[Message::Interested]);
    world.say(leech, &requests(&wanted));
    assert_eq!(world.given(leech), wanted);
}

#[test]
fn a_piece_that_we_lack_is_not_served_nor_granted() {
    let mut world = Setup::have([2]).build();
    let leech = world.join_leech(FAST);
    let granted =
        |message: &Message| matches!(message, Message::AllowedFast(piece) if piece.0 != 2);
    assert!(!world.messages(leech).iter().any(granted));
    let (missing, present) = (world.block(1, 0), world.block(2, 0));
    world.say(leech, &requests(&[missing, present]));
    assert_eq!(
        world.hear(leech),
        [Said::Message(Message::RejectRequest(missing)), Said::Piece(present)]
    );
}

#[test]
fn a_fast_reader_does_not_take_the_pool_past_those_in_line() {
    let mut world = Setup::seed().config(|config| config.pool_bytes = 0).build();
    let [fast, waits] = [(); 2].map(|()| world.join_leech(FAST));
    world.hear(fast);
    world.stall(fast);
    flood(&mut world, fast, 100, BLOCK_LEN);
    let block = world.block(0, 0);
    world.say(waits, &[Message::Request(block)]);
    for _ in 0..3 {
        world.read(fast, BLOCK_LEN as usize + 13);
    }
    assert_eq!(world.given(waits), [block]);
}

#[test]
fn a_cancel_before_the_read_takes_the_request_back() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.hear(leech);
    let [kept, cancelled] = [world.block(0, 0), world.block(3, 1)];
    let messages =
        [Message::Request(kept), Message::Request(cancelled), Message::Cancel(cancelled)];
    world.say(leech, &messages);
    let reject = Said::Message(Message::RejectRequest(cancelled));
    assert_eq!(world.hear(leech), [reject, Said::Piece(kept)]);
    assert_eq!(world.disk.reads.len(), 1);
}

#[test]
fn a_cancel_that_crosses_its_block_is_nobodys_fault() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.hear(leech);
    world.disk.held = true;
    let block = world.block(0, 0);
    world.say(leech, &[Message::Request(block)]);
    world.say(leech, &[Message::Cancel(block)]);
    world.disk.held = false;
    world.settle();
    world.say(leech, &[Message::Cancel(block)]);
    assert_eq!(world.hear(leech), [Said::Piece(block)]);
    assert!(world.is_open(leech));
}

#[test]
fn requests_beyond_the_limit_are_rejected_and_all_that_are_taken_are_answered() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.hear(leech);
    world.disk.held = true;
    flood(&mut world, leech, 5_000, 1_024);
    assert!(world.peer(leech).requests_in <= 2_000 + 32);
    let rejects = world.messages(leech);
    assert!(rejects.iter().all(|message| matches!(message, Message::RejectRequest(_))));
    assert!((2_968..=3_000).contains(&rejects.len()), "{}", rejects.len());
    world.disk.held = false;
    world.settle();
    assert_eq!(world.given(leech).len() + rejects.len(), 5_000);
    assert!(world.is_open(leech));
}

#[test]
fn without_bep_6_requests_beyond_the_limit_are_dropped() {
    let mut world = World::seed();
    let leech = world.join_leech(PLAIN);
    world.hear(leech);
    world.disk.held = true;
    flood(&mut world, leech, 5_000, 1_024);
    assert!(world.peer(leech).requests_in <= 2_000 + 32);
    world.disk.held = false;
    world.settle();
    let given = world.hear(leech);
    assert!((2_000..=2_032).contains(&given.len()), "{}", given.len());
}

#[test]
fn a_flooder_that_reads_nothing_is_parked_and_goes_on_once_it_reads() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.hear(leech);
    world.stall(leech);
    flood(&mut world, leech, 20_000, 1_024);
    // 64 KiB of rejects and what one read holds: far from 20 000.
    assert!(world.is_parked(leech));
    assert!(world.peer(leech).requests_in <= 2_000 + 32);
    assert!(world.unread(leech) > 100_000, "{} bytes are left to TCP", world.unread(leech));
    world.read(leech, 1_000);
    world.read(leech, 3_000_000_000);
    assert!(!world.is_parked(leech));
    let answers = world.hear(leech);
    let given = answers.iter().filter(|said| matches!(said, Said::Piece(_))).count();
    assert_eq!(answers.len(), 20_000, "each request has its answer");
    assert!(given >= 2_000);
}

#[test]
fn a_peer_that_is_choked_again_hears_which_requests_fell() {
    let mut world = Setup::seed().config(|config| config.unchoke_slots = 1).build();
    let first = world.join_leech(FAST);
    let second = world.join_leech(FAST);
    world.stall(first);
    flood(&mut world, first, 200, BLOCK_LEN);
    world.advance_s(60);
    world.read(first, 1);
    world.advance_s(65);
    assert!(world.messages(second).contains(&Message::Unchoke), "its turn has come");
    assert!(world.is_open(first), "{:?}", world.closed_with(first));
    let (before, left) = (200, world.peer(first).requests_in);
    assert!(left < before, "what it may request while choked stays: {left}");
    world.read(first, usize::MAX);
    let heard = world.hear(first);
    let count = |wanted: fn(&Said) -> bool| heard.iter().filter(|said| wanted(said)).count();
    let given = count(|said| matches!(said, Said::Piece(_)));
    let rejected = count(|said| matches!(said, Said::Message(Message::RejectRequest(_))));
    assert!(given > 0 && rejected > 0);
    assert_eq!(given + rejected, 200, "each request is answered or rejected");
}

#[test]
fn a_read_that_fails_withdraws_its_piece_and_no_other() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    let pieces = world.status().pieces;
    world.hear(leech);
    world.disk.fails_reads = true;
    let bad = world.block(0, 0);
    world.say(leech, &[Message::Request(bad)]);
    let rejected = [Message::RejectRequest(bad)];
    assert_eq!(world.messages(leech), rejected);
    assert_eq!(lost(&world), [(1, "cannot read \"file\": it is broken".to_owned())]);
    let status = world.status();
    assert_eq!((status.phase, status.pieces_have), (Phase::Seeding, pieces - 1));
    // The next peers get all the others, and are not told of that one.
    world.disk.fails_reads = false;
    let good = world.block(1, 0);
    world.say(leech, &[Message::Request(bad), Message::Request(good)]);
    let heard = world.hear(leech);
    assert!(heard.contains(&Said::Message(Message::RejectRequest(bad))), "{heard:?}");
    assert!(heard.iter().any(|said| matches!(said, Said::Piece(block) if *block == good)));
    let (_, first) = world.joined(FAST);
    assert!(!first.contains(&Said::Message(Message::HaveAll)), "{first:?}");
    assert_eq!(world.session.memory().lent, 0);
}

#[test]
fn a_download_fetches_a_piece_again_that_cannot_be_read_once_but_not_twice() {
    let mut world = Setup::have([0, 1]).build();
    let leech = world.join_leech(FAST);
    world.disk.fails_reads = true;
    let bad = world.block(0, 0);
    world.say(leech, &[Message::Request(bad), Message::Request(world.block(0, 1))]);
    assert_eq!(lost(&world).len(), 1, "both of its blocks failed");
    assert_eq!(world.status().pieces_have, 1);
    world.disk.fails_reads = false;
    let partial = world.join(FAST);
    let mut first_only = vec![0; world.status().pieces.div_ceil(8) as usize];
    first_only[0] = 0b1000_0000;
    world.send(partial, &bitfield(&first_only));
    world.say(partial, &[Message::Unchoke]);
    world.serve(partial);
    assert_eq!(world.status().pieces_have, 2);
    world.hear(leech);
    world.say(leech, &[Message::Request(bad)]);
    assert_eq!(world.given(leech), [bad]);
    world.disk.fails_reads = true;
    world.say(leech, &[Message::Request(bad)]);
    assert_eq!(world.status().phase, Phase::Stopped(Some(StopReason::Disk)));
}

#[test]
fn who_speaks_of_it_is_told_of_a_piece_that_is_lost() {
    let mut world = Setup::have([0, 1]).build();
    let mut join = |ids: &str| {
        let remote = world.join(EXTENDED);
        let mut hello = Vec::new();
        extended::message(0, &mut hello, |out| {
            out.extend_from_slice(format!("d1:md{ids}ee").as_bytes());
        });
        world.send(remote, &hello);
        remote
    };
    let (listens, owns, is_deaf) =
        (join("11:lt_donthavei7e"), join("11:lt_donthavei7e"), join("6:ut_pexi7e"));
    world.say(owns, &[Message::Have(PieceIndex(0))]);
    let leech = world.join_leech(FAST);
    world.disk.fails_reads = true;
    let bad = world.block(0, 0);
    for remote in [listens, owns, is_deaf, leech] {
        world.hear(remote);
    }
    world.say(leech, &[Message::Request(bad)]);
    let told = Said::Extended(7, vec![0, 0, 0, 0]);
    assert_eq!(world.hear(listens), [told]);
    assert_eq!(world.hear(owns), [Said::Message(Message::Interested)], "it has the piece");
    assert_eq!(world.hear(is_deaf), []);
    assert!(world.is_open(is_deaf) && world.is_open(leech));
    // It is here again.
    world.disk.fails_reads = false;
    let seed = world.join_seed();
    world.serve(seed);
    assert!(world.messages(listens).contains(&Message::Have(PieceIndex(0))));
}

#[test]
fn what_waits_to_be_read_of_a_piece_is_refused_once_that_is_lost() {
    let mut world = Setup::seed().piece_blocks(64).build();
    let (slow, leech) = (world.join_leech(FAST), world.join_leech(FAST));
    world.hear(slow);
    world.stall(slow);
    let mut wanted = world.blocks_of(1);
    wanted.push(world.block(0, 3));
    world.say(slow, &requests(&wanted));
    world.disk.fails_reads = true;
    let bad = world.block(0, 0);
    world.say(leech, &[Message::Request(bad)]);
    assert_eq!(lost(&world).len(), 1);
    world.disk.fails_reads = false;
    let (mut given, mut rejected) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        world.read(slow, 1 << 20);
        for said in world.hear(slow) {
            match said {
                Said::Piece(block) => given.push(block),
                Said::Message(Message::RejectRequest(block)) => rejected.push(block),
                _ => {}
            }
        }
    }
    assert_eq!((given.len(), rejected), (64, vec![wanted[64]]));
}

/// Returns how many pieces were lost at a time, and why.
fn lost(world: &World) -> Vec<(u32, String)> {
    let lost = |event: &Event| match event {
        Event::PiecesLost { pieces, error, .. } => Some((*pieces, error.to_string())),
        _ => None,
    };
    world.events.iter().filter_map(lost).collect()
}

#[test]
fn blocks_that_are_read_for_a_peer_that_has_gone_come_back() {
    let mut world = World::seed();
    let leech = world.join_leech(FAST);
    world.disk.held = true;
    let wanted = world.blocks_of(0);
    world.say(leech, &requests(&wanted));
    world.reset(leech);
    world.run_disk(9);
    assert_eq!(world.session.memory().lent, 0);
}
