//! Magnet links without a tracker, by local service discovery alone (BEP 14).
//!
//! A client announces a torrent when it begins, and then in five minutes: so whoever comes second
//! has found the first by its own announcement, or the first has found it.

use crate::{
    clients::{
        Client::{self, Aria2, Libtorrent, Rqbit, Swarmloop, Transmission},
        payload::Payload,
    },
    swarm::{Swarm, Way},
};

#[test]
fn libtorrent_and_we_find_each_other() {
    find_each_other(Libtorrent);
}

#[test]
fn transmission_and_we_find_each_other() {
    find_each_other(Transmission);
}

#[test]
fn aria2_and_we_find_each_other() {
    find_each_other(Aria2);
}

#[test]
fn rqbit_and_we_find_each_other() {
    find_each_other(Rqbit);
}

#[test]
fn two_of_ours_find_each_other() {
    find_each_other(Swarmloop);
}

/// They are there and listen when our seed announces itself, and we are when theirs does.
fn find_each_other(client: Client) {
    let Some(mut swarm) = Swarm::open(Way::Lsd, &[client, Swarmloop]) else { return };
    let theirs = swarm.leech_that_waits(client, Payload::Multi);
    let ours = swarm.leech_that_waits(Swarmloop, Payload::Single);
    let _seeds = [swarm.seed(Swarmloop, Payload::Multi), swarm.seed(client, Payload::Single)];
    swarm.wait_complete(&mut [theirs, ours]);
}
