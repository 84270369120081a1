//! `swarmloop seed` to the downloads of others.

use crate::{
    clients::{Client, payload::Payload, tracker::TrackerKind},
    site::Site,
};

#[test]
fn libtorrent_downloads_from_swarmloop_seed() {
    serve(Client::Libtorrent);
}

#[test]
fn transmission_downloads_from_swarmloop_seed() {
    serve(Client::Transmission);
}

#[test]
fn aria2_downloads_from_swarmloop_seed() {
    serve(Client::Aria2);
}

#[test]
fn qbittorrent_downloads_from_swarmloop_seed() {
    serve(Client::Qbittorrent);
}

#[test]
fn rqbit_downloads_from_swarmloop_seed() {
    serve(Client::Rqbit);
}

/// Through a tracker, or, where the client does not dial what a tracker says, dialled by the
/// seed. The seed's end on a signal is part of it: it had everything, so it ends well.
fn serve(leecher: Client) {
    let clients = [leecher, Client::Swarmloop];
    let tracker = leecher.trusts_loopback_peers().then_some(TrackerKind::Opentracker);
    let Some(mut site) = Site::open(Payload::Multi, tracker, &clients) else { return };
    let (seed, mut leech) = site.meet(Client::Swarmloop, leecher);
    leech.wait_complete();
    drop(leech);
    assert_eq!(seed.stop(), Some(0), "exit code of a seed that is asked to end");
}
