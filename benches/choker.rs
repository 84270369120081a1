//! Times the choker: `cargo bench --bench choker`.

mod scenarios;

fn main() {
    scenarios::time("choker", scenarios::choker::all());
}
