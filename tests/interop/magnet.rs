//! Magnet links: metadata from others to us and from us to others (BEP 9, 10).

use crate::{
    clients::{Client, Role, payload::Payload, tracker::TrackerKind},
    site::Site,
};

#[test]
fn get_resolves_a_magnet_from_libtorrent() {
    resolve_from(Client::Libtorrent);
}

#[test]
fn get_resolves_a_magnet_from_transmission() {
    resolve_from(Client::Transmission);
}

#[test]
fn get_resolves_a_magnet_from_aria2() {
    resolve_from(Client::Aria2);
}

#[test]
fn get_resolves_a_magnet_from_qbittorrent() {
    resolve_from(Client::Qbittorrent);
}

#[test]
fn get_resolves_a_magnet_from_rqbit() {
    resolve_from(Client::Rqbit);
}

#[test]
fn get_resolves_a_magnet_from_swarmloop() {
    resolve_from(Client::Swarmloop);
}

#[test]
fn libtorrent_resolves_a_magnet_from_swarmloop_seed() {
    resolve_from_us(Client::Libtorrent);
}

#[test]
fn transmission_resolves_a_magnet_from_swarmloop_seed() {
    resolve_from_us(Client::Transmission);
}

#[test]
fn aria2_resolves_a_magnet_from_swarmloop_seed() {
    resolve_from_us(Client::Aria2);
}

#[test]
fn rqbit_resolves_a_magnet_from_swarmloop_seed() {
    resolve_from_us(Client::Rqbit);
}

/// `--peer` is the only way to the seed.
fn resolve_from(seeder: Client) {
    let clients = [seeder, Client::Swarmloop];
    let Some(mut site) = Site::open(Payload::Multi, None, &clients) else { return };
    let seed = site.seed(seeder, Role::Seed, &[]);
    let mut get = site.leech_magnet(Client::Swarmloop, Role::Leech, &[&seed]);
    get.wait_complete();
}

/// Through the link's tracker, or, where the client does not dial what a tracker says, dialled by
/// the seed.
fn resolve_from_us(leecher: Client) {
    let clients = [leecher, Client::Swarmloop];
    let tracker = leecher.trusts_loopback_peers().then_some(TrackerKind::Opentracker);
    let Some(mut site) = Site::open(Payload::Multi, tracker, &clients) else { return };
    let (seed, mut leech) = site.meet_by_magnet(Client::Swarmloop, leecher);
    leech.wait_complete();
    drop(leech);
    assert_eq!(seed.stop(), Some(0), "exit code of a seed that is asked to end");
}
