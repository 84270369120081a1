//! Holding connections: opened in steps, to see what each costs in memory, then left alone for a
//! while, to see what they cost in processor time.

use std::time::Duration;

use swarmloop::time::Instant;

use super::outcome::Meter;
use crate::report::float;

/// Steps in which the connections are opened; memory is looked at after each.
const STEPS: usize = 4;

/// How long nothing may be opened before memory is looked at: allocators and kernels have some work
/// left after the last handshake.
const SETTLE: Duration = Duration::from_millis(500);

/// The state of a run that holds connections.
#[derive(Debug)]
pub(crate) struct Hold {
    conns: usize,
    window: Duration,
    /// Steps that have been looked at.
    step: usize,
    /// Since when the step's connections are there.
    settled: Option<Instant>,
    /// How many connections there were, and the client's anonymous memory, in bytes.
    memory: Vec<(u64, u64)>,
    /// When the window began, and the processor time that the client had used.
    began: Option<(Instant, Option<Duration>)>,
    held: Option<Held>,
}

/// What holding cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Connections at the end.
    pub(crate) peers: u64,
    /// Anonymous memory of the client for each, in bytes: the slope over the steps.
    pub(crate) memory_per_peer: Option<f64>,
    /// Percent of one processor that the client used in the window.
    pub(crate) cpu_percent: Option<f64>,
}

impl Hold {
    /// Plans to hold `conns` connections for `window`.
    pub(crate) const fn new(conns: usize, window: Duration) -> Self {
        Self { conns, window, step: 0, settled: None, memory: Vec::new(), began: None, held: None }
    }

    /// Returns how many connections there may be now.
    pub(crate) const fn allowed(&self) -> usize {
        self.conns * self.step / STEPS
    }

    /// Returns what it cost, once it is over.
    pub(crate) const fn held(&self) -> Option<Held> {
        self.held
    }

    /// Looks at how things stand, with `open` connections and whether more are coming.
    pub(crate) fn look(&mut self, open: usize, is_opening: bool, meter: &Meter, now: Instant) {
        if is_opening && self.began.is_none() {
            self.settled = None;
            return;
        }
        let settled = *self.settled.get_or_insert(now);
        if now - settled < SETTLE {
            return;
        }
        let peers = u64::try_from(open).expect("a count of sockets");
        match self.began {
            None => {
                let usage = meter.client_now();
                self.memory.extend(usage.map(|usage| (peers, usage.anon)));
                self.settled = None;
                if self.step == STEPS {
                    self.began = Some((now, usage.map(|usage| usage.cpu)));
                }
                self.step = (self.step + 1).min(STEPS);
            }
            Some((began, before)) if now - began >= self.window => {
                let after = meter.client_now().map(|usage| usage.cpu);
                let cpu = after.zip(before).map(|(after, before)| after.saturating_sub(before));
                let wall = (now - began).as_secs_f64();
                self.held = Some(Held {
                    peers,
                    memory_per_peer: slope(&self.memory),
                    cpu_percent: cpu.map(|cpu| 100.0 * cpu.as_secs_f64() / wall),
                });
            }
            Some(_) => {}
        }
    }
}

/// Returns by how much `y` grows with each `x`: the line of least squares.
fn slope(points: &[(u64, u64)]) -> Option<f64> {
    let count = float(u64::try_from(points.len()).ok()?);
    let mean =
        |of: fn(&(u64, u64)) -> u64| points.iter().map(|p| float(of(p))).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let (mut over, mut under) = (0.0, 0.0);
    for &(x, y) in points {
        over += (float(x) - mean_x) * (float(y) - mean_y);
        under += (float(x) - mean_x).powi(2);
    }
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_what_each_one_adds() {
        let points = [(0, 4_096), (100, 104_096), (200, 204_096), (400, 404_096)];
        assert!(slope(&points).is_some_and(|slope| (slope - 1_000.0).abs() < 1e-6));
        assert_eq!(slope(&[(7, 1), (7, 2)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn connections_come_in_steps_and_are_held_once_they_are_all_there() {
        let at = Instant::from_millis;
        let meter = Meter::start(None);
        let mut hold = Hold::new(100, Duration::from_secs(2));
        assert_eq!(hold.allowed(), 0);
        let mut now = 0;
        for allowed in [25, 50, 75, 100] {
            hold.look(allowed - 25, false, &meter, at(now));
            hold.look(allowed - 25, false, &meter, at(now + 499));
            assert_eq!(hold.allowed(), allowed - 25, "not settled");
            hold.look(allowed - 25, false, &meter, at(now + 500));
            assert_eq!(hold.allowed(), allowed);
            hold.look(allowed - 5, true, &meter, at(now + 1_400));
            now += 2_000;
        }
        hold.look(100, false, &meter, at(now));
        hold.look(100, false, &meter, at(now + 500));
        hold.look(99, false, &meter, at(now + 2_499));
        assert!(hold.held().is_none());
        hold.look(99, false, &meter, at(now + 3_001));
        assert_eq!(hold.held().map(|held| held.peers), Some(99));
    }
}
