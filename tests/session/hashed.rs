//! A torrent whose pieces were just hashed by whoever adds it: nothing is read a second time that
//! is as it was.

use swarmloop::disk::job::OnDisk;
use swarmloop::session::io::{Mode, Phase};

use crate::common::{Setup, World};

/// A seed of a file that somebody has hashed when it was like this, and has this now.
fn world(hashed: impl FnOnce(OnDisk) -> OnDisk, have: Vec<u32>, mode: Mode) -> World {
    let len = World::seed().content.len() as u64;
    let there = OnDisk { len, ..OnDisk::default() };
    Setup { hashed: Some(hashed(there)), have, mode, ..Setup::default() }.build()
}

fn all() -> Vec<u32> {
    (0..Setup::default().pieces).collect()
}

#[test]
fn what_was_hashed_and_is_as_it_was_is_not_hashed_again() {
    for mode in [Mode::Seed, Mode::Download { overwrite: false }] {
        let world = world(|there| there, all(), mode);
        assert_eq!((world.status().phase, world.disk.checked), (Phase::Seeding, 0));
    }
}

#[test]
fn what_has_changed_since_it_was_hashed_is_hashed() {
    for change in [
        |there| OnDisk { modified_ns: 1, ..there },
        |there| OnDisk { inode: 1, ..there },
        |there| OnDisk { device: 1, ..there },
        |there: OnDisk| OnDisk { len: there.len + 1, ..there },
    ] {
        let world = world(change, vec![0, 2], Mode::Seed);
        let status = world.status();
        assert_eq!((status.phase, status.pieces_have), (Phase::PartialSeeding, 2));
        assert_eq!(world.disk.checked, status.pieces);
    }
}
