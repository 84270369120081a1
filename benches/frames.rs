//! Times the path of a block's frame: `cargo bench --bench frames`.

mod scenarios;

fn main() {
    scenarios::time("frames", scenarios::frames::all());
}
