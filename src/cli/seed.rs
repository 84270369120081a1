//! `seed`: checks data and uploads it until a signal comes.

use std::path::PathBuf;
use std::time::Instant;

use swarmloop::client::{AddTorrent, Mode};

use super::args::seed::SeedArgs;
use super::ask::Route;
use super::ending;
use super::exit::{Exit, Failure};
use super::fetch::Fetcher;
use super::get::warn_of_notes;
use super::goals::Goal;
use super::input::{self, Loaded, data_dir};
use super::instruments::Instruments;
use super::network;
use super::state;
use super::ui::Ui;
use super::watch::Watch;

/// Seeds one torrent. A signal is the normal end of it if all of the data was there.
pub(crate) fn run(args: &SeedArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    network::egress(&args.network, ui)?;
    let route = Route::from(&args.network);
    let fetcher = Fetcher::new(&route).stopping_within(args.network.stop_timeout);
    let mut torrent = input::load_by(&args.torrent, &fetcher)?;
    warn_of_notes(1, &torrent, ui);
    network::add_trackers(&args.network, 1, &mut torrent.metainfo, ui);
    let dir = match &args.path {
        Some(path) => data_dir(path, &torrent)?,
        None => args.dir.clone().unwrap_or_else(|| PathBuf::from(".")),
    };
    network::warn(&args.network, ui);
    let signals = fetcher.into_signals()?;
    let title = format!("seed {}", torrent.metainfo.name);
    let instruments = Instruments::create(&args.instruments, &title)?;
    let client = network::start(&args.network, args.jobs, instruments.trace_records(), ui)?;
    signals.hasten(&client);
    let mut watch = Watch::new(Goal::Seed(args.goal.goal()), Vec::new(), Instant::now())
        .with_blocklists(&args.network.blocklists);
    let source = torrent.source;
    watch.add(&client, ui, 1, to_add(args, dir, torrent), source, None);
    Ok(ending::run(watch, client, &signals, instruments, ui))
}

fn to_add(args: &SeedArgs, dir: PathBuf, torrent: Loaded) -> AddTorrent {
    AddTorrent {
        use_trackers: !args.network.no_trackers,
        resume: state::resume(args.state, torrent.metainfo.info_hash, &dir),
        peers: args.network.peers.clone(),
        limits: args.network.limits.of_torrent(),
        ..AddTorrent::new(torrent.metainfo, dir, Mode::Seed)
    }
}
