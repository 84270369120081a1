//! The harness without swarmloop: each client's seed and leech role against libtorrent.

use crate::{
    clients::{Client, Role, payload::Payload, tracker::TrackerKind},
    site::Site,
    swarm::mixed_swarm,
};

const OTHERS: [Client; 5] =
    [Client::Libtorrent, Client::Transmission, Client::Aria2, Client::Qbittorrent, Client::Rqbit];

#[test]
#[ignore = "control"]
fn every_client_seeds_to_libtorrent_by_peer() {
    for seeder in OTHERS {
        let clients = [seeder, Client::Libtorrent];
        let Some(mut site) = Site::open(Payload::Single, None, &clients) else { return };
        let seed = site.seed(seeder, Role::Seed, &[]);
        let mut leech = site.leech(Client::Libtorrent, Role::Leech, &[&seed]);
        leech.wait_complete();
    }
}

#[test]
#[ignore = "control"]
fn every_client_seeds_to_libtorrent_through_opentracker() {
    seeds_through(TrackerKind::Opentracker);
}

#[test]
#[ignore = "control"]
fn every_client_seeds_to_libtorrent_through_the_npm_tracker() {
    seeds_through(TrackerKind::Npm);
}

#[test]
#[ignore = "control"]
fn every_client_downloads_from_libtorrent() {
    for leecher in OTHERS {
        let clients = [leecher, Client::Libtorrent];
        let tracker = leecher.trusts_loopback_peers().then_some(TrackerKind::Opentracker);
        let Some(mut site) = Site::open(Payload::Multi, tracker, &clients) else { return };
        let (_seed, mut leech) = site.meet(Client::Libtorrent, leecher);
        leech.wait_complete();
    }
}

#[test]
#[ignore = "control"]
fn every_client_that_dials_downloads_from_libtorrent_by_peer() {
    for leecher in OTHERS.into_iter().filter(|client| client.dials()) {
        let clients = [leecher, Client::Libtorrent];
        let Some(mut site) = Site::open(Payload::Single, None, &clients) else { return };
        let seed = site.seed(Client::Libtorrent, Role::Seed, &[]);
        let mut leech = site.leech(leecher, Role::Leech, &[&seed]);
        leech.wait_complete();
    }
}

#[test]
#[ignore = "control"]
fn a_mixed_swarm_without_swarmloop_completes() {
    mixed_swarm(&[Client::Libtorrent, Client::Aria2, Client::Qbittorrent, Client::Rqbit]);
}

fn seeds_through(tracker: TrackerKind) {
    for seeder in OTHERS {
        let clients = [seeder, Client::Libtorrent];
        let Some(mut site) = Site::open(Payload::Multi, Some(tracker), &clients) else { return };
        let _seed = site.seed(seeder, Role::Seed, &[]);
        let mut leech = site.leech(Client::Libtorrent, Role::Leech, &[]);
        leech.wait_complete();
    }
}
