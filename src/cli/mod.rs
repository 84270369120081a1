//! The command line: one file a subcommand (`get`, `seed`, `tracker`, `demo`, `hist`, `config`;
//! `completions` and `man` in [`docs`]), and around them what they share.
//!
//! Data goes to stdout, everything else to stderr. What is shown is made by pure functions from
//! values ([`progress`], [`peers`], [`stall`], [`json`]); [`ui`] is the only file that writes it.
//! The main thread runs [`watch`]: it hears the engine's events and draws; the engine has a thread
//! of its own, so that a blocked terminal never blocks it.
//!
//! **Invariant:** text from a peer, a tracker, a metainfo file or a file system leaves only through
//! [`swarmloop::text::Escaped`] or [`json`]'s own escaping.

mod after;
mod args;
mod ask;
mod blocklist;
mod chrome;
mod conditions;
mod config;
mod create;
mod demo;
mod dht;
mod docs;
mod edit;
mod ending;
mod exit;
mod fetch;
mod files;
mod get;
mod glob;
mod goals;
mod hashing;
mod hist;
mod input;
mod instruments;
mod json;
mod lines;
mod list;
mod lock;
mod log;
mod network;
mod new_file;
mod outlet;
mod payload;
mod peers;
mod profile;
mod progress;
mod refusal;
mod relocate;
mod room;
mod roster;
mod screen;
mod seed;
mod seek;
mod select;
mod settings;
mod share;
mod show;
mod signals;
mod size;
mod snapshot;
mod stall;
mod state;
mod state_dir;
mod target;
mod terminal;
mod torrent;
mod trace;
mod tracker;
mod trackers;
mod ui;
mod verify;
mod watch;
mod whitelist;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use self::args::{Command, Parsed};
use self::exit::{Exit, Failure};
use self::settings::Sources;
use self::ui::{Surroundings, Ui};

/// Runs the program with the given arguments, the program's own name first, and returns what the
/// process exits with.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    let sources = Sources::of_process();
    let is_json = refusal::wants_json(&args, &sources);
    let parsed = match args::parse(args, &sources) {
        Ok(parsed) => parsed,
        Err(refusal) => return refusal::tell(refusal, is_json),
    };
    let cli = &parsed.cli;
    let mut ui = Ui::on_process(&cli.output, &Surroundings::of_process());
    let result = ui.open_log(&cli.log, parsed.name()).and_then(|()| run(&parsed, &mut ui));
    let exit = result.unwrap_or_else(|failure| {
        ui.fail(&failure);
        failure.exit
    });
    ui.summary(exit).into()
}

/// Runs the subcommand.
fn run(parsed: &Parsed, ui: &mut Ui) -> Result<Exit, Failure> {
    match &parsed.cli.command {
        Command::Get(args) => get::run(args, ui),
        Command::Seed(args) => seed::run(args, ui),
        Command::Create(args) => create::run(args, ui),
        Command::Verify(args) => verify::run(args, ui),
        Command::Show(args) => show::run(args, ui),
        Command::Magnet(args) => show::run_magnet(args, ui),
        Command::Edit(args) => edit::run(args, ui),
        Command::Scrape(args) => trackers::scrape(args, ui),
        Command::Announce(args) => trackers::announce(args, ui),
        Command::Share(args) => share::run(args, ui),
        Command::Tracker(args) => tracker::run(args, ui),
        Command::Demo(args) => demo::run(args, ui),
        Command::Hist(args) => hist::run(args, ui),
        Command::Config(args) => Ok(config::run(args, &parsed.flags, &parsed.settings, ui)),
        Command::Completions(args) => docs::completions(args, args::documented(), ui),
        Command::Man(args) => docs::man(args, args::documented(), ui),
    }
}
