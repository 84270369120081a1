//! The swarms of the embedded tracker: who is listed, who hears of whom, who gives way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use swarmloop::id::{InfoHash, PeerId};
use swarmloop::proto::tracker_http::AnnounceEvent::{self, Completed, Periodic, Started, Stopped};
use swarmloop::proto::tracker_serve::{AnnounceAnswer, AnnounceRequest, PeerForm, SwarmCounts};
use swarmloop::rng::Rng;
use swarmloop::time::{Duration, Instant};
use swarmloop::tracker_server::{
    AnnounceError, DEFAULT_NUM_WANT, Hears, MAX_NUM_WANT, ServerConfig, Swarms,
};

const TORRENT: InfoHash = InfoHash([b'h'; 20]);

fn request(peer: u32) -> AnnounceRequest {
    let mut id = [b'.'; 20];
    id[..4].copy_from_slice(&peer.to_be_bytes());
    AnnounceRequest {
        info_hash: TORRENT,
        peer_id: PeerId(id),
        port: 6881,
        left: Some(1),
        event: Periodic,
        num_want: None,
        compact: true,
        no_peer_id: false,
        ip: None,
    }
}

/// A peer's address; the port is that of its outgoing connection, which is not where it listens.
fn from(peer: u32) -> SocketAddr {
    let ip = Ipv4Addr::from(0x0b00_0000 + peer);
    (ip, 40_000).into()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A tracker's swarms, its dice and its clock.
struct Tracker {
    swarms: Swarms,
    rng: Rng,
    now: Instant,
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.swarms.check_invariants();
        }
    }
}

impl Tracker {
    fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    fn with(config: ServerConfig) -> Self {
        Self { swarms: Swarms::new(config), rng: Rng::new(3), now: Instant::from_secs(5) }
    }

    fn try_announce(
        &mut self,
        request: &AnnounceRequest,
        from: SocketAddr,
    ) -> Result<AnnounceAnswer, AnnounceError> {
        self.swarms.announce(request, from, Hears::Both, &mut self.rng, self.now)
    }

    fn announce(&mut self, request: &AnnounceRequest, from: SocketAddr) -> AnnounceAnswer {
        self.try_announce(request, from).expect("room")
    }

    fn event(&mut self, peer: u32, event: AnnounceEvent, left: u64) -> SwarmCounts {
        let request = AnnounceRequest { event, left: Some(left), ..request(peer) };
        self.announce(&request, from(peer)).counts
    }
}

fn addrs(answer: &AnnounceAnswer) -> Vec<SocketAddr> {
    let mut addrs: Vec<SocketAddr> = answer.peers.iter().map(|&(_, addr)| addr).collect();
    addrs.sort();
    addrs
}

#[test]
fn peers_hear_of_each_other_where_they_listen_and_never_of_themselves() {
    let mut tracker = Tracker::new();
    assert_eq!(addrs(&tracker.announce(&request(1), from(1))), []);
    assert_eq!(addrs(&tracker.announce(&request(2), from(2))), [addr("11.0.0.1:6881")]);
    assert_eq!(addrs(&tracker.announce(&request(1), from(1))), [addr("11.0.0.2:6881")]);
    assert_eq!(tracker.swarms.peers(), 2);
    let other = AnnounceRequest { info_hash: InfoHash([0; 20]), ..request(3) };
    assert_eq!(addrs(&tracker.announce(&other, from(3))), [], "another torrent");
}

#[test]
fn a_peer_with_both_families_does_not_hear_of_its_other_address() {
    let mut tracker = Tracker::new();
    let v6: SocketAddr = addr("[2001:db8::1]:50000");
    tracker.announce(&request(1), from(1));
    assert_eq!(addrs(&tracker.announce(&request(1), v6)), []);
    let answer = tracker.announce(&request(2), from(2));
    let both = [addr("11.0.0.1:6881"), addr("[2001:db8::1]:6881")];
    assert_eq!(addrs(&answer), both);
    // A dual-stack listener sees an IPv4 client like this.
    let mapped = SocketAddr::new(IpAddr::V6(Ipv4Addr::new(11, 0, 0, 2).to_ipv6_mapped()), 1);
    assert_eq!(addrs(&tracker.announce(&request(2), mapped)), both);
    assert_eq!(tracker.swarms.peers(), 3);
}

#[test]
fn counts_follow_the_events() {
    let mut tracker = Tracker::new();
    let counts =
        |complete, downloaded, incomplete| SwarmCounts { complete, downloaded, incomplete };
    assert_eq!(tracker.event(1, Started, 0), counts(1, 0, 0));
    assert_eq!(tracker.event(2, Started, 9), counts(1, 0, 1));
    assert_eq!(tracker.event(2, Completed, 0), counts(2, 1, 0));
    assert_eq!(tracker.event(2, Completed, 0), counts(2, 1, 0), "not twice");
    assert_eq!(tracker.event(1, Periodic, 4), counts(1, 1, 1), "a seed that lost data");
    assert_eq!(tracker.event(1, Stopped, 4), counts(1, 1, 0));
    assert_eq!(tracker.event(1, Stopped, 4), counts(1, 1, 0), "not twice");
    assert_eq!(tracker.swarms.scrape(TORRENT, tracker.now), Some(counts(1, 1, 0)));
    assert_eq!(tracker.swarms.scrape(InfoHash([1; 20]), tracker.now), None);
    let silent = AnnounceRequest { left: None, ..request(7) };
    assert_eq!(tracker.announce(&silent, from(7)).counts, counts(1, 1, 1), "no seed unless said");
}

#[test]
fn silent_peers_are_dropped_after_two_intervals() {
    let interval = Duration::from_secs(600);
    let mut config = ServerConfig::default();
    config.interval = interval;
    let mut tracker = Tracker::with(config);
    tracker.event(1, Started, 1);
    tracker.now += interval;
    tracker.event(2, Started, 0);
    tracker.now += Duration::from_micros(599_999_999);
    assert_eq!(tracker.announce(&request(3), from(3)).peers.len(), 2);
    tracker.now += Duration::from_micros(1);
    let answer = tracker.announce(&request(3), from(3));
    assert_eq!(addrs(&answer), [addr("11.0.0.2:6881")]);
    assert_eq!((answer.counts.complete, answer.counts.incomplete), (1, 1));
    tracker.now += interval * 2;
    let left = tracker.swarms.scrape(TORRENT, tracker.now).expect("it is tracked");
    assert_eq!(left, SwarmCounts { complete: 0, downloaded: 0, incomplete: 0 });
    assert_eq!(tracker.swarms.peers(), 0);
    tracker.swarms.expire(tracker.now);
    assert_eq!(tracker.swarms.torrents(), 0);
}

#[test]
fn a_short_interval_does_not_drop_clients_that_keep_to_a_minute() {
    let mut config = ServerConfig::default();
    config.interval = Duration::from_secs(1);
    let mut tracker = Tracker::with(config);
    tracker.event(1, Started, 1);
    tracker.now += Duration::from_secs(61);
    let answer = tracker.announce(&request(2), from(2));
    assert_eq!(answer.peers.len(), 1);
    assert_eq!(answer.interval, Duration::from_secs(1));
}

#[test]
fn the_ip_parameter_counts_from_the_loopback_address_only() {
    let named = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));
    let mut tracker = Tracker::new();
    let asks = AnnounceRequest { ip: Some(named), ..request(1) };
    tracker.announce(&asks, from(1));
    tracker.announce(&AnnounceRequest { port: 7, ..asks }, (Ipv4Addr::LOCALHOST, 1).into());
    tracker.announce(&AnnounceRequest { port: 8, ..asks }, (Ipv6Addr::LOCALHOST, 1).into());
    let answer = tracker.announce(&request(2), from(2));
    let listed = ["9.9.9.9:7", "9.9.9.9:8", "11.0.0.1:6881"].map(addr);
    assert_eq!(addrs(&answer), listed);
}

#[test]
fn who_does_not_listen_is_answered_and_not_listed() {
    let mut tracker = Tracker::new();
    tracker.event(1, Started, 1);
    let deaf = AnnounceRequest { port: 0, ..request(2) };
    assert_eq!(tracker.announce(&deaf, from(2)).peers.len(), 1);
    assert_eq!(tracker.swarms.peers(), 1);
}

#[test]
fn numwant_is_kept_to_and_capped() {
    let mut tracker = Tracker::new();
    for peer in 0..300 {
        tracker.event(peer, Started, 1);
    }
    for (num_want, peers) in [
        (None, DEFAULT_NUM_WANT),
        (Some(0), 0),
        (Some(1), 1),
        (Some(199), 199),
        (Some(300), MAX_NUM_WANT),
        (Some(u32::MAX), MAX_NUM_WANT),
    ] {
        let answer = tracker.announce(&AnnounceRequest { num_want, ..request(5) }, from(5));
        assert_eq!(answer.peers.len(), peers, "{num_want:?}");
    }
    let leaves = AnnounceRequest { event: Stopped, ..request(5) };
    assert_eq!(tracker.announce(&leaves, from(5)).peers, [], "who leaves needs none");
}

#[test]
fn memory_is_bounded_and_stale_entries_give_way_first() {
    let mut config = ServerConfig::default();
    config.max_torrents = 20;
    config.max_peers_per_torrent = 8;
    config.max_peers_listed = 30;
    let mut tracker = Tracker::with(config);
    for peer in 0..50 {
        let answer = tracker.announce(&request(peer), from(peer));
        assert_eq!(answer.peers.len(), usize::try_from(peer.min(8)).expect("small"));
    }
    assert_eq!(tracker.swarms.peers(), 8, "the rest is answered and not listed");
    let mut refused = 0;
    for torrent in 0..50 {
        let request = AnnounceRequest { info_hash: InfoHash([torrent; 20]), ..request(1) };
        refused += u32::from(tracker.try_announce(&request, from(1)).is_err());
        refused += u32::from(tracker.try_announce(&request, from(2)).is_err());
    }
    assert_eq!(tracker.swarms.peers(), 30);
    assert_eq!(tracker.swarms.torrents(), 12);
    assert_eq!(refused, 100 - 22);
    let known = tracker.announce(&request(0), from(0));
    assert_eq!(known.peers.len(), 7, "who is known is still answered");

    tracker.now += Duration::from_secs(3601);
    let late = AnnounceRequest { info_hash: InfoHash([99; 20]), ..request(1) };
    tracker.announce(&late, from(1));
    assert_eq!((tracker.swarms.torrents(), tracker.swarms.peers()), (1, 1));
    for torrent in 0..50 {
        let request = AnnounceRequest { info_hash: InfoHash([torrent; 20]), ..request(1) };
        let _ = tracker.try_announce(&request, from(1));
    }
    assert_eq!((tracker.swarms.torrents(), tracker.swarms.peers()), (20, 20));
}

#[test]
fn announces_that_list_nobody_add_no_torrent() {
    let mut tracker = Tracker::new();
    let leaves = AnnounceRequest { event: Stopped, ..request(1) };
    assert_eq!(tracker.announce(&leaves, from(1)).counts, SwarmCounts::default());
    tracker.announce(&AnnounceRequest { port: 0, ..request(1) }, from(1));
    assert_eq!(tracker.swarms.torrents(), 0);
}

#[test]
fn the_form_is_the_one_that_was_asked_for() {
    let mut tracker = Tracker::new();
    tracker.event(1, Started, 1);
    for (compact, no_peer_id, form) in [
        (true, false, PeerForm::Compact),
        (true, true, PeerForm::Compact),
        (false, false, PeerForm::WithIds),
        (false, true, PeerForm::WithoutIds),
    ] {
        let asks = AnnounceRequest { compact, no_peer_id, ..request(2) };
        assert_eq!(tracker.announce(&asks, from(2)).form, form);
    }
}

/// Tells what memory is bounded by.
fn small() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.max_torrents = 5;
    config.max_peers_per_torrent = 20;
    config.max_peers_listed = 50;
    config
}

#[test]
fn whoever_is_overdue_gives_way_and_nobody_else() {
    let mut tracker = Tracker::with(small());
    for peer in 0..20 {
        tracker.event(peer, Started, 1);
    }
    tracker.now += Duration::from_secs(2_600);
    for peer in 0..10 {
        tracker.event(peer, Periodic, 1);
    }
    for peer in 100..200 {
        tracker.event(peer, Started, 1);
    }
    assert_eq!(tracker.swarms.peers(), 20);
    assert_eq!(tracker.event(100, Stopped, 1).incomplete, 20, "none was overdue");
    tracker.now += Duration::from_secs(101);
    // Each of them finds an overdue one with a chance of more than half.
    for peer in 100..200 {
        tracker.event(peer, Started, 1);
    }
    let left = (0..20).filter(|peer| {
        let counts = tracker.event(*peer, Stopped, 1);
        counts.incomplete < 20 && {
            tracker.event(*peer, Started, 1);
            true
        }
    });
    assert_eq!(left.collect::<Vec<_>>(), (0..10).collect::<Vec<_>>(), "who was heard of stays");
}

#[test]
fn one_address_does_not_fill_the_tracker() {
    let mut config = small();
    config.max_peers_per_addr = 7;
    let mut tracker = Tracker::with(config);
    for port in 1..=20 {
        tracker.announce(&AnnounceRequest { port, ..request(1) }, from(1));
    }
    assert_eq!(tracker.swarms.peers(), 7);
    for last in 1..=20 {
        let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last), 1));
        tracker.announce(&request(last.into()), v6);
    }
    assert_eq!(tracker.swarms.peers(), 14, "a network of 64 bits is one customer's");
    assert_eq!(tracker.event(2, Started, 1).incomplete, 15);
    for port in 1..=7 {
        let leaves = AnnounceRequest { event: Stopped, port, ..request(1) };
        tracker.announce(&leaves, from(1));
    }
    for port in 30..=50 {
        tracker.announce(&AnnounceRequest { port, ..request(1) }, from(1));
    }
    assert_eq!(tracker.swarms.peers(), 15, "who leaves makes room for his own");
}

#[test]
fn who_comes_to_miss_nothing_has_finished_by_whatever_event_it_is_told() {
    let mut tracker = Tracker::new();
    for (peer, event) in [(1, Completed), (2, Periodic), (3, Stopped)] {
        tracker.event(peer, Started, 9);
        tracker.event(peer, event, 0);
        tracker.event(peer, Stopped, 0);
        assert_eq!(tracker.swarms.finished(), u64::from(peer), "{event:?}");
    }
    tracker.event(4, Started, 0);
    tracker.event(4, Completed, 0);
    tracker.event(5, Started, 9);
    tracker.event(5, Stopped, 9);
    tracker.event(6, Stopped, 0);
    assert_eq!(tracker.swarms.finished(), 3, "a seed, one who gave up, and one nobody knew");
}

#[test]
fn only_torrents_that_are_allowed_are_tracked() {
    let mut config = ServerConfig::default();
    config.allowed = Some([TORRENT].into());
    let mut tracker = Tracker::with(config);
    tracker.event(1, Started, 1);
    let other = AnnounceRequest { info_hash: InfoHash([1; 20]), ..request(1) };
    assert_eq!(tracker.try_announce(&other, from(1)), Err(AnnounceError::NotAllowed));
    assert_eq!(tracker.swarms.torrents(), 1);
}

#[test]
fn the_ip_parameter_counts_from_everybody_who_is_trusted() {
    let mut config = ServerConfig::default();
    config.trust_ip = true;
    let mut tracker = Tracker::with(config);
    let named = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));
    tracker.announce(&AnnounceRequest { ip: Some(named), ..request(1) }, from(1));
    assert_eq!(addrs(&tracker.announce(&request(2), from(2))), [addr("9.9.9.9:6881")]);
}

#[test]
fn an_announce_may_hear_of_its_own_family_only() {
    let mut tracker = Tracker::new();
    for peer in 1..=9u16 {
        tracker.announce(&request(peer.into()), from(peer.into()));
        let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, peer, 0, 0, 0, 1), 1));
        tracker.announce(&request(100 + u32::from(peer)), v6);
    }
    let mut hear = |peer: SocketAddr, at_most| {
        let asks = AnnounceRequest { num_want: Some(50), ..request(200) };
        let hears = Hears::Own { at_most };
        let answer = tracker.swarms.announce(&asks, peer, hears, &mut tracker.rng, tracker.now);
        addrs(&answer.expect("room"))
    };
    let v4 = hear(from(200), 50);
    assert_eq!((v4.len(), v4.iter().all(SocketAddr::is_ipv4)), (9, true));
    let v6 = hear(addr("[2001:db8:ffff::1]:9"), 5);
    assert_eq!((v6.len(), v6.iter().all(SocketAddr::is_ipv6)), (5, true));
}

proptest! {
    #[test]
    fn an_answer_never_has_the_asker_a_stranger_or_too_many(
        announces in prop::collection::vec(
            (0u32..40, 0u64..2, 0u32..60, 0usize..4, 0u64..900),
            1..200,
        ),
        seed: u64,
    ) {
        let mut tracker = Tracker::new();
        tracker.rng = Rng::new(seed);
        let mut listed = std::collections::BTreeSet::new();
        for (peer, left, num_want, event, pause) in announces {
            tracker.now += Duration::from_millis(pause);
            let event = [Periodic, Started, Completed, Stopped][event];
            let asks = AnnounceRequest {
                event,
                left: Some(left),
                num_want: Some(num_want),
                ..request(peer)
            };
            let answer = tracker.announce(&asks, from(peer));
            let own = SocketAddr::new(from(peer).ip(), 6881);
            match event {
                Stopped => listed.remove(&own),
                _ => listed.insert(own),
            };
            let mut got = addrs(&answer);
            prop_assert!(!got.contains(&own));
            prop_assert!(got.iter().all(|addr| listed.contains(addr)));
            let others = listed.len() - usize::from(listed.contains(&own));
            let expected = if event == Stopped { 0 } else { others.min(num_want as usize) };
            prop_assert_eq!(got.len(), expected);
            got.sort();
            got.dedup();
            prop_assert_eq!(got.len(), expected, "each once");
            prop_assert_eq!(answer.counts.complete + answer.counts.incomplete, listed.len());
            prop_assert_eq!(tracker.swarms.peers(), listed.len());
        }
    }
}
