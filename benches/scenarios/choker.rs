//! A rechoke of a large swarm.

use std::hint::black_box;

use swarmloop::choker::{ChokeConfig, ChokeFacts, ChokeMode, ChokeState, Choker};
use swarmloop::id::ConnId;
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};

use super::Scenario;

const LEECHER: ChokeMode = ChokeMode::Leecher;
const SEED: ChokeMode = ChokeMode::Seed { turn_bytes: 4 << 20 };

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (peers, count) in [("100", 100), ("10k", 10_000)] {
        for (role, mode) in [("leecher", LEECHER), ("seed", SEED)] {
            for (slots, count_of_slots) in [("8 slots", 8), ("a slot for half", count as usize / 2)]
            {
                let config = ChokeConfig { slots: count_of_slots, optimistic_slots: 1, mode };
                all.push(Scenario::new(format!("{peers} peers, {role}, {slots}"), move || {
                    rechoke(count, config)
                }));
            }
        }
    }
    all
}

fn rechoke(peers: u32, config: ChokeConfig) -> impl FnMut() {
    let mut rng = Rng::new(1);
    let facts: Vec<_> = (0..peers).map(|index| fact(index, &mut rng)).collect();
    let mut choker = Choker::new(config);
    let mut now = Instant::from_secs(1_000);
    move || {
        now += Duration::from_secs(10);
        // What was decided is not done, so that each call has the same to decide.
        black_box(choker.rechoke(black_box(&facts), &mut rng, now));
    }
}

fn fact(index: u32, rng: &mut Rng) -> ChokeFacts {
    let choke = match rng.below(100) {
        0 => ChokeState::Optimistic,
        1..10 => ChokeState::Unchoked,
        _ => ChokeState::Choked,
    };
    ChokeFacts {
        conn: ConnId { index, generation: 0 },
        interested: rng.below(10) > 0,
        choke,
        snubbed: rng.below(20) == 0,
        is_seed: rng.below(10) == 0,
        down_rate: u64::from(rng.below_u32(1 << 20)) * u64::from(rng.below(3) > 0),
        uploaded_since_unchoke: u64::from(rng.below_u32(8 << 20)),
        connected_at: Instant::from_secs(rng.below(1_000) as u64),
        unchoked_at: Instant::from_secs(900 + rng.below(100) as u64),
    }
}
