//! Several clients at once, and our own tracker between them.

use crate::{
    clients::{Client, Role, Running, payload::Payload, tracker::TrackerKind},
    site::Site,
};

#[test]
fn a_mixed_swarm_completes_for_everybody() {
    mixed_swarm(&[Client::Swarmloop, Client::Aria2, Client::Qbittorrent, Client::Rqbit]);
}

#[test]
fn swarmloop_tracker_serves_libtorrent_aria2_rqbit_and_swarmloop() {
    let leechers = [Client::Aria2, Client::Rqbit, Client::Swarmloop];
    through_our_tracker(TrackerKind::Swarmloop, Client::Libtorrent, &leechers);
}

#[test]
fn swarmloop_tracker_serves_libtorrent_to_others() {
    through_our_tracker(TrackerKind::Swarmloop, Client::Swarmloop, &[Client::Libtorrent]);
}

#[test]
fn swarmloop_tracker_serves_transmission() {
    dialled_through_our_tracker(TrackerKind::Swarmloop);
}

#[test]
fn swarmloop_tracker_serves_rqbit_and_libtorrent_over_udp() {
    through_our_tracker(TrackerKind::SwarmloopUdp, Client::Libtorrent, &[Client::Rqbit]);
    through_our_tracker(TrackerKind::SwarmloopUdp, Client::Rqbit, &[Client::Libtorrent]);
}

#[test]
fn swarmloop_finds_swarmloop_and_others_through_its_own_tracker_over_udp() {
    let leechers = [Client::Swarmloop, Client::Libtorrent];
    through_our_tracker(TrackerKind::SwarmloopUdp, Client::Swarmloop, &leechers);
}

#[test]
fn a_seed_is_found_through_the_udp_trackers_of_others() {
    for kind in [TrackerKind::OpentrackerUdp, TrackerKind::NpmUdp] {
        let clients = [Client::Libtorrent, Client::Swarmloop];
        let Some(mut site) = Site::open(Payload::Multi, Some(kind), &clients) else { return };
        let _seed = site.seed(Client::Swarmloop, Role::Seed, &[]);
        let mut leech = site.leech(Client::Libtorrent, Role::Leech, &[]);
        leech.wait_complete();
    }
}

#[test]
fn swarmloop_tracker_serves_transmission_over_udp() {
    dialled_through_our_tracker(TrackerKind::SwarmloopUdp);
}

/// The tracker is the only way to the seed.
fn through_our_tracker(kind: TrackerKind, seeder: Client, leechers: &[Client]) {
    let clients: Vec<_> = leechers.iter().copied().chain([seeder]).collect();
    let Some(mut site) = Site::open(Payload::Multi, Some(kind), &clients) else { return };
    let _seed = site.seed(seeder, Role::Seed, &[]);
    let mut running: Vec<_> =
        leechers.iter().map(|leecher| site.leech(*leecher, Role::Leech, &[])).collect();
    running.iter_mut().for_each(Running::wait_complete);
    let tracker = site.tracker().expect("the site was opened with one");
    assert!(tracker.log().contains(&tracker.announce_url()), "it prints where to announce");
}

/// The tracker is the only way from the seed to Transmission, which does not dial loopback.
fn dialled_through_our_tracker(kind: TrackerKind) {
    let clients = [Client::Transmission, Client::Libtorrent];
    let Some(mut site) = Site::open(Payload::Multi, Some(kind), &clients) else { return };
    let mut leech = site.leech(Client::Transmission, Role::Leech, &[]);
    site.tracker().expect("the site was opened with one").wait_for_a_leech();
    let _seed = site.seed(Client::Libtorrent, Role::Seed, &[]);
    leech.wait_complete();
}

/// The seed hands out each piece once (BEP 16): that all complete proves that they pass pieces on
/// among each other.
pub(crate) fn mixed_swarm(leechers: &[Client]) {
    let clients: Vec<_> = leechers.iter().copied().chain([Client::Libtorrent]).collect();
    let tracker = Some(TrackerKind::Opentracker);
    let Some(mut site) = Site::open(Payload::Multi, tracker, &clients) else { return };
    let _seed = site.seed(Client::Libtorrent, Role::SuperSeed, &[]);
    let mut running: Vec<_> =
        leechers.iter().map(|leecher| site.leech(*leecher, Role::Stay, &[])).collect();
    running.iter_mut().for_each(Running::wait_complete);
}
