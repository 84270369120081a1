//! Times reading and writing bencode: `cargo bench --bench bencode`.

mod scenarios;

fn main() {
    scenarios::time("bencode", scenarios::bencode::all());
}
