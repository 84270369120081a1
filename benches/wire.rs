//! Times the two halves of a peer stream: `cargo bench --bench wire`.

mod scenarios;

fn main() {
    scenarios::time("wire", scenarios::wire::all());
}
