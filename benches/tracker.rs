//! Times the embedded tracker: `cargo bench --bench tracker`.

mod scenarios;

fn main() {
    scenarios::time("tracker", scenarios::tracker::all());
}
