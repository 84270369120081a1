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
        Running,
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

#[test]
fn libtorrent_tells_us_of_a_seed() {
    tells_us(Libtorrent);
}

#[test]
fn rqbit_tells_us_of_a_seed() {
    tells_us(Rqbit);
}

/// Transmission cannot be told whom to dial, but tells of those, too, that have dialled it.
#[test]
fn transmission_tells_us_of_a_seed() {
    let Some(mut swarm) = Swarm::open(Way::Pex, &[Transmission, Swarmloop]) else { return };
    let hub = swarm.hub(Transmission, Payload::Single, &[]);
    let _seed = swarm.seed_that_dials(Swarmloop, Payload::Single, &[&hub]);
    let leech = swarm.leech_that_dials(Swarmloop, Payload::Single, &[&hub]);
    complete_before(&mut swarm, leech, hub);
}

/// aria2 tells a peer a minute after it came, of those alone whom it has itself dialled within that
/// minute: it has to hear of the seed, from a tracker, when the leech is there already.
#[test]
fn aria2_tells_us_of_a_seed() {
    let Some(mut swarm) = Swarm::open(Way::Pex, &[Aria2, Swarmloop]) else { return };
    swarm.track(Payload::Single);
    let hub = swarm.hub(Aria2, Payload::Single, &[]);
    let leech = swarm.leech_that_dials(Swarmloop, Payload::Single, &[&hub]);
    leech.wait_for("\"type\":\"metadata\"");
    let _seed = swarm.seed(Swarmloop, Payload::Single);
    complete_before(&mut swarm, leech, hub);
}

/// The hub is theirs, and dials the seed: both tell of whom they have dialled, rqbit ten seconds
/// after a peer came. Seed and leech are ours.
fn tells_us(client: Client) {
    let Some(mut swarm) = Swarm::open(Way::Pex, &[client, Swarmloop]) else { return };
    let payload = Payload::Single;
    let seed = swarm.seed(Swarmloop, payload);
    let hub = swarm.hub(client, payload, &[&seed]);
    let leech = swarm.leech_that_dials(Swarmloop, payload, &[&hub]);
    complete_before(&mut swarm, leech, hub);
}

/// Seed and hub are ours.
fn learns_from_us(client: Client) {
    let Some(mut swarm) = Swarm::open(Way::Pex, &[client, Swarmloop]) else { return };
    let payload = Payload::Single;
    let seed = swarm.seed(Swarmloop, payload);
    let (hub, leech) = if client.dials() {
        let hub = swarm.hub(Swarmloop, payload, &[&seed]);
        let leech = swarm.leech_that_dials(client, payload, &[&hub]);
        (hub, leech)
    } else {
        let leech = swarm.leech(client, payload);
        (swarm.hub(Swarmloop, payload, &[&seed, &leech]), leech)
    };
    complete_before(&mut swarm, leech, hub);
}

fn complete_before(swarm: &mut Swarm, leech: Running, mut hub: Running) {
    swarm.wait_complete(&mut [leech]);
    assert!(!hub.is_complete(), "the hub was to be slow");
}
