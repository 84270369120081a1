//! `swarmloop`: a `BitTorrent` downloader for power users. The engine is the library of the same
//! name; this is its surface: arguments, terminal, JSON, signals and exit codes.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
