//! A disk that is full: what is asked, served and told meanwhile, and when it goes on.

use swarmloop::disk::job::DiskErrorKind;
use swarmloop::proto::message::Message;
use swarmloop::session::io::{Event, Phase};

use crate::common::*;

const MIB: u64 = 1 << 20;

/// A download of pieces of two blocks, of which the first is there, and a seed of it.
fn short_of(free: u64) -> (World, Remote) {
    let mut world = Setup::have([0]).build();
    let seed = world.join_seed();
    world.disk.fails_writes = true;
    world.disk.kind = DiskErrorKind::Full;
    world.disk.free = Some(free);
    world.serve(seed);
    world.hear(seed);
    (world, seed)
}

/// Returns what is free, needed, and the seconds to the next try, if the disk is full.
fn full(world: &World) -> Option<(Option<u64>, u64, u64)> {
    match world.status().phase {
        Phase::DiskFull(full) => Some((full.free, full.needed, full.retry_in.as_secs())),
        _ => None,
    }
}

/// Returns the phases that were told.
fn told(world: &World) -> Vec<Phase> {
    let phase = |event: &Event| match event {
        Event::Phase { phase, .. } => Some(phase.clone()),
        _ => None,
    };
    world.events.iter().filter_map(phase).collect()
}

fn count_full(world: &World) -> usize {
    told(world).iter().filter(|phase| matches!(phase, Phase::DiskFull(_))).count()
}

#[test]
fn a_full_disk_ends_requests_and_nothing_else() {
    let (mut world, seed) = short_of(3 * MIB);
    let needed = world.status().size - world.status().have;
    assert_eq!(full(&world), Some((Some(3 * MIB), needed, 60)));
    assert_eq!(count_full(&world), 1);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Disk { .. })));
    assert!(world.is_open(seed), "{:?}", world.closed_with(seed));
    assert!(!world.peer(seed).am_interested);
    assert_eq!(world.session.memory().lent, 0, "others may use the memory");
    // What there is goes to whoever wants it.
    let leech = world.join_leech(FAST);
    let block = world.block(0, 0);
    world.say(leech, &[Message::Request(block)]);
    assert_eq!(world.given(leech), [block]);
    // A block that comes all the same is of no use, and newcomers are not asked either.
    let late = world.block(1, 0);
    world.give(seed, &[late]);
    let other = world.join_seed();
    world.advance_s(4);
    assert_eq!(world.asked(seed), []);
    assert_eq!(world.asked(other), []);
    assert_eq!(count_full(&world), 1, "told once");
}

#[test]
fn it_goes_on_by_itself_within_seconds_of_space_being_free() {
    let (mut world, seed) = short_of(0);
    world.advance_s(20);
    assert_eq!(full(&world).map(|(_, _, retry_s)| retry_s), Some(40));
    world.disk.fails_writes = false;
    world.disk.free = Some(64 * MIB);
    world.advance_s(6);
    assert_eq!(full(&world), None);
    world.serve(seed);
    assert!(world.disk_is_right());
    assert_eq!(world.status().phase, Phase::Seeding);
    let after: Vec<Phase> =
        told(&world).into_iter().skip_while(|phase| !matches!(phase, Phase::DiskFull(_))).collect();
    assert_eq!(after[1..], [Phase::Downloading, Phase::Seeding]);
}

#[test]
fn little_space_is_tried_after_a_minute() {
    let (mut world, seed) = short_of(0);
    world.disk.fails_writes = false;
    world.disk.free = Some(64 * MIB - 1);
    world.advance_s(54);
    assert!(full(&world).is_some());
    world.advance_s(7);
    assert_eq!(full(&world), None);
    world.serve(seed);
    assert!(world.disk_is_right());
}

#[test]
fn nothing_is_downloaded_to_find_that_the_disk_is_still_full() {
    let (mut world, seed) = short_of(1000 * MIB);
    for _ in 0..5 {
        world.advance_s(60);
        assert_eq!(world.asked(seed), [], "the room for one piece could not be set apart");
    }
    assert_eq!(count_full(&world), 1);
}

#[test]
fn figures_that_were_wrong_are_not_believed_again_before_a_minute_has_passed() {
    // A quota that the figures know nothing of, on a file system that cannot set space apart.
    let (mut world, seed) = short_of(1000 * MIB);
    world.disk.reserves = true;
    let mut tries = 0;
    for _ in 0..600 {
        world.advance_s(1);
        tries += usize::from(full(&world).is_none());
        world.serve(seed);
        assert!(full(&world).is_some());
    }
    assert!((9..=11).contains(&tries), "{tries} tries in ten minutes");
    assert_eq!(count_full(&world), tries + 1);
}

#[test]
fn a_stop_while_the_disk_is_full_leaves_nothing_behind() {
    let (mut world, seed) = short_of(0);
    world.session.shutdown(world.now);
    world.settle();
    assert!(world.session.is_idle() && !world.is_open(seed));
    assert_eq!(world.status().phase, Phase::Stopped(None));
    world.advance_s(600);
    assert_eq!(world.session.poll_timeout(), None);
}

#[test]
fn another_error_while_looking_for_space_stops_the_torrent() {
    let (mut world, _) = short_of(0);
    world.disk.kind = DiskErrorKind::ReadOnly;
    world.advance_s(6);
    assert!(matches!(world.status().phase, Phase::Stopped(Some(_))));
}
