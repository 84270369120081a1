//! Torrents that are known by their info-hash alone: swarms in which the metadata spreads first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use swarmloop::id::PeerId;
use swarmloop::proto::extended::{self, Extension, Handshake};
use swarmloop::proto::handshake::{HANDSHAKE_LEN, Reserved, encode};
use swarmloop::proto::ut_metadata::{self, MetadataMessage};
use swarmloop::session::io::{Event, Mode, Phase};
use swarmloop::sim::{
    Actor, ActorIo, AddOptions, HostId, LinkOptions, Sim, SimOptions, Source, SourceFile, StreamId,
};

use super::{MINUTE, ONLY, TRACKER_URL, peer, tracker};

/// A torrent whose metadata has several blocks.
fn source(seed: u64, tracker: Option<&str>) -> Arc<Source> {
    // Long names make it long, and not many pieces.
    let name = |number| format!("{number}-{}", "x".repeat(200)).leak();
    let file = |number| SourceFile { name: name(number), len: 2_000, pad: false };
    let files: Vec<SourceFile> = (0..150).map(file).collect();
    let source = Source::new(seed, &files, 32_768, tracker);
    assert!(source.metainfo.info.len() > 2 * 16_384);
    Arc::new(source)
}

/// Offers metadata of the right length and sends wrong bytes.
#[derive(Debug)]
struct Poisoner {
    source: Arc<Source>,
    number: u8,
    streams: BTreeMap<StreamId, (Vec<u8>, u8)>,
}

impl Poisoner {
    fn new(source: &Arc<Source>, number: u8) -> Self {
        Self { source: Arc::clone(source), number, streams: BTreeMap::new() }
    }

    /// Answers what an extended message says.
    fn answer(&self, id: u8, body: &[u8], their_id: &mut u8) -> Vec<u8> {
        let mut out = Vec::new();
        if id == 0 {
            let ids = Handshake::decode(body).unwrap().ids;
            let metadata = ids.iter().find(|(extension, _)| *extension == Extension::Metadata);
            *their_id = metadata.unwrap().1;
        } else if let Ok(MetadataMessage::Request(block)) = MetadataMessage::decode(body) {
            let mut info = self.source.metainfo.info.to_vec();
            for byte in &mut info {
                *byte ^= 1 + self.number;
            }
            ut_metadata::encode_data(*their_id, block, &info, &mut out);
        }
        out
    }
}

impl Actor for Poisoner {
    fn opened(&mut self, stream: StreamId, _: SocketAddr, io: &mut ActorIo) {
        self.streams.insert(stream, (Vec::new(), 0));
        let mut id = PeerId(*b"-XX0000-poison000000");
        id.0[19] = self.number;
        let mut hello = encode(Reserved::OURS, self.source.metainfo.info_hash, id).to_vec();
        extended::message(0, &mut hello, |out| {
            let len = self.source.metainfo.info.len();
            let body = format!("d1:md11:ut_metadatai2ee13:metadata_sizei{len}ee");
            out.extend(body.into_bytes());
        });
        io.send(stream, hello);
    }

    fn received(&mut self, stream: StreamId, bytes: &[u8], io: &mut ActorIo) {
        let Some((mut buffer, mut their_id)) = self.streams.remove(&stream) else { return };
        buffer.extend_from_slice(bytes);
        // The handshake stays in front, so that the stream is known to be past it.
        while let Some(head) = buffer.get(HANDSHAKE_LEN..HANDSHAKE_LEN + 4) {
            let len = u32::from_be_bytes(head.try_into().unwrap()) as usize;
            let whole = HANDSHAKE_LEN + 4..HANDSHAKE_LEN + 4 + len;
            let Some(message) = buffer.get(whole.clone()) else { break };
            if let [20, id, body @ ..] = message {
                let answer = self.answer(*id, body, &mut their_id);
                io.send(stream, answer);
            }
            buffer.drain(HANDSHAKE_LEN..whole.end);
        }
        self.streams.insert(stream, (buffer, their_id));
    }

    fn closed(&mut self, stream: StreamId, _: &mut ActorIo) {
        self.streams.remove(&stream);
    }
}

fn banned(sim: &Sim, host: HostId) -> BTreeSet<IpAddr> {
    let banned = |event: &Event| match event {
        Event::PeerBanned { addr, .. } => Some(addr.ip()),
        _ => None,
    };
    sim.events(host).filter_map(banned).collect()
}

#[test]
fn a_magnet_downloads_from_one_seed() {
    for seed in 0..5 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = source(seed, None);
        let seeder = sim.add_seed(peer(), &source);
        let leecher = sim.add_host(peer());
        sim.add_magnet(leecher, &source, AddOptions::from_peers(&[seeder]));
        sim.run_until_complete(&[leecher], 5 * MINUTE);
        assert_eq!(banned(&sim, leecher), BTreeSet::new());
    }
}

#[test]
fn metadata_spreads_among_those_who_look_for_it() {
    let mut sim = Sim::new(SimOptions::new(7));
    let tracker = sim.add_host(tracker());
    let source = source(7, Some(TRACKER_URL));
    assert_eq!(tracker, HostId(0));
    let leechers: Vec<HostId> = (0..6).map(|_| sim.add_host(peer())).collect();
    for leecher in &leechers {
        sim.add_magnet(*leecher, &source, AddOptions::default());
    }
    sim.run_for(5 * MINUTE);
    let phase = |sim: &Sim, host| sim.torrent(host, ONLY).unwrap().phase;
    assert!(leechers.iter().all(|leecher| phase(&sim, *leecher) == Phase::Metadata));
    let seeder = sim.add_host(peer());
    sim.put_files(seeder, &source);
    sim.add_torrent(seeder, &source, AddOptions { use_trackers: true, ..AddOptions::seed() });
    sim.run_until_complete(&leechers, 60 * MINUTE);
}

#[test]
fn a_poisoner_among_five_peers_is_found_out() {
    let mut found_out = 0;
    for seed in 0..10 {
        let mut sim = Sim::new(SimOptions::new(seed));
        let source = source(seed, None);
        let mut peers: Vec<HostId> = (0..4).map(|_| sim.add_seed(peer(), &source)).collect();
        let poisoner = Box::new(Poisoner::new(&source, 1));
        let poisoner = sim.add_actor(poisoner, LinkOptions::default());
        peers.push(poisoner);
        let leecher = sim.add_host(peer());
        sim.add_magnet(leecher, &source, AddOptions::from_peers(&peers));
        sim.run_until_complete(&[leecher], 10 * MINUTE);
        // It may come too late to be asked for anything.
        let banned = banned(&sim, leecher);
        assert!(banned.is_subset(&BTreeSet::from([sim.ip(poisoner)])), "{seed}: {banned:?}");
        found_out += banned.len();
    }
    assert!(found_out > 0);
}

#[test]
fn ten_poisoners_do_not_keep_one_honest_peer_from_being_heard() {
    let mut sim = Sim::new(SimOptions::new(3));
    let source = source(3, None);
    let poisoner = |number| Box::new(Poisoner::new(&source, number));
    let mut peers: Vec<HostId> =
        (1..=10).map(|number| sim.add_actor(poisoner(number), LinkOptions::default())).collect();
    let honest = sim.add_seed(peer(), &source);
    peers.push(honest);
    let leecher = sim.add_host(peer());
    sim.add_magnet(leecher, &source, AddOptions::from_peers(&peers));
    sim.run_until_complete(&[leecher], 10 * MINUTE);
    let banned = banned(&sim, leecher);
    assert!(!banned.is_empty() && !banned.contains(&sim.ip(honest)), "{banned:?}");
}

#[test]
fn a_magnet_that_nobody_serves_costs_no_wake_ups() {
    let mut sim = Sim::new(SimOptions::new(4));
    let source = source(4, None);
    let leecher = sim.add_host(peer());
    sim.add_magnet(leecher, &source, AddOptions::default());
    sim.run_for(MINUTE);
    let before = sim.turns(leecher);
    sim.run_for(Duration::from_secs(3_600));
    assert_eq!(sim.turns(leecher), before);
}

#[test]
fn a_magnet_finds_its_seed_by_peer_exchange_alone() {
    let mut sim = Sim::new(SimOptions::new(5));
    let source = source(5, None);
    let seeder = sim.add_seed(peer(), &source);
    // It stays incomplete: of the seed, it wants nothing.
    let between = sim.add_host(peer());
    sim.add_torrent(
        between,
        &source,
        AddOptions { mode: Mode::Seed, ..AddOptions::from_peers(&[]) },
    );
    let leecher = sim.add_host(peer());
    sim.add_magnet(leecher, &source, AddOptions::from_peers(&[between]));
    sim.run_for(MINUTE);
    assert_eq!(sim.torrent(leecher, ONLY).unwrap().peers, 1);
    let known = sim.add_host(peer());
    sim.add_magnet(known, &source, AddOptions::from_peers(&[between, seeder]));
    sim.run_until_complete(&[known, leecher], 10 * MINUTE);
}
