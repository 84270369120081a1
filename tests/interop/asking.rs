//! `swarmloop scrape` and `announce` against the trackers of others.

use std::path::Path;

use serde_json::Value;

use crate::{
    clients::{
        Client, Role,
        payload::Payload,
        process,
        tools::Tool,
        tracker::{Tracker, TrackerKind},
    },
    site::Site,
};

#[test]
fn opentracker_is_scraped_and_announced_to() {
    ask(TrackerKind::Opentracker);
}

#[test]
fn opentracker_is_scraped_and_announced_to_over_udp() {
    ask(TrackerKind::OpentrackerUdp);
}

#[test]
fn the_tracker_of_npm_is_scraped_and_announced_to() {
    ask(TrackerKind::Npm);
}

#[test]
fn the_tracker_of_npm_is_scraped_and_announced_to_over_udp() {
    ask(TrackerKind::NpmUdp);
}

#[test]
fn our_tracker_is_scraped_and_announced_to() {
    ask(TrackerKind::Swarmloop);
}

#[test]
fn our_tracker_is_scraped_and_announced_to_over_udp() {
    ask(TrackerKind::SwarmloopUdp);
}

/// A tracker with one seed is asked about it: what it says is right, and nobody stays with it who
/// only asked, nor the seed after its end.
fn ask(kind: TrackerKind) {
    let Some(mut site) = Site::open(Payload::Single, Some(kind), &[Client::Swarmloop]) else {
        return;
    };
    let seed = site.seed(Client::Swarmloop, Role::Seed, &[]);
    let url = site.tracker().map(Tracker::announce_url).expect("there is one");
    let run = |command: &str| {
        let (code, line) = question(command, site.torrent(), &[]);
        assert_eq!(code, Some(0), "{command} {url}: {line}");
        assert_eq!((&line["url"], &line["ok"]), (&url.clone().into(), &true.into()), "{line}");
        line
    };
    let before = run("scrape");
    assert_eq!((&before["seeders"], &before["leechers"]), (&1.into(), &0.into()), "{before}");
    let announced = run("announce");
    let seeds_at = seed.address().to_string();
    let peers = announced["peers"].as_array().expect("a list");
    assert!(peers.contains(&seeds_at.into()), "{announced}");
    let after = run("scrape");
    assert_eq!((&after["seeders"], &after["leechers"]), (&1.into(), &0.into()), "{after}");
    assert_eq!(seed.stop(), Some(0), "exit code of a seed that is asked to end");
    site.tracker().expect("there is one").wait_for_no_seed();
}

/// Runs `scrape` or `announce`; its exit code and the line about the tracker.
pub(crate) fn question(command: &str, torrent: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let (code, out) = process::outcome(&Tool::Swarmloop.path(), |run| {
        run.arg(command).arg(torrent).args(["--json", "--no-config"]).args(args);
    });
    (code, serde_json::from_str(out.lines().next().expect("a line")).expect("JSON"))
}
