//! The picker's rules, one test each.

use super::*;

/// The slots `slots` of `piece`.
fn run(piece: u32, slots: std::ops::Range<u32>) -> Vec<(u32, u32)> {
    slots.map(|slot| (piece, slot)).collect()
}

// Rules 1 and 2: open pieces.

#[test]
fn an_owner_goes_on_with_its_own_piece_before_a_more_complete_one() {
    let mut bench = Bench::started(8, 4).seeds(1);
    let (five, both) = (bits(8, &[5]), bits(8, &[5, 6]));
    let opened = bench.pick(Ask { room: 3, ..ask_for(B, &five) });
    bench.receive_all(&opened, B);
    let six = bits(8, &[6]);
    assert_eq!(bench.pick(Ask { room: 1, ..ask_for(A, &six) }), [(6, 0)]);
    let picked = bench.pick(Ask { room: 4, ..ask_for(A, &both) });
    assert_eq!(picked, [(6, 1), (6, 2), (6, 3), (5, 3)]);
}

#[test]
fn several_owners_share_a_piece_before_another_is_opened() {
    let mut bench = Bench::new(8, 4).sequential().seeds(3);
    assert_eq!(bench.pick(Ask { room: 1, ..ask(A) }), [(0, 0)]);
    assert_eq!(bench.pick(Ask { room: 2, ..ask(B) }), [(0, 1), (0, 2)]);
    let (blocks, picked) = bench.pick_as(Ask { room: 3, ..ask(C) });
    assert_eq!(blocks, [(0, 3), (1, 0), (1, 1)]);
    assert_eq!(picked, Picked { opened: 4, endgame: 0, stop: Stop::Full });
}

/// Pieces 4, 5 and 6 open in this order, with 1, 2 and 1 blocks received and the others free.
fn three_open() -> Bench {
    let mut bench = Bench::started(8, 4).seeds(1);
    for (piece, received, owner) in [(4, 1, A), (5, 2, B), (6, 1, C)] {
        let picked = bench.pick(Ask { room: received, ..ask_for(owner, &bits(8, &[piece])) });
        bench.receive_all(&picked, owner);
    }
    bench
}

#[test]
fn the_most_complete_piece_is_shared_first_then_the_oldest() {
    let mut bench = three_open();
    let order: Vec<_> = bench.pick(Ask { room: 8, ..ask(D) });
    assert_eq!(order, [run(5, 2..4), run(4, 1..4), run(6, 1..4)].concat());
}

#[test]
fn a_slow_owner_helps_where_it_holds_up_least() {
    let mut bench = three_open();
    let order: Vec<_> = bench.pick(Ask { room: 8, slow: true, ..ask(D) });
    assert_eq!(order, [run(6, 1..4), run(4, 1..4), run(5, 2..4)].concat());
}

#[test]
fn in_sequential_order_the_first_open_piece_is_shared_first() {
    let mut bench = three_open().sequential();
    let order: Vec<_> = bench.pick(Ask { room: 8, ..ask(D) });
    assert_eq!(order, [run(4, 1..4), run(5, 2..4), run(6, 1..4)].concat());
}

// Rule 3: new pieces.

/// Twelve pieces, the first four verified. Piece 4 + i has 2 + i remotes, but 7 and 9 have only 1.
fn uneven() -> Bench {
    let mut bench = Bench::started(12, 16);
    bench.picker.remote_joined(Pieces::All);
    for piece in [4, 5, 6, 8, 10, 11] {
        (0..piece - 3).for_each(|_| bench.picker.remote_has(PieceIndex(piece)));
    }
    bench
}

#[test]
fn the_rarest_pieces_are_opened_first_and_ties_fall_at_random() {
    let mut firsts = [0; 12];
    for seed in 0..64 {
        let mut bench = uneven();
        bench.rng = Rng::new(seed);
        let pieces: Vec<u32> =
            (0..8).map(|_| bench.pick(Ask { room: 16, ..ask(A) })[0].0).collect();
        assert!(pieces[..2] == [7, 9] || pieces[..2] == [9, 7], "{pieces:?}");
        assert_eq!(pieces[2..], [4, 5, 6, 8, 10, 11]);
        firsts[pieces[0] as usize] += 1;
    }
    assert!(firsts[7] > 16 && firsts[9] > 16, "{firsts:?}");
}

#[test]
fn ties_are_spread_over_a_large_torrent() {
    let mut bench = Bench::started(10_000, 16).seeds(3);
    let mut parts = [0; 10];
    for _ in 0..400 {
        parts[bench.pick(Ask { room: 16, ..ask(A) })[0].0 as usize / 1_000] += 1;
    }
    assert!(parts.iter().all(|part| (10..100).contains(part)), "{parts:?}");
}

#[test]
fn a_rarer_piece_is_found_after_counts_fell() {
    let mut bench = Bench::started(2_000, 16).seeds(3);
    let mut without = Bitfield::full(2_000);
    without.remove(1_234);
    bench.pick(Ask { room: 16, ..ask(A) });
    bench.picker.remote_left(Pieces::All);
    bench.picker.remote_joined(Pieces::Some(&without));
    for _ in 0..5 {
        assert_eq!(bench.picker.availability(PieceIndex(1_234)), 2);
        let picked = bench.pick(Ask { room: 16, ..ask(A) });
        assert_eq!(picked[0].0, 1_234);
        for block in picked {
            bench.release(block, A);
        }
        bench.picker.close(PieceIndex(1_234), &mut Vec::new());
    }
}

#[test]
fn a_slow_owner_opens_the_most_common_piece() {
    let mut bench = uneven();
    assert_eq!(bench.pick(Ask { room: 1, slow: true, ..ask(A) }), [(11, 0)]);
    assert_eq!(bench.pick(Ask { room: 16, slow: true, ..ask(A) })[15], (10, 0));
}

#[test]
fn only_pieces_that_the_remote_has_are_opened() {
    let mut bench = uneven();
    let held = bits(12, &[0, 6, 8]);
    let (blocks, picked) = bench.pick_as(ask_for(A, &held));
    assert_eq!(blocks, [run(6, 0..16), run(8, 0..16)].concat());
    assert_eq!((picked.opened, picked.stop), (32, Stop::Busy));
}

#[test]
fn the_first_four_pieces_are_picked_at_random() {
    for have in 0..=4 {
        let mut rare = 0;
        for seed in 0..64 {
            let set: Vec<u32> = (0..have).collect();
            let mut bench = Bench::with(40, 16, &set).seeds(2);
            bench.rng = Rng::new(seed);
            (0..39).for_each(|piece| bench.picker.remote_has(PieceIndex(piece)));
            rare += u32::from(bench.pick(Ask { room: 16, ..ask(A) })[0].0 == 39);
        }
        assert_eq!(rare == 64, have == RANDOM_FIRST_PIECES, "{have} pieces: {rare}");
        assert!(rare == 64 || rare < 10, "{have} pieces: {rare}");
    }
}

#[test]
fn sequential_order_opens_by_number_and_slow_owners_from_the_end() {
    let mut bench = Bench::with(70, 16, &[1]).sequential().seeds(2);
    let mut next = |slow| bench.pick(Ask { room: 16, slow, ..ask(A) })[0].0;
    assert_eq!([next(false), next(false), next(true), next(true)], [0, 2, 69, 68]);
}

#[test]
fn tiny_pieces_are_opened_in_runs() {
    let mut bench = Bench::started(1_000, 1).seeds(2);
    let picked = bench.pick(Ask { room: 160, ..ask(A) });
    let breaks = picked.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 1).count();
    assert!((9..25).contains(&breaks), "{breaks} breaks in {picked:?}");
}

#[test]
fn a_piece_is_opened_only_with_credit_for_all_of_it() {
    let mut bench = Bench::started(8, 4).seeds(1);
    let (blocks, picked) = bench.pick_as(Ask { room: 6, credit: 7, ..ask(A) });
    assert_eq!((blocks.len(), picked.opened, picked.stop), (4, 4, Stop::NoCredit));
    let (blocks, picked) = bench.pick_as(Ask { room: 6, credit: 8, ..ask(A) });
    assert_eq!((blocks.len(), picked.opened, picked.stop), (6, 8, Stop::Full));
    let (blocks, picked) = bench.pick_as(Ask { credit: 0, ..ask(B) });
    assert_eq!((blocks.len(), picked.opened, picked.stop), (2, 0, Stop::NoCredit));
    let held: u32 = bench.picker.open_pieces().map(|open| open.credit).sum();
    assert_eq!((held, bench.picker.open_count()), (12, 3));
}

#[test]
fn the_end_of_a_pick_has_its_reason() {
    let mut bench = Bench::with(4, 2, &[0]).seeds(1);
    let (none, had, all) = (bits(4, &[]), bits(4, &[0]), bits(4, &[0, 1, 2, 3]));
    for (pieces, stop) in [(&none, Stop::NothingWanted), (&had, Stop::NothingWanted)] {
        assert_eq!(bench.pick_as(ask_for(A, pieces)).1.stop, stop);
        assert!(!bench.picker.is_interesting(Pieces::Some(pieces)));
    }
    assert_eq!(bench.pick_as(Ask { room: 0, ..ask(A) }).1.stop, Stop::Full);
    assert_eq!(bench.pick_as(ask_for(A, &all)).1.stop, Stop::Busy, "with all that there was");
    assert!(bench.picker.is_interesting(Pieces::Some(&all)));
    assert!(bench.picker.is_interesting(Pieces::All));
    for piece in [1, 2, 3] {
        bench.picker.verified(PieceIndex(piece));
    }
    assert_eq!(bench.pick_as(ask(B)).1.stop, Stop::NothingWanted);
    assert!(bench.picker.is_complete() && !bench.picker.is_interesting(Pieces::All));
}

#[test]
fn while_choked_only_the_allowed_pieces_that_the_remote_has_are_picked() {
    let mut bench = Bench::started(12, 2).seeds(3);
    bench.picker.remote_has(PieceIndex(6));
    bench.pick(Ask { room: 1, ..ask_for(B, &bits(12, &[5])) });
    bench.pick(Ask { room: 1, ..ask_for(B, &bits(12, &[8])) });
    let held = bits(12, &[0, 5, 6, 7, 8]);
    let allowed = [0, 5, 6, 7, 9].map(PieceIndex);
    let (blocks, picked) = bench.pick_as(Ask { only: Some(&allowed), ..ask_for(A, &held) });
    let order = [run(5, 1..2), run(7, 0..2), run(6, 0..2)].concat();
    assert_eq!((blocks, picked.stop), (order, Stop::Busy));
}

#[test]
fn while_choked_a_race_is_for_allowed_pieces_too() {
    let mut bench = Bench::with(2, 2, &[]).seeds(2);
    bench.pick(ask(A));
    let allowed = [PieceIndex(1)];
    let mut raced = bench.pick(Ask { only: Some(&allowed), endgame_room: 9, ..ask(B) });
    raced.sort_unstable();
    assert_eq!(raced, run(1, 0..2));
}

// Rule 4: end game.

#[test]
fn end_game_begins_when_every_wanted_block_is_requested() {
    let mut bench = Bench::new(2, 2).sequential().seeds(2);
    bench.pick(Ask { room: 3, ..ask(A) });
    assert!(!bench.picker.in_endgame());
    let (blocks, picked) = bench.pick_as(Ask { room: 2, endgame_room: 2, ..ask(B) });
    assert_eq!((blocks, picked.endgame), (vec![(1, 1), (0, 0)], 1));
    assert!(bench.picker.in_endgame());
    bench.release((1, 1), B);
    assert!(!bench.picker.in_endgame(), "a block is free again");
}

#[test]
fn a_piece_that_nobody_present_has_does_not_put_off_end_game() {
    let mut bench = Bench::new(3, 2).sequential();
    let held = bits(3, &[0, 1]);
    (0..2).for_each(|_| bench.picker.remote_joined(Pieces::Some(&held)));
    bench.pick(ask_for(A, &held));
    assert!(bench.picker.in_endgame());
    assert_eq!(bench.pick(Ask { endgame_room: 9, ..ask_for(B, &held) }).len(), 4);
    bench.picker.remote_has(PieceIndex(2));
    assert!(!bench.picker.in_endgame());
    assert_eq!(bench.pick(Ask { endgame_room: 9, ..ask_for(C, &held) }), []);
    bench.picker.remote_left(Pieces::Some(&bits(3, &[0, 1, 2])));
    assert!(bench.picker.in_endgame());
    bench.picker.remote_joined(Pieces::All);
    assert!(!bench.picker.in_endgame());
}

#[test]
fn races_are_for_the_least_raced_then_the_oldest_blocks_and_never_twice_with_one_owner() {
    let mut bench = Bench::new(1, 4).sequential().seeds(5);
    assert_eq!(bench.pick(Ask { room: 2, ..ask(A) }), run(0, 0..2));
    assert_eq!(bench.pick(Ask { room: 2, ..ask(B) }), run(0, 2..4));
    let race = |owner, room| Ask { endgame_room: room, ..ask(owner) };
    assert_eq!(bench.pick(race(C, 3)), run(0, 0..3), "the oldest first");
    assert_eq!(bench.pick(race(D, 2)), [(0, 3), (0, 0)], "the one with one owner first");
    assert_eq!(bench.pick(race(C, 9)), [(0, 3)], "C has the others");
    assert_eq!(bench.pick(race(A, 9)), [(0, 2)], "A has 0 and 1, and 3 has three owners");
    let (blocks, picked) = bench.pick_as(race(B, 9));
    assert_eq!((blocks, picked.endgame), (vec![(0, 1)], 1), "0 has three owners");
    assert_eq!(bench.pick(race(D, 9)), [], "all have three owners");
}

#[test]
fn slow_owners_do_not_race() {
    let mut bench = Bench::new(1, 4).seeds(2);
    bench.pick(ask(A));
    assert_eq!(bench.pick(Ask { slow: true, endgame_room: 9, ..ask(B) }), []);
}

#[test]
fn the_losers_of_a_race_are_cancelled() {
    let mut bench = Bench::new(1, 2).seeds(3);
    bench.pick(ask(A));
    for owner in [B, C] {
        bench.pick(Ask { endgame_room: 9, ..ask(owner) });
    }
    assert_eq!(bench.receive((0, 0), B), Ok(Progress::Partial));
    assert_eq!(bench.cancels(), [(A, (0, 0)), (C, (0, 0))]);
    assert_eq!(bench.receive((0, 0), A), Ok(Progress::Duplicate));
    assert_eq!(bench.receive((0, 1), A), Ok(Progress::Complete));
    assert_eq!(bench.cancels(), [(B, (0, 1)), (C, (0, 1))]);
    let contributors: Vec<_> = bench.picker.contributors(PieceIndex(0)).collect();
    assert_eq!(contributors, [(0, B), (1, A)]);
    assert_eq!(bench.picker.owners(PieceIndex(0)).count(), 0);
}

#[test]
fn a_raced_block_is_free_only_when_the_last_owner_let_go() {
    let mut bench = Bench::new(1, 1).seeds(3);
    bench.pick(ask(A));
    bench.pick(Ask { endgame_room: 1, ..ask(B) });
    bench.release((0, 0), A);
    assert_eq!(bench.pick(ask(C)), []);
    assert_eq!(bench.picker.owners(PieceIndex(0)).collect::<Vec<_>>(), [B]);
    bench.release((0, 0), B);
    assert_eq!(bench.pick(ask(C)), [(0, 0)]);
}

// Received, released, closed.

#[test]
fn a_block_that_never_could_be_asked_for_is_refused() {
    let mut bench = Bench::with(3, 2, &[2]).seeds(1);
    bench.pick(ask_for(A, &bits(3, &[0])));
    let block = |piece, begin, len| Block { piece: PieceIndex(piece), begin, len };
    for (block, error) in [
        (block(3, 0, BLOCK_LEN), PickError::BadBlock),
        (block(u32::MAX, 0, BLOCK_LEN), PickError::BadBlock),
        (block(0, 2 * BLOCK_LEN, BLOCK_LEN), PickError::BadBlock),
        (block(0, u32::MAX, BLOCK_LEN), PickError::BadBlock),
        (block(0, 1, BLOCK_LEN), PickError::BadBlock),
        (block(0, 0, BLOCK_LEN - 1), PickError::BadBlock),
        (block(0, 0, 0), PickError::BadBlock),
        (block(1, 0, BLOCK_LEN), PickError::NotOpen),
        (block(2, 0, BLOCK_LEN), PickError::AlreadyHave),
    ] {
        let result = bench.picker.received(block, A, &mut bench.cancels);
        assert_eq!(result, Err(error), "{block:?}");
        bench.picker.release(block, A);
        bench.picker.check_invariants();
    }
}

#[test]
fn a_released_block_is_picked_again_and_a_stale_release_is_harmless() {
    let mut bench = Bench::new(1, 4).seeds(2);
    bench.pick(ask(A));
    bench.release((0, 2), B);
    assert_eq!(bench.pick(ask(B)), [], "B was not asked");
    bench.release((0, 2), A);
    bench.release((0, 2), A);
    assert_eq!(bench.pick(ask(B)), [(0, 2)]);
    bench.release((0, 2), A);
    assert_eq!(bench.receive((0, 2), B), Ok(Progress::Partial));
    bench.release((0, 2), B);
    assert_eq!(bench.pick(ask(C)), []);
}

#[test]
fn a_late_block_is_kept_if_it_is_missing() {
    let mut bench = Bench::new(1, 4).seeds(2);
    bench.pick(ask(A));
    bench.release((0, 1), A);
    assert_eq!(bench.receive((0, 1), A), Ok(Progress::Partial), "free again");
    bench.release((0, 2), A);
    assert_eq!(bench.pick(ask(B)), [(0, 2)]);
    assert_eq!(bench.receive((0, 2), A), Ok(Progress::Partial), "asked from another meanwhile");
    assert_eq!(bench.cancels(), [(B, (0, 2))]);
    assert_eq!(bench.receive((0, 2), B), Ok(Progress::Duplicate));
}

#[test]
fn a_closed_piece_names_whom_to_cancel_and_starts_anew() {
    let mut bench = Bench::new(1, 3).seeds(2);
    bench.pick(ask(A));
    bench.receive_all(&[(0, 0)], A);
    bench.pick(Ask { endgame_room: 1, ..ask(B) });
    assert_eq!(bench.picker.close(PieceIndex(0), &mut bench.cancels), 3);
    let mut cancels = bench.cancels();
    cancels.sort_unstable();
    assert_eq!(cancels, [(A, (0, 1)), (A, (0, 2)), (B, (0, 1))]);
    assert_eq!(bench.receive((0, 1), A), Err(PickError::NotOpen));
    assert_eq!(bench.picker.close(PieceIndex(0), &mut bench.cancels), 0);
    let (blocks, picked) = bench.pick_as(ask(C));
    assert_eq!((blocks, picked.opened), (run(0, 0..3), 3));
}

#[test]
fn the_piece_to_reclaim_is_the_emptiest_that_only_slow_owners_hold() {
    let mut bench = Bench::started(9, 4).seeds(1);
    assert_eq!(bench.picker.reclaimable(|_| true), None, "nothing is open");
    for (owner, piece, received) in [(A, 4, 3), (B, 5, 2), (C, 6, 0), (A, 7, 1)] {
        let blocks = bench.pick(Ask { room: 4, ..ask_for(owner, &bits(9, &[piece])) });
        bench.receive_all(&blocks[..received], owner);
    }
    for (slow, piece) in [(vec![], None), (vec![A], Some(7)), (vec![A, C], Some(6))] {
        let reclaimed = bench.picker.reclaimable(|owner| slow.contains(&owner));
        assert_eq!(reclaimed, piece.map(PieceIndex), "{slow:?}");
    }
    assert_eq!(bench.fetch_one(D), 8);
    bench.picker.close(PieceIndex(6), &mut Vec::new());
    assert_eq!(bench.picker.reclaimable(|owner| owner == C), None, "8 is being verified");
    bench.release((5, 2), B);
    bench.release((5, 3), B);
    assert_eq!(bench.picker.reclaimable(|_| false), Some(PieceIndex(5)), "nobody is asked");
}

#[test]
fn a_verified_piece_is_had_and_gives_its_credit_back() {
    let mut bench = Bench::new(2, 2).seeds(1);
    let piece = PieceIndex(bench.fetch_one(A));
    assert!(bench.picker.is_wanted(piece) && !bench.picker.have().contains(piece.0));
    assert_eq!(bench.picker.verified(piece), 2);
    assert!(!bench.picker.is_wanted(piece) && bench.picker.have().contains(piece.0));
    assert_eq!((bench.picker.missing(), bench.picker.open_count()), (1, 0));
    assert_eq!(bench.receive((piece.0, 0), A), Err(PickError::AlreadyHave));
    assert_eq!(bench.picker.verified(piece), 0);
    let other = PieceIndex(bench.fetch_one(A));
    assert_eq!((bench.picker.verified(other), bench.picker.missing()), (2, 0));
    bench.picker.check_invariants();
    assert!(bench.picker.is_complete());
}

#[test]
fn a_piece_that_failed_is_picked_again_as_any() {
    let mut bench = Bench::new(1, 2).seeds(1);
    let piece = PieceIndex(bench.fetch_one(A));
    assert_eq!(bench.picker.failed(piece), 2);
    assert_eq!(bench.pick(Ask { room: 1, ..ask(A) }), [(0, 0)]);
    assert_eq!(bench.pick(Ask { room: 1, ..ask(B) }), [(0, 1)], "not exclusive");
}

#[test]
fn a_corrupt_piece_is_retried_before_pieces_that_were_never_opened() {
    let mut bench = Bench::started(1_000, 2).seeds(3);
    let bad = bench.fetch_one(A);
    assert_eq!(bench.picker.corrupt(PieceIndex(bad)), 2);
    // It is now the most common, which would make it the last by rarity.
    bench.picker.remote_has(PieceIndex(bad));
    assert_eq!(bench.pick(Ask { room: 1, ..ask(B) }), [(bad, 0)]);
}

#[test]
fn a_corrupt_piece_is_asked_from_one_owner_at_a_time_until_it_is_verified() {
    let mut bench = Bench::new(2, 3).sequential().seeds(3);
    assert_eq!(bench.fetch_one(A), 0);
    bench.picker.corrupt(PieceIndex(0));
    assert_eq!(bench.pick(Ask { room: 1, ..ask(B) }), [(0, 0)]);
    assert_eq!(bench.pick(Ask { room: 1, ..ask(C) }), [(1, 0)], "B is at piece 0");
    bench.pick(ask_for(C, &bits(2, &[1])));
    assert_eq!(bench.pick(ask(C)), []);
    assert_eq!(bench.pick(Ask { room: 1, ..ask(B) }), [(0, 1)]);
    assert_eq!(bench.receive((0, 2), A), Ok(Progress::Duplicate), "a late block of another");
    bench.receive_all(&[(0, 0)], B);
    bench.release((0, 1), B);
    assert_eq!(bench.pick(ask(C)), run(0, 1..3), "B let go");
    assert_eq!(bench.pick(Ask { endgame_room: 9, ..ask_for(D, &bits(2, &[0])) }), [], "no race");
    bench.picker.close(PieceIndex(0), &mut Vec::new());
    assert_eq!(bench.pick(Ask { room: 1, ..ask(B) }), [(0, 0)]);
    assert_eq!(bench.pick(ask(C)), [], "closing does not clear it");
}

#[test]
fn a_piece_that_was_verified_is_not_corrupt_any_more() {
    let mut bench = Bench::new(2, 3).sequential().seeds(2);
    for _ in 0..2 {
        assert_eq!(bench.fetch_one(A), 0);
        bench.picker.corrupt(PieceIndex(0));
    }
    assert_eq!(bench.fetch_one(A), 0);
    bench.picker.verified(PieceIndex(0));
    bench.picker.corrupt(PieceIndex(0));
    bench.picker.check_invariants();
    assert!(bench.picker.have().contains(0));
    assert_eq!(bench.pick(Ask { room: 1, ..ask(A) }), [(1, 0)]);
    assert_eq!(bench.pick(Ask { room: 1, ..ask(B) }), [(1, 1)]);
}

// Large pieces.

#[test]
fn a_large_piece_is_requested_no_further_than_its_window() {
    let mut bench = Bench::new(1, 10).seeds(2);
    bench.picker.set_window(4);
    let (blocks, picked) = bench.pick_as(Ask { credit: 4, ..ask(A) });
    assert_eq!((blocks, picked.opened), (run(0, 0..4), 4));
    assert!(!bench.picker.in_endgame(), "blocks beyond the window are not requested");
    assert_eq!(bench.pick(Ask { endgame_room: 9, ..ask(B) }), []);
    assert_eq!(bench.receive((0, 4), A), Err(PickError::NotOpen));
    bench.receive_all(&run(0, 0..2), A);
    bench.picker.flushed(PieceIndex(0), 2);
    assert_eq!(bench.pick(ask(B)), run(0, 4..6));
    bench.receive_all(&run(0, 2..4), A);
    bench.picker.flushed(PieceIndex(0), 2);
    bench.picker.flushed(PieceIndex(0), u32::MAX);
    assert_eq!(bench.pick(ask(B)), run(0, 6..10));
    assert!(bench.picker.in_endgame());
    bench.receive_all(&run(0, 4..9), B);
    assert_eq!(bench.receive((0, 9), B), Ok(Progress::Complete));
    assert_eq!(bench.picker.verified(PieceIndex(0)), 4);
}

#[test]
fn a_window_changes_nothing_for_smaller_pieces() {
    let mut bench = Bench::new(2, 4).seeds(1);
    bench.picker.set_window(4);
    let (blocks, picked) = bench.pick_as(ask(A));
    assert_eq!((blocks.len(), picked.opened), (8, 8));
    bench.picker.flushed(PieceIndex(0), 4);
    bench.picker.check_invariants();
}

// Steady state.

#[test]
fn tables_do_not_grow_once_they_are_warm() {
    let mut bench = Bench::started(400, 8).seeds(2);
    let mut out = Vec::with_capacity(64);
    let mut capacities = Vec::new();
    for round in 0..70 {
        for owner in [A, B] {
            bench.picker.pick(&Ask { room: 20, ..ask(owner) }, &mut bench.rng, &mut out);
            while let Some(block) = out.pop() {
                let progress = bench.picker.received(block, owner, &mut bench.cancels);
                if progress == Ok(Progress::Complete) {
                    bench.picker.verified(block.piece);
                }
            }
        }
        if round >= 10 {
            capacities.push(bench.picker.open.capacities());
        }
    }
    assert!(capacities.windows(2).all(|pair| pair[0] == pair[1]), "{capacities:?}");
}

// Wanted pieces and their levels.

/// Wants these pieces, the most urgent first.
fn want(bench: &mut Bench, pieces: u32, levels: [&[u32]; LEVELS]) {
    bench.picker.set_wanted(levels.map(|level| bits(pieces, level)));
    bench.picker.check_invariants();
}

#[test]
fn what_is_not_wanted_is_not_asked_for_and_makes_nobody_interesting() {
    let mut bench = Bench::started(8, 1).seeds(2);
    want(&mut bench, 8, [&[], &[], &[1, 5, 6], &[]]);
    assert_eq!(bench.picker.missing(), 2);
    assert!(!bench.picker.is_interesting(Pieces::Some(&bits(8, &[1, 4, 7]))));
    assert!(bench.picker.is_interesting(Pieces::Some(&bits(8, &[4, 6]))));
    let (mut blocks, picked) = bench.pick_as(Ask { endgame_room: 9, ..ask(A) });
    blocks.sort_unstable();
    assert_eq!((blocks, picked.stop), (vec![(5, 0), (6, 0)], Stop::Busy));
    for piece in [5, 6] {
        assert_eq!(bench.receive((piece, 0), A), Ok(Progress::Complete));
        bench.picker.verified(PieceIndex(piece));
    }
    assert_eq!(bench.picker.missing(), 0);
    assert!(!bench.picker.is_complete());
    assert_eq!(bench.pick_as(ask(A)).1.stop, Stop::NothingWanted);
}

#[test]
fn the_most_urgent_level_comes_first_and_within_it_the_rarest() {
    let mut bench = Bench::started(12, 1).seeds(1);
    bench.picker.remote_joined(Pieces::Some(&bits(12, &[5, 6, 8, 10])));
    want(&mut bench, 12, [&[5], &[6, 7], &[8, 9], &[10, 11]]);
    let order = bench.pick(ask(A));
    let pieces: Vec<u32> = order.iter().map(|(piece, _)| *piece).collect();
    assert_eq!(pieces, [5, 7, 6, 9, 8, 11, 10]);
}

#[test]
fn a_level_that_the_remote_has_nothing_of_does_not_hold_it_up() {
    let mut bench = Bench::started(8, 1).seeds(1);
    want(&mut bench, 8, [&[4], &[], &[5], &[6, 7]]);
    assert_eq!(bench.pick(ask_for(B, &bits(8, &[5, 6]))), [(5, 0), (6, 0)]);
}

#[test]
fn a_slow_owner_is_kept_away_from_what_is_urgent() {
    let mut bench = Bench::started(8, 1).seeds(1);
    want(&mut bench, 8, [&[4], &[5], &[6], &[7]]);
    let order = bench.pick(Ask { slow: true, ..ask(A) });
    assert_eq!(order, [(7, 0), (6, 0), (5, 0), (4, 0)]);
}

#[test]
fn sequential_order_is_kept_within_a_level() {
    let mut bench = Bench::started(12, 1).sequential().seeds(1);
    want(&mut bench, 12, [&[11], &[8, 6], &[4, 5, 7, 9], &[]]);
    let pieces: Vec<u32> = bench.pick(ask(A)).iter().map(|(piece, _)| *piece).collect();
    assert_eq!(pieces, [11, 6, 8, 4, 5, 7, 9]);
}

#[test]
fn open_pieces_of_an_urgent_level_are_shared_first() {
    let mut bench = three_open();
    want(&mut bench, 8, [&[], &[6], &[4, 5], &[]]);
    let order: Vec<_> = bench.pick(Ask { room: 8, ..ask(D) });
    assert_eq!(order, [run(6, 1..4), run(5, 2..4), run(4, 1..4)].concat());
}

#[test]
fn what_is_wanted_can_change_on_the_way() {
    let mut bench = Bench::started(8, 1).seeds(1);
    want(&mut bench, 8, [&[], &[], &[4], &[]]);
    assert_eq!(bench.fetch_one(A), 4);
    bench.picker.verified(PieceIndex(4));
    assert_eq!(bench.picker.missing(), 0);
    want(&mut bench, 8, [&[], &[0, 4, 6], &[5], &[]]);
    assert_eq!(bench.picker.missing(), 2);
    let opened = bench.pick(Ask { room: 1, ..ask(A) });
    assert_eq!(opened, [(6, 0)]);
    want(&mut bench, 8, [&[], &[], &[5, 7], &[]]);
    assert_eq!(bench.picker.missing(), 2);
    bench.picker.close(PieceIndex(6), &mut bench.cancels);
    assert_eq!(bench.cancels(), [(A, (6, 0))]);
    let mut order = bench.pick(ask(A));
    order.sort_unstable();
    assert_eq!(order, [(5, 0), (7, 0)]);
}

#[test]
fn what_was_lost_while_only_some_was_wanted_can_be_had_again() {
    let mut bench = Bench::with(4, 1, &[0, 1]).seeds(1);
    want(&mut bench, 4, [&[], &[], &[0, 1], &[]]);
    assert!(bench.picker.lost(PieceIndex(1), false));
    bench.picker.check_invariants();
    assert_eq!((bench.picker.missing(), bench.picker.is_complete()), (0, false));
    want(&mut bench, 4, [&[], &[], &[0, 1, 2, 3], &[]]);
    for _ in 0..3 {
        let piece = bench.fetch_one(A);
        bench.picker.verified(PieceIndex(piece));
        bench.picker.check_invariants();
    }
    assert!(bench.picker.is_complete());
    // What a complete torrent has lost is not wanted again: nobody knows who has it.
    assert!(bench.picker.lost(PieceIndex(2), false));
    want(&mut bench, 4, [&[], &[], &[0, 1, 2, 3], &[]]);
    assert_eq!((bench.picker.missing(), bench.picker.is_complete()), (0, true));
}

#[test]
fn a_picker_at_rest_has_no_tables_and_takes_them_up_when_a_piece_is_lost() {
    let mut bench = Bench::with(4, 1, &[0, 1, 2]).seeds(1);
    bench.picker.rest();
    assert!(!bench.picker.is_at_rest(), "a piece is missing");
    let piece = bench.fetch_one(A);
    bench.picker.verified(PieceIndex(piece));
    bench.picker.rest();
    bench.picker.check_invariants();
    assert!(bench.picker.is_at_rest() && bench.picker.is_complete());
    assert_eq!(
        bench.pick_as(ask(A)),
        (vec![], Picked { stop: Stop::NothingWanted, opened: 0, endgame: 0 })
    );
    want(&mut bench, 4, [&[], &[], &[0, 1, 2, 3], &[]]);
    assert!(!bench.picker.is_wanted(PieceIndex(2)) && bench.picker.is_at_rest());
    assert!(bench.picker.lost(PieceIndex(2), true));
    bench.picker.check_invariants();
    assert!(!bench.picker.is_at_rest() && bench.picker.is_wanted(PieceIndex(2)));
    bench.picker.remote_joined(Pieces::All);
    assert_eq!(bench.fetch_one(A), 2);
    bench.picker.verified(PieceIndex(2));
    assert!(bench.picker.is_complete());
}
