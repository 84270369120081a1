//! `swarmloop get` from the seeds of others.

use crate::{
    clients::{Client, Role, payload::Payload, tracker::TrackerKind},
    site::Site,
};

#[test]
fn get_fetches_single_file_from_libtorrent_by_peer() {
    fetch_by_peer(Client::Libtorrent);
}

#[test]
fn get_fetches_single_file_from_transmission_by_peer() {
    fetch_by_peer(Client::Transmission);
}

#[test]
fn get_fetches_single_file_from_aria2_by_peer() {
    fetch_by_peer(Client::Aria2);
}

#[test]
fn get_fetches_single_file_from_qbittorrent_by_peer() {
    fetch_by_peer(Client::Qbittorrent);
}

#[test]
fn get_fetches_single_file_from_rqbit_by_peer() {
    fetch_by_peer(Client::Rqbit);
}

#[test]
fn get_fetches_multi_file_from_libtorrent_through_opentracker() {
    fetch_through(TrackerKind::Opentracker, Client::Libtorrent);
}

#[test]
fn get_fetches_multi_file_from_transmission_through_opentracker() {
    fetch_through(TrackerKind::Opentracker, Client::Transmission);
}

#[test]
fn get_fetches_multi_file_from_aria2_through_opentracker() {
    fetch_through(TrackerKind::Opentracker, Client::Aria2);
}

#[test]
fn get_fetches_multi_file_from_qbittorrent_through_opentracker() {
    fetch_through(TrackerKind::Opentracker, Client::Qbittorrent);
}

#[test]
fn get_fetches_multi_file_from_rqbit_through_opentracker() {
    fetch_through(TrackerKind::Opentracker, Client::Rqbit);
}

#[test]
fn get_fetches_multi_file_from_libtorrent_through_the_npm_tracker() {
    fetch_through(TrackerKind::Npm, Client::Libtorrent);
}

#[test]
fn get_fetches_multi_file_from_transmission_through_the_npm_tracker() {
    fetch_through(TrackerKind::Npm, Client::Transmission);
}

#[test]
fn get_fetches_multi_file_from_libtorrent_through_opentracker_over_udp() {
    fetch_through(TrackerKind::OpentrackerUdp, Client::Libtorrent);
}

#[test]
fn get_fetches_multi_file_from_libtorrent_through_the_npm_tracker_over_udp() {
    fetch_through(TrackerKind::NpmUdp, Client::Libtorrent);
}

/// The torrent names no tracker: `--peer` is the only way to the seed.
fn fetch_by_peer(seeder: Client) {
    let clients = [seeder, Client::Swarmloop];
    let Some(mut site) = Site::open(Payload::Single, None, &clients) else { return };
    let seed = site.seed(seeder, Role::Seed, &[]);
    let mut get = site.leech(Client::Swarmloop, Role::Leech, &[&seed]);
    get.wait_complete();
}

/// The tracker is the only way to the seed.
fn fetch_through(tracker: TrackerKind, seeder: Client) {
    let clients = [seeder, Client::Swarmloop];
    let Some(mut site) = Site::open(Payload::Multi, Some(tracker), &clients) else { return };
    let _seed = site.seed(seeder, Role::Seed, &[]);
    let mut get = site.leech(Client::Swarmloop, Role::Leech, &[]);
    get.wait_complete();
}
