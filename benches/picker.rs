//! Times the picker: `cargo bench --bench picker`.

mod scenarios;

fn main() {
    scenarios::time("picker", scenarios::picker::all());
}
