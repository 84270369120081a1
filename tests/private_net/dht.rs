//! Magnet links without a tracker, by the DHT alone (BEP 5).

use crate::{
    clients::{
        Client::{self, Aria2, Libtorrent, Rqbit, Swarmloop, Transmission},
        Running,
        payload::Payload,
    },
    swarm::{Swarm, Way},
};

/// Those that everybody enters by, of the kind that answers from its first second.
const ENTRIES: [Client; 2] = [Libtorrent, Libtorrent];

/// Nodes that want a torrent that nobody has. With the seeds and leeches, they are more than the
/// nine that Transmission must know before it asks any of them.
const BYSTANDERS: [Client; 13] = [
    Libtorrent,
    Libtorrent,
    Swarmloop,
    Swarmloop,
    Swarmloop,
    Transmission,
    Transmission,
    Aria2,
    Aria2,
    Aria2,
    Rqbit,
    Rqbit,
    Rqbit,
];

const OTHERS: [Client; 4] = [Libtorrent, Transmission, Aria2, Rqbit];

/// Ours is the only seed of one torrent, and the only leech of another.
#[test]
fn a_magnet_is_resolved_through_a_dht_of_twenty_nodes_by_others_from_us_and_by_us_from_others() {
    let Some(mut swarm) = Swarm::open(Way::Dht, &[&OTHERS[..], &[Swarmloop]].concat()) else {
        return;
    };
    ENTRIES.into_iter().chain(BYSTANDERS).for_each(|client| swarm.bystander(client));
    let _seeds = [swarm.seed(Swarmloop, Payload::Multi), swarm.seed(Libtorrent, Payload::Single)];
    let mut leeches: Vec<Running> = OTHERS.map(|client| swarm.leech(client, Payload::Multi)).into();
    leeches.push(swarm.leech(Swarmloop, Payload::Single));
    assert!(swarm.nodes() >= 20, "{} nodes", swarm.nodes());
    swarm.wait_complete(&mut leeches);
}

#[test]
#[ignore = "a control of the harness, without swarmloop"]
fn others_resolve_a_magnet_from_libtorrent_through_the_dht() {
    let Some(mut swarm) = Swarm::open(Way::Dht, &OTHERS) else { return };
    let bystanders = BYSTANDERS.map(|client| if client == Swarmloop { Libtorrent } else { client });
    ENTRIES.into_iter().chain(bystanders).for_each(|client| swarm.bystander(client));
    let _seed = swarm.seed(Libtorrent, Payload::Multi);
    let mut leeches: Vec<Running> = OTHERS.map(|client| swarm.leech(client, Payload::Multi)).into();
    assert!(swarm.nodes() >= 20, "{} nodes", swarm.nodes());
    swarm.wait_complete(&mut leeches);
}
