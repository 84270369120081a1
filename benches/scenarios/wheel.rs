//! The timing wheel with a deadline for each of many connections.

use std::hint::black_box;

use swarmloop::rng::Rng;
use swarmloop::session::wheel::Wheel;
use swarmloop::time::{Duration, Instant};

use super::Scenario;

/// Connections with a deadline each.
const OWNERS: u32 = 10_000;
/// Operations a call.
const BATCH: u32 = 1_000;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("idle turn, empty", || idle(0)).batch(BATCH.into()),
        Scenario::new("idle turn, 10k deadlines", || idle(OWNERS)).batch(BATCH.into()),
        Scenario::new("insert, within a second", || insert(1_000)).batch(BATCH.into()),
        Scenario::new("insert, within two minutes", || insert(120_000)).batch(BATCH.into()),
        Scenario::new("expire and insert again, 10k deadlines", rotate).batch(BATCH.into()),
    ]
}

fn wheel(owners: u32, reach_ms: u32, rng: &mut Rng) -> Wheel<u32> {
    let mut wheel = Wheel::new();
    for owner in 0..owners {
        let ms = 1_000 + u64::from(rng.below_u32(reach_ms));
        wheel.insert(Instant::ZERO + Duration::from_millis(ms), owner);
    }
    wheel
}

/// Turns in which nothing is due: what every turn of the loop pays.
fn idle(owners: u32) -> impl FnMut() {
    let mut wheel = wheel(owners, 120_000, &mut Rng::new(1));
    let now = Instant::from_micros(1_000);
    move || {
        for _ in 0..BATCH {
            black_box(wheel.next());
            black_box(wheel.expire(black_box(now)));
        }
    }
}

/// Entries into a wheel that is emptied whenever it has been filled.
fn insert(reach_ms: u32) -> impl FnMut() {
    let mut rng = Rng::new(2);
    let deadlines: Vec<_> = (0..BATCH)
        .map(|_| Instant::ZERO + Duration::from_millis(u64::from(rng.below_u32(reach_ms))))
        .collect();
    move || {
        let mut wheel = Wheel::new();
        for (owner, at) in (0_u32..).zip(&deadlines) {
            wheel.insert(black_box(*at), owner);
        }
        black_box(wheel);
    }
}

/// Each deadline that comes up is followed by another of the same owner.
fn rotate() -> impl FnMut() {
    let mut rng = Rng::new(3);
    let mut wheel = wheel(OWNERS, 120_000, &mut rng);
    let mut now = Instant::ZERO;
    move || {
        for _ in 0..BATCH {
            loop {
                if let Some((_, owner)) = wheel.expire(now) {
                    let ms = u64::from(1 + rng.below_u32(120_000));
                    wheel.insert(now + Duration::from_millis(ms), black_box(owner));
                    break;
                }
                now = wheel.next().expect("everybody has a deadline");
            }
        }
    }
}
