//! What the benches measure: named operations on the engine's parts, each with its set-up.
//!
//! Two runners share them: criterion, for time (`cargo bench --bench picker` and its like), and
//! callgrind, for instructions (`cargo bench --bench instructions`).

#![allow(dead_code, reason = "each bench runs its own group of them")]

pub(crate) mod bencode;
pub(crate) mod choker;
pub(crate) mod frames;
pub(crate) mod picker;
pub(crate) mod tracker;
pub(crate) mod wheel;
pub(crate) mod wire;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use rustix::time::{ClockId, clock_gettime};

/// One operation to be measured.
pub(crate) struct Scenario {
    /// What it is; unique in its group.
    pub(crate) name: String,
    /// Operations in one call: more than 1 where a call would cost as much as its operation.
    pub(crate) batch: u64,
    /// Bytes that one operation handles, where a rate says more than a time.
    pub(crate) bytes: Option<u64>,
    /// Sets up and returns the call. What it leaves behind must cost the next call the same.
    pub(crate) start: Box<dyn Fn() -> Box<dyn FnMut()>>,
}

impl Scenario {
    /// Returns the scenario whose calls `start` makes.
    pub(crate) fn new<C: FnMut() + 'static>(
        name: impl Into<String>,
        start: impl Fn() -> C + 'static,
    ) -> Self {
        let start = Box::new(move || Box::new(start()) as Box<dyn FnMut()>);
        Self { name: name.into(), batch: 1, bytes: None, start }
    }

    /// Says how many operations one call is.
    pub(crate) fn batch(self, batch: u64) -> Self {
        Self { batch, ..self }
    }

    /// Says how many bytes one operation handles.
    pub(crate) fn bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }
}

/// Measures the time of an operation of each scenario with criterion.
///
/// It is processor time of this thread, so that whatever else the machine does shows only in what
/// it takes of the caches.
pub(crate) fn time(group: &str, scenarios: Vec<Scenario>) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group(group);
    for Scenario { name, batch, bytes, start } in scenarios {
        if let Some(bytes) = bytes {
            group.throughput(Throughput::Bytes(bytes));
        }
        let mut call = None;
        group.bench_function(name, |bencher| {
            // Not before it is known that the filter lets the scenario through.
            let call = call.get_or_insert_with(&start);
            bencher.iter_custom(|operations| {
                let calls = operations.div_ceil(batch);
                let began = cpu_time();
                (0..calls).for_each(|_| call());
                let operations = u32::try_from(operations).expect("a second's worth");
                let measured = u32::try_from(calls * batch).expect("a second's worth");
                cpu_time().saturating_sub(began) * operations / measured
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is not negative")
}
