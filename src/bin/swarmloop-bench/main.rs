//! `swarmloop-bench`: loads a `BitTorrent` client (ours or any other) and measures it.
//!
//! One file a subcommand; each takes its arguments and returns a [`report::Report`], which
//! [`output`] prints as a table or as JSON. Payload is a function of its offset ([`synthetic`]), so
//! that gigabytes of it need no disk on the generator's side and every byte that arrives is
//! checked.

mod args;
mod child;
mod compare;
mod conns;
mod disk;
mod download;
mod dual;
mod failure;
mod r#gen;
mod grid;
mod hash;
mod have;
mod load;
mod machine;
mod output;
mod own;
mod payload;
mod picker;
mod report;
mod scratch;
mod stop;
mod storm;
mod subject;
mod synthetic;
mod torrent;
mod turns;
mod units;
mod upload;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Gen(args) => r#gen::run(args),
        Command::Hash(args) => hash::run(args),
        Command::Disk(args) => disk::run(args),
        Command::Picker(args) => Ok(picker::run(args)),
        Command::Loop(args) => turns::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Upload(args) => upload::run(args),
        Command::Download(args) => download::run(args),
        Command::Dual(args) => dual::run(args),
        Command::Conns(args) => conns::run(args),
        Command::Storm(args) => storm::run(args),
        Command::Have(args) => have::run(args),
    };
    output::conclude(&cli.output, result).into()
}
