//! Magnet links without a tracker, by peer exchange alone (BEP 11).
//!
//! ```text
//!   seed ──── hub ──── leech        the leech is told of the hub, if of anybody
//! ```
//!
//! The hub downloads, too, but as slowly as it may: when the leech has everything and the hub has
//! not, the leech has it from the seed, of which it can know from the hub only.

use crate::{
    clients::{
        Client::{self, Aria2, Libtorrent, Rqbit, Swarmloop, Transmission},
        payload::Payload,
    },
    swarm::{Swarm, Way},
};

#[test]
fn libtorrent_learns_of_a_seed_from_us() {
    learns_from_us(Libtorrent);
}

#[test]
fn transmission_learns_of_a_seed_from_us() {
    learns_from_us(Transmission);
}

#[test]
fn aria2_learns_of_a_seed_from_us() {
    learns_from_us(Aria2);
}

#[test]
fn rqbit_learns_of_a_seed_from_us() {
    learns_from_us(Rqbit);
}

/// The others are tried over loopback, where Transmission takes no part.
#[test]
fn we_learn_of_a_seed_from_transmission() {
    let Some(mut swarm) = Swarm::open(Way::Pex, &[Transmission, Swarmloop]) else { return };
    let mut hub = swarm.hub(Transmission, Payload::Single, &[]);
    let _seed = swarm.seed_that_dials(Swarmloop, Payload::Single, &[&hub]);
    let mut leech = [swarm.leech_that_dials(Swarmloop, Payload::Single, &[&hub])];
    swarm.wait_complete(&mut leech);
    assert!(!hub.is_complete(), "the hub was to be slow");
}

/// Seed and hub are ours.
fn learns_from_us(client: Client) {
    let Some(mut swarm) = Swarm::open(Way::Pex, &[client, Swarmloop]) else { return };
    let payload = Payload::Single;
    let seed = swarm.seed(Swarmloop, payload);
    let (mut hub, leech) = if client.dials() {
        let hub = swarm.hub(Swarmloop, payload, &[&seed]);
        let leech = swarm.leech_that_dials(client, payload, &[&hub]);
        (hub, leech)
    } else {
        let leech = swarm.leech(client, payload);
        (swarm.hub(Swarmloop, payload, &[&seed, &leech]), leech)
    };
    swarm.wait_complete(&mut [leech]);
    assert!(!hub.is_complete(), "the hub was to be slow");
}
