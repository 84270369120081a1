//! Several clients at once, and our own tracker between them.

use crate::{
    client::{Client, Role, Running},
    payload::Payload,
    site::Site,
    tracker::TrackerKind,
};

#[test]
fn a_mixed_swarm_completes_for_everybody() {
    mixed_swarm(&[Client::Swarmloop, Client::Aria2, Client::Qbittorrent, Client::Rqbit]);
}

#[test]
fn swarmloop_tracker_serves_libtorrent_aria2_and_swarmloop() {
    let clients = [Client::Libtorrent, Client::Aria2, Client::Swarmloop];
    let tracker = Some(TrackerKind::Swarmloop);
    let Some(mut site) = Site::open(Payload::Multi, tracker, &clients) else { return };
    let _seed = site.seed(Client::Libtorrent, Role::Seed, &[]);
    let mut aria2 = site.leech(Client::Aria2, Role::Leech, &[]);
    let mut get = site.leech(Client::Swarmloop, Role::Leech, &[]);
    aria2.wait_complete();
    get.wait_complete();
    let tracker = site.tracker().expect("the site was opened with one");
    assert!(tracker.log().contains(&tracker.announce_url()), "it prints where to announce");
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
