//! Times the timing wheel: `cargo bench --bench wheel`.

mod scenarios;

fn main() {
    scenarios::time("wheel", scenarios::wheel::all());
}
